# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests share: embedded clusters to test against, and the shared folder of real data.

``cluster`` makes servers that end with the test, ``shared`` those that end with the module (for tests that only read,
or keep to objects of their own)::

    def test_something(cluster):
        c = cluster(topology="tiny", generation="1.6")
        c.api.list("/api/v1/nodes").items
        c.connection        # dict for a task: host, api_key, ca_cert, validate_certs
        c.wait(60)          # let simulated seconds pass
        c.requests()        # audit log rows: method, path, query, status, ...
        c.stop()

A controller that raised fails the test, unless it set ``c.tolerate_errors``.

``BIGVM_CLUSTER=lab`` is the switch to a real control plane (tests/lab/kubernetes): tests marked ``any_cluster`` run
on it, all others are left out. ``@pytest.mark.embedded("why")`` takes single tests of such a module out.
``BIGVM_CLUSTER=kubevirt`` is the same with KubeVirt's own controllers (tests/lab/kubevirt) and ``any_kubevirt``.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

import pytest
from reached import Reached

MODULE = "ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal"
FLAGS = {"topology": "--topology", "generation": "--generation", "crds": "--crds", "clock": "--clock", "idle": "--idle",
         "seed": "--seed"}


class Cluster(Reached):
    """One embedded cluster in a process of its own."""

    def __init__(self, folder, bare=False, objects=(), **options):
        self.folder = str(folder)
        self.tolerate_errors = False
        self._arguments = ["--bare"] if bare else []
        for path in objects:
            self._arguments += ["--objects", str(path)]
        for name, value in options.items():
            if value is not None:
                self._arguments += [FLAGS[name], str(value)]
        self.said = self.command("start", *self._arguments)
        self.connection = {
            "host": self.said["host"], "api_key": self.said["api_key"], "ca_cert": self.said["ca_cert"],
            "validate_certs": True,
        }
        self.kubeconfig = self.said["kubeconfig"]
        self.api = self.client()

    def command(self, name, *arguments):
        """What ``start``, ``stop``, ``absent`` or ``status`` printed (dict); fails the test when it fails."""
        done = run_rehearsal(name, "--dir", self.folder, *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def namespace(self):
        """A new namespace's name."""
        return self.http("POST", "/api/v1/namespaces", {"metadata": {"generateName": "test-"}})[1]["metadata"]["name"]

    def settle(self, name):
        """Here a namespace is whole from the start."""

    def drop_watches(self):
        """End what earlier tests left open."""
        self.fault(drop_watches=True)

    def pass_by(self):
        """Let a simulated moment pass."""
        self.wait(1)

    def compact(self):
        """Forget the past: every version before now is too old."""
        self.fault(compact=True)

    def wait(self, seconds):
        """Let that many simulated seconds pass."""
        self.api.clock.sleep(seconds)

    def fault(self, **fault):
        """Inject a failure; see plugin_utils/rehearsal/faults.py. Returns the answer."""
        return self.api.create("/bigvm/v1/faults", fault)

    def token(self, rules, user="restricted"):
        """A token with restricted rights; see plugin_utils/rehearsal/access.py."""
        return self.api.create("/bigvm/v1/tokens", {"user": user, "rules": rules})["api_key"]

    def requests(self, method=None, contains=""):
        """Rows of the server's audit log, oldest first."""
        rows = self.api.get("/bigvm/v1/requests")["items"]
        return [row for row in rows if method in (None, row["method"]) and contains in row["path"]]

    def errors(self):
        """Tracebacks of controllers."""
        return self.api.get("/bigvm/v1/errors")["items"]

    def stop(self):
        """End the server."""
        return self.command("stop")

    def finish(self):
        """End it and fail the test for what the controllers raised meanwhile."""
        errors = []
        status = self.command("status")
        if status["state"] == "started":  # perhaps another server or token than at first
            self.connection.update({key: status[key] for key in ("host", "api_key", "ca_cert")})
            errors = self.client().get("/bigvm/v1/errors")["items"]
        self.command("absent")
        assert self.tolerate_errors or not errors, "\n".join(errors)


def run_rehearsal(*arguments):
    """Run the embedded cluster's command line; returns the finished process."""
    return subprocess.run([sys.executable, "-m", MODULE] + list(arguments), capture_output=True, text=True, check=False,
                          timeout=60)


@pytest.fixture(scope="session")
def rehearsal():
    """The embedded cluster's command line: ``rehearsal("start", "--dir", folder)`` returns the finished process."""
    return run_rehearsal


@contextlib.contextmanager
def _factory(folder_of):
    made, failures = [], []

    def make(**options):
        options.setdefault("idle", 300)  # a killed test run leaves nothing behind for long
        made.append(Cluster(folder_of(), **options))
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            try:
                one.finish()
            except AssertionError as exc:
                failures.append(str(exc))
    assert not failures, "\n".join(failures)


# -- the switch: embedded cluster or lab ------------------------------------

WHICH = os.environ.get("BIGVM_CLUSTER", "embedded")
LAB = WHICH == "lab"
RELEASE = "1.9"  # of KubeVirt in the lab


def pytest_configure(config):
    """The marks."""
    config.addinivalue_line("markers", "any_cluster: true of any API server; runs on the embedded cluster and on the lab")
    config.addinivalue_line("markers", "embedded(why): of such a module, but only for the embedded cluster")
    config.addinivalue_line("markers", "lab: only for the lab")
    config.addinivalue_line("markers", "long: a whole run of more than half a minute, for make test-lab")
    config.addinivalue_line("markers", "any_kubevirt: true of KubeVirt; runs on the embedded cluster and on its own controllers")
    config.addinivalue_line("markers", "kubevirt: only for the lab with KubeVirt")


def pytest_collection_modifyitems(config, items):
    """Leave out what is not for the chosen cluster."""
    def fits(item):
        if WHICH == "kubevirt":
            release = getattr(item, "callspec", None) and item.callspec.params.get("generation", RELEASE)
            return bool(item.get_closest_marker("kubevirt")) or (
                bool(item.get_closest_marker("any_kubevirt")) and release in (None, RELEASE))
        if LAB:
            return bool(item.get_closest_marker("lab")) or (
                bool(item.get_closest_marker("any_cluster")) and not item.get_closest_marker("embedded"))
        return not (item.get_closest_marker("lab") or item.get_closest_marker("kubevirt"))

    left = [item for item in items if fits(item)]
    if len(left) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if not fits(item)])
        items[:] = left


@pytest.fixture(scope="session")
def lab():
    """The lab's control plane, started once; skips, and says why, where it cannot be had."""
    _lab_modules("kubernetes")
    import lab_cluster

    with lab_cluster.running() as said:
        yield said


@pytest.fixture(scope="session")
def site():
    """The lab with KubeVirt's own controllers, started once; skips, and says why, where it cannot be had."""
    _lab_modules("kubernetes", "kubevirt")
    import lab_cluster

    with lab_cluster.running(kubevirt=True) as said:
        yield said


def _lab_modules(*names):
    for name in names:
        sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lab", name))


@pytest.fixture
def kubevirt(site):
    """Make clusters of the lab for one test, one at a time: ``kubevirt(topology=...)``."""
    import kubevirt_cluster

    def make(topology="tiny", generation=None):
        assert generation in (None, RELEASE), "the lab has KubeVirt " + RELEASE
        one = kubevirt_cluster.KubevirtCluster(site)
        one.load(topology)
        return one

    yield make


@contextlib.contextmanager
def _lab_factory(request):
    said, made = request.getfixturevalue("lab"), []
    import lab_cluster

    def make(**options):
        made.append(lab_cluster.LabCluster(said, **options))
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            one.finish()


@pytest.fixture
def cluster(request, tmp_path_factory):
    """Make servers for one test: ``cluster(topology=..., generation=..., crds=..., objects=..., bare=...)``."""
    if WHICH == "kubevirt":
        yield request.getfixturevalue("kubevirt")
        return
    with _lab_factory(request) if LAB else _factory(lambda: tmp_path_factory.mktemp("cluster")) as make:
        yield make


@pytest.fixture(scope="module")
def shared(request, tmp_path_factory):
    """The same for one module; asked twice for the same cluster it gives the same."""
    made = {}
    with _lab_factory(request) if LAB else _factory(lambda: tmp_path_factory.mktemp("shared")) as make:

        def once(**options):
            key = json.dumps(options, sort_keys=True, default=str)
            if key not in made:
                made[key] = make(**options)
            return made[key]

        yield once


@pytest.fixture(scope="session")
def shared_folder():
    """The folder of real data and CRDs; skips without it."""
    path = os.environ.get("BIGVM_SHARED", "")
    if not os.path.isdir(path):
        pytest.skip("BIGVM_SHARED does not name the folder of shared facts and real data")
    return path
