# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The forecast: against published migrations, against the page simulation of the embedded cluster, at its borders."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import precopy
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.precopy import Guest, Way, course, forecast
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.precopy import Precopy

GI, TI = 1024 ** 3, 1024 ** 4
GBIT = 1e9 / 8


def way(rate, budget=None, auto_converge=False, downtime_limit=0.3):
    return Way(rate, downtime_limit, auto_converge, budget)


# -- published migrations whose inputs are given (B1, B4, B5, B7) --------------------


@pytest.mark.parametrize("guest, rate, seconds, within", [
    (Guest(TI, TI - 4302604 * 4096, None, 0, 0), 100 * GBIT, 83.1, 0.10),  # 1 TiB idle, one stream
    (Guest(4 * TI, 4 * TI - 77208692 * 1024, None, 0, 0), 100 * GBIT, 317.1, 0.10),  # 4 TiB idle
    (Guest(4 * TI, 4 * TI - 1017239053 * 4096, None, 0, 0), 93.8113 * GBIT, 357.6, 0.05),  # 4 TiB, all of it written once
    (Guest(64 * GI, 64 * GI - 54e9, None, 0, 0), 10 * GBIT, 46.1, 0.10),  # 54 GB of data on 10 Gbit/s
])
def test_published_runs(guest, rate, seconds, within):
    assert course(guest, way(rate)).seconds == pytest.approx(seconds, rel=within)


# -- borders ---------------------------------------------------------------------------


def test_an_idle_guest_takes_one_pass_and_its_bytes():
    found = course(Guest(64 * GI, 0, None, 0, 0), way(GI))
    assert (found.ends, found.passes, found.sent) == ("converges", 1, 64 * GI)
    assert found.seconds == pytest.approx(64 + precopy.DEVICE_STATE)


def test_local_disks_are_copied_as_well():
    assert course(Guest(64 * GI, 0, None, 0, 64 * GI), way(GI)).seconds == pytest.approx(128.1)


def test_a_small_working_set_converges_above_the_link_a_large_one_never():
    assert course(Guest(TI, 0, GI // 8, 2e9, 0), way(GI)).ends == "converges"
    assert course(Guest(TI, 0, 512 * GI, 2e9, 0), way(GI)).ends == "never"


def test_the_budget_ends_what_takes_too_long():
    found = course(Guest(TI, 0, 512 * GI, 2e9, 0), way(GI, budget=3600))
    assert (found.ends, found.seconds, found.downtime) == ("budget", 3600, None)
    assert found.sent == pytest.approx(3600 * GI)


def test_auto_converge_gets_a_busy_guest_through():
    guest = Guest(TI, 0, 512 * GI, 2e9, 0)
    found = course(guest, way(GI, auto_converge=True))
    assert found.ends == "converges" and 20 <= found.throttle <= 99


@pytest.mark.parametrize("guest, rate", [
    (Guest(0, 0, None, 0, 0), GI), (Guest(GI, 0, None, -1, 0), GI), (Guest(GI, 0, None, 0, 0), 0), (Guest(GI, 2 * GI, None, 0, 0), GI)])
def test_what_cannot_be_is_refused(guest, rate):
    with pytest.raises(ValueError, match="above zero"):
        course(guest, way(rate))


# -- what helps ----------------------------------------------------------------------------


def test_each_help_is_just_enough():
    guest, now = Guest(3 * TI, 0, 600 * GI, 3e9, 0), way(2e9)
    found = forecast(guest, now)
    assert found["ends"] == "never" and found["border"] > 1
    by = {row["what"]: row for row in found["helps"]}
    assert {"dirty_rate", "rate", "downtime_limit"} <= set(by)
    for what, changed in (
            ("dirty_rate", lambda value: course(guest._replace(dirty_rate=value), now)),
            ("rate", lambda value: course(guest, now._replace(rate=value))),
            ("downtime_limit", lambda value: course(guest, now._replace(downtime_limit=value)))):
        row = by[what]
        assert changed(row["to"]).ends == "converges"
        short = row["to"] * (1.01 if what == "dirty_rate" else 0.99)
        assert changed(short).ends == "never", what
    assert all(row["text"] for row in found["helps"])


def test_more_time_helps_only_where_it_would_end_at_all():
    slow = Guest(3 * TI, 0, 200 * GI, 5e8, 0)
    assert "budget" in {row["what"] for row in forecast(slow, way(1e9, budget=1800))["helps"]}
    assert "budget" not in {row["what"] for row in forecast(slow._replace(dirty_rate=5e9), way(1e9, budget=1800))["helps"]}


def test_beyond_what_was_ever_measured_it_says_so():
    huge = Guest(6 * TI, 0, None, 0, 0)
    assert forecast(huge, way(5e9))["extrapolated"] is True
    assert forecast(Guest(4 * TI, 0, None, 0, 0), way(5e9))["extrapolated"] is False
    assert any("extrapolated" in line for line in precopy.lines("sap/hana", huge, forecast(huge, way(5e9))))


@settings(max_examples=150, deadline=None)
@given(memory=st.floats(1e9, 1e13), share=st.floats(0, 1), hot=st.floats(0.001, 1), dirty=st.floats(0, 2e10), rate=st.floats(1e7, 2e10))
def test_faster_links_and_quieter_guests_never_take_longer(memory, share, hot, dirty, rate):
    guest = Guest(memory, memory * share * 0.99, memory * hot, dirty, 0)
    found = course(guest, way(rate))
    if found.ends == "converges":
        assert course(guest, way(rate * 1.5)).seconds <= found.seconds * (1 + 1e-9) + found.downtime
        quieter = course(guest._replace(dirty_rate=dirty / 2), way(rate))
        assert quieter.ends == "converges" and quieter.seconds <= found.seconds + found.downtime
        assert found.sent >= (memory - guest.zero) * (1 - 1e-9)
    else:
        assert course(guest, way(rate / 2)).ends == "never"


# -- the rate ----------------------------------------------------------------------------------


def test_the_least_counts_and_what_was_assumed_is_said():
    assert precopy.effective_rate(12.5e9, 3e9, cap=64 * 1024 ** 2, streams=8)[:2] == (64 * 1024 ** 2, "bandwidth_per_migration")
    rate, limit, assumed = precopy.effective_rate(12.5e9, 12.5e9, streams=1)
    assert (rate, limit) == (precopy.PER_STREAM, "1 stream") and "not measured" in assumed[0]
    assert precopy.effective_rate(12.5e9, 12.5e9, streams=8, per_stream=2e9) == (12.5e9, "source NIC", [])
    assert "as fast as the other" in precopy.effective_rate(1e9, None, streams=8)[2][0]
    with pytest.raises(ValueError, match="no bandwidth"):
        precopy.effective_rate()


# -- against the page simulation, which is other code ----------------------------------------------


def simulated(guest, rate, seed, disturbed):
    """Seconds of one simulated copy with its set-up; the link 30 % slower at times and bursts of writing where asked."""
    rng = random.Random(seed)
    setup = rng.uniform(*precopy.SETUP)
    copy = Precopy(guest.memory, guest.working_set, guest.dirty_rate, guest.zero / guest.memory, seed=seed, bandwidth=rate)
    now = 0.0
    while not copy.done and now < 40 * guest.memory / rate:
        now += rng.uniform(0.05, 0.15) * guest.memory / rate
        copy.advance(now)
        if disturbed and not copy.done:
            copy.set_bandwidth(now, rate * rng.choice([1.0, 1.0, 0.7]))
            copy.set_dirty_rate(now, guest.dirty_rate * rng.choice([1.0, 1.0, 1.5]))
    return (copy.finished + setup) if copy.done else None


def random_guest(rng):
    memory = rng.choice([16, 64, 256, 1024]) * GI
    rate = rng.choice([10, 25, 100]) * GBIT * 0.9
    zero = memory * rng.choice([0.0, 0.2, 0.5])
    return Guest(memory, zero, (memory - zero) * rng.uniform(0.02, 0.3), rate * rng.uniform(0.0, 0.55), 0), rate


def test_undisturbed_the_simulation_takes_the_time_forecast():
    rng, errors = random.Random(7), []
    for seed in range(40):
        guest, rate = random_guest(rng)
        copy = Precopy(guest.memory, guest.working_set, guest.dirty_rate, guest.zero / guest.memory, seed=seed, bandwidth=rate)
        copy.advance(1e9)
        errors.append(abs(copy.finished / course(guest, way(rate)).seconds - 1))
    assert sorted(errors)[20] <= 0.02 and max(errors) <= 0.10


@pytest.mark.parametrize("factor, ends", [(0.8, True), (1.25, False)])
def test_beside_the_border_the_simulation_agrees_whether_it_ends(factor, ends):
    rng = random.Random(3)
    for seed in range(8):
        guest, rate = random_guest(rng)
        most = precopy.largest_dirty_rate(guest, way(rate))
        if most == math.inf:
            assert guest.working_set <= 0.3 * rate
            continue
        guest = guest._replace(dirty_rate=factor * most)
        assert (course(guest, way(rate)).ends == "converges") is ends
        copy = Precopy(guest.memory, guest.working_set, guest.dirty_rate, guest.zero / guest.memory, seed=seed, bandwidth=rate)
        copy.advance(60 * guest.memory / rate)
        assert copy.done is ends


def test_disturbed_it_ends_inside_the_range_in_85_of_100_runs():
    rng, inside, runs = random.Random(11), 0, 60
    for seed in range(runs):
        guest, rate = random_guest(rng)
        found, actual = forecast(guest, way(rate)), simulated(guest, rate, seed, disturbed=True)
        inside += actual is not None and found["low"] <= actual and (found["high"] is None or actual <= found["high"])
    assert inside / runs >= 0.85, inside
