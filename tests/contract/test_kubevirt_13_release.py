# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""KubeVirt 1.3 with HyperConverged 1.13: what that release lacks, and does in its own way (facts 1, 7, 11)."""

from __future__ import annotations

import os

import pytest
from kubevirt_steps import ORDER, VMIS, Steps, Watching, seconds_between

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import Forbidden

BUDGETS = path_of("policy/v1", "poddisruptionbudgets", "default")
SLOW = {"dirty_rate": "3G", "working_set": "3Gi"}


@pytest.fixture
def old(near):
    """A 1.3 cluster: ``old(topology=..., namespace=...)`` returns its steps."""
    def make(topology="tiny", namespace="default", **options):
        return Steps(near(topology=topology, generation="1.3", **options), namespace)

    return make


def budget_of(steps, name):
    uid = steps.vmi(name)["metadata"]["uid"]
    found = [row for row in steps.api.list(path_of("policy/v1", "poddisruptionbudgets", steps.namespace)).items
             if row["spec"]["selector"]["matchLabels"].get("kubevirt.io/created-by") == uid]
    assert len(found) == 1 and found[0]["metadata"]["name"].startswith("kubevirt-disruption-budget-")
    return found[0]


# -- the API -----------------------------------------------------------------------


def test_13_prunes_a_target_and_the_vm_lands_anywhere(old):
    steps = old("queue")
    name = steps.migrate("vm-01", addedNodeSelector={"kubernetes.io/hostname": "nowhere"})
    assert steps.migration(name)["spec"] == {"vmiName": "vm-01"}
    steps.until_phase(name, "Succeeded")
    assert steps.vmi("vm-01")["status"]["nodeName"] in ("node-b", "node-c")


def test_13_settings_live_in_v1beta1_with_800_seconds(old):
    steps = old()
    versions = [row["version"] for row in steps.api.get("/apis/hco.kubevirt.io")["versions"]]
    assert versions == ["v1beta1"]
    config = steps.api.get(steps.hco_path("v1beta1"))["spec"]["liveMigrationConfig"]
    assert (config["completionTimeoutPerGiB"], config["parallelOutboundMigrationsPerNode"]) == (800, 2)
    steps.configure(allowWorkloadDisruption=True)
    assert "allowWorkloadDisruption" not in steps.api.get(steps.hco_path("v1beta1"))["spec"]["liveMigrationConfig"]


def test_13_has_no_target_in_the_migrate_subresource_and_no_cancel(old):
    steps = old()
    path = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachines/vm-1"
    assert steps.cluster.http("PUT", path + "/migrate", {"addedNodeSelector": {"a": "b"}})[0] == 202
    assert steps.vmims("vm-1")[0]["spec"] == {"vmiName": "vm-1"}
    assert steps.cluster.http("PUT", path + "/evacuate/cancel", {})[0] == 404


def test_13_plays_with_the_real_definitions(old, shared_folder):
    crds = os.path.join(shared_folder, "crds", "kubevirt-1.3-hco-1.13")
    steps = old(crds=crds)
    name = steps.migrate("vm-1", addedNodeSelector={"kubernetes.io/hostname": "nowhere"})
    assert "addedNodeSelector" not in steps.migration(name)["spec"]
    steps.until_phase(name, "Succeeded")
    steps.until(lambda: budget_of(steps, "vm-1")["spec"]["minAvailable"] == 1, limit=20)


def test_13_the_role_edit_may_create_migrations(near):
    for generation, role, allowed in (("1.3", "kubevirt.io:edit", True), ("1.6", "kubevirt.io:edit", False),
                                      ("1.6", "kubevirt.io:migrate", True), ("1.3", "kubevirt.io:view", False)):
        steps = Steps(near(topology="tiny", generation=generation))
        rules = []
        for rule in steps.api.get(path_of("rbac.authorization.k8s.io/v1", "clusterroles", None, role))["rules"]:
            rules += [{"verbs": rule["verbs"], "resources": ["%s.%s" % (name, group) for group in rule["apiGroups"]
                                                             for name in rule["resources"]]}]
        restricted = Steps(steps.cluster)
        token = steps.api.create("/bigvm/v1/tokens", {"user": "operator", "rules": rules})["api_key"]
        restricted.api = steps.cluster.client(token)
        if allowed:
            assert restricted.migrate("vm-1")
        else:
            with pytest.raises(Forbidden):
                restricted.migrate("vm-1")


# -- the copy ------------------------------------------------------------------------


def test_13_the_source_completes_in_the_write_that_moves_the_guest(old):
    steps = old()
    watching = Watching(steps, VMIS)
    name = steps.migrate("vm-1")
    steps.until_phase(name, "Succeeded")
    moved = [row["object"]["status"] for row in watching.take() if row["object"]["metadata"]["name"] == "vm-1"
             and row["object"]["status"].get("nodeName") == "node-b"]
    assert moved[0]["migrationState"]["completed"] is True and moved[0]["migrationState"]["endTimestamp"]
    assert [row["phase"] for row in steps.migration(name)["status"]["phaseTransitionTimestamps"]] == ORDER


def test_13_post_copy_needs_no_leave_to_disrupt(old):
    steps = old()
    steps.configure(allowPostCopy=True, completionTimeoutPerGiB=2)
    steps.annotate(VMIS, "vm-1", **SLOW)
    name = steps.migrate("vm-1")
    steps.until(lambda: steps.state("vm-1").get("mode") == "PostCopy")
    assert "allowWorkloadDisruption" not in steps.state("vm-1")["migrationConfiguration"]
    steps.until_phase(name, "Succeeded")


def test_13_never_pauses_a_guest(old):
    steps = old()
    policy = {"apiVersion": "migrations.kubevirt.io/v1alpha1", "kind": "MigrationPolicy", "metadata": {"name": "hard"},
              "spec": {"selectors": {"virtualMachineInstanceSelector": {}}, "completionTimeoutPerGiB": 2,
                       "allowWorkloadDisruption": True}}
    made = steps.api.create(path_of("migrations.kubevirt.io/v1alpha1", "migrationpolicies"), policy)
    assert "allowWorkloadDisruption" not in made["spec"]
    steps.annotate(VMIS, "vm-1", **SLOW)
    watching = Watching(steps, VMIS)
    steps.until_phase(steps.migrate("vm-1"), "Failed")
    modes = {row["object"]["status"].get("migrationState", {}).get("mode") for row in watching.take()}
    state = steps.state("vm-1")
    assert modes <= {None, "PreCopy"} and state["failed"] and state["completed"]
    assert state["failureReason"].startswith("Live migration is not completed after")


@pytest.mark.parametrize("threads, seconds", [(None, 85), ("4", 25), ("many", 85)])
def test_13_sends_one_stream_unless_an_annotation_asks_for_more(near, tmp_path, threads, seconds):
    path = tmp_path / "t.yml"
    path.write_text("""
generation: "1.3"
nodes: [{names: [a, b], memory: 512Gi, cpus: 32, link: 100G}]
vms: [{name: vm, node: a, memory: 64Gi, cpus: 8, annotations: {%s}}]
""" % ("kubevirt.io/multiThreadedQemuMigration: '%s'" % threads if threads else ""))
    steps = Steps(near(topology=str(path)))
    steps.until_phase(steps.migrate("vm"), "Succeeded")
    state = steps.state("vm")
    assert abs(seconds_between(state["startTimestamp"], state["endTimestamp"]) - seconds) <= seconds / 2.5


# -- budgets, evictions, evacuations ----------------------------------------------------


def test_13_a_budget_protects_every_guest_and_both_pods_of_a_migration(old):
    steps = old()
    assert budget_of(steps, "vm-1")["status"]["disruptionsAllowed"] == 0
    name = steps.migrate("vm-1")
    seen = []
    steps.until(lambda: seen.append((steps.phase(name), budget_of(steps, "vm-1")["spec"]["minAvailable"],
                                     len(steps.pods("vm-1")))) or steps.phase(name) == "Succeeded", step=0.1)
    assert ("Pending", 2, 1) in seen and not [row for row in seen if row[2] == 2 and row[1] == 1 and row[0] == "Scheduling"]
    steps.until(lambda: budget_of(steps, "vm-1")["spec"]["minAvailable"] == 1, limit=20)


def test_13_a_migration_waits_for_its_budget(old):
    steps = old()
    if not hasattr(steps.cluster, "app"):
        pytest.skip("the disruption controller is held from within")
    budgets = steps.cluster.app.world.budgets
    observing, budgets.loop.reconcile = budgets.loop.reconcile, lambda key: None
    name = steps.migrate("vm-1")
    steps.cluster.wait(1800)
    assert steps.phase(name) == "Pending" and len(steps.pods("vm-1")) == 1
    assert budget_of(steps, "vm-1")["spec"]["minAvailable"] == 2
    budgets.loop.reconcile = observing
    budgets.loop.add(("default", budget_of(steps, "vm-1")["metadata"]["name"]))
    steps.until_phase(name, "Succeeded")


def test_13_cancelling_a_waiting_migration_lowers_the_budget(old):
    steps = old()
    name = steps.migrate("vm-1")
    steps.until_phase(name, "Scheduling")
    assert budget_of(steps, "vm-1")["spec"]["minAvailable"] == 2
    steps.cancel(name)
    steps.until(lambda: budget_of(steps, "vm-1")["spec"]["minAvailable"] == 1, limit=60)
    assert "labels" not in budget_of(steps, "vm-1")["metadata"] or not budget_of(steps, "vm-1")["metadata"]["labels"]


def test_13_a_guest_without_eviction_strategy_has_no_budget_and_needs_none(near, tmp_path):
    path = tmp_path / "t.yml"
    path.write_text("""
generation: "1.3"
eviction_strategy: None
nodes: [{names: [a, b], memory: 64Gi, cpus: 32}]
vms: [{name: vm, node: a, memory: 4Gi}]
""")
    steps = Steps(near(topology=str(path)))
    assert steps.api.list(BUDGETS).items == []
    steps.until_phase(steps.migrate("vm"), "Succeeded")


def test_13_the_budget_goes_with_its_guest_and_comes_with_the_next(old):
    steps = old()
    first, uid = budget_of(steps, "vm-1")["metadata"]["name"], steps.vmi("vm-1")["metadata"]["uid"]
    steps.api.delete(path_of("kubevirt.io/v1", VMIS, "default", "vm-1"))
    steps.until(lambda: [vmi for vmi in steps.api.list(path_of("kubevirt.io/v1", VMIS, "default")).items
                         if vmi["metadata"]["name"] == "vm-1" and vmi["metadata"]["uid"] != uid and
                         vmi["status"].get("phase") == "Running"])
    steps.cluster.wait(5)
    assert budget_of(steps, "vm-1")["metadata"]["name"] != first
    assert len(steps.api.list(BUDGETS).items) == 2


def test_13_an_eviction_is_refused_by_the_webhook_once_and_then_by_the_budget(old):
    steps = old()
    pod = steps.pods("vm-1")[0]["metadata"]["name"]
    code, said = steps.evict(pod)
    assert code == 429 and 'Eviction triggered evacuation of VMI "default/vm-1"' in said
    code, said = steps.evict(pod)
    assert code == 429 and "disruption budget" in said
    made = steps.until(lambda: steps.vmims("vm-1"), limit=10)[0]
    assert made["metadata"]["annotations"]["kubevirt.io/evacuationMigration"] == "node-a" and "priority" not in made["spec"]
    steps.until_phase(made["metadata"]["name"], "Succeeded")
    assert "evacuationNodeName" not in steps.vmi("vm-1")["status"]


def test_13_evacuates_by_slots_and_looks_again_every_5_seconds(old):
    steps = old("queue")
    steps.configure(parallelMigrationsPerCluster=5, parallelOutboundMigrationsPerNode=2)
    for number in range(1, 7):
        steps.annotate(VMIS, "vm-%02d" % number, dirty_rate="500M", working_set="4Gi")
        steps.evict(steps.pods("vm-%02d" % number)[0]["metadata"]["name"])
    most = 0
    for _look in range(120):
        unfinished = [row for row in steps.vmims() if (row.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]
        most = max(most, len(unfinished))
        steps.cluster.wait(1)
    assert most == 2
    assert len([row for row in steps.vmims() if (row.get("status") or {}).get("phase") == "Succeeded"]) == 6


# -- guests, nodes, metrics ----------------------------------------------------------------


def test_13_names_disks_before_everything_else(near, tmp_path):
    path = tmp_path / "t.yml"
    path.write_text("""
generation: "1.3"
nodes: [{names: [a, b], memory: 64Gi, cpus: 32}]
vms: [{name: local, node: a, memory: 4Gi, access: ReadWriteOnce}, {name: fs, node: a, memory: 4Gi},
      {name: reserved, node: a, memory: 4Gi}]
""")
    steps = Steps(near(topology=str(path)))
    devices = {
        "local": {"hostDevices": [{"name": "fpga", "deviceName": "vendor/fpga"}]},
        "fs": {"filesystems": [{"name": "share", "virtiofs": {}}]},
        "reserved": {"disks": [{"name": "rootdisk", "lun": {"reservation": True}}]},
    }
    for name, more in devices.items():
        steps.api.create("/bigvm/v1/script", [{"name": name, "do": [{"patch": {
            "resource": "virtualmachineinstances.kubevirt.io", "namespace": "default", "name": name,
            "merge": {"spec": {"domain": {"devices": more}}}}}]}])
    steps.cluster.wait(5)
    rows = {name: {row["type"]: row for row in steps.vmi(name)["status"]["conditions"]} for name in devices}
    assert rows["local"]["LiveMigratable"]["reason"] == "DisksNotLiveMigratable"
    assert rows["fs"]["LiveMigratable"]["reason"] == "VirtIOFSNotLiveMigratable"
    assert rows["reserved"]["LiveMigratable"]["reason"] == "PersistentReservationNotLiveMigratable"
    assert not any("StorageLiveMigratable" in found for found in rows.values())


def test_13_target_pods_ask_for_the_old_labels(old):
    steps = old("default", "sap-prod")
    name = steps.migrate("hana-prod")
    steps.until_phase(name, "Scheduling")
    selector = next(pod for pod in steps.pods("hana-prod") if "kubevirt.io/migrationJobUID" in pod["metadata"]["labels"])[
        "spec"]["nodeSelector"]
    assert selector["cpumanager"] == "true" and "kubevirt.io/cpumanager" not in selector
    assert not [key for key in selector if key.startswith(("machine-type.", "cpu-vendor."))]
    labels = steps.api.get(path_of("v1", "nodes", None, "hana-b"))["metadata"]["labels"]
    assert "kubevirt.io/cpumanager" not in labels and not [key for key in labels if key.startswith("machine-type.")]


def test_13_metrics_that_came_later_are_absent(old):
    steps = old()
    steps.annotate(VMIS, "vm-1", **SLOW)
    steps.until_phase(steps.migrate("vm-1"), "Running")
    steps.cluster.wait(10)

    def names(query):
        return {row["metric"].get("__name__") for row in steps.api.get(
            "/bigvm/v1/prometheus/api/v1/query", query=query)["data"]["result"]}

    assert names('{__name__=~"kubevirt_vmi_migration_.+"}') == {
        "kubevirt_vmi_migration_data_processed_bytes", "kubevirt_vmi_migration_data_remaining_bytes",
        "kubevirt_vmi_migration_dirty_memory_rate_bytes", "kubevirt_vmi_migration_disk_transfer_rate_bytes"}
    assert names("kubevirt_vmi_dirty_rate_bytes_per_second") == names("kubevirt_vmi_migrations_in_unset_phase") == set()
    assert names("kubevirt_vmi_migrations_in_running_phase")
