# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a node is as good as it was before its maintenance: what a returning guest needs, compared with a snapshot.

A host that lost memory modules boots with fewer 1 GiB pages; one whose migration network did not come up makes
KubeVirt use the pod network without a word (facts 4.2).
"""

from __future__ import annotations

import json
import textwrap

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.lease import epoch
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_bytes, format_duration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    amount,
    condition,
    dig,
    labels,
    mapping,
    rows,
    text,
    texts,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.settings import release_of

HEARTBEAT = "kubevirt.io/heartbeat"
HEARTBEAT_LIMIT = 300  # s; after so long a silence virt-controller takes the node out (facts 3.9)
SCHEDULABLE = "kubevirt.io/schedulable"
CPU_MANAGER = "kubevirt.io/cpumanager"
OLD_CPU_MANAGER = "cpumanager"
CPU_MANAGER_SINCE = (1, 8)
INTERFACE = "migration0"
NETWORK_STATUS = ("k8s.v1.cni.cncf.io/network-status", "k8s.v1.cni.cncf.io/networks-status")  # the second: older multus
PREP_TAINT = "live-migration.bigvm.io/node-prep"  # keeps guests off a node that is handed to the machine-config operator
OWN_TAINTS = ("node.kubernetes.io/unschedulable", PREP_TAINT)  # what a cordon sets, and what a preparation does
COMPARED = ("hugepages-", "devices.kubevirt.io/")

HANDLER = "Look at the virt-handler pod of the node (kubectl describe, its log)"


def snapshot(scene):
    """What is remembered of a node before its maintenance: a small plain dict for the journal.

    :param scene: ``{node, handlers: [pod] or None, kubevirt, now}``; what is None could not be read.
    """
    node = scene["node"]
    return {
        "ready": condition(node, "Ready").get("status") == "True",
        "schedulable": labels(node).get(SCHEDULABLE) == "true",
        "cpu_manager": has_cpu_manager(node, _release(scene)),
        "allocatable": {name: str(value) for name, value in sorted(mapping(node, "status", "allocatable").items())
                        if name.startswith(COMPARED) and (amount(value) or 0) > 0},
        "taints": sorted(_taints(node)),
        "network": network_of(scene["kubevirt"]),
        "migration_address": next((found for found in map(migration_address, scene["handlers"] or []) if found), None),
    }


def has_cpu_manager(node, release=None):
    """Whether the kubelet pins CPUs, as the label says that this release of KubeVirt sets (facts 3.9).

    :param release: ``(1, 9)``; None when it is not known: then any of the two labels counts.
    """
    found = labels(node)
    if release is not None and release < CPU_MANAGER_SINCE:
        return found.get(OLD_CPU_MANAGER) == "true"
    return found.get(CPU_MANAGER, found.get(OLD_CPU_MANAGER)) == "true"


def network_of(kubevirt):
    """The migration network of the cluster, or None."""
    return text(kubevirt, "spec", "configuration", "migrations", "network") or None


def migration_address(pod):
    """The address of ``migration0`` in a virt-handler pod, or None (facts 4.2)."""
    notes = mapping(pod, "metadata", "annotations")
    for key in NETWORK_STATUS:
        try:
            found = json.loads(notes.get(key) or "[]")
        except (TypeError, ValueError):
            continue
        for row in rows({"rows": found}, "rows"):
            if row.get("interface") == INTERFACE and texts(row, "ips"):
                return texts(row, "ips")[0]
    return None


def judge(scene, before=None):
    """What is not as it was, or not as a guest needs it.

    :param scene: as for :func:`snapshot`; ``node`` may be None.
    :param before: a :func:`snapshot`; without one nothing can be compared, the rest is asked all the same.
    :returns: ``[{code, message, remedy}]``; empty when the node is good.
    """
    node = scene["node"]
    if node is None:
        return [_problem("node_missing", "The node is not there: it has not registered with the cluster.",
                         "Look at its console and at its kubelet.")]
    before = before or {}
    return [problem for found in (
        _kubelet(node, before), _handler(scene), _heartbeat(scene), _labels(node, before, _release(scene)),
        _resources(node, before), _network(scene)) for problem in found]


def _kubelet(node, before):
    ready = condition(node, "Ready")
    if ready.get("status") != "True":
        yield _problem(
            "node_not_ready", "The node is not Ready (%s)." % (text(ready, "message") or text(ready, "reason") or "it says nothing"),
            "Look at its console and at its kubelet.")
    new = sorted(_taints(node) - set(texts(before, "taints"))) if "taints" in before else []
    if new:
        yield _problem("taint_new", "The node has a taint that it did not have: %s." % ", ".join(new),
                       "Find out who set it; it goes by itself when its cause is gone, or remove it.")


def _taints(node):
    return {text(row, "key") for row in rows(node, "spec", "taints")
            if row.get("effect") in ("NoSchedule", "NoExecute") and row.get("key") not in OWN_TAINTS}


def _handler(scene):
    if scene["handlers"] is None:
        yield _problem("handler_unreadable", "Whether virt-handler runs on the node cannot be told: its pods may not be read.",
                       "Get the right to list pods in the namespace of KubeVirt.")
        return
    if not _alive(scene["handlers"]):
        found = next((text(pod, "status", "phase") for pod in scene["handlers"]), "")
        yield _problem("handler_not_ready", "virt-handler is not ready on the node (%s)." % (found or "no pod"), HANDLER + ".")


def _alive(handlers):
    return [pod for pod in handlers if condition(pod, "Ready").get("status") == "True"
            and not dig(pod, "metadata", "deletionTimestamp")]


def _heartbeat(scene):
    """Fresh: not silent for long, and from the virt-handler that runs now, not from the one before a quick reboot."""
    beat = epoch(mapping(scene["node"], "metadata", "annotations").get(HEARTBEAT))
    if beat is None:
        yield _problem("heartbeat_missing", "The node has no heartbeat of virt-handler.", HANDLER + ".")
        return
    if scene["now"] - beat > HEARTBEAT_LIMIT:
        yield _problem("heartbeat_stale", "The last heartbeat of virt-handler is %s old."
                       % format_duration(scene["now"] - beat), HANDLER + ".")
        return
    started = [epoch(text(row, "state", "running", "startedAt"))
               for pod in _alive(scene["handlers"] or []) for row in rows(pod, "status", "containerStatuses")]
    if any(moment is not None and moment > beat for moment in started):
        yield _problem("heartbeat_stale", "virt-handler has started and has not given a heartbeat since.",
                       "It gives one within about two minutes. If not: " + HANDLER.lower() + ".")


def _labels(node, before, release):
    if labels(node).get(SCHEDULABLE) != "true":
        yield _problem("not_schedulable", "KubeVirt does not place guests on the node (%s is %s)."
                       % (SCHEDULABLE, labels(node).get(SCHEDULABLE) or "not set"), HANDLER + ".")
    if before.get("cpu_manager") and not has_cpu_manager(node, release):
        yield _problem("cpu_manager_lost", "The kubelet no longer pins CPUs (the label cpumanager is not true).",
                       "Look at the kubelet's cpuManagerPolicy; remove its stale cpu_manager_state file if it complains of it.")


def _resources(node, before):
    now = mapping(node, "status", "allocatable")
    for name, value in sorted(mapping(before, "allocatable").items()):
        had, has = amount(value) or 0, amount(now.get(name, 0)) or 0
        if has >= had:
            continue
        if name.startswith("hugepages-"):
            yield _problem(
                "hugepages_missing", "The node has %s of %s, before it had %s." % (format_bytes(has), name, format_bytes(had)),
                "Look whether all memory was found at boot (firmware log, dmidecode) and whether the kernel arguments still "
                "reserve the pages.")
        else:
            yield _problem("device_missing", "The node offers %s of %s, before it offered %s." % (now.get(name, 0), name, value),
                           "Look whether virtualisation is on in the firmware, and at virt-handler, which offers the device.")


def _network(scene):
    network = network_of(scene["kubevirt"])
    if not network or scene["handlers"] is None:
        return
    if not any(map(migration_address, _alive(scene["handlers"]))):
        yield _problem(
            "migration_network_down", "virt-handler has no address on the migration network %s (%s)." % (network, INTERFACE),
            "Look at the node's link and VLAN, and at the NetworkAttachmentDefinition; then delete the virt-handler pod of "
            "the node, which attaches it anew. Without it migrations would take the pod network.")


def problem_lines(problems):
    """Problems in words, lines of at most 78 columns."""
    return [line for row in problems for line in textwrap.wrap("%(message)s %(remedy)s" % row, 78, subsequent_indent="  ")]


def good_lines(scene, before=None):
    """A good node in words, lines of at most 78 columns."""
    node = scene["node"]
    lines = ["Ready, virt-handler alive, KubeVirt places guests here"]
    found = mapping(node, "status", "allocatable")
    for name in sorted(mapping(before or {}, "allocatable")):
        if name.startswith("hugepages-"):
            lines.append("%s: %s, not less than before" % (name, format_bytes(amount(found.get(name)) or 0)))
    if any(name.startswith("devices.") for name in mapping(before or {}, "allocatable")):
        lines.append("all KubeVirt devices are offered")
    address = next((one for one in map(migration_address, scene["handlers"] or []) if one), None)
    if network_of(scene["kubevirt"]):
        lines.append("migration network %s: %s" % (network_of(scene["kubevirt"]), address))
    if not before:
        lines.append("nothing is known of how it was before: only the rest was looked at")
    return [line[:78] for line in lines]


def _release(scene):
    return release_of(text(scene["kubevirt"], "status", "observedKubeVirtVersion"))


def _problem(code, message, remedy):
    return {"code": code, "message": message, "remedy": remedy}
