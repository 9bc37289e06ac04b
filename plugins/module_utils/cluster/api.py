# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connection to an API server: kubernetes.core's options, raw JSON requests.

kubernetes.core builds the client configuration (kubeconfig, in-cluster,
``K8S_AUTH_*``, proxies, impersonation), so that our modules connect exactly as
``kubernetes.core.k8s`` does. The requests themselves are plain JSON over the
client's own connection pool: no model objects, no discovery and no discovery
cache on disk, which keeps a list of 5,000 VMIs cheap and a served API version true.
"""

from __future__ import annotations

import json
import os
import re
from urllib.parse import quote, urlencode

from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import patience as patiently
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.patience import PATIENCE
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.rehearsal_clock import (
    CLOCK_PATH,
    RehearsalClock,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import SystemClock
from ansible_collections.kubernetes.core.plugins.module_utils.k8s import client as core_client

try:
    import kubernetes
    import urllib3
except ImportError:  # reported by AnsibleK8SModule with the library's name
    kubernetes = None
    urllib3 = None

REHEARSAL_VARIABLE = "BIGVM_REHEARSAL"
REHEARSAL_MARK = "+bigvm.rehearsal"
REHEARSAL_PATHS = "/bigvm/"
PAGE = 500

CONTENT_TYPES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


class Listing:
    """What a LIST returned: ``items`` (list of dict) at one ``resource_version``."""

    def __init__(self, items, resource_version):
        self.items = items
        self.resource_version = resource_version


class Api:
    """Requests to one API server.

    :param source: called without arguments, returns ``(configuration, headers)``;
        called again after a 401, so that a rotated token file is read anew.
    :param dry_run: when true every write carries ``dryRun=All``.

    :param say: called with a line when the server is away for a while, and when it is back.

    ``clock`` is the clock that everything talking to this server must use:
    the real one, or a rehearsal's.
    """

    def __init__(self, source, dry_run=False, say=None):
        self._source = source
        self.dry_run = dry_run
        self.requests = 0
        self.clock = SystemClock()
        self._outage = patiently.Outage(say or (lambda line: None))
        self.reconnect()

    # -- connection --------------------------------------------------------

    def reconnect(self):
        """Read the connection's source anew (kubeconfig, token file, environment) and drop the old connections."""
        self._configuration, self._headers = self._source()
        self.host = self._configuration.host.rstrip("/")
        self._pool = kubernetes.client.ApiClient(self._configuration).rest_client.pool_manager

    def handshake(self):
        """First contact: who is there, and which clock it keeps.

        It fails at once, unless the variable ``BIGVM_API_PATIENCE`` says how long it may take: the later tasks of a
        run meet a server that was there before.

        :raises Unreachable, Unauthorized: with the host named.
        :raises NotOurCluster: when this process was told that it rehearses
            (``BIGVM_REHEARSAL``) and the server does not say it is a rehearsal.
        """
        patience = patiently.at_first_contact()
        rehearsing = boolean(os.environ.get(REHEARSAL_VARIABLE) or "no", strict=False)
        if patience and rehearsing:
            self._find_clock()  # even while the server is away, in its own way
        self.version = self.get("/version", patience=patience)
        is_rehearsal = REHEARSAL_MARK in str(self.version.get("gitVersion", ""))
        if rehearsing and not is_rehearsal:
            raise errors.NotOurCluster(
                "This is a rehearsal, but the API server at %s is not a rehearsal cluster (its version is %s)."
                % (self.host, self.version.get("gitVersion", "unknown")),
                "Nothing was changed. Start one with the role rehearsal, or unset %s to work on a real cluster."
                % REHEARSAL_VARIABLE,
            )
        if is_rehearsal and self.get(CLOCK_PATH, patience=0).get("simulated", True):
            self.clock = RehearsalClock(self)
        return self

    def _find_clock(self):
        try:
            if self.get(CLOCK_PATH, patience=0).get("simulated"):
                self.clock = RehearsalClock(self)
        except errors.ApiError:
            pass  # no rehearsal, or not there at all: that is said by whoever asks for the version

    def token(self):
        """The bearer token in use, or ""; never to be shown."""
        for auth in self._configuration.auth_settings().values():
            kind, _space, value = str(auth.get("value") or "").partition(" ")
            if kind.lower() == "bearer":
                return value.strip()
        return ""

    # -- requests ----------------------------------------------------------

    def get(self, path, patience=PATIENCE, **query):
        """One object (dict)."""
        return self._json("GET", path, query, patience=patience)

    def list(self, path, patience=PATIENCE, **query):
        """All pages of a LIST as one :class:`Listing`; starts over when the token expired."""
        while True:
            try:
                return self._pages(path, dict(query, limit=PAGE), patience)
            except errors.Gone:
                continue

    def create(self, path, body, found=None, patience=PATIENCE, **query):
        """POST; returns the created object.

        :param found: for an object whose name the server makes up. Called when the answer got lost and the server is
            back: returns the object when it was created after all, else None, and it is sent again. Without, a lost
            answer is an exception, since the object may be there.
        """
        return self._json("POST", path, self._written(query), body, patience=patience, found=found)

    def replace(self, path, body, **query):
        """PUT; returns the new object."""
        return self._json("PUT", path, self._written(query), body)

    def patch(self, path, body, kind="merge", **query):
        """PATCH with a ``merge``, ``json`` or ``strategic`` body; returns the new object."""
        return self._json("PATCH", path, self._written(query), body, content_type=CONTENT_TYPES[kind])

    def delete(self, path, body=None, **query):
        """DELETE; returns the object or Status the server answered with."""
        return self._json("DELETE", path, self._written(query), body)

    def stream(self, path, read_timeout, on_open=None, **query):
        """An open GET: yields the lines (bytes) as they come, until the server ends it.

        :param read_timeout: seconds of silence after which the connection counts as dead.
        :param on_open: called with the response, so that another thread can cut the connection.
        :raises Unreachable: on silence or a broken connection.
        """
        try:
            response = self._send("GET", path, query, timeout=(10, read_timeout))
        except (errors.Overloaded, errors.Unreachable) as exc:
            if query.get("watch"):  # the log of a pod may fail for reasons of its own
                self._outage.failing(exc, self.clock.now())
            raise
        try:
            self._answered(path)
            if on_open:
                on_open(response)
            rest = b""
            for chunk in response.stream(amt=None, decode_content=False):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield line
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise self._unreachable(exc) from exc
        finally:
            response.close()

    # -- inside ------------------------------------------------------------

    def _written(self, query):
        return dict(query, dryRun="All") if self.dry_run else query

    def _pages(self, path, query, patience):
        items = []
        while True:
            page = self._json("GET", path, query, patience=patience)
            meta = page.get("metadata") or {}
            items.extend(page.get("items") or [])
            if not meta.get("continue"):
                return Listing(items, meta.get("resourceVersion", ""))
            query = dict(query, **{"continue": meta["continue"]})

    def _json(self, method, path, query, body=None, content_type="application/json", patience=PATIENCE, found=None):
        """Send, again and again while the server is away, for ``patience`` seconds (see :mod:`.patience`).

        A 401 has the credentials read anew, once; while the server is in trouble anyway it is trouble like any other.
        """
        attempts, renewed = patiently.Attempts(patience), False
        while True:
            try:
                text = self._send(method, path, query, body, content_type).data
                self._answered(path)
                return json.loads(text) if text else {}
            except errors.Unauthorized as exc:
                if renewed and not attempts.in_trouble:
                    raise
                if renewed:
                    self._wait(attempts, exc)
                else:
                    self.reconnect()
                    renewed = True
            except (errors.Overloaded, errors.Unreachable) as exc:
                repeatable = patiently.may_repeat(method, query, body, exc)
                if not repeatable and found is None:
                    raise
                self._wait(attempts, exc)
                there = None if repeatable else found()
                if there is not None:
                    return there

    def _wait(self, attempts, failure):
        """Wait for the next attempt; raises the failure when there is none."""
        if not attempts.worth_while(failure):
            raise failure
        now = self.clock.now()  # asked only in trouble: in a rehearsal it is a request itself
        self._outage.failing(failure, now)
        pause = attempts.pause(failure, now)
        if pause is None:
            raise failure
        self.clock.sleep(pause)

    def _answered(self, path):
        if not path.startswith(REHEARSAL_PATHS):  # which answer at any time
            self._outage.over(self.clock.now)

    def _send(self, method, path, query=None, body=None, content_type="application/json", timeout=(10, 60)):
        url = self.host + path
        if query:
            url += "?" + urlencode({key: _query(value) for key, value in query.items() if value is not None})
        headers = dict(self._headers, Accept="application/json")
        for auth in self._configuration.auth_settings().values():
            if auth.get("value"):
                headers[auth["key"]] = auth["value"]
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = json.dumps(body).encode()
        self.requests += 1
        try:
            response = self._pool.request(
                method, url, body=data, headers=headers, preload_content=False, retries=False,
                timeout=urllib3.Timeout(connect=timeout[0], read=timeout[1]),
            )
            if 200 <= response.status < 300:
                if timeout[1] <= 60:  # not a stream: read it here, where a lost connection is understood
                    response.data  # noqa: B018
                return response
            text = response.data
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise self._unreachable(exc) from exc
        raise _refusal(method, path, response, text, self.host)

    def _unreachable(self, exc):
        cause = _innermost(exc)
        if "CERTIFICATE_VERIFY_FAILED" in cause:
            return errors.Unreachable(
                "The certificate of the API server at %s does not verify: %s." % (self.host, cause),
                "Give the CA that signed it as ca_cert (or in the kubeconfig). Nothing was sent to it.",
                reason="Certificate",
            )
        failure = errors.Unreachable(
            "The API server at %s does not answer: %s." % (self.host, cause),
            "Check the host name, the network path and any proxy, then run again.",
            reason="Unreachable",
        )
        failure.sent = not _never_sent(exc)
        return failure


def _never_sent(exc):
    """Whether it is sure that the server got nothing of the request: there was no connection."""
    while exc is not None:
        if isinstance(exc, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)):
            return True
        exc = getattr(exc, "original_error", None) or getattr(exc, "reason", None)
        exc = exc if isinstance(exc, Exception) else None
    return False


def _query(value):
    return {True: "true", False: "false"}.get(value, value) if isinstance(value, bool) else value


def _innermost(exc):
    while getattr(exc, "reason", None) is not None and isinstance(exc.reason, Exception):
        exc = exc.reason
    return re.sub(r"^HTTPS?Connection(Pool)?\(.*?\): ", "", str(exc)) or type(exc).__name__


_KINDS = {401: errors.Unauthorized, 403: errors.Forbidden, 404: errors.NotFound, 409: errors.Conflict, 410: errors.Gone}


def _refusal(method, path, response, text, host):
    try:
        status = json.loads(text)
        status = status if isinstance(status, dict) else {}
    except ValueError:
        status = {}
    said = status.get("message") or (text or b"").decode("utf-8", "replace").strip()[:300] or response.reason or ""
    code = response.status
    details = {"method": method, "path": path, "said": said, "causes": (status.get("details") or {}).get("causes") or []}
    known = dict(status=code, reason=status.get("reason", ""), **details)
    if code == 401:
        return errors.Unauthorized(
            "The API server at %s does not accept the token or certificate used (401)." % host,
            "Log in again, or give a valid api_key, kubeconfig or client certificate.", **known)
    if code == 403:
        from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import access  # seldom needed

        return errors.Forbidden(
            "Not allowed to %s %s: %s." % (VERBS.get(method, method), path, said.rstrip(".")),
            access.refusal_remedy(said), **known)
    if code in _KINDS:
        return _KINDS[code]("%s %s was answered with %d: %s." % (method, path, code, said.rstrip(".")), **known)
    if code == 429 or code >= 500:
        try:
            known["retry_after"] = float(response.headers.get("Retry-After") or 0)
        except ValueError:
            pass
        return errors.Overloaded("%s %s was answered with %d: %s." % (method, path, code, said.rstrip(".")), **known)
    return errors.Rejected("The API server refused %s %s (%d): %s." % (method, path, code, said.rstrip(".")), **known)


VERBS = {"GET": "read", "POST": "create", "PUT": "replace", "PATCH": "change", "DELETE": "delete"}


def path_of(group_version, plural, namespace=None, name=None, subresource=None):
    """The URL path of a collection or object; ``group_version`` is ``v1`` or ``group/version``."""
    parts = ["api" if "/" not in group_version else "apis", group_version]
    if namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(plural)
    parts += [quote(part, safe="") for part in (name, subresource) if part]
    return "/" + "/".join(parts)


def connect(module, say=None):
    """The :class:`Api` for a module's options, after its handshake.

    :param module: an ``AnsibleK8SModule`` (or what the action plugin puts in its place).
    :param say: see :class:`Api`.
    """

    def source():
        try:
            # A kubeconfig read before in this process (an earlier loop item) must not lend its settings to this one.
            kubernetes.client.Configuration.set_default(None)
            auth = core_client._create_auth_spec(module)
            return core_client._create_configuration(auth), core_client._create_headers(module)
        except kubernetes.config.ConfigException as exc:
            raise errors.Unreachable(
                "No API server to connect to: %s." % str(exc).rstrip("."),
                "Give host and api_key, a kubeconfig, or set K8S_AUTH_KUBECONFIG.",
                reason="Configuration",
            ) from exc

    return Api(source, dry_run=module.check_mode, say=say).handshake()
