# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The suite can fail: budgets, required skips, empty runs and rising counts are failures."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "tools"


@pytest.fixture(name="suite")
def _suite(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(TOOLS))
    module = importlib.import_module("suite")
    monkeypatch.setattr(module, "LOGS", tmp_path)
    monkeypatch.setattr(module, "TREE", tmp_path)
    yield module
    for name in ("suite", "places", "ratchet"):
        sys.modules.pop(name, None)


def shell(suite, text, count=None):
    """A part that runs a line of shell."""
    return suite.Part("part", ["sh", "-c", text], count or suite.by_exit())


def test_every_part_has_a_budget_and_its_total_fits(suite):
    allowed = suite.budgets()
    assert {part.name for part in suite.PARTS} | set(suite.TOTALS) == set(allowed)
    assert allowed["total"] <= 720


def test_a_part_over_its_budget_fails(suite):
    result = suite.run(shell(suite, "sleep 0.4"), 0.3)
    assert (result.passed, result.failed) == (1, 1)
    assert "allows" in result.notes[0]


def test_a_hanging_part_is_ended(suite):
    result = suite.run(shell(suite, "sleep 60 & sleep 60"), 0.2)
    assert result.failed
    assert result.seconds < 15


def test_a_check_that_looked_at_nothing_fails(suite):
    assert suite.run(shell(suite, "echo in 0 files", suite.by_exit(r"in [1-9]\d* files")), 9).failed == 1
    assert suite.run(shell(suite, "echo in 7 files", suite.by_exit(r"in [1-9]\d* files")), 9).passed == 1
    assert suite.run(shell(suite, "true", suite.by_target(r'test "(\S+)"')), 9).failed == 1


def test_pytest_results_are_counted_with_their_skip_reasons(suite, tmp_path):
    (tmp_path / "test_sample.py").write_text(
        "import pytest\n"
        "def test_a(): assert True\n"
        "def test_b(): assert False\n"
        "def test_c(): pytest.skip('shared: not here')\n"
        "@pytest.fixture\ndef broken(): raise OSError\n"
        "def test_d(broken): pass\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={tmp_path / 'part'}.xml", str(tmp_path)]
    result = suite.run(suite.Part("part", command, suite.by_pytest, {"PYTEST_ADDOPTS": ""}), 60)
    assert (result.passed, result.failed, result.skipped) == (1, 2, ["shared: not here"])


def test_targets_of_ansible_test_are_counted(suite):
    result = suite.Result("part", output='Running sanity test "pep8"\nRunning sanity test "import"\nRunning sanity test "import"\n'
                          "FATAL: The 1 sanity test(s) listed below (out of 2) failed.\n")
    suite.by_target(r'Running sanity test "(\S+)"')(result, 1)
    assert (result.passed, result.failed) == (1, 1)


def test_required_skips_become_failures(suite, capsys):
    first, second = suite.Result("a", passed=2, skipped=["shared: x", "lab-libvirt: y"]), suite.Result("b", skipped=["no java"])
    suite.require([first, second], ["SHARED"])
    assert (first.failed, first.skipped, second.failed) == (1, ["lab-libvirt: y"], 0)
    assert not suite.show([first, second], 1.0, {"a": 9, "b": 9, "total": 99})
    out = capsys.readouterr().out
    assert "skipped 1 x: no java" in out
    assert out.splitlines()[-1] == "2 passed, 1 failed"
    suite.require([second], ["all"])
    assert second.failed == 1


def test_nothing_of_the_developers_clusters_gets_into_a_part(suite, monkeypatch):
    monkeypatch.setenv("K8S_AUTH_HOST", "https://production.example.com")
    monkeypatch.setenv("KUBECONFIG", "/tmp/production")
    monkeypatch.setenv("ANSIBLE_CONFIG", "/tmp/ansible.cfg")
    assert not {"K8S_AUTH_HOST", "KUBECONFIG", "ANSIBLE_CONFIG"} & set(suite.variables_for(suite.PARTS[0]))


def test_a_rising_count_is_seen(suite, monkeypatch, tmp_path):
    ratchet = importlib.import_module("ratchet")
    (tmp_path / "tests").mkdir()
    (tmp_path / ratchet.NAME).write_text("requirements-open 12\n", encoding="utf-8")
    monkeypatch.setattr(ratchet, "ROOT", tmp_path)
    monkeypatch.setattr(ratchet, "git", lambda *words: "abc\n" if words[0] == "log" else "requirements-open 11\n")
    assert ratchet.main() == 1
    monkeypatch.setattr(ratchet, "git", lambda *words: "abc\n" if words[0] == "log" else "requirements-open 12\n")
    assert ratchet.main() == 0
