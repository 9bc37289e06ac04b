# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The maintenance playbook, as an operator runs and approves it, against KubeVirt's own virt-api and virt-controller."""

from __future__ import annotations

import json
import os
import signal

import jsonschema
import pytest
from kubevirt_steps import Steps
from steps import SCHEMA, left_over, node, nothing_left, vmims, vmis

pytestmark = pytest.mark.kubevirt

# Per guest, by a MigrationPolicy, and for the whole cluster, by HyperConverged.
SETTINGS = {"completion_timeout_per_gib": 777, "bandwidth_per_migration": "512Mi", "parallel_outbound_migrations_per_node": 1}
ASKED = {"maintenance_node": "node-a", "maintenance_return": True, "maintenance_settings": SETTINGS,
         "maintenance_hold_cluster_settings": True, "maintenance_progress_interval": 5}
# The operator's own work on the node: here it looks at what is in force meanwhile.
LOOK = """---
- name: Look at the cluster
  ansible.builtin.uri:
    url: "{{ live_migration_connection.host }}{{ item }}"
    headers: {Authorization: "Bearer {{ live_migration_connection.api_key }}"}
    ca_path: "{{ live_migration_connection.ca_cert }}"
    return_content: true
  loop:
    - /apis/kubevirt.io/v1/virtualmachineinstances
    - /api/v1/nodes/node-a
    - /apis/kubevirt.io/v1/namespaces/kubevirt/kubevirts/kubevirt
    - /apis/migrations.kubevirt.io/v1alpha1/migrationpolicies
  register: look

- name: Keep what was seen
  ansible.builtin.copy:
    content: "{{ look.results | map(attribute='json') | to_json }}"
    dest: "{{ kept_in }}"
    mode: "0600"
"""


@pytest.fixture
def c(kubevirt):
    """The two-node topology with a HyperConverged whose settings are carried to KubeVirt."""
    one = kubevirt(topology="tiny")
    shared = os.environ.get("BIGVM_SHARED", "")
    one.hyperconverged(os.path.join(shared, "crds", "kubevirt-1.9-hco-1.19") if shared else None)
    return one


def migrations(c):
    """What is in force for migrations."""
    return Steps(c).kubevirt()["spec"]["configuration"]["migrations"]


def left(c):
    """All that a maintenance must put back."""
    found = {key: value for key, value in c._seen().items() if key not in ("vmims", "vmis")}
    for vmi in c.api.list("/apis/kubevirt.io/v1/virtualmachineinstances").items:
        meta = vmi["metadata"]
        marks = {key for key in meta.get("annotations") or {} if not key.startswith("kubevirt.io/")}  # the rest is KubeVirt's own
        found[meta["name"]] = (meta["uid"], meta["labels"], marks, vmi["spec"])
    return found


def plan_of(run):
    assert run.rc == 2 and "is not approved" in run.said, run.output
    return run.records[-1]["facts"]["plan"]["id"]


def succeeded(c, name, times):
    """Each of a guest's VMIMs, oldest first; all of them have Succeeded."""
    found = sorted((item for item in vmims(c) if item["spec"]["vmiName"] == name), key=lambda item: item["metadata"]["creationTimestamp"])
    assert [item["status"]["phase"] for item in found] == ["Succeeded"] * times
    return [item["status"]["migrationState"] for item in found]


def test_a_node_is_emptied_worked_on_and_filled_again(c, operator, tmp_path):
    (tmp_path / "look.yml").write_text(LOOK, encoding="utf-8")
    before, placed = left(c), vmis(c)
    assert migrations(c)["completionTimeoutPerGiB"] == 20  # HyperConverged's default has arrived
    given = dict(ASKED, live_migration_connection=c.connection, maintenance_tasks="look.yml", kept_in=str(tmp_path / "seen.json"))
    plan = plan_of(operator.run("node_maintenance", **given))
    assert left(c) == before and vmims(c) == []

    run = operator.run("node_maintenance", maintenance_approve=plan, **given)
    assert run.rc == 0, run.output
    guests, found, kubevirt, policies = json.loads((tmp_path / "seen.json").read_text(encoding="utf-8"))
    assert {item["status"]["nodeName"] for item in guests["items"]} == {"node-b"} and found["spec"]["unschedulable"]
    assert kubevirt["spec"]["configuration"]["migrations"]["parallelOutboundMigrationsPerNode"] == 1
    assert kubevirt["spec"]["configuration"]["migrations"]["completionTimeoutPerGiB"] == 777
    held = {item["metadata"]["name"] for item in policies["items"]}
    assert held and all(name.startswith("bigvm-") for name in held)

    assert vmis(c) == placed and left(c) == before
    nothing_left(c, "node-a")
    for name in ("vm-1", "vm-2"):
        for state, way in zip(succeeded(c, name, 2), ("node-b", "node-a")):
            assert state["completed"] and state["targetNode"] == way and state["migrationPolicyName"] in held
            assert state["migrationConfiguration"]["completionTimeoutPerGiB"] == 777
            assert state["migrationConfiguration"]["bandwidthPerMigration"] == "512Mi"
    record = run.records[-1]
    jsonschema.validate(record, SCHEMA)
    assert record["result"] == "ok" and [entry["outcome"] for entry in record["migrations"]] == ["moved"] * 4


def test_a_run_killed_in_mid_wave_is_ended_by_the_next(c, operator, tmp_path):
    """Its VMIM is followed, not made again; what it held is put back by the second run."""
    steps, before, placed = Steps(c), left(c), vmis(c)
    given = dict(ASKED, live_migration_connection=c.connection, maintenance_return=False)
    given.update(maintenance_approve=plan_of(operator.run("node_maintenance", **given)))
    c.api.patch("/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances/vm-1", {"metadata": {"annotations": {
        "lab.bigvm.io/copy-seconds": "25"}}})
    process = operator.start("node_maintenance", **given)
    for line in process.stdout:
        if "default/vm-1  copy" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    process.stdout.close()
    assert left_over(tmp_path) == []
    copying = [item["metadata"]["uid"] for item in vmims(c) if item["status"]["phase"] == "Running"]
    assert len(copying) == 1 and "live-migration.bigvm.io/maintenance" in node(c, "node-a")["metadata"]["annotations"]
    assert migrations(c)["parallelOutboundMigrationsPerNode"] == 1

    journal = json.loads(node(c, "node-a")["metadata"]["annotations"]["live-migration.bigvm.io/maintenance"])
    given.update(maintenance_take_over=journal["run"])
    shown = operator.run("node_maintenance", **given)
    for _again in range(2):  # the plan is another one when the first guest is on its way, and again when it has arrived
        if shown.rc:
            shown = operator.run("node_maintenance", **dict(given, maintenance_approve=plan_of(shown)))
    assert shown.rc == 0, shown.output
    assert {name: uid for name, (uid, dummy) in vmis(c).items()} == {name: uid for name, (uid, dummy) in placed.items()}
    assert {place for dummy, place in vmis(c).values()} == {"node-b"}
    nothing_left(c, "node-a")
    first = [item for item in vmims(c) if item["spec"]["vmiName"] == "vm-1"]
    assert [item["metadata"]["uid"] for item in first] == copying, "the copy that was under way is the one that counts"
    assert len(succeeded(c, "vm-1", 1) + succeeded(c, "vm-2", 1)) == 2
    after = left(c)
    assert {key: after[key] for key in ("nodes", "policies", "kubevirt")} == {key: before[key] for key in ("nodes", "policies", "kubevirt")}
    assert steps.migration(first[0]["metadata"]["name"])["status"]["migrationState"]["migrationPolicyName"].startswith("bigvm-")
