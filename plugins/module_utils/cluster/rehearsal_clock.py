# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The clock of a rehearsal: the embedded cluster's simulated time, asked over its API.

The simulated clock stands still unless a client waits on it, so the time that
Ansible itself needs between tasks costs no simulated time.
"""

from __future__ import annotations

import queue

CLOCK_PATH = "/bigvm/v1/clock"
SETTLE = 2.0  # real seconds given to our own reader threads to hand on what the server has delivered


class RehearsalClock:
    """The same three calls as :class:`~..common.clock.SystemClock`.

    :param api: an :class:`~.api.Api` connected to a rehearsal.
    """

    simulated = True

    def __init__(self, api):
        self._api = api
        self._owed = 0  # lines delivered to open watches that have not come out of an inbox yet

    def now(self):
        """Simulated now, seconds since the epoch."""
        return self._api.get(CLOCK_PATH, patience=0)["epoch"]

    def sleep(self, seconds):
        """Let the simulation run that many of its seconds."""
        end = self.now() + max(0.0, seconds)
        while True:
            answer = self._advance(end - self.now())
            if answer["epoch"] >= end - 1e-3:
                return

    def wait(self, inbox, seconds):
        """The next item of ``inbox``, or None once ``seconds`` have been simulated.

        The server stops early when it has delivered something to an open watch.
        Time goes on only when all of it has come out of the inbox; our reader
        threads get real time for that. An item with ``counted`` false was no line.
        """
        item = self._in_flight(inbox)
        if item is None:
            self._owed = self._advance(max(0.0, seconds))["delivered"]
            item = self._in_flight(inbox)
        return item

    def _in_flight(self, inbox):
        try:
            item = inbox.get(timeout=SETTLE) if self._owed else inbox.get_nowait()
        except queue.Empty:
            self._owed = 0  # delivered to somebody else
            return None
        self._owed = max(0, self._owed - bool(getattr(item, "counted", True)))
        return item

    def _advance(self, seconds):
        return self._api._json("POST", CLOCK_PATH + "/wait", {}, {"seconds": max(0.0, seconds)}, patience=0)
