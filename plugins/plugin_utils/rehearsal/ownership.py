# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``metadata.managedFields``: who wrote which field last, as far as a reader of ownership needs it.

The fields of a row are those whose value that manager set; whoever sets a value takes it from the
others. Lists count as one value (a real server looks into lists with keys).
"""

from __future__ import annotations

NOT_OWNED = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
             "deletionGracePeriodSeconds", "managedFields", "generateName", "selfLink")


def manager_of(request):
    """The name a request writes under: fieldManager, else the first word of its User-Agent."""
    return (request.query.get("fieldManager") or request.headers.get("user-agent", "").split("/")[0] or "unknown")[:128]


def after(old, new, manager, now, api_version, subresource=None):
    """The managedFields of ``new`` when ``manager`` made it of ``old`` (None: it is new).

    :param subresource: ``status`` when only that was written.
    :returns: a list; the old one when nothing was changed.
    """
    rows = list(((old or {}).get("metadata") or {}).get("managedFields") or [])
    set_, gone = _changed(_owned(old), _owned(new))
    if not set_ and not gone:
        return rows
    kept = []
    mine = {"manager": manager, "operation": "Update", "apiVersion": api_version, "time": now, "fieldsType": "FieldsV1",
            "fieldsV1": {}}
    if subresource:
        mine["subresource"] = subresource
    for row in rows:
        left = _without(_without(row.get("fieldsV1") or {}, set_), gone)
        if row.get("manager") == manager and row.get("subresource") == subresource and row.get("operation") == "Update":
            mine["fieldsV1"] = left
        elif left:
            kept.append(dict(row, fieldsV1=left))
    mine["fieldsV1"] = _joined(mine["fieldsV1"], set_)
    return kept + ([mine] if mine["fieldsV1"] else [])


def _owned(obj):
    if obj is None:
        return {}
    meta = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in NOT_OWNED}
    found = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}
    return dict(found, metadata=meta) if meta else found


def _changed(old, new):
    """``(set, gone)``: the paths whose value differs, and those that are no more, as nested ``f:`` dicts."""
    set_, gone = {}, {}
    for key in sorted(set(old) | set(new)):
        before, now = old.get(key), new.get(key)
        if key not in new:
            gone["f:" + key] = {}
        elif isinstance(now, dict) and now and (isinstance(before, dict) or before is None):
            below, lost = _changed(before or {}, now)
            if below:
                set_["f:" + key] = below
            if lost:
                gone["f:" + key] = lost
        elif before != now or key not in old:
            set_["f:" + key] = {}
    return set_, gone


def _without(fields, taken):
    left = {}
    for key, below in fields.items():
        if key not in taken:
            left[key] = below
        elif taken[key]:
            rest = _without(below, taken[key])
            if rest:
                left[key] = rest
    return left


def _joined(one, other):
    result = dict(one)
    for key, below in other.items():
        result[key] = _joined(result.get(key) or {}, below)
    return result
