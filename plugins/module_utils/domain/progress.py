# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far a copy is: samples from the launcher's log or Prometheus, percent, time left, one line of text.

No API object carries a percentage (facts 9.5). Pre-copy sends the memory once
and then, pass after pass, what the guest changed meanwhile; what remains is
therefore a sawtooth, and percent means time: elapsed / (elapsed + time left).
"""

from __future__ import annotations

import json
import math
import re
from collections import namedtuple

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_bytes, format_rate
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.wording import shortened

WIDTH = 80
MIB = 1024 ** 2

# uid of the VMIM (None from Prometheus); elapsed in seconds; processed, remaining, total in bytes; rate and dirty in
# bytes/s; iteration counts from 1, None when not told.
Sample = namedtuple("Sample", "uid elapsed processed remaining total rate dirty iteration")

_LINE = re.compile(r"Migration info for (\S+): (TimeElapsed:.*)")
_FIELD = re.compile(r"(\w+):(\d+)")
MARK = b"Migration info for "


def parse_line(line):
    """The :class:`Sample` in a line (bytes or str) of the launcher's log, else None (facts 4.7).

    Sizes are MiB there, rates decimal megabits per second.
    """
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    try:
        text = str(json.loads(text).get("msg", ""))
    except (ValueError, AttributeError):
        pass
    match = _LINE.search(text)
    if not match:
        return None
    fields = {name: int(value) for name, value in _FIELD.findall(match.group(2))}
    try:
        return Sample(
            match.group(1), fields["TimeElapsed"] / 1000.0, fields["DataProcessed"] * MIB,
            fields["DataRemaining"] * MIB, fields["DataTotal"] * MIB, fields["MemoryBandwidth"] * 125000,
            fields["DirtyRate"] * 125000, fields.get("Iteration"),
        )
    except KeyError:
        return None


# Of several releases (facts 9.1): which of a sample's values each metric is.
METRICS = {
    "kubevirt_vmi_migration_data_processed_bytes": "processed",
    "kubevirt_vmi_migration_data_remaining_bytes": "remaining",
    "kubevirt_vmi_migration_data_bytes_total": "total",
    "kubevirt_vmi_migration_data_total_bytes": "total",
    "kubevirt_vmi_migration_dirty_memory_rate_bytes": "dirty",
    "kubevirt_vmi_migration_memory_transfer_rate_bytes": "rate",
    "kubevirt_vmi_migration_disk_transfer_rate_bytes": "rate",
}


def parse_metrics(rows):
    """``{(namespace, name): {processed, remaining, total, dirty, rate}}`` of an instant query's result rows."""
    found = {}
    for row in rows:
        labels, (_moment, value) = row["metric"], row["value"]
        field = METRICS.get(labels.get("__name__"))
        number = float(value)
        if field and math.isfinite(number):
            found.setdefault((labels.get("namespace"), labels.get("name")), {})[field] = int(number)
    return found


class Progress:
    """Percent and time left of one copy, from samples in the order of their ``elapsed``."""

    # Share of the first pass that the later ones will take while nothing is known about the guest: right within
    # 15 points of percent for everything from an idle guest to one that needs 40 % more time.
    LATER = 0.16
    DOWNTIME = 0.3  # seconds; QEMU switches over once the rest fits (facts 12.2)
    HOPELESS = 0.98  # a pass that leaves this share of the one before does not converge

    def __init__(self):
        self.last = None
        self.percent = 0
        self._pass = 1
        self._pass_start = (0.0, None)  # elapsed, remaining
        self._sizes = []  # what each pass seen from its start had to send

    def feed(self, sample):
        """Take one more sample; older ones than the last are ignored."""
        last = self.last
        if last and sample.elapsed <= last.elapsed:
            return
        number = sample.iteration or self._pass + self._jumped(last, sample)
        if last is None:
            self._pass_start = (0.0, sample.total) if number == 1 else (sample.elapsed, sample.remaining)
            self._sizes = [self._pass_start[1]]
        elif number > self._pass:
            self._pass_start = (sample.elapsed, sample.remaining)
            self._sizes.append(sample.remaining)
        self._pass, self.last = number, sample
        left = self.time_left()
        if left is not None and sample.elapsed > 0:
            self.percent = max(self.percent, min(99, int(round(100 * sample.elapsed / (sample.elapsed + left)))))

    @staticmethod
    def _jumped(last, sample):
        return bool(last and sample.remaining > last.remaining * 1.02 + 64 * MIB)

    def time_left(self):
        """Seconds until the switch-over; None when unknown, or when it does not converge."""
        now = self.last
        speed = self._speed()
        if now is None or not speed:
            return None
        rest = now.remaining / speed
        if self._pass == 1:
            whole = now.elapsed + rest
            ratio = now.dirty / speed if now.dirty else None
            later = self.LATER if ratio is None or ratio >= 1 else min(self.LATER, ratio / (1 - ratio))
            return rest + whole * later
        shrink = self._shrink(speed)
        if shrink >= self.HOPELESS:
            return None
        return rest + self._series(self._sizes[-1] * shrink / speed, shrink)

    @property
    def hopeless(self):
        """Whether the guest changes its memory faster than it is carried: the copy does not converge."""
        speed = self._speed()
        return bool(self.last and self._pass > 1 and speed and self._shrink(speed) >= self.HOPELESS)

    def _speed(self):
        """Bytes/s by which the rest falls; in the first pass as seen, for zero pages cost next to nothing."""
        if self.last is None:
            return 0
        start, size = self._pass_start
        spent, done = self.last.elapsed - start, size - self.last.remaining
        if self._pass == 1 and spent > 0 and done > 0:
            return done / spent
        return self.last.rate or (done / spent if spent > 0 and done > 0 else 0)

    def _shrink(self, speed):
        """What share of a pass the next one has to send."""
        told = self.last.dirty / speed
        if self._pass == 2 or len(self._sizes) < 2 or not self._sizes[-2]:
            return told
        # The rate told is an average over a whole pass in which pages were changed more than once: the passes
        # themselves are the better witness once there are two of them after the first.
        seen = self._sizes[-1] / self._sizes[-2]
        return seen if len(self._sizes) >= 3 else min(seen, told)

    def _series(self, first, shrink):
        """Seconds that a pass of ``first`` seconds and all after it take, until the rest fits into the downtime."""
        if first <= self.DOWNTIME:
            return first
        if shrink <= 0:
            return first
        count = math.ceil(math.log(first / self.DOWNTIME) / math.log(1 / shrink))
        return first * (1 - shrink ** count) / (1 - shrink)


# -- text ------------------------------------------------------------------------------

WORDS = {
    "waiting": "waiting for a free slot",
    "": "queued",
    "Pending": "queued",
    "WaitingForSync": "queued",
    "Synchronizing": "queued",
    "Scheduling": "target pod starting",
    "Scheduled": "target pod ready",
    "PreparingTarget": "target being prepared",
    "TargetReady": "target ready",
    "Running": "copying",
    "cancelling": "being cancelled",
    "PostCopy": "post-copy",
    "Paused": "paused, copying",
}


def line(name, stage, seconds, progress=None):
    """One line of at most 80 columns about one VM.

    :param name: ``namespace/name``; shortened when the rest needs the room.
    :param stage: ``waiting``, ``cancelling``, a VMIM phase, or a migration mode (``PostCopy``, ``Paused``).
    :param seconds: how long it has been in that stage.
    :param progress: a :class:`Progress` with at least one sample, while copying.
    """
    if progress and progress.last and stage in ("Running", "PostCopy", "Paused"):
        word = {"Running": "copy"}.get(stage, WORDS[stage])
        sample = progress.last
        rest = "%s %d%%  %s left  %s" % (
            word, progress.percent, format_bytes(sample.remaining), format_rate(sample.rate))
        if sample.dirty and stage == "Running":
            rest += ", dirty %s" % format_rate(sample.dirty)
        left = progress.time_left()
        if progress.hopeless and stage == "Running":
            rest += "  no end"
        elif left is not None:
            rest += "  ETA %s" % coarse(left)
    else:
        rest = "%s for %s" % (WORDS.get(stage, stage), coarse(seconds))
    return ("%s  %s" % (shortened(name, max(12, WIDTH - 2 - len(rest))), rest))[:WIDTH]


ENDS = {
    "aborted": "cancelled",
    "already_there": "was moved by somebody else",
    "failed": "FAILED",
    "restarted": "VM RESTARTED",
    "left": "left to itself",
    "queued_too_long": "waited too long",
}


def end_line(name, outcome, node, seconds):
    """One line about how it ended."""
    rest = "moved to %s" % node if outcome == "moved" else ENDS.get(outcome, outcome)
    if seconds is not None:
        rest += " %s %s" % ("in" if outcome == "moved" else "after", coarse(seconds))
    return ("%s  %s" % (shortened(name, max(12, WIDTH - 2 - len(rest))), rest))[:WIDTH]


ALARMS = {
    "PostCopy": "IN POST-COPY: lost if a node or the link fails",
    "Paused": "GUEST PAUSED by KubeVirt to end the copy",
    "cancelled pause": "GUEST PAUSED by KubeVirt: cancelling",
}


def alarm_line(name, what):
    """One line about what must not go unseen (a key of :data:`ALARMS`)."""
    rest = ALARMS[what]
    return ("%s  %s" % (shortened(name, max(12, WIDTH - 2 - len(rest))), rest))[:WIDTH]


def waiting_line(why):
    """One line about what a start waits for."""
    return shortened("waiting: %s" % why, WIDTH)


def coarse(seconds):
    """A time no more exact than it is known: ``40 s``, ``23 min``, ``1 h 05 min``, ``2 d 4 h``."""
    if seconds < 95:
        return "%d s" % (5 * round(seconds / 5.0) if seconds >= 10 else round(seconds))
    minutes = int(round(seconds / 60.0))
    if minutes < 60:
        return "%d min" % minutes
    if minutes < 48 * 60:
        return "%d h %02d min" % divmod(minutes, 60)
    return "%d d %d h" % divmod(int(round(minutes / 60.0)), 24)
