# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Lease of a node in the cluster: acquired, renewed and released, each on a fresh read or not at all.

It lives in the namespace of the KubeVirt object, which every cluster that we work on has.
"""

from __future__ import annotations

import weakref

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import LeaseLost
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import lease
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import key_of, text

POLL = 20  # s between two looks at another run's lease
ATTEMPTS = 5
_NAMESPACES = weakref.WeakKeyDictionary()  # Api -> namespace of the KubeVirt object


def namespace_of(api):
    """The namespace of the KubeVirt object, asked once per connection.

    :raises BadInput: on a cluster without KubeVirt.
    """
    if api not in _NAMESPACES:
        try:
            found = api.list(path_of("kubevirt.io/v1", "kubevirts")).items
        except errors.NotFound:
            found = []
        if not found:
            raise errors.BadInput(
                "The cluster at %s has no KubeVirt object." % api.host,
                "Check that the connection points to the right cluster and that OpenShift Virtualization is installed there.")
        _NAMESPACES[api] = key_of(found[0])[0]
    return _NAMESPACES[api]


def path_to(api, node):
    """The URL path of a node's Lease."""
    return path_of(lease.API_VERSION, lease.PLURAL, namespace_of(api), lease.name_of(node))


def read(api, node, now):
    """``(Lease or None, its State or None)`` of a node; ``now`` in epoch seconds."""
    try:
        found = api.get(path_to(api, node))
    except errors.NotFound:
        return None, None
    return found, lease.state(found, now)


def read_all(api, now):
    """``{name of the lease: State}`` of all nodes, in one LIST."""
    items = api.list(
        path_of(lease.API_VERSION, lease.PLURAL, namespace_of(api)),
        labelSelector=",".join("%s=%s" % pair for pair in lease.MANAGED_BY.items())).items
    return {key_of(item)[1]: lease.state(item, now) for item in items}


def acquire(api, node, run, who, now, phase=None, take_over=None, seen=None):
    """Take or keep the node for a run; renewed when the last renewal is :data:`..domain.lease.RENEW_AFTER` s old.

    :param now: epoch seconds.
    :param phase: phase of the node's journal, which decides whether an expired lease means anything.
    :param take_over: id of another run that the operator knows to be dead.
    :param seen: the lease's resourceVersion when the run was planned, ``""`` for none: when another process took the
        node meanwhile, even one that goes on with the same run, this is refused.
    :returns: the :class:`..domain.lease.State` now held.
    :raises Refused: another run holds it.
    """
    def attempt(found, state):
        version = text(found, "metadata", "resourceVersion")
        # What was seen while planning was waited for: it is dead as long as it has not moved since.
        waited = state is not None and seen == version
        refused = lease.refusal(state._replace(alive=False) if waited else state, node, run, phase, take_over)
        if refused is None and seen is not None and seen != version:
            whose = "run %s of %s" % (state.run, state.owner) if state else "somebody"
            refused = ("Node %s was taken by %s while this run was being planned." % (node, whose),
                       "Nothing was changed. Run again when that run has ended.")
        if refused:
            raise errors.Refused(*refused)
        if found is None:
            return api.create(path_of(lease.API_VERSION, lease.PLURAL, namespace_of(api)),
                              lease.body(namespace_of(api), node, run, who, now))
        ours = state is not None and state.run == run
        if ours and seen is None and _is_fresh(state, now):
            return found
        spec = dict(lease.spec(run, who, now), **({} if ours else {"acquireTime": lease.micro(now)}))
        return api.patch(path_to(api, node), {"metadata": {"resourceVersion": version}, "spec": spec})

    return lease.state(_repeated(api, node, now, attempt), now)


def renew(api, node, run, now):
    """Say that the run is alive; without a request to write when it did so a short while ago.

    :returns: the :class:`..domain.lease.State`.
    :raises LeaseLost: another run has the node, or the lease was removed.
    """
    def attempt(found, state):
        if state is None or state.run != run:
            raise LeaseLost(
                "Run %s no longer holds node %s: %s." % (run, node, "run %s of %s has it" % (state.run, state.owner) if state
                                                         else "its lease was removed"),
                "Nothing more is started. Look who works on the node before you run again.")
        if _is_fresh(state, now):
            return found
        return api.patch(path_to(api, node), {
            "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]},
            "spec": {"renewTime": lease.micro(now)}})

    return lease.state(_repeated(api, node, now, attempt), now)


def release(api, node, now, run=None):
    """Give the node free for other runs.

    :param run: only the lease of this run; None for one of any run that is no longer alive.
    :returns: whether a lease was removed.
    """
    def attempt(found, state):
        if found is None or (state is not None and (state.run != run if run else state.alive)):
            return False
        api.delete(path_to(api, node), {"preconditions": {
            key: found["metadata"][key] for key in ("uid", "resourceVersion")}})
        return True

    return _repeated(api, node, now, attempt)


def _is_fresh(state, now):
    return state.renewed is not None and 0 <= now - state.renewed < lease.RENEW_AFTER


def _repeated(api, node, now, attempt):
    """``attempt(Lease or None, State or None)`` on a fresh read, again when somebody was quicker."""
    tried = 0
    while True:
        tried += 1
        try:
            return attempt(*read(api, node, now))
        except (errors.Conflict, errors.NotFound):
            if tried == ATTEMPTS:
                raise


def wait(task, node, phase=None, take_over=None):
    """Wait until it is clear that no other run is alive on the node; writes nothing.

    :param task: its ``clock`` and ``say``.
    :returns: ``(State or None, resourceVersion or "", seconds waited)``.
    :raises Refused: a run that is alive, or one in the maintenance itself, of which that cannot be told.
    """
    begun = task.clock.now()
    version, first = None, None
    while True:
        now = task.clock.now()
        found, state = read(task.api, node, now)
        version = text(found, "metadata", "resourceVersion")
        if state is None or state.run == take_over:
            return state, version, now - begun
        refused = lease.refusal(state._replace(alive=first is not None and not lease.same(first, state)), node, None, phase)
        if refused:
            raise errors.Refused(*refused)
        if first is None:
            first = state
            if state.alive:
                task.say("%s: run %s of %s may be alive; it counts as dead at %s unless it says something"
                         % (node, state.run, state.owner or "?", lease.row(state)["expires"]))
        if now >= first.expires:
            return state, version, now - begun
        task.clock.sleep(min(POLL, first.expires - now))
