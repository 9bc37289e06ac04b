# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which pods of a node are evicted, why others stay, and what is said about both."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import drain


def pod(name="web-1", owner="ReplicaSet", phase="Running", **more):
    meta = {"namespace": "shop", "name": name, "labels": more.get("labels", {}), "annotations": more.get("annotations", {})}
    if owner:
        meta["ownerReferences"] = [{"kind": owner, "name": "o", "controller": more.get("controller", True)}]
    return {"metadata": dict(meta, **more.get("meta", {})), "spec": more.get("spec", {}), "status": {"phase": phase}}


@pytest.mark.parametrize("code, found", [
    (None, pod()),
    (None, pod(owner="StatefulSet")),
    (None, pod(owner="Job")),
    (None, pod(phase="Pending")),
    ("daemon_set", pod(owner="DaemonSet")),
    ("static", pod(owner="Node", annotations={drain.MIRROR: "x"})),
    ("unmanaged", pod(owner=None)),
    ("unmanaged", pod(controller=False)),
    ("finished", pod(owner="Job", phase="Succeeded")),
    ("finished", pod(owner=None, phase="Failed")),
    ("vm", pod(owner="VirtualMachineInstance", labels={"kubevirt.io": "virt-launcher"})),
    ("vm", pod(owner="Pod", labels={"kubevirt.io": "hotplug-disk"})),
    (None, pod(owner="ReplicaSet", labels={"kubevirt.io": "virt-controller"})),
    ("daemon_set", pod(owner="DaemonSet", labels={"kubevirt.io": "virt-handler"})),
    ("own", pod(name="runner", owner="Job")),
])
def test_who_stays(code, found):
    assert drain.stays(found, own=("shop", "runner")) == code


@pytest.mark.parametrize("odd", [{}, {"metadata": None}, {"metadata": {"ownerReferences": "x"}, "status": []}, {"status": {"phase": 7}}])
def test_a_pod_that_says_nothing_is_left_alone(odd):
    assert drain.stays(odd) == "unmanaged"


def test_pods_are_split_in_the_order_of_their_names():
    going, left = drain.split([pod("b"), pod("z", owner=None), pod("a"), pod("d", owner="DaemonSet")])
    assert [one["metadata"]["name"] for one in going] == ["a", "b"]
    assert [(row.name, row.code) for row in left] == [("d", "daemon_set"), ("z", "unmanaged")]
    assert "no controller" in left[1].reason


def test_empty_dir_volumes_are_named():
    assert drain.scratch(pod(spec={"volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "cm", "configMap": {}}, 7]})) == ["tmp"]
    assert drain.scratch({}) == []


CAUSE = {"reason": "DisruptionBudget", "message": "The disruption budget db needs 3 healthy pods and has 2 currently"}


def budget(name, selector, allowed=0, namespace="shop"):
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"selector": selector},
            "status": {"disruptionsAllowed": allowed}}


@pytest.mark.parametrize("causes, said, is_one", [
    ([CAUSE], "Cannot evict pod as it would violate the pod's disruption budget.", True),
    ([], "Cannot evict pod as it would violate the pod's disruption budget.", True),
    ([], "Too many requests, please try again later.", False),
])
def test_a_budget_is_told_from_a_server_with_too_much_to_do(causes, said, is_one):
    assert drain.is_budget(causes, said) is is_one


def test_the_budget_in_the_way_is_named_by_the_answer():
    assert drain.blocking(pod(), [CAUSE], "", []) == ["shop/db"]
    still = {"reason": "DisruptionBudget", "message": "The disruption budget db is still being processed by the server."}
    assert drain.blocking(pod(), [still], "", []) == ["shop/db"]


def test_else_it_is_found_by_its_selector():
    here = pod(labels={"app": "db"})
    budgets = [budget("roomy", {"matchLabels": {"app": "db"}}, allowed=2), budget("tight", {"matchLabels": {"app": "db"}}),
               budget("other", {"matchLabels": {"app": "web"}}), budget("all", {}), budget("none", None),
               budget("far", {"matchLabels": {"app": "db"}}, namespace="elsewhere")]
    said = "Cannot evict pod as it would violate the pod's disruption budget."
    assert drain.blocking(here, [], said, budgets) == ["shop/tight", "shop/all"]
    assert drain.blocking(here, [], said, budgets[:1]) == ["shop/roomy"], "better than nothing"
    assert drain.blocking(here, [], said, []) == []
    assert "allows no disruption" in drain.budget_reason([], said) and said.rstrip(".") in drain.budget_reason([], said)
    assert drain.budget_reason(["shop/tight", "shop/all"], said) == (
        "PodDisruptionBudget shop/tight and shop/all allows no disruption")


@pytest.mark.parametrize("meta, words", [
    ({"finalizers": ["a.example/b"]}, "finalizers a.example/b keep it"),
    ({"deletionGracePeriodSeconds": 3600}, "has 1 h to end"),
    ({"deletionGracePeriodSeconds": 30}, "has not ended"),
])
def test_why_a_pod_that_was_evicted_is_still_there(meta, words):
    assert words in drain.ending_reason(pod(meta=meta), 1000, 1060)


def test_lines_fit_and_name_who_matters():
    left = [drain.Left("kube-system", "d%d" % n, "daemon_set", drain.STAYS["daemon_set"][0]) for n in range(9)]
    left += [drain.Left("shop", "lonely", "unmanaged", drain.STAYS["unmanaged"][0]),
             drain.Left("shop", "db-0", "budget", "PodDisruptionBudget shop/db allows no disruption")]
    found = drain.lines("hana-a", [("shop", "a"), ("shop", "b")], left, ["shop/%d" % n for n in range(5)])
    assert found[0] == "hana-a: 2 pods evicted" and found[1].startswith("9 left alone: its DaemonSet")
    whole = " ".join(line.strip() for line in found)
    assert "left: shop/lonely: nothing would create it again" in whole and "shop/db-0: PodDisruptionBudget shop/db" in whole
    assert "emptyDir volumes went with: shop/0, shop/1, shop/2 and 2 more" in whole
    assert "d3" not in whole
    start = drain.start_line("hana-a", [1, 2], left)
    assert start.startswith("hana-a: 2 pods to evict; left alone: 9 of DaemonSets, 1 unmanaged")
    progress = drain.progress_line("hana-a", 1, 2, ["PodDisruptionBudget %s allows no disruption" % ("x" * 80)])
    assert max(map(len, found + [start, progress])) <= 80


def test_the_failure_names_pods_and_what_helps():
    left = [drain.Left("shop", "db-%d" % n, "budget", "PodDisruptionBudget shop/db allows no disruption") for n in range(7)]
    message, remedy = drain.failure("hana-a", left, "after 30 min")
    assert message.startswith("7 pods are still on node hana-a, after 30 min.") and "And 2 more." in message
    assert "shop/db" in message and "forced" in remedy and "budget" in remedy
