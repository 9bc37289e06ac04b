# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verdicts and plans as lines of at most 80 columns, for people."""

from __future__ import annotations

import textwrap

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_bytes, format_duration

WIDTH = 78  # two columns are left for the indent under a headline
MARKS = {"live": "ok", "cold_only": "COLD", "blocked": "BLOCKED", "unknown": "UNKNOWN"}
LONG_LIST = 40  # above it only what needs attention is listed VM by VM


DOUBTS = {
    "RoomDependsOnScheduler": "Room for all there is only when the scheduler spares it for the right one.",
    "KeepRulesDependOnScheduler": "Nobody but the guests' own pod affinity keeps them apart or together here.",
}


def verdict_lines(facts):
    """What :func:`..migratability.judge` returned, in words."""
    cluster, total = facts["cluster"], facts["summary"]
    lines = [
        "KubeVirt %s, HyperConverged %s, migration network %s"
        % (cluster.get("kubevirt_version") or "?", cluster.get("hyperconverged_api") or "none",
           cluster.get("migration_network") or "none (pod network)"),
        "%d VMs: %d can move live, %d only cold, %d blocked, %d unknown"
        % (len(facts["vms"]), total["live"], total["cold_only"], total["blocked"], total["unknown"]),
    ]
    shown = [vm for vm in facts["vms"] if len(facts["vms"]) <= LONG_LIST or vm["verdict"] != "live"]
    for vm in sorted(shown, key=lambda vm: (-(vm.get("memory_bytes") or 0), vm["namespace"], vm["name"])):
        name = shortened("%s/%s" % (vm["namespace"], vm["name"]), 34)
        granted = vm.get("budget_seconds")
        lines.append(
            ("%-7s %-34s %9s  time limit %s"
             % (MARKS[vm["verdict"]], name, format_bytes(vm.get("memory_bytes") or 0),
                format_duration(granted) if granted else "none"))[:WIDTH])
    return lines + reason_lines(facts, ("blocker", "warning"))


def reason_lines(facts, severities):
    """Each reason of those severities once, with whom it concerns and what helps."""
    lines = []
    for code, reason in sorted(facts["reasons"].items(), key=lambda item: (severities_order(item[1]), item[0])):
        if reason.get("severity") not in severities:
            continue
        whom = ["%s/%s" % (vm["namespace"], vm["name"]) for vm in facts["vms"]
                if any(r["code"] == code and r["severity"] in severities for r in vm["reasons"])]
        if not whom:
            continue
        text = ", ".join(whom[:3]) + (" and %d more" % (len(whom) - 3) if len(whom) > 3 else "")
        lines += textwrap.wrap("%s: %s: %s %s" % (reason["severity"].upper(), text, reason["message"], reason["remedy"]),
                               WIDTH, subsequent_indent="  ")
    return lines


def plan_lines(plan):
    """The waves of an evacuation plan, and what cannot move."""
    lines = []
    for wave in plan["waves"]:
        for index, vm in enumerate(wave["vms"]):
            head = "wave %d" % wave["number"] if index == 0 else ""
            name = shortened("%s/%s" % (vm["namespace"], vm["name"]), 34)
            lines.append(("%-7s %-34s %9s  %s" % (head, name, format_bytes(vm["memory_bytes"]), _target(vm)))[:WIDTH])
        if len(wave["vms"]) > plan["width"]:
            lines.append("        %d at a time, in this order" % plan["width"])
    lines += _way_back(plan)
    for vm in plan["left"]:
        lines.append(("stays   %s/%s: named in leave_blocked" % (vm["namespace"], vm["name"]))[:WIDTH])
    for vm in plan["blocked"]:
        lines.append(("cannot  %s/%s: %s" % (vm["namespace"], vm["name"], ", ".join(vm["codes"]) or vm["verdict"]))[:WIDTH])
    for row in plan["first"]:
        lines += textwrap.wrap("first   %s: %s%s" % (
            ", ".join(row["vms"][:3]) + (" and %d more" % (len(row["vms"]) - 3) if len(row["vms"]) > 3 else ""),
            _lacking(row["missing"]), row["remedy"]), WIDTH, subsequent_indent="        ")
    if not plan["targets_pinned"] and plan["waves"]:
        lines.append("This KubeVirt takes no target by name: the scheduler chooses; what is expected is told.")
    lines += [DOUBTS[code] for code in plan["warnings"] if code in DOUBTS]
    return lines or ["nothing to move: %s carries no VM" % plan["node"]]


def _target(vm):
    if vm["under_way"]:
        return "under way already"
    if vm["target_node"]:
        return "to " + vm["target_node"]
    others = [name for name in vm["target_choices"] if name != vm["expected_node"]]
    return "to %s, expected%s" % (vm["expected_node"], "; or " + ", ".join(others) if others else "")


def _way_back(plan):
    """The return, where it differs from the way out: who stays away, for the rest one line."""
    if not plan["returns"] or not plan["waves"]:
        return []
    count = sum(len(wave["vms"]) for wave in plan["returns"]["waves"])
    lines = ["return  %d of %d VMs to %s, in the same order" % (count, len(plan["vms"]), plan["node"])]
    return lines + [("        %s/%s stays away: its partner returns" % (vm["namespace"], vm["name"]))[:WIDTH]
                    for vm in plan["returns"]["stay"]]


def _lacking(missing):
    """``lacks 120 GiB memory. `` of what a node has too little of."""
    parts = ["%s %s" % ("%g" % round(value, 1) if kind == "cpu" else format_bytes(value), kind) for kind, value in sorted(missing.items())]
    return "lacks %s. " % ", ".join(parts) if parts else ""


def change_lines(before, after):
    """What changed between two flat dictionaries, a line a key: ``bandwidth_per_migration: 64Mi -> not set``."""
    return ["%s: %s -> %s" % (key, _value(before.get(key)), _value(after.get(key)))
            for key in sorted(set(before) | set(after)) if before.get(key) != after.get(key)]


def left_alone_lines(left_alone):
    """Held settings that somebody else changed, as :func:`..journal.restore_settings` lists them."""
    return ["%s: left alone, somebody set it to %s (held: %s, before: %s)"
            % (row["field"], _value(row["found"]), _value(row["written"]), _value(row["before"])) for row in left_alone]


def _value(value):
    return "not set" if value is None or value == "" else str(value).lower() if isinstance(value, bool) else str(value)


def severities_order(reason):
    """Blockers first."""
    return {"blocker": 0, "warning": 1}.get(reason.get("severity"), 2)


def shortened(text, width):
    """``text`` in ``width`` columns; the cut is marked."""
    return text if len(text) <= width else text[: width - 1] + "~"
