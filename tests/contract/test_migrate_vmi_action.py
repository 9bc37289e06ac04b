# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""migrate_vmi in real playbooks: live lines where they can be, the same work where they cannot, and no secret anywhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

CANARY = "canary-4711-must-never-be-seen"
# Runs what it is asked on this machine: a connection that is not "local", without any server.
FAKE_SSH = "#!/bin/sh\nfor last; do :; done\nexec /bin/sh -c \"$last\"\n"

PLAY = """
- hosts: localhost
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  tasks:
    - name: another host
      ansible.builtin.add_host:
        name: elsewhere
        ansible_connection: ssh
        ansible_ssh_executable: "{{ fake_ssh }}"
        ansible_pipelining: true
        ansible_python_interpreter: "{{ ansible_playbook_python }}"

    - name: with module defaults
      module_defaults:
        group/bigvm.live_migration.kubernetes: "{{ cluster_connection }}"
      block:
        - name: live
          bigvm.live_migration.migrate_vmi:
            name: vm-01
            namespace: default
            away_from: [node-a]
            progress_interval: 1
          register: live

        - name: again
          bigvm.live_migration.migrate_vmi:
            name: vm-01
            namespace: default
            away_from: [node-a]
          register: again

        - name: in a loop
          bigvm.live_migration.migrate_vmi:
            vms: [{name: "{{ item }}", namespace: default}]
            away_from: [node-a]
          loop: [vm-02, vm-03]
          register: looped

        - name: checked
          bigvm.live_migration.migrate_vmi:
            name: vm-04
            namespace: default
            away_from: [node-a]
          check_mode: true
          register: checked

        - name: asynchronous
          bigvm.live_migration.migrate_vmi:
            name: vm-05
            namespace: default
            away_from: [node-a]
          async: 60
          poll: 1
          register: asynchronous

        - name: delegated to another host
          bigvm.live_migration.migrate_vmi:
            name: vm-06
            namespace: default
            away_from: [node-a]
          delegate_to: elsewhere
          register: elsewhere

        - name: delegated to this machine
          bigvm.live_migration.migrate_vmi:
            name: vm-07
            namespace: default
            away_from: [node-a]
          delegate_to: localhost
          register: delegated

        - name: silent
          bigvm.live_migration.migrate_vmi:
            name: vm-08
            namespace: default
            away_from: [node-a]
          no_log: true
          register: silent

        - name: an option that does not exist
          bigvm.live_migration.migrate_vmi:
            name: vm-09
            namespace: default
            away: [node-a]
          register: unsupported
          ignore_errors: true

        - name: a failure
          bigvm.live_migration.migrate_vmi:
            vms: [{name: nobody, namespace: default}]
            away_from: [node-a]
          register: refused
          ignore_errors: true

    - name: the connection in the environment
      bigvm.live_migration.migrate_vmi:
        name: vm-10
        namespace: default
        away_from: [node-a]
      environment:
        K8S_AUTH_HOST: "{{ cluster_connection.host }}"
        K8S_AUTH_API_KEY: "{{ cluster_connection.api_key }}"
        K8S_AUTH_SSL_CA_CERT: "{{ cluster_connection.ca_cert }}"
      register: from_environment

    - name: and not there in the next task
      bigvm.live_migration.migrate_vmi:
        name: vm-10
        namespace: default
        away_from: [node-a]
      register: no_connection
      ignore_errors: true

    - name: keep
      ansible.builtin.copy:
        dest: "{{ results }}"
        mode: "0600"
        content: >-
          {{ {'live': live, 'again': again, 'looped': looped, 'checked': checked, 'asynchronous': asynchronous,
              'elsewhere': elsewhere, 'delegated': delegated, 'silent': silent, 'unsupported': unsupported, 'refused': refused,
              'from_environment': from_environment, 'no_connection': no_connection} | to_json }}
"""

SECRETS = """
- hosts: localhost
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  module_defaults:
    group/bigvm.live_migration.kubernetes: "{{ cluster_connection }}"
  tasks:
    - name: a secret in a message
      bigvm.live_migration.migrate_vmi:
        name: vm-01
        namespace: default
        away_from: [node-a]
        deadline: "{{ canary }}"
        prometheus: {url: "https://127.0.0.1:9", token: "{{ canary }}"}
      register: message
      ignore_errors: true

    - name: a secret in what the validation says
      bigvm.live_migration.migrate_vmi:
        name: vm-01
        namespace: default
        state: "{{ canary }}"
        prometheus: {url: "https://127.0.0.1:9", token: "{{ canary }}"}
      register: validation
      ignore_errors: true

    - name: a secret in lines, warnings and results
      bigvm.live_migration.migrate_vmi:
        name: vm-01
        namespace: default
        away_from: [node-a]
        run: "{{ canary }}"
        progress_interval: 1
        prometheus: {url: "https://127.0.0.1:9/{{ canary }}", token: "{{ canary }}"}
      register: whole

    - name: a secret that is in every line
      bigvm.live_migration.migrate_vmi:
        name: vm-02
        namespace: default
        away_from: [node-a]
        progress_interval: 1
        prometheus: {url: "https://127.0.0.1:9", token: vm-02}
      register: named
"""


def playbook(folder, text, cluster, *options, **extra):
    (folder / "play.yml").write_text(text)
    (folder / "vars.json").write_text(json.dumps(dict(extra, cluster_connection=cluster.connection)))
    (folder / "vars.json").chmod(0o600)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("K8S_AUTH_")}
    environment.update(ANSIBLE_LOCALHOST_WARNING="false", ANSIBLE_NOCOLOR="1", ANSIBLE_HOME=str(folder / "home"),
                       ANSIBLE_HOST_KEY_CHECKING="false", ANSIBLE_ASYNC_DIR=str(folder / "async"),
                       KUBECONFIG=str(folder / "none"))
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-c", "local",
               "-e", "@%s" % (folder / "vars.json"), *options, str(folder / "play.yml")]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=170, check=False)


@pytest.fixture(scope="module")
def played(shared, tmp_path_factory):
    """One playbook with all the ways to run the module: ``(output, {name: result}, cluster)``."""
    folder = tmp_path_factory.mktemp("action")
    c = shared(topology="queue")
    ssh = folder / "ssh"
    ssh.write_text(FAKE_SSH)
    ssh.chmod(0o755)
    done = playbook(folder, PLAY, c, fake_ssh=str(ssh), results=str(folder / "results.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads((folder / "results.json").read_text()), c


def section(output, name):
    """What was shown for one task."""
    return re.search(r"TASK \[%s\].*?\n(.*?)(?=\nTASK \[|\nPLAY RECAP)" % re.escape(name), output, re.S).group(1)


def outcome(result):
    return result["migrations"][0]["outcome"]


@pytest.mark.long
def test_lines_come_while_it_works(played):
    output, results, _c = played
    shown = section(output, "live").splitlines()
    assert [line for line in shown if re.fullmatch(r"default/vm-01  .+ for \d+ s", line)]
    assert shown[-1].startswith("changed:") and re.match("default/vm-01  moved to node-[bc] in ", shown[-2])
    assert results["live"]["changed"] is True and outcome(results["live"]) == "moved"
    assert "exception" not in results["live"]


def test_module_defaults_of_the_group_arrive_and_nothing_is_done_twice(played):
    _output, results, c = played
    assert results["again"]["changed"] is False and outcome(results["again"]) == "already_there"
    assert len([row for row in c.requests("POST", "virtualmachineinstancemigrations") if "dryRun" not in row["query"]]) == 8


def test_in_a_loop(played):
    assert [outcome(one) for one in played[1]["looped"]["results"]] == ["moved", "moved"]


def test_check_mode(played):
    assert outcome(played[1]["checked"]) == "would_move" and played[1]["checked"]["changed"] is True


def test_async_is_run_as_a_module_and_said(played):
    output, results, _c = played
    assert outcome(results["asynchronous"]) == "moved"
    shown = section(output, "asynchronous")
    assert "bigvm.live_migration.migrate_vmi: progress is not shown live, because the task is asynchronous." in shown
    assert "vm-05  " not in shown


def test_delegation_to_another_host_runs_there_and_is_said(played):
    output, results, _c = played
    assert outcome(results["elsewhere"]) == "moved"
    assert "because it does not run on the control node" in section(output, "delegated to another host")


def test_delegation_to_this_machine_stays_live(played):
    output, results, _c = played
    assert outcome(results["delegated"]) == "moved"
    assert "default/vm-07  moved to" in section(output, "delegated to this machine")


def test_no_log_silences_the_lines(played):
    output, results, _c = played
    assert "vm-08" not in section(output, "silent")
    assert results["silent"]["changed"] is True


def test_the_environment_of_the_task_counts_and_only_there(played):
    assert outcome(played[1]["from_environment"]) == "moved"
    assert played[1]["no_connection"]["failed"] is True
    assert "No API server to connect to" in played[1]["no_connection"]["msg"]


def test_failures_look_like_a_modules(played):
    output, results, _c = played
    assert results["refused"]["failed"] is True and "there is no such VM" in results["refused"]["msg"]
    assert "Unsupported parameters for (bigvm.live_migration.migrate_vmi) module: away." in results["unsupported"]["msg"]
    assert "Traceback" not in output


def test_no_secret_is_shown_anywhere(cluster, tmp_path):
    c = cluster(topology="queue")
    c.api.patch("/api/v1/nodes/node-a", {"metadata": {"annotations": {"rehearsal.bigvm.io/link": "2G"}}})
    done = playbook(tmp_path, SECRETS, c, "-vvv", canary=CANARY)
    shown = done.stdout + done.stderr
    assert done.returncode == 0, shown
    assert CANARY not in shown
    assert c.connection["api_key"] not in shown
    assert "The time '********' is not understood" in shown
    assert "cannot be asked for progress" in shown  # the warning about Prometheus, whose URL holds the secret
    assert re.search(r"^default/\*{8}  copy", shown, re.M) or re.search(r"^default/\*{8}  moved", shown, re.M)


def test_secrets_are_removed_from_the_modules_result_too(cluster, tmp_path):
    c = cluster(topology="queue")
    first, wanted, after = (SECRETS.index("    - name: a secret " + words) for words in ("in a message", "in lines", "that is"))
    text = SECRETS[:first] + SECRETS[wanted:after].replace("register:", "async: 60\n      poll: 1\n      register:")
    done = playbook(tmp_path, text, c, "-vv", canary=CANARY)
    shown = done.stdout + done.stderr
    assert done.returncode == 0, shown
    assert CANARY not in shown and c.connection["api_key"] not in shown
