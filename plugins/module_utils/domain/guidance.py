# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which live migration settings a guest needs, why, and what that costs: rules of thumb as code.

Everything follows from a few facts: KubeVirt grants seconds for each decimal gigabyte (4.6), a cap counts per migration
(4.5), a stalled link and not a busy guest meets the progress timeout (4.10), the time's end means abort, pause or
post-copy (4.8, 4.9), and streams depend on release, CPU limit, post-copy and dedicated CPUs (4.4). Advice is never
applied by itself.
"""

from __future__ import annotations

import textwrap

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import policy, settings, target_pod
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import (
    format_bytes,
    format_duration,
    format_rate,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import amount, dig, key_of, labels
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.rules import is_critical, told
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.wording import WIDTH

GB = 10 ** 9
BIG = 64 << 30  # below this a guest is one of many, and what helps the big ones does not matter
HOPELESS = 0.8  # of the rate: with more dirtied, a copy hardly ends
RESERVE = 1.5  # times the computed seconds: busy minutes, a slower link
SLOWEST = 25e6  # bytes/s; time for less than this only keeps a hopeless copy going
FAST_LINK = 12e9  # bytes/s; 100 Gb/s, where several small guests at a time do not matter
_LINK = "the migration takes what the link gives; on a shared network others feel it (a network of its own, or a cap at " \
        "four fifths of the link)"


def advice(guest, values, release):
    """What to change for a guest: ``[{setting, from, to, why, cost}]``, the most effective first; ``[]`` when all is well.

    :param guest: ``{memory_bytes, page_size, dedicated_cpus, cpu_limit, dirty_rate, bandwidth, multithreaded}``; rates in
        bytes/s, ``bandwidth`` what the link between the nodes carries, ``multithreaded`` whether the VMI has the
        annotation for several streams (up to 1.4). Everything but the memory may be missing or None.
    :param values: the settings in force for it, as :func:`.settings.in_force` or :func:`.policy.effective` give them.
    :param release: KubeVirt's version.

    ``setting`` is one of our nine, or a field of the VM when only that helps. ``to`` None: take it away.
    """
    memory = guest.get("memory_bytes") or 0
    if not memory:
        return []
    case = _Case(guest, values, settings.release_of(release) or (1, 9), memory)
    found = []
    for rule in (_disruption, _cap, _converging, _time, _progress, _streams, _parallel):
        found += rule(case)
    return [row for row in found if row["from"] != row["to"]]


class _Case:
    """A guest with its settings, and what follows from them."""

    def __init__(self, guest, values, release, memory):
        self.guest, self.values, self.release, self.memory = guest, values, release, memory
        self.critical = is_critical(memory, guest.get("page_size"))
        self.cap = amount(values.get("bandwidth_per_migration")) or 0
        self.dirty = guest.get("dirty_rate")
        self.link = guest.get("bandwidth")
        self.per_gib = values.get("completion_timeout_per_gib") or 0
        self.granted = settings.budget_seconds(self.per_gib, memory)

    def seconds(self, rate):
        """How long the copy takes at that rate (facts 12.2); None when it does not end."""
        share = min(self.dirty / rate, 1.0) if self.dirty else 0.0
        return None if share >= HOPELESS else self.memory / rate / (1 - share)


def _row(setting, now, to, why, cost):
    return {"setting": setting, "from": now, "to": to, "why": why, "cost": cost}


def _disruption(case):
    """Post-copy and pausing (facts 4.8, 4.9): never for a guest that must not stop or be lost."""
    if not case.critical:
        return []
    found = []
    if case.values.get("allow_post_copy"):
        found.append(_row(
            "allow_post_copy", True, False,
            "post-copy lets the guest go on without its memory: it is lost when a node or the link fails then, and with "
            "1 GiB pages each miss waits for a whole page",
            "a guest that is too busy is not moved: the copy is given up and it stays where it is, running"))
    if case.values.get("allow_workload_disruption"):
        found.append(_row(
            "allow_workload_disruption", True, False,
            "when the time is over the guest is paused until the rest is copied, which a cluster manager or HANA system "
            "replication takes for its death", "the copy is given up instead; repeat it at a quiet hour"))
    if case.values.get("allow_auto_converge"):
        found.append(_row(
            "allow_auto_converge", True, False,
            "auto-converge takes up to 99 % of the CPU time from a guest that writes fast; a database answers too late long "
            "before that", "without it only a quieter guest or a faster link helps"))
    return found


def _cap(case):
    """A cap per migration (facts 4.5)."""
    if not case.cap:
        return []
    once = case.memory / case.cap
    if case.dirty and case.dirty >= HOPELESS * case.cap:
        why = "the guest dirties %s and the cap lets %s pass: the copy cannot catch up" % (
            format_rate(case.dirty), format_rate(case.cap))
    elif case.granted and once > case.granted:
        why = "one pass over %s at %s takes %s, and %s are granted" % (
            format_bytes(case.memory), format_rate(case.cap), format_duration(once), format_duration(case.granted))
    elif case.memory >= BIG and once > 4 * 3600:
        why = "one pass over %s at %s takes %s" % (format_bytes(case.memory), format_rate(case.cap), format_duration(once))
    else:
        return []
    return [_row("bandwidth_per_migration", case.values.get("bandwidth_per_migration"), "0", why, _LINK)]


def _converging(case):
    """A guest that outruns the link itself: no number helps but one that slows it."""
    if not case.link or not case.dirty or case.seconds(case.link) is not None:
        return []
    why = "the guest dirties %s and the link carries %s: more time does not help" % (
        format_rate(case.dirty), format_rate(case.link))
    if case.critical:
        return [_row("network", case.values.get("network") or None, "a faster or dedicated network", why +
                     "; a quiet hour does, or a faster network", "the maintenance waits for either; the last resort is cold")]
    if case.values.get("allow_auto_converge"):
        return []
    return [_row("allow_auto_converge", False, True, why + ", slowing the guest down does",
                 "its CPU time shrinks in steps of 10 % while it is copied, in the end to almost nothing")]


def _time(case):
    """Seconds per gigabyte: enough for the copy, and not so many that a hopeless one is never ended (facts 4.6)."""
    gigabytes = -(-case.memory // GB)
    needed = case.seconds(case.link) if case.link else None
    if case.link and needed is None:
        return []  # said already
    most = -(-gigabytes * GB // int(SLOWEST))
    if case.granted is None or (case.granted > 2 * most and case.memory >= BIG):
        to = max(-(-int(RESERVE * needed) // gigabytes), 1) if needed else 40
        return [_row(
            "completion_timeout_per_gib", case.values.get("completion_timeout_per_gib"), max(to, 20),
            "%s granted for %s: a copy that cannot end keeps slot and link that long"
            % (format_duration(case.granted) if case.granted else "any time is", format_bytes(case.memory)),
            "a copy in a busy hour may be given up, the guest staying where it is; migrate_vmi's timeout does the same "
            "without changing a setting")]
    if needed and RESERVE * needed > case.granted:
        return [_row(
            "completion_timeout_per_gib", case.per_gib, -(-int(RESERVE * needed) // gigabytes) + 1,
            "%s granted, about %s needed for %s at %s%s" % (
                format_duration(case.granted), format_duration(needed), format_bytes(case.memory), format_rate(case.link),
                " with %s dirtied" % format_rate(case.dirty) if case.dirty else ""),
            "a copy that cannot end is ended later by as much; set migrate_vmi's timeout or deadline beside it")]
    if not case.link and case.critical and case.memory / (0.5 * case.granted) > 1e9:
        return [_row(
            "completion_timeout_per_gib", case.per_gib, 150,
            "%s granted for %s: that needs more than %s all the time, and the link is not known"
            % (format_duration(case.granted), format_bytes(case.memory), format_rate(case.memory / case.granted)),
            "a copy that cannot end is ended later by as much")]
    return []


def _progress(case):
    """The progress timeout is about the link, not about the guest (facts 4.10)."""
    now = case.values.get("progress_timeout")
    if now == 0:
        return [_row("progress_timeout", 0, 150, "nothing ends a copy over a dead link before its time is over",
                     "none: any byte that gets through resets it, so a busy guest never meets it")]
    if now is not None and now < 60 and case.memory >= BIG:
        return [_row("progress_timeout", now, 150, "an interruption of %d s of the link ends a copy of hours" % now,
                     "a dead link is noticed later by as much")]
    return []


def _streams(case):
    """Several streams or one, which the VM decides (facts 4.4)."""
    if case.memory < BIG:
        return []
    one = "one stream only, which carries a fraction of a fast link"
    if case.release < (1, 5):
        if case.guest.get("multithreaded"):
            return []
        return [_row("annotation kubevirt.io/multiThreadedQemuMigration", None, "8", one + ": this release uses more on request",
                     "CPU time on both nodes; the annotation on the VMI counts from the next migration on")]
    if case.guest.get("cpu_limit"):
        return [_row("resources.limits.cpu", "set", None, one + " because the VM has a CPU limit", "a restart of the VM")]
    if case.values.get("allow_post_copy") and case.release < (1, 9) and not case.critical:
        return [_row("allow_post_copy", True, False, one + " because post-copy is allowed",
                     "a guest that is too busy is given up instead")]
    return []


def _parallel(case):
    """How many at a time (facts 2.1): each one more takes its share of the link."""
    now = case.values.get("parallel_outbound_migrations_per_node") or 0
    if now > 1 and case.memory >= BIG and (case.critical or (case.link and case.link < FAST_LINK / 4)):
        return [_row("parallel_outbound_migrations_per_node", now, 1,
                     "%d guests that leave at once share the link, so each dirties for %d times as long" % (now, now),
                     "a node is emptied one guest after the other; migrate_vmi's max_parallel does it for one run alone")]
    if now == 1 and case.memory < BIG and case.link and case.link >= FAST_LINK and not case.critical:
        return [_row("parallel_outbound_migrations_per_node", 1, 2,
                     "a guest of %s needs seconds of a link of %s; preparing it takes longer"
                     % (format_bytes(case.memory), format_rate(case.link)),
                     "two at a time also for big guests, which then share the link")]
    return []


# -- telling -----------------------------------------------------------------------------


def advice_lines(rows):
    """Advice for people, in lines of at most 78 columns."""
    found = []
    for row in rows:
        found.append("%s: %s -> %s" % (row["setting"], _shown(row["from"]), _shown(row["to"])))
        found += textwrap.wrap("why: %s" % row["why"], WIDTH, initial_indent="  ", subsequent_indent="    ")
        found += textwrap.wrap("cost: %s" % row["cost"], WIDTH, initial_indent="  ", subsequent_indent="    ")
    return found


def _shown(value):
    return "not set" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def of_guest(vmi, dirty_rate=None, bandwidth=None):
    """The ``guest`` of :func:`advice` for a VMI."""
    page_size = told(target_pod.page_size, vmi)
    return {
        "memory_bytes": told(target_pod.guest_memory, vmi) or None,
        "page_size": page_size if isinstance(page_size, str) else None,
        "dedicated_cpus": bool(told(target_pod.dedicated_cpus, vmi)),
        "cpu_limit": bool(amount(dig(vmi, "spec", "domain", "resources", "limits", "cpu"), 1000)),
        "multithreaded": bool(dig(vmi, "metadata", "annotations", "kubevirt.io/multiThreadedQemuMigration")),
        "dirty_rate": dirty_rate, "bandwidth": bandwidth,
    }


def for_view(view, links=None, names=None):
    """Advice for the guests of a :class:`.view.View`, the same advice once: lines for the preflight.

    :param links: ``{(namespace, name): bytes/s}`` between its nodes, where known.
    :param names: ``[(namespace, name)]``; None for all that were asked about.
    """
    groups = {}
    for key in view.selected() if names is None else names:
        vmi = view.vmis.get(key)
        try:
            values = view.settings_of(vmi) if vmi is not None else None
        except LookupError:
            values = None
        if not values:
            continue
        guest = of_guest(vmi, view.dirty_rates.get(key), (links or {}).get(key))
        for row in advice(guest, values, view.release):
            groups.setdefault((row["setting"], str(row["to"])), []).append((key, guest["memory_bytes"], row))
    found = []
    for members in groups.values():
        key, _memory, row = max(members, key=lambda member: member[1])  # the figures of the biggest stand for all
        more = " and %d more" % (len(members) - 1) if len(members) > 1 else ""
        found += ["%s/%s%s:" % (key + (more,))] + ["  " + line for line in advice_lines([row])]
    return found


def endangered(scene, values):
    """``namespace/name`` of the guests that must not be paused or lost and could be, with these cluster settings.

    :param scene: ``{vmis, policies, namespaces, release}``; a MigrationPolicy may protect a guest, or not.
    :param values: the cluster's settings as they would be in force.
    """
    found = []
    key = "allow_workload_disruption" if (settings.release_of(scene["release"]) or (1, 9)) >= (1, 5) else "allow_post_copy"
    for vmi in scene["vmis"]:
        if not is_critical(told(target_pod.guest_memory, vmi), told(target_pod.page_size, vmi)):
            continue
        try:
            best = policy.winner(scene["policies"], labels(vmi), policy.namespace_labels(vmi, scene["namespaces"]))
        except LookupError:
            best = None
        if policy.effective(values, best).get(key):
            found.append("%s/%s" % key_of(vmi))
    return sorted(found)
