# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest, its pod, its nodes and all else that the verdict looks at: a cluster in which nothing is in the way, and changes to it."""

from __future__ import annotations

import copy
import json

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import migratability, reasons

GIB = 1 << 30
NOW = 1795219200.0  # 2026-11-21T00:00:00Z
KEY = ("sap", "hana")


def change(obj, path, value):
    """A copy of ``obj`` with ``value`` at the dotted path; ``...`` removes what is there."""
    obj = copy.deepcopy(obj)
    here, parts = obj, path.split(".")
    for part in parts[:-1]:
        here = here.setdefault(part, {})
    if value is ...:
        here.pop(parts[-1], None)
    else:
        here[parts[-1]] = value
    return obj


def node(name):
    labels = {
        "kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", "kubevirt.io/schedulable": "true",
        "host-model-cpu.node.kubevirt.io/Icelake": "true", "cpu-model-migration.node.kubevirt.io/Icelake": "true",
    }
    return {
        "metadata": {"name": name, "labels": labels, "annotations": {"kubevirt.io/heartbeat": "2026-11-20T23:59:30Z"}},
        "spec": {},
        "status": {
            "allocatable": {"cpu": "64", "memory": "600Gi", "pods": "250", "hugepages-1Gi": "0", "devices.kubevirt.io/kvm": "1k",
                            "devices.kubevirt.io/tun": "1k", "devices.kubevirt.io/vhost-net": "1k"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


VMI = {
    "metadata": {"name": "hana", "namespace": "sap", "uid": "vmi-1", "labels": {"app": "hana"}},
    "spec": {
        "architecture": "amd64", "evictionStrategy": "LiveMigrate",
        "domain": {"memory": {"guest": "64Gi"}, "cpu": {"sockets": 4}, "devices": {}},
        "volumes": [{"name": "root", "persistentVolumeClaim": {"claimName": "root"}}, {"name": "ci", "cloudInitNoCloud": {}}],
    },
    "status": {
        "phase": "Running", "nodeName": "w1", "migrationMethod": "LiveMigration",
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "LiveMigratable", "status": "True"},
                       {"type": "AgentConnected", "status": "True"}],
        "volumeStatus": [{"name": "root", "persistentVolumeClaimInfo": {"claimName": "root", "accessModes": ["ReadWriteMany"]}}],
    },
}
POD = {
    "metadata": {"name": "virt-launcher-hana-1", "namespace": "sap",
                 "labels": {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": "vmi-1"}},
    "spec": {"nodeName": "w1", "containers": [{"resources": {"requests": {"memory": "65Gi", "cpu": "400m"}}}]},
    "status": {"phase": "Running"},
}
KUBEVIRT = {
    "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
    "spec": {"configuration": {"evictionStrategy": "LiveMigrate", "migrations": {"completionTimeoutPerGiB": 150}}},
    "status": {"observedKubeVirtVersion": "v1.6.0"},
}
BASE = {
    "now": NOW, "forbidden": [], "vmis": [VMI], "vms": [], "vmims": [], "nodes": [node("w1"), node("w2")], "pods": [POD],
    "claims": [], "quotas": [], "kubevirts": [KUBEVIRT], "policies": [], "namespaces": [{"metadata": {"name": "sap", "labels": {}}}],
    "target_by_name": True, "hyperconverged_api": "v1beta1",
}


def inventory(vmi=None, kubevirt=None, **lists):
    found = copy.deepcopy(BASE)
    if vmi is not None:
        found["vmis"] = [vmi]
    if kubevirt is not None:
        found["kubevirts"] = [kubevirt]
    found.update(lists)
    return found


def judged(found, **options):
    answer = migratability.judge(found, **options)
    return answer["vms"][0]


def codes(row):
    return {reason["code"] for reason in row["reasons"]}


def with_condition(kind, status, reason="", message=""):
    kept = [row for row in VMI["status"]["conditions"] if row["type"] != kind]
    return change(VMI, "status.conditions", kept + [{"type": kind, "status": status, "reason": reason, "message": message}])


def vmim(phase, labels=None, name="move", vmi="hana", uid="vmim-1"):
    return {"metadata": {"name": name, "namespace": "sap", "uid": uid, "labels": labels or {}}, "spec": {"vmiName": vmi},
            "status": {"phase": phase}}


def migrations(**fields):
    return change(KUBEVIRT, "spec.configuration.migrations", fields)


def quota(hard, used, **spec):
    return {"metadata": {"name": "limits", "namespace": "sap"}, "spec": dict({"hard": hard}, **spec),
            "status": {"hard": hard, "used": used}}


BIG = change(VMI, "spec.domain.memory.guest", "300Gi")
NAMELESS = [change(node("w1"), "metadata.labels", {"kubernetes.io/arch": "amd64"}), node("w2")]
FEATURE = {"cpu-feature.node.kubevirt.io/vmx": "true"}
REQUIRES = change(VMI, "spec.domain.cpu", {"sockets": 4, "features": [{"name": "vmx", "policy": "require"}]})
CLAIMS = change(POD, "spec.nodeSelector", FEATURE)
LESSER = {"kubernetes.io/arch": "amd64", "kubevirt.io/schedulable": "true", **FEATURE}
FORBIDDEN = {name: row[0] for name, row in reasons.LISTS.items()}


def claim(*modes):
    return [{"metadata": {"name": "root", "namespace": "sap"}, "spec": {"accessModes": list(modes)}}]


def handler(where, ready="True", address="10.200.5.1"):
    row = [{"name": "n", "interface": "migration0", "ips": [address]}] if address else []
    return {"metadata": {"name": "virt-handler-" + where, "namespace": "kubevirt", "labels": {"kubevirt.io": "virt-handler"},
                         "annotations": {"k8s.v1.cni.cncf.io/network-status": json.dumps(row)}},
            "spec": {"nodeName": where}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}}


def topology(name, *pages):
    return {"metadata": {"name": name}, "zones": [
        {"name": "node-%d" % index, "type": "Node", "resources": [{"name": "hugepages-1Gi", "available": free}]}
        for index, free in enumerate(pages)]}


def cluster_quota(hard, used, namespace="sap"):
    return {"metadata": {"name": "team"}, "spec": {"quota": {"hard": hard}}, "status": {
        "total": {"hard": hard, "used": used}, "namespaces": [{"namespace": namespace, "status": {"hard": hard, "used": used}}]}}


FULL = quota({"requests.memory": "100Gi"}, {"requests.memory": "65Gi"})
CALCULATOR = [{"metadata": {"name": "aaq"}, "spec": {"configuration": {
    "vmiCalculatorConfiguration": {"configName": "IgnoreVmiCalculator"}}}}]


def attachment(**fields):
    return {"metadata": {"name": "migration-net", "namespace": "kubevirt"},
            "spec": {"config": json.dumps(dict({"type": "macvlan"}, **fields))}}


def network_policy(port):
    return {"metadata": {"name": "br1"}, "spec": {"desiredState": {"interfaces": [
        {"name": "br-ex", "type": "ovs-bridge", "bridge": {"port": [{"name": "eno1"}]}},
        {"name": "br1", "type": "linux-bridge", "bridge": {"port": [{"name": port}]}}]}}}
