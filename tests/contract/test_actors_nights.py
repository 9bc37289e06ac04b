# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The topologies of the night: what their scripts and operators do while somebody migrates by hand."""

from __future__ import annotations

import pytest
from kubevirt_steps import Steps, seconds_between

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import topology

NODES = "/api/v1/nodes/"
SCRIPT = "/bigvm/v1/script"
POLICIES = "/apis/migrations.kubevirt.io/v1alpha1/migrationpolicies"
POOL = "/apis/machineconfiguration.openshift.io/v1/machineconfigpools/hana"
JOURNAL = "live-migration.bigvm.io/maintenance"


@pytest.mark.parametrize("name", [name for name in topology.names() if name.startswith("night")])
def test_a_night_is_quiet_until_somebody_acts(near, name):
    c = near(topology=name)
    c.wait(400)
    assert not c.app.notes and not Steps(c, "sap-prod").vmims()
    assert all(not entry["fired"] for entry in c.api.get(SCRIPT)["items"])
    assert c.api.get("/apis/remediation.medik8s.io/v1alpha1/nodehealthchecks/hana-nodes")["status"]["phase"] == "Enabled"
    assert c.api.get(POOL)["status"]["updatedMachineCount"] == 3


def test_every_virt_handler_has_an_address_on_the_migration_network(near):
    c = near(topology="night")
    pods = c.api.list("/api/v1/namespaces/openshift-cnv/pods", labelSelector="kubevirt.io=virt-handler").items
    assert len(pods) == 4 and all("migration0" in pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"] for pod in pods)


def leave(c, vmi="hana-prod"):
    """Cordon hana-a and migrate a guest of it."""
    c.api.patch(NODES + "hana-a", {"spec": {"unschedulable": True}})
    steps = Steps(c, "sap-prod")
    name = steps.migrate(vmi)
    steps.until_phase(name, "Running", limit=200)
    return steps, name


def test_everybody_acts_while_hana_is_copied(near):
    c = near(topology="night-actors")
    steps, name = leave(c)
    assert steps.state("hana-prod")["targetNode"] == "hana-c"
    c.wait(200)
    assert len(Steps(c, "portal").vmims()) == 5
    descheduled, = steps.vmims("app-2")
    assert descheduled["spec"]["priority"] == "system-maintenance" and steps.phase(descheduled["metadata"]["name"]) == "Pending"
    conditions = {row["type"]: row["status"] for row in c.api.get(POOL)["status"]["conditions"]}
    assert conditions["Updating"] == "True"
    assert c.api.get(NODES + "hana-c")["spec"]["unschedulable"]  # the target, in the middle of the copy
    assert "unschedulable" not in c.api.get(NODES + "hana-b")["spec"] and steps.phase(name) == "Running"


@pytest.mark.parametrize("name,lacks", [("night-no-hugepages", "hugepages-1Gi"), ("night-no-migration0", "migration0")])
def test_the_node_comes_back_worse_when_a_run_works_on_it(near, name, lacks):
    c = near(topology=name)
    for phase in ("moving", "maintenance"):
        c.api.patch(NODES + "hana-a", {"metadata": {"annotations": {JOURNAL: '{"phase":"%s","run":"r1"}' % phase}}})
        c.wait(2)
        ready = next(row["status"] for row in c.api.get(NODES + "hana-a")["status"]["conditions"] if row["type"] == "Ready")
        assert ready == ("True" if phase == "moving" else "False")
    c.wait(270)
    node = c.api.get(NODES + "hana-a")
    pods = c.api.list("/api/v1/namespaces/openshift-cnv/pods", labelSelector="kubevirt.io=virt-handler").items
    text = next(pod for pod in pods if pod["spec"]["nodeName"] == "hana-a")["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"]
    assert (node["status"]["allocatable"]["hugepages-1Gi"] == "0", "migration0" not in text) == (
        lacks == "hugepages-1Gi", lacks == "migration0")
    assert next(row["status"] for row in node["status"]["conditions"] if row["type"] == "Ready") == "True"


def test_a_policy_is_gone_before_the_handoff(near):
    c = near(topology="night-policy-lost")
    c.api.create(POLICIES, {
        "apiVersion": "migrations.kubevirt.io/v1alpha1", "kind": "MigrationPolicy", "metadata": {"name": "bigvm-r1-1"},
        "spec": {"allowPostCopy": False, "selectors": {"virtualMachineInstanceSelector": {"app": "sap-hana"}}}})
    steps, _name = leave(c)
    assert [policy["metadata"]["name"] for policy in c.api.list(POLICIES).items] == ["site-hana"]
    state = steps.state("hana-prod")
    assert state["migrationPolicyName"] == "site-hana" and state["migrationConfiguration"]["allowPostCopy"] is True


def test_gitops_reverts_three_minutes_after_every_change(near):
    c = near(topology="night-gitops")
    steps = Steps(c)
    for _turn in range(2):
        steps.configure(bandwidthPerMigration="0", completionTimeoutPerGiB=800)
        changed = c.api.clock.now()
        c.wait(140)
        migrations = steps.kubevirt()["spec"]["configuration"]["migrations"]
        assert migrations["completionTimeoutPerGiB"] == 800
        c.wait(60)
        migrations = steps.kubevirt()["spec"]["configuration"]["migrations"]
        assert (migrations["bandwidthPerMigration"], migrations["completionTimeoutPerGiB"]) == ("64Mi", 20)
        managers = {row["manager"] for row in c.api.get(steps.hco_path())["metadata"]["managedFields"]}
        assert "argocd-controller" in managers
    entry = c.api.get(SCRIPT)["items"][0]
    assert len(entry["fired"]) == 2 and entry["fired"][1]["epoch"] == pytest.approx(changed + 150, abs=3)


def test_the_guest_starts_anew_at_the_hand_over(near):
    c = near(topology="night-restart")
    c.api.patch(Steps(c).hco_path(), {"spec": {"virtualization": {"liveMigrationConfig": {"bandwidthPerMigration": "0"}}}})
    c.wait(30)
    steps = Steps(c, "sap-prod")
    uid = steps.vmi("hana-prod")["metadata"]["uid"]
    steps, name = leave(c)
    steps.until(lambda: steps.vmi("hana-prod")["metadata"]["uid"] != uid, limit=6000, step=20)
    events = [event for event in steps.events("FailedMigration") if event["involvedObject"]["name"] == name]
    assert len(events) == 1


def test_on_the_oldest_release_a_target_that_never_comes_is_given_up_after_300_seconds(near):
    c = near(topology="night-1.3")
    c.api.patch(NODES + "hana-a", {"spec": {"unschedulable": True}})
    steps = Steps(c, "sap-prod")
    name = steps.migrate("app-2")
    found = steps.until_phase(name, "Failed", limit=400)
    stamps = {row["phase"]: row["phaseTransitionTimestamp"] for row in found["status"]["phaseTransitionTimestamps"]}
    assert 295 < seconds_between(stamps["Scheduling"], stamps["Failed"]) < 330
