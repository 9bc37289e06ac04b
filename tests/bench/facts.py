# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What judging a big cluster costs: ``python tests/bench/facts.py``.

100 nodes, 5,000 guests and 10,000 claims on an embedded cluster, judged by vm_migratable_facts with all of its lists; at its
side, in turn, a bare client that fetches the same pages and parses them, and the procedure that S1-45 describes with
kubernetes.core.k8s_info (the VM, then each of its claims) on a sample of VMs. Medians of paired runs.

Prints one line per figure: ``figure NAME VALUE GOAL ok|short``. ``--pairs 1 --sample 5`` makes it short.
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
import time

REHEARSAL = "ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal"
NODES, VMS = 100, 5000
OURS = """
import json, sys
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import Api
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import Task
from ansible_collections.bigvm.live_migration.plugins.modules import vm_migratable_facts as module
import kubernetes
said = json.load(open(sys.argv[1]))
def source():
    found = kubernetes.client.Configuration()
    found.host, found.ssl_ca_cert = said["host"], said["ca_cert"]
    found.api_key = {"authorization": "Bearer " + said["api_key"]}
    return found, {}
params = {name: option.get("default") for name, option in module.SPEC.items()}
done = module.execute(Task(params, Api(source).handshake()))
assert done["ansible_facts"]["vm_migratable"]["summary"]["live"] == int(sys.argv[2]), done["ansible_facts"]["vm_migratable"]["summary"]
"""
BARE = """
import json, ssl, sys
from http.client import HTTPSConnection
from urllib.parse import urlsplit
said = json.load(open(sys.argv[1]))
link = HTTPSConnection(urlsplit(said["host"]).netloc, context=ssl.create_default_context(cafile=said["ca_cert"]))
def get(path):
    link.request("GET", path, headers={"Authorization": "Bearer " + said["api_key"]})
    return json.loads(link.getresponse().read())
kept = []
for path in json.load(open(sys.argv[2])):
    token = ""
    while True:
        mark = "&" if "?" in path else "?"
        page = get(path + (mark + "limit=500" + ("&continue=" + token if token else "")))
        kept.append(page)
        token = (page.get("metadata") or {}).get("continue") or ""
        if not token:
            break
"""
LOOP = """
- hosts: localhost
  gather_facts: false
  connection: local
  tasks:
    - kubernetes.core.k8s_info:
        api_version: kubevirt.io/v1
        kind: VirtualMachine
        namespace: "{{{{ item.0 }}}}"
        name: "{{{{ item.1 }}}}"
      loop: {vms}
      register: found
    - kubernetes.core.k8s_info:
        kind: PersistentVolumeClaim
        namespace: "{{{{ item.0.metadata.namespace }}}}"
        name: "{{{{ item.1.dataVolume.name | default(item.1.persistentVolumeClaim.claimName) }}}}"
      loop: >-
        {{{{ found.results | map(attribute='resources') | flatten | subelements('spec.template.spec.volumes')
        | selectattr('1.dataVolume', 'defined') | list }}}}
      loop_control: {{label: ""}}
"""
PLAY = """
- hosts: localhost
  gather_facts: false
  connection: local
  tasks:
    - bigvm.live_migration.vm_migratable_facts:
      no_log: true
"""


def rehearsal(command, folder, *options):
    """One command of the embedded cluster; returns what it printed."""
    done = subprocess.run([sys.executable, "-m", REHEARSAL, command, "--dir", folder, *options], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def measured(words, said):
    """``(seconds, CPU seconds, MiB)`` of a process and those it waited for; memory is that of the biggest."""
    environment = dict(os.environ, K8S_AUTH_HOST=said["host"], K8S_AUTH_API_KEY=said["api_key"], K8S_AUTH_SSL_CA_CERT=said["ca_cert"],
                       ANSIBLE_LOCALHOST_WARNING="false", ANSIBLE_INVENTORY_UNPARSED_WARNING="false")
    begin = time.monotonic()
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.stdout.read()
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, output[-3000:].decode()
    return time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def figure(name, value, goal, least=False):
    """Print one figure; returns whether it is good enough."""
    good = value >= goal if least else value <= goal
    print("figure %s %.2f %s %s" % (name, value, goal, "ok" if good else "short"), flush=True)
    return good


class Bench:
    """Two clusters, one of a fifth of the size."""

    def __init__(self, folder):
        self.folder = folder
        self.program = os.path.join(os.path.dirname(sys.executable), "ansible-playbook")

    def file(self, name, text):
        """A file in the folder; returns its path."""
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
        return path

    def start(self, name, vms):
        """A cluster with as many claims again as its guests have."""
        more = [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "spare-%d" % number, "namespace": "default"},
                 "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}} for number in range(vms)]
        claims = self.file("claims-%s.json" % name, json.dumps({"apiVersion": "v1", "kind": "List", "items": more}))
        said = rehearsal("start", os.path.join(self.folder, name), "--topology", "scale:%dx%d" % (NODES, vms), "--objects", claims)
        said["file"] = self.file(name + ".json", json.dumps(said))
        return said

    def ours(self, said, vms):
        """Our module's work in a process of its own."""
        return measured([sys.executable, self.file("ours.py", OURS), said["file"], str(vms)], said)

    def bare(self, said, paths):
        """The same lists, fetched and parsed."""
        return measured([sys.executable, self.file("bare.py", BARE), said["file"], self.file("paths.json", json.dumps(paths))], said)

    def play(self, said, text):
        """A playbook of that text."""
        return measured([self.program, self.file("play.yml", text)], said)


def listed(said):
    """``(number of requests, [path with query of each LIST])`` of the audit log since the start."""
    import ssl
    import urllib.request

    request = urllib.request.Request(said["host"] + "/bigvm/v1/requests", headers={"Authorization": "Bearer " + said["api_key"]})
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=said["ca_cert"])) as answer:
        rows = [row for row in json.load(answer)["items"] if not row["path"].startswith("/bigvm/")]
    paths = []
    for row in rows:
        query = row.get("query") or ""
        query = query if isinstance(query, str) else "&".join("%s=%s" % pair for pair in query.items())
        kept = "&".join(part for part in query.split("&") if part and not part.startswith(("limit=", "continue=")))
        path = row["path"] + ("?" + kept if kept else "")
        if "limit=" in query and path not in paths:
            paths.append(path)
    return len(rows), paths


def sample(said, count):
    """``[[namespace, name]]`` of some guests."""
    import ssl
    import urllib.request

    request = urllib.request.Request(said["host"] + "/apis/kubevirt.io/v1/virtualmachines?limit=%d" % count,
                                     headers={"Authorization": "Bearer " + said["api_key"]})
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=said["ca_cert"])) as answer:
        return [[one["metadata"]["namespace"], one["metadata"]["name"]] for one in json.load(answer)["items"]]


def main():
    """All figures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--sample", type=int, default=20, help="VMs that the loop is measured on")
    parser.add_argument("--vms", type=int, default=VMS)
    options = parser.parse_args()
    bench = Bench(tempfile.mkdtemp(prefix="bigvm-bench-"))
    try:
        large, small = bench.start("large", options.vms), bench.start("small", options.vms // 5)
        bench.ours(large, options.vms)
        requests, paths = listed(large)
        good = [figure("requests", requests, 60)]
        ours, bare, few, plays, loops = [], [], [], [], []
        for _pair in range(options.pairs):
            ours.append(bench.ours(large, options.vms))
            bare.append(bench.bare(large, paths))
            few.append(bench.ours(small, options.vms // 5))
        for _pair in range(max(1, options.pairs // 2)):
            plays.append(bench.play(large, PLAY))
            one = bench.play(large, LOOP.format(vms=json.dumps(sample(large, 1))))
            many = bench.play(large, LOOP.format(vms=json.dumps(sample(large, 1 + options.sample))))
            loops.append((many[0] - one[0]) / options.sample)  # without what starting Ansible costs
        per_vm = statistics.median(row[0] for row in plays) / options.vms
        good += [
            figure("times_faster_per_vm_than_the_loop", statistics.median(loops) / per_vm, 500, least=True),
            figure("cpu_times_a_bare_client", statistics.median(a[1] / b[1] for a, b in zip(ours, bare)), 1.5),
            figure("module_mib", statistics.median(row[2] for row in ours), 400),
            figure("ansible_playbook_mib", statistics.median(row[2] for row in plays), 400),
            figure("time_of_5_times_the_vms", statistics.median(a[0] / b[0] for a, b in zip(ours, few)), 5.5),
        ]
        print("note %d VMs in %.1f s, module alone %.1f s (CPU %.1f s, bare client %.1f s); the loop takes %.2f s per VM; %d pairs" % (
            options.vms, statistics.median(row[0] for row in plays), statistics.median(row[0] for row in ours),
            statistics.median(row[1] for row in ours), statistics.median(row[1] for row in bare), statistics.median(loops), options.pairs))
    finally:
        for name in ("large", "small"):
            rehearsal("absent", os.path.join(bench.folder, name))
        shutil.rmtree(bench.folder)
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
