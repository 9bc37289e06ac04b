# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""access_check_info against an embedded cluster, and the table of rights against what the modules really ask for."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import access as asking
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import argument_spec, outcome
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import to_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import access
from ansible_collections.bigvm.live_migration.plugins.modules import (
    access_check_info,
    evacuation_plan_info,
    hco_live_migration_config,
    maintenance_interlocks,
    migrate_vmi,
    migration_policy,
    node_drain,
    node_gate_info,
    node_hold,
    vm_migratable_facts,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.in_process import StandIn
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import rest
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.access import verb_of
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.wire import Request

ALL = [{"verbs": ["*"], "resources": ["*"]}]
KEY = "canary-in-the-token"


@pytest.fixture(scope="module")
def tiny(shared):
    return shared(topology="tiny")


def run(module, connection, check_mode=False, **options):
    """``(failed, result)`` of a module's function with options as Ansible validates them."""
    validator = ArgumentSpecValidator(argument_spec(**module.SPEC), **getattr(module, "CONSTRAINTS", {}))
    validated = validator.validate(dict(connection, **options))
    assert validated.error_messages == []
    stand_in = StandIn(validated.validated_parameters, check_mode, False)
    failed, result = outcome(module.execute, stand_in)
    return failed, dict(result, warnings=stand_in.warnings)


def checked(c, api_key=None, **options):
    failed, result = run(access_check_info, dict(c.connection, **({"api_key": api_key} if api_key else {})), **options)
    assert not failed, result["msg"]
    return result


def restricted(c, rules, **more):
    return c.api.create("/bigvm/v1/tokens", dict({"user": "night", "rules": rules}, **more))["api_key"]


def test_with_all_rights_nothing_is_missing(tiny):
    before = len(tiny.requests())
    found = checked(tiny, features=["maintain", "settings_hold", "drain", "interlocks", "cluster_settings"], node="node-a")
    assert found["missing"] == [] and found["problems"] == [] and found["changed"] is False
    assert found["lines"][0].startswith("rights: all ")
    asked = tiny.requests()[before:]
    assert len(asked) <= 50
    assert not [row for row in asked if row["method"] != "GET" and not row["path"].endswith("/selfsubjectaccessreviews")]


def test_what_is_missing_is_named_with_what_is_lost(tiny):
    token = restricted(tiny, [{"verbs": ["get", "list", "watch"], "resources": ["*"]}])
    found = checked(tiny, api_key=token, node="node-a")
    by = {(row["verb"], row["resource"]): row for row in found["missing"]}
    assert by["create", "virtualmachineinstancemigrations"]["required"] is True
    assert ("patch", "nodes") in by and ("create", "leases") in by and ("list", "nodes") not in by
    texts = [row["message"] for row in found["problems"] if row["severity"] == "blocker"]
    assert any("no migration can be started" in text for text in texts)
    assert any("kubevirt.io:migrate" in row["remedy"] for row in found["problems"])
    severities = [row["severity"] for row in found["problems"]]
    assert severities == sorted(severities), "blockers first"
    assert max(map(len, found["lines"])) <= 80


def test_rights_that_are_granted_by_namespace_count(tiny):
    rules = [{"verbs": ["*"], "resources": ["*"], "namespaces": ["default", "kubevirt-hyperconverged", "openshift-cnv"]},
             {"verbs": ["*"], "resources": ["nodes", "kubevirts.kubevirt.io"]}]
    token = restricted(tiny, rules)
    found = checked(tiny, api_key=token, namespaces=["default"], features=["migrate", "hold"])
    assert not [row for row in found["missing"] if row["required"]]
    found = checked(tiny, api_key=token, features=["migrate"], namespaces=["default", "sap"])
    row = next(row for row in found["missing"] if row["verb"] == "create")
    assert row["namespaces"] == ["sap"]


def test_the_token_must_last_an_hour_beyond_the_end(tiny):
    token = restricted(tiny, ALL, expires=3 * 3600)
    end = tiny.api.clock.now() + 2.5 * 3600
    found = checked(tiny, api_key=token, expected_end=to_timestamp(end))
    problem, = found["problems"]
    assert problem["code"] == "token_expires" and problem["severity"] == "blocker"
    assert found["token"]["kind"] == "api_key" and found["token"]["expires"].endswith("Z")
    assert checked(tiny, api_key=token, expected_end=to_timestamp(end - 3600))["problems"] == []
    assert token not in json.dumps(found)


def test_a_token_file_is_renewed_and_may_be_short(tiny, tmp_path):
    import yaml

    (tmp_path / "token").write_text(restricted(tiny, ALL, expires=600))
    (tmp_path / "config").write_text(yaml.safe_dump({
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": tiny.connection["host"],
                                               "certificate-authority": tiny.connection["ca_cert"]}}],
        "users": [{"name": "u", "user": {"tokenFile": "token"}}]}))
    end = to_timestamp(tiny.api.clock.now() + 9000)
    failed, found = run(access_check_info, {"kubeconfig": str(tmp_path / "config")}, expected_end=end)
    assert not failed and found["problems"] == []
    assert found["token"]["kind"] == "token_file" and found["token"]["rereadable"] is True and found["token"]["expires"]


def test_a_run_in_a_pod_of_the_node_is_refused(tiny, tmp_path, monkeypatch):
    (tmp_path / "namespace").write_text("default")
    tiny.api.create("/api/v1/namespaces/default/pods", {
        "metadata": {"name": "runner-1"}, "spec": {"nodeName": "node-a", "containers": [{"name": "c", "image": "i"}]}})
    monkeypatch.setenv("POD_NAME", "runner-1")
    monkeypatch.setattr(asking.own_pod, "__defaults__", (None, str(tmp_path)))
    problem, = checked(tiny, node="node-a", features=["preflight"])["problems"]
    assert problem["code"] == "own_pod_on_node" and "default/runner-1" in problem["message"]
    assert checked(tiny, node="node-b", features=["preflight"])["problems"] == []


# -- the table tells the truth ---------------------------------------------------------------------------------------


VMS = [{"name": "vm-1", "namespace": "default"}]
# feature: module, options
DOES = {
    "preflight": (vm_migratable_facts, {}),
    "plan": (evacuation_plan_info, {"node": "node-a"}),
    "migrate": (migrate_vmi, {"vms": VMS, "target_node": "node-b", "progress_interval": 0}),
    "hold": (node_hold, {"name": "node-a", "run": "r1"}),
    "node_gate": (node_gate_info, {"node": "node-b", "before": {}, "wait": "0"}),
    "interlocks_check": (maintenance_interlocks, {"node": "node-a", "run": "r1"}),
    "settings_hold": (migration_policy, {"state": "held", "run": "r1", "settings": {"allow_auto_converge": True}}),
    "cluster_settings": (hco_live_migration_config, {"progress_timeout": 300, "hold": "r1"}),
    "drain": (node_drain, {"node": "node-b", "timeout": "2min", "progress_interval": 0}),
}
AFTER = {
    "hold": [(node_hold, {"name": "node-a", "state": "read"}), (node_hold, {"name": "node-a", "state": "released", "run": "r1"})],
    "settings_hold": [(migration_policy, {"state": "restored", "run": "r1"})],
    "cluster_settings": [(hco_live_migration_config, {"state": "restored", "hold": "r1"})],
}


def options_of(c, feature):
    options = dict(DOES[feature][1])
    if feature == "settings_hold":
        vmi = c.api.get("/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances/vm-1")
        options["vms"] = [dict(VMS[0], uid=vmi["metadata"]["uid"])]
    return options


def asked_for(rows):
    """``{(group, resource, verb)}`` of an audit log."""
    found = set()
    for row in rows:
        target = rest.parse(row["path"])
        if target is not None and not row["path"].startswith("/bigvm/") and target.plural != "selfsubjectaccessreviews":
            resource = target.plural + ("/" + target.subresource if target.subresource else "")
            found.add((target.group, resource, verb_of(Request(row["method"], row["path"], row["query"]), target)))
    return found


@pytest.fixture(scope="module")
def yard(shared, tmp_path_factory):
    path = tmp_path_factory.mktemp("yard") / "yard.yml"
    path.write_text(json.dumps({"extends": "tiny", "pods": [
        {"name": "web", "namespace": "web", "node": "node-b", "budget": {"minAvailable": 1}}]}))
    made = shared(topology=str(path))
    made.api.patch("/api/v1/nodes/node-b", {"spec": {"unschedulable": True}})
    return made


@pytest.mark.parametrize("feature", sorted(set(DOES) - {"migrate"}) + ["migrate"])
def test_what_a_module_asks_for_is_in_the_table(yard, feature):
    if feature == "migrate":
        yard.api.patch("/api/v1/nodes/node-b", {"spec": {"unschedulable": None}})
    before = len(yard.requests())
    module, options = DOES[feature][0], options_of(yard, feature)
    failed, result = run(module, yard.connection, **options)
    assert not failed or feature in ("drain", "node_gate"), result["msg"]  # the budget keeps the one pod there
    for after, more in AFTER.get(feature, ()):
        failed, result = run(after, yard.connection, **more)
        assert not failed, result["msg"]
    allowed = {row[1:4] for row in access.needs([feature])}
    assert asked_for(yard.requests()[before:]) <= allowed
    # and it asks for something of the feature's own
    assert asked_for(yard.requests()[before:]) & {row[1:4] for row in access.TABLE if row.feature == feature}


# Where a module ends well and says that it could not look: the role refuses to go on with these.
TOLD = ("interlock_unreadable", '"verdict": "unknown"', "handler_unreadable")
VERBS = ["get", "list", "watch", "create", "update", "patch", "delete"]


def without(need):
    """Rules for everything but one right."""
    names = sorted({access.title(row).partition(" ")[2] for row in access.TABLE})
    left_out = access.title(need).partition(" ")[2]
    return [{"verbs": [verb for verb in VERBS if name != left_out or verb != need.verb], "resources": [name]} for name in names]


@pytest.mark.long
@pytest.mark.parametrize("feature", sorted(DOES))
def test_a_required_right_is_missed_and_an_optional_one_is_not(tiny, feature):
    module, options = DOES[feature][0], options_of(tiny, feature)
    before = len(tiny.requests())
    failed, result = run(module, tiny.connection, check_mode=True, **options)
    assert not failed, result["msg"]
    asked, untrue = asked_for(tiny.requests()[before:]), []
    for row in access.needs([feature]):
        token = restricted(tiny, without(row))
        failed, result = run(module, dict(tiny.connection, api_key=token), check_mode=True, **options)
        said = json.dumps(result, default=str)
        if not row.required and failed:
            untrue.append("optional, but fails: %s: %s" % (access.title(row), result["msg"]))
        if row.required and row[1:4] in asked and not failed and not any(word in said for word in TOLD):
            untrue.append("required, but ends well: %s" % access.title(row))
    assert not untrue, "\n".join(untrue)
