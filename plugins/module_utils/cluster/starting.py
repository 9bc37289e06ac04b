# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Creating VMIMs: first all as a dry run, then as many as there is room for."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.survey import GV, VMIMS
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import causes, migration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import labels


class Starter:
    """For one task.

    :param ending: :class:`.ending.Ending`.
    :param brakes: :class:`.brakes.Brakes`.
    """

    def __init__(self, task, survey, ending, brakes):
        self._task, self._api, self._survey, self._ending, self._brakes = task, task.api, survey, ending, brakes
        self._max_parallel, self._run = task.params["max_parallel"], task.params["run"]

    def try_out(self, moves):
        """Create every VMIM as a dry run: rights, admission and the target are known before the first real one."""
        refused = []
        for move in moves:
            try:
                answer = self._api.create(_collection(move), self._body(move), dryRun="All")
            except errors.Forbidden as exc:
                raise errors.Forbidden(
                    exc.message, "Bind the ClusterRole kubevirt.io:migrate in namespace %s (from KubeVirt 1.5 on the "
                    "roles admin and edit no longer include it). Nothing was created." % move.namespace,
                    status=exc.status, reason=exc.reason) from exc
            except (errors.Rejected, errors.Conflict, errors.Overloaded) as exc:
                refused.append((move, _refusal(exc)))
                continue
            if move.selector and (answer.get("spec") or {}).get("addedNodeSelector") != move.selector:
                raise errors.Refused(
                    "This KubeVirt cannot be told where a VM shall go: its API drops addedNodeSelector, and VM %s "
                    "would move to any node." % move,
                    "Nothing was created. Use away_from and cordon the nodes that must not receive it, or upgrade to "
                    "KubeVirt 1.6 or later.")
        if refused:
            said = ["VM %s cannot be migrated: %s." % (move, cause["message"]) for move, cause in refused]
            raise errors.Refused(
                " ".join(said + ["Nothing was created."]),
                " ".join(dict.fromkeys(cause["remedy"] for _move, cause in refused)),
                causes=[dict(cause, namespace=move.namespace, name=move.name) for move, cause in refused])

    def start(self, waiting, started, now):
        """Create VMIMs for as many waiting moves as there is room for.

        :param started: the moves whose VMIM has not ended; those begun here are added.
        """
        if any(move.unclear_since is not None for move in started):
            return  # perhaps a VM was lost: nothing more before that is clear
        looked = False
        for move in waiting:
            if not self._ending.stopped:
                if self._overtaken(move, started):
                    continue
                room = self._room(move, started)
                if not looked:  # once for all that are started at this moment
                    self._ending.stopped, looked = self._reason(room, started, now), room
            if self._ending.stopped:
                self._ending.finish(move, "not_started", self._ending.stopped)
            elif room and not self._brakes.waits_for:
                self._create(move)
                if move.outcome is None:
                    started.append(move)
            else:
                self._wait(move, started, now)

    def _overtaken(self, move, started):
        """Whether there is nothing to start any more, because somebody else moves or moved the VM, or it is another."""
        vmi = self._survey.vmis.objects.get(move.where)
        if vmi is None or migration.uid(vmi) != move.before:
            self._ending.finish(move, "failed", causes.changed_before())
            return True
        found = self._unfinished(move)
        if found:
            if self._survey.adopt(move, found[0]) is None:
                started.append(move)
            return move.adopted
        node = migration.node_of(vmi)
        if node != move.source and migration.is_there(move.place, node, labels(self._survey.nodes.get(node))):
            self._ending.finish(move, "already_there")
            return True
        move.source = node
        return False

    def _unfinished(self, move):
        return migration.unfinished(self._survey.vmims.objects.values(), move.where)

    def _room(self, move, started):
        """Whether it may start out of its node. KubeVirt would queue it otherwise, before those of others."""
        if (self._max_parallel and len(started) >= self._max_parallel) or self._unfinished(move):
            return False
        if self._survey.partner_moving(move):
            return False
        return self._survey.free_slots(move.source, [other.vmim_uid for other in started]) > 0

    def _reason(self, room, started, now):
        """Why no more are started, or None."""
        if room:
            return self._brakes.reason(now)
        # What waits for others, with nothing of ours under way, is not kept from a soft stop.
        return self._brakes.time_reason(now) or (None if started else self._brakes.seldom_reason(now))

    def _wait(self, move, started, now):
        """Its patience counts while nothing of ours is under way."""
        patience = self._survey.times["queue_timeout"]
        if started:
            move.waiting_since = None
        elif move.waiting_since is None:
            move.waiting_since = now
        elif now - move.waiting_since >= patience:
            self._ending.finish(move, "queued_too_long", self._waited_for(move, patience))

    def _waited_for(self, move, patience):
        """The cause why it could not be started."""
        partner = self._survey.partner_moving(move)
        if partner:
            return causes.partner_moving(partner, patience)
        holders = migration.holders(self._survey.vmims.objects.values())
        return self._brakes.waits_for or causes.no_slot(self._survey.limits, patience, holders)

    def _create(self, move):
        """One VMIM, and never two: when the answer gets lost, the server is asked before it is sent again."""
        known = {migration.uid(vmim) for vmim in self._survey.vmims.objects.values()}

        def found():
            for vmim in self._api.list(_collection(move)).items:
                ours = migration.vmi_key(vmim) == move.where and migration.is_ours(vmim)
                if ours and migration.uid(vmim) not in known:
                    return vmim
            return None

        try:
            vmim = self._api.create(_collection(move), self._body(move), found=found)
        except errors.ApiError as exc:
            self._ending.finish(move, "failed", _refusal(exc))
            return
        move.created = True
        move.follow(vmim)
        self._survey.vmims.objects[migration.key(vmim)] = vmim  # before the watch tells, so that it counts as a slot

    def _body(self, move):
        return migration.body(move.namespace, move.name, move.selector, self._run)


def _collection(move):
    return path_of(GV, VMIMS, move.namespace)


def _refusal(exc):
    return causes.refusal_cause(exc.details.get("said") or exc.message)
