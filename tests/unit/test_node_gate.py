# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The node gate: good is only a node that has all it had before, and a migration network that works."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import lease, node_gate

NOW = 1795000000.0


def stamp(seconds):
    return lease.micro(NOW + seconds)[:19] + "Z"


def node(**parts):
    found = {
        "metadata": {"name": "hana-a", "annotations": {"kubevirt.io/heartbeat": stamp(-60)},
                     "labels": {"kubevirt.io/schedulable": "true", "kubevirt.io/cpumanager": "true", "cpumanager": "true"}},
        "spec": {"unschedulable": True, "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}],
                   "allocatable": {"hugepages-1Gi": "5Ti", "hugepages-2Mi": "0", "devices.kubevirt.io/kvm": "1k", "cpu": "223500m"}}}
    return put(found, parts)


def put(obj, parts):
    for path, value in parts.items():
        place, way = obj, path.split("__")
        for part in way[:-1]:
            place = place.setdefault(part, {})
        place[way[-1]] = value
    return obj


def handler(ready="True", started=-3600, address="10.200.5.10", **parts):
    rows = [{"name": "ovn", "interface": "eth0", "ips": ["10.128.0.5"]}]
    if address:
        rows.append({"name": "openshift-cnv/mig", "interface": "migration0", "ips": [address]})
    return put({"metadata": {"name": "virt-handler-x", "annotations": {"k8s.v1.cni.cncf.io/network-status": json.dumps(rows)}},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
                           "containerStatuses": [{"state": {"running": {"startedAt": stamp(started)}}}]}}, parts)


def scene(this=None, handlers=(), network="mig", version="v1.9.0", now=NOW):
    return {"node": node() if this is None else this, "handlers": [handler()] if handlers == () else handlers, "now": now,
            "kubevirt": {"spec": {"configuration": {"migrations": {"network": network}}},
                         "status": {"observedKubeVirtVersion": version}}}


BEFORE = node_gate.snapshot(scene())


def codes(*arguments, **options):
    before = options.pop("before", BEFORE)
    return [row["code"] for row in node_gate.judge(scene(*arguments, **options), before)]


def test_a_node_that_is_as_it_was_is_good():
    assert codes() == []
    assert node_gate.good_lines(scene(), BEFORE) == [
        "Ready, virt-handler alive, KubeVirt places guests here", "hugepages-1Gi: 5 TiB, not less than before",
        "all KubeVirt devices are offered", "migration network mig: 10.200.5.10"]


def test_the_snapshot_is_small_and_says_what_is_compared():
    assert BEFORE == {
        "ready": True, "schedulable": True, "cpu_manager": True, "taints": [], "network": "mig", "migration_address": "10.200.5.10",
        "allocatable": {"devices.kubevirt.io/kvm": "1k", "hugepages-1Gi": "5Ti"}}


@pytest.mark.parametrize("parts, code", [
    ({"status__conditions": [{"type": "Ready", "status": "Unknown", "message": "kubelet stopped"}]}, "node_not_ready"),
    ({"status__conditions": []}, "node_not_ready"),
    ({"spec__taints": [{"key": "ToBeDeleted", "effect": "NoSchedule"}]}, "taint_new"),
    ({"metadata__annotations": {}}, "heartbeat_missing"),
    ({"metadata__annotations": {"kubevirt.io/heartbeat": stamp(-301)}}, "heartbeat_stale"),
    ({"metadata__labels": {"kubevirt.io/schedulable": "false", "kubevirt.io/cpumanager": "true"}}, "not_schedulable"),
    ({"metadata__labels": {"kubevirt.io/schedulable": "true", "kubevirt.io/cpumanager": "false"}}, "cpu_manager_lost"),
    ({"status__allocatable": {"hugepages-1Gi": "0", "devices.kubevirt.io/kvm": "1k"}}, "hugepages_missing"),
    ({"status__allocatable": {"hugepages-1Gi": "5119Gi", "devices.kubevirt.io/kvm": "1k"}}, "hugepages_missing"),
    ({"status__allocatable": {"hugepages-1Gi": "5Ti", "devices.kubevirt.io/kvm": "0"}}, "device_missing"),
    ({"status__allocatable": {"hugepages-1Gi": "5Ti"}}, "device_missing"),
])
def test_what_a_node_may_lack(parts, code):
    assert codes(node(**parts)) == [code]


def test_more_than_before_is_good_and_less_is_said_in_bytes():
    assert codes(node(status__allocatable={"hugepages-1Gi": "6Ti", "devices.kubevirt.io/kvm": "1100"})) == []
    found = node_gate.judge(scene(node(status__allocatable={"hugepages-1Gi": "0", "devices.kubevirt.io/kvm": "1k"})), BEFORE)
    assert "0 B of hugepages-1Gi, before it had 5 TiB" in found[0]["message"]


@pytest.mark.parametrize("handlers, found", [
    ([], ["handler_not_ready", "migration_network_down"]),
    ([handler(ready="False")], ["handler_not_ready", "migration_network_down"]),
    ([handler(metadata__deletionTimestamp=stamp(0))], ["handler_not_ready", "migration_network_down"]),
    ([handler(ready="False"), handler()], []), (None, ["handler_unreadable"]),
    ([handler(address=None)], ["migration_network_down"]),
    ([handler(metadata__annotations={"k8s.v1.cni.cncf.io/network-status": "{"})], ["migration_network_down"]),
    ([handler(started=-30)], ["heartbeat_stale"]),  # the heartbeat is from before the quick reboot
])
def test_virt_handler_and_its_network(handlers, found):
    assert codes(handlers=handlers) == found


def test_without_a_migration_network_none_is_asked_for():
    assert codes(handlers=[handler(address=None)], network=None) == []
    assert node_gate.network_of({}) is None


def test_a_cordon_is_no_new_taint_and_an_old_taint_is_none():
    assert codes(node(spec__taints=[{"key": "sap", "effect": "NoSchedule"}]), before=dict(BEFORE, taints=["sap"])) == []
    assert codes(node(spec__taints=[{"key": "soft", "effect": "PreferNoSchedule"}])) == []


@pytest.mark.parametrize("labels, release, pinned", [
    ({"cpumanager": "true"}, (1, 7), True), ({"kubevirt.io/cpumanager": "true"}, (1, 7), False),
    ({"cpumanager": "true"}, (1, 8), True), ({"kubevirt.io/cpumanager": "false", "cpumanager": "true"}, (1, 8), False),
    ({"kubevirt.io/cpumanager": "true"}, None, True), ({}, None, False),
])
def test_the_label_of_the_cpu_manager_by_release(labels, release, pinned):
    assert node_gate.has_cpu_manager({"metadata": {"labels": labels}}, release) is pinned


def test_a_missing_node_and_a_missing_snapshot():
    gone = dict(scene(), node=None)
    assert [row["code"] for row in node_gate.judge(gone, BEFORE)] == ["node_missing"]
    for before in ({}, None):
        assert codes(node(status__allocatable={}), before=before) == []
    assert "nothing is known" in node_gate.good_lines(scene(), {})[-1]


def test_problems_in_words_fit_the_screen():
    found = node_gate.problem_lines(node_gate.judge(scene(node(status__allocatable={}), handlers=[]), BEFORE))
    assert max(map(len, found)) <= 78 and any("before it had 5 TiB" in line for line in found)


@settings(max_examples=40, deadline=None)
@given(st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
    st.sampled_from(["labels", "annotations", "conditions", "allocatable", "taints", "kubevirt.io/heartbeat", "hugepages-1Gi"]),
    inner, max_size=3), max_leaves=8))
def test_an_odd_node_is_judged_not_raised(part):
    odd = {"metadata": part, "spec": part, "status": part}
    assert node_gate.judge(scene(odd, handlers=[copy.deepcopy(odd)]), BEFORE)
    assert isinstance(node_gate.snapshot(scene(odd, handlers=[odd])), dict)
