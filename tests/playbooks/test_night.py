# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ten nights in which something goes wrong: ``make rehearse SCENARIO=a`` to ``j`` shows one of them.

Each runs the playbooks as an operator would on an embedded cluster, and then asks the cluster itself (objects, audit
log) and the record whether it was handled as it should be. ``night.expect`` says each expectation as it is met.
"""

from __future__ import annotations

import datetime
import json
import os
import signal

import jsonschema
import pytest
from steps import (
    HANA,
    SCHEMA,
    TINY,
    bandwidth,
    killed_in_mid_copy,
    node,
    nothing_left,
    paused,
    vmims,
    vmis,
    writes,
)

NIGHT = {"maintenance_node": "hana-a", "maintenance_timeout": "6h", "maintenance_settings": {"bandwidth_per_migration": "0"},
         "maintenance_pause": ["node_health_check"]}
CHECKS = "/apis/remediation.medik8s.io/v1alpha1/nodehealthchecks"


def paused_checks(cluster):
    """The node health checks that somebody paused."""
    return [check["metadata"]["name"] for check in cluster.api.list(CHECKS).items if check["spec"].get("pauseRequests")]


def fenced(cluster):
    """What the health checks did to nodes, as their events say it."""
    return [event["message"] for event in cluster.api.list("/api/v1/events").items if event.get("reason") == "RemediationCreated"]


class Night:
    """One operator, one cluster, and what is expected of them."""

    def __init__(self, operator, cluster):
        self.operator, self.cluster = operator, cluster

    def run(self, playbook="node_maintenance", **variables):
        """Run a playbook on the cluster; not marked as a rehearsal, so that nothing is skipped."""
        return self.operator.run(playbook, live_migration_connection=self.cluster.connection, **variables)

    def approved(self, **variables):
        """Run it once to see the plan, which is refused, and again with the plan's id."""
        first = self.run(**variables)
        self.expect("the plan is shown, and not approved", first.rc == 2 and "is not approved" in first.said, first.output)
        return self.run(maintenance_approve=first.records[-1]["facts"]["plan"]["id"], **variables)

    def expect(self, what, truth, evidence=""):
        """Say it when it is so; end the scenario when it is not."""
        assert truth, "NOT AS EXPECTED: %s\n%s" % (what, evidence)
        self.operator.show("  as expected: %s" % what)

    def script(self, *steps):
        """What happens in the cluster when; see plugin_utils/rehearsal/script.py."""
        return self.cluster.api.create("/bigvm/v1/script", list(steps))

    def in_hours(self, hours):
        """A time of the cluster's clock, RFC 3339 with an offset."""
        moment = datetime.datetime.fromtimestamp(self.cluster.api.clock.now() + 3600 * hours, datetime.timezone.utc)
        return moment.astimezone(datetime.timezone(datetime.timedelta(hours=1))).isoformat(timespec="seconds")


@pytest.fixture
def night(operator, cluster):
    """``night("topology")``: an operator before that cluster."""
    return lambda topology, **options: Night(operator, cluster(topology=topology, **options))


@pytest.mark.long
def test_a_nothing_is_written_without_approval_of_this_very_plan(night):
    n = night("tiny")
    first = n.run(**TINY)
    plan = first.records[-1]["facts"]["plan"]["id"]
    n.expect("without a terminal and without an id the run fails", first.rc == 2)
    n.expect("it shows the plan and how to approve it", "maintenance_approve=%s" % plan in first.said, first.output)
    n.expect("'false' is not approval", n.run(maintenance_approve="false", **TINY).rc == 2)
    n.expect("false is not approval", n.run(maintenance_approve=False, **TINY).rc == 2)
    stays = n.cluster.api.list("/apis/kubevirt.io/v1/virtualmachineinstances").items[0]
    moved = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration",
             "metadata": {"generateName": "by-hand-", "namespace": stays["metadata"]["namespace"]},
             "spec": {"vmiName": stays["metadata"]["name"]}}
    n.cluster.api.create("/apis/kubevirt.io/v1/namespaces/%s/virtualmachineinstancemigrations" % stays["metadata"]["namespace"], moved)
    n.cluster.wait(600)
    before = len(writes(n.cluster))
    stale = n.run(maintenance_approve=plan, **TINY)
    n.expect("the id of a plan with other VMs is not approval", stale.rc == 2 and plan in stale.said, stale.output)
    n.expect("not one write reached the cluster", len(writes(n.cluster)) == before and before == 1, writes(n.cluster))


@pytest.mark.long
def test_b_after_a_kill_another_run_adopts_the_migration_and_keeps_the_foreign_cordon(night):
    n = night("default")
    n.cluster.api.patch("/api/v1/nodes/hana-a", {"spec": {"unschedulable": True}})
    before = vmis(n.cluster)
    vmim = killed_in_mid_copy(n.operator, n.cluster, signal.SIGKILL)
    n.expect("the copy of the 3 TiB guest goes on without us", vmim["status"]["phase"] == "Running")
    run = n.run(maintenance_rehearsal=True, **HANA)
    n.expect("another run takes it up and ends well", run.rc == 0 and "did not end here; going on with it" in run.said, run.output)
    moves = [found["metadata"]["uid"] for found in vmims(n.cluster) if found["spec"]["vmiName"] == "hana-prod"]
    n.expect("there is no second migration of the guest", moves == [vmim["metadata"]["uid"]], moves)
    after = vmis(n.cluster)
    n.expect("every guest is the same as before", {k: v[0] for k, v in after.items()} == {k: v[0] for k, v in before.items()})
    n.expect("the node is empty", "hana-a" not in {place for _uid, place in after.values()})
    n.expect("the cordon that somebody else had set is still there", node(n.cluster, "hana-a")["spec"].get("unschedulable") is True)
    nothing_left(n.cluster, "hana-a", cordoned=True)


BREAKS = "- name: Break\n  ansible.builtin.fail:\n    msg: no firmware for this host\n"


@pytest.mark.long
def test_c_a_node_that_is_not_as_good_as_before_gets_nothing_back(night):
    n = night("tiny")
    (n.operator.folder / "firmware.yml").write_text(BREAKS)
    run = n.approved(maintenance_tasks="firmware.yml", maintenance_return=True, **TINY)
    n.expect("the maintenance fails and is named", run.rc == 2 and "no firmware for this host" in run.records[-1]["failure"], run.output)
    n.expect("the node stays cordoned", node(n.cluster, "node-a")["spec"].get("unschedulable") is True)
    n.expect("no VM returned", "node-a" not in {place for _uid, place in vmis(n.cluster).values()})


@pytest.mark.long
@pytest.mark.parametrize("topology, lacks", [("night-no-hugepages", "hugepages-1Gi"), ("night-no-migration0", "migration0")])
def test_c_a_node_that_comes_back_worse_gets_nothing_back(night, topology, lacks):
    n = night(topology)
    run = n.run(maintenance_rehearsal=True, maintenance_return=True, maintenance_tasks="firmware.yml", maintenance_gate_wait="20min",
                **NIGHT)
    n.expect("the run fails and names what is missing: %s" % lacks, run.rc == 2 and lacks in run.records[-1]["failure"], run.output)
    n.expect("the node stays cordoned", node(n.cluster, "hana-a")["spec"].get("unschedulable") is True)
    n.expect("no VM returned", "hana-a" not in {place for _uid, place in vmis(n.cluster).values()})
    n.expect("its health check is still paused, so that nobody fences it while it is mended", paused_checks(n.cluster) != [])
    again = n.run("restore", maintenance_gate_wait="1min")
    n.expect("restore does not give it free either", again.rc == 2 and lacks in again.said
             and node(n.cluster, "hana-a")["spec"].get("unschedulable") is True, again.output)
    n.script({"do": [{"reboot": {"node": "hana-a", "seconds": 60}}]})
    n.cluster.wait(300)
    last = n.run("restore")
    n.expect("once it is mended, restore does", last.rc == 0, last.output)
    nothing_left(n.cluster, "hana-a")


@pytest.mark.long
def test_d_a_guest_above_its_link_is_cancelled_before_the_deadline_and_never_stops(night):
    n = night("night-hot")
    before, capped = vmis(n.cluster), bandwidth(n.cluster)
    deadline = n.in_hours(4)
    run = n.run(maintenance_rehearsal=True, maintenance_deadline=deadline, **{**NIGHT, "maintenance_timeout": ""})
    n.expect("the run fails and says what would help", run.rc == 2 and "faster migration network" in run.said, run.output)
    n.expect("it ended before the deadline", n.cluster.api.clock.now() <= datetime.datetime.fromisoformat(deadline).timestamp() + 60)
    n.expect("every guest runs where it ran", vmis(n.cluster) == before)
    n.expect("no guest was paused", paused(n.cluster) == [])
    n.expect("the migration was cancelled, not failed", [m["outcome"] for m in run.records[-1]["migrations"]] == ["aborted"])
    n.expect("the settings are back", bandwidth(n.cluster) == capped)
    nothing_left(n.cluster, "hana-a")


@pytest.mark.long
def test_e_a_policy_that_vanishes_before_the_handoff_cancels_the_migration(night):
    n = night("night-policy-lost")
    before = vmis(n.cluster)
    run = n.run(maintenance_rehearsal=True, **NIGHT)
    n.expect("the run fails", run.rc == 2, run.output)
    entry = next(entry for entry in run.records[-1]["migrations"] if entry["name"] == "hana-prod")
    n.expect("the guest was cancelled at the handoff", entry["outcome"] == "aborted", entry)
    n.expect("it is said which policy was expected and which was found", "site-hana" in run.said and "bigvm-" in run.said, run.output)
    n.expect("it runs where it ran, never paused", vmis(n.cluster)["hana-prod"] == before["hana-prod"] and paused(n.cluster) == [])
    nothing_left(n.cluster, "hana-a")


@pytest.mark.long
def test_e_the_hold_wins_over_a_stronger_site_policy(night):
    n = night("night-site-policy")
    run = n.run(maintenance_rehearsal=True, **NIGHT)
    n.expect("the run ends well", run.rc == 0, run.output)
    state = next(vmim for vmim in vmims(n.cluster) if vmim["spec"]["vmiName"] == "hana-prod")["status"]["migrationState"]
    n.expect("the guest moved under our policy", state["migrationPolicyName"].startswith("bigvm-"), state)
    n.expect("post-copy and pausing were off", state["migrationConfiguration"]["allowPostCopy"] is False
             and state["migrationConfiguration"]["allowWorkloadDisruption"] is False, state)
    nothing_left(n.cluster, "hana-a")


def hook(n, name, word, hangs=False):
    """A file of tasks that notes what it did for whom, and then perhaps hangs."""
    (n.operator.folder / name).write_text(
        "- name: Note it\n  ansible.builtin.lineinfile:\n    path: %s/hooks\n    line: '%s {{ maintenance_vm.name }}'\n    create: true\n"
        "    mode: '0600'\n" % (n.operator.folder, word)
        + ("- name: Hang\n  ansible.builtin.command: sleep 60\n  changed_when: false\n" if hangs else ""))


@pytest.mark.long
def test_f_maintenance_mode_ends_although_the_migration_fails_and_the_hook_hangs(night):
    n = night("night-pair-fails")
    hook(n, "on.yml", "on")
    hook(n, "off.yml", "off")
    hooks = {"maintenance_before_vm_tasks": "on.yml", "maintenance_after_vm_tasks": "off.yml", "maintenance_hook_vms": "^hsr",
             "maintenance_vm_tasks_timeout": 2}
    run = n.approved(**NIGHT, **hooks)
    n.expect("the migration of hsr-1 fails and the run with it", run.rc == 2 and "hsr-1" in run.records[-1]["failure"], run.output)
    noted = (n.operator.folder / "hooks").read_text().split()
    n.expect("maintenance mode was entered and left", noted == ["on", "hsr-1", "off", "hsr-1"], noted)
    n.expect("the pair is not on one node", len({vmis(n.cluster)[name][1] for name in ("hsr-1", "hsr-2")}) == 2)
    nothing_left(n.cluster, "hana-a")
    n.cluster.api.patch("/apis/kubevirt.io/v1/namespaces/sap-hsr/virtualmachineinstances/hsr-1",
                        {"metadata": {"annotations": {"rehearsal.bigvm.io/fail": None}}})
    (n.operator.folder / "hooks").unlink()
    n.cluster.wait(120)  # the pod of the failed migration ends
    hook(n, "on.yml", "on", hangs=True)
    hung = n.approved(**NIGHT, **hooks)
    n.expect("a hook that hangs ends at its limit, and the VM is not moved", hung.rc == 2
             and "before_vm_tasks failed" in hung.records[-1]["failure"] and vmis(n.cluster)["hsr-1"][1] == "hana-a", hung.output)
    noted = (n.operator.folder / "hooks").read_text().split()
    n.expect("maintenance mode was left all the same", noted == ["on", "hsr-1", "off", "hsr-1"], noted)
    nothing_left(n.cluster, "hana-a")


@pytest.mark.long
def test_f_the_pair_never_moves_at_once_nor_to_one_node(night):
    n = night("night")
    n.script({"name": "somebody moves the other side", "when": {
        "resource": "virtualmachineinstancemigrations.kubevirt.io", "namespace": "sap-prod", "path": "status.phase", "equals": "Succeeded"},
        "do": [{"create": {
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration",
            "metadata": {"name": "by-hand", "namespace": "sap-hsr"}, "spec": {"vmiName": "hsr-2"}}}]})
    busy = n.run(maintenance_rehearsal=True, **NIGHT)
    n.expect("while somebody moves the other side, ours is not begun",
             busy.rc == 2 and "the two never move at once" in busy.said, busy.output)
    nothing_left(n.cluster, "hana-a")
    n.cluster.wait(4 * 3600)  # that one is capped at 64 MiB/s
    run = n.run(maintenance_rehearsal=True, **NIGHT)
    n.expect("the run ends well", run.rc == 0, run.output)
    places = {vmis(n.cluster)[name][1] for name in ("hsr-1", "hsr-2")}
    n.expect("the pair is on two nodes, neither the one that was emptied", len(places) == 2 and "hana-a" not in places, places)
    found = {vmim["spec"]["vmiName"]: vmim for vmim in vmims(n.cluster) if vmim["metadata"]["namespace"] == "sap-hsr"}
    ended = [row["phaseTransitionTimestamp"] for row in found["hsr-2"]["status"]["phaseTransitionTimestamps"]
             if row["phase"] == "Succeeded"]
    n.expect("ours was created after the other one had ended", ended[0] <= found["hsr-1"]["metadata"]["creationTimestamp"], found)


@pytest.mark.long
def test_g_others_at_work_stop_the_run_before_the_next_vm(night):
    n = night("night-actors")
    before = vmis(n.cluster)
    run = n.run(maintenance_rehearsal=True, maintenance_tasks="firmware.yml", **NIGHT)
    after = vmis(n.cluster)
    n.expect("the copy that was under way ended well",
             after["hana-prod"][0] == before["hana-prod"][0] and after["hana-prod"][1] != before["hana-prod"][1])
    n.expect("nothing else was begun, and the run says why", run.rc == 2
             and ("machineconfigpool" in run.said.lower() or "hana-c is cordoned" in run.said), run.output)
    ours = {vmim["spec"]["vmiName"] for vmim in vmims(n.cluster)
            if (vmim["metadata"].get("labels") or {}).get("app.kubernetes.io/managed-by") == "bigvm.live_migration"}
    n.expect("only the HANA guest was moved by us", ours == {"hana-prod"}, ours)
    nothing_left(n.cluster, "hana-a")


@pytest.mark.long
def test_g_a_paused_health_check_does_not_fence_a_host_that_boots_for_an_hour(night):
    n = night("night")
    n.script({"when": {"resource": "nodes", "name": "hana-a", "path": "metadata.annotations[live-migration.bigvm.io/maintenance]",
                       "matches": '"phase": ?"maintenance"'}, "do": [{"reboot": {"node": "hana-a", "seconds": 3600}}]})
    run = n.run(maintenance_rehearsal=True, maintenance_return=True, maintenance_tasks="firmware.yml", maintenance_gate_wait="2h",
                **NIGHT)
    n.expect("the run ends well", run.rc == 0, run.output)
    n.expect("the host was not fenced", fenced(n.cluster) == [], fenced(n.cluster))
    n.expect("the health check watches again", paused_checks(n.cluster) == [])
    nothing_left(n.cluster, "hana-a")
    refused = n.run(maintenance_rehearsal=True, maintenance_tasks="firmware.yml", **{**NIGHT, "maintenance_pause": []})
    n.expect("without leave to pause it, the run refuses", refused.rc == 2 and "node_health_check" in refused.said, refused.output)


@pytest.mark.long
def test_h_through_reverts_expiry_silence_and_an_outage_it_ends_truthfully(night):
    n = night("night-gitops")
    before = vmis(n.cluster)
    n.cluster.api.create("/bigvm/v1/tokens", {
        "user": "operator", "rules": [{"verbs": ["*"], "resources": ["*"]}], "expires": 3600, "file": True})
    connection = {"kubeconfig": os.path.join(n.cluster.folder, "kubeconfig.file")}
    run = n.operator.run("node_maintenance", live_migration_connection=connection, maintenance_rehearsal=True,
                         maintenance_hold_cluster_settings=True, maintenance_accept=["gitops_owned"], **NIGHT)
    n.cluster.wait(1)
    after = vmis(n.cluster)
    n.expect("every guest is the same as before", {k: v[0] for k, v in after.items()} == {k: v[0] for k, v in before.items()})
    moved = sorted(entry["name"] for entry in run.records[-1]["migrations"] if entry["outcome"] == "moved")
    there = sorted(name for name, (_uid, place) in after.items() if before[name][1] == "hana-a" and place != "hana-a")
    n.expect("the record says exactly what is so", moved == there and (run.records[-1]["result"] == "ok") == (run.rc == 0),
             (moved, there, run.output))
    n.expect("the node is empty", run.rc == 0 and "hana-a" not in {place for _uid, place in after.values()}, run.output)
    n.expect("one migration a guest", len(vmims(n.cluster)) == len(there))
    n.expect("the setting is what GitOps wants", bandwidth(n.cluster) == "64Mi")
    nothing_left(n.cluster, "hana-a")


@pytest.mark.long
def test_i_a_guest_that_starts_anew_elsewhere_is_no_success(night):
    n = night("night-restart")
    run = n.run(maintenance_rehearsal=True, **NIGHT)
    n.expect("the run fails", run.rc == 2, run.output)
    n.expect("it says VM RESTARTED", "VM RESTARTED" in run.said, run.output)
    n.expect("the record says so, too", "restarted" in {entry["outcome"] for entry in run.records[-1]["migrations"]})
    jsonschema.validate(run.records[-1], SCHEMA)
    nothing_left(n.cluster, "hana-a")


def test_j_on_kubevirt_1_3_a_target_is_refused_and_an_unschedulable_one_explained(night):
    n = night("night-1.3")
    aimed = n.run("migrate", migrate_vms=[{"namespace": "sap-prod", "name": "hana-prod"}], migrate_target_node="hana-b",
                  migrate_timeout="6h")
    n.expect("a target by name is refused before anything is written", aimed.rc == 2 and vmims(n.cluster) == [], aimed.output)
    n.expect("it says why", "1.6" in aimed.said, aimed.output)
    run = n.run("migrate", migrate_vms=[{"namespace": "sap-prod", "name": "app-2"}], migrate_away_from=["hana-a"])
    n.expect("a target pod that no node takes fails", run.rc == 2, run.output)
    entry = run.records[-1]["migrations"][0]
    n.expect("after 300 seconds", 295 <= entry["seconds"]["total"] <= 360, entry)
    n.expect("with the scheduler's own words", "nodes are available" in json.dumps(entry["cause"]), entry)
    n.expect("the guest runs where it ran", vmis(n.cluster)["app-2"][1] == "hana-a")


# -- as strings ---------------------------------------------------------------------

STRINGS = {
    "maintenance_node": "node-a", "maintenance_return": "false", "maintenance_rehearsal": "true", "maintenance_drain_rest": "false",
    "maintenance_hold_cluster_settings": "false", "maintenance_max_parallel": "1", "maintenance_progress_interval": "30",
    "maintenance_vm_tasks_timeout": "60", "maintenance_pause": "", "maintenance_accept": "", "maintenance_leave_blocked": "",
    "maintenance_settings": '{"completion_timeout_per_gib": "300", "allow_auto_converge": "false"}',
}


def strings(person, cluster):
    before = {name: place for name, (_uid, place) in vmis(cluster).items()}
    run = person.run("node_maintenance", *[word for name, value in STRINGS.items() for word in ("-e", "%s='%s'" % (name, value))],
                     live_migration_connection=cluster.connection)
    assert run.rc == 0, run.output
    after = {name: place for name, (_uid, place) in vmis(cluster).items()}
    assert "node-a" in before.values() and "node-a" not in after.values(), "'false' is false: nothing returned"
    assert "given by itself: this is a rehearsal" in run.said, "'true' is true"
    assert "rest of node-a" not in run.said
    vmim = vmims(cluster)[0]["status"]["migrationState"]["migrationConfiguration"]
    assert (vmim["completionTimeoutPerGiB"], vmim["allowAutoConverge"]) == (300, False)
    nothing_left(cluster, "node-a")


@pytest.mark.long
def test_all_extra_vars_may_be_strings(operator, cluster):
    strings(operator, cluster(topology="tiny"))


@pytest.mark.long
def test_all_extra_vars_may_be_strings_on_the_oldest_core(oldest, cluster):
    strings(oldest, cluster(topology="tiny"))
