# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a libvirt guest can be moved to another KVM host, and if not, why: the rules, over what both hosts told.

A guest is a dict ``{name, uuid, active, xml, filesystems: {path: type}, managed}``: ``filesystems`` of the files of its
disks where they could be looked at, ``managed`` whether a cluster manager on the host runs it (None: not known). A target
is ``{names: {name: uuid}, networks: {name: active}, pools: {name: active}, memory_free, pages_free: {KiB: count},
cells: {node: {cpu, ...}}, machine: problem or None, cpu: (verdict, reason)}``, each None where it could not be read.
"""

from __future__ import annotations

import re

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.cpu import guest_cpu, parse
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_bytes
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.reasons import Reason
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.wording import shortened

SHARED = ("nfs", "nfs4", "gfs2", "ocfs2", "ceph", "fuse.glusterfs", "glusterfs", "cifs", "gpfs", "lustre", "beegfs")
SAFE_CACHE = ("none", "directsync")
STABLE = re.compile(r"/dev/disk/by-id/(wwn|scsi|dm-uuid|nvme)-|/dev/mapper/(3[0-9a-f]{16,}|36[0-9a-f]+)")
TIB = 1024 ** 4
UNITS = {"b": 1, "bytes": 1, "kb": 1000, "k": 1024, "kib": 1024, "mb": 10 ** 6, "m": 1024 ** 2, "mib": 1024 ** 2,
         "gb": 10 ** 9, "g": 1024 ** 3, "gib": 1024 ** 3, "tb": 10 ** 12, "t": TIB, "tib": TIB}
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
    "MemoryShort": _blocks("The target has too little memory free for the guest.", "Free memory there."),
    "NetworkMissing": _blocks("The target lacks a network of the guest, or it is not active.",
                              "Define and start it there."),
    "PoolMissing": _blocks("The target lacks a storage pool of the guest, or it is not active.", "Define and start it there."),
    "NameTaken": _blocks("The target has another guest of that name.", "Rename one of them."),
    "UuidTaken": _blocks("The target has this guest under another name.", "Remove that definition there."),
    "CpuUnknown": _unknown("Whether the target can give the guest its CPU could not be asked.", "See the error in the details."),
    "TargetUnread": _unknown("The target did not tell something that could stop the guest.", "See the error in the details."),
    "DiskUnproven": _warns("Whether a disk is the same on both hosts is not shown by its name.",
                           "Name it by /dev/disk/by-id or a multipath WWID, and compare with the target."),
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


def judge(guest, target, differences=()):
    """``{name, uuid, verdict, memory_bytes, reasons: [{code, severity}], details: {code: [text]}}`` for one guest.

    :param differences: rows of :func:`..cpu.differences` of the two hosts.
    """
    root = parse(guest["xml"], "the definition of %s" % guest["name"])
    memory = size(root.find("./memory"))
    found = {}
    for rule in (_state, _devices, _disks, _networks, _cpu, _placing, _names):
        for code, detail in rule(guest, root, memory, target):
            found.setdefault(code, []).append(detail)
    if differences and guest["active"]:
        found["HostsDiffer"] = [row["what"] for row in differences]
    rank = {"blocker": 0, "warning": 1, "info": 2}
    codes = sorted(found, key=lambda code: (rank[REASONS[code].severity], code))
    return {
        "name": guest["name"], "uuid": guest["uuid"], "active": guest["active"], "memory_bytes": memory,
        "verdict": verdict(codes), "reasons": [{"code": code, "severity": REASONS[code].severity} for code in codes],
        "details": {code: [text for text in found[code] if text] for code in codes},
    }


def verdict(codes):
    """``live``, ``blocked``, ``cold_only`` or ``unknown`` for these codes."""
    effects = {REASONS[code].effect for code in codes}
    return next((effect for effect in ("blocked", "cold_only", "unknown") if effect in effects), "live")


def size(element):
    """Bytes of an element such as ``<memory unit='KiB'>``; 0 without."""
    if element is None or not (element.text or "").strip().isdigit():
        return 0
    return int(element.text) * UNITS.get((element.get("unit") or "KiB").lower(), 1024)


def _state(guest, root, memory, target):
    if not guest["active"]:
        yield "ShutOff", ""
    if guest["managed"]:
        yield "ClusterManaged", ""
    if memory > TIB:
        yield "HugeGuest", format_bytes(memory)


def _devices(guest, root, memory, target):
    for device in root.findall("./devices/hostdev"):
        yield ("MediatedDevice" if device.get("type") == "mdev" else "HostDevice"), device.get("type") or device.get("mode") or ""
    for card in root.findall("./devices/interface[@type='hostdev']"):
        mac = card.find("mac")
        yield "VirtualFunction", mac.get("address") if mac is not None else ""


def _disks(guest, root, memory, target):
    for disk in root.findall("./devices/disk"):
        source, driver = disk.find("source"), disk.find("driver")
        if source is None or disk.get("device") in ("cdrom", "floppy") and not source.attrib:
            continue
        place = source.get("dev") or source.get("file") or source.get("dir") or source.get("volume") or source.get("name") or ""
        if source.find("reservations") is not None:
            yield "PersistentReservation", place
        if disk.find("shareable") is not None:
            yield "SharedDisk", place
        if disk.get("type") in ("file", "dir"):
            kind = (guest["filesystems"] or {}).get(place)
            if kind is None:
                yield "DiskUnproven", place
            elif kind not in SHARED:
                yield "LocalDisk", "%s (%s)" % (place, kind)
            cache = driver.get("cache") if driver is not None else None
            if kind in SHARED and cache not in SAFE_CACHE and disk.find("readonly") is None and disk.find("shareable") is None:
                yield "DiskCache", place
        elif disk.get("type") == "block" and not STABLE.search(place):
            yield "DiskUnproven", place
        elif disk.get("type") == "volume" and target["pools"] is not None and not target["pools"].get(source.get("pool")):
            yield "PoolMissing", source.get("pool") or ""


def _networks(guest, root, memory, target):
    for source in root.findall("./devices/interface/source"):
        network, bridge = source.get("network"), source.get("bridge")
        if network and target["networks"] is None:
            yield "TargetUnread", "networks"
        elif network and not target["networks"].get(network):
            yield "NetworkMissing", network
        if bridge:
            yield "BridgeUnproven", bridge


def _cpu(guest, root, memory, target):
    cpu = guest_cpu(guest["xml"])[0]
    answer, reason = target["cpu"] or (None, "not asked")
    if cpu and cpu["mode"] == "host-passthrough":
        yield "HostCpu", ""
    elif guest["active"] and answer == "incompatible":
        yield "CpuRefused", reason or ""
    elif guest["active"] and answer is None:
        yield "CpuUnknown", reason or ""
    machine = root.find("./os/type")
    if target["machine"]:
        yield "MachineUnknown", target["machine"]
    if machine is not None and machine.get("machine") and "q35" not in machine.get("machine"):
        yield "OldMachine", machine.get("machine")


def _placing(guest, root, memory, target):
    cells = target["cells"]
    if guest["active"]:
        pages = [size_of(page) for page in root.findall("./memoryBacking/hugepages/page")]
        backed = root.find("./memoryBacking/hugepages") is not None
        if backed and target["pages_free"] is None or not backed and target["memory_free"] is None:
            yield "TargetUnread", "free memory"
        elif backed:
            kib = pages[0] // 1024 if pages and pages[0] else 2048
            free = target["pages_free"].get(kib, 0) * kib * 1024
            if free < memory:
                yield "HugepagesShort", "%s free in pages of %s, %s needed" % (
                    format_bytes(free), format_bytes(kib * 1024), format_bytes(memory))
        elif target["memory_free"] < memory:
            yield "MemoryShort", "%s free, %s needed" % (format_bytes(target["memory_free"]), format_bytes(memory))
    pins = [row.get("cpuset") for row in root.findall("./cputune/*") if row.get("cpuset")]
    nodes = [row.get("nodeset") for row in root.findall("./numatune/*") if row.get("nodeset")]
    if pins or nodes:
        yield "NumaPinned", ""
    if cells is not None:
        cpus = set().union(*cells.values()) if cells else set()
        lacking = sorted(set().union(*map(numbers, pins)) - cpus) if pins else []
        absent = sorted(set().union(*map(numbers, nodes)) - set(cells)) if nodes else []
        if lacking:
            yield "NumaShort", "CPUs %s" % ", ".join(map(str, lacking))
        if absent:
            yield "NumaShort", "nodes %s" % ", ".join(map(str, absent))


def _names(guest, root, memory, target):
    if target["names"] is None:
        yield "TargetUnread", "guests"
        return
    if target["names"].get(guest["name"], guest["uuid"]) != guest["uuid"]:
        yield "NameTaken", target["names"][guest["name"]]
    others = [name for name, uuid in target["names"].items() if uuid == guest["uuid"] and name != guest["name"]]
    if others:
        yield "UuidTaken", others[0]


def size_of(page):
    """Bytes of a ``<page size='1' unit='GiB'/>``; 0 when it does not say."""
    text = page.get("size") or ""
    return int(text) * UNITS.get((page.get("unit") or "KiB").lower(), 1024) if text.isdigit() else 0


def numbers(text):
    """``{0, 1, 2, 4}`` of libvirt's ``0-2,4,^3``."""
    found = set()
    for part in (text or "").split(","):
        match = re.fullmatch(r"\s*(\^?)(\d+)(?:-(\d+))?\s*", part)
        if match:
            these = set(range(int(match[2]), int(match[3] or match[2]) + 1))
            found = found - these if match[1] else found | these
    return found


def summary(rows):
    """Number of guests by verdict."""
    return {effect: sum(row["verdict"] == effect for row in rows) for effect in ("live", "cold_only", "blocked", "unknown")}


def reason_table(rows):
    """Each code that occurs, once, with what it means."""
    codes = {reason["code"] for row in rows for reason in row["reasons"]}
    return {code: dict(REASONS[code]._asdict()) for code in sorted(codes)}


def in_words(rows):
    """Lines for people: the verdicts, then each code that occurs with what helps."""
    lines = []
    for row in rows:
        codes = ", ".join(reason["code"] for reason in row["reasons"])
        lines.append(shortened("%s: %s%s" % (row["name"], row["verdict"], " (%s)" % codes if codes else ""), 80))
    for code, reason in reason_table(rows).items():
        lines += _folded("%s: %s %s" % (code, reason["message"], reason["remedy"]))
    return lines


def _folded(text, width=80):
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > width and lines[-1].strip():
            lines.append("   " + word)
        else:
            lines[-1] = (lines[-1] + " " + word) if lines[-1] else word
    return lines
