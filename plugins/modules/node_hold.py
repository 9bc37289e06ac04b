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
options:
  state:
    description:
      - V(held) writes the journal and cordons the node.
      - V(uncordoned) removes the cordon if it is ours and keeps the journal, for what is still to be done, such as
        bringing the VMs back.
      - V(released) removes the journal, and the cordon if it is ours. Without a journal nothing is changed.
      - V(read) returns the journal of the node, or without O(name) those of all nodes that have one.
    type: str
    choices: [held, uncordoned, released, read]
    default: held
  name:
    description: The node. Needed unless O(state=read).
    type: str
  run:
    description:
      - The id of the run. Needed with O(state=held).
      - With O(state=uncordoned) and O(state=released), only for the journal of this run; without, for that of any run.
    type: str
  owner:
    description: Who runs it, for people who find the annotation. By default the user and host that run this.
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
  - Needs to get, list and patch C(nodes).
  - Nothing is evicted here. KubeVirt answers evictions of virt-launcher pods with 429 by design; move the VMs with
    M(bigvm.live_migration.migrate_vmi).
seealso:
  - module: bigvm.live_migration.hco_live_migration_config
  - module: bigvm.live_migration.migrate_vmi
  - module: kubernetes.core.k8s_drain
"""

EXAMPLES = r"""
- name: Take worker-1 out of service
  bigvm.live_migration.node_hold:
    name: worker-1
    run: maintenance-42
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
  returned: unless O(state=read)
  type: bool
journal:
  description:
    - With O(state=held), the journal as it is now, with what was taken over from earlier runs.
    - Else the journal that was found; null without one.
  returned: unless O(state=read)
  type: dict
  sample:
    run: maintenance-42
    owner: basis@bastion
    since: "2026-11-21T01:15:00Z"
    cordoned_before: false
    cordoned: true
    vms: [{namespace: sap, name: hana-a, uid: 6f0c0f0a-2f7e-4d3b-9a52-0d3f4ab1c001}]
    phase: waves
    progress: {wave: 2}
    earlier_runs: []
found:
  description: The journal as it was before this call; null without one.
  returned: unless O(state=read)
  type: dict
adopted:
  description: Whether a journal was there already, of this or an earlier run.
  returned: with O(state=held)
  type: bool
released:
  description: Whether the journal was removed, or in check mode would be.
  returned: with O(state=uncordoned) and O(state=released)
  type: bool
uncordoned:
  description: Whether the cordon was removed as well.
  returned: with O(state=uncordoned) and O(state=released)
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
  sample: [{node: worker-1, cordoned: true, journal: {run: maintenance-42}, problem: null}]
"""

import difflib

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import run_module
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.writing import guarded_patch, owner
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.changeset import ChangeSet
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import to_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput, NotFound, Refused
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import journal

SPEC = dict(
    state=dict(type="str", choices=["held", "uncordoned", "released", "read"], default="held"),
    name=dict(type="str"),
    run=dict(type="str"),
    owner=dict(type="str"),
    adopt=dict(type="bool", default=True),
    cordon=dict(type="bool", default=True),
    vms=dict(
        type="list", elements="dict", default=[],
        options={key: dict(type="str", required=True) for key in ("namespace", "name", "uid")}),
    phase=dict(type="str"),
    progress=dict(type="dict", default={}),
)
CONSTRAINTS = dict(required_if=[("state", "held", ("name", "run")), ("state", "uncordoned", ("name",)), ("state", "released", ("name",))])


def execute(task):
    for option, meaning in (("name", "the node"), ("run", "the id of the run")):
        if task.params[option] is not None and not task.params[option].strip():
            raise BadInput("The option %s is empty." % option, "Give %s." % meaning)
    return {"held": hold, "uncordoned": release, "released": release, "read": read}[task.params["state"]](task)


def hold(task):
    params, now, who = task.params, to_timestamp(task.clock.now()), task.params["owner"] or owner()

    def decide(node):
        found = _journal(node)
        if found and found["run"] != params["run"] and not params["adopt"]:
            raise Refused(
                "Node %s is in the maintenance of run %s (%s, since %s)."
                % (params["name"], found["run"], found.get("owner"), found.get("since")),
                "Wait for it, or if it is dead restore it, or let this run adopt it.")
        record = journal.hold_node(
            found, _cordoned(node), params["run"], who, now, params["cordon"], params["vms"], params["phase"],
            params["progress"])
        cordon = params["cordon"] and not _cordoned(node)
        if record == found and not cordon:
            return None
        return dict(_annotation(record), **({"spec": {"unschedulable": True}} if cordon else {}))

    before, after = _patch(task, decide)
    found = _journal(before)
    return _changes(before, after).result(
        node=params["name"], cordoned=_cordoned(after), journal=_journal(after), found=found, adopted=found is not None)


def release(task):
    keep = task.params["state"] == "uncordoned"

    def decide(node):
        found = _journal(node)
        remove, uncordon, dummy = journal.release_node(found, _cordoned(node), task.params["run"])
        kept = dict(found, cordoned=False, phase=task.params["phase"] or found.get("phase")) if keep and found else None
        if not remove or (keep and not uncordon and kept == found):
            return None
        return dict(
            _annotation(kept),
            **({"spec": {"unschedulable": None}} if uncordon else {}))

    before, after = _patch(task, decide)
    found = _journal(before)
    removed, uncordoned, warning = journal.release_node(found, _cordoned(before), task.params["run"])
    if warning:
        task.warn("Node %s: %s" % (task.params["name"], warning))
    return _changes(before, after).result(
        node=task.params["name"], cordoned=_cordoned(after), journal=found, found=found, released=removed and not keep,
        uncordoned=uncordoned)


def read(task):
    name = task.params["name"]
    nodes = [_known(task.api, name, task.api.get)] if name else task.api.list(path_of("v1", "nodes")).items
    rows = [_row(node) for node in nodes if _text(node) is not None]
    return dict({"changed": False, "journals": rows}, **({"node": name} if name else {}))


def _row(node):
    record, problem = None, None
    try:
        record = journal.load(_text(node))
    except ValueError as exc:
        problem = "the annotation %s cannot be read: %s" % (journal.MAINTENANCE, exc)
    return {"node": node["metadata"]["name"], "cordoned": _cordoned(node), "journal": record, "problem": problem}


def _patch(task, decide):
    return _known(task.api, task.params["name"], lambda path: guarded_patch(task.api, path, decide))


def _known(api, name, use):
    try:
        return use(path_of("v1", "nodes", name=name))
    except NotFound as exc:
        names = sorted(node["metadata"]["name"] for node in api.list(path_of("v1", "nodes")).items)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names[:5]
        raise BadInput(
            "There is no node '%s' in this cluster." % name,
            "Nothing was changed. Similar names: %s." % ", ".join(near) if near else "Nothing was changed.") from exc


def _text(node):
    return (node["metadata"].get("annotations") or {}).get(journal.MAINTENANCE)


def _cordoned(node):
    return bool((node.get("spec") or {}).get("unschedulable"))


def _journal(node):
    row = _row(node)
    if row["problem"]:
        raise Refused(
            "Node %s: %s. How the node was before is not known." % (row["node"], row["problem"]),
            "Look at it, remove the annotation by hand, and cordon or uncordon the node as it should be.")
    return row["journal"]


def _annotation(record):
    try:
        return {"metadata": {"annotations": {journal.MAINTENANCE: journal.dump(record)}}}
    except ValueError as exc:
        raise BadInput("The journal cannot be written: %s." % exc, "Give fewer or shorter values in progress.") from exc


def _changes(before, after):
    changes = ChangeSet()
    changes.note("Node %s" % after["metadata"]["name"], *[
        {"unschedulable": _cordoned(node), journal.MAINTENANCE: _journal(node)} for node in (before, after)])
    return changes


def main():
    run_module(execute, SPEC, **CONSTRAINTS)


if __name__ == "__main__":
    main()
