# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``near``: embedded clusters in the test's own process, for many short tests of how the cluster behaves.

The same application with the same clients, without sockets, TLS and a process to start: a cluster costs
20 ms. With ``BIGVM_CONTRACT_SERVER=1`` the same tests run against servers in processes of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
from urllib.parse import unquote

import pytest


class Answer:
    """What urllib3's pool would have answered."""

    def __init__(self, status, data, headers):
        self.status, self.data, self.headers = status, data, headers

    def stream(self, **how):
        """The body as it would be streamed: a log that has ended, in one piece."""
        yield self.data

    def close(self):
        """Nothing is open."""


class Near:
    """One cluster; the interface of the ``cluster`` fixture's, as far as these tests need it."""

    def __init__(self, topology=None, generation=None, crds=None, objects=(), bare=False):
        from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.assembly import Options, build

        self.loop = asyncio.new_event_loop()
        self.app = self.loop.run_until_complete(self._build(build, Options(
            topology=topology, generation=generation, crds=crds, objects=tuple(map(str, objects)), bare=bare)))
        self.api = self.client()

    @staticmethod
    async def _build(build, options):
        return build(options)

    def client(self, api_key=None, dry_run=False):
        import kubernetes

        from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import Api

        near = self

        class NearApi(Api):
            """The collection's client on the application itself."""

            def reconnect(self):
                super().reconnect()
                self._pool = near

        configuration = kubernetes.client.Configuration()
        configuration.host = "https://near"
        configuration.api_key = {"authorization": "Bearer " + (api_key or self.app.access.token)}
        return NearApi(lambda: (configuration, {}), dry_run=dry_run).handshake()

    def request(self, method, url, body=None, headers=None, **kept):
        """The pool's one method that the client uses."""
        code, data, kind = self.loop.run_until_complete(self._call(method, url.partition("//near")[2], body or b"", headers or {}))
        return Answer(code, data, {"content-type": kind})

    async def _call(self, method, url, body, headers, on_body=None):
        path, _mark, query = url.partition("?")
        sent = {"status": 0, "kind": "", "body": []}
        inbox = asyncio.Queue()
        inbox.put_nowait({"type": "http.request", "body": body})

        async def send(message):
            if message["type"] == "http.response.start":
                sent["status"] = message["status"]
                sent["kind"] = dict(message["headers"]).get(b"content-type", b"").decode()
            else:
                (on_body or sent["body"].append)(message.get("body", b""))

        scope = {"type": "http", "method": method, "path": unquote(path), "query_string": query.encode(),
                 "headers": [(key.lower().encode(), str(value).encode()) for key, value in headers.items()]}
        await self.app(scope, inbox.get, send)
        return sent["status"], b"".join(sent["body"]), sent["kind"]

    def http(self, method, path, body=None, content_type="application/json"):
        """One raw request: ``(status, data, headers)``."""
        headers = {"Authorization": "Bearer " + self.app.access.token, "Content-Type": content_type}
        found = self.request(method, "https://near" + path, json.dumps(body).encode() if body is not None else b"", headers)
        data = json.loads(found.data) if "json" in found.headers["content-type"] else found.data.decode()
        return found.status, data, found.headers

    def follow(self, path):
        """Open a stream; returns a list that its lines (bytes) are added to."""
        lines, rest = [], [b""]

        def on_body(data):
            *whole, rest[0] = (rest[0] + data).split(b"\n")
            lines.extend(line for line in whole if line)

        headers = {"Authorization": "Bearer " + self.app.access.token}
        self.loop.create_task(self._call("GET", path, b"", headers, on_body))
        self.pump()
        return lines

    def pump(self):
        """Let open streams move."""
        for _turn in range(20):
            self.loop.run_until_complete(asyncio.sleep(0))

    def wait(self, seconds):
        """Let that many simulated seconds pass."""
        self.api.clock.sleep(seconds)

    def finish(self):
        """Fail the test for what the controllers raised."""
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.pump()
        self.loop.close()
        assert not self.app.errors, "\n".join(self.app.errors)


@pytest.fixture
def near(request):
    """Make clusters for one test: ``near(topology=..., generation=...)``."""
    if os.environ.get("BIGVM_CONTRACT_SERVER") or os.environ.get("BIGVM_CLUSTER") == "kubevirt":
        yield request.getfixturevalue("cluster")
        return
    made = []

    def make(**options):
        made.append(Near(**options))
        return made[-1]

    yield make
    for one in made:
        one.finish()


@pytest.fixture
def near_bare(near):
    """The same with the API alone: no controllers, no objects."""
    return lambda **options: near(bare=True, **options)
