# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who else acts on a cluster: loaded when its kind is served, and not before."""

from __future__ import annotations

import importlib

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.crds import CRDS

HERE = __name__.rpartition(".")[0]
ACTORS = {  # plural.group -> module, class
    "machineconfigpools.machineconfiguration.openshift.io": ("machine_config", "Actor"),
    "kubeletconfigs.machineconfiguration.openshift.io": ("node_tuning", "KubeletConfigs"),
    "performanceprofiles.performance.openshift.io": ("node_tuning", "PerformanceProfiles"),
    "tuneds.tuned.openshift.io": ("node_tuning", "Tuneds"),
    "nodemaintenances.nodemaintenance.medik8s.io": ("node_maintenance", "Actor"),
    "nodehealthchecks.remediation.medik8s.io": ("health_checks", "NodeHealthChecks"),
    "machinehealthchecks.machine.openshift.io": ("health_checks", "MachineHealthChecks"),
    "kubedeschedulers.operator.openshift.io": ("descheduler", "Actor"),
    "nodenetworkconfigurationpolicies.nmstate.io": ("nmstate", "Actor"),
    "clusterversions.config.openshift.io": ("cluster_version", "Actor"),
}


class Actors:
    """Those that act in a world, by the kind they watch."""

    def __init__(self, world):
        self.world = world
        self.acting = {}
        for key in ACTORS:
            self._served(key)
        world.store.on_event(CRDS, lambda kind, obj, old: self._served(obj["metadata"]["name"]))

    def _served(self, key):
        if key in ACTORS and key in self.world.store.resources and key not in self.acting:
            module, name = ACTORS[key]
            self.acting[key] = getattr(importlib.import_module("%s.%s" % (HERE, module)), name)(self.world)
