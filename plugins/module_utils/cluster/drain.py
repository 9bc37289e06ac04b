# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Evicting the pods of a node that carry no VM: asked through the Eviction API only, followed by watching.

What refuses to go is asked again until the time is over, and then named; nothing is deleted and nothing is forced.
"""

from __future__ import annotations

import queue

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import access, journals, lease
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.watch import Watch
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import drain
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_duration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import key_of, rows, text

SOONEST, LONGEST = 5, 30  # seconds until a refused pod is asked again: first, and at last
RENEW = 120  # seconds between two looks at the lease of the run
LOOK = 60  # seconds after which the loop looks around even if nothing is heard
GONE_PHASES = ("Succeeded", "Failed")
TERMINATING = "NamespaceTerminating"


def run(task, node, seconds, deadline=None, interval=60, run_id=None):
    """The work of the module node_drain: ``{changed, evicted, left, lines}``.

    :param seconds: how long it may take.
    :param deadline: epoch seconds, or None.
    :param interval: seconds between two lines; 0 for none.
    :param run_id: the run whose hold on the node is renewed meanwhile.
    :raises LiveMigrationError: pods that should have gone are still there; ``evicted``, ``left``, ``lines`` and ``changed``
        are in its details.
    """
    work = _Drain(task, node, interval, run_id)
    work.look()
    now = task.clock.now()
    end, timed = now + seconds, "after %s" % format_duration(seconds)
    if deadline is not None and deadline < end:
        end, timed = deadline, "and the deadline has come"
    try:
        if task.check_mode:
            work.try_out(now)
        else:
            work.follow(now, end)
    except errors.LiveMigrationError as exc:
        exc.details.update(work.result())
        raise
    result = work.result()
    stuck = [] if task.check_mode else work.stuck()
    if stuck:
        raise errors.LiveMigrationError(*drain.failure(node, stuck, timed if work.pending() else "refused for good"), **result)
    return result


class _Row:
    """One pod that is to go."""

    def __init__(self, pod):
        self.pod = pod
        self.key, self.uid = key_of(pod), text(pod, "metadata", "uid")
        self.asked_at = None  # since when it ends, epoch seconds
        self.accepted = False  # whether that was our eviction
        self.next_at = 0  # when it is asked (again)
        self.pause = SOONEST
        self.gone = False
        self.code = self.reason = None  # why it does not go
        self.final = False  # and asking again is of no use

    @property
    def open(self):
        """Whether there is more to do about it."""
        return not self.gone and not self.final

    def again(self, now, code, reason, after=None):
        """Ask later."""
        self.code, self.reason = code, reason
        self.next_at = now + (after or self.pause)
        self.pause = min(self.pause * 2, LONGEST)

    def refuse(self, reason):
        """Ask no more."""
        self.code, self.reason, self.final = "refused", reason, True


class _Drain:
    """All pods of one node."""

    def __init__(self, task, node, interval, run_id):
        self._task, self._api, self._node = task, task.api, node
        self._interval, self._run = interval, run_id
        self._inbox = queue.Queue()
        self._budgets = None
        self._renew_at = 0
        self._next_line = None
        self._rows, self._left = [], []

    # -- before --------------------------------------------------------------

    def look(self):
        """Read the node and its pods, and decide about each.

        :raises BadInput: there is no such node.
        :raises Refused: it still takes new pods.
        """
        node = journals.get_node(self._api, self._node)
        if not journals.is_cordoned(node):
            said = "Node %s is not cordoned: what is evicted would come back to it." % self._node
            if not self._task.check_mode:
                raise errors.Refused(said, "Nothing was evicted. Cordon it first (node_hold).")
            self._task.warn(said)
        self._watch = Watch(self._api, self._inbox, path_of("v1", "pods"), fieldSelector="spec.nodeName=%s" % self._node)
        self._watch.list()
        here, own = access.own_pod(self._api, self._node)
        going, self._left = drain.split(self._watch.objects.values(), own.split("/") if here and own else None)
        self._rows = [_Row(pod) for pod in going]
        if self._interval:
            self._task.say(drain.start_line(self._node, going, self._left))

    # -- the work --------------------------------------------------------------

    def try_out(self, now):
        """Ask about each as a dry run: rights, webhooks and budgets."""
        for row in self._rows:
            self._evict(row, now)

    def follow(self, now, end):
        """Until all have gone, or the time is over."""
        self._next_line = now + self._interval if self._interval else None
        try:
            self._watch.open()
            while self._step(now) and now < end:
                item = self._task.clock.wait(self._inbox, self._next_moment(now, end) - now)
                now = self._task.clock.now()
                if item is not None:
                    item.watch.take(item, now)
        finally:
            self._watch.close()
        for row in self.pending():
            if row.asked_at is not None:
                row.code, row.reason = "ending", drain.ending_reason(row.pod, row.asked_at, now)

    def _step(self, now):
        """One look at everything; whether there is more to wait for."""
        self._watch.tend(now)
        if self._run and now >= self._renew_at:
            lease.renew(self._api, self._node, self._run, now)
            self._renew_at = now + RENEW
        for row in self.pending():
            self._see(row, now)
            if row.open and row.asked_at is None and now >= row.next_at:
                self._evict(row, now)
        self._say(now)
        return bool(self.pending())

    def _see(self, row, now):
        found = self._watch.objects.get(row.key)
        if found is None or text(found, "metadata", "uid") != row.uid or text(found, "status", "phase") in GONE_PHASES:
            row.gone = True
            return
        row.pod = found
        if row.asked_at is None and text(found, "metadata", "deletionTimestamp"):
            row.asked_at = now  # somebody else was quicker

    def _evict(self, row, now):
        """Ask one pod to go; what is answered decides about it."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"namespace": row.key[0], "name": row.key[1]},
                "deleteOptions": {"preconditions": {"uid": row.uid}}}
        try:
            # Without patience: the loop has its own, and goes on with the other pods meanwhile.
            self._api.create(path_of("v1", "pods", row.key[0], row.key[1], "eviction"), body, patience=0)
            row.asked_at, row.accepted, row.code, row.reason = now, True, None, None
        except errors.NotFound:
            row.gone = True
        except (errors.Overloaded, errors.Unreachable, errors.Conflict) as exc:
            self._refused(row, now, exc)
        except errors.Rejected as exc:
            row.refuse("the API refuses its eviction: %s" % _said(exc))
        except errors.Forbidden as exc:
            if not any(cause.get("reason") == TERMINATING for cause in rows(exc.details, "causes")):
                raise
            row.again(now, "terminating", "its namespace is being deleted")

    def _refused(self, row, now, exc):
        causes, said = rows(exc.details, "causes"), _said(exc)
        if exc.status == 429 and drain.is_budget(causes, said):
            names = drain.blocking(row.pod, causes, said, self._known_budgets())
            row.again(now, "budget", drain.budget_reason(names, said))
        elif exc.status == 500 and "more than one PodDisruptionBudget" in said:
            row.refuse("several PodDisruptionBudgets select it, which the Eviction API does not take")
        else:
            row.again(now, "busy", said, exc.details.get("retry_after"))

    def _known_budgets(self):
        if self._budgets is None:
            try:
                self._budgets = self._api.list(path_of("policy/v1", "poddisruptionbudgets")).items
            except (errors.Forbidden, errors.NotFound):
                self._budgets = []
        return self._budgets

    def _next_moment(self, now, end):
        moments = [row.next_at for row in self.pending() if row.asked_at is None]
        moments += [end, now + LOOK, self._watch.next_moment(), self._next_line]
        return min(moment for moment in moments if moment is not None and moment > now)

    def _say(self, now):
        if self._next_line is not None and now >= self._next_line:
            self._next_line = now + self._interval
            gone = sum(1 for row in self._rows if row.gone)
            waiting = [row.reason for row in self.pending() if row.reason and row.asked_at is None]
            self._task.say(drain.progress_line(self._node, gone, len(self._rows), waiting))

    # -- the result --------------------------------------------------------------

    def pending(self):
        """The pods that there is more to do about."""
        return [row for row in self._rows if row.open]

    def stuck(self):
        """The :class:`..domain.drain.Left` of pods that should have gone."""
        return [drain.Left(*row.key, row.code or "ending", row.reason or "it was not asked yet")
                for row in self._rows if not row.gone]

    def result(self):
        """What the module returns."""
        check = self._task.check_mode
        done = [row for row in self._rows if (row.accepted if check else row.gone)]
        left = self._left + ([drain.Left(*row.key, row.code, row.reason) for row in self._rows if row.reason and row not in done]
                             if check else self.stuck())
        scratched = ["%s/%s" % row.key for row in done if drain.scratch(row.pod)]
        return {
            "changed": any(row.accepted for row in self._rows),
            "evicted": [{"namespace": row.key[0], "name": row.key[1]} for row in done],
            "left": [dict(row._asdict()) for row in left],
            "lines": drain.lines(self._node, [row.key for row in done], left, scratched),
        }


def _said(exc):
    return exc.details.get("said") or exc.message
