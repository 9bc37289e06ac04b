# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The three kinds of PATCH that are served: merge, JSON and (for core kinds) strategic merge."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.status import ApiStatus, bad_request
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.store import copied

MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

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
    types = [JSON, MERGE] if custom else [JSON, MERGE, STRATEGIC]
    if kind not in types:
        message = "the body of the request was in an unknown format - accepted media types include: %s"
        raise ApiStatus(415, message=message % ", ".join(types))
    return kind


def apply(kind, obj, patch):
    """The patched object (new dict).

    :param kind: of patch, from :func:`accepted`.
    :raises ApiStatus: 400 for a malformed patch, 422 for a JSON patch that does not apply.
    """
    if kind == JSON:
        return _json(obj, patch)
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: a %s must be a JSON object" % kind)
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
    import jsonpatch

    if not isinstance(patch, list):
        raise bad_request("error decoding patch: a JSON patch must be a list of operations")
    try:
        return jsonpatch.JsonPatch(patch).apply(copied(obj))
    except jsonpatch.InvalidJsonPatch as exc:
        raise bad_request("error decoding patch: %s" % exc) from exc
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as exc:
        message = "the server rejected our request due to an error in our request"
        raise ApiStatus(422, message=message, details={"causes": [{"message": str(exc)}]}) from exc


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
    result = list(present)
    for item in change:
        if key not in item:
            raise bad_request("error decoding patch: map: %s does not contain declared merge key: %s" % (item, key))
        place = next((at for at, old in enumerate(result) if old.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            result = [old for old in result if old.get(key) != item[key]]
        elif place is None:
            result.append(strategic({}, item))
        else:
            result[place] = strategic(result[place], item)
    return result


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
