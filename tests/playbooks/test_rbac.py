# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every playbook with exactly the rights of its role, bound as docs/rbac says, and not one request refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from steps import node, nothing_left, vmis

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
import rbac_steps as on  # noqa: E402

pytestmark = pytest.mark.long  # see make test-lab

TOPOLOGY = dict(on.TOPOLOGY, nodes=[{"names": ["node-a", "node-b"], "memory": "64Gi", "cpus": 32, "link": "10G"}], vms=[
    {"name": "vm-1", "namespace": "default", "node": "node-a", "memory": "4Gi", "cpus": 2, "dirty_rate": "10M", "disk": "20Gi"},
    {"name": "app", "namespace": "shop", "node": "node-a", "memory": "2Gi", "cpus": 1}],
    pods=[{"name": "web", "namespace": "web", "node": "node-a"}])
MAINTENANCE = {"maintenance_node": "node-a", "maintenance_settings": {"bandwidth_per_migration": "0"}, "maintenance_return": True,
               "maintenance_pause": on.PAUSE, "maintenance_tasks": "firmware.yml", "maintenance_rehearsal": True}


@pytest.fixture(scope="module")
def site(shared, tmp_path_factory):
    path = tmp_path_factory.mktemp("rbac") / "rbac.yml"
    path.write_text(json.dumps(TOPOLOGY))
    return on.Site(shared(topology=str(path)))


@pytest.fixture
def playbook(site, operator):
    """``playbook(role, name, **variables)``: how it ended; it must not have asked for more than it may."""

    def run(role, name, without=None, **variables):
        key = site.c.token(on.granted(role, without, guests=("default", "shop")), user=role)
        before = len(site.c.requests())
        ended = operator.run(name, live_migration_connection=dict(site.c.connection, api_key=key), **variables)
        refused = {(row["method"], row["path"]) for row in site.c.requests()[before:] if row["status"] == 403}
        assert without or not refused, "%s\n%s" % (refused, ended.output)
        return ended

    return run


def test_an_observer_can_run_preflight(site, playbook):
    ended = playbook("observer", "preflight", preflight_node="node-a")
    assert ended.rc == 0, ended.output


def test_an_operator_can_run_a_maintenance_with_return(site, playbook):
    before = vmis(site.c)
    ended = playbook("operator", "node_maintenance", **MAINTENANCE)
    assert ended.rc == 0, ended.output
    assert vmis(site.c) == before
    assert "1 pods evicted" in ended.said and "is resumed" in ended.said and "rights: all" in ended.said
    nothing_left(site.c, "node-a")


def test_an_operator_can_migrate_and_restore_what_a_dead_run_left(site, playbook):
    ended = playbook("operator", "migrate", migrate_vms=[{"namespace": "shop", "name": "app"}], migrate_target_node="node-b")
    assert ended.rc == 0, ended.output
    assert vmis(site.c)["app"][1] == "node-b"
    vms = [{"namespace": "default", "name": "vm-1", "uid": vmis(site.c)["vm-1"][0]}]
    for module, options in ((on.node_hold, {"name": "node-a", "vms": vms}),
                            (on.migration_policy, {"state": "held", "vms": vms, "settings": {"allow_auto_converge": True}}),
                            (on.maintenance_interlocks, {"node": "node-a", "state": "held", "hold": on.PAUSE})):
        failed, result = on.run(module, site.c.connection, run="dead", **options)
        assert not failed, result["msg"]
    assert node(site.c, "node-a")["spec"]["unschedulable"] is True
    ended = playbook("operator", "restore")
    assert ended.rc == 0, ended.output
    nothing_left(site.c, "node-a")


def test_an_administrator_can_hold_settings_of_the_whole_cluster(site, playbook):
    ended = playbook("administrator", "node_maintenance", maintenance_hold_cluster_settings=True, **dict(
        MAINTENANCE, maintenance_return=False, maintenance_settings={"progress_timeout": 300}))
    assert ended.rc == 0, ended.output
    nothing_left(site.c, "node-a")


def test_an_operator_without_the_right_to_migrate_is_refused_before_anything_is_written(site, playbook):
    create = next(right for right in on.rights("operator") if (right.resource, right.verb) == (on.access.VMIMS, "create"))
    site.api.patch("/api/v1/nodes/node-a", {"spec": {"unschedulable": None}})
    version = node(site.c, "node-a")["metadata"]["resourceVersion"]
    ended = playbook("operator", "node_maintenance", without=create, **dict(MAINTENANCE, maintenance_node="node-b"))
    assert ended.rc == 2
    assert "create virtualmachineinstancemigrations.kubevirt.io" in ended.said and "kubevirt.io:migrate" in ended.said
    assert "Nothing was changed" in ended.said
    assert node(site.c, "node-a")["metadata"]["resourceVersion"] == version
