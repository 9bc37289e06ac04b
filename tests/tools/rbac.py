# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write docs/rbac from the table of rights: ``rbac.py`` writes, ``rbac.py check`` says what is not as it would be written.

A role comes in up to three parts, by where its rights are needed: the whole cluster, the namespaces of the VMs, the
namespace of KubeVirt. :func:`parts` is what the tests take their tokens' rules from.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import access

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "rbac"
PREFIX = "live-migration-"
NAMESPACE = "openshift-cnv"  # of KubeVirt, on OpenShift
PLACES = (access.CLUSTER, access.GUESTS, access.OPERATOR)
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete")
WIDTH = 110

PURPOSES = {
    "observer": ("preflight and plan", "Reads only: preflight, plan, who else is at work, whether a node is as good "
                 "as before."),
    "operator": ("migrate and maintain", "What the observer may, and: migrate, empty a node and give it back, hold settings "
                 "for single VMs, pause health checks, restore."),
    "administrator": ("settings of the whole cluster", "What the operator may, and: hold live migration settings in HyperConverged "
                      "(maintenance_hold_cluster_settings, hco_live_migration_config), make a migration network and measure it, "
                      "prepare the nodes of a pool (hana_node_pool)."),
}


def features(role):
    """What a role can do, with what it has from the roles before it."""
    names = []
    for name, own in access.ROLES.items():
        names += own
        if name == role:
            return access.features_of(names)
    raise KeyError(role)


def place(row):
    """Where a right must be bound. Without names a preflight asks over all namespaces, so it does for the VMs of a node."""
    return access.CLUSTER if row.feature == "preflight" else row.scope


def parts(role):
    """``{place: [rule]}`` with ``{group, resources, verbs, required, features, lost}``, each right once and where it is enough.

    What one feature requires is required. A right in the whole cluster is one in each namespace. Rights that are needed for
    the same and cost the same are one rule.
    """
    rows = [row for row in access.TABLE if row.feature in features(role)]
    rights = {}
    for row in rows:
        rights.setdefault(row[1:4], []).append(row)
    found = {}
    for (group, resource, verb), reasons in rights.items():
        where = {place(row) for row in reasons}
        for one in [access.CLUSTER] if access.CLUSTER in where else sorted(where):
            here = [row for row in reasons if one in (access.CLUSTER, place(row))]
            required = any(row.required for row in here)
            told = [row for row in here if row.required == required]
            key = (one, not required, group, resource, tuple(_once(row.feature for row in told)), tuple(_once(row.lost for row in told)))
            found.setdefault(key, []).append(verb)
    result, known = {one: [] for one in PLACES}, {}
    for key in sorted(found, key=lambda key: (PLACES.index(key[0]),) + key[1:]):
        verbs = sorted(found[key], key=VERBS.index)
        same = key[:3] + key[4:] + (tuple(verbs),)
        if same in known:
            known[same]["resources"].append(key[3])
            continue
        known[same] = {"group": key[2], "resources": [key[3]], "verbs": verbs, "required": not key[1],
                       "features": list(key[4]), "lost": list(key[5])}
        result[key[0]].append(known[same])
    return result


def _once(values):
    return list(dict.fromkeys(values))


# -- writing ---------------------------------------------------------------------------


def manifest(role):
    """The file of a role."""
    short, purpose = PURPOSES[role]
    head = ["Role %s%s: %s." % (PREFIX, role, short), purpose,
            "Written by 'make rbac' from plugins/module_utils/domain/access.py; see README.md how to bind it.",
            "required: without it what is named fails. optional: without it a run ends well and says what it did not know or do."]
    items = [_item(role, one, rules) for one, rules in parts(role).items() if rules]
    return "%s---\napiVersion: v1\nkind: List\nitems:\n%s" % (_comment("\n".join(head), ""), "".join(items))


def name(role, where):
    """The object's name."""
    return PREFIX + role + ("-guests" if where == access.GUESTS else "")


def _item(role, where, rules):
    """One object of the list, as YAML."""
    lines = ["  - apiVersion: rbac.authorization.k8s.io/v1", "    kind: %s" % ("Role" if where == access.OPERATOR else "ClusterRole"),
             "    metadata:", "      name: %s" % name(role, where)]
    if where == access.OPERATOR:
        lines.append("      namespace: %s  # that of the KubeVirt object" % NAMESPACE)
    lines.append("    rules:")
    for rule in rules:
        lines += [_comment("%s for %s: %s" % ("required" if rule["required"] else "optional", _listed(rule["features"]),
                                              "; ".join(rule["lost"])), "      ").rstrip("\n"),
                  '      - apiGroups: ["%s"]' % rule["group"],
                  "        resources: [%s]" % ", ".join('"%s"' % one for one in rule["resources"]),
                  "        verbs: [%s]" % ", ".join(rule["verbs"])]
    return "\n".join(lines) + "\n"


def _comment(text, indent):
    return "".join(textwrap.fill(line, WIDTH, initial_indent=indent + "# ", subsequent_indent=indent + "#   ",
                                 break_on_hyphens=False) + "\n" for line in text.split("\n"))


def _listed(names):
    return ", ".join(names)


def readme():
    """README.md: how to bind the roles, and the whole table."""
    rows = ["| right | where | role | needed for | without it |", "|---|---|---|---|---|"]
    seen = set()
    for role in access.ROLES:
        for where, rules in parts(role).items():
            for rule in rules:
                new = {(where, rule["group"], one, verb) for one in rule["resources"] for verb in rule["verbs"]} - seen
                seen |= new
                if new:
                    rows.append("| %s %s | %s | %s | %s | %s: %s |" % (
                        ", ".join(rule["verbs"]), ", ".join(_named(rule, one) for one in rule["resources"]),
                        {"cluster": "cluster", "guests": "VMs", "operator": "KubeVirt"}[where], role, _listed(rule["features"]),
                        "**fails**" if rule["required"] else "goes on", "; ".join(rule["lost"])))
    return TEXT % {"namespace": NAMESPACE, "table": "\n".join(rows), "roles": "\n".join(
        "| [%s](%s.yml) | %s | %s |" % (role, role, PURPOSES[role][1], ", ".join("`%s`" % one for one in features(role)))
        for role in access.ROLES)}


def _named(rule, resource):
    return access.title(access.Need("", rule["group"], resource, "", "", True, "")).strip()


TEXT = """\
# The rights a run needs, and no more

Written by `make rbac` from the table that the modules themselves ask about (`access_check_info`), and checked by tests that
take away one right after the other.

| role | for | features |
|---|---|---|
%(roles)s

Each role stands by itself: bind one of them.

    oc apply -f operator.yml
    oc create clusterrolebinding live-migration-night --clusterrole=live-migration-operator --serviceaccount=night:runner
    oc create clusterrolebinding live-migration-night-guests --clusterrole=live-migration-operator-guests --serviceaccount=night:runner
    oc -n %(namespace)s create rolebinding live-migration-night --role=live-migration-operator --serviceaccount=night:runner

- **The namespaces of the VMs**: `...-guests` may instead be bound namespace by namespace with `oc -n sap create rolebinding`.
  What starts migrations and changes VMs then ends at these namespaces; reading does not, since a node is emptied of the VMs of
  all namespaces.
- **The namespace of KubeVirt** holds the leases by which two runs never share a node. The Role is written for OpenShift
  Virtualization's `%(namespace)s`; elsewhere change its `metadata.namespace` (`kubevirt-hyperconverged`, `kubevirt`).
- **Before the night**: `access_check_info` asks the cluster about every right in this table, in the namespaces concerned, and
  names what is missing and what that costs. `node_maintenance` does so by itself before it writes anything.
- Every authenticated user may ask what the API serves and what they may do themselves (`system:discovery`,
  `system:basic-user`). Where a cluster has taken that away, give it back to the runner.
- Groups that a cluster does not serve need no right; the rules for them do no harm.

## KubeVirt's own roles are not enough

Up to KubeVirt 1.4, `kubevirt.io:admin` and `kubevirt.io:edit`, and by aggregation the namespace roles `admin` and `edit`, could
create and delete VirtualMachineInstanceMigrations. From 1.5 on (OpenShift Virtualization 4.19) they only read them; the ClusterRole
`kubevirt.io:migrate` grants it and is aggregated into nothing. The roles here grant it themselves, on every release, and carry no
aggregation label either: nobody gets the right to migrate by being admin of a namespace. Two consequences:

- an admin of a namespace cannot bind `live-migration-operator-guests`, since nobody may grant what they do not have: a cluster
  administrator binds it, or gives them the verb `bind` on that ClusterRole;
- who is to migrate single VMs only, without our roles, gets `kubevirt.io:migrate` by a RoleBinding and misses from the table
  below whatever else is named.

## All rights

"VMs" means the namespaces of the VMs, "KubeVirt" the namespace of the KubeVirt object. The role is the first that has it.

%(table)s
"""


def files():
    """``{file name: content}`` of docs/rbac."""
    found = {role + ".yml": manifest(role) for role in access.ROLES}
    found["README.md"] = readme()
    return found


def differing():
    """The names of those that are not as they would be written, or that nothing writes."""
    there = {path.name for path in FOLDER.iterdir()} if FOLDER.is_dir() else set()
    wrong = {one for one, text in files().items() if one not in there or (FOLDER / one).read_text(encoding="utf-8") != text}
    return sorted(wrong | (there - set(files())))


def main(words):
    """Write or check; returns the exit code."""
    if words == ["check"]:
        for one in differing():
            print("docs/rbac/%s is not what 'make rbac' writes" % one)
        return int(bool(differing()))
    FOLDER.mkdir(exist_ok=True)
    for one, text in files().items():
        assert not re.search(r"[ \t]\n", text), one
        (FOLDER / one).write_text(text, encoding="utf-8")
    print("%d files in docs/rbac" % len(files()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
