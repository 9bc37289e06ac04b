# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""vm_migratable_facts on the embedded cluster: verdicts that come true, few requests, missing rights, bad input."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import inventory, prometheus
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import Task
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.modules import vm_migratable_facts as module

GIB = 1 << 30
KUBEVIRT = "kubevirt.io/v1"


def facts(api, **options):
    params = {name: option.get("default") for name, option in module.SPEC.items()}
    result = module.execute(Task(dict(params, **options), api))
    assert result["changed"] is False
    return result["ansible_facts"]["vm_migratable"]


def by_name(answer):
    return {row["name"]: row for row in answer["vms"]}


def codes(row):
    return {reason["code"] for reason in row["reasons"]}


@pytest.fixture
def site(shared):
    """The cluster of the default rehearsal."""
    return shared(topology="default")


# -- the answer ------------------------------------------------------------------


def test_the_node_of_the_big_guest(site):
    answer = facts(site.api, node="hana-a")
    rows = by_name(answer)
    assert sorted(rows) == ["app-aas1", "app-aas2", "app-ascs", "app-pas", "hana-prod"]
    assert {row["verdict"] for row in rows.values()} == {"live"} and answer["summary"]["live"] == 5
    hana = rows["hana-prod"]
    assert (hana["memory_bytes"], hana["page_size"], hana["dedicated_cpus"], hana["critical"]) == (3072 * GIB, "1Gi", True, True)
    assert hana["candidates"] == ["hana-b"] and hana["node"] == "hana-a" and hana["phase"] == "Running"
    assert {entry["code"]: entry["nodes"] for entry in hana["ruled_out"]}["HugepagesShort"] == ["worker-1", "worker-2"]
    assert hana["budget_seconds"] == 20 * 3299
    assert "hugepages-1Gi: 3 TiB asked, 0 B free" in " ".join(hana["details"]["nodes"]["worker-1"])
    # Small guests go where most memory is left beside the huge pages.
    assert rows["app-pas"]["candidates"] == ["worker-1", "worker-2", "hana-b"]
    for row in rows.values():
        assert codes(row) <= set(answer["reasons"])


def test_an_older_release_has_other_labels_and_another_api(shared):
    answer = facts(shared(topology="default-1.6").api, name="hana-prod", namespace="sap-prod")
    row, cluster = answer["vms"][0], answer["cluster"]
    assert row["verdict"] == "live" and row["candidates"] == ["hana-b"]
    assert cluster["hyperconverged_api"] == "v1beta1" and cluster["kubevirt_version"].startswith("v1.6")
    assert cluster["target_by_name"] is True and row["budget_seconds"] == 150 * 3299


def test_what_is_said_of_the_cluster_and_its_nodes(site):
    answer = facts(site.api, node="hana-a")
    cluster, nodes = answer["cluster"], answer["nodes"]
    assert cluster["kubevirt_version"].startswith("v1.9") and cluster["hyperconverged_api"] == "v1"
    assert cluster["target_by_name"] is True and cluster["unreadable"] == []
    assert cluster["settings"]["bandwidth_per_migration"] == "64Mi" and cluster["running_migrations"] == 0
    assert cluster["free_slots"] == cluster["settings"]["parallel_migrations_per_cluster"]
    assert sorted(nodes) == ["hana-a", "hana-b", "worker-1", "worker-2"]
    assert nodes["hana-b"]["hugepages_1gi_free"] == (5120 - 1024) * GIB and nodes["hana-a"]["vms"] == 5
    assert all(node["ready"] and node["kubevirt_schedulable"] and not node["cordoned"] for node in nodes.values())


@pytest.mark.parametrize("options, names", [
    ({"name": "hana-prod", "namespace": "sap-prod"}, ["hana-prod"]),
    ({"vms": [{"name": "app-test", "namespace": "sap-test"}, {"name": "app-pas"}], "namespace": "sap-prod"}, ["app-test", "app-pas"]),
    ({"namespace": "sap-test"}, ["app-test", "hana-test"]),
    ({"label_selectors": ["app=sap-hana"]}, ["hana-prod", "hana-test"]),
    ({"label_selectors": ["app=sap-hana"], "namespace": "sap-test"}, ["hana-test"]),
    ({"label_selectors": ["app=nothing"]}, []),
    ({"node": "hana-b"}, ["app-test", "hana-test"]),
])
def test_ways_to_select(site, options, names):
    assert [row["name"] for row in facts(site.api, **options)["vms"]] == names


def test_all_vms_without_a_selection(site):
    answer = facts(site.api)
    assert len(answer["vms"]) == 11 and answer["vms"] == sorted(answer["vms"], key=lambda row: (row["namespace"], row["name"]))


def test_details_are_left_out_when_told(site):
    row = facts(site.api, name="hana-prod", namespace="sap-prod", detail="brief")["vms"][0]
    assert "details" not in row and row["ruled_out"]


def test_settings_of_the_window_count(site):
    capped = {"completion_timeout_per_gib": 10}
    slow = facts(site.api, name="hana-prod", namespace="sap-prod", settings=capped)["vms"][0]
    assert "BudgetTooShort" in codes(slow) and slow["verdict"] == "live"
    free = facts(site.api, name="hana-prod", namespace="sap-prod", settings=dict(capped, bandwidth_per_migration="0"))["vms"][0]
    assert "BudgetTooShort" not in codes(free)
    post_copy = {"allow_post_copy": True, "allow_workload_disruption": True}
    assert facts(site.api, name="hana-prod", namespace="sap-prod", settings=post_copy)["vms"][0]["verdict"] == "blocked"


# -- verdicts that come true --------------------------------------------------------


def create_migration(cluster, namespace, name):
    body = {"apiVersion": KUBEVIRT, "kind": "VirtualMachineInstanceMigration", "spec": {"vmiName": name},
            "metadata": {"generateName": "test-", "namespace": namespace}}
    return cluster.api.create(path_of(KUBEVIRT, "virtualmachineinstancemigrations", namespace), body)


def test_a_guest_called_live_moves_to_a_candidate(cluster):
    c = cluster(topology="tiny")
    row = by_name(facts(c.api, node="node-a"))["vm-1"]
    assert row["verdict"] == "live" and row["candidates"] == ["node-b"]
    created = create_migration(c, "default", "vm-1")
    under_way = by_name(facts(c.api, namespace="default"))["vm-1"]
    assert under_way["verdict"] == "blocked" and "ForeignMigrationUnderWay" in codes(under_way)
    c.wait(300)
    done = c.api.get(path_of(KUBEVIRT, "virtualmachineinstancemigrations", "default", created["metadata"]["name"]))
    assert done["status"]["phase"] == "Succeeded"
    row = by_name(facts(c.api, namespace="default"))["vm-1"]
    assert (row["verdict"], row["node"], row["candidates"]) == ("live", "node-b", ["node-a"])


def test_a_guest_called_cold_only_is_refused(shared):
    c = shared(topology="blocked")
    row = by_name(facts(c.api, node="node-a"))["app-local"]
    assert row["verdict"] == "cold_only" and "DisksNotLiveMigratable" in codes(row)
    with pytest.raises(errors.Rejected, match="DisksNotLiveMigratable"):
        create_migration(c, "sap-prod", "app-local")


def test_a_cordoned_and_a_full_node_leave_no_candidate(cluster):
    c = cluster(topology="tiny")
    c.api.patch(path_of("v1", "nodes", name="node-b"), {"spec": {"unschedulable": True}})
    answer = facts(c.api, name="vm-1", namespace="default")
    row = answer["vms"][0]
    assert row["verdict"] == "blocked" and codes(row) >= {"NoCandidate"}
    assert [entry["code"] for entry in row["ruled_out"]] == ["Cordoned"] and answer["nodes"]["node-b"]["cordoned"]
    create_migration(c, "default", "vm-1")
    c.wait(30)
    pods = c.api.list(path_of("v1", "pods", "default"), labelSelector="kubevirt.io/migrationJobUID").items
    assert [pod["spec"].get("nodeName") for pod in pods] == [None]


def test_a_stopped_vm_is_a_verdict_and_no_failure(cluster):
    c = cluster(topology="tiny")
    running = c.api.list(path_of(KUBEVIRT, "virtualmachineinstances", "default")).items[0]
    spec = {"runStrategy": "Halted", "template": {"spec": {"domain": running["spec"]["domain"]}}}
    vm = {"apiVersion": KUBEVIRT, "kind": "VirtualMachine", "metadata": {"name": "off", "namespace": "default"}, "spec": spec}
    c.api.create(path_of(KUBEVIRT, "virtualmachines", "default"), vm)
    for options in ({"name": "off", "namespace": "default"}, {"namespace": "default"}, {}):
        row = by_name(facts(c.api, **options))["off"]
        assert (row["verdict"], row["phase"], codes(row)) == ("cold_only", "Stopped", {"Stopped"})
    assert "off" not in by_name(facts(c.api, node="node-a"))


def test_what_only_the_vm_says_is_seen_by_node_too_and_its_right_is_not_needed(cluster):
    c = cluster(topology="tiny")
    path = path_of(KUBEVIRT, "virtualmachines", "default", "vm-1")
    vm = c.api.get(path)
    condition = {"type": "RestartRequired", "status": "True", "message": "a non-live-updatable field was changed"}
    vm.setdefault("status", {})["conditions"] = vm["status"].get("conditions", []) + [condition]
    c.api.replace(path + "/status", vm)
    node = by_name(facts(c.api, name="vm-1", namespace="default"))["vm-1"]["node"]
    row = by_name(facts(c.api, node=node))["vm-1"]
    assert row["verdict"] == "live" and "RestartRequired" in codes(row)
    blind = facts(client_without(c, "virtualmachines.kubevirt.io"), node=node)
    assert by_name(blind)["vm-1"]["verdict"] == "live" and blind["cluster"]["unreadable"] == []


def test_a_quota_that_the_target_pod_would_exceed(cluster):
    c = cluster(topology="tiny")
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tight", "namespace": "default"},
             "spec": {"hard": {"requests.memory": "7Gi"}}}
    c.api.create(path_of("v1", "resourcequotas", "default"), quota)
    c.wait(3)
    counted = c.api.get(path_of("v1", "resourcequotas", "default", "tight"))["status"]
    assert counted["hard"] == {"requests.memory": "7Gi"} and 6 << 30 < int(counted["used"]["requests.memory"]) < 7 << 30
    row = facts(c.api, name="vm-1", namespace="default")["vms"][0]
    assert row["verdict"] == "blocked" and "QuotaExceeded" in codes(row)


# -- few requests ---------------------------------------------------------------------


def asked(cluster, **options):
    before = len(cluster.requests())
    facts(cluster.api, **options)
    rows = cluster.requests()[before:]
    return [row for row in rows if not row["path"].startswith("/bigvm/")]


def test_the_number_of_requests_does_not_grow_with_the_vms(shared):
    few, many = asked(shared(topology="tiny")), asked(shared(topology="queue"))
    assert len(few) == len(many) <= 14
    assert {row["method"] for row in few + many} == {"GET"}
    names = [{"name": "vm-%d" % number, "namespace": "default"} for number in range(1, 3)]
    assert len(asked(shared(topology="tiny"), vms=names)) == len(few)


def test_only_what_was_asked_for_is_fetched(site):
    def query(rows, plural):
        return [(row["path"], json.dumps(row["query"])) for row in rows if row["path"].endswith("/" + plural)]

    rows = asked(site, namespace="sap-test")
    assert not query(rows, "persistentvolumeclaims"), "KubeVirt has judged the volumes already"
    for plural in ("virtualmachineinstances", "virtualmachines", "resourcequotas"):
        assert all("/namespaces/sap-test/" in path for path, _query in query(rows, plural)) and query(rows, plural)
    (_path, selector), = query(asked(site, node="hana-b"), "virtualmachineinstances")
    assert "kubevirt.io/nodeName=hana-b" in selector or "kubevirt.io%2FnodeName" in selector
    (_path, selector), = query(asked(site, name="app-pas", namespace="sap-prod"), "virtualmachineinstances")
    assert "metadata.name" in selector


# -- missing rights -------------------------------------------------------------------

EVERYTHING = [
    "virtualmachineinstances.kubevirt.io", "virtualmachines.kubevirt.io", "virtualmachineinstancemigrations.kubevirt.io",
    "kubevirts.kubevirt.io", "migrationpolicies.migrations.kubevirt.io", "nodes", "pods", "persistentvolumeclaims",
    "resourcequotas", "namespaces", "customresourcedefinitions.apiextensions.k8s.io",
]


def client_without(cluster, *resources):
    left = [resource for resource in EVERYTHING if resource not in resources]
    return cluster.client(api_key=cluster.token([{"verbs": ["get", "list"], "resources": left}]))


def test_the_listed_rights_are_enough(site):
    answer = facts(client_without(site), node="hana-a")
    assert answer["summary"]["live"] == 5 and answer["cluster"]["unreadable"] == []


@pytest.mark.parametrize("resource, code", [
    ("nodes", "CannotReadNodes"), ("pods", "CannotReadPods"), ("resourcequotas", "CannotReadQuotas"),
    ("virtualmachineinstancemigrations.kubevirt.io", "CannotReadMigrations"), ("kubevirts.kubevirt.io", "CannotReadKubeVirt"),
    ("migrationpolicies.migrations.kubevirt.io", "CannotReadPolicies"),
])
def test_a_forbidden_list_is_unknown_and_names_the_right(site, resource, code):
    answer = facts(client_without(site, resource), name="hana-prod", namespace="sap-prod")
    row = answer["vms"][0]
    assert row["verdict"] == "unknown" and code in codes(row)
    assert resource in answer["reasons"][code]["remedy"] and len(answer["cluster"]["unreadable"]) == 1


def test_without_the_right_to_see_guests_it_fails_naming_it(site):
    with pytest.raises(errors.Forbidden, match="virtualmachineinstances"):
        facts(client_without(site, "virtualmachineinstances.kubevirt.io"))


def test_without_the_right_to_read_crds_the_published_schema_is_asked(site):
    found = inventory.target_by_name(client_without(site, "customresourcedefinitions.apiextensions.k8s.io"))
    assert found in (True, None)


class Server:
    """Answers GETs from a dictionary; what is not in it is forbidden."""

    def __init__(self, answers):
        self.answers = answers

    def get(self, path):
        if path not in self.answers:
            raise errors.Forbidden("no", status=403)
        return self.answers[path]


CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + inventory.VMIM_CRD


def schema(*fields):
    return {"properties": {"spec": {"properties": {field: {} for field in ("vmiName",) + fields}}}}


def published(*fields):
    kind = {"group": "kubevirt.io", "kind": "VirtualMachineInstanceMigration", "version": "v1"}
    return {"components": {"schemas": {"list": {"x-kubernetes-group-version-kind": [dict(kind, kind=kind["kind"] + "List")]},
                                       "one": dict(schema(*fields), **{"x-kubernetes-group-version-kind": [kind]})}}}


@pytest.mark.parametrize("answers, expected", [
    ({CRD_PATH: {"spec": {"versions": [{"name": "v1alpha3", "schema": {"openAPIV3Schema": schema("addedNodeSelector")}},
                                       {"name": "v1", "schema": {"openAPIV3Schema": schema()}}]}}}, False),
    ({CRD_PATH: {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema("addedNodeSelector")}}]}}}, True),
    ({CRD_PATH: {"spec": {"versions": [{"name": "v1"}]}}}, None),
    ({"/openapi/v3/apis/kubevirt.io/v1": published("addedNodeSelector")}, True),
    ({"/openapi/v3/apis/kubevirt.io/v1": published()}, False),
    ({"/openapi/v3/apis/kubevirt.io/v1": {}}, None),
    ({}, None),
])
def test_whether_a_target_is_taken_by_name_is_read_from_the_schema(answers, expected):
    assert inventory.target_by_name(Server(answers)) is expected


# -- bad input ------------------------------------------------------------------------


@pytest.mark.parametrize("options, message", [
    ({"name": "hana-prd", "namespace": "sap-prod"}, "no VM sap-prod/hana-prd.*mean sap-prod/hana-prod"),
    ({"vms": [{"name": "app-pas", "namespace": "sap-prod"}, {"name": "app-pas", "namespace": "sap-prd"}]},
     "no VM sap-prd/app-pas.*mean sap-prod/app-pas"),
    ({"name": "zzz", "namespace": "sap-test"}, "no VM sap-test/zzz. Known VMs are sap-test/app-test, sap-test/hana-test"),
    ({"name": "zzz", "namespace": "nowhere"}, "no VM nowhere/zzz. There are no VMs there"),
    ({"node": "hana-c"}, "no node hana-c.*mean hana-b or hana-a"),
    ({"name": "hana-prod"}, "hana-prod has no namespace"),
    ({"vms": [{"name": "a"}, {"name": "b", "namespace": "n"}]}, "VM a has no namespace"),
    ({"vms": []}, "option vms is empty"),
    ({"name": "a", "namespace": "n", "node": "hana-a"}, "name and node select VMs in different ways"),
    ({"vms": [{"name": "a"}], "label_selectors": ["a=b"]}, "vms and label_selectors select"),
    ({"node": "hana-a", "namespace": "n"}, "node and namespace select"),
    ({"settings": {"bandwidth_per_migration": "fast"}}, "bandwidth_per_migration is 'fast'"),
    ({"settings": {"parallel_migrations_per_cluster": 0}}, "parallel_migrations_per_cluster is 0"),
])
def test_bad_input(site, options, message):
    before = len(site.requests("POST")) + len(site.requests("PATCH"))
    with pytest.raises(errors.BadInput, match="(?s)" + message):
        facts(site.api, **options)
    assert len(site.requests("POST")) + len(site.requests("PATCH")) == before


def test_a_label_selector_that_does_not_parse_is_refused_by_the_server(site):
    with pytest.raises(errors.Rejected):
        facts(site.api, label_selectors=["a in (b"])


def test_a_cluster_without_kubevirt_is_named_as_such(shared):
    with pytest.raises(errors.NotFound, match="has no KubeVirt.*must be installed there"):
        facts(shared(bare=True).api)


# -- as people run it -------------------------------------------------------------------

PLAYBOOK = [{
    "name": "Judge before the maintenance", "hosts": "localhost", "gather_facts": False,
    "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
    "tasks": [
        {"name": "Judge one VM", "bigvm.live_migration.vm_migratable_facts": {"name": "vm-1", "namespace": "default"}},
        {"name": "Look at it", "ansible.builtin.assert": {"that": [
            "ansible_facts.vm_migratable.vms[0].verdict == 'live'", "ansible_facts.vm_migratable.cluster.free_slots > 0"]}},
        {"name": "Judge the VMs of a node, settings as text", "check_mode": True, "bigvm.live_migration.vm_migratable_facts": {
            "node": "node-a", "settings": {"allow_post_copy": "false", "completion_timeout_per_gib": "150"}}},
        {"name": "Look at them", "ansible.builtin.assert": {"that": [
            "ansible_facts.vm_migratable.summary.live == ansible_facts.vm_migratable.vms | length",
            "ansible_facts.vm_migratable.cluster.settings.completion_timeout_per_gib == 150"]}},
        {"name": "Ask for one that is not there", "register": "missing", "ignore_errors": True,
         "bigvm.live_migration.vm_migratable_facts": {"name": "vm-9", "namespace": "default"}},
        {"name": "Ask with a wrong token", "register": "stranger", "ignore_errors": True,
         "bigvm.live_migration.vm_migratable_facts": {"api_key": "wrong"}},
        {"name": "Look at the messages", "ansible.builtin.assert": {"that": [
            "missing is failed", "'Did you mean' in missing.msg", "stranger is failed", "'401' in stranger.msg",
            "'wrong' not in stranger.msg"]}},
    ],
}]


def test_a_playbook_of_examples(shared, tmp_path):
    connection = shared(topology="tiny").connection
    play = [dict(PLAYBOOK[0], module_defaults={"bigvm.live_migration.vm_migratable_facts": connection})]
    (tmp_path / "play.json").write_text(json.dumps(play))
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "play.json"], cwd=tmp_path, capture_output=True, text=True, check=False,
        timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed=0" in done.stdout and "ignored=2" in done.stdout


# -- dirty rates, and what is spare --------------------------------------------------


def outcome(api, **options):
    """``(result, warnings)`` of the module."""
    params, warnings = {name: option.get("default") for name, option in module.SPEC.items()}, []
    return module.execute(Task(dict(params, **options), api, warn=warnings.append)), warnings


def asking(site, **options):
    return dict({"url": site.connection["host"] + "/bigvm/v1/prometheus", "token": None, "ca_cert": site.connection["ca_cert"],
                 "validate_certs": True, "window": "24h"}, **options)


def test_dirty_rates_come_from_prometheus(site):
    result, warnings = outcome(site.api, node="hana-a", prometheus=asking(site))
    found = result["ansible_facts"]["vm_migratable"]
    hana = found["rates"]["guests"]["sap-prod/hana-prod"]
    assert hana["p50"] == hana["p99"] == hana["max"] > 50e6 and hana["samples"] == 2880 and not warnings
    assert found["rates"]["failure"] is None and found["rates"]["window"] == 86400 and found["rates"]["cards"] == {}
    assert "DirtyRateAboveCap" in codes(by_name(found)["hana-prod"])  # the cap of the topology is 64Mi
    assert any("sap-prod/hana-prod: " in line and "MB/s" in line for line in result["lines"])


def test_a_release_without_the_metric_says_so(shared):
    old = shared(topology="default-1.3")
    result, warnings = outcome(old.api, node="hana-a", prometheus=asking(old))
    found = result["ansible_facts"]["vm_migratable"]
    assert found["rates"]["guests"] == {} and not warnings
    assert "DirtyRateAbsent" in codes(found["vms"][0]) and "dirty rates: not known, KubeVirt measures them from 1.6 on" in result["lines"]


@pytest.mark.parametrize("options, said", [
    ({"url": None}, "no url was given, and the route openshift-monitoring/thanos-querier cannot be read"),
    ({"token": "wrong"}, "answered 401"), ({"url": "https://127.0.0.1:1"}, "127.0.0.1:1"),
])
def test_a_prometheus_that_cannot_be_asked_is_a_warning(site, options, said):
    result, warnings = outcome(site.api, node="hana-a", prometheus=asking(site, **options))
    assert len(warnings) == 1 and said in warnings[0]
    assert said in result["ansible_facts"]["vm_migratable"]["rates"]["failure"]
    assert result["ansible_facts"]["vm_migratable"]["summary"]["live"] == 5


def test_the_api_servers_token_goes_nowhere_else(site, monkeypatch):
    sent = []
    monkeypatch.setattr(prometheus, "open_url", lambda url, headers, **_more: sent.append((url, headers)) or 1 / 0)
    outcome(site.api, node="hana-a", prometheus=asking(site, url="https://elsewhere.example"))
    outcome(site.api, node="hana-a", prometheus=asking(site, url="https://elsewhere.example", token="its-own"))
    assert [headers.get("Authorization") for _url, headers in sent] == [None, "Bearer its-own"]


@pytest.mark.long
def test_whether_any_one_node_can_be_emptied(site):
    result, _warnings = outcome(site.api, name="hana-prod", namespace="sap-prod", spare=True)
    found = result["ansible_facts"]["vm_migratable"]
    assert [row["name"] for row in found["vms"]] == ["hana-prod"]  # what is judged stays what was asked for
    rows = {row["node"]: row for row in found["spare"]["nodes"]}
    assert rows["hana-a"]["vms"] == 5 and rows["hana-a"]["can_be_emptied"] is True
    pages = found["spare"]["resources"]["hugepages-1Gi"]
    assert (pages["fullest_node"], pages["needed"], pages["enough"]) == ("hana-a", 3072 * GIB, True)
    assert any(line.startswith("spare hugepages-1Gi: 3 TiB needed") for line in result["lines"])
    assert max(map(len, result["lines"])) <= 80
