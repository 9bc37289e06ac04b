# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who gets in and who may do what, discovery, the audit log, and failures on demand."""

from __future__ import annotations

import ssl

import pytest
import urllib3

from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors

MAPS = "/api/v1/namespaces/default/configmaps"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

pytestmark = pytest.mark.any_cluster


@pytest.fixture
def c(shared):
    return shared(bare=True)


@pytest.mark.parametrize("path", ["/version", "/healthz", "/readyz", "/livez"])
def test_anybody_may_ask_how_it_is(c, path):
    assert c.http("GET", path, token="")[0] == 200
    assert c.http("GET", path, token="wrong")[0] == 401


@pytest.mark.parametrize("token", ["wrong", "ümlaut".encode().decode("latin-1")])
def test_with_a_token_that_is_none_everything_is_401(c, token):
    for method, path in (("GET", MAPS), ("GET", "/api"), ("GET", "/apis"), ("POST", MAPS), ("GET", "/nonsense")):
        status, said, headers = c.http(method, path, token=token)
        assert (status, said["kind"], said["reason"], said["message"]) == (401, "Status", "Unauthorized", "Unauthorized")


def test_without_a_token_one_is_nobody_and_may_nothing(c):
    for method, path in (("GET", MAPS), ("GET", "/api"), ("POST", MAPS), ("DELETE", MAPS + "/x")):
        status, said, headers = c.http(method, path, token="")
        assert (status, said["reason"]) == (403, "Forbidden") and 'User "system:anonymous" cannot' in said["message"]


@pytest.mark.embedded("its own paths")
def test_the_rehearsal_s_own_paths_want_a_token(c):
    assert c.http("GET", "/bigvm/v1/clock", token="")[0] == c.http("GET", "/bigvm/v1/clock", token="wrong")[0] == 401


def test_the_certificate_verifies_only_with_its_own_authority(c):
    stranger = urllib3.PoolManager()
    with pytest.raises(urllib3.exceptions.HTTPError) as caught:
        stranger.request("GET", c.connection["host"] + "/readyz", retries=False)
    assert isinstance(caught.value.args[0], ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(caught.value)


@pytest.mark.embedded("its own paths")
def test_the_version_says_that_it_is_a_rehearsal(c):
    assert c.http("GET", "/version")[1]["gitVersion"].endswith("+bigvm.rehearsal")


def test_restricted_rights(c):
    token = c.token([{"verbs": ["get", "list"], "resources": ["configmaps", "nodes"], "namespaces": ["default"]},
                     {"verbs": ["get"], "resources": ["pods/log"]}], user="observer")
    who = c.whoami(token)
    c.http("POST", MAPS, {"metadata": {"name": "seen"}})
    assert c.http("GET", MAPS + "/seen", token=token)[0] == 200
    assert c.http("GET", MAPS, token=token)[0] == 200
    status, said, headers = c.http("POST", MAPS, {"metadata": {"name": "x"}}, token=token)
    assert (status, said["reason"]) == (403, "Forbidden")
    assert said["message"] == ('configmaps is forbidden: User "%s" cannot create resource "configmaps" in API group "" in '
                               'the namespace "default"' % who)
    status, said, headers = c.http("GET", "/apis/apps/v1/namespaces/default/daemonsets/x", token=token)
    assert said["message"] == ('daemonsets.apps "x" is forbidden: User "%s" cannot get resource "daemonsets" in API group '
                               '"apps" in the namespace "default"' % who)
    for method, path in (("GET", MAPS + "?watch=1"), ("DELETE", MAPS), ("DELETE", MAPS + "/seen"), ("PATCH", MAPS + "/seen"),
                         ("PUT", MAPS + "/seen"), ("GET", "/api/v1/configmaps")):
        assert c.http(method, path, {} if method != "GET" else None, token=token)[0] == 403, (method, path)
    assert c.http("GET", "/apis", token=token)[0] == 200
    with pytest.raises(errors.Forbidden):
        c.client(token).create(MAPS, {"metadata": {"name": "x"}})


@pytest.mark.embedded("its own paths")
def test_restricted_rights_on_the_rehearsal_s_own_paths(c):
    token = c.token([])
    assert c.http("GET", "/bigvm/v1/clock", token=token)[0] == 200
    assert c.http("POST", "/bigvm/v1/tokens", {}, token=token)[0] == 403


def test_access_reviews(c):
    token = c.token([{"verbs": ["get"], "resources": ["virtualmachines.kubevirt.io"]}])

    def review(token, **asked):
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": asked}}
        status, answer, headers = c.http("POST", REVIEWS, body, token=token)
        return status, answer.get("status", {}).get("allowed")

    assert review(None, verb="delete", group="", resource="nodes") == (201, True)
    assert review(token, verb="get", group="kubevirt.io", resource="virtualmachines") == (201, True)
    assert review(token, verb="delete", group="kubevirt.io", resource="virtualmachines") == (201, False)
    assert c.http("GET", REVIEWS)[0] == 405


def test_discovery(c):
    assert c.http("GET", "/api")[1]["versions"] == ["v1"]
    core = {entry["name"]: entry for entry in c.http("GET", "/api/v1")[1]["resources"]}
    assert {"pods", "pods/status", "pods/eviction", "pods/log", "nodes", "nodes/status", "events", "secrets"} <= set(core)
    assert core["pods"]["namespaced"] and not core["nodes"]["namespaced"] and core["pods"]["shortNames"] == ["po"]
    assert (core["pods/eviction"]["kind"], core["pods/eviction"]["group"]) == ("Eviction", "policy")
    groups = {group["name"] for group in c.http("GET", "/apis")[1]["groups"]}
    assert {"apps", "policy", "coordination.k8s.io", "storage.k8s.io", "apiextensions.k8s.io", "authorization.k8s.io"} <= groups
    assert c.http("GET", "/apis/apps")[1]["kind"] == "APIGroup"
    assert c.http("GET", "/apis/apps/v1")[1]["groupVersion"] == "apps/v1"
    assert c.http("GET", "/apis/none.example")[0] == 404


@pytest.mark.embedded("its own paths")
def test_the_audit_log(c):
    c.http("GET", MAPS + "?limit=1&labelSelector=audit", **{"User-Agent": "an auditor"})
    row = c.requests("GET", contains="/configmaps")[-1]
    assert (row["query"], row["userAgent"], row["status"]) == ("limit=1&labelSelector=audit", "an auditor", 200)
    assert row["simulated"].endswith("Z") and row["real"] > 1.6e9
    assert not c.requests(contains="/bigvm/v1/")


@pytest.mark.embedded("its own paths")
def test_refusals_on_demand(c):
    c.fault(status=503, times=2, match="^GET .*/configmaps$", retry_after=7)
    for _turn in range(2):
        status, said, headers = c.http("GET", MAPS)
        assert (status, said["reason"], headers["retry-after"], said["details"]) == (
            503, "ServiceUnavailable", "7", {"retryAfterSeconds": 7})
        assert c.http("GET", MAPS + "?limit=1")[0] == 200
    assert c.http("GET", MAPS)[0] == 200
    assert c.http("POST", "/bigvm/v1/faults", {"earthquake": True})[0] == 400


@pytest.mark.embedded("its own paths")
def test_our_client_waits_in_simulated_time_when_told_to(c):
    before = c.api.clock.now()
    c.fault(status=429, times=1, match="^GET .*/configmaps", retry_after=5, message="too many requests")
    c.api.list(MAPS)
    assert c.api.clock.now() == pytest.approx(before + 5, abs=1e-3)


@pytest.mark.embedded("its own paths")
def test_a_rotated_token(cluster):
    c = cluster(bare=True)
    old = c.connection["api_key"]
    new = c.fault(token="new")["api_key"]
    assert c.http("GET", MAPS, token=old)[0] == 401
    assert c.http("GET", MAPS, token=new)[0] == 200
    assert c.command("status")["api_key"] == new
    with open(c.kubeconfig, encoding="utf-8") as stream:
        assert new in stream.read()


@pytest.mark.parametrize("body", [
    {"metadata": {"name": "a", "labels": 5}}, {"metadata": []}, {"metadata": {"name": 5}}, {"metadata": {"name": "a", "finalizers": {}}},
    {"metadata": {"name": "a", "labels": {"x": 1}}}, {"metadata": {"name": "a"}, "data": []}, 5, "x", None,
])
def test_nonsense_in_a_body_is_the_sender_s_fault(c, body):
    status, said, headers = c.http("POST", MAPS, body)
    assert status in (400, 422) and said["kind"] == "Status"
    assert c.errors() == []
