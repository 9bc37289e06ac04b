# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the numbers of a running copy come from: Prometheus, or the launcher's log.

Both cost requests, and following a migration shall cost no more than one a
minute. Prometheus answers for all VMs at once. A log is followed with one
request per VM: only once a copy has lasted a while (the short ones end before a
line about them would be printed), the biggest guests first, one every few minutes.
"""

from __future__ import annotations

import collections
import json
from urllib.parse import urlencode

from ansible.module_utils.urls import open_url

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.watch import Reader
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import progress

FOLLOW_AFTER = 10  # seconds that a copy must have lasted before its log is opened
FOLLOW_PACE = 180  # seconds between opening one log and the next
TAIL = 100  # lines of the past; a launcher writes about one every four seconds while it copies

QUERY = '{__name__=~"kubevirt_vmi_migration_.+_bytes(_total)?",namespace=~"%s"}'


class Silent:
    """No numbers wanted."""

    def update(self, moves, now):
        """Nothing to fetch."""

    def next_moment(self):
        """Never."""

    def close(self):
        """Nothing to close."""


class Prometheus:
    """One instant query for all running copies, at most once per ``interval``.

    :param settings: ``{url, token, ca_cert, validate_certs}``.
    :param instead: what to use when it cannot be asked.
    """

    def __init__(self, settings, interval, warn, instead):
        self._settings, self._interval, self._warn, self._instead = settings, interval, warn, instead
        self._next = 0
        self._broken = False

    def update(self, moves, now):
        """Feed the progress of every copying move (see :class:`.migrations.Move`) that Prometheus knows."""
        if self._broken:
            self._instead.update(moves, now)
            return
        copying = [move for move in moves if move.copying_since is not None]
        if not copying or now < self._next:
            return
        self._next = now + self._interval
        try:
            found = progress.parse_metrics(self._ask(sorted({move.namespace for move in copying})))
        except Exception as exc:  # pylint: disable=broad-except
            # Whatever is wrong with it, numbers are not worth a migration.
            self._broken = True
            self._warn("Prometheus at %s cannot be asked for progress (%s); the launchers' logs are read instead."
                       % (self._settings["url"], exc))
            return
        for move in copying:
            row = found.get(move.where) or {}
            if "remaining" in row:
                move.progress.feed(progress.Sample(
                    None, now - move.copying_since, row.get("processed", 0), row["remaining"],
                    row.get("total") or move.memory, row.get("rate", 0), row.get("dirty", 0), None))
        self._instead.update([move for move in copying if move.where not in found], now)

    def next_moment(self):
        """Only the other source has to be woken for; the query is due with the lines."""
        return self._instead.next_moment()

    def close(self):
        """Close what was used instead."""
        self._instead.close()

    def _ask(self, namespaces):
        settings = self._settings
        url = "%s/api/v1/query?%s" % (settings["url"].rstrip("/"), urlencode({"query": QUERY % "|".join(namespaces)}))
        headers = {"Accept": "application/json"}
        if settings.get("token"):
            headers["Authorization"] = "Bearer %s" % settings["token"]
        answer = open_url(url, headers=headers, timeout=10, ca_path=settings.get("ca_cert"),
                          validate_certs=settings.get("validate_certs", True))
        return json.loads(answer.read())["data"]["result"]


class Logs:
    """The log of each source launcher, followed by a thread of its own that keeps the lines until somebody looks."""

    def __init__(self, api, warn):
        self._api, self._warn = api, warn
        self._followers = {}
        self._next = 0
        self._due = None  # when the next log should be opened
        self._warned = False

    def update(self, moves, now):
        """Feed the progress of copying moves with what the logs said, and open another log if it is time."""
        for follower in list(self._followers.values()):
            for sample in follower.samples():
                follower.move.progress.feed(sample)
            if follower.move.copying_since is None:
                follower.close()
            elif follower.ended:
                self._lost(follower)
        unheard = [move for move in moves
                   if move.where not in self._followers and move.source_pod and move.copying_since is not None]
        waiting = [move for move in unheard if now - move.copying_since >= FOLLOW_AFTER]
        if waiting and now >= self._next:
            move = max(waiting, key=lambda one: one.memory)
            self._followers[move.where] = _Follower(self._api, move)
            self._next = now + FOLLOW_PACE
            unheard.remove(move)
        lasting = [move.copying_since + FOLLOW_AFTER for move in unheard]
        self._due = max(min(lasting), self._next) if lasting else None

    def next_moment(self):
        """When the next log should be opened, or None."""
        return self._due

    def close(self):
        """Hang up."""
        for follower in self._followers.values():
            follower.close()

    def _lost(self, follower):
        if not isinstance(follower.failure, (errors.Forbidden, errors.NotFound, errors.Rejected)):
            del self._followers[follower.move.where]  # opened again in its turn
        elif not self._warned:
            self._warned = True
            self._warn("No numbers about the copy of %s: its launcher's log cannot be read (%s) Phase and time are all "
                       "there is." % (follower.move, follower.failure))


class _Follower:
    """One log; its thread keeps the lines about this migration."""

    def __init__(self, api, move):
        self.move = move
        self.ended, self.failure = False, None
        self._lines = collections.deque(maxlen=1000)
        path = path_of("v1", "pods", move.namespace, move.source_pod, "log")
        query = {"container": "compute", "follow": True, "tailLines": TAIL}
        self._reader = Reader(api, path, query, self._line, self._end)

    def samples(self):
        """The new :class:`..domain.progress.Sample` of this migration, oldest first."""
        while self._lines:
            sample = progress.parse_line(self._lines.popleft())
            if sample and sample.uid == self.move.vmim_uid:
                yield sample

    def close(self):
        """Hang up."""
        self._reader.close()

    def _line(self, line):
        if progress.MARK in line:
            self._lines.append(line)

    def _end(self, failure):
        self.failure = failure
        self.ended = True
