# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole maintenances on the embedded cluster: what an operator sees, and what is true in the cluster afterwards."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import jsonschema
import pytest
from steps import (
    HANA,
    SCHEMA,
    TINY,
    approved,
    bandwidth,
    hyperconverged,
    killed_in_mid_copy,
    node,
    nothing_left,
    paused,
    vmims,
    vmis,
    writes,
)
from transcripts import readable

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of

REHEARSAL = "ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal"
GOLDEN = Path(__file__).parent / "golden"


# -- the main job ------------------------------------------------------------------


def run_rehearsal(*words):
    subprocess.run([sys.executable, "-m", REHEARSAL, *words], check=True, capture_output=True, timeout=60)


def check_golden(name, output):
    """Compare with the transcript kept; BIGVM_GOLDEN=write keeps the new one, to be read by eye."""
    text, progress = readable(output)
    path = GOLDEN / name
    if os.environ.get("BIGVM_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()
    return text, progress


@pytest.mark.parametrize("topology", ["default", "hot"])
def test_a_rehearsal_reads_like_the_runbook(operator, tmp_path, topology):
    run = operator.run("rehearse", rehearsal_dir=str(tmp_path / "cluster"), rehearsal_topology=topology)
    text, progress = check_golden("rehearse-%s.txt" % topology, run.output)
    assert run.rc == (0 if topology == "default" else 2)
    lines = text.splitlines()
    assert len([line for line in lines if line.strip() and not line.startswith("sap-prod/")]) <= 96
    ours = re.sub(r"\[ERROR\].*?\nfatal:.*?\n\n", "", text, flags=re.DOTALL).splitlines()  # Ansible lays out errors itself
    assert [line for line in ours if len(line) > 80 and not line.startswith("localhost ")] == []
    headlines = [line for line in lines if line and not line.startswith((" ", "TASK", "PLAY", "changed", "sap-", "[", "Origin", "fatal"))]
    assert len(headlines) == len(set(headlines))
    assert "skipping:" not in text and '{"' not in text and "Traceback" not in text
    assert len(progress) > 20 and max(map(len, progress)) <= 80
    jsonschema.validate(run.records[-1], SCHEMA)
    run_rehearsal("absent", "--dir", str(tmp_path / "cluster"))


def test_every_vm_is_verified_elsewhere_and_everything_is_put_back(operator, cluster):
    c = cluster(topology="default")
    before, capped = vmis(c), bandwidth(c)
    run = operator.run("node_maintenance", **approved(c, **HANA))
    assert run.rc == 0, run.output
    after = vmis(c)
    assert {name: uid for name, (uid, dummy) in after.items()} == {name: uid for name, (uid, dummy) in before.items()}
    assert [name for name, (dummy, place) in after.items() if place == "hana-a"] == []
    assert capped == "64Mi" and bandwidth(c) == "64Mi"
    nothing_left(c, "hana-a")
    hana = next(vmim for vmim in vmims(c) if vmim["spec"]["vmiName"] == "hana-prod")
    assert "bandwidthPerMigration" not in hana["status"]["migrationState"]["migrationConfiguration"] or \
        hana["status"]["migrationState"]["migrationConfiguration"]["bandwidthPerMigration"] in ("0", "0Mi")
    record = run.records[-1]
    jsonschema.validate(record, SCHEMA)
    assert (record["result"], len(record["migrations"])) == ("ok", 5)
    assert {entry["outcome"] for entry in record["migrations"]} == {"moved"}


@pytest.mark.long
def test_the_vms_return_when_asked_and_the_biggest_travels_alone(operator, cluster):
    c = cluster(topology="default")
    before = vmis(c)
    run = operator.run("node_maintenance", **approved(c, maintenance_return=True, **HANA))
    assert run.rc == 0, run.output
    assert vmis(c) == before
    nothing_left(c, "hana-a")
    assert [entry["outcome"] for entry in run.records[-1]["migrations"]] == ["moved"] * 10


@pytest.mark.long
def test_a_guest_that_dirties_faster_than_its_link_is_cancelled_intact(operator, cluster):
    c = cluster(topology="hot")
    before = vmis(c)
    run = operator.run("node_maintenance", **approved(c, **HANA))
    assert run.rc == 2
    assert vmis(c) == before, "everything runs where it ran, the same guests"
    assert paused(c) == []
    assert bandwidth(c) == "64Mi"
    nothing_left(c, "hana-a")
    record = run.records[-1]
    jsonschema.validate(record, SCHEMA)
    assert record["result"] == "failed"
    assert "faster migration network" in record["failure"], "it says what would help"
    assert [entry["outcome"] for entry in record["migrations"]] == ["aborted"], "the second wave never began"


@pytest.mark.long
def test_an_already_empty_node_is_nothing_to_move(operator, cluster):
    c = cluster(topology="tiny")
    run = operator.run("node_maintenance", **approved(c, maintenance_node="node-b"))
    assert run.rc == 0, run.output
    assert "nothing to move" in run.said
    assert vmims(c) == []
    nothing_left(c, "node-b")


@pytest.mark.long
def test_a_node_found_cordoned_stays_cordoned(operator, cluster):
    c = cluster(topology="tiny")
    c.api.patch(path_of("v1", "nodes", name="node-a"), {"spec": {"unschedulable": True}})
    run = operator.run("node_maintenance", **approved(c, **TINY))
    assert run.rc == 0, run.output
    assert node(c, "node-a")["spec"]["unschedulable"] is True
    assert "as it was found" in run.said


# -- before anything is written ------------------------------------------------------


@pytest.mark.parametrize("approve", ["", "deadbeef"])
def test_without_approval_nothing_is_written_and_the_plan_is_named(operator, cluster, approve):
    c = cluster(topology="tiny")
    run = operator.run("node_maintenance", live_migration_connection=c.connection, maintenance_approve=approve, **TINY)
    assert run.rc == 2
    plan = run.records[-1]["facts"]["plan"]["id"]
    assert "maintenance_approve=%s" % plan in run.said
    assert writes(c) == []
    assert "Nothing was changed" in run.said


def test_a_node_with_a_vm_that_cannot_move_is_refused_before_the_cordon(operator, cluster):
    c = cluster(topology="blocked")
    run = operator.run("node_maintenance", **approved(c, **TINY))
    assert run.rc == 2
    assert writes(c) == []
    assert "app-local cannot leave node-a" in run.said and "ReadWriteMany" in run.said


@pytest.mark.long
def test_a_vm_that_cannot_move_stays_when_it_is_named(operator, cluster):
    c = cluster(topology="blocked")
    run = operator.run("node_maintenance", **approved(c, maintenance_leave_blocked="app-local", **TINY))
    assert run.rc == 0, run.output
    assert "app-local: named in leave_blocked" in run.said and "carries only what was to stay: app-local" in run.said
    assert vmis(c)["app-local"][1] == "node-a"
    nothing_left(c, "node-a")


@pytest.mark.parametrize("variables, words", [
    ({"maintenance_node": "node-x"}, "There is no node"),
    ({"maintenance_node": "node-a", "maintenance_settings": {"bandwidth_per_migration": "64Potato"}}, "64Potato"),
    ({"maintenance_node": "node-a", "maintenance_settings": {"parallel_migrations_per_cluster": 0},
      "maintenance_hold_cluster_settings": True}, "no migration would ever start"),
    ({"maintenance_node": "node-a", "maintenance_settings": {"progress_timeout": 300}}, "cannot be held for single VMs"),
    ({"maintenance_node": "node-a", "maintenance_acknowledge": "disruption", "maintenance_max_pause": "5s"}, "maintenance mode"),
    ({}, "Which node? Give -e maintenance_node=NAME."),
    ({"maintenance_node": "node-a", "maintenance_timeout": "soon"}, "soon"),
    ({"maintenance_node": "node-a", "maintenance_deadline": "04:30"}, "04:30"),
])
def test_bad_input_is_one_sentence_and_changes_nothing(operator, cluster, variables, words):
    c = cluster(topology="tiny")
    run = operator.run("node_maintenance", **approved(c, **variables))
    assert run.rc == 2
    assert words in run.said
    assert "Traceback" not in run.output
    assert writes(c) == []


def test_a_huge_guest_needs_a_limit_and_that_is_said_before_anything_is_written(operator, cluster):
    c = cluster(topology="default")
    run = operator.run("node_maintenance", **approved(c, maintenance_node="hana-a"))
    assert run.rc == 2
    assert "sap-prod/hana-prod" in run.said and "timeout" in run.said and "deadline" in run.said
    assert writes(c) == []


def test_check_mode_shows_the_plan_and_changes_nothing(operator, cluster):
    c = cluster(topology="tiny")
    before = vmis(c)
    run = operator.run("node_maintenance", "--check", live_migration_connection=c.connection, **TINY)
    assert run.rc == 0, run.output
    assert "wave 1" in run.said
    assert vmis(c) == before
    assert writes(c) == []
    assert run.records == []


# -- the operator's own tasks ----------------------------------------------------------


def real_run(operator, cluster, **variables):
    """A run that is not marked as a rehearsal (the embedded cluster stands in for a real one), approved by its id."""
    first = operator.run("node_maintenance", live_migration_connection=cluster.connection, **TINY)
    plan = first.records[-1]["facts"]["plan"]["id"]
    return operator.run("node_maintenance", live_migration_connection=cluster.connection, maintenance_approve=plan,
                        **dict(TINY, **variables))


def test_the_id_shown_approves_and_the_operators_tasks_run_with_the_node_empty_and_cordoned(operator, cluster):
    c = cluster(topology="tiny")
    (operator.folder / "firmware.yml").write_text(
        "- name: Note\n  ansible.builtin.copy:\n    content: '{{ maintenance_node }}'\n    dest: '%s/done'\n    mode: '0600'\n"
        % operator.folder)
    run = real_run(operator, c, maintenance_tasks="firmware.yml")
    assert run.rc == 0, run.output
    assert (operator.folder / "done").read_text() == "node-a"
    assert {place for dummy, place in vmis(c).values()} == {"node-b"}
    nothing_left(c, "node-a")


def test_tasks_that_cannot_be_found_are_named_before_anything_is_written(operator, cluster):
    c = cluster(topology="tiny")
    run = operator.run("node_maintenance", live_migration_connection=c.connection, maintenance_tasks="firmwear.yml", **TINY)
    assert run.rc == 2
    assert "firmwear.yml is neither beside the inventory nor in %s" % operator.folder in run.said
    assert {row["path"] for row in c.requests()} <= {"/readyz", "/version"}


@pytest.mark.long
def test_when_they_fail_the_node_stays_cordoned_and_restore_ends_it(operator, cluster):
    c = cluster(topology="tiny")
    (operator.folder / "firmware.yml").write_text("- name: Break\n  ansible.builtin.fail:\n    msg: no firmware for this host\n")
    run = real_run(operator, c, maintenance_tasks="firmware.yml", maintenance_settings={"progress_timeout": 300},
                   maintenance_hold_cluster_settings=True)
    assert run.rc == 2
    assert "no firmware for this host" in run.records[-1]["failure"]
    assert node(c, "node-a")["spec"]["unschedulable"] is True
    assert hyperconverged(c)["spec"]["virtualization"]["liveMigrationConfig"]["progressTimeout"] == 150
    again = operator.run("restore", live_migration_connection=c.connection)
    assert again.rc == 0, again.output
    nothing_left(c, "node-a")


@pytest.mark.long
def test_a_rehearsal_names_the_operators_tasks_and_does_not_run_them(operator, cluster):
    c = cluster(topology="tiny")
    (operator.folder / "firmware.yml").write_text("- name: Break\n  ansible.builtin.fail:\n    msg: this must not run\n")
    begun = c.api.clock.now()
    run = operator.run("node_maintenance", **approved(c, maintenance_tasks="firmware.yml", maintenance_assumed_duration="2h", **TINY))
    assert run.rc == 0, run.output
    assert "does not run firmware.yml; 2h assumed" in run.said
    assert c.api.clock.now() - begun > 7200


# -- kills -------------------------------------------------------------------------------


def test_after_a_kill_another_run_adopts_the_migration_and_finishes(operator, cluster):
    c = cluster(topology="default")
    before = vmis(c)
    vmim = killed_in_mid_copy(operator, c, signal.SIGKILL)
    assert node(c, "hana-a")["spec"]["unschedulable"] is True
    assert [policy["metadata"]["name"] for policy in c.api.list("/apis/migrations.kubevirt.io/v1alpha1/migrationpolicies").items]
    run = operator.run("node_maintenance", **approved(c, **HANA))
    assert run.rc == 0, run.output
    assert "did not end here; going on with it" in run.said
    moves = [found["metadata"]["uid"] for found in vmims(c) if found["spec"]["vmiName"] == "hana-prod"]
    assert moves == [vmim["metadata"]["uid"]], "no second migration of the same guest"
    after = vmis(c)
    assert {name: uid for name, (uid, dummy) in after.items()} == {name: uid for name, (uid, dummy) in before.items()}
    assert "hana-a" not in {place for dummy, place in after.values()}
    assert bandwidth(c) == "64Mi"
    nothing_left(c, "hana-a")


def test_after_a_cancel_restore_follows_what_is_under_way_and_puts_back_the_rest(operator, cluster):
    c = cluster(topology="default")
    vmim = killed_in_mid_copy(operator, c, signal.SIGTERM)
    run = operator.run("restore", live_migration_connection=c.connection, maintenance_rehearsal=True, maintenance_timeout="6h")
    assert run.rc == 0, run.output
    assert [found["metadata"]["uid"] for found in vmims(c)] == [vmim["metadata"]["uid"]], "nothing else was moved"
    assert vmis(c)["hana-prod"][1] == "hana-b"
    assert bandwidth(c) == "64Mi"
    nothing_left(c, "hana-a")
    jsonschema.validate(run.records[-1], SCHEMA)


@pytest.mark.long
def test_after_a_kill_in_the_return_nothing_is_moved_away_again(operator, cluster):
    c = cluster(topology="default")
    vmim = killed_in_mid_copy(operator, c, signal.SIGKILL, after="Return", maintenance_return=True)
    before = len(vmims(c))
    again = operator.run("node_maintenance", **approved(c, maintenance_return=True, **HANA))
    assert again.rc == 2
    assert "was bringing its VMs back" in again.said and "restore.yml" in again.said
    assert len(vmims(c)) == before
    run = operator.run("restore", live_migration_connection=c.connection, maintenance_rehearsal=True, maintenance_timeout="6h")
    assert run.rc == 0, run.output
    assert len(vmims(c)) == before and vmis(c)["hana-prod"][1] == "hana-a"
    assert vmim["metadata"]["name"] in {found["metadata"]["name"] for found in vmims(c)}
    assert bandwidth(c) == "64Mi"
    nothing_left(c, "hana-a")


@pytest.mark.long
def test_after_a_kill_restore_ends_what_was_begun_for_a_guest(operator, cluster):
    c = cluster(topology="default")
    for name in ("on", "off"):
        (operator.folder / (name + ".yml")).write_text(
            "- name: Note\n  ansible.builtin.copy:\n    content: '{{ maintenance_vm.name }}'\n    dest: '%s/%s'\n    mode: '0600'\n"
            % (operator.folder, name))
    hooks = {"maintenance_before_vm_tasks": "on.yml", "maintenance_after_vm_tasks": "off.yml", "maintenance_hook_vms": "^hana"}
    first = operator.run("node_maintenance", live_migration_connection=c.connection, **HANA, **hooks)
    killed_in_mid_copy(operator, c, signal.SIGKILL, maintenance_rehearsal=False,
                       maintenance_approve=first.records[-1]["facts"]["plan"]["id"], **hooks)
    assert (operator.folder / "on").read_text() == "hana-prod" and not (operator.folder / "off").exists()
    run = operator.run("restore", live_migration_connection=c.connection, maintenance_timeout="6h")
    assert run.rc == 0, run.output
    assert (operator.folder / "off").read_text() == "hana-prod", "the guest's cluster is not left in maintenance mode"
    nothing_left(c, "hana-a")


@pytest.mark.long
def test_a_run_that_is_alive_is_not_disturbed(operator, cluster):
    c = cluster(topology="default")
    process = operator.start("node_maintenance", **approved(c, maintenance_progress_interval=5, **HANA))
    for line in process.stdout:
        if "sap-prod/hana-prod  copy" in line:
            break
    second = operator.run("restore", live_migration_connection=c.connection, maintenance_rehearsal=True)
    process.stdout.read()
    assert process.wait(120) == 0
    assert second.rc == 2 and "alive" in second.said, second.output
    nothing_left(c, "hana-a")


def test_restore_is_no_success_while_a_journal_cannot_be_read(operator, cluster):
    c = cluster(topology="tiny")
    c.api.patch(path_of("v1", "nodes", name="node-a"), {"metadata": {"annotations": {"live-migration.bigvm.io/maintenance": "{"}}})
    run = operator.run("restore", live_migration_connection=c.connection)
    assert run.rc == 2, run.output
    assert "The journal of node-a cannot be read" in run.said and run.records[-1]["result"] == "failed"
    assert "Traceback" not in run.output


def test_restore_with_nothing_left_behind_writes_nothing(operator, cluster):
    c = cluster(topology="tiny")
    run = operator.run("restore", live_migration_connection=c.connection)
    assert run.rc == 0, run.output
    assert writes(c) == []


# -- a rehearsal cannot touch a real cluster ---------------------------------------------------


@contextlib.contextmanager
def api_server_of_a_real_cluster(folder):
    """A server that calls itself a plain Kubernetes; yields its connection and the requests it saw."""
    import trustme

    asked = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append("%s %s" % (self.command, self.path))
            body = b'{"major": "1", "minor": "33", "gitVersion": "v1.33.4"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        def log_message(self, *words):
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {"host": "https://127.0.0.1:%d" % server.server_port, "api_key": "token", "ca_cert": str(folder / "ca.pem"),
               "validate_certs": True}, asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.long
def test_rehearsals_ignore_every_other_connection_there_is(operator, cluster, tmp_path):
    stranger = cluster(topology="tiny")
    seen = len(stranger.requests())
    hostile = {
        "K8S_AUTH_HOST": stranger.connection["host"], "K8S_AUTH_API_KEY": stranger.connection["api_key"],
        "K8S_AUTH_SSL_CA_CERT": stranger.connection["ca_cert"], "K8S_AUTH_VERIFY_SSL": "no",
        "K8S_AUTH_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "K8S_AUTH_CONTEXT": "production",
        "K8S_AUTH_USERNAME": "root", "K8S_AUTH_PASSWORD": "secret-of-root", "K8S_AUTH_CERT_FILE": "/nonexistent",
        "K8S_AUTH_KEY_FILE": "/nonexistent", "K8S_AUTH_IMPERSONATE_USER": "admin",
        "KUBECONFIG": stranger.kubeconfig, "K8S_AUTH_KUBECONFIG": stranger.kubeconfig,
        "KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "9",
    }
    run = operator.run("rehearse", env=hostile, rehearsal_dir=str(tmp_path / "own"), rehearsal_topology="tiny", rehearsal_node="node-a")
    assert run.rc == 0, run.output
    assert len(stranger.requests()) == seen, "the stranger was never asked anything"
    assert "secret-of-root" not in run.output and stranger.connection["api_key"] not in run.output


def test_a_rehearsal_that_cannot_start_says_why(operator, tmp_path):
    run = operator.run("rehearse", rehearsal_dir=str(tmp_path / "own"), rehearsal_topology="nowhere")
    assert run.rc == 2
    assert "nowhere" in run.said and "did not start" in run.said
    assert "Traceback" not in run.output


def test_a_run_marked_as_rehearsal_refuses_a_server_that_is_none(operator, cluster):
    with api_server_of_a_real_cluster(operator.folder) as (connection, asked):
        run = operator.run("node_maintenance", live_migration_connection=connection, maintenance_rehearsal=True, **TINY)
    assert run.rc == 2
    assert "is not a rehearsal cluster" in run.said
    assert asked and set(asked) == {"GET /version"}, "not one question beyond who it is"


# -- the other playbooks ---------------------------------------------------------------------------


def test_preflight_passes_where_all_can_move_and_fails_naming_who_cannot(operator, cluster):
    good = operator.run("preflight", live_migration_connection=cluster(topology="tiny").connection)
    assert good.rc == 0, good.output
    assert "2 VMs: 2 can move live" in good.said
    bad = operator.run("preflight", live_migration_connection=cluster(topology="blocked").connection, preflight_node="node-a")
    assert bad.rc == 2
    assert "cannot move live" in bad.said
    for record in bad.records:
        jsonschema.validate(record, SCHEMA)


def test_migrate_moves_the_named_vm_only_and_again_changes_nothing(operator, cluster):
    c = cluster(topology="tiny")
    variables = {"live_migration_connection": c.connection, "migrate_vms": [{"namespace": "default", "name": "vm-1"}],
                 "migrate_target_node": "node-b"}
    run = operator.run("migrate", **variables)
    assert run.rc == 0, run.output
    assert {name: place for name, (dummy, place) in vmis(c).items()} == {"vm-1": "node-b", "vm-2": "node-a"}
    again = operator.run("migrate", **variables)
    assert again.rc == 0, again.output
    assert len(vmims(c)) == 1
