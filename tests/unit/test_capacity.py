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


# -- what must be spare -----------------------------------------------------------------


def offering(name, free=256, vms=(), cordoned=False, labels=None, pages=0):
    """Node facts with launchers of so many GiB (memory, huge pages) on it, and ``free`` GiB left."""
    launchers = [pod(labels={"kubevirt.io": "virt-launcher"}, memory="%dGi" % memory,
                     **({"hugepages-1Gi": "%dGi" % huge} if huge else {})) for memory, huge in vms]
    found = node(memory="%dGi" % (free + sum(memory for memory, _huge in vms)), **({"hugepages-1Gi": "%dGi" % pages} if pages else {}))
    found["metadata"].update(name=name, labels=dict(found["metadata"]["labels"], **(labels or {})))
    found["spec"]["unschedulable"] = cordoned
    return capacity.node_facts(found, launchers)


def test_spare_is_nodes_drained_at_once_times_the_fullest_node():
    nodes = [offering("a", 10, [(100, 0), (60, 0)]), offering("b", 90, [(120, 0)]), offering("c", 80),
             offering("d", 500, cordoned=True)]
    found = capacity.spare(nodes)["resources"]["memory"]
    assert found == {"fullest_node": "a", "fullest": 160 * GIB, "needed": 160 * GIB, "available": 170 * GIB, "enough": True}
    twice = capacity.spare(nodes, [{"metadata": {"name": "all"}, "spec": {
        "nodeSelector": {"matchLabels": {"kubevirt.io/schedulable": "true"}}, "maxUnavailable": 2}}])
    assert twice["drained_at_once"] == 2 and twice["resources"]["memory"]["needed"] == 320 * GIB
    assert twice["resources"]["memory"]["enough"] is False and twice["resources"]["memory"]["available"] == 80 * GIB


def test_huge_pages_are_spare_in_their_own_right():
    found = capacity.spare([offering("a", vms=[(2, 1024)], pages=1024), offering("b", pages=512)])["resources"]
    assert found["memory"]["enough"] and found["hugepages-1Gi"] == {
        "fullest_node": "a", "fullest": 1024 * GIB, "needed": 1024 * GIB, "available": 512 * GIB, "enough": False}


def test_spare_is_unknown_without_pods():
    facts = capacity.node_facts(node(memory="64Gi"), None)
    assert capacity.spare([facts]) == {"drained_at_once": 1, "pools": {}, "resources": {}}
    odd = capacity.node_facts(node(memory="64Gi"), [pod(labels={"kubevirt.io": "virt-launcher"}, memory="much")])
    assert capacity.spare([odd])["resources"]["memory"]["enough"] is None


@pytest.mark.parametrize("limit, paused, at_once", [
    (None, False, 1), (2, False, 2), ("50%", False, 2), ("10%", False, 1), ("2", False, 2), (99, False, 4), ("all", False, 1),
    (2, True, 0)])
def test_how_many_nodes_a_pool_drains_at_once(limit, paused, at_once):
    nodes = [offering(name, labels={"role": "worker"}) for name in "abcd"]
    pool = {"metadata": {"name": "worker"}, "spec": {"nodeSelector": {"matchLabels": {"role": "worker"}}, "paused": paused}}
    if limit is not None:
        pool["spec"]["maxUnavailable"] = limit
    assert capacity.drained_by_pool(nodes, [pool]) == {"worker": at_once}


def test_a_node_in_a_pool_of_its_own_is_not_counted_with_the_workers():
    nodes = [offering("a", labels={"role": "worker", "hana": "yes"}), offering("b", labels={"role": "worker"})]
    pools = [{"metadata": {"name": name}, "spec": {"nodeSelector": {"matchLabels": wanted}, "maxUnavailable": 3}}
             for name, wanted in (("worker", {"role": "worker"}), ("hana", {"hana": "yes"}), ("master", {"role": "master"}))]
    assert capacity.drained_by_pool(nodes, pools) == {"hana": 1, "worker": 1}
