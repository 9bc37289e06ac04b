# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""NMState: a policy becomes an enactment on each node it selects, a few nodes at a time (facts, preparation 1, NNCP / NNCE).

Which fact is played where:

- the webhook clears the conditions of a changed policy (wait rule): :meth:`Actor._begin`;
- ``maxUnavailable`` 50 % by default, rounded up, at least 1; who waits is Pending with MaxUnavailableLimitReached (spec): :class:`_Run`;
- no node selected: Ignored, NoMatchingNode; nodes that are not Ready are passed over and only mentioned (conditions):
  :meth:`Actor._report`;
- a node applies under a checkpoint and is rolled back when it or a probe after it fails (apply): :meth:`Actor._end`;
- since 2025-10-22 five attempts with 1 to 30 s between them, Failing and Progressing at once with the reason Retrying; older operators
  fail at once; when as many failed as may be unavailable, the rest is Aborted (retries): :meth:`Actor._failed`;
- deleting a policy reverts nothing (undo): :meth:`Actor._policy`.

A node's annotation ``rehearsal.bigvm.io/nmstate-fail`` lets every attempt there fail with its text, ``nmstate-fail-times`` only that many.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import node_networks, platform_kinds
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.budgets import share
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    has_condition,
    is_deleted,
    knob,
    set_condition,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.node_networks import Failed

POLICIES = "nodenetworkconfigurationpolicies.nmstate.io"
ENACTMENTS = "nodenetworkconfigurationenactments.nmstate.io"
STATES = "nodenetworkstates.nmstate.io"
KINDS = ("NodeNetworkConfigurationPolicy", "NodeNetworkConfigurationEnactment", "NodeNetworkState")
APPLY = (12.0, 35.0)  # seconds on one node, probes before and after included
PROBES = 120.0  # seconds until a probe gives up, after which the node is rolled back
BACKOFF = (1.0, 30.0)
ATTEMPTS = 5
RETRIES_SINCE = (1, 7)  # the KubeVirt release of the months in which operators began to retry
CONDITIONS = ("Available", "Failing", "Pending", "Progressing", "Aborted")


def serve(store):
    """Serve NMState's kinds."""
    for kind in KINDS:
        platform_kinds.serve(store, kind)


def populate(store, nics):
    """A NodeNetworkState for every node that has none.

    :param nics: ``{node: cards, see node_networks.nics_of}``.
    """
    serve(store)
    for node in store.list("nodes"):
        name = node["metadata"]["name"]
        if store.get(STATES, "", name) is None:
            address = next((row["address"] for row in (node.get("status") or {}).get("addresses") or []
                            if row["type"] == "InternalIP"), "192.168.100.2")
            store.create(STATES, {"metadata": {"name": name}})
            status = {"currentState": node_networks.state(address, node_networks.nics_of(nics.get(name))),
                      "lastSuccessfulUpdateTime": store.timestamp()}
            store.modify(STATES, "", name, lambda new, status=status: new.update(status=status))


def current_state(store, node):
    """``currentState`` of a node; None where NMState does not say."""
    found = store.get(STATES, "", node) if STATES in store.resources else None
    return ((found or {}).get("status") or {}).get("currentState")


class Actor:
    """The operator's webhook and the handlers of all nodes."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self.attempts = ATTEMPTS if world.generation.release >= RETRIES_SINCE else 1
        self._runs = {}  # policy -> _Run
        if STATES in self.store.resources:
            populate(self.store, {})
        else:  # its kind comes in this very moment, and the others once that is announced
            world.after(0, lambda: populate(self.store, {}))
        self.store.on_event(POLICIES, self._policy)
        self.store.on_event("nodes", self._node)
        for policy in self.store.list(POLICIES):
            self._begin(policy)

    # -- events ----------------------------------------------------------------

    def _policy(self, kind, policy, old):
        name = policy["metadata"]["name"]
        if kind == "DELETED":
            self._runs.pop(name, None)
            for row in self.store.list(ENACTMENTS, selector="nmstate.io/policy=" + name):
                self.store.delete(ENACTMENTS, "", row["metadata"]["name"])
        elif not is_deleted(policy) and (old is None or policy["metadata"]["generation"] != old["metadata"]["generation"]):
            self._begin(policy)

    def _node(self, kind, node, old):
        if kind == "ADDED":
            populate(self.store, {})
        if kind == "ADDED" or (old is not None and has_condition(node, "Ready") and not has_condition(old, "Ready")):
            for run in list(self._runs.values()):
                self.world.later(1.0, 3.0, lambda run=run: self._go_on(run))

    # -- a policy ----------------------------------------------------------------

    def _begin(self, policy):
        run = self._runs[policy["metadata"]["name"]] = _Run(policy)
        self.store.modify(POLICIES, "", run.name, lambda new: new.setdefault("status", {}).update(conditions=[
            {"type": kind, "status": "Unknown", "lastHeartbeatTime": self.world.stamp(), "lastTransitionTime": self.world.stamp()}
            for kind in ("Available", "Degraded", "Progressing", "Ignored")]))
        self.world.later(0.5, 2.0, lambda: self._go_on(run))

    def _stale(self, run):
        return self._runs.get(run.name) is not run

    def _members(self, run):
        selector = run.spec.get("nodeSelector") or {}
        return [node for node in self.store.list("nodes") if all(
            (node["metadata"].get("labels") or {}).get(key) == value for key, value in selector.items())]

    def _go_on(self, run):
        """Start as many nodes as may be unavailable at once."""
        if self._stale(run):
            return
        members = self._members(run)
        ready = [node["metadata"]["name"] for node in members if has_condition(node, "Ready") and node["metadata"]["name"]
                 not in self.world.down]
        limit = max(1, share(run.spec.get("maxUnavailable", "50%"), len(members)))
        waiting = [name for name in sorted(ready) if name not in run.outcome and name not in run.busy]
        if len(run.failed()) >= limit:
            for name in waiting:
                run.outcome[name] = "aborted"
                self._enact(run, name, Aborted=("ConfigurationAborted", "policy is aborted, too many nodes failed"))
            waiting = []
        for name in waiting[:max(0, limit - len(run.busy))]:
            run.busy.add(name)
            self._enact(run, name, Progressing=("ConfigurationProgressing", "Applying desired state"))
            self.world.later(*APPLY, lambda name=name: self._end(run, name))
        for name in waiting[max(0, limit - len(run.busy)):] if len(run.busy) >= limit else ():
            if name not in run.busy:
                self._enact(run, name, Pending=("MaxUnavailableLimitReached", "maximal number of nodes are already processing policy "
                                                "configuration"))
        self._report(run, members, ready)

    # -- a node ------------------------------------------------------------------

    def _end(self, run, node):
        """nmstatectl is through; what failed is rolled back, that is, the state stays as it was."""
        if self._stale(run) or self.store.get("nodes", "", node) is None:
            return
        if node in self.world.down:  # it goes on when it is back
            run.busy.discard(node)
            return
        try:
            after = self._applied(run, node)
        except Failed as exc:
            said = str(exc)
            self.world.after(PROBES if "probes" in said else 0.0, lambda: self._failed(run, node, said))
            return
        self.store.modify(STATES, "", node, lambda new: new["status"].update(
            currentState=after, lastSuccessfulUpdateTime=self.world.stamp()))
        self._finish(run, node, "good", Available=("SuccessfullyConfigured", "successfully reconciled"))

    def _applied(self, run, node):
        said = knob(self.store.get("nodes", "", node), "nmstate-fail")
        times = knob(self.store.get("nodes", "", node), "nmstate-fail-times")
        if said and (times is None or run.tries.get(node, 0) < int(times)):
            raise Failed(said)
        return node_networks.applied(current_state(self.store, node), run.spec.get("desiredState") or {})

    def _failed(self, run, node, text):
        if self._stale(run):
            return
        tries = run.tries[node] = run.tries.get(node, 0) + 1
        message = ("error reconciling NodeNetworkConfigurationPolicy on node %s at desired state apply: \"\", failed to execute nmstatectl "
                   "set --no-commit --timeout 480: 'exit status 1' '' '%s'" % (node, "\n" + text + "\n"))
        if tries < self.attempts:
            self._enact(run, node, Failing=("Retrying", message), Progressing=("Retrying", message))
            pause = min(BACKOFF[1], BACKOFF[0] * 2 ** (tries - 1))
            self.world.after(pause + self.world.between(*APPLY), lambda: self._end(run, node))
            return
        self.store.record_event(self.store.get(POLICIES, "", run.name), "Warning", "ReconcileFailed",
                                "error reconciling NodeNetworkConfigurationPolicy on node %s" % node, "nmstate-handler")
        self._finish(run, node, "failed", Failing=("FailedToConfigure", message))

    def _finish(self, run, node, outcome, **condition):
        run.busy.discard(node)
        run.outcome[node] = outcome
        self._enact(run, node, **condition)
        self._go_on(run)

    def _enact(self, run, node, **true):
        """Write the enactment of a node: these conditions are true, ``{type: (reason, message)}``, all others false."""
        name, now = "%s.%s" % (node, run.name), self.world.stamp()
        if self.store.get(ENACTMENTS, "", name) is None:
            self.store.create(ENACTMENTS, {"metadata": {"name": name, "labels": {
                "nmstate.io/policy": run.name, "nmstate.io/node": node}}})
        reason = next(iter(true.values()))[0]

        def enacted(new):
            state = new.setdefault("status", {})
            state.update(desiredState=run.spec.get("desiredState") or {}, policyGeneration=run.generation,
                         retryCount={str(run.generation): run.tries.get(node, 0)})
            for kind in CONDITIONS:
                why, message = true.get(kind, (reason, ""))
                set_condition(new, kind, kind in true, why, message, now)
                state["conditions"][-1].setdefault("lastHeartbeatTime", now)

        self.store.modify(ENACTMENTS, "", name, enacted)

    # -- status ------------------------------------------------------------------

    def _report(self, run, members, ready):
        now, left_out = self.world.stamp(), len(members) - len(ready)
        ended = [name for name in ready if name in run.outcome]
        good = [name for name in ended if run.outcome[name] == "good"]
        aborted = [name for name in ended if run.outcome[name] == "aborted"]
        tail = ", %d nodes ignored due to NotReady state" % left_out if left_out else ""
        count = "%d/%d nodes" % (len(good), len(ready))
        if not members:
            state, reason, text = "Ignored", "NoMatchingNode", "Policy does not match any node"
        elif len(ended) < len(ready):
            state, reason, text = "Progressing", "ConfigurationProgressing", "Policy is progressing %d/%d nodes finished%s" % (
                len(ended), len(ready), tail)
        elif len(good) < len(ready):
            state, reason = "Degraded", "FailedToConfigure"
            text = "%d/%d nodes failed to configure%s%s" % (len(run.failed()), len(ready), ", %d nodes aborted configuration" % len(
                aborted) if aborted else "", tail)
        else:
            state, reason, text = "Available", "SuccessfullyConfigured", "%s successfully configured%s" % (count, tail)

        def reported(new):
            status = new.setdefault("status", {})
            for kind in ("Available", "Degraded", "Progressing", "Ignored"):
                set_condition(new, kind, kind == state, reason, text if kind == state else "", now)
            status.update(unavailableNodeCount=len(run.busy), lastUnavailableNodeCountUpdate=now,
                          unavailableNodeCountMap={str(run.generation): len(run.busy)})

        self.store.modify(POLICIES, "", run.name, reported)


class _Run:
    """One generation of a policy on its way: who is busy with it, how it ended where, how often it was tried."""

    def __init__(self, policy):
        self.name, self.spec = policy["metadata"]["name"], policy.get("spec") or {}
        self.generation = policy["metadata"]["generation"]
        self.busy, self.outcome, self.tries = set(), {}, {}

    def failed(self):
        """The nodes that are given up."""
        return [name for name, outcome in self.outcome.items() if outcome == "failed"]
