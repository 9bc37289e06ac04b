# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""virt-handler's DaemonSet: one pod on every node, rolled when the migration network changes (facts 10.11-10.12)."""

from __future__ import annotations

import math

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.target_pod import SCHEDULABLE
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import objects
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import attaching
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    DAEMON_SETS,
    is_deleted,
    key_of,
    phase_of,
    set_label,
)

EACH = (8.0, 20.0)  # seconds until a new virt-handler is ready
LOOK_AGAIN = 15.0  # seconds between looks for a network that is not defined
GRACE = 330  # seconds a virt-handler gets to end
AFTER_CANARY = 0.1  # of all pods, once the first is well


class Rollout:
    """The DaemonSet's controller, as far as anybody notices it."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self._turn = 0
        self._leaving = {}  # node -> the roll-out that waits for the end of its pod
        self._addresses = {}  # node -> the number of its address on the migration network
        self.store.on_event("pods", self._pod)
        self.store.on_event("nodes", self._node)

    # -- a pod everywhere ----------------------------------------------------------

    def _pod(self, kind, pod, old):
        if kind == "DELETED" and (pod["metadata"].get("labels") or {}).get("kubevirt.io") == "virt-handler":
            node = pod["spec"].get("nodeName")
            roll = self._leaving.pop(node, None)
            if roll is not None and roll.turn == self._turn:
                self._renew(roll, node)
            else:
                self.world.later(1.0, 4.0, lambda: self._ensure(node))

    def _node(self, kind, node, old):
        if kind == "ADDED":
            self.world.later(1.0, 4.0, lambda: self._ensure(node["metadata"]["name"]))

    def _ensure(self, node):
        """A pod is back on a node that lacks it (a roll-out has its own way)."""
        daemon = self._daemon()
        if daemon is None or self.store.get("nodes", "", node) is None or self.world.handler_pod(node) is not None:
            return
        self._new_pod(daemon, node, self._network())
        nodes = len(self.store.list("nodes"))
        self.store.modify(DAEMON_SETS, *key_of(daemon), lambda new: new["status"].update(
            desiredNumberScheduled=nodes, currentNumberScheduled=nodes, numberReady=nodes, numberAvailable=nodes,
            updatedNumberScheduled=nodes))

    # -- rolling -----------------------------------------------------------------------

    def begin(self, done):
        """Replace every pod that is not as configured: one as a canary, then a tenth of them at a time; then ``done()``.

        A roll-out that has not ended is given up for it.
        """
        self._turn += 1
        daemon, network = self._daemon(), self._network()
        if daemon is None:
            done()
            return
        wanted = {objects.NETWORKS_ANNOTATION: "%s@%s" % (network, objects.MIGRATION_INTERFACE)} if network else {}

        def template(new):
            new["spec"]["template"]["metadata"]["annotations"] = wanted

        daemon = self.store.modify(DAEMON_SETS, *key_of(daemon), template)
        nodes = sorted(node["metadata"]["name"] for node in self.store.list("nodes"))
        roll = _Roll(self._turn, daemon, network, nodes, done)
        self._at_a_time(roll, 1)
        self._go_on(roll)

    def _go_on(self, roll):
        """Replace as many more as may be away at a time; nodes whose pod is right are passed over."""
        while roll.turn == self._turn and roll.todo and len(roll.busy) < roll.limit:
            node = roll.todo.pop(0)
            if self._is_right(roll, node):
                roll.updated += 1
            elif self.store.get("nodes", "", node) is not None:
                roll.busy.add(node)
                self._replace(roll, node)
        if roll.turn == self._turn:
            self._count(roll)
            if not roll.todo and not roll.busy:
                self._at_a_time(roll, 1)
                roll.done()

    def _replace(self, roll, node):
        """The old pod goes, which takes as long as copies run through it (facts 8.7); then comes a new one."""
        old = self.world.handler_pod(node)
        self.store.modify("nodes", "", node, lambda new: set_label(new, SCHEDULABLE, "false"))
        if old is None:
            self._renew(roll, node)
            return
        self._leaving[node] = roll
        if not is_deleted(old):
            self.store.delete("pods", *key_of(old), grace=GRACE)

    def _renew(self, roll, node):
        if roll.turn != self._turn or self.store.get("nodes", "", node) is None:
            return
        if self._new_pod(roll.daemon, node, roll.network):
            self.world.later(*EACH, lambda: self._ready(roll, node))
        else:  # the canary stalls until there is such a network
            self.world.after(LOOK_AGAIN, lambda: self._look_again(roll, node))

    def _ready(self, roll, node):
        if self.store.get("nodes", "", node) is not None:
            self.store.modify("nodes", "", node, lambda new: set_label(new, SCHEDULABLE, "true"))
        if roll.turn == self._turn:
            roll.busy.discard(node)
            roll.updated += 1
            if roll.limit == 1:  # the canary is well
                self._at_a_time(roll, max(1, math.ceil(len(self.store.list("nodes")) * AFTER_CANARY)))
            self._go_on(roll)

    def _look_again(self, roll, node):
        if roll.turn != self._turn:
            return
        if self._why_not(roll.network, node) is None:
            self._replace(roll, node)
        else:
            self.world.after(LOOK_AGAIN, lambda: self._look_again(roll, node))

    def _is_right(self, roll, node):
        pod = self.world.handler_pod(node)
        wanted = roll.daemon["spec"]["template"]["metadata"]["annotations"].get(objects.NETWORKS_ANNOTATION)
        return pod is not None and phase_of(pod) == "Running" and not is_deleted(pod) and (
            pod["metadata"].get("annotations") or {}).get(objects.NETWORKS_ANNOTATION) == wanted

    def _at_a_time(self, roll, limit):
        """How many pods may be away; the DaemonSet says so."""
        roll.limit = limit
        shown = 1 if limit == 1 else "%d%%" % (100 * AFTER_CANARY)

        def limited(new):
            new["spec"]["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": shown}}

        self.store.modify(DAEMON_SETS, *key_of(roll.daemon), limited)
        self._count(roll)

    # -- parts -------------------------------------------------------------------------

    def _daemon(self):
        return next((ds for ds in self.store.list(DAEMON_SETS) if ds["metadata"]["name"] == "virt-handler"), None)

    def _network(self):
        return (self.world.config().get("migrations") or {}).get("network")

    @staticmethod
    def _place(network):
        namespace, _slash, name = network.rpartition("/")
        return namespace or objects.HCO_NAMESPACE, name

    def _why_not(self, network, node):
        """What keeps a pod of that node off the network, in an event's words; None when nothing does."""
        return attaching.problem(self.store, *self._place(network), node) if network else None

    def _new_pod(self, daemon, node, network):
        """Create the pod on a node; False when its sandbox will not come up, for want of the network."""
        why, number, ip = self._why_not(network, node), None, None
        if network and why is None:
            ip = attaching.address(self.store, attaching.attachment(self.store, *self._place(network)))
            number = self._addresses.setdefault(node, len(self._addresses))
        pod = objects.handler_pod(daemon, node, number, network, ip)
        if why:
            pod["metadata"]["annotations"][objects.KNOB + "fail"] = "pod-stuck"
        pod = self.store.create("pods", pod)
        if why:
            self.world.event(pod, "FailedCreatePodSandBox", why, "Warning", "kubelet")
        return why is None

    def _count(self, roll):
        def counted(new):
            here = new["status"].get("desiredNumberScheduled", 0) - len(roll.busy)
            new["status"].update(updatedNumberScheduled=roll.updated, numberReady=here, numberAvailable=here,
                                 observedGeneration=new["metadata"]["generation"])

        self.store.modify(DAEMON_SETS, *key_of(roll.daemon), counted)


class _Roll:
    """One roll-out under way: nodes still to come, nodes whose pod is away, how many of them at most."""

    def __init__(self, turn, daemon, network, nodes, done):
        self.turn, self.daemon, self.network, self.done = turn, daemon, network, done
        self.todo, self.busy, self.updated, self.limit = list(nodes), set(), 0, 1
