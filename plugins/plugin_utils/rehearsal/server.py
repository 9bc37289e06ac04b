# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The embedded cluster's API server as an ASGI application."""

from __future__ import annotations

import asyncio
import collections
import json
import re
import time
import traceback

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import to_timestamp
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import access, discovery, rest, status
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.faults import Faults
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.timekeeper import Timekeeper
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.wire import Request, Stream

MARK = "+bigvm.rehearsal"
OWN = "/bigvm/v1/"
CLIENT = "x-bigvm-client"  # who sends this header only counts, and is only woken by, watches opened with the same
FOR_ALL = (OWN + "clock", OWN + "prometheus")  # of these, what restricted tokens may use too
AUDITED = 50000  # rows kept of the audit log


class App:
    """Answers every request; what is not plain REST is added with :meth:`route`.

    :param store: :class:`~.store.Store`.
    :param version: Kubernetes version to claim, e.g. ``v1.33.0``.

    ``before_answer(action)`` calls ``action()`` before each wait on the clock is answered: logs bring themselves up to
    date there. ``discover(group_version, resources)`` adds APIResource dicts to discovery.
    """

    def __init__(self, store, version="v1.33.0"):
        self.store = store
        self.streams = set()
        self.access = access.Access(now=store.clock.now)
        self.rest = rest.Rest(store)
        self.faults = Faults(self)
        self.time = Timekeeper(store.clock, self.streams)
        self.requests = collections.deque(maxlen=AUDITED)
        self.errors = []
        self.notes = []  # sentences about objects that were not loaded
        self.last_request = time.monotonic()
        self.on_new_token = self.on_token_file = None
        self.token_file_of = None  # whose token is in the folder's token file
        self.version = version + MARK
        self._routes = []
        self._extra = {}
        store.on_error = store.clock.on_error = self.note_error
        own = {
            "GET clock": self._clock, "POST clock/wait": self._wait, "GET requests": self._requests,
            "GET errors": self._errors, "POST faults": self._fault, "POST tokens": self._grant,
        }
        for what, handler in own.items():
            method, name = what.split()
            self.route(method, "^%s%s$" % (OWN, name), handler)

    # -- hooks for the controllers -----------------------------------------

    def route(self, method, path, handler):
        """Answer ``method`` on paths matching the regular expression with ``handler(request)``.

        It returns ``(status, body)`` or ``(status, body, headers)``; body: dict or list (JSON), str, bytes or a
        :class:`~.wire.Stream`. It may raise :class:`~.status.ApiStatus`, and may be a coroutine function.
        Named groups of the expression are in ``request.groups``.
        """
        self._routes.append((method, re.compile(path), handler))

    def before_answer(self, action):
        """See the class."""
        self.time.before_answer.append(action)

    def discover(self, group_version, resources):
        """See the class."""
        self._extra.setdefault(group_version, []).extend(resources)

    def note_error(self, exc):
        """Keep and log a failure of a controller; the request that caused it goes on."""
        text = "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))
        self.errors.append(text)
        print(text, flush=True)

    def new_token(self):
        """Replace the token with full rights."""
        token = self.access.rotate()
        if self.on_new_token:
            self.on_new_token(token)
        return token

    def renew_token(self, user=None):
        """Another token for a user, see :meth:`~.access.Access.renew`; into the token file when it is this user's."""
        token = self.access.renew(user)
        if user is None and self.on_new_token:
            self.on_new_token(token)
        if user is not None and user == self.token_file_of and self.on_token_file:
            self.on_token_file(token)
        return token

    # -- ASGI --------------------------------------------------------------

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        self.last_request = time.monotonic()
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        request = Request(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), headers,
                          await _body_of(receive))
        row = self._audit(request)
        try:
            answer = self.faults.instead(request, await self._answer(request))
        except status.ApiStatus as exc:
            headers = {"warning": request.warning} if request.warning else {}
            answer = (exc.code, exc.body(), dict(headers, **{"retry-after": str(int(exc.retry_after))}) if exc.retry_after else headers)
        except Exception as exc:  # pylint: disable=broad-except
            self.note_error(exc)
            failure = status.ApiStatus(500, message="Internal error occurred: %s" % exc)
            answer = (500, failure.body())
        code, body, extra = answer if len(answer) == 3 else answer + ({},)
        row["status"] = code
        if isinstance(body, Stream):
            body.client = request.headers.get(CLIENT)
            await self._stream(code, body, receive, send)
        else:
            await _send(code, body, extra, send, request.method == "HEAD")

    async def _answer(self, request):
        self.faults.refuse(request)
        request.user, rules = self.access.identify(request)
        public = self._public(request)
        if public is not None:
            return public
        target = rest.parse(request.path)
        if target is not None:
            access.check(request.user, rules, request, target)
        elif not request.path.startswith(OWN):
            access.check_path(request.user, rules, request)
        elif rules is not None and not request.path.startswith(FOR_ALL):
            raise status.forbidden_path(request.user, request.method, request.path)
        for method, pattern, handler in self._routes:
            match = pattern.search(request.path) if method == request.method else None
            if match:
                request.groups = match.groupdict()
                answer = handler(request)
                return await answer if asyncio.iscoroutine(answer) else answer
        if target is not None and target.plural == access.REVIEWS and request.method == "POST":
            return 201, access.review(request.user, rules, request.json({}))
        if target is not None and target.plural == access.WHO and request.method == "POST":
            return 201, access.who(request.user, rules, request.json({}))
        if target is not None:
            return self._rest(request, target)
        document = discovery.document(self.store, request.path, self._extra) if request.method == "GET" else None
        if document is None and discovery.knows_group(self.store, request.path):
            raise status.no_such_path()
        return (200, document) if document else status.no_such_page()

    def _rest(self, request, target):
        group_version = "%s/%s" % (target.group, target.version) if target.group else target.version
        served = any(r.group == target.group and target.version in r.served for r in self.store.resources.values())
        if not served and group_version not in self._extra:
            if any(r.group == target.group for r in self.store.resources.values()):
                raise status.no_such_path()
            return status.no_such_page()
        if self.faults.gone_as_http and request.flag("watch"):
            since = rest.number(request.query.get("resourceVersion") or "0", "resourceVersion")
            if 0 < since < self.store.compacted:
                raise status.expired("too old resource version: %d (%d)" % (since, self.store.compacted))
        return self.rest.answer(request, target)

    def _public(self, request):
        if request.path == "/version":
            major, minor = self.version.lstrip("v").split(".")[:2]
            return 200, {"major": major, "minor": minor, "emulationMajor": major, "emulationMinor": minor,
                         "minCompatibilityMajor": major, "minCompatibilityMinor": str(int(minor) - 1),
                         "gitVersion": self.version, "gitCommit": "", "gitTreeState": "clean",
                         "buildDate": "2026-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": ""}
        if request.path.rstrip("/") in access.PUBLIC:
            return 200, "ok"
        return None

    async def _stream(self, code, stream, receive, send):
        """Send an open answer until it ends, the client goes, or a fault cuts it."""
        self.streams.add(stream)
        stream.on_line = lambda: self.time.line(stream.client)
        self.time.line(stream.client, stream.lines)
        await send({"type": "http.response.start", "status": code,
                    "headers": [(b"content-type", stream.content_type.encode())]})
        gone = asyncio.ensure_future(_gone(receive))
        pump = asyncio.ensure_future(stream.pump(send))
        try:
            await asyncio.wait({gone, pump}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            pump.cancel()
            self.streams.discard(stream)
            stream.ended()

    # -- paths of our own --------------------------------------------------

    def _audit(self, request):
        row = {
            "method": request.method, "path": request.path, "query": request.query_string,
            "userAgent": request.headers.get("user-agent", ""), "real": time.time(),
            "simulated": self.store.timestamp(), "epoch": self.store.clock.now(), "status": None,
        }
        if not request.path.startswith(OWN):
            self.requests.append(row)
        return row

    def _now(self, **more):
        epoch = self.store.clock.now()
        return 200, dict({"now": to_timestamp(epoch), "epoch": epoch, "simulated": self.store.clock.simulated,
                          "resourceVersion": str(self.store.version)}, **more)

    def _clock(self, request):
        return self._now(lines=self.time.lines(request.headers.get(CLIENT)))

    async def _wait(self, request):
        seconds = (request.json({}) or {}).get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= 1e9:
            raise status.bad_request("seconds must be a number of seconds from 0 on")
        client = request.headers.get(CLIENT)
        delivered = await self.time.wait(seconds, client)
        return self._now(delivered=delivered, lines=self.time.lines(client))

    def _requests(self, request):
        return 200, {"items": list(self.requests)}

    def _errors(self, request):
        return 200, {"items": self.errors}

    def _fault(self, request):
        return 200, self.faults.add(request.json({}) or {})

    def _grant(self, request):
        asked = request.json({}) or {}
        user, seconds = asked.get("user", "restricted"), asked.get("expires")
        if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float))):
            raise status.bad_request("expires must be a number of seconds")
        token = self.access.grant(user, asked.get("rules") or [], seconds)
        if asked.get("file"):  # from now on the folder's token file holds this user's
            self.token_file_of = user
            if self.on_token_file:
                self.on_token_file(token)
        return 201, {"api_key": token}


async def _body_of(receive):
    body = []
    while True:
        message = await receive()
        body.append(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return b"".join(body)


async def _gone(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(code, body, extra, send, head=False):
    kind = b"application/json"
    if isinstance(body, str):
        body, kind = body.encode(), b"text/plain; charset=utf-8"
    elif not isinstance(body, bytes):
        body = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    headers += [(key.encode(), value.encode()) for key, value in extra.items()]
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})
