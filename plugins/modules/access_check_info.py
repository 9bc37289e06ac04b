#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: access_check_info
short_description: Check before a run that its rights and credentials last to the end
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Asks the cluster, one SelfSubjectAccessReview per right, whether everything that a run and its restore will do is
    allowed. A right that is missing in the middle of the night leaves a node half done.
  - Looks how long the token works, without showing it, against the expected end and an hour more. Credentials that are
    renewed by themselves (a token file, a pod's service account, an exec plugin) need no life of their own, since they are
    read anew when they are refused.
  - Looks whether the run itself works on the node that it will empty.
  - Kinds that the cluster does not serve need no right.
options:
  features:
    description:
      - What the run will do. V(maintain) includes V(plan), V(migrate), V(hold), V(node_gate), V(interlocks_check) and
        V(restore); V(interlocks) means pausing health checks.
    type: list
    elements: str
    choices: [preflight, plan, migrate, node_gate, hold, interlocks_check, node_prep_check, node_prep, drain, interlocks,
      settings_hold, cluster_settings, restore, migration_network, network_probe, maintain]
    default: [maintain]
  node:
    description: The node that is going to be emptied. Needed to look whether the run itself works there.
    type: str
  namespaces:
    description: The namespaces of the VMs, for rights that are granted by namespace. By default those of the VMs on O(node).
    type: list
    elements: str
  expected_end:
    description: When the run will be over, as RFC 3339 with offset, such as V(2026-11-22T04:30:00+01:00).
    type: str
extends_documentation_fragment:
  - bigvm.live_migration.attributes.reads
  - kubernetes.core.k8s_auth_options
requirements:
  - python >= 3.9
  - kubernetes >= 24.2.0
notes:
  - Needs no right but that to ask about one's own rights, which every user has.
seealso:
  - module: bigvm.live_migration.maintenance_interlocks
  - module: bigvm.live_migration.node_hold
"""

EXAMPLES = r"""
- name: May this run do all that it will do, to the end?
  bigvm.live_migration.access_check_info:
    features: [maintain, settings_hold, drain]
    node: hana-a
    expected_end: "2026-11-22T04:30:00+01:00"
  register: access

- name: Refuse a run that would stop in the middle
  ansible.builtin.fail:
    msg: "{{ item.message }} {{ item.remedy }}"
  loop: "{{ access.problems | selectattr('severity', 'equalto', 'blocker') }}"
"""

RETURN = r"""
missing:
  description: The rights that are missing.
  returned: success
  type: list
  elements: dict
  contains:
    verb:
      description: The verb.
      type: str
    group:
      description: The API group; empty for the core.
      type: str
    resource:
      description: Plural name of the resource, with the subresource.
      type: str
    namespaces:
      description: Where it is missing; empty means in the cluster as a whole.
      type: list
      elements: str
    feature:
      description: What needs it.
      type: str
    required:
      description: Whether that fails without it.
      type: bool
    lost:
      description: What is lost without it.
      type: str
  sample:
    - verb: create
      group: kubevirt.io
      resource: virtualmachineinstancemigrations
      namespaces: [sap]
      feature: migrate
      required: true
      lost: no migration can be started
problems:
  description: What stands in the way, as far as the severity V(blocker), or should be known, V(warning).
  returned: success
  type: list
  elements: dict
  contains:
    code:
      description: V(right_missing), V(token_expires) or V(own_pod_on_node).
      type: str
    severity:
      description: V(blocker) or V(warning).
      type: str
    message:
      description: What is wrong.
      type: str
    remedy:
      description: What helps.
      type: str
token:
  description: What is known about the credentials; never the token.
  returned: success
  type: dict
  contains:
    kind:
      description: V(api_key), V(kubeconfig), V(token_file), V(exec), V(in_cluster), V(certificate) or V(none).
      type: str
    expires:
      description: When it stops working, RFC 3339; null when it does not say.
      type: str
    rereadable:
      description: Whether it is renewed by itself.
      type: bool
lines:
  description: The same in words, lines of at most 80 columns.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import access as asking
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import run_module
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp, to_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import access

SPEC = dict(
    features=dict(type="list", elements="str", choices=list(access.FEATURES), default=["maintain"]),
    node=dict(type="str"),
    namespaces=dict(type="list", elements="str"),
    expected_end=dict(type="str"),
)
CONSTRAINTS = {}


def execute(task):
    params, api = task.params, task.api
    end = from_timestamp(params["expected_end"]) if params["expected_end"] else None
    asked, missing = asking.rights(api, params["features"], params["namespaces"], params["node"])
    found = asking.credentials(api, params)
    here, pod = asking.own_pod(api, params["node"]) if params["node"] else (False, None)
    problems = [access.right_problem(need, namespaces) for need, namespaces in missing]
    token = access.token_problem(found["kind"], found["rereadable"], found["expires"], task.clock.now(), end)
    problems += [token] if token else []
    problems += [access.place_problem(pod, params["node"])] if here else []
    problems.sort(key=lambda row: row["severity"] != access.BLOCKER)
    shown = dict(found, expires=to_timestamp(found["expires"]) if found["expires"] else None)
    return {
        "changed": False, "problems": problems, "token": shown, "lines": access.lines(asked, problems, shown),
        "missing": [dict(_row(need), namespaces=namespaces) for need, namespaces in missing],
    }


def _row(need):
    return {key: getattr(need, key) for key in ("verb", "group", "resource", "feature", "required", "lost")}


def main():
    run_module(execute, SPEC, **CONSTRAINTS)


if __name__ == "__main__":
    main()
