# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/verdict.md is what the table of reasons says."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import verdict_page

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import kvm_reasons, reasons, rules


def test_the_page_of_the_verdict_is_current():
    assert verdict_page.is_current(), "run 'make verdict'"


def test_every_code_stands_on_the_page_once_with_the_rule_that_finds_it():
    text, seen = verdict_page.page(), verdict_page.looked_at()
    assert set(seen) >= set(reasons.REASONS) and all(seen[code] for code in reasons.REASONS)
    assert [code for code in reasons.REASONS if text.count("\n| `%s` |" % code) != 1] == []
    assert seen["BudgetTooShort"].startswith("One pass over the memory") and seen["HugepagesShort"] == "Each other node."


def test_a_release_is_only_said_of_codes_that_exist():
    assert set(reasons.RELEASES) <= set(reasons.REASONS)
    assert len({rule.__name__ for rule in rules.RULES}) == len(rules.RULES)


def test_every_code_of_kvm_hosts_has_a_rule_that_finds_it():
    text, seen = verdict_page.kvm_page(), verdict_page.kvm_looked_at()
    assert set(seen) == set(kvm_reasons.REASONS) and all(seen.values())
    assert [code for code in kvm_reasons.REASONS if text.count("\n| `%s` |" % code) != 1] == []
