# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a move ends: with an outcome, by a cancel, or left to itself; and why no more are started after it."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.moves import FINE
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.survey import GV, VMIMS, VMIS
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import causes, progress


class Ending:
    """``stopped``: the cause why no more are started, None while they are."""

    def __init__(self, task, survey):
        self._task, self._api, self._survey = task, task.api, survey
        self._interval, self._on_timeout = task.params["progress_interval"], task.params["on_timeout"]
        self.stopped = None

    def finish(self, move, outcome, cause=None):
        """Its outcome is known."""
        move.outcome, move.cause, move.copying_since = outcome, cause, None
        if outcome not in FINE and outcome != "not_started":
            self.stopped = self.stopped or causes.after_failure(move)
        if self._interval and outcome != "not_started":
            self._task.say(progress.end_line(str(move), outcome, move.state.get("targetNode"), move.seconds()["total"]))

    def give_up(self, move, now, cause, ending, always=False):
        """It must not go on: cancel it if it is ours and that is wanted, else leave it to itself.

        :param ending: the outcome, once the cancel has succeeded.
        :param always: cancel also where a time-out would not.
        """
        if move.mode == "PostCopy":
            self._leave(move, cause, "in post-copy it can no longer be cancelled")
        elif not move.ours:
            self._leave(move, cause, "it was started by somebody else and goes on")
        elif not always and self._on_timeout != "abort":
            self._leave(move, cause, "it goes on (on_timeout is leave)")
        else:
            try:
                self.cancel(move, now, cause, ending)
            except (errors.Overloaded, errors.Unreachable):
                pass  # the next look tries again
            except errors.ApiError as exc:
                self._leave(move, cause, "it goes on, since cancelling it failed: %s" % exc.message.rstrip("."))

    def _leave(self, move, cause, why):
        self.finish(move, "left", dict(cause, message="%s; %s" % (cause["message"], why)))

    def cancel(self, move, now, cause, ending):
        """Delete the VMIM, which is KubeVirt's only way to abort (facts 8.1)."""
        try:
            self._api.delete(path_of(GV, VMIMS, move.namespace, move.vmim_name))
        except errors.NotFound:
            pass  # ended meanwhile: the next look tells how
        move.cancelled_at, move.cause, move.ending = now, cause, ending
        self.stopped = self.stopped or causes.after_failure(move)

    def stop_evacuation(self, move, vmi):
        """An evacuated VM is migrated again and again until its evacuation is cancelled (facts 7.5, 9.6)."""
        node = ((vmi or {}).get("status") or {}).get("evacuationNodeName")
        if not node:
            return
        move.evacuation = "cancelled"
        if self._task.check_mode:  # the subresource knows no dryRun parameter
            return
        path = path_of("subresources.kubevirt.io/v1", VMIS, move.namespace, move.name)
        try:
            self._api.replace(path + "/evacuate/cancel", {"evacuationNodeName": node})
        except errors.ApiError as exc:
            move.evacuation = "returns"
            why = "this KubeVirt cannot cancel an evacuation" if isinstance(exc, errors.NotFound) else exc.message
            self._task.warn("VM %s is marked for evacuation from %s, so that KubeVirt will migrate it again: %s."
                            % (move, node, why.rstrip(".")))
