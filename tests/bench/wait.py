# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How soon a task returns after the end of a migration, and what waiting costs the API: ``python tests/bench/wait.py``.

Two ways to wait, side by side, each on embedded clusters of its own that keep real time: migrate_vmi ("ours"), and
kubernetes.core.k8s creating the VMIMs and kubernetes.core.k8s_info asking for each in an until loop with ``delay: 5``
("peer"). Both are real playbooks. For 1 VM and for 20 VMs there are, at the same time and for about ten minutes:

- one long wait: a copy that lasts as long as the run. Requests come from the server's audit log, from the last creation to
  the last final phase, whatever they are (watches, lists, pods/log, discovery).
- short migrations there and back, again and again. Each gives one delay: from the moment a final phase of the last VMIM is
  seen on a watch of the bench's own to the moment Ansible has the task's result.

Prints one line per figure: ``figure NAME VALUE GOAL ok|short``, and the number of samples as ``note`` lines.
``--seconds 60`` makes it short, for work on the bench itself; the requests of set-up then weigh more.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import kubernetes

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import Api
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import migration

MODULE = "ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal"
VMIMS = "/apis/kubevirt.io/v1/virtualmachineinstancemigrations"
AGENT = "bigvm-bench"
MEMORY = 8 * 2 ** 30
SHORT = 5  # seconds that a short copy takes
DELAY_GOAL, REQUEST_GOAL = 0.3, 1.0

TOPOLOGY = """
description: VMs that move there and back
generation: "1.9"
live_migration: {parallelMigrationsPerCluster: 20, parallelOutboundMigrationsPerNode: 20, completionTimeoutPerGiB: 10000}
nodes:
  - {names: [node-a, node-b], memory: 1Ti, cpus: 256, link: "%d"}
vms:
  - {name: vm, namespace: default, node: node-a, count: %d, memory: 8Gi, cpus: 2}
"""

# Tells when Ansible had each task's result.
CALLBACK = """
from __future__ import annotations
import json, os, time
from ansible.plugins.callback import CallbackBase
class CallbackModule(CallbackBase):
    CALLBACK_VERSION, CALLBACK_TYPE, CALLBACK_NAME = 2.0, "aggregate", "stamp"
    def _stamp(self, result, **kwargs):
        with open(os.environ["BIGVM_STAMPS"], "a") as stream:
            failed = bool(kwargs) or result._result.get("failed", False)
            stream.write(json.dumps({"task": result._task.name, "at": time.time(), "failed": failed}) + "\\n")
    def v2_runner_on_ok(self, result):
        self._stamp(result)
    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._stamp(result, failed=True)
"""

HEAD = """
- hosts: localhost
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  module_defaults:
    group/bigvm.live_migration.kubernetes: "{{ cluster_connection }}"
  tasks:
"""
OURS = HEAD + """
    - name: wait
      bigvm.live_migration.migrate_vmi:
        vms: "{{ vms }}"
        target_node: "{{ target }}"
        timeout: 2h
"""
PEER = HEAD + """
    - name: create
      kubernetes.core.k8s:
        definition:
          apiVersion: kubevirt.io/v1
          kind: VirtualMachineInstanceMigration
          metadata: {generateName: "peer-{{ item.name }}-", namespace: default}
          spec: {vmiName: "{{ item.name }}", addedNodeSelector: {kubernetes.io/hostname: "{{ target }}"}}
      loop: "{{ vms }}"
      register: made
    - name: wait
      kubernetes.core.k8s_info:
        api_version: kubevirt.io/v1
        kind: VirtualMachineInstanceMigration
        namespace: default
        name: "{{ item.result.metadata.name }}"
      loop: "{{ made.results }}"
      register: seen
      until: seen.resources[0].status.phase | default('') in ['Succeeded', 'Failed']
      retries: 100000
      delay: 5
"""


class Arm:
    """One server, one playbook, and what is measured there."""

    def __init__(self, folder, name, play, count, copy_seconds):
        self.folder, self.name, self.play, self.count = os.path.join(folder, name), name, play, count
        os.makedirs(self.folder)
        topology = os.path.join(self.folder, "topology.yml")
        bits = max(1, int(MEMORY * 8 * count / copy_seconds))  # the link is shared
        _write(topology, TOPOLOGY % (bits, count))
        _write(os.path.join(self.folder, "play.yml"), play)
        os.makedirs(os.path.join(self.folder, "callbacks"))
        _write(os.path.join(self.folder, "callbacks", "stamp.py"), CALLBACK)
        server = os.path.join(self.folder, "server")
        done = subprocess.run([sys.executable, "-m", MODULE, "start", "--dir", server, "--topology", topology, "--clock", "real"],
                              stdout=subprocess.PIPE, check=True)
        self.said = json.loads(done.stdout)
        self.server = server
        self.api = Api(self._source).handshake()
        self.final = {}  # name of a VMIM: when its final phase was seen
        self._stopping = False
        threading.Thread(target=self._watch, daemon=True).start()

    def _source(self):
        configuration = kubernetes.client.Configuration()
        configuration.host, configuration.ssl_ca_cert = self.said["host"], self.said["ca_cert"]
        configuration.api_key = {"authorization": "Bearer " + self.said["api_key"]}
        return configuration, {"User-Agent": AGENT}

    def _watch(self):
        version = self.api.list(VMIMS).resource_version
        while not self._stopping:
            try:
                for line in self.api.stream(VMIMS, 400, watch=True, resourceVersion=version, timeoutSeconds=290,
                                            allowWatchBookmarks=True):
                    at, event = time.time(), json.loads(line)
                    obj = event.get("object") or {}
                    version = obj["metadata"].get("resourceVersion") or version
                    if event["type"] in ("ADDED", "MODIFIED") and migration.phase(obj) in migration.FINAL:
                        self.final.setdefault(obj["metadata"]["name"], at)
            except Exception:  # the server ends with the bench
                if not self._stopping:
                    raise

    def move(self, target):
        """One playbook; returns ``(seconds from the last final phase to the result, first creation, last final phase)``."""
        before = set(self.final)
        variables = os.path.join(self.folder, "vars.json")
        _write(variables, json.dumps({
            "vms": [{"name": name, "namespace": "default"} for name in self._names()], "target": target,
            "cluster_connection": {"host": self.said["host"], "api_key": self.said["api_key"], "ca_cert": self.said["ca_cert"]}}))
        stamps = os.path.join(self.folder, "stamps")
        _write(stamps, "")
        environment = dict(os.environ, BIGVM_STAMPS=stamps, ANSIBLE_CALLBACK_PLUGINS=os.path.join(self.folder, "callbacks"),
                           ANSIBLE_CALLBACKS_ENABLED="stamp", ANSIBLE_LOCALHOST_WARNING="false", ANSIBLE_NOCOLOR="1",
                           ANSIBLE_HOME=os.path.join(self.folder, "home"), K8S_AUTH_KUBECONFIG=os.path.join(self.folder, "none"))
        done = subprocess.run([sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-c", "local", "-e", "@" + variables,
                               os.path.join(self.folder, "play.yml")], capture_output=True, text=True, env=environment, check=False)
        rows = [json.loads(line) for line in open(stamps, encoding="utf-8")]
        if done.returncode or not rows or any(row["failed"] for row in rows):
            raise SystemExit("%s: the playbook failed\n%s%s" % (self.name, done.stdout[-3000:], done.stderr[-3000:]))
        time.sleep(0.5)  # the watch of the bench may be the last to hear
        fresh = {name: at for name, at in self.final.items() if name not in before}
        assert len(fresh) == self.count, (self.name, len(fresh))
        last = max(fresh.values())
        return max(0.0, next(row["at"] for row in rows if row["task"] == "wait") - last), last

    def _names(self):
        names = sorted(item["metadata"]["name"] for item in self.api.list("/apis/kubevirt.io/v1/virtualmachineinstances").items)
        assert len(names) == self.count, names
        return names

    def requests(self):
        """All requests of the arm, from the audit log."""
        rows = self.api.get("/bigvm/v1/requests")["items"]
        return [row for row in rows if row["userAgent"] != AGENT and row["path"] not in ("/readyz", "/healthz")]

    def stop(self):
        """End the server."""
        self._stopping = True
        subprocess.run([sys.executable, "-m", MODULE, "absent", "--dir", self.server], stdout=subprocess.DEVNULL, check=False)


def _write(path, text):
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)


def long_wait(arm):
    """``(requests a minute while waiting, requests a minute with set-up and end, minutes, delay)``."""
    delay, last = arm.move("node-b")
    rows = arm.requests()
    created = max(row["real"] for row in rows if row["method"] == "POST" and row["path"].endswith("migrations"))
    minutes = (last - created) / 60
    waiting = [row for row in rows if created < row["real"] <= last]
    return len(waiting) / minutes, len(rows) / minutes, minutes, delay


def short_waits(arm, seconds):
    """The delays of migrations there and back, as many as fit."""
    end, delays, targets = time.monotonic() + seconds, [], ("node-b", "node-a")
    while not delays or time.monotonic() < end:
        delays.append(arm.move(targets[len(delays) % 2])[0])
    return delays


def p95(values):
    """The value that 95 % do not exceed (nearest rank)."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def figure(name, value, goal):
    """Print one figure; returns whether it is good enough."""
    good = value <= goal
    print("figure %s %.3f %s %s" % (name, value, goal, "ok" if good else "short"), flush=True)
    return good


def main():
    """All figures; returns the exit code, which only ours decide."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=600, help="length of the run (default: 600)")
    parser.add_argument("--vms", type=int, nargs="+", default=[1, 20], help="numbers of VMs (default: 1 20)")
    options = parser.parse_args()
    folder, arms = tempfile.mkdtemp(prefix="bigvm-bench-"), []

    def arm(kind, play, count, seconds):
        arms.append(Arm(folder, "%s-%d-%s" % (who, count, kind), play, count, seconds))
        return arms[-1]

    try:
        waits = {}
        with ThreadPoolExecutor(max_workers=16) as pool:
            for count in options.vms:
                for who, play in (("ours", OURS), ("peer", PEER)):
                    waits[who, count, "long"] = pool.submit(long_wait, arm("long", play, count, options.seconds))
                    waits[who, count, "short"] = pool.submit(short_waits, arm("short", play, count, SHORT), options.seconds)
            found = {key: wait.result() for key, wait in waits.items()}
        return 0 if report(found, options.vms) else 1
    finally:
        for one in arms:
            one.stop()
        shutil.rmtree(folder)


def report(found, counts):
    """Print everything; returns whether ours is good enough."""
    good = []
    for who in ("ours", "peer"):
        for count in counts:
            label = "%s_%dvm" % (who, count)
            a_minute, in_all, minutes, delay = found[who, count, "long"]
            delays = found[who, count, "short"] + [delay]
            print("note %s: %.1f minutes of waiting, %d returns, slowest %.3f s" % (label, minutes, len(delays), max(delays)))
            verdicts = [figure("wait_p95_seconds_" + label, p95(delays), DELAY_GOAL),
                        figure("wait_requests_per_minute_" + label, a_minute, REQUEST_GOAL)]
            print("note %s: %.3f requests a minute with set-up and end" % (label, in_all))
            good += verdicts if who == "ours" else []
    return all(good)


if __name__ == "__main__":
    sys.exit(main())
