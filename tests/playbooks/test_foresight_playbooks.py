# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster exported and rehearsed on; several nodes one after the other."""

from __future__ import annotations

import pytest


@pytest.mark.long
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


def rolled(operator, cluster, nodes, rehearsal=True, **given):
    tasks = operator.folder / "work.yml"  # firmware.yml is for rehearsals only
    tasks.write_text("- name: Work\n  ansible.builtin.debug:\n    msg: done\n")
    return operator.run("rolling_maintenance", live_migration_connection=cluster.connection, maintenance_nodes=nodes,
                        maintenance_timeout="4h", maintenance_rehearsal=rehearsal, maintenance_progress_interval=0,
                        maintenance_tasks="firmware.yml" if rehearsal else str(tasks), **given)


def of_nodes(run):
    return [record for record in run.records if record["kind"] == "node_maintenance"]


def whole(run):
    return next(record["facts"]["plan"] for record in run.records if record["kind"] == "rolling_maintenance")


def writes(c):
    return [row for row in c.requests() if row["method"] not in ("GET", "HEAD") and not row["path"].startswith("/bigvm/")
            and "selfsubject" not in row["path"]]


@pytest.mark.long
def test_several_nodes_one_after_the_other_the_lightest_first(operator, cluster):
    c = cluster()
    run = rolled(operator, c, ["hana-b", "worker-1"], maintenance_settings={"bandwidth_per_migration": "0"}, maintenance_return=True)
    assert run.rc == 0, run.output
    assert [record["subject"] for record in of_nodes(run)] == ["worker-1", "hana-b"] == whole(run)["nodes"]
    assert {record["result"] for record in run.records} == {"ok"}
    vmis = c.api.list("/apis/kubevirt.io/v1/virtualmachineinstances").items
    assert {vmi["status"]["nodeName"] for vmi in vmis if vmi["metadata"]["namespace"] == "sap-test"} == {"hana-b"}


@pytest.mark.long
def test_the_whole_is_approved_once_and_each_node_goes_as_it_was_foreseen(operator, cluster):
    c, given = cluster(), {"maintenance_settings": {"bandwidth_per_migration": "0"}, "maintenance_links": "25Gbit"}
    shown = rolled(operator, c, ["worker-1", "worker-2", "hana-b"], rehearsal=False, maintenance_approve="00000000", **given)
    assert shown.rc != 0 and "is not approved" in shown.said and writes(c) == []
    foreseen = whole(shown)
    run = rolled(operator, c, ["hana-b", "worker-2", "worker-1"], rehearsal=False, maintenance_approve=foreseen["id"], **given)
    assert run.rc == 0, run.output
    assert [record["facts"]["plan"]["id"] for record in of_nodes(run)] == [plan["id"] for plan in foreseen["plans"]]
    for plan in foreseen["plans"]:  # nothing went to a node that was still to be emptied, as long as another had room
        later = foreseen["nodes"][foreseen["nodes"].index(plan["node"]) + 1:]
        assert not {vm["target_node"] for wave in plan["waves"] for vm in wave["vms"]} & set(later)


@pytest.mark.long
def test_the_first_failure_ends_it_and_no_further_node_is_begun(operator, cluster):
    c = cluster()
    c.api.patch("/apis/kubevirt.io/v1/namespaces/portal/virtualmachineinstances/web-01", {
        "metadata": {"annotations": {"rehearsal.bigvm.io/fail": "target-stuck"}}})
    run = rolled(operator, c, ["worker-1", "hana-b"], maintenance_settings={"bandwidth_per_migration": "0"})
    assert run.rc != 0
    assert [record["subject"] for record in of_nodes(run)] == ["worker-1"] and of_nodes(run)[0]["result"] == "failed"


def test_what_cannot_be_emptied_is_refused_before_anything_is_written(operator, cluster):
    c = cluster(topology="blocked")
    run = rolled(operator, c, ["node-a", "node-b"])
    assert run.rc != 0 and "cannot be emptied" in run.said and of_nodes(run) == []
    assert whole(run)["first"] and whole(run)["first"][0]["remedy"] in run.said
    assert writes(c) == []
    assert rolled(operator, c, []).rc != 0


def test_a_window_too_short_for_the_first_node_is_refused(operator, cluster):
    c = cluster()
    run = rolled(operator, c, ["worker-1", "hana-b"], maintenance_deadline="2020-01-01T00:00:00+00:00")
    assert run.rc != 0 and "than the deadline leaves" in run.said and writes(c) == [] and of_nodes(run) == []
