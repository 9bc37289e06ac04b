# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a running guest would see change: each change is named, and what only the host sees is none."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import kvm_abi

GUEST = """<domain type='kvm' id='3'>
  <name>app</name><uuid>5d07245e-2f6a-413c-b542-af52a44d7ae2</uuid><title>one</title>
  <memory unit='KiB'>8388608</memory><vcpu placement='static'>4</vcpu>
  <os><type arch='x86_64' machine='pc-q35-rhel9.4.0'>hvm</type></os>
  <features><acpi/><apic/></features>
  <cpu mode='custom' match='exact'><model fallback='forbid'>Westmere</model><feature policy='require' name='vmx'/></cpu>
  <clock offset='utc'><timer name='rtc' tickpolicy='catchup'/></clock>
  <devices>
    <emulator>/usr/libexec/qemu-kvm</emulator>
    <disk type='block' device='disk'><driver name='qemu' type='raw' cache='none'/><source dev='/dev/mapper/a'/>
      <target dev='vda' bus='virtio'/><serial>S1</serial>
      <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/></disk>
    <controller type='pci' index='1' model='pcie-root-port'><target chassis='1' port='0x8'/></controller>
    <interface type='network'><mac address='52:54:00:00:00:01'/><source network='prod'/><target dev='vnet3'/>
      <model type='virtio'/></interface>
    <serial type='pty'><source path='/dev/pts/1'/><target type='isa-serial' port='0'/></serial>
    <graphics type='vnc' port='5900'/>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
    <memballoon model='virtio'/>
  </devices>
</domain>"""


@pytest.mark.parametrize("old, new", [
    ("/dev/mapper/a", "/dev/mapper/b"), ("cache='none'", "cache='directsync'"), ("<source network='prod'/>", "<source bridge='br1'/>"),
    ("<interface type='network'>", "<interface type='bridge'>"), ("vnet3", "vnet9"), ("<title>one</title>", "<title>two</title>"),
    ("type='vnc' port='5900'", "type='vnc' port='5901' listen='0.0.0.0'"), ("slot='0x00'", "slot='0x0'"),
    ("<memory unit='KiB'>8388608", "<memory unit='GiB'>8"), ("/usr/libexec/qemu-kvm", "/usr/bin/qemu-system-x86_64"),
    ("<serial type='pty'><source path='/dev/pts/1'/>", "<serial type='file'><source path='/var/log/a'/>"), (" id='3'", ""),
    ("<address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>", ""),
    ("<uuid>5d07245e-2f6a-413c-b542-af52a44d7ae2</uuid>", ""), ("52:54:00:00:00:01", "52:54:00:00:00:01".upper()),
])
def test_what_only_the_host_sees_may_change(old, new):
    assert old in GUEST and kvm_abi.changes(GUEST, GUEST.replace(old, new)) == []


@pytest.mark.parametrize("old, new, says", [
    ("type='kvm'", "type='qemu'", "type is qemu, it was kvm"),
    ("rhel9.4.0", "rhel9.2.0", "machine type is pc-q35-rhel9.2.0, it was pc-q35-rhel9.4.0"),
    ("8388608", "4194304", "memory is 4294967296, it was 8589934592"),
    (">4</vcpu>", ">8</vcpu>", "vcpu is 8, it was 4"),
    ("<acpi/>", "", "features: acpi is not given, it was there"),
    ("Westmere", "Nehalem", "cpu: model is Nehalem, it was Westmere"),
    ("policy='require'", "policy='disable'", "cpu: feature vmx policy is disable, it was require"),
    ("<feature policy='require' name='vmx'/>", "", "cpu: feature vmx policy is not given, it was require"),
    ("tickpolicy='catchup'", "tickpolicy='delay'", "clock: timer rtc tickpolicy is delay, it was catchup"),
    ("bus='virtio'", "bus='scsi'", "disk vda: target bus is scsi, it was virtio"),
    ("<serial>S1</serial>", "<serial>S2</serial>", "disk vda: serial is S2, it was S1"),
    ("bus='0x04'", "bus='0x05'", "disk vda: address bus is 0x5, it was 0x4"),
    ("<model type='virtio'/>", "<model type='e1000e'/>", "interface 52:54:00:00:00:01: model type is e1000e, it was virtio"),
    ("52:54:00:00:00:01", "52:54:00:00:00:02", "interface 52:54:00:00:00:02 is new"),
    ("<memballoon model='virtio'/>", "", "memballoon 0 is missing"),
    ("<tpm model='tpm-crb'>", "<tpm model='tpm-tis'>", "tpm 0: model is tpm-tis, it was tpm-crb"),
    ("pcie-root-port", "pcie-switch-upstream-port", "controller pci 1: model is pcie-switch-upstream-port, it was pcie-root-port"),
    ("<target dev='vda' bus='virtio'/>", "<target dev='vda' bus='virtio'/><readonly/>", "disk vda: readonly is there, it was not given"),
])
def test_what_the_guest_would_see_is_named(old, new, says):
    assert old in GUEST and says in kvm_abi.changes(GUEST, GUEST.replace(old, new))


@pytest.mark.parametrize("after, says", [
    ("<network/>", "is a <network>, not a <domain>"), ("no xml", "the definition"),
    (GUEST.replace("<name>app", "<name>db"), "has the name db, the guest has app"),
    (GUEST.replace("5d07", "6d07"), "has the uuid 6d07"),
])
def test_a_definition_of_something_else_is_none(after, says):
    with pytest.raises(ValueError, match=says):
        kvm_abi.changes(GUEST, after)
