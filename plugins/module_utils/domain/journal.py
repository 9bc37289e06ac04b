# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is written down in the cluster before a change, and what may be put back afterwards.

Two journals, each the JSON of one annotation, so that it is written in the same
patch as the change it is about: the settings held on HyperConverged, and the
maintenance of a node. The rule for both: what somebody else changed meanwhile is
theirs; it is left alone and said.
"""

from __future__ import annotations

import json
from collections import namedtuple

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.settings import FIELDS, same

HELD_SETTINGS = "live-migration.bigvm.io/held-settings"
MAINTENANCE = "live-migration.bigvm.io/maintenance"
# All annotations of an object share 256 KiB; this leaves the greater part to others.
LARGEST = 96 * 1024
# Phases in which the node is no longer as it was before its maintenance.
AFTERWARDS = ("maintenance", "returning")


def load(text):
    """The record in an annotation; None without one.

    :raises ValueError: when the text is no record of ours, saying why.
    """
    if text is None:
        return None
    try:
        record = json.loads(text)
    except ValueError as exc:
        raise ValueError("it is not JSON (%s)" % exc) from exc
    if not isinstance(record, dict) or not isinstance(record.get("run"), str):
        raise ValueError("it names no run")
    for keys, shape in ((("before", "written", "progress"), dict), (("vms", "earlier_runs"), list)):
        for key in keys:
            if not isinstance(record.get(key, shape()), shape):
                raise ValueError("its %s is no %s" % (key, shape.__name__))
    return record


def dump(record):
    """The annotation's text, the same for equal records; None for no record.

    :raises ValueError: when it is too large for an annotation.
    """
    if record is None:
        return None
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    if len(text) > LARGEST:
        raise ValueError("it would take %d KiB and has room for %d" % (len(text) // 1024, LARGEST // 1024))
    return text


# -- settings ------------------------------------------------------------------

# writes: {field: value or None}; record: what the annotation holds afterwards (None: no annotation);
# left_alone: [{field, before, written, found}]; warnings: sentences; refusal: (message, remedy) or None.
Plan = namedtuple("Plan", "writes record left_alone warnings refusal")


def _plan(writes=None, record=None, left_alone=(), warnings=(), refusal=None):
    return Plan(writes or {}, record, list(left_alone), list(warnings), refusal)


def set_settings(current, record, wanted):
    """Settings changed without a hold: what to write; a record that is there stays.

    :param current: all nine fields as they are.
    :param record: the hold that is there, or None.
    :param wanted: ``{field: value or None}``.
    """
    writes = _differing(current, wanted)
    held = sorted(set(writes) & set((record or {}).get("before") or {}))
    warnings = [
        "Run %s holds %s; as they are now changed outside of it, restoring that run will leave them alone."
        % (record["run"], ", ".join(held))
    ] if held else []
    return _plan(writes, record, warnings=warnings)


def hold_settings(current, record, wanted, run, owner, since, api_version):
    """Settings changed for the time of a run: what to write, and the record of what was there.

    A second hold of the same run adds to the first: ``before`` is what was there before the run's first
    write. Only a value that somebody else put there meanwhile takes its place, since that is now the
    value to return to. A hold of another run is refused, unless its values are already what is wanted.
    """
    writes = _differing(current, wanted)
    if record and record["run"] != run:
        if not writes:
            return _plan(record=record, warnings=[
                "The settings are as wanted, but held by run %s, not by this one; they end when that run restores them."
                % record["run"]])
        return _plan(record=record, refusal=(
            "The live migration settings are held by run %s (%s, since %s); run %s may not hold them as well."
            % (record["run"], record.get("owner", "unknown"), record.get("since", "unknown"), run),
            "Wait for that run, or if it is dead put its settings back: state restored, hold %s." % record["run"]))
    if not writes:
        return _plan(record=record)
    if record is None:
        record = {"run": run, "owner": owner, "since": since, "before": {}, "written": {}}
    before, put = dict(record.get("before") or {}), dict(record.get("written") or {})
    warnings = []
    for name in writes:
        if name not in put:
            before[name] = current.get(name)
        elif not same(name, current.get(name), put[name]) and not same(name, current.get(name), before.get(name)):
            warnings.append(
                "Somebody changed %s from %s to %s while run %s held it; it is set again and restored to %s in the end."
                % (name, put[name], current.get(name), run, current.get(name)))
            before[name] = current.get(name)
        put[name] = writes[name]
    return _plan(writes, dict(record, api_version=api_version, before=before, written=put), warnings=warnings)


def restore_settings(current, record, run=None):
    """What puts back the settings of a hold: each field that still has the value written then.

    :param run: put back only a hold of this run; None for any.
    """
    if record is None:
        return _plan()
    if run and record["run"] != run:
        return _plan(record=record, warnings=[
            "Nothing is held by run %s; the hold of run %s was left in place." % (run, record["run"])])
    writes, left_alone, warnings = {}, [], []
    put = record.get("written") or {}
    for name, before in sorted((record.get("before") or {}).items()):
        found = current.get(name)
        known = name in FIELDS  # else a later release of this collection held it
        if known and same(name, found, before):
            continue
        if known and same(name, found, put.get(name)):
            writes[name] = before
            continue
        left_alone.append({"field": name, "before": before, "written": put.get(name), "found": found})
        warnings.append(
            "%s is %s, neither what it was before run %s (%s) nor what that run wrote (%s): somebody changed it, "
            "and it is left alone." % (name, found, record["run"], before, put.get(name)))
    return _plan(writes, None, left_alone, warnings)


def _differing(current, wanted):
    return {name: value for name, value in wanted.items() if not same(name, value, current.get(name))}


# -- a node ----------------------------------------------------------------------


def hold_node(record, cordoned, run, owner, since, cordon=True, vms=None, phase=None, progress=None):
    """The maintenance journal of a node after this call, before anything is done to the node.

    :param record: the journal found, or None; one of an earlier run is taken over.
    :param cordoned: whether the node is cordoned now.
    :param cordon: whether this call cordons it.
    :param vms: VMs to remember, ``[{namespace, name, uid}]``; added to those known.
    :param progress: small dict; its keys replace those known.
    :returns: ``{run, owner, since, cordoned_before, cordoned, vms, phase, progress, earlier_runs}``.

    ``cordoned_before`` stays what it was at the first call. ``cordoned`` says that the cordon is ours: it is
    only set by the call that really cordons, so that a cordon set by somebody else in between stays theirs.
    """
    if record is None:
        record = {"cordoned_before": cordoned, "since": since}
    earlier = list(record.get("earlier_runs") or [])
    if record.get("run", run) != run:
        earlier = [name for name in earlier if name != run] + [record["run"]]
    known = {_identity(vm): vm for vm in (record.get("vms") or []) + (vms or [])}
    return dict(
        record,
        run=run,
        owner=owner if record.get("run") != run else record.get("owner", owner),
        cordoned_before=bool(record.get("cordoned_before")),
        cordoned=is_ours(record) or (cordon and not cordoned),
        vms=list(known.values()),
        phase=record.get("phase") if phase is None else phase,
        progress=dict(record.get("progress") or {}, **(progress or {})),
        earlier_runs=earlier,
    )


def _identity(vm):
    return vm.get("namespace"), vm.get("name"), vm.get("uid")


def is_ours(record):
    """Whether the cordon of a node with this journal was set by us."""
    return bool(record.get("cordoned", "run" in record and not record.get("cordoned_before")))


def release_node(record, cordoned, run=None):
    """What ending a node's maintenance does.

    :param run: end only the maintenance of this run; None for any.
    :returns: ``(remove_journal, uncordon, warning or None)``.
    """
    if record is None:
        return False, False, None
    if run and record["run"] != run:
        return False, False, (
            "The node is in the maintenance of run %s, not of run %s; journal and cordon were left in place."
            % (record["run"], run))
    if record.get("cordoned_before"):
        return True, False, None
    if cordoned and not is_ours(record):
        return True, False, "The node was cordoned by somebody else after run %s began; it stays so." % record["run"]
    return True, bool(cordoned), None
