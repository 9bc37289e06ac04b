# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The evacuation plan: who goes first, where to, and what an approval covers."""

from __future__ import annotations

import copy

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import assignment, bonds, evacuation, wording

GI = 1024 ** 3
HANA = {"memory": 8 * GI, "hugepages-1Gi": 3072 * GI, "cpu": 96}


def vm(name, gib, candidates, verdict="live", critical=False, reasons=()):
    return {"namespace": "sap", "name": name, "uid": "uid-" + name, "node": "hana-a", "verdict": verdict, "critical": critical,
            "memory_bytes": gib * GI, "candidates": list(candidates), "reasons": list(reasons), "budget_seconds": 600}


def facts(vms, target_by_name=True, settings=None, nodes=None):
    return {
        "cluster": {"target_by_name": target_by_name, "kubevirt_version": "1.9.0", "hyperconverged_api": "v1", "migration_network": None,
                    "settings": settings or {"parallel_migrations_per_cluster": 5, "parallel_outbound_migrations_per_node": 2}},
        "nodes": nodes or {
            "hana-b": {"memory_free": 100 * GI, "hugepages_1gi_free": 4096 * GI, "cpus_free": 200},
            "w1": {"memory_free": 500 * GI, "hugepages_1gi_free": 0, "cpus_free": 64},
            "w2": {"memory_free": 400 * GI, "hugepages_1gi_free": 0, "cpus_free": 64},
        },
        "vms": list(vms), "reasons": {}, "summary": {"live": len(vms), "cold_only": 0, "blocked": 0, "unknown": 0},
    }


def names(planned):
    return [[entry["name"] for entry in wave["vms"]] for wave in planned["waves"]]


def small(*sizes):
    vms = [vm("app-%d" % number, size, ["w1", "w2"]) for number, size in enumerate(sizes, 1)]
    return vms, {("sap", entry["name"]): {"memory": entry["memory_bytes"], "cpu": 1} for entry in vms}


def test_the_biggest_goes_first_and_alone_and_the_rest_as_wide_as_the_node_allows():
    vms, requests = small(64, 32, 96, 16)
    vms.append(vm("hana", 3072, ["hana-b"], critical=True))
    requests[("sap", "hana")] = HANA
    planned = evacuation.plan("hana-a", facts(vms), requests)
    assert names(planned) == [["hana"], ["app-3", "app-1", "app-2", "app-4"]]
    assert planned["waves"][0]["vms"][0]["target_node"] == "hana-b"
    assert planned["width"] == 2 and "        2 at a time, in this order" in wording.plan_lines(planned)
    one = evacuation.plan("hana-a", facts(vms), requests, max_parallel=1)
    assert names(one) == [["hana"], ["app-3"], ["app-1"], ["app-2"], ["app-4"]]


@pytest.mark.parametrize("max_parallel, width", [(1, 1), (2, 2), (10, 2), (None, 2)])
def test_the_smallest_limit_decides_the_width(max_parallel, width):
    vms, requests = small(64, 32, 16)
    assert evacuation.plan("hana-a", facts(vms), requests, max_parallel)["width"] == width


def test_every_critical_guest_moves_alone():
    vms = [vm("db-1", 512, ["w1"], critical=True), vm("db-2", 300, ["w2"], critical=True)]
    requests = {("sap", "db-1"): {"memory": 400 * GI}, ("sap", "db-2"): {"memory": 300 * GI}}
    assert names(evacuation.plan("hana-a", facts(vms), requests)) == [["db-1"], ["db-2"]]


def test_two_vms_never_count_on_the_same_free_memory():
    vms = [vm("big-1", 350, ["w1", "w2"]), vm("big-2", 350, ["w1", "w2"]), vm("big-3", 350, ["w1", "w2"])]
    requests = {("sap", entry["name"]): {"memory": 350 * GI} for entry in vms}
    planned = evacuation.plan("hana-a", facts(vms), requests)
    targets = [entry["target_node"] for wave in planned["waves"] for entry in wave["vms"]]
    assert sorted(targets) == ["w1", "w2"]
    assert planned["blocked"] == [{"namespace": "sap", "name": "big-3", "uid": "uid-big-3", "verdict": "live",
                                   "codes": [assignment.NO_ROOM]}]


def test_what_cannot_move_is_named_with_its_codes():
    vms, requests = small(64)
    vms.append(vm("stuck", 8, [], verdict="blocked", reasons=[{"code": "DisksNotLiveMigratable", "severity": "blocker"}]))
    planned = evacuation.plan("hana-a", facts(vms), requests)
    assert planned["blocked"] == [{"namespace": "sap", "name": "stuck", "uid": "uid-stuck", "verdict": "blocked",
                                   "codes": ["DisksNotLiveMigratable"]}]


@pytest.mark.parametrize("served", [False, None])
def test_without_targets_by_name_the_scheduler_chooses_and_the_plan_says_so(served):
    vms, requests = small(64)
    planned = evacuation.plan("hana-a", facts(vms, target_by_name=served), requests)
    assert planned["waves"][0]["vms"][0]["target_node"] is None
    assert any("scheduler chooses" in line for line in wording.plan_lines(planned))


def test_an_empty_node_has_nothing_to_move():
    planned = evacuation.plan("hana-a", facts([]), {})
    assert planned["waves"] == [] and planned["blocked"] == []
    assert wording.plan_lines(planned) == ["nothing to move: hana-a carries no VM"]


def test_the_id_is_the_same_for_the_same_plan_and_changes_with_what_approval_covers():
    vms, requests = small(64, 32)
    base = evacuation.plan("hana-a", facts(vms), requests)
    again = evacuation.plan("hana-a", facts(copy.deepcopy(vms)), requests)
    assert base["id"] == again["id"]
    other_vm = copy.deepcopy(vms)
    other_vm[0]["uid"] = "restarted"
    riskier = copy.deepcopy(vms)
    riskier[0]["reasons"] = [{"code": "PostCopyAllowed", "severity": "warning"}]
    elsewhere = copy.deepcopy(vms)
    elsewhere[0]["candidates"] = ["w2"]
    ids = {evacuation.plan("hana-a", facts(changed), requests)["id"] for changed in (other_vm, riskier, elsewhere, vms[:1])}
    assert len(ids) == 4 and base["id"] not in ids


def test_plan_lines_fit_the_screen_whatever_the_names():
    vms = [vm("x" * 63, 64, ["w1"])]
    planned = evacuation.plan("hana-a", facts(vms), {("sap", "x" * 63): {"memory": GI}})
    assert max(len(line) for line in wording.plan_lines(planned)) <= wording.WIDTH


def test_a_migration_of_ours_under_way_keeps_its_place_in_the_plan_and_its_own_target():
    hana = vm("hana", 3072, [], critical=True, reasons=[{"code": assignment.UNDER_WAY, "severity": "warning"}])
    planned = evacuation.plan("hana-a", facts([hana]), {("sap", "hana"): HANA})
    assert names(planned) == [["hana"]] and planned["blocked"] == []
    assert planned["waves"][0]["vms"][0]["target_node"] is None
    assert "under way already" in wording.plan_lines(planned)[0]


# -- kept apart, left, the window ---------------------------------------------------


def vmi_of(name, node, group=None, namespace="sap"):
    return {"metadata": {"namespace": namespace, "name": name, "labels": {bonds.KEEP_APART: group} if group else {}},
            "status": {"nodeName": node}}


def test_partners_are_never_put_on_one_node():
    vms, requests = small(64, 32)
    kept = bonds.bonds_of([vmi_of("app-1", "hana-a", "hsr"), vmi_of("partner", "w1", "hsr"), vmi_of("app-2", "hana-a")])
    planned = evacuation.plan("hana-a", facts(vms), requests, bonds=kept)
    targets = {entry["name"]: entry["target_node"] for wave in planned["waves"] for entry in wave["vms"]}
    assert targets["app-1"] == "w2"
    assert evacuation.plan("hana-a", facts(vms), requests)["waves"][0]["vms"][0]["target_node"] == "w1", "else the emptiest"


def test_partners_that_leave_together_go_one_after_the_other_to_different_nodes():
    vms, requests = small(64, 32)
    kept = bonds.bonds_of([vmi_of("app-1", "hana-a", "hsr"), vmi_of("app-2", "hana-a", "hsr")])
    planned = evacuation.plan("hana-a", facts(vms), requests, bonds=kept)
    assert names(planned) == [["app-1"], ["app-2"]]
    assert len({wave["vms"][0]["target_node"] for wave in planned["waves"]}) == 2


def test_the_same_group_in_another_namespace_is_another_group():
    vms, requests = small(64)
    kept = bonds.bonds_of([vmi_of("app-1", "hana-a", "hsr"), vmi_of("partner", "w1", "hsr", namespace="other")])
    planned = evacuation.plan("hana-a", facts(vms), requests, bonds=kept)
    assert planned["waves"][0]["vms"][0]["target_node"] == "w1"


def test_a_partner_everywhere_leaves_no_node():
    vms, requests = small(64)
    kept = bonds.bonds_of([vmi_of("app-1", "hana-a", "g"), vmi_of("p1", "w1", "g"), vmi_of("p2", "w2", "g")])
    planned = evacuation.plan("hana-a", facts(vms), requests, bonds=kept)
    assert [(row["name"], row["codes"]) for row in planned["blocked"]] == [("app-1", [assignment.RULES_OUT])]


@pytest.mark.parametrize("named", ["stuck", "sap/stuck"])
def test_a_blocked_vm_that_is_named_stays_and_needs_a_new_approval(named):
    vms, requests = small(64)
    vms.append(vm("stuck", 8, [], verdict="blocked", reasons=[{"code": "DisksNotLiveMigratable", "severity": "blocker"}]))
    planned = evacuation.plan("hana-a", facts(vms), requests, leave=[named])
    assert planned["blocked"] == [] and [row["name"] for row in planned["left"]] == ["stuck"]
    assert planned["id"] != evacuation.plan("hana-a", facts(vms), requests)["id"]
    assert any("stays" in line and "stuck" in line for line in wording.plan_lines(planned))


def test_naming_a_vm_that_can_move_does_not_leave_it():
    vms, requests = small(64)
    planned = evacuation.plan("hana-a", facts(vms), requests, leave=["app-1"])
    assert planned["left"] == [] and names(planned) == [["app-1"]]


@pytest.mark.parametrize("deadline, timeout, back, expected", [
    (None, None, True, (0, 2, False)),
    (10000, 3600, False, (0, 1, False)),
    (10900, 3600, False, (0, 2, False)),
    (10000, 3600, True, (3 * 3600, 0, True)),  # the biggest returns alone, the others two at a time
    (30000, 3600, True, (3 * 3600, 2, False)),
    (30000, None, True, (0, 2, False)),
    (0, 3600, False, (0, 0, True)),
])
def test_the_window_counts_by_what_a_copy_may_take_at_most(deadline, timeout, back, expected):
    vms, requests = small(64, 32, 16, 8)
    planned = evacuation.plan("hana-a", facts(vms), requests)
    found = evacuation.window(planned, 0, timeout, deadline, 0, back)
    assert (found["reserve_seconds"], found["waves_that_fit"], bool(found["problem"])) == expected


def test_time_for_the_maintenance_itself_is_kept_free():
    vms, requests = small(64)
    planned = evacuation.plan("hana-a", facts(vms), requests)
    assert evacuation.window(planned, 0, 600, 4000, work=3600)["problem"]
    assert evacuation.window(planned, 0, 600, 4200, work=3600)["problem"] is None


# -- targets ------------------------------------------------------------------------


def test_a_faster_target_goes_before_an_emptier_one():
    vms, requests = small(64)
    for links, target in (({}, "w1"), ({"hana-a": 12e9, "w1": 3e9, "w2": 12e9}, "w2"), ({"hana-a": 1e9, "w1": 3e9, "w2": 12e9}, "w1")):
        planned = evacuation.plan("hana-a", facts(vms), requests, links=links)
        assert planned["waves"][0]["vms"][0]["target_node"] == target, links


def test_room_that_spreading_would_fragment_is_found():
    nodes = {"w1": {"memory_free": 100 * GI}, "w2": {"memory_free": 60 * GI}}
    vms = [vm("a", 60, ["w1", "w2"]), vm("b", 50, ["w1", "w2"]), vm("c", 50, ["w1", "w2"])]
    requests = {("sap", entry["name"]): {"memory": entry["memory_bytes"]} for entry in vms}
    planned = evacuation.plan("hana-a", facts(vms, nodes=nodes), requests)
    assert planned["blocked"] == [] and planned["waves"][0]["vms"][0]["target_node"] == "w2"


def test_who_can_go_to_one_node_only_is_not_crowded_out():
    nodes = {"w1": {"memory_free": 100 * GI}, "w2": {"memory_free": 90 * GI}}
    vms = [vm("a", 80, ["w1", "w2"]), vm("b", 70, ["w1"])]
    requests = {("sap", entry["name"]): {"memory": entry["memory_bytes"]} for entry in vms}
    planned = evacuation.plan("hana-a", facts(vms, nodes=nodes), requests)
    assert planned["blocked"] == [] and [row["target_node"] for wave in planned["waves"] for row in wave["vms"]] == ["w2", "w1"]


# -- kept together ---------------------------------------------------------------------


def kept_together(*names, **places):
    return bonds.bonds_of([vmi_of(name, places.get(name.replace("-", "_"), "hana-a")) for name in names], (), [list(names)])


def placed(planned):
    return {entry["name"]: entry["target_node"] for wave in planned["waves"] for entry in wave["vms"]}


def test_those_kept_together_find_room_for_all_of_them_on_one_node():
    nodes = {"w1": {"memory_free": 100 * GI}, "w2": {"memory_free": 90 * GI}}
    vms, requests = small(60, 55, 30)
    planned = evacuation.plan("hana-a", facts(vms, nodes=nodes), requests, bonds=kept_together("app-2", "app-3"))
    assert placed(planned) == {"app-1": "w1", "app-2": "w2", "app-3": "w2"} and planned["blocked"] == []


def test_who_is_kept_together_with_one_that_stays_goes_there_or_nowhere():
    vms, requests = small(64)
    there = evacuation.plan("hana-a", facts(vms), requests, bonds=kept_together("app-1", "db", db="w2"))
    assert placed(there) == {"app-1": "w2"}
    nowhere = evacuation.plan("hana-a", facts(vms), requests, bonds=kept_together("app-1", "db", db="hana-b"))
    assert [row["codes"] for row in nowhere["blocked"]] == [[assignment.RULES_OUT]]
    assert "partner" in nowhere["first"][0]["remedy"]


# -- what must happen first, the way back, the scheduler's own choice ------------------------


def test_what_has_no_room_is_told_with_what_the_nearest_node_lacks():
    nodes = {"w1": {"memory_free": 100 * GI, "cpus_free": 8}, "w2": {"memory_free": 90 * GI, "cpus_free": 8}}
    vms, requests = small(95, 85, 40)
    planned = evacuation.plan("hana-a", facts(vms, nodes=nodes), requests)
    assert planned["first"] == [{"code": "NoRoomLeft", "vms": ["sap/app-3"], "missing": {"memory": 35 * GI},
                                 "message": planned["first"][0]["message"], "remedy": planned["first"][0]["remedy"]}]
    assert any("first   sap/app-3: lacks 35 GiB memory." in line for line in wording.plan_lines(planned))


def test_the_way_back_goes_in_the_same_waves_and_needs_an_approval_of_its_own():
    vms, requests = small(64, 32, 16)
    planned = evacuation.plan("hana-a", facts(vms), requests, back=True)
    assert [[vm["name"] for vm in wave["vms"]] for wave in planned["returns"]["waves"]] == names(planned)
    assert {vm["target_node"] for wave in planned["returns"]["waves"] for vm in wave["vms"]} == {"hana-a"}
    assert planned["id"] != evacuation.plan("hana-a", facts(vms), requests)["id"]


def test_of_two_that_are_kept_apart_and_were_on_one_node_only_one_returns():
    vms, requests = small(64, 32)
    kept = bonds.bonds_of([vmi_of("app-1", "hana-a", "hsr"), vmi_of("app-2", "hana-a", "hsr")])
    planned = evacuation.plan("hana-a", facts(vms), requests, bonds=kept, back=True)
    assert [row["name"] for row in planned["returns"]["stay"]] == ["app-2"]
    assert any("app-2 stays away" in line for line in wording.plan_lines(planned))


def test_where_no_target_can_be_named_the_least_allocated_node_is_expected_and_said():
    nodes = {name: {"memory_free": free * GI, "memory_allocatable": total * GI}
             for name, free, total in (("w1", 500, 2000), ("w2", 400, 500))}
    vms, requests = small(64)
    together = kept_together("app-1", "db", db="w2")
    planned = evacuation.plan("hana-a", facts(vms, target_by_name=False, nodes=nodes), requests, bonds=together)
    entry = planned["waves"][0]["vms"][0]
    assert entry["target_node"] is None and entry["expected_node"] == "w2" and planned["warnings"] == [evacuation.RULES_IN_DOUBT]
    said = wording.plan_lines(planned)
    assert any("to w2, expected" in line for line in said) and any("pod affinity" in line for line in said)


def test_room_that_only_the_scheduler_could_spare_is_a_warning():
    # As the scheduler spreads them, 60 and 60 leave no node with room for 80; packed there is.
    nodes = {name: {"memory_free": free * GI, "memory_allocatable": 200 * GI} for name, free in (("w1", 140), ("w2", 120))}
    vms = [vm("a", 60, ["w1", "w2"]), vm("b", 60, ["w1", "w2"]), vm("c", 50, ["w1", "w2"]), vm("d", 50, ["w1", "w2"])]
    requests = {("sap", entry["name"]): {"memory": entry["memory_bytes"] + (20 * GI if entry["name"] in "cd" else 0)} for entry in vms}
    pinned = evacuation.plan("hana-a", facts(vms, nodes=nodes), requests)
    assert pinned["blocked"] == [] and pinned["warnings"] == []
    free = evacuation.plan("hana-a", facts(vms, target_by_name=False, nodes=nodes), requests)
    assert free["blocked"] == [] and free["warnings"] == [evacuation.ROOM_IN_DOUBT]
    assert any("the scheduler spares it" in line for line in wording.plan_lines(free))


def test_avoided_nodes_are_taken_only_where_no_other_has_room():
    vms, requests = small(64, 450)
    planned = evacuation.plan("hana-a", facts(vms), requests, avoid=["w1"])
    assert placed(planned) == {"app-2": "w1", "app-1": "w2"}
