# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Emptying a KVM host: the plan (by evacuation.py, as for a node), and whether all is well after the maintenance.

A host is a dict as the module libvirt_host_info returns it. Guests are called ``host/name`` where people read of them.
"""

from __future__ import annotations

import re

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import (
    assignment,
    bonds,
    evacuation,
    foresight,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.kvm_reasons import reason_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_bytes
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.wording import plan_lines

PAGES = {1048576: "hugepages-1Gi", 2048: "hugepages-2Mi"}
FIELDS = {"hugepages-1Gi": "hugepages_1gi_free", "hugepages-2Mi": "hugepages_2mi_free"}
RANK = ("blocked", "unknown", "cold_only")
MEMORY_LOSS = 0.01  # of the memory; a new kernel or firmware keeps a little more for itself
NO_WAY_BACK = "NoWayBack"
SOMEBODY = "MovedBySomebodyElse"  # a migration is under way that no journal tells of


def plan(host, hosts, judged, options=None, journal=None):
    """The plan that empties a host.

    :param hosts: ``{name: libvirt_host_info's host}`` of the host and of all that guests may go to.
    :param judged: ``{target: libvirt_migratable_info's guests}`` of the same targets.
    :param options: ``{apart: [[name]], leave: [name], critical: pattern, cpu_ratio: vCPUs per CPU (0: not looked at), links,
        dirty_rates, bandwidth: bytes/s, connections, auto_converge, timeout: s, ways: {target: [what stands between it and the host,
        a sentence]}}``, each may be missing.
    :param journal: what an earlier run left; its targets hold for guests that are under way.
    :returns: what :func:`.evacuation.plan` returns, with the forecast; beside it ``moves: [{name, uuid, memory_bytes, target,
        critical}]`` in their order, ``shut_off: [{name, uuid, autostart}]`` which stay, ``lines`` for people.
    :raises ValueError: an option that cannot be meant.
    """
    options = options or {}
    targets = sorted(set(judged) & set(hosts) - {host})
    known = {move["uuid"]: move["target"] for move in (journal or {}).get("moves") or []}
    running = [guest for guest in hosts[host]["guests"] if guest["active"]]
    vms = [_judged(host, guest, {name: _row(judged[name], guest) for name in targets}, known, options) for guest in running]
    facts = {"cluster": {"target_by_name": True, "settings": {}}, "vms": vms,
             "nodes": {name: _room(hosts[name], options.get("cpu_ratio") or 0) for name in targets}}
    requests = {(host, guest["name"]): _request(guest, options.get("cpu_ratio") or 0) for guest in running}
    links, assumed = foresight.links_of(options.get("links"), [host] + targets)
    planned = evacuation.plan(host, facts, requests, 1, _apart(hosts, options.get("apart") or ()), options.get("leave") or ())
    planned["first"] = [dict(row, message=reason_of(row["code"]).message, remedy=reason_of(row["code"]).remedy) for row in planned["first"]]
    rates = foresight.dirty_rates_of(options.get("dirty_rates"), [(host, guest["name"]) for guest in running])
    guests = {(host, guest["name"]): foresight.Known(
        guest["memory_bytes"], 0, rates.get((host, guest["name"])), options.get("bandwidth"), options.get("connections") or 1,
        bool(options.get("auto_converge")), options.get("timeout")) for guest in running}
    back = _ways_back(planned, options.get("ways") or {})
    planned = dict(planned, warnings=sorted(set(planned["warnings"]) | ({NO_WAY_BACK} if back else set())))
    planned = evacuation.foreseen(planned, foresight.timeline(planned, guests, links, timeout=options.get("timeout"), assumptions=assumed))
    by_name = {vm["name"]: vm for vm in vms}
    moves = [{"name": vm["name"], "uuid": vm["uid"], "memory_bytes": vm["memory_bytes"], "critical": by_name[vm["name"]]["critical"],
              "target": vm["target_node"] or known.get(vm["uid"])} for wave in planned["waves"] for vm in wave["vms"]]
    shut_off = [{key: guest[key] for key in ("name", "uuid", "autostart")} for guest in hosts[host]["guests"] if not guest["active"]]
    return dict(planned, moves=moves, shut_off=shut_off, lines=_lines(planned, shut_off, back))


def _ways_back(planned, ways):
    """Lines for the targets in use from which nothing gets back to the host."""
    used = {vm["target_node"] for wave in planned["waves"] for vm in wave["vms"]}
    return ["back    from %s: %s" % (name, text) for name in sorted(used & set(ways)) for text in ways[name]]


def _row(rows, guest):
    return next((row for row in rows if row["uuid"] == guest["uuid"]), {"verdict": "unknown", "reasons": []})


def _judged(host, guest, rows, known, options):
    """One guest as evacuation.py wants it; targets that refuse it are no candidates."""
    vm = {"namespace": host, "name": guest["name"], "uid": guest["uuid"], "memory_bytes": guest["memory_bytes"],
          "critical": bool(re.search(options.get("critical") or ".*", guest["name"]))}
    if guest["leaving"]:
        there = known.get(guest["uuid"])
        code = assignment.UNDER_WAY if there else SOMEBODY
        return dict(vm, verdict="live" if there else "blocked", candidates=[there] if there else [],
                    reasons=[{"code": code, "severity": "info" if there else "blocker"}])
    candidates = [name for name, row in sorted(rows.items()) if row["verdict"] == "live"]
    if candidates:
        return dict(vm, verdict="live", candidates=candidates,
                    reasons=[reason for reason in rows[candidates[0]]["reasons"] if reason["severity"] == "warning"])
    # of the targets that refuse it, the one that lacks least
    nearest = min(rows.values(), key=lambda row: sum(reason["severity"] == "blocker" for reason in row["reasons"]),
                  default={"reasons": [{"code": "NoTarget", "severity": "blocker"}]})
    worst = min((row["verdict"] for row in rows.values()), key=RANK.index, default="blocked")
    return dict(vm, verdict=worst, candidates=[], reasons=nearest["reasons"])


def _room(host, ratio):
    """What a target has left, in evacuation.py's words: bytes, and CPUs as vCPUs."""
    room = {"memory_free": host["memory_available"]}
    for kib, count in (host["pages_free"] or {}).items():
        if int(kib) in PAGES:
            room[FIELDS[PAGES[int(kib)]]] = count * int(kib) * 1024
    if ratio:
        room["cpus_free"] = host["cpus"] * ratio - sum(guest["vcpus"] for guest in host["guests"] if guest["active"])
    return {key: value for key, value in room.items() if value is not None}


def _request(guest, ratio):
    found = {PAGES.get(guest["page_kib"], "memory"): guest["memory_bytes"]}
    return dict(found, cpu=guest["vcpus"]) if ratio else found


def _apart(hosts, groups):
    found = {}
    for number, names in enumerate(groups):
        for host, told in hosts.items():
            found.update({(host, guest["name"]): (number, host) for guest in told["guests"] if guest["name"] in names and guest["active"]})
    apart = {key: frozenset(other for other in found if other != key and found[other][0] == found[key][0]) for key in found}
    return bonds.Bonds({key: others for key, others in apart.items() if others}, {}, {key: host for key, (_number, host) in found.items()})


def _lines(planned, shut_off, back):
    lines = plan_lines(planned)
    if back:
        lines += back + ["        Guests could not return that way. Open these ports, or take other targets."]
    for guest in shut_off:
        lines.append("stays   %s/%s: shut off%s" % (planned["node"], guest["name"],
                                                    ", autostart off for the while" if guest["autostart"] else ""))
    return lines + (foresight.lines(planned["forecast"]) if planned["waves"] else [])


# -- afterwards ------------------------------------------------------------------


def whereabouts(moves, hosts):
    """Problems of guests that were moved: each has to run on exactly one host.

    :param moves: ``[{name, uuid, target}]``. ``hosts``: ``{name: host}``, those that answered.
    """
    problems = []
    for move in moves:
        places = sorted(name for name, host in hosts.items()
                        for guest in host["guests"] if guest["uuid"] == move["uuid"] and guest["active"])
        if len(places) > 1:
            problems.append("%s runs on %s. Shut down all but one at once, and look at its storage." % (move["name"], " and ".join(places)))
        elif not places:
            problems.append("%s runs on none of %s." % (move["name"], ", ".join(sorted(hosts))))
        elif places != [move["target"]]:
            problems.append("%s runs on %s, not on %s." % (move["name"], places[0], move["target"]))
    return problems


def under_way(moves, hosts, home):
    """The moves that libvirt is just making, each with ``from`` and ``to``: out of ``home``, or back to it."""
    found = []
    for move in moves:
        for origin, target in ((home, move["target"]), (move["target"], home)):
            for guest in hosts.get(origin, {"guests": []})["guests"]:
                if guest["uuid"] == move["uuid"] and guest["leaving"]:
                    found.append(dict(move, to=target, **{"from": origin}))
    return found


def host_gate(before, after):
    """``(problems, notes)`` of a host after its maintenance: what it had it must have again; what is another now is noted."""
    problems, notes = [], []
    if after["memory_bytes"] < before["memory_bytes"] * (1 - MEMORY_LOSS):
        problems.append("it has %s of memory, it had %s" % (format_bytes(after["memory_bytes"]), format_bytes(before["memory_bytes"])))
    if after["cpus"] < before["cpus"]:
        problems.append("it has %d CPUs, it had %d" % (after["cpus"], before["cpus"]))
    now = {str(cell["node"]): cell["pages"] for cell in after["cells"]}
    for cell in before["cells"]:
        for kib, count in cell["pages"].items():
            have = now.get(str(cell["node"]), {}).get(kib, 0)
            if int(kib) >= 2048 and have < count:
                problems.append("NUMA node %s has %d pages of %s, it had %d" % (cell["node"], have, format_bytes(int(kib) * 1024), count))
    for what, word in (("networks", "network"), ("pools", "storage pool")):
        for name, active in sorted((before[what] or {}).items()):
            if active and not (after[what] or {}).get(name):
                problems.append("its %s %s is not active" % (word, name))
    for what, version in sorted(after["versions"].items()):
        if version != before["versions"].get(what):
            notes.append("%s is %s, it was %s" % (what, version, before["versions"].get(what)))
    return problems, notes


def gate(host, journal, hosts):
    """Whether a host and its guests are as they should be after the maintenance.

    :param journal: ``{before: host, moves}``. ``hosts``: ``{name: host}`` of all that answered.
    :returns: ``{good, problems: [sentence], lines}``.
    """
    problems, notes = [], []
    if host not in hosts:
        problems.append("libvirt on %s does not answer." % host)
    else:
        found, notes = host_gate(journal["before"], hosts[host])
        problems += ["%s is not as before: %s." % (host, text) for text in found]
    problems += whereabouts(journal["moves"], hosts)
    lines = ["FAIL: " + text for text in problems] + ["changed: " + text for text in notes]
    if not problems:
        lines.append("PASS: %s has what it had, and %d moved guest%s run%s exactly once" % (
            host, len(journal["moves"]), *(("", "s") if len(journal["moves"]) == 1 else ("s", ""))))
    return {"good": not problems, "problems": problems, "lines": lines}
