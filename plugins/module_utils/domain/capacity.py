# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a node really offers a guest: allocatable less what the pods on it request.

Amounts are whole numbers: CPU in millicores, memory and huge pages in bytes,
devices and pods as counts. None stands for "cannot be told".
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    LAUNCHER,
    amount,
    condition,
    dig,
    labels,
    mapping,
    rows,
    text,
)

SCHEDULABLE = "kubevirt.io/schedulable"
HEARTBEAT = "kubevirt.io/heartbeat"
GONE = ("Succeeded", "Failed")


def scale_of(resource):
    """CPU is counted in thousandths, everything else in units."""
    return 1000 if resource in ("cpu", "requests.cpu", "limits.cpu") else 1


def is_active(pod):
    """Whether a pod still holds what it requested."""
    return dig(pod, "status", "phase") not in GONE


def pod_requests(pod, kind="requests"):
    """``{resource: amount or None}`` that the scheduler counts for a pod.

    The sum of the containers and of the init containers that keep running, at least the biggest init container,
    plus the pod's overhead.
    """
    total = {}
    for container in rows(pod, "spec", "containers"):
        _add(total, mapping(container, "resources", kind))
    for container in rows(pod, "spec", "initContainers"):
        asked = mapping(container, "resources", kind)
        if container.get("restartPolicy") == "Always":
            _add(total, asked)
            continue
        for resource, value in asked.items():
            least = amount(value, scale_of(resource))
            if total.get(resource, 0) is not None:
                total[resource] = None if least is None else max(least, total.get(resource, 0))
    _add(total, mapping(pod, "spec", "overhead"))
    return total


def _add(total, asked):
    for resource, value in asked.items():
        more, before = amount(value, scale_of(resource)), total.get(resource, 0)
        total[resource] = None if more is None or before is None else before + more


def node_facts(node, pods):
    """One node as the rules see it.

    :param pods: the pods on it, or None when they could not be read (then nothing is known to be free).
    :returns: ``{name, labels, taints, ready (bool or None), cordoned, kubevirt_schedulable (bool; None: no KubeVirt
        there), heartbeat (str), allocatable, free: {resource: amount or None}, vms (int or None)}``.
    """
    allocatable = {key: amount(value, scale_of(key)) for key, value in mapping(node, "status", "allocatable").items()}
    found = labels(node)
    ready = condition(node, "Ready").get("status")
    return {
        "name": text(node, "metadata", "name"),
        "labels": found,
        "taints": rows(node, "spec", "taints"),
        "ready": {"True": True, "False": False, "Unknown": False}.get(ready if isinstance(ready, str) else None),
        "cordoned": dig(node, "spec", "unschedulable") is True,
        "kubevirt_schedulable": found[SCHEDULABLE] == "true" if SCHEDULABLE in found else None,
        "heartbeat": text(node, "metadata", "annotations", HEARTBEAT),
        "allocatable": allocatable,
        "free": dict.fromkeys(allocatable) if pods is None else _free(allocatable, pods),
        "vms": None if pods is None else sum(1 for pod in pods if labels(pod).get("kubevirt.io") == LAUNCHER),
    }


def _free(allocatable, pods):
    free = dict(allocatable)
    for pod in pods:
        for resource, used in dict(pod_requests(pod), pods=1).items():
            if free.get(resource) is not None:
                free[resource] = None if used is None else free[resource] - used
    return free


def shortages(asks, node, own=()):
    """What a node has too little of: ``[(resource, asked, free)]``; ``free`` None when it cannot be told.

    :param asks: ``{resource: amount}`` of the target pod.
    :param own: pods of the same guest already on that node (a target pod of a migration under way): what they
        hold is not lost to it.
    """
    short = []
    held = {}
    for pod in own:
        for resource, value in dict(pod_requests(pod), pods=1).items():
            held[resource] = held.get(resource, 0) + (value or 0)
    if not node["allocatable"]:
        return [(resource, value, None) for resource, value in asks.items()]
    for resource, value in asks.items():
        if resource == "pods" and resource not in node["free"]:
            continue  # a node that states no limit has none
        free = node["free"].get(resource, 0)
        if free is None or free + held.get(resource, 0) < value:
            short.append((resource, value, None if free is None else free + held.get(resource, 0)))
    return short


def public(node):
    """The facts of a node as they are returned: bytes, and CPUs as a number."""
    free, cpus = node["free"], node["free"].get("cpu", 0)
    facts = {key: node[key] for key in ("ready", "cordoned", "kubevirt_schedulable", "vms")}
    known = bool(node["allocatable"])
    facts.update(
        memory_allocatable=node["allocatable"].get("memory"),
        memory_free=free.get("memory"),
        hugepages_1gi_free=free.get("hugepages-1Gi", 0 if known else None),
        hugepages_2mi_free=free.get("hugepages-2Mi", 0 if known else None),
        cpus_free=None if cpus is None or not known else cpus / 1000.0,
        taints=["%s=%s:%s" % (taint.get("key"), taint.get("value") or "", taint.get("effect"))
                for taint in node["taints"]],
        heartbeat=node["heartbeat"] or None,
    )
    return facts
