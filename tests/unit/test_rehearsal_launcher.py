# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One copy and its monitor in the embedded cluster: rates, multifd, the instants at which the monitor acts (facts 4.4-4.10)."""

from __future__ import annotations

import math

import pytest

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import assembly, topology
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import install
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.launcher import Job

GB = 10 ** 9


def world(name="queue", generation=None):
    wanted = topology.load(name, generation=generation)
    store = assembly._store(assembly.Options(), wanted.start)
    return install.cluster(store, None, wanted)


def guest(number=1, memory="8Gi", dedicated=False, limit=None, knobs=None, target="node-b"):
    resources = {"limits": {"cpu": limit}} if limit else {}
    return {
        "metadata": {"name": "g-%d" % number, "namespace": "default", "uid": "u%d" % number,
                     "annotations": {"rehearsal.bigvm.io/" + key: value for key, value in (knobs or {}).items()}},
        "spec": {"domain": {"memory": {"guest": memory}, "cpu": {"cores": 2, "dedicatedCpuPlacement": dedicated},
                            "resources": resources, "devices": {}}},
        "status": {"nodeName": "node-a", "migrationState": {
            "migrationUid": "m%d" % number, "sourceNode": "node-a", "targetNode": target, "sourcePod": "p%d" % number}},
    }


class Bench:
    """A world in which copies are started by hand."""

    def __init__(self, generation=None):
        self.world = world(generation=generation)
        self.start, self.ended, self.modes = self.world.now(), [], []

    def copy(self, vmi, **config):
        config.setdefault("completionTimeoutPerGiB", 20)
        return Job(self.world, vmi, config, self.world.handlers.links,
                   lambda job: self.modes.append((job.mode, self.world.now() - self.start)), self.ended.append)

    def run(self, seconds):
        self.world.clock.run(seconds)


@pytest.mark.parametrize("generation, vmi, config, streams", [
    ("1.6", {}, {}, 8), ("1.9", {}, {}, 8), ("1.6", {"dedicated": True}, {}, 8), ("1.9", {"dedicated": True}, {}, 1),
    ("1.6", {}, {"allowPostCopy": True}, 1), ("1.9", {}, {"allowPostCopy": True}, 8),
    ("1.6", {"limit": "2"}, {}, 1), ("1.9", {"limit": "0"}, {}, 8),
])
def test_multifd_by_release(generation, vmi, config, streams):
    job = Bench(generation).copy(guest(**vmi), **config)
    assert job.streams() == streams and job.cap == streams * GB


@pytest.mark.parametrize("text, rate", [("64Mi", 64 * 2 ** 20), ("100M", 95 * 2 ** 20), ("1k", 2 ** 20), ("0", math.inf), (None, math.inf)])
def test_bandwidth_is_whole_mebibytes(text, rate):
    assert Bench().copy(guest(), bandwidthPerMigration=text).cap == min(rate, 8 * GB)


def test_two_copies_that_end_at_the_same_instant_both_end():
    bench = Bench()
    jobs = [bench.copy(guest(number)) for number in (1, 2, 3)]
    bench.run(60)
    assert [job.outcome for job in jobs] == ["completed"] * 3
    assert len({job.finished for job in jobs}) == 1 and bench.ended == jobs and bench.world.handlers.links.jobs == []


def test_a_copy_speeds_up_when_the_others_end():
    bench = Bench()
    slow, quick = bench.copy(guest(1, "64Gi")), bench.copy(guest(2, "4Gi"))
    # 100 Gbit/s at nine tenths carries 11.25 GB/s: half of it each, then one alone its 8 GB/s.
    assert slow.run.state(bench.start)["bandwidth"] == pytest.approx(5.625 * GB)
    bench.run(1)
    assert quick.outcome == "completed" and slow.run.state(bench.world.now())["bandwidth"] == pytest.approx(8 * GB)


def test_different_targets_share_only_the_source():
    bench = Bench()
    one, two = bench.copy(guest(1, "64Gi")), bench.copy(guest(2, "64Gi", target="node-c"))
    bench.world.store.modify("nodes", "", "node-c", lambda node: node["metadata"]["annotations"].update({"rehearsal.bigvm.io/link": "8G"}))
    assert two.run.state(bench.start)["bandwidth"] == pytest.approx(0.9 * GB)
    assert one.run.state(bench.start)["bandwidth"] == pytest.approx(8 * GB)


@pytest.mark.parametrize("memory, budget", [("8Gi", 9 * 20), ("64Gi", 69 * 20), ("3Ti", 3299 * 20), ("1G", 20), ("1000000001", 40)])
def test_budget_in_started_decimal_gigabytes(memory, budget):
    assert Bench().copy(guest(memory=memory)).budget == budget
    assert Bench().copy(guest(memory=memory), completionTimeoutPerGiB=0).budget == math.inf


def test_the_monitor_polls_every_400_ms():
    bench = Bench("1.6")
    job = bench.copy(guest(knobs={"fail": "never-converges"}), completionTimeoutPerGiB=5)
    bench.run(44.9)
    assert not job.aborting
    bench.run(0.6)
    assert job.aborting
    bench.run(5)
    assert job.outcome == "failed" and job.abort_status == "Succeeded"
    assert job.reason == "Live migration is not completed after 45 seconds and has been aborted"


def test_progress_timeout_needs_a_standing_link():
    bench = Bench("1.6")
    busy = bench.copy(guest(1, knobs={"fail": "never-converges"}), completionTimeoutPerGiB=0, progressTimeout=150)
    still = bench.copy(guest(2, "64Gi", target="node-c"), completionTimeoutPerGiB=0, progressTimeout=150)
    bench.run(2)
    still.cut_link()
    bench.run(149)
    assert still.outcome is None
    bench.run(6)
    assert still.outcome == "failed" and still.reason.startswith("Live migration stuck for 15")
    bench.run(3600)
    assert busy.outcome is None  # a busy guest makes progress in every pass


def test_a_link_that_comes_back_in_time_ends_the_wait():
    bench = Bench()
    job = bench.copy(guest(1, "512Gi"), completionTimeoutPerGiB=0, progressTimeout=150)
    for bits in ("0", "100G"):
        bench.run(100)
        bench.world.store.modify("nodes", "", "node-a", lambda node, bits=bits: node["metadata"]["annotations"].update(
            {"rehearsal.bigvm.io/link": bits}))
        if bits == "0" and job.outcome is None:
            bench.run(0)
    bench.run(600)
    assert job.outcome == "completed"


def test_pausing_doubles_the_budget_and_then_aborts():
    bench = Bench()
    job = bench.copy(guest(memory="64Gi", knobs={"fail": "never-converges"}), bandwidthPerMigration="64Mi",
                     completionTimeoutPerGiB=2, allowWorkloadDisruption=True)
    bench.run(2 * 69 + 1)
    assert bench.modes[0][0] == "Paused" and bench.modes[0][1] == pytest.approx(138, abs=0.5)
    bench.run(138 + 5)
    assert job.outcome == "failed" and job.reason == "Live migration has been aborted"


def test_the_copy_may_win_against_an_abort():
    bench = Bench()
    job = bench.copy(guest())  # ends after about a second, as an abort would
    bench.run(job.run.next_event() - bench.start - 0.01)
    job.abort("cancelled", lambda: None)
    bench.run(10)
    assert job.outcome == "completed" and job.reason is None


def test_post_copy_refuses_an_abort():
    bench = Bench()
    job = bench.copy(guest(memory="64Gi", knobs={"fail": "never-converges"}), bandwidthPerMigration="64Mi",
                     completionTimeoutPerGiB=1, allowWorkloadDisruption=True, allowPostCopy=True)
    bench.run(75)
    refused = []
    job.abort("cancelled", lambda: refused.append(True))
    assert job.mode == "PostCopy" and refused == [True] and job.outcome is None
    bench.run(3600)
    assert job.outcome == "completed"
