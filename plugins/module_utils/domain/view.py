# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory arranged once, so that each rule finds what it asks for without searching."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import handoff, policy, settings
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.capacity import is_active, node_facts
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.migration import FINAL, HOLDS_SLOT
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.placement import Scene
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    CREATED_BY,
    MIGRATION_JOB,
    key_of,
    labels,
    mapping,
    rows,
    text,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.rules_quota import namespaces_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.rules_site import (
    against_nodes,
    handlers_of,
    systems_of,
)


class View:
    """What the rules look at; see :mod:`.migratability` for the inventory.

    ``settings`` are those in force in the cluster ({} when they cannot be told), ``release`` is KubeVirt's version
    ("" when it cannot be told), ``config`` is ``spec.configuration`` of the KubeVirt object.
    """

    def __init__(self, inventory, assumed=None, critical=(), acknowledged=(), hold=False):
        self.inventory = inventory
        self.critical, self.acknowledged = frozenset(critical), frozenset(acknowledged)
        self._held = {name: value for name, value in (assumed or {}).items() if value is not None} if hold else None
        self.forbidden = frozenset(inventory.get("forbidden") or ())
        self.dirty_rates = inventory.get("dirty_rates") or {}
        self.rates_asked = inventory.get("dirty_rates") is not None
        self.vmis = {key_of(vmi): vmi for vmi in self._list("vmis")}
        self.vms = {key_of(vm): vm for vm in self._list("vms")}
        self.claims = {key_of(claim): claim for claim in self._list("claims")}
        self.quotas = _grouped(self._list("quotas"), lambda entry: key_of(entry)[0])
        self.aaq_quotas = _grouped(self._list("aaq_quotas"), lambda entry: key_of(entry)[0])
        self.aaq_calculator = text(
            next(iter(self._list("aaqs")), None), "spec", "configuration", "vmiCalculatorConfiguration", "configName")
        self.cluster_quotas = {}
        for entry in self._list("cluster_quotas"):
            for namespace in namespaces_of(entry):
                self.cluster_quotas.setdefault(namespace, []).append(entry)
        self.topologies = {key_of(entry)[1]: entry for entry in self._list("topologies")}
        self.attachments, self.network_policies = self._list("attachments"), self._list("network_policies")
        self.namespaces = None
        if "namespaces" not in self.forbidden:
            self.namespaces = {key_of(entry)[1]: labels(entry) for entry in self._list("namespaces")}
        self._read_kubevirt(assumed or {})
        self._read_pods()
        self._read_migrations()

    def _list(self, name):
        return rows(self.inventory, name)

    # -- arranging -------------------------------------------------------------

    def _read_kubevirt(self, assumed):
        self.kubevirt = next(iter(self._list("kubevirts")), None)
        said = text(self.kubevirt, "status", "observedKubeVirtVersion")
        self.release = said if settings.release_of(said) else ""
        self.config = mapping(self.kubevirt, "spec", "configuration")
        self.eviction_strategy = text(self.config, "evictionStrategy") or "None"
        self.settings = {}
        if self.kubevirt is not None:
            self.settings = settings.in_force(mapping(self.config, "migrations"), self.release)
        self.network = text(self.settings, "network")  # as it is now: what is only assumed has not arrived anywhere
        self.settings.update({name: value for name, value in assumed.items() if value is not None})

    def _read_pods(self):
        pods = [pod for pod in self._list("pods") if is_active(pod)]
        by_node = _grouped(pods, lambda pod: text(pod, "spec", "nodeName"))
        self.pods_of = _grouped(pods, lambda pod: labels(pod).get(CREATED_BY, ""))
        readable = "pods" not in self.forbidden
        nodes = [
            node_facts(node, by_node.get(key_of(node)[1], []) if readable else None) for node in self._list("nodes")
        ]
        self.handlers = handlers_of(pods)
        self.against = against_nodes(self.handlers, self.network)
        self.systems = systems_of(self._list("nodes"))
        self.vm_nodes = [node["name"] for node in nodes if node["kubevirt_schedulable"] is not None]
        self.scene = Scene(nodes, pods if readable else None, self.namespaces, self.inventory.get("now") or 0,
                           self.against)

    def _read_migrations(self):
        unfinished = [vmim for vmim in self._list("vmims") if text(vmim, "status", "phase") not in FINAL]
        self.unfinished = _grouped(unfinished, lambda vmim: (key_of(vmim)[0], text(vmim, "spec", "vmiName")))
        pods = [pod for found in self.pods_of.values() for pod in found]
        jobs = {labels(pod)[MIGRATION_JOB]: pod for pod in pods if MIGRATION_JOB in labels(pod)}
        running = [
            vmim for vmim in unfinished
            if text(vmim, "status", "phase") in HOLDS_SLOT or text(vmim, "metadata", "uid") in jobs
        ]
        self.running = None if "vmims" in self.forbidden else len(running)
        limit = self.settings.get("parallel_migrations_per_cluster")
        self.free_slots = max(0, limit - self.running) if isinstance(limit, int) and self.running is not None else None
        self.outbound = {}
        for vmim in running:
            node = self._source_node(vmim, jobs)
            self.outbound[node] = self.outbound.get(node, 0) + 1

    def _source_node(self, vmim, jobs):
        """Where a running migration leaves from: of its VMI, or of the guest's pod that is not the target."""
        vmi = self.vmis.get((key_of(vmim)[0], text(vmim, "spec", "vmiName")))
        if vmi is not None:
            return text(vmi, "status", "nodeName")
        target = jobs.get(text(vmim, "metadata", "uid"))
        others = [pod for pod in self.pods_of.get(labels(target).get(CREATED_BY), []) if pod is not target]
        return text(others[0], "spec", "nodeName") if others else ""

    # -- asking ----------------------------------------------------------------

    def selected(self):
        """``[(namespace, name)]`` of the VMs asked about; without a selection all of them, sorted."""
        chosen = self.inventory.get("selected")
        return list(chosen) if chosen is not None else sorted(set(self.vmis) | set(self.vms))

    def settings_of(self, vmi):
        """The settings a migration of this VMI would run with.

        :raises LookupError: when they cannot be told.
        """
        if self.kubevirt is None or "policies" in self.forbidden:
            raise LookupError("settings")
        found = policy.effective(self.settings, self._policy(vmi))
        return found if self._held is None else handoff.held(found, self._held)

    def policy_name(self, vmi):
        """Where the settings come from, in words."""
        if self._held is not None:
            return "from the settings that will be held"
        found = self._policy(vmi)
        return "from MigrationPolicy %s" % key_of(found)[1] if found else "from the cluster's settings"

    def _policy(self, vmi):
        found = self.namespaces
        return policy.winner(
            self._list("policies"), labels(vmi), found.get(key_of(vmi)[0], {}) if found is not None else None)

    def public(self):
        """What is returned about the cluster."""
        return {
            "kubevirt_version": self.release or None,
            "hyperconverged_api": self.inventory.get("hyperconverged_api"),
            "target_by_name": self.inventory.get("target_by_name"),
            "migration_network": self.settings.get("network") or None,
            "settings": dict(self.settings),
            "free_slots": self.free_slots,
            "running_migrations": self.running,
            "unreadable": sorted(self.forbidden),
        }


def _grouped(objects, key):
    groups = {}
    for obj in objects:
        groups.setdefault(key(obj), []).append(obj)
    return groups
