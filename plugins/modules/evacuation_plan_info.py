#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: evacuation_plan_info
short_description: Plan how to empty one node or several of their virtual machines
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Judges every VM of a node and plans the waves in which they leave it, with a target for each.
    Critical guests (256 GiB and more, 1 GiB pages, or the label C(live-migration.bigvm.io/critical=true) on the VMI) and
    the biggest one go first and alone; the rest goes side by side within the cluster's limits.
  - Targets are booked as the plan grows, so that two VMs never count on the same free memory or 1 GiB pages.
  - VMs of one namespace whose VMIs carry the label C(live-migration.bigvm.io/keep-apart) with the same value, such as the
    two sides of a system replication, are never put on one node and never move in the same wave. Those with the same value of
    C(live-migration.bigvm.io/keep-together) go to one node.
  - For O(nodes) it finds an order in which each can be emptied when its turn comes, each judged in the cluster as the plans
    before it leave it. Nodes that will be emptied later are targets only where no other node has room.
  - Reads only, with a constant number of requests.
options:
  node:
    description: The node to empty.
    type: str
  nodes:
    description:
      - Several nodes to empty one after the other; their order here does not matter. One of O(node) and O(nodes) is needed.
      - For each the plan of its turn has the id that planning it alone at that time has, as long as nothing else changes, and
        O(avoid) names those of the nodes that come after it.
    type: list
    elements: str
  avoid:
    description: Nodes that are taken as targets only where no other has room.
    type: list
    elements: str
    default: []
  keep_apart:
    description: Lists of VMs, as C(namespace/name) or C(name), that are never put on one node and never move at once.
    type: list
    elements: list
    default: []
  keep_together:
    description: Lists of VMs that go to one node, or to where those of them are that do not move.
    type: list
    elements: list
    default: []
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
  acknowledge:
    description:
      - Dangers that are taken for critical guests, as in M(bigvm.live_migration.migrate_vmi). They are then warnings of the
        plan instead of blocking it.
    type: list
    elements: str
    choices: [post_copy, disruption]
    default: []
  hold:
    description:
      - Whether O(settings) will be held for these VMs by M(bigvm.live_migration.migration_policy). They are then judged as
        going before every other policy, with post-copy and pauses off where they are not asked for.
    type: bool
    default: false
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
    description:
      - Whether the VMs return afterwards; the time for that is kept free before the O(deadline) as well.
      - Refused where KubeVirt cannot be told a target (before 1.6) and there are VMs to bring back.
    type: bool
    default: false
  links:
    description:
      - What the migration network carries, for the forecast. One figure for all nodes, or a dictionary with one for each.
      - Bytes per second as a quantity (V(11G)), or a line rate in bits (V(100Gbit)), of which 90 % are counted on.
      - Without it there is no forecast, and the plan says so.
    type: raw
  dirty_rates:
    description:
      - Bytes per second that guests write to their memory while they are not migrated, as quantities, by
        C(namespace/name) or C(name). Take a high percentile of the hour in question.
      - They go before what O(prometheus) says. For a VM without either, only the least time is told.
    type: dict
    default: {}
  per_stream:
    description:
      - What one migration stream carries here, as a quantity in bytes per second; M(bigvm.live_migration.forecast_check_info)
        finds it in earlier records.
      - V(1G) is assumed, and said, where it matters.
    type: str
  setup_time:
    description: The least and the most seconds that pass between the start of a migration and its copy. 10 and 40 when not given.
    type: list
    elements: float
extends_documentation_fragment:
  - bigvm.live_migration.attributes.reads
  - bigvm.live_migration.critical_vms
  - bigvm.live_migration.dirty_rates
  - bigvm.live_migration.assumed_settings
  - kubernetes.core.k8s_auth_options
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

- name: Plan three nodes, the two sides of a system replication kept apart
  bigvm.live_migration.evacuation_plan_info:
    nodes: [worker-1, worker-2, worker-3]
    keep_apart:
      - [sap-prod/hana-a, sap-prod/hana-b]
    links: 100Gbit
    deadline: "2026-11-22T04:30:00+01:00"
    timeout: 4h
"""

RETURN = r"""
plan:
  description:
    - With O(nodes), C(id), C(nodes) in their order, C(plans) with a plan as below for each, C(stuck) with the plans of those that
      cannot be emptied even in the best order found, C(turns), C(seconds), C(low), C(high), C(lower_bound), C(first), C(warnings).
    - With O(node), the plan. RV(plan.id) changes whenever the VMs, their targets, what blocks or what warns change. That a copy is not
      expected to end is a warning; the other figures of the forecast do not change the id.
    - C(returns) has the C(waves) of the way back and its C(forecast) when O(back) is true, and in C(stay) who does not return
      because a VM that it is kept apart from does; null without. C(first) lists what must happen first.
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
      description: Whether KubeVirt takes the target node by name; otherwise the scheduler chooses, and C(expected_node) of each VM
        is what it is expected to take.
      type: bool
    width:
      description: How many VMs move at a time.
      type: int
    forecast:
      description:
        - When what is expected to happen, in seconds from the first start. C(possible) is false without O(links), and C(why) says so.
        - C(vms) has for each VM C(seconds), the range C(low) to C(high) it is in with 90 %, C(ends) (C(converges), C(budget) for
          not in the time granted, C(never), C(unknown)), C(downtime), C(rate) and what limits it, and C(helps).
        - C(waves) has C(start), C(end) and C(latest) of each wave; C(seconds), C(low) and C(high) are those of the whole.
          A figure that is not known is null. C(assumptions) says what was assumed.
      type: dict
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
    ends_latest:
      description: When all has ended by the upper figures of the forecast, with the work and the return, RFC 3339; null without them.
      type: str
    nodes_that_fit:
      description: With O(nodes), how many of them end in time even then; the first two fields are left out.
      type: int
lines:
  description: The plan in words, lines of at most 80 columns.
  returned: success
  type: list
  elements: str
verdict_lines:
  description: The verdicts the plan was made from, in words, lines of at most 80 columns.
  returned: with O(node)
  type: list
  elements: str
risks:
  description: What may go wrong, the gravest first, as a list of C({code, vms, message, remedy}).
  returned: with O(node)
  type: list
  elements: dict
risk_lines:
  description: The risks, and what to change before, in words, lines of at most 80 columns.
  returned: with O(node)
  type: list
  elements: str
vm_migratable:
  description: The verdicts the plan was made from, as M(bigvm.live_migration.vm_migratable_facts) returns them.
  returned: with O(node)
  type: dict
dirty_rates:
  description: What the plan was made with, in bytes per second by C(namespace/name); give it to the plans that follow.
  returned: success
  type: dict
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import inventory, prometheus
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.options import (
    assumed_settings,
    duration,
    settings_options,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import run_module
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp, to_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput, Refused
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import (
    bonds,
    critical,
    evacuation,
    foresight,
    outlook,
    rolling,
    wording,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import key_of

SPEC = dict(
    node=dict(type="str"),
    nodes=dict(type="list", elements="str"),
    avoid=dict(type="list", elements="str", default=[]),
    keep_apart=dict(type="list", elements="list", default=[]),
    keep_together=dict(type="list", elements="list", default=[]),
    max_parallel=dict(type="int"),
    leave_blocked=dict(type="list", elements="str", default=[]),
    critical=dict(type="list", elements="str", default=[]),
    acknowledge=dict(type="list", elements="str", choices=list(critical.DANGERS), default=[]),
    hold=dict(type="bool", default=False),
    timeout=dict(type="str"),
    deadline=dict(type="str"),
    work=dict(type="str"),
    back=dict(type="bool", default=False),
    links=dict(type="raw"),
    dirty_rates=dict(type="dict", default={}),
    prometheus=dict(type="dict", options=prometheus.OPTIONS),
    per_stream=dict(type="str"),
    setup_time=dict(type="list", elements="float"),
    settings=dict(type="dict", options=settings_options()),
)


def execute(task):
    params = task.params
    if params["max_parallel"] is not None and params["max_parallel"] < 1:
        raise BadInput("max_parallel is %s." % params["max_parallel"], "Give 1 or more, or leave it to the cluster's limits.")
    if bool(params["node"]) == bool(params["nodes"]):
        raise BadInput("Give either node or nodes.", "node takes one name, nodes a list; nothing was read.")
    assumed = assumed_settings(params["settings"])
    limits = {name: duration(params, name) for name in ("timeout", "work")}
    deadline = from_timestamp(params["deadline"]) if params["deadline"] else None
    several = sorted(set(params["nodes"] or []))
    found = inventory.collect(task.api, node=params["node"] or None, everything=bool(several))
    inventory.check_nodes(found, several + params["avoid"])
    if params["prometheus"]:
        asked = prometheus.measured(task.api, params["prometheus"], duration(params["prometheus"], "window"), found)
        found["dirty_rates"] = {key: rate["p99"] for key, rate in asked["guests"].items()}
        if asked["failure"]:
            task.warn("No dirty rates: %s." % asked["failure"])
    asked = _asked(task, found, assumed, limits["timeout"])
    if several:
        plan, facts = rolling.several(found, several, asked), None
        moving = [row for one in plan["plans"] for row in one["vms"]]
    else:
        plan, facts = rolling.one(found, params["node"], asked)
        moving = plan["vms"]
    if params["back"] and moving and found["target_by_name"] is False:
        raise Refused(
            "This KubeVirt cannot be told where a VM shall go: the %d VMs that leave %s could not be brought back to it."
            % (len(moving), params["node"] or ", ".join(several)),
            "Plan without the return (back, maintenance_return of the playbook) and let the VMs stay where they go, or "
            "upgrade to KubeVirt 1.6 or later.")
    when = task.clock.now(), limits["timeout"], deadline, limits["work"] or 0, params["back"]
    result = {"changed": False, "plan": plan, "dirty_rates": {"/".join(key): rate for key, rate in {
        **(found.get("dirty_rates") or {}), **asked.rates}.items()}}
    if several:
        return dict(result, window=rolling.window(plan, *when), lines=rolling.lines(plan))
    latest = evacuation.pessimistic(plan, when[3])
    window = dict(evacuation.window(plan, *when), ends_latest=None if latest is None else to_timestamp(when[0] + latest))
    risks = outlook.risks(plan, facts, window)
    return dict(
        result, window=window, lines=wording.plan_lines(plan) + foresight.lines(plan["forecast"]), risks=risks,
        risk_lines=outlook.lines(risks), verdict_lines=wording.verdict_lines(facts), vm_migratable=facts)


def _asked(task, found, assumed, timeout):
    """All that the plan is made with; what was given for the forecast is judged here."""
    params, setup = task.params, task.params["setup_time"]
    if setup is not None and (len(setup) != 2 or not 0 <= setup[0] <= setup[1]):
        raise BadInput("setup_time is %s." % setup, "It takes two numbers of seconds, the least and the most.")
    named = params["keep_apart"] or params["keep_together"]
    try:
        kept = bonds.bonds_of(inventory.bonded(task.api, found, bool(named)), params["keep_apart"], params["keep_together"])
    except ValueError as exc:
        raise BadInput("The rules contradict each other or name what is not there: %s." % exc,
                       "Look at keep_apart, keep_together, and the labels %s and %s." % (bonds.KEEP_APART, bonds.KEEP_TOGETHER)) from exc
    try:
        links, assumptions = foresight.links_of(params["links"], [key_of(node)[1] for node in found["nodes"]])
        keys = [key_of(vmi) for vmi in found["vmis"]]
        rates = foresight.dirty_rates_of(params["dirty_rates"], keys, rolling.launchers(found["pods"]))
        stream = foresight.rate_of(params["per_stream"])[0] if params["per_stream"] else None
    except ValueError as exc:
        raise BadInput(
            "The forecast cannot be made: %s." % exc,
            "links and per_stream take bytes per second such as 11G, links also 100Gbit; dirty_rates names VMs.") from exc
    return rolling.Asked(
        assumed, params["critical"], params["acknowledge"], params["hold"], params["max_parallel"], params["leave_blocked"], kept,
        params["avoid"], params["back"], links, rates, stream, setup, timeout, assumptions)


def main():
    run_module(execute, SPEC)


if __name__ == "__main__":
    main()
