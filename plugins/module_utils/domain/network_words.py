# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A migration network in plain words: what will be done, and what stands against it."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import network_checks, network_state
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import network_request as requests

SHOWN = 6  # names of nodes in one line
ON_NODE = " on node "


def names(found):
    """``a, b and 3 more``."""
    found = list(found)
    return ", ".join(found[:SHOWN]) + (" and %d more" % (len(found) - SHOWN) if len(found) > SHOWN else "")


def against(failed):
    """The checks that failed as one sentence after another; what is the same on several nodes is said once.

    :param failed: of :func:`..network_checks.failed`.
    """
    alike = {}
    for row in failed:
        what, _on, node = row["name"].partition(ON_NODE)
        alike.setdefault((what, row["found"], row["remedy"]), []).append(node)
    said = []
    for (what, found, remedy), nodes in alike.items():
        where = " on node%s %s" % ("s" if len(nodes) > 1 else "", names(nodes)) if nodes[0] else ""
        said.append("%s%s: %s. %s" % (what, where, found, remedy.rstrip(".")))
    return "; ".join(said)


def plan_lines(wanted, scene):
    """What will be done to get from the scene to what is wanted, and whom it disturbs."""
    missing = {row["name"] for row in network_checks.failed(network_state.as_wanted(wanted, scene))}
    if not missing:
        return ["network %s: as wanted, nothing to do" % wanted["name"]]
    said = []
    if network_state.changes_under_use(wanted, scene):
        said.append("migrations go over the pod network while %s is changed" % wanted["name"])
    for group in wanted["nodes"]:
        if "policy %s" % group["policy"] in missing:
            devices = requests.cards(group) + requests.created(wanted, group)
            said.append("written: NodeNetworkConfigurationPolicy %s: %s with MTU %d on %s" % (
                group["policy"], ", ".join(devices), wanted["mtu"], names(network_checks.nodes_of(group, scene))))
    if said:
        said.append("NMState does %s at a time, and puts a node back that loses the cluster" % (
            "%s of the nodes" % wanted["max_unavailable"] if str(wanted["max_unavailable"]).endswith("%") else
            "%s node%s" % (wanted["max_unavailable"], "" if str(wanted["max_unavailable"]) == "1" else "s")))
    place = "%s/%s" % (scene["home"], wanted["name"])
    if "attachment %s" % place in missing:
        said.append("written: NetworkAttachmentDefinition %s: %s on %s, addresses of %s" % (
            place, wanted["attachment_type"], wanted["master"], wanted["range"]))
    if "HyperConverged" in missing:
        said.append("HyperConverged: its network becomes %s" % wanted["name"])
    said.append("virt-handler is made anew on %d nodes, once no migration runs" % len(scene["handlers"]))
    return said + ["no node reboots, no guest stops"]
