# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The REST verbs on objects: from a request to the store and back."""

from __future__ import annotations

import base64
import collections
import json
import re

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import patching, schema, selectors, status
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.store import Entry, copied
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.watch import number, open_watch

PAGES_KEPT = 64  # snapshots of unfinished paged LISTs
PAGES_AGE = 300.0  # simulated seconds that a continue token lives, as long as etcd keeps the past
NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
LABEL_VALUE = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")

VERBS = {"_get": "get", "_put": "update", "_patch": "patch", "_delete": "delete", "_list": "list", "_post": "create",
         "_delete_many": "deletecollection"}

Target = collections.namedtuple("Target", "group version namespace plural name subresource")


def parse(path):
    """The :class:`Target` of a resource path, or None."""
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        group, rest = "", parts[1:]
    elif parts[0] == "apis":
        group, rest = parts[1] if len(parts) > 1 else "", parts[2:]
    else:
        return None
    if len(rest) < 2:
        return None
    version, rest, namespace = rest[0], rest[1:], None
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    name = rest[1] if len(rest) > 1 else None
    return Target(group, version, namespace, rest[0], name, "/".join(rest[2:]) or None)


class Rest:
    """Answers requests on stored objects.

    ``answer(request, target)`` returns ``(status, body, headers)``; the body is bytes or a
    :class:`~.wire.Stream`, and refusals are raised as :class:`~.status.ApiStatus`.
    """

    def __init__(self, store):
        self.store = store
        self._pages = collections.OrderedDict()
        self._page_number = 0

    def answer(self, request, target):
        """See the class."""
        resource = self._resource(target)
        if target.subresource not in (None, "status") or (target.subresource and not resource.has_status):
            raise status.no_such_path()
        if bool(target.namespace) != resource.namespaced and (target.name or target.namespace):
            raise status.no_such_path()
        handlers = self._ONE if target.name else self._MANY
        verb = handlers.get(request.method)
        if verb is None or VERBS[verb.__name__] not in resource.verbs or (target.subresource and verb is Rest._delete):
            raise status.ApiStatus(405, message="the server does not allow this method on the requested resource")
        answer = verb(self, request, target, resource)
        return answer if len(answer) == 3 else answer + ({},)

    def forget_pages(self):
        """All continue tokens expire."""
        self._pages.clear()

    def _resource(self, target):
        key = "%s.%s" % (target.plural, target.group) if target.group else target.plural
        resource = self.store.resources.get(key)
        if resource is None or target.version not in resource.served:
            raise status.no_such_path()
        return resource

    # -- reading -----------------------------------------------------------

    def _get(self, request, target, resource):
        if request.flag("watch"):
            named = selectors.fields("metadata.name=%s" % target.name, resource)
            return 200, open_watch(self.store, resource, target.version, target.namespace, named, request.query)
        entry = self.store.entry(resource.key, target.namespace, target.name)
        if entry is None:
            raise status.not_found(resource, target.name)
        return 200, entry.encoded(target.version)

    def _list(self, request, target, resource):
        query = request.query
        matches = selectors.both(
            selectors.labels(query.get("labelSelector")), selectors.fields(query.get("fieldSelector"), resource))
        if request.flag("watch"):
            return 200, open_watch(self.store, resource, target.version, target.namespace, matches, query)
        wanted = number(query.get("resourceVersion") or "0", "resourceVersion")
        if wanted > self.store.version:
            raise status.ApiStatus(504, message="Too large resource version: %d, current: %d" % (
                wanted, self.store.version))
        limit = number(query.get("limit") or "0", "limit")
        if query.get("continue"):
            entries, start, version = self._continued(query["continue"])
        else:
            entries = self.store.entries(resource.key, target.namespace, matches)
            start, version = 0, self.store.version
        page = entries[start:start + limit] if limit > 0 else entries[start:]
        meta = {"resourceVersion": str(version)}
        left = len(entries) - start - len(page)
        if left > 0:
            meta["continue"] = self._token(query.get("continue"), entries, start + len(page), version)
            if matches is None:
                meta["remainingItemCount"] = left
        return 200, _listed(resource, target.version, meta, page)

    def _token(self, earlier, entries, start, version):
        self._page_number += 1
        key = _decoded(earlier)["page"] if earlier else self._page_number
        self._pages[key] = (entries, version, self.store.clock.now())
        self._pages.move_to_end(key)
        while len(self._pages) > PAGES_KEPT:
            self._pages.popitem(last=False)
        return base64.urlsafe_b64encode(json.dumps({"v": "meta.k8s.io/v1", "rv": version, "page": key,
                                                    "start": start}).encode()).decode()

    def _continued(self, token):
        said = _decoded(token)
        entries, version, since = self._pages.get(said["page"], (None, None, 0))
        if entries is None or version != said["rv"] or self.store.clock.now() - since > PAGES_AGE:
            raise status.expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new "
                "list without the continue parameter, or use the continue token in this response to retrieve the "
                "remainder of the results.")
        return entries, said["start"], version

    # -- writing -----------------------------------------------------------

    def _post(self, request, target, resource):
        if resource.namespaced and not target.namespace:
            raise status.ApiStatus(405, message="the server does not allow this method on the requested resource")
        obj = self._body(request, target, resource)
        headers = _unknown_fields(request, resource, obj, target.version)
        _check_names(resource, obj)
        if resource.namespaced and self.store.get("namespaces", "", target.namespace) is None:
            raise status.not_found(self.store.resource("namespaces"), target.namespace)
        if resource.key == "pods":
            obj["status"] = {"phase": "Pending", "qosClass": "Burstable"}
        if resource.key == "namespaces":
            obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"].get("name")
            obj["status"] = {"phase": "Active"}
        made = self.store.create(resource.key, obj, request.user, request.dry_run)
        return 201, Entry(made, resource).encoded(target.version), headers

    def _put(self, request, target, resource):
        obj = self._body(request, target, resource)
        headers = _unknown_fields(request, resource, obj, target.version)
        known = self.store.get(resource.key, target.namespace, target.name)
        if known is None:
            raise status.not_found(resource, target.name)
        obj["metadata"]["name"] = target.name
        if resource.custom and not obj["metadata"].get("resourceVersion"):
            raise status.invalid(resource, target.name, [
                ("metadata.resourceVersion", "FieldValueInvalid", "Invalid value: 0: must be specified for an update")])
        return self._stored(request, target, resource, obj, headers)

    def _patch(self, request, target, resource):
        kind = patching.accepted(request.headers.get("content-type", ""), resource.custom)
        patch = request.json()
        entry = self.store.entry(resource.key, target.namespace, target.name)
        if entry is None:
            raise status.not_found(resource, target.name)
        before = resource.converted(entry.obj, target.version)
        obj = patching.apply(kind, copied(before), patch)
        if not isinstance(obj, dict) or not isinstance(obj.get("metadata"), dict):
            raise status.bad_request("the patched object is not an object with metadata")
        if any(obj["metadata"].get(field) != before["metadata"].get(field) for field in ("name", "namespace")):
            raise status.bad_request("the name or namespace of an object cannot be changed by a patch")
        _check_shape(resource, obj)
        headers = _unknown_fields(request, resource, obj, target.version)
        return self._stored(request, target, resource, obj, headers)

    def _stored(self, request, target, resource, obj, headers):
        _check_names(resource, obj)
        new = self.store.update(resource.key, obj, target.subresource, request.user, request.dry_run)
        return 200, Entry(new, resource).encoded(target.version), headers

    def _delete(self, request, target, resource):
        options = request.json({}) or {}
        guard = options.get("preconditions") or {}
        gone = self.store.delete(
            resource.key, target.namespace, target.name, self._grace(request, options, resource, target), request.user,
            request.dry_run, guard.get("uid"), guard.get("resourceVersion"))
        if self.store.get(resource.key, target.namespace, target.name) is not None and not request.dry_run:
            return 200, Entry(gone, resource).encoded(target.version)
        return 200, _success({
            "name": target.name, "group": resource.group, "kind": resource.plural, "uid": gone["metadata"]["uid"]})

    def _grace(self, request, options, resource, target):
        default = self.store.grace.get(resource.key)
        obj = self.store.get(resource.key, target.namespace, target.name)
        if not default or obj is None or (resource.key == "pods" and not (obj.get("spec") or {}).get("nodeName")):
            return 0
        asked = request.query.get("gracePeriodSeconds", options.get("gracePeriodSeconds"))
        return default if asked is None else number(asked, "gracePeriodSeconds")

    def _delete_many(self, request, target, resource):
        matches = selectors.both(selectors.labels(request.query.get("labelSelector")),
                                 selectors.fields(request.query.get("fieldSelector"), resource))
        entries = self.store.entries(resource.key, target.namespace, matches)
        for entry in entries:
            meta = entry.obj["metadata"]
            one = target._replace(namespace=meta.get("namespace"), name=meta["name"])
            self._delete(request, one, resource)
        return 200, _listed(resource, target.version, {"resourceVersion": str(self.store.version)}, entries)

    def _body(self, request, target, resource):
        obj = request.json()
        if not isinstance(obj, dict):
            raise status.bad_request("the body of the request must be an object")
        wanted = resource.api_version_of(target.version)
        if obj.setdefault("apiVersion", wanted) != wanted:
            raise status.bad_request("the API version in the data (%s) does not match the expected API version (%s)" % (
                obj["apiVersion"], wanted))
        if obj.setdefault("kind", resource.kind) != resource.kind:
            raise status.bad_request('%s in version "%s" cannot be handled as a %s: no kind "%s" is registered' % (
                resource.kind, target.version, resource.kind, obj["kind"]))
        _check_shape(resource, obj)
        meta = obj["metadata"] = {key: value for key, value in (obj.get("metadata") or {}).items() if value is not None}
        if target.name and meta.setdefault("name", target.name) != target.name:
            raise status.bad_request("the name of the object (%s) does not match the name on the URL (%s)" % (
                meta["name"], target.name))
        if target.namespace and meta.setdefault("namespace", target.namespace) != target.namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request")
        return obj

    _ONE = {"GET": _get, "PUT": _put, "PATCH": _patch, "DELETE": _delete}
    _MANY = {"GET": _list, "POST": _post, "DELETE": _delete_many}


def _listed(resource, version, meta, entries):
    """A list's bytes from those of its items; items of core kinds come without apiVersion and kind, as real ones."""
    head = json.dumps({"apiVersion": resource.api_version_of(version), "kind": resource.kind}, separators=(",", ":"))
    cut = 0 if resource.custom else len(head)
    items = [entry.encoded(version) for entry in entries]
    if cut:
        items = [b"{" + item[cut:] for item in items]
    whole = {"kind": resource.kind + "List", "apiVersion": resource.api_version_of(version), "metadata": meta}
    start = json.dumps(whole, separators=(",", ":"))
    return b'%s,"items":[%s]}' % (start[:-1].encode(), b",".join(items))


def _success(details):
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {key: value for key, value in details.items() if value}}
    return json.dumps(body).encode()


def _decoded(token):
    try:
        said = json.loads(base64.urlsafe_b64decode(token.encode()))
        return {"page": int(said["page"]), "rv": int(said["rv"]), "start": int(said["start"])}
    except (ValueError, KeyError, TypeError) as exc:
        raise status.bad_request("continue key is not valid: %s" % exc) from exc


def _unknown_fields(request, resource, obj, version):
    """Prune; unknown fields are refused, warned of or ignored as fieldValidation asks (a Warning header by default)."""
    dropped = ['unknown field "%s"' % path for path in schema.prune(resource, obj, version)]
    mode = request.query.get("fieldValidation", "Warn")
    if dropped and mode == "Strict":
        raise status.bad_request("%s in version \"%s\" cannot be handled as a %s: strict decoding error: %s" % (
            resource.kind, version, resource.kind, ", ".join(dropped)))
    if dropped and mode == "Warn":
        return {"warning": ", ".join('299 - "%s"' % text.replace('"', '\\"') for text in dropped[:10])}
    return {}


def _check_shape(resource, obj):
    """The types that an API server decodes metadata (and the halves of a core kind) into.

    :raises ApiStatus: 400.
    """
    meta = obj.get("metadata")
    places = [("metadata", meta, dict)]
    if isinstance(meta, dict):
        places += [("metadata." + key, meta.get(key), kind) for key, kind in _META.items()]
    if not resource.custom:
        places += [(key, obj.get(key), dict) for key in ("spec", "status", "data")]
    for place, value, kind in places:
        if value is not None and not isinstance(value, kind):
            raise status.bad_request(
                '%s in version "%s" cannot be handled as a %s: json: cannot unmarshal %s into Go struct field %s' % (
                    resource.kind, resource.version, resource.kind, schema.kind_of(value), place))


_META = {"name": str, "generateName": str, "namespace": str, "uid": str, "resourceVersion": str, "labels": dict,
         "annotations": dict, "finalizers": list, "ownerReferences": list}


def _check_names(resource, obj):
    """The names and labels of a written object.

    :raises ApiStatus: 422.
    """
    meta = obj["metadata"]
    causes = []
    name = meta.get("name")
    if name is not None and not (isinstance(name, str) and NAME.match(name) and len(name) <= 253):
        causes.append(("metadata.name", "FieldValueInvalid", status.invalid_value(name, (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
            "start and end with an alphanumeric character"))))
    for key, value in (meta.get("labels") or {}).items():
        if not isinstance(value, str):
            raise status.bad_request("cannot unmarshal the label %s: it must be a string" % key)
        if len(value) > 63:
            causes.append(("metadata.labels", "FieldValueInvalid", status.invalid_value(
                value, "must be no more than 63 bytes")))
        elif not LABEL_VALUE.match(value):
            causes.append(("metadata.labels", "FieldValueInvalid", status.invalid_value(value, (
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
                "start and end with an alphanumeric character"))))
    for key, value in (meta.get("annotations") or {}).items():
        if not isinstance(value, str):
            raise status.bad_request("cannot unmarshal the annotation %s: it must be a string" % key)
    if causes:
        raise status.invalid(resource, name or meta.get("generateName", ""), causes)
