# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A PodDisruptionBudget for every guest that evictions would move, up to release 1.5 (facts 7.2).

One pod must stay; two while the guest is migrated, and no target pod is created
before the disruption controller has taken note of that.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.budgets import BUDGETS
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.evacuation import strategy_of
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    CREATED_BY,
    FINAL,
    VMI,
    VMIM,
    Loop,
    has_condition,
    is_active,
    is_deleted,
    key_of,
    phase_of,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.objects import owner

MIGRATION = "kubevirt.io/migrationName"  # label of a raised budget


class GuestBudgets:
    """Keeps the budgets; :class:`~.virt_controller.Migrations` asks it before it creates a target pod."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self.loop = Loop(world, self._keep, (0.3, 1.0))
        self.store.index(BUDGETS, "guest", lambda budget: [(budget["metadata"].get("namespace"), _owner_of(budget).get("name"))])
        self.store.on_event(VMI, lambda kind, vmi, old: self.loop.add(key_of(vmi)))
        self.store.on_event(VMIM, self._migration)
        self.store.on_event("pods", self._pod)
        self.store.on_event(BUDGETS, self._budget)
        for vmi in self.store.list(VMI):
            self._keep(key_of(vmi))

    def protected(self, vmim, vmi):
        """Whether both pods of this migration are protected; if not, it is seen to.

        What changes then wakes the migration.
        """
        if not self._wanted(vmi):
            return True
        budget = self._of(vmi)
        if budget is None:
            self.loop.add(key_of(vmi))
            return False
        name = vmim["metadata"]["name"]
        if budget["spec"]["minAvailable"] != 2 or _migration_of(budget) != name:
            def raised(new):
                new["spec"]["minAvailable"] = 2
                new["metadata"].setdefault("labels", {})[MIGRATION] = name

            budget = self.store.modify(BUDGETS, *key_of(budget), raised)
        state = budget.get("status") or {}
        return state.get("desiredHealthy") == 2 and state.get("observedGeneration") == budget["metadata"]["generation"]

    # -- what makes it look ----------------------------------------------------

    def _migration(self, kind, vmim, old):
        if kind == "DELETED" or phase_of(vmim) in FINAL:
            self.loop.add((vmim["metadata"]["namespace"], vmim["spec"].get("vmiName")))

    def _pod(self, kind, pod, old):
        uid = (pod["metadata"].get("labels") or {}).get(CREATED_BY)
        vmi = self.world.vmi_of_uid(uid) if uid and (kind == "DELETED" or not is_active(pod)) else None
        if vmi is not None:
            self.loop.add(key_of(vmi))

    def _budget(self, kind, budget, old):
        if kind == "ADDED":
            return  # our own
        vmi = self.world.vmi_of_uid(_owner_of(budget).get("uid"))
        if vmi is not None and (kind == "DELETED" or budget["spec"]["minAvailable"] != 1):
            self.loop.add(key_of(vmi))
            self.world.migrations.look_at(vmi)

    # -- keeping -----------------------------------------------------------------

    def _wanted(self, vmi):
        strategy = strategy_of(vmi, self.world.config())
        return strategy in ("LiveMigrate", "External") or (
            strategy == "LiveMigrateIfPossible" and not has_condition(vmi, "LiveMigratable", "False"))

    def _of(self, vmi):
        return next((budget for budget in self.store.by_index(BUDGETS, "guest", key_of(vmi))
                     if _owner_of(budget).get("uid") == vmi["metadata"]["uid"]), None)

    def _keep(self, key):
        vmi = self.store.get(VMI, *key)
        alive = vmi is not None and not is_deleted(vmi) and phase_of(vmi) not in FINAL
        uid = vmi["metadata"]["uid"] if alive and self._wanted(vmi) else None
        for budget in list(self.store.by_index(BUDGETS, "guest", key)):
            if _owner_of(budget).get("uid") != uid:
                self.store.delete(BUDGETS, *key_of(budget))
        if uid is None:
            return
        budget = self._of(vmi)
        if budget is None:
            made = self.store.create(BUDGETS, _budget_of(vmi))
            self.world.event(vmi, "SuccessfulCreate", "created PodDisruptionBudget %s" % made["metadata"]["name"],
                             component="disruptionbudget-controller")
        elif budget["spec"]["minAvailable"] != 1 and self._is_over(vmi, _migration_of(budget)):
            self.store.modify(BUDGETS, *key_of(budget), _lowered)

    def _is_over(self, vmi, name):
        """Whether the migration for which the budget was raised has ended, its pod included."""
        if not name:
            return False  # somebody else raised it
        vmim = self.store.get(VMIM, vmi["metadata"]["namespace"], name)
        return vmim is None or (phase_of(vmim) in FINAL and len(
            [pod for pod in self.world.pods_of(vmi) if is_active(pod)]) == 1)


def _budget_of(vmi):
    return {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"generateName": "kubevirt-disruption-budget-", "namespace": vmi["metadata"]["namespace"],
                     "ownerReferences": [owner(vmi)]},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {CREATED_BY: vmi["metadata"]["uid"]}}},
    }


def _lowered(budget):
    budget["spec"]["minAvailable"] = 1
    budget["metadata"].get("labels", {}).pop(MIGRATION, None)


def _migration_of(budget):
    return (budget["metadata"].get("labels") or {}).get(MIGRATION)


def _owner_of(budget):
    """The reference to the guest that a budget of KubeVirt's protects, else ``{}``."""
    references = budget["metadata"].get("ownerReferences") or ()
    return next((row for row in references if row.get("kind") == "VirtualMachineInstance"), {})
