# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The CPU that every one of several hosts can run: read the hosts, have libvirt compute, have every host confirm."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import (
    BadInput,
    LiveMigrationError,
    Refused,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import cpu
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.connection import LOCAL, kernel_of

ARCH = "x86_64"  # where a document does not name it


def survey(hosts, entries, where, mixed=False):
    """What is to be known of each host: ``[{name, uri, live, cpu, usable, uuid, microcode, kernel, qemu, ...}]``.

    :param hosts: ``Hosts``.
    :param entries: the module's ``hosts``: name, uri or xml, kernel.
    :param where: emulator, arch, machine and virttype; None each for libvirt's default.
    :param mixed: whether CPUs of different makers are let through.
    :raises BadInput: the same host twice, a document that is none.
    """
    found, named, known = [], {}, {}
    for place, entry in enumerate(entries, 1):
        host = _captured(entry, place) if entry.get("xml") else _live(hosts.open(entry.get("uri")), entry, where)
        if host["name"] in named:
            raise BadInput("The host %s is given twice." % host["name"], "Name each host once.")
        if host["live"] and host["uuid"] and host["uuid"] in known:
            raise BadInput("%s and %s are the same host (its UUID is %s)." % (known[host["uuid"]], host["name"], host["uuid"]),
                           "Name each host once, by one URI.")
        named[host["name"]] = known[host["uuid"]] = host["name"]
        found.append(host)
    found.sort(key=lambda host: host["name"])
    sides = cpu.vendors(found)
    if len(sides) > 1 and not mixed:
        raise Refused(
            "These hosts have CPUs of different makers, and no guest moves live between them: %s."
            % "; ".join("%s: %s" % (vendor, ", ".join(names)) for vendor, names in sides.items()),
            "Compute one baseline for each maker.", vendors=sides)
    return found


def _captured(entry, place):
    name = entry.get("name") or "host %d" % place
    try:
        host = cpu.read_host(entry["xml"], "What was captured of %s" % name)
    except ValueError as exc:
        raise BadInput("%s." % exc, "Capture it with 'virsh domcapabilities'.") from exc
    return dict(host, name=name, uri=None, live=None, kernel=entry.get("kernel"), qemu=None, libvirt=None, firmware=None)


def _live(connection, entry, where):
    name = entry.get("name") or connection.hostname()
    try:
        host = cpu.read_host(connection.domain_capabilities(where), "What libvirt says of %s" % name)
        capabilities = ElementTree.fromstring(connection.capabilities())
    except ValueError as exc:
        raise LiveMigrationError(
            "%s." % exc, "See 'virsh domcapabilities' there: without it no CPU can be agreed on. Is it the right virttype?") from exc
    microcode = capabilities.find("./host/cpu/microcode")
    firmware = re.search(r"<bios>.*?<entry name=['\"]version['\"]>(.*?)</entry>", connection.firmware() or "", re.DOTALL)
    return dict(host, **connection.versions(), name=name, uri=connection.uri, live=connection,
                kernel=entry.get("kernel") or kernel_of(connection.uri),
                uuid=capabilities.findtext("./host/uuid"), firmware=firmware[1] if firmware else None,
                microcode=microcode.get("version") if microcode is not None else None)


def reference(hosts, found):
    """The connection that computes: the live host with the oldest QEMU, whose models the others know too; else this machine."""
    live = [host for host in found if host["live"]]
    if not live:
        return hosts.open(LOCAL)

    def age(host):
        return [int(part) for version in (host["qemu"], host["libvirt"]) for part in (version or "0").split(".")], host["name"]

    return min(live, key=age)["live"]


def compute(asked, found, where, migratable):
    """The baseline as a CPU. Whatever order the hosts came in, libvirt is asked the same.

    :param asked: from :func:`reference`.
    """
    inputs = sorted({cpu.as_input(host["cpu"]) for host in found})
    return cpu.cpu_of(asked.baseline(inputs, where, migratable))


def spell(connection, one, arch=None):
    """All features of a CPU, those of its model among them, as a set."""
    return cpu.spelled(connection.expand(cpu.as_plain(one, arch or ARCH)), one)


def verify(asked, found, baseline, where):
    """What each host says of the baseline: ``[{name, verdict, reason, loses, ...}]`` in the order of the hosts.

    Live hosts are asked (compareHypervisorCPU); of captured ones the features are compared.
    """
    text, rows, known = cpu.as_guest(baseline), [], {}
    wanted = spell(asked, baseline, found[0]["arch"])
    for host in found:
        connection, given = host["live"] or asked, cpu.as_input(host["cpu"])
        if (connection.uri, given) not in known:
            known[connection.uri, given] = spell(connection, host["cpu"], host["arch"])
        features = known[connection.uri, given]
        if host["live"]:
            verdict, reason = connection.compare(text, where)
        else:
            reasons = cpu.why_it_cannot(baseline["model"], wanted, features, host["usable"])
            reason = "; ".join(reasons) or None
            verdict = "incompatible" if reasons else "identical" if features == wanted else "superset"
        rows.append(dict(
            {key: host[key] for key in ("name", "uri", "microcode", "kernel", "qemu", "libvirt", "firmware")},
            model=host["cpu"]["model"], vendor=host["cpu"]["vendor"], verdict=verdict, reason=reason,
            loses=cpu.loses(features, wanted), asked=bool(host["live"])))
    return rows


def confirmed(rows):
    """The same rows.

    :raises Refused: a host that cannot run the baseline.
    """
    wrong = [row for row in rows if row["verdict"] == "incompatible"]
    if wrong:
        raise Refused(
            "The baseline that libvirt computed cannot run on %s."
            % "; ".join("%s: %s" % (row["name"], (row["reason"] or "incompatible").rstrip(".")) for row in wrong),
            "Bring these hosts to the QEMU and microcode of the others, or leave them out.", hosts=rows)
    return rows
