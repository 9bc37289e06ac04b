# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One host as a maintenance needs to know it: its size, what is free, and which guests are on it. Nothing is changed."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import cpu, kvm_guest
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor import moving, survey
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.connection import (
    BindingDomain,
    HypervisorError,
    has_binding,
    kernel_of,
    said,
)


def read(host):
    """What a host tells of itself, as plain data; see the module libvirt_host_info for its form.

    :raises HypervisorError: without the binding, or when libvirt does not answer.
    """
    if not has_binding():
        raise HypervisorError("Reading a KVM host needs libvirt's Python binding.", "Install python3-libvirt where this runs.")
    told = survey.target(host)
    root = cpu.parse(host.capabilities(), "what libvirt says of %s" % host.uri)
    cells = [_cell(element) for element in root.iter("cell")]
    with said("The guests could not be listed", host.uri):
        domains = sorted((BindingDomain(host, handle) for handle in host.connection.listAllDomains()), key=lambda one: one.name)
    with said("The size of the host could not be read", host.uri):
        cpus = host.connection.getInfo()[2]
    return {
        "name": host.hostname(), "uuid": root.findtext("./host/uuid"), "versions": dict(host.versions(), kernel=kernel_of(host.uri)),
        "cpus": cpus, "memory_bytes": sum(cell["memory_bytes"] for cell in cells), **_memory(told["memory"]),
        "cells": cells, "pages_free": {str(kib): count for kib, count in (told["pages_free"] or {}).items()},
        "networks": told["networks"], "pools": told["pools"], "guests": [_guest(domain) for domain in domains],
    }


def _memory(memory):
    free = memory["free"] if memory else None
    return {"memory_free": free, "memory_available": kvm_guest.available(memory) if memory else None}


def _cell(element):
    pages = {one.get("size"): int(one.text or 0) for one in element.iterfind("./pages")}
    return {"node": int(element.get("id")), "cpus": len(list(element.iter("cpu"))),
            "memory_bytes": kvm_guest.size(element.find("./memory")), "pages": pages}


def _guest(domain):
    active, persistent = domain.is_active(), domain.is_persistent()
    root = cpu.parse(domain.running_as() or domain.definition(), "the definition of %s" % domain.name)
    page = root.find("./memoryBacking/hugepages/page")
    backed = root.find("./memoryBacking/hugepages") is not None
    with said("The guest %s could not be read" % domain.name, domain.host.uri):
        autostart = bool(persistent and domain.handle.autostart())
        uuid = domain.handle.UUIDString()
    return {
        "name": domain.name, "uuid": uuid, "active": active, "persistent": persistent, "autostart": autostart,
        "leaving": bool(active and moving.outgoing(domain)), "memory_bytes": kvm_guest.size(root.find("./memory")),
        "vcpus": int((root.findtext("./vcpu") or "1").strip()),
        "page_kib": ((kvm_guest.size_of(page) if page is not None else 0) or 2048 * 1024) // 1024 if backed else 0,
    }
