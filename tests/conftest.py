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
import sys

import pytest
from embedded import Cluster, run_rehearsal


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
