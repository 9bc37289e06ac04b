# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What libvirt's readings of a guest's writing mean, and the forecast made from them."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import kvm_dirty

GIB = 1024 ** 3
MIB = 1024 ** 2
FACTS = {"emulated": False, "ring": False, "memory": 64 * GIB}


def test_facts_of_a_guest():
    xml = "<domain type='%s'><memory unit='GiB'>64</memory><features><kvm>%s</kvm></features></domain>"
    ring = "<dirty-ring state='on' size='4096'/>"
    assert kvm_dirty.facts_of(xml % ("kvm", ring), "app") == {"emulated": False, "ring": True, "memory": 64 * GIB}
    assert kvm_dirty.facts_of(xml % ("qemu", ring.replace("on", "off")), "app") == {"emulated": True, "ring": False, "memory": 64 * GIB}


@pytest.mark.parametrize("asked, ring, mode", [
    ("auto", False, "page-sampling"), ("auto", True, "dirty-ring"), ("dirty-bitmap", True, "dirty-bitmap"),
    ("dirty-ring", True, "dirty-ring")])
def test_the_mode_that_costs_the_guest_least(asked, ring, mode):
    assert kvm_dirty.mode_for(asked, ring) == (mode, None)


def test_a_guest_without_a_ring_is_not_measured_by_it():
    mode, problem = kvm_dirty.mode_for("dirty-ring", False)
    assert mode is None and "dirty-ring state='on'" in problem


@pytest.mark.parametrize("stats, rate", [
    ({}, None), ({"dirtyrate.calc_status": 1, "dirtyrate.megabytes_per_second": 7}, None),
    ({"dirtyrate.calc_status": 2, "dirtyrate.megabytes_per_second": 7}, 7 * MIB), ({"dirtyrate.calc_status": 2}, 0)])
def test_only_what_has_ended_is_a_reading(stats, rate):
    assert kvm_dirty.reading(stats) == rate


def test_median_and_maximum():
    assert kvm_dirty.summary([5, 1, 9]) == {"p50": 5, "max": 9, "samples": [5, 1, 9]}
    assert kvm_dirty.summary([4, 2])["p50"] == 2


@pytest.mark.parametrize("facts, samples, seconds, says", [
    ({}, [MIB] * 3, 1, None), ({"emulated": True}, [MIB] * 3, 1, "emulated"), ({}, [MIB], 1, "1 sample may"),
    ({}, [GIB] * 3, 40, "shorter ones")])
def test_doubts_are_said(facts, samples, seconds, says):
    found = kvm_dirty.doubts(dict(FACTS, **facts), "page-sampling", samples, seconds)
    assert (not found) if says is None else says in found[0]
    assert not kvm_dirty.doubts(FACTS, "dirty-ring", [GIB] * 3, 40)


def told(rate, **more):
    options = {"resident": 48 * GIB, "bandwidth": 1e9, "assumed": [], "connections": 4, "downtime_ms": 300, "auto_converge": False}
    return kvm_dirty.forecast(FACTS, rate=rate, **dict(options, **more))


def test_only_memory_that_the_host_gave_is_sent():
    idle = told(0)
    assert idle["ends"] == "converges" and idle["sent_bytes"] == 48 * GIB and idle["limit"] == "source NIC"
    assert told(0, resident=None)["sent_bytes"] == told(0, resident=100 * GIB)["sent_bytes"] == 64 * GIB


def test_a_guest_is_taken_to_write_twice_as_much_while_it_moves():
    assert told(6e8)["ends"] == "never" and told(6e8, known=True)["ends"] == "converges"
    assert "2 times" in " ".join(told(6e8)["assumptions"]) and "2 times" not in " ".join(told(6e8, known=True)["assumptions"])


def test_what_would_help_is_in_the_words_of_libvirt():
    found = told(6e8)
    assert any("auto_converge" in text for text in found["helps"]) and not any("allow_" in text for text in found["helps"])
    assert told(6e8, auto_converge=True)["ends"] == "converges"
    assert told(0, connections=1)["limit"] == "1 stream" or "not measured" in " ".join(told(0, connections=1, bandwidth=2e9)["assumptions"])


def test_in_words():
    row = dict(kvm_dirty.summary([6e8] * 3), mode="page-sampling", doubts=["the guest is emulated"], memory_bytes=64 * GIB,
               forecast=told(6e8))
    lines = kvm_dirty.lines("hana-a", row)
    assert lines[0].startswith("hana-a  dirties") and "not to be trusted" in lines[1] and "DOES NOT CONVERGE" in lines[2]
    assert max(map(len, lines)) <= 78 and len(kvm_dirty.lines("hana-a", dict(row, forecast=None))) == 2
    assert "about" in kvm_dirty.lines("hana-a", dict(row, forecast=told(0)))[2]
