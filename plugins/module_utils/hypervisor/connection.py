# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to libvirt: by its Python binding, or by virsh where the binding is missing.

Both speak alike as far as :class:`BindingHost` and ``VirshHost`` (virsh.py) have the same methods; moving a guest needs
the binding. Everything that libvirt refuses comes as a :class:`HypervisorError` that names the host.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

try:
    import libvirt
except ImportError:  # no requirement: where modules run on the control node, or a host without python3-libvirt
    libvirt = None

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput, LiveMigrationError
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.kvm_move import remedy_for

LOCAL = "qemu:///system"
PORTS = {"tcp": 16509, "tls": 16514}  # libvirt's own; published tables have them swapped
KEEPALIVE = (5, 5)  # seconds between questions, and how many may stay without an answer; as libvirt's daemons do
PATIENCE = 10.0  # seconds for a remote host to take the connection
ANSWERS = {"0": "incompatible", "1": "identical", "2": "superset"}  # virCPUCompareResult: the host, to the CPU given


class HypervisorError(LiveMigrationError):
    """libvirt said no.

    :param code: libvirt's error number (``VIR_ERR_...``); None from virsh.
    """

    def __init__(self, message, remedy=None, code=None, **details):
        super().__init__(message, remedy, **details)
        self.code = code


class HostUnreachable(HypervisorError):
    """No connection to the host."""


class NoSuchDomain(HypervisorError):
    """The host has no guest of that name."""


def has_binding():
    """Whether libvirt's Python binding is there."""
    return libvirt is not None


class Hosts:
    """Open connections, one per URI."""

    def __init__(self):
        self._open = {}

    def open(self, uri):
        """The host behind a URI.

        :raises BadInput: it is no URI of a system connection.
        :raises HostUnreachable: nobody answers there.
        """
        uri = (uri or "").strip() or LOCAL
        if uri not in self._open:
            check_uri(uri)
            reach(uri)
            if libvirt is not None:
                self._open[uri] = BindingHost(uri)
            elif shutil.which("virsh"):
                from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.virsh import VirshHost

                self._open[uri] = VirshHost(uri)
            else:
                raise HypervisorError(
                    "Neither libvirt's Python binding nor virsh is on this machine, so %s cannot be asked." % uri,
                    "Run this on a KVM host, or install python3-libvirt (or libvirt-client) here.")
        return self._open[uri]

    def again(self, uri):
        """A new connection in the place of one that broke."""
        old = self._open.pop(uri, None)
        if old:
            old.close()
        return self.open(uri)

    def close(self):
        """Close all of them; never an exception."""
        while self._open:
            self._open.popitem()[1].close()


def check_uri(uri):
    """Refuse what cannot be meant.

    :raises BadInput: no QEMU URI, or a session connection (S4-8).
    """
    parts = urlsplit(uri)
    driver = parts.scheme.partition("+")[0]
    if driver == "test":
        return
    if driver != "qemu":
        raise BadInput("'%s' is no URI of a QEMU host." % uri, "Write it like qemu+tls://kvm-2.example.com/system.")
    if parts.path == "/session":
        raise BadInput("'%s' is a session connection; guests of one are not migrated reliably." % uri, "Use /system.")
    if parts.path != "/system":
        raise BadInput("'%s' lacks its path." % uri, "Write it like %s/system." % uri.partition("?")[0].rstrip("/"))


def is_local(uri):
    """Whether a URI means the machine that this runs on."""
    return not re.search(r"^\w+(\+\w+)?://[^/]", uri)


def kernel_of(uri):
    """The release of a host's kernel: only this machine's is told, by the machine itself."""
    return os.uname().release if is_local(uri) else None


def reach(uri):
    """Have a dead host said within seconds; libvirt itself would wait for minutes.

    :raises HostUnreachable: name unknown, refused or no answer.
    """
    parts = urlsplit(uri)
    transport = parts.scheme.partition("+")[2] or ("tls" if parts.hostname else "unix")
    if not parts.hostname or parse_qs(parts.query).get("name"):
        return
    where = by_ssh(parts.hostname, parts.port) if transport == "ssh" else (parts.hostname, parts.port or PORTS.get(transport))
    if where is None or not where[1]:
        return
    try:
        socket.create_connection(where, PATIENCE).close()
    except OSError as exc:
        raise HostUnreachable(
            "The host of %s does not answer on port %d: %s." % (uri, where[1], exc.strerror or exc),
            "See that it is up, that its name resolves here, that %s listens and that the firewall lets port %d/tcp through."
            % ("sshd" if transport == "ssh" else "virtproxyd-%s.socket" % transport, where[1])) from exc


def by_ssh(host, port):
    """``(address, port)`` that ssh would connect to, by its own configuration; None where it goes by a proxy, or does not tell."""
    try:
        done = subprocess.run(["ssh", "-G"] + (["-p", str(port)] if port else []) + ["--", host], capture_output=True, text=True,
                              timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    if done.returncode or not found.get("hostname") or {"proxycommand", "proxyjump"} & {key for key in found if found[key] != "none"}:
        return None
    return found["hostname"], int(found.get("port", 22))


@contextmanager
def said(what, host, remedy=None):
    """libvirt's own errors as ours: ``what`` is the beginning of the sentence."""
    try:
        yield
    except libvirt.libvirtError as exc:
        kind = NoSuchDomain if exc.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN else HypervisorError
        raise kind("%s on %s: %s." % (what, host, (exc.get_error_message() or str(exc)).rstrip(".")), remedy,
                   code=exc.get_error_code()) from exc


def version_text(number):
    """``9.0.0`` of libvirt's 9000000."""
    return "%d.%d.%d" % (number // 1000000, number // 1000 % 1000, number % 1000)


_loop = []


def event_loop():
    """Have libvirt's events handled, once per process: without, no connection notices that its host is gone."""
    if _loop:
        return
    libvirt.virEventRegisterDefaultImpl()

    def turn():
        while True:
            libvirt.virEventRunDefaultImpl()

    _loop.append(threading.Thread(target=turn, daemon=True))
    _loop[0].start()


class BindingHost:
    """A host, asked by the Python binding."""

    def __init__(self, uri):
        self.uri = uri
        libvirt.registerErrorHandler(lambda context, error: None, None)  # else each error also goes to stderr
        event_loop()
        try:
            self.connection = libvirt.open(uri)
            if urlsplit(uri).hostname:
                self.connection.setKeepAlive(*KEEPALIVE)
        except libvirt.libvirtError as exc:
            text = " ".join((exc.get_error_message() or str(exc)).split()).rstrip(".")
            raise HostUnreachable(
                "No connection to %s: %s." % (uri, text),
                remedy_for(text) or "See that libvirt runs there and that this account may use it (certificate, SSH key or socket).",
                code=exc.get_error_code()) from exc

    def close(self):
        """Never an exception."""
        try:
            self.connection.close()
        except libvirt.libvirtError:
            pass

    def hostname(self):
        """The name that the host gives itself."""
        with said("The name could not be read", self.uri):
            return self.connection.getHostname()

    def versions(self):
        """``{qemu, libvirt}`` as text; None where it is not told."""
        found = {}
        for name, read in (("qemu", self.connection.getVersion), ("libvirt", self.connection.getLibVersion)):
            try:
                found[name] = version_text(read())
            except libvirt.libvirtError:
                found[name] = None
        return found

    def firmware(self):
        """The SMBIOS document of the host; None where it is not told."""
        try:
            return self.connection.getSysinfo(0)
        except libvirt.libvirtError:
            return None

    def capabilities(self):
        """The capabilities document."""
        with said("The capabilities could not be read", self.uri):
            return self.connection.getCapabilities()

    def domain_capabilities(self, where):
        """The domain capabilities document.

        :param where: ``{emulator, arch, machine, virttype}``, None for libvirt's default each.
        """
        with said("The domain capabilities could not be read", self.uri,
                  "See that emulator, arch, machine and virttype are what this host has."):
            return self.connection.getDomainCapabilities(
                where["emulator"], where["arch"], where["machine"], where["virttype"], 0)

    def baseline(self, cpus, where, migratable, expand=False):
        """The text of the ``<cpu>`` that every one of these can be, and this hypervisor can run."""
        flags = libvirt.VIR_CONNECT_BASELINE_CPU_MIGRATABLE if migratable else 0
        flags |= libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES if expand else 0
        with said("The baseline could not be computed", self.uri, "Leave out the host that does not belong to the others."):
            return self.connection.baselineHypervisorCPU(
                where["emulator"], where["arch"], where["machine"], where["virttype"], list(cpus), flags)

    def expand(self, cpu):
        """The same CPU with every feature of its model named."""
        with said("The CPU could not be spelled out", self.uri):
            return self.connection.baselineCPU([cpu], libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES)

    def compare(self, cpu, where):
        """``(verdict, reason)``: the host is ``identical``, a ``superset`` or ``incompatible``, then with libvirt's reason."""
        try:
            found = self.connection.compareHypervisorCPU(
                where["emulator"], where["arch"], where["machine"], where["virttype"], cpu,
                libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE)
        except libvirt.libvirtError as exc:
            if exc.get_error_code() == libvirt.VIR_ERR_CPU_INCOMPATIBLE:
                return "incompatible", exc.get_error_message()
            with said("The CPU could not be compared", self.uri):
                raise
        return ANSWERS.get(str(found), "incompatible"), None

    def domain(self, name):
        """A guest by its name.

        :raises NoSuchDomain: there is none.
        """
        with said("The guest %s was not found" % name, self.uri, "Name a guest that 'virsh list --all' shows there."):
            return BindingDomain(self, self.connection.lookupByName(name))


class BindingDomain:
    """A guest on a host."""

    def __init__(self, host, domain):
        self.host, self.handle = host, domain
        self.name = domain.name()

    def definition(self):
        """What it will be when started next, with its secrets: for defining it again, never for showing."""
        with said("The definition of %s could not be read" % self.name, self.host.uri):
            return self.handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)

    def running_as(self):
        """What runs now; None when it does not run."""
        with said("The running guest %s could not be read" % self.name, self.host.uri):
            return self.handle.XMLDesc(0) if self.handle.isActive() else None

    def is_active(self):
        """Whether it runs (or is paused)."""
        with said("The state of %s could not be read" % self.name, self.host.uri):
            return bool(self.handle.isActive())

    def is_persistent(self):
        """Whether the host keeps its definition."""
        with said("The state of %s could not be read" % self.name, self.host.uri):
            return bool(self.handle.isPersistent())

    def define(self, xml):
        """Store this definition."""
        with said("The new definition of %s was refused" % self.name, self.host.uri):
            self.host.connection.defineXML(xml)

    def shutdown(self):
        """Ask the guest to go down, by its agent where it has one."""
        with said("%s could not be asked to shut down" % self.name, self.host.uri):
            self.handle.shutdown()

    def start(self):
        """Start it."""
        with said("%s could not be started" % self.name, self.host.uri):
            self.handle.create()
