# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two clocks of the embedded cluster: a heap of events, and what moves its time.

On the simulated clock an event runs when somebody lets time pass
(:meth:`SimClock.step`, called by the server's clock endpoint); on the real one
the server runs what the wall clock has reached.
"""

from __future__ import annotations

import heapq
import itertools
import time

WHEN, ORDER, ACTION = range(3)


class SimClock:
    """Simulated seconds since the epoch; events of one instant run in the order they were set.

    :param epoch: what the clock shows first.
    """

    simulated = True

    def __init__(self, epoch):
        self._now = float(epoch)
        self.on_error = None  # called with what an event raised; without it, whoever lets time pass gets it
        self._heap = []
        self._order = itertools.count()

    def now(self):
        """Now, in seconds since the epoch (float)."""
        return self._now

    def at(self, epoch, action):
        """Call ``action()`` at that time, or at the next step if it is past; returns a handle for :meth:`cancel`."""
        handle = [float(epoch), next(self._order), action]
        heapq.heappush(self._heap, handle)
        return handle

    def after(self, seconds, action):
        """Call ``action()`` that many seconds from now; returns a handle for :meth:`cancel`."""
        return self.at(self.now() + seconds, action)

    def cancel(self, handle):
        """Forget an event; None and past events are ignored."""
        if handle is not None:
            handle[ACTION] = None

    def next_at(self):
        """When the next event is due, or None."""
        while self._heap and self._heap[0][ACTION] is None:
            heapq.heappop(self._heap)
        return self._heap[0][WHEN] if self._heap else None

    def step(self, limit):
        """Go to the next instant with events, if it is not after ``limit``, and run those due there.

        Events that these set for the same instant belong to the next step.
        :returns: whether anything ran; without, the clock stands where it stood.
        """
        instant = self.next_at()
        if instant is None or instant > limit:
            return False
        self.reach(instant)
        for action in self._due(max(instant, self._now)):
            try:
                action()
            except Exception as exc:  # pylint: disable=broad-except
                if self.on_error is None:
                    raise
                self.on_error(exc)
        return True

    def _due(self, instant):
        last = next(self._order)
        while self._heap and self._heap[0][WHEN] <= instant and self._heap[0][ORDER] < last:
            action = heapq.heappop(self._heap)[ACTION]
            if action is not None:
                yield action

    def reach(self, epoch):
        """Show ``epoch`` from now on (never back)."""
        self._now = max(self._now, epoch)

    def run(self, seconds):
        """Let that many seconds pass in one go (for tests without a server)."""
        end = self.now() + seconds
        while self.step(end):
            pass
        self.reach(end)


class RealClock(SimClock):
    """The wall clock with the same events; ``wake`` is called when an earlier event was set."""

    simulated = False
    wake = staticmethod(lambda: None)

    def __init__(self):
        super().__init__(time.time())

    def now(self):
        return time.time()

    def reach(self, epoch):
        pass

    def at(self, epoch, action):
        handle = super().at(epoch, action)
        self.wake()
        return handle
