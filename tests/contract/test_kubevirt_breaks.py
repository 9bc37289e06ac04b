# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What breaks a copy under way: a roll-out of virt-handler, and a link that fails in post-copy (facts 4.15, 8.7, 10.11)."""

from __future__ import annotations

import pytest
from kubevirt_steps import KUBEVIRT, VMIS, Steps, seconds_between

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of

HANDLER = path_of("apps/v1", "daemonsets", "openshift-cnv", "virt-handler")
ENDLESS = {"dirty_rate": "9G", "working_set": "3Gi"}


def with_network(steps, name="migration-net", settle=0):
    steps.api.create(path_of("k8s.cni.cncf.io/v1", "network-attachment-definitions", "openshift-cnv"), {
        "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition", "metadata": {"name": name},
        "spec": {"config": "{}"}})
    steps.configure(network=name, settle=settle)


def handlers(steps):
    return {pod["spec"]["nodeName"]: pod for pod in steps.api.list(
        path_of("v1", "pods", "openshift-cnv"), labelSelector="kubevirt.io=virt-handler").items}


def long_copy(steps):
    """A migration of vm-1 that would run for hours; returns its name and the source's state."""
    steps.configure(completionTimeoutPerGiB=3600, bandwidthPerMigration="1Mi")
    steps.annotate(VMIS, "vm-1", dirty_rate="0")
    name = steps.migrate("vm-1")
    steps.until_phase(name, "Running")
    return name


# -- the roll-out ------------------------------------------------------------------


def test_a_canary_goes_first_and_then_a_tenth_at_a_time(near, tmp_path):
    path = tmp_path / "t.yml"
    path.write_text("nodes: [{prefix: n, count: 40, memory: 64Gi, cpus: 16}]\n")
    steps = Steps(near(topology=str(path)))
    with_network(steps, settle=3)
    seen = []
    for _look in range(600):
        daemon = steps.api.get(HANDLER)
        away = daemon["status"]["desiredNumberScheduled"] - daemon["status"]["numberReady"]
        row = daemon["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], away, daemon["status"]["updatedNumberScheduled"]
        if not seen or seen[-1] != row:
            seen.append(row)
        if row[2] == 40:
            break
        steps.cluster.wait(0.5)
    assert seen[0][:2] == (1, 1) and seen[0][2] == 0  # the canary
    assert {row[0] for row in seen if 0 < row[2] < 40} == {"10%"}
    assert max(row[1] for row in seen) == 4 and seen[-1][2] == 40
    steps.cluster.wait(5)
    assert steps.api.get(HANDLER)["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] == 1
    assert all(pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"] for pod in handlers(steps).values())


def test_a_canary_that_stalls_keeps_the_others_as_they_are(near, tmp_path):
    path = tmp_path / "t.yml"
    path.write_text("nodes: [{prefix: n, count: 20, memory: 64Gi, cpus: 16}]\n")
    steps = Steps(near(topology=str(path)))
    steps.configure(network="nowhere", settle=900)
    assert [pod["status"]["phase"] for pod in handlers(steps).values()].count("Pending") == 1
    assert steps.api.get(HANDLER)["status"]["updatedNumberScheduled"] == 0


@pytest.mark.parametrize("generation", ["1.3", "1.9"])
def test_a_rollout_waits_300_seconds_for_a_copy_and_then_cuts_it(near, generation):
    steps = Steps(near(topology="tiny", generation=generation))
    name, uid = long_copy(steps), steps.vmi("vm-1")["metadata"]["uid"]
    old = handlers(steps)["node-a"]["metadata"]["uid"]
    with_network(steps)
    steps.until(lambda: handlers(steps)["node-a"]["metadata"].get("deletionTimestamp"), limit=30, step=0.5)
    began = steps.api.clock.now()
    steps.cluster.wait(290)
    assert steps.phase(name) == "Running" and handlers(steps)["node-a"]["metadata"]["uid"] == old
    done = steps.until_phase(name, "Failed", limit=60)
    assert 295 <= steps.api.clock.now() - began <= 330
    state = steps.state("vm-1")
    assert "client socket is closed" in state["failureReason"] and state["failed"]
    vmi = steps.vmi("vm-1")
    assert vmi["metadata"]["uid"] == uid and vmi["status"]["nodeName"] == "node-a" and vmi["status"]["phase"] == "Running"
    steps.until(lambda: handlers(steps)["node-a"]["metadata"]["uid"] != old, limit=30)
    assert done["status"]["phase"] == "Failed"


def test_a_rollout_lets_a_copy_end_that_is_short(near):
    steps = Steps(near(topology="tiny"))
    steps.configure(bandwidthPerMigration="64Mi")
    steps.annotate(VMIS, "vm-1", dirty_rate="0")
    name = steps.migrate("vm-1")  # 64 s
    steps.until_phase(name, "Running")
    with_network(steps)
    steps.until_phase(name, "Succeeded", limit=200)
    steps.until(lambda: steps.kubevirt()["status"]["observedDeploymentID"] == steps.kubevirt()["status"]["targetDeploymentID"]
                and len([pod for pod in handlers(steps).values() if pod["status"]["phase"] == "Running"]) == 2, limit=200)


def test_no_copy_starts_through_a_virt_handler_that_ends(near):
    steps = Steps(near(topology="tiny"))
    name = long_copy(steps)
    with_network(steps)
    steps.until(lambda: handlers(steps)["node-a"]["metadata"].get("deletionTimestamp"), limit=30, step=0.5)
    steps.configure(parallelOutboundMigrationsPerNode=2, bandwidthPerMigration=None, settle=10)
    second = steps.migrate("vm-2")
    steps.cluster.wait(120)
    assert steps.phase(name) == "Running" and steps.phase(second) in ("PreparingTarget", "TargetReady")
    steps.until_phase(second, "Succeeded", limit=900)


def test_a_deleted_virt_handler_pod_waits_as_well(near):
    steps = Steps(near(topology="tiny"))
    name = long_copy(steps)
    if not hasattr(steps.cluster, "app"):
        pytest.skip("the pod is deleted from within")
    steps.cluster.app.store.delete("pods", "openshift-cnv", handlers(steps)["node-b"]["metadata"]["name"], grace=330)
    steps.cluster.wait(200)
    assert steps.phase(name) == "Running" and handlers(steps)["node-b"]["metadata"]["deletionTimestamp"]
    steps.until_phase(name, "Failed", limit=150)


# -- post-copy ------------------------------------------------------------------------


def in_post_copy(near, generation, fail=None):
    steps = Steps(near(topology="tiny", generation=generation))
    steps.configure(allowPostCopy=True, completionTimeoutPerGiB=2, bandwidthPerMigration="8Mi",
                    **({"allowWorkloadDisruption": True} if generation == "1.9" else {}))
    steps.annotate(VMIS, "vm-1", fail=fail, **ENDLESS)
    name = steps.migrate("vm-1")
    steps.until(lambda: steps.state("vm-1").get("mode") == "PostCopy", limit=200)
    return steps, name


def lost(steps, name, uid):
    """The guest is gone and its VM has come up anew."""
    steps.until(lambda: [row for row in steps.api.list(path_of(KUBEVIRT, VMIS, "default")).items
                         if row["metadata"]["name"] == "vm-1" and row["metadata"]["uid"] != uid
                         and row["status"].get("phase") == "Running"], limit=400)
    found = steps.migration(name)
    return found is None or found["status"]["phase"] == "Failed"


@pytest.mark.parametrize("generation", ["1.3", "1.6", "1.9"])
def test_a_link_that_breaks_in_post_copy_costs_the_guest(near, generation):
    steps, name = in_post_copy(near, generation, "post-copy-lost")
    uid, reasons = steps.vmi("vm-1")["metadata"]["uid"], []

    def seen():
        for row in steps.api.list(path_of(KUBEVIRT, VMIS, "default")).items:
            if row["metadata"]["uid"] == uid and row["status"]["phase"] == "Failed":
                reasons.append(row["status"]["migrationState"])
        return reasons

    steps.until(seen, limit=60, step=0.2)
    assert "post-copy" in reasons[0]["failureReason"] and reasons[0]["mode"] == "PostCopy" and reasons[0]["failed"]
    assert reasons[0].get("completed", False) is (generation != "1.6")
    assert lost(steps, name, uid)


def test_a_target_pod_that_dies_in_post_copy_costs_the_guest(near):
    steps, name = in_post_copy(near, "1.9")
    vmi = steps.vmi("vm-1")
    pod = vmi["status"]["migrationState"]["targetPod"]
    steps.api.delete(path_of("v1", "pods", "default", pod))
    assert lost(steps, name, vmi["metadata"]["uid"])


def test_a_rollout_in_post_copy_costs_the_guest(near):
    steps, name = in_post_copy(near, "1.9")
    uid = steps.vmi("vm-1")["metadata"]["uid"]
    steps.configure(bandwidthPerMigration="1Mi", settle=0)  # too late: the copy keeps the settings of its handoff
    with_network(steps)
    steps.until(lambda: handlers(steps)["node-a"]["metadata"].get("deletionTimestamp"), limit=60, step=0.5)
    assert lost(steps, name, uid)


def test_a_link_that_breaks_before_post_copy_can_still_be_aborted(near):
    steps = Steps(near(topology="tiny"))
    steps.annotate(VMIS, "vm-1", fail="link-stall", **ENDLESS)
    steps.configure(progressTimeout=60)
    name, uid = steps.migrate("vm-1"), steps.vmi("vm-1")["metadata"]["uid"]
    done = steps.until_phase(name, "Failed", limit=400)
    state = steps.state("vm-1")
    assert steps.vmi("vm-1")["metadata"]["uid"] == uid and state["mode"] == "PreCopy"
    assert seconds_between(state["startTimestamp"], state["endTimestamp"]) < 100 and done
