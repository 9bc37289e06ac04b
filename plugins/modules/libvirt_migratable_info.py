#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: libvirt_migratable_info
short_description: Whether libvirt guests can be moved live to another KVM host, and if not, why
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Judges the guests of a KVM host before they are moved, as M(bigvm.live_migration.vm_migratable_facts) does for those of
    OpenShift Virtualization.
  - The verdict is C(live), C(cold_only) (only shut down and moved offline), C(blocked) (not now; the reasons say what is in
    the way) or C(unknown) (something that could stop it could not be read).
  - Looks at the state, devices, disks, networks, CPU, machine type, memory, huge pages and pinning of each guest, at names
    and UUIDs on the target, at a cluster manager on this host, and at what the hosts differ in.
  - LUNs are compared by WWID where the target's libvirt lists its disks. What no libvirt tells, it names as a warning. Whether a
    disk is the same on both hosts is else only believed of shared file systems and of names that carry a WWID; and a bridge has
    to be looked at.
  - docs/kvm_verdict.md lists all codes.
options:
  destination:
    description: The connection of the target, for example C(qemu+tls://kvm-2.example.com/system).
    type: str
    required: true
  uri:
    description: The connection of the host that the guests are on. By default the host that the module runs on.
    type: str
  migrate_uri:
    description: Where the memory will be sent, as of M(bigvm.live_migration.libvirt_migrate), to look at the ports there.
    type: str
  destination_kernel:
    description: The release of the target's kernel (C(uname -r)), which libvirt does not tell, to compare it with that of the host
      that the module runs on. M(bigvm.live_migration.libvirt_host_info) returns it in C(versions).
    type: str
  names:
    description: The guests. All of the host when not given.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - bigvm.live_migration.attributes.reads
requirements:
  - python >= 3.9
  - libvirt's Python binding (python3-libvirt), where the module runs
notes:
  - File systems, the identity of disks, the ports to the target and the cluster manager are looked at only when the module runs
    on the host that the guests are on.
seealso:
  - module: bigvm.live_migration.libvirt_migrate
  - module: bigvm.live_migration.libvirt_cpu_baseline
"""

EXAMPLES = r"""
- name: Which guests can go to kvm-2?
  bigvm.live_migration.libvirt_migratable_info:
    destination: qemu+tls://kvm-2.example.com/system
  register: judged

- name: Stop when one cannot
  ansible.builtin.assert:
    that: judged.summary.live == judged.guests | length
    fail_msg: "{{ judged.lines | join('\\n') }}"
"""

RETURN = r"""
guests:
  description:
    - One entry per guest.
    - C(reasons) has codes and severities, worst first; C(details) the particulars by code.
  returned: success
  type: list
  elements: dict
  sample:
    - name: app-1
      uuid: 5d07245e-2f6a-413c-b542-af52a44d7ae2
      active: true
      memory_bytes: 68719476736
      verdict: blocked
      reasons: [{code: NetworkMissing, severity: blocker}]
      details: {NetworkMissing: [production]}
reasons:
  description: Each code that occurs, once, with message, remedy, reference, severity and the verdict that it leads to.
  returned: success
  type: dict
summary:
  description: Number of guests by verdict.
  returned: success
  type: dict
  sample: {live: 3, cold_only: 0, blocked: 1, unknown: 0}
differences:
  description: In what the hosts differ, C(what) with C(values) by host.
  returned: success
  type: list
  elements: dict
lines:
  description: The verdicts in words.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import cpu, kvm_guest
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor import baseline, survey
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.runner import run_module

SPEC = dict(
    destination=dict(type="str", required=True), uri=dict(type="str"), migrate_uri=dict(type="str"), destination_kernel=dict(type="str"),
    names=dict(type="list", elements="str", default=[]),
)
ANYWHERE = dict(emulator=None, arch=None, machine=None, virttype=None)


def execute(task):
    params = task.params
    if not (params["destination"] or "").strip():
        raise BadInput("The option destination is empty.", "Name the target's connection.")
    both = [{"uri": params["uri"]}, {"uri": params["destination"], "kernel": params["destination_kernel"]}]
    hosts = baseline.survey(task.hosts, both, ANYWHERE, mixed=True)
    differences = cpu.differences(hosts)
    rows = survey.judged(task.hosts.open(params["uri"]), task.hosts.open(params["destination"]), params["names"], differences,
                         params["migrate_uri"])
    return {
        "changed": False, "guests": rows, "reasons": kvm_guest.reason_table(rows), "summary": kvm_guest.summary(rows),
        "differences": differences, "lines": kvm_guest.in_words(rows) + cpu.differences_in_words(differences),
    }


def main():
    run_module(execute, SPEC)


if __name__ == "__main__":
    main()
