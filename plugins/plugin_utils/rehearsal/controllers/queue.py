# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Slots for migrations: who may create a target pod, and who looks again when (facts 2.1-2.4).

KubeVirt polls: a migration without a slot is looked at again every 1, 3 or 5
seconds. Here nothing runs while nothing can change; when something does,
each waiting migration is looked at at the instant at which its poll would have come.
"""

from __future__ import annotations

import math

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    VMIM,
    migration_state,
    phase_of,
)

PRIORITIES = {"system-critical": 100, "user-triggered": 50, "system-maintenance": 20}
UNOBSERVED = 0.2  # seconds after a pod creation in which no other target pod is created


def priority_of(vmim):
    """The number that orders the queue; without a priority 0."""
    return PRIORITIES.get(vmim["spec"].get("priority"), 0)


class Slots:
    """Counts running migrations and keeps those that wait.

    :param loop: the migrations' :class:`~.world.Loop`.
    """

    def __init__(self, world, loop):
        self.world = world
        self.loop = loop
        self._created_at = float("-inf")
        self._waiting = {}

    def created(self):
        """A target pod was created just now."""
        self._created_at = self.world.now()

    def refusal(self, vmim, vmi, pods):
        """Seconds after which to look again, or None when the target pod may be created now.

        :param pods: number of the guest's pods that have not ended.
        """
        if self.world.now() - self._created_at < UNOBSERVED or pods > 1:
            return 1.0
        limits = self.world.settings()
        running = self._running()
        node = (vmi.get("status") or {}).get("nodeName")
        if len(running) >= limits["parallel_migrations_per_cluster"]:
            return self.delay(vmim)
        if self._outbound(running, node) >= limits["parallel_outbound_migrations_per_node"]:
            return self.delay(vmim)
        return None

    def delay(self, vmim):
        """How often a migration without a slot is looked at."""
        if not self.world.generation.priorities:
            return 5.0
        priority = priority_of(vmim)
        return 1.0 if priority >= 100 else 3.0 if priority >= 50 else 5.0

    def free(self, node=None):
        """Free slots in the cluster, and on a node when one is named."""
        limits, running = self.world.settings(), self._running()
        free = limits["parallel_migrations_per_cluster"] - len(running)
        if node is not None:
            free = min(free, limits["parallel_outbound_migrations_per_node"] - self._outbound(running, node))
        return max(0, free)

    def _running(self):
        """Everything past Pending, and what has a target pod already (facts 2.3)."""
        return [
            vmim for vmim in self.world.store.by_index(VMIM, "open", True)
            if phase_of(vmim) not in ("", "Pending") or self.world.target_pod(vmim) is not None
        ]

    def _outbound(self, running, node):
        count = 0
        for vmim in running:
            vmi = self.world.vmi(vmim["metadata"]["namespace"], vmim["spec"].get("vmiName"))
            if vmi is not None and node in (vmi["status"].get("nodeName"), migration_state(vmi).get("sourceNode")):
                count += 1
        return count

    # -- those that wait ---------------------------------------------------------

    def queue(self, key, period, priority):
        """Look at this migration again every ``period`` seconds."""
        self._waiting[key] = (self.world.now(), period, priority)
        if period <= 1.0:
            self.loop.add(key, period)

    def forget(self, key):
        """It waits no more."""
        self._waiting.pop(key, None)

    def wake(self, freed=False):
        """Something changed: let those that wait look again when their turn comes.

        :param freed: a migration ended; on releases with priorities the first in line look at once.
        """
        if freed and self.world.generation.priorities:
            first = sorted(self._waiting, key=lambda key: -self._waiting[key][2])
            for key in first[:self.world.settings()["parallel_migrations_per_cluster"]]:
                self.loop.add(key, self.world.between(0.05, 0.3))
        for key, (since, period, priority) in self._waiting.items():
            turns = math.ceil((self.world.now() - since) / period + 1e-6)
            self.loop.add(key, since + turns * period - self.world.now())
