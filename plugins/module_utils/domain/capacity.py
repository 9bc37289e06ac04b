# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a node really offers a guest: allocatable less what the pods on it request; and what must be spare to drain.

Amounts are whole numbers: CPU in millicores, memory and huge pages in bytes,
devices and pods as counts. None stands for "cannot be told".
"""

from __future__ import annotations

import re

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
        there), heartbeat (str), allocatable, free: {resource: amount or None}, vms (int or None), vm_requests: {resource:
        amount or None} of the VMs there}``.
    """
    allocatable = {key: amount(value, scale_of(key)) for key, value in mapping(node, "status", "allocatable").items()}
    found = labels(node)
    ready = condition(node, "Ready").get("status")
    launchers = [pod for pod in pods or [] if labels(pod).get("kubevirt.io") == LAUNCHER]
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
        "vms": None if pods is None else len(launchers),
        "vm_requests": _sum([pod_requests(pod) for pod in launchers]),
    }


def _sum(many):
    total = {}
    for asked in many:
        for resource, value in asked.items():
            before = total.get(resource, 0)
            total[resource] = None if value is None or before is None else before + value
    return total


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
        cpus_allocatable=_cpus(node["allocatable"].get("cpu")),
        cpus_free=_cpus(cpus) if known else None,
        taints=["%s=%s:%s" % (taint.get("key"), taint.get("value") or "", taint.get("effect"))
                for taint in node["taints"]],
        heartbeat=node["heartbeat"] or None,
    )
    return facts


def _cpus(millis):
    return None if millis is None else millis / 1000.0


# -- what must be spare (S3-5, F1) -----------------------------------------------------


def spare(nodes, pools=()):
    """What must stay free so that nodes can be drained: nodes drained at once times what the fullest node's VMs request.

    :param nodes: list of :func:`node_facts`.
    :param pools: MachineConfigPools, which say how many of their nodes are drained at once; without any it is one node.
    :returns: ``{drained_at_once, pools: {name: nodes at once}, resources: {memory, hugepages-...: {fullest_node, fullest,
        needed, available, enough}}}``; ``available`` is what is free on the usable nodes without those drained, the
        fullest ones. None where pods could not be read. Only resources that VMs request are listed.
    """
    capable = [node for node in nodes if node["kubevirt_schedulable"] is not None]
    by_pool = drained_by_pool(capable, pools)
    at_once = max(1, sum(by_pool.values()))
    kinds = sorted({kind for node in capable for kind in node["vm_requests"] if kind == "memory" or kind.startswith("hugepages-")})
    return {"drained_at_once": at_once, "pools": by_pool,
            "resources": {kind: _spare_of(kind, capable, at_once) for kind in kinds}}


def _spare_of(kind, nodes, at_once):
    asked = {node["name"]: node["vm_requests"].get(kind, 0) for node in nodes}
    if None in asked.values() or any(node["vms"] is None for node in nodes):
        return {"fullest_node": None, "fullest": None, "needed": None, "available": None, "enough": None}
    order = sorted(nodes, key=lambda node: (-asked[node["name"]], node["name"]))
    left = [node for node in order[at_once:] if node["ready"] and not node["cordoned"] and node["kubevirt_schedulable"]]
    free = [node["free"].get(kind, 0) for node in left]
    fullest = order[0]["name"]
    needed, available = at_once * asked[fullest], None if None in free else sum(max(0, one) for one in free)
    return {"fullest_node": fullest, "fullest": asked[fullest], "needed": needed, "available": available,
            "enough": None if available is None else available >= needed}


def drained_by_pool(nodes, pools):
    """``{pool: nodes that are drained at once}`` of the pools that these nodes are in.

    ``maxUnavailable`` is a number or a share (rounded down), at least and by default one; a paused pool drains none. A node
    in the pool ``worker`` and another one belongs to the other one.
    """
    members = {}
    for node in nodes:
        mine = [pool for pool in pools if _in_pool(pool, node)]
        mine = [pool for pool in mine if text(pool, "metadata", "name") != "worker"] or mine
        for pool in mine[:1]:
            members.setdefault(text(pool, "metadata", "name"), (pool, []))[1].append(node)
    return {name: 0 if dig(pool, "spec", "paused") is True else min(len(inside), _at_once(pool, len(inside)))
            for name, (pool, inside) in sorted(members.items())}


def _in_pool(pool, node):
    wanted = mapping(pool, "spec", "nodeSelector", "matchLabels")
    return bool(wanted) and all(node["labels"].get(key) == value for key, value in wanted.items())


def _at_once(pool, size):
    said = dig(pool, "spec", "maxUnavailable")
    share = re.fullmatch(r"(\d{1,3})%", said) if isinstance(said, str) else None
    number = size * int(share.group(1)) // 100 if share else amount(said)
    return max(1, number or 1)
