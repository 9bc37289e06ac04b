# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects in other forms, as a client's Accept header asks: tables (what kubectl shows) and metadata alone."""

from __future__ import annotations

import json

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import status

META = "meta.k8s.io/v1"
READABLE = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/json;stream=watch",
            "application/vnd.kubernetes.protobuf;stream=watch")
NAME = {"name": "Name", "type": "string", "format": "name", "description": "Name of the object", "priority": 0}
AGE = {"name": "Age", "type": "string", "format": "", "description": "Time since the object was made", "priority": 0}
DATA = {"name": "Data", "type": "string", "format": "", "description": "Number of entries", "priority": 0}


def one(request, entry, resource, version):
    """An object's bytes, or another form of it (dict).

    :param entry: :class:`~.store.Entry`.
    :raises ApiStatus: 406.
    """
    form = _wanted(request)
    if form == "Table":
        return _table([entry], resource, version, {"resourceVersion": entry.obj["metadata"]["resourceVersion"]})
    if form == "PartialObjectMetadata":
        return _partial(entry)
    return entry.encoded(version)


def many(request, entries, resource, version, meta):
    """Another form of a list (dict); None for the plain one.

    :raises ApiStatus: 406.
    """
    form = _wanted(request)
    if form == "Table":
        return _table(entries, resource, version, meta)
    if form == "PartialObjectMetadataList":
        meta = {key: value for key, value in meta.items() if value}
        return {"kind": form, "apiVersion": META, "metadata": meta, "items": [_partial(entry) for entry in entries]}
    return None


def _wanted(request):
    accept = request.headers.get("accept", "")
    if not accept:
        return None
    for word in accept.split(","):
        kind, _semicolon, rest = word.strip().partition(";")
        asked = dict(part.strip().partition("=")[::2] for part in rest.split(";"))
        if kind == "application/json" and asked.get("as") in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
            return asked["as"]
        if kind in ("*/*", "application/*") + READABLE:
            return None
    raise status.ApiStatus(406, "NotAcceptable", "406: Not Acceptable\n\nAvailable representations: %s" % ", ".join(READABLE),
                           details={})


def _partial(entry):
    return {"kind": "PartialObjectMetadata", "apiVersion": META, "metadata": entry.obj["metadata"]}


def _columns(resource, version):
    if resource.key == "configmaps":
        return [DATA, AGE], [lambda obj: len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), _created]
    own = resource.columns.get(version) or []
    if not own:
        return [AGE], [_created]
    shown = [{"name": column["name"], "type": column["type"], "format": column.get("format", ""),
              "description": column.get("description", ""), "priority": column.get("priority", 0)} for column in own]
    return shown, [_reader(column["jsonPath"]) for column in own]


def _reader(path):
    parts = path.lstrip(".").replace("\\.", "\0").split(".")

    def read(obj):
        for part in parts:
            obj = obj.get(part.replace("\0", ".")) if isinstance(obj, dict) else None
        return json.dumps(obj) if isinstance(obj, (dict, list)) else obj

    return read


def _created(obj):
    return obj["metadata"].get("creationTimestamp")


def _table(entries, resource, version, meta):
    columns, readers = _columns(resource, version)
    rows = []
    for entry in entries:
        obj = resource.converted(entry.obj, version)
        rows.append({"cells": [obj["metadata"]["name"]] + [read(obj) for read in readers], "object": _partial(entry)})
    return {"kind": "Table", "apiVersion": META, "metadata": meta, "columnDefinitions": [NAME] + columns, "rows": rows}
