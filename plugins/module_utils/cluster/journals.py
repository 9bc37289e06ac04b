# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The journal of a node's maintenance in the cluster: an annotation of the node, read and written with what it is about."""

from __future__ import annotations

import difflib

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.writing import guarded_patch
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.changeset import ChangeSet
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput, NotFound, Refused
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import journal
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import dig, mapping, text


def get_node(api, name):
    """One node.

    :raises BadInput: there is none of that name; similar names are given.
    """
    return _known(api, name, api.get)


def patch_node(api, name, decide):
    """:func:`..cluster.writing.guarded_patch` of a node; ``(node before, node after)``."""
    return _known(api, name, lambda path: guarded_patch(api, path, decide))


def noted_nodes(api, name=None):
    """The nodes that carry a journal, of all or that one."""
    nodes = [get_node(api, name)] if name else api.list(path_of("v1", "nodes")).items
    return [node for node in nodes if _text(node) is not None]


def _known(api, name, use):
    try:
        return use(path_of("v1", "nodes", name=name))
    except NotFound as exc:
        names = sorted(text(node, "metadata", "name") for node in api.list(path_of("v1", "nodes")).items)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names[:5]
        raise BadInput(
            "There is no node '%s' in this cluster." % name,
            "Nothing was changed. Similar names: %s." % ", ".join(near) if near else "Nothing was changed.") from exc


def is_cordoned(node):
    """Whether new pods are kept off a node."""
    return bool(dig(node, "spec", "unschedulable"))


def row_of(node):
    """``{node, cordoned, journal, problem}``: the journal (dict or None), and why it cannot be read (or None)."""
    record, problem = None, None
    try:
        record = journal.load(_text(node))
    except ValueError as exc:
        problem = "the annotation %s cannot be read: %s" % (journal.MAINTENANCE, exc)
    return {"node": text(node, "metadata", "name"), "cordoned": is_cordoned(node), "journal": record, "problem": problem}


def journal_of(node):
    """The journal of a node, or None.

    :raises Refused: there is one, and it cannot be read.
    """
    row = row_of(node)
    if row["problem"]:
        raise Refused(
            "Node %s: %s. How the node was before is not known." % (row["node"], row["problem"]),
            "Look at it, remove the annotation by hand, and cordon or uncordon the node as it should be.")
    return row["journal"]


def body_of(record):
    """The merge patch that writes a journal; None removes it.

    :raises BadInput: it is too large for an annotation.
    """
    try:
        return {"metadata": {"annotations": {journal.MAINTENANCE: journal.dump(record)}}}
    except ValueError as exc:
        raise BadInput("The journal cannot be written: %s." % exc, "Give fewer or shorter values in progress.") from exc


def changes(before, after):
    """Cordon and journal of a node before and after as a :class:`..common.changeset.ChangeSet`."""
    found = ChangeSet()
    found.note("Node %s" % text(after, "metadata", "name"), *[
        {"unschedulable": is_cordoned(node), journal.MAINTENANCE: journal_of(node)} for node in (before, after)])
    return found


def _text(node):
    return mapping(node, "metadata", "annotations").get(journal.MAINTENANCE)
