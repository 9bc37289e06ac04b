# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The node maintenance operator (medik8s): an object makes it cordon, taint and drain a node; its deletion ends that."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import drainer
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    Loop,
    is_deleted,
    key_of,
)

KIND = "nodemaintenances.nodemaintenance.medik8s.io"
FINALIZER = "foregroundDeleteNodeMaintenance"
TAINT = {"key": "medik8s.io/drain", "effect": "NoSchedule"}
EXCLUDED = "remediation.medik8s.io/exclude-from-remediation"
LAG = 1.0


class Actor:
    """Its controller."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self._drains = {}
        self.loop = Loop(world, self._look)
        self.store.on_event(KIND, lambda kind, obj, old: self.loop.add(key_of(obj), LAG))
        for found in self.store.list(KIND):
            self.loop.add(key_of(found), LAG)

    def _look(self, key):
        found = self.store.get(KIND, *key)
        if found is None:
            return
        if is_deleted(found):
            self._end(found)
        elif key not in self._drains:
            self._begin(found)

    def _begin(self, found):
        key, node = key_of(found), (found.get("spec") or {}).get("nodeName")
        if self.store.get("nodes", "", node) is None:
            self._report(key, phase="Failed", lastError="failed to find node %s" % node)
            return
        self.store.modify(KIND, *key, lambda new: new["metadata"].update(finalizers=[FINALIZER]))

        def taken(new):
            new["metadata"].setdefault("labels", {})[EXCLUDED] = "true"
            taints = new["spec"].setdefault("taints", [])
            if all(row.get("key") != TAINT["key"] for row in taints):
                taints.append(dict(TAINT))

        self.store.modify("nodes", "", node, taken)
        drainer.cordon(self.store, node)
        total = max(1, len(drainer.pods_to_go(self.store, node)))

        def looked(left):
            self._report(key, phase="Running", totalpods=total, evictionPods=len(left),
                         pendingPods=[key_of(pod)[1] for pod in left], drainProgress=100 * (total - len(left)) // total)

        def drained():
            self._report(key, phase="Succeeded", drainProgress=100, pendingPods=[], evictionPods=0)

        self._drains[key] = drainer.Drain(self.world, node, drained, looked)

    def _end(self, found):
        key, node = key_of(found), (found.get("spec") or {}).get("nodeName")
        if key in self._drains:
            self._drains.pop(key).stop()

            def freed(new):
                (new["metadata"].get("labels") or {}).pop(EXCLUDED, None)
                new["spec"]["taints"] = [row for row in new["spec"].get("taints") or [] if row.get("key") != TAINT["key"]]
                if not new["spec"]["taints"]:
                    del new["spec"]["taints"]

            self.store.modify("nodes", "", node, freed)
            if self.store.get("nodes", "", node) is not None:
                drainer.cordon(self.store, node, False)
        self.store.modify(KIND, *key, lambda new: new["metadata"].pop("finalizers", None))

    def _report(self, key, **values):
        now = self.world.stamp()

        def reported(new):
            before = {name: (new.get("status") or {}).get(name) for name in values}
            if before != values:
                new.setdefault("status", {}).update(values, lastUpdate=now)

        self.store.modify(KIND, *key, reported)
