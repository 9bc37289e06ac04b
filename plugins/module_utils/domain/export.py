# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects of a cluster -> what of them a plan or a rehearsal needs, and nothing else; names that tell nothing on request.

What is kept is listed, field by field; everything else is left behind: secrets, environment, arguments, user data,
addresses, serial numbers, what a guest says of itself. The document ends with a digest, so that a file that was cut off
or changed is recognised.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    dig,
    key_of,
    labels,
    mapping,
    rows,
    text,
)

SCHEMA = "bigvm.live_migration/cluster-export/1"
FAMILY = SCHEMA.rpartition("/")[0] + "/"
CRD_GROUPS = ("kubevirt.io", "migrations.kubevirt.io", "hco.kubevirt.io", "cdi.kubevirt.io")
# Annotations that are kept, by prefix.
ANNOTATIONS = ("kubevirt.io/", "kubevirt.kubevirt.io/", "live-migration.bigvm.io/", "rehearsal.bigvm.io/", "k8s.v1.cni.cncf.io/networks")
# True: the whole of it. A dictionary: these parts. A list with one entry: that of each element.
_CONDITIONS = [{"type": True, "status": True, "reason": True}]
_RESOURCES = {"requests": True, "limits": True}
_PLACEMENT = {"nodeSelector": True, "affinity": True, "tolerations": True, "topologySpreadConstraints": True, "schedulerName": True,
              "priorityClassName": True}
_DISK = {"name": True, "disk": {"bus": True}, "lun": {"bus": True}, "cdrom": {"bus": True}, "bootOrder": True, "cache": True,
         "io": True, "dedicatedIOThread": True, "shareable": True, "errorPolicy": True}
_INTERFACE = {name: {} for name in ("bridge", "masquerade", "sriov", "slirp", "macvtap", "passt")}
_DEVICES = {
    "disks": [_DISK], "interfaces": [dict(_INTERFACE, name=True, model=True, binding=True)], "networkInterfaceMultiqueue": True,
    "blockMultiQueue": True, "autoattachGraphicsDevice": True, "autoattachMemBalloon": True, "autoattachPodInterface": True,
    "autoattachSerialConsole": True, "autoattachVSOCK": True, "hostDevices": [{"name": True, "deviceName": True}],
    "gpus": [{"name": True, "deviceName": True, "virtualGPUOptions": True}], "filesystems": [{"name": True, "virtiofs": {}}],
    "tpm": True, "rng": {}, "watchdog": True, "inputs": True, "downwardMetrics": {}, "useVirtioTransitional": True}
_DOMAIN = {
    "cpu": True, "memory": True, "resources": dict(_RESOURCES, overcommitGuestOverhead=True), "machine": True, "features": True,
    "clock": True, "ioThreadsPolicy": True, "ioThreads": True, "launchSecurity": {"sev": {}, "snp": {}, "tdx": {}},
    "firmware": {"bootloader": True}, "devices": _DEVICES}
_VOLUME = {
    "name": True, "persistentVolumeClaim": {"claimName": True, "readOnly": True, "hotpluggable": True},
    "dataVolume": {"name": True, "hotpluggable": True}, "containerDisk": {}, "emptyDisk": {"capacity": True},
    "ephemeral": {"persistentVolumeClaim": {"claimName": True}}, "hostDisk": {"type": True, "capacity": True}, "memoryDump": {},
    "cloudInitNoCloud": {}, "cloudInitConfigDrive": {}, "sysprep": {}, "secret": {}, "configMap": {}, "serviceAccount": {},
    "downwardAPI": {}, "downwardMetrics": {}}
_GUEST = dict(
    _PLACEMENT, architecture=True, evictionStrategy=True, startStrategy=True, terminationGracePeriodSeconds=True, domain=_DOMAIN,
    networks=[{"name": True, "pod": {}, "multus": {"networkName": True, "default": True}}], volumes=[_VOLUME])
_STATE = dict.fromkeys((
    "migrationUid", "sourceNode", "targetNode", "sourcePod", "targetPod", "startTimestamp", "endTimestamp",
    "completed", "failed", "mode", "migrationPolicyName", "migrationConfiguration", "abortRequested", "abortStatus"), True)
_CONTAINER = {"name": True, "resources": _RESOURCES, "restartPolicy": True}
_QUOTA = {"hard": True, "scopes": True, "scopeSelector": True}
KEPT = {
    "Namespace": {},
    "Node": {"spec": {"taints": True, "unschedulable": True},
             "status": {"allocatable": True, "capacity": True, "conditions": _CONDITIONS}},
    "Pod": {"spec": dict(_PLACEMENT, nodeName=True, overhead=True, priority=True, containers=[_CONTAINER], initContainers=[_CONTAINER],
                         terminationGracePeriodSeconds=True),
            "status": {"phase": True, "conditions": _CONDITIONS, "qosClass": True}},
    "PersistentVolumeClaim": {
        "spec": {"accessModes": True, "storageClassName": True, "volumeMode": True, "resources": _RESOURCES, "volumeName": True},
        "status": {"phase": True, "accessModes": True, "capacity": True}},
    "ResourceQuota": {"spec": _QUOTA, "status": {"hard": True, "used": True}},
    "PodDisruptionBudget": {"spec": True, "status": dict.fromkeys((
        "currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods", "observedGeneration"), True)},
    "VirtualMachine": {"spec": {"runStrategy": True, "running": True,
                                "template": {"metadata": {"labels": True, "annotations": True}, "spec": _GUEST}},
                       "status": {"created": True, "ready": True, "printableStatus": True}},
    "VirtualMachineInstance": {"spec": _GUEST, "status": {
        "phase": True, "nodeName": True, "migrationMethod": True, "migrationTransport": True, "qosClass": True, "runtimeUser": True,
        "machine": True, "memory": True, "activePods": True, "evacuationNodeName": True, "migrationState": _STATE,
        "conditions": _CONDITIONS, "selinuxContext": True, "currentCPUTopology": True,
        "volumeStatus": [{"name": True, "size": True, "phase": True, "hotplugVolume": {}, "persistentVolumeClaimInfo": {
            "accessModes": True, "capacity": True, "claimName": True, "requests": True, "volumeMode": True}}]}},
    "VirtualMachineInstanceMigration": {"spec": {"vmiName": True, "addedNodeSelector": True, "priority": True},
                                        "status": {"phase": True, "phaseTransitionTimestamps": True, "migrationState": _STATE}},
    "MigrationPolicy": {"spec": True},
    "KubeVirt": {"spec": {"configuration": {
        "migrations": True, "cpuModel": True, "cpuRequest": True, "evictionStrategy": True, "machineType": True, "obsoleteCPUModels": True,
        "minCPUModel": True, "additionalGuestMemoryOverheadRatio": True, "vmRolloutStrategy": True, "ksmConfiguration": True,
        "liveUpdateConfiguration": True, "autoCPULimitNamespaceLabelSelector": True, "architectureConfiguration": True,
        "developerConfiguration": dict.fromkeys((
            "memoryOvercommit", "cpuAllocationRatio", "featureGates", "disabledFeatureGates", "nodeSelectors",
            "minimumReservePVCBytes"), True)},
        "workloadUpdateStrategy": True},
        "status": dict.fromkeys((
            "phase", "observedKubeVirtVersion", "targetKubeVirtVersion", "operatorVersion", "observedGeneration",
            "targetDeploymentID", "observedDeploymentID", "outdatedVirtualMachineInstanceWorkloads"), True)},
    "HyperConverged": {"spec": {
        "virtualization": {"liveMigrationConfig": True, "evictionStrategy": True, "workloadUpdateStrategy": True},
        "liveMigrationConfig": True, "evictionStrategy": True, "workloadUpdateStrategy": True, "featureGates": True}},
    "NetworkAttachmentDefinition": {"spec": {"config": True}},
    "DaemonSet": {"spec": {"selector": True}, "status": dict.fromkeys((
        "desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled",
        "numberAvailable", "numberMisscheduled", "observedGeneration"), True)},
}
_META = {"name": True, "namespace": True, "uid": True, "labels": True, "creationTimestamp": True, "deletionTimestamp": True,
         "generation": True, "ownerReferences": [{"apiVersion": True, "kind": True, "name": True, "uid": True, "controller": True}]}


# -- what is kept ------------------------------------------------------------------------


def kept(obj):
    """An object with the parts of :data:`KEPT`; None for a kind that is not exported."""
    wanted = KEPT.get(obj.get("kind")) if isinstance(obj, dict) else None
    if wanted is None:
        return None
    found = _parts(obj, dict(wanted, apiVersion=True, kind=True, metadata=_META))
    notes = {key: value for key, value in mapping(obj, "metadata", "annotations").items()
             if isinstance(value, str) and key.startswith(ANNOTATIONS) and key != "kubevirt.io/migration-transfer-secret"}
    if notes:
        found["metadata"]["annotations"] = notes
    template = mapping(found, "spec", "template", "metadata")
    if "annotations" in template:
        template["annotations"] = {key: value for key, value in mapping(template, "annotations").items() if key.startswith(ANNOTATIONS)}
    if obj["kind"] == "NetworkAttachmentDefinition":
        _network_only(found)
    return found


def _parts(value, wanted):
    if wanted is True:
        return copy.deepcopy(value)
    if isinstance(wanted, list):
        return [_parts(row, wanted[0]) for row in value if isinstance(row, dict)] if isinstance(value, list) else []
    return {key: _parts(value[key], part) for key, part in wanted.items() if key in value} if isinstance(value, dict) else {}


def _network_only(attachment):
    """Of an attachment's configuration the type, the MTU and whether it gives addresses; never where."""
    try:
        config = json.loads(dig(attachment, "spec", "config") or "{}")
    except ValueError:
        config = {}
    config = config if isinstance(config, dict) else {}
    found = {key: config[key] for key in ("cniVersion", "name", "type", "mode", "mtu") if key in config}
    ipam = mapping(config, "ipam")
    if ipam:
        found["ipam"] = {"type": ipam.get("type"), "range": "192.0.2.0/24"}
    attachment["spec"] = {"config": json.dumps(found)}


def definition(crd):
    """A CustomResourceDefinition without prose, status and conversion; None for other groups than KubeVirt's."""
    if dig(crd, "spec", "group") not in CRD_GROUPS:
        return None
    spec = {key: value for key, value in mapping(crd, "spec").items() if key in ("group", "names", "scope", "versions")}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": dig(crd, "metadata", "name")}, "spec": _without_prose(spec)}


def _without_prose(value):
    if isinstance(value, dict):
        return {key: _without_prose(part) for key, part in value.items() if key != "description" or not isinstance(part, str)}
    return [_without_prose(part) for part in value] if isinstance(value, list) else value


# -- the document -------------------------------------------------------------------------


def document(objects, crds, now, left_out=(), pseudonymous=False):
    """The export.

    :param objects: raw objects; what :func:`kept` knows nothing of is dropped.
    :param crds: raw CustomResourceDefinitions.
    :param now: RFC 3339 time.
    :param left_out: sentences about what could not be read.
    :param pseudonymous: whether names are replaced, each by the same other name wherever it stands.
    :returns: ``{schema, exported, pseudonymous, left_out, objects, crds, sha256}``.
    """
    found = [entry for entry in (kept(obj) for obj in objects) if entry is not None]
    found.sort(key=lambda obj: (obj["kind"], key_of(obj)))
    if pseudonymous:
        found = _Renamer(found).renamed(found)
    made = {"schema": SCHEMA, "exported": now, "pseudonymous": bool(pseudonymous), "left_out": list(left_out), "objects": found,
            "crds": [entry for entry in (definition(crd) for crd in crds) if entry is not None]}
    made["sha256"] = digest(made)
    return made


def digest(made):
    """Over everything but the digest itself."""
    covered = {key: value for key, value in made.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()


def problem(made):
    """Why a document is no export to work with, as a clause and a remedy; None when it is one."""
    schema = made.get("schema") if isinstance(made, dict) else None
    if not isinstance(schema, str) or not schema.startswith(FAMILY):
        return "it is no export of a cluster", "Make one with playbooks/export_cluster.yml."
    if schema != SCHEMA:
        return ("it has the form %s, and this release reads %s" % (schema, SCHEMA),
                "Export the cluster with this release of the collection, or rehearse with the release that made the file.")
    if not isinstance(made.get("objects"), list) or not isinstance(made.get("crds"), list) or "sha256" not in made:
        return "it is not complete", "Copy the file again, or export the cluster once more."
    if made["sha256"] != digest(made):
        return "its digest does not match: it was changed or damaged", "Copy the file again, or export the cluster once more."
    return None


def is_export(made):
    """Whether a document says that it is an export, of whatever version."""
    return isinstance(made, dict) and isinstance(made.get("schema"), str) and made["schema"].startswith(FAMILY)


# -- other names -----------------------------------------------------------------------------

_SYSTEM_NAMESPACE = re.compile(r"default|kube-.*|openshift(-.*)?|kubevirt(-.*)?")
_SYSTEM_KEY = re.compile(r"(.*\.)?(kubernetes\.io|k8s\.io|kubevirt\.io|openshift\.io|bigvm\.io)(/.*)?")
# Labels of system keys whose values are names that somebody chose.
_NAMING = ("kubernetes.io/metadata.name", "kubevirt.io/domain", "kubevirt.io/vm", "vm.kubevirt.io/name", "kubevirt.io/nodeName",
           "kubevirt.io/migrationTargetNodeName", "kubevirt.io/vmi-name", "kubernetes.io/hostname", "topology.kubernetes.io/zone",
           "topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone", "live-migration.bigvm.io/keep-apart",
           "app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/part-of")
_KINDS = {"Namespace": "ns", "Node": "node", "Pod": "pod", "PersistentVolumeClaim": "claim", "ResourceQuota": "quota",
          "PodDisruptionBudget": "budget", "VirtualMachine": "vm", "VirtualMachineInstance": "vm", "MigrationPolicy": "policy",
          "VirtualMachineInstanceMigration": "migration", "NetworkAttachmentDefinition": "network"}
# Where labels stand, and where names stand: too short a name is replaced nowhere else.
_LABELLED = ("labels", "matchLabels", "nodeSelector", "addedNodeSelector", "namespaceSelector", "virtualMachineInstanceSelector")
_REFERRING = ("name", "namespace", "nodeName", "vmiName", "claimName", "networkName", "sourceNode", "targetNode", "sourcePod", "targetPod",
              "storageClassName", "volumeName", "migrationPolicyName", "evacuationNodeName", "activePods")
_WORDS = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9._]*[A-Za-z0-9])?")


class _Renamer:
    """Collects the names that somebody chose, and replaces each wherever it stands; chosen labels where labels stand."""

    def __init__(self, objects):
        self.names, self.words, self._counts = {}, {}, {}
        for obj in objects:
            namespace, name = key_of(obj)
            if obj["kind"] in _KINDS and not _of_the_system(obj["kind"], namespace, name):
                self._new(self.names, name, _KINDS[obj["kind"]])
        for obj in objects:
            if not _SYSTEM_NAMESPACE.fullmatch(key_of(obj)[0]):
                self._other_names(obj)
            for taint in rows(obj, "spec", "taints"):
                self._label(text(taint, "key"), text(taint, "value"))
            for found in (labels(obj), mapping(obj, "spec", "template", "metadata", "labels")):
                for key, value in sorted(found.items()):
                    self._label(key, value)

    def _new(self, table, name, kind):
        if isinstance(name, str) and name and name not in table:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            table[name] = "%s-%04d" % (kind, self._counts[kind])

    def _label(self, key, value):
        chosen = not _SYSTEM_KEY.match(key)
        if chosen:
            self._new(self.words, key, "key")
        if (chosen or key in _NAMING) and value not in ("", "true", "false") and not _SYSTEM_NAMESPACE.fullmatch(value):
            self.words.setdefault(value, self.names.get(value))
            if self.words[value] is None:
                del self.words[value]
                self._new(self.words, value, "value")

    def _other_names(self, obj):
        for path, kind in ((("spec", "storageClassName"), "storage"), (("spec", "volumeName"), "volume")):
            self._new(self.names, dig(obj, *path), kind)
        for owner in rows(obj, "metadata", "ownerReferences"):
            self._new(self.names, owner.get("name"), "owner")
        for volume in rows(obj, "spec", "volumes"):
            for path in (("persistentVolumeClaim", "claimName"), ("dataVolume", "name")):
                self._new(self.names, dig(volume, *path), "claim")

    def renamed(self, value, under=""):
        """A copy with other names.

        :param under: the key that it stands at.
        """
        if isinstance(value, dict):
            if under in _LABELLED:
                return {self._key(key): self._value(key, part) for key, part in value.items()}
            found = {key: self.renamed(part, key) for key, part in value.items()}
            if isinstance(value.get("key"), str) and ("effect" in value or "operator" in value):  # a taint, or what tolerates it
                found["key"] = self._key(value["key"])
                if "value" in value:
                    found["value"] = self._value(value["key"], value["value"])
            if "operator" in value and "values" in value:  # a match expression
                found["values"] = [self._value(value["key"], part) for part in value.get("values") or []]
            return found
        if isinstance(value, list):
            return [self.renamed(part, under) for part in value]
        return self._text(value, under) if isinstance(value, str) else value

    def _key(self, key):
        return self.words.get(key, key) if not _SYSTEM_KEY.match(key) else key

    def _value(self, key, value):
        if not isinstance(value, str):
            return value
        if not _SYSTEM_KEY.match(key) or key in _NAMING:
            return self.words.get(value, self.names.get(value, value))
        return self._text(value, key)

    def _text(self, said, under):
        if said in self.names and (len(said) > 3 or under in _REFERRING):
            return self.names[said]
        return _WORDS.sub(lambda word: self._word(word.group()), said)

    def _word(self, word):
        return self.names[word] if len(word) > 3 and word in self.names else word


def _of_the_system(kind, namespace, name):
    if kind == "Namespace":
        return bool(_SYSTEM_NAMESPACE.fullmatch(name))
    return kind != "Node" and namespace != "default" and bool(_SYSTEM_NAMESPACE.fullmatch(namespace))
