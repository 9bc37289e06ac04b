# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Giving a guest another CPU: into its definition, and into the running guest only by a restart that was asked for."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import Refused
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import cpu
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.baseline import spell
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.connection import HypervisorError

POLL = 1.0  # seconds between looks at a guest that goes down
CERTIFIED = "certified_cpu"


def look(host, name, baseline, lost, acknowledge):
    """What giving this guest the baseline means, nothing done yet.

    :param lost: features that some host loses by it.
    :param acknowledge: :data:`CERTIFIED` when a guest may lose the host's own CPU.
    :returns: ``{name, domain, definition, before, after, drops, changed, restart_due, active}``.
    :raises Refused: a transient guest; a guest on host-passthrough without acknowledgement.
    """
    domain = host.domain(name)
    if not domain.is_persistent():
        raise Refused("%s on %s is transient: there is no definition to write to." % (name, host.uri), "Define it there first.")
    definition = domain.definition()
    has, shape = cpu.guest_cpu(definition)
    mode = has["mode"] if has else None
    if mode == "host-passthrough" and CERTIFIED not in acknowledge:
        raise Refused(
            "%s has the host's own CPU (host-passthrough), as SAP HANA is certified with; the baseline would take that away." % name,
            "For HANA leave it, and move it only between hosts with equal CPU, microcode and kernel (see differences). "
            "If another CPU is meant, say acknowledge: [%s]." % CERTIFIED)
    after = cpu.as_guest(baseline, shape)
    changed = not has or mode != "custom" or not cpu.same(has, baseline)
    running = domain.running_as()
    live = cpu.guest_cpu(running)[0] if running else None
    drops = _more(host, has if has and has["model"] else live, baseline) if changed else []
    return {
        "name": name, "domain": domain, "definition": definition, "changed": changed, "active": running is not None,
        "before": cpu.cpu_text(definition), "after": after if changed else cpu.cpu_text(definition), "drops": drops,
        "restart_due": bool(running) and cpu.restart_is_due(live, baseline, _more(host, live, baseline), lost),
    }


def _more(host, now, baseline):
    """Features of a CPU that the baseline has not, sorted; those it names when libvirt cannot spell it out."""
    if not now or not now["model"]:
        return []
    try:
        return cpu.loses(*[spell(host, one) for one in (now, baseline)])
    except HypervisorError:
        return cpu.loses(*[cpu.on(one) for one in (now, baseline)])


def write(seen):
    """Store the new definition."""
    if seen["changed"]:
        seen["domain"].define(cpu.with_cpu(seen["definition"], seen["after"]))


def restart(seen, clock, timeout):
    """Down and up again; a reboot inside the guest would keep the CPU that its QEMU was started with.

    :raises HypervisorError: the guest did not go down in time. It is left alone then: never forced.
    """
    domain = seen["domain"]
    domain.shutdown()
    end = clock.now() + timeout
    while domain.is_active():
        if clock.now() >= end:
            raise HypervisorError(
                "%s did not shut down within %d s; its new definition is stored, it still runs with the old CPU." % (seen["name"], timeout),
                "Shut it down from inside and start it again.")
        clock.sleep(POLL)
    domain.start()
