# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What network a node has, and what becomes of it when nmstatectl applies a desired state: plain data, no store.

A node has its way to the cluster over ``ens3`` and br-ex, and the cards of the topology's key ``nics``. A failure is told in
nmstate's words: a card that is not there (realdata, nnce-2), an MTU beyond the card's (facts, preparation 1: nmstate rejects it), a
change that cuts the node off, after which its probes fail and the checkpoint is rolled back.
"""

from __future__ import annotations

import ipaddress
import json

USUAL = ({"name": "ens4f0", "max_mtu": 9978, "speed": 100000},)
PRIMARY = "ens3"
MADE = ("bond", "vlan", "linux-bridge", "ovs-bridge")
NO_DEVICE = ("NmstateError: PluginFailure: Connection activation failed on connection_id {0}: error=nm-manager-error-quark: No suitable "
             "device found for this connection (device lo not available because profile is not compatible with device (mismatching "
             "interface name)). (3)")


class Failed(Exception):
    """nmstatectl says no; the text is its own."""


def nics_of(entry):
    """The cards (list of dict) that a topology gives a node; a name alone takes the usual values."""
    found = []
    for nic in entry if entry is not None else USUAL:
        nic = {"name": nic} if isinstance(nic, str) else dict(nic)
        found.append(dict(USUAL[0], **nic))
    return found


def state(address, nics):
    """``status.currentState`` of a node that nobody has configured.

    :param address: its own on the machine network.
    """
    interfaces = [
        {"name": "lo", "type": "loopback", "state": "up", "mtu": 65536},
        dict(_card({"name": PRIMARY, "max_mtu": 9978, "speed": 25000}), controller="br-ex"),
        {"name": "br-ex", "type": "ovs-bridge", "state": "up", "bridge": {
            "options": {"stp": {"enabled": False}}, "port": [{"name": PRIMARY}, {"name": "br-ex"}]}},
        {"name": "br-ex", "type": "ovs-interface", "state": "up", "mtu": 1500, "controller": "br-ex", "ipv4": {
            "enabled": True, "dhcp": True, "address": [{"ip": address, "prefix-length": 24}]}, "ipv6": {"enabled": False}},
    ] + [_card(nic) for nic in nics]
    gateway = str(ipaddress.ip_network(address + "/24", strict=False)[1])
    route = {"destination": "0.0.0.0/0", "next-hop-interface": "br-ex", "next-hop-address": gateway, "metric": 48, "table-id": 254}
    return {"interfaces": interfaces, "routes": {"running": [route], "config": []}, "dns-resolver": {}}


def _card(nic):
    row = {"name": nic["name"], "type": "ethernet", "state": nic.get("state", "up"), "mtu": nic.get("mtu", 1500), "min-mtu": 68,
           "max-mtu": nic["max_mtu"], "ipv4": {"enabled": False}, "ipv6": {"enabled": False},
           "ethernet": {"auto-negotiation": True, "duplex": "full", "speed": nic["speed"]}}
    if nic.get("address"):  # by DHCP, unless told otherwise
        ip, _slash, length = str(nic["address"]).partition("/")
        row["ipv4"] = {"enabled": True, "dhcp": nic.get("dhcp", True), "address": [{"ip": ip, "prefix-length": int(length or 24)}]}
    if nic.get("controller"):
        row["controller"] = nic["controller"]
    return row


def applied(current, desired):
    """``currentState`` after ``desiredState`` was applied.

    :raises Failed: and nothing is changed.
    """
    found = json.loads(json.dumps(current))
    rows = {row["name"]: row for row in found["interfaces"] if row["type"] != "ovs-interface"}
    for wanted in desired.get("interfaces") or []:
        _check(wanted, rows, desired)
        _apply(wanted, rows)
    primary = rows.get(PRIMARY) or {}
    if primary.get("controller") != "br-ex" or "br-ex" not in rows or primary.get("state") != "up":
        raise Failed("failed runnig probes after network changes: failed to retrieve default gw at runProbes: timed out waiting for "
                     "the condition")
    found["interfaces"] = list(rows.values()) + [row for row in found["interfaces"] if row["type"] == "ovs-interface"]
    mappings = {row["localnet"]: row for row in (found.get("ovn") or {}).get("bridge-mappings") or []}
    for row in (desired.get("ovn") or {}).get("bridge-mappings") or []:
        if row.get("state") == "absent":
            mappings.pop(row["localnet"], None)
        else:
            mappings[row["localnet"]] = {"localnet": row["localnet"], "bridge": row["bridge"]}
    if mappings or "ovn" in found:
        found["ovn"] = {"bridge-mappings": list(mappings.values())}
    return found


def ports_of(row):
    """The ports of a bond or bridge."""
    found = list((row.get("link-aggregation") or {}).get("port") or [])
    return found + [port["name"] for port in (row.get("bridge") or {}).get("port") or [] if port["name"] != row["name"]]


def _check(wanted, rows, desired):
    name, here = wanted["name"], rows.get(wanted["name"])
    if wanted.get("state") == "absent":
        return
    if here is None and wanted.get("type") not in MADE:
        raise Failed(NO_DEVICE.format(name))
    coming = {row["name"] for row in desired["interfaces"] if row.get("state") != "absent"}
    for below in ports_of(wanted) + [base for base in [(wanted.get("vlan") or {}).get("base-iface")] if base]:
        if below not in rows and below not in coming:
            raise Failed(NO_DEVICE.format(below))
    most = (here or {}).get("max-mtu")
    if most and wanted.get("mtu", 0) > most:
        raise Failed("NmstateError: InvalidArgument: Desired MTU %d for interface %s is bigger than maximum allowed MTU %d"
                     % (wanted["mtu"], name, most))


def _apply(wanted, rows):
    name = wanted["name"]
    if wanted.get("state") == "absent":
        gone = rows.pop(name, None) or {}
        for port in ports_of(gone):
            if (rows.get(port) or {}).get("controller") == name:
                del rows[port]["controller"]
        return
    here = rows.setdefault(name, {"name": name, "type": wanted.get("type"), "mtu": 1500})
    for port in set(ports_of(here)) - set(ports_of(dict(here, **wanted))):
        rows.get(port, {}).pop("controller", None)
    here.update(json.loads(json.dumps(wanted)))
    for port in ports_of(here):
        if port in rows:
            rows[port]["controller"] = name


# -- attaching a pod ------------------------------------------------------------------------


def refusal(config, current):
    """Why the CNI plug-in cannot attach a pod on a node of this state, in its words; None when it can (facts, preparation 1)."""
    rows = {row["name"]: row for row in current["interfaces"] if row["type"] != "ovs-interface"}
    kind = config.get("type")
    if kind == "macvlan":
        master = rows.get(config.get("master"))
        if master is None:
            return 'failed to lookup master "%s": Link not found' % config.get("master")
        if master.get("controller"):
            return "failed to create macvlan: device or resource busy"
        if not 0 <= config.get("mtu", 0) <= master.get("mtu", 1500):
            return "invalid MTU %s, must be [0, master mtu(%s)]" % (config["mtu"], master.get("mtu", 1500))
    if kind in ("bridge", "cnv-bridge") and config.get("bridge") not in rows:
        return 'could not lookup "%s": Link not found' % config.get("bridge")
    if kind == "ovn-k8s-cni-overlay" and config.get("topology") == "localnet" and not any(
            row["localnet"] == config.get("name") for row in (current.get("ovn") or {}).get("bridge-mappings") or []):
        return "failed to configure pod interface: timed out waiting for OVS port binding (ovn-installed)"
    return None


def lease(config, taken):
    """The lowest free address of an attachment (whereabouts, OVN); None when it names no range.

    :raises Failed: when none is free.
    """
    ipam = config.get("ipam") if isinstance(config.get("ipam"), dict) else {}
    said = ipam.get("range") or str(config.get("subnets") or "").partition(",")[0]
    if not said:
        return None
    network = ipaddress.ip_network(said, strict=False)
    excluded = ipam.get("exclude") or [part for part in str(config.get("excludeSubnets") or "").split(",") if part]
    away = [ipaddress.ip_network(part, strict=False) for part in excluded]
    first = ipaddress.ip_address(ipam["range_start"]) if ipam.get("range_start") else None
    last = ipaddress.ip_address(ipam["range_end"]) if ipam.get("range_end") else None
    for one in network.hosts():
        if (first and one < first) or (last and one > last) or str(one) in taken or any(one in part for part in away):
            continue
        return str(one)
    raise Failed("Could not allocate IP in range: ip: %s / - %s / range: %s" % (network[1], network[-2], said))


def effective_mtu(config, current):
    """The MTU that a pod's interface gets on a node of this state."""
    rows = {row["name"]: row for row in current["interfaces"]}
    below = rows.get(config.get("master") or config.get("bridge")) or {}
    if config.get("type") == "ovn-k8s-cni-overlay":
        return config.get("mtu") or 1400
    return config.get("mtu") or below.get("mtu") or 1500
