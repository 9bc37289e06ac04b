# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the libvirt lab needs: ``kvm_install.py`` installs and builds what is missing, ``kvm_install.py --why-not`` says what stops it.

Debian 12, as root. From the release: libvirt, its Python binding, and QEMU 7.2, which is also unpacked into the cache so
that one host can be given an older QEMU. From backports: a QEMU that moves a busy guest without breaking it (7.2 under
emulation does not). The machine's own package sources stay as they are: those for backports are derived into the cache.
The guest is the cloud kernel's image (unpacked, not installed) and guest.c as the only program of its initial file system.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("BIGVM_CACHE") or Path.home() / ".cache" / "bigvm") / "libvirt-lab"
RELEASE = "bookworm"
BACKPORTS = RELEASE + "-backports"
PACKAGES = ["libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-clients", "qemu-system-x86", "qemu-utils", "python3-libvirt",
            "ovmf", "swtpm", "swtpm-tools", "openssh-client"]
OLD_QEMU = ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios", "ipxe-qemu"]
SSHD = ["openssh-server"]  # unpacked: installed, it would serve this machine
PROGRAMS = ["apt-get", "dpkg-deb", "gcc", "ip", "tc", "unshare", "nsenter", "mount"]
# Modules that the guest's agent channel needs, in the order in which they must be loaded.
DRIVERS = ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_console"]
SYSTEM_PYTHON = "/usr/bin/python3"  # the one that Debian's python3-libvirt is for


class NotPossible(Exception):
    """This machine cannot have the lab; the message says why."""


def why_not():
    """Why this machine cannot have the lab, as a sentence; None when it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "the libvirt lab needs root on Linux (namespaces, mounts)"
    if _release() != RELEASE:
        return "the libvirt lab is built for Debian 12, this is %s" % (_release() or "another system")
    missing = [name for name in PROGRAMS if not shutil.which(name, path=_path())]
    if missing:
        return "the libvirt lab lacks the programs %s" % ", ".join(missing)
    probe = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    if probe.returncode:
        return "the libvirt lab may not make namespaces here"
    return None


def ensure(say=lambda line: None):
    """Install and build what is missing; seconds when nothing is.

    :raises NotPossible: with the reason.
    """
    reason = why_not()
    if reason:
        raise NotPossible(reason)
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "install.lock", "w", encoding="ascii") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        _ensure(say)
    return CACHE


def _ensure(say):
    if any(_version(name) is None for name in PACKAGES):
        say("installing libvirt and QEMU")
        _apt("update", "-qq")
        _apt("install", "-y", "-qq", "--no-install-recommends", *PACKAGES)
    if not (CACHE / "qemu-old" / "usr" / "bin" / "qemu-system-x86_64").exists():
        say("unpacking the older QEMU")
        _unpack("qemu-old", OLD_QEMU)
    if not (CACHE / "sshd" / "usr" / "sbin" / "sshd").exists():
        say("unpacking an SSH server")
        _unpack("sshd", SSHD)
    if "bpo" not in (_version("qemu-system-x86") or ""):
        say("installing QEMU from backports")
        options = _backports()
        _apt("update", "-qq", options=options)
        _apt("install", "-y", "-qq", "--no-install-recommends", "-t", BACKPORTS, "qemu-system-x86", "qemu-utils", options=options)
    if not (CACHE / "kernel" / "vmlinuz").exists():
        say("unpacking the guest's kernel")
        _kernel()
    _initrd()


# -- packages ------------------------------------------------------------------


def _release():
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r"^VERSION_CODENAME=(\S+)", text, re.MULTILINE)
    return found[1] if found else ""


def _path():
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


def _run(*command, **options):
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C", PATH=_path())
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, stdin=subprocess.DEVNULL, **options)
    if done.returncode:
        raise NotPossible("%s failed: %s" % (" ".join(map(str, command[:3])), (done.stderr or done.stdout).strip()[-600:]))
    return done.stdout


def _apt(*words, options=(), **more):
    return _run("apt-get", "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0", *options, *words, **more)


def _version(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package],
                          capture_output=True, text=True, check=False)
    return done.stdout.split()[1] if done.stdout.startswith("installed ") else None


def _backports():
    """Options for apt-get: the machine's sources and, derived from the one of the release, backports; kept in the cache."""
    parts = CACHE / "apt" / "sources.list.d"
    lists = CACHE / "apt" / "lists"
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True)
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    given = Path("/etc/apt/sources.list.d")
    stanzas = [stanza for path in sorted(given.glob("*.sources")) for stanza in path.read_text(encoding="utf-8").split("\n\n")]
    ours = [stanza for stanza in stanzas if re.search(r"^Suites:.*\b%s(\s|$)" % RELEASE, stanza, re.MULTILINE)]
    if not ours:
        raise NotPossible("no apt source names %s, so that of its backports cannot be derived" % RELEASE)
    derived = re.sub(r"^Suites:.*$", "Suites: " + BACKPORTS, ours[0], flags=re.MULTILINE)
    (parts / "backports.sources").write_text("\n".join(line for line in derived.splitlines() if line[:1] != "#") + "\n")
    for path in given.glob("*.sources"):
        shutil.copy(path, parts)
    os.chmod(CACHE / "apt", 0o755)
    return ["-o", "Dir::Etc::SourceParts=%s" % parts, "-o", "Dir::State::Lists=%s" % lists, "-o", "APT::Sandbox::User=root"]


def _unpack(name, packages):
    """Packages of the release unpacked into the cache; what they link against gets installed."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [line.split("|") for line in _run("apt-cache", "madison", *packages).splitlines()]
        newest = {}
        for package, version, origin in rows:
            if "bpo" not in version and "Sources" not in origin:
                newest.setdefault(package.strip(), version.strip())
        _apt("download", "-qq", *("%s=%s" % pair for pair in newest.items()), options=["-o", "APT::Sandbox::User=root"], cwd=folder)
        made = CACHE / ("." + name)
        shutil.rmtree(made, ignore_errors=True)
        for path in Path(folder).glob("*.deb"):
            _run("dpkg-deb", "-x", str(path), str(made))
            needs = [need.strip() for need in _run("dpkg-deb", "-f", str(path), "Depends").split(",")]
            libraries = [need for need in needs if need.startswith("lib")]
            if libraries:
                _apt("satisfy", "-y", "-qq", "--no-install-recommends", ", ".join(libraries))
        shutil.rmtree(CACHE / name, ignore_errors=True)
        made.rename(CACHE / name)


# -- the guest -----------------------------------------------------------------


def _kernel():
    depends = _run("apt-cache", "depends", "linux-image-cloud-amd64")
    package = re.search(r"Depends: (linux-image-\S+-cloud-amd64)", depends)[1]
    with tempfile.TemporaryDirectory() as folder:
        _apt("download", "-qq", package, options=["-o", "APT::Sandbox::User=root"], cwd=folder)
        _run("dpkg-deb", "-x", str(next(Path(folder).glob("*.deb"))), folder + "/tree")
        made = CACHE / ".kernel"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        shutil.copy(next(Path(folder, "tree", "boot").glob("vmlinuz-*")), made / "vmlinuz")
        modules = {path.name.split(".")[0]: path for path in Path(folder, "tree", "lib").rglob("*.ko")}
        for name in DRIVERS:
            if name in modules:  # else it is built in
                shutil.copy(modules[name], made)
        shutil.rmtree(CACHE / "kernel", ignore_errors=True)
        made.rename(CACHE / "kernel")


def initrd():
    """Where the guest's initial file system is; of another guest.c or kernel, another one."""
    parts = HERE / "guest.c", Path(__file__), CACHE / "kernel" / "vmlinuz"
    return CACHE / ("initrd-" + hashlib.sha256(b"".join(path.read_bytes() for path in parts)).hexdigest()[:12])


def _initrd():
    made = initrd()
    if made.exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "init"
        _run("gcc", "-O2", "-static", "-Wall", "-Werror", "-o", str(program), str(HERE / "guest.c"))
        members = [("dev", 0o040755, b"", (0, 0)), ("proc", 0o040755, b"", (0, 0)), ("sys", 0o040755, b"", (0, 0)),
                   ("dev/console", 0o020600, b"", (5, 1)), ("init", 0o100755, program.read_bytes(), (0, 0))]
        drivers = [name for name in DRIVERS if (CACHE / "kernel" / (name + ".ko")).exists()]
        for place, name in enumerate(drivers):
            data = (CACHE / "kernel" / (name + ".ko")).read_bytes()
            members.append(("driver%d.ko" % place, 0o100644, data, (0, 0)))
        fresh = Path(folder) / "initrd"
        fresh.write_bytes(_cpio(members))
        shutil.copy(fresh, str(made) + ".part")
        os.rename(str(made) + ".part", made)


def _cpio(members):
    """A "newc" archive, the format that the kernel unpacks."""
    archive = b""
    for number, (name, mode, data, device) in enumerate(members + [("TRAILER!!!", 0, b"", (0, 0))], 1):
        fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, device[0], device[1], len(name) + 1, 0]
        entry = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        entry += b"\0" * (-len(entry) % 4) + data
        archive += entry + b"\0" * (-len(data) % 4)
    return archive


if __name__ == "__main__":
    if sys.argv[1:] == ["--why-not"]:
        print(why_not() or "nothing")
    else:
        try:
            print(ensure(print))
        except NotPossible as exc:
            sys.exit(str(exc))
