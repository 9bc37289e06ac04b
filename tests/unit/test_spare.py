# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""N-1: which node can be emptied, which cannot, and what is missing."""

from __future__ import annotations

import copy

import pytest
from test_migratability import GIB, POD, VMI, change, inventory, node, vmim

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import spare
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.view import View


def guest(name, where, memory):
    """A guest and its pod."""
    vmi = change(change(change(VMI, "metadata.name", name), "metadata.uid", name), "status.nodeName", where)
    pod = copy.deepcopy(POD)
    pod["metadata"].update(name="virt-launcher-" + name, labels=dict(pod["metadata"]["labels"], **{"kubevirt.io/created-by": name}))
    pod["spec"] = {"nodeName": where, "containers": [{"resources": {"requests": {"memory": "%dGi" % (memory + 1), "cpu": "400m"}}}]}
    return change(vmi, "spec.domain.memory.guest", "%dGi" % memory), pod


def view(*guests, nodes=("w1", "w2", "w3"), **lists):
    lists.setdefault("pods", [pod for _vmi, pod in guests])
    return View(inventory(vmis=[vmi for vmi, _pod in guests], nodes=[node(name) for name in nodes], **lists))


def verdicts(found):
    return {row["node"]: row["can_be_emptied"] for row in found["nodes"]}


def test_every_node_can_be_emptied_where_there_is_room():
    found = spare.report(view(guest("a", "w1", 300), guest("b", "w2", 300)))
    assert verdicts(found) == {"w1": True, "w2": True, "w3": True}
    assert found["resources"]["memory"]["needed"] == 301 * GIB and found["drained_at_once"] == 1
    assert [row["vms"] for row in found["nodes"]] == [1, 1, 0]


def test_enough_in_sum_is_not_enough_for_one():
    found = spare.report(view(guest("a", "w1", 500), guest("b", "w2", 200), guest("c", "w3", 200)))
    assert found["resources"]["memory"]["enough"] is True  # 2 x 398 GiB are free elsewhere
    assert verdicts(found) == {"w1": False, "w2": True, "w3": True}
    stuck = found["nodes"][0]["stuck"][0]
    assert (stuck["name"], stuck["codes"]) == ("a", ["NoCandidate"])
    assert 100 * GIB < stuck["missing"]["memory"] < 105 * GIB and set(stuck["missing"]) == {"memory"}


def test_guests_that_fit_one_by_one_but_not_together():
    found = spare.report(view(guest("a", "w1", 290), guest("b", "w1", 290), guest("c", "w2", 200), guest("d", "w3", 450)))
    row = found["nodes"][0]
    assert row["can_be_emptied"] is False and [one["name"] for one in row["stuck"]] == ["b"]
    assert row["stuck"][0]["codes"] == ["NoRoomLeft"] and row["stuck"][0]["missing"]["memory"] > 100 * GIB
    lines = spare.spare_lines(found)
    assert "w1 (2 VMs): CANNOT be emptied" in lines and max(map(len, lines)) <= 80
    assert any(line.startswith("  sap/b: NoRoomLeft; missing memory 1") for line in lines)


def test_a_guest_that_cannot_move_keeps_its_node():
    vmi, pod = guest("a", "w1", 10)
    local = change(vmi, "status.conditions", [{"type": "LiveMigratable", "status": "False", "reason": "HostDeviceNotLiveMigratable"}])
    found = spare.report(view((local, pod)))
    assert verdicts(found)["w1"] is False and found["nodes"][0]["stuck"][0]["codes"] == ["HostDeviceNotLiveMigratable"]


def test_what_cannot_be_told_is_said():
    found = spare.report(view(guest("a", "w1", 10), forbidden=["pods"], pods=[]))
    assert verdicts(found)["w1"] is None and found["resources"] == {}
    assert "w1 (1 VMs): whether it can be emptied is not known" in spare.spare_lines(found)


@pytest.mark.parametrize("phase", ["Running", "Pending"])
def test_a_migration_under_way_says_nothing_of_room(phase):
    assert verdicts(spare.report(view(guest("hana", "w1", 10), vmims=[vmim(phase)])))["w1"] is True


def test_a_guest_that_has_ended_is_not_in_the_way():
    vmi, pod = guest("a", "w1", 10)
    assert spare.report(view((change(vmi, "status.phase", "Failed"), pod)))["nodes"][0]["vms"] == 0
