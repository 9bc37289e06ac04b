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
    :param reason: the Status' reason; None means the usual one of the code, "" none at all.
    :param details: the Status' ``details`` (dict); an empty one is sent, None is not.
    :param retry_after: seconds, sent as Retry-After.
    """

    def __init__(self, code, reason=None, message="", details=None, retry_after=None):
        super().__init__(message)
        self.code = code
        self.reason = REASONS.get(code, "InternalError") if reason is None else reason
        self.message = message
        self.details = details
        self.metadata = {}
        self.retry_after = retry_after

    def body(self):
        """The Status object (dict)."""
        status = {"kind": "Status", "apiVersion": "v1", "metadata": self.metadata, "status": "Failure", "message": self.message}
        if self.reason:
            status["reason"] = self.reason
        details = dict(self.details or {})
        if self.retry_after:
            details["retryAfterSeconds"] = int(self.retry_after)
        if details or self.details is not None:
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


def not_allowed():
    """405."""
    return ApiStatus(405, message="the server does not allow this method on the requested resource", details={})


def failure(message):
    """500 without a reason, as what a server did not expect to fail."""
    return ApiStatus(500, "", message)


def no_such_page():
    """The plain 404 of a path that is no part of the API."""
    return 404, "404 page not found\n"


def already_exists(resource, name):
    """409 for a create."""
    message = '%s "%s" already exists' % (resource.key, name)
    return ApiStatus(409, "AlreadyExists", message, _named(resource, name))


def conflict(resource, name, why=None):
    """409 for a write based on an old version."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = 'Operation cannot be fulfilled on %s "%s": %s' % (resource.key, name, why)
    return ApiStatus(409, message=message, details=_named(resource, name))


def conflict_of_kind(resource, name, why):
    """409 for a delete whose preconditions do not hold: it names the kind."""
    kind = "%s.%s" % (resource.kind, resource.group) if resource.group else resource.kind
    details = _filled({"name": name, "group": resource.group, "kind": resource.kind})
    return ApiStatus(409, message='Operation cannot be fulfilled on %s "%s": %s' % (kind, name, why), details=details)


def expired(message, go_on=None):
    """410 for a resourceVersion or continue token out of reach; ``go_on`` is a token for the rest, at a later moment."""
    refusal = ApiStatus(410, message=message)
    refusal.metadata = {"continue": go_on} if go_on else {}
    return refusal


def too_new(wanted, present):
    """504 for a version that there is not yet."""
    words = "Too large resource version"
    return ApiStatus(504, message="Timeout: %s: %d, current: %d" % (words, wanted, present), retry_after=1, details={
        "causes": [{"reason": "ResourceVersionTooLarge", "message": words}]})


def invalid(resource, name, causes):
    """422.

    :param causes: list of ``(field, cause, message)``, e.g. ``("spec.size", "FieldValueRequired", "Required value")``.
    """
    texts = list(dict.fromkeys("%s: %s" % (field, text) for field, cause, text in causes))
    text = texts[0] if len(texts) == 1 else "[%s]" % ", ".join(texts)
    return _invalid(resource.group, resource.kind, name, text, causes)


def invalid_options(kind, causes):
    """422 for the parameters of a request; ``kind`` is CreateOptions, ListOptions and so on."""
    texts = ["%s: %s" % (field, text) for field, cause, text in causes]
    text = texts[0] if len(texts) == 1 else "[%s]" % ", ".join(texts)
    return _invalid("meta.k8s.io", kind, "", text, causes)


def _invalid(group, kind, name, text, causes):
    whole = "%s.%s" % (kind, group) if group else kind
    details = {
        "name": name, "group": group, "kind": kind,
        "causes": [{"reason": cause, "message": text, "field": field} for field, cause, text in causes],
    }
    return ApiStatus(422, message='%s "%s" is invalid: %s' % (whole, name, text), details=_filled(details))


def invalid_plural(resource, name, causes):
    """422 that names the resource, not the kind: for a custom resource without a version."""
    text = "%s: %s" % (causes[0][0], causes[0][2])
    return _invalid(resource.group, resource.plural, name, text, causes)


def invalid_patch(obj, words):
    """422 for a patch whose outcome does not decode."""
    text = invalid_value(json.dumps(obj, separators=(",", ":")), words)
    details = {"causes": [{"reason": "FieldValueInvalid", "message": text, "field": "patch"}]}
    return ApiStatus(422, message=' "" is invalid: patch: %s' % text, details=details)


def wrong_kind(resource, kind, name):
    """422 for a custom resource of another kind."""
    text = invalid_value(kind, "must be %s" % resource.kind)
    return _invalid(resource.group, kind, name, "kind: " + text, [("kind", "FieldValueInvalid", text)])


def not_a_version(text):
    """The words for a resourceVersion that is no number."""
    return 'resourceVersion: Invalid value: "%s": strconv.ParseUint: parsing "%s": invalid syntax' % (text, text)


def wrong_namespace():
    """400."""
    return bad_request("the namespace of the provided object does not match the namespace sent on the request")


def namespace_ending(resource, name, namespace):
    """403 for a create in a namespace that is being deleted."""
    return ApiStatus(403, message=(
        '%s "%s" is forbidden: unable to create new content in namespace %s because it is being terminated' % (
            resource.key, name, namespace)), details=_filled({
                "name": name, "group": resource.group, "kind": resource.plural, "causes": [{
                    "reason": "NamespaceTerminating", "message": "namespace %s is being terminated" % namespace,
                    "field": "metadata.namespace"}]}))


def invalid_value(value, text):
    """The message of one FieldValueInvalid cause."""
    return "Invalid value: %s: %s" % (json.dumps(value, ensure_ascii=False, separators=(",", ":")), text)


def forbidden(user, verb, group, resource, namespace, name):
    """403 by missing rights."""
    where = 'in the namespace "%s"' % namespace if namespace else "at the cluster scope"
    plural = resource.split("/")[0]
    key = "%s.%s" % (plural, group) if group else plural
    message = '%s is forbidden: User "%s" cannot %s resource "%s" in API group "%s" %s' % (
        '%s "%s"' % (key, name) if name else key, user, verb, resource, group, where)
    return ApiStatus(403, message=message, details=_filled({"name": name, "group": group, "kind": plural}))


def forbidden_path(user, method, path):
    """403 for a path outside the API's resources."""
    return ApiStatus(403, message='forbidden: User "%s" cannot %s path "%s"' % (user, method.lower(), path), details={})


def unsupported_patch(kinds):
    """415 for a PATCH of a kind that this resource does not take."""
    message = "the body of the request was in an unknown format - accepted media types include: %s"
    return ApiStatus(415, message=message % ", ".join(kinds))


def _named(resource, name):
    return _filled({"name": name, "group": resource.group, "kind": resource.plural})


def _filled(details):
    return {key: value for key, value in details.items() if value}
