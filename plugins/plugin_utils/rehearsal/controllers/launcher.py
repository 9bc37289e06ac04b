# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""virt-launcher's part: one copy under way, its monitor, and the links that all copies share.

The monitor decides as KubeVirt's legacy one does, every 400 ms (facts 4.6-4.10,
4.14); here its decisions are put on the clock for the instant at which the poll
would make them, so that hours without news cost nothing.
"""

from __future__ import annotations

import math

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import settings, target_pod
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import precopy
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.migratability import (
    local_disks,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    knob,
    migration_state,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.store import hash_of

POLL = 0.4
SINGLE_STREAM = 1e9  # bytes/s that one TLS connection carries; not calibrated (facts 4.4, 12.2)
MULTIFD_STREAMS = 8
THREADS = "kubevirt.io/multiThreadedQemuMigration"
LINK_USE = 0.9  # of a link's nominal rate
DEFAULT_LINK = "25G"
ABORT_TAKES = (1.0, 3.0)
POST_COPY_WAITS = 20.0  # seconds until a broken link ends a post-copy
POST_COPY_FAILED = (
    "Live migration failed error encountered during MigrateToURI3 libvirt api call: virError(Code=9, Domain=10, "
    "Message='operation failed: job 'migration out' failed in post-copy phase')"
)
MIB = 1024 ** 2


class Links:
    """Every copy under way gets its share of the nodes' links; shares change when copies start and end."""

    def __init__(self, world):
        self.world = world
        self.jobs = []
        world.store.on_event("nodes", self._node)

    def _node(self, kind, node, old):
        if kind == "MODIFIED" and knob(node, "link") != knob(old, "link"):
            self.share()

    def add(self, job):
        """A copy starts."""
        self.jobs.append(job)
        self.share()

    def remove(self, job):
        """A copy has ended."""
        if job in self.jobs:
            self.jobs.remove(job)
            self.share()

    def share(self):
        """Tell every copy its rate from now on."""
        flows, capacity = {}, {}
        for job in self.jobs:
            ends = [("out", job.source), ("in", job.target)]
            flows[job] = (job.cap, ends)
            for end in ends:
                capacity[end] = self._capacity(end[1])
        for job, rate in (precopy.fair_shares(flows, capacity) if flows else {}).items():
            job.set_bandwidth(rate)

    def _capacity(self, name):
        node = self.world.store.get("nodes", "", name)
        bits = target_pod.quantity(knob(node, "link", DEFAULT_LINK) if node is not None else DEFAULT_LINK)
        return bits / 8.0 * LINK_USE


class Job:
    """One copy.

    :param config: ``migrationConfiguration`` (camelCase), fixed at the handoff.
    :param links: :class:`Links`.
    :param changed: called with the job when its mode changed.
    :param ended: called with the job when it is over; then ``outcome`` is ``completed`` or ``failed``, with
        ``reason`` (failureReason) and ``abort_status``.
    """

    def __init__(self, world, vmi, config, links, changed, ended):
        state = migration_state(vmi)
        self.world, self.vmi, self.links = world, vmi, links
        self.uid = state["migrationUid"]
        self.source, self.target, self.source_pod = state["sourceNode"], state["targetNode"], state.get("sourcePod")
        self.settings = settings.read(config)
        self.changed, self.ended = changed, ended
        self.outcome = self.reason = self.abort_status = None
        self.aborting = self.cut = False
        self.cap = self._cap()
        self.start = world.now()
        self.run = self._precopy()
        data = self.run.memory + self.run.disk
        self.budget = settings.budget_seconds(self.settings["completion_timeout_per_gib"] or 0, data) or math.inf
        self._stalled_since = None
        self._tick_at = self._monitor_at = None
        links.add(self)
        self._watch_budget()

    @property
    def mode(self):
        """``PreCopy``, ``PostCopy`` or ``Paused``."""
        return self.run.mode

    # -- what it is made of ------------------------------------------------------

    def _cap(self):
        """What this copy could carry over an idle link."""
        limit = target_pod.quantity(self.settings["bandwidth_per_migration"])
        # Whole MiB/s, at least one (facts 4.5).
        limit = max(1, int(limit / MIB + 0.5)) * MIB if limit else math.inf
        return min(limit, SINGLE_STREAM * self.streams())

    def streams(self):
        """How many connections the memory is sent over: 8, or 1; older releases do as an annotation says (facts 4.4)."""
        if self.world.generation.multifd:
            return MULTIFD_STREAMS if self._multifd() else 1
        asked = (self.vmi["metadata"].get("annotations") or {}).get(THREADS, "")
        return max(1, int(asked)) if asked.isdigit() else 1

    def _multifd(self):
        generation = self.world.generation
        limits = ((self.vmi["spec"]["domain"].get("resources") or {}).get("limits") or {})
        if target_pod.quantity(limits.get("cpu"), 1000):
            return False
        if generation.multifd_needs_shared_cpus and target_pod.dedicated_cpus(self.vmi):
            return False
        return generation.multifd_with_post_copy or not self.settings["allow_post_copy"]

    def _precopy(self):
        memory = target_pod.guest_memory(self.vmi)
        rate = target_pod.quantity(knob(self.vmi, "dirty-rate", "0"))
        busy = target_pod.quantity(knob(self.vmi, "working-set", "0"))
        if knob(self.vmi, "fail") == "never-converges":
            rate, busy = 4 * min(self.cap, 8e9), memory * 0.5
        if rate and not busy:
            busy = memory * 0.05
        return precopy.Precopy(
            memory, busy, rate, float(knob(self.vmi, "zero-fraction", "0")), self._disk_bytes(), hash_of(self.uid),
            self.start, min(self.cap, 1e12), bool(self.settings["allow_auto_converge"]))

    def _disk_bytes(self):
        """Local disks are copied as well (block migration, facts 4.6, 6.4)."""
        status = self.vmi.get("status") or {}
        if status.get("migrationMethod") != "BlockMigration":
            return 0
        local = local_disks(self.vmi)
        return sum(int(row.get("size") or 0) for row in status.get("volumeStatus") or [] if row.get("name") in local)

    # -- the world changes -------------------------------------------------------

    def set_bandwidth(self, rate):
        """The share of the links it has from now on."""
        if self.outcome is not None:
            return
        now = self.world.now()
        self.run.set_bandwidth(now, 0.0 if self.cut else rate)
        if self._stalled_since is None and self.run.next_event() is None and not self.run.done:
            self._stalled_since = now
            self._watch_progress()
        elif self.run.next_event() is not None:
            self._stalled_since = None
        self._schedule()

    def set_dirty_rate(self, rate):
        """The guest writes that many bytes/s from now on."""
        if self.outcome is None:
            self.run.set_dirty_rate(self.world.now(), rate)
            self._schedule()

    def abort(self, reason, refused):
        """Ask for the end of the copy.

        :param reason: failureReason when it succeeds.
        :param refused: called when libvirt refuses, because the guest runs on the target already (facts 8.5).
        """
        if self.outcome is not None or self.aborting:
            return
        if self.mode == precopy.POSTCOPY:
            refused()
            return
        self.aborting = True
        self.abort_status = "Aborting"
        self.changed(self)
        self.world.later(*ABORT_TAKES, lambda: self._aborted(reason))

    def _aborted(self, reason):
        if self.outcome is None:  # else the copy won the race (facts 8.6)
            self.abort_status = "Succeeded"
            self._end("failed", reason)

    def cut_link(self):
        """Nothing gets through any more; a guest in post-copy is lost for that (facts 4.15)."""
        self.cut = True
        self.set_bandwidth(0.0)
        if self.mode == precopy.POSTCOPY:
            self.world.after(POST_COPY_WAITS, lambda: self.fail(POST_COPY_FAILED))

    def fail(self, reason):
        """The copy breaks off with an error of libvirt's."""
        if self.outcome is None:
            self._end("failed", POST_COPY_FAILED if self.mode == precopy.POSTCOPY else reason)

    # -- the copy ------------------------------------------------------------------

    def _schedule(self):
        self.world.clock.cancel(self._tick_at)
        # On the real clock a tick comes late: a change of the rate may have brought the copy to its end before it.
        due = self.world.now() if self.run.done else self.run.next_event()
        self._tick_at = self.world.at(due, self._tick) if due is not None else None

    def _tick(self):
        self._tick_at = None
        if self.outcome is not None:
            return
        self.run.advance(self.world.now())
        if self.run.done:
            self._end("completed", None)
            return
        self._schedule()

    def _end(self, outcome, reason):
        self.outcome, self.reason = outcome, reason
        self.finished = self.world.now()
        for handle in (self._tick_at, self._monitor_at):
            self.world.clock.cancel(handle)
        self.links.remove(self)
        self.ended(self)

    # -- the monitor -----------------------------------------------------------------

    def _poll_after(self, seconds):
        """The first poll at which more than ``seconds`` have elapsed since the monitor's start."""
        return self.start + (math.floor(seconds / POLL + 1e-9) + 1) * POLL

    def _watch_budget(self):
        if self.budget != math.inf:
            self._monitor_at = self.world.at(self._poll_after(self.budget), self._over_budget)

    def _over_budget(self):
        """Time is up: disrupt the guest where that is allowed, else abort (facts 4.8)."""
        if self.outcome is not None or self.mode == precopy.POSTCOPY:
            return
        now, allowed = self.world.now(), self.settings
        disruption = allowed["allow_workload_disruption" if self.world.generation.disruption else "allow_post_copy"]
        if disruption and self.mode != precopy.PAUSED:
            if allowed["allow_post_copy"]:
                self.run.post_copy(now)
                if self.cut:
                    self.cut_link()
            else:
                self.run.pause(now)
                self.budget *= 2
                self._watch_budget()
            self._schedule()
            self.changed(self)
            return
        self._abort_for("Live migration is not completed after %d seconds and has been aborted", now - self.start)

    def _watch_progress(self):
        limit, since = self.settings["progress_timeout"], self._stalled_since
        if limit:
            self.world.at(self._poll_after(since + limit - self.start), lambda: self._stalled(since))

    def _stalled(self, since):
        if self.outcome is None and self._stalled_since == since and self.mode != precopy.POSTCOPY:
            self._abort_for("Live migration stuck for %d seconds and has been aborted", self.world.now() - since)

    def _abort_for(self, text, seconds):
        plain = self.world.generation.plain_abort_text
        self.abort("Live migration has been aborted" if plain else text % int(seconds), lambda: None)


def user_abort_text(generation):
    """failureReason of a migration that somebody cancelled (facts 4.14)."""
    return "Live migration has been aborted" if generation.plain_abort_text else "Live migration aborted "
