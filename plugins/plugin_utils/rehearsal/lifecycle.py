# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes along with an object: a namespace's content, and the objects that it owns (garbage collection)."""

from __future__ import annotations

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
FINALIZERS = {"Orphan": ORPHAN, "Foreground": FOREGROUND}


class Lifecycle:
    """Follows every commit of a store."""

    def __init__(self, store):
        self.store = store
        self._dependents = {}  # owner's uid -> {(plural, key): None}
        self._waiting = {}  # uid of an owner in foreground deletion -> (plural, key)
        self._ending = set()  # namespaces that are being deleted

    def follow(self, resource, key, kind, obj, old):
        """After each commit, before anybody is told: keep the tables."""
        for owner in _owners(old):
            self._dependents.get(owner.get("uid"), {}).pop((resource.key, key), None)
        if kind != "DELETED":
            for owner in _owners(obj):
                self._dependents.setdefault(owner.get("uid"), {})[(resource.key, key)] = None

    def settle(self, resource, key, kind, obj):
        """After each commit, when everybody was told: let things go that now must."""
        meta = obj["metadata"]
        if kind == "DELETED":
            self._drop(meta["uid"])
            for owner in _owners(obj):
                self._let_go(owner.get("uid"))
            if resource.key == "namespaces":
                self._ending.discard(meta["name"])
        elif meta.get("deletionTimestamp"):
            held = meta.get("finalizers") or ()
            if ORPHAN in held:
                self._orphan(resource, key, meta)
            elif FOREGROUND in held:
                self._waiting[meta["uid"]] = (resource.key, key)
                self._drop(meta["uid"])
                self._let_go(meta["uid"])
            if resource.key == "namespaces":
                self._empty(meta["name"])
        if self._ending and kind == "DELETED" and meta.get("namespace") in self._ending:
            self._finish(meta["namespace"])

    # -- owners ------------------------------------------------------------

    def _of(self, uid):
        """``(plural, namespace, name, metadata)`` of the objects that an owner has."""
        found = []
        for plural, key in list(self._dependents.get(uid, ())):
            obj = self.store.get(plural, *key) if plural in self.store.resources else None
            if obj is not None:
                found.append((plural, key[0], key[1], obj["metadata"]))
        return found

    def _drop(self, uid):
        for plural, namespace, name, meta in self._of(uid):
            others = [owner for owner in _owners({"metadata": meta}) if owner.get("uid") != uid]
            if others:
                self._disown(plural, namespace, name, uid)
            elif not meta.get("deletionTimestamp"):
                self.store.delete(plural, namespace, name)

    def _disown(self, plural, namespace, name, uid):
        def without(obj):
            left = [owner for owner in _owners(obj) if owner.get("uid") != uid]
            obj["metadata"].pop("ownerReferences", None)
            if left:
                obj["metadata"]["ownerReferences"] = left

        self.store.modify(plural, namespace, name, without)

    def _orphan(self, resource, key, meta):
        for plural, namespace, name, _meta in self._of(meta["uid"]):
            self._disown(plural, namespace, name, meta["uid"])
        self.store.modify(resource.key, key[0], key[1], lambda obj: _without_finalizer(obj, ORPHAN))

    def _let_go(self, uid):
        """A deleted owner that waits for its objects (foreground) goes with the last that blocks it."""
        if uid not in self._waiting:
            return
        if any(one.get("uid") == uid and one.get("blockOwnerDeletion")
               for _plural, _namespace, _name, meta in self._of(uid) for one in _owners({"metadata": meta})):
            return
        plural, key = self._waiting.pop(uid)
        self.store.modify(plural, key[0], key[1], lambda new: _without_finalizer(new, FOREGROUND))

    # -- namespaces --------------------------------------------------------

    def ending(self, namespace):
        """Whether a namespace is being deleted."""
        return namespace in self._ending

    def _empty(self, name):
        if name in self._ending:
            return
        self._ending.add(name)
        for resource in list(self.store.resources.values()):
            for obj in self.store.list(resource.key, name) if resource.namespaced else ():
                self.store.delete(resource.key, name, obj["metadata"]["name"])
        self._finish(name)

    def _finish(self, name):
        if not any(resource.namespaced and self.store.list(resource.key, name) for resource in self.store.resources.values()):
            self.store.forget_namespace(name)


def _owners(obj):
    found = ((obj or {}).get("metadata") or {}).get("ownerReferences")
    return [owner for owner in found if isinstance(owner, dict)] if isinstance(found, list) else []


def _without_finalizer(obj, name):
    left = [one for one in obj["metadata"].get("finalizers") or () if one != name]
    obj["metadata"].pop("finalizers", None)
    if left:
        obj["metadata"]["finalizers"] = left
