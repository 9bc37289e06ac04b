# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may do what: bearer tokens, and simple rules for tokens with restricted rights."""

from __future__ import annotations

import secrets

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import status

PUBLIC = ("/healthz", "/livez", "/readyz", "/version")
ADMIN = "kubernetes-admin"
REVIEWS = "selfsubjectaccessreviews"
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


class Access:
    """The tokens of one server. ``token`` is the one with full rights."""

    def __init__(self, token=None):
        self.token = token or secrets.token_urlsafe(24)
        self._restricted = {}

    def rotate(self):
        """A new token with full rights; the old one stops working."""
        self.token = secrets.token_urlsafe(24)
        return self.token

    def grant(self, user, rules):
        """A token with restricted rights.

        :param rules: list of ``{"verbs": [...], "resources": ["nodes", "pods/log", "virtualmachines.kubevirt.io"],
            "namespaces": [...]}``; ``*`` stands for any, no namespaces for all.
        """
        token = secrets.token_urlsafe(24)
        self._restricted[token] = (user, list(rules))
        return token

    def identify(self, request):
        """The ``(user, rules)`` of a request; rules None means everything.

        :raises ApiStatus: 401.
        """
        header = request.headers.get("authorization", "")
        token = header[7:].strip() if header[:7].lower() == "bearer " else ""
        if not header and request.path.partition("/")[2].partition("/")[0] in _PUBLIC_PARTS:
            return "system:anonymous", []
        if token and secrets.compare_digest(token.encode(), self.token.encode()):
            return ADMIN, None
        if token in self._restricted:
            return self._restricted[token]
        raise status.ApiStatus(401, message="Unauthorized")


_PUBLIC_PARTS = tuple(path[1:] for path in PUBLIC)


def verb_of(request, target):
    """The Kubernetes verb of a request on a resource."""
    if request.method in ("GET", "HEAD"):
        if request.flag("watch"):
            return "watch"
        return "get" if target.name else "list"
    if request.method == "DELETE":
        return "delete" if target.name else "deletecollection"
    return VERBS.get(request.method, request.method.lower())


def allowed(rules, verb, group, resource, namespace):
    """Whether rules (None: all) allow a verb on ``plural`` or ``plural/subresource`` of a group."""
    if rules is None:
        return True
    plural, slash, subresource = resource.partition("/")
    key = ("%s.%s" % (plural, group) if group else plural) + slash + subresource
    return any(
        _in(verb, rule.get("verbs")) and _in(key, rule.get("resources"))
        and (not rule.get("namespaces") or _in(namespace or "", rule["namespaces"]))
        for rule in rules
    )


def check(user, rules, request, target):
    """403 unless the rules allow this request on a resource; about one's own rights everybody may ask."""
    if target.plural == REVIEWS:
        return
    resource = target.plural + ("/" + target.subresource if target.subresource else "")
    verb = verb_of(request, target)
    if not allowed(rules, verb, target.group, resource, target.namespace):
        raise status.forbidden(user, verb, target.group, resource, target.namespace, target.name)


def review(user, rules, obj):
    """The answer to a SelfSubjectAccessReview (dict)."""
    asked = (obj.get("spec") or {}).get("resourceAttributes") or {}
    resource = asked.get("resource", "")
    if asked.get("subresource"):
        resource += "/" + asked["subresource"]
    granted = allowed(rules, asked.get("verb", "*"), asked.get("group", ""), resource, asked.get("namespace"))
    return dict(obj, status={"allowed": granted} if granted else {"allowed": False, "reason": "no rule allows it"})


def _in(value, wanted):
    return "*" in (wanted or ()) or value in (wanted or ())
