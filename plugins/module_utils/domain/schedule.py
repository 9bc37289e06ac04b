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
import heapq
import math
from collections import namedtuple

# setup: s before the copy; volume: bytes that it sends in all; cap: bytes/s of its streams or its limit; target: node or None.
Job = namedtuple("Job", "setup volume cap target")


def flow(jobs, width, source, targets, began=0.0):
    """``[(start, end)]`` of jobs begun in their order, ``width`` at a time.

    :param source: bytes/s of the NIC they all leave by; ``math.inf`` when it does not matter.
    :param targets: ``{node: bytes/s}``; a target that is missing there does not matter.
    """
    return _course(jobs, range(len(jobs)), [job.target for job in jobs], width, source, targets, began)


def _course(jobs, order, places, width, source, targets, began=0.0, until=math.inf):
    """``[(start, end)]`` as the jobs stand in ``order``, each going to its place; None when one ends after ``until``."""
    found, starts, following, now, busy, width = [None] * len(order), [], 0, began, 0, max(1, width)
    preparing, copying, left, rates = [], [], [], []  # preparing: heap of (when its copy begins, its turn); copying: turns
    wire = sum(jobs[index].volume for index in order)  # what must still leave by the source's NIC
    while True:
        while following < len(order) and busy < width:
            starts.append(now)
            heapq.heappush(preparing, (now + jobs[order[following]].setup, following))
            following += 1
            busy += 1
        if not busy:
            return found
        step = preparing[0][0] - now if preparing else math.inf
        for volume, rate in zip(left, rates):
            if rate > 0 and volume / rate < step:
                step = volume / rate
        if step == math.inf:  # what gets nothing never ends
            return [row or (starts[turn] if turn < len(starts) else math.inf, math.inf) for turn, row in enumerate(found)]
        now += step
        wire -= sum(rates) * step
        if now + wire / source > until + 1e-6 * until:
            return None
        left = [volume - rate * step for volume, rate in zip(left, rates)]
        changed = False
        while preparing and preparing[0][0] <= now + 1e-9:
            turn = heapq.heappop(preparing)[1]
            copying.append(turn)
            left.append(jobs[order[turn]].volume)
            changed = True
        for place in range(len(copying) - 1, -1, -1):
            if left[place] <= 1e-9 * jobs[order[copying[place]]].volume:
                turn = copying.pop(place)
                del left[place]
                found[turn] = (starts[turn], now)
                busy -= 1
                changed = True
        if changed:
            rates = _shares([jobs[order[turn]].cap for turn in copying], [places[order[turn]] for turn in copying], source, targets)


def shares(jobs, source, targets):
    """Bytes/s of each of the jobs that copy at the same time."""
    return _shares([job.cap for job in jobs], [job.target for job in jobs], source, targets)


def _shares(caps, places, source, targets):
    if len(caps) == 1:
        return [min(caps[0], source, targets.get(places[0], math.inf))]
    wanted = [min(cap, targets.get(place, math.inf) / places.count(place)) for cap, place in zip(caps, places)]
    if sum(wanted) <= source:
        return wanted
    found, free = [0.0] * len(caps), source
    for place, index in enumerate(sorted(range(len(caps)), key=wanted.__getitem__)):
        found[index] = min(wanted[index], free / (len(caps) - place))
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

    def makespan(order, at, until=math.inf):
        found = _course(jobs, order, at, width, source, targets, until=until)
        if found is None:
            return math.inf, None
        length = max(end for _start, end in found)
        return length, order[next(place for place, (_start, end) in enumerate(found) if end == length)]

    least = [job.setup + job.volume / min(job.cap, source, fastest[index]) for index, job in enumerate(jobs)]
    every = list(range(len(jobs)))
    early = min(every, key=lambda index: (jobs[index].setup, index))  # the wire is busy soonest
    longest = sorted(every, key=lambda index: (-least[index], index))
    orders = [every, longest, [early] + [index for index in longest if index != early],
              sorted(every, key=lambda index: (-jobs[index].volume, index)), sorted(every, key=lambda index: (jobs[index].setup, index))]
    found = None
    for start in orders + list(also) + [_shuffled(every, number) for number in range(8)]:
        if found is None or found[0] > goal:
            result = makespan(start, places, found[0] if found else math.inf)
            found = min(found or result + (start,), result + (start,), key=lambda row: row[0])
    best, last, order = found
    while best > goal and tries > 0:
        for candidate, at, moved in _neighbours(order, places, last, choices, fits):
            tries -= 1
            length, slowest = makespan(candidate, at, best)
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
