# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""House rules that no linter knows: the Python floor, waiting by the clock port, nothing of one machine written down."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"
WRITTEN = (".py", ".yml", ".yaml", ".md", ".json", ".txt", ".sh")


@pytest.mark.parametrize("path", sorted(PLUGINS.rglob("*.py")), ids=lambda path: str(path.relative_to(PLUGINS)))
def test_source_file_is_written_for_the_python_it_promises(path):
    floor = (3, 10) if PLUGINS / "plugin_utils" in path.parents else (3, 9)
    assert ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=floor).body
    assert path.name != "__init__.py"


@pytest.mark.parametrize("path", sorted((PLUGINS / "module_utils" / "cluster").glob("*.py")), ids=lambda path: path.stem)
def test_cluster_code_waits_only_through_the_clock_port(path):
    assert not re.search(r"\btime\.(sleep|time|monotonic)\(|datetime\.(now|utcnow)\(", path.read_text(encoding="utf-8"))


def test_nothing_of_one_machine_is_written_down():
    places = re.compile(r"(?<![\w.])/(?:work|root|home/\w+)/")
    guilty = [
        str(path.relative_to(ROOT))
        for folder in ("plugins", "roles", "playbooks", "docs", "tests", "extensions", "meta")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in WRITTEN and path != Path(__file__).resolve() and "output" not in path.parts
        and places.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not guilty
