# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""N-1: can any one node be emptied, which cannot, and what is missing. With the formula of the vendor beside it.

The formula (:func:`.capacity.spare`) adds up what is free; this one really places each guest, the biggest first, on
the node that has most room left, with all that rules a node out.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import capacity, reasons
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.migration import FINAL
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_bytes
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.rules import RULES, Guest

NOT_OF_A_MOMENT = ("ForeignMigrationUnderWay", "OwnMigrationUnderWay", "NoFreeSlot")  # over in a while, says nothing of room
NO_ROOM = "NoRoomLeft"


def report(view, pools=()):
    """What must be spare and whether each node can be emptied.

    :param view: a :class:`.view.View` of an inventory with all VMIs of the cluster.
    :returns: :func:`.capacity.spare` and ``nodes: [{node, vms, can_be_emptied: bool or None, stuck: [{namespace, name, codes,
        missing: {resource: amount}}]}]`` by name. None: that depends on something that cannot be told.
    """
    found = capacity.spare(list(view.scene.nodes.values()), pools)
    on = {}
    for key in sorted(view.vmis):
        guest = Guest(view.vmis[key], view)
        if guest.phase not in FINAL and guest.node:
            on.setdefault(guest.node, []).append(guest)
    capable = [name for name, node in view.scene.nodes.items() if node["kubevirt_schedulable"] is not None]
    found["nodes"] = [emptied(name, on.get(name, []), view) for name in sorted(set(capable) | set(on))]
    return found


def emptied(name, guests, view):
    """Whether these guests all find a place when the node ``name`` alone is emptied."""
    free = {other: dict(node["free"]) for other, node in view.scene.nodes.items() if other != name}
    stuck, unsure = [], False
    for guest in sorted(guests, key=lambda one: (-(one.memory or 0), one.key)):
        codes = _against(guest, view)
        effects = {reasons.reason_of(code).effect for code in codes}
        missing = {}
        if not codes:
            target = _book(guest, free)
            if target is None:
                codes, missing = [NO_ROOM], _missing(guest, free, view)
        elif effects == {"unknown"}:
            unsure = True
        elif "NoCandidate" in codes:
            missing = _missing(guest, free, view)
        if codes:
            stuck.append({"namespace": guest.key[0], "name": guest.key[1], "codes": codes, "missing": missing})
    sure = [row for row in stuck if {reasons.reason_of(code).effect for code in row["codes"]} != {"unknown"}]
    return {"node": name, "vms": len(guests), "can_be_emptied": False if sure else None if unsure else True, "stuck": stuck}


def _against(guest, view):
    """Codes that keep the guest from being moved live at all."""
    found = set()
    for rule in RULES:
        try:
            found.update(code for code, _detail in rule(guest, view))
        except Exception:  # pylint: disable=broad-except
            found.add("CheckFailed")  # objects of any shape come along
    return sorted(code for code in found if reasons.reason_of(code).effect and code not in NOT_OF_A_MOMENT)


def _book(guest, free):
    """Put the guest where most room is left; the node, or None when it fits nowhere any more."""
    scarce = next((kind for kind in guest.need.asks if kind.startswith("hugepages-")), "memory")
    fitting = [name for name in guest.placement.candidates if not _short(guest, free[name])]
    if not fitting:
        return None
    target = max(fitting, key=lambda name: (free[name].get(scarce) or 0, -fitting.index(name)))
    for kind, value in guest.need.asks.items():
        if free[target].get(kind) is not None:
            free[target][kind] -= value
    return target


def _short(guest, free):
    """``{resource: what is missing}`` of a node with that much free; a node that states no limit of pods has none."""
    return {kind: value - (free.get(kind) or 0) for kind, value in guest.need.asks.items()
            if (free.get(kind) or 0) < value and (kind != "pods" or "pods" in free)}


def _missing(guest, free, view):
    """What is missing on the node where least is, among those that only lack room."""
    if guest.need is None or guest.placement is None:
        return {}
    rows = []
    for name, against in dict(guest.placement.ruled_out, **dict.fromkeys(guest.placement.candidates, ())).items():
        if name in free and all(code.endswith("Short") for code, _detail in against):
            short = _short(guest, free[name])
            rows.append((sum(value for kind, value in short.items() if kind == "memory" or kind.startswith("hugepages-")), name, short))
    return min(rows)[2] if rows else {}


# -- telling -----------------------------------------------------------------------------


def spare_lines(found):
    """For people, lines of at most 80 columns."""
    lines = []
    for kind, row in found["resources"].items():
        if row["needed"] is None or row["available"] is None:
            lines.append("spare %s: cannot be told" % kind)
            continue
        lines.append("spare %s: %s needed, %s free elsewhere: %s" % (
            kind, format_bytes(row["needed"]), format_bytes(row["available"]), "enough" if row["enough"] else "NOT ENOUGH"))
        lines.append("  (%d at once x %s on %s)" % (found["drained_at_once"], format_bytes(row["fullest"]), row["fullest_node"]))
    for node in found["nodes"]:
        said = {True: "can be emptied", False: "CANNOT be emptied", None: "whether it can be emptied is not known"}
        lines.append(("%s (%d VMs): %s" % (node["node"], node["vms"], said[node["can_be_emptied"]]))[:78])
        for row in node["stuck"][:3]:
            short = ", ".join("%s %s" % (kind, _amount(kind, value)) for kind, value in sorted(row["missing"].items()))
            lines.append(("  %s/%s: %s%s" % (row["namespace"], row["name"], ", ".join(row["codes"][:2]),
                                             "; missing " + short if short else ""))[:78])
        if len(node["stuck"]) > 3:
            lines.append("  and %d more" % (len(node["stuck"]) - 3))
    return lines


def _amount(kind, value):
    if kind == "memory" or kind.startswith("hugepages-"):
        return format_bytes(value)
    return "%g" % (value / 1000.0 if kind == "cpu" else value)
