# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a migration network can be made as asked, before anything is written: a list of checks that pass or fail.

A check is ``{code, name, status: PASS|WARN|FAIL, found, remedy}``. The scene they look at is plain data::

    {"home": namespace of HyperConverged, "network": what it names, "handlers": [nodes that run virt-handler],
     "nodes": {name: Node}, "states": {name: NodeNetworkState}, "policies": [...], "enactments": [...],
     "attachments": [of all namespaces], "cluster_network": network.config.openshift.io or None, "cluster_network_unknown": why,
     "reconciler": True, False or None (not known), "daemon_set": virt-handler's, "pods": its pods}
"""

from __future__ import annotations

import ipaddress

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import migration_network, network_render
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import network_request as requests
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    condition,
    dig,
    key_of,
    labels,
    mapping,
    rows,
    text,
    texts,
)

PASS, WARN, FAIL = "PASS", "WARN", "FAIL"
SLOW, FAST = 25000, 100000  # Mb/s: least for guests over 1 TB on RHEL KVM; asked for over 500 GB on OpenShift (X18)
# What OVN-Kubernetes uses inside when nobody says otherwise: join, transit and masquerade subnets.
OVN_INSIDE = ("100.64.0.0/16", "100.88.0.0/16", "169.254.0.0/17")


def check(code, name, status, found, remedy=""):
    """One check."""
    return {"code": code, "name": name, "status": status, "found": found, "remedy": remedy if status != PASS else ""}


def before_writing(wanted, scene, acknowledged=()):
    """All checks that must not fail before the first write.

    :param wanted: from :func:`..network_request.complete`.
    :param acknowledged: of ``adopt`` (objects that somebody else made) and ``addresses`` (a card that has some by DHCP).
    """
    found = _place(wanted, scene) + _coverage(wanted, scene)
    for group in wanted["nodes"]:
        for node in nodes_of(group, scene):
            found += _node(wanted, group, node, scene, acknowledged)
    return found + _policies(wanted, scene, acknowledged) + _range(wanted, scene) + _leases(wanted, scene)


def nodes_of(group, scene):
    """The nodes that a group's policy is applied to, sorted; all of them, not only those with virt-handler."""
    return sorted(name for name, node in scene["nodes"].items()
                  if all(labels(node).get(key) == value for key, value in group["selector"].items()))


def interfaces_of(state):
    """``{name: interface}`` of a NodeNetworkState; br-ex is two, the bridge and its own port, and what either says counts."""
    found = {}
    for row in rows(state, "status", "currentState", "interfaces"):
        found[text(row, "name")] = {**row, **found.get(text(row, "name"), {})}
    return found


# -- where the attachment lives, and who made what ---------------------------------------


def _place(wanted, scene):
    home, name, found = scene["home"], wanted["name"], []
    if wanted["namespace"] not in ("", home):
        found.append(check(
            "namespace", "namespace of the attachment", FAIL, "%s was asked for, and virt-handler looks in its own, %s"
            % (wanted["namespace"], home), "Leave namespace out, or give %s." % home))
    else:
        elsewhere = sorted(key_of(nad)[0] for nad in scene["attachments"] if key_of(nad)[1] == name and key_of(nad)[0] != home)
        found.append(check(
            "namespace", "namespace of the attachment", WARN if elsewhere else PASS,
            "%s%s" % (home, "; one of the same name in %s is not used by virt-handler" % ", ".join(elsewhere) if elsewhere else ""),
            "Remove the other one when it was meant for migrations."))
    return found


def _policies(wanted, scene, acknowledged):
    found, own = [], {group["policy"] for group in wanted["nodes"]}
    objects = [policy for policy in scene["policies"] if key_of(policy)[1] in own]
    objects += [nad for nad in scene["attachments"] if key_of(nad) == (scene["home"], wanted["name"])]
    for obj in objects:
        if not network_render.is_ours(obj, wanted["name"]) and "adopt" not in acknowledged:
            found.append(check(
                "foreign", "%s %s" % (text(obj, "kind") or "object", key_of(obj)[1]), FAIL,
                "it exists and was not made for this network by this collection",
                "Look at it; to take it over and change it, acknowledge: [adopt]. Else choose another name."))
    for policy in objects:
        if condition(policy, "Progressing").get("status") == "True":
            found.append(check("policy_busy", "policy %s" % key_of(policy)[1], FAIL, "it is being applied right now; what a change "
                               "in the middle does is not defined", "Wait until it is Available or Degraded, then run again."))
    for policy in scene["policies"]:
        if key_of(policy)[1] in own:
            continue
        touched = _touched(policy)
        for group in wanted["nodes"]:
            shared = sorted(touched & set(requests.cards(group) + requests.created(wanted, group)))
            if shared and set(nodes_of(group, scene)) & set(nodes_of({"selector": mapping(policy, "spec", "nodeSelector")}, scene)):
                found.append(check(
                    "policy_overlap", "policy %s" % key_of(policy)[1], FAIL, "it configures %s as well; the order of policies is not "
                    "defined" % ", ".join(shared), "Let one policy have the card: take it out of the other, or choose another card."))
    return found


def _touched(policy):
    names = set()
    for row in rows(policy, "spec", "desiredState", "interfaces"):
        if text(row, "state") != "absent":
            names.add(text(row, "name"))
            names.update(_ports(row))
    return names


def _ports(row):
    return set(texts(row, "link-aggregation", "port")) | {text(port, "name") for port in rows(row, "bridge", "port")}


# -- nodes -----------------------------------------------------------------------------------


def _coverage(wanted, scene):
    found, members = [], {group["policy"]: nodes_of(group, scene) for group in wanted["nodes"]}
    for group in wanted["nodes"]:
        if not members[group["policy"]]:
            found.append(check(
                "no_node", "policy %s" % group["policy"], FAIL, "its node_selector (%s) selects no node" % ", ".join(
                    "%s=%s" % pair for pair in sorted(group["selector"].items())), "Correct the labels, or label the nodes."))
    for node in sorted(set(scene["handlers"]) | {name for names in members.values() for name in names}):
        having = [policy for policy, names in members.items() if node in names]
        if len(having) > 1:
            found.append(check("two_policies", "node %s" % node, FAIL, "the policies %s all select it" % ", ".join(having),
                               "Give each entry of nodes a node_selector, so that each node has one."))
        elif not having:
            found.append(check(
                "uncovered", "node %s" % node, FAIL, "it runs virt-handler, and no entry of nodes selects it: without the network its "
                "virt-handler would stay in ContainerCreating and the node take no VMs",
                "Add an entry with its card, or keep virt-handler off it (HyperConverged, workloads)."))
    if not scene["handlers"]:
        found.append(check("no_handlers", "virt-handler", FAIL, "it runs on no node", "Look at the DaemonSet virt-handler in %s."
                           % scene["home"]))
    return found


def _node(wanted, group, node, scene, acknowledged):
    state = scene["states"].get(node)
    if state is None:
        return [check("no_state", "node %s" % node, FAIL, "NMState reports nothing of it (no NodeNetworkState)",
                      "Look whether nmstate-handler runs on it (namespace openshift-nmstate), and whether the node is Ready.")]
    here = interfaces_of(state)
    found = []
    if condition(scene["nodes"][node], "Ready").get("status") not in ("True", None):
        found.append(check("not_ready", "node %s" % node, FAIL, "it is not Ready, and NMState passes it over in silence",
                           "Bring it back first, or leave it out (node_selector, and virt-handler's placement)."))
    mine = {name for other in wanted["nodes"] for name in requests.created(wanted, other)}
    own = any(network_render.is_ours(policy, wanted["name"]) and key_of(policy)[1] == group["policy"] for policy in scene["policies"])
    taken = mine & set(requests.created(wanted, group)) & set(here)
    if taken and not own and "adopt" not in acknowledged:
        found.append(check("device_exists", "node %s" % node, FAIL, "%s exists there already and no policy of this network made it"
                           % ", ".join(sorted(taken)), "Choose another name, or acknowledge: [adopt] to change it."))
    for name in requests.cards(group):
        found += _card(wanted, group, name, (node, here, state), mine, acknowledged)
    return found


def _card(wanted, group, name, place, mine, acknowledged):
    node, here, state = place
    where, row = "%s on node %s" % (name, node), here.get(name)

    def fails(code, said, remedy):
        return [check(code, where, FAIL, said, remedy)]

    if row is None:
        return fails("nic_missing", "there is no such interface; there are %s" % (", ".join(_free(here, state, mine)) or "no free cards"),
                     "Give this node an entry of its own with the name that its card has there (node_selector), under a bond, VLAN or "
                     "bridge of one name, or keep virt-handler off the node.")
    if text(row, "type") not in ("ethernet", "veth"):
        return fails("nic_type", "it is a %s, not a card" % (text(row, "type") or "device of unknown type"),
                     "Name cards here; bond, vlan and bridge say what stands on them.")
    why = carries_cluster(name, here, state)
    if why:
        return fails("default_route", why, "Take a second card. A bridge or bond there cuts the node off (and OpenShift SDN, the old way "
                     "out, is gone since 4.17).")
    master = _controller(name, here)
    if master and master not in mine:
        return fails("enslaved", "it is a port of %s, and what stands on it alone gets 'device or resource busy'" % master,
                     "Take an unused card, or take it out of %s first." % master)
    riders = sorted(other for other, entry in here.items() if other not in mine and (
        text(entry, "vlan", "base-iface") == name or text(entry, "ipvlan", "base-iface") == name))
    if riders and (wanted["bridge"] or group["bond"] or dig(here, riders[0], "type") == "ipvlan"):
        return fails("ridden", "%s stand%s on it" % (", ".join(riders), "" if len(riders) > 1 else "s"), "Take an unused card.")
    least, most = row.get("min-mtu"), row.get("max-mtu")
    if isinstance(most, int) and wanted["mtu"] > most:
        return fails("mtu_high", "its largest MTU is %d, and %d is asked for" % (most, wanted["mtu"]),
                     "Ask for mtu: %d at most, on all nodes and on the switch." % most)
    if isinstance(least, int) and wanted["mtu"] < least:
        return fails("mtu_low", "its smallest MTU is %d, and %d is asked for" % (least, wanted["mtu"]), "Ask for a larger mtu.")
    used = addresses_of(row)
    dynamic = dig(row, "ipv4", "dhcp") or dig(row, "ipv6", "dhcp") or dig(row, "ipv6", "autoconf")
    if used and not (dynamic and "addresses" in acknowledged):
        return fails("in_use", "it has the address %s, which the policy would take away" % ", ".join(used),
                     "Take a card that nothing uses%s." % (", or acknowledge: [addresses] when the address came by DHCP by itself"
                                                           if dynamic else ""))
    return [_good(wanted, where, row)]


def _good(wanted, where, row):
    speed = dig(row, "ethernet", "speed")
    told = "free, MTU up to %s%s" % (row.get("max-mtu") or "unknown", ", %d Gb/s" % (speed // 1000) if isinstance(speed, int) and speed > 0
                                     else "")
    if isinstance(speed, int) and 0 < speed < SLOW:
        return check("nic_slow", where, WARN, told, "Guests of more than 1 TB want 25 Gb/s at least, OpenShift asks for 100 Gb/s above "
                     "500 GB; the throughput proof tells what it carries.")
    if isinstance(speed, int) and SLOW <= speed < FAST:
        return check("nic_slow", where, PASS, told + "; 25 Gb/s is the least for 1 TB, 100 Gb/s is asked for above 500 GB")
    return check("nic", where, PASS, told)


def _controller(name, here):
    """The bond or bridge that a card is a port of, or None."""
    said = text(here.get(name) or {}, "controller")
    if said:
        return said
    return next((other for other, row in sorted(here.items()) if name in _ports(row) and other != name), None)


def carries_cluster(name, here, state):
    """Why a card is the node's way to the cluster, or None: the default route, or what stands on br-ex."""
    chain, seen = name, set()
    while chain and chain not in seen:
        seen.add(chain)
        if chain == "br-ex":
            return "br-ex stands on it: it carries the cluster's own traffic"
        chain = _controller(chain, here) or next(
            (other for other, row in sorted(here.items()) if text(row, "vlan", "base-iface") == chain and other in _defaults(state)), None)
    hit = sorted(seen & _defaults(state))
    return "the default route of the node goes over %s" % hit[0] if hit else None


def _defaults(state):
    return {text(row, "next-hop-interface") for way in ("running", "config")
            for row in rows(state, "status", "currentState", "routes", way) if text(row, "destination") in ("0.0.0.0/0", "::/0")}


def _free(here, state, mine):
    return sorted(name for name, row in here.items() if text(row, "type") in ("ethernet", "veth") and not carries_cluster(name, here, state)
                  and (_controller(name, here) or "") in mine | {""} and not addresses_of(row))


def addresses_of(row):
    """The addresses of an interface with their length, link-local ones left out."""
    found = []
    for family in ("ipv4", "ipv6"):
        if dig(row, family, "enabled"):
            found += ["%s/%s" % (text(one, "ip"), one.get("prefix-length")) for one in rows(row, family, "address")]
    return [one for one in found if not _link_local(one)]


def _link_local(said):
    try:
        return ipaddress.ip_interface(said).is_link_local
    except ValueError:
        return True


# -- addresses -----------------------------------------------------------------------------------


def _range(wanted, scene):
    found, network = [], ipaddress.ip_network(wanted["range"])
    refusals, warnings = migration_network.attachment_problems(
        network_render.attachment(wanted, scene["home"]), len(scene["handlers"]))
    for said in refusals:
        found.append(check("range_small", "range %s" % network, FAIL, said, "Give a larger range, or exclude less."))
    for said in warnings:
        found.append(check("range_tight", "range %s" % network, WARN, said.rstrip("."), "Give a larger range while it is easy."))
    clashes = ["%s (%s)" % pair for pair in used_networks(wanted, scene) if _overlap(network, pair[0])]
    if clashes:
        found.append(check("range_overlap", "range %s" % network, FAIL, "it overlaps %s" % "; ".join(clashes),
                           "Choose a range that nothing else in the cluster uses."))
    if scene.get("cluster_network_unknown"):
        found.append(check("networks_unknown", "range %s" % network, WARN, "the pod and service networks are not known: %s"
                           % scene["cluster_network_unknown"], "Compare by hand: oc get network.config cluster -o yaml."))
    if not found:
        found.append(check("range", "range %s" % network, PASS, "room for %d virt-handlers, nothing else uses it" % len(scene["handlers"])))
    return found


def _overlap(network, said):
    try:
        other = ipaddress.ip_network(said, strict=False)
    except ValueError:
        return False
    return other.version == network.version and network.overlaps(other)


def used_networks(wanted, scene):
    """What is taken: ``[(network, by what)]``; machine, pod and service networks, and other attachments' ranges."""
    found, seen = [], set()
    cards_of_ours = {name for group in wanted["nodes"] for name in requests.cards(group) + requests.created(wanted, group)}
    for node, state in sorted(scene["states"].items()):
        for name, row in sorted(interfaces_of(state).items()):
            for said in addresses_of(row) if name not in cards_of_ours else ():
                network = str(ipaddress.ip_interface(said).network)
                if network not in seen:
                    seen.add(network)
                    found.append((network, "%s of node %s" % (name, node)))
    settings = scene.get("cluster_network") or {}
    for part in ("status", "spec"):
        found += [(text(row, "cidr"), "pod network") for row in rows(settings, part, "clusterNetwork")]
        found += [(said, "service network") for said in texts(settings, part, "serviceNetwork")]
    if text(settings, "status", "networkType") == "OVNKubernetes":
        found += [(said, "OVN-Kubernetes inside, unless changed") for said in OVN_INSIDE]
    for nad in scene["attachments"]:
        if key_of(nad) != (scene["home"], wanted["name"]):
            ipam = mapping(network_render.configured(nad), "ipam")
            found += [(text(row, "range"), "attachment %s/%s" % key_of(nad)) for row in [ipam] + rows(ipam, "ipRanges")
                      if text(row, "range")]
    return list(dict.fromkeys(found))


def _leases(wanted, scene):
    if wanted["attachment_type"] == requests.OVN or scene.get("reconciler") is not False:
        return []
    return [check("no_reconciler", "address leases", WARN, "no whereabouts-reconciler runs: addresses of pods that ended hard stay taken",
                  "Add an additionalNetworks entry whereabouts-shim of type Raw to network.operator.openshift.io cluster.")]


# -- for people ---------------------------------------------------------------------------------------


def failed(checks):
    """The checks that failed."""
    return [row for row in checks if row["status"] == FAIL]


def lines(checks):
    """A line a check, what helps below what did not pass."""
    found = []
    for row in checks:
        found.append("%s: %s: %s" % (row["status"], row["name"], row["found"]))
        if row["remedy"] and row["status"] != PASS:
            found.append("      " + row["remedy"])
    return found
