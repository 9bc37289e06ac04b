# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a node offers: allocatable less requests, in the units that the rules count in."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import capacity

GIB = 1 << 30


def pod(phase="Running", init=(), overhead=None, labels=None, **requests):
    spec = {"containers": [{"resources": {"requests": requests}}, {"name": "without"}], "initContainers": list(init)}
    if overhead:
        spec["overhead"] = overhead
    return {"metadata": {"labels": labels or {}}, "spec": spec, "status": {"phase": phase}}


def node(**allocatable):
    return {
        "metadata": {"name": "w1", "labels": {"kubevirt.io/schedulable": "true"},
                     "annotations": {"kubevirt.io/heartbeat": "2026-11-21T00:00:00Z"}},
        "spec": {},
        "status": {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def test_containers_add_up_and_an_init_container_counts_when_it_is_the_biggest():
    init = {"resources": {"requests": {"cpu": "2", "memory": "1Gi"}}}
    assert capacity.pod_requests(pod(init=[init], cpu="500m", memory="2Gi")) == {"cpu": 2000, "memory": 2 * GIB}


def test_an_init_container_that_keeps_running_and_the_overhead_add_up():
    sidecar = {"restartPolicy": "Always", "resources": {"requests": {"memory": "1Gi"}}}
    found = capacity.pod_requests(pod(init=[sidecar], overhead={"memory": "512Mi"}, memory="2Gi"))
    assert found == {"memory": 3 * GIB + GIB // 2}


def test_a_request_that_is_no_quantity_cannot_be_told():
    assert capacity.pod_requests(pod(cpu="much", memory="1Gi")) == {"cpu": None, "memory": GIB}
    facts = capacity.node_facts(node(cpu="8", memory="64Gi"), [pod(cpu="much", memory="1Gi")])
    assert facts["free"] == {"cpu": None, "memory": 63 * GIB}


@pytest.mark.parametrize("phase, active", [("Running", True), ("Pending", True), (None, True), ("Succeeded", False), ("Failed", False)])
def test_ended_pods_hold_nothing(phase, active):
    assert capacity.is_active(pod(phase=phase)) is active


def test_free_is_allocatable_less_requests():
    launcher = pod(labels={"kubevirt.io": "virt-launcher"}, **{"hugepages-1Gi": "3Ti", "memory": "8Gi", "cpu": "96"})
    facts = capacity.node_facts(
        node(cpu="127500m", memory="200Gi", pods="250", **{"hugepages-1Gi": "6Ti", "devices.kubevirt.io/kvm": "1k"}), [launcher, pod()])
    assert facts["free"] == {
        "cpu": 31500, "memory": 192 * GIB, "hugepages-1Gi": 3072 * GIB, "pods": 248, "devices.kubevirt.io/kvm": 1000}
    assert (facts["ready"], facts["cordoned"], facts["kubevirt_schedulable"], facts["vms"]) == (True, False, True, 1)
    shown = capacity.public(facts)
    assert (shown["cpus_free"], shown["hugepages_1gi_free"], shown["hugepages_2mi_free"]) == (31.5, 3072 * GIB, 0)


def test_without_pods_nothing_is_known_to_be_free():
    facts = capacity.node_facts(node(cpu="8", memory="64Gi"), None)
    assert facts["free"] == {"cpu": None, "memory": None} and facts["vms"] is None
    assert capacity.shortages({"memory": 1}, facts) == [("memory", 1, None)]


def test_short_of_memory_and_of_a_device_that_is_not_there():
    facts = capacity.node_facts(node(cpu="8", memory="64Gi"), [])
    asks = {"cpu": 8000, "memory": 65 * GIB, "devices.kubevirt.io/kvm": 1, "pods": 1}
    assert capacity.shortages(asks, facts) == [("memory", 65 * GIB, 64 * GIB), ("devices.kubevirt.io/kvm", 1, 0)]


def test_what_the_guest_itself_holds_there_is_not_lost_to_it():
    mine = pod(memory="60Gi")
    facts = capacity.node_facts(node(memory="64Gi"), [mine])
    assert capacity.shortages({"memory": 60 * GIB}, facts) == [("memory", 60 * GIB, 4 * GIB)]
    assert capacity.shortages({"memory": 60 * GIB}, facts, own=[mine]) == []


@pytest.mark.parametrize("broken", [
    {}, {"metadata": None, "spec": 3, "status": "x"}, {"status": {"allocatable": [], "conditions": {"a": 1}}},
    {"metadata": {"labels": [1]}, "status": {"allocatable": {"memory": None, "cpu": {}}, "conditions": [None, 7, {"type": "Ready"}]}},
])
def test_a_node_of_any_shape_gives_facts(broken):
    facts = capacity.node_facts(broken, [{}, {"spec": {"containers": "none"}}, {"spec": {"containers": [{"resources": []}]}}])
    assert facts["ready"] is None
    assert capacity.public(facts)["memory_free"] is None
    assert capacity.shortages({"memory": 1}, facts) == [("memory", 1, None)]
