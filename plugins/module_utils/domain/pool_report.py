# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a preparation comes to, in checks and in words: the objects, and each node as it really is."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import kubelet_ca, node_config
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.node_gate import PREP_TAINT, has_cpu_manager
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.node_roll import state_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_bytes, format_duration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import amount, dig, mapping, rows, text

PASS, FAIL = "PASS", "FAIL"


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
    if todo:
        ends = kubelet_ca.pause_ends(scene["nodes"], scene["certificates"])
        said.append("the pool is resumed at the end" + (
            "; when the kubelets' CA is replaced is not known here, so do not let it stay paused for weeks" if ends is None else
            "" if ends == kubelet_ca.NEVER else "; the kubelets' CA is replaced in %s" % format_duration(ends - scene["now"])))
    return said
