#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: evacuation_plan_info
short_description: Plan how to empty a node of its virtual machines
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Judges every VM of a node and plans the waves in which they leave it, with a target for each.
    Critical guests (256 GiB and more, or 1 GiB pages) and the biggest one go first and alone; the rest goes
    side by side within the cluster's limits.
  - Targets are booked as the plan grows, so that two VMs never count on the same free memory or 1 GiB pages.
  - VMs of one namespace whose VMIs carry the label C(live-migration.bigvm.io/keep-apart) with the same value, such as the
    two sides of a system replication, are never put on one node and never move in the same wave.
  - Reads only, with a constant number of requests.
options:
  node:
    description: The node to empty.
    type: str
    required: true
  max_parallel:
    description:
      - At most so many VMs at a time.
      - When not given, the smaller of the cluster's C(parallelMigrationsPerCluster) and
        C(parallelOutboundMigrationsPerNode) decides.
    type: int
  leave_blocked:
    description:
      - VMs that may stay on the node if they cannot move, as C(namespace/name) or C(name). What is done to the node is
        done to them.
    type: list
    elements: str
    default: []
  timeout:
    description: Upper limit of one copy, as given to M(bigvm.live_migration.migrate_vmi). Needed to judge a O(deadline).
    type: str
  deadline:
    description: When everything must have ended, RFC 3339 with offset.
    type: str
  work:
    description: How long the maintenance itself may take, as a duration; kept free before the O(deadline).
    type: str
  back:
    description: Whether the VMs return afterwards; the time for that is kept free before the O(deadline) as well.
    type: bool
    default: false
extends_documentation_fragment:
  - bigvm.live_migration.assumed_settings
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
    description: Reads only.
  diff_mode:
    support: none
    description: Changes nothing.
requirements:
  - python >= 3.9
  - kubernetes >= 24.2.0
seealso:
  - module: bigvm.live_migration.vm_migratable_facts
  - module: bigvm.live_migration.migrate_vmi
"""

EXAMPLES = r"""
- name: Plan the evacuation of a node
  bigvm.live_migration.evacuation_plan_info:
    node: hana-a
  register: evacuation

- name: Move the first wave
  bigvm.live_migration.migrate_vmi:
    vms: "{{ evacuation.plan.waves[0].vms }}"
    away_from: [hana-a]
    timeout: 4h
  when: evacuation.plan.waves | length > 0
"""

RETURN = r"""
plan:
  description:
    - The plan. RV(plan.id) changes whenever the VMs, their targets, what blocks or what warns change.
    - RV(plan.waves) is a list of C({number, vms}); each VM can be given to M(bigvm.live_migration.migrate_vmi) as it is.
  returned: success
  type: dict
  contains:
    id:
      description: Eight hex digits that an approval refers to.
      type: str
      sample: 4f2a91c0
    node:
      description: The node to empty.
      type: str
    waves:
      description: What moves, in order.
      type: list
      elements: dict
    blocked:
      description: What cannot move, with the codes of the reasons.
      type: list
      elements: dict
    warnings:
      description: Codes of what should be known before approving.
      type: list
      elements: str
    targets_pinned:
      description: Whether KubeVirt takes the target node by name; otherwise the scheduler chooses.
      type: bool
    width:
      description: How many VMs move at a time.
      type: int
window:
  description: Whether the plan fits the time there is, if every copy takes as long as it may.
  returned: success
  type: dict
  contains:
    reserve_seconds:
      description: Kept free before the deadline for the maintenance and the return.
      type: int
    waves_that_fit:
      description: So many waves end in time even if every copy takes as long as it may.
      type: int
    problem:
      description: Why not even the first wave can be begun; null when it can.
      type: str
    note:
      description: What should be known about the time; null when there is nothing.
      type: str
lines:
  description: The plan in words, lines of at most 80 columns.
  returned: success
  type: list
  elements: str
verdict_lines:
  description: The verdicts the plan was made from, in words, lines of at most 80 columns.
  returned: success
  type: list
  elements: str
vm_migratable:
  description: The verdicts the plan was made from, as M(bigvm.live_migration.vm_migratable_facts) returns them.
  returned: success
  type: dict
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import inventory
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.options import (
    assumed_settings,
    duration,
    settings_options,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import run_module
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import evacuation, migratability, wording

SPEC = dict(
    node=dict(type="str", required=True),
    max_parallel=dict(type="int"),
    leave_blocked=dict(type="list", elements="str", default=[]),
    timeout=dict(type="str"),
    deadline=dict(type="str"),
    work=dict(type="str"),
    back=dict(type="bool", default=False),
    settings=dict(type="dict", options=settings_options()),
)


def execute(task):
    params = task.params
    if params["max_parallel"] is not None and params["max_parallel"] < 1:
        raise BadInput("max_parallel is %s." % params["max_parallel"], "Give 1 or more, or leave it to the cluster's limits.")
    assumed = assumed_settings(params["settings"])
    limits = {name: duration(params, name) for name in ("timeout", "work")}
    deadline = from_timestamp(params["deadline"]) if params["deadline"] else None
    found = inventory.collect(task.api, node=params["node"])
    facts = migratability.judge(found, assumed, detail="full")
    plan = evacuation.plan(
        params["node"], facts, migratability.requests(found, assumed), params["max_parallel"],
        evacuation.groups_apart(found["vmis"]), params["leave_blocked"])
    return {
        "changed": False,
        "plan": plan,
        "window": evacuation.window(
            plan, task.clock.now(), limits["timeout"], deadline, limits["work"] or 0, params["back"]),
        "lines": wording.plan_lines(plan),
        "verdict_lines": wording.verdict_lines(facts),
        "vm_migratable": facts,
    }


def main():
    run_module(execute, SPEC)


if __name__ == "__main__":
    main()
