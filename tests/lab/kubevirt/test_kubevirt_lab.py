# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our modules against KubeVirt's own virt-api and virt-controller."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from kubevirt_steps import FINAL, KUBEVIRT, ORDER, Steps
from migrate_steps import run

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of

pytestmark = pytest.mark.kubevirt
LAB = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "kubernetes", "lab.py")


def places(c):
    return {vmi["metadata"]["name"]: vmi["status"]["nodeName"]
            for vmi in c.api.list(path_of(KUBEVIRT, "virtualmachineinstances", "default")).items}


def test_kubevirts_own_api_is_served(kubevirt):
    c = kubevirt()
    assert c.http("GET", "/apis/subresources.kubevirt.io/v1/version")[1]["gitVersion"] == "v1.9.0"
    names = {entry["name"] for entry in c.api.get("/apis/subresources.kubevirt.io/v1")["resources"]}
    assert {"virtualmachines/migrate", "virtualmachineinstances/evacuate/cancel"} <= names
    lease = c.api.get("/apis/coordination.k8s.io/v1/namespaces/kubevirt/leases/virt-controller")
    assert lease["spec"]["holderIdentity"]


def test_a_migration_from_creation_to_its_end(kubevirt):
    """Phases, marks and the state that virt-controller keeps (facts 1.4-1.12)."""
    c = kubevirt()
    steps = Steps(c)
    name = steps.migrate("vm-1", addedNodeSelector={"kubernetes.io/hostname": "node-b"})
    assert steps.migration(name)["metadata"]["labels"]["kubevirt.io/vmi-name"] == "vm-1"
    done = steps.until_phase(name, *FINAL)
    assert [row["phase"] for row in done["status"]["phaseTransitionTimestamps"]] == ORDER
    final = steps.until(lambda: (steps.migration(name)["status"].get("migrationState") or {}).get("completed") and steps.migration(name))
    state, uid = final["status"]["migrationState"], done["metadata"]["uid"]
    assert "finalizers" not in final["metadata"] and state["migrationUid"] == uid and "failed" not in state
    after = steps.vmi("vm-1")
    assert after["status"]["migrationState"]["completed"] and after["status"]["nodeName"] == state["targetNode"] == "node-b"
    pod = steps.pod_on("vm-1", "node-b")
    assert pod["metadata"]["labels"]["kubevirt.io/migrationJobUID"] == uid
    assert pod["spec"]["nodeSelector"]["kubernetes.io/hostname"] == "node-b"
    steps.until(lambda: "kubevirt.io/migrationTargetNodeName" not in steps.vmi("vm-1")["metadata"]["labels"])
    assert {"SuccessfulCreate", "SuccessfulHandOver", "SuccessfulMigration"} <= {event["reason"] for event in steps.events()}


def test_migrate_vmi_moves_to_the_named_node_and_back(kubevirt):
    c = kubevirt()
    done = run(c, name="vm-1", namespace="default", target_node="node-b", run="run-7")
    row = done.rows["vm-1"]
    assert not done.failed, done.message
    assert (row["outcome"], row["source_node"], row["target_node"], row["node"]) == ("moved", "node-a", "node-b", "node-b")
    assert run(c, name="vm-1", namespace="default", target_node="node-b").result["changed"] is False
    back = run(c, name="vm-1", namespace="default", target_node="node-a")
    assert not back.failed and places(c)["vm-1"] == "node-a"


def test_migrate_vmi_empties_a_node_within_the_limits(kubevirt):
    c = kubevirt()
    done = run(c, vms=[{"name": name, "namespace": "default"} for name in ("vm-1", "vm-2")], away_from=["node-a"])
    assert not done.failed, done.message
    assert places(c) == {"vm-1": "node-b", "vm-2": "node-b"}


def test_migrate_vmi_says_what_kubevirt_says(kubevirt):
    """A libvirt error comes back with its text, the guest stays; a second attempt is a VMIM of its own."""
    c = kubevirt()
    steps = Steps(c)
    steps.annotate("virtualmachineinstances", "vm-1", fail="libvirt-error")
    done = run(c, name="vm-1", namespace="default", target_node="node-b")
    assert done.failed and "guest CPU doesn't match specification" in done.message and places(c)["vm-1"] == "node-a"


def test_migrate_vmi_aborts_what_does_not_end(kubevirt):
    c = kubevirt()
    steps = Steps(c)
    steps.annotate("virtualmachineinstances", "vm-1", fail="never-converges")
    done = run(c, name="vm-1", namespace="default", target_node="node-b", timeout="8s")
    assert done.failed and places(c)["vm-1"] == "node-a"
    steps.until(lambda: not [item for item in steps.vmims("vm-1") if item["status"].get("phase") not in ("Succeeded", "Failed")], step=0.5)
    state = steps.state("vm-1")
    assert state["abortRequested"] and state["failed"] and state["abortStatus"] == "Succeeded"


def test_one_after_the_other_where_one_may_leave_a_node(kubevirt):
    c = kubevirt()
    steps = Steps(c)
    c.configure(parallelOutboundMigrationsPerNode=1)
    steps.api.patch(path_of(KUBEVIRT, "virtualmachineinstances", "default", "vm-1"), {"metadata": {"annotations": {
        "lab.bigvm.io/copy-seconds": "6"}}})
    first = steps.migrate("vm-1")
    steps.until_phase(first, "Scheduling", "Scheduled", "PreparingTarget", "TargetReady", "Running", step=0.2)
    second = steps.migrate("vm-2")
    steps.until_phase(first, "Running", step=0.2)
    assert steps.phase(second) == "Pending" and "conditions" not in steps.migration(second)["status"]
    steps.until_phase(first, "Succeeded", step=0.5)
    steps.until_phase(second, "Succeeded", step=0.5)


def test_the_clusters_own_migrations_go_first(kubevirt):
    """Priorities are in force on 1.9: an eviction's VMIM passes ours, which has waited longer (facts 2.4)."""
    c = kubevirt()
    steps = Steps(c)
    c.add_vms("node-a", {"name": "vm-3", "memory": "1Gi", "cpus": 1})
    c.configure(parallelMigrationsPerCluster=1)
    steps.api.patch(path_of(KUBEVIRT, "virtualmachineinstances", "default", "vm-1"), {"metadata": {"annotations": {
        "rehearsal.bigvm.io/fail": "never-converges"}}})
    first = steps.migrate("vm-1")
    steps.until_phase(first, "Running", step=0.2)
    ours = steps.migrate("vm-2")
    steps.until_phase(ours, "Pending", step=0.2)
    assert steps.evict(steps.pods("vm-3")[0]["metadata"]["name"])[0] == 429
    theirs = steps.until(lambda: steps.vmims("vm-3"), step=0.2)[0]
    assert theirs["spec"]["priority"] == "system-critical"
    steps.until_phase(theirs["metadata"]["name"], "Pending", step=0.2)
    steps.cancel(first)
    began = ("Scheduling", "Scheduled", "PreparingTarget", "TargetReady", "Running", "Succeeded")
    steps.until(lambda: steps.phase(theirs["metadata"]["name"]) in began or steps.phase(ours) in began, step=0.1)
    assert steps.phase(theirs["metadata"]["name"]) in began and steps.phase(ours) == "Pending"
    steps.until_phase(ours, "Succeeded", step=0.5)


def test_nothing_is_left_when_the_lab_is_killed(site, tmp_path):
    folder = tmp_path / "lab"
    done = subprocess.run([sys.executable, LAB, "start", "--kubevirt", "--dir", str(folder)], capture_output=True, text=True,
                          check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    os.kill(json.loads(done.stdout)["pid"], 9)
    from test_lab import gone

    assert gone(folder)
