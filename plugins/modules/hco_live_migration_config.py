#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hco_live_migration_config
short_description: Set the cluster's live migration settings, prove them in force, and put them back
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Changes the live migration settings in the HyperConverged object of OpenShift Virtualization, in the API version
    that the cluster serves (C(v1) before C(v1beta1)). Only the options given are changed.
  - With O(hold) what was there is written down in the same patch, so that O(state=restored) can put it back later,
    from any machine and after any crash, without overwriting what somebody else changed in between.
  - Waits until KubeVirt really works with the settings, which is later than HyperConverged says so.
  - Without any setting it reads, and with O(guest_sizes) tells the time that a migration is granted.
  - Refuses before any write what HyperConverged takes without a word. That is numbers with which nothing could move,
    post-copy or pausing that would reach guests of 256 GiB and more or with 1 GiB pages, a migration network that is
    missing or has too few addresses, a change of it while migrations run, an upgrade in progress, and an object that
    a repository keeps.
options:
  state:
    description:
      - V(present) sets what is given.
      - V(reset) gives O(fields) the values of a fresh installation of this release, as the cluster itself knows them.
      - V(restored) puts back what a hold changed, and ends the hold. Without a hold, or without a HyperConverged at all, nothing
        is changed.
    type: str
    choices: [present, reset, restored]
    default: present
  preset:
    description:
      - Fills in what is not given.
      - V(heavy_workload) is for guests that are big and busy. It sets O(parallel_migrations_per_cluster) to V(5),
        O(parallel_outbound_migrations_per_node) to V(1), no bandwidth limit, 150 seconds for
        O(completion_timeout_per_gib) and O(progress_timeout), and O(allow_post_copy) to V(false).
      - The vendor's sample for heavy load allows post-copy. It is off here, since a guest is lost with it when a node or
        the link fails at the wrong moment. Give O(allow_post_copy) for guests that may be lost.
    type: str
    choices: [heavy_workload]
  fields:
    description: The settings that O(state=reset) resets. By default all that this release has.
    type: list
    elements: str
    choices: [parallel_migrations_per_cluster, parallel_outbound_migrations_per_node, bandwidth_per_migration,
      completion_timeout_per_gib, progress_timeout, network, allow_auto_converge, allow_post_copy,
      allow_workload_disruption]
  parallel_migrations_per_cluster:
    description:
      - How many migrations may run at once in the cluster, from 1. Installed with 5.
      - 0 is refused, since with it no migration would ever start.
    type: int
  parallel_outbound_migrations_per_node:
    description:
      - How many migrations may leave a node at once, from 1. Installed with 2, and with 1 from KubeVirt 1.9 on.
      - For guests of a terabyte and more, 1 leaves each of them the whole link.
    type: int
  bandwidth_per_migration:
    description:
      - Upper limit of one migration in bytes per second, as a quantity such as V(1Gi). Installed without a limit.
      - V(0) removes the limit.
    type: str
  completion_timeout_per_gib:
    description:
      - Seconds granted per decimal gigabyte (10^9 bytes, a started one in full) of guest memory, despite the name.
        V(0) grants any time.
      - Installed with 800 up to KubeVirt 1.3, 150 from 1.4, and 20 from 1.9 on; an upgraded cluster may have kept
        an older number.
    type: int
  progress_timeout:
    description: Seconds without progress after which a migration is aborted. V(0) switches it off. Installed with 150.
    type: int
  network:
    description:
      - Name of the NetworkAttachmentDefinition that migrations go over, in the namespace of HyperConverged.
        Installed without one.
      - An empty string goes back to the pod network.
      - It must exist there and have an address for each virt-handler.
      - A change restarts virt-handler on every node. It is refused while migrations run and until five minutes after
        the last one, see O(wait_for_idle), and it cannot be held.
    type: str
  allow_auto_converge:
    description: Whether a guest that writes faster than the link carries is slowed down. Installed with V(false).
    type: bool
  allow_post_copy:
    description:
      - Whether a guest whose time is over goes on at the target and fetches its memory from there. A failure then
        loses the guest.
      - From KubeVirt 1.9 on only together with O(allow_workload_disruption). Installed with V(false).
    type: bool
  allow_workload_disruption:
    description:
      - Whether a guest whose time is over may be paused, or moved by post-copy where that is allowed.
        Installed with V(false).
      - Exists from KubeVirt 1.9 on and is refused before.
    type: bool
  hold:
    description:
      - Id of the run that needs these settings for a while. What was there is kept in the annotation
        C(live-migration.bigvm.io/held-settings) until O(state=restored).
      - Holding again under the same id adds to the hold. Where another run holds, it is refused, unless nothing
        would change.
      - With O(state=restored), only a hold of this run is ended; without, that of any run.
    type: str
  acknowledge:
    description:
      - What is known and accepted. V(gitops) writes although a repository keeps HyperConverged and will put its own
        settings back.
      - V(post_copy) and V(disruption) allow what O(allow_post_copy) and O(allow_workload_disruption) mean for guests of
        256 GiB and more or with 1 GiB pages.
    type: list
    elements: str
    choices: [gitops, post_copy, disruption]
    default: []
  wait_for_idle:
    description:
      - Whether a change of O(network) waits until no migration has been under way for five minutes, instead of being
        refused. Nothing keeps others from starting one meanwhile.
    type: bool
    default: false
  idle_timeout:
    description: Seconds to wait for that at most.
    type: int
    default: 3600
  guest_sizes:
    description: Memory sizes of guests, such as V(3Ti), for which to return the time granted.
    type: list
    elements: str
    default: []
  wait:
    description: Whether to wait until KubeVirt works with the settings. Not done in check mode.
    type: bool
    default: true
  wait_timeout:
    description:
      - Seconds to wait at most, on the cluster's clock.
      - A change of O(network) restarts virt-handler node by node; grant that more.
    type: int
    default: 600
extends_documentation_fragment:
  - bigvm.live_migration.holding
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
    description: A dry run on the server, with its validation; nothing is stored.
  diff_mode:
    support: full
    description: The live migration block before and after.
requirements:
  - python >= 3.9
  - kubernetes >= 24.2.0
notes:
  - Needs to list and patch C(hyperconvergeds.hco.kubevirt.io) and to list C(kubevirts.kubevirt.io). For O(network) also
    to list migrations, NetworkAttachmentDefinitions, and to read the DaemonSet and pods of virt-handler. To allow
    post-copy or disruption, also to list VMIs and MigrationPolicies; what cannot be read is warned about.
  - HyperConverged itself takes absurd numbers without a word. What is refused here is refused before any write.
seealso:
  - module: bigvm.live_migration.migration_policy
  - module: bigvm.live_migration.migrate_vmi
  - module: bigvm.live_migration.node_hold
"""

EXAMPLES = r"""
- name: Settings for huge guests, for good
  bigvm.live_migration.hco_live_migration_config:
    parallel_outbound_migrations_per_node: 1
    completion_timeout_per_gib: 150
    allow_post_copy: false

- name: Heavy workload, with a cap for the shared network
  bigvm.live_migration.hco_live_migration_config:
    preset: heavy_workload
    bandwidth_per_migration: 2Gi

- name: A network of their own for migrations, once the last one is over
  bigvm.live_migration.hco_live_migration_config:
    network: migration
    wait_for_idle: true
    wait_timeout: 3600

- name: As a fresh installation would be
  bigvm.live_migration.hco_live_migration_config:
    state: reset

- name: What is a guest of 3 TiB granted here?
  bigvm.live_migration.hco_live_migration_config:
    guest_sizes: [3Ti]
    wait: false
  register: migration_settings

- name: More time for the length of a maintenance
  bigvm.live_migration.hco_live_migration_config:
    completion_timeout_per_gib: 800
    bandwidth_per_migration: "0"
    hold: maintenance-42

- name: Put back what that maintenance changed
  bigvm.live_migration.hco_live_migration_config:
    state: restored
    hold: maintenance-42
"""

RETURN = r"""
api_version:
  description: The API version that was used.
  returned: success
  type: str
  sample: hco.kubevirt.io/v1
before:
  description: All nine settings as they were, by option name; null when not set.
  returned: success
  type: dict
  sample: {completion_timeout_per_gib: 20, bandwidth_per_migration: null}
after:
  description: All nine settings as they are now, or in check mode would be.
  returned: success
  type: dict
  sample: {completion_timeout_per_gib: 800, bandwidth_per_migration: null}
held:
  description: The hold that is there afterwards, of this or another run; null without one.
  returned: success
  type: dict
  sample:
    run: maintenance-42
    owner: basis@bastion
    since: "2026-11-21T01:15:00Z"
    api_version: hco.kubevirt.io/v1
    before: {completion_timeout_per_gib: 20}
    written: {completion_timeout_per_gib: 800}
left_alone:
  description: With O(state=restored), the held settings that somebody else has changed since; also warned about.
  returned: success
  type: list
  elements: dict
  sample: [{field: progress_timeout, before: 150, written: 300, found: 200}]
lines:
  description: What changed in words, a line a setting, and what was left alone.
  returned: success
  type: list
  elements: str
  sample: ["bandwidth_per_migration: 64Mi -> not set"]
propagated:
  description: Whether KubeVirt was seen to work with the settings; null when that was not waited for.
  returned: success
  type: bool
rolled:
  description: What a change of O(network) restarted; empty for every other change.
  returned: success
  type: list
  elements: dict
  sample: [{kind: DaemonSet, name: virt-handler, nodes: 4, updated: 4, ready: 4}]
budget:
  description: What each of O(guest_sizes) is granted, in seconds; null for any time.
  returned: success
  type: list
  elements: dict
  sample: [{guest: 3Ti, bytes: 3298534883328, seconds: 65980}]
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import hyperconverged
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.options import settings_options
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import run_module
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.writing import owner
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.changeset import ChangeSet
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import to_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput, LiveMigrationError
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import journal, settings, wording
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import parse_bytes

SPEC = dict(
    settings_options(),
    state=dict(type="str", choices=["present", "reset", "restored"], default="present"),
    preset=dict(type="str", choices=["heavy_workload"]),
    fields=dict(type="list", elements="str", choices=[
        "parallel_migrations_per_cluster", "parallel_outbound_migrations_per_node", "bandwidth_per_migration",
        "completion_timeout_per_gib", "progress_timeout", "network", "allow_auto_converge", "allow_post_copy",
        "allow_workload_disruption"]),
    hold=dict(type="str"),
    owner=dict(type="str"),
    acknowledge=dict(type="list", elements="str", choices=["gitops", "post_copy", "disruption"], default=[]),
    wait_for_idle=dict(type="bool", default=False),
    idle_timeout=dict(type="int", default=3600),
    guest_sizes=dict(type="list", elements="str", default=[]),
    wait=dict(type="bool", default=True),
    wait_timeout=dict(type="int", default=600),
)


def execute(task):
    params = task.params
    given = {name: params[name] for name in settings.FIELDS if params[name] is not None}
    _check(given, params)
    given = dict(settings.PRESETS.get(params["preset"], {}), **given)
    if params["state"] == "restored" and hyperconverged.absent(task.api):
        return {"changed": False, "held": None, "left_alone": [], "lines": []}  # KubeVirt alone: there never was a hold
    found, version = hyperconverged.find(task.api)
    gate = _Gate(task, version)
    before, after, plan = hyperconverged.change(task.api, found, version, _planner(task, given, found, version), gate)
    values = hyperconverged.values_of(after, version)
    changes = _changes(before, after, version)
    for warning in plan.warnings + gate.warnings + _consequences(given, plan, values):
        task.warn(warning)
    result = changes.result(
        api_version="%s/%s" % (settings.API_GROUP, version),
        before=hyperconverged.values_of(before, version),
        after=values,
        held=hyperconverged.held_by(after),
        left_alone=plan.left_alone,
        propagated=None,
        rolled=[],
        lines=wording.change_lines(hyperconverged.values_of(before, version), values) + wording.left_alone_lines(plan.left_alone),
        budget=[_granted(values, size) for size in params["guest_sizes"]],
    )
    if params["wait"] and not task.check_mode:
        _wait(task, after, version, result, "network" in dict(given, **plan.writes))
        if "network" in plan.writes:
            result["rolled"] = hyperconverged.rolled(task.api, after)
    return result


class _Gate:
    """What speaks against writing; its code is only loaded when something is to be written, which is rare."""

    def __init__(self, task, version):
        self._task, self._version, self.warnings = task, version, []

    def __call__(self, current, plan):
        from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import settings_gate

        params = self._task.params
        self.warnings = settings_gate.check(
            self._task, self._version, current, plan, params["state"] == "restored", params["acknowledge"],
            params["idle_timeout"] if params["wait_for_idle"] else None)


def _wait(task, after, version, result, network):
    # Our own change makes conditions flap, so one good look proves nothing after it.
    timeout, looks = task.params["wait_timeout"], 2 if result["changed"] else 1
    left = hyperconverged.follow(task.api, after, version, timeout, looks=looks, say=task.say, network=network)
    result["propagated"] = left is None
    if left:
        raise LiveMigrationError(
            "The live migration settings are in HyperConverged %s, but not in force after %d s: %s."
            % (hyperconverged.name_of(after), timeout, left),
            "Look at the conditions of HyperConverged and KubeVirt there; running this again only waits on.", **result)


def _check(given, params):
    """Refuse what cannot be meant before anything is asked of the cluster."""
    wrong, state = settings.problems(given, params["guest_sizes"]), params["state"]
    if state != "present":
        wrong += ["state %s takes no values, but %s was given" % (state, name) for name in sorted(given)]
        wrong += ["preset is for state present"] if params["preset"] else []
    if params["fields"] is not None and state != "reset":
        wrong.append("fields is for state reset")
    if params["hold"] is not None and (state == "reset" or not params["hold"].strip()):
        wrong.append("hold is not for state reset" if state == "reset" else "hold is empty; it takes the id of a run")
    if params["hold"] and "network" in given:
        wrong.append("network was given with hold; every virt-handler would restart, now and when it is put back")
    if wrong:
        raise BadInput("Live migration settings: %s." % "; ".join(wrong), "Nothing was changed.")


def _planner(task, given, found, version):
    run, wanted = task.params["hold"], settings.asked(given)
    if task.params["state"] == "restored":
        return lambda current, record: journal.restore_settings(current, record, run)
    if task.params["state"] == "reset":
        wanted = hyperconverged.defaults_of(task.api, found, version, task.params["fields"] or list(settings.FIELDS))
    if not run:
        return lambda current, record: journal.set_settings(current, record, wanted)
    who, since = task.params["owner"] or owner(), to_timestamp(task.clock.now())
    api_version = "%s/%s" % (settings.API_GROUP, version)
    return lambda current, record: journal.hold_settings(current, record, wanted, run, who, since, api_version)


def _changes(before, after, version):
    changes, name = ChangeSet(), "HyperConverged %s" % hyperconverged.name_of(after)
    blocks = [{settings.BLOCK: settings.block_of(found, version)} for found in (before, after)]
    if not changes.note(name, *blocks):
        held = [{journal.HELD_SETTINGS: hyperconverged.held_by(found)} for found in (before, after)]
        changes.note(name, *held)
    return changes


def _consequences(given, plan, values):
    """Warnings about what the settings will do."""
    found = settings.contradictions(values, values["allow_workload_disruption"] is not None) if given else []
    if "network" in plan.writes:
        found.append("The migration network changes: virt-handler restarts on every node. Migrate nothing meanwhile.")
    return found


def _granted(values, size):
    per_gib = values["completion_timeout_per_gib"]
    return {"guest": size, "bytes": parse_bytes(size), "seconds": settings.budget_seconds(per_gib, parse_bytes(size))}


def main():
    run_module(execute, SPEC)


if __name__ == "__main__":
    main()
