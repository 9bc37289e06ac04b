# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""changed and diff cannot disagree."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.changeset import ChangeSet


def test_nothing_noted_is_nothing_changed():
    assert ChangeSet().result(node="a") == {"node": "a", "changed": False}


def test_equal_data_leaves_no_trace():
    changes = ChangeSet()
    assert changes.note("x", {"a": 1}, {"a": 1}) is False
    assert changes.result() == {"changed": False}


def test_what_differs_is_changed_and_shown():
    changes, after = ChangeSet(), {"a": [2]}
    assert changes.note("Node x", {"a": [1]}, after) is True
    changes.note("same", {}, {})
    after["a"].append(3)  # the diff is of then
    assert changes.changed is True
    assert changes.result(more=1) == {
        "more": 1, "changed": True,
        "diff": [{"before_header": "Node x", "after_header": "Node x", "before": {"a": [1]}, "after": {"a": [2]}}],
    }


def test_values_cannot_overrule_changed():
    assert ChangeSet().result(changed=True)["changed"] is False
