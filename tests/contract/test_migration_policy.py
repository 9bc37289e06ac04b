# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""migration_policy on the embedded cluster: which policy wins, holds for single VMs, and what is put back."""

from __future__ import annotations

import json

import pytest
from kubevirt_steps import Steps

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import Task
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput, Refused
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import policy_hold
from ansible_collections.bigvm.live_migration.plugins.modules import migration_policy as module
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.generations import GENERATIONS

POLICIES = path_of("migrations.kubevirt.io/v1alpha1", "migrationpolicies")
VMIS = path_of("kubevirt.io/v1", "virtualmachineinstances", "default")
ONE = [{"namespace": "default", "name": "vm-1"}]
BOTH = ONE + [{"namespace": "default", "name": "vm-2"}]


class Policies:
    """A cluster and the module on it."""

    def __init__(self, cluster, release="1.9"):
        self.cluster, self.api, self.release, self.warnings = cluster, cluster.api, release, []
        self.seen = len(self._rows())

    def run(self, check_mode=False, **options):
        params = {name: option.get("default") for name, option in module.SPEC.items()}
        params.update(options)
        self.warnings, self.api.dry_run = [], check_mode
        try:
            return module.execute(Task(params, self.api, check_mode, warn=self.warnings.append))
        finally:
            self.api.dry_run = False

    def hold(self, vms=None, run="r1", **settings):
        return self.run(state="held", run=run, owner="basis@bastion", vms=ONE if vms is None else vms, settings=settings)

    def restore(self, run="r1"):
        return self.run(state="restored", run=run)

    def site(self, name, vmi=None, namespace=None, **spec):
        """A policy that was there before us."""
        selectors = {"virtualMachineInstanceSelector": vmi or {}, "namespaceSelector": namespace or {}}
        self.api.create(POLICIES, {
            "apiVersion": "migrations.kubevirt.io/v1alpha1", "kind": "MigrationPolicy", "metadata": {"name": name},
            "spec": dict(spec, selectors=selectors)})
        self.count()

    def label(self, name, **labels):
        self.api.patch(VMIS + "/" + name, {"metadata": {"labels": {k.replace("__", "/"): v for k, v in labels.items()}}})
        self.count()

    def mark(self, name="vm-1"):
        return (self.api.get(VMIS + "/" + name)["metadata"].get("labels") or {}).get(policy_hold.HOLD_LABEL)

    def mark_by_hand(self, value, name="vm-1"):
        self.api.patch(VMIS + "/" + name, {"metadata": {"labels": {policy_hold.HOLD_LABEL: value}}})

    @property
    def there(self):
        return {obj["metadata"]["name"]: obj for obj in self.api.list(POLICIES).items}

    def _rows(self):
        rows = self.api.get("/bigvm/v1/requests")["items"]
        return [row for row in rows if row["method"] not in ("GET", "HEAD") and not row["path"].startswith("/bigvm/")]

    def stored(self):
        """Writes since the beginning, without dry runs."""
        return [row for row in self._rows()[self.seen:] if "dryRun" not in str(row.get("query"))]

    def count(self):
        self.seen = len(self._rows())


@pytest.fixture(params=sorted(GENERATIONS))
def anywhere(request, near):
    return Policies(near(topology="tiny", generation=request.param), request.param)


@pytest.fixture
def here(near):
    return Policies(near(topology="tiny"))


def two_sites(policies):
    """Two policies of the site match vm-1, one of them vm-2 as well, and the cluster allows post-copy."""
    policies.label("vm-1", app="db", tier="prod")
    policies.label("vm-2", app="db")
    policies.site("site-app", vmi={"app": "db"}, bandwidthPerMigration="64Mi", allowPostCopy=True)
    policies.site("site-tier", vmi={"app": "db", "tier": "prod"}, completionTimeoutPerGiB=77, allowAutoConverge=True)


# -- the hold ------------------------------------------------------------------------


def test_the_hold_wins_for_exactly_the_vm_meant_with_exactly_the_fields_meant(anywhere):
    steps = Steps(anywhere.cluster)
    steps.configure(allowPostCopy=True, bandwidthPerMigration="32Mi")
    two_sites(anywhere)
    result = anywhere.hold(bandwidth_per_migration="0")
    held = result["vms"][0]
    assert result["changed"] and (held["policy"], held["displaced"]) == ("bigvm-r1-1", "site-tier")
    wanted = {"allowAutoConverge": True, "allowPostCopy": False, "bandwidthPerMigration": "0",
              "completionTimeoutPerGiB": 77, "allowWorkloadDisruption": False}
    if anywhere.release == "1.3":
        del wanted["allowWorkloadDisruption"]  # which it does not know
    assert held["configuration"] == wanted
    for name in ("vm-1", "vm-2"):
        steps.until_phase(steps.migrate(name), "Succeeded")
    state = steps.state("vm-1")
    assert state["migrationPolicyName"] == "bigvm-r1-1"
    assert {key: state["migrationConfiguration"][key] for key in wanted} == wanted
    other = steps.state("vm-2")
    assert other["migrationPolicyName"] == "site-app" and other["migrationConfiguration"]["allowPostCopy"] is True


def test_held_again_is_unchanged_and_restored_is_as_before(anywhere):
    two_sites(anywhere)
    before = {name: obj["spec"] for name, obj in anywhere.there.items()}
    labels = anywhere.api.get(VMIS + "/vm-1")["metadata"]["labels"]
    anywhere.hold(BOTH, completion_timeout_per_gib=800)
    assert len(anywhere.there) == 4  # the two VMs are under different policies
    anywhere.count()
    again = anywhere.hold(BOTH, completion_timeout_per_gib=800)
    assert not again["changed"] and "diff" not in again and anywhere.stored() == []
    assert anywhere.restore()["changed"]
    assert {name: obj["spec"] for name, obj in anywhere.there.items()} == before
    assert anywhere.api.get(VMIS + "/vm-1")["metadata"]["labels"] == labels
    anywhere.count()
    assert not anywhere.restore()["changed"] and not anywhere.restore(None)["changed"] and anywhere.stored() == []


def test_check_mode_of_a_hold_stores_nothing(anywhere):
    would = anywhere.run(True, state="held", run="r1", vms=BOTH, settings={"bandwidth_per_migration": "0"})
    assert would["changed"] and len(would["diff"]) == 3 and anywhere.stored() == []
    assert anywhere.there == {} and anywhere.mark() is None
    anywhere.hold(BOTH)
    anywhere.count()
    would = anywhere.run(True, state="restored", run="r1")
    assert would["changed"] and would["removed"] == ["bigvm-r1-1"] and anywhere.stored() == []
    assert anywhere.mark() == "r1-1"


def test_vms_under_the_same_policy_share_one_hold_and_requests_stay_few(here):
    requests = here.api.requests
    here.hold(BOTH)
    spent = here.api.requests - requests
    assert spent == 3 + 2 + 2 + 3 + 1  # read, create (tried and done), two labels, proof, the clock
    assert list(here.there) == ["bigvm-r1-1"] and here.mark("vm-1") == here.mark("vm-2") == "r1-1"
    record = policy_hold.record_of(here.there["bigvm-r1-1"])
    assert (record["run"], record["owner"], record["displaced"]) == ("r1", "basis@bastion", None)
    assert here.there["bigvm-r1-1"]["metadata"]["labels"]["live-migration.bigvm.io/run"] == "r1"


def test_settings_changed_within_a_run_replace_the_hold(here):
    here.hold(BOTH, completion_timeout_per_gib=100)
    result = here.hold(ONE, completion_timeout_per_gib=200)
    assert (here.mark("vm-1"), here.mark("vm-2"), result["removed"]) == ("r1-2", "r1-1", [])
    result = here.hold(BOTH, completion_timeout_per_gib=200)
    assert here.mark("vm-2") == "r1-2" and result["removed"] == ["bigvm-r1-1"] and list(here.there) == ["bigvm-r1-2"]


@pytest.mark.parametrize("failing", ["POST .*migrationpolicies", "PATCH .*vm-2"])
@pytest.mark.parametrize("finish", [True, False])
def test_an_interrupted_hold_is_finished_or_undone_by_the_next_call(near, failing, finish):
    cut = Policies(near(topology="tiny"))
    cut.site("site", namespace={"kubernetes.io/metadata.name": "default"})
    cut.api.create("/bigvm/v1/faults", {"status": 403, "times": 1, "match": failing})
    with pytest.raises(Exception, match="made to fail"):
        cut.hold(BOTH)
    if finish:
        assert cut.hold(BOTH)["changed"] and cut.mark("vm-1") == cut.mark("vm-2") == "r1-1"
    else:
        cut.restore()
        assert list(cut.there) == ["site"] and cut.mark("vm-1") is None and cut.mark("vm-2") is None
    assert len(cut.there) == (2 if finish else 1)


def test_a_restore_cut_short_is_finished_by_the_next(here):
    here.hold(BOTH)
    here.api.create("/bigvm/v1/faults", {"status": 403, "times": 1, "match": "DELETE .*migrationpolicies"})
    with pytest.raises(Exception, match="made to fail"):
        here.restore()
    assert here.mark() is None and here.restore()["removed"] == ["bigvm-r1-1"] and here.there == {}


def test_another_runs_hold_is_not_taken(here):
    here.hold(ONE)
    here.count()
    with pytest.raises(Refused, match=r"vm-1 is held by run r1 already.*restored"):
        here.hold(BOTH, run="r2")
    assert here.stored() == [] and not here.restore("r2")["changed"] and here.mark() == "r1-1"
    assert here.restore(None)["changed"] and here.mark() is None


def test_a_label_without_its_policy_is_no_hold(here):
    here.mark_by_hand("dead-run-1")
    assert here.hold(ONE)["changed"] and here.mark() == "r1-1"
    assert any("dead-run-1" in warning for warning in here.warnings)
    here.restore()
    here.mark_by_hand("r9-4")
    assert not here.restore("r1")["changed"] and here.restore("r9")["changed"] and here.mark() is None


def test_what_somebody_changed_is_left_alone_and_said_by_the_restore(here):
    here.hold(ONE, completion_timeout_per_gib=100)
    here.api.patch(POLICIES + "/bigvm-r1-1", {"spec": {"completionTimeoutPerGiB": 300}})
    result = here.restore()
    assert result["left_alone"] == [{"object": "MigrationPolicy bigvm-r1-1", "what": ["completionTimeoutPerGiB"]}]
    assert here.there["bigvm-r1-1"]["spec"]["completionTimeoutPerGiB"] == 300 and here.mark() is None
    assert any("left alone" in warning for warning in here.warnings) and any("left alone" in line for line in result["lines"])
    assert not here.restore()["changed"]


def test_a_hold_that_somebody_changed_is_not_used_again(here):
    here.hold(ONE)
    here.api.patch(POLICIES + "/bigvm-r1-1", {"spec": {"allowPostCopy": True}})
    result = here.hold(ONE)
    assert result["vms"][0]["policy"] == here.mark().join(["bigvm-", ""]) == "bigvm-r1-2"
    assert "bigvm-r1-1" in here.there and any("allowPostCopy" in warning for warning in here.warnings)


def test_a_label_that_somebody_changed_stays(here):
    here.hold(BOTH)
    here.mark_by_hand("something-else")
    here.restore()
    assert here.mark("vm-1") == "something-else" and here.mark("vm-2") is None and here.there == {}


def test_a_policy_that_overtakes_the_hold_is_repeated_in_turn(here, monkeypatch):
    create = here.api.create
    here.label("vm-1", app="db", tier="prod")

    def late(path, body, **query):
        answer = create(path, body, **query)
        if path == POLICIES and not query and body["metadata"]["name"] == "bigvm-r1-1":
            here.site("overtaker", vmi={"app": "db", "tier": "prod"}, allowPostCopy=True)
        return answer

    monkeypatch.setattr(here.api, "create", late)
    result = here.hold(ONE)
    assert result["vms"][0]["displaced"] == "overtaker" and result["vms"][0]["policy"] == "bigvm-r1-2"
    assert here.mark() == "r1-2" and result["removed"] == ["bigvm-r1-1"]


def test_a_hold_that_never_wins_is_refused_and_can_be_put_back(here, monkeypatch):
    monkeypatch.setattr(policy_hold, "losers", lambda *state: ["VM default/vm-1 would run under other"])
    with pytest.raises(Refused, match="does not win.*Nothing was changed"):
        here.hold(ONE)
    assert here.stored() == []


def test_a_hold_for_nobody_writes_nothing(here):
    assert here.hold([]) == {"changed": False, "vms": [], "removed": [], "lines": []}


def test_other_fields_of_the_displaced_policy_stay(here):
    here.site("site", maxDowntimeMs=700)
    here.hold(ONE)
    assert here.there["bigvm-r1-1"]["spec"]["maxDowntimeMs"] == 700


def test_a_policy_by_node_is_told_to_change_with_the_move(here):
    here.site("by-node", vmi={"kubevirt.io/nodeName": "node-a"})
    here.hold(ONE)
    assert any("hold again" in warning for warning in here.warnings)


@pytest.mark.parametrize("options, says", [
    (dict(vms=[{"namespace": "default", "name": "nobody"}]), "default/nobody is not running"),
    (dict(vms=[{"namespace": "default", "name": "vm-1", "uid": "other"}]), "was restarted meanwhile"),
    (dict(settings={"progress_timeout": 300}), "no field of a MigrationPolicy"),
    (dict(settings={"network": "nad"}), "no field of a MigrationPolicy"),
    (dict(settings={"bandwidth_per_migration": "64MB"}), "64MB"),
    (dict(settings={"completion_timeout_per_gib": -1}), "seconds"),
    (dict(run="not a run"), "id of a run"),
    (dict(run=None), "id of a run"),
    (dict(vms=None), "vms is missing"),
])
def test_a_hold_that_cannot_be_meant_writes_nothing(here, options, says):
    with pytest.raises((BadInput, Refused), match=says):
        here.run(**dict(dict(state="held", run="r1", vms=ONE, settings={}), **options))
    assert here.stored() == []


# -- policies for good -----------------------------------------------------------------


def test_a_policy_is_made_changed_and_deleted(anywhere):
    anywhere.label("vm-1", app="db")
    options = dict(name="db", vmi_selector={"app": "db"}, completion_timeout_per_gib=150, bandwidth_per_migration="1Gi")
    would = anywhere.run(True, **options)
    assert would["changed"] and anywhere.stored() == [] and would["policy"]["spec"]["bandwidthPerMigration"] == "1Gi"
    made = anywhere.run(expect_matches=1, **options)
    assert made["changed"] and made["matches"] == [{"namespace": "default", "name": "vm-1", "wins": True}]
    anywhere.count()
    assert not anywhere.run(**options)["changed"] and anywhere.stored() == []
    changed = anywhere.run(name="db", completion_timeout_per_gib=200, unset=["bandwidth_per_migration"],
                           vmi_selector={"tier": "prod"})
    assert changed["policy"]["spec"] == {"completionTimeoutPerGiB": 200, "selectors": {
        "virtualMachineInstanceSelector": {"tier": "prod"}}}
    assert anywhere.run(True, state="absent", name="db")["changed"] and "db" in anywhere.there
    assert anywhere.run(state="absent", name="db")["changed"] and anywhere.there == {}
    assert not anywhere.run(state="absent", name="db")["changed"]


def test_more_vms_than_expected_are_refused(here):
    with pytest.raises(Refused, match="would match 2 running VMs, expected are 1.*vm-1.*vm-2"):
        here.run(name="all", vmi_selector={}, expect_matches=1, allow_auto_converge=True)
    assert here.stored() == []
    assert here.run(name="all", vmi_selector={}, expect_matches=2, allow_auto_converge=True)["changed"]


@pytest.mark.parametrize("options, says", [
    (dict(name="x"), "no selector"),
    (dict(name="Not A Name", vmi_selector={}), "lower case"),
    (dict(name="x", vmi_selector={"a b": "c"}), "no label key"),
    (dict(name="x", vmi_selector={"a": "no spaces"}), "no label value"),
    (dict(name="x", vmi_selector={"a": True}), "takes a string"),
    (dict(name="x", vmi_selector={}, bandwidth_per_migration="fast"), "'fast'"),
    (dict(name="x", vmi_selector={}, allow_post_copy=True, unset=["allow_post_copy"]), "unset at once"),
    (dict(state="absent"), "needs the name"),
])
def test_a_policy_that_cannot_be_meant_writes_nothing(here, options, says):
    with pytest.raises(BadInput, match=says):
        here.run(**options)
    assert here.stored() == []


def test_a_policy_of_a_repository_or_of_a_run_is_not_touched(here):
    here.site("theirs")
    here.api.patch(POLICIES + "/theirs", {"metadata": {"annotations": {
        "argocd.argoproj.io/tracking-id": "virt:migrations.kubevirt.io/MigrationPolicy:/theirs"}}})
    here.hold(ONE)
    here.count()
    for options in (dict(name="theirs", allow_post_copy=True), dict(name="theirs", state="absent")):
        with pytest.raises(Refused, match=r"Argo CD \(virt\).*acknowledge"):
            here.run(**options)
    for options in (dict(name="bigvm-r1-1", allow_post_copy=True), dict(name="bigvm-r1-1", state="absent")):
        with pytest.raises(Refused, match="a hold of run r1"):
            here.run(**options)
    assert here.stored() == []
    assert here.run(name="theirs", allow_auto_converge=True, acknowledge=["gitops"])["changed"]


def test_reading_tells_which_policy_applies_and_why(here):
    two_sites(here)
    here.hold([{"namespace": "default", "name": "vm-2"}])
    found = here.run(state="read", vms=BOTH)
    one, two = found["vms"]
    assert (one["policy"], one["candidates"]) == ("site-tier", ["site-tier", "site-app"])
    assert one["why"] == "2 matching labels, site-app has 1" and one["settings"]["completion_timeout_per_gib"] == 77
    assert two["policy"] == "bigvm-r1-1" and two["settings"]["allow_post_copy"] is False
    rows = {row["name"]: row for row in here.run(state="read")["policies"]}
    assert (rows["site-app"]["matches"], rows["site-app"]["wins"], rows["site-app"]["hold"]) == (2, 0, None)
    assert rows["bigvm-r1-1"]["hold"]["run"] == "r1" and rows["bigvm-r1-1"]["hold"]["displaced"] == "site-app"


def test_namespaces_that_cannot_be_read_are_said(here):
    here.site("by-namespace", namespace={"env": "prod"})
    here.api.create("/bigvm/v1/faults", {"status": 403, "times": 9, "match": "GET /api/v1/namespaces"})
    with pytest.raises(Refused, match="by-namespace selects by labels of the namespace, which cannot be read"):
        here.hold(ONE)
    assert "cannot be told" in here.run(state="read", vms=ONE)["vms"][0]["why"]
    with pytest.raises(Refused, match="cannot be told"):
        here.run(name="new", namespace_selector={"env": "x"}, expect_matches=3)
    assert here.stored() == []


def test_lines_are_for_people(here):
    two_sites(here)
    lines = here.hold(BOTH, bandwidth_per_migration="0")["lines"] + here.restore()["lines"]
    assert max(map(len, lines)) <= 80 and "  default/vm-1 instead of policy site-tier" in lines
    assert any("no cap" in line for line in lines) and "label removed from 2 VMs" in lines
    assert "Traceback" not in json.dumps(lines)
