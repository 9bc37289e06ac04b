# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests, and answers that stay open."""

from __future__ import annotations

import asyncio
import collections
import json
from urllib.parse import parse_qsl

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.status import bad_request

TRUE = ("1", "t", "true", "True", "TRUE", "")


class Request:
    """What a handler gets.

    ``path`` (str), ``query`` (dict of str, last value wins), ``headers`` (dict, lower-case names), ``body`` (bytes),
    ``user`` (str), ``groups`` (dict of the route's named groups).
    """

    def __init__(self, method, path, query_string="", headers=None, body=b"", user=""):
        self.method = method
        self.path = path
        self.query_string = query_string
        self.query = dict(parse_qsl(query_string, keep_blank_values=True))
        self.headers = headers or {}
        self.body = body
        self.user = user
        self.groups = {}
        self.warning = None  # a Warning header that goes with a refusal, too

    def flag(self, name):
        """A boolean query parameter."""
        return name in self.query and self.query[name] in TRUE

    def json(self, empty=None, words=None):
        """The body as JSON or YAML data; ``empty`` when there is none.

        :param words: of the refusal, also of an empty body.
        :raises ApiStatus: 400 when it does not parse.
        """
        if not self.body.strip():
            if words:
                raise bad_request(words)
            return empty
        try:
            if "yaml" in self.headers.get("content-type", ""):
                from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.crds import load_yaml

                return load_yaml(self.body)[0]
            return json.loads(self.body)
        except Exception as exc:
            raise bad_request(words or "the body of the request could not be decoded: %s" % exc) from exc

    @property
    def dry_run(self):
        """Whether nothing may be stored.

        :raises ApiStatus: 400 for a value other than ``All``.
        """
        asked = self.query.get("dryRun")
        if asked is None and self.method == "DELETE":
            options = self.json({})
            asked = (options.get("dryRun") or [None])[0] if isinstance(options, dict) else None
        if asked not in (None, "All"):
            raise bad_request('Invalid value: "%s": dryRun must be "All"' % asked)
        return asked == "All"


class Stream:
    """An answer that is written bit by bit, from plain functions; the server sends it on.

    :param content_type: of the answer.
    :param wakes: whether a line ends a wait on the simulated clock (watches do, logs do not).
    ``on_close`` may be set to a function called once when either side has ended it.
    """

    def __init__(self, content_type="text/plain", wakes=False):
        self.content_type = content_type
        self.wakes = wakes
        self.on_close = None
        self.on_line = None
        self.client = None
        self.lines = 0  # written so far; the end counts as one
        self.muted = False  # half-open: nothing is sent any more, and nothing said
        self.closed = False
        self.broken = False
        self._pending = collections.deque()
        self._news = asyncio.Event()
        self._sent = asyncio.Event()

    def write(self, data):
        """Send bytes (or text) after what was written before."""
        if self.closed or self.muted:
            return
        self._pending.append(data.encode() if isinstance(data, str) else data)
        self._wake()

    def close(self):
        """End the answer properly."""
        if not self.closed and not self.muted:
            self.closed = True
            self._wake()
            self.ended()

    def drop(self):
        """Cut the connection in the middle."""
        self.broken = self.closed = True
        self._wake()
        self.ended()

    def ended(self):
        """Tell the owner, once."""
        self.closed = True
        action, self.on_close = self.on_close, None
        if action:
            action()

    def _wake(self):
        self._sent.clear()
        self._news.set()
        if self.wakes:
            self.lines += 1
            if self.on_line:
                self.on_line()

    async def flushed(self):
        """Wait until everything written has been handed to the connection."""
        if (self._pending or self.closed) and not self.muted:
            await self._sent.wait()

    async def pump(self, send):
        """Send until the end; False when the connection was to be cut."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._pending and not self.broken:
                lines = b"".join(self._pending)
                self._pending.clear()
                await send({"type": "http.response.body", "body": lines, "more_body": True})
            if self.broken:
                self._sent.set()
                return False
            if self.closed:
                await send({"type": "http.response.body", "body": b""})
                self._sent.set()
                return True
            self._sent.set()
