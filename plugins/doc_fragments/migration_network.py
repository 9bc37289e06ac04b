# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What describes a migration network; the argument specification is in module_utils/cluster/network_options.py."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of migration_network and migration_network_info."""

    DOCUMENTATION = r"""
options:
  name:
    description: Name of the NetworkAttachmentDefinition, and of the policies unless they have names of their own.
    type: str
    default: migration-network
  namespace:
    description:
      - Only to say where the attachment is expected. virt-handler looks for it in its own namespace, that of HyperConverged; any
        other is refused.
    type: str
  nodes:
    description:
      - Which card each node has for migrations. One entry makes one NodeNetworkConfigurationPolicy; nodes whose card has another
        name need an entry of their own, and something of one name on top (a bond, a VLAN, a bridge).
      - Each node that runs virt-handler must be selected by exactly one entry.
    type: list
    elements: dict
    default: []
    suboptions:
      nic:
        description: The card. It must be there under this name on each node of the entry, unused, and not the way to the cluster.
        type: str
      bond:
        description: Instead of O(nodes[].nic), a bond over cards.
        type: dict
        suboptions:
          name:
            description: Name of the bond.
            type: str
            default: bond-migration
          ports:
            description: Its cards.
            type: list
            elements: str
            required: true
          mode:
            description:
              - Mode, by name or number. V(balance-rr), V(balance-tlb) and V(balance-alb) are refused below a Linux bridge.
            type: str
            default: active-backup
          miimon:
            description: Milliseconds between two looks at the link.
            type: int
            default: 100
      node_selector:
        description: Labels that the nodes have, with their values. Empty selects all nodes, also those without virt-handler.
        type: dict
        default: {}
      policy:
        description: Name of the policy. By default O(name), with the card's name behind it where there are several entries.
        type: str
  mtu:
    description: Set on card, bond, VLAN, Linux bridge and in the attachment. Every switch on the way must carry it.
    type: int
    default: 9000
  vlan:
    description: VLAN id. Below a Linux bridge and for macvlan it becomes a device, with an OVS bridge the attachment carries it.
    type: int
  vlan_name:
    description: Name of the VLAN's device. By default card and id where one card name serves all nodes, else C(vlan<id>).
    type: str
  bridge:
    description: A bridge on top. Without one the attachment is a macvlan on the card, bond or VLAN, which is the least that works.
    type: dict
    suboptions:
      type:
        description: V(linux-bridge), or V(ovs-bridge) with a mapping for OVN-Kubernetes.
        type: str
        choices: [linux-bridge, ovs-bridge]
      name:
        description: Its name.
        type: str
        default: br-migration
      localnet:
        description: With an OVS bridge the name of the mapping, by default O(name).
        type: str
  attachment_type:
    description:
      - Follows from O(bridge). What does not fit is refused, since it would carry the migrations past the bridge or not at all.
    type: str
    choices: [macvlan, bridge, ovn-k8s-cni-overlay]
  macvlan_mode:
    description: Mode of a macvlan.
    type: str
    choices: [bridge, private, vepa, passthru]
    default: bridge
  range:
    description:
      - Addresses of the network, as a CIDR. One is needed for each node with virt-handler, and some to spare. Must not overlap
        machine, pod or service network.
    type: str
    required: true
  range_start:
    description: First address that is given out (not with an OVS bridge).
    type: str
  range_end:
    description: Last address that is given out (not with an OVS bridge).
    type: str
  exclude:
    description:
      - Addresses and networks that are never given out. Written under the key that the plug-in in question really reads.
      - O(exclude) is whereabouts' word. C(excludeSubnets), which whereabouts ignores, is taken as well, put right, and warned about.
    type: list
    elements: str
    default: []
    aliases: [excludeSubnets]
  max_unavailable:
    description: How many nodes, or what percentage of them, NMState configures at once.
    type: str
    default: "1"
  acknowledge:
    description:
      - V(adopt) takes over objects and devices of these names that somebody else made.
      - V(addresses) lets a card be taken that has an address by DHCP or router advertisement.
    type: list
    elements: str
    choices: [adopt, addresses]
    default: []
"""
