# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The preflight as a list of checks that pass or fail: each VM, the rights, the room.

What is not known fails like what is wrong, unless somebody accepted it by its code: a maintenance that begins on a guess
is worse than one that begins an hour later.
"""

from __future__ import annotations

import textwrap

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import reasons
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_bytes
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.rates import rate_lines
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.wording import reason_lines, verdict_lines

PASS, FAIL, ACCEPTED = "PASS", "FAIL", "ACCEPTED"
WIDTH = 78
# Reasons that leave the verdict alone, but that nobody should meet unknowingly: they ask for a look at the host.
TO_CONFIRM = ("NumaPagesNotVisible",)
NOTHING_TO_MOVE = ("Stopped", "Finished")
SPARE_SHORT, SPARE_UNKNOWN, NODE_FULL, RIGHT_MISSING = "SpareShort", "SpareUnknown", "NodeCannotBeEmptied", "RightMissing"
RIGHTS_NAMED = 5
OWN = {
    SPARE_SHORT: "Free or add memory (huge pages), or let fewer nodes be drained at once (maxUnavailable).",
    SPARE_UNKNOWN: "Grant the right to list pods of all namespaces.",
    NODE_FULL: "Free what is missing on another node, or settle what keeps the guests named.",
    RIGHT_MISSING: "Grant the rights that are named.",
}


def unknown_codes(codes):
    """Which of the codes to accept nobody can ever return; a new KubeVirt's own reasons end alike."""
    return [code for code in codes if code not in reasons.REASONS and code not in OWN and not code.endswith("LiveMigratable")]


def checks(facts, accept=(), node=None, access=None):
    """What the preflight checked.

    :param facts: what vm_migratable_facts returned as ``vm_migratable``.
    :param accept: codes that are known and accepted.
    :param node: the node that shall be emptied; None judges every node's turn.
    :param access: what access_check_info returned, None when it was not asked.
    :returns: ``[{name, status: PASS|FAIL|ACCEPTED, codes, found, remedy}]``: the cluster, rights, VMs with the biggest first,
        then the room.
    :raises ValueError: a code to accept that does not exist, named.
    """
    wrong = unknown_codes(accept)
    if wrong:
        raise ValueError("there is no code %s; docs/verdict.md lists them" % ", ".join(wrong))
    found = [_cluster(facts)] + ([_rights(access["problems"], accept)] if access else [])
    found += [_vm(vm, facts["reasons"], accept)
              for vm in sorted(facts["vms"], key=lambda vm: (-(vm.get("memory_bytes") or 0), vm["namespace"], vm["name"]))]
    if facts.get("spare"):
        found += _room(facts["spare"], accept, node)
    return found


def _row(name, found, codes=(), accept=(), remedies=()):
    left = [code for code in codes if code not in accept]
    return {"name": name, "status": FAIL if left else ACCEPTED if codes else PASS, "codes": list(codes), "found": found,
            "remedy": " ".join(dict.fromkeys(remedies)) if left else ""}


def _cluster(facts):
    cluster = facts["cluster"]
    missing = cluster.get("unreadable") or []
    # What a missing right means stands with each VM that it matters for.
    return _row("cluster", "KubeVirt %s, %d VMs%s" % (
        cluster.get("kubevirt_version") or "of an unknown release", len(facts["vms"]),
        ", not readable: %s" % ", ".join(missing) if missing else ""))


def _rights(problems, accept):
    """Only the rights: the token and the place are those of this look, not of the run that comes later."""
    missing = [row for row in problems if row["code"] == "right_missing"]
    needed = [row for row in missing if row["severity"] == "blocker"]
    if not missing:
        return _row("rights", "all are there")
    said = "%d missing that nothing can be done without, %d that can be done without" % (len(needed), len(missing) - len(needed))
    more = ["And %d more." % (len(needed) - RIGHTS_NAMED)] if len(needed) > RIGHTS_NAMED else []
    return _row("rights", said, [RIGHT_MISSING] if needed else [], accept,
                ["%s %s" % (row["message"], row["remedy"]) for row in needed[:RIGHTS_NAMED]] + more)


def _vm(vm, known, accept):
    codes = [reason["code"] for reason in vm["reasons"]
             if known[reason["code"]]["effect"] or reason["code"] in TO_CONFIRM]
    left = [code for code in codes if code not in accept]
    name = "VM %s/%s" % (vm["namespace"], vm["name"])
    if set(codes) & set(NOTHING_TO_MOVE):
        return _row(name, "does not run, nothing to move")
    if not codes:
        return _row(name, "%s, %d node%s can take it" % (
            format_bytes(vm.get("memory_bytes") or 0), vm["candidate_count"], "s" if vm["candidate_count"] != 1 else ""))
    return _row(name, "%s (%s)" % (vm["verdict"], ", ".join(codes)), codes, accept,
                ["%s %s" % (known[code]["message"], known[code]["remedy"]) for code in left])


def _room(spare, accept, node):
    found = []
    for kind, row in sorted(spare["resources"].items()):
        if row["needed"] is None or row["available"] is None:
            found.append(_row("spare %s" % kind, "cannot be told", [SPARE_UNKNOWN], accept, [OWN[SPARE_UNKNOWN]]))
            continue
        said = "%s needed to drain %d at once, %s free elsewhere" % (
            format_bytes(row["needed"]), spare["drained_at_once"], format_bytes(row["available"]))
        found.append(_row("spare %s" % kind, said, [] if row["enough"] else [SPARE_SHORT], accept, [OWN[SPARE_SHORT]]))
    for row in spare["nodes"]:
        if node in (None, row["node"]):
            found.append(_node(row, accept))
    return found


def _node(row, accept):
    name = "room to empty node %s" % row["node"]
    if row["can_be_emptied"]:
        return _row(name, "%d VMs find a place together" % row["vms"])
    # A guest whose every obstacle is accepted does not fail its node a second time.
    stuck = [one for one in row["stuck"] if [code for code in one["codes"] if code not in accept]]
    who = ", ".join("%s/%s" % (one["namespace"], one["name"]) for one in (stuck or row["stuck"])[:3])
    more = " and %d more" % (len(stuck) - 3) if len(stuck) > 3 else ""
    code = SPARE_UNKNOWN if row["can_be_emptied"] is None else NODE_FULL
    if not stuck:
        return _row(name, "all but accepted ones (%s) find a place" % who, [code], (code,))
    return _row(name, "no place for %s%s%s" % (who, more, _missing(stuck[0])), [code], accept, [OWN[code]])


def _missing(one):
    memory = [(kind, value) for kind, value in sorted(one["missing"].items()) if kind == "memory" or kind.startswith("hugepages-")]
    return " (missing %s)" % ", ".join("%s %s" % (kind, format_bytes(value)) for kind, value in memory) if memory else ""


def lines(rows, width=WIDTH):
    """For people: ``PASS: VM sap/hana: 3 TiB, 1 node can take it``; what helps below what failed."""
    said = []
    for row in rows:
        said += textwrap.wrap("%s: %s: %s" % (row["status"], row["name"], row["found"]), width, subsequent_indent="      ")
        if row["remedy"]:
            said += textwrap.wrap(row["remedy"], width, initial_indent="      ", subsequent_indent="      ")
    failed, accepted = (sum(row["status"] == status for row in rows) for status in (FAIL, ACCEPTED))
    said.append("%d checks: %d passed, %d accepted, %d failed" % (len(rows), len(rows) - failed - accepted, accepted, failed))
    return said


def page(facts, rows):
    """All that the preflight says: what was asked, the checks, what to know besides, advice on the settings."""
    said = verdict_lines(dict(facts, vms=[], reasons={}))[:1] + [_count(facts)] + lines(rows)
    said += reason_lines(facts, ("warning",))
    if facts.get("rates"):
        said += rate_lines(facts["rates"], facts["cluster"].get("kubevirt_version"), facts["vms"])
    if facts.get("advice"):
        said += ["advice on the settings in force (nothing is changed):"] + facts["advice"]
    return said


def _count(facts):
    return verdict_lines(facts)[1]
