# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The embedded cluster answers as a real API server does, word for word.

api_cases.py has the requests, api_answers.json what a real kube-apiserver said to them. On the lab
(``BIGVM_CLUSTER=lab``) the same test holds the record against the real one; ``BIGVM_RECORD=1`` writes it anew.
"""

from __future__ import annotations

import functools
import json
import os
import re

import api_cases
import pytest

pytestmark = pytest.mark.any_cluster

RECORD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "api_answers.json")
REPLACED = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r'"(resourceVersion|selfLink|continue)": "[^"]+"'), r'"\1": "..."'),
    (re.compile(r"(precondition|in record) \((\d+)\)"), r"\1 (N)"),
    (re.compile(r"system:serviceaccount:default:observer-[0-9a-f]{6}"), "observer"),
)


@functools.cache
def recorded():
    """``{conversation: {step: [status, data, warning]}}``"""
    with open(RECORD, encoding="utf-8") as stream:
        return json.load(stream)


def plain(data, namespace):
    """An answer without what differs from run to run."""
    text = json.dumps(_unmanaged(data)).replace(namespace, "NS")
    for pattern, word in REPLACED:
        text = pattern.sub(word, text)
    return json.loads(text)


def _unmanaged(data):
    if isinstance(data, dict):
        causes = data.get("details", {}).get("causes", []) if data.get("kind") == "Status" else []
        if len(causes) > 1:  # a real server names several in any order
            data = dict(data, message=data["message"].split(" is invalid: ")[0],
                        details=dict(data["details"], causes=sorted(causes, key=json.dumps)))
        return {key: _unmanaged(value) for key, value in data.items() if key not in ("managedFields", "storageVersionHash")}
    return [_unmanaged(value) for value in data] if isinstance(data, list) else data


def placed(value, namespace):
    """A path or body with the namespace's name for NS."""
    if isinstance(value, str):
        return value.replace("NS", namespace)
    if isinstance(value, dict):
        return {key: placed(item, namespace) for key, item in value.items()}
    return [placed(item, namespace) for item in value] if isinstance(value, list) else value


def hold(c, steps):
    """Have a conversation; ``{step: [status, data, warning]}``."""
    namespace, said, heard, tokens = c.namespace(), {}, {}, {"": "", "wrong": "wrong", None: None}
    if any(one.token == "observer" for one in steps):
        tokens["observer"] = c.token(placed(api_cases.RULES_OF_OBSERVER, namespace), user="observer")
    for one in steps:
        body = one.body(said) if callable(one.body) else placed(one.body, namespace)
        path = placed(one.path, namespace)
        if one.until:
            try:
                status, data, headers = c.until(one.method, path, one.until)
            except AssertionError as exc:
                raise AssertionError("%s: %s, after %s" % (one.label, exc, heard)) from exc
        else:
            status, data, headers = c.http(one.method, path, body, token=tokens[one.token], content_type=one.kind, **one.headers)
        said[one.label] = data
        picked = data
        if one.pick and not (isinstance(data, dict) and data.get("kind") == "Status"):
            try:
                picked = one.pick(data)
            except (KeyError, IndexError, TypeError) as exc:
                raise AssertionError("%s: %s %s answered %s, after %s" % (one.label, one.method, path, data, heard)) from exc
        heard[one.label] = [status, plain(picked, namespace), headers.get("warning")]
    return heard


@pytest.mark.parametrize("name", list(api_cases.CONVERSATIONS))
def test_answers_are_a_real_server_s(shared, name):
    steps = api_cases.CONVERSATIONS[name]
    topology = None if os.environ.get("BIGVM_CLUSTER") == "lab" else api_cases.CONTROLLED.get(name)
    heard = hold(shared(topology=topology) if topology else shared(bare=True), steps)
    if os.environ.get("BIGVM_RECORD"):
        write(name, heard)
        return
    wrong = []
    for one in steps:
        want, got = recorded()[name][one.label], heard[one.label]
        if one.differs:
            want, got = want[0], got[0]
        if want != got:
            wrong.append("%s: %s %s\n  real: %s\n  here: %s" % (one.label, one.method, one.path, json.dumps(want), json.dumps(got)))
    assert not wrong, "\n".join(wrong)


@pytest.mark.embedded("about the record, not about a cluster")
def test_every_difference_has_its_reason_and_they_get_fewer():
    from pathlib import Path

    ratchet = (Path(__file__).parents[1] / "ratchet").read_text(encoding="utf-8")
    assert "api-answers-differing %d" % api_cases.DIFFERING in ratchet.splitlines()
    assert set(recorded()) == set(api_cases.CONVERSATIONS)
    for name, steps in api_cases.CONVERSATIONS.items():
        assert [one.label for one in steps] == list(recorded()[name]), name


def write(name, heard):
    """Keep what was heard."""
    known = recorded() if os.path.exists(RECORD) else {}
    known = {key: heard if key == name else known.get(key) for key in api_cases.CONVERSATIONS if key == name or key in known}
    recorded.cache_clear()
    with open(RECORD, "w", encoding="utf-8") as stream:
        stream.write("{\n" + ",\n".join("%s: {\n%s\n}" % (json.dumps(key), ",\n".join(
            "  %s: %s" % (json.dumps(label), json.dumps(answer)) for label, answer in answers.items()))
            for key, answers in known.items()) + "\n}\n")
