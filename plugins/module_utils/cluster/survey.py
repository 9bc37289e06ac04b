# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Before the first migration: what is asked, what is there, and everything that speaks against it.

Whatever can be known beforehand is a failure here, before anything was created.
"""

from __future__ import annotations

import re

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.watch import Watch
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import migration, settings
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.progress import Progress
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import (
    format_bytes,
    format_duration,
    parse_duration,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.target_pod import guest_memory

GV = "kubevirt.io/v1"
BIG = 256 * 1024 ** 3  # above this nobody should wait by a default
_RUN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


ANYWHERE = migration.Place(None, {}, ())


class Move:
    """One VM and what becomes of it; filled by the survey, carried on by the engine."""

    def __init__(self, namespace, name, place):
        self.namespace, self.name, self.place = namespace, name, place
        self.where = (namespace, name)
        self.before = None  # uid of the VMI when we began
        self.source = None  # the node it was on then
        self.memory = 0  # bytes
        self.selector = None  # the node selector its VMIM needs
        self.vmim_name = self.vmim_uid = self.vmim = None  # vmim: the object as last seen
        self.ours = True
        self.adopted = False
        self.created = False  # by this task
        self.waiting_since = None  # for a slot, with no migration of ours under way
        self.source_pod = None
        self.copying_since = None  # epoch, while it copies
        self.progress = Progress()
        self.gated = False
        self.cancelled_at = None
        self.ending = None  # its outcome once the cancel has succeeded
        self.unclear_since = None
        self.evacuation = None  # cancelled | returns
        self.outcome = None
        self.cause = None
        self.state = {}  # its migration state as last seen

    def __str__(self):
        return "%s/%s" % self.where

    def follow(self, vmim):
        """Take this VMIM as the one that moves the VM."""
        self.vmim, self.vmim_name, self.vmim_uid = vmim, vmim["metadata"]["name"], migration.uid(vmim)
        self.ours = migration.is_ours(vmim)


class Survey:
    """What was found: ``moves``, the two (not yet opened) watches, nodes by name, limits, grants."""

    def __init__(self, task, inbox):
        self._params, self._api, self._inbox = task.params, task.api, inbox
        self.times = _times(task.params)
        self.deadline = _deadline(task)
        self.state = task.params["state"]
        self.moves = [Move(*row) for row in wanted(task.params)]
        if not self.moves and not self._all_of_ours():
            return
        try:
            self._read()
        except errors.NotFound as exc:
            raise errors.BadInput(
                "The cluster at %s has no KubeVirt: it does not know virtual machine instances." % self._api.host,
                "Check that the connection points to the right cluster.") from exc
        self._judge()

    def _all_of_ours(self):
        return self.state == "followed" and self._params["vms"] is None and not self._params["name"]

    # -- reading ---------------------------------------------------------------

    def _read(self):
        namespaces = {move.namespace for move in self.moves} or {self._params["namespace"]}
        only = next(iter(namespaces)) if len(namespaces) == 1 else None
        self.vmims = self._list_vmims(only)
        if self._all_of_ours():
            self.moves = self._moves_of_ours(only)
            only = self.moves[0].namespace if len({move.namespace for move in self.moves}) == 1 else only
        query = {"fieldSelector": "metadata.name=%s" % self.moves[0].name} if len(self.moves) == 1 else {}
        self.vmis = Watch(self._api, self._inbox, path_of(GV, "virtualmachineinstances", only), **query)
        self.vmis.list()
        if self.state != "aborted":  # which needs no more, and must not fail for want of other rights
            self._read_cluster()

    def _read_cluster(self):
        kubevirts = self._api.list(path_of(GV, "kubevirts")).items
        if not kubevirts:
            raise errors.BadInput("The cluster at %s has the KubeVirt API but no KubeVirt object." % self._api.host,
                                  "Install OpenShift Virtualization (KubeVirt) first, or check the connection.")
        found = ((kubevirts[0].get("spec") or {}).get("configuration") or {}).get("migrations")
        version = (kubevirts[0].get("status") or {}).get("observedKubeVirtVersion")
        self.settings = settings.in_force(found, version)
        self.limits = (self.settings["parallel_migrations_per_cluster"],
                       self.settings["parallel_outbound_migrations_per_node"])
        self.nodes = {node["metadata"]["name"]: node for node in self._api.list("/api/v1/nodes").items}

    def _list_vmims(self, only):
        """All of the cluster, for the slots; with rights in one namespace only, that one: KubeVirt queues the rest."""
        for namespace in (None, only):
            watch = Watch(self._api, self._inbox, path_of(GV, "virtualmachineinstancemigrations", namespace))
            try:
                watch.list()
                return watch
            except errors.Forbidden:
                if namespace == only:
                    raise
        return None

    def _moves_of_ours(self, only):
        run, found = self._params["run"], {}
        for vmim in self.vmims.objects.values():
            labels = vmim["metadata"].get("labels") or {}
            where = migration.vmi_key(vmim)
            if (migration.is_ours(vmim) and migration.phase(vmim) not in migration.FINAL and only in (None, where[0])
                    and run in (None, labels.get(migration.RUN_LABEL))):
                found[where] = Move(where[0], where[1], ANYWHERE)
        return list(found.values())

    # -- judging ---------------------------------------------------------------

    def _judge(self):
        problems = []
        for move in self.moves:
            vmi = self.vmis.objects.get(move.where)
            problem = self._absent(move) if vmi is None and not self._all_of_ours() else None
            if vmi is not None:
                move.before, move.source, move.memory = migration.uid(vmi), migration.node_of(vmi), guest_memory(vmi)
                problem = self._vmi_problem(vmi) or self._move_problem(move) if self.state == "migrated" else None
            if problem:
                problems.append((move, problem))
        if problems:
            raise _several(problems)
        if self.state != "migrated":
            self._find_unfinished()
        elif any(move.outcome is None for move in self.moves):
            self._judge_limits()

    def _absent(self, move):
        try:
            vm = self._api.get(path_of(GV, "virtualmachines", move.namespace, move.name))
        except errors.NotFound:
            return ("there is no such VM", "Check name and namespace.")
        if self.state != "migrated":
            return None
        said = (vm.get("status") or {}).get("printableStatus") or "not running"
        return ("it is not running (%s), so there is nothing to migrate live" % said,
                "Start it first; it will then be placed on a suitable node anyway.")

    @staticmethod
    def _vmi_problem(vmi):
        status = vmi.get("status") or {}
        if vmi["metadata"].get("deletionTimestamp"):
            return ("it is being stopped", "Wait until it has stopped or is running again.")
        if status.get("phase") != "Running" or not status.get("nodeName"):
            return ("it is not running (phase %s)" % (status.get("phase") or "unknown"),
                    "Wait until it runs, or look at its conditions.")
        return None

    def _move_problem(self, move):
        problem = self._place_problem(move.place)
        if problem:
            return problem
        labels = self.nodes.get(move.source, {}).get("metadata", {}).get("labels") or {}
        under_way = migration.unfinished(self.vmims.objects.values(), move.where)
        if migration.is_there(move.place, move.source, labels) and not under_way:
            move.outcome = "already_there"
            return None
        problem = self._target_problem(move) or self._size_problem(move)
        if problem:
            return problem
        move.selector = migration.added_selector(move.place, self.nodes)
        return self._adopt(move, under_way[0]) if under_way else None

    def _place_problem(self, place):
        named = ([place.node] if place.node else []) + list(place.away_from)
        unknown = [name for name in named if name not in self.nodes]
        if unknown:
            return ("node %s does not exist" % ", ".join(unknown), "The nodes are %s." % _listed(self.nodes))
        return None

    def _target_problem(self, move):
        if move.place.node:
            problem = migration.node_problem(self.nodes[move.place.node])
            return problem and ("its target node %s %s" % (move.place.node, problem),
                                "Choose another target, or repair this one.")
        if move.place.selector:
            fitting = [name for name, node in self.nodes.items() if name != move.source
                       and migration.is_there(move.place, name, node["metadata"].get("labels") or {})]
            if not any(migration.node_problem(self.nodes[name]) is None for name in fitting):
                return ("no other usable node has the labels of target_node_selector",
                        "Nodes with them: %s." % (_listed(fitting) or "none"))
        return None

    def _size_problem(self, move):
        if move.memory <= BIG or self.times["timeout"] or self.deadline:
            return None
        granted = settings.budget_seconds(self.settings["completion_timeout_per_gib"], move.memory)
        return ("it has %s and KubeVirt grants it %s: that must not be waited for by default"
                % (format_bytes(move.memory), format_duration(granted) if granted else "unlimited time"),
                "Give timeout (for example 4h) or deadline (for example 2026-11-22T04:30:00+01:00).")

    def _adopt(self, move, vmim):
        state = migration.migration_state(self.vmis.objects[move.where], migration.uid(vmim), vmim)
        unfit = migration.fits(vmim, state, move.place, self.nodes)
        if unfit:
            whose = "an earlier run" if migration.is_ours(vmim) else "somebody else"
            return ("%s is migrating it already (%s, phase %s), and that migration %s"
                    % (whose, vmim["metadata"]["name"], migration.phase(vmim) or "new", unfit),
                    "Wait until it has ended, or cancel it with state=aborted.")
        move.follow(vmim)
        move.adopted = True
        return None

    def _find_unfinished(self):
        moves = []
        for move in self.moves:
            found = migration.unfinished(self.vmims.objects.values(), move.where)
            for index, vmim in enumerate(found):
                if index:  # more than one: KubeVirt queues a second one in a race
                    move = _copy(move)
                move.follow(vmim)
                move.adopted = True
                moves.append(move)
            if not found:
                move.outcome = "nothing_under_way"
                moves.append(move)
        self.moves = moves

    def _judge_limits(self):
        for value, name in zip(self.limits, ("parallelMigrationsPerCluster", "parallelOutboundMigrationsPerNode")):
            if value < 1:
                raise errors.Refused("%s is %s: no migration would ever start." % (name, value),
                                     "Set it to 1 or more (hco_live_migration_config), then run again.")


def _copy(move):
    other = Move(move.namespace, move.name, move.place)
    other.before, other.source, other.memory = move.before, move.source, move.memory
    return other


# -- what is asked --------------------------------------------------------------------


def wanted(params):
    """The VMs and their places as the options say, ``[(namespace, name, Place)]``.

    :raises BadInput: for what contradicts itself, or could not be meant.
    """
    _check_numbers(params)
    rows = params["vms"]
    if rows is None:
        rows = [{"name": params["name"], "namespace": params["namespace"]}] if params["name"] else []
    found = {}
    for row in rows:
        where = (row.get("namespace"), row.get("name"))
        if not all(isinstance(part, str) and part for part in where):
            raise errors.BadInput("An entry of vms lacks name or namespace: %s." % (row,), "Give both, as text.")
        if where in found:
            raise errors.BadInput("VM %s/%s is named twice." % where, "Name each VM once.")
        found[where] = _place(params, row.get("target_node") or params["target_node"], where)
    return [where + (place,) for where, place in found.items()]


def _place(params, node, where):
    selector, away_from = dict(params["target_node_selector"] or {}), tuple(params["away_from"] or ())
    if params["state"] != "migrated":
        return ANYWHERE
    if not (node or selector or away_from):
        raise errors.BadInput(
            "It is not said where VM %s/%s should be." % where,
            "Give target_node, target_node_selector or away_from; without, the VM would move again with each run.")
    if node and selector:
        raise errors.BadInput("VM %s/%s has both a target_node and a target_node_selector." % where,
                              "Give one of them.")
    if node in away_from:
        raise errors.BadInput("VM %s/%s should go to %s and be away from it." % (where + (node,)),
                              "Take the node out of target_node or out of away_from.")
    return migration.Place(node, selector, away_from)


def _check_numbers(params):
    for name, least in (("max_parallel", 1), ("progress_interval", 0)):
        if params[name] is not None and params[name] < least:
            raise errors.BadInput("%s is %s." % (name, params[name]), "It takes a whole number from %d." % least)
    if params["run"] is not None and not _RUN.fullmatch(params["run"]):
        raise errors.BadInput(
            "The run id '%s' cannot be a label." % params["run"],
            "Use up to 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit.")


def _times(params):
    """``{queue_timeout, timeout}`` in seconds; timeout may be None."""
    found = {}
    for name in ("queue_timeout", "timeout"):
        try:
            found[name] = parse_duration(params[name]) if params[name] else None
        except ValueError as exc:
            raise errors.BadInput("%s: %s." % (name, exc), "Write it like 14400, 90min or 4h.") from exc
        if params[name] and not found[name]:
            raise errors.BadInput("%s is %s." % (name, params[name]), "It takes more than no time.")
    return found


def _deadline(task):
    text = task.params["deadline"]
    if not text:
        return None
    moment = from_timestamp(text)
    if moment <= task.clock.now():
        raise errors.BadInput("The deadline %s has passed." % text, "Give a time that is still to come.")
    return moment


def _several(problems):
    lines = ["VM %s cannot be migrated: %s." % (move, message) for move, (message, _remedy) in problems]
    shown = lines if len(lines) <= 10 else lines[:10] + ["And %d more." % (len(lines) - 10)]
    remedies = list(dict.fromkeys(remedy for _move, (_message, remedy) in problems))
    return errors.BadInput(" ".join(shown + ["Nothing was created."]), " ".join(remedies[:3]), problems=lines)


def _listed(names):
    names = sorted(names)
    return ", ".join(names[:10]) + (" and %d more" % (len(names) - 10) if len(names) > 10 else "")
