# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The folder of one embedded cluster: its files, and which process they belong to."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import Refused
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.tls import write_private

FILES = ("server.json", "server.log", "server.key", "server.crt", "ca.crt", "kubeconfig", "kubeconfig.file", "token",
         "lock")


class Folder:
    """The files of a cluster in one directory (0700, files 0600)."""

    def __init__(self, path):
        self.path = os.path.abspath(path)

    def file(self, name):
        """The path of one of :data:`FILES`."""
        return os.path.join(self.path, name)

    def make(self):
        """Create it, closed to others.

        :raises Refused: when there is such a folder and it is somebody else's or holds other things.
        """
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        if os.stat(self.path).st_uid != os.geteuid() or (os.listdir(self.path) and not self.ours()):
            raise Refused("The folder %s is not empty and not a rehearsal's, or belongs to another user." % self.path,
                          "Give a new or an empty one.")
        os.chmod(self.path, 0o700)

    def ours(self):
        """Whether a server was ever started here."""
        return os.path.exists(self.file("lock"))

    @contextlib.contextmanager
    def locked(self):
        """One start or stop at a time."""
        with open(self.file("lock"), "w", encoding="utf-8") as stream:
            os.chmod(self.file("lock"), 0o600)
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def running(self):
        """What the living server of this folder wrote about itself (dict), or None."""
        try:
            with open(self.file("server.json"), encoding="utf-8") as stream:
                said = json.load(stream)
            pid, birth = int(said["pid"]), said["born"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return said if birth and birth_of(pid) == birth else None

    def write(self, said):
        """Tell the others that this server runs: connection, pid, options."""
        write_private(self.file("kubeconfig"), kubeconfig(said["host"], said["api_key"], self.file("ca.crt")))
        by_file = kubeconfig(said["host"], None, self.file("ca.crt"), self.file("token"))
        write_private(self.file("kubeconfig.file"), by_file)
        write_private(self.file("server.json"), json.dumps(said))

    def write_token(self, token):
        """Put a token where ``kubeconfig.file`` says it is."""
        write_private(self.file("token"), token)

    def clear(self, names=FILES[:1]):
        """Remove files; what is not there is fine."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.file(name))

    def last_words(self, lines=3):
        """The end of the log as one line of text."""
        try:
            with open(self.file("server.log"), encoding="utf-8", errors="replace") as stream:
                return " / ".join(line.strip() for line in stream.read()[-4000:].splitlines()[-lines:] if line.strip())
        except OSError:
            return ""


def birth_of(pid):
    """When a process was started, as text that no later process with the same pid shares; None when it is not there."""
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return None
    told = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return told.stdout.strip() or None


def kubeconfig(host, token, authority, token_file=None):
    """A kubeconfig (JSON, which is YAML too) with a token, or the file that holds the present one."""
    name = "bigvm-rehearsal"
    user = {"tokenFile": token_file} if token_file else {"token": token}
    return json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": host, "certificate-authority": authority}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }, indent=1)
