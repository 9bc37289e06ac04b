# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What other people and programs do during a rehearsal: a script that runs inside simulated time.

Entries come with a topology (``script:``) or over ``POST /bigvm/v1/script`` (one or a list)::

    - name: the launcher of the second guest is evicted
      when:                            # without it: at once
        resource: virtualmachineinstancemigrations.kubevirt.io
        namespace: sap-prod            # a pattern; all by default
        name: "*"                      # a pattern
        where: {spec.vmiName: hana-prod}
        path: status.phase             # conditions[type=Ready].status and metadata.labels[a.b/c] are paths, too
        equals: Running                # or not_equals, matches (a regular expression), exists: true|false;
                                       # or deleted: true instead of a path
      after: 20                        # seconds between the match and the deed
      every: 180                       # then again and again
      times: 5                         # deeds at most; 1 without every, no limit with it
      do:
        - evict: {namespace: sap-prod, vmi: app-*, by: sigs.k8s.io/descheduler}

    - {name: an outage, when: {time: 600}, do: [{fault: {status: 503, seconds: 600, drop_watches: true}}]}

Deeds: ``create: <object>``; ``patch: {resource, namespace, name, merge, manager}``; ``delete: {resource, namespace,
name}``; ``evict: {namespace, vmi or pod, by}``; ``fault``: as ``POST /bigvm/v1/faults``; ``reboot: {node, seconds,
without, hard}`` (see :mod:`.controllers.reboot`). Names are patterns; without a name ``patch`` and ``delete`` mean the
object that matched. They are the cluster's own deeds: nobody's rights and no webhook are asked.

A condition holds for an object from the moment it becomes true; it must have been false in between to count again.
What fired is told by ``GET /bigvm/v1/script`` and stands in the audit log as method ``SCRIPT``. ``DELETE`` forgets all.
"""

from __future__ import annotations

import fnmatch
import re
import time

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import ownership, patching, status

PATH = "^/bigvm/v1/script$"
KEYS = ("name", "when", "after", "every", "times", "do")
WHEN = ("resource", "namespace", "name", "where", "path", "equals", "not_equals", "matches", "exists", "deleted",
        "time")
DEEDS = {
    "create": None, "fault": None, "patch": ("resource", "namespace", "name", "merge", "manager"),
    "delete": ("resource", "namespace", "name"), "evict": ("namespace", "vmi", "pod", "by"),
    "reboot": ("node", "seconds", "without", "hard"),
}
NEEDED = {"patch": ("merge",), "reboot": ("node",)}
PART = re.compile(r"[^.\[\]]+|\[[^\]]*\]")


class Script:
    """The entries of one cluster.

    :param world: :class:`~.controllers.world.World`.
    :param app: :class:`~.server.App`, for faults and the audit log; None without HTTP.
    """

    def __init__(self, world, app=None):
        self.world = world
        self.store = world.store
        self.app = app
        self._entries = []
        self._followed = set()

    def add(self, entries):
        """Take entries (dict or list of dict); returns their names.

        :raises BadInput: naming the entry and what is wrong with it; nothing is taken then.
        """
        entries = entries if isinstance(entries, list) else [entries]
        taken = [_Entry(entry, len(self._entries) + index + 1) for index, entry in enumerate(entries)]
        self._entries += taken
        for entry in taken:
            self._arm(entry)
        return [entry.name for entry in taken]

    def told(self):
        """Every entry with what it did (list of dict)."""
        return [entry.told() for entry in self._entries]

    def forget(self):
        """No entry does anything any more."""
        for entry in self._entries:
            entry.state = "done"
        self._entries = []

    # -- conditions --------------------------------------------------------------

    def _arm(self, entry):
        resource = entry.when.get("resource")
        if not resource:
            self.world.after(float(entry.when.get("time") or 0) + entry.after, lambda: self._fire(entry, None))
            return
        if resource not in self._followed:  # also of a kind that is not served yet
            self._followed.add(resource)
            self.store.on_event(resource, lambda kind, obj, old: self._seen(resource, kind, obj))
        for obj in self.store.list(resource) if resource in self.store.resources else ():
            self._look(entry, "ADDED", obj)

    def _seen(self, resource, kind, obj):
        for entry in list(self._entries):
            if entry.when.get("resource") == resource:
                self._look(entry, kind, obj)

    def _look(self, entry, kind, obj):
        if entry.state == "armed" and entry.becomes_true(kind, obj):
            if entry.last_match():
                entry.state = "fired"
            self.world.after(entry.after, lambda: self._fire(entry, obj))

    # -- deeds -------------------------------------------------------------------

    def _fire(self, entry, obj):
        if entry.state == "done":
            return
        row = {"time": self.store.timestamp(), "epoch": self.world.now(), "object": _title(obj), "did": []}
        entry.fired.append(row)
        for deed in entry.deeds:
            name = next(iter(deed))
            try:
                row["did"].append({name: getattr(self, "_" + name)(deed[name], obj)})
            except (status.ApiStatus, BadInput, KeyError, ValueError) as exc:
                row["did"].append({name: None, "error": getattr(exc, "message", None) or str(exc) or repr(exc)})
        self._audit(entry, row)
        if entry.every and not entry.over():
            entry.state = "repeating"
            self.world.after(entry.every, lambda: self._fire(entry, obj))
        elif entry.over():
            entry.state = "done"

    def _audit(self, entry, row):
        if self.app is not None:
            failed = any("error" in deed for deed in row["did"])
            self.app.requests.append({
                "method": "SCRIPT", "path": "/bigvm/v1/script/" + entry.name, "query": "", "userAgent": "rehearsal",
                "real": time.time(), "simulated": row["time"], "epoch": row["epoch"], "status": 500 if failed else 200})

    def _create(self, obj, matched):
        from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.populate import crds_key

        key = crds_key(self.store, obj)
        meta = obj.get("metadata") or {}
        namespace = meta.get("namespace") or ("default" if self.store.resource(key).namespaced else "")
        made = self.store.create(key, dict(obj, metadata=dict(meta, namespace=namespace)))
        return _title(made)

    def _patch(self, asked, matched):
        key, found = self._meant(asked, matched)
        for obj in found:
            self._merged(key, obj, asked["merge"], asked.get("manager"))
        return [_title(obj) for obj in found]

    def _merged(self, key, obj, merge, manager):
        def changed(new):
            merged = patching.merge(new, merge)
            if manager:
                resource = self.store.resource(key)
                merged["metadata"]["managedFields"] = ownership.after(
                    obj, merged, manager, self.store.timestamp(), resource.api_version)
            new.clear()
            new.update(merged)

        self.store.modify(key, obj["metadata"].get("namespace"), obj["metadata"]["name"], changed)

    def _delete(self, asked, matched):
        key, found = self._meant(asked, matched)
        for obj in found:
            grace = 0
            if key == "pods" and (obj.get("spec") or {}).get("nodeName"):
                grace = int(obj["spec"].get("terminationGracePeriodSeconds") or 30)
            self.store.delete(key, obj["metadata"].get("namespace"), obj["metadata"]["name"], grace=grace)
        return [_title(obj) for obj in found]

    def _meant(self, asked, matched):
        """``(resource, objects)`` of a deed; ValueError when there is none."""
        if "name" not in asked and "resource" not in asked and matched is not None:
            asked = dict(_address(self.store, matched), **asked)
        key, name = asked["resource"], asked.get("name", "*")
        if key not in self.store.resources:
            raise ValueError("no kind %s is served" % key)
        found = [obj for obj in self.store.list(key) if fnmatch.fnmatchcase(obj["metadata"]["name"], name) and
                 fnmatch.fnmatchcase(obj["metadata"].get("namespace") or "", asked.get("namespace") or "*")]
        if not found:
            raise ValueError("no %s is called %s" % (key, name))
        return key, found

    def _evict(self, asked, matched):
        body = {"metadata": {"annotations": {"requested-by": asked["by"]}}} if asked.get("by") else {}
        answers = {}
        for pod in self._pods(asked):
            key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
            try:
                self.world.evacuation.evict(key, body)
                answers["/".join(key)] = "evicted"
            except status.ApiStatus as exc:
                answers["/".join(key)] = "%d %s" % (exc.code, exc.message)
        if not answers:
            raise ValueError("no such pod runs")
        return answers

    def _pods(self, asked):
        label, pattern = ("vm.kubevirt.io/name", asked["vmi"]) if asked.get("vmi") else (None, asked.get("pod") or "*")
        for pod in self.store.list("pods"):
            meta = pod["metadata"]
            name = (meta.get("labels") or {}).get(label) if label else meta["name"]
            running = (pod.get("status") or {}).get("phase") == "Running" and not meta.get("deletionTimestamp")
            if running and name and fnmatch.fnmatchcase(name, pattern) and fnmatch.fnmatchcase(
                    meta["namespace"], asked.get("namespace") or "*"):
                yield pod

    def _fault(self, asked, matched):
        if self.app is None:
            raise ValueError("there is no API to fail")
        answer = self.app.faults.add(dict(asked))
        return sorted(answer) if isinstance(answer, dict) else None  # never a token

    def _reboot(self, asked, matched):
        from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import reboot

        if self.store.get("nodes", "", asked["node"]) is None:
            raise ValueError("there is no node %s" % asked["node"])
        reboot.of(self.world).begin(asked["node"], asked.get("seconds"), asked.get("without") or (), asked.get("hard"))
        return asked["node"]

    # -- over HTTP ---------------------------------------------------------------

    def post(self, request):
        """POST: takes entries."""
        try:
            return 201, {"names": self.add(request.json([]))}
        except BadInput as exc:
            raise status.bad_request(str(exc)) from exc

    def get(self, request):
        """GET: tells what fired."""
        return 200, {"items": self.told()}

    def clear(self, request):
        """DELETE: forgets everything."""
        self.forget()
        return 200, {"items": []}


class _Entry:
    """One entry: checked, and with its memory."""

    def __init__(self, given, number):
        if not isinstance(given, dict) or not isinstance(given.get("do"), (dict, list)):
            raise BadInput("Entry %d of the script has no list of deeds (do)." % number, "See the head of script.py.")
        self.name = str(given.get("name") or "entry-%d" % number)
        self._refuse(given, KEYS, "keys")
        self.when = given.get("when") or {}
        self._refuse(self.when, WHEN, "keys in when")
        self.deeds = given["do"] if isinstance(given["do"], list) else [given["do"]]
        for deed in self.deeds:
            self._check(deed)
        try:
            self.after, self.every = float(given.get("after") or 0), float(given.get("every") or 0)
            self.times = int(given["times"]) if given.get("times") else None if self.every else 1
        except (TypeError, ValueError) as exc:
            raise BadInput("%s: after, every and times are numbers (%s)." % (self.name, exc)) from exc
        if self.when.get("resource") and not (self.when.get("path") or self.when.get("deleted")):
            self.when = dict(self.when, path="metadata.name", exists=True)
        self.fired, self.state = [], "armed"
        self._true, self._matches = set(), 0

    def _refuse(self, given, known, what):
        unknown = sorted(set(given) - set(known)) if isinstance(given, dict) else ["?"]
        if unknown:
            raise BadInput("%s: unknown %s: %s." % (self.name, what, ", ".join(unknown)),
                           "Known are: %s." % ", ".join(known))

    def _check(self, deed):
        if not isinstance(deed, dict) or len(deed) != 1 or next(iter(deed)) not in DEEDS:
            raise BadInput("%s: %r is no deed." % (self.name, deed), "Known are: %s." % ", ".join(sorted(DEEDS)))
        (name, asked), = deed.items()
        self._refuse(asked, DEEDS[name] or tuple(asked), "keys in " + name)
        missing = [key for key in NEEDED.get(name, ()) if key not in asked]
        if missing or not isinstance(asked, dict):
            raise BadInput("%s: %s needs %s." % (self.name, name, ", ".join(missing)))

    def becomes_true(self, kind, obj):
        """Whether the condition holds for an object and did not before."""
        uid = obj["metadata"]["uid"]
        if not self._holds(kind, obj):
            self._true.discard(uid)
            return False
        new = uid not in self._true
        self._true.add(uid)
        return new

    def _holds(self, kind, obj):
        meta, when = obj["metadata"], self.when
        if not fnmatch.fnmatchcase(meta["name"], str(when.get("name") or "*")):
            return False
        if not fnmatch.fnmatchcase(meta.get("namespace") or "", str(when.get("namespace") or "*")):
            return False
        if any(not _same(at(obj, path), value) for path, value in (when.get("where") or {}).items()):
            return False
        if (kind == "DELETED") != bool(when.get("deleted")):
            return False
        if when.get("deleted"):
            return True
        found = at(obj, when["path"])
        if "equals" in when:
            return _same(found, when["equals"])
        if "not_equals" in when:
            return not _same(found, when["not_equals"])
        if "matches" in when:
            return found is not None and re.search(when["matches"], str(found)) is not None
        return (found is not None) == bool(when.get("exists", True))

    def last_match(self):
        """Count a match; whether no other is wanted."""
        self._matches += 1
        return bool(self.every) or self._matches >= self.times

    def over(self):
        """Whether it has done all it was to do."""
        return self.times is not None and len(self.fired) >= self.times

    def told(self):
        """``{name, state, fired}``."""
        return {"name": self.name, "state": self.state, "fired": list(self.fired)}


def at(obj, path):
    """What is at a path of an object; None when nothing is."""
    for part in PART.findall(path):
        if part[0] == "[":
            part = part[1:-1]
            key, equals, value = part.partition("=")
            if isinstance(obj, list) and equals:
                obj = next((row for row in obj if isinstance(row, dict) and str(row.get(key)) == value), None)
                continue
        if isinstance(obj, list) and part.isdigit():
            obj = obj[int(part)] if int(part) < len(obj) else None
        else:
            obj = obj.get(part) if isinstance(obj, dict) else None
    return obj


def _same(found, wanted):
    """Equal, also when one of them is the text of the other (YAML and quantities)."""
    return found == wanted or (found is not None and not isinstance(found, (dict, list, bool)) and str(found) == str(wanted))


def _title(obj):
    if obj is None:
        return None
    meta = obj["metadata"]
    return "/".join(part for part in (obj.get("kind"), meta.get("namespace"), meta["name"]) if part)


def _address(store, obj):
    from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.populate import crds_key

    return {"resource": crds_key(store, obj), "namespace": obj["metadata"].get("namespace"),
            "name": obj["metadata"]["name"]}
