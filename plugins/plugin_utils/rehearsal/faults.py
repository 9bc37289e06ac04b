# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a test may do to the server: refuse, cut, fall silent, forget, rotate the token."""

from __future__ import annotations

import re

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import status

OTHERS = "^[A-Z]+ (?!/bigvm/)"


class Faults:
    """The failures asked for over ``POST /bigvm/v1/faults``.

    A refusal is ``{"status": 503, "times": 3, "match": "GET /apis/...", "retry_after": 1, "message": "..."}``.
    ``match`` is a regular expression searched in ``METHOD /path?query``; without it every request but those to the
    server's own paths is refused. ``times`` is 1 by default.
    """

    def __init__(self, app):
        self._app = app
        self._refusals = []
        self.gone_as_http = False

    def add(self, fault):
        """Take one fault (dict); returns what the caller must know (dict).

        :raises ApiStatus: 400 for one that is not known.
        """
        known = {key: getattr(self, "_" + key) for key in ("drop_watches", "compact", "half_open", "token")}
        if "status" in fault:
            self._refusals.append(dict({"times": 1, "match": ""}, **fault))
            return {}
        for name, action in known.items():
            if name in fault:
                return action(fault) or {}
        raise status.bad_request("unknown fault; known are status, %s" % ", ".join(sorted(known)))

    def refuse(self, request):
        """Raise the refusal that is due for this request, if any."""
        line = "%s %s%s" % (request.method, request.path, request.query_string and "?" + request.query_string)
        for fault in self._refusals:
            if fault["times"] > 0 and re.search(fault["match"] or OTHERS, line):
                fault["times"] -= 1
                message = fault.get("message", "the server is made to fail by a test")
                raise status.ApiStatus(
                    fault["status"], fault.get("reason"), message, retry_after=fault.get("retry_after"))

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

    def _token(self, fault):
        return {"api_key": self._app.new_token()}
