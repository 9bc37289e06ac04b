# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles of docs/rbac, right by right: with all of them everything works; without a required one what needs it fails and
says verb, resource and feature; without an optional one it ends as before, and what is lost can be read beforehand.
"""

from __future__ import annotations

import json

import pytest
import rbac_steps as on
import yaml

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import access

# Asked for only when somebody else writes in the very same moment, while KubeVirt has not judged a VM, or by Kubernetes for
# a path that KubeVirt reads longer.
SELDOM = {"list persistentvolumeclaims", "get virtualmachineinstances.kubevirt.io", "get migrationpolicies.migrations.kubevirt.io",
          "update virtualmachineinstances.subresources.kubevirt.io/evacuate"}


@pytest.fixture(scope="module")
def site(shared, tmp_path_factory):
    path = tmp_path_factory.mktemp("rbac") / "rbac.yml"
    path.write_text(json.dumps(on.TOPOLOGY))
    return on.Site(shared(topology=str(path)))


@pytest.fixture(scope="module")
def whole(site):
    """``{role: {step: Actor}}``: what the steps of a role came to with exactly its rights."""
    done = {}
    for role in access.ROLES:
        key = site.c.token(on.granted(role), user=role)
        done[role] = {step: on.done(site, step, key, listening=True) for step in on.steps(role)}
    return done


# -- the files ---------------------------------------------------------------------------


def test_docs_rbac_is_what_the_generator_makes():
    assert on.rbac.differing() == [], "run 'make rbac'"


@pytest.mark.parametrize("role", access.ROLES)
def test_the_manifests_grant_exactly_what_the_tests_grant(role):
    written = yaml.safe_load(on.rbac.manifest(role))  # one document, as yamllint of ansible-test wants it
    assert (written["apiVersion"], written["kind"]) == ("v1", "List")
    granted = {(one["kind"], group, resource, verb) for one in written["items"] for rule in one["rules"]
               for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]}
    kinds = {access.CLUSTER: "ClusterRole", access.GUESTS: "ClusterRole", access.OPERATOR: "Role"}
    assert granted == {(kinds[right.place], right.group, right.resource, right.verb) for right in on.rights(role)}
    assert not any("labels" in one["metadata"] for one in written["items"]), "nothing is aggregated into the roles of namespaces"
    assert not any("*" in part for row in granted for part in row)


@pytest.mark.parametrize("before, after", [("observer", "operator"), ("operator", "administrator")])
def test_a_later_role_has_what_an_earlier_one_has(before, after):
    assert {right[1:4] for right in on.rights(before)} <= {right[1:4] for right in on.rights(after)}


def test_who_observes_writes_nothing_and_only_administrators_write_for_the_whole_cluster():
    assert {right.verb for right in on.rights("observer")} <= {"get", "list", "watch"}
    writes = {right.resource for right in on.rights("operator")
              if right.place == access.CLUSTER and right.verb not in ("get", "list", "watch")}
    assert writes == {"nodes", "pods/eviction", "migrationpolicies", "nodehealthchecks", "machinehealthchecks"}
    # From KubeVirt 1.5 on no role of a namespace grants it, so this one does.
    assert {right.verb for right in on.rights("operator") if right.resource == access.VMIMS and right.place == access.GUESTS} == {
        "create", "delete"}


# -- with all rights ---------------------------------------------------------------------


@pytest.mark.parametrize("role", access.ROLES)
def test_with_its_rights_everything_of_a_role_works(whole, role):
    for step, actor in whole[role].items():
        assert bool(actor.failures) is (step.__name__ in on.FAIL), (step.__name__, actor.failures)
        assert actor.refused() == [], step.__name__


@pytest.mark.parametrize("role", access.ROLES)
def test_every_right_of_a_role_is_used_by_something_it_does(whole, role):
    used = set()
    for name, steps in whole.items():
        used |= {right for actor in steps.values() for right in actor.asked}
        if name == role:
            break
    assert {on.title(right) for right in on.rights(role) if right[1:4] not in used} - SELDOM == set()


# -- without one of them -----------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("role", access.ROLES)
def test_one_right_less_is_noticed_exactly_as_the_table_says(whole, site, role):
    untrue = []
    for right in on.rights(role):
        if on.rows_of(role, right):
            key = site.c.token(on.granted(role, right), user=role)
            untrue += on.judged(whole[role], site, role, right, key)
    assert untrue == [], "\n".join(untrue)
