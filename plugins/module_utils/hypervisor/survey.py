# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What both hosts tell about guests that shall move: read once per target, however many guests; nothing is changed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from urllib.parse import urlsplit
from xml.etree import ElementTree

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import cpu, kvm_guest
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.connection import (
    BindingDomain,
    HostUnreachable,
    HypervisorError,
    check_uri,
    has_binding,
    is_local,
    libvirt,
    reach,
    said,
)

FIRST_PORT, PATIENCE = 49152, 3.0  # of QEMU's for memory; seconds
MANAGER = ["cibadmin", "--query", "--local"]


def guests(host, names):
    """The guests by name, or all of the host: ``[dict]`` as domain/kvm_guest.py wants them.

    :raises HypervisorError: without the binding. :raises NoSuchDomain: a name that is not there.
    """
    if not has_binding():
        raise HypervisorError("Judging guests needs libvirt's Python binding.", "Install python3-libvirt where this runs.")
    if names:
        domains = [host.domain(name) for name in names]
    else:
        with said("The guests could not be listed", host.uri):
            domains = sorted((BindingDomain(host, handle) for handle in host.connection.listAllDomains()), key=lambda one: one.name)
    here = is_local(host.uri)
    known, managed = mounts() if here else {}, manager() if here else None
    return [_guest(domain, known, managed) for domain in domains]


def _guest(domain, known, managed):
    xml = domain.running_as() or domain.definition()
    root = cpu.parse(xml, "the definition of %s" % domain.name)
    paths = [source.get("file") or source.get("dir") for source in root.findall("./devices/disk/source")]
    blocks = [source.get("dev") for source in root.findall("./devices/disk[@type='block']/source")]
    return {
        "name": domain.name, "uuid": domain.handle.UUIDString(), "active": domain.is_active(), "xml": xml,
        "filesystems": {path: filesystem(path, known) for path in paths if path},
        "wwids": {path: wwid_of(path) for path in blocks if path} if known else {},
        "managed": None if managed is None else named_in(domain.name, managed),
    }


def mounts():
    """``{mount point: type}`` of this machine."""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as lines:
            return {words[1]: words[2] for words in (line.split() for line in lines) if len(words) > 2}
    except OSError:
        return {}


def filesystem(path, known):
    """The type of the file system that a file is on; None when that cannot be told."""
    path = os.path.realpath(path)
    fitting = [point for point in known if path == point or path.startswith(point.rstrip("/") + "/")]
    return known[max(fitting, key=len)] if fitting else None


def wwid_of(path):
    """What the kernel of this machine tells of the identity of a block device; None without."""
    name = os.path.basename(os.path.realpath(path))
    for file in ("dm/uuid", "device/wwid", "wwid"):
        try:
            with open("/sys/class/block/%s/%s" % (name, file), encoding="ascii", errors="replace") as handle:
                text = handle.read().strip()
        except OSError:
            continue
        if text:
            return text
    return None


def manager():
    """The configuration of the cluster manager on this machine; ``""`` without one, None when it does not answer."""
    if not shutil.which(MANAGER[0]):
        return ""
    try:
        done = subprocess.run(MANAGER, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else ""


def named_in(name, configuration):
    """Whether the cluster manager has a VirtualDomain resource for a guest: by its id, or by the file of its definition."""
    if not configuration:
        return False
    try:
        root = ElementTree.fromstring(configuration)
    except ElementTree.ParseError:
        return False
    for resource in root.iter("primitive"):
        if resource.get("type") != "VirtualDomain":
            continue
        files = [pair.get("value") or "" for pair in resource.iter("nvpair") if pair.get("name") == "config"]
        if resource.get("id") == name or any(os.path.basename(path) == name + ".xml" for path in files):
            return True
    return False


def target(host):
    """What a target tells that concerns every guest; None for what it does not tell."""
    def of(read):
        try:
            return read()
        except (libvirt.libvirtError, ValueError):
            return None

    connection = host.connection
    capabilities = cpu.parse(host.capabilities(), "what libvirt says of %s" % host.uri)
    by_cell = of(lambda: pages_free(connection, capabilities))
    return {
        "names": of(lambda: {one.name(): one.UUIDString() for one in connection.listAllDomains()}),
        "networks": of(lambda: {one.name(): bool(one.isActive()) for one in connection.listAllNetworks()}),
        "pools": of(lambda: {one.name(): bool(one.isActive()) for one in connection.listAllStoragePools()}),
        "memory": of(lambda: memory(connection)), "pages_free": total(by_cell), "pages_by_cell": by_cell,
        "cells": cells_of(capabilities), "release": release_of(capabilities), "luns": of(lambda: luns(connection)),
        "machine": None, "cpu": None,
    }


def memory(connection):
    """``{total, free, buffers, cached, shared}`` in bytes; without the page cache's part where the host tells only what is free."""
    try:
        told = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS, 0)
    except libvirt.libvirtError:
        told = {}
    if not {"total", "free", "buffers", "cached"} <= set(told):
        return {"free": connection.getFreeMemory()}
    running = [one.XMLDesc(0) for one in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)]
    return dict({name: told[name] * 1024 for name in ("total", "free", "buffers", "cached")},
                shared=sum(kvm_guest.in_page_cache(cpu.parse(xml, "a guest")) for xml in running))


def cells_of(capabilities):
    """``{node: {cpu, ...}}``; None where the host does not tell."""
    return {int(cell.get("id")): {int(one.get("id")) for one in cell.iter("cpu")} for cell in capabilities.iter("cell")} or None


def release_of(capabilities):
    """The major release of RHEL; None for another system."""
    return kvm_guest.rhel_of(machine.text for machine in capabilities.iter("machine"))


def luns(connection):
    """WWIDs of the disks that a host lists; None where it lists none, as without libvirt's node device driver."""
    flag = libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_STORAGE
    found = set()
    for device in connection.listAllDevices(flag):
        root = cpu.parse(device.XMLDesc(0), "a disk")
        found.update(kvm_guest.wwid(text.text) for text in root.iter() if text.tag in ("serial", "wwn") and text.text)
    return found - {None} or None


def reachable(uri):
    """Whether the first port that memory is sent to lets a connection through, or refuses it at once; False when it is filtered.

    Nobody listens there before a migration begins, so a refusal is the good answer. None when the address is not known.
    """
    host = urlsplit(uri or "").hostname
    if not host:
        return None
    try:
        socket.create_connection((host, FIRST_PORT), PATIENCE).close()
    except ConnectionRefusedError:
        return True
    except socket.gaierror:
        return None
    except OSError:
        return False
    return True


def way_to(uri, migrate_uri=None):
    """What stands between this machine and a host that guests shall move to: ``[sentence]``; nothing is opened.

    :raises BadInput: it is no URI of a system connection.
    """
    check_uri(uri)
    problems = []
    try:
        reach(uri)
    except HostUnreachable as exc:
        problems.append(exc.message)
    if reachable(migrate_uri or uri) is False:
        problems.append("Port %d of %s, the first that memory is sent to, does not answer and seems to be filtered."
                        % (FIRST_PORT, urlsplit(migrate_uri or uri).hostname))
    return problems


def pages_free(connection, capabilities):
    """``{node: {KiB: free pages}}``."""
    sizes = sorted({int(one.get("size")) for one in capabilities.iterfind("./host/cpu/pages")})
    cells = len(list(capabilities.iter("cell"))) or 1
    return {int(cell): dict(pages) for cell, pages in connection.getFreePages(sizes, 0, cells).items()} if sizes else {}


def total(by_cell):
    """``{KiB: free pages}`` of all nodes together; None where they were not told."""
    if by_cell is None:
        return None
    return {kib: sum(cell.get(kib, 0) for cell in by_cell.values()) for kib in {one for cell in by_cell.values() for one in cell}}


def for_guest(host, told, guest):
    """What the target says of one guest: its machine type, its CPU."""
    root = cpu.parse(guest["xml"], "the definition of %s" % guest["name"])
    kind = root.find("./os/type")
    where = {"emulator": None, "arch": kind.get("arch") if kind is not None else None,
             "machine": kind.get("machine") if kind is not None else None, "virttype": root.get("type")}
    machine, answer = None, None
    try:
        host.domain_capabilities(where)
    except HypervisorError as exc:
        machine = exc.message
    has = cpu.guest_cpu(guest["xml"])[0]
    if guest["active"] and has and has["model"] and not machine:
        try:
            answer = host.compare(cpu.as_guest(has), where)
        except HypervisorError as exc:
            answer = (None, exc.message)
    elif guest["active"] and not (has and has["model"]):
        answer = ("superset", None)  # QEMU's default model, or the host's own: another rule's business
    return dict(told, machine=machine, cpu=answer)


def judged(source, destination, names, differences, migrate_uri=None):
    """The verdicts on guests of ``source`` for ``destination``, both hosts.

    :param migrate_uri: where the memory will be sent; None: to the destination's own address.
    """
    told, here = target(destination), cpu.parse(source.capabilities(), "what libvirt says of %s" % source.uri)
    told["ports"] = reachable(migrate_uri or destination.uri) if is_local(source.uri) else None
    more = {"host_cells": cells_of(here), "host_release": release_of(here)}
    return [kvm_guest.judge(dict(guest, **more), for_guest(destination, told, guest), differences) for guest in guests(source, names)]
