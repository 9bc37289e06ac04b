# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""WATCH: one open stream of events on one resource."""

from __future__ import annotations

import json

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import status
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import store as stores
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.wire import TRUE, Stream

BOOKMARK_EVERY = 60.0  # simulated seconds
BOOKMARK_BEFORE = 2.0  # and one so long before the end
DEFAULT_TIMEOUT = 2700.0  # without timeoutSeconds a server ends a watch after 30 to 60 minutes


def open_watch(store, resource, version, namespace, matches, query):
    """A :class:`Stream` of the events that ``matches`` (predicate or None) selects.

    :param version: the served version to send objects in.
    :param query: the request's query: resourceVersion, timeoutSeconds (simulated), allowWatchBookmarks.
    """
    stream = Stream("application/json", wakes=True)
    watch = _Watch(store, resource, version, namespace, matches, stream)
    since = query.get("resourceVersion") or "0"
    if not since.isdigit():
        raise status.failure(status.not_a_version(since))
    try:
        watch.start(int(since))
        if query.get("sendInitialEvents") in TRUE:
            watch.bookmark({"k8s.io/initial-events-end": "true"})
    except status.ApiStatus as exc:  # once a watch is accepted, its end is told in the stream
        watch.line(b"ERROR", json.dumps(exc.body()).encode())
        stream.close()
        return stream
    timeout = number(query.get("timeoutSeconds") or "0", "timeoutSeconds") or DEFAULT_TIMEOUT
    ends = [store.clock.after(timeout, stream.close)]
    if query.get("allowWatchBookmarks") in TRUE:
        ends.append(watch.bookmark_later())
        if timeout > BOOKMARK_BEFORE:
            ends.append(store.clock.after(timeout - BOOKMARK_BEFORE, watch.bookmark))
    stop = store.watch(resource.key, watch.deliver)

    def ended():
        stop()
        watch.over = True
        for handle in ends:
            store.clock.cancel(handle)

    stream.on_close = ended
    return stream


def number(text, name):
    """A number of a query parameter.

    :raises ApiStatus: 400.
    """
    try:
        return int(text)
    except ValueError as exc:
        if name == "resourceVersion":
            raise status.bad_request("invalid resource version: %s" % status.not_a_version(text)) from exc
        raise status.bad_request('strconv.ParseInt: parsing "%s": invalid syntax' % text) from exc


class _Watch:
    def __init__(self, store, resource, version, namespace, matches, stream):
        self.store = store
        self.resource = resource
        self.version = version
        self.namespace = namespace
        self.matches = matches
        self.stream = stream
        self.over = False

    def start(self, since):
        """What there is already (0), or what happened after a version."""
        if since == 0:
            for entry in self.store.entries(self.resource.key, self.namespace, self.matches):
                self.line(b"ADDED", entry.encoded(self.version))
            return
        for event in self.store.since(self.resource.key, since):
            self.deliver(event)

    def deliver(self, event):
        """One commit, as it looks through this watch's selector."""
        obj = event.entry.obj
        if self.namespace and obj["metadata"].get("namespace") != self.namespace:
            return
        kind = event.kind
        if self.matches is not None:
            now = kind != stores.DELETED and self.matches(obj)
            before = kind != stores.ADDED and self.matches(event.old)
            if not now and not before:
                return
            kind = stores.MODIFIED if now and before else stores.ADDED if now else stores.DELETED
        self.line(kind.encode(), event.entry.encoded(self.version))

    def line(self, kind, obj):
        """Send one line."""
        self.stream.write(b'{"type":"%s","object":%s}\n' % (kind, obj))

    def bookmark_later(self):
        """A bookmark every minute until the end."""

        def bookmark():
            if not self.over:
                self.bookmark()
                self.store.clock.after(BOOKMARK_EVERY, bookmark)

        return self.store.clock.after(BOOKMARK_EVERY, bookmark)

    def bookmark(self, annotations=None):
        """One bookmark now."""
        meta = {"resourceVersion": str(self.store.version), "creationTimestamp": None}
        if annotations:
            meta["annotations"] = annotations
        self.line(b"BOOKMARK", json.dumps({
            "kind": self.resource.kind, "apiVersion": self.resource.api_version_of(self.version), "metadata": meta}).encode())
