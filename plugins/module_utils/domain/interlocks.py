# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who else is at work on a cluster or a node, and would spoil a maintenance or be spoiled by it.

Each rule looks at the objects of one actor and says what it found; nothing here pauses anything. Health checks are the
dangerous ones: a host whose power-on self-test takes longer than their patience is fenced in the middle of it.
"""

from __future__ import annotations

import textwrap

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import gitops, migration, node_roll
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.placement import label_selector_matches
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    condition,
    dig,
    key_of,
    labels,
    mapping,
    rows,
    text,
    texts,
)

BLOCKER, WARNING, INFO = "blocker", "warning", "info"
CODES = (
    "cluster_version_updating", "hyperconverged_upgrading", "kubevirt_updating", "machine_config_pool_busy",
    "node_maintenance_object", "node_health_check", "machine_health_check", "descheduler_active",
    "workload_updates_outstanding", "foreign_migrations", "evacuation_marked", "drain_taint", "gitops_owned",
    "interlock_unreadable",
)
HOLDABLE = {"NodeHealthCheck": "node_health_check", "MachineHealthCheck": "machine_health_check"}
WRITES = ("node", "hyperconverged")
PAUSED = "cluster.x-k8s.io/paused"  # annotation of a MachineHealthCheck, of OpenShift (4.9 and later) and of Cluster API
MACHINE_OF = (  # annotation of a node, API group of its machine
    ("machine.openshift.io/machine", "machine.openshift.io"), ("cluster.x-k8s.io/machine", "cluster.x-k8s.io"))
MACHINE_NAMESPACE = "cluster.x-k8s.io/cluster-namespace"  # Cluster API names the machine's namespace apart
POOL_STATE = "machineconfiguration.openshift.io/state"
DRAIN_TAINT = "kubevirt.io/drain"
SCHEDULABLE = "kubevirt.io/schedulable"
DESCHEDULER = "sigs.k8s.io/descheduler"


def token_of(run):
    """What we pause a health check with: nobody else writes that, so that it alone is taken away again."""
    return "bigvm-%s" % run


def machine_of(node):
    """``(API group, namespace, name)`` of the Machine behind a node, or None where no machine API manages it."""
    notes = mapping(node, "metadata", "annotations")
    for key, group in MACHINE_OF:
        value = notes.get(key)
        if isinstance(value, str) and value:
            namespace, _slash, name = value.rpartition("/")
            namespace = namespace or notes.get(MACHINE_NAMESPACE) or ""
            return (group, namespace, name) if namespace else None
    return None


def judge(scene, node, run=None, vms=(), hold=(), accept=(), writes=("node",)):
    """All findings, the worst first.

    :param scene: ``{cluster_versions, hyperconvergeds, kubevirts, pools, node_maintenances, node_health_checks,
        machine_health_checks, machine, deschedulers, descheduler_workloads, vmims, vmis, nodes}``: lists of objects
        (``machine``: a dict, or None), and ``unreadable``: ``[{verb, resource, severity}]``.
    :param node: name of the node.
    :param run: our run, whose pauses are our own.
    :param vms: ``[(namespace, name)]`` of the VMs that move; those on the node are meant in any case.
    :param hold: codes of health checks that may be paused.
    :param accept: codes that do not block.
    :param writes: what the run writes, out of :data:`WRITES`.
    :returns: ``[{code, severity, object, message, remedy, holdable, held, accepted}]``.
    """
    view = _View(scene, node, run, set(vms), set(hold), set(accept), set(writes))
    found = [row for rule in _RULES for row in rule(view)]
    for row in found:
        row["accepted"] = row["severity"] == BLOCKER and row["code"] in accept
    order = {BLOCKER: 0, WARNING: 1, INFO: 2}
    return sorted(found, key=lambda row: (row["accepted"], order[row["severity"]], CODES.index(row["code"]), row["object"]))


def blockers(findings):
    """Those that end a run."""
    return [row for row in findings if row["severity"] == BLOCKER and not row["accepted"]]


def public(findings):
    """The findings as a module returns them."""
    return [{key: value for key, value in row.items() if key != "pause"} for row in findings]


def to_pause(findings):
    """The objects that ``hold`` allows to pause and that are not paused yet, as ``(kind, group, namespace, name)``."""
    return [row["pause"] for row in findings if row.get("pause")]


def lines(findings):
    """Findings in words, lines of at most 78 columns."""
    found = []
    for row in findings:
        mark = "ACCEPTED" if row["accepted"] else row["severity"].upper()
        remedy = "" if row["accepted"] or row["severity"] == INFO else " " + row["remedy"]
        found += textwrap.wrap("%s %s: %s%s" % (mark, row["code"], row["message"], remedy), 78, subsequent_indent="  ")
    return found


class _View:
    def __init__(self, scene, node, run, vms, hold, accept, writes):
        self.scene, self.name, self.run, self.hold, self.accept, self.writes = scene, node, run, hold, accept, writes
        self.nodes = {key_of(obj)[1]: obj for obj in scene["nodes"]}
        self.node = self.nodes.get(node, {})
        self.vmis = [vmi for vmi in scene["vmis"] if text(vmi, "status", "nodeName") == node or key_of(vmi) in vms]
        self.vms = vms | {key_of(vmi) for vmi in self.vmis}
        self.kubevirt = next(iter(scene["kubevirts"]), {})


def _finding(code, severity, obj, message, remedy, holdable=False, held=False, pause=None):
    return {"code": code, "severity": severity, "object": obj, "message": message, "remedy": remedy, "holdable": holdable,
            "held": held, "accepted": False, "pause": pause}


def _name(kind, obj):
    namespace, name = key_of(obj)
    return "%s %s" % (kind, "%s/%s" % (namespace, name) if namespace else name)


# -- the platform ------------------------------------------------------------------


def _cluster_version(view):
    for obj in view.scene["cluster_versions"]:
        progressing = condition(obj, "Progressing")
        wanted, newest = text(obj, "spec", "desiredUpdate", "version"), next(iter(rows(obj, "status", "history")), {})
        if progressing.get("status") == "True" or newest.get("state") == "Partial" or (
                wanted and wanted != text(obj, "status", "desired", "version")):
            to = wanted or text(obj, "status", "desired", "version") or text(newest, "version") or "another version"
            yield _finding(
                "cluster_version_updating", BLOCKER, _name("ClusterVersion", obj),
                "The cluster is being updated to %s%s." % (to, _said(progressing)),
                "Wait until oc get clusterversion says that it is done; an update drains nodes by itself.")


def _hyperconverged(view):
    for obj in view.scene["hyperconvergeds"]:
        progressing, complete = condition(obj, "Progressing"), condition(obj, "ReconcileComplete")
        if progressing.get("status") == "True" and progressing.get("reason") == "HCOUpgrading":
            yield _finding(
                "hyperconverged_upgrading", BLOCKER, _name("HyperConverged", obj),
                "OpenShift Virtualization is being upgraded%s." % _said(progressing),
                "Wait for the end of the upgrade; it migrates guests by itself.")
        elif complete.get("status") == "False":
            yield _finding(
                "hyperconverged_upgrading", BLOCKER if "hyperconverged" in view.writes else WARNING,
                _name("HyperConverged", obj), "HyperConverged is not reconciled%s: what is written to it may not be carried "
                "out." % _said(complete), "Look at its conditions.")


def _kubevirt(view):
    """Not by its conditions, which flap after every harmless change (facts 10.11)."""
    status = mapping(view.kubevirt, "status")
    pairs = [(status.get("target" + what), status.get("observed" + what)) for what in ("DeploymentID", "KubeVirtVersion")]
    phase = text(status, "phase")
    if phase not in ("", "Deployed") or any(target and observed and target != observed for target, observed in pairs):
        yield _finding(
            "kubevirt_updating", BLOCKER, _name("KubeVirt", view.kubevirt),
            "KubeVirt is being rolled out (phase %s, version %s to %s): its virt-handlers restart." % (
                phase or "?", pairs[1][1] or "?", pairs[1][0] or "?"),
            "Wait until its phase is Deployed and targetDeploymentID is observedDeploymentID.")


def _pools(view):
    for obj in view.scene["pools"]:
        selector = mapping(obj, "spec").get("nodeSelector")
        members = [name for name, node in view.nodes.items() if label_selector_matches(selector, labels(node)) is not False]
        matters = any(labels(view.nodes[name]).get(SCHEDULABLE) == "true" for name in members) or view.name in members
        states = {kind: condition(obj, kind).get("status") == "True" for kind in ("Updating", "Degraded")}
        wanted, there = text(obj, "spec", "configuration", "name"), text(obj, "status", "configuration", "name")
        pending = (wanted and there and wanted != there) or _less(obj, "updatedMachineCount", "machineCount")
        paused = dig(obj, "spec", "paused") is True
        if paused and node_roll.NOTE in mapping(obj, "metadata", "annotations"):
            continue  # by a preparation of ours, which hands its nodes over one by one
        state = "is updating its nodes" if states["Updating"] and not paused else "is degraded" if states["Degraded"] else (
            "has a change that is not on its nodes yet" if pending else "")
        if not state:
            continue
        detail = _said(condition(obj, "Updating" if states["Updating"] else "Degraded"))
        if paused and not states["Degraded"]:
            yield _finding("machine_config_pool_busy", WARNING, _name("MachineConfigPool", obj),
                           "MachineConfigPool %s %s, and is paused." % (key_of(obj)[1], state),
                           "As soon as somebody resumes it, it drains and reboots nodes.")
            continue
        yield _finding(
            "machine_config_pool_busy", BLOCKER if matters else WARNING, _name("MachineConfigPool", obj),
            "MachineConfigPool %s %s%s: it cordons, drains and reboots nodes by itself." % (key_of(obj)[1], state, detail),
            "Wait until it is Updated, or pause it (spec.paused) before it has begun.")
    state = mapping(view.node, "metadata", "annotations").get(POOL_STATE)
    if isinstance(state, str) and state not in ("", "Done"):
        yield _finding("machine_config_pool_busy", BLOCKER, "Node %s" % view.name,
                       "The machine config daemon is at work on %s (%s)." % (view.name, state),
                       "Wait until the annotation %s is Done." % POOL_STATE)


def _less(obj, one, other):
    one, other = dig(obj, "status", one), dig(obj, "status", other)
    return isinstance(one, int) and isinstance(other, int) and one < other


def _node_maintenances(view):
    for obj in view.scene["node_maintenances"]:
        of = text(obj, "spec", "nodeName")
        why = text(obj, "spec", "reason")
        why = " (%s)" % why if why else ""
        if of == view.name:
            yield _finding("node_maintenance_object", BLOCKER, _name("NodeMaintenance", obj),
                           "%s is under a NodeMaintenance of somebody else%s, which drains it and uncordons it when deleted."
                           % (of, why), "Find out whose it is, and let it end first.")
        elif of in view.nodes:
            yield _finding("node_maintenance_object", WARNING, _name("NodeMaintenance", obj),
                           "Node %s is under maintenance too%s: it takes no guests, and its own move." % (of, why),
                           "Wait for its end if its room is needed.")


# -- health checks -----------------------------------------------------------------


def _node_health_checks(view):
    for obj in view.scene["node_health_checks"]:
        # An empty or missing selector means all nodes here.
        if label_selector_matches(mapping(obj, "spec", "selector"), labels(view.node)) is False:
            continue
        busy = sorted(set(mapping(obj, "status", "inFlightRemediations")) | {
            text(row, "name") for row in rows(obj, "status", "unhealthyNodes") if row.get("remediations")})
        if view.name in busy:
            yield _finding("node_health_check", BLOCKER, _name("NodeHealthCheck", obj),
                           "NodeHealthCheck %s is remediating %s at this moment; a pause does not stop that."
                           % (key_of(obj)[1], view.name), "Wait for its end, and find out what ails the node.")
            continue
        if text(obj, "status", "phase") == "Disabled":
            continue
        yield _health_check(view, obj, "NodeHealthCheck", "remediation.medik8s.io", texts(obj, "spec", "pauseRequests"))


def _machine_health_checks(view):
    machine = machine_of(view.node)
    if machine is None:
        return  # such a check only looks at machines
    for obj in view.scene["machine_health_checks"]:
        group = text(obj, "apiVersion").partition("/")[0]
        if group != machine[0] or key_of(obj)[0] != machine[1]:
            continue
        known = view.scene["machine"]
        if known is not None and label_selector_matches(mapping(obj, "spec", "selector"), labels(known)) is False:
            continue
        if str(dig(obj, "spec", "maxUnhealthy")).rstrip("%") == "0":
            continue  # never remediates
        value = mapping(obj, "metadata", "annotations").get(PAUSED)
        yield _health_check(view, obj, "MachineHealthCheck", group, [] if value is None else [str(value)])


def _health_check(view, obj, kind, group, paused_by):
    code, name = HOLDABLE[kind], _name(kind, obj)
    ours = view.run is not None and token_of(view.run) in paused_by
    if ours:
        return _finding(code, INFO, name, "%s is paused by this run." % name, "It is resumed at the end.", True, True)
    if paused_by:
        by = ", ".join(one for one in paused_by if one) or "somebody"
        return _finding(code, INFO, name, "%s is paused already (by %s), and stays so." % (name, by), "Nothing.", True)
    repository = [] if "gitops_owned" in view.accept else gitops.owners(obj)
    if code in view.hold and not repository:
        return _finding(code, INFO, name, "%s is paused while the maintenance lasts." % name, "It is resumed at the end.", True,
                        pause=(kind, group) + key_of(obj))
    if code in view.hold:
        return _finding(
            "gitops_owned", BLOCKER, name, "%s is kept by %s, which would resume it in the middle of the maintenance."
            % (name, " and ".join(repository)), "Pause it in the repository, then run again.", True)
    return _finding(
        code, BLOCKER, name, "%s watches %s: it fences a host that is away for longer than its patience, such as one in a long "
        "self-test." % (name, view.name), "Let the run pause it (hold: [%s]), or pause it yourself." % code, True)


# -- KubeVirt ----------------------------------------------------------------------


def _deschedulers(view):
    for obj in view.scene["deschedulers"]:
        if text(obj, "spec", "mode") == "Automatic" and text(obj, "spec", "managementState") in ("", "Managed"):
            profiles = ", ".join(texts(obj, "spec", "profiles"))
            yield _finding(
                "descheduler_active", BLOCKER, _name("KubeDescheduler", obj),
                "The descheduler evicts pods%s, and with them migrates guests as it sees fit."
                % (" (profiles %s)" % profiles if profiles else ""),
                "Set its spec.mode to Predictive while the maintenance lasts, or accept it.")
    if view.scene["deschedulers"]:
        return  # what runs then is its own deployment
    for obj in view.scene["descheduler_workloads"]:
        template = mapping(obj, "spec", "jobTemplate", "spec", "template") or mapping(obj, "spec", "template")
        arguments = [part for row in rows(template, "spec", "containers")
                     for part in texts(row, "args") + texts(row, "command")]
        if dig(obj, "spec", "replicas") == 0 or dig(obj, "spec", "suspend") is True or any(
                part in ("--dry-run", "--dry-run=true") for part in arguments):
            continue
        kind = text(obj, "kind") or "Descheduler"
        yield _finding("descheduler_active", BLOCKER, _name(kind, obj),
                       "A descheduler runs (%s): it evicts pods, and with them migrates guests as it sees fit." % _name(kind, obj),
                       "Suspend it or scale it to 0 while the maintenance lasts, or accept it.")


def _workload_updates(view):
    count = dig(view.kubevirt, "status", "outdatedVirtualMachineInstanceWorkloads")
    methods = texts(view.kubevirt, "spec", "workloadUpdateStrategy", "workloadUpdateMethods")
    if not isinstance(count, int) or count < 1:
        return
    what = "%d guests run in an outdated launcher" % count
    if methods:
        yield _finding("workload_updates_outstanding", BLOCKER, _name("KubeVirt", view.kubevirt),
                       "%s, and KubeVirt is about to update them (%s), by migrations that go before ours."
                       % (what, ", ".join(methods)),
                       "Wait until kubectl get kubevirt -A shows none, or accept it when those left cannot be moved.")
    else:
        yield _finding("workload_updates_outstanding", INFO, _name("KubeVirt", view.kubevirt),
                       what + "; KubeVirt does not update them by itself.", "Nothing.")


def _foreign_migrations(view):
    foreign = [obj for obj in view.scene["vmims"]
               if text(obj, "status", "phase") not in migration.FINAL and labels(obj).get(migration.MANAGED_BY) != migration.US]
    near = [obj for obj in foreign if _moved(obj) in view.vms or view.name in (
        text(obj, "status", "migrationState", "sourceNode"), text(obj, "status", "migrationState", "targetNode"))]
    for obj in near:
        yield _finding("foreign_migrations", BLOCKER, _name("VirtualMachineInstanceMigration", obj),
                       "Somebody else's migration %s of VM %s is under way (phase %s)."
                       % (key_of(obj)[1], "%s/%s" % _moved(obj), text(obj, "status", "phase") or "new"),
                       "Wait for its end, or delete it.")
    others = [obj for obj in foreign if obj not in near]
    if not others:
        return
    limit = dig(view.kubevirt, "spec", "configuration", "migrations", "parallelMigrationsPerCluster")
    limit = limit if isinstance(limit, int) else 5
    full = len(foreign) >= limit
    # Those of KubeVirt itself go before ours, which have no priority (facts 2.4).
    yield _finding(
        "foreign_migrations", BLOCKER if full else WARNING,
        _name("VirtualMachineInstanceMigration", others[0]) + (" and %d more" % (len(others) - 1) if others[1:] else ""),
        "%d migrations of others are under way or queued (%s), of %d at a time in this cluster%s." % (
            len(others), ", ".join("%s/%s" % key_of(obj) for obj in others[:3]) + (", ..." if others[3:] else ""), limit,
            ": ours would wait behind them" if full else ""),
        "Wait for their end." if full else "They share slots and links with ours.")


def _moved(vmim):
    return text(vmim, "metadata", "namespace"), text(vmim, "spec", "vmiName")


def _evacuations(view):
    for vmi in view.vmis:
        marked, here = text(vmi, "status", "evacuationNodeName"), text(vmi, "status", "nodeName")
        if marked and marked == here:
            yield _finding(
                "evacuation_marked", BLOCKER, _name("VM", vmi),
                "VM %s/%s is marked for evacuation of %s: KubeVirt migrates it by itself until that succeeds." % (key_of(vmi) + (marked,)),
                "If nobody drains the node, clear it with virtctl evacuate-cancel (KubeVirt 1.7 or later); else wait.")
        elif marked:
            yield _finding("evacuation_marked", WARNING, _name("VM", vmi),
                           "VM %s/%s carries a left-over mark of an evacuation of %s." % (key_of(vmi) + (marked,)),
                           "It means nothing while the VM is elsewhere; a successful migration removes it.")


def _drain_taints(view):
    key = text(view.kubevirt, "spec", "configuration", "migrations", "nodeDrainTaintKey") or DRAIN_TAINT
    for name, node in sorted(view.nodes.items()):
        if not any(row.get("key") == key for row in rows(node, "spec", "taints")):
            continue
        here = name == view.name
        yield _finding(
            "drain_taint", BLOCKER if here else WARNING, "Node %s" % name,
            "Node %s has the taint %s: KubeVirt moves all its guests away by itself%s." % (
                name, key, "" if here else ", and places none there"),
            "Find out who drains it; remove the taint when nobody does.")


# -- who else writes what we write ---------------------------------------------------


def _repositories(view):
    found = []
    if "node" in view.writes and view.node:
        found.append(("Node", view.node))
    if "hyperconverged" in view.writes:
        found += [("HyperConverged", obj) for obj in view.scene["hyperconvergeds"]]
    for kind, obj in found:
        keepers = gitops.owners(obj)
        if keepers:
            yield _finding(
                "gitops_owned", BLOCKER, _name(kind, obj),
                "%s is kept by %s, which may put its own version back in the middle of the maintenance."
                % (_name(kind, obj), " and ".join(keepers)),
                "Suspend its synchronisation for the maintenance, or accept it.")


def _unreadable(view):
    for row in view.scene["unreadable"]:
        yield _finding("interlock_unreadable", row["severity"], row["resource"],
                       "Whether %s stand in the way cannot be told: not allowed to %s them." % (row["resource"], row["verb"]),
                       "Get the right to %s %s, or accept it." % (row["verb"], row["resource"]))


def _said(entry):
    said = text(entry, "message") or text(entry, "reason")
    return " (%s)" % said.rstrip(".")[:160] if said else ""


_RULES = (
    _cluster_version, _hyperconverged, _kubevirt, _pools, _node_maintenances, _node_health_checks, _machine_health_checks,
    _deschedulers, _workload_updates, _foreign_migrations, _evacuations, _drain_taints, _repositories, _unreadable,
)
