# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every reason a verdict on a libvirt guest can have, by code. The counterpart of reasons.py, with the same effects."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.reasons import Reason

LIBVIRT, RHEL = "libvirt: migration", "RHEL 9: migrating virtual machines"


def _cold(message, remedy, reference=RHEL):
    return Reason("blocker", "cold_only", message, remedy, reference)


def _blocks(message, remedy, reference=LIBVIRT):
    return Reason("blocker", "blocked", message, remedy, reference)


def _unknown(message, remedy, reference=LIBVIRT):
    return Reason("blocker", "unknown", message, remedy, reference)


def _warns(message, remedy, reference=RHEL):
    return Reason("warning", None, message, remedy, reference)


DETACH = "Take it out of the guest for the maintenance, or shut the guest down and move it offline."
REASONS = {
    "ShutOff": _cold("The guest is shut off; its definition can be moved.", "Move it with mode: offline.", LIBVIRT),
    "HostDevice": _cold("A device of the host is passed through to the guest.", DETACH),
    "VirtualFunction": _cold("The guest has a network card of the host (SR-IOV).", DETACH),
    "MediatedDevice": _cold("The guest has a mediated device, such as a virtual GPU.", DETACH),
    "LocalDisk": _cold("A disk is a file on storage that only this host has.",
                       "Put it on storage that both hosts share, or shut the guest down and move disk and definition."),
    "DiskCache": _blocks("A disk uses the host's cache, so the target might read old data.",
                         "Set cache='none' and restart the guest."),
    "PersistentReservation": _blocks("A disk holds SCSI-3 persistent reservations, which belong to this host's initiator.",
                                     "Have the guest's cluster give up its reservation, or move the guest by its cluster."),
    "ClusterManaged": _blocks("A cluster manager on the host runs this guest and would start it again.",
                              "Move it by the cluster (pcs resource move), or take it out of its management first."),
    "CpuRefused": _blocks("The target cannot give the guest its CPU.",
                          "Give it a CPU that both hosts have (libvirt_cpu_baseline), and restart it.", RHEL),
    "MachineUnknown": _blocks("The target does not have the guest's machine type.",
                              "Bring QEMU there to the same release."),
    "NumaShort": _blocks("The guest is pinned to CPUs or NUMA nodes that the target does not have.",
                         "Move it to a host of the same topology, or change its pinning.", RHEL),
    "HugepagesShort": _blocks("The target has too few huge pages free for the guest.",
                              "Free or add huge pages of that size there."),
    "MemoryShort": _blocks("The target has too little memory for the guest, its page cache given up.", "Free memory there."),
    "NetworkMissing": _blocks("The target lacks a network of the guest, or it is not active.",
                              "Define and start it there."),
    "PoolMissing": _blocks("The target lacks a storage pool of the guest, or it is not active.", "Define and start it there."),
    "NameTaken": _blocks("The target has another guest of that name.", "Rename one of them."),
    "UuidTaken": _blocks("The target has this guest under another name.", "Remove that definition there."),
    "CpuUnknown": _unknown("Whether the target can give the guest its CPU could not be asked.", "See the error in the details."),
    "TargetUnread": _unknown("The target did not tell something that could stop the guest.", "See the error in the details."),
    "LunMissing": _blocks("The target lists its disks, and a LUN of the guest is not among them.",
                          "Map the LUN to the target, scan its SCSI hosts, and look for the WWID there."),
    "DiskUnproven": _warns("Whether a disk is the same on both hosts is not shown by its name.",
                           "Name it by /dev/disk/by-id or a multipath WWID; for files, have the role kvm_shared_storage prove it."),
    "NfsLocking": Reason("info", None, "A disk is a file on NFS, whose file locking does not work with KVM.",
                         "See that no other guest uses the file; nothing else keeps it from that.", RHEL),
    "FirmwareState": _warns("The guest keeps NVRAM or TPM state in files of this host; a move of its definition alone leaves them.",
                            "Move it live, or copy these files to the same places on the target."),
    "ReleasePath": _warns("Both hosts are not of one major release of RHEL; no supported path leads from one to the other.",
                          "Ask Red Hat's support, or shut the guest down and move it offline."),
    "TopologyDiffers": _warns("The guest is pinned, and the hosts' NUMA nodes do not have the same CPUs.",
                              "Move it to a host of the same topology; else it runs slower there."),
    "PortsFiltered": _warns("The ports that memory is sent over seem to be filtered on the way to the target.",
                            "Let 49152 to 49215/tcp through on both hosts (and on the migration network)."),
    "BridgeUnproven": _warns("The guest is on a bridge; both hosts must have it, on the same network.",
                             "Look at the bridge on the target."),
    "SharedDisk": _warns("A disk is shared with other guests; a fencing device (SBD) is lost for the length of the pause.",
                         "Lengthen the cluster's timeouts, or put the cluster node into standby."),
    "HostCpu": _warns("The guest has the host's own CPU: both hosts need the same CPU, microcode and kernel.",
                      "Compare them; see the differences."),
    "NumaPinned": _warns("The guest is pinned to CPUs or NUMA nodes; it is placed alike on the target.",
                         "See that the topologies are alike."),
    "OldMachine": _warns("The machine type is not q35; moves between releases of RHEL are supported for q35 only.",
                         "Plan to rebuild the guest with q35."),
    "HugeGuest": _warns("The guest has more than 1 TiB; such moves were tested up to 6 TB and can be unreliable.",
                        "Use 25 Gb/s or more for the migration network, all of it, and speak to Red Hat's support before."),
    "HostsDiffer": _warns("The hosts differ in QEMU, microcode, kernel or firmware.", "Bring them to the same level where you can."),
}

# What only the plan of a whole host can say.
PLAN = {
    "NoTarget": _unknown("No other host could be asked about the guest.", "See above why they did not answer, and mend that."),
    "unknown": _unknown("The guest was not there yet when all were judged.", "Run again."),
    "MovedBySomebodyElse": _blocks("Somebody else is migrating the guest just now.", "Wait until that has ended (virsh domjobinfo)."),
    "NoRoomLeft": _blocks("The guest fits on another host alone, but not beside what goes there first.", "Free or add room there."),
    "KeepRulesLeaveNoNode": _blocks("There is room for the guest only beside one that it is kept apart from.",
                                    "Move its partner first, or free room elsewhere; else change kvm_evacuation_apart."),
}


def reason_of(code):
    """The :class:`Reason` of a code of a verdict, or of a plan."""
    return REASONS.get(code) or PLAN[code]
