# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests of the migration network share: the modules as functions, and the cluster's objects."""

from __future__ import annotations

import json

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import Task
from ansible_collections.bigvm.live_migration.plugins.modules import (
    hco_live_migration_config,
    migration_network,
    migration_network_info,
    migration_network_probe,
)

POLICIES = path_of("nmstate.io/v1", "nodenetworkconfigurationpolicies")
ENACTMENTS = path_of("nmstate.io/v1beta1", "nodenetworkconfigurationenactments")
STATES = path_of("nmstate.io/v1beta1", "nodenetworkstates")
ATTACHMENTS = path_of("k8s.cni.cncf.io/v1", "network-attachment-definitions", "openshift-cnv")
WRITES = ("POST", "PUT", "PATCH", "DELETE")
CARD = {"nodes": [{"nic": "ens4f0"}], "range": "10.200.5.0/24"}


class Network:
    """A cluster whose migration network is made, looked at and taken back."""

    def __init__(self, cluster):
        self.cluster, self.api = cluster, cluster.api
        self.said, self.warnings, self.seen = [], [], 0

    def _call(self, module, options, check_mode=False):
        params = {name: option.get("default") for name, option in module.SPEC.items()}
        self.said, self.warnings, self.api.dry_run = [], [], check_mode
        try:
            return module.execute(Task(dict(params, **options), self.api, check_mode, self.said.append, self.warnings.append))
        finally:
            self.api.dry_run = False

    def make(self, check_mode=False, **options):
        return self._call(migration_network, dict(CARD, **options), check_mode)

    def remove(self, check_mode=False, **options):
        return self._call(migration_network, dict({"state": "absent"}, **options), check_mode)

    def look(self, **options):
        return self._call(migration_network_info, dict(CARD, **options))

    def probe(self, check_mode=False, **options):
        return self._call(migration_network_probe, options, check_mode)

    def use(self, network="migration-network"):
        return self._call(hco_live_migration_config, {"network": network, "wait_for_idle": True})

    def failures(self, **options):
        """``{code: found}`` of what speaks against making it; several of one code are joined."""
        found = {}
        for row in self.look(**options)["checks"]:
            if row["status"] == "FAIL":
                found.setdefault(row["code"], []).append("%s: %s" % (row["name"], row["found"]))
        return {code: "; ".join(rows) for code, rows in found.items()}

    def policy(self, name="migration-network"):
        return self.api.get("%s/%s" % (POLICIES, name))

    def config(self, name="migration-network"):
        return json.loads(self.api.get("%s/%s" % (ATTACHMENTS, name))["spec"]["config"])

    def interfaces(self, node):
        return {row["name"]: row for row in self.api.get("%s/%s" % (STATES, node))["status"]["currentState"]["interfaces"]}

    def writes(self):
        """Requests since the last call that changed something."""
        rows = self.api.get("/bigvm/v1/requests")["items"]
        new, self.seen = rows[self.seen:], len(rows)
        return [row for row in new if row["method"] in WRITES and "dryRun" not in str(row.get("query"))
                and not row["path"].startswith("/bigvm/")]

    def annotate(self, node, **values):
        """Knobs of the simulation, ``_`` for ``-``."""
        self.api.patch(path_of("v1", "nodes", name=node), {"metadata": {"annotations": {
            "rehearsal.bigvm.io/" + key.replace("_", "-"): value for key, value in values.items()}}})
