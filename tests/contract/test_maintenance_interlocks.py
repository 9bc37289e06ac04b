# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""maintenance_interlocks on the embedded cluster: found, paused with the journal first, resumed without a trace."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import actors, journals
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import Task
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import (
    BadInput,
    Forbidden,
    LiveMigrationError,
    Refused,
)
from ansible_collections.bigvm.live_migration.plugins.modules import maintenance_interlocks as module
from ansible_collections.bigvm.live_migration.plugins.modules import node_hold

CRDS = path_of("apiextensions.k8s.io/v1", "customresourcedefinitions")
NHC = "/apis/remediation.medik8s.io/v1alpha1/nodehealthchecks"
MHC = "/apis/machine.openshift.io/v1beta1/namespaces/openshift-machine-api/machinehealthchecks"
PAUSED = "cluster.x-k8s.io/paused"
BOTH = ["node_health_check", "machine_health_check"]


def crd(group, version, kind, plural, namespaced):
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "%s.%s" % (plural, group)},
            "spec": {"group": group, "scope": "Namespaced" if namespaced else "Cluster",
                     "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": kind + "List"},
                     "versions": [{"name": version, "served": True, "storage": True, "subresources": {"status": {}}, "schema": {
                         "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}}


class Site:
    """A cluster with the health checks of an OpenShift, and a node with a journal."""

    def __init__(self, cluster, checks=True):
        self.cluster, self.api, self.said = cluster, cluster.api, []
        if checks:
            for row in (("remediation.medik8s.io", "v1alpha1", "NodeHealthCheck", "nodehealthchecks", False),
                        ("machine.openshift.io", "v1beta1", "MachineHealthCheck", "machinehealthchecks", True),
                        ("machine.openshift.io", "v1beta1", "Machine", "machines", True)):
                self.api.create(CRDS, crd(*row))
            self.api.create("/api/v1/namespaces", {"metadata": {"name": "openshift-machine-api"}})
            self.api.create(MHC.replace("machinehealthchecks", "machines"), {
                "apiVersion": "machine.openshift.io/v1beta1", "kind": "Machine", "metadata": {"name": "m-0", "labels": {"role": "worker"}}})
            self.api.patch("/api/v1/nodes/node-a", {"metadata": {"annotations": {
                "machine.openshift.io/machine": "openshift-machine-api/m-0"}}})
            self.api.create(NHC, {"apiVersion": "remediation.medik8s.io/v1alpha1", "kind": "NodeHealthCheck",
                                  "metadata": {"name": "workers"}, "spec": {"selector": {}, "minHealthy": "51%"}})
            self.api.create(MHC, {"apiVersion": "machine.openshift.io/v1beta1", "kind": "MachineHealthCheck",
                                  "metadata": {"name": "workers"}, "spec": {"selector": {"matchLabels": {"role": "worker"}}}})

    def task(self, module, api=None, check_mode=False, **options):
        params = {name: option.get("default") for name, option in module.SPEC.items()}
        return Task(dict(params, **options), api or self.api, check_mode, say=self.said.append)

    def run(self, state="checked", run="run-1", **options):
        return module.execute(self.task(module, node="node-a", run=run, state=state, **options))

    def journal(self, run="run-1", **options):
        return node_hold.execute(self.task(node_hold, name="node-a", run=run, **options))

    @property
    def noted(self):
        record = journals.journal_of(self.api.get("/api/v1/nodes/node-a"))
        return ((record or {}).get("progress") or {}).get("interlocks")

    @property
    def pauses(self):
        return (self.api.get(NHC + "/workers")["spec"].get("pauseRequests"),
                (self.api.get(MHC + "/workers")["metadata"].get("annotations") or {}).get(PAUSED))


@pytest.fixture
def site(near):
    return Site(near(topology="tiny"))


def codes(result):
    return {(row["code"], row["severity"]) for row in result["findings"]}


def test_a_cluster_without_the_platform_is_quiet_with_few_requests(near):
    site = Site(near(topology="tiny"), checks=False)
    before = site.api.requests
    found = site.run()
    assert found["findings"] == [] and found["blockers"] == [] and found["lines"] == [] and found["changed"] is False
    assert site.api.requests - before <= 9


def test_health_checks_block_until_they_may_be_paused(site):
    assert codes(site.run()) == {("node_health_check", "blocker"), ("machine_health_check", "blocker")}
    assert len(site.run()["blockers"]) == 2
    may = site.run(hold=BOTH)
    assert may["blockers"] == [] and not any(row["held"] for row in may["findings"])
    assert site.run(accept=BOTH)["blockers"] == []
    assert site.pauses == (None, None)


def test_paused_with_the_journal_first_and_resumed_without_a_trace(site, monkeypatch):
    site.journal()
    before = site.api.get(NHC + "/workers")["spec"], site.api.get(MHC + "/workers")["metadata"].get("annotations") or {}
    order, patch = [], site.api.patch
    monkeypatch.setattr(site.api, "patch", lambda path, body, **query: (order.append(path), patch(path, body, **query))[1])
    held = site.run("held", hold=BOTH)
    assert held["changed"] and all(row["held"] for row in held["findings"]) and len(held["diff"]) == 2
    assert order == ["/api/v1/nodes/node-a", MHC + "/workers", NHC + "/workers"]
    assert site.pauses == (["bigvm-run-1"], "bigvm-run-1") and set(site.noted) == {NHC + "/workers", MHC + "/workers"}
    again = site.run("held", hold=BOTH)
    assert not again["changed"] and len(order) == 3
    back = site.run("restored")
    assert back["changed"] and site.noted is None
    assert back["lines"] == ["MachineHealthCheck openshift-machine-api/workers is resumed", "NodeHealthCheck workers is resumed"]
    after = site.api.get(NHC + "/workers")["spec"], site.api.get(MHC + "/workers")["metadata"].get("annotations") or {}
    assert after == before
    once_more = site.run("restored")
    assert not once_more["changed"] and once_more["lines"] == []


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_death_after_any_write_is_restorable(site, monkeypatch, deaths):
    site.journal()
    patch, left = site.api.patch, [deaths]

    class Killed(Exception):
        pass

    def dying(path, body, **query):
        if not left[0]:
            raise Killed()
        left[0] -= 1
        return patch(path, body, **query)

    with monkeypatch.context() as patched:
        patched.setattr(site.api, "patch", dying)
        with pytest.raises(Killed):
            site.run("held", hold=BOTH)
    assert len(site.noted) == 2  # the intent was there before the first pause
    assert site.run("restored")["changed"] is (deaths > 1)
    assert site.pauses == (None, None) and site.noted is None


def test_what_others_paused_is_theirs(site):
    site.journal()
    site.api.patch(MHC + "/workers", {"metadata": {"annotations": {PAUSED: ""}}})
    site.api.patch(NHC + "/workers", {"spec": {"pauseRequests": ["an-upgrade"]}})
    held = site.run("held", hold=BOTH)
    assert not held["changed"] and site.noted is None and held["blockers"] == []
    site.api.patch(NHC + "/workers", {"spec": {"pauseRequests": None}})
    site.run("held", hold=BOTH)
    site.api.patch(NHC + "/workers", {"spec": {"pauseRequests": ["an-upgrade", "bigvm-run-1", "another"]}})
    back = site.run("restored")
    assert site.pauses == (["an-upgrade", "another"], "")
    assert back["lines"] == ["NodeHealthCheck workers: our pause is removed; it stays paused by an-upgrade, another"]


def test_what_others_changed_meanwhile_is_left_alone_and_named(site):
    site.journal()
    site.run("held", hold=BOTH)
    site.api.patch(MHC + "/workers", {"metadata": {"annotations": {PAUSED: "by-hand"}}})
    site.api.delete(NHC + "/workers")
    back = site.run("restored")
    assert not back["changed"] and site.noted is None
    assert back["lines"] == [
        "MachineHealthCheck openshift-machine-api/workers was not paused by us any more; it is paused by by-hand, which is left alone",
        "NodeHealthCheck workers is gone; there is nothing to resume"]
    assert site.api.get(MHC + "/workers")["metadata"]["annotations"][PAUSED] == "by-hand"


def test_a_later_run_resumes_what_the_one_before_paused(site):
    site.journal()
    site.run("held", hold=BOTH)
    site.cluster.wait(601)
    site.journal(run="run-2")
    assert site.run("restored", run="run-1")["changed"]  # its own marks, found without the journal's help
    assert site.pauses == (None, None)
    site.run("held", run="run-2", hold=BOTH)
    site.cluster.wait(601)
    site.journal(run="run-3")
    assert site.run("restored", run="run-3")["changed"] and site.pauses == (None, None) and site.noted is None


def test_marks_are_found_when_the_journal_is_lost(site):
    site.journal()
    site.run("held", hold=BOTH)
    site.journal(state="released")
    assert site.run("restored")["changed"] and site.pauses == (None, None)


def test_nothing_is_paused_without_a_journal_or_with_something_in_the_way(site):
    with pytest.raises(Refused, match="no journal of run run-1"):
        site.run("held", hold=BOTH)
    site.journal()
    with pytest.raises(Refused, match="watches node-a.*Nothing was paused"):
        site.run("held", hold=["node_health_check"])
    assert site.pauses == (None, None) and site.noted is None


def test_a_dry_run_pauses_nothing(site):
    site.api.dry_run = True
    try:
        would = module.execute(site.task(module, check_mode=True, node="node-a", run="run-1", state="held", hold=BOTH))
    finally:
        site.api.dry_run = False
    assert would["changed"] and site.pauses == (None, None)


def test_one_that_cannot_be_resumed_stays_in_the_journal_and_the_others_are(site, monkeypatch):
    site.journal()
    site.run("held", hold=BOTH)
    patch = site.api.patch

    def forbidden(path, body, **query):
        if path.startswith(NHC):
            raise Forbidden("Not allowed to change %s." % path, status=403)
        return patch(path, body, **query)

    with monkeypatch.context() as patched:
        patched.setattr(site.api, "patch", forbidden)
        with pytest.raises(LiveMigrationError, match="NodeHealthCheck workers may still be paused"):
            site.run("restored")
    assert site.pauses == (["bigvm-run-1"], None) and set(site.noted) == {NHC + "/workers"}
    assert site.run("restored")["changed"] and site.noted is None


def test_a_missing_right_is_named_and_a_missing_kind_is_not(cluster):
    site = Site(cluster(topology="tiny"))
    token = site.cluster.token([{"verbs": ["get", "list"], "resources": [
        "nodes", "kubevirts.kubevirt.io", "virtualmachineinstances.kubevirt.io", "virtualmachineinstancemigrations.kubevirt.io",
        "hyperconvergeds.hco.kubevirt.io", "deployments.apps", "cronjobs.batch", "machinehealthchecks.machine.openshift.io",
        "machines.machine.openshift.io"]}])
    found = module.execute(site.task(module, api=site.cluster.client(api_key=token), node="node-a", run=None, state="checked"))
    assert {(row["code"], row["object"]) for row in found["blockers"]} == {
        ("interlock_unreadable", "nodehealthchecks.remediation.medik8s.io"),
        ("machine_health_check", "MachineHealthCheck openshift-machine-api/workers")}


def test_an_evacuation_by_somebody_else_is_found_before_a_start(site):
    vmi = site.api.list("/apis/kubevirt.io/v1/virtualmachineinstances").items[0]
    where = "/apis/kubevirt.io/v1/namespaces/%(namespace)s/virtualmachineinstances/%(name)s" % vmi["metadata"]
    site.api.patch(where, {"status": {"evacuationNodeName": "node-a"}})
    found = actors.look(site.api, "node-a", "run-1", accept=BOTH)
    assert "evacuation_marked" in {row["code"] for row in found if row["severity"] == "blocker"}


def test_an_unknown_node_is_named(site):
    with pytest.raises(BadInput, match="no node 'node-x'"):
        module.execute(site.task(module, node="node-x", run=None, state="checked"))
