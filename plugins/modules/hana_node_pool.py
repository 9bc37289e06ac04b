#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hana_node_pool
short_description: Huge pages, CPU manager and IOMMU of a pool of OpenShift nodes, rolled out one empty node at a time
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Makes the nodes of a MachineConfigPool fit for guests with 1 GiB pages and dedicated CPUs.
  - Such a change reboots every node of the pool. Left to itself the machine-config operator drains them, in an order of its own.
    Here the pool is paused first, and each node is handed over when it is empty, by its label, in a pool of that one node. The
    operator never drains a guest.
  - The steps are the states of this module; the role C(hana_node_prep) and the playbook C(prepare_cluster) take them in order, with
    C(node_maintenance) around each node.
  - What was there and what is being done stands in an annotation of the pool and of the node. After a kill the same steps go on
    where it stopped.
  - Nothing that exists is deleted and made anew. What another tool made is only changed when it is named in O(adopt).
options:
  pool:
    description: Name of the MachineConfigPool.
    type: str
    required: true
  state:
    description:
      - V(checked) reads only, and tells what is missing, what would be written and what would reboot.
      - V(begun) pauses the pool and writes the objects; no node reboots.
      - V(rolled) hands O(node), which must carry no VM, to the operator, and waits until it runs the new configuration. It
        stays under a taint of ours.
      - V(returned) takes O(node) back into its pool and the taint away, if both configurations make the same machine.
      - V(ended) resumes the pool when all nodes are done, and checks each for what was wanted.
      - V(withdrawn) puts the objects back and resumes the pool, as long as no node has the new configuration.
    type: str
    choices: [checked, begun, rolled, returned, ended, withdrawn]
    default: checked
  node:
    description: The node, for O(state=rolled) and O(state=returned).
    type: str
  run:
    description: Id of the run; with O(state=rolled) the one that holds the node (M(bigvm.live_migration.node_hold)).
    type: str
  method:
    description:
      - V(machine_config) writes kernel arguments as a MachineConfig, and a KubeletConfig.
      - V(tuned) has the node tuning operator write the kernel arguments, and writes a KubeletConfig. RHEL CoreOS only.
      - V(performance_profile) writes one PerformanceProfile, which brings all of it; for pages by NUMA node. Its real-time hints
        are switched off, since they harm hosts of HANA guests.
      - They are never mixed for one pool.
    type: str
    choices: [machine_config, tuned, performance_profile]
    default: machine_config
  hugepages_1gi:
    description:
      - How many 1 GiB pages each node gets, or V(auto) for as many as the smallest node of the pool can spare.
      - They are taken at boot and are of no use to anything but guests with 1 GiB pages. A guest of 3 TiB needs 3072.
      - Guests without them must still find room beside them while one node is empty. If not, nothing is begun, and the most pages
        that leave that room are told.
      - Without it pages are left alone.
    type: str
  numa_nodes:
    description: NUMA nodes of a host. The kernel spreads the pages evenly over them, so the number must be a multiple of it.
    type: int
    default: 1
  numa_pages:
    description: Pages by NUMA node, such as C({0 - 352, 1 - 352}) written as a dictionary; only with a PerformanceProfile.
    type: dict
  reserve:
    description:
      - Memory that stays with the host, such as V(64Gi).
      - By default 32 GiB of a host below 512 GiB, else 64 GiB.
    type: str
  iommu:
    description:
      - The IOMMU's kernel arguments, by vendor. AMD's is on by itself and only gets C(iommu=pt).
      - V(auto) asks the labels of the nodes for the vendor.
    type: str
    choices: [auto, intel, amd, "off"]
    default: auto
  cpu_manager:
    description:
      - Whether the kubelet pins CPUs (policy static), which guests with dedicated CPUs need.
      - The label that such guests select is virt-handler's, C(cpumanager) up to KubeVirt 1.7 and C(kubevirt.io/cpumanager) from 1.8. It is
        never set here, only waited for.
    type: bool
    default: true
  topology_manager:
    description: Policy of the kubelet's topology manager. Guests that span sockets need V(best-effort) or V(none).
    type: str
    choices: [none, best-effort, restricted, single-numa-node]
  reserved_cpus:
    description: CPUs for the host and its pods, such as V(0-7).
    type: str
  isolated_cpus:
    description: CPUs for guests, such as V(8-223); only with a PerformanceProfile, which needs it.
    type: str
  kernel_arguments:
    description: More kernel arguments, such as V(tsx=on).
    type: list
    elements: str
    default: []
  adopt:
    description: Names of a MachineConfig or KubeletConfig of another tool that is gone on with; what it says besides is kept.
    type: list
    elements: str
    default: []
  reboot_ok:
    description: Whether the nodes may reboot. Without it O(state=begun) changes nothing.
    type: bool
    default: false
  node_time:
    description:
      - How long one node takes, evacuation and reboot together, as a duration.
      - A paused pool does not learn of a new CA of the kubelets. If it would be replaced before the last node is done, nothing is begun.
    type: str
    default: 6h
  timeout:
    description:
      - How long the operator and the reboot may take for one node, as a duration.
      - A host with 12 TB tests its memory for 20 to 40 minutes.
    type: str
    default: 2h
extends_documentation_fragment:
  - bigvm.live_migration.attributes.async
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
    description: What would be written is tried on the server as a dry run; nothing is waited for.
  diff_mode:
    support: full
    description: The objects, the pool and the node.
requirements:
  - python >= 3.9
  - kubernetes >= 24.2.0
seealso:
  - module: bigvm.live_migration.node_gate_info
  - module: bigvm.live_migration.node_hold
"""

EXAMPLES = r"""
- name: What would a pool of 6 TiB hosts need?
  bigvm.live_migration.hana_node_pool:
    pool: hana
    hugepages_1gi: auto
    numa_nodes: 8
"""

RETURN = r"""
nodes:
  description: Names of the nodes that are to be rolled out.
  returned: with O(state=checked) and O(state=begun)
  type: list
  elements: str
problems:
  description: What stands in the way, as C({code, message, remedy}).
  returned: with O(state=checked), and when O(state=begun) refuses
  type: list
  elements: dict
  sample: [{code: pool_paused, message: MachineConfigPool hana is paused., remedy: Find out why.}]
checks:
  description: What was looked at, as C({name, status, found, remedy}); status is V(PASS) or V(FAIL).
  returned: with O(state=checked) and O(state=ended)
  type: list
  elements: dict
  sample: [{name: 'node hana-a: hugepages-1Gi', status: PASS, found: 5 TiB of 5 TiB allocatable, remedy: ''}]
pages:
  description: How many 1 GiB pages each node gets; null when they are left alone.
  returned: with O(state=checked)
  type: int
plan:
  description: What would be written and what would reboot, in words.
  returned: with O(state=checked)
  type: list
  elements: str
node:
  description: The node.
  returned: with O(state=rolled) and O(state=returned)
  type: str
lines:
  description: The result in words.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import node_roll, pool_roll
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.options import duration
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import run_module
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import parse_bytes

SPEC = dict(
    pool=dict(type="str", required=True),
    state=dict(type="str", choices=["checked", "begun", "rolled", "returned", "ended", "withdrawn"], default="checked"),
    node=dict(type="str"),
    run=dict(type="str"),
    method=dict(type="str", choices=["machine_config", "tuned", "performance_profile"], default="machine_config"),
    hugepages_1gi=dict(type="str"),
    numa_nodes=dict(type="int", default=1),
    numa_pages=dict(type="dict"),
    reserve=dict(type="str"),
    iommu=dict(type="str", choices=["auto", "intel", "amd", "off"], default="auto"),
    cpu_manager=dict(type="bool", default=True),
    topology_manager=dict(type="str", choices=["none", "best-effort", "restricted", "single-numa-node"]),
    reserved_cpus=dict(type="str"),
    isolated_cpus=dict(type="str"),
    kernel_arguments=dict(type="list", elements="str", default=[]),
    adopt=dict(type="list", elements="str", default=[]),
    reboot_ok=dict(type="bool", default=False),
    node_time=dict(type="str", default="6h"),
    timeout=dict(type="str", default="2h"),
)
CONSTRAINTS = dict(required_if=[("state", "begun", ("run",)), ("state", "rolled", ("node", "run")), ("state", "returned", ("node",))])
PLAIN = ("method", "numa_nodes", "numa_pages", "iommu", "cpu_manager", "topology_manager", "reserved_cpus", "isolated_cpus",
         "kernel_arguments", "adopt")


def execute(task):
    params = task.params
    name, wanted, seconds = params["pool"], wanted_of(params), duration(params, "timeout")
    if params["state"] == "begun":
        return pool_roll.begin(task, name, params["run"], wanted, params["reboot_ok"])
    if params["state"] == "rolled":
        return node_roll.roll(task, name, params["run"], params["node"], seconds)
    if params["state"] == "returned":
        return node_roll.take_back(task, name, params["node"])
    if params["state"] == "withdrawn":
        return pool_roll.withdraw(task, name)
    return {"ended": pool_roll.end, "checked": pool_roll.check}[params["state"]](task, name, wanted)


def wanted_of(params):
    """What the domain calls ``wanted``, of the options."""
    if params["numa_nodes"] < 1:
        raise BadInput("numa_nodes is %d." % params["numa_nodes"], "A host has one at least.")
    found = dict({key: params[key] for key in PLAIN}, node_time=duration(params, "node_time"), pages=pages_of(params["hugepages_1gi"]))
    try:
        found["reserve"] = parse_bytes(params["reserve"]) if params["reserve"] else None
        found["numa_pages"] = {int(node): int(count) for node, count in (params["numa_pages"] or {}).items()}
    except (TypeError, ValueError) as exc:
        raise BadInput("reserve or numa_pages cannot be meant: %s." % exc, "Write them like 64Gi, and {0: 352, 1: 352}.") from exc
    return found


def pages_of(said):
    """Number of pages, ``auto`` or None."""
    if said in (None, "", "auto"):
        return said or None
    if not said.isdigit():
        raise BadInput("hugepages_1gi is %s." % said, "Give a number of 1 GiB pages, or auto.")
    return int(said)


def main():
    run_module(execute, SPEC, **CONSTRAINTS)


if __name__ == "__main__":
    main()
