# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies that share NICs, so many at a time: when each ends, and how soon all could have ended at best.

Units: bytes, bytes/s, seconds. Whoever copies gets an equal share of the target's NIC and of the source's, where what one
cannot use goes to the others. A place is held from the start of the preparation on, the links only while the copy runs.
"""

from __future__ import annotations

import hashlib
import math
from collections import namedtuple

# setup: s before the copy; volume: bytes that it sends in all; cap: bytes/s of its streams or its limit; target: node or None.
Job = namedtuple("Job", "setup volume cap target")


def flow(jobs, width, source, targets, began=0.0):
    """``[(start, end)]`` of jobs begun in their order, ``width`` at a time.

    :param source: bytes/s of the NIC they all leave by; ``math.inf`` when it does not matter.
    :param targets: ``{node: bytes/s}``; a target that is missing there does not matter.
    """
    found, following, now, width = [None] * len(jobs), 0, began, max(1, width)
    preparing, copying, left = {}, [], {}  # {index: s left}; [index] in the order that they began to copy; {index: bytes left}
    starts, rates = {}, []
    while following < len(jobs) or preparing or copying:
        while following < len(jobs) and len(preparing) + len(copying) < width:
            starts[following] = now
            preparing[following] = jobs[following].setup
            following += 1
        for index in [index for index, seconds in preparing.items() if seconds <= 1e-9]:
            del preparing[index]
            copying.append(index)
            left[index] = jobs[index].volume
            rates = None
        if rates is None:
            rates = shares([jobs[index] for index in copying], source, targets) if copying else []
        step = min([left[index] / rate for index, rate in zip(copying, rates)] + list(preparing.values()))
        now += step
        for index in preparing:
            preparing[index] -= step
        for index, rate in zip(copying, rates):
            left[index] -= rate * step
        done = [index for index in copying if left[index] <= 1e-9 * jobs[index].volume]
        for index in done:
            found[index] = (starts[index], now)
        if done:
            copying = [index for index in copying if found[index] is None]
            rates = None
    return found


def shares(jobs, source, targets):
    """Bytes/s of each of the jobs that copy at the same time."""
    if len(jobs) == 1:
        return [min(jobs[0].cap, source, targets.get(jobs[0].target, math.inf))]
    there = {}
    for job in jobs:
        there[job.target] = there.get(job.target, 0) + 1
    wanted = [min(job.cap, targets.get(job.target, math.inf) / there[job.target]) for job in jobs]
    if sum(wanted) <= source:
        return wanted
    found, free = [0.0] * len(jobs), source
    for place, index in enumerate(sorted(range(len(jobs)), key=wanted.__getitem__)):
        found[index] = min(wanted[index], free / (len(jobs) - place))
        free -= found[index]
    return found


def lower_bound(alone, rest, width, source, fastest):
    """Seconds that no order and no choice of targets can go below.

    :param alone: jobs that must not run beside any other.
    :param rest: the others.
    :param fastest: ``{index in alone + rest: bytes/s}`` of the fastest target each could have; missing: any.

    Those alone take their times one after the other. The others need at least the longest of them, all their times over
    ``width`` places, and all their bytes over the source's NIC after the shortest preparation.
    """
    jobs = list(alone) + list(rest)
    least = [job.setup + job.volume / min(job.cap, source, fastest.get(index, math.inf)) for index, job in enumerate(jobs)]
    before, beside = sum(least[:len(alone)]), least[len(alone):]
    if not beside:
        return before
    wire = min(job.setup for job in rest) + sum(job.volume for job in rest) / source
    return before + max(beside + [sum(beside) / max(1, width), wire])


def quickest(jobs, width, source, targets, choices, fits, also=(), tries=100):
    """A better order and better targets for jobs that go ``width`` at a time: ``([index in its place], [target])``.

    The best of some orders, such as the longest first; then whoever ends last is tried earlier and elsewhere as long as that
    helps. Deterministic: its dice fall the same way each time.

    :param jobs: in the order of whoever asks, with the targets it has in mind; the result is never longer than these.
    :param choices: for each job, the other nodes it may go to.
    :param fits: ``fits(index, target)``: whether it has room there, while all others stay where they are now; called again
        with the target taken as third argument ``True``.
    :param also: further orders to start from, as lists of indices.
    """
    fastest = {index: max([targets.get(name, math.inf) for name in choices[index] + [job.target]]) for index, job in enumerate(jobs)}
    goal = lower_bound([], jobs, width, source, fastest) * 1.0005
    places = [job.target for job in jobs]

    def makespan(order, at):
        found = flow([jobs[index]._replace(target=at[index]) for index in order], width, source, targets)
        return max(end for _start, end in found), order[max(range(len(order)), key=lambda place: (found[place][1], -place))]

    least = [job.setup + job.volume / min(job.cap, source, fastest[index]) for index, job in enumerate(jobs)]
    every = list(range(len(jobs)))
    early = min(every, key=lambda index: (jobs[index].setup, index))  # the wire is busy soonest
    longest = sorted(every, key=lambda index: (-least[index], index))
    orders = [every, longest, [early] + [index for index in longest if index != early],
              sorted(every, key=lambda index: (-jobs[index].volume, index)), sorted(every, key=lambda index: (jobs[index].setup, index))]
    found = None
    for start in orders + list(also) + [_shuffled(every, number) for number in range(8)]:
        if found is None or found[0] > goal:
            result = makespan(start, places)
            found = min(found or result + (start,), result + (start,), key=lambda row: row[0])
    best, last, order = found
    while best > goal and tries > 0:
        for candidate, at, moved in _neighbours(order, places, last, choices, fits):
            tries -= 1
            length, slowest = makespan(candidate, at)
            if length < best * (1 - 1e-6):
                if moved is not None:
                    fits(moved, at[moved], True)
                best, last, order, places = length, slowest, candidate, at
                break
            if tries <= 0:
                break
        else:
            break
    return order, places


def _shuffled(indices, number):
    """Without order, yet the same each time."""
    return sorted(indices, key=lambda index: hashlib.sha256(b"%d %d" % (number, index)).digest())


def _neighbours(order, places, last, choices, fits):
    """Other targets for whoever ends last and for those beside it, then other places in the order."""
    where = order.index(last)
    for index in [last] + [index for index in order[max(0, where - 3):] if index != last]:
        for target in choices[index]:
            if target != places[index] and fits(index, target):
                yield order, places[:index] + [target] + places[index + 1:], index
    rest = order[:where] + order[where + 1:]
    for place in range(where):
        yield rest[:place] + [last] + rest[place:], places, None
    for one in range(len(order) - 1, 0, -1):
        for other in range(max(0, one - 4), one):
            swapped = list(order)
            swapped[one], swapped[other] = swapped[other], swapped[one]
            yield swapped, places, None
