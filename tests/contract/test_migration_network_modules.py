# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""migration_network and its companions on the embedded cluster: made, used, measured, changed, taken back; bad input."""

from __future__ import annotations

import json

import pytest
from network_steps import ATTACHMENTS, ENACTMENTS, POLICIES, STATES, Network

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import (
    BadInput,
    LiveMigrationError,
    Refused,
)


@pytest.fixture
def network(near):
    return Network(near(topology="network"))


def test_made_used_measured_and_taken_back(network):
    before = network.interfaces("hana-a")["ens4f0"]
    assert before["mtu"] == 1500
    made = network.make(exclude=["10.200.5.0/30"])
    assert made["changed"] and made["policies"] == ["migration-network"]
    assert {network.interfaces(node)["ens4f0"]["mtu"] for node in ("hana-a", "hana-b", "worker-1")} == {9000}
    assert network.config() == {
        "cniVersion": "0.3.1", "name": "migration-network", "type": "macvlan", "master": "ens4f0", "mode": "bridge", "mtu": 9000,
        "ipam": {"type": "whereabouts", "range": "10.200.5.0/24", "exclude": ["10.200.5.0/30"]}}
    network.writes()
    again = network.make(exclude=["10.200.5.0/30"])
    assert not again["changed"] and network.writes() == [] and again["lines"] == ["the network is as wanted, nothing changed"]
    assert not network.look(exclude=["10.200.5.0/30"])["in_place"]
    assert network.use()["rolled"][0]["ready"] == 3
    found = network.look(exclude=["10.200.5.0/30"])
    assert found["possible"] and found["in_place"], found["lines"] + found["state_lines"]
    addresses = [row["found"] for row in found["state"] if row["code"] == "address"]
    assert sorted(addresses) == ["10.200.5.4", "10.200.5.5", "10.200.5.6"]
    with pytest.raises(Refused, match="in use by HyperConverged, virt-handler"):
        network.remove()
    network.use("")
    removed = network.remove()
    assert removed["changed"]
    assert network.api.list(POLICIES).items == [] and network.api.list(ATTACHMENTS).items == []
    assert network.api.list(ENACTMENTS).items == []
    assert network.interfaces("hana-a")["ens4f0"] == before
    assert not network.remove()["changed"]


def test_a_bond_and_vlan_of_one_name_over_cards_of_different_names(network):
    nodes = [{"bond": {"name": "bond-mig", "ports": ["ens4f0", "ens4f1"], "mode": "802.3ad"}, "node_selector": {"network": "hana"}},
             {"bond": {"name": "bond-mig", "ports": ["ens4f0"]}, "node_selector": {"network": "worker"}, "policy": "worker-migration"}]
    asked = {"nodes": nodes, "vlan": 3030}
    made = network.make(**asked)
    assert made["policies"] == ["migration-network-bond-mig", "worker-migration"]
    assert network.config()["master"] == "bond-mig.3030"
    for node, ports in (("hana-a", ["ens4f0", "ens4f1"]), ("worker-1", ["ens4f0"])):
        here = network.interfaces(node)
        assert {here[name]["mtu"] for name in ports + ["bond-mig", "bond-mig.3030"]} == {9000}
        assert here["bond-mig.3030"]["vlan"] == {"base-iface": "bond-mig", "id": 3030}
    assert not network.make(**asked)["changed"]
    network.use()
    assert network.look(**asked)["in_place"]
    network.use("")
    network.remove()
    here = network.interfaces("hana-a")
    assert "bond-mig" not in here and "bond-mig.3030" not in here and here["ens4f1"]["mtu"] == 1500
    assert "controller" not in here["ens4f1"]


@pytest.mark.parametrize("kind, attachment", [("linux-bridge", "bridge"), ("ovs-bridge", "ovn-k8s-cni-overlay")])
def test_bridges_with_the_attachment_that_uses_them(network, kind, attachment):
    asked = {"bridge": {"type": kind, "name": "br-lm"}, "vlan": 3030, "exclude": ["10.200.5.0/30"]}
    network.make(**asked)
    config = network.config()
    assert config["type"] == attachment and config["mtu"] == 9000
    if kind == "ovs-bridge":
        assert config["netAttachDefName"] == "openshift-cnv/migration-network" and config["excludeSubnets"] == "10.200.5.0/30"
        assert config["vlanID"] == 3030 and "ipam" not in config
        state = network.api.get(STATES + "/hana-a")["status"]["currentState"]
        assert state["ovn"]["bridge-mappings"] == [{"localnet": "migration-network", "bridge": "br-lm"}]
        assert network.interfaces("hana-a")["br-lm"]["bridge"]["allow-extra-patch-ports"] is True
    else:
        assert config["ipam"]["exclude"] == ["10.200.5.0/30"] and network.interfaces("hana-a")["br-lm"]["mtu"] == 9000
    network.use()
    assert network.look(**asked)["in_place"]
    network.use("")
    network.remove()
    assert "br-lm" not in network.interfaces("hana-a")
    assert not (network.api.get(STATES + "/hana-a")["status"]["currentState"].get("ovn") or {}).get("bridge-mappings")


# -- the wrong forms of common instructions ------------------------------------------------------


def test_exclusions_under_the_wrong_key_are_put_right(network):
    """X6: whereabouts ignores excludeSubnets and would hand out the gateway's addresses first."""
    network.make(excludeSubnets=["10.200.5.0/30"], exclude=["10.200.5.0/30"])
    assert network.config()["ipam"]["exclude"] == ["10.200.5.0/30"]
    assert any("excludeSubnets belongs to ovn-k8s-cni-overlay" in said for said in network.warnings)


def by_the_book(network):
    """The attachment and policy as one of the instructions prints them, with all their errors."""
    network.api.create(ATTACHMENTS, {
        "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition", "metadata": {"name": "migration-network"},
        "spec": {"config": json.dumps({"cniVersion": "0.3.1", "name": "migration-bridge", "type": "macvlan", "master": "ens4f1",
                                       "mode": "bridge", "ipam": {"type": "whereabouts", "range": "10.200.5.0/24",
                                                                  "excludeSubnets": "10.200.5.0/30"}})}})
    network.api.create(POLICIES, {
        "apiVersion": "nmstate.io/v1", "kind": "NodeNetworkConfigurationPolicy", "metadata": {"name": "migration-network-policy"},
        "spec": {"desiredState": {"interfaces": [{
            "name": "br-lm", "type": "ovs-bridge", "state": "up", "bridge": {
                "allow-extra-patch-ports": True, "options": {"stp": False},
                "port": [{"name": "ens4f0", "vlan": {"mode": "access", "tag": 3030}}]}}]}}})
    network.cluster.wait(300)


def test_what_the_book_made_is_recognised_and_corrected_when_told(network):
    """X6, X7, X8: exclusions that exclude nothing, an MTU that is set nowhere, a bridge that the attachment does not use."""
    by_the_book(network)
    state = {row["code"]: row["found"] for row in network.look(exclude=["10.200.5.0/30"])["state"] if row["status"] == "FAIL"}
    assert "whereabouts ignores this key" in state["attachment_differs"]
    assert "mtu is missing, wanted is 9000 (told in instructions, never written" in state["attachment_differs"]
    failures = network.failures(exclude=["10.200.5.0/30"])
    assert "it exists and was not made for this network" in failures["foreign"]
    assert "it configures ens4f0 as well" in failures["policy_overlap"]
    assert "it is a port of br-lm" in failures["enslaved"]
    with pytest.raises(Refused, match="busy"):
        network.make(exclude=["10.200.5.0/30"])
    network.api.delete(POLICIES + "/migration-network-policy")
    asked = {"nodes": [{"nic": "ens4f1", "node_selector": {"network": "hana"}}, {"nic": "ens5f0", "node_selector": {"network": "worker"}}]}
    with pytest.raises(BadInput, match="put a vlan, a bond .* or a bridge of one name on top"):
        network.make(**asked)


def test_an_attachment_made_by_hand_is_taken_over_when_told(network):
    """X7: what a site has already gets its MTU, and its diff says so."""
    network.api.create(ATTACHMENTS, {
        "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition", "metadata": {"name": "migration-network"},
        "spec": {"config": json.dumps({"cniVersion": "0.3.1", "name": "migration-network", "type": "macvlan", "master": "ens4f0",
                                       "mode": "bridge", "ipam": {"type": "whereabouts", "range": "10.200.5.0/24"}})}})
    network.use()
    assert "foreign" in network.failures()
    asked = {"acknowledge": ["adopt"]}
    assert network.look(**asked)["changes_under_use"]
    with pytest.raises(Refused, match="while virt-handler uses it"):
        network.make(**asked)
    network.use("")
    made = network.make(**asked)
    diff = next(row for row in made["diff"] if row["before_header"].startswith("NetworkAttachmentDefinition"))
    assert "mtu" not in diff["before"]["spec"]["config"] and diff["after"]["spec"]["config"]["mtu"] == 9000
    network.use()
    assert network.look(**asked)["in_place"]


def test_an_ovs_bridge_with_a_macvlan_is_refused(network):
    """X8."""
    with pytest.raises(BadInput, match="does not use the OVS bridge"):
        network.make(bridge={"type": "ovs-bridge", "name": "br-lm"}, attachment_type="macvlan")
    assert network.writes() == []


def test_the_default_interface_is_refused_without_the_way_out_that_is_gone(network):
    """S1-66, X20."""
    with pytest.raises(Refused, match="br-ex stands on it.*OpenShift SDN, the old way out, is gone since 4.17"):
        network.make(nodes=[{"nic": "ens3"}])
    with pytest.raises(BadInput, match="br-ex is the cluster's own"):
        network.make(nodes=[{"nic": "br-ex"}])


def test_virt_handler_has_arrived_by_its_attachment_not_by_restarts(network):
    """X14: after a change of the network the pods are new, and their restart counts 0."""
    network.make()
    network.use()
    pods = network.api.list("/api/v1/namespaces/openshift-cnv/pods", labelSelector="kubevirt.io=virt-handler").items
    assert {row["restartCount"] for pod in pods for row in pod["status"]["containerStatuses"]} == {0}
    assert network.look()["in_place"]


# -- bad input: before the first write, with node and card named -------------------------------------


@pytest.mark.parametrize("asked, code, said", [
    ({"nodes": [{"nic": "ens4f1"}]}, "nic_missing", "ens4f1 on node worker-1: there is no such interface; there are ens4f0, ens5f0"),
    ({"nodes": [{"nic": "ens4f0", "node_selector": {"network": "hana"}}]}, "uncovered", "node worker-1: it runs virt-handler"),
    ({"nodes": [{"nic": "ens4f0"}, {"nic": "ens4f0", "node_selector": {"network": "hana"}, "policy": "second"}]}, "two_policies",
     "node hana-a: the policies migration-network-ens4f0, second all select it"),
    ({"nodes": [{"nic": "ens4f0", "node_selector": {"network": "nobody"}}]}, "no_node", "selects no node"),
    ({"mtu": 9980}, "mtu_high", "its largest MTU is 9978, and 9980 is asked for"),
    ({"range": "10.200.5.0/30"}, "range_small", "it has 2 addresses, and 3 virt-handler pods need one each"),
    ({"range": "10.200.5.0/28", "exclude": ["10.200.5.0/29", "10.200.5.8/30", "10.200.5.12/31"]}, "range_small", "it has 1 addresses"),
    ({"range": "192.168.100.0/24"}, "range_overlap", "it overlaps 192.168.100.0/24 (br-ex of node hana-a)"),
    ({"range": "10.129.0.0/16"}, "range_overlap", "10.128.0.0/14 (pod network)"),
    ({"range": "172.30.5.0/24"}, "range_overlap", "172.30.0.0/16 (service network)"),
    ({"range": "100.64.3.0/24"}, "range_overlap", "OVN-Kubernetes inside"),
    ({"namespace": "sap-prod"}, "namespace", "sap-prod was asked for, and virt-handler looks in its own, openshift-cnv"),
])
def test_what_cannot_be_made_is_refused_before_anything_is_written(network, asked, code, said):
    assert said in network.failures(**asked)[code]
    with pytest.raises(Refused) as refusal:
        network.make(**asked)
    assert said in str(refusal.value) and str(refusal.value).endswith("Nothing was changed.")
    assert network.writes() == []


def test_what_is_wrong_on_several_nodes_is_said_once(network):
    with pytest.raises(Refused) as refusal:
        network.make(mtu=9980)
    assert "ens4f0 on nodes hana-a, hana-b, worker-1: its largest MTU is 9978" in str(refusal.value)
    assert str(refusal.value).count("Ask for mtu") == 1


def test_one_address_is_no_network(network):
    with pytest.raises(BadInput, match="range 10.200.5.0 is one address, and not a network: write it like 10.200.5.0/24"):
        network.make(range="10.200.5.0")


def test_the_plan_says_what_is_written_and_whom_it_disturbs(network):
    assert network.look()["plan"] == [
        "written: NodeNetworkConfigurationPolicy migration-network: ens4f0 with MTU 9000 on hana-a, hana-b, worker-1",
        "NMState does 1 node at a time, and puts a node back that loses the cluster",
        "written: NetworkAttachmentDefinition openshift-cnv/migration-network: macvlan on ens4f0, addresses of 10.200.5.0/24",
        "HyperConverged: its network becomes migration-network",
        "virt-handler is made anew on 3 nodes, once no migration runs", "no node reboots, no guest stops"]
    network.make()
    assert network.look()["plan"][0].startswith("HyperConverged")
    network.use()
    assert network.look()["plan"] == ["network migration-network: as wanted, nothing to do"]
    changed = network.look(mtu=8000)["plan"]
    assert changed[0] == "migrations go over the pod network while migration-network is changed" and "MTU 8000" in changed[1]


def test_a_card_that_is_used_already_is_left_to_its_user(near, tmp_path):
    topology = tmp_path / "used.yml"
    topology.write_text("""
extends: network
change:
  worker-1: {nics: [{name: ens4f0, address: 10.9.9.5/24}, {name: ens5f0, controller: bond-storage}]}
  hana-a: {nics: [{name: ens4f0, max_mtu: 1500}]}
""")
    network = Network(near(topology=str(topology)))
    assert "ens4f0 on node worker-1: it has the address 10.9.9.5/24" in network.failures()["in_use"]
    assert "ens4f0 on node hana-a: its largest MTU is 1500" in network.failures()["mtu_high"]
    assert "in_use" not in network.failures(acknowledge=["addresses"])
    assert "port of bond-storage" in network.failures(nodes=[{"nic": "ens5f0"}])["enslaved"]
    network.make(mtu=1500, acknowledge=["addresses"])
    assert network.interfaces("worker-1")["ens4f0"]["ipv4"] == {"enabled": False}
    network.remove()
    assert network.interfaces("worker-1")["ens4f0"]["ipv4"] == {"enabled": True, "dhcp": True}


def test_a_cluster_without_nmstate_says_so(near):
    network = Network(near(topology="tiny"))
    with pytest.raises(BadInput, match="no NMState .* Install the Kubernetes NMState Operator"):
        network.make()


def test_the_same_on_the_recorded_definitions(near, shared_folder):
    """NMState's and Multus' own CustomResourceDefinitions take what is written, and drop nothing of it."""
    network = Network(near(topology="network", crds=shared_folder + "/crds/platform"))
    asked = {"bridge": {"type": "ovs-bridge", "name": "br-lm"}, "vlan": 3030, "nodes": [{"bond": {"ports": ["ens4f0"]}}]}
    network.make(**asked)
    assert not network.make(**asked)["changed"]
    assert network.policy()["spec"]["desiredState"]["ovn"]["bridge-mappings"][0]["localnet"] == "migration-network"
    network.use()
    assert network.look(**asked)["in_place"]


# -- waiting -----------------------------------------------------------------------------------------


def test_a_node_that_fails_ends_the_wait_at_once_with_nmstates_words(network):
    network.annotate("hana-b", nmstate_fail="NmstateError: VerificationError: interface ens4f0 mtu is 1500, wanted 9000")
    begun = network.api.clock.now()
    with pytest.raises(LiveMigrationError) as failure:
        network.make()
    said = str(failure.value)
    assert "policy migration-network is Degraded: hana-b: NmstateError: VerificationError: interface ens4f0 mtu is 1500" in said.replace(
        "Policy", "policy")
    assert "not tried any more on worker-1" in said
    assert network.api.clock.now() - begun < 600, "five attempts, not the whole time"
    assert network.interfaces("hana-b")["ens4f0"]["mtu"] == 1500, "rolled back"
    assert network.api.list(ATTACHMENTS).items == [], "the attachment comes after the devices"
    rows = {row["metadata"]["name"]: row["status"] for row in network.api.list(ENACTMENTS).items}
    assert rows["hana-b.migration-network"]["retryCount"] == {"1": 5}
    state = {row["code"]: row["found"] for row in network.look()["state"] if row["status"] == "FAIL"}
    assert "is Degraded" in state["policy_failed"]


def test_a_node_that_succeeds_at_the_third_attempt_is_no_failure(network):
    network.annotate("hana-b", nmstate_fail="NmstateError: PluginFailure: timeout", nmstate_fail_times="2")
    assert network.make()["changed"]
    assert any("hana-b: Retrying" in line for line in network.said), network.said


def test_nodes_come_one_after_the_other_unless_told(network):
    network.make()
    assert any("applied on 1 of 3 nodes" in line for line in network.said), network.said


def test_an_old_operator_fails_at_once(near):
    network = Network(near(topology="network", generation="1.6"))
    network.annotate("hana-b", nmstate_fail="NmstateError: PluginFailure: timeout", nmstate_fail_times="2")
    with pytest.raises(LiveMigrationError, match="Degraded"):
        network.make()


def test_a_node_that_is_not_ready_is_not_passed_over(network):
    network.api.patch("/api/v1/nodes/hana-b/status", {"status": {"conditions": [
        {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "lastTransitionTime": None}]}}, kind="strategic")
    assert "not Ready" in network.failures()["not_ready"]


# -- taking back -----------------------------------------------------------------------------------------


def test_taken_back_after_a_run_that_died_in_the_middle(network):
    network.make()
    policy = network.policy()
    from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import network_render

    undone = network_render.policy_undone(policy)
    network.api.replace(POLICIES + "/migration-network", dict(policy, spec=undone["spec"]))
    network.cluster.wait(300)
    network.remove()
    assert network.api.list(POLICIES).items == [] and network.interfaces("hana-a")["ens4f0"]["mtu"] == 1500


def test_check_mode_of_both_ways_writes_nothing_and_shows_the_diff(network):
    looked = network.make(check_mode=True)
    assert looked["changed"] and len(looked["diff"]) == 2 and network.writes() == []
    network.make()
    network.use()
    network.writes()
    looked = network.remove(check_mode=True)
    assert looked["changed"] and network.writes() == []
    assert [row["before_header"] for row in looked["diff"]][0].startswith("NetworkAttachmentDefinition")


# -- measuring -------------------------------------------------------------------------------------------


def test_the_probe_measures_each_pair_says_that_it_is_played_and_leaves_nothing(network):
    network.make()
    network.use()
    found = network.probe(seconds=2)
    assert found["good"] and found["simulated"] and found["lines"][0].startswith("SIMULATED")
    assert len(found["pairs"]) == 6 and set(found["links"]) == {"hana-a", "hana-b", "worker-1"}
    assert found["links"]["worker-1"] < found["links"]["hana-a"] == 11_750_000_000 or found["links"]["hana-a"] == found["links"]["worker-1"]
    assert found["image"].startswith("registry.example/payload@sha256")
    assert network.api.list("/api/v1/namespaces/openshift-cnv/pods", labelSelector="live-migration.bigvm.io/probe").items == []
    pair = next(row for row in found["pairs"] if (row["source"], row["target"]) == ("hana-a", "hana-b"))
    assert pair["rates"]["1"] == 2_400_000_000 and pair["rates"]["8"] == 11_750_000_000


def test_the_probe_finds_a_switch_that_does_not_carry_the_mtu(network):
    network.make()
    network.annotate("worker-1", path_mtu="1500")
    found = network.probe(seconds=1)
    assert not found["good"]
    failed = sorted(row["name"] for row in found["checks"] if row["status"] == "FAIL")
    assert failed == ["hana-a to worker-1", "hana-b to worker-1", "worker-1 to hana-a", "worker-1 to hana-b"]


def test_the_probe_is_refused_where_it_cannot_be_meant(network):
    with pytest.raises(BadInput, match="no NetworkAttachmentDefinition migration-network in namespace openshift-cnv"):
        network.probe()
    network.make(range="10.200.5.0/29")
    with pytest.raises(Refused, match="has no room for the probe"):
        network.probe()
    with pytest.raises(BadInput, match="hana-z runs no virt-handler"):
        network.probe(nodes=["hana-z", "hana-a"])
    network.api.delete("/apis/image.openshift.io/v1/namespaces/openshift/imagestreams/network-tools")
    with pytest.raises(BadInput, match="Give image"):
        network.probe(nodes=["hana-a", "hana-b"])
    assert network.probe(nodes=["hana-a", "hana-b"], image="tools", seconds=1)["image"] == "tools"
