# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cells of the matrix that no other test plays: the oldest ansible-core on each generation, settings of the cluster included.

With the newest core every other test of this folder runs, on KubeVirt 1.9; docs/development.md lists all cells.
"""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.long


def places(cluster):
    return {vmi["metadata"]["name"]: vmi["status"]["nodeName"]
            for vmi in cluster.api.list("/apis/kubevirt.io/v1/virtualmachineinstances").items}


@pytest.mark.parametrize("generation, served", [("1.3", "v1beta1"), ("1.6", "v1beta1"), ("1.9", "v1")])
def test_a_node_is_emptied_with_cluster_settings_held_on_the_oldest_core(oldest, cluster, generation, served):
    c = cluster(topology="tiny", generation=generation)
    versions = c.api.get("/apis/hco.kubevirt.io")["versions"]
    assert versions[0]["version"] == served
    run = oldest.run("node_maintenance", live_migration_connection=c.connection, maintenance_node="node-a", maintenance_rehearsal=True,
                     maintenance_settings={"parallel_migrations_per_cluster": 1}, maintenance_hold_cluster_settings=True,
                     maintenance_progress_interval=0)
    assert run.rc == 0, run.output
    assert set(places(c).values()) == {"node-b"} and run.records[-1]["result"] == "ok"
    assert run.records[-1]["facts"]["settings"], "a setting of the whole cluster was held"
    written = {row["path"].split("/")[3] for row in c.requests() if row["method"] == "PATCH" and "hyperconvergeds" in row["path"]}
    assert written == {served}


def test_several_nodes_on_the_oldest_core(oldest, cluster):
    c = cluster(topology="tiny", generation="1.6")
    run = oldest.run("rolling_maintenance", live_migration_connection=c.connection, maintenance_nodes=["node-b", "node-a"],
                     maintenance_rehearsal=True, maintenance_return=True, maintenance_progress_interval=0)
    assert run.rc == 0, run.output
    assert [record["kind"] for record in run.records] == ["rolling_maintenance", "node_maintenance", "node_maintenance"]
    assert set(places(c).values()) == {"node-a"}
