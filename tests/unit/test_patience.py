# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Patience with an API server that is away: how long, what may be sent again, what is said."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.patience import (
    PATIENCE,
    VARIABLE,
    Attempts,
    Outage,
    at_first_contact,
    may_repeat,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors

AWAY = errors.Overloaded("away", status=503)
GONE = errors.Unreachable("refused", reason="Unreachable")
NEVER_SENT = errors.Unreachable("refused", reason="Unreachable")
NEVER_SENT.sent = False
BUSY = errors.Overloaded("busy", status=429)


def moments(failure, patience=PATIENCE):
    attempts, now, made = Attempts(patience), 1000.0, []
    while True:
        pause = attempts.pause(failure, now)
        if pause is None:
            return made
        now += pause
        made.append(now - 1000)


def test_attempts_become_rarer_and_the_last_is_made_when_patience_ends():
    made = moments(AWAY)
    assert made[:6] == [1, 3, 7, 15, 31, 61]
    assert made[-1] == PATIENCE == 600
    assert max(after - before for before, after in zip(made, made[1:])) == 30


def test_an_internal_error_is_given_less_time():
    assert moments(errors.Overloaded("failed", status=500))[-1] == 60
    assert moments(errors.Overloaded("failed", status=500), patience=20)[-1] == 20


def test_the_server_says_when_to_come_again():
    assert moments(errors.Overloaded("busy", status=429, retry_after=250.0)) == [250, 500, 600]


@pytest.mark.parametrize("reason, patience, hope", [
    ("Unreachable", 600, True), ("Certificate", 600, False), ("Configuration", 600, False), ("Unreachable", 0, False)])
def test_what_time_may_mend(reason, patience, hope):
    assert Attempts(patience).worth_while(errors.Unreachable("x", reason=reason)) is hope


NAMED = {"metadata": {"name": "a"}}
GENERATED = {"metadata": {"generateName": "a-"}}
GUARDED = {"metadata": {"resourceVersion": "7"}, "spec": {}}


@pytest.mark.parametrize("method, query, body, failure, repeated", [
    ("GET", {}, None, GONE, True),
    ("POST", {}, GENERATED, GONE, False),
    ("POST", {}, GENERATED, AWAY, False),
    ("POST", {}, GENERATED, BUSY, True),
    ("POST", {}, GENERATED, NEVER_SENT, True),
    ("POST", {"dryRun": "All"}, GENERATED, GONE, True),
    ("POST", {}, NAMED, GONE, True),
    ("PATCH", {}, {"spec": {}}, GONE, False),
    ("PATCH", {}, GUARDED, GONE, True),
    ("PATCH", {}, [{"op": "test", "path": "/a", "value": 1}, {"op": "remove", "path": "/a"}], AWAY, True),
    ("PATCH", {}, [{"op": "remove", "path": "/a"}], AWAY, False),
    ("PUT", {}, GUARDED, AWAY, True),
    ("PUT", {}, {"evacuationNodeName": "n"}, AWAY, False),
    ("DELETE", {}, None, GONE, False),
    ("DELETE", {}, {"preconditions": {"uid": "u"}}, GONE, True),
])
def test_only_what_does_no_harm_is_sent_again(method, query, body, failure, repeated):
    assert may_repeat(method, query, body, failure) is repeated


def test_an_outage_is_said_once_when_it_begins_and_once_when_it_is_over():
    said = []
    outage = Outage(said.append)
    for moment in (0, 1, 3, 7, 15, 599):
        outage.failing(AWAY, moment)
    outage.over(lambda: 605.2)
    outage.over(lambda: 700)
    assert said == ["API server away since 00:00:00Z (503); waiting up to 10 min",
                    "API server back since 00:10:05Z, it was away for 10 min 5 s"]
    assert all(len(line) <= 80 for line in said)


def test_a_hiccup_is_not_worth_a_line_and_the_clock_is_not_asked():
    said = []
    outage = Outage(said.append)
    outage.over(lambda: 1 / 0)
    outage.failing(GONE, 100)
    outage.failing(GONE, 104)
    outage.over(lambda: 105)
    outage.failing(GONE, 200)
    outage.over(lambda: 201)
    assert said == []
    for moment in (300, 306):
        outage.failing(GONE, moment)
    assert said == ["API server away since 00:05:00Z (unreachable); waiting up to 10 min"]


@pytest.mark.parametrize("value, seconds", [(None, 0), ("", 0), ("600", 600), ("10min", 600), ("nonsense", 0)])
def test_the_first_contact_waits_only_when_told_to(monkeypatch, value, seconds):
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    assert at_first_contact() == seconds
