# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a request goes on while the API server is away, which requests may be sent again, and what is said meanwhile.

A control plane that is rolled node by node is away for minutes, and a night's run must outlast that. A read can be
sent again at any time. A write can be only where a second one does no harm: refused by the server before it did
anything, never sent, a dry run, or carrying what makes the server refuse it when the first one arrived after all.
"""

from __future__ import annotations

import os
import threading

from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import to_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import (
    format_duration,
    parse_duration,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import dig, text

PATIENCE = 600  # seconds that an API server may be away
BRIEFLY = 60  # seconds for answers that mean a defect more often than a server that comes back
AWAY = (429, 502, 503, 504)  # what a server on its way down or up, or a proxy before it, answers
LONGEST_PAUSE = 30
QUIET = 5  # seconds of trouble of which nobody needs to hear
VARIABLE = "BIGVM_API_PATIENCE"  # how long the first contact may take; later tasks of a run set it
HOPELESS = ("Certificate", "Configuration")  # no time mends these


class Attempts:
    """The attempts at one request: whether and when there is another one.

    :param patience: seconds from the first failure on; 0 allows none.
    """

    def __init__(self, patience):
        self._patience = patience
        self._end = None
        self._pause = 1

    @property
    def in_trouble(self):
        """Whether one has failed already."""
        return self._end is not None

    def worth_while(self, failure):
        """Whether time may help at all."""
        return bool(self._patience) and failure.reason not in HOPELESS

    def pause(self, failure, now):
        """Seconds until the next attempt; None when it is over. The last one is made when patience ends, not before."""
        self._end = now + self._patience if self._end is None else self._end
        end = self._end
        if isinstance(failure, errors.Overloaded) and failure.status not in AWAY:
            end += min(0, BRIEFLY - self._patience)
        if now >= end:
            return None
        pause = min(failure.details.get("retry_after") or self._pause, end - now)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        return pause


def may_repeat(method, query, body, failure):
    """Whether a request that failed so can be sent again without asking what the first one did.

    :param failure: the :class:`~..common.errors.Overloaded` or :class:`~..common.errors.Unreachable`.
    """
    if method == "GET" or failure.status == 429 or not getattr(failure, "sent", True):
        return True
    if (query or {}).get("dryRun"):
        return True
    if isinstance(body, list):  # a JSON patch that tests what it found
        return any(row.get("op") == "test" for row in body if isinstance(row, dict))
    if method in ("PATCH", "PUT"):
        return bool(text(body, "metadata", "resourceVersion"))
    if method == "DELETE":
        return bool(dig(body, "preconditions", "uid"))
    # Of one name there is one object: the second creation is answered with 409, which says the same as "it exists".
    return method == "POST" and bool(text(body, "metadata", "name"))


def at_first_contact():
    """Seconds of patience with a server that does not answer the first request of a task; 0 unless the run asks for it."""
    asked = os.environ.get(VARIABLE) or "0"
    try:
        return parse_duration(asked)
    except ValueError:
        return 0


class Outage:
    """Tells once that the API server is away, and once that it is back.

    :param say: called with one line; from whichever thread met the server.
    """

    def __init__(self, say):
        self.say = say
        self._since = None
        self._said = False
        self._lock = threading.Lock()

    def failing(self, failure, now):
        """A request failed at ``now`` (epoch seconds) in a way that may pass."""
        with self._lock:
            self._since = now if self._since is None else self._since
            due = not self._said and now - self._since >= QUIET
            self._said = self._said or due
            since = self._since
        if due:
            self.say("API server away since %s (%s); waiting up to %s" % (
                _time(since), failure.status or failure.reason.lower() or "no answer", format_duration(PATIENCE)))

    def over(self, now):
        """A request was answered; ``now`` is a function, asked only when there was trouble."""
        if self._since is None:
            return
        with self._lock:
            since, said = self._since, self._said
            self._since, self._said = None, False
        if said:
            moment = now()
            self.say("API server back since %s, it was away for %s" % (_time(moment), format_duration(round(moment - since))))


def _time(epoch):
    return to_timestamp(epoch)[11:]
