# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A migration network as it is asked for: made whole, or refused with the reason, before a cluster is asked anything.

What common instructions get wrong is settled here: exclusions under the key of another plug-in, an MTU that is told and
never written, a bridge that the attachment does not use (facts, preparation 1).
"""

from __future__ import annotations

import ipaddress
import re

BRIDGES = ("linux-bridge", "ovs-bridge")
MACVLAN, BRIDGE, OVN = "macvlan", "bridge", "ovn-k8s-cni-overlay"
ATTACHMENTS = (MACVLAN, BRIDGE, OVN)
# The attachment that a stack of devices ends in; with an OVS bridge nothing else reaches it.
FITTING = {None: MACVLAN, "linux-bridge": BRIDGE, "ovs-bridge": OVN}
BOND_MODES = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")
NOT_UNDER_A_BRIDGE = ("balance-rr", "balance-tlb", "balance-alb")  # modes 0, 5, 6
CLUSTERS_OWN = ("lo", "br-ex", "br-int", "ovn-k8s-mp0", "genev_sys_6081", "ovs-system")
NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
DEVICE = re.compile(r"^[^\s/:]{1,15}$")
LEAST_MTU, MOST_MTU = 1280, 65535


def complete(asked):
    """The request with everything that can be derived, what is wrong with it, and what was put right.

    :param asked: ``{name, namespace, mtu, nodes: [{nic, bond: {name, ports, mode, miimon}, node_selector, policy}], vlan,
        vlan_name, bridge: {type, name, localnet}, attachment_type, macvlan_mode, range, range_start, range_end, exclude,
        max_unavailable}``; what is not given may be missing or None.
    :returns: ``(wanted, problems, corrections)``. ``wanted``: the same keys, and ``master``, the device (or localnet) that the
        attachment names. Problems and corrections are sentences without a subject; ``wanted`` is of use without problems only.
    """
    wrong, put_right = [], []
    bridge = {key: value for key, value in (asked.get("bridge") or {}).items() if value not in (None, "")}
    kind = bridge.get("type")
    exclude, corrected = _exclusions(asked.get("exclude"), asked.get("excludeSubnets"))
    put_right += corrected
    wanted = {
        "name": asked.get("name") or "migration-network", "namespace": asked.get("namespace") or "",
        "mtu": asked.get("mtu") or 9000, "vlan": asked.get("vlan") or None, "vlan_name": None,
        "bridge": dict(bridge, name=bridge.get("name") or "br-migration") if kind else None,
        "attachment_type": asked.get("attachment_type") or FITTING.get(kind, MACVLAN),
        "macvlan_mode": asked.get("macvlan_mode") or "bridge", "range": str(asked.get("range") or "").strip(),
        "range_start": asked.get("range_start") or "", "range_end": asked.get("range_end") or "", "exclude": exclude,
        "max_unavailable": _share(asked.get("max_unavailable")), "nodes": _groups(asked.get("nodes") or [], wrong),
    }
    if kind == "ovs-bridge":
        wanted["bridge"]["localnet"] = bridge.get("localnet") or wanted["name"]
    if wanted["vlan"] and kind != "ovs-bridge":  # there the attachment carries it
        wanted["vlan_name"] = asked.get("vlan_name") or _vlan_name(wanted)
    _policies(wanted)
    wrong += _names(wanted) + _stack(wanted, bridge) + _addresses(wanted)
    if not wrong:
        wanted["master"] = wanted["bridge"]["localnet"] if kind == "ovs-bridge" else top(wanted, wanted["nodes"][0])
    return wanted, wrong, put_right


def base(group):
    """The name of the card or bond that everything stands on."""
    return group["bond"]["name"] if group["bond"] else group["nic"]


def cards(group):
    """The names of the cards of a group."""
    return list(group["bond"]["ports"]) if group["bond"] else [group["nic"]]


def top(wanted, group):
    """The device that a group's stack ends in."""
    if wanted["bridge"]:
        return wanted["bridge"]["name"]
    return wanted["vlan_name"] or base(group)


def created(wanted, group):
    """The devices that the policy makes, lowest first."""
    return [name for name in (group["bond"] and group["bond"]["name"], wanted["vlan_name"],
                              wanted["bridge"] and wanted["bridge"]["name"]) if name]


def _share(value):
    if value in (None, ""):
        return 1
    return int(value) if str(value).isdigit() else value


def _exclusions(exclude, misnamed):
    """whereabouts' key is ``exclude``, a list; ``excludeSubnets``, a string, is another plug-in's, and whereabouts drops it."""
    found, put_right = [], []
    for given, name in ((exclude, "exclude"), (misnamed, "excludeSubnets")):
        if isinstance(given, str):
            given = [part.strip() for part in given.split(",")]
        if not given:
            continue
        found += [str(part).strip() for part in given if str(part).strip() and str(part).strip() not in found]
        if name == "excludeSubnets":
            put_right.append("excludeSubnets belongs to ovn-k8s-cni-overlay; whereabouts ignores it and would hand out the addresses "
                             "that it names first. They are excluded by the key that the chosen plug-in reads.")
    return found, put_right


def _groups(given, wrong):
    found = []
    for number, entry in enumerate(given, 1):
        entry = entry if isinstance(entry, dict) else {}
        bond = entry.get("bond") or None
        if bool(bond) == bool(entry.get("nic")):
            wrong.append("entry %d of nodes needs nic or bond, and not both" % number)
            continue
        if bond:
            mode = str(bond.get("mode") or "active-backup")
            mode = BOND_MODES[int(mode)] if mode.isdigit() and int(mode) < len(BOND_MODES) else mode
            bond = {"name": bond.get("name") or "bond-migration", "ports": [str(port) for port in bond.get("ports") or []],
                    "mode": mode, "miimon": bond.get("miimon") or 100}
            if not bond["ports"]:
                wrong.append("bond %s has no ports" % bond["name"])
            if len(set(bond["ports"])) < len(bond["ports"]):
                wrong.append("bond %s has the same port twice" % bond["name"])
            if mode not in BOND_MODES:
                wrong.append("bond %s has the mode %s; known are %s" % (bond["name"], mode, ", ".join(BOND_MODES)))
        selector = entry.get("node_selector") or {}
        if set(selector) & {"matchLabels", "matchExpressions"}:
            wrong.append("entry %d of nodes selects with matchLabels or matchExpressions, which NodeNetworkConfigurationPolicy does "
                         "not have: its nodeSelector takes labels and their values alone" % number)
        found.append({"nic": entry.get("nic"), "bond": bond, "policy": entry.get("policy"),
                      "selector": {str(key): str(value) if value is not None else "" for key, value in selector.items()}})
    return found


def _vlan_name(wanted):
    bases = {base(group) for group in wanted["nodes"]}
    name = "%s.%s" % (next(iter(bases)), wanted["vlan"]) if len(bases) == 1 else ""
    return name if 0 < len(name) <= 15 else "vlan%s" % wanted["vlan"]


def _policies(wanted):
    for group in wanted["nodes"]:
        if not group["policy"]:
            suffix = re.sub(r"[^a-z0-9.-]", "-", str(base(group)).lower()).strip("-.")
            group["policy"] = wanted["name"] if len(wanted["nodes"]) == 1 else "%s-%s" % (wanted["name"], suffix)


def _names(wanted):
    wrong = []
    if not NAME.match(wanted["name"]) or len(wanted["name"]) > 63:
        wrong.append("the name %s is none that Kubernetes takes (small letters, digits, - and ., 63 at most)" % wanted["name"])
    policies = [group["policy"] for group in wanted["nodes"]]
    wrong += ["the policy name %s is none that Kubernetes takes" % name for name in policies if not NAME.match(name)]
    wrong += ["two entries of nodes make the policy %s; give one of them another name (policy)" % name
              for name in sorted(set(policies)) if policies.count(name) > 1]
    devices = [name for group in wanted["nodes"] for name in cards(group) + created(wanted, group)]
    wrong += ["%s is no name of an interface (15 characters at most, no blanks)" % name
              for name in sorted(set(devices)) if not DEVICE.match(str(name))]
    wrong += ["%s is the cluster's own and carries its traffic; take a card that nothing else uses" % name
              for name in sorted(set(devices)) if name in CLUSTERS_OWN]
    for group in wanted["nodes"]:
        mine = cards(group) + created(wanted, group)
        wrong += ["%s would be two devices at once" % name for name in sorted(set(mine)) if mine.count(name) > 1]
    return wrong


def _stack(wanted, bridge):
    wrong, kind = [], (wanted["bridge"] or {}).get("type")
    if not wanted["nodes"]:
        wrong.append("nodes is empty: it says which card each node has for migrations")
    if bridge and kind not in BRIDGES:
        wrong.append("bridge needs a type, %s" % " or ".join(BRIDGES))
    try:
        fits = LEAST_MTU <= int(wanted["mtu"]) <= MOST_MTU
        wanted["mtu"] = int(wanted["mtu"])
    except (TypeError, ValueError):
        fits = False
    if not fits:
        wrong.append("mtu is %s; it lies between %d and %d" % (wanted["mtu"], LEAST_MTU, MOST_MTU))
    if wanted["vlan"] is not None and not (str(wanted["vlan"]).isdigit() and 1 <= int(wanted["vlan"]) <= 4094):
        wrong.append("vlan is %s; it lies between 1 and 4094" % wanted["vlan"])
    elif wanted["vlan"] is not None:
        wanted["vlan"] = int(wanted["vlan"])
    if wanted["attachment_type"] not in ATTACHMENTS:
        wrong.append("attachment_type is %s; known are %s" % (wanted["attachment_type"], ", ".join(ATTACHMENTS)))
    elif wanted["attachment_type"] != FITTING.get(kind, MACVLAN):
        wrong.append(_misfit(wanted["attachment_type"], kind))
    for group in wanted["nodes"]:
        if kind == "linux-bridge" and group["bond"] and group["bond"]["mode"] in NOT_UNDER_A_BRIDGE:
            wrong.append("bond %s has the mode %s, which does not work below a Linux bridge for pods and VMs; take active-backup or "
                         "802.3ad" % (group["bond"]["name"], group["bond"]["mode"]))
    tops = sorted({top(wanted, group) for group in wanted["nodes"]})
    if len(tops) > 1:
        wrong.append("the attachment names one device for all nodes, and these have %s: put a vlan, a bond (one port will do) or a "
                     "bridge of one name on top of them" % " and ".join(tops))
    share = wanted["max_unavailable"]
    if not (isinstance(share, int) and share > 0) and not re.match(r"^[1-9]\d?%$|^100%$", str(share)):
        wrong.append("max_unavailable is %s; it is a number of nodes or a percentage such as 25%%" % share)
    return wrong


def _misfit(attachment, bridge):
    if bridge == "ovs-bridge":
        return ("an attachment of type %s does not use the OVS bridge: its port is busy, and any other card would carry the migrations "
                "past it. Only %s reaches an OVS bridge, by its mapping" % (attachment, OVN))
    if bridge == "linux-bridge":
        return "an attachment of type %s does not use the Linux bridge below it; take bridge" % attachment
    return "an attachment of type %s needs a bridge (%s)" % (attachment, "linux-bridge" if attachment == BRIDGE else "ovs-bridge")


def _addresses(wanted):
    if not wanted["range"]:
        return ["range is missing: the addresses of the migration network, such as 10.200.5.0/24"]
    asked = wanted["range"]
    try:
        network = ipaddress.ip_network(asked, strict=False)
    except ValueError as exc:
        return ["range: %s" % exc]
    wanted["range"] = str(network)
    if network.num_addresses == 1:
        return ["range %s is one address, and not a network: write it like %s/%d" % (
            asked, asked.partition("/")[0], 24 if network.version == 4 else 64)]
    wrong, limits = [], {}
    for key in ("range_start", "range_end"):
        try:
            limits[key] = ipaddress.ip_address(wanted[key]) if wanted[key] else None
        except ValueError as exc:
            wrong.append("%s: %s" % (key, exc))
            continue
        if limits[key] is not None and limits[key] not in network:
            wrong.append("%s %s does not lie in %s" % (key, wanted[key], network))
    if all(limits.get(key) for key in ("range_start", "range_end")) and not wrong and limits["range_start"] > limits["range_end"]:
        wrong.append("range_start %s lies behind range_end %s" % (wanted["range_start"], wanted["range_end"]))
    if wanted["attachment_type"] == OVN and (wanted["range_start"] or wanted["range_end"]):
        wrong.append("%s knows no range_start and range_end; exclude what must not be given out" % OVN)
    for part in wanted["exclude"]:
        try:
            inside = ipaddress.ip_network(part, strict=False)
        except ValueError as exc:
            wrong.append("exclude: %s" % exc)
            continue
        if inside.version != network.version or not inside.overlaps(network):
            wrong.append("exclude %s does not lie in %s and would exclude nothing" % (part, network))
    return wrong
