#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_network
short_description: The devices of a migration network on each node, and its attachment
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Writes one NodeNetworkConfigurationPolicy for each entry of O(nodes) and the NetworkAttachmentDefinition, rendered from options
    that were checked, with the MTU on every device and in the attachment.
  - Everything that M(bigvm.live_migration.migration_network_info) checks is checked before anything is written, and each object is
    tried as a dry run first.
  - Policies are applied one after the other. A policy counts as applied when each of its nodes has an enactment of the current
    generation that is Available; it fails at once, with NMState's own reason, when it is Degraded or selects no node.
  - Does not make KubeVirt use the network; that is O(bigvm.live_migration.hco_live_migration_config#module:network). The role
    migration_network does all of it in order.
options:
  state:
    description:
      - V(present) makes the network as described.
      - V(absent) takes back what V(present) made; the attachment first, then the devices (deleting a policy reverts nothing, so it is
        told to remove them and to give the cards what they had), then the policies. Only O(name) is needed. Refused while HyperConverged
        names the network or a virt-handler is attached to it.
    type: str
    choices: [present, absent]
    default: present
  range:
    required: false
    description:
      - Addresses of the network, as a CIDR; needed with O(state=present). One is needed for each node with virt-handler, and some to
        spare. Must not overlap machine, pod or service network.
  wait_timeout:
    description:
      - Seconds that one policy may take. V(0) counts ten minutes for each batch of nodes, and four more attempts for one of them.
    type: int
    default: 0
extends_documentation_fragment:
  - bigvm.live_migration.migration_network
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
    description: Everything is checked and tried as a server-side dry run; nothing is waited for.
  diff_mode:
    support: full
    description: Shows each object's spec, the attachment's configuration as the structure it is.
requirements:
  - python >= 3.9
  - kubernetes >= 24.2.0
seealso:
  - module: bigvm.live_migration.migration_network_info
  - module: bigvm.live_migration.hco_live_migration_config
"""

EXAMPLES = r"""
- name: A macvlan on a card of its own
  bigvm.live_migration.migration_network:
    nodes: [{nic: ens4f0}]
    range: 10.200.5.0/24
    exclude: [10.200.5.0/30]

- name: A VLAN on a bond, whose cards have other names on some nodes
  bigvm.live_migration.migration_network:
    nodes:
      - bond: {name: bond-mig, ports: [ens4f0, ens4f1], mode: 802.3ad}
        node_selector: {hardware: gen10}
      - bond: {name: bond-mig, ports: [ens2f0np0, ens2f1np1], mode: 802.3ad}
        node_selector: {hardware: gen11}
        policy: migration-gen11
    vlan: 3030
    range: 10.200.5.0/24
"""

RETURN = r"""
policies:
  description: Names of the policies, written or removed.
  returned: success
  type: list
  elements: str
  sample: [migration-network]
attachment:
  description: The attachment's CNI configuration as it is wanted; empty with O(state=absent).
  returned: success
  type: dict
lines:
  description: What happened, in words.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import network_options, node_network
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import run_module
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.changeset import ChangeSet
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import Refused
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import (
    migration_network,
    network_checks,
    network_render,
    network_state,
    network_words,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import key_of

SPEC = dict(
    network_options.REQUEST,
    state=dict(type="str", choices=["present", "absent"], default="present"),
    acknowledge=network_options.ACKNOWLEDGE,
    wait_timeout=dict(type="int", default=0),
)
CONSTRAINTS = {"required_if": [("state", "present", ("range",))]}


def execute(task):
    changes = ChangeSet()
    writer = node_network.Writer(task, changes, task.params["wait_timeout"])
    return (_present if task.params["state"] == "present" else _absent)(task, changes, writer)


def _present(task, changes, writer):
    wanted = network_options.wanted(task)
    scene = node_network.look(task.api)
    failed = network_checks.failed(network_checks.before_writing(wanted, scene, task.params["acknowledge"]))
    if failed:
        raise Refused("The migration network %s cannot be made: %s." % (wanted["name"], network_words.against(failed)),
                      node_network.NOTHING, checks=failed)
    if network_state.changes_under_use(wanted, scene) and not task.check_mode:
        raise Refused(
            "The migration network %s would be changed while virt-handler uses it; its pods keep what they have until they are made anew."
            % wanted["name"], "%s Set HyperConverged's network to nothing first (hco_live_migration_config, network: \"\"), and set it "
            "again afterwards. The role does so by itself." % node_network.NOTHING)
    writer.put(wanted, scene)
    names = [group["policy"] for group in wanted["nodes"]]
    return changes.result(policies=names, attachment=network_render.configuration(wanted, scene["home"]),
                          lines=_lines(changes, task.check_mode))


def _absent(task, changes, writer):
    name = task.params["name"]
    scene = node_network.look(task.api)
    users = ["HyperConverged"] if scene["network"] == name else []
    users += ["virt-handler on %s" % key_of(pod)[1] for pod in scene["pods"] if "%s@%s" % (name, migration_network.INTERFACE) in
              str((pod["metadata"].get("annotations") or {}).get(migration_network.NETWORKS))]
    if users and not task.check_mode:
        raise Refused("The migration network %s is in use by %s." % (name, ", ".join(users[:5])), "%s Set HyperConverged's network to "
                      "nothing first (hco_live_migration_config, network: \"\"); the role does so by itself." % node_network.NOTHING)
    policies = [key_of(policy)[1] for policy in scene["policies"] if network_render.is_ours(policy, name)]
    writer.remove(name, scene, "adopt" in task.params["acknowledge"])
    return changes.result(policies=policies, attachment={}, lines=_lines(changes, task.check_mode))


def _lines(changes, check_mode):
    said = "would be " if check_mode else ""
    found = [row["before_header"] for row in changes.result().get("diff", [])]
    return ["%s: %schanged" % (header, said) for header in dict.fromkeys(found)] or ["the network is as wanted, nothing changed"]


def main():
    run_module(execute, SPEC, **CONSTRAINTS)


if __name__ == "__main__":
    main()
