# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What libvirt measured of a guest's writing -> p50 and max, whether to trust it, and the forecast made from it.

A measurement counts the pages that changed within a period, each once: of a guest that writes to few pages again and
again it sees less, the longer the period is. QEMU tells whole MiB/s.
"""

from __future__ import annotations

import math

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import precopy
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.cpu import parse
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.kvm_guest import size
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_rate

MIB = 1024 ** 2
SAMPLING, BITMAP, RING = "page-sampling", "dirty-bitmap", "dirty-ring"
MODES = (SAMPLING, BITMAP, RING)
FEW = 3  # samples below which a maximum says little
MEASURED = 2  # VIR_DOMAIN_DIRTYRATE_MEASURED


def facts_of(xml, name):
    """``{emulated, ring, memory}`` of a running guest: emulated (no KVM), with a dirty ring, bytes of memory."""
    root = parse(xml, "the guest %s" % name)
    ring = root.find("./features/kvm/dirty-ring")
    return {"emulated": root.get("type") == "qemu", "ring": ring is not None and ring.get("state") == "on",
            "memory": size(root.find("./memory"))}


def mode_for(asked, ring):
    """``(mode, problem)``: what to measure with; a sentence when the guest cannot be measured so.

    :param asked: one of :data:`MODES`, or ``auto``: the ring where the guest has one, which costs it nothing, else sampling,
        which costs it little. The bitmap has every first write to a page trapped, so it is taken only when it is named.
    """
    if asked == RING and not ring:
        return None, "has no dirty ring (<kvm><dirty-ring state='on' size='4096'/></kvm>, and a restart)"
    return (RING if ring else SAMPLING) if asked == "auto" else asked, None


def reading(stats):
    """Bytes/s of libvirt's figures of a measurement that has ended; None while it has not."""
    if stats.get("dirtyrate.calc_status") != MEASURED:
        return None
    return stats.get("dirtyrate.megabytes_per_second", 0) * MIB


def summary(samples):
    """``{p50, max, samples}`` in bytes/s; the p50 is one of the samples."""
    ordered = sorted(samples)
    return {"p50": ordered[(len(ordered) - 1) // 2], "max": ordered[-1], "samples": list(samples)}


def doubts(facts, mode, samples, seconds):
    """Why the reading should not be trusted, as sentences; none when it may be."""
    found = []
    if facts["emulated"]:
        found.append("the guest is emulated (TCG), where these readings are not usable")
    if len(samples) < FEW:
        found.append("%d sample%s may have missed the busy times" % (len(samples), "" if len(samples) == 1 else "s"))
    if mode != RING and facts["memory"] and max(samples) * seconds > 0.5 * facts["memory"]:
        found.append("most of its memory changed within a sample, so it may write much more; use shorter ones")
    return found


def forecast(facts, resident, rate, bandwidth, assumed, connections, downtime_ms, auto_converge, known=False):
    """What a move would be like at a dirty rate.

    :param resident: bytes of the guest's memory that the host has given it; None: all counts as in use.
    :param rate: bytes/s that the guest dirties, as measured while it is not moved.
    :param bandwidth: bytes/s of the link. ``assumed``: words about it.
    :param known: whether ``rate`` is what it dirties while it is moved.
    :returns: as of :func:`.precopy.forecast`, with ``rate``, ``limit``, ``helps`` as sentences, and ``assumptions``.
    :raises ValueError: no bandwidth.
    """
    carried, limit, words = precopy.effective_rate(bandwidth, bandwidth, streams=connections)
    memory = facts["memory"]
    used = memory if resident is None else max(1, min(memory, resident))
    factor = 1.0 if known else precopy.UNDER_MIGRATION
    guest = precopy.Guest(memory, memory - used, None, rate * factor, 0)
    way = precopy.Way(carried, downtime_ms / 1000.0, auto_converge, None)
    found = precopy.forecast(guest, way)
    said = list(assumed) + words + ["what it writes is spread over all memory in use"]
    if not known:
        said.append("it dirties %g times the rate measured while it is moved" % precopy.UNDER_MIGRATION)
    if found["border"] == math.inf:
        found["border"] = None  # JSON has no infinity
    return dict(found, rate=carried, limit=limit.replace("bandwidth_per_migration", "bandwidth"),
                helps=[row["text"].replace("allow_auto_converge", "auto_converge") for row in found["helps"]], assumptions=said)


def lines(name, row):
    """One guest for people, lines of at most 78 columns."""
    out = ["%s  dirties %s, at most %s (%s)" % (name, format_rate(row["p50"]), format_rate(row["max"]), row["mode"])]
    out += ["  not to be trusted: " + text for text in row["doubts"]]
    found = row["forecast"]
    if found:
        guest = precopy.Guest(row["memory_bytes"], 0, None, 0, 0)
        told = precopy.lines(name, guest, dict(found, helps=[{"text": text} for text in found["helps"]]), found["assumptions"])
        out += ["  " + told[0][len(name):].strip(), *told[1:]]
    return [line[:78] for line in out]
