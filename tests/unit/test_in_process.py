# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running a module's function in its action plugin: when, with which environment, with which values, and what comes out."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.plugin_utils import in_process

SECRET = "s3cret-value"


class Action:
    """As much of an action plugin as is used."""

    shows_progress = True

    def __init__(self, args=None, async_val=0, transport="local", become=None, no_log=False, environment=None, check_mode=False):
        self._task = SimpleNamespace(args=args or {}, async_val=async_val, action="bigvm.live_migration.x", no_log=no_log,
                                     check_mode=check_mode, diff=False)
        self._connection = SimpleNamespace(transport=transport, become=become, has_native_async=False,
                                           _shell=SimpleNamespace(tmpdir="/nowhere"))
        self.environment = environment or {}
        self.executed = []

    def _compute_environment_string(self, into):
        into.update(self.environment)

    def _execute_module(self, task_vars=None, wrap_async=False):
        self.executed.append(wrap_async)
        return {"changed": True}

    def _remove_tmp_path(self, path):
        self.executed.append(path)


@pytest.fixture
def shown(monkeypatch):
    lines = []
    monkeypatch.setattr(in_process.display, "display", lines.append)
    return lines


@pytest.fixture
def here(monkeypatch):
    """Without a cluster."""
    from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import runner

    monkeypatch.setattr(runner, "connect", lambda module, say: SimpleNamespace(clock=None))


def module_of(execute):
    spec = {"word": {"type": "str"}, "token": {"type": "str", "no_log": True}, "count": {"type": "int", "default": 3}}
    return SimpleNamespace(execute=execute, SPEC=spec, CONSTRAINTS={"mutually_exclusive": [("word", "count")]})


# -- when --------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "words"), [
    ({"async_val": 30}, "the task is asynchronous"), ({"transport": "ssh"}, "does not run on the control node"),
    ({"become": object()}, "another user"),
])
def test_where_it_cannot_be_done_the_module_runs_and_it_is_said(shown, given, words):
    action = Action(**given)
    assert in_process.run(action, module_of(None), {}) == {"changed": True}
    assert len(shown) == 1 and words in shown[0] and "not shown live" in shown[0]
    assert action.executed == ([True] if "async_val" in given else [False, "/nowhere"])


def test_a_python_without_the_library_runs_the_module(monkeypatch):
    monkeypatch.setattr(in_process, "LIBRARIES", ("json", "no_such_library_at_all"))
    assert in_process.why_not(Action()) == "the Python that runs Ansible lacks no_such_library_at_all"


def test_local_is_done_here():
    assert in_process.why_not(Action()) is None
    assert in_process.why_not(Action(transport="ansible.builtin.local")) is None


# -- values --------------------------------------------------------------------------------


class Tagged(str):
    """As the newer Ansible's strings."""

    def __str__(self):  # pylint: disable=invalid-str-returned
        return self


class Encrypted:
    """As an encrypted variable."""

    vault = True

    def __str__(self):
        return "decrypted"


def test_values_are_plain():
    found = in_process.plain({Tagged("a"): [Tagged("b"), 1, 2.5, True, None, (Tagged("c"),)], "d": {"e": Encrypted()}, "f": b"g"})
    assert found == {"a": ["b", 1, 2.5, True, None, ["c"]], "d": {"e": "decrypted"}, "f": "g"}

    def types(value):
        if isinstance(value, dict):
            return {type(value)}.union(*[types(part) for pair in value.items() for part in pair])
        return {type(value)}.union(*[types(part) for part in value]) if isinstance(value, list) else {type(value)}

    assert types(found) <= {dict, list, str, int, float, bool, type(None)}


def test_the_environment_is_there_and_then_as_before(monkeypatch):
    monkeypatch.setenv("BIGVM_TEST_OLD", "old")
    monkeypatch.delenv("BIGVM_TEST_NEW", raising=False)
    with pytest.raises(KeyError), in_process.merged({"BIGVM_TEST_OLD": "new", "BIGVM_TEST_NEW": 1}):
        assert (os.environ["BIGVM_TEST_OLD"], os.environ["BIGVM_TEST_NEW"]) == ("new", "1")
        os.environ["BIGVM_TEST_LEFT"] = "x"
        raise KeyError
    assert os.environ["BIGVM_TEST_OLD"] == "old"
    assert "BIGVM_TEST_NEW" not in os.environ and "BIGVM_TEST_LEFT" not in os.environ


# -- what comes out ---------------------------------------------------------------------------


def test_result_lines_and_warnings_without_secrets(shown, here):
    def execute(task):
        assert task.params["token"] == SECRET and task.params["count"] == 3
        assert os.environ["BIGVM_TEST_ENV"] == "there"
        task.say("a line with %s" % SECRET)
        task.warn("careful with %s" % SECRET)
        return {"changed": True, "deep": [{"token": SECRET, "text": "x%sy" % SECRET, "none": None, "flag": False}]}

    action = Action(args={"token": SECRET}, environment={"BIGVM_TEST_ENV": "there"})
    result = in_process.run(action, module_of(execute), {})
    assert SECRET not in json.dumps(result) and shown == ["a line with ********"]
    assert result["changed"] is True
    assert result["deep"] == [{"token": "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER", "text": "x********y", "none": None, "flag": False}]
    assert result["warnings"] == ["careful with ********"]
    assert result["invocation"]["module_args"]["count"] == 3
    assert not action.executed


def test_a_secret_of_the_environment_is_one_too(shown, here):
    action = Action(environment={"K8S_AUTH_API_KEY": SECRET})
    result = in_process.run(action, module_of(lambda task: {"changed": False, "said": "got " + os.environ["K8S_AUTH_API_KEY"]}), {})
    assert result["said"] == "got ********"


def test_errors_without_secrets(shown, here):
    def execute(task):
        raise BadInput("Not %s." % SECRET, "Not this one.", changed=True, tried=[SECRET])

    result = in_process.run(Action(args={"token": SECRET}), module_of(execute), {})
    assert result["failed"] is True and result["changed"] is True
    assert result["msg"] == "Not ********. Not this one."
    assert SECRET not in json.dumps(result)


def test_a_defect_is_a_sentence(shown, here):
    result = in_process.run(Action(args={"token": SECRET}), module_of(lambda task: {}[SECRET]), {})
    assert result["failed"] is True and "This is a defect of the collection" in result["msg"]
    assert SECRET not in json.dumps(result)


@pytest.mark.parametrize(("args", "words"), [
    ({"wrod": "x"}, "Unsupported parameters for (bigvm.live_migration.x) module: wrod."),
    ({"count": "many"}, "count"), ({"word": "x", "count": 1}, "mutually exclusive"),
    ({"count": SECRET, "token": SECRET}, "count"),
])
def test_arguments_are_validated_as_a_module_does_it(shown, here, args, words):
    result = in_process.run(Action(args=args), module_of(lambda task: pytest.fail("was run")), {})
    assert result["failed"] is True and result["changed"] is False and words in result["msg"]
    assert SECRET not in json.dumps(result)


def test_no_log_shows_no_line(shown, here):
    in_process.run(Action(no_log=True), module_of(lambda task: task.say("a line") or {}), {})
    assert shown == []


def test_check_mode_arrives(shown, here):
    seen = []
    in_process.run(Action(check_mode=True), module_of(lambda task: seen.append(task.check_mode) or {}), {})
    assert seen == [True]
