# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A migration from creation to its end, as clients see it (facts 1, 2, 3, 4)."""

from __future__ import annotations

import pytest
from kubevirt_steps import FINAL, ORDER, VMIMS, VMIS, Steps, Watching, seconds_between

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import Rejected
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import is_active


@pytest.mark.parametrize("generation", ["1.6", "1.9"])
def test_happy_path_in_order(near, generation):
    steps = Steps(near(topology="tiny", generation=generation))
    before = steps.vmi("vm-1")
    name = steps.migrate("vm-1")
    watching, guests = Watching(steps, VMIMS), Watching(steps, VMIS)
    made = steps.migration(name)
    assert made["metadata"]["finalizers"] == ["kubevirt.io/migrationJobFinalize"]
    assert made["metadata"]["labels"]["kubevirt.io/vmi-name"] == "vm-1"
    done = steps.until_phase(name, *FINAL)
    steps.cluster.wait(10)

    phases = [row["phase"] for row in done["status"]["phaseTransitionTimestamps"]]
    assert phases == ORDER
    stamps = [from_timestamp(row["phaseTransitionTimestamp"]) for row in done["status"]["phaseTransitionTimestamps"]]
    assert stamps == sorted(stamps) and 10 < stamps[-1] - stamps[0] < 60
    seen = []
    for row in watching.take():
        phase = (row["object"].get("status") or {}).get("phase")
        if row["type"] == "MODIFIED" and phase and phase not in seen:
            seen.append(phase)
    assert seen == ORDER  # each phase is a commit of its own

    after, state = steps.vmi("vm-1"), steps.state("vm-1")
    uid = made["metadata"]["uid"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert state["completed"] is True and "failed" not in state and state["migrationUid"] == uid
    assert state["sourceNode"] == "node-a" and after["status"]["nodeName"] == state["targetNode"] == "node-b"
    assert after["metadata"]["labels"]["kubevirt.io/nodeName"] == "node-b"
    assert "kubevirt.io/migrationTargetNodeName" not in after["metadata"]["labels"]
    assert state["mode"] == "PreCopy" and "abortRequested" not in state
    assert state["migrationConfiguration"]["completionTimeoutPerGiB"] == (20 if generation == "1.9" else 150)
    assert list(after["status"]["activePods"].values()) == ["node-b"]

    final = steps.migration(name)
    assert "finalizers" not in final["metadata"]
    assert final["status"]["migrationState"]["migrationUid"] == uid and final["status"]["migrationState"]["completed"]
    assert steps.pod_on("vm-1", "node-a")["status"]["phase"] == "Succeeded"
    reasons = {event["reason"] for event in steps.events()}
    assert {"SuccessfulCreate", "SuccessfulHandOver", "SuccessfulMigration", "Migrating", "PreparingTarget", "Migrated"} <= reasons

    rows = [row["object"] for row in guests.take() if row["object"]["metadata"]["name"] == "vm-1"]
    flip = next(row for row in rows if row["status"]["nodeName"] == "node-b")
    assert flip["status"]["migrationState"]["endTimestamp"] and "completed" not in flip["status"]["migrationState"]


def test_state_before_the_handoff_is_the_previous_migrations(near):
    steps = Steps(near(topology="tiny"))
    first = steps.until_phase(steps.migrate("vm-1"), *FINAL)
    steps.cluster.wait(10)
    second = steps.migrate("vm-1")
    waiting = steps.until_phase(second, "Scheduling")
    assert steps.state("vm-1")["migrationUid"] == first["metadata"]["uid"]
    # Sparse until it is final: only the source pod (facts 1.9).
    assert set(waiting["status"]["migrationState"]) == {"sourcePod"}
    steps.until_phase(second, "PreparingTarget", "TargetReady", "Running", step=0.5)
    assert steps.state("vm-1")["migrationUid"] == waiting["metadata"]["uid"]
    assert steps.vmi("vm-1")["metadata"]["labels"]["kubevirt.io/migrationTargetNodeName"] == "node-a"
    steps.until_phase(second, "Succeeded")
    assert steps.vmi("vm-1")["status"]["nodeName"] == "node-a"  # going back is allowed


def test_target_pod_is_rendered_as_kubevirt_does(near):
    steps = Steps(near(topology="default"), "sap-prod")
    name = steps.migrate("hana-prod", addedNodeSelector={"kubernetes.io/hostname": "hana-b"})
    steps.until_phase(name, "Scheduled", "PreparingTarget", "TargetReady", "Running")
    pod = steps.pod_on("hana-prod", "hana-b")
    uid = steps.vmi("hana-prod")["metadata"]["uid"]
    assert pod["metadata"]["name"].startswith("virt-launcher-hana-prod-")
    assert pod["metadata"]["labels"]["kubevirt.io"] == "virt-launcher"
    assert pod["metadata"]["labels"]["kubevirt.io/created-by"] == uid
    assert pod["metadata"]["labels"]["kubevirt.io/migrationJobUID"] == steps.migration(name)["metadata"]["uid"]
    assert pod["metadata"]["annotations"]["kubevirt.io/migrationJobName"] == name
    selector = pod["spec"]["nodeSelector"]
    assert selector["kubernetes.io/hostname"] == "hana-b" and selector["kubevirt.io/cpumanager"] == "true"
    assert selector["kubevirt.io/schedulable"] == "true" and selector["cpu-vendor.node.kubevirt.io/Intel"] == "true"
    assert selector["cpu-model-migration.node.kubevirt.io/SapphireRapids"] == "true"
    term = pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][-1]
    assert term == {"labelSelector": {"matchLabels": {"kubevirt.io/created-by": uid}}, "topologyKey": "kubernetes.io/hostname"}
    asked = pod["spec"]["containers"][0]["resources"]
    assert int(asked["requests"]["hugepages-1Gi"]) == 3 * 1024 ** 4 == int(asked["limits"]["hugepages-1Gi"])
    assert asked["requests"]["cpu"] == "96000m" == asked["limits"]["cpu"]
    overhead = 3298534884000 // 512 + (220 + 8 * 96 + 8 + 32 + 100) * 1024 ** 2
    assert int(asked["requests"]["memory"]) == overhead
    steps.cancel(name)
    steps.until(lambda: steps.migration(name) is None)


@pytest.mark.any_kubevirt
def test_frozen_host_model_lets_a_guest_return(near):
    """The second move reuses the labels of the source pod, not of the present node (facts 3.5)."""
    steps = Steps(near(topology="tiny"))
    steps.until_phase(steps.migrate("vm-1"), "Succeeded")
    label = "host-model-cpu.node.kubevirt.io/"
    steps.api.patch(path_of("v1", "nodes", None, "node-b"), {"metadata": {"labels": {
        label + "SapphireRapids": None, label + "GraniteRapids": "true"}}})
    steps.cluster.wait(10)
    steps.until_phase(steps.migrate("vm-1"), "Succeeded")
    assert steps.vmi("vm-1")["status"]["nodeName"] == "node-a"


def test_source_without_host_model_label_waits_for_ever_up_to_1_5(near):
    steps = Steps(near(topology="tiny", generation="1.3"))
    steps.api.patch(path_of("v1", "nodes", None, "node-a"), {"metadata": {"labels": {
        "host-model-cpu.node.kubevirt.io/SapphireRapids": None}}})
    name = steps.migrate("vm-1")
    steps.cluster.wait(3600)
    assert steps.phase(name) == "Pending" and len(steps.pods("vm-1")) == 1


@pytest.mark.any_kubevirt
def test_source_without_host_model_label_asks_nothing_of_the_targets_cpu_since_1_6(near):
    """The error is lost in KubeVirt; only the vendor is asked (facts 3.5, 3.6)."""
    steps = Steps(near(topology="tiny"))
    steps.api.patch(path_of("v1", "nodes", None, "node-a"), {"metadata": {"labels": {
        "host-model-cpu.node.kubevirt.io/SapphireRapids": None}}})
    steps.cluster.wait(2)
    steps.until_phase(steps.migrate("vm-1"), "Succeeded")
    asked = steps.pod_on("vm-1", "node-b")["spec"]["nodeSelector"]
    assert sorted(key for key in asked if "cpu" in key) == ["cpu-vendor.node.kubevirt.io/Intel"]


@pytest.mark.any_kubevirt
def test_a_feature_that_the_guest_requires_replaces_the_host_model(near, tmp_path):
    """KubeVirt takes it for the baseline of an earlier move (facts 3.5)."""
    path = tmp_path / "one.yml"
    path.write_text("nodes: [{names: [a, b], memory: 32Gi, cpus: 8}]\nvms: [{name: vm, node: a, memory: 1Gi, cpus: 1, "
                    "cpu_features: [vmx]}]\n")
    steps = Steps(near(topology=str(path)))
    steps.until_phase(steps.migrate("vm"), "Succeeded")
    asked = [key for key in steps.pod_on("vm", "b")["spec"]["nodeSelector"] if key.startswith("cpu-")]
    assert sorted(asked) == ["cpu-feature.node.kubevirt.io/vmx", "cpu-vendor.node.kubevirt.io/Intel"]


def test_unschedulable_target_fails_after_300_seconds(near):
    steps = Steps(near(topology="tiny"))
    steps.api.patch(path_of("v1", "nodes", None, "node-b"), {"spec": {"unschedulable": True}})
    name = steps.migrate("vm-1")
    steps.until_phase(name, "Scheduling")
    pod = steps.until(lambda: next((pod for pod in steps.pods("vm-1") if not pod["spec"].get("nodeName")), None))
    steps.cluster.wait(5)
    row = next(row for row in steps.api.get(path_of("v1", "pods", "default", pod["metadata"]["name"]))["status"]["conditions"]
               if row["type"] == "PodScheduled")
    assert row["reason"] == "Unschedulable" and "0/2 nodes are available" in row["message"]
    assert steps.events("migrationTargetPodUnschedulable")
    steps.cluster.wait(280)
    assert steps.phase(name) == "Scheduling"
    done = steps.until_phase(name, "Failed", limit=40)
    last = done["status"]["phaseTransitionTimestamps"][-1]
    took = seconds_between(pod["metadata"]["creationTimestamp"], last["phaseTransitionTimestamp"])
    assert 299 <= took <= 306
    assert "failureReason" not in done["status"]["migrationState"]  # before the handoff nothing is copied
    assert "migrationState" not in steps.vmi("vm-1")["status"]
    assert any("removed" in event["message"] for event in steps.events("FailedMigration"))


@pytest.mark.any_kubevirt
def test_an_unschedulable_targets_time_can_be_shortened(near):
    steps = Steps(near(topology="tiny"))
    steps.api.patch(path_of("v1", "nodes", None, "node-b"), {"spec": {"unschedulable": True}})
    name = steps.migrate("vm-1", metadata={"annotations": {"kubevirt.io/migrationUnschedulablePodTimeoutSeconds": "4"}})
    done = steps.until_phase(name, "Failed", limit=60)
    assert [row["phase"] for row in done["status"]["phaseTransitionTimestamps"]] == ["Pending", "Scheduling", "Failed"]
    steps.until(lambda: any("removed" in event["message"] for event in steps.events("FailedMigration")))
    assert steps.events("migrationTargetPodUnschedulable") and steps.events("SuccessfulDelete")
    done = steps.migration(name)["status"]
    assert "failureReason" not in done["migrationState"]  # before the handoff nothing is copied
    assert "migrationState" not in steps.vmi("vm-1")["status"]


def test_pod_stuck_in_creation_fails_after_900_seconds(near):
    steps = Steps(near(topology="tiny"))
    steps.annotate(VMIS, "vm-1", fail="pod-stuck")
    name = steps.migrate("vm-1")
    steps.cluster.wait(895)
    assert steps.phase(name) == "Scheduling"
    steps.until_phase(name, "Failed", limit=20)
    short = steps.migrate("vm-1", metadata={"annotations": {"kubevirt.io/migrationPendingPodTimeoutSeconds": "30"}})
    steps.cluster.wait(45)
    assert steps.phase(short) == "Failed"


@pytest.mark.any_kubevirt
def test_only_the_newest_five_are_kept(near):
    steps = Steps(near(topology="tiny"))
    names = []
    for turn in range(7):
        names.append(steps.migrate("vm-2", metadata={"generateName": "turn-%d-" % turn}))
        steps.until_phase(names[-1], "Succeeded", "Failed")
        steps.until(lambda: sum(map(is_active, steps.pods("vm-2"))) == 1)
    steps.cluster.wait(5)
    assert sorted(item["metadata"]["name"] for item in steps.vmims("vm-2")) == sorted(names[2:])
    ended = [pod for pod in steps.pods("vm-2") if pod["status"]["phase"] == "Succeeded"]
    assert len(ended) == 5  # each with its source pod


@pytest.mark.any_kubevirt
def test_spec_cannot_be_changed_nor_a_second_one_made(near):
    steps = Steps(near(topology="tiny"))
    name = steps.migrate("vm-1")
    with pytest.raises(Rejected, match="in-flight migration detected. Active migration job"):
        steps.migrate("vm-1")
    with pytest.raises(Rejected, match="update of Migration object's spec is restricted"):
        steps.api.patch(path_of("kubevirt.io/v1", VMIMS, "default", name), {"spec": {"vmiName": "vm-2"}})


def test_vm_restart_at_the_handover_gives_another_vmi(near):
    steps = Steps(near(topology="tiny"))
    uid = steps.vmi("vm-1")["metadata"]["uid"]
    steps.annotate(VMIS, "vm-1", fail="restart")
    name = steps.migrate("vm-1")
    steps.until(lambda: steps.phase(name) in ("Failed", None))
    new = steps.until(lambda: [vmi for vmi in steps.api.list(path_of("kubevirt.io/v1", VMIS, "default")).items
                               if vmi["metadata"]["name"] == "vm-1" and vmi["metadata"]["uid"] != uid
                               and (vmi.get("status") or {}).get("phase") == "Running"])
    assert "migrationState" not in new[0]["status"] and new[0]["status"]["nodeName"]
    assert steps.migration(name) is None  # gone with its VMI


@pytest.mark.any_kubevirt
def test_target_pod_that_dies_fails_the_migration(near):
    steps = Steps(near(topology="tiny"))
    steps.linger("vm-1", 30)
    steps.annotate(VMIS, "vm-1", fail="target-pod-down", dirty_rate="2G", working_set="3Gi")
    done = steps.until_phase(steps.migrate("vm-1"), "Failed")
    state = steps.state("vm-1")
    assert state["failed"] and state["completed"] and state["failureReason"] == "Target pod is down"
    assert steps.vmi("vm-1")["status"]["nodeName"] == "node-a" and done
    assert any("shutdown" in event["message"] for event in steps.events("FailedMigration"))


def test_failed_migration_never_hands_over_later(near):
    """The copy would have been through a minute after its target had died."""
    steps = Steps(near(topology="tiny"))
    steps.configure(bandwidthPerMigration="64Mi")
    steps.annotate(VMIS, "vm-1", fail="target-pod-down")
    steps.until_phase(steps.migrate("vm-1"), "Failed")
    steps.cluster.wait(300)
    assert steps.vmi("vm-1")["status"]["nodeName"] == "node-a" and steps.state("vm-1")["failed"]
    steps.annotate(VMIS, "vm-1", fail=None)
    steps.until_phase(steps.migrate("vm-1"), "Succeeded", limit=200)


@pytest.mark.any_kubevirt
def test_quota_keeps_it_pending_and_says_so(near):
    steps = Steps(near(topology="tiny"))
    steps.api.create(path_of("v1", "resourcequotas", "default"), {
        "metadata": {"name": "tight"}, "spec": {"hard": {"requests.memory": "7Gi"}}})
    steps.until(lambda: steps.api.get(path_of("v1", "resourcequotas", "default", "tight")).get("status", {}).get("used"))
    name = steps.migrate("vm-1")
    steps.cluster.wait(60)
    held = steps.migration(name)
    assert held["status"]["phase"] == "Pending"
    row = held["status"]["conditions"][0]
    assert row["type"] == "migrationRejectedByResourceQuota" and row["status"] == "True" and not {"reason", "message"} & set(row)
    assert any("exceeded quota: tight" in event["message"] for event in steps.events("FailedCreate"))
    steps.api.patch(path_of("v1", "resourcequotas", "default", "tight"), {"spec": {"hard": {"requests.memory": "64Gi"}}})
    done = steps.until_phase(name, "Succeeded")
    assert not [row for row in done["status"].get("conditions") or [] if row["type"] == "migrationRejectedByResourceQuota"]


def test_migration_network_shows_in_the_address(near):
    steps = Steps(near(topology="tiny"))
    steps.until_phase(steps.migrate("vm-1"), "Succeeded")
    assert not steps.state("vm-1")["targetNodeAddress"].startswith("10.200.")
    steps.api.create(path_of("k8s.cni.cncf.io/v1", "network-attachment-definitions", "openshift-cnv"), {
        "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "migration-net"}, "spec": {"config": "{}"}})
    steps.configure(network="migration-net", settle=120)
    assert steps.kubevirt()["status"]["phase"] == "Deployed"
    steps.until_phase(steps.migrate("vm-1"), "Succeeded")
    assert steps.state("vm-1")["targetNodeAddress"].startswith("10.200.5.")
