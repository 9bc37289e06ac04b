# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests do with a lab that runs KubeVirt's own controllers: nodes that KWOK plays, VMs placed by the real scheduler."""

from __future__ import annotations

import contextlib
import time

from lab_cluster import CRDS, KEPT, SWEPT, LabCluster

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import crds, generations, kinds, objects
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import topology as topologies

GV = "kubevirt.io/v1"
RELEASE = "1.9"
LONGEST = 3.0
STAGE = {}  # what the lab holds now: topology, and what was seen once it was up
PASSING = ("kubevirt.io/heartbeat", "node.alpha.kubernetes.io/ttl", "volumes.kubernetes.io/controller-managed-attach-detach")
GIVEN = ("cpus", "hugepages", "dedicated_cpus", "machine_type", "model", "eviction_strategy", "node_selector", "tolerations",
         "affinity", "cpu_limit", "cpu_features")
HANDLERS = "/api/v1/namespaces/kubevirt/pods?labelSelector=kubevirt.io%3Dvirt-handler"
MACHINE = "pc-q35-rhel9.6.0"
KUBEVIRT = path_of(GV, "kubevirts", "kubevirt", "kubevirt")
POLICIES = path_of("migrations.kubevirt.io/v1alpha1", "migrationpolicies")
HCO = "hyperconvergeds.hco.kubevirt.io"
FAKE = {"kwok.x-k8s.io/node": "fake"}
MERGE = "application/merge-patch+json"


class KubevirtCluster(LabCluster):
    """One test's share: what it makes is gone when it is finished with, KubeVirt stays."""

    def __init__(self, said):
        super().__init__(said)
        self.generation = generations.of(RELEASE)
        self.nodes = []

    # -- making ------------------------------------------------------------------

    def load(self, name):
        """Nodes, VMs and settings of a topology of the embedded cluster's; what the last test left as it was is kept."""
        if STAGE.get("topology") == name and STAGE["seen"] == self._seen():
            return
        wanted = topologies.load(name, (), RELEASE)
        self.clear(nodes=STAGE.get("nodes") != wanted.nodes or STAGE["seen"]["nodes"] != self._seen()["nodes"])
        STAGE.clear()
        if wanted.live_migration:
            self.configure(**wanted.live_migration)
        there = {node["metadata"]["name"] for node in self.api.list("/api/v1/nodes").items}
        self.nodes = sorted(there)
        self.add_nodes(*[node for node in wanted.nodes if node["name"] not in there])
        for node in sorted({vm["node"] for vm in wanted.vms if vm.get("node")}):
            self.add_vms(node, *[vm for vm in wanted.vms if vm.get("node") == node])
        STAGE.update(topology=name, nodes=wanted.nodes, seen=self._seen())

    def _seen(self):
        """All that a test may have changed."""
        def part(path, *keys):
            found = {}
            for item in self.api.list(path).items:
                meta = item["metadata"]
                found[meta.get("namespace"), meta["name"]] = [meta["uid"]] + [
                    {k: v for k, v in (meta.get(key) or {}).items() if k not in PASSING} if key in ("labels", "annotations")
                    else (item.get("status") or {}).get(key) if key in ("migrationState", "evacuationNodeName", "phase", "nodeName")
                    else item.get(key) for key in keys]
            return found

        return {
            "nodes": part("/api/v1/nodes", "labels", "spec"), "vmims": part(path_of(GV, "virtualmachineinstancemigrations")),
            "vmis": part(path_of(GV, "virtualmachineinstances"), "labels", "annotations", "phase", "nodeName", "migrationState",
                         "evacuationNodeName"),
            "policies": part(POLICIES), "quotas": part("/api/v1/resourcequotas"), "kubevirt": part(path_of(GV, "kubevirts"), "spec"),
            "namespaces": part("/api/v1/namespaces", "labels"),
        }

    def add_nodes(self, *entries):
        """Nodes that KWOK plays, with virt-handler running on them; entries as in a topology."""
        for entry in entries:
            given = {key: value for key, value in entry.items() if value is not None}
            node = objects.node(generation=self.generation, number=len(self.nodes) + 1, since=_stamp(), **given)
            node["metadata"]["annotations"].update(FAKE)
            self.api.create("/api/v1/nodes", node)
            self.nodes.append(entry["name"])
        for entry in entries:
            self.until("GET", "/api/v1/nodes/" + entry["name"], lambda code, node: not _not_ready(node))
        names = {entry["name"] for entry in entries}
        self.until("GET", HANDLERS, lambda code, pods: names <= {
            pod["spec"].get("nodeName") for pod in pods["items"] if pod["status"].get("phase") == "Running"})

    def add_vms(self, node, *entries, wait=True):
        """VirtualMachines that run on a node, each with a disk; entries as in a topology."""
        with self.only(node):
            for entry in entries:
                self._vm({key: value for key, value in entry.items() if value is not None})
            for entry in entries if wait else ():
                self.until("GET", path_of(GV, "virtualmachineinstances", entry.get("namespace", "default"), entry["name"]),
                           lambda code, vmi: code == 200 and runs(vmi), seconds=60)

    def _vm(self, entry):
        name, namespace = entry["name"], entry.get("namespace", "default")
        self._namespace(namespace)
        disk = name + "-disk"
        self.add_claim(disk, namespace, (entry.get("access", "ReadWriteMany"),))
        given = {key: entry[key] for key in GIVEN if key in entry}
        spec = objects.guest_spec(name, entry["memory"], claim=disk, data_volume=False, **dict({"machine_type": MACHINE}, **given))
        spec.update(entry.get("spec") or {})
        if entry.get("bridge"):
            spec["domain"]["devices"]["interfaces"] = [{"name": "default", "bridge": {}}]
        knobs = objects.knobs(**{key: entry.get(key) for key in ("dirty_rate", "working_set", "zero_fraction", "fail")})
        vm = objects.virtual_machine(name, namespace, spec, entry.get("labels"), dict(knobs, **(entry.get("annotations") or {})))
        vm.pop("status")
        self.api.create(path_of(GV, "virtualmachines", namespace), vm)

    def _namespace(self, name):
        if self.http("GET", "/api/v1/namespaces/" + name)[0] == 404:
            self.api.create("/api/v1/namespaces", {"metadata": {"name": name}})
            self.settle(name)

    def add_claim(self, name, namespace, modes):
        """A bound claim and its volume."""
        claim = objects.claim(name, namespace, modes=modes)
        claim.pop("status")
        claim["metadata"].pop("annotations")  # binding is the real controller's
        claim["spec"].update(volumeName="pv-%s-%s" % (namespace, name), storageClassName="")
        self.api.create("/api/v1/persistentvolumes", {
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": claim["spec"]["volumeName"]}, "spec": {
                "capacity": claim["spec"]["resources"]["requests"], "accessModes": list(modes), "volumeMode": "Block",
                "csi": {"driver": "lab.bigvm.io", "volumeHandle": claim["spec"]["volumeName"]},
                "claimRef": {"namespace": namespace, "name": name}}})
        self.api.create(path_of("v1", "persistentvolumeclaims", namespace), claim)

    @contextlib.contextmanager
    def only(self, node):
        """Meanwhile the scheduler places on this node alone."""
        others = [name for name in self.nodes if name != node]
        for name in others:
            self.api.patch("/api/v1/nodes/" + name, {"spec": {"unschedulable": True}})
        yield
        for name in others:
            self.api.patch("/api/v1/nodes/" + name, {"spec": {"unschedulable": None}})
        for name in others:
            self.until("GET", "/api/v1/nodes/" + name, lambda code, found: not _not_ready(found))

    def configure(self, **migrations):
        """KubeVirt's live migration settings; None takes one back. virt-controller reads them a moment later."""
        self.api.patch(KUBEVIRT, {"spec": {"configuration": {"migrations": migrations}}})
        time.sleep(0.5)

    def wait(self, seconds):
        """Let real time pass, but not more than a few seconds: here a copy takes one."""
        time.sleep(min(seconds, LONGEST))

    def hyperconverged(self, folder=None):
        """Install HyperConverged: its definition, and one object whose settings the operators' stand-in carries to KubeVirt.

        :param folder: of the release's own definitions; without one the embedded cluster's is taken, which defaults alike.
            Only v1 is served: nobody converts here.
        """
        known = crds.load_folder(folder) if folder else kinds.definitions(self.generation)
        wanted = next(item for item in known if item["metadata"]["name"] == HCO)
        versions = [version for version in wanted["spec"]["versions"] if version["name"] == "v1"]
        wanted["spec"].update(versions=[dict(versions[0], storage=True)], conversion={"strategy": "None"})
        self.define(wanted)
        hco = self.api.create(path_of("hco.kubevirt.io/v1", "hyperconvergeds", "kubevirt"), {
            "apiVersion": "hco.kubevirt.io/v1", "kind": "HyperConverged", "metadata": {"name": objects.HCO_NAME}, "spec": {}})
        self.until("GET", path_of("hco.kubevirt.io/v1", "hyperconvergeds", "kubevirt", objects.HCO_NAME), lambda code, found: (
            found.get("status") or {}).get("observedGeneration") == hco["metadata"]["generation"])
        self.until("GET", KUBEVIRT, lambda code, found: (
            found["status"].get("observedGeneration") == found["metadata"]["generation"] and not_progressing(found)))

    def gates(self, *names):
        """Switch feature gates on."""
        self.api.patch(KUBEVIRT, {"spec": {"configuration": {"developerConfiguration": {"featureGates": list(names)}}}})
        time.sleep(0.5)

    def finish(self):
        """The next one clears up, if anything has changed."""

    def clear(self, nodes=True):
        """HyperConverged and guests first, so that KubeVirt itself cleans up; then the rest of it and what every lab sweeps."""
        if self.http("DELETE", "%s/%s" % (CRDS, HCO))[0] == 200:
            self.until("GET", "%s/%s" % (CRDS, HCO), lambda code, data: code == 404)
        self.api.patch(KUBEVIRT, {"spec": {"configuration": {"migrations": None, "evictionStrategy": "LiveMigrate"}}})
        for plural in ("virtualmachineinstancemigrations", "virtualmachines", "virtualmachineinstances"):
            for item in self.api.list(path_of(GV, plural)).items:
                self._delete(path_of(GV, plural, item["metadata"]["namespace"], item["metadata"]["name"]))
        for item in self.api.list(POLICIES).items:
            self._delete("%s/%s" % (POLICIES, item["metadata"]["name"]))
        for plural in ("virtualmachineinstances", "virtualmachineinstancemigrations"):
            self.until("GET", path_of(GV, plural), lambda code, data: not data["items"], seconds=60)
        self.http("PATCH", "/api/v1/namespaces/default", {"metadata": {"labels": None}}, content_type=MERGE)
        for path in SWEPT:
            if nodes or path != "/api/v1/nodes":
                self.http("DELETE", path)
        for name in self._namespaces():
            self.http("DELETE", "/api/v1/namespaces/%s/pods?gracePeriodSeconds=0" % name)
            self.http("DELETE", "/api/v1/namespaces/" + name)
        for kind in ("persistentvolumeclaims", "persistentvolumes"):
            for item in self.api.list("/api/v1/" + kind).items:  # nobody else takes the protection off in time
                path = path_of("v1", kind, item["metadata"].get("namespace"), item["metadata"]["name"])
                self.http("PATCH", path, {"metadata": {"finalizers": None}}, content_type=MERGE)
                self._delete(path)
        self.until("GET", "/api/v1/namespaces/default/pods", lambda code, data: not data["items"], seconds=60)
        self.until("GET", "/api/v1/namespaces", lambda code, data: not self._namespaces(), seconds=60)
        if nodes:
            self.until("GET", "/api/v1/nodes", lambda code, data: not data["items"], seconds=60)

    def _delete(self, path):
        try:
            self.api.delete(path)
        except errors.NotFound:
            pass

    def _namespaces(self):
        return [item["metadata"]["name"] for item in self.http("GET", "/api/v1/namespaces")[1]["items"]
                if item["metadata"]["name"] not in KEPT + ("kubevirt",)]


def runs(vmi):
    """Whether a guest runs and virt-controller says that it is ready."""
    status = vmi.get("status") or {}
    return status.get("phase") == "Running" and any(
        row["type"] == "Ready" and row["status"] == "True" for row in status.get("conditions") or [])


def not_progressing(found):
    """Whether a KubeVirt or HyperConverged says that all is rolled out."""
    return any(row["type"] == "Progressing" and row["status"] == "False" for row in found["status"].get("conditions") or [])


def _not_ready(node):
    return any(taint["key"].startswith("node.kubernetes.io/") for taint in node["spec"].get("taints") or [])


def _stamp():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
