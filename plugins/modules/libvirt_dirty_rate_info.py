#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: libvirt_dirty_rate_info
short_description: How fast libvirt guests change their memory, and whether and when a live migration would end
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Has libvirt measure the dirty rate of running guests several times, all at the same times, and returns median and maximum.
  - With a bandwidth, says for the highest rate whether a migration would converge, how long it would take and for how long
    the guest would stand still, and what would help if it does not.
  - Says why a reading should not be trusted, where it should not.
options:
  names:
    description: The guests. All that run on the host when not given.
    type: list
    elements: str
    default: []
  mode:
    description:
      - V(page-sampling) compares checksums of some pages. It costs the guest little.
      - V(dirty-bitmap) counts every page that changed. The first write to each page is trapped, so the guest is slowed down
        while it is measured.
      - V(dirty-ring) counts exactly and costs little, for guests that were started with a dirty ring.
      - V(auto) takes V(dirty-ring) for guests that have one, else V(page-sampling).
    type: str
    choices: [auto, page-sampling, dirty-bitmap, dirty-ring]
    default: auto
  seconds:
    description:
      - Length of a sample, 1 to 60. A page counts once in a sample, so long ones see less of a guest that writes to the same
        pages again and again.
    type: int
    default: 1
  samples:
    description: How many samples are taken. Have them cover the busy times, such as the savepoints of a database.
    type: int
    default: 10
  bandwidth:
    description: What the link to the target carries, in bytes per second such as V(2.5G), or as a line rate such as V(25Gbit), of
      which 90 % count. There is no forecast without O(bandwidth) or O(interface).
    type: str
  interface:
    description: A network card of the machine that the module runs on, to take the line rate from instead.
    type: str
  connections:
    description: Over how many connections the memory will be sent. One is taken to carry 1 GB/s.
    type: int
    default: 1
  max_downtime:
    description: For how many milliseconds the guest may pause at the switch-over.
    type: int
    default: 300
  auto_converge:
    description: Whether QEMU may slow the guest down.
    type: bool
    default: false
extends_documentation_fragment:
  - bigvm.live_migration.attributes.reads
  - bigvm.live_migration.libvirt_uri
requirements:
  - python >= 3.9
  - libvirt's Python binding (python3-libvirt), 7.2 or newer, where the module runs; V(dirty-bitmap) and V(dirty-ring) need 8.1
seealso:
  - module: bigvm.live_migration.libvirt_migrate
  - module: bigvm.live_migration.libvirt_migratable_info
"""

EXAMPLES = r"""
- name: Will hana-a get over the migration network in the busy hour?
  bigvm.live_migration.libvirt_dirty_rate_info:
    names: [hana-a]
    samples: 60
    interface: ens2f0
    connections: 4
  register: measured

- name: Do not begin what cannot end
  ansible.builtin.assert:
    that: measured.guests[0].forecast.ends == 'converges'
    fail_msg: "{{ measured.lines | join('\\n') }}"
"""

RETURN = r"""
guests:
  description:
    - One entry per guest. Rates in bytes per second.
    - C(doubts) says why the reading should not be trusted; C(trusted) is true when nothing does.
    - C(forecast) is null without a bandwidth. Its C(ends) is C(converges) or C(never), C(seconds) the time expected with
      C(low) and C(high) the range it is in with 90 %, C(downtime) in seconds, C(border) the dirty rate over the highest that would
      converge, C(helps) what would, C(assumptions) what was taken as given.
  returned: success
  type: list
  elements: dict
  sample:
    - name: hana-a
      memory_bytes: 2199023255552
      resident_bytes: 1924145348608
      mode: page-sampling
      seconds: 1
      samples: [524288000, 786432000, 629145600]
      p50: 629145600
      max: 786432000
      trusted: true
      doubts: []
      forecast: {ends: converges, seconds: 812.4, low: 705.1, high: 1604.2, passes: 12, downtime: 0.35}
lines:
  description: The same in words.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput, Refused
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import kvm_dirty
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor import dirty
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.options import link_rate
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.runner import run_module

SPEC = dict(
    names=dict(type="list", elements="str", default=[]), uri=dict(type="str"),
    mode=dict(type="str", choices=["auto", "page-sampling", "dirty-bitmap", "dirty-ring"], default="auto"),
    seconds=dict(type="int", default=1), samples=dict(type="int", default=10),
    bandwidth=dict(type="str"), interface=dict(type="str"), connections=dict(type="int", default=1),
    max_downtime=dict(type="int", default=300), auto_converge=dict(type="bool", default=False),
)


def execute(task):
    params = task.params
    for option, least, most in (("seconds", 1, 60), ("samples", 1, 10000), ("connections", 1, 255), ("max_downtime", 1, 2000000)):
        if not least <= params[option] <= most:
            raise BadInput("%s is %d." % (option, params[option]), "Use %d to %d." % (least, most))
    speed = dirty.speed_of(params["interface"]) if params["interface"] else None
    link = link_rate(params["bandwidth"], speed)
    host = task.hosts.open(params["uri"])
    found = dirty.guests(host, params["names"])
    modes = []
    for domain, facts in found:
        mode, problem = kvm_dirty.mode_for(params["mode"], facts["ring"])
        if problem:
            raise Refused("%s %s." % (domain.name, problem), "Use mode: auto.")
        modes.append((domain, mode))
    samples = dirty.measure(host, modes, params["seconds"], params["samples"], task.clock)
    rows = [_row(params, link, domain, facts, mode, samples[domain.name]) for (domain, facts), (_same, mode) in zip(found, modes)]
    return {"changed": False, "guests": rows, "lines": [line for row in rows for line in kvm_dirty.lines(row["name"], row)]}


def _row(params, link, domain, facts, mode, samples):
    doubts, resident = kvm_dirty.doubts(facts, mode, samples, params["seconds"]), dirty.resident(domain)
    row = dict(kvm_dirty.summary(samples), name=domain.name, mode=mode, seconds=params["seconds"], memory_bytes=facts["memory"],
               resident_bytes=resident, doubts=doubts, trusted=not doubts, forecast=None)
    if link:
        row["forecast"] = kvm_dirty.forecast(facts, resident, row["max"], link[0], link[1], params["connections"],
                                             params["max_downtime"], params["auto_converge"])
    return row


def main():
    run_module(execute, SPEC, mutually_exclusive=[["bandwidth", "interface"]])


if __name__ == "__main__":
    main()
