# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a HANA guest's kernel should be set to, by RHEL release."""

from __future__ import annotations

import base64
import configparser
from pathlib import Path

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import guest_tuning

GOOD = {
    "/proc/sys/kernel/sem": "32000\t1024000000\t500\t32000", "/proc/sys/kernel/numa_balancing": "0", "/proc/sys/vm/swappiness": "10",
    "/proc/sys/vm/dirty_ratio": "40", "/proc/sys/vm/dirty_background_ratio": "10", "/proc/sys/vm/nr_hugepages": "0",
    "/sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never", "/sys/kernel/mm/ksm/run": "0",
    "/proc/cmdline": "root=/dev/vda1 ro", guest_tuning.CLOCK: "kvm-clock", guest_tuning.CLOCKS: "kvm-clock tsc acpi_pm",
}


def found(**changed):
    """What is read of a good guest, with some values ``{path: text}`` changed; None takes one away."""
    values = dict(GOOD, **changed)
    return {"values": "\n".join("%s:%s" % item for item in values.items() if item[1] is not None),
            "latency": base64.b64encode((70).to_bytes(4, "little")).decode(), "verified": 0}


def others(*lines, **changed):
    """A good guest in which somebody else sets something: lines ``path:text``."""
    return dict(found(**changed), settings="\n".join(lines))


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
    for clock in ("kvm-clock", "tsc"):
        assert "current_clocksource=%s" % clock in guest_tuning.profile_text("9.4", "sap-hana", clock), "the vendor's leaves it alone"


@pytest.mark.parametrize("release", ["7.9", "12", "Debian", "", "9.x"])
def test_an_unknown_release_is_refused(release):
    with pytest.raises(ValueError, match="not known"):
        guest_tuning.profile_text(release)


def test_an_unknown_profile_is_refused():
    with pytest.raises(ValueError, match="sap-hana and sap-hana-kvm-guest"):
        guest_tuning.profile_text("9.4", "sap-netweaver")


@pytest.mark.parametrize("value, wrong", list(zip(guest_tuning.IF_PRESENT, ("powersave", "6", "9"))))
def test_what_a_guest_often_lacks_is_checked_where_it_is(value, wrong):
    for text, expected in ((value.wanted, "PASS"), (wrong, "FAIL"), (None, "SKIP")):
        assert status(guest_tuning.report(found(**{value.path: text}), "9.4"))[value.name] == expected


# -- what others set: the wrong forms of the source documents (X16, X17) -------


def refused(seen, release="9.4", **more):
    rows = guest_tuning.conflicts(seen, release, **more)
    assert all(row["status"] == "FAIL" and row["remedy"] for row in rows)
    return guest_tuning.lines(rows)


def test_nothing_is_refused_on_a_guest_as_it_comes():
    vendor = "/usr/lib/tuned/sap-hana/tuned.conf:"
    assert refused(others(vendor + "[main]", vendor + "kernel.sem = 32000 1024000000 500 32000", vendor + "vm.dirty_ratio=30")) == []


@pytest.mark.parametrize("release, told", [
    ("9.4", "the kernel of RHEL 9 has none"), ("10.0", "the kernel of RHEL 10 has none"), ("8.10", None)])
def test_scheduler_values_of_rhel_8_are_refused_elsewhere(release, told):
    line = "/etc/sysctl.d/99-sap.conf:kernel.sched_min_granularity_ns = 3000000"
    said = refused(others(line), release)
    assert bool(said) is bool(told) and (not told or told in said[0] and "SAP note" in said[0] and "Remove the line" in said[0])


def test_a_vendor_profile_that_was_overwritten_is_recognised_by_its_old_values():
    said = refused(others("/usr/lib/tuned/sap-hana/tuned.conf:kernel.sched_wakeup_granularity_ns=4000000"))
    assert "dnf reinstall tuned-profiles-sap-hana" in said[0]


@pytest.mark.parametrize("path", ["/etc/tuned/sap-hana/tuned.conf", "/etc/tuned/profiles/sap-hana/tuned.conf"])
def test_a_copy_that_hides_the_vendors_profile_is_refused(path):
    said = refused(others(path + ":[main]"))
    assert "TuneD profile sap-hana is hidden by %s" % path in said[0] and "sap-hana-rhv-guest" in said[0]


@pytest.mark.parametrize("line, wrong", [
    ("vm.swappiness=60", True), ("vm.swappiness = 10", False), ("-vm/swappiness = 1", True), ("kernel.sem=250 32000 32 128", True),
    ("kernel.sem = 64000 1024000000 500 64000", False), ("kernel.pid_max = 4194304", False)])
def test_a_sysctl_file_that_beats_tuned_is_refused_before_anything_is_written(line, wrong):
    said = refused(others("/etc/sysctl.d/50-x.conf:" + line))
    assert bool(said) is wrong and (not wrong or "/etc/sysctl.d/50-x.conf" in said[0] and "It beats TuneD" in said[0])


def test_huge_pages_on_the_kernel_command_line_beat_tuned():
    assert refused(found(**{"/proc/cmdline": "ro transparent_hugepage=madvise"})) == []
    said = refused(found(**{"/proc/cmdline": "ro transparent_hugepage=never"}))
    assert "is never, wanted is madvise (SAP note 2131662)" in said[0] and "reboot" in said[0]


def test_a_clock_source_the_guest_cannot_have_is_refused():
    good = dict(found(), flags="flags : fpu constant_tsc nonstop_tsc rdtscp")
    assert refused(good, clocksource="tsc") == [] and refused(good, clocksource="kvm-clock") == []
    assert "without nonstop_tsc" in refused(dict(good, flags="flags : constant_tsc rdtscp"), clocksource="tsc")[0]
    assert "wanted is kvm-clock among them" in refused(found(**{guest_tuning.CLOCKS: "tsc acpi_pm"}), clocksource="kvm-clock")[0]


def test_what_others_set_is_also_in_the_report():
    rows = guest_tuning.report(others("/etc/sysctl.conf:vm.dirty_ratio=20"), "9.4")
    assert status(rows)["vm.dirty_ratio in /etc/sysctl.conf"] == "FAIL" and status(rows)["vm.dirty_ratio"] == "PASS"


INTEL, AMD = "vendor_id : GenuineIntel\nflags : fpu %s", "vendor_id : AuthenticAMD\nflags : fpu %s"


@pytest.mark.parametrize("flags, cmdline, expected, said", [
    (INTEL % "rtm hle", "ro", "PASS", "on"), (INTEL % "rtm", "ro tsx=on", "PASS", "on"),
    (INTEL % "", "ro tsx=off", "FAIL", "off on the kernel command line"), (INTEL % "", "ro tsx=on", "SKIP", "CPU model has none"),
    (INTEL % "", "ro", "SKIP", "tsx=on is missing"), (AMD % "", "ro", "SKIP", "not an Intel"), ("", "ro", "SKIP", "not there")])
def test_transactional_memory(flags, cmdline, expected, said):
    rows = guest_tuning.report(dict(found(**{"/proc/cmdline": cmdline}), flags=flags), "9.4")
    row = next(row for row in rows if "TSX" in row["name"])
    assert row["status"] == expected and said in row["found"]
    assert expected == "PASS" or "(SAP note 2737837)" in next(line for line in guest_tuning.lines(rows) if "TSX" in line)


@pytest.mark.parametrize("shown, expected, said", [
    ("ActiveState=active\nUnitFileState=enabled", "PASS", "active, enabled"),
    ("ActiveState=active\nUnitFileState=disabled", "FAIL", "active, disabled"),
    ("ActiveState=inactive\nUnitFileState=", "FAIL", "inactive, not installed"), ("", "SKIP", "not there")])
def test_something_steers_the_clock_back(shown, expected, said):
    rows = guest_tuning.report(dict(found(), time=shown), "9.4")
    row = next(row for row in rows if "chronyd" in row["name"])
    assert (row["status"], row["found"]) == (expected, said)
    assert expected != "FAIL" or "systemctl enable --now chronyd" in " ".join(guest_tuning.lines(rows))


# -- package, latency, TuneD's own word ----------------------------------------


@pytest.mark.parametrize("release, package, expected", [
    ("9.4", "2.24.0-1.el9", "PASS"), ("9.4", "2.24.1-2.el9_4", "PASS"), ("9.4", "2.22.1-6.el9", "FAIL"), ("9.6", "2.24.0-1.el9", "FAIL"),
    ("9.6", "2.25.1-1.el9", "FAIL"), ("9.6", "2.25.1-2.el9", "PASS"), ("8.8", "2.20.0-2.el8_8.2", "PASS"),
    ("8.10", "2.20.0-2.el8_8.2", "FAIL"),
    ("10.0", "2.26.0-1.el10", "PASS"), ("10.1", "2.9.0-1.el10", "FAIL"), ("9.4", "", "SKIP"), ("9.0", "2.18.0-1.el9", None)])
def test_the_vendors_package_is_as_new_as_saps_checker_wants(release, package, expected):
    assert status(guest_tuning.report(dict(found(), package=package), release)).get(guest_tuning.PACKAGE) == expected


@pytest.mark.parametrize("latency, expected", [(70, "PASS"), (2, "PASS"), (133, "FAIL"), (2000000000, "FAIL")])
def test_the_latency_is_judged_by_what_the_kernel_grants(latency, expected):
    seen = dict(found(), latency=base64.b64encode(latency.to_bytes(4, "little")).decode())
    assert status(guest_tuning.report(seen, "9.4"))[guest_tuning.LATENCY.name] == expected
    assert "force_latency=70" in guest_tuning.profile_text("9.4"), "by idle state it may be 190 microseconds before TuneD 2.27"


@pytest.mark.parametrize("text", ["", "AA==", "!"])
def test_a_latency_that_cannot_be_read_is_skipped(text):
    assert status(guest_tuning.report(dict(found(), latency=text), "9.4"))[guest_tuning.LATENCY.name] == "SKIP"


@pytest.mark.parametrize("code, expected", [(0, "PASS"), (1, "FAIL"), (3, "FAIL"), ("", "SKIP"), (None, "SKIP")])
def test_tuneds_own_verification_is_one_line_among_others(code, expected):
    assert status(guest_tuning.report(dict(found(), verified=code), "9.4"))["TuneD's own verification"] == expected


def test_nothing_that_could_be_read_is_a_report_of_failures_and_no_exception():
    rows = guest_tuning.report({}, "9.4", clocksource="tsc", vendor="sap-hana-kvm-guest")
    assert {row["status"] for row in rows} == {"FAIL", "SKIP"}


def test_the_readme_has_the_values():
    readme = Path(__file__).resolve().parents[2] / "roles" / "hana_guest_tuning" / "README.md"
    assert "\n".join(guest_tuning.table()) in readme.read_text(encoding="utf-8"), "not current: make roles"
