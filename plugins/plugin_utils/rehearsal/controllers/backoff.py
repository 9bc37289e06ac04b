# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long the cluster's own migrations wait after failures; those that people create never do (facts 2.6)."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    EVACUATION,
    VMIM,
    is_deleted,
    key_of,
    phase_of,
)

FIRST = 20.0  # seconds, doubled with every failure in a row
WORKLOAD_UPDATE = "kubevirt.io/workloadUpdateMigration"
IGNORED = "kubevirt.io/func-test-ignore-migration-backoff"


def seconds_left(world, vmim, vmi):
    """Seconds that this migration still waits; 0 or less: none."""
    own = (EVACUATION, WORKLOAD_UPDATE) if world.generation.update_backoff else (EVACUATION,)
    if not _is_own(vmim, own) or IGNORED in vmim["metadata"]["annotations"]:
        return 0
    siblings = world.store.by_index(VMIM, "vmi", key_of(vmi))
    failures, latest = 0, None
    for other in sorted((one for one in siblings if one is not vmim and not is_deleted(one)), key=age, reverse=True):
        if age(other) > age(vmim):
            return 0  # only the newest one waits
        if phase_of(other) == "Succeeded" or not _is_own(other, own):
            break
        if phase_of(other) == "Failed":
            failures += 1
            latest = latest or failed_at(other)
    return latest + FIRST * 2 ** (failures - 1) - world.now() if failures else 0


def _is_own(vmim, marks):
    notes = vmim["metadata"].get("annotations") or {}
    return any(mark in notes for mark in marks)


def age(vmim):
    """A key that orders migrations, oldest first (creation times have whole seconds)."""
    meta = vmim["metadata"]
    return meta["creationTimestamp"], meta["name"]


def failed_at(vmim):
    """When a migration failed, seconds since the epoch."""
    for row in (vmim.get("status") or {}).get("phaseTransitionTimestamps") or []:
        if row["phase"] == "Failed":
            return from_timestamp(row["phaseTransitionTimestamp"])
    return from_timestamp(vmim["metadata"]["creationTimestamp"])
