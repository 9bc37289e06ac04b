# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt_migratable_info without libvirt: what it reads beside libvirt, and what it says where it cannot judge."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor import survey
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.connection import Hosts
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.runner import Task, outcome
from ansible_collections.bigvm.live_migration.plugins.modules import libvirt_migratable_info

CLUSTER = """<cib><configuration><resources>
<primitive id="vm-hana" class="ocf" provider="heartbeat" type="VirtualDomain"><instance_attributes>
<nvpair name="config" value="/etc/libvirt/qemu/hana-a.xml"/></instance_attributes></primitive>
<primitive id="app-1" class="ocf" provider="heartbeat" type="VirtualDomain"/>
<primitive id="db-1" class="ocf" provider="heartbeat" type="Filesystem"/>
</resources></configuration></cib>"""


@pytest.mark.parametrize("name, managed", [("hana-a", True), ("app-1", True), ("db-1", False), ("hana", False)])
def test_guests_of_a_cluster_manager_are_known(name, managed):
    assert survey.named_in(name, CLUSTER) is managed
    assert survey.named_in(name, "") is False and survey.named_in(name, "no xml") is False


@pytest.mark.parametrize("path, kind", [
    ("/images/a.qcow2", "nfs4"), ("/images2/a.qcow2", "xfs"), ("/images/local/a", "ext4"), ("/a", "xfs"), ("/images", "nfs4"),
])
def test_a_file_is_on_the_file_system_of_the_nearest_mount(path, kind):
    known = {"/": "xfs", "/images": "nfs4", "/images/local": "ext4"}
    assert survey.filesystem(path, known) == kind and survey.filesystem(path, {}) is None


def test_a_machine_without_a_cluster_manager_manages_nothing(monkeypatch):
    monkeypatch.setattr(survey.shutil, "which", lambda name: None)
    assert survey.manager() == "" and survey.mounts()


@pytest.mark.parametrize("given, says", [
    ({"destination": ""}, "destination is empty"),
    ({"destination": "qemu:///system", "uri": "qemu:///session"}, "session connection"),
    ({"destination": "qemu:///system", "uri": "qemu+tcp://127.0.0.1:1/system"}, "does not answer on port 1"),
])
def test_what_cannot_be_judged_is_said_in_a_sentence(given, says):
    params = dict({"uri": None, "names": [], "destination_kernel": None}, **given)
    failed, result = outcome(libvirt_migratable_info.execute, Task(params, Hosts()))
    assert failed and says in result["msg"] and "exception" not in result


def test_judging_needs_the_binding(monkeypatch):
    monkeypatch.setattr(survey, "has_binding", lambda: False)
    failed, result = outcome(lambda task: survey.guests(None, []), Task({}, Hosts()))
    assert failed and "python3-libvirt" in result["msg"]
