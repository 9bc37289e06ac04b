# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""node_drain against embedded clusters with pods, owners and budgets."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import lease
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import Task
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import to_timestamp
from ansible_collections.bigvm.live_migration.plugins.modules import node_drain

WEB = {"name": "web", "namespace": "web", "node": "node-a", "count": 3, "empty_dir": True}
PODS = [
    WEB,
    {"name": "db", "namespace": "shop", "kind": "StatefulSet", "node": "node-a", "grace": 90},
    {"name": "agent", "namespace": "infra", "kind": "DaemonSet"},
    {"name": "kube-proxy", "namespace": "kube-system", "kind": "Mirror", "node": "node-a"},
    {"name": "lonely", "namespace": "shop", "kind": "Bare", "node": "node-a"},
    {"name": "done", "namespace": "shop", "kind": "Finished", "node": "node-a"},
]


class Done:
    """What a run of the module came to."""

    def __init__(self, result, message, lines, warnings):
        self.result, self.message, self.lines, self.warnings = result, message, lines, warnings
        self.evicted = ["%(namespace)s/%(name)s" % row for row in result.get("evicted") or []]
        self.left = {row["name"].rsplit("-", 1)[0] if row["code"] == "daemon_set" else row["name"]: row["code"]
                     for row in result.get("left") or []}


def drained(c, node="node-a", api=None, check_mode=False, say=None, **options):
    checked = ArgumentSpecValidator(node_drain.SPEC, **node_drain.CONSTRAINTS).validate(dict(options, node=node))
    assert not checked.error_messages
    lines, warnings = [], []

    def heard(line):
        lines.append(line)
        if say:
            say(line)

    task = Task(checked.validated_parameters, api or c.client(dry_run=check_mode), check_mode, heard, warnings.append)
    try:
        return Done(node_drain.execute(task), None, lines, warnings)
    except errors.LiveMigrationError as exc:
        return Done(exc.details, str(exc), lines, warnings)


@pytest.fixture
def yard(cluster, tmp_path):
    def made(pods=None):
        path = tmp_path / "yard.yml"
        path.write_text(json.dumps({"extends": "tiny", "pods": PODS if pods is None else pods}))
        c = cluster(topology=str(path))
        c.api.patch("/api/v1/nodes/node-a", {"spec": {"unschedulable": True}})
        return c

    return made


def on_node(c, node="node-a"):
    return sorted("%(namespace)s/%(name)s" % pod["metadata"] for pod in c.api.list(
        "/api/v1/pods", fieldSelector="spec.nodeName=%s" % node).items if pod["metadata"]["namespace"] in (
            "web", "shop", "infra", "kube-system"))


def writes(c):
    return [row for row in c.requests() if row["method"] != "GET" and not row["path"].startswith("/bigvm/")]


def test_what_would_come_again_elsewhere_is_evicted_and_the_rest_named(yard):
    c = yard()
    before = len(writes(c))
    done = drained(c, timeout="10min")
    assert done.message is None and done.result["changed"] is True
    assert sorted(name.split("-")[0] for name in done.evicted) == ["shop/db", "web/web", "web/web", "web/web"]
    assert done.left["lonely-0"] == "unmanaged" and done.left["done-0"] == "finished"
    assert "static" in done.left.values() and "daemon_set" in done.left.values() and "vm" in done.left.values()
    asked = writes(c)[before:]
    assert {row["method"] for row in asked} == {"POST"} and all(row["path"].endswith("/eviction") for row in asked)
    assert not any("launcher" in row["path"] for row in asked), "the pods of VMs are never asked"
    whole = " ".join(line.strip() for line in done.result["lines"])
    assert "4 pods evicted" in whole and "shop/lonely-0: nothing would create it again" in whole
    assert "emptyDir volumes went with: web/web" in whole
    assert "left alone: a VM's pod is migrated" in whole
    assert max(map(len, done.result["lines"] + done.lines)) <= 80
    assert not any("web" in name or "db" in name for name in on_node(c))
    vmis = c.api.list("/apis/kubevirt.io/v1/virtualmachineinstances").items
    assert not any(vmi["status"].get("evacuationNodeName") for vmi in vmis)


def test_its_end_is_watched_and_not_polled(yard):
    c = yard()
    before = c.api.clock.now()
    drained(c, timeout="10min", progress_interval=0)
    assert 90 <= c.api.clock.now() - before <= 93, "the StatefulSet's pod takes 90 s"
    reads = [row for row in c.requests("GET", "/api/v1/pods") if "spec.nodeName" in row["query"]]
    assert len(reads) <= 3


def test_a_second_time_there_is_nothing_to_do(yard):
    c = yard()
    drained(c, timeout="10min")
    again = drained(c, timeout="10min")
    assert again.message is None and again.result["changed"] is False and again.evicted == []


def test_a_budget_that_lets_one_go_at_a_time_is_respected(yard):
    c = yard([dict(WEB, grace=20, budget={"maxUnavailable": 1})])
    done = drained(c, timeout="30min")
    assert done.message is None and len(done.evicted) == 3
    answers = [row["status"] for row in c.requests("POST", "/eviction")]
    assert answers.count(201) == 3 and 429 in answers


def test_a_budget_that_lets_none_go_is_named_when_the_time_is_over(yard):
    c = yard([dict(WEB, budget={"minAvailable": 3}), PODS[1]])
    before = c.api.clock.now()
    done = drained(c, timeout="5min", progress_interval=60)
    assert done.message and "PodDisruptionBudget web/web allows no disruption" in done.message
    assert "3 pods are still on node node-a, after 5 min" in done.message and "forced" in done.message
    assert [name.split("-")[0] for name in done.evicted] == ["shop/db"] and done.result["changed"] is True
    assert list(done.left.values()).count("budget") == 3
    assert 300 <= c.api.clock.now() - before <= 302
    assert any("refused: PodDisruptionBudget web/web" in line for line in done.lines)
    assert len(c.requests("POST", "/eviction")) <= 3 * 14, "asked again ever more rarely"
    assert len([name for name in on_node(c) if name.startswith("web/")]) == 3
    assert not c.requests("DELETE")


def test_the_deadline_is_kept(yard):
    c = yard([dict(WEB, budget={"minAvailable": 3})])
    deadline = c.api.clock.now() + 120
    done = drained(c, timeout="2h", deadline=to_timestamp(deadline))
    assert "the deadline has come" in done.message and abs(c.api.clock.now() - deadline) <= 2


def test_two_budgets_over_one_pod_are_said_at_once(yard):
    c = yard([dict(WEB, count=1, budget={"minAvailable": 0})])
    c.api.create("/apis/policy/v1/namespaces/web/poddisruptionbudgets", {
        "metadata": {"name": "second"}, "spec": {"minAvailable": 0, "selector": {"matchLabels": {"app": "web"}}}})
    before = c.api.clock.now()
    done = drained(c, timeout="1h")
    assert "several PodDisruptionBudgets" in done.message and c.api.clock.now() - before < 60


def test_check_mode_asks_and_evicts_nobody(yard):
    c = yard([dict(WEB, budget={"minAvailable": 3}), PODS[1]])
    there = on_node(c)
    done = drained(c, check_mode=True)
    assert done.message is None and done.result["changed"] is True
    assert [name.split("-")[0] for name in done.evicted] == ["shop/db"]
    assert list(done.left.values()).count("budget") == 3
    c.wait(60)
    assert on_node(c) == there
    assert all("dryRun=All" in row["query"] for row in c.requests("POST", "/eviction"))


def test_a_node_that_takes_new_pods_is_refused(shared):
    c = shared(topology="tiny")
    done = drained(c)
    assert "not cordoned" in done.message and "Nothing was evicted" in done.message and not c.requests("POST", "/eviction")
    assert drained(c, node="node-x").message.startswith("There is no node")
    assert "not cordoned" in drained(c, check_mode=True).warnings[0]


@pytest.mark.parametrize("options, words", [
    ({"timeout": "soon"}, "timeout"), ({"progress_interval": -1}, "progress_interval"),
    ({"deadline": "2020-01-01T00:00:00Z"}, "has passed"), ({"deadline": "2026-11-22 04:30"}, "offset")])
def test_what_cannot_be_meant_evicts_nobody(shared, options, words):
    c = shared(topology="tiny")
    done = drained(c, **options)
    assert words in done.message and not c.requests("POST", "/eviction")


def test_the_api_goes_away_for_ten_minutes(yard):
    c = yard([dict(WEB, grace=60)])
    away = []

    def vanish(line):
        if not away and "pods to evict" in line:
            away.append(c.fault(status=503, seconds=580, drop_watches=True))

    done = drained(c, timeout="1h", say=vanish)
    assert away and done.message is None and len(done.evicted) == 3


def test_without_the_right_to_evict_it_says_so(yard):
    c = yard()
    rules = [{"verbs": ["get", "list", "watch"], "resources": ["*"]}]
    done = drained(c, api=c.client(api_key=c.token(rules)))
    assert "Not allowed to create" in done.message and "eviction" in done.message
    assert done.evicted == [] and done.result["changed"] is False


def test_a_budget_is_found_by_its_selector_where_the_answer_does_not_name_it(yard):
    c = yard([dict(WEB, count=1, budget={"minAvailable": 1})])
    c.fault(status=429, times=50, match="POST .*/eviction",
            message="Cannot evict pod as it would violate the pod's disruption budget.")
    done = drained(c, timeout="2min")
    assert "PodDisruptionBudget web/web" in done.message
    assert len(c.requests("GET", "/poddisruptionbudgets")) == 1


def test_the_hold_of_the_run_is_renewed_meanwhile_and_its_loss_ends_it(yard):
    c = yard([dict(WEB, budget={"minAvailable": 3})])
    lease.acquire(c.api, "node-a", "r1", "me", c.api.clock.now())
    assert "are still on node" in drained(c, timeout="20min", run="r1").message
    assert lease.read(c.api, "node-a", c.api.clock.now())[1].alive
    lease.release(c.api, "node-a", c.api.clock.now(), "r1")
    lease.acquire(c.api, "node-a", "r2", "you", c.api.clock.now())
    asked = len(c.requests("POST", "/eviction"))
    done = drained(c, timeout="20min", run="r1")
    assert "no longer holds node node-a" in done.message and len(c.requests("POST", "/eviction")) == asked
