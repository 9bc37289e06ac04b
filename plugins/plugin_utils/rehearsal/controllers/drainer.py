# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A drain by a part of the cluster itself: evictions again and again until a node is empty, never by force.

Pods of DaemonSets, mirror pods and finished ones stay. An eviction of a guest is refused and starts its evacuation
(facts 7.1): the drain asks until the launcher is gone.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    is_active,
    is_deleted,
    key_of,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.status import ApiStatus

EVERY = 5.0  # seconds between two rounds of evictions
MIRROR = "kubernetes.io/config.mirror"


class Drain:
    """One drain under way.

    :param done: called when nothing is left that has to go.
    :param looked: called after each round with the pods that are left (list).
    :ivar refusals: what the last round was answered, ``{"ns/name": message}``.
    """

    def __init__(self, world, node, done, looked=None):
        self.world = world
        self.node = node
        self.refusals = {}
        self._done, self._looked, self._over = done, looked, False
        world.after(0, self._round)

    def stop(self):
        """Evict nothing more."""
        self._over = True

    def _round(self):
        if self._over:
            return
        self.refusals = {}
        left = pods_to_go(self.world.store, self.node)
        for pod in left:
            if not is_deleted(pod):
                try:
                    self.world.evacuation.evict(key_of(pod), {})
                except ApiStatus as exc:
                    self.refusals["/".join(key_of(pod))] = exc.message
        if self._looked is not None:
            self._looked(left)
        if left:
            self.world.after(EVERY, self._round)
        else:
            self._over = True
            self._done()


def pods_to_go(store, node):
    """The pods on a node that a drain takes away (list of dict)."""
    return [pod for pod in store.by_index("pods", "node", node) if is_active(pod) and not stays(pod)]


def stays(pod):
    """Whether a drain leaves this pod where it is."""
    meta = pod["metadata"]
    return MIRROR in (meta.get("annotations") or {}) or any(
        row.get("kind") == "DaemonSet" for row in meta.get("ownerReferences") or ())


def cordon(store, node, wanted=True):
    """Set or take away ``spec.unschedulable``."""
    def changed(new):
        new["spec"].pop("unschedulable", None)
        if wanted:
            new["spec"]["unschedulable"] = True

    store.modify("nodes", "", node, changed)
