# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One node of a preparation: handed to the machine-config operator when it is empty, and taken back when it has proven itself.

What is done stands on the node before it is done, so that each step can be taken again after a kill at any moment.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import journals, lease, node_pool
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.changeset import ChangeSet
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import LiveMigrationError, Refused
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import node_config, node_gate, node_roll
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_duration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    condition,
    key_of,
    labels,
    mapping,
    rows,
    text,
)

POLL = 30  # s between two looks
LOOK = 10  # s between two looks at pods that are just ending
ENDED_WITHIN = 300  # s that the launchers of guests that have left may need to end
RENEW = 120  # s between two signs of life in the lease
FINAL = ("Succeeded", "Failed")


def roll(task, name, run, node_name, seconds):
    """Hand an empty node to the operator, wait until it has rebooted with the new configuration; the taint stays.

    :param seconds: how long the operator and the reboot may take.
    :raises Refused: it is not empty, not prepared for, or another node is under way.
    :raises LiveMigrationError: the operator failed, or it takes too long; the node stays tainted.
    """
    api, changes = task.api, ChangeSet()
    scene = node_pool.look(api, name)
    node = next((one for one in scene["nodes"] if text(one, "metadata", "name") == node_name), None)
    if node is None or node_roll.load(scene["pool"]) is None:
        raise Refused("Node %s is not in pool %s, or that pool was not begun with." % (node_name, name), "Begin with the pool first.")
    others = [text(one, "metadata", "name") for one in scene["nodes"] if node_roll.roll_label(name) in labels(one) and one is not node]
    if others:
        raise Refused("Node %s is under way already; one at a time." % ", ".join(others), "Let it end first.")
    if node_roll.load(node) is None:
        if node_roll.state_of(node, scene["pool"], scene["rendered"]) == "done":
            return changes.result(node=node_name, lines=["%s runs the configuration already" % node_name])
        _wait_empty(task, node_name)
    _move_out(task, scene["pool"], node_name, run, changes)
    if task.check_mode:
        return changes.result(node=node_name, lines=["%s would be handed to the operator" % node_name])
    began = task.clock.now()
    _follow(task, name, run, node_name, began + seconds)
    return changes.result(node=node_name, lines=["%s: new configuration after %s" % (node_name, format_duration(task.clock.now() - began))])


def _wait_empty(task, node_name):
    """Until the launchers that guests left behind have ended.

    :raises Refused: a guest runs there, or a launcher does not end.
    """
    api, end_at = task.api, task.clock.now() + ENDED_WITHIN
    guests = ["%s/%s" % key_of(vmi) for vmi in api.list(path_of("kubevirt.io/v1", "virtualmachineinstances")).items
              if text(vmi, "status", "nodeName") == node_name and text(vmi, "status", "phase") not in FINAL]
    while True:
        pods = api.list(path_of("v1", "pods"), labelSelector="kubevirt.io=virt-launcher",
                        fieldSelector="spec.nodeName=%s" % node_name).items
        there = guests or ["%s/%s" % key_of(pod) for pod in pods if text(pod, "status", "phase") not in FINAL]
        if not there:
            return
        if guests or task.check_mode or task.clock.now() >= end_at:
            raise Refused("Node %s still carries VMs: the operator would drain them (%s)." % (node_name, ", ".join(there)),
                          "Empty it by node_maintenance first.")
        task.clock.sleep(LOOK)


def _move_out(task, pool, node_name, run, changes):
    """Taint, label, uncordon and note in one request: at no moment is the node open for guests."""
    name = text(pool, "metadata", "name")
    leaving = node_roll.leaving_labels(pool)

    def decide(node):
        note, there = node_roll.load(node), rows(node, "spec", "taints")
        tainted = any(row.get("key") == node_gate.PREP_TAINT for row in there)
        if note is not None and tainted and not journals.is_cordoned(node):
            return None
        note = note or {"run": run, "pool": name, "labels": {key: labels(node)[key] for key in leaving if key in labels(node)}}
        record = journals.journal_of(node)
        body = journals.body_of(dict(record, cordoned=False, phase="maintenance")) if record else {"metadata": {"annotations": {}}}
        body["metadata"]["annotations"][node_roll.NOTE] = node_roll.dump(note)
        body["metadata"]["labels"] = dict(dict.fromkeys(leaving), **{node_roll.roll_label(name): ""})
        taints = [row for row in there if row.get("key") not in node_gate.OWN_TAINTS]
        body["spec"] = {"taints": taints + [{"key": node_gate.PREP_TAINT, "effect": "NoSchedule"}], "unschedulable": None}
        return body

    _changed(changes, *journals.patch_node(task.api, node_name, decide))


def _changed(changes, before, after):
    changes.note("Node %s" % text(after, "metadata", "name"), *[
        {"labels": labels(node), "taints": rows(node, "spec", "taints"), "unschedulable": journals.is_cordoned(node),
         node_roll.NOTE: node_roll.load(node)} for node in (before, after)])


def _follow(task, name, run, node_name, end):
    """Until the node runs the one-node pool's configuration, is Ready and not cordoned any more."""
    api, said, renewed = task.api, None, 0
    while True:
        node = journals.get_node(api, node_name)
        pool = api.get(node_pool.pool_path(node_roll.roll_pool_name(name)))
        now = task.clock.now()
        if journals.journal_of(node) and now - renewed >= RENEW:
            lease.renew(api, node_name, run, now)
            renewed = now
        notes, target = mapping(node, "metadata", "annotations"), text(pool, "spec", "configuration", "name")
        state = node_roll.state_of(node, pool, {})
        trouble = notes.get(node_roll.REASON) if state == "degraded" else node_roll.pool_trouble(pool)
        if trouble:
            raise LiveMigrationError("The machine-config operator could not update %s: %s." % (node_name, trouble.rstrip(".")),
                                     _STAYS % node_name)
        ready = condition(node, "Ready").get("status") == "True"
        words = _words(node, state, ready)
        if target and state == "done" and ready and not journals.is_cordoned(node):
            return
        if words != said:
            task.say("%s: %s" % (node_name, words))
            said = words
        if now >= end:
            raise LiveMigrationError("%s did not get its new configuration in time; now: %s." % (node_name, words), _STAYS % node_name)
        task.clock.sleep(min(POLL, end - now))


_STAYS = "It stays under our taint, without guests, and its pool paused. Mend %s, then run again: it goes on there."


def _words(node, state, ready):
    if not ready:
        return "reboots"
    if state == "working":
        return "the operator drains what is left and writes its files"
    return "back, not open again yet" if state == "done" else "the operator has not begun yet"


def take_back(task, name, node_name):
    """Back into its pool, open for guests: only with a configuration that makes the same machine.

    :raises Refused: the configurations differ; the node stays where it is, under the taint.
    """
    api, changes = task.api, ChangeSet()
    node = journals.get_node(api, node_name)
    note = node_roll.load(node)
    if note is None:
        return changes.result(node=node_name, lines=["%s is in its pool" % node_name])
    pool = api.get(node_pool.pool_path(name))
    runs, target = mapping(node, "metadata", "annotations").get(node_roll.CURRENT), text(pool, "spec", "configuration", "name")
    if not node_config.same_configuration(node_pool.config(api, runs), node_pool.config(api, target)):
        raise Refused("Node %s runs %s, and its pool %s wants %s, which is another machine: back there it would be drained and rebooted "
                      "once more." % (node_name, runs, name, target),
                      "Somebody changed the pool meanwhile. Look at both MachineConfigs, then run again: the node is rolled anew.")

    def decide(found):
        if node_roll.load(found) is None:
            return None
        taints = [row for row in rows(found, "spec", "taints") if row.get("key") != node_gate.PREP_TAINT]
        return {"metadata": {"annotations": {node_roll.NOTE: None}, "labels": dict(note["labels"], **{node_roll.roll_label(name): None})},
                "spec": {"taints": taints or None}}

    _changed(changes, *journals.patch_node(api, node_name, decide))
    return changes.result(node=node_name, lines=["%s is back in pool %s" % (node_name, name)])
