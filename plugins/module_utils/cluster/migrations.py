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

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import moves
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.brakes import Brakes
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.ending import Ending
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.following import Follower
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.starting import Starter
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.survey import Survey
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.telemetry import Logs, Prometheus, Silent
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import causes, migration, progress

TRY_AGAIN = 60  # seconds between two attempts at what the API would not take


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
        self.moves = survey.moves
        self._brakes = Brakes(task, survey)
        self._ending = Ending(task, survey)
        self._starter = Starter(task, survey, self._ending, self._brakes)
        self._follower = Follower(task, survey, self._ending)
        self._telemetry = Silent()
        self._next_line = None

    # -- the three jobs --------------------------------------------------------------

    def migrate(self):
        """Bring every VM to its place."""
        begin = [move for move in self._open() if not move.adopted]
        self._starter.try_out(begin)
        if self._task.check_mode:
            late = self._brakes.time_reason(self._task.clock.now())
            for move in begin:
                move.outcome, move.cause = ("not_started", late) if late else ("would_move", None)
        self.follow()

    def abort(self):
        """Cancel what is under way, and see it through."""
        for move in self.moves:
            self._ending.stop_evacuation(move, self._vmi(move))
        for move in self._open():
            if self._task.check_mode:
                move.outcome = "would_abort"
            elif migration.migration_state(self._vmi(move), move.vmim_uid).get("mode") == "PostCopy":
                self._ending.finish(move, "failed", causes.post_copy())
            else:
                self._ending.cancel(move, self._task.clock.now(), None, "aborted")
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
            now = self._follower.began = self._task.clock.now()
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
        return [moves.row(move, self._vmi(move)) for move in self.moves]

    def result(self):
        """What the module returns, or raises."""
        changed = self.begun() or any(move.outcome in moves.CHANGED for move in self.moves)
        fine = moves.FINE + (("aborted",) if self._survey.state == "aborted" else ())
        bad = [move for move in self.moves if move.outcome not in fine]
        if not bad:
            return {"changed": changed, "migrations": self.rows()}
        raise errors.LiveMigrationError(
            *moves.failure(bad, self.moves, self._vmi), changed=changed, migrations=self.rows())

    # -- the loop ------------------------------------------------------------------------

    def _step(self, now, watches):
        """One look at everything; whether there is more to wait for."""
        for watch in watches:
            watch.tend(now)
        self._brakes.renew(now)
        for move in self._started():
            self._follower.look(move, now)
        self._starter.start([move for move in self._open() if not move.vmim_uid], self._started(), now)
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
        moments = [source.next_moment() for source in watches + (self._telemetry, self._brakes)]
        moments += [self._next_line, now + TRY_AGAIN]
        patience = self._survey.times["queue_timeout"]
        for move in self._open():
            if move.vmim_uid:
                moments += self._follower.next_moments(move)
            else:
                moments += [self._survey.end, move.waiting_since and move.waiting_since + patience]
        return min(moment for moment in moments if moment is not None and moment > now)

    # -- telling ---------------------------------------------------------------------

    def _prepare_lines(self):
        interval, prometheus = self._task.params["progress_interval"], self._task.params["prometheus"]
        if interval:
            self._next_line = self._task.clock.now() + interval
            self._telemetry = Logs(self._task.api, self._task.warn)
            if prometheus:
                self._telemetry = Prometheus(prometheus, interval, self._task.warn, self._telemetry)

    def _say_lines(self, now):
        if self._next_line is None or now < self._next_line:
            return
        self._next_line = now + self._task.params["progress_interval"]
        for move in self._started() or self._open()[:1]:
            stage, since = self._stage(move, now)
            self._task.say(progress.line(str(move), stage, max(0, now - since), move.progress))

    def _stage(self, move, now):
        """``(stage, since)`` for the line."""
        if not move.vmim_uid:
            return "waiting", move.waiting_since or now
        if move.cancelled_at is not None:
            return "cancelling", move.cancelled_at
        phase, moments = migration.phase(move.vmim), move.moments()
        since = moments.get(phase) or moments[""]
        return (move.mode if phase == "Running" and move.mode in ("PostCopy", "Paused") else phase), since
