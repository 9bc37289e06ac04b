# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every feature does, as somebody with just the rights of a role, on a cluster on which each right is used once.

A step is what one feature does from its begin to its end; between steps the cluster is as before.
"""

from __future__ import annotations

import sys
from collections import namedtuple
from pathlib import Path

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import argument_spec, outcome
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import access
from ansible_collections.bigvm.live_migration.plugins.modules import (
    access_check_info,
    evacuation_plan_info,
    hana_node_pool,
    hco_live_migration_config,
    maintenance_interlocks,
    migrate_vmi,
    migration_network,
    migration_network_probe,
    migration_policy,
    node_drain,
    node_gate_info,
    node_hold,
    vm_migratable_facts,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.in_process import StandIn
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import rest
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.access import verb_of
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.wire import Request

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import rbac  # noqa: E402

KUBEVIRT = "openshift-cnv"  # the namespace of KubeVirt in an embedded cluster
GUESTS = ("default",)
VMS = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances/"
CHECKS = (("/apis/remediation.medik8s.io/v1alpha1/nodehealthchecks", "NodeHealthCheck"),
          ("/apis/machine.openshift.io/v1beta1/namespaces/default/machinehealthchecks", "MachineHealthCheck"),
          ("/apis/cluster.x-k8s.io/v1beta1/namespaces/default/machinehealthchecks", "MachineHealthCheck"))
PAUSE = ["node_health_check", "machine_health_check"]
TOPOLOGY = {
    "generation": "1.9",
    "live_migration": {"network": "migration-net"}, "network": {"name": "migration-net", "range": "10.200.5.0/24"},
    "nodes": [{"names": ["node-a", "node-b"], "memory": "64Gi", "cpus": 32, "link": "10G", "nics": ["ens4f0"]},
              {"name": "node-c", "memory": "128Gi", "cpus": 32, "cordoned": True, "nics": ["ens4f0"], "labels": {
                  "node-role.kubernetes.io/hana": "", "cpu-vendor.node.kubevirt.io/AMD": "true"}}],
    "vms": [{"name": "vm-1", "namespace": "default", "node": "node-a", "memory": "4Gi", "cpus": 2, "dirty_rate": "10M",
             "disk": "20Gi"},
            {"name": "vm-off", "namespace": "default", "memory": "2Gi", "cpus": 1}],
    "pods": [{"name": "web", "namespace": "web", "node": "node-b", "budget": {"minAvailable": 1}}],
    "kinds": ["ClusterVersion", "MachineConfigPool", "NodeMaintenance", "NodeHealthCheck", "MachineHealthCheck", "Machine",
              "KubeDescheduler", "MachineConfig", "KubeletConfig", "PerformanceProfile", "Tuned"],
    "objects": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "openshift-cluster-node-tuning-operator"}},
        {"apiVersion": "machineconfiguration.openshift.io/v1", "kind": "MachineConfigPool", "metadata": {
            "name": "hana", "labels": {"pools.operator.machineconfiguration.openshift.io/hana": ""}},
         "spec": {"machineConfigSelector": {"matchLabels": {"machineconfiguration.openshift.io/role": "hana"}},
                  "nodeSelector": {"matchLabels": {"node-role.kubernetes.io/hana": ""}}}},
        {"apiVersion": "machineconfiguration.openshift.io/v1", "kind": "MachineConfig", "spec": {"kernelArguments": ["quiet"]},
         "metadata": {"name": "00-hana", "labels": {"machineconfiguration.openshift.io/role": "hana"}}}],
}
# What else a cluster may serve: group: version, and plural: kind, namespaced
MORE = (
    ("cluster.x-k8s.io", "v1beta1", "MachineHealthCheck", "machinehealthchecks", True),
    ("cluster.x-k8s.io", "v1beta1", "Machine", "machines", True),
    ("nodemaintenance.kubevirt.io", "v1beta1", "NodeMaintenance", "nodemaintenances", False),
    ("aaq.kubevirt.io", "v1alpha1", "AAQ", "aaqs", False),
    ("aaq.kubevirt.io", "v1alpha1", "ApplicationAwareResourceQuota", "applicationawareresourcequotas", True),
    ("nmstate.io", "v1", "NodeNetworkConfigurationPolicy", "nodenetworkconfigurationpolicies", False),
    ("config.openshift.io", "v1", "Network", "networks", False),
    ("operator.openshift.io", "v1", "Network", "networks", False),
    ("image.openshift.io", "v1", "ImageStream", "imagestreams", True),
    ("quota.openshift.io", "v1", "ClusterResourceQuota", "clusterresourcequotas", False),
    ("topology.node.k8s.io", "v1alpha2", "NodeResourceTopology", "noderesourcetopologies", False),
)

# One right to be taken away: by the first role that has it, and where it is bound.
Right = namedtuple("Right", "place group resource verb required")


def title(right):
    """As everybody writes it."""
    return access.title(access.Need("", right.group, right.resource, right.verb, right.place, right.required, ""))


def rights(role):
    """All of a role."""
    return [Right(place, rule["group"], resource, verb, rule["required"]) for place, rules in rbac.parts(role).items()
            for rule in rules for resource in rule["resources"] for verb in rule["verbs"]]


def granted(role, without=None, guests=GUESTS, operator=KUBEVIRT):
    """The rules of a token that has the role bound as docs/rbac says, but for one right."""
    namespaces = {access.CLUSTER: [], access.GUESTS: list(guests), access.OPERATOR: [operator]}
    found = {}
    for right in rights(role):
        if right != without:
            name = title(right).partition(" ")[2]
            found.setdefault((right.place, name), []).append(right.verb)
    return [dict({"verbs": verbs, "resources": [name]}, **({"namespaces": namespaces[place]} if namespaces[place] else {}))
            for (place, name), verbs in found.items()]


def asked_for(rows):
    """``{(group, resource, verb)}`` of an audit log."""
    found = set()
    for row in rows:
        target = rest.parse(row["path"])
        if row.get("userAgent", "").startswith(("kube-", "kwok")):
            continue  # the lab's own programs
        if target is not None and not row["path"].startswith("/bigvm/") and target.plural != "selfsubjectaccessreviews":
            resource = target.plural + ("/" + target.subresource if target.subresource else "")
            found.add((target.group, resource, verb_of(Request(row["method"], row["path"], row["query"]), target)))
    return found


def run(module, connection, check_mode=False, **options):
    """``(failed, result)`` of a module's function with options as Ansible validates them."""
    validator = ArgumentSpecValidator(argument_spec(**module.SPEC), **getattr(module, "CONSTRAINTS", {}))
    validated = validator.validate(dict(connection, **options))
    assert validated.error_messages == []
    stand_in, said = StandIn(validated.validated_parameters, check_mode, False), []
    failed, result = outcome(module.execute, stand_in, say=said.append)
    return failed, dict(result, warnings=stand_in.warnings, said=said)


class Site:
    """The cluster, made for this, and a run on it with the rights of a token."""

    def __init__(self, cluster):
        self.c, self.api, self.guests = cluster, cluster.api, list(GUESTS)
        for row in MORE:
            self._serve(*row)
        for path, kind in CHECKS:
            self.api.create(path, {"apiVersion": "/".join(path.split("/")[2:4]), "kind": kind, "metadata": {"name": "workers"},
                                   "spec": {"selector": {}}})
            if kind == "MachineHealthCheck":
                self.api.create(path.replace("machinehealthchecks", "machines"), {
                    "apiVersion": "/".join(path.split("/")[2:4]), "kind": "Machine", "metadata": {"name": "m-0"}})
        self.api.patch("/api/v1/nodes/node-a", {"metadata": {"annotations": {"machine.openshift.io/machine": "default/m-0"}}})
        self.api.patch("/api/v1/nodes/node-b", {"metadata": {"annotations": {
            "cluster.x-k8s.io/machine": "m-0", "cluster.x-k8s.io/cluster-namespace": "default"}}})
        self.c.http("POST", "/api/v1/namespaces", {"metadata": {"name": "openshift"}})
        self.api.create("/apis/image.openshift.io/v1/namespaces/openshift/imagestreams", {
            "apiVersion": "image.openshift.io/v1", "kind": "ImageStream", "metadata": {"name": "network-tools"},
            "status": {"tags": [{"tag": "latest", "items": [{"dockerImageReference": "tools"}]}]}})
        self.api.create("/apis/migrations.kubevirt.io/v1alpha1/migrationpolicies", {
            "apiVersion": "migrations.kubevirt.io/v1alpha1", "kind": "MigrationPolicy", "metadata": {"name": "site"},
            "spec": {"selectors": {"namespaceSelector": {"tier": "gold"}}, "allowAutoConverge": False}})

    def _serve(self, group, version, kind, plural, namespaced):
        self.c.define({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {
                "name": "%s.%s" % (plural, group), "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"}},
            "spec": {"group": group, "scope": "Namespaced" if namespaced else "Cluster",
                     "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": kind + "List"},
                     "versions": [{"name": version, "served": True, "storage": True, "schema": {
                         "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}})

    def vmi(self, name="vm-1"):
        return self.api.get(VMS + name)


class Actor:
    """Does the steps with one token. ``failures`` are messages, ``results`` what the modules returned, ``asked`` the rights
    that were used, when it is ``listening``.
    """

    def __init__(self, site, api_key, listening=False):
        self.site, self.connection, self.listening = site, dict(site.c.connection, api_key=api_key), listening
        self.failures, self.results, self.asked = [], [], set()

    def do(self, module, **options):
        """One module; what comes after a failure is not done, as in a playbook."""
        if self.failures:
            return
        before = len(self.site.c.requests()) if self.listening else 0
        failed, result = run(module, self.connection, **options)
        if self.listening:
            self.asked |= asked_for(self.site.c.requests()[before:])
        self.results.append(result)
        if failed:
            self.failures.append(result["msg"])

    def refused(self):
        """What was said of rights that are missing, where it stopped something: messages, and findings that block."""
        found = [text for text in self.failures if "ot allowed" in text or "right to" in text]
        for result in self.results:
            for row in _rows(result):
                text = "%s %s" % (row.get("message"), row.get("remedy"))
                if row.get("severity") == "blocker" and ("right to" in text or "ot allowed" in text):
                    found.append("%s: %s" % (row.get("code"), text))
                if row.get("code") == "handler_unreadable":
                    found.append("node_gate: %s" % text)
        return found


def _rows(value):
    """Every dict somewhere in a result."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _rows(one)


def done(site, step, api_key, listening=False):
    """An :class:`Actor` that has done one step; the cluster is as before."""
    actor = Actor(site, api_key, listening)
    try:
        step(actor)
    finally:
        if step not in READING:
            tidy(site)
    return actor


# -- what the features do ----------------------------------------------------------------


def preflight(actor):
    actor.do(vm_migratable_facts)


def plan(actor):
    actor.do(evacuation_plan_info, node="node-a")


def node_gate(actor):
    actor.do(node_gate_info, node="node-b", before={}, wait="0")


def interlocks_check(actor):
    actor.do(maintenance_interlocks, node="node-a", run="r1", hold=PAUSE)
    actor.do(maintenance_interlocks, node="node-b", run="r1", hold=PAUSE)


def _one(**more):
    return dict({"vms": [{"name": "vm-1", "namespace": "default"}]}, **more)


def migrate(actor):
    here = actor.site.vmi()["status"]["nodeName"]
    there = "node-b" if here == "node-a" else "node-a"
    actor.site.api.patch("/api/v1/nodes/%s" % here, {"metadata": {"annotations": {"rehearsal.bigvm.io/link": "1G"}}})
    actor.do(migrate_vmi, **_one(target_node=there, progress_interval=5))


def cancel(actor):
    """A copy that lasts too long."""
    here = actor.site.vmi()["status"]["nodeName"]
    actor.site.api.patch("/api/v1/nodes/%s" % here, {"metadata": {"annotations": {"rehearsal.bigvm.io/link": "100M"}}})
    actor.do(migrate_vmi, **_one(away_from=[here], timeout="60s", progress_interval=0))


def evacuated(actor):
    """A guest that KubeVirt would go on migrating."""
    site = actor.site
    site.api.create("/bigvm/v1/script", [{"name": "drain-%f" % site.api.clock.now(), "when": {"time": 1}, "do": [
        {"evict": {"namespace": "default", "vmi": "vm-1"}}]}])
    site.c.wait(10)
    actor.do(migrate_vmi, **_one(state="aborted", progress_interval=0))


def failing(actor):
    """A migration that fails: it does in any case, so that only what is said counts."""
    site = actor.site
    site.api.patch(VMS + "vm-1", {"metadata": {"annotations": {"rehearsal.bigvm.io/fail": "libvirt-error"}}})
    actor.do(migrate_vmi, **_one(away_from=[site.vmi()["status"]["nodeName"]], progress_interval=0))


def stopped(actor):
    actor.do(migrate_vmi, vms=[{"name": "vm-off", "namespace": "default"}], away_from=["node-a"], progress_interval=0)


def hold(actor):
    actor.do(node_hold, name="node-a", state="awaited")
    actor.do(node_hold, name="node-a", run="r1")
    actor.site.c.wait(300)
    actor.do(node_hold, name="node-a", run="r1", phase="moving")
    actor.do(node_hold, name="node-a", state="read")
    actor.do(node_hold, name="node-a", run="r1", state="released")


def interlocks(actor):
    for node in ("node-a", "node-b"):
        run(node_hold, actor.site.c.connection, name=node, run="r1", cordon=False)
        actor.do(maintenance_interlocks, node=node, run="r1", state="held", hold=PAUSE)
        actor.do(maintenance_interlocks, node=node, run="r1", state="restored")


def settings_hold(actor):
    vmi = actor.site.vmi()
    actor.do(migration_policy, state="held", run="r1", settings={"allow_auto_converge": True},
             vms=[{"name": "vm-1", "namespace": "default", "uid": vmi["metadata"]["uid"]}])
    actor.do(migration_policy, state="held", run="r1", settings={"allow_auto_converge": False},
             vms=[{"name": "vm-1", "namespace": "default", "uid": vmi["metadata"]["uid"]}])
    actor.do(migration_policy, state="restored", run="r1")


def cluster_settings(actor):
    actor.do(hco_live_migration_config, progress_timeout=300, hold="r1")
    actor.do(hco_live_migration_config, state="restored", hold="r1")


def network(actor):
    actor.site.c.wait(400)
    actor.do(hco_live_migration_config, network="")
    actor.do(hco_live_migration_config, network="migration-net")


SECOND = {"name": "second", "nodes": [{"nic": "ens4f0"}], "range": "10.201.5.0/24"}


def second_network(actor):
    actor.do(migration_network, mtu=1500, **SECOND)
    actor.do(migration_network, mtu=9000, **SECOND)
    actor.do(migration_network, name="second", state="absent")


def network_probe(actor):
    run(migration_network, actor.site.c.connection, **SECOND)
    actor.do(migration_network_probe, name="second", seconds=1)


def node_prep_check(actor):
    actor.do(hana_node_pool, pool="hana", hugepages_1gi="16")


def node_prep(actor):
    """Begun, changed, rolled out on an empty node, ended."""
    wanted = {"pool": "hana", "run": "r1", "reboot_ok": True}
    actor.do(hana_node_pool, state="begun", hugepages_1gi="16", **wanted)
    wanted.update(hugepages_1gi="8", topology_manager="best-effort")
    actor.do(hana_node_pool, state="begun", **wanted)
    actor.do(hana_node_pool, state="rolled", node="node-c", **wanted)
    actor.do(hana_node_pool, state="returned", node="node-c", **wanted)
    actor.do(hana_node_pool, state="ended", **wanted)


def withdrawn(actor):
    """Begun in each of the other ways, changed, and put back."""
    wanted = {"pool": "hana", "run": "r1", "reboot_ok": True}
    for method in ({"method": "machine_config"}, {"method": "tuned"},
                   {"method": "performance_profile", "reserved_cpus": "0-3", "isolated_cpus": "4-31"}):
        for pages in ("8", "16"):
            actor.do(hana_node_pool, state="begun", hugepages_1gi=pages, **dict(wanted, **method))
        actor.do(hana_node_pool, state="withdrawn", **wanted)


def unprepared(site):
    """The pool as it was, by somebody with all rights who needs no care: its node has no guest."""
    group = "/apis/machineconfiguration.openshift.io/v1/"
    paths = [group + "machineconfigs/99-hana-bigvm-hana", group + "kubeletconfigs/99-hana-bigvm-hana",
             "/apis/performance.openshift.io/v2/performanceprofiles/bigvm-hana-hana",
             "/apis/tuned.openshift.io/v1/namespaces/openshift-cluster-node-tuning-operator/tuneds/bigvm-hana-hana",
             group + "machineconfigpools/hana-bigvm-roll"]
    there = [path for path in paths if site.c.http("GET", path)[0] == 200]
    note = "live-migration.bigvm.io/node-prep"
    if not there and note not in (site.api.get(group + "machineconfigpools/hana")["metadata"].get("annotations") or {}):
        return
    site.api.patch("/api/v1/nodes/node-c", {"spec": {"taints": None, "unschedulable": None}, "metadata": {
        "annotations": {note: None}, "labels": {"node-role.kubernetes.io/hana": "", "node-role.kubernetes.io/hana-bigvm-roll": None}}})
    for path in there:
        site.c.http("DELETE", path)
    site.api.patch(group + "machineconfigpools/hana", {"spec": {"paused": False}, "metadata": {"annotations": {note: None}}})
    site.c.wait(1200)
    site.api.patch("/api/v1/nodes/node-c", {"spec": {"unschedulable": True}})


def site_policy(actor):
    for cap in ("1Gi", "2Gi"):
        actor.do(migration_policy, name="gold", vmi_selector={"tier": "gold"}, bandwidth_per_migration=cap)
    actor.do(migration_policy, name="gold", state="absent")


def drain(actor):
    actor.site.api.patch("/api/v1/nodes/node-b", {"spec": {"unschedulable": True}})
    actor.do(node_drain, node="node-b", timeout="2min", progress_interval=0)


def restore(actor):
    """What a dead run left behind, by somebody who was not told of it."""
    run(node_hold, actor.site.c.connection, name="node-a", run="r1")
    actor.site.c.wait(1200)
    actor.do(node_hold, state="read")
    actor.do(node_hold, name="node-a", state="awaited")
    actor.do(migrate_vmi, state="followed", progress_interval=0)
    actor.do(migration_policy, state="restored", run="r1")
    actor.do(hco_live_migration_config, state="restored", hold="r1")
    actor.do(maintenance_interlocks, node="node-a", run="r1", state="restored")
    actor.do(node_hold, name="node-a", state="released")


def tidy(site):
    """Whatever a step left, also one that failed in the middle, is put back with all rights."""
    connection, vmims = site.c.connection, "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstancemigrations"
    run(migration_policy, connection, state="restored")
    run(hco_live_migration_config, connection, state="restored")
    run(migration_policy, connection, name="gold", state="absent")
    run(migration_network, connection, name="second", state="absent")
    for name in ("node-a", "node-b"):
        run(maintenance_interlocks, connection, node=name, run="r1", state="restored")
        run(node_hold, connection, name=name, state="released")
        site.api.patch("/api/v1/nodes/%s" % name, {
            "spec": {"unschedulable": None}, "metadata": {"annotations": {"rehearsal.bigvm.io/link": None}}})
    unprepared(site)
    leases = "/apis/coordination.k8s.io/v1/namespaces/%s/leases" % KUBEVIRT
    for lease in site.api.list(leases).items:
        if lease["metadata"]["name"].startswith("live-migration-"):
            site.c.http("DELETE", "%s/%s" % (leases, lease["metadata"]["name"]))
    vmi = site.vmi()
    site.api.patch(VMS + "vm-1", {"metadata": {"annotations": {"rehearsal.bigvm.io/fail": None}}})
    if vmi["status"].get("evacuationNodeName"):
        path = VMS.replace("/kubevirt.io/", "/subresources.kubevirt.io/") + "vm-1/evacuate/cancel"
        site.c.http("PUT", path, {"evacuationNodeName": vmi["status"]["evacuationNodeName"]})
    found = site.api.list(vmims).items
    for vmim in found:
        site.c.http("DELETE", "%s/%s" % (vmims, vmim["metadata"]["name"]))
    if found:
        site.c.wait(120)  # until KubeVirt has forgotten them, too


STEPS = (preflight, plan, node_gate, interlocks_check, migrate, cancel, evacuated, failing, stopped, hold, interlocks,
         settings_hold, site_policy, drain, restore, cluster_settings, network,
         second_network, network_probe, node_prep_check, node_prep, withdrawn)
FEATURE = {"cancel": "migrate", "evacuated": "migrate", "failing": "migrate", "stopped": "migrate", "site_policy": "settings_hold",
           "network": "cluster_settings", "second_network": "migration_network", "withdrawn": "node_prep"}
STILL = (preflight, plan, node_gate, interlocks_check, interlocks, settings_hold, site_policy)  # no KubeVirt has to act for these
READING = (preflight, plan, node_gate, interlocks_check, node_prep_check)
FAIL = ("cancel", "failing", "stopped", "drain")  # as they should


def own_features(role):
    """Those which this role is the first to have."""
    before = set()
    for name in access.ROLES:
        if name == role:
            return set(rbac.features(name)) - before
        before |= set(rbac.features(name))
    raise KeyError(role)


def steps(role):
    """What only this role, and none before, can do."""
    return [step for step in STEPS if FEATURE.get(step.__name__, step.__name__) in own_features(role)]


# -- without one right --------------------------------------------------------------------

OTHERS = "stand in the way"  # what the interlocks are about


def named(text, right):
    """Whether a text says verb and resource, in Kubernetes' words or in ours."""
    plural = title(right).partition(" ")[2]
    return ('cannot %s resource "%s" in API group "%s"' % (right.verb, right.resource, right.group) in text
            or "right to %s %s" % (right.verb, plural) in " ".join(text.split()))


def rows_of(role, right):
    """The lines of the table that make it a right of this role, and of none before."""
    own = own_features(role)
    return [row for row in access.TABLE if row.feature in own and row[1:4] == right[1:4]
            and right.place in (access.CLUSTER, rbac.place(row))]


def judged(whole, site, role, right, key):
    """What is untrue about one right of one role: ``[text]``.

    :param whole: ``{step: Actor}`` with all rights; steps that are not in it are not tried.
    :param key: the token of somebody without that right.
    """
    rows = rows_of(role, right)
    required = [row.feature for row in rows if row.required]
    untrue, failed = [], False
    tried = [step for step, actor in whole.items() if right[1:4] in actor.asked]
    for step in tried:
        actor = done(site, step, key)
        refused = actor.refused()
        if not required and not whole[step].failures and (refused or actor.failures):
            untrue.append("optional, but stops %s: %s" % (step.__name__, (refused + actor.failures)[0]))
        if refused and not any(named(text, right) for text in refused):
            untrue.append("%s does not name it: %s" % (step.__name__, refused[0]))
        if actor.failures and required and refused and not any(name in " ".join(refused) for name in required + [OTHERS]):
            untrue.append("%s does not name the feature: %s" % (step.__name__, refused[0]))
        failed = failed or bool(refused)
        if failed and required:
            break  # one is enough: the others ask in the same way
    if required and tried and not failed:
        untrue.append("required for %s, but nothing fails: %s" % (", ".join(required), actor.failures or actor.results))
    return ["%s: %s" % (title(right), text) for text in untrue + told_beforehand(site, key, rows, right)]


def told_beforehand(site, key, rows, right):
    """``access_check_info`` says what is missing, how bad that is and what is lost."""
    failed, result = run(access_check_info, dict(site.c.connection, api_key=key), namespaces=site.guests,
                         features=[row.feature for row in rows])
    assert not failed, result["msg"]
    worst = [row for row in rows if row.required] or rows
    severity = access.BLOCKER if worst[0].required else access.WARNING
    found = [row["message"] for row in result["problems"] if row["severity"] == severity]
    if not any("right to %s" % title(right) in text and row.feature in text and row.lost in text for row in worst for text in found):
        return ["access_check_info does not tell it: %s" % result["problems"]]
    return []
