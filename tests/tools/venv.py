# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The virtual environments, kept in the cache by the hash of what is pinned and of the Python underneath.

Three profiles: ``test`` is the whole lock; ``run`` is the part of it that a
rehearsal needs, so that a newcomer's first ``make rehearse`` waits less; ``oldest``
has the oldest ansible-core and kubernetes that galaxy and meta promise, for the
playbooks that tests run on both.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

from places import CACHE, ROOT, key, lock

LOCK = ROOT / "tests" / "requirements.txt"
RUN = (ROOT / "requirements.txt", ROOT / "requirements-rehearsal.txt")
OLD = ROOT / "tests" / "requirements-oldest.txt"
OLDEST, NEWEST = (3, 11), (3, 13)  # what the pinned ansible-core runs on
OLD_NEWEST = (3, 12)  # what the oldest one runs on
PROBE = "import sys; print(*sys.version_info[:2], sys.base_prefix)"


def base_python():
    """The first interpreter that really runs and that the lock is made for: ``(path, identity)``.

    :raises SystemExit: when there is none.
    """
    seen = []
    names = [sys.executable] + [f"python3.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]
    for name in names:
        # A version manager's shim may be on PATH and still not run: asked, not believed.
        try:
            answer = subprocess.run([name, "-c", PROBE], capture_output=True, text=True, check=True, timeout=60).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        major, minor, prefix = answer.split(None, 2)
        seen.append(f"{major}.{minor}")
        if OLDEST <= (int(major), int(minor)) <= NEWEST:
            return name, f"{major}.{minor} {prefix.strip()}"
    raise SystemExit(
        f"No Python {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]} found (seen: {', '.join(seen) or 'none'}). "
        "The pinned ansible-core needs one; install it or call make with PYTHON=/path/to/python3."
    )


def ensure(profile):
    """The environment's folder, made when it is not there.

    :param profile: ``test``, ``run`` or ``oldest``; a ready ``test`` environment serves ``run`` too.
    :returns: None for ``oldest`` where this Python is too new for it.
    """
    python, identity = base_python()
    if profile == "oldest":
        if tuple(map(int, identity.split()[0].split("."))) > OLD_NEWEST:
            return None
        return _made(CACHE / f"venv-oldest-{key(OLD, *RUN, identity)}", python)
    test = CACHE / f"venv-test-{key(LOCK, identity)}"
    place = test if profile == "test" or ready(test) else CACHE / f"venv-run-{key(LOCK, *RUN, identity)}"
    return _made(place, python)


def _made(place, python):
    if ready(place):
        return place
    with lock("venv"):
        if not ready(place):
            make(place, python)
    return place


def ready(place):
    """Whether the environment was finished."""
    return (place / "complete").exists()


def make(place, python):
    """Create and fill the environment; the marker is written last, so that a torn one is made anew."""
    print(f"Setting up Python packages (once, about half a minute) in {place} ...", file=sys.stderr, flush=True)
    shutil.rmtree(place, ignore_errors=True)
    if subprocess.run([python, "-m", "venv", str(place)], capture_output=True, check=False).returncode:
        # Debian without python3-venv: the interpreter's own pip fills an empty environment.
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([python, "-m", "venv", "--without-pip", str(place)], check=True)
        subprocess.run([python, "-m", "pip", "--python", str(place / "bin" / "python"), "install", "-q", "pip"], check=True)
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if place.name.startswith("venv-test"):
        what = ["--no-deps", "-r", str(LOCK)]
    elif place.name.startswith("venv-oldest"):
        what = [word for path in (OLD, *RUN) for word in ("-r", str(path))]
    else:
        what = ["ansible-core", "-c", str(LOCK)] + [word for path in RUN for word in ("-r", str(path))]
    subprocess.run(pip + what, check=True, stdout=sys.stderr)
    (place / "complete").touch()


if __name__ == "__main__":
    print(ensure(sys.argv[1] if len(sys.argv) > 1 else "test"))
