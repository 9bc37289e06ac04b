# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans meet the real scheduler: target pods as KubeVirt renders them, on nodes that KWOK plays.

50 seeded clusters, several at a time, each on nodes of its own that its guests select. What a plan says fits is bound to
the node it says, in the plan's order, while the source pods still stand, and no pod is ever Unschedulable; what it says
has no room is Unschedulable when it is tried all the same.
"""

from __future__ import annotations

import concurrent.futures
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
AT_A_TIME = 10  # with fewer than 100 nodes in all the scheduler looks at every one
SITE = "example.com/site"
POLL, PATIENCE = 0.3, 200  # seconds between two looks, and how many


class Seeded:
    """A cluster drawn from a seed, on the lab."""

    def __init__(self, cluster, seed):
        self.cluster, self.rng, self.seed = cluster, random.Random(seed), seed
        self.space, self.site = cluster.namespace(), "s%d" % seed
        self.names = ["s%d-%d" % (seed, number) for number in range(self.rng.randint(4, 7))]
        self.room = {}
        for name in self.names:
            self._node(name)
        self._until(self._nodes(), lambda node: any(
            row["type"] == "Ready" and row["status"] == "True" for row in node["status"].get("conditions", ())
        ) and not any(taint["key"].startswith("node.kubernetes.io/") for taint in node["spec"].get("taints", ())))
        for name in self.names:  # KWOK forgets a pod that came before its node
            self._handler(name)
        guests = {}
        for number in range(self.rng.randint(8, 16)):
            vmi, made = self._guest("vm-%02d" % number)
            guests[made] = vmi
        self.vmis, self.pods = [], {}
        found = self._until(self._path("pods"), _decided)
        for name, vmi in guests.items():  # where the scheduler would have them
            if found[name]["spec"].get("nodeName"):
                vmi["status"]["nodeName"] = found[name]["spec"]["nodeName"]
                self.vmis.append(vmi)
                self.pods[vmi["metadata"]["name"]] = found[name]
            else:
                self.remove(found[name])
        self._until(self._path("pods"), lambda pod: pod["status"]["phase"] == "Running")

    def _node(self, name):
        rng = self.rng
        memory, pages, cpus = rng.choice([64, 96, 128]), rng.choice([0, 0, 64]), rng.choice([16, 32])
        labels = {HOSTNAME: name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", "kubevirt.io/schedulable": "true",
                  "host-model-cpu.node.kubevirt.io/Icelake": "true", "cpu-model-migration.node.kubevirt.io/Icelake": "true",
                  "cpu-vendor.node.kubevirt.io/Intel": "true", "example.com/zone": rng.choice("ab"), "kubevirt.io/cpumanager": "true",
                  SITE: self.site}
        beat = datetime.datetime.fromtimestamp(time.time(), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        taints = [{"key": "example.com/big", "value": "true", "effect": "NoSchedule"}] if rng.random() < 0.15 else []
        have = {"cpu": str(cpus), "memory": "%dGi" % memory, "pods": "110", "ephemeral-storage": "100Gi", "hugepages-1Gi": "%dGi" % pages,
                "devices.kubevirt.io/kvm": "1k", "devices.kubevirt.io/tun": "1k", "devices.kubevirt.io/vhost-net": "1k"}
        self._made("/api/v1/nodes", {"metadata": {"name": name, "labels": labels, "annotations": {
            "kwok.x-k8s.io/node": "fake", "kubevirt.io/heartbeat": beat}}, "spec": {"taints": taints},
            "status": {"allocatable": have, "capacity": dict(have, memory="%dGi" % (memory + pages))}})
        self.room[name] = {"memory": (memory - 4) * GI, "hugepages-1Gi": pages * GI, "cpu": (cpus - 1) * 1000}

    def _handler(self, name):
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
        spec = {"architecture": "amd64", "evictionStrategy": "LiveMigrate", "domain": domain, "volumes": [],
                "nodeSelector": {SITE: self.site}}
        labels = {"app": rng.choice(["web", "db", "batch", "x%s" % name])}
        if rng.random() < 0.25:
            labels["pair"] = "p%d" % rng.randrange(3)
            spec["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"pair": labels["pair"]}}, "topologyKey": HOSTNAME}]}}
        if rng.random() < 0.25:
            spec["nodeSelector"]["example.com/zone"] = rng.choice("ab")
        if rng.random() < 0.3:
            spec["tolerations"] = [{"key": "example.com/big", "operator": "Exists", "effect": "NoSchedule"}]
        vmi = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
               "metadata": {"name": name, "namespace": self.space, "uid": "%s-%s" % (self.space, name), "labels": labels}, "spec": spec,
               "status": {"phase": "Running", "migrationMethod": "LiveMigration", "volumeStatus": [], "conditions": [
                   {"type": kind, "status": "True"} for kind in ("Ready", "LiveMigratable", "AgentConnected")]}}
        pod = self._clean(target_pods.launcher(vmi, GENERATION, KUBEVIRT["spec"]["configuration"]))
        pod["metadata"]["name"] = "virt-launcher-" + name
        return vmi, self._made(self._path("pods"), pod)["metadata"]["name"]

    def _path(self, what):
        return "/api/v1/namespaces/%s/%s" % (self.space, what)

    def _nodes(self):
        return "/api/v1/nodes?labelSelector=%s%%3D%s" % (SITE.replace("/", "%2F"), self.site)

    def _until(self, path, enough):
        """``{name: item}`` of a list, once all are as wanted; asked rarely, since many ask."""
        for _turn in range(PATIENCE):
            items = self.cluster.http("GET", path)[1]["items"]
            if all(map(enough, items)):
                return {item["metadata"]["name"]: item for item in items}
            time.sleep(POLL)
        raise AssertionError("%s: not so: %s" % (path, [item["metadata"]["name"] for item in items if not enough(item)]))

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
        nodes = self.cluster.http("GET", self._nodes())[1]["items"]
        return {"now": time.time(), "forbidden": [], "vmis": self.vmis, "vms": [], "vmims": [], "nodes": nodes, "pods": pods,
                "claims": [], "quotas": [], "kubevirts": [KUBEVIRT], "policies": [],
                "namespaces": self.cluster.http("GET", "/api/v1/namespaces")[1]["items"], "target_by_name": True,
                "hyperconverged_api": "v1"}

    def targets(self, *wanted):
        """Target pods of ``(guest, node or None)``, made in that order; the pods when the scheduler has decided."""
        nodes = {node["metadata"]["name"]: node for node in self.inventory()["nodes"]}
        made = [self._target(nodes, name, to) for name, to in wanted]
        found = self._until(self._path("pods"), _decided)
        return [found[name] for name in made]

    def _target(self, nodes, name, to):
        vmi = next(one for one in self.vmis if one["metadata"]["name"] == name)
        node = nodes[vmi["status"]["nodeName"]]
        vmim = {"metadata": {"name": "m-" + name, "uid": "%s-m-%s" % (self.space, name)},
                "spec": {"vmiName": name, "addedNodeSelector": {HOSTNAME: to} if to else {}}}
        pod = self._clean(target_pods.migration_target(
            vmi, vmim, self.pods[name], node, GENERATION, KUBEVIRT["spec"]["configuration"]))
        return self._made(self._path("pods"), pod)["metadata"]["name"]

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


def _decided(pod):
    rows = (pod.get("status") or {}).get("conditions") or []
    return pod["spec"].get("nodeName") or any(row["type"] == "PodScheduled" and row.get("reason") == "Unschedulable" for row in rows)


def asked():
    defaults = dict.fromkeys(rolling.Asked._fields)
    defaults.update(critical=(), acknowledged=(), hold=False, leave=(), bonds=bonds.NONE, avoid=(), back=False, rates={}, links={},
                    assumptions=())
    return rolling.Asked(**defaults)


class Came:
    """What came of the plans."""

    def __init__(self):
        self.moved, self.foreseen, self.without, self.wrong = 0, 0, 0, []

    def add(self, other):
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def tried(lab, seed):
    """Plan one cluster's fullest node and try every line of the plan."""
    here, came = Seeded(lab, seed), Came()
    load = {name: sum(1 for vmi in here.vmis if vmi["status"]["nodeName"] == name) for name in here.names}
    source = max(here.names, key=lambda name: (load[name], name))
    plan = rolling.one(here.inventory(), source, asked())[0]
    queue = [vm for wave in plan["waves"] for vm in wave["vms"]]
    if queue:  # what the scheduler takes by itself, as before KubeVirt 1.6
        free = here.targets((queue[0]["name"], None))[0]
        if free["spec"].get("nodeName") not in queue[0]["target_choices"]:
            came.wrong.append("%d: %s goes elsewhere" % (seed, queue[0]["name"]))
        unnamed = rolling.one(dict(here.inventory(), target_by_name=False, pods=[
            pod for pod in here.inventory()["pods"] if pod["metadata"]["name"] != free["metadata"]["name"]]), source, asked())[0]
        expected = {vm["name"]: vm["expected_node"] for wave in unnamed["waves"] for vm in wave["vms"]}
        came.foreseen += free["spec"].get("nodeName") == expected.get(queue[0]["name"])
        here.remove(free)
    for vm, landed in zip(queue, here.targets(*((vm["name"], vm["target_node"]) for vm in queue))):
        came.moved += 1
        if landed["spec"].get("nodeName") != vm["target_node"]:
            came.wrong.append("%d: %s for %s is %s" % (seed, vm["name"], vm["target_node"], landed["status"].get("conditions")))
    for row, pod in zip(plan["blocked"], here.targets(*((row["name"], None) for row in plan["blocked"]))):
        came.without += 1
        if pod["spec"].get("nodeName"):
            came.wrong.append("%d: %s was said to have no place (%s) and has one" % (seed, row["name"], ", ".join(row["codes"])))
    here.finish()
    return came


def test_target_pods_land_on_the_planned_node_and_none_is_unschedulable(cluster):
    lab, all_of = cluster(bare=True), Came()
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        for came in pool.map(lambda seed: tried(lab, seed), range(SEEDS)):
            all_of.add(came)
    print("%d target pods on %d clusters as planned, %d without room as planned; without a name %d of %d first ones where expected"
          % (all_of.moved, SEEDS, all_of.without, all_of.foreseen, SEEDS))
    assert all_of.wrong == [] and all_of.moved >= 2 * SEEDS and all_of.without >= 1
    assert all_of.foreseen >= 0.5 * SEEDS  # its balance of CPU and memory, and what it draws among equals, nobody foresees
