# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pool's part of a preparation: paused and written to, resumed when every node is done, or everything put back.

Each step says in the cluster what it is about before it does it, and can be taken again after a kill at any moment. What happens to
one node in between is in :mod:`.node_roll`.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import node_pool
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.writing import guarded_patch, owner
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.changeset import ChangeSet
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import to_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import LiveMigrationError, Refused
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import (
    node_config,
    node_roll,
    pool_obstacles,
    pool_report,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_duration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import condition, dig, mapping, text

POLL = 10  # s between two looks
RENDERED_WITHIN = 600  # s until the operator has made one configuration of what was written
STABLE = 2  # looks with the same configuration, since several operators write one after the other
LABELLED_WITHIN = 300  # s until virt-handler has set the label of the CPU manager: two heartbeats
LABEL_POLL = 30  # s between two looks for it


def plan(api, name, wanted):
    """``(scene, manifests, pages, pairs, todo)``: what is there and what it lacks.

    ``pairs``: manifests that are missing or differ, with the object on the server; ``todo``: names of nodes to roll.
    """
    scene = node_pool.look(api, name)
    pages = node_config.pages_for(scene["nodes"], wanted)
    iommu = node_config.iommu_of(scene["nodes"], wanted)
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
    problems = pool_obstacles.judge(scene, wanted)
    differing = [node_pool.title(manifest) for manifest, _there in pairs]
    said = pool_report.plan_lines(scene, wanted, pages, differing, todo)
    if problems:
        raise Refused("Pool %s cannot be prepared: %s" % (name, " ".join("%s %s" % (row["message"], row["remedy"]) for row in problems)),
                      "Nothing was changed.", problems=problems, lines=said)
    changes = ChangeSet()
    note = node_roll.load(scene["pool"])
    if not todo and note is None:
        return changes.result(nodes=[], lines=said)
    if not reboot_ok and not task.check_mode:
        raise Refused("Pool %s: %s would reboot, one after the other." % (name, ", ".join(todo)),
                      "Nothing was changed. When they may, say so: reboot_ok (hana_node_prep_reboot_ok=true).", lines=said)
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
    if there is not None and not node_config.ours(there):
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
        task.clock.sleep(POLL)


_UNDO = ("The pool stays paused, no node was touched. Run again to go on, or put the objects back as they were "
         "(hana_node_prep_mode: withdraw).")


def _refused_by_operator(api, manifest):
    if manifest["kind"] != "KubeletConfig":
        return
    failed = condition(node_pool.find(api, node_pool.path_to(manifest)), "Failure")
    if failed.get("status") == "True":
        raise LiveMigrationError("The operator refuses %s: %s." % (node_pool.title(manifest), text(failed, "message").rstrip(".")), _UNDO)


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
    failed = [row for row in rows_found if row["status"] == pool_report.FAIL]
    result = changes.result(nodes=[], checks=rows_found, lines=pool_report.lines(rows_found))
    if failed and not task.check_mode:
        raise LiveMigrationError("Pool %s is prepared, and %d checks failed: %s." % (
            name, len(failed), ", ".join(row["name"] for row in failed)), failed[0]["remedy"], **result)
    return result


def _checked(task, name, wanted, pages, seconds):
    """The checks; what is set by virt-handler a little later is waited for."""
    end_at = task.clock.now() + seconds
    while True:
        scene = node_pool.look(task.api, name)
        found = pool_report.checks(scene, wanted, pages, [])
        if task.clock.now() >= end_at or not [row for row in found if row["status"] == pool_report.FAIL]:
            return scene, found
        task.clock.sleep(LABEL_POLL)


def check(task, name, wanted):
    """Read only: ``{problems, checks, lines, nodes, pages}``."""
    scene, _manifests, pages, pairs, todo = plan(task.api, name, wanted)
    differing = [node_pool.title(manifest) for manifest, _there in pairs]
    found = pool_report.checks(scene, wanted, pages, differing)
    problems = pool_obstacles.judge(scene, wanted)
    return {"changed": False, "problems": problems, "checks": found, "nodes": todo, "pages": pages,
            "plan": pool_report.plan_lines(scene, wanted, pages, differing, todo),
            "lines": pool_report.lines(found) + ["%s %s" % (row["message"], row["remedy"]) for row in problems]}


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
        task.clock.sleep(POLL)
    roll = node_pool.pool_path(node_roll.roll_pool_name(name))
    found = node_pool.find(api, roll)
    if found is not None and node_config.ours(found):
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
        task.clock.sleep(POLL)
    _resume(task, name, changes)
    return changes.result(nodes=[], lines=["put back: %s" % ", ".join(said), "pool %s is resumed" % name])


def _is_back(api, name, before):
    target = text(api.get(node_pool.pool_path(name)), "spec", "configuration", "name")
    return target == before or node_config.same_configuration(node_pool.config(api, target), node_pool.config(api, before))
