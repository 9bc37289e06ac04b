# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab for its tests: three hosts, brought up once; ``a`` and ``b`` are alike, ``c`` has an older QEMU and another CPU.

``guest(...)`` makes a guest that is gone from every host after the test. ``lab.module(...)`` runs one of our modules on a
host, by the system's own Python as there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
sys.path.insert(0, str(HERE))

import kvm_install as install  # noqa: E402
import kvm_lab as machinery  # noqa: E402
from kvm_hosts import Lab  # noqa: E402

if WORKER:  # tests that run side by side have a lab each
    os.environ["BIGVM_LAB_LOCK"] = str(install.CACHE / ("lock." + WORKER))


@pytest.fixture(scope="session")
def lab():
    """All hosts up; ends with the test run, however that ends."""
    reason = install.why_not()
    if reason:
        pytest.skip(reason)
    ours, theirs = os.pipe()
    try:
        status = machinery.up(["a", "b", "c"], ["c"], until_eof=ours)
    except install.NotPossible as exc:
        pytest.skip("the libvirt lab could not be set up: %s" % exc)
    except machinery.LabError as exc:
        if "one at a time" in str(exc):
            pytest.skip(str(exc))
        raise
    try:
        yield Lab(status)
    finally:
        os.close(theirs)
        machinery.down()
        os.close(ours)


@pytest.fixture
def guest(lab):
    """Make a guest on a host: ``guest("g1", dirty_mb=64, dirty_rate=20)``; its name. It beats when this returns."""
    made = []

    def make(name, host="a", start=True, **how):
        made.append(name)
        lab.define(host, name, **how)
        if start:
            lab.boot(host, name)
        return name

    yield make
    for host, device in sorted(lab.linked):
        lab.link(host, device, "up")
        lab.link(host, device, "free")
    lab.linked.clear()
    for name in made:
        lab.remove(name)


@pytest.fixture
def move(lab):
    """``move("g1")`` from a to b; the module's result."""

    def call(name, source="a", target="b", **options):
        return lab.module(source, "libvirt_migrate", **dict({"name": name, "destination": lab.uri(target)}, **options))

    return call
