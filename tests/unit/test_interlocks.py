# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who else is at work: each actor found in the state that matters, and not found in any other."""

from __future__ import annotations

import copy

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import interlocks

LISTS = ("cluster_versions", "hyperconvergeds", "kubevirts", "pools", "node_maintenances", "node_health_checks",
         "machine_health_checks", "deschedulers", "descheduler_workloads", "vmims", "vmis", "nodes", "unreadable")
NODE = {"metadata": {"name": "hana-a", "labels": {"node-role.kubernetes.io/worker": "", "kubevirt.io/schedulable": "true"},
                     "annotations": {"machine.openshift.io/machine": "openshift-machine-api/hana-a-0"}}}
OTHER = {"metadata": {"name": "worker-1", "labels": {"kubevirt.io/schedulable": "true"}}}
NHC = {"metadata": {"name": "workers"}, "spec": {"selector": {"matchExpressions": [
    {"key": "node-role.kubernetes.io/worker", "operator": "Exists"}]}}}
MHC = {"apiVersion": "machine.openshift.io/v1beta1", "metadata": {"name": "m", "namespace": "openshift-machine-api"},
       "spec": {"selector": {"matchLabels": {"role": "worker"}}}}
MACHINE = {"metadata": {"name": "hana-a-0", "namespace": "openshift-machine-api", "labels": {"role": "worker"}}}
ARGO = {"argocd.argoproj.io/tracking-id": "virt:hco.kubevirt.io/HyperConverged:openshift-cnv/kubevirt-hyperconverged"}


def scene(**lists):
    found = {name: [] for name in LISTS}
    found.update(nodes=[NODE, OTHER], machine=None)
    found.update(lists)
    return found


def judged(run="r", hold=(), accept=(), writes=("node",), vms=(), **lists):
    return interlocks.judge(scene(**lists), "hana-a", run, vms, hold, accept, writes)


def codes(findings):
    return [(row["code"], row["severity"]) for row in findings]


def condition(kind, status, reason="", message=""):
    return {"type": kind, "status": status, "reason": reason, "message": message}


def changed(obj, **parts):
    obj = copy.deepcopy(obj)
    for path, value in parts.items():
        place = obj
        *way, last = path.split("__")
        for part in way:
            place = place.setdefault(part, {})
        place[last] = value
    return obj


def test_a_quiet_cluster_has_no_findings():
    assert judged() == [] and interlocks.lines([]) == []


@pytest.mark.parametrize("obj, found", [
    ({"status": {"conditions": [condition("Progressing", "True", message="Working towards 4.20.3")]}}, True),
    ({"status": {"history": [{"state": "Partial", "version": "4.20.3"}, {"state": "Completed"}]}}, True),
    ({"spec": {"desiredUpdate": {"version": "4.20.3"}}, "status": {"desired": {"version": "4.20.2"}}}, True),
    ({"spec": {"desiredUpdate": {"version": "4.20.3"}}, "status": {"desired": {"version": "4.20.3"},
      "history": [{"state": "Completed"}], "conditions": [condition("Progressing", "False")]}}, False),
])
def test_an_update_of_the_platform(obj, found):
    rows = judged(cluster_versions=[dict(obj, metadata={"name": "version"})])
    assert codes(rows) == ([("cluster_version_updating", "blocker")] if found else [])


def test_an_upgrade_of_openshift_virtualization_and_a_flap():
    hco = {"metadata": {"name": "kubevirt-hyperconverged", "namespace": "openshift-cnv"}}
    upgrade = changed(hco, status__conditions=[condition("Progressing", "True", "HCOUpgrading")])
    assert codes(judged(hyperconvergeds=[upgrade])) == [("hyperconverged_upgrading", "blocker")]
    flap = changed(hco, status__conditions=[condition("Progressing", "True", "Deploying"), condition("ReconcileComplete", "True")])
    assert judged(hyperconvergeds=[flap]) == []
    broken = changed(hco, status__conditions=[condition("ReconcileComplete", "False", message="cannot create")])
    assert codes(judged(hyperconvergeds=[broken])) == [("hyperconverged_upgrading", "warning")]
    assert codes(judged(hyperconvergeds=[broken], writes=("hyperconverged",))) == [("hyperconverged_upgrading", "blocker")]


@pytest.mark.parametrize("status, found", [
    ({"phase": "Deploying"}, True), ({"phase": "Deployed", "targetDeploymentID": "b", "observedDeploymentID": "a"}, True),
    ({"phase": "Deployed", "targetKubeVirtVersion": "v1.9.1", "observedKubeVirtVersion": "v1.9.0"}, True),
    ({"phase": "Deployed", "targetDeploymentID": "a", "observedDeploymentID": "a",
      "conditions": [condition("Progressing", "True", "DeploymentInProgress"), condition("Available", "False")]}, False),
    ({}, False),
])
def test_a_roll_out_of_kubevirt_is_no_flap_of_its_conditions(status, found):
    rows = judged(kubevirts=[{"metadata": {"name": "kv", "namespace": "cnv"}, "status": status}])
    assert codes(rows) == ([("kubevirt_updating", "blocker")] if found else [])


POOL = {"metadata": {"name": "worker"}, "spec": {"nodeSelector": {"matchLabels": {"node-role.kubernetes.io/worker": ""}},
                                                 "configuration": {"name": "rendered-1"}},
        "status": {"configuration": {"name": "rendered-1"}, "machineCount": 2, "updatedMachineCount": 2}}


@pytest.mark.parametrize("pool, found", [
    (POOL, []),
    (changed(POOL, status__conditions=[condition("Updating", "True")]), ["blocker"]),
    (changed(POOL, status__conditions=[condition("Degraded", "True", message="node x: failed to drain")]), ["blocker"]),
    (changed(POOL, spec__configuration={"name": "rendered-2"}), ["blocker"]),
    (changed(POOL, status__updatedMachineCount=1), ["blocker"]),
    (changed(POOL, spec__configuration={"name": "rendered-2"}, spec__paused=True), ["warning"]),
    (changed(POOL, spec__nodeSelector={"matchLabels": {"node-role.kubernetes.io/master": ""}},
             status__conditions=[condition("Updating", "True")]), ["warning"]),
])
def test_a_machine_config_pool_that_is_updating_degraded_or_pending(pool, found):
    assert codes(judged(pools=[pool])) == [("machine_config_pool_busy", severity) for severity in found]


def test_the_machine_config_daemon_at_work_on_the_node():
    busy = changed(NODE)
    busy["metadata"]["annotations"][interlocks.POOL_STATE] = "Working"
    assert codes(judged(nodes=[busy])) == [("machine_config_pool_busy", "blocker")]
    busy["metadata"]["annotations"][interlocks.POOL_STATE] = "Done"
    assert judged(nodes=[busy]) == []


def test_a_node_maintenance_here_blocks_and_elsewhere_warns():
    rows = judged(node_maintenances=[{"metadata": {"name": "a"}, "spec": {"nodeName": "hana-a", "reason": "disks"}},
                                     {"metadata": {"name": "b"}, "spec": {"nodeName": "worker-1"}},
                                     {"metadata": {"name": "c"}, "spec": {"nodeName": "long-gone"}}])
    assert codes(rows) == [("node_maintenance_object", "blocker"), ("node_maintenance_object", "warning")]
    assert "disks" in rows[0]["message"]


# -- health checks -----------------------------------------------------------------


@pytest.mark.parametrize("check, found", [
    (NHC, ["blocker"]), (changed(NHC, spec__selector={}), ["blocker"]), (changed(NHC, spec={}), ["blocker"]),
    (changed(NHC, spec__selector={"matchLabels": {"node-role.kubernetes.io/master": ""}}), []),
    (changed(NHC, status__phase="Disabled"), []), (changed(NHC, spec__pauseRequests=["an-upgrade"]), ["info"]),
    (changed(NHC, spec__pauseRequests=["bigvm-r"]), ["info"]),
])
def test_a_node_health_check(check, found):
    assert codes(judged(node_health_checks=[check])) == [("node_health_check", severity) for severity in found]


def test_a_health_check_that_may_be_paused_does_not_block_and_says_that_it_will_be():
    rows = judged(node_health_checks=[NHC], hold=["node_health_check"])
    assert codes(rows) == [("node_health_check", "info")] and not rows[0]["held"] and rows[0]["holdable"]
    assert interlocks.to_pause(rows) == [("NodeHealthCheck", "remediation.medik8s.io", "", "workers")]
    ours = judged(node_health_checks=[changed(NHC, spec__pauseRequests=["x", "bigvm-r"])], hold=["node_health_check"])
    assert ours[0]["held"] and interlocks.to_pause(ours) == []
    theirs = judged(node_health_checks=[changed(NHC, spec__pauseRequests=["bigvm-other"])], hold=["node_health_check"])
    assert not theirs[0]["held"] and "bigvm-other" in theirs[0]["message"] and interlocks.to_pause(theirs) == []


def test_a_remediation_under_way_is_not_to_be_paused_away():
    for status in ({"inFlightRemediations": {"hana-a": "2026-11-21T01:00:00Z"}},
                   {"unhealthyNodes": [{"name": "hana-a", "remediations": [{"started": "x"}]}]}):
        rows = judged(node_health_checks=[changed(NHC, status=status)], hold=["node_health_check"])
        assert codes(rows) == [("node_health_check", "blocker")] and interlocks.to_pause(rows) == []


@pytest.mark.parametrize("check, machine, found", [
    (MHC, MACHINE, ["blocker"]), (MHC, None, ["blocker"]), (MHC, changed(MACHINE, metadata__labels={"role": "master"}), []),
    (changed(MHC, metadata__namespace="elsewhere"), MACHINE, []), (changed(MHC, spec__maxUnhealthy="0%"), MACHINE, []),
    (changed(MHC, spec__maxUnhealthy=0), MACHINE, []), (changed(MHC, spec__maxUnhealthy="40%"), MACHINE, ["blocker"]),
    (changed(MHC, metadata__annotations={"cluster.x-k8s.io/paused": ""}), MACHINE, ["info"]),
    (changed(MHC, apiVersion="cluster.x-k8s.io/v1beta1"), MACHINE, []),
])
def test_a_machine_health_check(check, machine, found):
    assert codes(judged(machine_health_checks=[check], machine=machine)) == [("machine_health_check", one) for one in found]


def test_a_node_without_a_machine_is_not_fenced_by_its_check():
    assert judged(machine_health_checks=[MHC], nodes=[changed(NODE, metadata__annotations={})]) == []


def test_the_machine_behind_a_node():
    assert interlocks.machine_of(NODE) == ("machine.openshift.io", "openshift-machine-api", "hana-a-0")
    capi = {"metadata": {"annotations": {"cluster.x-k8s.io/machine": "m-0", "cluster.x-k8s.io/cluster-namespace": "ns"}}}
    assert interlocks.machine_of(capi) == ("cluster.x-k8s.io", "ns", "m-0")
    assert interlocks.machine_of({}) is None and interlocks.machine_of({"metadata": {"annotations": {"x": 1}}}) is None


def test_a_health_check_that_a_repository_keeps_would_be_resumed_by_it():
    kept = changed(NHC, metadata__annotations={"argocd.argoproj.io/tracking-id": "fence:x/y:/workers"})
    rows = judged(node_health_checks=[kept], hold=["node_health_check"])
    assert codes(rows) == [("gitops_owned", "blocker")] and interlocks.to_pause(rows) == []
    rows = judged(node_health_checks=[kept], hold=["node_health_check"], accept=["gitops_owned"])
    assert len(interlocks.to_pause(rows)) == 1 and interlocks.blockers(rows) == []


# -- KubeVirt ----------------------------------------------------------------------


@pytest.mark.parametrize("spec, found", [
    ({"mode": "Automatic", "profiles": ["KubeVirtRelieveAndMigrate"]}, True), ({"mode": "Predictive"}, False), ({}, False),
    ({"mode": "Automatic", "managementState": "Unmanaged"}, False), ({"mode": "Automatic", "managementState": "Managed"}, True),
])
def test_the_descheduler(spec, found):
    rows = judged(deschedulers=[{"metadata": {"name": "cluster"}, "spec": spec}])
    assert codes(rows) == ([("descheduler_active", "blocker")] if found else [])


def test_a_descheduler_without_its_operator():
    runs = {"kind": "Deployment", "metadata": {"name": "descheduler", "namespace": "kube-system"}, "spec": {"replicas": 1}}
    cron = {"kind": "CronJob", "metadata": {"name": "d"}, "spec": {"suspend": True}}
    dry = changed(runs, spec__template={"spec": {"containers": [{"args": ["--policy-config-file=x", "--dry-run"]}]}})
    assert codes(judged(descheduler_workloads=[runs])) == [("descheduler_active", "blocker")]
    assert judged(descheduler_workloads=[cron, dry, changed(runs, spec__replicas=0)]) == []
    assert codes(judged(descheduler_workloads=[changed(cron, spec__suspend=False)])) == [("descheduler_active", "blocker")]


def test_workload_updates():
    kubevirt = {"metadata": {"name": "kv"}, "status": {"outdatedVirtualMachineInstanceWorkloads": 3},
                "spec": {"workloadUpdateStrategy": {"workloadUpdateMethods": ["LiveMigrate"]}}}
    rows = judged(kubevirts=[kubevirt])
    assert codes(rows) == [("workload_updates_outstanding", "blocker")] and "3 guests" in rows[0]["message"]
    assert codes(judged(kubevirts=[changed(kubevirt, spec={})])) == [("workload_updates_outstanding", "info")]
    assert judged(kubevirts=[changed(kubevirt, status__outdatedVirtualMachineInstanceWorkloads=0)]) == []


def vmim(name, vmi, phase="Running", labels=None, **state):
    return {"metadata": {"name": name, "namespace": "sap", "labels": labels or {}}, "spec": {"vmiName": vmi},
            "status": {"phase": phase, "migrationState": state}}


VMI = {"metadata": {"name": "hana", "namespace": "sap"}, "status": {"nodeName": "hana-a"}}


def test_migrations_of_others():
    ours = vmim("a", "hana", labels={"app.kubernetes.io/managed-by": "bigvm.live_migration"})
    assert judged(vmis=[VMI], vmims=[ours, vmim("b", "hana", "Succeeded")]) == []
    assert codes(judged(vmis=[VMI], vmims=[vmim("c", "hana", "Pending")])) == [("foreign_migrations", "blocker")]
    assert codes(judged(vmims=[vmim("c", "hana", "")], vms=[("sap", "hana")])) == [("foreign_migrations", "blocker")]
    assert codes(judged(vmims=[vmim("d", "web", targetNode="hana-a")])) == [("foreign_migrations", "blocker")]
    assert codes(judged(vmims=[vmim("d", "web", targetNode="worker-1")])) == [("foreign_migrations", "warning")]


def test_a_queue_that_ours_would_wait_behind_blocks():
    queue = [vmim("kubevirt-evacuation-%d" % n, "web-%d" % n, "Pending") for n in range(5)]
    rows = judged(vmims=queue)
    assert codes(rows) == [("foreign_migrations", "blocker")] and "5 migrations" in rows[0]["message"]
    kubevirt = {"metadata": {"name": "kv"}, "spec": {"configuration": {"migrations": {"parallelMigrationsPerCluster": 10}}}}
    assert codes(judged(vmims=queue, kubevirts=[kubevirt])) == [("foreign_migrations", "warning")]


def test_left_over_evacuations():
    assert codes(judged(vmis=[changed(VMI, status__evacuationNodeName="hana-a")])) == [("evacuation_marked", "blocker")]
    assert codes(judged(vmis=[changed(VMI, status__evacuationNodeName="gone")])) == [("evacuation_marked", "warning")]
    elsewhere = changed(VMI, status={"nodeName": "worker-1", "evacuationNodeName": "worker-1"})
    assert judged(vmis=[elsewhere]) == []
    assert codes(judged(vmis=[elsewhere], vms=[("sap", "hana")])) == [("evacuation_marked", "blocker")]


def test_drain_taints_here_elsewhere_and_under_another_name():
    tainted = [{"key": "kubevirt.io/drain", "effect": "NoSchedule"}]
    assert codes(judged(nodes=[changed(NODE, spec__taints=tainted)])) == [("drain_taint", "blocker")]
    assert codes(judged(nodes=[NODE, changed(OTHER, spec__taints=tainted)])) == [("drain_taint", "warning")]
    kubevirt = {"metadata": {"name": "kv"}, "spec": {"configuration": {"migrations": {"nodeDrainTaintKey": "x/y"}}}}
    assert judged(nodes=[changed(NODE, spec__taints=tainted)], kubevirts=[kubevirt]) == []


# -- repositories, rights, acceptance ----------------------------------------------


def test_what_a_repository_keeps_blocks_only_where_we_write():
    hco = {"metadata": {"name": "kubevirt-hyperconverged", "namespace": "cnv", "annotations": ARGO}}
    assert judged(hyperconvergeds=[hco]) == []
    rows = judged(hyperconvergeds=[hco], writes=("node", "hyperconverged"))
    assert codes(rows) == [("gitops_owned", "blocker")] and "Argo CD (virt)" in rows[0]["message"]
    flux = changed(NODE, metadata__managedFields=[{"manager": "kustomize-controller", "operation": "Apply"}])
    assert codes(judged(nodes=[flux])) == [("gitops_owned", "blocker")]


def test_what_may_not_be_read_is_said_with_verb_and_resource():
    rows = judged(unreadable=[{"verb": "list", "resource": "nodehealthchecks.remediation.medik8s.io", "severity": "blocker"}])
    assert codes(rows) == [("interlock_unreadable", "blocker")]
    assert "list nodehealthchecks.remediation.medik8s.io" in rows[0]["remedy"]


def test_what_is_accepted_does_not_block_and_is_still_shown():
    rows = judged(node_health_checks=[NHC], nodes=[changed(NODE, spec__taints=[{"key": "kubevirt.io/drain"}])],
                  accept=["node_health_check"])
    assert [row["code"] for row in interlocks.blockers(rows)] == ["drain_taint"]
    assert [row["accepted"] for row in rows] == [False, True]  # what stands in the way comes first
    said = interlocks.lines(rows)
    assert any(line.startswith("ACCEPTED node_health_check") for line in said) and max(map(len, said)) <= 78
    assert all("pause" not in row for row in interlocks.public(rows))


def test_recorded_objects_of_real_clusters_are_understood(shared_folder):
    def recorded(name):
        with open("%s/realdata/objects/%s.yaml" % (shared_folder, name), encoding="utf-8") as stream:
            return yaml.safe_load(stream)

    pools = [recorded("mcp-1"), recorded("mcp-2")]
    assert judged(pools=pools, hyperconvergeds=[recorded("hco-1")]) == []
    changing = changed(pools[0], spec__configuration={"name": "rendered-worker-next"})
    assert codes(judged(pools=[changing])) == [("machine_config_pool_busy", "blocker")]
    found = judged(node_maintenances=[changed(recorded("nodemaintenance-1"), spec__nodeName="hana-a"), recorded("nodemaintenance-2")])
    assert codes(found) == [("node_maintenance_object", "blocker")]


ODD = st.recursive(st.none() | st.booleans() | st.integers(0, 9) | st.text("ab", max_size=2),
                   lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(
                       ["metadata", "spec", "status", "annotations", "labels", "name", "conditions", "selector", "taints",
                        "history", "pauseRequests", "nodeName", "phase", "matchLabels"]), inner, max_size=4), max_leaves=12)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([name for name in LISTS if name != "unreadable"]), ODD)
def test_no_object_is_odd_enough_for_an_exception(name, part):
    obj = {"metadata": {"name": "x", "labels": {}}, "spec": part, "status": part}
    assert isinstance(judged(**{name: [obj, NODE] if name == "nodes" else [obj]}, vms=[("", "x")]), list)
