# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a KVM host needs by release, and what is said of one that lacks it."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import kvm_host

GIB = 1024 ** 3
NUMA = {0: 512 * GIB, 1: 500 * GIB}


def shown(*on, off=()):
    """As systemctl show prints it."""
    blocks = ["Id=%s\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled" % name for name in on]
    blocks += ["Id=%s\nLoadState=loaded\nActiveState=inactive\nUnitFileState=masked" % name for name in off]
    return "\n\n".join(blocks + ["Id=ksm.service\nLoadState=not-found\nActiveState=inactive\nUnitFileState="])


def firewall(ports="16514/tcp 49152-49215/tcp", services="ssh"):
    return "public (active)\n  target: default\n  services: %s\n  ports: %s\n  rich rules:\n" % (services, ports)


def found(release="9.4", **changed):
    have = {
        "release": release, "packages": list(kvm_host.PACKAGES),
        "units": shown(*kvm_host.needs(release).sockets, off=kvm_host.needs(release).off),
        "firewall": {"runtime": firewall(), "permanent": firewall()}, "booleans": "virt_use_nfs --> on\n", "selinux": True,
        "files": "\n".join([
            "/proc/cmdline:ro default_hugepagesz=1G hugepagesz=1G hugepages=200", "/sys/kernel/mm/ksm/run:0",
            '/etc/libvirt/qemu.conf:#migration_port_min = 1', '/etc/libvirt/qemu.conf:migration_address = "10.98.0.1" # card 2',
            "/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages:100",
            "/sys/devices/system/node/node1/hugepages/hugepages-1048576kB/nr_hugepages:100",
            "/sys/devices/system/node/node0/meminfo:Node 0 MemTotal:       536870912 kB"]),
        "grubby": 'index=0\nargs="ro default_hugepagesz=1G hugepagesz=1G hugepages=200 $tuned_params"\nindex=1\n'
                  'args="ro default_hugepagesz=1G hugepagesz=1G hugepages=200"\n',
        "kvm": True, "addresses": ["192.0.2.1", "10.98.0.1"], "certificates": []}
    return dict(have, **changed)


def wanted(release="9.4", **changed):
    return dict({"transport": "tls", "ports": kvm_host.firewall_ports(), "booleans": ["virt_use_nfs"], "migration_address": "10.98.0.1",
                 "migration_ports": [49152, 49215], "ksm": True,
                 "hugepages": kvm_host.hugepages({"nodes": {0: 100, 1: 100}}, NUMA, release)}, **changed)


def failures(have, want=None):
    return {row["name"]: row["found"] for row in kvm_host.report(have, want or wanted(have["release"])) if row["status"] == "FAIL"}


def test_a_host_as_it_should_be_passes():
    assert failures(found()) == {}
    said = kvm_host.lines(kvm_host.report(found(), wanted()))
    assert "PASS: virtproxyd-tls.socket is active, enabled (libvirt: remote support)" in said
    assert any(line.startswith("PASS: firewall 49152-49215/tcp is open") for line in said)


@pytest.mark.parametrize("release, on, off", [
    ("8.10", "libvirtd-tls.socket", None), ("9.4", "virtproxyd-tls.socket", "libvirtd.service"),
    ("10.0", "virtqemud.socket", "libvirtd-tls.socket")])
def test_daemons_by_release(release, on, off):
    needs = kvm_host.needs(release)
    assert on in needs.sockets and (off in needs.off if off else not needs.off)
    assert "virtproxyd-tls.socket" not in kvm_host.needs("9.4", "ssh").sockets
    assert not any("tcp" in name for name in needs.sockets), "plain TCP is never switched on"


@pytest.mark.parametrize("release, transport", [("7.9", "tls"), ("Debian 12", "tls"), ("", "tls"), ("9.4", "tcp")])
def test_what_is_not_known_is_refused(release, transport):
    with pytest.raises(ValueError, match="known are"):
        kvm_host.needs(release, transport)


def test_tls_is_16514_and_plain_tcp_is_found_fault_with():
    assert kvm_host.firewall_ports() == ["16514/tcp", "49152-49215/tcp"]
    plain = failures(found(firewall={"runtime": firewall("16509/tcp 49152-49215/tcp"), "permanent": firewall()}))
    assert plain == {"firewall 16514/tcp": "closed (runtime)", "firewall 16509/tcp": "open"}
    by_service = firewall("49152-49215/tcp", "ssh libvirt-tls")
    assert failures(found(firewall={"runtime": by_service, "permanent": by_service})) == {}
    assert failures(found(firewall={"runtime": "", "permanent": ""}))["firewall 16514/tcp"] == "not read"
    tcp_on = found(units=found()["units"] + "\n\nId=virtproxyd-tcp.socket\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled")
    assert failures(tcp_on) == {"virtproxyd-tcp.socket": "active, enabled"}


def test_ssh_needs_its_own_port_only():
    want = wanted(transport="ssh", ports=kvm_host.firewall_ports("ssh"))
    assert failures(found(firewall={"runtime": firewall("49152-49215/tcp"), "permanent": firewall("49152-49215/tcp")}), want) == {}
    closed = firewall("49152-49215/tcp", "")
    assert "firewall ssh" in failures(found(firewall={"runtime": closed, "permanent": closed}), want)


@pytest.mark.parametrize("change, name", [
    (dict(packages=["libvirt"]), "packages"), (dict(packages=None), "packages"), (dict(kvm=False), "KVM"),
    (dict(units=""), "virtqemud.socket"),
    (dict(booleans="virt_use_nfs --> off"), "SELinux virt_use_nfs"), (dict(addresses=[]), "migration network"),
    (dict(files=""), "kernel samepage merging"), (dict(files=""), "migration address"), (dict(files=""), "huge pages of node 1"),
    (dict(grubby=""), "huge pages at boot"),
    (dict(grubby='args="ro"\nargs="ro default_hugepagesz=1G hugepagesz=1G hugepages=200"'), "huge pages at boot"),
    (dict(files="/proc/cmdline:ro"), "reboot"),
])
def test_what_lacks_or_was_not_read_fails(change, name):
    assert name in failures(found(**change))


def test_without_selinux_its_booleans_are_passed_over():
    rows = kvm_host.report(found(selinux=False, booleans=""), wanted())
    assert [row["status"] for row in rows if row["name"].startswith("SELinux")] == ["SKIP"]


def test_the_single_daemon_beside_the_others_fails():
    both = found(units=shown(*kvm_host.needs("9.4").sockets, "libvirtd.service"))
    assert failures(both) == {"libvirtd.service": "active, enabled"}


@pytest.mark.parametrize("given, release, counts, text", [
    ({"nodes": {0: 100, 1: 100}}, "9.4", {0: 100, 1: 100}, "hugepages=200"),
    ({"nodes": {0: 100, 1: 90}}, "10.0", {0: 100, 1: 90}, "hugepages=0:100,1:90"),
    ({"spare": 64 * GIB}, "9.4", {0: 436, 1: 436}, "hugepages=872"),
    ({"spare": 64 * GIB}, "10.0", {0: 448, 1: 436}, "hugepages=0:448,1:436"),
    ({"size": "2M", "nodes": {0: 512, 1: 512}}, "9.4", {0: 512, 1: 512}, "hugepages=1024"),
])
def test_huge_pages_by_numa_node(given, release, counts, text):
    plan = kvm_host.hugepages(given, NUMA, release)
    assert plan["nodes"] == counts and plan["arguments"][-1] == text and plan["arguments"][0].startswith("default_hugepagesz=")


@pytest.mark.parametrize("given, says", [
    ({"nodes": {7: 1}}, "no NUMA node 7"), ({"size": "4K", "nodes": {0: 1}}, "pages of 4K"), ({"nodes": {0: 513, 1: 513}}, "are more"),
    ({"size": "1G"}, "by node"), ({"nodes": {0: 1}, "spare": GIB}, "by node"), ({"spare": 600 * GIB}, "is left with"),
    ({"nodes": {0: 100, 1: 90}}, "the same count"),
])
def test_huge_pages_that_cannot_be_meant(given, says):
    with pytest.raises(ValueError, match=says):
        kvm_host.hugepages(given, NUMA, "9.4")
    assert kvm_host.hugepages({}, NUMA, "9.4") is None


def test_this_machines_own_files_are_read():
    import subprocess

    text = subprocess.run(["grep", "-rsH", "--include=nr_hugepages", "--include=meminfo", "", "/sys/devices/system/node"],
                          capture_output=True, text=True, check=False).stdout
    if not text:
        pytest.skip("this machine shows no NUMA nodes")
    memory, _pages = kvm_host.numa_of(text)
    assert memory and min(memory.values()) > 100 << 20
