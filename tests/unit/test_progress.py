# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Progress: the launcher's line, percent against the true share of time, lines of at most 80 columns."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.progress import (
    MIB,
    Progress,
    Sample,
    coarse,
    end_line,
    line,
    parse_line,
    parse_metrics,
)

GB, GIB, TIB = 10 ** 9, 2 ** 30, 2 ** 40
INFO = ("Migration info for 5b1c: TimeElapsed:84012ms DataProcessed:51200MiB DataRemaining:1024MiB DataTotal:52224MiB "
        "MemoryProcessed:51200MiB MemoryRemaining:1024MiB MemoryTotal:52224MiB MemoryBandwidth:4000Mbps DirtyRate:80Mbps "
        "Iteration:2 PostcopyRequests:0 ConstantPages:5 NormalPages:10 NormalData:51000MiB ExpectedDowntime:300ms DiskMbps:0")


def test_a_line_of_the_launcher_in_its_units():
    logged = json.dumps({"component": "virt-launcher", "level": "info", "msg": INFO, "timestamp": "2026-11-21T01:00:00.1Z"})
    wanted = Sample("5b1c", 84.012, 51200 * MIB, 1024 * MIB, 52224 * MIB, 500 * 10 ** 6, 10 ** 7, 2)
    assert parse_line(logged.encode()) == wanted
    assert parse_line(INFO) == wanted
    assert parse_line(INFO.replace("ExpectedDowntime:300ms", "Downtime:12ms DowntimeNet:3ms")) == wanted


@pytest.mark.parametrize("text", [
    b"", b"\xff\xfe", b"[1]", b'"x"', b'{"msg": null}', b'{"msg": "Migration info for x"}', b"Migration info for x: TimeElapsed:1ms",
    b'{"msg": "something else"}', b"not json {",
])
def test_other_lines_are_none(text):
    assert parse_line(text) is None


def test_metrics_of_several_releases():
    rows = [
        {"metric": {"__name__": "kubevirt_vmi_migration_data_remaining_bytes", "namespace": "a", "name": "vm"}, "value": [1, "5e3"]},
        {"metric": {"__name__": "kubevirt_vmi_migration_data_total_bytes", "namespace": "a", "name": "vm"}, "value": [1, "9000"]},
        {"metric": {"__name__": "kubevirt_vmi_migration_disk_transfer_rate_bytes", "namespace": "a", "name": "vm"}, "value": [1, "7"]},
        {"metric": {"__name__": "kubevirt_vmi_migration_dirty_memory_rate_bytes", "namespace": "a", "name": "vm"}, "value": [1, "NaN"]},
        {"metric": {"__name__": "something_else", "namespace": "b", "name": "vm"}, "value": [1, "7"]},
    ]
    assert parse_metrics(rows) == {("a", "vm"): {"remaining": 5000, "total": 9000, "rate": 7}}


# -- percent against the truth -----------------------------------------------------------


def precopy(memory, rate, dirty, working_set, zero=0.0, every=4.0, limit=10 ** 6):
    """Samples of a pre-copy by the closed form of facts 12.2, and the time at which the first tail shorter than 30 s begins."""
    samples, now, size, number, told = [], 0.0, memory, 1, 0
    passes = []
    while now < limit:
        speed = rate / (1 - zero) if number == 1 else rate
        spent = size / speed
        passes.append((now, spent, size, number, speed, told))
        now += spent
        size = working_set * (1 - math.exp(-dirty * spent / working_set)) if dirty else 0
        told = size / spent if spent else 0
        number += 1
        if size <= rate * 0.3:
            break
    end = now + 0.3
    at = every
    while at < end and at < limit:
        begun, spent, size, number, speed, told = [row for row in passes if row[0] <= at][-1]
        left = max(0.0, size - speed * (at - begun))
        samples.append(Sample("u", at, 0, int(left), memory, rate, told, number))
        at += every
    return samples, end


CASES = {
    "idle": (64 * GIB, GB, 0, GIB),
    "hana quiet": (3 * TIB, 10 * GB, 150 * 10 ** 6, 120 * GIB),
    "hana busy": (3 * TIB, 3 * GB, GB, 300 * GIB),
    "small busy": (32 * GIB, 10 ** 9, 5 * 10 ** 8, 6 * GIB),
    "mostly zero": (TIB, 2 * GB, 10 ** 8, 30 * GIB, 0.7),
    "wide working set": (512 * GIB, 2 * GB, 4 * 10 ** 8, 512 * GIB),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_percent_is_the_share_of_time_within_15_points(case):
    samples, end = precopy(*CASES[case])
    progress, shown = Progress(), 0
    assert len(samples) > 5
    for sample in samples:
        progress.feed(sample)
        assert progress.percent >= shown
        shown = progress.percent
        assert abs(shown - 100 * sample.elapsed / end) <= 15, (case, sample)
    assert shown >= 80


@given(st.floats(1, 20), st.floats(0, 0.28), st.floats(0.01, 1.0), st.floats(0, 0.9))
def test_percent_for_any_guest_that_needs_up_to_40_percent_more_time(gigabytes_per_second, share, working_set, zero):
    memory, rate = 256 * GIB, gigabytes_per_second * GB
    samples, end = precopy(memory, rate, share * rate, working_set * memory * (1 - zero), zero, every=end_guess(memory, rate, zero))
    progress = Progress()
    for sample in samples:
        progress.feed(sample)
        assert abs(progress.percent - 100 * sample.elapsed / end) <= 15


def end_guess(memory, rate, zero):
    return memory * (1 - zero) / rate / 40


def test_a_follower_that_comes_late_and_misses_samples_stays_monotone_and_near():
    samples, end = precopy(*CASES["hana busy"])
    progress, shown = Progress(), 0
    for sample in samples[len(samples) // 3::7]:
        progress.feed(sample)
        assert progress.percent >= shown
        shown = progress.percent
        assert abs(shown - 100 * sample.elapsed / end) <= 15


def test_without_iteration_numbers_a_jump_is_a_new_pass():
    samples, end = precopy(*CASES["hana busy"])
    progress = Progress()
    for sample in samples:
        progress.feed(sample._replace(iteration=None))
        assert abs(progress.percent - 100 * sample.elapsed / end) <= 15


def test_a_guest_that_dirties_faster_than_the_link_has_no_end():
    samples, _end = precopy(64 * GIB, GB, 3 * GB, 40 * GIB, limit=900)
    progress = Progress()
    for sample in samples:
        progress.feed(sample)
    assert progress.hopeless
    assert progress.time_left() is None
    assert progress.percent < 100
    assert line("a/b", "Running", 900, progress).endswith("no end")


def test_old_and_repeated_samples_change_nothing():
    progress = Progress()
    progress.feed(Sample("u", 10, 0, 50, 100, 5, 0, 1))
    before = (progress.percent, progress.last)
    progress.feed(Sample("u", 10, 0, 1, 100, 5, 0, 1))
    progress.feed(Sample("u", 4, 0, 90, 100, 5, 0, 1))
    assert (progress.percent, progress.last) == before


@given(st.lists(st.tuples(*[st.integers(0, 2 ** 45)] * 6, st.one_of(st.none(), st.integers(0, 9))), max_size=12))
def test_nonsense_never_raises_and_never_falls(rows):
    progress, shown = Progress(), 0
    for elapsed, processed, remaining, total, rate, dirty, iteration in rows:
        progress.feed(Sample("u", elapsed / 7.0, processed, remaining, total, rate, dirty, iteration))
        assert shown <= progress.percent <= 99
        shown = progress.percent
        assert len(line("namespace/name", "Running", 5, progress)) <= 80


# -- text ------------------------------------------------------------------------------------


def test_the_line_with_numbers():
    progress = Progress()
    progress.feed(Sample("u", 1000, 0, int(1.8 * TIB), 3 * TIB, 900 * 10 ** 6, 150 * 10 ** 6, 1))
    text = line("sap-prod/hana-prod", "Running", 1000, progress)
    assert text.startswith("sap-prod/hana-prod  copy 35%  1.8 TiB left  900 MB/s, dirty 150 MB/s  ETA ")
    assert len(text) <= 80


@pytest.mark.parametrize(("stage", "words"), [
    ("waiting", "waiting for a free slot for 3 min"), ("Pending", "queued for 3 min"), ("Running", "copying for 3 min"),
    ("cancelling", "being cancelled for 3 min"), ("PostCopy", "post-copy for 3 min"), ("SomethingNew", "SomethingNew for 3 min"),
])
def test_the_line_without_numbers(stage, words):
    assert line("a/b", stage, 180) == "a/b  " + words


def test_long_names_are_cut_never_the_numbers():
    progress = Progress()
    progress.feed(Sample("u", 1000, 0, int(1.8 * TIB), 3 * TIB, 12900 * 10 ** 6, 15000 * 10 ** 6, 1))
    text = line("n" * 63 + "/" + "v" * 63, "Running", 1000, progress)
    assert len(text) <= 80
    assert "~  copy" in text
    assert "dirty 15 GB/s" in text


def test_the_last_line():
    assert end_line("a/b", "moved", "worker-2", 1380) == "a/b  moved to worker-2 in 23 min"
    assert end_line("a/b", "restarted", "worker-2", 61) == "a/b  VM RESTARTED after 60 s"
    assert end_line("a/b", "failed", None, None) == "a/b  FAILED"
    assert len(end_line("n" * 90, "moved", "w" * 90, 5)) <= 80


@pytest.mark.parametrize(("seconds", "text"), [
    (0, "0 s"), (7.4, "7 s"), (43, "45 s"), (94, "95 s"), (100, "2 min"), (3599, "1 h 00 min"), (3900, "1 h 05 min"),
    (47 * 3600, "47 h 00 min"), (60 * 3600, "2 d 12 h"),
])
def test_coarse_times(seconds, text):
    assert coarse(seconds) == text
