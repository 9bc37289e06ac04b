# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far NMState is with a policy, and whether a migration network is as it should be.

``Available`` alone proves nothing: nodes that are not Ready are passed over, and a condition may be of an earlier generation. A policy
is done when each of its nodes has an enactment of the current generation that is Available; it has failed when it is Degraded or Ignored
(facts, preparation 1). An enactment that fails and still tries has not failed.
"""

from __future__ import annotations

import ipaddress
import math
import re

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import migration_network, network_render
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import network_request as requests
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.network_checks import (
    FAIL,
    PASS,
    check,
    interfaces_of,
    nodes_of,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    condition,
    dig,
    key_of,
    labels,
    mapping,
    text,
)

DONE, FAILED, GOING = "done", "failed", "going"
NODE = "nmstate.io/node"
POLICY = "nmstate.io/policy"
ATTEMPTS = 5  # of newer operators for one node, then Aborted for the rest
ONE_NODE = 600  # s: a checkpoint of 480 and its probes
WIDTH = 300


def patience(nodes, max_unavailable):
    """Seconds that applying a policy may take: every batch once, and one node with all its attempts."""
    share = str(max_unavailable)
    at_once = math.ceil(nodes * int(share[:-1]) / 100.0) if share.endswith("%") else int(share)
    return ONE_NODE * (math.ceil(nodes / float(max(1, at_once))) + ATTEMPTS - 1)


def progress(policy, enactments, nodes):
    """``(DONE | FAILED | GOING, sentence)`` of one policy.

    :param enactments: all of the cluster.
    :param nodes: names of the nodes that it selects and that must have it.
    """
    name = key_of(policy)[1]
    generation = dig(policy, "metadata", "generation")
    own = {labels(row).get(NODE) or key_of(row)[1].partition(".")[0]: row for row in enactments
           if labels(row).get(POLICY) == name or key_of(row)[1].endswith("." + name)}
    current = {node: row for node, row in own.items() if dig(row, "status", "policyGeneration") == generation}
    if condition(policy, "Ignored").get("status") == "True":
        return FAILED, "policy %s is ignored: its nodeSelector selects no node" % name
    if condition(policy, "Degraded").get("status") == "True":
        return FAILED, "policy %s is Degraded: %s" % (name, _why(policy, current))
    good = sorted(node for node, row in current.items() if condition(row, "Available").get("status") == "True")
    left = [node for node in nodes if node not in good]
    if not left and condition(policy, "Available").get("status") == "True":
        return DONE, "policy %s is applied on %d nodes" % (name, len(nodes))
    return GOING, "policy %s is applied on %d of %d nodes%s" % (name, len(set(good) & set(nodes)), len(nodes), _doing(left, current))


def _doing(left, current):
    told = []
    for node in left[:3]:
        row = current.get(node)
        states = {row_["type"]: row_ for row_ in (dig(row, "status", "conditions") or []) if isinstance(row_, dict) and row_.get("type")} \
            if row else {}
        on = [kind for kind in ("Failing", "Pending", "Progressing", "Aborted") if (states.get(kind) or {}).get("status") == "True"]
        reason = next((text(states[kind], "reason") for kind in on), "") or ("nothing yet" if row else "no enactment yet")
        told.append("%s: %s" % (node, reason))
    return " (%s%s)" % ("; ".join(told), "; ..." if len(left) > 3 else "") if told else ""


def _why(policy, current):
    told = []
    for node, row in sorted(current.items()):
        failing = condition(row, "Failing")
        if failing.get("status") == "True":
            told.append("%s: %s" % (node, said_by_nmstate(text(failing, "message")) or text(failing, "reason")))
    aborted = sorted(node for node, row in current.items() if condition(row, "Aborted").get("status") == "True")
    if aborted:
        told.append("not tried any more on %s" % ", ".join(aborted))
    return "; ".join(told) or text(condition(policy, "Degraded"), "message") or "no enactment says why"


def said_by_nmstate(message):
    """The part of an enactment's message that says why: a page of nmstatectl's log holds one such line."""
    rows_ = [row.strip(" '") for row in message.strip().splitlines() if row.strip(" '")]
    telling = [row for row in rows_ if re.match(r"^(libnmstate\.error\.|NmstateError|.*\bERROR\b)", row)]
    best = next((row for row in telling if "ERROR" in row), telling[-1] if telling else rows_[-1] if rows_ else "")
    best = re.sub(r"^\d{4}-\d\d-\d\d[ T][\d:,.Z]+\s+\S+\s+ERROR\s+", "", best)
    best = re.split(r"\s+\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ ", best)[0].strip()
    return best if len(best) <= WIDTH else best[:WIDTH - 3] + "..."


# -- is it as it should be --------------------------------------------------------------------


def as_wanted(wanted, scene):
    """Checks of what is there against what is wanted; all pass when the network is complete and in use."""
    found = []
    for group in wanted["nodes"]:
        found.append(_policy(wanted, group, scene))
        for node in nodes_of(group, scene):
            found += _mtu(wanted, group, node, scene)
    return found + [_attachment(wanted, scene), _used(wanted, scene)] + _arrived(wanted, scene)


def _policy(wanted, group, scene):
    name = "policy %s" % group["policy"]
    here = next((row for row in scene["policies"] if key_of(row)[1] == group["policy"]), None)
    if here is None:
        return check("policy_missing", name, FAIL, "it does not exist", "Run the role with mode apply.")
    if mapping(here, "spec") != network_render.policy(wanted, group)["spec"]:
        return check("policy_differs", name, FAIL, "its spec is another than wanted", "Run the role with mode apply; --diff shows it.")
    state, said = progress(here, scene["enactments"], nodes_of(group, scene))
    if state != DONE:
        return check("policy_" + state, name, FAIL, said, "NMState has put the node back as it was; it tries again when the policy "
                     "changes." if state == FAILED else "Wait, or look at nmstate-handler on these nodes.")
    return check("policy", name, PASS, said)


def _mtu(wanted, group, node, scene):
    here, found = interfaces_of(scene["states"].get(node)), []
    names = requests.cards(group) + requests.created(wanted, group)
    if wanted["bridge"] and wanted["bridge"]["type"] == "ovs-bridge":
        names.remove(wanted["bridge"]["name"])  # it has none of its own
    wrong = ["%s %s" % (name, dig(here.get(name), "mtu") or "missing") for name in names if dig(here.get(name), "mtu") != wanted["mtu"]]
    if wrong:
        found.append(check("mtu", "MTU on node %s" % node, FAIL, "wanted is %d, and there is %s" % (wanted["mtu"], ", ".join(wrong)),
                           "Run the role with mode apply; it is set on every device."))
    else:
        found.append(check("mtu", "MTU on node %s" % node, PASS, "%d on %s" % (wanted["mtu"], ", ".join(names))))
    return found


def _attachment(wanted, scene):
    name = "attachment %s/%s" % (scene["home"], wanted["name"])
    here = attachment_of(wanted, scene)
    if here is None:
        return check("attachment_missing", name, FAIL, "it does not exist", "Run the role with mode apply.")
    wrong = network_render.differences(here, network_render.configuration(wanted, scene["home"]))
    if not network_render.configured(here):
        return check("attachment_unreadable", name, FAIL, "its spec.config is no JSON object", "Run the role with mode apply.")
    if wrong:
        said = ["%s is %s, wanted is %s%s" % (key, "missing" if before is None else before, "none" if after is None else after,
                                              _known_error(key, before, here)) for key, before, after in wrong]
        return check("attachment_differs", name, FAIL, "; ".join(said), "Run the role with mode apply; --diff shows it.")
    return check("attachment", name, PASS, "%s on %s, MTU %d" % (wanted["attachment_type"], wanted["master"], wanted["mtu"]))


def _known_error(key, before, here):
    """What common instructions got wrong, said where it is seen (X6, X7)."""
    kind = text(network_render.configured(here), "type")
    if key == "ipam.excludeSubnets":
        return " (whereabouts ignores this key: the addresses meant are handed out first)"
    if key == "mtu" and before is None:
        return " (told in instructions, never written: pods get %s)" % (
            "what the plug-in computes, 1400 or less" if kind == requests.OVN else "what the plug-in finds")
    return ""


def attachment_of(wanted, scene):
    """The attachment that virt-handler would find, or None."""
    return next((nad for nad in scene["attachments"] if key_of(nad) == (scene["home"], wanted["name"])), None)


def _used(wanted, scene):
    if scene["network"] == wanted["name"]:
        return check("setting", "HyperConverged", PASS, "its network is %s" % wanted["name"])
    return check("setting", "HyperConverged", FAIL, "its network is %s" % (scene["network"] or "the pod network"),
                 "Run the role with mode apply.")


def _arrived(wanted, scene):
    """Not restarts: a changed network makes new pods, which have none (X14). What counts is what they are attached to."""
    left = migration_network.handlers_outstanding(scene["daemon_set"], scene["pods"], wanted["name"])
    found = [check("rollout", "virt-handler", FAIL if left else PASS, left or "on %s on all %d nodes" % (
        migration_network.INTERFACE, len(scene["pods"])), "Look at the pods virt-handler in %s and their events." % scene["home"])]
    network, seen = ipaddress.ip_network(wanted["range"]), {}
    for pod in sorted(scene["pods"], key=lambda pod: text(pod, "spec", "nodeName")):
        node, address = text(pod, "spec", "nodeName"), migration_network.address_of(pod)
        where = "%s on node %s" % (migration_network.INTERFACE, node)
        if not address:
            found.append(check("address", where, FAIL, "it has no address", "Look at the events of the pod."))
        elif not _inside(address, network):
            found.append(check("address", where, FAIL, "%s does not lie in %s" % (address, network), "The pod is of another attachment; "
                               "run the role with mode apply."))
        elif address in seen:
            found.append(check("address", where, FAIL, "%s is node %s's as well" % (address, seen[address]), "Two pods have one address: "
                               "remove the stale lease in ippools.whereabouts.cni.cncf.io and restart one of them."))
        else:
            found.append(check("address", where, PASS, address))
        seen.setdefault(address, node)
    return found


def _inside(address, network):
    try:
        return ipaddress.ip_address(address) in network
    except ValueError:
        return False


def changes_under_use(wanted, scene):
    """Whether writing would change a network that virt-handler uses: its pods keep what they got until they are made anew."""
    if scene["network"] != wanted["name"]:
        return False
    here = attachment_of(wanted, scene)
    if here is not None and network_render.differences(here, network_render.configuration(wanted, scene["home"])):
        return True
    found = {key_of(policy)[1]: policy for policy in scene["policies"]}
    return any(group["policy"] in found and mapping(found[group["policy"]], "spec", "desiredState")
               != network_render.desired(wanted, group) for group in wanted["nodes"])
