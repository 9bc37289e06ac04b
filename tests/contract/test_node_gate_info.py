# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""node_gate_info on the embedded cluster: waits for a node that comes back, and says what one lacks that does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import Task
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.modules import node_gate_info as module
from ansible_collections.bigvm.live_migration.plugins.modules import node_hold

NODE = "/api/v1/nodes/hana-a"


class Gate:
    """The gate of one node."""

    def __init__(self, cluster, name="hana-a"):
        self.cluster, self.api, self.name, self.said = cluster, cluster.api, name, []

    def look(self, **options):
        params = {key: option.get("default") for key, option in module.SPEC.items()}
        params.update({"node": self.name, "wait": "0"}, **options)
        self.said = []
        return module.execute(Task(params, self.api, say=self.said.append))

    def codes(self, **options):
        return [row["code"] for row in self.look(**options)["problems"]]

    def hold(self):
        params = {key: option.get("default") for key, option in node_hold.SPEC.items()}
        return node_hold.execute(Task(dict(params, name=self.name, run="run-1"), self.api))

    def asked(self):
        return [row for row in self.api.get("/bigvm/v1/requests")["items"] if not row["path"].startswith("/bigvm/")]

    def allocatable(self, **values):
        self.api.patch(NODE + "/status", {"status": {"allocatable": values}})

    def later(self, seconds, change, monkeypatch):
        """Do it once that much time has passed while the gate waits."""
        sleep, due = self.api.clock.sleep, [self.api.clock.now() + seconds]

        def sleeping(nap):
            sleep(nap)
            if due and self.api.clock.now() >= due[0]:
                due.clear()
                change()

        monkeypatch.setattr(self.api.clock, "sleep", sleeping)


@pytest.fixture(params=["1.6", "1.9"])
def gate(request, near):
    return Gate(near(topology="default", generation=request.param))


def test_a_held_node_is_as_good_as_before_with_few_requests(gate):
    assert gate.hold()["cordoned"]
    before = len(gate.asked())
    found = gate.look()
    assert found["good"] and found["problems"] == [] and found["snapshot"]["allocatable"]["hugepages-1Gi"] == "5Ti"
    assert found["snapshot"]["cpu_manager"] is True and "hugepages-1Gi: 5 TiB, not less than before" in found["lines"]
    assert len(gate.asked()) - before == 3


def test_fewer_pages_than_before_are_waited_for_and_then_named(gate):
    gate.hold()
    gate.allocatable(**{"hugepages-1Gi": "0"})
    found = gate.look(wait="20min")
    assert not found["good"] and found["problems"][0]["code"] == "hugepages_missing" and found["waited_seconds"] == 1200
    assert "before it had 5 TiB" in found["lines"][0] and all(len(line) <= 80 for line in found["lines"])
    assert 3 <= len(gate.said) <= 5 and "waiting 20 min more at most" in gate.said[0]


def test_a_node_that_comes_back_in_time_is_good(gate, monkeypatch):
    gate.hold()
    gate.allocatable(**{"hugepages-1Gi": "0"})
    gate.later(300, lambda: gate.allocatable(**{"hugepages-1Gi": "5Ti"}), monkeypatch)
    found = gate.look(wait="30min")
    assert found["good"] and 300 <= found["waited_seconds"] <= 360


def test_without_a_journal_only_the_rest_is_asked(gate):
    gate.allocatable(**{"hugepages-1Gi": "0"})
    found = gate.look()
    assert found["good"] and "nothing is known" in found["lines"][-1]
    assert gate.codes(before={"allocatable": {"hugepages-1Gi": "1Ti"}}) == ["hugepages_missing"]
    assert gate.codes(before={}) == []


def test_a_node_that_is_not_ready_or_silent(gate):
    gate.hold()
    gate.api.patch(NODE + "/status", {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "NetworkNotReady"}]}})
    gate.api.patch(NODE, {"metadata": {"annotations": {"kubevirt.io/heartbeat": "2026-11-20T01:00:00Z"}}})
    assert gate.codes() == ["node_not_ready", "heartbeat_stale"]


def test_a_new_virt_handler_is_waited_for(gate):
    gate.hold()
    pod = gate.api.list("/api/v1/pods", labelSelector="kubevirt.io=virt-handler", fieldSelector="spec.nodeName=hana-a").items[0]
    gate.api.delete("/api/v1/namespaces/%(namespace)s/pods/%(name)s" % pod["metadata"])
    assert "handler_not_ready" in gate.codes()
    found = gate.look(wait="10min")  # its pod is back in seconds, its heartbeat within minutes
    assert found["good"] and found["waited_seconds"] > 0


def test_the_migration_network_must_have_an_address(near):
    cluster = near(topology="default")
    gate = Gate(cluster)
    for kubevirt in cluster.api.list("/apis/kubevirt.io/v1/kubevirts").items:
        cluster.api.patch("/apis/kubevirt.io/v1/namespaces/%(namespace)s/kubevirts/%(name)s" % kubevirt["metadata"],
                          {"spec": {"configuration": {"migrations": {"network": "mig"}}}})
    assert "migration_network_down" in gate.codes()


def test_a_node_that_has_not_registered(near):
    found = Gate(near(topology="tiny"), "node-x").look()
    assert not found["good"] and found["snapshot"] is None and [row["code"] for row in found["problems"]] == ["node_missing"]


def test_a_wait_that_is_no_duration_is_named(near):
    with pytest.raises(BadInput, match="wait: 'soon' is not a duration"):
        Gate(near(topology="tiny"), "node-a").look(wait="soon")


def test_as_a_task_with_live_lines(cluster):
    c = cluster(topology="tiny")
    c.api.patch("/api/v1/nodes/node-a/status", {"status": {"allocatable": {"devices.kubevirt.io/kvm": "0"}}})
    options = dict(c.connection, node="node-a", wait="2min", before={"allocatable": {"devices.kubevirt.io/kvm": "1k"}})
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", "bigvm.live_migration.node_gate_info", "-a", json.dumps(options)],
        env=dict(os.environ, ANSIBLE_LOAD_CALLBACK_PLUGINS="1"), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "offers 0 of devices.kubevirt.io/kvm, before it offered 1k; waiting 2 min more at most" in done.stdout
    assert '"good": false' in done.stdout
