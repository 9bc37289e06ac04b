# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/troubleshooting.md: every code exists, every text of KubeVirt is recognised as the page says, every option is real."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import causes, migration, reasons, settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
TEXTS = re.findall(r"^\| `(.+?)` \| (.+?) \| `(\w+)` \|$", PAGE, re.MULTILINE)


def cause_codes():
    """Every code that causes.py gives: the table's, and the first argument of each call of cause_of."""
    tree = ast.parse(Path(causes.__file__).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "cause_of"]
    named = {node.args[0].value for node in calls if node.args and isinstance(node.args[0], ast.Constant)}
    return named | {row[0] for row in causes.KNOWN}


def recognised(where, said):
    """The code for a text that stands there."""
    vmim = {"metadata": {"uid": "m"}, "status": {"phase": "Failed"}}
    state = {"migrationUid": "m", "failed": True, "startTimestamp": "2026-11-21T01:00:00Z", "endTimestamp": "2026-11-21T03:00:00Z"}
    vmi = {"status": {"migrationState": state}}
    if where == "refusal":
        return causes.refusal_cause(said)["code"]
    if where == "event":
        return causes.name_cause({}, vmim, "m", events=[{"reason": "", "message": said}])["code"]
    assert where.startswith("failure reason"), where
    state["failureReason"] = said
    state["abortRequested"] = "asked for" in where
    return causes.name_cause(vmi, vmim, "m", granted={
        "failure reason, when its time was over": 7200, "failure reason, before its time was over": 20000}.get(where))["code"]


def test_the_page_has_its_texts():
    assert len(TEXTS) >= 12 and len(set(TEXTS)) == len(TEXTS)
    assert len(TEXTS) == PAGE.split("## It ran out of time")[0].count("\n| `")


@pytest.mark.parametrize("said, where, code", TEXTS, ids=["%s-%d" % (row[2], index) for index, row in enumerate(TEXTS)])
def test_kubevirts_text_is_recognised(said, where, code):
    assert recognised(where, said) == code


def test_every_code_named_exists():
    known = cause_codes() | set(reasons.REASONS) | {"cold_only", "timeout", "deadline"}
    options = set(settings.FIELDS) | {"max_parallel", "guest_sizes", "network", "vms", "state"}
    modules = {path.stem for path in (ROOT / "plugins" / "modules").glob("*.py")}
    named = set(re.findall(r"`([A-Za-z]\w+)`", PAGE))
    assert len(named & known) >= 20
    assert not named - known - options - modules - {"held", "migration"}


def test_our_own_time_limits_have_these_codes():
    assert "deadline" in cause_codes()
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "plugins" / "module_utils" / "cluster").glob("*.py"))
    assert '"timeout"' in sources and '"deadline"' in sources


def test_every_setting_shown_is_one_that_is_taken():
    shown = re.findall(r"`(\w+): (\"?[^`]+?)`", PAGE)
    given = {name: value.strip('"') for name, value in shown if name in settings.FIELDS}
    assert len(given) >= 5
    for name, value in given.items():
        typed = int(value) if settings.FIELDS[name].kind in ("limit", "seconds") else value
        assert settings.problems({name: typed}) == [], name


def test_the_pair_of_cap_and_time_that_the_page_warns_about_is_warned_about():
    values = dict(settings.defaults("1.9"), bandwidth_per_migration="32Mi", completion_timeout_per_gib=20)
    assert "640 MiB" in PAGE and any("640 MiB" in text for text in settings.contradictions(values, True))


def test_every_phase_that_the_page_names_is_one():
    for phase in ("Pending", "PreparingTarget", "TargetReady"):
        assert phase in PAGE and phase in migration.HOLDS_SLOT + migration.QUEUED
