# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An evacuation plan + links + dirty rates -> when each VM and wave is expected to start and end, and what never ends.

What one copy does is in :mod:`.precopy`; here is what each VM of a plan brings to it, what it gets of the links beside
the others of its wave, and how the waves follow one another. Without a bandwidth there is no forecast, without a dirty
rate only the least time; what was assumed is said.
"""

from __future__ import annotations

import heapq
import math
import re
from collections import namedtuple

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import precopy, schedule
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import (
    format_bytes,
    format_duration,
    format_rate,
    parse_bytes,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import amount, rows, text
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.rules import Guest, multifd
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.settings import release_of

NEVER = "ForecastDoesNotConverge"  # the warning that becomes part of the plan's id
MULTIFD = 8  # streams (facts 4.4)
LINE_SHARE = 0.9  # of a line rate in bits; measurements, "90 % efficiency"
LEAST_IN_USE = 0.5  # of the memory; for the lower bound only, where nobody knows how much was never touched
NO_LINK = "no forecast: no bandwidth is known (give links)"
_BITS = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)bit(?:/s)?")

# What one VM brings along: memory, disk (block-copied) in bytes; dirty_rate (bytes/s, as measured while it is not
# migrated; None: not known); cap (bytes/s, 0: none); streams; auto_converge; budget (s, None: no end).
Known = namedtuple("Known", "memory disk dirty_rate cap streams auto_converge budget")


# -- what goes in ---------------------------------------------------------------------


def rate_of(given):
    """``(bytes/s, whether it was a line rate)`` of ``12.5G`` (bytes) or ``100Gbit`` (line rate, of which 90 % count).

    :raises ValueError: when it is neither, or nothing.
    """
    bits = _BITS.fullmatch(str(given).strip())
    rate = parse_bytes(bits.group(1) + bits.group(2)) * LINE_SHARE / 8 if bits else float(parse_bytes(given))
    if rate <= 0:
        raise ValueError("'%s' is no bandwidth above zero" % (given,))
    return rate, bool(bits)


def links_of(given, nodes):
    """``({node: bytes/s}, [assumptions])`` of one figure for all nodes, or of ``{node: figure}``.

    :raises ValueError: a figure that is none, or a node that does not exist.
    """
    if given in (None, "", {}):
        return {}, []
    if isinstance(given, dict):
        unknown = sorted(set(given) - set(nodes))
        if unknown:
            raise ValueError("there is no node %s" % ", ".join(unknown))
    found, line = {}, False
    for name, value in (given if isinstance(given, dict) else dict.fromkeys(nodes, given)).items():
        found[name], bits = rate_of(value)
        line = line or bits
    return found, ["%d %% of the line rate" % round(100 * LINE_SHARE)] if line else []


def dirty_rates_of(given, keys, elsewhere=()):
    """``{(namespace, name): bytes/s}`` of ``{"namespace/name" or "name": figure}``.

    :param elsewhere: VMs that may be named as well, and do not matter.
    :raises ValueError: a figure that is none, or a VM that is not among ``keys``.
    """
    found = {}
    for name, value in (given or {}).items():
        meant = [key for key in keys if name in (key[1], "/".join(key))]
        if not meant and not any(name in (key[1], "/".join(key)) for key in elsewhere):
            raise ValueError("there is no VM %s here" % name)
        rate = parse_bytes(value)
        if rate < 0:
            raise ValueError("%s dirties %s" % (name, value))
        found.update(dict.fromkeys(meant, rate))
    return found


def known(view, dirty_rates=None):
    """``{(namespace, name): Known}`` of the guests of a :class:`..view.View` whose settings can be told.

    :param dirty_rates: ``{(namespace, name): bytes/s}``; they go before those of the inventory.
    """
    rates = {**view.dirty_rates, **(dirty_rates or {})}
    found = {}
    for key, vmi in view.vmis.items():
        guest = Guest(vmi, view)
        if guest.settings is not None and guest.memory:
            found[key] = Known(
                guest.memory, _local_disks(vmi), rates.get(key), guest.cap(), streams(guest, view),
                bool(guest.settings.get("allow_auto_converge")), guest.budget)
    return found


def streams(guest, view):
    """Parallel connections of a migration of this guest: eight or one, up to 1.4 what an annotation says (facts 4.4)."""
    if next(multifd(guest, view), None):
        return 1
    if (release_of(view.release) or (1, 9)) >= (1, 5):
        return MULTIFD
    asked = text(guest.vmi, "metadata", "annotations", "kubevirt.io/multiThreadedQemuMigration")
    return max(1, int(asked)) if asked.isdigit() and len(asked) < 4 else 1


def _local_disks(vmi):
    """Bytes that a block migration copies beside the memory (facts 4.6)."""
    if text(vmi, "status", "migrationMethod") != "BlockMigration":
        return 0
    return sum(amount(row.get("size")) or 0 for row in rows(vmi, "status", "volumeStatus")
               if not row.get("persistentVolumeClaimInfo"))


# -- the timeline ------------------------------------------------------------------------


def timeline(planned, guests, links, per_stream=None, setup=None, timeout=None, assumptions=()):
    """The forecast of a plan.

    :param planned: what :func:`..evacuation.plan` returned.
    :param guests: what :func:`known` returned.
    :param links: ``{node: bytes/s}``; empty: nothing is known.
    :param per_stream: bytes/s of one stream as measured here; None is assumed, and said.
    :param setup: ``(least, most)`` seconds before a copy begins; None is :data:`..precopy.SETUP`.
    :param timeout: upper limit of one copy, s.
    :param assumptions: words to add to those made here.
    :returns: ``{possible: bool, why: str when it is not, per_stream, vms: [{namespace, name, wave, start, seconds, low, high,
        ends, downtime, rate, limit, streams, passes, sent_bytes, border, extrapolated, dirty_rate, helps: [str]}], waves:
        [{number, start, end, latest}], seconds, low, high, lower_bound: seconds no order of the VMs and no other targets could
        go below (who goes alone stays alone), warnings: [code], assumptions: [str]}``. Times in s; those of
        starts and ends count from the first start; None: open. ``ends``: converges | budget | never | unknown.
    """
    base = {"possible": False, "why": None, "per_stream": per_stream or precopy.PER_STREAM, "vms": [], "waves": [], "seconds": None,
            "lower_bound": None, "low": None, "high": None, "warnings": [], "assumptions": []}
    if not planned["waves"]:
        return dict(base, why="no forecast: nothing moves")
    if not any(_ends(planned["node"], vm, links) != [None, None] for wave in planned["waves"] for vm in wave["vms"]):
        return dict(base, why=NO_LINK)
    setup = tuple(setup or precopy.SETUP)
    clock, said, vms, waves, jobs = (0.0, 0.0, 0.0), list(assumptions), [], [], []
    for wave in planned["waves"]:
        found = [_one(planned["node"], vm, wave, guests, links, per_stream, setup, timeout, planned["width"], said)
                 for vm in wave["vms"]]
        jobs.append([_job(row, vm, setup) for row, vm in zip(found, wave["vms"])])
        starts, end = _expected(jobs[-1], planned["width"], links, planned["node"], clock[0])
        low, high = (_flow([row[name] for row in found], planned["width"], began)[1]
                     for name, began in (("low", clock[1]), ("high", clock[2])))
        for row, (start, until) in zip(found, starts):
            row.update(start=start, wave=wave["number"], seconds=until - start if until is not None else row["seconds"])
        vms += found
        waves.append({"number": wave["number"], "start": clock[0], "end": end, "latest": high})
        clock = (end, low, high)
    if any(row["ends"] != "unknown" for row in vms):
        said.append("guests dirty %g times their idle rate while they move" % precopy.UNDER_MIGRATION)
        said.append("all memory is in use and written to evenly")
    return dict(base, possible=True, vms=vms, waves=waves, seconds=clock[0], low=clock[1], high=clock[2],
                lower_bound=_lower_bound(planned, jobs, links) if clock[0] is not None else None,
                warnings=[NEVER] if any(row["ends"] in ("budget", "never") for row in vms) else [],
                assumptions=list(dict.fromkeys(said)))


def _one(node, vm, wave, guests, links, per_stream, setup, timeout, width, said):
    guest = guests.get((vm["namespace"], vm["name"]))
    row = dict.fromkeys(("start", "seconds", "low", "high", "downtime", "rate", "limit", "streams", "passes", "sent_bytes", "border",
                         "dirty_rate", "cap"))
    row.update(namespace=vm["namespace"], name=vm["name"], memory_bytes=vm["memory_bytes"], ends="unknown", extrapolated=False,
               helps=[], throttle=0)
    source, target = _ends(node, vm, links)
    if guest is None or source is target is None or vm.get("under_way"):
        return row
    beside = min(len(wave["vms"]), width)
    share = [None if rate is None else rate / beside for rate in (source, target)]
    rate, limit, assumed = precopy.effective_rate(share[0], share[1], guest.cap, guest.streams, per_stream)
    alone = precopy.effective_rate(source, target, guest.cap, guest.streams, per_stream)[0]
    said += assumed
    budget = min((seconds for seconds in (guest.budget, timeout) if seconds), default=None)
    row["cap"] = min(guest.cap or math.inf, guest.streams * (per_stream or precopy.PER_STREAM))
    way = precopy.Way(rate, precopy.DOWNTIME_LIMIT, guest.auto_converge, budget)
    dirty = guest.dirty_rate
    full = precopy.Guest(guest.memory, 0, None, (dirty or 0) * precopy.UNDER_MIGRATION, guest.disk)
    spare = full._replace(zero=guest.memory * (1 - LEAST_IN_USE))
    row.update(rate=rate, limit=limit, streams=guest.streams, dirty_rate=dirty)
    found = precopy.forecast(full, way, setup, best=(spare, way._replace(rate=alone)))
    if dirty is None:
        # An idle guest is the best case there is; when not even that ends in time, that much is known.
        row.update(low=found["low"], extrapolated=found["extrapolated"])
        if found["ends"] == "converges":
            return row
    row.update({name: found[name] for name in ("seconds", "low", "high", "ends", "downtime", "passes", "sent_bytes", "border",
                                               "extrapolated", "throttle")}, helps=[
        entry["text"] for entry in found["helps"] if entry["what"] != "downtime_limit"])  # KubeVirt has no such setting (facts 4.11)
    if row["border"] == float("inf"):
        row["border"] = None  # JSON has no infinity
    return row


def _ends(node, vm, links):
    """Bytes/s of both NICs, None for what is not known; of several possible targets the slowest."""
    targets = [vm["target_node"]] if vm["target_node"] else vm["target_choices"]
    rates = [links[name] for name in targets if name in links]
    return [links.get(node), min(rates) if rates else None]


def jobs(guests, node, links, per_stream=None, setup=None):
    """``{(namespace, name): schedule.Job}`` of guests that leave ``node``, for planning; ``{}`` while no bandwidth is known.

    What is not known of a guest counts as idle: this only puts VMs in order, it promises nothing.
    """
    if not links:
        return {}
    source, found = links.get(node) or max(links.values()), {}
    for key, guest in guests.items():
        cap = min(guest.cap or math.inf, guest.streams * (per_stream or precopy.PER_STREAM))
        copied = precopy.course(
            precopy.Guest(guest.memory, 0, None, (guest.dirty_rate or 0) * precopy.UNDER_MIGRATION, guest.disk),
            precopy.Way(min(cap, source), precopy.DOWNTIME_LIMIT, False, 86400))
        sent = copied.sent if copied.ends == "converges" else guest.memory + guest.disk
        found[key] = schedule.Job(sum(setup or precopy.SETUP) / 2.0 + precopy.DEVICE_STATE, float(sent), cap, None)
    return found


def _job(row, vm, setup):
    """The VM as a job of :mod:`.schedule`; None when it is not known how long it takes."""
    if row["seconds"] is None:
        return None
    sent = max(1.0, row["sent_bytes"])
    return schedule.Job(sum(setup) / 2.0 + precopy.DEVICE_STATE, sent, row["cap"], vm["target_node"])


def _expected(jobs, width, links, node, began):
    """``([(start, end)], end of the wave)`` of a wave's VMs; None from where it is open."""
    if began is None or None in jobs:
        return [(began if index < width else None, None) for index in range(len(jobs))], None
    found = schedule.flow(jobs, width, links.get(node, math.inf), links, began)
    return found, max(end for _start, end in found)


def _lower_bound(planned, jobs, links):
    fastest = {}
    flat = [vm for wave in planned["waves"] if len(wave["vms"]) == 1 for vm in wave["vms"]]
    flat += [vm for wave in planned["waves"] if len(wave["vms"]) > 1 for vm in wave["vms"]]
    for index, vm in enumerate(flat):
        known_links = [links[name] for name in vm["target_choices"] if name in links]
        if known_links:
            fastest[index] = max(known_links)
    alone = [wave[0] for wave in jobs if len(wave) == 1]
    rest = [job for wave in jobs if len(wave) > 1 for job in wave]
    return schedule.lower_bound(alone, rest, planned["width"], links.get(planned["node"], math.inf), fastest)


def _flow(lengths, width, began):
    """``(starts, end)`` of VMs that take so long, ``width`` at a time in their order; None from where it is open."""
    if began is None or any(length is None for length in lengths):
        return [began if index < width else None for index in range(len(lengths))], None
    free, starts, end = [began] * max(1, width), [], began
    for length in lengths:
        start = heapq.heappop(free)
        starts.append(start)
        heapq.heappush(free, start + length)
        end = max(end, start + length)
    return starts, end


# -- words ----------------------------------------------------------------------------------


def lines(found, width=78):
    """A forecast for people."""
    if not found["possible"]:
        return [found["why"]]
    out = ["%-7s %-34s %s" % ("forecast", "", "expected (and with 90 %)")] if found["vms"] else []
    for row in found["vms"]:
        out += [line[:width] for line in _lines_of(row, width)]
    total = "cannot be told" if found["seconds"] is None else _rough(found["seconds"])
    out.append("%-7s %-34s %s" % ("time", "all", total + _between(found["low"], found["high"])))
    if found["lower_bound"] and found["seconds"] > 1.05 * found["lower_bound"]:
        out.append("        no other order or targets could take less than %s" % _rough(found["lower_bound"]))
    return out + [line[:width] for line in _wrapped(found["assumptions"], width)]


def _lines_of(row, width):
    name = "%s/%s" % (row["namespace"], row["name"])
    head = "        %-34s " % (name if len(name) <= 34 else name[:33] + "~")
    if row["ends"] == "converges":
        yield head + _rough(row["seconds"]) + _between(row["low"], row["high"])
        if row["extrapolated"]:
            yield "          extrapolated: larger than anything measured (%s)" % format_bytes(precopy.LARGEST_MEASURED)
    elif row["ends"] == "unknown":
        yield head + ("%s or more, dirty rate unknown" % _rough(row["low"]) if row["low"] else "cannot be told")
    else:
        yield head + "DOES NOT CONVERGE" + (" in its time" if row["ends"] == "budget" else "")
        if row["dirty_rate"]:
            yield "          it dirties %s, twice that while it moves; %s: %s" % (
                format_rate(row["dirty_rate"]), row["limit"], format_rate(row["rate"]))
        for help_text in row["helps"] or ["no single change is enough"]:
            yield from _folded("          helps: ", help_text, width)


def _folded(head, words, width):
    line = head
    for word in words.split(" "):
        if len(line) + len(word) > width and line.strip():
            yield line.rstrip()
            line = " " * len(head)
        line += word + " "
    yield line.rstrip()


def _between(low, high):
    """The 90 % range, in as few columns as it takes."""
    if low is None and high is None:
        return ""
    return " (%s to %s)" % ("?" if low is None else _rough(low), "open" if high is None else _rough(high))


def _rough(seconds):
    """A duration as exact as a forecast is."""
    return format_duration(seconds if seconds < 60 else round(seconds / 10.0) * 10 if seconds < 600 else round(seconds / 60.0) * 60)


def _wrapped(assumptions, width):
    for words in assumptions:
        yield from _folded("        assumed: ", words, width)
