# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings held for a window by MigrationPolicies of our own: what to write, whether it wins, what to put back.

The winner takes all and what it leaves out comes from the cluster (facts 5.2-5.4). A hold therefore repeats the
selectors of the policy that wins now, adds a label that only the VMs meant carry, and writes every field. It has
one label more than every other policy that matches, so it wins.

All that is needed to put things back is in the cluster: each policy says in an annotation whose it is, what it
displaced and how it was written; each VMI names its policy in a label. Policies are written before labels and
removed after them, so that a hold that was cut short in between has no effect, and the next call finishes or
removes it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import namedtuple

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import policy, settings
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.migration import MANAGED_BY, RUN_LABEL, US
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import key_of, labels, mapping, text
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.wording import WIDTH, shortened

HOLD_LABEL = "live-migration.bigvm.io/hold"  # on a VMI: the value that its policy selects
HELD_POLICY = "live-migration.bigvm.io/held-policy"  # on a policy of ours: whose it is
RUN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")  # a run's id is a label's value
# Labels that change when a VM moves; a policy that selects by one no longer matches afterwards.
_MOVING = ("kubevirt.io/nodeName", "kubevirt.io/migrationTargetNodeName", "kubevirt.io/outdatedLauncherImage")

# wanted: [(policy object to create)]; relabel: [Relabel]; vms: the module's answer; unused: policies of this run
# that nothing needs any more; warnings: sentences; refusals: sentences (nothing may be written when there are any)
HoldPlan = namedtuple("HoldPlan", "create relabel vms unused warnings refusals")
# before, after: the value of HOLD_LABEL, None for no label
Relabel = namedtuple("Relabel", "namespace name uid before after")
# left_alone: [{object, what}]
RestorePlan = namedtuple("RestorePlan", "relabel delete left_alone")


# -- reading what is held ----------------------------------------------------------


def record_of(obj):
    """The record on a policy of ours: ``{run, owner, since, displaced, written}``; None on any other."""
    note = text(obj, "metadata", "annotations", HELD_POLICY)
    try:
        record = json.loads(note) if note else None
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("run"), str) and record["run"] else None


def value_of(obj):
    """The value of :data:`HOLD_LABEL` that a policy selects, ``""`` for none."""
    return text(obj, "spec", "selectors", "virtualMachineInstanceSelector", HOLD_LABEL)


def changes_of(obj, record):
    """What somebody changed on a policy of ours since it was written: names of spec fields, sorted."""
    spec, written = mapping(obj, "spec"), mapping(record, "written")
    return sorted(key for key in set(spec) | set(written) if not _same(key, spec.get(key), written.get(key)))


def _same(key, one, other):
    if key == settings.FIELDS["bandwidth_per_migration"].key and one is not None and other is not None:
        return settings.same("bandwidth_per_migration", one, other)
    return (one or {}) == (other or {}) if key == "selectors" else one == other


def setting_problems(given):
    """What is wrong with the settings to hold, as sentences."""
    found = []
    for name, value in sorted(given.items()):
        kind = settings.FIELDS[name].kind if name in settings.FIELDS else None
        if name not in policy.IN_POLICY:
            found.append("%s is no field of a MigrationPolicy: hold it on HyperConverged (hco_live_migration_config), "
                         "or leave it out" % name if kind else "%s is no live migration setting" % name)
        elif kind == "switch" and not isinstance(value, bool):
            found.append("%s is '%s'; it takes true or false" % (name, value))
        elif kind == "seconds" and (isinstance(value, bool) or not isinstance(value, int)):
            found.append("%s is '%s'; it takes a number of seconds" % (name, value))
        else:
            found += settings.problems({name: value})
    return found


# -- holding -------------------------------------------------------------------------


def plan_hold(asked, scene, run, owner, since):
    """What to write so that exactly the VMs asked for run with the settings asked for.

    :param asked: ``{"vms": [{namespace, name, uid or None}], "settings": {field: value}}``.
    :param scene: ``{"vmis": [...], "policies": [...], "namespaces": {name: labels} or None, "settings": those in
        force in the cluster, "release": KubeVirt's}``.
    :returns: :class:`HoldPlan`.
    """
    vmis = {key_of(vmi): vmi for vmi in scene["vmis"]}
    groups, relabel, answers, warnings, refusals = _Groups(run, owner, since, scene["policies"]), [], [], [], []
    for row in asked["vms"]:
        where = (row["namespace"], row["name"])
        vmi = vmis.get(where)
        present = labels(vmi).get(HOLD_LABEL)
        problem = _vm_problem(where, vmi, row.get("uid")) or groups.foreign(where, present)
        if problem:
            refusals.append(problem)
            continue
        others = {key: value for key, value in labels(vmi).items() if key != HOLD_LABEL}
        try:
            displaced = policy.winner(scene["policies"], others, policy.namespace_labels(vmi, scene["namespaces"]))
        except LookupError as exc:
            refusals.append(
                "%s/%s: policy %s selects by labels of the namespace, which cannot be read: settings_hold needs the right to "
                "list namespaces" % (where + (exc.args[0],)))
            continue
        if present and not groups.knows(present):
            warnings.append("VM %s/%s carries the label %s=%s, whose policy is gone; it is replaced."
                            % (where + (HOLD_LABEL, present)))
        moving = sorted(set(mapping(displaced, "spec", "selectors", "virtualMachineInstanceSelector")) & set(_MOVING))
        if moving:
            warnings.append(
                "MigrationPolicy %s, which VM %s/%s is under, selects by %s, which changes when the VM moves: hold "
                "again before it is moved once more." % ((key_of(displaced)[1],) + where + (", ".join(moving),)))
        values = _held_values(scene["settings"], displaced, asked["settings"])
        name, value = groups.member(displaced, _spec(displaced, values, scene["release"]))
        if present != value:
            relabel.append(Relabel(where[0], where[1], text(vmi, "metadata", "uid"), present, value))
        answers.append({
            "namespace": where[0], "name": where[1], "policy": name,
            "displaced": key_of(displaced)[1] if displaced else None,
            "configuration": policy.configuration(values, scene["release"]),
        })
    return HoldPlan(groups.create, relabel, answers, groups.unused(), warnings + groups.warnings, refusals)


def _vm_problem(where, vmi, uid):
    if vmi is None:
        return "VM %s/%s is not running" % where
    if uid and text(vmi, "metadata", "uid") != uid:
        return "VM %s/%s was restarted meanwhile (its VMI has another uid)" % where
    return None


def _held_values(cluster, displaced, given):
    """Every field: what is in force for the VM now, nothing that stops or loses a guest, and what was asked for."""
    calm = {"allow_post_copy": False, "allow_workload_disruption": False}
    return dict(policy.effective(cluster, displaced), **dict(calm, **given))


def _spec(displaced, values, release):
    """The hold's spec but for our label: the displaced policy's selectors, and what else it sets, stay."""
    spec = {key: value for key, value in mapping(displaced, "spec").items() if key != "selectors"}
    spec.update(policy.configuration(values, release))
    spec["selectors"] = {key: dict(mapping(displaced, "spec", "selectors", key))
                         for key in ("namespaceSelector", "virtualMachineInstanceSelector")}
    return spec


class _Groups:
    """One policy for all VMs with the same selectors and settings; those of this run that are there are used again."""

    def __init__(self, run, owner, since, policies):
        self.run, self.owner, self.since = run, owner, since
        self.create, self.warnings, self._groups = [], [], {}
        self._names = {key_of(obj)[1] for obj in policies}
        self._number = 0
        self._runs = {}  # value of the label -> run
        self._own = []  # policies of this run as we wrote them
        for obj in policies:
            record = record_of(obj)
            if record is None:
                continue
            if value_of(obj):
                self._runs[value_of(obj)] = record["run"]
            if record["run"] == run:
                changed = changes_of(obj, record)
                if changed:
                    self.warnings.append("Somebody changed %s of MigrationPolicy %s, a hold of this run; it is left "
                                         "alone and not used again." % (", ".join(changed), key_of(obj)[1]))
                else:
                    self._own.append(obj)
        self._used = set()

    def knows(self, value):
        """Whether a policy selects that value."""
        return value in self._runs

    def foreign(self, where, value):
        """Why a VM with that label may not be held by this run, else None."""
        run = self._runs.get(value)
        if value is None or run in (None, self.run):
            return None
        return "VM %s/%s is held by run %s already" % (where + (run,))

    def member(self, displaced, spec):
        """``(policy's name, label's value)`` for a VM that needs this spec."""
        key = json.dumps(spec, sort_keys=True)
        if key not in self._groups:
            self._groups[key] = self._present(spec) or self._new(displaced, spec)
        return self._groups[key]

    def _present(self, spec):
        for obj in self._own:
            if value_of(obj) and _plain(mapping(obj, "spec")) == _plain(spec):
                self._used.add(key_of(obj)[1])
                return key_of(obj)[1], value_of(obj)
        return None

    def _new(self, displaced, spec):
        while True:
            self._number += 1
            name, value = policy_name(self.run, self._number), label_value(self.run, self._number)
            if name not in self._names and value not in self._runs:
                break
        spec = json.loads(json.dumps(spec))
        spec["selectors"]["virtualMachineInstanceSelector"][HOLD_LABEL] = value
        record = {"run": self.run, "owner": self.owner, "since": self.since, "written": spec,
                  "displaced": key_of(displaced)[1] if displaced else None}
        self.create.append({
            "apiVersion": policy.API_VERSION, "kind": "MigrationPolicy",
            "metadata": {"name": name, "labels": {MANAGED_BY: US, RUN_LABEL: self.run},
                         "annotations": {HELD_POLICY: json.dumps(record, sort_keys=True)}},
            "spec": spec,
        })
        return name, value

    def unused(self):
        """Policies of this run, as we wrote them, that no VM asked for needs; others may still carry their label."""
        return [obj for obj in self._own if key_of(obj)[1] not in self._used]


def _plain(spec):
    """A spec for comparing: without our label, empty selectors as none."""
    selectors = {
        key: {label: value for label, value in mapping(spec, "selectors", key).items() if label != HOLD_LABEL}
        for key in ("namespaceSelector", "virtualMachineInstanceSelector")
    }
    return dict(spec, selectors=selectors)


def policy_name(run, number):
    """``bigvm-<run>-<n>``, in the letters that an object's name may have."""
    return "bigvm-%s-%d" % (re.sub(r"[^a-z0-9-]", "-", run.lower()), number)


def label_value(run, number):
    """``<run>-<n>``, in the 63 characters that a label's value may have."""
    value = "%s-%d" % (run, number)
    if len(value) <= 63:
        return value
    return "%s-%s-%d" % (run[:40], hashlib.sha256(run.encode()).hexdigest()[:12], number)


def losers(answers, policies, vmis, namespaces):
    """Of the VMs held, those for which the hold does not win, as sentences: the proof, by KubeVirt's own rule.

    :param answers: ``vms`` of a :class:`HoldPlan`.
    :param policies: all there are, ours included.
    """
    found, by_key = [], {key_of(vmi): vmi for vmi in vmis}
    for row in answers:
        vmi = by_key.get((row["namespace"], row["name"]))
        if vmi is None:
            found.append("VM %s/%s is gone" % (row["namespace"], row["name"]))
            continue
        try:
            best = policy.winner(policies, labels(vmi), policy.namespace_labels(vmi, namespaces))
        except LookupError as exc:
            found.append("VM %s/%s: policy %s selects by labels of the namespace, which cannot be read"
                         % (row["namespace"], row["name"], exc.args[0]))
            continue
        name = key_of(best)[1] if best else "no policy"
        found += _not_won(row, best, name)
    return found


def _not_won(row, best, name):
    where = "VM %s/%s" % (row["namespace"], row["name"])
    if name != row["policy"]:
        return ["%s would run under %s instead of %s" % (where, name, row["policy"])]
    spec = mapping(best, "spec")
    other = sorted(key for key, value in row["configuration"].items() if not _same(key, spec.get(key), value))
    return ["%s: %s of policy %s is not as held" % (where, ", ".join(other), name)] if other else []


def with_labels(vmis, relabel):
    """The VMIs as they will be once relabelled."""
    after = {(row.namespace, row.name): row.after for row in relabel}
    result = []
    for vmi in vmis:
        if key_of(vmi) in after:
            meta = mapping(vmi, "metadata")
            vmi = dict(vmi, metadata=dict(meta, labels=dict(labels(vmi), **{HOLD_LABEL: after[key_of(vmi)]})))
        result.append(vmi)
    return result


# -- putting back --------------------------------------------------------------------


def plan_restore(policies, vmis, run=None):
    """What removes the holds of a run, or of any: labels first, then policies.

    :param vmis: those that carry :data:`HOLD_LABEL`; more do no harm.
    :returns: :class:`RestorePlan`. A policy that somebody changed stays, and without its label means no VM.
    """
    holds = [(obj, record_of(obj)) for obj in policies]
    holds = [(obj, record) for obj, record in holds if record]
    own = [(obj, record) for obj, record in holds if run in (None, record["run"])]
    values = {mapping(record, "written", "selectors", "virtualMachineInstanceSelector").get(HOLD_LABEL)
              for _obj, record in own} | {value_of(obj) for obj, _record in own}
    others = {value_of(obj) for obj, record in holds if run not in (None, record["run"])}
    relabel = []
    for vmi in vmis:
        value = labels(vmi).get(HOLD_LABEL)
        orphan = value not in others and (run is None or _numbered(run, value))
        if value and (value in values or orphan):
            relabel.append(Relabel(key_of(vmi)[0], key_of(vmi)[1], text(vmi, "metadata", "uid"), value, None))
    delete, left = [], []
    for obj, record in own:
        changed = changes_of(obj, record)
        if changed:
            left.append({"object": "MigrationPolicy " + key_of(obj)[1], "what": changed})
        else:
            delete.append(obj)
    return RestorePlan(relabel, delete, left)


def _numbered(run, value):
    number = (value or "").rpartition("-")[2]
    return number.isdigit() and value == label_value(run, int(number))


# -- telling ---------------------------------------------------------------------------


def hold_lines(plan):
    """What is held for whom, in lines of at most 78 columns."""
    groups = {}
    for row in plan.vms:
        groups.setdefault(row["policy"], []).append(row)
    lines = []
    for name, members in sorted(groups.items()):
        lines.append(shortened("policy %s: %s" % (name, in_words(members[0]["configuration"])), WIDTH))
        lines += [shortened("  %s/%s%s" % (row["namespace"], row["name"], " instead of policy %s" % row["displaced"]
                                           if row["displaced"] else ""), WIDTH) for row in members]
    return lines


def in_words(configuration):
    """A held configuration, short: ``no cap, 800 s/GB, post-copy off``."""
    cap, seconds = configuration.get("bandwidthPerMigration"), configuration.get("completionTimeoutPerGiB")
    words = ["no cap" if settings.same("bandwidth_per_migration", cap, "0") else "cap %s" % cap,
             "%s s/GB" % seconds if seconds else "no time limit"]
    for key, name in (("allowPostCopy", "post-copy"), ("allowWorkloadDisruption", "pausing"),
                      ("allowAutoConverge", "auto-converge")):
        if configuration.get(key):
            words.append("%s ON" % name)
    return ", ".join(words)


def restore_lines(plan, removed):
    """What was put back and what was left alone, in lines of at most 78 columns."""
    lines = [shortened("policy %s removed" % name, WIDTH) for name in removed]
    if plan.relabel:
        lines.append("label removed from %d VM%s" % (len(plan.relabel), "s" if len(plan.relabel) > 1 else ""))
    return lines + [shortened("%s: left alone, somebody changed %s" % (row["object"], ", ".join(row["what"])), WIDTH)
                    for row in plan.left_alone]
