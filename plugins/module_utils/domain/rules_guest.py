# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules about what is going on in and around a guest that KubeVirt's own condition does not show (facts 6.8).

Each is ``rule(guest, view)`` and yields ``(code, detail)``, see :mod:`.rules`.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_bytes
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    amount,
    condition,
    dig,
    labels,
    mapping,
    rows,
    text,
    texts,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.settings import release_of

OUTDATED = "kubevirt.io/outdatedLauncherImage"  # KubeVirt labels a guest so whose launcher is of an earlier release
SETTLED = ("", "Ready")  # phases of a hot-plugged volume that is there


def several_pods(guest, view):
    """More than one pod that has not ended: a migration would wait for it for ever (facts 2.2).

    While a migration is under way there are two, and that is said elsewhere. For some seconds after its end, too: what the
    last one left behind, the source's pod or after a failure the target's, ends by itself.
    """
    state = mapping(guest.vmi, "status", "migrationState")
    left = text(state, "targetPod" if state.get("failed") else "sourcePod") if state.get("completed") or state.get("failed") else ""
    pods = [text(pod, "metadata", "name") for pod in guest.pods]
    if len([name for name in pods if name != left]) > 1 and not view.unfinished.get(guest.key) and "vmims" not in view.forbidden:
        yield "SeveralPods", ", ".join(sorted(pods)[:3])


def hotplug(guest, view):
    """Disks that are being attached or detached, CPUs or memory that are being added (facts 1.14, 4.16, 6.8)."""
    for row in rows(guest.vmi, "status", "volumeStatus"):
        if isinstance(row.get("hotplugVolume"), dict) and text(row, "phase") not in SETTLED:
            yield "HotplugUnderWay", "%s: %s" % (text(row, "name"), text(row, "phase"))
    for kind in ("HotVCPUChange", "HotMemoryChange"):
        if condition(guest.vmi, kind).get("status") == "True":
            yield "ResizeUnderWay", kind


def backup(guest, view):
    """A backup that runs: a migration waits for its end, without limit (facts 2.8)."""
    found = mapping(guest.vmi, "status", "changedBlockTracking", "backupStatus")
    if found and not found.get("completed") and not found.get("failed"):
        yield "BackupUnderWay", text(found, "backupName")


def utility_volumes(guest, view):
    """Volumes of a memory dump or the like: a migration waits for their end, and fails after 150 s (facts 2.8)."""
    names = [text(row, "name") for row in rows(guest.vmi, "spec", "utilityVolumes")]
    if names and (release_of(view.release) or (1, 8)) >= (1, 8):
        yield "UtilityVolumes", ", ".join(sorted(names)[:5])


def storage_move(guest, view):
    """A change of the storage of a running guest: its volumes are copied by the next migration (facts 7.7)."""
    moving = [text(row, "volumeName") for row in rows(guest.vmi, "status", "migratedVolumes")]
    if moving or condition(guest.vmi, "VolumesChange").get("status") == "True":
        yield "VolumesMoveToo", "%s%s" % (", ".join(sorted(moving)[:5]), ", " + format_bytes(guest.disk_bytes)
                                          if guest.disk_bytes else "")


def storage_condition(guest, view):
    """KubeVirt's second verdict, from 1.4 on: only about changing the storage (facts 6.1)."""
    said = condition(guest.vmi, "StorageLiveMigratable")
    if said.get("status") == "False":
        yield "StorageNotLiveMigratable", text(said, "message")


def backend_storage(guest, view):
    """Where a persistent vTPM or the EFI variables are kept (facts 6.5)."""
    if not _keeps_state(guest.vmi):
        return
    name = "persistent-state-for-" + guest.key[1]
    rows_of = [row for row in rows(guest.vmi, "status", "volumeStatus")
               if text(row, "persistentVolumeClaimInfo", "claimName").startswith(name) or text(row, "name").startswith(name)]
    modes = [mode for row in rows_of for mode in texts(row, "persistentVolumeClaimInfo", "accessModes")]
    release = release_of(view.release)
    if release and modes and "ReadWriteMany" not in modes:
        yield ("BackendStorageNotShared" if release < (1, 4) else "BackendStorageNewClaim"), ", ".join(sorted(set(modes)))


def _keeps_state(vmi):
    domain = mapping(vmi, "spec", "domain")
    return dig(domain, "devices", "tpm", "persistent") is True or dig(
        domain, "firmware", "bootloader", "efi", "persistent") is True


def restart_required(guest, view):
    """Changes of the VM that the running guest does not have."""
    if condition(view.vms.get(guest.key), "RestartRequired").get("status") == "True":
        yield "RestartRequired", text(condition(view.vms[guest.key], "RestartRequired"), "message")


def old_launcher(guest, view):
    """A guest started by an earlier KubeVirt goes to another QEMU, which may refuse its CPU (facts 1.12)."""
    if OUTDATED in labels(guest.vmi):
        yield "LauncherOutdated", ""


def sriov(guest, view):
    """SR-IOV cards are detached before the copy begins and attached again after its end (facts 4.15)."""
    names = [text(row, "name") for row in rows(guest.vmi, "spec", "domain", "devices", "interfaces")
             if isinstance(row.get("sriov"), dict)]
    if names:
        yield "SriovDetached", ", ".join(sorted(names)[:5])


def guest_agent(guest, view):
    """Without the agent nobody corrects the guest's clock after the move, and nothing is heard from inside (facts 4.15)."""
    if guest.phase == "Running" and condition(guest.vmi, "AgentConnected").get("status") != "True":
        yield "GuestAgentAbsent", ""


def disk_bytes(vmi):
    """Bytes of disks that are copied beside the memory, which lengthen time and budget (facts 4.6, 6.4).

    Empty disks of a BlockMigration by their capacity (how full they are is not in the API), and volumes whose storage
    is being changed by the size of their claim. Container disks and cloud-init are too small to count.
    """
    total = 0
    if dig(vmi, "status", "migrationMethod") == "BlockMigration":
        total += sum(amount(dig(row, "emptyDisk", "capacity")) or 0 for row in rows(vmi, "spec", "volumes"))
    for row in rows(vmi, "status", "migratedVolumes"):
        source = mapping(row, "sourcePVCInfo")
        total += amount(dig(source, "capacity", "storage")) or amount(dig(source, "requests", "storage")) or 0
    return max(0, total)


GUEST_RULES = (
    several_pods, hotplug, backup, utility_volumes, storage_move, storage_condition, backend_storage, restart_required,
    old_launcher, sriov, guest_agent,
)
