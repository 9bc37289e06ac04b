# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Structural schemas: prune, default and validate objects by a CRD's openAPIV3Schema.

Checked as an API server checks them: the keywords of OpenAPI, the formats int32, int64 and
date-time, Kubernetes' own keywords, and rules (``x-kubernetes-validations``, see cel.py).
"""

from __future__ import annotations

import functools
import json
import re

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import cel, status

PRESERVE = "x-kubernetes-preserve-unknown-fields"
EMBEDDED = "x-kubernetes-embedded-resource"
INT_OR_STRING = "x-kubernetes-int-or-string"
RULES = "x-kubernetes-validations"
NOWHERE = "<nil>"  # the field that an API server names when it lost track of it
UNCHECKED = ("Invalid value: null: some validation rules were not checked because the object was invalid; correct the "
             "existing errors to complete validation")
DATE_TIME = re.compile(r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$")
IDENTITY = ("apiVersion", "kind", "metadata")
METADATA = ("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
            "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
            "managedFields")


def prune(resource, obj, version):
    """Drop from ``obj`` what the schema of ``version`` does not know; returns the dropped paths (list of str)."""
    dropped = []
    schema = resource.schemas.get(version)
    if schema is not None:
        _prune(schema, obj, "", dropped, IDENTITY)
    elif not resource.custom and resource.fields:
        for key in [key for key in obj if key not in IDENTITY and key not in resource.fields]:
            del obj[key]
            dropped.append(key)
    if isinstance(obj.get("metadata"), dict):
        for key in [key for key in obj["metadata"] if key not in METADATA]:
            del obj["metadata"][key]
            dropped.append("metadata." + key)
    return sorted(dropped)


def default(resource, obj, version):
    """Fill in the defaults of the schema of ``version``."""
    schema = resource.schemas.get(version)
    if schema is None:
        return
    if id(schema) not in _DEFAULTS:
        _DEFAULTS[id(schema)] = (_compiled(schema), schema)
    plan = _DEFAULTS[id(schema)][0]
    if plan:
        _default(plan, obj)


def validate(resource, obj, version, old=None, part=None):
    """Check ``obj`` against the schema of ``version`` and its rules.

    :param old: the object before, in the same version: what did not change may stay wrong, and rules may look at it.
    :param part: ``status`` to look only at that.
    :raises ApiStatus: 422 with a cause for each field, worded as a real API server words it.
    """
    schema = resource.schemas.get(version)
    if schema is None:
        return
    value, prefix = obj, ""
    if part:
        schema, value, prefix = (schema.get("properties") or {}).get(part) or {}, obj.get(part), part
        old = (old or {}).get(part)
        if value is None:
            return
    errors = sorted(_validator_class()(schema).iter_errors(value), key=lambda error: str(error.path))
    errors = [error for error in errors if not _was_so(error, old)]
    causes = [cause for error in errors for cause in _causes(error)]
    ruled = _ruled(schema)
    if ruled and not errors:
        causes = [(_path(path), reason, text) for path, reason, text in _broken(schema, value, old, ())]
    elif ruled:
        causes.append((NOWHERE, "FieldValueInvalid", UNCHECKED))
    if prefix:
        causes = [(prefix if not field else field if field == NOWHERE else "%s.%s" % (prefix, field), reason, text)
                  for field, reason, text in causes]
    if causes:
        name = obj["metadata"].get("name") or obj["metadata"].get("generateName", "")
        raise status.invalid(resource, name, causes)


def _was_so(error, old):
    """Whether what is wrong was just so before."""
    found = old
    for part in error.absolute_path:
        try:
            found = found[part]
        except (KeyError, IndexError, TypeError):
            return False
    return bool(old) and found == error.instance and bool(error.absolute_path)


# -- rules -----------------------------------------------------------------

def rules(schema):
    """Every rule's text in a schema (list of str)."""
    if isinstance(schema, list):
        return [rule for item in schema for rule in rules(item)]
    if not isinstance(schema, dict):
        return []
    own = [entry.get("rule", "") for entry in schema.get(RULES) or ()]
    return own + [rule for key, value in schema.items() if key != RULES for rule in rules(value)]


def _ruled(schema):
    if id(schema) not in _HAS_RULES:
        _HAS_RULES[id(schema)] = (bool(rules(schema)), schema)
    return _HAS_RULES[id(schema)][0]


_HAS_RULES = {}  # id of a schema -> whether it has rules, and the schema (held, so that the id stays its own)


def _broken(schema, value, old, path):
    """``(path, reason, text)`` of every rule that does not hold below ``schema``."""
    for entry in schema.get(RULES) or ():
        found = _held_against(entry, value, old, path)
        if found:
            yield found
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from _broken(schema.get("items") or {}, item, None, path + (place,))
    elif isinstance(value, dict):
        known, others = schema.get("properties") or {}, schema.get("additionalProperties")
        for key, item in sorted(value.items()):
            below = known.get(key) or (others if isinstance(others, dict) else None)
            if below and _ruled(below):
                yield from _broken(below, item, old.get(key) if isinstance(old, dict) else None, path + (key,))


def _held_against(entry, value, old, path):
    scope = {"self": value}
    if cel.mentions(entry["rule"], "oldSelf"):
        if old is None:
            return None
        scope["oldSelf"] = old
    try:
        if cel.compiled(entry["rule"])(scope):
            return None
        text = entry.get("message") or "failed rule: %s" % entry["rule"]
        if entry.get("messageExpression"):
            text = cel.compiled(entry["messageExpression"])(scope)
    except (cel.CelError, TypeError, AttributeError, ValueError) as exc:
        text = "rule evaluation error: %s" % exc
    path += tuple(part for part in entry.get("fieldPath", "").split(".") if part)
    reason = entry.get("reason") or "FieldValueInvalid"
    if reason == "FieldValueForbidden":
        return path, reason, "Forbidden: %s" % text
    if reason == "FieldValueRequired":
        return path, reason, "Required value: %s" % text
    if isinstance(value, (dict, list)):
        return path, reason, "Invalid value: %s" % text
    return path, reason, status.invalid_value(value, text)


# -- pruning ---------------------------------------------------------------

def _prune(schema, value, path, dropped, keep=()):
    if isinstance(value, list):
        items = schema.get("items")
        if items is not None:
            for position, item in enumerate(value):
                if isinstance(item, (dict, list)):
                    _prune(items, item, "%s[%d]" % (path, position), dropped)
        return
    if not isinstance(value, dict) or schema.get(INT_OR_STRING):
        return
    known = schema.get("properties") or {}
    others = schema.get("additionalProperties")
    preserved = schema.get(PRESERVE) or others is True
    if schema.get(EMBEDDED):
        keep = IDENTITY
    unknown = []
    for key, item in value.items():
        if key in keep:
            continue
        below = known.get(key)
        if below is None and isinstance(others, dict):
            below = others
        if below is not None:
            if isinstance(item, (dict, list)):
                _prune(below, item, "%s.%s" % (path, key) if path else key, dropped)
        elif not preserved:
            unknown.append(key)
    for key in unknown:
        del value[key]
        dropped.append("%s.%s" % (path, key) if path else key)


# -- defaulting ------------------------------------------------------------

_DEFAULTS = {}  # id of a schema -> its plan, and the schema (held, so that the id stays its own)


class _Plan:
    """Where below a schema there are defaults: only there objects are walked through."""

    def __init__(self, own, below, others, items):
        self.own = own  # (key, default, whether null is a value of its own)
        self.below = below
        self.others = others
        self.items = items


def _compiled(schema):
    if not isinstance(schema, dict):
        return None
    known = schema.get("properties") or {}
    own = [(key, below["default"], bool(below.get("nullable"))) for key, below in known.items() if "default" in below]
    below = {key: plan for key, plan in ((key, _compiled(below)) for key, below in known.items()) if plan}
    others, items = _compiled(schema.get("additionalProperties")), _compiled(schema.get("items"))
    return _Plan(own, below, others, items) if own or below or others or items else None


def drop_nulls(schema, value):
    """Nulls where none may stand are as if nothing had been sent."""
    if isinstance(value, list):
        for item in value:
            if isinstance(item, (dict, list)):
                drop_nulls(schema.get("items") or {}, item)
    elif isinstance(value, dict):
        known, others = schema.get("properties") or {}, schema.get("additionalProperties")
        for key in list(value):
            below = known.get(key, others)
            if not isinstance(below, dict):
                continue
            if value[key] is None and not below.get("nullable") and "type" in below:
                del value[key]
            elif isinstance(value[key], (dict, list)):
                drop_nulls(below, value[key])


def _default(plan, value):
    if isinstance(value, list):
        for item in value if plan.items else ():
            _default(plan.items, item)
    elif isinstance(value, dict):
        for key, filling, nullable in plan.own:
            if key not in value or (value[key] is None and not nullable):
                value[key] = json.loads(json.dumps(filling))
        for key, below in plan.below.items():
            if key in value:
                _default(below, value[key])
        for key in value if plan.others else ():
            if key not in plan.below:
                _default(plan.others, value[key])


# -- validation ------------------------------------------------------------

@functools.cache
def _validator_class():
    """The schema library's draft that OpenAPI builds on, with Kubernetes' own keywords and wording."""
    import jsonschema
    from jsonschema import validators

    plain = jsonschema.Draft4Validator
    error = jsonschema.ValidationError

    def unless_null(keyword):
        check = plain.VALIDATORS[keyword]

        def checked(validator, wanted, instance, schema):
            if instance is None and schema.get("nullable"):
                return ()
            return check(validator, wanted, instance, schema)

        return checked

    def any_of(validator, wanted, instance, schema):
        if schema.get(INT_OR_STRING):
            return ()
        return unless_null("anyOf")(validator, wanted, instance, schema)

    def required(validator, wanted, instance, schema):
        for name in wanted if isinstance(instance, dict) else ():
            if name not in instance:
                yield error(name)

    def int_or_string(validator, wanted, instance, schema):
        if wanted and not (isinstance(instance, str) or _is_integer(instance) or (
                instance is None and schema.get("nullable"))):
            yield error("integer,string")

    def list_type(validator, wanted, instance, schema):
        if not isinstance(instance, list):
            return
        keys = schema.get("x-kubernetes-list-map-keys")
        seen = set()
        for position, item in enumerate(instance):
            if wanted == "map" and isinstance(item, dict):
                properties = (schema.get("items") or {}).get("properties") or {}
                item = {key: item.get(key, properties.get(key, {}).get("default")) for key in keys or ()}
            elif wanted != "set":
                continue
            mark = json.dumps(item, sort_keys=True, separators=(",", ":"))
            if mark in seen:
                yield error(mark, path=[position])
            seen.add(mark)

    def embedded(validator, wanted, instance, schema):
        for name in IDENTITY[:2] if wanted and isinstance(instance, dict) else ():
            if not instance.get(name):
                yield error(name)

    def format_(validator, wanted, instance, schema):
        if wanted in _SIZES and _is_integer(instance) and not -_SIZES[wanted] <= instance < _SIZES[wanted]:
            yield error(wanted)
        if wanted == "date-time" and isinstance(instance, str) and not DATE_TIME.match(instance):
            yield error(wanted)

    own = {keyword: unless_null(keyword) for keyword in ("type", "enum", "oneOf", "allOf", "not")}
    own.update({"format": format_, "anyOf": any_of, "required": required, INT_OR_STRING: int_or_string,
                "x-kubernetes-list-type": list_type, EMBEDDED: embedded})
    return validators.extend(plain, own)


def _is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


_SIZES = {"int32": 2 ** 31, "int64": 2 ** 63}
_KINDS = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array"), (dict, "object"))


def kind_of(value):
    """The JSON name of a value's type."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "null")


def _causes(error):
    """One library error as the causes that an API server makes of it."""
    first = _cause(error)
    lost = (NOWHERE, "FieldValueInvalid", status.invalid_value("", (
        "Checked value must be of type integer (default format) in %s" % first[0])))
    if error.validator == "type" and error.validator_value == "integer" and isinstance(error.instance, float):
        return [first, lost]
    if error.validator == INT_OR_STRING and isinstance(error.instance, float):
        text = '"%s" must validate at least one schema (anyOf)' % first[0]
        again = first[2].replace("integer,string", "integer")
        return [first, (NOWHERE, "FieldValueInvalid", status.invalid_value("", text)), (first[0], first[1], again), lost]
    return [first]


def _cause(error):
    """One library error as ``(field, cause, message)``."""
    field = _path(error.absolute_path)
    keyword, wanted, value = error.validator, error.validator_value, error.instance
    if keyword == "format" and wanted in _SIZES:
        return NOWHERE, "FieldValueInvalid", status.invalid_value("", (
            "Checked value must be of type integer with format %s in %s" % (wanted, field)))
    if keyword == "format":
        text = '%s in body must be of type %s: %s' % (field, wanted, json.dumps(value))
        return field, "FieldValueTypeInvalid", status.invalid_value(value, text)
    if keyword in ("required", EMBEDDED):
        return (field + "." if field else "") + error.message, "FieldValueRequired", "Required value"
    if keyword in ("type", INT_OR_STRING):
        wanted = error.message if keyword == INT_OR_STRING else wanted
        text = '%s in body must be of type %s: "%s"' % (field, wanted, kind_of(value))
        return field, "FieldValueTypeInvalid", status.invalid_value(kind_of(value), text)
    if keyword == "enum":
        supported = ", ".join(json.dumps(item) for item in wanted)
        text = "Unsupported value: %s: supported values: %s" % (json.dumps(value), supported)
        return field, "FieldValueNotSupported", text
    if keyword == "x-kubernetes-list-type":
        return field, "FieldValueDuplicate", "Duplicate value: %s" % error.message
    if keyword == "maxLength":
        return field, "FieldValueTooLong", "Too long: may not be more than %d bytes" % wanted
    if keyword in ("maxItems", "maxProperties"):
        return field, "FieldValueTooMany", "Too many: %d: must have at most %d items" % (len(value), wanted)
    if keyword in ("minItems", "minProperties"):
        value = len(value)
    if keyword == "minimum" and error.schema.get("exclusiveMinimum"):
        return field, "FieldValueInvalid", status.invalid_value(value, "%s in body should be greater than %s" % (field, wanted))
    text = "%s in body %s" % (field, _WORDS[keyword] % wanted) if keyword in _WORDS else '"%s" must validate %s' % (
        field, _SCHEMAS.get(keyword, keyword))
    return field, "FieldValueInvalid", status.invalid_value(value, text)


_WORDS = {
    "pattern": "should match '%s'", "minimum": "should be greater than or equal to %s",
    "maximum": "should be less than or equal to %s", "minLength": "should be at least %d chars long",
    "minItems": "should have at least %d items", "multipleOf": "should be a multiple of %s",
    "minProperties": "should have at least %d properties",
}
_SCHEMAS = {
    "anyOf": "at least one schema (anyOf)", "oneOf": "one and only one schema (oneOf)",
    "allOf": "all the schemas (allOf)", "not": "must not validate the schema (not)",
}


def _path(parts):
    text = ""
    for part in parts:
        text += "[%d]" % part if isinstance(part, int) else "%s%s" % ("." if text else "", part)
    return text
