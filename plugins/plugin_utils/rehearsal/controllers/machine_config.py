# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The machine-config operator, as far as a maintenance meets it: one node after another is drained, rebooted, uncordoned.

A pool works when its rendered configuration (``spec.configuration.name``) is not the nodes' one: a MachineConfig of
its role came, changed or went, or somebody wrote the name. A cordoned node is no candidate and counts as unavailable,
so that a foreign cordon can stop a pool for ever; a drain that fails for an hour makes the pool Degraded; a paused
pool does nothing (facts/preparation 2; pkg/controller/node: getAllCandidateMachines leaves out nodes whose desired
configuration is the pool's, sortNodeList orders by zone, then age). A change between configurations that make the same
machine touches no node (pkg/daemon/update.go: no difference, no action): neither drain nor reboot. Reboots take a
node's ``rehearsal.bigvm.io/boot-seconds``; after one the node has the huge pages of its kernel arguments, and its
kubelet pins CPUs if its configuration says so. Daemons are those of OpenShift 4.14 and later, which take CAs past a pause.
"""

from __future__ import annotations

import json

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.kubelet_ca import SYNCED
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.node_config import same_configuration
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import (
    drainer,
    machine_config_content,
    reboot,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.budgets import share
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.scheduler import selects
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    Loop,
    has_condition,
    is_deleted,
    key_of,
    set_condition,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.store import hash_of

GROUP = "machineconfiguration.openshift.io/"
CURRENT, DESIRED, STATE = GROUP + "currentConfig", GROUP + "desiredConfig", GROUP + "state"
DESIRED_DRAIN, APPLIED_DRAIN, REASON = GROUP + "desiredDrain", GROUP + "lastAppliedDrain", GROUP + "reason"
POOLS, CONFIGS = "machineconfigpools.machineconfiguration.openshift.io", "machineconfigs.machineconfiguration.openshift.io"
ZONE = "topology.kubernetes.io/zone"
LAG = 5.0  # seconds between looks
APPLY = 30.0  # seconds that a daemon writes files before it reboots
DEGRADED_AFTER = 3600.0  # seconds of a drain that fails


class Actor:
    """Both of its controllers and all of its daemons."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self.loop = Loop(world, self._pool)
        self._drains = {}
        self.store.on_event(POOLS, self._pool_seen)
        self.store.on_event("nodes", self._node)
        self.store.on_event(CONFIGS, self._config)
        for pool in self.store.list(POOLS):
            self._settle(pool)

    def _pool_seen(self, kind, pool, old):
        if kind == "ADDED" and not (pool["spec"].get("configuration") or {}).get("name"):
            self._render(pool)
        self._again()

    def _again(self):
        for pool in self.store.list(POOLS):
            self.loop.add(pool["metadata"]["name"], LAG)

    def _node(self, kind, node, old):
        if kind != "MODIFIED" or _seen(node) != _seen(old):
            self._again()

    # -- rendering ---------------------------------------------------------------

    def _config(self, kind, config, old):
        for pool in self.store.list(POOLS):
            selector = (pool.get("spec") or {}).get("machineConfigSelector")
            if selects(selector, config["metadata"].get("labels") or {}) and not (
                    kind == "MODIFIED" and config.get("spec") == old.get("spec")):
                self._render(pool)

    def _render(self, pool):
        selector = pool["spec"].get("machineConfigSelector")
        parts = [config for config in self.store.list(CONFIGS) if selects(selector, config["metadata"].get("labels") or {})
                 and not is_deleted(config)] if CONFIGS in self.store.resources else []
        parts = sorted((part for part in parts if not part["metadata"]["name"].startswith("rendered-")),
                       key=lambda part: part["metadata"]["name"])
        spec = machine_config_content.merged(parts)
        text = json.dumps([[part["metadata"]["name"] for part in parts], spec], sort_keys=True)
        name = "rendered-%s-%016x" % (pool["metadata"]["name"], hash_of(text))
        source = [{"apiVersion": GROUP + "v1", "kind": "MachineConfig", "name": part["metadata"]["name"]} for part in parts]
        if CONFIGS in self.store.resources and self.store.get(CONFIGS, "", name) is None:
            self.store.create(CONFIGS, {"apiVersion": GROUP + "v1", "kind": "MachineConfig", "metadata": {"name": name}, "spec": spec})
        self.store.modify(POOLS, "", pool["metadata"]["name"], lambda new: new["spec"].update(
            configuration={"name": name, "source": source}))

    def _settle(self, pool):
        """A pool that a topology brings along has updated all its nodes, unless it says otherwise."""
        if not (pool["spec"].get("configuration") or {}).get("name"):
            self._render(pool)
            pool = self.store.get(POOLS, "", pool["metadata"]["name"])
        name = ((pool.get("status") or {}).get("configuration") or pool["spec"]["configuration"])["name"]
        for node in self._members(pool):
            notes = node["metadata"].get("annotations") or {}
            self._note(node, **{CURRENT: notes.get(CURRENT) or name, DESIRED: notes.get(DESIRED) or name,
                                STATE: notes.get(STATE) or "Done", SYNCED: notes.get(SYNCED) or "1"})
        self._report(pool["metadata"]["name"])
        self.loop.add(pool["metadata"]["name"], LAG)

    # -- one look ----------------------------------------------------------------

    def _members(self, pool):
        """The pool's nodes by zone, then age, then name; the pool worker leaves those of the others."""
        selector = (pool.get("spec") or {}).get("nodeSelector")
        found = [node for node in self.store.list("nodes") if selects(selector, node["metadata"].get("labels") or {})]
        if pool["metadata"]["name"] == "worker":
            others = [other["spec"].get("nodeSelector") for other in self.store.list(POOLS)
                      if other["metadata"]["name"] != "worker"]
            found = [node for node in found if not any(
                selects(other, node["metadata"].get("labels") or {}) for other in others)]
        return sorted(found, key=lambda node: (
            (node["metadata"].get("labels") or {}).get(ZONE) or "", node["metadata"]["creationTimestamp"],
            node["metadata"]["name"]))

    def _pool(self, name):
        pool = self.store.get(POOLS, "", name)
        if pool is None:
            return
        target = (pool["spec"].get("configuration") or {}).get("name")
        members = self._members(pool)
        for node in members:
            if not _note_of(node, CURRENT):  # it came later
                self._note(node, **{CURRENT: target, DESIRED: target, STATE: "Done", SYNCED: "1"})
        if target and not pool["spec"].get("paused"):
            limit = pool["spec"].get("maxUnavailable")
            room = max(1, share(1 if limit is None else limit, len(members))) - sum(map(_unavailable, members))
            wanting = [node for node in members if _note_of(node, DESIRED) != target and _note_of(node, STATE) == "Done"
                       and not node["spec"].get("unschedulable")]
            for node in wanting[:max(0, room)]:
                self._begin(node, target, name)
        self._report(name)

    # -- one node ----------------------------------------------------------------

    def _begin(self, node, target, pool):
        name = node["metadata"]["name"]
        if self._same(_note_of(node, CURRENT), target):
            self._note(node, **{DESIRED: target, STATE: "Working"})
            self.world.after(LAG, lambda: self._note(node, **{CURRENT: target, STATE: "Done", REASON: ""}))
            return
        self._note(node, **{DESIRED: target, STATE: "Working", DESIRED_DRAIN: "drain-" + target})
        self.store.record_event(self.store.get(POOLS, "", pool), "Normal", "SetDesiredConfig",
                                "Targeted node %s to %s" % (name, target), "machineconfigcontroller")
        drainer.cordon(self.store, name)
        since = self.world.now()

        def looked(left):
            if left and self.world.now() - since > DEGRADED_AFTER:
                self._note(node, **{STATE: "Degraded", REASON: "failed to drain node: %s after 1 hour. Please see "
                                    "machine-config-controller logs for more information" % name})

        def drained():
            self._note(node, **{APPLIED_DRAIN: "drain-" + target, STATE: "Working"})
            self.world.after(APPLY, lambda: self._reboot(node, target))

        self._drains[name] = drainer.Drain(self.world, name, drained, looked)

    def _same(self, one, other):
        if CONFIGS not in self.store.resources:
            return False
        return same_configuration(self.store.get(CONFIGS, "", one or "-"), self.store.get(CONFIGS, "", other))

    def _reboot(self, node, target):
        name = node["metadata"]["name"]
        spec = (self.store.get(CONFIGS, "", target) or {}).get("spec") if CONFIGS in self.store.resources else None
        if spec:
            pages, pinned = machine_config_content.pages(spec), machine_config_content.cpu_manager(spec)
            reboot.of(self.world).will_be(name, pages, pinned)
        reboot.of(self.world).begin(name, done=lambda: self._end(node, target))

    def _end(self, node, target):
        self._note(node, **{CURRENT: target, STATE: "Done", REASON: "", DESIRED_DRAIN: "uncordon-" + target,
                            APPLIED_DRAIN: "uncordon-" + target})
        drainer.cordon(self.store, node["metadata"]["name"], False)

    def _note(self, node, **notes):
        self.store.modify("nodes", "", node["metadata"]["name"],
                          lambda new: new["metadata"].setdefault("annotations", {}).update(notes))

    # -- status ------------------------------------------------------------------

    def _report(self, name):
        pool = self.store.get(POOLS, "", name)
        members, target = self._members(pool), (pool["spec"].get("configuration") or {}).get("name")
        done = [node for node in members if _note_of(node, CURRENT) == target and _note_of(node, STATE) == "Done"]
        ready = [node for node in done if not _unavailable(node)]
        broken = [node for node in members if _note_of(node, STATE) == "Degraded"]
        paused, updated, now = bool(pool["spec"].get("paused")), len(done) == len(members), self.world.stamp()
        reasons = "; ".join("Node %s is reporting: \"%s\"" % (key_of(node)[1], _note_of(node, REASON)) for node in broken)

        def reported(new):
            state = new.setdefault("status", {})
            state.update(
                machineCount=len(members), updatedMachineCount=len(done), readyMachineCount=len(ready),
                unavailableMachineCount=sum(map(_unavailable, members)), degradedMachineCount=len(broken),
                observedGeneration=new["metadata"].get("generation", 1))
            if updated and pool["spec"].get("configuration"):
                state["configuration"] = pool["spec"]["configuration"]
            text = "All nodes are updated with MachineConfig " + str(target)
            set_condition(new, "Updated", updated, "", text if updated else "", now)
            text = "Pool is paused; will not update to " if paused else "All nodes are updating to MachineConfig "
            set_condition(new, "Updating", not updated and not paused, "", "" if updated else text + str(target), now)
            set_condition(new, "NodeDegraded", bool(broken), "%d nodes are reporting degraded status on sync" % len(
                broken) if broken else "", reasons, now)
            set_condition(new, "RenderDegraded", False, "", "", now)
            set_condition(new, "Degraded", bool(broken), "", "", now)

        self.store.modify(POOLS, "", name, reported)


def _note_of(node, key):
    return (node["metadata"].get("annotations") or {}).get(key)


def _unavailable(node):
    return bool(node["spec"].get("unschedulable") or not has_condition(node, "Ready") or _note_of(node, STATE) != "Done"
                or _note_of(node, CURRENT) != _note_of(node, DESIRED))


def _seen(node):
    return (node["spec"].get("unschedulable"), has_condition(node, "Ready"), node["metadata"].get("labels"),
            [_note_of(node, key) for key in (CURRENT, DESIRED, STATE)])
