# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run's record: plain data that grows phase by phase, and what people read of it.

The JSON form is described by docs/record.schema.json; the Markdown form and the
summary are made from it and hold nothing else.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_bytes, format_duration

SCHEMA = "bigvm.live_migration/record/1"

RUNNING, OK, FAILED = "running", "ok", "failed"


def new_record(kind, run, subject, now, rehearsal=False):
    """An empty record.

    :param kind: what runs, e.g. ``node_maintenance``.
    :param run: the run's id.
    :param subject: the node (or other object) the run is about.
    :param now: RFC 3339 time.
    """
    return {
        "schema": SCHEMA, "kind": kind, "run": run, "subject": subject, "rehearsal": bool(rehearsal),
        "started": now, "ended": None, "result": RUNNING, "failure": None,
        "phases": [], "migrations": [], "facts": {},
    }


def note(record, now, phase=None, lines=(), facts=None, migrations=()):
    """Add a phase, lines to the present phase, facts and migrations; changes ``record``."""
    if phase and (not record["phases"] or record["phases"][-1]["name"] != phase):
        record["phases"].append({"name": phase, "started": now, "lines": []})
    if lines:
        if not record["phases"]:
            record["phases"].append({"name": "Start", "started": now, "lines": []})
        record["phases"][-1]["lines"].extend(str(line) for line in lines)
    record["facts"].update(facts or {})
    record["migrations"].extend(migrations)
    return record


def close(record, now, result, failure=None):
    """The end of a run; ``failure`` is the message that ended it, if any."""
    record["ended"], record["result"], record["failure"] = now, result, failure or None
    return record


def summary(record):
    """The few figures for ``set_stats``: small whatever the size of the run."""
    moved = [entry for entry in record["migrations"] if entry.get("outcome") == "moved"]
    return {
        "run": record["run"], "kind": record["kind"], "subject": record["subject"], "rehearsal": record["rehearsal"],
        "started": record["started"], "ended": record["ended"], "result": record["result"],
        "failure": (record["failure"] or "")[:2000] or None,
        "migrations": len(record["migrations"]), "moved": len(moved),
        "not_moved": ["%s/%s" % (e.get("namespace"), e.get("name")) for e in record["migrations"] if e not in moved][:100],
    }


def markdown(record):
    """The record as a page for people."""
    out = ["# %s of %s" % (record["kind"].replace("_", " ").capitalize(), record["subject"]), ""]
    if record["rehearsal"]:
        out += ["**This was a rehearsal on a simulated cluster.** Times are simulated.", ""]
    out += ["| | |", "|---|---|", "| Run | `%s` |" % record["run"], "| Started | %s |" % record["started"],
            "| Ended | %s |" % (record["ended"] or "not yet"), "| Result | **%s** |" % record["result"]]
    if record["failure"]:
        out.append("| Failure | %s |" % _cell(record["failure"]))
    if record["migrations"]:
        out += ["", "## Virtual machines", "", "| VM | Size | From | To | Outcome | Queue | Prepare | Copy | Total |",
                "|---|---|---|---|---|---|---|---|---|"]
        out += [_migration_row(entry) for entry in record["migrations"]]
    for phase in record["phases"]:
        out += ["", "## %s" % phase["name"], "", "%s" % phase["started"]]
        if phase["lines"]:
            out += ["", "```"] + phase["lines"] + ["```"]
    return "\n".join(out) + "\n"


def _migration_row(entry):
    seconds = entry.get("seconds") or {}
    times = ["%s" % format_duration(seconds[key]) if seconds.get(key) is not None else "" for key in ("queue", "prepare", "copy", "total")]
    size = format_bytes(entry["memory_bytes"]) if entry.get("memory_bytes") else ""
    cause = (entry.get("cause") or {}).get("message")
    outcome = entry.get("outcome", "") + (": " + cause if cause else "")
    cells = ["%s/%s" % (entry.get("namespace"), entry.get("name")), size, entry.get("source_node") or "",
             entry.get("target_node") or "", outcome] + times
    return "| %s |" % " | ".join(_cell(cell) for cell in cells)


def _cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")
