# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What libvirt is asked for when one guest moves: the plan and the guest's definition as flags and parameters."""

from __future__ import annotations

import os

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput, Refused
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import kvm_abi, kvm_guest, kvm_move
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.connection import is_local, libvirt

TPM_STATE = "/var/lib/libvirt/swtpm/%s"


def request(plan, guest, text, full):
    """``(parameters, flags)`` for libvirt.

    :param text: the definition that the guest runs with, or, of one that is shut off, would be started with, as libvirt sends it.
    :param full: the same with the devices that every such machine has, which libvirt leaves out there.
    :raises BadInput: a definition that cannot be meant. :raises Refused: one that would change what the running guest sees.
    """
    offline = not guest.is_active()
    flags = libvirt.VIR_MIGRATE_PEER2PEER if plan["p2p"] else 0
    flags |= 0 if plan["keep_source"] else libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    flags |= libvirt.VIR_MIGRATE_PERSIST_DEST if plan["persistent"] else 0
    parameters = definitions(plan, guest, (text, full), offline)
    if offline:
        return parameters, flags | libvirt.VIR_MIGRATE_OFFLINE
    if not guest.is_persistent():
        flags &= ~libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    flags |= libvirt.VIR_MIGRATE_LIVE if plan["mode"] == "live" else 0
    for option, flag in (("tls", libvirt.VIR_MIGRATE_TLS), ("auto_converge", libvirt.VIR_MIGRATE_AUTO_CONVERGE),
                         ("post_copy", libvirt.VIR_MIGRATE_POSTCOPY)):
        flags |= flag if plan[option] else 0
    if plan["connections"] > 1:
        flags |= libvirt.VIR_MIGRATE_PARALLEL
        parameters[libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS] = plan["connections"]
    if plan["migrate_uri"]:
        parameters[libvirt.VIR_MIGRATE_PARAM_URI] = plan["migrate_uri"]
    if plan["bandwidth"]:
        parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = mib(plan["bandwidth"])
    return parameters, flags


def definitions(plan, guest, texts, offline):
    """The parameters for a definition that is another one at the target; none when it is the same."""
    text = texts[0]
    try:
        changed = kvm_move.changed_definition(text, plan["networks"], plan["disks"]) or plan["definition"]
        kept = (kvm_move.changed_definition(guest.definition(), plan["networks"], plan["disks"]) if plan["networks"] or plan["disks"]
                else plan["kept_definition"])
        if kept:
            kvm_abi.same_guest(kvm_abi.read(text), kvm_abi.read(kept))
        there = kept if offline else changed
        # written like one of the two; what the other leaves out is no change
        seen = min((kvm_abi.changes(one, there) for one in texts), key=len) if there else []
    except ValueError as exc:
        raise BadInput("%s: %s." % (guest.name, exc), "Name what 'virsh dumpxml' shows.") from exc
    if seen and offline:
        raise Refused("libvirt moves the definition of %s only with the hardware that it has; it would change: %s. Nothing was changed."
                      % (guest.name, "; ".join(seen)), "Change that on the target, once it is there.", abi=seen)
    if seen:
        raise Refused(
            "%s would see its hardware change while it runs: %s. Nothing was changed." % (guest.name, "; ".join(seen)),
            "Leave that as it is in definition; put it into kept_definition, for the next start of the guest.", abi=seen)
    parameters = {libvirt.VIR_MIGRATE_PARAM_DEST_XML: there} if there else {}
    if kept and plan["persistent"] and not offline:
        parameters[libvirt.VIR_MIGRATE_PARAM_PERSIST_XML] = kept
    return parameters


def left_behind(guest, uuid, text, uri):
    """Files of the host that hold state of a guest that is shut off, which a move of its definition alone leaves, a phrase each.

    On this machine only those that are there.
    """
    found = []
    nvram, tpm = kvm_guest.state_files(text)
    if nvram is not None and not (nvram and is_local(uri) and not os.path.exists(nvram)):
        found.append("its firmware's variables (%s)" % (nvram or "NVRAM"))
    if tpm and not (is_local(uri) and not os.path.exists(TPM_STATE % uuid)):
        found.append("its TPM (%s)" % (TPM_STATE % uuid))
    return found


def mib(count):
    """Whole MiB of bytes, at least one."""
    return max(1, int(count) // kvm_move.MIB)
