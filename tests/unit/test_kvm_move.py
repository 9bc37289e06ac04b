# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Moving guests between KVM hosts: what a situation calls for, job figures, the ladder, definitions, remedies."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import kvm_move
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.progress import Progress

ON, OFF = {"active": True}, {"active": False}
# As a busy guest on a slow link was seen: 20 MiB/s changed, 8 MiB/s carried, in the second pass.
BUSY = {"type": 2, "time_elapsed": 31000, "memory_total": 286 << 20, "memory_processed": 260 << 20, "memory_remaining": 60 << 20,
        "memory_bps": 8 << 20, "memory_dirty_rate": 5120, "memory_page_size": 4096, "memory_iteration": 2}
DOMAIN = """<domain><devices><disk type='block'><source dev='/dev/a'/></disk><disk type='file'><source file='/img/b'/></disk>
<interface type='network'><source network='prod'/></interface><interface type='bridge'><source bridge='br0'/></interface>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices></domain>"""


@pytest.mark.parametrize("source, target, mode, job, same, what", [
    (ON, None, "live", False, False, "move"),
    (ON, OFF, "suspended", False, False, "move"),  # a definition left there
    (ON, ON, "live", True, False, "adopt"),  # while it copies, the target has it as well
    (ON, None, "live", True, False, "adopt"),
    (None, ON, "live", False, False, "there"),
    (OFF, ON, "live", False, False, "there"),  # kept on the source
    (None, OFF, "offline", False, False, "there"),
    (ON, ON, "live", False, True, "there"),  # its own host
    (OFF, None, "offline", False, False, "move"),
])
def test_what_a_situation_calls_for(source, target, mode, job, same, what):
    assert kvm_move.decide(source, target, mode, job, same) == (what, None)


@pytest.mark.parametrize("source, target, mode, says", [
    (ON, ON, "live", "runs on both hosts"),
    (None, None, "live", "on neither"),
    (OFF, None, "live", "shut off"),
    (ON, None, "offline", "is running"),
])
def test_what_is_refused_says_why(source, target, mode, says):
    what, why = kvm_move.decide(source, target, mode, False, False)
    assert what == "refuse" and says in why


def test_formula_f3_is_read_from_job_figures():
    assert kvm_move.dirty_rate(BUSY) == 20 << 20
    assert kvm_move.diverges(BUSY)
    assert not kvm_move.diverges(dict(BUSY, memory_bps=21 << 20))
    assert not kvm_move.diverges(dict(BUSY, memory_iteration=1)) and not kvm_move.diverges({})
    line = kvm_move.f3_line("app", BUSY)
    assert "not converging" in line and "21 MB/s" in line and "8.4 MB/s" in line


def test_job_figures_feed_the_same_progress_as_kubevirts():
    progress = Progress()
    for second in (1, 2, 3):
        progress.feed(kvm_move.sample(dict(
            BUSY, time_elapsed=second * 1000, memory_iteration=1, memory_dirty_rate=0, memory_remaining=(286 - 8 * second) << 20)))
    assert 0 < progress.percent < 10 and 25 < progress.time_left() < 45
    assert kvm_move.sample({"type": 0}) is None and kvm_move.sample(None) is None
    assert kvm_move.figures(dict(BUSY, downtime=37))["downtime_ms"] == 37 and kvm_move.figures(None)["sent"] is None


def test_steps_come_in_their_time_and_once():
    steps = [{"after": 5, "do": "downtime", "value": 900}, {"after": 5, "do": "bandwidth", "value": 1 << 30},
             {"after": 9, "do": "abort", "value": None}]
    assert kvm_move.due(steps, 0, 4.9) == []
    assert [step["do"] for step in kvm_move.due(steps, 0, 5)] == ["downtime", "bandwidth"]
    assert [step["do"] for step in kvm_move.due(steps, 2, 100)] == ["abort"]
    assert kvm_move.due(steps, 3, 100) == []
    assert kvm_move.step_line("app", steps[0], 5.4) == "app: after 5 s longest pause set to 900 ms"
    assert "post-copy" in kvm_move.step_line("app", {"do": "post_copy", "value": None}, 61)


@pytest.mark.parametrize("steps, post_copy, critical, timeout, says", [
    ([(9, "suspend", None), (5, "abort", None)], False, False, None, "too late in the list"),
    ([(60, "abort", None)], False, False, 60, "timeout"),
    ([(1, "downtime", None)], False, False, None, "lacks its value"),
    ([(1, "post_copy", None)], False, False, None, "post_copy: true"),
    ([(1, "post_copy", None)], True, True, None, "not critical"),
    ([(1, "post_copy", None), (2, "abort", None)], True, False, 60, None),
    ([], False, True, None, None),
])
def test_a_ladder_that_cannot_be_meant(steps, post_copy, critical, timeout, says):
    rows = [dict(zip(("after", "do", "value"), step)) for step in steps]
    problem = kvm_move.ladder_problem(rows, post_copy, critical, timeout)
    assert problem is None if says is None else says in problem


def test_networks_and_disks_are_exchanged():
    text = kvm_move.changed_definition(DOMAIN, {"prod": "prod-2", "br0": "br9"}, {"/dev/a": "/dev/mapper/x", "/img/b": "/other/b"})
    for name in ("prod-2", "br9", "/dev/mapper/x", "/other/b"):
        assert '"%s"' % name in text
    assert "br0" not in text and kvm_move.changed_definition(DOMAIN, {}, {}) is None
    with pytest.raises(ValueError, match="no network or disk nothere"):
        kvm_move.changed_definition(DOMAIN, {"nothere": "x"}, {})


def test_the_agents_channel_is_seen():
    assert kvm_move.has_agent(DOMAIN) and not kvm_move.has_agent("<domain><devices/></domain>")


@pytest.mark.parametrize("message, helps", [
    ("Unsafe migration: Migration without shared storage is unsafe", "both hosts share"),
    ("guest CPU doesn't match specification: missing features: rdpid", "libvirt_cpu_baseline"),
    ("unsupported configuration: Emulator does not support machine type 'pc-q35-10.0'", "machine type"),
    ("unable to connect to server at 'kvm-b:49152': Connection timed out", "ports"),
    ("Target CPU model does not match source", "hardware"),
    ("authentication failed: Failed to verify peer's certificate", "one authority"),
    ("Cannot recv data: Host key verification failed.: Connection reset by peer", "known_hosts"),
    ("Cannot recv data: root@kvm-b: Permission denied (publickey).: Connection reset by peer", "authorized_keys"),
])
def test_errors_of_libvirt_come_with_what_helps(message, helps):
    assert helps in kvm_move.remedy_for(message)


def test_an_unknown_error_speaks_for_itself():
    assert kvm_move.remedy_for("something else entirely") is None
    assert kvm_move.remedy_for("no such capability") is None  # "abi" within a word is none
