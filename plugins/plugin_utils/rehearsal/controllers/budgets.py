# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PodDisruptionBudgets: their status, and what an eviction asks of them.

Wording and codes are the API server's: 429 with a cause DisruptionBudget, 500 when two budgets meet; pods that do not
run, or end already, need no leave.
"""

from __future__ import annotations

import math

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.scheduler import selects
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    Loop,
    has_condition,
    is_active,
    is_deleted,
    key_of,
    phase_of,
    set_condition,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.status import ApiStatus

BUDGETS = "poddisruptionbudgets.policy"
LAG = 0.2  # seconds between a change and the status
TOO_MANY = "Cannot evict pod as it would violate the pod's disruption budget."
SCALED = ("replicasets.apps", "statefulsets.apps", "deployments.apps")


class Budgets:
    """The disruption controller."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self.loop = Loop(world, self._count)
        self.store.on_event(BUDGETS, lambda kind, obj, old: self.loop.add(key_of(obj), LAG))
        self.store.on_event("pods", self._pod)
        for budget in self.store.list(BUDGETS):
            self._count(key_of(budget))

    def _pod(self, kind, pod, old):
        for budget in self.store.list(BUDGETS, pod["metadata"].get("namespace")):
            if _covers(budget, pod):
                self.loop.add(key_of(budget), LAG)

    def _count(self, key):
        budget = self.store.get(BUDGETS, *key)
        if budget is None:
            return
        pods = [pod for pod in self.store.list("pods", key[0]) if _covers(budget, pod) and is_active(pod)]
        disrupted = {name: since for name, since in ((budget.get("status") or {}).get("disruptedPods") or {}).items()
                     if any(pod["metadata"]["name"] == name and not is_deleted(pod) for pod in pods)}
        healthy = sum(1 for pod in pods if has_condition(pod, "Ready") and not is_deleted(pod)
                      and pod["metadata"]["name"] not in disrupted)
        expected, desired = self._wanted(budget.get("spec") or {}, pods)
        allowed = max(0, healthy - desired) if expected else 0
        now = self.world.stamp()

        def counted(new):
            state = new.setdefault("status", {})
            state.update(expectedPods=expected or 0, desiredHealthy=desired, currentHealthy=healthy,
                         disruptionsAllowed=allowed, observedGeneration=new["metadata"].get("generation", 1))
            state.pop("disruptedPods", None)
            if disrupted:
                state["disruptedPods"] = disrupted
            reason = "SyncFailed" if expected is None else "SufficientPods" if allowed else "InsufficientPods"
            set_condition(new, "DisruptionAllowed", bool(allowed), reason, "", now)

        self.store.modify(BUDGETS, *key, counted)

    def _wanted(self, spec, pods):
        """``(expected pods, or None when nobody can say, desired healthy)``."""
        least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
        if least is not None and not isinstance(least, str):
            return len(pods), int(least)
        expected = self._scale(pods)
        if expected is None:
            return None, 0
        if least is not None:
            return expected, share(least, expected)
        return expected, max(0, expected - share(1 if most is None else most, expected))

    def _scale(self, pods):
        """The sum of what the pods' owners want; None when one of them has no scale (a VMI, facts/pains 29)."""
        owners = {}
        for pod in pods:
            for reference in pod["metadata"].get("ownerReferences") or [{}]:
                owners[(pod["metadata"]["namespace"], reference.get("kind"), reference.get("name"))] = None
        total = 0
        for namespace, kind, name in owners:
            plural = "%ss.apps" % str(kind).lower()
            found = self.store.get(plural, namespace, name) if plural in SCALED else None
            if found is None:
                return None
            total += int((found.get("spec") or {}).get("replicas", 1))
        return total

    # -- evictions ---------------------------------------------------------------

    def ask(self, pod, dry_run=False):
        """Take a disruption for this pod out of its budget.

        :raises ApiStatus: 429 or 500.
        """
        if phase_of(pod) != "Running" or is_deleted(pod):
            return
        found = [budget for budget in self.store.list(BUDGETS, pod["metadata"]["namespace"]) if _covers(budget, pod)]
        if len(found) > 1:
            raise ApiStatus(500, "InternalError", "This pod has more than one PodDisruptionBudget, which the eviction "
                            "subresource does not support.")
        for budget in found:
            self._take(budget, pod, dry_run)

    def _take(self, budget, pod, dry_run):
        name, state = budget["metadata"]["name"], budget.get("status") or {}
        healthy, desired = state.get("currentHealthy", 0), state.get("desiredHealthy", 0)
        always = (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
        if not has_condition(pod, "Ready") and (always or healthy >= desired > 0):
            return
        if state.get("observedGeneration", 0) < budget["metadata"].get("generation", 1):
            raise _refusal("The disruption budget %s is still being processed by the server." % name, 10)
        if state.get("disruptionsAllowed", 0) < 1:
            raise _refusal("The disruption budget %s needs %d healthy pods and has %d currently" % (name, desired, healthy))
        if not dry_run:
            def taken(new):
                new["status"]["disruptionsAllowed"] -= 1
                new["status"].setdefault("disruptedPods", {})[pod["metadata"]["name"]] = self.world.stamp()

            self.store.modify(BUDGETS, *key_of(budget), taken)


def _refusal(why, retry_after=None):
    causes = [{"reason": "DisruptionBudget", "message": why}]
    return ApiStatus(429, message=TOO_MANY, details={"causes": causes}, retry_after=retry_after)


def _covers(budget, pod):
    selector = (budget.get("spec") or {}).get("selector")
    return bool(selector) and selects(selector, pod["metadata"].get("labels") or {}) and (
        budget["metadata"].get("namespace") == pod["metadata"].get("namespace"))


def share(value, whole):
    """A number, or a percentage of ``whole`` rounded up (int)."""
    return math.ceil(int(value[:-1]) * whole / 100) if str(value).endswith("%") else int(value)
