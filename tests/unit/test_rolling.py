# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several nodes: an order in which each can be emptied when its turn comes, in the cluster as the plans before leave it."""

from __future__ import annotations

import pytest
from test_migratability import GIB, change, inventory, node
from test_spare import guest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import bonds, migratability, rolling

LINKS = 2.5e9


def asked(links=None, **given):
    defaults = dict.fromkeys(rolling.Asked._fields)
    defaults.update(critical=(), acknowledged=(), hold=False, leave=(), bonds=bonds.NONE, avoid=(), back=False, rates={}, assumptions=(),
                    links=dict.fromkeys(("w1", "w2", "w3", "w4"), links) if links else {})
    return rolling.Asked(**dict(defaults, **given))


def cluster(*guests, nodes=("w1", "w2", "w3"), **lists):
    return inventory(vmis=[vmi for vmi, _pod in guests], pods=[pod for _vmi, pod in guests], nodes=[node(name) for name in nodes], **lists)


def targets(plan):
    return {vm["name"]: vm["expected_node"] for wave in plan["waves"] for vm in wave["vms"]}


def test_the_node_that_cannot_be_emptied_now_waits_for_the_room_that_another_leaves():
    # The guest of w1, where less is to move, fits nowhere until the two of w2 have gone to w3 and, for a while, to w1.
    found = cluster(guest("big", "w1", 300), guest("a", "w2", 180), guest("b", "w2", 180), guest("c", "w3", 320))
    plan = rolling.several(found, ["w1", "w2"], asked())
    assert plan["nodes"] == ["w2", "w1"] and plan["stuck"] == []
    assert targets(plan["plans"][0]) == {"a": "w3", "b": "w1"} and targets(plan["plans"][1]) == {"big": "w2", "b": "w2"}
    alone = rolling.one(found, "w1", asked())[0]
    assert alone["blocked"] and alone["first"][0]["code"] == "NoCandidate" and alone["first"][0]["vms"] == ["sap/big"]


def test_nobody_is_put_where_it_would_have_to_leave_again_while_there_is_room_elsewhere():
    found = cluster(guest("a", "w1", 60), guest("b", "w2", 60), guest("c", "w3", 60), nodes=("w1", "w2", "w3", "w4"))
    plan = rolling.several(found, ["w1", "w2", "w3"], asked())
    assert all(set(targets(one).values()) == {"w4"} for one in plan["plans"][:1])
    moved = [name for one in plan["plans"] for name in targets(one)]
    assert sorted(moved) == ["a", "b", "c"], "each moves once"


def test_with_a_return_each_node_finds_the_cluster_as_it_was():
    found = cluster(guest("a", "w1", 300), guest("b", "w2", 310), guest("c", "w3", 100))
    plan = rolling.several(found, ["w1", "w2"], asked(back=True, links=LINKS, rates={("sap", "a"): 0, ("sap", "b"): 0, ("sap", "c"): 0}))
    assert plan["nodes"] == ["w1", "w2"]
    back = plan["plans"][0]["returns"]
    assert [vm["target_node"] for wave in back["waves"] for vm in wave["vms"]] == ["w1"] and back["stay"] == []
    out = plan["plans"][0]["forecast"]
    assert back["forecast"]["seconds"] == pytest.approx(out["seconds"]), "the links carry the same both ways"
    assert plan["turns"][1]["start"] == pytest.approx(out["seconds"] + back["forecast"]["seconds"])
    assert plan["low"] < plan["seconds"] < plan["high"] and plan["lower_bound"] <= plan["seconds"]
    assert plan["id"] != rolling.several(found, ["w1", "w2"], asked())["id"], "the return is approved as well"


def test_what_no_order_can_empty_is_said_with_what_must_happen_first():
    stuck, pod = guest("stuck", "w1", 60)
    stuck = change(stuck, "status.conditions", [{"type": "LiveMigratable", "status": "False", "reason": "DisksNotLiveMigratable"}])
    plan = rolling.several(cluster((stuck, pod), guest("b", "w2", 60)), ["w1", "w2"], asked())
    assert plan["nodes"] == ["w2"] and [row["node"] for row in plan["stuck"]] == ["w1"]
    assert plan["first"][0]["code"] == "DisksNotLiveMigratable" and "ReadWriteMany" in plan["first"][0]["remedy"]
    said = rolling.lines(plan)
    assert any(line.startswith("CANNOT  w1") for line in said) and max(map(len, said)) <= 78


def test_the_search_ends_when_nothing_helps():
    nodes = ["w%d" % number for number in range(1, 9)]
    plan = rolling.several(cluster(*[guest("on-" + name, name, 550) for name in nodes], nodes=nodes), nodes, asked())
    assert plan["nodes"] == [] and len(plan["stuck"]) == 8 and plan["seconds"] is None


def test_the_plan_does_not_depend_on_the_order_of_what_was_asked_or_read():
    guests = [guest("a", "w1", 60), guest("b", "w2", 70), guest("c", "w3", 80)]
    one = rolling.several(cluster(*guests), ["w1", "w2", "w3"], asked(links=LINKS))
    other = rolling.several(cluster(*guests[::-1]), ["w3", "w1", "w2"], asked(links=LINKS))
    assert one["id"] == other["id"] and one["nodes"] == other["nodes"]


def test_partners_on_two_of_the_nodes_are_never_on_one_node_nor_at_once():
    guests = guest("primary", "w1", 60), guest("secondary", "w2", 70), guest("c", "w3", 300)
    kept = bonds.bonds_of([vmi for vmi, _pod in guests], [["primary", "secondary"]])
    plan = rolling.several(cluster(*guests), ["w1", "w2"], asked(bonds=kept))
    first, second = map(targets, plan["plans"])
    assert plan["nodes"] == ["w1", "w2"] and first["primary"] == "w3" and second["secondary"] == "w1"


# -- the cluster as a plan leaves it ------------------------------------------------------


def test_a_guest_that_moved_takes_its_room_along_and_keeps_the_cpu_of_its_first_node():
    found = cluster(guest("a", "w1", 300), guest("b", "w2", 10))
    moved = rolling.after(found, {("sap", "a"): "w3"})
    nodes = migratability.judge(moved)["nodes"]
    assert nodes["w1"]["memory_free"] == 600 * GIB and nodes["w3"]["memory_free"] < 299.7 * GIB and nodes["w3"]["vms"] == 1
    pod = next(pod for pod in moved["pods"] if pod["spec"]["nodeName"] == "w3")
    assert pod["spec"]["nodeSelector"]["cpu-model-migration.node.kubevirt.io/Icelake"] == "true"
    assert found["vmis"][0]["status"]["nodeName"] == "w1", "what came in stays what it was"

    def without(labels):
        return {key: value for key, value in labels.items() if key != "cpu-model-migration.node.kubevirt.io/Icelake"}

    older = [change(entry, "metadata.labels", without(entry["metadata"]["labels"]))
             if entry["metadata"]["name"] == "w2" else entry for entry in moved["nodes"]]
    assert migratability.judge(dict(moved, nodes=older))["vms"][0]["candidates"] == ["w1"]


# -- the window ------------------------------------------------------------------------------


@pytest.mark.parametrize("deadline, timeout, back, fit, problem", [
    (None, None, False, 2, False), (7200, 3600, False, 2, False), (7199, 3600, False, 1, False), (3599, 3600, False, 0, True),
    (14400, 3600, True, 2, False), (7200, 3600, True, 1, False), (1e6, None, False, 0, True),
])
def test_nodes_that_fit_the_window_if_every_copy_takes_as_long_as_it_may(deadline, timeout, back, fit, problem):
    plan = rolling.several(cluster(guest("a", "w1", 60), guest("b", "w2", 70)), ["w1", "w2"], asked(back=back))
    found = rolling.window(plan, 0, timeout, deadline, 0, back)
    assert (found["nodes_that_fit"], bool(found["problem"])) == (fit, problem)
    assert bool(found["note"]) == (fit == 1)
