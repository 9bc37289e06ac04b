# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nodes that reboot, come back worse, and are fenced by whoever watches them."""

from __future__ import annotations

import json

import pytest
from kubevirt_steps import Steps

NODES = "/api/v1/nodes/"
SCRIPT = "/bigvm/v1/script"
CHECK = "/apis/remediation.medik8s.io/v1alpha1/nodehealthchecks/watch"
NODE_CHECK = {
    "apiVersion": "remediation.medik8s.io/v1alpha1", "kind": "NodeHealthCheck", "metadata": {"name": "watch"},
    "spec": {"selector": {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]},
             "minHealthy": 1, "unhealthyConditions": [{"type": "Ready", "status": "False", "duration": "300s"},
                                                      {"type": "Ready", "status": "Unknown", "duration": "300s"}]},
}


@pytest.fixture
def make(near, tmp_path):
    """A cluster of a topology that is written here (dict)."""
    def made(**said):
        path = tmp_path / "own.yml"
        path.write_text(json.dumps(dict({"extends": "tiny"}, **said)))
        return near(topology=str(path))

    return made


def reboot(c, node="node-a", **more):
    c.api.create(SCRIPT, [{"do": [{"reboot": dict({"node": node}, **more)}]}])
    c.wait(1)


def node_of(c, name="node-a"):
    found = c.api.get(NODES + name)
    found["ready"] = next(row for row in found["status"]["conditions"] if row["type"] == "Ready")
    return found


def handler(c, name="node-a"):
    pods = c.api.list("/api/v1/namespaces/openshift-cnv/pods", labelSelector="kubevirt.io=virt-handler").items
    return next(pod for pod in pods if pod["spec"]["nodeName"] == name)


def ready(pod):
    return next(row["status"] for row in pod["status"]["conditions"] if row["type"] == "Ready")


def test_a_clean_reboot_says_so_and_comes_back(make):
    c = make()
    before = node_of(c)
    reboot(c, seconds=200)
    away = node_of(c)
    assert (away["ready"]["status"], away["ready"]["message"]) == ("False", "node is shutting down")
    assert {(row["key"], row["effect"]) for row in away["spec"]["taints"]} == {
        ("node.kubernetes.io/not-ready", "NoSchedule"), ("node.kubernetes.io/not-ready", "NoExecute")}
    assert away["metadata"]["labels"]["kubevirt.io/schedulable"] == "false" and ready(handler(c)) == "False"
    c.wait(205)
    back = node_of(c)
    assert back["ready"]["status"] == "True" and "taints" not in back["spec"]
    assert back["status"]["nodeInfo"]["bootID"] != before["status"]["nodeInfo"]["bootID"]
    assert back["status"]["allocatable"]["devices.kubevirt.io/kvm"] == "0" and ready(handler(c)) == "False"
    c.wait(20)
    whole = node_of(c)
    assert whole["status"]["allocatable"] == before["status"]["allocatable"]
    assert whole["metadata"]["labels"] == before["metadata"]["labels"] and ready(handler(c)) == "True"
    assert handler(c)["status"]["containerStatuses"][0]["restartCount"] == 1


def test_guests_on_a_node_that_reboots_die_and_start_elsewhere(make):
    c = make()
    steps = Steps(c)
    uid = steps.vmi("vm-1")["metadata"]["uid"]
    reboot(c, seconds=300)
    c.wait(120)
    again = steps.vmi("vm-1")
    assert again["metadata"]["uid"] != uid and again["status"]["nodeName"] == "node-b" and again["status"]["phase"] == "Running"


def test_a_power_cut_is_noticed_late(make):
    c = make()
    steps = Steps(c)
    uid = steps.vmi("vm-1")["metadata"]["uid"]
    reboot(c, seconds=240, hard=True)
    assert node_of(c)["ready"]["status"] == "True"
    c.wait(60)
    assert node_of(c)["ready"]["status"] == "Unknown" and steps.vmi("vm-1")["metadata"]["uid"] == uid
    c.wait(240)
    assert steps.vmi("vm-1")["metadata"]["uid"] != uid


def test_what_does_not_come_back(make):
    c = make(nodes=[{"names": ["node-a", "node-b"], "memory": "64Gi", "hugepages_1gi": "32Gi", "cpus": 32, "cpu_manager": True}],
             live_migration={"network": "mig"}, network={"name": "mig"}, vms=[])
    assert '"migration0"' in handler(c)["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"]
    reboot(c, seconds=60, without=["hugepages-1Gi", "migration0", "cpumanager", "devices.kubevirt.io/kvm"])
    c.wait(100)
    node = node_of(c)
    assert node["ready"]["status"] == "True" and node["status"]["allocatable"]["hugepages-1Gi"] == "0"
    assert node["status"]["allocatable"]["devices.kubevirt.io/kvm"] == "0"
    assert node["status"]["allocatable"]["devices.kubevirt.io/tun"] == "1k"
    assert node["metadata"]["labels"]["kubevirt.io/cpumanager"] == node["metadata"]["labels"]["cpumanager"] == "false"
    assert '"migration0"' not in handler(c)["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"] and ready(handler(c)) == "True"
    reboot(c, seconds=60)
    c.wait(100)
    node = node_of(c)
    assert node["status"]["allocatable"]["hugepages-1Gi"] == "32Gi" and node["metadata"]["labels"]["cpumanager"] == "true"
    assert '"migration0"' in handler(c)["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"]


@pytest.mark.parametrize("lacking", ["virt-handler", "ready"])
def test_a_node_that_is_not_really_back(make, lacking):
    c = make()
    reboot(c, seconds=60, without=[lacking])
    c.wait(700)
    node = node_of(c)
    assert node["ready"]["status"] == ("True" if lacking == "virt-handler" else "False") and ready(handler(c)) == "False"
    assert node["metadata"]["labels"]["kubevirt.io/schedulable"] == "false"


def test_a_copy_to_a_node_that_goes_down_fails_and_the_guest_stays(make):
    c = make()
    steps = Steps(c)
    steps.annotate("virtualmachineinstances", "vm-1", dirty_rate="2G", working_set="3Gi")
    uid = steps.vmi("vm-1")["metadata"]["uid"]
    name = steps.migrate("vm-1")
    steps.until_phase(name, "Running")
    reboot(c, "node-b", seconds=100)
    steps.until_phase(name, "Failed")
    assert (steps.vmi("vm-1")["metadata"]["uid"], steps.vmi("vm-1")["status"]["nodeName"]) == (uid, "node-a")


def test_a_long_boot_is_fenced_in_the_middle(make):
    c = make(objects=[NODE_CHECK])
    c.api.patch(NODES + "node-a", {"metadata": {"annotations": {"rehearsal.bigvm.io/boot-seconds": "400"}}})
    reboot(c)
    c.wait(310)
    status = c.api.get(CHECK)["status"]
    assert status["phase"] == "Remediating" and list(status["inFlightRemediations"]) == ["node-a"]
    assert status["unhealthyNodes"][0]["name"] == "node-a" and status["healthyNodes"] == 1
    c.wait(110)
    assert node_of(c)["ready"]["status"] == "False"  # it would have been back
    c.wait(300)
    assert node_of(c)["ready"]["status"] == "True" and c.api.get(CHECK)["status"]["phase"] == "Enabled"
    events = [event for event in c.api.list("/api/v1/namespaces/default/events").items if event["reason"] == "RemediationCreated"]
    assert len(events) == 1


def test_a_fence_kills_what_runs_there(make):
    c = make(objects=[NODE_CHECK])
    steps = Steps(c)
    uid = steps.vmi("vm-1")["metadata"]["uid"]
    reboot(c, seconds=900, hard=True)
    c.wait(330)
    assert steps.vmi("vm-1")["metadata"]["uid"] == uid  # nobody knows whether it still runs
    c.wait(60)
    assert steps.vmi("vm-1")["metadata"]["uid"] != uid and steps.vmi("vm-1")["status"]["nodeName"] == "node-b"


@pytest.mark.parametrize("holds", ["pause", "upgrade", "too-few", "maintenance"])
def test_a_check_that_is_held_fences_nothing(make, holds):
    c = make(objects=[NODE_CHECK], kinds=["ClusterVersion", "NodeMaintenance"])
    if holds == "pause":
        c.api.patch(CHECK, {"spec": {"pauseRequests": ["bigvm-r1"]}})
    elif holds == "too-few":
        c.api.patch(CHECK, {"spec": {"minHealthy": "100%"}})
    elif holds == "upgrade":
        path = "/apis/config.openshift.io/v1/clusterversions"
        c.api.create(path, {"apiVersion": "config.openshift.io/v1", "kind": "ClusterVersion", "metadata": {"name": "version"},
                            "spec": {}})
        c.api.patch(path + "/version", {"spec": {"desiredUpdate": {"version": "4.99.0"}}})
    else:
        c.api.patch(NODES + "node-a", {"metadata": {"labels": {"remediation.medik8s.io/exclude-from-remediation": "true"}}})
    c.wait(2)
    reboot(c, seconds=500)
    c.wait(510)
    assert node_of(c)["ready"]["status"] == "True"
    status = c.api.get(CHECK)["status"]
    assert status["inFlightRemediations"] == {} and status["phase"] == ("Paused" if holds == "pause" else "Enabled")


@pytest.mark.parametrize("paused", [False, True])
def test_a_machine_health_check_and_its_annotation(make, paused):
    check = {"apiVersion": "machine.openshift.io/v1beta1", "kind": "MachineHealthCheck",
             "metadata": {"name": "workers", "namespace": "openshift-machine-api",
                          "annotations": {"cluster.x-k8s.io/paused": ""} if paused else {}},
             "spec": {"selector": {"matchLabels": {"role": "worker"}}, "maxUnhealthy": "50%",
                      "unhealthyConditions": [{"type": "Ready", "status": "False", "timeout": "300s"}]}}
    machines = [{"apiVersion": "machine.openshift.io/v1beta1", "kind": "Machine", "spec": {},
                 "metadata": {"name": name, "namespace": "openshift-machine-api", "labels": {"role": "worker"}},
                 "status": {"nodeRef": {"kind": "Node", "name": name}}} for name in ("node-a", "node-b")]
    c = make(objects=[check] + machines)
    reboot(c, seconds=500)
    c.wait(450)
    status = c.api.get("/apis/machine.openshift.io/v1beta1/namespaces/openshift-machine-api/machinehealthchecks/workers")["status"]
    assert (status["expectedMachines"], status["currentHealthy"]) == (2, 1)
    c.wait(60)
    assert node_of(c)["ready"]["status"] == ("True" if paused else "False")  # a fenced one boots from the beginning
