# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From HyperConverged to KubeVirt to virt-handler: shapes, defaults, lag, flapping conditions, roll-outs (facts 10)."""

from __future__ import annotations

import json

import pytest
from kubevirt_steps import Steps

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import NotFound

HANDLERS = {"labelSelector": "kubevirt.io=virt-handler"}


def condition(obj, kind):
    return next(row["status"] for row in obj["status"]["conditions"] if row["type"] == kind)


def migrations(steps):
    return steps.kubevirt()["spec"]["configuration"]["migrations"]


def handlers(steps):
    return steps.api.list(path_of("v1", "pods", "openshift-cnv"), **HANDLERS).items


def test_only_the_served_versions_exist(near):
    old, new = Steps(near(topology="tiny", generation="1.6")), Steps(near(topology="tiny"))
    assert [v["version"] for v in old.api.get("/apis/hco.kubevirt.io")["versions"]] == ["v1beta1"]
    assert [v["version"] for v in new.api.get("/apis/hco.kubevirt.io")["versions"]] == ["v1", "v1beta1"]
    with pytest.raises(NotFound):
        old.api.get(old.hco_path("v1"))


def test_defaults_by_release(near):
    for generation, timeout, outbound, disruption in (("1.6", 150, 2, None), ("1.9", 20, 1, False)):
        steps = Steps(near(topology="tiny", generation=generation))
        block = steps.api.get(steps.hco_path("v1beta1"))["spec"]["liveMigrationConfig"]
        assert block["completionTimeoutPerGiB"] == timeout and block["parallelOutboundMigrationsPerNode"] == outbound
        assert block["parallelMigrationsPerCluster"] == 5 and block["progressTimeout"] == 150
        assert block.get("allowWorkloadDisruption") is disruption
        assert "bandwidthPerMigration" not in block and "network" not in block
        assert migrations(steps) == block


def test_both_shapes_are_one_object(near):
    steps = Steps(near(topology="tiny"))
    steps.api.patch(steps.hco_path("v1beta1"), {"spec": {"liveMigrationConfig": {"completionTimeoutPerGiB": 33}}})
    new, old = steps.api.get(steps.hco_path("v1")), steps.api.get(steps.hco_path("v1beta1"))
    assert new["spec"]["virtualization"]["liveMigrationConfig"]["completionTimeoutPerGiB"] == 33
    assert old["spec"]["liveMigrationConfig"] == new["spec"]["virtualization"]["liveMigrationConfig"]
    assert "liveMigrationConfig" not in new["spec"] and "virtualization" not in old["spec"]
    assert old["spec"]["evictionStrategy"] == new["spec"]["virtualization"]["evictionStrategy"] == "LiveMigrate"
    assert new["metadata"]["resourceVersion"] == old["metadata"]["resourceVersion"]
    steps.api.patch(steps.hco_path("v1"), {"spec": {"networking": {"kubeSecondaryDNSNameServerIP": "10.0.0.9"}}})
    old = steps.api.get(steps.hco_path("v1beta1"))
    assert json.loads(old["metadata"]["annotations"]["hco.kubevirt.io/v1-only-fields"]) == {
        "networking": {"kubeSecondaryDNSNameServerIP": "10.0.0.9"}}
    steps.api.patch(steps.hco_path("v1beta1"), {"spec": {"liveMigrationConfig": {"progressTimeout": 200}}})
    back = steps.api.get(steps.hco_path("v1"))
    assert back["spec"]["networking"] == {"kubeSecondaryDNSNameServerIP": "10.0.0.9"}
    assert back["spec"]["virtualization"]["liveMigrationConfig"]["progressTimeout"] == 200


def test_a_change_arrives_after_a_lag_and_health_lies_meanwhile(near):
    steps = Steps(near(topology="tiny"))
    pods = sorted(pod["metadata"]["uid"] for pod in handlers(steps))
    generation = steps.api.patch(steps.hco_path(), {"spec": {"virtualization": {"liveMigrationConfig": {
        "bandwidthPerMigration": "64Mi"}}}})["metadata"]["generation"]
    assert "bandwidthPerMigration" not in migrations(steps)
    seen = {"healthy before rolled out": False, "flapped": False}
    for step in range(120):
        hco, kubevirt = steps.api.get(steps.hco_path()), steps.kubevirt()
        observed = hco["status"]["observedGeneration"] == generation and condition(hco, "Available") == "True" \
            and condition(hco, "Progressing") == "False"
        rolled = kubevirt["status"]["observedGeneration"] == kubevirt["metadata"]["generation"]
        seen["healthy before rolled out"] |= observed and not rolled
        seen["flapped"] |= condition(kubevirt, "Progressing") == "True"
        if observed and rolled and seen["flapped"]:
            break
        steps.cluster.wait(0.25)
    assert all(seen.values()), seen
    assert migrations(steps)["bandwidthPerMigration"] == "64Mi" and 4 < step * 0.25 < 20
    steps.cluster.wait(10)
    hco = steps.api.get(steps.hco_path())
    assert {row["observedGeneration"] for row in hco["status"]["conditions"]} == {generation}
    assert hco["status"]["systemHealthStatus"] == "healthy"
    assert sorted(pod["metadata"]["uid"] for pod in handlers(steps)) == pods  # nothing is restarted


def test_unset_fields_leave_kubevirt_too(near):
    steps = Steps(near(topology="default"))
    assert migrations(steps)["bandwidthPerMigration"] == "64Mi"
    steps.configure(bandwidthPerMigration=None)
    assert "bandwidthPerMigration" not in migrations(steps)


def test_direct_edits_of_kubevirt_are_reverted(near):
    steps = Steps(near(topology="tiny"))
    path = path_of("kubevirt.io/v1", "kubevirts", "openshift-cnv", "kubevirt-kubevirt-hyperconverged")
    steps.api.patch(path, {"spec": {"configuration": {"migrations": {"parallelMigrationsPerCluster": 50}}}})
    steps.cluster.wait(15)
    assert migrations(steps)["parallelMigrationsPerCluster"] == 5


def test_jsonpatch_annotation_reaches_what_has_no_field(near):
    steps = Steps(near(topology="tiny"))
    operations = [{"op": "add", "path": "/spec/configuration/migrations/disableTLS", "value": True}]
    steps.api.patch(steps.hco_path(), {"metadata": {"annotations": {"kubevirt.kubevirt.io/jsonpatch": json.dumps(operations)}}})
    steps.cluster.wait(20)
    assert migrations(steps)["disableTLS"] is True
    assert condition(steps.api.get(steps.hco_path()), "TaintedConfiguration") == "True"
    code = steps.cluster.http("PATCH", steps.hco_path(), {"metadata": {"annotations": {
        "kubevirt.kubevirt.io/jsonpatch": '[{"op":"add","path":"/metadata/labels/a","value":"b"}]'}}},
        content_type="application/merge-patch+json")[0]
    assert code == 400


def test_network_rolls_virt_handler_pod_by_pod(near):
    steps = Steps(near(topology="default"))
    before = {pod["spec"]["nodeName"]: pod["metadata"]["uid"] for pod in handlers(steps)}
    steps.api.create(path_of("k8s.cni.cncf.io/v1", "network-attachment-definitions", "openshift-cnv"), {
        "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "migration-net"}, "spec": {"config": "{}"}})
    steps.api.patch(steps.hco_path(), {"spec": {"virtualization": {"liveMigrationConfig": {"network": "migration-net"}}}})
    degraded, least, replaced = False, 4, set()
    for step in range(400):
        kubevirt = steps.kubevirt()
        ready = [pod for pod in handlers(steps) if pod["status"]["phase"] == "Running"]
        least = min(least, len(ready))
        replaced.add(sum(pod["metadata"]["uid"] != before[pod["spec"]["nodeName"]] for pod in ready))
        if all(condition(kubevirt, kind) == "True" for kind in ("Available", "Progressing", "Degraded")):
            degraded = True
        if degraded and condition(kubevirt, "Progressing") == "False":
            break
        steps.cluster.wait(1)
    assert degraded and least == 3 and {0, 1, 2, 3, 4} <= replaced
    assert kubevirt["status"]["targetDeploymentID"] == kubevirt["status"]["observedDeploymentID"]
    for pod in handlers(steps):
        notes = pod["metadata"]["annotations"]
        assert notes["k8s.v1.cni.cncf.io/networks"] == "migration-net@migration0"
        row = next(row for row in json.loads(notes["k8s.v1.cni.cncf.io/network-status"]) if row["interface"] == "migration0")
        assert row["ips"]
    daemon = steps.api.get(path_of("apps/v1", "daemonsets", "openshift-cnv", "virt-handler"))
    counts = daemon["status"]
    assert counts["updatedNumberScheduled"] == counts["desiredNumberScheduled"] == counts["numberReady"] == 4
    assert counts["observedGeneration"] == daemon["metadata"]["generation"]


def test_missing_network_stalls_the_canary(near):
    steps = Steps(near(topology="tiny"))
    steps.configure(network="nowhere", settle=400)
    assert steps.kubevirt()["status"]["targetDeploymentID"] != steps.kubevirt()["status"]["observedDeploymentID"]
    waiting = [pod for pod in handlers(steps) if pod["status"]["phase"] == "Pending"]
    assert len(waiting) == 1
    node = steps.api.get(path_of("v1", "nodes", None, waiting[0]["spec"]["nodeName"]))
    assert node["metadata"]["labels"]["kubevirt.io/schedulable"] == "false"


def test_network_taken_back_frees_the_canary(near):
    steps = Steps(near(topology="tiny"))
    before = {pod["spec"]["nodeName"]: pod["metadata"]["uid"] for pod in handlers(steps)}
    steps.configure(network="nowhere", settle=60)
    steps.configure(network=None, settle=60)
    kubevirt, after = steps.kubevirt(), {pod["spec"]["nodeName"]: pod for pod in handlers(steps)}
    assert kubevirt["status"]["targetDeploymentID"] == kubevirt["status"]["observedDeploymentID"]
    assert condition(kubevirt, "Available") == "True" and condition(kubevirt, "Degraded") == "False"
    assert {pod["status"]["phase"] for pod in after.values()} == {"Running"}
    assert after["node-b"]["metadata"]["uid"] == before["node-b"]  # only the canary was touched
    assert after["node-a"]["metadata"]["uid"] != before["node-a"]


def test_heartbeat_goes_on(near):
    steps = Steps(near(topology="tiny"))
    notes = set()
    for beat in range(4):
        notes.add(steps.api.get(path_of("v1", "nodes", None, "node-a"))["metadata"]["annotations"]["kubevirt.io/heartbeat"])
        steps.cluster.wait(150)
    assert len(notes) == 4


def test_virt_handler_comes_back_and_comes_to_new_nodes(near):
    steps = Steps(near(topology="tiny"))
    gone = handlers(steps)[0]
    steps.api.delete(path_of("v1", "pods", "openshift-cnv", gone["metadata"]["name"]))
    node = steps.api.get(path_of("v1", "nodes", None, "node-a"))
    steps.api.create(path_of("v1", "nodes"), {
        "metadata": {"name": "node-c", "labels": {"kubernetes.io/hostname": "node-c"}}, "status": node["status"], "spec": {}})
    steps.cluster.wait(40)
    found = {pod["spec"]["nodeName"]: pod for pod in handlers(steps)}
    assert set(found) == {"node-a", "node-b", "node-c"}
    assert gone["metadata"]["name"] not in [pod["metadata"]["name"] for pod in found.values()]
    assert {pod["status"]["phase"] for pod in found.values()} == {"Running"}


def test_silent_virt_handler_costs_the_node_its_place_after_five_minutes(near):
    steps = Steps(near(topology="tiny"))
    steps.configure(network="nowhere", settle=10)  # the canary, on node-a, never comes up
    label = "kubevirt.io/schedulable"
    steps.api.patch(path_of("v1", "nodes", None, "node-a"), {"metadata": {"labels": {label: "true"}}})
    steps.cluster.wait(200)
    assert steps.api.get(path_of("v1", "nodes", None, "node-a"))["metadata"]["labels"][label] == "true"
    steps.cluster.wait(400)
    assert steps.api.get(path_of("v1", "nodes", None, "node-a"))["metadata"]["labels"][label] == "false"
    name = steps.migrate("vm-1")  # nobody there starts the copy, and nothing ends the wait (facts 2.5)
    steps.cluster.wait(3600)
    assert steps.phase(name) == "TargetReady"
