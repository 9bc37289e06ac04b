# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""node_hold on the embedded cluster: cordon and journal in one write, taken over by later runs, given back as found."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import Task
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput, Conflict, Refused
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import journal
from ansible_collections.bigvm.live_migration.plugins.modules import node_hold as module

LEASES = path_of("coordination.k8s.io/v1", "leases", "openshift-cnv")
VM = {"namespace": "sap", "name": "hana-a", "uid": "6f0c0f0a-2f7e-4d3b-9a52-0d3f4ab1c001"}


class Site:
    """A cluster, and one of its nodes."""

    def __init__(self, cluster):
        self.cluster, self.api, self.warnings, self.seen = cluster, cluster.api, [], 0
        self.names = sorted(node["metadata"]["name"] for node in self.api.list(path_of("v1", "nodes")).items)
        self.name = self.names[0]

    def reset(self):
        for name in self.names:
            self.api.patch(path_of("v1", "nodes", name=name), {
                "metadata": {"annotations": {journal.MAINTENANCE: None, "somebody/else": None}, "labels": {"somebody": None}},
                "spec": {"unschedulable": None}})
        for item in self.leases():
            self.api.delete(LEASES + "/" + item["metadata"]["name"])
        self.seen = len(self.cluster.requests())
        return self

    def leases(self):
        return self.api.list(LEASES).items

    @property
    def progress(self):
        """What the role wrote; the snapshot of the node apart."""
        return {key: value for key, value in self.journal["progress"].items() if key != "node_before"}

    def run(self, check_mode=False, **options):
        params = {name: option.get("default") for name, option in module.SPEC.items()}
        params.update({"name": self.name}, **options)
        self.warnings, self.api.dry_run = [], check_mode
        try:
            return module.execute(Task(params, self.api, check_mode, warn=self.warnings.append))
        finally:
            self.api.dry_run = False

    @property
    def node(self):
        return self.api.get(path_of("v1", "nodes", name=self.name))

    @property
    def cordoned(self):
        return bool(self.node["spec"].get("unschedulable"))

    @property
    def journal(self):
        return journal.load((self.node["metadata"].get("annotations") or {}).get(journal.MAINTENANCE))

    def cordon_by_somebody(self, cordoned=True):
        self.api.patch(path_of("v1", "nodes", name=self.name), {"spec": {"unschedulable": cordoned or None}})

    def writes(self):
        rows = [row for row in self.cluster.requests()[self.seen:]
                if row["method"] not in ("GET", "HEAD") and not row["path"].startswith("/bigvm/") and "/leases" not in row["path"]]
        dry = [row for row in rows if "dryRun" in str(row.get("query"))]
        return [row for row in rows if row not in dry], dry


@pytest.fixture(scope="module")
def sites(shared):
    made = {}

    def site(release):
        if release not in made:
            made[release] = Site(shared(generation=release))
        return made[release].reset()

    return site


@pytest.fixture(params=["1.6", "1.9"])
def site(request, sites):
    return sites(request.param)


@pytest.fixture
def newest(sites):
    return sites("1.9")


def test_held_and_released_is_as_before(site):
    spec = site.node["spec"]
    held = site.run(run="run-1", vms=[VM], phase="hold")
    assert held["changed"] and held["cordoned"] and not held["adopted"] and held["found"] is None
    assert site.cordoned and site.journal == held["journal"]
    assert held["journal"]["cordoned_before"] is False and held["journal"]["vms"] == [VM]
    stored, dry = site.writes()
    assert len(stored) == 1 and stored[0]["method"] == "PATCH"
    released = site.run(run="run-1", state="released")
    assert released["changed"] and released["released"] and released["uncordoned"] and not released["cordoned"]
    assert released["journal"]["vms"] == [VM]
    assert not site.cordoned and site.journal is None
    assert {key: value for key, value in site.node["spec"].items() if key != "taints"} == {
        key: value for key, value in spec.items() if key != "taints"}


def test_the_second_run_is_unchanged(site):
    site.run(run="run-1", vms=[VM], progress={"wave": 1})
    stored = site.writes()
    again = site.run(run="run-1", vms=[VM], progress={"wave": 1})
    assert not again["changed"] and "diff" not in again and again["adopted"]
    assert site.writes() == stored
    site.run(run="run-1", state="released")
    stored = site.writes()
    assert not site.run(run="run-1", state="released")["changed"]
    assert site.writes() == stored


def test_check_mode_stores_nothing(site):
    before = site.node
    would = site.run(check_mode=True, run="run-1", vms=[VM])
    assert would["changed"] and would["cordoned"] and would["diff"][0]["after"]["unschedulable"] is True
    assert site.node == before
    site.run(run="run-1")
    held = site.node
    assert site.run(check_mode=True, state="released")["uncordoned"] is True
    assert site.node == held
    stored, dry = site.writes()
    assert len(stored) == 1 and len(dry) == 2


def test_diff_shows_cordon_and_journal(newest):
    diff = newest.run(run="run-1")["diff"]
    assert diff[0]["before"] == {"unschedulable": False, journal.MAINTENANCE: None}
    assert diff[0]["after"]["unschedulable"] is True and diff[0]["after"][journal.MAINTENANCE]["run"] == "run-1"


def test_a_node_found_cordoned_stays_cordoned(site):
    site.cordon_by_somebody()
    assert site.run(run="run-1")["journal"]["cordoned_before"] is True
    released = site.run(run="run-1", state="released")
    assert released["released"] and not released["uncordoned"]
    assert site.cordoned and site.journal is None


def test_a_later_run_takes_over_what_a_killed_one_left(site):
    site.run(run="run-1", vms=[VM], progress={"wave": 1})
    site.cluster.wait(601)  # its lease
    taken = site.run(run="run-2")
    assert taken["adopted"] and taken["found"]["run"] == "run-1"
    assert taken["journal"]["vms"] == [VM] and taken["journal"]["cordoned_before"] is False
    assert taken["journal"]["earlier_runs"] == ["run-1"] and site.progress == {"wave": 1}
    late = site.run(run="run-1", state="released")
    assert not late["changed"] and site.cordoned and "run-2" in site.warnings[0]
    assert site.run(run="run-2", state="released")["uncordoned"] and not site.cordoned


def test_taking_over_can_be_forbidden(newest):
    newest.run(run="run-1")
    stored = newest.writes()
    with pytest.raises(Refused, match="run-1"):
        newest.run(run="run-2", adopt=False)
    assert newest.writes() == stored
    assert newest.run(run="run-1", adopt=False, phase="waves")["changed"]


def test_journal_first_then_the_cordon(site):
    first = site.run(run="run-1", cordon=False, vms=[VM])
    assert first["changed"] and not first["cordoned"] and not site.cordoned and site.journal["vms"] == [VM]
    second = site.run(run="run-1")
    assert second["cordoned"] and second["journal"]["cordoned_before"] is False
    assert site.run(state="released")["uncordoned"]


def test_a_cordon_that_somebody_set_between_stays_theirs(newest):
    newest.run(run="run-1", cordon=False)
    newest.cordon_by_somebody()
    newest.run(run="run-1")
    released = newest.run(run="run-1", state="released")
    assert released["released"] and not released["uncordoned"] and newest.cordoned
    assert "somebody else" in newest.warnings[0]


def test_progress_is_kept_and_added_to(newest):
    newest.run(run="run-1", progress={"wave": 1, "moved": ["a"]})
    newest.run(run="run-1", progress={"wave": 2}, phase="waves")
    assert newest.progress == {"wave": 2, "moved": ["a"]} and newest.journal["phase"] == "waves"


def test_reading_one_and_all(newest):
    assert newest.run(state="read", name=None) == {"changed": False, "journals": []}
    newest.run(run="run-1")
    newest.api.patch(path_of("v1", "nodes", name=newest.names[1]), {"metadata": {"annotations": {journal.MAINTENANCE: "?"}}})
    rows = newest.run(state="read", name=None)["journals"]
    assert [row["node"] for row in rows] == newest.names[:2]
    assert rows[0]["journal"]["run"] == "run-1" and rows[0]["cordoned"] and rows[0]["problem"] is None
    assert rows[1]["journal"] is None and "JSON" in rows[1]["problem"]
    assert [row["node"] for row in newest.run(state="read")["journals"]] == [newest.name]
    assert newest.run(state="read", name=newest.names[2])["journals"] == []
    for state in ("held", "released"):
        with pytest.raises(Refused, match="cannot be read"):
            newest.run(state=state, name=newest.names[1], run="run-1")


# -- other writers -----------------------------------------------------------------


def race(site, monkeypatch, times):
    patch, left = site.api.patch, [times]

    def late(path, body, **query):
        if left[0]:
            left[0] -= 1
            patch(path, {"metadata": {"labels": {"somebody": str(left[0])}, "annotations": {"somebody/else": "was here"}}})
        return patch(path, body, **query)

    monkeypatch.setattr(site.api, "patch", late)


def test_a_concurrent_writer_loses_nothing(site, monkeypatch):
    race(site, monkeypatch, 3)
    assert site.run(run="run-1")["changed"]
    assert site.cordoned and site.journal["run"] == "run-1"
    assert site.node["metadata"]["labels"]["somebody"] == "0"
    assert site.node["metadata"]["annotations"]["somebody/else"] == "was here"
    assert 409 in [row["status"] for row in site.cluster.requests()[site.seen:]]


def test_two_runs_at_once_do_not_both_think_they_were_first(newest, monkeypatch):
    patch, left = newest.api.patch, [1]

    def late(path, body, **query):
        if left[0]:
            left[0] -= 1
            newest_again = {"run": "run-2", "cordoned_before": True, "cordoned": False, "since": "2026-11-21T01:00:00Z"}
            patch(path, {"metadata": {"annotations": {journal.MAINTENANCE: json.dumps(newest_again)}}, "spec": {"unschedulable": True}})
        return patch(path, body, **query)

    monkeypatch.setattr(newest.api, "patch", late)
    with pytest.raises(Refused, match="run-2"):
        newest.run(run="run-1", adopt=False)
    assert newest.journal["run"] == "run-2"


def test_a_writer_that_never_stops_is_an_error(newest, monkeypatch):
    race(newest, monkeypatch, 1000)
    with pytest.raises(Conflict, match="times in a row"):
        newest.run(run="run-1")
    assert not newest.cordoned and newest.journal is None


# -- bad input ---------------------------------------------------------------------


@pytest.mark.parametrize("state", ["held", "released", "read"])
def test_an_unknown_node_is_named_with_similar_ones(newest, state):
    with pytest.raises(BadInput, match="no node '%sx'.*%s" % (newest.name, newest.name)):
        newest.run(state=state, name=newest.name + "x", run="run-1")
    assert newest.writes() == ([], [])


@pytest.mark.parametrize("options, says", [
    (dict(run=" "), "run is empty"), (dict(run="run-1", name=""), "name is empty"),
    (dict(run="run-1", progress={"notes": "x" * 200000}), "room for 96"),
])
def test_bad_options_are_named_and_nothing_is_written(newest, options, says):
    with pytest.raises(BadInput, match=says):
        newest.run(**options)
    assert newest.writes() == ([], [])


# -- through Ansible ---------------------------------------------------------------


def ansible(site, options, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", "bigvm.live_migration.node_hold",
         "-a", json.dumps(dict(site.cluster.connection, **options)), "-e", "ansible_python_interpreter=" + sys.executable,
         *arguments],
        env=dict(os.environ, ANSIBLE_LOAD_CALLBACK_PLUGINS="1", ANSIBLE_STDOUT_CALLBACK="ansible.builtin.json"),
        capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.lstrip().startswith("{"), done.stdout + done.stderr
    return json.loads(done.stdout)["plays"][0]["tasks"][0]["hosts"]["localhost"]


@pytest.mark.long
def test_as_a_task(newest):
    would = ansible(newest, {"name": newest.name, "run": "run-1", "vms": [VM]}, "--check", "--diff")
    assert would["changed"] is True and would["diff"][0]["after"]["unschedulable"] is True and not newest.cordoned
    bad = ansible(newest, {"state": "held", "name": newest.name})
    assert bad["failed"] is True and "run" in bad["msg"]
