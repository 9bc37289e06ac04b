#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_hold
short_description: Cordon a node and remember how it was, so that any later run can end it
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Keeps the journal of a maintenance in an annotation of the node, C(live-migration.bigvm.io/maintenance), written in
    the same patch as the cordon. Whoever comes later, from whatever machine, knows which run it was, which VMs were on
    the node, and whether it was cordoned before.
  - A node that was cordoned before the maintenance stays cordoned after it.
  - A Lease in the namespace of KubeVirt, C(live-migration-<node>), keeps two runs off one node. It expires ten minutes
    after the last sign of life of its run; the modules that work for long renew it.
  - The first hold also remembers what the node had (1 GiB pages, devices, CPU manager, migration network), for
    M(bigvm.live_migration.node_gate_info).
options:
  state:
    description:
      - V(awaited) writes nothing. It returns as soon as it is clear that no other run is alive on the node, and fails when
        one is. A run that cannot be told from a dead one is waited for until its lease expires, ten minutes at most.
      - V(held) takes the node's lease, writes the journal and cordons the node. It is refused while another run is alive.
      - V(uncordoned) removes the cordon if it is ours and keeps the journal, for what is still to be done, such as
        bringing the VMs back.
      - V(left) ends only the lease. The run ends, and journal and cordon stay for a later one, because the maintenance
        did not succeed.
      - V(released) removes the journal, and the cordon if it is ours, and then the lease. Without a journal only the lease
        of a dead run is removed.
      - V(read) returns the journal of the node, or without O(name) those of all nodes that have one.
    type: str
    choices: [awaited, held, uncordoned, left, released, read]
    default: held
  name:
    description: The node. Needed unless O(state=read).
    type: str
  run:
    description:
      - The id of the run. Needed with O(state=held).
      - With O(state=uncordoned), O(state=left) and O(state=released), only for the journal of this run; without, for that
        of any run.
    type: str
  take_over:
    description:
      - Id of another run that you know to be dead. Its lease is not waited for with O(state=awaited), and taken with
        O(state=held).
      - A run that ended during the maintenance itself is only taken over in this way, since nobody renews the lease then.
    type: str
  seen:
    description:
      - RV(seen) of the O(state=awaited) before; O(state=held) is then refused when somebody has taken the node since.
      - Without it, a node that this run holds already is simply kept.
    type: str
  adopt:
    description:
      - Whether the journal that another run left on the node is taken over. What it says about VMs and the earlier
        cordon is kept. If not, such a node is refused.
    type: bool
    default: true
  cordon:
    description: Whether O(state=held) cordons. V(false) writes the journal only, before or after the cordon.
    type: bool
    default: true
  vms:
    description: The VMs that were on the node. Those already in the journal are kept.
    type: list
    elements: dict
    default: []
    suboptions:
      namespace:
        description: Its namespace.
        type: str
        required: true
      name:
        description: Its name.
        type: str
        required: true
      uid:
        description: The uid of its VMI.
        type: str
        required: true
  phase:
    description: Where the maintenance is. Left as it is when not given.
    type: str
  progress:
    description: A few more things to remember. Keys given replace those in the journal, others stay.
    type: dict
    default: {}
extends_documentation_fragment:
  - bigvm.live_migration.holding
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
    description: A dry run on the server; nothing is stored.
  diff_mode:
    support: full
    description: Cordon and journal before and after.
requirements:
  - python >= 3.9
  - kubernetes >= 24.2.0
notes:
  - Needs to get, list and patch C(nodes), to list C(kubevirts.kubevirt.io), and in the namespace of KubeVirt to get, list,
    create, patch and delete C(leases.coordination.k8s.io) and to list C(pods).
  - Nothing is evicted here. KubeVirt answers evictions of virt-launcher pods with 429 by design; move the VMs with
    M(bigvm.live_migration.migrate_vmi).
seealso:
  - module: bigvm.live_migration.hco_live_migration_config
  - module: bigvm.live_migration.migrate_vmi
  - module: kubernetes.core.k8s_drain
"""

EXAMPLES = r"""
- name: Wait until no other run is alive on worker-1
  bigvm.live_migration.node_hold:
    name: worker-1
    state: awaited
  register: awaited

- name: Take worker-1 out of service
  bigvm.live_migration.node_hold:
    name: worker-1
    run: maintenance-42
    seen: "{{ awaited.seen }}"
    vms:
      - {namespace: sap, name: hana-a, uid: 6f0c0f0a-2f7e-4d3b-9a52-0d3f4ab1c001}

- name: Say how far it is
  bigvm.live_migration.node_hold:
    name: worker-1
    run: maintenance-42
    phase: waves
    progress:
      wave: 2

- name: Give it back
  bigvm.live_migration.node_hold:
    name: worker-1
    run: maintenance-42
    state: released

- name: Which nodes have an unfinished maintenance?
  bigvm.live_migration.node_hold:
    state: read
  register: unfinished
"""

RETURN = r"""
node:
  description: The node.
  returned: when O(name) was given
  type: str
cordoned:
  description: Whether the node is cordoned afterwards.
  returned: with O(state=held), O(state=uncordoned), O(state=left) and O(state=released)
  type: bool
lease:
  description:
    - The lease of the node, C({holder, run, owner, renewed, expires, alive}); null when nobody has it.
    - With O(state=awaited) the one that was found.
  returned: with O(state=awaited) and O(state=held)
  type: dict
seen:
  description: Version of the lease that was found, for O(seen); empty without one.
  returned: with O(state=awaited)
  type: str
waited_seconds:
  description: How long was waited.
  returned: with O(state=awaited)
  type: float
journal:
  description:
    - With O(state=held), the journal as it is now, with what was taken over from earlier runs.
    - Else the journal that was found; null without one.
  returned: with O(state=held), O(state=uncordoned), O(state=left) and O(state=released)
  type: dict
  sample:
    run: maintenance-42
    owner: basis@bastion
    since: "2026-11-21T01:15:00Z"
    cordoned_before: false
    cordoned: true
    vms: [{namespace: sap, name: hana-a, uid: 6f0c0f0a-2f7e-4d3b-9a52-0d3f4ab1c001}]
    phase: waves
    progress: {wave: 2, node_before: {allocatable: {hugepages-1Gi: 5Ti}, migration_address: 10.200.5.10}}
    earlier_runs: []
found:
  description: The journal as it was before this call; null without one.
  returned: with O(state=held), O(state=uncordoned), O(state=left) and O(state=released)
  type: dict
adopted:
  description: Whether a journal was there already, of this or an earlier run.
  returned: with O(state=held)
  type: bool
released:
  description: Whether the journal was removed, or in check mode would be.
  returned: with O(state=uncordoned), O(state=left) and O(state=released)
  type: bool
uncordoned:
  description: Whether the cordon was removed as well.
  returned: with O(state=uncordoned), O(state=left) and O(state=released)
  type: bool
journals:
  description: The journals found, by node.
  returned: with O(state=read)
  type: list
  elements: dict
  contains:
    node:
      description: The node.
      type: str
    cordoned:
      description: Whether it is cordoned now.
      type: bool
    journal:
      description: The journal; null when it cannot be read.
      type: dict
    problem:
      description: Why it cannot be read; null when it can.
      type: str
    lease:
      description: The lease of the node, as above; null when nobody has it or when it cannot be read.
      type: dict
  sample: [{node: worker-1, cordoned: true, journal: {run: maintenance-42}, problem: null, lease: null}]
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import journals, node_gate
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import lease as leases
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import run_module
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.writing import owner
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import to_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput, Forbidden, Refused
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import journal, lease
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.node_gate import snapshot

SPEC = dict(
    state=dict(type="str", choices=["awaited", "held", "uncordoned", "left", "released", "read"], default="held"),
    name=dict(type="str"),
    run=dict(type="str"),
    take_over=dict(type="str"),
    seen=dict(type="str"),
    owner=dict(type="str"),
    adopt=dict(type="bool", default=True),
    cordon=dict(type="bool", default=True),
    vms=dict(
        type="list", elements="dict", default=[],
        options={key: dict(type="str", required=True) for key in ("namespace", "name", "uid")}),
    phase=dict(type="str"),
    progress=dict(type="dict", default={}),
)
CONSTRAINTS = dict(required_if=[("state", "held", ("name", "run"))] + [
    ("state", state, ("name",)) for state in ("awaited", "uncordoned", "left", "released")])


def execute(task):
    for option, meaning in (("name", "the node"), ("run", "the id of the run")):
        if task.params[option] is not None and not task.params[option].strip():
            raise BadInput("The option %s is empty." % option, "Give %s." % meaning)
    work = {"awaited": await_others, "held": hold, "uncordoned": release, "left": leave, "released": release, "read": read}
    return work[task.params["state"]](task)


def await_others(task):
    name = task.params["name"]
    record = journals.row_of(journals.get_node(task.api, name))["journal"] or {}
    found, version, waited = leases.wait(task, name, record.get("phase"), task.params["take_over"])
    return {"changed": False, "node": name, "lease": lease.row(found), "seen": version, "waited_seconds": waited}


def hold(task):
    params, now, who = task.params, task.clock.now(), task.params["owner"] or owner()
    node = journals.get_node(task.api, params["name"])
    first = journals.journal_of(node) or {}
    if first and first["run"] != params["run"] and not params["adopt"]:
        raise _not_adopted(params["name"], first)
    progress = dict(params["progress"])
    known = "node_before" in (first.get("progress") or {}) or first.get("phase") in journal.AFTERWARDS
    if not known:
        progress.setdefault("node_before", snapshot(node_gate.look(task.api, params["name"], node)))
    held = leases.acquire(
        task.api, params["name"], params["run"], who, now, first.get("phase"), params["take_over"], params["seen"])

    def decide(node):
        found = journals.journal_of(node)
        if found and found["run"] != params["run"] and not params["adopt"]:
            raise _not_adopted(params["name"], found)
        record = journal.hold_node(
            found, journals.is_cordoned(node), params["run"], who, to_timestamp(now), params["cordon"], params["vms"],
            params["phase"], progress)
        cordon = params["cordon"] and not journals.is_cordoned(node)
        if record == found and not cordon:
            return None
        return dict(journals.body_of(record), **({"spec": {"unschedulable": True}} if cordon else {}))

    before, after = journals.patch_node(task.api, params["name"], decide)
    found = journals.journal_of(before)
    return journals.changes(before, after).result(
        node=params["name"], cordoned=journals.is_cordoned(after), journal=journals.journal_of(after), found=found,
        adopted=found is not None, lease=lease.row(held))


def _not_adopted(name, found):
    return Refused(
        "Node %s is in the maintenance of run %s (%s, since %s)." % (name, found["run"], found.get("owner"), found.get("since")),
        "Wait for it, or if it is dead restore it, or let this run adopt it.")


def leave(task):
    node = journals.get_node(task.api, task.params["name"])
    found = journals.journal_of(node)
    ended = leases.release(task.api, task.params["name"], task.clock.now(), task.params["run"] or (found or {}).get("run"))
    return {"changed": ended, "node": task.params["name"], "cordoned": journals.is_cordoned(node), "journal": found,
            "found": found, "released": False, "uncordoned": False}


def release(task):
    keep, run = task.params["state"] == "uncordoned", task.params["run"]

    def decide(node):
        found = journals.journal_of(node)
        remove, uncordon, dummy = journal.release_node(found, journals.is_cordoned(node), run)
        kept = dict(found, cordoned=False, phase=task.params["phase"] or found.get("phase")) if keep and found else None
        if not remove or (keep and not uncordon and kept == found):
            return None
        return dict(journals.body_of(kept), **({"spec": {"unschedulable": None}} if uncordon else {}))

    before, after = journals.patch_node(task.api, task.params["name"], decide)
    found = journals.journal_of(before)
    removed, uncordoned, warning = journal.release_node(found, journals.is_cordoned(before), run)
    if warning:
        task.warn("Node %s: %s" % (task.params["name"], warning))
    ended = not keep and leases.release(task.api, task.params["name"], task.clock.now(), run or (found or {}).get("run"))
    result = journals.changes(before, after).result(
        node=task.params["name"], cordoned=journals.is_cordoned(after), journal=found, found=found, released=removed and not keep,
        uncordoned=uncordoned)
    return dict(result, changed=result["changed"] or ended)


def read(task):
    name = task.params["name"]
    rows = [journals.row_of(node) for node in journals.noted_nodes(task.api, name)]
    try:
        held = leases.read_all(task.api, task.clock.now()) if rows else {}
    except Forbidden as exc:
        task.warn("Whether the runs found are alive cannot be told. %s" % exc)
        held = {}
    except BadInput:
        held = {}
    rows = [dict(row, lease=lease.row(held.get(lease.name_of(row["node"])))) for row in rows]
    return dict({"changed": False, "journals": rows}, **({"node": name} if name else {}))


def main():
    run_module(execute, SPEC, **CONSTRAINTS)


if __name__ == "__main__":
    main()
