# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ResourceQuota, as far as it stops a target pod: during a migration both pods count (facts 1.6, 3.11)."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.target_pod import quantity
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import is_active

CONDITION = "migrationRejectedByResourceQuota"


class QuotaExceeded(Exception):
    """The API server's refusal, in its words."""


def check(store, pod):
    """Refuse a pod that a quota of its namespace has no room for.

    :raises QuotaExceeded: see there.
    """
    namespace = pod["metadata"]["namespace"]
    for quota in store.list("resourcequotas", namespace):
        hard = (quota.get("spec") or {}).get("hard") or {}
        asked = _counted(pod)
        used = {}
        for other in store.list("pods", namespace):
            for key, value in (_counted(other) if is_active(other) else {}).items():
                used[key] = used.get(key, 0) + value
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
    for container in pod["spec"].get("containers") or []:
        for kind, wanted in (container.get("resources") or {}).items():
            for name, value in (wanted or {}).items():
                amount = quantity(value, 1000 if name == "cpu" else 1)
                keys = ["%s.%s" % (kind, name)] + ([name] if kind == "requests" and name in ("cpu", "memory") else [])
                for key in keys:
                    total[key] = total.get(key, 0) + amount
    return total


def _scale(key):
    return 1000 if key.split(".")[-1] == "cpu" else 1


def _text(amount, key):
    return "%dm" % amount if _scale(key) == 1000 else str(amount)
