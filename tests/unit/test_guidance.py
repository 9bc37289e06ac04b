# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What to change for a guest, why, and what it costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import guidance, settings

TIB = 1 << 40
GIB = 1 << 30


def advised(release="1.9", guest=None, **values):
    guest = dict({"memory_bytes": 3 * TIB, "page_size": "1Gi", "dedicated_cpus": True}, **(guest or {}))
    quiet = dict(settings.in_force(None, release), parallel_outbound_migrations_per_node=1)
    return guidance.advice(guest, dict(quiet, **values), release)


def to(rows):
    return {row["setting"]: row["to"] for row in rows}


def test_nothing_to_say_where_all_is_well():
    assert advised(completion_timeout_per_gib=20, guest={"bandwidth": 5e9, "dirty_rate": 1e8}) == []
    assert guidance.advice({"memory_bytes": 4 * GIB}, settings.in_force(None, "1.6"), "1.6") == []
    assert guidance.advice({}, settings.in_force(None, "1.6"), "1.6") == []


@pytest.mark.parametrize("values, guest, setting, wanted, why, cost", [
    (dict(bandwidth_per_migration="64Mi", completion_timeout_per_gib=20), {"dirty_rate": 1e8}, "bandwidth_per_migration", "0",
     "cannot catch up", "shared network"),
    (dict(bandwidth_per_migration="32Mi", completion_timeout_per_gib=20), {}, "bandwidth_per_migration", "0", "one pass", "shared"),
    (dict(bandwidth_per_migration="64Mi", completion_timeout_per_gib=800), {}, "bandwidth_per_migration", "0", "takes 13 h", "shared"),
    (dict(allow_post_copy=True), {}, "allow_post_copy", False, "is lost", "given up"),
    (dict(allow_workload_disruption=True), {}, "allow_workload_disruption", False, "paused", "quiet hour"),
    (dict(allow_auto_converge=True), {}, "allow_auto_converge", False, "99 %", "quieter guest"),
    (dict(progress_timeout=0), {}, "progress_timeout", 150, "dead link", "resets it"),
    (dict(progress_timeout=20), {}, "progress_timeout", 150, "interruption", "later"),
    (dict(parallel_outbound_migrations_per_node=2), {}, "parallel_outbound_migrations_per_node", 1, "share the link", "max_parallel"),
    (dict(completion_timeout_per_gib=800), {}, "completion_timeout_per_gib", 40, "30 d", "timeout"),
    (dict(completion_timeout_per_gib=0), {}, "completion_timeout_per_gib", 40, "any time", "timeout"),
    (dict(completion_timeout_per_gib=1), {}, "completion_timeout_per_gib", 150, "not known", "ended later"),
    (dict(completion_timeout_per_gib=20), {"bandwidth": 1e8, "dirty_rate": 6e7}, "completion_timeout_per_gib", 39, "needed", "ended later"),
    (dict(completion_timeout_per_gib=20), {"bandwidth": 1e9, "dirty_rate": 9e8}, "network", "a faster or dedicated network",
     "more time does not help", "cold"),
    (dict(completion_timeout_per_gib=20), {"bandwidth": 1e9, "dirty_rate": 9e8, "memory_bytes": 32 * GIB, "page_size": None},
     "allow_auto_converge", True, "slowing", "CPU time"),
    (dict(), {"bandwidth": 12.5e9, "memory_bytes": 32 * GIB, "page_size": None}, "parallel_outbound_migrations_per_node", 2, "seconds",
     "share the link"),
    (dict(), {"cpu_limit": True}, "resources.limits.cpu", None, "one stream", "restart"),
])
def test_each_advice_has_its_reason_and_its_price(values, guest, setting, wanted, why, cost):
    rows = advised(guest=guest, **dict(dict(completion_timeout_per_gib=20), **values))
    row = next(row for row in rows if row["setting"] == setting)
    assert row["to"] == wanted and why in row["why"] and cost in row["cost"]
    assert set(row) == {"setting", "from", "to", "why", "cost"} and row["from"] != row["to"]


def test_streams_depend_on_the_release():
    name = "annotation kubevirt.io/multiThreadedQemuMigration"
    assert to(advised("1.3", completion_timeout_per_gib=20))[name] == "8"
    assert name not in to(advised("1.3", guest={"multithreaded": True}, completion_timeout_per_gib=20))
    assert name not in to(advised("1.6", completion_timeout_per_gib=20))
    big = {"page_size": None, "memory_bytes": 100 * GIB}
    assert to(advised("1.6", guest=big, allow_post_copy=True, completion_timeout_per_gib=20))["allow_post_copy"] is False
    assert to(advised("1.9", guest=big, allow_post_copy=True, completion_timeout_per_gib=20)) == {}


@given(st.integers(1, 8 * TIB), st.one_of(st.none(), st.floats(0, 2e10)), st.one_of(st.none(), st.floats(1e6, 2e10)),
       st.sampled_from([0, 1, 20, 150, 800, 5000]), st.sampled_from(["0", "1Mi", "64Mi", "10Gi"]), st.booleans(), st.booleans(),
       st.sampled_from(["1.3", "1.6", "1.9"]))
def test_advice_never_breaks_never_repeats_itself_and_is_taken(memory, dirty, link, seconds, cap, post, pause, release):
    guest = {"memory_bytes": memory, "dirty_rate": dirty, "bandwidth": link}
    values = dict(settings.in_force(None, release), completion_timeout_per_gib=seconds, bandwidth_per_migration=cap,
                  allow_post_copy=post, allow_workload_disruption=pause)

    def ours():
        rows = guidance.advice(guest, values, release)
        names = [row["setting"] for row in rows]
        assert len(set(names)) == len(names)
        return [row for row in rows if row["setting"] in values and row["setting"] != "network"]

    for _turn in range(3):
        rows = ours()
        assert all(row["from"] == values[row["setting"]] for row in rows)
        wanted = {row["setting"]: row["to"] for row in rows}
        assert not settings.problems(wanted)
        values.update(wanted)
    assert ours() == []  # what was advised and done is not advised again, nor the opposite


def test_lines_for_people():
    lines = guidance.advice_lines(advised(bandwidth_per_migration="64Mi", allow_post_copy=True, guest={"cpu_limit": True}))
    assert "bandwidth_per_migration: 64Mi -> 0" in lines and "resources.limits.cpu: set -> not set" in lines
    assert max(map(len, lines)) <= 78


def vmi(name, memory, **more):
    return {"metadata": {"namespace": "ns", "name": name, "uid": name, "labels": {"app": name}},
            "spec": {"domain": {"memory": dict(more, guest=memory)}}, "status": {"phase": "Running", "nodeName": "a"}}


def test_the_same_advice_is_given_once():
    from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.view import View

    kubevirt = {"spec": {"configuration": {"migrations": {"bandwidthPerMigration": "64Mi", "completionTimeoutPerGiB": 20,
                                                          "parallelOutboundMigrationsPerNode": 1}}},
                "status": {"observedKubeVirtVersion": "v1.9.0"}}
    view = View({"vmis": [vmi("a", "1Ti"), vmi("b", "3Ti"), vmi("c", "4Gi"), {}], "kubevirts": [kubevirt], "namespaces": []})
    lines = guidance.for_view(view)
    assert lines[0] == "ns/b and 1 more:" and lines[1] == "  bandwidth_per_migration: 64Mi -> 0"
    assert max(map(len, lines)) <= 80 and sum("->" in line for line in lines) == 1
    assert guidance.for_view(View({"vmis": [vmi("a", "1Ti")]})) == []


def test_guests_that_could_be_lost():
    guard = {"metadata": {"name": "p"}, "spec": {"allowWorkloadDisruption": False, "selectors": {
        "virtualMachineInstanceSelector": {"app": "safe"}}}}
    scene = {"vmis": [vmi("big", "1Ti"), vmi("safe", "1Ti"), vmi("small", "4Gi"), {},
                      vmi("pages", "2Gi", hugepages={"pageSize": "1Gi"})],
             "policies": [guard], "namespaces": {}, "release": "1.9"}
    values = settings.in_force({"allowWorkloadDisruption": True}, "1.9")
    assert guidance.endangered(scene, values) == ["ns/big", "ns/pages"]
    assert guidance.endangered(scene, settings.in_force(None, "1.9")) == []
    assert guidance.endangered(dict(scene, release="1.3"), settings.in_force({"allowPostCopy": True}, "1.3")) == [
        "ns/big", "ns/pages", "ns/safe"]
