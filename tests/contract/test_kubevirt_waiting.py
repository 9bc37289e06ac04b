# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What keeps a migration waiting, and what the cluster starts by itself: backups, utility volumes, workload updates, hotplug.

Facts 1.6, 1.14, 1.17, 2.6, 2.8, 5.3, 7.6.
"""

from __future__ import annotations

import pytest
from kubevirt_steps import KUBEVIRT, VMIS, Steps, seconds_between

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of

STORED_VMIS = "virtualmachineinstances.kubevirt.io"
BACKUP, VOLUMES = "migrationBlockedByBackup", "migrationBlockedByUtilityVolumes"


def as_kubevirt(steps, name, **merge):
    """Change a guest as KubeVirt's own parts do: no webhook is asked."""
    steps.api.create("/bigvm/v1/script", [{"name": "a part of KubeVirt's", "do": [{"patch": {
        "resource": STORED_VMIS, "namespace": steps.namespace, "name": name, "merge": merge}}]}])
    steps.cluster.wait(0.1)


def hot(steps, name, kind, state="True"):
    """Set or drop a condition of a guest."""
    rows = [row for row in steps.vmi(name)["status"]["conditions"] if row["type"] != kind]
    as_kubevirt(steps, name, status={"conditions": rows + ([{"type": kind, "status": state}] if state else [])})


def told(obj):
    """``{condition: reason}`` of those that are true."""
    return {row["type"]: row.get("reason") for row in (obj.get("status") or {}).get("conditions") or []
            if row["status"] == "True"}


def stamps(vmim):
    return {row["phase"]: row["phaseTransitionTimestamp"] for row in vmim["status"]["phaseTransitionTimestamps"]}


# -- backups and utility volumes -------------------------------------------------------


def test_a_backup_holds_a_migration_without_limit_and_its_volume_fails_it_then(near):
    steps = Steps(near(topology="tiny"))
    steps.annotate(VMIS, "vm-1", backup="1200")
    steps.cluster.wait(5)
    name = steps.migrate("vm-1")
    steps.cluster.wait(1100)
    assert steps.phase(name) == "Pending" and told(steps.migration(name)) == {BACKUP: "BackupInProgress"}
    # The volume's time counts from the VMIM's creation and is over long since when the backup has ended.
    failed = steps.until_phase(name, "Failed", limit=300)
    assert BACKUP not in told(failed) and "failureReason" not in steps.state("vm-1")
    assert any("utility volumes" in event["message"] for event in steps.events("FailedMigration"))
    steps.cluster.wait(20)
    steps.until_phase(steps.migrate("vm-1"), "Succeeded")


def test_a_short_backup_only_delays(near):
    steps = Steps(near(topology="tiny"))
    steps.annotate(VMIS, "vm-1", backup="60")
    steps.cluster.wait(5)
    name = steps.migrate("vm-1")
    steps.until(lambda: VOLUMES in told(steps.migration(name)), limit=120)
    assert steps.events("UtilityVolumeMigrationPending")
    done = steps.until_phase(name, "Succeeded")
    assert told(done) == {} and seconds_between(stamps(done)["Pending"], stamps(done)["Scheduling"]) > 50


def test_an_evacuation_ends_the_backup(near):
    steps = Steps(near(topology="tiny"))
    steps.annotate(VMIS, "vm-1", backup="3600")
    steps.cluster.wait(5)
    steps.evict(steps.pods("vm-1")[0]["metadata"]["name"])
    made = steps.until(lambda: steps.vmims("vm-1"), limit=10)[0]["metadata"]["name"]
    done = steps.until_phase(made, "Succeeded", limit=120)
    assert done["spec"]["priority"] == "system-critical"
    backup = steps.vmi("vm-1")["status"]["changedBlockTracking"]["backupStatus"]
    assert backup["completed"] and backup["failed"]


@pytest.mark.parametrize("how, seconds", [("default", 150), ("annotation", 40), ("jsonpatch", 300)])
def test_utility_volumes_have_their_time(near, how, seconds):
    steps = Steps(near(topology="tiny"))
    if how == "jsonpatch":
        steps.api.patch(steps.hco_path(), {"metadata": {"annotations": {
            "kubevirt.kubevirt.io/jsonpatch": '[{"op":"add","path":"/spec/configuration/migrations/utilityVolumesTimeout","value":300}]'}}})
        steps.cluster.wait(30)
    as_kubevirt(steps, "vm-1", spec={"utilityVolumes": [{"name": "dump", "claimName": "dump"}]})
    notes = {"kubevirt.io/migrationUtilityVolumesTimeoutSeconds": "40"} if how == "annotation" else {}
    name = steps.migrate("vm-1", metadata={"annotations": notes})
    done = steps.until_phase(name, "Failed")
    assert abs(seconds_between(done["metadata"]["creationTimestamp"], stamps(done)["Failed"]) - seconds) <= 3
    assert len(steps.pods("vm-1")) == 1  # no target pod was ever made


def test_a_volume_that_goes_in_time_lets_it_start(near):
    steps = Steps(near(topology="tiny"))
    as_kubevirt(steps, "vm-1", spec={"utilityVolumes": [{"name": "dump", "claimName": "dump"}]})
    name = steps.migrate("vm-1")
    steps.cluster.wait(100)
    assert told(steps.migration(name)) == {VOLUMES: "UtilityVolumesAttached"}
    as_kubevirt(steps, "vm-1", spec={"utilityVolumes": None})
    assert told(steps.until_phase(name, "Scheduling", limit=10)) == {}


def test_older_releases_have_no_such_hold(near):
    steps = Steps(near(topology="tiny", generation="1.6"))
    as_kubevirt(steps, "vm-1", spec={"utilityVolumes": [{"name": "dump", "claimName": "dump"}]})
    steps.until_phase(steps.migrate("vm-1"), "Succeeded")


# -- workload updates --------------------------------------------------------------------


def updated(steps, release):
    kubevirt = steps.kubevirt()["metadata"]
    steps.api.patch(path_of(KUBEVIRT, "kubevirts", kubevirt["namespace"], kubevirt["name"]), {
        "metadata": {"annotations": {"rehearsal.bigvm.io/launcher": release}}})


def outdated(steps):
    return steps.kubevirt()["status"]["outdatedVirtualMachineInstanceWorkloads"]


@pytest.mark.parametrize("generation", ["1.3", "1.6", "1.9"])
def test_an_update_of_kubevirt_moves_every_guest(near, generation):
    steps = Steps(near(topology="queue", generation=generation))
    steps.configure(parallelMigrationsPerCluster=5, parallelOutboundMigrationsPerNode=5)
    updated(steps, "v9.9.9")
    steps.until(lambda: outdated(steps) == 20, limit=10)
    most = 0
    while outdated(steps):
        unfinished = [row for row in steps.vmims() if (row.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]
        assert all(row["metadata"]["name"].startswith("kubevirt-workload-update-") for row in unfinished)
        most = max(most, len(unfinished))
        steps.cluster.wait(5)
    assert most == 5
    made = steps.vmims()[0]
    assert "kubevirt.io/workloadUpdateMigration" in made["metadata"]["annotations"]
    assert made["spec"].get("priority") == ("system-critical" if generation == "1.9" else None)
    for row in steps.api.list(path_of(KUBEVIRT, VMIS, "default")).items:
        assert row["status"]["nodeName"] != "node-a" and "kubevirt.io/outdatedLauncherImage" not in row["metadata"]["labels"]
        assert row["status"]["launcherContainerImageVersion"] == "virt-launcher:v9.9.9"


def test_no_workload_is_updated_where_nobody_asked_for_it(near):
    steps = Steps(near(topology="tiny"))
    steps.api.patch(steps.hco_path(), {"spec": {"virtualization": {"workloadUpdateStrategy": {"workloadUpdateMethods": []}}}})
    steps.cluster.wait(20)
    updated(steps, "v9.9.9")
    steps.cluster.wait(600)
    assert outdated(steps) == 2 and steps.vmims() == []


def test_workload_updates_wait_for_the_end_of_a_rollout(near):
    steps = Steps(near(topology="tiny"))
    steps.configure(network="nowhere", settle=20)  # a roll-out that never ends
    updated(steps, "v9.9.9")
    steps.cluster.wait(600)
    assert outdated(steps) == 2 and steps.vmims() == []
    steps.configure(network=None, settle=90)
    assert steps.vmims()


@pytest.mark.parametrize("generation, seconds", [("1.3", 20), ("1.6", 35)])
def test_a_failed_update_waits_on_releases_from_1_4_on(near, generation, seconds):
    steps = Steps(near(topology="tiny", generation=generation))
    steps.annotate(VMIS, "vm-1", fail="libvirt-error")
    as_kubevirt(steps, "vm-1", metadata={"labels": {"kubevirt.io/outdatedLauncherImage": ""}})

    def failures():
        return sorted((row for row in steps.vmims("vm-1") if (row.get("status") or {}).get("phase") == "Failed"),
                      key=lambda row: row["metadata"]["creationTimestamp"])

    steps.until(lambda: len(failures()) >= 3, limit=400)
    second, third = failures()[1:3]
    pause = seconds_between(stamps(second)["Failed"], stamps(third)["Scheduling"])
    assert pause >= seconds if generation == "1.6" else pause < seconds


def test_a_cpu_hotplug_moves_its_guest_and_keeps_the_vmim_running_until_it_is_done(near):
    steps = Steps(near(topology="tiny"))
    hot(steps, "vm-1", "HotVCPUChange")
    made = steps.until(lambda: steps.vmims("vm-1"), limit=10)[0]["metadata"]["name"]
    assert steps.migration(made)["spec"]["priority"] == "user-triggered"
    steps.until(lambda: steps.state("vm-1").get("completed"), step=0.25)
    assert steps.phase(made) == "Running" and steps.vmi("vm-1")["status"]["nodeName"] == "node-b"
    done = steps.until_phase(made, "Succeeded", limit=30)
    assert seconds_between(steps.state("vm-1")["endTimestamp"], stamps(done)["Succeeded"]) >= 3
    assert "HotVCPUChange" not in told(steps.vmi("vm-1"))


def test_a_hotplug_that_hangs_leaves_the_vmim_running(near):
    steps = Steps(near(topology="tiny"))
    steps.annotate(VMIS, "vm-1", fail="hotplug-stuck")
    hot(steps, "vm-1", "HotMemoryChange")
    made = steps.until(lambda: steps.vmims("vm-1"), limit=10)[0]["metadata"]["name"]
    steps.cluster.wait(3600)
    assert steps.phase(made) == "Running" and steps.state("vm-1")["completed"]
    hot(steps, "vm-1", "HotMemoryChange", None)
    steps.until_phase(made, "Succeeded", limit=10)


@pytest.mark.parametrize("generation, moved", [("1.3", False), ("1.6", True)])
def test_migration_required_is_a_reason_from_1_6_on(near, generation, moved):
    steps = Steps(near(topology="tiny", generation=generation))
    hot(steps, "vm-1", "MigrationRequired")
    steps.cluster.wait(60)
    assert bool(steps.vmims("vm-1")) is moved


def test_an_update_without_a_reason_left_is_withdrawn(near):
    steps = Steps(near(topology="tiny"))
    steps.configure(parallelOutboundMigrationsPerNode=1)
    steps.annotate(VMIS, "vm-2", dirty_rate="3G", working_set="1Gi")
    steps.until_phase(steps.migrate("vm-2"), "Running")
    hot(steps, "vm-1", "HotVCPUChange")
    steps.until(lambda: steps.vmims("vm-1"), limit=10)
    hot(steps, "vm-1", "HotVCPUChange", None)
    steps.until(lambda: not steps.vmims("vm-1"), limit=15)


# -- policies and what is left ------------------------------------------------------------


@pytest.mark.parametrize("what", ["deleted", "changed", "outbid"])
def test_a_policy_that_changes_before_the_handoff_does_not_hold(near, what):
    steps = Steps(near(topology="tiny"))
    policies = path_of("migrations.kubevirt.io/v1alpha1", "migrationpolicies")

    def policy(name, labels, **spec):
        return {"apiVersion": "migrations.kubevirt.io/v1alpha1", "kind": "MigrationPolicy", "metadata": {"name": name},
                "spec": dict(spec, selectors={"virtualMachineInstanceSelector": labels})}

    steps.api.create(policies, policy("ours", {"kubevirt.io/domain": "vm-1"}, completionTimeoutPerGiB=777, allowPostCopy=False))
    name = steps.migrate("vm-1")
    steps.until_phase(name, "Scheduling")
    if what == "deleted":
        steps.api.delete(policies + "/ours")
    elif what == "changed":
        steps.api.patch(policies + "/ours", {"spec": {"completionTimeoutPerGiB": 5}})
    else:
        steps.api.create(policies, policy("theirs", {"kubevirt.io/domain": "vm-1", "kubevirt.io/nodeName": "node-a"},
                                          completionTimeoutPerGiB=6))
    steps.until(lambda: steps.state("vm-1").get("migrationUid"))
    state = steps.state("vm-1")
    seen = state.get("migrationPolicyName"), state["migrationConfiguration"]["completionTimeoutPerGiB"]
    assert seen == {"deleted": (None, 20), "changed": ("ours", 5), "outbid": ("theirs", 6)}[what]


def test_migrations_go_with_their_guest(near):
    steps = Steps(near(topology="tiny"))
    steps.until_phase(steps.migrate("vm-1"), "Succeeded")
    running = steps.migrate("vm-1")
    steps.until_phase(running, "Scheduling")
    steps.api.patch(path_of(KUBEVIRT, "virtualmachines", "default", "vm-1"), {"spec": {"runStrategy": "Halted"}})
    steps.until(lambda: steps.vmims("vm-1") == [], limit=300)


def test_collected_migrations_take_their_ended_pods_along(near):
    steps = Steps(near(topology="tiny"))
    for turn in range(7):
        steps.annotate(VMIS, "vm-1", fail="libvirt-error" if turn % 2 else None)
        steps.until_phase(steps.migrate("vm-1"), "Failed" if turn % 2 else "Succeeded")
        steps.cluster.wait(10)
    left = {row["metadata"]["uid"] for row in steps.vmims("vm-1")}
    jobs = {pod["metadata"]["labels"].get("kubevirt.io/migrationJobUID") for pod in steps.pods("vm-1")
            if pod["status"]["phase"] == "Failed"}
    assert len(left) == 5 and jobs <= left
