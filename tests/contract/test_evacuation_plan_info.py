# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""evacuation_plan_info on the embedded cluster: its forecast against what then happens, and what it refuses."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import Task
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import migration
from ansible_collections.bigvm.live_migration.plugins.modules import evacuation_plan_info

RATES = {"hana-prod": "150M", "app-pas": "30M", "app-aas1": "20M", "app-aas2": "20M", "app-ascs": "5M"}
LINKS = {"hana-a": "12.5G", "hana-b": "12.5G", "worker-1": "3.125G", "worker-2": "3.125G"}


def params_of(module, **options):
    return dict({name: option.get("default") for name, option in module.SPEC.items()}, **options)


def planned(api, **options):
    return evacuation_plan_info.execute(Task(params_of(evacuation_plan_info, **dict({"node": "hana-a"}, **options)), api))


def moved(c, vms):
    """Move them at once to their targets; ``{name: seconds from creation to end}``."""
    place = "/apis/kubevirt.io/v1/namespaces/sap-prod/virtualmachineinstancemigrations"
    made = [c.api.create(place, migration.body(vm["namespace"], vm["name"], {migration.HOSTNAME: vm["target_node"]})) for vm in vms]
    for _look in range(400):
        c.wait(10)
        found = [c.api.get(place + "/" + vmim["metadata"]["name"]) for vmim in made]
        if all(migration.phase(vmim) in migration.FINAL for vmim in found):
            break
    assert {migration.phase(vmim) for vmim in found} == {"Succeeded"}
    return {vmim["spec"]["vmiName"]: migration.durations(
        {phase: from_timestamp(stamp) for phase, stamp in migration.transitions(vmim).items()})["total"] for vmim in found}


def test_without_links_it_says_that_no_forecast_is_possible(near):
    found = planned(near().api)
    assert found["plan"]["forecast"]["possible"] is False
    assert [line for line in found["lines"] if "forecast" in line] == ["no forecast: no bandwidth is known (give links)"]


def test_the_plan_happens_within_its_forecast(near):
    c = near()
    found = planned(c.api, links=LINKS, dirty_rates=RATES, timeout="6h", settings={"bandwidth_per_migration": "0"})
    forecast = {row["name"]: row for row in found["plan"]["forecast"]["vms"]}
    assert {row["ends"] for row in forecast.values()} == {"converges"} and found["plan"]["warnings"] == []
    assert forecast["hana-prod"]["streams"] == 1 and forecast["app-pas"]["streams"] == 8
    c.api.patch("/apis/hco.kubevirt.io/v1/namespaces/openshift-cnv/hyperconvergeds/kubevirt-hyperconverged",
                {"spec": {"virtualization": {"liveMigrationConfig": {"bandwidthPerMigration": None}}}})
    c.wait(60)
    for wave in found["plan"]["waves"]:
        for name, seconds in moved(c, wave["vms"]).items():
            # The embedded cluster sets up faster than the 10 s that are counted with at least.
            assert forecast[name]["low"] - 10 <= seconds <= forecast[name]["high"], name


def test_what_will_not_converge_is_a_warning_and_needs_another_approval(near):
    c = near(topology="hot")
    uncapped = {"bandwidth_per_migration": "0"}
    calm = planned(c.api, settings=uncapped)
    hot = planned(c.api, settings=uncapped, links="100Gbit", dirty_rates={"hana-prod": "3G", "sap-prod/app-pas": "30M"})
    assert hot["plan"]["warnings"] == ["ForecastDoesNotConverge"] and hot["plan"]["id"] != calm["plan"]["id"]
    assert any("DOES NOT CONVERGE" in line for line in hot["lines"]) and any("fewer writes" in line for line in hot["lines"])
    assert max(map(len, hot["lines"])) <= 78


@pytest.mark.parametrize("wrong, said", [
    ({"links": "quick"}, "quick"), ({"links": {"nowhere": "1G"}}, "nowhere"), ({"links": "1G", "dirty_rates": {"nobody": 1}}, "nobody"),
    ({"links": "1G", "per_stream": "0"}, "above zero"), ({"links": "1G", "setup_time": [5]}, "setup_time"),
])
def test_what_cannot_be_meant_is_named(near, wrong, said):
    with pytest.raises(BadInput, match=said):
        planned(near().api, **wrong)


def test_dirty_rates_of_the_plan_come_from_prometheus_unless_they_are_given(shared):
    c = shared()
    asked = {"url": c.connection["host"] + "/bigvm/v1/prometheus", "token": c.connection["api_key"], "ca_cert": c.connection["ca_cert"],
             "validate_certs": True, "window": "1h"}
    found = planned(c.api, links=LINKS, settings={"bandwidth_per_migration": "0"}, prometheus=asked, dirty_rates={"app-pas": "7M"})
    rows = {row["name"]: row for row in found["plan"]["forecast"]["vms"]}
    assert rows["hana-prod"]["dirty_rate"] > 50e6 and rows["app-pas"]["dirty_rate"] == 7000000
    assert {row["ends"] for row in rows.values()} == {"converges"}


# -- several nodes, rules, what must happen first ----------------------------------------


def test_several_nodes_are_planned_with_the_cluster_moving_forward(near):
    found = planned(near().api, node=None, nodes=["worker-2", "hana-b", "worker-1", "worker-2"], links=LINKS, dirty_rates=RATES)
    plan = found["plan"]
    assert sorted(plan["nodes"]) == ["hana-b", "worker-1", "worker-2"] and plan["stuck"] == []
    assert [turn["avoid"] for turn in plan["turns"]] == [plan["nodes"][1:], plan["nodes"][2:], []]
    assert [line for line in found["lines"] if line.startswith("node ")] and max(map(len, found["lines"])) <= 78
    first = planned(near().api, node=plan["nodes"][0], avoid=plan["nodes"][1:], links=LINKS, dirty_rates=found["dirty_rates"])
    assert first["plan"]["id"] == plan["plans"][0]["id"], "alone it is the same plan"


def test_the_whole_costs_a_constant_number_of_requests(near):
    counts = []
    for nodes in (["worker-1"], ["worker-1", "worker-2", "hana-a", "hana-b"]):
        c = near()
        before = len(c.http("GET", "/bigvm/v1/requests")[1]["items"])
        planned(c.api, node=None, nodes=nodes)
        counts.append(len(c.http("GET", "/bigvm/v1/requests")[1]["items"]) - before)
    assert counts[0] == counts[1] <= 40


@pytest.mark.parametrize("wrong, said", [
    ({"node": None}, "either node or nodes"), ({"nodes": ["hana-b"]}, "either node or nodes"),
    ({"node": None, "nodes": ["hana-a", "hana-z"]}, "There is no node hana-z"), ({"avoid": ["nowhere"]}, "There is no node nowhere"),
    ({"keep_apart": [["app-pas", "app-aas1"]], "keep_together": [["app-aas1", "sap-prod/app-pas"]]}, "kept apart and kept together"),
    ({"keep_apart": [["app-pas", "app-xyz"]]}, "no VM of that name runs"), ({"keep_together": [["app-pas"]]}, "two VMs or more"),
])
def test_rules_and_nodes_that_cannot_be_meant_are_named(near, wrong, said):
    with pytest.raises(BadInput, match=said):
        planned(near().api, **wrong)


def test_those_kept_apart_leave_alone_and_to_different_nodes(near):
    found = planned(near().api, keep_apart=[["app-pas", "app-aas1"], ["app-pas", "app-aas2"]])
    where = {vm["name"]: (wave["number"], vm["target_node"]) for wave in found["plan"]["waves"] for vm in wave["vms"]}
    assert where["app-pas"][1] not in (where["app-aas1"][1], where["app-aas2"][1])
    assert len({where[name][0] for name in ("app-pas", "app-aas1", "app-aas2")}) == 3


def test_a_node_where_nothing_can_move_says_what_must_happen_first(near):
    c = near(topology="blocked")
    stuck = planned(c.api, node="node-a")
    assert stuck["plan"]["blocked"] and all(row["remedy"] and row["vms"] for row in stuck["plan"]["first"])
    assert stuck["risks"][0]["code"] == stuck["plan"]["first"][0]["code"]
    assert any(line.startswith("first ") for line in stuck["lines"])
    assert max(map(len, stuck["lines"] + stuck["risk_lines"])) <= 78


def test_a_window_too_short_is_said_and_the_pessimistic_end_is_known(near):
    c = near()
    soon = planned(c.api, deadline="2026-11-21T20:00:10+00:00", timeout="1h")
    assert "than the deadline leaves" in soon["window"]["problem"] and soon["risks"][0]["code"] == "WindowTight"
    assert planned(c.api)["window"]["ends_latest"] is None, "without a bandwidth nobody knows"
    known = planned(c.api, links=LINKS, dirty_rates=RATES, settings={"bandwidth_per_migration": "0"}, back=True, work="1h")
    plan = known["plan"]
    latest = from_timestamp(known["window"]["ends_latest"]) - c.api.clock.now()
    assert latest == pytest.approx(plan["forecast"]["high"] + 3600 + plan["returns"]["forecast"]["high"], abs=60)


def test_where_no_target_can_be_named_the_expected_one_is_told(near):
    found = planned(near(topology="default-1.3").api)
    entries = [vm for wave in found["plan"]["waves"] for vm in wave["vms"]]
    assert entries and all(vm["target_node"] is None and vm["expected_node"] in vm["target_choices"] for vm in entries)
    assert any("scheduler chooses" in line for line in found["lines"])
