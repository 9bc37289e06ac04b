# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each role, and prepare_cluster, by molecule: create, converge, idempotence, verify, destroy."""

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
# What a scenario's machines are made by, and the program that says why it cannot here.
WORLDS = {path.parent.name: world for path in EXTENSIONS.glob("molecule/*/create.yml")
          for world in Path(__file__).parent.glob("*_world.py") if world.name in path.read_text(encoding="utf-8")}
STEPS = ("create", "converge", "idempotence", "verify", "destroy")


def test_every_role_has_its_scenario():
    assert set(SCENARIOS) == set(ROLES) | {"prepare_cluster", "hana_guest_tuning_new"}
    assert set(WORLDS) == {name for name in SCENARIOS if name.startswith(("kvm_", "hana_guest_"))}


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name, tmp_path):
    if name in WORLDS:
        why = subprocess.run([sys.executable, str(WORLDS[name]), "why-not"], capture_output=True, text=True, check=True).stdout.strip()
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
