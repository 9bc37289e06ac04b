# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A migration network as Kubernetes objects: one NodeNetworkConfigurationPolicy for each name a card has, one attachment.

The MTU is said on every device, since none inherits it reliably (facts, preparation 1); an OVS bridge has none of its own, there
its port's and the attachment's count. What the cards had before is kept on the policy, because deleting a policy reverts nothing.
"""

from __future__ import annotations

import ipaddress
import json

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import network_request as requests
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import mapping, rows, text

POLICY_API, POLICIES = "nmstate.io/v1", "nodenetworkconfigurationpolicies"
ATTACHMENT_API, ATTACHMENTS = "k8s.cni.cncf.io/v1", "network-attachment-definitions"
MANAGED_BY, OURS = "app.kubernetes.io/managed-by", "bigvm.live_migration"
NETWORK = "live-migration.bigvm.io/network"  # label: the network that an object is part of
BEFORE = "live-migration.bigvm.io/network-before"  # annotation: what the cards had
CNI_VERSION = "0.3.1"
USUAL_MTU = 1500
_TOP_DOWN = ("ovs-bridge", "linux-bridge", "vlan", "bond", "ethernet")


def labels(wanted):
    """The labels of all objects of a network."""
    return {MANAGED_BY: OURS, NETWORK: wanted["name"]}


def is_ours(obj, name=None):
    """Whether this collection made an object (for the network of that name)."""
    known = mapping(obj, "metadata", "labels")
    return known.get(MANAGED_BY) == OURS and name in (None, known.get(NETWORK))


def policy(wanted, group, before=None):
    """The NodeNetworkConfigurationPolicy of one group of nodes (dict).

    :param before: what its cards had, see :func:`before_of`; None leaves it out.
    """
    meta = {"name": group["policy"], "labels": labels(wanted)}
    if before is not None:
        meta["annotations"] = {BEFORE: json.dumps(before, sort_keys=True)}
    spec = {"desiredState": desired(wanted, group), "maxUnavailable": wanted["max_unavailable"]}
    if group["selector"]:
        spec["nodeSelector"] = dict(group["selector"])
    return {"apiVersion": POLICY_API, "kind": "NodeNetworkConfigurationPolicy", "metadata": meta, "spec": spec}


def desired(wanted, group):
    """``desiredState``: cards, then what stands on them, lowest first."""
    mtu, below, bond, bridge = wanted["mtu"], requests.base(group), group["bond"], wanted["bridge"]
    interfaces = [_device(name, "ethernet", mtu) for name in requests.cards(group)]
    if bond:
        interfaces.append(_device(bond["name"], "bond", mtu, **{"link-aggregation": {
            "mode": bond["mode"], "options": {"miimon": str(bond["miimon"])}, "port": list(bond["ports"])}}))
    if wanted["vlan_name"]:
        interfaces.append(_device(wanted["vlan_name"], "vlan", mtu, vlan={"base-iface": below, "id": wanted["vlan"]}))
        below = wanted["vlan_name"]
    state = {"interfaces": interfaces}
    if bridge and bridge["type"] == "linux-bridge":
        interfaces.append(_device(bridge["name"], "linux-bridge", mtu, bridge={
            "options": {"stp": {"enabled": False}}, "port": [{"name": below}]}))
    elif bridge:
        # OVN adds patch ports of its own; without allow-extra-patch-ports nmstate would take that for a failure.
        interfaces.append({"name": bridge["name"], "type": "ovs-bridge", "state": "up", "bridge": {
            "allow-extra-patch-ports": True, "options": {"stp": {"enabled": False}}, "port": [{"name": below}]}})
        state["ovn"] = {"bridge-mappings": [{"localnet": bridge["localnet"], "bridge": bridge["name"], "state": "present"}]}
    return state


def _device(name, kind, mtu, **more):
    return dict({"name": name, "type": kind, "state": "up", "mtu": mtu, "ipv4": {"enabled": False}, "ipv6": {"enabled": False}},
                **more)


def before_of(nodes, names):
    """What cards have, as far as one policy can put it back on all its nodes: ``{name: {mtu, state, ipv4, ipv6}}``.

    Where nodes differ: the smallest MTU, and addresses by DHCP where one of them had that (it is what an unconfigured card has).

    :param nodes: ``{name: interface}`` of each node's NodeNetworkState.
    """
    found = {}
    for name in names:
        here = [interfaces[name] for interfaces in nodes if name in interfaces]
        kept = {"mtu": min([row.get("mtu") or USUAL_MTU for row in here] or [USUAL_MTU]),
                "state": "down" if here and all(row.get("state") == "down" for row in here) else "up"}
        for family, keys in (("ipv4", ("enabled", "dhcp")), ("ipv6", ("enabled", "dhcp", "autoconf"))):
            said = [mapping(row, family) for row in here if mapping(row, family).get("enabled")]
            kept[family] = {key: any(row.get(key) for row in said) for key in keys if any(key in row for row in said)} \
                or {"enabled": False}
        found[name] = kept
    return found


def undone(found):
    """The ``desiredState`` that takes back what a policy of ours has made; the same once more for one that is undone already.

    :param found: the policy as the cluster has it.
    """
    try:
        before = json.loads(text(found, "metadata", "annotations", BEFORE) or "{}")
    except ValueError:
        before = {}
    interfaces = []
    for row in rows(found, "spec", "desiredState", "interfaces"):
        name, kind = text(row, "name"), text(row, "type")
        if kind != "ethernet":
            interfaces.append({"name": name, "type": kind, "state": "absent"})
            continue
        had = mapping(before, name)
        interfaces.append({
            "name": name, "type": kind, "state": text(had, "state") or "up", "mtu": had.get("mtu") or USUAL_MTU,
            "ipv4": mapping(had, "ipv4") or {"enabled": False}, "ipv6": mapping(had, "ipv6") or {"enabled": False}})
    interfaces.sort(key=lambda row: (_TOP_DOWN.index(row["type"]) if row["type"] in _TOP_DOWN else 0, row["name"]))
    state = {"interfaces": interfaces}
    mappings = [{"localnet": text(row, "localnet"), "state": "absent"}
                for row in rows(found, "spec", "desiredState", "ovn", "bridge-mappings")]
    if mappings:
        state["ovn"] = {"bridge-mappings": mappings}
    return state


def policy_undone(found):
    """The policy with :func:`undone` as its desired state; everything else as it is."""
    spec = {key: value for key, value in mapping(found, "spec").items() if key not in ("desiredState", "capture")}
    return {"apiVersion": POLICY_API, "kind": "NodeNetworkConfigurationPolicy", "metadata": {"name": text(found, "metadata", "name")},
            "spec": dict(spec, desiredState=undone(found))}


# -- the attachment ---------------------------------------------------------------------


def configuration(wanted, namespace):
    """The CNI configuration (dict) of the attachment."""
    kind, network = wanted["attachment_type"], wanted["range"]
    if kind == requests.OVN:
        said = {"cniVersion": CNI_VERSION, "name": wanted["master"], "type": kind, "topology": "localnet",
                "netAttachDefName": "%s/%s" % (namespace, wanted["name"]), "mtu": wanted["mtu"], "subnets": network}
        if wanted["vlan"]:
            said["vlanID"] = wanted["vlan"]
        if wanted["exclude"]:
            said["excludeSubnets"] = ",".join(str(ipaddress.ip_network(part, strict=False)) for part in wanted["exclude"])
        return said
    ipam = {"type": "whereabouts", "range": network}
    for key in ("range_start", "range_end"):
        if wanted[key]:
            ipam[key] = wanted[key]
    if wanted["exclude"]:
        ipam["exclude"] = list(wanted["exclude"])
    said = {"cniVersion": CNI_VERSION, "name": wanted["name"], "type": kind, "mtu": wanted["mtu"]}
    said.update({"bridge": wanted["master"]} if kind == requests.BRIDGE else
                {"master": wanted["master"], "mode": wanted["macvlan_mode"]})
    return dict(said, ipam=ipam)


def attachment(wanted, namespace):
    """The NetworkAttachmentDefinition (dict)."""
    return {"apiVersion": ATTACHMENT_API, "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": wanted["name"], "namespace": namespace, "labels": labels(wanted)},
            "spec": {"config": json.dumps(configuration(wanted, namespace), sort_keys=True)}}


def configured(found):
    """The CNI configuration that an attachment holds; ``{}`` when it holds none."""
    try:
        said = json.loads(text(found, "spec", "config"))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def differences(found, wanted):
    """Keys in which an attachment's configuration is another than wanted: ``[(key, found, wanted)]``."""
    here, other = _flat(configured(found)), _flat(wanted)
    return [(key, here.get(key), other.get(key)) for key in sorted(set(here) | set(other)) if here.get(key) != other.get(key)]


def _flat(config, prefix=""):
    found = {}
    for key, value in config.items():
        found.update(_flat(value, prefix + key + ".") if isinstance(value, dict) else {prefix + key: value})
    return found
