# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a preparation: begun for a pool, rolled and returned for each node, ended or withdrawn for the pool.

Each step says in the cluster what it is about before it does it, and can be taken again after a kill at any moment.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import journals, lease, node_pool
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.writing import guarded_patch, owner
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.changeset import ChangeSet
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import to_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import LiveMigrationError, Refused
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import node_config, node_gate, node_roll
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_duration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    condition,
    dig,
    key_of,
    labels,
    mapping,
    rows,
    text,
)

POLL = 30  # s between two looks
RENDERED_WITHIN = 600  # s until the operator has made one configuration of what was written
STABLE = 2  # looks with the same configuration, since several operators write one after the other
ENDED_WITHIN = 300  # s that the launchers of guests that have left may need to end
RENEW = 120  # s between two signs of life in the lease
LABELLED_WITHIN = 300  # s until virt-handler has set the label of the CPU manager: two heartbeats
FINAL = ("Succeeded", "Failed")


def plan(api, name, wanted):
    """``(scene, manifests, pages, pairs, todo)``: what is there and what it lacks.

    ``pairs``: manifests that are missing or differ, with the object on the server; ``todo``: names of nodes to roll.
    """
    scene = node_pool.look(api, name)
    pages = node_roll.pages_for(scene, wanted)
    iommu = node_roll.iommu_of(scene, wanted)
    adopted = {}
    for kind, found in (("MachineConfig", scene["machine_configs"]), ("KubeletConfig", scene["kubelet_configs"])):
        named = [obj for obj in found if text(obj, "metadata", "name") in wanted["adopt"]]
        adopted.update({kind: named[0]} if named else {})
    manifests = []
    if iommu != "?" and not (wanted["method"] == "performance_profile" and not (wanted["reserved_cpus"] and wanted["isolated_cpus"])):
        manifests = node_config.objects(scene["pool"], wanted, pages, iommu, adopted)
    pairs = node_pool.differing(api, manifests)
    todo = [text(node, "metadata", "name") for node in scene["nodes"]
            if pairs or node_roll.state_of(node, scene["pool"], scene["rendered"]) != "done" or node_roll.load(node) is not None]
    return scene, manifests, pages, pairs, todo


def begin(task, name, run, wanted, reboot_ok):
    """Pause the pool and write what its nodes are to be; nothing reboots yet.

    :raises Refused: something stands in the way, or nobody said that nodes may reboot.
    """
    api = task.api
    scene, manifests, pages, pairs, todo = plan(api, name, wanted)
    problems = node_roll.judge(scene, wanted)
    differing = [node_pool.title(manifest) for manifest, _there in pairs]
    said = node_roll.plan_lines(scene, wanted, pages, differing, todo)
    if problems:
        raise Refused("Pool %s cannot be prepared: %s" % (name, " ".join("%s %s" % (row["message"], row["remedy"]) for row in problems)),
                      "Nothing was changed.", problems=problems, lines=said)
    changes = ChangeSet()
    note = node_roll.load(scene["pool"])
    if not todo and note is None:
        return changes.result(nodes=[], lines=said)
    if not reboot_ok and not task.check_mode:
        raise Refused("Pool %s: %s would reboot, one after the other." % (name, ", ".join(todo)),
                      "Nothing was changed. Say so (reboot_ok) when they may.", lines=said)
    _note_pool(task, name, run, pairs, changes)
    _roll_pool(api, scene["pool"], changes)
    node_pool.write(api, changes, pairs)
    if pairs and not task.check_mode:
        _wait_rendered(task, name, manifests, text(scene["pool"], "spec", "configuration", "name"))
    return changes.result(nodes=todo, lines=said)


def _note_pool(task, name, run, pairs, changes):
    """Pause, and in the same request write down what was there."""
    def decide(pool):
        note = node_roll.load(pool) or {
            "run": run, "owner": owner(), "since": to_timestamp(task.clock.now()), "before": {},
            "configuration": text(pool, "spec", "configuration", "name"), "paused": dig(pool, "spec", "paused") is True}
        # What an earlier run wrote down stays: it says how everything was before the first change.
        before = dict({node_pool.title(one): {"manifest": dict(one, spec=None), "spec": there.get("spec") if there else None}
                       for one, there in pairs}, **note["before"])
        note = dict(note, before=before)
        if note == node_roll.load(pool) and dig(pool, "spec", "paused") is True:
            return None
        return {"metadata": {"annotations": {node_roll.NOTE: node_roll.dump(note)}}, "spec": {"paused": True}}

    before, after = guarded_patch(task.api, node_pool.pool_path(name), decide)
    changes.note("MachineConfigPool %s" % name, *[
        {"paused": dig(pool, "spec", "paused") is True, node_roll.NOTE: node_roll.load(pool)} for pool in (before, after)])


def _roll_pool(api, pool, changes):
    wanted = node_roll.roll_pool(pool)
    there = node_pool.find(api, node_pool.path_to(wanted))
    if there is not None and not node_roll.ours(there):
        raise Refused("There is a MachineConfigPool %s, and not of this collection." % wanted["metadata"]["name"], "Remove it.")
    if there is None or node_config.differs(there.get("spec"), wanted["spec"]):
        node_pool.write(api, changes, [(wanted, there)])


def _wait_rendered(task, name, manifests, before):
    """Until the operator has made a new configuration with all of it."""
    api, end = task.api, task.clock.now() + RENDERED_WITHIN
    arguments = [row for one in manifests for row in mapping(one, "spec").get("kernelArguments") or []]
    last, seen = None, 0
    while True:
        pool = api.get(node_pool.pool_path(name))
        target = text(pool, "spec", "configuration", "name")
        for one in manifests:
            _refused_by_operator(api, one)
        trouble = node_roll.pool_trouble(pool)
        if trouble:
            raise LiveMigrationError("Pool %s is degraded by what was written: %s." % (name, trouble.rstrip(".")), _UNDO)
        there = mapping(node_pool.config(api, target), "spec").get("kernelArguments") or []
        if target != before and all(row in there for row in arguments):
            seen = seen + 1 if target == last else 1
            if seen > STABLE:
                return
        last = target
        if task.clock.now() >= end:
            raise LiveMigrationError("The machine-config operator has made no new configuration of what was written for pool %s, in %s." % (
                name, format_duration(RENDERED_WITHIN)), "Look at the machine-config-controller. " + _UNDO)
        task.clock.sleep(POLL / 3)


_UNDO = ("The pool stays paused, no node was touched. Run again to go on, or put the objects back as they were "
         "(hana_node_prep_mode: withdraw).")


def _refused_by_operator(api, manifest):
    if manifest["kind"] != "KubeletConfig":
        return
    failed = condition(node_pool.find(api, node_pool.path_to(manifest)), "Failure")
    if failed.get("status") == "True":
        raise LiveMigrationError("The operator refuses %s: %s." % (node_pool.title(manifest), text(failed, "message").rstrip(".")), _UNDO)


# -- one node ---------------------------------------------------------------------


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
        task.clock.sleep(POLL / 3)


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


# -- the end -------------------------------------------------------------------------


def end(task, name, wanted):
    """Resume the pool when every node is done, and see that each has what was wanted.

    :raises Refused: nodes are missing.
    :raises LiveMigrationError: after it, a node lacks something.
    """
    changes = ChangeSet()
    scene, _manifests, pages, pairs, todo = plan(task.api, name, wanted)
    if node_roll.load(scene["pool"]) is not None and not task.check_mode:
        if todo or pairs:
            raise Refused("Pool %s stays paused: not done are %s." % (name, ", ".join(todo) or "its objects"),
                          "Run the preparation again; it goes on with these.")
        _resume(task, name, changes)
    scene, rows_found = _checked(task, name, wanted, pages, LABELLED_WITHIN if changes.changed else 0)
    failed = [row for row in rows_found if row["status"] == node_roll.FAIL]
    result = changes.result(nodes=[], checks=rows_found, lines=node_roll.lines(rows_found))
    if failed and not task.check_mode:
        raise LiveMigrationError("Pool %s is prepared, and %d checks failed: %s." % (
            name, len(failed), ", ".join(row["name"] for row in failed)), failed[0]["remedy"], **result)
    return result


def _checked(task, name, wanted, pages, seconds):
    """The checks; what is set by virt-handler a little later is waited for."""
    end_at = task.clock.now() + seconds
    while True:
        scene = node_pool.look(task.api, name)
        found = node_roll.checks(scene, wanted, pages, [])
        if task.clock.now() >= end_at or not [row for row in found if row["status"] == node_roll.FAIL]:
            return scene, found
        task.clock.sleep(POLL)


def check(task, name, wanted):
    """Read only: ``{problems, checks, lines, nodes, pages}``."""
    scene, _manifests, pages, pairs, todo = plan(task.api, name, wanted)
    differing = [node_pool.title(manifest) for manifest, _there in pairs]
    found = node_roll.checks(scene, wanted, pages, differing)
    problems = node_roll.judge(scene, wanted)
    return {"changed": False, "problems": problems, "checks": found, "nodes": todo, "pages": pages,
            "plan": node_roll.plan_lines(scene, wanted, pages, differing, todo),
            "lines": node_roll.lines(found) + ["%s %s" % (row["message"], row["remedy"]) for row in problems]}


def _resume(task, name, changes):
    """Give the pool back to the operator, which finds every node as it wants it: no drain, no reboot."""
    api = task.api
    was = node_roll.load(api.get(node_pool.pool_path(name)))
    before, after = guarded_patch(api, node_pool.pool_path(name), lambda pool: None if dig(
        pool, "spec", "paused") is not True else {"spec": {"paused": bool(was.get("paused"))}})
    end_at = task.clock.now() + RENDERED_WITHIN
    while not was.get("paused"):
        pool = api.get(node_pool.pool_path(name))
        trouble = node_roll.pool_trouble(pool)
        if trouble:
            raise LiveMigrationError("Pool %s is degraded after it was resumed: %s." % (name, trouble.rstrip(".")),
                                     "Mend it (oc describe mcp %s), then run again." % name)
        if condition(pool, "Updated").get("status") == "True" and text(pool, "status", "configuration", "name") == text(
                pool, "spec", "configuration", "name"):
            break
        if task.clock.now() >= end_at:
            raise LiveMigrationError("Pool %s was resumed and is not Updated after %s." % (name, format_duration(RENDERED_WITHIN)),
                                     "Look what it waits for (oc describe mcp %s), then run again." % name)
        task.clock.sleep(POLL / 3)
    roll = node_pool.pool_path(node_roll.roll_pool_name(name))
    found = node_pool.find(api, roll)
    if found is not None and node_roll.ours(found):
        api.delete(roll)
    _before, after = guarded_patch(api, node_pool.pool_path(name), lambda pool: None if node_roll.load(
        pool) is None else {"metadata": {"annotations": {node_roll.NOTE: None}}})
    changes.note("MachineConfigPool %s" % name, {"paused": True, node_roll.NOTE: node_roll.load(before)},
                 {"paused": dig(after, "spec", "paused") is True, node_roll.NOTE: node_roll.load(after)})


def withdraw(task, name):
    """Put back what was written, as long as no node has it.

    :raises Refused: a node has it already.
    """
    api, changes = task.api, ChangeSet()
    scene = node_pool.look(api, name)
    note = node_roll.load(scene["pool"])
    if note is None:
        return changes.result(nodes=[], lines=["pool %s: nothing was begun" % name])
    has = [text(node, "metadata", "name") for node in scene["nodes"] if node_roll.load(node) is not None
           or mapping(node, "metadata", "annotations").get(node_roll.DESIRED) != note["configuration"]]
    if has:
        raise Refused("%s has the new configuration already, or is getting it." % ", ".join(has),
                      "Nothing was changed. Go on and end it; then ask for the values as they were, which rolls the nodes once more.")
    if task.check_mode:
        return changes.result(nodes=[], lines=["would be put back: %s" % ", ".join(sorted(note["before"]))])
    for row in note["before"].values():
        node_pool.put_back(api, row["manifest"], row["spec"])
    end_at, said = task.clock.now() + RENDERED_WITHIN, sorted(note["before"])
    while not _is_back(api, name, note["configuration"]):
        if task.clock.now() >= end_at:
            raise LiveMigrationError("Pool %s has another configuration than before (%s); it stays paused." % (name, note["configuration"]),
                                     "Somebody else changed it, too. Look at it before you resume it: its nodes would be drained.")
        task.clock.sleep(POLL / 3)
    _resume(task, name, changes)
    return changes.result(nodes=[], lines=["put back: %s" % ", ".join(said), "pool %s is resumed" % name])


def _is_back(api, name, before):
    target = text(api.get(node_pool.pool_path(name)), "spec", "configuration", "name")
    return target == before or node_config.same_configuration(node_pool.config(api, target), node_pool.config(api, before))
