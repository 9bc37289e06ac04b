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

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import schedule
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


def plan(node, facts, requests, max_parallel=None, apart=None, leave=(), links=None, jobs=None):
    """The evacuation plan of one node.

    :param node: name of the node to empty.
    :param facts: what :func:`..migratability.judge` returned, for the VMs of that node.
    :param requests: ``{(namespace, name): {resource: amount}}``, what each target pod will request.
    :param max_parallel: upper limit of VMs at a time; None leaves it to the cluster's own limits.
    :param apart: what :func:`groups_apart` returned; None keeps nobody apart.
    :param leave: blocked VMs that stay on the node because the operator named them, as ``namespace/name`` or ``name``.
    :param links: ``{node: bytes/s}``; a target with a slower NIC is taken only where no faster one has room.
    :param jobs: ``{(namespace, name): schedule.Job}``, what is expected of each copy; order and targets of those that go side
        by side are then made for the shortest time.
    :returns: ``{id, node, waves: [{number, vms: [{namespace, name, uid, memory_bytes, target_node,
        target_choices, under_way}]}], vms: [{namespace, name, uid}], blocked: [{namespace, name, verdict, codes}],
        left: the blocked ones that stay, warnings: [code], targets_pinned: bool, width}``. Deterministic; ``id``
        changes with VMs, targets or risk. A wave may hold more VMs than ``width``: they go in their order, so many at a time.
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
    groups, entries, homeless = _arranged(node, movable, requests, free, pinned, apart, width, links or {}, jobs or {})
    blocked += [dict(vm, reasons=[{"code": NO_ROOM, "severity": "blocker"}]) for vm in homeless]
    waves = [{"number": number, "vms": [entries[id(vm)] for vm in group]} for number, group in enumerate(groups, 1)]
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


def _groups(movable, width, apart):
    """Waves: critical guests, those kept apart and the biggest one alone; the rest in one wave, ``width`` at a time."""
    alone = [vm for index, vm in enumerate(movable)
             if index == 0 or vm.get("critical") or (vm["namespace"], vm["name"]) in apart]
    known = {id(vm) for vm in alone}
    rest = [vm for vm in movable if id(vm) not in known]
    return [[vm] for vm in alone] + ([[vm] for vm in rest] if width == 1 else [rest] if rest else [])


_RESOURCES = {"memory": "memory_free", "hugepages-1Gi": "hugepages_1gi_free", "hugepages-2Mi": "hugepages_2mi_free", "cpu": "cpus_free"}


def _free(node):
    return {resource: node[field] for resource, field in _RESOURCES.items() if node.get(field) is not None}


def _speed(node, links):
    """``speed(target)``: what a copy from ``node`` to it gets at most; the same for all where nothing is known."""
    source = links.get(node, math.inf)
    return lambda target: min(source, links.get(target, source))


def _arranged(node, movable, requests, free, pinned, apart, width, links, jobs):
    """``(waves of VMs, {id of a VM: its entry}, VMs without room)``: of several ways the one with fewest of the latter,
    then the quickest.

    The first way keeps room on every node; where it fragments it, others are tried. With jobs known, targets may also be
    chosen by what a copy can make use of.
    """
    fewest = sorted(movable, key=lambda vm: len(vm.get("candidates") or []))
    plain = _speed(node, links)
    best = None
    for useful in ((False, True) if jobs and links else (False,)):
        for order, tight in ((movable, False), (fewest, False), (movable, True), (fewest, True)):
            room, places, found = {name: dict(data) for name, data in free.items()}, dict(apart), {}
            for vm in order:
                key = vm["namespace"], vm["name"]
                rank = _useful(plain, jobs[key].cap) if useful and key in jobs else lambda target: (plain(target),)
                found[id(vm)] = _placed(vm, requests.get(key, {}), room, pinned, places, None if tight else rank)
            homeless = [vm for vm in movable if not _placeable(found[id(vm)])]
            if best is not None and len(homeless) > len(best[2]):
                continue
            groups = _groups([vm for vm in movable if _placeable(found[id(vm)])], width, apart)
            if jobs and links and groups and len(groups[-1]) > 1:
                groups[-1] = _quicker(node, groups[-1], found, width, requests, room, links, jobs)
            length = _length(node, groups, found, width, links, jobs) if jobs and links else 0.0
            if best is None or (len(homeless), length) < (len(best[2]), best[3] * (1 - 1e-6)):
                best = (groups, found, homeless, length)
            if not homeless:
                break
    return best[:3]


def _useful(speed, cap):
    """A rank of targets: those that carry what a copy can send, of these the slowest."""
    return lambda target: (min(speed(target), cap), -speed(target))


def _length(node, groups, entries, width, links, jobs):
    """Seconds that all waves take by :mod:`.schedule`; a VM of which nothing is known counts nothing."""
    clock = 0.0
    for group in groups:
        known = [jobs[vm["namespace"], vm["name"]]._replace(target=entries[id(vm)]["target_node"])
                 for vm in group if (vm["namespace"], vm["name"]) in jobs]
        clock = max([end for _start, end in schedule.flow(known, width, links.get(node, math.inf), links, clock)], default=clock)
    return clock


def _quicker(node, group, entries, width, requests, room, links, jobs):
    """The VMs of one wave in a better order; better targets are put into ``entries`` and booked in ``room``."""
    keys = [(vm["namespace"], vm["name"]) for vm in group]
    if any(key not in jobs or entries[id(vm)]["under_way"] or not entries[id(vm)]["target_node"] for key, vm in zip(keys, group)):
        return group
    asks = [requests.get(key, {}) for key in keys]

    def fits(index, target, take=False):
        if take:
            for name, sign in ((target, -1), (entries[id(group[index])]["target_node"], 1)):
                for what, amount in asks[index].items():
                    if what in room.get(name, {}):
                        room[name][what] += sign * amount
            entries[id(group[index])]["target_node"] = target
        return take or _fits(asks[index], room.get(target, {}))

    source = links.get(node, math.inf)
    planned = [jobs[key]._replace(target=entries[id(vm)]["target_node"]) for key, vm in zip(keys, group)]
    speed = _speed(node, links)
    choices = [sorted(entries[id(vm)]["target_choices"], key=lambda name: (-speed(name), -room.get(name, {}).get("memory", 0), name))[:8]
               for vm in group]
    by_name = sorted(range(len(group)), key=lambda index: keys[index][::-1])  # as a drain goes
    return [group[index] for index in schedule.quickest(planned, width, source, links, choices, fits, [by_name])[0]]


def _placed(vm, request, free, pinned, apart, rank):
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
        # The fastest, then the emptiest, so that big guests do not crowd one node; without a rank the fullest. The
        # candidates' own order breaks ties.
        target = max(choices, key=lambda name: (
            rank(name) if rank else (), (1 if rank else -1) * free.get(name, {}).get("memory", 0), -choices.index(name)))
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
    """Seconds of the return at most: the biggest alone, the others side by side; None when that is not known."""
    if None in longest:
        return None
    vms = [seconds for wave in longest for seconds in wave]
    return sum(vms[:1]) + _beside(vms[1:], planned["width"])
