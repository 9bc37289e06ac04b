# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page simulation of the embedded cluster: it behaves as facts 12.2 and 12.3 say, and costs next to nothing."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.precopy import (
    DOWNTIME_LIMIT,
    PAUSED,
    POSTCOPY,
    PRECOPY,
    Precopy,
    fair_shares,
)

GIB, TIB = 1024 ** 3, 1024 ** 4


def finished(run, limit=1e6):
    run.advance(limit)
    assert run.done
    return run


def volumes(memory, working_set, rate, bandwidth):
    """The closed form of facts 12.2, as an independent check: bytes of each pass until the switchover."""
    passes = [memory]
    while passes[-1] > bandwidth * DOWNTIME_LIMIT and len(passes) < 100:
        passes.append(working_set * (1 - math.exp(-rate * passes[-1] / bandwidth / working_set)))
    return passes


def test_idle_guest_takes_its_size_over_the_rate():
    run = finished(Precopy(64 * GIB, bandwidth=1e9))
    assert run.finished == pytest.approx(64 * GIB / 1e9, rel=0.01)
    assert run.downtime < 0.2
    assert run.state(run.finished)["iteration"] == 2


@pytest.mark.parametrize("memory, working_set, rate, bandwidth", [
    (3 * TIB, 120 * GIB, 150e6, 1e9), (3 * TIB, 120 * GIB, 150e6, 8e9), (96 * GIB, 8 * GIB, 300e6, 1e9), (TIB, 400 * GIB, 600e6, 1e9),
])
def test_passes_follow_the_closed_form(memory, working_set, rate, bandwidth):
    run = finished(Precopy(memory, working_set, rate, bandwidth=bandwidth, seed=3))
    expected = volumes(memory, working_set, rate, bandwidth)
    assert run.finished == pytest.approx(sum(expected) / bandwidth, rel=0.03)
    assert run.state(run.finished)["iteration"] == pytest.approx(len(expected), abs=1)
    assert run.state(run.finished)["processed"] == pytest.approx(sum(expected), rel=0.03)


def test_remaining_is_a_sawtooth():
    run = Precopy(100 * GIB, 20 * GIB, 700e6, bandwidth=1e9, seed=1)
    syncs = []
    while not run.done and len(syncs) < 6:
        at = run.next_event()
        before = run.state(at - 1e-6)
        run.advance(at)
        after = run.state(at)
        assert before["remaining"] < 1e5 < after["remaining"]  # falls to nothing, jumps up at the sync
        assert after["iteration"] == before["iteration"] + 1
        syncs.append(at)
    half = run.state((syncs[0] + syncs[1]) / 2)
    assert half["remaining"] == pytest.approx(run.state(syncs[0])["remaining"] / 2, rel=0.01)
    assert run.state(syncs[1])["dirty_rate"] == pytest.approx(700e6, rel=0.3)


def test_switchover_only_when_the_rest_fits_the_downtime_limit():
    run = Precopy(100 * GIB, 2 * GIB, 500e6, bandwidth=1e9, seed=5)
    while not run.done:
        last = run.state(run.next_event())["remaining"] if run.next_event() else 0
        before = run._left
        run.advance(run.next_event())
    assert before <= 1e9 * DOWNTIME_LIMIT and last >= 0
    assert 0.1 <= run.downtime <= DOWNTIME_LIMIT + 0.2


def test_guest_that_writes_faster_than_it_is_copied_never_ends_and_costs_little():
    run = Precopy(3 * TIB, 300 * GIB, 3e9, bandwidth=1e9)
    events = 0
    while run.next_event() < 18 * 3600:
        run.advance(run.next_event())
        events += 1
    assert not run.done and 100 < events < 1000  # what it costs, on any machine
    state = run.state(18 * 3600)
    assert state["processed"] == pytest.approx(18 * 3600 * 1e9, rel=0.01)
    assert state["expected_downtime"] > 100


def test_small_hot_spot_costs_little_too():
    began = time.process_time()
    run = Precopy(TIB, GIB, 4e9, bandwidth=1e9)
    run.advance(4 * 3600)
    assert not run.done and run.state(4 * 3600)["iteration"] > 5000
    assert time.process_time() - began < 10.0  # a second or less; it shares the machine with other tests


def test_zero_pages_are_cheap():
    run = finished(Precopy(TIB, zero_fraction=1.0, bandwidth=1e9))
    assert 60 < run.finished < 110  # 1 TiB idle and untouched: about 80 s
    state = run.state(run.finished)
    assert state["constant_pages"] == pytest.approx(TIB / 4096, rel=0.001) and state["normal_pages"] == 0
    half = finished(Precopy(TIB, zero_fraction=0.5, bandwidth=1e9))
    assert half.finished == pytest.approx(TIB / 2 / 1e9 + TIB / 2 / 13e9, rel=0.01)


def test_rate_change_in_the_middle_of_a_pass():
    run = Precopy(100e9, bandwidth=1e9)
    run.set_bandwidth(50, 2e9)
    assert run.next_event() == pytest.approx(75)
    assert run.state(60)["processed"] == pytest.approx(70e9)
    run.set_bandwidth(60, 0)
    assert run.next_event() is None
    assert run.state(500)["remaining"] == pytest.approx(30e9)
    run.set_bandwidth(500, 1e9)
    assert finished(run).finished == pytest.approx(530, abs=0.5)


def test_past_states_stay_what_they_were():
    run = Precopy(100 * GIB, 10 * GIB, 400e6, bandwidth=1e9)
    seen = {}
    while not run.done:
        middle = run._now + (run.next_event() - run._now) / 2
        seen[middle] = run.state(middle)
        run.advance(run.next_event())
    assert len(seen) > 3 and all(run.state(when) == state for when, state in seen.items())


def test_auto_converge_slows_the_guest_until_it_fits():
    options = dict(memory=64 * GIB, working_set=16 * GIB, dirty_rate=1.2e9, bandwidth=1e9, seed=2)
    without = Precopy(**options)
    without.advance(5000)
    assert not without.done and without.state(5000)["throttle"] == 0
    run = finished(Precopy(auto_converge=True, **options), 20000)
    throttle = run.state(run.finished)["throttle"]
    assert 20 <= throttle <= 99 and throttle % 10 == 0


def test_paused_guest_converges():
    run = Precopy(64 * GIB, 16 * GIB, 2e9, bandwidth=1e9)
    run.advance(300)
    run.pause(300)
    assert run.state(300)["mode"] == PAUSED
    finished(run)
    assert run.finished < 300 + 2 * 18 and run.downtime == pytest.approx(run.finished - 300)


def test_post_copy_sends_every_page_once_more_and_ends():
    run = Precopy(64 * GIB, 16 * GIB, 2e9, bandwidth=1e9)
    run.advance(300)
    run.post_copy(300)
    left = run.state(300)["remaining"]
    assert run.state(300)["mode"] == POSTCOPY and left <= 2 * 16 * GIB
    assert finished(run).finished == pytest.approx(300 + left / 1e9, abs=0.2)


def test_same_seed_same_run():
    def once(seed):
        return finished(Precopy(64 * GIB, 8 * GIB, 300e6, bandwidth=1e9, seed=seed)).finished

    assert once(7) == once(7)
    assert len({once(seed) for seed in range(5)}) > 1


def test_local_disks_go_first_and_count():
    run = Precopy(10e9, disk=5e9, bandwidth=1e9)
    state = run.state(3)
    assert state["disk_processed"] == pytest.approx(3e9) and state["memory_processed"] == 0 and state["total"] == 15e9
    assert finished(run).finished == pytest.approx(15, abs=0.3)


@settings(max_examples=60, deadline=None)
@given(
    memory=st.integers(1, 2000), share=st.floats(0, 1), rate=st.floats(0, 3e9), zero=st.floats(0, 1),
    bandwidth=st.floats(1e7, 1e10), seed=st.integers(0, 5),
    changes=st.lists(st.tuples(st.floats(0.1, 500), st.floats(0, 1e10)), max_size=4),
)
def test_counters_stay_sane_whatever_happens(memory, share, rate, zero, bandwidth, seed, changes):
    run = Precopy(memory * GIB, memory * GIB * share, rate, zero, seed=seed, bandwidth=bandwidth)
    now, sent = 0.0, 0.0
    for pause, new in changes:
        now += pause
        run.advance(now)
        run.set_bandwidth(now, new)
        state = run.state(now)
        assert -1 <= state["remaining"] <= state["total"] * (1 + 1e-9)
        assert state["processed"] >= sent - 1 and state["mode"] == PRECOPY
        assert state["iteration"] >= 1 and state["dirty_rate"] <= 3e9 * 1.5 + memory * GIB
        sent = state["processed"]


def test_flows_share_links_fairly():
    shares = fair_shares(
        {"slow": (67e6, ["out a"]), "one": (1e9, ["out a", "in b"]), "wide": (8e9, ["out a", "in c"])},
        {"out a": 3e9, "in b": 9e9, "in c": 1.5e9})
    assert shares == {"slow": 67e6, "one": 1e9, "wide": 1.5e9}
    assert fair_shares({1: (5e9, ["x"]), 2: (5e9, ["x"])}, {"x": 4e9}) == {1: 2e9, 2: 2e9}
    assert fair_shares({1: (5e9, ["x"]), 2: (5e9, ["x"])}, {"x": 0}) == {1: 0.0, 2: 0.0}
    assert fair_shares({}, {}) == {}
