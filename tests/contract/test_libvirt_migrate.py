# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt_migrate before it asks libvirt: what it makes of its options, and how it fails without the binding."""

from __future__ import annotations

import gc
import subprocess
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleConnectionFailure

from ansible_collections.bigvm.live_migration.plugins.action import libvirt_migrate as action
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor import guests, moving
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.options import migration_plan
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.runner import Task, outcome, teller
from ansible_collections.bigvm.live_migration.plugins.modules import libvirt_migrate

THERE = "qemu+tls://kvm-b/system"


def options(**given):
    """The module's options with their defaults."""
    params = {name: option.get("default") for name, option in libvirt_migrate.SPEC.items()}
    return dict(params, **dict({"name": "app", "destination": THERE}, **given))


class NoHosts:
    """Nobody may be asked."""

    def open(self, uri):
        raise AssertionError("asked %s" % uri)

    def close(self):
        pass


def test_options_become_numbers():
    ladder = [{"after": "10min", "do": "downtime", "value": "2000"}, {"after": "20min", "do": "bandwidth", "value": "4Gi"},
              {"after": "1h", "do": "abort", "value": None}]
    plan = migration_plan(options(timeout="4h", bandwidth="2Gi", max_pause="90s", ladder=ladder))
    assert (plan["timeout"], plan["bandwidth"], plan["max_pause"]) == (14400, 2 << 30, 90)
    assert [(step["after"], step["value"]) for step in plan["ladder"]] == [(600, 2000), (1200, 4 << 30), (3600, None)]


@pytest.mark.parametrize("given, says", [
    ({"name": " "}, "name is empty"),
    ({"destination": "kvm-b"}, "no URI of a QEMU host"),
    ({"destination": "qemu:///session"}, "session connection"),
    ({"timeout": "soon"}, "'soon' is not understood"),
    ({"bandwidth": "fast"}, "'fast' is not understood"),
    ({"connections": 0}, "connections is 0"),
    ({"max_downtime": 0}, "max_downtime is 0"),
    ({"persistent": False}, "no host would keep"),
    ({"definition": "<domain/>"}, "would keep the old definition"),
    ({"definition": "<domain/>", "kept_definition": "<domain/>", "mode": "offline"}, "does not run with a definition"),
    ({"kept_definition": "<domain/>", "disks": {"/a": "/b"}}, "kept_definition comes with networks or disks"),
    ({"post_copy": True, "critical": True}, "critical guest is not moved by post-copy"),
    ({"ladder": [{"after": "1min", "do": "post_copy", "value": None}]}, "post_copy: true"),
    ({"ladder": [{"after": "1min", "do": "downtime", "value": "long"}]}, "value of the step downtime"),
])
def test_what_cannot_be_meant_is_refused_before_anybody_is_asked(given, says):
    failed, result = outcome(libvirt_migrate.execute, Task(options(**given), NoHosts()))
    assert failed and says in result["msg"] and "exception" not in result
    with pytest.raises(BadInput):
        migration_plan(options(**given))


def test_without_the_binding_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(moving, "has_binding", lambda: False)
    failed, result = outcome(libvirt_migrate.execute, Task(options(), NoHosts()))
    assert failed and "python3-libvirt" in result["msg"] and "exception" not in result


def test_lines_are_kept_in_a_file_as_they_come(tmp_path):
    said, warned, path = [], [], tmp_path / "lines"
    tell = teller(str(path), Task({}, NoHosts(), say=said.append, warn=warned.append))
    tell("one")
    assert path.read_text() == "one\n" and said == ["one"] and not warned
    lost = teller(str(tmp_path / "no" / "folder"), Task({}, NoHosts(), say=said.append, warn=warned.append))
    lost("two")
    assert said == ["one", "two"] and "could not be written" in warned[0]
    assert teller(None, Task({}, NoHosts(), say=said.append)).__self__ is said


def test_a_job_that_died_with_its_host_is_not_waited_for(tmp_path):
    job, lines = tmp_path / "j 1", tmp_path / "lines"

    def waits():
        return subprocess.run(["sh", "-c", action.alive(str(job), str(lines))], check=False).returncode == 0

    job.write_text('{"started": 1, "finished": 0}')
    assert waits()  # its module has not begun yet
    tell = teller(str(lines), Task({}, NoHosts()))
    tell("at work")
    assert waits()
    del tell
    gc.collect()
    assert not waits()
    assert lines.read_text() == "at work\n"
    tell = teller(str(lines), Task({}, NoHosts()))
    tell("still there")
    job.write_text('{"started": 1, "finished": 1}')
    assert not waits()


class Following(action.ActionModule):
    """The action with a host that answers as ``script`` says: ``gone``, ``works``, ``dead`` or ``done``, and in the end as the last."""

    def __init__(self, script):
        self._task = SimpleNamespace(args={"name": "app"})
        self._connection = SimpleNamespace()
        self.script, self.anew, self.now = list(script), 0, ""

    def _low_level_execute_command(self, command, **how):
        if command.startswith("tail"):  # what every look begins with
            self.now = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if self.now == "gone":
            raise AnsibleConnectionFailure("Connection timed out.")
        return {"rc": int(self.now != "works"), "stdout_lines": []}

    def _execute_module(self, module_args=None, **how):
        return {"finished": int(self.now == "done"), "changed": True, "host": "kvm-b"}

    def _anew(self):
        self.anew += 1


@pytest.mark.parametrize("script, says, anew", [
    (["works", "done"], None, 0), (["works", "gone", "gone", "works", "done"], None, 2),
    (["gone"], "could not be reached for 300 s (Connection timed out). Unless it went down, the job goes on there", 29),
    (["works", "gone", "dead"], "has ended without a result: it was killed, or the host went down", 1)])
def test_a_host_out_of_reach_is_looked_for_again(monkeypatch, script, says, anew):
    clock = [0.0]
    monkeypatch.setattr(action, "time", SimpleNamespace(
        sleep=lambda seconds: clock.__setitem__(0, clock[0] + 10), monotonic=lambda: clock[0]))
    following = Following(script)
    found = following._follow("j1", "/jobs", "/jobs/lines", {})
    if says:
        assert found["failed"] and says in found["msg"] and "Run the same task again" in found["msg"]
    else:
        assert found == {"changed": True, "host": "kvm-b"}
    assert anew <= following.anew <= anew + 1


def test_a_connection_that_connects_anew_at_once_may_fail_in_that():
    class Eager(action.ConnectionBase):
        transport = "eager"
        tried = 0

        def __init__(self):
            pass

        def reset(self):
            Eager.tried += 1
            raise AnsibleConnectionFailure("still away")

        _connect = exec_command = put_file = fetch_file = close = None

    eager = object.__new__(action.ActionModule)
    eager._connection = Eager()
    eager._anew()
    assert Eager.tried == 1


def test_who_paused_a_guest_is_known_to_the_next_run(tmp_path, monkeypatch):
    monkeypatch.setattr(guests, "MARK", str(tmp_path / "%s.paused"))
    assert not guests.marked("u-1")
    guests.mark("u-1", True)
    assert guests.marked("u-1") and not guests.marked("u-2")
    guests.mark("u-1", False)
    guests.mark("u-1", False)  # nothing to take away is no error
    assert not guests.marked("u-1")
    monkeypatch.setattr(guests, "MARK", str(tmp_path / "no" / "%s.paused"))
    guests.mark("u-1", True)  # a folder that cannot be written to is none either


@pytest.mark.parametrize("args, shows", [({}, True), ({"progress_interval": 0}, False), ({"progress_interval": "0"}, False),
                                         ({"progress_interval": "{{ bad }}"}, True), ({"progress_file": "/tmp/x"}, False)])
def test_a_task_that_wants_no_lines_is_no_background_job(args, shows):
    assert action._shows(args) is shows


def test_a_home_folder_is_still_meant_in_a_shell():
    assert action._quoted("~/.ansible_async/j1.lines") == "~/.ansible_async/j1.lines"
    assert action._quoted("/tmp/a b") == "'/tmp/a b'" and action._quoted("~/a;b") == "'~/a;b'"
