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
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.node_gate import PREP_TAINT, has_cpu_manager
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.placement import label_selector_matches
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_bytes, format_duration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    amount,
    condition,
    dig,
    labels,
    mapping,
    rows,
    text,
    texts,
)

NOTE = "live-migration.bigvm.io/node-prep"  # annotation of the pool and of the node that is being moved
GROUP = "machineconfiguration.openshift.io/"
CURRENT, DESIRED, STATE, REASON = GROUP + "currentConfig", GROUP + "desiredConfig", GROUP + "state", GROUP + "reason"
CONTROL_PLANE = ("master", "control-plane", "arbiter")
WORKER = "worker"
SIGNER = "kube-apiserver-to-kubelet-signer"
ROTATED = 0.8  # of its life: then the signer is replaced, and a paused pool's kubelets do not learn of it
PASS, FAIL = "PASS", "FAIL"


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


# -- what stands in the way -------------------------------------------------------


def problem(code, message, remedy):
    """``{code, message, remedy}``."""
    return {"code": code, "message": message, "remedy": remedy}


def judge(scene, wanted):
    """What makes it impossible or unsafe to begin; empty when nothing does.

    :param scene: ``{pool, pools, nodes (its members), machine_configs, kubelet_configs, profiles, certificates, now}``;
        ``certificates``: those that the operator's ControllerConfig lists, None when it cannot be read.
    :param wanted: see :func:`..node_config.objects`, and ``pages`` (int, ``auto`` or None), ``numa_nodes``,
        ``reserve`` (bytes or None), ``iommu`` (``auto``, ``intel``, ``amd``, ``off``), ``adopt`` (names),
        ``node_time`` (seconds that one node takes).
    """
    name = text(scene["pool"], "metadata", "name")
    if name in CONTROL_PLANE:
        return [problem("control_plane", "%s is the pool of the control plane." % name, "Guests belong on workers; name their pool.")]
    return [row for part in (_pool, _memory, _vendor, _profile, _foreign, _rotation) for row in part(scene, wanted, name)]


def _pool(scene, wanted, name):
    pool, note = scene["pool"], load(scene["pool"])
    if dig(pool, "spec", "paused") is True and note is None:
        yield problem("pool_paused", "MachineConfigPool %s is paused, and not by this collection." % name,
                      "Find out why. Its changes would all come at once when it is resumed; let it finish first.")
    trouble = pool_trouble(pool)
    if trouble:
        yield problem("pool_degraded", "MachineConfigPool %s is degraded: %s." % (name, trouble.rstrip(".")),
                      "Mend that first (oc describe mcp %s)." % name)
    if condition(pool, "Updating").get("status") == "True" and note is None:
        yield problem("pool_updating", "MachineConfigPool %s is just updating its nodes." % name, "Wait until it is Updated.")
    if not mapping(pool, "spec", "machineConfigSelector"):
        yield problem("pool_selects_nothing", "MachineConfigPool %s selects no MachineConfigs." % name, "Give it a machineConfigSelector.")
    if rows(pool, "spec", "nodeSelector", "matchExpressions") or not mapping(pool, "spec", "nodeSelector", "matchLabels"):
        yield problem("pool_selector", "MachineConfigPool %s does not choose its nodes by labels alone, so that none can be moved out "
                      "by taking a label away." % name, "Give it a nodeSelector with matchLabels.")
    if not scene["nodes"]:
        yield problem("pool_empty", "MachineConfigPool %s has no node." % name, "Label the nodes of HANA guests for it.")


def _memory(scene, wanted, name):
    if wanted["pages"] is None:
        return
    for node in scene["nodes"]:
        most = node_config.pages_of(node, 1, wanted.get("reserve"))
        who = text(node, "metadata", "name")
        if most is None:
            yield problem("memory_unknown", "The memory of node %s is not known." % who, "Look at its kubelet.")
        elif wanted["pages"] != "auto" and wanted["pages"] > most:
            memory = amount(mapping(node, "status", "capacity").get("memory"))
            yield problem("hugepages_too_many", "%d pages of 1 GiB are asked of node %s, which has %s and must keep %s for itself: "
                          "%d at most." % (wanted["pages"], who, format_bytes(memory),
                                           format_bytes(node_config.reserve(memory, wanted.get("reserve"))), most),
                          "Ask for fewer, or put this node into a pool of its own.")
    if wanted["pages"] != "auto" and wanted["pages"] % wanted["numa_nodes"]:
        yield problem("hugepages_uneven", "%d pages cannot be spread evenly over %d NUMA nodes." % (wanted["pages"], wanted["numa_nodes"]),
                      "Ask for a multiple of %d." % wanted["numa_nodes"])


def iommu_of(scene, wanted):
    """``intel``, ``amd``, None to leave it alone, or ``"?"`` when labels do not tell or disagree."""
    if wanted["iommu"] != "auto":
        return None if wanted["iommu"] == "off" else wanted["iommu"]
    found = {node_config.vendor_of(node) for node in scene["nodes"]}
    return found.pop() or "?" if len(found) == 1 else "?"


def _vendor(scene, wanted, name):
    if iommu_of(scene, wanted) == "?":
        vendors = sorted({node_config.vendor_of(node) or "unknown" for node in scene["nodes"]})
        yield problem("vendor_unknown" if len(vendors) == 1 else "vendors_mixed",
                      "Whose CPUs the nodes of pool %s have is not told alike by their labels (%s)." % (name, ", ".join(vendors)),
                      "Say iommu: intel or amd, or split the pool; off leaves the IOMMU alone.")


def _profile(scene, wanted, name):
    if wanted["method"] == "performance_profile":
        if not wanted.get("reserved_cpus") or not wanted.get("isolated_cpus"):
            yield problem("cpus_missing", "A PerformanceProfile needs both reserved_cpus and isolated_cpus.",
                          "Give both, such as 0-7 and 8-223; together they are all CPUs of a node.")
        sizes = {text(node, "status", "capacity", "cpu") for node in scene["nodes"]}
        if len(sizes) > 1:
            yield problem("nodes_unequal", "The nodes of pool %s have different numbers of CPUs (%s), which a PerformanceProfile does not "
                          "take." % (name, ", ".join(sorted(sizes))), "Split the pool, or use method machine_config.")
    elif wanted.get("numa_pages"):
        yield problem("numa_pages", "Pages by NUMA node can be had with a PerformanceProfile only: the kernel spreads those of its "
                      "arguments evenly.", "Use method performance_profile, or give one number for a node.")
    if wanted.get("topology_manager") == "single-numa-node":
        yield problem("single_numa_node", "topology_manager single-numa-node turns away every guest that spans sockets, as HANA guests "
                      "do.", "Use best-effort.")


def ours(obj):
    """Whether an object was made by this collection."""
    return all(labels(obj).get(key) == value for key, value in node_config.OURS.items())


def _foreign(scene, wanted, name):
    """What others wrote about the same for the same pool: two homes for one fact."""
    made = {text(obj, "metadata", "name") for obj in scene["profiles"] if _profile_is_for(obj, scene["pool"])}
    for obj in scene["profiles"]:
        own = ours(obj) and wanted["method"] == "performance_profile"
        if _profile_is_for(obj, scene["pool"]) and not own:
            yield problem("performance_profile_there", "PerformanceProfile %s is there for pool %s: it sets pages, CPU manager and IOMMU, "
                          "and would disagree." % (text(obj, "metadata", "name"), name),
                          "Change it by the tool that made it, or remove it first.")
    for obj in scene["machine_configs"]:
        who = text(obj, "metadata", "name")
        if who.startswith(("50-performance-", "50-nto-")) or who in wanted["adopt"] or ours(obj) or not _is_for(obj, scene["pool"]):
            continue
        found = [row for row in texts(obj, "spec", "kernelArguments")
                 if (wanted["pages"] is not None and node_config.HUGE.match(row))
                 or (wanted["iommu"] != "off" and node_config.IOMMU.match(row))]
        if found:
            yield problem("machine_config_there", "MachineConfig %s of another tool sets %s for pool %s." % (who, " ".join(found), name),
                          "Go on with it (adopt: [%s]), or remove it by the tool that made it." % who)
    for obj in scene["kubelet_configs"]:
        who = text(obj, "metadata", "name")
        if who in wanted["adopt"] or ours(obj) or any(who == "performance-" + one for one in made):
            continue
        if label_selector_matches(mapping(obj, "spec").get("machineConfigPoolSelector") or None, labels(scene["pool"])) is True and (
                wanted["cpu_manager"] or wanted.get("topology_manager")):
            yield problem("kubelet_config_there", "KubeletConfig %s of another tool is there for pool %s; of two the operator takes one."
                          % (who, name), "Go on with it (adopt: [%s]), or remove it by the tool that made it." % who)


def _profile_is_for(profile, pool):
    wanted = mapping(profile, "spec", "nodeSelector")
    return bool(wanted) and all(mapping(pool, "spec", "nodeSelector", "matchLabels").get(key) == value for key, value in wanted.items())


def _is_for(config, pool):
    return label_selector_matches(mapping(pool, "spec").get("machineConfigSelector"), labels(config)) is True


def _rotation(scene, wanted, name):
    moment = rotation_of(scene["certificates"])
    if moment is None:
        return
    needed = len(scene["nodes"]) * wanted["node_time"]
    if scene["now"] + needed > moment:
        left = format_duration(max(0, moment - scene["now"]))
        yield problem("pause_past_rotation", "The kubelets' CA is replaced in %s, and a paused pool does not learn of it; %d nodes of "
                      "pool %s are reckoned with %s." % (left, len(scene["nodes"]), name, format_duration(needed)),
                      "Begin after the rotation, or say how long one node really takes (node_time).")


def rotation_of(certificates):
    """When the kubelets' CA is replaced, epoch seconds; None when nobody tells.

    :param certificates: ``[{subject, not_before, not_after}]``, times in epoch seconds; None when they cannot be read.
    """
    moments = [row["not_before"] + ROTATED * (row["not_after"] - row["not_before"])
               for row in certificates or [] if SIGNER in row["subject"]]
    return max(moments) if moments else None


# -- what is to be, and what is ------------------------------------------------------


def pages_for(scene, wanted):
    """1 GiB pages of each node: as asked, or as many as the smallest node can spare; None to leave them alone."""
    if wanted["pages"] != "auto":
        return wanted["pages"]
    most = [node_config.pages_of(node, wanted["numa_nodes"], wanted.get("reserve")) for node in scene["nodes"]]
    return min([count for count in most if count is not None], default=None)


def checks(scene, wanted, pages, differing):
    """``[{name, status, found, remedy}]``: the objects, and each node as it really is.

    :param differing: names of objects that are missing or differ.
    :param pages: 1 GiB pages that each node must offer; None asks nothing of them.
    """
    pool = scene["pool"]
    name = text(pool, "metadata", "name")
    found = [_check("pool %s: configuration" % name, "as wanted" if not differing else "to be written: %s" % ", ".join(differing),
                    not differing, "Run hana_node_prep to apply it.")]
    paused = dig(pool, "spec", "paused") is True
    found.append(_check("pool %s: rolls out" % name, "paused" if paused else "not paused", not paused,
                        "A preparation is under way or was left; run it again, or resume the pool."))
    for node in scene["nodes"]:
        found += _node_checks(node, scene, wanted, pages)
    return found


def _node_checks(node, scene, wanted, pages):
    who, state = text(node, "metadata", "name"), state_of(node, scene["pool"], scene["rendered"])
    yield _check("node %s: configuration" % who, {"done": "runs the pool's", "pending": "not rolled out yet"}.get(state, state),
                 state == "done", "Roll it out.")
    if pages is not None:
        there = amount(mapping(node, "status", "allocatable").get("hugepages-1Gi")) or 0
        yield _check("node %s: hugepages-1Gi" % who, "%s of %s allocatable" % (format_bytes(there), format_bytes(pages * node_config.GIB)),
                     there >= pages * node_config.GIB,
                     "Look at /proc/cmdline and at the pages by NUMA node on the host; memory may be missing or fragmented.")
    if wanted["cpu_manager"]:
        yield _check("node %s: CPU manager" % who, "on" if has_cpu_manager(node, scene["release"]) else "off",
                     has_cpu_manager(node, scene["release"]),
                     "virt-handler sets the label from the kubelet's own state within two minutes; setting it by hand does not last.")
    if any(row.get("key") == PREP_TAINT for row in rows(node, "spec", "taints")):
        yield _check("node %s: taint" % who, "%s is still there" % PREP_TAINT, False,
                     "Run the preparation again: it goes on where it stopped.")


def _check(name, found, good, remedy):
    return {"name": name, "status": PASS if good else FAIL, "found": found, "remedy": "" if good else remedy}


def lines(rows_found):
    """``PASS: node hana-a: hugepages-1Gi: 704 GiB of 704 GiB allocatable``, what helps below what failed."""
    said = []
    for row in rows_found:
        said.append("%s: %s: %s" % (row["status"], row["name"], row["found"]))
        if row["remedy"]:
            said.append("      " + row["remedy"])
    return said


def plan_lines(scene, wanted, pages, differing, todo):
    """In plain language: what will be written, and what reboots.

    :param todo: names of the nodes that are to be rolled.
    """
    name = text(scene["pool"], "metadata", "name")
    if not differing and not todo:
        return ["pool %s: as wanted, nothing to do" % name]
    said = ["pool %s is paused; the machine-config operator drains nothing" % name] if todo else []
    said += ["written: %s" % one for one in differing]
    if pages is not None:
        said.append("each node gets %d pages of 1 GiB" % pages)
    for node in todo:
        said.append("%s: its VMs move away, it reboots once, it proves itself" % node)
    rotation = rotation_of(scene["certificates"])
    if todo:
        said.append("the pool is resumed at the end" + (
            "; the kubelets' CA is replaced in %s" % format_duration(rotation - scene["now"]) if rotation else
            "; when the kubelets' CA is replaced is not known here, so do not let it stay paused for weeks"))
    return said
