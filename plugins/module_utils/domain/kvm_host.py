# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a RHEL host needs so that guests can be moved to and from it, by release, and how far one is from it.

Ports, as libvirt's own documentation has them: 22 ssh, 16514 TLS, 16509 plain TCP (published tables have the last two
swapped), 49152 to 49215 the memory, from QEMU to QEMU. Modular daemons since RHEL 9; with socket activation what libvirtd.conf says
of listening counts for nothing, the sockets do.
"""

from __future__ import annotations

import re
from collections import namedtuple

RELEASE = re.compile(r"(8|9|10)(?:\.(\d+))?")
PORTS = {"ssh": "22/tcp", "tls": "16514/tcp"}
PLAIN_TCP = "16509/tcp"
MODULAR = ("virtqemud", "virtnetworkd", "virtnodedevd", "virtnwfilterd", "virtsecretd", "virtstoraged", "virtinterfaced")
PACKAGES = ("qemu-kvm", "libvirt", "libvirt-client", "python3-libvirt", "python3-libselinux", "python3-libsemanage", "python3-firewall",
            "firewalld", "openssl")
BOOLEANS = {"nfs": "virt_use_nfs", "cifs": "virt_use_samba", "fuse": "virt_use_fusefs"}
MONOLITHIC = ("libvirtd.service", "libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket", "libvirtd-tcp.socket",
              "libvirtd-tls.socket")
KSM = ("ksm.service", "ksmtuned.service")
GIB = 1024 ** 3
SIZES = {"1G": 1048576, "2M": 2048}  # KiB

Needs = namedtuple("Needs", "major packages sockets off tcp_socket tls_socket restart")
RHEL, LIBVIRT, SAP = "RHEL: migrating virtual machines", "libvirt: remote support", "SAP HANA on KVM"


def release_of(text):
    """``(major, minor)`` of a RHEL release such as ``9.4``; a missing minor is 0.

    :raises ValueError: when it is none that is known.
    """
    match = RELEASE.fullmatch(str(text).strip())
    if not match:
        raise ValueError("what a KVM host of RHEL %s needs is not known; known are 8, 9 and 10" % (text,))
    return int(match.group(1)), int(match.group(2) or 0)


def needs(release, transport="tls"):
    """:class:`Needs` of a release: packages, sockets that are on, units that are off, those for TCP and TLS, what to restart.

    :param transport: ``tls`` or ``ssh``; plain TCP is not offered.
    :raises ValueError: a release or transport that is not known.
    """
    major = release_of(release)[0]
    if transport not in PORTS:
        raise ValueError("the transport %s is not offered; known are tls and ssh" % (transport,))
    if major == 8:
        return Needs(major, PACKAGES, ("libvirtd.socket",) + (("libvirtd-tls.socket",) if transport == "tls" else ()), (),
                     "libvirtd-tcp.socket", "libvirtd-tls.socket", "libvirtd.service")
    on = tuple(name + ".socket" for name in MODULAR) + (("virtproxyd.socket", "virtproxyd-tls.socket") if transport == "tls" else ())
    return Needs(major, PACKAGES, on, MONOLITHIC, "virtproxyd-tcp.socket", "virtproxyd-tls.socket", "virtqemud.service")


def units(release, transport="tls"):
    """All units whose state a report wants."""
    found = needs(release, transport)
    return list(dict.fromkeys(found.sockets + found.off + (found.tcp_socket, found.tls_socket) + KSM))


def firewall_ports(transport="tls", low=49152, high=49215):
    """What the firewall lets through: how libvirt is reached, and the memory."""
    return [PORTS[transport], "%d-%d/tcp" % (low, high)] if transport == "tls" else ["%d-%d/tcp" % (low, high)]


# -- huge pages --------------------------------------------------------------------


def hugepages(wanted, numa, release):
    """How many huge pages each NUMA node gets, and what the kernel is told at its start.

    :param wanted: ``{size: 1G or 2M, nodes: {node: count}}`` or ``{size, spare: bytes that each node keeps}``.
    :param numa: ``{node: bytes}`` of the host.
    :returns: ``{kib, nodes: {node: count}, total, arguments: [text]}``; None when nothing is wanted.
    :raises ValueError: nodes that do not exist, more than there is, or counts that this kernel cannot be told.
    """
    if not wanted:
        return None
    size = str(wanted.get("size") or "1G").upper()
    if size not in SIZES:
        raise ValueError("huge pages of %s are not known; known are 1G and 2M" % size)
    kib, major = SIZES[size], release_of(release)[0]
    given = {int(node): int(count) for node, count in (wanted.get("nodes") or {}).items()}
    unknown = sorted(set(given) - set(numa))
    if unknown:
        there = ", ".join(map(str, sorted(numa))) or "none"
        raise ValueError("there is no NUMA node %s; there are %s" % (", ".join(map(str, unknown)), there))
    if bool(given) == bool(wanted.get("spare")):
        raise ValueError("give huge pages by node (nodes), or what each node keeps (spare)")
    if given:
        counts = {node: given.get(node, 0) for node in numa}
    else:
        counts = {node: max(0, (total - int(wanted["spare"])) // (kib * 1024)) for node, total in numa.items()}
        if major < 10:  # such a kernel spreads them evenly over the nodes
            counts = dict.fromkeys(counts, min(counts.values(), default=0))
    for node, count in counts.items():
        if count * kib * 1024 > numa[node]:
            raise ValueError("node %d has %.0f GiB, %d pages of %s are more" % (node, numa[node] / GIB, count, size))
    if not any(counts.values()):
        raise ValueError("no node is left with a single huge page")
    if major < 10 and len(set(counts.values())) > 1:
        raise ValueError("the kernel of RHEL %d spreads huge pages evenly over the NUMA nodes at its start: give all nodes the same "
                         "count" % major)
    text = ",".join("%d:%d" % pair for pair in sorted(counts.items())) if major >= 10 else str(sum(counts.values()))
    return {"kib": kib, "nodes": counts, "total": sum(counts.values()),
            "arguments": ["default_hugepagesz=" + size, "hugepagesz=" + size, "hugepages=" + text]}


def numa_of(files):
    """``({node: bytes}, {node: {KiB: pages}})`` of ``path:text`` lines below /sys/devices/system/node."""
    memory, pages = {}, {}
    for line in str(files).splitlines():
        path, _colon, text = line.partition(":")
        node = re.search(r"/node(\d+)/", path)
        total = re.search(r"MemTotal:\s*(\d+) kB", text)
        if node and total:
            memory[int(node.group(1))] = int(total.group(1)) * 1024
        size = re.search(r"hugepages-(\d+)kB/nr_hugepages$", path)
        if node and size and text.strip().isdigit():
            pages.setdefault(int(node.group(1)), {})[int(size.group(1))] = int(text)
    return memory, pages


def boot_arguments(grubby):
    """The arguments of all kernels that grubby tells of: ``[set of words]``."""
    return [set(text.split()) for text in re.findall(r'^args="(.*)"$', str(grubby), re.MULTILINE)]


# -- how far it is -----------------------------------------------------------------


def report(found, wanted):
    """Each thing as wanted and as found.

    :param found: ``{release, packages: [name] or None, units: systemctl show, firewall: {runtime, permanent} texts of firewall-cmd,
        booleans: getsebool, selinux: bool, files: grep's path:text lines, grubby, kvm: bool, addresses: [ip], certificates: rows}``.
        Text that could not be read is empty.
    :param wanted: ``{transport, ports: [text], booleans: [name], hugepages: of hugepages() or None, migration_address,
        migration_ports: [low, high], ksm: whether it has to be off}``.
    :returns: ``[{name, status: PASS|FAIL|SKIP, wanted, found, note, remedy}]``.
    """
    rows = [_row("KVM", found["kvm"], "/dev/kvm", "there" if found["kvm"] else "not there", RHEL,
                 "Switch virtualization on in the firmware, and see that the modules kvm and kvm_intel or kvm_amd are loaded.")]
    rows += _packages(found, wanted) + _units(found, wanted) + _firewall(found, wanted) + _selinux(found, wanted)
    rows += list(found.get("certificates") or []) + _migration(found, wanted) + _ksm(found, wanted) + _hugepages(found, wanted)
    return rows


def _row(name, good, wanted, have, note, remedy, status=None):
    return {"name": name, "status": status or ("PASS" if good else "FAIL"), "wanted": str(wanted), "found": str(have), "note": note,
            "remedy": remedy}


def _packages(found, wanted):
    asked = needs(found["release"], wanted["transport"]).packages
    if found["packages"] is None:
        return [_row("packages", False, " ".join(asked), "not read", RHEL, "See whether the package manager answers.")]
    missing = [name for name in asked if name not in found["packages"]]
    return [_row("packages", not missing, "all there", "all there" if not missing else "missing: " + " ".join(missing), RHEL,
                 "Install them, or let this role do it.")]


def unit_states(text):
    """``{unit: {ActiveState, UnitFileState, LoadState}}`` of ``systemctl show``."""
    found = {}
    for block in re.split(r"\n\s*\n", str(text)):
        pairs = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if pairs.get("Id"):
            found[pairs["Id"]] = pairs
    return found


def _units(found, wanted):
    states, asked = unit_states(found["units"]), needs(found["release"], wanted["transport"])
    rows = []
    for name in asked.sockets:
        state = states.get(name, {})
        have = "%s, %s" % (state.get("ActiveState") or "not there", state.get("UnitFileState") or "not enabled")
        rows.append(_row(name, state.get("ActiveState") == "active" and state.get("UnitFileState") == "enabled", "active, enabled", have,
                         LIBVIRT, "The TLS socket is switched on once its certificates are right." if name == asked.tls_socket else
                         "Run this role in mode apply."))
    for name in asked.off:
        rows += _off(name, states, "RHEL %d has a daemon for each driver; the single one beside them takes their sockets." % asked.major)
    return rows + _off(asked.tcp_socket, states, "It is neither encrypted nor, by itself, authenticated.")


def _off(name, states, why):
    state = states.get(name, {})
    if state.get("LoadState", "not-found") == "not-found":
        return []
    off = state.get("ActiveState") != "active" and state.get("UnitFileState") not in ("enabled", "enabled-runtime")
    return [_row(name, off, "off", "off" if off else "%s, %s" % (state.get("ActiveState"), state.get("UnitFileState")), LIBVIRT, why)]


def open_ports(text):
    """``{port or service}`` of ``firewall-cmd --list-all``; None when the firewall did not answer."""
    lines = {key.strip(): value.split() for key, _colon, value in (line.partition(":") for line in str(text).splitlines())}
    return set(lines["ports"]) | set(lines.get("services") or []) if "ports" in lines else None


def _firewall(found, wanted):
    rows = []
    for port in wanted["ports"] + (["ssh"] if wanted["transport"] == "ssh" else []):
        have = {when: open_ports(found["firewall"][when]) for when in ("runtime", "permanent")}
        same = {port, "22/tcp"} if port == "ssh" else {port, "libvirt-tls"} if port == PORTS["tls"] else {port}
        lacking = [when for when, ports in have.items() if not ports or not ports & same]
        read = all(ports is not None for ports in have.values())
        rows.append(_row("firewall %s" % port, not lacking, "open", "open" if not lacking else "not read" if not read else
                         "closed (%s)" % " and ".join(lacking), RHEL, "Open it, now and for good; the firewall has to run."))
    shut = open_ports(found["firewall"]["runtime"])
    if shut is not None:
        plain = bool(shut & {PLAIN_TCP, "libvirt"})
        rows.append(_row("firewall %s" % PLAIN_TCP, not plain, "closed", "open" if plain else "closed", LIBVIRT,
                         "It is libvirt's plain TCP; TLS is 16514."))
    return rows


def _selinux(found, wanted):
    rows = []
    for name in wanted["booleans"]:
        on = re.search(r"^%s --> on$" % re.escape(name), str(found["booleans"]), re.MULTILINE)
        if not found["selinux"]:
            rows.append(_row("SELinux %s" % name, True, "on", "SELinux is disabled", RHEL, "", "SKIP"))
        else:
            rows.append(_row("SELinux %s" % name, on, "on", "on" if on else "off or not read", RHEL,
                             "Without it QEMU may not open images on that kind of storage."))
    return rows


def contents(files, path):
    """The lines of one file among ``path:text`` lines."""
    return [text for line in str(files).splitlines() for head, _colon, text in [line.partition(":")] if head == path]


def qemu_setting(files, name):
    """A setting of qemu.conf, without quotes; None when it is not set."""
    for line in contents(files, "/etc/libvirt/qemu.conf"):
        match = re.match(r'\s*%s\s*=\s*"?([^"#]*?)"?\s*(#.*)?$' % name, line)
        if match:
            return match.group(1)
    return None


def _migration(found, wanted):
    rows, address = [], wanted["migration_address"]
    if address:
        have = qemu_setting(found["files"], "migration_address")
        rows.append(_row("migration address", have == address, address, have or "not set", RHEL, "Set it in /etc/libvirt/qemu.conf."))
        here = address in (found["addresses"] or [])
        rows.append(_row("migration network", here, "%s on a card of its own" % address,
                         "there" if here else "missing: this host has no such address", RHEL, "Configure the card for migrations first."))
    low, high = (int(qemu_setting(found["files"], name) or default) for name, default in
                 (("migration_port_min", 49152), ("migration_port_max", 49215)))
    rows.append(_row("migration ports", [low, high] == list(wanted["migration_ports"]), "%d-%d" % tuple(wanted["migration_ports"]),
                     "%d-%d" % (low, high), RHEL, "Set migration_port_min and migration_port_max in /etc/libvirt/qemu.conf."))
    return rows


def _ksm(found, wanted):
    if not wanted["ksm"]:
        return []
    states, run = unit_states(found["units"]), (contents(found["files"], "/sys/kernel/mm/ksm/run") or [""])[0].strip()
    rows = [_row("kernel samepage merging", run in ("0", "2"), "off", {"0": "off", "2": "off", "1": "on"}.get(run, "not read"), SAP,
                 "echo 2 > /sys/kernel/mm/ksm/run; it also splits what was merged.")]
    for name in KSM:
        rows += _off(name, states, "It would switch merging on again.")
    return rows


def _hugepages(found, wanted):
    plan = wanted["hugepages"]
    if not plan:
        return []
    have, rows = numa_of(found["files"])[1], []
    for node, count in sorted(plan["nodes"].items()):
        now = have.get(node, {}).get(plan["kib"])
        rows.append(_row("huge pages of node %d" % node, now is not None and now >= count, "%d of %d KiB" % (count, plan["kib"]),
                         "not there" if now is None else "%d" % now, SAP,
                         "A node that ran for a while may have no whole gigabytes left; after a reboot they are there."))
    kernels = boot_arguments(found["grubby"])
    good = bool(kernels) and all(set(plan["arguments"]) <= words for words in kernels)
    rows.append(_row("huge pages at boot", good, " ".join(plan["arguments"]),
                     "not read" if not kernels else "set" if good else "not set, or not for every kernel", SAP,
                     "Pages that are only set at run time are gone after a reboot."))
    running = set((contents(found["files"], "/proc/cmdline") or [""])[0].split())
    rows.append(_row("reboot", set(plan["arguments"]) <= running, "not needed",
                     "not needed" if set(plan["arguments"]) <= running else "needed for the huge pages", SAP, "Reboot when it suits."))
    return rows


def lines(rows):
    """A line a row: ``PASS: virtqemud.socket is active, enabled (libvirt: remote support)``."""
    said = []
    for row in rows:
        note = " (%s)" % row["note"] if row["note"] else ""
        if row["status"] == "FAIL":
            said.append(("FAIL: %s is %s, wanted is %s%s. %s" % (row["name"], row["found"], row["wanted"], note, row["remedy"])).rstrip())
        else:
            said.append("%s: %s is %s%s" % (row["status"], row["name"], row["found"], note))
    return said
