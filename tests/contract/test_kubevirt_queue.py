# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Slots, priorities, evictions and evacuations (facts 2 and 7)."""

from __future__ import annotations

import pytest
from kubevirt_steps import FINAL, VMIS, Steps, seconds_between

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import is_active

SLOW = {"dirty_rate": "3G", "working_set": "3Gi"}
ACTIVE = ("Scheduling", "Scheduled", "PreparingTarget", "TargetReady", "Running")


def active(steps):
    return [item for item in steps.vmims() if (item.get("status") or {}).get("phase") in ACTIVE]


def test_one_outbound_migration_per_node_on_1_9(near):
    steps = Steps(near(topology="tiny"))
    steps.annotate(VMIS, "vm-1", **SLOW)
    first = steps.migrate("vm-1")
    steps.until_phase(first, "Scheduling")
    second = steps.migrate("vm-2")
    steps.cluster.wait(90)
    assert steps.phase(first) == "Running" and steps.phase(second) == "Pending"
    assert "conditions" not in steps.migration(second)["status"]  # nothing says that it waits for a slot (facts 1.6)
    done = steps.until_phase(first, "Failed", limit=60)
    moved = steps.until_phase(second, "Scheduling", step=0.5)
    stamp = {row["phase"]: row["phaseTransitionTimestamp"] for row in done["status"]["phaseTransitionTimestamps"]}
    began = moved["status"]["phaseTransitionTimestamps"][-1]["phaseTransitionTimestamp"]
    assert seconds_between(stamp["Failed"], began) <= 6


def test_cluster_limit_and_a_full_queue(near):
    steps = Steps(near(topology="queue"))
    steps.configure(parallelMigrationsPerCluster=4)
    names = [steps.migrate("vm-%02d" % number) for number in range(1, 21)]
    most = 0
    while any(steps.phase(name) not in FINAL for name in names):
        most = max(most, len(active(steps)))
        steps.cluster.wait(2)
    assert most == 4
    assert {steps.phase(name) for name in names} == {"Succeeded"}


def test_twenty_at_once_when_the_limits_allow_it(near):
    steps = Steps(near(topology="queue"))
    names = [steps.migrate("vm-%02d" % number) for number in range(1, 21)]
    steps.cluster.wait(16)
    assert len(active(steps)) == 20
    steps.until(lambda: all(steps.phase(name) == "Succeeded" for name in names), limit=180, step=5)


@pytest.mark.any_kubevirt
def test_a_limit_of_zero_blocks_for_ever_and_changing_it_helps(near):
    steps = Steps(near(topology="tiny"))
    steps.configure(parallelMigrationsPerCluster=0)
    name = steps.migrate("vm-1")
    steps.cluster.wait(7200)
    assert steps.phase(name) == "Pending"
    steps.configure(parallelMigrationsPerCluster=5)
    steps.until_phase(name, "Succeeded")


@pytest.mark.any_kubevirt
def test_a_cancelled_migrations_pod_holds_up_the_next_one(near):
    steps = Steps(near(topology="tiny"))
    steps.linger("vm-1", 4)
    first = steps.migrate("vm-1")
    steps.until_phase(first, "Scheduling")
    steps.cancel(first)
    steps.until(lambda: steps.migration(first) is None, step=0.25)
    second = steps.migrate("vm-1")
    steps.until_phase(second, "Succeeded")
    steps.cluster.wait(5)
    assert len([pod for pod in steps.pods("vm-1") if pod["status"]["phase"] == "Running"]) == 1


# -- evictions -----------------------------------------------------------------------


@pytest.mark.any_kubevirt
@pytest.mark.parametrize("generation", ["1.6", "1.9"])
def test_eviction_is_refused_with_429_and_evacuates(near, generation):
    steps = Steps(near(topology="tiny", generation=generation))
    steps.linger("vm-1", 4)
    pod = steps.pods("vm-1")[0]["metadata"]["name"]
    assert steps.evict(pod, deleteOptions={"dryRun": ["All"]})[0] == 429
    assert "evacuationNodeName" not in steps.vmi("vm-1")["status"]
    code, said = steps.evict(pod)
    assert code == 429 and said == (
        'admission webhook "virt-launcher-eviction-interceptor.kubevirt.io" denied the request: '
        'Eviction triggered evacuation of VMI "default/vm-1"')
    code, said = steps.evict(pod)
    assert code == 429 and 'Evacuation in progress: Eviction triggered evacuation of VMI "default/vm-1"' in said
    assert steps.vmi("vm-1")["status"]["evacuationNodeName"] == "node-a"

    def asked():
        return [row for row in steps.vmi("vm-1")["status"]["conditions"] if row["type"] == "EvictionRequested"]

    assert steps.until(asked) if generation == "1.9" else not asked()
    made = steps.until(lambda: steps.vmims("vm-1"))[0]
    assert made["metadata"]["name"].startswith("kubevirt-evacuation-")
    assert made["metadata"]["annotations"]["kubevirt.io/evacuationMigration"] == "node-a"
    assert made["spec"].get("priority") == ("system-critical" if generation == "1.9" else None)
    target = steps.until(lambda: [pod for pod in steps.pods("vm-1") if pod["spec"].get("nodeName") == "node-b"])[0]
    code, said = steps.evict(target["metadata"]["name"])
    assert code == 429 and "Evacuation in progress" in said  # of the guest, whichever of its pods is asked for
    steps.until(lambda: steps.vmi("vm-1")["status"]["nodeName"] == "node-b")
    assert "evacuationNodeName" not in steps.vmi("vm-1")["status"]
    steps.until(lambda: sum(map(is_active, steps.pods("vm-1"))) == 1)
    assert steps.evict(pod)[0] == 201  # the old pod has ended; it only has to go
    steps.until_phase(steps.migrate("vm-1"), "Scheduling", "Scheduled", "PreparingTarget", "TargetReady", "Running", step=0.2)
    target = steps.until(lambda: [pod for pod in steps.pods("vm-1") if pod["spec"].get("nodeName") == "node-a" and is_active(pod)])[0]
    code, said = steps.evict(target["metadata"]["name"])
    assert code == 429 and said.endswith("Eviction request for target Pod")
    assert "evacuationNodeName" not in steps.vmi("vm-1")["status"]


@pytest.mark.any_kubevirt
def test_evacuation_comes_back_until_it_is_cancelled(near):
    steps = Steps(near(topology="tiny"))
    steps.annotate(VMIS, "vm-1", fail="libvirt-error")
    steps.evict(steps.pods("vm-1")[0]["metadata"]["name"])
    times = []
    while len(times) < 3:
        failed = [item for item in steps.vmims("vm-1") if (item.get("status") or {}).get("phase") == "Failed"]
        times = sorted(row["phaseTransitionTimestamp"] for item in failed
                       for row in item["status"]["phaseTransitionTimestamps"] if row["phase"] == "Failed")
        steps.cluster.wait(5)
    assert seconds_between(times[0], times[1]) >= 20 and seconds_between(times[1], times[2]) >= 40  # back-off doubles
    assert steps.events("MigrationBackoff")
    path = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachineinstances/vm-1/evacuate/cancel"
    assert steps.cluster.http("PUT", path, {"evacuationNodeName": "node-b"})[0] == 500  # its patch, which tests it, fails
    assert steps.vmi("vm-1")["status"]["evacuationNodeName"] == "node-a"
    assert steps.cluster.http("PUT", path, {"evacuationNodeName": "node-a"})[0] == 200
    assert "evacuationNodeName" not in steps.vmi("vm-1")["status"]
    assert steps.cluster.http("PUT", path, {"evacuationNodeName": "node-a"})[0] == 200  # nothing is asked of it any more
    for item in steps.vmims("vm-1"):
        if item["status"]["phase"] not in FINAL:
            steps.cancel(item["metadata"]["name"])
    steps.cluster.wait(600)
    assert all(item["status"]["phase"] in FINAL for item in steps.vmims("vm-1"))


def test_evacuate_cancel_does_not_exist_on_1_6(near):
    steps = Steps(near(topology="tiny", generation="1.6"))
    path = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachineinstances/vm-1/evacuate/cancel"
    assert steps.cluster.http("PUT", path, {})[0] == 404
    names = [entry["name"] for entry in steps.api.get("/apis/subresources.kubevirt.io/v1")["resources"]]
    assert names == ["virtualmachines/migrate"]


@pytest.mark.any_kubevirt
@pytest.mark.parametrize("generation, at_once", [("1.9", 20), ("1.6", 2)])
def test_evacuations_all_at_once_on_1_9_and_by_slots_on_1_6(near, generation, at_once):
    steps = Steps(near(topology="queue", generation=generation))
    steps.configure(parallelMigrationsPerCluster=5, parallelOutboundMigrationsPerNode=2)
    for number in range(1, 21):
        steps.evict(steps.pods("vm-%02d" % number)[0]["metadata"]["name"])
    steps.cluster.wait(4)
    assert len(steps.vmims()) == at_once  # made, and most of them Pending


def test_the_clusters_own_migrations_go_before_ours_on_1_9(near):
    steps = Steps(near(topology="queue"))
    steps.configure(parallelMigrationsPerCluster=1, parallelOutboundMigrationsPerNode=1)
    steps.annotate(VMIS, "vm-01", dirty_rate="20G", working_set="6Gi")  # the link carries 8 GB/s
    first = steps.migrate("vm-01")
    steps.until_phase(first, "Running")
    ours = steps.migrate("vm-02")
    steps.cluster.wait(20)
    steps.evict(steps.pods("vm-03")[0]["metadata"]["name"])
    theirs = steps.until(lambda: steps.vmims("vm-03"))[0]["metadata"]["name"]
    steps.until(lambda: steps.phase(theirs) == "Pending")
    steps.cancel(first)
    steps.until(lambda: steps.phase(theirs) in ACTIVE or steps.phase(ours) in ACTIVE, step=0.5)
    assert steps.phase(theirs) in ACTIVE and steps.phase(ours) == "Pending"


@pytest.mark.any_kubevirt
def test_not_migratable_guest_blocks_the_drain(near):
    steps = Steps(near(topology="blocked"), "sap-prod")
    code, said = steps.evict(steps.pods("app-local")[0]["metadata"]["name"])
    assert code == 429 and "configured with an eviction strategy but is not live-migratable" in said
    assert steps.vmims() == []


def test_eviction_strategy_none_shuts_the_guest_down(near):
    steps = Steps(near(topology="tiny"))
    uid = steps.vmi("vm-1")["metadata"]["uid"]
    kubevirt = steps.kubevirt()
    steps.api.patch(steps.hco_path(), {"spec": {"virtualization": {"evictionStrategy": "None"}}})
    steps.cluster.wait(20)
    assert kubevirt and steps.kubevirt()["spec"]["configuration"]["evictionStrategy"] == "None"
    assert steps.evict(steps.pods("vm-1")[0]["metadata"]["name"])[0] == 201

    def restarted():
        items = [vmi for vmi in steps.api.list(path_of("kubevirt.io/v1", VMIS, "default")).items if vmi["metadata"]["name"] == "vm-1"]
        return items and items[0]["metadata"]["uid"] != uid and items[0]["status"].get("phase") == "Running"

    steps.until(restarted, limit=120)


@pytest.mark.any_kubevirt
def test_drain_taint_evacuates_too(near):
    steps = Steps(near(topology="tiny"))
    steps.api.patch(path_of("v1", "nodes", None, "node-a"), {"spec": {"taints": [
        {"key": "kubevirt.io/drain", "value": "draining", "effect": "NoSchedule"}]}})
    steps.until(lambda: {steps.vmi(name)["status"]["nodeName"] for name in ("vm-1", "vm-2")} == {"node-b"}, limit=120)


@pytest.mark.any_kubevirt
def test_migrate_subresource(near):
    steps = Steps(near(topology="tiny"))
    steps.linger("vm-1", 4)
    path = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachines/%s/migrate"
    assert steps.cluster.http("PUT", path % "nobody", {})[0] == 404
    assert steps.cluster.http("PUT", path % "vm-1", {"dryRun": ["All"]})[0] == 202 and steps.vmims() == []
    code, body, headers = steps.cluster.http("PUT", path % "vm-1", {"addedNodeSelector": {"kubernetes.io/hostname": "node-b"}})
    assert code == 202 and not body
    made = steps.vmims("vm-1")[0]
    assert made["metadata"]["name"].startswith("kubevirt-migrate-vm-")
    code, body, headers = steps.cluster.http("PUT", path % "vm-1", {})
    assert code == 500 and "in-flight migration detected" in body["message"]


@pytest.mark.any_kubevirt
@pytest.mark.parametrize("strategy, access, code, marked, moved", [
    ("LiveMigrate", "ReadWriteMany", 429, True, True), ("LiveMigrate", "ReadWriteOnce", 429, False, False),
    ("LiveMigrateIfPossible", "ReadWriteMany", 429, True, True), ("LiveMigrateIfPossible", "ReadWriteOnce", 201, False, False),
    ("External", "ReadWriteMany", 429, True, False), ("None", "ReadWriteMany", 201, False, False),
])
def test_eviction_strategies(near, tmp_path, strategy, access, code, marked, moved):
    path = tmp_path / "one.yml"
    path.write_text("nodes: [{names: [a, b], memory: 32Gi, cpus: 8}]\nvms: [{name: vm, node: a, memory: 1Gi, cpus: 1, "
                    "access: %s, eviction_strategy: '%s'}]\n" % (access, strategy))
    steps = Steps(near(topology=str(path)))
    uid = steps.vmi("vm")["metadata"]["uid"]
    assert steps.evict(steps.pods("vm")[0]["metadata"]["name"])[0] == code
    assert ("evacuationNodeName" in steps.vmi("vm")["status"]) is marked
    if code == 201:  # admitted: shut down, and started anew

        def restarted():
            items = [vmi for vmi in steps.api.list(path_of("kubevirt.io/v1", VMIS, "default")).items if vmi["metadata"]["uid"] != uid]
            return items and (items[0].get("status") or {}).get("phase") == "Running"

        steps.until(restarted, limit=120)
        return
    if moved:
        steps.until(lambda: steps.vmi("vm")["status"]["nodeName"] == "b", limit=120)
    steps.cluster.wait(120)
    after = steps.vmi("vm")
    assert (after["status"]["nodeName"] == "b") is moved and after["metadata"]["uid"] == uid
