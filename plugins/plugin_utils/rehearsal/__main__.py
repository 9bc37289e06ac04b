# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line of the embedded cluster: ``python -m ... start|stop|absent|status --dir DIR``."""

from __future__ import annotations

import argparse
import json
import os
import sys


def parser():
    """The command line (argparse parser)."""
    top = argparse.ArgumentParser(prog="rehearsal", description="A small KubeVirt cluster to rehearse on.")
    commands = top.add_subparsers(dest="command", required=True)
    for name, what in (("start", "start it, or say where it runs"), ("stop", "end it"),
                       ("absent", "end it and remove its folder"), ("status", "say whether it runs")):
        command = commands.add_parser(name, help=what)
        command.add_argument("--dir", required=True, help="folder of its files")
        if name == "start":
            _start_options(command)
    return top


def _start_options(command):
    command.add_argument("--topology", help="name or file of what it consists of")
    command.add_argument("--objects", action="append", default=[], help="file of objects to load (repeatable)")
    command.add_argument("--generation", help="KubeVirt release to play, for example 1.9")
    command.add_argument("--crds", help="folder or file of CustomResourceDefinitions")
    command.add_argument("--clock", choices=("simulated", "real"), default="simulated")
    command.add_argument("--idle", type=float, default=1800, help="seconds without a request until it ends")
    command.add_argument("--seed", type=int, default=0, help="of generated names and uids")
    command.add_argument("--bare", action="store_true", help="the API alone, without controllers and objects")


def main(arguments=None):
    """Do one command; prints one line of JSON. Returns the exit code."""
    asked = parser().parse_args(arguments)
    from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import LiveMigrationError
    from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import process

    try:
        if asked.command == "start":
            answer = process.start(asked.dir, _options(asked))
        else:
            answer = getattr(process, asked.command)(asked.dir)
    except (LiveMigrationError, OSError) as exc:
        print(str(exc), file=sys.stderr)
        return 1
    print(json.dumps(answer))
    return 0


def _options(asked):
    from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.assembly import Options

    def absolute(path):
        return os.path.abspath(path) if path and os.path.exists(path) else path

    return Options(
        topology=absolute(asked.topology), objects=tuple(map(absolute, asked.objects)), generation=asked.generation,
        crds=absolute(asked.crds), clock=asked.clock, idle=asked.idle, seed=asked.seed, bare=asked.bare,
    )


if __name__ == "__main__":
    sys.exit(main())
