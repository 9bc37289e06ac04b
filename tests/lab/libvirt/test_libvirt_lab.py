# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab itself: what it promises to the other tests, and to the machine that it runs on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import kvm_lab as machinery
import pytest


def test_a_second_lab_is_refused(lab):
    done = subprocess.run([sys.executable, machinery.__file__, "up"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode and "one at a time" in done.stderr


def test_the_older_qemu_gives_another_cpu(lab):
    modes = {host: ElementTree.fromstring(lab.virsh(host, "domcapabilities")).find("./cpu/mode[@name='host-model']") for host in "abc"}
    features = {host: [row.attrib for row in mode.findall("feature")] for host, mode in modes.items()}
    assert features["a"] == features["b"] != features["c"]


def test_a_guest_beats_dirties_as_told_and_moves(lab, guest):
    name = guest("lab-1", dirty_mb=32, dirty_rate=10)
    lab.virsh("a", "migrate", "--live", "--persistent", "--undefinesource", "--p2p", name, lab.uri("b"))
    assert lab.active(name) == lab.defined(name) == ["b"]
    assert lab.beats(name) == ["b"]
    lines = [line.split() for line in lab.file("b", "/var/log/libvirt/lab-1.beat").read_text().splitlines() if "written" in line]
    assert 3 <= (int(lines[-1][3]) - int(lines[0][3])) / (int(lines[-1][1]) - int(lines[0][1])) <= 11
    assert lab.virsh("b", "qemu-agent-command", name, '{"execute": "guest-ping"}') == '{"return":{}}'


def test_a_link_has_the_bandwidth_that_it_is_given(lab, guest):
    name = guest("lab-2", dirty_mb=64)
    lab.link("a", "eth0", "200mbit")
    started = time.monotonic()
    lab.virsh("a", "migrate", "--live", "--p2p", name, lab.uri("b"))
    assert time.monotonic() - started > 64 / 25 and lab.active(name) == ["b"]


def test_a_host_that_reboots_keeps_definitions_and_loses_guests(lab, guest):
    name = guest("lab-3", host="b")
    lab.ask("reboot", "b")
    assert lab.active(name) == [] and lab.defined(name) == ["b"]


def test_a_daemon_that_restarts_leaves_guests_running(lab, guest):
    name = guest("lab-4", host="b")
    lab.ask("restart", "b")
    assert lab.active(name) == ["b"] and lab.beats(name) == ["b"]


def descendants(pid):
    """All processes below one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found += [int(path.parent.name)] + descendants(int(path.parent.name))
    return found


def loops():
    """Loop devices in use."""
    return {path.parent.parent.name for path in Path("/sys/block").glob("loop*/loop/backing_file")}


@pytest.mark.parametrize("how", ["killed", "end of input", "down"])
def test_nothing_is_left_behind(lab, tmp_path, how):
    links, mounts, before = os.listdir("/sys/class/net"), Path("/proc/self/mounts").read_text(), loops()
    environment = dict(os.environ, BIGVM_LAB_LOCK=str(tmp_path / "lock"))
    theirs, ours = os.pipe()  # the lab lives as long as we hold our end
    up = [sys.executable, machinery.__file__, "up", "--hosts", "x,y", "--until-eof"]
    status = json.loads(subprocess.run(up, stdin=theirs, capture_output=True, text=True, check=True, env=environment, timeout=60).stdout)
    os.close(theirs)
    all_of_it = [status["pid"]] + descendants(status["pid"])
    assert len(all_of_it) >= 7 and loops() - before == {status["lun"].rpartition("/")[2]}
    assert os.listdir("/sys/class/net") == links and Path("/proc/self/mounts").read_text() == mounts
    if how == "killed":
        os.kill(status["pid"], signal.SIGKILL)
    elif how == "down":
        subprocess.run([sys.executable, machinery.__file__, "down"], check=True, env=environment, timeout=30)
    else:
        os.close(ours)
    end = time.monotonic() + 5
    while time.monotonic() < end and (loops() - before or any(Path("/proc/%d" % pid).exists() for pid in all_of_it)):
        time.sleep(0.05)
    assert not [pid for pid in all_of_it if Path("/proc/%d" % pid).exists()] and loops() == before
    if how != "end of input":
        os.close(ours)
