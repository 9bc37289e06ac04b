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
    return evacuation_plan_info.execute(Task(params_of(evacuation_plan_info, node="hana-a", **options), api))


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
