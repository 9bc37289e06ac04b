#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: maintenance_interlocks
short_description: Find who else is at work on a cluster or node, and pause health checks for a maintenance
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Says what would spoil the maintenance of a node, or be spoiled by it. Updates of the platform and of KubeVirt, machine config
    roll-outs, maintenance by others, health checks that fence, deschedulers, migrations and evacuations of others, drain
    taints, and repositories that put their own version back.
  - Kinds that the cluster does not serve are silently absent. What may not be read is a finding of its own.
  - Health checks can be paused for the time of the maintenance. A C(NodeHealthCheck) by an entry of its C(pauseRequests), a
    C(MachineHealthCheck) by the annotation C(cluster.x-k8s.io/paused), each with the value C(bigvm-<run>). What is going to be
    paused is written to the journal of the node first, so that any later run can resume it, and only that.
options:
  node:
    description: The node that is maintained.
    type: str
    required: true
  run:
    description: Id of the run. Needed unless O(state=checked).
    type: str
  state:
    description:
      - V(checked) looks only.
      - V(held) looks, fails when something stands in the way, and pauses the health checks that O(hold) names. The node needs
        the journal of this run, see M(bigvm.live_migration.node_hold).
      - V(restored) takes away the pauses of this run and nothing else, from whatever it finds. What somebody else changed
        meanwhile is left alone and named.
    type: str
    choices: [checked, held, restored]
    default: checked
  vms:
    description: The VMs that move; those on the node are meant in any case.
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
        description: Not used; taken so that a plan's VMs can be given as they are.
        type: str
  hold:
    description: The kinds of health checks that may be paused.
    type: list
    elements: str
    choices: [node_health_check, machine_health_check]
    default: []
  accept:
    description: Codes of findings that do not stand in the way.
    type: list
    elements: str
    choices: [cluster_version_updating, hyperconverged_upgrading, kubevirt_updating, machine_config_pool_busy,
      node_maintenance_object, node_health_check, machine_health_check, descheduler_active, workload_updates_outstanding,
      foreign_migrations, evacuation_marked, drain_taint, gitops_owned, interlock_unreadable]
    default: []
  writes:
    description: What the run changes, to find out whether a repository keeps it. Health checks in O(hold) are looked at in any case.
    type: list
    elements: str
    choices: [node, hyperconverged]
    default: [node]
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
    description: A dry run on the server; nothing is stored.
  diff_mode:
    support: full
    description: The pauses of each health check before and after.
requirements:
  - python >= 3.9
  - kubernetes >= 24.2.0
notes:
  - Needs to list the kinds that it looks at, as far as the cluster serves them, and for O(state=held) and O(state=restored) to get
    and patch the health checks and the node.
seealso:
  - module: bigvm.live_migration.node_hold
"""

EXAMPLES = r"""
- name: Look who is at work
  bigvm.live_migration.maintenance_interlocks:
    node: hana-a
  register: others

- name: Pause the health checks for the time of the maintenance
  bigvm.live_migration.maintenance_interlocks:
    node: hana-a
    run: maintenance-42
    state: held
    hold: [node_health_check, machine_health_check]

- name: Resume them
  bigvm.live_migration.maintenance_interlocks:
    node: hana-a
    run: maintenance-42
    state: restored
"""

RETURN = r"""
findings:
  description: Who is at work, the worst first.
  returned: with O(state=checked) and O(state=held)
  type: list
  elements: dict
  contains:
    code:
      description: What it is; one of the choices of O(accept).
      type: str
    severity:
      description: V(blocker), V(warning) or V(info).
      type: str
    object:
      description: The object, as kind and name.
      type: str
    message:
      description: What is the matter, and what it means.
      type: str
    remedy:
      description: What helps.
      type: str
    holdable:
      description: Whether it is a health check.
      type: bool
    held:
      description: Whether this run has paused it.
      type: bool
    accepted:
      description: Whether it would block, and was accepted.
      type: bool
  sample:
    - code: node_health_check
      severity: blocker
      object: NodeHealthCheck workers
      message: NodeHealthCheck workers watches hana-a and fences a host that is away for longer than its patience.
      remedy: "Let the run pause it (hold: [node_health_check]), or pause it yourself."
      holdable: true
      held: false
      accepted: false
blockers:
  description: The findings that stand in the way.
  returned: with O(state=checked) and O(state=held)
  type: list
  elements: dict
lines:
  description: The findings, or what was resumed, in words; lines of at most 80 columns.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import actors
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import run_module
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.changeset import ChangeSet
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput, Refused
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import interlocks

SPEC = dict(
    node=dict(type="str", required=True),
    run=dict(type="str"),
    state=dict(type="str", choices=["checked", "held", "restored"], default="checked"),
    vms=dict(type="list", elements="dict", default=[], options=dict(
        namespace=dict(type="str", required=True), name=dict(type="str", required=True), uid=dict(type="str"))),
    hold=dict(type="list", elements="str", choices=sorted(interlocks.HOLDABLE.values(), reverse=True), default=[]),
    accept=dict(type="list", elements="str", choices=list(interlocks.CODES), default=[]),
    writes=dict(type="list", elements="str", choices=list(interlocks.WRITES), default=["node"]),
)
CONSTRAINTS = dict(required_if=[("state", "held", ("run",)), ("state", "restored", ("run",))])


def execute(task):
    for option in ("node", "run"):
        if task.params[option] is not None and not task.params[option].strip():
            raise BadInput("The option %s is empty." % option, "Give it, or leave it out.")
    return {"checked": check, "held": hold, "restored": restore}[task.params["state"]](task)


def _look(task):
    params = task.params
    return actors.look(task.api, params["node"], params["run"], [(vm["namespace"], vm["name"]) for vm in params["vms"]],
                       params["hold"], params["accept"], params["writes"])


def check(task, changes=None):
    findings = _look(task)
    return (changes or ChangeSet()).result(
        findings=interlocks.public(findings), blockers=interlocks.public(interlocks.blockers(findings)),
        lines=interlocks.lines(findings))


def hold(task):
    changes, findings = ChangeSet(), _look(task)
    blocking = interlocks.blockers(findings)
    if blocking:
        raise Refused(" ".join(row["message"] for row in blocking[:3]), "Nothing was paused. " + blocking[0]["remedy"],
                      findings=interlocks.public(findings))
    actors.pause(task, task.params["node"], task.params["run"], findings, changes)
    return check(task, changes)


def restore(task):
    changes = ChangeSet()
    lines = actors.resume(task, task.params["node"], task.params["run"], changes)
    return changes.result(lines=lines)


def main():
    run_module(execute, SPEC, **CONSTRAINTS)


if __name__ == "__main__":
    main()
