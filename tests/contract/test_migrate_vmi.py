# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""migrate_vmi against the embedded cluster: what it does, what it refuses, and how it ends."""

from __future__ import annotations

import os

import pytest
from migrate_steps import (
    VM1,
    VM2,
    create_vmim,
    created,
    node_of,
    run,
    sabotage,
    settings,
    slow,
    vmi_path,
    vmims,
    wait_for_phase,
)

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp, to_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import migration

# -- the desired place -----------------------------------------------------------------------


@pytest.mark.parametrize("generation", ["1.6", "1.9"])
def test_a_vm_goes_to_its_target_and_stays_there(cluster, generation):
    c = cluster(topology="tiny", generation=generation)
    before = c.api.get(vmi_path("vm-1"))["metadata"]["uid"]
    done = run(c, target_node="node-b", run="run-7", **VM1)
    row = done.rows["vm-1"]
    assert not done.failed and done.result["changed"] is True
    assert (row["outcome"], row["source_node"], row["target_node"], row["node"]) == ("moved", "node-a", "node-b", "node-b")
    assert row["uid"] == before and row["mode"] == "PreCopy" and row["adopted"] is False and row["cause"] is None
    assert row["seconds"]["total"] == sum(row["seconds"][part] for part in ("queue", "prepare", "copy"))
    assert from_timestamp(row["ended"]) - from_timestamp(row["started"]) == row["seconds"]["total"]
    made = vmims(c)[0]
    assert made["metadata"]["name"] == row["vmim"] and row["vmim"].startswith("bigvm-vm-1-")
    assert made["metadata"]["labels"][migration.RUN_LABEL] == "run-7"

    again = run(c, target_node="node-b", **VM1)
    assert again.result["changed"] is False
    assert again.outcomes() == {"vm-1": "already_there"}
    assert len(created(c)) == 1
    assert not c.requests("PUT")  # never the subresource


def test_labels_of_nodes_are_a_place_too(cluster):
    c = cluster(topology="queue")
    c.api.patch("/api/v1/nodes/node-c", {"metadata": {"labels": {"rack": "two"}}})
    assert run(c, name="vm-01", namespace="default", target_node_selector={"rack": "two"}).rows["vm-01"]["node"] == "node-c"
    again = run(c, name="vm-01", namespace="default", target_node_selector={"rack": "two"})
    assert again.result["changed"] is False
    none = run(c, name="vm-01", namespace="default", target_node_selector={"rack": "nine"})
    assert "no other usable node has the labels" in none.message
    assert len(created(c)) == 1


def test_an_empty_list_is_nothing_to_do(shared):
    c = shared(topology="tiny")
    done = run(c, vms=[], away_from=["node-a"])
    assert done.result == {"changed": False, "migrations": []}


def test_entries_of_a_plan_are_taken_as_they_are(cluster):
    c = cluster(topology="tiny")
    done = run(c, vms=[dict(VM1, target_node="node-b", memory_bytes=1, target_choices=["node-b"])], away_from=["node-a"])
    assert done.outcomes() == {"vm-1": "moved"}


# -- side by side -----------------------------------------------------------------------------


def most_at_once(cluster):
    """The largest number of VMIMs that were under way at one time, from their own records."""
    moments = []
    for vmim in vmims(cluster):
        found = migration.transitions(vmim)
        moments += [(from_timestamp(found[""]), 1), (from_timestamp(found["Succeeded"]), -1)]
    now = most = 0
    for _at, change in sorted(moments):
        now += change
        most = max(most, now)
    return most


def test_twenty_go_side_by_side_within_the_limits(cluster):
    c = cluster(topology="queue")
    done = run(c, vms=[{"name": "vm-%02d" % number, "namespace": "default"} for number in range(1, 21)], away_from=["node-a"])
    assert set(done.outcomes().values()) == {"moved"}
    assert len(created(c)) == 20
    assert most_at_once(c) > 10
    assert len([row for row in c.requests("GET", "virtualmachineinstances") if "watch=true" in row["query"]]) == 1


def test_max_parallel_holds(cluster):
    c = cluster(topology="queue")
    done = run(c, vms=[{"name": "vm-%02d" % number, "namespace": "default"} for number in range(1, 8)], away_from=["node-a"],
               max_parallel=3)
    assert set(done.outcomes().values()) == {"moved"}
    assert most_at_once(c) == 3


def test_one_out_of_a_node_where_the_cluster_allows_no_more(cluster):
    c = cluster(topology="tiny")  # 1.9 installs with one outbound migration for each node
    done = run(c, vms=[VM1, VM2], away_from=["node-a"])
    assert done.outcomes() == {"vm-1": "moved", "vm-2": "moved"}
    assert most_at_once(c) == 1


# -- refused before anything is created -----------------------------------------------------------


BIG = {"name": "hana-prod", "namespace": "sap-prod"}
SMALL = {"name": "app-pas", "namespace": "sap-prod"}
REFUSED = {
    "unknown VM": (dict(name="nobody", namespace="sap-prod", away_from=["hana-a"]),
                   "VM sap-prod/nobody cannot be migrated: there is no such VM"),
    "unknown target": (dict(SMALL, target_node="worker-9"), "node worker-9 does not exist. Nothing was created. The nodes are hana-a,"),
    "unknown node to leave": (dict(SMALL, away_from=["worker-9"]), "node worker-9 does not exist"),
    "no place": (dict(SMALL), "It is not said where VM sap-prod/app-pas should be"),
    "there and not there": (dict(SMALL, target_node="hana-b", away_from=["hana-b"]), "should go to hana-b and be away from it"),
    "node and labels": (dict(vms=[dict(SMALL, target_node="hana-b")], target_node_selector={"a": "b"}), "has both"),
    "twice": (dict(vms=[SMALL, SMALL], away_from=["hana-a"]), "is named twice"),
    "no namespace": (dict(vms=[{"name": "app-pas"}], away_from=["hana-a"]), "lacks name or namespace"),
    "a big guest without a limit": (dict(BIG, away_from=["hana-a"]), "it has 3 TiB and KubeVirt grants it 18 h 20 min"),
    "a time that is none": (dict(SMALL, away_from=["hana-a"], timeout="soon"), "timeout: 'soon' is not a duration"),
    "no time": (dict(SMALL, away_from=["hana-a"], queue_timeout="0"), "queue_timeout is 0"),
    "a deadline without offset": (dict(SMALL, away_from=["hana-a"], deadline="2030-01-01T00:00:00"), "with its offset"),
    "a deadline that has passed": (dict(SMALL, away_from=["hana-a"], deadline="2020-01-01T00:00:00Z"), "has passed"),
    "no parallel": (dict(SMALL, away_from=["hana-a"], max_parallel=0), "max_parallel is 0"),
    "a run id that is no label": (dict(SMALL, away_from=["hana-a"], run="a b"), "cannot be a label"),
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_refused_with_a_reason(shared, what):
    c = shared(topology="default")
    given, words = REFUSED[what]
    done = run(c, **given)
    assert done.failed and words in done.message, done.message
    assert done.result.get("changed", False) is False and "migrations" not in done.result
    assert not created(c)


def test_one_bad_vm_keeps_all_from_starting_and_all_problems_are_named(shared):
    c = shared(topology="default")
    done = run(c, vms=[SMALL, BIG, {"name": "nobody", "namespace": "sap-prod"}], away_from=["hana-a"])
    assert "sap-prod/hana-prod" in done.message and "sap-prod/nobody" in done.message and "app-pas" not in done.message
    assert not created(c)


@pytest.mark.parametrize("how", ["cordoned", "not ready", "not schedulable"])
def test_a_target_that_takes_nothing(cluster, how):
    c = cluster(topology="tiny")
    if how == "cordoned":
        c.api.patch("/api/v1/nodes/node-b", {"spec": {"unschedulable": True}})
    elif how == "not ready":
        condition = {"type": "Ready", "status": "False", "reason": "KubeletNotReady"}
        c.api.patch("/api/v1/nodes/node-b/status", {"status": {"conditions": [condition]}})
    else:
        c.api.patch("/api/v1/nodes/node-b", {"metadata": {"labels": {"kubevirt.io/schedulable": "false"}}})
    done = run(c, target_node="node-b", **VM1)
    assert "its target node node-b is" in done.message
    assert not created(c)


def test_a_stopped_vm(cluster):
    c = cluster(topology="tiny")
    c.api.patch(path_of("kubevirt.io/v1", "virtualmachines", "default", "vm-1"), {"spec": {"runStrategy": "Halted"}})
    c.wait(120)
    done = run(c, away_from=["node-a"], **VM1)
    assert "it is not running (Stopped)" in done.message
    assert not created(c)


def test_a_vm_that_cannot_move_live_is_refused_by_the_dry_run(cluster):
    c = cluster(topology="blocked")
    done = run(c, vms=[{"name": "app-1", "namespace": "sap-prod"}, {"name": "app-local", "namespace": "sap-prod"}], away_from=["node-a"])
    assert "VM sap-prod/app-local cannot be migrated: a volume cannot be used from two nodes" in done.message
    assert done.result["causes"][0]["code"] == "not_shared"
    assert not created(c)


def test_where_kubevirt_takes_no_target(cluster, shared_folder):
    c = cluster(topology="tiny", generation="1.6", crds=os.path.join(shared_folder, "crds", "kubevirt-1.3-hco-1.13"))
    done = run(c, target_node="node-b", **VM1)
    assert "its API drops addedNodeSelector" in done.message
    assert not created(c)
    assert run(c, away_from=["node-a"], **VM1).outcomes() == {"vm-1": "moved"}


def test_no_limit_above_zero(cluster):
    c = cluster(topology="tiny")
    settings(c, parallelMigrationsPerCluster=0)
    assert "no migration would ever start" in run(c, away_from=["node-a"], **VM1).message


def test_a_cluster_without_kubevirt(cluster):
    c = cluster(topology="tiny", bare=True)
    done = run(c, away_from=["node-a"], **VM1)
    assert done.failed and not created(c)


# -- rights --------------------------------------------------------------------------------------------


READ = [{"verbs": ["get", "list", "watch"], "resources": ["*"], "namespaces": []}]


def test_no_right_to_create_names_the_role(cluster):
    c = cluster(topology="tiny")
    done = run(c, api=c.client(api_key=c.token(READ)), target_node="node-b", **VM1)
    assert "Not allowed to create" in done.message and "kubevirt.io:migrate" in done.message
    assert not vmims(c)


def test_no_right_to_read_says_what(cluster):
    c = cluster(topology="tiny")
    done = run(c, api=c.client(api_key=c.token([])), target_node="node-b", **VM1)
    assert "Not allowed to read" in done.message


def test_rights_in_one_namespace_are_enough_beside_nodes_and_kubevirt(cluster):
    c = cluster(topology="tiny")
    rules = [
        {"verbs": ["list"], "resources": ["nodes", "kubevirts.kubevirt.io"], "namespaces": []},
        {"verbs": ["*"], "resources": ["virtualmachineinstances.kubevirt.io", "virtualmachineinstancemigrations.kubevirt.io"],
         "namespaces": ["default"]},
    ]
    done = run(c, api=c.client(api_key=c.token(rules)), target_node="node-b", **VM1)
    assert done.outcomes() == {"vm-1": "moved"}


# -- check mode ----------------------------------------------------------------------------------------


def test_check_mode_says_what_would_happen_and_creates_nothing(cluster):
    c = cluster(topology="tiny")
    create_vmim(c, "vm-2", selector={migration.HOSTNAME: "node-b"})
    done = run(c, check_mode=True, vms=[VM1, VM2], target_node="node-b")
    assert done.outcomes() == {"vm-1": "would_move", "vm-2": "would_follow"}
    assert done.result["changed"] is True
    assert run(c, check_mode=True, state="aborted", **VM2).outcomes() == {"vm-2": "would_abort"}
    assert len(vmims(c)) == 1 and not vmims(c)[0]["metadata"].get("deletionTimestamp")
    assert node_of(c, "vm-1") == "node-a"


# -- migrations that are under way ------------------------------------------------------------------------


def test_an_unfinished_one_of_ours_is_adopted(cluster):
    c = cluster(topology="tiny")
    mine = create_vmim(c, "vm-1", ours=True, selector={migration.HOSTNAME: "node-b"})
    done = run(c, target_node="node-b", **VM1)
    row = done.rows["vm-1"]
    assert (row["outcome"], row["adopted"], row["vmim"]) == ("moved", True, mine["metadata"]["name"])
    assert len(vmims(c)) == 1


def test_a_foreign_one_that_fits_is_followed(cluster):
    c = cluster(topology="tiny")
    theirs = create_vmim(c, "vm-1")
    done = run(c, away_from=["node-a"], **VM1)
    assert done.rows["vm-1"]["vmim"] == theirs["metadata"]["name"]
    assert done.outcomes() == {"vm-1": "moved"}


def test_a_foreign_one_that_does_not_fit_is_named(cluster):
    c = cluster(topology="tiny")
    theirs = create_vmim(c, "vm-1")
    done = run(c, target_node="node-b", **VM1)
    assert "somebody else is migrating it already (%s, phase" % theirs["metadata"]["name"] in done.message
    assert "state=aborted" in done.message


class Killed(BaseException):
    """Stands for SIGTERM and SIGINT, which no rescue sees either."""


def test_a_killed_run_cancels_nothing_and_the_next_one_goes_on(cluster):
    c = cluster(topology="tiny")
    sabotage(c, "vm-1", None, dirty_rate="600M", working_set="2Gi")

    def die(_line):
        raise Killed

    with pytest.raises(Killed):
        run(c, say=die, target_node="node-b", progress_interval=5, **VM1)
    assert migration.phase(vmims(c)[0]) not in migration.FINAL
    done = run(c, target_node="node-b", **VM1)
    assert done.rows["vm-1"]["adopted"] is True and done.outcomes() == {"vm-1": "moved"}
    assert len(vmims(c)) == 1


def test_followed_takes_up_ours_and_starts_nothing(cluster):
    c = cluster(topology="queue")
    create_vmim(c, "vm-01", ours=True, run_id="night-1")
    create_vmim(c, "vm-02", ours=True, run_id="night-2")
    create_vmim(c, "vm-03")
    assert run(c, state="followed", run="night-1").outcomes() == {"vm-01": "moved"}
    assert set(run(c, state="followed").outcomes()) <= {"vm-02"}
    assert run(c, state="followed").result == {"changed": False, "migrations": []}
    assert run(c, state="followed", name="vm-04", namespace="default").outcomes() == {"vm-04": "nothing_under_way"}
    assert len(created(c)) == 3


# -- cancelling ---------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(("phase", "generation"), [
    ("Pending", "1.9"), ("Scheduling", "1.9"), ("Running", "1.9"), ("Running", "1.6"),
])
def test_aborted_cancels_and_sees_it_through(cluster, phase, generation):
    c = cluster(topology="tiny", generation=generation)
    sabotage(c, "vm-1", None, dirty_rate="900M", working_set="3Gi")
    wait_for_phase(c, create_vmim(c, "vm-1"), phase)
    done = run(c, state="aborted", **VM1)
    assert not done.failed, done.message
    assert done.outcomes() == {"vm-1": "aborted"} and done.result["changed"] is True
    assert not [vmim for vmim in vmims(c) if migration.phase(vmim) not in migration.FINAL]
    assert node_of(c, "vm-1") == "node-a"
    assert run(c, state="aborted", **VM1).result["changed"] is False


def test_aborting_needs_no_other_rights(cluster):
    c = cluster(topology="tiny")
    sabotage(c, "vm-1", "never-converges")
    wait_for_phase(c, create_vmim(c, "vm-1"), "Running")
    rules = [{"verbs": ["*"], "resources": ["virtualmachineinstances.kubevirt.io", "virtualmachineinstancemigrations.kubevirt.io"],
              "namespaces": ["default"]}]
    assert run(c, api=c.client(api_key=c.token(rules)), state="aborted", **VM1).outcomes() == {"vm-1": "aborted"}


def test_nothing_to_abort(shared):
    c = shared(topology="tiny")
    assert run(c, state="aborted", **VM1).outcomes() == {"vm-1": "nothing_under_way"}
    assert "there is no such VM" in run(c, state="aborted", name="nobody", namespace="default").message


def evict(c, name):
    names = [pod["metadata"]["name"] for pod in c.api.list("/api/v1/namespaces/default/pods").items]
    pod = next(pod for pod in names if pod.startswith("virt-launcher-%s-" % name))
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": "default"}}
    assert c.http("POST", "/api/v1/namespaces/default/pods/%s/eviction" % pod, body)[0] == 429


@pytest.mark.parametrize(("generation", "word"), [("1.9", "cancelled"), ("1.6", "returns")])
def test_an_evacuation_is_cancelled_where_it_can_be(cluster, generation, word):
    c = cluster(topology="tiny", generation=generation)
    sabotage(c, "vm-1", "never-converges")
    evict(c, "vm-1")
    c.wait(30)
    assert c.api.get(vmi_path("vm-1"))["status"]["evacuationNodeName"] == "node-a"
    done = run(c, state="aborted", **VM1)
    row = done.rows["vm-1"]
    assert (row["outcome"], row["evacuation"]) == ("aborted", word)
    assert bool(done.warnings) is (word == "returns")
    c.wait(300)
    under_way = [vmim for vmim in vmims(c) if migration.phase(vmim) not in migration.FINAL]
    assert bool(under_way) is (word == "returns")


# -- time --------------------------------------------------------------------------------------------------


def test_its_time_is_over_and_it_is_cancelled_intact(cluster):
    c = cluster(topology="tiny")
    sabotage(c, "vm-1", "never-converges")
    uid = c.api.get(vmi_path("vm-1"))["metadata"]["uid"]
    done = run(c, target_node="node-b", timeout="60s", **VM1)
    row = done.rows["vm-1"]
    assert done.failed and row["outcome"] == "aborted" and row["cause"]["code"] == "timeout"
    assert (row["node"], row["uid"]) == ("node-a", uid)
    assert "VM default/vm-1 was not moved: its timeout of 1 min was over" in done.message
    assert "It runs on node-a as before." in done.message
    assert done.result["changed"] is True


def test_left_to_itself_if_so_wished(cluster):
    c = cluster(topology="tiny")
    sabotage(c, "vm-1", "never-converges")
    done = run(c, target_node="node-b", timeout="60s", on_timeout="leave", **VM1)
    assert done.failed and done.outcomes() == {"vm-1": "left"}
    assert "it goes on (on_timeout is leave)" in done.message
    assert migration.phase(vmims(c)[0]) == "Running"


def test_a_foreign_one_is_never_cancelled_by_time(cluster):
    c = cluster(topology="tiny")
    sabotage(c, "vm-1", "never-converges")
    create_vmim(c, "vm-1")
    done = run(c, away_from=["node-a"], timeout="60s", **VM1)
    assert done.outcomes() == {"vm-1": "left"} and "started by somebody else" in done.message
    assert not c.requests("DELETE")


def test_the_deadline_ends_what_runs_and_starts_no_more(cluster):
    c = cluster(topology="tiny")
    sabotage(c, "vm-1", "never-converges")
    deadline = to_timestamp(c.api.clock.now() + 90)
    done = run(c, vms=[VM1, VM2], away_from=["node-a"], deadline=deadline)
    assert done.outcomes() == {"vm-1": "aborted", "vm-2": "not_started"}
    assert done.rows["vm-1"]["cause"]["code"] == "deadline"
    assert c.api.clock.now() <= from_timestamp(deadline)


def test_kubevirt_gives_up_first_and_the_cause_is_told(cluster):
    c = cluster(topology="tiny")
    sabotage(c, "vm-1", "never-converges")
    done = run(c, target_node="node-b", **VM1)  # 5 GB at 20 s: 100 s
    row = done.rows["vm-1"]
    assert row["outcome"] == "failed" and row["cause"]["code"] == "not_converging"
    assert 100 <= row["seconds"]["copy"] <= 130


def test_foreign_migrations_that_keep_all_slots(cluster):
    c = cluster(topology="queue")
    settings(c, completionTimeoutPerGiB=1000, parallelOutboundMigrationsPerNode=1)
    sabotage(c, "vm-03", "never-converges")
    create_vmim(c, "vm-03")
    c.wait(20)
    vms = [{"name": name, "namespace": "default"} for name in ("vm-01", "vm-02")]
    done = run(c, vms=vms, away_from=["node-a"], queue_timeout="20s")
    assert done.outcomes() == {"vm-01": "queued_too_long", "vm-02": "not_started"}
    assert done.rows["vm-01"]["cause"]["code"] == "no_slot" and "(default/vm-03)" in done.message
    assert len(created(c)) == 1


def test_one_that_kubevirt_does_not_begin(cluster):
    c = cluster(topology="tiny")
    c.api.create("/api/v1/namespaces/default/resourcequotas", {
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"},
        "spec": {"hard": {"requests.memory": "1Gi", "limits.memory": "1Gi"}}})
    done = run(c, away_from=["node-a"], queue_timeout="5min", **VM1)
    row = done.rows["vm-1"]
    assert row["outcome"] == "queued_too_long" and row["seconds"]["prepare"] is None
    assert "it waited 5 min and KubeVirt did not begin" in done.message and "exceeded quota: small" in done.message
    assert not [vmim for vmim in vmims(c) if migration.phase(vmim) not in migration.FINAL]


# -- failures and their causes ---------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(("how", "code", "generation"), [
    ("target-pod-down", "target_down", "1.9"), ("unschedulable", "unschedulable", "1.9"), ("pod-stuck", "target_start", "1.9"),
    ("libvirt-error", "cpu_mismatch", "1.9"), ("link-stall", "stalled", "1.9"), ("link-stall", "stalled", "1.6"),
])
def test_each_failure_has_its_name(cluster, how, code, generation):
    c = cluster(topology="tiny", generation=generation)
    settings(c, completionTimeoutPerGiB=1000)
    slow(c, "node-a", "500M")
    sabotage(c, "vm-1", how)
    done = run(c, away_from=["node-a"], **VM1)
    row = done.rows["vm-1"]
    assert row["outcome"] == "failed"
    assert row["cause"]["code"] == code, row["cause"]
    assert row["cause"]["remedy"] in done.message
    assert node_of(c, "vm-1") == "node-a"


def test_a_vm_that_came_up_anew_is_a_failure(cluster):
    c = cluster(topology="tiny")
    before = c.api.get(vmi_path("vm-1"))["metadata"]["uid"]
    sabotage(c, "vm-1", "restart", dirty_rate="100M", working_set="1Gi")
    done = run(c, away_from=["node-a"], **VM1)
    assert done.outcomes() == {"vm-1": "restarted"}
    assert "VM RESTARTED" in done.message
    assert done.rows["vm-1"]["uid"] == before
    assert done.lines[-1].startswith("default/vm-1  VM RESTARTED")


def test_cancelled_by_somebody_else(cluster):
    c = cluster(topology="tiny")
    sabotage(c, "vm-1", "never-converges")

    def interfere(line):
        if "copy" in line and not vmims(c)[0]["metadata"].get("deletionTimestamp"):
            c.api.delete(path_of("kubevirt.io/v1", "virtualmachineinstancemigrations", "default", vmims(c)[0]["metadata"]["name"]))

    done = run(c, say=interfere, target_node="node-b", progress_interval=10, **VM1)
    assert done.outcomes() == {"vm-1": "failed"} and done.rows["vm-1"]["cause"]["code"] == "cancelled"


def test_one_of_many_fails_the_others_finish_no_more_start(cluster):
    c = cluster(topology="queue")
    sabotage(c, "vm-02", "libvirt-error")
    names = ["vm-%02d" % number for number in range(1, 7)]
    done = run(c, vms=[{"name": name, "namespace": "default"} for name in names], away_from=["node-a"], max_parallel=3)
    outcomes = done.outcomes()
    assert done.failed and outcomes["vm-02"] == "failed"
    assert {outcomes["vm-01"], outcomes["vm-03"]} == {"moved"}
    assert "not_started" in (outcomes["vm-05"], outcomes["vm-06"])
    assert set(outcomes.values()) == {"moved", "failed", "not_started"}
    assert "of 6 VMs did not end as asked." in done.message


def test_a_target_where_it_should_not_be_is_cancelled_before_the_copy(cluster):
    c = cluster(topology="tiny")
    slow(c, "node-a", "500M")
    done = run(c, away_from=["node-a", "node-b"], **VM1)
    row = done.rows["vm-1"]
    assert row["outcome"] == "aborted" and row["cause"]["code"] == "wrong_target"
    assert row["node"] == "node-a" and "It runs on node-a as before" in done.message


def test_a_wrong_target_is_a_failure_even_if_the_cancel_comes_too_late(cluster):
    c = cluster(topology="tiny")
    sabotage(c, "vm-1", None, dirty_rate="0")
    done = run(c, away_from=["node-a", "node-b"], **VM1)
    row = done.rows["vm-1"]
    assert row["outcome"] == "failed" and row["cause"]["code"] == "wrong_target"
    assert row["node"] == "node-b" and "as before" not in done.message
