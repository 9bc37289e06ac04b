# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What KubeVirt's and HyperConverged's webhooks refuse, with which code, and which MigrationPolicy wins (facts 1.18-1.21, 5, 10.6)."""

from __future__ import annotations

import pytest
from kubevirt_steps import KUBEVIRT, VMIMS, VMIS, Steps

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of

POLICIES = path_of("migrations.kubevirt.io/v1alpha1", "migrationpolicies")


def post(steps, spec, dry_run=True):
    path = path_of(KUBEVIRT, VMIMS, steps.namespace) + ("?dryRun=All" if dry_run else "")
    code, data, headers = steps.cluster.http("POST", path, {
        "apiVersion": KUBEVIRT, "kind": "VirtualMachineInstanceMigration", "metadata": {"generateName": "t-"}, "spec": spec})
    return code, data.get("message", ""), data


@pytest.fixture
def tiny(near):
    return Steps(near(topology="tiny"))


@pytest.mark.any_kubevirt
@pytest.mark.parametrize("spec, code, said", [
    ({}, 422, "vmiName is missing"),
    ({"vmiName": "nobody"}, 400, 'the VMI "default/nobody" does not exist'),
    ({"vmiName": "vm-1", "priority": "system-critical"}, 422, "only virt-controller is allowed to set priority"),
    ({"vmiName": 7}, 422, "spec.vmiName"),
])
def test_refusals_at_creation(tiny, spec, code, said):
    answer = post(tiny, spec)
    assert answer[0] == code and said in answer[1]
    if code == 400:
        assert 'admission webhook "migration-create-validator.kubevirt.io" denied the request: ' in answer[1]


@pytest.mark.any_kubevirt
def test_dry_run_runs_the_webhooks_and_stores_nothing(tiny):
    code, said, made = post(tiny, {"vmiName": "vm-1", "addedNodeSelector": {"kubernetes.io/hostname": "node-b"}})
    assert code == 201 and made["metadata"]["labels"]["kubevirt.io/vmi-name"] == "vm-1"
    assert made["spec"]["addedNodeSelector"] == {"kubernetes.io/hostname": "node-b"} and tiny.vmims() == []


@pytest.mark.any_kubevirt
def test_guest_that_cannot_move_is_refused_with_its_reason(near):
    steps = Steps(near(topology="blocked"), "sap-prod")
    code, said, body = post(steps, {"vmiName": "app-local"})
    assert code == 400 and "Cannot migrate VMI, Reason: DisksNotLiveMigratable, Message: cannot migrate VMI: PVC app-local-disk" in said
    assert post(steps, {"vmiName": "app-1"})[0] == 201


def test_finished_guest_and_unplaceable_guest(near):
    steps = Steps(near(topology="tiny"))
    for node in ("node-a", "node-b"):
        steps.api.patch(path_of("v1", "nodes", None, node), {"spec": {"unschedulable": True}})
    assert post(steps, {"vmiName": "vm-1"})[0] == 201  # no eligible node is not the webhook's business (facts 1.19)
    steps.api.patch(path_of(KUBEVIRT, VMIS, "default", "vm-1"), {"status": {"phase": "Succeeded"}})
    code, said, body = post(steps, {"vmiName": "vm-1"})
    assert code == 400 and said.endswith("Cannot migrate VMI in finalized state.")


@pytest.mark.any_kubevirt
def test_update_of_a_migration(near):
    steps = Steps(near(topology="tiny"))
    name = steps.migrate("vm-1")
    path = path_of(KUBEVIRT, VMIMS, "default", name)

    def patch(body):
        return steps.cluster.http("PATCH", path, body, content_type="application/merge-patch+json")

    code, data, headers = patch({"spec": {"addedNodeSelector": {"a": "b"}}})
    assert code == 422 and "update of Migration object's spec is restricted" in data["message"]
    code, data, headers = patch({"metadata": {"labels": {"kubevirt.io/vmi-name": "vm-2"}}})
    assert code == 422 and "selector label can't be modified on an in-flight migration" in data["message"]
    code, data, headers = patch({"metadata": {"labels": {"kubevirt.io/vmi-name": None}}})
    assert code == 422 and "selector label can't be removed from an in-flight migration" in data["message"]
    assert patch({"metadata": {"labels": {"mine": "yes"}}})[0] == 200


@pytest.mark.any_kubevirt
def test_guests_spec_and_reserved_labels_are_kubevirts(tiny):
    path = path_of(KUBEVIRT, VMIS, "default", "vm-2")

    def patch(body):
        return tiny.cluster.http("PATCH", path + "?dryRun=All", body, content_type="application/merge-patch+json")[0]

    assert patch({"spec": {"evictionStrategy": "None"}}) == 422
    assert patch({"metadata": {"labels": {"kubevirt.io/nodeName": "elsewhere"}}}) == 422
    assert patch({"metadata": {"labels": {"tier": "db"}}}) == 200


@pytest.mark.parametrize("block, code", [
    ({"parallelMigrationsPerCluster": -1}, 400), ({"bandwidthPerMigration": "much"}, 422),
    ({"completionTimeoutPerGiB": "20"}, 422), ({"parallelMigrationsPerCluster": 0}, 200), ({"completionTimeoutPerGiB": 10 ** 9}, 200),
])
def test_hyperconverged_checks_little(tiny, block, code):
    body = {"spec": {"virtualization": {"liveMigrationConfig": block}}}
    answer = tiny.cluster.http("PATCH", tiny.hco_path() + "?dryRun=All", body, content_type="application/merge-patch+json")
    assert answer[0] == code, answer[1]


def test_hyperconverged_belongs_into_its_namespace(tiny):
    code, data, headers = tiny.cluster.http("POST", path_of("hco.kubevirt.io/v1", "hyperconvergeds", "default"), {
        "apiVersion": "hco.kubevirt.io/v1", "kind": "HyperConverged", "metadata": {"name": "kubevirt-hyperconverged"}})
    assert code in (400, 403) and "namespace" in data["message"]


# -- policies (facts 5) ------------------------------------------------------------------


def policy(name, namespace=None, vmi=None, **spec):
    selectors = {key: value for key, value in (("namespaceSelector", namespace), ("virtualMachineInstanceSelector", vmi)) if value}
    return {"apiVersion": "migrations.kubevirt.io/v1alpha1", "kind": "MigrationPolicy", "metadata": {"name": name},
            "spec": dict(spec, selectors=selectors)}


@pytest.mark.any_kubevirt
def test_the_policy_with_the_most_matching_labels_wins_whole(near):
    steps = Steps(near(topology="tiny"))
    steps.configure(progressTimeout=99)
    steps.api.patch(path_of("v1", "namespaces", None, "default"), {"metadata": {"labels": {"site": "x", "zone": "y"}}})
    for made in (
        policy("a-everything", bandwidthPerMigration="1Gi"),
        policy("b-namespace", {"site": "x", "zone": "y"}, bandwidthPerMigration="2Gi"),
        policy("c-guest", {"site": "x"}, {"kubevirt.io/domain": "vm-1"}, completionTimeoutPerGiB=77, allowPostCopy=True),
        policy("d-guest", {"site": "x"}, {"kubevirt.io/domain": "vm-1"}, completionTimeoutPerGiB=78),
        policy("e-other", {"site": "x", "zone": "z"}, {"kubevirt.io/domain": "vm-1"}, completionTimeoutPerGiB=79),
    ):
        steps.api.create(POLICIES, made)
    steps.until_phase(steps.migrate("vm-1"), "Succeeded")
    state = steps.state("vm-1")
    # Two labels each for b, c and d; more of the guest's for c and d; c is first by name.
    assert state["migrationPolicyName"] == "c-guest"
    config = state["migrationConfiguration"]
    assert config["completionTimeoutPerGiB"] == 77 and config["progressTimeout"] == 99
    assert config["bandwidthPerMigration"] == "0"  # from the cluster, not from the policy that lost
    assert config["allowPostCopy"] is config["allowWorkloadDisruption"] is True  # follows (facts 5.4)
    steps.until_phase(steps.migrate("vm-2"), "Succeeded")
    assert steps.state("vm-2")["migrationPolicyName"] == "b-namespace"


def test_a_policy_counts_from_the_handoff_on(near):
    steps = Steps(near(topology="tiny"))
    name = steps.migrate("vm-1")
    steps.until_phase(name, "Scheduling")
    steps.api.create(POLICIES, policy("late", vmi={"kubevirt.io/domain": "vm-1"}, completionTimeoutPerGiB=55))
    steps.until(lambda: steps.state("vm-1").get("migrationUid"), step=0.5)
    steps.api.delete(POLICIES + "/late")
    steps.until_phase(name, "Succeeded")
    steps.cluster.wait(5)
    state = steps.migration(name)["status"]["migrationState"]
    assert state["migrationPolicyName"] == "late" and state["migrationConfiguration"]["completionTimeoutPerGiB"] == 55


@pytest.mark.any_kubevirt
def test_policies_are_checked(tiny):
    def create(**spec):
        return tiny.cluster.http("POST", POLICIES + "?dryRun=All", dict(policy("p", vmi={"a": "b"}, **spec)))[0]

    assert create(completionTimeoutPerGiB=-1) == 422
    assert create(bandwidthPerMigration="-1Mi") == 422
    assert create(completionTimeoutPerGiB=0, bandwidthPerMigration="64Mi") == 201
