# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Single objects over the embedded cluster's API: create, replace, delete, and every refusal on the way."""

from __future__ import annotations

import pytest

MAPS = "/api/v1/namespaces/default/configmaps"

pytestmark = pytest.mark.any_cluster


@pytest.fixture
def c(shared):
    return shared(bare=True)


def config_map(name, **more):
    return {"metadata": dict({"name": name}, **more), "data": {"a": "1"}}


def test_create_read_replace_delete(c):
    status, made, headers = c.http("POST", MAPS, config_map("plain"))
    assert status == 201
    assert made["kind"] == "ConfigMap" and made["apiVersion"] == "v1"
    assert made["metadata"]["uid"] and made["metadata"]["creationTimestamp"].endswith("Z")
    assert c.http("GET", MAPS + "/plain")[1] == made
    made["data"]["a"] = "2"
    status, replaced, headers = c.http("PUT", MAPS + "/plain", made)
    assert (status, replaced["data"]) == (200, {"a": "2"})
    assert int(replaced["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    status, gone, headers = c.http("DELETE", MAPS + "/plain")
    assert (status, gone["status"], gone["details"]["uid"]) == (200, "Success", made["metadata"]["uid"])
    status, missing, headers = c.http("GET", MAPS + "/plain")
    assert (status, missing["reason"], missing["message"]) == (404, "NotFound", 'configmaps "plain" not found')
    assert missing["details"] == {"name": "plain", "kind": "configmaps"}


def test_a_write_that_changes_nothing_makes_no_new_version(c):
    made = c.http("POST", MAPS, config_map("same"))[1]
    assert c.http("PUT", MAPS + "/same", made)[1] == made


def test_generated_names_differ_and_keep_their_prefix(c):
    names = {c.http("POST", MAPS, {"metadata": {"generateName": "gen-"}})[1]["metadata"]["name"] for turn in range(5)}
    assert len(names) == 5 and all(name.startswith("gen-") and len(name) == 9 for name in names)


def test_the_same_name_twice(c):
    c.http("POST", MAPS, config_map("twice"))
    status, said, headers = c.http("POST", MAPS, config_map("twice"))
    assert (status, said["reason"], said["message"]) == (409, "AlreadyExists", 'configmaps "twice" already exists')


def test_an_old_version_is_a_conflict(c):
    old = c.http("POST", MAPS, config_map("contested"))[1]
    c.http("PUT", MAPS + "/contested", dict(old, data={"a": "theirs"}))
    status, said, headers = c.http("PUT", MAPS + "/contested", dict(old, data={"a": "ours"}))
    assert (status, said["reason"]) == (409, "Conflict")
    assert said["message"] == ('Operation cannot be fulfilled on configmaps "contested": the object has been modified; please '
                               "apply your changes to the latest version and try again")
    old["metadata"].pop("resourceVersion")
    assert c.http("PUT", MAPS + "/contested", old)[0] == 200


def test_delete_preconditions(c):
    made = c.http("POST", MAPS, config_map("guarded"))[1]
    assert c.http("DELETE", MAPS + "/guarded", {"preconditions": {"uid": "11111111-2222-3333-4444-555555555555"}})[0] == 409
    assert c.http("DELETE", MAPS + "/guarded", {"preconditions": {"resourceVersion": "1"}})[0] == 409
    right = {"preconditions": {"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]}}
    assert c.http("DELETE", MAPS + "/guarded", right)[0] == 200


def test_finalizers_hold_a_deletion_back(c):
    c.http("POST", MAPS, config_map("held", finalizers=["bigvm.io/hold"]))
    status, marked, headers = c.http("DELETE", MAPS + "/held")
    assert status == 200 and marked["metadata"]["deletionTimestamp"]
    again = c.http("DELETE", MAPS + "/held")[1]
    assert again["metadata"]["deletionTimestamp"] == marked["metadata"]["deletionTimestamp"]
    status, said, headers = c.http(
        "PATCH", MAPS + "/held", {"metadata": {"finalizers": ["bigvm.io/hold", "bigvm.io/more"]}},
        content_type="application/merge-patch+json")
    assert status == 422 and "no new finalizers can be added" in said["message"]
    status, last, headers = c.http("PATCH", MAPS + "/held", {"metadata": {"finalizers": None}},
                                   content_type="application/merge-patch+json")
    assert status == 200 and c.http("GET", MAPS + "/held")[0] == 404


def test_dry_run_answers_and_stores_nothing(c):
    assert c.http("POST", MAPS + "?dryRun=All", config_map("dry"))[0] == 201
    assert c.http("GET", MAPS + "/dry")[0] == 404
    c.http("POST", MAPS, config_map("wet"))
    for method, query, body in (("PUT", "?dryRun=All", config_map("wet", labels={"a": "b"})), ("DELETE", "?dryRun=All", None),
                                ("DELETE", "", {"dryRun": ["All"]})):
        assert c.http(method, MAPS + "/wet" + query, body)[0] == 200
    assert "labels" not in c.http("GET", MAPS + "/wet")[1]["metadata"]
    assert c.http("POST", MAPS + "?dryRun=All", config_map("wet"))[0] == 409
    assert c.http("POST", MAPS + "?dryRun=Some", config_map("dry"))[0] == 422


def test_status_of_a_core_kind_is_written_apart(c):
    c.http("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}, "spec": {}, "status": {"phase": "Pending"}})
    node = c.http("GET", "/api/v1/nodes/n1")[1]
    node["metadata"].pop("resourceVersion")  # a real cluster writes to a new node, too
    node["spec"]["unschedulable"] = True
    node["status"] = {"capacity": {"cpu": "4"}}
    changed = c.http("PUT", "/api/v1/nodes/n1", node)[1]
    assert changed["spec"]["unschedulable"] is True and changed["status"]["phase"] == "Pending"
    assert "capacity" not in changed["status"]
    node["spec"] = {}
    changed = c.http("PUT", "/api/v1/nodes/n1/status", node)[1]
    assert changed["spec"]["unschedulable"] is True and changed["status"]["capacity"] == {"cpu": "4"}
    assert c.http("GET", "/api/v1/nodes/n1/status")[1]["status"]["capacity"] == {"cpu": "4"}


def test_yaml_bodies_are_understood(c):
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yaml}\ndata: {since: '2026-01-01'}\n"
    assert c.http("POST", MAPS, text, content_type="application/yaml")[0] == 201


def test_a_namespace_takes_its_objects_along(c):
    made = c.http("POST", "/api/v1/namespaces", {"metadata": {"name": "short-lived"}})[1]
    assert made["status"] == {"phase": "Active"} and made["metadata"]["labels"]["kubernetes.io/metadata.name"] == "short-lived"
    c.http("POST", "/api/v1/namespaces/short-lived/configmaps", config_map("inside"))
    assert c.http("DELETE", "/api/v1/namespaces/short-lived")[0] == 200
    c.until("GET", "/api/v1/namespaces/short-lived/configmaps/inside", lambda code, said: code == 404)


def test_delete_a_collection_by_label(c):
    for name in ("many-1", "many-2"):
        c.http("POST", MAPS, config_map(name, labels={"many": "yes"}))
    assert len(c.http("DELETE", MAPS + "?labelSelector=many%3Dyes")[1]["items"]) == 2
    assert c.http("GET", MAPS + "?labelSelector=many")[1]["items"] == []
