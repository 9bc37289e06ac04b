# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Custom resources: what their schemas prune, fill in and refuse; versions; status apart; the real definitions."""

from __future__ import annotations

import glob
import os

import pytest

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import crds
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.clock import SimClock
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.store import Store

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
OLD = "/apis/test.bigvm.io/v1beta1/namespaces/default/gadgets"
NEW = "/apis/test.bigvm.io/v1/namespaces/default/gadgets"
MERGE = "application/merge-patch+json"
SPEC = {
    "type": "object", "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 10},
        "mode": {"type": "string", "enum": ["fast", "slow"], "default": "slow"},
        "rate": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True,
                 "pattern": "^[0-9]+(Mi|Gi)?$"},
        "name": {"type": "string", "minLength": 2, "maxLength": 5, "nullable": True},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2, "x-kubernetes-list-type": "set"},
        "disks": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                  "items": {"type": "object", "required": ["name"], "properties": {
                      "name": {"type": "string"}, "bus": {"type": "string", "default": "virtio"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {
            "closed": {"type": "object", "properties": {"known": {"type": "boolean"}}}}},
        "inner": {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {"type": "object"}}},
        "deep": {"type": "object", "default": {}, "properties": {"level": {"type": "integer", "default": 3}}},
    },
}
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "gadgets.test.bigvm.io"},
    "spec": {
        "group": "test.bigvm.io", "scope": "Namespaced",
        "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList", "shortNames": ["gd"]},
        "versions": [{
            "name": name, "served": True, "storage": name == "v1", "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": SPEC, "status": {"type": "object", "properties": {"phase": {"type": "string"}}}}}},
        } for name in ("v1beta1", "v1")],
    },
}


pytestmark = pytest.mark.any_cluster


@pytest.fixture(scope="module")
def c(shared):
    made = shared(bare=True)
    made.define(CRD)
    return made


def gadget(**spec):
    return {"apiVersion": "test.bigvm.io/v1", "kind": "Gadget", "metadata": {"generateName": "g-"}, "spec": dict({"size": 1}, **spec)}


def create(c, body, status=201, path=NEW):
    code, answer, headers = c.http("POST", path, body)
    assert code == status, answer
    return answer


def test_a_new_definition_is_served_and_established(c):
    crd = c.http("GET", CRDS + "/gadgets.test.bigvm.io")[1]
    states = {condition["type"]: condition["status"] for condition in crd["status"]["conditions"]}
    assert states == {"NamesAccepted": "True", "Established": "True"}
    listed = c.http("GET", "/apis/test.bigvm.io/v1")[1]["resources"]
    assert {"gadgets", "gadgets/status"} <= {entry["name"] for entry in listed}
    assert next(entry for entry in listed if entry["name"] == "gadgets")["shortNames"] == ["gd"]
    group = next(group for group in c.http("GET", "/apis")[1]["groups"] if group["name"] == "test.bigvm.io")
    assert [version["version"] for version in group["versions"]] == ["v1", "v1beta1"]
    assert group["preferredVersion"]["version"] == "v1"


def test_unknown_fields_are_pruned_with_a_warning(c):
    body = gadget(unknown=1, open={"any": 1, "closed": {"known": True, "not": 1}}, disks=[{"name": "a", "color": "red"}])
    status, made, headers = c.http("POST", NEW, body)
    assert status == 201
    assert "unknown" not in made["spec"] and made["spec"]["open"] == {"any": 1, "closed": {"known": True}}
    assert made["spec"]["disks"] == [{"name": "a", "bus": "virtio"}]
    assert '299 - "unknown field \\"spec.unknown\\""' in headers["warning"]
    assert 'spec.disks[0].color' in headers["warning"] and 'spec.open.closed.not' in headers["warning"]


def test_strict_validation_refuses_unknown_fields(c):
    status, said, headers = c.http("POST", NEW + "?fieldValidation=Strict", gadget(unknown=1))
    assert status == 400 and 'strict decoding error: unknown field "spec.unknown"' in said["message"]
    status, made, headers = c.http("POST", NEW + "?fieldValidation=Ignore", gadget(unknown=1))
    assert status == 201 and "warning" not in headers


def test_defaults_are_filled_in_at_every_depth(c):
    made = create(c, gadget(disks=[{"name": "a"}]))
    assert made["spec"] == {"size": 1, "mode": "slow", "deep": {"level": 3}, "disks": [{"name": "a", "bus": "virtio"}]}
    made = create(c, gadget(mode=None, deep={"level": 5}))
    assert made["spec"]["mode"] == "slow" and made["spec"]["deep"] == {"level": 5}


def test_what_the_schema_allows(c):
    for spec in ({"rate": 5}, {"rate": "5Gi"}, {"name": None}, {"labels": {"a": "b"}},
                 {"inner": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {}}}):
        made = create(c, gadget(**spec))
        assert all(made["spec"][key] == value for key, value in spec.items())


def test_dry_run_validates(c):
    create(c, gadget(size=0), 422, NEW + "?dryRun=All")
    assert create(c, gadget(), 201, NEW + "?dryRun=All")["spec"]["mode"] == "slow"


def test_spec_and_status_are_written_apart_and_generation_counts_the_spec(c):
    made = create(c, dict(gadget(), status={"phase": "Sneaky"}))
    assert made["metadata"]["generation"] == 1 and "status" not in made
    path = NEW + "/" + made["metadata"]["name"]
    made = c.http("PUT", path + "/status", dict(made, spec={"size": 9}, status={"phase": "Running"}))[1]
    assert (made["spec"]["size"], made["status"], made["metadata"]["generation"]) == (1, {"phase": "Running"}, 1)
    made = c.http("PATCH", path, {"spec": {"size": 2}, "status": {"phase": "Other"}}, content_type=MERGE)[1]
    assert (made["spec"]["size"], made["status"], made["metadata"]["generation"]) == (2, {"phase": "Running"}, 2)
    made = c.http("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)[1]
    assert made["metadata"]["generation"] == 2
    made = c.http("PATCH", path + "/status", {"metadata": {"labels": {"a": "c"}}, "status": {"phase": "Done"}}, content_type=MERGE)[1]
    assert made["metadata"]["labels"] == {"a": "b"} and made["status"] == {"phase": "Done"}


def test_a_replace_needs_a_version(c):
    made = create(c, gadget())
    del made["metadata"]["resourceVersion"]
    status, said, headers = c.http("PUT", NEW + "/" + made["metadata"]["name"], made)
    assert status == 422 and "metadata.resourceVersion: Invalid value: 0: must be specified for an update" in said["message"]


def test_both_versions_show_the_same_objects(c):
    made = create(c, dict(gadget(size=4), apiVersion="test.bigvm.io/v1beta1"), path=OLD)
    assert made["apiVersion"] == "test.bigvm.io/v1beta1"
    name = made["metadata"]["name"]
    new = c.http("GET", NEW + "/" + name)[1]
    assert new["apiVersion"] == "test.bigvm.io/v1" and new["spec"] == made["spec"]
    old = [item for item in c.http("GET", OLD)[1]["items"] if item["metadata"]["name"] == name]
    assert old == [made]
    create(c, dict(gadget(), apiVersion="test.bigvm.io/v1"), 400, OLD)


def test_fields_to_select_by_are_those_of_metadata(c):
    status, said, headers = c.http("GET", NEW + "?fieldSelector=spec.size%3D1")
    assert status == 400
    assert said["message"] == "field label not supported: spec.size"


@pytest.mark.embedded("a real server names every consequence; see test_api_answers.py")
@pytest.mark.parametrize("change, words", [
    ({"metadata": {"name": "other.test.bigvm.io"}}, 'must be spec.names.plural+"."+spec.group'),
    ({"spec": {"group": "test.bigvm.io"}}, "spec.names.plural: Required value"),
])
def test_a_definition_that_cannot_be_meant(c, change, words):
    assert words in create(c, dict(CRD, **change), 422, CRDS)["message"]


def test_deleting_a_definition_ends_its_service(c):
    crd = dict(CRD, metadata={"name": "gizmos.test.bigvm.io"}, spec=dict(CRD["spec"], names={"plural": "gizmos", "kind": "Gizmo"}))
    c.define(crd)
    assert c.http("DELETE", CRDS + "/gizmos.test.bigvm.io")[0] == 200
    c.until("GET", "/apis/test.bigvm.io/v1/namespaces/default/gizmos", lambda code, said: code == 404)


@pytest.mark.embedded("about the store itself")
def test_a_converter_makes_the_other_version():
    store = Store(SimClock(0))
    crds.install(store)
    crds.add(store, [CRD])

    def convert(obj, version):
        spec = dict(obj["spec"])
        value = spec.pop("size", None)
        return dict(obj, spec=dict(spec, size=value * 2 if version == "v1" else value // 2))

    store.resource("gadgets.test.bigvm.io").convert = convert
    crds.add(store, [CRD])  # a new edition of the definition keeps its converter
    made = store.create("gadgets.test.bigvm.io", {
        "apiVersion": "test.bigvm.io/v1beta1", "metadata": {"name": "a", "namespace": "default"}, "spec": {"size": 3}})
    assert made["apiVersion"] == "test.bigvm.io/v1" and made["spec"]["size"] == 6
    assert b'"size":3' in store.entry("gadgets.test.bigvm.io", "default", "a").encoded("v1beta1")


@pytest.mark.long
@pytest.mark.parametrize("generation", ["1.3-hco-1.13", "1.6-hco-1.16", "1.9-hco-1.19"])
def test_the_real_definitions_load_unchanged(cluster, shared_folder, generation, tmp_path):
    for folder in ("kubevirt-" + generation, "platform"):
        for path in glob.glob(os.path.join(shared_folder, "crds", folder, "*.yaml")):
            (tmp_path / os.path.basename(path)).symlink_to(path)
    c = cluster(bare=True, crds=tmp_path)
    names = {crd["metadata"]["name"] for crd in c.http("GET", CRDS)[1]["items"]}
    assert names - {"gadgets.test.bigvm.io"} == {path.name[:-5] for path in tmp_path.iterdir()} and len(names) >= 17
    vmims = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstancemigrations"
    vmim = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration"}
    made = create(c, {**vmim, "metadata": {"name": "m"}, "spec": {"vmiName": "v", "addedNodeSelector": {"a": "b"}}}, path=vmims)
    assert ("addedNodeSelector" in made["spec"]) == (generation[:3] != "1.3")
    assert c.http("DELETE", vmims + "/m")[0] == 200
    said = create(c, {**vmim, "metadata": {"name": "n"}, "spec": {"vmiName": 5}}, 422, vmims)
    assert 'spec.vmiName in body must be of type string: "integer"' in said["message"]


def test_the_default_settings_of_a_release(cluster, shared_folder):
    c = cluster(bare=True, crds=os.path.join(shared_folder, "crds", "kubevirt-1.9-hco-1.19"))
    path = "/apis/hco.kubevirt.io/v1/namespaces/default/hyperconvergeds"
    made = create(c, {"apiVersion": "hco.kubevirt.io/v1", "kind": "HyperConverged",
                      "metadata": {"name": "kubevirt-hyperconverged"}, "spec": {}}, path=path)
    settings = made["spec"]["virtualization"]["liveMigrationConfig"]
    assert (settings["completionTimeoutPerGiB"], settings["parallelOutboundMigrationsPerNode"]) == (20, 1)
    assert settings["allowWorkloadDisruption"] is False
