# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Memory, dirty rate, bandwidth -> how a pre-copy goes: passes, bytes, time, downtime, whether it ends at all.

The model (facts 12.2). Units: bytes, bytes/s, seconds. Pass 0 sends the memory in use; zero pages are only scanned.
While a pass of ``t`` seconds runs, the guest dirties ``W * (1 - exp(-D * t / W))`` of its writable working set ``W`` at
the dirty rate ``D``: what is written twice is sent once. That is the next pass. It ends when a pass is no more than the
effective rate ``B`` carries within the downtime limit ``L``; it never ends when the passes settle above ``B * L``. With
auto-converge QEMU takes CPU time from the guest, 20 % and then 10 % more at a time, once half of what was sent was dirtied
again twice.

Nothing here guesses silently: what was assumed comes back as words in ``assumptions``.
"""

from __future__ import annotations

import math
from collections import namedtuple

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import (
    format_bytes,
    format_duration,
    format_rate,
)

DOWNTIME_LIMIT = 0.3  # s; QEMU's default, which released KubeVirt leaves alone (facts 4.11)
ZERO_SCAN_RATE = 13e9  # bytes/s; 1 and 4 TiB idle guests take 72-83 s and 317 s (measurements B1, B4)
DEVICE_STATE = 0.1  # s of downtime beside the last pages (facts 12.2)
PER_STREAM = 1e9  # bytes/s of one TLS stream; uncalibrated, always named as an assumption
UNDER_MIGRATION = 2.0  # a guest dirties 2-3 times its idle rate while it is migrated (measurements B10)
LARGEST_MEASURED = 4 * 1024 ** 4  # bytes; beyond it there are no published runs (measurements B4, B5)
SETUP = (10.0, 40.0)  # s; schedule and prepare, per VM (facts 12.2)
# What a 90 % range allows for: the link up to 30 % slower than told, bursts of half as much writing again.
RATE_RANGE, DIRTY_RANGE = (0.7, 1.05), (0.5, 1.5)
MOST_PASSES = 20000

# memory, zero (bytes never touched), working_set (None: all that is in use) and disk (block-copied) in bytes; dirty_rate
# in bytes/s, under migration.
Guest = namedtuple("Guest", "memory zero working_set dirty_rate disk")
# rate: effective bytes/s; downtime_limit in s; auto_converge: bool; budget: s until KubeVirt gives up, None: never.
Way = namedtuple("Way", "rate downtime_limit auto_converge budget")
# ends: "converges" | "budget" (in time no end) | "never"; seconds of the copy (until the end or the giving up; None for
# never), passes, sent (bytes), downtime (s; None unless it converges), throttle (percent at the end).
Course = namedtuple("Course", "ends seconds passes sent downtime throttle")


def effective_rate(source_share=None, target_share=None, cap=None, streams=1, per_stream=None):
    """What one migration gets: the least of its shares of both NICs, its cap, and what its streams carry.

    :param source_share: bytes/s that the source's NIC leaves it; None: not known.
    :param cap: ``bandwidth_per_migration`` in bytes/s; None or 0: none.
    :param streams: parallel connections (8 with multifd, else 1).
    :param per_stream: bytes/s of one, measured at this site; None: :data:`PER_STREAM`, named as an assumption.
    :returns: ``(bytes/s, what limits it, [assumptions])``.
    :raises ValueError: without any NIC: then nothing is known.
    """
    if source_share is None and target_share is None:
        raise ValueError("no bandwidth is known")
    assumptions = []
    if per_stream is None:
        per_stream = PER_STREAM
        assumptions.append("one stream carries %s (not measured here)" % format_rate(PER_STREAM))
    known = {"source NIC": source_share, "target NIC": target_share, "bandwidth_per_migration": cap or None,
             "%d stream%s" % (streams, "" if streams == 1 else "s"): streams * per_stream}
    for name in ("source NIC", "target NIC"):
        if known[name] is None:
            assumptions.append("the %s is as fast as the other" % name)
    limit, rate = min(((name, value) for name, value in known.items() if value is not None), key=lambda row: row[1])
    return rate, limit, assumptions if "stream" in limit else [text for text in assumptions if "stream" not in text]


def course(guest, way):
    """How the copy goes.

    :returns: :class:`Course`.
    :raises ValueError: a rate or size that cannot be.
    """
    if way.rate <= 0 or guest.memory <= 0 or guest.dirty_rate < 0 or not 0 <= guest.zero <= guest.memory:
        raise ValueError("needs memory and a rate above zero, a dirty rate of zero or more, and zero pages within the memory")
    in_use = guest.memory - guest.zero
    working_set = min(in_use if guest.working_set is None else guest.working_set, in_use)
    volume = in_use + guest.disk
    elapsed, sent, throttle, high = 0.0, 0.0, 0, 0
    for passes in range(1, MOST_PASSES + 1):
        seconds = volume / way.rate + (guest.zero / ZERO_SCAN_RATE if passes == 1 else 0.0)
        if way.budget is not None and elapsed + seconds > way.budget:
            return Course("budget", float(way.budget), passes, sent + way.rate * (way.budget - elapsed), None, throttle)
        elapsed, sent = elapsed + seconds, sent + volume
        dirtied = _dirtied(working_set, guest.dirty_rate * (1 - throttle / 100.0), seconds)
        if dirtied <= way.rate * way.downtime_limit:
            downtime = dirtied / way.rate + DEVICE_STATE
            return Course("converges", elapsed + downtime, passes, sent + dirtied, downtime, throttle)
        if way.auto_converge and throttle < 99:
            high = high + 1 if dirtied > 0.5 * volume else 0
            if high >= 2:
                high, throttle = 0, min(99, throttle + 10) if throttle else 20
        elif passes > 1 and dirtied >= volume * (1 - 1e-9) and way.budget is None:
            break
        volume = dirtied
    return Course("never", None, passes, None, None, throttle)


def _dirtied(working_set, rate, seconds):
    return working_set * -math.expm1(-rate * seconds / working_set) if working_set else 0.0


def forecast(guest, way, setup=SETUP, best=None):
    """The course expected, the range it will be in with 90 %, and what would help if it does not converge.

    :param setup: seconds ``(least, most)`` from the start of a migration to that of its copy.
    :param best: ``(guest, way)`` that the lower bound counts from, where it is known that it may go better than expected:
        memory that was perhaps never touched, a link that others leave early.
    :returns: ``{ends, seconds: of the copy and set-up or None, low, high: bounds of the 90 % range (None: open),
        passes, sent_bytes, downtime, throttle, border: dirty rate over the rate at which it just converges, extrapolated:
        bool, helps: [{what, from, to, text}]}``.
    """
    expected = course(guest, way)
    quiet, fast = best or (guest, way)
    best = course(quiet._replace(dirty_rate=quiet.dirty_rate * DIRTY_RANGE[0]), fast._replace(rate=fast.rate * RATE_RANGE[1]))
    worst = course(guest._replace(dirty_rate=guest.dirty_rate * DIRTY_RANGE[1]), way._replace(rate=way.rate * RATE_RANGE[0]))
    middle = sum(setup) / 2.0
    most = largest_dirty_rate(guest, way)
    return {
        "ends": expected.ends,
        "seconds": expected.seconds + middle if expected.ends == "converges" else None,
        "low": best.seconds + setup[0] if best.ends == "converges" else None,
        "high": worst.seconds + setup[1] if worst.ends == "converges" else None,
        "passes": expected.passes, "sent_bytes": expected.sent, "downtime": expected.downtime, "throttle": expected.throttle,
        "border": guest.dirty_rate / most if most else None,
        "extrapolated": guest.memory > LARGEST_MEASURED,
        "helps": [] if expected.ends == "converges" else helps(guest, way),
    }


# -- what would make it converge ----------------------------------------------------


def largest_dirty_rate(guest, way):
    """The highest dirty rate (bytes/s) at which it still converges.

    :returns: 0.0 when not even an idle guest gets through; ``math.inf`` when the working set fits into the downtime.
    """
    def fits(rate):
        return course(guest._replace(dirty_rate=rate), way).ends == "converges"

    if not fits(0.0):
        return 0.0
    return math.inf if fits(64 * way.rate) else _border(fits, 0.0, 64 * way.rate)


def helps(guest, way):
    """The smallest single changes with which it would converge, each with what it costs.

    :returns: ``[{what, from, to, text}]``, those that can be had without stopping the guest first; empty when no single
        change is enough.
    """
    found = []
    most = largest_dirty_rate(guest, way)
    if most:
        found.append(_help("dirty_rate", guest.dirty_rate, most, format_rate,
                           "fewer writes: a quiet hour, what is not needed stopped, no delta merge or savepoint in between"))
    rate = _least(lambda value: course(guest, way._replace(rate=value)).ends == "converges", way.rate, 1024 * way.rate)
    if rate:
        found.append(_help("rate", way.rate, rate, format_rate, "a faster network, more streams, no cap"))
    if not way.auto_converge and course(guest, way._replace(auto_converge=True)).ends == "converges":
        found.append({"what": "auto_converge", "from": False, "to": True,
                      "text": "allow_auto_converge: takes up to %d %% of the guest's CPU time while it copies"
                      % course(guest, way._replace(auto_converge=True)).throttle})
    if way.budget is not None:
        free = course(guest, way._replace(budget=None))
        if free.ends == "converges":
            found.append(_help("budget", way.budget, free.seconds, format_duration, "more time for the copy"))
    limit = _least(lambda value: course(guest, way._replace(downtime_limit=value)).ends == "converges",
                   way.downtime_limit, 3600.0)
    if limit:
        found.append(_help("downtime_limit", way.downtime_limit, limit, format_duration,
                           "a longer stop at the end; a cluster node that stops longer than its token is fenced"))
    return found


def _help(what, before, after, words, cost):
    return {"what": what, "from": before, "to": after, "text": "%s -> %s: %s" % (words(before), words(after), cost)}


def _least(fits, low, high):
    """The least value above ``low`` that fits, None when not even ``high`` does; fits is monotonous."""
    if not fits(high):
        return None
    return -_border(lambda value: fits(-value), -high, -low)


def _border(fits, good, bad, rounds=40):
    """The last value from ``good`` towards ``bad`` that fits, to a millionth."""
    if fits(bad):
        return bad
    for _round in range(rounds):
        middle = (good + bad) / 2.0
        good, bad = (middle, bad) if fits(middle) else (good, middle)
        if abs(bad - good) <= 1e-6 * max(abs(bad), abs(good)):
            break
    return good


# -- words --------------------------------------------------------------------------


def lines(name, guest, found, assumptions=()):
    """A forecast for people, lines of at most 78 columns."""
    if found["ends"] == "converges":
        between = "%s to %s" % (_time(found["low"]), _time(found["high"], "open")) if found["low"] else "open"
        text = ["%s  %s, about %s (90 %%: %s)" % (name, format_bytes(guest.memory), format_duration(found["seconds"]), between),
                "  stops for about %s, sends %s" % (format_duration(found["downtime"]), format_bytes(int(found["sent_bytes"])))]
    else:
        when = " in the time granted" if found["ends"] == "budget" else ""
        text = ["%s  %s, DOES NOT CONVERGE%s" % (name, format_bytes(guest.memory), when)]
        text += ["  helps: " + row["text"] for row in found["helps"]] or ["  no single change would help"]
    if found["extrapolated"]:
        text.append("  extrapolated: larger than anything measured (%s)" % format_bytes(LARGEST_MEASURED))
    return [line[:78] for line in text + ["  assumed: " + words for words in assumptions]]


def _time(seconds, otherwise="?"):
    return otherwise if seconds is None else format_duration(seconds)
