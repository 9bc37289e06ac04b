# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Label and field selectors."""

from __future__ import annotations

import re

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import naming
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.status import bad_request, invalid_value

_TOKEN = re.compile(r"\s*(==|!=|[=!<>(),]|[^\s=!<>(),]+)")
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
    tests = _Labels(text).tests()

    def matches(obj):
        present = obj["metadata"].get("labels") or {}
        return all(test(present) for test in tests)

    return matches


class _Labels:
    """Reads a label selector, and says what is wrong with it as an API server does."""

    def __init__(self, text):
        self.tokens = _TOKEN.findall(text)
        self.at = 0

    def next(self):
        """The next word, "" at the end."""
        self.at += 1
        return self.tokens[self.at - 1] if self.at <= len(self.tokens) else ""

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def tests(self):
        found = [self.requirement()]
        while self.peek():
            word = self.next()
            if word != ",":
                raise bad_request("found '%s', expected: ',' or 'end of string'" % word)
            if self.peek() in ("", ","):
                raise bad_request("found '%s', expected: identifier after ','" % self.peek())
            found.append(self.requirement())
        return found

    def requirement(self):
        absent = self.peek() == "!"
        if absent:
            self.next()
        key = self.next()
        if not key or key in "=!<>(),":
            self.wrong("found '%s', expected: identifier" % key)
        self.check("key", key, naming.qualified_name(key))
        if absent or self.peek() in ("", ","):
            return lambda present: (key in present) != absent
        sign = self.next()
        if sign in ("in", "notin"):
            values = self.several(key)
            return lambda present: (present.get(key) in values) == (sign == "in")
        if sign in ("=", "==", "!="):
            value = self.value(key, 0, self.next() if self.peek() not in ("", ",") else "")
            return lambda present: (present.get(key) == value) == (sign != "!=")
        if sign in (">", "gt", "<", "lt"):
            limit = self.whole(self.next())
            return lambda present: _is_whole(present.get(key)) and (
                int(present[key]) > limit if sign in (">", "gt") else int(present[key]) < limit)
        return self.wrong("found '%s', expected: in, notin, =, ==, !=, gt, lt" % sign)

    def several(self, key):
        word = self.next()
        if word != "(":
            self.wrong("found '%s' expected: '('" % word)
        values = set()
        while True:
            word = self.next()
            if word not in (",", ")", ""):
                values.add(self.value(key, len(values), word))
                word = self.next()
            if word == ")":
                return values
            if word != ",":
                self.wrong("found '%s', expected: ',' or ')'" % word)

    def value(self, key, place, word):
        self.check("values[%d][%s]" % (place, key), word, naming.label_value(word))
        return word

    def whole(self, word):
        if not _is_whole(word):
            self.wrong("values[0]: Invalid value: %s: for 'Gt', 'Lt' operators, the value must be an integer" % word)
        return int(word)

    def check(self, place, value, texts):
        if texts:
            self.wrong("%s: %s" % (place, invalid_value(value, texts[0])))

    @staticmethod
    def wrong(words):
        raise bad_request("unable to parse requirement: %s" % words)


def _is_whole(value):
    return bool(value) and value.lstrip("-").isdigit()


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
            if resource.custom or resource.key in FIELDS:
                raise bad_request("field label not supported: %s" % match["key"])
            raise bad_request('"%s" is not a known field selector: only "metadata.name", "metadata.namespace"' % match["key"])
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
