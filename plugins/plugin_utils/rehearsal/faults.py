# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a test may do to the server: refuse, cut, fall silent, forget, rotate tokens and let them expire."""

from __future__ import annotations

import re

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import status
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.wire import Stream

OTHERS = "^[A-Z]+ (?!/bigvm/)"


class Faults:
    """The failures asked for over ``POST /bigvm/v1/faults``.

    A refusal is ``{"status": 503, "times": 3, "match": "GET /apis/...", "retry_after": 1, "message": "..."}``.
    ``match`` is a regular expression searched in ``METHOD /path?query``; without it every request but those to the
    server's own paths is refused. ``times`` is 1 by default.

    - With ``seconds`` it lasts so long in simulated time, for any number of requests, and never concerns the server's
      own paths, so that somebody can wait for its end: ``{"status": 503, "seconds": 600, "drop_watches": true}`` is a
      control plane that is rolled. ``drop_watches`` cuts the open ones as well.
    - With ``"done": true`` the request is carried out first. ``{"lost": true, "match": "POST .*"}`` carries it out and
      cuts the connection without an answer.
    """

    def __init__(self, app):
        self._app = app
        self._refusals = []
        self.gone_as_http = False

    def add(self, fault):
        """Take one fault (dict); returns what the caller must know (dict).

        :raises ApiStatus: 400 for one that is not known.
        """
        known = {key: getattr(self, "_" + key) for key in (
            "drop_watches", "compact", "half_open", "token", "token_expires", "token_renew")}
        if "status" in fault or fault.get("lost"):
            self._refuse(fault)
            return {}
        for name, action in known.items():
            if name in fault:
                return action(fault) or {}
        raise status.bad_request("unknown fault; known are status, %s" % ", ".join(sorted(known)))

    def refuse(self, request):
        """Raise the refusal that is due for this request, if any."""
        fault = self._due(request, False)
        if fault:
            raise _refusal(fault)

    def instead(self, request, answer):
        """The answer to a request that was carried out, or what is said in its place.

        :raises ApiStatus: the refusal that is due.
        """
        fault = self._due(request, True)
        if not fault:
            return answer
        if fault.get("lost"):
            broken = Stream()
            broken.drop()
            return 200, broken
        raise _refusal(fault)

    def _refuse(self, fault):
        seconds = fault.get("seconds")
        if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float))):
            raise status.bad_request("seconds must be a number of seconds")
        end = None if seconds is None else self._app.store.clock.now() + seconds
        self._refusals.append(dict({"times": 1 if end is None else float("inf"), "match": ""}, **dict(fault, end=end)))
        if fault.get("drop_watches"):
            self._drop_watches(fault)

    def _due(self, request, done):
        """The fault for this request, before it is carried out or when it is done; None without one."""
        line = "%s %s%s" % (request.method, request.path, request.query_string and "?" + request.query_string)
        now = self._app.store.clock.now()
        for fault in self._refusals:
            if fault["times"] <= 0 or done != bool(fault.get("done") or fault.get("lost")):
                continue
            if fault["end"] is not None and (now >= fault["end"] or not re.search(OTHERS, line)):
                continue
            if re.search(fault["match"] or OTHERS, line):
                fault["times"] -= 1
                return fault
        return None

    def _drop_watches(self, fault):
        for stream in list(self._app.streams):
            stream.drop()

    def _half_open(self, fault):
        for stream in self._app.streams:
            stream.muted = True

    def _compact(self, fault):
        """``{"compact": true, "as": "http"}`` answers watches with HTTP 410 instead of an ERROR event."""
        self.gone_as_http = fault.get("as") == "http"
        self._app.store.compact()
        self._app.rest.forget_pages()

    def _token_expires(self, fault):
        """``{"token_expires": 3600, "user": "night"}``: 401 for it after that many simulated seconds."""
        self._app.access.expire(fault["token_expires"], fault.get("user"))

    def _token_renew(self, fault):
        """``{"token_renew": true, "user": "night"}``: a new token beside the old one, and into the token file."""
        return {"api_key": self._app.renew_token(fault.get("user"))}

    def _token(self, fault):
        return {"api_key": self._app.new_token()}


def _refusal(fault):
    message = fault.get("message", "the server is made to fail by a test")
    return status.ApiStatus(fault["status"], fault.get("reason"), message, retry_after=fault.get("retry_after"))
