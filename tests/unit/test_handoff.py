# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gate at handoff, what endangers a critical guest, and what is told about moves that did not end as asked."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import moves
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import (
    causes,
    critical,
    handoff,
    migration,
    progress,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.handoff import UNTOLD, Expected

CLUSTER = {"bandwidth_per_migration": "64Mi", "completion_timeout_per_gib": 150, "allow_auto_converge": False,
           "allow_post_copy": True, "allow_workload_disruption": True, "progress_timeout": 150, "network": ""}
VMI = {"metadata": {"namespace": "sap", "name": "hana", "labels": {"app": "hana"}}}


def site(name, of_vmi=None, of_namespace=None, **spec):
    selectors = {"virtualMachineInstanceSelector": of_vmi or {}, "namespaceSelector": of_namespace or {}}
    return {"metadata": {"name": name}, "spec": dict(spec, selectors=selectors)}


# -- what is expected ----------------------------------------------------------------------------


def test_what_is_in_force_is_what_the_winner_leaves_of_the_clusters_settings():
    values, expected = handoff.in_force(
        VMI, [site("all", bandwidthPerMigration="1Gi"), site("hana", {"app": "hana"}, allowPostCopy=False)], {}, CLUSTER, "v1.9.0")
    assert expected == Expected("hana", {
        "allowAutoConverge": False, "allowPostCopy": False, "allowWorkloadDisruption": False, "bandwidthPerMigration": "64Mi",
        "completionTimeoutPerGiB": 150}, False)
    assert values["allow_post_copy"] is False and values["progress_timeout"] == 150
    nothing, plain = handoff.in_force(VMI, [], {}, CLUSTER, "v1.4.0")
    assert nothing == CLUSTER and plain.policy is None and "allowWorkloadDisruption" not in plain.configuration


def test_a_policy_by_namespace_that_cannot_be_read_is_no_guess():
    with pytest.raises(LookupError):
        handoff.in_force(VMI, [site("ns", of_namespace={"a": "b"})], None, CLUSTER, "v1.9.0")
    _values, expected = handoff.in_force(VMI, [site("ns", of_namespace={"a": "b"})], {"sap": {"a": "b"}}, CLUSTER, "v1.9.0")
    assert expected.policy == "ns"


@pytest.mark.parametrize(("row", "policy", "configuration"), [
    ({"policy": "ours", "configuration": {"allowPostCopy": False}}, "ours", {"allowPostCopy": False}),
    ({"policy": None}, None, {}),
    ({"policy": "", "configuration": {"allowPostCopy": "False"}}, None, {"allowPostCopy": False}),
    ({"configuration": {"x": 1}}, UNTOLD, {"x": 1}),
    ({"policy": "ours", "configuration": None, "displaced": "theirs"}, "ours", {}),
])
def test_an_entry_says_what_is_expected(row, policy, configuration):
    assert handoff.expected_of(row) == Expected(policy, configuration, True)


@pytest.mark.parametrize("row", [None, "ours", {}, {"policy": 7}, {"configuration": "x"}, {"name": "vm"}])
def test_an_entry_that_says_nothing_is_refused(row):
    with pytest.raises(ValueError):
        handoff.expected_of(row)


# -- what is found -------------------------------------------------------------------------------------


def state(policy=None, **configuration):
    found = {"migrationUid": "u", "targetNode": "b", "migrationConfiguration": configuration}
    return dict(found, migrationPolicyName=policy) if policy else found


@pytest.mark.parametrize(("key", "given", "found"), [
    ("bandwidthPerMigration", "1Gi", "1024Mi"), ("bandwidthPerMigration", "0", None), ("bandwidthPerMigration", "0", ""),
    ("bandwidthPerMigration", "1073741824", "1Gi"), ("completionTimeoutPerGiB", 800, "800"), ("allowPostCopy", False, None),
    ("network", "", None), ("unsafeMigrationOverride", None, False), ("utilityVolumesTimeout", 150, "150"), ("x", "a", "a"),
])
def test_values_that_do_the_same(key, given, found):
    assert handoff.same(key, given, found) and handoff.same(key, found, given)


@pytest.mark.parametrize(("key", "given", "found"), [
    ("bandwidthPerMigration", "64Mi", "64M"), ("bandwidthPerMigration", "64Mi", None), ("completionTimeoutPerGiB", 800, 150),
    ("completionTimeoutPerGiB", 800, None), ("allowPostCopy", True, None), ("allowPostCopy", True, "true"), ("allowPostCopy", "", True),
    ("network", "a", ""), ("x", "a", "b"), ("x", {"a": 1}, {}),
])
def test_values_that_do_not(key, given, found):
    assert not handoff.same(key, given, found) and not handoff.same(key, found, given)


def test_differences_name_what_is_and_what_was_expected():
    expected = Expected("bigvm-x-1", {"allowPostCopy": False, "bandwidthPerMigration": "0", "completionTimeoutPerGiB": 800}, True)
    assert handoff.differences(state("bigvm-x-1", allowPostCopy=False, completionTimeoutPerGiB=800, nodeDrainTaintKey="x"), expected) == []
    assert handoff.differences(state(None, allowPostCopy=True, bandwidthPerMigration="64Mi", completionTimeoutPerGiB=800), expected) == [
        "its policy is none instead of bigvm-x-1", "allowPostCopy is true instead of false",
        "bandwidthPerMigration is 64Mi instead of 0"]
    assert handoff.differences(state("site"), Expected(None, {}, True)) == ["its policy is site instead of none"]
    assert handoff.differences(state("site"), Expected(UNTOLD, {}, True)) == []


def test_before_the_handoff_only_known_fields_are_compared():
    known = handoff.known(Expected("p", {"allowPostCopy": True, "somethingNew": 1}, True))
    assert known.configuration == {"allowPostCopy": True}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
                        ["migrationPolicyName", "migrationConfiguration", "targetNode", "targetNodeAddress", "allowPostCopy",
                         "bandwidthPerMigration", "metadata", "spec", "nodeName", "annotations"]), inner, max_size=4), max_leaves=8))
def test_whatever_the_api_holds_it_is_compared_and_not_stumbled_over(thing):
    expected = Expected("p", {"allowPostCopy": True, "bandwidthPerMigration": "1Gi", "network": "n"}, True)
    assert handoff.differences(thing, expected)
    assert handoff.address_problem(thing, {}, "net") is None or isinstance(thing, dict)
    assert isinstance(handoff.handler_addresses([thing]), dict)
    assert critical.is_critical_vmi(thing) in (True, False)


# -- the network ----------------------------------------------------------------------------------------


def handler(node, *ips, interface="migration0", status=None, **metadata):
    rows = [{"name": "ovn-kubernetes", "interface": "eth0", "ips": ["10.128.0.4"], "default": True},
            {"name": "openshift-cnv/net", "interface": interface, "ips": list(ips)}]
    return {"metadata": dict(metadata, annotations={"k8s.v1.cni.cncf.io/network-status": json.dumps(rows) if status is None else status}),
            "spec": {"nodeName": node}}


def test_addresses_of_virt_handlers():
    pods = [handler("a", "192.168.5.1"), handler("b", "fd00::2", "192.168.5.2"), handler("c", interface="net1"),
            handler("d", status="not json"), handler("e", status="{}"), handler("f", "192.168.5.9", deletionTimestamp="now"),
            {"metadata": {}, "spec": {"nodeName": "g"}}, {"spec": {}}]
    assert handoff.handler_addresses(pods) == {
        "a": ["192.168.5.1"], "b": ["fd00::2", "192.168.5.2"], "c": [], "d": [], "e": [], "g": []}


@pytest.mark.parametrize(("address", "node", "right"), [
    ("192.168.5.1", "a", True), ("10.128.0.4", "a", False), ("192.168.5.1", "b", False), ("fd00:0:0::2", "b", True),
    ("10.128.0.9", "nowhere", False), (None, "a", True),
])
def test_the_target_listens_in_the_migration_network_or_not(address, node, right):
    known = {"a": ["192.168.5.1"], "b": ["fd00::2"]}
    problem = handoff.address_problem({"targetNode": node, "targetNodeAddress": address}, known, "net")
    assert (problem is None) is right
    assert right or ("%s, which is not in the migration network net" % address in problem and node in problem)


# -- dangers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("post_copy", "disruption", "release", "found"), [
    (False, False, "v1.9.0", ()), (True, True, "v1.9.0", ("post_copy",)), (False, True, "v1.9.0", ("disruption",)),
    (True, False, "v1.9.0", ()),  # never reached
    (True, True, "v1.6.6", ("post_copy",)), (True, None, "v1.4.1", ("post_copy",)), (False, True, "v1.4.1", ()),
    (True, True, "", ("post_copy",)),
])
def test_what_endangers_a_guest_once_its_time_is_over(post_copy, disruption, release, found):
    assert critical.dangers({"allow_post_copy": post_copy, "allow_workload_disruption": disruption}, release) == found


def guest(memory="4Gi", **labels):
    return {"metadata": {"namespace": "sap", "name": "vm", "labels": labels}, "spec": {"domain": {"memory": {"guest": memory}}}}


@pytest.mark.parametrize(("vmi", "names", "expected"), [
    (guest(), (), False), (guest("256Gi"), (), True), (guest(**{critical.LABEL: "true"}), (), True),
    (guest(**{critical.LABEL: "false"}), (), False), (guest("256Gi", **{critical.LABEL: "false"}), (), True),
    (guest(), ("sap/vm",), True), (guest(), ("vm",), True), (guest(), ("other/vm",), False), (guest("plenty"), (), False),
])
def test_which_guests_are_critical(vmi, names, expected):
    assert critical.is_critical_vmi(vmi, names) is expected


def test_the_causes_name_the_way_out():
    assert "acknowledge: [disruption] with max_pause" in causes.dangerous(["disruption"])["remedy"]
    assert "max_pause" not in causes.dangerous(["post_copy"])["remedy"]
    assert causes.paused_too_long(5)["message"].endswith("its max_pause of 5 s was over")


# -- lines and sentences ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", sorted(progress.ALARMS))
def test_an_alarm_fits_a_line(what):
    line = progress.alarm_line("a-rather-long-namespace/and-a-rather-long-name-of-a-guest", what)
    assert len(line) <= 80 and line.endswith(progress.ALARMS[what])
    assert len(progress.waiting_line("x" * 200)) <= 80


def moved(name, outcome, cause=None, source="a"):
    move = moves.Move("ns", name, migration.Place("b", {}, ()))
    move.outcome, move.cause, move.before, move.source = outcome, cause, "v-" + name, source
    return move


def vmi_at(node, paused=False):
    conditions = [{"type": "Paused", "status": "True"}] if paused else []
    return lambda move: {"metadata": {"uid": move.before}, "status": {"nodeName": node, "conditions": conditions}}


def test_a_soft_stop_is_said_once_for_all():
    cause = causes.stopped_as_asked("file /tmp/stop exists", "Remove the file")
    bad = [moved(name, "not_started", cause) for name in ("x", "y")]
    assert moves.failure(bad, bad + [moved("z", "moved")], vmi_at("a")) == (
        "Stopped as asked (file /tmp/stop exists): not started were ns/x, ns/y.", "Remove the file and run again to go on.")


def test_a_guest_that_stays_paused_is_never_told_to_run_as_before():
    one = moved("x", "aborted", causes.paused_unasked())
    said, _remedy = moves.failure([one], [one], vmi_at("a"))
    assert said.endswith("It runs on a as before.")
    said, _remedy = moves.failure([one], [one], vmi_at("a", paused=True))
    assert "It is on a and PAUSED" in said and "as before" not in said


def test_slots_of_others_whose_guests_we_do_not_watch():
    foreign = {"metadata": {"namespace": "ns", "name": "m", "uid": "u"}, "spec": {"vmiName": "far"}, "status": {"phase": "Running"}}
    assert migration.unseen([foreign], {}, {}) == [foreign]
    assert migration.unseen([foreign], {("ns", "far"): {}}, {}) == migration.unseen([foreign], {}, {"u": ""}) == []
    assert migration.free_slots([foreign], {}, (5, 1), "a", sources={"u": "a"}) == 0
    assert migration.free_slots([foreign], {}, (5, 1), "a", sources={"u": ""}) == 1
