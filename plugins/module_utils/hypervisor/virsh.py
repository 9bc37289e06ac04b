# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host asked by virsh, for machines without libvirt's Python binding: what computing and applying a baseline needs."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile

from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.connection import (
    HostUnreachable,
    HypervisorError,
    NoSuchDomain,
)

TIMEOUT = 120  # seconds for one command


class VirshHost:
    """The methods of ``BindingHost``."""

    def __init__(self, uri):
        self.uri = uri
        try:
            self.virsh("uri", what="No connection")
        except HypervisorError as exc:
            raise HostUnreachable(exc.message, "See that libvirt runs there and that this account may use it.") from exc

    def close(self):
        """Nothing stays open."""

    def virsh(self, *words, what="virsh failed", remedy=None):
        """What a virsh command prints."""
        command = ["virsh", "-q", "-c", self.uri, *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False, stdin=subprocess.DEVNULL,
                                  env=dict(os.environ, LC_ALL="C"))
        except subprocess.TimeoutExpired as exc:
            raise HypervisorError("%s on %s: virsh %s took longer than %d s." % (what, self.uri, words[0], TIMEOUT), remedy) from exc
        if done.returncode:
            text = re.sub(r"^error: *", "", done.stderr.strip(), flags=re.MULTILINE).strip() or "virsh ended with %d" % done.returncode
            kind = NoSuchDomain if "failed to get domain" in text or "Domain not found" in text else HypervisorError
            raise kind("%s on %s: %s." % (what, self.uri, " ".join(text.split()).rstrip(".")), remedy)
        return done.stdout

    def hostname(self):
        """The name that the host gives itself."""
        return self.virsh("hostname", what="The name could not be read").strip()

    def versions(self):
        """``{qemu, libvirt}`` as text; None where it is not told."""
        text = self.virsh("version", what="The versions could not be read")
        found = {name: re.search(pattern, text) for name, pattern in
                 (("qemu", r"[Rr]unning hypervisor: \S+ ([\d.]+)"), ("libvirt", r"Using library: libvirt ([\d.]+)"))}
        return {name: match[1] if match else None for name, match in found.items()}

    def firmware(self):
        """The SMBIOS document of the host; None where it is not told."""
        try:
            return self.virsh("sysinfo")
        except HypervisorError:
            return None

    def capabilities(self):
        """The capabilities document."""
        return self.virsh("capabilities", what="The capabilities could not be read")

    def domain_capabilities(self, where):
        """The domain capabilities document."""
        return self.virsh("domcapabilities", *_options(where), what="The domain capabilities could not be read",
                          remedy="See that emulator, arch, machine and virttype are what this host has.")

    def baseline(self, cpus, where, migratable, expand=False):
        """The text of the ``<cpu>`` that every one of these can be, and this hypervisor can run."""
        more = _options(where) + (["--migratable"] if migratable else []) + (["--features"] if expand else [])
        with _file("\n".join(cpus)) as path:  # one after the other, with nothing around them
            return self.virsh("hypervisor-cpu-baseline", path, *more, what="The baseline could not be computed",
                              remedy="Leave out the host that does not belong to the others.")

    def expand(self, cpu):
        """The same CPU with every feature of its model named."""
        with _file(cpu) as path:
            return self.virsh("cpu-baseline", path, "--features", what="The CPU could not be spelled out")

    def compare(self, cpu, where):
        """``(verdict, reason)`` as of ``BindingHost``."""
        with _file(cpu) as path:
            try:
                text = self.virsh("hypervisor-cpu-compare", path, "--error", *_options(where), what="The CPU could not be compared")
            except HypervisorError as exc:
                if "incompatible" in exc.message:
                    return "incompatible", exc.message.partition(": ")[2].rstrip(".")
                raise
        return ("identical" if "identical" in text else "superset" if "superset" in text else "incompatible"), None

    def domain(self, name):
        """A guest by its name."""
        self.virsh("domid", "--domain", name, what="The guest %s was not found" % name,
                   remedy="Name a guest that 'virsh list --all' shows there.")
        return VirshDomain(self, name)


class VirshDomain:
    """The methods of ``BindingDomain``."""

    def __init__(self, host, name):
        self.host, self.name = host, name

    def definition(self):
        """What it will be when started next, with its secrets: for defining it again, never for showing."""
        return self.host.virsh("dumpxml", "--inactive", "--security-info", "--domain", self.name,
                               what="The definition of %s could not be read" % self.name)

    def running_as(self):
        """What runs now; None when it does not run."""
        if not self.is_active():
            return None
        return self.host.virsh("dumpxml", "--domain", self.name, what="The running guest %s could not be read" % self.name)

    def is_active(self):
        """Whether it runs (or is paused)."""
        state = self.host.virsh("domstate", "--domain", self.name, what="The state of %s could not be read" % self.name).strip()
        return state not in ("shut off", "crashed")

    def is_persistent(self):
        """Whether the host keeps its definition."""
        text = self.host.virsh("dominfo", "--domain", self.name, what="The state of %s could not be read" % self.name)
        return bool(re.search(r"^Persistent:\s*yes", text, re.MULTILINE))

    def define(self, xml):
        """Store this definition."""
        with _file(xml) as path:
            self.host.virsh("define", path, what="The new definition of %s was refused" % self.name)

    def shutdown(self):
        """Ask the guest to go down."""
        self.host.virsh("shutdown", "--domain", self.name, what="%s could not be asked to shut down" % self.name)

    def start(self):
        """Start it."""
        self.host.virsh("start", "--domain", self.name, what="%s could not be started" % self.name)


def _options(where):
    return ["--%s=%s" % (name, where[name]) for name in ("emulator", "arch", "machine", "virttype") if where[name]]


class _file:
    """A file of our own that only we can read, for as long as a command needs it."""

    def __init__(self, text):
        self._text, self._handle = text, None

    def __enter__(self):
        self._handle = tempfile.NamedTemporaryFile("w", suffix=".xml", encoding="utf-8")
        self._handle.write(self._text)
        self._handle.flush()
        return self._handle.name

    def __exit__(self, *_exc):
        self._handle.close()
