# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The handoff: a VMI's migration state is replaced, with the settings that count from now on (facts 1.10, 5.2-5.4)."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import policy, settings
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import target_pods
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    POLICY,
    TARGET_LABEL,
)

MAX_DOWNTIME = 900  # ms
UTILITY_VOLUMES = 150  # s


def hand_over(world, vmim, vmi, pod):
    """Give a VMI to the virt-handlers of both nodes; ``pod`` is the target pod, which is ready."""
    config, name = effective(world, vmi)
    source = target_pods.present_pod(vmi, [other for other in world.pods_of(vmi) if other is not pod])
    state = {
        "migrationUid": vmim["metadata"]["uid"], "sourceNode": vmi["status"]["nodeName"],
        "targetNode": pod["spec"]["nodeName"], "targetPod": pod["metadata"]["name"], "migrationConfiguration": config,
    }
    overhead = pod["metadata"].get("annotations", {}).get(target_pods.OVERHEAD)
    if overhead:
        state["targetMemoryOverhead"] = overhead
    if source is not None:
        state["sourcePod"] = source["metadata"]["name"]
    if name:
        state["migrationPolicyName"] = name

    def handed(new):
        new["status"]["migrationState"] = state
        new["metadata"].setdefault("labels", {})[TARGET_LABEL] = pod["spec"]["nodeName"]

    world.change_vmi(vmi, handed)
    world.event(vmim, "SuccessfulHandOver", "the target pod is ready, virt-handler takes over")


def effective(world, vmi):
    """``(migrationConfiguration, policy name or None)`` for a VMI, now."""
    namespace = world.store.get("namespaces", "", vmi["metadata"]["namespace"]) or {"metadata": {}}
    policies = world.store.list(POLICY) if POLICY in world.store.resources else []
    winner = policy.winner(policies, vmi["metadata"].get("labels") or {}, namespace["metadata"].get("labels") or {})
    values = policy.effective(world.settings(), winner) if winner else world.settings()
    config = settings.written({key: value for key, value in values.items() if key != "network"})
    config.update(nodeDrainTaintKey="kubevirt.io/drain", unsafeMigrationOverride=False)
    if values.get("network"):
        config["network"] = values["network"]
    config["bandwidthPerMigration"] = str(config.get("bandwidthPerMigration") or "0")
    if not world.generation.disruption:
        config.pop("allowWorkloadDisruption", None)
    if world.generation.downtime:
        config.setdefault("maxDowntimeMs", MAX_DOWNTIME)
    if world.generation.waits_for_volumes:
        config["utilityVolumesTimeout"] = UTILITY_VOLUMES
    return config, winner["metadata"]["name"] if winner else None
