# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks for KVM hosts on a machine that is none: what they say, and that nothing is changed. Real hosts: tests/lab/libvirt."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.long  # see make test-lab

INVENTORY = """
all:
  children:
    kvm_hosts:
      hosts:
        kvm-1:
        kvm-2:
      vars: {ansible_connection: local, ansible_python_interpreter: %s}
""" % sys.executable
SHOWN = {"ANSIBLE_DISPLAY_OK_HOSTS": "true"}


@pytest.fixture
def kvm(operator):
    """Run a playbook on two such hosts."""
    (operator.folder / "hosts.yml").write_text(INVENTORY)

    def run(playbook, *words, **variables):
        given = dict({"prepare_become": False, "maintenance_become": False, "kvm_host_prep_release": "9.4"}, **variables)
        return operator.run(playbook, "-i", "hosts.yml", *words, env=SHOWN, **given)

    return run


def test_preparing_in_assert_mode_prints_lines_and_changes_nothing(kvm):
    run = kvm("kvm_prepare", prepare_mode="assert")
    assert run.rc == 2 and run.said.count("changed=0") >= 2, run.output
    assert "FAIL: server certificate is not there, or unreadable, wanted is there (libvirt: TLS certificates)." in run.said
    assert "PASS: migration ports is 49152-49215 (RHEL: migrating virtual machines)" in run.said


def test_preparing_in_check_mode_goes_through_to_the_end(kvm):
    run = kvm("kvm_prepare", "--check", kvm_host_prep_install=False, kvm_shared_storage_install=False)
    assert run.rc == 0, run.output


@pytest.mark.parametrize("variables, says", [
    ({"kvm_host_prep_release": "7.9"}, "what a KVM host of RHEL 7.9 needs is not known"),
    ({"kvm_host_prep_hugepages": {"spare": "lots"}}, "KVM host:"),
    ({"kvm_host_prep_transport": "tcp"}, "value of kvm_host_prep_transport must be one of"),
])
def test_what_cannot_be_meant_is_refused_before_anything_is_written(kvm, variables, says):
    run = kvm("kvm_prepare", **variables)
    assert run.rc == 2 and says in run.said and "changed=0" in run.said and "Traceback" not in run.output, run.output


@pytest.mark.parametrize("playbook, variables, says", [
    ("kvm_restore", {}, "Which host? Give -e maintenance_host=NAME. Nothing was changed."),
    ("kvm_host_maintenance", {"maintenance_host": "kvm-9"}, "The inventory has no host kvm-9. Nothing was changed."),
    ("kvm_host_maintenance", {"maintenance_host": "kvm-1", "maintenance_hosts": ["kvm-2"]}, "kvm-1 is not among the hosts kvm-2. Nothing"),
])
def test_a_host_that_cannot_be_meant_is_refused(kvm, playbook, variables, says):
    run = kvm(playbook, **variables)
    assert run.rc == 2 and says in run.said and "Traceback" not in run.output, run.output


def test_a_host_without_libvirt_is_said_and_nothing_is_changed(kvm):
    run = kvm("kvm_host_maintenance", maintenance_host="kvm-1", kvm_evacuation_journal="/nonexistent/journal.json")
    assert run.rc == 2 and "kvm-1 could not be read:" in run.said and "Nothing was changed" in run.said, run.output
