# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Lease that keeps two runs off one node: whose it is, and whether that run is alive.

A run renews it while it works; one that was killed no longer does, and its lease expires. During the operator's
own maintenance nobody renews it, so then its expiry says nothing.
"""

from __future__ import annotations

import datetime
import hashlib
from collections import namedtuple

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import dig, text

API_VERSION = "coordination.k8s.io/v1"
PLURAL = "leases"
MANAGED_BY = {"app.kubernetes.io/managed-by": "bigvm.live_migration"}
PREFIX = "live-migration-"
DURATION = 600  # s without a renewal, then the run counts as dead
RENEW_AFTER = 240  # s; more often would only be load, and one may be missed before it expires
LONGEST_NAME = 253  # of an object
UNATTENDED = ("maintenance",)  # phases of the journal in which nobody renews

# ``renewed`` and ``expires`` in epoch seconds, None when the lease does not say when; ``alive``: not expired yet.
State = namedtuple("State", "holder run owner renewed expires alive")


def name_of(node):
    """The lease's name for a node; a node name that would make it too long is shortened to something as unique."""
    name = PREFIX + node
    if len(name) <= LONGEST_NAME:
        return name
    return "%s-%s" % (name[:LONGEST_NAME - 11], hashlib.sha256(node.encode()).hexdigest()[:10])


def body(namespace, node, run, owner, now):
    """The Lease (dict) of a run, renewed ``now`` (epoch seconds)."""
    return {
        "apiVersion": API_VERSION, "kind": "Lease",
        "metadata": {"name": name_of(node), "namespace": namespace, "labels": dict(MANAGED_BY),
                     "annotations": {"live-migration.bigvm.io/node": node}},
        "spec": dict(spec(run, owner, now), acquireTime=micro(now)),
    }


def spec(run, owner, now):
    """What a renewal writes."""
    return {"holderIdentity": "%s %s" % (run, owner), "leaseDurationSeconds": DURATION, "renewTime": micro(now)}


def state(lease, now):
    """The :class:`State` of a Lease (dict); None without one, or when nobody holds it.

    A renewal that lies in the future was written by a clock that is ahead of ours: it expires a full duration from now.
    One that does not say when counts as renewed just now, which never takes a node from somebody alive.
    """
    holder = text(lease, "spec", "holderIdentity").strip()
    if not holder:
        return None
    run, _space, owner = holder.partition(" ")
    lasts = dig(lease, "spec", "leaseDurationSeconds")
    lasts = lasts if isinstance(lasts, int) and lasts > 0 else DURATION
    renewed = epoch(text(lease, "spec", "renewTime") or text(lease, "spec", "acquireTime"))
    expires = min(renewed if renewed is not None else now, now) + lasts
    return State(holder, run, owner.strip(), renewed, expires, expires > now)


def row(found):
    """A :class:`State` as people and playbooks get it: ``{holder, run, owner, renewed, expires, alive}``; None without one."""
    return found and dict(found._asdict(), renewed=_stamp(found.renewed), expires=_stamp(found.expires))


def refusal(found, node, run, phase=None, take_over=None):
    """Why run ``run`` may not take the node now, as ``(message, remedy)``; None when it may.

    :param found: the :class:`State`, or None when the node is free.
    :param phase: that of the node's journal.
    :param take_over: the run that the operator knows to be dead.
    """
    if found is None or found.run == run or found.run == take_over:
        return None
    if found.alive:
        return (
            "Node %s is held by run %s of %s, renewed at %s: that run is alive."
            % (node, found.run, found.owner or "?", _stamp(found.renewed)),
            "Nothing was changed. Wait for it to end. If you know that it is dead, say take_over: %s." % found.run)
    if phase in UNATTENDED:
        return (
            "Run %s of %s is in the maintenance of node %s itself, during which nobody renews its lease: whether it is "
            "alive cannot be told." % (found.run, found.owner or "?", node),
            "Nothing was changed. If you know that it is dead, say take_over: %s." % found.run)
    return None


def same(one, other):
    """Whether a lease was left alone between two looks at its :class:`State`."""
    return one is not None and other is not None and (one.holder, one.renewed) == (other.holder, other.renewed)


def micro(moment):
    """Epoch seconds as Kubernetes writes a MicroTime."""
    return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def epoch(stamp):
    """Seconds since the epoch of a Time or MicroTime in UTC, as Kubernetes writes them; None when it is none."""
    for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ"):
        try:
            return datetime.datetime.strptime(stamp, form).replace(tzinfo=datetime.timezone.utc).timestamp()
        except (TypeError, ValueError, OverflowError):
            pass
    return None


def _stamp(moment):
    if moment is None:
        return None
    return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
