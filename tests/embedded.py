# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Embedded clusters for tests, each a server in a process of its own (the fixtures are in conftest.py)."""

from __future__ import annotations

import atexit
import concurrent.futures
import functools
import multiprocessing
import os
import subprocess
import sys

from reached import Reached

MODULE = "ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal"


class Cluster(Reached):
    """One embedded cluster; ``options`` are those of the rehearsal's ``Options``, but for None."""

    def __init__(self, folder, **options):
        self.folder = str(folder)
        self.tolerate_errors = False
        self._options = {name: value for name, value in options.items() if value is not None}
        self.said = self.command("start")
        self.connection = {
            "host": self.said["host"], "api_key": self.said["api_key"], "ca_cert": self.said["ca_cert"],
            "validate_certs": True,
        }
        self.kubeconfig = self.said["kubeconfig"]
        self.api = self.client()

    def command(self, name):
        """What ``start``, ``stop``, ``absent`` or ``status`` answers (dict); fails the test when it fails."""
        answer = _starter().submit(_command, name, self.folder, self._options).result(60)
        assert "failed" not in answer, answer["failed"]
        return answer

    def namespace(self):
        """A new namespace's name."""
        return self.http("POST", "/api/v1/namespaces", {"metadata": {"generateName": "test-"}})[1]["metadata"]["name"]

    def settle(self, name):
        """Here a namespace is whole from the start."""

    def drop_watches(self):
        """End what earlier tests left open."""
        self.fault(drop_watches=True)

    def pass_by(self):
        """Let a simulated moment pass."""
        self.wait(1)

    def compact(self):
        """Forget the past: every version before now is too old."""
        self.fault(compact=True)

    def wait(self, seconds):
        """Let that many simulated seconds pass."""
        self.api.clock.sleep(seconds)

    def fault(self, **fault):
        """Inject a failure; see plugin_utils/rehearsal/faults.py. Returns the answer."""
        return self.api.create("/bigvm/v1/faults", fault)

    def token(self, rules, user="restricted"):
        """A token with restricted rights; see plugin_utils/rehearsal/access.py."""
        return self.api.create("/bigvm/v1/tokens", {"user": user, "rules": rules})["api_key"]

    def requests(self, method=None, contains=""):
        """Rows of the server's audit log, oldest first."""
        rows = self.api.get("/bigvm/v1/requests")["items"]
        return [row for row in rows if method in (None, row["method"]) and contains in row["path"]]

    def errors(self):
        """Tracebacks of controllers."""
        return self.api.get("/bigvm/v1/errors")["items"]

    def stop(self):
        """End the server."""
        return self.command("stop")

    def finish(self):
        """End it and fail the test for what the controllers raised meanwhile."""
        errors = []
        status = self.command("status")
        if status["state"] == "started":  # perhaps another server or token than at first
            self.connection.update({key: status[key] for key in ("host", "api_key", "ca_cert")})
            errors = self.client().get("/bigvm/v1/errors")["items"]
        self.command("absent")
        assert self.tolerate_errors or not errors, "\n".join(errors)


@functools.cache
def _starter():
    """A process that has imported all and forks the servers: a new interpreter for each costs ten times as much."""
    pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    atexit.register(pool.shutdown)
    return pool


def _command(name, folder, options):
    from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import LiveMigrationError
    from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import process
    from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.assembly import Options

    try:
        if name != "start":
            return getattr(process, name)(folder)
        paths = {key: os.path.abspath(options[key]) for key in ("topology", "crds")
                 if key in options and os.path.exists(options[key])}
        objects = tuple(os.path.abspath(path) for path in options.get("objects", ()))
        return process.start(folder, Options(**{**options, **paths, "objects": objects}))
    except (LiveMigrationError, OSError) as exc:
        return {"failed": str(exc)}


def run_rehearsal(*arguments):
    """Run the embedded cluster's command line; returns the finished process."""
    return subprocess.run([sys.executable, "-m", MODULE] + list(arguments), capture_output=True, text=True, check=False,
                          timeout=60)
