# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each way a node can be ruled out, one that fits, and what cannot be told."""

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import capacity, placement

NOW = 1795219200.0  # 2026-11-21T00:00:00Z
FRESH = "2026-11-20T23:59:00Z"
CPU_LABELS = {
    "host-model-cpu.node.kubevirt.io/Cascadelake-Server": "true",
    "host-model-required-features.node.kubevirt.io/vmx": "true",
    "cpu-model-migration.node.kubevirt.io/Cascadelake-Server": "true",
    "cpu-feature.node.kubevirt.io/vmx": "true",
    "cpu-vendor.node.kubevirt.io/Intel": "true",
}


def node(name, labels=None, without=(), taints=(), heartbeat=FRESH, ready="True", cordoned=False, **allocatable):
    found = dict(
        CPU_LABELS, **{"kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", "kubevirt.io/schedulable": "true"})
    found.update(labels or {})
    resources = {"cpu": "64", "memory": "256Gi", "pods": "250", "devices.kubevirt.io/kvm": "1k", "devices.kubevirt.io/tun": "1k"}
    return {
        "metadata": {"name": name, "labels": {key: value for key, value in found.items() if key not in without},
                     "annotations": {"kubevirt.io/heartbeat": heartbeat}},
        "spec": {"unschedulable": cordoned, "taints": list(taints)},
        "status": {"allocatable": dict(resources, **allocatable), "conditions": [{"type": "Ready", "status": ready}]},
    }


def vmi(memory="16Gi", affinity=None, labels=None, **spec):
    domain = {"memory": {"guest": memory}, "cpu": {"cores": 4}, "devices": {}}
    domain.update(spec.pop("domain", {}))
    return {
        "metadata": {"name": "app", "namespace": "apps", "uid": "vmi-1", "labels": labels or {"app": "web"}},
        "spec": dict({"domain": domain, "architecture": "amd64"}, **({"affinity": affinity} if affinity else {}), **spec),
        "status": {"nodeName": "w1", "phase": "Running"},
    }


def pod(name, on, namespace="apps", labels=None, affinity=None, selector=None, **requests):
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
        "spec": {"nodeName": on, "affinity": affinity, "nodeSelector": selector or {},
                 "containers": [{"resources": {"requests": requests}}]},
        "status": {"phase": "Running"},
    }


def place(guest, nodes, pods=(), namespaces=None, release="1.9", own=(), now=NOW):
    facts = [capacity.node_facts(entry, [p for p in pods if p["spec"]["nodeName"] == entry["metadata"]["name"]]) for entry in nodes]
    need = placement.need_of(guest, list(own), nodes[0]["metadata"]["labels"], release, {})
    return placement.Scene(facts, list(pods), namespaces if namespaces is not None else {}, now).place(need)


def codes(guest, other, *more, **named):
    """Why the second node does not take the guest of the first; empty when it does."""
    found = place(guest, [node("w1"), other] + list(more), **named)
    assert not found.undecided
    return [code for code, detail in found.ruled_out.get("w2", [])]


def test_a_like_node_takes_the_guest():
    assert codes(vmi(), node("w2")) == []
    assert place(vmi(), [node("w1"), node("w2")]).candidates == ["w2"]


MATCH = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}


def needs_labels(**labels):
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": key, "operator": "In", "values": [value]} for key, value in labels.items()]}]}}}


@pytest.mark.parametrize("code, guest, bad, good", [
    ("Cordoned", vmi(), node("w2", cordoned=True, taints=[{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]),
     node("w2")),
    ("NotReady", vmi(), node("w2", ready="Unknown", taints=[{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]),
     node("w2")),
    ("NoVirtHandler", vmi(), node("w2", without=["kubevirt.io/schedulable"]), node("w2")),
    ("KubeVirtNotSchedulable", vmi(), node("w2", {"kubevirt.io/schedulable": "false"}), node("w2")),
    ("StaleHeartbeat", vmi(), node("w2", heartbeat="2026-11-20T23:54:00Z"), node("w2", heartbeat="2026-11-20T23:56:00Z")),
    ("TaintNotTolerated", vmi(), node("w2", taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]),
     node("w2", taints=[{"key": "gpu", "effect": "PreferNoSchedule"}])),
    ("NodeSelectorMismatch", vmi(nodeSelector={"zone": "a"}), node("w2", {"zone": "b"}), node("w2", {"zone": "a"})),
    ("NodeAffinityMismatch", vmi(affinity=needs_labels(zone="a")), node("w2", {"zone": "b"}), node("w2", {"zone": "a"})),
    ("CpuMismatch", vmi(), node("w2", without=["cpu-feature.node.kubevirt.io/vmx"]), node("w2")),
    ("CpuMismatch", vmi(), node("w2", without=["cpu-vendor.node.kubevirt.io/Intel"]), node("w2")),
    ("CpuMismatch", vmi(domain={"cpu": {"model": "Icelake-Server"}}), node("w2"),
     node("w2", {"cpu-model.node.kubevirt.io/Icelake-Server": "true"})),
    ("CpuMismatch", vmi(domain={"cpu": {"features": [{"name": "mpx", "policy": "forbid"}]}}),
     node("w2", {"cpu-feature.node.kubevirt.io/mpx": "true"}), node("w2")),
    ("MachineTypeMissing", vmi(domain={"machine": {"type": "q35"}}), node("w2"),
     node("w2", {"machine-type.node.kubevirt.io/q35": "true"})),
    ("NoCpuManager", vmi(domain={"cpu": {"cores": 4, "dedicatedCpuPlacement": True}}), node("w2"),
     node("w2", {"kubevirt.io/cpumanager": "true"})),
    ("HostFeatureMissing", vmi(domain={"cpu": {"realtime": {}}}), node("w2"), node("w2", {"kubevirt.io/realtime": "true"})),
    ("MemoryShort", vmi("300Gi"), node("w2"), node("w2", memory="400Gi")),
    ("HugepagesShort", vmi("32Gi", domain={"memory": {"guest": "32Gi", "hugepages": {"pageSize": "1Gi"}}}), node("w2"),
     node("w2", **{"hugepages-1Gi": "32Gi"})),
    ("CpuShort", vmi(domain={"cpu": {"cores": 48, "sockets": 20}}), node("w2"), node("w2", cpu="128")),
    ("DevicesShort", vmi(domain={"devices": {"gpus": [{"deviceName": "nvidia.com/A100"}]}}), node("w2"),
     node("w2", **{"nvidia.com/A100": "1"})),
    ("PodsShort", vmi(), node("w2", pods="0"), node("w2")),
])
def test_ruled_out_and_not(code, guest, bad, good):
    assert codes(guest, bad) == [code]
    assert codes(guest, good) == []


@pytest.mark.parametrize("toleration, tolerated", [
    ({"key": "sap", "operator": "Equal", "value": "hana", "effect": "NoSchedule"}, True),
    ({"key": "sap", "value": "hana"}, True),
    ({"key": "sap", "operator": "Exists"}, True),
    ({"operator": "Exists"}, True),
    ({"key": "sap", "value": "other"}, False),
    ({"key": "sap", "operator": "Exists", "effect": "NoExecute"}, False),
    ({"value": "hana"}, False),
    ({}, False),
])
def test_tolerations(toleration, tolerated):
    tainted = node("w2", taints=[{"key": "sap", "value": "hana", "effect": "NoSchedule"}])
    assert codes(vmi(tolerations=[toleration]), tainted) == ([] if tolerated else ["TaintNotTolerated"])


@pytest.mark.parametrize("row, fits", [
    ({"key": "zone", "operator": "In", "values": ["a", "b"]}, True),
    ({"key": "zone", "operator": "NotIn", "values": ["a"]}, False),
    ({"key": "other", "operator": "NotIn", "values": ["a"]}, True),
    ({"key": "zone", "operator": "Exists"}, True),
    ({"key": "zone", "operator": "DoesNotExist"}, False),
    ({"key": "size", "operator": "Gt", "values": ["3"]}, True),
    ({"key": "size", "operator": "Lt", "values": ["3"]}, False),
    ({"key": "none", "operator": "Gt", "values": ["3"]}, False),
    ({"key": "zone", "operator": "Gt", "values": ["3"]}, None),
    ({"key": "zone", "operator": "Like", "values": ["a"]}, None),
])
def test_node_affinity_operators(row, fits):
    facts = capacity.node_facts(node("w2", {"zone": "a", "size": "5"}), [])
    assert placement.node_affinity_fits({"nodeSelectorTerms": [{"matchExpressions": [row]}]}, facts) is fits


def test_node_affinity_terms_are_alternatives_and_an_empty_one_fits_nothing():
    facts = capacity.node_facts(node("w2"), [])
    by_name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["w2"]}]}
    assert placement.node_affinity_fits({"nodeSelectorTerms": [{}, by_name]}, facts) is True
    assert placement.node_affinity_fits({"nodeSelectorTerms": [{}]}, facts) is False


def test_affinity_with_an_operator_nobody_knows_is_undecided():
    guest = vmi(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Near", "values": ["a"]}]}]}}})
    found = place(guest, [node("w1"), node("w2")])
    assert found.candidates == [] and found.ruled_out == {} and found.undecided == {"w2": "its node affinity"}


def anti(term):
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_anti_affinity_of_the_guest():
    brother = pod("b", "w2", labels={"app": "web"})
    assert codes(vmi(affinity=anti(MATCH)), node("w2"), pods=[brother]) == ["AntiAffinity"]
    assert codes(vmi(affinity=anti(MATCH)), node("w2"), pods=[pod("b", "w2", labels={"app": "db"})]) == []
    assert codes(vmi(affinity=anti(MATCH)), node("w2"), pods=[pod("b", "w2", "others", labels={"app": "web"})]) == []


def test_anti_affinity_across_a_zone_counts_the_guest_itself():
    zone = dict(MATCH, topologyKey="zone")
    nodes = [node("w1", {"zone": "a"}), node("w2", {"zone": "a"}), node("w3", {"zone": "b"})]
    found = place(vmi(affinity=anti(zone)), nodes, pods=[pod("me", "w1", labels={"app": "web"})])
    assert found.candidates == ["w3"] and found.ruled_out == {"w2": [("AntiAffinity", "")]}


def test_anti_affinity_of_another_pod():
    other = pod("b", "w2", labels={"app": "db"}, affinity=anti(MATCH))
    assert codes(vmi(), node("w2"), pods=[other]) == ["AntiAffinity"]
    assert codes(vmi(labels={"app": "batch"}), node("w2"), pods=[other]) == []


def test_what_kubevirt_gives_target_pods_concerns_nobody_else():
    term = {"labelSelector": {"matchLabels": {"kubevirt.io/created-by": "vmi-7"}}, "topologyKey": "kubernetes.io/hostname"}
    assert codes(vmi(), node("w2"), pods=[pod("b", "w2", affinity=anti(term))]) == []


@pytest.mark.parametrize("extra, expected", [
    ({"namespaces": ["others"]}, ["AntiAffinity"]),
    ({"namespaces": ["elsewhere"]}, []),
    ({"namespaceSelector": {}}, ["AntiAffinity"]),
    ({"namespaceSelector": {"matchLabels": {"team": "x"}}}, ["AntiAffinity"]),
    ({"namespaceSelector": {"matchLabels": {"team": "y"}}}, []),
])
def test_anti_affinity_across_namespaces(extra, expected):
    other = pod("b", "w2", "others", labels={"app": "web"})
    found = codes(vmi(affinity=anti(dict(MATCH, **extra))), node("w2"), pods=[other], namespaces={"others": {"team": "x"}})
    assert found == expected


def test_affinity_that_cannot_be_judged_is_undecided():
    term = dict(MATCH, matchLabelKeys=["pod-template-hash"])
    found = place(vmi(affinity=anti(term)), [node("w1"), node("w2")], pods=[pod("b", "w2", labels={"app": "web"})])
    assert found.undecided == {"w2": "its affinity to other pods"}


def test_affinity_to_other_pods():
    together = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"}]}}
    assert codes(vmi(affinity=together), node("w2"), pods=[pod("b", "w2", labels={"app": "db"})]) == []
    assert codes(vmi(affinity=together), node("w2"), pods=[pod("b", "w1", labels={"app": "db"})]) == ["PodAffinity"]


def test_the_first_of_its_kind_may_go_anywhere():
    together = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [MATCH]}}
    assert codes(vmi(affinity=together), node("w2")) == []


def test_a_guest_that_moved_before_keeps_its_first_baseline():
    frozen = {"cpu-model-migration.node.kubevirt.io/Skylake-Server": "true"}
    source = pod("me", "w1", selector=frozen)
    assert codes(vmi(), node("w2"), own=[source]) == ["CpuMismatch"]
    assert codes(vmi(), node("w2", frozen), own=[source]) == []


def test_a_source_without_host_model_makes_a_migration_impossible_up_to_1_5():
    nodes = [node("w1", without=["host-model-cpu.node.kubevirt.io/Cascadelake-Server"]), node("w2")]
    with pytest.raises(placement.HostModelUnknown):
        place(vmi(), nodes, release="v1.5.0")
    assert place(vmi(), nodes, release="v1.6.0").candidates == ["w2"]


def test_release_decides_which_labels_count():
    dedicated = vmi(domain={"cpu": {"cores": 4, "dedicatedCpuPlacement": True}})
    assert codes(dedicated, node("w2", {"cpumanager": "true"}), release="v1.6.0") == []
    assert codes(dedicated, node("w2", {"cpumanager": "true"}), release="v1.9.0") == ["NoCpuManager"]
    assert codes(vmi(), node("w2", without=["cpu-vendor.node.kubevirt.io/Intel"]), release="v1.7.0") == []


def test_best_candidate_first():
    nodes = [node("w1"), node("w2"), node("w3", memory="512Gi"), node("w4")]
    found = place(vmi(), nodes, pods=[pod("b", "w2", memory="10Gi")])
    assert found.candidates == ["w3", "w4", "w2"]


def test_every_reason_of_a_node_is_named():
    found = place(vmi("300Gi", nodeSelector={"zone": "a"}), [node("w1"), node("w2", cordoned=True)])
    assert [code for code, detail in found.ruled_out["w2"]] == ["Cordoned", "NodeSelectorMismatch", "MemoryShort"]
    assert dict(found.ruled_out["w2"])["MemoryShort"] == "memory: 301 GiB asked, 256 GiB free"


def test_guests_that_ask_the_same_do_not_lend_each_other_their_place():
    mine, yours = vmi("200Gi"), vmi("200Gi")
    yours["metadata"].update(name="other", uid="vmi-2")
    yours["status"]["nodeName"] = "w2"
    pods = [pod("mine", "w1", memory="200Gi"), pod("yours", "w2", memory="200Gi")]
    nodes = [node("w1"), node("w2"), node("w3")]
    facts = [capacity.node_facts(entry, [p for p in pods if p["spec"]["nodeName"] == entry["metadata"]["name"]]) for entry in nodes]
    scene = placement.Scene(facts, pods, {}, NOW)
    labels = nodes[0]["metadata"]["labels"]
    needs = [placement.need_of(guest, [own], labels, "1.9", {}) for guest, own in ((mine, pods[0]), (yours, pods[1]))]
    places = [scene.place(need) for need in needs]
    assert [place.candidates for place in places] == [["w3"], ["w3"]]
    assert [sorted(place.ruled_out) for place in places] == [["w2"], ["w1"]]


@pytest.mark.parametrize("skew", [-86400, -600, 0, 600, 86400])
def test_our_own_wrong_clock_makes_no_heartbeat_stale(skew):
    assert codes(vmi(), node("w2"), now=NOW + skew) == []


def test_memory_that_a_node_does_not_state_is_undecided():
    broken = node("w2")
    broken["status"]["allocatable"]["memory"] = "lots"
    assert place(vmi(), [node("w1"), broken]).undecided == {"w2": "what it has free of memory"}


def test_a_real_node_keeps_a_real_guest():
    folder = pathlib.Path(os.environ.get("BIGVM_SHARED", ""), "realdata", "objects")
    if not os.environ.get("BIGVM_SHARED") or not folder.is_dir():
        pytest.skip("BIGVM_SHARED does not name the folder with real objects")
    yaml = pytest.importorskip("yaml")
    real = yaml.safe_load((folder / "node-1.yaml").read_text())
    guest = yaml.safe_load((folder / "vmi-3.yaml").read_text())
    twin = yaml.safe_load((folder / "node-1.yaml").read_text())
    twin["metadata"]["name"] = "twin"
    facts = [capacity.node_facts(entry, []) for entry in (real, twin)]
    need = placement.need_of(guest, [], real["metadata"]["labels"], "v1.5.0", {})
    found = placement.Scene(facts, [], {}, 0).place(need)
    assert found.candidates == ["twin"], found
    assert len(need.selector) > 20  # the host's model and its features


# -- topology spread ---------------------------------------------------------------------

EVEN = {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}
ZONES = [node("w1", {"zone": "a"}), node("w2", {"zone": "b"}), node("w3", {"zone": "c"})]


def web(on, name="other", **more):
    return dict(pod(name, on, labels={"app": "web"}), **more)


@pytest.mark.parametrize("constraint, pods, ruled_out", [
    ({}, [web("w1")], set()),
    ({}, [web("w1"), web("w2", "b")], {"w2"}),  # one more in zone b would be two there and none in c
    ({}, [web("w1"), web("w2", "b"), web("w3", "c")], set()),
    ({"maxSkew": 2}, [web("w1"), web("w2", "b")], set()),
    ({"whenUnsatisfiable": "ScheduleAnyway"}, [web("w1"), web("w2", "b"), web("w2", "c")], set()),
    ({"labelSelector": {"matchLabels": {"app": "db"}}}, [web("w1"), web("w2", "b"), web("w2", "c")], set()),
    ({}, [web("w2", "b", metadata={"name": "b", "namespace": "elsewhere", "labels": {"app": "web"}})], set()),
    ({}, [web("w2", "b", metadata={"name": "b", "namespace": "apps", "labels": {"app": "web"}, "deletionTimestamp": FRESH})], set()),
    ({"topologyKey": "rack"}, [], {"w2", "w3"}),  # a node without the label takes none
    ({"minDomains": 4}, [web("w1"), web("w2", "b"), web("w3", "c")], {"w2", "w3"}),
])
def test_a_topology_spread_that_must_hold(constraint, pods, ruled_out):
    found = place(vmi(topologySpreadConstraints=[dict(EVEN, **constraint)]), ZONES, pods=pods)
    assert {name for name, rows in found.ruled_out.items() if rows[0][0] == "TopologySpread"} == ruled_out
    assert set(found.candidates) == {"w2", "w3"} - ruled_out and not found.undecided


@pytest.mark.parametrize("constraint, domain_c_counts", [
    ({}, False), ({"nodeAffinityPolicy": "Ignore"}, True),
])
def test_nodes_that_the_guest_excludes_are_no_domain(constraint, domain_c_counts):
    guest = vmi(topologySpreadConstraints=[dict(EVEN, **constraint)], nodeSelector={"pool": "x"})
    zones = [node("w1", {"zone": "a", "pool": "x"}), node("w2", {"zone": "b", "pool": "x"}), node("w3", {"zone": "c"})]
    found = place(guest, zones, pods=[web("w1"), web("w2", "b")])
    assert (found.candidates == []) is domain_c_counts


@pytest.mark.parametrize("odd", [{"matchLabelKeys": ["pod-template-hash"]}, {"maxSkew": "one"}, {"maxSkew": None},
                                 {"labelSelector": {"matchExpressions": [{"key": "app", "operator": "Near"}]}}])
def test_a_spread_that_is_not_understood_leaves_it_open(odd):
    found = place(vmi(topologySpreadConstraints=[dict(EVEN, **odd)]), ZONES, pods=[web("w1")])
    assert found.undecided == dict.fromkeys(("w2", "w3"), "its topology spread constraints") and not found.candidates


def test_what_is_against_a_node_for_every_guest_rules_it_out():
    facts = [capacity.node_facts(entry, []) for entry in (node("w1"), node("w2"), node("w3"))]
    need = placement.need_of(vmi(), [], facts[0]["labels"], "1.9", {})
    scene = placement.Scene(facts, [], {}, NOW, {"w2": [("VirtHandlerNotReady", "x")], "gone": [("NoMigrationNetwork", "")]})
    assert scene.place(need).ruled_out == {"w2": [("VirtHandlerNotReady", "x")]} and scene.place(need).candidates == ["w3"]
