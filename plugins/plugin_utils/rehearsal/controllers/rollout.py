# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""virt-handler's DaemonSet: one pod on every node, rolled one after another when the migration network changes (facts 10.11-10.12)."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.target_pod import SCHEDULABLE
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import objects
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    DAEMON_SETS,
    key_of,
    phase_of,
    set_label,
)

EACH = (8.0, 20.0)  # seconds until a new virt-handler is ready
LOOK_AGAIN = 15.0  # seconds between looks for a network that is not defined
DEFINITIONS = "network-attachment-definitions.k8s.cni.cncf.io"


class Rollout:
    """The DaemonSet's controller, as far as anybody notices it."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self._turn = 0
        self._addresses = {}  # node -> the number of its address on the migration network
        self.store.on_event("pods", self._pod)
        self.store.on_event("nodes", self._node)

    # -- a pod everywhere ----------------------------------------------------------

    def _pod(self, kind, pod, old):
        if kind == "DELETED" and (pod["metadata"].get("labels") or {}).get("kubevirt.io") == "virt-handler":
            self.world.later(1.0, 4.0, lambda: self._ensure(pod["spec"].get("nodeName")))

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
        """Replace every pod that is not as configured, never more than one at a time; then call ``done()``.

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
        self.store.modify(DAEMON_SETS, *key_of(daemon), lambda new: new["status"].update(
            observedGeneration=new["metadata"]["generation"], updatedNumberScheduled=0))
        nodes = sorted(node["metadata"]["name"] for node in self.store.list("nodes"))
        self._next(_Roll(self._turn, daemon, network, nodes, done), 0)

    def _next(self, roll, index):
        """Go on with the node at ``index``; nodes whose pod is right are passed over."""
        if roll.turn != self._turn:
            return
        while index < len(roll.nodes) and self._is_right(roll, roll.nodes[index]):
            index += 1
        if index == len(roll.nodes):
            self._count(roll, index, 0)
            roll.done()
            return
        node = roll.nodes[index]
        old = self.world.handler_pod(node)
        if old is not None:
            self.store.delete("pods", *key_of(old))
        self._count(roll, index, -1)
        self.store.modify("nodes", "", node, lambda new: set_label(new, SCHEDULABLE, "false"))
        if self._new_pod(roll.daemon, node, roll.network):
            self.world.later(*EACH, lambda: self._ready(roll, index))
        else:  # the canary stalls until there is such a network
            self.world.after(LOOK_AGAIN, lambda: self._look_again(roll, index))

    def _ready(self, roll, index):
        self.store.modify("nodes", "", roll.nodes[index], lambda new: set_label(new, SCHEDULABLE, "true"))
        if roll.turn == self._turn:
            self._count(roll, index + 1, 0)
            self._next(roll, index + 1)

    def _look_again(self, roll, index):
        if self._definition(roll.network) is not None:
            self._next(roll, index)
        elif roll.turn == self._turn:
            self.world.after(LOOK_AGAIN, lambda: self._look_again(roll, index))

    def _is_right(self, roll, node):
        pod = self.world.handler_pod(node)
        wanted = roll.daemon["spec"]["template"]["metadata"]["annotations"].get(objects.NETWORKS_ANNOTATION)
        return pod is not None and phase_of(pod) == "Running" and (
            pod["metadata"].get("annotations") or {}).get(objects.NETWORKS_ANNOTATION) == wanted

    # -- parts -------------------------------------------------------------------------

    def _daemon(self):
        return next((ds for ds in self.store.list(DAEMON_SETS) if ds["metadata"]["name"] == "virt-handler"), None)

    def _network(self):
        return (self.world.config().get("migrations") or {}).get("network")

    def _definition(self, network):
        namespace, _slash, name = network.rpartition("/")
        return self.store.get(DEFINITIONS, namespace or objects.HCO_NAMESPACE, name) \
            if DEFINITIONS in self.store.resources else None

    def _new_pod(self, daemon, node, network):
        """Create the pod on a node; False when its sandbox will never come up, for want of the network."""
        attached = not network or self._definition(network) is not None
        number = self._addresses.setdefault(node, len(self._addresses)) if network and attached else None
        pod = objects.handler_pod(daemon, node, number, network)
        if not attached:
            pod["metadata"]["annotations"][objects.KNOB + "fail"] = "pod-stuck"
        pod = self.store.create("pods", pod)
        if not attached:
            self.world.event(pod, "FailedCreatePodSandBox", "cannot find a network-attachment-definition (%s) in "
                             "namespace (%s)" % (network, pod["metadata"]["namespace"]), "Warning", "kubelet")
        return attached

    def _count(self, roll, updated, missing):
        def counted(new):
            here = new["status"].get("desiredNumberScheduled", 0) + missing
            new["status"].update(updatedNumberScheduled=updated, numberReady=here, numberAvailable=here)

        self.store.modify(DAEMON_SETS, *key_of(roll.daemon), counted)


class _Roll:
    """One roll-out under way."""

    def __init__(self, turn, daemon, network, nodes, done):
        self.turn, self.daemon, self.network, self.nodes, self.done = turn, daemon, network, nodes, done
