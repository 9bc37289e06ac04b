# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Topologies, generations and kinds of the embedded cluster, without a server."""

from __future__ import annotations

import dataclasses
import json
import time

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import (
    assembly,
    crds,
    generations,
    kinds,
    populate,
    topology,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import install
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.scheduler import Scheduler
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    HCO,
    VMI,
    VMIM,
    World,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.resources import Resource
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.schema import prune

VMIM_V1 = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration", "metadata": {"name": "m"}}


def filled(source=None, **options):
    wanted = topology.load(source, **options)
    store = assembly._store(assembly.Options(), wanted.start)
    install.prepare(store, wanted.generation)
    populate.fill(store, wanted)
    return store, wanted


# -- generations -------------------------------------------------------------------


def test_generations_by_any_spelling():
    assert generations.of("v1.6.2") is generations.of("1.6") is generations.GENERATIONS["1.6"]
    assert generations.of(None).name == generations.of(1.9).name == "1.9"
    with pytest.raises(ValueError, match="1.6, 1.9"):
        generations.of("1.2")


def vmim_schema(generation):
    definition = next(one for one in kinds.definitions(generation) if one["metadata"]["name"] == VMIM)
    return crds.resource_of(definition)


def test_target_selector_is_pruned_where_the_release_does_not_know_it():
    old = dataclasses.replace(generations.of("1.6"), name="1.5", added_node_selector=False)
    for generation, kept in ((old, False), (generations.of("1.6"), True)):
        obj = dict(VMIM_V1, spec={"vmiName": "a", "addedNodeSelector": {"x": "y"}, "priority": "system-critical"})
        dropped = prune(vmim_schema(generation), obj, "v1")
        assert ("addedNodeSelector" in obj["spec"]) is kept and ("spec.addedNodeSelector" in dropped) is not kept
        assert "priority" not in obj["spec"]  # since 1.7
    obj = dict(VMIM_V1, spec={"vmiName": "a", "priority": "system-critical"})
    assert prune(vmim_schema(generations.of("1.9")), obj, "v1") == []


def test_hyperconverged_round_trip():
    old = {"apiVersion": "hco.kubevirt.io/v1beta1", "kind": "HyperConverged", "metadata": {"name": "k"}, "spec": {
        "liveMigrationConfig": {"network": "n"}, "evictionStrategy": "LiveMigrate", "featureGates": {"a": True, "b": False},
        "resourceRequirements": {"vmiCPUAllocationRatio": 10}}}
    new = kinds.converted(json.loads(json.dumps(old)), "v1")
    assert new["spec"] == {
        "virtualization": {"liveMigrationConfig": {"network": "n"}, "evictionStrategy": "LiveMigrate", "vmiCPUAllocationRatio": 10},
        "featureGates": [{"name": "a", "state": "Enabled"}, {"name": "b", "state": "Disabled"}]}
    new["spec"]["storage"] = {"only": "here"}
    back = kinds.converted(new, "v1beta1")
    assert back["spec"] == old["spec"] and json.loads(back["metadata"]["annotations"][kinds.V1_ONLY]) == {"storage": {"only": "here"}}
    again = kinds.converted(back, "v1")
    assert again["spec"] == new["spec"] and "annotations" not in again["metadata"]


# -- topologies ----------------------------------------------------------------------


@pytest.mark.parametrize("name", topology.names())
def test_every_topology_is_a_sound_cluster(name):
    store, wanted = filled(name)
    assert wanted.notes == [] and store.list(HCO) and len(store.list("nodes")) == len(wanted.nodes) >= 2
    world = World(store, wanted.generation)
    scheduler = Scheduler(world)
    for node in store.list("nodes"):  # nothing is promised twice
        assert all(left >= 0 for left in scheduler.free(node).values())
    running = [vm for vm in wanted.vms if vm["node"]]
    assert len(store.list(VMI)) == len(running)
    for vmi in store.list(VMI):
        pods = world.pods_of(vmi)
        assert len(pods) == 1 and pods[0]["spec"]["nodeName"] == vmi["status"]["nodeName"]
        assert vmi["status"]["activePods"] == {pods[0]["metadata"]["uid"]: vmi["status"]["nodeName"]}
        assert scheduler.refusal(pod(**dict(pods[0]["spec"], containers=[])), store.get("nodes", "", vmi["status"]["nodeName"])) is None


def test_the_topologies_that_are_promised():
    assert set(topology.names()) >= {"default", "default-1.3", "default-1.6", "hot", "blocked", "tiny", "queue"}
    assert topology.load("default-1.6").generation.name == "1.6" and topology.load("default-1.6").vms == topology.load("default").vms
    assert topology.load(None).vms == topology.load("default").vms
    assert topology.load("default-1.3").generation.name == "1.3"
    assert topology.load("tiny", generation="1.6").generation.name == "1.6"
    hana = next(vm for vm in topology.load("default").vms if vm["name"] == "hana-prod")
    assert (hana["memory"], hana["namespace"], hana["node"], hana["hugepages"]) == ("3Ti", "sap-prod", "hana-a", "1Gi")


def test_stopped_vm_has_no_instance(tmp_path):
    path = tmp_path / "t.yml"
    path.write_text("vms: [{name: halted, memory: 1Gi}]\nnodes: [{prefix: n, count: 2, memory: 8Gi, cpus: 4, cordoned: true}]\n")
    store, wanted = filled(str(path))
    vm = store.list("virtualmachines.kubevirt.io")[0]
    assert store.list(VMI) == [] and vm["spec"]["runStrategy"] == "Halted" and vm["status"]["printableStatus"] == "Stopped"
    assert [node["spec"]["unschedulable"] for node in store.list("nodes")] == [True, True]


@pytest.mark.parametrize("text, said", [
    ("nodes: [{name: a, ram: 1Gi}]", "unknown keys: ram"), ("machines: []", "unknown keys: machines"), ("- a", "not one YAML mapping"),
    ("generation: '1.2'", "KubeVirt 1.2 cannot be rehearsed"), ("a: [", "does not parse"), ("start: yesterday", "yesterday"),
    ("vms: [{memory: 1Gi}]", "no name"), ("objects: [{kind: Node}, {apiVersion: v1}]", "no Kubernetes object"),
])
def test_bad_topologies_are_explained(tmp_path, text, said):
    path = tmp_path / "bad.yml"
    path.write_text(text)
    with pytest.raises(BadInput, match=said):
        topology.load(str(path))


def test_unknown_names_and_unreadable_objects():
    with pytest.raises(BadInput, match="Cannot read .*nonsense"):
        topology.load("nonsense")
    with pytest.raises(BadInput, match="Cannot read /nowhere.json"):
        topology.load(None, ["/nowhere.json"])


def exported(tmp_path):
    """A List as ``oc get -o json`` and as a raw API answer write them, with what a server sets."""
    meta = {"namespace": "sap", "resourceVersion": "77", "generation": 4, "creationTimestamp": "2025-01-01T00:00:00Z"}
    memory = {"guest": "64Gi", "hugepages": {"pageSize": "1Gi"}}
    claim = {"accessModes": ["ReadWriteMany"], "requests": {"storage": "1Ti"}}
    vmi = {
        "metadata": dict(meta, name="db", uid="u-vmi", labels={}),
        "spec": {"domain": {"devices": {}, "cpu": {"cores": 8, "dedicatedCpuPlacement": True}, "memory": memory},
                 "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "d"}}]},
        "status": {"nodeName": "host-1", "phase": "Running", "activePods": {"u-pod": "host-1"},
                   "volumeStatus": [{"name": "d", "persistentVolumeClaimInfo": claim}]},
    }
    labels = {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": "u-vmi"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": dict(meta, name="other", uid="u-pod", labels=labels),
           "spec": {"nodeName": "host-1", "containers": []}, "status": {"phase": "Running"}}
    (tmp_path / "a.json").write_text(json.dumps({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceList", "items": [vmi]}))
    (tmp_path / "b.yaml").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [pod]}))
    (tmp_path / "c.yml").write_text("kind: Node\nmetadata: {name: host-2, creationTimestamp: 2025-01-01T00:00:00Z}\nspec: {}\n"
                                    "status: {allocatable: {memory: 8Gi}, conditions: [{type: Ready, status: 'True'}]}\n")
    (tmp_path / "d.yaml").write_text("apiVersion: example.org/v1\nkind: Policy\nmetadata: {name: p, namespace: sap}\n"
                                     "---\napiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\n"
                                     "metadata: {name: torn, namespace: sap}\n")
    return [str(tmp_path)]


def test_exported_objects_are_completed(tmp_path):
    store, wanted = filled(None, objects=exported(tmp_path))
    vmi, pod = store.get(VMI, "sap", "db"), store.get("pods", "sap", "other")
    assert pod["metadata"]["labels"]["kubevirt.io/created-by"] == vmi["metadata"]["uid"] != "u-vmi"
    assert len(store.list("pods", "sap")) == 1  # it has its pod
    node = store.get("nodes", "", "host-1")
    assert int(node["status"]["allocatable"]["hugepages-1Gi"].rstrip("Gi")) >= 128
    assert node["metadata"]["labels"]["kubevirt.io/cpumanager"] == "true"
    assert store.get("nodes", "", "host-2")["status"]["allocatable"] == {"memory": "8Gi"}
    assert store.get("persistentvolumeclaims", "sap", "d")["spec"]["resources"]["requests"]["storage"] == "1Ti"
    assert {row["type"]: row["status"] for row in vmi["status"]["conditions"]}["LiveMigratable"] == "True"
    assert store.get("policies.example.org", "sap", "p") is not None
    assert len(store.list("pods", "openshift-cnv")) == 2
    assert wanted.notes == ["VirtualMachineInstance sap/torn was left out: a guest without spec.domain.devices cannot be played."]


def test_a_big_cluster_loads_in_seconds():
    began = time.process_time()
    store, wanted = filled("scale:40x2000")
    assert time.process_time() - began < 8
    assert len(store.list(VMI)) == 2000 and len(store.list("nodes")) == 40
    world = World(store, wanted.generation)
    assert {len(world.store.by_index(VMI, "node", node["metadata"]["name"])) for node in store.list("nodes")} == {50}


# -- the scheduler's rules ---------------------------------------------------------------


@pytest.fixture
def scheduler():
    store, wanted = filled("tiny")
    return Scheduler(World(store, wanted.generation))


def pod(**spec):
    metadata = {"name": "p", "namespace": "default", "uid": json.dumps(spec, sort_keys=True)}
    return {"metadata": metadata, "spec": dict({"containers": []}, **spec)}


def asking(**requests):
    return [{"name": "c", "resources": {"requests": requests}}]


def affinity(kind, **rule):
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}}}


@pytest.mark.parametrize("spec, why", [
    ({}, None),
    ({"nodeSelector": {"kubernetes.io/hostname": "node-a"}}, None),
    ({"nodeSelector": {"kubernetes.io/hostname": "node-b"}}, "node affinity/selector"),
    ({"containers": asking(memory="1Gi", cpu="500m")}, None),
    ({"containers": asking(memory="62Gi")}, "Insufficient memory"),
    ({"containers": asking(cpu="32")}, "Insufficient cpu"),
    ({"containers": asking(**{"hugepages-1Gi": "1Gi"})}, "Insufficient hugepages-1Gi"),
    ({"containers": asking(**{"x.com/gpu": "1"})}, "Insufficient x.com/gpu"),
    ({"affinity": affinity("nodeAffinity", key="kubevirt.io/schedulable", operator="In", values=["true"])}, None),
    ({"affinity": affinity("nodeAffinity", key="kubevirt.io/schedulable", operator="DoesNotExist")}, "node affinity/selector"),
    ({"affinity": affinity("nodeAffinity", key="missing", operator="Exists")}, "node affinity/selector"),
])
def test_what_a_node_refuses(scheduler, spec, why):
    found = scheduler.refusal(pod(**spec), scheduler.store.get("nodes", "", "node-a"))
    assert found is None if why is None else why in found


def test_taints_cordons_and_neighbours(scheduler):
    store = scheduler.store
    vmi = store.list(VMI)[0]
    term = {"labelSelector": {"matchLabels": {"kubevirt.io/created-by": vmi["metadata"]["uid"]}}, "topologyKey": "kubernetes.io/hostname"}
    apart = pod(affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
    beside = pod(affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
    a, b = (store.get("nodes", "", name) for name in ("node-a", "node-b"))
    assert "anti-affinity" in scheduler.refusal(apart, a) and scheduler.refusal(apart, b) is None
    assert scheduler.refusal(beside, a) is None and "pod affinity" in scheduler.refusal(beside, b)
    taint = {"key": "sap", "value": "hana", "effect": "NoSchedule"}
    tainted = dict(a, spec={"taints": [taint, dict(taint, key="soft", effect="PreferNoSchedule")]})
    assert "untolerated taint {sap: hana}" in scheduler.refusal(pod(), tainted)
    for toleration in (dict(taint, operator="Equal"), {"operator": "Exists"}, {"key": "sap", "operator": "Exists"}):
        assert scheduler.refusal(pod(tolerations=[toleration]), tainted) is None
    assert "untolerated" in scheduler.refusal(pod(tolerations=[{"key": "sap", "value": "other"}]), tainted)
    assert "unschedulable" in scheduler.refusal(pod(), dict(a, spec={"unschedulable": True}))
    assert "not-ready" in scheduler.refusal(pod(), dict(a, status=dict(a["status"], conditions=[{"type": "Ready", "status": "Unknown"}])))


def test_the_roomiest_node_is_taken(scheduler):
    fitting, refused = scheduler._sorted_out(pod(containers=asking(memory="1Gi")))
    assert [node["metadata"]["name"] for node in sorted(fitting, key=lambda node: scheduler._rank(pod(), node))] == ["node-b", "node-a"]
    assert refused == {}


def test_resources_of_the_definitions_are_what_the_store_serves():
    for generation in generations.GENERATIONS.values():
        for definition in kinds.definitions(generation):
            resource = crds.resource_of(definition)
            assert isinstance(resource, Resource) and resource.key == definition["metadata"]["name"]
            assert ("status" in resource.subresources) is (resource.key not in (VMI, "network-attachment-definitions.k8s.cni.cncf.io"))
