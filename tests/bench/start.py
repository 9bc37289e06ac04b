# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast the embedded cluster is there, and what it needs: ``python tests/bench/start.py``.

Prints one line per figure: ``figure NAME VALUE GOAL ok|short``.

- start_seconds: from exec of the command to the first 200 on /readyz, default cluster, median of 5.
- start_seconds_5000_vmis, rss_mib_5000_vmis: the same with 100 nodes and 5,000 running guests, and its resident memory
  after every guest was listed once.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

MODULE = "ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal"
VMIS = "/apis/kubevirt.io/v1/virtualmachineinstances"


def run(command, folder, *options):
    """One command of the embedded cluster; returns what it printed (dict)."""
    done = subprocess.run([sys.executable, "-m", MODULE, command, "--dir", folder] + list(options),
                          stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def get(said, path):
    """One GET; returns its body (bytes)."""
    request = urllib.request.Request(said["host"] + path, headers={"Authorization": "Bearer " + said["api_key"]})
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=said["ca_cert"])) as answer:
        return answer.read()


def started(folder, *options):
    """Seconds until /readyz said ok, and the connection."""
    begin = time.monotonic()
    said = run("start", folder, *options)
    assert get(said, "/readyz") == b"ok"
    return time.monotonic() - begin, said


def resident(pid):
    """Resident memory in MiB."""
    with open("/proc/%d/status" % pid, encoding="ascii") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("VmRSS")) / 1024


def figure(name, value, goal):
    """Print one figure; returns whether it is good enough."""
    good = value <= goal
    print("figure %s %.2f %s %s" % (name, value, goal, "ok" if good else "short"), flush=True)
    return good


def main():
    """All figures; returns the exit code."""
    folder = tempfile.mkdtemp(prefix="bigvm-bench-")
    try:
        times = []
        for _turn in range(5):
            times.append(started(os.path.join(folder, "small"))[0])
            run("absent", os.path.join(folder, "small"))
        good = [figure("start_seconds", statistics.median(times), 1.5)]
        seconds, said = started(os.path.join(folder, "large"), "--topology", "scale:100x5000")
        count = len(json.loads(get(said, VMIS))["items"])
        assert count == 5000, count
        good.append(figure("start_seconds_5000_vmis", seconds, 20))
        good.append(figure("rss_mib_5000_vmis", resident(said["pid"]), 1024))
    finally:
        for name in ("small", "large"):
            run("absent", os.path.join(folder, name))
        shutil.rmtree(folder)
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
