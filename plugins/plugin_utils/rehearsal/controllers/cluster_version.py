# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ClusterVersion: an upgrade that somebody asks for is under way for a while.

``spec.desiredUpdate.version`` other than ``status.desired.version`` begins one; it ends after the annotation
``rehearsal.bigvm.io/upgrade-seconds`` (3600). Only the object is played: what an upgrade does to nodes is the
machine-config operator's part.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    key_of,
    knob,
    set_condition,
)

KIND = "clusterversions.config.openshift.io"
USUAL = 3600.0


class Actor:
    """The cluster version operator."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self.store.on_event(KIND, self._changed)
        for found in self.store.list(KIND):
            self._changed("ADDED", found, None)

    def _changed(self, kind, found, old):
        if kind == "DELETED":
            return
        state = found.get("status") or {}
        wanted = ((found.get("spec") or {}).get("desiredUpdate") or {}).get("version")
        present = (state.get("desired") or {}).get("version")
        if not state.get("conditions"):
            self._settle(found, present or wanted or "4.20.0")
        elif wanted and wanted != present:
            self._begin(found, wanted)

    def _settle(self, found, version):
        now = self.world.stamp()

        def settled(new):
            new.setdefault("status", {}).update(
                desired={"version": version}, observedGeneration=new["metadata"].get("generation", 1), history=[
                    {"state": "Completed", "version": version, "startedTime": now, "completionTime": now,
                     "verified": True, "image": ""}])
            _conditions(new, False, "Cluster version is " + version, now)

        self.store.modify(KIND, *key_of(found), settled)

    def _begin(self, found, version):
        now = self.world.stamp()

        def begun(new):
            state = new["status"]
            state.update(desired={"version": version}, observedGeneration=new["metadata"].get("generation", 1))
            state.setdefault("history", []).insert(0, {
                "state": "Partial", "version": version, "startedTime": now, "completionTime": None, "verified": True,
                "image": ""})
            _conditions(new, True, "Working towards " + version, now)

        self.store.modify(KIND, *key_of(found), begun)
        self.world.after(float(knob(found, "upgrade-seconds", USUAL)), lambda: self._end(found, version))

    def _end(self, found, version):
        now = self.world.stamp()

        def ended(new):
            if new["status"]["desired"].get("version") == version:
                new["status"]["history"][0].update(state="Completed", completionTime=now)
                _conditions(new, False, "Cluster version is " + version, now)

        self.store.modify(KIND, *key_of(found), ended)


def _conditions(obj, progressing, message, now):
    set_condition(obj, "Available", True, None, "Done applying", now)
    set_condition(obj, "Failing", False, now=now)
    set_condition(obj, "Progressing", progressing, None, message, now)
