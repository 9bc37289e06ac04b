# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What libvirt_migrate costs beside a bare ``virsh migrate`` of the same guest: ``python tests/bench/libvirt.py``.

Needs root and Debian 12, as tests/lab/libvirt does. One guest goes back and forth between two hosts over a limited link,
by turns moved by the module and by virsh with the same flags; each pair goes the same way. The module also reads both hosts,
verifies and proves, for which one second is allowed. Then one long copy is followed, for the CPU time of watching it, and
the baseline of 32 captured hosts is computed.

``figure NAME VALUE GOAL ok|short``; ends 1 when one is short. ``--pairs 2`` makes it short.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab" / "libvirt"))

import kvm_install as install  # noqa: E402
import kvm_lab as machinery  # noqa: E402
from kvm_hosts import Lab  # noqa: E402

FIXED = 1.0  # seconds that the module may take beside the copy
LINK = "300mbit"
SLOW = "8mbit"
WATCHED = 60  # seconds of one copy that is followed


def by_virsh(lab, name, source, target):
    """Seconds of a bare migration."""
    began = time.monotonic()
    lab.virsh(source, "migrate", "--live", "--persistent", "--undefinesource", "--p2p", "--migrateuri", "tcp://kvm-%s-mig" % target,
              name, lab.uri(target))
    return time.monotonic() - began


def by_module(lab, name, source, target):
    """Seconds of the same by our module."""
    began = time.monotonic()
    result = lab.module(source, "libvirt_migrate", name=name, destination=lab.uri(target), migrate_uri="tcp://kvm-%s-mig" % target)
    assert result.get("changed"), result
    return time.monotonic() - began


def pairs(lab, name, count):
    """``[(module, virsh)]`` seconds; each goes there, then back the other way round."""
    found = []
    for number in range(count):
        first, second = (by_module, by_virsh) if number % 2 == 0 else (by_virsh, by_module)
        row = {}
        for way in (first, second):
            row[way] = way(lab, name, "a", "b")
            by_virsh(lab, name, "b", "a")
        print("note pair %d: module %.2f s, virsh %.2f s" % (number + 1, row[by_module], row[by_virsh]), flush=True)
        found.append((row[by_module], row[by_virsh]))
    return found


def share_of_a_core(lab, name):
    """CPU time that following a copy takes, per second of it: of the module's process, once it follows, to the nanosecond."""
    lab.link("a", "mig0", SLOW)
    arguments = {"name": name, "destination": lab.uri("b"), "migrate_uri": "tcp://kvm-b-mig", "progress_interval": 5}
    running = lab.begin("a", "libvirt_migrate", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    time.sleep(5)
    pids = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline")
            if b"libvirt_migrate" in path.read_bytes() and b"nsenter" not in path.read_bytes()]
    assert len(pids) == 1, pids
    before, began = used(pids[0]), time.monotonic()
    time.sleep(WATCHED)
    share = (used(pids[0]) - before) / (time.monotonic() - began)
    lab.virsh("a", "domjobabort", name)
    assert running.wait(90) != 0  # aborted, and it says so
    lab.link("a", "mig0", LINK)
    return share


def used(pid):
    """Seconds that all threads of a process have run on a CPU."""
    return sum(int(path.read_text().split()[0]) for path in Path("/proc/%d/task" % pid).glob("*/schedstat")) / 1e9


def baseline(lab):
    """Seconds for the baseline of 32 captured hosts, the module's start included: this host's CPU, each a feature less."""
    captured = lab.virsh("a", "domcapabilities")
    names = re.findall(r"<feature policy='require' name='(\w+)'/>", captured)
    hosts = [{"name": "kvm-%02d" % number, "xml": captured.replace(
        "<feature policy='require' name='%s'/>" % names[number % len(names)], "") if number % 3 else captured}
        for number in range(32)]
    began = time.monotonic()
    result = lab.module("a", "libvirt_cpu_baseline", hosts=[{}] + hosts[1:])
    assert not result.get("failed"), result
    return time.monotonic() - began


def main():
    """Measure, print; the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--pairs", type=int, default=8)
    options = arguments.parse_args()
    reason = install.why_not()
    if reason:
        sys.exit("bench-libvirt needs the libvirt lab: %s" % reason)
    ours, theirs = os.pipe()
    lab = Lab(machinery.up(["a", "b"], until_eof=ours, say=lambda line: print("note " + line, flush=True)))
    name, short = "bench", []
    try:
        lab.define("a", name, memory=256, dirty_mb=96, dirty_rate=4, more="dirty_random=1")
        lab.boot("a", name)
        time.sleep(3)
        for host in "ab":
            lab.link(host, "mig0", LINK)
        rows = pairs(lab, name, options.pairs)
        core = share_of_a_core(lab, name)
        seconds = min(baseline(lab) for _try in range(3))
    finally:
        os.close(theirs)
        machinery.down()

    def figure(what, value, goal, good):
        print("figure %s %s %s %s" % (what, value, goal, "ok" if good else "short"))
        short.extend([] if good else [what])

    ratio = statistics.median((module - FIXED) / virsh for module, virsh in rows)
    print("note %d pairs over %s; load %.1f at the end" % (len(rows), LINK, os.getloadavg()[0]))
    figure("over_virsh_median", round(ratio, 3), "<=1.10", ratio <= 1.10)
    figure("core_while_following", round(core, 5), "<0.02", 0 < core < 0.02)
    figure("baseline_of_32_hosts_seconds", round(seconds, 2), "<2", seconds < 2)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
