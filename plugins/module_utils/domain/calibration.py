# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records of earlier runs -> how good their forecasts were, and what this site's streams carry and how long its setup takes.

A record (:mod:`.report`) holds the plan with its forecast (:mod:`.foresight`) and what became of each VM. A VM counts when it
moved by pre-copy and was not paused: anything else says nothing about a copy.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_duration, format_rate
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import dig, rows, text

LEAST = 3  # migrations that a figure must come from


def compared(record):
    """What was expected of each VM that moved, and what it took.

    :param record: a run's record; of any shape.
    :returns: ``{run, vms: [{namespace, name, expected, low, high, actual, error, inside}], without: VMs that moved and had no
        forecast}``. Times in s, without the wait for a slot; ``error`` is
        ``actual / expected - 1`` (None without an expectation), ``inside`` whether it was in the 90 % range.
    """
    forecast = {(row.get("namespace"), row.get("name")): row for row in rows(record, "facts", "plan", "forecast", "vms")}
    found, without, source = [], [], text(record, "facts", "plan", "node")
    for move in _moves(record):
        if source and move.get("source_node") not in (source, None):
            continue  # on its way back
        row = forecast.get((move.get("namespace"), move.get("name"))) or {}
        actual = move["seconds"]["prepare"] + move["seconds"]["copy"]
        if not _number(row.get("seconds")):
            without.append("%s/%s" % (move.get("namespace"), move.get("name")))
            continue
        low, high = row.get("low"), row.get("high")
        found.append({
            "namespace": move["namespace"], "name": move["name"], "expected": row["seconds"], "low": low, "high": high,
            "actual": actual, "error": actual / row["seconds"] - 1 if row["seconds"] else None,
            "inside": (not _number(low) or low <= actual) and (not _number(high) or actual <= high)})
    return {"run": text(record, "run"), "vms": found, "without": without}


def learned(records):
    """What the site's records teach.

    :returns: ``{per_stream: bytes/s or None, streams_from: how many migrations it comes from, setup_time: [least, most] or
        None, setup_from}``. A rate counts only where nothing but its streams limited a migration; both are left open below
        :data:`LEAST` migrations. The rate is the median, the times those that nine of ten lie between.
    """
    rates, setups = [], []
    for record in records:
        forecast = {(row.get("namespace"), row.get("name")): row for row in rows(record, "facts", "plan", "forecast", "vms")}
        for move in _moves(record):
            setups.append(move["seconds"]["prepare"])
            row = forecast.get((move.get("namespace"), move.get("name"))) or {}
            sent, streams = row.get("sent_bytes"), row.get("streams")
            if "stream" in str(row.get("limit")) and _number(sent) and _number(streams) and streams and move["seconds"]["copy"] >= 10:
                rates.append(sent / float(move["seconds"]["copy"]) / streams)
    return {
        "per_stream": _quantile(rates, 0.5) if len(rates) >= LEAST else None, "streams_from": len(rates),
        "setup_time": [_quantile(setups, 0.05), _quantile(setups, 0.95)] if len(setups) >= LEAST else None, "setup_from": len(setups),
    }


def _moves(record):
    for move in rows(record, "migrations"):
        seconds = [dig(move, "seconds", part) for part in ("prepare", "copy")]
        if move.get("outcome") == "moved" and move.get("mode") in ("PreCopy", None) and not move.get("paused_seconds") and \
                all(_number(value) for value in seconds) and move.get("namespace") and move.get("name") and not move.get("adopted"):
            yield move


def _number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _quantile(values, share):
    """Between the two nearest."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


def figures(comparisons):
    """``{vms, inside, median_error, p90_error}`` over several comparisons; the errors are absolute, None without a VM."""
    vms = [row for one in comparisons for row in one["vms"]]
    errors = [abs(row["error"]) for row in vms if row["error"] is not None]
    return {"vms": len(vms), "inside": sum(1 for row in vms if row["inside"]),
            "median_error": _quantile(errors, 0.5) if errors else None, "p90_error": _quantile(errors, 0.9) if errors else None}


def lines(comparisons, lessons):
    """For people, at most 78 columns."""
    out = []
    for one in comparisons:
        for row in one["vms"]:
            name = "%s/%s" % (row["namespace"], row["name"])
            out.append("%-7s %-34s took %s, expected %s" % (
                "ok" if row["inside"] else "OUTSIDE", name if len(name) <= 34 else name[:33] + "~", format_duration(row["actual"]),
                format_duration(row["expected"])))
    total = figures(comparisons)
    if total["vms"]:
        out.append("%d VMs, %d inside their range, median error %.0f %%, nine of ten below %.0f %%" % (
            total["vms"], total["inside"], 100 * total["median_error"], 100 * total["p90_error"]))
    else:
        out.append("no VM that moved had a forecast")
    if lessons["per_stream"]:
        out.append("one stream carries %s (%d migrations)" % (format_rate(int(lessons["per_stream"])), lessons["streams_from"]))
    else:
        out.append("what one stream carries: not known (%d migrations limited by it)" % lessons["streams_from"])
    if lessons["setup_time"]:
        out.append("a copy begins after %s to %s (%d migrations)" % (
            format_duration(lessons["setup_time"][0]), format_duration(lessons["setup_time"][1]), lessons["setup_from"]))
    return [line.rstrip()[:78] for line in out]
