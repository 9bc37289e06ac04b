# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The proof of MTU and throughput between nodes: the pods that measure, what they print, and what it means for a forecast.

One pod serves on every node; one pod a node measures, one after the other, so that no two share a link. Each gets an address of the
migration network of its own. A single stream is what a guest gets that KubeVirt gives one stream to; eight is its multifd.
"""

from __future__ import annotations

import ipaddress
import json

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import migration_network
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.network_checks import FAIL, PASS, WARN, check
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.network_probe_script import SCRIPT
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_rate
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import dig, mapping, rows, text, texts

LABEL = "live-migration.bigvm.io/probe"  # value: serve or measure
INTERFACE = "probe0"
PORT = 15201
STREAMS = (1, 8)
IMAGE_STREAM = ("openshift", "network-tools")  # of the release payload, mirrored with it: Python 3 and nothing to download
SETUP = 15  # s that one pair takes besides the copying
SPREAD = 0.5  # a pair that carries less than this part of the median is pointed at


def pairs_of(nodes):
    """``{source: [targets]}``: every pair once each way."""
    return {one: [other for other in nodes if other != one] for one in nodes}


def duration(nodes, seconds, streams=STREAMS):
    """Seconds that measuring from one node to all others takes at most."""
    return int((len(nodes) - 1) * (len(streams) * (seconds + 2) + SETUP)) + 60


def free_needed(nodes):
    """How many addresses the probe takes: a server a node, and one that measures."""
    return nodes + 1


def room_problem(attachment, handlers, nodes):
    """Why the attachment has no room for the probe's pods, or None."""
    refusals, _warnings = migration_network.attachment_problems(attachment, handlers + free_needed(len(nodes)))
    return "; ".join(refusals) or None


def image_of(stream):
    """The image that the cluster's own ImageStream names, None when it names none."""
    for tag in rows(stream, "status", "tags"):
        if text(tag, "tag") == "latest":
            found = next((text(item, "dockerImageReference") for item in rows(tag, "items")), "")
            if found:
                return found
    return None


def pod(role, node, network, namespace, image, arguments, seconds):
    """A pod (dict) with the rights of any pod: not root, no capability, no token.

    :param role: ``serve`` or ``measure``.
    :param seconds: after which the kubelet ends it, whatever became of the run that made it.
    """
    asked = [{"name": network, "namespace": namespace, "interface": INTERFACE}]
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "migration-probe-", "namespace": namespace, "labels": {LABEL: role},
                     "annotations": {migration_network.NETWORKS: json.dumps(asked)}},
        "spec": {
            "nodeName": node, "restartPolicy": "Never", "automountServiceAccountToken": False, "enableServiceLinks": False,
            "activeDeadlineSeconds": int(seconds), "terminationGracePeriodSeconds": 0, "tolerations": [{"operator": "Exists"}],
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "probe", "image": image, "command": ["python3", "-c", SCRIPT, role] + [str(one) for one in arguments],
                "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}],
        },
    }


def serving(seconds):
    """The arguments of a pod that serves."""
    return [PORT, int(seconds)]


def measuring(targets, seconds, mtu, streams=STREAMS):
    """The arguments of a pod that measures.

    :param targets: ``{node: address}``.
    """
    return [PORT, seconds, ",".join(str(one) for one in streams), mtu] + ["%s=%s" % pair for pair in sorted(targets.items())]


def address_of(found):
    """The address of a probe's pod on the migration network, or None."""
    try:
        status = json.loads(text(found, "metadata", "annotations", migration_network.STATUS) or "[]")
    except ValueError:
        return None
    for row in status if isinstance(status, list) else []:
        if text(row, "interface") == INTERFACE and texts(row, "ips"):
            return texts(row, "ips")[0]
    return None


def why_not_started(found):
    """What keeps a pod from running, as far as it can be told."""
    for row in rows(found, "status", "containerStatuses"):
        waiting = mapping(row, "state", "waiting")
        if text(waiting, "reason") not in ("", "ContainerCreating"):
            return "%s %s" % (text(waiting, "reason"), text(waiting, "message"))
    return text(found, "status", "message") or "it is %s" % (text(found, "status", "phase") or "unknown")


# -- what was measured ---------------------------------------------------------------------


def parsed(log):
    """The rows of a measuring pod's log: ``(rows, whether it came to its end)``; what is no row is passed over."""
    found, whole = [], False
    for line in log.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if not isinstance(row, dict):
            continue
        whole = whole or bool(row.get("end"))
        if text(row, "to"):
            found.append(row)
    return found, whole


def results(source, log, targets):
    """What one node measured: ``[{source, target, mtu, whole, error, rates: {streams: bytes/s}, simulated}]``.

    :param targets: node names that it was to measure; one without a row is told as an error.
    """
    found, _whole = parsed(log)
    out = []
    for target in sorted(targets):
        entry = {"source": source, "target": target, "mtu": None, "whole": None, "error": None, "rates": {}, "simulated": False}
        for row in found:
            if text(row, "to") != target:
                continue
            entry["simulated"] = entry["simulated"] or row.get("simulated") is True
            if "whole" in row:
                entry.update(mtu=row.get("mtu"), whole=row["whole"] is True)
            if row.get("error"):
                entry["error"] = entry["error"] or str(row["error"])
            elif _number(row.get("bytes")) and _number(row.get("seconds")) and row["seconds"] > 0 and _number(row.get("streams")):
                entry["rates"][int(row["streams"])] = int(row["bytes"] / row["seconds"])
        if entry["whole"] is None and not entry["rates"] and not entry["error"]:
            entry["error"] = "nothing was measured; the pod's log ends before it"
        out.append(entry)
    return out


def checks(measured):
    """A check a pair for the MTU and one for the throughput."""
    found = []
    most = {row_streams: sorted(row["rates"][row_streams] for row in measured if row_streams in row["rates"])
            for row_streams in {streams for row in measured for streams in row["rates"]}}
    for row in measured:
        where = "%s to %s" % (row["source"], row["target"])
        if row["whole"] is None:
            found.append(check("probe_failed", where, FAIL, row["error"] or "not measured", "Look whether the two reach each other at all: "
                               "switch, VLAN, cabling."))
            continue
        if not row["whole"]:
            found.append(check(
                "path_mtu", where, FAIL, "a packet of %s bytes does not come through whole both ways (%s)" % (row["mtu"], row["error"]),
                "Set the MTU on every switch port between them, or ask for a smaller one everywhere."))
        else:
            found.append(check("path_mtu", where, PASS, "packets of %s bytes come through whole" % row["mtu"]))
        if not row["rates"]:
            found.append(check("throughput", where, FAIL, row["error"] or "no stream carried anything", "Small packets pass and large ones "
                               "hang: mostly an MTU that differs on the way."))
            continue
        slow = [streams for streams, rate in row["rates"].items() if rate < SPREAD * most[streams][len(most[streams]) // 2]]
        said = ", ".join("%s with %d stream%s" % (format_rate(rate), streams, "" if streams == 1 else "s")
                         for streams, rate in sorted(row["rates"].items()))
        found.append(check("throughput", where, WARN if slow else PASS, said + (", less than half of what others carry" if slow else ""),
                           "Look at the link of both nodes: speed, errors, bond mode."))
    return found


def forecast(measured):
    """What :mod:`.foresight` takes: ``{links: {node: bytes/s}, per_stream: bytes/s or None}``.

    A node's link is the least that its pairs carried with most streams, in either direction; one stream is the median of all pairs.
    """
    links, single = {}, []
    for row in measured:
        if not row["rates"]:
            continue
        if 1 in row["rates"]:
            single.append(row["rates"][1])
        rate = row["rates"][max(row["rates"])]
        for node in (row["source"], row["target"]):
            links[node] = min(rate, links.get(node, rate))
    single.sort()
    return {"links": links, "per_stream": single[len(single) // 2] if single else None}


def _number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def payload(mtu, address):
    """Bytes that fit into one unfragmented datagram."""
    return mtu - (48 if ipaddress.ip_address(address).version == 6 else 28)


def ended(found):
    """Whether a pod has ended: ``Succeeded``, ``Failed`` or None."""
    phase = dig(found, "status", "phase")
    return phase if phase in ("Succeeded", "Failed") else None
