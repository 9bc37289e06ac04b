# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the nodes of a pool are to be for HANA guests, and the objects of the machine-config operator that make them so.

Facts/preparation 2 throughout. Three ways lead there: kernel arguments in a MachineConfig (or in a Tuned object) beside a
KubeletConfig, or one PerformanceProfile that brings both. They are never mixed for one pool.
"""

from __future__ import annotations

import re

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import amount, labels, mapping, text

GIB = 1 << 30
METHODS = ("machine_config", "performance_profile", "tuned")
MACHINE_CONFIG_API, PROFILE_API, TUNED_API = (
    "machineconfiguration.openshift.io/v1", "performance.openshift.io/v2", "tuned.openshift.io/v1")
ROLE = "machineconfiguration.openshift.io/role"  # label of a MachineConfig: the pool that it is for
POOL_LABEL = "pools.operator.machineconfiguration.openshift.io/"  # label of a pool, with its name behind
TUNED_NAMESPACE = "openshift-cluster-node-tuning-operator"
OURS = {"app.kubernetes.io/managed-by": "bigvm.live_migration"}
HUGE = re.compile(r"^(default_hugepagesz|hugepagesz|hugepages)=")
IOMMU = re.compile(r"^(intel_iommu|amd_iommu|iommu)=")
# Memory that the host keeps for itself, by size: below half a TiB 32 GiB, from there on 64 GiB.
RESERVES = ((512 * GIB, 32 * GIB), (float("inf"), 64 * GIB))
VENDORS = {"Intel": "intel", "AMD": "amd", "GenuineIntel": "intel", "AuthenticAMD": "amd"}
VENDOR_LABELS = ("cpu-vendor.node.kubevirt.io/", "feature.node.kubernetes.io/cpu-model.vendor_id")


def object_name(pool):
    """The name of all our objects for a pool; it sorts behind the operator's own."""
    return "99-%s-bigvm-hana" % pool


def ours(obj):
    """Whether an object was made by this collection."""
    return all(labels(obj).get(key) == value for key, value in OURS.items())


def reserve(memory, given=None):
    """Bytes that stays with the host of so many bytes."""
    return given if given is not None else next(kept for limit, kept in RESERVES if memory < limit)


def pages_of(node, numa_nodes=1, kept=None):
    """How many 1 GiB pages a node can spare, or None when its memory is not known.

    :param numa_nodes: the kernel spreads them evenly, so that the number is rounded down to a multiple of it.
    :param kept: bytes for the host; None takes :func:`reserve`.
    """
    memory = amount(mapping(node, "status", "capacity").get("memory"))
    if memory is None:
        return None
    # The capacity of a node that has such pages already counts them as well.
    return max(0, (memory - reserve(memory, kept)) // GIB // numa_nodes * numa_nodes)


def vendor_of(node):
    """``intel``, ``amd``, or None when no label tells."""
    found = labels(node)
    for key, value in found.items():
        if key.startswith(VENDOR_LABELS[0]) and value == "true":
            return VENDORS.get(key[len(VENDOR_LABELS[0]):])
    return VENDORS.get(found.get(VENDOR_LABELS[1]))


def iommu_of(nodes, wanted):
    """``intel``, ``amd``, None to leave it alone, or ``"?"`` when labels do not tell or disagree."""
    if wanted["iommu"] != "auto":
        return None if wanted["iommu"] == "off" else wanted["iommu"]
    found = {vendor_of(node) for node in nodes}
    return found.pop() or "?" if len(found) == 1 else "?"


def pages_for(nodes, wanted):
    """1 GiB pages of each node: as asked, or as many as the smallest node can spare; None to leave them alone."""
    if wanted.get("numa_pages") and wanted["method"] == "performance_profile":
        return sum(wanted["numa_pages"].values())
    if wanted["pages"] != "auto":
        return wanted["pages"]
    most = [pages_of(node, wanted["numa_nodes"], wanted.get("reserve")) for node in nodes]
    return min([count for count in most if count is not None], default=None)


def kernel_arguments(pages, iommu=None, more=()):
    """Kernel arguments in the order that the kernel needs: the size goes before the number.

    :param pages: number of 1 GiB pages, None to leave pages alone.
    :param iommu: ``intel``, ``amd`` (whose IOMMU is on by itself) or None to leave it alone.
    """
    found = ["intel_iommu=on", "iommu=pt"] if iommu == "intel" else ["iommu=pt"] if iommu == "amd" else []
    if pages is not None:
        found += ["default_hugepagesz=1G", "hugepagesz=1G", "hugepages=%d" % pages]
    return found + [argument for argument in more if argument not in found]


def merged_arguments(there, wanted):
    """Kernel arguments of an adopted object: ours take the place of its own about pages and IOMMU, the rest stays."""
    kept = [row for row in there if not (
        any(HUGE.match(new) for new in wanted) and HUGE.match(row)
        or any(IOMMU.match(new) for new in wanted) and IOMMU.match(row))]
    return kept + [row for row in wanted if row not in kept]


def kubelet_fields(wanted):
    """``spec.kubeletConfig`` as far as it is ours; empty when nothing of it is wanted."""
    found = {}
    if wanted["cpu_manager"]:
        found.update(cpuManagerPolicy="static", cpuManagerReconcilePeriod="5s")
        if wanted.get("reserved_cpus"):
            found["reservedSystemCPUs"] = wanted["reserved_cpus"]
    if wanted.get("topology_manager"):
        found["topologyManagerPolicy"] = wanted["topology_manager"]
    return found


def objects(pool, wanted, pages, iommu, adopted=None):
    """The manifests (list of dict) that make the nodes of a pool so.

    :param pool: the MachineConfigPool.
    :param wanted: ``{method, cpu_manager, reserved_cpus, isolated_cpus, topology_manager, kernel_arguments, numa_pages}``;
        ``numa_pages``: ``{NUMA node: pages}``, with a PerformanceProfile only.
    :param adopted: ``{kind: object}`` of what another tool made and we go on with.
    """
    name, adopted = text(pool, "metadata", "name"), adopted or {}
    arguments = kernel_arguments(pages, iommu, wanted.get("kernel_arguments") or ())
    if wanted["method"] == "performance_profile":
        return [_profile(pool, wanted, pages, arguments)]
    found = []
    if arguments and wanted["method"] == "tuned":
        found.append(_tuned(name, arguments))
    elif arguments:
        found.append(_machine_config(name, arguments, adopted.get("MachineConfig")))
    fields = kubelet_fields(wanted)
    if fields:
        found.append(_kubelet_config(name, fields, adopted.get("KubeletConfig")))
    return found


def _meta(name, more=None):
    return {"name": name, "labels": dict(OURS, **(more or {}))}


def _machine_config(pool, arguments, adopted):
    if adopted:
        there = mapping(adopted, "spec").get("kernelArguments") or []
        return {"apiVersion": MACHINE_CONFIG_API, "kind": "MachineConfig", "metadata": {"name": text(adopted, "metadata", "name")},
                "spec": {"kernelArguments": merged_arguments(there, arguments)}}
    return {"apiVersion": MACHINE_CONFIG_API, "kind": "MachineConfig", "metadata": _meta(object_name(pool), {ROLE: pool}),
            "spec": {"kernelArguments": arguments}}


def _kubelet_config(pool, fields, adopted):
    if adopted:
        return {"apiVersion": MACHINE_CONFIG_API, "kind": "KubeletConfig", "metadata": {"name": text(adopted, "metadata", "name")},
                "spec": {"kubeletConfig": fields}}
    return {"apiVersion": MACHINE_CONFIG_API, "kind": "KubeletConfig", "metadata": _meta(object_name(pool)),
            "spec": {"machineConfigPoolSelector": {"matchLabels": {POOL_LABEL + pool: ""}}, "kubeletConfig": fields}}


def _tuned(pool, arguments):
    profile = "bigvm-hana-%s" % pool
    data = "\n".join([
        "[main]", "summary=Huge pages and IOMMU for SAP HANA guests", "include=openshift-node", "[bootloader]",
        "cmdline_bigvm_hana=%s" % " ".join(arguments), ""])
    return {"apiVersion": TUNED_API, "kind": "Tuned", "metadata": dict(_meta(profile), namespace=TUNED_NAMESPACE),
            "spec": {"profile": [{"name": profile, "data": data}],
                     "recommend": [{"machineConfigLabels": {ROLE: pool}, "priority": 15, "profile": profile}]}}


def _profile(pool, wanted, pages, arguments):
    """A PerformanceProfile without real-time hints, which are harm to a host of HANA guests."""
    name = text(pool, "metadata", "name")
    rows = [{"size": "1G", "count": count, "node": int(node)} for node, count in sorted((wanted.get("numa_pages") or {}).items())]
    if not rows and pages is not None:
        rows = [{"size": "1G", "count": pages}]
    more = [row for row in arguments if not HUGE.match(row) and not IOMMU.match(row)]  # it brings these itself
    spec = {
        "cpu": {"reserved": wanted["reserved_cpus"], "isolated": wanted["isolated_cpus"]},
        "nodeSelector": dict(mapping(pool, "spec", "nodeSelector", "matchLabels")),
        "machineConfigPoolSelector": {POOL_LABEL + name: ""},
        "numa": {"topologyPolicy": wanted.get("topology_manager") or "best-effort"},
        "workloadHints": {"realTime": False},
    }
    if rows:
        spec["hugepages"] = {"defaultHugepagesSize": "1G", "pages": rows}
    if more:
        spec["additionalKernelArgs"] = more
    return {"apiVersion": PROFILE_API, "kind": "PerformanceProfile", "metadata": _meta("bigvm-hana-%s" % name), "spec": spec}


def differs(there, wanted):
    """Whether an object on the server lacks something of a manifest: what the manifest does not say is not compared."""
    if isinstance(wanted, dict):
        return not isinstance(there, dict) or any(differs(there.get(key), value) for key, value in wanted.items())
    return there != wanted


def way_back(there, before):
    """The merge patch that makes ``there`` what ``before`` says: what was not there is taken away."""
    if not isinstance(there, dict) or not isinstance(before, dict):
        return before
    return {key: way_back(there.get(key), before[key]) if key in before else None for key in {**there, **before}}


def same_configuration(one, other):
    """Whether two rendered MachineConfigs make the same machine: then a change from one to the other needs no reboot."""
    return bool(one and other) and _machine(one) == _machine(other)


def _machine(config):
    spec = mapping(config, "spec")
    return {key: value for key, value in spec.items() if value not in (None, "", [], {}) and key != "baseOSExtensionsContainerImage"}
