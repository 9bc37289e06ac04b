# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the roles for KVM hosts ask of the system where no test can run it: read from their files, nothing is executed."""

from __future__ import annotations

from pathlib import Path

import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"


def tasks(role, name):
    return yaml.safe_load((ROLES / role / "tasks" / (name + ".yml")).read_text(encoding="utf-8"))


def test_an_export_brings_package_firewall_and_service_before_it_is_made():
    modules = [(next(key for key in task if "." in key), task) for task in tasks("kvm_shared_storage", "export")]
    assert [name for name, _task in modules] == [
        "ansible.builtin.package", "ansible.builtin.file", "ansible.posix.firewalld", "ansible.posix.firewalld",
        "ansible.builtin.systemd_service", "ansible.builtin.include_tasks"]
    by_name = dict(modules)
    assert by_name["ansible.builtin.package"]["ansible.builtin.package"]["name"] == "nfs-utils"
    service = by_name["ansible.builtin.systemd_service"]["ansible.builtin.systemd_service"]
    assert service == {"name": "nfs-server.service", "state": "started", "enabled": True}
    given = yaml.safe_load((ROLES / "kvm_shared_storage" / "defaults" / "main.yml").read_text(encoding="utf-8"))
    assert given["kvm_shared_storage_firewall_services"] == ["nfs", "mountd", "rpc-bind"]
    assert given["kvm_shared_storage_firewall_ports"] == ["2049/tcp", "2049/udp"]
    for _name, task in modules[2:4]:
        rule = task["ansible.posix.firewalld"]
        assert rule["permanent"] is True and rule["immediate"] is True and rule["state"] == "enabled"


def test_a_host_is_rebooted_only_when_asked_and_empty():
    reboot = next(task for task in tasks("kvm_host_prep", "main") if task["name"] == "Reboot")
    assert "kvm_host_prep_reboot | bool" in reboot["when"]
    steps = [next(key for key in task if "." in key) for task in tasks("kvm_host_prep", "reboot")]
    assert steps.index("ansible.builtin.fail") < steps.index("ansible.builtin.reboot")


def test_the_journal_is_written_before_anything_else_is_changed():
    names = [task["name"] for task in tasks("kvm_evacuation", "hold")]
    assert names.index("Write the journal") < names.index("Switch autostart off for what stays")
