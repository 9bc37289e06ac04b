# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Watching kinds of objects: one thread per open watch, which only reads; one queue; one loop that decides.

A thread puts every line it gets into the queue (bookmarks and the end of the
stream too: the clock of a rehearsal counts on that). Everything else, waiting
before another attempt included, happens in the loop that owns the queue, by
the clock of the cluster, so that waiting means the same in a rehearsal.
"""

from __future__ import annotations

import json
import socket
import threading

from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.migration import key

# The server ends a watch after this many seconds; below the five minutes after which proxies on the way often cut.
SERVER_TIMEOUT = 290
# An API server sends a bookmark about once a minute. Two minutes without any line, 60 s beyond the bookmark that was
# due, therefore mean a connection that is only open at this end. The socket's read timeout is the same, for the case
# that nobody asks us meanwhile.
SILENCE = 120
# So long an API server may be away (a control plane that is rolled takes ten minutes) before we give up following.
PATIENCE = 900
LONGEST_PAUSE = 30

PASSING = (errors.Overloaded, errors.Unreachable, errors.Unauthorized)  # a credential may be renewed any moment


class Item:
    """What a thread has to say.

    :param watch: the :class:`Watch` it belongs to.
    :param turn: which of the watch's connections it came over.
    :param word: the line's type (``ADDED``, ``MODIFIED``, ``DELETED``, ``BOOKMARK``, ``ERROR``), or ``END`` (the server
        ended the stream), or ``FAILED``.
    :param content: the object of the line (dict); for ``FAILED`` the exception.
    """

    def __init__(self, watch, turn, word, content=None):
        self.watch, self.turn, self.word, self.content = watch, turn, word, content
        self.counted = word != "FAILED"  # the clock of a rehearsal counts lines and ends as delivered


class Reader:
    """One open GET, read line by line in a thread of its own.

    :param line: called in the thread with each line (bytes).
    :param end: called in the thread at the end, with None or the exception; not after :meth:`close`.
    """

    def __init__(self, api, path, query, line, end):
        self._api, self._path, self._query, self._line, self._end = api, path, query, line, end
        self._response = None
        self._closed = False
        threading.Thread(target=self._run, name="bigvm-reader", daemon=True).start()

    def _run(self):
        failure = None
        try:
            for line in self._api.stream(self._path, SILENCE, on_open=self._opened, **self._query):
                if self._closed:
                    return
                self._line(line)
        except Exception as exc:  # pylint: disable=broad-except
            failure = exc  # handed on, and judged by whoever owns the queue
        if not self._closed:
            self._end(failure)

    def _opened(self, response):
        self._response = response
        if self._closed:
            _hang_up(response)

    def close(self):
        """Stop reading at once: the connection is cut, the thread ends, and the server notices."""
        self._closed = True
        if self._response is not None:
            _hang_up(self._response)


def _hang_up(response):
    connection = getattr(response, "connection", None) or getattr(response, "_connection", None)
    try:
        connection.sock.shutdown(socket.SHUT_RDWR)
    except (AttributeError, OSError):
        pass  # closed already


class Watch:
    """The objects of one kind, kept up to date: a LIST, then watches from there on.

    :param path: of the collection.
    :param query: selectors.

    ``objects`` is ``{(namespace, name): object}`` as last heard of.
    """

    def __init__(self, api, inbox, path, **query):
        self._api, self._inbox, self._path, self._query = api, inbox, path, query
        self.objects = {}
        self._version = None
        self._reader = None
        self._turn = 0
        self._lines = 0  # over the present connection
        self._heard = None  # when the last line came; None: since the last look
        self._failures = 0
        self._failing_since = None
        self._again_at = None  # when to connect again; None while connected
        self._renewed = False  # whether the credentials were read anew since the last line

    def list(self, **patience):
        """Read all objects anew."""
        listing = self._api.list(self._path, **dict(self._query, **patience))
        self.objects = {key(item): item for item in listing.items}
        self._version = listing.resource_version

    def open(self):
        """Watch in a new thread, from the last version known."""
        self._turn += 1
        turn, inbox = self._turn, self._inbox

        def line(raw):
            event = json.loads(raw)
            inbox.put(Item(self, turn, event.get("type"), event.get("object") or {}))

        def end(failure):
            inbox.put(Item(self, turn, "FAILED", failure) if failure else Item(self, turn, "END"))

        query = dict(self._query, watch=True, allowWatchBookmarks=True, resourceVersion=self._version,
                     timeoutSeconds=SERVER_TIMEOUT)
        self._reader = Reader(self._api, self._path, query, line, end)
        self._lines, self._heard, self._again_at = 0, None, None

    def close(self):
        """Hang up."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self._turn += 1  # what is still in the queue is of no interest

    def take(self, item, now):
        """Work in one item of the queue.

        :raises ApiError: when there is no use in trying again.
        """
        if item.turn != self._turn:
            return
        if item.word == "FAILED":
            self._lost(item.content, now)
        elif item.word == "ERROR":
            self._lost(_error_of(item.content), now)
        elif item.word == "END" and not self._lines and (self._heard is None or now - self._heard < 1):
            self._lost(errors.Overloaded("The API server ended a watch of %s at once." % self._path), now)
        elif item.word == "END":
            self._again_at = now
        else:
            self._lines += 1
            self._heard, self._failures, self._failing_since, self._renewed = None, 0, None, False
            self._version = (item.content.get("metadata") or {}).get("resourceVersion") or self._version
            self._remember(item)

    def tend(self, now):
        """Connect again if it is time, and notice a connection that has gone silent.

        :raises ApiError: when the server has been away for longer than :data:`PATIENCE`.
        """
        if self._again_at is None:
            self._heard = now if self._heard is None else self._heard
            if now - self._heard < SILENCE:
                return
            self.close()  # half open: take up where the last line left off
            self._again_at = now
        if now < self._again_at:
            return
        try:
            if self._version is None:
                self.list(patience=0)  # this loop has its own
            self.open()
        except PASSING as exc:
            self._lost(exc, now)

    def next_moment(self):
        """When :meth:`tend` has something to do at the latest, or None: ask it first."""
        if self._again_at is not None:
            return self._again_at
        return None if self._heard is None else self._heard + SILENCE

    # -- inside ----------------------------------------------------------------

    def _remember(self, item):
        if item.word == "DELETED":
            self.objects.pop(key(item.content), None)
        elif item.word in ("ADDED", "MODIFIED"):
            self.objects[key(item.content)] = item.content

    def _lost(self, failure, now):
        """Decide what a lost connection means: at once again, later, from a new LIST, or never."""
        self.close()
        self._again_at = now
        if isinstance(failure, errors.Gone):
            self._version = None  # too old to go on from: LIST anew
            if not self._failures:
                self._failures = 1
                return
        if isinstance(failure, errors.Unauthorized) and not self._renewed:
            self._renewed = True
            self._api.reconnect()  # a rotated token file is read anew
            return
        if not isinstance(failure, PASSING + (errors.Gone, ValueError)):
            raise failure
        self._failing_since = now if self._failing_since is None else self._failing_since
        if now - self._failing_since > PATIENCE:
            raise failure
        details = getattr(failure, "details", {})
        self._again_at = now + (details.get("retry_after") or min(LONGEST_PAUSE, 2 ** self._failures))
        self._failures = min(self._failures + 1, 10)


def _error_of(status):
    """The exception for a Status object that came as a line."""
    code, said = status.get("code") or 500, status.get("message") or "no reason given"
    if code == 410:
        return errors.Gone(said, status=code)
    return errors.Overloaded("The API server broke off a watch: %s." % said.rstrip("."), status=code)
