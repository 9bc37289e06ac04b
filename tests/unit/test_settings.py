# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The live migration settings: names and places, held against the CRDs where they are present; time; contradictions."""

from __future__ import annotations

import copy
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import settings

GENERATIONS = {"kubevirt-1.3-hco-1.13": (1, 3), "kubevirt-1.6-hco-1.16": (1, 6), "kubevirt-1.9-hco-1.19": (1, 9)}


def crd(generation, plural):
    shared = os.environ.get("BIGVM_SHARED")
    if not shared:
        pytest.skip("BIGVM_SHARED is not set: no CRDs to hold the field table against")
    yaml = pytest.importorskip("yaml")
    with open(os.path.join(shared, "crds", generation, plural + ".yaml"), encoding="utf-8") as handle:
        return {version["name"]: version["schema"]["openAPIV3Schema"] for version in yaml.safe_load(handle)["spec"]["versions"]}


def block_schema(schema, place):
    for part in place:
        schema = schema["properties"][part]
    return schema["properties"]


@pytest.mark.parametrize("generation", sorted(GENERATIONS))
def test_fields_types_and_defaults_are_those_of_the_crd(generation):
    release = GENERATIONS[generation]
    for api_version, schema in crd(generation, "hyperconvergeds.hco.kubevirt.io").items():
        properties = block_schema(schema, settings.PLACES[api_version])
        assert set(properties) == {field.key for field in settings.FIELDS.values() if field.since <= release}
        defaults = settings.defaults(release)
        for field in settings.FIELDS.values():
            if field.key in properties:
                assert properties[field.key].get("default") == defaults[field.name], field.name
                assert properties[field.key]["type"] == {
                    "limit": "integer", "seconds": "integer", "switch": "boolean", "bandwidth": "string", "name": "string",
                }[field.kind]
            else:
                assert defaults[field.name] is None


@pytest.mark.parametrize("generation", sorted(GENERATIONS))
def test_kubevirt_takes_the_same_names(generation):
    schema = crd(generation, "kubevirts.kubevirt.io")["v1"]
    properties = block_schema(schema, ("spec", "configuration", "migrations"))
    assert {field.key for field in settings.FIELDS.values() if field.since <= GENERATIONS[generation]} <= set(properties)


@pytest.mark.parametrize("version, release", [("v1.6.2", (1, 6)), ("1.9", (1, 9)), ((1, 3), (1, 3)), ("v1.10.0-rc.1", (1, 10))])
def test_release_of(version, release):
    assert settings.release_of(version) == release


def test_release_of_nothing():
    assert settings.release_of("devel") is None
    assert settings.release_of(None) is None


@pytest.mark.parametrize("api_version", sorted(settings.PLACES))
def test_written_and_read_back_in_each_place(api_version):
    values = dict.fromkeys(settings.FIELDS)
    values.update(network="nad", completion_timeout_per_gib=800, allow_post_copy=False)
    body = settings.nested(settings.written(values), api_version)
    assert settings.read(settings.block_of(body, api_version)) == values


def test_block_of_an_object_without_one():
    assert settings.block_of({"metadata": {}}, "v1") == {}
    assert settings.block_of({"spec": {"virtualization": None}}, "v1") == {}
    assert settings.read({}) == dict.fromkeys(settings.FIELDS)


@pytest.mark.parametrize("served, chosen", [(["v1beta1"], "v1beta1"), (["v1beta1", "v1"], "v1"), (["v2"], None), ([], None)])
def test_preferred_version(served, chosen):
    assert settings.preferred(served) == chosen


@pytest.mark.parametrize("name, one, other, equal", [
    ("bandwidth_per_migration", "1Gi", "1024Mi", True),
    ("bandwidth_per_migration", None, "0", True),
    ("bandwidth_per_migration", "0Mi", None, True),
    ("bandwidth_per_migration", "64Mi", None, False),
    ("bandwidth_per_migration", "64MB", "64M", False),
    ("network", None, "", True),
    ("network", "a", "", False),
    ("progress_timeout", 150, 150, True),
    ("progress_timeout", None, 0, False),
    ("allow_post_copy", False, None, False),
])
def test_same_effect(name, one, other, equal):
    for first, second in ((one, other), (other, one)):
        assert settings.same(name, first, second) is equal


def test_asked_removes_what_means_unset():
    assert settings.asked({"bandwidth_per_migration": "0", "network": "", "progress_timeout": 0, "allow_post_copy": None}) == {
        "bandwidth_per_migration": None, "network": None, "progress_timeout": 0}
    assert settings.asked({"bandwidth_per_migration": "0Gi"}) == {"bandwidth_per_migration": None}


@pytest.mark.parametrize("per_gib, size, seconds", [
    (800, 8 * 2 ** 30, 800 * 9),      # 8 GiB are 8.59 GB: nine are counted
    (150, 64 * 2 ** 30, 150 * 69),
    (20, 6 * 2 ** 40, 20 * 6598),
    (20, 10 ** 9, 20),
    (20, 10 ** 9 + 1, 40),
    (150, 0, 0),
    (0, 2 ** 40, None),
])
def test_budget_seconds(per_gib, size, seconds):
    assert settings.budget_seconds(per_gib, size) == seconds


@given(st.integers(1, 10 ** 5), st.integers(0, 2 ** 50))
def test_budget_covers_every_byte_and_at_most_one_gigabyte_more(per_gib, size):
    granted = settings.budget_seconds(per_gib, size)
    assert isinstance(granted, int)
    assert per_gib * size <= granted * 10 ** 9 < per_gib * (size + 10 ** 9)


@pytest.mark.parametrize("given, says", [
    ({"parallel_migrations_per_cluster": 0}, "no migration would ever start"),
    ({"parallel_outbound_migrations_per_node": -1}, "parallel_outbound_migrations_per_node is -1"),
    ({"parallel_migrations_per_cluster": 2 ** 31}, "the largest number"),
    ({"completion_timeout_per_gib": -1}, "from 0 (off) on"),
    ({"progress_timeout": -150}, "progress_timeout is -150"),
    ({"bandwidth_per_migration": "64MB"}, "'64MB'"),
    ({"bandwidth_per_migration": "-1Gi"}, "'-1Gi'"),
    ({"bandwidth_per_migration": ""}, "takes a quantity"),
    ({"network": "Migration Net"}, "NetworkAttachmentDefinition"),
    ({"network": "a/b/c"}, "NetworkAttachmentDefinition"),
])
def test_problems(given, says):
    found = settings.problems(given)
    assert len(found) == 1 and says in found[0]


def test_every_problem_is_named_at_once():
    assert len(settings.problems({"progress_timeout": -1, "parallel_migrations_per_cluster": 0}, ["3TB", "3Ti", "0"])) == 4


@pytest.mark.parametrize("given", [
    {"completion_timeout_per_gib": 0, "progress_timeout": 0, "bandwidth_per_migration": "0", "network": ""},
    {"bandwidth_per_migration": "1.5Gi", "network": "my-secondary-network"},
    {"network": "openshift-cnv/migration"},
    dict.fromkeys(settings.FIELDS),
])
def test_no_problem(given):
    assert settings.problems(given, ["3Ti", "512Gi"]) == []


def test_contradictions():
    calm = settings.defaults((1, 9))
    assert settings.contradictions(calm, True) == []
    assert settings.contradictions(settings.defaults((1, 6)), False) == []
    for change, disruption, says in (
        ({"allow_post_copy": True}, True, "never reached"),
        ({"allow_workload_disruption": True}, True, "paused"),
        ({"allow_post_copy": True}, False, "is lost"),
        ({"parallel_outbound_migrations_per_node": 9}, True, "the limit that counts"),
        ({"completion_timeout_per_gib": 0, "progress_timeout": 0}, True, "never ends"),
    ):
        found = settings.contradictions(dict(calm, **change), disruption)
        assert len(found) == 1 and says in found[0]
    assert settings.contradictions(dict(calm, allow_post_copy=True, allow_workload_disruption=True), True) == []


def test_in_force_fills_what_kubevirt_fills():
    assert settings.in_force(None, "1.3")["completion_timeout_per_gib"] == 800
    filled = settings.in_force({"allowPostCopy": True, "network": "nad"}, "v1.6.0")
    assert (filled["completion_timeout_per_gib"], filled["network"], filled["bandwidth_per_migration"]) == (150, "nad", "0")
    assert filled["allow_workload_disruption"] is True  # follows post-copy when unset
    assert settings.in_force({"allowPostCopy": True, "allowWorkloadDisruption": False}, "1.9")["allow_workload_disruption"] is False
    assert None not in filled.values()


# -- propagation -----------------------------------------------------------------

HCO = {
    "metadata": {"generation": 4, "name": "kubevirt-hyperconverged"},
    "spec": {"virtualization": {"liveMigrationConfig": {"progressTimeout": 150, "bandwidthPerMigration": "1Gi"}}},
    "status": {"observedGeneration": 4, "conditions": [{"type": "ReconcileComplete", "status": "True"}]},
}
KUBEVIRT = {
    "metadata": {"generation": 7},
    "spec": {"configuration": {"migrations": {"progressTimeout": 150, "bandwidthPerMigration": "1024Mi"}}},
    "status": {
        "observedGeneration": 7, "phase": "Deployed", "targetDeploymentID": "x", "observedDeploymentID": "x",
        "conditions": [{"type": kind, "status": status} for kind, status in (
            ("Available", "True"), ("Progressing", "False"), ("Degraded", "False"))],
    },
}


def test_nothing_outstanding():
    assert settings.outstanding(HCO, KUBEVIRT, "v1") is None


def edited(source, path, value):
    result = copy.deepcopy(source)
    here = result
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
    return result


@pytest.mark.parametrize("hco, kubevirt, says", [
    (edited(HCO, ("status", "observedGeneration"), 3), KUBEVIRT, "has not reconciled generation 4"),
    (edited(HCO, ("status", "conditions", 0, "status"), "False"), KUBEVIRT, "ReconcileComplete is False"),
    (edited(HCO, ("status",), {}), KUBEVIRT, "not reported"),
    (HCO, None, "no KubeVirt object"),
    (HCO, edited(KUBEVIRT, ("spec", "configuration", "migrations", "progressTimeout"), 99), "still has progress_timeout=99"),
    (HCO, edited(KUBEVIRT, ("spec", "configuration", "migrations", "network"), "old"), "still has network=old"),
    (HCO, edited(KUBEVIRT, ("spec",), {}), "KubeVirt still has"),
    (HCO, edited(KUBEVIRT, ("metadata", "generation"), 8), "has not observed generation 8"),
    (HCO, edited(KUBEVIRT, ("status", "targetDeploymentID"), "y"), "rolling out"),
    (HCO, edited(KUBEVIRT, ("status", "phase"), "Deploying"), "phase Deploying"),
    (HCO, edited(KUBEVIRT, ("status", "conditions", 2, "status"), "True"), "Degraded is True"),
    (HCO, edited(KUBEVIRT, ("status", "conditions"), []), "Available is not reported"),
])
def test_outstanding(hco, kubevirt, says):
    assert says in settings.outstanding(hco, kubevirt, "v1")


def test_a_jsonpatch_that_overrides_is_named():
    patched = edited(HCO, ("metadata", "annotations"), {"kubevirt.kubevirt.io/jsonpatch": "[]"})
    late = edited(KUBEVIRT, ("spec", "configuration", "migrations", "progressTimeout"), 99)
    assert "kubevirt.kubevirt.io/jsonpatch" in settings.outstanding(patched, late, "v1")


# -- presets, numbers that cannot be meant, upgrades -----------------------------------


def test_the_preset_is_the_sample_for_heavy_load_without_post_copy():
    preset = settings.PRESETS["heavy_workload"]
    assert settings.problems(preset) == [] and set(preset) <= set(settings.FIELDS)
    assert (preset["completion_timeout_per_gib"], preset["progress_timeout"]) == (150, 150)
    assert (preset["parallel_migrations_per_cluster"], preset["parallel_outbound_migrations_per_node"]) == (5, 1)
    assert preset["bandwidth_per_migration"] == "0" and preset["allow_post_copy"] is False


@pytest.mark.parametrize("values, says", [
    ({"completion_timeout_per_gib": 86401}, "more than a day for each gigabyte"),
    ({"progress_timeout": 90000}, "more than a day over a dead link"),
    ({"bandwidth_per_migration": "64"}, "is a unit missing"),
])
def test_absurd_numbers_are_refused(values, says):
    assert says in settings.problems(values)[0]


@pytest.mark.parametrize("values, says", [
    ({"bandwidth_per_migration": "32Mi", "completion_timeout_per_gib": 20}, "exclude each other"),
    ({"bandwidth_per_migration": "32Mi", "completion_timeout_per_gib": 800}, None),
    ({"bandwidth_per_migration": "odd", "completion_timeout_per_gib": 20}, None),
    ({"completion_timeout_per_gib": 4}, "more than 250 MB/s"),
    ({"progress_timeout": 10}, "short interruption"),
])
def test_numbers_that_hardly_any_guest_survives_are_warned_about(values, says):
    found = settings.contradictions(dict(settings.defaults("1.9"), **values), True)
    assert [says in text for text in found] == [True] * bool(says)


@pytest.mark.parametrize("hco, kubevirt, says", [
    (HCO, KUBEVIRT, None),
    ({}, None, None),
    (edited(HCO, ("status", "conditions"), [{"type": "Progressing", "status": "True", "reason": "HCOUpgrading", "message": "to 1.19"}]),
     KUBEVIRT, "being upgraded: to 1.19"),
    (edited(HCO, ("status", "conditions"), [{"type": "Progressing", "status": "True", "reason": "KubeVirtProgressing"}]), KUBEVIRT, None),
    (edited(HCO, ("status", "conditions", 0, "status"), "False"), KUBEVIRT, "cannot reconcile"),
    (HCO, {"status": {"targetKubeVirtVersion": "v2", "observedKubeVirtVersion": "v1"}}, "updated from v1 to v2"),
])
def test_nothing_is_configured_while_operators_are_busy(hco, kubevirt, says):
    found = settings.upgrading(hco, kubevirt)
    assert found is None if says is None else says in found
