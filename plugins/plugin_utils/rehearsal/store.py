# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The objects of the embedded cluster: versions, finalizers, admission, events.

Stored objects are never changed in place: a write puts a new dict in their place.
So what :meth:`Store.get` and :meth:`Store.list` hand out may be kept, and must not
be changed. ``plural`` is always ``plural.group`` (``pods``, ``virtualmachines.kubevirt.io``).
"""

from __future__ import annotations

import collections
import json
import random
import uuid

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import to_timestamp
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import ownership, selectors, status
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import schema as schemas
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.lifecycle import Lifecycle
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.resources import (
    Resource,
    built_in,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.status import ApiStatus

__all__ = ["ApiStatus", "Entry", "Event", "Resource", "Store", "copied", "is_system"]

SYSTEM = "system:controller"
HISTORY = 4000  # events kept per resource for watches; older versions are compacted
SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"


def copied(value):
    """A deep copy of JSON data (several times faster than :func:`copy.deepcopy`)."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


class Entry:
    """One stored state of one object and its bytes, made when first asked for."""

    __slots__ = ("obj", "resource", "_encoded")

    def __init__(self, obj, resource):
        self.obj = obj
        self.resource = resource
        self._encoded = None

    def encoded(self, version):
        """The object's JSON in a served version (bytes, starting with apiVersion and kind)."""
        if self._encoded is None:
            self._encoded = {}
        if version not in self._encoded:
            obj = self.resource.converted(self.obj, version)
            self._encoded[version] = json.dumps(obj, separators=(",", ":"), ensure_ascii=False).encode()
        return self._encoded[version]


Event = collections.namedtuple("Event", "version kind entry old")


class Store:
    """All objects, by resource.

    :param clock: :class:`~.clock.SimClock` or :class:`~.clock.RealClock`; every time written is its time.
    :param seed: names and uids are the same in every run with the same seed.

    A failure in an event callback is raised to whoever wrote, after all callbacks ran;
    with ``on_error`` set it goes there instead.
    """

    def __init__(self, clock, seed=0):
        self.clock = clock
        self.resources = {}
        self.version = 1000
        self.compacted = 0
        self.on_error = None
        self.grace = {}  # seconds that a deletion over the API takes, by plural (pods on a node)
        self._random = random.Random(seed)
        self._entries = {}
        self._order = {}
        self._history = {}
        self._dropped = {}
        self._indexes = {}
        self._callbacks = collections.defaultdict(list)
        self._watchers = collections.defaultdict(list)
        self._admission = collections.defaultdict(list)
        self._queue = collections.deque()
        self._draining = False
        for resource in built_in():
            self.register(resource)
        self.lifecycle = Lifecycle(self)

    # -- kinds -------------------------------------------------------------

    def register(self, resource):
        """Serve a kind; registering it again keeps its objects."""
        self.resources[resource.key] = resource
        self._entries.setdefault(resource.key, {})
        self._history.setdefault(resource.key, collections.deque())
        return resource

    def resource(self, plural):
        """The :class:`Resource`; KeyError when the kind is not served."""
        return self.resources[plural]

    def unregister(self, plural):
        """Stop serving a kind; its objects are gone."""
        for table in (self.resources, self._entries, self._order, self._history, self._dropped):
            table.pop(plural, None)

    # -- reading -----------------------------------------------------------

    def get(self, plural, namespace, name):
        """The object (not copied: do not change it) or None."""
        entry = self._entries[plural].get((namespace or "", name))
        return entry.obj if entry else None

    def entry(self, plural, namespace, name):
        """The :class:`Entry` or None."""
        return self._entries[plural].get((namespace or "", name))

    def list(self, plural, namespace=None, selector=None):
        """The objects by namespace and name (not copied).

        :param selector: a label selector's text, or a predicate over an object.
        """
        matches = selectors.labels(selector) if isinstance(selector, str) else selector
        return [entry.obj for entry in self.entries(plural, namespace, matches)]

    def entries(self, plural, namespace=None, matches=None):
        """The same as :class:`Entry` objects."""
        table = self._entries[plural]
        if plural not in self._order:
            self._order[plural] = sorted(table)
        found = (table[key] for key in self._order[plural] if not namespace or key[0] == namespace)
        return [entry for entry in found if matches is None or matches(entry.obj)]

    def index(self, plural, name, values):
        """Keep ``values(obj) -> iterable of hashable`` for :meth:`by_index`."""
        index = self._indexes.setdefault(plural, {})[name] = (values, collections.defaultdict(dict))
        for key, entry in self._entries[plural].items():
            for value in values(entry.obj):
                index[1][value][key] = None

    def by_index(self, plural, name, value):
        """The objects (not copied) that have ``value`` in that index."""
        table = self._entries[plural]
        return [table[key].obj for key in self._indexes[plural][name][1].get(value, ())]

    # -- writing -----------------------------------------------------------

    def create(self, plural, obj, user=SYSTEM, dry_run=False, manager=None):
        """Store a new object and return it; ``obj`` itself is not kept.

        :param obj: in any served version; ``metadata.generateName`` is honoured.
        :param manager: under which name it is written (managedFields); None keeps no account of it.
        :raises ApiStatus: 409 when it exists, 422 by the schema, and what admission says.
        """
        resource = self.resources[plural]
        obj = self._prepared(resource, copied(obj), user)
        meta = obj["metadata"]
        if not resource.namespaced:
            meta.pop("namespace", None)
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = self._generated(plural, meta)
        key = (meta.get("namespace") or "", meta["name"])
        for field in ("deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "selfLink"):
            meta.pop(field, None)
        meta["uid"] = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        meta["creationTimestamp"] = self.timestamp()
        if resource.counts_generations:
            meta["generation"] = 1
        self._admit(resource, "CREATE", obj, None, user, dry_run)
        if key in self._entries[plural]:
            raise status.already_exists(resource, meta["name"])
        self._account(resource, None, obj, manager)
        return obj if dry_run else self._commit(resource, key, ADDED, obj, None)

    def update(self, plural, obj, subresource=None, user=SYSTEM, dry_run=False, manager=None):
        """Replace an object, or its status with ``subresource="status"``; returns the new object.

        :param obj: with ``metadata.resourceVersion`` it must be the stored one (409 otherwise).
        :param manager: see :meth:`create`.
        :raises ApiStatus: 404, 409, 422 and what admission says.
        """
        resource = self.resources[plural]
        meta = obj["metadata"]
        key = (meta.get("namespace") or "", meta["name"])
        entry = self._entries[plural].get(key)
        if entry is None:
            raise status.not_found(resource, meta["name"])
        old = entry.obj
        self._check_version(resource, old, meta)
        new = self._prepared(resource, copied(obj), user, old, subresource)
        new = _merged(resource, old, new, subresource)
        if old["metadata"].get("deletionTimestamp"):
            _refuse_new_finalizers(resource, old, new)
        if subresource is None:
            self._admit(resource, "UPDATE", new, old, user, dry_run)
        self._account(resource, old, new, manager, subresource)
        return new if dry_run else self._changed(resource, key, old, new)

    def modify(self, plural, namespace, name, change):
        """``change(copy)`` and store what it did; no event when it did nothing. For controllers: no admission.

        :returns: the new object; None when there is no such object.
        """
        key = (namespace or "", name)
        entry = self._entries[plural].get(key)
        if entry is None:
            return None
        new = copied(entry.obj)
        change(new)
        resource = self.resources[plural]
        schemas.prune(resource, new, resource.version)
        return self._changed(resource, key, entry.obj, new)

    def delete(self, plural, namespace, name, grace=0, user=SYSTEM, dry_run=False, uid=None, resource_version=None):
        """Remove an object, or mark it when finalizers (or ``grace`` seconds) hold it back.

        :returns: the object as it was last; None for a system user when there is none.
        :raises ApiStatus: 404 for other users, 409 when ``uid`` or ``resource_version`` differ.
        """
        resource = self.resources[plural]
        key = (namespace or "", name)
        entry = self._entries[plural].get(key)
        if entry is None:
            if is_system(user):
                return None
            raise status.not_found(resource, name)
        old = entry.obj
        self.check_preconditions(resource, old, uid, resource_version)
        self._admit(resource, "DELETE", old, old, user, dry_run)
        finalizers = old["metadata"].get("finalizers")
        ending = bool(old["metadata"].get("deletionTimestamp"))
        if dry_run or (ending and (finalizers or grace > 0 or plural == "namespaces")):
            return old
        if plural == "namespaces":
            return self._end_namespace(resource, key, old)
        if not finalizers and grace <= 0:
            return self._commit(resource, key, DELETED, old, old)
        new = copied(old)
        new["metadata"]["deletionTimestamp"] = to_timestamp(self.clock.now() + grace)
        new["metadata"]["deletionGracePeriodSeconds"] = int(grace)
        if resource.counts_generations:
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        if grace > 0:
            self.clock.after(grace, lambda: self._grace_over(plural, key, old["metadata"]["uid"]))
        return self._commit(resource, key, MODIFIED, new, old)

    def _end_namespace(self, resource, key, old):
        new = copied(old)
        new["metadata"]["deletionTimestamp"] = self.timestamp()
        new.setdefault("status", {})["phase"] = "Terminating"
        return self._commit(resource, key, MODIFIED, new, old)

    def forget_namespace(self, name):
        """Remove a namespace that is being deleted, now that it is empty."""
        old = self.get("namespaces", "", name)
        if old is not None:
            self._commit(self.resources["namespaces"], ("", name), DELETED, old, old)

    def record_event(self, obj, kind, reason, message, component="virt-controller"):
        """A core Event about ``obj`` of kind Normal or Warning; the same again only counts up."""
        meta, now = obj["metadata"], self.timestamp()
        namespace = meta.get("namespace") or "default"
        mark = "%016x" % (hash_of("%s %s %s %s" % (meta.get("uid"), kind, reason, message)))
        name = "%s.%s" % (meta["name"], mark)

        def again(event):
            event["count"] += 1
            event["lastTimestamp"] = now

        known = self.modify("events", namespace, name, again)
        return known or self.create("events", {
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {key: value for key, value in (
                ("kind", obj.get("kind")), ("namespace", meta.get("namespace")), ("name", meta["name"]),
                ("uid", meta.get("uid")), ("apiVersion", obj.get("apiVersion")),
                ("resourceVersion", meta.get("resourceVersion")),
            ) if value},
            "type": kind, "reason": reason, "message": message, "count": 1,
            "firstTimestamp": now, "lastTimestamp": now,
            "source": {"component": component}, "reportingComponent": component, "reportingInstance": "",
        })

    # -- events and admission ----------------------------------------------

    def on_event(self, plural, callback):
        """Call ``callback(kind, obj, old)`` after every commit; kind is ADDED, MODIFIED or DELETED.

        What a callback writes is announced when the callbacks of the present event are done.
        """
        self._callbacks[plural].append(callback)

    def admit(self, plural, hook):
        """Ask ``hook(operation, obj, old, user, dry_run)`` before each create, update and delete.

        It may change ``obj`` (create and update) and refuses by raising :class:`ApiStatus`.
        """
        self._admission[plural].append(hook)

    def watch(self, plural, deliver):
        """Call ``deliver(Event)`` at once on every commit; returns a function that ends it."""
        self._watchers[plural].append(deliver)
        return lambda: self._watchers[plural].remove(deliver)

    def since(self, plural, version):
        """The events after a version (list of :class:`Event`).

        :raises ApiStatus: 410 when that version was compacted.
        """
        oldest = max(self.compacted, self._dropped.get(plural, 0))
        if version < oldest:
            raise status.expired("too old resource version: %d (%d)" % (version, oldest))
        return [event for event in self._history[plural] if event.version > version]

    def compact(self):
        """Forget the past: watches from any earlier version get 410."""
        self.compacted = self.version
        for history in self._history.values():
            history.clear()

    # -- inside ------------------------------------------------------------

    def timestamp(self):
        """Now as Kubernetes writes it."""
        return to_timestamp(self.clock.now())

    def check_preconditions(self, resource, old, uid, version):
        """409 unless ``uid`` and ``version`` (each may be None) are those of an object that is to be deleted."""
        meta = old["metadata"]
        if uid and uid != meta["uid"]:
            raise status.conflict_of_kind(resource, meta["name"], (
                "the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted "
                "and then recreated" % (uid, meta["uid"])))
        if version and str(version) != meta["resourceVersion"]:
            raise status.conflict_of_kind(resource, meta["name"], (
                "the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object "
                "might have been modified" % (version, meta["resourceVersion"])))

    @staticmethod
    def _check_version(resource, old, meta):
        """409 unless what replaces ``old`` was made from it."""
        known = old["metadata"]
        if meta.get("uid") and meta["uid"] != known["uid"]:
            raise status.conflict(resource, known["name"], (
                "StorageError: invalid object, Code: 4, Key: /registry/%s/%s%s, ResourceVersion: 0, AdditionalErrorMsg: "
                "Precondition failed: UID in precondition: %s, UID in object meta: %s" % (
                    resource.key if resource.custom else resource.plural, known["namespace"] + "/" if known.get("namespace") else "",
                    known["name"], meta["uid"], known["uid"])))
        if meta.get("resourceVersion") and str(meta["resourceVersion"]) != known["resourceVersion"]:
            raise status.conflict(resource, known["name"])

    def _prepared(self, resource, obj, user, old=None, subresource=None):
        """Checked and completed by the schema of the version it came in, in the version that is stored.

        :param old: the stored object that it replaces; None: it is new.
        """
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
        meta = obj.setdefault("metadata", {})
        meta.pop("managedFields", None)
        for field in ("labels", "annotations", "finalizers", "ownerReferences"):
            if field in meta and not meta[field]:
                del meta[field]
        if not meta.get("name") and not meta.get("generateName"):
            raise status.invalid(resource, "", [("metadata.name", "FieldValueRequired",
                                                 "Required value: name or generateName is required")])
        system = is_system(user)
        if resource.custom and resource.has_status and not system and subresource is None:
            obj.pop("status", None)
        version = obj["apiVersion"].split("/")[-1]
        schemas.prune(resource, obj, version)
        if not system:
            schemas.drop_nulls(resource.schemas.get(version) or {}, obj)
        schemas.default(resource, obj, version)
        if not system:
            before = resource.converted(old, version) if old else None
            schemas.validate(resource, obj, version, before, subresource)
        stored = resource.converted(obj, resource.version)
        if stored is not obj:
            schemas.prune(resource, stored, resource.version)
            schemas.default(resource, stored, resource.version)
        return stored

    def _generated(self, plural, meta):
        while True:
            suffix = "".join(self._random.choice(SUFFIX) for place in range(5))
            name = meta["generateName"][:58] + suffix
            if (meta.get("namespace") or "", name) not in self._entries[plural]:
                return name

    def _account(self, resource, old, new, manager, subresource=None):
        """Keep managedFields, and note what this manager writes."""
        kept = old["metadata"].get("managedFields") if old else None
        if isinstance(manager, list):  # the account itself, by server-side apply
            kept = manager
        elif manager:
            kept = ownership.after(old, new, manager, self.timestamp(), resource.api_version, subresource)
        if kept:
            new["metadata"]["managedFields"] = kept

    def _admit(self, resource, operation, obj, old, user, dry_run):
        for hook in self._admission[resource.key]:
            hook(operation, obj, old, user, dry_run)

    def _changed(self, resource, key, old, new):
        """Commit unless nothing changed; an object in deletion without finalizers goes."""
        meta = new["metadata"]
        for field in _FIXED:
            meta.pop(field, None)
            if field in old["metadata"]:
                meta[field] = old["metadata"][field]
        if new == old:
            return old
        if resource.counts_generations and _spec_of(resource, new) != _spec_of(resource, old):
            meta["generation"] = old["metadata"].get("generation", 0) + 1
        if meta.get("deletionTimestamp") and not meta.get("finalizers") and not meta.get("deletionGracePeriodSeconds"):
            return self._commit(resource, key, DELETED, new, old)
        return self._commit(resource, key, MODIFIED, new, old)

    def _grace_over(self, plural, key, uid):
        entry = self._entries[plural].get(key)
        if entry is None or entry.obj["metadata"]["uid"] != uid:
            return
        if not entry.obj["metadata"].get("finalizers"):
            self._commit(self.resources[plural], key, DELETED, entry.obj, entry.obj)
            return
        new = copied(entry.obj)
        new["metadata"]["deletionGracePeriodSeconds"] = 0
        self._commit(self.resources[plural], key, MODIFIED, new, entry.obj)

    def _commit(self, resource, key, kind, obj, old):
        self.version += 1
        obj = dict({"apiVersion": resource.api_version, "kind": resource.kind}, **obj)
        if kind == MODIFIED:  # what did not change is held once
            obj.update({part: old[part] for part in ("spec", "status") if part in obj and old.get(part) == obj[part]})
        obj["metadata"] = dict(obj["metadata"], resourceVersion=str(self.version))
        entry = Entry(obj, resource)
        plural = resource.key
        if kind == DELETED:
            self._entries[plural].pop(key, None)
        else:
            self._entries[plural][key] = entry
        if kind != MODIFIED:
            self._order.pop(plural, None)
        self._reindex(plural, key, kind, obj, old)
        event = Event(self.version, kind, entry, old)
        self._remember(plural, event)
        for deliver in list(self._watchers[plural]):
            deliver(event)
        self.lifecycle.follow(resource, key, kind, obj, old)
        self._queue.append((plural, kind, obj, old))
        self._drain()
        self.lifecycle.settle(resource, key, kind, obj)
        return obj

    def _reindex(self, plural, key, kind, obj, old):
        for values, table in self._indexes.get(plural, {}).values():
            for value in values(old) if old is not None else ():
                table[value].pop(key, None)
            for value in values(obj) if kind != DELETED else ():
                table[value][key] = None

    def _remember(self, plural, event):
        history = self._history[plural]
        history.append(event)
        if len(history) > HISTORY:
            self._dropped[plural] = history.popleft().version

    def _drain(self):
        if self._draining:
            return
        self._draining, failure = True, None
        try:
            while self._queue:
                plural, kind, obj, old = self._queue.popleft()
                for callback in list(self._callbacks[plural]):
                    try:
                        callback(kind, obj, old)
                    except Exception as exc:  # pylint: disable=broad-except
                        failure = failure or exc
                        if self.on_error:
                            self.on_error(exc)
        finally:
            self._draining = False
        if failure and not self.on_error:
            raise failure


_FIXED = ("name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion", "deletionTimestamp",
          "deletionGracePeriodSeconds", "generateName", "selfLink")


def is_system(user):
    """Whether it is a part of the cluster itself that writes."""
    return user.startswith("system:")


def hash_of(text):
    """A number of 64 bits that is the same in every run (Python's own hash is not)."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def _merged(resource, old, new, subresource):
    """What an update may change: everything but the status, or the status alone."""
    if not resource.has_status:
        return new
    if subresource == "status":
        kept = dict({key: value for key, value in old.items() if key != "status"}, metadata=dict(old["metadata"]))
        if not resource.custom:  # metadata of a core kind may come with its status
            kept["metadata"] = new["metadata"]
        return dict(kept, status=new["status"]) if "status" in new else kept
    new.pop("status", None)
    return dict(new, status=old["status"]) if "status" in old else new


def _spec_of(resource, obj):
    without = ("apiVersion", "kind", "metadata") + (("status",) if resource.has_status else ())
    return {key: value for key, value in obj.items() if key not in without}


def _refuse_new_finalizers(resource, old, new):
    added = set(new["metadata"].get("finalizers") or []) - set(old["metadata"].get("finalizers") or [])
    if added:
        text = "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{%s}" % (
            ", ".join(json.dumps(name) for name in sorted(added)))
        causes = [("metadata.finalizers", "FieldValueForbidden", text)]
        raise status.invalid(resource, old["metadata"]["name"], causes if resource.custom else causes * 2)
