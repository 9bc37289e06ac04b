# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every cluster module against a cluster it cannot work with: one sentence, a failed task, nothing changed."""

from __future__ import annotations

import pytest
import trustme
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import argument_spec, outcome
from ansible_collections.bigvm.live_migration.plugins.modules import (
    access_check_info,
    evacuation_plan_info,
    hco_live_migration_config,
    maintenance_record,
    migrate_vmi,
    migration_policy,
    node_drain,
    node_hold,
    vm_migratable_facts,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.in_process import StandIn

TASKS = {
    "evacuation_plan_info": (evacuation_plan_info, {"node": "node-a"}),
    "hco_live_migration_config": (hco_live_migration_config, {"progress_timeout": 300}),
    "migrate_vmi": (migrate_vmi, {"name": "vm-1", "namespace": "default", "target_node": "node-b"}),
    "migration_policy": (migration_policy, {"name": "p", "vmi_selector": {"app": "db"}, "completion_timeout_per_gib": 300}),
    "node_drain": (node_drain, {"node": "node-a"}),
    "node_hold": (node_hold, {"name": "node-a", "run": "run-1"}),
    "vm_migratable_facts": (vm_migratable_facts, {}),
}

# Lacking rights is no failure of the module that looks for lacking rights.
NEVER_FORBIDDEN = {"access_check_info": (access_check_info, {})}


def run(name, connection, **more):
    """``(failed, result)`` of a module, its options validated as Ansible does it."""
    module, options = dict(TASKS, **NEVER_FORBIDDEN)[name]
    spec = argument_spec(**module.SPEC)
    validated = ArgumentSpecValidator(spec, **getattr(module, "CONSTRAINTS", {})).validate(dict(connection, **options, **more))
    assert validated.error_messages == []
    return outcome(module.execute, StandIn(validated.validated_parameters, False, False))


def one_sentence_for_people(result, *words):
    assert all(word in result["msg"] for word in words), result["msg"]
    assert "Traceback" not in result["msg"] and "exception" not in result
    assert result["changed"] is False


def wrote(cluster):
    return [row for row in cluster.requests() if row["method"] not in ("GET",) and not row["path"].startswith("/bigvm/")]


@pytest.fixture(scope="module")
def tiny(shared):
    return shared(topology="tiny")


@pytest.mark.parametrize("name", sorted(dict(TASKS, **NEVER_FORBIDDEN)))
def test_an_api_that_does_not_answer(name):
    failed, result = run(name, {"host": "https://127.0.0.1:9", "api_key": "token"})
    assert failed
    one_sentence_for_people(result, "https://127.0.0.1:9 does not answer", "Connection refused", "Check the host name")


@pytest.mark.parametrize("name", sorted(dict(TASKS, **NEVER_FORBIDDEN)))
def test_a_certificate_of_somebody_else(name, tiny, tmp_path):
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    before = len(tiny.requests())
    failed, result = run(name, dict(tiny.connection, ca_cert=str(tmp_path / "other.pem")))
    assert failed
    one_sentence_for_people(result, "does not verify", "ca_cert")
    assert len(tiny.requests()) == before, "nothing was sent to it"


@pytest.mark.parametrize("name", sorted(dict(TASKS, **NEVER_FORBIDDEN)))
def test_a_token_that_is_not_accepted(name, tiny):
    failed, result = run(name, dict(tiny.connection, api_key="expired-token"))
    assert failed
    one_sentence_for_people(result, "does not accept the token", "Log in again")
    assert "expired-token" not in result["msg"]


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_token_without_rights(name, tiny):
    failed, result = run(name, dict(tiny.connection, api_key=tiny.token([])))
    assert failed
    one_sentence_for_people(result, "Not allowed to read", "role")
    assert wrote(tiny) == []


def test_who_may_do_nothing_is_told_what_is_missing(tiny):
    failed, result = run("access_check_info", dict(tiny.connection, api_key=tiny.token([])))
    assert not failed and {row["feature"] for row in result["missing"]} >= {"plan", "migrate", "hold", "restore"}


@pytest.mark.parametrize("name, words", [
    ("evacuation_plan_info", "no KubeVirt"), ("migrate_vmi", "no KubeVirt"), ("vm_migratable_facts", "no KubeVirt"),
    ("hco_live_migration_config", "HyperConverged"),
])
def test_a_cluster_without_kubevirt(name, words, shared):
    bare = shared(bare=True)
    failed, result = run(name, bare.connection)
    assert failed
    one_sentence_for_people(result, words)
    assert wrote(bare) == []


def test_the_record_of_a_run_needs_the_cluster_for_its_clock(tmp_path):
    params = dict(dict.fromkeys(argument_spec(**maintenance_record.SPEC)), host="https://127.0.0.1:9", api_key="token",
                  state="opened", kind="preflight", subject="x", directory=str(tmp_path), lines=[], facts={}, migrations=[])
    failed, result = outcome(maintenance_record.execute, StandIn(params, False, False))
    assert failed and "does not answer" in result["msg"]
    assert list(tmp_path.iterdir()) == []
