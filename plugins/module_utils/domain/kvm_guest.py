# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a libvirt guest can be moved to another KVM host, and if not, why: the rules, over what both hosts told.

A guest is a dict ``{name, uuid, active, xml, filesystems: {path: type}, managed}``: ``filesystems`` of the files of its
disks where they could be looked at, ``managed`` whether a cluster manager on the host runs it (None: not known). A target
is ``{names: {name: uuid}, networks: {name: active}, pools: {name: active}, memory (see :func:`available`), pages_free: {KiB: count},
cells: {node: {cpu, ...}}, machine: problem or None, cpu: (verdict, reason)}``, each None where it could not be read. More of
it, where it is told: ``pages_by_cell: {node: {KiB: count}}``, ``luns: {WWID}``, ``release`` (the major release of RHEL),
``ports`` (False: filtered); and of the guest ``wwids: {path: WWID}``, ``host_cells`` and ``host_release`` as of a target.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.cpu import guest_cpu, parse
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.kvm_reasons import REASONS
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_bytes
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.wording import shortened

SHARED = ("nfs", "nfs4", "gfs2", "ocfs2", "ceph", "fuse.glusterfs", "glusterfs", "cifs", "gpfs", "lustre", "beegfs")
SAFE_CACHE = ("none", "directsync")
STABLE = re.compile(r"/dev/disk/by-id/(wwn|scsi|dm-uuid|nvme)-|/dev/mapper/(3[0-9a-f]{16,}|36[0-9a-f]+)")
SAN = re.compile(r"6[0-9a-f]{31}")  # NAA 6, as arrays name their LUNs; other disks have several names each
TIB = 1024 ** 4
UNITS = {"b": 1, "bytes": 1, "kb": 1000, "k": 1024, "kib": 1024, "mb": 10 ** 6, "m": 1024 ** 2, "mib": 1024 ** 2,
         "gb": 10 ** 9, "g": 1024 ** 3, "gib": 1024 ** 3, "tb": 10 ** 12, "t": TIB, "tib": TIB}


def judge(guest, target, differences=()):
    """``{name, uuid, verdict, memory_bytes, reasons: [{code, severity}], details: {code: [text]}}`` for one guest.

    :param differences: rows of :func:`..cpu.differences` of the two hosts.
    """
    root = parse(guest["xml"], "the definition of %s" % guest["name"])
    memory = size(root.find("./memory"))
    found = {}
    for rule in RULES:
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
    """Whether it runs, who manages it, how big it is, what it keeps in files of its host."""
    if not guest["active"]:
        yield "ShutOff", ""
    if guest["managed"]:
        yield "ClusterManaged", ""
    if memory > TIB:
        yield "HugeGuest", format_bytes(memory)
    nvram, tpm = _state_files(root)
    if (nvram is not None or tpm) and not guest["active"]:
        yield "FirmwareState", ""


def state_files(text):
    """``(path of the file with the firmware's variables, whether there is an emulated TPM)`` of a definition.

    The path is ``""`` where libvirt chooses it, None without such firmware.
    """
    return _state_files(parse(text, "the definition"))


def _state_files(root):
    nvram, path = root.find("./os/nvram"), None
    if nvram is not None:
        path = (nvram.text or "").strip()
    elif root.find("./os[@firmware='efi']") is not None or root.find("./os/loader[@type='pflash']") is not None:
        path = ""
    return path, root.find("./devices/tpm/backend[@type='emulator']") is not None


def _devices(guest, root, memory, target):
    """Devices of the host that the guest has."""
    for device in root.findall("./devices/hostdev"):
        yield ("MediatedDevice" if device.get("type") == "mdev" else "HostDevice"), device.get("type") or device.get("mode") or ""
    for card in root.findall("./devices/interface[@type='hostdev']"):
        mac = card.find("mac")
        yield "VirtualFunction", mac.get("address") if mac is not None else ""


def _disks(guest, root, memory, target):
    """Each disk: where it is, how it is cached, who else uses it."""
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
            if kind in ("nfs", "nfs4"):
                yield "NfsLocking", place
            if kind in SHARED and cache not in SAFE_CACHE and disk.find("readonly") is None and disk.find("shareable") is None:
                yield "DiskCache", place
        elif disk.get("type") == "block":
            known = wwid((guest.get("wwids") or {}).get(place) or (place if STABLE.search(place) else None))
            comparable = known and target.get("luns") and SAN.fullmatch(known)
            if comparable and known not in target["luns"]:
                yield "LunMissing", "%s (%s)" % (place, known)
            elif not comparable and not STABLE.search(place):
                yield "DiskUnproven", place
        elif disk.get("type") == "volume" and target["pools"] is not None and not target["pools"].get(source.get("pool")):
            yield "PoolMissing", source.get("pool") or ""


def _networks(guest, root, memory, target):
    """Each card: the network or bridge that it is on."""
    for source in root.findall("./devices/interface/source"):
        network, bridge = source.get("network"), source.get("bridge")
        if network and target["networks"] is None:
            yield "TargetUnread", "networks"
        elif network and not target["networks"].get(network):
            yield "NetworkMissing", network
        if bridge:
            yield "BridgeUnproven", bridge


def _cpu(guest, root, memory, target):
    """CPU and machine type, asked of the target's libvirt."""
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
    """Memory and huge pages, and what the guest is pinned to."""
    cells = target["cells"]
    if guest["active"]:
        pages = [size_of(page) for page in root.findall("./memoryBacking/hugepages/page")]
        backed = root.find("./memoryBacking/hugepages") is not None
        if backed and target["pages_free"] is None or not backed and target["memory"] is None:
            yield "TargetUnread", "free memory"
        elif backed:
            kib = pages[0] // 1024 if pages and pages[0] else 2048
            free = target["pages_free"].get(kib, 0) * kib * 1024
            if free < memory:
                yield "HugepagesShort", "%s free in pages of %s, %s needed" % (
                    format_bytes(free), format_bytes(kib * 1024), format_bytes(memory))
            else:
                yield from _pages_of_nodes(root, memory, kib, target.get("pages_by_cell"))
        elif available(target["memory"]) < memory:
            yield "MemoryShort", "%s available (%s), %s needed" % (
                format_bytes(available(target["memory"])), memory_in_words(target["memory"]), format_bytes(memory))
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
    if cells is not None and guest.get("host_cells") and (pins or nodes) and guest["host_cells"] != cells:
        yield "TopologyDiffers", "%s" % ", ".join(
            "node %d" % node for node in sorted(set(cells) | set(guest["host_cells"])) if cells.get(node) != guest["host_cells"].get(node))


def available(memory):
    """Bytes that a guest can have on a host: what is free, and the page cache, which the kernel gives up for it.

    Not the part of the cache that is memory of other guests: that is theirs.

    :param memory: ``{free, buffers, cached, shared}`` as libvirt reads them from the host's /proc/meminfo, ``shared`` by
        :func:`in_page_cache`; all but ``free`` may be missing.
    """
    return memory["free"] + max(0, memory.get("buffers", 0) + memory.get("cached", 0) - memory.get("shared", 0))


def memory_in_words(memory):
    """What :func:`available` is made of."""
    if "cached" not in memory:
        return "free, as libvirt there says; it does not tell of the page cache"
    return "%s free and %s of page cache, as libvirt there says" % (
        format_bytes(memory["free"]), format_bytes(available(memory) - memory["free"]))


def in_page_cache(root):
    """Bytes of a running guest's memory that its host counts as page cache: that of memfd, or of a file outside of huge pages."""
    backing = root.find("./memoryBacking")
    if backing is None or backing.find("./hugepages") is not None:
        return 0
    kind, access = backing.find("./source"), backing.find("./access")
    shared = kind is not None and kind.get("type") in ("memfd", "file") or access is not None and access.get("mode") == "shared"
    return size(root.find("./memory")) if shared else 0


def _pages_of_nodes(root, memory, kib, by_cell):
    """Memory and huge pages: those of the nodes that a guest's memory is bound to, rather than of the whole host."""
    bound = root.find("./numatune/memory")
    if by_cell is None or bound is None or bound.get("mode", "strict") != "strict":
        return
    asked = {cell.get("id"): size(_as_memory(cell)) for cell in root.findall("./cpu/numa/cell")}
    rows = [(numbers(row.get("nodeset")), asked.get(row.get("cellid"), 0)) for row in root.findall("./numatune/memnode")]
    for nodes, needed in rows or [(numbers(bound.get("nodeset")), memory)]:
        free = sum(by_cell.get(node, {}).get(kib, 0) for node in nodes) * kib * 1024
        if nodes and free < needed:
            yield "HugepagesShort", "%s free in pages of %s on node%s %s, %s needed" % (
                format_bytes(free), format_bytes(kib * 1024), "" if len(nodes) == 1 else "s", ", ".join(map(str, sorted(nodes))),
                format_bytes(needed))


def _as_memory(cell):
    """A guest's NUMA cell as an element that has its size as text."""
    made = ElementTree.Element("memory", {"unit": cell.get("unit") or "KiB"})
    made.text = cell.get("memory")
    return made


def _names(guest, root, memory, target):
    """Names and UUIDs on the target."""
    if target["names"] is None:
        yield "TargetUnread", "guests"
        return
    if target["names"].get(guest["name"], guest["uuid"]) != guest["uuid"]:
        yield "NameTaken", target["names"][guest["name"]]
    others = [name for name, uuid in target["names"].items() if uuid == guest["uuid"] and name != guest["name"]]
    if others:
        yield "UuidTaken", others[0]


def _path(guest, root, memory, target):
    """From which release to which, and whether the memory gets through."""
    here, there = guest.get("host_release"), target.get("release")
    if here and there and here != there:
        yield "ReleasePath", "RHEL %d to RHEL %d" % (here, there)
    if target.get("ports") is False and guest["active"]:
        yield "PortsFiltered", ""


RULES = (_state, _devices, _disks, _networks, _cpu, _placing, _names, _path)


def wwid(name):
    """The identity in a name such as ``wwn-0x600a09...`` or ``dm-uuid-mpath-3600a09...``: hex digits alone; None without one.

    udev puts a 3 before an identifier that a disk tells as NAA; the same disk's wwn has none.
    """
    found = re.findall(r"(?:^|[^0-9a-f])(?:0x)?([0-9a-f]{16,})(?![0-9a-f])", (name or "").lower())
    if not found:
        return None
    text = found[-1]
    return text[1:] if len(text) in (17, 33) and text[0] == "3" else text


def rhel_of(machines):
    """The major release of RHEL, of the names of a host's machine types such as ``pc-q35-rhel9.4.0``; None for another system.

    The newest counts: a release keeps the machine types of older ones.
    """
    found = [int(match[1]) for match in (re.search(r"rhel(\d+)\.", name or "") for name in machines) if match]
    return max(found, default=None)


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
