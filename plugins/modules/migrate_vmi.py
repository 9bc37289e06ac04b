#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: migrate_vmi
short_description: Move running virtual machines to other nodes, live, and see it through
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Says where VMs should be, and brings there live what is elsewhere. A VM that is there already is left alone.
  - Creates VirtualMachineInstanceMigration objects (VMIMs), side by side as far as KubeVirt's limits leave room, and
    follows each to its end by watching. A VM has moved only when it reports so itself, from the target node, as the same
    instance as before. A VM that came up anew is V(VM RESTARTED), a failure.
  - A migration that is under way already is followed instead of started twice, if it leads to the desired place.
    When the task is killed, the migrations go on; the same task run again takes them up.
  - What KubeVirt fixes at handoff (policy, settings, target node, address) is compared with what was planned. A migration
    that differs is cancelled at once, when next to nothing has been copied.
  - A critical guest (256 GiB and more, 1 GiB pages, the label C(live-migration.bigvm.io/critical=true) on its VMI, or named
    in O(critical)) is not moved where post-copy or a pause may happen to it, unless that is acknowledged.
  - VMs of one namespace whose VMIs carry the label C(live-migration.bigvm.io/keep-apart) with the same value never move at
    once, whoever moves the other one, and never to the node of another.
  - Names the cause of a failure, and what helps. The other VMs that are under way finish, no more are started, and the
    task fails with the results of all.
  - Run on the control node (localhost) without C(async) and without delegation to another host, it shows how far each
    copy is while it runs. Otherwise it does the same work, and shows the result at the end.
options:
  state:
    description:
      - V(migrated) brings the VMs to their place.
      - V(aborted) cancels what is under way for the VMs, whoever started it, and follows the cancel to its end. An
        evacuation that would start another migration is cancelled too, where KubeVirt can do that (from 1.7 on); else a
        warning says that it will return.
      - V(followed) starts nothing and follows what is under way, for the named VMs, or without a name every migration
        that this collection started (of O(run), and in O(namespace), where given).
    type: str
    choices: [migrated, aborted, followed]
    default: migrated
  name:
    description: Name of the one VM. Needs O(namespace).
    type: str
  namespace:
    description: Namespace of O(name).
    type: str
  vms:
    description:
      - The VMs, each with C(name), C(namespace) and, if it differs from O(target_node), C(target_node). C(expect) is an
        entry as in O(expected) for this VM. A C(uid) that the VM no longer has is warned about. Other keys are ignored, so
        that the entries of M(bigvm.live_migration.evacuation_plan_info) can be given as they are.
      - They are started in this order. An empty list is nothing to do.
    type: list
    elements: dict
  target_node:
    description:
      - The node where the VMs should be.
      - Refused where KubeVirt cannot be told a target (before 1.6), and for a node that is unknown, cordoned or not
        ready.
    type: str
  target_node_selector:
    description: Labels of the nodes of which any will do. Refused where O(target_node) is.
    type: dict
  away_from:
    description:
      - Nodes where the VMs should not be. Any other will do.
      - A migration that is scheduled to one of them after all is cancelled, and is a failure. Cordon them first.
    type: list
    elements: str
  max_parallel:
    description: At most so many VMs at a time. By default KubeVirt's limits alone decide.
    type: int
  queue_timeout:
    description:
      - How long a migration may wait for KubeVirt to start it, or without any of ours under way for a free slot.
        A duration such as V(1800), V(30min) or V(1h).
    type: str
    default: 1800s
  timeout:
    description:
      - How long a migration may take once it has left the queue, as a duration such as V(14400), V(90min) or V(4h).
      - By default 15 minutes more than KubeVirt itself grants (C(completionTimeoutPerGiB)), counted from the start of the
        copy.
      - Required, or O(deadline), for a guest of more than 256 GiB, to which KubeVirt easily grants days.
    type: str
  deadline:
    description:
      - When everything must have ended, as RFC 3339 with offset, such as V(2026-11-22T04:30:00+01:00). Nothing is started
        later, and nothing whose O(timeout) would pass it. What still runs 30 seconds before is cancelled, since that takes a while.
      - Holds beside O(timeout); what comes first counts.
    type: str
  reserve:
    description:
      - How long before the O(deadline) everything must have ended, as a duration; for what is to follow. Without a
        deadline it means nothing.
    type: str
  on_timeout:
    description:
      - What to do with a migration whose time is over. V(abort) cancels it, which leaves the VM running where it was;
        V(leave) lets it go on. The task fails in either case.
      - What this collection did not start is never cancelled by a time limit. Post-copy cannot be cancelled.
    type: str
    choices: [abort, leave]
    default: abort
  expected:
    description:
      - What the migrations must run with, as M(bigvm.live_migration.migration_policy) returns it (RV(ignore:vms)), entries with
        C(namespace), C(name), C(policy) (none for no policy) and C(configuration), fields as in
        C(status.migrationState.migrationConfiguration) of a VMI. What an entry leaves out is not compared. Entries of other
        VMs are ignored.
      - Compared with what is in force before anything is created, and with what KubeVirt has fixed at handoff.
      - By default what is in force when the task begins.
    type: list
    elements: dict
  acknowledge:
    description:
      - Dangers that are taken for critical guests. V(post_copy), the guest goes on at the target before its memory is there
        and is lost if a node or the link fails then. V(disruption), the guest is paused until the rest is copied, which a
        cluster manager in it takes for its death; needs O(max_pause).
      - A guest that KubeVirt pauses without V(disruption) being acknowledged is cancelled at once, critical or not. It goes
        on where it was.
    type: list
    elements: str
    choices: [post_copy, disruption]
    default: []
  max_pause:
    description: How long KubeVirt may pause a guest to end its copy. After that the migration is cancelled.
    type: str
  stop_file:
    description:
      - When this file exists, nothing more is started. What is under way is followed to its end, the other VMs are
        V(not_started), and the task fails. The file is looked for where the task runs.
    type: path
  lease:
    description:
      - The node whose lease O(run) holds (M(bigvm.live_migration.node_hold)). It is renewed while this works; when another run
        has taken it, nothing more is started.
      - The annotation C(live-migration.bigvm.io/stop) on this node, with any value, does the same as O(stop_file).
    type: str
  guard:
    description:
      - Others who are looked for again before a VM is started, at most once a minute, as
        M(bigvm.live_migration.maintenance_interlocks) does it. For migrations and evacuations of others it waits, up to
        O(queue_timeout); everything else that blocks stops it, what is under way is followed to its end.
    type: dict
    suboptions:
      node:
        description: The node that is being emptied.
        type: str
        required: true
      accept:
        description: Codes that do not block.
        type: list
        elements: str
        default: []
  progress_interval:
    description: Seconds between two lines about each VM. V(0) shows none.
    type: int
    default: 60
  prometheus:
    description:
      - Where to ask for the numbers of a copy. Without it they are read from the launchers' logs, which needs the right
        to read C(pods/log). Without either there are phase and time only, and a warning says so once.
    type: dict
    suboptions:
      url:
        description: Of the Prometheus API, without C(/api/v1).
        type: str
        required: true
      token:
        description: Bearer token for it.
        type: str
      ca_cert:
        description: File with the CA certificates to verify it by.
        type: path
      validate_certs:
        description: Whether to verify its certificate.
        type: bool
        default: true
  run:
    description:
      - Id of the run, kept as label C(live-migration.bigvm.io/run) on what is created.
    type: str
extends_documentation_fragment:
  - bigvm.live_migration.attributes.async
  - bigvm.live_migration.critical_vms
  - bigvm.live_migration.assumed_settings
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
    description:
      - VMIMs are created as a dry run on the server, with KubeVirt's own admission; says what would happen.
      - O(settings) are then judged as held by M(bigvm.live_migration.migration_policy), before every other policy. Without
        check mode they are ignored; what counts is what is in force.
  diff_mode:
    support: none
    description: What changes is where VMs run, which the result tells.
requirements:
  - python >= 3.9
  - kubernetes >= 24.2.0
notes:
  - Needs to list and watch C(virtualmachineinstances) and C(virtualmachineinstancemigrations), to list C(kubevirts),
    C(migrationpolicies) and C(nodes), and to create and delete C(virtualmachineinstancemigrations), which from KubeVirt
    1.5 on only the ClusterRole C(kubevirt.io:migrate) grants. Reading C(pods), C(pods/log) and C(events) makes causes and
    progress better.
  - Without C(migrationpolicies) the settings cannot be compared at handoff, without the C(pods) of KubeVirt's namespace
    the migration network cannot; a warning says so. O(lease) needs to get C(nodes), and to get and patch C(leases) in
    KubeVirt's namespace; O(guard) what M(bigvm.live_migration.maintenance_interlocks) reads.
  - While it waits it makes no more than one request a minute. The log of a launcher is therefore opened only for a copy
    that lasts, the biggest guest first, one every three minutes; the lines of the others tell phase and time.
  - Percent means time. It is an estimate from what was copied and what the guest changed meanwhile.
seealso:
  - module: bigvm.live_migration.vm_migratable_facts
  - module: bigvm.live_migration.evacuation_plan_info
  - module: bigvm.live_migration.hco_live_migration_config
"""

EXAMPLES = r"""
- name: Bring one VM to a node
  bigvm.live_migration.migrate_vmi:
    name: hana-prod
    namespace: sap-prod
    target_node: worker-2
    timeout: 4h

- name: Bring all these away from a node that was cordoned, two at a time, before the night is over
  bigvm.live_migration.migrate_vmi:
    vms:
      - {name: app-1, namespace: sap-prod}
      - {name: app-2, namespace: sap-prod}
      - {name: hana-qa, namespace: sap-qa, target_node: worker-3}
    away_from: [worker-1]
    max_parallel: 2
    deadline: "2030-11-22T04:30:00+01:00"
  register: moved

- name: Move a wave with the settings that were held for it, and keep three hours for the way back
  bigvm.live_migration.migrate_vmi:
    vms: "{{ plan.waves[0].vms }}"
    away_from: [hana-a]
    expected: "{{ held.vms }}"
    run: maintenance-42
    lease: hana-a
    timeout: 2h
    deadline: "2030-11-22T04:30:00+01:00"
    reserve: 3h
    stop_file: /tmp/stop-after-this-one

- name: Cancel what is under way for a VM
  bigvm.live_migration.migrate_vmi:
    name: hana-prod
    namespace: sap-prod
    state: aborted

- name: Follow what a killed run left under way
  bigvm.live_migration.migrate_vmi:
    state: followed
    run: maintenance-42
"""

RETURN = r"""
migrations:
  description: One entry for each VM. Returned with a failure, too.
  returned: always, unless nothing was begun
  type: list
  elements: dict
  contains:
    namespace:
      description: Namespace of the VM.
      type: str
    name:
      description: Name of the VM.
      type: str
    uid:
      description: Uid of its VMI, the same before and after.
      type: str
    memory_bytes:
      description: Memory of the guest, bytes.
      type: int
    critical:
      description: Whether it counts as a critical guest.
      type: bool
    outcome:
      description:
        - V(moved), V(already_there), V(aborted) (cancelled, the VM is where it was), V(failed), V(restarted),
          V(left) (its time is over, it goes on), V(queued_too_long), V(not_started), V(nothing_under_way).
        - In check mode V(would_move), V(would_follow), V(would_abort).
      type: str
      sample: moved
    source_node:
      description: Where the VM was.
      type: str
      sample: worker-1
    target_node:
      description: Where the migration went; none when it was not handed over.
      type: str
      sample: worker-2
    node:
      description: Where the VM is.
      type: str
      sample: worker-2
    vmim:
      description: Name of the VMIM.
      type: str
      sample: bigvm-hana-prod-x7k2p
    adopted:
      description: Whether the migration was under way before.
      type: bool
    started:
      description: When the VMIM was created.
      type: str
      sample: "2026-11-22T01:00:00Z"
    ended:
      description: When it came to its end.
      type: str
      sample: "2026-11-22T01:41:12Z"
    seconds:
      description: How long it took, as C({queue, prepare, copy, total}); what was not reached is none.
      type: dict
      sample: {queue: 1, prepare: 14, copy: 2457, total: 2472}
    mode:
      description: V(PreCopy), V(PostCopy) or V(Paused), as KubeVirt reports it.
      type: str
      sample: PreCopy
    paused_seconds:
      description: How long KubeVirt had paused the guest, as far as that was seen.
      type: int
      sample: 0
    policy:
      description: The MigrationPolicy it ran with; none for none, or before handoff.
      type: str
    target_address:
      description: Where the target listened.
      type: str
    cause:
      description:
        - Why it did not end as asked, as C({code, message, remedy}). V(not_as_planned), V(wrong_target), V(wrong_network)
          and V(dangerous) come from the comparison at handoff.
      type: dict
      sample:
        code: not_converging
        message: the memory could not be copied within the time that KubeVirt grants
        remedy: Use a quieter hour, a faster migration network, or a larger completionTimeoutPerGiB.
    evacuation:
      description: With O(state=aborted), for a VM that was being evacuated, V(cancelled) or V(returns).
      type: str
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import migrations
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.options import settings_options
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import run_module
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import critical

SPEC = {
    "state": {"type": "str", "choices": ["migrated", "aborted", "followed"], "default": "migrated"},
    "name": {"type": "str"},
    "namespace": {"type": "str"},
    "vms": {"type": "list", "elements": "dict"},
    "target_node": {"type": "str"},
    "target_node_selector": {"type": "dict"},
    "away_from": {"type": "list", "elements": "str"},
    "max_parallel": {"type": "int"},
    "queue_timeout": {"type": "str", "default": "1800s"},
    "timeout": {"type": "str"},
    "deadline": {"type": "str"},
    "reserve": {"type": "str"},
    "expected": {"type": "list", "elements": "dict"},
    "acknowledge": {"type": "list", "elements": "str", "choices": list(critical.DANGERS), "default": []},
    "max_pause": {"type": "str"},
    "critical": {"type": "list", "elements": "str", "default": []},
    "stop_file": {"type": "path"},
    "lease": {"type": "str"},
    "guard": {"type": "dict", "options": {
        "node": {"type": "str", "required": True}, "accept": {"type": "list", "elements": "str", "default": []}}},
    "settings": {"type": "dict", "options": settings_options()},
    "on_timeout": {"type": "str", "choices": ["abort", "leave"], "default": "abort"},
    "progress_interval": {"type": "int", "default": 60},
    "prometheus": {
        "type": "dict",
        "options": {
            "url": {"type": "str", "required": True},
            "token": {"type": "str", "no_log": True},
            "ca_cert": {"type": "path"},
            "validate_certs": {"type": "bool", "default": True},
        },
    },
    "run": {"type": "str"},
}
CONSTRAINTS = {
    "mutually_exclusive": [("name", "vms"), ("target_node", "target_node_selector")],
    "required_by": {"name": ("namespace",), "lease": ("run",)},
    "required_if": [("state", "migrated", ("name", "vms"), True), ("state", "aborted", ("name", "vms"), True)],
}

execute = migrations.run


def main():
    run_module(execute, SPEC, **CONSTRAINTS)


if __name__ == "__main__":
    main()
