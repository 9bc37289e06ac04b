# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans for emptying a KVM host, and what is looked at after its maintenance."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import kvm_evacuation

GIB = 1024 ** 3


def guest(name, gib=8, active=True, page_kib=0, vcpus=4, leaving=False, autostart=False):
    return {"name": name, "uuid": "u-" + name, "active": active, "persistent": True, "autostart": autostart, "leaving": leaving,
            "memory_bytes": gib * GIB, "vcpus": vcpus, "page_kib": page_kib}


def host(*guests, free=64, pages=None, cpus=64, **more):
    cells = [{"node": 0, "cpus": cpus, "memory_bytes": 128 * GIB, "pages": {"4": 1, "1048576": 64}}]
    return dict({"name": "x", "uuid": "h", "versions": {"qemu": "9.1.0", "libvirt": "10.0.0"}, "cpus": cpus, "memory_bytes": 128 * GIB,
                 "memory_free": GIB, "memory_available": free * GIB, "cells": cells, "pages_free": {"1048576": pages or 0},
                 "networks": {"lan": True}, "pools": {}, "guests": list(guests)}, **more)


def says(guests, verdict="live", *codes):
    return [{"name": one["name"], "uuid": one["uuid"], "active": one["active"], "verdict": verdict,
             "reasons": [{"code": code, "severity": "blocker"} for code in codes]} for one in guests]


def planned(guests, targets, judged=None, journal=None, **options):
    hosts = dict({"kvm-a": host(*guests)}, **targets)
    judged = judged or {name: says(guests) for name in targets}
    return kvm_evacuation.plan("kvm-a", hosts, judged, options, journal)


def where(plan):
    return {move["name"]: move["target"] for move in plan["moves"]}


def test_biggest_first_and_each_alone_on_the_emptiest():
    plan = planned([guest("small", 4), guest("big", 16)], {"kvm-b": host(free=30), "kvm-c": host(free=40)})
    assert [move["name"] for move in plan["moves"]] == ["big", "small"] and [len(wave["vms"]) for wave in plan["waves"]] == [1, 1]
    assert where(plan) == {"big": "kvm-c", "small": "kvm-b"} and not plan["blocked"]
    assert any("kvm-a/big" in line and "to kvm-c" in line for line in plan["lines"])


def test_the_same_situation_has_the_same_id_and_another_one_another():
    guests, targets = [guest("one")], {"kvm-b": host(), "kvm-c": host(free=10)}
    assert planned(guests, targets)["id"] == planned(guests, targets)["id"] != planned(guests, {"kvm-c": host(free=10)})["id"]


def test_memory_huge_pages_and_cpus_have_to_be_there_for_all_together():
    two = [guest("one", 16, page_kib=1048576), guest("two", 16, page_kib=1048576)]
    tight = planned(two, {"kvm-b": host(free=1, pages=20)})
    assert where(tight) == {"one": "kvm-b"} and tight["blocked"][0]["codes"] == ["NoRoomLeft"]
    assert len(planned(two, {"kvm-b": host(free=1, pages=32)})["moves"]) == 2, "huge pages are not taken from free memory"
    busy = host(guest("there", vcpus=60))
    assert planned([guest("one")], {"kvm-b": busy}, cpu_ratio=1)["moves"]
    assert planned([guest("one", vcpus=5)], {"kvm-b": busy}, cpu_ratio=0)["moves"]
    assert not planned([guest("one", vcpus=5)], {"kvm-b": busy}, cpu_ratio=1)["moves"]


def test_both_sides_of_a_replication_never_meet():
    plan = planned([guest("hana-1")], {"kvm-b": host(guest("hana-2"), free=60), "kvm-c": host(free=20)}, apart=[["hana-1", "hana-2"]])
    assert where(plan) == {"hana-1": "kvm-c"}
    assert planned([guest("hana-1")], {"kvm-b": host(guest("hana-2"))}, apart=[["hana-1", "hana-2"]])["blocked"]


def test_a_target_from_which_nothing_gets_back_is_said_before_the_approval():
    ways = {"kvm-b": ["The host of qemu+tls://kvm-a/system does not answer on port 16514: timed out."], "kvm-c": ["not used"]}
    one, targets = [guest("one")], {"kvm-b": host(free=60), "kvm-c": host(free=20)}
    plan = planned(one, targets, ways=ways)
    assert where(plan) == {"one": "kvm-b"} and plan["warnings"] == ["NoWayBack"] and plan["id"] != planned(one, targets)["id"]
    assert any(line.startswith("back    from kvm-b") and "16514" in line for line in plan["lines"]) and "not used" not in str(plan["lines"])
    assert "back " not in " ".join(planned(one, targets, ways={"kvm-b": []})["lines"])


def test_what_no_target_takes_is_blocked_with_the_reasons_of_the_nearest():
    one = [guest("one")]
    plan = planned(one, {"kvm-b": host(), "kvm-c": host()},
                   {"kvm-b": says(one, "blocked", "CpuRefused", "MemoryShort"), "kvm-c": says(one, "cold_only", "LocalDisk")})
    assert plan["blocked"][0]["codes"] == ["LocalDisk"] and plan["blocked"][0]["verdict"] == "blocked"
    stays = planned(one, {"kvm-b": host()}, {"kvm-b": says(one, "cold_only", "LocalDisk")}, leave=["one"])
    assert not stays["blocked"] and stays["left"][0]["name"] == "one"
    assert planned(one, {})["blocked"][0]["codes"] == ["NoTarget"]


@pytest.mark.parametrize("one, target, judged, code", [
    (guest("one"), {"kvm-b": host(free=1)}, None, "NoRoomLeft"), (guest("one"), {}, {}, "NoTarget"),
    (guest("one"), {"kvm-b": host()}, {"kvm-b": says([guest("two")])}, "unknown"),
    (guest("one", leaving=True), {"kvm-b": host()}, None, "MovedBySomebodyElse"),
    (guest("one"), {"kvm-b": host()}, {"kvm-b": says([guest("one")], "blocked", "CpuRefused")}, "CpuRefused")])
def test_what_must_happen_first_is_said_in_words_of_kvm_hosts(one, target, judged, code):
    first = planned([one], target, judged)["first"]
    assert [row["code"] for row in first] == [code] and "Virtual" not in first[0]["remedy"] and first[0]["message"]


def test_guests_that_are_shut_off_stay():
    plan = planned([guest("off", active=False, autostart=True)], {"kvm-b": host()})
    assert not plan["moves"] and plan["shut_off"] == [{"name": "off", "uuid": "u-off", "autostart": True}]
    assert any("off: shut off, autostart off for the while" in line for line in plan["lines"])


def test_a_guest_under_way_keeps_the_target_of_its_journal():
    leaving = [guest("one", leaving=True)]
    plan = planned(leaving, {"kvm-b": host(free=90), "kvm-c": host()}, journal={"moves": [{"uuid": "u-one", "target": "kvm-c"}]})
    assert where(plan) == {"one": "kvm-c"}
    assert planned(leaving, {"kvm-b": host()})["blocked"][0]["codes"] == ["MovedBySomebodyElse"]


def test_critical_guests_are_named_by_a_pattern():
    plan = planned([guest("hana-1"), guest("app-1", 4)], {"kvm-b": host()}, critical="^hana")
    assert {move["name"]: move["critical"] for move in plan["moves"]} == {"hana-1": True, "app-1": False}


def test_the_forecast_warns_of_what_never_ends():
    plan = planned([guest("one", 64)], {"kvm-b": host(free=100)}, links="10Gbit", dirty_rates={"one": "4G"})
    assert plan["warnings"] == ["ForecastDoesNotConverge"] and any("DOES NOT CONVERGE" in line for line in plan["lines"])
    calm = planned([guest("one", 64)], {"kvm-b": host(free=100)}, links="25Gbit", dirty_rates={"one": "10M"}, connections=8)
    assert calm["forecast"]["seconds"] and calm["id"] != plan["id"]
    with pytest.raises(ValueError, match="no VM nobody"):
        planned([guest("one")], {"kvm-b": host()}, links="25Gbit", dirty_rates={"nobody": "1M"})


MOVES = [{"name": "one", "uuid": "u-one", "target": "kvm-b"}]


@pytest.mark.parametrize("there, says_", [
    ({"kvm-a": host(), "kvm-b": host(guest("one"))}, None),
    ({"kvm-a": host(guest("one")), "kvm-b": host(guest("one"))}, "runs on kvm-a and kvm-b. Shut down all but one at once"),
    ({"kvm-a": host(), "kvm-b": host(guest("one", active=False))}, "runs on none of kvm-a, kvm-b"),
    ({"kvm-a": host(guest("one")), "kvm-b": host()}, "runs on kvm-a, not on kvm-b"),
])
def test_each_moved_guest_runs_exactly_once(there, says_):
    found = kvm_evacuation.gate("kvm-a", {"before": host(), "moves": MOVES}, there)
    assert found["good"] is (says_ is None)
    assert (says_ or "PASS: kvm-a has what it had, and 1 moved guest runs") in found["lines"][0]


@pytest.mark.parametrize("change, says_", [
    (dict(memory_bytes=100 * GIB), "100 GiB of memory, it had 128 GiB"), (dict(cpus=32), "it has 32 CPUs, it had 64"),
    (dict(networks={"lan": False}), "its network lan is not active"),
    (dict(cells=[{"node": 0, "cpus": 64, "memory_bytes": 1, "pages": {"4": 0, "1048576": 10}}]),
     "NUMA node 0 has 10 pages of 1 GiB, it had 64"),
])
def test_a_host_that_lost_something_is_not_as_before(change, says_):
    found = kvm_evacuation.gate("kvm-a", {"before": host(), "moves": []}, {"kvm-a": host(**change)})
    assert not found["good"] and says_ in found["problems"][0]


def test_new_versions_are_told_and_no_problem_and_a_dead_host_is_one():
    newer = host(versions={"qemu": "9.2.0", "libvirt": "10.0.0"})
    found = kvm_evacuation.gate("kvm-a", {"before": host(), "moves": []}, {"kvm-a": newer})
    assert found["good"] and "changed: qemu is 9.2.0, it was 9.1.0" in found["lines"]
    assert "libvirt on kvm-a does not answer." in kvm_evacuation.gate("kvm-a", {"before": host(), "moves": []}, {})["problems"]


def test_moves_under_way_are_known_in_both_directions():
    out = kvm_evacuation.under_way(MOVES, {"kvm-a": host(guest("one", leaving=True)), "kvm-b": host()}, "kvm-a")
    home = kvm_evacuation.under_way(MOVES, {"kvm-a": host(), "kvm-b": host(guest("one", leaving=True))}, "kvm-a")
    assert [(row["from"], row["to"]) for row in out + home] == [("kvm-a", "kvm-b"), ("kvm-b", "kvm-a")]
    assert not kvm_evacuation.under_way(MOVES, {"kvm-a": host(guest("one"))}, "kvm-a")
