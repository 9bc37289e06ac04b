#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_gate_info
short_description: Whether a node is as good as it was before its maintenance
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Looks whether guests can return. The node is Ready, virt-handler is ready and its heartbeat fresh, KubeVirt places guests there,
    the kubelet pins CPUs if it did before, 1 GiB pages and KubeVirt's devices are not fewer than before, there is no new taint,
    and where the cluster has a migration network virt-handler has an address on it.
  - What is still missing is waited for, with a line whenever it changes, and every five minutes.
  - Reads only, a few requests a minute.
options:
  node:
    description: The node.
    type: str
    required: true
  before:
    description:
      - RV(snapshot) of an earlier call, to compare with.
      - By default what M(bigvm.live_migration.node_hold) wrote into the journal when the node was first held. Without either, nothing
        is compared, and the rest is looked at all the same.
    type: dict
  wait:
    description: How long the node may need, as a duration.
    type: str
    default: 30min
extends_documentation_fragment:
  - bigvm.live_migration.attributes.reads
  - kubernetes.core.k8s_auth_options
requirements:
  - python >= 3.9
  - kubernetes >= 24.2.0
notes:
  - Needs to get C(nodes), and to list C(kubevirts.kubevirt.io) and the pods in the namespace of KubeVirt.
seealso:
  - module: bigvm.live_migration.node_hold
"""

EXAMPLES = r"""
- name: Go on only when the node is as good as before
  bigvm.live_migration.node_gate_info:
    node: hana-a
    wait: 45min
  register: gate
  failed_when: not gate.good
"""

RETURN = r"""
good:
  description: Whether guests may return.
  returned: success
  type: bool
problems:
  description: What is missing.
  returned: success
  type: list
  elements: dict
  contains:
    code:
      description:
        - One of V(node_missing), V(node_not_ready), V(taint_new), V(handler_not_ready), V(handler_unreadable),
          V(heartbeat_missing), V(heartbeat_stale), V(not_schedulable), V(cpu_manager_lost), V(hugepages_missing),
          V(device_missing), V(migration_network_down).
      type: str
    message:
      description: What is the matter.
      type: str
    remedy:
      description: What helps.
      type: str
  sample:
    - code: hugepages_missing
      message: The node has 0 B of hugepages-1Gi, before it had 5 TiB.
      remedy: Look whether all memory was found at boot.
lines:
  description: The same in words, lines of at most 80 columns.
  returned: success
  type: list
  elements: str
snapshot:
  description: The node as it is now, for O(before); null when there is no such node.
  returned: success
  type: dict
  sample:
    ready: true
    schedulable: true
    cpu_manager: true
    allocatable: {devices.kubevirt.io/kvm: 1k, hugepages-1Gi: 5Ti}
    taints: []
    network: migration-net
    migration_address: 10.200.5.10
waited_seconds:
  description: How long was waited.
  returned: success
  type: float
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import journals, node_gate
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import run_module
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import node_gate as judgement
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import parse_duration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import mapping

SPEC = dict(
    node=dict(type="str", required=True),
    before=dict(type="dict"),
    wait=dict(type="str", default="30min"),
)
CONSTRAINTS = {}


def execute(task):
    name, begun = task.params["node"], task.clock.now()
    try:
        seconds = parse_duration(task.params["wait"])
    except ValueError as exc:
        raise BadInput("wait: %s." % exc, "Write it like 1800, 30min or 1h.") from exc
    before = task.params["before"]
    scene, problems = node_gate.wait(task, name, lambda node: _before(node) if before is None else before, seconds)
    known = _before(scene["node"]) if before is None else before
    return {
        "changed": False,
        "good": not problems,
        "problems": problems,
        "lines": judgement.problem_lines(problems) if problems else judgement.good_lines(scene, known),
        "snapshot": judgement.snapshot(scene) if scene["node"] else None,
        "waited_seconds": task.clock.now() - begun,
    }


def _before(node):
    return mapping(journals.journal_of(node), "progress", "node_before") if node else {}


def main():
    run_module(execute, SPEC, **CONSTRAINTS)


if __name__ == "__main__":
    main()
