# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""While it copies: aborts and their races, both timeouts, pausing, post-copy, what the launcher's log and metrics say."""

from __future__ import annotations

import re

import pytest
from kubevirt_steps import VMIMS, VMIS, Steps, Watching, follow, seconds_between, settle

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of

HOT = {"dirty_rate": "3G", "working_set": "3Gi"}  # more than the 1.1 GB/s of tiny's 10 Gbit/s links carries
LINE = re.compile(
    r"Migration info for (?P<uid>\S+): TimeElapsed:(?P<elapsed>\d+)ms DataProcessed:(?P<processed>\d+)MiB DataRemaining:(?P<left>\d+)MiB "
    r"DataTotal:(?P<total>\d+)MiB MemoryProcessed:\d+MiB MemoryRemaining:\d+MiB MemoryTotal:\d+MiB MemoryBandwidth:(?P<mbps>\d+)Mbps "
    r"DirtyRate:(?P<dirty>\d+)Mbps Iteration:(?P<iteration>\d+) PostcopyRequests:0 ConstantPages:\d+ NormalPages:\d+ "
    r"NormalData:\d+MiB ExpectedDowntime:\d+ms DiskMbps:0")


def running(steps, name, **knobs):
    steps.annotate(VMIS, name, **knobs)
    migration = steps.migrate(name)
    steps.until_phase(migration, "Running")
    return migration


# -- aborts (facts 8) --------------------------------------------------------------


@pytest.mark.parametrize("phase", ["Pending", "Scheduling", "Scheduled"])
def test_abort_before_the_handoff_leaves_nothing(near, phase):
    steps = Steps(near(topology="tiny"))
    name = steps.migrate("vm-1")
    steps.until_phase(name, phase, step=0.25)
    watching = Watching(steps, VMIMS)
    steps.cancel(name)
    steps.until(lambda: steps.migration(name) is None, limit=15)
    last = [row["object"] for row in watching.take()][-1]
    assert last["status"]["phase"] == "Failed"
    assert {"type": "migrationAbortRequested", "status": "True"}.items() <= last["status"]["conditions"][0].items()
    assert "migrationState" not in steps.vmi("vm-1")["status"]
    steps.cluster.wait(5)
    assert len(steps.pods("vm-1")) == 1 and steps.vmi("vm-1")["status"]["nodeName"] == "node-a"


@pytest.mark.any_kubevirt
@pytest.mark.parametrize("generation, text", [("1.6", "Live migration aborted "), ("1.9", "Live migration has been aborted")])
def test_abort_while_running_keeps_the_guest_where_it_is(near, generation, text):
    steps = Steps(near(topology="tiny", generation=generation))
    steps.linger("vm-1", 60)
    name = running(steps, "vm-1", **HOT)
    guests = Watching(steps, VMIS)
    steps.cluster.wait(20)
    steps.cancel(name)
    steps.until(lambda: steps.migration(name) is None, limit=30)
    state = steps.state("vm-1")
    assert state["abortRequested"] and state["failed"] and state["abortStatus"] == "Succeeded"
    assert state["failureReason"] == text
    assert state.get("completed", False) is (generation == "1.9")
    assert steps.vmi("vm-1")["status"]["nodeName"] == "node-a"
    shown = {row["object"]["status"]["migrationState"].get("abortStatus") for row in guests.take()}
    assert ("Aborting" in shown) is (generation == "1.6")  # visible only where it is mirrored (facts 8.5)
    steps.cluster.wait(10)
    assert [pod["status"]["phase"] for pod in steps.pods("vm-1") if pod["spec"]["nodeName"] == "node-b"] in ([], ["Failed"])


def test_abort_between_handoff_and_running_takes_effect_at_running(near):
    steps = Steps(near(topology="tiny"))
    steps.annotate(VMIS, "vm-1", **HOT)
    name = steps.migrate("vm-1")
    steps.until_phase(name, "PreparingTarget", "TargetReady", step=0.25)
    steps.cancel(name)
    watching = Watching(steps, VMIMS)
    steps.until(lambda: steps.migration(name) is None, limit=60)
    phases = [row["object"]["status"]["phase"] for row in watching.take()]
    assert "Running" in phases and phases[-1] == "Failed"
    assert steps.state("vm-1")["abortRequested"] is True


def test_abort_that_comes_too_late_loses(near):
    steps = Steps(near(topology="tiny"))
    name = steps.migrate("vm-1")
    steps.until(lambda: steps.state("vm-1").get("endTimestamp"), step=0.2)
    steps.cancel(name)
    steps.until(lambda: steps.migration(name) is None, limit=30)
    state = steps.state("vm-1")
    assert state["completed"] and not state.get("failed") and steps.vmi("vm-1")["status"]["nodeName"] == "node-b"


def test_post_copy_cannot_be_aborted(near):
    steps = Steps(near(topology="tiny", generation="1.6"))
    steps.configure(allowPostCopy=True, completionTimeoutPerGiB=4, bandwidthPerMigration="64Mi")
    name = running(steps, "vm-1", **HOT)
    steps.until(lambda: steps.state("vm-1").get("mode") == "PostCopy", limit=60)
    steps.cancel(name)
    steps.until(lambda: steps.state("vm-1").get("abortStatus") == "Failed", limit=15)
    steps.until(lambda: steps.migration(name) is None, limit=300)
    assert steps.vmi("vm-1")["status"]["nodeName"] == "node-b" and steps.state("vm-1")["completed"]


# -- timeouts (facts 4.6-4.10, 4.14) -------------------------------------------------


@pytest.mark.parametrize("generation, text", [
    ("1.6", "Live migration is not completed after 50 seconds and has been aborted"), ("1.9", "Live migration has been aborted")])
def test_completion_timeout_counts_decimal_gigabytes(near, generation, text):
    steps = Steps(near(topology="tiny", generation=generation))
    steps.configure(completionTimeoutPerGiB=10)
    name = running(steps, "vm-1", **HOT)  # 4 GiB are 4.29 GB: five started ones
    steps.until_phase(name, "Failed", limit=120)
    steps.cluster.wait(3)
    state = steps.state("vm-1")
    assert 50 <= seconds_between(state["startTimestamp"], state["endTimestamp"]) <= 54
    assert state["failureReason"] == text and state["abortStatus"] == "Succeeded" and "abortRequested" not in state
    assert state.get("completed", False) is (generation == "1.9")
    assert steps.migration(name)["status"]["migrationState"]["failureReason"] == text


def test_hot_hana_guest_is_aborted_intact_after_its_18_hours(near):
    steps = Steps(near(topology="hot"), "sap-prod")
    uid = steps.vmi("hana-prod")["metadata"]["uid"]
    steps.configure(bandwidthPerMigration=None)
    name = running(steps, "hana-prod")
    steps.cluster.wait(3299 * 20 - 60)
    assert steps.phase(name) == "Running"
    steps.until_phase(name, "Failed", limit=120)
    state = steps.state("hana-prod")
    assert abs(seconds_between(state["startTimestamp"], state["endTimestamp"]) - 3299 * 20) < 5
    after = steps.vmi("hana-prod")
    assert after["metadata"]["uid"] == uid and after["status"]["nodeName"] == "hana-a" and after["status"]["phase"] == "Running"


def test_progress_timeout_only_on_a_stalled_link(near):
    steps = Steps(near(topology="tiny", generation="1.6"))
    name = running(steps, "vm-1", fail="link-stall", **HOT)
    steps.until_phase(name, "Failed", limit=300)
    state = steps.state("vm-1")
    assert re.fullmatch(r"Live migration stuck for 15\d seconds and has been aborted", state["failureReason"])
    assert 165 <= seconds_between(state["startTimestamp"], state["endTimestamp"]) <= 180


@pytest.mark.parametrize("settings, mode", [
    ({"allowPostCopy": True, "allowWorkloadDisruption": True}, "PostCopy"),
    ({"allowWorkloadDisruption": True}, "Paused"),
    ({"allowPostCopy": True}, "PreCopy"),  # the trap of facts 10.5: aborted all the same
])
def test_what_happens_when_time_is_up(near, settings, mode):
    steps = Steps(near(topology="tiny"))
    steps.configure(completionTimeoutPerGiB=10, **settings)
    name = running(steps, "vm-1", **HOT)
    steps.until(lambda: steps.state("vm-1").get("endTimestamp") or steps.state("vm-1")["mode"] == mode != "PreCopy", limit=120, step=0.5)
    assert steps.state("vm-1")["mode"] == mode
    rows = [row for row in steps.vmi("vm-1")["status"]["conditions"] if row["type"] == "Paused"]
    assert [row["reason"] for row in rows] == (["PausedByMigrationMonitor"] if mode == "Paused" else [])
    done = steps.until_phase(name, "Succeeded", "Failed", limit=120)
    assert done["status"]["phase"] == ("Failed" if mode == "PreCopy" else "Succeeded")
    assert not [row for row in steps.vmi("vm-1")["status"]["conditions"] if row["type"] == "Paused"]


def test_post_copy_alone_is_enough_on_1_6(near):
    steps = Steps(near(topology="tiny", generation="1.6"))
    steps.configure(completionTimeoutPerGiB=10, allowPostCopy=True)
    name = running(steps, "vm-1", **HOT)
    assert steps.until_phase(name, "Succeeded", "Failed", limit=120)["status"]["phase"] == "Succeeded"
    assert steps.state("vm-1")["mode"] == "PostCopy"


def test_libvirts_error_comes_out_as_it_is(near):
    steps = Steps(near(topology="tiny"))
    steps.annotate(VMIS, "vm-1", fail="libvirt-error")
    steps.until_phase(steps.migrate("vm-1"), "Failed")
    assert "guest CPU doesn't match specification" in steps.state("vm-1")["failureReason"]


# -- rates ---------------------------------------------------------------------------


@pytest.mark.parametrize("generation, seconds", [("1.6", 400), ("1.9", 3300)])
def test_dedicated_cpus_cost_multifd_on_1_9(near, generation, seconds):
    """3 TiB over 100 Gbit/s: eight connections on 1.6, a single one on 1.9 (facts 4.4)."""
    steps = Steps(near(topology="default", generation=generation), "sap-prod")
    steps.configure(bandwidthPerMigration=None)
    name = steps.migrate("hana-prod")
    steps.until_phase(name, "Succeeded", limit=6000, step=20)
    state = steps.state("hana-prod")
    assert seconds <= seconds_between(state["startTimestamp"], state["endTimestamp"]) <= seconds * 1.15


def test_bandwidth_limit_and_shared_links(near):
    steps = Steps(near(topology="tiny"))
    steps.configure(bandwidthPerMigration="64Mi", parallelOutboundMigrationsPerNode=2, completionTimeoutPerGiB=60)
    one, two = steps.migrate("vm-1"), steps.migrate("vm-2")
    steps.until_phase(one, "Succeeded", limit=200)
    steps.until_phase(two, "Succeeded", limit=200)
    taken = seconds_between(*[steps.state("vm-1")[key] for key in ("startTimestamp", "endTimestamp")])
    assert 64 <= taken <= 90  # 4 GiB at 64 MiB/s, and what it dirtied
    steps.annotate("nodes", "node-b", link="400M")  # 45 MB/s in both directions
    again = steps.migrate("vm-1")
    steps.until_phase(again, "Succeeded", limit=300)
    slower = seconds_between(*[steps.state("vm-1")[key] for key in ("startTimestamp", "endTimestamp")])
    assert slower > 90


# -- log and metrics -------------------------------------------------------------------


def test_launcher_log_tells_the_progress(near):
    steps = Steps(near(topology="tiny"))
    name = running(steps, "vm-1", **HOT)
    source = steps.pod_on("vm-1", "node-a")["metadata"]["name"]
    path = path_of("v1", "pods", "default", source, "log")
    steps.cluster.wait(41)
    code, text, headers = steps.cluster.http("GET", path + "?container=compute&timestamps=true")
    found = [LINE.search(line) for line in text.splitlines() if "Migration info" in line]
    assert code == 200 and 9 <= len(found) <= 12 and all(found)
    assert [int(line["elapsed"]) for line in found] == [4000 * (n + 1) for n in range(len(found))]
    assert {line["uid"] for line in found} == {steps.migration(name)["metadata"]["uid"]}
    assert {int(line["total"]) for line in found} == {4096}
    assert re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z \{", text)
    # Eight connections over 10 Gbit/s; the guest's writes come back at each sync.
    assert {int(line["mbps"]) for line in found} == {9000} and int(found[-1]["dirty"]) > 3000
    assert int(found[-1]["iteration"]) > int(found[0]["iteration"]) and int(found[-1]["processed"]) > 4096
    code, text, headers = steps.cluster.http("GET", path + "?tailLines=2")
    assert len(text.splitlines()) == 2
    code, text, headers = steps.cluster.http("GET", path + "?sinceSeconds=9")
    assert 2 <= len(text.splitlines()) <= 3
    assert steps.cluster.http("GET", path + "?container=nobody")[0] == 400


def test_following_the_log_does_not_stop_the_clock(near):
    steps = Steps(near(topology="tiny"))
    running(steps, "vm-1", **HOT)
    source = steps.pod_on("vm-1", "node-a")["metadata"]["name"]
    lines = follow(steps.cluster, path_of("v1", "pods", "default", source, "log"), follow="true", tailLines="0")
    answer = steps.api._json("POST", "/bigvm/v1/clock/wait", {}, {"seconds": 60})
    assert answer["delivered"] == 0
    settle(steps.cluster)
    assert len([line for line in lines if b"Migration info" in line]) == 15


def test_prometheus_speaks_the_releases_names(near):
    for generation, rate, total in (
            ("1.6", "kubevirt_vmi_migration_disk_transfer_rate_bytes", "kubevirt_vmi_migration_data_total_bytes"),
            ("1.9", "kubevirt_vmi_migration_memory_transfer_rate_bytes", "kubevirt_vmi_migration_data_bytes_total")):
        steps = Steps(near(topology="tiny", generation=generation))

        def ask(query, steps=steps):
            return steps.api.get("/bigvm/v1/prometheus/api/v1/query", query=query)["data"]["result"]

        assert [row["metric"]["name"] for row in ask("kubevirt_vmi_dirty_rate_bytes_per_second")] == ["vm-1", "vm-2"]
        assert ask(total) == []
        running(steps, "vm-1", **HOT)
        steps.cluster.wait(30)
        found = ask('%s{namespace="default",name=~"vm-.*"}' % total)
        assert float(found[0]["value"][1]) == 4 * 1024 ** 3 and found[0]["metric"]["node"] == "node-a"
        assert float(ask(rate)[0]["value"][1]) == pytest.approx(1.125e9)
        assert ask('%s{name="vm-2"}' % total) == []
        left = float(ask("max_over_time(kubevirt_vmi_migration_data_remaining_bytes[1m])")[0]["value"][1])
        assert left > 1e9
        assert [row["metric"]["name"] for row in ask("kubevirt_vmi_dirty_rate_bytes_per_second")] == ["vm-2"]
        assert steps.cluster.http("GET", "/bigvm/v1/prometheus/api/v1/query?query=sum(a)by(b)")[0] == 400
