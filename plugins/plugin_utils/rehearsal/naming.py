# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an API server accepts as metadata: names, labels, annotations, finalizers, owners; in its own words."""

from __future__ import annotations

import json
import re

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.status import invalid_value

_DNS = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = r"%s(\.%s)*" % (_DNS, _DNS)
_NAME = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = "(%s)?" % _NAME
_ENDS = "and must start and end with an alphanumeric character"
SUBDOMAIN = ("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', %s (e.g. "
             "'example.com', regex used for validation is '%s')" % (_ENDS, _SUBDOMAIN))
DNS_LABEL = ("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', %s (e.g. 'my-name',  "
             "or '123-abc', regex used for validation is '%s')" % (_ENDS, _DNS))
VALUE = ("a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', %s (e.g. "
         "'MyValue',  or 'my_value',  or '12345', regex used for validation is '%s')" % (_ENDS, _VALUE))
_PART = ("must consist of alphanumeric characters, '-', '_' or '.', %s (e.g. 'MyName',  or 'my.name',  or '123-abc', regex "
         "used for validation is '%s')" % (_ENDS, _NAME))
KEY = "a valid label key %s with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')" % _PART
ANNOTATIONS = 262144  # bytes of all keys and values
STANDARD_FINALIZERS = ("foregroundDeletion", "orphan", "kubernetes", "metadata.kubernetes.io/finalizer")


def subdomain(name, words=SUBDOMAIN, pattern=_SUBDOMAIN, longest=253):
    """What is wrong with a name (list of str)."""
    wrong = [] if len(name) <= longest else ["must be no more than %d characters" % longest]
    return wrong + ([] if re.fullmatch(pattern, name) else [words])


def label_value(value):
    """The same for the value of a label."""
    wrong = [] if len(value) <= 63 else ["must be no more than 63 bytes"]
    return wrong + ([] if re.fullmatch(_VALUE, value) else [VALUE])


def qualified_name(key):
    """The same for the key of a label or annotation."""
    parts = key.split("/")
    if len(parts) > 2:
        return [KEY]
    wrong = []
    if len(parts) == 2:
        wrong += ["prefix part " + text for text in subdomain(parts[0])] if parts[0] else ["prefix part must be non-empty"]
    if not parts[-1]:
        wrong.append("name part must be non-empty")
    elif len(parts[-1]) > 63:
        wrong.append("name part must be no more than 63 bytes")
    return wrong + ([] if re.fullmatch(_NAME, parts[-1]) else ["name part " + _PART])


def metadata(resource, meta):
    """``(causes, warnings)``: what :func:`~.status.invalid` takes, and sentences."""
    causes, warnings = [], []

    def note(field, value, texts):
        causes.extend((field, "FieldValueInvalid", invalid_value(value, text)) for text in texts)

    for field in ("generateName", "name"):
        name = meta.get(field)
        if name and resource.checks_names:
            shown = name.rstrip("-.") if field == "generateName" else name
            label = resource.key == "namespaces"
            texts = subdomain(shown, DNS_LABEL, _DNS, 63) if label else subdomain(shown)
            note("metadata." + field, name, texts)
    _owners(meta.get("ownerReferences") or [], note)
    for key, value in (meta.get("labels") or {}).items():
        note("metadata.labels", key, qualified_name(key))
        note("metadata.labels", value, label_value(value))
    for key in meta.get("annotations") or {}:
        note("metadata.annotations", key, qualified_name(key.lower()))
    if sum(len(key.encode()) + len(value.encode()) for key, value in (meta.get("annotations") or {}).items()) > ANNOTATIONS:
        causes.append(("metadata.annotations", "FieldValueTooLong", "Too long: may not be more than %d bytes" % ANNOTATIONS))
    for place, name in enumerate(meta.get("finalizers") or []):
        note("metadata.finalizers", name, qualified_name(name))
        if "/" in name or name in STANDARD_FINALIZERS:
            continue
        if resource.custom:
            warnings.append('metadata.finalizers: "%s": prefer a domain-qualified finalizer name to avoid accidental '
                            "conflicts with other finalizer writers" % name)
        else:
            note("metadata.finalizers[%d]" % place, name,
                 ["name is neither a standard finalizer name nor is it fully qualified"])
    return causes, warnings


def _owners(owners, note):
    for owner in owners:
        for field, text in (("apiVersion", "version must not be empty"), ("kind", "must not be empty"),
                            ("name", "must not be empty"), ("uid", "must not be empty")):
            if not owner.get(field):
                note("metadata.ownerReferences." + field, "", [text])
    leading = ["%s/%s" % (owner.get("kind"), owner.get("name")) for owner in owners if owner.get("controller")]
    if len(leading) > 1:
        note("metadata.ownerReferences", json.loads(json.dumps(owners)), [
            'Only one reference can have Controller set to true. Found "true" in references for %s and %s' % tuple(leading[:2])])
