#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: libvirt_migrate
short_description: Move a guest to another KVM host, follow it, act when it does not end, and verify that it lives
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Moves a libvirt guest live, suspended, or, when it is shut off, its definition. A guest that is on the target already is
    left alone; a migration of it that is under way is followed.
  - By default the guest is persistent on the target afterwards and no longer defined on the source. Its autostart goes
    along, so that after a reboot of either host it starts on one of them.
  - While it copies, the figures of libvirt's job are watched. When it takes long, the steps of O(ladder) are taken.
  - What libvirt calls completed is not believed. The guest has to run on the target and nowhere else, and its agent, where
    it answered before, has to answer there; without an agent its CPUs have to advance.
  - When it fails or is given up, the guest runs on the source as before, and the message says where it is.
options:
  name:
    description: Name of the guest.
    type: str
    required: true
  destination:
    description: The connection of the host to move to, as the source host sees it, for example
      C(qemu+tls://kvm-2.example.com/system).
    type: str
    required: true
  uri:
    description: The connection of the host to move from. By default the host that the module runs on.
    type: str
  target_uri:
    description: The connection of the target as seen from where the module runs, when that differs from O(destination).
    type: str
  mode:
    description:
      - V(live) lets the guest run while it is copied.
      - V(suspended) pauses it first and lets it go on at the target. It takes the length of the copy, and always ends.
      - V(offline) moves the definition of a guest that is shut off. Its disks are not copied.
    type: str
    choices: [live, suspended, offline]
    default: live
  persistent:
    description: Whether the target keeps the definition of the guest.
    type: bool
    default: true
  keep_source:
    description: Whether the source keeps its definition as well. Its autostart is then switched off there.
    type: bool
    default: false
  p2p:
    description: Whether the source's libvirt talks to that of the target. V(false) has the module talk to both.
    type: bool
    default: true
  migrate_uri:
    description: Where the memory is sent, for example C(tcp://kvm-2-migration.example.com), to use the dedicated network.
    type: str
  tls:
    description: Whether the memory is sent encrypted (QEMU's own certificates are needed on both hosts).
    type: bool
    default: false
  bandwidth:
    description: Most bytes per second to send, such as V(2Gi). No limit when not given.
    type: str
  connections:
    description: Over how many connections the memory is sent.
    type: int
    default: 1
  max_downtime:
    description: For how many milliseconds the guest may pause at the switch-over. QEMU's own default when not given.
    type: int
  auto_converge:
    description: Whether QEMU slows the guest down when it changes its memory faster than it is sent.
    type: bool
    default: false
  post_copy:
    description: Whether a step of O(ladder) may switch to post-copy. When the link fails after that, the guest is lost.
    type: bool
    default: false
  critical:
    description: Whether the guest must not be lost whatever comes, such as SAP HANA. Rules post-copy out.
    type: bool
    default: false
  timeout:
    description: When to give up, such as V(4h). The guest then runs on the source as before.
    type: str
  max_pause:
    description: For how long a guest may stay paused by the step V(suspend) before the migration is given up.
    type: str
  ladder:
    description:
      - What to do when it takes long, in this order.
      - Auto-converge is no step, since libvirt takes it only at the start.
    type: list
    elements: dict
    default: []
    suboptions:
      after:
        description: How long after the start, such as V(20min).
        type: str
        required: true
      do:
        description:
          - V(downtime) allows the pause O(ladder[].value), in milliseconds.
          - V(bandwidth) allows O(ladder[].value) bytes per second, such as V(4Gi).
          - V(suspend) pauses the guest until the copy has ended, for O(max_pause) at most.
          - V(post_copy) switches to post-copy.
          - V(abort) gives up.
        type: str
        required: true
        choices: [downtime, bandwidth, suspend, post_copy, abort]
      value:
        description: The value of the step.
        type: str
  networks:
    description: Names of networks or bridges on the source, with those to use on the target.
    type: dict
    default: {}
  disks:
    description: Paths of disks on the source, with those of the same disks on the target.
    type: dict
    default: {}
  definition:
    description:
      - The definition that the guest shall run with on the target, as XML, where it is another one than O(networks) and O(disks)
        make of its own. Begin with what C(virsh dumpxml --migratable) prints.
      - What the guest sees of its hardware cannot change while it runs; such changes are named and refused. They belong into
        O(kept_definition).
    type: str
  kept_definition:
    description:
      - The definition that the target keeps and the guest gets with its next start, as XML, for example with another CPU. Begin
        with what C(virsh dumpxml --inactive) prints. Needed beside O(definition) when O(persistent) is true.
    type: str
  state_copied:
    description:
      - Whether the files in which the host keeps the variables of the guest's UEFI firmware and its emulated TPM are on the target
        already. A live move takes their content along; with O(mode=offline) nothing does, and the move is refused without this.
    type: bool
    default: false
  progress_interval:
    description: Seconds between two lines about the copy. V(0) has none.
    type: int
    default: 60
  progress_file:
    description:
      - A file on the host that the module runs on, to which each line is appended when it comes, for others to look at
        meanwhile. Where the task shows its lines while it works, it uses one of its own.
    type: path
attributes:
  check_mode:
    support: full
    description: Looks where the guest is and says whether it would be moved.
  diff_mode:
    support: full
    description: The host before and after.
requirements:
  - python >= 3.9
  - libvirt's Python binding (python3-libvirt), where the module runs
notes:
  - Runs on the KVM host that the guest is on, or anywhere with O(uri).
  - The module runs as a background job of the host and its lines are shown while it works, unless the task is C(async) or
    O(progress_interval) is V(0). When the playbook is killed or its connection breaks, the job goes on, with its ladder and
    timeout.
  - With O(p2p), the migration goes on even when the module itself is killed. The same task, started again, follows it. A guest
    that the step V(suspend) had paused then goes on at the target.
seealso:
  - module: bigvm.live_migration.libvirt_cpu_baseline
"""

EXAMPLES = r"""
- name: Move a guest over the dedicated network
  bigvm.live_migration.libvirt_migrate:
    name: hana-a
    destination: qemu+tls://kvm-2.example.com/system
    migrate_uri: tcp://kvm-2-migration.example.com
    connections: 4
    critical: true
    timeout: 4h

- name: Do something about it when it takes long
  bigvm.live_migration.libvirt_migrate:
    name: app-1
    destination: qemu+tls://kvm-2.example.com/system
    auto_converge: true
    max_pause: 2min
    ladder:
      - {after: 10min, do: downtime, value: 2000}
      - {after: 20min, do: suspend}
      - {after: 30min, do: abort}
"""

RETURN = r"""
name:
  description: The guest.
  returned: success
  type: str
uuid:
  description: Its UUID.
  returned: success
  type: str
host:
  description: The host that it is on now; in check mode, where it would be.
  returned: success
  type: str
moved:
  description: Whether it was moved by this call, or a move followed.
  returned: success
  type: bool
proof:
  description: How it is known that it lives there, V(agent) or V(cpu_time). Null for one that is shut off or paused.
  returned: when it was moved
  type: str
seconds:
  description: How long the copy took; null where libvirt does not tell, as with the next four.
  returned: when it was moved
  type: float
downtime_ms:
  description: For how long the guest stood still.
  returned: when it was moved
  type: int
sent:
  description: Bytes of memory that were sent.
  returned: when it was moved
  type: int
passes:
  description: How many times its memory was gone through.
  returned: when it was moved
  type: int
throttle:
  description: By how many percent auto-converge slowed it down.
  returned: when it was moved
  type: int
autostart:
  description: Whether it starts with its host.
  returned: when it was moved
  type: bool
steps:
  description: The steps of the ladder taken, C(after) seconds, C(do), C(value), C(done).
  returned: when it was moved, and when that failed
  type: list
  elements: dict
runs_on:
  description: The connection of the host that the guest runs on after a failure; null when it does not run.
  returned: failure while moving
  type: str
lines:
  description: What happened, in words.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.changeset import ChangeSet
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.moving import Move
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.options import migration_plan
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.runner import run_module, teller

SPEC = dict(
    name=dict(type="str", required=True),
    destination=dict(type="str", required=True), uri=dict(type="str"), target_uri=dict(type="str"),
    mode=dict(type="str", choices=["live", "suspended", "offline"], default="live"),
    persistent=dict(type="bool", default=True), keep_source=dict(type="bool", default=False),
    p2p=dict(type="bool", default=True), migrate_uri=dict(type="str"), tls=dict(type="bool", default=False),
    bandwidth=dict(type="str"), connections=dict(type="int", default=1), max_downtime=dict(type="int"),
    auto_converge=dict(type="bool", default=False), post_copy=dict(type="bool", default=False),
    critical=dict(type="bool", default=False), timeout=dict(type="str"), max_pause=dict(type="str"),
    ladder=dict(type="list", elements="dict", default=[], options=dict(
        after=dict(type="str", required=True),
        do=dict(type="str", required=True, choices=["downtime", "bandwidth", "suspend", "post_copy", "abort"]),
        value=dict(type="str"))),
    networks=dict(type="dict", default={}), disks=dict(type="dict", default={}),
    definition=dict(type="str"), kept_definition=dict(type="str"), state_copied=dict(type="bool", default=False),
    progress_interval=dict(type="int", default=60), progress_file=dict(type="path"),
)


def execute(task):
    plan = migration_plan(task.params)
    move, changes = Move(task.hosts, plan, task.clock, teller(plan["progress_file"], task)), ChangeSet()
    what = move.look()
    found = {"name": move.name, "uuid": move.uuid, "host": move.target_name, "moved": what != "there"}
    if what == "there":
        line, went_on = move.already(task.check_mode)
        if went_on:
            changes.note("State of %s" % move.name, "paused", "running")
        return changes.result(lines=[line], **found)
    changes.note("Host of %s" % move.name, move.source.hostname(), move.target_name)
    if what == "move":
        move.prepare()
    if task.check_mode:
        return changes.result(lines=["%s: would be moved to %s" % (move.name, move.target_name)], **found)
    done = move.run(what == "adopt")
    return changes.result(steps=move.log, lines=move.lines, autostart=move.autostart, **found, **done)


def main():
    run_module(execute, SPEC)


if __name__ == "__main__":
    main()
