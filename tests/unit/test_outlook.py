# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may go wrong tonight and what to change before: from the plan, the verdicts, the forecast and the window."""

from __future__ import annotations

import pytest
from test_foresight import foreseen as timeline
from test_foresight import guest, plan_of

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import evacuation, outlook

FACTS = {"reasons": {"PostCopyAllowed": {"message": "Post-copy is on.", "remedy": "Switch it off."}},
         "vms": [{"namespace": "sap", "name": "a", "reasons": [{"code": "PostCopyAllowed"}]}]}
CALM = {"problem": None, "note": None}


def risks(known, planned=None, window=None, **given):
    planned = dict(planned or plan_of([("a", 64, "w1")]), first=[])
    return outlook.risks(evacuation.foreseen(planned, timeline(planned, {"a": known}, **given)), FACTS, window or CALM)


def codes(found):
    return [row["code"] for row in found]


def test_a_calm_night_has_no_risk():
    assert risks(guest(64, 1e6)) == [] and outlook.lines([]) == ["nothing stands out: begin as planned"]


@pytest.mark.parametrize("known, given, code, remedy", [
    (guest(64, 9e9), {}, "ForecastDoesNotConverge", "fewer writes"),
    (guest(640, 1, budget=30), {}, "ForecastDoesNotConverge", "more time"),
    (guest(64, None), {}, "DirtyRateUnknown", "dirty_rates"),
    (guest(64), {"links": {}}, "NoForecast", "links"),
    (guest(64, 1e6, streams=1), {"per_stream": None}, "StreamNotMeasured", "forecast_check_info"),
    (guest(6 * 1024, 1e6), {}, "Extrapolated", "more time"),
])
def test_each_risk_comes_with_what_to_change(known, given, code, remedy):
    found = [row for row in risks(known, **given) if row["code"] == code]
    assert found and remedy in found[0]["remedy"]


def test_near_the_border_a_burst_decides():
    planned = dict(plan_of([("a", 64, "w1")]), first=[])
    most = timeline(planned, {"a": guest(64, 9e9)})["vms"][0]
    edge = most["dirty_rate"] / most["border"]
    assert "NearTheBorder" in codes(risks(guest(64, 0.9 * edge))) and "EndOpen" in codes(risks(guest(64, 0.9 * edge)))
    assert "NearTheBorder" not in codes(risks(guest(64, 0.3 * edge)))


def test_warnings_of_the_verdict_what_blocks_and_the_window_are_among_them():
    planned = dict(plan_of([("a", 64, "w1")]), warnings=["PostCopyAllowed"])
    found = risks(guest(64, 1e6), planned, window={"problem": None, "note": "if every copy takes as long as it may, 1 of 2 waves fit"})
    assert codes(found) == ["WindowTight", "PostCopyAllowed"] and found[1]["vms"] == ["sap/a"]
    said = outlook.lines(found + [outlook._risk("X", ["sap/" + "x" * 63] * 9, "m" * 20, "r " * 60)])
    assert max(map(len, said)) <= 78 and any("and 6 more" in line for line in said)
    blocked = dict(planned, first=[{"code": "NoRoomLeft", "vms": ["sap/b"], "message": "No room.", "remedy": "Free some.", "missing": {}}])
    assert codes(outlook.risks(dict(blocked, forecast=timeline(planned, {"a": guest(64, 1e6)})), FACTS, CALM))[0] == "NoRoomLeft"
