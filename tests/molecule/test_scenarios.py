# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each role by molecule: create, converge, idempotence, verify, destroy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXTENSIONS = ROOT / "extensions"
SCENARIOS = sorted(path.parent.name for path in EXTENSIONS.glob("molecule/*/molecule.yml"))
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
GUEST = Path(__file__).with_name("guest_world.py")
ON_A_GUEST = {path.parent.name for path in EXTENSIONS.glob("molecule/*/create.yml") if "guest_world.py" in path.read_text(encoding="utf-8")}
# What needs more than one host runs in namespaces of its own, with real libvirt and real guests; and a pool of nodes is
# prepared by a playbook around the role, with a test that also kills it in the middle.
ELSEWHERE = {
    "hana_node_prep": "tests/playbooks/test_prepare_cluster.py",
    "kvm_evacuation": "tests/lab/libvirt/test_host_maintenance_lab.py",
    "kvm_host_prep": "tests/lab/libvirt/test_host_prep_lab.py",
    "kvm_shared_storage": "tests/lab/libvirt/test_host_prep_lab.py",
}
STEPS = ("create", "converge", "idempotence", "verify", "destroy")


def test_every_role_has_its_scenario():
    assert set(ROLES) == {name for name in SCENARIOS if name in ROLES} | set(ELSEWHERE)
    for role, where in ELSEWHERE.items():
        assert role not in SCENARIOS and role in (ROOT / where).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name, tmp_path):
    if name in ON_A_GUEST:
        why = subprocess.run([sys.executable, str(GUEST), "why-not"], capture_output=True, text=True, check=True).stdout.strip()
        if why:
            pytest.skip(why)
    folder = tmp_path / name
    done = subprocess.run(
        ["molecule", "--base-config", str(EXTENSIONS / "molecule" / "config.yml"), "test", "-s", name], cwd=EXTENSIONS,
        env=dict(os.environ, MOLECULE_EPHEMERAL_DIRECTORY=str(folder), NO_COLOR="1", COLUMNS="160"), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout[-12000:]
    said = re.findall(r"^%s\s+.\s+(\w+): Executed: (\w+)" % name, done.stdout.partition("\nDETAILS")[2], re.MULTILINE)
    assert said == [(step, "Successful") for step in STEPS], done.stdout[-2000:]
    assert "Traceback" not in done.stdout
    left = [path for path in ("cluster", "guest") if (folder / path).exists()]
    assert not left, "not destroyed: %s" % left
