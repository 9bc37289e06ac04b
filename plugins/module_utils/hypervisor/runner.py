# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One call, one exit: what every libvirt module's ``main()`` does. The counterpart of cluster/runner.py."""

from __future__ import annotations

import fcntl
import traceback

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import SystemClock
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import LiveMigrationError
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.connection import Hosts


class Task:
    """What ``execute`` gets: validated ``params``, ``hosts`` to open connections with, how to speak and what mode this is.

    :param say: called with one line of text that a person should see now.
    :param warn: called with one sentence; collected into the result's warnings.
    """

    def __init__(self, params, hosts, check_mode=False, say=None, warn=None, clock=None):
        self.params = params
        self.hosts = hosts
        self.check_mode = check_mode
        self.say = say or (lambda line: None)
        self.warn = warn or (lambda text: None)
        self.clock = clock or SystemClock()


def teller(path, task):
    """What appends each line to a file as it comes, and says it; a file that cannot be written to costs a warning, no more.

    The file is locked as long as this lives: who reads it sees by that whether anybody is still at work.
    """
    if not path:
        return task.say
    try:
        file = open(path, "a", encoding="utf-8", buffering=1)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        task.warn("Lines could not be written to %s: %s." % (path, exc.strerror))
        return task.say

    def tell(line):
        try:
            file.write(line + "\n")
        except OSError as exc:
            task.warn("Lines could not be written to %s: %s." % (path, exc.strerror))
        task.say(line)

    return tell


def outcome(execute, task):
    """Run ``execute``; ``(failed, result)``, never an exception. All connections are closed afterwards."""
    try:
        return False, execute(task)
    except LiveMigrationError as exc:
        return True, dict({"changed": False}, **dict(exc.details, msg=str(exc)))
    except Exception as exc:  # pylint: disable=broad-except
        return True, {
            "changed": False,
            "msg": "Unexpected %s: %s. This is a defect of the collection; please report it with the output of -vvv."
            % (type(exc).__name__, exc),
            "exception": traceback.format_exc(),
        }
    finally:
        task.hosts.close()


def run_module(execute, spec, **constraints):
    """The body of a libvirt module's ``main()``."""
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True, **constraints)
    failed, result = outcome(execute, Task(module.params, Hosts(), module.check_mode, warn=module.warn))
    (module.fail_json if failed else module.exit_json)(**result)
