# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading a MachineConfigPool with all that decides about its nodes, and writing what they are to be.

MachineConfigs are large and old rendered ones many: only those that the pool names are read, one by one.
"""

from __future__ import annotations

import difflib

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import node_config, node_roll, target_pod
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.lease import epoch
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    dig,
    key_of,
    labels,
    mapping,
    rows,
    text,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.settings import release_of

API = node_config.MACHINE_CONFIG_API
SCHEDULABLE = "kubevirt.io/schedulable"
FINAL = ("Succeeded", "Failed")
PLURALS = {"MachineConfig": "machineconfigs", "KubeletConfig": "kubeletconfigs", "MachineConfigPool": "machineconfigpools",
           "PerformanceProfile": "performanceprofiles", "Tuned": "tuneds"}


def path_to(manifest):
    """Where an object of these kinds is."""
    return path_of(manifest["apiVersion"], PLURALS[manifest["kind"]], manifest["metadata"].get("namespace"),
                   manifest["metadata"]["name"])


def find(api, path):
    """An object, or None."""
    try:
        return api.get(path)
    except errors.NotFound:
        return None


def pool_path(name):
    """Where a pool is."""
    return path_of(API, PLURALS["MachineConfigPool"], name=name)


def config(api, name):
    """A MachineConfig, or None."""
    return find(api, path_of(API, PLURALS["MachineConfig"], name=name)) if name else None


def look(api, name):
    """The scene that :mod:`..domain.pool_obstacles` judges.

    :raises BadInput: there is no such pool, or the cluster has no pools at all.
    """
    try:
        pools = api.list(path_of(API, PLURALS["MachineConfigPool"])).items
    except errors.NotFound as exc:
        raise errors.BadInput("This cluster has no MachineConfigPools: it is not OpenShift.",
                              "Nothing was changed. Prepare its nodes by your own means; cluster_preflight checks them.") from exc
    pool = next((one for one in pools if text(one, "metadata", "name") == name), None)
    if pool is None:
        names = sorted(text(one, "metadata", "name") for one in pools)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names
        raise errors.BadInput("There is no MachineConfigPool %s." % name, "Nothing was changed. There are: %s." % ", ".join(near))
    _readable(pool)
    every = api.list(path_of("v1", "nodes")).items
    nodes = node_roll.members(pool, pools, every)
    parts = {row.get("name") for row in rows(pool, "spec", "configuration", "source")} | {node_config.object_name(name)}
    try:
        kubevirt = next(iter(_optional(api, path_of("kubevirt.io/v1", "kubevirts"))), {})
    except errors.Forbidden:
        kubevirt = {}  # then any of the two labels of the CPU manager counts
    return {
        "pool": pool, "pools": pools, "nodes": nodes, "now": api.clock.now(), "guests": _guests(api, kubevirt),
        "others": [node for node in every if node not in nodes and labels(node).get(SCHEDULABLE) == "true"
                   and dig(node, "spec", "unschedulable") is not True],
        "machine_configs": [found for found in (config(api, part) for part in sorted(filter(None, parts))) if found],
        "kubelet_configs": _optional(api, path_of(API, PLURALS["KubeletConfig"])),
        "profiles": _optional(api, path_of(node_config.PROFILE_API, PLURALS["PerformanceProfile"])),
        "rendered": rendered(api, pool, nodes), "certificates": _certificates(api),
        "release": release_of(text(kubevirt, "status", "observedKubeVirtVersion")) if kubevirt else None,
    }


def _guests(api, kubevirt):
    """``[{name, node, memory}]``: the ordinary memory that each guest's pod asks of its node; of one with huge pages, its overhead."""
    release, settings = text(kubevirt, "status", "observedKubeVirtVersion") or None, mapping(kubevirt, "spec", "configuration")
    return [{"name": "%s/%s" % key_of(vmi), "node": text(vmi, "status", "nodeName"),
             "memory": target_pod.requests(vmi, release, settings)["memory"]}
            for vmi in _optional(api, path_of("kubevirt.io/v1", "virtualmachineinstances"))
            if text(vmi, "status", "phase") not in FINAL and text(vmi, "status", "nodeName")]


def _readable(pool):
    try:
        node_roll.load(pool)
    except ValueError as exc:
        raise errors.Refused("The annotation %s of pool %s cannot be read: %s." % (node_roll.NOTE, text(pool, "metadata", "name"), exc),
                             "Look whether the pool is to be resumed (spec.paused), then remove the annotation by hand.") from exc


def rendered(api, pool, nodes):
    """``{name: MachineConfig}`` of what the pool aims at and of what the nodes run."""
    names = {mapping(node, "metadata", "annotations").get(node_roll.CURRENT) for node in nodes}
    names.add(text(pool, "spec", "configuration", "name"))
    return {name: config(api, name) for name in names if name}


def _optional(api, path):
    try:
        return api.list(path).items
    except errors.NotFound:
        return []


def _certificates(api):
    """What the operator's ControllerConfig says of the cluster's CAs; None when it cannot be read or does not say."""
    try:
        found = api.get(path_of(API, "controllerconfigs", name="machine-config-controller"))
    except (errors.NotFound, errors.Forbidden):
        return None
    said = [{"subject": text(row, "subject"), "not_before": epoch(row.get("notBefore")), "not_after": epoch(row.get("notAfter"))}
            for row in rows(found, "status", "controllerCertificates")]
    return [row for row in said if row["not_before"] is not None and row["not_after"] is not None] or None


def differing(api, manifests):
    """``[(manifest, object on the server or None)]`` of those that are missing or say something else."""
    found = [(manifest, find(api, path_to(manifest))) for manifest in manifests]
    return [(manifest, there) for manifest, there in found if there is None or node_config.differs(there.get("spec"), manifest["spec"])]


def title(manifest):
    """``MachineConfig 99-hana-bigvm-hana``."""
    return "%s %s" % (manifest["kind"], manifest["metadata"]["name"])


def write(api, changes, pairs):
    """Create or change; nothing is ever deleted.

    :param changes: a :class:`..common.changeset.ChangeSet`.
    :param pairs: what :func:`differing` returned.
    """
    for manifest, there in pairs:
        if there is None:
            base = path_of(manifest["apiVersion"], PLURALS[manifest["kind"]], manifest["metadata"].get("namespace"))
            after = api.create(base, manifest)
        else:
            after = api.patch(path_to(manifest), {"spec": manifest["spec"]})
        changes.note(title(manifest), {"spec": (there or {}).get("spec")}, {"spec": after.get("spec")})


def put_back(api, manifest, before):
    """Make an object as it was: away with what was not there, the spec as a whole for what was."""
    there = find(api, path_to(manifest))
    if before is None:
        if there is not None and node_config.ours(there):
            api.delete(path_to(manifest))
    elif there is not None:
        api.patch(path_to(manifest), {"spec": node_config.way_back(there.get("spec"), before)})
