# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What differs between releases, in one table: KubeVirt 1.3 (HyperConverged 1.13), 1.6 (1.16) and 1.9 (1.19).

Everything else of the embedded cluster asks :func:`of` for a :class:`Generation`
and never compares version numbers itself. A further release is one more row.
Source: facts 1.1, 1.10-1.12, 3.4, 3.9, 4.4, 4.9, 4.14, 6.1, 6.2, 7.1-7.6, 8.5, 9, 10.1-10.3 and the matrix of
section 11.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

DEFAULT = "1.9"


@dataclass(frozen=True)
class Generation:
    """One KubeVirt release as the embedded cluster plays it; the defaults are those of 1.6.

    API:

    :param hco_served: HyperConverged API versions, the stored one first.
    :param machine_types: of the newest QEMU first.
    :param added_node_selector: whether the VMIM schema has spec.addedNodeSelector, sendTo and receive (else pruned).
    :param disruption: KubeVirt and policies have allowWorkloadDisruption (else post-copy alone decides).
    :param downtime: policies have maxDowntimeMs.
    :param evacuate_cancel: whether the evacuate/cancel subresource exists (and condition EvictionRequested).
    :param migrate_role: migrations are created by the role kubevirt.io:migrate (else by admin and edit as well).

    Queue:

    :param priorities: whether spec.priority exists and orders the queue (GA).
    :param evacuates_all_at_once: evacuation creates all VMIMs (else only for free slots).
    :param guest_budgets: a PodDisruptionBudget for every guest, raised to 2 before a target pod is created.
    :param refuses_repeats: the webhook refuses every eviction (else the first; the budget refuses the others).
    :param hotplug_refusal: pods that hold hotplugged disks are not evicted.
    :param update_backoff: failed workload updates wait before the next attempt.
    :param update_migration_required: the condition MigrationRequired makes a workload update.
    :param waits_for_volumes: utility volumes and backups keep a VMIM Pending.

    Copy:

    :param source_completes: the source's handler flips the VMI and completes it in one write (else the target's, in two).
    :param completes_on_failure: a failed migration also gets completed=true from the source.
    :param mirrors_abort: every abortStatus shows on the VMI as it changes (else only the final one).
    :param plain_abort_text: every abort says the same (else each cause has its own words).
    :param multifd: eight streams by themselves (else one, or as many as an annotation asks for).
    :param multifd_needs_shared_cpus: dedicated CPUs switch multifd off.
    :param multifd_with_post_copy: multifd stays on when post-copy is allowed.
    :param tests_uid: the virt-controller's late writes are guarded by the migration's uid.

    Guests and nodes:

    :param disks_first: LiveMigratable names disks before anything else (else last).
    :param virtiofs_moves: guests with virtiofs move.
    :param reservations_move: guests with SCSI persistent reservations move.
    :param storage_condition: the condition StorageLiveMigratable exists.
    :param cpu_manager_label: nodes have kubevirt.io/cpumanager beside the older cpumanager.
    :param machine_type_labels: nodes have machine-type labels.
    :param console_log: HyperConverged leaves the log of serial consoles on, a container beside every guest.
    :param overhead_report: launcher pods say their overhead, and a migration's state the target's.
    :param guest_id_label: launcher pods have the label vmi.kubevirt.io/id.

    Metrics:

    :param transfer_metric, total_metric: names under which virt-handler reports rate and total; None: it does not.
    :param dirty_rate_metric: idle guests' dirty rate.
    :param unset_phase_metric: the number of migrations without a phase.
    """

    name: str
    kubevirt: str
    hyperconverged: str
    kubernetes: str
    hco_served: tuple
    machine_types: tuple
    added_node_selector: bool = True
    disruption: bool = True
    downtime: bool = False
    evacuate_cancel: bool = False
    migrate_role: bool = True
    priorities: bool = False
    evacuates_all_at_once: bool = False
    guest_budgets: bool = False
    refuses_repeats: bool = True
    hotplug_refusal: bool = False
    update_backoff: bool = True
    update_migration_required: bool = True
    waits_for_volumes: bool = False
    source_completes: bool = False
    completes_on_failure: bool = False
    mirrors_abort: bool = True
    plain_abort_text: bool = False
    multifd: bool = True
    multifd_needs_shared_cpus: bool = False
    multifd_with_post_copy: bool = False
    tests_uid: bool = False
    disks_first: bool = False
    virtiofs_moves: bool = True
    reservations_move: bool = False
    storage_condition: bool = True
    cpu_manager_label: bool = False
    machine_type_labels: bool = True
    console_log: bool = True
    guest_id_label: bool = False
    overhead_report: bool = False
    transfer_metric: str = "kubevirt_vmi_migration_disk_transfer_rate_bytes"
    total_metric: str = "kubevirt_vmi_migration_data_total_bytes"
    dirty_rate_metric: bool = True
    unset_phase_metric: bool = True

    @property
    def release(self):
        """``(1, 9)``, for the functions of ``domain`` that ask for it."""
        return tuple(int(part) for part in self.name.split("."))

    @property
    def hco_storage(self):
        """The HyperConverged API version that is stored."""
        return self.hco_served[0]


_V1_6 = Generation(
    name="1.6", kubevirt="v1.6.6", hyperconverged="1.16.2", kubernetes="v1.33.6", hco_served=("v1beta1",),
    machine_types=("pc-q35-rhel9.6.0", "pc-q35-rhel9.4.0", "pc-q35-rhel9.2.0", "q35"),
)

GENERATIONS = {
    "1.3": replace(
        _V1_6, name="1.3", kubevirt="v1.3.1", hyperconverged="1.13.4", kubernetes="v1.30.10",
        machine_types=("pc-q35-rhel9.4.0", "pc-q35-rhel9.2.0", "pc-q35-rhel8.6.0", "q35"),
        added_node_selector=False, disruption=False, migrate_role=False, guest_budgets=True, refuses_repeats=False,
        update_backoff=False, update_migration_required=False, source_completes=True, completes_on_failure=True,
        multifd=False, disks_first=True, virtiofs_moves=False, storage_condition=False, machine_type_labels=False,
        console_log=False,
        total_metric=None, dirty_rate_metric=False, unset_phase_metric=False,
    ),
    "1.6": _V1_6,
    "1.9": replace(
        _V1_6, name="1.9", kubevirt="v1.9.0", hyperconverged="1.19.0", kubernetes="v1.35.1",
        hco_served=("v1", "v1beta1"), downtime=True, priorities=True, completes_on_failure=True,
        mirrors_abort=False, plain_abort_text=True, multifd_needs_shared_cpus=True, multifd_with_post_copy=True,
        evacuates_all_at_once=True, evacuate_cancel=True, tests_uid=True, hotplug_refusal=True, waits_for_volumes=True,
        reservations_move=True, cpu_manager_label=True, guest_id_label=True, overhead_report=True,
        transfer_metric="kubevirt_vmi_migration_memory_transfer_rate_bytes",
        total_metric="kubevirt_vmi_migration_data_bytes_total",
    ),
}


def of(name):
    """The :class:`Generation` called ``1.3``, ``1.6`` or ``1.9`` (``v1.9.0`` works as well).

    :raises ValueError: naming those there are.
    """
    short = ".".join(str(name or DEFAULT).lstrip("v").split(".")[:2])
    if short not in GENERATIONS:
        raise ValueError("KubeVirt %s cannot be rehearsed; there are %s" % (name, ", ".join(sorted(GENERATIONS))))
    return GENERATIONS[short]
