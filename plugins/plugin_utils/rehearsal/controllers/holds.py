# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What keeps a migration Pending besides slots: a backup, and utility volumes (facts 1.6, 2.8).

A backup is played by the annotation ``rehearsal.bigvm.io/backup`` of a VMI: for so many seconds one runs, through a
utility volume that goes a few seconds after it. Utility volumes and backups that others put into the VMI count as well.
"""

from __future__ import annotations

import math

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    VMI,
    VMIM,
    drop_condition,
    has_condition,
    key_of,
    knob,
    phase_of,
    set_condition,
)

BACKUP, VOLUMES = "migrationBlockedByBackup", "migrationBlockedByUtilityVolumes"
USUAL = 150.0  # seconds that utility volumes may take to go, from the VMIM's creation
TIMEOUT = "kubevirt.io/migrationUtilityVolumesTimeoutSeconds"
BEGINS = (0.5, 2.0)
DETACHES = (3.0, 8.0)
PLAYED = "backup"  # name of the utility volume of a backup that is played


class Holds:
    """Asked by the migrations' loop before a slot is taken."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self.store.on_event(VMI, self._changed)
        for vmi in self.store.list(VMI):
            self._changed("ADDED", vmi, None)

    # -- the migration's side ------------------------------------------------------

    def refusal(self, vmim, vmi):
        """None when nothing holds this migration; else ``(seconds until to look again, None)`` or ``(None, why it failed)``.

        The VMIM's conditions are brought up to date.
        """
        backup = _backup(vmi)
        if backup is not None and vmim["spec"].get("priority") == "system-critical":
            self._cancel(vmi)
            backup = None
        self._say(vmim, BACKUP, backup is not None, "BackupInProgress",
                  "a backup of VMI %s is in progress" % vmi["metadata"]["name"])
        if backup is not None:
            return math.inf, None  # without limit; what changes in the VMI wakes it
        names = [str(row.get("name")) for row in vmi["spec"].get("utilityVolumes") or []]
        first = self._say(vmim, VOLUMES, bool(names), "UtilityVolumesAttached",
                          "utility volumes are attached: %s" % ", ".join(names))
        if not names:
            return None
        left = from_timestamp(vmim["metadata"]["creationTimestamp"]) + self._limit(vmim) - self.world.now()
        if left <= 0:
            return None, "utility volumes were not detached in time: %s" % ", ".join(names)
        if first:
            self.world.event(vmim, "UtilityVolumeMigrationPending", "waits for utility volumes of VMI %s to be detached: %s"
                             % (vmi["metadata"]["name"], ", ".join(names)), "Warning")
        return left + 0.5, None

    def _say(self, vmim, kind, held, reason, message):
        """Set or drop a condition; whether it was set just now."""
        if held == has_condition(vmim, kind):
            return False
        now = self.world.stamp()
        self.store.modify(VMIM, *key_of(vmim), lambda new: set_condition(
            new, kind, True, reason, message, now) if held else drop_condition(new, kind))
        return held

    def _limit(self, vmim):
        given = (vmim["metadata"].get("annotations") or {}).get(TIMEOUT)
        if given is None:
            given = (self.world.config().get("migrations") or {}).get("utilityVolumesTimeout")
        try:
            return float(USUAL if given is None else given)
        except ValueError:
            return USUAL

    # -- the backup's side -----------------------------------------------------------

    def _changed(self, kind, vmi, old):
        if kind != "DELETED" and knob(vmi, "backup") and (old is None or knob(old, "backup") != knob(vmi, "backup")):
            self.world.later(*BEGINS, lambda: self._begin(vmi))

    def _begin(self, vmi):
        now, seconds = self.world.stamp(), float(knob(vmi, "backup"))

        def begun(new):
            if phase_of(new) == "Running" and not _backup(new):
                new["status"].setdefault("changedBlockTracking", {"state": "Enabled"})["backupStatus"] = {
                    "backupName": PLAYED, "startTimestamp": now}
                new["spec"].setdefault("utilityVolumes", []).append(
                    {"name": PLAYED, "claimName": PLAYED, "type": "Backup"})

        if self.world.change_vmi(vmi, begun) is not None:
            self.world.after(seconds, lambda: self._end(vmi, False))

    def _cancel(self, vmi):
        self._end(vmi, True)

    def _end(self, vmi, failed):
        now = self.world.stamp()

        def ended(new):
            if _backup(new):
                _backup(new).update(completed=True, failed=failed, endTimestamp=now)

        if self.world.change_vmi(vmi, ended) is not None:
            self.world.later(*DETACHES, lambda: self.world.change_vmi(vmi, _detached))


def _backup(vmi):
    """``backupStatus`` of a backup in progress, else None."""
    found = ((vmi.get("status") or {}).get("changedBlockTracking") or {}).get("backupStatus") or {}
    return found if found.get("startTimestamp") and not found.get("completed") else None


def _detached(vmi):
    left = [row for row in vmi["spec"].get("utilityVolumes") or [] if row.get("name") != PLAYED]
    if left:
        vmi["spec"]["utilityVolumes"] = left
    else:
        vmi["spec"].pop("utilityVolumes", None)
