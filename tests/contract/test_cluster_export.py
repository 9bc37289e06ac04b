# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""cluster_export: a rehearsal that is built from the file judges and plans as the cluster itself does."""

from __future__ import annotations

import json
import os

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import Task
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput, Forbidden
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import migration
from ansible_collections.bigvm.live_migration.plugins.modules import cluster_export, evacuation_plan_info

RULES = [{"verbs": ["list", "get"], "resources": [
    "nodes", "namespaces", "pods", "persistentvolumeclaims", "kubevirts.kubevirt.io", "virtualmachineinstances.kubevirt.io"]}]


def run(module, api, check_mode=False, **options):
    params = dict({name: option.get("default") for name, option in module.SPEC.items()}, **options)
    return module.execute(Task(params, api, check_mode=check_mode))


def planned(api, node):
    found = run(evacuation_plan_info, api, node=node)
    return [[(row["memory_bytes"], bool(row["target_node"])) for row in wave["vms"]] for wave in found["plan"]["waves"]], found


@pytest.mark.parametrize("options", [{}, {"generation": "1.6"}, {"topology": "default-1.3"}, {"topology": "blocked"}],
                         ids=["1.9", "1.6", "1.3", "blocked"])
def test_a_rehearsal_from_the_export_plans_as_the_cluster_does(near, tmp_path, options):
    original, path = near(**options).api, str(tmp_path / "cluster.json")
    run(cluster_export, original, path=path)
    played = near(objects=[path])
    node = "node-a" if "blocked" in options.values() else "hana-a"
    here, there = (run(evacuation_plan_info, api, node=node) for api in (original, played.api))
    assert there["verdict_lines"] == here["verdict_lines"] and there["lines"] == here["lines"]
    assert os.stat(path).st_mode & 0o077 == 0


def test_with_other_names_the_plan_is_the_same_but_for_them(near, tmp_path):
    original, path = near().api, str(tmp_path / "cluster.json")
    done = run(cluster_export, original, path=path, pseudonyms=True, links="100Gbit", dirty_rates={"hana-prod": "200M"})
    text = (tmp_path / "cluster.json").read_text(encoding="utf-8")
    assert done["counts"]["VirtualMachineInstance"] == 11 and max(map(len, done["lines"])) <= 80 + len(path)
    for name in ("hana", "sap-", "app-", "portal", "zone-1"):
        assert name not in text, name
    played = near(objects=[path])
    nodes = sorted(node["metadata"]["name"] for node in played.api.list("/api/v1/nodes").items)
    assert planned(original, "hana-a")[0] == planned(played.api, nodes[0])[0]
    guests = [obj for obj in json.loads(text)["objects"] if obj["kind"] == "VirtualMachineInstance"]
    assert [obj["metadata"]["annotations"]["rehearsal.bigvm.io/dirty-rate"] for obj in guests].count("200000000") == 1
    assert played.api.get("/api/v1/nodes/" + nodes[0])["metadata"]["annotations"]["rehearsal.bigvm.io/link"] == "100000000000"


def test_the_exported_definitions_are_played(near, tmp_path):
    """A cluster whose schema has no target by name says so in its rehearsal as well."""
    path = str(tmp_path / "cluster.json")
    run(cluster_export, near(topology="default-1.3").api, path=path)
    definitions = {crd["metadata"]["name"] for crd in json.loads((tmp_path / "cluster.json").read_text(encoding="utf-8"))["crds"]}
    assert "virtualmachineinstancemigrations.kubevirt.io" in definitions
    assert planned(near(objects=[path]).api, "hana-a")[1]["plan"]["targets_pinned"] is False


def test_check_mode_writes_no_file_and_the_cluster_is_only_read(near, tmp_path):
    c = near(topology="tiny")
    done = run(cluster_export, c.api, check_mode=True, path=str(tmp_path / "no.json"))
    assert done["changed"] is False and not (tmp_path / "no.json").exists()
    asked = [row for row in c.api.get("/bigvm/v1/requests")["items"] if not row["path"].startswith("/bigvm/")]
    assert {row["method"] for row in asked} == {"GET"} and len(asked) <= 20


def test_without_a_right_it_says_what_is_missing(near, tmp_path):
    c = near(topology="tiny")
    token = c.api.create("/bigvm/v1/tokens", {"user": "reader", "rules": RULES})["api_key"]
    done = run(cluster_export, c.client(api_key=token), path=str(tmp_path / "some.json"))
    assert any("CustomResourceDefinition may not be listed" in line for line in done["left_out"])
    nobody = c.api.create("/bigvm/v1/tokens", {"user": "nobody", "rules": []})["api_key"]
    with pytest.raises(Forbidden):
        run(cluster_export, c.client(api_key=nobody), path=str(tmp_path / "none.json"))


@pytest.mark.parametrize("options, said", [({"links": "soon"}, "soon"), ({"dirty_rates": {"nobody": 1}}, "nobody"),
                                           ({"path": "/proc/nowhere/cluster.json"}, "cannot be written")])
def test_an_export_that_cannot_be_made_leaves_nothing(near, tmp_path, options, said):
    with pytest.raises(BadInput, match=said):
        run(cluster_export, near(topology="tiny").api, **dict({"path": str(tmp_path / "x.json")}, **options))
    assert list(tmp_path.iterdir()) == []


def test_guests_of_an_export_can_be_moved(near, tmp_path):
    path = str(tmp_path / "cluster.json")
    run(cluster_export, near().api, path=path)
    played = near(objects=[path])
    place = "/apis/kubevirt.io/v1/namespaces/sap-prod/virtualmachineinstancemigrations"
    made = played.api.create(place, migration.body("sap-prod", "app-ascs", {migration.HOSTNAME: "worker-2"}))
    played.wait(600)
    assert migration.phase(played.api.get(place + "/" + made["metadata"]["name"])) == "Succeeded"
    vmi = played.api.get("/apis/kubevirt.io/v1/namespaces/sap-prod/virtualmachineinstances/app-ascs")
    assert migration.node_of(vmi) == "worker-2"
