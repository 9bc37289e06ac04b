# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""virt-launcher pods: rendered from a VMI for its start, and for a migration's target (facts 3.1-3.11)."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import target_pod
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    CREATED_BY,
    JOB_NAME,
    JOB_UID,
    is_active,
    knob,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.objects import KNOB, owner

HOSTNAME = "kubernetes.io/hostname"
OVERHEAD = "kubevirt.io/memory-overhead-bytes"
NOT_CARRIED = ("kubectl.kubernetes.io", "kubevirt.io/storage-observed-api-version", "kubevirt.io/latest-observed-api-version", KNOB)
USUAL_GRACE, PADDING = 30, 30  # s: what a guest has to shut down when it does not say, and what its pod has beyond that


class HostModelUnknown(Exception):
    """The source node has no host model label, and this release makes no target pod then (facts 3.5)."""


def quantities(wanted):
    """Requests as a pod writes them: CPU in millicores, everything else in plain numbers."""
    return {key: "%dm" % value if key == "cpu" else str(value) for key, value in wanted.items()}


def launcher(vmi, generation, config):
    """The pod that starts a guest."""
    meta, spec = vmi["metadata"], vmi["spec"]
    wanted = quantities(target_pod.compute_requests(vmi, generation.name, config))
    wanted["ephemeral-storage"] = target_pod.EPHEMERAL_STORAGE
    limits = {key: value for key, value in wanted.items() if key.startswith(("hugepages-", "devices.kubevirt.io/"))}
    most = (spec["domain"].get("resources") or {}).get("limits") or {}
    if most.get("cpu"):
        limits["cpu"] = most["cpu"]
    if most.get("memory"):
        limits["memory"] = str(target_pod.quantity(most["memory"]) + target_pod.memory_overhead(vmi, generation.name, config))
    if target_pod.dedicated_cpus(vmi):
        limits.update(cpu=wanted["cpu"], memory=wanted["memory"])
    affinity = dict(spec.get("affinity") or {})
    forbidden = [{"key": label, "operator": "DoesNotExist"} for label in target_pod.forbidden_labels(vmi)]
    if forbidden:
        affinity["nodeAffinity"] = _also_required(affinity.get("nodeAffinity"), forbidden)
    labels = dict(meta.get("labels") or {})
    labels.update({"kubevirt.io": "virt-launcher", CREATED_BY: meta["uid"], "vm.kubevirt.io/name": meta["name"][:63]})
    if generation.guest_id_label:
        labels["vmi.kubevirt.io/id"] = meta["name"][:63]
    pod = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "virt-launcher-%s-" % meta["name"], "namespace": meta["namespace"], "labels": labels,
            "annotations": _annotations(vmi, generation, config), "ownerReferences": [owner(vmi)],
        },
        "spec": {
            "containers": [{"name": "compute", "image": "virt-launcher:" + generation.kubevirt,
                            "resources": {"requests": wanted, "limits": limits}}],
            "nodeSelector": target_pod.node_selector(vmi, config, generation.name),
            "restartPolicy": "Never", "schedulerName": spec.get("schedulerName") or "default-scheduler",
            "terminationGracePeriodSeconds": spec.get("terminationGracePeriodSeconds", USUAL_GRACE) + PADDING,
        },
        "status": {"phase": "Pending", "qosClass": "Guaranteed" if target_pod.dedicated_cpus(vmi) else "Burstable"},
    }
    beside = target_pod.console_log(vmi, config)
    if beside:
        pod["spec"]["initContainers"] = [{"name": target_pod.CONSOLE_LOG, "image": "virt-launcher:" + generation.kubevirt,
                                          "restartPolicy": "Always", "resources": beside}]
    given = {"affinity": affinity, "tolerations": spec.get("tolerations"),
             "topologySpreadConstraints": spec.get("topologySpreadConstraints"),
             "priorityClassName": spec.get("priorityClassName")}
    pod["spec"].update({key: value for key, value in given.items() if value})
    return pod


def _annotations(vmi, generation, config):
    """The guest's own, such as those that keep the descheduler away, and KubeVirt's; without those of backups and service meshes."""
    meta = vmi["metadata"]
    found = {"kubevirt.io/domain": meta["name"]}
    found.update({key: value for key, value in (meta.get("annotations") or {}).items() if not key.startswith(NOT_CARRIED)})
    found.update({"kubectl.kubernetes.io/default-container": "compute", "kubevirt.io/migrationTransportUnix": "true",
                  "descheduler.alpha.kubernetes.io/request-evict-only": ""})
    if generation.overhead_report:
        found[OVERHEAD] = str(target_pod.memory_overhead(vmi, generation.name, config))
    return found


def migration_target(vmi, vmim, source_pod, source_node, generation, config):
    """The pod a migration starts on another node.

    :param source_pod: the guest's present pod (dict or None).
    :param source_node: the Node it is on (dict or None).
    :raises HostModelUnknown: see there.
    """
    pod = launcher(vmi, generation, config)
    labels = (source_node or {}).get("metadata", {}).get("labels") or {}
    own = (source_pod or {}).get("spec", {}).get("nodeSelector") or {}
    selector = dict((vmim["spec"].get("addedNodeSelector") or {}), **pod["spec"]["nodeSelector"])
    if target_pod.cpu_model(vmi, config) == "host-model":
        host = target_pod.host_model_selector(labels, own, generation.name)
        if host is None:
            raise HostModelUnknown(vmi["metadata"]["name"])
        selector.update(host)
    selector.update(target_pod.vendor_selector(labels, selector, generation.name))
    pod["spec"]["nodeSelector"] = selector
    pod["metadata"]["labels"][JOB_UID] = vmim["metadata"]["uid"]
    pod["metadata"]["annotations"][JOB_NAME] = vmim["metadata"]["name"]
    fail = knob(vmi, "fail") or knob(vmim, "fail")
    if fail in ("unschedulable", "pod-stuck"):
        pod["metadata"]["annotations"][KNOB + "fail"] = fail
    pod["spec"]["affinity"] = _away_from_source(pod["spec"].get("affinity"), vmi["metadata"]["uid"])
    return pod


def present_pod(vmi, pods):
    """The pod a guest runs in: the active one on its node."""
    node = (vmi.get("status") or {}).get("nodeName")
    here = [pod for pod in pods if is_active(pod) and pod["spec"].get("nodeName") == node]
    return next((pod for pod in here if JOB_UID not in pod["metadata"]["labels"]), None) or next(iter(here), None)


def _away_from_source(affinity, uid):
    """Never beside another pod of the same guest (facts 3.2)."""
    affinity = dict(affinity or {})
    anti = dict(affinity.get("podAntiAffinity") or {})
    term = {"labelSelector": {"matchLabels": {CREATED_BY: uid}}, "topologyKey": HOSTNAME}
    anti["requiredDuringSchedulingIgnoredDuringExecution"] = list(
        anti.get("requiredDuringSchedulingIgnoredDuringExecution") or []) + [term]
    return dict(affinity, podAntiAffinity=anti)


def _also_required(node_affinity, expressions):
    """Add expressions to every required term (terms are alternatives)."""
    affinity = dict(node_affinity or {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = required.get("nodeSelectorTerms") or [{}]
    affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [
        dict(term, matchExpressions=list(term.get("matchExpressions") or []) + expressions) for term in terms
    ]}
    return affinity
