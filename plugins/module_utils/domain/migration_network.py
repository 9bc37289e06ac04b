# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The network that migrations go over: what its attachment must have, when it may change, whether it has arrived.

HyperConverged takes any name. KubeVirt attaches that NetworkAttachmentDefinition to every virt-handler pod as
interface ``migration0``: one that does not exist leaves the first pod in ContainerCreating and its node out of
service, one without an address lets virt-handler crash (facts 4.2, 10.12).
"""

from __future__ import annotations

import datetime
import ipaddress
import json

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.migration import FINAL, transitions
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_duration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    dig,
    key_of,
    mapping,
    rows,
    text,
    texts,
)

INTERFACE = "migration0"
NETWORKS = "k8s.v1.cni.cncf.io/networks"
STATUS = "k8s.v1.cni.cncf.io/network-status"
# A restart of virt-handler within seconds of a migration's end has killed the guest that arrived; this keeps away.
REST = 300
SPARE = 3  # addresses beyond one a node: new nodes and what else joins this network
# Plug-ins that give an interface an address only by their ipam block.
_IPAM_NEEDED = ("macvlan", "ipvlan", "bridge", "cnv-bridge", "host-device", "sriov", "vlan", "tap")


# -- the attachment --------------------------------------------------------------


def attachment_problems(nad, handlers):
    """What is wrong with a NetworkAttachmentDefinition as the migration network: ``(refusals, warnings)``, sentences.

    :param nad: the object.
    :param handlers: how many virt-handler pods need an address.
    """
    said = text(nad, "spec", "config")
    if not said.strip():
        return [], ["Its configuration lies on the nodes (spec.config is empty), so its addresses cannot be checked."]
    try:
        config = json.loads(said)
    except ValueError as exc:
        return ["its spec.config is not JSON (%s)" % exc], []
    if not isinstance(config, dict):
        return ["its spec.config is no JSON object"], []
    plugin = config if text(config, "type") else next(iter(rows(config, "plugins")), {})
    kind = text(plugin, "type")
    if not kind:
        return ["its spec.config names no plug-in (type)"], []
    try:
        return _judge(kind, plugin, handlers)
    except (ValueError, TypeError) as exc:
        return ["its addresses cannot be understood: %s" % exc], []


def _judge(kind, plugin, handlers):
    if kind == "ovn-k8s-cni-overlay":
        if not text(plugin, "subnets"):
            return ["it has no subnets, so virt-handler would get no address and crash"], []
        sizes = [_size(subnet, (), _listed(text(plugin, "excludeSubnets"))) for subnet in _listed(text(plugin, "subnets"))]
        return _enough(min(sizes), handlers, [])
    ipam = mapping(plugin, "ipam")
    way = text(ipam, "type")
    if not way:
        if kind in _IPAM_NEEDED:
            return ["it has no ipam block, so virt-handler would get no address and crash"], []
        return [], ["Its plug-in %s is not known here, so its addresses cannot be checked." % kind]
    if way in ("static", "host-local"):
        return ["its ipam type %s gives the same addresses on every node" % way], []
    if way != "whereabouts":
        return [], ["How many addresses its ipam type %s has cannot be told." % way]
    warnings = []
    if "excludeSubnets" in ipam:
        warnings.append("whereabouts ignores excludeSubnets; its key is exclude, a list.")
    ranges = rows(ipam, "ipRanges") or [ipam]
    return _enough(min(_range_size(row) for row in ranges), handlers, warnings)


def _enough(size, handlers, warnings):
    if size < handlers:
        return ["it has %d addresses, and %d virt-handler pods need one each" % (size, handlers)], warnings
    if size < handlers + SPARE:
        warnings = warnings + ["It has %d addresses for %d virt-handler pods, which leaves no room for new nodes."
                               % (size, handlers)]
    return [], warnings


def _listed(said):
    return [part.strip() for part in said.split(",") if part.strip()]


def _range_size(row):
    subnet, start, end = text(row, "range"), text(row, "range_start"), text(row, "range_end")
    if not subnet:
        raise ValueError("range is missing")
    if "-" in subnet:  # 10.0.0.5-10.0.0.20/24
        start, _dash, rest = subnet.partition("-")
        end, _slash, length = rest.partition("/")
        subnet = "%s/%s" % (start, length)
    return _size(subnet, (start, end), texts(row, "exclude"))


def _size(subnet, limits, excluded):
    """Addresses that can be given out: without the network's own and the broadcast one, limits and exclusions."""
    network = ipaddress.ip_network(subnet, strict=False)
    first, last = int(network.network_address) + 1, int(network.broadcast_address) - (network.version == 4)
    if any(limits):
        start, end = limits
        first = max(first, int(ipaddress.ip_address(start))) if start else first
        last = min(last, int(ipaddress.ip_address(end))) if end else last
    taken, reached = 0, first - 1
    spans = sorted((int(net.network_address), int(net.broadcast_address))
                   for net in (ipaddress.ip_network(part, strict=False) for part in excluded))
    for begin, finish in spans:
        begin, finish = max(begin, reached + 1, first), min(finish, last)
        if begin <= finish:
            taken, reached = taken + finish - begin + 1, finish
    return max(0, last - first + 1 - taken)


# -- when it may change ------------------------------------------------------------


def unrest(vmims, now):
    """Why virt-handler must not restart now: ``(a clause, seconds that are known to be needed or None)``; or None.

    :param vmims: all migrations of the cluster.
    :param now: epoch seconds.
    """
    going = ["%s/%s" % (key_of(vmim)[0], text(vmim, "spec", "vmiName")) for vmim in vmims
             if text(vmim, "status", "phase") not in FINAL]
    if going:
        more = " and %d more" % (len(going) - 5) if len(going) > 5 else ""
        return "migrations are under way (%s%s)" % (", ".join(sorted(going)[:5]), more), None
    ends = [(moment, vmim) for vmim in vmims for moment in [_end(vmim)] if moment is not None]
    if not ends:
        return None
    last, vmim = max(ends, key=lambda row: row[0])
    left = last + REST - now
    if left <= 0:
        return None
    return "the migration of %s/%s ended %s ago, and %s must pass" % (
        key_of(vmim)[0], text(vmim, "spec", "vmiName"), format_duration(max(0, now - last)), format_duration(REST)), left


def _end(vmim):
    stamps = [_epoch(stamp) for name, stamp in transitions(vmim).items() if name in FINAL]
    stamps.append(_epoch(text(vmim, "status", "migrationState", "endTimestamp")))
    found = [stamp for stamp in stamps if stamp is not None]
    return max(found) if found else None


def _epoch(stamp):
    try:
        moment = datetime.datetime.strptime(str(stamp)[:19], "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return None
    return moment.replace(tzinfo=datetime.timezone.utc).timestamp()


# -- has it arrived -------------------------------------------------------------------


def handlers_outstanding(daemon_set, pods, network):
    """What is left until every virt-handler pod is on that network, as a clause; None when nothing is (facts 10.12).

    :param daemon_set: the DaemonSet virt-handler, or None.
    :param pods: its pods.
    :param network: name of the attachment, ``""`` for the pod network.
    """
    if daemon_set is None:
        return "there is no DaemonSet virt-handler"
    status = mapping(daemon_set, "status")
    wanted, updated, ready = (status.get(key) or 0 for key in (
        "desiredNumberScheduled", "updatedNumberScheduled", "numberReady"))
    if status.get("observedGeneration") != dig(daemon_set, "metadata", "generation") or not wanted == updated == ready:
        return "virt-handler is updated on %s and ready on %s of %s nodes%s" % (
            updated, ready, wanted, _stuck(pods))
    for pod in pods:
        if dig(pod, "metadata", "deletionTimestamp"):
            continue
        where = "virt-handler on %s" % (text(pod, "spec", "nodeName") or "no node")
        asked = "%s@%s" % (network, INTERFACE) in _listed(text(pod, "metadata", "annotations", NETWORKS))
        if network and not asked:
            return "%s is not attached to %s" % (where, network)
        if network and not address_of(pod):
            return "%s has no address on %s" % (where, INTERFACE)
        if not network and "@" + INTERFACE in text(pod, "metadata", "annotations", NETWORKS):
            return "%s is still attached to a migration network" % where
    return None


def _stuck(pods):
    """The nodes whose virt-handler does not run, as words."""
    names = sorted(text(pod, "spec", "nodeName") for pod in pods if text(pod, "status", "phase") not in ("Running",))
    return " (not running on %s)" % ", ".join(names[:5]) if names else ""


def address_of(pod):
    """The address that a virt-handler pod has on the migration network, or None (facts 4.2)."""
    try:
        found = json.loads(text(pod, "metadata", "annotations", STATUS) or "[]")
    except ValueError:
        return None
    for row in found if isinstance(found, list) else []:
        if text(row, "interface") == INTERFACE and texts(row, "ips"):
            return texts(row, "ips")[0]
    return None


def rolled_out(daemon_set):
    """What a change of the network restarted, for the module's answer."""
    status = mapping(daemon_set, "status")
    return {"kind": "DaemonSet", "name": "virt-handler", "nodes": status.get("desiredNumberScheduled") or 0,
            "updated": status.get("updatedNumberScheduled") or 0, "ready": status.get("numberReady") or 0}
