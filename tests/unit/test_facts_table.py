# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""tests/lab/facts.md: every fact about the API has its row, every test it names exists, and reasons get fewer."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
FACTS = {"1": 21, "2": 9, "3": 13, "4": 17, "5": 4, "6": 8, "7": 8, "8": 7, "9": 7, "10": 13}


def rows():
    """``{fact: text}``"""
    found = re.findall(r"^\| ([\d.]+a?) \| (.+) \|$", (TESTS / "lab" / "facts.md").read_text(encoding="utf-8"), re.M)
    assert len(found) == len(dict(found))
    return dict(found)


def test_every_fact_has_its_row():
    wanted = {"%s.%d" % (part, number) for part, last in FACTS.items() for number in range(1, last + 1)} | {"5.2a", "11"}
    assert set(rows()) == wanted


def test_every_row_names_a_test_or_a_reason():
    for fact, text in rows().items():
        named = re.findall(r"(test_\w+\.py)::(test_\w+)", text)
        assert named or re.match(r"reason: \w", text), fact
        for name, function in named:
            assert "def %s(" % function in (TESTS / "contract" / name).read_text(encoding="utf-8"), (fact, name, function)


def test_what_kubevirt_itself_confirms_is_marked_so():
    """A row says `kubevirt` exactly when one of its tests runs on KubeVirt's own controllers as well."""
    for fact, text in rows().items():
        marked = [function for name, function in re.findall(r"(test_\w+\.py)::(test_\w+)", text) if re.search(
            r"@pytest\.mark\.any_kubevirt\n(?:@.*\n|    .*\n|\]\)\n)*def %s\(" % function,
            (TESTS / "contract" / name).read_text(encoding="utf-8"))]
        assert bool(marked) is bool(re.match(r"(?:real[^:]*, )?kubevirt: ", text)), (fact, marked)


def test_facts_without_a_test_get_fewer():
    without = sum("::" not in text for text in rows().values())
    assert "api-facts-without-test %d" % without in (TESTS / "ratchet").read_text(encoding="utf-8").splitlines()
