# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""domain/network_request.py and network_render.py: a request made whole or refused, and the objects it becomes."""

from __future__ import annotations

import json

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import migration_network, network_render
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.network_request import complete

CARD = {"nodes": [{"nic": "ens4f0"}], "range": "10.200.5.0/24"}
BOND = {"nodes": [{"bond": {"name": "bond0", "ports": ["a1", "a2"], "mode": "802.3ad"}}], "range": "10.200.5.0/24"}


def whole(asked=None, **more):
    wanted, wrong, _put_right = complete(dict(CARD if asked is None else asked, **more))
    assert wrong == []
    return wanted


def wrong(**asked):
    return "; ".join(complete(dict(CARD, **asked))[1])


def config(wanted):
    return network_render.configured(network_render.attachment(wanted, "openshift-cnv"))


def devices(wanted, number=0):
    return {row["name"]: row for row in network_render.desired(wanted, wanted["nodes"][number])["interfaces"]}


# -- what follows from what -----------------------------------------------------------


@pytest.mark.parametrize("asked, master, kind", [
    ({}, "ens4f0", "macvlan"),
    ({"vlan": 3030}, "ens4f0.3030", "macvlan"),
    ({"bridge": {"type": "linux-bridge"}}, "br-migration", "bridge"),
    ({"bridge": {"type": "linux-bridge", "name": "br1"}, "vlan": "12"}, "br1", "bridge"),
    ({"bridge": {"type": "ovs-bridge", "name": "br1"}, "vlan": 12}, "migration-network", "ovn-k8s-cni-overlay"),
    ({"bridge": {"type": "ovs-bridge", "localnet": "mig"}}, "mig", "ovn-k8s-cni-overlay"),
    ({"nodes": BOND["nodes"]}, "bond0", "macvlan"),
    ({"nodes": [{"nic": "enp139s0f0np0"}], "vlan": 3030}, "vlan3030", "macvlan"),  # enp139s0f0np0.3030 is too long a name
    ({"nodes": [{"nic": "a", "node_selector": {"x": "1"}}, {"nic": "b", "node_selector": {"x": "2"}}], "vlan": 7}, "vlan7", "macvlan"),
])
def test_what_the_attachment_names(asked, master, kind):
    wanted = whole(**asked)
    assert wanted["master"] == master and wanted["attachment_type"] == kind


def test_the_mtu_is_on_every_device_and_in_the_attachment():
    """X7."""
    wanted = whole(BOND, vlan=3030, bridge={"type": "linux-bridge", "name": "br1"}, mtu="8900")
    assert {name: row["mtu"] for name, row in devices(wanted).items()} == {
        "a1": 8900, "a2": 8900, "bond0": 8900, "bond0.3030": 8900, "br1": 8900}
    assert config(wanted)["mtu"] == 8900
    assert whole()["mtu"] == 9000


def test_devices_stand_on_each_other():
    wanted = whole(BOND, vlan=3030, bridge={"type": "linux-bridge", "name": "br1"})
    rows = devices(wanted)
    assert rows["bond0"]["link-aggregation"] == {"mode": "802.3ad", "options": {"miimon": "100"}, "port": ["a1", "a2"]}
    assert rows["bond0.3030"]["vlan"] == {"base-iface": "bond0", "id": 3030}
    assert rows["br1"]["bridge"] == {"options": {"stp": {"enabled": False}}, "port": [{"name": "bond0.3030"}]}
    ovs = whole(bridge={"type": "ovs-bridge", "name": "br1"}, vlan=5)
    state = network_render.desired(ovs, ovs["nodes"][0])
    assert [row["name"] for row in state["interfaces"]] == ["ens4f0", "br1"]
    assert state["interfaces"][1]["bridge"]["allow-extra-patch-ports"] is True
    assert state["ovn"]["bridge-mappings"] == [{"localnet": "migration-network", "bridge": "br1", "state": "present"}]
    assert config(ovs)["vlanID"] == 5


def test_one_policy_for_each_name_a_card_has():
    wanted = whole(nodes=[{"nic": "a", "node_selector": {"hw": "1"}}, {"nic": "b", "node_selector": {"hw": 2}, "policy": "second"}], vlan=7)
    found = [network_render.policy(wanted, group) for group in wanted["nodes"]]
    assert [row["metadata"]["name"] for row in found] == ["migration-network-a", "second"]
    assert [row["spec"]["nodeSelector"] for row in found] == [{"hw": "1"}, {"hw": "2"}]
    assert all(row["spec"]["maxUnavailable"] == 1 for row in found)
    assert "nodeSelector" not in network_render.policy(whole(), whole()["nodes"][0])["spec"]


# -- exclusions ---------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [
    {"exclude": ["10.200.5.0/30", "10.200.5.9"]}, {"exclude": "10.200.5.0/30, 10.200.5.9"},
    {"excludeSubnets": "10.200.5.0/30,10.200.5.9"}, {"excludeSubnets": ["10.200.5.0/30"], "exclude": ["10.200.5.9"]}])
def test_exclusions_go_under_the_key_that_the_plug_in_reads(asked):
    """X6: whereabouts reads exclude, a list; OVN reads excludeSubnets, a string."""
    wanted, problems, put_right = complete(dict(CARD, **asked))
    assert problems == [] and sorted(wanted["exclude"]) == ["10.200.5.0/30", "10.200.5.9"]
    assert bool(put_right) is ("excludeSubnets" in asked)
    ipam = config(wanted)["ipam"]
    assert sorted(ipam["exclude"]) == ["10.200.5.0/30", "10.200.5.9"] and "excludeSubnets" not in ipam
    ovn = config(whole(dict(CARD, bridge={"type": "ovs-bridge"}, **asked)))
    assert sorted(ovn["excludeSubnets"].split(",")) == ["10.200.5.0/30", "10.200.5.9/32"] and "ipam" not in ovn


def test_what_is_rendered_has_as_many_addresses_as_it_looks():
    wanted = whole(range="10.200.5.0/29", exclude=["10.200.5.0/30"])
    refusals, _warnings = migration_network.attachment_problems(network_render.attachment(wanted, "cnv"), 4)
    assert refusals == ["it has 3 addresses, and 4 virt-handler pods need one each"]


# -- refused --------------------------------------------------------------------------------


@pytest.mark.parametrize("asked, said", [
    ({"nodes": []}, "nodes is empty"),
    ({"nodes": [{}]}, "entry 1 of nodes needs nic or bond, and not both"),
    ({"nodes": [{"nic": "a", "bond": {"ports": ["b"]}}]}, "needs nic or bond, and not both"),
    ({"nodes": [{"bond": {"name": "bond0", "ports": []}}]}, "bond bond0 has no ports"),
    ({"nodes": [{"bond": {"ports": ["a", "a"]}}]}, "has the same port twice"),
    ({"nodes": [{"bond": {"ports": ["a"], "mode": "magic"}}]}, "has the mode magic"),
    ({"nodes": [{"bond": {"ports": ["a"], "mode": "6"}}], "bridge": {"type": "linux-bridge"}}, "balance-alb, which does not work below"),
    ({"nodes": [{"nic": "a", "node_selector": {"matchLabels": {}}}]}, "takes labels and their values alone"),
    ({"nodes": [{"nic": "a"}, {"nic": "a"}]}, "two entries of nodes make the policy migration-network-a"),
    ({"nodes": [{"nic": "a", "policy": "p"}, {"nic": "b", "policy": "q"}]}, "these have a and b: put a vlan"),
    ({"nodes": [{"nic": "a-name-far-too-long"}]}, "is no name of an interface"),
    ({"nodes": [{"nic": "br-ex"}]}, "br-ex is the cluster's own"),
    ({"vlan": 7, "vlan_name": "ens4f0"}, "ens4f0 would be two devices at once"),
    ({"name": "Migration"}, "the name Migration is none that Kubernetes takes"),
    ({"mtu": 100}, "mtu is 100"), ({"mtu": "jumbo"}, "mtu is jumbo"), ({"vlan": 4095}, "vlan is 4095"),
    ({"bridge": {"name": "br1"}, "attachment_type": "bridge"}, "bridge needs a type"),
    ({"attachment_type": "bridge"}, "needs a bridge (linux-bridge)"),
    ({"attachment_type": "macvlan", "bridge": {"type": "ovs-bridge"}}, "does not use the OVS bridge"),
    ({"attachment_type": "macvlan", "bridge": {"type": "linux-bridge"}}, "does not use the Linux bridge"),
    ({"attachment_type": "ipvlan"}, "attachment_type is ipvlan"),
    ({"max_unavailable": "0"}, "max_unavailable is 0"), ({"max_unavailable": "half"}, "max_unavailable is half"),
    ({"range": ""}, "range is missing"), ({"range": "10.200.5"}, "range: "),
    ({"range_start": "10.200.6.1"}, "range_start 10.200.6.1 does not lie in"), ({"range_start": "x"}, "range_start: "),
    ({"range_start": "10.200.5.9", "range_end": "10.200.5.8"}, "lies behind range_end"),
    ({"range_start": "10.200.5.9", "bridge": {"type": "ovs-bridge"}}, "knows no range_start"),
    ({"exclude": ["10.200.6.0/30"]}, "would exclude nothing"), ({"exclude": ["me"]}, "exclude: "),
])
def test_refused_with_the_reason(asked, said):
    """X8 among them: an attachment that does not use the bridge."""
    assert said in wrong(**asked)


# -- what was there, and undone -----------------------------------------------------------------


HERE = {"a1": {"mtu": 1500, "state": "up", "ipv4": {"enabled": True, "dhcp": True, "address": [{"ip": "10.0.0.1"}]}, "ipv6": {}},
        "a2": {"mtu": 2000, "state": "down", "ipv4": {"enabled": False}}}


def test_undone_from_the_top_and_the_cards_as_they_were():
    wanted = whole(BOND, vlan=3030, bridge={"type": "linux-bridge", "name": "br1"})
    before = network_render.before_of([HERE, {"a1": {"mtu": 1400, "state": "up"}}], ["a1", "a2", "a3"])
    assert before["a1"] == {"mtu": 1400, "state": "up", "ipv4": {"enabled": True, "dhcp": True}, "ipv6": {"enabled": False}}
    assert before["a2"]["state"] == "down" and before["a3"]["mtu"] == 1500
    policy = network_render.policy(wanted, wanted["nodes"][0], before)
    undone = network_render.undone(policy)
    assert [(row["name"], row["state"]) for row in undone["interfaces"]] == [
        ("br1", "absent"), ("bond0.3030", "absent"), ("bond0", "absent"), ("a1", "up"), ("a2", "down")]
    assert undone["interfaces"][3]["mtu"] == 1400 and undone["interfaces"][3]["ipv4"] == {"enabled": True, "dhcp": True}
    again = network_render.undone(dict(network_render.policy_undone(policy), metadata=policy["metadata"]))
    assert again == undone, "a second run after a crash changes nothing"
    policy["metadata"]["annotations"][network_render.BEFORE] = "no json"
    assert network_render.undone(policy)["interfaces"][3]["mtu"] == 1500


def test_a_mapping_is_undone_too():
    wanted = whole(bridge={"type": "ovs-bridge", "name": "br1"})
    undone = network_render.undone(network_render.policy(wanted, wanted["nodes"][0], {}))
    assert undone["ovn"] == {"bridge-mappings": [{"localnet": "migration-network", "state": "absent"}]}


def test_differences_look_at_the_structure_not_the_text():
    wanted = whole(exclude=["10.200.5.0/30"])
    said = network_render.configuration(wanted, "cnv")
    found = {"spec": {"config": json.dumps(said, indent=4)}}
    assert network_render.differences(found, said) == []
    said = json.loads(json.dumps(said))
    del said["mtu"]
    said["ipam"]["excludeSubnets"] = said["ipam"].pop("exclude")
    keys = [row[0] for row in network_render.differences(
        {"spec": {"config": json.dumps(said)}}, network_render.configuration(wanted, "cnv"))]
    assert keys == ["ipam.exclude", "ipam.excludeSubnets", "mtu"]
    assert network_render.configured({"spec": {"config": '{ cni_version: "0.3.1" }'}}) == {}, "the recorded attachment is no JSON"
