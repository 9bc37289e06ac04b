# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Labels of VMIs + what the operator names -> which guests must never share a node, and which must.

The two sides of a HANA system replication, the nodes of a cluster: apart, and never on their way at once. An application
server that belongs beside its database: together.
"""

from __future__ import annotations

from collections import namedtuple

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import key_of, labels, text

# VMIs of one namespace with the same value of one of these labels.
KEEP_APART = "live-migration.bigvm.io/keep-apart"
KEEP_TOGETHER = "live-migration.bigvm.io/keep-together"

# apart, together: {(namespace, name): frozenset of the others}; places: {(namespace, name): node}.
Bonds = namedtuple("Bonds", "apart together places")
NONE = Bonds({}, {}, {})


def bonds_of(vmis, keep_apart=(), keep_together=()):
    """The :data:`Bonds` of running VMIs.

    :param vmis: all that carry one of the labels or are named, each once; others may be among them.
    :param keep_apart: lists of VMs as ``namespace/name``, or ``name`` where only one VM has it.
    :param keep_together: as ``keep_apart``.
    :raises ValueError: a VM that does not run or is meant by several, a list of fewer than two, two that shall be both.
    """
    places = {key_of(vmi): text(vmi, "status", "nodeName") for vmi in vmis}
    apart = _pairs(_labelled(vmis, KEEP_APART) + _named(keep_apart, places, "keep_apart"))
    together = _pairs(_joined(_labelled(vmis, KEEP_TOGETHER) + _named(keep_together, places, "keep_together")))
    for key in sorted(apart):
        for other in sorted(apart[key] & together.get(key, frozenset())):
            raise ValueError("%s/%s and %s/%s shall be kept apart and kept together" % (key + other))
    return Bonds(apart, together, {key: places[key] for key in set(apart) | set(together)})


def _labelled(vmis, label):
    groups = {}
    for vmi in vmis:
        value = labels(vmi).get(label)
        if value:
            groups.setdefault((text(vmi, "metadata", "namespace"), value), set()).add(key_of(vmi))
    return list(groups.values())


def _named(lists, places, option):
    groups = []
    for names in lists or ():
        if not isinstance(names, (list, tuple)) or len(set(map(str, names))) < 2:
            raise ValueError("%s holds lists of two VMs or more, not %s" % (option, names))
        groups.append({_one(str(name), places, option) for name in names})
    return groups


def _one(name, places, option):
    meant = sorted(key for key in places if name in (key[1], "/".join(key)))
    if len(meant) != 1:
        raise ValueError("%s names %s, and %s" % (option, name, "no VM of that name runs" if not meant else
                                                  "there are " + " and ".join("/".join(key) for key in meant)))
    return meant[0]


def _joined(groups):
    """Groups that share a VM as one: who is with the same is with each other."""
    found = []
    for group in groups:
        touched = [other for other in found if other & group]
        found = [other for other in found if not other & group] + [set(group).union(*touched)]
    return found


def _pairs(groups):
    found = {}
    for group in groups:
        for key in group if len(group) > 1 else ():
            found[key] = found.get(key, frozenset()) | (group - {key})
    return found
