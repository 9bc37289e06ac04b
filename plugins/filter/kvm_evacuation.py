# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of the role kvm_evacuation; the judgement is in module_utils/domain/kvm_evacuation.py."""

from __future__ import annotations

import base64
import json

from ansible.errors import AnsibleFilterError

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import kvm_evacuation
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import parse_bytes, parse_duration
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.in_process import plain


def by_host(results, key):
    """``{item: value}`` of the results of a loop over hosts that have the value."""
    return {plain(row["item"]): plain(row[key]) for row in results if row.get(key) is not None}


def kvm_journals(results):
    """The journals that hosts carry, by host; what cannot be read has a ``problem``."""
    found = {}
    for host, content in by_host(results, "content").items():
        try:
            journal = json.loads(base64.b64decode(content))
            found[host] = journal if isinstance(journal, dict) and journal.get("run") else {"problem": "it is no journal of ours"}
        except ValueError as exc:
            found[host] = {"problem": "it cannot be read: %s" % exc}
    return found


def kvm_plan(host, hosts, judged, options=None, journal=None):
    """The plan that empties a host."""
    options = plain(options or {})
    try:
        for name, reader in (("bandwidth", parse_bytes), ("timeout", parse_duration), ("cpu_ratio", float)):
            options[name] = reader(options[name]) if options.get(name) else None
        return kvm_evacuation.plan(plain(host), plain(hosts), plain(judged), options, plain(journal or {}))
    except ValueError as exc:
        raise AnsibleFilterError("The plan cannot be made: %s. Nothing was changed." % exc) from exc


def kvm_gate(hosts, host, journal):
    """Whether a host and its guests are as they should be."""
    return kvm_evacuation.gate(plain(host), plain(journal), plain(hosts))


def kvm_whereabouts(hosts, moves):
    """Problems of guests that do not run on exactly the host they were moved to."""
    return kvm_evacuation.whereabouts(plain(moves), plain(hosts))


def kvm_under_way(hosts, home, moves):
    """The moves that are under way now, out or home."""
    return kvm_evacuation.under_way(plain(moves), plain(hosts), plain(home))


class FilterModule:
    """The filters by name."""

    def filters(self):
        """As Ansible asks for them."""
        return {"kvm_by_host": by_host, "kvm_journals": kvm_journals, "kvm_plan": kvm_plan, "kvm_gate": kvm_gate,
                "kvm_under_way": kvm_under_way, "kvm_whereabouts": kvm_whereabouts}
