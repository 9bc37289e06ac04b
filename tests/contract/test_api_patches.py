# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PATCH over the embedded cluster's API: merge, JSON, strategic merge, and what is refused."""

from __future__ import annotations

import pytest

MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.test.bigvm.io"},
    "spec": {"group": "test.bigvm.io", "scope": "Cluster", "names": {"plural": "widgets", "kind": "Widget"},
             "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                 "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]},
}


pytestmark = pytest.mark.any_cluster


@pytest.fixture(scope="module")
def c(shared):
    made = shared(bare=True)
    made.define(CRD)
    made.http("POST", "/apis/test.bigvm.io/v1/widgets", {
        "apiVersion": "test.bigvm.io/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"list": [1, 2]}})
    return made


def taints(node):
    """A node's taints but those that a real cluster gives it by itself."""
    return [taint for taint in node["spec"].get("taints") or () if not taint["key"].startswith("node.kubernetes.io/")]


@pytest.fixture
def node(c):
    """The path of a fresh node."""
    made = c.http("POST", "/api/v1/nodes", {
        "metadata": {"generateName": "patched-", "labels": {"a": "1", "b": "2"}},
        "spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "MemoryPressure", "status": "False"}]}})[1]
    return "/api/v1/nodes/" + made["metadata"]["name"]


def patch(c, path, body, kind, status=200):
    code, answer, headers = c.http("PATCH", path, body, content_type=kind)
    assert code == status, answer
    return answer


def test_merge_replaces_lists_and_removes_by_null(c, node):
    answer = patch(c, node, {"metadata": {"labels": {"a": None, "c": "3"}}, "spec": {"taints": None}}, MERGE)
    assert answer["metadata"]["labels"] == {"b": "2", "c": "3"} and taints(answer) == []


def test_json_patch_with_a_test(c, node):
    version = c.http("GET", node)[1]["metadata"]["resourceVersion"]
    answer = patch(c, node, [
        {"op": "test", "path": "/metadata/labels/a", "value": "1"},
        {"op": "add", "path": "/metadata/labels/live-migration.bigvm.io~1run", "value": "r1"},
        {"op": "remove", "path": "/spec/taints"}], JSON)
    assert answer["metadata"]["labels"]["live-migration.bigvm.io/run"] == "r1" and taints(answer) == []
    said = patch(c, node, [{"op": "test", "path": "/metadata/resourceVersion", "value": version}], JSON, 422)
    assert (said["reason"], said["message"]) == ("Invalid", "the server rejected our request due to an error in our request")
    patch(c, node, [{"op": "remove", "path": "/metadata/nothing"}], JSON, 422)
    assert patch(c, node, {"op": "remove"}, JSON, 400)["reason"] == "BadRequest"


def test_a_version_in_a_patch_guards_it(c):
    path = "/api/v1/namespaces/default/configmaps/guarded-patch"
    made = c.http("POST", path.rpartition("/")[0], {"metadata": {"name": "guarded-patch"}, "data": {"a": "1"}})[1]
    old = made["metadata"]["resourceVersion"]
    guarded = {"metadata": {"resourceVersion": old, "annotations": {"who": "me"}}, "data": {"a": "2"}}
    patch(c, path, guarded, MERGE)
    assert patch(c, path, guarded, MERGE, 409)["reason"] == "Conflict"
    assert patch(c, path, {"data": {"b": "3"}}, MERGE)["data"] == {"a": "2", "b": "3"}


def test_strategic_merges_by_key(c, node):
    body = {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Gone"}]}}
    answer = patch(c, node + "/status", body, STRATEGIC)
    told = [(entry["type"], entry["status"], entry.get("reason")) for entry in answer["status"]["conditions"]]
    assert ("Ready", "False", "Gone") in told and "MemoryPressure" in [entry[0] for entry in told]
    body = {"status": {"conditions": [{"$patch": "delete", "type": "Ready"}],
                       "$setElementOrder/conditions": [{"type": "MemoryPressure"}]}}
    answer = patch(c, node + "/status", body, STRATEGIC)
    assert "Ready" not in [condition["type"] for condition in answer["status"]["conditions"]]
    answer = patch(c, node, {"metadata": {"finalizers": ["a/b"]}}, STRATEGIC)
    answer = patch(c, node, {"metadata": {"finalizers": ["c/d"], "labels": {"$patch": "replace", "only": "x"}}}, STRATEGIC)
    assert sorted(answer["metadata"]["finalizers"]) == ["a/b", "c/d"] and answer["metadata"]["labels"] == {"only": "x"}
    answer = patch(c, node, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/b"]}}, STRATEGIC)
    assert answer["metadata"]["finalizers"] == ["c/d"]
    answer = patch(c, node, {"spec": {"taints": [{"key": "y", "effect": "NoExecute"}]}}, STRATEGIC)
    assert [taint["key"] for taint in answer["spec"]["taints"]] == ["y"]  # taints are replaced as a whole
    patch(c, node, {"metadata": {"finalizers": None}}, MERGE)
    patch(c, node + "/status", {"status": {"conditions": [{"status": "True"}]}}, STRATEGIC, 500)


def test_strategic_on_containers_of_a_pod(c):
    path = "/apis/apps/v1/namespaces/default/deployments"
    c.http("POST", path, {"metadata": {"name": "p"}, "spec": {
        "replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
            {"name": "compute", "image": "one", "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 80}]},
            {"name": "sidecar", "image": "two"}]}}}})
    answer = patch(c, path + "/p", {"spec": {"template": {"spec": {"containers": [
        {"name": "sidecar", "image": "three"},
        {"name": "compute", "env": [{"name": "B", "value": "2"}], "ports": [{"containerPort": 80, "name": "http"}]}]}}}}, STRATEGIC)
    c.http("DELETE", path + "/p")
    containers = {one["name"]: one for one in answer["spec"]["template"]["spec"]["containers"]}
    compute = containers["compute"]
    assert containers["sidecar"]["image"] == "three" and compute["image"] == "one"
    assert sorted(env["name"] for env in compute["env"]) == ["A", "B"] and [port["name"] for port in compute["ports"]] == ["http"]


def test_custom_resources_take_merge_and_json(c):
    path = "/apis/test.bigvm.io/v1/widgets/w"
    assert patch(c, path, {"spec": {"x": 1}}, MERGE)["spec"] == {"list": [1, 2], "x": 1}
    answer = patch(c, path, [{"op": "replace", "path": "/spec/list/0", "value": 5}], JSON)
    assert answer["spec"]["list"] == [5, 2]


def test_what_a_patch_cannot_do(c, node):
    patch(c, "/api/v1/nodes/nowhere", {}, MERGE, 404)
    patch(c, node, {"metadata": {"name": "other"}}, MERGE, 400)
    patch(c, node, {"metadata": None}, MERGE, 400)
    patch(c, node, "text", MERGE, 400)
    kept = c.http("GET", node)[1]["metadata"]
    answer = patch(c, node, {"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}}, MERGE)
    assert answer["metadata"]["creationTimestamp"] == kept["creationTimestamp"]
    patch(c, node, {"metadata": {"uid": "other"}}, MERGE, 422)


def test_a_dry_patch_changes_nothing(c, node):
    answer = patch(c, node + "?dryRun=All", {"spec": {"unschedulable": True}}, MERGE)
    assert answer["spec"]["unschedulable"] is True and "unschedulable" not in c.http("GET", node)[1]["spec"]
