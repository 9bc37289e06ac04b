# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rights and credentials: the one table of what each feature asks of the API, and what an answer to it means.

The table is what :mod:`..cluster.access` asks the server about, and what the ClusterRoles of the documentation are
made from. ``required`` means that the feature fails without the right; ``lost`` says what that is, or for an optional
one what is not known or not done.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import textwrap
from collections import namedtuple

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_duration

# resource: plural, or plural/subresource; scope: one of the following
Need = namedtuple("Need", "feature group resource verb scope required lost")

CLUSTER = "cluster"  # an object of the cluster, or a LIST over all namespaces
GUESTS = "guests"  # the namespaces of the VMs
OPERATOR = "operator"  # the namespace of the KubeVirt object

BLOCKER, WARNING = "blocker", "warning"
MARGIN = 3600  # seconds that a token must outlive the expected end: what is late, and the restore
WIDTH = 78

NMSTATE = "nmstate.io"
KUBEVIRT, SUBRESOURCES = "kubevirt.io", "subresources.kubevirt.io"
MACHINE_CONFIG = "machineconfiguration.openshift.io"
POLICIES, HYPERCONVERGED = "migrations.kubevirt.io", "hco.kubevirt.io"
VMIS, VMIMS = "virtualmachineinstances", "virtualmachineinstancemigrations"
REFUSAL = re.compile(r'cannot (\w+) resource "([^"]+)" in API group "([^"]*)"')
MIGRATE_ROLE = "kubevirt.io:migrate"  # from KubeVirt 1.5 on nothing else grants it (X26)

# What a feature needs besides its own rows.
INCLUDES = {
    "preflight": (), "plan": ("preflight",), "migrate": (), "node_gate": (), "hold": (), "interlocks_check": (),
    "node_prep_check": (), "node_prep": ("node_prep_check",), "drain": (), "interlocks": ("interlocks_check",),
    "settings_hold": (), "cluster_settings": (), "restore": (), "migration_network": (), "network_probe": ("migration_network",),
    "maintain": ("plan", "migrate", "hold", "node_gate", "interlocks_check", "restore"),
}
FEATURES = tuple(INCLUDES)

# For least-privilege roles: whoever has a later one has what is before it, too.
ROLES = {
    "observer": ("plan", "interlocks_check", "node_gate", "node_prep_check"),
    "operator": ("maintain", "drain", "interlocks", "settings_hold"),
    "administrator": ("cluster_settings", "migration_network", "network_probe", "node_prep"),
}


def _rows():
    def need(feature, group, resource, verbs, scope, lost, required=True):
        return [Need(feature, group, resource, verb, scope, required, lost) for verb in verbs.split()]

    def may(feature, group, resource, verbs, scope, lost):
        return need(feature, group, resource, verbs, scope, lost, False)

    def check(group, resource, lost):
        return need("interlocks_check", group, resource, "list", CLUSTER, lost)

    return (
        # -- vm_migratable_facts, evacuation_plan_info
        need("preflight", KUBEVIRT, VMIS, "list", GUESTS, "there is nothing to judge")
        + may("preflight", KUBEVIRT, "virtualmachines", "list", GUESTS, "stopped VMs and misspelt names go unnoticed")
        + may("preflight", "", "nodes", "list", CLUSTER, "whether another node can take a VM is not known")
        + may("preflight", "", "pods", "list", CLUSTER, "free memory, huge pages and CPUs of the nodes are not known")
        + may("preflight", KUBEVIRT, VMIMS, "list", CLUSTER, "free migration slots are not known")
        + may("preflight", "", "persistentvolumeclaims", "list", GUESTS, "whether volumes are shared is not known")
        + may("preflight", KUBEVIRT, "kubevirts", "list", CLUSTER, "release and settings in force are not known")
        + may("preflight", POLICIES, "migrationpolicies", "list", CLUSTER, "which MigrationPolicy applies is not known")
        + may("preflight", "", "namespaces", "list", CLUSTER, "policies that select by namespace cannot be judged")
        + may("preflight", "apiextensions.k8s.io", "customresourcedefinitions", "get", CLUSTER,
              "whether a target can be named is read from the OpenAPI document instead")
        # Where these cannot be read, no VM counts as movable.
        + need("preflight", "", "resourcequotas", "list", GUESTS, "whether a quota stands against the second pod is not known")
        + need("preflight", "quota.openshift.io", "clusterresourcequotas", "list", CLUSTER,
               "whether a quota over several namespaces stands against the second pod is not known")
        + need("preflight", "aaq.kubevirt.io", "applicationawareresourcequotas", "list", CLUSTER,
               "whether an application-aware quota stands against the second pod is not known")
        + may("preflight", "aaq.kubevirt.io", "aaqs", "list", CLUSTER, "how application-aware quotas count is not known")
        + may("preflight", "topology.node.k8s.io", "noderesourcetopologies", "list", CLUSTER,
              "free huge pages per NUMA node are not known")
        + may("preflight", "k8s.cni.cncf.io", "network-attachment-definitions", "list", CLUSTER,
              "whether the migration network sets an MTU is not known")
        + may("preflight", "nmstate.io", "nodenetworkconfigurationpolicies", "list", CLUSTER,
              "a bridge on the wrong interface is not seen")
        + may("preflight", "machineconfiguration.openshift.io", "machineconfigpools", "list", CLUSTER,
              "how many nodes are drained at once is not known")
        + need("plan", "", "nodes", "list", CLUSTER, "no target can be planned")
        + need("plan", "", "pods", "list", CLUSTER, "no target can be planned")
        + need("plan", KUBEVIRT, VMIMS, "list", CLUSTER, "migrations that are under way are not known")
        # -- migrate_vmi
        + need("migrate", KUBEVIRT, VMIS, "list watch", GUESTS, "a migration cannot be followed")
        + need("migrate", KUBEVIRT, VMIMS, "list watch", GUESTS, "a migration cannot be followed")
        + need("migrate", KUBEVIRT, VMIMS, "create", GUESTS, "no migration can be started")
        + need("migrate", KUBEVIRT, VMIMS, "delete", GUESTS, "no migration can be cancelled when its time is over")
        + need("migrate", KUBEVIRT, "kubevirts", "list", CLUSTER, "limits and settings in force are not known")
        + need("migrate", "", "nodes", "list", CLUSTER, "the target cannot be checked")
        + may("migrate", KUBEVIRT, "virtualmachines", "get", GUESTS, "a VM that does not run is not told from a misspelt one")
        + may("migrate", POLICIES, "migrationpolicies", "list", CLUSTER, "the settings of a copy are not compared at handoff")
        + may("migrate", "", "namespaces", "list", CLUSTER, "policies that select by namespace are not compared at handoff")
        + may("migrate", "", "pods", "list", GUESTS, "the cause of a failed migration is named less well")
        + may("migrate", "", "pods", "list", OPERATOR, "whether a copy keeps to the migration network is not checked")
        + may("migrate", "", "events", "list", GUESTS, "the cause of a failed migration is named less well")
        + may("migrate", "", "pods/log", "get", GUESTS, "without Prometheus there is no percentage, only phase and time")
        # Kubernetes sees the first part of this path as the subresource, KubeVirt's own authorizer all of it.
        + may("migrate", SUBRESOURCES, "virtualmachineinstances/evacuate", "update", GUESTS,
              "an evacuation that starts migrations again cannot be cancelled")
        + may("migrate", SUBRESOURCES, "virtualmachineinstances/evacuate/cancel", "update", GUESTS,
              "an evacuation that starts migrations again cannot be cancelled")
        # -- node_hold
        + need("hold", "", "nodes", "get list patch", CLUSTER, "neither cordon nor journal can be written")
        + need("hold", KUBEVIRT, "kubevirts", "list", CLUSTER, "the namespace of the leases is not known")
        + need("hold", "coordination.k8s.io", "leases", "get create patch delete", OPERATOR,
               "two runs cannot be kept off one node")
        + may("hold", "coordination.k8s.io", "leases", "list", OPERATOR, "whether a run that is found is alive is not shown")
        + may("hold", "", "pods", "list", OPERATOR, "whether virt-handler was ready before is not remembered")
        # -- node_gate_info
        + need("node_gate", "", "nodes", "get", CLUSTER, "whether the node is as good as before cannot be told")
        + need("node_gate", KUBEVIRT, "kubevirts", "list", CLUSTER, "whether a migration network is set is not known")
        + need("node_gate", "", "pods", "list", OPERATOR, "whether virt-handler is ready on the node is not known")
        # -- maintenance_interlocks
        + check("", "nodes", "drain taints and machine states are not seen")
        + check(KUBEVIRT, VMIS, "left-over evacuations are not seen")
        + check(KUBEVIRT, VMIMS, "migrations of others are not seen")
        + check(KUBEVIRT, "kubevirts", "a KubeVirt update is not seen")
        + check(HYPERCONVERGED, "hyperconvergeds", "an upgrade of OpenShift Virtualization is not seen")
        + check("config.openshift.io", "clusterversions", "an OpenShift update is not seen")
        + check("machineconfiguration.openshift.io", "machineconfigpools", "a roll-out that reboots nodes is not seen")
        + check("nodemaintenance.medik8s.io", "nodemaintenances", "somebody else's maintenance is not seen")
        + check("nodemaintenance.kubevirt.io", "nodemaintenances", "somebody else's maintenance is not seen")
        + check("remediation.medik8s.io", "nodehealthchecks", "who may fence the host during its reboot is not seen")
        + check("machine.openshift.io", "machinehealthchecks", "who may fence the host during its reboot is not seen")
        + check("cluster.x-k8s.io", "machinehealthchecks", "who may fence the host during its reboot is not seen")
        + check("operator.openshift.io", "kubedeschedulers", "a descheduler that moves VMs back is not seen")
        + may("interlocks_check", "apps", "deployments", "list", CLUSTER, "a descheduler without an operator is not seen")
        + may("interlocks_check", "batch", "cronjobs", "list", CLUSTER, "a descheduler without an operator is not seen")
        + may("interlocks_check", "machine.openshift.io", "machines", "get", CLUSTER,
              "every health check of machines counts as one of this node's")
        + may("interlocks_check", "cluster.x-k8s.io", "machines", "get", CLUSTER,
              "every health check of machines counts as one of this node's")
        + need("interlocks", "remediation.medik8s.io", "nodehealthchecks", "get patch", CLUSTER,
               "node health checks cannot be paused and resumed")
        + need("interlocks", "machine.openshift.io", "machinehealthchecks", "get patch", CLUSTER,
               "machine health checks cannot be paused and resumed")
        + need("interlocks", "cluster.x-k8s.io", "machinehealthchecks", "get patch", CLUSTER,
               "machine health checks cannot be paused and resumed")
        # -- migration_policy
        + need("settings_hold", POLICIES, "migrationpolicies", "list create delete", CLUSTER,
               "settings cannot be held for the VMs that move")
        + need("settings_hold", POLICIES, "migrationpolicies", "get patch", CLUSTER, "a policy of the site cannot be changed")
        + need("settings_hold", KUBEVIRT, VMIS, "list get patch", GUESTS, "settings cannot be held for the VMs that move")
        + need("settings_hold", KUBEVIRT, "kubevirts", "list", CLUSTER, "the settings in force are not known")
        + need("settings_hold", "", "namespaces", "list", CLUSTER,
               "settings cannot be held where a policy of the site selects by namespace")
        # -- hco_live_migration_config
        + need("cluster_settings", HYPERCONVERGED, "hyperconvergeds", "list get patch", CLUSTER,
               "the settings of the whole cluster cannot be held and put back")
        + need("cluster_settings", KUBEVIRT, "kubevirts", "list", CLUSTER, "whether KubeVirt works with them is not known")
        + need("cluster_settings", "apps", "daemonsets", "get", OPERATOR,
               "whether virt-handler works with another migration network is not known")
        + need("cluster_settings", "", "pods", "list", OPERATOR,
               "whether virt-handler works with another migration network is not known")
        + need("cluster_settings", KUBEVIRT, VMIMS, "list", CLUSTER, "the migration network could change under a running copy")
        + may("cluster_settings", "k8s.cni.cncf.io", "network-attachment-definitions", "list", CLUSTER,
              "a migration network is not checked before it is set")
        # -- migration_network, migration_network_info
        + need("migration_network", HYPERCONVERGED, "hyperconvergeds", "list", CLUSTER, "where virt-handler runs is not known")
        + need("migration_network", "apps", "daemonsets", "get", OPERATOR, "whether virt-handler has arrived is not known")
        + need("migration_network", "", "pods", "list", OPERATOR, "whether virt-handler has arrived is not known")
        + need("migration_network", "", "nodes", "list", CLUSTER, "which nodes need a card is not known")
        + need("migration_network", NMSTATE, "nodenetworkstates", "list", CLUSTER, "no card can be checked")
        + need("migration_network", NMSTATE, "nodenetworkconfigurationenactments", "list", CLUSTER,
               "whether a policy is applied on each node is not known")
        + need("migration_network", NMSTATE, "nodenetworkconfigurationpolicies", "list get create update delete", CLUSTER,
               "no card can be configured")
        + need("migration_network", "k8s.cni.cncf.io", "network-attachment-definitions", "list", CLUSTER,
               "an attachment in the wrong namespace and ranges of others are not seen")
        + need("migration_network", "k8s.cni.cncf.io", "network-attachment-definitions", "create update delete", OPERATOR,
               "the attachment cannot be written")
        + may("migration_network", "config.openshift.io", "networks", "get", CLUSTER,
              "whether the range overlaps the pod or service network is not known")
        + may("migration_network", "operator.openshift.io", "networks", "get", CLUSTER,
              "whether addresses of pods that ended hard are collected is not known")
        # -- migration_network_probe
        + need("network_probe", "", "pods", "get list create delete", OPERATOR, "nothing can be measured between the nodes")
        + need("network_probe", "", "pods/log", "get", OPERATOR, "nothing can be measured between the nodes")
        + need("network_probe", KUBEVIRT, VMIMS, "list", CLUSTER, "it could be measured beside a migration")
        + need("network_probe", "image.openshift.io", "imagestreams", "get", CLUSTER, "an image has to be named for the probe (image)")
        # -- hana_node_pool
        + need("node_prep_check", MACHINE_CONFIG, "machineconfigpools", "list", CLUSTER, "the pools of nodes are not known")
        + need("node_prep_check", MACHINE_CONFIG, "machineconfigs", "get", CLUSTER, "what the nodes are made of is not known")
        + need("node_prep_check", MACHINE_CONFIG, "kubeletconfigs", "list get", CLUSTER, "what the kubelets are told is not known")
        + need("node_prep_check", "performance.openshift.io", "performanceprofiles", "list", CLUSTER,
               "whether a PerformanceProfile rules the pool is not known")
        + need("node_prep_check", "", "nodes", "list", CLUSTER, "the nodes of the pool are not known")
        + may("node_prep_check", KUBEVIRT, "kubevirts", "list", CLUSTER, "either label of the CPU manager counts")
        + may("node_prep_check", MACHINE_CONFIG, "controllerconfigs", "get", CLUSTER, "when the kubelets' CA is replaced is not known")
        + need("node_prep", MACHINE_CONFIG, "machineconfigpools", "get create patch delete", CLUSTER,
               "a pool cannot be paused, rolled out node by node and resumed")
        + need("node_prep", MACHINE_CONFIG, "machineconfigs", "create patch", CLUSTER, "kernel arguments cannot be written")
        + need("node_prep", MACHINE_CONFIG, "kubeletconfigs", "create patch", CLUSTER, "the CPU manager cannot be set")
        + need("node_prep", "performance.openshift.io", "performanceprofiles", "get create patch", CLUSTER,
               "a PerformanceProfile cannot be written")
        + need("node_prep", "tuned.openshift.io", "tuneds", "get create patch", CLUSTER,
               "kernel arguments cannot be written by a Tuned object")
        + need("node_prep", MACHINE_CONFIG, "machineconfigs", "delete", CLUSTER, "what was begun cannot be withdrawn")
        + need("node_prep", MACHINE_CONFIG, "kubeletconfigs", "delete", CLUSTER, "what was begun cannot be withdrawn")
        + need("node_prep", "performance.openshift.io", "performanceprofiles", "delete", CLUSTER, "what was begun cannot be withdrawn")
        + need("node_prep", "tuned.openshift.io", "tuneds", "delete", CLUSTER, "what was begun cannot be withdrawn")
        + need("node_prep", "", "nodes", "get patch", CLUSTER, "a node cannot be handed to the operator")
        + need("node_prep", "", "pods", "list", CLUSTER, "whether a node is empty cannot be told")
        + need("node_prep", KUBEVIRT, VMIS, "list", CLUSTER, "whether a node is empty cannot be told")
        # -- node_drain
        + need("drain", "", "nodes", "get", CLUSTER, "whether the node is cordoned cannot be told")
        + need("drain", "", "pods", "list watch", CLUSTER, "the other pods of the node are not known")
        + need("drain", "", "pods/eviction", "create", CLUSTER, "the other pods of the node cannot be evicted")
        + may("drain", "policy", "poddisruptionbudgets", "list", CLUSTER, "a blocking PodDisruptionBudget is named less well")
        # -- playbooks/restore.yml
        + need("restore", "", "nodes", "get list patch", CLUSTER, "an unfinished maintenance cannot be found and ended")
        + need("restore", "coordination.k8s.io", "leases", "get delete", OPERATOR, "the node stays held")
        + need("restore", KUBEVIRT, VMIS, "list watch", CLUSTER, "what is under way cannot be followed to its end")
        + need("restore", KUBEVIRT, VMIMS, "list watch", CLUSTER, "what is under way cannot be followed to its end")
        + need("restore", POLICIES, "migrationpolicies", "list", CLUSTER, "held settings cannot be found")
        + need("restore", HYPERCONVERGED, "hyperconvergeds", "list get", CLUSTER, "held settings cannot be found")
        + need("restore", KUBEVIRT, "kubevirts", "list", CLUSTER, "the namespace of the leases is not known")
    )


TABLE = tuple(_rows())


def features_of(asked):
    """The features asked for and those they include, in the order of :data:`FEATURES`.

    :raises ValueError: for one that is not known.
    """
    found, todo = set(), list(asked)
    while todo:
        name = todo.pop()
        if name not in INCLUDES:
            raise ValueError("there is no feature %s; known are %s" % (name, ", ".join(FEATURES)))
        if name not in found:
            found.add(name)
            todo += INCLUDES[name]
    return [name for name in FEATURES if name in found]


def needs(asked, served=None):
    """The rights to ask about for these features, each once; a required one goes before the same that is optional.

    :param served: API groups that the cluster serves (any container); None when that is not known. What is not served
        needs no right: a cluster without MachineConfigPools rolls none out.
    """
    wanted = features_of(asked)
    found = {}
    for row in TABLE:
        if row.feature in wanted and (served is None or row.group in served or row.group in ("", SUBRESOURCES)):
            key = (row.group, row.resource, row.verb, row.scope)
            if key not in found or (row.required and not found[key].required):
                found[key] = row
    rows = list(found.values())
    everywhere = {row[1:4]: row for row in rows if row.scope == CLUSTER}
    # A right in all namespaces holds in each of them: one question is enough where both are required alike.
    return [row for row in rows if row.scope == CLUSTER or row[1:4] not in everywhere
            or (row.required and not everywhere[row[1:4]].required)]


def rules(feature_names):
    """``[{group, resource, verbs, namespaced, required, features, lost}]``: for ClusterRoles, by group and resource."""
    found = {}
    for row in TABLE:
        if row.feature in feature_names:
            key = (row.group, row.resource, row.required)
            entry = found.setdefault(key, {"group": row.group, "resource": row.resource, "required": row.required,
                                           "verbs": [], "scopes": [], "features": [], "lost": []})
            for name, value in (("verbs", row.verb), ("scopes", row.scope), ("features", row.feature), ("lost", row.lost)):
                if value not in entry[name]:
                    entry[name].append(value)
    return [found[key] for key in sorted(found)]


def title(row):
    """``create virtualmachineinstancemigrations.kubevirt.io``."""
    plural, slash, subresource = row.resource.partition("/")
    return "%s %s%s%s" % (row.verb, plural, ".%s" % row.group if row.group else "", slash + subresource)


def role_of(feature_names):
    """The first role that has one of these features; None without."""
    return next((role for role, own in ROLES.items() if set(features_of(own)) & set(feature_names)), None)


# -- judging -----------------------------------------------------------------------


def problem(code, severity, message, remedy):
    """``{code, severity, message, remedy}``."""
    return {"code": code, "severity": severity, "message": message, "remedy": remedy}


def right_problem(row, namespaces):
    """The problem of a right that is missing (a :class:`Need`).

    :param namespaces: those where it is missing; empty: in the cluster as a whole.
    """
    where = " in namespace %s" % ", ".join(namespaces[:3]) if namespaces else ""
    where += " and %d more" % (len(namespaces) - 3) if len(namespaces) > 3 else ""
    if row.group == KUBEVIRT and row.resource == VMIMS and row.verb in ("create", "delete"):
        remedy = "Bind the ClusterRole %s%s: from KubeVirt 1.5 on no other role of KubeVirt grants it." % (
            MIGRATE_ROLE, where or " for the namespaces of the VMs")
    else:
        remedy = "Ask the cluster administrator for it%s." % ("" if row.required else ", or do without")
    message = "The right to %s%s is missing (%s): %s." % (title(row), where, row.feature, row.lost)
    return problem("right_missing", BLOCKER if row.required else WARNING, message, remedy)


def refusal_remedy(said):
    """What helps against a 403, with the features that need the right.

    :param said: Kubernetes' own words, which name verb, resource and API group.
    """
    asked = REFUSAL.search(said)
    rows = [row for row in TABLE if asked and (row.verb, row.resource, row.group) == asked.groups()]
    rows = [row for row in rows if row.required] or rows
    if not rows:
        return "Ask the cluster administrator for a role that grants it."
    names = list(dict.fromkeys(row.feature for row in rows))
    return "Ask the cluster administrator for a role that grants it, such as live-migration-%s (docs/rbac). Needed for: %s." % (
        role_of(names), ", ".join(names))


def expiry(token):
    """When a token stops working, in epoch seconds; None when it does not say. Only looked at, not verified (RFC 7519)."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        said = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        moment = said.get("exp")
    except (ValueError, binascii.Error, AttributeError):
        return None
    return float(moment) if isinstance(moment, (int, float)) and not isinstance(moment, bool) else None


def token_problem(kind, rereadable, expires, now, end):
    """What is wrong with the life of the credentials, or None.

    :param kind: ``token_file``, ``in_cluster``, ``exec``, ``kubeconfig``, ``api_key``, ``certificate`` or ``none``.
    :param rereadable: whether a new token comes without anybody doing something.
    :param expires: epoch seconds, None when it is not known.
    :param end: when the run is expected to be over, epoch seconds; None when that is not known.
    """
    if rereadable or expires is None:
        return None
    left = expires - now
    again = "Log in for longer, or use a service account's token file or kubeconfig, which is read anew when it is renewed."
    if kind == "kubeconfig":
        again = "Log in again during the run: the kubeconfig is read anew when the token is refused. Or log in for longer now."
    if end is not None and expires < end + MARGIN:
        return problem(
            "token_expires", BLOCKER, "The token works for %s more, which ends less than an hour after the expected end of the run%s."
            % (format_duration(max(0, left)), "" if expires >= end else ", or before it"), again)
    if end is None and left < MARGIN:
        return problem("token_expires", WARNING, "The token works for %s more only." % format_duration(max(0, left)), again)
    return None


def place_problem(pod, node):
    """The run's own pod is on the node that it will empty (or the run's own process is)."""
    return problem(
        "own_pod_on_node", BLOCKER, "This run works in pod %s, which is on node %s itself: it would go down with it, in the "
        "middle of the maintenance." % (pod, node) if pod else
        "This run works on node %s itself: it would go down with it, in the middle of the maintenance." % node,
        "Start it from another node: cordon %s first and start again, or give the runner's pod a node selector." % node)


def lines(asked, problems, token):
    """In words, lines of at most 78 columns.

    :param asked: how many rights were asked about.
    :param token: ``{kind, expires, rereadable}``.
    """
    missing = [row for row in problems if row["code"] == "right_missing"]
    found = ["rights: %s" % ("all %d are there" % asked if not missing else "%d of %d are missing" % (len(missing), asked))]
    if token["expires"]:
        found.append("token: valid until %s%s" % (token["expires"], ", renewed by itself" if token["rereadable"] else ""))
    elif token["kind"] not in ("certificate", "none"):
        found.append("token: %s" % ("renewed by itself" if token["rereadable"] else "does not say how long it is valid"))
    for row in problems:
        found += textwrap.wrap("%s: %s %s" % (row["severity"].upper(), row["message"], row["remedy"]), WIDTH,
                               subsequent_indent="  ")
    return found
