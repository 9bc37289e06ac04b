# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules: what speaks against moving a guest live, each a small function, all in one table.

A rule is ``rule(guest, view)`` and yields ``(code, detail)``; what a code means
stands in :mod:`.reasons`. A rule may meet any object: what it cannot judge it
yields as a code whose effect is ``unknown``.
"""

from __future__ import annotations

import re

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import reasons, target_pod
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.critical import (
    DISRUPTION,
    POST_COPY,
    dangers,
    is_critical,
    is_named,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.migration import FINAL, MANAGED_BY, US
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.placement import HostModelUnknown, need_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import (
    format_bytes,
    format_duration,
    format_rate,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    amount,
    condition,
    dig,
    key_of,
    labels,
    rows,
    text,
    texts,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.rules_guest import GUEST_RULES, disk_bytes
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.rules_quota import QUOTA_RULES
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.rules_site import SITE_RULES
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.settings import budget_seconds, release_of

STARTING = ("", "Pending", "Scheduling", "Scheduled")


class Guest:
    """One VMI as the rules see it; ``None`` in an attribute means that it cannot be told."""

    def __init__(self, vmi, view):
        self.vmi = vmi
        self.key = key_of(vmi)
        self.node = text(vmi, "status", "nodeName")
        self.phase = dig(vmi, "status", "phase")
        self.memory = told(target_pod.guest_memory, vmi) or None
        self.page_size = told(target_pod.page_size, vmi)
        self.dedicated = bool(told(target_pod.dedicated_cpus, vmi))
        self.critical = is_critical(self.memory, self.page_size) or is_named(vmi, view.critical)
        self.pods = view.pods_of.get(text(vmi, "metadata", "uid"), []) if text(vmi, "metadata", "uid") else []
        self.disk_bytes = disk_bytes(vmi)
        self.settings, self.budget, self.placement, self.need = None, None, None, None
        try:
            found = view.settings_of(vmi)
            self.budget = budget_seconds(found["completion_timeout_per_gib"], (self.memory or 0) + self.disk_bytes)
            self.settings = found
        except (LookupError, TypeError, ValueError):
            pass  # cannot be told; a rule says so

    def cap(self):
        """The bandwidth cap in bytes/s as KubeVirt rounds it (whole MiB, at least one), 0 for none."""
        cap = amount((self.settings or {}).get("bandwidth_per_migration")) or 0
        return max(1, (cap + (1 << 19)) >> 20) << 20 if cap > 0 else 0


def told(ask, *args):
    """What a function of plain data says, None when the data is too odd for it."""
    try:
        return ask(*args)
    except Exception:  # pylint: disable=broad-except
        return None


# -- the guest itself ------------------------------------------------------------


def state(guest, view):
    """Ended, starting, going, paused, or in a state that nobody can name (facts 1.18, 1.19)."""
    if guest.phase in FINAL:
        yield "Finished", guest.phase
    elif guest.phase in STARTING:
        yield "NotRunningYet", guest.phase
    elif guest.phase != "Running" or not guest.node:
        yield "PhaseUnknown", "phase %s, node %s" % (guest.phase, guest.node or "not given")
    if dig(guest.vmi, "metadata", "deletionTimestamp"):
        yield "BeingDeleted", text(guest.vmi, "metadata", "deletionTimestamp")
    if condition(guest.vmi, "Paused").get("status") == "True":
        yield "Paused", text(condition(guest.vmi, "Paused"), "reason")


def live_migratable(guest, view):
    """KubeVirt's own verdict: the first of its checks that fails (facts 6.1, 6.2)."""
    said = condition(guest.vmi, "LiveMigratable")
    if said.get("status") == "False":
        yield _code_of(said.get("reason")), text(said, "message")
    elif said.get("status") != "True" and guest.phase == "Running":
        yield "LiveMigratableUnknown", ""


def _code_of(reason):
    """KubeVirt's own word; one of a newer KubeVirt too, unless that word means something else here."""
    known = isinstance(reason, str) and reason in reasons.LIVE_MIGRATABLE
    fresh = isinstance(reason, str) and reason not in reasons.REASONS and re.fullmatch(r"[A-Za-z]\w{0,80}", reason)
    return reason if known or fresh else "NotMigratable"


def volumes(guest, view):
    """Access modes of every volume with a claim (facts 6.4); not asked again where KubeVirt has said yes.

    The condition shows the first failing check only, so a guest refused for another reason may have this one too.
    """
    if _said_already(guest.vmi):
        return
    moving = {row.get("volumeName") for row in rows(guest.vmi, "status", "migratedVolumes") if text(row, "volumeName")}
    statuses = {text(row, "name"): row for row in rows(guest.vmi, "status", "volumeStatus")}
    for volume in rows(guest.vmi, "spec", "volumes"):
        claim = text(volume, "persistentVolumeClaim", "claimName") or text(volume, "dataVolume", "name")
        name = text(volume, "name")
        if isinstance(volume.get("hostDisk"), dict) and volume["hostDisk"].get("shared") is not True:
            yield "VolumeNotShared", "%s: a host disk" % name
        if name in moving or not claim:
            continue
        modes = texts(statuses.get(name), "persistentVolumeClaimInfo", "accessModes")
        modes = modes or texts(view.claims.get((guest.key[0], claim)), "spec", "accessModes")
        if not modes:
            code = "CannotReadClaims" if "claims" in view.forbidden else "VolumeUnknown"
            yield code, "%s: claim %s" % (name, claim)
        elif "ReadWriteMany" not in modes:
            yield "VolumeNotShared", "%s: claim %s is %s" % (name, claim, ", ".join(modes))


def _said_already(vmi):
    said = condition(vmi, "LiveMigratable")
    return said.get("status") == "True" or said.get("reason") == "DisksNotLiveMigratable"


def wants_claims(vmi):
    """Whether judging this VMI's volumes takes its claims: KubeVirt has not said it, and its status does not tell the modes."""
    told_of = {text(row, "name") for row in rows(vmi, "status", "volumeStatus")
               if texts(row, "persistentVolumeClaimInfo", "accessModes")}
    return not _said_already(vmi) and any(
        (text(row, "persistentVolumeClaim", "claimName") or text(row, "dataVolume", "name")) and text(row, "name") not in told_of
        for row in rows(vmi, "spec", "volumes"))


def local_disks(guest, view):
    """Disks outside shared storage that are copied with the memory (facts 6.4)."""
    if dig(guest.vmi, "status", "migrationMethod") == "BlockMigration":
        yield "LocalDisksCopied", format_bytes(guest.disk_bytes) if guest.disk_bytes else ""


def eviction(guest, view):
    """What a drain by anybody would do to the guest (facts 6.6, 6.7)."""
    strategy = text(guest.vmi, "spec", "evictionStrategy") or (view.eviction_strategy if view.kubevirt else None)
    if strategy == "None":
        yield "EvictionStopsGuest", ""
    elif strategy == "External":
        yield "EvictionNotHandled", ""


# -- other migrations --------------------------------------------------------------


def under_way(guest, view):
    """An unfinished migration: ours is picked up again, a foreign one has the guest (facts 1.18)."""
    if "vmims" in view.forbidden:
        yield "CannotReadMigrations", ""
    for vmim in view.unfinished.get(guest.key, []):
        ours = labels(vmim).get(MANAGED_BY) == US
        yield ("OwnMigrationUnderWay" if ours else "ForeignMigrationUnderWay"), "%s, phase %s" % (
            key_of(vmim)[1], text(vmim, "status", "phase") or "not set")


def evacuation_mark(guest, view):
    """The mark that an eviction left; it survives an uncordon and brings migrations back (facts 7.4, 7.5)."""
    marked = text(guest.vmi, "status", "evacuationNodeName")
    if marked and marked == guest.node:
        yield "EvacuationRequested", "evacuationNodeName is %s" % marked


def slots(guest, view):
    """Limits of parallel migrations (facts 2.1-2.3)."""
    limits = view.settings
    for name in ("parallel_migrations_per_cluster", "parallel_outbound_migrations_per_node"):
        if limits.get(name) == 0:
            yield "NoSlotsAllowed", "%s is 0" % name
    outbound = view.outbound.get(guest.node, 0)
    if view.free_slots == 0:
        yield "NoFreeSlot", "%s migrations are running in the cluster" % view.running
    elif isinstance(limits.get("parallel_outbound_migrations_per_node"), int) and "vmims" not in view.forbidden and \
            outbound >= limits["parallel_outbound_migrations_per_node"]:
        yield "NoFreeSlot", "%d migrations are leaving %s" % (outbound, guest.node)


# -- where to ------------------------------------------------------------------------


def target(guest, view):
    """Another node that takes the guest (facts 3.2-3.11)."""
    if guest.memory is None:
        yield "RequirementsUnknown", "its memory is not understood"
    if not view.release:
        yield ("CannotReadKubeVirt" if "kubevirts" in view.forbidden else "ReleaseUnknown"), ""
    for name, code in (("nodes", "CannotReadNodes"), ("pods", "CannotReadPods")):
        if name in view.forbidden:
            yield code, ""
    if not guest.node or "nodes" in view.forbidden or not view.release or guest.memory is None:
        return
    source = view.scene.nodes.get(guest.node)
    try:
        own = None if "pods" in view.forbidden else guest.pods
        guest.need = need_of(guest.vmi, own, source["labels"] if source else None, view.release, view.config)
    except HostModelUnknown:
        yield ("HostModelUnknown" if source else "RequirementsUnknown"), "node %s" % guest.node
        return
    except Exception as exc:  # pylint: disable=broad-except
        # Any definition may come along; one that cannot be computed with is an answer, too.
        yield "RequirementsUnknown", "%s: %s" % (type(exc).__name__, exc)
        return
    guest.placement = view.scene.place(guest.need)
    if guest.placement.undecided and not guest.placement.candidates:
        yield "CandidatesUnknown", "; ".join("%s: %s" % row for row in sorted(guest.placement.undecided.items())[:5])
    elif not guest.placement.candidates:
        yield "NoCandidate", "%d other nodes, none takes it" % len(guest.placement.ruled_out)
    unlike = _unlike(guest, view)
    if unlike:
        yield "HostModelUnchecked", "%s may lack %s" % (", ".join(sorted(unlike)), guest.need.unchecked or "what node %s has" % guest.node)


def _unlike(guest, view):
    """Candidates whose CPU nobody compares with what the guest runs on (facts 3.5)."""
    model = guest.need.unchecked
    if model is None:
        return []
    return [name for name in guest.placement.candidates
            if not model or target_pod.MIGRATION_MODEL + model not in view.scene.nodes[name]["labels"]]


# -- the copy ------------------------------------------------------------------------


def disruption(guest, view):
    """Post-copy and pausing, which a critical guest must not meet (facts 4.8, 4.9)."""
    if not guest.critical:
        return
    if guest.settings is None:
        for name, code in (("kubevirts", "CannotReadKubeVirt"), ("policies", "CannotReadPolicies"),
                           ("namespaces", "CannotReadNamespaces")):
            if name in view.forbidden:
                yield code, ""
        yield "SettingsUnknown", ""
        return
    if not view.release:
        return  # said elsewhere
    for danger in dangers(guest.settings, view.release):
        yield _DANGERS[danger, danger in view.acknowledged], view.policy_name(guest.vmi)


_DANGERS = {
    (POST_COPY, False): "PostCopyCritical", (POST_COPY, True): "PostCopyAcknowledged",
    (DISRUPTION, False): "DisruptionCritical", (DISRUPTION, True): "DisruptionAcknowledged",
}


def budget(guest, view):
    """One pass over the memory and the disks that are copied at the bandwidth cap, against the time granted (facts 4.5, 4.6)."""
    cap = guest.cap()
    size = (guest.memory or 0) + guest.disk_bytes
    needed = size / cap if cap and guest.memory else 0
    if guest.budget is not None and needed > guest.budget:
        yield "BudgetTooShort", "%s at %s take %s, granted are %s" % (
            format_bytes(size), format_rate(cap), format_duration(needed), format_duration(guest.budget))
    rate = view.dirty_rates.get(guest.key)
    if cap and rate and rate >= cap:
        yield "DirtyRateAboveCap", "%s dirtied, %s carried" % (format_rate(rate), format_rate(cap))


def unmeasured(guest, view):
    """A dirty rate that was asked for and is not there (facts 9.2)."""
    if view.rates_asked and guest.phase == "Running" and guest.key not in view.dirty_rates:
        yield "DirtyRateAbsent", ""


def multifd(guest, view):
    """Eight streams, or one and why (facts 4.4)."""
    code = streams(guest, view)[1]
    if code:
        yield code, ""


def streams(guest, view):
    """``(number of streams, why not several)``; ``(None, None)`` when it cannot be told."""
    if not view.release or guest.settings is None:
        return None, None
    release = release_of(view.release)
    if release < (1, 5):
        asked = amount(text(guest.vmi, "metadata", "annotations", "kubevirt.io/multiThreadedQemuMigration"))
        return (asked, None) if asked else (1, "MultifdOffRelease")
    if amount(dig(guest.vmi, "spec", "domain", "resources", "limits", "cpu"), 1000):
        return 1, "MultifdOffCpuLimit"
    if guest.settings.get("allow_post_copy") and release <= (1, 8):
        return 1, "MultifdOffPostCopy"
    if guest.dedicated and release >= (1, 9):
        return 1, "MultifdOffDedicatedCpus"
    return 8, None


# What looks at ``guest.placement`` or ``guest.need`` stands behind ``target``, which finds them.
RULES = (
    state, live_migratable, volumes, local_disks, eviction, under_way, evacuation_mark, slots,
) + GUEST_RULES + (target,) + QUOTA_RULES + SITE_RULES + (disruption, budget, unmeasured, multifd)
