# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which MigrationPolicy wins, what a hold writes, and that it always wins; what a repository's mark looks like."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import gitops, policy, policy_hold, settings


def policy_of(name, vmi=None, namespace=None, **spec):
    selectors = {"virtualMachineInstanceSelector": vmi or {}, "namespaceSelector": namespace or {}}
    return {"metadata": {"name": name}, "spec": dict(spec, selectors=selectors)}


def vmi_of(name="a", namespace="ns", **labels):
    return {"metadata": {"name": name, "namespace": namespace, "uid": "uid-" + name, "labels": labels}}


def scene_of(vmis, policies=(), namespaces=None, release="v1.9.0", **migrations):
    return {"vmis": list(vmis), "policies": list(policies), "namespaces": {"ns": {}} if namespaces is None else namespaces,
            "settings": settings.in_force(migrations, release), "release": release}


def held(scene, run="r", names=("a",), **values):
    asked = {"vms": [{"namespace": "ns", "name": name} for name in names], "settings": values}
    return policy_hold.plan_hold(asked, scene, run, "me", "2026-11-21T00:00:00Z")


@pytest.mark.parametrize("policies, first, why", [
    ([policy_of("b", {"x": "1"}), policy_of("a", {"x": "1"})], "a", "as many labels as b, and first by name"),
    ([policy_of("b", {"x": "1", "y": "2"}), policy_of("a", {"x": "1"})], "b", "2 matching labels, a has 1"),
    ([policy_of("b", {"x": "1"}), policy_of("a", {}, {"env": "p"})], "b", "as many labels as a, but 1 of them the VM's (a: 0)"),
    ([policy_of("b"), policy_of("a", {"x": "other"})], "b", "the only policy that matches"),
    ([policy_of("a", {"x": "other"})], None, "no policy matches; the cluster's settings count"),
    ([{"metadata": {"name": "a"}, "spec": {}}], None, "no policy matches; the cluster's settings count"),
])
def test_the_winner_and_why(policies, first, why):
    found = policy.ranked(policies, {"x": "1", "y": "2"}, {"env": "p"})
    best = policy.winner(policies, {"x": "1", "y": "2"}, {"env": "p"})
    assert (best["metadata"]["name"] if best else None) == first and policy.why(found) == why


def test_labels_of_a_namespace_that_would_decide_must_be_known():
    policies = [policy_of("by-vm", {"x": "1"}), policy_of("by-ns", {}, {"env": "p"})]
    with pytest.raises(LookupError, match="by-ns"):
        policy.winner(policies, {"x": "1"}, None)
    assert policy.winner(policies[:1], {"x": "1"}, None)["metadata"]["name"] == "by-vm"


def test_the_winner_takes_all_and_the_cluster_fills_the_rest():
    values = settings.in_force({"bandwidthPerMigration": "64Mi"}, "1.9")
    found = policy.effective(values, policy_of("a", allowPostCopy=True))
    assert found["allow_workload_disruption"] is True and found["bandwidth_per_migration"] == "64Mi"


def test_a_hold_repeats_the_winner_and_writes_every_field():
    vmi = vmi_of(app="db")
    site = policy_of("site", {"app": "db"}, bandwidthPerMigration="64Mi", allowPostCopy=True, maxDowntimeMs=700)
    plan = held(scene_of([vmi], [site], completionTimeoutPerGiB=33), completion_timeout_per_gib=800)
    made = plan.create[0]
    assert made["spec"] == {
        "selectors": {"namespaceSelector": {}, "virtualMachineInstanceSelector": {"app": "db", policy_hold.HOLD_LABEL: "r-1"}},
        "allowAutoConverge": False, "allowPostCopy": False, "allowWorkloadDisruption": False,
        "bandwidthPerMigration": "64Mi", "completionTimeoutPerGiB": 800, "maxDowntimeMs": 700}
    assert plan.vms[0]["displaced"] == "site" and plan.relabel[0].after == "r-1"
    record = policy_hold.record_of(made)
    assert record["run"] == "r" and record["displaced"] == "site" and policy_hold.changes_of(made, record) == []


def test_no_field_that_the_release_lacks():
    plan = held(scene_of([vmi_of()], release="v1.3.1"))
    assert "allowWorkloadDisruption" not in plan.create[0]["spec"] and "allowWorkloadDisruption" not in plan.vms[0]["configuration"]
    assert plan.create[0]["spec"]["completionTimeoutPerGiB"] == 800


LABELS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=4)


@given(LABELS, LABELS, st.lists(st.tuples(LABELS, LABELS, st.booleans()), max_size=6))
def test_a_hold_always_wins_and_for_nobody_else(of_vmi, of_namespace, others):
    policies = [policy_of("p%d" % index, vmi, namespace, allowPostCopy=post) for index, (vmi, namespace, post) in enumerate(others)]
    vmis = [vmi_of("a", **of_vmi), vmi_of("b", **of_vmi)]
    scene = scene_of(vmis, policies, {"ns": of_namespace})
    plan = held(scene)
    after = policy_hold.with_labels(vmis, plan.relabel)
    assert not policy_hold.losers(plan.vms, policies + plan.create, after, scene["namespaces"])
    before = policy.winner(policies, of_vmi, of_namespace)
    assert policy.winner(policies + plan.create, of_vmi, of_namespace) is before  # b has the same labels, and no hold
    restored = policy_hold.plan_restore(policies + plan.create, after, "r")
    assert [row.name for row in restored.relabel] == ["a"] and restored.delete == plan.create and not restored.left_alone


def test_a_hold_that_loses_is_named():
    plan = held(scene_of([vmi_of(app="db")]))
    after = policy_hold.with_labels([vmi_of(app="db")], plan.relabel)
    stronger = policy_of("z", {"app": "db", policy_hold.HOLD_LABEL: "r-1"})
    assert policy_hold.losers(plan.vms, plan.create + [stronger], after, {}) == [
        "VM ns/a would run under z instead of bigvm-r-1"]
    assert policy_hold.losers(plan.vms, [], after, {}) == ["VM ns/a would run under no policy instead of bigvm-r-1"]
    plan.create[0]["spec"]["allowPostCopy"] = True
    assert policy_hold.losers(plan.vms, plan.create, after, {}) == ["VM ns/a: allowPostCopy of policy bigvm-r-1 is not as held"]
    assert policy_hold.losers(plan.vms, plan.create, [], {}) == ["VM ns/a is gone"]


@pytest.mark.parametrize("run", ["r", "Node_1.x-20261121T011500", "x" * 63, "A" * 60])
def test_names_and_labels_fit_whatever_the_run_is_called(run):
    assert policy_hold.RUN.fullmatch(run)
    for number in (1, 12, 345):
        name, value = policy_hold.policy_name(run, number), policy_hold.label_value(run, number)
        assert not policy.problems(name, {"vmi_selector": {policy_hold.HOLD_LABEL: value}}, {})
    assert policy_hold.label_value(run, 1) != policy_hold.label_value(run, 11)


@pytest.mark.parametrize("note", [None, "", "{", "[]", "{}", '{"run": 3}', '{"run": ""}'])
def test_a_policy_without_our_record_is_nobodys_hold(note):
    obj = policy_of("a", {policy_hold.HOLD_LABEL: "r-1"})
    obj["metadata"]["annotations"] = {policy_hold.HELD_POLICY: note}
    assert policy_hold.record_of(obj) is None
    assert policy_hold.plan_restore([obj], [vmi_of(**{policy_hold.HOLD_LABEL: "other-1"})], "r") == ([], [], [])


def test_odd_objects_are_no_exception():
    odd = [{}, {"metadata": None, "spec": None}, {"spec": {"selectors": []}}, {"spec": {"selectors": {
        "virtualMachineInstanceSelector": {"a": 1}}}}]
    assert policy.ranked(odd, {"a": "1"}, {}) == []
    assert policy_hold.plan_restore(odd, [{}], None) == ([], [], [])
    assert held(scene_of([], odd)).refusals == ["VM ns/a is not running"]
    assert policy.overview(scene_of([{}], odd), [("ns", "a")])["vms"][0]["why"] == "it is not running"


@pytest.mark.parametrize("values, says", [
    ({"completion_timeout_per_gib": "800"}, "number of seconds"), ({"allow_post_copy": "no"}, "true or false"),
    ({"speed": 3}, "no live migration setting"), ({"parallel_migrations_per_cluster": 3}, "no field of a MigrationPolicy"),
])
def test_settings_that_a_hold_does_not_take(values, says):
    assert says in policy_hold.setting_problems(values)[0]


def test_a_change_of_spec_keeps_what_is_not_named():
    spec = {"selectors": {"namespaceSelector": {"a": "1"}}, "allowPostCopy": True, "maxDowntimeMs": 5}
    assert policy.changed_spec(spec, (None, {"b": "2"}), {"completion_timeout_per_gib": 3}, ["allow_post_copy"]) == {
        "selectors": {"namespaceSelector": {"a": "1"}, "virtualMachineInstanceSelector": {"b": "2"}},
        "completionTimeoutPerGiB": 3, "maxDowntimeMs": 5}


def test_lines_stay_in_80_columns():
    vmis = [vmi_of("n" * 60, "ns"), vmi_of("b")]
    plan = held(scene_of(vmis, [policy_of("site-" + "x" * 70)]), names=("n" * 60, "b"), allow_post_copy=True)
    lines = policy_hold.hold_lines(plan)
    assert max(map(len, lines)) <= 80 and "post-copy ON" in lines[0] and json.dumps(lines)


# -- repositories --------------------------------------------------------------------


@pytest.mark.parametrize("meta, who", [
    ({"annotations": {"argocd.argoproj.io/tracking-id": "virt:hco/HyperConverged:ns/x"}}, ["Argo CD (virt)"]),
    ({"labels": {"argocd.argoproj.io/instance": "virt"}}, ["Argo CD (virt)"]),
    ({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}, ["Flux kustomization (apps)"]),
    ({"annotations": {"configsync.gke.io/declared-fields": '{"f:spec":{}}'}}, ["Config Sync"]),
    ({"managedFields": [{"manager": "argocd-controller", "operation": "Apply"}]}, ["Argo CD (writes as argocd-controller)"]),
    ({"managedFields": [{"manager": "argocd-controller", "subresource": "status"}]}, []),
    ({"managedFields": [{"manager": "kubectl-edit"}, {"manager": "argocdish"}, {}, None]}, []),
    ({"labels": {"app.kubernetes.io/managed-by": "Helm"}}, []),  # writes only when somebody starts it
    ({"labels": {"argocd.argoproj.io/instance": "virt"}, "managedFields": [{"manager": "argocd-controller"}]},
     ["Argo CD (virt)"]),
    ({"labels": None, "annotations": [], "managedFields": "x"}, []),
    (None, []),
])
def test_who_keeps_an_object_from_a_repository(meta, who):
    assert gitops.owners({"metadata": meta}) == who
