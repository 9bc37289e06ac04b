# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Watches: what each kind of end leads to, with a server that does what the test says."""

from __future__ import annotations

import json
import queue
import time

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import watch as watching
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import Listing
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.watch import PATIENCE, SILENCE, Watch
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors

END = object()


def thing(name, version, **extra):
    return dict({"metadata": {"namespace": "ns", "name": name, "resourceVersion": str(version)}}, **extra)


def line(kind, obj):
    return json.dumps({"type": kind, "object": obj}).encode()


class Server:
    """Lists and streams as scripted: a stream is a queue of lines, exceptions, or END."""

    def __init__(self, items=(), version="10"):
        self.items, self.version = list(items), version
        self.lists = 0
        self.opened = []  # the query of each watch
        self.streams = []
        self.refusals = []  # raised by the next opens
        self.reconnects = 0

    def list(self, path, **query):
        self.lists += 1
        if isinstance(self.items, Exception):
            raise self.items  # pylint: disable=raising-bad-type
        return Listing(list(self.items), self.version)

    def reconnect(self):
        self.reconnects += 1

    def stream(self, path, read_timeout, on_open=None, **query):
        lines = queue.Queue()
        self.opened.append(dict(query, read_timeout=read_timeout))
        self.streams.append(lines)
        if self.refusals:
            raise self.refusals.pop(0)
        on_open(Response(lines))
        while True:
            item = lines.get()
            if item is END:
                return
            if isinstance(item, Exception):
                raise item
            yield item


class Response:
    """Cut like a socket."""

    def __init__(self, lines):
        self.connection = self
        self.sock = self
        self.lines = lines

    def shutdown(self, how):
        self.lines.put(errors.Unreachable("cut"))


class Loop:
    """The owner of the queue, with a clock of its own."""

    def __init__(self, server):
        self.server, self.inbox, self.now = server, queue.Queue(), 1000.0
        self.watch = Watch(server, self.inbox, "/things", labelSelector="x=y")
        self.opens, connect = 0, self.watch.open

        def counted():
            self.opens += 1
            connect()

        self.watch.open = counted
        self.watch.list()
        self.watch.open()
        self.watch.tend(self.now)

    def opened(self):
        """The queries of all watches, once the threads have come as far as to ask."""
        end = time.monotonic() + 5
        while len(self.server.streams) < self.opens and time.monotonic() < end:
            time.sleep(0.002)
        return self.server.opened

    def send(self, *items):
        self.opened()
        for item in items:
            self.server.streams[-1].put(item)

    def take(self, count=1):
        words = []
        for _turn in range(count):
            item = self.inbox.get(timeout=5)
            words.append(item.word)
            item.watch.take(item, self.now)
        self.watch.tend(self.now)
        return words

    def later(self, seconds):
        self.now += seconds
        self.watch.tend(self.now)

    @property
    def names(self):
        return sorted(name for _ns, name in self.watch.objects)


@pytest.fixture
def loop():
    made = Loop(Server([thing("a", 3), thing("b", 4)]))
    yield made
    made.watch.close()


def test_it_begins_where_the_list_ended(loop):
    assert loop.names == ["a", "b"]
    loop.send(line("BOOKMARK", thing("", 11)))
    loop.take()
    query = loop.opened()[0]
    assert query["resourceVersion"] == "10"
    assert query["labelSelector"] == "x=y"
    assert query["allowWatchBookmarks"] is True and query["watch"] is True
    assert query["timeoutSeconds"] <= 290
    assert query["read_timeout"] == SILENCE == 120


def test_events_change_the_objects(loop):
    loop.send(line("ADDED", thing("c", 11)), line("MODIFIED", thing("a", 12, new=True)), line("DELETED", thing("b", 13)),
              line("DELETED", thing("never-there", 14)))
    loop.take(4)
    assert loop.names == ["a", "c"]
    assert loop.watch.objects[("ns", "a")]["new"] is True


def test_after_its_time_it_goes_on_from_the_last_line_without_a_list(loop):
    loop.send(line("ADDED", thing("c", 11)), line("BOOKMARK", thing("", 25)), END)
    assert loop.take(3) == ["ADDED", "BOOKMARK", "END"]
    loop.send(line("BOOKMARK", thing("", 26)))
    loop.take()
    assert loop.opened()[1]["resourceVersion"] == "25"
    assert loop.server.lists == 1


@pytest.mark.parametrize("how", ["line", "answer"])
def test_too_old_means_a_new_list(loop, how):
    loop.server.items, loop.server.version = [thing("b", 90)], "91"
    if how == "line":
        loop.send(line("ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"}))
        loop.take()
    else:
        loop.server.refusals = [errors.Gone("too old", status=410)]
        loop.send(line("BOOKMARK", thing("", 11)), END)
        loop.take(2)
        loop.take()
    assert loop.server.lists == 2
    assert loop.names == ["b"]
    loop.send(line("BOOKMARK", thing("", 92)))
    loop.take()
    assert loop.opened()[-1]["resourceVersion"] == "91"


def test_too_old_again_and_again_is_not_a_storm(loop):
    loop.server.refusals = [errors.Gone("too old", status=410) for _turn in range(9)]
    loop.send(line("ERROR", {"code": 410}))
    loop.take()
    loop.take()
    lists = loop.server.lists
    loop.later(0.5)
    assert loop.server.lists == lists
    loop.later(2)
    assert loop.server.lists == lists + 1


def test_an_overloaded_server_is_given_time_more_each_time(loop):
    loop.server.refusals = [errors.Overloaded("busy", status=503) for _turn in range(3)]
    loop.send(errors.Unreachable("broken"))
    loop.take()
    pauses = []
    for _turn in range(3):
        pauses.append(loop.watch.next_moment() - loop.now)
        loop.later(pauses[-1])
        loop.take()
    assert pauses == [1, 2, 4]
    assert loop.server.lists == 1
    loop.later(8)
    loop.send(line("BOOKMARK", thing("", 30)))
    loop.take()
    assert loop.watch.next_moment() == loop.now + SILENCE  # all is well again
    loop.send(errors.Unreachable("broken"))
    loop.take()
    assert loop.watch.next_moment() == loop.now + 1


def test_retry_after_is_obeyed(loop):
    loop.send(errors.Overloaded("busy", status=429, retry_after=17.0))
    loop.take()
    assert loop.watch.next_moment() == loop.now + 17


def test_a_refused_token_is_read_anew_once_then_patiently(loop):
    loop.server.refusals = [errors.Unauthorized("expired", status=401)]
    loop.send(errors.Unauthorized("expired", status=401))
    loop.take()
    assert loop.server.reconnects == 1
    assert len(loop.opened()) == 2  # at once
    loop.take()
    assert loop.server.reconnects == 1
    assert loop.watch.next_moment() > loop.now


def test_silence_beyond_the_bookmark_means_half_open(loop):
    loop.later(SILENCE - 1)
    loop.send(line("BOOKMARK", thing("", 33)))
    loop.take()
    loop.later(SILENCE - 1)
    assert len(loop.opened()) == 1
    loop.later(1)
    loop.send(line("BOOKMARK", thing("", 34)))
    loop.take()
    assert len(loop.opened()) == 2
    assert loop.opened()[1]["resourceVersion"] == "33"


def test_what_an_old_connection_still_says_is_ignored(loop):
    loop.opened()
    old = loop.server.streams[-1]
    loop.send(line("DELETED", thing("a", 12)))
    item = loop.inbox.get(timeout=5)
    loop.later(SILENCE)
    item.watch.take(item, loop.now)
    assert loop.names == ["a", "b"]
    assert len(loop.opened()) == 2 and loop.server.streams[-1] is not old


def test_patience_ends(loop):
    loop.send(errors.Unreachable("gone away"))
    loop.take()
    loop.server.refusals = [errors.Unreachable("gone away") for _turn in range(99)]
    with pytest.raises(errors.Unreachable, match="gone away"):
        for _turn in range(99):
            loop.later(loop.watch.next_moment() - loop.now)
            loop.take()
    assert PATIENCE <= loop.now - 1000 <= PATIENCE + 60


@pytest.mark.parametrize("failure", [errors.Forbidden("no right", status=403), errors.NotFound("no such kind", status=404)])
def test_what_does_not_pass_is_raised_at_once(loop, failure):
    loop.send(failure)
    with pytest.raises(type(failure)):
        loop.take()


def test_a_server_that_ends_at_once_is_not_asked_in_a_storm(loop):
    loop.send(END)
    loop.take()
    assert loop.watch.next_moment() == loop.now + 1
    assert len(loop.opened()) == 1


def test_half_a_line_is_a_broken_connection(loop):
    loop.send(b'{"type": "ADD')
    assert loop.take() == ["FAILED"]
    assert loop.watch.next_moment() == loop.now + 1


def test_lines_count_for_the_clock_of_a_rehearsal_failures_do_not():
    assert watching.Item(None, 1, "BOOKMARK").counted
    assert watching.Item(None, 1, "END").counted
    assert not watching.Item(None, 1, "FAILED", ValueError()).counted


def test_closing_cuts_the_connection_and_leaves_the_queue_quiet(loop):
    loop.send(line("BOOKMARK", thing("", 11)))
    loop.take()
    loop.watch.close()
    with pytest.raises(queue.Empty):
        loop.inbox.get(timeout=0.2)
