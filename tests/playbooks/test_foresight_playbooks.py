# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster exported and rehearsed on; several nodes one after the other."""

from __future__ import annotations


def test_an_exported_cluster_is_rehearsed_with_the_very_playbook(operator, cluster, tmp_path):
    path = tmp_path / "cluster.json"
    done = operator.run("export_cluster", live_migration_connection=cluster().connection, export_path=str(path), export_pseudonyms=True)
    assert done.rc == 0 and "hana" not in path.read_text()
    played = operator.run("rehearse", rehearsal_dir=str(tmp_path / "played"), cluster_export=str(path), rehearsal_node="node-0001")
    assert played.rc == 0, played.output
    assert "5 of 5 VMs run on another node" in played.output and "hana" not in played.output
    path.write_text(path.read_text()[:5000])
    cut = operator.run("rehearse", rehearsal_dir=str(tmp_path / "cut"), cluster_export=str(path), rehearsal_node="node-0001")
    assert cut.rc != 0 and "was cut off" in cut.said


def rolled(operator, cluster, nodes, **given):
    return operator.run("rolling_maintenance", live_migration_connection=cluster.connection, maintenance_nodes=nodes,
                        maintenance_timeout="4h", maintenance_rehearsal=True, maintenance_tasks="firmware.yml",
                        maintenance_progress_interval=0, **given)


def test_several_nodes_one_after_the_other_the_lightest_first(operator, cluster):
    c = cluster()
    run = rolled(operator, c, ["hana-b", "worker-1"], maintenance_settings={"bandwidth_per_migration": "0"}, maintenance_return=True)
    assert run.rc == 0, run.output
    assert [record["subject"] for record in run.records] == ["worker-1", "hana-b"]
    assert {record["result"] for record in run.records} == {"ok"}
    vmis = c.api.list("/apis/kubevirt.io/v1/virtualmachineinstances").items
    assert {vmi["status"]["nodeName"] for vmi in vmis if vmi["metadata"]["namespace"] == "sap-test"} == {"hana-b"}


def test_the_first_failure_ends_it_and_no_further_node_is_begun(operator, cluster):
    c = cluster()
    c.api.patch("/apis/kubevirt.io/v1/namespaces/portal/virtualmachineinstances/web-01", {
        "metadata": {"annotations": {"rehearsal.bigvm.io/fail": "target-stuck"}}})
    run = rolled(operator, c, ["worker-1", "hana-b"], maintenance_settings={"bandwidth_per_migration": "0"})
    assert run.rc != 0
    assert [record["subject"] for record in run.records] == ["worker-1"] and run.records[0]["result"] == "failed"


def test_what_cannot_be_emptied_is_refused_before_anything_is_written(operator, cluster):
    c = cluster(topology="blocked")
    run = rolled(operator, c, ["node-a", "node-b"])
    assert run.rc != 0 and "cannot be emptied" in run.said and run.records == []
    assert [row for row in c.requests() if row["method"] not in ("GET", "HEAD") and not row["path"].startswith("/bigvm/")] == []
    assert rolled(operator, c, []).rc != 0
