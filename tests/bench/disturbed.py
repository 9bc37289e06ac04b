# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How good a forecast is when the night is not as foreseen: ``python tests/bench/disturbed.py``.

200 migrations on embedded clusters, whole: evacuation_plan_info makes the forecast, migrate_vmi moves the guest with the
end of that forecast as its deadline, the cluster's own controllers, scheduler and page bitmaps do the rest (none of it the
forecast's code). Seeded disturbances: the link carries up to 30 % less at times, the guest writes half as much again in
bursts, preparation takes 10 to 40 s. The forecast is told the link, the dirty rate while the guest is idle, and nothing of
its working set. Guests of 16 GiB to 1 TiB, links of 10 to 100 Gbit/s, dirty rates up to half of the link.

One run in six has half of the expected time as its deadline, so that it must be stopped in time; these say nothing about
the range. Prints every run, ``note`` lines, then ``figure NAME VALUE GOAL ok|short``; ends 1 when a figure is short.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import kubernetes

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import Api
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import Task
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp, to_timestamp
from ansible_collections.bigvm.live_migration.plugins.modules import evacuation_plan_info, migrate_vmi

MODULE = "ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal"
VMI = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances/vm"
KNOB = "rehearsal.bigvm.io/"
GIB = 2 ** 30
SIZES = (16, 64, 256, 1024)  # GiB
TOPOLOGY = """
description: one guest that moves there and back
generation: "1.9"
live_migration: {completionTimeoutPerGiB: 10000}
nodes:
  - {names: [node-a, node-b], memory: 2Ti, cpus: 64, link: 10G}
vms:
  - {name: vm, namespace: default, node: node-a, memory: %dGi, cpus: 2}
"""
STEP = 20  # disturbances fall at every so many-th of the expected time
OTHER_PREPARATION = 4.0  # s, about what the embedded cluster takes beside the launcher's start


class Cluster:
    """One embedded cluster with one guest."""

    def __init__(self, gib):
        self.folder = tempfile.mkdtemp(prefix="bigvm-bench-")
        path = os.path.join(self.folder, "topology.yml")
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(TOPOLOGY % gib)
        done = subprocess.run([sys.executable, "-m", MODULE, "start", "--dir", os.path.join(self.folder, "server"), "--topology", path],
                              stdout=subprocess.PIPE, check=True)
        said = json.loads(done.stdout)
        configuration = kubernetes.client.Configuration()
        configuration.host, configuration.ssl_ca_cert = said["host"], said["ca_cert"]
        configuration.api_key = {"authorization": "Bearer " + said["api_key"]}
        self.api = Api(lambda: (configuration, {})).handshake()

    def knobs(self, path, **values):
        """Tell a guest or a node what to play."""
        self.api.patch(path, {"metadata": {"annotations": {KNOB + key.replace("_", "-"): str(value) for key, value in values.items()}}})

    def script(self, entries):
        """What others do from now on; ``[]`` ends it."""
        self.api.delete("/bigvm/v1/script")
        if entries:
            self.api.create("/bigvm/v1/script", entries)

    def stop(self):
        """End the server."""
        subprocess.run([sys.executable, "-m", MODULE, "absent", "--dir", os.path.join(self.folder, "server")],
                       stdout=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def called(module, api, **given):
    """What the module's function returns; that of a failure is in its details."""
    params = {name: option.get("default") for name, option in module.SPEC.items()}
    try:
        return module.execute(Task(dict(params, **given), api, False, lambda _line: None, lambda _line: None)), None
    except errors.LiveMigrationError as exc:
        return exc.details, str(exc)


def disturbances(rng, seconds, nodes, bits, dirty):
    """Script entries: at every step the link and what the guest writes are drawn anew."""
    entries = []
    for step in range(1, 4 * STEP):
        when = seconds * (step + rng.uniform(-0.4, 0.4)) / STEP
        link, rate = int(bits * rng.choice([1.0, 1.0, rng.uniform(0.7, 1.0), 0.7])), int(dirty * rng.choice([1.0, 1.0, 1.5]))
        patches = [{"patch": {"resource": "nodes", "name": name, "merge": {"metadata": {"annotations": {KNOB + "link": str(link)}}}}}
                   for name in nodes]
        patches.append({"patch": {"resource": "virtualmachineinstances.kubevirt.io", "namespace": "default", "name": "vm",
                                  "merge": {"metadata": {"annotations": {KNOB + "dirty-rate": str(rate)}}}}})
        entries.append({"name": "step %d" % step, "when": {"time": when}, "do": patches})
    return entries


def one(cluster, gib, seed, tight):
    """One migration; ``{low, high, expected, actual: s or None when it was stopped, late: s after the deadline, outcome}``."""
    rng, api = random.Random(seed), cluster.api
    bits = rng.choice([10, 25, 100]) * 10 ** 9
    rate, zero = bits / 8 * 0.9, rng.choice([0.0, 0.2, 0.5])
    dirty = min(rate, 8e9) * rng.uniform(0.0, 0.5)
    preparation = rng.uniform(10, 40)
    nodes = ("node-a", "node-b")
    for name in nodes:
        cluster.knobs("/api/v1/nodes/" + name, link=bits)
    cluster.knobs(VMI, dirty_rate=int(dirty), working_set=int(gib * GIB * (1 - zero) * rng.uniform(0.02, 0.3)), zero_fraction=zero,
                  launcher_start=preparation - OTHER_PREPARATION)
    here = api.get(VMI)["status"]["nodeName"]
    planned, failed = called(evacuation_plan_info, api, node=here, links="%dGbit" % (bits // 10 ** 9), per_stream="1G",
                             dirty_rates={"vm": str(int(dirty / 2))}, settings={"bandwidth_per_migration": "0"})
    assert failed is None, failed
    row = planned["plan"]["forecast"]["vms"][0]
    api.patch("/apis/hco.kubevirt.io/v1/namespaces/openshift-cnv/hyperconvergeds/kubevirt-hyperconverged",
              {"spec": {"virtualization": {"liveMigrationConfig": {"bandwidthPerMigration": None}}}})
    began = api.clock.now()
    expected = row["seconds"] or row["low"]
    end = began + (expected / 2 if tight else (row["high"] or 3 * expected))
    cluster.script(disturbances(rng, expected, nodes, bits, dirty))
    found, _failed = called(migrate_vmi, api, vms=[{"namespace": "default", "name": "vm", "target_node": None}], away_from=[here],
                            deadline=to_timestamp(end), progress_interval=0)
    cluster.script([])
    stopped = api.clock.now()
    api.clock.sleep(60)  # what an abort leaves goes by itself
    move = found["migrations"][0]
    took = move["seconds"]["prepare"] + move["seconds"]["copy"] if move["outcome"] == "moved" else None
    ended = from_timestamp(move["ended"]) if move.get("ended") else stopped
    return {"low": row["low"], "high": row["high"], "expected": row["seconds"], "actual": took, "outcome": move["outcome"],
            "late": max(0.0, ended - end), "tight": tight, "here": api.get(VMI)["status"]["nodeName"] == here}


def main():
    """Measure, print; the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--runs", type=int, default=200, help="besides those with a tight deadline")
    arguments.add_argument("--sizes", type=int, nargs="+", default=SIZES, choices=SIZES, help="GiB; the runs are shared out among them")
    given = arguments.parse_args()
    rows, began = [], time.monotonic()
    for gib in given.sizes:
        index, cluster = SIZES.index(gib), Cluster(gib)
        try:
            mine = given.runs // len(given.sizes)
            for number in range(mine + mine // 5):
                rows.append(one(cluster, gib, 1000 * index + number, number % 6 == 5))
                print("run %d: %d GiB, %s" % (len(rows), gib, " ".join("%s %s" % (
                    name, round(value, 1) if isinstance(value, float) else value) for name, value in rows[-1].items())), flush=True)
        finally:
            cluster.stop()
    tight, runs = [row for row in rows if row["tight"]], [row for row in rows if not row["tight"]]
    inside = [row for row in runs if row["actual"] is not None and row["low"] <= row["actual"] <= (row["high"] or float("inf"))]
    bounded = [row for row in runs if row["high"] is not None]
    closed = [row for row in inside if row["high"] is not None]
    short = []

    def figure(name, value, goal, good):
        print("figure %s %s %s %s" % (name, value, goal, "ok" if good else "short"))
        short.extend([] if good else [name])

    errors_seen = [abs(row["actual"] / row["expected"] - 1) for row in runs if row["actual"] and row["expected"]]
    print("note %d runs and %d with a tight deadline in %.0f s" % (len(runs), len(tight), time.monotonic() - began))
    print("note %d of %d ranges have no upper end; with one, %d of %d ended inside it" % (
        len(runs) - len(bounded), len(runs), len(closed), len(bounded)))
    early = sum(1 for row in runs if row["actual"] is not None and row["actual"] < row["low"])
    print("note ended before the lower end: %d; stopped at the deadline: %d" % (early, sum(1 for row in runs if row["actual"] is None)))
    print("note median error of the expected time %.1f %%" % (100 * statistics.median(errors_seen)))
    share = len(inside) / len(runs)
    figure("inside_range", round(share, 3), ">=0.85", share >= 0.85)
    share = len(closed) / len(bounded)
    figure("inside_bounded_range", round(share, 3), ">=0.85", share >= 0.85)
    late = max(row["late"] for row in rows)
    figure("seconds_past_deadline", round(late, 1), "0", late <= 0)
    stopped = sum(1 for row in tight if row["actual"] is None and row["here"])
    figure("tight_stopped_intact", "%d/%d" % (stopped, len(tight)), "all", stopped == len(tight))
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
