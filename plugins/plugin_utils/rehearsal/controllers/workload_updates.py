# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Workload updates: guests in an outdated launcher, and those that need a migration for a hotplug, are moved (facts 7.6).

KubeVirt's annotation ``rehearsal.bigvm.io/launcher`` names the release that launchers should be of: what an update of
the operator does to guests. Guests of another one get the label of outdated launchers, and are counted.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.backoff import WORKLOAD_UPDATE
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    FINAL,
    KUBEVIRT,
    OUTDATED,
    VMI,
    VMIM,
    Loop,
    has_condition,
    is_active,
    is_deleted,
    key_of,
    knob,
    phase_of,
)

PREFIX = "kubevirt-workload-update-"
PACE = 5.0  # seconds between two rounds
HOTPLUG = ("HotVCPUChange", "HotMemoryChange")
VOLUMES, REQUIRED = "VolumesChange", "MigrationRequired"


class WorkloadUpdates:
    """The workload updater, and what marks outdated guests."""

    def __init__(self, world, migrations):
        self.world = world
        self.store = world.store
        self.migrations = migrations
        self.loop = Loop(world, self._round, (0.5, 2.0))
        self._last = float("-inf")
        self._more = False  # some wait for room
        self.store.on_event(VMI, self._vmi)
        self.store.on_event(VMIM, self._migration)
        self.store.on_event(KUBEVIRT, self._kubevirt)
        if any(self._reason(vmi) for vmi in self.store.list(VMI)):
            self._soon()

    # -- what makes it look ------------------------------------------------------

    def _vmi(self, kind, vmi, old):
        before = old is not None and (self._reason(old), OUTDATED in (old["metadata"].get("labels") or {}))
        after = kind != "DELETED" and (self._reason(vmi), OUTDATED in (vmi["metadata"].get("labels") or {}))
        if before != after and (any(before or ()) or any(after or ())):
            self._soon()

    def _migration(self, kind, vmim, old):
        if kind == "DELETED" or phase_of(vmim) in FINAL:
            vmi = self.world.vmi(vmim["metadata"]["namespace"], vmim["spec"].get("vmiName"))
            if self._more or (vmi is not None and self._reason(vmi)):
                self._soon()

    def _kubevirt(self, kind, kubevirt, old):
        if kind == "DELETED":
            return
        if knob(kubevirt, "launcher") != (knob(old, "launcher") if old is not None else None):
            self._mark(knob(kubevirt, "launcher"))
        if self._last > float("-inf") and old is not None and _settled(kubevirt) and not _settled(old):
            self._soon()

    def _mark(self, release):
        """virt-controller's new release sees which launchers are of an older one."""
        for vmi in self.store.list(VMI):
            image = (vmi.get("status") or {}).get("launcherContainerImageVersion")
            if image and phase_of(vmi) == "Running":
                old = bool(release) and image != "virt-launcher:" + release
                self.world.change_vmi(vmi, lambda new, old=old: _labelled(new, old))

    def _soon(self):
        self.loop.add("", max(self.world.between(0.5, 2.0), self._last + PACE - self.world.now()))

    # -- a round -------------------------------------------------------------------

    def _reason(self, vmi):
        """Why a guest should be moved: ``outdated``, ``hotplug``, ``volumes``, or None."""
        if phase_of(vmi) != "Running" or is_deleted(vmi):
            return None
        if any(has_condition(vmi, kind) for kind in HOTPLUG) or (
                self.world.generation.update_migration_required and has_condition(vmi, REQUIRED)):
            return "hotplug"
        if has_condition(vmi, VOLUMES):
            return "volumes"
        return "outdated" if OUTDATED in (vmi["metadata"].get("labels") or {}) else None

    def _round(self, _key):
        self._last = self.world.now()
        kubevirt = self.world.kubevirt()
        if kubevirt is None:
            return
        guests = self.store.list(VMI)
        self._count(kubevirt, sum(OUTDATED in (vmi["metadata"].get("labels") or {}) for vmi in guests))
        methods = ((kubevirt.get("spec") or {}).get("workloadUpdateStrategy") or {}).get("workloadUpdateMethods") or []
        if "LiveMigrate" not in methods or not _settled(kubevirt):
            return  # looked at again when it has settled
        unfinished = self.store.by_index(VMIM, "open", True)
        self._withdraw(unfinished)
        room = self.world.settings()["parallel_migrations_per_cluster"] - len(unfinished)
        waiting = [vmi for vmi in guests if self._reason(vmi) and self._may(vmi)]
        ready = [vmi for vmi in waiting if len([pod for pod in self.world.pods_of(vmi) if is_active(pod)]) == 1]
        self._more = len(ready) > room
        for vmi in sorted(ready, key=key_of)[:max(0, room)]:
            priority = "system-critical" if self._reason(vmi) == "outdated" else "user-triggered"
            self.migrations.create(vmi, PREFIX, {WORKLOAD_UPDATE: ""}, priority)
        if len(waiting) > len(ready):
            self._soon()  # the pod of the last attempt is still there

    def _may(self, vmi):
        return not has_condition(vmi, "LiveMigratable", "False") and not any(
            phase_of(vmim) not in FINAL for vmim in self.store.by_index(VMIM, "vmi", key_of(vmi)))

    def _withdraw(self, unfinished):
        """Its own migration of a guest that no longer needs one, unless the guest is in flight already."""
        for vmim in list(unfinished):
            if WORKLOAD_UPDATE in (vmim["metadata"].get("annotations") or {}) and not is_deleted(vmim) and phase_of(
                    vmim) in ("", "Pending"):
                vmi = self.world.vmi(vmim["metadata"]["namespace"], vmim["spec"].get("vmiName"))
                if vmi is not None and not self._reason(vmi):
                    self.store.delete(VMIM, *key_of(vmim))

    def _count(self, kubevirt, outdated):
        if (kubevirt.get("status") or {}).get("outdatedVirtualMachineInstanceWorkloads", 0) != outdated:
            self.store.modify(KUBEVIRT, *key_of(kubevirt), lambda new: new.setdefault("status", {}).update(
                outdatedVirtualMachineInstanceWorkloads=outdated))


def _labelled(vmi, old):
    labels = vmi["metadata"].setdefault("labels", {})
    labels.pop(OUTDATED, None)
    if old:
        labels[OUTDATED] = ""


def _settled(kubevirt):
    state = kubevirt.get("status") or {}
    return state.get("phase") == "Deployed" and state.get("observedDeploymentID") == state.get("targetDeploymentID")
