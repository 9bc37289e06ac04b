# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kubelets: start bound pods, end deleted ones."""

from __future__ import annotations

import hashlib

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    FINAL,
    is_deleted,
    key_of,
    knob,
    phase_of,
    set_condition,
)

LAUNCHER_START = (5.0, 14.0)  # seconds: image, volumes, network of a virt-launcher
POD_START = (1.5, 4.0)
POD_END = (1.0, 3.0)


class Kubelets:
    """All nodes' kubelets in one."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self._started, self._ending = set(), set()
        self.store.on_event("pods", self._pod)
        for pod in self.store.list("pods"):
            if phase_of(pod) == "Pending":
                self._pod("ADDED", pod, None)

    def _pod(self, kind, pod, old):
        uid = pod["metadata"]["uid"]
        if kind == "DELETED":
            self._started.discard(uid)
            self._ending.discard(uid)
        elif pod["spec"].get("nodeName") in self.world.down:
            pass  # nobody there; see resume
        elif is_deleted(pod):
            if uid not in self._ending:
                self._ending.add(uid)
                self._end_later(pod, uid)
        elif pod["spec"].get("nodeName") and phase_of(pod) == "Pending" and uid not in self._started:
            self._started.add(uid)
            self.world.later(0.2, 0.6, lambda: self._creating(key_of(pod), uid))
            launcher = (pod["metadata"].get("labels") or {}).get("kubevirt.io") == "virt-launcher"
            if knob(pod, "fail") != "pod-stuck":
                asked = float(knob(pod, "launcher-start", "0")) if launcher else 0.0
                least, most = (asked, asked) if asked else LAUNCHER_START if launcher else POD_START
                self.world.later(least, most, lambda: self._ready(key_of(pod), uid))

    def _end_later(self, pod, uid):
        part = (pod["metadata"].get("labels") or {}).get("kubevirt.io")
        if part == "virt-handler":
            self.world.handlers.leave(pod["spec"]["nodeName"], lambda: self._gone(key_of(pod), uid))
        elif part:
            self.world.later(*POD_END, lambda: self._gone(key_of(pod), uid))
        else:  # other people's pods need all the time they are given
            grace = float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
            self.world.after(max(0.5, grace), lambda: self._gone(key_of(pod), uid))

    def resume(self, node):
        """A node is back: go on with what is to be started and ended there."""
        for pod in self.store.by_index("pods", "node", node):
            self._started.discard(pod["metadata"]["uid"])
            self._ending.discard(pod["metadata"]["uid"])
            self._pod("MODIFIED", pod, pod)

    def _away(self, pod):
        return pod is None or pod["spec"].get("nodeName") in self.world.down

    def _same(self, key, uid):
        pod = self.store.get("pods", *key)
        return pod if pod is not None and pod["metadata"]["uid"] == uid else None

    def _creating(self, key, uid):
        pod = self._same(key, uid)
        if pod is not None and phase_of(pod) == "Pending":
            self.store.modify("pods", *key, lambda new: new["status"].update(containerStatuses=[
                {"name": container["name"], "image": container.get("image", ""), "imageID": "", "ready": False,
                 "started": False, "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}}
                for container in new["spec"].get("containers") or []]))

    def _ready(self, key, uid):
        pod = self._same(key, uid)
        if not self._away(pod) and not is_deleted(pod) and phase_of(pod) == "Pending":
            self.store.modify("pods", *key, lambda new: running(new, self.world.stamp(), address(uid)))

    def _gone(self, key, uid):
        pod = self._same(key, uid)
        if self._away(pod):
            return
        if phase_of(pod) not in FINAL:
            self.end(key, uid, "Failed")
        self.store.delete("pods", *key)

    def end(self, key, uid, phase):
        """A pod's containers have ended: ``Succeeded`` or ``Failed``."""
        if self._same(key, uid) is not None:
            self.store.modify("pods", *key, lambda pod: ended(pod, phase, self.world.stamp()))


def address(uid):
    """A pod's address, from its uid (any text: exported objects may have uids of their own)."""
    digest = hashlib.sha256(uid.encode()).digest()
    return "10.%d.%d.%d" % (128 + digest[0] % 4, digest[1], 2 + digest[2] % 250)


def running(pod, now, ip):
    """Make a pod (dict, in place) Running and Ready."""
    status = pod.setdefault("status", {})
    status.update(phase="Running", podIP=ip, podIPs=[{"ip": ip}], startTime=now)
    for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled"):
        set_condition(pod, kind, True, now=now)
    status["containerStatuses"] = [
        {"name": container["name"], "image": container.get("image", ""), "imageID": "", "ready": True, "started": True,
         "restartCount": 0, "state": {"running": {"startedAt": now}}}
        for container in pod["spec"].get("containers") or []
    ]


def ended(pod, phase, now):
    """Make a pod (dict, in place) Succeeded or Failed."""
    code = 0 if phase == "Succeeded" else 1
    pod["status"]["phase"] = phase
    for kind in ("Ready", "ContainersReady"):
        set_condition(pod, kind, False, "PodCompleted" if code == 0 else "PodFailed", now=now)
    for entry in pod["status"].get("containerStatuses") or []:
        entry.update(ready=False, started=False, state={"terminated": {
            "exitCode": code, "reason": "Completed" if code == 0 else "Error", "finishedAt": now}})
