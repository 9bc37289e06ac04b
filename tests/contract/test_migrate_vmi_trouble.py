# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""migrate_vmi while the API server misbehaves, what it says, and what it asks of the server."""

from __future__ import annotations

import re
import threading

import pytest
from migrate_steps import (
    VM1,
    create_vmim,
    created,
    run,
    sabotage,
    settings,
    slow,
    vmims,
    wait_for_phase,
)

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import (
    following,
    survey,
    telemetry,
    watch,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp

# -- a server that misbehaves ------------------------------------------------------------------------------------


TROUBLE = {
    "watches dropped": [{"drop_watches": True}],
    "history compacted": [{"compact": True}, {"drop_watches": True}],
    "history compacted, told as 410": [{"compact": True, "as": "http"}, {"drop_watches": True}],
    "half open": [{"half_open": True}],
    "503 for a while": [{"status": 503, "times": 6, "match": "watch=true"}, {"drop_watches": True}],
    "429 with a time": [{"status": 429, "times": 2, "match": "watch=true", "retry_after": 7}, {"drop_watches": True}],
    "500 on the new list": [{"compact": True}, {"status": 500, "times": 2, "match": "limit="}, {"drop_watches": True}],
}


@pytest.mark.long
@pytest.mark.parametrize("what", sorted(TROUBLE))
def test_it_ends_truthfully_whatever_the_server_does(cluster, what):
    c = cluster(topology="tiny")
    slow(c, "node-a", "500M")  # 70 s
    troubled = []

    def trouble(line):
        if not troubled and "copy" in line:
            troubled.append(c.api.clock.now())
            for fault in TROUBLE[what]:
                c.fault(**fault)

    done = run(c, say=trouble, target_node="node-b", progress_interval=10, timeout="2h", **VM1)
    assert troubled
    assert done.outcomes() == {"vm-1": "moved"}, done.message
    assert c.api.clock.now() - from_timestamp(done.rows["vm-1"]["ended"]) <= 121


def test_a_half_open_connection_is_noticed_within_two_minutes(cluster):
    c = cluster(topology="tiny")
    sabotage(c, "vm-1", "never-converges")
    when = []

    def mute(line):
        if not when and "copy" in line:
            when.append(c.api.clock.now())
            c.fault(half_open=True)

    run(c, say=mute, target_node="node-b", progress_interval=10, timeout="10min", **VM1)
    again = [row["epoch"] for row in c.requests("GET") if "watch=true" in row["query"] and row["epoch"] > when[0]]
    assert again and min(again) - when[0] <= watch.SILENCE + 1


def test_an_expired_token_is_read_anew(cluster):
    c = cluster(topology="tiny")
    slow(c, "node-a", "500M")
    import kubernetes

    from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import Api
    tokens = [c.connection["api_key"]]

    def source():
        configuration = kubernetes.client.Configuration()
        configuration.host, configuration.ssl_ca_cert = c.connection["host"], c.connection["ca_cert"]
        configuration.api_key = {"authorization": "Bearer " + tokens[-1]}
        return configuration, {}

    def rotate(line):
        if len(tokens) == 1 and "copy" in line:
            tokens.append(c.api.create("/bigvm/v1/faults", {"token": "new"})["api_key"])
            c.connection["api_key"] = tokens[-1]
            c.api = c.client()
            c.fault(drop_watches=True)

    done = run(c, api=Api(source).handshake(), say=rotate, target_node="node-b", progress_interval=10, **VM1)
    assert len(tokens) == 2 and done.outcomes() == {"vm-1": "moved"}, done.message


@pytest.mark.parametrize("arrived", [True, False])
def test_an_answer_to_the_creation_that_got_lost_makes_no_second_one(cluster, arrived):
    c = cluster(topology="tiny")
    api = c.client()
    real, lost = api._send, []

    def lossy(method, path, query=None, *rest, **more):
        ours = method == "POST" and path.endswith("/virtualmachineinstancemigrations") and not (query or {}).get("dryRun")
        if not ours or lost:
            return real(method, path, query, *rest, **more)
        lost.append(path)
        if arrived:
            real(method, path, query, *rest, **more)
        raise errors.Unreachable("the answer got lost", reason="Unreachable")

    api._send = lossy
    done = run(c, api=api, target_node="node-b", **VM1)
    assert lost and done.outcomes() == {"vm-1": "moved"}, done.message
    assert len(vmims(c)) == 1


# -- what it says, and what it asks --------------------------------------------------------------------------------------


def percents(lines):
    found = [(line, re.search(r"copy (\d+)%", line)) for line in lines]
    return [int(match.group(1)) for _line, match in found if match]


@pytest.mark.long
@pytest.mark.parametrize("where", ["logs", "prometheus"])
def test_lines_with_percent_near_the_truth(cluster, where):
    c = cluster(topology="default")
    stamped = []
    given = {"prometheus": {"url": c.connection["host"] + "/bigvm/v1/prometheus", "token": c.connection["api_key"],
                            "ca_cert": c.connection["ca_cert"]}} if where == "prometheus" else {}
    done = run(c, say=lambda line: stamped.append((c.api.clock.now(), line)), name="hana-test", namespace="sap-test",
               target_node="hana-a", timeout="20h", progress_interval=300, **given)
    assert done.outcomes() == {"hana-test": "moved"} and not done.warnings
    row = done.rows["hana-test"]
    begin = from_timestamp(row["ended"]) - row["seconds"]["copy"]
    shown = [(at, int(re.search(r"copy (\d+)%", line).group(1))) for at, line in stamped if " copy " in line]
    assert len(shown) > 50
    assert [value for _at, value in shown] == sorted(value for _at, value in shown)
    worst = max(abs(value - 100 * (at - begin) / row["seconds"]["copy"]) for at, value in shown)
    assert worst <= 15
    assert all(len(line) <= 80 for line in done.lines)
    assert re.fullmatch(r"sap-test/hana-test  copy \d+%  [\d.]+ GiB left  67(\.1)? MB/s  ETA \d h \d\d min", done.lines[5])
    assert "dirty" in stamped[-5][1] and done.lines[-1].startswith("sap-test/hana-test  moved to hana-a in ")


def test_without_the_right_to_read_logs_phase_and_time_and_it_says_so_once(cluster):
    c = cluster(topology="queue")
    slow(c, "node-a", "1G")
    rules = [{"verbs": ["*"], "resources": ["nodes", "kubevirts.kubevirt.io", "virtualmachineinstances.kubevirt.io",
                                            "virtualmachineinstancemigrations.kubevirt.io",
                                            "migrationpolicies.migrations.kubevirt.io"], "namespaces": []}]
    vms = [{"name": name, "namespace": "default"} for name in ("vm-01", "vm-02")]
    done = run(c, api=c.client(api_key=c.token(rules)), vms=vms, away_from=["node-a"])
    assert len(done.warnings) == 1 and "Not allowed to read" in done.warnings[0]
    assert any(re.fullmatch(r"default/vm-01  copying for \d+ (s|min)", line) for line in done.lines)
    assert not percents(done.lines)


def test_a_prometheus_that_cannot_be_asked_is_said_and_the_logs_are_read(cluster):
    c = cluster(topology="tiny")
    slow(c, "node-a", "500M")
    done = run(c, target_node="node-b", prometheus={"url": "https://127.0.0.1:9"}, timeout="2h", progress_interval=30, **VM1)
    assert len(done.warnings) == 1 and "cannot be asked for progress" in done.warnings[0]
    assert percents(done.lines)


def test_no_lines_if_none_are_wanted(cluster):
    c = cluster(topology="tiny")
    slow(c, "node-a", "500M")
    done = run(c, target_node="node-b", progress_interval=0, timeout="2h", **VM1)
    assert done.lines == [] and done.outcomes() == {"vm-1": "moved"}
    assert not c.requests("GET", "/log")


@pytest.mark.long
@pytest.mark.parametrize(("vms", "link"), [(1, "15M"), (20, "300M")])
def test_no_more_than_one_request_a_minute_while_it_waits(cluster, vms, link):
    c = cluster(topology="queue")
    slow(c, "node-a", link)
    settings(c, completionTimeoutPerGiB=10000)
    names = ["vm-%02d" % number for number in range(1, vms + 1)]
    for name in names:
        sabotage(c, name, None, dirty_rate="0")
    done = run(c, vms=[{"name": name, "namespace": "default"} for name in names], away_from=["node-a"], timeout="20h")
    assert set(done.outcomes().values()) == {"moved"}
    begin = max(row["epoch"] for row in created(c))
    end = max(from_timestamp(row["ended"]) for row in done.rows.values())
    waiting = [row for row in c.requests() if begin < row["epoch"] <= end]
    assert end - begin > 3600
    assert len(waiting) <= (end - begin) / 60


def test_nothing_of_it_keeps_running(cluster):
    c = cluster(topology="tiny")
    run(c, target_node="node-b", **VM1)
    names = [thread.name for thread in threading.enumerate()]
    for thread in threading.enumerate():
        if thread.name == "bigvm-reader":
            thread.join(5)
    assert "bigvm-reader" not in [thread.name for thread in threading.enumerate()], names


def test_a_cancel_that_does_not_end_is_told(cluster, monkeypatch):
    c = cluster(topology="tiny")
    monkeypatch.setattr(following, "CANCEL_PATIENCE", 120)
    sabotage(c, "vm-1", "target-stuck")
    wait_for_phase(c, create_vmim(c, "vm-1"), "PreparingTarget")
    done = run(c, state="aborted", **VM1)
    assert done.outcomes() == {"vm-1": "failed"} and done.rows["vm-1"]["cause"]["code"] == "cancel_stuck"
    assert "virt-handler" in done.message


def test_the_patience_with_an_api_that_is_away_ends_and_it_says_what_goes_on(cluster):
    c = cluster(topology="tiny")
    sabotage(c, "vm-1", "never-converges")
    away = []

    def vanish(line):
        if not away and "copy" in line:
            away.append(line)
            c.fault(status=503, times=10 ** 6, match="watch=true")
            c.fault(drop_watches=True)

    done = run(c, say=vanish, target_node="node-b", progress_interval=10, timeout="10h", **VM1)
    assert done.failed and "run the same task again to follow it" in done.message
    assert done.result["changed"] is True
    assert done.outcomes() == {"vm-1": "unfinished"}


def test_constants_that_belong_together():
    assert watch.SERVER_TIMEOUT <= 290
    assert watch.SILENCE <= 60 + 60  # a bookmark a minute, and 60 s
    assert survey.BIG == 256 * 2 ** 30
    assert telemetry.FOLLOW_PACE >= 2 * 60
