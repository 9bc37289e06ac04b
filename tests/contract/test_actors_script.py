# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The script of a rehearsal: conditions on objects, times, deeds, and what is told of them."""

from __future__ import annotations

import pytest
from kubevirt_steps import Steps

from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors

SCRIPT = "/bigvm/v1/script"
VMIMS = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstancemigrations"
VMIM = "virtualmachineinstancemigrations.kubevirt.io"
NODES = "/api/v1/nodes"


@pytest.fixture
def c(near):
    return near(topology="tiny")


def post(c, *entries):
    return c.api.create(SCRIPT, list(entries))["names"]


def told(c, name):
    return next(row for row in c.api.get(SCRIPT)["items"] if row["name"] == name)


def label(c, node, key):
    return c.api.get("%s/%s" % (NODES, node))["metadata"]["labels"].get(key)


def patch_of(value, **more):
    return {"patch": dict({"resource": "nodes", "name": "node-b", "merge": {"metadata": {"labels": {"seen": value}}}}, **more)}


def test_a_deed_follows_a_phase_after_its_seconds(c):
    assert post(c, {"name": "late", "do": [patch_of("yes")], "after": 7,
                    "when": {"resource": VMIM, "path": "status.phase", "equals": "Running", "namespace": "def*"}}) == ["late"]
    Steps(c).migrate("vm-1")
    c.wait(600)
    assert label(c, "node-b", "seen") == "yes"
    fired, = told(c, "late")["fired"]
    found, = c.api.list(VMIMS).items
    running = next(row["phaseTransitionTimestamp"] for row in found["status"]["phaseTransitionTimestamps"] if row["phase"] == "Running")
    assert fired["object"].startswith("VirtualMachineInstanceMigration/default/") and told(c, "late")["state"] == "done"
    assert seconds(fired["time"]) - seconds(running) == pytest.approx(7, abs=1)


def seconds(text):
    from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp

    return from_timestamp(text)


def test_what_fired_stands_in_the_audit_log(c):
    post(c, {"name": "now", "do": patch_of("1")}, {"name": "never", "do": patch_of("2"), "when": {"time": 9999}})
    c.wait(1)
    rows = [row for row in c.api.get("/bigvm/v1/requests")["items"] if row["method"] == "SCRIPT"]
    assert [(row["path"], row["status"]) for row in rows] == [("/bigvm/v1/script/now", 200)]
    assert told(c, "never") == {"name": "never", "state": "armed", "fired": []}


def test_a_time_with_repeats(c):
    start = c.api.clock.now()
    post(c, {"name": "thrice", "when": {"time": 10}, "after": 5, "every": 60, "times": 3, "do": [patch_of("x")]})
    c.wait(400)
    assert [row["epoch"] - start for row in told(c, "thrice")["fired"]] == [15, 75, 135]


def test_a_condition_counts_again_only_after_it_was_false(c):
    post(c, {"name": "twice", "times": 2, "do": [patch_of("x")],
             "when": {"resource": "nodes", "name": "node-a", "path": "spec.unschedulable", "equals": True}})
    for cordoned in (True, True, None, True, None, True):
        c.api.patch(NODES + "/node-a", {"spec": {"unschedulable": cordoned}, "metadata": {"labels": {"n": str(cordoned)}}})
        c.wait(2)
    assert len(told(c, "twice")["fired"]) == 2


def test_it_holds_for_what_is_there_already_and_looks_into_lists(c):
    post(c, {"name": "ready", "do": [patch_of("x")], "when": {
        "resource": "nodes", "name": "node-a", "path": "status.conditions[type=Ready].status", "equals": "True"}},
        {"name": "label", "do": [patch_of("x")], "when": {
            "resource": "nodes", "path": "metadata.labels[kubernetes.io/hostname]", "equals": "node-b"}})
    c.wait(1)
    assert told(c, "ready")["fired"][0]["object"] == "Node/node-a"
    assert told(c, "label")["fired"][0]["object"] == "Node/node-b"


def test_the_object_that_matched_is_meant_without_a_name(c):
    post(c, {"name": "cancel", "do": [{"delete": {}}],
             "when": {"resource": VMIM, "where": {"spec.vmiName": "vm-1"}, "path": "status.phase", "equals": "Running"}})
    Steps(c).migrate("vm-1")
    c.wait(900)
    assert told(c, "cancel")["fired"] and not c.api.list(VMIMS).items


def test_objects_of_kinds_that_nobody_served_yet(c):
    resource = "clusterversions.config.openshift.io"
    made = {"apiVersion": "config.openshift.io/v1", "kind": "ClusterVersion", "metadata": {"name": "version"}, "spec": {},
            "status": {"desired": {"version": "4.20.1"}}}
    update = {"resource": resource, "name": "version", "merge": {"spec": {"desiredUpdate": {"version": "4.20.2"}}}}
    begun = {"resource": resource, "path": "status.conditions[type=Progressing].status", "equals": "True"}
    post(c, {"name": "upgrade", "do": [{"create": made}, {"patch": update}]},
         {"name": "seen", "do": [patch_of("upgrading")], "when": begun})
    c.wait(5)
    assert label(c, "node-b", "seen") == "upgrading"
    found = c.api.get("/apis/config.openshift.io/v1/clusterversions/version")
    assert [row["state"] for row in found["status"]["history"]] == ["Partial", "Completed"]
    c.wait(3700)
    found = c.api.get("/apis/config.openshift.io/v1/clusterversions/version")
    assert [row["state"] for row in found["status"]["history"]] == ["Completed", "Completed"]


def test_a_deed_that_cannot_be_done_is_told_and_stops_nothing(c):
    post(c, {"name": "odd", "do": [{"patch": {"resource": "nodes", "name": "gone", "merge": {}}}, patch_of("still")]})
    c.wait(1)
    first, second = told(c, "odd")["fired"][0]["did"]
    assert first == {"patch": None, "error": "no nodes is called gone"} and "error" not in second
    assert label(c, "node-b", "seen") == "still"


def test_what_a_reconciler_writes_bears_its_name(c):
    c.api.patch(NODES + "/node-b", {"metadata": {"labels": {"seen": "by-us", "other": "by-us"}}})
    post(c, {"name": "revert", "do": [patch_of("by-git", manager="argocd-controller")], "after": 180, "when": {
        "resource": "nodes", "name": "node-b", "path": "metadata.labels.seen", "equals": "by-us"}})
    c.wait(170)
    assert label(c, "node-b", "seen") == "by-us"
    c.wait(20)
    node = c.api.get(NODES + "/node-b")
    rows = {row["manager"]: row for row in node["metadata"]["managedFields"]}
    assert label(c, "node-b", "seen") == "by-git"
    assert rows["argocd-controller"]["fieldsV1"] == {"f:metadata": {"f:labels": {"f:seen": {}}}}
    assert rows["argocd-controller"]["operation"] == "Update" and rows["argocd-controller"]["time"] == told(c, "revert")["fired"][0]["time"]
    other = next(row for name, row in rows.items() if name != "argocd-controller")
    assert other["fieldsV1"]["f:metadata"]["f:labels"] == {"f:other": {}}


def test_faults_come_at_their_time_and_say_no_token(c):
    post(c, {"name": "outage", "when": {"time": 30}, "do": [{"fault": {"status": 503, "times": 1, "match": "GET /api/v1/nodes$"}}]},
         {"name": "token", "do": [{"fault": {"token_renew": True}}]})
    c.wait(1)
    assert told(c, "token")["fired"][0]["did"] == [{"fault": ["api_key"]}]


def test_a_renewed_token_leaves_the_old_one_alone(c):
    old = c.api
    answer = old.create("/bigvm/v1/faults", {"token_renew": True})["api_key"]
    assert answer == c.app.access.token and old.get(NODES + "/node-a")["metadata"]["name"] == "node-a"


@pytest.mark.parametrize("entry,says", [
    ({"name": "x"}, "no list of deeds"),
    ({"name": "x", "do": [{"explode": {}}]}, "is no deed"),
    ({"name": "x", "do": [{"reboot": {}}]}, "reboot needs node"),
    ({"name": "x", "do": [{"patch": {"merg": {}}}]}, "unknown keys in patch: merg"),
    ({"name": "x", "when": {"phase": "Running"}, "do": []}, "unknown keys in when: phase"),
    ({"name": "x", "every": "soon", "do": []}, "are numbers"),
], ids=["no-deeds", "unknown-deed", "without-node", "misspelt", "condition", "number"])
def test_what_is_wrong_with_an_entry_is_said_at_once(c, entry, says):
    with pytest.raises(errors.LiveMigrationError) as caught:
        post(c, {"name": "good", "do": [patch_of("1")]}, entry)
    assert says in str(caught.value)
    assert c.api.get(SCRIPT)["items"] == []


def test_two_runs_do_the_same_at_the_same_times(near):
    def run():
        c = near(topology="tiny")
        post(c, {"name": "a", "every": 100, "times": 4, "do": [{"evict": {"vmi": "vm-*"}}]},
             {"name": "b", "when": {"resource": VMIM, "path": "status.phase", "equals": "Running"}, "times": 3,
              "do": [{"reboot": {"node": "node-b", "seconds": 60}}]})
        c.wait(1500)
        return c.api.get(SCRIPT)["items"]

    first = run()
    assert first == run() and len(first[1]["fired"]) >= 1


def test_a_script_of_a_topology_and_its_end(near, tmp_path):
    path = tmp_path / "own.yml"
    path.write_text("extends: tiny\nscript:\n  - {name: own, every: 10, do: [{patch: {resource: nodes, name: '*', merge: {}}}]}\n")
    c = near(topology=str(path))
    c.wait(25)
    assert len(told(c, "own")["fired"]) == 3 and told(c, "own")["fired"][0]["did"] == [{"patch": ["Node/node-a", "Node/node-b"]}]
    c.http("DELETE", SCRIPT)
    c.wait(25)
    assert c.api.get(SCRIPT)["items"] == []
