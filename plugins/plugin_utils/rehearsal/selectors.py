# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Label and field selectors."""

from __future__ import annotations

import re

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.status import bad_request

_SET = re.compile(r"^(?P<key>[^\s!=,()]+)\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)$")
_EQUAL = re.compile(r"^(?P<key>[^\s!=,()]+)\s*(?P<op>==|!=|=)\s*(?P<value>[^\s!=,()]*)$")
_EXISTS = re.compile(r"^(?P<no>!?)\s*(?P<key>[^\s!=,()]+)$")
_FIELD = re.compile(r"^(?P<key>[^=!]+?)\s*(?P<op>==|!=|=)\s*(?P<value>.*)$")

# Fields that a resource may be selected by; every resource has the two of metadata.
COMMON_FIELDS = ("metadata.name", "metadata.namespace")
FIELDS = {
    "pods": ("spec.nodeName", "status.phase", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
             "status.podIP", "status.nominatedNodeName"),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "events": ("involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
               "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
               "reportingComponent", "source", "type"),
}


def labels(text):
    """A predicate over an object (dict) for a label selector such as ``a=b,c in (d,e),!f``; None when it is empty.

    :raises ApiStatus: 400 when it does not parse.
    """
    if not text or not text.strip():
        return None
    tests = [_label_test(part.strip(), text) for part in _split(text)]

    def matches(obj):
        present = obj["metadata"].get("labels") or {}
        return all(test(present) for test in tests)

    return matches


def _split(text):
    """At the commas outside parentheses."""
    parts, depth, start = [], 0, 0
    for position, char in enumerate(text):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return parts + [text[start:]]


def _label_test(part, whole):
    match = _SET.match(part)
    if match:
        values = {value.strip() for value in match["values"].split(",")}
        if match["op"] == "in":
            return lambda present, key=match["key"]: present.get(key) in values
        return lambda present, key=match["key"]: present.get(key) not in values
    match = _EQUAL.match(part)
    if match:
        if match["op"] == "!=":
            return lambda present, key=match["key"], value=match["value"]: present.get(key) != value
        return lambda present, key=match["key"], value=match["value"]: present.get(key) == value
    match = _EXISTS.match(part)
    if match:
        return lambda present, key=match["key"], absent=bool(match["no"]): (key in present) != absent
    raise bad_request("unable to parse requirement: found '%s' in the label selector \"%s\"" % (part, whole))


def fields(text, resource):
    """A predicate over an object for a field selector such as ``spec.nodeName=n1``; None when it is empty.

    :raises ApiStatus: 400 for a field that this resource does not support, as a real API server does.
    """
    if not text or not text.strip():
        return None
    known = COMMON_FIELDS + FIELDS.get(resource.key, ()) + tuple(resource.selectable_fields)
    tests = []
    for part in text.split(","):
        match = _FIELD.match(part.strip())
        if not match:
            raise bad_request("invalid selector: '%s'; can't understand '%s'" % (text, part))
        if match["key"] not in known:
            why = "field label not supported: %s" % match["key"]
            if resource.custom:
                supported = ", ".join('"%s"' % field for field in known)
                why = '"%s" is not a known field selector: only %s' % (match["key"], supported)
            raise bad_request('Unable to find "%s, Resource=%s" that match label selector "", field selector "%s": %s'
                              % (resource.api_version, resource.plural, text, why))
        tests.append((match["key"].split("."), match["op"] == "!=", match["value"]))

    def matches(obj):
        return all((_field(obj, path) == value) != negated for path, negated, value in tests)

    return matches


def _field(obj, path):
    if path == ["source"]:
        path = ["source", "component"]
    for part in path:
        obj = obj.get(part) if isinstance(obj, dict) else None
    if isinstance(obj, bool) or (obj is None and path[-1] == "unschedulable"):
        return "true" if obj else "false"
    return "" if obj is None else str(obj)


def both(first, second):
    """One predicate of two, each of which may be None."""
    if first is None or second is None:
        return first or second
    return lambda obj: first(obj) and second(obj)
