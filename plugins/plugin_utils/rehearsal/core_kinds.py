# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an API server checks in the core kinds that a maintenance writes: taints of nodes, Leases, immutable maps."""

from __future__ import annotations

import json

POD = ("Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
       "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
       "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def causes(resource, obj, old=None):
    """What is wrong with an object that is written, as :func:`~.status.invalid` takes it; ``old`` is the one it replaces."""
    if resource.key == "nodes":
        found = _taints(obj)
        return found * 2 if old else found
    if resource.key == "leases.coordination.k8s.io":
        return _lease(obj)
    if old and resource.key == "pods" and _fixed(obj) != _fixed(old):
        return [("spec", "FieldValueForbidden", POD)]
    if old and old.get("immutable") and any(old.get(part) != obj.get(part) for part in ("data", "binaryData")):
        return [("data", "FieldValueForbidden", "Forbidden: field is immutable when `immutable` is set")]
    return []


def completed(resource, obj):
    """Fill in what a real server always writes."""
    if resource.key != "nodes":
        return
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if isinstance(condition, dict):
            for field in ("lastHeartbeatTime", "lastTransitionTime"):
                condition.setdefault(field, None)


def quality(spec):
    """The quality of service of a pod, as far as requests and limits of its containers tell."""
    sets = [container.get("resources") or {} for container in spec.get("containers") or ()]
    if not any(one.get("requests") or one.get("limits") for one in sets):
        return "BestEffort"
    same = all({"cpu", "memory"} <= set(one.get("limits") or ()) and
               (one.get("requests") or one["limits"]) == one["limits"] for one in sets)
    return "Guaranteed" if same else "Burstable"


def _fixed(pod):
    """What of a pod's spec no update may change."""
    spec = dict(pod.get("spec") or {})
    for field in ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"):
        spec.pop(field, None)
    for field in ("containers", "initContainers"):
        spec[field] = [{key: value for key, value in one.items() if key != "image"} for one in spec.get(field) or ()
                       if isinstance(one, dict)]
    return spec


def _taints(obj):
    taints = (obj.get("spec") or {}).get("taints") or ()
    return [("metadata.taints[%d].effect" % place, "FieldValueNotSupported", "Unsupported value: %s: supported values: %s" % (
        json.dumps(taint["effect"]), ", ".join('"%s"' % word for word in EFFECTS)))
        for place, taint in enumerate(taints) if isinstance(taint, dict) and taint.get("effect") not in EFFECTS + (None, "")]


def _lease(obj):
    spec = obj.get("spec") or {}
    found = []
    for field, least, words in (("leaseDurationSeconds", 1, "must be greater than 0"),
                                ("leaseTransitions", 0, "must be greater than or equal to 0")):
        value = spec.get(field)
        if isinstance(value, int) and value < least:
            found.append(("spec." + field, "FieldValueInvalid", "Invalid value: %d: %s" % (value, words)))
    return found
