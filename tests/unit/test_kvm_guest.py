# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verdict on libvirt guests: each rule by a guest that breaks it, and one that breaks none."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import kvm_guest

GIB = 1024 ** 3
WWID = "/dev/disk/by-id/wwn-0x600a098038304437"
NAA = "600a098038304437415d4b6a59684f77"
SAN = "/dev/disk/by-id/dm-uuid-mpath-3" + NAA
HUGE = "<memoryBacking><hugepages><page size='1' unit='GiB'/></hugepages></memoryBacking>"
TARGET = {"names": {"other": "u-9"}, "networks": {"prod": True, "idle": False}, "pools": {"san": True},
          "memory": {"free": 24 * GIB, "buffers": GIB, "cached": 49 * GIB, "shared": 10 * GIB},
          "pages_free": {2048: 100, 1048576: 4}, "cells": {0: {0, 1, 2, 3}, 1: {4, 5, 6, 7}}, "machine": None, "cpu": ("superset", None)}


def a_guest(inside="", devices="", memory=16, machine="pc-q35-rhel9.4.0", **more):
    xml = ("<domain><name>app</name><memory unit='GiB'>%d</memory><os><type machine='%s'>hvm</type></os>%s<devices>%s</devices></domain>"
           % (memory, machine, inside, devices))
    return dict({"name": "app", "uuid": "u-1", "active": True, "xml": xml, "filesystems": {}, "managed": False}, **more)


def codes(guest, target=None, differences=()):
    row = kvm_guest.judge(guest, dict(TARGET, **(target or {})), differences)
    return row["verdict"], {reason["code"] for reason in row["reasons"]}


def disk(kind="file", source="file='/img/a'", cache="none", more=""):
    return "<disk type='%s'><driver cache='%s'/><source %s/>%s<target dev='vda'/></disk>" % (kind, cache, source, more)


def test_nothing_stands_in_the_way():
    devices = disk("block", "dev='%s'" % WWID) + "<interface type='network'><source network='prod'/></interface>"
    assert codes(a_guest("<cpu mode='custom'><model>Westmere</model></cpu>", devices)) == ("live", set())


@pytest.mark.parametrize("guest, target, verdict, code", [
    (a_guest(active=False), {}, "cold_only", "ShutOff"),
    (a_guest(managed=True), {}, "blocked", "ClusterManaged"),
    (a_guest(devices="<hostdev type='pci' managed='yes'/>"), {}, "cold_only", "HostDevice"),
    (a_guest(devices="<hostdev type='mdev' model='vfio-pci'/>"), {}, "cold_only", "MediatedDevice"),
    (a_guest(devices="<interface type='hostdev'><mac address='52:54:00:00:00:01'/></interface>"), {}, "cold_only", "VirtualFunction"),
    (a_guest(devices=disk(), filesystems={"/img/a": "xfs"}), {}, "cold_only", "LocalDisk"),
    (a_guest(devices=disk(), filesystems={"/img/a": None}), {}, "live", "DiskUnproven"),
    (a_guest(devices=disk(cache="writeback"), filesystems={"/img/a": "nfs4"}), {}, "blocked", "DiskCache"),
    (a_guest(devices=disk("block", "dev='/dev/sdb'")), {}, "live", "DiskUnproven"),
    (a_guest(devices=disk("block", "dev='%s'" % WWID, more="<shareable/>")), {}, "live", "SharedDisk"),
    (a_guest(devices="<disk type='block'><source dev='%s'><reservations managed='yes'/></source></disk>" % WWID), {},
     "blocked", "PersistentReservation"),
    (a_guest(devices=disk("volume", "pool='local' volume='a'")), {}, "blocked", "PoolMissing"),
    (a_guest(devices="<interface><source network='gone'/></interface>"), {}, "blocked", "NetworkMissing"),
    (a_guest(devices="<interface><source network='idle'/></interface>"), {}, "blocked", "NetworkMissing"),
    (a_guest(devices="<interface><source network='prod'/></interface>"), {"networks": None}, "unknown", "TargetUnread"),
    (a_guest(devices="<interface type='bridge'><source bridge='br0'/></interface>"), {}, "live", "BridgeUnproven"),
    (a_guest(), {"cpu": ("incompatible", "missing features: rdpid")}, "blocked", "CpuRefused"),
    (a_guest(), {"cpu": None}, "unknown", "CpuUnknown"),
    (a_guest("<cpu mode='host-passthrough'/>"), {}, "live", "HostCpu"),
    (a_guest(), {"machine": "unknown machine type"}, "blocked", "MachineUnknown"),
    (a_guest(machine="pc-i440fx-rhel7.6.0"), {}, "live", "OldMachine"),
    (a_guest(memory=65), {}, "blocked", "MemoryShort"),
    (a_guest(), {"memory": None}, "unknown", "TargetUnread"),
    (a_guest("<memoryBacking><hugepages><page size='1' unit='GiB'/></hugepages></memoryBacking>", memory=5), {},
     "blocked", "HugepagesShort"),
    (a_guest("<memoryBacking><hugepages/></memoryBacking>"), {}, "blocked", "HugepagesShort"),
    (a_guest("<memoryBacking><hugepages/></memoryBacking>"), {"pages_free": None}, "unknown", "TargetUnread"),
    (a_guest("<cputune><vcpupin vcpu='0' cpuset='1-2'/></cputune>"), {}, "live", "NumaPinned"),
    (a_guest("<cputune><emulatorpin cpuset='6-9'/></cputune>"), {}, "blocked", "NumaShort"),
    (a_guest("<numatune><memory mode='strict' nodeset='2'/></numatune>"), {}, "blocked", "NumaShort"),
    (a_guest(), {"names": {"app": "u-2"}}, "blocked", "NameTaken"),
    (a_guest(), {"names": {"old-app": "u-1"}}, "blocked", "UuidTaken"),
    (a_guest(), {"names": None}, "unknown", "TargetUnread"),
    (a_guest(memory=1025), {"memory": {"free": 4096 * GIB}}, "live", "HugeGuest"),
    (a_guest(devices=disk("block", "dev='%s'" % SAN)), {"luns": {NAA.replace("7", "8")}}, "blocked", "LunMissing"),
    (a_guest(devices=disk("block", "dev='/dev/sdb'"), wwids={"/dev/sdb": "naa." + NAA}), {"luns": {"6" * 32}}, "blocked", "LunMissing"),
    (a_guest(devices=disk("block", "dev='/dev/sdb'"), wwids={"/dev/sdb": "naa." + NAA}), {"luns": None}, "live", "DiskUnproven"),
    (a_guest(devices=disk(), filesystems={"/img/a": "nfs4"}), {}, "live", "NfsLocking"),
    (a_guest("<os><nvram>/var/lib/libvirt/qemu/nvram/app.fd</nvram></os>", active=False), {}, "cold_only", "FirmwareState"),
    (a_guest(devices="<tpm model='tpm-crb'><backend type='emulator'/></tpm>", active=False), {}, "cold_only", "FirmwareState"),
    (a_guest(host_release=9), {"release": 10}, "live", "ReleasePath"),
    (a_guest(), {"ports": False}, "live", "PortsFiltered"),
    (a_guest("<cputune><vcpupin vcpu='0' cpuset='1-2'/></cputune>", host_cells={0: {0, 1}, 1: {2, 3}}), {}, "live", "TopologyDiffers"),
    (a_guest(HUGE + "<numatune><memory mode='strict' nodeset='1'/></numatune>", memory=4),
     {"pages_by_cell": {0: {1048576: 4}, 1: {1048576: 0}}}, "blocked", "HugepagesShort"),
    (a_guest(HUGE + "<numatune><memory mode='strict' nodeset='0-1'/><memnode cellid='0' mode='strict' nodeset='1'/></numatune>"
             "<cpu><numa><cell id='0' cpus='0' memory='2' unit='GiB'/></numa></cpu>", memory=4),
     {"pages_by_cell": {0: {1048576: 3}, 1: {1048576: 1}}}, "blocked", "HugepagesShort"),
])
def test_each_rule_has_a_guest_that_breaks_it(guest, target, verdict, code):
    got, found = codes(guest, target)
    assert code in found and got == verdict, found


@pytest.mark.parametrize("guest, target", [
    (a_guest(devices=disk("block", "dev='/dev/sdb'"), wwids={"/dev/sdb": "naa." + NAA}), {"luns": {NAA}}),
    (a_guest(devices=disk("block", "dev='/dev/nvme0n1'".replace("/dev/nvme0n1", "/dev/disk/by-id/nvme-eui.0025385b01421234"))),
     {"luns": {NAA}}),
    (a_guest(host_release=9), {"release": 9}), (a_guest(), {"ports": True}), (a_guest(), {"ports": None}),
    (a_guest("<os><nvram>/x.fd</nvram></os>"), {}),
    (a_guest(HUGE + "<numatune><memory mode='preferred' nodeset='1'/></numatune>", memory=4), {"pages_by_cell": {1: {}}}),
])
def test_and_one_that_does_not(guest, target):
    new = {"LunMissing", "DiskUnproven", "ReleasePath", "PortsFiltered", "FirmwareState", "HugepagesShort"}
    assert not codes(guest, target)[1] & new


@pytest.mark.parametrize("name, found", [
    ("/dev/disk/by-id/wwn-0x" + NAA, NAA), ("/dev/disk/by-id/scsi-3" + NAA, NAA), (SAN, NAA), ("naa." + NAA.upper(), NAA), (NAA, NAA),
    ("/dev/mapper/3" + NAA, NAA), ("/dev/sdb", None), ("", None), (None, None), ("nvme-eui.0025385b01421234", "0025385b01421234")])
def test_a_disk_has_one_identity_under_all_its_names(name, found):
    assert kvm_guest.wwid(name) == found


def test_the_release_of_a_host_is_that_of_its_newest_machine_type():
    assert kvm_guest.rhel_of(["pc-i440fx-rhel7.6.0", "pc-q35-rhel9.4.0", "q35", None]) == 9
    assert kvm_guest.rhel_of(["pc-q35-9.0"]) is None


def test_four_pages_of_1_gib_hold_a_guest_of_4():
    backed = a_guest("<memoryBacking><hugepages><page size='1' unit='GiB'/></hugepages></memoryBacking>", memory=4)
    assert codes(backed, {"memory": {"free": 0}}) == ("live", set())


def test_memory_that_a_guest_can_have_is_free_or_page_cache_but_no_other_guests():
    memory = {"free": 4 * GIB, "buffers": GIB, "cached": 30 * GIB, "shared": 25 * GIB}
    assert kvm_guest.available(memory) == 10 * GIB and kvm_guest.available(dict(memory, shared=99 * GIB)) == 4 * GIB
    row = kvm_guest.judge(a_guest(memory=11), dict(TARGET, memory=memory))
    assert row["details"]["MemoryShort"] == [
        "10 GiB available (4 GiB free and 6 GiB of page cache, as libvirt there says), 11 GiB needed"]
    assert "does not tell of the page cache" in kvm_guest.memory_in_words({"free": 1})


@pytest.mark.parametrize("inside, counted", [
    ("", 0), ("<memoryBacking><source type='memfd'/></memoryBacking>", 16), ("<memoryBacking><access mode='shared'/></memoryBacking>", 16),
    ("<memoryBacking><source type='anonymous'/></memoryBacking>", 0),
    ("<memoryBacking><hugepages/><source type='memfd'/><access mode='shared'/></memoryBacking>", 0)])
def test_memory_of_guests_that_their_host_counts_as_page_cache(inside, counted):
    assert kvm_guest.in_page_cache(ElementTree.fromstring(a_guest(inside)["xml"])) == counted * GIB


def test_differing_hosts_are_a_warning_with_what_differs():
    row = kvm_guest.judge(a_guest(), TARGET, [{"what": "microcode"}, {"what": "qemu"}])
    assert row["verdict"] == "live" and row["details"]["HostsDiffer"] == ["microcode", "qemu"]


def test_the_worst_effect_is_the_verdict_and_blockers_come_first():
    row = kvm_guest.judge(a_guest(devices="<hostdev type='pci'/>", machine="pc", memory=65), TARGET)
    assert row["verdict"] == "blocked" and [reason["code"] for reason in row["reasons"]] == ["HostDevice", "MemoryShort", "OldMachine"]


def test_sets_of_cpus_are_read_as_libvirt_writes_them():
    assert kvm_guest.numbers("0-3,8,^2") == {0, 1, 3, 8} and kvm_guest.numbers("") == set() and kvm_guest.numbers(None) == set()


def test_verdicts_in_words_fit_and_say_what_helps_once():
    rows = [kvm_guest.judge(dict(a_guest(memory=65), name="app-%d" % number), TARGET) for number in range(2)]
    lines = kvm_guest.in_words(rows)
    assert lines[0] == "app-0: blocked (MemoryShort)" and max(map(len, lines)) <= 80
    assert sum("MemoryShort: " in line for line in lines) == 1 and kvm_guest.summary(rows)["blocked"] == 2
    assert set(kvm_guest.reason_table(rows)) == {"MemoryShort"}


def test_every_reason_says_what_helps():
    for code, reason in kvm_guest.REASONS.items():
        assert reason.message.endswith(".") and reason.remedy.endswith("."), code
        assert (reason.effect is None) == (reason.severity != "blocker"), code
