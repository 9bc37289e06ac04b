# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nodes: virt-handler's heartbeat, and what virt-controller makes of its silence (facts 3.9)."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.target_pod import SCHEDULABLE
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    has_condition,
    is_deleted,
    phase_of,
    set_label,
)

HEARTBEAT = "kubevirt.io/heartbeat"
BEAT = (60.0, 132.0)  # seconds between heartbeats
SILENCE = 300.0


class Nodes:
    """Beats for every node whose virt-handler runs."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self.store.on_event("nodes", self._node)
        for node in self.store.list("nodes"):
            self._begin(node["metadata"]["name"])

    def _node(self, kind, node, old):
        if kind == "ADDED":
            self._begin(node["metadata"]["name"])

    def _begin(self, name):
        self.world.after(self.world.between(1.0, BEAT[1]), lambda: self._beat(name))

    def _beat(self, name):
        node = self.store.get("nodes", "", name)
        if node is None:
            return
        pod = self.world.handler_pod(name)
        up = name not in self.world.down and pod is not None and not has_condition(pod, "Ready", "False")
        if up and phase_of(pod) == "Running" and not is_deleted(pod):
            self.store.modify("nodes", "", name, self._beaten)
        elif self._silence(node) > SILENCE:
            self.store.modify("nodes", "", name, lambda new: set_label(new, SCHEDULABLE, "false"))
        self.world.later(*BEAT, lambda: self._beat(name))

    def _beaten(self, node):
        node["metadata"].setdefault("annotations", {})[HEARTBEAT] = self.world.stamp()
        set_label(node, SCHEDULABLE, "true")

    def _silence(self, node):
        text = (node["metadata"].get("annotations") or {}).get(HEARTBEAT)
        try:
            return self.world.now() - from_timestamp(text)
        except Exception:  # pylint: disable=broad-except
            return SILENCE + 1  # an export without a heartbeat, or with one that is no time
