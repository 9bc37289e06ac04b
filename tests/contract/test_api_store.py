# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store and the simulated clock, as controllers use them: without a server."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.clock import SimClock
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.status import ApiStatus
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.store import Store


@pytest.fixture
def store():
    return Store(SimClock(1_800_000_000))


def pod(name="p", **meta):
    return {"metadata": dict({"name": name, "namespace": "default"}, **meta), "spec": {"nodeName": "n1"}}


def test_the_clock_runs_events_in_order_and_never_early():
    clock, seen = SimClock(100), []
    clock.at(130, lambda: seen.append(("late", clock.now())))
    clock.after(10, lambda: seen.append(("first", clock.now())))
    clock.after(10, lambda: seen.append(("second", clock.now())))
    cancelled = clock.after(5, lambda: seen.append("never"))
    clock.cancel(cancelled)
    clock.cancel(None)
    clock.after(10, lambda: clock.after(0, lambda: seen.append(("caused", clock.now()))))
    clock.run(20)
    assert seen == [("first", 110), ("second", 110), ("caused", 110)] and clock.now() == 120
    clock.run(20)
    assert seen[-1] == ("late", 130) and clock.now() == 140


def test_an_event_that_fails_does_not_keep_the_others_from_running():
    clock, seen, failures = SimClock(0), [], []
    clock.on_error = failures.append
    clock.after(1, lambda: 1 / 0)
    clock.after(1, lambda: seen.append("after"))
    clock.run(2)
    assert seen == ["after"] and isinstance(failures[0], ZeroDivisionError)


def test_what_was_handed_out_never_changes(store):
    made = store.create("pods", pod())
    before = dict(made)
    store.modify("pods", "default", "p", lambda obj: obj["spec"].update(nodeName="n2"))
    assert made == before and store.get("pods", "default", "p")["spec"]["nodeName"] == "n2"


def test_events_come_after_the_commit_in_order_even_when_callbacks_write(store):
    seen = []

    def first(kind, obj, old):
        if kind == "ADDED":
            store.modify("pods", "default", "p", lambda new: new.update(status={"phase": "Running"}))
        seen.append(("first", kind))

    store.on_event("pods", first)
    store.on_event("pods", lambda kind, obj, old: seen.append(("second", kind)))
    store.create("pods", pod())
    assert seen == [("first", "ADDED"), ("second", "ADDED"), ("first", "MODIFIED"), ("second", "MODIFIED")]


def test_no_event_when_nothing_changed_and_none_for_what_is_not_there(store):
    made = store.create("pods", pod())
    seen = []
    store.on_event("pods", lambda *event: seen.append(event))
    assert store.modify("pods", "default", "p", lambda obj: None) == made
    assert store.modify("pods", "default", "gone", lambda obj: None) is None and seen == []


def test_a_failing_callback_is_raised_after_all_others_ran(store):
    seen = []
    store.on_event("pods", lambda *event: 1 / 0)
    store.on_event("pods", lambda *event: seen.append(event))
    with pytest.raises(ZeroDivisionError):
        store.create("pods", pod())
    assert len(seen) == 1 and store.get("pods", "default", "p")


def test_admission_changes_and_refuses(store):
    def hook(operation, obj, old, user, dry_run):
        if operation == "CREATE":
            obj["metadata"]["labels"] = {"seen-by": user}
        if operation == "DELETE" and old["metadata"].get("annotations"):
            raise ApiStatus(403, message="annotated")

    store.admit("pods", hook)
    made = store.create("pods", pod(annotations={"a": "b"}), user="somebody")
    assert made["metadata"]["labels"] == {"seen-by": "somebody"}
    with pytest.raises(ApiStatus) as caught:
        store.delete("pods", "default", "p")
    assert caught.value.code == 403 and caught.value.body()["reason"] == "Forbidden"


def test_indexes_follow(store):
    store.create("pods", pod("early"))
    store.index("pods", "node", lambda obj: [obj["spec"].get("nodeName")])
    store.create("pods", pod("late"))

    def names(node):
        return [obj["metadata"]["name"] for obj in store.by_index("pods", "node", node)]

    assert names("n1") == ["early", "late"]
    store.modify("pods", "default", "early", lambda obj: obj["spec"].update(nodeName="n2"))
    store.delete("pods", "default", "late")
    assert names("n1") == [] and names("n2") == ["early"]


def test_a_graceful_deletion_takes_its_time(store):
    store.create("pods", pod())
    store.create("pods", pod("guarded", finalizers=["a/b"]))
    for name in ("p", "guarded"):
        store.delete("pods", "default", name, grace=30)
    assert store.get("pods", "default", "p")["metadata"]["deletionGracePeriodSeconds"] == 30
    store.clock.run(31)
    assert store.get("pods", "default", "p") is None
    store.modify("pods", "default", "guarded", lambda obj: obj["metadata"].pop("finalizers"))
    assert store.get("pods", "default", "guarded") is None


def test_times_are_the_clock_s(store):
    store.clock.run(90)
    assert store.create("pods", pod())["metadata"]["creationTimestamp"] == "2027-01-15T08:01:30Z"


def test_the_same_event_again_counts_up(store):
    made = store.create("pods", pod())
    store.record_event(made, "Warning", "FailedScheduling", "no node fits")
    store.clock.run(60)
    event = store.record_event(made, "Warning", "FailedScheduling", "no node fits")
    assert event["count"] == 2 and event["involvedObject"]["uid"] == made["metadata"]["uid"]
    assert event["firstTimestamp"] < event["lastTimestamp"] and len(store.list("events")) == 1
    store.record_event(made, "Normal", "Scheduled", "assigned")
    assert len(store.list("events", "default")) == 2


def test_lists_by_selector_and_namespace(store):
    store.create("pods", pod("b", labels={"x": "1"}))
    store.create("pods", pod("a", labels={"x": "2"}))
    names = [obj["metadata"]["name"] for obj in store.list("pods", "default")]
    assert names == ["a", "b"] and store.list("pods", "other") == []
    assert [obj["metadata"]["name"] for obj in store.list("pods", selector="x=1")] == ["b"]
    assert [obj["metadata"]["name"] for obj in store.list("pods", selector=lambda obj: obj["metadata"]["name"] > "a")] == ["b"]


def test_the_past_is_forgotten_in_the_end(store, monkeypatch):
    from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import store as module

    monkeypatch.setattr(module, "HISTORY", 3)
    first = store.create("pods", pod())
    for node in "abcd":
        store.modify("pods", "default", "p", lambda obj, node=node: obj["spec"].update(nodeName=node))
    with pytest.raises(ApiStatus) as caught:
        store.since("pods", int(first["metadata"]["resourceVersion"]))
    assert caught.value.code == 410
    assert len(store.since("pods", store.version - 2)) == 2
    assert store.since("configmaps", int(first["metadata"]["resourceVersion"])) == []
