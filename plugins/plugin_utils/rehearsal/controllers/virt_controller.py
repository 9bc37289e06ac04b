# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""virt-controller's migration loop: one phase per look, slots, priorities, back-off, pod timeouts, clearing up.

Source: facts 1.4-1.17, 2.1-2.9, 8.1-8.4. The copy itself is virt-handler's.
"""

from __future__ import annotations

import math

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import (
    backoff,
    quota,
    target_pods,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.handoff import hand_over
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.holds import Holds
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.queue import Slots, priority_of
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    CONTROLLER,
    FINAL,
    KUBEVIRT,
    TARGET_LABEL,
    VMI,
    VMIM,
    Loop,
    drop_condition,
    has_condition,
    is_active,
    is_deleted,
    key_of,
    migration_state,
    phase_of,
    set_condition,
)

FINALIZER = "kubevirt.io/migrationJobFinalize"
UNSCHEDULABLE_LIMIT, PENDING_LIMIT = 300, 900
KEPT = 5
BEFORE_HANDOFF = ("", "Pending", "Scheduling", "Scheduled")


class Migrations:
    """Drives every VirtualMachineInstanceMigration."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self.generation = world.generation
        self.loop = Loop(world, self.reconcile, (0.4, 1.5))
        self.slots = Slots(world, self.loop)
        self.holds = Holds(world) if world.generation.waits_for_volumes else None
        self.store.on_event(VMIM, self._migration_changed)
        self.store.on_event(VMI, self._vmi_changed)
        self.store.on_event("pods", self._pod_changed)
        self.store.on_event("resourcequotas", self._quota_changed)
        self.store.on_event(KUBEVIRT, lambda kind, obj, old: self.slots.wake())
        for vmim in self.store.list(VMIM):
            self.loop.add(key_of(vmim))

    # -- what makes it look ----------------------------------------------------

    def _migration_changed(self, kind, vmim, old):
        if kind == "DELETED":
            self.slots.forget(key_of(vmim))
            self.slots.wake()
        else:
            self.loop.add(key_of(vmim))
        if kind == "MODIFIED" and phase_of(vmim) in FINAL and phase_of(old) not in FINAL:
            self.slots.wake(freed=True)

    def _vmi_changed(self, kind, vmi, old):
        for vmim in self.store.by_index(VMIM, "vmi", key_of(vmi)):
            if kind == "DELETED" and not is_deleted(vmim):
                self.store.delete(VMIM, *key_of(vmim))
            if kind == "DELETED" or phase_of(vmim) not in FINAL:
                self.loop.add(key_of(vmim))

    def _pod_changed(self, kind, pod, old):
        uid = (pod["metadata"].get("labels") or {}).get(target_pods.CREATED_BY)
        vmi = self.world.vmi_of_uid(uid) if uid else None
        if vmi is not None:
            self.look_at(vmi)
            if kind != "MODIFIED" or _place(pod) != _place(old):
                self._count_pods(vmi)

    def _quota_changed(self, kind, quota_object, old):
        for vmim in self.store.by_index(VMIM, "open", True):
            if has_condition(vmim, quota.CONDITION):
                self.loop.add(key_of(vmim))

    def look_at(self, vmi):
        """Something that this guest's migrations wait for has changed."""
        for vmim in self.store.by_index(VMIM, "vmi", key_of(vmi)):
            if phase_of(vmim) not in FINAL:
                self.loop.add(key_of(vmim))

    def _count_pods(self, vmi):
        own = [pod for pod in self.world.pods_of(vmi) if is_active(pod)]
        active = {pod["metadata"]["uid"]: pod["spec"].get("nodeName", "") for pod in own}
        if active and (vmi.get("status") or {}).get("activePods") != active:
            self.world.change_vmi(vmi, lambda new: new["status"].update(activePods=active))

    # -- one look --------------------------------------------------------------

    def reconcile(self, key):
        """Take one migration one step further."""
        vmim = self.store.get(VMIM, *key)
        if vmim is None:
            return
        vmi = self.world.vmi(key[0], vmim["spec"].get("vmiName"))
        phase = phase_of(vmim)
        if phase in FINAL:
            self._finish(vmim, vmi)
            return
        pod = self.world.target_pod(vmim)
        failure = self._failure(vmim, vmi, pod)
        if failure:
            self._fail(vmim, vmi, pod, *failure)
            return
        if is_deleted(vmim) and not has_condition(vmim, "migrationAbortRequested"):
            vmim = self.store.modify(VMIM, *key, lambda new: set_condition(
                new, "migrationAbortRequested", True, now=self.world.stamp()))
        getattr(self, "_phase_" + (phase or "new").lower())(vmim, vmi, pod)

    def _set_phase(self, vmim, phase, change=None):
        def changed(new):
            state = new.setdefault("status", {})
            state["phase"] = phase
            stamps = state.setdefault("phaseTransitionTimestamps", [])
            if all(row["phase"] != phase for row in stamps):
                stamps.append({"phase": phase, "phaseTransitionTimestamp": self.world.stamp()})
            if change:
                change(new)

        return self.store.modify(VMIM, *key_of(vmim), changed)

    def _again(self, vmim, seconds=None):
        self.loop.add(key_of(vmim), seconds)

    # -- failing ---------------------------------------------------------------

    def _failure(self, vmim, vmi, pod):
        """``(event message, aborted)`` when this migration has failed, in KubeVirt's order (facts 1.15)."""
        phase, uid = phase_of(vmim), vmim["metadata"]["uid"]
        if vmi is None:
            return "the VMI is gone", False
        state = migration_state(vmi)
        ours = state.get("migrationUid") == uid
        if phase_of(vmi) in FINAL:
            return "the VMI ended during the migration", False
        if is_deleted(vmim) and phase in BEFORE_HANDOFF and not ours:
            return "given up due to being canceled", True
        if pod is not None and not is_active(pod):
            return "target pod shutdown during the migration of %s/%s" % key_of(vmi), False
        if phase not in ("", "Pending") and (pod is None or is_deleted(pod)):
            return "target pod was removed during the migration", False
        if phase not in BEFORE_HANDOFF:
            if not state:
                return "the VMI's migration state was cleared", False
            if not ours:
                return "the VMI's migration state was taken over by another migration job", False
        if ours and state.get("failed"):
            return "source node reported migration failed", False
        over = state.get("completed") or state.get("failed")
        if phase == "" and state.get("migrationUid") and not ours and not over:
            return "another migration job is in progress", False
        return None

    def _fail(self, vmim, vmi, pod, message, aborted):
        if pod is not None and aborted:
            self.store.delete("pods", *key_of(pod), grace=30)
            self.world.event(vmim, "SuccessfulDelete", "deleted target pod %s" % pod["metadata"]["name"])
        state = migration_state(vmi) if vmi is not None else {}
        if state.get("migrationUid") == vmim["metadata"]["uid"] and not (state.get("failed") or state.get("completed")):
            self._mark_failed(vmi, vmim)
        self.world.event(vmim, "FailedMigration", message, "Warning")
        self._set_phase(vmim, "Failed", lambda new: set_condition(
            new, "migrationAbortRequested", True, now=self.world.stamp()) if aborted else None)

    def _mark_failed(self, vmi, vmim):
        """The controller's own entry, when no handler can make it (facts 1.10)."""
        now = self.world.stamp()

        def failed(new):
            state = new["status"]["migrationState"]
            state.update(failed=True, completed=True, endTimestamp=now, failureReason="Target pod is down")
            state.setdefault("startTimestamp", now)

        uid = vmim["metadata"]["uid"] if self.generation.tests_uid else None
        self.world.change_vmi(vmi, failed, uid)

    # -- the phases ------------------------------------------------------------

    def _phase_new(self, vmim, vmi, pod):
        def observed(new):
            new["metadata"].setdefault("annotations", {}).update({
                "kubevirt.io/latest-observed-api-version": "v1", "kubevirt.io/storage-observed-api-version": "v1"})

        self._set_phase(vmim, "Pending", observed)

    def _phase_pending(self, vmim, vmi, pod):
        if pod is not None:
            self.slots.forget(key_of(vmim))
            self._set_phase(vmim, "Scheduling", lambda new: drop_condition(new, quota.CONDITION))
            return
        held = self.holds.refusal(vmim, vmi) if self.holds is not None else None
        if held is not None:
            self._held(vmim, vmi, *held)
            return
        wait = backoff.seconds_left(self.world, vmim, vmi)
        if wait > 0:
            self.world.event(vmi, "MigrationBackoff", "waits %d s before the next attempt" % wait, "Warning")
            self._again(vmim, wait)
            return
        own = [pod for pod in self.world.pods_of(vmi) if is_active(pod)]
        source = target_pods.present_pod(vmi, own)
        if source is not None and not (vmim.get("status") or {}).get("migrationState"):
            vmim = self.store.modify(VMIM, *key_of(vmim), lambda new: new["status"].update(
                migrationState={"sourcePod": source["metadata"]["name"]}))
        retry = self.slots.refusal(vmim, vmi, len(own))
        if retry is not None:
            self.slots.queue(key_of(vmim), retry, priority_of(vmim))
        elif self.world.guest_budgets is None or self.world.guest_budgets.protected(vmim, vmi):
            self._create_target(vmim, vmi, source)

    def _held(self, vmim, vmi, seconds, failure):
        if failure:
            self._fail(self.store.get(VMIM, *key_of(vmim)), vmi, None, failure, False)
        elif seconds < math.inf:
            self._again(vmim, seconds)

    def _create_target(self, vmim, vmi, source):
        node = self.store.get("nodes", "", (vmi.get("status") or {}).get("nodeName"))
        try:
            pod = target_pods.migration_target(vmi, vmim, source, node, self.generation, self.world.config())
            quota.check(self.store, pod)
        except target_pods.HostModelUnknown:
            self._again(vmim, 5)  # rate-limited retry for ever (facts 2.5, 3.5)
            return
        except quota.QuotaExceeded as exc:
            said = str(exc)
            self.world.event(vmi, "FailedCreate", "Error creating pod: %s" % said, "Warning")
            if not has_condition(vmim, quota.CONDITION):  # which says no more than that
                row = {"type": quota.CONDITION, "status": "True", "lastProbeTime": self.world.stamp(), "lastTransitionTime": None}
                self.store.modify(VMIM, *key_of(vmim), lambda new: new["status"].setdefault("conditions", []).append(row))
            self._again(vmim, 15)
            return
        made = self.store.create("pods", pod)
        self.slots.created()
        self.world.event(vmim, "SuccessfulCreate", "created target pod %s" % made["metadata"]["name"])
        self._warn_of_host_model(vmi, made)

    def _warn_of_host_model(self, vmi, pod):
        wanted = pod["spec"]["nodeSelector"].items()
        source = (vmi.get("status") or {}).get("nodeName")
        if target_pods.target_pod.cpu_model(vmi, self.world.config()) == "host-model" and not any(
                wanted <= (node["metadata"].get("labels") or {}).items() for node in self.store.list("nodes")
                if node["metadata"]["name"] != source):
            self.world.event(vmi, "NoSuitableNodesForHostModelMigration",
                             "no node is suitable to run the required CPU model or its features: %s" % ", ".join(
                                 sorted(key for key, _value in wanted)), "Warning")

    def _phase_scheduling(self, vmim, vmi, pod):
        if has_condition(vmim, quota.CONDITION):
            self.store.modify(VMIM, *key_of(vmim), lambda new: drop_condition(new, quota.CONDITION))
        if phase_of(pod) == "Running" and has_condition(pod, "Ready"):
            self._set_phase(vmim, "Scheduled")
        elif phase_of(pod) == "Pending":
            self._pod_timeout(vmim, pod)

    def _pod_timeout(self, vmim, pod):
        """A target pod may be unschedulable for 300 s and pending for 900 s (facts 2.7)."""
        notes = vmim["metadata"].get("annotations") or {}
        homeless = has_condition(pod, "PodScheduled", "False")
        key, usual = ("kubevirt.io/migrationUnschedulablePodTimeoutSeconds", UNSCHEDULABLE_LIMIT) if homeless else (
            "kubevirt.io/migrationPendingPodTimeoutSeconds", PENDING_LIMIT)
        limit = float(notes.get(key, usual))
        if homeless:
            self.world.event(vmim, "migrationTargetPodUnschedulable", "the target pod of VMI %s/%s is unschedulable" % (
                pod["metadata"]["namespace"], vmim["spec"]["vmiName"]), "Warning")
        left = from_timestamp(pod["metadata"]["creationTimestamp"]) + limit - self.world.now()
        if left <= 0:
            self.store.delete("pods", *key_of(pod), grace=30)
            self.world.event(vmim, "SuccessfulDelete", "deleted target pod %s, which was pending for %d s" % (
                key_of(pod)[1], limit))
        else:
            self._again(vmim, left + 0.5)

    def _phase_scheduled(self, vmim, vmi, pod):
        state = migration_state(vmi)
        if state.get("migrationUid") != vmim["metadata"]["uid"]:
            hand_over(self.world, vmim, vmi, pod)
        elif state.get("targetNode"):
            self._set_phase(vmim, "PreparingTarget")

    def _phase_preparingtarget(self, vmim, vmi, pod):
        if migration_state(vmi).get("targetNodeAddress"):
            self._set_phase(vmim, "TargetReady")

    def _phase_targetready(self, vmim, vmi, pod):
        if migration_state(vmi).get("startTimestamp"):
            self._set_phase(vmim, "Running")

    def _phase_running(self, vmim, vmi, pod):
        state = migration_state(vmi)
        if is_deleted(vmim) and not state.get("abortRequested") and not state.get("endTimestamp"):
            self.world.change_vmi(vmi, lambda new: new["status"]["migrationState"].update(abortRequested=True),
                                  vmim["metadata"]["uid"])
            return
        pending = any(has_condition(vmi, kind) for kind in ("HotVCPUChange", "HotMemoryChange", "MigrationRequired"))
        if state.get("completed") and not state.get("failed") and not pending:
            self.world.event(vmim, "SuccessfulMigration", "the source node reported success")
            self._set_phase(vmim, "Succeeded")

    # Older and newer clusters have phases that a local migration never enters.
    def _phase_waitingforsync(self, vmim, vmi, pod):
        pass

    _phase_synchronizing = _phase_waitingforsync

    # -- the end ---------------------------------------------------------------

    def _finish(self, vmim, vmi):
        """Copy the result out of the VMI, let go of the finalizer, clean up (facts 1.8, 1.9, 1.17)."""
        uid = vmim["metadata"]["uid"]
        state = migration_state(vmi) if vmi is not None else {}
        if state.get("migrationUid") == uid and (vmim.get("status") or {}).get("migrationState") != state:
            vmim = self.store.modify(VMIM, *key_of(vmim), lambda new: new["status"].update(migrationState=state))
        if vmi is not None and state.get("migrationUid") == uid and state.get("failed") and TARGET_LABEL in (
                vmi["metadata"].get("labels") or {}):
            self.world.change_vmi(vmi, lambda new: new["metadata"]["labels"].pop(TARGET_LABEL, None), uid)
        if phase_of(vmim) == "Failed":
            self._end_target(vmim)
        if FINALIZER in (vmim["metadata"].get("finalizers") or []):
            self.store.modify(VMIM, *key_of(vmim), _let_go)
        self._collect(vmim)

    def _end_target(self, vmim):
        """The pod of a failed migration ends by itself; what it held is free then."""
        pod = self.world.target_pod(vmim)
        if pod is not None and is_active(pod) and not is_deleted(pod):
            if phase_of(pod) == "Pending":
                self.store.delete("pods", *key_of(pod), grace=30)
            else:
                key, uid = key_of(pod), pod["metadata"]["uid"]
                self.world.later(1.0, 3.0, lambda: self.world.kubelets.end(key, uid, "Failed"))

    def _collect(self, vmim):
        """Of a VMI's final migrations only the newest five stay."""
        siblings = self.store.by_index(VMIM, "vmi", (vmim["metadata"]["namespace"], vmim["spec"].get("vmiName")))
        final = sorted((other for other in siblings if phase_of(other) in FINAL and not is_deleted(other)), key=backoff.age)
        for old in final[:-KEPT]:
            pod = self.world.target_pod(old) if phase_of(old) == "Failed" else self._source_pod(old)
            if pod is not None and not is_active(pod):
                self.store.delete("pods", *key_of(pod))
            self.store.delete(VMIM, *key_of(old))

    def _source_pod(self, vmim):
        name = ((vmim.get("status") or {}).get("migrationState") or {}).get("sourcePod")
        return self.store.get("pods", vmim["metadata"]["namespace"], name) if name else None

    # -- making some -----------------------------------------------------------

    def create(self, vmi, prefix, annotations=None, priority=None):
        """A migration made by the cluster itself; returns it."""
        spec = {"vmiName": vmi["metadata"]["name"]}
        if priority and self.generation.priorities:
            spec["priority"] = priority
        return self.store.create(VMIM, {
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration",
            "metadata": {"generateName": prefix, "namespace": vmi["metadata"]["namespace"],
                         "annotations": dict(annotations or {})},
            "spec": spec,
        }, CONTROLLER)


def _place(pod):
    return is_active(pod), pod["spec"].get("nodeName")


def _let_go(vmim):
    left = [name for name in vmim["metadata"].pop("finalizers") if name != FINALIZER]
    if left:
        vmim["metadata"]["finalizers"] = left
