# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How good the evacuation plans are: ``python tests/bench/plan.py``.

Twice 60 seeded clusters of 3 to 100 nodes with up to 1,000 VMs: the planner was tuned while the first were looked at, and the
second (``heldout``) show what that is worth. The node with most memory in use is emptied. A plan's makespan,
by the model of ``domain/schedule.py`` (copies share NICs, so many at a time), is held against the lower bound, and against
what the same rules give in the order of ``oc adm drain`` (pods by name) and of KubeVirt's own evacuation (any order, here
seeded), each with the targets the scheduler takes by itself (the least allocated). The rules are the same for all: who
goes alone goes alone and first, the others so many at a time.

Every plan passes a checker that shares no code with the planner. Prints ``figure NAME VALUE GOAL ok|short`` and ``note``
lines; ends 1 when a plan does not pass or a figure is short.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import resource
import statistics
import sys
import time

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import bonds, evacuation
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.schedule import Job, flow, lower_bound

GI = 1 << 30
SETUP = (10.0, 40.0)
HELD_OUT = 10000  # first seed of the clusters that nobody looked at while the planner was made


class Cluster:
    """A seeded cluster in the words of the planner, and the times of its VMs."""

    def __init__(self, seed, nodes=None, vms=None):
        self.rng = rng = random.Random(seed)
        count = nodes or rng.choice([3, 4, 6, 10, 20, 40, 70, 100])
        wanted = vms or min(1000, count * rng.randint(4, 30))
        self.names = ["node-%03d" % number for number in range(count)]
        self.total = {name: rng.choice([1024, 2048, 4096]) * GI for name in self.names}
        self.links = {name: rng.choice([10, 25, 25, 100]) / 8 * 0.9e9 for name in self.names}
        self.zone = {name: rng.choice("ab") for name in self.names}
        self.room = {name: {"memory": int(self.total[name] * 0.95), "cpu": 200.0} for name in self.names}
        self.settings = {"parallel_migrations_per_cluster": rng.choice([2, 5, 10]),
                         "parallel_outbound_migrations_per_node": rng.choice([1, 2, 2, 4])}
        self.vms, self.node_of, self.groups = [], {}, {}
        for number in range(wanted):
            self._vm(number)
        members = [group for group, _node in self.groups.values()]
        self.groups = {key: found for key, found in self.groups.items() if members.count(found[0]) > 1}
        for vm in self.vms:  # candidates have room now, as the verdict says
            vm["candidates"] = [name for name in vm["candidates"]
                                if all(asked <= self.room[name][key] for key, asked in vm["request"].items())]
        load = dict.fromkeys(self.names, 0)
        for vm in self.vms:
            load[self.node_of[vm["name"]]] += vm["memory_bytes"]
        self.node = max(self.names, key=lambda name: (load[name], name))
        self.here = [vm for vm in self.vms if self.node_of[vm["name"]] == self.node]

    def _vm(self, number):
        rng = self.rng
        size = rng.choice([2, 4, 8, 8, 16, 16, 32, 64, 128]) if rng.random() > 0.02 else rng.choice([256, 512, 1024])
        name = "vm-%04d-%d" % (rng.randrange(10 ** 4), number)
        request = {"memory": (size + 1) * GI, "cpu": min(16.0, 0.5 + size / 16)}
        fitting = [node for node in self.names if all(request[key] <= 0.7 * self.room[node][key] for key in request)]
        if not fitting:
            return
        node = rng.choice(fitting)
        for key, value in request.items():
            self.room[node][key] -= value
        zoned = rng.random() < 0.15
        vm = {"namespace": "ns-%d" % (number % 7), "name": name, "uid": "uid-%d" % number, "verdict": "live", "reasons": [],
              "critical": size >= 256, "memory_bytes": size * GI, "request": request,
              "candidates": [other for other in self.names if other != node and (not zoned or self.zone[other] == self.zone[node])]}
        vm["job"] = Job(rng.uniform(*SETUP), size * GI * rng.uniform(1.0, 1.4), rng.choice([1e9, 8e9]), None)
        self.vms.append(vm)
        self.node_of[name] = node
        if size >= 64 and rng.random() < 0.3:
            self.groups[vm["namespace"], name] = (("pairs", str(number // 20)), node)

    def plan(self):
        nodes = {name: {"memory_free": room["memory"], "cpus_free": room["cpu"]} for name, room in self.room.items()}
        facts = {"cluster": {"target_by_name": True, "settings": self.settings}, "nodes": nodes, "vms": self.here}
        requests = {(vm["namespace"], vm["name"]): vm["request"] for vm in self.here}
        apart = {key: frozenset(other for other, (mine, _node) in self.groups.items() if other != key and mine == group)
                 for key, (group, _node) in self.groups.items()}
        kept = bonds.Bonds(apart, {}, {key: node for key, (_group, node) in self.groups.items()})
        return evacuation.plan(self.node, facts, requests, None, kept, (), self.links, {
            (vm["namespace"], vm["name"]): vm["job"] for vm in self.here})

    def lanes(self, planned):
        """``(alone, rest)``: VMs with their targets, in the plan's order."""
        by = {(vm["namespace"], vm["name"]): vm for vm in self.here}
        rows = [[(by[row["namespace"], row["name"]], row["target_node"]) for row in wave["vms"]] for wave in planned["waves"]]
        width = planned["width"]
        alone = [wave[0] for wave in rows if len(wave) == 1]
        return (alone, [pair for wave in rows if len(wave) > 1 for pair in wave]) if width > 1 else (alone, [])

    def makespan(self, alone, rest, width):
        clock = 0.0
        for vm, target in alone:
            clock = flow([vm["job"]._replace(target=target)], 1, self.links[self.node], self.links, clock)[0][1]
        ends = [end for _start, end in flow([vm["job"]._replace(target=target) for vm, target in rest], width,
                                            self.links[self.node], self.links, clock)]
        return max(ends, default=clock)

    def bound(self, alone, rest, width):
        pairs = alone + rest
        fastest = {index: max(self.links[name] for name in vm["candidates"]) for index, (vm, _target) in enumerate(pairs)}
        return lower_bound([vm["job"] for vm, _t in alone], [vm["job"] for vm, _t in rest], width, self.links[self.node], fastest)

    def least_allocated(self, pairs):
        """The same VMs with the targets that a scheduler takes by itself, one after the other."""
        room = {name: dict(self.room[name]) for name in self.names}
        groups, found = dict(self.groups), []
        for vm, planned in pairs:
            key = vm["namespace"], vm["name"]
            barred = {place for other, (group, place) in groups.items() if other != key and key in groups and group == groups[key][0]}
            fits = [name for name in vm["candidates"]
                    if name not in barred and all(vm["request"][what] <= room[name][what] for what in room[name])]
            target = max(fits, default=planned, key=lambda name: (
                room[name]["memory"] / self.total[name] + room[name]["cpu"] / 200.0, name))
            for what, value in vm["request"].items():
                room[target][what] -= value
            if key in groups:
                groups[key] = (groups[key][0], target)
            found.append((vm, target))
        return found


def faults(cluster, planned):
    """What is wrong with a plan, by its outcome alone; a list of words."""
    wrong, room, places = [], {}, {}
    for name in cluster.names:
        room[name] = [cluster.room[name]["memory"], cluster.room[name]["cpu"]]
    for key, (group, node) in cluster.groups.items():
        places[key] = (group, node)
    seen, biggest = [], max((vm["memory_bytes"] for vm in cluster.here), default=0)
    limit = min(cluster.settings["parallel_migrations_per_cluster"], cluster.settings["parallel_outbound_migrations_per_node"])
    if planned["width"] > limit:
        wrong.append("more at a time than the cluster allows")
    for wave in planned["waves"]:
        for row in wave["vms"]:
            vm = next(one for one in cluster.here if (one["namespace"], one["name"]) == (row["namespace"], row["name"]))
            key, target = (row["namespace"], row["name"]), row["target_node"]
            seen.append(key)
            if target not in vm["candidates"] or target == cluster.node:
                wrong.append("%s goes where it cannot" % row["name"])
                continue
            room[target][0] -= vm["request"]["memory"]
            room[target][1] -= vm["request"]["cpu"]
            if min(room[target]) < 0:
                wrong.append("%s is overfull" % target)
            if (vm["critical"] or key in places) and len(wave["vms"]) > 1:
                wrong.append("%s is not alone" % row["name"])
            if key in places:
                if any(other != key and group == places[key][0] and node == target for other, (group, node) in places.items()):
                    wrong.append("%s is beside its partner" % row["name"])
                places[key] = (places[key][0], target)
    if seen and planned["waves"][0]["vms"][0]["memory_bytes"] < biggest and not planned["blocked"]:
        wrong.append("the biggest is not first")
    everyone = seen + [(row["namespace"], row["name"]) for row in planned["blocked"]]
    if sorted(everyone) != sorted((vm["namespace"], vm["name"]) for vm in cluster.here):
        wrong.append("a VM is missing or there twice")
    return wrong


def compare(seed):
    """``{over, drain, evacuation: makespans over ours and the gap closed (None without a gap), blocked, wrong}``."""
    cluster = Cluster(seed)
    planned = cluster.plan()
    wrong, again = faults(cluster, planned), Cluster(seed).plan()
    if again != planned:
        wrong.append("another plan at the second time")
    alone, rest = cluster.lanes(planned)
    ours, bound = cluster.makespan(alone, rest, planned["width"]), cluster.bound(alone, rest, planned["width"])
    found = {"over": ours / bound if bound else 1.0, "wrong": wrong, "blocked": len(planned["blocked"]), "vms": len(cluster.here)}
    shuffled = random.Random(seed)
    for name, order in (("drain", lambda pair: pair[0]["name"]), ("evacuation", lambda pair: shuffled.random())):
        targets = cluster.least_allocated(sorted(alone, key=order) + sorted(rest, key=order))
        theirs = cluster.makespan(targets[:len(alone)], targets[len(alone):], planned["width"])
        gap = theirs - bound
        found[name] = (theirs / ours if ours else 1.0, (theirs - ours) / gap if gap > 1e-6 * bound else None)
    return found


def big():
    """CPU seconds and MiB for the plans of all 100 nodes with 1,000 VMs."""
    cluster = Cluster(1, 100, 1000)
    began, moved = time.process_time(), 0
    for node in cluster.names:
        cluster.node, cluster.here = node, [vm for vm in cluster.vms if cluster.node_of[vm["name"]] == node]
        moved += len(cluster.plan()["vms"])
    return time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0, moved


def above_optimum(most=8):
    """How many of 22 sets of up to 8 VMs have an order below the lower bound; all orders are tried."""
    wrong = 0
    for seed in range(22):
        rng = random.Random(seed)
        count = most if seed >= 20 else 2 + seed % 5
        links = {"a": rng.choice([5.0, 10.0]), "b": 10.0}
        jobs = [Job(rng.uniform(1, 4), rng.uniform(5, 90), rng.choice([3.0, 50.0]), rng.choice("ab")) for _number in range(count)]
        width, source = rng.choice([2, 3]), rng.choice([6.0, 10.0])
        best = min(max(end for _start, end in flow(order, width, source, links)) for order in itertools.permutations(jobs))
        wrong += lower_bound([], jobs, width, source, {index: links[job.target] for index, job in enumerate(jobs)}) > best * (1 + 1e-9)
    return wrong


def main():
    """Measure, print; the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--clusters", type=int, default=60, help="in each of the two sets")
    count, short = arguments.parse_args().clusters, []

    def figure(name, value, goal, good):
        lines.append("figure %s %s %s %s" % (name, value, goal, "ok" if good else "short"))
        short.extend([] if good else [name])

    lines, everything = [], []
    for kind, first in (("", 0), ("heldout_", HELD_OUT)):
        rows = [compare(first + seed) for seed in range(count)]
        everything += rows
        over = [row["over"] for row in rows]
        figure(kind + "over_bound_median", round(statistics.median(over), 3), "<=1.05", statistics.median(over) <= 1.05)
        figure(kind + "over_bound_worst", round(max(over), 3), "<=1.25", max(over) <= 1.25)
        for name in ("drain", "evacuation"):
            longer = sum(1 for row in rows if row[name][0] < 1 - 1e-9)
            closed = [row[name][1] for row in rows if row[name][1] is not None]
            figure("%slonger_than_%s" % (kind, name), longer, "0", not longer)
            median = statistics.median(closed) if closed else math.nan
            figure("%sgap_to_%s_closed_median" % (kind, name), round(median, 3), ">=0.8", median >= 0.8)
            print("note %s%s: %d of %d clusters have no gap and are left out" % (kind, name, len(rows) - len(closed), len(rows)))
    wrong = [words for row in everything for words in row["wrong"]]
    figure("plan_faults", len(wrong), "0", not wrong)
    above = above_optimum()
    figure("bound_above_optimum", above, "0", not above)
    cpu, memory, moved = big()
    figure("cpu_seconds", round(cpu, 2), "<3", cpu < 3)
    figure("mib", round(memory), "<300", memory < 300)
    print("note %d VMs planned in the big cluster; %d VMs to move in the %d others, %d of them without room"
          % (moved, sum(row["vms"] for row in everything), len(everything), sum(row["blocked"] for row in everything)))
    for words in wrong[:10]:
        print("note fault: %s" % words)
    print("\n".join(lines))
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
