# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The build tree: a real copy of the sources at .build/ansible_collections/bigvm/live_migration.

ansible-test only works below ``ansible_collections/<namespace>/<name>`` and sees
through symbolic links; pytest imports ``ansible_collections.bigvm...`` from here.
What git knows or would add is copied, what vanished is removed, nothing else is touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from places import BUILD, ROOT, TREE, lock

NEVER = {".git", ".build", ".venv", ".ansible", "__pycache__", "collections", "records"}


def sources():
    """Relative names of all files that belong to the project: tracked ones, and new ones that are not ignored."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )
    if listing.returncode == 0:
        return sorted(name for name in set(listing.stdout.split("\0")) if name and (ROOT / name).is_file())
    names = []  # an unpacked archive without git
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in NEVER]
        names += [os.path.relpath(os.path.join(folder, name), ROOT) for name in files]
    return sorted(names)


def sync(dependencies):
    """Bring the tree up to date.

    :param dependencies: the folder of the dependency collections, linked beside ours.
    """
    with lock("tree"):
        fill(BUILD, dependencies / "ansible_collections")
    return TREE


def apart(name):
    """A second tree at .build/``name`` for a tool that cannot bear files coming and going beside it; its path."""
    return fill(BUILD / name, BUILD / "ansible_collections")


def fill(base, dependencies):
    """Bring the tree below ``base`` up to date, the collections in ``dependencies`` beside it; the tree's path."""
    place, record = base / TREE.relative_to(BUILD), base / "tree.files"
    names = sources()
    before = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    for name in set(before) - set(names):
        (place / name).unlink(missing_ok=True)
    for name in names:
        copy(ROOT / name, place / name)
    record.write_text("\n".join(names) + "\n", encoding="utf-8")
    if not (place / ".git").exists():
        # A repository of its own: tools ask git for the files, and the outer one ignores all of .build.
        subprocess.run(["git", "init", "-q", str(place)], check=False)
    for collection in dependencies.glob("*/*"):
        if collection.resolve() != TREE:
            link(collection, base / "ansible_collections")
    return place


def copy(source, target):
    """Copy a file unless size and time say that it is the same one."""
    if target.exists():
        old, new = target.stat(), source.stat()
        if (old.st_size, old.st_mtime_ns, old.st_mode) == (new.st_size, new.st_mtime_ns, new.st_mode):
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def link(collection, beside):
    """Put a dependency beside our collection (ansible-test looks nowhere else for it)."""
    place = beside / collection.parent.name / collection.name
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink():
        if place.resolve() == collection.resolve():
            return
        place.unlink()
    place.symlink_to(collection)
