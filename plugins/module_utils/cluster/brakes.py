# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why no more may be started: the time, a soft stop, a lost lease, others at work. Looked at before each start."""

from __future__ import annotations

import os

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import actors, lease
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import causes, interlocks, progress
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.lease import RENEW_AFTER
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import mapping

STOP = "live-migration.bigvm.io/stop"  # annotation of the node, with any value
GUARD_PACE = 60  # seconds for which what was found about others is believed
PASSING = ("foreign_migrations", "evacuation_marked")  # worth waiting for; everything else ends the run
TRY_AGAIN = 60  # seconds until a lease that could not be renewed is tried again; it lasts ten minutes


class Brakes:
    """For one task.

    :param survey: its ``times``, ``end`` and ``moves``.

    ``waits_for`` is the cause for which starting has to wait, None when it need not.
    """

    def __init__(self, task, survey):
        self._task, self._api, self._survey = task, task.api, survey
        self._node, self._run, self._stop_file = (task.params[name] for name in ("lease", "run", "stop_file"))
        self._renew_at = None if self._node is None else 0
        self._lost = None
        self._guard, self._guard_again = task.params["guard"], 0
        self.waits_for = None
        self._looked = 0
        self._warned = set()

    # -- the lease -----------------------------------------------------------------

    def renew(self, now):
        """Say that we are alive, when it is time to."""
        if self._renew_at is None or now < self._renew_at:
            return
        try:
            lease.renew(self._api, self._node, self._run, now)
            self._renew_at = now + RENEW_AFTER
        except errors.LeaseLost as exc:
            self._renew_at, self._lost = None, causes.lease_lost(exc.message, exc.remedy)
            self._task.warn("%s What is under way is followed to its end, nothing more is started." % exc.message)
        except (errors.Forbidden, errors.Rejected) as exc:
            self._renew_at = None
            self._task.warn("The lease of node %s cannot be renewed, so that another run may take it for dead. %s"
                            % (self._node, exc))
        except errors.ApiError:
            self._renew_at = now + TRY_AGAIN

    def next_moment(self):
        """When :meth:`renew` has something to do, or None."""
        return self._renew_at

    # -- before a start --------------------------------------------------------------

    def reason(self, now):
        """The cause why nothing may be started now (see :mod:`..domain.causes`), or None."""
        self._looked = now
        return self.time_reason(now) or self._lost or self._asked() or self._disturbed(now)

    def seldom_reason(self, now):
        """The same while nothing can be started anyway: no more than once a minute."""
        if now - self._looked < TRY_AGAIN:
            return None
        return self.reason(now)

    def time_reason(self, now):
        """The deadline, less what is kept free before it, has come or would come during the copy."""
        end, timeout = self._survey.end, self._survey.times["timeout"]
        if end is None:
            return None
        if now >= end:
            return causes.too_late()
        return causes.no_time(timeout, end - now) if timeout and now + timeout > end else None

    def _asked(self):
        if self._stop_file and os.path.exists(self._stop_file):
            return causes.stopped_as_asked("file %s exists" % self._stop_file, "Remove the file")
        if self._node and STOP in self._annotations():
            return causes.stopped_as_asked("annotation %s on node %s" % (STOP, self._node), "Remove the annotation")
        return None

    def _disturbed(self, now):
        """Others who are at work now, as the preflight looks for them."""
        if not self._guard or now < self._guard_again:
            return None
        self._guard_again = now + GUARD_PACE
        node, accept = self._guard["node"], [code for code in self._guard.get("accept") or [] if code]
        found = interlocks.blockers(actors.look(
            self._api, node, self._run, [move.where for move in self._survey.moves], accept=accept))
        final = [row for row in found if row["code"] not in PASSING]
        waits = self.waits_for
        self.waits_for = causes.disturbed(found[0]["message"], found[0]["remedy"]) if found and not final else None
        if self.waits_for and not waits and self._task.params["progress_interval"]:
            self._task.say(progress.waiting_line(self.waits_for["message"]))
        return causes.disturbed(final[0]["message"], final[0]["remedy"]) if final else None

    def _annotations(self):
        try:
            return mapping(self._api.get(path_of("v1", "nodes", name=self._node)), "metadata", "annotations")
        except errors.ApiError as exc:
            self._warn_once("Node %s cannot be asked for a soft stop. %s" % (self._node, exc))
            return {}

    def _warn_once(self, text):
        if text not in self._warned:
            self._warned.add(text)
            self._task.warn(text)
