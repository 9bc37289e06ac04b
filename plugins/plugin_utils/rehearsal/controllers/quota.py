# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ResourceQuota: what is used of it, and that it stops a target pod; during a migration both pods count (facts 1.6, 3.11)."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.capacity import pod_requests
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.target_pod import quantity
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    Loop,
    is_active,
    key_of,
)

QUOTAS = "resourcequotas"
CONDITION = "migrationRejectedByResourceQuota"
ASKED = ("pods", "count/pods", "cpu", "memory", "ephemeral-storage", "requests", "limits")  # what is counted of pods


class QuotaExceeded(Exception):
    """The API server's refusal, in its words."""


class Quotas:
    """The quota controller: the status of every ResourceQuota, as far as it is about pods."""

    def __init__(self, world):
        self.store = world.store
        self.loop = Loop(world, self._count)
        self.store.on_event(QUOTAS, lambda kind, quota, old: kind == "DELETED" or self.loop.add(key_of(quota)))
        self.store.on_event("pods", self._pod)

    def _pod(self, kind, pod, old):
        for quota in self.store.list(QUOTAS, pod["metadata"].get("namespace")):
            self.loop.add(key_of(quota))

    def _count(self, key):
        quota = self.store.get(QUOTAS, *key)
        if quota is None:
            return
        hard, used = (quota.get("spec") or {}).get("hard") or {}, _used(self.store, key[0])
        seen = {name: _text(used.get(name, 0), name) for name in hard if name in ASKED or name.partition(".")[0] in ASKED}
        status = dict(quota.get("status") or {}, hard=hard, used=dict(((quota.get("status") or {}).get("used") or {}), **seen))
        if status != quota.get("status"):
            self.store.modify(QUOTAS, *key, lambda new: new.update(status=status))


def _used(store, namespace):
    """``{name: amount}`` of a namespace's pods together."""
    used = {}
    for pod in store.list("pods", namespace):
        for key, value in (_counted(pod) if is_active(pod) else {}).items():
            used[key] = used.get(key, 0) + value
    return used


def check(store, pod):
    """Refuse a pod that a quota of its namespace has no room for.

    :raises QuotaExceeded: see there.
    """
    namespace = pod["metadata"]["namespace"]
    for quota in store.list(QUOTAS, namespace):
        hard = (quota.get("spec") or {}).get("hard") or {}
        asked, used = _counted(pod), _used(store, namespace)
        over = [
            key for key, limit in sorted(hard.items())
            if asked.get(key) and used.get(key, 0) + asked[key] > quantity(limit, _scale(key))
        ]
        if over:
            raise QuotaExceeded('pods "%s" is forbidden: exceeded quota: %s, requested: %s, used: %s, limited: %s' % (
                pod["metadata"].get("generateName", ""), quota["metadata"]["name"],
                ",".join("%s=%s" % (key, _text(asked[key], key)) for key in over),
                ",".join("%s=%s" % (key, _text(used.get(key, 0), key)) for key in over),
                ",".join("%s=%s" % (key, hard[key]) for key in over)))


def _counted(pod):
    total = {"pods": 1, "count/pods": 1}
    for kind in ("requests", "limits"):
        for name, amount in pod_requests(pod, kind).items():
            total["%s.%s" % (kind, name)] = amount or 0
            if kind == "requests" and name in ("cpu", "memory", "ephemeral-storage"):
                total[name] = amount or 0
    return total


def _scale(key):
    return 1000 if key.split(".")[-1] == "cpu" else 1


def _text(amount, key):
    return "%dm" % amount if _scale(key) == 1000 else str(amount)
