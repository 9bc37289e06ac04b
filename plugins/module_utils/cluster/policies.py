# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MigrationPolicies of a cluster: read, changed, held for a window and put back."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.writing import guarded_patch
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.changeset import ChangeSet
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import gitops, policy, policy_hold, settings
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import key_of, labels, mapping, text

KUBEVIRT = "kubevirt.io/v1"
PLURAL = "migrationpolicies"
ATTEMPTS = 3  # a hold that somebody else's policy overtakes is planned anew


# -- reading -----------------------------------------------------------------------


def list_policies(api):
    """All MigrationPolicies.

    :raises BadInput: on a cluster that does not know them.
    """
    try:
        return api.list(path_of(policy.API_VERSION, PLURAL)).items
    except errors.NotFound as exc:
        raise errors.BadInput(
            "The cluster at %s has no MigrationPolicies (%s)." % (api.host, policy.API_VERSION),
            "Check that the connection points to a cluster with OpenShift Virtualization or KubeVirt.") from exc


def list_vmis(api, keys=None, label=None):
    """VMIs: all, those of one namespace when no other is asked for, or those with a label.

    :param keys: ``[(namespace, name)]``; more than these may be returned.
    """
    if keys is not None and not keys:
        return []
    query = {"labelSelector": label} if label else {}
    scopes = sorted({key[0] for key in keys}) if keys else [None]
    if len(scopes) > 1:
        scopes = [None]
    if keys and len(set(keys)) == 1:
        query["fieldSelector"] = "metadata.name=%s" % keys[0][1]
    return api.list(path_of(KUBEVIRT, "virtualmachineinstances", scopes[0]), **query).items


def scene(api, keys=None):
    """What decides which policy wins: policies, namespaces, VMIs, KubeVirt's settings and release.

    Namespaces are only asked for where a policy selects by them.
    """
    found = {"policies": list_policies(api), "vmis": list_vmis(api, keys), "namespaces": {}}
    if any(mapping(obj, "spec", "selectors", "namespaceSelector") for obj in found["policies"]):
        found["namespaces"] = _namespaces(api)
    kubevirts = api.list(path_of(KUBEVIRT, "kubevirts")).items
    if len(kubevirts) != 1:
        raise errors.BadInput(
            "This cluster has %d KubeVirt objects; what is in force cannot be told." % len(kubevirts),
            "Exactly one is the cluster's. Check that the connection points to the right cluster.")
    found["release"] = text(kubevirts[0], "status", "observedKubeVirtVersion")
    found["settings"] = settings.in_force(
        mapping(kubevirts[0], "spec", "configuration", "migrations"), found["release"])
    return found


def _namespaces(api):
    try:
        return {key_of(entry)[1]: labels(entry) for entry in api.list("/api/v1/namespaces").items}
    except errors.Forbidden:
        return None


# -- one policy ----------------------------------------------------------------------


def named(items, name):
    """The policy of that name, or None."""
    return next((obj for obj in items if key_of(obj)[1] == name), None)


def refuse_foreign(obj, acknowledged):
    """:raises Refused: when a policy is a hold, or kept by a repository and that was not acknowledged."""
    record = policy_hold.record_of(obj)
    if record:
        raise errors.Refused(
            "MigrationPolicy %s is a hold of run %s (%s)." % (key_of(obj)[1], record["run"], record.get("owner")),
            "Nothing was changed. End it with state restored, run %s." % record["run"])
    keepers = gitops.owners(obj)
    if keepers and "gitops" not in acknowledged:
        raise errors.Refused(
            "MigrationPolicy %s is kept by %s, which would put its own version back." % (
                key_of(obj)[1], " and ".join(keepers)),
            "Nothing was changed. Change it in the repository, or acknowledge it: acknowledge: [gitops].")


def effect(found, name, spec, most=None):
    """What a policy with this spec would do: ``{matches: [{namespace, name, wins}], warnings: [...]}``.

    :param found: a :func:`scene` of the whole cluster.
    :param most: how many VMs it may match.
    :raises Refused: when it matches more, or when that cannot be told.
    """
    new = {"metadata": {"name": name}, "spec": spec}
    others = [obj for obj in found["policies"] if key_of(obj)[1] != name] + [new]
    rows = []
    try:
        for vmi in policy.matched(new, found["vmis"], found["namespaces"]):
            best = policy.winner(others, labels(vmi), policy.namespace_labels(vmi, found["namespaces"]))
            rows.append({"namespace": key_of(vmi)[0], "name": key_of(vmi)[1], "wins": best is new})
    except LookupError as exc:
        if most is not None:
            raise errors.Refused(
                "Which VMs MigrationPolicy %s would match cannot be told: labels of namespaces cannot be read." % name,
                "Nothing was changed. Get the right to list namespaces, or leave out expect_matches.") from exc
    if most is not None and len(rows) > most:
        names = ["%s/%s" % (row["namespace"], row["name"]) for row in rows]
        raise errors.Refused(
            "MigrationPolicy %s would match %d running VMs, expected are %d at most: %s."
            % (name, len(rows), most, ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")),
            "Nothing was changed. Narrow its selectors.")
    values = policy.effective(found["settings"], new)
    known = (settings.release_of(found["release"]) or (1, 9)) >= policy.DISRUPTION_SINCE
    return {"matches": rows, "warnings": settings.contradictions(values, known)}


def put(api, name, known, spec_for, acknowledged):
    """Create a policy or change its spec; ``(before or None, after)``, the same object twice when it is as wanted.

    :param known: the policy as it was read just now, None when there was none.
    :param spec_for: called with the present spec (``{}``), returns the wanted one.
    """
    path = path_of(policy.API_VERSION, PLURAL)
    if known is None:
        spec = spec_for({})
        body = {"apiVersion": policy.API_VERSION, "kind": "MigrationPolicy", "metadata": {"name": name}, "spec": spec}
        return None, _create(api, path, body)

    def body_for(current):
        refuse_foreign(current, acknowledged)
        spec = spec_for(mapping(current, "spec"))
        if spec == mapping(current, "spec"):
            return None
        gone = dict.fromkeys(set(mapping(current, "spec")) - set(spec))
        selectors = {}  # a merge patch keeps the labels that are not named
        for key in ("namespaceSelector", "virtualMachineInstanceSelector"):
            old, new = mapping(current, "spec", "selectors").get(key), mapping(spec, "selectors").get(key)
            selectors[key] = None if new is None else dict(dict.fromkeys(set(old or {}) - set(new)), **new)
        return {"spec": dict(spec, **dict(gone, selectors=selectors))}

    def send(body):
        path = path_of(policy.API_VERSION, PLURAL, None, name)
        asked = {key: value for key, value in body["spec"].items() if key != "selectors" and value is not None}
        _check_kept(api.patch(path, body, dryRun="All"), asked)
        return api.patch(path, body)

    return guarded_patch(api, path_of(policy.API_VERSION, PLURAL, None, name), body_for, send, known)


def _create(api, path, body):
    answer = api.create(path, body, dryRun="All")
    _check_kept(answer, {key: value for key, value in body["spec"].items() if key != "selectors"})
    return answer if api.dry_run else api.create(path, body)


def _check_kept(answer, asked):
    lost = sorted(key for key, value in asked.items() if mapping(answer, "spec").get(key) != value)
    if lost:
        raise errors.BadInput(
            "The MigrationPolicies of this release have no %s: the API would silently drop it." % ", ".join(lost),
            "Nothing was changed. Leave it out; allowWorkloadDisruption exists from KubeVirt 1.5 on.")


def remove(api, obj):
    """Delete a policy as it was read; False when it is gone or was changed since."""
    meta = obj["metadata"]
    guard = {"uid": meta.get("uid"), "resourceVersion": meta.get("resourceVersion")}
    try:
        api.delete(path_of(policy.API_VERSION, PLURAL, None, meta["name"]),
                   {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": guard})
        return True
    except errors.NotFound:
        return True
    except errors.Conflict:
        return False


# -- holds -----------------------------------------------------------------------------


class Result:
    """What was written: ``changes`` (a ChangeSet), ``plan``, ``removed`` (names of policies), ``warnings``."""

    def __init__(self):
        self.changes, self.plan, self.removed, self.warnings = ChangeSet(), None, [], []


def hold(api, asked, run, owner, since):
    """Hold settings for VMs, and prove by KubeVirt's own rule that they win.

    :param asked: as :func:`..domain.policy_hold.plan_hold` takes it.
    :raises Refused: when it is impossible; nothing was written, or what was written is named.
    """
    result, keys = Result(), [(row["namespace"], row["name"]) for row in asked["vms"]]
    for attempt in range(ATTEMPTS):
        found = scene(api, keys)
        result.plan = plan = policy_hold.plan_hold(asked, found, run, owner, since)
        if plan.refusals:
            raise errors.Refused(
                "Settings cannot be held for run %s: %s." % (run, "; ".join(plan.refusals)),
                "End another run's hold with state restored and its run; leave out VMs that do not run.")
        expected = policy_hold.with_labels(found["vmis"], plan.relabel)
        _check_wins(plan.vms, found["policies"] + plan.create, expected, found["namespaces"], "Nothing was changed.")
        if not plan.create and not plan.relabel:
            break
        try:
            _write(api, plan, result.changes)
        except errors.Conflict:
            if attempt == ATTEMPTS - 1:
                raise
            continue
        if api.dry_run:
            break
        after = scene(api, keys)
        lost = policy_hold.losers(plan.vms, after["policies"], after["vmis"], after["namespaces"])
        if not lost:
            break
        if attempt == ATTEMPTS - 1:
            _check_wins(plan.vms, after["policies"], after["vmis"], after["namespaces"],
                        "It is written but not in force; put it back with state restored, run %s." % run)
    result.warnings = list(result.plan.warnings)
    _tidy(api, result)
    return result


def _check_wins(answers, policies, vmis, namespaces, consequence):
    lost = policy_hold.losers(answers, policies, vmis, namespaces)
    if lost:
        raise errors.Refused("The hold does not win: %s." % "; ".join(lost),
                             "%s Find out who writes MigrationPolicies now." % consequence)


def _write(api, plan, changes):
    """Policies first: a label without its policy would mean nothing, a policy without labels has no effect."""
    path = path_of(policy.API_VERSION, PLURAL)
    for body in plan.create:
        made = _create(api, path, body)
        changes.note("MigrationPolicy " + key_of(made)[1], {}, {"spec": mapping(made, "spec")})
    for row in plan.relabel:
        if _relabel(api, row):
            note_label(changes, row)


def note_label(changes, row):
    """Write a changed label into the diff."""
    before, after = ({policy_hold.HOLD_LABEL: value} if value else {} for value in (row.before, row.after))
    changes.note("VirtualMachineInstance %s/%s" % (row.namespace, row.name), before, after)


def _relabel(api, row):
    """Set or remove the label on exactly the VMI that was read; False when there is nothing (left) to do.

    :raises Conflict: when somebody else changed the label, or another VMI has the name now.
    """
    # The labels are there: KubeVirt keeps its own on every running VMI.
    pointer = "/metadata/labels/" + policy_hold.HOLD_LABEL.replace("/", "~1")
    body = [{"op": "test", "path": "/metadata/uid", "value": row.uid}]
    if row.before is not None:
        body.append({"op": "test", "path": pointer, "value": row.before})
    body.append({"op": "remove", "path": pointer} if row.after is None else
                {"op": "add", "path": pointer, "value": row.after})
    path = path_of(KUBEVIRT, "virtualmachineinstances", row.namespace, row.name)
    try:
        api.patch(path, body, kind="json")
        return True
    except errors.NotFound:
        pass
    except (errors.Rejected, errors.Conflict) as exc:
        current = _read_vmi(api, path)
        value = labels(current).get(policy_hold.HOLD_LABEL)
        if text(current, "metadata", "uid") == row.uid and value == row.before:
            raise  # not a race: the server does not want it
        if value != row.after:
            raise errors.Conflict(
                "VMI %s/%s was changed by somebody else meanwhile: %s." % (row.namespace, row.name, exc.message),
                "Run again.", status=409, reason="Conflict") from exc
    if row.after is not None and text(_read_vmi(api, path), "metadata", "uid") != row.uid:
        raise errors.Conflict("VMI %s/%s is gone or was restarted meanwhile." % (row.namespace, row.name),
                              "Look at it, then run again.", status=409, reason="Conflict")
    return False


def _read_vmi(api, path):
    try:
        return api.get(path)
    except errors.NotFound:
        return {}


def _tidy(api, result):
    """Remove policies of the run that its newer ones replace, unless another VM still carries their label."""
    if not result.plan.unused:
        return
    needed = {labels(vmi).get(policy_hold.HOLD_LABEL) for vmi in list_vmis(api, label=policy_hold.HOLD_LABEL)}
    if api.dry_run:  # the labels of the VMs asked for have not changed, as they will
        needed -= {row.before for row in result.plan.relabel}
    for obj in result.plan.unused:
        if policy_hold.value_of(obj) not in needed and remove(api, obj):
            result.removed.append(key_of(obj)[1])
            result.changes.note("MigrationPolicy " + key_of(obj)[1], {"spec": mapping(obj, "spec")}, {})


def restore(api, run=None):
    """Remove the holds of a run, or of any run; ``plan`` of the result is a RestorePlan.

    What somebody else changed meanwhile is left alone and named.
    """
    result = Result()
    for _attempt in range(ATTEMPTS):
        plan = policy_hold.plan_restore(list_policies(api), list_vmis(api, label=policy_hold.HOLD_LABEL), run)
        result.plan = plan
        again = False
        for row in plan.relabel:
            try:
                if _relabel(api, row):
                    note_label(result.changes, row)
            except errors.Conflict:
                again = True
        for obj in plan.delete:
            if remove(api, obj):
                result.removed.append(key_of(obj)[1])
                result.changes.note("MigrationPolicy " + key_of(obj)[1], {"spec": mapping(obj, "spec")}, {})
            else:
                again = True
        if not again:
            break
    return result
