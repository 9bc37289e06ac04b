# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An API server that is away for a while, answers that get lost, credentials that change: what our client makes of it."""

from __future__ import annotations

import time

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import Api, connect
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import argument_spec, outcome
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.writing import guarded_patch
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.modules import migrate_vmi
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.in_process import StandIn

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def outaged(shared):
    return shared(bare=True)


@pytest.fixture
def spoken(outaged):
    """``(client, lines)``: a client that says something about the server."""
    lines = []
    return Api(outaged.api._source, say=lines.append).handshake(), lines


def settled(outaged):
    """Let what an earlier test began end."""
    outaged.wait(2000)


@pytest.fixture(autouse=True)
def _between(outaged):
    yield
    settled(outaged)


def names(outaged):
    return sorted(item["metadata"]["name"] for item in outaged.api.list(MAPS).items)


def test_ten_minutes_without_api_are_ridden_out_and_said(outaged, spoken):
    api, lines = spoken
    before = api.clock.now()
    outaged.fault(status=503, seconds=600)
    assert api.list("/api/v1/namespaces").items
    assert 600 <= api.clock.now() - before <= 601
    assert len(lines) == 2, lines
    assert "away since" in lines[0] and "(503)" in lines[0] and "back since" in lines[1] and "10 min" in lines[1]


def test_longer_than_ten_minutes_is_a_failure_that_says_so(outaged, spoken):
    api, lines = spoken
    before = api.clock.now()
    outaged.fault(status=503, seconds=900)
    with pytest.raises(errors.Overloaded, match="503"):
        api.list("/api/v1/namespaces")
    assert 600 <= api.clock.now() - before <= 601
    assert len(lines) == 1 and "away since" in lines[0]


def test_an_outage_of_one_path_leaves_the_others_and_the_clock_alone(outaged):
    outaged.fault(status=503, seconds=60, match="/api/v1/namespaces/default/")
    assert outaged.http("GET", MAPS)[0] == 503
    assert outaged.http("GET", "/api/v1/nodes")[0] == 200
    assert outaged.http("GET", "/bigvm/v1/clock")[0] == 200
    outaged.wait(61)
    assert outaged.http("GET", MAPS)[0] == 200


def test_a_lost_answer_to_a_guarded_patch_is_neither_lost_nor_done_twice(outaged, spoken):
    api = spoken[0]
    api.create(MAPS, {"metadata": {"name": "counter"}, "data": {"n": "0"}})
    outaged.fault(lost=True, match="PATCH .*/counter")
    decided = []

    def decide(found):
        decided.append(found["data"]["n"])
        return {"data": {"n": "1"}} if found["data"]["n"] == "0" else None

    before, after = guarded_patch(api, MAPS + "/counter", decide)
    assert after["data"]["n"] == "1"
    assert decided == ["0", "1"]
    assert [row["status"] for row in outaged.requests("PATCH", "/counter")] == [200, 409]


def test_an_unguarded_patch_is_not_sent_again(outaged, spoken):
    api = spoken[0]
    api.create(MAPS, {"metadata": {"name": "bare"}})
    outaged.fault(lost=True, match="PATCH .*/bare")
    with pytest.raises(errors.Unreachable):
        api.patch(MAPS + "/bare", {"data": {"x": "1"}})
    assert len(outaged.requests("PATCH", "/bare")) == 1


def made(outaged, mark):
    return [name for name in names(outaged) if name.startswith(mark)]


def test_a_creation_whose_answer_got_lost_is_looked_for(outaged, spoken):
    api, lines = spoken
    outaged.fault(lost=True, match="POST .*/configmaps")
    outaged.fault(status=503, seconds=120, match="GET .*/configmaps")
    body = {"metadata": {"generateName": "lost-", "labels": {"run": "r1"}}}

    def found():
        return next(iter(api.list(MAPS, labelSelector="run=r1").items), None)

    answer = api.create(MAPS, body, found=found)
    assert [answer["metadata"]["name"]] == made(outaged, "lost-")
    assert len(outaged.requests("POST", "/configmaps")) and len(made(outaged, "lost-")) == 1
    assert any("away since" in line for line in lines)


def test_a_creation_that_was_refused_on_the_way_is_sent_again_once_it_is_known_not_to_be_there(outaged, spoken):
    api = spoken[0]
    outaged.fault(status=503, times=1, match="POST .*/configmaps")
    looked = []
    answer = api.create(MAPS, {"metadata": {"generateName": "again-"}}, found=lambda: looked.append(1))
    assert looked == [1] and made(outaged, "again-") == [answer["metadata"]["name"]]


def test_a_creation_that_may_have_happened_is_never_repeated_blindly(outaged, spoken):
    api = spoken[0]
    outaged.fault(lost=True, match="POST .*/configmaps")
    with pytest.raises(errors.Unreachable):
        api.create(MAPS, {"metadata": {"generateName": "blind-"}})
    assert len(made(outaged, "blind-")) == 1
    outaged.fault(status=504, done=True, match="POST .*/configmaps")
    with pytest.raises(errors.Overloaded, match="504"):
        api.create(MAPS, {"metadata": {"generateName": "blind-"}})
    assert len(made(outaged, "blind-")) == 2, "the request was carried out before it was answered with 504"


def test_an_object_with_a_name_cannot_be_created_twice(outaged, spoken):
    api = spoken[0]
    outaged.fault(lost=True, match="POST .*/configmaps")
    with pytest.raises(errors.Conflict):
        api.create(MAPS, {"metadata": {"name": "only-one"}})
    assert made(outaged, "only-one") == ["only-one"]


# -- a whole migration ---------------------------------------------------------------------------------------------


def migrated(c, say, **options):
    """``(failed, result, lines)`` of migrate_vmi, its lines heard as they come."""
    spec = argument_spec(**migrate_vmi.SPEC)
    found = ArgumentSpecValidator(spec, **migrate_vmi.CONSTRAINTS).validate(dict(
        c.connection, vms=[{"name": "vm-1", "namespace": "default"}], target_node="node-b", progress_interval=10, **options))
    assert not found.error_messages
    lines = []

    def heard(line):
        lines.append(line)
        say(line)

    failed, result = outcome(migrate_vmi.execute, StandIn(found.validated_parameters, False, False), heard)
    return failed, result, lines


@pytest.mark.parametrize("seconds", [30, 590], ids=["it goes on longer", "it ends meanwhile"])
def test_a_control_plane_that_is_rolled_in_the_middle_of_a_copy(cluster, seconds):
    c = cluster(topology="tiny")
    slow = {"rehearsal.bigvm.io/link": "500M"}  # 70 s
    c.api.patch("/api/v1/nodes/node-a", {"metadata": {"annotations": slow}})
    away = []

    def roll(line):
        if not away and "copy" in line:
            away.append(c.fault(status=503, seconds=seconds, drop_watches=True))

    failed, result, lines = migrated(c, roll, timeout="3h")
    assert away and not failed, result.get("msg")
    assert [row["outcome"] for row in result["migrations"]] == ["moved"]
    assert sum("API server away since" in line for line in lines) == 1, lines
    assert sum("API server back since" in line for line in lines) == 1, lines
    vmims = c.api.list("/apis/kubevirt.io/v1/virtualmachineinstancemigrations").items
    assert len(vmims) == 1


@pytest.mark.long
@pytest.mark.parametrize("fault", [{"status": 503, "times": 1}, {"lost": True}, {"status": 504, "done": True}],
                         ids=["not done", "done, connection cut", "done, timed out"])
def test_a_migration_whose_creation_is_not_answered_exists_once(cluster, fault):
    c = cluster(topology="tiny")
    c.fault(match="POST .*virtualmachineinstancemigrations$", **fault)
    failed, result, _lines = migrated(c, lambda line: None, timeout="1h")
    assert not failed, result["msg"]
    assert [row["outcome"] for row in result["migrations"]] == ["moved"]
    assert len(c.api.list("/apis/kubevirt.io/v1/virtualmachineinstancemigrations").items) == 1


# -- credentials -------------------------------------------------------------------------------------------------


def connected(**options):
    params = dict(dict.fromkeys(argument_spec()), **options)
    return connect(StandIn(params, False, False))


def token_kubeconfig(outaged, folder, token):
    (folder / "token").write_text(token)
    path = folder / "config"
    path.write_text(yaml.safe_dump({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": outaged.connection["host"],
                                               "certificate-authority": outaged.connection["ca_cert"]}}],
        "users": [{"name": "u", "user": {"tokenFile": "token"}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    }))
    return str(path)


ALL = [{"verbs": ["*"], "resources": ["*"]}]


def test_a_token_file_is_read_anew_on_401_and_the_request_sent_again(outaged, tmp_path):
    first = outaged.api.create("/bigvm/v1/tokens", {"user": "night", "rules": ALL, "expires": 3600})["api_key"]
    api = connected(kubeconfig=token_kubeconfig(outaged, tmp_path, first))
    assert api.token() == first
    api.create(MAPS, {"metadata": {"name": "before-midnight"}})
    outaged.wait(3601)
    second = outaged.token(ALL, user="later")
    (tmp_path / "token").write_text(second)
    assert api.create(MAPS, {"metadata": {"generateName": "after-midnight-"}})["metadata"]["name"]
    assert api.token() == second
    assert len(made(outaged, "after-midnight-")) == 1


def test_a_token_that_nobody_renewed_ends_it_at_once(outaged, tmp_path):
    first = outaged.api.create("/bigvm/v1/tokens", {"user": "short", "rules": ALL, "expires": 10})["api_key"]
    api = connected(kubeconfig=token_kubeconfig(outaged, tmp_path, first))
    outaged.wait(11)
    before = len(outaged.requests("GET", "/configmaps"))
    with pytest.raises(errors.Unauthorized) as caught:
        api.list(MAPS)
    assert first not in str(caught.value)
    assert len(outaged.requests("GET", "/configmaps")) - before == 2


def test_while_the_server_is_in_trouble_a_401_is_trouble_too(outaged, spoken):
    api = spoken[0]
    outaged.fault(status=503, times=1, match="GET .*/configmaps")
    outaged.fault(status=401, times=3, match="GET .*/configmaps")
    assert api.list(MAPS) is not None


# -- the first contact -------------------------------------------------------------------------------------------


def test_the_first_contact_fails_at_once(outaged):
    began = time.monotonic()
    with pytest.raises(errors.Unreachable, match="does not answer"):
        connected(host="https://127.0.0.1:9", api_key="token")
    outaged.fault(status=503, times=1, match="/version")
    with pytest.raises(errors.Overloaded):
        connected(**outaged.connection)
    assert time.monotonic() - began < 5


def test_a_later_task_of_a_run_waits_for_the_server(outaged, monkeypatch):
    monkeypatch.setenv("BIGVM_REHEARSAL", "1")
    monkeypatch.setenv("BIGVM_API_PATIENCE", "600")
    before = outaged.api.clock.now()
    outaged.fault(status=503, seconds=300)
    api = connected(**outaged.connection)
    assert api.clock.simulated and 300 <= api.clock.now() - before <= 331


def test_a_later_task_still_refuses_a_real_cluster_in_a_rehearsal(outaged, monkeypatch):
    monkeypatch.setenv("BIGVM_REHEARSAL", "1")
    monkeypatch.setenv("BIGVM_API_PATIENCE", "600")
    monkeypatch.setattr("ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api.REHEARSAL_MARK", "+x")
    with pytest.raises(errors.NotOurCluster):
        connected(**outaged.connection)
