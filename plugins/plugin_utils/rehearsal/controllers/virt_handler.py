# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""virt-handler on both nodes: who writes which part of a VMI's migration state, and when.

What a guest writes (``dirty-rate``) may change while it is copied.

Source: facts 1.10-1.13, 4.1-4.2, 4.13-4.14, 8.4-8.6. Injected failures (annotation
``rehearsal.bigvm.io/fail`` on the VMI or in the VM's template):

* ``unschedulable``: no node ever takes the target pod (300 s, then Failed)
* ``pod-stuck``: the target pod stays in ContainerCreating (900 s, then Failed)
* ``target-stuck``: the target's virt-handler never answers
* ``libvirt-error``: libvirt refuses at the start, as with a CPU that does not fit
* ``target-pod-down``: the target pod dies 15 s into the copy
* ``link-stall``: the link carries nothing any more after 20 s
* ``never-converges``: the guest dirties four times as fast as the copy runs
* ``restart``: the launcher dies at the hand-over and the VM starts anew
* ``post-copy-lost``: the link breaks 5 s after post-copy began, and the guest is lost
* ``hotplug-stuck``: a hotplug that the migration was for is never done, and its VMIM stays Running
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import target_pod
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import precopy
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.handler_network import (
    migration_address,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.launcher import (
    Job,
    Links,
    user_abort_text,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.migratability import conditions
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    NODE_LABEL,
    OUTDATED,
    TARGET_LABEL,
    VMI,
    drop_condition,
    has_condition,
    is_active,
    is_deleted,
    key_of,
    knob,
    migration_state,
    phase_of,
    set_condition,
)

SYNC = (0.8, 2.5)  # seconds between a change and a handler's answer
FLIP = (0.2, 0.8)
COMPLETE = (0.5, 1.5)
RETRY = 5.0
LIBVIRT_ERROR = (
    "Live migration failed error encountered during MigrateToURI3 libvirt api call: virError(Code=9, Domain=31, "
    "Message='operation failed: guest CPU doesn't match specification: missing features: vmx-rdrand-exit')"
)
CRASH = "Live migration failed: the domain crashed at the hand-over"
CUT = (
    "Live migration failed error encountered during MigrateToURI3 libvirt api call: virError(Code=1, Domain=7, "
    "Message='internal error: client socket is closed')"
)
LEAVES = (1.0, 3.0)
LISTENERS = 300.0  # seconds that a virt-handler that ends waits for copies (facts 8.7)
HOTPLUG = (3.0, 12.0)  # seconds until the target has plugged what the migration was for
PLUGGED = ("HotVCPUChange", "HotMemoryChange", "MigrationRequired", "VolumesChange")
CLEARED_BY_FLIP = ("kubevirt.io/eviction-source",)


class Handlers:
    """All nodes' virt-handlers.

    :ivar jobs: ``{migration uid: Job}`` of everything copied or being copied, for logs and metrics.
    """

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self.generation = world.generation
        self.links = Links(world)
        self.jobs = {}
        self._preparing, self._starting, self._aborts = set(), set(), set()
        self.store.on_event(VMI, self._changed)

    # -- what makes them act -----------------------------------------------------

    def _changed(self, kind, vmi, old):
        if kind == "DELETED":
            self._lost(vmi)
            return
        state = migration_state(vmi)
        uid = state.get("migrationUid")
        if phase_of(vmi) in ("Succeeded", "Failed") or state.get("failed"):
            self._lost(vmi)  # nothing that still copies may hand the guest over now
        elif uid and not (state.get("failed") or state.get("completed")):
            self._act(vmi, state, uid)
            if uid in self.jobs and old is not None and knob(vmi, "dirty-rate") != knob(old, "dirty-rate"):
                self.jobs[uid].set_dirty_rate(target_pod.quantity(knob(vmi, "dirty-rate", "0")))
        if phase_of(vmi) == "Running" and (old is None or _moved(vmi, old)):
            self._refresh(vmi)

    def _act(self, vmi, state, uid):
        if not state.get("targetNodeAddress"):
            if uid not in self._preparing:
                self._preparing.add(uid)
                self.world.later(*SYNC, lambda: self._prepare(vmi, uid))
        elif not state.get("startTimestamp"):
            if uid not in self._starting:
                self._starting.add(uid)
                self.world.later(*SYNC, lambda: self._start(vmi, uid))
        if state.get("abortRequested") and uid not in self._aborts:
            self._aborts.add(uid)
            self.world.later(*SYNC, lambda: self._abort(vmi, uid))

    def _current(self, vmi, uid):
        """The VMI as it is now, while this migration is its own and not over."""
        now = self.world.vmi(*key_of(vmi))
        if now is None or now["metadata"]["uid"] != vmi["metadata"]["uid"] or is_deleted(now):
            return None
        state = migration_state(now)
        if state.get("migrationUid") != uid or state.get("failed") or state.get("completed"):
            return None
        return now

    def _ready(self, node):
        pod = self.world.handler_pod(node)
        if node in self.world.down or pod is None or has_condition(pod, "Ready", "False"):
            return False
        return phase_of(pod) == "Running" and not is_deleted(pod)

    def leave(self, node, done):
        """The virt-handler of a node ends: it waits for the copies through it, then cuts them; then ``done()``."""
        end = self.world.now() + LISTENERS

        def look():
            here = [job for job in self.links.jobs if node in (job.source, job.target)]
            if here and self.world.now() < end:
                self.world.after(RETRY, look)
                return
            for job in here:
                job.fail(CUT)
            done()

        self.world.later(*LEAVES, look)

    # -- before the copy -----------------------------------------------------------

    def _prepare(self, vmi, uid):
        """The target listens: address and ports (facts 4.1-4.2)."""
        now = self._current(vmi, uid)
        if now is None:
            return
        state = migration_state(now)
        if knob(now, "fail") == "target-stuck" or not self._ready(state["targetNode"]):
            self.world.after(RETRY, lambda: self._prepare(vmi, uid))
            return
        address = migration_address(self.world.handler_pod(state["targetNode"]))
        ports = self.world.random.sample(range(32768, 60999), 3)
        kinds = (0, 49152) + ((49153,) if (now.get("status") or {}).get("migrationMethod") == "BlockMigration" else ())

        def listening(new):
            mine = new["status"]["migrationState"]
            mine.update(targetNodeAddress=address,
                        targetDirectMigrationNodePorts={str(port): kind for port, kind in zip(ports, kinds)})
            if target_pod.dedicated_cpus(new):
                mine["targetCPUSet"] = list(range(2, 2 + target_pod.vcpus(new)))

        self.world.change_vmi(now, listening, uid)
        self.world.event(now, "PreparingTarget", "the target listens at %s, on ports %s" % (
            address, ",".join(str(port) for port in ports[:len(kinds)])), component="virt-handler")

    def _start(self, vmi, uid):
        """The source starts copying."""
        now = self._current(vmi, uid)
        if now is None:
            return
        if not self._ready(now["status"]["nodeName"]):
            self.world.after(RETRY, lambda: self._start(vmi, uid))
            return
        stamp = self.world.stamp()
        now = self.world.change_vmi(now, lambda new: new["status"]["migrationState"].update(
            startTimestamp=stamp, mode=precopy.PRECOPY), uid)
        self.world.event(now, "Migrating", "the copy has begun", component="virt-handler")
        config = migration_state(now).get("migrationConfiguration") or {}
        self.jobs[uid] = job = Job(self.world, now, config, self.links, self._job_changed, self._job_ended)
        self.world.later(0.3, 1.0, lambda: self.world.change_vmi(
            now, lambda new: new["status"]["migrationState"].update(targetNodeDomainDetected=True), uid))
        if knob(now, "fail") == "libvirt-error":
            self.world.later(0.5, 1.5, lambda: job.fail(LIBVIRT_ERROR))
        if knob(now, "fail") == "link-stall":
            self.world.after(20, job.cut_link)
        if knob(now, "fail") == "target-pod-down":
            self.world.after(15, lambda: self._kill_target(now))

    def _kill_target(self, vmi):
        state = migration_state(vmi)
        pod = self.store.get("pods", vmi["metadata"]["namespace"], state["targetPod"])
        if pod is not None and self._current(vmi, state["migrationUid"]):
            self.world.kubelets.end(key_of(pod), pod["metadata"]["uid"], "Failed")

    # -- aborts ----------------------------------------------------------------------

    def _abort(self, vmi, uid):
        """Somebody deleted the migration (facts 8.4-8.6)."""
        job = self.jobs.get(uid)
        if job is None:
            if self._current(vmi, uid):
                self.world.after(RETRY, lambda: self._abort(vmi, uid))
        elif job.outcome is None:
            job.abort(user_abort_text(self.generation), lambda: self._refused(vmi, uid))

    def _refused(self, vmi, uid):
        """libvirt does not abort a post-copy; tried again at the next sync, in vain."""
        if self.generation.mirrors_abort:
            self.world.change_vmi(vmi, lambda new: new["status"]["migrationState"].update(abortStatus="Failed"), uid)

    def _lost(self, vmi):
        job = self.jobs.get(migration_state(vmi).get("migrationUid"))
        if job is not None and job.outcome is None:
            job.fail("Live migration failed: the guest is gone")

    # -- while it copies -----------------------------------------------------------------

    def _job_changed(self, job):
        if job.mode == precopy.POSTCOPY and knob(job.vmi, "fail") == "post-copy-lost" and not job.cut:
            self.world.after(5.0, job.cut_link)
        self.world.later(0.2, 0.8, lambda: self._mirror(job))

    def _mirror(self, job):
        """Mode, pause and (up to 1.8) the abort's state become visible."""
        now = self.world.stamp()

        def mirrored(new):
            state = new["status"]["migrationState"]
            if state.get("failed") or state.get("endTimestamp"):
                return
            state["mode"] = job.mode
            if job.aborting and self.generation.mirrors_abort:
                state["abortStatus"] = job.abort_status
            if job.mode == precopy.PAUSED:
                set_condition(new, "Paused", True, "PausedByMigrationMonitor", "paused until the copy is over", now)

        self.world.change_vmi(job.vmi, mirrored, job.uid)

    # -- the end -------------------------------------------------------------------------

    def _job_ended(self, job):
        if job.outcome == "failed" and job.mode == precopy.POSTCOPY:
            self.world.later(*FLIP, lambda: self._die(job, job.reason))
        elif job.outcome == "failed":
            self.world.later(*FLIP, lambda: self._failed(job))
        elif knob(job.vmi, "fail") == "restart":
            self.world.later(*FLIP, lambda: self._die(job, CRASH))
        else:
            self.world.later(*FLIP, lambda: self._flip(job))

    def _failed(self, job):
        """The source reports the failure; whether it also says completed depends on the release (facts 1.10)."""
        now = self.world.stamp()

        def failed(new):
            state = new["status"]["migrationState"]
            drop_condition(new, "Paused")
            if state.get("failed"):
                return
            state.update(failed=True, endTimestamp=now, failureReason=job.reason)
            if self.generation.completes_on_failure:
                state["completed"] = True
            if job.abort_status:
                state["abortStatus"] = job.abort_status

        vmi = self.world.change_vmi(job.vmi, failed, job.uid)
        if vmi is not None:
            said = "migration %s failed: %s" % (job.uid, job.reason)
            self.world.event(vmi, "Migrated", said, "Warning", "virt-handler")

    def _flip(self, job):
        """The guest runs on the target: its handler takes over, or is told so by the source's (facts 1.12)."""
        now, node, at_once = self.world.stamp(), job.target, self.generation.source_completes

        def flipped(new):
            status = new["status"]
            if status["migrationState"].get("failed"):
                return
            status["migrationState"].update(
                targetNodeDomainDetected=True, targetNodeDomainReadyTimestamp=now, endTimestamp=now, mode=job.mode)
            status["nodeName"] = node
            if at_once:
                status["migrationState"]["completed"] = True
            for gone in ("evacuationNodeName", "launcherContainerImageVersion"):
                status.pop(gone, None)
            new["metadata"].setdefault("labels", {}).update({NODE_LABEL: node})
            new["metadata"]["labels"].pop(OUTDATED, None)
            for gone in CLEARED_BY_FLIP:
                (new["metadata"].get("annotations") or {}).pop(gone, None)
            for kind in ("Paused", "EvictionRequested"):
                drop_condition(new, kind)

        vmi = self.world.change_vmi(job.vmi, flipped, job.uid)
        if vmi is None or migration_state(vmi).get("failed"):
            return
        self.world.event(vmi, "Migrated", "the guest runs on node %s now" % node, component="virt-handler")
        self.world.later(*COMPLETE, lambda: self._complete(job))
        self.world.later(1.0, 3.0, lambda: self._end_source(job))

    def _complete(self, job):
        def completed(new):
            new["status"]["migrationState"]["completed"] = True
            new["status"]["launcherContainerImageVersion"] = "virt-launcher:" + self.world.launcher_release()

        vmi = self.world.change_vmi(job.vmi, completed, job.uid)
        if vmi is not None:
            self.world.later(2.5, 4.0, lambda: self.world.change_vmi(
                job.vmi, lambda new: (new["metadata"].get("labels") or {}).pop(TARGET_LABEL, None), job.uid))
            if knob(vmi, "fail") != "hotplug-stuck" and any(has_condition(vmi, kind) for kind in PLUGGED):
                self.world.later(*HOTPLUG, lambda: self.world.change_vmi(
                    job.vmi, lambda new: [drop_condition(new, kind) for kind in PLUGGED], job.uid))

    def _end_source(self, job):
        pod = job.source_pod and self.store.get("pods", job.vmi["metadata"]["namespace"], job.source_pod)
        if pod and is_active(pod):
            self.world.kubelets.end(key_of(pod), pod["metadata"]["uid"], "Succeeded")

    def _die(self, job, reason):
        """A crash at the hand-over, a post-copy that broke: both launchers are gone, and with them the guest."""
        now = self.world.stamp()

        def dead(new):
            state = new["status"]["migrationState"]
            if not state.get("failed"):
                state.update(failed=True, endTimestamp=now, failureReason=reason, mode=job.mode)
            if self.generation.completes_on_failure:
                state["completed"] = True
            new["status"]["phase"] = "Failed"

        vmi = self.world.change_vmi(job.vmi, dead, job.uid)
        for pod in self.world.pods_of(vmi) if vmi is not None else ():
            if is_active(pod):
                self.world.kubelets.end(key_of(pod), pod["metadata"]["uid"], "Failed")

    # -- LiveMigratable ------------------------------------------------------------------

    def _refresh(self, vmi):
        """The node's handler looks at what could keep the guest from moving."""
        node = self.store.get("nodes", "", (vmi.get("status") or {}).get("nodeName"))
        now = self.world.stamp()
        rows = conditions(vmi, node, self.world.config(), self.generation, now)
        if all(has_condition(vmi, row["kind"], "True" if row["state"] else "False") for row in rows):
            return
        self.world.change_vmi(vmi, lambda new: [set_condition(new, now=now, **row) for row in rows])


def _moved(vmi, old):
    """Whether something that LiveMigratable depends on changed."""
    def seen(obj):
        status = obj.get("status") or {}
        return obj.get("spec"), status.get("volumeStatus"), status.get("nodeName"), status.get("phase")

    return seen(vmi) != seen(old)
