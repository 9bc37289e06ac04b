# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The API server's refusals: Status objects with the codes, reasons and wording of a real one."""

from __future__ import annotations

import json

REASONS = {
    400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed",
    409: "Conflict", 410: "Expired", 415: "UnsupportedMediaType", 422: "Invalid", 429: "TooManyRequests",
    500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout",
}


class ApiStatus(Exception):
    """An answer that is not a success.

    :param code: HTTP status code.
    :param reason: the Status' reason; None means the usual one of the code.
    :param details: the Status' ``details`` (dict).
    :param retry_after: seconds, sent as Retry-After.
    """

    def __init__(self, code, reason=None, message="", details=None, retry_after=None):
        super().__init__(message)
        self.code = code
        self.reason = reason or REASONS.get(code, "InternalError")
        self.message = message
        self.details = details
        self.retry_after = retry_after

    def body(self):
        """The Status object (dict)."""
        status = {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason,
        }
        details = dict(self.details or {})
        if self.retry_after:
            details["retryAfterSeconds"] = int(self.retry_after)
        if details:
            status["details"] = details
        return dict(status, code=self.code)


def bad_request(message):
    """400."""
    return ApiStatus(400, message=message)


def not_found(resource, name):
    """404 for an object."""
    return ApiStatus(404, message='%s "%s" not found' % (resource.key, name), details=_named(resource, name))


def no_such_path():
    """404 for a path that no resource answers to."""
    return ApiStatus(404, message="the server could not find the requested resource", details={})


def already_exists(resource, name):
    """409 for a create."""
    message = '%s "%s" already exists' % (resource.key, name)
    return ApiStatus(409, "AlreadyExists", message, _named(resource, name))


def conflict(resource, name, why=None):
    """409 for a write based on an old version."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = 'Operation cannot be fulfilled on %s "%s": %s' % (resource.key, name, why)
    return ApiStatus(409, message=message, details=_named(resource, name))


def expired(message):
    """410 for a resourceVersion or continue token out of reach."""
    return ApiStatus(410, message=message)


def invalid(resource, name, causes):
    """422.

    :param causes: list of ``(field, cause, message)``, e.g. ``("spec.size", "FieldValueRequired", "Required value")``.
    """
    texts = ["%s: %s" % (field, text) for field, cause, text in causes]
    text = texts[0] if len(texts) == 1 else "[%s]" % ", ".join(texts)
    kind = "%s.%s" % (resource.kind, resource.group) if resource.group else resource.kind
    details = {
        "name": name, "group": resource.group, "kind": resource.kind,
        "causes": [{"reason": cause, "message": text, "field": field} for field, cause, text in causes],
    }
    return ApiStatus(422, message='%s "%s" is invalid: %s' % (kind, name, text), details=_filled(details))


def invalid_value(value, text):
    """The message of one FieldValueInvalid cause."""
    return "Invalid value: %s: %s" % (json.dumps(value, ensure_ascii=False), text)


def forbidden(user, verb, group, resource, namespace, name):
    """403 by missing rights."""
    where = 'in the namespace "%s"' % namespace if namespace else "at the cluster scope"
    plural = resource.split("/")[0]
    key = "%s.%s" % (plural, group) if group else plural
    message = '%s is forbidden: User "%s" cannot %s resource "%s" in API group "%s" %s' % (
        '%s "%s"' % (key, name) if name else key, user, verb, resource, group, where)
    return ApiStatus(403, message=message, details=_filled({"name": name, "group": group, "kind": plural}))


def _named(resource, name):
    return _filled({"name": name, "group": resource.group, "kind": resource.plural})


def _filled(details):
    return {key: value for key, value in details.items() if value}
