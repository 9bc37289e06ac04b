# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""hana_node_pool on the embedded cluster: nothing before it may, one empty node at a time, and on from wherever it was killed."""

from __future__ import annotations

import json

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import Task
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import (
    BadInput,
    LiveMigrationError,
    Refused,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import node_gate, node_roll
from ansible_collections.bigvm.live_migration.plugins.modules import hana_node_pool as module

POOL = "/apis/machineconfiguration.openshift.io/v1/machineconfigpools/hana"
CONFIGS = "/apis/machineconfiguration.openshift.io/v1/machineconfigs"
KUBELETS = "/apis/machineconfiguration.openshift.io/v1/kubeletconfigs"
NODES = "/api/v1/nodes/"
EVICTED = "/apis/kubevirt.io/v1/namespaces/sap-prod/virtualmachineinstancemigrations"


class Pool:
    """Somebody who prepares the pool hana."""

    def __init__(self, cluster):
        self.cluster, self.api, self.said = cluster, cluster.api, []

    def do(self, state, api=None, check=False, **options):
        params = {key: option.get("default") for key, option in module.SPEC.items()}
        params.update({"pool": "hana", "state": state, "run": "prep-1", "hugepages_1gi": "600", "numa_nodes": 2}, **options)
        self.said = []
        return module.execute(Task(params, api or self.api, check_mode=check, say=self.said.append))

    def pool(self):
        return self.api.get(POOL)

    def node(self, name="hana-a"):
        return self.api.get(NODES + name)

    def empty(self, name):
        """As an evacuation leaves it, by hand: its guest goes elsewhere, and it is cordoned."""
        self.api.patch(NODES + name, {"spec": {"unschedulable": True}})
        for vmi in self.api.list("/apis/kubevirt.io/v1/virtualmachineinstances").items:
            if vmi["status"]["nodeName"] == name:
                self.api.create(EVICTED, {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration",
                                          "metadata": {"generateName": "by-hand-"}, "spec": {"vmiName": vmi["metadata"]["name"]}})
        self.cluster.wait(900)

    def places(self):
        return {vmi["metadata"]["name"]: vmi["status"]["nodeName"]
                for vmi in self.api.list("/apis/kubevirt.io/v1/virtualmachineinstances").items}

    def boots(self):
        return {name: self.node(name)["status"]["nodeInfo"]["bootID"] for name in ("hana-a", "hana-b", "hana-c")}


@pytest.fixture
def pool(near):
    cluster = near(topology="hana-pool")
    cluster.wait(30)
    return Pool(cluster)


def writes(cluster):
    return [row for row in cluster.api.get("/bigvm/v1/requests")["items"]
            if row["method"] in ("POST", "PUT", "PATCH", "DELETE") and not row["path"].startswith("/bigvm/")]


def test_a_look_says_what_is_missing_and_what_would_reboot(pool):
    before = len(writes(pool.cluster))
    found = pool.do("checked", hugepages_1gi="auto")
    assert len(writes(pool.cluster)) == before and found["changed"] is False
    assert [row["code"] for row in found["problems"]] == ["ordinary_guests"], "as many pages as can be spared leave no room for app-1"
    assert "app-1" in found["problems"][0]["message"] and pool.do("checked")["problems"] == []
    assert found["pages"] == 704, "768 GiB less 64 GiB for the host, a multiple of two"
    assert found["nodes"] == ["hana-a", "hana-b", "hana-c"]
    assert "hana-b: its VMs move away, it reboots once, it proves itself" in found["plan"]
    assert [row["status"] for row in found["checks"] if row["name"] == "node hana-a: hugepages-1Gi"] == ["FAIL"]
    assert "FAIL: node hana-a: CPU manager: off" in found["lines"]


def test_without_reboot_ok_nothing_is_written(pool):
    before = len(writes(pool.cluster))
    with pytest.raises(Refused, match="hana-a, hana-b, hana-c would reboot, one after the other. Nothing was changed. When they may"):
        pool.do("begun")
    assert len(writes(pool.cluster)) == before


def test_check_mode_tries_on_the_server_and_changes_nothing(pool):
    result = pool.do("begun", api=pool.cluster.client(dry_run=True), check=True)
    assert result["changed"] and "MachineConfig 99-hana-bigvm-hana" in {row["after_header"] for row in result["diff"]}
    assert not pool.pool()["spec"].get("paused") and node_roll.load(pool.pool()) is None


def rolled(pool, name):
    pool.empty(name)
    pool.do("rolled", node=name)
    node = pool.node(name)
    assert [row["key"] for row in node["spec"]["taints"]] == [node_gate.PREP_TAINT] and not node["spec"].get("unschedulable")
    pool.do("returned", node=name)


def test_three_nodes_each_reboot_once_and_the_operator_drains_no_guest(pool):
    before, guests = pool.boots(), set(pool.places())
    began = pool.do("begun", reboot_ok=True)
    assert began["nodes"] == ["hana-a", "hana-b", "hana-c"]
    pool.cluster.wait(7200)
    assert pool.boots() == before, "a paused pool touches no node, however long it takes"
    for name in began["nodes"]:
        rolled(pool, name)
        node = pool.node(name)
        assert node["status"]["allocatable"]["hugepages-1Gi"] == "600Gi"
        assert node["metadata"]["labels"]["node-role.kubernetes.io/hana"] == "" and "taints" not in node["spec"]
        assert not [label for label in node["metadata"]["labels"] if "bigvm" in label]
    after = pool.boots()
    ended = pool.do("ended")
    assert {row["status"] for row in ended["checks"]} == {"PASS"} and ended["changed"]
    pool.cluster.wait(7200)
    assert pool.boots() == after and all(after[name].endswith("-1") for name in after), "each rebooted once"
    assert set(pool.places()) == guests
    evacuations = [vmim for vmim in pool.api.list(EVICTED).items if not vmim["metadata"]["name"].startswith("by-hand-")]
    assert evacuations == [], "no guest was drained by the operator"
    found = pool.pool()
    assert not found["spec"]["paused"] and node_roll.load(found) is None
    assert [one["metadata"]["name"] for one in pool.api.list(POOL.rpartition("/")[0]).items] == ["hana"]
    assert pool.do("begun", reboot_ok=True)["changed"] is False and pool.do("ended")["changed"] is False


def test_a_node_with_guests_is_never_handed_over(pool):
    pool.do("begun", reboot_ok=True)
    with pytest.raises(Refused, match="hana-a still carries VMs: the operator would drain them .sap-prod/app-1"):
        pool.do("rolled", node="hana-a")
    assert "node-role.kubernetes.io/hana" in pool.node()["metadata"]["labels"]


def test_one_at_a_time(pool):
    pool.do("begun", reboot_ok=True)
    pool.empty("hana-a")
    pool.do("rolled", node="hana-a")
    with pytest.raises(Refused, match="hana-a is under way already; one at a time"):
        pool.do("rolled", node="hana-b")


def test_it_goes_on_after_a_kill_at_each_step(pool, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*_arguments, **_more):
        raise Killed

    api = pool.api
    real = {"create": api.create, "patch": api.patch, "sleep": api.clock.sleep}
    with monkeypatch.context() as patched:
        patched.setattr(api, "create", kill)  # paused and noted, nothing written
        with pytest.raises(Killed):
            pool.do("begun", reboot_ok=True)
    assert pool.pool()["spec"]["paused"] and node_roll.load(pool.pool())["run"] == "prep-1"
    assert pool.do("begun", run="prep-2", reboot_ok=True)["nodes"] == ["hana-a", "hana-b", "hana-c"]
    assert pool.do("begun", run="prep-3", reboot_ok=True)["changed"] is False
    assert node_roll.load(pool.pool())["paused"] is False, "how it was before the first run is kept"
    pool.empty("hana-a")
    with monkeypatch.context() as patched:
        patched.setattr(api.clock, "sleep", kill)  # handed over, not waited for
        with pytest.raises(Killed):
            pool.do("rolled", node="hana-a")
    assert node_roll.load(pool.node())["pool"] == "hana"
    with pytest.raises(Refused, match="stays paused: not done are hana-a, hana-b, hana-c"):
        pool.do("ended")
    pool.do("rolled", node="hana-a")
    pool.do("returned", node="hana-a")
    assert pool.do("rolled", node="hana-a")["changed"] is False and pool.do("returned", node="hana-a")["changed"] is False
    for name in ("hana-b", "hana-c"):
        rolled(pool, name)
    deleted = api.delete
    with monkeypatch.context() as patched:
        patched.setattr(api, "delete", kill)  # resumed, not tidied up
        with pytest.raises(Killed):
            pool.do("ended")
    assert node_roll.load(pool.pool()) is not None
    assert deleted is not kill and pool.do("ended")["changed"] and node_roll.load(pool.pool()) is None
    assert real["sleep"] == api.clock.sleep


def test_what_was_begun_is_put_back_as_long_as_no_node_has_it(pool):
    before = pool.pool()["spec"]
    pool.do("begun", reboot_ok=True)
    done = pool.do("withdrawn")
    assert done["changed"] and "put back: KubeletConfig 99-hana-bigvm-hana, MachineConfig 99-hana-bigvm-hana" in done["lines"]
    pool.cluster.wait(3600)
    assert pool.pool()["spec"]["paused"] is False and pool.pool()["spec"]["machineConfigSelector"] == before["machineConfigSelector"]
    assert all(boot == name for name, boot in pool.boots().items()), "no node rebooted"
    pool.do("begun", reboot_ok=True)
    pool.empty("hana-a")
    pool.do("rolled", node="hana-a")
    with pytest.raises(Refused, match="hana-a has the new configuration already"):
        pool.do("withdrawn")


def test_a_node_that_comes_back_without_its_pages_is_found(pool):
    pool.api.patch(NODES + "hana-c", {"metadata": {"annotations": {"rehearsal.bigvm.io/boot-without": "hugepages-1Gi"}}})
    pool.do("begun", reboot_ok=True)
    for name in ("hana-a", "hana-b", "hana-c"):
        rolled(pool, name)
    with pytest.raises(LiveMigrationError, match="1 checks failed: node hana-c: hugepages-1Gi. Look at /proc/cmdline") as caught:
        pool.do("ended")
    assert "FAIL: node hana-c: hugepages-1Gi: 0 B of 600 GiB allocatable" in caught.value.details["lines"]


def test_a_degraded_operator_ends_the_wait_at_once(pool):
    pool.do("begun", reboot_ok=True)
    pool.empty("hana-a")
    pool.api.patch(NODES + "hana-a", {"metadata": {"annotations": {"rehearsal.bigvm.io/boot-seconds": "86400"}}})
    with pytest.raises(LiveMigrationError, match="did not get its new configuration in time; now: reboots. It stays under our taint"):
        pool.do("rolled", node="hana-a", timeout="30min")
    pool.api.patch(NODES + "hana-a", {"metadata": {"annotations": {
        node_roll.STATE: "Degraded", node_roll.REASON: "unexpected on-disk state"}}})
    began = pool.api.clock.now()
    with pytest.raises(LiveMigrationError, match="could not update hana-a: unexpected on-disk state"):
        pool.do("rolled", node="hana-a")
    assert pool.api.clock.now() - began < 60


def test_another_change_of_the_pool_meanwhile_keeps_the_node_out(pool):
    pool.do("begun", reboot_ok=True)
    pool.empty("hana-a")
    pool.do("rolled", node="hana-a")
    pool.api.create(CONFIGS, {"apiVersion": "machineconfiguration.openshift.io/v1", "kind": "MachineConfig", "spec": {
        "kernelArguments": ["mitigations=off"]}, "metadata": {"name": "99-hana-other", "labels": {
            "machineconfiguration.openshift.io/role": "hana"}}})
    pool.cluster.wait(5)
    with pytest.raises(Refused, match="which is another machine: back there it would be drained and rebooted once more"):
        pool.do("returned", node="hana-a")
    pool.do("rolled", node="hana-a")
    assert pool.do("returned", node="hana-a")["changed"]


@pytest.mark.parametrize("options, said", [
    ({"pool": "hanna"}, "There is no MachineConfigPool hanna. Nothing was changed. There are: hana."),
    ({"hugepages_1gi": "many"}, "hugepages_1gi is many. Give a number of 1 GiB pages, or auto."),
    ({"reserve": "lots"}, "reserve or numa_pages cannot be meant"),
    ({"numa_nodes": 0}, "numa_nodes is 0"),
])
def test_bad_options(pool, options, said):
    with pytest.raises(BadInput) as caught:
        pool.do("begun", reboot_ok=True, **options)
    assert said in str(caught.value)


def test_no_pools_is_no_openshift(near):
    with pytest.raises(BadInput, match="has no MachineConfigPools: it is not OpenShift"):
        Pool(near(topology="tiny")).do("checked")


@pytest.mark.parametrize("change, options, code", [
    ({"spec": {"paused": True}}, {}, "pool_paused"),
    ({}, {"hugepages_1gi": "740"}, "hugepages_too_many"),
    ({}, {"hugepages_1gi": "601"}, "hugepages_uneven"),
    ({}, {"hugepages_1gi": "704"}, "ordinary_guests"),
    ({}, {"topology_manager": "single-numa-node"}, "single_numa_node"),
    ({}, {"method": "performance_profile"}, "cpus_missing"),
    ({}, {"numa_pages": {"0": 300}}, "numa_pages"),
])
def test_what_stands_in_the_way_is_said_before_the_first_write(pool, change, options, code):
    if change:
        pool.api.patch(POOL, change)
    assert {row["code"] for row in pool.do("checked", **options)["problems"]} == {code}
    before = len(writes(pool.cluster))
    with pytest.raises(Refused) as caught:
        pool.do("begun", reboot_ok=True, **options)
    assert len(writes(pool.cluster)) == before and caught.value.details["problems"][0]["code"] == code
    assert "Nothing was changed." in str(caught.value)


def test_what_another_tool_made_is_adopted_only_when_told(pool):
    pool.api.create(CONFIGS, {"apiVersion": "machineconfiguration.openshift.io/v1", "kind": "MachineConfig", "spec": {
        "kernelArguments": ["intel_iommu=on", "hugepagesz=1GB", "hugepages=100", "tsx=on"]}, "metadata": {
            "name": "99-kargs-worker", "labels": {"machineconfiguration.openshift.io/role": "worker"}}})
    pool.api.create(KUBELETS, {"apiVersion": "machineconfiguration.openshift.io/v1", "kind": "KubeletConfig", "metadata": {
        "name": "cpumanager-enabled"}, "spec": {"kubeletConfig": {"maxPods": 500}, "machineConfigPoolSelector": {"matchLabels": {
            "pools.operator.machineconfiguration.openshift.io/hana": ""}}}})
    pool.cluster.wait(7200)
    codes = [row["code"] for row in pool.do("checked")["problems"]]
    assert codes == ["machine_config_there", "kubelet_config_there"]
    pool.do("begun", reboot_ok=True, adopt=["99-kargs-worker", "cpumanager-enabled"])
    there = pool.api.get(CONFIGS + "/99-kargs-worker")["spec"]["kernelArguments"]
    assert there == ["tsx=on", "intel_iommu=on", "iommu=pt", "default_hugepagesz=1G", "hugepagesz=1G", "hugepages=600"]
    fields = pool.api.get(KUBELETS + "/cpumanager-enabled")["spec"]["kubeletConfig"]
    assert fields == {"maxPods": 500, "cpuManagerPolicy": "static", "cpuManagerReconcilePeriod": "5s"}
    pool.do("withdrawn")
    assert pool.api.get(KUBELETS + "/cpumanager-enabled")["spec"]["kubeletConfig"] == {"maxPods": 500}
    assert "hugepages=100" in pool.api.get(CONFIGS + "/99-kargs-worker")["spec"]["kernelArguments"]


@pytest.mark.parametrize("options", [
    {"method": "performance_profile", "reserved_cpus": "0-7", "isolated_cpus": "8-95", "numa_pages": {"0": 300, "1": 300}},
    {"method": "tuned"},
])
def test_the_other_ways_lead_to_the_same_node(pool, options):
    pool.do("begun", reboot_ok=True, **options)
    rolled(pool, "hana-a")
    node = pool.node("hana-a")
    assert node["status"]["allocatable"]["hugepages-1Gi"] == "600Gi"
    pool.cluster.wait(200)
    assert pool.node("hana-a")["metadata"]["labels"]["kubevirt.io/cpumanager"] == "true"


def test_a_field_that_the_operator_keeps_is_its_own_words(pool):
    pool.api.create(KUBELETS, {"apiVersion": "machineconfiguration.openshift.io/v1", "kind": "KubeletConfig", "metadata": {
        "name": "theirs"}, "spec": {"kubeletConfig": {"failSwapOn": False}, "machineConfigPoolSelector": {"matchLabels": {
            "pools.operator.machineconfiguration.openshift.io/hana": ""}}}})
    pool.cluster.wait(60)
    with pytest.raises(LiveMigrationError, match="operator refuses KubeletConfig theirs: .*failSwapOn is not allowed.*stays paused"):
        pool.do("begun", reboot_ok=True, adopt=["theirs"])
    assert json.dumps(pool.pool()["spec"]["paused"]) == "true"
