# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How good the forecast is: real QEMU migrations between two hosts of tests/lab/libvirt: ``python tests/bench/forecast.py``.

Needs root and Debian 12, as the lab does. A guest of two sizes writes to pages at random, as many MiB/s as it is told; the
link between the hosts has one of three bandwidths, of which memory gets what headers leave. The forecast is
``domain/precopy.py`` of these two figures and the size of what the guest writes to, printed before each migration starts.
What no figure tells is learned in three runs apart, with idle guests: memory that the guest's kernel uses, set-up time, and
what the link carries net of its headers.

Time is that of the task libvirt_migrate, from its start to its end. A run that is forecast never to end is given
three times the time of an idle guest, 30 s at least, and then aborted; it was right when it had not ended by then.

All runs are printed. ``figure NAME VALUE GOAL ok|short`` at the end; ends 1 when a figure is short. ``--runs 3`` takes
every fourth only, for work on the bench; ``--walk`` has the guest write to one page after the other, which changes more
pages than the forecast believes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections import namedtuple
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab" / "libvirt"))

import kvm_install as install  # noqa: E402
import kvm_lab as machinery  # noqa: E402
from kvm_hosts import Lab  # noqa: E402

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import precopy  # noqa: E402

MIB = 1024 ** 2
MBIT = 1e6 / 8
SIZES = {"small": (256, 96), "large": (512, 224)}  # MiB of the guest, MiB that it writes to
# Dirty rate over what the link carries of memory: idle to 0.9, and two that cannot end. Links in Mbit/s.
RUNS = [  # size, link, ratio
    ("small", 100, 0.0), ("small", 100, 0.3), ("small", 100, 0.6), ("small", 100, 0.9), ("small", 100, 1.5),
    ("small", 200, 0.5), ("large", 200, 0.0), ("large", 200, 0.3), ("large", 200, 0.6), ("large", 200, 0.9),
    ("large", 400, 0.0), ("large", 400, 0.3), ("large", 400, 0.6), ("large", 400, 0.9), ("large", 400, 1.5),
    ("small", 400, 0.7)]
CALIBRATION = [("small", 100), ("large", 200), ("small", 400)]  # two of other links tell set-up from copying
BORDER = 0.1  # how near the border a run may be without counting for whether it converges

# kernel: {size: bytes in use beside what it writes to}; setup: s; share: of the link that is memory
Site = namedtuple("Site", "kernel setup share")


def migrate(lab, name, size, link, rate, walk, timeout):
    """``(seconds of the task, result)`` of one migration of a fresh guest that writes ``rate`` MiB/s."""
    memory, written = SIZES[size]
    lab.define("a", name, memory=memory, dirty_mb=written, dirty_rate=rate or -1, more="" if walk else "dirty_random=1")
    try:
        lab.boot("a", name)
        time.sleep(3)  # every page has been written to
        lab.link("a", "mig0", "%dmbit" % link)
        began = time.monotonic()
        result = lab.module("a", "libvirt_migrate", name=name, destination=lab.uri("b"), migrate_uri="tcp://kvm-b-mig",
                            timeout="%ds" % timeout, _within=timeout + 120)
        return time.monotonic() - began, result
    finally:
        lab.link("a", "mig0", "free")
        lab.remove(name)


def calibrate(lab, walk):
    """What the site's forecasts need beside figures: set-up and the link's share are the line through the runs' times."""
    kernel, ideal, took = {}, [], []
    for number, (size, link) in enumerate(CALIBRATION):
        seconds, result = migrate(lab, "c%d" % number, size, link, 0, walk, 300)
        kernel[size] = max(0, result["sent"] - SIZES[size][1] * MIB)
        ideal.append(result["sent"] / (link * MBIT))
        took.append(seconds)
        print("note calibration: %s, %d Mbit/s, idle: %.1f s, %.1f of them copy, %d MiB sent"
              % (size, link, seconds, result["seconds"], result["sent"] / MIB), flush=True)
    slope, setup = statistics.linear_regression(ideal, took)
    return Site(kernel, setup, 1 / slope)


def foretell(site, size, link, rate):
    """``(forecast, seconds expected, seconds to give it)``."""
    memory, written = (mib * MIB for mib in SIZES[size])
    in_use = min(memory, written + site.kernel[size])
    guest = precopy.Guest(memory, memory - in_use, written, rate * MIB, 0)
    way = precopy.Way(link * MBIT * site.share, precopy.DOWNTIME_LIMIT, False, None)
    found = precopy.forecast(guest, way, (site.setup, site.setup))
    idle = in_use / way.rate
    return found, found["seconds"], max(30, 3 * idle) if found["ends"] == "never" else max(60, 3 * found["seconds"])


def measure(lab, walk, runs):
    """One row per run: ``{words, error (None where it is not to end), right, counts}``."""
    site, rows = calibrate(lab, walk), []
    print("note learned: %s MiB of kernel, set-up %.1f s, %.1f %% of the link"
          % (" and ".join("%d" % (value / MIB) for value in site.kernel.values()), site.setup, 100 * site.share))
    for number, (size, link, ratio) in enumerate(runs):
        rate = round(ratio * link * MBIT * site.share / MIB)
        found, expected, patience = foretell(site, size, link, rate)
        words = "%s, %d Mbit/s, %d MiB/s written (%.1f of it)" % (size, link, rate, ratio)
        forecast = "%.1f s, %d passes" % (expected, found["passes"]) if expected else "never ends"
        print("run %2d  %s: forecast %s" % (number + 1, words, forecast), end="", flush=True)
        seconds, result = migrate(lab, "f%d" % number, size, link, rate, walk, patience)
        ended = not result.get("failed")
        if not ended and "its time of" not in result["msg"]:
            raise SystemExit("\n" + result["msg"])
        error = abs(expected / seconds - 1) if ended and expected else None
        took = "%.1f s, %s passes" % (seconds, result["passes"]) if ended else "had not ended after %.0f s" % patience
        print("; it was: %s%s" % (took, "" if error is None else " (%+.1f %%)" % (100 * (expected / seconds - 1))), flush=True)
        counts = found["border"] is not None and abs(found["border"] - 1) > BORDER
        rows.append({"error": error, "right": ended == bool(expected), "counts": counts})
    return rows


def main():
    """Measure, print; the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--runs", type=int, default=len(RUNS))
    arguments.add_argument("--walk", action="store_true")
    options = arguments.parse_args()
    reason = install.why_not()
    if reason:
        sys.exit("bench-forecast needs the libvirt lab: %s" % reason)
    runs = RUNS if options.runs >= len(RUNS) else RUNS[1::max(1, len(RUNS) // options.runs)][:options.runs]
    ours, theirs = os.pipe()
    lab = Lab(machinery.up(["a", "b"], until_eof=ours, say=lambda line: print("note " + line, flush=True)))
    began = time.monotonic()
    try:
        rows = measure(lab, options.walk, runs)
    finally:
        os.close(theirs)
        machinery.down()
    short = []

    def figure(name, value, goal, good):
        print("figure %s %s %s %s" % (name, value, goal, "ok" if good else "short"))
        short.extend([] if good else [name])

    errors = sorted(row["error"] for row in rows if row["error"] is not None)
    print("note %d runs, %d of them ended as forecast and count for time; %.0f s; load %.1f at the end"
          % (len(rows), len(errors), time.monotonic() - began, os.getloadavg()[0]))
    figure("counted_runs", len(rows), ">=12", len(rows) >= 12)
    figure("time_error_median", round(statistics.median(errors), 3), "<=0.10", statistics.median(errors) <= 0.10)
    ninth = errors[min(len(errors) - 1, -(-9 * len(errors) // 10) - 1)]
    figure("time_error_p90", round(ninth, 3), "<=0.25", ninth <= 0.25)
    wrong = sum(row["counts"] and not row["right"] for row in rows)
    figure("converges_wrong", wrong, "0", not wrong)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
