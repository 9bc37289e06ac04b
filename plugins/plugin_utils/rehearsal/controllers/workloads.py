# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ReplicaSets and StatefulSets, as far as a drain meets them: what was evicted appears elsewhere."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    Loop,
    has_condition,
    is_active,
    is_deleted,
    key_of,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.objects import owner

PLURALS = {"ReplicaSet": "replicasets.apps", "StatefulSet": "statefulsets.apps"}
LAG = 1.0


class Workloads:
    """Keeps as many pods as an owner wants; only of owners that are there."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self.loop = Loop(world, self._fill)
        self.store.on_event("pods", self._pod)
        for plural in PLURALS.values():
            self.store.on_event(plural, lambda kind, obj, old, plural=plural: self.loop.add((plural,) + key_of(obj), LAG)
                                if kind != "DELETED" else None)

    def _pod(self, kind, pod, old):
        for reference in pod["metadata"].get("ownerReferences") or ():
            if reference.get("kind") in PLURALS and reference.get("controller"):
                self.loop.add((PLURALS[reference["kind"]], pod["metadata"]["namespace"], reference["name"]), LAG)

    def _fill(self, key):
        found = self.store.get(*key)
        if found is None or is_deleted(found):
            return
        pods = [pod for pod in self.store.list("pods", key[1]) if is_active(pod) and any(
            row.get("uid") == found["metadata"]["uid"] for row in pod["metadata"].get("ownerReferences") or ())]
        # A ReplicaSet does not wait for the end of a pod that it replaces; a StatefulSet does.
        counted = pods if found["kind"] == "StatefulSet" else [pod for pod in pods if not is_deleted(pod)]
        wanted = int((found.get("spec") or {}).get("replicas", 1))
        for index in range(wanted - len(counted)):
            self.store.create("pods", pod_of(found, {pod["metadata"]["name"] for pod in pods}, index))
        ready = sum(1 for pod in pods if has_condition(pod, "Ready") and not is_deleted(pod))
        self.store.modify(*key, lambda new: new.setdefault("status", {}).update(
            replicas=len(counted), readyReplicas=ready, availableReplicas=ready))


def pod_of(found, taken=(), index=0):
    """The next pod (dict) of a ReplicaSet, StatefulSet or DaemonSet that is in the store."""
    meta, template = found["metadata"], found["spec"]["template"]
    name = {"generateName": meta["name"] + "-"}
    if found["kind"] == "StatefulSet":
        free = [number for number in range(len(taken) + index + 1) if "%s-%d" % (meta["name"], number) not in taken]
        name = {"name": "%s-%d" % (meta["name"], free[min(index, len(free) - 1)])}
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": dict(name, namespace=meta["namespace"], ownerReferences=[owner(found)],
                         labels=dict((template.get("metadata") or {}).get("labels") or {}),
                         annotations=dict((template.get("metadata") or {}).get("annotations") or {})),
        "spec": dict(template["spec"]), "status": {"phase": "Pending", "qosClass": "Burstable"},
    }
