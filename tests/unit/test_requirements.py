# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/requirements.md: every ID has its row, every test named there exists, and what is open only gets less."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| ([A-Z]\d*-?\d+) \| (.+?) \| (.+?) \| (.*?) ?\|$", re.MULTILINE)
NOT_APPLICABLE = "does not apply:"


def table():
    """``{id: (what, answer, [tests])}`` of the document; fails on an ID with two rows."""
    rows = {}
    for name, what, answer, tests in ROW.findall((ROOT / "docs" / "requirements.md").read_text(encoding="utf-8")):
        assert name not in rows, f"{name} has two rows"
        rows[name] = (what, answer, re.findall(r"`([^`]+)`", tests))
    return rows


@pytest.fixture(scope="module", name="rows")
def _rows():
    return table()


def collected(files):
    """The test functions that pytest finds in these files, as ``file::name`` without parameters."""
    listing = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", *files],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env=dict(os.environ, PYTEST_ADDOPTS=""),
    )
    assert listing.returncode == 0, listing.stdout[-2000:]
    nodes = (line.split("[")[0] for line in listing.stdout.splitlines() if "::" in line)
    return {f"{Path(node.split('::')[0]).name}::{node.split('::', 1)[1]}" for node in nodes}


def test_every_id_has_its_row(rows):
    wanted = (ROOT / "docs" / "requirements.ids").read_text(encoding="utf-8").split()
    assert len(wanted) == len(set(wanted)) == 263
    assert list(rows) == wanted


def test_an_answer_names_its_test_or_says_why_there_is_none(rows):
    for name, (_what, answer, tests) in rows.items():
        if answer == "open":
            assert not tests, f"{name} is open and names a test"
        elif answer.startswith(NOT_APPLICABLE):
            assert len(answer) > len(NOT_APPLICABLE) + 20, f"{name} gives no reason"
        else:
            assert tests, f"{name} is answered without a test"


def test_every_named_test_is_collected(rows):
    named = {test for _what, _answer, tests in rows.values() for test in tests}
    targets = {test for test in named if test.startswith("integration/")}
    for target in targets:
        assert (ROOT / "tests" / "integration" / "targets" / target.split("/")[1] / "tasks" / "main.yml").is_file(), target
    scenarios = {test for test in named if test.startswith("molecule/")}
    for scenario in scenarios:
        assert (ROOT / "extensions" / scenario / "verify.yml").is_file(), scenario
    wanted = {test.split("[")[0] for test in named - targets - scenarios}
    folders = ("unit", "contract", "playbooks", "lab")
    places = {path.name: path for folder in folders for path in (ROOT / "tests" / folder).rglob("test_*.py")}
    unknown = {test for test in wanted if test.split("::")[0] not in places}
    assert not unknown
    files = sorted({str(places[test.split("::")[0]].relative_to(ROOT)) for test in wanted})
    assert not wanted - collected(files)


def test_the_count_of_open_ones_is_the_ratchets(rows):
    held = dict(line.split() for line in (ROOT / "tests" / "ratchet").read_text(encoding="utf-8").splitlines() if line[:1] not in "#")
    still_open = sum(1 for _what, answer, _tests in rows.values() if answer == "open")
    assert still_open == int(held["requirements-open"]), "write the new count into tests/ratchet; it may only fall"
