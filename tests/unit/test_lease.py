# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lease: whose a node is, who counts as alive, and who may take it."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import lease

NOW = 1795000000.0


def made(run="run-1", owner="basis@bastion", at=NOW):
    return lease.body("openshift-cnv", "hana-a", run, owner, at)


def test_a_lease_says_who_when_and_until_when():
    found = lease.state(made(), NOW + 10)
    assert (found.run, found.owner, found.holder) == ("run-1", "basis@bastion", "run-1 basis@bastion")
    assert found.renewed == NOW and found.expires == NOW + 600 and found.alive
    assert lease.row(found) == {"holder": "run-1 basis@bastion", "run": "run-1", "owner": "basis@bastion", "alive": True,
                                "renewed": "2026-11-18T11:06:40Z", "expires": "2026-11-18T11:16:40Z"}


@pytest.mark.parametrize("after, alive", [(0, True), (599, True), (600, False), (86400, False)])
def test_it_expires_ten_minutes_after_the_last_renewal(after, alive):
    assert lease.state(made(), NOW + after).alive is alive


def test_a_renewal_from_a_clock_that_is_ahead_expires_a_full_duration_from_now():
    found = lease.state(made(at=NOW + 7200), NOW)
    assert found.alive and found.expires == NOW + 600


@pytest.mark.parametrize("spec", [
    {"holderIdentity": "r o"}, {"holderIdentity": "r o", "renewTime": "yesterday"}, {"holderIdentity": "r o", "renewTime": 7},
    {"holderIdentity": "r o", "leaseDurationSeconds": "600"}, {"holderIdentity": "r o", "leaseDurationSeconds": -1},
])
def test_a_lease_that_does_not_say_when_counts_as_renewed_now(spec):
    assert lease.state({"spec": spec}, NOW).expires == NOW + 600


@pytest.mark.parametrize("found", [None, {}, {"spec": None}, {"spec": {"holderIdentity": ""}}, {"spec": {"holderIdentity": None}}, "odd"])
def test_without_a_holder_the_node_is_free(found):
    assert lease.state(found, NOW) is None and lease.row(None) is None
    assert lease.refusal(None, "hana-a", "run-2", "maintenance") is None


@pytest.mark.parametrize("run, after, phase, take_over, refused", [
    ("run-1", 0, "moving", None, None), ("run-1", 9999, "maintenance", None, None),
    ("run-2", 10, "moving", None, "that run is alive"), ("run-2", 601, "moving", None, None), ("run-2", 601, None, None, None),
    ("run-2", 601, "maintenance", None, "cannot be told"), ("run-2", 10, "moving", "run-1", None),
    ("run-2", 9999, "maintenance", "run-1", None), ("run-2", 10, "moving", "run-7", "that run is alive"),
])
def test_who_may_take_a_node(run, after, phase, take_over, refused):
    found = lease.refusal(lease.state(made(), NOW + after), "hana-a", run, phase, take_over)
    assert (found is None) if refused is None else (refused in found[0] and "take_over: run-1" in found[1])


def test_a_lease_moved_when_its_holder_or_renewal_did():
    first = lease.state(made(), NOW)
    assert lease.same(first, lease.state(made(), NOW + 300))
    assert not lease.same(first, lease.state(made(at=NOW + 1), NOW + 1))
    assert not lease.same(first, lease.state(made(run="run-2"), NOW)) and not lease.same(first, None)


def test_names_stay_valid_and_apart_however_long_a_node_is_called():
    assert lease.name_of("hana-a") == "live-migration-hana-a"
    long = "n" * 240
    names = {lease.name_of(long + suffix) for suffix in ("", "a.example", "b.example")}
    assert len(names) == 3 and max(map(len, names)) <= 253


@pytest.mark.parametrize("stamp, seconds", [
    ("2026-11-18T11:06:40Z", NOW), ("2026-11-18T11:06:40.250000Z", NOW + 0.25), ("", None), (None, None), ("2026-99-01T00:00:00Z", None)])
def test_times_as_kubernetes_writes_them(stamp, seconds):
    assert lease.epoch(stamp) == seconds
    if seconds:
        assert lease.epoch(lease.micro(seconds)) == seconds
