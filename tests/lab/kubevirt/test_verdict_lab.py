# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verdict comes true: what vm_migratable_facts calls blocked, KubeVirt refuses or the target is never placed; what it
calls live gets a target on a node that it named.

Judged by virt-api's admission, virt-controller's queue and target pods, and kube-scheduler. Only LiveMigratable itself
is our simulator's, since virt-handler cannot run here.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import time

import pytest
from kubevirt_steps import KUBEVIRT, VMIMS, Steps

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import Task
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.target_pod import quantity
from ansible_collections.bigvm.live_migration.plugins.modules import vm_migratable_facts as module
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import target_pods
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import is_active

pytestmark = pytest.mark.kubevirt

NODES = [
    {"name": "a", "memory": "128Gi", "cpus": 64, "hugepages_1gi": "32Gi", "cpu_manager": True,
     "labels": {"zone": "one", "cpu-model.node.kubevirt.io/OnlyHere": "true", "rack": "a"}},
    {"name": "b", "memory": "64Gi", "cpus": 16, "hugepages_1gi": "8Gi", "cpu_manager": True, "labels": {"zone": "one", "rack": "b"}},
    {"name": "c", "memory": "48Gi", "cpus": 16, "labels": {"zone": "two", "rack": "c"}},
]
LAG = 2.0  # seconds until virt-controller and the scheduler know of a change, on a busy machine
SCHEDULED, REFUSED, UNPLACED, PENDING = "scheduled", "refused", "unplaced", "pending"


def one_of(*values, key="rack"):
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": key, "operator": "In", "values": list(values)}]}]}}}


def beside(apart, app):
    term = {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "kubernetes.io/hostname"}
    return {"podAntiAffinity" if apart else "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


SPREAD = {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
                                         "labelSelector": {"matchLabels": {"app": "spread"}}}]}


@dataclasses.dataclass
class Case:
    """A guest on node a; ``code``: a reason of the verdict, or what rules the other nodes out."""

    name: str
    verdict: str
    happens: str
    code: str = ""
    nodes: tuple = ("b", "c")  # candidates
    vm: dict = dataclasses.field(default_factory=dict)

    def entry(self):
        return dict({"name": self.name, "memory": "1Gi", "cpus": 1}, **self.vm)


TRAITS = [
    Case("plain", "live", SCHEDULED),
    Case("pages", "live", SCHEDULED, nodes=("b",), vm={"memory": "2Gi", "hugepages": "1Gi"}),
    Case("pinned", "live", SCHEDULED, nodes=("b",), vm={"cpus": 2, "dedicated_cpus": True}),
    Case("zone", "live", SCHEDULED, nodes=("b",), vm={"node_selector": {"zone": "one"}}),
    Case("affine", "live", SCHEDULED, nodes=("c",), vm={"affinity": one_of("a", "c")}),
    Case("model", "live", SCHEDULED, vm={"model": "Skylake-Server-IBRS"}),
    Case("apart", "live", SCHEDULED, nodes=("c",), vm={"affinity": beside(True, "loner")}),
    Case("close", "live", SCHEDULED, nodes=("b",), vm={"affinity": beside(False, "friend")}),
    Case("limit", "live", SCHEDULED, vm={"cpu_limit": 2}),
    Case("disk", "cold_only", REFUSED, "DisksNotLiveMigratable", vm={"access": "ReadWriteOnce"}),
    Case("bridge", "cold_only", REFUSED, "InterfaceNotLiveMigratable", vm={"bridge": True}),
    Case("many-pages", "blocked", UNPLACED, "HugepagesShort", vm={"memory": "10Gi", "hugepages": "1Gi"}),
    Case("small-pages", "blocked", UNPLACED, "HugepagesShort", vm={
        "memory": "2Gi", "hugepages": "1Gi", "node_selector": {"zone": "one"}, "affinity": one_of("a", "c")}),
    Case("big", "blocked", UNPLACED, "MemoryShort", vm={"memory": "62Gi"}),
    Case("many-cpus", "blocked", UNPLACED, "CpuShort", vm={"cpus": 20, "dedicated_cpus": True}),
    Case("pinned-c", "blocked", UNPLACED, "NoCpuManager", vm={"dedicated_cpus": True, "affinity": one_of("a", "c")}),
    Case("old-model", "blocked", UNPLACED, "CpuMismatch", vm={"model": "OnlyHere"}),
    Case("rack", "blocked", UNPLACED, "NodeSelectorMismatch", vm={"node_selector": {"rack": "a"}}),
    Case("only-a", "blocked", UNPLACED, "NodeAffinityMismatch", vm={"affinity": one_of("a")}),
    Case("lonely", "blocked", UNPLACED, "AntiAffinity", vm={"affinity": beside(True, "everywhere")}),
    Case("clingy", "blocked", UNPLACED, "PodAffinity", vm={"affinity": beside(False, "here")}),
    Case("spread", "blocked", UNPLACED, "TopologySpread", vm={"labels": {"app": "spread"}, "spec": SPREAD, "affinity": one_of("a", "c")}),
]
OTHERS = [("b", "loner"), ("a", "friend"), ("b", "friend"), ("b", "everywhere"), ("c", "everywhere"), ("a", "here"), ("c", "spread"),
          ("c", "spread")]


@pytest.fixture(scope="module")
def world(site):
    """All guests of the table on node a, and pods of others that they meet."""
    from kubevirt_cluster import STAGE, KubevirtCluster

    c = KubevirtCluster(site)
    c.clear()
    STAGE.clear()
    c.configure(parallelMigrationsPerCluster=100, parallelOutboundMigrationsPerNode=100)
    c.add_nodes(*NODES)
    for number, (node, app) in enumerate(OTHERS):
        c.api.create("/api/v1/namespaces/default/pods", {"metadata": {"name": "other-%d" % number, "labels": {"app": app}}, "spec": {
            "nodeName": node, "containers": [{"name": "c", "image": "i"}]}})
    c.add_vms("a", *[case.entry() for case in TRAITS], {"name": "w", "memory": "1Gi", "cpus": 1})
    return c


def facts(c, **options):
    """``{name: row}`` of the module."""
    params = {name: option.get("default") for name, option in module.SPEC.items()}
    result = module.execute(Task(dict(params, **options), c.client()))
    return {row["name"]: row for row in result["ansible_facts"]["vm_migratable"]["vms"]}


def judged(row):
    """All codes that a verdict rests on."""
    return {reason["code"] for reason in row["reasons"]} | {entry["code"] for entry in row["ruled_out"]}


def ask(c, name):
    """Create a VMIM: ``(its name or None, what was said)``."""
    code, data, headers = c.http("POST", path_of(KUBEVIRT, VMIMS, "default"), {
        "apiVersion": KUBEVIRT, "kind": "VirtualMachineInstanceMigration", "metadata": {"generateName": "t-"}, "spec": {"vmiName": name}})
    return (data["metadata"]["name"], "") if code == 201 else (None, data["message"])


def target_of(steps, vmim):
    """The target pod of a VMIM, or None."""
    uid = steps.migration(vmim)["metadata"]["uid"]
    pods = steps.api.list("/api/v1/namespaces/default/pods", labelSelector="kubevirt.io/migrationJobUID=%s" % uid).items
    return pods[0] if pods else None


def seen(steps, vmim, within=30.0):
    """What became of a VMIM: ``(scheduled, node)``, ``(unplaced, why)``, or ``(pending, "")`` after three seconds."""
    end, patience = time.monotonic() + within, time.monotonic() + 3
    while True:
        pod = target_of(steps, vmim)
        if pod is None and time.monotonic() > patience and steps.phase(vmim) == "Pending":
            return PENDING, ""
        if pod is not None and pod["spec"].get("nodeName"):
            return SCHEDULED, pod["spec"]["nodeName"]
        rows = [row for row in (pod or {}).get("status", {}).get("conditions") or [] if row.get("reason") == "Unschedulable"]
        if rows:
            return UNPLACED, rows[0]["message"]
        assert time.monotonic() < end, steps.migration(vmim)
        time.sleep(0.2)


@pytest.fixture(scope="module")
def outcomes(world):
    """``{name: (row of the verdict, (what happened, where or why))}``; all are judged before the first is tried."""
    steps, rows = Steps(world), facts(world, node="a")
    asked = {case.name: ask(world, case.name) for case in TRAITS}
    return {name: (rows[name], (REFUSED, said) if vmim is None else seen(steps, vmim)) for name, (vmim, said) in asked.items()}


@pytest.mark.parametrize("case", TRAITS, ids=lambda case: case.name)
def test_the_verdict_comes_true(outcomes, case):
    row, (happened, detail) = outcomes[case.name]
    assert row["verdict"] == case.verdict, judged(row)
    assert not case.code or case.code in judged(row), judged(row)
    assert happened == case.happens, detail
    if case.happens == SCHEDULED:
        assert sorted(row["candidates"]) == sorted(case.nodes) and detail in case.nodes
    if case.happens == REFUSED:
        assert "Cannot migrate VMI, Reason: %s, Message:" % case.code in detail


FOLLOWS = ("kubevirt.io/nodeName", "kubevirt.io/migrationTargetNodeName")  # virt-controller carries them from the VMI to the pod later
# annotations of backups and meshes, and what comes once the target is ready
LEFT_OUT = ("rehearsal.bigvm.io/", "pre.hook.backup.", "post.hook.backup.", "traffic.sidecar.istio.io/", "istio.io/",
            "kubevirt.io/migration-target-ready-timestamp")


def drawn(pod):
    """What of a target pod decides where it goes and how it ends, and what it takes there."""
    asks, limits = collections.Counter(), collections.Counter()
    for container in pod["spec"]["containers"] + [one for one in pod["spec"].get("initContainers") or [] if one.get("restartPolicy")]:
        for found, wanted in ((asks, "requests"), (limits, "limits")):
            for name, amount in (container.get("resources", {}).get(wanted) or {}).items():
                found[name] += quantity(amount, 1000 if name == "cpu" else 1)
    spec = pod["spec"]
    system = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable", "node.kubernetes.io/memory-pressure")
    return {
        "asks": dict(asks), "limits": dict(limits),
        "selector": spec.get("nodeSelector"), "affinity": spec.get("affinity"), "spread": spec.get("topologySpreadConstraints"),
        "tolerations": [row for row in spec.get("tolerations") or [] if row.get("key") not in system],
        "labels": {key: value for key, value in pod["metadata"]["labels"].items() if key not in FOLLOWS},
        "class": spec.get("priorityClassName"), "scheduler": spec.get("schedulerName"),
        "annotations": {key: value for key, value in pod["metadata"]["annotations"].items() if not key.startswith(LEFT_OUT)},
        "grace": spec["terminationGracePeriodSeconds"], "restart": spec["restartPolicy"],
    }


@pytest.mark.parametrize("case", [case for case in TRAITS if case.happens != REFUSED], ids=lambda case: case.name)
def test_target_pods_are_drawn_as_kubevirt_draws_them(world, outcomes, case):
    """The embedded cluster's target pod of the same VMI is the same in all that the scheduler and a quota look at."""
    steps = Steps(world)
    vmi, vmim = steps.vmi(case.name), steps.vmims(case.name)[0]
    real = target_of(steps, vmim["metadata"]["name"])
    source = next(pod for pod in steps.pods(case.name) if pod["metadata"]["name"] != real["metadata"]["name"])
    ours = target_pods.migration_target(
        dict(vmi, status=dict(vmi["status"], nodeName="a")), vmim, source, world.api.get("/api/v1/nodes/a"), world.generation,
        steps.kubevirt()["spec"]["configuration"])
    assert drawn(ours) == drawn(real)


# -- the world around one guest --------------------------------------------------------


@contextlib.contextmanager
def labelled(c, nodes, **labels):
    """Meanwhile nodes have other labels; None takes one away. Dots and slashes as in the API: ``**{"a.b/c": "d"}``."""
    before = {name: c.api.get("/api/v1/nodes/" + name)["metadata"]["labels"] for name in nodes}
    for name in nodes:
        c.api.patch("/api/v1/nodes/" + name, {"metadata": {"labels": labels}})
    try:
        yield
    finally:
        for name in nodes:
            c.api.patch("/api/v1/nodes/" + name, {"metadata": {"labels": {key: before[name].get(key) for key in labels}}})


@contextlib.contextmanager
def spec_of(c, nodes, there, gone):
    for name in nodes:
        c.api.patch("/api/v1/nodes/" + name, {"spec": there})
    try:
        yield
    finally:
        for name in nodes:
            c.api.patch("/api/v1/nodes/" + name, {"spec": gone})


@contextlib.contextmanager
def limits(c, **given):
    c.configure(**given)
    try:
        yield
    finally:
        c.configure(**dict.fromkeys(given, 100))


@contextlib.contextmanager
def quota(c):
    path = path_of("v1", "resourcequotas", "default")
    c.api.create(path, {"metadata": {"name": "tight"}, "spec": {"hard": {"pods": "1"}}})
    c.until("GET", path + "/tight", lambda code, found: int((found.get("status") or {}).get("used", {}).get("pods", 0)) > 1)
    try:
        yield
    finally:
        c.api.delete(path + "/tight")


TAINTED = {"taints": [{"key": "work", "value": "yes", "effect": "NoSchedule"}]}
WORLDS = {
    "cordoned": (lambda c: spec_of(c, "bc", {"unschedulable": True}, {"unschedulable": None}), "Cordoned", UNPLACED),
    "tainted": (lambda c: spec_of(c, "bc", TAINTED, {"taints": None}), "TaintNotTolerated", UNPLACED),
    "taken out": (lambda c: labelled(c, "bc", **{"kubevirt.io/schedulable": "false"}), "KubeVirtNotSchedulable", UNPLACED),
    "another vendor": (lambda c: labelled(c, "bc", **{
        "cpu-vendor.node.kubevirt.io/Intel": None, "cpu-vendor.node.kubevirt.io/AMD": "true"}), "CpuMismatch", UNPLACED),
    "another host model": (lambda c: labelled(
        c, "bc", **{"cpu-model-migration.node.kubevirt.io/SapphireRapids": None}), "CpuMismatch", UNPLACED),
    "a feature less": (lambda c: labelled(c, "bc", **{"cpu-feature.node.kubevirt.io/invtsc": None}), "CpuMismatch", UNPLACED),
    "an older QEMU": (lambda c: labelled(
        c, "bc", **{"machine-type.node.kubevirt.io/pc-q35-rhel9.6.0": None}), "MachineTypeMissing", UNPLACED),
    "no slots": (lambda c: limits(c, parallelMigrationsPerCluster=0), "NoSlotsAllowed", PENDING),
    "no slots out of a": (lambda c: limits(c, parallelOutboundMigrationsPerNode=0), "NoSlotsAllowed", PENDING),
    "quota": (quota, "QuotaExceeded", PENDING),
}
# Where KubeVirt places a guest all the same, and may be wrong: a warning.
PLACED = {
    "no host model": (lambda c: labelled(c, "a", **{"host-model-cpu.node.kubevirt.io/SapphireRapids": None}), "HostModelUnchecked"),
}


@pytest.mark.parametrize("world_of", sorted(WORLDS), ids=lambda name: name.replace(" ", "-"))
def test_the_verdict_comes_true_in_another_world(world, outcomes, world_of):
    steps, (change, code, happens) = Steps(world), WORLDS[world_of]
    with change(world):
        time.sleep(LAG)
        row = facts(world, name="w", namespace="default")["w"]
        assert row["verdict"] == "blocked" and code in judged(row), judged(row)
        vmim, said = ask(world, "w")
        assert vmim, said
        assert seen(steps, vmim)[0] == happens
        steps.cancel(vmim)
        steps.until(lambda: steps.migration(vmim) is None and sum(map(is_active, steps.pods("w"))) == 1, step=0.2)
    assert facts(world, name="w", namespace="default")["w"]["verdict"] == "live"


@pytest.mark.parametrize("world_of", sorted(PLACED), ids=lambda name: name.replace(" ", "-"))
def test_what_is_warned_of_is_placed_all_the_same(world, outcomes, world_of):
    steps, (change, code) = Steps(world), PLACED[world_of]
    steps.api.patch(path_of(KUBEVIRT, "virtualmachineinstances", "default", "w"), {"metadata": {"annotations": {
        "rehearsal.bigvm.io/fail": "never-converges"}}})
    with change(world):
        time.sleep(LAG)
        row = facts(world, name="w", namespace="default")["w"]
        assert row["verdict"] == "live" and code in judged(row), judged(row)
        vmim, said = ask(world, "w")
        assert seen(steps, vmim)[0] == SCHEDULED
        steps.until_phase(vmim, "Running", step=0.2)
        steps.cancel(vmim)
        steps.until(lambda: steps.migration(vmim) is None and sum(map(is_active, steps.pods("w"))) == 1, step=0.2)


def test_a_second_migration_is_foreseen_and_refused(world, outcomes):
    steps = Steps(world)
    steps.api.patch(path_of(KUBEVIRT, "virtualmachineinstances", "default", "w"), {"metadata": {"annotations": {
        "rehearsal.bigvm.io/fail": "never-converges"}}})
    vmim, said = ask(world, "w")
    row = facts(world, name="w", namespace="default")["w"]
    assert row["verdict"] == "blocked" and "ForeignMigrationUnderWay" in judged(row)
    assert "in-flight migration detected" in ask(world, "w")[1]
    steps.until_phase(vmim, "Running", step=0.2)
    steps.cancel(vmim)
    steps.until(lambda: steps.migration(vmim) is None, step=0.2)
