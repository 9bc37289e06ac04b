# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""migration_network_probe, run on the control node without a process of its own."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.modules import migration_network_probe
from ansible_collections.bigvm.live_migration.plugins.plugin_utils import in_process


class ActionModule(in_process.ActionModule):
    """Prints while it works."""

    module = migration_network_probe
    shows_progress = True
