# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kinds of PATCH: merge, JSON and (for core kinds) strategic merge; the fourth, apply, is in applying.py."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import status
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.status import ApiStatus, bad_request
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.store import copied

MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
_GO_NAMES = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number"}

# Lists of core kinds that are merged by a key, by the name of the field that holds them.
MERGE_KEYS = {
    "containers": "name", "initContainers": "name", "ephemeralContainers": "name", "volumes": "name", "env": "name",
    "volumeMounts": "mountPath", "volumeDevices": "devicePath", "conditions": "type", "addresses": "type",
    "ownerReferences": "uid", "imagePullSecrets": "name", "secrets": "name", "hostAliases": "ip", "podIPs": "ip",
    "topologySpreadConstraints": "topologyKey", "resourceClaims": "name", "volumesAttached": "name",
}
PORT_KEYS = ("containerPort", "port")
PRIMITIVE_LISTS = ("finalizers", "podCIDRs")


def accepted(content_type, custom):
    """The kind of patch that a request's content type names.

    :param custom: whether the object is a custom resource (no strategic merge).
    :raises ApiStatus: 415 for another type.
    """
    kind = content_type.split(";")[0].strip()
    types = [JSON, MERGE, APPLY] if custom else [JSON, MERGE, STRATEGIC, APPLY]
    if kind in types:
        return kind
    if kind == STRATEGIC:
        raise status.unsupported_patch(types)
    raise ApiStatus(415, message="415: Unsupported Media Type", details={})


def apply(kind, obj, patch):
    """The patched object (new dict).

    :param kind: of patch, from :func:`accepted`; not apply.
    :raises ApiStatus: 400 for a malformed patch, 422 for a JSON patch that does not apply.
    """
    if kind == JSON:
        return _json(obj, patch)
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: json: cannot unmarshal %s into Go value of type map[string]interface {}" % (
            _GO_NAMES.get(type(patch), "null")))
    return merge(obj, patch) if kind == MERGE else strategic(obj, patch)


def merge(value, patch):
    """JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return copied(patch)
    result = dict(value) if isinstance(value, dict) else {}
    for key, change in patch.items():
        if change is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), change)
    return result


def _json(obj, patch):
    """RFC 6902 as API servers take it: replace also adds a field, and what is not there tests as null."""
    import jsonpatch

    if not isinstance(patch, list):
        raise bad_request("error decoding patch: json: cannot unmarshal %s into Go value of type []handlers.jsonPatchOp" % (
            _GO_NAMES.get(type(patch), "null")))
    result = copied(obj)
    for operation in patch:
        try:
            result = jsonpatch.JsonPatch([_lenient(operation, result)]).apply(result)
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, AttributeError) as exc:
            message = "the server rejected our request due to an error in our request"
            raise ApiStatus(422, message=message, details={}) from exc
    return result


def _lenient(operation, obj):
    """An operation in words that the library understands in the same way."""
    import jsonpointer

    if operation.get("op") not in ("replace", "test"):
        return operation
    *above, last = jsonpointer.JsonPointer(operation["path"]).parts or [None]
    holder = jsonpointer.JsonPointer.from_parts(above).resolve(obj, None)
    if not isinstance(holder, dict) or last in holder or last is None:
        return operation
    if operation["op"] == "replace":
        return dict(operation, op="add")
    return {"op": "test", "path": "", "value": obj} if operation.get("value") is None else operation


def strategic(value, patch):
    """Strategic merge patch by the merge keys of the core kinds."""
    directive = patch.get("$patch")
    if directive == "replace":
        return copied({key: item for key, item in patch.items() if key != "$patch"})
    if directive == "delete":
        return {}
    result = dict(value) if isinstance(value, dict) else {}
    for key, change in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.split("/", 1)[1]
            result[field] = [item for item in result.get(field) or [] if item not in change]
        elif key == "$retainKeys":
            result = {field: item for field, item in result.items() if field in change}
        elif key.startswith("$"):
            continue
        elif change is None:
            result.pop(key, None)
        elif isinstance(change, dict):
            result[key] = strategic(result.get(key), change)
        elif isinstance(change, list):
            result[key] = _list(key, result.get(key) or [], change)
        else:
            result[key] = change
    for key, order in patch.items():
        if key.startswith("$setElementOrder/"):
            _order(result, key.split("/", 1)[1], order)
    return result


def _merge_key(field, items):
    if field != "ports":
        return MERGE_KEYS.get(field)
    return next((key for key in PORT_KEYS if any(key in item for item in items if isinstance(item, dict))), None)


def _list(field, present, change):
    if field in PRIMITIVE_LISTS:
        return present + [item for item in change if item not in present]
    key = _merge_key(field, change)
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in change):
        return [copied(item) for item in change if "$patch" not in item]
    if key is None:
        return copied(change)
    result, added = list(present), []
    for item in change:
        if key not in item:
            raise status.failure("map: map[%s] does not contain declared merge key: %s" % (
                " ".join("%s:%s" % pair for pair in item.items()), key))
        place = next((at for at, old in enumerate(result) if old.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            result = [old for old in result if old.get(key) != item[key]]
        elif place is None:
            added.append(strategic({}, item))
        else:
            result[place] = strategic(result[place], item)
    return added + result


def _order(result, field, order):
    items = result.get(field)
    if not isinstance(items, list):
        return
    key = _merge_key(field, order)
    wanted = [item.get(key) if isinstance(item, dict) else item for item in order]
    rank = {value: place for place, value in enumerate(wanted)}
    own = [item.get(key) if isinstance(item, dict) else item for item in items]
    result[field] = [item for place, item in sorted(
        enumerate(items), key=lambda pair: (rank.get(own[pair[0]], len(rank)), pair[0]))]
