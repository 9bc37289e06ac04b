# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Forecasts against what happened, and what is learned from it."""

from __future__ import annotations

import json

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import calibration, report
from ansible_collections.bigvm.live_migration.plugins.modules import forecast_check_info


def move(name, prepare=20, copy=100, **given):
    return dict({"namespace": "sap", "name": name, "outcome": "moved", "mode": "PreCopy", "paused_seconds": 0, "adopted": False,
                 "source_node": "hana-a", "seconds": {"queue": 500, "prepare": prepare, "copy": copy, "total": 620}}, **given)


def expected(name, seconds=100.0, low=60.0, high=200.0, **given):
    return dict({"namespace": "sap", "name": name, "seconds": seconds, "low": low, "high": high, "limit": "1 stream", "streams": 1,
                 "sent_bytes": 150e9}, **given)


def record(moves, forecast=(), run="r-1", **given):
    made = report.new_record("node_maintenance", run, "hana-a", "2026-11-21T20:00:00Z")
    report.note(made, "2026-11-21T20:00:00Z", facts={"plan": {"node": "hana-a", "forecast": {"vms": list(forecast)}}}, migrations=moves)
    return dict(made, **given)


def test_what_was_expected_is_held_against_what_it_took_without_the_queue():
    found = calibration.compared(record([move("a"), move("b", copy=400), move("c")], [expected("a"), expected("b")]))
    first, second = found["vms"]
    assert (first["actual"], first["error"], first["inside"]) == (120, pytest.approx(0.2), True)
    assert (second["actual"], second["inside"]) == (420, False)
    assert found["without"] == ["sap/c"]
    assert calibration.figures([found]) == {"vms": 2, "inside": 1, "median_error": pytest.approx(1.7), "p90_error": pytest.approx(2.9)}


@pytest.mark.parametrize("given", [{"outcome": "failed"}, {"mode": "PostCopy"}, {"paused_seconds": 3}, {"adopted": True}, {"seconds": None},
                                   {"seconds": {"prepare": None, "copy": 4}}, {"source_node": "hana-b"}])
def test_what_says_nothing_about_a_copy_does_not_count(given):
    found = calibration.compared(record([move("a", **given)], [expected("a")]))
    assert found["vms"] == [] and found["without"] == []


def test_an_open_range_has_no_outside():
    found = calibration.compared(record([move("a", copy=9999)], [expected("a", high=None, low=None)]))
    assert found["vms"][0]["inside"] is True


def test_rate_and_setup_are_learned_from_what_streams_limited():
    moves = [move("a", prepare=10), move("b", prepare=20, copy=50), move("c", prepare=30, copy=200), move("d", prepare=40)]
    forecast = [expected("a"), expected("b"), expected("c", streams=8, limit="8 streams", sent_bytes=2.4e12),
                expected("d", limit="source NIC")]
    found = calibration.learned([record(moves, forecast)])
    assert (found["per_stream"], found["streams_from"]) == (pytest.approx(1.5e9), 3)
    assert found["setup_time"] == [pytest.approx(11.5), pytest.approx(38.5)] and found["setup_from"] == 4


def test_too_few_teach_nothing():
    found = calibration.learned([record([move("a"), move("b")], [expected("a"), expected("b")])])
    assert found["per_stream"] is None and found["setup_time"] is None
    said = calibration.lines([], found)
    assert said[0] == "no VM that moved had a forecast" and "not known (2 migrations" in said[1]


@pytest.mark.parametrize("odd", [{}, {"migrations": 5}, {"migrations": [5, {}]}, {"facts": {"plan": []}, "migrations": [move("a")]}])
def test_records_of_any_shape(odd):
    assert calibration.compared(odd)["vms"] == [] and calibration.learned([odd])["per_stream"] is None


def test_lines_fit():
    long = [move("x" * 63, copy=10 ** 6)] + [move(name) for name in "abc"]
    one = calibration.compared(record(long, [expected("x" * 63)] + [expected(name) for name in "abc"]))
    said = calibration.lines([one], calibration.learned([record(long, [expected(name) for name in "abc"])]))
    assert max(map(len, said)) <= 78 and any("OUTSIDE" in line for line in said)
    assert any("one stream carries 1.5 GB/s" in line for line in said), said


def check(path, **options):
    return forecast_check_info.execute(dict({"records": [str(path)], "run": None, "rehearsals": False}, **options))


def test_the_module_reads_folders_and_says_what_is_no_record(tmp_path):
    for number in (1, 2):
        made = record([move("a"), move("b")], [expected("a"), expected("b")], run="r-%d" % number)
        (tmp_path / ("r-%d.json" % number)).write_text(json.dumps(made), encoding="utf-8")
    (tmp_path / "played.json").write_text(json.dumps(record([move("a")], [expected("a")], run="r-3", rehearsal=True)), encoding="utf-8")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    found = check(tmp_path)
    assert found["per_stream"] == 1500000000 and found["figures"]["vms"] == 4 and len(found["skipped"]) == 1
    assert check(tmp_path, rehearsals=True)["figures"]["vms"] == 5
    assert [one["run"] for one in check(tmp_path, run="r-2")["comparisons"]] == ["r-2"]
    for wrong in ({"run": "r-3"}, {"records": [str(tmp_path / "nowhere")]}):
        with pytest.raises(BadInput, match="r-3|nowhere"):
            check(tmp_path, **wrong)
