# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt_dirty_rate_info without libvirt: its options, and the order of its calls on hosts that are played."""

from __future__ import annotations

import types

import pytest
from libvirt_steps import Clock

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor import dirty
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.connection import HypervisorError
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.options import link_rate
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.runner import Task, outcome
from ansible_collections.bigvm.live_migration.plugins.modules import libvirt_dirty_rate_info


class NoHosts:
    """Nobody may be asked."""

    def open(self, uri):
        raise AssertionError("asked %s" % uri)

    def close(self):
        pass


def options(**given):
    params = {name: option.get("default") for name, option in libvirt_dirty_rate_info.SPEC.items()}
    return dict(params, **given)


@pytest.mark.parametrize("given, says", [
    ({"seconds": 0}, "seconds is 0"), ({"seconds": 61}, "seconds is 61"), ({"samples": 0}, "samples is 0"),
    ({"connections": 0}, "connections is 0"), ({"max_downtime": 0}, "max_downtime is 0"),
    ({"bandwidth": "fast"}, "'fast' is not understood"), ({"interface": "no-such-card"}, "does not tell its speed"),
    ({"interface": "../../etc"}, "does not tell its speed"), ({"interface": "lo"}, "does not tell its speed"),
])
def test_what_cannot_be_meant_is_refused_before_anybody_is_asked(given, says):
    failed, result = outcome(libvirt_dirty_rate_info.execute, Task(options(**given), NoHosts()))
    assert failed and says in result["msg"] and "exception" not in result


def test_a_bandwidth_in_bytes_or_as_a_line_rate():
    assert link_rate("2.5G", None) == (2.5e9, [])
    assert link_rate("10Gbit", None) == (pytest.approx(1.125e9), ["90 % of the line rate"])
    assert link_rate(None, 25 * 10 ** 9) == (pytest.approx(25e9 / 8 * 0.9), ["90 % of the line rate"])
    assert link_rate(None, None) is None
    with pytest.raises(BadInput):
        link_rate("-1", None)


def test_without_the_binding_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(dirty, "has_binding", lambda: False)
    failed, result = outcome(lambda task: dirty.guests(None, []), Task({}, NoHosts()))
    assert failed and "python3-libvirt" in result["msg"]


class Played:
    """A host whose guest's measurements end after a while, or never."""

    uri = "qemu:///system"

    def __init__(self, readings):
        self.readings, self.started, self.looks = list(readings), [], 0
        self.connection = types.SimpleNamespace(domainListGetStats=self.stats)
        self.domain = types.SimpleNamespace(name="app", handle=types.SimpleNamespace(
            startDirtyRateCalc=lambda seconds, flags: self.started.append((seconds, flags))))

    def stats(self, handles, what, flags):
        self.looks += 1
        if not self.readings:
            return [(None, {"dirtyrate.calc_status": 1})]
        if self.looks % 2:
            return [(None, {"dirtyrate.calc_status": 1})]
        return [(None, {"dirtyrate.calc_status": 2, "dirtyrate.megabytes_per_second": self.readings.pop(0)})]


@pytest.fixture
def binding(monkeypatch):
    """Of libvirt, what these tests need; what it is on a machine without it."""
    fake = types.SimpleNamespace(VIR_DOMAIN_STATS_DIRTYRATE=512, libvirtError=type("libvirtError", (Exception,), {}),
                                 VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_RING=2)
    monkeypatch.setattr(dirty, "libvirt", fake)
    monkeypatch.setattr("ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.connection.libvirt", fake)
    return fake


def test_each_sample_is_waited_for(binding):
    host = Played([3, 9])
    found = dirty.measure(host, [(host.domain, "dirty-ring")], 2, 2, Clock())
    assert found == {"app": [3 << 20, 9 << 20]} and host.started == [(2, 2), (2, 2)]


def test_a_measurement_that_does_not_end_is_an_error(binding):
    host = Played([])
    with pytest.raises(HypervisorError, match="does not end"):
        dirty.measure(host, [(host.domain, "page-sampling")], 1, 1, Clock())


def test_an_old_libvirt_measures_by_sampling_only(binding):
    with pytest.raises(HypervisorError, match="page-sampling"):
        dirty.flag("dirty-bitmap")
    assert dirty.flag("page-sampling") == 0
