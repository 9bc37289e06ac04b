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

import base64
import binascii
import re
from collections import namedtuple

RHEL = re.compile(r"(8|9|10)(?:\.(\d+))?")
CMDLINE = "/proc/cmdline"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
CLOCK = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
CLOCKS = "/sys/devices/system/clocksource/clocksource0/available_clocksource"
CPU = "/sys/devices/system/cpu/"
PROFILES = ("sap-hana", "sap-hana-kvm-guest")
PACKAGE = "tuned-profiles-sap-hana"
FOLDERS = ("/etc/tuned", "/etc/tuned/profiles", "/usr/lib/tuned", "/usr/lib/tuned/profiles")
SYSCTL_FILES = ("/etc/sysctl.conf", "/etc/sysctl.d", "/run/sysctl.d")
# Lines that say what somebody else sets: the beginning of a profile, and sysctls.
SETTING = r"^[[:space:]]*(\[main\]|-?(kernel|vm)[./][a-z_.]+[[:space:]]*=)"
# What a time stamp counter needs to be a clock (SAP note 2753418).
TSC_FLAGS = ("constant_tsc", "nonstop_tsc", "rdtscp")

# wanted: text, or a function of the release (major, minor) that returns it; kind: equal | each_at_least | at_most |
# chosen (the word in brackets). majors: the RHEL releases whose kernel has it. note: SAP note, empty for that of the release.
Value = namedtuple("Value", "name path kind wanted majors note remedy")
NOTES = {8: "2777782", 9: "3108302", 10: "3562919"}
_ALL = (8, 9, 10)
_SYSCTL = "TuneD sets it once the profile is active; a file that beats it is named in a line of its own."
_VENDORS = "Set by the vendor's profile; see whether another tool changes it."


def _thp(release):
    """Never up to 9.1, madvise from 9.2 on; the vendor's profile before TuneD 2.25 says never on all of them."""
    return "madvise" if release >= (9, 2) else "never"


VALUES = (
    Value("kernel.sem", "/proc/sys/kernel/sem", "each_at_least", "32000 1024000000 500 32000", _ALL, "3641298", _SYSCTL),
    Value("kernel.numa_balancing", "/proc/sys/kernel/numa_balancing", "equal", "0", _ALL, "", _SYSCTL),
    Value("vm.swappiness", "/proc/sys/vm/swappiness", "equal", "10", _ALL, "", _SYSCTL),
    Value("vm.dirty_ratio", "/proc/sys/vm/dirty_ratio", "equal", "40", _ALL, "", _SYSCTL),
    Value("vm.dirty_background_ratio", "/proc/sys/vm/dirty_background_ratio", "equal", "10", _ALL, "", _SYSCTL),
    Value("kernel.sched_min_granularity_ns", "/proc/sys/kernel/sched_min_granularity_ns", "equal", "3000000", (8,), "2777782",
          _SYSCTL),
    Value("kernel.sched_wakeup_granularity_ns", "/proc/sys/kernel/sched_wakeup_granularity_ns", "equal", "4000000", (8,),
          "2777782", _SYSCTL),
    Value("transparent hugepages", THP, "chosen", _thp, _ALL, "2131662",
          "transparent_hugepage= on the kernel command line beats TuneD: remove it there and reboot."),
    Value("persistent hugepages", "/proc/sys/vm/nr_hugepages", "equal", "0", _ALL, "2563075",
          "1 GiB pages are for the VM's own memory on the host; inside the guest they are lost to HANA."),
    Value("kernel samepage merging", "/sys/kernel/mm/ksm/run", "equal", "0", _ALL, "", "Stop ksm and ksmtuned."),
)
# Often absent in a guest; checked where they are.
IF_PRESENT = (
    Value("CPU governor", CPU + "cpu0/cpufreq/scaling_governor", "equal", "performance", _ALL, "", _VENDORS),
    Value("energy bias", CPU + "cpu0/power/energy_perf_bias", "equal", "0", _ALL, "", _VENDORS),
    Value("least performance in percent", CPU + "intel_pstate/min_perf_pct", "equal", "100", _ALL, "", _VENDORS),
)
# Microseconds a CPU may need to wake. The vendor's profile says it by idle state up to TuneD 2.26 (cstate.id:3|70, from 2.18
# cstate.id_no_zero:3|70), and 70 from 2.27 on, because state 3 of current processors takes up to 190 (RHEL-142285).
LATENCY = Value("CPU latency in microseconds", "/dev/cpu_dma_latency", "at_most", "70", _ALL, "",
                "TuneD holds it while it runs: see whether it runs with our profile.")
CHRONYD = "chronyd.service"
TSX_NOTE = "2737837"
# The least package that SAP's checker wants, from that minor release on.
PACKAGES = (((8, 8), "2.20.0-2"), ((8, 10), "2.22.1-6"), ((9, 2), "2.24.0-1"), ((9, 6), "2.25.1-2"), ((10, 0), "2.26.0-1"))


def release_of(text):
    """``(major, minor)`` of a RHEL release such as ``9.4``; a missing minor is 0.

    :raises ValueError: when it is none that the values are known for.
    """
    match = RHEL.fullmatch(str(text).strip())
    if not match:
        raise ValueError("the values for RHEL %s are not known; known are 8, 9 and 10" % (text,))
    return int(match.group(1)), int(match.group(2) or 0)


def wanted(value, release):
    """A row's wanted text for a release ``(major, minor)``."""
    return value.wanted(release) if callable(value.wanted) else value.wanted


def profile_text(release, vendor="sap-hana", clocksource=None):
    """A TuneD profile that includes the vendor's and sets what that one has different from what is wanted.

    :param release: as :func:`release_of` takes it.
    :param vendor: one of :data:`PROFILES`.
    :param clocksource: ``kvm-clock`` or ``tsc``; left out where the vendor's profile sets the same.
    """
    if vendor not in PROFILES:
        raise ValueError("there is no vendor profile %s; known are %s" % (vendor, " and ".join(PROFILES)))
    release = release_of(release)
    lines = ["# Made by Ansible (bigvm.live_migration.hana_guest_tuning); changes are lost.", "[main]",
             "summary=SAP HANA in a virtual machine that is migrated live", "include=%s" % vendor, "",
             "[cpu]", "force_latency=%s" % LATENCY.wanted, "", "[vm]", "transparent_hugepages=%s" % _thp(release)]
    if release[0] == 8:
        lines += ["", "[scheduler]"] + ["%s=%s" % (value.name.partition(".")[2], value.wanted) for value in VALUES if value.majors == (8,)]
    if clocksource and (vendor, clocksource) != ("sap-hana-kvm-guest", "tsc"):
        lines += ["", "[sysfs]", "%s=%s" % (CLOCK, clocksource)]
    return "\n".join(lines) + "\n"


# -- what to read -------------------------------------------------------------


def paths():
    """All files whose values :func:`report` judges, for one ``grep -sH ""``."""
    return [value.path for value in VALUES + IF_PRESENT] + [CLOCK, CLOCKS, CMDLINE]


def setting_files(vendor):
    """Files and folders in which others may set the same, for one ``grep -sHrE`` of :data:`SETTING`."""
    return list(SYSCTL_FILES) + ["%s/%s/tuned.conf" % (folder, vendor) for folder in FOLDERS]


# -- what others set ----------------------------------------------------------


def conflicts(seen, release, vendor="sap-hana", clocksource=None):
    """What makes it impossible that our profile takes effect, found before anything is written.

    :param seen: as :func:`report` takes it.
    :returns: rows as :func:`report` returns them, all FAIL.
    """
    release, values, rows = release_of(release), _by_path(seen.get("values")), []
    for line in str(seen.get("settings") or "").splitlines():
        path, _colon, text = line.partition(":")
        rows += _setting(path, text.strip(), release, vendor)
    given = re.findall(r"(?:^|\s)transparent_hugepage=(\S+)", values.get(CMDLINE, ""))
    if given and given[-1] != _thp(release):
        rows.append(_failed("transparent hugepages on the kernel command line", given[-1], _thp(release), "2131662",
                            "It beats TuneD: remove it (grubby --update-kernel=ALL --remove-args=transparent_hugepage) and reboot."))
    there = values.get(CLOCKS, "").split()
    if clocksource and there and clocksource not in there:
        rows.append(_failed("clock sources of this guest", " ".join(there), "%s among them" % clocksource, "2753418",
                            "The VM's definition decides which there are; choose one of these."))
    lacking = [flag for flag in TSC_FLAGS if flag not in str(seen.get("flags") or "").split()]
    if clocksource == "tsc" and lacking:
        rows.append(_failed("processor flags for the clock source tsc", "without %s" % ", ".join(lacking), ", ".join(TSC_FLAGS), "2753418",
                            "Without invtsc for the VM this counter is no clock, least of all after a migration: choose kvm-clock."))
    return rows


def _setting(path, text, release, vendor):
    if text.startswith("[main]"):
        if path.startswith("/etc/"):
            yield _failed("TuneD profile %s" % vendor, "hidden by %s" % path, "the package's", "",
                          "Remove that file: such copies come from former roles (sap-hana-rhv-guest) and do not follow the release.")
        return
    name, _equals, value = (part.strip() for part in text.lstrip("-").partition("="))
    name, value = name.replace("/", "."), value.strip('"\'')
    if name.startswith("kernel.sched_") and release[0] > 8 and name.endswith("_ns"):
        ours = path.startswith("/usr/lib/tuned")
        yield _failed("%s in %s" % (name, path), value, "not set: the kernel of RHEL %d has none" % release[0], NOTES[release[0]],
                      "The file is not the package's: dnf reinstall %s." % PACKAGE if ours else "Remove the line; it is from RHEL 8.")
    elif not path.startswith(FOLDERS):
        for known in VALUES:
            if known.name == name and release[0] in known.majors and not _fits(known, value, wanted(known, release)):
                yield _failed("%s in %s" % (name, path), value, wanted(known, release), known.note or NOTES[release[0]],
                              "It beats TuneD: remove the line.")


def _failed(name, found, wanted_text, note, remedy):
    return {"name": name, "status": "FAIL", "found": found, "wanted": wanted_text, "note": note, "remedy": remedy}


# -- the report ---------------------------------------------------------------


def report(seen, release, clocksource=None, vendor="sap-hana"):
    """Each value as wanted and as found.

    :param seen: what was read: ``values``, output of ``grep -sH ""`` over :func:`paths`; ``settings``, output of
        ``grep -sHrE`` for :data:`SETTING` over :func:`setting_files`; ``flags``, the lines vendor_id and flags of /proc/cpuinfo;
        ``time``, output of ``systemctl show`` for :data:`CHRONYD`; ``latency``, the four
        bytes of /dev/cpu_dma_latency in base64; ``package``, version and release of :data:`PACKAGE`; ``verified``, exit
        code of ``tuned-adm verify -i``. What is empty or missing could not be read.
    :param clocksource: the one wanted; None to leave it unchecked.
    :returns: ``[{name, status: PASS|FAIL|SKIP, wanted, found, note, remedy}]``.
    """
    release, have = release_of(release), _by_path(seen.get("values"))
    rows = [_package(seen.get("package"), release)] + [_judged(value, have.get(value.path), release, optional=False)
                                                       for value in VALUES if release[0] in value.majors]
    rows += [_judged(value, have.get(value.path), release, optional=True) for value in IF_PRESENT]
    rows.append(_judged(LATENCY, _latency(seen.get("latency")), release, optional=True))
    rows += [_tsx(str(seen.get("flags") or ""), have.get(CMDLINE)), _chronyd(str(seen.get("time") or ""))]
    if clocksource:
        clock = Value("clocksource", CLOCK, "equal", clocksource, _ALL, "2753418",
                      "kvm-clock is right on every host; tsc only where the VM has invtsc and all hosts the same or a scalable TSC.")
        rows.append(_judged(clock, have.get(CLOCK), release, optional=False))
    if vendor == "sap-hana-kvm-guest" and CMDLINE in have:
        ticks = "skew_tick=1" in have[CMDLINE].split()
        rows.append({"name": "skew_tick", "status": "PASS" if ticks else "FAIL", "wanted": "skew_tick=1", "note": "",
                     "found": "set" if ticks else "not set", "remedy": "Reboot: it is set at the next start."})
    code = "" if seen.get("verified") is None else str(seen["verified"])
    rows.append({"name": "TuneD's own verification", "status": {"0": "PASS", "": "SKIP"}.get(code, "FAIL"), "wanted": "passed", "note": "",
                 "found": {"0": "passed", "": "not there"}.get(code, "failed"), "remedy": "/var/log/tuned/tuned.log names what differs."})
    return [row for row in rows if row] + conflicts(seen, "%d.%d" % release, vendor, clocksource)


def _by_path(text):
    have = {}
    for line in str(text or "").splitlines():
        path, _colon, value = line.partition(":")
        have.setdefault(path, value.strip())
    return have


def _latency(encoded):
    try:
        content = base64.b64decode(encoded or "")
    except (binascii.Error, ValueError):
        return None
    return str(int.from_bytes(content[:4], "little", signed=True)) if len(content) >= 4 else None


def _package(found, release):
    """The row of the vendor's package; None where no least one is known."""
    least = [version for since, version in PACKAGES if since[0] == release[0] and since <= release]
    if not least:
        return None
    row = {"name": PACKAGE, "wanted": "at least " + least[-1], "found": found or "not there", "note": NOTES[release[0]],
           "remedy": "Update the package; this role installs it, but updates nothing."}
    if not found:
        return dict(row, status="SKIP")
    return dict(row, status="PASS" if _numbers(found) >= _numbers(least[-1]) else "FAIL")


def _numbers(version):
    upstream, _dash, build = version.partition("-")
    return [int(part) for part in re.findall(r"\d+", upstream)] + [int((re.match(r"\d+", build) or ["0"])[0])]


def _tsx(flags, cmdline):
    """Transactional memory of Intel processors. Kernels since RHEL 8.3 leave it off unless told, and the VM's CPU model may hide it."""
    row = {"name": "transactional memory (TSX)", "status": "SKIP", "wanted": "on", "note": TSX_NOTE, "remedy":
           "Remove tsx=off (grubby --update-kernel=ALL --remove-args=tsx=off), add tsx=on, reboot."}
    given = re.findall(r"(?:^|\s)tsx=(\S+)", cmdline or "")
    if "rtm" in flags.split():
        return dict(row, status="PASS", found="on")
    if given and given[-1] == "off":
        return dict(row, status="FAIL", found="off on the kernel command line")
    if not flags or "GenuineIntel" not in flags.split():
        return dict(row, found="none: not an Intel processor" if flags else "not there")
    return dict(row, found="none: tsx=on is given, so the processor or the VM's CPU model has none" if given else
                "not seen: the processor or the VM's CPU model has none, or tsx=on is missing on the kernel command line")


def _chronyd(shown):
    """A guest's clock may be off after a migration; something has to steer it back."""
    states = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    row = {"name": "time service chronyd", "wanted": "active, enabled", "note": "",
           "remedy": "dnf install chrony; systemctl enable --now chronyd. Nothing else steers the clock back after a migration."}
    if not states.get("ActiveState"):
        return dict(row, status="SKIP", found="not there")
    have = "%s, %s" % (states["ActiveState"], states.get("UnitFileState") or "not installed")
    return dict(row, status="PASS" if have == row["wanted"] else "FAIL", found=have)


def _judged(value, text, release, optional):
    row = {"name": value.name, "wanted": wanted(value, release), "found": text, "note": value.note or NOTES[release[0]],
           "remedy": value.remedy}
    if text is None:
        return dict(row, status="SKIP" if optional else "FAIL", found="not there")
    if value.kind == "chosen":
        chosen = re.search(r"\[(\w+)\]", text)
        row["found"] = chosen.group(1) if chosen else text
    else:
        row["found"] = " ".join(text.split())
    row["wanted"] = ("at most " if value.kind == "at_most" else "") + row["wanted"]
    return dict(row, status="PASS" if _fits(value, row["found"], wanted(value, release)) else "FAIL")


def _fits(value, text, wanted_text):
    have, want = text.split(), wanted_text.split()
    try:
        if value.kind == "each_at_least":
            return len(have) == len(want) and all(int(one) >= int(other) for one, other in zip(have, want))
        return int(text) <= int(wanted_text) if value.kind == "at_most" else have == want
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


def table():
    """The values by release, as rows of Markdown."""
    rows = ["| value | RHEL 8 | RHEL 9.0, 9.1 | RHEL 9.2 and later | RHEL 10 | SAP note |", "|---|---|---|---|---|---|"]
    for value in VALUES + (LATENCY,):
        texts = [wanted(value, release) if release[0] in value.majors else "the kernel has none"
                 for release in ((8, 10), (9, 0), (9, 2), (10, 0))]
        words = {"each_at_least": "at least ", "at_most": "at most "}.get(value.kind, "")
        note = value.note or ", ".join(NOTES[major] for major in value.majors)
        rows.append("| %s | %s | %s |" % (value.name, " | ".join(text if text.startswith("the") else words + text for text in texts), note))
    return rows
