# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""VirtualMachines and their instances: start, end, start again.

A VM with run strategy Always gets a new VMI, with a new uid, whenever its VMI
ended: that is what a restarted guest looks like from outside.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import objects
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import target_pods
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    FINAL,
    VM,
    VMI,
    Loop,
    has_condition,
    is_active,
    is_deleted,
    key_of,
    migration_state,
    phase_of,
    set_condition,
)

ALWAYS = ("Always", "RerunOnFailure")
NEXT = {"": "Pending", "Pending": "Scheduling", "Scheduling": "Scheduled", "Scheduled": "Running"}


def strategy_of(vm):
    """``spec.runStrategy``, or what the older ``spec.running`` means."""
    return vm["spec"].get("runStrategy") or ("Always" if vm["spec"].get("running") else "Halted")


class Guests:
    """The controllers of VMs and of VMIs that start or end."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self.machines = Loop(world, self._machine, (0.3, 1.5))
        self.instances = Loop(world, self._instance, (0.3, 1.5))
        self.store.on_event(VM, lambda kind, vm, old: self.machines.add(key_of(vm)))
        self.store.on_event(VMI, self._vmi)
        self.store.on_event("pods", self._pod)
        for vmi in self.store.list(VMI):
            if phase_of(vmi) != "Running":
                self.instances.add(key_of(vmi))
        for vm in self.store.list(VM):
            if strategy_of(vm) in ALWAYS and self.store.get(VMI, *key_of(vm)) is None:
                self.machines.add(key_of(vm))

    def _vmi(self, kind, vmi, old):
        if kind == "DELETED" or old is None or self._seen(vmi) != self._seen(old):
            self.machines.add(key_of(vmi))
        if kind != "DELETED" and (phase_of(vmi) != "Running" or is_deleted(vmi)):
            self.instances.add(key_of(vmi))

    @staticmethod
    def _seen(vmi):
        state = migration_state(vmi)
        return phase_of(vmi), bool(state.get("startTimestamp")), bool(state.get("endTimestamp"))

    def _pod(self, kind, pod, old):
        uid = (pod["metadata"].get("labels") or {}).get(target_pods.CREATED_BY)
        vmi = self.world.vmi_of_uid(uid) if uid else None
        if vmi is None:
            return
        if phase_of(vmi) != "Running" or is_deleted(vmi):
            self.instances.add(key_of(vmi))
        elif (kind == "DELETED" or not is_active(pod)) and pod["spec"].get("nodeName") == vmi["status"].get("nodeName"):
            self.instances.add(key_of(vmi))

    # -- instances ---------------------------------------------------------------

    def _instance(self, key):
        vmi = self.store.get(VMI, *key)
        if vmi is None:
            return
        pods = [pod for pod in self.world.pods_of(vmi) if is_active(pod)]
        if is_deleted(vmi):
            self._remove(vmi, pods)
        elif phase_of(vmi) in FINAL:
            if vmi["metadata"].get("ownerReferences"):
                self.store.delete(VMI, *key)
        elif phase_of(vmi) == "Running":
            if target_pods.present_pod(vmi, pods) is None and vmi["status"].get("nodeName"):
                self.world.change_vmi(vmi, lambda new: new["status"].update(phase="Failed"))
        else:
            self._start(vmi, pods)

    def _remove(self, vmi, pods):
        """The guest is shut down, then its object may go."""
        for pod in pods:
            if not is_deleted(pod):
                self.store.delete("pods", *key_of(pod), grace=180)
        if not pods:
            self.store.modify(VMI, *key_of(vmi), lambda new: new["metadata"].update(finalizers=[]))

    def _start(self, vmi, pods):
        """One phase further: a pod is made, placed and started, then the guest boots."""
        phase = phase_of(vmi)
        if phase not in NEXT:
            return  # nothing that a local start goes through
        if phase == "Pending" and not pods:
            self.store.create("pods", target_pods.launcher(vmi, self.world.generation, self.world.config()))
        if phase == "Scheduling" and not any(has_condition(pod, "Ready") for pod in pods):
            return
        if phase == "Scheduled":
            self.world.change_vmi(vmi, lambda new: self._booted(new, pods))
            return

        def further(new):
            status = new.setdefault("status", {})
            status["phase"] = NEXT[phase]
            status.setdefault("phaseTransitionTimestamps", []).append(
                {"phase": NEXT[phase], "phaseTransitionTimestamp": self.world.stamp()})

        self.world.change_vmi(vmi, further)

    def _booted(self, vmi, pods):
        from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import populate

        names = [objects.claimed(volume) for volume in vmi["spec"].get("volumes") or []]
        ns = vmi["metadata"]["namespace"]
        claims = {name: self.store.get("persistentvolumeclaims", ns, name) for name in names if name}
        vmi["metadata"].setdefault("labels", {})
        populate.started(vmi, pods[0]["spec"]["nodeName"], {k: v for k, v in claims.items() if v}, self.world.stamp(),
                         self.world.generation, self.world.config())
        vmi["status"]["launcherContainerImageVersion"] = "virt-launcher:" + self.world.launcher_release()
        vmi["status"]["activePods"] = {pod["metadata"]["uid"]: pod["spec"].get("nodeName", "") for pod in pods}

    # -- machines ------------------------------------------------------------------

    def _machine(self, key):
        vm = self.store.get(VM, *key)
        if vm is None:
            return
        vmi = self.store.get(VMI, *key)
        if is_deleted(vm) or strategy_of(vm) == "Halted":
            if vmi is not None and not is_deleted(vmi):
                self.store.delete(VMI, *key)
        elif vmi is None and strategy_of(vm) in ALWAYS and (vm["spec"]["template"].get("spec") or {}).get("domain"):
            vmi = self.store.create(VMI, objects.instance(vm))
        self._report(vm, vmi)

    def _report(self, vm, vmi):
        """``status.printableStatus`` and Ready (facts 4.13)."""
        phase = phase_of(vmi) if vmi is not None else ""
        state = migration_state(vmi) if vmi is not None else {}
        shown = "Stopped" if vmi is None else "Terminating" if is_deleted(vmi) else "Starting"
        if shown == "Starting" and phase == "Running":
            shown = "Running"
        if shown == "Running" and state.get("startTimestamp") and not state.get("endTimestamp"):
            shown = "Migrating"
        ready = phase == "Running" and not is_deleted(vmi)
        now = self.world.stamp()

        def reported(new):
            new.setdefault("status", {}).update(printableStatus=shown, created=vmi is not None, ready=ready)
            set_condition(new, "Ready", ready, None if ready else "GuestNotRunning", now=now)

        self.store.modify(VM, *key_of(vm), reported)
