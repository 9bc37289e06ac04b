# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""domain/network_state.py and network_checks.py: how far NMState is, and what a card may not be."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import network_checks
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.network_request import complete
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.network_state import (
    DONE,
    FAILED,
    GOING,
    patience,
    progress,
    said_by_nmstate,
)


def conditions(**states):
    return [{"type": kind, "status": state} for kind, state in states.items()]


def policy(generation=2, **states):
    return {"metadata": {"name": "mig", "generation": generation}, "status": {"conditions": conditions(**states)}}


def enactment(node, generation=2, reason="", message="", **states):
    rows = [dict(row, reason=reason, message=message) for row in conditions(**states)]
    return {"metadata": {"name": node + ".mig", "labels": {"nmstate.io/node": node, "nmstate.io/policy": "mig"}},
            "status": {"policyGeneration": generation, "conditions": rows}}


GOOD = [enactment("a", Available="True"), enactment("b", Available="True")]


@pytest.mark.parametrize("found, rows, state, said", [
    (policy(Available="True"), GOOD, DONE, "applied on 2 nodes"),
    # Available of an earlier generation, of fewer nodes (one was not Ready), or of the policy alone proves nothing.
    (policy(Available="True"), [GOOD[0], enactment("b", generation=1, Available="True")], GOING, "b: no enactment yet"),
    (policy(Available="True"), GOOD[:1], GOING, "on 1 of 2 nodes (b: no enactment yet)"),
    (policy(Available="Unknown"), GOOD, GOING, "applied on 2 of 2 nodes"),
    (policy(Ignored="True"), [], FAILED, "selects no node"),
    (policy(Degraded="True"), [GOOD[0], enactment("b", reason="FailedToConfigure", message="x\nNmstateError: no\n", Failing="True")],
     FAILED, "b: NmstateError: no"),
    (policy(Degraded="True"), [enactment("a", reason="FailedToConfigure", message="no", Failing="True"), enactment("b", Aborted="True")],
     FAILED, "a: no; not tried any more on b"),
    # It fails and still tries.
    (policy(Progressing="True"), [GOOD[0], enactment("b", reason="Retrying", Failing="True", Progressing="True")], GOING, "b: Retrying"),
    (policy(Progressing="True"), [GOOD[0], enactment("b", reason="MaxUnavailableLimitReached", Pending="True")], GOING,
     "b: MaxUnavailableLimitReached"),
    ({"metadata": {"name": "mig"}}, [], GOING, "on 0 of 2 nodes"),
])
def test_how_far_a_policy_is(found, rows, state, said):
    answer = progress(found, rows + [{"metadata": {"name": "a.other"}}], ["a", "b"])
    assert answer[0] == state and said in answer[1]


def test_recorded_enactments_are_understood(shared_folder):
    import yaml

    def recorded(name):
        with open("%s/realdata/objects/%s.yaml" % (shared_folder, name), encoding="utf-8") as stream:
            return yaml.safe_load(stream)

    good, bad = recorded("nnce-1"), recorded("nnce-2")
    for row in (good, bad):
        row["status"]["policyGeneration"] = 1
    name = good["metadata"]["name"].partition(".")[2]
    assert progress({"metadata": {"name": name, "generation": 1}, "status": {"conditions": conditions(Available="True")}}, [good],
                    ["node01"])[0] == DONE
    state, said = progress({"metadata": {"name": "eth666", "generation": 1}, "status": {"conditions": conditions(Degraded="True")}}, [bad],
                           ["node01"])
    assert state == FAILED and "Connection activation failed on connection_id eth666" in said and len(said) < 400 and "\n" not in said


@pytest.mark.parametrize("message, said", [
    ("", ""), ("one line", "one line"), ("'\nNmstateError: VerificationError: mtu\n'", "NmstateError: VerificationError: mtu"),
    ("a" * 500, "a" * 297 + "...")])
def test_the_telling_line(message, said):
    assert said_by_nmstate(message) == said


def test_patience_counts_batches_and_attempts():
    assert patience(3, 1) == 600 * 7 and patience(10, "50%") == 600 * 6 and patience(1, 5) == 600 * 5


# -- cards --------------------------------------------------------------------------------------


def scene(*interfaces, handlers=("a",), **more):
    nns = {"status": {"currentState": {"interfaces": list(interfaces), "routes": {"running": [
        {"destination": "0.0.0.0/0", "next-hop-interface": "bond9"}]}}}}
    return dict({"home": "cnv", "network": "", "handlers": list(handlers), "nodes": {"a": {"metadata": {"name": "a"}}},
                 "states": {"a": nns},
                 "policies": [], "enactments": [], "attachments": [], "cluster_network": None, "cluster_network_unknown": "",
                 "reconciler": True, "daemon_set": None, "pods": []}, **more)


def card(name="eth1", **more):
    return dict({"name": name, "type": "ethernet", "state": "up", "mtu": 1500, "min-mtu": 68, "max-mtu": 9000}, **more)


def judged(here, **asked):
    wanted, wrong, _put_right = complete(dict({"nodes": [{"nic": "eth1"}], "range": "10.200.5.0/24"}, **asked))
    assert wrong == []
    return {row["code"]: row for row in network_checks.before_writing(wanted, here) if row["status"] != "PASS" or row["code"] == "nic_slow"}


@pytest.mark.parametrize("interfaces, code", [
    ([], "nic_missing"),
    ([card(type="bond")], "nic_type"),
    ([card(controller="bond0")], "enslaved"),
    ([card(), {"name": "br0", "type": "linux-bridge", "bridge": {"port": [{"name": "eth1"}]}}], "enslaved"),
    ([card(controller="bond9"), {"name": "bond9", "type": "bond"}], "default_route"),
    ([card(controller="bond0"), {"name": "bond0", "type": "bond", "controller": "br-ex"}, {"name": "br-ex", "type": "ovs-bridge"}],
     "default_route"),
    ([card(), {"name": "ipvl", "type": "ipvlan", "ipvlan": {"base-iface": "eth1"}}], "ridden"),
    ([card(**{"max-mtu": 1500})], "mtu_high"), ([card(**{"min-mtu": 9001, "max-mtu": 9500})], "mtu_low"),
    ([card(ipv4={"enabled": True, "address": [{"ip": "10.1.1.1", "prefix-length": 24}]})], "in_use"),
    ([card(ethernet={"speed": 10000})], "nic_slow"),
])
def test_what_a_card_may_not_be(interfaces, code):
    found = judged(scene(*interfaces))
    assert code in found and "eth1 on node a" in found[code]["name"] and (found[code]["remedy"])


def test_what_is_no_reason_against_a_card():
    link_local = card(ipv6={"enabled": True, "address": [{"ip": "fe80::1", "prefix-length": 64}]})
    assert judged(scene(link_local)) == {}
    assert judged(scene({"name": "eth1", "type": "ethernet"})) == {}, "nothing is said of its MTU"


@pytest.mark.parametrize("speed, status, said", [
    (10000, "WARN", "25 Gb/s at least, OpenShift asks for 100 Gb/s above 500 GB"), (25000, "PASS", ""), (100000, None, "")])
def test_both_figures_for_the_speed_are_told(speed, status, said):
    """X18: 25 Gb/s is the least for 1 TB, 100 Gb/s what OpenShift asks for above 500 GB."""
    row = judged(scene(card(ethernet={"speed": speed}))).get("nic_slow")
    assert (row and row["status"]) == status and said in (row or {"remedy": ""})["remedy"]


def test_objects_with_fields_missing_are_no_exception():
    odd = scene({"name": None}, {}, {"name": "eth1", "type": 7, "ipv4": "no", "bridge": []})
    odd["policies"] = [{}, {"metadata": {}, "spec": {"desiredState": {"interfaces": [None, {"bridge": {"port": [1]}}]}}}]
    odd["attachments"] = [{}, {"spec": {"config": 5}}]
    odd["enactments"] = [{}]
    assert "nic_type" in judged(odd)
    assert "no_state" in judged(scene(states={}))
    assert "no_reconciler" in judged(scene(card(), reconciler=False))
    assert "networks_unknown" in judged(scene(card(), cluster_network_unknown="not allowed"))
    assert "no_handlers" in judged(scene(card(), handlers=()))
