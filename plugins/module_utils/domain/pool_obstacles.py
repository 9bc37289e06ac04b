# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What makes it impossible or unsafe to change the nodes of a pool; looked for before the first write."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import kubelet_ca, node_config, node_roll
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

CONTROL_PLANE = ("master", "control-plane", "arbiter")


def problem(code, message, remedy):
    """``{code, message, remedy}``."""
    return {"code": code, "message": message, "remedy": remedy}


def judge(scene, wanted):
    """What makes it impossible or unsafe to begin; empty when nothing does.

    :param scene: ``{pool, pools, nodes (its members), others (nodes beside them that guests may go to), guests: [{name, node, memory}],
        machine_configs, kubelet_configs, profiles, certificates, now}``;
        ``certificates``: those that the operator's ControllerConfig lists, None when it cannot be read.
    :param wanted: see :func:`..node_config.objects`, and ``pages`` (int, ``auto`` or None), ``numa_nodes``,
        ``reserve`` (bytes or None), ``iommu`` (``auto``, ``intel``, ``amd``, ``off``), ``adopt`` (names),
        ``node_time`` (seconds that one node takes).
    """
    name = text(scene["pool"], "metadata", "name")
    if name in CONTROL_PLANE:
        return [problem("control_plane", "%s is the pool of the control plane." % name, "Guests belong on workers; name their pool.")]
    return [row for part in (_pool, _memory, _ordinary, _vendor, _profile, _foreign, _rotation) for row in part(scene, wanted, name)]


def _pool(scene, wanted, name):
    pool, note = scene["pool"], node_roll.load(scene["pool"])
    if dig(pool, "spec", "paused") is True and note is None:
        yield problem("pool_paused", "MachineConfigPool %s is paused, and not by this collection." % name,
                      "Find out why. Its changes would all come at once when it is resumed; let it finish first.")
    trouble = node_roll.pool_trouble(pool)
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
    pages = node_config.pages_for(scene["nodes"], wanted)
    numa_pages = wanted.get("numa_pages") if wanted["method"] == "performance_profile" else None
    if wanted["pages"] is None and not numa_pages:
        return
    short = {}
    for node in scene["nodes"]:
        most = node_config.pages_of(node, 1, wanted.get("reserve"))
        who = text(node, "metadata", "name")
        if most is None:
            yield problem("memory_unknown", "The memory of node %s is not known." % who, "Look at its kubelet.")
        elif pages is not None and pages > most:
            short.setdefault((amount(mapping(node, "status", "capacity").get("memory")), most), []).append(who)
    for (memory, most), names in sorted(short.items()):
        several = len(names) > 1
        yield problem("hugepages_too_many", "%d pages of 1 GiB are asked of node%s %s, which %s %s and must keep %s for %s: %d at most." % (
            pages, "s" if several else "", ", ".join(names), "each have" if several else "has", format_bytes(memory),
            format_bytes(node_config.reserve(memory, wanted.get("reserve"))), "themselves" if several else "itself", most),
            "Ask for fewer, or put smaller hosts into a pool of their own.")
    if pages == 0:
        yield problem("hugepages_none", "No node of pool %s would get a single page of 1 GiB: its smallest host has no more memory than "
                      "it must keep for itself." % name, "Give less reserve, or leave pages alone.")
    if numa_pages and wanted["pages"] not in (None, "auto", pages):
        yield problem("hugepages_two_numbers", "%d pages are asked of a node, and %d by NUMA node." % (wanted["pages"], pages),
                      "Give the pages by NUMA node (numa_pages) alone.")
    elif not numa_pages and pages and pages % wanted["numa_nodes"]:
        yield problem("hugepages_uneven", "%d pages cannot be spread evenly over %d NUMA nodes." % (pages, wanted["numa_nodes"]),
                      "Ask for a multiple of %d." % wanted["numa_nodes"])


def homeless(scene, pages):
    """Names of guests that find no ordinary memory when all nodes of the pool have so many pages and one of them is empty.

    Only memory is looked at, and of other pods nothing: what is found here has no place in any case that a plan would find.
    """
    rooms = sorted(_ordinary_memory(node) - pages * node_config.GIB for node in scene["nodes"])[:-1]
    own = {text(node, "metadata", "name") for node in scene["nodes"]}
    for node in scene["others"]:
        there = sum(guest["memory"] for guest in scene["guests"] if guest["node"] == text(node, "metadata", "name"))
        rooms.append((amount(mapping(node, "status", "allocatable").get("memory")) or 0) - there)
    guests = sorted((guest for guest in scene["guests"] if guest["node"] in own), key=lambda guest: (-guest["memory"], guest["name"]))
    tries = []
    for pick in (min, max):  # the tightest room, the widest
        left, without = list(rooms), []
        for guest in guests:
            fitting = [room for room in left if room >= guest["memory"]]
            if fitting:
                left[left.index(pick(fitting))] -= guest["memory"]
            else:
                without.append(guest["name"])
        tries.append(without)
    return min(tries, key=len)


def _ordinary_memory(node):
    """What a node offers beside pages it has already, and with them."""
    there = mapping(node, "status", "allocatable")
    return (amount(there.get("memory")) or 0) + (amount(there.get("hugepages-1Gi")) or 0)


def _ordinary(scene, wanted, name):
    pages = node_config.pages_for(scene["nodes"], wanted)
    there = [amount(mapping(node, "status", "allocatable").get("hugepages-1Gi")) or 0 for node in scene["nodes"]]
    begun = node_roll.load(scene["pool"]) is not None or min(there, default=0) >= (pages or 0) * node_config.GIB
    if not pages or begun or len(there) < 2:
        return
    if min(node_config.pages_of(node, 1, wanted.get("reserve")) or 0 for node in scene["nodes"]) < pages:
        return  # more than there is in any case
    without = homeless(scene, pages)
    if not without or homeless(scene, 0):  # without any pages it is no better: not what this is about
        return
    step, fits, fails = wanted["numa_nodes"], 0, -(-pages // wanted["numa_nodes"])
    while fails - fits > 1:
        middle = (fits + fails) // 2
        fits, fails = (fits, middle) if homeless(scene, middle * step) else (middle, fails)
    yield problem(
        "ordinary_guests", "With %d pages of 1 GiB on each node of pool %s, %s would find no ordinary memory while one node is empty: "
        "the last nodes could not be emptied." % (pages, name, ", ".join(without)),
        "Ask for %d pages at most, have these guests backed by 1 GiB pages after they were shut down, or move them to nodes outside of "
        "the pool." % (fits * step))


def _vendor(scene, wanted, name):
    if node_config.iommu_of(scene["nodes"], wanted) == "?":
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


def _foreign(scene, wanted, name):
    """What others wrote about the same for the same pool: two homes for one fact."""
    made = {text(obj, "metadata", "name") for obj in scene["profiles"] if _profile_is_for(obj, scene["pool"])}
    for obj in scene["profiles"]:
        own = node_config.ours(obj) and wanted["method"] == "performance_profile"
        if _profile_is_for(obj, scene["pool"]) and not own:
            yield problem("performance_profile_there", "PerformanceProfile %s is there for pool %s: it sets pages, CPU manager and IOMMU, "
                          "and would disagree." % (text(obj, "metadata", "name"), name),
                          "Change it by the tool that made it, or remove it first.")
    for obj in scene["machine_configs"]:
        who = text(obj, "metadata", "name")
        by_operator = who.startswith(("50-performance-", "50-nto-"))
        if by_operator or who in wanted["adopt"] or node_config.ours(obj) or not _is_for(obj, scene["pool"]):
            continue
        found = [row for row in texts(obj, "spec", "kernelArguments")
                 if (wanted["pages"] is not None and node_config.HUGE.match(row))
                 or (wanted["iommu"] != "off" and node_config.IOMMU.match(row))]
        if found:
            yield problem("machine_config_there", "MachineConfig %s of another tool sets %s for pool %s." % (who, " ".join(found), name),
                          "Go on with it (adopt: [%s]), or remove it by the tool that made it." % who)
    for obj in scene["kubelet_configs"]:
        who = text(obj, "metadata", "name")
        if who in wanted["adopt"] or node_config.ours(obj) or any(who == "performance-" + one for one in made):
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
    moment = kubelet_ca.pause_ends(scene["nodes"], scene["certificates"])
    if moment is None:
        return
    needed = len(scene["nodes"]) * wanted["node_time"]
    if scene["now"] + needed > moment:
        left = "in %s" % format_duration(moment - scene["now"]) if moment > scene["now"] else "any time now"
        yield problem("pause_past_rotation", "The kubelets' CA is replaced %s, and a paused pool of this release does not learn of it; %d "
                      "nodes of pool %s are reckoned with %s." % (left, len(scene["nodes"]), name, format_duration(needed)),
                      "Begin after the rotation, or say how long one node really takes (node_time).")
