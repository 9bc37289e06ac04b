# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who else drains and evicts: budgets, owners of pods, the machine-config operator, node maintenances, the descheduler."""

from __future__ import annotations

import json

import pytest
from kubevirt_steps import Steps

NODES = "/api/v1/nodes/"
BUDGETS = "/apis/policy/v1/namespaces/web/poddisruptionbudgets"
POOL = "/apis/machineconfiguration.openshift.io/v1/machineconfigpools/worker"
CONFIGS = "/apis/machineconfiguration.openshift.io/v1/machineconfigs"
POOLS = [{"apiVersion": "machineconfiguration.openshift.io/v1", "kind": "MachineConfigPool", "metadata": {"name": "worker"},
          "spec": {"machineConfigSelector": {"matchLabels": {"role": "worker"}},
                   "nodeSelector": {"matchLabels": {"node-role.kubernetes.io/worker": ""}}}},
         {"apiVersion": "machineconfiguration.openshift.io/v1", "kind": "MachineConfig", "spec": {"kernelArguments": []},
          "metadata": {"name": "00-worker", "labels": {"role": "worker"}}}]
CONFIG = "machineconfiguration.openshift.io/"


@pytest.fixture
def make(near, tmp_path):
    def made(**said):
        path = tmp_path / "own.yml"
        path.write_text(json.dumps(dict({"extends": "tiny"}, **said)))
        return near(topology=str(path))

    return made


def pods(c, namespace="web"):
    return c.api.list("/api/v1/namespaces/%s/pods" % namespace).items


def evict(c, pod, **body):
    meta = pod["metadata"]
    code, said, headers = c.http("POST", "/api/v1/namespaces/%s/pods/%s/eviction" % (meta["namespace"], meta["name"]), dict(
        {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": meta["name"]}}, **body))
    return code, said


# -- budgets and owners ----------------------------------------------------------


def test_a_budget_keeps_account(make):
    c = make(pods=[{"name": "web", "namespace": "web", "node": "node-a", "count": 3, "grace": 40, "budget": {"minAvailable": 2}}])
    first, second, _third = pods(c)
    status = c.api.get(BUDGETS + "/web")["status"]
    assert (status["expectedPods"], status["currentHealthy"], status["desiredHealthy"], status["disruptionsAllowed"]) == (3, 3, 2, 1)
    assert evict(c, first, deleteOptions={"dryRun": ["All"]})[0] == 201
    assert evict(c, first)[0] == 201
    assert c.api.get(BUDGETS + "/web")["status"]["disruptedPods"] == {first["metadata"]["name"]: c.api.get(BUDGETS + "/web")[
        "metadata"]["creationTimestamp"]}
    code, said = evict(c, second)
    assert (code, said["reason"]) == (429, "TooManyRequests")
    assert said["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    cause, = said["details"]["causes"]
    assert cause == {"reason": "DisruptionBudget", "message": "The disruption budget web needs 2 healthy pods and has 3 currently"}
    c.wait(1)
    assert "has 2 currently" in evict(c, second)[1]["details"]["causes"][0]["message"]


def test_an_evicted_pod_takes_its_time_and_appears_elsewhere(make):
    c = make(pods=[{"name": "web", "namespace": "web", "node": "node-a", "count": 2, "grace": 40, "budget": {"maxUnavailable": 1}}])
    c.api.patch(NODES + "node-a", {"spec": {"unschedulable": True}})
    gone = pods(c)[0]["metadata"]["name"]
    assert evict(c, pods(c)[0])[0] == 201
    c.wait(20)
    found = {pod["metadata"]["name"]: pod for pod in pods(c)}
    assert len(found) == 3 and found[gone]["metadata"]["deletionGracePeriodSeconds"] == 40
    new = next(pod for pod in found.values() if pod["spec"]["nodeName"] == "node-b")
    assert new["status"]["phase"] == "Running"
    assert c.api.get(BUDGETS + "/web")["status"]["disruptionsAllowed"] == 1
    c.wait(25)
    assert gone not in {pod["metadata"]["name"] for pod in pods(c)} and len(pods(c)) == 2


def test_a_stateful_set_waits_for_the_end_of_the_old_pod(make):
    c = make(pods=[{"name": "db", "namespace": "web", "kind": "StatefulSet", "node": "node-a", "grace": 60}])
    uid = pods(c)[0]["metadata"]["uid"]
    assert evict(c, pods(c)[0])[0] == 201
    c.wait(50)
    assert [pod["metadata"]["uid"] for pod in pods(c)] == [uid]
    c.wait(30)
    assert [pod["metadata"]["name"] for pod in pods(c)] == ["db-0"] and pods(c)[0]["metadata"]["uid"] != uid


def test_a_budget_over_what_cannot_be_scaled_allows_nothing(make):
    c = make()
    c.api.create("/apis/policy/v1/namespaces/default/poddisruptionbudgets", {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "guests"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"kubevirt.io": "virt-launcher"}}}})
    c.wait(1)
    status = c.api.get("/apis/policy/v1/namespaces/default/poddisruptionbudgets/guests")["status"]
    assert status["disruptionsAllowed"] == 0 and status["conditions"][0]["reason"] == "SyncFailed"


def test_two_budgets_over_one_pod_are_an_error_of_the_server(make):
    c = make(pods=[{"name": "web", "namespace": "web", "budget": {"minAvailable": 0}}])
    c.api.create(BUDGETS, {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "other"},
                           "spec": {"minAvailable": 0, "selector": {"matchLabels": {"app": "web"}}}})
    assert evict(c, pods(c)[0])[1]["message"].startswith("This pod has more than one PodDisruptionBudget")
    c.api.delete(BUDGETS + "/other")
    assert evict(c, pods(c)[0])[0] == 201


def test_a_budget_that_nobody_has_counted_yet_asks_for_patience(make):
    c = make(pods=[{"name": "web", "namespace": "web"}])
    c.api.create(BUDGETS, {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "new"},
                           "spec": {"minAvailable": 0, "selector": {"matchLabels": {"app": "web"}}}})
    code, said = evict(c, pods(c)[0])
    assert code == 429 and said["details"]["retryAfterSeconds"] == 10 and "still being processed" in said["details"]["causes"][0]["message"]


# -- the machine-config operator ---------------------------------------------------


def config(c, name="99-new"):
    c.api.create(CONFIGS, {"apiVersion": CONFIG + "v1", "kind": "MachineConfig", "spec": {"kernelArguments": [name]},
                           "metadata": {"name": name, "labels": {"role": "worker"}}})


def notes(c, node):
    return {key[len(CONFIG):]: value for key, value in c.api.get(NODES + node)["metadata"]["annotations"].items()
            if key.startswith(CONFIG)}


def conditions(c):
    return {row["type"]: row["status"] for row in c.api.get(POOL)["status"]["conditions"]}


def test_a_pool_updates_one_node_after_another_and_guests_survive(make):
    c = make(objects=POOLS, change={"node-a": {"annotations": {"rehearsal.bigvm.io/boot-seconds": "120"}}})
    steps = Steps(c)
    uids = {name: steps.vmi(name)["metadata"]["uid"] for name in ("vm-1", "vm-2")}
    assert conditions(c)["Updated"] == "True" and notes(c, "node-a")["state"] == "Done"
    config(c)
    c.wait(12)
    assert conditions(c) == {"Updated": "False", "Updating": "True", "Degraded": "False", "NodeDegraded": "False",
                             "RenderDegraded": "False"}
    first, second = c.api.get(NODES + "node-a"), c.api.get(NODES + "node-b")
    assert first["spec"]["unschedulable"] and notes(c, "node-a")["desiredDrain"].startswith("drain-rendered-worker-")
    assert "unschedulable" not in second["spec"] and notes(c, "node-b")["state"] == "Done"
    c.wait(900)
    status = c.api.get(POOL)["status"]
    assert conditions(c)["Updated"] == "True" and status["updatedMachineCount"] == status["readyMachineCount"] == 2
    assert notes(c, "node-b")["currentConfig"] == status["configuration"]["name"] == notes(c, "node-a")["currentConfig"]
    assert "unschedulable" not in c.api.get(NODES + "node-a")["spec"]
    assert {name: steps.vmi(name)["metadata"]["uid"] for name in uids} == uids
    assert all(vmim["metadata"]["name"].startswith("kubevirt-evacuation-") for vmim in steps.vmims())


def test_a_foreign_cordon_stops_a_pool(make):
    c = make(objects=POOLS)
    c.api.patch(NODES + "node-a", {"spec": {"unschedulable": True}})
    config(c)
    c.wait(600)
    status = c.api.get(POOL)["status"]
    assert (status["unavailableMachineCount"], status["updatedMachineCount"], conditions(c)["Updating"]) == (1, 0, "True")
    c.api.patch(NODES + "node-a", {"spec": {"unschedulable": None}})
    c.wait(1500)
    assert conditions(c)["Updated"] == "True"


def test_a_paused_pool_waits(make):
    c = make(objects=POOLS)
    c.api.patch(POOL, {"spec": {"paused": True}})
    config(c)
    c.wait(300)
    assert conditions(c)["Updated"] == conditions(c)["Updating"] == "False"
    message = next(row["message"] for row in c.api.get(POOL)["status"]["conditions"] if row["type"] == "Updating")
    assert message.startswith("Pool is paused")
    c.api.patch(POOL, {"spec": {"paused": False}})
    c.wait(20)
    assert conditions(c)["Updating"] == "True"


def test_a_drain_that_never_ends_degrades_the_pool(make):
    c = make(objects=POOLS, pods=[{"name": "one", "namespace": "web", "node": "node-a", "budget": {"minAvailable": 1}}])
    config(c)
    c.wait(3500)
    assert conditions(c)["Degraded"] == "False"
    c.wait(200)
    assert conditions(c)["Degraded"] == conditions(c)["NodeDegraded"] == "True"
    assert notes(c, "node-a")["reason"].startswith("failed to drain node: node-a after 1 hour")
    c.api.delete(BUDGETS + "/one")
    c.wait(2000)
    assert conditions(c)["Updated"] == "True" and conditions(c)["Degraded"] == "False"


# -- node maintenances and the descheduler -----------------------------------------


def test_a_node_maintenance_holds_a_node_until_it_is_deleted(make):
    c = make(kinds=["NodeMaintenance"], pods=[{"name": "web", "namespace": "web", "node": "node-a", "count": 2},
                                              {"name": "agent", "namespace": "web", "kind": "DaemonSet"}])
    path = "/apis/nodemaintenance.medik8s.io/v1beta1/nodemaintenances"
    c.api.create(path, {"apiVersion": "nodemaintenance.medik8s.io/v1beta1", "kind": "NodeMaintenance",
                        "metadata": {"name": "disk"}, "spec": {"nodeName": "node-a", "reason": "disk"}})
    c.wait(5)
    node = c.api.get(NODES + "node-a")
    assert node["spec"]["unschedulable"] and node["spec"]["taints"] == [{"key": "medik8s.io/drain", "effect": "NoSchedule"}]
    status = c.api.get(path + "/disk")["status"]
    assert status["phase"] == "Running" and status["pendingPods"]
    c.wait(400)
    assert c.api.get(path + "/disk")["status"]["phase"] == "Succeeded"
    assert {pod["metadata"]["labels"]["app"] for pod in pods(c) if pod["spec"]["nodeName"] == "node-a"} == {"agent"}
    assert Steps(c).vmi("vm-1")["status"]["nodeName"] == "node-b"
    c.api.delete(path + "/disk")
    c.wait(5)
    assert "unschedulable" not in c.api.get(NODES + "node-a")["spec"] and "taints" not in c.api.get(NODES + "node-a")["spec"]
    assert not c.api.list(path).items


@pytest.mark.parametrize("mode", ["Automatic", "Predictive"])
def test_the_descheduler_relieves_the_fullest_node(make, mode):
    c = make(objects=[{"apiVersion": "operator.openshift.io/v1", "kind": "KubeDescheduler",
                       "metadata": {"name": "cluster", "namespace": "openshift-kube-descheduler-operator"},
                       "spec": {"mode": mode, "deschedulingIntervalSeconds": 60}}],
             vms=[{"name": "big", "count": 3, "memory": "12Gi", "node": "node-a"}])
    c.wait(50)
    steps = Steps(c)
    assert not steps.vmims()
    c.wait(20)
    assert len(steps.vmims()) == (1 if mode == "Automatic" else 0)
    if mode == "Automatic":
        assert steps.vmims()[0]["spec"] == {"vmiName": "big-01", "priority": "system-maintenance"}


def test_the_descheduler_spares_whom_it_was_asked_to(make):
    c = make(objects=[{"apiVersion": "operator.openshift.io/v1", "kind": "KubeDescheduler",
                       "metadata": {"name": "cluster", "namespace": "openshift-kube-descheduler-operator"},
                       "spec": {"mode": "Automatic", "deschedulingIntervalSeconds": 60}}],
             vms=[{"name": "kept", "memory": "12Gi", "node": "node-a",
                   "annotations": {"descheduler.alpha.kubernetes.io/prefer-no-eviction": "true"}},
                  {"name": "other", "count": 2, "memory": "12Gi", "node": "node-a"}])
    c.wait(70)
    assert [vmim["spec"]["vmiName"] for vmim in Steps(c).vmims()] == ["other-01"]


def test_five_evacuations_come_before_a_migration_of_ours(make):
    c = make(extends="night", live_migration={"bandwidthPerMigration": "64Mi", "parallelMigrationsPerCluster": 2})
    c.api.create("/bigvm/v1/script", [{"do": [{"evict": {"namespace": "portal", "vmi": "web-*"}}]}])
    c.wait(3)
    ours, theirs = Steps(c, "sap-prod"), Steps(c, "portal")
    assert [vmim["spec"]["priority"] for vmim in theirs.vmims()] == ["system-critical"] * 5
    names = [ours.migrate("app-1"), ours.migrate("app-2")]
    waiting = []
    while any(ours.phase(name) in ("", "Pending") for name in names):
        waiting.append(sum(vmim["status"].get("phase") == "Pending" for vmim in theirs.vmims()))
        c.wait(1)
        assert len(waiting) < 3000
    assert len(waiting) > 10 and waiting[-1] == 0
