# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of the role cluster_preflight; the judgement is in module_utils/domain/preflight.py."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import preflight


def preflight_checks(facts, accept=(), node=None, access=None):
    """The checks, each passed, failed or accepted."""
    try:
        return preflight.checks(facts, accept or (), node or None, access or None)
    except ValueError as exc:
        raise AnsibleFilterError("cluster_preflight_accept: %s." % exc) from exc


def preflight_lines(facts, checks):
    """All that the preflight says, for people."""
    return preflight.page(facts, checks)


class FilterModule:
    """The filters by name."""

    def filters(self):
        """As Ansible asks for them."""
        return {"preflight_checks": preflight_checks, "preflight_lines": preflight_lines}
