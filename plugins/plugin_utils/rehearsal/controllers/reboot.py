# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nodes that go down and come back: a maintenance's reboot, one by another operator, a fence.

Clean: the node says that it shuts down, its pods end. Hard: the kubelet falls silent, the node is Unknown after
:data:`NOTICED` seconds, and what ran there ends when the node is back or somebody fences it. Either way guests die
with their launcher. ``without`` names what does not come back:

* ``hugepages-1Gi`` or any other resource of the node: nothing of it is allocatable
* ``migration0``: virt-handler is on the pod network alone
* ``cpumanager``: the kubelet's policy is not static any more
* ``virt-handler``: its pod does not become ready; ``ready``: the node stays NotReady

A node's ``rehearsal.bigvm.io/boot-without`` says the same of its next boots. A later reboot without ``without`` brings
everything back. Nothing here is drawn at random.
"""

from __future__ import annotations

import json

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import amount
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.target_pod import SCHEDULABLE
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import objects
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.kubelet import running
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.nodes import HEARTBEAT
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    DAEMON_SETS,
    is_active,
    key_of,
    knob,
    phase_of,
    set_condition,
    set_label,
)

USUAL = 300.0  # seconds that a node is away; a node's annotation rehearsal.bigvm.io/boot-seconds says otherwise
NOTICED = 40.0  # seconds of silence until a node is Unknown
ENDED = 3.0  # seconds that launchers take to end in a clean shutdown
BROKEN = 20.0  # seconds until a copy notices that the other side is gone
PODS_BACK, HANDLER_BACK = 5.0, 20.0  # seconds after Ready
TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
CPU_MANAGER = ("cpumanager", "kubevirt.io/cpumanager")
DEVICES = "devices.kubevirt.io/"
LOST = "Live migration failed: the connection to the target was lost"


def of(world):
    """The :class:`Reboots` of a world, made when first asked for."""
    if world.reboots is None:
        world.reboots = Reboots(world)
    return world.reboots


class Reboots:
    """All nodes that are away, and what they had before."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self._turns, self._whole, self._networks = {}, {}, {}
        self._without, self._waiting = {}, {}

    def begin(self, node, seconds=None, without=(), hard=False, done=None):
        """Take a node away for some seconds; one that is away already starts anew.

        :param done: called when it is Ready again.
        """
        turn = self._turns[node] = self._turns.get(node, 0) + 1
        found = self.store.get("nodes", "", node)
        seconds = float(knob(found, "boot-seconds", USUAL) if seconds is None else seconds)
        without = tuple(without) or tuple(filter(None, (knob(found, "boot-without", "") or "").split(",")))
        self._remember(found)
        down_already = node in self.world.down
        self.world.down.add(node)
        # What is broken stays broken when somebody cuts the power in between, and who waits still waits.
        self._without[node] = tuple(without) or (self._without.get(node, ()) if down_already else ())
        self._waiting.setdefault(node, []).extend([done] if done else [])
        if not down_already:
            if hard:
                self.world.after(min(NOTICED, seconds / 2), lambda: self._silent(node))
            else:
                self._shut_down(node)
            self._break_copies(node)
        self.world.after(seconds, lambda: self._up(node, turn))

    def will_be(self, node, pages=None, cpu_manager=None):
        """What the next boot brings: so many 1 GiB pages, and whether the kubelet pins CPUs; None leaves it as it is."""
        self._remember(self.store.get("nodes", "", node))
        whole = self._whole[node]
        if pages is not None:
            free = whole["allocatable"]
            total = (amount(free.get("memory")) or 0) + (amount(free.get("hugepages-1Gi")) or 0)
            free["memory"] = "%dKi" % max(0, (total - pages * 1024 ** 3) // 1024)
            whole["capacity"]["hugepages-1Gi"] = free["hugepages-1Gi"] = "%dGi" % pages if pages else "0"
        if cpu_manager is not None:
            keys = CPU_MANAGER if self.world.generation.cpu_manager_label else CPU_MANAGER[:1]
            whole["labels"].update(dict.fromkeys(keys, "true" if cpu_manager else "false"))

    def fence(self, node):
        """Power a node off and on: what ran there is declared dead at once, and its boot starts from the beginning."""
        self.begin(node, hard=True)
        self._end_pods(node)

    # -- going -------------------------------------------------------------------

    def _remember(self, node):
        name, status = node["metadata"]["name"], node.get("status") or {}
        labels = node["metadata"].get("labels") or {}
        self._whole.setdefault(name, {
            "allocatable": dict(status.get("allocatable") or {}), "capacity": dict(status.get("capacity") or {}),
            "labels": {key: labels[key] for key in CPU_MANAGER if key in labels}})

    def _shut_down(self, node):
        """A clean shutdown tells the API first."""
        self._not_ready(node, False, "KubeletNotReady", "node is shutting down", TAINTS[0])
        self.store.modify("nodes", "", node, lambda new: set_label(new, SCHEDULABLE, "false"))
        self.world.after(ENDED, lambda: self._end_pods(node))

    def _silent(self, node):
        if node in self.world.down:
            self._not_ready(node, "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.", TAINTS[1])

    def _not_ready(self, node, state, reason, message, taint):
        now = self.world.stamp()

        def gone(new):
            set_condition(new, "Ready", state, reason, message, now)
            taints = [row for row in new["spec"].get("taints") or [] if row.get("key") not in TAINTS]
            new["spec"]["taints"] = taints + [{"key": taint, "effect": effect, "timeAdded": now}
                                              for effect in ("NoSchedule", "NoExecute")]

        self.store.modify("nodes", "", node, gone)
        for pod in self._pods(node):
            self.store.modify("pods", *key_of(pod), lambda new: [
                set_condition(new, kind, False, "NodeNotReady", now=now) for kind in ("Ready", "ContainersReady")])
        self._count()

    def _end_pods(self, node):
        """The guests' launchers on a node have ended."""
        for pod in self._pods(node):
            if (pod["metadata"].get("labels") or {}).get("kubevirt.io") == "virt-launcher":
                self.world.kubelets.end(key_of(pod), pod["metadata"]["uid"], "Failed")

    def _break_copies(self, node):
        for job in list(self.world.handlers.links.jobs):
            if node in (job.source, job.target):
                job.cut_link()
                if job.target == node:
                    self.world.after(BROKEN, lambda job=job: job.fail(LOST))

    # -- coming back -------------------------------------------------------------

    def _up(self, node, turn):
        without = self._without[node]
        if self._turns[node] != turn or self.store.get("nodes", "", node) is None or "ready" in without:
            return
        self.world.down.discard(node)
        self._end_pods(node)  # after a power cut nobody did
        whole, now = self._whole[node], self.world.stamp()

        def back(new):
            state = new["status"]
            for part in ("allocatable", "capacity"):
                state[part] = {
                    key: "0" if key in without or (part == "allocatable" and key.startswith(DEVICES)) else value
                    for key, value in whole[part].items()}
            for key, value in whole["labels"].items():
                set_label(new, key, "false" if "cpumanager" in without else value)
            if state.get("nodeInfo"):
                state["nodeInfo"]["bootID"] = "%s-%d" % (node, turn)
            set_condition(new, "Ready", True, "KubeletReady", "kubelet is posting ready status", now)
            new["spec"]["taints"] = [row for row in new["spec"].get("taints") or [] if row.get("key") not in TAINTS]
            if not new["spec"]["taints"]:
                del new["spec"]["taints"]

        self.store.modify("nodes", "", node, back)
        self.world.kubelets.resume(node)
        self.world.after(PODS_BACK, lambda: self._restart_pods(node, turn))
        if "virt-handler" not in without:
            self.world.after(HANDLER_BACK, lambda: self._restart_handler(node, turn, without))
        for done in self._waiting.pop(node, ()):
            done()

    def _restart_pods(self, node, turn):
        handler = self.world.handler_pod(node)
        if self._turns[node] == turn:
            for pod in self._pods(node):
                if phase_of(pod) == "Running" and (handler is None or key_of(pod) != key_of(handler)):
                    self.store.modify("pods", *key_of(pod), self._restarted)

    def _restarted(self, pod):
        count = max([row.get("restartCount", 0) for row in pod["status"].get("containerStatuses") or []] + [0]) + 1
        running(pod, self.world.stamp(), pod["status"].get("podIP") or "10.128.0.2")
        for row in pod["status"]["containerStatuses"]:
            row["restartCount"] = count

    def _restart_handler(self, node, turn, without):
        pod = self.world.handler_pod(node)
        if self._turns[node] != turn or pod is None:
            return
        notes = pod["metadata"].get("annotations") or {}
        text = self._networks.setdefault(pod["metadata"]["uid"], notes.get(objects.STATUS_ANNOTATION))

        def restarted(new):
            self._restarted(new)
            if text:
                new["metadata"]["annotations"][objects.STATUS_ANNOTATION] = (
                    _without_migration(text) if objects.MIGRATION_INTERFACE in without else text)

        self.store.modify("pods", *key_of(pod), restarted)
        whole, now = self._whole[node], self.world.stamp()

        def beaten(new):
            for part in ("allocatable", "capacity"):
                new["status"][part].update({key: value for key, value in whole[part].items()
                                            if key.startswith(DEVICES) and key not in without})
            new["metadata"].setdefault("annotations", {})[HEARTBEAT] = now
            set_label(new, SCHEDULABLE, "true")

        self.store.modify("nodes", "", node, beaten)
        self._count()

    # -- parts -------------------------------------------------------------------

    def _pods(self, node):
        return [pod for pod in self.store.by_index("pods", "node", node) if is_active(pod)]

    def _count(self):
        """virt-handler's DaemonSet counts what is available."""
        ready = len(self.store.list("nodes")) - len(self.world.down)
        for daemon in self.store.list(DAEMON_SETS):
            if daemon["metadata"]["name"] == "virt-handler":
                self.store.modify(DAEMON_SETS, *key_of(daemon), lambda new: new["status"].update(
                    numberReady=ready, numberAvailable=ready))


def _without_migration(text):
    try:
        rows = json.loads(text)
    except ValueError:
        return text
    return json.dumps([row for row in rows if row.get("interface") != objects.MIGRATION_INTERFACE])
