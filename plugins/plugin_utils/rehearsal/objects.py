# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects as an installed cluster has them: nodes, guests, their disks and pods, KubeVirt's own parts.

Each function returns one plain object (dict) or a list of them, without what
the API server sets itself.
"""

from __future__ import annotations

import json

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import target_pod
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import parse_bytes

KNOB = "rehearsal.bigvm.io/"  # prefix of the annotations that tell the simulation what a guest or node does
HCO_NAMESPACE = "openshift-cnv"
HCO_NAME = "kubevirt-hyperconverged"
KUBEVIRT_NAME = "kubevirt-kubevirt-hyperconverged"
HANDLER_LABELS = {"kubevirt.io": "virt-handler", "app.kubernetes.io/component": "kubevirt"}
STATUS_ANNOTATION = "k8s.v1.cni.cncf.io/network-status"
NETWORKS_ANNOTATION = "k8s.v1.cni.cncf.io/networks"
MIGRATION_INTERFACE = "migration0"

CPU_FEATURES = (
    "aes", "avx", "avx2", "avx512f", "fsgsbase", "invtsc", "pcid", "pdpe1gb", "rdtscp", "tsc_adjust", "vmx", "x2apic",
)
CPU_MODELS = ("SapphireRapids", "Icelake-Server", "Cascadelake-Server", "Skylake-Server-IBRS")
REQUIRED_FEATURES = ("invtsc", "tsc_adjust", "vmx")


def condition(kind, state, reason=None, message=None, since=None, probe=False):
    """One entry of ``status.conditions``."""
    entry = {"type": kind, "status": "True" if state is True else "False" if state is False else state}
    entry.update({key: value for key, value in (("reason", reason), ("message", message)) if value is not None})
    entry["lastTransitionTime"] = since
    if probe:
        entry["lastProbeTime"] = None
    return entry


def namespace(name, labels=None):
    """A Namespace."""
    labels = dict({"kubernetes.io/metadata.name": name}, **(labels or {}))
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}


# -- nodes -------------------------------------------------------------------


def node_labels(name, generation, cpu_manager, models=CPU_MODELS, vendor="Intel"):
    """What kubelet and KubeVirt's node labeller put on a node (facts 3.4-3.9)."""
    labels = {
        "kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux",
        "node-role.kubernetes.io/worker": "", "kubevirt.io/schedulable": "true",
        "cpumanager": "true" if cpu_manager else "false",
        target_pod.HOST_MODEL + models[0]: "true", target_pod.VENDOR + vendor: "true",
    }
    if generation.cpu_manager_label:
        labels["kubevirt.io/cpumanager"] = labels["cpumanager"]
    for model in models:
        labels[target_pod.MODEL + model] = labels[target_pod.MIGRATION_MODEL + model] = "true"
    labels.update({target_pod.FEATURE + feature: "true" for feature in CPU_FEATURES})
    labels.update({target_pod.HOST_FEATURE + feature: "true" for feature in REQUIRED_FEATURES})
    labels.update({target_pod.HYPERV + feature: "true" for feature in target_pod.HYPERV_FEATURES})
    if generation.machine_type_labels:
        labels.update({target_pod.MACHINE_TYPE + kind: "true" for kind in generation.machine_types})
    return labels


def node(name, generation, memory="1Ti", cpus=64, hugepages_1gi="0", hugepages_2mi="0", cpu_manager=False,
         link="25G", labels=None, taints=(), annotations=None, number=1, since=None, cordoned=False):
    """A worker Node; ``memory`` is all of it, huge pages are taken from it; ``link`` in bits/s."""
    total = parse_bytes(memory)
    plain = total - parse_bytes(hugepages_1gi) - parse_bytes(hugepages_2mi)
    reserved = min(16 * 1024 ** 3, total // 20)  # kept back for the system and eviction
    devices = {"devices.kubevirt.io/" + device: "1k" for device in ("kvm", "tun", "vhost-net")}
    capacity = dict(devices, cpu=str(cpus), memory="%dKi" % (total // 1024), pods="250")
    capacity.update({"hugepages-1Gi": str(hugepages_1gi), "hugepages-2Mi": str(hugepages_2mi), "ephemeral-storage": "500Gi"})
    allocatable = dict(capacity, cpu="%dm" % (1000 * cpus - 500), memory="%dKi" % max(0, (plain - reserved) // 1024))
    obj = {
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name, "labels": dict(node_labels(name, generation, cpu_manager), **(labels or {})),
            "annotations": dict({KNOB + "link": str(link), "kubevirt.io/heartbeat": since,
                                 "kubevirt.io/ksm-handler-managed": "false"}, **(annotations or {})),
        },
        "spec": {"podCIDR": "10.128.%d.0/24" % number},
        "status": {
            "capacity": capacity, "allocatable": allocatable,
            "conditions": [condition("Ready", True, "KubeletReady", "kubelet is posting ready status", since)],
            "addresses": [{"type": "InternalIP", "address": "192.168.100.%d" % (number % 254 + 1)},
                          {"type": "Hostname", "address": name}],
            "nodeInfo": {"architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": generation.kubernetes,
                         "osImage": "Red Hat Enterprise Linux CoreOS", "kernelVersion": "5.14.0-570.el9.x86_64",
                         "containerRuntimeVersion": "cri-o://1.33.0", "kubeProxyVersion": "", "machineID": name,
                         "systemUUID": name, "bootID": name},
        },
    }
    if taints:
        obj["spec"]["taints"] = list(taints)
    if cordoned:
        obj["spec"]["unschedulable"] = True
    return obj


# -- guests ------------------------------------------------------------------


def knobs(dirty_rate=None, working_set=None, zero_fraction=None, fail=None):
    """The annotations that say how a guest behaves while it is copied."""
    given = {"dirty-rate": dirty_rate, "working-set": working_set, "zero-fraction": zero_fraction, "fail": fail}
    return {KNOB + key: str(value) for key, value in given.items() if value is not None}


def guest_spec(name, memory, cpus=2, hugepages=None, dedicated_cpus=False, machine_type="pc-q35-rhel9.6.0", model=None,
               eviction_strategy=None, node_selector=None, tolerations=None, affinity=None, claim=None,
               data_volume=True, cpu_limit=None, cpu_features=()):
    """``spec`` of a VMI (and of a VM's template): one shared disk, the pod network by masquerade."""
    cpu = {"cores": cpus, "sockets": 1, "threads": 1, "model": model or "host-model"}
    if cpu_features:
        cpu["features"] = [{"name": name, "policy": "require"} for name in cpu_features]
    resources = {"requests": {"memory": memory}}
    if dedicated_cpus:
        cpu["dedicatedCpuPlacement"] = True
    if cpu_limit:
        resources["limits"] = {"cpu": str(cpu_limit)}
    guest = {"guest": memory}
    if hugepages:
        guest["hugepages"] = {"pageSize": hugepages}
    source = {"dataVolume": {"name": claim}} if data_volume else {"persistentVolumeClaim": {"claimName": claim}}
    spec = {
        "architecture": "amd64",
        "domain": {
            "cpu": cpu, "memory": guest, "resources": resources, "machine": {"type": machine_type},
            "devices": {
                "disks": [{"name": "rootdisk", "disk": {"bus": "virtio"}}],
                "interfaces": [{"name": "default", "masquerade": {}}],
            },
        },
        "networks": [{"name": "default", "pod": {}}],
        "volumes": [dict({"name": "rootdisk"}, **source)],
        "terminationGracePeriodSeconds": 180,
    }
    given = {"evictionStrategy": eviction_strategy, "nodeSelector": node_selector, "tolerations": tolerations,
             "affinity": affinity}
    spec.update({key: value for key, value in given.items() if value})
    return spec


def virtual_machine(name, ns, spec, labels=None, annotations=None, running=True):
    """A VirtualMachine around a guest's spec."""
    return {
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
        "metadata": {"name": name, "namespace": ns, "labels": dict(labels or {})},
        "spec": {
            "runStrategy": "Always" if running else "Halted",
            "template": {"metadata": {"labels": dict({"kubevirt.io/domain": name}, **(labels or {})),
                                      "annotations": dict(annotations or {})}, "spec": spec},
        },
        "status": {"created": running, "ready": running, "printableStatus": "Running" if running else "Stopped",
                   "conditions": [condition("Ready", running, None if running else "VMINotExists", probe=True)]},
    }


def instance(vm, phase="Pending"):
    """The VirtualMachineInstance that a VirtualMachine (with its uid) starts."""
    meta, template = vm["metadata"], vm["spec"]["template"]
    annotations = {"kubevirt.io/latest-observed-api-version": "v1", "kubevirt.io/storage-observed-api-version": "v1",
                   "kubevirt.io/vm-generation": "1"}
    return {
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {
            "name": meta["name"], "namespace": meta["namespace"],
            "labels": dict((template.get("metadata") or {}).get("labels") or {}),
            "annotations": dict(annotations, **((template.get("metadata") or {}).get("annotations") or {})),
            "finalizers": ["kubevirt.io/virtualMachineControllerFinalize", "foregroundDeleteVirtualMachine"],
            "ownerReferences": [owner(vm)],
        },
        "spec": template["spec"],
        "status": {"phase": phase},
    }


def owner(obj):
    """The ownerReference of a controlled object."""
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "name": obj["metadata"]["name"],
            "uid": obj["metadata"].get("uid", ""), "controller": True, "blockOwnerDeletion": True}


def claim(name, ns, size="100Gi", modes=("ReadWriteMany",), data_volume=None):
    """A bound PersistentVolumeClaim."""
    meta = {"name": name, "namespace": ns, "annotations": {"pv.kubernetes.io/bind-completed": "yes"}}
    if data_volume:
        meta["ownerReferences"] = [owner(data_volume)]
    return {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta,
        "spec": {"accessModes": list(modes), "resources": {"requests": {"storage": size}}, "volumeMode": "Block",
                 "storageClassName": "shared-block", "volumeName": "pv-%s-%s" % (ns, name)},
        "status": {"phase": "Bound", "accessModes": list(modes), "capacity": {"storage": size}},
    }


def data_volume(name, ns, size="100Gi", modes=("ReadWriteMany",)):
    """A DataVolume that has filled its claim."""
    return {
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": {"name": name, "namespace": ns},
        "spec": {"source": {"blank": {}}, "storage": {"accessModes": list(modes), "volumeMode": "Block",
                                                      "resources": {"requests": {"storage": size}}}},
        "status": {"phase": "Succeeded", "progress": "100.0%", "claimName": name},
    }


def claimed(volume):
    """The name of the claim behind a VMI's volume, or None."""
    return (volume.get("dataVolume") or {}).get("name") or (volume.get("persistentVolumeClaim") or {}).get("claimName")


def volume_status(spec, claims):
    """``status.volumeStatus`` of a VMI; ``claims`` is ``{claim name: PersistentVolumeClaim}``."""
    entries = []
    for index, volume in enumerate(spec.get("volumes") or []):
        entry = {"name": volume["name"], "target": "vd" + chr(ord("a") + index % 26)}
        found = claims.get(claimed(volume))
        if found:
            entry["persistentVolumeClaimInfo"] = {
                "claimName": found["metadata"]["name"], "accessModes": found["spec"].get("accessModes") or [],
                "capacity": (found.get("status") or {}).get("capacity") or {},
                "requests": (found["spec"].get("resources") or {}).get("requests") or {},
                "volumeMode": found["spec"].get("volumeMode") or "Filesystem", "filesystemOverhead": "0",
            }
        entries.append(entry)
    return entries


# -- KubeVirt's own parts ------------------------------------------------------


def daemon_set(nodes, network=None):
    """virt-handler's DaemonSet, rolled out on that many nodes."""
    annotations = {NETWORKS_ANNOTATION: "%s@%s" % (network, MIGRATION_INTERFACE)} if network else {}
    return {
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "virt-handler", "namespace": HCO_NAMESPACE, "labels": dict(HANDLER_LABELS),
                     "annotations": {"kubevirt.io/generation": "1"}},
        "spec": {
            "selector": {"matchLabels": {"kubevirt.io": "virt-handler"}},
            "template": {
                "metadata": {"labels": dict(HANDLER_LABELS), "annotations": annotations},
                "spec": {"containers": [{"name": "virt-handler", "image": "virt-handler"}],
                         "terminationGracePeriodSeconds": 330, "nodeSelector": {"kubernetes.io/os": "linux"}},
            },
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
        },
        "status": {"desiredNumberScheduled": nodes, "currentNumberScheduled": nodes, "updatedNumberScheduled": nodes,
                   "numberReady": nodes, "numberAvailable": nodes, "numberMisscheduled": 0, "observedGeneration": 1},
    }


def cluster_roles(generation):
    """KubeVirt's ClusterRoles, as far as migrations are concerned (facts 9.7)."""
    read, write = ["get", "list", "watch"], ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    guests = ["virtualmachines", "virtualmachineinstances"]
    may = read if generation.migrate_role else write
    roles = {"kubevirt.io:view": [(read, "kubevirt.io", guests + ["virtualmachineinstancemigrations"])]}
    for name in ("admin", "edit"):
        roles["kubevirt.io:" + name] = [(write, "kubevirt.io", guests), (may, "kubevirt.io", ["virtualmachineinstancemigrations"])]
        if not generation.migrate_role:
            roles["kubevirt.io:" + name].append((["update"], "subresources.kubevirt.io", ["virtualmachines/migrate"]))
    if generation.migrate_role:
        roles["kubevirt.io:migrate"] = [
            (write, "kubevirt.io", ["virtualmachineinstancemigrations"]),
            (["update"], "subresources.kubevirt.io", ["virtualmachines/migrate"]),
        ]
    return [
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": [
            {"verbs": list(verbs), "apiGroups": [group], "resources": resources} for verbs, group, resources in rules]}
        for name, rules in roles.items()
    ]


def subscription_version(generation):
    """``status.versions`` of HyperConverged."""
    return [{"name": "operator", "version": generation.hyperconverged}]


def handler_pod(daemon, where, index=None, network=None, ip=None):
    """A virt-handler pod on a node; with ``ip`` or ``index`` it has an address on the migration network."""
    template = daemon["spec"]["template"]
    annotations = dict(template["metadata"].get("annotations") or {})
    if index is not None or ip:
        annotations[STATUS_ANNOTATION] = network_status(network, ip or "10.200.%d.%d" % (5 + index // 240, 10 + index % 240))
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "virt-handler-", "namespace": daemon["metadata"]["namespace"], "annotations": annotations,
            "labels": dict(template["metadata"]["labels"], **{
                "controller-revision-hash": str(daemon["metadata"].get("generation", 1))}),
            "ownerReferences": [owner(daemon)],
        },
        "spec": dict(template["spec"], nodeName=where, restartPolicy="Always", serviceAccountName="kubevirt-handler",
                     tolerations=[{"operator": "Exists"}]),
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    }


def network_status(network, ip=None):
    """The annotation in which multus says what a pod is attached to (JSON text)."""
    rows = [{"name": "ovn-kubernetes", "interface": "eth0", "default": True, "dns": {}}]
    if network:
        full = network if "/" in network else "%s/%s" % (HCO_NAMESPACE, network)
        rows.append({"name": full, "interface": MIGRATION_INTERFACE, "ips": [ip], "dns": {}})
    return json.dumps(rows)


def attachment_definition(network):
    """A NetworkAttachmentDefinition for migrations; ``network``: ``{name, range, master}``."""
    config = {"cniVersion": "0.3.1", "name": network["name"], "type": "macvlan", "mode": "bridge",
              "master": network.get("master", "ens4f0"),
              "ipam": {"type": "whereabouts", "range": network.get("range", "10.200.5.0/24")}}
    return {"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": network["name"], "namespace": network.get("namespace", HCO_NAMESPACE)},
            "spec": {"config": json.dumps(config)}}
