# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Moving VMs live: start what fits, follow it by watching, end what takes too long, tell how each one ended.

The loop owns everything; other threads only read (:mod:`.watch`). When this
process dies, the migrations go on: nothing is cancelled on the way out, and the
next run adopts what it finds.
"""

from __future__ import annotations

import queue

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.survey import GV, Survey
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.telemetry import Logs, Prometheus, Silent
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import causes, migration, progress, settings
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_duration

MARGIN = 900  # seconds beyond the time KubeVirt grants: it should act first
CANCEL_PATIENCE = 900  # seconds in which a cancel must have ended
SETTLE = 120  # seconds in which VMI and VMIM must come to agree at the end
RESTART_GRACE = 60  # seconds in which a VM that is gone may come back as another VMI
TRY_AGAIN = 60  # seconds between two attempts at what the API would not take
VMIMS = "virtualmachineinstancemigrations"
FINE = ("moved", "already_there", "nothing_under_way", "would_move", "would_follow", "would_abort")
CHANGED = ("moved", "restarted", "would_move", "would_follow", "would_abort")


def run(task):
    """The work of the module migrate_vmi: ``{changed, migrations: [...]}``.

    :raises LiveMigrationError: with ``changed`` and ``migrations`` in its details once anything was begun.
    """
    inbox = queue.Queue()
    survey = Survey(task, inbox)
    engine = Engine(task, survey, inbox)
    try:
        if survey.moves:
            {"migrated": engine.migrate, "aborted": engine.abort, "followed": engine.follow}[survey.state]()
    except errors.ApiError as exc:
        if not engine.begun():
            raise
        raise type(exc)(
            exc.message, "What was begun goes on in the cluster: run the same task again to follow it. %s"
            % (exc.remedy or ""), status=exc.status, reason=exc.reason, changed=True, migrations=engine.rows()) from exc
    return engine.result()


class Engine:
    """All moves of one task."""

    def __init__(self, task, survey, inbox):
        self._task, self._survey, self._inbox = task, survey, inbox
        self._api, self._params = task.api, task.params
        self.moves = survey.moves
        self._stopped = None  # the cause why no more are started
        self._telemetry = Silent()
        self._next_line = None
        self._began = 0  # when following began

    # -- the three jobs --------------------------------------------------------------

    def migrate(self):
        """Bring every VM to its place."""
        begin = [move for move in self._open() if not move.adopted]
        self._try_out(begin)
        if self._task.check_mode:
            for move in begin:
                move.outcome = "would_move"
        self.follow()

    def abort(self):
        """Cancel what is under way, and see it through."""
        for move in self.moves:
            self._stop_evacuation(move)
        for move in self._open():
            if self._task.check_mode:
                move.outcome = "would_abort"
            elif migration.migration_state(self._vmi(move), move.vmim_uid).get("mode") == "PostCopy":
                self._finish(move, "failed", causes.post_copy())
            else:
                self._cancel(move, self._task.clock.now(), None, "aborted")
        self.follow()

    def follow(self):
        """Until every move has an outcome."""
        if self._task.check_mode:
            for move in self._open():
                move.outcome = "would_follow"
        if not self._open():
            return
        self._prepare_lines()
        watches = (self._survey.vmims, self._survey.vmis)
        try:
            for watch in watches:
                watch.open()
            now = self._began = self._task.clock.now()
            while self._step(now, watches):
                item = self._task.clock.wait(self._inbox, self._next_moment(watches, now) - now)
                now = self._task.clock.now()
                if item is not None:
                    item.watch.take(item, now)
        finally:
            for watch in watches:
                watch.close()
            self._telemetry.close()

    # -- the result ------------------------------------------------------------------

    def begun(self):
        """Whether this task has created or cancelled anything."""
        return any(move.created or move.cancelled_at is not None or move.evacuation == "cancelled"
                   for move in self.moves)

    def rows(self):
        """What is known about each move, as the module returns it."""
        return [_row(move, self._vmi(move)) for move in self.moves]

    def result(self):
        """What the module returns, or raises."""
        changed = self.begun() or any(move.outcome in CHANGED for move in self.moves)
        fine = FINE + (("aborted",) if self._survey.state == "aborted" else ())
        bad = [move for move in self.moves if move.outcome not in fine]
        if not bad:
            return {"changed": changed, "migrations": self.rows()}
        raise errors.LiveMigrationError(*self._failure(bad), changed=changed, migrations=self.rows())

    def _failure(self, bad):
        """``(message, remedy)`` for the moves that did not end as asked."""
        said = [_said(move, self._vmi(move)) for move in bad]
        if len(said) > 10:
            said = said[:10] + ["And %d more." % (len(said) - 10)]
        if len(self.moves) > 1:
            said.insert(0, "%d of %d VMs did not end as asked." % (len(bad), len(self.moves)))
        remedies = list(dict.fromkeys(move.cause["remedy"] for move in bad if move.cause))
        return " ".join(said), " ".join(remedies[:3])

    # -- before anything is created ----------------------------------------------------

    def _try_out(self, moves):
        """Create every VMIM as a dry run: rights, admission and the target are known before the first real one."""
        refused = []
        for move in moves:
            try:
                answer = self._api.create(self._collection(move), self._body(move), dryRun="All")
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

    # -- the loop ------------------------------------------------------------------------

    def _step(self, now, watches):
        """One look at everything; whether there is more to wait for."""
        for watch in watches:
            watch.tend(now)
        for move in self._started():
            self._look(move, now)
        self._start(now)
        self._telemetry.update(self._started(), now)
        self._say_lines(now)
        return bool(self._open())

    def _open(self):
        return [move for move in self.moves if move.outcome is None]

    def _started(self):
        return [move for move in self._open() if move.vmim_uid]

    def _vmi(self, move):
        return self._survey.vmis.objects.get(move.where)

    def _next_moment(self, watches, now):
        """When something is due even if nothing is heard."""
        moments = [source.next_moment() for source in watches + (self._telemetry,)] + [self._next_line, now + TRY_AGAIN]
        patience = self._survey.times["queue_timeout"]
        for move in self._open():
            if not move.vmim_uid:
                moments += [self._survey.deadline, move.waiting_since and move.waiting_since + patience]
            elif move.cancelled_at is not None:
                moments.append(move.cancelled_at + CANCEL_PATIENCE)
            else:
                moments.append(self._limit(move)[0])
            if move.unclear_since is not None:
                moments += [move.unclear_since + RESTART_GRACE, move.unclear_since + SETTLE]
        return min(moment for moment in moments if moment is not None and moment > now)

    # -- starting ------------------------------------------------------------------------

    def _start(self, now):
        """Create VMIMs for as many waiting moves as there is room for."""
        if self._survey.deadline and now >= self._survey.deadline:
            self._stopped = self._stopped or causes.too_late()
        patience = self._survey.times["queue_timeout"]
        for move in [move for move in self._open() if not move.vmim_uid]:
            if self._stopped:
                self._finish(move, "not_started", self._stopped)
            elif self._room(move.source):
                self._create(move)
            elif self._started():
                move.waiting_since = None
            elif move.waiting_since is None:
                move.waiting_since = now
            elif now - move.waiting_since >= patience:
                holders = migration.holders(self._survey.vmims.objects.values())
                self._finish(move, "queued_too_long", causes.no_slot(self._survey.limits, patience, holders))

    def _room(self, source):
        """Whether one more may start out of that node. KubeVirt would queue it otherwise, before those of others."""
        started = self._started()
        if self._params["max_parallel"] and len(started) >= self._params["max_parallel"]:
            return False
        free = migration.free_slots(
            self._survey.vmims.objects.values(), self._survey.vmis.objects, self._survey.limits, source,
            [move.vmim_uid for move in started])
        return free > 0

    def _create(self, move):
        """One VMIM; after an answer that got lost, look whether it was created all the same."""
        try:
            vmim = self._api.create(self._collection(move), self._body(move))
        except (errors.Unreachable, errors.Overloaded) as exc:
            found = migration.unfinished(self._api.list(self._collection(move)).items, move.where)
            vmim = next((one for one in found if migration.is_ours(one)), None)
            if vmim is None:
                self._finish(move, "failed", _refusal(exc))
                return
        except errors.ApiError as exc:
            self._finish(move, "failed", _refusal(exc))
            return
        move.created = True
        move.follow(vmim)
        self._survey.vmims.objects[migration.key(vmim)] = vmim  # before the watch tells, so that it counts as a slot

    def _body(self, move):
        return migration.body(move.namespace, move.name, move.selector, self._params["run"])

    @staticmethod
    def _collection(move):
        return path_of(GV, VMIMS, move.namespace)

    # -- looking ---------------------------------------------------------------------------

    def _look(self, move, now):
        """Where one move stands, and what follows from it."""
        vmi, vmim = self._vmi(move), self._survey.vmims.objects.get((move.namespace, move.vmim_name))
        vmim = vmim if vmim and migration.uid(vmim) == move.vmim_uid else None
        move.vmim = vmim or move.vmim
        move.state = migration.migration_state(vmi, move.vmim_uid, move.vmim) or move.state
        self._note_copy(move, now)
        stands = migration.standing(move.before, vmi, vmim, move.vmim_uid)
        if stands.word in ("gone", "settling"):
            self._unclear(move, stands, now)
            return
        move.unclear_since = None
        if stands.word == "going":
            self._mind_time(move, now)
        elif stands.word == "failed" and move.cancelled_at is not None:
            self._finish(move, move.ending, move.cause)
        elif stands.word == "failed":
            self._finish(move, "failed", causes.name_cause(
                vmi, move.vmim, move.vmim_uid, *self._evidence(move), granted=self._granted(move),
                sample=move.progress.last))
        elif stands.word == "moved":
            wrong = migration.handoff_problem(move.state, move.place, self._survey.nodes)
            self._finish(move, "failed" if wrong else "moved", causes.wrong_target(wrong) if wrong else None)
        else:
            self._finish(move, "restarted", causes.not_here())

    def _note_copy(self, move, now):
        """Since when it copies, and whose log tells about it."""
        copied = (move.vmim.get("status") or {}).get("migrationState") or {}
        move.source_pod = move.state.get("sourcePod") or copied.get("sourcePod")
        if migration.phase(move.vmim) != "Running" or move.state.get("endTimestamp"):
            move.copying_since = None
        elif move.copying_since is None:
            began = move.state.get("startTimestamp") or migration.transitions(move.vmim).get("Running")
            move.copying_since = min(now, from_timestamp(began)) if began else now

    def _unclear(self, move, stands, now):
        """The VMI is gone, or the objects do not agree (yet): give it a moment, then say what is known."""
        if move.unclear_since is None:
            move.unclear_since = now
        if now - move.unclear_since < (RESTART_GRACE if stands.word == "gone" else SETTLE):
            return
        if stands.word == "gone":
            self._finish(move, "restarted", causes.stopped(stands.detail))
            return
        node = migration.node_of(self._vmi(move))
        if move.state.get("completed") and not move.state.get("failed") and node == move.state.get("targetNode"):
            self._task.warn("VM %s runs on %s, but KubeVirt does not end its migration %s: a change of CPUs or memory "
                            "may be pending." % (move, node, move.vmim_name))
            self._finish(move, "moved")
        else:
            self._finish(move, "failed", causes.unverified(node))

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

    # -- time ------------------------------------------------------------------------------

    def _mind_time(self, move, now):
        """The gate at handoff; then time-outs, and the patience with a cancel."""
        if move.cancelled_at is not None:
            waited = now - move.cancelled_at
            if waited >= CANCEL_PATIENCE:
                self._finish(move, "failed", causes.cancel_stuck(waited, migration.phase(move.vmim)))
            return
        if move.state and not move.gated:
            move.gated = True
            problem = migration.handoff_problem(move.state, move.place, self._survey.nodes)
            if problem:
                self._give_up(move, now, causes.wrong_target(problem), "failed", always=True)
                return
        limit, cause, ending = self._limit(move)
        if limit is not None and now >= limit:
            self._give_up(move, now, cause, ending)

    def _limit(self, move):
        """``(epoch or None, cause, outcome)``: until when it may go on as it stands, and what becomes of it then."""
        moments = {name: from_timestamp(stamp) for name, stamp in migration.transitions(move.vmim).items()}
        begun = [at for phase, at in moments.items() if phase not in migration.QUEUED]
        timeout, patience = self._survey.times["timeout"], self._survey.times["queue_timeout"]
        granted, limits = self._granted(move), []

        def slow(at, code, message):
            limits.append((at, causes.too_slow(code, message, move.progress), "aborted"))

        if not begun:
            queued = max(moments[""], self._began)  # an adopted one is given its patience anew
            limits.append((queued + patience, causes.queued_too_long(move.vmim, patience), "queued_too_long"))
        elif timeout:
            slow(min(begun) + timeout, "timeout", "its timeout of %s was over" % format_duration(timeout))
        elif "Running" in moments and granted:
            slow(moments["Running"] + granted + MARGIN, "overdue",
                 "the %s that KubeVirt grants were over, and KubeVirt did not act" % format_duration(granted))
        if self._survey.deadline:
            slow(self._survey.deadline, "deadline", "the deadline had come")
        return min(limits, key=lambda row: row[0]) if limits else (None, None, None)

    def _granted(self, move):
        """Seconds KubeVirt grants this copy; twice as many once it has paused the guest. None: unlimited."""
        config = move.state.get("migrationConfiguration") or {}
        per_gib = config.get("completionTimeoutPerGiB", self._survey.settings["completion_timeout_per_gib"])
        granted = settings.budget_seconds(per_gib, move.memory)
        return granted * 2 if granted and move.state.get("mode") == "Paused" else granted

    def _give_up(self, move, now, cause, ending, always=False):
        """Its time is over: cancel it if it is ours and that is wanted, else leave it to itself."""
        if move.state.get("mode") == "PostCopy":
            self._leave(move, cause, "in post-copy it can no longer be cancelled")
        elif not move.ours:
            self._leave(move, cause, "it was started by somebody else and goes on")
        elif not always and self._params["on_timeout"] != "abort":
            self._leave(move, cause, "it goes on (on_timeout is leave)")
        else:
            try:
                self._cancel(move, now, cause, ending)
            except (errors.Overloaded, errors.Unreachable):
                move.gated = False  # a later look tries again
            except errors.ApiError as exc:
                self._leave(move, cause, "it goes on, since cancelling it failed: %s" % exc.message.rstrip("."))

    def _leave(self, move, cause, why):
        self._finish(move, "left", dict(cause, message="%s; %s" % (cause["message"], why)))

    # -- cancelling --------------------------------------------------------------------------

    def _cancel(self, move, now, cause, ending):
        """Delete the VMIM, which is KubeVirt's only way to abort (facts 8.1).

        :param ending: the outcome, once the cancel has succeeded.
        """
        try:
            self._api.delete(path_of(GV, VMIMS, move.namespace, move.vmim_name))
        except errors.NotFound:
            pass  # ended meanwhile: the next look tells how
        move.cancelled_at, move.cause, move.ending = now, cause, ending
        self._stopped = self._stopped or causes.after_failure(move)

    def _stop_evacuation(self, move):
        """An evacuated VM is migrated again and again until its evacuation is cancelled (facts 7.5, 9.6)."""
        node = ((self._vmi(move) or {}).get("status") or {}).get("evacuationNodeName")
        if not node:
            return
        move.evacuation = "cancelled"
        if self._task.check_mode:  # the subresource knows no dryRun parameter
            return
        path = path_of("subresources.kubevirt.io/v1", "virtualmachineinstances", move.namespace, move.name)
        try:
            self._api.replace(path + "/evacuate/cancel", {"evacuationNodeName": node})
        except errors.ApiError as exc:
            move.evacuation = "returns"
            why = "this KubeVirt cannot cancel an evacuation" if isinstance(exc, errors.NotFound) else exc.message
            self._task.warn("VM %s is marked for evacuation from %s, so that KubeVirt will migrate it again: %s."
                            % (move, node, why.rstrip(".")))

    # -- ending and telling --------------------------------------------------------------------

    def _finish(self, move, outcome, cause=None):
        move.outcome, move.cause, move.copying_since = outcome, cause, None
        if outcome not in FINE and outcome != "not_started":
            self._stopped = self._stopped or causes.after_failure(move)
        if self._params["progress_interval"] and outcome != "not_started":
            took = _durations(move)["total"]
            self._task.say(progress.end_line(str(move), outcome, move.state.get("targetNode"), took))

    def _prepare_lines(self):
        interval, prometheus = self._params["progress_interval"], self._params["prometheus"]
        if interval:
            self._next_line = self._task.clock.now() + interval
            self._telemetry = Logs(self._api, self._task.warn)
            if prometheus:
                self._telemetry = Prometheus(prometheus, interval, self._task.warn, self._telemetry)

    def _say_lines(self, now):
        if self._next_line is None or now < self._next_line:
            return
        self._next_line = now + self._params["progress_interval"]
        for move in self._started() or self._open()[:1]:
            stage, since = self._stage(move, now)
            self._task.say(progress.line(str(move), stage, max(0, now - since), move.progress))

    def _stage(self, move, now):
        """``(stage, since)`` for the line."""
        if not move.vmim_uid:
            return "waiting", move.waiting_since or now
        if move.cancelled_at is not None:
            return "cancelling", move.cancelled_at
        phase, moments = migration.phase(move.vmim), migration.transitions(move.vmim)
        mode = move.state.get("mode")
        since = from_timestamp(moments.get(phase) or moments[""])
        return (mode if phase == "Running" and mode in ("PostCopy", "Paused") else phase), since


# -- words ------------------------------------------------------------------------------------


def _row(move, vmi):
    """One VM in the module's result."""
    moments = migration.transitions(move.vmim) if move.vmim else {}
    row = {
        "namespace": move.namespace, "name": move.name, "uid": move.before, "memory_bytes": move.memory,
        "outcome": move.outcome or "unfinished",
        "source_node": move.source, "target_node": move.state.get("targetNode"), "node": migration.node_of(vmi or {}),
        "vmim": move.vmim_name, "adopted": move.adopted, "started": moments.get(""),
        "ended": next((moments[name] for name in migration.FINAL if name in moments), move.state.get("endTimestamp")),
        "seconds": _durations(move), "mode": move.state.get("mode"), "cause": move.cause,
    }
    if move.evacuation:
        row["evacuation"] = move.evacuation
    return row


def _durations(move):
    moments = migration.transitions(move.vmim) if move.vmim else {}
    return migration.durations({name: from_timestamp(stamp) for name, stamp in moments.items()})


def _said(move, vmi):
    """One sentence or two about a move that did not end as asked."""
    said = move.cause["message"] if move.cause else "its outcome is %s" % move.outcome
    if move.outcome == "restarted":
        return "VM %s: %s." % (move, said)
    verb = {"left": "is still being migrated", "not_started": "was not started"}.get(move.outcome, "was not moved")
    stays = (vmi and migration.uid(vmi) == move.before and migration.node_of(vmi) == move.source
             and move.outcome != "left")
    return "VM %s %s: %s.%s" % (move, verb, said, " It runs on %s as before." % move.source if stays else "")


def _refusal(exc):
    return causes.refusal_cause(exc.details.get("said") or exc.message)
