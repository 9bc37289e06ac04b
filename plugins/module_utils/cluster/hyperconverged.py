# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The HyperConverged object of a cluster: found, changed, and followed until KubeVirt works with the change."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.writing import guarded_patch
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import journal, settings

PLURAL = "hyperconvergeds"
POLL = 3  # seconds between two looks at the propagation
_ABSENT = (
    "This cluster has no HyperConverged (%s), where OpenShift Virtualization keeps its live migration settings.",
    "Check that the connection points to the right cluster and that OpenShift Virtualization is installed there.",
)


def served_version(api):
    """The API version to work with, ``v1`` or ``v1beta1``, or None on a cluster without HyperConverged.

    Asked from the server each time: kubernetes.core keeps discovery on disk, and an upgrade changes the answer.
    """
    try:
        group = api.get("/apis/%s" % settings.API_GROUP)
    except errors.NotFound:
        return None
    return settings.preferred([row.get("version") for row in group.get("versions") or []])


def find(api):
    """The one HyperConverged of the cluster.

    :returns: ``(object, api_version)``.
    :raises BadInput: there is none, or more than one.
    :raises Refused: it is being deleted.
    """
    version = served_version(api)
    if version is None:
        raise errors.BadInput(_ABSENT[0] % ("its API is not served in a version known here"), _ABSENT[1])
    try:
        items = api.list(path_of("%s/%s" % (settings.API_GROUP, version), PLURAL)).items
    except errors.NotFound:
        items = []
    if not items:
        raise errors.BadInput(_ABSENT[0] % "the API is there, but no object of it", _ABSENT[1])
    if len(items) > 1:
        raise errors.BadInput(
            "This cluster has %d HyperConverged objects: %s. Only one can be the cluster's; which is not guessed here."
            % (len(items), ", ".join(sorted(name_of(item) for item in items))), "Delete the one that was not meant.")
    check_alive(items[0])
    return items[0], version


def absent(api):
    """Whether the cluster has no HyperConverged: KubeVirt was installed by itself."""
    version = served_version(api)
    return version is None or not api.list(path_of("%s/%s" % (settings.API_GROUP, version), PLURAL)).items


def check_alive(hyperconverged):
    """:raises Refused: when the object is on its way out."""
    gone = hyperconverged["metadata"].get("deletionTimestamp")
    if gone:
        raise errors.Refused(
            "HyperConverged %s is being deleted (since %s); settings written now would go with it."
            % (name_of(hyperconverged), gone), "Nothing was changed. Find out who removes OpenShift Virtualization.")


def name_of(hyperconverged):
    """``namespace/name`` of an object."""
    return "%s/%s" % (hyperconverged["metadata"].get("namespace"), hyperconverged["metadata"]["name"])


def path_to(hyperconverged, version):
    """The URL path of the object in that API version."""
    meta = hyperconverged["metadata"]
    return path_of("%s/%s" % (settings.API_GROUP, version), PLURAL, meta["namespace"], meta["name"])


def values_of(hyperconverged, version):
    """All nine settings of the object, ``{field: value or None}``."""
    return settings.read(settings.block_of(hyperconverged, version))


def held_by(hyperconverged):
    """The record of the hold on this object, or None.

    :raises Refused: when the annotation is there and is not ours to understand.
    """
    text = (hyperconverged["metadata"].get("annotations") or {}).get(journal.HELD_SETTINGS)
    try:
        return journal.load(text)
    except ValueError as exc:
        raise errors.Refused(
            "The annotation %s on HyperConverged %s cannot be read: %s. What the settings were before is not known."
            % (journal.HELD_SETTINGS, name_of(hyperconverged), exc),
            "Look at it, put the settings right by hand, then remove the annotation.") from exc


def defaults_of(api, hyperconverged, version, names):
    """What the server itself gives these fields when they are not set: ``{field: value or None}``.

    Asked by a dry run, since defaults differ by release and are in nobody's table but the cluster's.
    """
    here = values_of(hyperconverged, version)
    body = settings.nested(settings.written({name: None for name in names if here[name] is not None}), version)
    answer = api.patch(path_to(hyperconverged, version), body, dryRun="All")
    return {name: values_of(answer, version)[name] for name in names}


def change(api, hyperconverged, version, decide, gate=None):
    """Carry out what ``decide(values, record)`` (a :class:`..domain.journal.Plan`) says, on the object as it is.

    Settings and record go in one merge patch, so that there is never one without the other. Every write is
    tried as a dry run first: a field that the API drops is known before anything was written.

    :param hyperconverged: as it was read just now; after a conflict it is read again.
    :param gate: called with the object and the plan before settings are written; raises what speaks against it.
    :returns: ``(object before, object after, plan)``; nothing was written when both objects are the same.
    :raises Refused: by the plan, when the object is being deleted, or when the server keeps other values than asked.
    """
    path, plans = path_to(hyperconverged, version), []

    def body_for(current):
        check_alive(current)
        record = held_by(current)
        plan = decide(values_of(current, version), record)
        plans.append(plan)
        if plan.refusal:
            raise errors.Refused(*plan.refusal)
        if not plan.writes and plan.record == record:
            return None
        if plan.writes and gate:
            gate(current, plan)
        return _body(plan, record, version)

    def send(body):
        answer = api.patch(path, body, dryRun="All")
        _check_kept(answer, version, plans[-1].writes)
        return answer if api.dry_run else api.patch(path, body)

    before, after = guarded_patch(api, path, body_for, send, hyperconverged)
    return before, after, plans[-1]


def _body(plan, record, version):
    body = {"apiVersion": "%s/%s" % (settings.API_GROUP, version), "kind": "HyperConverged"}
    if plan.writes:
        body.update(settings.nested(settings.written(plan.writes), version))
    if plan.record != record:
        body["metadata"] = {"annotations": {journal.HELD_SETTINGS: journal.dump(plan.record)}}
    return body


def _check_kept(answer, version, writes):
    """A removed field may come back with the API's default; every other one must be as written."""
    found = values_of(answer, version)
    lost = settings.unequal({name: value for name, value in writes.items() if value is not None}, found)
    unknown = [name for name in lost if found[name] is None]
    if unknown:
        raise errors.BadInput(
            "This release of HyperConverged (%s of %s) has no %s: the API would silently drop it."
            % (version, settings.API_GROUP, " and no ".join(settings.FIELDS[name].key for name in unknown)),
            "Nothing was changed. Leave %s out here; it exists from KubeVirt %s on."
            % (", ".join(unknown), " / ".join("%d.%d" % settings.FIELDS[name].since for name in unknown)))
    if lost:
        raise errors.Refused(
            "The API server would not keep what is asked: %s."
            % ", ".join("%s=%s becomes %s" % (name, writes[name], found[name]) for name in lost),
            "Nothing was changed. An admission policy of this cluster sets these; ask its administrator.")


def kubevirt_of(api, hyperconverged):
    """The KubeVirt object that HyperConverged manages, or None."""
    try:
        items = api.list(path_of("kubevirt.io/v1", "kubevirts", hyperconverged["metadata"]["namespace"])).items
    except errors.NotFound:
        return None
    own = "kubevirt-" + hyperconverged["metadata"]["name"]
    return next((item for item in items if item["metadata"]["name"] == own), items[0] if len(items) == 1 else None)


def handlers(api, hyperconverged):
    """``(DaemonSet virt-handler or None, its pods)``."""
    namespace = hyperconverged["metadata"]["namespace"]
    try:
        daemon_set = api.get(path_of("apps/v1", "daemonsets", namespace, "virt-handler"))
    except errors.NotFound:
        daemon_set = None
    pods = api.list(path_of("v1", "pods", namespace), labelSelector="kubevirt.io=virt-handler").items
    return daemon_set, pods


def rolled(api, hyperconverged):
    """What a change of the network restarted: ``[{kind, name, nodes, updated, ready}]``."""
    from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import migration_network

    daemon_set, _pods = handlers(api, hyperconverged)
    return [migration_network.rolled_out(daemon_set)] if daemon_set else []


def _left(api, hyperconverged, version, network):
    """What is outstanding now; with ``network`` also on virt-handler."""
    current = api.get(path_to(hyperconverged, version))
    left = settings.outstanding(current, kubevirt_of(api, current), version)
    if left or not network:
        return left
    # Loaded only when needed: a task that changes nothing is the common one.
    from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import migration_network

    name = values_of(current, version)["network"] or ""
    return migration_network.handlers_outstanding(*handlers(api, current), name)


def follow(api, hyperconverged, version, timeout, looks=2, say=None, network=False):
    """Wait until the settings are in force: nothing outstanding in ``looks`` polls in a row (facts 10.10).

    The conditions of KubeVirt and HyperConverged flap for some seconds after any change (facts 10.11), and a
    change of ``network`` rolls every component; Degraded on the way is therefore no reason to give up.

    :param timeout: seconds.
    :param network: whether every virt-handler pod is looked at as well (facts 10.12).
    :returns: None when in force, else what is still outstanding after that time (a sentence).
    """
    end, quiet, told = api.clock.now() + timeout, 0, None
    while True:
        left = _left(api, hyperconverged, version, network)
        quiet = 0 if left else quiet + 1
        if quiet >= looks:
            return None
        if left and left != told and say:
            say("settings: " + left)
            told = left
        if api.clock.now() + POLL > end:
            return left or "it was in force only in the last of the looks taken"
        api.clock.sleep(POLL)
