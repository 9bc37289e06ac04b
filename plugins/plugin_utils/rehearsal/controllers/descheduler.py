# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The descheduler: at its interval it evicts one guest from the fullest node when another one is nearly empty.

A KubeDescheduler with ``spec.mode: Automatic`` acts (``Predictive``, the default, only thinks), every
``deschedulingIntervalSeconds``; what its evictions carry makes KubeVirt call the migration system-maintenance
(facts 7.3). Full and nearly empty are the LowNodeUtilization profile's 50 and 20 percent of the memory.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.target_pod import quantity
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.evacuation import DESCHEDULER
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    has_condition,
    is_active,
    is_deleted,
    key_of,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.status import ApiStatus

KIND = "kubedeschedulers.operator.openshift.io"
USUAL = 3600
FULL, EMPTY = 0.5, 0.2
SPARED = "descheduler.alpha.kubernetes.io/prefer-no-eviction"
POOLS = ("memory", "hugepages-1Gi", "hugepages-2Mi")


class Actor:
    """Its operator and its rounds."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self._turns = {}
        self.store.on_event(KIND, self._changed)
        for found in self.store.list(KIND):
            self._changed("ADDED", found, None)

    def _changed(self, kind, found, old):
        if kind != "DELETED" and (old is None or found.get("spec") != old.get("spec")):
            turn = self._turns[key_of(found)] = self._turns.get(key_of(found), 0) + 1
            self._later(key_of(found), turn)

    def _later(self, key, turn):
        found = self.store.get(KIND, *key)
        if found is not None and self._turns[key] == turn:
            seconds = float((found.get("spec") or {}).get("deschedulingIntervalSeconds") or USUAL)
            self.world.after(seconds, lambda: self._round(key, turn))

    def _round(self, key, turn):
        found = self.store.get(KIND, *key)
        if found is None or self._turns[key] != turn:
            return
        spec = found.get("spec") or {}
        if spec.get("mode") == "Automatic" and spec.get("managementState", "Managed") == "Managed":
            self._relieve()
        self._later(key, turn)

    def _relieve(self):
        nodes = [node for node in self.store.list("nodes") if has_condition(node, "Ready")]
        shares = {node["metadata"]["name"]: self._used(node) for node in nodes}
        empty = [node for node in nodes if shares[node["metadata"]["name"]] < EMPTY and not node["spec"].get("unschedulable")]
        for name in sorted(shares, key=lambda name: (-shares[name], name)) if empty else ():
            if shares[name] > FULL and self._evict_one(name):
                return

    def _used(self, node):
        """The share of a node's memory, huge pages included, that is asked for."""
        free, has = self.world.scheduler.free(node), (node.get("status") or {}).get("allocatable") or {}
        whole = sum(quantity(has.get(pool)) for pool in POOLS)
        return 1.0 - sum(max(0, free.get(pool, 0)) for pool in POOLS) / whole if whole else 0.0

    def _evict_one(self, node):
        body = {"metadata": {"annotations": {"requested-by": DESCHEDULER}}}
        for pod in sorted(self.store.by_index("pods", "node", node), key=key_of):
            notes = pod["metadata"].get("annotations") or {}
            if (pod["metadata"].get("labels") or {}).get("kubevirt.io") != "virt-launcher" or SPARED in notes or is_deleted(
                    pod) or not is_active(pod):
                continue
            try:
                self.world.evacuation.evict(key_of(pod), body)
            except ApiStatus as exc:
                if "Eviction triggered evacuation" not in exc.message or "in progress" in exc.message:
                    continue
            return True
        return False
