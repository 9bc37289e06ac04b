# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt_migrate before it asks libvirt: what it makes of its options, and how it fails without the binding."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor import moving
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.options import migration_plan
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.runner import Task, outcome
from ansible_collections.bigvm.live_migration.plugins.modules import libvirt_migrate

THERE = "qemu+tls://kvm-b/system"


def options(**given):
    """The module's options with their defaults."""
    params = {name: option.get("default") for name, option in libvirt_migrate.SPEC.items()}
    return dict(params, **dict({"name": "app", "destination": THERE}, **given))


class NoHosts:
    """Nobody may be asked."""

    def open(self, uri):
        raise AssertionError("asked %s" % uri)

    def close(self):
        pass


def test_options_become_numbers():
    ladder = [{"after": "10min", "do": "downtime", "value": "2000"}, {"after": "20min", "do": "bandwidth", "value": "4Gi"},
              {"after": "1h", "do": "abort", "value": None}]
    plan = migration_plan(options(timeout="4h", bandwidth="2Gi", max_pause="90s", ladder=ladder))
    assert (plan["timeout"], plan["bandwidth"], plan["max_pause"]) == (14400, 2 << 30, 90)
    assert [(step["after"], step["value"]) for step in plan["ladder"]] == [(600, 2000), (1200, 4 << 30), (3600, None)]


@pytest.mark.parametrize("given, says", [
    ({"name": " "}, "name is empty"),
    ({"destination": "kvm-b"}, "no URI of a QEMU host"),
    ({"destination": "qemu:///session"}, "session connection"),
    ({"timeout": "soon"}, "'soon' is not understood"),
    ({"bandwidth": "fast"}, "'fast' is not understood"),
    ({"connections": 0}, "connections is 0"),
    ({"max_downtime": 0}, "max_downtime is 0"),
    ({"persistent": False}, "no host would keep"),
    ({"post_copy": True, "critical": True}, "critical guest is not moved by post-copy"),
    ({"ladder": [{"after": "1min", "do": "post_copy", "value": None}]}, "post_copy: true"),
    ({"ladder": [{"after": "1min", "do": "downtime", "value": "long"}]}, "value of the step downtime"),
])
def test_what_cannot_be_meant_is_refused_before_anybody_is_asked(given, says):
    failed, result = outcome(libvirt_migrate.execute, Task(options(**given), NoHosts()))
    assert failed and says in result["msg"] and "exception" not in result
    with pytest.raises(BadInput):
        migration_plan(options(**given))


def test_without_the_binding_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(moving, "has_binding", lambda: False)
    failed, result = outcome(libvirt_migrate.execute, Task(options(), NoHosts()))
    assert failed and "python3-libvirt" in result["msg"] and "exception" not in result
