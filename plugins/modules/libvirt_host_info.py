#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: libvirt_host_info
short_description: A KVM host as a maintenance needs to know it, with all its guests
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Reads what a plan needs of a host that guests shall go to, and what is compared after the reboot of one that they left -
    size, free memory and huge pages, networks and storage pools, and each guest with what it takes.
options:
  peers:
    description:
      - Hosts that guests would move to from this one. Each is looked for from where the module runs, by the port of its libvirt
        and the first one that memory is sent to; nobody logs in.
    type: list
    elements: dict
    default: []
    suboptions:
      uri:
        description: The connection of that host as seen from here, for example C(qemu+tls://kvm-2.example.com/system).
        type: str
        required: true
      migrate_uri:
        description: Where memory would be sent, when that is another address.
        type: str
extends_documentation_fragment:
  - bigvm.live_migration.attributes.reads
  - bigvm.live_migration.libvirt_uri
requirements:
  - python >= 3.9
  - libvirt's Python binding (python3-libvirt), where the module runs
seealso:
  - module: bigvm.live_migration.libvirt_migratable_info
"""

EXAMPLES = r"""
- name: What is on this host?
  bigvm.live_migration.libvirt_host_info:
  register: found

- name: Stop when it is not empty
  ansible.builtin.assert:
    that: found.host.guests | selectattr('active') | length == 0
"""

RETURN = r"""
host:
  description:
    - C(versions) has the kernel's where the module runs on that host.
    - C(cells) are the NUMA nodes, with their huge pages in C(pages), by size in KiB; C(pages_free) of all of them together.
    - C(memory_free) is what libvirt calls free; C(memory_available) has beside it the page cache, which a guest that comes displaces,
      less the memory of guests that is counted there (memfd, shared). Null where libvirt does not tell.
    - C(networks) and C(pools) by name, with whether they are active; null where libvirt does not tell.
    - In C(guests), C(page_kib) is the size of the huge pages behind the guest's memory, 0 without; C(leaving) whether it is
      being moved away now.
  returned: success
  type: dict
  sample:
    name: kvm-1
    uuid: 36e31e08-5d91-4a8f-9b3a-5c1f0c7f0a11
    versions: {qemu: 9.1.0, libvirt: 10.10.0, kernel: 5.14.0-570.el9.x86_64}
    cpus: 224
    memory_bytes: 6597069766656
    memory_free: 107374182400
    memory_available: 214748364800
    cells:
      - {node: 0, cpus: 112, memory_bytes: 3298534883328, pages: {"4": 26214400, "1048576": 2900}}
    pages_free: {"1048576": 1800}
    networks: {default: true}
    pools: {images: true}
    guests:
      - name: hana-a
        uuid: 5d07245e-2f6a-413c-b542-af52a44d7ae2
        active: true
        persistent: true
        autostart: true
        leaving: false
        memory_bytes: 1099511627776
        vcpus: 112
        page_kib: 1048576
unreached:
  description: What stands between this host and O(peers), a sentence each; empty when nothing does.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor import host, survey
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.runner import run_module

SPEC = dict(
    uri=dict(type="str"),
    peers=dict(type="list", elements="dict", default=[], options=dict(uri=dict(type="str", required=True), migrate_uri=dict(type="str"))),
)


def execute(task):
    unreached = [text for peer in task.params["peers"] for text in survey.way_to(peer["uri"], peer["migrate_uri"])]
    return {"changed": False, "host": host.read(task.hosts.open(task.params["uri"])), "unreached": unreached}


def main():
    run_module(execute, SPEC)


if __name__ == "__main__":
    main()
