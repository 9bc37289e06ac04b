# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Live progress for the module node_gate_info: the same function, run where its lines can be seen."""

from __future__ import annotations

from ansible.plugins.action import ActionBase

from ansible_collections.bigvm.live_migration.plugins.modules import node_gate_info
from ansible_collections.bigvm.live_migration.plugins.plugin_utils import in_process


class ActionModule(ActionBase):
    """Runs in this process where that is possible, else as a module."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        return in_process.run(self, node_gate_info, task_vars)
