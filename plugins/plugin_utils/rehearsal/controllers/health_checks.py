# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""NodeHealthCheck (medik8s) and MachineHealthCheck: they fence a node that is not Ready for too long.

A fence is a power cycle (:mod:`.reboot`): what runs on the node dies and is started elsewhere, and a long self test
starts from the beginning. A NodeHealthCheck with pauseRequests begins nothing new; neither does one while too many of
its nodes are unhealthy, while the cluster upgrades, or for a node that the node maintenance operator holds. A
MachineHealthCheck is paused by an annotation.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import parse_duration
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import reboot
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.budgets import share
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.node_maintenance import (
    EXCLUDED,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.scheduler import selects
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    Loop,
    has_condition,
    key_of,
    set_condition,
)

NODE_CHECKS = "nodehealthchecks.remediation.medik8s.io"
MACHINE_CHECKS = "machinehealthchecks.machine.openshift.io"
MACHINES = "machines.machine.openshift.io"
VERSIONS = "clusterversions.config.openshift.io"
PAUSED = "cluster.x-k8s.io/paused"
LAG = 1.0
USUAL = ({"type": "Ready", "status": "False", "duration": "300s"}, {"type": "Ready", "status": "Unknown", "duration": "300s"})


class _Checks:
    """What both have in common: selected nodes, conditions with durations, a fence for each unhealthy node."""

    KIND = NODE_CHECKS

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self._fenced = {}  # (check, node) -> time of the fence, until it is healthy again
        self.loop = Loop(world, self._look)
        self.store.on_event(self.KIND, lambda kind, obj, old: self.loop.add(key_of(obj), LAG))
        self.store.on_event("nodes", self._node)
        for check in self.store.list(self.KIND):
            self.loop.add(key_of(check), LAG)

    def _node(self, kind, node, old):
        if kind != "MODIFIED" or (node.get("status") or {}).get("conditions") != (old.get("status") or {}).get("conditions"):
            for check in self.store.list(self.KIND):
                self.loop.add(key_of(check), LAG)

    def _look(self, key):
        check = self.store.get(self.KIND, *key)
        if check is None:
            return
        nodes = self.nodes(check)
        due = {}
        for node in nodes:
            when = _unhealthy_at(node, (check.get("spec") or {}).get("unhealthyConditions") or USUAL)
            if when is not None:
                due[node["metadata"]["name"]] = when
            elif has_condition(node, "Ready"):
                self._fenced.pop((key, node["metadata"]["name"]), None)
        now = self.world.now()
        sick = sorted(name for name, when in due.items() if when <= now)
        later = [when for when in due.values() if when > now]
        if later:
            self.loop.add(key, min(later) - now + 0.01)
        hold = self.hold(check, len(nodes), len(sick))
        for name in sick if hold is None else ():
            if (key, name) not in self._fenced:
                self._fenced[(key, name)] = self.world.stamp()
                self.store.record_event(check, "Normal", "RemediationCreated", "Created remediation object for node %s"
                                        % name, self.KIND.split(".", maxsplit=1)[0])
                reboot.of(self.world).fence(name)
        fenced = {name: since for (owner, name), since in self._fenced.items() if owner == key}
        self.report(check, nodes, sick, hold, fenced)


class NodeHealthChecks(_Checks):
    """remediation.medik8s.io."""

    def nodes(self, check):
        """The nodes it watches."""
        selector = (check.get("spec") or {}).get("selector") or {}
        return [node for node in self.store.list("nodes") if selects(selector, node["metadata"].get("labels") or {})
                and (node["metadata"].get("labels") or {}).get(EXCLUDED) != "true"]

    def hold(self, check, total, sick):
        """Why nothing is begun, None when something may be."""
        spec = check.get("spec") or {}
        if spec.get("pauseRequests"):
            return "paused"
        if VERSIONS in self.store.resources and any(
                has_condition(version, "Progressing") for version in self.store.list(VERSIONS)):
            return "the cluster upgrades"
        least = share(spec.get("minHealthy") or "51%", total)
        if spec.get("maxUnhealthy") is not None:
            least = total - share(spec["maxUnhealthy"], total)
        return "too few healthy nodes" if total - sick < least else None

    def report(self, check, nodes, sick, hold, fenced):
        """status: phase Paused, Remediating or Enabled."""
        phase = "Paused" if hold == "paused" else "Remediating" if fenced else "Enabled"
        requests = (check.get("spec") or {}).get("pauseRequests") or []
        reason = {"Paused": "NHC is paused: %s" % ",".join(requests), "Remediating": "NHC is remediating %d nodes" % len(fenced),
                  "Enabled": "NHC is enabled, no ongoing remediation"}[phase]
        now = self.world.stamp()

        def reported(new):
            new.setdefault("status", {}).update(
                observedNodes=len(nodes), healthyNodes=len(nodes) - len(sick), phase=phase, reason=reason,
                inFlightRemediations=fenced, unhealthyNodes=[
                    {"name": name, "remediations": [{"started": since}]} for name, since in sorted(fenced.items())])
            set_condition(new, "Disabled", False, "NodeHealthCheckEnabled", "", now)

        self.store.modify(self.KIND, *key_of(check), reported)


class MachineHealthChecks(_Checks):
    """machine.openshift.io; nodes are known by the Machines that it selects."""

    KIND = MACHINE_CHECKS

    def nodes(self, check):
        """The nodes of the Machines it selects."""
        selector = (check.get("spec") or {}).get("selector") or {}
        machines = self.store.list(MACHINES, check["metadata"]["namespace"]) if MACHINES in self.store.resources else []
        names = {((machine.get("status") or {}).get("nodeRef") or {}).get("name") for machine in machines
                 if selects(selector, machine["metadata"].get("labels") or {})}
        return [node for node in self.store.list("nodes") if node["metadata"]["name"] in names]

    def hold(self, check, total, sick):
        """Why nothing is begun, None when something may be."""
        if PAUSED in (check["metadata"].get("annotations") or {}):
            return "paused"
        most = (check.get("spec") or {}).get("maxUnhealthy")
        return "too many unhealthy machines" if sick > share("100%" if most is None else most, total) else None

    def report(self, check, nodes, sick, hold, fenced):
        """status: how many, and whether it may."""
        now = self.world.stamp()

        def reported(new):
            new.setdefault("status", {}).update(
                expectedMachines=len(nodes), currentHealthy=len(nodes) - len(sick),
                remediationsAllowed=0 if hold else max(0, len(nodes) - len(sick)))
            set_condition(new, "RemediationAllowed", hold is None, None if hold is None else "TooManyUnhealthy", hold, now)

        self.store.modify(self.KIND, *key_of(check), reported)


def _unhealthy_at(node, rules):
    """When a node becomes unhealthy by these rules (seconds since the epoch); None when no rule holds."""
    found = []
    for rule in rules:
        for row in (node.get("status") or {}).get("conditions") or []:
            if row.get("type") == rule.get("type") and row.get("status") == rule.get("status"):
                try:
                    limit = parse_duration(rule.get("duration") or rule.get("timeout") or "300s")
                    found.append(from_timestamp(row["lastTransitionTime"]) + limit)
                except (ValueError, KeyError, TypeError):
                    continue
    return min(found) if found else None
