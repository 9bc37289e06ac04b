# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan with its forecast + verdicts + window -> what may go wrong tonight, and what to change before it begins."""

from __future__ import annotations

import textwrap

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import foresight, precopy
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_bytes
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.wording import DOUBTS, WIDTH

NEAR = 0.8  # of the dirty rate at which a copy just ends: from here on a burst decides


def risks(plan, facts, window):
    """What may go wrong, the gravest first.

    :param plan: what :func:`.evacuation.foreseen` returned.
    :param facts: the verdicts it was made from.
    :param window: what :func:`.evacuation.window` returned.
    :returns: ``[{code, vms: ["namespace/name"], message, remedy}]``.
    """
    found, forecast = [dict(row) for row in plan["first"]], plan["forecast"]
    tight = window.get("problem") or window.get("note")
    if tight:
        found.append(_risk("WindowTight", [], tight[:1].upper() + tight[1:] + ".", "Begin earlier, give a later deadline, or move fewer."))
    if plan["waves"] and not forecast["possible"]:
        found.append(_risk("NoForecast", [], forecast["why"][:1].upper() + forecast["why"][1:] + ".",
                           "Measure what the migration network carries between two nodes and give it as links."))
    for row in forecast["vms"]:
        found += _of_copy(row)
    covered = {foresight.NEVER}
    for code in plan["warnings"]:
        reason = (facts.get("reasons") or {}).get(code)
        if code in DOUBTS:
            found.append(_risk(code, [], DOUBTS[code], "Give the guests required pod affinity or anti-affinity, or leave room to spare."))
        elif code not in covered and reason:
            found.append(_risk(code, ["%s/%s" % (vm["namespace"], vm["name"]) for vm in facts["vms"]
                                      if any(row["code"] == code for row in vm["reasons"])], reason["message"], reason["remedy"]))
    unknown = ["%s/%s" % (row["namespace"], row["name"]) for row in forecast["vms"] if row["dirty_rate"] is None]
    if unknown:
        found.append(_risk("DirtyRateUnknown", unknown, "Nobody told what they write, so that the end of their copies cannot be told.",
                           "Give dirty_rates, or a Prometheus that has kubevirt_vmi_dirty_rate_bytes_per_second."))
    if any("not measured here" in words for words in forecast["assumptions"]):
        found.append(_risk("StreamNotMeasured", [], "What one stream carries was assumed.",
                           "Give per_stream as forecast_check_info finds it in the records of earlier runs."))
    return found


def _of_copy(row):
    """What the forecast of one copy bodes."""
    name = ["%s/%s" % (row["namespace"], row["name"])]
    if row["ends"] in ("never", "budget"):
        when = "" if row["ends"] == "never" else " in the time granted"
        yield _risk(foresight.NEVER, name, "It is not expected to end%s." % when,
                    "Any of: %s." % "; ".join(row["helps"]) if row["helps"] else
                    "No single change is enough: fewer writes and a faster link.")
    elif row["border"] is not None and row["border"] >= NEAR:
        yield _risk("NearTheBorder", name, "It writes %d %% of what its copy can just follow." % round(100 * row["border"]),
                    "Move it in a quieter hour: no delta merge, no savepoint, no backup.")
    if row["ends"] == "converges" and row["high"] is None:
        yield _risk("EndOpen", name, "With half as much writing again or a link 30 % slower it would not end.",
                    "Give it a deadline, and an hour in which less is written.")
    if row["extrapolated"]:
        yield _risk("Extrapolated", name, "It is larger than anything measured (%s)." % format_bytes(precopy.LARGEST_MEASURED),
                    "Leave more time than the forecast says.")


def _risk(code, vms, message, remedy):
    return {"code": code, "vms": vms, "message": message, "remedy": remedy}


def lines(found):
    """For people, at most 78 columns."""
    if not found:
        return ["nothing stands out: begin as planned"]
    out = []
    for row in found:
        whom = ", ".join(row["vms"][:3]) + (" and %d more" % (len(row["vms"]) - 3) if len(row["vms"]) > 3 else "")
        out += textwrap.wrap("risk    %s%s" % (whom + ": " if whom else "", row["message"]), WIDTH, subsequent_indent="        ")
        out += textwrap.wrap("change  %s" % row["remedy"], WIDTH, subsequent_indent="        ")
    return out
