# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collections we depend on, at the versions pinned in tests/dependencies.json, without needing Galaxy.

The ``ansible`` package of PyPI carries them all in one wheel; only the wanted
folders are unpacked. Where PyPI lacks that wheel, ``ansible-galaxy`` is asked.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from places import CACHE, ROOT, key, lock

PINS = ROOT / "tests" / "dependencies.json"


def ensure(venv):
    """The folder that holds ``ansible_collections`` with the pinned dependencies.

    :param venv: the environment whose pip and ansible-galaxy are used.
    """
    place = CACHE / f"collections-{key(PINS)}"
    if place.exists():
        return place
    with lock("collections"):
        if not place.exists():
            print(f"Setting up collections (once) in {place} ...", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(dir=CACHE, prefix="collections-") as work:
                fill(venv, Path(work))
                (Path(work) / "root").rename(place)
    return place


def fill(venv, work):
    """Put the pinned collections below ``work/root``.

    :raises SystemExit: neither source answers, or another version came than is pinned.
    """
    pins = json.loads(PINS.read_text(encoding="utf-8"))
    root = work / "root"
    try:
        from_wheel(venv, work, root, pins)
    except subprocess.CalledProcessError:
        print("PyPI did not give the ansible wheel; asking Galaxy ...", file=sys.stderr, flush=True)
        from_galaxy(venv, root, pins)
    for name, version in pins["collections"].items():
        found = version_of(root / "ansible_collections" / name.replace(".", "/"))
        if found != version:
            raise SystemExit(f"{name} is pinned to {version} in {PINS.name}, but {found} came. Correct the pin.")


def from_wheel(venv, work, root, pins):
    """Unpack the pinned collections from the ``ansible`` wheel."""
    pip = [str(venv / "bin" / "python"), "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    wanted = f"ansible=={pins['ansible']}"
    subprocess.run(pip + ["--no-deps", "--only-binary=:all:", "-d", str(work), wanted], check=True, stdout=sys.stderr)
    folders = tuple(f"ansible_collections/{name.replace('.', '/')}/" for name in pins["collections"])
    with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
        wheel.extractall(root, [name for name in wheel.namelist() if name.startswith(folders)])


def from_galaxy(venv, root, pins):
    """Have ansible-galaxy install the pinned versions."""
    shutil.rmtree(root, ignore_errors=True)
    wanted = [f"{name}:=={version}" for name, version in pins["collections"].items()]
    galaxy = [str(venv / "bin" / "ansible-galaxy"), "collection", "install", "--no-deps", "-p", str(root)]
    if subprocess.run(galaxy + wanted, check=False, stdout=sys.stderr).returncode:
        raise SystemExit("Neither PyPI nor Galaxy gave the collections this one depends on. Check the network or the proxy.")


def version_of(folder):
    """The version a collection's MANIFEST.json states, or None without one."""
    manifest = folder / "MANIFEST.json"
    if not manifest.exists():
        return None
    return json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"]
