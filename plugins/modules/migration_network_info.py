#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_network_info
short_description: Whether a migration network can be made, and whether it is there and in use
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Before anything is written. On each node the card is there under its name, unused, fast enough for the MTU, and not the node's way
    to the cluster; every node with virt-handler is selected once; the address range is large enough and overlaps nothing; the
    attachment lives where virt-handler looks; no other policy and nobody else's object is in the way.
  - Afterwards. Each policy is applied on each of its nodes, the MTU is in force on each device, the attachment is as wanted,
    HyperConverged names it, and each virt-handler has an address of the range on C(migration0).
  - Reads only, about ten requests.
options:
  range:
    required: false
    description:
      - Addresses of the network, as a CIDR. One is needed for each node with virt-handler, and some to spare. Must not overlap
        machine, pod or service network.
      - Without it nothing is judged, and only RV(network), RV(attached) and RV(nodes) are told.
extends_documentation_fragment:
  - bigvm.live_migration.attributes.reads
  - bigvm.live_migration.migration_network
  - kubernetes.core.k8s_auth_options
requirements:
  - python >= 3.9
  - kubernetes >= 24.2.0
seealso:
  - module: bigvm.live_migration.migration_network
  - module: bigvm.live_migration.migration_network_probe
"""

EXAMPLES = r"""
- name: Look whether a migration network could be made
  bigvm.live_migration.migration_network_info:
    nodes: [{nic: ens4f0}]
    range: 10.200.5.0/24
  register: network
  failed_when: not network.possible
"""

RETURN = r"""
possible:
  description: Whether nothing stands against making it; null without O(range).
  returned: success
  type: bool
in_place:
  description: Whether it is there and in use, all of it; null without O(range).
  returned: success
  type: bool
changes_under_use:
  description: Whether making it would change a network that virt-handler uses, which then has to leave it first.
  returned: success
  type: bool
attached:
  description: Whether the attachment exists.
  returned: success
  type: bool
checks:
  description: What was checked before writing.
  returned: success
  type: list
  elements: dict
  contains:
    code:
      description: Code of the check.
      type: str
    name:
      description: What was looked at.
      type: str
    status:
      description: V(PASS), V(WARN) or V(FAIL).
      type: str
    found:
      description: What was found.
      type: str
    remedy:
      description: What helps.
      type: str
state:
  description: What was checked of the finished network, rows as in RV(checks).
  returned: success
  type: list
  elements: dict
lines:
  description: RV(checks) in words.
  returned: success
  type: list
  elements: str
state_lines:
  description: RV(state) in words.
  returned: success
  type: list
  elements: str
plan:
  description: What making it would do, and whom that disturbs, in words; empty without O(range).
  returned: success
  type: list
  elements: str
  sample: ['written: NodeNetworkConfigurationPolicy migration-network: ens4f0 with MTU 9000 on hana-a, hana-b']
nodes:
  description: The nodes that run virt-handler.
  returned: success
  type: list
  elements: str
network:
  description: The network that HyperConverged names, empty for the pod network.
  returned: success
  type: str
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import network_options, node_network
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import run_module
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import (
    network_checks,
    network_state,
    network_words,
)

SPEC = dict(
    network_options.REQUEST,
    acknowledge=network_options.ACKNOWLEDGE,
)
CONSTRAINTS = {}


def execute(task):
    wanted = network_options.wanted(task) if task.params["range"] else None
    scene = node_network.look(task.api)
    told = {"changed": False, "nodes": scene["handlers"], "network": scene["network"],
            "attached": network_state.attachment_of(task.params, scene) is not None}
    if wanted is None:
        return dict(told, possible=None, in_place=None, changes_under_use=False, checks=[], state=[], lines=[], state_lines=[],
                    plan=[])
    checks = network_checks.before_writing(wanted, scene, task.params["acknowledge"])
    state = network_state.as_wanted(wanted, scene)
    return dict(
        told, checks=checks, state=state, possible=not network_checks.failed(checks), in_place=not network_checks.failed(state),
        changes_under_use=network_state.changes_under_use(wanted, scene), lines=network_checks.lines(checks),
        state_lines=network_checks.lines(state), plan=network_words.plan_lines(wanted, scene))


def main():
    run_module(execute, SPEC, **CONSTRAINTS)


if __name__ == "__main__":
    main()
