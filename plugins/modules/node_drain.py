#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_drain
short_description: Evict the pods of a cordoned node that carry no VM
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Asks every pod of a cordoned node that something would create again elsewhere to go, through the Eviction API, and
    watches until it has gone.
  - Never evicts the pods of VMs (KubeVirt would start migrations nobody planned), pods of DaemonSets, static pods, pods
    that have ended, and the pod that this run works in. A pod without a controller is left and named, since nothing
    would create it again. Nothing is ever deleted directly or forced.
  - A pod that a PodDisruptionBudget refuses is asked again until the time is over. Then the task fails, and names the
    budget.
  - Data in emptyDir volumes goes with a pod, and is named in the result.
options:
  node:
    description: The node.
    type: str
    required: true
  timeout:
    description: How long it may take, as a duration such as V(900), V(30min) or V(1h).
    type: str
    default: 30min
  deadline:
    description:
      - When it must have ended, as RFC 3339 with offset, such as V(2026-11-22T04:30:00+01:00).
      - Holds beside O(timeout); what comes first counts.
    type: str
  progress_interval:
    description: Seconds between two lines about how far it is. V(0) shows none.
    type: int
    default: 60
  run:
    description:
      - Id of the run that holds the node (M(bigvm.live_migration.node_hold)). Its hold is renewed meanwhile, and when
        another run has taken the node, no more is evicted.
    type: str
extends_documentation_fragment:
  - bigvm.live_migration.attributes.async
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
    description: Every pod is asked as a dry run on the server; says which would go and which are refused now.
  diff_mode:
    support: none
    description: What changes is where pods run, which the result tells.
requirements:
  - python >= 3.9
  - kubernetes >= 24.2.0
notes:
  - Needs to get C(nodes), to list and watch C(pods) and to create C(pods/eviction). Listing C(poddisruptionbudgets) names
    a blocking budget where the API does not. With O(run) it needs to get and patch C(leases), too.
  - A replacement that tolerates the cordon may come back to the node; it is not evicted a second time.
seealso:
  - module: bigvm.live_migration.node_hold
  - module: bigvm.live_migration.migrate_vmi
  - module: kubernetes.core.k8s_drain
"""

EXAMPLES = r"""
- name: Ask what is left on the node to go
  bigvm.live_migration.node_drain:
    node: hana-a
    timeout: 30min
    deadline: "2026-11-22T03:00:00+01:00"
  register: drained
"""

RETURN = r"""
evicted:
  description: The pods that have gone; in check mode those that would.
  returned: success and failure
  type: list
  elements: dict
  sample: [{namespace: shop, name: web-5d9c}]
left:
  description: The pods that are still there.
  returned: success and failure
  type: list
  elements: dict
  contains:
    namespace:
      description: Its namespace.
      type: str
    name:
      description: Its name.
      type: str
    code:
      description:
        - V(finished), V(daemon_set), V(static), V(vm), V(own) or V(unmanaged) for a pod that is left alone.
        - V(budget), V(ending), V(refused), V(terminating) or V(busy) for one that should have gone.
      type: str
    reason:
      description: Why, in half a sentence.
      type: str
  sample:
    - namespace: shop
      name: db-0
      code: budget
      reason: PodDisruptionBudget shop/db allows no disruption
lines:
  description: The same in words, lines of at most 80 columns.
  returned: success and failure
  type: list
  elements: str
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import drain
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import run_module
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import parse_duration

SPEC = dict(
    node=dict(type="str", required=True),
    timeout=dict(type="str", default="30min"),
    deadline=dict(type="str"),
    progress_interval=dict(type="int", default=60),
    run=dict(type="str"),
)
CONSTRAINTS = {}


def execute(task):
    params = task.params
    try:
        seconds = parse_duration(params["timeout"])
    except ValueError as exc:
        raise BadInput("The option timeout cannot be meant: %s." % exc, "Nothing was evicted. Write it like 30min.") from exc
    if params["progress_interval"] < 0:
        raise BadInput("progress_interval is %s." % params["progress_interval"], "It takes a whole number from 0.")
    deadline = from_timestamp(params["deadline"]) if params["deadline"] else None
    if deadline is not None and deadline <= task.clock.now():
        raise BadInput("The deadline %s has passed." % params["deadline"],
                       "Nothing was evicted. Give a time that is still to come.")
    return drain.run(task, params["node"], seconds, deadline, params["progress_interval"], params["run"])


def main():
    run_module(execute, SPEC, **CONSTRAINTS)


if __name__ == "__main__":
    main()
