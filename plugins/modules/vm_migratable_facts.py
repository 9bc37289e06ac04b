#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_migratable_facts
short_description: Whether virtual machines can be moved live, where to, and if not, why
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Judges any number of VMs on OpenShift Virtualization (KubeVirt) before they are moved. For each one it returns a
    verdict, the reasons with what helps, the nodes that can take it, and why the others cannot.
  - The verdict is C(live) (it can be moved now), C(cold_only) (only stopped and started elsewhere), C(blocked) (not
    now; the reasons say what is in the way) or C(unknown) (a check that could block could not be made, for example
    because the account may not list pods).
  - Reads KubeVirt's own C(LiveMigratable) condition, and judges what that does not show. This is the state of the
    guest, migrations under way, marks of evictions, volumes, eviction strategy, quotas and the settings in force; and
    for each node its readiness, taints, labels, CPU model, affinity and free memory, huge pages, CPUs and devices.
  - Without any option that selects VMs, all VMs that the account can see are judged.
  - Needs a constant number of requests, however many VMs are judged.
options:
  vms:
    description:
      - VMs by name.
      - A VM that does not exist fails the task; a stopped one does not, it gets the verdict C(cold_only).
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the VM.
        type: str
        required: true
      namespace:
        description: Its namespace. When not given, O(namespace) counts.
        type: str
  name:
    description: One VM by name, in O(namespace).
    type: str
  namespace:
    description:
      - The namespace of O(name), and of O(vms) that name none.
      - Alone or with O(label_selectors), the VMs of that namespace.
    type: str
  label_selectors:
    description: VMs with these labels, as Kubernetes writes label selectors. All of them must match.
    type: list
    elements: str
  node:
    description: The VMs that run on this node.
    type: str
  detail:
    description:
      - With V(full), each VM also gets C(details), the particulars behind the codes, and all node names.
      - With V(brief), the best 10 candidates and 3 nodes per code.
      - With V(auto), V(full) for up to 20 VMs.
    type: str
    choices: [auto, full, brief]
    default: auto
  spare:
    description:
      - Also say what must stay free so that nodes can be drained, and whether any one node can be emptied (N-1), in
        C(spare). Reads all VMs of the cluster for it, whichever are judged.
      - What must be spare is the number of nodes drained at once (C(maxUnavailable) of the MachineConfigPools, else one)
        times what the VMs of the fullest node request, for memory and for each size of huge pages.
    type: bool
    default: false
  advice:
    description:
      - Also say which live migration settings should be others for these VMs, why, and what that costs, in C(advice).
        Nothing is applied.
    type: bool
    default: false
extends_documentation_fragment:
  - bigvm.live_migration.attributes.reads
  - bigvm.live_migration.critical_vms
  - bigvm.live_migration.dirty_rates
  - bigvm.live_migration.assumed_settings
  - kubernetes.core.k8s_auth_options
attributes:
  facts:
    support: full
    description: Returns the fact C(vm_migratable).
requirements:
  - python >= 3.9
  - kubernetes >= 24.2.0
notes:
  - Rights to list VirtualMachineInstances are needed. Where another list is forbidden, the checks that need it are
    C(unknown) and a reason names the missing right.
  - Codes of KubeVirt's own reasons are spelled as KubeVirt spells them, for example C(CPUModeLiveMigratable).
seealso:
  - module: bigvm.live_migration.evacuation_plan_info
  - module: bigvm.live_migration.migrate_vmi
  - module: bigvm.live_migration.hco_live_migration_config
"""

EXAMPLES = r"""
- name: Judge one VM
  bigvm.live_migration.vm_migratable_facts:
    name: hana-prod
    namespace: sap

- name: Show the verdict
  ansible.builtin.debug:
    msg: >-
      {{ ansible_facts.vm_migratable.vms[0].verdict }}:
      {{ ansible_facts.vm_migratable.vms[0].reasons | map(attribute='code') | join(', ') }}

- name: Judge all VMs of a node
  bigvm.live_migration.vm_migratable_facts:
    node: worker-1

- name: Stop here when one of them is in the way
  ansible.builtin.assert:
    that: ansible_facts.vm_migratable.summary.live == ansible_facts.vm_migratable.vms | length
    fail_msg: >-
      Not live: {{ ansible_facts.vm_migratable.vms | rejectattr('verdict', 'equalto', 'live')
      | map(attribute='name') | join(', ') }}

- name: Is there room to empty any one node, and how busy are the guests
  bigvm.live_migration.vm_migratable_facts:
    spare: true
    prometheus:
      window: 12h

- name: Judge the HANA guests of all namespaces, as if post-copy were off
  bigvm.live_migration.vm_migratable_facts:
    label_selectors:
      - app=hana
    settings:
      allow_post_copy: false
    detail: brief
"""

RETURN = r"""
lines:
  description: The verdicts in words, lines of at most 80 columns; reasons and what helps once each.
  returned: success
  type: list
  elements: str
ansible_facts:
  description: The fact C(vm_migratable).
  returned: success
  type: dict
  contains:
    vm_migratable:
      description:
        - Verdicts and what they rest on.
        - Sizes are in bytes, times in seconds; null means that it cannot be told.
      type: dict
      contains:
        cluster:
          description:
            - KubeVirt's version, the HyperConverged API, the settings in force and slots.
            - C(target_by_name) says whether a migration takes a target node. C(unreadable) names the forbidden lists.
          type: dict
          sample:
            free_slots: 5
            hyperconverged_api: v1beta1
            kubevirt_version: v1.6.0
            migration_network: migration
            running_migrations: 0
            settings:
              allow_post_copy: false
              completion_timeout_per_gib: 150
            target_by_name: true
            unreadable: []
        nodes:
          description: Each node once, by name; free is what is allocatable less what the pods there request.
          type: dict
          sample:
            worker-2:
              cordoned: false
              cpus_free: 60.5
              hugepages_1gi_free: 3298534883328
              hugepages_2mi_free: 0
              kubevirt_schedulable: true
              memory_free: 201863462912
              outbound_migrations: 0
              ready: true
              vms: 2
        vms:
          description:
            - One entry per VM, in the order asked for, else by namespace and name.
            - C(candidates) are the nodes that can take it, best first (most room left).
            - C(candidate_count) counts all of them.
            - C(ruled_out) groups the others by code; C(undecided) names nodes that could not be judged.
            - C(critical) is true for guests of 256 GiB and more, on 1 GiB pages, with the label
              C(live-migration.bigvm.io/critical=true) on the VMI, or named in O(critical).
            - C(budget_seconds) is the time KubeVirt grants the copy, null for no limit. C(disk_bytes) are disks that
              are copied with the memory, C(streams) the connections that the copy uses.
            - C(details) holds the particulars behind the codes, see O(detail).
          type: list
          elements: dict
          sample:
            - budget_seconds: 494850
              candidate_count: 1
              candidates: [worker-2]
              critical: true
              dedicated_cpus: true
              disk_bytes: 0
              memory_bytes: 3298534883328
              name: hana-prod
              namespace: sap
              node: worker-1
              page_size: 1Gi
              phase: Running
              reasons:
                - code: EvictionStopsGuest
                  severity: warning
              ruled_out:
                - code: HugepagesShort
                  count: 1
                  nodes: [worker-3]
              streams: 1
              uid: 0d6a4c4e-9f0b-4c5e-8f53-0a4a9b3f7a55
              undecided: []
              verdict: live
        reasons:
          description: Each code that occurs, once. C(effect) is the verdict that it leads to, if any.
          type: dict
          sample:
            EvictionStopsGuest:
              effect: null
              message: >-
                The eviction strategy None is in force, a drain of the node shuts the guest down instead of moving it.
              reference: "KubeVirt: eviction strategy"
              remedy: "Set evictionStrategy: LiveMigrate on the VM. Our own runs do not evict guests."
              severity: warning
        spare:
          description:
            - Only with O(spare). C(resources) is what must be spare and is, C(nodes) whether each node can be emptied
              (null when that cannot be told), who is stuck there and what is missing.
          type: dict
          sample:
            drained_at_once: 1
            nodes:
              - can_be_emptied: true
                node: worker-1
                stuck: []
                vms: 5
            pools:
              worker: 1
            resources:
              memory:
                available: 1649267441664
                enough: true
                fullest: 68719476736
                fullest_node: worker-1
                needed: 68719476736
        advice:
          description: Only with O(advice). Lines for people; empty when all is well.
          type: list
          elements: str
          sample:
            - "sap/hana-prod:"
            - "  allow_post_copy: true -> false"
        rates:
          description:
            - Only with O(prometheus). Dirty rates by C(namespace/name) in bytes per second over C(window) seconds, and the
              network cards of nodes. C(failure) says why nothing is known.
          type: dict
          sample:
            cards: {}
            failure: null
            guests:
              sap/hana-prod:
                max: 943718400.0
                p50: 52428800.0
                p99: 629145600.0
                samples: 2880
            source: https://thanos-querier-openshift-monitoring.apps.example.com
            window: 86400
        summary:
          description: Number of VMs by verdict.
          type: dict
          sample:
            blocked: 0
            cold_only: 1
            live: 12
            unknown: 0
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import inventory, prometheus
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.options import (
    assumed_settings,
    duration,
    settings_options,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import run_module
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import (
    guidance,
    migratability,
    rates,
    spare,
    wording,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.view import View

SPEC = dict(
    vms=dict(
        type="list", elements="dict", options=dict(name=dict(type="str", required=True), namespace=dict(type="str"))
    ),
    name=dict(type="str"),
    namespace=dict(type="str"),
    label_selectors=dict(type="list", elements="str"),
    node=dict(type="str"),
    critical=dict(type="list", elements="str", default=[]),
    settings=dict(type="dict", options=settings_options()),
    detail=dict(type="str", choices=["auto", "full", "brief"], default="auto"),
    spare=dict(type="bool", default=False),
    advice=dict(type="bool", default=False),
    prometheus=dict(type="dict", options=prometheus.OPTIONS),
)


def selection(params):
    """The options that select VMs as arguments of :func:`inventory.collect`.

    :raises BadInput: when they contradict each other.
    """
    ways = [way for way in ("vms", "name", "node", "label_selectors") if params.get(way) is not None]
    if len(ways) > 1:
        raise BadInput("The options %s select VMs in different ways." % " and ".join(ways), "Give one of them.")
    if params.get("node") is not None and params.get("namespace"):
        raise BadInput("The options node and namespace select VMs in different ways.", "Give one of them.")
    for option in ways:
        if not params[option]:
            raise BadInput("The option %s is empty." % option, "Leave it out to judge all VMs, or say which.")
    if not ways:
        return {"namespace": params.get("namespace")}
    if ways[0] in ("node", "label_selectors"):
        return {ways[0]: params[ways[0]], "namespace": params.get("namespace")}
    wanted = params["vms"] or [{"name": params["name"]}]
    names = [(vm.get("namespace") or params.get("namespace"), vm["name"]) for vm in wanted]
    homeless = [name for namespace, name in names if not namespace]
    if homeless:
        raise BadInput("The VM %s has no namespace." % ", ".join(homeless), "Give namespace, for each VM or for all.")
    return {"names": names}


def execute(task):
    """Collect, judge, return the fact."""
    with inventory.uncollected():
        return _judged(task, task.params)


def _judged(task, params):
    chosen, judge_by = selection(params), assumed_settings(params["settings"])
    window = duration(params["prometheus"], "window") if params["prometheus"] else None
    found = inventory.collect(task.api, everything=params["spare"], **chosen)
    asked = None
    if window:
        asked = prometheus.measured(task.api, params["prometheus"], window, found)
        found["dirty_rates"] = {key: rate["p99"] for key, rate in asked["guests"].items()}
        if asked["failure"]:
            task.warn("No dirty rates: %s." % asked["failure"])
    verdicts = migratability.judge(found, settings=judge_by, detail=params["detail"], critical=params["critical"])
    lines = wording.verdict_lines(verdicts)
    if asked:
        verdicts["rates"] = dict(asked, guests={"%s/%s" % key: rate for key, rate in sorted(asked["guests"].items())})
        lines += rates.rate_lines(verdicts["rates"], verdicts["cluster"]["kubevirt_version"], verdicts["vms"])
    if params["spare"]:
        view = View(dict(found, vmis=found["guests"]), judge_by, params["critical"])
        verdicts["spare"] = spare.report(view, found["pools"])
        lines += spare.spare_lines(verdicts["spare"])
    if params["advice"]:
        verdicts["advice"] = guidance.for_view(View(found, judge_by, params["critical"]))
        lines += verdicts["advice"]
    return {"changed": False, "ansible_facts": {"vm_migratable": verdicts}, "lines": lines}


def main():
    run_module(execute, SPEC)


if __name__ == "__main__":
    main()
