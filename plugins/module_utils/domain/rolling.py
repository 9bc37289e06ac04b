# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An inventory + several nodes -> an order in which each can be emptied when its turn comes, with a plan for each.

Each node is judged by the same rules as if it were the only one, in the cluster as the plans before it leave it: their VMs
on their targets, or returned. The node with least to move goes first; where that leads nowhere other orders are tried, as
many as there is patience for.
"""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections import namedtuple

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import (
    evacuation,
    foresight,
    migratability,
    wording,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.capacity import is_active
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.migration import FINAL
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.placement import need_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_duration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    CREATED_BY,
    dig,
    key_of,
    labels,
    mapping,
    text,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.rules import told
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.target_pod import guest_memory
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.view import View

NODE_LABEL = "kubevirt.io/nodeName"  # label of a VMI: where it runs
OTHER_PODS = "what else runs on a node finds room elsewhere without taking that of VMs"

# What a plan is made with, see :func:`.evacuation.plan` and :func:`.foresight.timeline`; settings, critical, acknowledged and
# hold as in :func:`.migratability.judge`.
Asked = namedtuple("Asked", "settings critical acknowledged hold max_parallel leave bonds avoid back links rates stream setup timeout "
                            "assumptions")


def one(inventory, node, asked):
    """``(plan with its forecast, facts it was made from)`` of one node."""
    selected = [vmi for vmi in inventory["vmis"] if text(vmi, "status", "nodeName") == node]
    inventory = dict(inventory, vmis=selected, selected=sorted(map(key_of, selected)))
    facts = migratability.judge(
        inventory, asked.settings, detail="full", critical=asked.critical, acknowledged=asked.acknowledged, hold=asked.hold)
    guests = foresight.known(View(inventory, asked.settings, asked.critical, asked.acknowledged, asked.hold), asked.rates)
    plan = evacuation.plan(
        node, facts, migratability.requests(inventory, asked.settings), asked.max_parallel, asked.bonds, asked.leave, asked.links,
        foresight.jobs(guests, node, asked.links, asked.stream, asked.setup), asked.avoid, asked.back)
    forecast = foresight.timeline(plan, guests, asked.links, asked.stream, asked.setup, asked.timeout, asked.assumptions)
    if plan["returns"] is not None:
        # All leave by one NIC or all arrive by it: the copies share the links in the same way.
        plan["returns"]["forecast"] = foresight.timeline(
            dict(plan, waves=[dict(wave, vms=[dict(vm, target_node=vm["source_node"]) for vm in wave["vms"]])
                              for wave in plan["returns"]["waves"]]),
            guests, asked.links, asked.stream, asked.setup, asked.timeout, asked.assumptions)
    return evacuation.foreseen(plan, forecast), facts


# -- the cluster as a plan leaves it -----------------------------------------------------


def after(inventory, moves):
    """The inventory with VMs elsewhere; a guest of the host's CPU model keeps the model of its first migration.

    :param moves: ``{(namespace, name): node}``.
    """
    view = View(dict(inventory, selected=[]))
    vmis, moved = [], {}
    for vmi in inventory["vmis"]:
        target = moves.get(key_of(vmi))
        if target:
            source, here = view.scene.nodes.get(text(vmi, "status", "nodeName")), view.pods_of.get(text(vmi, "metadata", "uid"), [])
            need = told(need_of, vmi, here, source["labels"] if source else {}, view.release, view.config)
            moved.update((id(pod), _moved(pod, target, need)) for pod in here if dig(pod, "spec", "nodeName") == text(
                vmi, "status", "nodeName"))
            meta = dict(mapping(vmi, "metadata"), labels=dict(labels(vmi), **{NODE_LABEL: target}))
            vmi = dict(vmi, metadata=meta, status=dict(mapping(vmi, "status"), nodeName=target))
        vmis.append(vmi)
    return dict(inventory, vmis=vmis, pods=[moved.get(id(pod), pod) for pod in inventory["pods"]])


def _moved(pod, target, need):
    """The launcher pod as KubeVirt renders it for the target; where that cannot be told, the present one."""
    spec = dict(mapping(pod, "spec"), nodeName=target)
    if need is not None:
        asked = {kind: "%dm" % value if kind == "cpu" else str(value) for kind, value in need.asks.items() if kind != "pods"}
        spec.update(nodeSelector=need.selector, containers=[{"resources": {"requests": asked}}], initContainers=[], overhead={})
    return dict(pod, spec=spec)


def left_by(inventory, plan):
    """The inventory when the plan has been carried out, with its return where there is one."""
    found = after(inventory, {
        (vm["namespace"], vm["name"]): vm["expected_node"] for wave in plan["waves"] for vm in wave["vms"] if vm["expected_node"]})
    if plan["returns"] is None:
        return found
    return after(found, {(vm["namespace"], vm["name"]): plan["node"] for wave in plan["returns"]["waves"] for vm in wave["vms"]})


# -- the order -----------------------------------------------------------------------------


def several(inventory, nodes, asked):
    """The plan for several nodes.

    :param nodes: names, each once.
    :returns: ``{id, nodes: [in their order], plans: [those of evacuation.plan with their forecasts, in that order], stuck:
        [plans of nodes that could not be emptied even then], first: as that of a plan, warnings, targets_pinned, seconds, low, high,
        lower_bound: sums of all ways out and back without the work between, assumptions, turns: [{node, start, latest: s from
        the first start, None: open, avoid: nodes that its plan took as targets only where no other had room}]}``. Deterministic;
        ``id`` covers the order and what each plan's id covers.
    """
    search = _Search(asked, len(nodes))
    search.go(inventory, list(nodes), [])
    plans, stuck = search.best, search.stuck
    result = {"nodes": [plan["node"] for plan in plans], "plans": plans, "stuck": stuck,
              "first": [row for plan in stuck for row in plan["first"]],
              "warnings": sorted({code for plan in plans for code in plan["warnings"]}),
              "targets_pinned": all(plan["targets_pinned"] for plan in plans), "assumptions": [OTHER_PODS]}
    covered = [[plan["id"] for plan in plans], [plan["id"] for plan in stuck]]
    result["id"] = hashlib.sha256(json.dumps(covered).encode()).hexdigest()[:8]
    result.update(_times(plans, asked))
    return result


class _Search:
    """Depth first, the node with least to move first; ends at the first order that works or when patience does."""

    def __init__(self, asked, count):
        self.asked, self.patience = asked, 4 * count + 20
        self.best, self.stuck = [], []

    def go(self, state, rest, plans):
        """Whether an order for the rest was found; the longest one that was is kept."""
        if len(plans) > len(self.best):
            self.best, self.stuck = plans, []
        if not rest:
            return True
        failed = []
        for node in sorted(rest, key=lambda name: (_weight(state, name), name)):
            if self.patience <= 0:
                break
            self.patience -= 1
            others = [name for name in rest if name != node]
            plan = one(state, node, self._asked(state, others))[0]
            if plan["blocked"]:
                failed.append(plan)
                if any(row["verdict"] == "cold_only" for row in plan["blocked"]):
                    self.patience = min(self.patience, len(rest))  # no order helps: the rest is only looked at
                continue
            if self.go(left_by(state, plan), others, plans + [plan]):
                return True
        if len(plans) == len(self.best) and (not self.stuck or len(failed) > len(self.stuck)):
            self.stuck = failed
        return False

    def _asked(self, state, others):
        """Who returns is only a guest elsewhere; else nodes that will be emptied later are spared."""
        places = {key_of(vmi): text(vmi, "status", "nodeName") for vmi in state["vmis"]}
        bonds = self.asked.bonds._replace(places={key: places.get(key, place) for key, place in self.asked.bonds.places.items()})
        return self.asked._replace(bonds=bonds, avoid=() if self.asked.back else tuple(self.asked.avoid) + tuple(others))


def _weight(inventory, node):
    """Bytes of memory that would have to move."""
    return sum(told(guest_memory, vmi) or 0 for vmi in inventory["vmis"]
               if text(vmi, "status", "nodeName") == node and text(vmi, "status", "phase") not in FINAL)


def _times(plans, asked):
    """Starts and sums; None from where something is open."""
    clock, total, bound, turns = (0.0, 0.0, 0.0), [], 0.0, []
    for number, plan in enumerate(plans, 1):
        later = [] if asked.back else [other["node"] for other in plans[number:]]
        turns.append({"node": plan["node"], "start": clock[0], "latest": clock[2], "avoid": list(asked.avoid) + later})
        ways = [plan["forecast"]] + ([plan["returns"]["forecast"]] if plan["returns"] else [])
        ways = [way for way, waves in zip(ways, (plan["waves"], plan["returns"] and plan["returns"]["waves"])) if waves]
        clock = tuple(_sum([before] + [way[name] for way in ways]) for before, name in zip(clock, ("seconds", "low", "high")))
        bound = _sum([bound] + [way["lower_bound"] for way in ways])
        total += ways
    known = bool(total)
    return {"seconds": clock[0] if known else None, "low": clock[1] if known else None, "high": clock[2] if known else None,
            "lower_bound": bound if known else None, "turns": turns}


def _sum(values):
    return None if None in values else sum(values)


# -- the window and words ----------------------------------------------------------------------


def window(planned, now, timeout=None, deadline=None, work=0, back=False):
    """How many of the nodes fit, if every copy takes as long as it may; as :func:`.evacuation.window`, node after node.

    :returns: ``{nodes_that_fit, problem, note}``.
    """
    if deadline is None:
        return {"nodes_that_fit": len(planned["plans"]), "problem": None, "note": None}
    fit, clock = 0, now
    for plan in planned["plans"]:
        found = evacuation.window(plan, clock, timeout, deadline, work, back)
        most = evacuation.most(plan, timeout, work, back)
        if found["problem"] or most is None or clock + most > deadline:
            break
        fit, clock = fit + 1, clock + most
    left = planned["nodes"][fit:]
    problem = None
    if left and not fit:
        problem = "the first node (%s) may take longer than the deadline leaves" % left[0]
        if evacuation.most(planned["plans"][0], timeout, work, back) is None:
            problem = "how long the first node (%s) takes cannot be told, so that no deadline can be kept" % left[0]
    note = "if every copy takes as long as it may, %d of %d nodes fit; %s would not" % (fit, fit + len(left), ", ".join(left))
    return {"nodes_that_fit": fit, "problem": problem, "note": note if left and fit else None}


def lines(planned):
    """The whole plan for people, lines of at most 78 columns."""
    out = []
    for number, (plan, times) in enumerate(zip(planned["plans"], planned["turns"]), 1):
        when = "" if not times["latest"] else ", begins after %s (at the latest %s)" % (
            "?" if times["start"] is None else format_duration(times["start"]), format_duration(times["latest"]))
        out.append(("node %d  %s, plan %s%s" % (number, plan["node"], plan["id"], when))[:wording.WIDTH])
        out += wording.plan_lines(plan) + foresight.lines(plan["forecast"])
    for plan in planned["stuck"]:
        out.append(("CANNOT  %s" % plan["node"])[:wording.WIDTH])
        out += wording.plan_lines(dict(plan, waves=[]))
    if len(planned["plans"]) > 1 and planned["seconds"] is not None:
        out.append("all nodes: about %s (%s to %s), without the work between" % tuple(
            "open" if planned[name] is None else format_duration(planned[name]) for name in ("seconds", "low", "high")))
    for words in planned["assumptions"]:
        out += textwrap.wrap("assumed: " + words, wording.WIDTH, subsequent_indent="  ")
    return out


def launchers(pods):
    """``{(namespace, name)}`` of all VMs that have a running launcher pod."""
    return {(text(pod, "metadata", "namespace"), labels(pod).get("vm.kubevirt.io/name") or
             text(pod, "metadata", "annotations", "kubevirt.io/domain")) for pod in pods if CREATED_BY in labels(pod) and is_active(pod)}
