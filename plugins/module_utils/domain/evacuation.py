# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""VMs + nodes + limits -> the plan that empties a node: waves and targets.

The biggest guests go first and each alone: the greatest risk is known while
everything else still stands where it was, and nothing shares their link. What
remains goes side by side, as many at a time as the limits allow.
"""

from __future__ import annotations

import hashlib
import json
import math

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import assignment, reasons
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.bonds import NONE

ROOM_IN_DOUBT = "RoomDependsOnScheduler"  # there is room for all only when the scheduler spares some of it for the right one
RULES_IN_DOUBT = "KeepRulesDependOnScheduler"  # no target can be named, so that only the guests' own affinity keeps the rules


def plan(node, facts, requests, max_parallel=None, bonds=NONE, leave=(), links=None, jobs=None, avoid=(), back=False):
    """The evacuation plan of one node.

    :param node: name of the node to empty.
    :param facts: what :func:`..migratability.judge` returned, for the VMs of that node.
    :param requests: ``{(namespace, name): {resource: amount}}``, what each target pod will request.
    :param max_parallel: upper limit of VMs at a time; None leaves it to the cluster's own limits.
    :param bonds: who is kept apart and who together, a :class:`.bonds.Bonds`.
    :param leave: blocked VMs that stay on the node because the operator named them, as ``namespace/name`` or ``name``.
    :param links: ``{node: bytes/s}``; a target with a slower NIC is taken only where no faster one has room.
    :param jobs: ``{(namespace, name): schedule.Job}``, what is expected of each copy; order and targets of those that go side
        by side are then made for the shortest time.
    :param avoid: nodes that are taken as targets only where no other has room.
    :param back: whether the VMs return afterwards.
    :returns: ``{id, node, waves: [{number, vms: [{namespace, name, uid, memory_bytes, target_node,
        expected_node, target_choices, under_way}]}], vms: [{namespace, name, uid}], blocked: [{namespace, name, verdict, codes}],
        left: the blocked ones that stay, first: [{code, vms: [str], message, remedy, missing}], what must happen first,
        warnings: [code], targets_pinned: bool, width, returns: None or {waves, stay: [{namespace, name, uid}] that do not return
        because a partner they are kept apart from does}}``. Deterministic; ``id``
        changes with VMs, targets or risk. A wave may hold more VMs than ``width``: they go in their order, so many at a time.
        ``expected_node`` is the target, or what the scheduler is expected to take where none can be named.
    """
    # None (the schema could not be read) leaves the choice to the scheduler: always right, if less exact.
    pinned = bool(facts["cluster"].get("target_by_name"))
    movable, blocked = [], []
    for vm in facts["vms"]:
        (movable if vm["verdict"] == "live" else blocked).append(vm)
    movable.sort(key=lambda vm: (-(vm.get("memory_bytes") or 0), vm["namespace"], vm["name"]))
    width = _width(facts["cluster"].get("settings") or {}, max_parallel)
    free, total = assignment.room_of(facts["nodes"])
    found = assignment.arranged(
        assignment.Task(node, requests, free, total, pinned, bonds, width, links or {}, jobs or {}, frozenset(avoid)), movable)
    waves = [{"number": number, "vms": [found.entries[id(vm)] for vm in group]} for number, group in enumerate(found.groups, 1)]
    first = _first([vm for vm in blocked if not _named(vm, leave)], found.homeless)
    blocked += [dict(vm, reasons=[{"code": code, "severity": "blocker"}]) for vm, code, _missing in found.homeless]
    warnings = {code for vm in movable for code in _codes(vm, "warning")}
    warnings |= set() if pinned or not waves else _doubts(waves, bonds, found.surest)
    result = {
        "node": node,
        "waves": waves,
        "vms": [{key: vm[key] for key in ("namespace", "name", "uid")} for wave in waves for vm in wave["vms"]],
        "blocked": [_stuck(vm) for vm in blocked if not _named(vm, leave)],
        "left": [_stuck(vm) for vm in blocked if _named(vm, leave)],
        "first": first,
        "warnings": sorted(warnings),
        "targets_pinned": pinned,
        "width": width,
        "returns": _returns(node, waves, bonds) if back else None,
    }
    result["id"] = plan_id(result)
    return result


def plan_id(planned):
    """Eight hex digits over all that an approval covers: node, VMs, targets, return, what blocks and what warns."""
    covered = {key: planned[key] for key in ("node", "blocked", "left", "warnings", "targets_pinned")}
    covered["waves"] = [[_covered(vm) for vm in wave["vms"]] for wave in planned["waves"]]
    if planned["returns"] is not None:
        covered["returns"] = [[_covered(vm) for vm in wave["vms"]] for wave in planned["returns"]["waves"]]
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()[:8]


def _covered(vm):
    """Where a target is named it is what was approved; else those that the scheduler may choose from are."""
    found = {key: vm[key] for key in ("namespace", "name", "uid", "memory_bytes", "target_node", "under_way")}
    return found if vm["target_node"] else dict(found, target_choices=sorted(vm["target_choices"]))


def foreseen(planned, forecast):
    """The plan with what :func:`..foresight.timeline` says of it; its warnings are the plan's, and change its id.

    The figures do not: they follow a dirty rate that is another one every minute.
    """
    result = dict(planned, forecast=forecast, warnings=sorted(set(planned["warnings"]) | set(forecast["warnings"])))
    result["id"] = plan_id(result)
    return result


def _stuck(vm):
    return {"namespace": vm["namespace"], "name": vm["name"], "uid": vm.get("uid"), "verdict": vm["verdict"],
            "codes": _codes(vm, "blocker")}


def _named(vm, names):
    return vm["name"] in names or "%s/%s" % (vm["namespace"], vm["name"]) in names


def _codes(vm, severity):
    return sorted(reason["code"] for reason in vm.get("reasons") or [] if reason.get("severity") == severity)


def _width(settings, max_parallel):
    limits = [settings.get("parallel_migrations_per_cluster"), settings.get("parallel_outbound_migrations_per_node"), max_parallel]
    return max(1, min([limit for limit in limits if limit] or [1]))


def _first(blocked, homeless):
    """What must happen before the node can be emptied, one row a reason; what has no room with what it lacks."""
    rows = {}
    for vm in blocked:
        for code in _codes(vm, "blocker") or [vm["verdict"]]:
            rows.setdefault(code, []).append("%s/%s" % (vm["namespace"], vm["name"]))
    found = [(code, names, {}) for code, names in sorted(rows.items())]
    found += [(code, ["%s/%s" % (vm["namespace"], vm["name"])], missing) for vm, code, missing in homeless]
    return [{"code": code, "vms": names, "message": reasons.reason_of(code).message, "remedy": reasons.reason_of(code).remedy,
             "missing": missing} for code, names, missing in found]


def _doubts(waves, bonds, surest):
    keys = [(vm["namespace"], vm["name"]) for wave in waves for vm in wave["vms"]]
    found = set() if surest else {ROOM_IN_DOUBT}
    return found | ({RULES_IN_DOUBT} if any(key in bonds.apart or key in bonds.together for key in keys) else set())


def _returns(node, waves, bonds):
    """The way back in the same waves; of two that are kept apart only the first returns."""
    back, home, stay = [], set(), []
    for wave in waves:
        vms = []
        for vm in wave["vms"]:
            key = vm["namespace"], vm["name"]
            if bonds.apart.get(key, frozenset()) & home:
                stay.append({name: vm[name] for name in ("namespace", "name", "uid")})
                continue
            home.add(key)
            vms.append(dict(vm, target_node=node, expected_node=node, target_choices=[node], under_way=False,
                            source_node=vm["expected_node"]))
        if vms:
            back.append({"number": len(back) + 1, "vms": vms})
    return {"waves": back, "stay": stay}


# -- the window ---------------------------------------------------------------------


def window(planned, now, timeout=None, deadline=None, work=0, back=False):
    """Whether the plan fits the time there is, by upper bounds: no copy lasts longer than its limit.

    :param planned: what :func:`plan` returned, or :func:`foreseen`.
    :param now: seconds since the epoch, as is ``deadline`` (None: no end).
    :param timeout: upper limit of one copy, s; None when the operator gave none: then the upper bounds of the forecast count,
        as far as there are any.
    :param work: seconds that the maintenance itself may take.
    :param back: whether the VMs return afterwards.
    :returns: ``{reserve_seconds: kept free before the deadline for work and return, waves_that_fit, problem: str or
        None, note: str or None}``.
    """
    longest = _longest(planned, timeout)
    out = [None if wave is None else _beside(wave, planned["width"]) for wave in longest]
    home = _home(planned, longest) if back else 0
    reserve = int(math.ceil(work + (home or 0)))
    found = {"reserve_seconds": reserve, "waves_that_fit": len(out), "problem": None, "note": None}
    if deadline is None:
        return dict(found, reserve_seconds=0)
    left = deadline - now - reserve
    if home is None:
        found["note"] = "no time limit for a copy is given, so nothing is kept free for the return"
    if left <= 0 and out:
        found.update(waves_that_fit=0, problem="the deadline leaves no time to move anything away")
    elif out and out[0] is not None:
        known = next((index for index, wave in enumerate(out) if wave is None), len(out))
        found["waves_that_fit"] = next((index for index in range(known) if sum(out[:index + 1]) > left), len(out))
        if not found["waves_that_fit"]:
            found["problem"] = "the first copy may take longer than the deadline leaves"
        elif found["waves_that_fit"] < len(out):
            found["note"] = "if every copy takes as long as it may, %d of %d waves fit" % (found["waves_that_fit"], len(out))
    return found


def most(planned, timeout=None, work=0, back=False):
    """Seconds that the node takes at most, with the work and the return; None when that is not known."""
    longest = _longest(planned, timeout)
    if None in longest:
        return None
    return sum(_beside(wave, planned["width"]) for wave in longest) + work + (_home(planned, longest) if back else 0)


def pessimistic(planned, work=0):
    """Seconds until all has ended by the upper figures of the forecast, with the work and the return; None without them."""
    ways = [planned["forecast"]] + ([planned["returns"]["forecast"]] if planned["returns"] and planned["returns"]["waves"] else [])
    return None if not planned["waves"] or None in [way["high"] for way in ways] else sum(way["high"] for way in ways) + work


def _longest(planned, timeout):
    """Per wave the seconds that each of its VMs takes at most; None for a wave of which that is not known."""
    if timeout:
        return [[timeout] * len(wave["vms"]) for wave in planned["waves"]]
    high = {(row["namespace"], row["name"]): row["high"] for row in (planned.get("forecast") or {}).get("vms") or []}
    found = [[high.get((vm["namespace"], vm["name"])) for vm in wave["vms"]] for wave in planned["waves"]]
    return [None if None in wave else wave for wave in found]


def _beside(seconds, width):
    """Seconds that all take at most, ``width`` at a time in their order."""
    places = [0.0] * max(1, width)
    for length in seconds:
        places[places.index(min(places))] += length
    return max(places)


def _home(planned, longest):
    """Seconds of the return at most, in the same waves; None when that is not known."""
    return None if None in longest else sum(_beside(wave, planned["width"]) for wave in longest)
