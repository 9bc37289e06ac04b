# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kinds of the platform around KubeVirt, served only where a topology, an object or a script has one of them.

Compact definitions of our own; strict where somebody writes (a typing error in ``pauseRequests`` is pruned as on a
real cluster), open elsewhere. Sources: the platform's own definitions, facts/preparation 2, medik8s' API.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import crds, kinds

TEXT, LIST, OPEN = {"type": "string"}, {"type": "array", "items": {"type": "string"}}, kinds.OPEN
COUNTED = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
ROWS = {"type": "array", "items": OPEN}

# kind -> group, version, plural, namespaced, status, spec properties (None: open), short names
KINDS = {
    "ClusterVersion": ("config.openshift.io", "v1", None, False, True, None, ()),
    "MachineConfig": ("machineconfiguration.openshift.io", "v1", None, False, False, None, ("mc",)),
    "MachineConfigPool": ("machineconfiguration.openshift.io", "v1", None, False, True, {
        "configuration": OPEN, "machineConfigSelector": OPEN, "nodeSelector": OPEN, "maxUnavailable": COUNTED,
        "paused": {"type": "boolean"}, "pinnedImageSets": ROWS, "osImageStream": OPEN}, ("mcp",)),
    "KubeletConfig": ("machineconfiguration.openshift.io", "v1", None, False, True, {
        "machineConfigPoolSelector": OPEN, "kubeletConfig": OPEN, "logLevel": COUNTED, "autoSizingReserved": {"type": "boolean"},
        "tlsSecurityProfile": OPEN}, ()),
    "PerformanceProfile": ("performance.openshift.io", "v2", None, False, True, None, ()),
    "Tuned": ("tuned.openshift.io", "v1", "tuneds", True, True, None, ()),
    "NodeMaintenance": ("nodemaintenance.medik8s.io", "v1beta1", None, False, True,
                        {"nodeName": TEXT, "reason": TEXT}, ("nm",)),
    "NodeHealthCheck": ("remediation.medik8s.io", "v1alpha1", None, False, True, {
        "selector": OPEN, "unhealthyConditions": ROWS, "minHealthy": COUNTED, "maxUnhealthy": COUNTED,
        "pauseRequests": LIST, "remediationTemplate": OPEN, "escalatingRemediations": ROWS,
        "healthyDelay": TEXT, "stormTerminationDelay": TEXT}, ("nhc",)),
    "MachineHealthCheck": ("machine.openshift.io", "v1beta1", None, True, True, {
        "selector": OPEN, "unhealthyConditions": ROWS, "maxUnhealthy": COUNTED, "nodeStartupTimeout": TEXT,
        "remediationTemplate": OPEN}, ("mhc", "mhcs")),
    "Machine": ("machine.openshift.io", "v1beta1", None, True, True, None, ()),
    "NodeNetworkConfigurationPolicy": ("nmstate.io", "v1", None, False, True, {
        "capture": OPEN, "desiredState": OPEN, "maxUnavailable": COUNTED, "nodeSelector": kinds.LABELS}, ("nncp",)),
    "NodeNetworkConfigurationEnactment": ("nmstate.io", "v1beta1", None, False, True, None, ("nnce",)),
    "NodeNetworkState": ("nmstate.io", "v1beta1", None, False, True, None, ("nns",)),
    "Network": ("config.openshift.io", "v1", None, False, True, None, ()),
    "ImageStream": ("image.openshift.io", "v1", None, True, True, None, ("is",)),
    "KubeDescheduler": ("operator.openshift.io", "v1", None, True, True, None, ()),
}


def definition(group, version, kind, namespaced=True):
    """The CustomResourceDefinition (dict) of a kind of this table, or one that accepts anything."""
    known = KINDS.get(kind)
    if known is None or known[0] != group:
        return kinds.permissive(group, version, kind, namespaced=namespaced)
    group, version, plural, namespaced, has_status, spec, short = known
    crd = kinds.permissive(group, version, kind, plural, namespaced, short, has_status)
    if spec is not None:
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = {"type": "object", "properties": {
            "apiVersion": TEXT, "kind": TEXT, "metadata": {"type": "object"},
            "spec": {"type": "object", "properties": spec}, "status": OPEN}}
    return crd


def serve(store, kind):
    """Serve a kind of this table, if it is not served; KeyError when it is not in the table.

    :returns: its ``plural.group``.
    """
    group, version = KINDS[kind][:2]
    found = definition(group, version, kind)
    if found["metadata"]["name"] not in store.resources:
        crds.add(store, [found])
    return found["metadata"]["name"]
