# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""hco_live_migration_config on the embedded cluster: both releases, both API versions, other writers, bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from kubevirt_steps import Steps

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import hyperconverged
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import Task
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import (
    BadInput,
    Conflict,
    LiveMigrationError,
    Refused,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import journal, settings
from ansible_collections.bigvm.live_migration.plugins.modules import hco_live_migration_config as module
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.generations import GENERATIONS

RELEASES = {"1.3": "v1beta1", "1.6": "v1beta1", "1.9": "v1"}
OURS = {"app.kubernetes.io/part-of": "somebody-else"}


def attachment(name, kind="macvlan", ipam=None, **config):
    """A NetworkAttachmentDefinition."""
    ipam = {"type": "whereabouts", "range": "10.200.9.0/24"} if ipam is None else ipam
    config = dict({"cniVersion": "0.3.1", "type": kind, "ipam": ipam}, **config)
    return {"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition", "metadata": {"name": name},
            "spec": {"config": json.dumps(config)}}


class Site:
    """A cluster and what a test does with it; ``reset`` gives it the settings of a fresh installation."""

    def __init__(self, cluster, release):
        self.cluster, self.api, self.release, self.version = cluster, cluster.api, release, RELEASES[release]
        self.warnings, self.seen = [], 0
        self.api.create(
            path_of("k8s.cni.cncf.io/v1", "network-attachment-definitions", self.hco["metadata"]["namespace"]),
            attachment("test-net"))

    def reset(self):
        block = settings.nested(settings.written(settings.defaults(self.release)), self.version)
        self.api.patch(self.path, dict(block, metadata={"annotations": None, "labels": None}))
        assert hyperconverged.follow(self.api, self.hco, self.version, 3600, looks=3) is None
        self.seen = len(self.requests())
        return self

    def requests(self):
        return self.api.get("/bigvm/v1/requests")["items"]

    def run(self, check_mode=False, **options):
        params = {name: option.get("default") for name, option in module.SPEC.items()}
        params.update(options)
        self.warnings, self.said, self.api.dry_run = [], [], check_mode
        try:
            return module.execute(Task(params, self.api, check_mode, self.said.append, self.warnings.append))
        finally:
            self.api.dry_run = False

    @property
    def hco(self):
        return hyperconverged.find(self.api)[0]

    @property
    def path(self):
        return hyperconverged.path_to(self.hco, self.version)

    @property
    def block(self):
        return settings.block_of(self.hco, self.version)

    @property
    def in_kubevirt(self):
        return hyperconverged.kubevirt_of(self.api, self.hco)["spec"]["configuration"]["migrations"]

    @property
    def outstanding(self):
        return settings.outstanding(self.hco, hyperconverged.kubevirt_of(self.api, self.hco), self.version)

    @property
    def held(self):
        return journal.load((self.hco["metadata"].get("annotations") or {}).get(journal.HELD_SETTINGS))

    def set_by_somebody(self, **values):
        self.api.patch(self.path, settings.nested(settings.written(values), self.version))

    def writes(self):
        """Requests that may have changed something, dry runs apart: ``(stored, dry)``."""
        rows = [row for row in self.requests()[self.seen:]
                if row["method"] not in ("GET", "HEAD") and not row["path"].startswith("/bigvm/")]
        dry = [row for row in rows if "dryRun=All" in str(row.get("query")) or "'dryRun'" in str(row.get("query"))]
        return [row for row in rows if row not in dry], dry


@pytest.fixture(scope="module")
def sites(shared):
    made = {}

    def site(release):
        if release not in made:
            made[release] = Site(shared(generation=release), release)
        return made[release].reset()

    return site


@pytest.fixture(params=["1.6", "1.9"])  # one for each API version; every release is below, in the test's own process
def site(request, sites):
    return sites(request.param)


@pytest.fixture
def newest(sites):
    return sites("1.9")


@pytest.fixture
def oldest(sites):
    return sites("1.6")


@pytest.fixture
def doomed(cluster):
    return Site(cluster(generation="1.9"), "1.9")


def test_only_what_is_given_changes_and_kubevirt_works_with_it(site):
    before = site.block
    result = site.run(completion_timeout_per_gib=800, guest_sizes=["3Ti"])
    assert result["changed"] and result["propagated"] is True
    assert result["api_version"] == "hco.kubevirt.io/" + site.version
    assert site.block == dict(before, completionTimeoutPerGiB=800)
    assert site.in_kubevirt["completionTimeoutPerGiB"] == 800
    assert site.outstanding is None and site.said  # it had to wait, and said what for
    assert result["before"]["completion_timeout_per_gib"] == before["completionTimeoutPerGiB"]
    assert result["after"]["completion_timeout_per_gib"] == 800
    assert result["diff"][0]["before"] == {"liveMigrationConfig": before}
    assert result["diff"][0]["after"] == {"liveMigrationConfig": site.block}
    assert result["budget"] == [{"guest": "3Ti", "bytes": 3 * 2 ** 40, "seconds": 800 * 3299}]


def test_the_second_run_is_unchanged_and_writes_nothing(site):
    options = dict(completion_timeout_per_gib=800, bandwidth_per_migration="1Gi", hold="run-1")
    assert site.run(**options)["changed"]
    stored, dry = site.writes()
    again = site.run(**options)
    assert not again["changed"] and "diff" not in again and again["propagated"] is True
    assert site.writes() == (stored, dry)


def test_reading_writes_nothing(site):
    result = site.run()
    assert not result["changed"] and result["before"] == result["after"] == settings.read(site.block)
    assert site.writes() == ([], [])


def test_check_mode_stores_nothing(site):
    before = site.hco
    result = site.run(check_mode=True, progress_timeout=300, hold="run-1")
    assert result["changed"] and result["after"]["progress_timeout"] == 300 and result["propagated"] is None
    assert result["held"]["before"] == {"progress_timeout": 150}
    assert result["diff"][0]["after"]["liveMigrationConfig"]["progressTimeout"] == 300
    stored, dry = site.writes()
    assert stored == [] and dry
    assert site.hco == before


def test_settings_and_hold_are_one_write(site):
    before = site.block
    result = site.run(
        completion_timeout_per_gib=800, bandwidth_per_migration="1Gi", hold="run-1", owner="basis@bastion", wait=False)
    stored, dry = site.writes()
    assert len(stored) == 1 and stored[0]["method"] == "PATCH"
    assert site.held == result["held"]
    assert site.held["run"] == "run-1" and site.held["owner"] == "basis@bastion"
    assert site.held["before"] == {"completion_timeout_per_gib": before["completionTimeoutPerGiB"], "bandwidth_per_migration": None}
    assert site.held["written"] == {"completion_timeout_per_gib": 800, "bandwidth_per_migration": "1Gi"}


def test_held_and_restored_is_as_before(site):
    before = site.block
    site.run(completion_timeout_per_gib=800, hold="run-1", wait=False)
    site.run(bandwidth_per_migration="1Gi", completion_timeout_per_gib=400, hold="run-1", wait=False)
    result = site.run(state="restored", hold="run-1")
    assert result["changed"] and result["held"] is None and result["left_alone"] == []
    assert site.block == before and site.held is None
    assert "bandwidthPerMigration" not in site.in_kubevirt
    again = site.run(state="restored", hold="run-1")
    assert not again["changed"] and "diff" not in again


def test_what_somebody_else_changed_is_left_alone_and_said(site):
    site.run(completion_timeout_per_gib=800, progress_timeout=300, hold="run-1", wait=False)
    site.set_by_somebody(progress_timeout=200)
    result = site.run(state="restored")
    assert result["left_alone"] == [{"field": "progress_timeout", "before": 150, "written": 300, "found": 200}]
    assert site.block["progressTimeout"] == 200 and site.held is None
    assert site.block["completionTimeoutPerGiB"] == result["after"]["completion_timeout_per_gib"] != 800
    assert any("progress_timeout is 200" in warning for warning in site.warnings)


def test_only_the_hold_itself_ends_when_all_is_somebody_elses(site):
    site.run(progress_timeout=300, hold="run-1", wait=False)
    site.set_by_somebody(progress_timeout=200)
    result = site.run(state="restored")
    assert result["changed"] and result["before"] == result["after"] and site.held is None
    assert journal.HELD_SETTINGS in result["diff"][0]["before"]


def test_the_hold_of_another_run_is_respected(site):
    site.run(progress_timeout=300, hold="run-1", wait=False)
    stored = site.writes()
    with pytest.raises(Refused, match="run-1"):
        site.run(progress_timeout=400, hold="run-2")
    assert not site.run(progress_timeout=300, hold="run-2", wait=False)["changed"]
    assert any("run-1" in warning for warning in site.warnings)
    other = site.run(state="restored", hold="run-2", wait=False)
    assert not other["changed"] and other["held"]["run"] == "run-1"
    assert site.writes() == stored


def test_bandwidth_and_network_are_set_and_cleared(site):
    assert not site.run(bandwidth_per_migration="0", network="")["changed"]
    assert site.run(bandwidth_per_migration="64Mi", wait=False)["after"]["bandwidth_per_migration"] == "64Mi"
    assert not site.run(bandwidth_per_migration="65536Ki", wait=False)["changed"]
    assert site.run(bandwidth_per_migration="0", wait=False)["changed"]
    assert "bandwidthPerMigration" not in site.block
    assert site.run(network="test-net", wait=False)["changed"]
    assert any("virt-handler restarts" in warning for warning in site.warnings)
    assert site.block["network"] == "test-net"
    assert site.run(network="", wait=False)["changed"]
    assert "network" not in site.block


def test_a_change_of_network_is_followed_through_the_rollout(site):
    assert site.run(network="test-net", wait_timeout=3600)["propagated"] is True
    assert site.in_kubevirt["network"] == "test-net" and site.outstanding is None
    assert any("Progressing" in line or "rolling out" in line or "observed" in line for line in site.said)


def test_disruption_is_refused_where_it_does_not_exist(oldest):
    for check_mode in (False, True):
        with pytest.raises(BadInput, match="allowWorkloadDisruption.*1.9"):
            oldest.run(check_mode=check_mode, allow_workload_disruption=False, progress_timeout=300)
    assert oldest.writes()[0] == [] and oldest.block["progressTimeout"] == 150


def test_disruption_where_it_exists_and_post_copy_alone_is_warned_about(newest):
    accepted = dict(acknowledge=["post_copy", "disruption"])
    assert newest.run(allow_post_copy=True, wait=False, **accepted)["changed"]
    assert any("never reached" in warning for warning in newest.warnings)
    assert newest.run(allow_post_copy=True, allow_workload_disruption=True, **accepted)["propagated"] is True
    assert newest.in_kubevirt["allowWorkloadDisruption"] is True and not newest.warnings


def test_a_hold_outlives_a_change_of_api_version(newest, monkeypatch):
    before = newest.block
    with monkeypatch.context() as patched:
        patched.setattr(settings, "preferred", lambda served: "v1beta1" if "v1beta1" in served else None)
        held = newest.run(completion_timeout_per_gib=800, hold="run-1", wait=False)
        assert held["api_version"] == held["held"]["api_version"] == "hco.kubevirt.io/v1beta1"
        assert not newest.run(completion_timeout_per_gib=800, hold="run-1")["changed"]
    assert newest.block == dict(before, completionTimeoutPerGiB=800)
    result = newest.run(state="restored")
    assert result["api_version"] == "hco.kubevirt.io/v1" and newest.block == before


# -- other writers ---------------------------------------------------------------


def race(site, monkeypatch, times, **values):
    """Somebody writes just before each of our stored patches."""
    patch, left = site.api.patch, [times]

    def late(path, body, **query):
        if left[0] and not query.get("dryRun"):
            left[0] -= 1
            patch(path, dict(settings.nested(settings.written(values), site.version),
                             metadata={"labels": dict(OURS, turn=str(left[0]))}))
        return patch(path, body, **query)

    monkeypatch.setattr(site.api, "patch", late)


def test_a_concurrent_writer_loses_nothing(site, monkeypatch):
    race(site, monkeypatch, 3, parallel_migrations_per_cluster=7, bandwidth_per_migration="2Gi")
    result = site.run(progress_timeout=300, bandwidth_per_migration="1Gi", hold="run-1")
    assert result["changed"] and result["before"]["parallel_migrations_per_cluster"] == 7
    assert (site.block["progressTimeout"], site.block["parallelMigrationsPerCluster"]) == (300, 7)
    assert site.block["bandwidthPerMigration"] == "1Gi"
    assert site.hco["metadata"]["labels"]["app.kubernetes.io/part-of"] == "somebody-else"
    assert site.held["before"]["bandwidth_per_migration"] == "2Gi"  # theirs, which is what restoring returns to
    assert 409 in [row["status"] for row in site.cluster.requests()[site.seen:]]


def test_a_writer_that_never_stops_is_an_error(newest, monkeypatch):
    race(newest, monkeypatch, 1000)
    with pytest.raises(Conflict, match="times in a row"):
        newest.run(progress_timeout=300, hold="run-1")
    assert newest.block["progressTimeout"] == 150 and newest.held is None


@pytest.mark.parametrize("answers, changes, looks", [
    ([None, "Progressing", None, None], True, 4),  # one good look may be the moment before the flap
    (["Degraded", "Degraded", None, None], True, 4),
    ([None, None, None], False, 1),  # nothing of ours on its way
])
def test_a_flap_is_ridden_out(newest, monkeypatch, answers, changes, looks):
    left = list(answers)
    monkeypatch.setattr(settings, "outstanding", lambda *state: left.pop(0))
    assert newest.run(progress_timeout=300 if changes else 150)["propagated"] is True
    assert len(answers) - len(left) == looks


def test_what_does_not_arrive_in_time_fails_and_says_what_is_missing(newest):
    with pytest.raises(LiveMigrationError) as caught:
        newest.run(progress_timeout=300, wait_timeout=0)
    assert "not in force after 0 s" in str(caught.value)
    assert caught.value.details["changed"] is True and caught.value.details["propagated"] is False
    assert newest.run(progress_timeout=300)["propagated"] is True


# -- presets, defaults, and what speaks against writing ---------------------------


@pytest.fixture(params=sorted(GENERATIONS))
def anywhere(request, near):
    return Site(near(topology="tiny", generation=request.param), request.param).reset()


@pytest.fixture
def small(near):
    return Site(near(topology="tiny"), "1.9").reset()


def test_the_preset_fills_what_is_not_given(anywhere):
    result = anywhere.run(preset="heavy_workload", progress_timeout=400, bandwidth_per_migration="2Gi")
    assert result["propagated"] is True
    wanted = {"parallelMigrationsPerCluster": 5, "parallelOutboundMigrationsPerNode": 1, "completionTimeoutPerGiB": 150,
              "progressTimeout": 400, "bandwidthPerMigration": "2Gi", "allowPostCopy": False}
    assert {key: anywhere.in_kubevirt[key] for key in wanted} == wanted
    assert not anywhere.run(preset="heavy_workload", progress_timeout=400, bandwidth_per_migration="2Gi")["changed"]
    anywhere.run(preset="heavy_workload")
    assert "bandwidthPerMigration" not in anywhere.block


def test_reset_is_what_this_release_installs(anywhere):
    anywhere.run(preset="heavy_workload", bandwidth_per_migration="1Gi", allow_auto_converge=True, wait=False)
    stored, dry = anywhere.writes()
    assert anywhere.run(check_mode=True, state="reset", fields=["bandwidth_per_migration"])["changed"]
    assert anywhere.writes()[0] == stored
    assert anywhere.run(state="reset", fields=["bandwidth_per_migration"])["after"]["bandwidth_per_migration"] is None
    assert anywhere.block["allowAutoConverge"] is True
    result = anywhere.run(state="reset")
    assert result["after"] == settings.defaults(anywhere.release)
    stored, dry = anywhere.writes()
    assert not anywhere.run(state="reset")["changed"] and anywhere.writes()[0] == stored


def test_check_mode_and_second_run_in_every_release(anywhere):
    before = anywhere.block
    assert anywhere.run(check_mode=True, progress_timeout=300)["changed"]
    assert anywhere.writes()[0] == [] and anywhere.block == before
    assert anywhere.run(progress_timeout=300)["propagated"] is True
    stored, dry = anywhere.writes()
    assert not anywhere.run(progress_timeout=300)["changed"] and anywhere.writes() == (stored, dry)
    assert anywhere.run(hold="r", completion_timeout_per_gib=77, wait=False)["changed"]
    assert anywhere.run(state="restored")["changed"] and not anywhere.run(state="restored")["changed"]
    assert anywhere.block == dict(before, progressTimeout=300)


def test_a_new_network_is_proven_on_every_virt_handler(anywhere):
    result = anywhere.run(network="test-net", wait_timeout=3600)
    assert result["propagated"] is True
    assert result["rolled"] == [{"kind": "DaemonSet", "name": "virt-handler", "nodes": 2, "updated": 2, "ready": 2}]
    assert anywhere.run(network="test-net")["rolled"] == []
    assert anywhere.run(progress_timeout=300)["rolled"] == []
    for pod in hyperconverged.handlers(anywhere.api, anywhere.hco)[1]:
        assert "migration0" in pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"]


@pytest.mark.parametrize("nad, says", [
    (None, "There is no NetworkAttachmentDefinition other-net in namespace openshift-cnv"),
    (attachment("other-net", ipam={"type": "whereabouts", "range": "10.1.1.0/31"}), "has 0 addresses, and 2 virt-handler"),
    (attachment("other-net", ipam={}), "no ipam block"),
    (attachment("other-net", ipam={"type": "static"}), "same addresses on every node"),
    (attachment("other-net", kind="ovn-k8s-cni-overlay"), "has no subnets"),
])
def test_an_attachment_that_cannot_carry_migrations_is_refused(small, nad, says):
    if nad:
        small.api.create(path_of("k8s.cni.cncf.io/v1", "network-attachment-definitions", "openshift-cnv"), nad)
    small.seen = len(small.requests())
    with pytest.raises((BadInput, Refused), match=says):
        small.run(network="other-net")
    assert small.writes() == ([], [])


def test_an_attachment_elsewhere_is_named(small):
    small.api.create(path_of("k8s.cni.cncf.io/v1", "network-attachment-definitions", "default"), attachment("elsewhere"))
    with pytest.raises(BadInput, match="but there is one in default"):
        small.run(network="elsewhere")
    with pytest.raises(BadInput, match="its own namespace openshift-cnv"):
        small.run(network="default/elsewhere")
    assert small.block.get("network") is None


def test_the_network_waits_for_migrations_and_five_minutes(small):
    steps = Steps(small.cluster)
    name = steps.migrate("vm-1")
    steps.cluster.wait(3)
    with pytest.raises(Refused, match=r"under way \(default/vm-1\).*wait_for_idle"):
        small.run(network="test-net")
    steps.until_phase(name, "Succeeded")
    with pytest.raises(Refused, match="vm-1 ended .* ago, and 5 min must pass"):
        small.run(network="test-net")
    with pytest.raises(Refused, match="cannot be changed now"):
        small.run(network="test-net", wait_for_idle=True, idle_timeout=60)
    assert small.block.get("network") is None
    would = small.run(check_mode=True, network="test-net", wait_for_idle=True)
    assert would["changed"] and any("would wait" in warning for warning in small.warnings)
    begin = small.api.clock.now()
    assert small.run(network="test-net", wait_for_idle=True, wait_timeout=3600)["propagated"] is True
    assert small.api.clock.now() - begin > 200 and any("network: waiting" in line for line in small.said)


def test_other_settings_do_not_wait_for_migrations(small):
    Steps(small.cluster).migrate("vm-1")
    assert small.run(progress_timeout=300, wait=False)["changed"]


def test_post_copy_for_a_huge_guest_is_refused_unless_accepted_or_kept_from_it(newest):
    with pytest.raises(Refused, match="sap-prod/hana-prod.*acknowledge.*post_copy"):
        newest.run(allow_post_copy=True, allow_workload_disruption=True)
    with pytest.raises(Refused, match="allow_workload_disruption the guests"):
        newest.run(allow_workload_disruption=True)
    assert newest.writes() == ([], [])
    policies = path_of("migrations.kubevirt.io/v1alpha1", "migrationpolicies")
    newest.api.create(policies, {
        "apiVersion": "migrations.kubevirt.io/v1alpha1", "kind": "MigrationPolicy", "metadata": {"name": "safe"},
        "spec": {"selectors": {"virtualMachineInstanceSelector": {"app": "sap-hana"}}, "allowPostCopy": False}})
    assert newest.run(allow_post_copy=True, allow_workload_disruption=True, wait=False)["changed"]
    newest.api.delete(policies + "/safe")
    newest.reset()
    assert newest.run(allow_workload_disruption=True, acknowledge=["disruption"], wait=False)["changed"]


def test_an_object_kept_by_a_repository_is_not_fought_over(small):
    small.api.patch(small.path, {"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": "virt:x/y:a/b"}}})
    with pytest.raises(Refused, match=r"Argo CD \(virt\).*acknowledge: \[gitops\]"):
        small.run(progress_timeout=300)
    assert not small.run(progress_timeout=150)["changed"]  # nothing to write, nothing to refuse
    assert small.run(progress_timeout=300, hold="r", acknowledge=["gitops"], wait=False)["changed"]
    assert small.run(state="restored", wait=False)["changed"]  # what was there is theirs again


def test_nothing_is_configured_during_an_upgrade_but_a_hold_is_put_back(small):
    small.run(progress_timeout=300, hold="r", wait=False)
    found = hyperconverged.kubevirt_of(small.api, small.hco)
    path = path_of("kubevirt.io/v1", "kubevirts", "openshift-cnv", found["metadata"]["name"])
    small.api.patch(path + "/status", {"status": {"targetKubeVirtVersion": "v1.99.0"}})
    small.seen = len(small.requests())
    with pytest.raises(Refused, match="being updated from v1.9.0 to v1.99.0"):
        small.run(progress_timeout=400)
    assert small.writes() == ([], [])
    assert small.run(state="restored", wait=False)["changed"] and any("put back although" in text for text in small.warnings)


# -- bad input -------------------------------------------------------------------


@pytest.mark.parametrize("options, says", [
    (dict(parallel_migrations_per_cluster=0), "no migration would ever start"),
    (dict(parallel_outbound_migrations_per_node=-2), "no migration would ever start"),
    (dict(completion_timeout_per_gib=-1), "seconds"),
    (dict(bandwidth_per_migration="64MB"), "64MB"),
    (dict(bandwidth_per_migration="-1Gi"), "quantity"),
    (dict(network="Not A Name"), "NetworkAttachmentDefinition"),
    (dict(guest_sizes=["big"]), "guest_sizes"),
    (dict(hold="run-1", network="nad"), "network was given with hold"),
    (dict(hold=" ", progress_timeout=10), "hold is empty"),
    (dict(state="restored", progress_timeout=10), "restored"),
    (dict(state="reset", progress_timeout=10), "state reset takes no values"),
    (dict(state="reset", hold="r"), "hold is not for state reset"),
    (dict(state="restored", preset="heavy_workload"), "preset is for state present"),
    (dict(fields=["network"]), "fields is for state reset"),
    (dict(completion_timeout_per_gib=100000), "more than a day for each gigabyte"),
    (dict(bandwidth_per_migration="64"), "is a unit missing"),
])
def test_bad_options_are_named_and_nothing_is_written(newest, options, says):
    with pytest.raises(BadInput, match=says):
        newest.run(**options)
    assert newest.writes() == ([], [])


def test_two_of_them(doomed):
    body = {"apiVersion": "hco.kubevirt.io/v1", "kind": "HyperConverged", "metadata": {"name": "second"}}
    doomed.api.create(doomed.path.rpartition("/")[0], body)
    with pytest.raises(BadInput, match="2 HyperConverged objects.*/second"):
        doomed.run(progress_timeout=300)


def test_none_and_one_on_its_way_out(doomed):
    path = doomed.path
    doomed.api.patch(path, {"metadata": {"finalizers": ["example.com/hold"]}})
    doomed.api.delete(path)
    with pytest.raises(Refused, match="being deleted"):
        doomed.run(progress_timeout=300)
    doomed.api.patch(path, {"metadata": {"finalizers": None}})
    with pytest.raises(BadInput, match="no HyperConverged"):
        doomed.run(progress_timeout=300)


def test_a_cluster_without_hyperconverged(site):
    site.cluster.fault(status=404, times=1, match="GET /apis/hco.kubevirt.io")
    with pytest.raises(BadInput, match="no HyperConverged"):
        site.run(progress_timeout=300)
    site.cluster.fault(status=404, times=1, match="GET /apis/hco.kubevirt.io")
    assert site.run(state="restored")["changed"] is False, "KubeVirt alone: nothing was ever held"


def test_a_hold_that_cannot_be_read_is_not_guessed_at(site):
    site.api.patch(site.path, {"metadata": {"annotations": {journal.HELD_SETTINGS: "{"}}})
    for options in (dict(progress_timeout=300, hold="run-1"), dict(state="restored")):
        with pytest.raises(Refused, match="cannot be read"):
            site.run(**options)
    assert site.block["progressTimeout"] == 150


# -- through Ansible ---------------------------------------------------------------


def ansible(site, options, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", "bigvm.live_migration.hco_live_migration_config",
         "-a", json.dumps(dict(site.cluster.connection, **options)), "-e", "ansible_python_interpreter=" + sys.executable,
         *arguments],
        env=dict(os.environ, ANSIBLE_LOAD_CALLBACK_PLUGINS="1", ANSIBLE_STDOUT_CALLBACK="ansible.builtin.json"),
        capture_output=True, text=True, timeout=60, check=False)
    text = done.stdout[done.stdout.find("{"):]  # lines about the wait come before it
    assert text.startswith("{"), done.stdout + done.stderr
    return json.loads(text)["plays"][0]["tasks"][0]["hosts"]["localhost"]


@pytest.mark.long
def test_as_a_task_in_check_mode_and_for_real(site):
    would = ansible(site, {"progress_timeout": 300, "bandwidth_per_migration": "0"}, "--check")
    assert would["changed"] is True and site.block["progressTimeout"] == 150
    assert ansible(site, {"progress_timeout": 300})["propagated"] is True
    assert site.block["progressTimeout"] == 300
    bad = ansible(site, {"parallel_migrations_per_cluster": 0})
    assert bad["failed"] is True and "no migration would ever start" in bad["msg"] and "Traceback" not in json.dumps(bad)
