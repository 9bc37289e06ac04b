#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: libvirt_cpu_baseline
short_description: The CPU definition that every named KVM host can run, and what each host gives up for it
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - A guest moves live only to a host that can give it the very same CPU. This asks libvirt on any number of hosts what CPU
    they offer, has libvirt compute the best one that all of them have, and has each host confirm it.
  - Says for each host which features it would not pass on to guests, and where hosts differ in what no CPU description
    shows, such as microcode and QEMU.
  - On request writes that CPU into the definition of guests. A running guest gets it only when it is shut down and started
    again; that is done only when asked for.
  - The order in which hosts are named does not matter.
options:
  hosts:
    description: The hosts, each by its connection or by what was captured of it.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What to call it. By default the name that the host gives itself.
        type: str
      uri:
        description:
          - Its libvirt connection, as seen from where the module runs, for example C(qemu+tls://kvm-2.example.com/system).
          - Without it and without O(hosts[].xml), the host that the module runs on.
        type: str
      xml:
        description:
          - What C(virsh domcapabilities) printed there (C(virsh capabilities) or a C(<cpu>) will do), for a host that
            cannot be reached now. Such a host confirms by its features instead of by libvirt.
        type: str
      kernel:
        description: The release of its kernel (C(uname -r)), which libvirt does not tell, for the comparison of hosts. Of the host
          that the module runs on it is read.
        type: str
  emulator:
    description: The path of the emulator that guests use. By default libvirt's own choice, as with the next three.
    type: path
  arch:
    description: Their architecture.
    type: str
  machine:
    description: Their machine type.
    type: str
  virttype:
    description: How they are virtualized.
    type: str
    choices: [kvm, qemu]
  migratable:
    description: Whether to leave out features that stand in the way of a live migration.
    type: bool
    default: true
  apply_to:
    description: Guests that shall have this CPU.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the guest.
        type: str
        required: true
      uri:
        description: The connection of the host that it is on. By default the host that the module runs on.
        type: str
  restart:
    description:
      - Whether running guests of O(apply_to) that still have another CPU are shut down and started again.
      - A guest that does not shut down within O(restart_timeout) is left running; nothing is forced.
    type: bool
    default: false
  restart_timeout:
    description: How many seconds a guest may take to shut down.
    type: int
    default: 600
  acknowledge:
    description:
      - V(certified_cpu) lets a guest on C(host-passthrough) be given the baseline. SAP HANA is certified with the CPU of the
        host; without this such a guest is refused.
    type: list
    elements: str
    choices: [certified_cpu]
    default: []
attributes:
  check_mode:
    support: full
    description: Computes and verifies; writes and restarts nothing.
  diff_mode:
    support: full
    description: The CPU of each guest before and after.
requirements:
  - python >= 3.9
  - libvirt's Python binding (python3-libvirt) or C(virsh), where the module runs
notes:
  - Runs on a KVM host, or on any machine that may open the connections of the hosts.
  - A baseline that names C(invtsc) ties the guest to hosts whose time stamp counter has the same frequency.
"""

EXAMPLES = r"""
- name: What can run on both hosts?
  bigvm.live_migration.libvirt_cpu_baseline:
    hosts:
      - uri: qemu:///system
      - uri: qemu+tls://kvm-2.example.com/system
  register: common

- name: Show it
  ansible.builtin.debug:
    var: common.lines

- name: Reckon with a host that is to come, from what was captured there
  bigvm.live_migration.libvirt_cpu_baseline:
    hosts:
      - uri: qemu:///system
      - name: kvm-9
        xml: "{{ lookup('ansible.builtin.file', 'kvm-9-domcapabilities.xml') }}"

- name: Give it to a guest, now
  bigvm.live_migration.libvirt_cpu_baseline:
    hosts:
      - uri: qemu:///system
      - uri: qemu+tls://kvm-2.example.com/system
    apply_to:
      - name: app-1
    restart: true
"""

RETURN = r"""
baseline:
  description: The CPU that all hosts can run.
  returned: success
  type: dict
  contains:
    xml:
      description: The C(<cpu>) element for a guest's definition.
      type: str
    model:
      description: Its model.
      type: str
    vendor:
      description: Its maker; null when no host names one.
      type: str
    features:
      description: The features named beside the model, and how.
      type: dict
  sample:
    xml: "<cpu mode='custom' match='exact'>..."
    model: Cascadelake-Server
    vendor: Intel
    features: {ss: require, hle: disable}
hosts:
  description: The hosts, by name.
  returned: success, and when one cannot run the baseline
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
    uri:
      description: Its connection; null when it was captured.
      type: str
    model:
      description: The CPU model that it offers.
      type: str
    vendor:
      description: The maker of its CPU.
      type: str
    verdict:
      description: What the host is to the baseline, V(identical), V(superset) or V(incompatible).
      type: str
    reason:
      description: Why it is incompatible, else null.
      type: str
    asked:
      description: Whether libvirt on that host said so (compareHypervisorCPU), or its captured features.
      type: bool
    loses:
      description: Features that it has and that guests with the baseline do not get.
      type: list
      elements: str
    microcode:
      description: The version of its microcode; null where it is not known, as with the next four.
      type: str
    kernel:
      description: The release of its kernel, as given or read.
      type: str
    qemu:
      description: Its version of QEMU.
      type: str
    libvirt:
      description: Its version of libvirt.
      type: str
    firmware:
      description: The version of its firmware.
      type: str
differences:
  description: In what else hosts differ, C(what) with C(values) by host and C(unknown) hosts.
  returned: success
  type: list
  elements: dict
  sample: [{what: qemu, values: {kvm-a: 9.1.0, kvm-b: 9.0.0}, unknown: []}]
guests:
  description: The guests of O(apply_to).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
    changed:
      description: Whether its definition was changed.
      type: bool
    drops:
      description: Features that it has now and loses.
      type: list
      elements: str
    restart_needed:
      description: Whether it runs with another CPU than its definition gives it, and has to be restarted for it.
      type: bool
    restarted:
      description: Whether it was restarted.
      type: bool
lines:
  description: All that in words, a line each.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.changeset import ChangeSet
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import cpu
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor import baseline, guest_cpu
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.runner import run_module

SPEC = dict(
    hosts=dict(
        type="list", elements="dict", required=True, mutually_exclusive=[("uri", "xml")],
        options=dict(name=dict(type="str"), uri=dict(type="str"), xml=dict(type="str"), kernel=dict(type="str"))),
    emulator=dict(type="path"), arch=dict(type="str"), machine=dict(type="str"),
    virttype=dict(type="str", choices=["kvm", "qemu"]),
    migratable=dict(type="bool", default=True),
    apply_to=dict(
        type="list", elements="dict", default=[],
        options=dict(name=dict(type="str", required=True), uri=dict(type="str"))),
    restart=dict(type="bool", default=False),
    restart_timeout=dict(type="int", default=600),
    acknowledge=dict(type="list", elements="str", choices=["certified_cpu"], default=[]),
)


def execute(task):
    params = task.params
    if not params["hosts"]:
        raise BadInput("The option hosts is empty.", "Name the hosts that guests shall move between.")
    where = {name: params[name] for name in ("emulator", "arch", "machine", "virttype")}
    found = baseline.survey(task.hosts, params["hosts"], where)
    asked = baseline.reference(task.hosts, found)
    common = baseline.compute(asked, found, where, params["migratable"])
    rows = baseline.confirmed(baseline.verify(asked, found, common, where))
    lost = {name for row in rows for name in row["loses"]}
    seen = [guest_cpu.look(task.hosts.open(entry["uri"]), entry["name"], common, lost, params["acknowledge"])
            for entry in params["apply_to"]]
    differences, changes = cpu.differences(rows), ChangeSet()
    lines = cpu.in_words(common, rows) + cpu.differences_in_words(differences)
    if cpu.TSC in cpu.on(common):
        task.warn("The baseline names %s: it ties guests to hosts whose time stamp counter has the same frequency." % cpu.TSC)
    guests = [give(task, one, changes, lines) for one in seen]  # all were looked at before the first is touched
    return changes.result(
        baseline={"xml": cpu.as_guest(common), **{key: common[key] for key in ("model", "vendor", "features")}},
        hosts=rows, differences=differences, guests=guests, lines=lines)


def give(task, seen, changes, lines):
    """Write the CPU into one guest's definition and restart it where that was asked for."""
    name, due = seen["name"], seen["restart_due"]
    changes.note("CPU of %s" % name, seen["before"], seen["after"])
    restarts = due and task.params["restart"]
    if restarts:
        changes.note("%s runs with" % name, "the CPU that it was started with", "the CPU of its definition")
    if not task.check_mode:
        guest_cpu.write(seen)
        if restarts:
            task.say("%s is restarted for its new CPU" % name)
            guest_cpu.restart(seen, task.clock, task.params["restart_timeout"])
    lines += cpu.guest_in_words(name, seen["changed"], seen["drops"], due, restarts)
    return {"name": name, "changed": seen["changed"], "drops": seen["drops"], "restart_needed": due and not restarts,
            "restarted": restarts}


def main():
    run_module(execute, SPEC)


if __name__ == "__main__":
    main()
