# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all controllers share: the store, the simulated clock, the release, and how they wait for work."""

from __future__ import annotations

import random

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import settings
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.objects import (
    HANDLER_LABELS,
    HCO_NAME,
    HCO_NAMESPACE,
    KNOB,
    KUBEVIRT_NAME,
    condition,
)

VM = "virtualmachines.kubevirt.io"
VMI = "virtualmachineinstances.kubevirt.io"
VMIM = "virtualmachineinstancemigrations.kubevirt.io"
KUBEVIRT = "kubevirts.kubevirt.io"
HCO = "hyperconvergeds.hco.kubevirt.io"
POLICY = "migrationpolicies.migrations.kubevirt.io"
DAEMON_SETS = "daemonsets.apps"

CREATED_BY = "kubevirt.io/created-by"
JOB_UID = "kubevirt.io/migrationJobUID"
JOB_NAME = "kubevirt.io/migrationJobName"
VMI_NAME = "kubevirt.io/vmi-name"
OUTDATED = "kubevirt.io/outdatedLauncherImage"
TARGET_LABEL = "kubevirt.io/migrationTargetNodeName"
NODE_LABEL = "kubevirt.io/nodeName"
EVACUATION = "kubevirt.io/evacuationMigration"
CONTROLLER = "system:serviceaccount:%s:kubevirt-controller" % HCO_NAMESPACE

FINAL = ("Succeeded", "Failed")


class World:
    """One simulated cluster.

    :ivar random: seeded; all latencies and names come from it, so that two runs are the same.
    :ivar guest_budgets: :class:`~.guest_budgets.GuestBudgets` in releases that have them.
    :ivar down: names of nodes whose kubelet and virt-handler do nothing at present.
    """

    def __init__(self, store, generation, seed=0):
        self.store = store
        self.clock = store.clock
        self.generation = generation
        self.random = random.Random(seed)
        self.down = set()  # nodes that are away, see reboot.py
        self.reboots = None
        self.guest_budgets = None
        self._index()

    def _index(self):
        def label(obj, key):
            found = (obj["metadata"].get("labels") or {}).get(key)
            return () if found is None else (found,)

        self.store.index("pods", "node", lambda pod: [pod["spec"].get("nodeName") or ""] if "spec" in pod else ())
        self.store.index("pods", "guest", lambda pod: label(pod, CREATED_BY))
        self.store.index("pods", "job", lambda pod: label(pod, JOB_UID))
        self.store.index(VMI, "uid", lambda vmi: [vmi["metadata"]["uid"]])
        self.store.index(VMI, "node", lambda vmi: [(vmi.get("status") or {}).get("nodeName") or ""])
        self.store.index(VMIM, "open", lambda vmim: [phase_of(vmim) not in FINAL])
        self.store.index(VMIM, "vmi", lambda vmim: [
            (vmim["metadata"].get("namespace"), (vmim.get("spec") or {}).get("vmiName"))])

    # -- time ----------------------------------------------------------------

    def now(self):
        """Simulated seconds since the epoch."""
        return self.clock.now()

    def stamp(self):
        """Now as Kubernetes writes it."""
        return self.store.timestamp()

    def between(self, low, high):
        """A random number of seconds."""
        return self.random.uniform(low, high)

    def later(self, low, high, action):
        """Call ``action()`` after between ``low`` and ``high`` seconds; returns the clock's handle."""
        return self.after(self.between(low, high), action)

    def after(self, seconds, action):
        """Call ``action()`` that many seconds from now; returns the clock's handle."""
        return self.at(self.now() + seconds, action)

    def at(self, epoch, action):
        """Call ``action()`` at that time; its failure is reported and stops nothing else."""
        return self.clock.at(epoch, lambda: self._guarded(action))

    def _guarded(self, action):
        try:
            action()
        except Exception as exc:  # pylint: disable=broad-except
            if self.store.on_error is None:
                raise
            self.store.on_error(exc)

    # -- what is configured --------------------------------------------------

    def kubevirt(self):
        """The KubeVirt CR, or None: the one HyperConverged made, else the only one."""
        return self.store.get(KUBEVIRT, HCO_NAMESPACE, KUBEVIRT_NAME) or next(iter(self.store.list(KUBEVIRT)), None)

    def launcher_release(self):
        """The release that new launchers are of; an update of the operator is played by an annotation."""
        return knob(self.kubevirt() or {"metadata": {}}, "launcher") or self.generation.kubevirt

    def hyperconverged(self):
        """The HyperConverged CR, or None."""
        return self.store.get(HCO, HCO_NAMESPACE, HCO_NAME) or next(iter(self.store.list(HCO)), None)

    def config(self):
        """``spec.configuration`` of KubeVirt."""
        return ((self.kubevirt() or {}).get("spec") or {}).get("configuration") or {}

    def settings(self):
        """The live migration settings in force, snake_case."""
        return settings.in_force(self.config().get("migrations"), self.generation.release)

    # -- objects -------------------------------------------------------------

    def vmi(self, namespace, name):
        """A VMI or None."""
        return self.store.get(VMI, namespace, name)

    def vmi_of_uid(self, uid):
        """A VMI or None."""
        return next(iter(self.store.by_index(VMI, "uid", uid)), None)

    def pods_of(self, vmi):
        """All pods of a guest."""
        return self.store.by_index("pods", "guest", vmi["metadata"]["uid"])

    def target_pod(self, vmim):
        """The target pod of a migration, or None."""
        return next(iter(self.store.by_index("pods", "job", vmim["metadata"]["uid"])), None)

    def handler_pod(self, node):
        """The virt-handler pod on a node, or None."""
        for pod in self.store.by_index("pods", "node", node):
            if (pod["metadata"].get("labels") or {}).get("kubevirt.io") == HANDLER_LABELS["kubevirt.io"]:
                return pod
        return None

    def change_vmi(self, vmi, change, migration=None):
        """``change(copy)`` on that very VMI; with ``migration`` (uid) only while it is its migration.

        :returns: the new VMI, None when it is gone, replaced or belongs to another migration.
        """
        meta = vmi["metadata"]
        now = self.vmi(meta["namespace"], meta["name"])
        if now is None or now["metadata"]["uid"] != meta["uid"]:
            return None
        if migration is not None and migration_state(now).get("migrationUid") != migration:
            return None
        return self.store.modify(VMI, meta["namespace"], meta["name"], change)

    def event(self, obj, reason, message, kind="Normal", component="virt-controller"):
        """A core Event."""
        self.store.record_event(obj, kind, reason, message, component)


class Loop:
    """A controller's work queue: one key at a time, a moment after something happened.

    :param reconcile: called with a key; what it raises is the controller's defect.
    :param lag: seconds between the wish and the work, drawn at random.
    """

    def __init__(self, world, reconcile, lag=(0.3, 1.2)):
        self.world = world
        self.reconcile = reconcile
        self.lag = lag
        self._waiting = {}

    def add(self, key, after=None):
        """Look at ``key`` soon, or after that many seconds; an earlier wish stays as it is."""
        seconds = self.world.between(*self.lag) if after is None else after
        due = self.world.now() + seconds
        known = self._waiting.get(key)
        if known is not None:
            if known[0] <= due:
                return
            self.world.clock.cancel(known[1])
        self._waiting[key] = (due, self.world.at(due, lambda: self._run(key)))

    def _run(self, key):
        self._waiting.pop(key, None)
        self.reconcile(key)


# -- reading objects -----------------------------------------------------------


def key_of(obj):
    """``(namespace, name)``."""
    return obj["metadata"].get("namespace") or "", obj["metadata"]["name"]


def phase_of(obj):
    """``status.phase`` or an empty string."""
    return (obj.get("status") or {}).get("phase") or ""


def migration_state(vmi):
    """``status.migrationState`` or ``{}``."""
    return (vmi.get("status") or {}).get("migrationState") or {}


def is_active(pod):
    """Whether a pod has not ended."""
    return phase_of(pod) not in FINAL


def is_deleted(obj):
    """Whether deletion was asked for."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def has_condition(obj, kind, state="True"):
    """Whether a condition is in that state."""
    rows = (obj.get("status") or {}).get("conditions") or []
    return any(row.get("type") == kind and row.get("status") == state for row in rows)


def set_condition(obj, kind, state, reason=None, message=None, now=None):
    """Put a condition into ``obj`` (in place); its time changes only with its state."""
    rows = obj.setdefault("status", {}).setdefault("conditions", [])
    old = next((row for row in rows if row.get("type") == kind), None)
    new = condition(kind, state, reason, message, now)
    if old is not None:
        if old.get("status") == new["status"]:
            new["lastTransitionTime"] = old.get("lastTransitionTime")
        old_extra = {key: old[key] for key in ("lastProbeTime",) if key in old}
        rows[rows.index(old)] = dict(old_extra, **new)
    else:
        rows.append(new)


def drop_condition(obj, kind):
    """Remove a condition (in place)."""
    rows = (obj.get("status") or {}).get("conditions")
    if rows:
        obj["status"]["conditions"] = [row for row in rows if row.get("type") != kind]


def set_label(obj, key, value):
    """Put a label on ``obj`` (in place)."""
    obj["metadata"].setdefault("labels", {})[key] = value


def knob(obj, name, default=None):
    """An annotation of the simulation."""
    return (obj["metadata"].get("annotations") or {}).get(KNOB + name, default)
