# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CustomResourceDefinitions: reading them, and serving what they define."""

from __future__ import annotations

import json
import os

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import cel, schema, status
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.resources import Resource

CRDS = "customresourcedefinitions.apiextensions.k8s.io"


def load_yaml(text):
    """All documents of a YAML or JSON text (list of dict); lists (``kind: List``) are taken apart.

    :param text: str, bytes or an open file. Timestamps stay text.
    """
    documents = []
    for document in _documents(text.read() if hasattr(text, "read") else text):
        if isinstance(document, dict) and document.get("kind", "").endswith("List") and "items" in document:
            said = {"apiVersion": document.get("apiVersion"), "kind": document["kind"][:-4]}  # items may leave it out
            documents.extend(dict(said if said["kind"] else {}, **item) for item in document["items"])
        elif isinstance(document, list):
            documents.extend(document)
        elif document:
            documents.append(document)
    return documents


def _documents(text):
    text = text.encode() if isinstance(text, str) else text
    if text.lstrip()[:1] == b"{":  # JSON is YAML, and a hundred times faster read as JSON
        try:
            return [json.loads(text)]
        except ValueError:
            pass
    import yaml

    return yaml.load_all(text, Loader=_loader())


def _loader():
    import yaml

    if not hasattr(_loader, "made"):
        base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        resolvers = {
            first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
            for first, pairs in base.yaml_implicit_resolvers.items()
        }
        _loader.made = type("Loader", (base,), {"yaml_implicit_resolvers": resolvers})
    return _loader.made


def load_folder(path):
    """The CustomResourceDefinitions in a file, or in all .yaml, .yml and .json files of a folder (list of dict)."""
    paths = [path]
    if os.path.isdir(path):
        names = sorted(os.listdir(path))
        paths = [os.path.join(path, name) for name in names if name.endswith((".yaml", ".yml", ".json"))]
    found = []
    for name in paths:
        with open(name, "rb") as stream:
            found += [crd for crd in load_yaml(stream) if crd.get("kind") == "CustomResourceDefinition"]
    return found


def install(store):
    """Serve the resource of every CustomResourceDefinition in the store, from now on."""
    store.admit(CRDS, lambda operation, obj, old, user, dry_run: operation == "DELETE" or _check(store, obj))
    store.on_event(CRDS, lambda kind, obj, old: _changed(store, kind, obj))


def add(store, definitions):
    """Create these CustomResourceDefinitions; one that exists is replaced."""
    for crd in definitions:
        if store.get(CRDS, "", crd["metadata"]["name"]):
            store.update(CRDS, crd)
        else:
            store.create(CRDS, crd)


def resource_of(crd):
    """The :class:`Resource` that a CustomResourceDefinition describes."""
    spec = crd["spec"]
    names = spec["names"]
    served = [version for version in spec["versions"] if version.get("served", True)]
    storage = next(version for version in spec["versions"] if version.get("storage"))
    schemas = {version["name"]: _schema_of(version) for version in [storage] + served}
    columns = [field["jsonPath"].lstrip(".") for field in storage.get("selectableFields") or []]
    resource = Resource(
        spec["group"], storage["name"], names["plural"], names["kind"], spec.get("scope") != "Cluster",
        tuple(storage.get("subresources") or {}), served_versions=schemas, short_names=names.get("shortNames") or (),
        singular=names.get("singular"), categories=names.get("categories") or (), selectable_fields=columns,
        custom=True,
    )
    resource.served = [version["name"] for version in served]
    resource.columns = {version["name"]: version.get("additionalPrinterColumns") for version in served}
    return resource


def _schema_of(version):
    return (version.get("schema") or {}).get("openAPIV3Schema")


def _check(store, crd):
    spec = crd.get("spec") or {}
    names = spec.get("names") or {}
    wanted = "%s.%s" % (names.get("plural"), spec.get("group"))
    causes = []
    for field, value in (("spec.group", spec.get("group")), ("spec.names.plural", names.get("plural")),
                         ("spec.names.kind", names.get("kind")), ("spec.versions", spec.get("versions"))):
        if not value:
            causes.append((field, "FieldValueRequired", "Required value"))
    if not causes and crd["metadata"].get("name") != wanted:
        text = status.invalid_value(crd["metadata"].get("name"), 'must be spec.names.plural+"."+spec.group')
        causes.append(("metadata.name", "FieldValueInvalid", text))
    if not causes and not spec.get("scope"):
        causes.append(("spec.scope", "FieldValueRequired", "Required value"))
    if not causes:
        causes = _schema_causes(spec["versions"])
    if not causes and sum(bool(version.get("storage")) for version in spec["versions"]) != 1:
        text = "must have exactly one version marked as storage version"
        causes.append(("spec.versions", "FieldValueInvalid", status.invalid_value([], text)))
    if causes:
        raise status.invalid(store.resource(CRDS), crd["metadata"].get("name", ""), causes)
    spec.setdefault("conversion", {"strategy": "None"})
    names.setdefault("singular", names["kind"].lower())
    names.setdefault("listKind", names["kind"] + "List")


def _schema_causes(versions):
    causes = []
    for place, version in enumerate(versions):
        field = "spec.versions[%d].schema.openAPIV3Schema" % place
        if _schema_of(version) is None:
            causes.append((field, "FieldValueRequired", "Required value"))
            continue
        for rule in schema.rules(_schema_of(version)):
            try:
                cel.compiled(rule)
            except cel.CelError as exc:
                text = status.invalid_value(rule, "compilation failed: %s" % exc)
                causes.append((field, "FieldValueInvalid", text))
    return causes


def _changed(store, kind, crd):
    name = crd["metadata"]["name"]
    if kind == "DELETED":
        store.unregister(name)
        return
    resource = resource_of(crd)
    known = store.resources.get(name)
    resource.convert = known.convert if known else None
    store.register(resource)
    if kind == "ADDED":
        store.modify(CRDS, "", name, lambda new: new.update(status=_status(store, crd, resource)))


def _status(store, crd, resource):
    now = store.timestamp()
    return {
        "acceptedNames": crd["spec"]["names"], "storedVersions": [resource.version],
        "conditions": [
            {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "no conflicts found",
             "lastTransitionTime": now},
            {"type": "Established", "status": "True", "reason": "InitialNamesAccepted",
             "message": "the initial names have been accepted", "lastTransitionTime": now},
        ],
    }
