# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MigrationPolicy: which one wins for a VMI, and what is then in force for it (facts 5.2-5.4)."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import mapping, text
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.settings import FIELDS

# Of the nine settings, those that a policy can set.
IN_POLICY = (
    "allow_auto_converge", "allow_post_copy", "allow_workload_disruption", "bandwidth_per_migration",
    "completion_timeout_per_gib",
)


def winner(policies, vmi_labels, namespace_labels):
    """The policy that KubeVirt would apply, or None.

    All labels that a policy names must match; it must name a selector, even an empty one. The one with the most
    matching labels wins, then the one with more VMI labels, then the first by name.

    :param namespace_labels: None when they could not be read.
    :raises LookupError: when a policy's namespace labels would decide and could not be read.
    """
    best = None
    for policy in policies:
        selectors = mapping(policy, "spec").get("selectors")
        if not isinstance(selectors, dict):
            continue
        of_vmi = mapping(selectors, "virtualMachineInstanceSelector")
        of_namespace = mapping(selectors, "namespaceSelector")
        if not _matches(of_vmi, vmi_labels):
            continue
        name = text(policy, "metadata", "name")
        if of_namespace and namespace_labels is None:
            raise LookupError(name)
        if _matches(of_namespace, namespace_labels or {}):
            rank = (-len(of_vmi) - len(of_namespace), -len(of_vmi), name)
            if best is None or rank < best[0]:
                best = (rank, policy)
    return best[1] if best else None


def effective(settings, policy):
    """The settings a migration runs with: the winner's fields over the cluster's.

    The winner takes all: what it leaves out comes from the cluster, never from another policy. A policy that sets
    post-copy only also decides disruption.
    """
    spec = mapping(policy, "spec")
    own = {name: spec[FIELDS[name].key] for name in IN_POLICY if spec.get(FIELDS[name].key) is not None}
    if "allow_post_copy" in own:
        own.setdefault("allow_workload_disruption", own["allow_post_copy"])
    return dict(settings, **own)


def _matches(wanted, found):
    return all(isinstance(value, str) and found.get(key) == value for key, value in wanted.items())
