# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lease of a node on the embedded cluster: two runs are never on it, a dead one is followed by the next."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import lease as leases
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import Task
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import LeaseLost, NotFound, Refused
from ansible_collections.bigvm.live_migration.plugins.modules import node_hold as module

LEASE = path_of("coordination.k8s.io/v1", "leases", "openshift-cnv", "live-migration-node-a")


class Operators:
    """Several runs on one cluster."""

    def __init__(self, cluster):
        self.cluster, self.api, self.said = cluster, cluster.api, []

    def run(self, state="held", run="run-1", owner="basis@bastion", **options):
        params = {name: option.get("default") for name, option in module.SPEC.items()}
        params.update({"name": "node-a", "state": state, "run": run, "owner": owner}, **options)
        return module.execute(Task(params, self.api, say=self.said.append))

    def awaited(self, **options):
        return self.run("awaited", run=None, **options)

    @property
    def now(self):
        return self.api.clock.now()

    @property
    def lease(self):
        return self.api.get(LEASE)

    def renew(self, run="run-1"):
        return leases.renew(self.api, "node-a", run, self.now)


@pytest.fixture
def two(near):
    return Operators(near(topology="tiny"))


def test_a_free_node_is_not_waited_for_and_nothing_is_written(two):
    found = two.awaited()
    assert found == {"changed": False, "node": "node-a", "lease": None, "seen": "", "waited_seconds": 0}
    rows = two.api.get("/bigvm/v1/requests")["items"]
    assert any("leases" in row["path"] for row in rows)
    assert not [row for row in rows if row["method"] != "GET" and not row["path"].startswith("/bigvm/")]
    with pytest.raises(NotFound):
        two.lease  # noqa: B018


def test_held_takes_the_lease_and_released_gives_it_back(two):
    held = two.run()
    assert held["lease"]["run"] == "run-1" and held["lease"]["owner"] == "basis@bastion" and held["lease"]["alive"]
    spec = two.lease["spec"]
    assert spec["holderIdentity"] == "run-1 basis@bastion" and spec["leaseDurationSeconds"] == 600
    row = two.run("read", run=None)["journals"][0]
    assert row["lease"] == held["lease"]
    assert two.run("released")["changed"]
    with pytest.raises(NotFound):
        two.lease  # noqa: B018
    assert not two.run("released")["changed"]


def test_a_run_that_is_alive_is_not_disturbed(two):
    before = two.run()["journal"]
    with pytest.raises(Refused, match=r"run-1 of basis@bastion.*is alive.*take_over: run-1"):
        two.run(run="run-2")
    assert two.run("read")["journals"][0]["journal"] == before


def test_a_second_run_waits_for_the_expiry_and_takes_over(two):
    two.run()
    two.cluster.wait(100)
    found = two.awaited()
    assert 495 <= found["waited_seconds"] <= 505 and found["lease"]["run"] == "run-1" and not found["lease"]["alive"]
    assert "counts as dead at" in two.said[0]
    taken = two.run(run="run-2", seen=found["seen"])
    assert taken["lease"]["run"] == "run-2" and taken["journal"]["earlier_runs"] == ["run-1"]
    with pytest.raises(LeaseLost, match="run run-2 of"):
        two.renew()


def test_a_renewal_while_it_waits_refuses_it(two, monkeypatch):
    two.run()
    two.cluster.wait(250)
    looks, read = [0], leases.read

    def renewing(api, node, now):
        looks[0] += 1
        if looks[0] == 3:
            two.renew()
        return read(api, node, now)

    monkeypatch.setattr(leases, "read", renewing)
    with pytest.raises(Refused, match="run run-1 of basis@bastion.*is alive"):
        two.awaited()
    assert looks[0] <= 5


def test_the_wait_ends_when_the_other_run_ends(two, monkeypatch):
    two.run()
    sleep, naps = two.api.clock.sleep, [0]

    def sleeping(seconds):
        naps[0] += 1
        if naps[0] == 2:
            two.run("released")
        sleep(seconds)

    monkeypatch.setattr(two.api.clock, "sleep", sleeping)
    found = two.awaited()
    assert found["lease"] is None and found["seen"] == "" and found["waited_seconds"] <= 60


def test_take_over_names_exactly_one_run(two):
    two.run()
    assert two.awaited(take_over="run-1")["waited_seconds"] == 0
    with pytest.raises(Refused, match="is alive"):
        two.run(run="run-2", take_over="run-9")
    assert two.run(run="run-2", take_over="run-1")["lease"]["run"] == "run-2"


def test_a_run_in_the_maintenance_itself_is_never_taken_over_by_expiry(two):
    two.run(phase="maintenance")
    two.cluster.wait(4000)
    for state, run in (("awaited", None), ("held", "run-2")):
        with pytest.raises(Refused, match="in the maintenance of node node-a itself.*take_over: run-1"):
            two.run(state, run=run)
    assert two.awaited(take_over="run-1")["seen"]
    two.run("left")  # it ended by itself, and said so
    assert two.awaited()["lease"] is None and two.run("read")["journals"][0]["journal"]["phase"] == "maintenance"


def test_two_that_waited_for_the_same_dead_run_do_not_both_go_on_with_it(two):
    two.run()
    two.cluster.wait(601)
    first, second = two.awaited(), two.awaited()
    assert two.run(seen=first["seen"], owner="anna@bastion")["adopted"]
    with pytest.raises(Refused, match=r"taken by run run-1 of anna@bastion while"):
        two.run(seen=second["seen"], owner="bert@laptop")
    assert two.lease["spec"]["holderIdentity"] == "run-1 anna@bastion"


def test_two_that_found_the_node_free_do_not_both_take_it(two):
    first, second = two.awaited(), two.awaited()
    two.run(seen=first["seen"])
    with pytest.raises(Refused, match="taken by run run-1|is alive"):
        two.run(run="run-2", seen=second["seen"])


def test_a_create_that_somebody_else_won_is_looked_at_again(two, monkeypatch):
    create, done = two.api.create, []

    def late(path, body, **query):
        if path.endswith("/leases") and not done:
            done.append(create(path, dict(body, spec=dict(body["spec"], holderIdentity="run-2 bert@laptop")), **query))
        return create(path, body, **query)

    monkeypatch.setattr(two.api, "create", late)
    with pytest.raises(Refused, match="run-2 of bert@laptop"):
        two.run()
    assert two.run("read", run=None)["journals"] == []  # the lease comes before the journal


def test_renewing_writes_seldom(two):
    two.run()
    version = two.lease["metadata"]["resourceVersion"]
    two.cluster.wait(200)
    assert two.renew().alive and two.lease["metadata"]["resourceVersion"] == version
    two.cluster.wait(60)
    before = two.now
    assert two.renew().renewed >= before and two.lease["metadata"]["resourceVersion"] != version
    acquired = two.lease["spec"]["acquireTime"]
    two.cluster.wait(300)
    two.run(phase="moving")  # a journal entry is a sign of life as well
    assert two.lease["spec"]["acquireTime"] == acquired and two.renew().renewed > before


def test_a_lease_that_was_removed_is_lost(two):
    two.run()
    two.api.delete(LEASE)
    with pytest.raises(LeaseLost, match="its lease was removed"):
        two.renew()


def test_a_restore_of_another_run_leaves_a_living_lease_alone(two):
    two.run()
    two.run("released", run="run-0")
    assert two.lease["spec"]["holderIdentity"] == "run-1 basis@bastion"
    two.run("released", run=None)
    with pytest.raises(NotFound):
        two.lease  # noqa: B018


def test_node_before_is_taken_once_and_kept(two):
    before = two.run(cordon=False)["journal"]["progress"]["node_before"]
    assert before["ready"] and before["schedulable"] and before["allocatable"]["devices.kubevirt.io/kvm"] == "1k"
    two.api.patch("/api/v1/nodes/node-a/status", {"status": {"allocatable": {"devices.kubevirt.io/kvm": "0"}}})
    assert two.run(phase="moving")["journal"]["progress"]["node_before"] == before
    two.cluster.wait(601)
    assert two.run(run="run-2")["journal"]["progress"]["node_before"] == before
