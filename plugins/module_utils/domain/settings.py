# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cluster-wide live migration settings: names, places, defaults, time granted, contradictions.

HyperConverged keeps nine settings in one block, in another place in each of
its API versions. Everything above the API works with the snake_case names of
:data:`FIELDS`; ``None`` means "not set". Releases are KubeVirt's, ``(1, 6)`` for
1.6; HyperConverged 1.16 ships KubeVirt 1.6, and so on (facts 11).
"""

from __future__ import annotations

import re
from collections import namedtuple

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import (
    format_bytes,
    format_rate,
    parse_bytes,
    parse_quantity,
)

API_GROUP = "hco.kubevirt.io"
# Where the block lives, by API version; the preferred version first (facts 10.1).
PLACES = {
    "v1": ("spec", "virtualization", "liveMigrationConfig"),
    "v1beta1": ("spec", "liveMigrationConfig"),
}

# kind: limit (a number of migrations), seconds, switch (true/false), bandwidth (bytes/s quantity), name
# since: first release whose HyperConverged has the field (facts 10.2)
Field = namedtuple("Field", "name key kind since")
FIELDS = {
    field.name: field
    for field in (
        Field("parallel_migrations_per_cluster", "parallelMigrationsPerCluster", "limit", (1, 2)),
        Field("parallel_outbound_migrations_per_node", "parallelOutboundMigrationsPerNode", "limit", (1, 2)),
        Field("bandwidth_per_migration", "bandwidthPerMigration", "bandwidth", (1, 2)),
        Field("completion_timeout_per_gib", "completionTimeoutPerGiB", "seconds", (1, 2)),
        Field("progress_timeout", "progressTimeout", "seconds", (1, 2)),
        Field("network", "network", "name", (1, 2)),
        Field("allow_auto_converge", "allowAutoConverge", "switch", (1, 2)),
        Field("allow_post_copy", "allowPostCopy", "switch", (1, 2)),
        Field("allow_workload_disruption", "allowWorkloadDisruption", "switch", (1, 9)),
    )
}
BLOCK = "liveMigrationConfig"
LARGEST = 2 ** 31 - 1  # the narrower of the integer types that the fields have
DAY = 86400

# Sets of values for a purpose. Post-copy is off although the vendor's sample for heavy load has it on: a guest is lost
# with it when a node or the link fails, and 1 GiB pages make each missing page a long stop.
PRESETS = {
    "heavy_workload": {
        "parallel_migrations_per_cluster": 5, "parallel_outbound_migrations_per_node": 1, "bandwidth_per_migration": "0",
        "completion_timeout_per_gib": 150, "progress_timeout": 150, "allow_post_copy": False,
    },
}


def release_of(version):
    """``(1, 6)`` of ``v1.6.2``, ``1.6`` or ``(1, 6)``; None when there is no number in it."""
    if isinstance(version, (tuple, list)):
        return tuple(version[:2])
    match = re.match(r"v?(\d+)\.(\d+)", str(version or ""))
    return (int(match.group(1)), int(match.group(2))) if match else None


def defaults(release):
    """What a fresh installation of that release has: ``{field: value or None}`` (facts 10.3).

    An upgraded cluster keeps older numbers (facts 10.4): read what is there, this is for comparison.
    """
    release = release_of(release) or (1, 9)
    return {
        "parallel_migrations_per_cluster": 5,
        "parallel_outbound_migrations_per_node": 1 if release >= (1, 9) else 2,
        "bandwidth_per_migration": None,
        "completion_timeout_per_gib": 20 if release >= (1, 9) else 150 if release >= (1, 4) else 800,
        "progress_timeout": 150,
        "network": None,
        "allow_auto_converge": False,
        "allow_post_copy": False,
        "allow_workload_disruption": False if release >= (1, 9) else None,
    }


def in_force(migrations, release):
    """The settings KubeVirt works with, every field given a value (bandwidth "0" and network "" when unset).

    :param migrations: ``spec.configuration.migrations`` of the KubeVirt CR (dict, or None).

    What the CR leaves out, KubeVirt fills itself: 5 and 2 migrations, no cap, 150 s per GB (800 s up to
    1.3), 150 s without progress; since 1.5 disruption follows post-copy when it is unset (facts 2.1, 4.9, 11).
    """
    release = release_of(release) or (1, 9)
    found = read(migrations)
    built_in = {
        "parallel_migrations_per_cluster": 5, "parallel_outbound_migrations_per_node": 2,
        "bandwidth_per_migration": "0", "network": "", "progress_timeout": 150,
        "completion_timeout_per_gib": 150 if release >= (1, 4) else 800,
        "allow_auto_converge": False, "allow_post_copy": False,
        "allow_workload_disruption": bool(found["allow_post_copy"]),
    }
    return {name: built_in[name] if value is None else value for name, value in found.items()}


# -- the block ---------------------------------------------------------------


def preferred(served):
    """Of the API versions a server has, the one to work with; None when it has none that we know."""
    return next((version for version in PLACES if version in served), None)


def block_of(hyperconverged, api_version):
    """The block (camelCase, ``{}`` when missing) of a HyperConverged object read in that API version."""
    here = hyperconverged
    for part in PLACES[api_version]:
        here = (here or {}).get(part)
    return here or {}


def nested(block, api_version):
    """The block in its place, as the body of a merge patch."""
    for part in reversed(PLACES[api_version]):
        block = {part: block}
    return block


def read(block):
    """``{field: value or None}`` for all nine fields, of a camelCase block."""
    return {field.name: (block or {}).get(field.key) for field in FIELDS.values()}


def written(values):
    """The camelCase block of ``{field: value}``; None stays None, which removes a key in a merge patch."""
    return {FIELDS[name].key: value for name, value in values.items()}


def same(name, one, other):
    """Whether two values of a field do the same: ``1Gi`` and ``1024Mi``, no cap and ``0``, no network and ``""``."""
    kind = FIELDS[name].kind
    if kind == "name":
        return (one or "") == (other or "")
    if kind == "bandwidth" and one != other:
        try:
            return parse_quantity(one or "0") == parse_quantity(other or "0")
        except ValueError:
            return False
    return one == other


def unequal(wanted, found):
    """Names of the fields of ``wanted`` that have another effect in ``found``, sorted."""
    return sorted(name for name, value in wanted.items() if not same(name, value, found.get(name)))


def asked(given):
    """What a person's options mean: ``{field: value to write}``, None for "remove it".

    A bandwidth of 0 and an empty network mean "not set", which is how HyperConverged installs them.
    """
    wanted = {}
    for name, value in given.items():
        if value is None:
            continue
        unset = {"name": "", "bandwidth": "0"}.get(FIELDS[name].kind)
        wanted[name] = None if unset is not None and same(name, value, unset) else value
    return wanted


# -- time granted --------------------------------------------------------------


def budget_seconds(per_gib, data_bytes):
    """Seconds KubeVirt grants a migration before it acts; None: no limit.

    :param per_gib: ``completion_timeout_per_gib``, seconds; 0 switches the limit off.
    :param data_bytes: guest memory, plus local disks when they are copied.

    Despite its name the setting counts decimal gigabytes, a started one in full (facts 4.6).
    """
    return int(per_gib) * -(-int(data_bytes) // 10 ** 9) if per_gib else None


# -- what cannot be meant --------------------------------------------------------


def problems(given, guest_sizes=()):
    """What is wrong with the options, as sentences; empty when they can be written.

    HyperConverged itself only checks how a bandwidth is spelled (facts 10.6).
    """
    found = []
    for name, value in given.items():
        if value is None:
            continue
        kind = FIELDS[name].kind
        if kind == "limit" and value < 1:
            found.append("%s is %s; with less than 1 no migration would ever start" % (name, value))
        elif kind == "seconds" and value < 0:
            found.append("%s is %s; it takes seconds, from 0 (off) on" % (name, value))
        elif kind in ("limit", "seconds") and value > LARGEST:
            found.append("%s is %s; %d is the largest number it can hold" % (name, value, LARGEST))
        elif kind == "seconds" and value > DAY:
            found.append("%s is %s, which is more than a day%s" % (
                name, value, " for each gigabyte" if name == "completion_timeout_per_gib" else " over a dead link"))
        elif kind == "bandwidth":
            found += _bandwidth_problem(name, value)
        elif kind == "name" and not _NETWORK.fullmatch(value):
            found.append(
                "%s is '%s'; it takes the name of a NetworkAttachmentDefinition, or '' for the pod network"
                % (name, value))
    for size in guest_sizes:
        found += _quantity_problem("guest_sizes", size, "512Gi or 3Ti", 1)
    return found


_NETWORK = re.compile(r"((NAME/)?NAME)?".replace("NAME", r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?"))


def _quantity_problem(name, value, examples, least):
    try:
        if parse_bytes(value) >= least:
            return []
    except ValueError:
        pass
    return ["%s is '%s'; it takes a quantity such as %s" % (name, value, examples)]


def _bandwidth_problem(name, value):
    wrong = _quantity_problem(name, value, "64Mi or 1Gi (bytes per second; 0: no cap)", 0)
    if not wrong and 0 < parse_bytes(value) < 1 << 20:
        return ["%s is '%s', which is less than 1 MiB/s, the least that KubeVirt knows; is a unit missing?" % (name, value)]
    return wrong


def contradictions(values, release_has_disruption):
    """What a set of settings does that its author may not expect, as sentences.

    :param values: all nine fields as they will be in HyperConverged.
    :param release_has_disruption: whether this HyperConverged has ``allow_workload_disruption``.
    """
    found = []
    post_copy, disruption = values.get("allow_post_copy"), values.get("allow_workload_disruption")
    if release_has_disruption and post_copy and not disruption:
        found.append(
            "allow_post_copy is true but allow_workload_disruption is not: post-copy is never reached, the migration "
            "is aborted when its time is over. Set both, or neither.")
    if release_has_disruption and disruption and not post_copy:
        found.append(
            "allow_workload_disruption is true without allow_post_copy: a guest whose time is over is paused until "
            "the rest is copied.")
    if not release_has_disruption and post_copy:
        found.append(
            "allow_post_copy is true: a guest whose time is over goes on at the target before its memory is there, and "
            "is lost if either node or the link fails then.")
    cluster, node = values.get("parallel_migrations_per_cluster"), values.get("parallel_outbound_migrations_per_node")
    if cluster and node and node > cluster:
        found.append(
            "parallel_outbound_migrations_per_node (%s) is above parallel_migrations_per_cluster (%s), which is the "
            "limit that counts." % (node, cluster))
    if values.get("completion_timeout_per_gib") == 0 and values.get("progress_timeout") == 0:
        found.append(
            "completion_timeout_per_gib and progress_timeout are both 0: KubeVirt never ends a migration by itself, "
            "not even over a dead link.")
    return found + _too_little(values)


def _too_little(values):
    """Numbers with which hardly any migration can succeed."""
    found = []
    seconds, stalled = values.get("completion_timeout_per_gib") or 0, values.get("progress_timeout") or 0
    try:
        cap = parse_bytes(values.get("bandwidth_per_migration") or "0")
    except ValueError:
        cap = 0
    if cap and seconds and cap * seconds < 10 ** 9:
        found.append(
            "bandwidth_per_migration (%s) and completion_timeout_per_gib (%d) exclude each other: within the time for a "
            "gigabyte the cap lets %s pass. Only guests that are mostly empty could be moved."
            % (values["bandwidth_per_migration"], seconds, format_bytes(cap * seconds)))
    elif 0 < seconds < 5:
        found.append("completion_timeout_per_gib is %d: every guest would need more than %s from the first second on."
                     % (seconds, format_rate(10 ** 9 // seconds)))
    if 0 < stalled < 30:
        found.append("progress_timeout is %d: a short interruption of the link ends a migration." % stalled)
    return found


# -- may it be written now -----------------------------------------------------------


def upgrading(hyperconverged, kubevirt):
    """Why nothing should be configured now, as a clause; None when the operators are at rest (facts 10.13).

    The few seconds in which conditions flap after any change are no reason.
    """
    status = (hyperconverged or {}).get("status") or {}
    row = next(iter(_conditions(status, "Progressing")), {})
    if row.get("status") == "True" and row.get("reason") == "HCOUpgrading":
        return "HyperConverged is being upgraded%s" % (": %s" % row["message"] if row.get("message") else "")
    state = (kubevirt or {}).get("status") or {}
    target, observed = state.get("targetKubeVirtVersion"), state.get("observedKubeVirtVersion")
    if target and observed and target != observed:
        return "KubeVirt is being updated from %s to %s" % (observed, target)
    if _condition(status, "ReconcileComplete") == "False":
        return "HyperConverged cannot reconcile%s" % _said(status, "ReconcileComplete")
    return None


# -- has it arrived ----------------------------------------------------------------


def outstanding(hyperconverged, kubevirt, api_version):
    """What still has to happen before the settings are in force, as one sentence; None when nothing has.

    :param hyperconverged: the object as last read in ``api_version``.
    :param kubevirt: the KubeVirt object, or None when there is none (yet).

    HyperConverged reports itself healthy before anything was rolled out (facts 10.9), so the proof is the
    chain of facts 10.10: HyperConverged has seen the change, KubeVirt's spec carries it, KubeVirt has seen
    and deployed it. Health flaps on the way; the caller asks for the answer to hold over several polls.
    """
    generation = hyperconverged["metadata"].get("generation")
    status = hyperconverged.get("status") or {}
    if status.get("observedGeneration") != generation or _condition(status, "ReconcileComplete") != "True":
        return "HyperConverged has not reconciled generation %s (ReconcileComplete is %s%s)" % (
            generation, _condition(status, "ReconcileComplete") or "not reported", _said(status, "ReconcileComplete"))
    if kubevirt is None:
        return "there is no KubeVirt object that HyperConverged could pass the settings to"
    wanted = read(block_of(hyperconverged, api_version))
    found = read(((kubevirt.get("spec") or {}).get("configuration") or {}).get("migrations"))
    # What HyperConverged has no value for (disruption up to 1.8) it leaves to KubeVirt, except that a cap and a
    # network that are gone must be gone there as well.
    missing = [
        name for name in unequal(wanted, found)
        if wanted[name] is not None or FIELDS[name].kind in ("name", "bandwidth")
    ]
    if missing:
        patched = "kubevirt.kubevirt.io/jsonpatch" in (hyperconverged["metadata"].get("annotations") or {})
        return "KubeVirt still has %s%s" % (
            ", ".join("%s=%s" % (name, found[name]) for name in missing),
            " (the annotation kubevirt.kubevirt.io/jsonpatch on HyperConverged overrides settings)" if patched else "")
    status = kubevirt.get("status") or {}
    if status.get("observedGeneration") != kubevirt["metadata"].get("generation"):
        return "KubeVirt has not observed generation %s" % kubevirt["metadata"].get("generation")
    if status.get("phase") != "Deployed" or status.get("targetDeploymentID") != status.get("observedDeploymentID"):
        return "KubeVirt is still rolling out (phase %s)" % status.get("phase")
    for kind, good in (("Available", "True"), ("Progressing", "False"), ("Degraded", "False")):
        if _condition(status, kind) != good:
            found = _condition(status, kind) or "not reported"
            return "KubeVirt's condition %s is %s%s" % (kind, found, _said(status, kind))
    return None


def _conditions(status, kind):
    return [row for row in status.get("conditions") or [] if row.get("type") == kind]


def _condition(status, kind):
    return next((row.get("status") for row in _conditions(status, kind)), None)


def _said(status, kind):
    row = next(iter(_conditions(status, kind)), {})
    return "".join(": %s" % row[key] for key in ("reason", "message") if row.get(key))
