# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a guest could go: every other node is a candidate, ruled out with its reasons, or undecided.

Says beforehand what the scheduler would say of the target pod (facts 3.3-3.10).
"""

from __future__ import annotations

import datetime
import json
from collections import namedtuple

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import target_pod
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.capacity import shortages
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_bytes
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    CREATED_BY,
    dig,
    labels,
    mapping,
    rows,
    text,
    texts,
)

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
HEARTBEAT_LIMIT = 300  # s; then virt-controller takes the node out (facts 3.9)
HEARTBEAT_PERIOD = 132  # s; the longest pause between two heartbeats of a healthy node

# What the target pod asks. ``asks``: {resource: amount}; ``labels``: those of the pod; ``own``: active pods of
# the guest; ``affinity``, ``tolerations``, ``spread``: as in the VMI's spec. ``unchecked``: None, or the CPU model that
# KubeVirt should ask of the target and does not (empty when nobody knows it).
Need = namedtuple(
    "Need", "namespace uid source selector forbidden affinity tolerations labels asks own spread unchecked", defaults=((), None))
# ``ruled_out``: {node: [(code, detail)]}; ``undecided``: {node: what could not be told}.
Placement = namedtuple("Placement", "candidates ruled_out undecided")


class HostModelUnknown(Exception):
    """The source node names no host CPU model, and KubeVirt makes no target pod then."""


def need_of(vmi, own, source_labels, release, config):
    """The :class:`Need` of a running VMI.

    :param own: its active pods, the one on its node is the source pod; None when pods could not be read. Then the
        CPU labels of a host-model guest are not known either: the source pod may hold an older baseline.
    :param source_labels: labels of its node; None when that is not there.
    :raises HostModelUnknown: see there; also when its node is not there to be asked.
    """
    node = text(vmi, "status", "nodeName")
    source_pod = next((pod for pod in own or [] if dig(pod, "spec", "nodeName") == node), {})
    selector, unchecked = target_pod.node_selector(vmi, config, release), None
    if target_pod.cpu_model(vmi, config) == "host-model" and own is not None:
        host = target_pod.host_model_selector(source_labels, mapping(source_pod, "spec", "nodeSelector"), release)
        if host is None or (source_labels is None and not host):
            raise HostModelUnknown(node)
        if not any(key.startswith(target_pod.MIGRATION_MODEL) for key in host):
            unchecked = target_pod.host_model(source_labels) or ""
        selector.update(host)
    selector.update(target_pod.vendor_selector(source_labels, selector, release))
    return Need(
        namespace=text(vmi, "metadata", "namespace"), uid=text(vmi, "metadata", "uid"), source=node, selector=selector,
        forbidden=target_pod.forbidden_labels(vmi), affinity=mapping(vmi, "spec", "affinity"),
        tolerations=rows(vmi, "spec", "tolerations"), labels=labels(source_pod) or labels(vmi),
        asks=dict(target_pod.requests(vmi, release, config), pods=1), own=own or [],
        spread=rows(vmi, "spec", "topologySpreadConstraints"), unchecked=unchecked,
    )


class Scene:
    """The nodes and what stands on them, asked once per guest.

    :param nodes: list of :func:`~.capacity.node_facts`.
    :param pods: active pods; None when they could not be read.
    :param namespaces: ``{name: labels}``; None when they could not be read.
    :param now: seconds since the epoch.
    :param against: ``{node: [(code, detail)]}``, what else rules a node out for every guest.
    """

    def __init__(self, nodes, pods, namespaces, now, against=None):
        self.nodes = {node["name"]: node for node in nodes}
        self._pods = [pod for pod in pods or [] if text(pod, "spec", "nodeName") in self.nodes]
        self._namespaces = namespaces
        self._by_labels, self._domains_of, self._places = {}, {}, {}
        self._states = _states(nodes, now)
        for name, found in (against or {}).items():
            if name in self._states:
                self._states[name][0].extend(found)
        self._repelling = self._repelling_terms()

    def place(self, need):
        """The :class:`Placement`; candidates best first: most room left, then fewest guests, then by name."""
        if any(dig(pod, "spec", "nodeName") != need.source for pod in need.own):
            everywhere = self._judge_nodes(need)
        else:  # many guests ask the same, and only differ in where they are
            apart = self._repelling or need.affinity or need.spread
            others = [need.namespace, need.labels, need.affinity, need.spread] if apart else None
            key = json.dumps([_asked_of_labels(need), sorted(need.asks.items()), others], sort_keys=True, default=str)
            if key not in self._places:
                self._places[key] = self._judge_nodes(need._replace(own=[]))
            everywhere = self._places[key]
        return Placement(
            [name for name in everywhere.candidates if name != need.source],
            {name: row for name, row in everywhere.ruled_out.items() if name != need.source},
            {name: row for name, row in everywhere.undecided.items() if name != need.source},
        )

    def _judge_nodes(self, need):
        placement = Placement([], {}, {})
        static = self._static(need)
        repelled, affinity_unknown = self._affinity(need)
        uneven, spread_unknown = self._spread(need, static)
        for name, node in self.nodes.items():
            against, unknown = static[name]
            against = against + [(code, "") for code in repelled if name in repelled[code]]
            against += [("TopologySpread", uneven[name])] if name in uneven else []
            own = [pod for pod in need.own if dig(pod, "spec", "nodeName") == name]
            for resource, asked, free in shortages(need.asks, node, own):
                if free is None:
                    unknown = unknown or "what it has free of %s" % resource
                else:
                    against.append((_short_code(resource), _short_text(resource, asked, free)))
            unknown = unknown or affinity_unknown or spread_unknown
            if against:
                placement.ruled_out[name] = against
            elif unknown:
                placement.undecided[name] = unknown
            else:
                placement.candidates.append(name)
        placement.candidates.sort(key=lambda name: self._rank(need, self.nodes[name]))
        return placement

    @staticmethod
    def _rank(need, node):
        scarce = next((resource for resource in need.asks if resource.startswith("hugepages-")), "memory")
        return (need.asks.get(scarce, 0) - (node["free"].get(scarce) or 0), node["vms"] or 0, node["name"])

    # -- labels and taints, the same for all guests that ask the same -----------

    def _static(self, need):
        asked = _asked_of_labels(need)
        required, key = asked[2], json.dumps(asked, sort_keys=True, default=str)
        if key not in self._by_labels:
            self._by_labels[key] = {
                name: self._labels_and_taints(need, node, required) for name, node in self.nodes.items()
            }
        return self._by_labels[key]

    def _labels_and_taints(self, need, node, required):
        state, unknown = self._states[node["name"]]
        against = list(state)
        missing = {}
        for label, value in need.selector.items():
            if label != target_pod.SCHEDULABLE and node["labels"].get(label) != value:
                missing.setdefault(_label_code(label), []).append(label)
        for label in need.forbidden:
            if label in node["labels"]:
                missing.setdefault("CpuMismatch", []).append("not " + label)
        against += [(code, _few(names)) for code, names in missing.items()]
        fits = node_affinity_fits(required, node) if required else True
        if fits is False:
            against.append(("NodeAffinityMismatch", ""))
        told_already = any(code in ("Cordoned", "NotReady") for code, detail in state)
        taints = [taint for taint in node["taints"] if _repels(taint, need.tolerations, told_already)]
        if taints:
            against.append(("TaintNotTolerated", _few([str(taint.get("key")) for taint in taints])))
        return against, unknown or ("its node affinity" if fits is None else "")

    # -- affinity between pods ----------------------------------------------------

    def _affinity(self, need):
        """``({code: nodes it rules out}, what could not be judged or "")``."""
        ruled, unknown = {}, ""
        for code, kind, wanted in (("AntiAffinity", "podAntiAffinity", False), ("PodAffinity", "podAffinity", True)):
            for term in rows(need.affinity, kind, REQUIRED):
                domains = self._domains(term, need.namespace)
                if domains is None:
                    unknown = "its affinity to other pods"
                    continue
                topology = text(term, "topologyKey")
                if wanted and not domains and self._selects(term, need.namespace, need.namespace, need.labels):
                    continue  # the first of its kind may go anywhere
                for name, node in self.nodes.items():
                    if (node["labels"].get(topology) in domains) != wanted:
                        ruled.setdefault(code, set()).add(name)
        for term, namespace, topology, domains in self._repelling:
            hit = self._selects(term, namespace, need.namespace, need.labels)
            if hit is None:
                unknown = "the anti-affinity of other pods"
            elif hit:
                names = {name for name, node in self.nodes.items() if node["labels"].get(topology) in domains}
                ruled.setdefault("AntiAffinity", set()).update(names)
        return ruled, unknown

    def _domains(self, term, namespace):
        """The topology values where pods that the term selects run; None when that cannot be told."""
        key = json.dumps([term, namespace], sort_keys=True, default=str)
        if key not in self._domains_of:
            self._domains_of[key] = self._find_domains(term, namespace)
        return self._domains_of[key]

    def _find_domains(self, term, namespace):
        found = set()
        for pod in self._pods:
            hit = self._selects(term, namespace, text(pod, "metadata", "namespace"), labels(pod))
            if hit is None:
                return None
            if hit:
                found.add(self.nodes[pod["spec"]["nodeName"]]["labels"].get(text(term, "topologyKey")))
        return found - {None}

    def _repelling_terms(self):
        """Required anti-affinity of the pods that are there, as ``(term, namespace, topology, domains)``.

        What KubeVirt gives each target pod (against pods of the same guest) is left out: it only concerns the node
        the guest is on.
        """
        found = {}
        for pod in self._pods:
            for term in rows(pod, "spec", "affinity", "podAntiAffinity", REQUIRED):
                if CREATED_BY in mapping(term, "labelSelector", "matchLabels"):
                    continue
                namespace, topology = text(pod, "metadata", "namespace"), text(term, "topologyKey")
                key = json.dumps([term, namespace], sort_keys=True, default=str)
                row = found.setdefault(key, (term, namespace, topology, set()))
                row[3].add(self.nodes[pod["spec"]["nodeName"]]["labels"].get(topology))
        return [(term, namespace, topology, domains - {None}) for term, namespace, topology, domains in found.values()]

    # -- topology spread -------------------------------------------------------------

    def _spread(self, need, static):
        """``({node: which constraint}, what could not be judged or "")`` of the constraints that must hold.

        The source pod is there until the end and counts. Nodes that the guest's own selectors exclude form no domain,
        unless the constraint ignores them; taints only where it says so.
        """
        ruled, unknown = {}, ""
        for constraint in need.spread:
            if constraint.get("whenUnsatisfiable") != "DoNotSchedule":
                continue
            key, skew = text(constraint, "topologyKey"), constraint.get("maxSkew")
            counts = None if constraint.get("matchLabelKeys") else self._counts(constraint, need, static)
            if counts is None or not isinstance(skew, int) or isinstance(skew, bool):
                unknown = "its topology spread constraints"
                continue
            least = min(counts.values()) if counts else 0
            if isinstance(constraint.get("minDomains"), int) and len(counts) < constraint["minDomains"]:
                least = 0
            itself = 1 if label_selector_matches(constraint.get("labelSelector"), need.labels) else 0
            for name, node in self.nodes.items():
                domain = node["labels"].get(key)
                if domain is None:
                    ruled[name] = "%s: not on the node" % key
                elif counts.get(domain, 0) + itself - least > skew:
                    ruled[name] = "%s: %d there, %d where fewest, %d more allowed" % (key, counts.get(domain, 0), least, skew)
        return ruled, unknown

    def _counts(self, constraint, need, static):
        """``{domain: pods that count there}``; None when that cannot be told."""
        key = text(constraint, "topologyKey")
        counts = {}
        for name, node in self.nodes.items():
            codes = {code for code, _detail in static[name][0]}
            outside = constraint.get("nodeAffinityPolicy") != "Ignore" and codes & _BY_SELECTOR
            tainted = constraint.get("nodeTaintsPolicy") == "Honor" and codes & {"TaintNotTolerated", "Cordoned", "NotReady"}
            if key in node["labels"] and not outside and not tainted:
                counts[node["labels"][key]] = 0
        for pod in self._pods:
            domain = self.nodes[pod["spec"]["nodeName"]]["labels"].get(key)
            if domain not in counts or text(pod, "metadata", "namespace") != need.namespace or \
                    dig(pod, "metadata", "deletionTimestamp"):
                continue
            hit = label_selector_matches(constraint.get("labelSelector"), labels(pod))
            if hit is None:
                return None
            counts[domain] += hit
        return counts

    def _selects(self, term, own_namespace, namespace, pod_labels):
        """Whether an affinity term of a pod in ``own_namespace`` selects a pod; None when that cannot be told."""
        if term.get("matchLabelKeys") or term.get("mismatchLabelKeys"):
            return None
        by_labels = label_selector_matches(term.get("labelSelector"), pod_labels)
        if by_labels is False:
            return False
        chosen, selector = texts(term, "namespaces"), term.get("namespaceSelector")
        if selector is None:
            inside = namespace in (chosen or [own_namespace])
        elif namespace in chosen or selector == {}:
            inside = True
        elif self._namespaces is None:
            inside = None
        else:
            inside = label_selector_matches(selector, self._namespaces.get(namespace, {}))
        return inside if by_labels else (None if inside is not False else False)


# Codes that come from the guest's own node selector and node affinity.
_BY_SELECTOR = {
    "NodeSelectorMismatch", "NodeAffinityMismatch", "CpuMismatch", "MachineTypeMissing", "NoCpuManager", "HostFeatureMissing",
    "NoVirtHandler", "KubeVirtNotSchedulable",
}


def _asked_of_labels(need):
    required = mapping(need.affinity, "nodeAffinity").get(REQUIRED)
    return [need.selector, need.forbidden, required, need.tolerations]


def _states(nodes, now):
    """``{node: ([(code, detail)] against any guest, what cannot be told)}``."""
    beats = {node["name"]: _epoch(node["heartbeat"]) for node in nodes}
    newest = max([beat for beat in beats.values() if beat is not None] or [now])
    # Our clock may be wrong: no later than a healthy node's next heartbeat, no earlier than the newest one.
    now = max(newest, min(now, newest + HEARTBEAT_PERIOD))
    states = {}
    for node in nodes:
        against, beat = [], beats[node["name"]]
        if node["ready"] is False:
            against.append(("NotReady", ""))
        if node["cordoned"]:
            against.append(("Cordoned", ""))
        if node["kubevirt_schedulable"] is None:
            against.append(("NoVirtHandler", ""))
        elif not node["kubevirt_schedulable"]:
            against.append(("KubeVirtNotSchedulable", ""))
        elif beat is not None and now - beat > HEARTBEAT_LIMIT:
            against.append(("StaleHeartbeat", "last at %s" % node["heartbeat"]))
        states[node["name"]] = (against, "whether it is Ready" if node["ready"] is None else "")
    return states


def _epoch(stamp):
    try:
        return datetime.datetime.strptime(stamp[:19] + "Z", "%Y-%m-%dT%H:%M:%SZ").replace(
            tzinfo=datetime.timezone.utc).timestamp()
    except (ValueError, OverflowError):
        return None


_CPU_LABELS = (
    target_pod.MIGRATION_MODEL, target_pod.MODEL, target_pod.FEATURE, target_pod.VENDOR, target_pod.HYPERV,
    target_pod.TSC_FREQUENCY,
)


def _label_code(label):
    if label.startswith(_CPU_LABELS):
        return "CpuMismatch"
    if label.startswith(target_pod.MACHINE_TYPE):
        return "MachineTypeMissing"
    if label in ("cpumanager", "kubevirt.io/cpumanager"):
        return "NoCpuManager"
    return "HostFeatureMissing" if label.startswith("kubevirt.io/") else "NodeSelectorMismatch"


def _short_code(resource):
    if resource.startswith("hugepages-"):
        return "HugepagesShort"
    return {"memory": "MemoryShort", "cpu": "CpuShort", "pods": "PodsShort"}.get(resource, "DevicesShort")


def _short_text(resource, asked, free):
    if resource == "memory" or resource.startswith("hugepages-"):
        return "%s: %s asked, %s free" % (resource, format_bytes(asked), format_bytes(max(free, 0)))
    scale = 1000.0 if resource == "cpu" else 1
    return "%s: %g asked, %g free" % (resource, asked / scale, max(free, 0) / scale)


def _few(names):
    names = sorted(names)
    return ", ".join(names[:5]) + (" and %d more" % (len(names) - 5) if len(names) > 5 else "")


_TOLD_BY_STATE = ("node.kubernetes.io/unschedulable", "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def _repels(taint, tolerations, told_already):
    """Whether a taint keeps the pod away; what Cordoned and NotReady say already is not said twice."""
    if taint.get("effect") not in ("NoSchedule", "NoExecute") or (told_already and taint.get("key") in _TOLD_BY_STATE):
        return False
    return not any(_tolerates(toleration, taint) for toleration in tolerations)


def _tolerates(toleration, taint):
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    key, operator = toleration.get("key"), toleration.get("operator") or "Equal"
    if not key:
        return operator == "Exists"
    if key != taint.get("key"):
        return False
    return operator == "Exists" or (toleration.get("value") or "") == (taint.get("value") or "")


# -- selectors; None always means: cannot be told ---------------------------------


def node_affinity_fits(required, node):
    """Whether one of the terms of a required node affinity fits a node."""
    if not isinstance(required, dict):
        return None
    answers = []
    for term in rows(required, "nodeSelectorTerms"):
        checks = [_expression_fits(row, node["labels"]) for row in rows(term, "matchExpressions")]
        checks += [_expression_fits(row, {"metadata.name": node["name"]}) for row in rows(term, "matchFields")]
        answers.append(_all(checks) if checks else False)
    return True if True in answers else None if None in answers else False


def label_selector_matches(selector, found):
    """Whether a label selector matches labels; a missing one matches nothing, an empty one everything."""
    if selector is None:
        return False
    if not isinstance(selector, dict):
        return None
    checks = [found.get(key) == value for key, value in mapping(selector, "matchLabels").items()]
    return _all(checks + [_expression_fits(row, found) for row in rows(selector, "matchExpressions")])


def _all(checks):
    return False if False in checks else None if None in checks else True


def _expression_fits(row, found):
    key, values = text(row, "key"), texts(row, "values")
    operator = row.get("operator")
    if operator == "In":
        return found.get(key) in values
    if operator == "NotIn":
        return found.get(key) not in values
    if operator == "Exists":
        return key in found
    if operator == "DoesNotExist":
        return key not in found
    if operator in ("Gt", "Lt") and len(values) == 1:
        try:
            label, bound = int(found[key]), int(values[0])
        except KeyError:
            return False
        except ValueError:
            return None
        return label > bound if operator == "Gt" else label < bound
    return None
