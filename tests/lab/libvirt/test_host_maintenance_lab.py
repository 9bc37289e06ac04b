# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks kvm_host_maintenance and kvm_restore on real hosts: after each the beat of each guest goes on, on exactly one."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from kvm_operator import JOURNAL, Operator


@pytest.fixture
def operator(lab, tmp_path):
    """Somebody, and no journal left behind on any host."""
    yield Operator(lab, tmp_path)
    for host in lab.status["hosts"]:
        lab.run(host, "rm", "-f", JOURNAL)


def starts_itself(lab, host, name):
    """Whether a guest has autostart on a host."""
    return name in lab.virsh(host, "list", "--all", "--autostart", "--name").split()


def until(condition, seconds=120):
    """Wait for it; whether it came."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def leaves(lab, name, host="a"):
    """Whether a guest is just being migrated away."""
    return "Unbounded" in lab.virsh(host, "domjobinfo", name, check=False)


def test_a_maintenance_killed_in_the_middle_is_ended_by_the_next_run(lab, guest, operator):
    first, second = guest("n-big", memory=320, dirty_mb=64), guest("n-small", dirty_mb=64, dirty_rate=20)
    stays = guest("n-off", start=False)
    for name in (first, stays):
        lab.virsh("a", "autostart", name)
    # no terminal, no approval: nothing happens
    rc, said = operator.run()
    assert rc == 2 and "is not approved (no answer)" in said, said
    assert "n-off: shut off, autostart off for the while" in said and not lab.run("a", "test", "-e", JOURNAL, check=False).returncode == 0
    plan = said.partition("maintenance_approve=")[2][:8]

    lab.link("a", "mig0", "200mbit")
    process = operator.start("kvm_host_maintenance", maintenance_approve=plan)
    in_time = until(lambda: process.poll() is not None or leaves(lab, second), 300)
    lab.link("a", "mig0", "2mbit")  # too slow to end by itself
    in_time = in_time and process.poll() is None and lab.active(first) == ["b"]
    os.killpg(process.pid, signal.SIGKILL)
    assert in_time, process.communicate()[0]
    process.wait()
    journal = json.loads(lab.run("a", "cat", JOURNAL).stdout)
    assert journal["phase"] == "moving" and not journal["ended"] and [move["name"] for move in journal["moves"]] == [first, second]
    assert not starts_itself(lab, "a", stays)

    # the next run goes on: follows what is under way, reboots, proves, brings back
    assert leaves(lab, second)
    lab.link("a", "mig0", "free")
    rc, said = operator.approved(maintenance_tasks="reboot.yml", maintenance_return=True)
    assert rc == 0, said
    assert "going on with it" in said and "PASS: kvm-a has what it had, and 2 moved guests run exactly once" in said
    for name in (first, second):
        assert lab.active(name) == ["a"] and lab.beats(name) == ["a"] and lab.defined(name) == ["a"]
    assert starts_itself(lab, "a", first) and starts_itself(lab, "a", stays) and not starts_itself(lab, "a", second)
    assert lab.run("a", "test", "-e", JOURNAL, check=False).returncode == 1
    record = operator.record
    assert record["kind"] == "kvm_host_maintenance" and record["result"] == "ok" and record["run"] == journal["run"]
    assert [row["outcome"] for row in record["migrations"]].count("moved") >= 3
    assert list(operator.folder.glob("records/*.md"))


def test_what_cannot_leave_stops_it_before_anything_is_written(lab, guest, operator):
    lab.run("a", "truncate", "-s", "1M", "/var/lib/libvirt/images/n-disk.img")
    guest("n-local", devices="<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/>"
          "<source file='/var/lib/libvirt/images/n-disk.img'/><target dev='vda' bus='virtio'/></disk>")
    rc, said = operator.run(maintenance_approve="x")
    assert rc == 2 and "n-local cannot leave kvm-a now" in said and "LocalDisk" in said and "Nothing was changed" in said, said
    assert lab.active("n-local") == ["a"] and lab.run("a", "test", "-e", JOURNAL, check=False).returncode == 1
    rc, said = operator.run(maintenance_host="kvm-z")
    assert rc == 2 and "The inventory has no host kvm-z. Nothing was changed." in said


def test_a_move_that_fails_keeps_its_journal_and_restore_ends_it(lab, guest, operator):
    first, second = guest("n-one", memory=320), guest("n-two", dirty_mb=64, dirty_rate=20)

    def slowly():
        assert until(lambda: leaves(lab, second))
        lab.link("a", "mig0", "2mbit")

    lab.link("a", "mig0", "400mbit")
    rc, said = operator.approved(slowly, maintenance_timeout="25s")
    assert rc == 2 and "its time of 25 s was over" in said and "n-two" in said, said
    lab.link("a", "mig0", "free")
    assert lab.active(first) == ["b"] and lab.active(second) == ["a"]
    journal = json.loads(lab.run("a", "cat", JOURNAL).stdout)
    assert journal["ended"] is True
    rc, said = operator.run("kvm_restore", maintenance_return=True)
    assert rc == 0, said
    for name in (first, second):
        assert lab.active(name) == ["a"] and lab.beats(name) == ["a"]
    assert lab.run("a", "test", "-e", JOURNAL, check=False).returncode == 1
    assert operator.record["run"] == journal["run"] and operator.record["result"] == "ok"  # one record, whoever goes on with it


def test_a_host_that_lost_something_keeps_its_guests_away(lab, guest, operator):
    name = guest("n-gate")
    # its folder is gone with the reboot
    lab.run("a", "mkdir", "/run/n-pool")
    lab.virsh("a", "pool-define-as", "n-pool", "dir", "--target", "/run/n-pool")
    lab.virsh("a", "pool-start", "n-pool")
    try:
        rc, said = operator.approved(maintenance_tasks="reboot.yml", maintenance_return=True, kvm_evacuation_gate_tries=2)
        assert rc == 2 and "its storage pool n-pool is not active" in said, said
        assert lab.active(name) == ["b"] and lab.beats(name) == ["b"]
        lab.run("a", "mkdir", "/run/n-pool")
        lab.virsh("a", "pool-start", "n-pool")
        rc, said = operator.run("kvm_restore", maintenance_return=True)
        assert rc == 0 and lab.active(name) == ["a"] and lab.beats(name) == ["a"], said
    finally:
        lab.virsh("a", "pool-destroy", "n-pool", check=False)
        lab.virsh("a", "pool-undefine", "n-pool", check=False)
