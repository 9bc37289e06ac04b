# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MigrationPolicy: which one wins for a VMI and why, what is then in force, what a policy must look like.

Facts 5.1-5.4. What a window holds is in :mod:`.policy_hold`.
"""

from __future__ import annotations

import re

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import settings
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import labels, mapping, text
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.settings import FIELDS

API_VERSION = "migrations.kubevirt.io/v1alpha1"
# Of the nine settings, those that a policy can set.
IN_POLICY = (
    "allow_auto_converge", "allow_post_copy", "allow_workload_disruption", "bandwidth_per_migration",
    "completion_timeout_per_gib",
)
DISRUPTION_SINCE = (1, 5)  # first release whose policies have allowWorkloadDisruption (facts 4.9)


# -- which one wins --------------------------------------------------------------


def matches(policy, vmi_labels, namespace_labels):
    """Whether a policy means a VMI: it names a selector, even an empty one, and every label named is there.

    :param namespace_labels: None when they could not be read.
    :raises LookupError: when the namespace's labels would decide and could not be read.
    """
    return _rank(policy, vmi_labels, namespace_labels) is not None


def ranked(policies, vmi_labels, namespace_labels):
    """The policies that match a VMI, the one that KubeVirt applies first.

    Most matching labels in total, then most labels of the VMI, then the first by name (facts 5.2).
    """
    found = ((_rank(policy, vmi_labels, namespace_labels), policy) for policy in policies)
    return [policy for rank, policy in sorted((row for row in found if row[0] is not None), key=lambda row: row[0])]


def winner(policies, vmi_labels, namespace_labels):
    """The policy that KubeVirt would apply, or None; see :func:`ranked`."""
    return next(iter(ranked(policies, vmi_labels, namespace_labels)), None)


def _rank(policy, vmi_labels, namespace_labels):
    selectors = mapping(policy, "spec").get("selectors")
    if not isinstance(selectors, dict):
        return None
    of_vmi = mapping(selectors, "virtualMachineInstanceSelector")
    of_namespace = mapping(selectors, "namespaceSelector")
    if not _all_there(of_vmi, vmi_labels):
        return None
    name = text(policy, "metadata", "name")
    if of_namespace and namespace_labels is None:
        raise LookupError(name)
    if not _all_there(of_namespace, namespace_labels or {}):
        return None
    return -len(of_vmi) - len(of_namespace), -len(of_vmi), name


def _all_there(wanted, found):
    return all(isinstance(value, str) and found.get(key) == value for key, value in wanted.items())


def why(found):
    """Why the first of :func:`ranked` applies, as words."""
    if not found:
        return "no policy matches; the cluster's settings count"
    if len(found) == 1:
        return "the only policy that matches"
    (total, of_vmi), (other_total, other_of_vmi) = (_sizes(policy) for policy in found[:2])
    other = text(found[1], "metadata", "name")
    if total != other_total:
        return "%d matching labels, %s has %d" % (total, other, other_total)
    if of_vmi != other_of_vmi:
        return "as many labels as %s, but %d of them the VM's (%s: %d)" % (other, of_vmi, other, other_of_vmi)
    return "as many labels as %s, and first by name" % other


def _sizes(policy):
    selectors = mapping(policy, "spec", "selectors")
    of_vmi = len(mapping(selectors, "virtualMachineInstanceSelector"))
    return of_vmi + len(mapping(selectors, "namespaceSelector")), of_vmi


# -- what it does ------------------------------------------------------------------


def settings_of(policy):
    """The settings that a policy sets itself: ``{field: value}``."""
    spec = mapping(policy, "spec")
    return {name: spec[FIELDS[name].key] for name in IN_POLICY if spec.get(FIELDS[name].key) is not None}


def effective(values, policy):
    """The settings a migration runs with: the winner's fields over the cluster's.

    The winner takes all: what it leaves out comes from the cluster, never from another policy. A policy that sets
    post-copy only also decides disruption.
    """
    own = settings_of(policy)
    if "allow_post_copy" in own:
        own.setdefault("allow_workload_disruption", own["allow_post_copy"])
    return dict(values, **own)


def fields_for(release):
    """The settings that a policy of that release has."""
    known = (settings.release_of(release) or DISRUPTION_SINCE) >= DISRUPTION_SINCE
    return tuple(name for name in IN_POLICY if known or name != "allow_workload_disruption")


def configuration(values, release):
    """The part of ``migrationConfiguration`` that a policy with these values decides, as KubeVirt writes it.

    Until 1.4 there is no ``allowWorkloadDisruption``.
    """
    return settings.written({name: values[name] for name in fields_for(release)})


# -- a policy as asked for -----------------------------------------------------------

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_KEY = re.compile(r"([a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?)?")


def problems(name, selectors, given):
    """What is wrong with the options of a policy, as sentences.

    :param selectors: ``{option name: labels or None}``.
    :param given: ``{field: value}``.
    """
    found = settings.problems(given)
    if not name or len(name) > 253 or not _NAME.fullmatch(name):
        found.append("name is '%s'; it takes lower case letters, digits, - and ." % (name or ""))
    for option, wanted in selectors.items():
        for key, value in (wanted or {}).items():
            if not _LABEL_KEY.fullmatch(str(key)):
                found.append("%s has '%s', which is no label key" % (option, key))
            if not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
                found.append("%s: %s is '%s', which is no label value; it takes a string" % (option, key, value))
    return found


def changed_spec(spec, selectors, given, unset=()):
    """The spec of a policy after this change; what is not given stays.

    :param spec: as it is, ``{}`` for a new policy.
    :param selectors: ``(of the namespace, of the VMI)``, None for "as it is".
    :param unset: fields that the cluster's settings decide again.
    """
    result = {key: value for key, value in spec.items() if key not in settings.written(dict.fromkeys(unset))}
    result.update(settings.written(given))
    wanted = dict(mapping(spec, "selectors"))
    for key, value in zip(("namespaceSelector", "virtualMachineInstanceSelector"), selectors):
        if value is not None:
            wanted[key] = dict(value)
    return dict(result, selectors=wanted)


def matched(policy, vmis, namespaces):
    """The VMIs that a policy matches, whether or not it wins for them.

    :param namespaces: ``{name: labels}``, or None when they could not be read.
    :raises LookupError: when the namespaces' labels would decide and could not be read.
    """
    return [vmi for vmi in vmis if matches(policy, labels(vmi), namespace_labels(vmi, namespaces))]


def namespace_labels(vmi, namespaces):
    """The labels of a VMI's namespace; None when namespaces could not be read."""
    return None if namespaces is None else namespaces.get(text(vmi, "metadata", "namespace"), {})


# -- telling ---------------------------------------------------------------------------


def overview(scene, keys=None):
    """Every policy with what it does, and for the VMs asked about which one applies and why.

    :param scene: ``{vmis, policies, namespaces, settings, release}``, see :func:`.policy_hold.plan_hold`.
    :param keys: ``[(namespace, name)]``; None counts matches over all VMIs and tells none of them apart.
    :returns: ``{"policies": [...], "vms": [...]}``. What hangs on namespaces that cannot be read is None.
    """
    wins, counts, told = {}, {}, []
    by_key = {(text(vmi, "metadata", "namespace"), text(vmi, "metadata", "name")): vmi for vmi in scene["vmis"]}
    for key in sorted(by_key) if keys is None else keys:
        vmi = by_key.get(key)
        try:
            found = ranked(scene["policies"], labels(vmi), namespace_labels(vmi, scene["namespaces"])) if vmi else []
        except LookupError:
            found = None
        names = [text(obj, "metadata", "name") for obj in found or []]
        for name in names:
            counts[name] = counts.get(name, 0) + 1
        if names:
            wins[names[0]] = wins.get(names[0], 0) + 1
        if keys is not None:
            told.append(_told(key, vmi, found, names, scene["settings"]))
    rows = []
    for obj in sorted(scene["policies"], key=lambda obj: text(obj, "metadata", "name")):
        name, selectors = text(obj, "metadata", "name"), mapping(obj, "spec", "selectors")
        unknown = keys is not None or (scene["namespaces"] is None and mapping(selectors, "namespaceSelector"))
        rows.append({
            "name": name, "namespace_selector": mapping(selectors, "namespaceSelector"),
            "vmi_selector": mapping(selectors, "virtualMachineInstanceSelector"), "settings": settings_of(obj),
            "matches": None if unknown else counts.get(name, 0), "wins": None if unknown else wins.get(name, 0),
        })
    return {"policies": rows, "vms": told}


def _told(key, vmi, found, names, values):
    row = {"namespace": key[0], "name": key[1], "running": vmi is not None, "policy": names[0] if names else None,
           "why": "it is not running", "candidates": names, "settings": None}
    if vmi is not None and found is None:
        row["why"] = "cannot be told: a policy selects by labels of the namespace, which cannot be read"
    elif vmi is not None:
        row.update(why=why(found), settings=effective(values, found[0]) if found else dict(values))
    return row
