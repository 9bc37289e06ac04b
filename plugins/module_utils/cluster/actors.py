# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Other actors of a cluster: found with a number of requests that does not depend on its size; health checks paused and
resumed.

Whoever pauses a health check and dies leaves hosts that nobody fences. So what is going to be paused is in the journal
of the node before it is paused, with the mark that only we write; a resume takes away that mark and nothing else.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import journals
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.inventory import NODE_LABEL
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.writing import guarded_patch
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import to_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import interlocks
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import key_of, mapping, rows, text, texts

# name in the scene, API group, version (where the cluster does not say which it prefers), plural
KINDS = (
    ("cluster_versions", "config.openshift.io", "v1", "clusterversions"),
    ("hyperconvergeds", "hco.kubevirt.io", "v1beta1", "hyperconvergeds"),
    ("kubevirts", "kubevirt.io", "v1", "kubevirts"),
    ("pools", "machineconfiguration.openshift.io", "v1", "machineconfigpools"),
    ("node_maintenances", "nodemaintenance.medik8s.io", "v1beta1", "nodemaintenances"),
    ("node_maintenances", "nodemaintenance.kubevirt.io", "v1beta1", "nodemaintenances"),
    ("node_health_checks", "remediation.medik8s.io", "v1alpha1", "nodehealthchecks"),
    ("machine_health_checks", "machine.openshift.io", "v1beta1", "machinehealthchecks"),
    ("machine_health_checks", "cluster.x-k8s.io", "v1beta1", "machinehealthchecks"),
    ("deschedulers", "operator.openshift.io", "v1", "kubedeschedulers"),
    ("vmims", "kubevirt.io", "v1", "virtualmachineinstancemigrations"),
)
# What a descheduler without an operator looks like; not to be allowed to see it is no reason to refuse.
WORKLOADS = (("apps", "v1", "deployments", "Deployment"), ("batch", "v1", "cronjobs", "CronJob"))
DESCHEDULER_LABEL = "app.kubernetes.io/name=descheduler"
PLURALS = {"NodeHealthCheck": "nodehealthchecks", "MachineHealthCheck": "machinehealthchecks"}
JOURNAL_KEY = "interlocks"  # in the journal's progress: {path: {kind, values: the marks of its runs, since}}


def look(api, node, run=None, vms=(), hold=(), accept=(), writes=("node",)):
    """Who is at work, as :func:`..domain.interlocks.judge` says; reads only.

    :raises BadInput: there is no such node.
    """
    scene = collect(api, node)
    if not any(key_of(obj)[1] == node for obj in scene["nodes"]):
        journals.get_node(api, node)  # says which names are similar
    return interlocks.judge(scene, node, run, vms, hold, accept, writes)


def collect(api, node):
    """The scene for :func:`..domain.interlocks.judge`."""
    fetch = _Fetch(api)
    scene = {"unreadable": fetch.unreadable, "machine": None, "descheduler_workloads": []}
    scene["nodes"] = fetch.list("", "v1", "nodes")
    for name, group, version, plural in KINDS:
        scene[name] = scene.get(name, []) + fetch.list(group, version, plural)
    query = {"labelSelector": "%s=%s" % (NODE_LABEL, node)} if len(node) <= 63 else {}
    scene["vmis"] = fetch.list("kubevirt.io", "v1", "virtualmachineinstances", **query)
    for group, version, plural, kind in WORKLOADS:
        found = fetch.list(group, version, plural, interlocks.INFO, labelSelector=DESCHEDULER_LABEL)
        scene["descheduler_workloads"] += [dict({"kind": kind}, **obj) for obj in found]
    if scene["machine_health_checks"]:
        scene["machine"] = fetch.machine(next((obj for obj in scene["nodes"] if key_of(obj)[1] == node), {}))
    return scene


class _Fetch:
    """LISTs of kinds that a cluster may not have; what may not be read is kept.

    A server says 403 before it says 404: without looking what it serves, a missing right could not be told from a
    missing kind.
    """

    def __init__(self, api):
        self._api = api
        self.unreadable = []
        try:
            found = api.get("/apis")
            self._served = {text(row, "name"): row for row in rows(found, "groups")}
        except errors.Forbidden:
            self._served = None

    def group_version(self, group, version):
        """``group/version`` to ask for, or None where the group is not served."""
        if not group:
            return version
        if self._served is None:
            return "%s/%s" % (group, version)
        if group not in self._served:
            return None
        served = [text(row, "version") for row in rows(self._served[group], "versions")]
        chosen = version if version in served else text(self._served[group], "preferredVersion", "version")
        return "%s/%s" % (group, chosen)

    def list(self, group, version, plural, severity=interlocks.BLOCKER, **query):
        group_version = self.group_version(group, version)
        if group_version is None:
            return []
        try:
            items = self._api.list(path_of(group_version, plural), **query).items
            return [dict({"apiVersion": group_version}, **obj) for obj in items]
        except errors.NotFound:
            pass
        except errors.Forbidden:
            if self._is_served(group_version, plural):
                self.unreadable.append({"verb": "list", "resource": ".".join(part for part in (plural, group) if part),
                                        "severity": severity})
        return []

    def machine(self, node):
        found = interlocks.machine_of(node)
        group_version = found and self.group_version(found[0], "v1beta1")
        if not group_version:
            return None
        try:
            return self._api.get(path_of(group_version, "machines", found[1], found[2]))
        except (errors.NotFound, errors.Forbidden):
            return None  # then every check of its namespace may mean it

    def _is_served(self, group_version, plural):
        if "/" not in group_version:
            return True
        try:
            return any(row.get("name") == plural for row in rows(self._api.get("/apis/" + group_version), "resources"))
        except (errors.Forbidden, errors.NotFound):
            return True


# -- pausing and resuming ----------------------------------------------------------


def pause(task, node, run, findings, changes):
    """Pause what the findings allow: journal first, then one health check after the other.

    :param changes: a :class:`..common.changeset.ChangeSet` that is told.
    :raises Refused: the node has no journal of this run, which is where a later run would look.
    """
    fetch = _Fetch(task.api)
    value = interlocks.token_of(run)
    wanted = {}
    for kind, group, namespace, name in interlocks.to_pause(findings):
        path = path_of(fetch.group_version(group, "v1beta1"), PLURALS[kind], namespace or None, name)
        wanted[path] = {"kind": kind, "values": [value], "since": to_timestamp(task.clock.now())}
    if not wanted:
        return

    def intend(obj):
        record = journals.journal_of(obj)
        if task.check_mode and record is None:
            return None
        if record is None or record["run"] != run:
            raise errors.Refused(
                "Node %s has no journal of run %s, where a later run would find what is paused." % (node, run),
                "Nothing was paused. Write it first: node_hold, state held.")
        progress = mapping(record, "progress")
        known = mapping(progress, JOURNAL_KEY)
        added = {path: dict(row, values=sorted(set(texts(known, path, "values") + row["values"]))) for path, row in wanted.items()}
        return journals.body_of(dict(record, progress=dict(progress, **{JOURNAL_KEY: dict(known, **added)})))

    journals.patch_node(task.api, node, intend)
    for path, row in sorted(wanted.items()):
        before, after = guarded_patch(task.api, path, lambda obj, kind=row["kind"]: _paused(obj, kind, value))
        changes.note(_name(path, row["kind"]), _pauses(before, row["kind"]), _pauses(after, row["kind"]))


def _paused(obj, kind, value):
    found = _pauses(obj, kind)
    if kind == "MachineHealthCheck":
        return None if found else {"metadata": {"annotations": {interlocks.PAUSED: value}}}
    return None if value in found else {"spec": {"pauseRequests": found + [value]}}


def resume(task, node, run, changes):
    """Take away what a run paused health checks with, and nothing else; then forget it in the journal.

    :param run: only that run's pauses; None for those in the journal, of whatever run.
    :returns: lines that say what became of each.
    :raises LiveMigrationError: one could not be resumed; all others were, and it stays in the journal.
    """
    try:
        record = journals.journal_of(journals.get_node(task.api, node)) or {}
    except errors.BadInput:  # the node was removed; what it had paused must be resumed all the same
        record = {}
    ours = run is None or record.get("run") == run
    noted = {path: row for path, row in mapping(record, "progress", JOURNAL_KEY).items()
             if ours and isinstance(row, dict) and row.get("kind") in PLURALS}
    values = {one for row in noted.values() for one in texts(row, "values")} | ({interlocks.token_of(run)} if run else set())
    found = dict(_marked(task.api, values), **noted)
    said, failures = [], []
    for path, row in sorted(found.items()):
        try:
            said += _resume(task.api, path, row["kind"], values, changes)
        except errors.LiveMigrationError as exc:
            failures.append((_name(path, row["kind"]), exc))
            noted.pop(path, None)
    if noted:
        _forget(task.api, node, run, noted)
    if failures:
        raise type(failures[0][1])(
            "%s may still be paused: %s" % (", ".join(name for name, _exc in failures), " ".join(str(exc) for _name_of, exc in failures)),
            "Restore again, or resume it by hand.")
    return said


def _marked(api, values):
    """Health checks that carry one of our marks, also when no journal tells of them: ``{path: row}``."""
    fetch, found = _Fetch(api), {}
    for _name_of, group, version, plural in KINDS:
        kind = next((kind for kind, known in PLURALS.items() if known == plural), None)
        if kind is None or not values:
            continue
        for obj in fetch.list(group, version, plural):
            if values.intersection(_pauses(obj, kind)):
                namespace, name = key_of(obj)
                found[path_of(fetch.group_version(group, version), plural, namespace or None, name)] = {"kind": kind}
    return found


def _resume(api, path, kind, values, changes):
    name = _name(path, kind)
    try:
        before, after = guarded_patch(api, path, lambda obj: _resumed(obj, kind, values))
    except errors.NotFound:
        return ["%s is gone; there is nothing to resume" % name]
    left = [one or "somebody" for one in _pauses(after, kind)]
    if changes.note(name, _pauses(before, kind), _pauses(after, kind)):
        return ["%s is resumed" % name if not left else "%s: our pause is removed; it stays paused by %s" % (name, ", ".join(left))]
    return ["%s was not paused by us any more%s" % (
        name, "; it is paused by %s, which is left alone" % ", ".join(left) if left else "")]


def _resumed(obj, kind, values):
    found = _pauses(obj, kind)
    if not values.intersection(found):
        return None
    if kind == "MachineHealthCheck":
        return {"metadata": {"annotations": {interlocks.PAUSED: None}}}
    return {"spec": {"pauseRequests": [one for one in found if one not in values] or None}}


def _forget(api, node, run, done):
    def decide(obj):
        record = journals.journal_of(obj)
        if record is None or (run is not None and record["run"] != run):
            return None
        progress = dict(mapping(record, "progress"))
        left = {path: row for path, row in mapping(progress, JOURNAL_KEY).items() if path not in done}
        progress.pop(JOURNAL_KEY, None)
        return journals.body_of(dict(record, progress=dict(progress, **({JOURNAL_KEY: left} if left else {}))))

    journals.patch_node(api, node, decide)


def _pauses(obj, kind):
    """By whom a health check is paused."""
    if kind == "NodeHealthCheck":
        return texts(obj, "spec", "pauseRequests")
    found = mapping(obj, "metadata", "annotations").get(interlocks.PAUSED)
    return [] if found is None else [str(found)]


def _name(path, kind):
    parts = path.split("/")
    return "%s %s" % (kind, "/".join(parts[parts.index("namespaces") + 1::2] if "namespaces" in parts else parts[-1:]))
