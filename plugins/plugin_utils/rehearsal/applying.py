# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Server-side apply: who applies owns the fields given, loses those given no more, and may not take another's.

Built on the account that ownership.py keeps. Lists count as one value, where a real server looks into lists with keys.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import ownership, status
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.store import copied

IDENTITY = ("apiVersion", "kind", "metadata")


def check(request, wanted):
    """422 or 400 for a request that cannot be applied; returns the manager's name.

    :param wanted: the body as data.
    """
    manager = request.query.get("fieldManager")
    if not manager:
        raise status.invalid_options("PatchOptions", [
            ("fieldManager", "FieldValueRequired", "Required value: is required for apply patch")])
    if not isinstance(wanted, dict) or not wanted.get("kind") or not wanted.get("apiVersion"):
        raise status.bad_request("invalid object type: /, Kind=")
    if (wanted.get("metadata") or {}).get("managedFields"):
        raise status.bad_request("metadata.managedFields must be nil")
    return manager


def created(wanted, manager, now):
    """The managedFields of a new object."""
    return [_row(manager, now, wanted["apiVersion"], _paths(wanted))]


def applied(live, wanted, manager, now, force):
    """``(object, managedFields)`` after applying to an object that exists.

    :raises ApiStatus: 409 with a cause for each field that somebody else owns, unless forced.
    """
    rows = list(live["metadata"].get("managedFields") or [])
    mine = next((row for row in rows if _is_mine(row, manager)), None)
    others = [row for row in rows if row is not mine]
    paths = _paths(wanted)
    taken = {path: row for path in _leaves(paths) for row in others if _owns(row, path) and _at(live, path) != _at(wanted, path)}
    if taken and not force:
        raise _conflict(taken)
    result = _merged(copied(live), {key: value for key, value in wanted.items() if key not in IDENTITY})
    _merged(result["metadata"], {key: value for key, value in (wanted.get("metadata") or {}).items()
                                 if key not in ownership.NOT_OWNED})
    given = set(_leaves(paths))
    for path in _leaves((mine or {}).get("fieldsV1") or {}):
        if path not in given and not any(_owns(row, path) for row in others):
            _remove(result, path)
    kept = [dict(row, fieldsV1=_less(row.get("fieldsV1") or {}, [path for path, owner in taken.items() if owner is row]))
            for row in others]
    new = _row(manager, now, wanted["apiVersion"], paths)
    if mine and mine["fieldsV1"] == new["fieldsV1"]:
        new["time"] = mine["time"]  # nothing changed: no new version
    return result, [row for row in kept if row["fieldsV1"]] + [new]


def _row(manager, now, api_version, paths):
    return {"manager": manager, "operation": "Apply", "apiVersion": api_version, "time": now, "fieldsType": "FieldsV1",
            "fieldsV1": paths}


def _is_mine(row, manager):
    return row.get("manager") == manager and row.get("operation") == "Apply"


def _paths(obj):
    """The fields of an object as ``f:`` dicts."""
    meta = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in ownership.NOT_OWNED}
    found = {key: value for key, value in obj.items() if key not in IDENTITY}
    return _nested(dict(found, metadata=meta) if meta else found)


def _nested(value):
    return {"f:" + key: _nested(item) if isinstance(item, dict) else {} for key, item in value.items()}


def _leaves(fields, path=()):
    for key, below in fields.items():
        if key.startswith("f:"):
            if below:
                yield from _leaves(below, path + (key[2:],))
            else:
                yield path + (key[2:],)


def _owns(row, path):
    fields = row.get("fieldsV1") or {}
    for part in path:
        if "f:" + part not in fields:
            return False
        fields = fields["f:" + part]
    return True


def _at(obj, path):
    for part in path:
        obj = obj.get(part) if isinstance(obj, dict) else None
    return obj


def _merged(target, source):
    for key, value in source.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merged(target[key], value)
        else:
            target[key] = copied(value)
    return target


def _remove(obj, path):
    *above, last = path
    holder = _at(obj, above)
    if isinstance(holder, dict):
        holder.pop(last, None)


def _less(fields, paths):
    result = copied(fields)
    for path in paths:
        *above, last = path
        holder = result
        for part in above:
            holder = holder.get("f:" + part, {})
        holder.pop("f:" + last, None)
    return result


def _conflict(taken):
    causes, by_owner = [], {}
    for path, row in sorted(taken.items()):
        who = '"%s"' % row["manager"] + (" using %s" % row["apiVersion"] if row.get("operation") == "Update" else "")
        field = "." + ".".join(path)
        by_owner.setdefault(who, []).append(field)
        causes.append({"reason": "FieldManagerConflict", "message": "conflict with %s" % who, "field": field})
    if len(causes) == 1:
        text = "1 conflict: %s: %s" % (causes[0]["message"], causes[0]["field"])
    else:
        text = "%d conflicts: %s" % (len(causes), "\n".join("conflicts with %s:\n%s" % (
            who, "\n".join("- " + field for field in fields)) for who, fields in sorted(by_owner.items())))
    return status.ApiStatus(409, message="Apply failed with " + text, details={"causes": causes})
