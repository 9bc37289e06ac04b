# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading a live migration: its VMI and VMIM, where the VM should be, how it stands.

All functions take plain Kubernetes objects (dict). VMI stands for
VirtualMachineInstance, VMIM for VirtualMachineInstanceMigration.
"""

from __future__ import annotations

from collections import namedtuple

MANAGED_BY = "app.kubernetes.io/managed-by"
US = "bigvm.live_migration"
RUN_LABEL = "live-migration.bigvm.io/run"
HOSTNAME = "kubernetes.io/hostname"

FINAL = ("Succeeded", "Failed")
QUEUED = ("", "Pending", "WaitingForSync", "Synchronizing")
# A VMIM in one of these counts against KubeVirt's limits (facts 2.3).
HOLDS_SLOT = ("Scheduling", "Scheduled", "PreparingTarget", "TargetReady", "Running")

# Where a VM should be: on that node, on a node with those labels, or anywhere but on those nodes.
Place = namedtuple("Place", "node selector away_from")


# -- objects -------------------------------------------------------------------


def key(obj):
    """``(namespace, name)``."""
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def vmi_key(vmim):
    """``(namespace, name)`` of the VMI that a VMIM moves."""
    return vmim["metadata"].get("namespace", ""), (vmim.get("spec") or {}).get("vmiName", "")


def uid(obj):
    """The object's uid."""
    return (obj.get("metadata") or {}).get("uid")


def phase(vmim):
    """The VMIM's phase; ``""`` before its first reconcile."""
    return (vmim.get("status") or {}).get("phase") or ""


def node_of(vmi):
    """The node a VMI runs on, or None."""
    return (vmi.get("status") or {}).get("nodeName") or None


def is_ours(vmim):
    """Whether this collection created the VMIM."""
    return ((vmim.get("metadata") or {}).get("labels") or {}).get(MANAGED_BY) == US


def unfinished(vmims, where):
    """The VMIMs of one VMI that are neither Succeeded nor Failed, oldest first."""
    found = [vmim for vmim in vmims if vmi_key(vmim) == where and phase(vmim) not in FINAL]
    return sorted(found, key=lambda vmim: vmim["metadata"].get("creationTimestamp") or "")


def body(namespace, name, node_selector=None, run=None):
    """The VMIM to create. ``node_selector`` becomes ``addedNodeSelector`` (KubeVirt 1.6 and later, facts 1.1)."""
    labels = {MANAGED_BY: US}
    if run:
        labels[RUN_LABEL] = run
    spec = {"vmiName": name}
    if node_selector:
        spec["addedNodeSelector"] = dict(node_selector)
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstanceMigration",
        "metadata": {"generateName": "bigvm-%s-" % name[:40].rstrip("-."), "namespace": namespace, "labels": labels},
        "spec": spec,
    }


def migration_state(vmi, vmim_uid, vmim=None):
    """``status.migrationState`` of exactly this migration, else ``{}``.

    Until handoff the VMI still describes the previous migration (facts 1.10); the VMIM has a full copy
    only once it is final (facts 1.9).
    """
    for obj in (vmi, vmim):
        state = ((obj or {}).get("status") or {}).get("migrationState") or {}
        if vmim_uid and state.get("migrationUid") == vmim_uid:
            return state
    return {}


def transitions(vmim):
    """``{phase: timestamp}`` as the VMIM lists them (facts 1.5), with ``""`` for its creation."""
    found = {"": vmim["metadata"].get("creationTimestamp")}
    for row in (vmim.get("status") or {}).get("phaseTransitionTimestamps") or []:
        found.setdefault(row.get("phase"), row.get("phaseTransitionTimestamp"))
    return {name: stamp for name, stamp in found.items() if stamp}


def durations(moments):
    """Seconds spent in the queue, in preparation, in the copy and in all: ``{queue, prepare, copy, total}``.

    :param moments: ``{phase: epoch seconds}``. What was not reached is None.
    """
    end = next((moments[name] for name in FINAL if name in moments), None)
    left = moments.get("Scheduling")

    def between(first, last):
        return int(round(max(0, last - first))) if first is not None and last is not None else None

    running = moments.get("Running")
    return {
        "queue": between(moments.get(""), left if left is not None else end),
        "prepare": between(left, running if running is not None else end),
        "copy": between(running, end),
        "total": between(moments.get(""), end),
    }


# -- the desired place -----------------------------------------------------------


def is_there(place, node, labels):
    """Whether a VM on ``node`` (with those node labels) is where it should be."""
    if not node or node in place.away_from:
        return False
    if place.node:
        return node == place.node
    return all(labels.get(name) == value for name, value in place.selector.items())


def added_selector(place, nodes):
    """The node selector that asks for the place, or None when any other node will do.

    :param nodes: ``{name: node}``; a node's hostname label need not be its name.
    """
    if place.node:
        labels = nodes[place.node]["metadata"].get("labels") or {}
        return {HOSTNAME: labels.get(HOSTNAME, place.node)}
    return dict(place.selector) or None


def node_problem(node):
    """Why nothing can be scheduled on a node, as words after its name; None when it is fine."""
    if (node.get("spec") or {}).get("unschedulable"):
        return "is cordoned"
    ready = condition(node, "Ready")
    if ready.get("status") != "True":
        return "is not Ready%s" % (" (%s)" % ready["reason"] if ready.get("reason") else "")
    if (node["metadata"].get("labels") or {}).get("kubevirt.io/schedulable") != "true":
        return "is not schedulable for KubeVirt (label kubevirt.io/schedulable)"
    return None


def fits(vmim, state, place, nodes):
    """Whether an unfinished migration leads to the desired place.

    :param state: its migration state; names the target node from handoff on.
    :returns: None when it fits, else why not, as words after "it".
    """
    target = state.get("targetNode")
    if target:
        labels = ((nodes.get(target) or {}).get("metadata") or {}).get("labels") or {}
        return None if is_there(place, target, labels) else "goes to %s" % target
    asked = (vmim.get("spec") or {}).get("addedNodeSelector") or {}
    wanted = added_selector(place, nodes) or {}
    if any(asked.get(name) != value for name, value in wanted.items()):
        return "goes to %s" % (_words(asked) if asked else "any node")
    if asked.get(HOSTNAME) in place.away_from:
        return "goes to %s" % asked[HOSTNAME]
    return None


def handoff_problem(state, place, nodes):
    """Why a migration must not go on now that its target is known (handoff), as a clause; None when it may.

    What else is compared at that moment is in :mod:`.handoff`.
    """
    target = state.get("targetNode")
    labels = ((nodes.get(target) or {}).get("metadata") or {}).get("labels") or {}
    if target and not is_there(place, target, labels):
        return "the scheduler chose %s, where the VM should not be" % target
    return None


# -- slots -------------------------------------------------------------------------


def free_slots(vmims, vmis, limits, node, own_pending=(), sources=None):
    """How many more migrations may start now out of ``node``, by KubeVirt's two limits (facts 2.1-2.3).

    :param vmis: ``{(namespace, name): vmi}``, as far as known.
    :param limits: ``(per cluster, outbound per node)``.
    :param own_pending: uids of VMIMs of ours that wait for their slot already.
    :param sources: ``{uid of a VMIM: its source node}``, for those whose VMI is not in ``vmis``.
    """
    holding = [vmim for vmim in vmims
               if phase(vmim) in HOLDS_SLOT or (uid(vmim) in own_pending and phase(vmim) in QUEUED)]
    outbound = 0
    for vmim in holding:
        vmi = vmis.get(vmi_key(vmim)) or {}
        source = migration_state(vmi, uid(vmim)).get("sourceNode") or node_of(vmi) or (sources or {}).get(uid(vmim))
        outbound += source == node
    return max(0, min(limits[0] - len(holding), limits[1] - outbound))


def unseen(vmims, vmis, known):
    """The VMIMs that hold a slot and whose source is unknown: neither the VMI in ``vmis`` nor the uid in ``known``."""
    return [vmim for vmim in vmims
            if phase(vmim) in HOLDS_SLOT and vmi_key(vmim) not in vmis and uid(vmim) not in known]


def holders(vmims):
    """``namespace/name`` of the VMs whose migrations hold a slot, sorted."""
    return sorted("%s/%s" % vmi_key(vmim) for vmim in vmims if phase(vmim) in HOLDS_SLOT)


# -- how it stands -------------------------------------------------------------------

# What a look at the objects says: ``word`` is going | moved | failed | gone | restarted | settling
Standing = namedtuple("Standing", "word detail")


def standing(before, vmi, vmim, vmim_uid):
    """Where a migration stands, by its objects as last seen.

    :param before: uid of the VMI when we began.
    :param vmi: the VMI, or None when it is gone.
    :param vmim: the VMIM; None when it is gone (cancelled ones vanish at once, facts 1.8).

    ``moved`` only when the VMI itself says so (facts 1.11): this migration, completed, not failed, the VMI
    on the target node, and the same VMI as before. ``settling``: VMI and VMIM do not agree yet.
    """
    if vmi is None:
        return Standing("gone", "the VMI is gone")
    if uid(vmi) != before:
        return Standing("restarted", "its VMI has another uid than before")
    state = migration_state(vmi, vmim_uid, vmim)
    arrived = bool(
        state.get("completed") and not state.get("failed") and state.get("targetNode")
        and node_of(vmi) == state["targetNode"]
    )
    now = phase(vmim) if vmim else None
    if (vmi.get("status") or {}).get("phase") in FINAL:
        return Standing("gone", "the VMI is in phase %s" % vmi["status"]["phase"])
    if arrived:
        return Standing("moved" if vmim is None or now in FINAL else "settling", "")
    if now == "Failed" or (vmim is None and (not state or state.get("failed"))):
        return Standing("failed", "")
    if vmim is None or now == "Succeeded":
        return Standing("settling", "")
    return Standing("going", "")


# -- small things -------------------------------------------------------------------------


def condition(obj, kind):
    """The condition of that type, or ``{}``."""
    rows = (obj.get("status") or {}).get("conditions") or []
    return next((row for row in rows if row.get("type") == kind), {})


def _words(selector):
    return ", ".join("%s=%s" % item for item in sorted(selector.items()))
