# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a HANA guest's kernel should be set to, by RHEL release."""

from __future__ import annotations

import configparser

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import guest_tuning

GOOD = {
    "/proc/sys/kernel/sem": "32000\t1024000000\t500\t32000", "/proc/sys/kernel/numa_balancing": "0", "/proc/sys/vm/swappiness": "10",
    "/proc/sys/vm/dirty_ratio": "40", "/proc/sys/vm/dirty_background_ratio": "10", "/proc/sys/vm/nr_hugepages": "0",
    "/sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never", "/sys/kernel/mm/ksm/run": "0",
    "/proc/cmdline": "root=/dev/vda1 ro", guest_tuning.CLOCK: "kvm-clock",
}


def found(**changed):
    values = dict(GOOD, **changed)
    return "\n".join("%s:%s" % item for item in values.items() if item[1] is not None)


def status(rows):
    return {row["name"]: row["status"] for row in rows}


def test_a_guest_as_it_should_be_passes():
    rows = guest_tuning.report(found(), "9.4", clocksource="kvm-clock")
    assert set(status(rows).values()) == {"PASS", "SKIP"}
    assert status(rows)["CPU governor"] == "SKIP", "a guest often has none"
    assert "PASS: vm.swappiness is 10 (SAP note 3108302)" in guest_tuning.lines(rows)


@pytest.mark.parametrize("release, thp", [("8.10", "never"), ("9.0", "never"), ("9.1", "never"), ("9.2", "madvise"), ("9.6", "madvise"),
                                          ("10.0", "madvise"), ("10", "madvise")])
def test_transparent_hugepages_go_by_the_minor_release(release, thp):
    profile = configparser.ConfigParser()
    profile.read_string(guest_tuning.profile_text(release))
    assert profile["vm"]["transparent_hugepages"] == thp and profile["main"]["include"] == "sap-hana"
    rows = guest_tuning.report(found(**{guest_tuning.THP: "always madvise [never]"}), release)
    assert status(rows)["transparent hugepages"] == ("PASS" if thp == "never" else "FAIL")


def test_the_scheduler_is_set_where_the_kernel_has_the_values_only():
    assert "sched_min_granularity_ns=3000000" in guest_tuning.profile_text("8.8")
    for release in ("9.4", "10.0"):
        assert "sched_" not in guest_tuning.profile_text(release)
        assert not any("sched_" in row["name"] for row in guest_tuning.report(found(), release))
    assert status(guest_tuning.report(found(), "8.8"))["kernel.sched_min_granularity_ns"] == "FAIL", "RHEL 8 must have it"


@pytest.mark.parametrize("sem, expected", [
    ("32000 1024000000 500 32000", "PASS"), ("64000 2048000000 1000 64000", "PASS"), ("250 32000 32 128", "FAIL"),
    ("32000 1024000000 500", "FAIL"), ("a b c d", "FAIL")])
def test_semaphores_may_be_more_but_not_less(sem, expected):
    assert status(guest_tuning.report(found(**{"/proc/sys/kernel/sem": sem}), "9.4"))["kernel.sem"] == expected


def test_persistent_hugepages_inside_the_guest_fail_and_say_why():
    rows = guest_tuning.report(found(**{"/proc/sys/vm/nr_hugepages": "1024"}), "9.4")
    line = next(line for line in guest_tuning.lines(rows) if "persistent" in line)
    assert line.startswith("FAIL: persistent hugepages is 1024, wanted is 0 (SAP note 2563075).") and "host" in line


def test_a_value_that_is_not_there_is_a_failure_and_not_a_pass():
    assert status(guest_tuning.report(found(**{"/proc/sys/vm/swappiness": None}), "9.4"))["vm.swappiness"] == "FAIL"


def test_the_kvm_guest_profile_needs_its_reboot_and_the_clock_is_written_only_where_it_differs():
    rows = guest_tuning.report(found(), "9.4", vendor="sap-hana-kvm-guest")
    assert status(rows)["skew_tick"] == "FAIL"
    booted = guest_tuning.report(found(**{"/proc/cmdline": "ro skew_tick=1"}), "9.4", vendor="sap-hana-kvm-guest")
    assert status(booted)["skew_tick"] == "PASS"
    assert "current_clocksource=kvm-clock" in guest_tuning.profile_text("9.4", "sap-hana-kvm-guest", "kvm-clock")
    assert "clocksource" not in guest_tuning.profile_text("9.4", "sap-hana-kvm-guest", "tsc")
    assert "current_clocksource=tsc" in guest_tuning.profile_text("9.4", "sap-hana", "tsc")


@pytest.mark.parametrize("release", ["7.9", "12", "Debian", "", "9.x"])
def test_an_unknown_release_is_refused(release):
    with pytest.raises(ValueError, match="not known"):
        guest_tuning.profile_text(release)


def test_an_unknown_profile_is_refused():
    with pytest.raises(ValueError, match="sap-hana and sap-hana-kvm-guest"):
        guest_tuning.profile_text("9.4", "sap-netweaver")
