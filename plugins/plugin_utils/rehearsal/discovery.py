# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The discovery documents: /api, /apis and what is below them."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.access import VERBS as WRITE_VERBS

PREFERENCE = {"v1": 0, "v2": 1, "v1beta1": 2, "v1alpha3": 3, "v1alpha1": 4}
SUBRESOURCE_KINDS = {"eviction": ("policy", "v1", "Eviction")}


def document(store, path, extra):
    """The document for a path, or None.

    :param extra: ``{"group/version": [APIResource, ...]}`` of paths served by hooks.
    """
    parts = [part for part in path.split("/") if part]
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    groups = _groups(store, extra)
    if parts == ["apis"]:
        named = [_group(name, versions) for name, versions in groups.items() if name]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": named}
    if len(parts) == 2 and parts[0] == "apis" and parts[1] in groups:
        return dict(_group(parts[1], groups[parts[1]]), kind="APIGroup", apiVersion="v1")
    if len(parts) == 2 and parts == ["api", "v1"]:
        return _resources(store, "", "v1", extra)
    if len(parts) == 3 and parts[0] == "apis" and parts[2] in groups.get(parts[1], ()):
        return _resources(store, parts[1], parts[2], extra)
    return None


def knows_group(store, path):
    """Whether a path is below a group that is served, in whatever version."""
    parts = [part for part in path.split("/") if part]
    return parts[:1] == ["apis"] and len(parts) == 3 and any(r.group == parts[1] for r in store.resources.values())


def _groups(store, extra):
    groups = {}
    for resource in store.resources.values():
        groups.setdefault(resource.group, set()).update(resource.served)
    for group_version in extra:
        group, slash, version = group_version.rpartition("/")
        groups.setdefault(group, set()).add(version)
    return {name: sorted(versions, key=lambda v: PREFERENCE.get(v, 9)) for name, versions in groups.items()}


def _group(name, versions):
    described = [{"groupVersion": "%s/%s" % (name, version), "version": version} for version in versions]
    return {"name": name, "versions": described, "preferredVersion": described[0]}


def _resources(store, group, version, extra):
    listed = []
    for resource in store.resources.values():
        if resource.group == group and version in resource.served:
            listed += _described(resource)
    group_version = "%s/%s" % (group, version) if group else version
    return {
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
        "resources": listed + list(extra.get(group_version, ())),
    }


def _described(resource):
    main = {
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "verbs": list(resource.verbs),
    }
    if resource.short_names:
        main["shortNames"] = list(resource.short_names)
    if resource.categories:
        main["categories"] = list(resource.categories)
    yield main
    for name in resource.subresources:
        group, version, kind = SUBRESOURCE_KINDS.get(name, (None, None, resource.kind))
        below = {
            "name": "%s/%s" % (resource.plural, name), "singularName": "", "namespaced": resource.namespaced,
            "kind": kind, "verbs": ["get", "patch", "update"] if name == "status" else
            [WRITE_VERBS["POST"]] if name == "eviction" else ["get"],
        }
        if group:
            below.update(group=group, version=version)
        yield below
