# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking before a run what it will need: rights, the life of the credentials, and where the run itself works."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from types import SimpleNamespace

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.inventory import NODE_LABEL
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import access
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import dig, key_of, rows, text
from ansible_collections.kubernetes.core.plugins.module_utils.k8s import client as core_client

try:
    import yaml
except ImportError:  # reported by AnsibleK8SModule with the library's name
    yaml = None

REVIEWS = path_of("authorization.k8s.io/v1", "selfsubjectaccessreviews")
POD_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
OAUTH = "oauth.openshift.io"
OAUTH_MARK = "sha256~"  # what a token of OpenShift's login begins with, and the name of its object


# -- rights ------------------------------------------------------------------------


def rights(api, features, namespaces=None, node=None):
    """Which of the rights that these features need are missing.

    One review per right; where the answer is no for the whole cluster, one more per namespace concerned.

    :param namespaces: those of the VMs; without, those of the VMs on ``node``.
    :returns: ``(how many were asked about, [(Need, [namespaces])])``; no namespaces: in the cluster as a whole.
    :raises BadInput: for an unknown feature.
    """
    try:
        needs = access.needs(features, _served(api))
    except ValueError as exc:
        raise errors.BadInput("The option features cannot be meant: %s." % exc, "Correct it.") from exc
    scopes = _Scopes(api, namespaces, node)
    missing = []
    for need in needs:
        if _allowed(api, need, None):
            continue
        within = scopes.of(need.scope)
        refused = [name for name in within if not _allowed(api, need, name)]
        if refused or not within:
            missing.append((need, refused))
    return len(needs), missing


class _Scopes:
    """The namespaces behind a scope, read when first needed."""

    def __init__(self, api, namespaces, node):
        self._api, self._node = api, node
        self._known = {access.CLUSTER: []}
        if namespaces:
            self._known[access.GUESTS] = sorted(set(namespaces))

    def of(self, scope):
        """Names; none where only a right in the whole cluster will do, or nobody can tell."""
        if scope not in self._known:
            self._known[scope] = self._guests() if scope == access.GUESTS else self._operator()
        return self._known[scope]

    def _guests(self):
        query = {"labelSelector": "%s=%s" % (NODE_LABEL, self._node)} if self._node and len(self._node) <= 63 else None
        return self._names("virtualmachineinstances", query) if query else []

    def _operator(self):
        return self._names("kubevirts", {})

    def _names(self, plural, query):
        try:
            return sorted({key_of(obj)[0] for obj in self._api.list(path_of("kubevirt.io/v1", plural), **query).items})
        except (errors.Forbidden, errors.NotFound):
            return []


def _served(api):
    """The API groups that the cluster serves; None when it does not say."""
    try:
        return {text(row, "name") for row in rows(api.get("/apis"), "groups")}
    except (errors.Forbidden, errors.NotFound):
        return None


def _allowed(api, need, namespace):
    plural, _slash, subresource = need.resource.partition("/")
    asked = {"group": need.group, "resource": plural, "subresource": subresource, "verb": need.verb, "namespace": namespace}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}}}
    # Nothing is stored, so that it may be sent again at any time.
    return bool(dig(api.create(REVIEWS, body, found=lambda: None), "status", "allowed"))


# -- credentials -------------------------------------------------------------------


def credentials(api, params, environment=None):
    """``{kind, expires, rereadable}`` of what this run logs in with; ``expires`` in epoch seconds or None.

    The token itself goes nowhere.

    :param params: the connection options as a module has them.
    """
    kind = kind_of(params, os.environ if environment is None else environment)
    token = api.token()
    expires = access.expiry(token)
    if expires is None and token.startswith(OAUTH_MARK):
        expires = _login_ends(api, token)
    return {"kind": kind if token or kind == "certificate" else "none", "expires": expires,
            "rereadable": kind in ("token_file", "in_cluster", "exec")}


def kind_of(params, environment):
    """Where the credentials come from, by the order in which kubernetes.core looks.

    ``api_key`` (an option or variable), ``certificate``, ``kubeconfig`` (a token written in it), ``token_file``,
    ``exec`` (a program or provider that renews it), ``in_cluster``, or ``none``.
    """
    auth = core_client._create_auth_spec(SimpleNamespace(params=params))
    if auth.get("api_key"):
        return "api_key"
    if auth.get("host") and auth.get("cert_file") and auth.get("key_file"):
        return "certificate"
    if not auth.get("kubeconfig") and not auth.get("context") and environment.get("KUBERNETES_SERVICE_HOST") and \
            os.path.isfile(os.path.join(POD_FOLDER, "token")):
        return "in_cluster"
    user = _user(auth.get("kubeconfig") or environment.get("KUBECONFIG") or "~/.kube/config", auth.get("context"))
    for key, kind in (("auth-provider", "exec"), ("token", "kubeconfig"), ("tokenFile", "token_file"), ("exec", "exec"),
                      ("client-certificate", "certificate"), ("client-certificate-data", "certificate")):
        if user.get(key):
            return kind
    return "none"


def _user(source, context):
    """The user entry of the present (or that) context; ``{}`` when it cannot be found."""
    files = [source] if isinstance(source, dict) else [_loaded(path) for path in str(source).split(os.pathsep)]
    context = context or next((text(one, "current-context") for one in files if text(one, "current-context")), "")
    name = text(_named(files, "contexts", context), "context", "user")
    found = dig(_named(files, "users", name), "user")
    return found if isinstance(found, dict) else {}


def _named(files, section, name):
    return next((row for one in files for row in rows(one, section) if row.get("name") == name), {})


def _loaded(path):
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as stream:
            return yaml.safe_load(stream)
    except (OSError, ValueError, yaml.YAMLError):
        return {}


def _login_ends(api, token):
    """When a login at OpenShift ends: everybody may read the objects of their own tokens, named by the tokens' digest."""
    digest = hashlib.sha256(token[len(OAUTH_MARK):].encode()).digest()
    name = OAUTH_MARK + base64.urlsafe_b64encode(digest).decode().rstrip("=")
    try:
        found = api.get(path_of(OAUTH + "/v1", "useroauthaccesstokens", name=name))
        lasts = dig(found, "expiresIn")
        return from_timestamp(text(found, "metadata", "creationTimestamp")) + lasts if lasts else None
    except (errors.LiveMigrationError, TypeError):
        return None


# -- the place ---------------------------------------------------------------------


def own_pod(api, node, environment=None, folder=POD_FOLDER):
    """``(on the node, "namespace/name" or None)``: whether the run itself works on that node.

    A pod knows its namespace from the file of its service account, and its name from ``POD_NAME`` or its host name. The
    cluster is asked where that pod is, also where it is reached under another name than from inside.
    """
    environment = os.environ if environment is None else environment
    host = environment.get("POD_NAME") or environment.get("HOSTNAME") or socket.gethostname()
    if host == node:  # its own machine, or a pod in the network of the host
        return True, None
    try:
        with open(os.path.join(folder, "namespace"), encoding="utf-8") as stream:
            namespace = stream.read().strip()
        pod = api.get(path_of("v1", "pods", namespace, host)) if namespace else {}
    except (OSError, UnicodeDecodeError, errors.NotFound, errors.Forbidden):
        return False, None
    return text(pod, "spec", "nodeName") == node, "%s/%s" % (namespace, host)
