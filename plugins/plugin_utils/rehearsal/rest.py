# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The REST verbs on objects: from a request to the store and back."""

from __future__ import annotations

import base64
import collections
import json

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import (
    applying,
    core_kinds,
    lifecycle,
    naming,
    ownership,
    patching,
    schema,
    selectors,
    status,
    tables,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.store import Entry, copied
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.watch import number, open_watch

CRDS = "customresourcedefinitions.apiextensions.k8s.io"
PAGES_KEPT = 64  # snapshots of unfinished paged LISTs
PAGES_AGE = 300.0  # simulated seconds that a continue token lives, as long as etcd keeps the past

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
            known = target.subresource in resource.subresources and target.name
            if resource.custom or (known and self.store.get(resource.key, target.namespace, target.name) is None):
                raise status.not_found(resource, target.name)
            raise status.no_such_path()
        if bool(target.namespace) != resource.namespaced and (target.name or target.namespace):
            raise status.no_such_path()
        handlers = self._ONE if target.name else self._MANY
        verb = handlers.get(request.method)
        if verb is None or VERBS[verb.__name__] not in resource.verbs or (target.subresource and verb is Rest._delete):
            raise status.not_allowed()
        _check_options(request, VERBS[verb.__name__])
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
        return 200, tables.one(request, entry, resource, target.version)

    def _list(self, request, target, resource):
        query = request.query
        matches = selectors.both(
            selectors.labels(query.get("labelSelector")), selectors.fields(query.get("fieldSelector"), resource))
        if request.flag("watch"):
            return 200, open_watch(self.store, resource, target.version, target.namespace, matches, query)
        wanted = number(query.get("resourceVersion") or "0", "resourceVersion")
        if wanted > self.store.version:
            raise status.too_new(wanted, self.store.version)
        limit = number(query.get("limit") or "0", "limit")
        if query.get("continue"):
            entries, start, version = self._continued(query["continue"], resource, target.namespace, matches)
        else:
            entries = self.store.entries(resource.key, target.namespace, matches)
            start, version = 0, self.store.version
        page = entries[start:start + limit] if limit > 0 else entries[start:]
        meta = {"continue": "", "resourceVersion": str(version)} if resource.custom else {"resourceVersion": str(version)}
        left = len(entries) - start - len(page)
        if left > 0:
            meta["continue"] = self._token(query.get("continue"), entries, start + len(page), version)
            if matches is None:
                meta["remainingItemCount"] = left
        shown = tables.many(request, page, resource, target.version, meta)
        return 200, shown or _listed(resource, target.version, meta, page)

    def _token(self, earlier, entries, start, version):
        self._page_number += 1
        key = _decoded(earlier)["page"] if earlier else self._page_number
        self._pages[key] = (entries, version, self.store.clock.now())
        self._pages.move_to_end(key)
        while len(self._pages) > PAGES_KEPT:
            self._pages.popitem(last=False)
        meta = entries[start - 1].obj["metadata"]
        return _encoded(version, key, start, [meta.get("namespace") or "", meta["name"]])

    def _continued(self, token, resource, namespace, matches):
        said = _decoded(token)
        if said["rv"] < 0:  # the rest of a list that expired, as it is now
            entries = self.store.entries(resource.key, namespace, matches)
            left = [entry for entry in entries if [entry.obj["metadata"].get("namespace") or "",
                                                   entry.obj["metadata"]["name"]] > said["after"]]
            return left, 0, self.store.version
        entries, version, since = self._pages.get(said["page"], (None, None, 0))
        if entries is None or version != said["rv"] or self.store.clock.now() - since > PAGES_AGE:
            raise status.expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new "
                "list without the continue parameter, or use the continue token in this response to retrieve the "
                "remainder of the results. Note that the new list may not be consistent.", _encoded(-1, 0, 0, said["after"]))
        return entries, said["start"], version

    # -- writing -----------------------------------------------------------

    def _post(self, request, target, resource, manager=None):
        if resource.namespaced and not target.namespace:
            raise status.not_allowed()
        obj = self._body(request, target, resource)
        headers = _unknown_fields(request, resource, obj, target.version)
        if obj["metadata"].get("resourceVersion"):
            raise status.failure("resourceVersion should not be set on objects to be created")
        if resource.namespaced and self.store.get("namespaces", "", target.namespace) is None:
            raise status.not_found(self.store.resource("namespaces"), target.namespace)
        if resource.namespaced and self.store.lifecycle.ending(target.namespace):
            raise status.namespace_ending(resource, obj["metadata"].get("name", ""), target.namespace)
        headers = _warned(headers, _check_names(resource, obj))
        request.warning = headers.get("warning")
        if resource.key == "pods":
            obj["status"] = {"phase": "Pending", "qosClass": core_kinds.quality(obj.get("spec") or {})}
        if resource.key == "namespaces":
            obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"].get("name")
            obj.setdefault("spec", {})["finalizers"] = ["kubernetes"]
            obj["status"] = {"phase": "Active"}
        made = self.store.create(resource.key, obj, request.user, request.dry_run,
                                 ownership.manager_of(request) if manager is None else manager)
        return 201, Entry(made, resource).encoded(target.version), headers

    def _put(self, request, target, resource):
        obj = self._body(request, target, resource)
        headers = _unknown_fields(request, resource, obj, target.version)
        known = self.store.get(resource.key, target.namespace, target.name)
        if known is None:
            raise status.not_found(resource, target.name)
        version = obj["metadata"].get("resourceVersion")
        if resource.custom and not version:
            raise status.invalid_plural(resource, target.name, [
                ("metadata.resourceVersion", "FieldValueInvalid", "Invalid value: 0: must be specified for an update")])
        if version and not version.isdigit():
            raise status.failure("strconv.ParseUint: parsing %s: invalid syntax" % json.dumps(version))
        return self._stored(request, target, resource, obj, headers)

    def _patch(self, request, target, resource):
        kind = patching.accepted(request.headers.get("content-type", ""), resource.custom)
        patch = request.json(words="error decoding patch: unexpected end of JSON input")
        if kind == patching.APPLY:
            return self._apply(request, target, resource, patch)
        entry = self.store.entry(resource.key, target.namespace, target.name)
        if entry is None:
            raise status.not_found(resource, target.name)
        before = resource.converted(entry.obj, target.version)
        obj = patching.apply(kind, copied(before), patch)
        try:
            if not isinstance(obj, dict):
                raise status.bad_request("json: cannot unmarshal %s" % schema.kind_of(obj))
            _check_shape(resource, obj)
        except status.ApiStatus as exc:
            raise status.invalid_patch(obj, exc.message.partition("cannot be handled as a %s: " % resource.kind)[2]) from exc
        meta, old = obj.get("metadata") or {}, before["metadata"]
        obj["metadata"] = meta
        _check_place(target, meta)
        if meta.get("uid") != old["uid"]:
            cause = ("metadata.uid", "FieldValueInvalid", status.invalid_value(meta.get("uid"), "field is immutable"))
            raise status.invalid(resource, target.name, [cause, cause])
        headers = _unknown_fields(request, resource, obj, target.version, obj)
        return self._stored(request, target, resource, obj, headers)

    def _apply(self, request, target, resource, wanted):
        manager = applying.check(request, wanted)
        wanted.setdefault("metadata", {}).setdefault("name", target.name)
        entry = self.store.entry(resource.key, target.namespace, target.name)
        if entry is None and not target.subresource:
            if target.namespace:
                wanted["metadata"].setdefault("namespace", target.namespace)
            request.body, request.headers = json.dumps(wanted).encode(), dict(request.headers, **{"content-type": "application/json"})
            return self._post(request, target, resource, applying.created(wanted, manager, self.store.timestamp()))
        if entry is None:
            raise status.not_found(resource, target.name)
        _check_place(target, wanted["metadata"])
        before = resource.converted(entry.obj, target.version)
        obj, rows = applying.applied(before, wanted, manager, self.store.timestamp(), request.flag("force"))
        headers = _unknown_fields(request, resource, obj, target.version)
        return self._stored(request, target, resource, obj, headers, rows)

    def _stored(self, request, target, resource, obj, headers, manager=None):
        headers = _warned(headers, _check_names(
            resource, obj, self.store.get(resource.key, target.namespace, target.name)))
        core_kinds.completed(resource, obj)
        request.warning = headers.get("warning")
        new = self.store.update(resource.key, obj, target.subresource, request.user, request.dry_run,
                                ownership.manager_of(request) if manager is None else manager)
        return 200, Entry(new, resource).encoded(target.version), headers

    def _delete(self, request, target, resource):
        options = request.json({}) or {}
        guard = options.get("preconditions") or {}
        self._propagate(request, options, target, resource)
        gone = self.store.delete(
            resource.key, target.namespace, target.name, self._grace(request, options, resource, target), request.user,
            request.dry_run, guard.get("uid"), guard.get("resourceVersion"))
        held = bool(gone["metadata"].get("deletionTimestamp")) and (
            gone["metadata"].get("finalizers") or gone["metadata"].get("deletionGracePeriodSeconds") or resource.key == "namespaces")
        if (held or resource.key == CRDS) and not request.dry_run:  # the definitions' own finalizer is not played
            return 200, Entry(gone, resource).encoded(target.version)
        return 200, _success({
            "name": target.name, "group": resource.group, "kind": resource.plural, "uid": gone["metadata"]["uid"]})

    def _propagate(self, request, options, target, resource):
        """Note on the object what is to become of those that it owns."""
        policy = request.query.get("propagationPolicy", options.get("propagationPolicy"))
        if options.get("orphanDependents"):
            policy = "Orphan"
        mark = lifecycle.FINALIZERS.get(policy)
        if mark is None or request.dry_run:
            return

        def marked(obj):
            held = obj["metadata"].get("finalizers") or []
            obj["metadata"]["finalizers"] = held if mark in held else held + [mark]

        self.store.modify(resource.key, target.namespace, target.name, marked)

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
        _check_media(request)
        obj = request.json(words="the object provided is unrecognized (must be of type %s): couldn't get version/kind; json "
                                 "parse error: unexpected end of JSON input (%s)" % (
                                     resource.kind, "<empty>" if not request.body else request.body[:30].decode("utf-8", "replace")))
        if not isinstance(obj, dict):
            raise status.bad_request("the object provided is unrecognized (must be of type %s): couldn't get version/kind" % (
                resource.kind))
        _check_type(request, obj, resource, target)
        _check_shape(resource, obj)
        meta = obj["metadata"] = {key: value for key, value in (obj.get("metadata") or {}).items() if value is not None}
        if request.method == "POST" and not target.name:
            if target.namespace and meta.setdefault("namespace", target.namespace) != target.namespace:
                raise status.wrong_namespace()
            return obj
        _check_place(target, meta)
        if target.namespace:
            meta.setdefault("namespace", target.namespace)
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


def _encoded(version, page, start, after):
    said = {"v": "meta.k8s.io/v1", "rv": version, "page": page, "start": start, "after": after}
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode()


def _decoded(token):
    try:
        said = json.loads(base64.urlsafe_b64decode(token.encode()))
        return {"page": int(said["page"]), "rv": int(said["rv"]), "start": int(said["start"]), "after": list(said["after"])}
    except (ValueError, KeyError, TypeError) as exc:
        raise status.bad_request(
            "invalid continue token: continue key is not valid: illegal base64 data at input byte 0") from exc


def _check_options(request, verb):
    """422 for parameters of a request that are none."""
    causes = []

    def one_of(name, allowed, shown):
        value = request.query.get(name)
        if value is not None and value not in allowed:
            causes.append((name, "FieldValueNotSupported", "Unsupported value: %s: supported values: %s" % (
                json.dumps([value] if name == "dryRun" else value), ", ".join('"%s"' % word for word in shown))))

    kind = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions", "delete": "DeleteOptions",
            "deletecollection": "DeleteOptions"}.get(verb, "ListOptions")
    if kind == "ListOptions":
        _check_list(request, one_of, causes)
    else:
        one_of("dryRun", ("All",), ("All",))
    if kind in ("CreateOptions", "UpdateOptions", "PatchOptions"):
        one_of("fieldValidation", ("", "Ignore", "Strict", "Warn"), ("", "Ignore", "Strict", "Warn"))
    if kind == "DeleteOptions":
        policies = ("Foreground", "Background", "Orphan")
        one_of("propagationPolicy", policies, policies + ("nil",))
    if causes:
        raise status.invalid_options(kind, causes)


def _check_list(request, one_of, causes):
    for name in ("limit", "timeoutSeconds"):
        number(request.query.get(name) or "0", name)
    match = request.query.get("resourceVersionMatch")
    initial = "sendInitialEvents" in request.query and not request.flag("watch")
    if match and not request.query.get("resourceVersion") and not request.flag("watch"):
        causes.append(("resourceVersionMatch", "FieldValueForbidden",
                       "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"))
    else:
        one_of("resourceVersionMatch", ("Exact", "NotOlderThan", ""), ("Exact", "NotOlderThan", ""))
    if initial:
        causes.append(("sendInitialEvents", "FieldValueForbidden", "Forbidden: sendInitialEvents is forbidden for list"))


def _check_media(request):
    kind = request.headers.get("content-type", "").split(";")[0].strip()
    if kind not in MEDIA:
        raise status.unsupported_patch(MEDIA[1:4])


def _check_type(request, obj, resource, target):
    """apiVersion and kind of a body: custom resources must have them, core kinds may leave them out."""
    wanted, kind, version = resource.api_version_of(target.version), obj.get("kind"), obj.get("apiVersion")
    if resource.custom and not kind:
        text = request.body.decode("utf-8", "replace")
        missing = "Object 'Kind' is missing in '%s'" % text
        if request.query.get("fieldValidation") in ("Ignore", "Strict"):
            raise status.bad_request('%s in version "%s" cannot be handled as a %s: %s' % (
                resource.kind, target.version, resource.kind, missing))
        raise status.bad_request("the object provided is unrecognized (must be of type %s): %s (%s)" % (
            resource.kind, missing, text if len(text) <= 30 else text[:30] + " ..."))
    if resource.custom and (version or "") != wanted:
        raise status.bad_request("the API version in the data (%s) does not match the expected API version (%s)" % (
            version or "", wanted))
    if resource.custom and kind != resource.kind:
        raise status.wrong_kind(resource, kind, (obj.get("metadata") or {}).get("name", ""))
    if obj.setdefault("apiVersion", wanted) != wanted:
        raise status.bad_request('%s in version "%s" cannot be handled as a %s: no kind "%s" is registered for version "%s"' % (
            kind, version, resource.kind, kind, version))
    if obj.setdefault("kind", resource.kind) != resource.kind:
        raise status.bad_request(
            '%s in version "%s" cannot be handled as a %s: converting (%s.%s) to (core.%s): unknown conversion' % (
                kind, target.version, resource.kind, target.version, kind, resource.kind))


def _check_place(target, meta):
    """400 unless name and namespace of a body are those of the path."""
    if not meta.get("name"):
        raise status.bad_request("the name of the object (%s based on URL) was undeterminable: name must be provided" % (
            target.name))
    if meta["name"] != target.name:
        raise status.bad_request("the name of the object (%s) does not match the name on the URL (%s)" % (
            meta["name"], target.name))
    if target.namespace and meta.get("namespace", target.namespace) != target.namespace:
        raise status.wrong_namespace()


def _unknown_fields(request, resource, obj, version, patched=None):
    """Prune; unknown fields are refused, warned of or ignored as fieldValidation asks (a Warning header by default)."""
    dropped = ['unknown field "%s"' % path for path in schema.prune(resource, obj, version)]
    mode = request.query.get("fieldValidation", "Warn")
    if dropped and mode == "Strict":
        words = "strict decoding error: %s" % ", ".join(dropped)
        if patched is not None:
            raise status.invalid_patch(patched, words)
        raise status.bad_request("%s in version \"%s\" cannot be handled as a %s: %s" % (
            resource.kind, version, resource.kind, words))
    return _warned({}, dropped[:10] if mode == "Warn" else ())


def _warned(headers, sentences):
    """Headers with a Warning for each sentence."""
    texts = ['299 - "%s"' % text.replace('"', '\\"') for text in sentences]
    known = [headers["warning"]] if "warning" in headers else []
    return {"warning": ", ".join(known + texts)} if known or texts else {}


def _check_shape(resource, obj):
    """The types that an API server decodes metadata (and the halves of a core kind) into.

    :raises ApiStatus: 400.
    """
    meta, above = obj.get("metadata"), "" if resource.custom else "metadata."

    def check(place, value, kind, go_type):
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise status.bad_request(
                '%s in version "%s" cannot be handled as a %s: json: cannot unmarshal %s into Go struct field %s of type %s' % (
                    resource.kind, resource.version, resource.kind, _GO.get(schema.kind_of(value), schema.kind_of(value)), place,
                    go_type))

    check(resource.kind + ".metadata", meta, dict, "v1.ObjectMeta")
    for key, (kind, go_type) in _META.items():
        value = (meta or {}).get(key)
        check("ObjectMeta.%s%s" % (above, key), value, kind, go_type)
        if go_type == "map[string]string" and value:
            for name in [name for name, text in value.items() if text is None]:
                value[name] = ""
            for text in value.values():
                check("ObjectMeta.%s%s" % (above, key), text, str, "string")
        for text in value or () if go_type == "[]string" else ():
            check("ObjectMeta.%s%s" % (above, key), text, str, "string")
    if resource.custom:
        return
    for part in ("spec", "status"):
        check("%s.%s" % (resource.kind, part), obj.get(part), dict, "v1.%s%s" % (resource.kind, part.capitalize()))
    if "data" in resource.fields:
        check(resource.kind + ".data", obj.get("data"), dict, "map[string]string")
        for text in (obj.get("data") or {}).values():
            check(resource.kind + ".data", text, str, "string")


MEDIA = ("", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_GO = {"integer": "number", "boolean": "bool"}
_TEXTS = "map[string]string"
_META = {"name": (str, "string"), "generateName": (str, "string"), "namespace": (str, "string"), "uid": (str, "types.UID"),
         "resourceVersion": (str, "string"), "labels": (dict, _TEXTS), "annotations": (dict, _TEXTS),
         "finalizers": (list, "[]string"), "ownerReferences": (list, "[]v1.OwnerReference")}


def _check_names(resource, obj, old=None):
    """The metadata of a written object; returns what it is warned of (sentences).

    :param old: the object that it replaces: core kinds are then checked several times, and say so.
    :raises ApiStatus: 422.
    """
    meta = obj["metadata"]
    causes, warnings = naming.metadata(resource, meta)
    if old and not resource.custom:
        causes = causes * 4
    causes += core_kinds.causes(resource, obj, old)
    if causes:
        raise status.invalid(resource, meta.get("name") or meta.get("generateName", ""), causes)
    return warnings
