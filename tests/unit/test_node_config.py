# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the nodes of a pool are to be: sizes, kernel arguments, objects; and what stands in the way of a roll-out."""

from __future__ import annotations

import os

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import (
    kubelet_ca,
    node_config,
    node_roll,
    pool_obstacles,
    pool_report,
)

GIB = node_config.GIB
POOL = {"metadata": {"name": "hana", "labels": {"pools.operator.machineconfiguration.openshift.io/hana": ""}}, "spec": {
    "machineConfigSelector": {"matchExpressions": [
        {"key": "machineconfiguration.openshift.io/role", "operator": "In", "values": ["worker", "hana"]}]},
    "nodeSelector": {"matchLabels": {"node-role.kubernetes.io/hana": ""}}, "configuration": {"name": "rendered-hana-1"}}}
WANTED = {"method": "machine_config", "pages": 600, "numa_nodes": 2, "reserve": None, "iommu": "auto", "cpu_manager": True,
          "topology_manager": None, "reserved_cpus": None, "isolated_cpus": None, "kernel_arguments": [], "adopt": [],
          "numa_pages": {}, "node_time": 3600}


def node(name="hana-a", memory="768Gi", vendor="Intel", **more):
    labels = dict({"node-role.kubernetes.io/hana": ""}, **({"cpu-vendor.node.kubevirt.io/" + vendor: "true"} if vendor else {}))
    return {"metadata": {"name": name, "labels": labels, "annotations": more.get("notes", {})},
            "status": {"capacity": {"memory": memory, "cpu": more.get("cpu", "96")}, "allocatable": {}}}


def scene(**more):
    return dict({"pool": POOL, "pools": [POOL], "nodes": [node(), node("hana-b")], "machine_configs": [], "kubelet_configs": [],
                 "profiles": [], "certificates": None, "now": 1000.0, "guests": [], "others": [],
                 "rendered": {}, "release": (1, 9)}, **more)


def codes(found, **wanted):
    return [row["code"] for row in pool_obstacles.judge(found, dict(WANTED, **wanted))]


# -- sizes and arguments -----------------------------------------------------------


@pytest.mark.parametrize("memory, numa, pages", [
    ("96Gi", 1, 64), ("511Gi", 1, 479), ("512Gi", 1, 448), ("6Ti", 8, 6080), ("6Ti", 7, 6076), ("20Gi", 1, 0)])
def test_a_host_keeps_memory_for_itself_and_numa_nodes_get_alike(memory, numa, pages):
    assert node_config.pages_of(node(memory=memory), numa) == pages


@given(st.integers(0, 20000), st.integers(1, 16))
def test_pages_never_take_what_the_host_needs(gib, numa):
    pages = node_config.pages_of(node(memory="%dGi" % gib), numa)
    assert pages % numa == 0 and (pages == 0 or pages * GIB + node_config.reserve(gib * GIB) <= gib * GIB)


def test_kernel_arguments_by_vendor_and_in_order():
    assert node_config.kernel_arguments(600, "intel", ["tsx=on", "iommu=pt"]) == [
        "intel_iommu=on", "iommu=pt", "default_hugepagesz=1G", "hugepagesz=1G", "hugepages=600", "tsx=on"]
    assert node_config.kernel_arguments(None, "amd") == ["iommu=pt"], "AMD's is on by itself"
    assert node_config.kernel_arguments(None, None) == []


def test_the_vendor_is_read_from_labels():
    assert node_config.vendor_of(node()) == "intel" and node_config.vendor_of(node(vendor="AMD")) == "amd"
    assert node_config.vendor_of({"metadata": {"labels": {"feature.node.kubernetes.io/cpu-model.vendor_id": "AMD"}}}) == "amd"
    assert node_config.vendor_of(node(vendor=None)) is None


def test_the_form_of_the_source_documents_gives_way_to_ours():
    """S1 and SAP's roles write sizes as 1GB, and pages after them; what says nothing of pages and IOMMU stays."""
    there = ["intel_iommu=on", "iommu=pt", "default_hugepagesz=1GB", "hugepagesz=1GB", "hugepages=940", "tsx=on"]
    wanted = node_config.kernel_arguments(600, "intel")
    assert node_config.merged_arguments(there, wanted) == ["tsx=on"] + wanted
    assert node_config.merged_arguments(["hugepages=8", "quiet"], ["iommu=pt"]) == ["hugepages=8", "quiet", "iommu=pt"]


def test_the_cpumanager_label_is_in_no_object():
    """X9: virt-handler owns it."""
    for method in node_config.METHODS:
        wanted = dict(WANTED, method=method, reserved_cpus="0-3", isolated_cpus="4-95")
        assert "cpumanager" not in yaml.safe_dump(node_config.objects(POOL, wanted, 600, "intel")).replace("cpuManager", "")


@pytest.mark.parametrize("method", node_config.METHODS)
def test_objects_fit_the_real_definitions(method, shared_folder):
    from jsonschema import Draft7Validator

    wanted = dict(WANTED, method=method, reserved_cpus="0-3", isolated_cpus="4-95", topology_manager="best-effort",
                  numa_pages={0: 300, 1: 300} if method == "performance_profile" else {})
    made = node_config.objects(POOL, wanted, 600, "intel")
    assert made
    for obj in made + [node_roll.roll_pool(POOL)]:
        group, version = obj["apiVersion"].split("/")
        plural = obj["kind"].lower() + "s"
        with open(os.path.join(shared_folder, "crds", "platform", "%s.%s.yaml" % (plural, group))) as file:
            crd = next(one for one in yaml.safe_load_all(file) if one and one.get("kind") == "CustomResourceDefinition")
        schema = next(one["schema"]["openAPIV3Schema"] for one in crd["spec"]["versions"] if one["name"] == version)
        assert [error.message for error in Draft7Validator(schema).iter_errors(obj)] == []


def test_two_configurations_are_the_same_machine_whatever_they_are_called():
    one = {"metadata": {"name": "rendered-hana-1"}, "spec": {"kernelArguments": ["a"], "extensions": [], "osImageURL": "x"}}
    other = {"metadata": {"name": "rendered-roll-1"}, "spec": {"kernelArguments": ["a"], "osImageURL": "x"}}
    assert node_config.same_configuration(one, other)
    assert not node_config.same_configuration(one, {"spec": {"kernelArguments": ["a", "b"], "osImageURL": "x"}})
    assert not node_config.same_configuration(None, None), "what cannot be read is not the same"


@given(st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda inner: st.dictionaries(st.sampled_from("abc"), inner)),
       st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda inner: st.dictionaries(st.sampled_from("abc"), inner)))
def test_the_way_back_is_a_merge_patch_to_what_was(there, before):
    there, before = {"spec": _no_nulls(there)}, {"spec": _no_nulls(before)}
    assert _merge(there, node_config.way_back(there, before)) == before


def _no_nulls(value):
    return {key: _no_nulls(one) for key, one in value.items() if one is not None} if isinstance(value, dict) else value or 0


def _merge(target, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge(result.get(key), value)
    return result


# -- what stands in the way ---------------------------------------------------------


def pool(**spec):
    return dict(POOL, spec=dict(POOL["spec"], **spec))


def status(kind, message=""):
    return dict(POOL, status={"conditions": [{"type": kind, "status": "True", "message": message}]})


@pytest.mark.parametrize("found, wanted, code", [
    ({}, {}, None),
    ({"pool": dict(POOL, metadata={"name": "master"})}, {}, "control_plane"),
    ({"pool": pool(paused=True)}, {}, "pool_paused"),
    ({"pool": status("RenderDegraded", "boom")}, {}, "pool_degraded"),
    ({"pool": status("Updating")}, {}, "pool_updating"),
    ({"pool": pool(machineConfigSelector=None)}, {}, "pool_selects_nothing"),
    ({"pool": pool(nodeSelector={"matchExpressions": [{"key": "a", "operator": "Exists"}]})}, {}, "pool_selector"),
    ({"nodes": []}, {"iommu": "off"}, "pool_empty"),
    ({"nodes": [node(memory="600Gi")]}, {}, "hugepages_too_many"),
    ({"nodes": [node(memory=None)]}, {}, "memory_unknown"),
    ({}, {"pages": 601}, "hugepages_uneven"),
    ({"nodes": [node(vendor=None)]}, {}, "vendor_unknown"),
    ({"nodes": [node(vendor=None)]}, {"iommu": "intel"}, None),
    ({"nodes": [node(), node("b", vendor="AMD")]}, {}, "vendors_mixed"),
    ({}, {"method": "performance_profile", "reserved_cpus": "0-3"}, "cpus_missing"),
    ({"nodes": [node(), node("b", cpu="48")]}, {"method": "performance_profile", "reserved_cpus": "0", "isolated_cpus": "1-95"},
     "nodes_unequal"),
    ({}, {"numa_pages": {0: 300}}, "numa_pages"),
    ({}, {"topology_manager": "single-numa-node"}, "single_numa_node"),
    ({"profiles": [{"metadata": {"name": "p"}, "spec": {"nodeSelector": {"node-role.kubernetes.io/hana": ""}}}]}, {},
     "performance_profile_there"),
    ({"profiles": [{"metadata": {"name": "p"}, "spec": {"nodeSelector": {"node-role.kubernetes.io/other": ""}}}]}, {}, None),
    ({"certificates": [{"subject": "CN=kube-apiserver-to-kubelet-signer", "not_before": 0.0, "not_after": 8000.0}]}, {},
     "pause_past_rotation"),
    ({"nodes": [node(notes={kubelet_ca.SYNCED: "17"})],
      "certificates": [{"subject": "CN=kube-apiserver-to-kubelet-signer", "not_before": 0.0, "not_after": 8000.0}]}, {}, None),
    ({"certificates": [{"subject": "CN=kube-apiserver-to-kubelet-signer", "not_before": 0.0, "not_after": 1000.0}]}, {},
     "pause_past_rotation"),
    ({"nodes": [node(memory="40Gi")]}, {"pages": "auto", "numa_nodes": 16}, "hugepages_none"),
    ({"nodes": [node()]}, {"method": "performance_profile", "reserved_cpus": "0", "isolated_cpus": "1-95", "pages": None,
                           "numa_pages": {0: 400, 1: 400}}, "hugepages_too_many"),
    ({}, {"method": "performance_profile", "reserved_cpus": "0", "isolated_cpus": "1-95", "numa_pages": {0: 300, 1: 200}},
     "hugepages_two_numbers"),
    ({"certificates": [{"subject": "CN=kube-apiserver-to-kubelet-signer", "not_before": 0.0, "not_after": 80000.0}]}, {}, None),
    ({"certificates": [{"subject": "CN=other", "not_before": 0.0, "not_after": 1.0}]}, {}, None),
])
def test_rules(found, wanted, code):
    problems = pool_obstacles.judge(scene(**found), dict(WANTED, **wanted))
    assert [row["code"] for row in problems] == ([code] if code else [])
    assert all(row["message"].endswith(".") and row["remedy"].endswith((".", ")")) for row in problems)


def guest(name, gib, where="hana-a"):
    return {"name": "sap/" + name, "node": where, "memory": gib * GIB}


def roomy(name, gib, pages=0):
    found = node(name, memory="768Gi")
    found["status"]["allocatable"] = {"memory": "%dGi" % (gib - pages), "hugepages-1Gi": "%dGi" % pages}
    return found


@pytest.mark.parametrize("guests, others, pages, without", [
    ([guest("a", 64), guest("b", 64, "hana-b"), guest("c", 32, "hana-c")], [], 600, []),
    ([guest("a", 65), guest("b", 65, "hana-b"), guest("c", 32, "hana-c")], [], 704, ["sap/a", "sap/b"]),
    ([guest("a", 65), guest("b", 65, "hana-b")], [roomy("w", 100)], 704, ["sap/b"]),
    ([guest("a", 65), guest("b", 65, "hana-b"), guest("x", 40, "w")], [roomy("w", 160)], 704, ["sap/b"]),
    ([guest("a", 65), guest("b", 65, "hana-b")], [roomy("w", 160)], 704, []),
    ([guest("a", 60), guest("b", 40), guest("c", 30), guest("d", 70)], [], 668, []),  # 100 and 100: the widest room first would not do
])
def test_guests_without_pages_need_room_beside_them(guests, others, pages, without):
    """Found by following the documentation: with as many pages as a host can spare the last node could not be emptied."""
    found = scene(nodes=[roomy(name, 768) for name in ("hana-a", "hana-b", "hana-c")], guests=guests, others=others)
    assert pool_obstacles.homeless(found, pages) == without
    problems = [row for row in pool_obstacles.judge(found, dict(WANTED, pages=pages)) if row["code"] == "ordinary_guests"]
    assert bool(problems) is bool(without)
    for row in problems:
        most = int(row["remedy"].split()[2])
        assert without[0] in row["message"] and most % WANTED["numa_nodes"] == 0 and most < pages
        assert not pool_obstacles.homeless(found, most) and pool_obstacles.homeless(found, most + WANTED["numa_nodes"])


def test_room_is_not_asked_for_again_once_the_pages_are_there():
    guests = [guest("a", 90), guest("b", 90, "hana-b")]
    done = scene(nodes=[roomy(name, 768, 704) for name in ("hana-a", "hana-b", "hana-c")], guests=guests)
    assert codes(done, pages=704) == []
    begun = dict(pool(paused=True), metadata=dict(POOL["metadata"], annotations={node_roll.NOTE: '{"run": "r1"}'}))
    assert codes(scene(nodes=[roomy("hana-a", 768), roomy("hana-b", 768)], guests=guests, pool=begun), pages=704) == []


def certificate(subject, begins, ends):
    return {"subject": subject, "not_before": begins, "not_after": ends}


def test_until_when_a_pool_may_stay_paused():
    """The subjects as OpenShift writes them: the installer's signer, then those by the operator with the moment behind."""
    day = 86400.0
    first = certificate("CN=kube-apiserver-to-kubelet-signer,OU=openshift", 0.0, 365 * day)
    second = certificate("CN=openshift-kube-apiserver-operator_kube-apiserver-to-kubelet-signer@1648497173", 292 * day, 657 * day)
    other = certificate("CN=kube-csr-signer_@1729862835", 0.0, 30 * day)
    assert kubelet_ca.pause_ends([node()], [first, other]) == 292 * day
    assert kubelet_ca.pause_ends([node()], [second, first, other]) == (292 + 292) * day, "the old one is listed until it ends"
    assert kubelet_ca.pause_ends([node()], [other]) is None and kubelet_ca.pause_ends([node()], None) is None
    synced = node(notes={kubelet_ca.SYNCED: "31337"})
    assert kubelet_ca.pause_ends([synced], [first]) == kubelet_ca.NEVER
    assert kubelet_ca.pause_ends([synced, node("b")], [first]) == 292 * day, "one daemon of the old kind is enough"
    assert kubelet_ca.pause_ends([], None) is None


@pytest.mark.parametrize("notes, certificates, said", [
    ({kubelet_ca.SYNCED: "1"}, None, "the pool is resumed at the end"),
    ({}, [certificate("CN=kube-apiserver-to-kubelet-signer", 0.0, 108000.0 + 1250.0)],
     "the pool is resumed at the end; the kubelets' CA is replaced in 1 d"),
    ({}, None, "the pool is resumed at the end; when the kubelets' CA is replaced is not known here, so do not let it stay paused for "
     "weeks"),
])
def test_the_plan_says_how_long_the_pause_may_last(notes, certificates, said):
    found = scene(nodes=[node(notes=notes)], certificates=certificates)
    assert pool_report.plan_lines(found, WANTED, 600, ["MachineConfig x"], ["hana-a"])[-1] == said


def test_a_pool_paused_by_us_is_gone_on_with():
    noted = dict(pool(paused=True), metadata=dict(POOL["metadata"], annotations={node_roll.NOTE: '{"run": "r1"}'}))
    assert codes(scene(pool=noted)) == []
    with pytest.raises(ValueError):
        node_roll.load(dict(POOL, metadata={"annotations": {node_roll.NOTE: "{}"}}))


def test_another_tools_configuration_counts_only_where_it_speaks_of_the_same():
    other = {"metadata": {"name": "99-kargs-worker", "labels": {"machineconfiguration.openshift.io/role": "worker"}},
             "spec": {"kernelArguments": ["hugepages=8", "tsx=on"]}}
    assert codes(scene(machine_configs=[other])) == ["machine_config_there"]
    assert codes(scene(machine_configs=[other]), adopt=["99-kargs-worker"]) == []
    assert codes(scene(machine_configs=[other]), pages=None, iommu="off") == []
    elsewhere = dict(other, metadata={"name": "x", "labels": {"machineconfiguration.openshift.io/role": "infra"}})
    assert codes(scene(machine_configs=[elsewhere])) == []


def test_a_node_in_a_pool_of_its_own_is_none_of_worker():
    worker = {"metadata": {"name": "worker"}, "spec": {"nodeSelector": {"matchLabels": {"node-role.kubernetes.io/worker": ""}}}}
    plain = {"metadata": {"name": "w", "labels": {"node-role.kubernetes.io/worker": ""}}}
    own = {"metadata": {"name": "h", "labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/hana": ""}}}
    moved = {"metadata": {"name": "m", "labels": {"node-role.kubernetes.io/worker": "", node_roll.roll_label("worker"): ""}}}
    roll = node_roll.roll_pool(worker)
    names = [one["metadata"]["name"] for one in node_roll.members(worker, [worker, POOL, roll], [plain, own, moved])]
    assert names == ["m", "w"] and node_roll.leaving_labels(worker) == {}
    assert [one["metadata"]["name"] for one in node_roll.members(POOL, [worker, POOL], [plain, own])] == ["h"]


@pytest.mark.parametrize("notes, state", [
    ({"currentConfig": "rendered-hana-1", "desiredConfig": "rendered-hana-1", "state": "Done"}, "done"),
    ({"currentConfig": "rendered-hana-0", "desiredConfig": "rendered-hana-0", "state": "Done"}, "pending"),
    ({"currentConfig": "rendered-hana-0", "desiredConfig": "rendered-hana-1", "state": "Done"}, "working"),
    ({"currentConfig": "rendered-hana-1", "desiredConfig": "rendered-hana-1", "state": "Working"}, "working"),
    ({"currentConfig": "rendered-hana-0", "desiredConfig": "rendered-hana-1", "state": "Degraded"}, "degraded"),
])
def test_how_far_a_node_is(notes, state):
    found = node(notes={node_roll.GROUP + key: value for key, value in notes.items()})
    assert node_roll.state_of(found, POOL, {}) == state
