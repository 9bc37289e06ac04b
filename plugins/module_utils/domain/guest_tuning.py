# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a SAP HANA guest's kernel should be set to, by RHEL release, and how far one is from it.

The vendor's TuneD profile sets most of this; which values it sets depends on its own version, not on what SAP asks of
the RHEL release (preparation 3.1-3.6). So the values are owned here, once, and checked as the kernel has them: a line in
/etc/sysctl.d or on the kernel command line beats TuneD, and ``tuned-adm verify`` passes over keys that do not exist.
"""

from __future__ import annotations

import re
from collections import namedtuple

RHEL = re.compile(r"(8|9|10)(?:\.(\d+))?")
CMDLINE = "/proc/cmdline"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
CLOCK = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
PROFILES = ("sap-hana", "sap-hana-kvm-guest")

# wanted: text, or a function of the release (major, minor) that returns it; kind: equal | each_at_least | chosen (the
# word in brackets). majors: the RHEL releases whose kernel has it. note: SAP note, empty for that of the release.
Value = namedtuple("Value", "name path kind wanted majors note remedy")
NOTES = {8: "2777782", 9: "3108302", 10: "3562919"}
_SYSCTL = "A file in /etc/sysctl.d beats TuneD (reapply_sysctl): remove it from there."


def _thp(release):
    """Never up to 9.1, madvise from 9.2 on; the vendor's profile before TuneD 2.25 says never on all of them."""
    return "madvise" if release >= (9, 2) else "never"


VALUES = (
    Value("kernel.sem", "/proc/sys/kernel/sem", "each_at_least", "32000 1024000000 500 32000", (8, 9, 10), "3641298", _SYSCTL),
    Value("kernel.numa_balancing", "/proc/sys/kernel/numa_balancing", "equal", "0", (8, 9, 10), "", _SYSCTL),
    Value("vm.swappiness", "/proc/sys/vm/swappiness", "equal", "10", (8, 9, 10), "", _SYSCTL),
    Value("vm.dirty_ratio", "/proc/sys/vm/dirty_ratio", "equal", "40", (8, 9, 10), "", _SYSCTL),
    Value("vm.dirty_background_ratio", "/proc/sys/vm/dirty_background_ratio", "equal", "10", (8, 9, 10), "", _SYSCTL),
    Value("kernel.sched_min_granularity_ns", "/proc/sys/kernel/sched_min_granularity_ns", "equal", "3000000", (8,), "2777782",
          _SYSCTL),
    Value("kernel.sched_wakeup_granularity_ns", "/proc/sys/kernel/sched_wakeup_granularity_ns", "equal", "4000000", (8,),
          "2777782", _SYSCTL),
    Value("transparent hugepages", THP, "chosen", _thp, (8, 9, 10), "2131662",
          "transparent_hugepage= on the kernel command line beats TuneD: remove it there and reboot."),
    Value("persistent hugepages", "/proc/sys/vm/nr_hugepages", "equal", "0", (8, 9, 10), "2563075",
          "1 GiB pages are for the VM's own memory on the host; inside the guest they are lost to HANA."),
    Value("kernel samepage merging", "/sys/kernel/mm/ksm/run", "equal", "0", (8, 9, 10), "", "Stop ksm and ksmtuned."),
)
# Often absent in a guest; checked where they are.
IF_PRESENT = (
    Value("CPU governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "equal", "performance", (8, 9, 10), "",
          "Set by the vendor's profile; see whether another tool changes it."),
)


def release_of(text):
    """``(major, minor)`` of a RHEL release such as ``9.4``; a missing minor is 0.

    :raises ValueError: when it is none that the values are known for.
    """
    match = RHEL.fullmatch(str(text).strip())
    if not match:
        raise ValueError("the values for RHEL %s are not known; known are 8, 9 and 10" % (text,))
    return int(match.group(1)), int(match.group(2) or 0)


def paths():
    """All files that :func:`report` reads, for one ``grep -sH ""``."""
    return [value.path for value in VALUES + IF_PRESENT] + [CLOCK, CMDLINE]


def profile_text(release, vendor="sap-hana", clocksource=None):
    """A TuneD profile that includes the vendor's and sets what that one has different from what is wanted.

    :param release: as :func:`release_of` takes it.
    :param vendor: one of :data:`PROFILES`.
    :param clocksource: ``kvm-clock`` or ``tsc``, written only where the vendor's profile would choose another one.
    """
    if vendor not in PROFILES:
        raise ValueError("there is no vendor profile %s; known are %s" % (vendor, " and ".join(PROFILES)))
    release = release_of(release)
    lines = ["# Made by Ansible (bigvm.live_migration.hana_guest_tuning); changes are lost.", "[main]",
             "summary=SAP HANA in a virtual machine that is migrated live", "include=%s" % vendor, "",
             "[vm]", "transparent_hugepages=%s" % _thp(release)]
    if release[0] == 8:
        lines += ["", "[scheduler]"] + ["%s=%s" % (value.name.partition(".")[2], value.wanted) for value in VALUES if value.majors == (8,)]
    if clocksource and (vendor == "sap-hana-kvm-guest") != (clocksource == "tsc"):
        lines += ["", "[sysfs]", "%s=%s" % (CLOCK, clocksource)]
    return "\n".join(lines) + "\n"


def report(found, release, clocksource=None, vendor="sap-hana"):
    """Each value as wanted and as found.

    :param found: output of ``grep -sH ""`` over :func:`paths`: lines ``path:text``.
    :param clocksource: the one wanted; None to leave it unchecked.
    :returns: ``[{name, status: PASS|FAIL|SKIP, wanted, found, note, remedy}]``.
    """
    release, have = release_of(release), {}
    for line in str(found).splitlines():
        path, _colon, text = line.partition(":")
        have.setdefault(path, text.strip())
    rows = [_judged(value, have.get(value.path), release, optional=False) for value in VALUES if release[0] in value.majors]
    rows += [_judged(value, have.get(value.path), release, optional=True) for value in IF_PRESENT]
    if clocksource:
        clock = Value("clocksource", CLOCK, "equal", clocksource, (8, 9, 10), "2753418",
                      "kvm-clock is right on every host; tsc only where the VM has invtsc and all hosts the same or a scalable TSC.")
        rows.append(_judged(clock, have.get(CLOCK), release, optional=False))
    if vendor == "sap-hana-kvm-guest" and CMDLINE in have:
        ticks = "skew_tick=1" in have[CMDLINE].split()
        rows.append({"name": "skew_tick", "status": "PASS" if ticks else "FAIL", "wanted": "skew_tick=1", "note": "",
                     "found": "set" if ticks else "not set", "remedy": "Reboot: it is set at the next start."})
    return rows


def _judged(value, text, release, optional):
    wanted = value.wanted(release) if callable(value.wanted) else value.wanted
    row = {"name": value.name, "wanted": wanted, "found": text, "note": value.note or NOTES[release[0]],
           "remedy": value.remedy}
    if text is None:
        return dict(row, status="SKIP" if optional else "FAIL", found="not there")
    if value.kind == "chosen":
        chosen = re.search(r"\[(\w+)\]", text)
        row["found"] = chosen.group(1) if chosen else text
        return dict(row, status="PASS" if row["found"] == wanted else "FAIL")
    if value.kind == "each_at_least":
        row["found"] = " ".join(text.split())
        return dict(row, status="PASS" if _each_at_least(text.split(), wanted.split()) else "FAIL")
    return dict(row, status="PASS" if text == wanted else "FAIL")


def _each_at_least(have, wanted):
    try:
        return len(have) == len(wanted) and all(int(one) >= int(other) for one, other in zip(have, wanted))
    except ValueError:
        return False


def lines(rows):
    """The report as Basis teams know it: ``PASS: vm.swappiness is 10 (SAP note 3108302)``."""
    said = []
    for row in rows:
        note = " (SAP note %s)" % row["note"] if row["note"] else ""
        if row["status"] == "FAIL":
            said.append("FAIL: %s is %s, wanted is %s%s. %s" % (row["name"], row["found"], row["wanted"], note, row["remedy"]))
        else:
            said.append("%s: %s is %s%s" % (row["status"], row["name"], row["found"], note))
    return said
