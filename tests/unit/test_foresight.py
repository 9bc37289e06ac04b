# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The forecast of a plan: what is known, what is shared, what is never guessed, and how it reads."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import evacuation, foresight, precopy
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.foresight import Known
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.view import View

GI = 1024 ** 3
LINKS = {"hana-a": 12.5e9, "w1": 12.5e9, "w2": 3.1e9}
EXACT = (20.0, 20.0)


def plan_of(*waves, node="hana-a", width=2):
    """A plan of ``(name, GiB, target)``."""
    return {"node": node, "width": width, "warnings": [], "returns": None, "blocked": [], "left": [], "targets_pinned": True, "waves": [
        {"number": number, "vms": [
            {"namespace": "sap", "name": name, "uid": name, "memory_bytes": gib * GI, "target_node": target,
             "target_choices": [target], "under_way": False} for name, gib, target in wave]}
        for number, wave in enumerate(waves, 1)]}


def guest(gib, dirty=0, **given):
    return Known(**dict(dict(memory=gib * GI, disk=0, dirty_rate=dirty, cap=0, streams=8, auto_converge=False, budget=None), **given))


def foreseen(planned, guests, links=None, **given):
    keys = {("sap", name): known for name, known in guests.items()}
    return foresight.timeline(planned, keys, LINKS if links is None else links, **dict(dict(setup=EXACT, per_stream=2e9), **given))


# -- what is not known is not guessed ---------------------------------------------------


def test_without_a_bandwidth_there_is_no_forecast():
    found = foreseen(plan_of([("a", 64, "w1")]), {"a": guest(64)}, links={})
    assert found["possible"] is False and found["seconds"] is found["high"] is None and found["vms"] == []
    assert foresight.lines(found) == [foresight.NO_LINK] and "no bandwidth is known" in foresight.NO_LINK


def test_without_a_dirty_rate_only_the_least_time_is_told():
    found = foreseen(plan_of([("a", 64, "w1")], [("b", 32, "w1")]), {"a": guest(64, None), "b": guest(32)})
    first, second = found["vms"]
    assert (first["ends"], first["seconds"], first["high"]) == ("unknown", None, None) and first["low"] > 20
    assert second["seconds"] is not None and second["start"] is None, "who knows when"
    assert found["seconds"] is found["high"] is None and found["low"] > first["low"]
    assert any("or more" in line and "dirty rate unknown" in line for line in foresight.lines(found))


def test_not_even_idle_in_the_time_granted_is_known_without_a_dirty_rate():
    found = foreseen(plan_of([("a", 640, "w1")]), {"a": guest(640, None, budget=30)})
    assert found["vms"][0]["ends"] == "budget" and found["warnings"] == [foresight.NEVER]


def test_a_guest_that_cannot_be_understood_is_left_open():
    found = foreseen(plan_of([("a", 64, "w1"), ("odd", 1, "w1")]), {"a": guest(64)})
    assert [row["ends"] for row in found["vms"]] == ["converges", "unknown"] and found["seconds"] is None


# -- figures -----------------------------------------------------------------------------------


def test_an_idle_guest_takes_its_bytes_over_the_slower_nic():
    found = foreseen(plan_of([("a", 64, "w2")]), {"a": guest(64)})
    row = found["vms"][0]
    assert row["limit"] == "target NIC"
    assert row["seconds"] == pytest.approx(20 + 64 * GI / 3.1e9 + precopy.DEVICE_STATE)
    assert row["low"] < row["seconds"] < row["high"] and found["seconds"] == row["seconds"]


def test_two_at_a_time_share_the_nic_and_waves_follow_one_another():
    guests = {name: guest(64) for name in "abc"}
    found = foreseen(plan_of([("a", 64, "w1"), ("b", 64, "w1")], [("c", 64, "w1")]), guests)
    both, alone = found["vms"][0], found["vms"][2]
    assert both["rate"] == alone["rate"] / 2
    assert both["seconds"] == pytest.approx(20 + 2 * 64 * GI / 12.5e9, rel=0.01)
    assert [row["start"] for row in found["vms"]] == [0, 0, pytest.approx(both["seconds"])]
    assert found["lower_bound"] == pytest.approx(found["seconds"], rel=1e-6)
    assert found["waves"][1]["start"] == found["waves"][0]["end"] and found["seconds"] == found["waves"][1]["end"]
    assert found["low"] < found["seconds"] < found["high"] == found["waves"][1]["latest"]


def test_a_dirty_rate_counts_twice_under_migration_and_the_words_say_so():
    quiet, busy = (foreseen(plan_of([("a", 64, "w2")]), {"a": guest(64, dirty)}) for dirty in (1e8, 5e8))
    assert quiet["vms"][0]["seconds"] < busy["vms"][0]["seconds"]
    assert any("2 times" in words for words in busy["assumptions"])
    never = foreseen(plan_of([("a", 64, "w2")]), {"a": guest(64, 1.7e9)})["vms"][0]
    assert never["ends"] == "never" and never["border"] > 1 and never["helps"]


def test_one_stream_is_an_assumption_until_it_was_measured():
    planned, one = plan_of([("a", 64, "w1")]), {"a": guest(64, streams=1)}
    assumed, measured = foreseen(planned, one, per_stream=None), foreseen(planned, one, per_stream=1.5e9)
    assert assumed["vms"][0]["rate"] == precopy.PER_STREAM and any("not measured" in words for words in assumed["assumptions"])
    assert measured["vms"][0]["rate"] == 1.5e9 and not any("not measured" in words for words in measured["assumptions"])


def test_a_timeout_below_the_time_it_takes_does_not_converge_in_the_time_granted():
    assert foreseen(plan_of([("a", 64, "w2")]), {"a": guest(64)}, timeout=10)["vms"][0]["ends"] == "budget"


# -- the plan ----------------------------------------------------------------------------------------


def test_what_does_not_converge_changes_the_id_and_other_figures_do_not():
    planned = plan_of([("a", 64, "w2")])
    ids = [evacuation.foreseen(planned, foreseen(planned, {"a": guest(64, dirty)}))["id"] for dirty in (1e8, 2e8, 5e9)]
    assert ids[0] == ids[1] != ids[2]
    assert evacuation.foreseen(planned, foreseen(planned, {"a": guest(64, 5e9)}))["warnings"] == [foresight.NEVER]
    assert ids[0] == evacuation.plan_id(planned), "a forecast without risk asks for no other approval"


def test_without_a_time_limit_the_window_counts_by_the_forecast():
    planned = plan_of([("a", 64, "w1")], [("b", 64, "w1")])
    planned["vms"] = [vm for wave in planned["waves"] for vm in wave["vms"]]
    whole = evacuation.foreseen(planned, foreseen(planned, {name: guest(64) for name in "ab"}))
    high = whole["forecast"]["vms"][0]["high"]
    assert evacuation.window(whole, 0, None, 2.1 * high)["waves_that_fit"] == 2
    assert evacuation.window(whole, 0, None, 1.5 * high)["waves_that_fit"] == 1
    assert evacuation.window(whole, 0, None, 0.9 * high)["problem"]
    assert evacuation.window(whole, 0, None, 9 * high, back=True)["reserve_seconds"] == pytest.approx(2 * high, abs=1)
    assert evacuation.window(whole, 0, 7200, 2.1 * high)["problem"], "an explicit limit goes before"
    open_end = evacuation.foreseen(planned, foreseen(planned, {"a": guest(64), "b": guest(64, None)}))
    assert evacuation.window(open_end, 0, None, 9 * high, back=True)["note"]


# -- words ------------------------------------------------------------------------------------------------


def test_lines_fit_whatever_the_names():
    long = "x" * 63
    planned = plan_of([(long, 6144, "w2")], [("b", 64, "w1")])
    found = foreseen(planned, {long: guest(6144, 1.7e9, streams=1), "b": guest(64, 1e8)}, per_stream=None)
    said = foresight.lines(found)
    assert max(map(len, said)) <= 78 and any("DOES NOT CONVERGE" in line for line in said)
    assert any("helps:" in line for line in said) and any("assumed:" in line for line in said)


# -- what was given ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given, rate, line", [
    ("12.5G", 12.5e9, False), (1000, 1000, False), ("1Gi", GI, False), ("100Gbit", 11.25e9, True), ("25 Gbit/s", 2.8125e9, True)])
def test_a_bandwidth_is_bytes_or_a_line_rate(given, rate, line):
    assert foresight.rate_of(given) == (rate, line)


@pytest.mark.parametrize("given", ["fast", "0", "-1G", "0Gbit", "100Gb", True])
def test_what_is_no_bandwidth_is_refused(given):
    with pytest.raises(ValueError, match="bandwidth|quantity"):
        foresight.rate_of(given)


def test_links_are_one_figure_or_one_for_each_node():
    assert foresight.links_of("10G", ["a", "b"]) == ({"a": 1e10, "b": 1e10}, [])
    assert foresight.links_of({"a": "100Gbit"}, ["a", "b"]) == ({"a": 11.25e9}, ["90 % of the line rate"])
    assert foresight.links_of(None, ["a"]) == ({}, [])
    with pytest.raises(ValueError, match="no node c"):
        foresight.links_of({"c": "1G"}, ["a", "b"])


def test_dirty_rates_are_by_name():
    keys = [("sap", "a"), ("sap", "b"), ("x", "b")]
    assert foresight.dirty_rates_of({"a": "100M", "x/b": "1G"}, keys) == {("sap", "a"): 10 ** 8, ("x", "b"): 10 ** 9}
    assert foresight.dirty_rates_of({"b": 7}, keys) == {("sap", "b"): 7, ("x", "b"): 7}
    for wrong in ({"c": 1}, {"a": "much"}, {"a": -5}):
        with pytest.raises(ValueError):
            foresight.dirty_rates_of(wrong, keys)


# -- what a guest brings along ------------------------------------------------------------------------------------


def view_of(release="v1.9.0", dedicated=False, annotations=None, limits=None, migrations=None, **status):
    vmi = {"metadata": {"namespace": "sap", "name": "a", "uid": "u", "annotations": annotations or {}},
           "spec": {"domain": {"memory": {"guest": "64Gi"}, "cpu": {"cores": 4, "dedicatedCpuPlacement": dedicated},
                               "resources": {"limits": limits or {}}}},
           "status": dict({"phase": "Running", "nodeName": "hana-a"}, **status)}
    kubevirt = {"metadata": {"name": "kubevirt", "namespace": "cnv"}, "status": {"observedKubeVirtVersion": release},
                "spec": {"configuration": {"migrations": migrations or {}}}}
    return View({"vmis": [vmi], "kubevirts": [kubevirt], "namespaces": [{"metadata": {"name": "sap"}}], "dirty_rates": {("sap", "a"): 5}})


@pytest.mark.parametrize("release, given, streams", [
    ("v1.9.0", {}, 8), ("v1.9.0", {"dedicated": True}, 1), ("v1.8.0", {"dedicated": True}, 8), ("v1.9.0", {"limits": {"cpu": "4"}}, 1),
    ("v1.8.0", {"migrations": {"allowPostCopy": True}}, 1), ("v1.9.0", {"migrations": {"allowPostCopy": True}}, 8), ("v1.4.0", {}, 1),
    ("v1.4.0", {"annotations": {"kubevirt.io/multiThreadedQemuMigration": "6"}}, 6),
])
def test_streams_by_release_and_guest(release, given, streams):
    assert foresight.known(view_of(release, **given))["sap", "a"].streams == streams


def test_what_a_guest_brings_along_is_read_from_it_and_from_its_settings():
    found = foresight.known(view_of(migrations={"bandwidthPerMigration": "64Mi", "allowAutoConverge": True, "completionTimeoutPerGiB": 20}))
    one = found["sap", "a"]
    assert (one.memory, one.cap, one.auto_converge, one.budget, one.dirty_rate, one.disk) == (64 * GI, 64 << 20, True, 20 * 69, 5, 0)
    assert foresight.known(view_of(), {("sap", "a"): 7})["sap", "a"].dirty_rate == 7, "what is given goes before what was measured"
    blocks = foresight.known(view_of(migrationMethod="BlockMigration", volumeStatus=[
        {"name": "local", "size": 10 * GI}, {"name": "shared", "size": 99, "persistentVolumeClaimInfo": {"accessModes": []}}]))
    assert blocks["sap", "a"].disk == 10 * GI
