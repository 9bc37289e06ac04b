# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""VMs that leave a node + room + who belongs with whom -> groups that go after one another, and a target for each.

Targets are booked as they are chosen, so that two VMs never count on the same room. Where KubeVirt takes no target by
name, what is chosen is what the scheduler is expected to take.
"""

from __future__ import annotations

import math
from collections import namedtuple

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import schedule

UNDER_WAY = "OwnMigrationUnderWay"
NO_ROOM = "NoRoomLeft"  # fits somewhere alone, but not beside what the plan puts there first
RULES_OUT = "KeepRulesLeaveNoNode"  # there is room, but only beside or away from the wrong guest

# node: the one to empty; requests: {(namespace, name): {resource: amount}}; free: {node: {resource: amount}}; total: memory
# and CPUs of each node, as free; pinned: whether KubeVirt takes a target by name; bonds: :class:`.bonds.Bonds`; width: VMs at
# a time; links: {node: bytes/s}; jobs: {(namespace, name): schedule.Job}; avoid: targets taken only where no other has room.
Task = namedtuple("Task", "node requests free total pinned bonds width links jobs avoid")
# groups: VMs that go after one another; entries: {id of a VM: its entry}; homeless: [(VM, code, missing)], missing the
# {resource: amount} that the nearest node lacks; surest: False when it took targets that the scheduler would not choose.
Found = namedtuple("Found", "groups entries homeless length surest")

_RESOURCES = {"memory": "memory_free", "hugepages-1Gi": "hugepages_1gi_free", "hugepages-2Mi": "hugepages_2mi_free", "cpu": "cpus_free"}


def room_of(nodes):
    """``({node: {resource: free}}, {node: {resource: in all}})`` of the public facts of nodes."""
    free = {name: {kind: node[field] for kind, field in _RESOURCES.items() if node.get(field) is not None}
            for name, node in nodes.items()}
    total = {name: {"memory": node.get("memory_allocatable"), "cpu": node.get("cpus_allocatable")} for name, node in nodes.items()}
    return free, total


def arranged(task, movable):
    """The :data:`Found` of several ways: the one with fewest homeless, then the quickest.

    The first way keeps room on every node; where it fragments it, others are tried. With jobs known, targets may also be
    chosen by what a copy can make use of. Deterministic.

    :param movable: VMs as :func:`..migratability.judge` returns them, the biggest first.
    """
    best = None
    for way in _ways(task, movable):
        if best is not None and not best.homeless and not task.pinned:
            break  # the scheduler's own choice will do
        for order, rank, sure in way:
            book = _Book(task, movable)
            found = {id(vm): book.placed(vm, rank) for vm in order}
            homeless = [vm for vm in movable if not _placeable(found[id(vm)])]
            if best is not None and len(homeless) > len(best.homeless):
                continue
            groups = _groups([vm for vm in movable if _placeable(found[id(vm)])], task.width, task.bonds.apart)
            if task.jobs and task.links and groups and len(groups[-1]) > 1:
                groups[-1] = _quicker(task, groups[-1], found, book)
            length = _length(task, groups, found) if task.jobs and task.links else 0.0
            if best is None or (len(homeless), length) < (len(best.homeless), best.length * (1 - 1e-6)):
                best = Found(groups, found, [(vm,) + book.against(vm) for vm in homeless], length, sure)
            if not homeless:
                break
    return best


def _ways(task, movable):
    """Ways to try: lists of ``(order, rank of targets or None for the fullest, whether the scheduler would do the same)``."""
    fewest = sorted(movable, key=lambda vm: len(vm.get("candidates") or []))
    plain = _speed(task.node, task.links)

    def empty(_vm, name, room):
        return name not in task.avoid, _least_allocated(task, name, room)

    def fast(_vm, name, _room):
        return name not in task.avoid, plain(name)

    def useful(vm, name, _room):
        return (name not in task.avoid,) + _useful(plain, task.jobs.get((vm["namespace"], vm["name"])), name)

    if not task.pinned:
        yield [(movable, empty, True), (fewest, empty, True)]
    for rank in (fast, useful) if task.jobs and task.links else (fast,):
        yield [(order, chosen, task.pinned) for order, chosen in ((movable, rank), (fewest, rank), (movable, None), (fewest, None))]


def _speed(node, links):
    """``speed(target)``: what a copy from ``node`` to it gets at most; the same for all where nothing is known."""
    source = links.get(node, math.inf)
    return lambda target: min(source, links.get(target, source))


def _useful(speed, job, target):
    """A rank of targets: those that carry what a copy can send, of these the slowest."""
    return (speed(target),) if job is None else (min(speed(target), job.cap), -speed(target))


def _least_allocated(task, name, room):
    """How empty the scheduler takes a node for (its NodeResourcesFit): the mean free share of memory and CPU."""
    shares = [room.get(kind, 0) / whole for kind, whole in task.total.get(name, {}).items() if whole and kind in room]
    return sum(shares) / len(shares) if shares else room.get("memory", 0)


class _Book:
    """Room and places as they are taken."""

    def __init__(self, task, movable):
        self.task, self.room = task, {name: dict(data) for name, data in task.free.items()}
        self.places = {key: place for key, place in task.bonds.places.items() if place != task.node}
        self._leaving = {(vm["namespace"], vm["name"]): vm for vm in movable}
        self._kept = set()  # VMs whose room was booked with that of the first they are kept together with

    def placed(self, vm, rank):
        """The VM's entry; what it takes is booked.

        A migration of ours that is under way keeps its target, whose pod has taken its room already.
        """
        if any(reason.get("code") == UNDER_WAY for reason in vm.get("reasons") or []):
            return _entry(vm, None, None, vm.get("candidates") or [], True)
        key = vm["namespace"], vm["name"]
        asked = self._asked(key)
        choices = [name for name in self._allowed(key) if key in self._kept or _fits(asked, self.room.get(name, {}))]
        target = choices[0] if choices else None
        if target:
            # The best rank, then the emptiest, so that big guests do not crowd one node; without a rank the fullest. The
            # candidates' own order breaks ties.
            target = max(choices, key=lambda name: (  # of equals max takes the first
                rank(vm, name, self.room.get(name, {})) if rank else (name not in self.task.avoid,),
                (1 if rank else -1) * self.room.get(name, {}).get("memory", 0)))
            if key not in self._kept:
                self.take(target, asked)
                self._kept.update(self._company(key))
            if key in self.task.bonds.apart or key in self.task.bonds.together:
                self.places[key] = target
        return _entry(vm, target if self.task.pinned else None, target, choices, False)

    def take(self, name, asked, sign=-1):
        """Book what is asked there, or with 1 give it back."""
        for kind, value in asked.items():
            if kind in self.room.get(name, {}):
                self.room[name][kind] += sign * value

    def against(self, vm):
        """``(code, {resource: what the nearest node lacks})`` for a VM that found no place."""
        asked = self.task.requests.get((vm["namespace"], vm["name"]), {})
        lacks = [{kind: value - self.room.get(name, {}).get(kind, value) for kind, value in asked.items()
                  if self.room.get(name, {}).get(kind, value) < value} for name in vm.get("candidates") or []]
        if not all(lacks):
            return RULES_OUT, {}
        return NO_ROOM, min(lacks, key=lambda lack: sum(value for kind, value in lack.items() if kind != "cpu"), default={})

    def _company(self, key):
        """Whom it leaves together with and who has no place yet, itself left out."""
        return [other for other in sorted(self.task.bonds.together.get(key, ())) if other in self._leaving and other not in self.places]

    def _asked(self, key):
        """What must fit at once: its own request with those of its company, as one."""
        if key not in self.task.bonds.together:
            return self.task.requests.get(key, {})
        total = {}
        for one in [key] + self._company(key):
            for kind, value in self.task.requests.get(one, {}).items():
                total[kind] = total.get(kind, 0) + value
        return total

    def _allowed(self, key):
        """Candidates of it and of its company that no partner rules out."""
        bonds, allowed = self.task.bonds, list(self._leaving[key].get("candidates") or [])
        if key not in bonds.apart and key not in bonds.together:
            return allowed
        for one in [key] + self._company(key):
            near = {self.places[other] for other in bonds.together.get(one, ()) if other in self.places}
            taken = {self.places[other] for other in bonds.apart.get(one, ()) if other in self.places}
            known = self._leaving[one].get("candidates") or []
            allowed = [name for name in allowed if name in known and name not in taken and near <= {name}]
        return allowed


def _fits(request, room):
    return all(amount <= room[resource] for resource, amount in request.items() if resource in room)


def _placeable(entry):
    return entry["under_way"] or entry["target_choices"]


def _entry(vm, target, expected, choices, under_way):
    return {
        "namespace": vm["namespace"], "name": vm["name"], "uid": vm.get("uid"),
        "memory_bytes": vm.get("memory_bytes") or 0,
        "target_node": target, "expected_node": expected, "target_choices": choices, "under_way": under_way,
    }


def _groups(movable, width, apart):
    """Waves: critical guests, those kept apart and the biggest one alone; the rest in one wave, ``width`` at a time."""
    alone = [vm for index, vm in enumerate(movable)
             if index == 0 or vm.get("critical") or (vm["namespace"], vm["name"]) in apart]
    known = {id(vm) for vm in alone}
    rest = [vm for vm in movable if id(vm) not in known]
    return [[vm] for vm in alone] + ([[vm] for vm in rest] if width == 1 else [rest] if rest else [])


def _length(task, groups, entries):
    """Seconds that all waves take by :mod:`.schedule`; a VM of which nothing is known counts nothing."""
    clock = 0.0
    for group in groups:
        known = [task.jobs[vm["namespace"], vm["name"]]._replace(target=entries[id(vm)]["expected_node"])
                 for vm in group if (vm["namespace"], vm["name"]) in task.jobs]
        ends = schedule.flow(known, task.width, task.links.get(task.node, math.inf), task.links, clock)
        clock = max([end for _start, end in ends], default=clock)
    return clock


def _quicker(task, group, entries, book):
    """The VMs of one wave in a better order; better targets are put into ``entries`` and booked."""
    keys = [(vm["namespace"], vm["name"]) for vm in group]
    if any(key not in task.jobs or entries[id(vm)]["under_way"] or not entries[id(vm)]["target_node"] for key, vm in zip(keys, group)):
        return group
    asks = [task.requests.get(key, {}) for key in keys]

    def fits(index, target, take=False):
        if take:
            book.take(target, asks[index])
            book.take(entries[id(group[index])]["target_node"], asks[index], 1)
            entries[id(group[index])].update(target_node=target, expected_node=target)
        return take or _fits(asks[index], book.room.get(target, {}))

    source, speed = task.links.get(task.node, math.inf), _speed(task.node, task.links)
    planned = [task.jobs[key]._replace(target=entries[id(vm)]["target_node"]) for key, vm in zip(keys, group)]
    by_name = sorted(range(len(group)), key=lambda index: keys[index][::-1])  # as a drain goes
    choices = [_elsewhere(task, key, entries[id(vm)], speed, book.room) for key, vm in zip(keys, group)]
    return [group[index] for index in schedule.quickest(planned, task.width, source, task.links, choices, fits, [by_name])[0]]


def _elsewhere(task, key, entry, speed, room):
    """Up to eight other targets, the fastest first; none for who is kept together with others."""
    if key in task.bonds.together:
        return [entry["target_node"]]
    names = [name for name in entry["target_choices"] if name not in task.avoid or entry["target_node"] in task.avoid]
    return sorted(names, key=lambda name: (-speed(name), -room.get(name, {}).get("memory", 0), name))[:8]
