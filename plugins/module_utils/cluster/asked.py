# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What migrate_vmi is asked for: its options, understood, or refused when they cannot be meant."""

from __future__ import annotations

import re

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.options import assumed_settings
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import critical, handoff, migration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import parse_duration

CANCEL_TAKES = 30.0  # s that are kept before a deadline: a cancel takes some seconds, more where a handler is slow (facts 8.4-8.6)
ANYWHERE = migration.Place(None, {}, ())
_RUN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_DURATIONS = ("queue_timeout", "timeout", "reserve", "max_pause")


class Asked:
    """The attributes:

    * ``state``; ``vms``: ``[(namespace, name, Place)]``; ``uids``: ``{(namespace, name): uid}`` as far as given.
    * ``times``: ``{queue_timeout, timeout, reserve, max_pause}`` in seconds, None where not given; ``end``: the
      deadline less the reserve (epoch, or None).
    * ``expected``: ``{(namespace, name): Expected}``; ``acknowledged``, ``critical``; ``assumed``: in check mode the
      settings that will be held.

    :raises BadInput: for what contradicts itself, or could not be meant.
    """

    def __init__(self, task):
        params = task.params
        _check_numbers(params)
        self.state = params["state"]
        self.times = _times(params)
        self.end = _end(task, self.times["reserve"] or 0)
        self.vms = wanted(params)
        rows = {(row.get("namespace"), row.get("name")): row for row in params["vms"] or []}
        self.uids = {where: row["uid"] for where, row in rows.items() if row.get("uid")}
        self.expected = _expected(params, rows)
        self.acknowledged = frozenset(params["acknowledge"] or ())
        self.critical = frozenset(params["critical"] or ())
        self.assumed = assumed_settings(params["settings"]) if task.check_mode else {}
        _check_dangers(self)


def wanted(params):
    """The VMs and their places, ``[(namespace, name, Place)]``."""
    rows = params["vms"]
    if rows is None:
        rows = [{"name": params["name"], "namespace": params["namespace"]}] if params["name"] else []
    found = {}
    for row in rows:
        where = (row.get("namespace"), row.get("name"))
        if not all(isinstance(part, str) and part for part in where):
            raise errors.BadInput("An entry of vms lacks name or namespace: %s." % (row,), "Give both, as text.")
        if where in found:
            raise errors.BadInput("VM %s/%s is named twice." % where, "Name each VM once.")
        found[where] = _place(params, row.get("target_node") or params["target_node"], where)
    return [where + (place,) for where, place in found.items()]


def _place(params, node, where):
    selector, away_from = dict(params["target_node_selector"] or {}), tuple(params["away_from"] or ())
    if params["state"] != "migrated":
        return ANYWHERE
    if not (node or selector or away_from):
        raise errors.BadInput(
            "It is not said where VM %s/%s should be." % where,
            "Give target_node, target_node_selector or away_from; without, the VM would move again with each run.")
    if node and selector:
        raise errors.BadInput("VM %s/%s has both a target_node and a target_node_selector." % where,
                              "Give one of them.")
    if node in away_from:
        raise errors.BadInput("VM %s/%s should go to %s and be away from it." % (where + (node,)),
                              "Take the node out of target_node or out of away_from.")
    return migration.Place(node, selector, away_from)


def _expected(params, rows):
    """What is expected at handoff: of ``expected``, and of ``expect`` of each VM, which wins."""
    said = {(row.get("namespace"), row.get("name")): row for row in params["expected"] or []}
    said.update({where: row["expect"] for where, row in rows.items() if row.get("expect")})
    found = {}
    for where, row in said.items():
        try:
            found[where] = handoff.expected_of(row)
        except ValueError as exc:
            raise errors.BadInput("What is expected of VM %s/%s is not understood: %s." % (where + (exc,)),
                                  "Give the entries that migration_policy returned as vms.") from exc
    return found


def _check_numbers(params):
    for name, least in (("max_parallel", 1), ("progress_interval", 0)):
        if params[name] is not None and params[name] < least:
            raise errors.BadInput("%s is %s." % (name, params[name]), "It takes a whole number from %d." % least)
    if params["run"] is not None and not _RUN.fullmatch(params["run"]):
        raise errors.BadInput(
            "The run id '%s' cannot be a label." % params["run"],
            "Use up to 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit.")


def _check_dangers(asked):
    if critical.DISRUPTION in asked.acknowledged and not asked.times["max_pause"]:
        raise errors.BadInput(
            "A pause of the guest is acknowledged (disruption), and it is not said how long it may last.",
            "Give max_pause, less than what a cluster manager in the guest takes for its death, for example 5s.")


def _times(params):
    found = {}
    for name in _DURATIONS:
        try:
            found[name] = parse_duration(params[name]) if params[name] else None
        except ValueError as exc:
            raise errors.BadInput("%s: %s." % (name, exc), "Write it like 14400, 90min or 4h.") from exc
        if params[name] and not found[name] and name != "reserve":
            raise errors.BadInput("%s is %s." % (name, params[name]), "It takes more than no time.")
    return found


def _end(task, reserve):
    text = task.params["deadline"]
    if not text:
        return None
    moment = from_timestamp(text)
    if moment <= task.clock.now():
        raise errors.BadInput("The deadline %s has passed." % text, "Give a time that is still to come.")
    return moment - max(reserve, CANCEL_TAKES)
