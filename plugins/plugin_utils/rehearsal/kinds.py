# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CustomResourceDefinitions of a virtualisation cluster, compact and our own, by release.

Strict where a rehearsal depends on it (a migration's spec, the live migration
settings and their defaults, MigrationPolicy), open elsewhere. Real definitions
given with ``--crds`` take their place. Source: facts 1.1, 5.1, 10.1-10.3.
"""

from __future__ import annotations

import json

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import settings

OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
TEXT = {"type": "string"}
SWITCH = {"type": "boolean"}
LABELS = {"type": "object", "additionalProperties": TEXT}
COUNT = {"type": "integer", "format": "int32"}
SECONDS = {"type": "integer", "format": "int64"}
QUANTITY = {
    "anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True,
    "pattern": r"^([+-]?[0-9]+(\.[0-9]*)?|[+-]?\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
}
V1_ONLY = "hco.kubevirt.io/v1-only-fields"


def definitions(generation):
    """All CustomResourceDefinitions (list of dict) of that :class:`~.generations.Generation`."""
    hco = {version: _hyperconverged(version, generation) for version in generation.hco_served}
    kubevirt, group = ("v1",), "kubevirt.io"
    return [
        _definition(group, "VirtualMachine", kubevirt, {"v1": _typed(
            _object({"template": _object({"spec": _guest()}, opened=True)}, ["template"], opened=True), ["spec"])},
            short=("vm", "vms")),
        _definition(group, "VirtualMachineInstance", kubevirt, {"v1": _typed(_guest(), ["spec"])},
                    short=("vmi", "vmis"), status=False),
        _definition(group, "VirtualMachineInstanceMigration", kubevirt,
                    {"v1": _typed(_migration(generation), ["spec"])}, short=("vmim", "vmims")),
        _definition(group, "KubeVirt", kubevirt, {"v1": _typed(_kubevirt(), ["spec"])}, short=("kv", "kvs")),
        _definition("migrations.kubevirt.io", "MigrationPolicy", ("v1alpha1",),
                    {"v1alpha1": _typed(_policy(generation), ["spec"])}, plural="migrationpolicies", namespaced=False),
        _definition("hco.kubevirt.io", "HyperConverged", generation.hco_served, hco, short=("hco", "hcos")),
        permissive("cdi.kubevirt.io", "v1beta1", "DataVolume", short=("dv", "dvs")),
        permissive("k8s.cni.cncf.io", "v1", "NetworkAttachmentDefinition", plural="network-attachment-definitions",
                   short=("net-attach-def",), status=False),
    ]


def permissive(group, version, kind, plural=None, namespaced=True, short=(), status=True):
    """A CustomResourceDefinition that accepts anything."""
    return _definition(group, kind, (version,), {version: OPEN}, plural, short, namespaced, status)


def plural_of(kind):
    """The usual plural of a kind, for kinds that nobody described."""
    lower = kind.lower()
    if lower.endswith("y"):
        return lower[:-1] + "ies"
    return lower + ("es" if lower.endswith(("s", "x", "ch")) else "s")


def _definition(group, kind, served, schemas, plural=None, short=(), namespaced=True, status=True):
    plural = plural or plural_of(kind)
    versions = [
        dict({"name": version, "served": True, "storage": version == served[0],
              "schema": {"openAPIV3Schema": schemas[version]}}, **({"subresources": {"status": {}}} if status else {}))
        for version in served
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "%s.%s" % (plural, group)},
        "spec": {
            "group": group, "scope": "Namespaced" if namespaced else "Cluster", "versions": versions,
            "names": {"kind": kind, "listKind": kind + "List", "plural": plural, "singular": kind.lower(),
                      "shortNames": list(short)},
        },
    }


def _object(properties, required=(), opened=False, **more):
    schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    if opened:
        schema["x-kubernetes-preserve-unknown-fields"] = True
    return dict(schema, **more)


def _typed(spec, required=()):
    parts = {"apiVersion": TEXT, "kind": TEXT, "metadata": {"type": "object"}, "spec": spec, "status": OPEN}
    return _object(parts, required)


def _guest():
    return _object({"domain": _object({"devices": OPEN}, ["devices"], opened=True)}, ["domain"], opened=True)


def _migration(generation):
    known = {"vmiName": TEXT}
    if generation.added_node_selector:
        known["addedNodeSelector"] = LABELS
        known["sendTo"] = _object({"migrationID": TEXT, "connectURL": TEXT}, ["migrationID", "connectURL"])
        known["receive"] = _object({"migrationID": TEXT}, ["migrationID"])
    if generation.priorities:
        known["priority"] = TEXT
    return _object(known)


def _policy(generation):
    known = {
        "selectors": _object({"namespaceSelector": LABELS, "virtualMachineInstanceSelector": LABELS}),
        "allowAutoConverge": SWITCH, "allowPostCopy": SWITCH, "bandwidthPerMigration": QUANTITY,
        "completionTimeoutPerGiB": SECONDS,
    }
    if generation.disruption:
        known["allowWorkloadDisruption"] = SWITCH
    if generation.downtime:
        known["maxDowntimeMs"] = {"type": "integer", "minimum": 1, "maximum": 2000000}
    return _object(known, ["selectors"])


def _kubevirt():
    migrations = _object({
        "parallelMigrationsPerCluster": COUNT, "parallelOutboundMigrationsPerNode": COUNT, "progressTimeout": SECONDS,
        "completionTimeoutPerGiB": SECONDS, "bandwidthPerMigration": QUANTITY, "network": TEXT,
        "allowAutoConverge": SWITCH, "allowPostCopy": SWITCH, "allowWorkloadDisruption": SWITCH,
    }, opened=True)
    return _object({"configuration": _object({"migrations": migrations}, opened=True)}, opened=True)


def _hyperconverged(version, generation):
    """The schema of one HyperConverged API version; the settings get their defaults, wherever they live."""
    values = settings.defaults(generation.release)
    block = {}
    for field in settings.FIELDS.values():
        if field.since > generation.release:
            continue
        kind = {"limit": COUNT, "seconds": SECONDS, "switch": SWITCH, "name": TEXT}.get(field.kind)
        kind = kind or {"type": "string", "pattern": QUANTITY["pattern"]}
        default = values[field.name]
        block[field.key] = dict(kind, default=default) if default is not None else kind
    schema = _object(block, default={})
    for part in reversed(settings.PLACES[version][1:]):
        schema = _object({part: schema}, opened=True, default={})
    return _typed(schema)


# -- HyperConverged's two shapes -----------------------------------------------

# Where things moved from v1beta1 to v1 (facts 10.1); what is not listed stays where it is.
MOVED = (
    (("liveMigrationConfig",), ("virtualization", "liveMigrationConfig")),
    (("evictionStrategy",), ("virtualization", "evictionStrategy")),
    (("workloadUpdateStrategy",), ("virtualization", "workloadUpdateStrategy")),
    (("virtualMachineOptions",), ("virtualization", "virtualMachineOptions")),
    (("higherWorkloadDensity",), ("virtualization", "higherWorkloadDensity")),
    (("permittedHostDevices",), ("virtualization", "permittedHostDevices")),
    (("mediatedDevicesConfiguration",), ("virtualization", "mediatedDevicesConfiguration")),
    (("liveUpdateConfiguration",), ("virtualization", "liveUpdateConfiguration")),
    (("ksmConfiguration",), ("virtualization", "ksmConfiguration")),
    (("tuningPolicy",), ("virtualization", "tuningPolicy")),
    (("resourceRequirements", "vmiCPUAllocationRatio"), ("virtualization", "vmiCPUAllocationRatio")),
    (("certConfig",), ("security", "certConfig")),
    (("uninstallStrategy",), ("deployment", "uninstallStrategy")),
    (("deployVmConsoleProxy",), ("deployment", "deployVmConsoleProxy")),
    (("enableCommonBootImageImport",), ("workloadSources", "enableCommonBootImageImport")),
)


def converted(obj, version):
    """A HyperConverged object (dict) in the other API version; what only v1 has travels in an annotation."""
    spec = json.loads(json.dumps(obj.get("spec") or {}))
    meta = dict(obj.get("metadata") or {}, annotations=dict((obj.get("metadata") or {}).get("annotations") or {}))
    if version == "v1":
        spec = _moved(spec, MOVED)
        if isinstance(spec.get("featureGates"), dict):
            spec["featureGates"] = [
                {"name": name, "state": "Enabled" if on else "Disabled"} for name, on in spec["featureGates"].items()
            ]
        only = json.loads(meta["annotations"].pop(V1_ONLY, "{}"))
        spec = _overlaid(only, spec)
    else:
        spec = _moved(spec, [(there, here) for here, there in MOVED])
        if isinstance(spec.get("featureGates"), list):
            spec["featureGates"] = {
                gate["name"]: gate.get("state", "Enabled") == "Enabled" for gate in spec["featureGates"]
            }
        only = {key: spec.pop(key) for key in _V1_SECTIONS if key in spec}
        if only:
            meta["annotations"][V1_ONLY] = json.dumps(only, sort_keys=True)
    if not meta["annotations"]:
        del meta["annotations"]
    return dict(obj, metadata=meta, spec=spec)


_V1_SECTIONS = ("virtualization", "security", "deployment", "workloadSources", "networking", "observability", "storage")


def _moved(spec, moves):
    for source, target in moves:
        holder = spec
        for part in source[:-1]:
            holder = holder.get(part) if isinstance(holder, dict) else None
        if not isinstance(holder, dict) or source[-1] not in holder:
            continue
        place = spec
        for part in target[:-1]:
            place = place.setdefault(part, {})
        place[target[-1]] = holder.pop(source[-1])
        if len(source) > 1 and not holder:
            spec.pop(source[0], None)
    return spec


def _overlaid(below, above):
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _overlaid(result[key], value) if both else value
    return result
