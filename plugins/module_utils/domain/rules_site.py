# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules about the site: virt-handler and the migration network on source and target, NUMA, nodes, known issues.

Each is ``rule(guest, view)`` and yields ``(code, detail)``, see :mod:`.rules`. What rules a single node out is found
once for all guests, by :func:`against_nodes`.
"""

from __future__ import annotations

import json

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.migration_network import address_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    amount,
    condition,
    dig,
    key_of,
    labels,
    mapping,
    rows,
    text,
    texts,
)

HANDLER = "virt-handler"
OUTER_BRIDGE = "br-ex"  # what OVN-Kubernetes makes of the interface with the default route
DEFAULT_ROUTES = ("0.0.0.0/0", "::/0")


# -- virt-handler and its network ---------------------------------------------------


def handlers_of(pods):
    """``{node: its virt-handler pod}``; the ready one where two overlap in a roll-out."""
    found = {}
    for pod in pods:
        node = text(pod, "spec", "nodeName")
        if labels(pod).get("kubevirt.io") == HANDLER and node and not (node in found and _is_ready(found[node])):
            found[node] = pod
    return found


def _is_ready(pod):
    return condition(pod, "Ready").get("status") == "True"


def against_nodes(handlers, network):
    """``{node: [(code, detail)]}`` of nodes that no guest can move to because of their virt-handler (facts 4.2).

    :param handlers: what :func:`handlers_of` returned; without any pod at all nothing is said here, the heartbeat is
        there for that (facts 3.9).
    :param network: name of the migration network; ``""`` for the pod network.
    """
    found = {}
    for node, pod in handlers.items():
        if not _is_ready(pod):
            found[node] = [("VirtHandlerNotReady", text(pod, "metadata", "name"))]
        elif network and not address_of(pod):
            found[node] = [("NoMigrationNetwork", "no address on migration0")]
    return found


def source_handler(guest, view):
    """virt-handler of the guest's own node sends the copy."""
    for code, detail in view.against.get(guest.node, []):
        yield {"VirtHandlerNotReady": "SourceHandlerNotReady", "NoMigrationNetwork": "SourceOffMigrationNetwork"}[code], detail
    if view.network and not view.handlers and "pods" not in view.forbidden and guest.node:
        yield "MigrationNetworkUnknown", "no virt-handler pod is seen"


def shared_network(guest, view):
    """A guest that is copied for long, over the network that everybody uses."""
    if guest.critical and view.kubevirt is not None and not view.network:
        yield "NoDedicatedNetwork", ""


# -- NUMA ---------------------------------------------------------------------------


def numa(guest, view):
    """Huge pages per NUMA node are not in the API, unless a NodeResourceTopology tells (facts 3.12)."""
    if not isinstance(dig(guest.vmi, "spec", "domain", "cpu", "numa", "guestMappingPassthrough"), dict):
        return
    candidates = list(guest.placement.candidates) if guest.placement else []
    pages = {key: value for key, value in (guest.need.asks.items() if guest.need else ()) if key.startswith("hugepages-")}
    zones = {name: numa_zones(view.topologies.get(name)) for name in candidates}
    unknown = [name for name in candidates if not zones[name] or not pages]
    short = [name for name in candidates if name not in unknown
             and not all(fits_evenly(value, [zone.get(key, 0) for zone in zones[name]]) for key, value in pages.items())]
    if unknown or not candidates:
        yield "NumaPagesNotVisible", ", ".join(unknown[:5])
    elif len(short) == len(candidates):
        yield "NumaPagesShort", ", ".join(short[:5])
    if short and len(short) < len(candidates):
        yield "NumaPagesShortOnSome", ", ".join(short[:5])


def numa_zones(topology):
    """``[{resource: free amount}]`` of a NodeResourceTopology's NUMA nodes; ``[]`` when it tells nothing."""
    found = []
    for zone in rows(topology, "zones"):
        if text(zone, "type") in ("Node", ""):
            found.append({text(row, "name"): amount(row.get("available")) or 0 for row in rows(zone, "resources")})
    return found


def fits_evenly(asked, free):
    """Whether some number of NUMA nodes each have an equal share of the pages: a guest's cells are of one size."""
    free = sorted(free, reverse=True)
    return any(free[count - 1] * count >= asked for count in range(1, len(free) + 1))


# -- nodes ----------------------------------------------------------------------------


def single_node(guest, view):
    """Where one node runs VMs, a drain cannot move anything, and an eviction strategy only blocks it (S1-65)."""
    strategy = text(guest.vmi, "spec", "evictionStrategy") or view.eviction_strategy
    if view.vm_nodes == [guest.node] and strategy.startswith("LiveMigrate"):
        yield "SingleNode", "evictionStrategy %s" % strategy


def node_systems(guest, view):
    """OpenShift Virtualization runs on CoreOS workers; another system among the candidates is no supported target."""
    if not view.systems["core"] or not view.systems["other"]:
        return
    names = {guest.node}.union(guest.placement.candidates if guest.placement else ())
    other = [name for name in sorted(names) if name in view.systems["other"]]
    if other and names & set(view.systems["core"]):
        yield "MixedNodeSystems", ", ".join("%s: %s" % (name, view.systems["other"][name]) for name in other[:3])


def systems_of(nodes):
    """``{core: {node: system}, other: {node: system}}`` of raw nodes that say what they run."""
    found = {"core": {}, "other": {}}
    for node in nodes:
        said = text(node, "status", "nodeInfo", "osImage")
        if said:
            found["core" if "CoreOS" in said else "other"][key_of(node)[1]] = said
    return found


# -- known issues -----------------------------------------------------------------------


def network_size(guest, view):
    """An attachment that says no MTU takes what its plug-in finds: 1500 or less (S1-67)."""
    for entry in view.attachments if guest.critical else ():
        if key_of(entry)[1] == view.network.rpartition("/")[2] and says_mtu(text(entry, "spec", "config")) is False:
            yield "MigrationMtuNotSet", "%s/%s" % key_of(entry)


def says_mtu(config):
    """Whether a CNI configuration sets an MTU; None when it is not understood."""
    try:
        found = json.loads(config)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    return any(isinstance(row.get("mtu"), int) and row["mtu"] > 0 for row in [found] + rows(found, "plugins"))


def outer_bridge(guest, view):
    """A Linux bridge or bond on the interface that OVN-Kubernetes keeps for itself (S1-66)."""
    for entry in view.network_policies if guest.critical else ():
        for name in bridges_on_default(mapping(entry, "spec", "desiredState")):
            yield "BridgeOnDefaultInterface", "%s in NodeNetworkConfigurationPolicy %s" % (name, key_of(entry)[1])


def bridges_on_default(state):
    """Names of Linux bridges in a desired network state that stand on the interface with the default route."""
    interfaces = rows(state, "interfaces")
    taken = {OUTER_BRIDGE} | {text(row, "next-hop-interface") for row in rows(state, "routes", "config")
                              if text(row, "destination") in DEFAULT_ROUTES}
    for row in interfaces:
        if text(row, "type") == "ovs-bridge" and text(row, "name") == OUTER_BRIDGE:
            taken.update(text(port, "name") for port in rows(row, "bridge", "port"))
    found = []
    for row in interfaces:
        ports = {text(port, "name") for port in rows(row, "bridge", "port")} | set(texts(row, "link-aggregation", "port"))
        if text(row, "type") == "linux-bridge" and (ports & taken or text(row, "name") in taken):
            found.append(text(row, "name"))
    return found


SITE_RULES = (source_handler, shared_network, numa, single_node, node_systems, network_size, outer_bridge)
