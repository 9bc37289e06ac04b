# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pods that are no guests: what a drain finds on a node beside the virtual machines (the key ``pods`` of a topology)."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import objects
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.drainer import MIRROR
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.kubelet import (
    address,
    ended,
    running,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.workloads import pod_of

OWNED = ("ReplicaSet", "StatefulSet", "DaemonSet")
KINDS = OWNED + ("Mirror", "Bare", "Finished")


def add(store, entries):
    """Create the pods of a topology, running where it says, with their owners and budgets."""
    for entry in entries:
        _Group(store, entry).add()


class _Group:
    """One entry."""

    def __init__(self, store, entry):
        self.store = store
        self.entry = entry
        self.kind, self.name, self.namespace = entry.get("kind", "ReplicaSet"), entry["name"], entry["namespace"]
        self.labels = dict({"app": self.name}, **(entry.get("labels") or {}))
        on = entry.get("node") or [node["metadata"]["name"] for node in store.list("nodes")]
        self.nodes = on if isinstance(on, list) else [on]
        self.count = len(self.nodes) if self.kind == "DaemonSet" else int(entry.get("count") or 1)

    def add(self):
        """See :func:`add`."""
        if self.store.get("namespaces", "", self.namespace) is None:
            self.store.create("namespaces", objects.namespace(self.namespace))
        if self.entry.get("budget"):
            self.store.create("poddisruptionbudgets.policy", {
                "metadata": {"name": self.name, "namespace": self.namespace},
                "spec": dict(self.entry["budget"], selector={"matchLabels": self.labels})})
        owner = self._owner()
        taken = set()
        for index in range(self.count):
            pod = self._pod(owner, index, taken)
            pod["spec"]["nodeName"] = self.nodes[index % len(self.nodes)]
            made = self.store.create("pods", pod)
            taken.add(made["metadata"]["name"])
            self.store.modify("pods", self.namespace, made["metadata"]["name"], self._started)

    def _started(self, pod):
        now = self.store.timestamp()
        running(pod, now, address(pod["metadata"]["uid"]))
        if self.kind == "Finished":
            ended(pod, "Succeeded", now)

    def _spec(self):
        asked = {"cpu": str(self.entry.get("cpus", "100m")), "memory": str(self.entry.get("memory", "128Mi"))}
        spec = {"containers": [{"name": "main", "image": self.name, "resources": {"requests": asked}}],
                "terminationGracePeriodSeconds": int(self.entry.get("grace", 30)), "restartPolicy": "Always"}
        if self.entry.get("empty_dir"):
            spec["volumes"] = [{"name": "scratch", "emptyDir": {}}]
        if self.kind == "DaemonSet":
            spec["tolerations"] = [{"operator": "Exists"}]
        if self.kind == "Finished":
            spec["restartPolicy"] = "Never"
        return spec

    def _owner(self):
        if self.kind not in OWNED:
            return None
        return self.store.create(self.kind.lower() + "s.apps", {
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": self.labels},
            "spec": {"replicas": self.count, "selector": {"matchLabels": self.labels},
                     "template": {"metadata": {"labels": self.labels}, "spec": self._spec()}},
            "status": {"replicas": self.count, "readyReplicas": self.count, "availableReplicas": self.count}})

    def _pod(self, owner, index, taken):
        if owner is not None:
            return pod_of(owner, taken)
        node = self.nodes[index % len(self.nodes)]
        name = "%s-%s" % (self.name, node) if self.kind == "Mirror" else "%s-%d" % (self.name, index)
        notes = {MIRROR: "0"} if self.kind == "Mirror" else {}
        meta = {"name": name, "namespace": self.namespace, "labels": self.labels, "annotations": notes}
        if self.kind == "Mirror":
            found = self.store.get("nodes", "", node)
            meta["ownerReferences"] = [objects.owner(found)]
        return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": self._spec(), "status": {"phase": "Pending"}}
