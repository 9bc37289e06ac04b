# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies that share NICs: shares, times, and a lower bound that nothing goes below."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.schedule import Job, flow, lower_bound, shares


def ends(found):
    return [end for _start, end in found]


def test_what_one_cannot_use_goes_to_the_others():
    jobs = [Job(0, 1, 2, "a"), Job(0, 1, 100, "b"), Job(0, 1, 100, "c")]
    assert shares(jobs, 10, {}) == [2, 4, 4]
    assert shares(jobs, 10, {"b": 1}) == [2, 1, 7]
    assert shares([Job(0, 1, 100, "a"), Job(0, 1, 100, "a")], math.inf, {"a": 6}) == [3, 3]
    assert shares([], 10, {}) == []


def test_a_copy_gets_the_link_when_the_other_ends_and_holds_its_place_while_it_prepares():
    assert ends(flow([Job(0, 10, 100, "a"), Job(0, 30, 100, "b")], 2, 10, {})) == [pytest.approx(2), pytest.approx(4)]
    assert flow([Job(5, 10, 10, "a"), Job(5, 10, 10, "b")], 1, 10, {}, 100.0) == [
        (100, pytest.approx(106)), (pytest.approx(106), pytest.approx(112))]
    assert ends(flow([Job(5, 50, 100, "a"), Job(0, 50, 100, "b")], 2, 10, {})) == [pytest.approx(10), pytest.approx(5)]
    assert flow([], 2, 10, {}) == []


def test_a_copy_to_where_nothing_gets_through_never_ends_and_the_others_do():
    assert flow([Job(1, 10, 100, "a"), Job(0, 10, 100, "b"), Job(0, 10, 100, "b")], 2, 10, {"a": 0}) == [
        (0, math.inf), (0, pytest.approx(1)), (pytest.approx(1), pytest.approx(2))]
    assert flow([Job(0, 10, 100, "a")] * 2, 1, 10, {"a": 0}) == [(0, math.inf), (math.inf, math.inf)]


@pytest.mark.parametrize("seed, count", [(seed, 2 + seed % 5) for seed in range(12)] + [(99, 8)])
def test_no_order_goes_below_the_lower_bound(seed, count):
    rng = random.Random(seed)
    links = {"a": rng.choice([5.0, 10.0]), "b": 10.0}
    jobs = [Job(rng.uniform(1, 4), rng.uniform(5, 90), rng.choice([3.0, 50.0]), rng.choice("ab")) for _number in range(count)]
    width, source = rng.choice([1, 2, 3]), rng.choice([6.0, 10.0])
    fastest = {index: links[job.target] for index, job in enumerate(jobs)}
    orders = itertools.permutations(jobs) if count < 7 else (rng.sample(jobs, count) for _order in range(300))
    best = min(max(ends(flow(list(order), width, source, links))) for order in orders)
    bound = lower_bound([], jobs, width, source, fastest)
    assert bound <= best * (1 + 1e-9)
    assert width > 1 or best == pytest.approx(bound), "one after the other there is nothing to lose"
    together = lower_bound(jobs[:1], jobs[1:], width, source, fastest)
    alone = flow(jobs[:1], 1, source, links)[0][1]
    assert together <= alone + min(max(ends(flow(list(order), width, source, links)), default=0)
                                   for order in [jobs[1:]]) * (1 + 1e-9)
