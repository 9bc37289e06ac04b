# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# ruff: noqa: E501  (rows of a table)

"""Conversations with an API server: requests whose answers are recorded from a real one, in api_answers.json.

Each conversation runs in a namespace of its own, written NS. A step with ``differs`` is compared by status code
alone on the embedded cluster; the text is the reason, and tests/ratchet counts them. See test_api_answers.py.
"""

from __future__ import annotations

import collections

MERGE, JSON, STRATEGIC, APPLY, YAML = (
    "application/merge-patch+json", "application/json-patch+json", "application/strategic-merge-patch+json",
    "application/apply-patch+yaml", "application/yaml")
CM = "/api/v1/namespaces/NS/configmaps"
PODS = "/api/v1/namespaces/NS/pods"
NODES = "/api/v1/nodes"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GADGETS = "/apis/test.bigvm.io/v1/namespaces/NS/gadgets"
OLD_GADGETS = "/apis/test.bigvm.io/v1beta1/namespaces/NS/gadgets"
PDBS = "/apis/policy/v1/namespaces/NS/poddisruptionbudgets"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/NS/leases"
SSAR = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

GO = "the words of Go's decoder"
DUMP = "quotes the whole object with its managed fields"
PLACE = "names a line of the server's own source"

Step = collections.namedtuple("Step", "label method path body kind pick differs headers token until")


def step(label, method, path, body=None, kind="application/json", pick=None, differs=None, token=None, until=None, **headers):
    """One request. ``body`` may be a function of the earlier answers by label; ``pick`` of the answer says what counts."""
    return Step(label, method, path, body, kind, pick, differs, headers, token, until)


def again(label, **changes):
    """A body: the answer of an earlier step, with top-level changes."""
    return lambda said: dict(said[label], **changes)


def named(name, **more):
    return {"metadata": dict({"name": name}, **more), "data": {"a": "1"}}


def name_length(answer):
    return len(answer["metadata"]["name"])


def settled(key, value):
    """``until``: repeat the request until the answer's metadata or status has it (controllers take their time)."""
    return lambda code, answer: isinstance(answer, dict) and (answer.get("status") or {}).get(key) == value


def gone(code, answer):
    return code == 404


def here(code, answer):
    return code == 200


CONVERSATIONS = {}

CONVERSATIONS["objects"] = [
    step("create", "POST", CM, named("a")),
    step("again", "POST", CM, named("a")),
    step("read", "GET", CM + "/a"),
    step("missing", "GET", CM + "/zz"),
    step("missing kind", "GET", "/api/v1/namespaces/NS/nonsense"),
    step("missing group", "GET", "/apis/no.such/v1/things"),
    step("missing version", "GET", "/apis/apps/v9/deployments"),
    step("replace", "PUT", CM + "/a", again("create", data={"a": "2"})),
    step("replace an old one", "PUT", CM + "/a", again("create", data={"a": "3"})),
    step("replace without a version", "PUT", CM + "/a", named("a")),
    step("replace by another name", "PUT", CM + "/a", named("b")),
    step("replace without a name", "PUT", CM + "/a", {"data": {"a": "2"}}),
    step("replace with nonsense for a version", "PUT", CM + "/a", named("a", resourceVersion="x")),
    step("replace with another uid", "PUT", CM + "/a", named("a", uid="abc")),
    step("replace what is missing", "PUT", CM + "/zz", named("zz")),
    step("replace what is missing with a version", "PUT", CM + "/zz", named("zz", resourceVersion="5")),
    step("status of a kind without", "GET", CM + "/a/status"),
    step("another namespace in the body", "POST", CM, named("b", namespace="default")),
    step("no name", "POST", CM, {"metadata": {}}),
    step("no metadata", "POST", CM, {"data": {"a": "b"}}),
    step("absent namespace", "POST", "/api/v1/namespaces/absent-ns/configmaps", named("a")),
    step("list in an absent namespace", "GET", "/api/v1/namespaces/absent-ns/configmaps"),
    step("create without a namespace", "POST", "/api/v1/configmaps", named("a")),
    step("put on a collection", "PUT", CM, named("a")),
    step("post on an object", "POST", CM + "/a", named("a")),
    step("patch on a collection", "PATCH", CM, {}, MERGE),
    step("generated name", "POST", CM, {"metadata": {"generateName": "gen-"}}, pick=name_length),
    step("long generated name", "POST", CM, {"metadata": {"generateName": "g" * 70}}, pick=name_length),
    step("create with a version", "POST", CM, named("wrv", resourceVersion="5")),
    step("create with the server's fields", "POST", CM, named(
        "wuid", uid="abc", creationTimestamp="2020-01-01T00:00:00Z", generation=7, deletionTimestamp="2020-01-01T00:00:00Z")),
    step("null as an annotation", "POST", CM, {"metadata": {"name": "nulls", "annotations": {"x": None}}}),
    step("YAML", "POST", CM, "metadata: {name: yml}\ndata: {a: b}\n", YAML),
    step("dry run", "POST", CM + "?dryRun=All", named("dry")),
    step("dry run left nothing", "GET", CM + "/dry"),
    step("odd dry run", "POST", CM + "?dryRun=Odd", named("dry")),
    step("unknown field, strict", "POST", CM + "?fieldValidation=Strict", dict(named("uf"), unknown=1)),
    step("unknown field, warned of", "POST", CM, dict(named("uf"), unknown=1)),
    step("unknown field, ignored", "POST", CM + "?fieldValidation=Ignore", dict(named("uf2"), unknown=1)),
    step("odd validation", "POST", CM + "?fieldValidation=Odd", named("uf3")),
    step("immutable", "POST", CM, dict(named("im"), immutable=True)),
    step("change of an immutable one", "PATCH", CM + "/im", {"data": {"a": "c"}}, MERGE),
    step("delete with another uid", "DELETE", CM + "/a", {"preconditions": {"uid": "x"}}),
    step("delete with an old version", "DELETE", CM + "/a", {"preconditions": {"resourceVersion": "1"}}),
    step("dry delete", "DELETE", CM + "/a?dryRun=All"),
    step("delete", "DELETE", CM + "/a"),
    step("delete again", "DELETE", CM + "/a"),
]

CONVERSATIONS["bodies"] = [
    step("another kind", "POST", CM, {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "b"}}),
    step("another version", "POST", CM, {"kind": "ConfigMap", "apiVersion": "v2", "metadata": {"name": "b"}}, differs=PLACE),
    step("labels are a number", "POST", CM, {"metadata": {"name": "b", "labels": 5}}),
    step("a label is a number", "POST", CM, {"metadata": {"name": "b", "labels": {"x": 1}}}),
    step("metadata is a list", "POST", CM, {"metadata": []}),
    step("the name is a number", "POST", CM, {"metadata": {"name": 5}}),
    step("finalizers are an object", "POST", CM, {"metadata": {"name": "b", "finalizers": {}}}),
    step("data is a list", "POST", CM, {"metadata": {"name": "b"}, "data": []}),
    step("a datum is a number", "POST", CM, {"metadata": {"name": "b"}, "data": {"a": 1}}),
    step("a number", "POST", CM, "5", differs=GO),
    step("a text", "POST", CM, '"x"', differs=GO),
    step("a list", "POST", CM, "[]", differs=GO),
    step("broken", "POST", CM, '{"a":'),
    step("nothing", "POST", CM, ""),
    step("XML", "POST", CM, named("b"), "application/xml"),
    step("XML wanted", "GET", CM, Accept="application/xml"),
]

CONVERSATIONS["names and labels"] = [
    step("name", "POST", CM, {"metadata": {"name": "B_"}}),
    step("two dots", "POST", CM, {"metadata": {"name": "a..b"}}),
    step("long name", "POST", CM, {"metadata": {"name": "b" * 254}}),
    step("bad generated name", "POST", CM, {"metadata": {"generateName": "B_"}},
         differs="names the name that it would have had"),
    step("label value", "POST", CM, named("b", labels={"x": "a b"})),
    step("long label value", "POST", CM, named("b", labels={"x": "a" * 64})),
    step("label key", "POST", CM, named("b", labels={"x y": "a"})),
    step("label key with two slashes", "POST", CM, named("b", labels={"x/y/z": "a"})),
    step("label key with a bad prefix", "POST", CM, named("b", labels={"X_/y": "a"})),
    step("long label key", "POST", CM, named("b", labels={"k" * 64: "a"})),
    step("empty label key", "POST", CM, named("b", labels={"": "a"})),
    step("annotation key", "POST", CM, named("b", annotations={"x y": "a"})),
    step("annotation key in capitals", "POST", CM, named("caps", annotations={"Example.io/Key": "a"})),
    step("finalizer", "POST", CM, named("b", finalizers=["x y"])),
    step("plain finalizer", "POST", CM, named("b", finalizers=["plain"])),
    step("owner", "POST", CM, named("b", ownerReferences=[{"kind": "X"}])),
    step("two controllers", "POST", CM, named("b", ownerReferences=[
        {"apiVersion": "v1", "kind": "X", "name": name, "uid": name, "controller": True} for name in "ab"])),
    step("namespace", "POST", "/api/v1/namespaces", {"metadata": {"name": "Bad.Name"}}),
    step("huge annotation", "POST", CM, named("b", annotations={"x": "y" * 262145})),
    step("patched label", "PATCH", CM + "/caps", {"metadata": {"labels": {"x": "a b"}}}, MERGE),
]

CONVERSATIONS["patches"] = [
    step("create", "POST", CM, named("a")),
    step("merge", "PATCH", CM + "/a", {"data": {"b": "2"}}, MERGE),
    step("json", "PATCH", CM + "/a", [{"op": "replace", "path": "/data/b", "value": "3"}], JSON),
    step("test fails", "PATCH", CM + "/a", [{"op": "test", "path": "/data/b", "value": "9"}], JSON),
    step("test holds", "PATCH", CM + "/a", [{"op": "test", "path": "/data/b", "value": "3"},
                                            {"op": "add", "path": "/data/c", "value": "4"}], JSON),
    step("test of what is not there", "PATCH", CM + "/a", [{"op": "test", "path": "/data/none", "value": "3"}], JSON),
    step("test of null", "PATCH", CM + "/a", [{"op": "test", "path": "/data/none", "value": None},
                                              {"op": "add", "path": "/data/d", "value": "5"}], JSON),
    step("remove what is not there", "PATCH", CM + "/a", [{"op": "remove", "path": "/data/zz"}], JSON),
    step("replace what is not there", "PATCH", CM + "/a", [{"op": "replace", "path": "/data/zz", "value": "1"}], JSON),
    step("add below what is not there", "PATCH", CM + "/a", [{"op": "add", "path": "/none/zz", "value": "1"}], JSON),
    step("copy and move", "PATCH", CM + "/a", [{"op": "copy", "from": "/data/a", "path": "/data/e"},
                                               {"op": "move", "from": "/data/c", "path": "/data/f"}], JSON),
    step("unknown operation", "PATCH", CM + "/a", [{"op": "frob", "path": "/data/zz", "value": "1"}], JSON),
    step("json patch is an object", "PATCH", CM + "/a", {}, JSON),
    step("merge patch is a list", "PATCH", CM + "/a", [], MERGE),
    step("merge patch is a text", "PATCH", CM + "/a", '"text"', MERGE),
    step("merge patch is broken", "PATCH", CM + "/a", "{", MERGE),
    step("plain JSON", "PATCH", CM + "/a", {}),
    step("missing", "PATCH", CM + "/zz", {}, MERGE),
    step("missing by json patch", "PATCH", CM + "/zz", [], JSON),
    step("name", "PATCH", CM + "/a", {"metadata": {"name": "o"}}, MERGE),
    step("namespace", "PATCH", CM + "/a", {"metadata": {"namespace": "default"}}, MERGE),
    step("uid", "PATCH", CM + "/a", {"metadata": {"uid": "o"}}, MERGE),
    step("old version", "PATCH", CM + "/a", {"metadata": {"resourceVersion": "1"}}, MERGE),
    step("no metadata", "PATCH", CM + "/a", {"metadata": None}, MERGE),
    step("type", "PATCH", CM + "/a", {"data": 5}, MERGE, differs=DUMP),
    step("type below", "PATCH", CM + "/a", {"data": {"x": 5}}, MERGE, differs=DUMP),
    step("unknown field", "PATCH", CM + "/a", {"unknown": 5}, MERGE),
    step("unknown field, strict", "PATCH", CM + "/a?fieldValidation=Strict", {"unknown": 5}, MERGE, differs=DUMP),
    step("creation time", "PATCH", CM + "/a", {"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}}, MERGE),
    step("strategic", "PATCH", CM + "/a", {"data": {"b": None}}, STRATEGIC),
    step("dry", "PATCH", CM + "/a?dryRun=All", {"data": {"dry": "x"}}, MERGE),
    step("dry left nothing", "GET", CM + "/a"),
    step("nothing changed", "PATCH", CM + "/a", {"data": {"a": "1"}}, MERGE),
]

NODE = {"metadata": {"name": "lab-node", "labels": {"a": "b"}, "annotations": {"lab.bigvm.io/x": "y"}},
        "spec": {"unschedulable": True, "taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}}


def own_taints(answer):
    """Those that no controller may have set meanwhile."""
    return [taint for taint in answer["spec"].get("taints", ()) if "kubernetes.io" not in taint["key"]]


def own_conditions(answer):
    return [entry for entry in answer["status"]["conditions"] if entry["type"].startswith("Lab")]


CONVERSATIONS["nodes"] = [
    step("create", "POST", NODES, NODE, pick=own_taints),
    step("uncordon", "PATCH", NODES + "/lab-node", {"spec": {"unschedulable": None}}, MERGE, pick=own_taints),
    step("taints are a list without a merge key, by strategic merge", "PATCH", NODES + "/lab-node",
         {"spec": {"taints": [{"key": "k2", "effect": "NoExecute"}]}}, STRATEGIC, pick=own_taints),
    step("a condition by strategic merge", "PATCH", NODES + "/lab-node/status",
         {"status": {"conditions": [{"type": "LabA", "status": "True"}]}}, STRATEGIC, pick=own_conditions),
    step("another", "PATCH", NODES + "/lab-node/status",
         {"status": {"conditions": [{"type": "LabB", "status": "False"}]}}, STRATEGIC, pick=own_conditions),
    step("the first changes", "PATCH", NODES + "/lab-node/status",
         {"status": {"conditions": [{"type": "LabA", "status": "False", "reason": "x"}]}}, STRATEGIC, pick=own_conditions),
    step("one goes", "PATCH", NODES + "/lab-node/status",
         {"status": {"conditions": [{"type": "LabB", "$patch": "delete"}]}}, STRATEGIC, pick=own_conditions),
    step("a label by the status", "PATCH", NODES + "/lab-node/status", {"metadata": {"labels": {"by": "status"}}}, MERGE,
         pick=lambda answer: answer["metadata"]["labels"]),
    step("provider", "PATCH", NODES + "/lab-node", {"spec": {"providerID": "x"}}, MERGE,
         pick=lambda answer: answer["spec"]["providerID"]),
    step("bad taint", "PATCH", NODES + "/lab-node", {"spec": {"taints": [{"key": "k", "effect": "Nonsense"}]}}, MERGE),
    step("delete", "DELETE", NODES + "/lab-node", pick=lambda answer: answer["status"]),
]

CONVERSATIONS["selectors"] = [
    step("three words", "GET", CM + "?labelSelector=a%20b%20c"),
    step("in without parentheses", "GET", CM + "?labelSelector=app%20in%20hana"),
    step("nothing after =", "GET", CM + "?labelSelector=app%3D", pick=lambda answer: answer["items"]),
    step("unclosed", "GET", CM + "?labelSelector=app%20in%20(a"),
    step("bad value", "GET", CM + "?labelSelector=app%3D%25%25"),
    step("ends with a comma", "GET", CM + "?labelSelector=app,"),
    step("greater", "GET", CM + "?labelSelector=app%3E5", pick=lambda answer: answer["items"]),
    step("unknown field", "GET", CM + "?fieldSelector=spec.color%3Dred"),
    step("field nonsense", "GET", CM + "?fieldSelector=nonsense"),
    step("unknown field of pods", "GET", PODS + "?fieldSelector=spec.color%3Dred"),
    step("unknown field of nodes", "GET", NODES + "?fieldSelector=spec.color%3Dred"),
    step("unknown field of leases", "GET", LEASES + "?fieldSelector=spec.color%3Dred"),
    step("limit is a word", "GET", CM + "?limit=many"),
    step("broken continue", "GET", CM + "?continue=%21%21"),
    step("version is a word", "GET", CM + "?resourceVersion=abc"),
    step("match without a version", "GET", CM + "?resourceVersionMatch=Exact"),
    step("odd match", "GET", CM + "?resourceVersionMatch=Odd&resourceVersion=5"),
    step("watch: version is a word", "GET", CM + "?watch=1&resourceVersion=abc"),
    step("watch: timeout is a word", "GET", CM + "?watch=1&timeoutSeconds=abc"),
    step("initial events without a watch", "GET", CM + "?sendInitialEvents=true&resourceVersionMatch=NotOlderThan"),
]

CONVERSATIONS["finalizers"] = [
    step("create", "POST", CM, named("fin", finalizers=["a.io/x"])),
    step("delete", "DELETE", CM + "/fin"),
    step("delete again", "DELETE", CM + "/fin"),
    step("one more", "PATCH", CM + "/fin", {"metadata": {"finalizers": ["a.io/x", "a.io/y"]}}, MERGE),
    step("a change", "PATCH", CM + "/fin", {"data": {"x": "y"}}, MERGE),
    step("none left", "PATCH", CM + "/fin", {"metadata": {"finalizers": None}}, MERGE),
    step("gone", "GET", CM + "/fin"),
]


def owned(said):
    return named("child", ownerReferences=[{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "parent", "uid": said["parent"]["metadata"]["uid"]}])


CONVERSATIONS["owners"] = [
    step("parent", "POST", CM, named("parent")),
    step("child", "POST", CM, owned),
    step("orphaning", "POST", CM, lambda said: dict(owned(said), metadata=dict(owned(said)["metadata"], name="child2"))),
    step("delete", "DELETE", CM + "/parent"),
    step("child goes", "GET", CM + "/child", until=gone),
    step("parent of orphans", "POST", CM, named("parent")),
    step("orphan", "POST", CM, lambda said: named("orphan", ownerReferences=[{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "parent", "uid": said["parent of orphans"]["metadata"]["uid"]}])),
    step("delete with orphans", "DELETE", CM + "/parent?propagationPolicy=Orphan", pick=lambda answer: answer["kind"]),
    step("parent goes", "GET", CM + "/parent", until=gone),
    step("orphan stays", "GET", CM + "/orphan", until=here),
    step("odd policy", "DELETE", CM + "/orphan?propagationPolicy=Odd"),
    step("parent in the foreground", "POST", CM, named("front")),
    step("its child", "POST", CM, lambda said: named("front-child", finalizers=["lab.bigvm.io/wait"], ownerReferences=[{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "front", "blockOwnerDeletion": True,
        "uid": said["parent in the foreground"]["metadata"]["uid"]}])),
    step("delete in the foreground", "DELETE", CM + "/front?propagationPolicy=Foreground"),
    step("child ends", "GET", CM + "/front-child", until=lambda code, answer: "deletionTimestamp" in answer["metadata"]),
    step("parent still there", "GET", CM + "/front"),
    step("child let go", "PATCH", CM + "/front-child", {"metadata": {"finalizers": []}}, MERGE),
    step("both gone", "GET", CM + "/front", until=gone),
]

CONVERSATIONS["namespaces"] = [
    step("create", "POST", "/api/v1/namespaces", {"metadata": {"name": "NS-more"}}),
    step("object", "POST", "/api/v1/namespaces/NS-more/configmaps", named("a", finalizers=["a.io/x"])),
    step("delete", "DELETE", "/api/v1/namespaces/NS-more", pick=lambda answer: answer["status"]["phase"]),
    step("nothing new", "POST", "/api/v1/namespaces/NS-more/configmaps", named("b")),
    step("object ends", "GET", "/api/v1/namespaces/NS-more/configmaps/a",
         until=lambda code, answer: "deletionTimestamp" in answer["metadata"]),
    step("still there", "GET", "/api/v1/namespaces/NS-more", pick=lambda answer: answer["status"]["phase"]),
    step("let go", "PATCH", "/api/v1/namespaces/NS-more/configmaps/a", {"metadata": {"finalizers": None}}, MERGE),
    step("gone", "GET", "/api/v1/namespaces/NS-more", until=gone),
]

POD = {"metadata": {"name": "p", "labels": {"app": "x"}}, "spec": {
    "schedulerName": "nobody", "containers": [{"name": "c", "image": "i"}]}}
BUDGET = {"metadata": {"name": "budget"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}}
EVICT = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
RUNNING = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}


def phase(answer):
    return {"phase": answer["status"]["phase"], "qos": answer["status"].get("qosClass")}


def counted(code, answer):
    return (answer.get("status") or {}).get("currentHealthy") == 1 and (
        answer["status"]["observedGeneration"] == answer["metadata"]["generation"])


CONVERSATIONS["pods"] = [
    step("create", "POST", PODS, POD, pick=phase),
    step("spec is immutable", "PATCH", PODS + "/p", {"spec": {"nodeSelector": {"a": "b"}}}, MERGE,
         differs="quotes the difference as Go prints it"),
    step("runs", "PATCH", PODS + "/p/status", RUNNING, MERGE, pick=phase),
    step("evict what is missing", "POST", PODS + "/none/eviction", dict(EVICT, metadata={"name": "none"})),
    step("budget", "POST", PDBS, BUDGET, pick=lambda answer: answer["spec"]),
    step("counted", "GET", PDBS + "/budget", until=counted, pick=lambda answer: {
        key: answer["status"][key] for key in ("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods")}),
    step("evict", "POST", PODS + "/p/eviction", EVICT),
    step("evict, dry", "POST", PODS + "/p/eviction", dict(EVICT, deleteOptions={"dryRun": ["All"]})),
    step("budget goes", "DELETE", PDBS + "/budget", pick=lambda answer: answer["status"]),
    step("evict freely, dry", "POST", PODS + "/p/eviction?dryRun=All", EVICT),
    step("still there", "GET", PODS + "/p", pick=phase),
    step("evict freely", "POST", PODS + "/p/eviction", EVICT),
    step("gone", "GET", PODS + "/p", until=gone),
]

SPEC = {
    "type": "object", "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 10},
        "mode": {"type": "string", "enum": ["fast", "slow"], "default": "slow"},
        "rate": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True,
                 "pattern": "^[0-9]+(Mi|Gi)?$"},
        "name": {"type": "string", "minLength": 2, "maxLength": 5, "nullable": True},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2, "x-kubernetes-list-type": "set"},
        "disks": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                  "items": {"type": "object", "required": ["name"], "properties": {
                      "name": {"type": "string"}, "bus": {"type": "string", "default": "virtio"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 2},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {
            "closed": {"type": "object", "properties": {"known": {"type": "boolean"}}}}},
        "inner": {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {"type": "object"}}},
        "deep": {"type": "object", "default": {}, "properties": {"level": {"type": "integer", "default": 3}}},
        "small": {"type": "integer", "format": "int32"},
        "when": {"type": "string", "format": "date-time"},
        "ratio": {"type": "number", "exclusiveMinimum": True, "minimum": 0}, "step": {"type": "number", "multipleOf": 0.5},
    },
}


def definition(plural, kind, spec, **more):
    """A CustomResourceDefinition of the group test.bigvm.io with the versions v1beta1 and v1 (stored)."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": plural + ".test.bigvm.io"},
        "spec": {
            "group": "test.bigvm.io", "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": kind + "List"},
            "versions": [dict({
                "name": name, "served": True, "storage": name == "v1", "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": spec, "status": {"type": "object", "properties": {"phase": {"type": "string"}}}}}},
            }, **more) for name in ("v1beta1", "v1")],
        },
    }


def gadget(called="g", **spec):
    return {"apiVersion": "test.bigvm.io/v1", "kind": "Gadget", "metadata": {"name": called}, "spec": dict({"size": 1}, **spec)}


REFUSED_SPECS = {
    "null": {"size": None}, "text for a number": {"size": "1"}, "truth for a number": {"size": True},
    "fraction for an integer": {"size": 1.5}, "too small": {"size": 0}, "too large": {"size": 11},
    "not of the enum": {"mode": "odd"}, "pattern": {"rate": "ten"}, "neither": {"rate": 1.5},
    "too short": {"name": "x"}, "too long": {"name": "toolong"}, "too few": {"tags": []}, "too many": {"tags": ["a", "b", "c"]},
    "twice": {"tags": ["a", "a"]}, "required below": {"disks": [{"bus": "x"}]}, "same key": {"disks": [{"name": "a"}, {"name": "a"}]},
    "map value": {"labels": {"a": 1}}, "too many properties": {"labels": {"a": "1", "b": "2", "c": "3"}},
    "embedded": {"inner": {"kind": "Pod"}}, "int32": {"small": 2 ** 40}, "date": {"when": "yesterday"},
    "exclusive": {"ratio": 0}, "multiple": {"step": 0.7}, "object for a list": {"tags": {"a": 1}}, "list for an object": {"deep": []},
    "null in a list": {"tags": [None]}, "null object": {"deep": None}, "several": {"size": 0, "mode": "odd", "name": "x"},
}

CONVERSATIONS["custom resources"] = [
    step("define", "POST", CRDS, definition("gadgets", "Gadget", SPEC), pick=lambda answer: answer["spec"]["names"]),
    step("served", "GET", GADGETS, until=here),
    step("defined", "GET", CRDS + "/gadgets.test.bigvm.io", pick=lambda answer: {
        "spec": {key: answer["spec"][key] for key in ("conversion", "names", "scope")},
        "status": {key: value for key, value in answer["status"].items() if key != "conditions"},
        "conditions": sorted((entry["type"], entry["status"], entry["reason"]) for entry in answer["status"]["conditions"])}),
    step("create", "POST", GADGETS, gadget()),
    step("defaults", "POST", GADGETS, gadget("g2", mode=None, disks=[{"name": "a"}], deep={})),
    step("pruned with a warning", "POST", GADGETS, gadget(
        "g3", unknown=1, open={"any": 1, "closed": {"known": True, "not": 1}}, disks=[{"name": "a", "color": "red"}])),
    step("pruned, strict", "POST", GADGETS + "?fieldValidation=Strict", gadget("g4", unknown=1, more=2)),
    step("pruned, ignored", "POST", GADGETS + "?fieldValidation=Ignore", gadget("g4", unknown=1)),
    step("unknown at the top", "POST", GADGETS, dict(gadget("g5"), extra=1)),
    step("unknown in metadata", "POST", GADGETS, dict(gadget(), metadata={"name": "g6", "colour": "red"})),
    step("no spec", "POST", GADGETS, {"apiVersion": "test.bigvm.io/v1", "kind": "Gadget", "metadata": {"name": "g7"}}),
    step("status is not taken", "POST", GADGETS, dict(gadget("g8"), status={"phase": "Sneaky"})),
    step("status apart", "PATCH", GADGETS + "/g8/status", {"spec": {"size": 9}, "status": {"phase": "Running"}}, MERGE),
    step("metadata does not go with the status", "PATCH", GADGETS + "/g8/status",
         {"metadata": {"labels": {"a": "c"}, "annotations": {"a": "c"}}, "status": {"phase": "Done"}}, MERGE),
    step("spec counts", "PATCH", GADGETS + "/g8", {"spec": {"size": 2}, "status": {"phase": "Other"}}, MERGE),
    step("a label does not count", "PATCH", GADGETS + "/g8", {"metadata": {"labels": {"a": "b"}}}, MERGE),
    step("bad status", "PATCH", GADGETS + "/g8/status", {"status": {"phase": 5}}, MERGE),
    step("bad spec", "PATCH", GADGETS + "/g8", {"spec": {"size": 0}}, MERGE),
    step("strategic", "PATCH", GADGETS + "/g8", {"spec": {"size": 3}}, STRATEGIC),
    step("unknown by patch", "PATCH", GADGETS + "/g8", {"spec": {"unknown": 3}}, MERGE),
    step("unknown by patch, strict", "PATCH", GADGETS + "/g8?fieldValidation=Strict", {"spec": {"unknown": 3}}, MERGE, differs=DUMP),
    step("json patch", "PATCH", GADGETS + "/g8", [{"op": "replace", "path": "/spec/size", "value": 4}], JSON),
    step("replace without a version", "PUT", GADGETS + "/g8", gadget("g8")),
    step("replace an old one", "PUT", GADGETS + "/g8", dict(gadget(), metadata={"name": "g8", "resourceVersion": "1"})),
    step("replace the status without a version", "PUT", GADGETS + "/g8/status", gadget("g8")),
    step("replace what is missing", "PUT", GADGETS + "/none", dict(gadget(), metadata={"name": "none", "resourceVersion": "1"})),
    step("another version", "GET", OLD_GADGETS + "/g8"),
    step("body of another version", "POST", OLD_GADGETS, gadget("g9")),
    step("body of another kind", "POST", GADGETS, dict(gadget("g9"), kind="Widget")),
    step("body without a kind", "POST", GADGETS, {"apiVersion": "test.bigvm.io/v1", "metadata": {"name": "g9"}, "spec": {"size": 1}}),
    step("body without a version", "POST", GADGETS, {"kind": "Gadget", "metadata": {"name": "g9"}, "spec": {"size": 1}}),
    step("body with neither", "POST", GADGETS + "?fieldValidation=Ignore", {"metadata": {"name": "g9"}, "spec": {"size": 1}}),
    step("replace by a body with neither", "PUT", GADGETS + "/g8", {"metadata": {"name": "g8"}, "spec": {"size": 1}}),
    step("nothing as a body", "POST", GADGETS, ""),
    step("list", "GET", GADGETS + "?limit=1", pick=lambda answer: [answer["kind"], answer["items"][0]["kind"], sorted(answer["metadata"])]),
    step("missing", "GET", GADGETS + "/none"),
    step("twice", "POST", GADGETS, gadget()),
    step("no name", "POST", GADGETS, dict(gadget(), metadata={})),
    step("bad name", "POST", GADGETS, gadget("B_")),
    step("bad label", "POST", GADGETS, dict(gadget(), metadata={"name": "g9", "labels": {"a": "b c"}})),
    step("label is a number", "POST", GADGETS, dict(gadget(), metadata={"name": "g9", "labels": {"a": 1}})),
    step("plain finalizer", "POST", GADGETS, dict(gadget(), metadata={"name": "g9", "finalizers": ["plain"]})),
    step("plain finalizer goes", "DELETE", GADGETS + "/g9", pick=lambda answer: answer["metadata"]["finalizers"]),
    step("and lets go", "PATCH", GADGETS + "/g9", {"metadata": {"finalizers": None}}, MERGE, pick=lambda answer: answer["kind"]),
    step("field selector", "GET", GADGETS + "?fieldSelector=spec.size%3D1"),
    step("odd subresource", "GET", GADGETS + "/g/scale"),
    step("dry refusal", "POST", GADGETS + "?dryRun=All", gadget("g9", size=0)),
    step("delete", "DELETE", GADGETS + "/g"),
    step("delete again", "DELETE", GADGETS + "/g"),
    step("several kept", "GET", GADGETS, pick=lambda answer: [item["metadata"]["name"] for item in answer["items"]]),
    step("delete all", "DELETE", GADGETS, pick=lambda answer: answer["kind"]),
    step("none left", "GET", GADGETS, pick=lambda answer: answer["items"]),
] + [step("refused: " + label, "POST", GADGETS, gadget("bad", **spec)) for label, spec in REFUSED_SPECS.items()] + [
    step("definition goes", "DELETE", CRDS + "/gadgets.test.bigvm.io", pick=lambda answer: answer.get("kind") in ("Status", "CustomResourceDefinition")),
    step("not served", "GET", GADGETS, until=gone),
]

RULED = {
    "type": "object", "x-kubernetes-validations": [
        {"rule": "!has(self.low) || !has(self.high) || self.low <= self.high", "message": "low must not be above high"},
        {"rule": "!has(self.ratio) || self.ratio != 1"},
        {"rule": "!has(self.low) || self.low + 1 < 100", "messageExpression": "'low is ' + 'large'"},
        {"rule": "!has(self.secret) || size(self.secret) > 3", "message": "too short", "fieldPath": ".secret", "reason": "FieldValueForbidden"}],
    "properties": {
        "low": {"type": "integer"}, "high": {"type": "integer"}, "ratio": {"type": "integer"}, "secret": {"type": "string", "maxLength": 9},
        "path": {"type": "string", "maxLength": 99, "x-kubernetes-validations": [
            {"rule": "self.startsWith('/')", "message": "path must be absolute"}, {"rule": "!self.contains('..')", "message": "no .."}]},
        "fixed": {"type": "string", "maxLength": 99, "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed is immutable"}]},
        "seen": {"type": "integer", "x-kubernetes-validations": [
            {"rule": "self >= oldSelf || (self == 0 && oldSelf > 0)", "message": "must not move backwards except to zero"}]},
        "names": {"type": "array", "maxItems": 9, "items": {"type": "string", "maxLength": 99}, "x-kubernetes-validations": [
            {"rule": "self.size() <= 1 || !self.exists(r, r == 'none')", "message": "'none' stands alone"},
            {"rule": "self.all(x, self.exists_one(y, x.lowerAscii() == y.lowerAscii()))", "message": "unique, whatever the case"}]},
        "selector": {"type": "object", "maxProperties": 9, "additionalProperties": {"type": "string", "maxLength": 99},
                     "x-kubernetes-validations": [
                         {"rule": "self.all(k, !format.qualifiedName().validate(k).hasValue())", "message": "keys must be qualified names"}]},
        "host": {"type": "string", "maxLength": 99, "x-kubernetes-validations": [
            {"rule": "!format.dns1123Subdomain().validate(self).hasValue()", "message": "a subdomain"}]},
    },
}
RULES = "/apis/test.bigvm.io/v1/namespaces/NS/ruled"


def ruled(called, **spec):
    return {"apiVersion": "test.bigvm.io/v1", "kind": "Ruled", "metadata": {"name": called}, "spec": spec}


CONVERSATIONS["rules"] = [
    step("define", "POST", CRDS, definition("ruled", "Ruled", RULED), pick=lambda answer: answer["spec"]["names"]),
    step("served", "GET", RULES, until=here),
    step("good", "POST", RULES, ruled("good", low=1, high=2, fixed="a", seen=5, path="/a", names=["a", "b"], selector={"a/b": "c"}, host="a.b")),
    step("low above high", "POST", RULES, ruled("bad", low=3, high=2)),
    step("no message", "POST", RULES, ruled("bad", low=1, ratio=1)),
    step("message by expression", "POST", RULES, ruled("bad", low=200)),
    step("field path", "POST", RULES, ruled("bad", low=1, secret="abc")),
    step("path", "POST", RULES, ruled("bad", low=1, path="a/../b")),
    step("none with others", "POST", RULES, ruled("bad", low=1, names=["none", "b"])),
    step("case", "POST", RULES, ruled("bad", low=1, names=["A", "a"])),
    step("qualified names", "POST", RULES, ruled("bad", low=1, selector={"a b": "c"})),
    step("host", "POST", RULES, ruled("bad", low=1, host="a_b")),
    step("immutable", "PATCH", RULES + "/good", {"spec": {"fixed": "b"}}, MERGE),
    step("immutable may go", "PATCH", RULES + "/good", {"spec": {"fixed": None}}, MERGE),
    step("backwards", "PATCH", RULES + "/good", {"spec": {"seen": 4}}, MERGE),
    step("to zero", "PATCH", RULES + "/good", {"spec": {"seen": 0}}, MERGE),
    step("schema first", "POST", RULES, ruled("bad", low="x", high=2)),
    step("broken rule", "POST", CRDS, definition("broken", "Broken", {"type": "object", "x-kubernetes-validations": [{"rule": "self.none("}]}),
         differs="the compiler's words"),
    step("goes", "DELETE", CRDS + "/ruled.test.bigvm.io", pick=lambda answer: answer.get("kind") in ("Status", "CustomResourceDefinition")),
    step("not served", "GET", RULES, until=gone),
]

WRONG = definition("wrongs", "Wrong", {"type": "object"})
CONVERSATIONS["definitions"] = [
    step("name", "POST", CRDS, dict(WRONG, metadata={"name": "other.test.bigvm.io"})),
    step("no versions", "POST", CRDS, dict(WRONG, spec={**WRONG["spec"], "versions": []}), differs="every consequence is listed"),
    step("two stored", "POST", CRDS, dict(WRONG, spec={**WRONG["spec"], "versions": [
        dict(version, storage=True) for version in WRONG["spec"]["versions"]]}), differs="every consequence is listed"),
    step("no schema", "POST", CRDS, dict(WRONG, spec={**WRONG["spec"], "versions": [
        {"name": "v1", "served": True, "storage": True}]})),
    step("no scope", "POST", CRDS, dict(WRONG, spec={key: value for key, value in WRONG["spec"].items() if key != "scope"})),
]

WHO = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
RULES_OF_OBSERVER = [{"verbs": ["get", "list"], "resources": ["configmaps", "nodes"], "namespaces": ["NS"]},
                     {"verbs": ["get"], "resources": ["nodes", "pods/log", "deployments.apps"]}]


def can(**asked):
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": asked}}


def allowed(answer):
    return answer["status"]["allowed"]


CONVERSATIONS["rights"] = [
    step("object", "POST", CM, named("seen")),
    step("read", "GET", CM + "/seen", token="observer"),
    step("list", "GET", CM + "?fieldSelector=metadata.name%3Dseen", token="observer", pick=lambda answer: answer["kind"]),
    step("watch", "GET", CM + "?watch=1", token="observer"),
    step("list all", "GET", "/api/v1/configmaps", token="observer"),
    step("create", "POST", CM, named("x"), token="observer"),
    step("update", "PUT", CM + "/seen", named("seen"), token="observer"),
    step("patch", "PATCH", CM + "/seen", {}, MERGE, token="observer"),
    step("delete", "DELETE", CM + "/seen", token="observer"),
    step("delete all", "DELETE", CM, token="observer"),
    step("log", "GET", PODS + "/none/log", token="observer"),
    step("status", "PATCH", NODES + "/none/status", {}, MERGE, token="observer"),
    step("evict", "POST", PODS + "/p/eviction", EVICT, token="observer"),
    step("list nodes", "GET", NODES, token="observer"),
    step("read a node", "GET", NODES + "/none", token="observer"),
    step("another group", "GET", "/apis/apps/v1/namespaces/NS/deployments/none", token="observer"),
    step("another group, list", "GET", "/apis/apps/v1/daemonsets", token="observer"),
    step("unknown kind", "GET", "/api/v1/namespaces/NS/nonsense", token="observer"),
    step("may read", "POST", SSAR, can(verb="get", resource="nodes"), token="observer", pick=allowed),
    step("may read here", "POST", SSAR, can(verb="get", resource="configmaps", namespace="NS"), token="observer", pick=allowed),
    step("may not read there", "POST", SSAR, can(verb="get", resource="configmaps", namespace="default"), token="observer", pick=allowed),
    step("may not delete", "POST", SSAR, can(verb="delete", resource="nodes"), token="observer",
         pick=lambda answer: {key: answer["status"].get(key) for key in ("allowed", "denied")}),
    step("may read logs", "POST", SSAR, can(verb="get", resource="pods", subresource="log", namespace="NS"), token="observer", pick=allowed),
    step("the administrator may", "POST", SSAR, can(verb="delete", resource="nodes"), pick=allowed),
    step("a review without a question", "POST", SSAR, {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {}}),
    step("reviews cannot be listed", "GET", SSAR),
    step("anonymous", "GET", CM, token=""),
    step("anonymous node", "GET", NODES + "/none", token=""),
    step("anonymous discovery", "GET", "/api", token=""),
    step("wrong token", "GET", CM, token="wrong"),
    step("wrong token asks the version", "GET", "/version", token="wrong"),
    step("anonymous asks the version", "GET", "/version", token="", pick=sorted),
    step("anonymous asks for health", "GET", "/healthz", token=""),
    step("anonymous asks for life", "GET", "/livez", token=""),
    step("anonymous asks for readiness", "GET", "/readyz", token=""),
    step("a path that is none", "GET", "/nonsense"),
    step("a path that is none, anonymous", "GET", "/nonsense", token=""),
    step("a path that is none, observer", "GET", "/nonsense", token="observer"),
]


def app(**data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}, "data": data}


CONVERSATIONS["apply"] = [
    step("without a manager", "PATCH", CM + "/app", app(a="1"), APPLY),
    step("create", "PATCH", CM + "/app?fieldManager=one", app(a="1", b="2"), APPLY),
    step("same again", "PATCH", CM + "/app?fieldManager=one", app(a="1", b="2"), APPLY),
    step("one field less", "PATCH", CM + "/app?fieldManager=one", app(a="1"), APPLY),
    step("another manager's own field", "PATCH", CM + "/app?fieldManager=two", app(c="3"), APPLY),
    step("conflict", "PATCH", CM + "/app?fieldManager=two", app(a="9", c="3"), APPLY),
    step("same value is shared", "PATCH", CM + "/app?fieldManager=two", app(a="1", c="3"), APPLY),
    step("forced", "PATCH", CM + "/app?fieldManager=two&force=true", app(a="9", c="3"), APPLY),
    step("given up, still the other's", "PATCH", CM + "/app?fieldManager=two", app(c="3"), APPLY),
    step("as YAML", "PATCH", CM + "/app?fieldManager=two", "apiVersion: v1\nkind: ConfigMap\ndata: {c: '4'}\n", APPLY),
    step("update takes over", "PATCH", CM + "/app?fieldManager=three", {"data": {"c": "5"}}, MERGE),
    step("conflict with an update", "PATCH", CM + "/app?fieldManager=two", app(c="6"), APPLY),
    step("without a kind", "PATCH", CM + "/app?fieldManager=one", {"data": {}}, APPLY),
    step("managed fields", "PATCH", CM + "/app?fieldManager=one", {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"managedFields": [{"manager": "x"}]}}, APPLY),
    step("dry", "PATCH", CM + "/app?fieldManager=one&dryRun=All", app(dry="1"), APPLY),
    step("in the end", "GET", CM + "/app"),
]

LEASE = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 600, "renewTime": "2026-01-01T00:00:00.000000Z"}}
CONVERSATIONS["leases"] = [
    step("create", "POST", LEASES, LEASE),
    step("race", "POST", LEASES, LEASE),
    step("renew", "PUT", LEASES + "/l", lambda said: dict(said["create"], spec=dict(LEASE["spec"], holderIdentity="b"))),
    step("lost", "PUT", LEASES + "/l", lambda said: dict(said["create"], spec=dict(LEASE["spec"], holderIdentity="c"))),
    step("no duration", "POST", LEASES, {"metadata": {"name": "z"}, "spec": {"leaseDurationSeconds": 0}}),
    step("release with an old version", "DELETE", LEASES + "/l", lambda said: {
        "preconditions": {"resourceVersion": said["create"]["metadata"]["resourceVersion"]}}),
    step("release", "DELETE", LEASES + "/l", lambda said: {
        "preconditions": {"resourceVersion": said["renew"]["metadata"]["resourceVersion"]}}),
]

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIALS = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
COLUMNS = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
           {"name": "Phase", "type": "string", "jsonPath": ".status.phase", "priority": 1, "description": "where it is"}]
SHOWN = "/apis/test.bigvm.io/v1/namespaces/NS/shown"


def cells(answer):
    """A table without the ages."""
    columns = answer["columnDefinitions"]
    return {
        "kind": answer["kind"],
        "columns": [{key: column[key] for key in ("name", "type", "format", "priority")} for column in columns],
        "cells": [row["cells"][:-1] if columns[-1]["name"] == "Age" else row["cells"] for row in answer["rows"]],
        "objects": [row["object"]["kind"] for row in answer["rows"]],
    }


CONVERSATIONS["tables"] = [
    step("define", "POST", CRDS, definition("shown", "Shown", SPEC, additionalPrinterColumns=COLUMNS), pick=lambda answer: answer["spec"]["names"]),
    step("served", "GET", SHOWN, until=here),
    step("create", "POST", SHOWN, dict(gadget("s"), kind="Shown")),
    step("list", "GET", SHOWN, pick=cells, Accept=TABLE),
    step("one", "GET", SHOWN + "/s", pick=cells, Accept=TABLE),
    step("metadata alone", "GET", SHOWN + "/s", Accept=PARTIAL),
    step("metadata of all", "GET", SHOWN, Accept=PARTIALS),
    step("map", "POST", CM, named("a")),
    step("maps", "GET", CM + "?fieldSelector=metadata.name%3Da", pick=cells, Accept=TABLE),
    step("goes", "DELETE", CRDS + "/shown.test.bigvm.io", pick=lambda answer: answer.get("kind") in ("Status", "CustomResourceDefinition")),
    step("not served", "GET", SHOWN, until=gone),
]


def resources(*names):
    """A pick: the discovery entries of these names."""

    def picked(answer):
        found = [entry for entry in answer["resources"] if entry["name"] in names]
        return sorted(({key: value for key, value in entry.items() if key != "storageVersionHash"} for entry in found),
                      key=lambda entry: entry["name"])

    return picked


CONVERSATIONS["discovery"] = [
    step("core", "GET", "/api", pick=lambda answer: answer["versions"]),
    step("core resources", "GET", "/api/v1", pick=resources(
        "pods", "pods/eviction", "pods/log", "pods/status", "nodes", "nodes/status", "configmaps", "events", "namespaces", "secrets",
        "persistentvolumeclaims", "resourcequotas", "services", "serviceaccounts")),
    step("core resources with a slash", "GET", "/api/v1/", pick=lambda answer: answer["groupVersion"]),
    step("groups", "GET", "/apis", pick=lambda answer: [group for group in answer["groups"] if group["name"] in (
        "apps", "policy", "authorization.k8s.io", "authentication.k8s.io")][:4] and sorted(
            (group["name"], group["preferredVersion"]["groupVersion"]) for group in answer["groups"] if group["name"] in (
                "apps", "policy", "authorization.k8s.io", "authentication.k8s.io", "apiextensions.k8s.io", "batch"))),
    step("a group", "GET", "/apis/apps"),
    step("apps", "GET", "/apis/apps/v1", pick=resources("daemonsets", "daemonsets/status", "deployments", "statefulsets")),
    step("policy", "GET", "/apis/policy/v1", pick=resources("poddisruptionbudgets", "poddisruptionbudgets/status")),
    step("definitions", "GET", "/apis/apiextensions.k8s.io/v1", pick=resources("customresourcedefinitions", "customresourcedefinitions/status")),
    step("leases", "GET", "/apis/coordination.k8s.io/v1", pick=resources("leases")),
    step("rights", "GET", "/apis/authorization.k8s.io/v1", pick=resources("selfsubjectaccessreviews")),
    step("who", "GET", "/apis/authentication.k8s.io/v1", pick=resources("selfsubjectreviews")),
    step("no such group", "GET", "/apis/none.example"),
    step("no such version", "GET", "/apis/apps/v9"),
    step("aggregated", "GET", "/apis", pick=lambda answer: answer["kind"],
         Accept="application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
         differs="the plain documents are served, which every client falls back to"),
]

# On the embedded cluster these need its controllers, too: (name of a topology).
CONTROLLED = {"pods": "tiny"}
DIFFERING = sum(bool(one.differs) for steps in CONVERSATIONS.values() for one in steps)
