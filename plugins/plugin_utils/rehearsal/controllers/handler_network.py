# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which address migrations to a node go to (facts 4.2)."""

from __future__ import annotations

import json

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.objects import (
    MIGRATION_INTERFACE,
    STATUS_ANNOTATION,
)


def migration_address(pod):
    """The address of ``migration0`` in a virt-handler pod where it has one, else the pod's own."""
    text = (pod["metadata"].get("annotations") or {}).get(STATUS_ANNOTATION) or "[]"
    try:
        rows = json.loads(text)
    except ValueError:
        rows = []
    for row in rows:
        if row.get("interface") == MIGRATION_INTERFACE and row.get("ips"):
            return row["ips"][0]
    return (pod.get("status") or {}).get("podIP", "")
