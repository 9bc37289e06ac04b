# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Evictions and evacuations: the webhook that answers 429, and the controller that moves the guests (facts 6.6-6.7, 7).

An eviction of a guest's pod is refused on purpose: the refusal marks the guest,
and the mark makes the controller create a migration, again and again, until the
guest is elsewhere or the mark is taken away.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import status
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    CREATED_BY,
    EVACUATION,
    FINAL,
    VMI,
    VMIM,
    Loop,
    drop_condition,
    has_condition,
    is_active,
    is_deleted,
    key_of,
    phase_of,
    set_condition,
)

HOOK = "virt-launcher-eviction-interceptor.kubevirt.io"
DESCHEDULER = "sigs.k8s.io/descheduler"
BY_MIGRATION = ("LiveMigrate", "LiveMigrateIfPossible")
PATH = "/api/v1/namespaces/(?P<ns>[^/]+)/pods/(?P<name>[^/]+)/eviction$"
DRAIN_TAINT = "kubevirt.io/drain"


def strategy_of(vmi, config):
    """``evictionStrategy``: the guest's, else the cluster's, else None (facts 6.6)."""
    return vmi["spec"].get("evictionStrategy") or config.get("evictionStrategy") or "None"


class Evacuation:
    """The pods/eviction endpoint and the evacuation controller."""

    def __init__(self, world, migrations):
        self.world = world
        self.store = world.store
        self.migrations = migrations
        self.loop = Loop(world, self._evacuate, (0.5, 2.0))
        self.store.on_event(VMI, self._vmi)
        self.store.on_event(VMIM, self._migration)
        self.store.on_event("nodes", self._node)
        for vmi in self.store.list(VMI):
            self._vmi("ADDED", vmi, None)

    def routes(self, app):
        """Add the endpoint to the API server."""
        app.route("POST", "^" + PATH, self._evict)

    # -- the eviction --------------------------------------------------------------

    def _evict(self, request):
        key = (request.groups["ns"], request.groups["name"])
        body = request.json({}) or {}
        dry_run = request.dry_run or "All" in ((body.get("deleteOptions") or {}).get("dryRun") or [])
        self.evict(key, body, dry_run)
        return 201, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}

    def evict(self, key, body, dry_run=False):
        """Evict a pod, for whoever asks.

        :param key: ``(namespace, name)``.
        :param body: the Eviction (dict).
        :raises ApiStatus: 404, 429, and 500 when two budgets cover it.
        """
        pod = self.store.get("pods", *key)
        if pod is None:
            raise status.not_found(self.store.resource("pods"), key[1])
        labels = pod["metadata"].get("labels") or {}
        if labels.get("kubevirt.io") == "virt-launcher" and is_active(pod) and not is_deleted(pod):
            self._intercept(pod, labels, body, dry_run)
        elif labels.get("kubevirt.io") == "hotplug-disk" and self.world.generation.hotplug_refusal:
            raise refusal("cannot evict hotplug pod")
        self.world.budgets.ask(pod, dry_run)
        if not dry_run and not is_deleted(pod):
            grace = pod["spec"].get("terminationGracePeriodSeconds")
            self.store.delete("pods", *key, grace=30 if grace is None else int(grace))

    def _intercept(self, pod, labels, body, dry_run):
        """Refuse with 429 unless this guest may be shut down."""
        vmi = self.world.vmi_of_uid(labels.get(CREATED_BY))
        if vmi is None or phase_of(vmi) in FINAL:
            return
        strategy = strategy_of(vmi, self.world.config())
        movable = not has_condition(vmi, "LiveMigratable", "False")
        if strategy == "None" or (strategy == "LiveMigrateIfPossible" and not movable):
            return
        name = "%s/%s" % key_of(vmi)
        if strategy == "LiveMigrate" and not movable:
            raise refusal('VMI "%s" is configured with an eviction strategy but is not live-migratable' % name)
        text, asked = 'Eviction triggered evacuation of VMI "%s"' % name, vmi["status"].get("evacuationNodeName")
        if asked and self.world.generation.refuses_repeats:
            raise refusal("Evacuation in progress: " + text)
        if pod["spec"].get("nodeName") != vmi["status"].get("nodeName"):  # also the old pod, just after the hand-over
            raise refusal("Eviction request for target Pod")
        if asked:
            return  # the guest's budget has the word
        if not dry_run:
            self._mark(vmi, pod, body)
        raise refusal(text)

    def _mark(self, vmi, pod, body):
        asked_by = ((body.get("metadata") or {}).get("annotations") or {}).get("requested-by")

        def marked(new):
            new["status"]["evacuationNodeName"] = pod["spec"]["nodeName"]
            if self.world.generation.evacuate_cancel:
                set_condition(new, "EvictionRequested", True, now=self.world.stamp())
            if asked_by == DESCHEDULER:
                new["metadata"].setdefault("annotations", {})["kubevirt.io/eviction-source"] = "descheduler"

        self.world.change_vmi(vmi, marked)

    # -- the controller --------------------------------------------------------------

    def _vmi(self, kind, vmi, old):
        state = vmi.get("status") or {}
        if kind != "DELETED" and (state.get("evacuationNodeName") or self._tainted(state.get("nodeName"))):
            self.loop.add(key_of(vmi))

    def _migration(self, kind, vmim, old):
        if kind == "DELETED" or phase_of(vmim) in FINAL:
            vmi = self.world.vmi(vmim["metadata"]["namespace"], vmim["spec"].get("vmiName"))
            if vmi is not None:
                self._vmi("MODIFIED", vmi, None)

    def _node(self, kind, node, old):
        if kind != "DELETED" and _drained(node) and not (old and _drained(old)):
            for vmi in self.store.by_index(VMI, "node", node["metadata"]["name"]):
                self.loop.add(key_of(vmi))

    def _tainted(self, name):
        node = self.store.get("nodes", "", name) if name else None
        return node is not None and _drained(node)

    def _evacuate(self, key):
        vmi = self.store.get(VMI, *key)
        if vmi is None or is_deleted(vmi) or phase_of(vmi) != "Running":
            return
        node = vmi["status"].get("nodeName")
        if vmi["status"].get("evacuationNodeName") != node and not self._tainted(node):
            return
        if strategy_of(vmi, self.world.config()) not in BY_MIGRATION or has_condition(vmi, "LiveMigratable", "False"):
            return
        if any(phase_of(vmim) not in FINAL for vmim in self.store.by_index(VMIM, "vmi", key)):
            return
        if len([pod for pod in self.world.pods_of(vmi) if is_active(pod)]) > 1:
            self.loop.add(key, 5)
            return
        if not self.world.generation.evacuates_all_at_once and not self._has_room(node):
            self.loop.add(key, 5)
            return
        source = (vmi["metadata"].get("annotations") or {}).get("kubevirt.io/eviction-source")
        self.migrations.create(vmi, "kubevirt-evacuation-", {EVACUATION: node},
                               "system-maintenance" if source == "descheduler" else "system-critical")

    def _has_room(self, node):
        """Free slots less what waits already: older releases create no more than can run (facts 7.4)."""
        waiting = [vmim for vmim in self.store.by_index(VMIM, "open", True) if phase_of(vmim) in ("", "Pending")]
        return self.migrations.slots.free(node) > len(waiting)

    # -- taking the mark away ----------------------------------------------------------

    def cancel(self, vmi, node, dry_run):
        """evacuate/cancel: the guest is no longer asked to leave (facts 7.5, 9.6).

        :param node: evacuationNodeName as the caller knows it; the one it is must be named, or the patch fails.
        """
        marked = vmi["status"].get("evacuationNodeName")
        if self._tainted(marked or vmi["status"].get("nodeName")):
            raise status.bad_request('Node "%s" has NodeDrainTaintKey' % (marked or vmi["status"]["nodeName"]))
        if not marked:
            return
        if node != marked:
            raise status.ApiStatus(500, message="Internal error occurred: the server rejected our request due to an error in our request")

        def free(new):
            new["status"].pop("evacuationNodeName", None)
            drop_condition(new, "EvictionRequested")

        if not dry_run:
            self.world.change_vmi(vmi, free)


def refusal(message):
    """What the eviction webhook answers."""
    return status.ApiStatus(429, message='admission webhook "%s" denied the request: %s' % (HOOK, message))


def _drained(node):
    return any(taint.get("key") == DRAIN_TAINT and taint.get("effect") == "NoSchedule"
               for taint in (node.get("spec") or {}).get("taints") or [])
