# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Having libvirt measure how fast guests change their memory: all of them at a time, several times."""

from __future__ import annotations

import re

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput, Refused
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import kvm_dirty
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.connection import (
    BindingDomain,
    HypervisorError,
    has_binding,
    libvirt,
    said,
)

POLL = 0.1  # seconds between looks at a measurement
PATIENCE = 20  # seconds that one may take longer than asked for


def guests(host, names):
    """The running guests by name, or all of the host: ``[(domain, facts)]``.

    :raises HypervisorError: without the binding, or a libvirt that cannot measure. :raises Refused: one does not run.
    """
    if not has_binding() or not hasattr(libvirt.virDomain, "startDirtyRateCalc"):
        raise HypervisorError("Measuring needs libvirt's Python binding, 7.2 or newer.", "Install python3-libvirt where this runs.")
    if names:
        domains = [host.domain(name) for name in names]
    else:
        with said("The guests could not be listed", host.uri):
            handles = host.connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING)
            domains = sorted((BindingDomain(host, handle) for handle in handles), key=lambda one: one.name)
    found = []
    for domain in domains:
        with said("The state of %s could not be read" % domain.name, host.uri):
            running = domain.handle.state()[0] == libvirt.VIR_DOMAIN_RUNNING
        if not running:
            raise Refused("%s does not run on %s, so it changes no memory." % (domain.name, host.uri), "Measure it while it works.")
        found.append((domain, kvm_dirty.facts_of(domain.running_as(), domain.name)))
    return found


def measure(host, modes, seconds, count, clock):
    """``{name: [bytes/s]}``, ``count`` samples of ``seconds`` each, of all guests at the same times.

    :param modes: ``[(domain, mode)]``.
    :raises HypervisorError: libvirt or QEMU refuses, or a measurement does not end.
    """
    found = {domain.name: [] for domain, _mode in modes}
    for _sample in range(count):
        for domain, mode in modes:
            with said("%s could not be measured by %s" % (domain.name, mode), host.uri,
                      "Use mode page-sampling, or wait until another measurement has ended."):
                domain.handle.startDirtyRateCalc(seconds, flag(mode))
        end = clock.now() + seconds + PATIENCE
        clock.sleep(seconds)
        for domain, _mode in modes:
            rate = _rate(domain, host)
            while rate is None:
                if clock.now() >= end:
                    raise HypervisorError("The measurement of %s on %s does not end." % (domain.name, host.uri), "Try it again.")
                clock.sleep(POLL)
                rate = _rate(domain, host)
            found[domain.name].append(rate)
    return found


def _rate(domain, host):
    with said("The dirty rate of %s could not be read" % domain.name, host.uri):
        rows = host.connection.domainListGetStats([domain.handle], libvirt.VIR_DOMAIN_STATS_DIRTYRATE, 0)
    return kvm_dirty.reading(rows[0][1]) if rows else None


def flag(mode):
    """libvirt's flag of a mode.

    :raises HypervisorError: this libvirt knows page sampling only.
    """
    if mode == kvm_dirty.SAMPLING:
        return 0
    name = "VIR_DOMAIN_DIRTYRATE_MODE_" + mode.upper().replace("-", "_")
    if not hasattr(libvirt, name):
        raise HypervisorError("This libvirt cannot measure by %s." % mode, "Use mode page-sampling, or libvirt 8.1 or newer.")
    return getattr(libvirt, name)


def resident(domain):
    """Bytes of the host's memory that the guest has; None where that is not told, as with huge pages."""
    try:
        if "<hugepages" in domain.running_as():
            return None
        kib = domain.handle.memoryStats().get("rss")
    except (libvirt.libvirtError, HypervisorError):
        return None
    return kib * 1024 if kib else None


def speed_of(card):
    """Bits per second of a network card of this machine.

    :raises BadInput: there is none, or it does not tell.
    """
    text = None
    if re.fullmatch(r"[\w.@:-]+", card):
        try:
            with open("/sys/class/net/%s/speed" % card, encoding="ascii") as handle:
                text = handle.read().strip()
        except (OSError, ValueError):
            text = None
    if not (text or "").isdigit() or int(text) == 0:
        raise BadInput("The network card %s of this machine does not tell its speed." % card,
                       "Give bandwidth instead, such as 25Gbit.")
    return int(text) * 10 ** 6
