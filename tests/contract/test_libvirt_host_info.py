# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt_host_info without libvirt: how its XML is read, and what it says where nobody answers. Real hosts: tests/lab/libvirt."""

from __future__ import annotations

import socket
from xml.etree import ElementTree

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor import host, survey
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.connection import Hosts
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.runner import Task, outcome
from ansible_collections.bigvm.live_migration.plugins.modules import libvirt_host_info

CELL = """<cell id='1'><memory unit='KiB'>536870912</memory><pages unit='KiB' size='4'>1000</pages>
<pages unit='KiB' size='1048576'>400</pages><cpus num='2'><cpu id='0'/><cpu id='1'/></cpus></cell>"""


def test_a_numa_node_is_read():
    assert host._cell(ElementTree.fromstring(CELL)) == {
        "node": 1, "cpus": 2, "memory_bytes": 512 << 30, "pages": {"4": 1000, "1048576": 400}}


@pytest.mark.parametrize("uri, says", [
    ("qemu:///session", "session connection"), ("qemu+tcp://127.0.0.1:1/system", "does not answer on port 1"),
    ("xen:///system", "is no URI of a QEMU host")])
def test_a_host_that_cannot_be_read_is_said_in_a_sentence(uri, says):
    failed, result = outcome(libvirt_host_info.execute, Task({"uri": uri, "peers": []}, Hosts()))
    assert failed and says in result["msg"] and "exception" not in result


def test_reading_needs_the_binding(monkeypatch):
    monkeypatch.setattr(host, "has_binding", lambda: False)
    failed, result = outcome(lambda task: host.read(None), Task({}, Hosts()))
    assert failed and "python3-libvirt" in result["msg"]


def test_the_way_to_a_host_is_tried_and_what_stands_there_is_said(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setattr(survey, "FIRST_PORT", 1)  # refused at once: nobody listens before a move begins
        assert survey.way_to("qemu+tcp://127.0.0.1:%d/system" % port) == []
    monkeypatch.setattr(survey, "reachable", lambda uri: False)
    said = survey.way_to("qemu+tcp://127.0.0.1:%d/system" % port, "tcp://kvm-1-mig")
    assert "does not answer on port %d" % port in said[0] and "Port 1 of kvm-1-mig" in said[1] and len(said) == 2
    failed, result = outcome(libvirt_host_info.execute, Task({"uri": None, "peers": [{"uri": "kvm-1", "migrate_uri": None}]}, Hosts()))
    assert failed and "no URI of a QEMU host" in result["msg"]
