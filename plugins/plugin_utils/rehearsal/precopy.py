# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pre-copy as QEMU does it, on sample pages: the embedded cluster's own truth.

Not a formula. The guest's working set is a few hundred to 65,536 sample pages; the
guest writes to random ones at its dirty rate, and every pass sends what the
last bitmap sync found dirty. What is left is therefore a sawtooth: it falls at
the effective rate and jumps up at each sync (facts 12.2, 12.3). The forecast of
:mod:`...module_utils.domain.precopy` is other code on purpose: one checks the other.

The simulation knows no clock. It is told times (seconds, any origin) and has one
event per pass, so hours of simulated copying cost milliseconds.
"""

from __future__ import annotations

import bisect
import random
import struct

PAGE = 4096
ZERO_SCAN_RATE = 13e9  # bytes/s at which QEMU passes over zero pages (1 TiB idle in about 80 s)
DOWNTIME_LIMIT = 0.3  # seconds; QEMU's default, which KubeVirt's released versions leave alone (facts 4.11)
DEVICE_STATE = 0.1  # seconds of downtime beside the last pages
RESOLUTION = 10  # sample pages that one switchover's worth of memory should span
FEWEST, MOST = 128, 65536

PRECOPY, PAUSED, POSTCOPY = "PreCopy", "Paused", "PostCopy"


class Precopy:
    """One guest being copied.

    :param memory: guest memory in bytes.
    :param working_set: bytes the guest keeps rewriting (at most the touched memory).
    :param dirty_rate: bytes/s it writes there.
    :param zero_fraction: share of memory never touched: scanned, hardly sent.
    :param disk: bytes of local disks copied before the memory (block migration).
    :param start: time of the start; all other times use the same origin.
    :param bandwidth: effective bytes/s at the start; 0 is a stalled link.
    """

    def __init__(self, memory, working_set=0, dirty_rate=0.0, zero_fraction=0.0, disk=0, seed=0, start=0.0,
                 bandwidth=0.0, auto_converge=False):
        self.memory, self.disk = float(memory), float(disk)
        self.zero = self.memory * min(max(zero_fraction, 0.0), 1.0)
        self.working_set = min(float(working_set), self.memory - self.zero)
        if self.working_set < PAGE:
            self.working_set = 0.0
        self.write_rate, self.auto_converge = float(dirty_rate), auto_converge
        self.start, self.mode, self.done, self.finished, self.downtime = start, PRECOPY, False, None, None
        self._rng = random.Random(seed)
        self._pages = _sample_pages(self.working_set, bandwidth or 1e9)
        self._granule = self.working_set / self._pages
        self._dirty, self._owed = set(), 0.0
        self._now, self._pass_start = start, start
        self._bandwidth = float(bandwidth)
        self._left = self.memory + self.disk
        self._pass_size = self._left
        self._normal_share = (self._left - self.zero) / self._left if self._left else 1.0
        self._sent = self._sent_at_sync = self._scanned_zero = 0.0
        self._seen_rate, self._expected = 0.0, DOWNTIME_LIMIT
        self._iteration, self._throttle, self._high, self._switching = 1, 0, 0, False
        self._stop_at = None
        self._times, self._anchors = [], []
        self._remember()

    # -- what the world does to it -------------------------------------------

    def advance(self, now):
        """Let everything happen that is due up to ``now``."""
        while not self.done:
            due = self.next_event()
            if due is None or due > now:
                return
            self._step(due)

    def set_bandwidth(self, now, bandwidth):
        """From ``now`` on the copy gets that many bytes/s."""
        if abs(bandwidth - self._bandwidth) > 1.0:
            self._interrupt(now)
            self._bandwidth = float(bandwidth)
            self._remember()

    def set_dirty_rate(self, now, rate):
        """From ``now`` on the guest writes that many bytes/s."""
        self._interrupt(now)
        self.write_rate = float(rate)
        self._remember()

    def pause(self, now):
        """The guest stops; what is dirty still has to be sent (facts 4.8 b)."""
        self._interrupt(now)
        self.mode = PAUSED
        self._stop_at = self._stop_at or now
        self._remember()

    def post_copy(self, now):
        """The guest goes on at the target; every page still dirty follows it."""
        self._interrupt(now)
        self.mode = POSTCOPY
        self._left = min(self._left + len(self._dirty) * self._granule, self.memory)
        self._dirty.clear()
        self._normal_share, self.downtime = 1.0, DOWNTIME_LIMIT
        self._remember()

    def next_event(self):
        """When the present pass ends at the present rate; None while nothing moves, and when all is over."""
        if self.done:
            return None
        if self._left <= 0:
            return self._now + (DEVICE_STATE if self._switching else 0.0)
        rate = self._rate()
        if rate <= 0:
            return None
        return self._now + self._left / rate + (DEVICE_STATE if self._switching else 0.0)

    # -- what can be seen ----------------------------------------------------

    def state(self, now):
        """What libvirt's job statistics say at ``now`` (any time since the start): plain dict.

        Bytes: ``processed``, ``remaining``, ``total`` and ``memory_*``, ``disk_*``;
        bytes/s: ``bandwidth``, ``dirty_rate`` (as measured over the last pass);
        seconds: ``elapsed``, ``expected_downtime``; and ``iteration`` (bitmap syncs,
        from 1), ``constant_pages``, ``normal_pages``, ``throttle`` (percent), ``mode``.
        """
        index = max(0, bisect.bisect_right(self._times, now) - 1)
        at, left, rate, sent, zero, share, facts = self._anchors[index]
        moved = min(left, rate * max(0.0, now - at))
        left, sent, zero = left - moved, sent + moved * share, zero + moved * (1 - share)
        disk_sent = min(self.disk, sent)
        disk_left = min(left, self.disk - disk_sent)
        return dict(
            facts, elapsed=max(0.0, now - self.start), processed=sent, remaining=left, total=self.memory + self.disk,
            memory_processed=sent - disk_sent, memory_remaining=left - disk_left, memory_total=self.memory,
            disk_processed=disk_sent, disk_remaining=disk_left, disk_total=self.disk,
            constant_pages=int(zero // PAGE), normal_pages=int((sent - disk_sent) // PAGE),
        )

    # -- inside --------------------------------------------------------------

    def _rate(self):
        if self._bandwidth <= 0:
            return 0.0
        return 1.0 / (self._normal_share / self._bandwidth + (1 - self._normal_share) / ZERO_SCAN_RATE)

    def _interrupt(self, now):
        """Account for the pass so far, before something about it changes."""
        self.advance(now)
        self._run_to(max(now, self._now))

    def _run_to(self, when):
        seconds, self._now = when - self._now, when
        moved = min(self._left, self._rate() * seconds)
        self._left -= moved
        self._sent += moved * self._normal_share
        self._scanned_zero += moved * (1 - self._normal_share)
        if self.mode == PRECOPY and not self._switching:
            self._write(seconds)

    def _write(self, seconds):
        """The guest writes: random sample pages of the working set become dirty."""
        if not self._granule:
            return
        self._owed += self.write_rate * (1 - self._throttle / 100.0) * seconds / self._granule
        count = int(self._owed)
        self._owed -= count
        if len(self._dirty) < self._pages:
            self._dirty.update(_random_pages(self._rng, self._pages, min(count, 16 * self._pages)))

    def _step(self, when):
        self._run_to(when)
        self._left = 0.0
        if self._switching or self.mode == POSTCOPY:
            self.done, self.finished = True, when
            if self.downtime is None:
                self.downtime = when - self._stop_at
        else:
            self._sync(when)
        self._remember()

    def _sync(self, when):
        """The end of a pass: what was written meanwhile is the next one, or small enough to stop for."""
        volume, period = len(self._dirty) * self._granule, when - self._pass_start
        sent = self._sent - self._sent_at_sync
        if period > 0:
            self._seen_rate = volume / period
        if self.auto_converge and self.mode == PRECOPY:
            self._converge(volume, sent)
        self._dirty.clear()
        self._iteration += 1
        self._left = self._pass_size = volume
        self._normal_share, self._pass_start, self._sent_at_sync = 1.0, when, self._sent
        self._expected = volume / self._bandwidth if self._bandwidth else self._expected
        if volume <= self._bandwidth * DOWNTIME_LIMIT:
            self._switching = True
            self._stop_at = self._stop_at or when

    def _converge(self, volume, sent):
        """QEMU slows the guest when twice more than half of what was sent got dirty again (facts 12.2)."""
        self._high = self._high + 1 if volume > 0.5 * sent else 0
        if self._high >= 2:
            self._high = 0
            self._throttle = min(99, self._throttle + 10) if self._throttle else 20

    def _remember(self):
        facts = {
            "bandwidth": self._bandwidth, "dirty_rate": self._seen_rate, "iteration": self._iteration,
            "expected_downtime": self._expected, "throttle": self._throttle, "mode": self.mode,
        }
        anchor = (self._now, self._left, self._rate(), self._sent, self._scanned_zero, self._normal_share, facts)
        self._times.append(self._now)
        self._anchors.append(anchor)


def _sample_pages(working_set, bandwidth):
    """A power of two, fine enough to resolve what one switchover may carry."""
    wanted = RESOLUTION * working_set / (bandwidth * DOWNTIME_LIMIT)
    pages = FEWEST
    while pages < wanted and pages < MOST:
        pages *= 2
    return pages


def _random_pages(rng, pages, count):
    """``count`` uniformly random page numbers below ``pages`` (a power of two, at most 65,536)."""
    if count <= 0:
        return ()
    mask = int.from_bytes(struct.pack("=H", pages - 1) * count, "little")
    return memoryview((rng.getrandbits(16 * count) & mask).to_bytes(2 * count, "little")).cast("H")


def fair_shares(flows, capacity):
    """Rates of flows that share links, by progressive filling (max-min fair).

    :param flows: ``{flow: (cap, [link, ...])}``; cap in bytes/s.
    :param capacity: ``{link: bytes/s}``; a link that is not named has room for all.
    :returns: ``{flow: bytes/s}``.
    """
    rates, open_flows, free = {}, dict(flows), dict(capacity)
    while open_flows:
        users = {}
        for _cap, links in open_flows.values():
            for link in links:
                users[link] = users.get(link, 0) + 1
        share = {
            flow: min([cap] + [free[link] / users[link] for link in links if link in free])
            for flow, (cap, links) in open_flows.items()
        }
        least = min(share.values())
        for flow in [flow for flow, rate in share.items() if rate <= least * (1 + 1e-9)]:
            rates[flow] = max(0.0, share[flow])
            for link in open_flows.pop(flow)[1]:
                if link in free:
                    free[link] = max(0.0, free[link] - rates[flow])
    return rates
