#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_policy
short_description: Write MigrationPolicies, tell which one applies to a VM, and hold settings for single VMs
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - A MigrationPolicy of KubeVirt gives the VMs that it selects live migration settings of their own. This module creates,
    changes and deletes one, and tells which VMs each policy matches, which policy applies to a VM, and why.
  - With O(state=held) it sets what a few VMs need for the length of a maintenance, without touching the settings of
    the cluster. Of all policies that match a VM exactly one applies, and what it leaves out comes from the cluster, not
    from another policy. The hold therefore repeats the selectors of the policy that applies now, adds a label of its own
    on the VMs, and writes every field. Before and after writing, KubeVirt's rule is computed over all policies; a hold
    that would not win is refused.
  - A hold can be put back from the cluster alone, from any machine. The annotation
    C(live-migration.bigvm.io/held-policy) of each policy says whose it is and what it displaced, the label
    C(live-migration.bigvm.io/hold) of each VMI names its policy.
options:
  state:
    description:
      - V(present) creates a policy or changes what is given of it.
      - V(absent) deletes it.
      - V(held) holds settings for the VMs given, until V(restored).
      - V(restored) removes the holds of O(run), or without it of any run.
      - V(read) returns all policies, and for O(vms) which one applies.
    type: str
    choices: [present, absent, held, restored, read]
    default: present
  name:
    description: The policy. Needed with O(state=present) and O(state=absent).
    type: str
  namespace_selector:
    description:
      - Labels that the namespace of a VM must have, all of them. Replaces those of the policy.
      - A new policy needs this or O(vmi_selector). An empty one matches every VM, with the lowest rank.
    type: dict
  vmi_selector:
    description: Labels that the VMI must have, all of them. Replaces those of the policy.
    type: dict
  bandwidth_per_migration:
    description: Upper limit of one migration in bytes per second, as a quantity such as V(1Gi); V(0) for no limit.
    type: str
  completion_timeout_per_gib:
    description: Seconds granted per decimal gigabyte of guest memory; V(0) for any time.
    type: int
  allow_auto_converge:
    description: Whether a guest that writes faster than the link carries is slowed down.
    type: bool
  allow_post_copy:
    description: Whether a guest whose time is over goes on at the target without all of its memory.
    type: bool
  allow_workload_disruption:
    description:
      - Whether a guest whose time is over may be paused, or moved by post-copy where that is allowed.
        Exists from KubeVirt 1.5 on.
      - Where it is not set, it follows O(allow_post_copy) of the same policy.
    type: bool
  unset:
    description: Fields that the policy no longer sets, so that the cluster's settings decide.
    type: list
    elements: str
    choices: [bandwidth_per_migration, completion_timeout_per_gib, allow_auto_converge, allow_post_copy,
      allow_workload_disruption]
    default: []
  expect_matches:
    description: The greatest number of running VMs that the policy may match; with more it is refused, and nothing written.
    type: int
  acknowledge:
    description:
      - What is known and accepted. V(gitops) lets this change a policy that a repository keeps, until it is put back
        from there.
    type: list
    elements: str
    choices: [gitops]
    default: []
  run:
    description: Id of the run that holds. Needed with O(state=held).
    type: str
  vms:
    description: The VMs to hold settings for, or to tell about with O(state=read).
    type: list
    elements: dict
    suboptions:
      namespace:
        description: Its namespace.
        type: str
        required: true
      name:
        description: Its name.
        type: str
        required: true
      uid:
        description: The uid of its VMI; when given and another one is found, the hold is refused.
        type: str
  settings:
    description:
      - What to hold. What is not given stays as it is in force for each VM, but post-copy and disruption are held at
        V(false).
      - Parallelism, O(ignore:progress_timeout) and O(ignore:network) are no fields of a policy and are refused here.
    type: dict
extends_documentation_fragment:
  - bigvm.live_migration.holding
  - bigvm.live_migration.assumed_settings
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
    description: A dry run on the server, with its validation; nothing is stored.
  diff_mode:
    support: full
    description: Policies and labels before and after.
requirements:
  - python >= 3.9
  - kubernetes >= 24.2.0
notes:
  - Needs to list C(migrationpolicies.migrations.kubevirt.io), C(virtualmachineinstances.kubevirt.io),
    C(kubevirts.kubevirt.io) and, where a policy selects by them, C(namespaces); to write, also to create, patch and
    delete policies, and for a hold to patch VMIs.
  - KubeVirt chooses the policy at the handoff of a migration, when its target pod is ready. A migration that is further
    keeps what it has.
seealso:
  - module: bigvm.live_migration.hco_live_migration_config
  - module: bigvm.live_migration.migrate_vmi
"""

EXAMPLES = r"""
- name: HANA guests get time, and never post-copy
  bigvm.live_migration.migration_policy:
    name: sap-hana
    vmi_selector:
      app: sap-hana
    completion_timeout_per_gib: 150
    allow_post_copy: false
    allow_workload_disruption: false
    expect_matches: 4

- name: What applies to this VM, and why?
  bigvm.live_migration.migration_policy:
    state: read
    vms:
      - {namespace: sap, name: hana-a}
  register: migration_policies

- name: No cap for one VM while a maintenance lasts
  bigvm.live_migration.migration_policy:
    state: held
    run: maintenance-42
    vms:
      - {namespace: sap, name: hana-a, uid: 6f0c0f0a-2f7e-4d3b-9a52-0d3f4ab1c001}
    settings:
      bandwidth_per_migration: "0"
      completion_timeout_per_gib: 800

- name: Put back what that maintenance held
  bigvm.live_migration.migration_policy:
    state: restored
    run: maintenance-42
"""

RETURN = r"""
policy:
  description: The policy afterwards; null once it is deleted.
  returned: with O(state=present) and O(state=absent)
  type: dict
matches:
  description: The running VMs that the policy matches, and whether it is the one that applies.
  returned: with O(state=present)
  type: list
  elements: dict
  sample: [{namespace: sap, name: hana-a, wins: true}]
policies:
  description:
    - All policies, with how many running VMs each matches and for how many it applies. Both are null when O(vms) was
      given or namespaces cannot be read.
  returned: with O(state=read)
  type: list
  elements: dict
  sample:
    - name: sap-hana
      namespace_selector: {}
      vmi_selector: {app: sap-hana}
      settings: {completion_timeout_per_gib: 150}
      matches: 2
      wins: 2
      hold: null
vms:
  description:
    - With O(state=held), each VM with the policy that holds for it, the one it displaced, and its configuration as
      KubeVirt will write it into the VMI at the handoff.
    - With O(state=read), each VM asked about with the policy that applies, why, and the settings in force.
  returned: with O(state=held) and O(state=read)
  type: list
  elements: dict
  sample:
    - namespace: sap
      name: hana-a
      policy: bigvm-maintenance-42-1
      displaced: sap-hana
      configuration: {bandwidthPerMigration: "0", completionTimeoutPerGiB: 800, allowPostCopy: false}
cluster_settings:
  description: The settings in force where no policy applies.
  returned: with O(state=read)
  type: dict
  sample: {completion_timeout_per_gib: 20, bandwidth_per_migration: "0"}
removed:
  description: Policies of holds that were deleted.
  returned: with O(state=held) and O(state=restored)
  type: list
  elements: str
left_alone:
  description: Policies of holds that somebody changed since, and what of them; also warned about.
  returned: with O(state=restored)
  type: list
  elements: dict
  sample: [{object: MigrationPolicy bigvm-maintenance-42-1, what: [bandwidthPerMigration]}]
lines:
  description: What was held or put back, in words.
  returned: success
  type: list
  elements: str
  sample: ["policy bigvm-maintenance-42-1: no cap, 800 s/GB"]
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import policies
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.options import settings_options
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import run_module
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.writing import owner
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.changeset import ChangeSet
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import to_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput, Refused
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import policy, policy_hold
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import key_of, mapping

SPEC = dict(
    {name: option for name, option in settings_options().items() if name in policy.IN_POLICY},
    state=dict(type="str", choices=["present", "absent", "held", "restored", "read"], default="present"),
    name=dict(type="str"),
    namespace_selector=dict(type="dict"),
    vmi_selector=dict(type="dict"),
    unset=dict(type="list", elements="str", choices=[
        "bandwidth_per_migration", "completion_timeout_per_gib", "allow_auto_converge", "allow_post_copy",
        "allow_workload_disruption"], default=[]),
    expect_matches=dict(type="int"),
    acknowledge=dict(type="list", elements="str", choices=["gitops"], default=[]),
    run=dict(type="str"),
    owner=dict(type="str"),
    vms=dict(type="list", elements="dict", options=dict(
        namespace=dict(type="str", required=True), name=dict(type="str", required=True), uid=dict(type="str"))),
    settings=dict(type="dict", options=settings_options()),
)


def execute(task):
    return {"present": _present, "absent": _absent, "held": _held, "restored": _restored,
            "read": _read}[task.params["state"]](task)


def _present(task):
    params, api = task.params, task.api
    given = {name: params[name] for name in policy.IN_POLICY if params[name] is not None}
    selectors = (params["namespace_selector"], params["vmi_selector"])
    wrong = policy.problems(params["name"], dict(namespace_selector=selectors[0], vmi_selector=selectors[1]), given)
    wrong += ["%s is given and unset at once" % name for name in sorted(set(given) & set(params["unset"]))]
    if wrong:
        raise BadInput("MigrationPolicy: %s." % "; ".join(wrong), "Nothing was changed.")
    scene, told = policies.scene(api), {}

    def wanted(spec):
        if not spec and selectors == (None, None):
            raise BadInput("MigrationPolicy %s does not exist yet, and no selector is given." % params["name"],
                           "Give vmi_selector or namespace_selector; an empty one ({}) matches every VM.")
        new = policy.changed_spec(spec, selectors, given, params["unset"])
        told.update(policies.effect(scene, params["name"], new, params["expect_matches"]))
        return new

    known = policies.named(scene["policies"], params["name"])
    before, after = policies.put(api, params["name"], known, wanted, params["acknowledge"])
    for sentence in told["warnings"] if given else ():
        task.warn(sentence)
    changes = ChangeSet()
    changes.note("MigrationPolicy " + params["name"], mapping(before, "spec"), mapping(after, "spec"))
    line = "policy %s matches %d running VMs and applies to %d" % (
        params["name"], len(told["matches"]), sum(row["wins"] for row in told["matches"]))
    return changes.result(policy=after, matches=told["matches"], lines=[line])


def _absent(task):
    name, changes = task.params["name"], ChangeSet()
    if not name:
        raise BadInput("state absent needs the name of the policy.", "Nothing was changed.")
    found = policies.named(policies.list_policies(task.api), name)
    if found:
        policies.refuse_foreign(found, task.params["acknowledge"])
        if not policies.remove(task.api, found):
            raise Refused("MigrationPolicy %s was changed by somebody at this moment." % name, "Look at it, then run again.")
        changes.note("MigrationPolicy " + name, mapping(found, "spec"), {})
    return changes.result(policy=None, lines=["policy %s %s" % (name, "deleted" if found else "does not exist")])


def _held(task):
    params = task.params
    given = {name: value for name, value in (params["settings"] or {}).items() if value is not None}
    wrong = _run_problems(params["run"], True) + policy_hold.setting_problems(given)
    if params["vms"] is None:
        wrong.append("vms is missing; an empty list holds nothing")
    if wrong:
        raise BadInput("The hold cannot be meant: %s." % "; ".join(wrong), "Nothing was changed.")
    asked = {"vms": params["vms"], "settings": given}
    since = to_timestamp(task.clock.now())
    result = policies.hold(task.api, asked, params["run"], params["owner"] or owner(), since)
    for sentence in result.warnings:
        task.warn(sentence)
    return result.changes.result(
        vms=result.plan.vms, removed=result.removed, lines=policy_hold.hold_lines(result.plan))


def _restored(task):
    wrong = _run_problems(task.params["run"], False)
    if wrong:
        raise BadInput("%s." % "; ".join(wrong), "Nothing was changed.")
    result = policies.restore(task.api, task.params["run"])
    for row in result.plan.left_alone:
        task.warn("%s: somebody changed %s since it was written; it is left alone." % (row["object"], ", ".join(row["what"])))
    return result.changes.result(removed=result.removed, left_alone=result.plan.left_alone,
                                 lines=policy_hold.restore_lines(result.plan, result.removed))


def _run_problems(run, needed):
    if run is None and not needed:
        return []
    fine = policy_hold.RUN.fullmatch(run or "")
    return [] if fine else ["run is '%s'; it takes the id of a run: letters, digits, -, _ and ., up to 63" % (run or "")]


def _read(task):
    keys = None
    if task.params["vms"] is not None:
        keys = [(row["namespace"], row["name"]) for row in task.params["vms"]]
    scene = policies.scene(task.api, keys)
    found = policy.overview(scene, keys)
    holds = {key_of(obj)[1]: policy_hold.record_of(obj) for obj in scene["policies"]}
    for row in found["policies"]:
        record = holds[row["name"]] or {}
        row["hold"] = {key: record.get(key) for key in ("run", "owner", "since", "displaced")} if record else None
    lines = ["%s/%s: %s (%s)" % (row["namespace"], row["name"], row["policy"] or "no policy", row["why"]) for row in found["vms"]]
    return dict(found, changed=False, lines=lines, cluster_settings=scene["settings"])


def main():
    run_module(execute, SPEC)


if __name__ == "__main__":
    main()
