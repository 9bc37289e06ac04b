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

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import labels, text

# VMIs of one namespace with the same value of this label are never on one node and never move at once: the two sides
# of a HANA system replication, the nodes of a cluster.
KEEP_APART = "live-migration.bigvm.io/keep-apart"
UNDER_WAY = "OwnMigrationUnderWay"
NO_ROOM = "NoRoomLeft"  # fits somewhere alone, but not beside what the plan puts there first


def groups_apart(vmis):
    """``{(namespace, name): (group, node)}`` of the running VMIs with the label :data:`KEEP_APART`."""
    found = {}
    for vmi in vmis:
        group = labels(vmi).get(KEEP_APART)
        if group:
            namespace = text(vmi, "metadata", "namespace")
            found[namespace, text(vmi, "metadata", "name")] = ((namespace, group), text(vmi, "status", "nodeName"))
    return found


def plan(node, facts, requests, max_parallel=None, apart=None, leave=()):
    """The evacuation plan of one node.

    :param node: name of the node to empty.
    :param facts: what :func:`..migratability.judge` returned, for the VMs of that node.
    :param requests: ``{(namespace, name): {resource: amount}}``, what each target pod will request.
    :param max_parallel: upper limit of VMs per wave; None leaves it to the cluster's own limits.
    :param apart: what :func:`groups_apart` returned; None keeps nobody apart.
    :param leave: blocked VMs that stay on the node because the operator named them, as ``namespace/name`` or ``name``.
    :returns: ``{id, node, waves: [{number, vms: [{namespace, name, uid, memory_bytes, target_node,
        target_choices, under_way}]}], vms: [{namespace, name, uid}], blocked: [{namespace, name, verdict, codes}],
        left: the blocked ones that stay, warnings: [code], targets_pinned: bool, width}``. Deterministic; ``id``
        changes with VMs, targets or risk.
    """
    # None (the schema could not be read) leaves the choice to the scheduler: always right, if less exact.
    pinned = bool(facts["cluster"].get("target_by_name"))
    movable, blocked = [], []
    for vm in facts["vms"]:
        (movable if vm["verdict"] == "live" else blocked).append(vm)
    movable.sort(key=lambda vm: (-(vm.get("memory_bytes") or 0), vm["namespace"], vm["name"]))
    width = _width(facts["cluster"].get("settings") or {}, max_parallel)
    apart = dict(apart or {})
    free = {name: _free(data) for name, data in facts["nodes"].items()}
    waves = []
    for group in _groups(movable, width, apart):
        placed = [_placed(vm, requests.get((vm["namespace"], vm["name"]), {}), free, pinned, apart) for vm in group]
        homeless = [vm for vm, place in zip(group, placed) if not _placeable(place)]
        blocked += [dict(vm, reasons=[{"code": NO_ROOM, "severity": "blocker"}]) for vm in homeless]
        placed = [place for place in placed if _placeable(place)]
        if placed:
            waves.append({"number": len(waves) + 1, "vms": placed})
    result = {
        "node": node,
        "waves": waves,
        "vms": [{key: vm[key] for key in ("namespace", "name", "uid")} for wave in waves for vm in wave["vms"]],
        "blocked": [_stuck(vm) for vm in blocked if not _named(vm, leave)],
        "left": [_stuck(vm) for vm in blocked if _named(vm, leave)],
        "warnings": sorted({code for vm in movable for code in _codes(vm, "warning")}),
        "targets_pinned": pinned,
        "width": width,
    }
    result["id"] = plan_id(result)
    return result


def plan_id(planned):
    """Eight hex digits over all that an approval covers: node, VMs, targets, what blocks and what warns."""
    covered = {key: planned[key] for key in ("node", "waves", "blocked", "left", "warnings", "targets_pinned")}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()[:8]


def _stuck(vm):
    return {"namespace": vm["namespace"], "name": vm["name"], "verdict": vm["verdict"], "codes": _codes(vm, "blocker")}


def _named(vm, names):
    return vm["name"] in names or "%s/%s" % (vm["namespace"], vm["name"]) in names


def _codes(vm, severity):
    return sorted(reason["code"] for reason in vm.get("reasons") or [] if reason.get("severity") == severity)


def _width(settings, max_parallel):
    limits = [settings.get("parallel_migrations_per_cluster"), settings.get("parallel_outbound_migrations_per_node"), max_parallel]
    return max(1, min([limit for limit in limits if limit] or [1]))


def _groups(movable, width, apart):
    """Waves: critical guests, those kept apart and the biggest one alone, the rest ``width`` at a time."""
    alone = [vm for index, vm in enumerate(movable)
             if index == 0 or vm.get("critical") or (vm["namespace"], vm["name"]) in apart]
    rest = [vm for vm in movable if vm not in alone]
    return [[vm] for vm in alone] + [rest[start:start + width] for start in range(0, len(rest), width)]


_RESOURCES = {"memory": "memory_free", "hugepages-1Gi": "hugepages_1gi_free", "hugepages-2Mi": "hugepages_2mi_free", "cpu": "cpus_free"}


def _free(node):
    return {resource: node[field] for resource, field in _RESOURCES.items() if node.get(field) is not None}


def _placed(vm, request, free, pinned, apart):
    """One VM with its target; what it takes there is booked in ``free``, where it will be in ``apart``.

    A migration of ours that is under way keeps its target, whose pod has taken its room already.
    """
    under_way = any(reason.get("code") == UNDER_WAY for reason in vm.get("reasons") or [])
    if under_way:
        return _entry(vm, None, vm.get("candidates") or [], under_way)
    key = vm["namespace"], vm["name"]
    taken = {place for other, (group, place) in apart.items() if key in apart and other != key and group == apart[key][0]}
    choices = [name for name in vm.get("candidates") or [] if name not in taken and _fits(request, free.get(name, {}))]
    target = choices[0] if choices else None
    if target:
        # Emptiest first, so that big guests do not crowd one node; the candidates' own order breaks ties.
        target = max(choices, key=lambda name: (free.get(name, {}).get("memory", 0), -choices.index(name)))
        for resource, amount in request.items():
            if resource in free.get(target, {}):
                free[target][resource] -= amount
        if key in apart:
            apart[key] = (apart[key][0], target)
    return _entry(vm, target if pinned else None, choices, under_way)


def _placeable(entry):
    return entry["under_way"] or entry["target_choices"]


def _entry(vm, target, choices, under_way):
    return {
        "namespace": vm["namespace"], "name": vm["name"], "uid": vm.get("uid"),
        "memory_bytes": vm.get("memory_bytes") or 0,
        "target_node": target, "target_choices": choices, "under_way": under_way,
    }


def _fits(request, room):
    return all(amount <= room[resource] for resource, amount in request.items() if resource in room)


# -- the window ---------------------------------------------------------------------


def window(planned, now, timeout=None, deadline=None, work=0, back=False):
    """Whether the plan fits the time there is, by upper bounds: no copy lasts longer than its limit.

    :param planned: what :func:`plan` returned.
    :param now: seconds since the epoch, as is ``deadline`` (None: no end).
    :param timeout: upper limit of one copy, s; None when the operator gave none.
    :param work: seconds that the maintenance itself may take.
    :param back: whether the VMs return afterwards.
    :returns: ``{reserve_seconds: kept free before the deadline for work and return, waves_that_fit, problem: str or
        None, note: str or None}``.
    """
    waves = len(planned["waves"])
    returning = _return_waves(planned) if back else 0
    reserve = int(math.ceil(work + returning * (timeout or 0)))
    found = {"reserve_seconds": reserve, "waves_that_fit": waves, "problem": None, "note": None}
    if deadline is None:
        return found
    left = deadline - now - reserve
    if back and not timeout and waves:
        found["note"] = "no time limit for a copy is given, so nothing is kept free for the return"
    if left <= 0 and waves:
        found.update(waves_that_fit=0, problem="the deadline leaves no time to move anything away")
    elif timeout and waves:
        found["waves_that_fit"] = min(waves, int(left // timeout))
        if not found["waves_that_fit"]:
            found["problem"] = "the first copy may take longer than the deadline leaves"
        elif found["waves_that_fit"] < waves:
            found["note"] = "if every copy takes as long as it may, %d of %d waves fit" % (found["waves_that_fit"], waves)
    return found


def _return_waves(planned):
    """The biggest returns alone, the others side by side."""
    vms = len(planned["vms"])
    return min(vms, 1) + int(math.ceil(max(0, vms - 1) / planned["width"]))
