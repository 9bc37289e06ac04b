# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HyperConverged -> KubeVirt CR -> virt-handler, each with its lag and its conditions (facts 10).

A change of HyperConverged reaches the KubeVirt CR after a moment; HyperConverged
may call itself healthy before anything rolled out (facts 10.9). KubeVirt's
conditions flap after every change (10.11); only a change of the migration
network rolls the virt-handler pods, one after another.
"""

from __future__ import annotations

import hashlib
import json

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.settings import FIELDS, block_of
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import objects, patching, status
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.rollout import Rollout
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    HCO,
    KUBEVIRT,
    Loop,
    drop_condition,
    is_deleted,
    key_of,
    set_condition,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.store import copied

OPERATOR = "hyperconverged-cluster-operator"
JSON_PATCH = "kubevirt.kubevirt.io/jsonpatch"
WORKLOADS = {"workloadUpdateMethods": ["LiveMigrate"], "batchEvictionSize": 10, "batchEvictionInterval": "1m0s"}
CONFIG_SETTLES = (3.0, 8.0)  # seconds of flapping conditions after any change of KubeVirt's spec


def version_of(hco):
    """The API version that the stored object is in."""
    return hco["apiVersion"].split("/")[1]


def wanted_configuration(hco):
    """``spec.configuration`` parts that HyperConverged writes: ``{migrations, evictionStrategy}``."""
    block = block_of(hco, version_of(hco))
    known = {field.key for field in FIELDS.values()}
    migrations = {key: value for key, value in block.items() if key in known and value is not None}
    spec = hco.get("spec") or {}
    strategy = (spec.get("virtualization") or {}).get("evictionStrategy") or spec.get("evictionStrategy")
    wanted = {"migrations": migrations}
    if strategy:
        wanted["evictionStrategy"] = strategy
    return wanted


def wanted_spec(hco, spec):
    """KubeVirt's ``spec`` (dict) as HyperConverged wants it, its jsonpatch annotation included (facts 10.7).

    :raises ApiStatus: when the annotation is no patch of ``/spec/``.
    """
    new = copied(spec)
    configuration = new.setdefault("configuration", {})
    configuration.pop("migrations", None)
    configuration.update(wanted_configuration(hco))
    asked = hco.get("spec") or {}
    new["workloadUpdateStrategy"] = copied(
        (asked.get("virtualization") or {}).get("workloadUpdateStrategy") or asked.get("workloadUpdateStrategy") or WORKLOADS)
    text = (hco["metadata"].get("annotations") or {}).get(JSON_PATCH)
    if text:
        try:
            operations = json.loads(text)
            if not all(operation["path"].startswith("/spec/") for operation in operations):
                raise ValueError("every path must begin with /spec/")
            new = patching.apply(patching.JSON, {"spec": new}, operations)["spec"]
        except (ValueError, TypeError, KeyError) as exc:
            raise status.bad_request("invalid %s annotation: %s" % (JSON_PATCH, exc)) from exc
    return new


def deployment_id(spec):
    """Of all settings only the network is part of it (facts 10.11)."""
    network = ((spec.get("configuration") or {}).get("migrations") or {}).get("network") or ""
    return hashlib.sha1(("kubevirt %s" % network).encode()).hexdigest()


def base_configuration(generation):
    """What HyperConverged configures by itself, as far as a migration is concerned."""
    known = {"developerConfiguration": {"cpuAllocationRatio": 10, "memoryOvercommit": 100,
                                        "featureGates": ["CPUManager", "HypervStrictCheck", "VMPersistentState"]}}
    return known if generation.console_log else dict(known, virtualMachineOptions={"disableSerialConsoleLog": {}})


def settle(store, generation, now):
    """Put a KubeVirt CR beside HyperConverged with everything deployed: how a cluster is found (no lag, no flap)."""
    hco = next(iter(store.list(HCO)), None)
    kubevirt = next(iter(store.list(KUBEVIRT)), None)
    if kubevirt is None:
        ns = hco["metadata"]["namespace"] if hco else objects.HCO_NAMESPACE
        kubevirt = store.create(KUBEVIRT, {
            "apiVersion": "kubevirt.io/v1", "kind": "KubeVirt",
            "metadata": {"name": objects.KUBEVIRT_NAME, "namespace": ns},
            "spec": wanted_spec(hco, {"configuration": base_configuration(generation)}) if hco else {
                "configuration": base_configuration(generation)},
        })
    key = key_of(kubevirt)
    store.modify(KUBEVIRT, *key, lambda new: deployed(new, generation, now))
    if hco is not None:
        store.modify(HCO, *key_of(hco), lambda new: hco_status(new, store.get(KUBEVIRT, *key), generation, now))


def rolling(kubevirt, generation, now):
    """KubeVirt's status (in place) while a change of its spec is under way (facts 10.10, 10.11)."""
    state, target = kubevirt["status"], deployment_id(kubevirt["spec"])
    # A network that was taken back before it was everywhere rolls the pods back as well.
    rolls = {target} != {state.get("observedDeploymentID"), state.get("targetDeploymentID")}
    state["targetDeploymentID"] = target
    reason, text = ("UpdateInProgress", "Transitioning from previous version") if rolls else (
        "DeploymentInProgress", "Deploying version %s" % generation.kubevirt)
    set_condition(kubevirt, "Available", rolls, reason, text, now)
    set_condition(kubevirt, "Progressing", True, reason, text, now)
    set_condition(kubevirt, "Degraded", rolls, reason, text, now)
    return rolls


def deployed(kubevirt, generation, now):
    """KubeVirt's status (in place) when all is rolled out."""
    state = kubevirt.setdefault("status", {})
    identity = deployment_id(kubevirt["spec"])
    state.update(
        phase="Deployed", observedGeneration=kubevirt["metadata"].get("generation", 1),
        observedKubeVirtVersion=generation.kubevirt, targetKubeVirtVersion=generation.kubevirt,
        operatorVersion=generation.kubevirt, observedDeploymentID=identity, targetDeploymentID=identity,
        outdatedVirtualMachineInstanceWorkloads=state.get("outdatedVirtualMachineInstanceWorkloads", 0),
        defaultArchitecture="amd64",
    )
    set_condition(kubevirt, "Available", True, "AllComponentsReady", "All components are ready.", now)
    set_condition(kubevirt, "Progressing", False, "AllComponentsReady", "All components are ready.", now)
    set_condition(kubevirt, "Degraded", False, "AllComponentsReady", "All components are ready.", now)
    set_condition(kubevirt, "Created", True, "AllResourcesCreated", "All resources were created.", now)


def hco_status(hco, kubevirt, generation, now, healthy=None):
    """HyperConverged's status, from KubeVirt's conditions; ``healthy`` True skips reading them (facts 10.9)."""
    rows = {row["type"]: row for row in ((kubevirt or {}).get("status") or {}).get("conditions") or []}
    found = {"Available": "True", "Progressing": "False", "Degraded": "False"} if healthy else {
        kind: (rows.get(kind) or {}).get("status", "Unknown") for kind in ("Available", "Progressing", "Degraded")}
    state = hco.setdefault("status", {})
    observed = hco["metadata"].get("generation", 1)
    state.update(observedGeneration=observed, versions=objects.subscription_version(generation),
                 infrastructureHighlyAvailable=True)
    settled = found["Progressing"] == "False" and found["Degraded"] == "False"
    good = "Reconcile completed successfully"
    set_condition(hco, "ReconcileComplete", True, "ReconcileCompleted", good, now)
    for kind in ("Available", "Progressing", "Degraded"):
        fine = found[kind] == ("True" if kind == "Available" else "False")
        row = rows.get(kind) or {}
        set_condition(hco, kind, found[kind], "ReconcileCompleted" if fine else "KubeVirt%s" % kind,
                      good if fine else row.get("message", ""), now)
    set_condition(hco, "Upgradeable", settled, "ReconcileCompleted" if settled else "KubeVirtNotSettled", good, now)
    if (hco["metadata"].get("annotations") or {}).get(JSON_PATCH):
        set_condition(hco, "TaintedConfiguration", True, "UnsupportedFeatureAnnotation",
                      "Unsupported feature was activated via an HCO annotation", now)
    else:
        drop_condition(hco, "TaintedConfiguration")
    for row in state["conditions"]:
        row["observedGeneration"] = observed
    state["systemHealthStatus"] = "error" if found["Degraded"] == "True" else "healthy" if settled and found[
        "Available"] == "True" else "warning"


def _conditions(obj):
    return (obj.get("status") or {}).get("conditions")


class HyperConverged:
    """Both operators: HyperConverged's and KubeVirt's."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self.hco = Loop(world, self._reconcile_hco, (1.0, 3.0))
        self.kubevirt = Loop(world, self._reconcile_kubevirt, (1.0, 2.5))
        self._settling = 0
        self.store.admit(HCO, self._admit)
        self.store.on_event(HCO, self._hco_changed)
        self.store.on_event(KUBEVIRT, self._kubevirt_changed)
        self.handlers = Rollout(world)

    # -- HyperConverged --------------------------------------------------------

    def _admit(self, operation, obj, old, user, dry_run):
        """Refusals: another place, undecodable numbers, and what KubeVirt says to a dry run (facts 10.6)."""
        if operation == "DELETE" or user.startswith("system:"):
            return
        for key, value in block_of(obj, version_of(obj)).items():
            if isinstance(value, int) and not isinstance(value, bool) and value < 0:
                raise status.bad_request(
                    'admission webhook "validate-hco.kubevirt.io" denied the request: json: cannot unmarshal number %d '
                    "into Go struct field .%s of type uint32" % (value, key))
        if operation == "CREATE" and obj["metadata"].get("namespace") != objects.HCO_NAMESPACE:
            raise status.ApiStatus(403, "Forbidden", "HyperConverged CR can only be created in the %s namespace"
                                   % objects.HCO_NAMESPACE)
        current = self.world.kubevirt()
        if current is not None and not is_deleted(obj):
            new = copied(current)
            new["spec"] = wanted_spec(obj, current["spec"])
            self.store.update(KUBEVIRT, new, user=OPERATOR, dry_run=True)

    def _hco_changed(self, kind, hco, old):
        if kind == "DELETED":
            return
        if old is None or (hco["metadata"].get("generation"), hco["metadata"].get("annotations")) != (
                old["metadata"].get("generation"), old["metadata"].get("annotations")):
            self.hco.add(key_of(hco))

    def _reconcile_hco(self, key):
        hco = self.store.get(HCO, *key)
        if hco is None:
            return
        now = self.world.stamp()
        if hco["metadata"]["name"] != objects.HCO_NAME:
            self.store.modify(HCO, *key, lambda new: set_condition(
                new, "ReconcileComplete", False, "InvalidRequest", "the name must be %s" % objects.HCO_NAME, now))
            return
        current = self.world.kubevirt()
        if current is None:
            settle(self.store, self.world.generation, now)
            return
        spec = wanted_spec(hco, current["spec"])
        wrote = spec != current["spec"]
        if wrote:
            self.store.modify(KUBEVIRT, *key_of(current), lambda new: new.update(spec=spec))
        # In the round that wrote the CR its conditions are not read: healthy, and nothing rolled out yet (facts 10.9).
        self.store.modify(HCO, *key, lambda new: hco_status(
            new, self.world.kubevirt(), self.world.generation, now, healthy=wrote or None))
        if wrote:
            self.hco.add(key)

    # -- KubeVirt --------------------------------------------------------------

    def _kubevirt_changed(self, kind, kubevirt, old):
        hco = self.world.hyperconverged()
        if kind == "DELETED":
            if hco is not None:
                self.hco.add(key_of(hco))
            return
        if old is None or kubevirt["metadata"].get("generation") != old["metadata"].get("generation"):
            self.kubevirt.add(key_of(kubevirt))
            if hco is not None:  # an edit of the CR itself is put back (facts 10.7)
                self.hco.add(key_of(hco))
        elif hco is not None and _conditions(kubevirt) != _conditions(old):
            self.hco.add(key_of(hco))

    def _reconcile_kubevirt(self, key):
        kubevirt = self.store.get(KUBEVIRT, *key)
        state = (kubevirt or {}).get("status") or {}
        if kubevirt is None or state.get("observedGeneration") == kubevirt["metadata"]["generation"]:
            return
        self._settling += 1
        turn, rolls = self._settling, []
        self.store.modify(KUBEVIRT, *key, lambda new: rolls.append(rolling(new, self.world.generation, self.world.stamp())))
        if rolls[-1]:
            self.handlers.begin(lambda: self._settled(key, turn))
        else:
            self.world.later(*CONFIG_SETTLES, lambda: self._settled(key, turn))

    def _settled(self, key, turn):
        if turn == self._settling:  # else a later change has taken over
            self.store.modify(KUBEVIRT, *key, lambda new: deployed(new, self.world.generation, self.world.stamp()))
