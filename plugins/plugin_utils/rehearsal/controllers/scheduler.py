# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scheduler: puts pending pods on nodes by the rules that decide about a virt-launcher pod.

Node selector, required node affinity, taints and cordons, required pod
(anti-)affinity, and what a node has left to give. Of the nodes that fit, the one
with the most of what the pod asks is taken, after preferred node affinity.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.capacity import pod_requests
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.target_pod import quantity
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    Loop,
    has_condition,
    is_active,
    is_deleted,
    key_of,
    knob,
    phase_of,
    set_condition,
)

UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


class Scheduler:
    """Binds pods; those that fit nowhere are tried again whenever nodes or pods change."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self.loop = Loop(world, self._schedule, (0.05, 0.4))
        self._asked, self._waiting = {}, set()
        self.store.on_event("pods", self._pod)
        self.store.on_event("nodes", lambda kind, obj, old: self._retry() if _matters(kind, obj, old) else None)
        for pod in self.store.by_index("pods", "node", ""):
            self._pod("ADDED", pod, None)

    def _pod(self, kind, pod, old):
        if kind == "DELETED":
            self._asked.pop(pod["metadata"]["uid"], None)
            self._waiting.discard(key_of(pod))
        if kind == "DELETED" or (old is not None and is_active(old) and not is_active(pod)):
            self._retry()
        elif kind == "ADDED" and not pod["spec"].get("nodeName"):
            self.loop.add(key_of(pod))

    def _retry(self):
        for key in sorted(self._waiting):
            self.loop.add(key)

    def _schedule(self, key):
        pod = self.store.get("pods", *key)
        self._waiting.discard(key)
        if pod is None or pod["spec"].get("nodeName") or is_deleted(pod) or phase_of(pod) != "Pending":
            return
        fitting, refused = self._sorted_out(pod)
        if fitting:
            self._bind(key, min(fitting, key=lambda node: self._rank(pod, node))["metadata"]["name"])
            return
        self._waiting.add(key)
        total = sum(refused.values())
        reasons = ", ".join("%d %s" % (count, why) for why, count in sorted(refused.items()))
        message = "0/%d nodes are available: %s." % (total, reasons or "no nodes")
        if not _says(pod, message):
            now = self.world.stamp()
            self.store.modify("pods", *key, lambda new: set_condition(
                new, "PodScheduled", False, "Unschedulable", message, now))
            self.world.event(pod, "FailedScheduling", message, "Warning", "default-scheduler")

    def _bind(self, key, node):
        def bound(pod):
            pod["spec"]["nodeName"] = node
            set_condition(pod, "PodScheduled", True, now=self.world.stamp())

        self.store.modify("pods", *key, bound)

    def _sorted_out(self, pod):
        fitting, refused = [], {}
        for node in self.store.list("nodes"):
            why = self.refusal(pod, node)
            if why is None:
                fitting.append(node)
            else:
                refused[why] = refused.get(why, 0) + 1
        return fitting, refused

    def refusal(self, pod, node):
        """Why a pod cannot go to a node, in the scheduler's usual words; None when it can."""
        spec, labels = pod["spec"], node["metadata"].get("labels") or {}
        if knob(pod, "fail") == "unschedulable":
            return "node(s) were refused by an injected failure"
        taint = untolerated(node, spec.get("tolerations") or [])
        if taint is not None:
            return "node(s) had untolerated taint {%s}" % taint
        if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
            return "node(s) didn't match Pod's node affinity/selector"
        affinity = spec.get("affinity") or {}
        required = (affinity.get("nodeAffinity") or {}).get(REQUIRED) or {}
        terms = required.get("nodeSelectorTerms")
        if terms and not any(node_matches(term, node) for term in terms):
            return "node(s) didn't match Pod's node affinity/selector"
        short = self._short_of(pod, node)
        if short:
            return "Insufficient %s" % short
        apart, beside = ((affinity.get(kind) or {}).get(REQUIRED) or [] for kind in ("podAntiAffinity", "podAffinity"))
        if any(self._has_neighbour(term, pod, node) for term in apart):
            return "node(s) didn't match pod anti-affinity rules"
        if any(not self._has_neighbour(term, pod, node) for term in beside):
            return "node(s) didn't match pod affinity rules"
        return None

    def free(self, node):
        """What a node has left: ``{resource: int}`` (CPU in millicores)."""
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        left = {key: quantity(value, 1000 if key == "cpu" else 1) for key, value in allocatable.items()}
        for pod in self.store.by_index("pods", "node", node["metadata"]["name"]):
            if is_active(pod):
                for key, value in self._requests(pod).items():
                    left[key] = left.get(key, 0) - value
                left["pods"] = left.get("pods", 110) - 1
        return left

    def _short_of(self, pod, node):
        left = self.free(node)
        if left.get("pods", 1) < 1:
            return "pods"
        return next((key for key, value in sorted(self._requests(pod).items()) if value > left.get(key, 0)), None)

    def _requests(self, pod):
        known = self._asked.get(pod["metadata"]["uid"])
        if known is None:
            known = self._asked[pod["metadata"]["uid"]] = {key: value or 0 for key, value in pod_requests(pod).items()}
        return known

    def _has_neighbour(self, term, pod, node):
        """Whether a pod that the term selects is in the same place (topologyKey) as ``node``."""
        place = (node["metadata"].get("labels") or {}).get(term.get("topologyKey"))
        if place is None:
            return False
        namespaces = term.get("namespaces") or [pod["metadata"]["namespace"]]
        for other in self.store.list("nodes"):
            if (other["metadata"].get("labels") or {}).get(term["topologyKey"]) != place:
                continue
            for neighbour in self.store.by_index("pods", "node", other["metadata"]["name"]):
                if is_active(neighbour) and neighbour["metadata"]["namespace"] in namespaces and selects(
                        term.get("labelSelector"), neighbour["metadata"].get("labels") or {}):
                    return True
        return False

    def _rank(self, pod, node):
        left, asked = self.free(node), self._requests(pod)
        scarce = next((key for key in sorted(asked) if key.startswith("hugepages-") and asked[key]), "memory")
        preferred = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get(PREFERRED) or []
        weight = sum(term.get("weight", 1) for term in preferred if node_matches(term.get("preference") or {}, node))
        return -weight, -left.get(scarce, 0), node["metadata"]["name"]


# -- rules -----------------------------------------------------------------------


def untolerated(node, tolerations):
    """The first taint that keeps a pod away, as text; None when there is none."""
    taints = list((node.get("spec") or {}).get("taints") or [])
    if (node.get("spec") or {}).get("unschedulable"):
        taints.append(UNSCHEDULABLE)
    if not has_condition(node, "Ready"):
        taints.append(NOT_READY)
    for taint in taints:
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not any(_tolerates(t, taint) for t in tolerations):
            return "%s: %s" % (taint.get("key"), taint.get("value") or "")
    return None


def _tolerates(toleration, taint):
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def node_matches(term, node):
    """A nodeSelectorTerm: expressions on labels, and fields (metadata.name)."""
    labels = node["metadata"].get("labels") or {}
    fields = {"metadata.name": node["metadata"]["name"]}
    rules = [(rule, labels) for rule in term.get("matchExpressions") or []]
    rules += [(rule, fields) for rule in term.get("matchFields") or []]
    return bool(rules) and all(_holds(rule, values) for rule, values in rules)


def _holds(rule, labels):
    value, wanted, operator = labels.get(rule["key"]), rule.get("values") or [], rule.get("operator")
    if operator in ("Gt", "Lt"):
        try:
            return int(value) > int(wanted[0]) if operator == "Gt" else int(value) < int(wanted[0])
        except (TypeError, ValueError, IndexError):
            return False
    return {"In": value in wanted, "NotIn": value not in wanted, "Exists": value is not None,
            "DoesNotExist": value is None}.get(operator, False)


def selects(selector, labels):
    """A labelSelector with matchLabels and matchExpressions; None selects nothing."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(rule, labels) for rule in selector.get("matchExpressions") or [])


def _matters(kind, node, old):
    """Heartbeats and the like do not make room."""
    if kind != "MODIFIED":
        return True
    return any(
        (node.get(part) or {}).get(field) != (old.get(part) or {}).get(field)
        for part, field in (("metadata", "labels"), ("spec", "taints"), ("spec", "unschedulable"),
                            ("status", "allocatable"), ("status", "conditions"))
    )


def _says(pod, message):
    rows = (pod.get("status") or {}).get("conditions") or []
    return any(row.get("type") == "PodScheduled" and row.get("message") == message for row in rows)
