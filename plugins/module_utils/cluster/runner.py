# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One call, one exit: what every cluster module's ``main()`` does.

A module's work is a function ``execute(task) -> result``; it raises
:class:`~..common.errors.LiveMigrationError` for everything that a person should
read. The same function runs inside an action plugin (live progress) with another
``say``.
"""

from __future__ import annotations

from copy import deepcopy

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.parameters import remove_values

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import connect
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import SystemClock
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import LiveMigrationError
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.core import AnsibleK8SModule


class Task:
    """What ``execute`` gets: validated ``params``, the connected ``api``, how to speak and what mode this is.

    :param api: None for the one module that can do without a cluster (``clock: system``).
    :param say: called with one line of text that a person should see now.
    :param warn: called with one sentence; collected into the result's warnings.
    """

    def __init__(self, params, api, check_mode=False, say=None, warn=None):
        self.params = params
        self.api = api
        self.check_mode = check_mode
        self.say = say or (lambda line: None)
        self.warn = warn or (lambda text: None)

    @property
    def clock(self):
        """The clock of the cluster talked to (simulated in a rehearsal); this machine's where no cluster is."""
        return self.api.clock if self.api else SystemClock()


def argument_spec(**own):
    """kubernetes.core's connection options and a module's own."""
    spec = deepcopy(AUTH_ARG_SPEC)
    spec.update(own)
    return spec


def outcome(execute, module, say=None, warn=None):
    """Run ``execute`` for a validated module; ``(failed, result)``, never an exception.

    :param module: an ``AnsibleK8SModule`` or the action plugin's stand-in.
    """
    try:
        api = None if module.params.get("clock") == "system" else connect(module, say or warn or module.warn)
        task = Task(module.params, api, module.check_mode, say, warn or module.warn)
        return False, execute(task)
    except LiveMigrationError as exc:
        return True, dict({"changed": False}, **dict(exc.details, msg=str(exc)))
    except Exception as exc:  # pylint: disable=broad-except
        # Never a traceback at the operator: a sentence, and the trace for -vvv.
        import traceback

        return True, {
            "changed": False,
            "msg": "Unexpected %s: %s. This is a defect of the collection; please report it with the output of -vvv."
            % (type(exc).__name__, exc),
            "exception": traceback.format_exc(),
        }


def run_module(execute, spec, **constraints):
    """The body of a cluster module's ``main()``.

    :param spec: own options; the connection options are added.
    :param constraints: ``mutually_exclusive`` and the like.
    """
    module = AnsibleK8SModule(
        module_class=AnsibleModule, argument_spec=argument_spec(**spec), supports_check_mode=True, **constraints
    )

    def warn(text):
        module.warn(remove_values(text, module._module.no_log_values))  # newer Ansible shows warnings as they are

    failed, result = outcome(execute, module, warn=warn)
    (module.fail_json if failed else module.exit_json)(**result)
