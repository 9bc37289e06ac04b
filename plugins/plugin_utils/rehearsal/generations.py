# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What differs between releases, in one table: KubeVirt 1.6 (HyperConverged 1.16) and 1.9 (1.19).

Everything else of the embedded cluster asks :func:`of` for a :class:`Generation`
and never compares version numbers itself. A further release is one more row.
Source: facts 1.10, 4.4, 4.14, 8.5, 10.1-10.3 and the matrix of section 11.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

DEFAULT = "1.9"


@dataclass(frozen=True)
class Generation:
    """One KubeVirt release as the embedded cluster plays it.

    :param hco_served: HyperConverged API versions, the stored one first.
    :param added_node_selector: whether the VMIM schema has spec.addedNodeSelector (else it is pruned).
    :param priorities: whether spec.priority exists and orders the queue (GA).
    :param completes_on_failure: whether a failed migration also gets completed=true from the source.
    :param mirrors_abort: whether every abortStatus shows on the VMI as it changes (else only the final one).
    :param plain_abort_text: every abort says the same (else each cause has its own words).
    :param multifd_needs_shared_cpus: dedicated CPUs switch multifd off.
    :param multifd_with_post_copy: multifd stays on when post-copy is allowed.
    :param evacuates_all_at_once: evacuation creates all VMIMs (else only for free slots).
    :param evacuate_cancel: whether the evacuate/cancel subresource exists (and condition EvictionRequested).
    :param tests_uid: the virt-controller's late writes are guarded by the migration's uid.
    :param transfer_metric, total_metric: names under which virt-handler reports rate and total.
    """

    name: str
    kubevirt: str
    hyperconverged: str
    kubernetes: str
    hco_served: tuple
    machine_types: tuple
    added_node_selector: bool = True
    disruption: bool = True
    hco_disruption: bool = False
    priorities: bool = False
    completes_on_failure: bool = False
    mirrors_abort: bool = True
    plain_abort_text: bool = False
    multifd_needs_shared_cpus: bool = False
    multifd_with_post_copy: bool = False
    evacuates_all_at_once: bool = False
    evacuate_cancel: bool = False
    tests_uid: bool = False
    target_memory_overhead: bool = False
    transfer_metric: str = "kubevirt_vmi_migration_disk_transfer_rate_bytes"
    total_metric: str = "kubevirt_vmi_migration_data_total_bytes"

    @property
    def release(self):
        """``(1, 9)``."""
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
    "1.6": _V1_6,
    "1.9": replace(
        _V1_6, name="1.9", kubevirt="v1.9.0", hyperconverged="1.19.0", kubernetes="v1.35.1",
        hco_served=("v1", "v1beta1"), hco_disruption=True, priorities=True, completes_on_failure=True,
        mirrors_abort=False, plain_abort_text=True, multifd_needs_shared_cpus=True, multifd_with_post_copy=True,
        evacuates_all_at_once=True, evacuate_cancel=True, tests_uid=True,
        transfer_metric="kubevirt_vmi_migration_memory_transfer_rate_bytes",
        total_metric="kubevirt_vmi_migration_data_bytes_total",
    ),
}


def of(name):
    """The :class:`Generation` called ``1.6`` or ``1.9`` (``v1.9.0`` works as well).

    :raises ValueError: naming those there are.
    """
    short = ".".join(str(name or DEFAULT).lstrip("v").split(".")[:2])
    if short not in GENERATIONS:
        raise ValueError("KubeVirt %s cannot be rehearsed; there are %s" % (name, ", ".join(sorted(GENERATIONS))))
    return GENERATIONS[short]
