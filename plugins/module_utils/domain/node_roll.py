# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A change of a pool's nodes, rolled out one node at a time without the machine-config operator ever draining a guest.

The operator drains by itself, in an order of its own, and takes a cordoned node for unavailable (facts/preparation 2).
So the pool is paused, and each node in its turn, emptied before, is moved by its label into a second pool of that one
node. What is being done stands in one annotation of the pool and one of the node, so that another run can go on.
"""

from __future__ import annotations

import json

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import node_config
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.placement import label_selector_matches
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import condition, labels, mapping, text

NOTE = "live-migration.bigvm.io/node-prep"  # annotation of the pool and of the node that is being moved
GROUP = "machineconfiguration.openshift.io/"
CURRENT, DESIRED, STATE, REASON = GROUP + "currentConfig", GROUP + "desiredConfig", GROUP + "state", GROUP + "reason"
WORKER = "worker"


def roll_pool_name(pool):
    """The pool that takes one node of ``pool`` at a time."""
    return "%s-bigvm-roll" % pool


def roll_label(pool):
    """The label by which it takes it."""
    return "node-role.kubernetes.io/%s" % roll_pool_name(pool)


def roll_pool(pool):
    """The manifest of that pool: the same MachineConfigs, so that its configuration makes the same machine."""
    name = text(pool, "metadata", "name")
    return {
        "apiVersion": node_config.MACHINE_CONFIG_API, "kind": "MachineConfigPool",
        "metadata": {"name": roll_pool_name(name), "labels": dict(node_config.OURS)},
        "spec": {"machineConfigSelector": mapping(pool, "spec", "machineConfigSelector"), "maxUnavailable": 1, "paused": False,
                 "nodeSelector": {"matchLabels": {roll_label(name): ""}}},
    }


def load(obj):
    """Our note on a pool or node (dict), None without one; ValueError when it cannot be read."""
    said = mapping(obj, "metadata", "annotations").get(NOTE)
    if said is None:
        return None
    found = json.loads(said)
    if not isinstance(found, dict) or not isinstance(found.get("run"), str):
        raise ValueError("it names no run")
    return found


def dump(note):
    """The annotation's text; None for no note."""
    return None if note is None else json.dumps(note, sort_keys=True, separators=(",", ":"))


def members(pool, pools, nodes):
    """The pool's nodes, also the one that is in our one-node pool just now, by name.

    A node of a pool of its own is not in the pool worker any more.
    """
    name = text(pool, "metadata", "name")
    others = [mapping(other, "spec").get("nodeSelector") for other in pools
              if text(other, "metadata", "name") not in (name, roll_pool_name(name), WORKER)] if name == WORKER else []
    found = []
    for node in nodes:
        moved = roll_label(name) in labels(node)
        belongs = label_selector_matches(mapping(pool, "spec").get("nodeSelector"), labels(node)) is True
        elsewhere = any(label_selector_matches(other, labels(node)) is True for other in others)
        if moved or (belongs and not elsewhere):
            found.append(node)
    return sorted(found, key=lambda node: text(node, "metadata", "name"))


def leaving_labels(pool):
    """``{label: value}`` that takes a node into this pool and is taken away to move it out.

    Empty for the pool worker, whose nodes keep their label: a pool of their own goes before it.
    """
    return {} if text(pool, "metadata", "name") == WORKER else dict(mapping(pool, "spec", "nodeSelector", "matchLabels"))


def state_of(node, pool, rendered):
    """``done``, ``pending``, ``working`` or ``degraded``: how far a node is with the configuration of its pool.

    :param rendered: ``{name: MachineConfig}`` of the configurations that play a part here.
    """
    notes, target = mapping(node, "metadata", "annotations"), text(pool, "spec", "configuration", "name")
    if notes.get(STATE) in ("Degraded", "Unreconcilable"):
        return "degraded"
    if notes.get(STATE) not in (None, "", "Done") or notes.get(CURRENT) != notes.get(DESIRED):
        return "working"
    if notes.get(CURRENT) == target or node_config.same_configuration(rendered.get(notes.get(CURRENT)), rendered.get(target)):
        return "done"
    return "pending"


def pool_trouble(pool):
    """What the operator says is wrong with a pool, in its own words; empty when nothing is."""
    for kind in ("RenderDegraded", "NodeDegraded", "Degraded"):
        found = condition(pool, kind)
        if found.get("status") == "True":
            return text(found, "message") or text(found, "reason") or kind
    return ""
