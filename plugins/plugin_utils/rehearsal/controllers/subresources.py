# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""subresources.kubevirt.io: migrate, and evacuate/cancel where the release has it (facts 9.6)."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import status
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    VM,
    VMI,
    VMIM,
    phase_of,
)

GROUP_VERSION = "subresources.kubevirt.io/v1"
PATH = "^/apis/" + GROUP_VERSION + "/namespaces/(?P<ns>[^/]+)/%s/(?P<name>[^/]+)/%s$"


class Subresources:
    """The two subresources a migration tool may meet."""

    def __init__(self, world, evacuation):
        self.world = world
        self.store = world.store
        self.evacuation = evacuation

    def routes(self, app):
        """Add the paths, and say so in discovery."""
        app.route("PUT", PATH % ("virtualmachines", "migrate"), self._migrate)
        known = [("virtualmachines/migrate", "VirtualMachine")]
        if self.world.generation.evacuate_cancel:
            for plural in ("virtualmachines", "virtualmachineinstances"):
                app.route("PUT", PATH % (plural, "evacuate/cancel"), self._cancel)
                known.append((plural + "/evacuate/cancel", "VirtualMachineInstance"))
        app.discover(GROUP_VERSION, [
            {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": ["update"]}
            for name, kind in known
        ])

    def _instance(self, request, plural):
        key = (request.groups["ns"], request.groups["name"])
        if plural is not None and self.store.get(plural, *key) is None:
            raise status.not_found(self.store.resource(plural), key[1])
        vmi = self.store.get(VMI, *key)
        if vmi is None:
            raise status.not_found(self.store.resource(VMI), key[1])
        return vmi

    def _migrate(self, request):
        """Creates a migration without saying which; what a webhook refuses comes out as 500."""
        vmi = self._instance(request, VM)
        if phase_of(vmi) != "Running":
            raise status.ApiStatus(409, message="VM is not running")
        body = request.json({}) or {}
        dry_run = request.dry_run or "All" in (body.get("dryRun") or [])
        spec = {"vmiName": vmi["metadata"]["name"]}
        if body.get("addedNodeSelector"):
            spec["addedNodeSelector"] = body["addedNodeSelector"]
        try:
            self.store.create(VMIM, {
                "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration", "spec": spec,
                "metadata": {"generateName": "kubevirt-migrate-vm-", "namespace": vmi["metadata"]["namespace"]},
            }, user="kubevirt-apiserver", dry_run=dry_run)
        except status.ApiStatus as exc:
            raise status.ApiStatus(500, message="Internal error occurred: %s" % exc.message) from exc
        return 202, ""

    def _cancel(self, request):
        vmi = self._instance(request, None)
        body = request.json({}) or {}
        dry_run = request.dry_run or "All" in (body.get("dryRun") or [])
        self.evacuation.cancel(vmi, body.get("evacuationNodeName"), dry_run)
        return 200, ""
