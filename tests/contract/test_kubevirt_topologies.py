# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The clusters that come with the collection do what their descriptions promise; one test on a server of its own."""

from __future__ import annotations

import json

import pytest
from kubevirt_steps import FINAL, KUBEVIRT, VMIMS, VMIS, Steps, Watching, follow, seconds_between, settle

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of


@pytest.mark.parametrize("topology", ["default", "default-1.6"])
def test_every_vm_of_hana_a_can_leave_once_the_cap_is_held(near, topology):
    steps = Steps(near(topology=topology), "sap-prod")
    steps.api.patch(path_of("v1", "nodes", None, "hana-a"), {"spec": {"unschedulable": True}})
    version = "v1beta1" if topology.endswith("1.6") else "v1"
    steps.configure(version, bandwidthPerMigration=None)
    names = {}
    for vm in ("hana-prod", "app-pas", "app-aas1", "app-aas2", "app-ascs"):
        assert steps.vmi(vm)["status"]["nodeName"] == "hana-a"
        names[vm] = steps.migrate(vm)
    steps.until(lambda: all(steps.phase(name) in FINAL for name in names.values()), limit=3 * 3600, step=60)
    assert {steps.phase(name) for name in names.values()} == {"Succeeded"}
    assert steps.vmi("hana-prod")["status"]["nodeName"] == "hana-b"
    left = [vmi for vmi in steps.api.list(path_of(KUBEVIRT, VMIS)).items if vmi["status"]["nodeName"] == "hana-a"]
    assert left == []


def test_with_the_everyday_cap_the_hana_guest_never_arrives(near):
    steps = Steps(near(topology="default"), "sap-prod")
    assert steps.kubevirt()["spec"]["configuration"]["migrations"]["bandwidthPerMigration"] == "64Mi"
    name = steps.migrate("hana-prod")
    steps.until_phase(name, *FINAL, limit=20 * 3600, step=600)
    state = steps.state("hana-prod")
    assert state["failed"] and seconds_between(state["startTimestamp"], state["endTimestamp"]) > 3299 * 20
    assert steps.vmi("hana-prod")["status"]["nodeName"] == "hana-a"


def test_addedNodeSelector_restricts_and_cannot_bypass(near):
    steps = Steps(near(topology="default"), "sap-prod")
    name = steps.migrate("app-ascs", addedNodeSelector={"kubernetes.io/hostname": "worker-2"})
    steps.until_phase(name, "Succeeded", limit=1200, step=10)
    assert steps.vmi("app-ascs")["status"]["nodeName"] == "worker-2"
    held = steps.migrate("app-ascs", addedNodeSelector={"kubevirt.io/schedulable": "false"})
    steps.until_phase(held, "Scheduling")
    pod = steps.until(lambda: next((pod for pod in steps.pods("app-ascs") if pod["status"]["phase"] == "Pending"), None)
                      or next(pod for pod in steps.pods("app-ascs") if pod["spec"].get("nodeName") != "worker-2"))
    assert pod["spec"]["nodeSelector"]["kubevirt.io/schedulable"] == "true"  # the system's own value wins


def test_hundred_nodes_serve_a_migration_too(near):
    steps = Steps(near(topology="scale:20x400"), "project-000")
    name = next(vmi["metadata"]["name"] for vmi in steps.api.list(path_of(KUBEVIRT, VMIS, "project-000")).items)
    steps.until_phase(steps.migrate(name), "Succeeded")
    assert len(steps.api.list(path_of(KUBEVIRT, VMIS)).items) == 400


def test_vm_says_migrating_meanwhile(near):
    steps = Steps(near(topology="tiny"))
    path = path_of(KUBEVIRT, "virtualmachines", "default", "vm-1")
    steps.annotate(VMIS, "vm-1", dirty_rate="3G", working_set="3Gi")
    name = steps.migrate("vm-1")
    assert steps.api.get(path)["status"]["printableStatus"] == "Running"
    steps.until_phase(name, "Running")
    steps.cluster.wait(5)
    assert steps.api.get(path)["status"]["printableStatus"] == "Migrating"
    steps.until_phase(name, "Failed", limit=200)
    steps.cluster.wait(5)
    assert steps.api.get(path)["status"]["printableStatus"] == "Running"


def test_vms_start_stop_and_restart(near):
    steps = Steps(near(topology="tiny"))
    path = path_of(KUBEVIRT, "virtualmachines", "default", "vm-2")
    steps.api.patch(path, {"spec": {"runStrategy": "Halted"}})
    steps.until(lambda: steps.api.get(path)["status"]["printableStatus"] == "Stopped", limit=60)
    assert "vm-2" not in [vmi["metadata"]["name"] for vmi in steps.api.list(path_of(KUBEVIRT, VMIS, "default")).items]
    steps.api.patch(path, {"spec": {"runStrategy": "Always"}})
    steps.until(lambda: steps.api.get(path)["status"]["printableStatus"] == "Running", limit=60)
    uid = steps.vmi("vm-2")["metadata"]["uid"]
    steps.api.delete(path_of(KUBEVIRT, VMIS, "default", "vm-2"))
    steps.until(lambda: steps.api.get(path)["status"]["printableStatus"] == "Running" and [
        vmi for vmi in steps.api.list(path_of(KUBEVIRT, VMIS, "default")).items
        if vmi["metadata"]["name"] == "vm-2" and vmi["metadata"]["uid"] != uid and vmi["status"]["phase"] == "Running"])
    steps.until_phase(steps.migrate("vm-2"), "Succeeded")


def test_the_same_seed_gives_the_same_night(near):
    def night():
        steps = Steps(near(topology="queue"))
        names = [steps.migrate("vm-%02d" % number) for number in range(1, 6)]
        steps.cluster.wait(90)
        return [json.dumps(steps.migration(name)["status"], sort_keys=True) for name in names]

    assert night() == night()


def test_a_server_of_its_own_behaves_the_same(cluster):
    """The path that the other tests take a short cut around: a process, TLS, sockets, streams."""
    steps = Steps(cluster(topology="tiny"))
    steps.annotate(VMIS, "vm-1", dirty_rate="600M", working_set="2Gi")
    name = steps.migrate("vm-1")
    watching = Watching(steps, VMIMS)
    steps.until_phase(name, "Running")
    source = steps.pod_on("vm-1", "node-a")["metadata"]["name"]
    lines = follow(steps.cluster, path_of("v1", "pods", "default", source, "log"), follow="true")
    steps.until_phase(name, "Succeeded")
    steps.cluster.wait(5)
    settle(steps.cluster)
    phases = [row["object"]["status"]["phase"] for row in watching.take() if row["object"].get("status")]
    assert phases[0] == "Pending" and phases[-1] == "Succeeded" and "TargetReady" in phases
    assert any(b"Migration info for" in line for line in lines) and any(b"has been completed" in line for line in lines)
    assert steps.evict(steps.pods("vm-2")[0]["metadata"]["name"])[0] == 429
