# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The journals: nothing of somebody else's is overwritten, and what was there first is never forgotten."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import journal, settings

NOW = "2026-11-21T01:00:00Z"
START = dict(settings.defaults((1, 6)))


def hold(current, record, wanted, run="run-1"):
    return journal.hold_settings(current, record, wanted, run, "basis@bastion", NOW, "hco.kubevirt.io/v1beta1")


def applied(current, plan):
    return dict(current, **plan.writes)


# -- annotations ---------------------------------------------------------------


def test_what_is_dumped_loads_again():
    record = {"run": "r", "before": {"network": None}}
    assert journal.load(journal.dump(record)) == record
    assert journal.load(None) is None and journal.dump(None) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "{}", '{"run": 1}',
                                  '{"run": "r", "before": []}', '{"run": "r", "vms": {}}', '{"run": "r", "progress": null}'])
def test_a_foreign_annotation_is_not_guessed_at(text):
    with pytest.raises(ValueError):
        journal.load(text)


def test_an_annotation_has_its_limit():
    with pytest.raises(ValueError, match="room for 96"):
        journal.dump({"run": "r", "progress": {"notes": "x" * 100000}})


# -- settings --------------------------------------------------------------------


def test_hold_records_what_was_there():
    plan = hold(START, None, {"progress_timeout": 300, "bandwidth_per_migration": "1Gi", "allow_post_copy": False})
    assert plan.writes == {"progress_timeout": 300, "bandwidth_per_migration": "1Gi"}
    assert plan.record == {
        "run": "run-1", "owner": "basis@bastion", "since": NOW, "api_version": "hco.kubevirt.io/v1beta1",
        "before": {"progress_timeout": 150, "bandwidth_per_migration": None},
        "written": {"progress_timeout": 300, "bandwidth_per_migration": "1Gi"},
    }
    assert plan.refusal is None and not plan.warnings


def test_hold_of_what_is_so_already_holds_nothing():
    plan = hold(START, None, {"progress_timeout": 150})
    assert (plan.writes, plan.record) == ({}, None)


def test_holding_again_extends_and_keeps_the_first_before():
    first = hold(START, None, {"progress_timeout": 300})
    now = applied(START, first)
    second = hold(now, first.record, {"progress_timeout": 400, "completion_timeout_per_gib": 800})
    assert second.record["before"] == {"progress_timeout": 150, "completion_timeout_per_gib": 150}
    assert second.record["written"] == {"progress_timeout": 400, "completion_timeout_per_gib": 800}
    again = hold(applied(now, second), second.record, {"progress_timeout": 400})
    assert (again.writes, again.record) == ({}, second.record)
    back = journal.restore_settings(applied(now, second), second.record)
    assert applied(applied(now, second), back) == START


def test_holding_again_over_a_foreign_change_returns_to_that_change():
    first = hold(START, None, {"progress_timeout": 300})
    foreign = dict(applied(START, first), progress_timeout=200)
    second = hold(foreign, first.record, {"progress_timeout": 300})
    assert second.writes == {"progress_timeout": 300}
    assert second.record["before"] == {"progress_timeout": 200}
    assert "from 300 to 200" in second.warnings[0]


def test_holding_again_after_somebody_put_it_back_keeps_before():
    first = hold(START, None, {"progress_timeout": 300})
    second = hold(START, first.record, {"progress_timeout": 300})
    assert second.record["before"] == {"progress_timeout": 150} and not second.warnings


def test_a_hold_of_another_run_is_refused_by_name():
    first = hold(START, None, {"progress_timeout": 300})
    second = hold(applied(START, first), first.record, {"progress_timeout": 400}, run="run-2")
    assert not second.writes and second.record == first.record
    assert "run-1" in second.refusal[0] and "restored" in second.refusal[1]


def test_a_hold_of_another_run_with_the_same_values_is_unchanged():
    first = hold(START, None, {"progress_timeout": 300})
    second = hold(applied(START, first), first.record, {"progress_timeout": 300}, run="run-2")
    assert second.refusal is None and not second.writes and second.record == first.record
    assert "run-1" in second.warnings[0]


def test_restore_leaves_a_foreign_change_alone_and_says_so():
    plan = hold(START, None, {"progress_timeout": 300, "bandwidth_per_migration": "1Gi"})
    foreign = dict(applied(START, plan), progress_timeout=200)
    back = journal.restore_settings(foreign, plan.record, "run-1")
    assert back.writes == {"bandwidth_per_migration": None} and back.record is None
    assert back.left_alone == [{"field": "progress_timeout", "before": 150, "written": 300, "found": 200}]
    assert "progress_timeout is 200" in back.warnings[0]


def test_restore_counts_effects_not_spellings():
    plan = hold(START, None, {"bandwidth_per_migration": "1Gi"})
    assert journal.restore_settings(dict(START, bandwidth_per_migration="1024Mi"), plan.record).writes == {
        "bandwidth_per_migration": None}
    already = journal.restore_settings(dict(START, bandwidth_per_migration="0"), plan.record)
    assert not already.writes and not already.left_alone and already.record is None


def test_restore_of_a_field_that_is_not_known_here():
    record = {"run": "run-9", "before": {"max_downtime": 1}, "written": {"max_downtime": 2}}
    back = journal.restore_settings(START, record)
    assert back.record is None and not back.writes and back.left_alone[0]["field"] == "max_downtime"


def test_restore_without_a_hold_and_of_another_run():
    assert journal.restore_settings(START, None) == journal.Plan({}, None, [], [], None)
    record = hold(START, None, {"progress_timeout": 300}).record
    other = journal.restore_settings(dict(START, progress_timeout=300), record, "run-2")
    assert other.record == record and not other.writes and "run-1" in other.warnings[0]


def test_a_plain_change_keeps_the_hold_and_warns_about_held_fields():
    record = hold(START, None, {"progress_timeout": 300}).record
    current = dict(START, progress_timeout=300)
    plan = journal.set_settings(current, record, {"progress_timeout": 60})
    assert plan.writes == {"progress_timeout": 60} and plan.record == record and "run-1" in plan.warnings[0]
    assert not journal.set_settings(current, record, {"allow_auto_converge": True}).warnings


VALUES = {
    "progress_timeout": st.integers(0, 3), "completion_timeout_per_gib": st.integers(0, 3),
    "bandwidth_per_migration": st.sampled_from([None, "1Gi", "1024Mi", "2Gi"]), "network": st.sampled_from([None, "a", "b"]),
}
STATES = st.fixed_dictionaries(VALUES)
ASKED = st.fixed_dictionaries({}, optional=VALUES)


@given(STATES, st.lists(ASKED, max_size=4))
def test_holds_undisturbed_restore_to_the_start(start, rounds):
    current, record = dict(start), None
    for wanted in rounds:
        plan = hold(current, record, wanted)
        current, record = applied(current, plan), plan.record
        assert settings.unequal(wanted, current) == []
    back = journal.restore_settings(current, record)
    assert settings.unequal(start, applied(current, back)) == [] and not back.left_alone


@given(STATES, ASKED, ASKED)
def test_a_foreign_value_survives_the_restore(start, wanted, foreign):
    plan = hold(start, None, wanted)
    current = dict(applied(start, plan), **foreign)
    after = applied(current, journal.restore_settings(current, plan.record))
    for name in VALUES:
        ours = plan.record and name in plan.record["written"] and settings.same(name, current[name], plan.record["written"][name])
        assert settings.same(name, after[name], start[name] if ours else current[name])


# -- nodes -------------------------------------------------------------------------

VM_A = {"namespace": "sap", "name": "hana-a", "uid": "u-a"}
VM_B = {"namespace": "sap", "name": "app-b", "uid": "u-b"}


def node(record, cordoned, run="run-1", **more):
    return journal.hold_node(record, cordoned, run, "basis@bastion", NOW, **more)


def test_a_first_hold():
    assert node(None, False, vms=[VM_A], phase="waves", progress={"wave": 1}) == {
        "run": "run-1", "owner": "basis@bastion", "since": NOW, "cordoned_before": False, "cordoned": True,
        "vms": [VM_A], "phase": "waves", "progress": {"wave": 1}, "earlier_runs": [],
    }


def test_the_same_again_changes_nothing():
    record = node(None, False, vms=[VM_A], phase="waves", progress={"wave": 1})
    assert journal.hold_node(record, True, "run-1", "other@host", "later") == record
    assert node(record, True, vms=[VM_A]) == record


def test_another_run_takes_over_and_forgets_nothing():
    record = node(None, True, vms=[VM_A], progress={"wave": 1})
    taken = journal.hold_node(record, True, "run-2", "b@c", "later", vms=[VM_B], progress={"note": "x"})
    assert taken["cordoned_before"] is True and taken["since"] == NOW
    assert taken["run"] == "run-2" and taken["owner"] == "b@c" and taken["earlier_runs"] == ["run-1"]
    assert taken["vms"] == [VM_A, VM_B] and taken["progress"] == {"wave": 1, "note": "x"}


def test_a_restarted_vm_is_another_one():
    record = node(None, False, vms=[VM_A])
    assert node(record, True, vms=[dict(VM_A, uid="u-new")])["vms"] == [VM_A, dict(VM_A, uid="u-new")]


def test_cordoned_before_is_never_overwritten():
    record = node(None, False)
    assert node(record, True)["cordoned_before"] is False
    assert node(record, True, run="run-2")["cordoned_before"] is False


@pytest.mark.parametrize("before, uncordon", [(False, True), (True, False)])
def test_release_returns_to_how_it_was(before, uncordon):
    record = node(None, before)
    assert journal.release_node(record, True, "run-1") == (True, uncordon, None)
    assert journal.release_node(record, True) == (True, uncordon, None)


def test_release_of_what_is_not_held_or_held_by_another():
    assert journal.release_node(None, True) == (False, False, None)
    remove, uncordon, said = journal.release_node(node(None, False), True, "run-2")
    assert not remove and not uncordon and "run-1" in said


def test_a_cordon_set_by_somebody_else_between_journal_and_cordon_stays():
    record = node(None, False, cordon=False)
    assert record["cordoned"] is False and record["cordoned_before"] is False
    record = node(record, True)  # somebody was faster
    assert record["cordoned"] is False
    remove, uncordon, said = journal.release_node(record, True)
    assert remove and not uncordon and "somebody else" in said


def test_journal_first_then_our_cordon_is_released():
    record = node(node(None, False, cordon=False), False)
    assert record["cordoned"] is True
    assert journal.release_node(record, True) == (True, True, None)
    assert journal.release_node(record, False) == (True, False, None)


def test_a_journal_only_that_was_never_cordoned_is_just_removed():
    assert journal.release_node(node(None, False, cordon=False), False) == (True, False, None)


def test_a_sparse_journal_is_understood():
    record = json.loads('{"run": "old", "cordoned_before": false}')
    assert journal.release_node(record, True) == (True, True, None)
    assert node(record, True)["cordoned"] is True
