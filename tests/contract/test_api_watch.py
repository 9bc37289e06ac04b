# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""WATCH and the simulated clock of the embedded cluster: nothing happens in between, and nothing is missed."""

from __future__ import annotations

import json
import queue
import threading
import time

import pytest
import urllib3

MAPS = "/api/v1/namespaces/watched/configmaps"
PODS = "/api/v1/namespaces/watched/pods"
MERGE = "application/merge-patch+json"

pytestmark = pytest.mark.any_cluster
SEEN = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "seen.test.bigvm.io"},
    "spec": {"group": "test.bigvm.io", "scope": "Cluster", "names": {"plural": "seen", "kind": "Seen"},
             "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}]},
}
SIMULATED = pytest.mark.embedded("simulated time")
BREAKING = pytest.mark.embedded("failures on demand")


@pytest.fixture
def c(shared):
    made = shared(bare=True)
    if made.http("GET", "/api/v1/namespaces/watched")[0] == 404:
        made.http("POST", "/api/v1/namespaces", {"metadata": {"name": "watched"}})
        made.settle("watched")
    made.drop_watches()
    made.http("DELETE", MAPS + "?fieldSelector=metadata.name%21%3Dkube-root-ca.crt")
    return made


class Watch:
    """An open WATCH whose lines arrive in a queue; None is its proper end, an exception a broken one."""

    def __init__(self, c, query="", path=MAPS, **headers):
        self.lines = queue.Queue()
        if "fieldSelector" not in query:  # a real cluster's own
            query += "&fieldSelector=metadata.name%21%3Dkube-root-ca.crt"
        self.answer = c.pool.request(
            "GET", c.connection["host"] + path + "?watch=true&" + query, preload_content=False, retries=False,
            headers={"Authorization": "Bearer %s" % c.connection["api_key"], **headers})
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        rest = b""
        try:
            for chunk in self.answer.stream(amt=None):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self.lines.put(json.loads(line))
            self.lines.put(None)
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            self.lines.put(exc)

    def next(self, timeout=5):
        return self.lines.get(timeout=timeout)

    def quiet(self):
        time.sleep(0.05)
        return self.lines.empty()


def config_map(name, **more):
    return {"metadata": dict({"name": name}, **more), "data": {"a": "1"}}


def label(c, name, labels):
    return c.http("PATCH", "%s/%s" % (MAPS, name), {"metadata": {"labels": labels}}, content_type=MERGE)[1]


def told(line):
    return line["type"], line["object"]["metadata"]["name"]


def test_without_a_version_everything_there_is_comes_first(c):
    c.http("POST", MAPS, config_map("here"))
    for query in ("", "resourceVersion=0"):
        watch = Watch(c, query)
        assert told(watch.next()) == ("ADDED", "here")
        assert watch.quiet()


def test_from_a_version_on_nothing_is_missed(c):
    made = c.http("POST", MAPS, config_map("first"))[1]
    c.http("POST", MAPS, config_map("second"))
    watch = Watch(c, "resourceVersion=" + made["metadata"]["resourceVersion"])
    assert told(watch.next()) == ("ADDED", "second")
    label(c, "first", {"x": "y"})
    c.http("DELETE", MAPS + "/second")
    assert told(watch.next()) == ("MODIFIED", "first")
    last = watch.next()
    assert told(last) == ("DELETED", "second")
    assert int(last["object"]["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"]) + 1


def test_a_selector_turns_changes_into_comings_and_goings(c):
    made = c.http("POST", MAPS, config_map("labelled"))[1]
    watch = Watch(c, "labelSelector=on%3Dyes&resourceVersion=" + made["metadata"]["resourceVersion"])
    for labels, expected in (({"on": "yes"}, "ADDED"), ({"more": "x"}, "MODIFIED"), ({"on": "no"}, "DELETED")):
        label(c, "labelled", labels)
        assert told(watch.next()) == (expected, "labelled")
    label(c, "labelled", {"more": "y"})
    assert watch.quiet()


def test_one_object_by_name(c):
    version = c.version_now()
    watch = Watch(c, "fieldSelector=metadata.name%3Dmine&resourceVersion=" + version)
    c.http("POST", MAPS, config_map("theirs"))
    c.http("POST", MAPS, config_map("mine"))
    assert told(watch.next()) == ("ADDED", "mine")


@SIMULATED
def test_time_only_passes_while_somebody_waits(c):
    before = c.api.get("/bigvm/v1/clock")
    time.sleep(0.2)
    c.http("POST", MAPS, config_map("quick"))
    assert c.api.get("/bigvm/v1/clock")["epoch"] == before["epoch"]
    start = time.monotonic()
    answer = c.http("POST", "/bigvm/v1/clock/wait", {"seconds": 86400})[1]
    assert answer["epoch"] == pytest.approx(before["epoch"] + 86400, abs=1e-3)
    assert answer["delivered"] == 0 and time.monotonic() - start < 2


@SIMULATED
def test_the_end_of_a_watch_is_in_simulated_seconds_and_ends_a_wait(c):
    version = c.version_now()
    watch = Watch(c, "timeoutSeconds=290&resourceVersion=" + version)
    before = c.api.get("/bigvm/v1/clock")["epoch"]
    answer = c.http("POST", "/bigvm/v1/clock/wait", {"seconds": 1000})[1]
    assert answer["delivered"] == 1 and answer["epoch"] == pytest.approx(before + 290, abs=1e-3)
    assert watch.next() is None


@SIMULATED
def test_bookmarks_come_every_minute_and_carry_the_version(c):
    version = c.version_now()
    watch = Watch(c, "allowWatchBookmarks=true&timeoutSeconds=150&resourceVersion=" + version)
    epochs = []
    for _turn in range(4):
        answer = c.http("POST", "/bigvm/v1/clock/wait", {"seconds": 1000})[1]
        epochs.append(answer["epoch"])
    assert [round(later - epochs[0]) for later in epochs] == [0, 60, 88, 90]
    mark = watch.next()
    assert mark["type"] == "BOOKMARK" and mark["object"]["kind"] == "ConfigMap"
    assert mark["object"]["metadata"]["resourceVersion"] == answer["resourceVersion"]
    assert [watch.next()["type"] for _turn in range(2)] == ["BOOKMARK", "BOOKMARK"] and watch.next() is None


def test_bookmarks_carry_a_version_to_go_on_from(c):
    made = c.http("POST", MAPS, config_map("marked"))[1]
    watch = Watch(c, "allowWatchBookmarks=true&timeoutSeconds=4&resourceVersion=" + made["metadata"]["resourceVersion"])
    c.http("POST", MAPS, config_map("later"))
    assert told(watch.next()) == ("ADDED", "later")
    c.wait(10)
    mark = watch.next(10)
    assert (mark["type"], mark["object"]["kind"], mark["object"]["apiVersion"]) == ("BOOKMARK", "ConfigMap", "v1")
    assert set(mark["object"]) <= {"kind", "apiVersion", "metadata"}
    assert int(mark["object"]["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    while mark is not None:  # perhaps another, then the end, in time
        assert mark["type"] == "BOOKMARK"
        mark = watch.next(10)


def test_a_version_too_old_to_go_on_from(c):
    c.define(SEEN)
    c.compact()
    watch = Watch(c, "resourceVersion=1&fieldSelector=metadata.name%21%3Dx", "/apis/test.bigvm.io/v1/seen")
    line = watch.next()
    assert line["type"] == "ERROR" and (line["object"]["code"], line["object"]["reason"]) == (410, "Expired")
    assert line["object"]["message"].startswith("too old resource version: 1 (")
    assert watch.next() is None


def test_initial_events_end_with_a_marked_bookmark(c):
    c.http("POST", MAPS, config_map("first"))
    watch = Watch(c, "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")
    assert told(watch.next()) == ("ADDED", "first")
    mark = watch.next()
    assert mark["type"] == "BOOKMARK" and mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    c.http("POST", MAPS, config_map("second"))
    assert told(watch.next()) == ("ADDED", "second")


@BREAKING
def test_a_compacted_version_is_gone(c):
    made = c.http("POST", MAPS, config_map("old"))[1]
    c.http("POST", MAPS, config_map("newer"))
    c.fault(compact=True)
    watch = Watch(c, "resourceVersion=" + made["metadata"]["resourceVersion"])
    line = watch.next()
    assert line["type"] == "ERROR" and (line["object"]["code"], line["object"]["reason"]) == (410, "Expired")
    assert line["object"]["message"].startswith("too old resource version: ")
    assert watch.next() is None
    c.fault(**{"compact": True, "as": "http"})
    status, said, headers = c.http("GET", MAPS + "?watch=1&resourceVersion=" + made["metadata"]["resourceVersion"])
    assert (status, said["reason"]) == (410, "Expired")
    c.fault(compact=True)


@BREAKING
def test_a_cut_connection_is_seen_as_cut(c):
    watch = Watch(c)
    c.fault(drop_watches=True)
    assert isinstance(watch.next(), Exception)


@BREAKING
def test_a_half_open_connection_is_silent(c):
    watch = Watch(c, "timeoutSeconds=30&resourceVersion=" + c.version_now())
    c.fault(half_open=True)
    c.http("POST", MAPS, config_map("unseen"))
    answer = c.http("POST", "/bigvm/v1/clock/wait", {"seconds": 60})[1]
    assert answer["delivered"] == 0 and watch.quiet()


@SIMULATED
def test_two_waits_at_once_share_the_time(c):
    before = c.api.get("/bigvm/v1/clock")["epoch"]
    answers = []
    waits = [threading.Thread(target=lambda seconds=seconds: answers.append(
        c.http("POST", "/bigvm/v1/clock/wait", {"seconds": seconds})[1]["epoch"] - before)) for seconds in (100, 200, 300)]
    for wait in waits:
        wait.start()
    for wait in waits:
        wait.join(10)
    assert len(answers) == 3 and max(answers) <= 600.1
    assert c.api.get("/bigvm/v1/clock")["epoch"] - before <= 600.1


@SIMULATED
def test_a_client_that_gives_its_name_is_only_woken_by_its_own_watches(c):
    version = c.version_now()
    theirs = Watch(c, "timeoutSeconds=10&resourceVersion=" + version)
    mine = Watch(c, "timeoutSeconds=20&resourceVersion=" + version, **{"X-Bigvm-Client": "me"})
    before = c.api.get("/bigvm/v1/clock")["epoch"]
    answer = c.http("POST", "/bigvm/v1/clock/wait", {"seconds": 60}, **{"X-Bigvm-Client": "me"})[1]
    assert answer["epoch"] == pytest.approx(before + 20, abs=1e-3)
    assert (answer["delivered"], answer["lines"]) == (1, 1)
    assert theirs.next() is None and mine.next() is None


@SIMULATED
def test_lines_count_what_was_written_between_waits_too(c):
    name = {"X-Bigvm-Client": "counter"}
    c.http("POST", MAPS, config_map("one"))
    watch = Watch(c, **name)
    c.http("POST", MAPS, config_map("two"))
    assert c.http("GET", "/bigvm/v1/clock", **name)[1]["lines"] == 2
    assert [told(watch.next()) for _turn in range(2)] == [("ADDED", "one"), ("ADDED", "two")]


@SIMULATED
def test_a_wait_says_no_to_nonsense(c):
    for body in ({}, {"seconds": -1}, {"seconds": "ten"}, {"seconds": True}):
        assert c.http("POST", "/bigvm/v1/clock/wait", body)[0] == 400


@SIMULATED
def test_the_real_clock_runs_by_itself(cluster):
    c = cluster(bare=True, clock="real")
    assert abs(c.api.get("/bigvm/v1/clock")["epoch"] - time.time()) < 2
    watch = Watch(c, "timeoutSeconds=1&resourceVersion=" + c.version_now())
    start = time.monotonic()
    answer = c.http("POST", "/bigvm/v1/clock/wait", {"seconds": 10})[1]
    assert answer["delivered"] == 1 and 0.5 < time.monotonic() - start < 3
    assert watch.next() is None
