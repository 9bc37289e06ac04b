# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Steps that the contract tests of KubeVirt's behaviour share."""

from __future__ import annotations

import json
import threading
import time
from urllib.parse import urlencode

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import NotFound

KUBEVIRT = "kubevirt.io/v1"
VMIMS = "virtualmachineinstancemigrations"
VMIS = "virtualmachineinstances"
FINAL = ("Succeeded", "Failed")
REAL_LIMIT, REAL_STEP = 60, 0.2  # seconds, where time is real
ORDER = ["Pending", "Scheduling", "Scheduled", "PreparingTarget", "TargetReady", "Running", "Succeeded"]


class Steps:
    """What a test does with a cluster, in the field's words."""

    def __init__(self, cluster, namespace="default"):
        self.cluster, self.api, self.namespace = cluster, cluster.api, namespace

    # -- reading ---------------------------------------------------------------

    def vmi(self, name):
        return self.api.get(path_of(KUBEVIRT, VMIS, self.namespace, name))

    def state(self, name):
        return self.vmi(name)["status"].get("migrationState") or {}

    def vmims(self, name=None):
        items = self.api.list(path_of(KUBEVIRT, VMIMS, self.namespace)).items
        return [item for item in items if name in (None, item["spec"]["vmiName"])]

    def pods(self, name):
        uid = self.vmi(name)["metadata"]["uid"]
        return self.api.list(path_of("v1", "pods", self.namespace), labelSelector="kubevirt.io/created-by=%s" % uid).items

    def pod_on(self, name, node):
        return next(pod for pod in self.pods(name) if pod["spec"].get("nodeName") == node)

    def events(self, reason=None):
        items = self.api.list(path_of("v1", "events", self.namespace)).items
        return [item for item in items if reason in (None, item["reason"])]

    def migration(self, name):
        """The VMIM, or None when it is gone."""
        try:
            return self.api.get(path_of(KUBEVIRT, VMIMS, self.namespace, name))
        except NotFound:
            return None

    # -- doing -----------------------------------------------------------------

    def migrate(self, name, **more):
        """Create a VMIM; returns its name."""
        body = {"apiVersion": KUBEVIRT, "kind": "VirtualMachineInstanceMigration",
                "metadata": dict({"generateName": "test-"}, **more.pop("metadata", {})), "spec": dict({"vmiName": name}, **more)}
        return self.api.create(path_of(KUBEVIRT, VMIMS, self.namespace), body)["metadata"]["name"]

    def cancel(self, migration):
        self.api.delete(path_of(KUBEVIRT, VMIMS, self.namespace, migration))

    def annotate(self, plural, name, **knobs):
        """Set knobs of the simulation; None removes one."""
        path = path_of(KUBEVIRT, plural, self.namespace, name) if plural == VMIS else path_of("v1", plural, None, name)
        self.api.patch(path, {"metadata": {"annotations": {
            "rehearsal.bigvm.io/" + key.replace("_", "-"): value for key, value in knobs.items()}}})

    def linger(self, name, seconds):
        """Where time is real, let a guest's copy take so long; elsewhere its knobs say how long."""
        self.api.patch(path_of(KUBEVIRT, VMIS, self.namespace, name), {"metadata": {"annotations": {
            "lab.bigvm.io/copy-seconds": str(seconds)}}})

    def until(self, check, limit=600, step=1.0):
        """Let time pass until ``check()`` says something true; returns that."""
        if hasattr(self.cluster, "configure"):
            limit, step = min(limit, REAL_LIMIT), min(step, REAL_STEP)
        spent = 0.0
        while True:
            found = check()
            if found:
                return found
            assert spent < limit, "not within %s simulated seconds" % limit
            self.cluster.wait(step)
            spent += step

    def phase(self, migration):
        found = self.migration(migration)
        return (found.get("status") or {}).get("phase", "") if found else None

    def until_phase(self, migration, *phases, limit=600, step=1.0):
        return self.until(lambda: self.phase(migration) in phases or self._passed(migration, phases), limit, step) and self.migration(
            migration)

    def _passed(self, migration, phases):
        """Where time is real a phase may be over between two looks."""
        found = hasattr(self.cluster, "configure") and self.migration(migration)
        rows = (found or {}).get("status", {}).get("phaseTransitionTimestamps") or []
        return any(row["phase"] in phases for row in rows)

    def evict(self, pod, **body):
        """``(HTTP status, message)`` of an eviction."""
        path = path_of("v1", "pods", self.namespace, pod, "eviction")
        code, data, headers = self.cluster.http("POST", path, dict({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": self.namespace}}, **body))
        return code, data.get("message", "")

    # -- the settings ------------------------------------------------------------

    def hco_path(self, version="v1"):
        return path_of("hco.kubevirt.io/" + version, "hyperconvergeds", "openshift-cnv", "kubevirt-hyperconverged")

    def configure(self, version=None, settle=30, **block):
        """Change liveMigrationConfig (where there is no HyperConverged, KubeVirt's own) and wait until it has arrived."""
        if hasattr(self.cluster, "configure"):
            self.cluster.configure(**block)
            return
        served = self.api.get("/apis/hco.kubevirt.io")["preferredVersion"]["version"]
        version = version or served
        spec = {"liveMigrationConfig": block} if version == "v1beta1" else {"virtualization": {"liveMigrationConfig": block}}
        self.api.patch(self.hco_path(version), {"spec": spec})
        self.cluster.wait(settle)

    def kubevirt(self):
        return self.api.list(path_of(KUBEVIRT, "kubevirts")).items[0]


def seconds_between(first, last):
    return from_timestamp(last) - from_timestamp(first)


class Watching:
    """A WATCH whose ``rows`` grow while the clock is waited on."""

    def __init__(self, steps, plural):
        self.cluster = steps.cluster
        path = path_of(KUBEVIRT, plural, steps.namespace)
        version = steps.api.list(path).resource_version
        self._lines = follow(steps.cluster, path, watch="true", resourceVersion=version, timeoutSeconds=100000)

    def take(self):
        """Everything that has come in."""
        settle(self.cluster)
        return [json.loads(line) for line in self._lines]


def follow(cluster, path, **query):
    """A list that the lines of an open stream are added to."""
    if hasattr(cluster, "follow"):
        return cluster.follow("%s?%s" % (path, urlencode(query)))
    lines, stream = [], cluster.client().stream(path, 90, **query)

    def read():
        try:
            for line in stream:
                lines.append(line)
        except Exception:  # pylint: disable=broad-except
            pass  # the server ended with the test

    threading.Thread(target=read, daemon=True).start()
    settle(cluster)
    return lines


def settle(cluster):
    """Give streams (real) time to arrive."""
    if hasattr(cluster, "pump"):
        cluster.pump()
    else:
        time.sleep(0.4)
