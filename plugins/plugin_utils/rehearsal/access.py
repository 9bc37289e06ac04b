# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may do what: bearer tokens, how long they live, and simple rules for tokens with restricted rights.

A token that expires is a JSON Web Token to look at, as a service account's is: header, payload with ``exp``, and a
signature that nobody checks.
"""

from __future__ import annotations

import base64
import json
import secrets
import time

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import status

PUBLIC = ("/healthz", "/livez", "/readyz", "/version")
DISCOVERY = ("api", "apis", "healthz", "livez", "openapi", "readyz", "version")  # for whoever has a token
OWN = "/bigvm/v1/"
ADMIN = "kubernetes-admin"
ANONYMOUS = "system:anonymous"
REVIEWS = "selfsubjectaccessreviews"
WHO = "selfsubjectreviews"
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


class Access:
    """The tokens of one server. ``token`` is the one with full rights.

    :param now: function that tells the time (seconds since the epoch) by which tokens expire.
    """

    def __init__(self, token=None, now=time.time):
        self.token = token or secrets.token_urlsafe(24)
        self._now = now
        self._restricted = {}  # token -> (user, rules)
        self._ends = {}  # token -> when it stops working
        self._lives = {}  # user -> seconds that tokens of this user live
        self._present = {}  # user -> the newest token

    def rotate(self, keep=False):
        """A new token with full rights; the old one stops working, unless it is kept to its own end."""
        if keep:
            self._restricted[self.token] = (ADMIN, None)
        self.token = secrets.token_urlsafe(24)
        return self.token

    def grant(self, user, rules, seconds=None):
        """A token with restricted rights.

        :param rules: list of ``{"verbs": [...], "resources": ["nodes", "pods/log", "virtualmachines.kubevirt.io"],
            "namespaces": [...]}``; ``*`` stands for any, no namespaces for all.
        :param seconds: how long it works; None: for ever.
        """
        token = secrets.token_urlsafe(24)
        if seconds is not None:
            end = self._now() + float(seconds)
            token = _signed({"sub": user, "iat": int(self._now()), "exp": int(end)}, token)
            self._ends[token], self._lives[user] = end, float(seconds)
        self._restricted[token] = (user, list(rules))
        self._present[user] = token
        return token

    def renew(self, user=None):
        """Another token for a user (None: with full rights) with the same rights and life; the old one works on to its end.

        :raises ApiStatus: 400 when the user has none.
        """
        if user in (None, ADMIN):
            return self.rotate(keep=True)
        return self.grant(user, self._restricted[self._of(user)][1], self._lives.get(user))

    def expire(self, seconds, user=None):
        """The present token of a user (None: the one with full rights) stops working after that many seconds.

        :raises ApiStatus: 400 when the user has none.
        """
        self._ends[self.token if user in (None, ADMIN) else self._of(user)] = self._now() + float(seconds)

    def _of(self, user):
        if user not in self._present:
            raise status.bad_request("no token was given to the user %s" % user)
        return self._present[user]

    def identify(self, request):
        """The ``(user, rules)`` of a request; rules None means everything.

        :raises ApiStatus: 401.
        """
        header = request.headers.get("authorization", "")
        token = header[7:].strip() if header[:7].lower() == "bearer " else ""
        if not header and not request.path.startswith(OWN):
            return ANONYMOUS, []
        if token and self._ends.get(token, float("inf")) > self._now():
            if secrets.compare_digest(token.encode(), self.token.encode()):
                return ADMIN, None
            if token in self._restricted:
                return self._restricted[token]
        raise status.ApiStatus(401, message="Unauthorized")


def _signed(claims, signature):
    parts = ({"alg": "RS256", "typ": "JWT"}, dict(claims, iss="https://kubernetes.default.svc"))
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join(texts + [signature])


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
    if target.plural in (REVIEWS, WHO) and user != ANONYMOUS:
        return
    resource = target.plural + ("/" + target.subresource if target.subresource else "")
    verb = verb_of(request, target)
    if not allowed(rules, verb, target.group, resource, target.namespace):
        raise status.forbidden(user, verb, target.group, resource, target.namespace, target.name)


def check_path(user, rules, request):
    """403 for a path outside the API's resources that is not for everybody."""
    if rules is None or request.path.rstrip("/") in PUBLIC:
        return
    if user == ANONYMOUS or request.path.split("/")[1] not in DISCOVERY:
        raise status.forbidden_path(user, VERBS.get(request.method, request.method), request.path)


def who(user, rules, obj):
    """The answer to a SelfSubjectReview (dict)."""
    groups = ["system:masters"] * (rules is None) + ["system:authenticated"]
    return dict(obj, metadata={"creationTimestamp": None}, status={"userInfo": {"username": user, "groups": groups}})


def review(user, rules, obj):
    """The answer to a SelfSubjectAccessReview (dict).

    :raises ApiStatus: 422 when it asks nothing.
    """
    spec = obj.get("spec") or {}
    if not spec.get("resourceAttributes") and not spec.get("nonResourceAttributes"):
        text = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        field, group = "spec.resourceAttributes", "authorization.k8s.io"
        raise status.ApiStatus(422, message='.%s "" is invalid: %s: %s' % (group, field, text), details={
            "group": group, "causes": [{"reason": "FieldValueInvalid", "message": text, "field": field}]})
    asked = (obj.get("spec") or {}).get("resourceAttributes") or {}
    resource = asked.get("resource", "")
    if asked.get("subresource"):
        resource += "/" + asked["subresource"]
    granted = allowed(rules, asked.get("verb", "*"), asked.get("group", ""), resource, asked.get("namespace"))
    return dict(obj, status={"allowed": granted} if granted else {"allowed": False, "reason": "no rule allows it"})


def _in(value, wanted):
    return "*" in (wanted or ()) or value in (wanted or ())
