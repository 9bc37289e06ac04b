# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Set up what is missing, then run a command in it: ``enter.py PROFILE [command ...]``.

PROFILE is ``run`` (a rehearsal) or ``test`` (everything). The command starts in
the caller's folder with the environment's programs first on PATH and the build
tree as the collections path. Without a command the places are printed.
"""

from __future__ import annotations

import os
import sys
import venv

import deps
import tree
from places import BUILD

# What a developer's shell may carry and what no test and no rehearsal may depend on.
FOREIGN = ("ANSIBLE_CONFIG", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


def environment(place, oldest=None):
    """The variables for a command in the environment ``place`` (a venv folder); ``oldest`` is the one beside it."""
    variables = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    variables.update(
        PATH=f"{place / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        ANSIBLE_COLLECTIONS_PATH=str(BUILD),
        BIGVM_VENV=str(place),
        BIGVM_OLDEST=str(oldest or ""),
    )
    return variables


def main(profile, *command):
    """Set up and run."""
    place = venv.ensure(profile)
    oldest = venv.ensure("oldest") if profile == "test" else None
    collections = deps.ensure(place)
    built = tree.sync(collections)
    if not command:
        print(f"venv        {place}\ncollections {collections}\ntree        {built}")
        return
    variables = environment(place, oldest)
    os.environ["PATH"] = variables["PATH"]  # execvpe looks the program up in our own PATH
    os.execvpe(command[0], command, variables)


if __name__ == "__main__":
    main(*sys.argv[1:])
