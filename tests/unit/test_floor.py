# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The promised floor by a real Python of that age: every module is imported by it, with all that it is made of."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import ansible
import pytest

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "ansible_collections.bigvm.live_migration.plugins."
# As on a managed host: nothing but Ansible's module_utils and the collection; what else a module can use is not there.
IMPORT = """
import importlib, json, sys
failed = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as exc:
        failed[name] = "%s: %s" % (type(exc).__name__, exc)
print(json.dumps({"python": list(sys.version_info[:2]), "failed": failed}))
"""


def floor():
    """A Python 3.9; None where there is none."""
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    for found in [shutil.which("python3.9"), *sorted(map(str, versions.glob("3.9.*/bin/python3.9")))]:
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    return None


def test_every_module_is_imported_by_the_oldest_python(tmp_path):
    python = floor()
    if not python:
        pytest.skip("no Python 3.9 is here")
    # ansible's own package imports what a managed host does not have; there it is a shell around module_utils, and so it is here
    package = tmp_path / "ansible"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = %r\n__author__ = ''\n" % ansible.__version__)
    for name in ("module_utils", "_internal", "release.py"):
        there = Path(ansible.__file__).parent / name
        if there.exists():
            (package / name).symlink_to(there)
    names = [PREFIX + ".".join(path.relative_to(ROOT / "plugins").with_suffix("").parts)
             for folder in ("modules", "module_utils") for path in sorted((ROOT / "plugins" / folder).rglob("*.py"))]
    assert len(names) > 60
    environment = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT.parents[2])]),
                   "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(tmp_path)}
    done = subprocess.run([python, "-c", IMPORT, *names], capture_output=True, text=True, check=False, env=environment, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == '{"python": [3, 9], "failed": {}}'
