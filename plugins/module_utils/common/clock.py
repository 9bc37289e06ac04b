# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The clock port: all our code that asks for the time or waits, asks here.

Two clocks exist. :class:`SystemClock` is the real one. In a rehearsal the
server's simulated clock stands in (:mod:`..cluster.rehearsal_clock`); it only
advances while somebody waits on it.
"""

from __future__ import annotations

import datetime
import queue
import re
import time

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput


class SystemClock:
    """Seconds since the epoch, and waiting in real time."""

    simulated = False

    def now(self):
        """Now, in seconds since the epoch (float)."""
        return time.time()

    def sleep(self, seconds):
        """Wait that many seconds."""
        time.sleep(max(0.0, seconds))

    def wait(self, inbox, seconds):
        """The next item of a :class:`queue.Queue`, or None once ``seconds`` have passed."""
        try:
            return inbox.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None


def to_timestamp(epoch):
    """RFC 3339 in UTC, whole seconds, as Kubernetes writes it."""
    return datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


_TIMESTAMP = re.compile(
    r"^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:?\d\d)$"
)


def from_timestamp(text):
    """Seconds since the epoch of an RFC 3339 time with its offset.

    :raises BadInput: when it does not parse, or has no offset: a bare local
        time means another hour on another machine.
    """
    match = _TIMESTAMP.match(str(text).strip())
    if not match:
        raise BadInput(
            "The time '%s' is not understood." % text,
            "Write it as RFC 3339 with its offset, for example 2026-11-22T04:30:00+01:00.",
        )
    date, clock, fraction, offset = match.groups()
    offset = "+00:00" if offset in "Zz" else offset if ":" in offset else offset[:3] + ":" + offset[3:]
    try:
        parsed = datetime.datetime.fromisoformat("%sT%s%s" % (date, clock, offset))
    except ValueError as exc:
        raise BadInput("The time '%s' does not exist: %s." % (text, exc)) from exc
    return parsed.timestamp() + float(fraction or 0)
