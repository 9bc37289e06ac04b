# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans meet the real scheduler: target pods as KubeVirt renders them, on nodes that KWOK plays.

50 seeded clusters. What a plan says fits is bound to the node it says, one pod after the other while the source pods still
stand, and no pod is ever Unschedulable; what it says has no room is Unschedulable when it is tried all the same.
"""

from __future__ import annotations

import datetime
import random
import time

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import bonds, rolling
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import generations
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import target_pods

pytestmark = pytest.mark.lab

GENERATION = generations.of("1.9")
HOSTNAME = "kubernetes.io/hostname"
GI = 1 << 30
KUBEVIRT = {"metadata": {"name": "kubevirt", "namespace": "kubevirt"},
            "spec": {"configuration": {"evictionStrategy": "LiveMigrate", "migrations": {
                "parallelMigrationsPerCluster": 10, "parallelOutboundMigrationsPerNode": 2}}},
            "status": {"observedKubeVirtVersion": "v1.9.0"}}
SEEDS = 50


class Seeded:
    """A cluster drawn from a seed, on the lab."""

    def __init__(self, cluster, seed):
        self.cluster, self.rng, self.seed = cluster, random.Random(seed), seed
        self.space = cluster.namespace()
        self.names = ["s%d-%d" % (seed, number) for number in range(self.rng.randint(4, 7))]
        self.room = {}
        for name in self.names:
            self._node(name)
        self.vmis, self.pods = [], {}
        for number in range(self.rng.randint(8, 16)):
            self._guest("vm-%02d" % number)
        for name in self.names:
            cluster.until("GET", "/api/v1/nodes/" + name, lambda code, data: any(
                row["type"] == "Ready" and row["status"] == "True" for row in data["status"].get("conditions", ())
            ) and not any(taint["key"].startswith("node.kubernetes.io/") for taint in data["spec"].get("taints", ())))
        cluster.until("GET", "/api/v1/namespaces/%s/pods" % self.space, lambda code, data: all(
            pod["status"]["phase"] == "Running" for pod in data["items"]))

    def _node(self, name):
        rng = self.rng
        memory, pages, cpus = rng.choice([64, 96, 128]), rng.choice([0, 0, 64]), rng.choice([16, 32])
        labels = {HOSTNAME: name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", "kubevirt.io/schedulable": "true",
                  "host-model-cpu.node.kubevirt.io/Icelake": "true", "cpu-model-migration.node.kubevirt.io/Icelake": "true",
                  "cpu-vendor.node.kubevirt.io/Intel": "true", "example.com/zone": rng.choice("ab"), "kubevirt.io/cpumanager": "true"}
        beat = datetime.datetime.fromtimestamp(time.time(), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        taints = [{"key": "example.com/big", "value": "true", "effect": "NoSchedule"}] if rng.random() < 0.15 else []
        have = {"cpu": str(cpus), "memory": "%dGi" % memory, "pods": "110", "hugepages-1Gi": "%dGi" % pages,
                "devices.kubevirt.io/kvm": "1k", "devices.kubevirt.io/tun": "1k", "devices.kubevirt.io/vhost-net": "1k"}
        self._made("/api/v1/nodes", {"metadata": {"name": name, "labels": labels, "annotations": {
            "kwok.x-k8s.io/node": "fake", "kubevirt.io/heartbeat": beat}}, "spec": {"taints": taints},
            "status": {"allocatable": have, "capacity": dict(have, memory="%dGi" % (memory + pages))}})
        self.room[name] = {"memory": (memory - 4) * GI, "hugepages-1Gi": pages * GI, "cpu": (cpus - 1) * 1000}
        self._made(self._path("pods"), {"metadata": {"name": "virt-handler-" + name, "labels": {
            "kubevirt.io": "virt-handler", "app.kubernetes.io/component": "kubevirt"}}, "spec": {
                "nodeName": name, "tolerations": [{"operator": "Exists"}], "containers": [
                    {"name": "virt-handler", "image": "virt-handler", "resources": {"requests": {"cpu": "10m", "memory": "325Mi"}}}]}})

    def _guest(self, name):
        rng = self.rng
        size, paged = rng.choice([2, 4, 8, 8, 16, 24]), rng.random() < 0.2
        domain = {"memory": dict({"guest": "%dGi" % size}, **({"hugepages": {"pageSize": "1Gi"}} if paged else {})),
                  "cpu": dict({"sockets": rng.choice([1, 2, 4])}, **({"dedicatedCpuPlacement": True} if rng.random() < 0.15 else {})),
                  "devices": {"interfaces": [{"name": "default"}]}}
        spec = {"architecture": "amd64", "evictionStrategy": "LiveMigrate", "domain": domain, "volumes": []}
        labels = {"app": rng.choice(["web", "db", "batch", "x%s" % name])}
        if rng.random() < 0.25:
            labels["pair"] = "p%d" % rng.randrange(3)
            spec["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"pair": labels["pair"]}}, "topologyKey": HOSTNAME}]}}
        if rng.random() < 0.25:
            spec["nodeSelector"] = {"example.com/zone": rng.choice("ab")}
        if rng.random() < 0.3:
            spec["tolerations"] = [{"key": "example.com/big", "operator": "Exists", "effect": "NoSchedule"}]
        vmi = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
               "metadata": {"name": name, "namespace": self.space, "uid": "%s-%s" % (self.space, name), "labels": labels}, "spec": spec,
               "status": {"phase": "Running", "migrationMethod": "LiveMigration", "volumeStatus": [], "conditions": [
                   {"type": kind, "status": "True"} for kind in ("Ready", "LiveMigratable", "AgentConnected")]}}
        pod = self._clean(target_pods.launcher(vmi, GENERATION, KUBEVIRT["spec"]["configuration"]))
        pod["metadata"]["name"] = "virt-launcher-" + name
        made = self._made(self._path("pods"), pod)  # the scheduler puts it where it would
        status, found, _headers = self.cluster.until("GET", self._path("pods/" + made["metadata"]["name"]), _decided)
        if not found["spec"].get("nodeName"):
            self.cluster.http("DELETE", self._path("pods/%s?gracePeriodSeconds=0" % made["metadata"]["name"]))
            return
        vmi["status"]["nodeName"] = found["spec"]["nodeName"]
        vmi["metadata"]["labels"] = dict(labels)
        self.vmis.append(vmi)
        self.pods[name] = found

    def _path(self, what):
        return "/api/v1/namespaces/%s/%s" % (self.space, what)

    def _made(self, path, body):
        status, said, _headers = self.cluster.http("POST", path, body)
        assert status == 201, said
        return said

    @staticmethod
    def _clean(pod):
        pod["metadata"].pop("ownerReferences", None)  # no VMIs here; the garbage collector would look for them
        pod.pop("status", None)
        return pod

    def inventory(self):
        """What ``cluster.inventory.collect`` would find."""
        pods = self.cluster.http("GET", self._path("pods"))[1]["items"]
        nodes = [node for node in self.cluster.http("GET", "/api/v1/nodes")[1]["items"] if node["metadata"]["name"] in self.names]
        return {"now": time.time(), "forbidden": [], "vmis": self.vmis, "vms": [], "vmims": [], "nodes": nodes, "pods": pods,
                "claims": [], "quotas": [], "kubevirts": [KUBEVIRT], "policies": [],
                "namespaces": self.cluster.http("GET", "/api/v1/namespaces")[1]["items"], "target_by_name": True,
                "hyperconverged_api": "v1"}

    def target(self, name, to=None):
        """A migration's target pod; the pod when the scheduler has decided."""
        vmi = next(one for one in self.vmis if one["metadata"]["name"] == name)
        node = next(one for one in self.inventory()["nodes"] if one["metadata"]["name"] == vmi["status"]["nodeName"])
        vmim = {"metadata": {"name": "m-" + name, "uid": "%s-m-%s" % (self.space, name)},
                "spec": {"vmiName": name, "addedNodeSelector": {HOSTNAME: to} if to else {}}}
        pod = self._clean(target_pods.migration_target(
            vmi, vmim, self.pods[name], node, GENERATION, KUBEVIRT["spec"]["configuration"]))
        made = self._made(self._path("pods"), pod)["metadata"]["name"]
        return self.cluster.until("GET", self._path("pods/" + made), _decided)[1]

    def remove(self, pod):
        """The pod is gone at once."""
        path = self._path("pods/" + pod["metadata"]["name"])
        self.cluster.http("DELETE", path + "?gracePeriodSeconds=0")
        self.cluster.until("GET", path, lambda code, data: code == 404)

    def finish(self):
        """The next cluster has its nodes for itself."""
        self.cluster.http("DELETE", self._path("pods?gracePeriodSeconds=0"))
        for name in self.names:
            self.cluster.http("DELETE", "/api/v1/nodes/" + name)
        self.cluster.http("DELETE", "/api/v1/namespaces/" + self.space)


def _decided(_code, pod):
    rows = (pod.get("status") or {}).get("conditions") or []
    return pod["spec"].get("nodeName") or any(row["type"] == "PodScheduled" and row.get("reason") == "Unschedulable" for row in rows)


def asked():
    defaults = dict.fromkeys(rolling.Asked._fields)
    defaults.update(critical=(), acknowledged=(), hold=False, leave=(), bonds=bonds.NONE, avoid=(), back=False, rates={}, links={},
                    assumptions=())
    return rolling.Asked(**defaults)


def test_target_pods_land_on_the_planned_node_and_none_is_unschedulable(cluster):
    lab, moved, foreseen, without, wrong = cluster(bare=True), 0, 0, 0, []
    for seed in range(SEEDS):
        here = Seeded(lab, seed)
        load = {name: sum(1 for vmi in here.vmis if vmi["status"]["nodeName"] == name) for name in here.names}
        source = max(here.names, key=lambda name: (load[name], name))
        plan = rolling.one(here.inventory(), source, asked())[0]
        queue = [vm for wave in plan["waves"] for vm in wave["vms"]]
        if queue:  # what the scheduler takes by itself, as before KubeVirt 1.6
            free = here.target(queue[0]["name"])
            if free["spec"].get("nodeName") not in queue[0]["target_choices"]:
                wrong.append("%d: %s goes elsewhere" % (seed, queue[0]["name"]))
            unnamed = rolling.one(dict(here.inventory(), target_by_name=False, pods=[
                pod for pod in here.inventory()["pods"] if pod["metadata"]["name"] != free["metadata"]["name"]]), source, asked())[0]
            expected = {vm["name"]: vm["expected_node"] for wave in unnamed["waves"] for vm in wave["vms"]}
            foreseen += free["spec"].get("nodeName") == expected.get(queue[0]["name"])
            here.remove(free)
        for vm in queue:
            landed = here.target(vm["name"], vm["target_node"])
            moved += 1
            if landed["spec"].get("nodeName") != vm["target_node"]:
                wrong.append("%d: %s for %s is %s" % (seed, vm["name"], vm["target_node"], landed["status"].get("conditions")))
        for row in plan["blocked"]:
            without += 1
            if here.target(row["name"])["spec"].get("nodeName"):
                wrong.append("%d: %s was said to have no place (%s) and has one" % (seed, row["name"], ", ".join(row["codes"])))
        here.finish()
    print("%d target pods on %d clusters as planned, %d without room as planned; without a name %d of %d first ones where expected"
          % (moved, SEEDS, without, foreseen, SEEDS))
    assert wrong == [] and moved >= 2 * SEEDS and without >= 1
    assert foreseen >= 0.5 * SEEDS  # its balance of CPU and memory, and what it draws among equals, nobody foresees
