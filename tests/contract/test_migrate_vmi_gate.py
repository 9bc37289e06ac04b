# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""migrate_vmi: is it the migration that was planned; post-copy and pauses; when nothing more is started."""

from __future__ import annotations

import json

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

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import brakes, lease
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp, to_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import critical, migration

GENERATIONS = pytest.mark.parametrize("generation", ["1.6", "1.9"])
POLICIES = "/apis/migrations.kubevirt.io/v1alpha1/migrationpolicies"
HOLD = "live-migration.bigvm.io/hold"
FROM_A = dict(VM1, away_from=["node-a"])


def policy(c, name="ours", **spec):
    """A policy for vm-1 alone; returns what migrate_vmi is to expect."""
    c.api.patch(vmi_path("vm-1"), {"metadata": {"labels": {HOLD: "x"}}})
    c.api.create(POLICIES, {
        "apiVersion": "migrations.kubevirt.io/v1alpha1", "kind": "MigrationPolicy", "metadata": {"name": name},
        "spec": dict(spec, selectors={"virtualMachineInstanceSelector": {HOLD: "x"}})})
    return [{"namespace": "default", "name": "vm-1", "policy": name, "configuration": spec}]


def script(c, *entries):
    c.api.create("/bigvm/v1/script", list(entries))


def at_phase(phase, *deeds):
    """What happens when a VMIM gets there."""
    return {"when": {"resource": "virtualmachineinstancemigrations.kubevirt.io", "path": "status.phase", "equals": phase},
            "do": list(deeds)}


def is_critical(c):
    c.api.patch(vmi_path("vm-1"), {"metadata": {"labels": {critical.LABEL: "true"}}})


def hot(c, link="2G"):
    """vm-1 dirties more than its link carries; 50 s are granted."""
    sabotage(c, "vm-1", None, dirty_rate="3G", working_set="3Gi")
    slow(c, "node-a", link)


def vmi(c, name="vm-1"):
    return c.api.get(vmi_path(name))


# -- at handoff -------------------------------------------------------------------------------


@GENERATIONS
def test_a_policy_that_is_gone_at_handoff_cancels_before_anything_is_copied(cluster, generation):
    c = cluster(topology="tiny", generation=generation)
    expected = policy(c, bandwidthPerMigration="100Mi", completionTimeoutPerGiB=500)
    slow(c, "node-a", "500M")
    uid = vmi(c)["metadata"]["uid"]
    script(c, at_phase("Scheduling", {"delete": {"resource": "migrationpolicies.migrations.kubevirt.io", "name": "ours"}}))
    done = run(c, vms=[VM1, VM2], away_from=["node-a"], expected=expected, max_parallel=1)
    row = done.rows["vm-1"]
    assert done.failed and row["outcome"] == "aborted" and row["cause"]["code"] == "not_as_planned"
    assert "its policy is none instead of ours" in done.message and "bandwidthPerMigration is 0 instead of 100Mi" in done.message
    assert (row["node"], row["uid"]) == ("node-a", uid) and "It runs on node-a as before." in done.message
    assert (row["seconds"]["copy"] or 0) <= 10 and done.rows["vm-2"]["outcome"] == "not_started"


def theirs(**spec):
    """Somebody creates a policy that wins for vm-1."""
    return {"create": {"apiVersion": "migrations.kubevirt.io/v1alpha1", "kind": "MigrationPolicy", "metadata": {"name": "theirs"},
                       "spec": dict(spec, selectors={"virtualMachineInstanceSelector": {HOLD: "x"}})}}


def test_what_was_in_force_at_the_start_is_expected_when_nothing_is_said(cluster):
    c = cluster(topology="tiny")
    slow(c, "node-a", "500M")
    c.api.patch(vmi_path("vm-1"), {"metadata": {"labels": {HOLD: "x"}}})
    script(c, at_phase("Pending", theirs(bandwidthPerMigration="64Mi")))
    done = run(c, **FROM_A)
    assert done.outcomes() == {"vm-1": "aborted"}
    assert "its policy is theirs instead of none; bandwidthPerMigration is 64Mi instead of 0" in done.message


@GENERATIONS
def test_as_planned_goes_through_whatever_the_values_are_written_like(cluster, generation):
    c = cluster(topology="tiny", generation=generation)
    expected = policy(c, bandwidthPerMigration="1Gi", allowAutoConverge=False)
    expected[0]["configuration"] = {"bandwidthPerMigration": "1024Mi", "allowAutoConverge": False, "allowPostCopy": False}
    done = run(c, expected=expected, **FROM_A)
    row = done.rows["vm-1"]
    assert row["outcome"] == "moved" and row["policy"] == "ours" and not done.warnings, done.message
    assert row["paused_seconds"] == 0 and row["critical"] is False and row["target_address"]


def test_what_is_not_in_force_as_expected_is_refused_before_anything_is_created(shared):
    c = shared(topology="tiny")
    expect = {"policy": "ours", "configuration": {"completionTimeoutPerGiB": 800}}
    done = run(c, vms=[dict(VM1, expect=expect)], away_from=["node-a"])
    assert "now not all is as planned: its policy is none instead of ours; completionTimeoutPerGiB is 20 instead of 800" in done.message
    assert not created(c)
    assert run(c, expected=[dict(VM1, policy=7)], **FROM_A).message.startswith("What is expected of VM default/vm-1 is not understood")


@pytest.mark.parametrize("ours", [True, False])
def test_an_adopted_one_is_compared_once(cluster, ours):
    c = cluster(topology="tiny")
    slow(c, "node-a", "500M")
    wait_for_phase(c, create_vmim(c, "vm-1", ours=ours), "Running")
    done = run(c, expected=[dict(VM1, policy="ours")], **FROM_A)
    assert done.rows["vm-1"]["adopted"] is True
    if ours:
        assert done.outcomes() == {"vm-1": "aborted"} and done.rows["vm-1"]["cause"]["code"] == "not_as_planned"
    else:  # never cancelled
        assert done.outcomes() == {"vm-1": "moved"} and not c.requests("DELETE", "migrations/")
        assert len(done.warnings) == 1 and "goes on although at handoff not all is as planned" in done.warnings[0]


def test_settings_that_changed_since_an_adopted_one_began_are_no_reason_to_cancel(cluster):
    c = cluster(topology="tiny")
    settings(c, completionTimeoutPerGiB=1000)
    slow(c, "node-a", "200M")
    wait_for_phase(c, create_vmim(c, "vm-1", ours=True), "Running")
    settings(c, bandwidthPerMigration="64Mi")
    done = run(c, timeout="2h", **FROM_A)
    assert done.outcomes() == {"vm-1": "moved"} and "bandwidthPerMigration is 0 instead of 64Mi" in done.warnings[0]


# -- the migration network --------------------------------------------------------------------


def networked(c):
    """A cluster with a migration network, virt-handler on it everywhere."""
    c.api.create(path_of("k8s.cni.cncf.io/v1", "network-attachment-definitions", "openshift-cnv"), {
        "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "migration-net", "namespace": "openshift-cnv"}, "spec": {"config": "{}"}})
    settings(c, network="migration-net")
    c.wait(120)
    return c


def handler(c, node):
    pods = c.api.list("/api/v1/namespaces/openshift-cnv/pods", labelSelector="kubevirt.io=virt-handler").items
    return next(pod for pod in pods if pod["spec"]["nodeName"] == node)


def detach(c, node):
    name = handler(c, node)["metadata"]["name"]
    return {"patch": {"resource": "pods", "namespace": "openshift-cnv", "name": name, "merge": {
        "metadata": {"annotations": {"k8s.v1.cni.cncf.io/network-status": "[]"}}}}}


@GENERATIONS
def test_a_target_that_lost_the_migration_network_is_cancelled(cluster, generation):
    c = networked(cluster(topology="tiny", generation=generation))
    slow(c, "node-a", "500M")
    script(c, at_phase("Scheduled", detach(c, "node-b")))
    done = run(c, **FROM_A)
    row = done.rows["vm-1"]
    assert row["outcome"] == "aborted" and row["cause"]["code"] == "wrong_network", done.message
    assert "not in the migration network migration-net (virt-handler on node-b has no address there)" in done.message
    assert row["node"] == "node-a" and (row["seconds"]["copy"] or 0) <= 10
    named = run(c, target_node="node-b", **VM1)
    assert "its target node node-b has no address in the migration network migration-net" in named.message
    assert len(created(c)) == 1


def test_over_the_migration_network_all_is_well_also_with_a_new_address(cluster):
    c = networked(cluster(topology="tiny"))
    old = handler(c, "node-b")
    said = json.dumps([{"name": "openshift-cnv/migration-net", "interface": "migration0", "ips": ["192.168.99.7"]}])
    script(c, at_phase("Scheduling", {"patch": {
        "resource": "pods", "namespace": "openshift-cnv", "name": old["metadata"]["name"], "merge": {
            "metadata": {"annotations": {"k8s.v1.cni.cncf.io/network-status": said}}}}}))
    done = run(c, **FROM_A)
    assert done.outcomes() == {"vm-1": "moved"} and not done.warnings
    assert done.rows["vm-1"]["target_address"] == "192.168.99.7"


def test_without_the_right_to_see_virt_handler_it_says_what_cannot_be_checked(cluster):
    c = networked(cluster(topology="tiny"))
    rules = [{"verbs": ["*"], "namespaces": [], "resources": [
        "nodes", "kubevirts.kubevirt.io", "virtualmachineinstances.kubevirt.io", "virtualmachineinstancemigrations.kubevirt.io"]}]
    done = run(c, api=c.client(api_key=c.token(rules)), **FROM_A)
    assert done.outcomes() == {"vm-1": "moved"} and len(done.warnings) == 2
    assert "Which settings the migrations will run with cannot be told" in done.warnings[0]
    assert "migration network migration-net cannot be checked" in done.warnings[1]


# -- post-copy and pauses -------------------------------------------------------------------------


def risky(c, generation, **more):
    """The settings in force allow post-copy, as each generation understands it (facts 4.9, 10.5)."""
    disruption = {} if generation == "1.6" else {"allowWorkloadDisruption": True}
    settings(c, allowPostCopy=True, completionTimeoutPerGiB=10, **dict(disruption, **more))


@GENERATIONS
def test_post_copy_for_a_critical_guest_is_refused_unless_named(cluster, generation):
    c = cluster(topology="tiny", generation=generation)
    risky(c, generation)
    assert run(c, check_mode=True, **FROM_A).outcomes() == {"vm-1": "would_move"}  # not critical
    named = run(c, critical=["default/vm-1"], **FROM_A)
    is_critical(c)
    labelled = run(c, **FROM_A)
    for done in (named, labelled):
        assert "post-copy is in force for it, and it is a critical guest" in done.message and "acknowledge: [post_copy]" in done.message
        assert "Nothing was created." in done.message
    assert not created(c)
    held = run(c, check_mode=True, settings={"bandwidth_per_migration": "0"}, **FROM_A)
    assert held.outcomes() == {"vm-1": "would_move"}  # a hold keeps post-copy off
    hot(c)
    taken = run(c, acknowledge=["post_copy"], **FROM_A)
    row = taken.rows["vm-1"]
    assert (row["outcome"], row["mode"], row["critical"]) == ("moved", "PostCopy", True), taken.message
    assert "default/vm-1  IN POST-COPY: lost if a node or the link fails" in taken.lines
    assert len(taken.warnings) == 1 and "nobody had acknowledged" not in taken.warnings[0]


def test_allowed_post_copy_that_is_never_reached_is_no_danger(cluster):
    c = cluster(topology="tiny")  # 1.9: HyperConverged sends allowWorkloadDisruption: false
    settings(c, allowPostCopy=True, completionTimeoutPerGiB=10)
    is_critical(c)
    hot(c)
    done = run(c, **FROM_A)
    row = done.rows["vm-1"]
    assert (row["outcome"], row["mode"], row["cause"]["code"]) == ("failed", "PreCopy", "not_converging")
    assert row["node"] == "node-a"


@GENERATIONS
def test_post_copy_that_turns_up_is_said_at_once_and_followed_to_its_end(cluster, generation):
    c = cluster(topology="tiny", generation=generation)
    risky(c, generation)
    hot(c, "500M")
    said = []
    done = run(c, say=lambda line: said.append((c.api.clock.now(), line)), **FROM_A)
    row = done.rows["vm-1"]
    assert (row["outcome"], row["mode"]) == ("moved", "PostCopy") and not c.requests("DELETE", "migrations/")
    loud = [at for at, line in said if "IN POST-COPY" in line]
    copying = from_timestamp(row["ended"]) - row["seconds"]["copy"]
    assert len(loud) == 1 and 48 <= loud[0] - copying <= 56
    assert "can no longer be cancelled; nobody had acknowledged that" in done.warnings[0]


def test_post_copy_is_past_every_limit(cluster):
    c = cluster(topology="tiny")
    risky(c, "1.9")
    hot(c, "100M")
    done = run(c, timeout="90s", **FROM_A)
    assert done.outcomes() == {"vm-1": "left"} and "in post-copy it can no longer be cancelled" in done.message
    assert not c.requests("DELETE", "migrations/")
    aborted = run(c, state="aborted", **VM1)
    assert aborted.rows["vm-1"]["cause"]["code"] == "post_copy"


@GENERATIONS
def test_a_pause_for_a_critical_guest_needs_its_name_and_a_limit(cluster, generation):
    c = cluster(topology="tiny", generation=generation)
    policy(c, allowWorkloadDisruption=True, completionTimeoutPerGiB=10)
    is_critical(c)
    assert "acknowledge: [disruption] with max_pause" in run(c, **FROM_A).message
    assert "it is not said how long it may last" in run(c, acknowledge=["disruption"], **FROM_A).message
    assert "KubeVirt may pause it" in run(c, acknowledge=["post_copy"], **FROM_A).message
    assert not created(c)
    hot(c, "500M")
    uid = vmi(c)["metadata"]["uid"]
    done = run(c, acknowledge=["disruption"], max_pause="10s", **FROM_A)
    row = done.rows["vm-1"]
    assert (row["outcome"], row["cause"]["code"], row["mode"]) == ("aborted", "paused_too_long", "Paused"), done.message
    assert 10 <= row["paused_seconds"] <= 17
    after = vmi(c)
    assert after["metadata"]["uid"] == uid and after["status"]["nodeName"] == "node-a"
    assert migration.condition(after, "Paused").get("status") != "True"
    assert "its max_pause of 10 s was over" in done.message and "It runs on node-a as before." in done.message
    assert "default/vm-1  GUEST PAUSED by KubeVirt to end the copy" in done.lines


def test_a_pause_within_its_limit_ends_the_copy(cluster):
    c = cluster(topology="tiny")
    policy(c, allowWorkloadDisruption=True, completionTimeoutPerGiB=10)
    is_critical(c)
    hot(c, "3G")
    done = run(c, acknowledge=["disruption"], max_pause="5min", **FROM_A)
    row = done.rows["vm-1"]
    assert (row["outcome"], row["mode"]) == ("moved", "Paused") and 1 <= row["paused_seconds"] <= 50


@GENERATIONS
def test_a_pause_that_nobody_named_is_cancelled_at_once_also_for_small_guests(cluster, generation):
    c = cluster(topology="tiny", generation=generation)
    policy(c, allowWorkloadDisruption=True, completionTimeoutPerGiB=10)
    hot(c, "500M")
    done = run(c, **FROM_A)
    row = done.rows["vm-1"]
    assert (row["outcome"], row["cause"]["code"]) == ("aborted", "paused") and row["paused_seconds"] <= 6
    assert "default/vm-1  GUEST PAUSED by KubeVirt: cancelling" in done.lines
    assert "nobody had acknowledged that" in done.warnings[0] and row["node"] == "node-a"


def test_a_foreign_one_that_is_paused_is_told_and_left(cluster):
    c = cluster(topology="tiny")
    policy(c, allowWorkloadDisruption=True, completionTimeoutPerGiB=10)
    hot(c, "3G")
    create_vmim(c, "vm-1")
    done = run(c, **FROM_A)
    assert done.outcomes() == {"vm-1": "moved"} and "default/vm-1  GUEST PAUSED by KubeVirt to end the copy" in done.lines
    assert not c.requests("DELETE", "migrations/")


def test_a_danger_that_comes_up_before_the_handoff_is_cancelled_there(cluster):
    c = cluster(topology="tiny")
    is_critical(c)
    slow(c, "node-a", "500M")
    c.api.patch(vmi_path("vm-1"), {"metadata": {"labels": {HOLD: "x"}}})
    script(c, at_phase("Scheduling", theirs(allowPostCopy=True)))
    done = run(c, **FROM_A)
    assert done.outcomes() == {"vm-1": "aborted"} and done.rows["vm-1"]["cause"]["code"] == "dangerous"
    assert node_of(c, "vm-1") == "node-a"


# -- when nothing more is started ------------------------------------------------------------------


def test_time_is_kept_free_before_the_deadline(cluster):
    c = cluster(topology="tiny")
    sabotage(c, "vm-1", "never-converges")
    settings(c, completionTimeoutPerGiB=1000)
    deadline = c.api.clock.now() + 3600
    done = run(c, vms=[VM1, VM2], away_from=["node-a"], deadline=to_timestamp(deadline), reserve="50min")
    assert done.outcomes() == {"vm-1": "aborted", "vm-2": "not_started"}
    assert "the deadline less the 50 min that are kept free had come" in done.message
    assert deadline - 3000 <= c.api.clock.now() <= deadline - 3000 + 60


def test_what_may_last_longer_than_there_is_time_is_not_started(cluster):
    c = cluster(topology="tiny")
    slow(c, "node-a", "500M")  # more than a minute for the first
    limits = dict(vms=[VM1, VM2], away_from=["node-a"], deadline=to_timestamp(c.api.clock.now() + 3600), timeout="10min")
    done = run(c, reserve="49min", **limits)
    assert done.outcomes() == {"vm-1": "moved", "vm-2": "not_started"}
    assert done.rows["vm-2"]["cause"]["code"] == "no_time"
    assert done.message.startswith("Its copy may take 10 min, and ") and "not started was default/vm-2" in done.message
    assert run(c, check_mode=True, reserve="55min", **limits).rows["vm-2"]["outcome"] == "not_started"
    assert run(c, reserve="58min", **limits).rows["vm-2"]["cause"]["code"] in ("no_time", "deadline")
    assert len(created(c)) == 1


@pytest.mark.parametrize("how", ["file", "annotation"])
def test_a_soft_stop_ends_after_what_runs(cluster, how, tmp_path):
    c = cluster(topology="tiny")
    slow(c, "node-a", "500M")
    lease.acquire(c.api, "node-a", "night-1", "me", c.api.clock.now())
    stop = tmp_path / "stop"

    def ask(line):
        if "copy" in line and not stop.exists():
            if how == "annotation":
                c.api.patch("/api/v1/nodes/node-a", {"metadata": {"annotations": {brakes.STOP: "please"}}})
            stop.write_text("")

    given = {"stop_file": str(stop)} if how == "file" else {"lease": "node-a"}
    done = run(c, say=ask, vms=[VM1, VM2], away_from=["node-a"], progress_interval=10, run="night-1", **given)
    assert done.outcomes() == {"vm-1": "moved", "vm-2": "not_started"} and done.failed
    assert done.message.startswith("Stopped as asked (%s" % how) and "run again to go on" in done.message
    assert len(created(c)) == 1


def test_the_lease_is_renewed_while_it_works_and_never_more_often_than_needed(cluster):
    c = cluster(topology="tiny")
    sabotage(c, "vm-1", None, dirty_rate="0")
    slow(c, "node-a", "20M")
    settings(c, completionTimeoutPerGiB=10000)
    lease.acquire(c.api, "node-a", "night-1", "me", c.api.clock.now())
    begin = c.api.clock.now()
    done = run(c, lease="node-a", run="night-1", timeout="20h", **FROM_A)
    spent = c.api.clock.now() - begin
    writes = [row for row in c.requests("PATCH", "/leases/") if row["epoch"] > begin]
    assert done.outcomes() == {"vm-1": "moved"} and not done.warnings
    assert spent > 1200 and spent / 300 - 1 <= len(writes) <= spent / 240 + 1
    _found, state = lease.read(c.api, "node-a", c.api.clock.now())
    assert state.alive and state.run == "night-1"


def test_when_another_run_has_the_node_nothing_more_is_started(cluster):
    c = cluster(topology="tiny")
    sabotage(c, "vm-1", None, dirty_rate="0")
    slow(c, "node-a", "60M")  # ten minutes
    settings(c, completionTimeoutPerGiB=10000)
    lease.acquire(c.api, "node-a", "night-1", "me", c.api.clock.now())
    path, taken = lease.path_to(c.api, "node-a"), []

    def take(line):
        if not taken and "copy" in line:
            taken.append(c.api.patch(path, {"spec": {"holderIdentity": "night-2 somebody"}}))

    done = run(c, say=take, vms=[VM1, VM2], away_from=["node-a"], lease="node-a", run="night-1", timeout="20h")
    assert taken and done.outcomes() == {"vm-1": "moved", "vm-2": "not_started"}
    assert done.rows["vm-2"]["cause"]["code"] == "lease_lost" and "night-2" in done.message
    assert "nothing more is started" in done.warnings[0]


def test_a_lease_without_a_run_is_refused():
    from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

    from ansible_collections.bigvm.live_migration.plugins.modules import migrate_vmi

    checked = ArgumentSpecValidator(migrate_vmi.SPEC, **migrate_vmi.CONSTRAINTS).validate(dict(FROM_A, lease="node-a"))
    assert checked.error_messages


# -- others ---------------------------------------------------------------------------------------


def test_a_foreign_migration_out_of_the_same_node_is_waited_for(cluster):
    c = cluster(topology="tiny")  # one outbound migration for each node
    slow(c, "node-a", "500M")
    theirs = create_vmim(c, "vm-2")
    wait_for_phase(c, theirs, "Running")
    done = run(c, **FROM_A)
    row = done.rows["vm-1"]
    assert row["outcome"] == "moved" and row["seconds"]["queue"] <= 5
    ended = migration.transitions(c.api.get(path_of(
        "kubevirt.io/v1", "virtualmachineinstancemigrations", "default", theirs["metadata"]["name"])))["Succeeded"]
    assert from_timestamp(row["started"]) >= from_timestamp(ended)
    looks = [one for one in c.requests("GET", "/apis/kubevirt.io/v1/virtualmachineinstances") if "nodeName" in one["query"]]
    assert len(looks) == 1


def test_what_others_moved_while_it_waited_is_not_moved_again(cluster):
    c = cluster(topology="tiny")
    slow(c, "node-a", "500M")

    def interfere(line):
        if "copy" in line and len(vmims(c)) == 1:  # it queues behind ours
            create_vmim(c, "vm-2")

    done = run(c, say=interfere, vms=[VM1, VM2], away_from=["node-a"], progress_interval=10)
    assert done.outcomes() == {"vm-1": "moved", "vm-2": "moved"} and done.rows["vm-2"]["adopted"] is True
    assert len(vmims(c)) == 2


def test_a_vm_that_is_restarted_while_it_waits_is_not_moved(cluster):
    c = cluster(topology="tiny")
    slow(c, "node-a", "500M")

    def interfere(line):
        if "copy" in line and vmi(c, "vm-2")["metadata"].get("deletionTimestamp") is None:
            c.api.delete(vmi_path("vm-2"))

    done = run(c, say=interfere, vms=[VM1, VM2], away_from=["node-a"], progress_interval=30)
    assert done.outcomes() == {"vm-1": "moved", "vm-2": "failed"}
    assert done.rows["vm-2"]["cause"]["code"] == "vm_changed"
    assert run(c, vms=[dict(VM1, uid="of-old")], away_from=["node-a"]).warnings[0].startswith("VM default/vm-1 is another instance")


def test_others_at_work_stop_it_before_the_next_start(cluster):
    c = cluster(topology="tiny")
    slow(c, "node-a", "500M")

    def begin(line):
        if "copy" in line:
            c.api.patch("/api/v1/nodes/node-a", {"metadata": {"annotations": {"machineconfiguration.openshift.io/state": "Working"}}})

    guard = {"node": "node-a", "accept": ["interlock_unreadable"]}
    done = run(c, say=begin, vms=[VM1, VM2], away_from=["node-a"], progress_interval=30, guard=guard, run="night-1")
    assert done.outcomes() == {"vm-1": "moved", "vm-2": "not_started"}, done.message
    assert done.rows["vm-2"]["cause"]["code"] == "disturbed" and "machine config daemon is at work" in done.message


def pair(c):
    for name in ("vm-1", "vm-2"):
        c.api.patch(vmi_path(name), {"metadata": {"labels": {"live-migration.bigvm.io/keep-apart": "hsr"}}})


def test_a_partner_that_somebody_moves_is_waited_for_and_never_joined(cluster):
    c = cluster(topology="tiny")
    pair(c)
    sabotage(c, "vm-2", None, dirty_rate="0")
    slow(c, "node-a", "200M")
    wait_for_phase(c, create_vmim(c, "vm-2"), "Running")
    impatient = run(c, queue_timeout="20s", **FROM_A)
    assert impatient.rows["vm-1"]["cause"]["code"] == "partner_moving"
    assert "its partner default/vm-2 was being migrated" in impatient.message
    slow(c, "node-a", "500M")
    unaimed = run(c, **FROM_A)  # the scheduler knows nothing of it
    assert unaimed.outcomes() == {"vm-1": "aborted"} and unaimed.rows["vm-1"]["cause"]["code"] == "wrong_target"
    assert (node_of(c, "vm-1"), node_of(c, "vm-2")) == ("node-a", "node-b")
    beside = run(c, target_node="node-b", **VM1)
    assert "its partner default/vm-2 runs on node-b, and the two are kept apart" in beside.message
    assert len(created(c)) == 2


def test_a_pair_is_moved_one_after_the_other(cluster):
    c = cluster(topology="queue")
    for name in ("vm-01", "vm-02"):
        c.api.patch(vmi_path(name), {"metadata": {"labels": {"live-migration.bigvm.io/keep-apart": "hsr"}}})
    done = run(c, vms=[dict(VM1, name="vm-01", target_node="node-b"), dict(VM1, name="vm-02", target_node="node-c")])
    assert done.outcomes() == {"vm-01": "moved", "vm-02": "moved"}, done.message
    assert from_timestamp(done.rows["vm-02"]["started"]) >= from_timestamp(done.rows["vm-01"]["ended"])


# -- the end of a guest ----------------------------------------------------------------------------


@GENERATIONS
def test_a_guest_whose_launcher_dies_at_the_hand_over_is_restarted_and_said_so(cluster, generation):
    c = cluster(topology="tiny", generation=generation)
    before = vmi(c)["metadata"]["uid"]
    sabotage(c, "vm-1", "restart")
    done = run(c, vms=[VM1, VM2], away_from=["node-a"], max_parallel=1)
    assert done.failed and done.outcomes() == {"vm-1": "restarted", "vm-2": "not_started"}
    assert "VM default/vm-1: VM RESTARTED: it was not moved live but came up anew" in done.message
    assert done.rows["vm-1"]["uid"] == before != vmi(c)["metadata"]["uid"]
    assert "as before" not in done.message and done.result["changed"] is True


def test_a_guest_that_does_not_come_back_is_told_as_stopped(cluster):
    c = cluster(topology="tiny")
    c.api.patch(path_of("kubevirt.io/v1", "virtualmachines", "default", "vm-1"), {"spec": {"runStrategy": "Once"}})
    sabotage(c, "vm-1", "restart")
    done = run(c, **FROM_A)
    assert done.outcomes() == {"vm-1": "restarted"} and "VM STOPPED during its migration" in done.message
