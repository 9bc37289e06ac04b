# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules on KubeVirt 1.3: what they read there, refuse before anything is written, and explain (issue 3 j)."""

from __future__ import annotations

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from kubevirt_steps import KUBEVIRT, VMIS, Steps

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import Task
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import LiveMigrationError
from ansible_collections.bigvm.live_migration.plugins.modules import (
    evacuation_plan_info,
    migrate_vmi,
    vm_migratable_facts,
)


class Outcome:
    """What one run of migrate_vmi came to."""

    def __init__(self, result, message):
        self.result, self.message, self.failed = result, message, message is not None
        self.rows = {row["name"]: row for row in result.get("migrations") or []}


def run(cluster, **given):
    """Run migrate_vmi's function; a failure is an outcome too."""
    checked = ArgumentSpecValidator(migrate_vmi.SPEC, **migrate_vmi.CONSTRAINTS).validate(given)
    assert not checked.error_messages, checked.error_messages
    try:
        return Outcome(migrate_vmi.execute(
            Task(checked.validated_parameters, cluster.client(), False, lambda text: None, lambda text: None)), None)
    except LiveMigrationError as exc:
        return Outcome(exc.details, str(exc))


@pytest.fixture
def old(shared):
    """The 1.3 cluster that these tests share; each has VMs of its own."""
    return shared(topology="default", generation="1.3")


def asked(module, cluster, **given):
    """What a module that only reads returns."""
    checked = ArgumentSpecValidator(module.SPEC).validate(given)
    assert not checked.error_messages, checked.error_messages
    return module.execute(Task(checked.validated_parameters, cluster.client(), False, lambda text: None, lambda text: None))


def writes(cluster):
    return [row for row in cluster.requests() if row["method"] not in ("GET", "HEAD") and "dryRun" not in str(row["query"])
            and "/bigvm/" not in row["path"] and row["status"] < 300]


def codes(verdicts, name):
    return {row["code"] for vm in verdicts["vms"] if vm["name"] == name for row in vm["reasons"]}


def test_13_verdicts_and_plan_know_the_release(old):
    facts = asked(vm_migratable_facts, old)["ansible_facts"]["vm_migratable"]
    assert facts["cluster"]["kubevirt_version"] == "v1.3.1" and facts["cluster"]["hyperconverged_api"] == "v1beta1"
    assert facts["cluster"]["target_by_name"] is False
    assert facts["cluster"]["settings"]["completion_timeout_per_gib"] == 800
    assert {vm["verdict"] for vm in facts["vms"]} == {"live"}
    assert "MultifdOffRelease" in codes(facts, "hana-prod")
    planned = asked(evacuation_plan_info, old, node="hana-a")
    assert planned["plan"]["targets_pinned"] is False
    hana = planned["plan"]["waves"][0]["vms"][0]
    assert (hana["name"], hana["target_node"], hana["target_choices"]) == ("hana-prod", None, ["hana-b"])
    assert "This KubeVirt takes no target by name: the scheduler chooses; what is expected is told." in planned["lines"]


def test_13_a_return_is_refused_with_the_plan(old):
    with pytest.raises(LiveMigrationError) as caught:
        asked(evacuation_plan_info, old, node="hana-a", back=True)
    assert "This KubeVirt cannot be told where a VM shall go" in str(caught.value) and "maintenance_return" in str(caught.value)
    empty = asked(evacuation_plan_info, old, node="worker-1", back=False)
    assert empty["plan"]["vms"]


def test_13_a_target_is_refused_before_anything_is_written(old):
    before = writes(old)
    done = run(old, vms=[{"name": "hana-prod", "namespace": "sap-prod"}], target_node="hana-b", timeout="4h")
    assert "cannot be told where a VM shall go" in done.message and "Nothing was created" in done.message
    done = run(old, vms=[{"name": "hana-prod", "namespace": "sap-prod"}], timeout="4h",
               target_node_selector={"kubernetes.io/hostname": "hana-b"})
    assert "cannot be told where a VM shall go" in done.message
    assert writes(old) == before


def test_13_moves_a_vm_away_and_completes_as_the_source_says(old):
    done = run(old, vms=[{"name": "app-ascs", "namespace": "sap-prod"}], away_from=["hana-a"])
    row = done.rows["app-ascs"]
    assert not done.failed and row["outcome"] == "moved" and row["target_node"] != "hana-a"
    again = run(old, vms=[{"name": "app-ascs", "namespace": "sap-prod"}], away_from=["hana-a"])
    assert not again.failed and not again.result["changed"]


def test_13_an_unschedulable_target_is_explained_by_its_own_pod_after_300_seconds(old):
    steps = Steps(old, "sap-test")
    path = path_of("v1", "nodes", None, "hana-a")
    steps.api.patch(path, {"spec": {"unschedulable": True}})
    try:
        started = old.api.clock.now()
        done = run(old, vms=[{"name": "hana-test", "namespace": "sap-test"}], away_from=["hana-b"], timeout="4h")
        spent = old.api.clock.now() - started
    finally:
        steps.api.patch(path, {"spec": {"unschedulable": None}})
    row = done.rows["hana-test"]
    assert done.failed and row["cause"]["code"] == "unschedulable" and 300 <= spent < 330
    assert "node affinity/selector" in row["cause"]["message"] and "untolerated taint" in row["cause"]["message"]
    assert steps.vmi("hana-test")["status"]["nodeName"] == "hana-b"


def test_13_a_cancelled_copy_leaves_the_vm_where_it_is(old):
    steps = Steps(old, "sap-test")
    path = path_of(KUBEVIRT, VMIS, "sap-test", "app-test")
    steps.api.patch(path, {"metadata": {"annotations": {"rehearsal.bigvm.io/fail": "never-converges"}}})
    before = steps.vmi("app-test")["metadata"]["uid"]
    done = run(old, vms=[{"name": "app-test", "namespace": "sap-test"}], away_from=["hana-b"], timeout="10min")
    after = steps.vmi("app-test")
    assert done.failed and done.rows["app-test"]["outcome"] != "moved"
    assert after["metadata"]["uid"] == before and after["status"]["nodeName"] == "hana-b"
    state = after["status"]["migrationState"]
    assert state["failed"] and state["completed"] and state["abortStatus"] == "Succeeded"  # completed proves nothing
