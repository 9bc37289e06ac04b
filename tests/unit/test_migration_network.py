# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The migration network: attachments that carry it, when it may change, and when every virt-handler is on it."""

from __future__ import annotations

import json

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import migration_network as network


def nad(config):
    return {"spec": {"config": config if isinstance(config, str) else json.dumps(config)}}


def whereabouts(**ipam):
    return nad({"type": "macvlan", "ipam": dict({"type": "whereabouts"}, **ipam)})


@pytest.mark.parametrize("ipam, count", [
    ({"range": "10.0.0.0/29"}, 6),
    ({"range": "10.0.0.3/29"}, 6),
    ({"range": "10.0.0.0/24", "exclude": ["10.0.0.0/25"]}, 127),
    ({"range": "10.0.0.0/24", "exclude": ["10.0.0.0/30", "10.0.0.2/32", "10.0.0.0/29"]}, 247),
    ({"range": "10.0.0.0/24", "exclude": ["10.9.0.0/24"]}, 254),
    ({"range": "10.0.0.0/24", "range_start": "10.0.0.10", "range_end": "10.0.0.19"}, 10),
    ({"range": "10.0.0.0/24", "range_start": "10.0.0.250"}, 5),
    ({"range": "10.0.0.20-10.0.0.25/24"}, 6),
    ({"range": "fd00::/120"}, 255),
    ({"ipRanges": [{"range": "10.0.0.0/24"}, {"range": "fd00::/125"}]}, 7),
    ({"range": "10.0.0.0/30", "exclude": ["10.0.0.1/32", "10.0.0.2/32"]}, 0),
])
def test_addresses_are_counted(ipam, count):
    assert network.attachment_problems(whereabouts(**ipam), count)[0] == []
    refusals, _warnings = network.attachment_problems(whereabouts(**ipam), count + 1)
    assert refusals == ["it has %d addresses, and %d virt-handler pods need one each" % (count, count + 1)]


@pytest.mark.parametrize("obj, refusal, warning", [
    (whereabouts(range="10.0.0.0/29"), None, "no room for new nodes"),
    (whereabouts(range="10.0.0.0/24", excludeSubnets="10.0.0.0/29"), None, "its key is exclude, a list"),
    (whereabouts(), "range is missing", None),
    (whereabouts(range="10.0.0.0/99"), "cannot be understood", None),
    (whereabouts(range=7), "range is missing", None),
    (nad({"type": "macvlan"}), "no ipam block", None),
    (nad({"type": "macvlan", "ipam": {"type": "static"}}), "same addresses on every node", None),
    (nad({"type": "bridge", "ipam": {"type": "host-local", "subnet": "10.0.0.0/24"}}), "same addresses", None),
    (nad({"type": "macvlan", "ipam": {"type": "dhcp"}}), None, "cannot be told"),
    (nad({"type": "somebodys-own"}), None, "not known here"),
    (nad({"type": "ovn-k8s-cni-overlay", "topology": "localnet"}), "no subnets", None),
    (nad({"type": "ovn-k8s-cni-overlay", "subnets": "10.0.0.0/30"}), "has 2 addresses", None),
    (nad({"type": "ovn-k8s-cni-overlay", "subnets": "10.0.0.0/24", "excludeSubnets": "10.0.0.0/25"}), None, None),
    (nad({"plugins": [{"type": "macvlan", "ipam": {"type": "whereabouts", "range": "10.0.0.0/24"}}]}), None, None),
    (nad({"cniVersion": "0.3.1"}), "names no plug-in", None),
    (nad("{"), "not JSON", None),
    (nad("[]"), "no JSON object", None),
    (nad(""), None, "lies on the nodes"),
    ({}, None, "lies on the nodes"),
])
def test_what_an_attachment_lacks(obj, refusal, warning):
    refusals, warnings = network.attachment_problems(obj, 5)
    assert [refusal in text for text in refusals] == [True] * bool(refusal)
    assert [warning in text for text in warnings] == [True] * bool(warning)


def vmim(phase, **moments):
    return {"metadata": {"namespace": "ns", "creationTimestamp": "2026-11-21T01:00:00Z"}, "spec": {"vmiName": "vm"},
            "status": {"phase": phase, "phaseTransitionTimestamps": [
                {"phase": name, "phaseTransitionTimestamp": stamp} for name, stamp in moments.items()]}}


ONE_O_CLOCK = 1795222800  # 2026-11-21T01:00:00Z


@pytest.mark.parametrize("vmims, now, reason, seconds", [
    ([], 0, None, None),
    ([vmim("Running")], 0, r"migrations are under way (ns/vm)", None),
    ([vmim("")], 0, r"under way", None),
    ([vmim("Succeeded", Succeeded="2026-11-21T01:01:00Z")], 120, "ended 1 min ago, and 5 min must pass", 240),
    ([vmim("Failed", Failed="2026-11-21T01:01:00Z")], 120, "must pass", 240),
    ([vmim("Succeeded", Succeeded="2026-11-21T01:01:00Z")], 360, None, None),
    ([vmim("Succeeded", Succeeded="no time")], 60, None, None),
    ([vmim("Running") for _index in range(7)], 0, "and 2 more", None),
])
def test_when_virt_handler_must_not_restart(vmims, now, reason, seconds):
    found = network.unrest(vmims, ONE_O_CLOCK + now)
    assert (found is None) is (reason is None)
    if found:
        assert reason in found[0] and found[1] == seconds


def daemon(desired=2, updated=2, ready=2, observed=3):
    return {"metadata": {"generation": 3}, "status": {
        "observedGeneration": observed, "desiredNumberScheduled": desired, "updatedNumberScheduled": updated, "numberReady": ready}}


def handler(node="a", networks="nad@migration0", ips=("10.0.0.1",), phase="Running", **meta):
    notes = {network.NETWORKS: networks, network.STATUS: json.dumps([{"interface": "eth0"}, {"interface": "migration0", "ips": list(ips)}])}
    return {"metadata": dict({"annotations": notes}, **meta), "spec": {"nodeName": node}, "status": {"phase": phase}}


@pytest.mark.parametrize("found, pods, name, left", [
    (daemon(), [handler("a"), handler("b")], "nad", None),
    (daemon(), [handler("a", networks="")], "", None),
    (daemon(updated=1), [handler("a"), handler("b", phase="Pending")], "nad",
     "virt-handler is updated on 1 and ready on 2 of 2 nodes (not running on b)"),
    (daemon(observed=2), [], "nad", "virt-handler is updated"),
    (daemon(ready=1), [], "nad", "ready on 1 of 2"),
    (daemon(), [handler("a", networks="")], "nad", "virt-handler on a is not attached to nad"),
    (daemon(), [handler("a", ips=())], "nad", "virt-handler on a has no address on migration0"),
    (daemon(), [handler("a")], "", "still attached"),
    (daemon(), [handler("a", networks="", deletionTimestamp="2026-11-21T01:00:00Z")], "nad", None),
    (None, [], "nad", "no DaemonSet"),
])
def test_whether_virt_handler_is_on_it(found, pods, name, left):
    answer = network.handlers_outstanding(found, pods, name)
    assert answer is None if left is None else left in answer
