# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How time passes: while somebody waits for it (simulated), or by itself (real)."""

from __future__ import annotations

import asyncio
import collections
import time

SLICE = 0.01  # real seconds of simulation after which other requests get a turn
CASCADE = 1000  # steps at one instant before it counts as a loop of the controllers
LOG_EVERY = 4.0  # seconds on the real clock after which those who follow a log get what is new
SETTLE = 1.0  # real seconds that open streams get to take what was written


class Timekeeper:
    """Advances the clock for those who wait, and stops when a watch got a line.

    :param streams: the set of open :class:`~.wire.Stream`.
    """

    def __init__(self, clock, streams):
        self.clock = clock
        self.before_answer = []  # functions called before a wait is answered (logs bring themselves up to date)
        self._streams = streams
        self._lines = collections.Counter()
        self._ends = []
        self._due = asyncio.Event()
        if not clock.simulated:
            clock.wake = self._due.set

    def line(self, client=None, count=1):
        """Lines were written to a watch (of a client that gave its name)."""
        self._lines[None] += count
        if client is not None:
            self._lines[client] += count
        self._due.set()

    def lines(self, client=None):
        """How many lines were written to all watches, or to those of one client, since the start."""
        return self._lines[client]

    async def wait(self, seconds, client=None):
        """Let up to ``seconds`` pass; returns the number of lines delivered meanwhile (to one client if it is named).

        Several may wait at once: time then goes only as far as the one who waits shortest.
        """
        end, before = self.clock.now() + seconds, self._lines[client]

        def over():
            return self._lines[client] != before or self.clock.now() >= end

        self._ends.append(end)
        try:
            await (self._simulate(over) if self.clock.simulated else self._watch_wall(end, over))
        finally:
            self._ends.remove(end)
        for action in self.before_answer:
            action()
        await self._settle()
        return self._lines[client] - before

    async def _simulate(self, over):
        turn = time.monotonic()
        while not over():
            limit = min(self._ends)
            moved = self.clock.step(limit)
            if not moved:
                self.clock.reach(limit)
            if not moved or time.monotonic() - turn > SLICE:
                await asyncio.sleep(0)
                turn = time.monotonic()
        for _step in range(CASCADE):  # the instant is only over when what it caused at once has happened too
            if not self.clock.step(self.clock.now()):
                break

    async def _watch_wall(self, end, over):
        while not over():
            self._due.clear()
            try:
                await asyncio.wait_for(self._due.wait(), min(1.0, max(0.0, end - self.clock.now())))
            except asyncio.TimeoutError:
                pass

    async def _settle(self):
        try:
            await asyncio.wait_for(asyncio.gather(*[stream.flushed() for stream in self._streams]), SETTLE)
        except asyncio.TimeoutError:
            pass  # a reader that does not read

    async def run_real(self):
        """On the real clock: run what is due, and bring logs up to date, for ever."""
        written = time.monotonic()
        while True:
            while self.clock.step(self.clock.now()):
                await asyncio.sleep(0)
            due = self.clock.next_at()
            pause = LOG_EVERY if due is None else min(LOG_EVERY, due - self.clock.now())
            if time.monotonic() - written >= LOG_EVERY:
                written = time.monotonic()
                for action in self.before_answer:
                    action()
            self._due.clear()
            try:
                await asyncio.wait_for(self._due.wait(), max(0.0, pause))
            except asyncio.TimeoutError:
                pass
