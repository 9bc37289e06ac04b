# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""prepare_cluster.yml on a pool of three nodes: each empty before its one reboot, also over a kill in the middle."""

from __future__ import annotations

import signal

import pytest
from steps import approved, left_over, node, vmims, vmis

POOL = "/apis/machineconfiguration.openshift.io/v1/machineconfigpools/hana"
NODES = ("hana-a", "hana-b", "hana-c")
WANTED = {"hana_node_prep_pool": "hana", "hana_node_prep_hugepages_1gi": "600", "hana_node_prep_numa_nodes": "2",
          "hana_node_prep_reboot_ok": "true"}


@pytest.fixture
def prepared(cluster):
    return cluster(topology="hana-pool")


def variables(cluster, **more):
    approvals = {name: name for name in NODES}  # the node's name approves as well as the plan's id does
    return approved(cluster, **dict(WANTED, maintenance_approvals=approvals, maintenance_timeout="6h", **more))


def boots(cluster):
    return {name: node(cluster, name)["status"]["nodeInfo"]["bootID"] for name in NODES}


def all_is_well(cluster, guests):
    assert all(boot == "%s-1" % name for name, boot in boots(cluster).items()), "each node rebooted once"
    assert {name: uid for name, (uid, _place) in vmis(cluster).items()} == guests
    evacuations = [one["metadata"]["name"] for one in vmims(cluster) if one["metadata"]["name"].startswith("kubevirt-evacuation")]
    assert evacuations == [], "the machine-config operator drained a guest"
    for name in NODES:
        found = node(cluster, name)
        assert found["status"]["allocatable"]["hugepages-1Gi"] == "600Gi" and "taints" not in found["spec"]
        assert not found["spec"].get("unschedulable") and found["metadata"]["labels"]["node-role.kubernetes.io/hana"] == ""
        assert not [key for key in found["metadata"]["annotations"] if key.startswith("live-migration.bigvm.io/")]
    pool = cluster.api.get(POOL)
    assert pool["spec"]["paused"] is False and "annotations" not in pool["metadata"]
    assert len(cluster.api.list(POOL.rpartition("/")[0]).items) == 1


@pytest.mark.long
def test_a_pool_of_three_hana_nodes_also_over_a_kill(operator, prepared):
    guests = {name: uid for name, (uid, _place) in vmis(prepared).items()}
    looked = operator.run("prepare_cluster", "--check", **variables(prepared))
    assert looked.rc == 0, looked.output
    assert "hana-b: its VMs move away, it reboots once, it proves itself" in looked.said and boots(prepared)["hana-a"] == "hana-a"
    process = operator.start("prepare_cluster", **variables(prepared))
    for line in process.stdout:
        if line.startswith("hana-a: reboots"):
            break
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    process.stdout.close()
    assert left_over(operator.folder) == []
    assert prepared.api.get(POOL)["spec"]["paused"] is True
    run = operator.run("prepare_cluster", **variables(prepared))
    assert run.rc == 0, run.output
    all_is_well(prepared, guests)
    assert "PASS: node hana-c: hugepages-1Gi: 600 GiB of 600 GiB allocatable" in run.output
    again = operator.run("prepare_cluster", **variables(prepared, hana_node_prep_mode="assert"))
    assert again.rc == 0 and "FAIL" not in again.output and "changed=0" in again.output, again.output
    again = operator.run("prepare_cluster", **variables(prepared))
    assert again.rc == 0 and "changed=0" in again.output, again.output
    assert "pool hana: as wanted, nothing to do" in again.output


def test_refused_before_the_first_write(operator, prepared):
    run = operator.run("prepare_cluster", **variables(prepared, hana_node_prep_hugepages_1gi="900"))
    assert run.rc != 0 and "Nothing was changed." in run.said
    assert "900 pages of 1 GiB are asked of nodes hana-a, hana-b, hana-c, which each have 768 GiB" in run.said
    run = operator.run("prepare_cluster", **variables(prepared, hana_node_prep_reboot_ok="false"))
    assert run.rc != 0 and "would reboot, one after the other. Nothing was changed." in run.said
    run = operator.run("prepare_cluster", **variables(prepared, hana_node_prep_mode="assert"))
    assert run.rc != 0 and "Pool hana is not as wanted" in run.said
    assert not prepared.api.get(POOL)["spec"]["paused"] and boots(prepared) == {name: name for name in NODES}
