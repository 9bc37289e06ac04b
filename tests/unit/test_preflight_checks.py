# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The preflight's checks: what passes, what fails, what may be accepted."""

from __future__ import annotations

import pytest
from test_migratability import VMI, bound, change, inventory, node, with_condition

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import migratability, preflight, spare
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.view import View


def facts(found=None, room=True):
    found = found or inventory()
    return dict(migratability.judge(found), **({"spare": spare.report(View(found))} if room else {}))


def by_name(rows):
    return {row["name"]: row for row in rows}


def test_all_well():
    rows = preflight.checks(facts())
    assert [row["status"] for row in rows] == ["PASS"] * 5
    assert by_name(rows)["VM sap/hana"]["found"] == "64 GiB, 1 node can take it"
    assert by_name(rows)["room to empty node w1"]["found"] == "1 VMs find a place together"
    assert preflight.lines(rows)[-1] == "5 checks: 5 passed, 0 accepted, 0 failed"


UNKNOWN = inventory(forbidden=["pods"], pods=[])


def test_what_is_not_known_fails_unless_accepted_by_code():
    rows = by_name(preflight.checks(facts(UNKNOWN)))
    vm = rows["VM sap/hana"]
    assert vm["status"] == "FAIL" and "Grant the right to list pods." in vm["remedy"]
    assert rows["cluster"]["found"].endswith("not readable: pods")
    assert rows["room to empty node w1"]["codes"] == ["SpareUnknown"]
    accepted = by_name(preflight.checks(facts(UNKNOWN), vm["codes"]))
    assert accepted["VM sap/hana"]["status"] == "ACCEPTED" and accepted["VM sap/hana"]["remedy"] == ""
    assert accepted["room to empty node w1"]["status"] == "ACCEPTED"
    assert by_name(preflight.checks(facts(UNKNOWN), vm["codes"][:1]))["VM sap/hana"]["status"] == "FAIL"


def test_numa_pages_want_a_look_although_the_verdict_is_live():
    found = facts(bound())
    assert found["vms"][0]["verdict"] == "live"
    assert by_name(preflight.checks(found))["VM sap/hana"]["status"] == "FAIL"
    assert by_name(preflight.checks(found, ["NumaPagesNotVisible"]))["VM sap/hana"]["status"] == "ACCEPTED"


def test_a_guest_that_cannot_move_fails_and_so_does_its_node():
    found = facts(inventory(with_condition("LiveMigratable", "False", "DisksNotLiveMigratable")))
    rows = by_name(preflight.checks(found))
    assert rows["VM sap/hana"]["status"] == rows["room to empty node w1"]["status"] == "FAIL"
    assert rows["room to empty node w1"]["found"] == "no place for sap/hana"
    rows = by_name(preflight.checks(found, ["DisksNotLiveMigratable"]))
    assert rows["VM sap/hana"]["status"] == rows["room to empty node w1"]["status"] == "ACCEPTED"


def test_only_the_node_that_shall_be_emptied_needs_room():
    names = [row["name"] for row in preflight.checks(facts(), node="w2")]
    assert "room to empty node w2" in names and "room to empty node w1" not in names


def test_too_little_to_spare():
    small = [node("w1"), change(node("w2"), "status.allocatable", dict(node("w2")["status"]["allocatable"], memory="40Gi"))]
    rows = by_name(preflight.checks(facts(inventory(nodes=small))))
    assert rows["spare memory"]["status"] == "FAIL" and rows["spare memory"]["found"].startswith("65 GiB needed to drain 1 at once, 40 GiB")
    assert "(missing memory 2" in rows["room to empty node w1"]["found"]


def test_what_does_not_run_is_nothing_to_move():
    vm = {"metadata": {"name": "off", "namespace": "sap"}, "spec": {"template": {"spec": VMI["spec"]}}, "status": {}}
    assert by_name(preflight.checks(facts(inventory(vms=[vm]))))["VM sap/off"]["found"] == "does not run, nothing to move"


def test_rights():
    def problem(code, severity):
        return {"code": code, "severity": severity, "message": "The right to list nodes is missing.", "remedy": "Ask for it."}

    def rights(*problems, accept=()):
        found = preflight.checks(facts(), accept, access={"problems": list(problems)})
        return by_name(found)["rights"]

    needed, optional = problem("right_missing", "blocker"), problem("right_missing", "warning")
    assert rights()["status"] == rights(optional)["status"] == "PASS"
    assert rights(problem("own_pod_on_node", "blocker"), problem("token_expires", "blocker"))["status"] == "PASS"
    assert rights(needed)["status"] == "FAIL" and rights(needed)["remedy"] == "The right to list nodes is missing. Ask for it."
    assert rights(needed, accept=["RightMissing"])["status"] == "ACCEPTED"
    assert "rights" not in by_name(preflight.checks(facts()))


@pytest.mark.parametrize("code", ["NumaPagesNotVisble", "", "live"])
def test_a_code_that_does_not_exist_is_no_acceptance(code):
    with pytest.raises(ValueError, match="there is no code"):
        preflight.checks(facts(), [code])


def test_a_reason_of_a_newer_kubevirt_can_be_accepted():
    found = facts(inventory(with_condition("LiveMigratable", "False", "QuantumNotLiveMigratable")))
    assert by_name(preflight.checks(found, ["QuantumNotLiveMigratable"]))["VM sap/hana"]["status"] == "ACCEPTED"


def test_the_page_fits_and_says_everything():
    found = facts(inventory(change(with_condition("Paused", "True"), "spec.nodeSelector", {"zone": "x"})))
    found["advice"] = ["sap/hana:", "  allow_post_copy: true -> false"]
    found["rates"] = {"guests": {}, "failure": "it answered 403", "window": 60}
    said = preflight.page(found, preflight.checks(found))
    assert max(map(len, said)) <= 80 and said[0].startswith("KubeVirt v1.6.0")
    assert said[1] == "1 VMs: 0 can move live, 0 only cold, 1 blocked, 0 unknown"
    text = "\n".join(said)
    for part in ("FAIL: VM sap/hana: blocked (NoCandidate)", "WARNING: sap/hana: The guest is paused", "it answered 403",
                 "advice on the settings in force", "allow_post_copy: true -> false"):
        assert part in text
