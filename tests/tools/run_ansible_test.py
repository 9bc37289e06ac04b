# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run ansible-test in a home folder of its own: ``run_ansible_test.py sanity|integration ...`` (in the environment).

ansible-test makes virtual environments and bootstraps pip in them with a script
that it downloads from a host many networks do not reach. The script is only
looked for when its cache lacks it, so the cache gets a stand-in: the same pinned
pip, installed from the package index by the pip that is here already. In the
developer's own ~/.ansible nothing is touched.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import ansible_test
import tree
from places import CACHE, TREE

STAND_IN = '''\
"""Stand-in for get-pip: installs the wanted pip with another environment's pip, from the package index."""
import subprocess
import sys

# The same flags as get-pip: what is not known here only leaves out packages that pip no longer brings.
WANTED = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([{python!r}, "-m", "pip", "--python", sys.executable, "install"] + WANTED))
'''


def home():
    """The private home folder, with pip's stand-in and the pip settings in force here."""
    place = CACHE / "ansible-test"
    cache = place / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    internals = Path(ansible_test.__path__[0]) / "_internal" / "python_requirements.py"
    for version in set(re.findall(r"pip='([\d.]+)'", internals.read_text(encoding="utf-8"))):
        (cache / f"get_pip_{version.replace('.', '_')}.py").write_text(
            STAND_IN.format(python=sys.executable), encoding="utf-8"
        )
    write_pip_settings(place / ".config" / "pip" / "pip.conf")
    return place


def write_pip_settings(path):
    """Carry pip's settings over as a file: ansible-test passes neither PIP_* nor the real home on."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = ["[global]"]
    for line in subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines():
        name, _equals, value = line.partition("=")
        section, _dot, option = name.rpartition(".")
        if section in ("global", ":env:") and option != "target":
            value = "\n    ".join(str(ast.literal_eval(value)).split())
            lines.append(f"{option} = {value}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)  # an index address may carry a password
    path.write_text("\n".join(dict.fromkeys(lines)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    # sanity opens every file that it has listed, and the tests beside it leave and remove some
    os.chdir(tree.apart("sanity") if sys.argv[1] == "sanity" else TREE)
    os.environ["HOME"] = str(home())
    # ansible-test decides itself where collections are and refuses to be told.
    os.environ.pop("ANSIBLE_COLLECTIONS_PATH", None)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    os.execvp("ansible-test", ["ansible-test", sys.argv[1], "--local", "--python", version] + sys.argv[2:])
