# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything that a plan or a rehearsal needs of a cluster, with a constant number of LISTs."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import hyperconverged
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors

CRDS = ("apiextensions.k8s.io/v1", "customresourcedefinitions")
ACTIVE_PODS = "status.phase!=Succeeded,status.phase!=Failed"
# kind, API, plural, whether an export is of no use without
LISTS = (
    ("Node", "v1", "nodes", True), ("Namespace", "v1", "namespaces", False),
    ("VirtualMachineInstance", "kubevirt.io/v1", "virtualmachineinstances", True),
    ("VirtualMachine", "kubevirt.io/v1", "virtualmachines", False),
    ("VirtualMachineInstanceMigration", "kubevirt.io/v1", "virtualmachineinstancemigrations", False),
    ("KubeVirt", "kubevirt.io/v1", "kubevirts", True),
    ("MigrationPolicy", "migrations.kubevirt.io/v1alpha1", "migrationpolicies", False), ("Pod", "v1", "pods", True),
    ("PersistentVolumeClaim", "v1", "persistentvolumeclaims", False), ("ResourceQuota", "v1", "resourcequotas", False),
    ("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets", False),
    ("NetworkAttachmentDefinition", "k8s.cni.cncf.io/v1", "network-attachment-definitions", False),
)


def collect(api):
    """``(objects, crds, left_out: sentences)``.

    :raises Forbidden: when something cannot be read without which an export is of no use.
    :raises NotFound: a cluster without KubeVirt.
    """
    objects, left_out = [], []
    version = _version(api, left_out)
    lists = LISTS + ((("HyperConverged", "hco.kubevirt.io/" + version, hyperconverged.PLURAL, False),) if version else ())
    for kind, group_version, plural, needed in lists:
        query = {"fieldSelector": ACTIVE_PODS} if kind == "Pod" else {}
        for item in _listed(api, kind, group_version, plural, needed, left_out, **query):
            objects.append(dict(item, apiVersion=item.get("apiVersion") or group_version, kind=item.get("kind") or kind))
    crds = _listed(api, "CustomResourceDefinition", CRDS[0], CRDS[1], False, left_out)
    return objects, crds, left_out


def _version(api, left_out):
    try:
        return hyperconverged.served_version(api)
    except errors.Forbidden:
        left_out.append("HyperConverged may not be read: the settings are taken from KubeVirt.")
        return None


def _listed(api, kind, group_version, plural, needed, left_out, **query):
    try:
        return api.list(path_of(group_version, plural), **query).items
    except errors.Forbidden:
        if needed:
            raise
        left_out.append("%s may not be listed (%s)." % (kind, plural))
    except errors.NotFound as exc:
        if needed:
            raise errors.NotFound(
                "The cluster at %s does not know %s." % (api.host, kind),
                "Check that this is the cluster you mean; OpenShift Virtualization or KubeVirt must be installed there.",
                status=404, reason=exc.reason) from exc
    return []
