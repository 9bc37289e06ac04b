# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Those who write MachineConfigs for others: the kubelet-config controller and the node tuning operator.

Facts/preparation 2: a KubeletConfig becomes ``99-<pool>-generated-kubelet`` for each pool whose labels its selector
matches (an empty selector matches none), a field that the operator keeps for itself is refused in a condition; a
PerformanceProfile becomes ``50-performance-<name>`` with pages as kernel arguments where no NUMA node is given, and a
KubeletConfig; a Tuned object with a bootloader section becomes ``50-nto-<pool>``.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import machine_config_content
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.machine_config import (
    CONFIGS,
    GROUP,
    POOLS,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.scheduler import selects
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import set_condition
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.platform_kinds import serve

KUBELETS = "kubeletconfigs.machineconfiguration.openshift.io"
ROLE = GROUP + "role"
KEPT = ("cgroupDriver", "clusterDNS", "clusterDomain", "featureGates", "failSwapOn", "swapBehavior")
SOON = 2.0  # seconds until a controller has seen it


class _Writer:
    """Watches one kind and writes MachineConfigs."""

    kind = ""

    def __init__(self, world):
        self.world, self.store = world, world.store
        self._made = {}  # name of an object -> (kind, name) of what was written for it, and goes with it
        self.store.on_event(self.kind, self._event)
        for obj in self.store.list(self.kind):
            world.after(SOON, lambda obj=obj: self._seen(obj["metadata"]))

    def _event(self, kind, obj, old):
        if kind == "DELETED":
            for key, name in self._made.pop(obj["metadata"]["name"], ()):
                self.world.after(SOON, lambda key=key, name=name: self._gone(key, name))
        elif old is None or old.get("spec") != obj.get("spec"):
            self.world.after(SOON, lambda: self._seen(obj["metadata"]))

    def _seen(self, meta):
        obj = self.store.get(self.kind, meta.get("namespace") or "", meta["name"])
        if obj is not None:
            self._made[meta["name"]] = set()
            self.made(obj)

    def _gone(self, key, name):
        if self.store.get(key, "", name) is not None:
            self.store.delete(key, "", name)

    def write(self, obj, key, name, body):
        """Create what belongs to an object, or bring its spec up to date."""
        self._made[obj["metadata"]["name"]].add((key, name))
        if key not in self.store.resources:
            serve(self.store, body["kind"])
        if self.store.get(key, "", name) is None:
            self.store.create(key, dict(body, metadata=dict(body["metadata"], name=name)))
        else:
            self.store.modify(key, "", name, lambda new: new.update(spec=body["spec"]))

    def config(self, obj, name, pool, spec):
        """A MachineConfig for a pool."""
        self.write(obj, CONFIGS, name, {
            "apiVersion": GROUP + "v1", "kind": "MachineConfig", "metadata": {"labels": {ROLE: pool}}, "spec": spec})

    def pools(self, selector):
        """Names of the pools that a selector of labels matches; an empty one matches none."""
        rows = self.store.list(POOLS) if POOLS in self.store.resources and selector else []
        return [pool["metadata"]["name"] for pool in rows if selects(selector, pool["metadata"].get("labels") or {})]


class KubeletConfigs(_Writer):
    """The machine-config operator's kubelet-config controller."""

    kind = KUBELETS

    def made(self, obj):
        """Write the kubelet's configuration into a MachineConfig."""
        fields = obj["spec"].get("kubeletConfig") or {}
        wrong = sorted(set(fields) & set(KEPT))
        if not wrong:
            for pool in self.pools(obj["spec"].get("machineConfigPoolSelector")):
                self.config(obj, "99-%s-generated-kubelet" % pool, pool, {"config": machine_config_content.kubelet_file(fields)})
        text = "Error: KubeletConfiguration: %s is not allowed to be set" % ", ".join(wrong) if wrong else "Success"
        self.store.modify(self.kind, "", obj["metadata"]["name"], lambda new: set_condition(
            new, "Failure" if wrong else "Success", True, "", text, self.world.stamp()))


class PerformanceProfiles(_Writer):
    """The node tuning operator, for PerformanceProfiles."""

    kind = "performanceprofiles.performance.openshift.io"

    def made(self, obj):
        """Pages and IOMMU as kernel arguments, the rest as a KubeletConfig."""
        name, spec = obj["metadata"]["name"], obj["spec"]
        selector = {"matchLabels": spec.get("machineConfigPoolSelector") or {}}
        rows = (spec.get("hugepages") or {}).get("pages") or []
        arguments = ["intel_iommu=on", "iommu=pt"]
        if rows:
            # With NUMA nodes a unit writes them before the kubelet starts; what the node then has is the same.
            arguments += ["default_hugepagesz=1G", "hugepagesz=1G", "hugepages=%d" % sum(row["count"] for row in rows)]
        for pool in self.pools(selector):
            self.config(obj, "50-performance-" + name, pool, {"kernelArguments": arguments + (spec.get("additionalKernelArgs") or [])})
        self.write(obj, KUBELETS, "performance-" + name, {
            "apiVersion": GROUP + "v1", "kind": "KubeletConfig", "metadata": {}, "spec": {
                "machineConfigPoolSelector": selector, "kubeletConfig": {
                    "cpuManagerPolicy": "static", "cpuManagerReconcilePeriod": "5s",
                    "reservedSystemCPUs": (spec.get("cpu") or {}).get("reserved"),
                    "topologyManagerPolicy": (spec.get("numa") or {}).get("topologyPolicy") or "best-effort"}}})


class Tuneds(_Writer):
    """The node tuning operator, for the bootloader section of a recommended profile."""

    kind = "tuneds.tuned.openshift.io"

    def made(self, obj):
        """Kernel arguments of the profile that is recommended for a pool."""
        profiles = {row.get("name"): row.get("data") or "" for row in obj["spec"].get("profile") or []}
        for row in obj["spec"].get("recommend") or []:
            pool = (row.get("machineConfigLabels") or {}).get(ROLE)
            lines = profiles.get(row.get("profile"), "").splitlines()
            found = [word for line in lines if line.startswith("cmdline_") for word in line.partition("=")[2].split()]
            if pool and found:
                self.config(obj, "50-nto-" + pool, pool, {"kernelArguments": found})
