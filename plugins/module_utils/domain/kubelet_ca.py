# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a pool may stay paused, by the CA that kubelets trust the API server by.

Its signer is replaced when four fifths of its life are over (292 of 365 days), and a kubelet that does not learn of the new one turns away
what the API server asks of it: logs, exec, the console. Up to OpenShift 4.13 the new CA is part of a MachineConfig, so that a paused
pool does not get it. From 4.14 on each machine-config daemon takes it from the ControllerConfig itself, paused or not, and notes on
its node which ControllerConfig that was.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import mapping

SYNCED = "machineconfiguration.openshift.io/lastSyncedControllerConfigResourceVersion"  # annotation of a node, by such a daemon
SIGNER = "kube-apiserver-to-kubelet-signer"
REPLACED_AT = 0.8  # of its life
NEVER = float("inf")


def pause_ends(nodes, certificates):
    """Until when the pool of these nodes may be paused, epoch seconds; :data:`NEVER` without a limit, None when nobody tells.

    :param certificates: ``[{subject, not_before, not_after}]`` of the ControllerConfig, times in epoch seconds; None when it
        cannot be read. After a replacement it lists the old signer beside the new one.
    """
    if nodes and all(mapping(node, "metadata", "annotations").get(SYNCED) for node in nodes):
        return NEVER
    return max([row["not_before"] + REPLACED_AT * (row["not_after"] - row["not_before"])
                for row in certificates or [] if SIGNER in row["subject"]], default=None)
