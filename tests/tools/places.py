# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the development tooling keeps its things. Standard library only, like everything that runs before the venv."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".build"
TREE = BUILD / "ansible_collections" / "bigvm" / "live_migration"
CACHE = Path(os.environ.get("BIGVM_CACHE") or Path.home() / ".cache" / "bigvm")


def key(*parts):
    """A short name for the contents given (text or files), so that what is built from them is built once."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.read_bytes() if isinstance(part, Path) else str(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def lock(name):
    """One builder at a time; a second one waits and then finds the work done."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f".{name}.lock", "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
