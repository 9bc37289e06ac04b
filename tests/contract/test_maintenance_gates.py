# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gates of a maintenance against the actors themselves: a host that reboots is not fenced, one that lacks something stays."""

from __future__ import annotations

import json

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import Task
from ansible_collections.bigvm.live_migration.plugins.modules import maintenance_interlocks, node_gate_info, node_hold

CHECK = {
    "apiVersion": "remediation.medik8s.io/v1alpha1", "kind": "NodeHealthCheck", "metadata": {"name": "watch"},
    "spec": {"selector": {}, "minHealthy": 1, "unhealthyConditions": [
        {"type": "Ready", "status": "False", "duration": "300s"}, {"type": "Ready", "status": "Unknown", "duration": "300s"}]}}
POOL = {"apiVersion": "machineconfiguration.openshift.io/v1", "kind": "MachineConfigPool", "metadata": {"name": "worker"},
        "spec": {"nodeSelector": {}, "configuration": {"name": "rendered-1"}, "paused": True},
        "status": {"configuration": {"name": "rendered-0"}, "machineCount": 2, "updatedMachineCount": 0}}
DESCHEDULER = {"apiVersion": "operator.openshift.io/v1", "kind": "KubeDescheduler",
               "metadata": {"name": "cluster", "namespace": "openshift-kube-descheduler-operator"},
               "spec": {"mode": "Automatic", "managementState": "Managed"}}
MAINTENANCE = {"apiVersion": "nodemaintenance.medik8s.io/v1beta1", "kind": "NodeMaintenance", "metadata": {"name": "somebody"},
               "spec": {"nodeName": "node-b", "reason": "disks"}}
UPDATE = {"apiVersion": "config.openshift.io/v1", "kind": "ClusterVersion", "metadata": {"name": "version"},
          "spec": {"clusterID": "x", "desiredUpdate": {"version": "4.20.3"}}, "status": {"desired": {"version": "4.20.2"}}}


@pytest.fixture
def make(near, tmp_path):
    """A cluster with these objects of other actors."""
    def made(*objects, **said):
        path = tmp_path / "gates.yml"
        path.write_text(json.dumps(dict({"extends": "tiny"}, **said)))
        cluster = near(topology=str(path))
        cluster.api.create("/bigvm/v1/script", [{"do": [{"create": obj} for obj in objects]}])
        cluster.wait(1)
        return cluster

    return made


def run(cluster, module, **options):
    params = {name: option.get("default") for name, option in module.SPEC.items()}
    return module.execute(Task(dict(params, **options), cluster.api))


def reboot(cluster, **more):
    cluster.api.create("/bigvm/v1/script", [{"do": [{"reboot": dict({"node": "node-a"}, **more)}]}])


def remediated(cluster):
    return "node-a" in json.dumps(cluster.api.get("/apis/remediation.medik8s.io/v1alpha1/nodehealthchecks/watch").get("status") or {})


@pytest.mark.parametrize("held", [True, False])
def test_a_host_in_a_long_self_test_is_fenced_unless_its_check_is_paused(make, held):
    c = make(CHECK)
    run(c, node_hold, name="node-a", run="r")
    if held:
        run(c, maintenance_interlocks, node="node-a", run="r", state="held", hold=["node_health_check"])
    reboot(c, seconds=3000)
    c.wait(400)
    assert remediated(c) is not held
    if held:
        assert not run(c, node_gate_info, node="node-a", wait="60")["good"]
        found = run(c, node_gate_info, node="node-a", wait="1h")
        assert found["good"] and 2000 < found["waited_seconds"] < 2900
        assert run(c, maintenance_interlocks, node="node-a", run="r", state="restored")["lines"] == ["NodeHealthCheck watch is resumed"]
        c.wait(400)
        assert not remediated(c)


@pytest.mark.parametrize("without, code", [
    ("hugepages-1Gi", "hugepages_missing"), ("migration0", "migration_network_down"), ("cpumanager", "cpu_manager_lost"),
    ("virt-handler", "handler_not_ready"), ("ready", "node_not_ready")])
def test_a_node_that_comes_back_without_something_is_not_good(make, without, code):
    c = make(nodes=[{"names": ["node-a", "node-b"], "memory": "64Gi", "hugepages_1gi": "32Gi", "cpus": 32, "cpu_manager": True}],
             vms=[], network={"name": "mig"}, live_migration={"network": "mig"})
    before = run(c, node_hold, name="node-a", run="r")["journal"]["progress"]["node_before"]
    assert before["migration_address"] and before["cpu_manager"] and before["allocatable"]["hugepages-1Gi"]
    reboot(c, seconds=120, without=[without])
    c.wait(5)
    found = run(c, node_gate_info, node="node-a", wait="15min")
    assert not found["good"] and code in [row["code"] for row in found["problems"]]
    if without == "ready":
        return  # nothing comes back by itself
    reboot(c, seconds=120)
    c.wait(5)
    assert run(c, node_gate_info, node="node-a", wait="15min")["good"]


@pytest.mark.parametrize("obj, code, severity", [
    (UPDATE, "cluster_version_updating", "blocker"), (POOL, "machine_config_pool_busy", "warning"),
    (dict(POOL, spec=dict(POOL["spec"], paused=False)), "machine_config_pool_busy", "blocker"),
    (MAINTENANCE, "node_maintenance_object", "warning"), (DESCHEDULER, "descheduler_active", "blocker"),
    (CHECK, "node_health_check", "blocker")])
def test_each_actor_is_found_by_its_own_object(make, obj, code, severity):
    c = make(obj)
    found = run(c, maintenance_interlocks, node="node-a")["findings"]
    assert (code, severity) in {(row["code"], row["severity"]) for row in found}


def test_an_upgrade_of_a_quiet_cluster_is_only_found_while_it_lasts(make):
    notes = {"rehearsal.bigvm.io/upgrade-seconds": "600"}
    quiet = dict(UPDATE, spec={"clusterID": "x"}, metadata={"name": "version", "annotations": notes})
    c = make(quiet)
    assert run(c, maintenance_interlocks, node="node-a")["findings"] == []
    c.api.patch("/apis/config.openshift.io/v1/clusterversions/version", {"spec": {"desiredUpdate": {"version": "4.20.3"}}})
    c.wait(30)
    assert [row["code"] for row in run(c, maintenance_interlocks, node="node-a")["blockers"]] == ["cluster_version_updating"]
    c.wait(900)
    assert run(c, maintenance_interlocks, node="node-a")["blockers"] == []
