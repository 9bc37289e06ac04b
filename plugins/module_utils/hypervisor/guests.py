# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Questions to libvirt about a guest that moves: where it is, its job, whether it lives; and the mark that we paused it."""

from __future__ import annotations

import os

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.cpu import parse
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.connection import (
    BindingDomain,
    NoSuchDomain,
    libvirt,
    said,
)

MARK = "/run/libvirt_migrate-%s.paused"  # gone with a reboot, as the guest is


def find(host, name=None, uuid=None):
    """The guest on a host, by name or UUID; None when it has none."""
    try:
        if uuid:
            with said("The guest was not found", host.uri):
                return BindingDomain(host, host.connection.lookupByUUIDString(uuid))
        return host.domain(name)
    except NoSuchDomain:
        return None


def find_again(hosts, host, uuid):
    """The same, over a new connection where the old one broke."""
    if not alive(host):
        host.connection = hosts.again(host.uri).connection
    return find(host, uuid=uuid)


def alive(host):
    """Whether a connection still stands."""
    try:
        return bool(host.connection.isAlive()) and host.connection.getLibVersion() > 0
    except libvirt.libvirtError:
        return False


def uuid_of(domain):
    """The UUID of a guest."""
    return domain.handle.UUIDString()


def host_uuid(host):
    """The UUID of a host."""
    return parse(host.capabilities(), "what libvirt says of %s" % host.uri).findtext("./host/uuid")


def job(domain):
    """Figures of the job under way; None when they cannot be had now."""
    try:
        return domain.handle.jobStats()
    except libvirt.libvirtError:
        return None


def outgoing(domain):
    """Whether the guest is being migrated away by somebody."""
    stats = job(domain) or {}
    if stats.get("type", 0) == libvirt.VIR_DOMAIN_JOB_NONE:
        return False
    return stats.get("operation") in (None, libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT)


def completed(domain):
    """Figures of the job that has ended; None without."""
    try:
        stats = domain.handle.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    except libvirt.libvirtError:
        return None
    return stats if stats.get("type") else None


def agent_answers(domain):
    """Whether the agent in the guest answers: asked for the time there."""
    try:
        return bool(domain.handle.getTime())
    except libvirt.libvirtError:
        return False


def cpu_time(domain):
    """Nanoseconds that its CPUs have run."""
    with said("The figures of %s could not be read" % domain.name, domain.host.uri):
        return domain.handle.info()[4]


def marked(uuid):
    """Whether a run of ours on this machine paused the guest and did not come to let it go on."""
    return os.path.exists(MARK % uuid)


def mark(uuid, paused):
    """Keep that we paused a guest, for the next run should this one be killed; where nothing can be kept, nothing is."""
    try:
        if paused:
            with open(MARK % uuid, "w", encoding="ascii"):
                pass
        else:
            os.unlink(MARK % uuid)
    except OSError:
        pass
