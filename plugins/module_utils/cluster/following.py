# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looking at one move: where it stands, whether it is the migration that was planned, and what follows from that."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import (
    causes,
    critical,
    handoff,
    migration,
    progress,
    settings,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_duration

MARGIN = 900  # seconds beyond the time KubeVirt grants: it should act first
CANCEL_PATIENCE = 900  # seconds in which a cancel must have ended
SETTLE = 120  # seconds in which VMI and VMIM must come to agree at the end
RESTART_GRACE = 180  # seconds in which a VM that is gone may come back as another VMI


class Follower:
    """For one task.

    :param ending: :class:`.ending.Ending`.

    ``began`` is when following began (epoch); set it first.
    """

    def __init__(self, task, survey, ending):
        self._task, self._api, self._survey, self._ending = task, task.api, survey, ending
        self.began = 0

    def look(self, move, now):
        """Where one move stands, and what follows from it."""
        vmi, vmim = self._vmi(move), self._survey.vmims.objects.get((move.namespace, move.vmim_name))
        vmim = vmim if vmim and migration.uid(vmim) == move.vmim_uid else None
        move.vmim = vmim or move.vmim
        move.state = migration.migration_state(vmi, move.vmim_uid, move.vmim) or move.state
        self._note_copy(move, now)
        self._note_mode(move, vmi, now)
        stands = migration.standing(move.before, vmi, vmim, move.vmim_uid)
        if stands.word in ("gone", "settling"):
            self._unclear(move, stands, now)
            return
        move.unclear_since = None
        if stands.word == "going":
            self._mind(move, now)
        elif stands.word == "failed" and move.cancelled_at is not None:
            self._ending.finish(move, move.ending, move.cause)
        elif stands.word == "failed":
            self._ending.finish(move, "failed", causes.name_cause(
                vmi, move.vmim, move.vmim_uid, *self._evidence(move), granted=self._granted(move),
                sample=move.progress.last))
        elif stands.word == "moved":
            self._moved(move)
        else:
            self._ending.finish(move, "restarted", causes.not_here())

    def next_moments(self, move):
        """When something is due for it even if nothing is heard."""
        moments = [move.cancelled_at + CANCEL_PATIENCE] if move.cancelled_at is not None else [
            row[0] for row in (self._limit(move), self._pause_limit(move)) if row]
        if move.unclear_since is not None:
            moments += [move.unclear_since + RESTART_GRACE, move.unclear_since + SETTLE]
        return moments

    def _vmi(self, move):
        return self._survey.vmis.objects.get(move.where)

    # -- what is seen --------------------------------------------------------------

    def _note_copy(self, move, now):
        """Since when it copies, and whose log tells about it."""
        copied = (move.vmim.get("status") or {}).get("migrationState") or {}
        move.source_pod = move.state.get("sourcePod") or copied.get("sourcePod")
        if migration.phase(move.vmim) != "Running" or move.state.get("endTimestamp"):
            move.copying_since = None
        elif move.copying_since is None:
            began = move.state.get("startTimestamp") or migration.transitions(move.vmim).get("Running")
            move.copying_since = min(now, from_timestamp(began)) if began else now

    def _note_mode(self, move, vmi, now):
        """Post-copy and a pause are said loudly at once, whether or not they are allowed."""
        over = move.state.get("endTimestamp")
        if move.paused_since is not None and (over or move.mode != "Paused"):
            move.paused_seconds += max(0, (from_timestamp(over) if over else now) - move.paused_since)
            move.paused_since = None
        if over or move.mode not in ("PostCopy", "Paused"):
            return
        if move.mode == "Paused" and move.paused_since is None:
            said = migration.condition(vmi or {}, "Paused")  # a guest may have been paused by somebody long before
            since = said.get("lastTransitionTime") if said.get("reason") == "PausedByMigrationMonitor" else None
            move.paused_since = min(now, from_timestamp(since)) if since else now
        if move.mode not in move.alarmed:
            move.alarmed.add(move.mode)
            self._alarm(move)

    def _alarm(self, move):
        asked = self._survey.asked.acknowledged
        if move.mode == "PostCopy":
            what, known = "PostCopy", critical.POST_COPY in asked
            text = ("is in post-copy: it runs on %s without all of its memory, is lost if a node or the link fails now, "
                    "and can no longer be cancelled" % move.state.get("targetNode"))
        else:
            known = critical.DISRUPTION in asked
            what = "Paused" if known or not move.ours else "cancelled pause"
            text = "was paused by KubeVirt to end the copy"
        if self._task.params["progress_interval"]:
            self._task.say(progress.alarm_line(str(move), what))
        self._task.warn("VM %s %s%s." % (move, text, "" if known else "; nobody had acknowledged that"))

    def _unclear(self, move, stands, now):
        """The VMI is gone, or the objects do not agree (yet): give it a moment, then say what is known."""
        if move.unclear_since is None:
            move.unclear_since = now
        if now - move.unclear_since < (RESTART_GRACE if stands.word == "gone" else SETTLE):
            return
        if stands.word == "gone":
            self._ending.finish(move, "restarted", causes.stopped(stands.detail))
            return
        node = migration.node_of(self._vmi(move))
        if move.state.get("completed") and not move.state.get("failed") and node == move.state.get("targetNode"):
            self._task.warn("VM %s runs on %s, but KubeVirt does not end its migration %s: a change of CPUs or memory "
                            "may be pending." % (move, node, move.vmim_name))
            self._ending.finish(move, "moved")
        else:
            self._ending.finish(move, "failed", causes.unverified(node))

    def _moved(self, move):
        wrong = migration.handoff_problem(move.state, move.place, self._survey.nodes)
        if wrong:
            self._ending.finish(move, "failed", causes.wrong_target(wrong))
            return
        if move.cancelled_at is not None:
            self._task.warn("VM %s had arrived before it could be cancelled; the reason was: %s."
                            % (move, move.cause["message"] if move.cause else "it was asked for"))
        self._ending.finish(move, "moved", move.cause)

    def _evidence(self, move):
        """``(target pod or None, [events])``, as far as they can be read."""
        core = "/api/v1/namespaces/%s/" % move.namespace
        pods = self._try_list(core + "pods", labelSelector="kubevirt.io/migrationJobUID=%s" % move.vmim_uid)
        events = []
        for uid in [move.vmim_uid, move.before] + [migration.uid(pod) for pod in pods]:
            events += self._try_list(core + "events", fieldSelector="involvedObject.uid=%s" % uid)
        since = migration.transitions(move.vmim).get("") or ""
        recent = [event for event in events if (event.get("lastTimestamp") or event.get("eventTime") or since) >= since]
        return (pods[0] if pods else None), recent

    def _try_list(self, path, **query):
        try:
            return self._api.list(path, **query).items
        except errors.ApiError:
            return []  # a cause can be named without it, only less well

    # -- what follows ----------------------------------------------------------------

    def _mind(self, move, now):
        """The patience with a cancel; the gate at handoff; a pause; time-outs."""
        if move.cancelled_at is not None:
            waited = now - move.cancelled_at
            if waited >= CANCEL_PATIENCE:
                self._ending.finish(move, "failed", causes.cancel_stuck(waited, migration.phase(move.vmim)))
            return
        cause = self._gate(move)
        if cause:
            self._ending.give_up(move, now, cause, "aborted", always=True)
            return
        pause, limit = self._pause_limit(move), self._limit(move)
        if pause and now >= pause[0]:
            self._ending.give_up(move, now, pause[1], "aborted", always=True)
        elif limit and now >= limit[0]:
            cause = limit[1]
            if limit[2] == "queued_too_long":  # what exactly holds it is worth a look at events, once
                cause = causes.queued_too_long(move.vmim, self._survey.times["queue_timeout"], self._evidence(move)[1])
            self._ending.give_up(move, now, cause, limit[2])

    def _gate(self, move):
        """Why it must not go on now that it is known what it is (:mod:`..domain.handoff`), or None.

        What somebody else started is only told, and so is what can no longer be cancelled. Each part is looked at once.
        """
        if not move.state or self._survey.state != "migrated":
            return None
        found = []
        if "settings" not in move.passed:
            wrong = migration.handoff_problem(move.state, move.place, self._survey.nodes)
            if wrong:
                return causes.wrong_target(wrong)
            beside = self._survey.beside_partner(move, move.state.get("targetNode"))
            found += [causes.wrong_target(beside)] if beside else self._wrong_settings(move)
        if "address" not in move.passed:
            found += self._wrong_address(move)
        if found and move.ours and move.mode != "PostCopy":
            return found[0]
        move.passed.add("settings")
        if move.state.get("targetNodeAddress"):
            move.passed.add("address")
        for cause in found:
            self._tell(move, cause)
        return None

    def _wrong_settings(self, move):
        values = handoff.settings_of(move.state)
        dangers = self._survey.dangers(move, values) if values else []
        if dangers:
            return [causes.dangerous(dangers)]
        differences = handoff.differences(move.state, move.expected) if move.expected else []
        if not differences:
            return []
        cause = causes.not_as_planned(differences)
        if move.late and not move.expected.given:  # it began before we did, when perhaps other settings were in force
            self._tell(move, cause)
            return []
        return [cause]

    def _wrong_address(self, move):
        if self._survey.addresses is None:
            return []
        problem = handoff.address_problem(move.state, self._survey.addresses, self._survey.network)
        if problem:
            self._survey.read_addresses()  # a virt-handler that was replaced has another one
            problem = handoff.address_problem(move.state, self._survey.addresses, self._survey.network)
        return [causes.wrong_network(problem)] if problem else []

    def _tell(self, move, cause):
        self._task.warn("VM %s goes on although %s. %s" % (move, cause["message"], cause["remedy"]))

    # -- time ------------------------------------------------------------------------

    def _pause_limit(self, move):
        """``(epoch, cause)``: until when the guest may stay paused; None when it is not, or is not ours to end."""
        if move.paused_since is None or not move.ours:
            return None
        if critical.DISRUPTION not in self._survey.asked.acknowledged:
            return move.paused_since, causes.paused_unasked()
        most = self._survey.times["max_pause"]
        return move.paused_since + most, causes.paused_too_long(most)

    def _limit(self, move):
        """``(epoch, cause, outcome)``: until when it may go on as it stands, and what becomes of it then, or None."""
        moments = move.moments()
        begun = [at for phase, at in moments.items() if phase not in migration.QUEUED]
        timeout, patience = self._survey.times["timeout"], self._survey.times["queue_timeout"]
        granted, limits = self._granted(move), []

        def slow(at, code, message):
            limits.append((at, causes.too_slow(code, message, move.progress), "aborted"))

        if not begun:
            queued = max(moments[""], self.began)  # an adopted one is given its patience anew
            limits.append((queued + patience, causes.queued_too_long(move.vmim, patience), "queued_too_long"))
        elif timeout:
            slow(min(begun) + timeout, "timeout", "its timeout of %s was over" % format_duration(timeout))
        elif "Running" in moments and granted:
            slow(moments["Running"] + granted + MARGIN, "overdue",
                 "the %s that KubeVirt grants were over, and KubeVirt did not act" % format_duration(granted))
        if self._survey.end:
            reserve = self._survey.times["reserve"]
            slow(self._survey.end, "deadline", "the deadline had come" if not reserve else
                 "the deadline less the %s that are kept free had come" % format_duration(reserve))
        return min(limits, key=lambda row: row[0]) if limits else None

    def _granted(self, move):
        """Seconds KubeVirt grants this copy; twice as many once it has paused the guest. None: unlimited."""
        config = move.state.get("migrationConfiguration") or {}
        per_gib = config.get("completionTimeoutPerGiB", move.settings.get(
            "completion_timeout_per_gib", self._survey.settings.get("completion_timeout_per_gib")))
        granted = settings.budget_seconds(per_gib, move.memory)
        return granted * 2 if granted and move.mode == "Paused" else granted
