# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""VMI + volumes + nodes + cluster configuration -> can it move, where to, and if not, why.

Applies the table of :mod:`.rules` to every VM asked about. The inventory that
everything here reads is what ``cluster.inventory.collect`` returns: ``{now, vmis,
vms, vmims, nodes, pods, claims, quotas, kubevirts, policies, namespaces: lists of
raw objects, and cluster_quotas, aaq_quotas, aaqs, topologies, attachments, network_policies where the cluster has
such; forbidden: names of the lists that could not be read; selected:
[(namespace, name)]; target_by_name: bool or None; hyperconverged_api: str or None;
dirty_rates (optional): {(namespace, name): bytes/s}}``.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import reasons, target_pod
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.capacity import public as public_node
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.critical import is_critical, is_named
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.migration import FINAL
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import mapping, text
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.rules import RULES, Guest, streams, told
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.view import View

FULL_DETAIL_UP_TO = 20  # VMs
BRIEF_CANDIDATES, BRIEF_NODES = 10, 3  # names per VM in a brief answer
SEVERITIES = ("blocker", "warning", "info")
VERDICTS = ("live", "cold_only", "blocked", "unknown")


def judge(inventory, settings=None, detail="auto", critical=(), acknowledged=(), hold=False):
    """The verdict on every selected VM.

    :param inventory: see the top of this file.
    :param settings: ``{snake_case field: value}`` to judge by as if they were in force; a MigrationPolicy still wins.
    :param detail: ``full``, ``brief`` or ``auto`` (full for up to 20 VMs). A brief answer names the best 10
        candidates and 3 nodes per reason, and has no ``details``.
    :param critical: guests that count as critical beside those that are by size, pages or label, as ``namespace/name``
        or ``name``.
    :param acknowledged: dangers for critical guests that are accepted (:data:`.critical.DANGERS`).
    :param hold: whether ``settings`` will be held for these VMs by a policy of our own, which goes before every other
        and keeps post-copy and pauses off where they are not asked for.
    :returns: ``{cluster, nodes, vms, reasons, summary}``, see the module vm_migratable_facts.
    """
    return _answer(View(inventory, settings, critical, acknowledged, hold), detail)


def requests(inventory, settings=None):
    """What the target pod of each VMI asks of a node, in the units of the node facts (``cpu`` in CPUs).

    :returns: ``{(namespace, name): {resource: amount}}``; a guest that cannot be computed is left out.
    """
    view, asked = View(inventory, settings), {}
    for key, vmi in view.vmis.items():
        found = told(target_pod.requests, vmi, view.release, view.config)
        if found:
            asked[key] = dict(found, cpu=found["cpu"] / 1000.0)
    return asked


def _answer(view, detail):
    selected = view.selected()
    full = detail == "full" or (detail == "auto" and len(selected) <= FULL_DETAIL_UP_TO)
    vms, used = [], set()
    for key in selected:
        row = _row(key, view, full)
        used.update(reason["code"] for reason in row["reasons"])
        used.update(entry["code"] for entry in row["ruled_out"])
        vms.append(row)
    verdicts = [row["verdict"] for row in vms]
    return {
        "cluster": view.public(),
        "nodes": {name: dict(public_node(node), outbound_migrations=view.outbound.get(name, 0))
                  for name, node in sorted(view.scene.nodes.items())},
        "vms": vms,
        "reasons": reasons.public(used),
        "summary": {verdict: verdicts.count(verdict) for verdict in VERDICTS},
    }


def _row(key, view, full):
    """One VM's entry in the answer."""
    vmi = view.vmis.get(key)
    if vmi is None:
        return _without_guest(key, view, full)
    guest = Guest(vmi, view)
    found = {}
    for code, detail in _apply(guest, view):
        if detail not in found.setdefault(code, []):
            found[code].append(detail)
    if guest.phase in FINAL:
        found = {"Finished": found["Finished"]}  # nothing else is of interest any more
    place = guest.placement
    ruled_out = {}
    for name, against in (place.ruled_out if place else {}).items():
        for code, _detail in against:
            ruled_out.setdefault(code, []).append(name)
    row = _entry(key, vmi, found)
    row.update(
        node=guest.node or None, phase=guest.phase if isinstance(guest.phase, str) else None,
        memory_bytes=guest.memory, page_size=guest.page_size if isinstance(guest.page_size, str) else None,
        dedicated_cpus=guest.dedicated, critical=guest.critical, budget_seconds=guest.budget,
        disk_bytes=guest.disk_bytes, streams=(told(streams, guest, view) or (None,))[0],
        candidates=list(place.candidates if full else place.candidates[:BRIEF_CANDIDATES]) if place else [],
        candidate_count=len(place.candidates) if place else 0,
        ruled_out=[{"code": code, "count": len(names), "nodes": sorted(names) if full else sorted(names)[:BRIEF_NODES]}
                   for code, names in sorted(ruled_out.items())],
        undecided=sorted(place.undecided) if place else [],
    )
    if full:
        row["details"] = _details(guest, found)
    return row


def _apply(guest, view):
    for rule in RULES:
        try:
            yield from rule(guest, view)
        except Exception as exc:  # pylint: disable=broad-except
            # Objects of any shape come along; a check that stumbles has judged nothing, which is a verdict.
            yield "CheckFailed", "%s: %s: %s" % (rule.__name__, type(exc).__name__, exc)


def _without_guest(key, view, full):
    """A VM without a VMI is stopped; without either, only the missing right to see VMs can be the reason."""
    vm = view.vms.get(key)
    row = _entry(key, vm, {"Stopped": []} if vm is not None else {"CannotReadVirtualMachines": []})
    template = mapping(vm, "spec", "template")
    row["memory_bytes"] = told(target_pod.guest_memory, template) or None
    page_size = told(target_pod.page_size, template)
    row["page_size"] = page_size if isinstance(page_size, str) else None
    row["dedicated_cpus"] = bool(told(target_pod.dedicated_cpus, template))
    row["critical"] = is_critical(row["memory_bytes"], row["page_size"]) or is_named(vm, view.critical)
    row["phase"] = "Stopped" if vm is not None else None
    if full:
        row["details"] = {"reasons": {}, "asks": {}, "nodes": {}, "undecided": {}}
    return row


def _entry(key, obj, found):
    codes = sorted(found, key=lambda code: (SEVERITIES.index(reasons.reason_of(code).severity), code))
    effects = {reasons.reason_of(code).effect for code in codes}
    return {
        "namespace": key[0], "name": key[1], "uid": text(obj, "metadata", "uid") or None, "node": None, "phase": None,
        # What is sure comes before what is not: a guest with a local disk is not "unknown".
        "verdict": next((effect for effect in ("cold_only", "blocked", "unknown") if effect in effects), "live"),
        "reasons": [{"code": code, "severity": reasons.reason_of(code).severity} for code in codes],
        "memory_bytes": None, "page_size": None, "dedicated_cpus": False, "critical": False, "budget_seconds": None,
        "disk_bytes": 0, "streams": None,
        "candidates": [], "candidate_count": 0, "ruled_out": [], "undecided": [],
    }


def _details(guest, found):
    """The particulars behind the codes: what exactly, how much, on which node."""
    place = guest.placement
    return {
        "reasons": {code: [detail for detail in details if detail] for code, details in found.items() if any(details)},
        "asks": dict(guest.need.asks, cpu=guest.need.asks["cpu"] / 1000.0) if guest.need else {},
        "nodes": {name: ["%s: %s" % row if row[1] else row[0] for row in against]
                  for name, against in (place.ruled_out if place else {}).items()},
        "undecided": dict(place.undecided) if place else {},
    }
