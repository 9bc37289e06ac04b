# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the option settings, shared by the modules that judge."""

from __future__ import annotations


class ModuleDocFragment:
    """See cluster/options.py for the argument spec."""

    DOCUMENTATION = r"""
options:
  settings:
    description:
      - Live migration settings to judge by as if they were in force, as
        M(bigvm.live_migration.hco_live_migration_config) takes them. A MigrationPolicy still goes before them.
      - By default nothing is assumed. Defaults of the settings by release are documented there.
    type: dict
    suboptions:
      parallel_migrations_per_cluster:
        description: How many migrations may run at once in the cluster.
        type: int
      parallel_outbound_migrations_per_node:
        description: How many migrations may leave a node at once.
        type: int
      bandwidth_per_migration:
        description: Upper limit of one migration in bytes per second, as a quantity; V(0) for none.
        type: str
      completion_timeout_per_gib:
        description: Seconds granted per decimal gigabyte of guest memory; V(0) for any time.
        type: int
      progress_timeout:
        description: Seconds without progress after which a migration is aborted; V(0) for never.
        type: int
      network:
        description: NetworkAttachmentDefinition that migrations go over; empty for the pod network.
        type: str
      allow_auto_converge:
        description: Whether a guest that writes too fast is slowed down.
        type: bool
      allow_post_copy:
        description: Whether a guest whose time is over goes on at the target without all of its memory.
        type: bool
      allow_workload_disruption:
        description: Whether a guest whose time is over may be paused.
        type: bool
"""
