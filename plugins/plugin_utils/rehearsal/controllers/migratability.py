# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The conditions LiveMigratable and StorageLiveMigratable, as virt-handler works them out (facts 6.1-6.4)."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import target_pod
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.objects import claimed

BRIDGE_ALLOWED = "kubevirt.io/allow-pod-bridge-network-live-migration"
CONFIDENTIAL = (("sev", "SEVNotLiveMigratable"), ("snp", "SEVNotLiveMigratable"), ("tdx", "TDXNotLiveMigratable"))
NOT_SHARED = "cannot migrate VMI: PVC %s is not shared, live migration requires that all PVCs must be shared (using " \
             "ReadWriteMany access mode)"


def conditions(vmi, node, config, generation, now):
    """Arguments of :func:`~.world.set_condition` for the conditions that this release has.

    :param node: the guest's Node, or None when it need not be looked at.
    """
    found = list(_refusals(vmi, node, config, generation))
    storage = [text for reason, text in found if reason != "DisksNotLiveMigratable"]
    if generation.disks_first:
        found.sort(key=lambda row: row[0] != "DisksNotLiveMigratable")
    live = {"kind": "LiveMigratable", "state": not found}
    if found:
        live.update(reason=found[0][0], message=found[0][1])
    if not generation.storage_condition:
        return [live]
    apart = {"kind": "StorageLiveMigratable", "state": not storage}
    if storage:
        apart.update(reason="NotMigratable", message=", ".join(storage))
    return [live, apart]


def local_disks(vmi):
    """Names of the writable volumes that live on the node and are copied along (facts 6.4)."""
    devices = vmi["spec"]["domain"].get("devices") or {}
    cdroms = {disk["name"] for disk in devices.get("disks") or [] if "cdrom" in disk}
    return [
        volume["name"] for volume in vmi["spec"].get("volumes") or []
        if not claimed(volume) and volume["name"] not in cdroms and "hostDisk" not in volume
        and "downwardMetrics" not in volume and len(volume) > 1
    ]


def _refusals(vmi, node, config, generation):
    """``(reason, message)`` in the order of the checks; disks come last."""
    spec = vmi["spec"]
    domain, devices = spec["domain"], spec["domain"].get("devices") or {}
    if not _network_moves(vmi):
        yield ("InterfaceNotLiveMigratable", "the interface on the pod network is neither masquerade nor a binding "
               "that migrates, nor a bridge with the annotation %s" % BRIDGE_ALLOWED)
    model = target_pod.cpu_model(vmi, config)
    labels = (node or {}).get("metadata", {}).get("labels") or {}
    if model == "host-model" and node is not None and not any(key.startswith(target_pod.HOST_MODEL) for key in labels):
        yield "CPUModeLiveMigratable", "node %s names no host model" % node["metadata"]["name"]
    if devices.get("hostDevices") or devices.get("gpus"):
        yield "HostDeviceNotLiveMigratable", "a device of the host is attached"
    security = domain.get("launchSecurity")
    for kind, reason in CONFIDENTIAL:
        if kind in (security or {}):
            yield reason, "the guest's memory is encrypted by %s" % kind.upper()
    if security is not None and spec.get("architecture") == "s390x":
        yield "SecureExecutionNotLiveMigratable", "the guest runs under Secure Execution"
    hyperv = (domain.get("features") or {}).get("hyperv") or {}
    hints = (vmi.get("status") or {}).get("topologyHints") or {}
    enlightened = "reenlightenment" in hyperv and (hyperv["reenlightenment"] or {}).get("enabled") is not False
    if enlightened and not hints.get("tscFrequency"):
        yield "NoTSCFrequencyNotLiveMigratable", "Hyper-V reenlightenment needs a TSC frequency, and none is known"
    if ((domain.get("features") or {}).get("hypervPassthrough") or {}).get("enabled"):
        yield "HypervPassthroughNotLiveMigratable", "all Hyper-V features of the host are passed through"
    if devices.get("filesystems") and not generation.virtiofs_moves:
        yield "VirtIOFSNotLiveMigratable", "a volume is shared with the guest by virtiofs"
    if not generation.reservations_move and any(
            (disk.get("lun") or {}).get("reservation") for disk in devices.get("disks") or []):
        yield "PersistentReservationNotLiveMigratable", "a disk uses SCSI persistent reservations"
    for text in _disk_refusals(vmi):
        yield "DisksNotLiveMigratable", text


def _network_moves(vmi):
    """Only the interface on the pod network counts (facts 6.3)."""
    spec = vmi["spec"]
    pod_networks = [network["name"] for network in spec.get("networks") or [] if "pod" in network]
    for interface in (spec["domain"].get("devices") or {}).get("interfaces") or []:
        if interface.get("name") not in pod_networks:
            continue
        allowed = "bridge" in interface and BRIDGE_ALLOWED in (vmi["metadata"].get("annotations") or {})
        if not (allowed or any(way in interface for way in ("masquerade", "passt", "passtBinding"))
                or (interface.get("binding") or {}).get("name") in ("passt", "l2bridge")):
            return False
    return True


def _disk_refusals(vmi):
    status = vmi.get("status") or {}
    known = {row["name"]: row.get("persistentVolumeClaimInfo") for row in status.get("volumeStatus") or []}
    moved = {row.get("volumeName") for row in status.get("migratedVolumes") or []}
    for volume in vmi["spec"].get("volumes") or []:
        name = claimed(volume)
        if name and volume["name"] not in moved:
            info = known.get(volume["name"])
            if not info or "ReadWriteMany" not in (info.get("accessModes") or []):
                yield NOT_SHARED % name
        elif "hostDisk" in volume and not (volume["hostDisk"] or {}).get("shared"):
            yield "hostDisk %s is not shared" % volume["name"]
