# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Critical guests, and what must not happen to them: post-copy (lost if a node or the link fails), and being paused.

A guest is critical by its size, by its pages, by a label on its VMI, or because an operator named it.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import target_pod
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import key_of, labels
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.settings import release_of

CRITICAL_BYTES = 256 << 30
LABEL = "live-migration.bigvm.io/critical"  # with the value "true"

POST_COPY, DISRUPTION = "post_copy", "disruption"
DANGERS = (POST_COPY, DISRUPTION)
DISRUPTION_SINCE = (1, 5)  # before it, post-copy was all there was (facts 4.9)


def is_critical(memory, page_size):
    """Whether a guest is critical by its own nature: 256 GiB and more, or 1 GiB pages."""
    return (memory or 0) >= CRITICAL_BYTES or page_size == "1Gi"


def is_named(vmi, names=()):
    """Whether a label or an operator says that a VMI (or VM) is critical.

    :param names: as ``namespace/name`` or ``name``.
    """
    return labels(vmi).get(LABEL) == "true" or "/".join(key_of(vmi)) in names or key_of(vmi)[1] in names


def is_critical_vmi(vmi, names=()):
    """Whether a VMI is critical for any reason; one that cannot be understood is not, by its nature."""
    try:
        by_nature = is_critical(target_pod.guest_memory(vmi), target_pod.page_size(vmi))
    except Exception:  # pylint: disable=broad-except
        by_nature = False  # an object of any shape may come along
    return by_nature or is_named(vmi, names)


def dangers(values, release):
    """Which of :data:`DANGERS` a migration with these settings runs into once its time is over.

    :param values: ``{snake_case field: value}`` in force for it; what is missing counts as false.
    :param release: KubeVirt's version.

    From 1.5 on nothing happens without ``allow_workload_disruption``: with post-copy the guest goes on at the target
    before its memory is there, without it the guest is paused until the rest is copied (facts 4.8, 4.9, 10.5).
    """
    post_copy = bool(values.get("allow_post_copy"))
    if (release_of(release) or DISRUPTION_SINCE) < DISRUPTION_SINCE:
        return (POST_COPY,) if post_copy else ()
    if not values.get("allow_workload_disruption"):
        return ()
    return (POST_COPY,) if post_copy else (DISRUPTION,)
