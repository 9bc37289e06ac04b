# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verdict on objects of any shape: whatever an API answers, each guest gets one, and its form holds."""

from __future__ import annotations

import copy
import functools
import json
import os
import pathlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from verdict_objects import (
    BIG,
    CALCULATOR,
    FULL,
    POD,
    VMI,
    attachment,
    change,
    claim,
    cluster_quota,
    codes,
    handler,
    inventory,
    migrations,
    network_policy,
    node,
    quota,
    topology,
    vmim,
)

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import (
    guidance,
    migratability,
    rates,
    spare,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.view import View

ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False), st.sampled_from(["", "x", "True", "64Gi", "v1.6.0", "v9"]),
    st.just([]), st.just({}), st.lists(st.just({}), max_size=2), st.just({"a": {"b": [1]}}), st.just([None, "x"]),
)


def _paths(obj, here=()):
    yield here
    pairs = obj.items() if isinstance(obj, dict) else enumerate(obj) if isinstance(obj, list) else ()
    for key, value in pairs:
        yield from _paths(value, here + (key,))


@functools.lru_cache(maxsize=1)
def _real_objects():
    folder = pathlib.Path(os.environ.get("BIGVM_SHARED") or "/nonexistent", "realdata", "objects")
    if not folder.is_dir():
        return []
    yaml = pytest.importorskip("yaml")
    return [yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*.yaml"))]


KINDS = {
    "VirtualMachineInstance": "vmis", "VirtualMachine": "vms", "NetworkAttachmentDefinition": "attachments",
    "VirtualMachineInstanceMigration": "vmims", "Node": "nodes",
    "PersistentVolumeClaim": "claims", "KubeVirt": "kubevirts", "MigrationPolicy": "policies",
    # What was asked for and something else came: of no kind that any list here holds.
    "NodeMaintenance": "cluster_quotas", "MachineConfigPool": "aaq_quotas", "NodeNetworkConfigurationEnactment": "network_policies",
}


def mutated(data, found, lists):
    """Up to five random places of an inventory's objects replaced by something odd, or removed."""
    for _number in range(data.draw(st.integers(1, 5))):
        objects = found[data.draw(st.sampled_from([name for name in lists if found.get(name)]))]
        index = data.draw(st.integers(0, len(objects) - 1))
        path = data.draw(st.sampled_from(list(_paths(objects[index]))))
        odd = copy.deepcopy(data.draw(ODD))
        if not path:
            objects[index] = odd
            continue
        here = objects[index]
        for part in path[:-1]:
            here = here[part]
        if isinstance(here, dict) and data.draw(st.booleans()):
            del here[path[-1]]
        else:
            here[path[-1]] = odd
    return found


def shape_is_whole(answer, count):
    assert sum(answer["summary"].values()) == len(answer["vms"]) <= count
    for row in answer["vms"]:
        assert row["verdict"] in ("live", "cold_only", "blocked", "unknown")
        assert {reason["code"] for reason in row["reasons"]} <= set(answer["reasons"])
        assert (row["verdict"] == "live") == all(answer["reasons"][reason["code"]]["effect"] is None for reason in row["reasons"])
        assert row["verdict"] != "live" or row["candidates"]


def room_is_judged(found, pools):
    """N-1, the spare memory and the advice on the same objects; a node with a guest that cannot be judged is not said to be well."""
    room = spare.report(View(found), pools)
    json.dumps(room)
    spare.spare_lines(room)
    guidance.for_view(View(found))
    for row in room["nodes"]:
        assert row["can_be_emptied"] is not True or not row["stuck"]
        assert len(row["stuck"]) <= row["vms"]


POOLS = st.recursive(st.one_of(st.none(), st.integers(-3, 3), st.sampled_from(["", "50%", "x%", "worker"])), lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(
        ["metadata", "name", "spec", "status", "maxUnavailable", "nodeSelector", "matchLabels", "machineCount"]), inner, max_size=4)),
    max_leaves=12).map(lambda pool: [pool])


@given(st.recursive(ODD, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(
    st.sampled_from(["metric", "value", "p50", "p99", "max", "samples", "speed", "sent", "namespace", "name", "node", "device"]), inner)),
    max_leaves=15))
def test_answers_of_any_shape_about_rates_are_left_out(answers):
    json.dumps([list(rates.by_guest(answers).values()), rates.cards(answers, {"w1"})], allow_nan=False)


RICH_VMI = functools.reduce(lambda vmi, row: change(vmi, *row), [
    ("spec.affinity", {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["db"]}]}, "topologyKey": "zone",
         "namespaceSelector": {"matchLabels": {"a": "b"}}}]}}),
    ("spec.tolerations", [{"key": "x", "operator": "Exists"}]),
    ("spec.topologySpreadConstraints", [
        {"topologyKey": "kubernetes.io/hostname", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule", "minDomains": 1,
         "labelSelector": {"matchLabels": {"app": "hana"}}, "matchLabelKeys": []}]),
    ("spec.utilityVolumes", [{"name": "u"}]),
    ("spec.domain.cpu", {"sockets": 4, "numa": {"guestMappingPassthrough": {}}}),
    ("status.changedBlockTracking", {"backupStatus": {"backupName": "b", "completed": True}}),
    ("status.migratedVolumes", [{"volumeName": "log", "sourcePVCInfo": {"capacity": {"storage": "1Gi"}}}]),
], BIG)
RICH = inventory(
    RICH_VMI,
    migrations(allowPostCopy=True, bandwidthPerMigration="64Mi"),
    pods=[POD, handler("w1"), handler("w2")],
    quotas=[quota({"requests.memory": "1Ti", "pods": "5"}, {"requests.memory": "65Gi", "pods": "1"}, scopes=["NotTerminating"])],
    vmims=[vmim("Running")], claims=claim("ReadWriteMany"),
    policies=[{"metadata": {"name": "p"}, "spec": {"selectors": {"virtualMachineInstanceSelector": {"app": "hana"}}}}],
    cluster_quotas=[cluster_quota({"pods": "5"}, {"pods": "1"})], aaq_quotas=[FULL], aaqs=CALCULATOR, topologies=[topology("w2", "9Gi")],
    attachments=[attachment()], network_policies=[network_policy("eno1")],
    vms=[{"metadata": {"name": "off", "namespace": "sap"}, "spec": {"template": {"spec": VMI["spec"]}}, "status": {}}],
)
LISTS = ["vmis", "vms", "vmims", "nodes", "pods", "claims", "quotas", "kubevirts", "policies", "namespaces", "cluster_quotas",
         "aaq_quotas", "aaqs", "topologies", "attachments", "network_policies"]


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_objects_of_any_shape_get_a_verdict(data):
    found = mutated(data, copy.deepcopy(RICH), LISTS)
    shape_is_whole(migratability.judge(found), 2)
    room_is_judged(found, data.draw(POOLS))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_mutated_real_objects_get_a_verdict(data):
    real = _real_objects()
    if not real:
        pytest.skip("BIGVM_SHARED does not name the folder with real objects")
    found = inventory(vmis=[], nodes=[node("w1"), node("w2")])
    for obj in real:
        if obj.get("kind") in KINDS:
            found.setdefault(KINDS[obj["kind"]], []).append(copy.deepcopy(obj))
    if data.draw(st.booleans()):
        for obj in found["vmis"]:
            obj["metadata"]["name"] = "a-name-that-is-longer-than-a-label-may-be-" * 2 + obj["metadata"]["name"]
    found["kubevirts"].reverse()
    pools = [copy.deepcopy(obj) for obj in real if obj.get("kind") == "MachineConfigPool"]
    found = mutated(data, dict(found, pools=pools), LISTS + ["pools"])
    shape_is_whole(migratability.judge(found), 40)
    room_is_judged(found, found["pools"])


def test_real_guests():
    real = {obj["metadata"]["name"]: obj for obj in _real_objects() if obj.get("kind") == "VirtualMachineInstance"}
    if not real:
        pytest.skip("BIGVM_SHARED does not name the folder with real objects")
    answer = migratability.judge(inventory(vmis=list(real.values())))
    rows = {row["name"]: row for row in answer["vms"]}
    local = rows["centos-stream9-aqua-gull-95"]
    assert local["verdict"] == "cold_only" and {"DisksNotLiveMigratable", "EvictionStopsGuest"} <= codes(local)
    assert "PVC centos-stream9-aqua-gull-95-volume is not shared" in local["details"]["reasons"]["DisksNotLiveMigratable"][0]
    assert codes(rows["vmi-migratable"]) >= {"PhaseUnknown"} and rows["vmi-migratable"]["verdict"] == "unknown"
    # LiveMigratable, but its node is not among these.
    assert rows["todd-vessell.foreman-isc.lan"]["verdict"] == "unknown"
    assert "CheckFailed" not in answer["reasons"]
