# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of rights, and what is made of missing ones, of a token's life and of the place where a run works."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace

import pytest
import yaml

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import access as asking
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import access

VANILLA = {"kubevirt.io", "migrations.kubevirt.io", "coordination.k8s.io", "apps", "batch", "policy"}


def test_the_table_is_well_formed():
    assert {row.feature for row in access.TABLE} == set(access.FEATURES) - {"maintain"}
    for row in access.TABLE:
        assert row.verb in ("get", "list", "watch", "create", "update", "patch", "delete"), row
        assert row.scope in (access.CLUSTER, access.GUESTS, access.OPERATOR), row
        assert row.lost and not row.lost.endswith(".") and row.lost[0].islower() or row.lost.startswith("policies"), row
    keys = [row[:5] for row in access.TABLE]
    assert len(keys) == len(set(keys)), "each right of a feature once"


def test_features_include_what_they_need():
    assert access.features_of(["plan"]) == ["preflight", "plan"]
    assert set(access.features_of(["maintain"])) >= {"preflight", "plan", "migrate", "hold", "restore", "node_gate"}
    with pytest.raises(ValueError, match="there is no feature fly"):
        access.features_of(["fly"])


def test_every_role_is_made_of_features_and_the_operator_can_maintain():
    assert {name for names in access.ROLES.values() for name in names} <= set(access.FEATURES)
    operator = access.rules(access.features_of(access.ROLES["observer"] + access.ROLES["operator"]))
    vmims = next(rule for rule in operator if rule["resource"] == "virtualmachineinstancemigrations" and rule["required"])
    assert set(vmims["verbs"]) == {"list", "watch", "create", "delete"} and vmims["lost"]
    observer = access.rules(access.features_of(access.ROLES["observer"]))
    assert {verb for rule in observer for verb in rule["verbs"]} <= {"get", "list", "watch"}, "who observes writes nothing"


def test_a_right_is_asked_about_once_and_a_required_one_goes_first():
    rows = access.needs(["maintain", "settings_hold", "drain"])
    assert len(rows) == len({row[1:5] for row in rows})
    nodes = [row for row in access.needs(["plan"]) if row.resource == "nodes"]
    assert len(nodes) == 1 and nodes[0].required
    assert len(access.needs(["maintain", "settings_hold", "drain"], VANILLA)) <= 40


def test_what_is_not_served_needs_no_right():
    rows = access.needs(["interlocks"], VANILLA)
    assert not any(row.group.endswith(("openshift.io", "medik8s.io")) for row in rows)
    assert any(row.resource == "nodehealthchecks" and row.verb == "patch" for row in access.needs(["interlocks"]))
    assert any(row.group == "" for row in rows)


def row_of(**wanted):
    return next(row for row in access.TABLE if all(getattr(row, key) == value for key, value in wanted.items()))


def test_the_role_that_grants_migrations_is_named():
    problem = access.right_problem(row_of(feature="migrate", verb="create"), ["sap"])
    assert problem["severity"] == "blocker" and "kubevirt.io:migrate in namespace sap" in problem["remedy"]
    assert "create virtualmachineinstancemigrations.kubevirt.io in namespace sap" in problem["message"]


def test_an_optional_right_is_a_warning_that_says_what_is_lost():
    problem = access.right_problem(row_of(resource="pods/log"), list("abcde"))
    assert problem["severity"] == "warning" and "percentage" in problem["message"] and "and 2 more" in problem["message"]


def jwt(**claims):
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "RS256"}, claims)]
    return ".".join(parts + ["c2VjcmV0"])


@pytest.mark.parametrize("token, moment", [
    (jwt(exp=1800000000), 1800000000.0), (jwt(exp=1800000000.5, sub="x" * 3), 1800000000.5), (jwt(), None),
    (jwt(exp="soon"), None), (jwt(exp=True), None), ("sha256~abc", None), ("a.b.c", None), ("", None), ("a.%%%.c", None),
    ("a." + base64.urlsafe_b64encode(b"[1]").decode() + ".c", None), ("a." + base64.urlsafe_b64encode(b"\xff\xfe").decode() + ".c", None),
])
def test_when_a_token_ends(token, moment):
    assert access.expiry(token) == moment


@pytest.mark.parametrize("kind, rereadable, left, end_in, severity", [
    ("api_key", False, 7200, 3599, None), ("api_key", False, 7200, 3601, "blocker"), ("api_key", False, 7200, 9000, "blocker"),
    ("token_file", True, 600, 9000, None), ("kubeconfig", False, None, 9000, None),
    ("api_key", False, 1800, None, "warning"), ("api_key", False, 3700, None, None),
])
def test_a_token_must_outlive_the_end_by_an_hour(kind, rereadable, left, end_in, severity):
    now = 1000000.0
    found = access.token_problem(kind, rereadable, left and now + left, now, end_in and now + end_in)
    assert (found and found["severity"]) == severity


def test_the_remedy_of_a_kubeconfig_is_to_log_in_again():
    assert "Log in again during the run" in access.token_problem("kubeconfig", False, 10.0, 0.0, 20.0)["remedy"]


def test_lines_fit():
    problems = [access.right_problem(row, ["a-rather-long-namespace-name"]) for row in access.TABLE[:5]]
    problems.append(access.place_problem("awx/automation-job-1234", "hana-a"))
    found = access.lines(40, problems, {"kind": "api_key", "expires": "2026-11-22T05:00:00Z", "rereadable": False})
    assert found[0] == "rights: 5 of 40 are missing" and found[1] == "token: valid until 2026-11-22T05:00:00Z"
    assert max(map(len, found)) <= 80
    assert access.lines(3, [], {"kind": "in_cluster", "expires": None, "rereadable": True})[:2] == [
        "rights: all 3 are there", "token: renewed by itself"]


# -- where the credentials come from ------------------------------------------------------------------------------


def kubeconfig(tmp_path, user, name="config"):
    path = tmp_path / name
    path.write_text(yaml.safe_dump({
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}},
                                             {"name": "other", "context": {"cluster": "k", "user": "w"}}],
        "users": [{"name": "u", "user": user}, {"name": "w", "user": {"token": "t"}}]}))
    return str(path)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch):
    for name in ("K8S_AUTH_API_KEY", "K8S_AUTH_KUBECONFIG", "K8S_AUTH_CONTEXT", "K8S_AUTH_HOST", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("user, kind", [
    ({"token": "t"}, "kubeconfig"), ({"tokenFile": "t"}, "token_file"), ({"exec": {"command": "x"}}, "exec"),
    ({"token": "t", "tokenFile": "t"}, "kubeconfig"), ({"client-certificate-data": "x"}, "certificate"),
    ({"auth-provider": {"name": "oidc"}}, "exec"), ({}, "none"), ("odd", "none")])
def test_what_a_kubeconfig_logs_in_with(tmp_path, user, kind):
    path = kubeconfig(tmp_path, user)
    assert asking.kind_of({"kubeconfig": path}, {}) == kind
    assert asking.kind_of({}, {"KUBECONFIG": path}) == kind
    assert asking.kind_of({"kubeconfig": yaml.safe_load(open(path, encoding="utf-8"))}, {}) == kind
    assert asking.kind_of({"kubeconfig": path, "context": "other"}, {}) == "kubeconfig"


def test_an_api_key_or_certificate_goes_before(tmp_path, monkeypatch):
    path = kubeconfig(tmp_path, {"tokenFile": "t"})
    assert asking.kind_of({"kubeconfig": path, "api_key": "x"}, {}) == "api_key"
    assert asking.kind_of({"host": "https://x", "client_cert": "c", "client_key": "k"}, {}) == "certificate"
    monkeypatch.setenv("K8S_AUTH_API_KEY", "x")
    assert asking.kind_of({"kubeconfig": path}, {}) == "api_key"


def test_nothing_readable_is_none(tmp_path):
    assert asking.kind_of({"kubeconfig": str(tmp_path / "absent")}, {}) == "none"
    (tmp_path / "bad").write_text("{:")
    assert asking.kind_of({"kubeconfig": str(tmp_path / "bad")}, {}) == "none"


def test_in_a_pod_the_service_account_comes_first(tmp_path, monkeypatch):
    (tmp_path / "token").write_text("t")
    monkeypatch.setattr(asking, "POD_FOLDER", str(tmp_path))
    assert asking.kind_of({}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == "in_cluster"
    assert asking.kind_of({}, {}) == "none"


def test_a_login_at_openshift_says_when_it_ends():
    asked = []

    def get(path):
        asked.append(path)
        return {"metadata": {"creationTimestamp": "2026-11-21T20:00:00Z"}, "expiresIn": 86400}

    api = SimpleNamespace(token=lambda: "sha256~canary", get=get)
    found = asking.credentials(api, {"api_key": "x"}, {})
    assert found == {"kind": "api_key", "expires": 1795377600.0, "rereadable": False}
    assert "/useroauthaccesstokens/sha256~" in asked[0] and "canary" not in asked[0]


def test_a_login_that_cannot_be_looked_up_does_not_say():
    def get(path):
        raise errors.NotFound("no such kind")

    api = SimpleNamespace(token=lambda: "sha256~canary", get=get)
    assert asking.credentials(api, {"api_key": "x"}, {})["expires"] is None


# -- where the run works ------------------------------------------------------------------------------------------


class PodApi:
    """Knows one pod."""

    def __init__(self, node):
        self.node = node
        self.asked = []

    def get(self, path):
        self.asked.append(path)
        if self.node is None:
            raise errors.NotFound("no such pod")
        return {"spec": {"nodeName": self.node}}


@pytest.mark.parametrize("node, here", [("hana-a", True), ("hana-b", False)])
def test_the_own_pod_is_looked_for(tmp_path, node, here):
    (tmp_path / "namespace").write_text("awx\n")
    api = PodApi(node)
    assert asking.own_pod(api, "hana-a", {"HOSTNAME": "job-7"}, str(tmp_path)) == (here, "awx/job-7")
    assert api.asked == ["/api/v1/namespaces/awx/pods/job-7"]
    assert asking.own_pod(api, "hana-a", {"HOSTNAME": "x", "POD_NAME": "job-8"}, str(tmp_path))[1] == "awx/job-8"


def test_outside_of_a_pod_nothing_is_asked(tmp_path):
    api = PodApi("hana-a")
    assert asking.own_pod(api, "hana-a", {"HOSTNAME": "bastion"}, str(tmp_path)) == (False, None)
    assert api.asked == []


def test_a_pod_of_another_cluster_is_not_there(tmp_path):
    (tmp_path / "namespace").write_text("awx")
    assert asking.own_pod(PodApi(None), "hana-a", {"HOSTNAME": "job-7"}, str(tmp_path)) == (False, None)


def test_a_run_on_the_node_itself(tmp_path):
    api = PodApi("hana-a")
    assert asking.own_pod(api, "hana-a", {"HOSTNAME": "hana-a"}, str(tmp_path)) == (True, None)
    assert "works on node hana-a itself" in access.place_problem(None, "hana-a")["message"]


# -- what a refusal says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said, remedy", [
    ('nodes "a" is forbidden: User "u" cannot patch resource "nodes" in API group "" at the cluster scope',
     "live-migration-operator (docs/rbac). Needed for: hold, node_prep, restore."),
    ('x is forbidden: User "u" cannot create resource "pods/eviction" in API group "" in the namespace "n"', "Needed for: drain."),
    ('x is forbidden: User "u" cannot list resource "secrets" in API group "" at the cluster scope', "a role that grants it."),
    ("some proxy says no", "a role that grants it."), ("", "a role that grants it."),
])
def test_a_refusal_names_the_features_that_need_the_right(said, remedy):
    assert access.refusal_remedy(said).endswith(remedy)
