# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a task that has nothing to do costs beside one of kubernetes.core: ``python tests/bench/overhead.py``.

One playbook against one embedded cluster. In each turn these tasks follow one another, in an order that changes from
turn to turn, so that whatever slows the machine meets all of them alike:

- ``kubernetes.core.k8s`` with a definition that is in the cluster already: HyperConverged's settings, a MigrationPolicy;
- ``hco_live_migration_config`` with the same settings, once without and once with its proof that they are in force;
- ``migration_policy`` with the same policy.

Each task's time is the controller's: from its start to its result. A turn's ratio is ours by theirs; the figure is the
median over the turns. All tasks must come back unchanged. Prints ``figure NAME VALUE GOAL ok|short`` and ``note`` lines.
``--turns 5`` makes it short.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

MODULE = "ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal"
GOAL = 1.0
OURS = {"config": "config_core", "config_wait": "config_core", "policy": "policy_core"}  # ours: what it is held against

TASKS = {
    "config": {"bigvm.live_migration.hco_live_migration_config": {
        "progress_timeout": 150, "parallel_migrations_per_cluster": 5, "wait": False}},
    "config_wait": {"bigvm.live_migration.hco_live_migration_config": {
        "progress_timeout": 150, "parallel_migrations_per_cluster": 5}},
    "config_core": {"kubernetes.core.k8s": {"definition": {
        "apiVersion": "hco.kubevirt.io/v1", "kind": "HyperConverged",
        "metadata": {"name": "kubevirt-hyperconverged", "namespace": "openshift-cnv"},
        "spec": {"virtualization": {"liveMigrationConfig": {"progressTimeout": 150, "parallelMigrationsPerCluster": 5}}}}}},
    "policy": {"bigvm.live_migration.migration_policy": {
        "name": "bench", "vmi_selector": {"app": "bench"}, "completion_timeout_per_gib": 150}},
    "policy_core": {"kubernetes.core.k8s": {"definition": {
        "apiVersion": "migrations.kubevirt.io/v1alpha1", "kind": "MigrationPolicy", "metadata": {"name": "bench"},
        "spec": {"selectors": {"virtualMachineInstanceSelector": {"app": "bench"}}, "completionTimeoutPerGiB": 150}}}},
}

# Tells how long each task took, and whether it changed something.
CALLBACK = """
from __future__ import annotations
import json, os, time
from ansible.plugins.callback import CallbackBase

class CallbackModule(CallbackBase):
    CALLBACK_VERSION, CALLBACK_TYPE, CALLBACK_NAME = 2.0, "aggregate", "stopwatch"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._begin = time.monotonic()

    def _told(self, result, failed=False):
        took = time.monotonic() - self._begin
        data = result._result
        with open(os.environ["BENCH_TIMES"], "a", encoding="utf-8") as stream:
            stream.write(json.dumps([result._task.get_name(), took, bool(data.get("changed")), failed and str(data.get("msg"))]) + "\\n")

    def v2_runner_on_ok(self, result):
        self._told(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._told(result, failed=True)
"""


def playbook(said, turns):
    """One play: the policy made once, then the turns."""
    names, tasks = list(TASKS), [dict(TASKS["policy"], name="prepare"), dict(TASKS["policy_core"], name="prepare")]
    tasks += [dict(TASKS[name], name="prepare") for name in names]
    for turn in range(turns):
        shift = turn % len(names)
        order = names[shift:] + names[:shift]
        tasks += [dict(TASKS[name], name="%d %s" % (turn, name)) for name in (order if turn % 2 else order[::-1])]
    connection = {"host": said["host"], "api_key": said["api_key"], "ca_cert": said["ca_cert"], "validate_certs": True}
    return [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks, "module_defaults": {
        "group/bigvm.live_migration.kubernetes": connection, "group/kubernetes.core.k8s": connection},
        "vars": {"ansible_python_interpreter": sys.executable}}]


def measure(folder, turns):
    """``{name: [seconds of each turn]}``."""
    cluster = os.path.join(folder, "cluster")
    said = json.loads(subprocess.run(
        [sys.executable, "-m", MODULE, "start", "--dir", cluster, "--topology", "tiny", "--idle", "600"],
        stdout=subprocess.PIPE, check=True).stdout)
    try:
        with open(os.path.join(folder, "stopwatch.py"), "w", encoding="utf-8") as stream:
            stream.write(CALLBACK)
        path, times = os.path.join(folder, "play.json"), os.path.join(folder, "times")
        with open(path, "w", encoding="utf-8") as stream:
            json.dump(playbook(said, turns), stream)
        env = dict(os.environ, ANSIBLE_CALLBACK_PLUGINS=folder, ANSIBLE_CALLBACKS_ENABLED="stopwatch", BENCH_TIMES=times,
                   ANSIBLE_STDOUT_CALLBACK="ansible.builtin.default", BIGVM_REHEARSAL="1", ANSIBLE_LOCALHOST_WARNING="false",
                   ANSIBLE_INVENTORY_UNPARSED_WARNING="false")
        done = subprocess.run([sys.executable, "-m", "ansible", "playbook", path], env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit("the playbook failed:\n" + done.stdout[-3000:] + done.stderr[-1000:])
        with open(times, encoding="utf-8") as stream:
            rows = [json.loads(line) for line in stream]
    finally:
        subprocess.run([sys.executable, "-m", MODULE, "absent", "--dir", cluster], stdout=subprocess.PIPE, check=True)
    found = {name: [None] * turns for name in TASKS}
    for label, took, changed, failed in rows:
        if label == "prepare":
            continue
        assert not changed and not failed, "%s: changed %s, failed %s" % (label, changed, failed)
        turn, name = label.split()
        found[name][int(turn)] = took
    return found


def main():
    """All figures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=25, help="how often each task is run")
    turns = parser.parse_args().turns
    folder = tempfile.mkdtemp(prefix="bigvm-bench-")
    try:
        found = measure(folder, turns)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, seconds in found.items():
        print("note %s: median %.3f s of %d" % (name, statistics.median(seconds), turns))
    good = True
    for name, peer in OURS.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(found[name], found[peer]))
        good = good and ratio <= GOAL
        print("figure overhead_%s_ratio %.2f %s %s" % (name, ratio, GOAL, "ok" if ratio <= GOAL else "short"), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
