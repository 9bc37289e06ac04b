# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running the collection's playbooks as an operator does, from a shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

FQCN = "bigvm.live_migration."
READABLE = {
    "ANSIBLE_DISPLAY_OK_HOSTS": "false", "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false", "ANSIBLE_LOCALHOST_WARNING": "false",
    "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false", "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml", "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_DEPRECATION_WARNINGS": "false", "COLUMNS": "80",
}


class Run:
    """How a playbook ended and what it printed."""

    def __init__(self, rc, output, folder):
        self.rc, self.output, self.folder = rc, output, Path(folder)

    @property
    def records(self):
        """The records in the run's folder, oldest first."""
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("records/*.json"), key=os.path.getmtime)]

    @property
    def said(self):
        """The output with all white space as one blank, to look for sentences that were wrapped."""
        return " ".join(self.output.split())


class Operator:
    """Somebody at a shell in a folder of their own. With BIGVM_SHOW=1 all that they see is printed as it comes."""

    def __init__(self, folder, python=sys.executable):
        self.folder = Path(folder)
        self.program = Path(python).with_name("ansible-playbook")

    def command(self, playbook, *words, **variables):
        """The command line; a playbook of the collection, or a file. ``variables`` become extra vars with their types."""
        return [str(self.program), playbook if playbook.endswith(".yml") else FQCN + playbook, "-e", json.dumps(variables), *words]

    def environment(self, **more):
        """Without connection settings of the machine the tests run on."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("K8S_AUTH", "KUBE"))}
        return {**own, **READABLE, **{name: str(value) for name, value in more.items()}}

    def run(self, playbook, *words, env=None, stdin=None, **variables):
        """Run to the end."""
        done = subprocess.run(
            self.command(playbook, *words, **variables), cwd=self.folder, env=self.environment(**(env or {})), text=True,
            input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=300, check=False)
        self.show(done.stdout)
        return Run(done.returncode, done.stdout, self.folder)

    @staticmethod
    def show(text):
        """Print it where somebody wants to see it."""
        if os.environ.get("BIGVM_SHOW"):
            print(text, end="" if text.endswith("\n") else "\n", flush=True)

    def start(self, playbook, **variables):
        """Start, in a process group of its own; the caller reads and kills."""
        return subprocess.Popen(
            self.command(playbook, **variables), cwd=self.folder, env=self.environment(), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
