# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rights and tokens as a run meets them: expiry, a token file that is written anew, reviews; and who wrote what."""

from __future__ import annotations

import base64
import json
import os

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import Api
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors

NODES = "/api/v1/nodes"
MAPS = "/api/v1/namespaces/default/configmaps"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
ALL = [{"verbs": ["*"], "resources": ["*"]}]


@pytest.fixture
def c(cluster):
    return cluster(bare=True)


def test_a_token_that_expires_says_when_and_is_refused_then(c):
    token = c.api.create("/bigvm/v1/tokens", {"user": "night", "rules": ALL, "expires": 3600})["api_key"]
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["exp"] - c.api.clock.now() == pytest.approx(3600, abs=2) and claims["sub"] == "night"
    mine = c.client(token)
    mine.list(NODES)
    c.wait(3590)
    assert c.http("GET", NODES, token=token)[0] == 200
    c.wait(15)
    status, said, headers = c.http("GET", NODES, token=token)
    assert (status, said["reason"]) == (401, "Unauthorized")


def test_the_token_file_is_written_anew_and_the_old_token_lives_on(c):
    with open(os.path.join(c.folder, "token"), encoding="utf-8") as stream:
        assert stream.read() == c.connection["api_key"]
    first = c.api.create("/bigvm/v1/tokens", {"user": "night", "rules": ALL, "expires": 3600, "file": True})["api_key"]
    path = os.path.join(c.folder, "token")
    with open(path, encoding="utf-8") as stream:
        assert stream.read() == first
    c.wait(3300)
    second = c.fault(token_renew=True, user="night")["api_key"]
    with open(path, encoding="utf-8") as stream:
        assert stream.read() == second != first
    assert [c.http("GET", NODES, token=token)[0] for token in (first, second)] == [200, 200]
    c.wait(400)
    assert [c.http("GET", NODES, token=token)[0] for token in (first, second)] == [401, 200]
    with open(os.path.join(c.folder, "kubeconfig.file"), encoding="utf-8") as stream:
        assert json.load(stream)["users"][0]["user"] == {"tokenFile": path}


def test_a_client_that_reads_the_token_file_again_goes_on(c):
    import kubernetes

    def source():
        configuration = kubernetes.client.Configuration()
        path = os.path.join(c.folder, "kubeconfig.file")
        kubernetes.config.load_kube_config(path, client_configuration=configuration)
        return configuration, {}

    c.api.create("/bigvm/v1/tokens", {"user": "night", "rules": ALL, "expires": 3600, "file": True})
    mine = Api(source).handshake()
    mine.list(NODES)
    c.wait(3300)
    c.fault(token_renew=True, user="night")
    c.wait(400)
    mine.list(NODES)
    answers = [row["status"] for row in c.requests("GET", NODES)]
    assert answers == [200, 401, 200]
    c.wait(4000)
    with pytest.raises(errors.LiveMigrationError):
        mine.list(NODES)


def test_any_token_can_be_made_to_expire(c):
    token = c.token(ALL, user="robot")
    c.fault(token_expires=60, user="robot")
    assert c.http("GET", NODES, token=token)[0] == 200
    c.wait(61)
    assert c.http("GET", NODES, token=token)[0] == 401
    with pytest.raises(errors.LiveMigrationError, match="no token was given to the user nobody"):
        c.fault(token_expires=60, user="nobody")


def test_reviews_answer_by_the_rules_of_the_token(c):
    token = c.token([{"verbs": ["get"], "resources": ["pods/log"], "namespaces": ["sap"]},
                     {"verbs": ["create"], "resources": ["pods/eviction"]}])

    def may(**asked):
        status, said, headers = c.http("POST", REVIEWS, {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": asked}}, token)
        assert status == 201
        return said["status"]["allowed"]

    assert may(verb="create", resource="pods", subresource="eviction", namespace="anywhere")
    assert may(verb="get", resource="pods", subresource="log", namespace="sap")
    assert not may(verb="get", resource="pods", subresource="log")
    assert not may(verb="get", resource="pods", namespace="sap")
    assert not may(verb="create", group="apps", resource="pods", subresource="eviction")


def test_writes_are_accounted_to_whoever_makes_them(c):
    path = MAPS + "/owned"
    c.http("POST", MAPS + "?fieldManager=first", {"metadata": {"name": "owned", "labels": {"a": "1"}}, "data": {"x": "1", "y": "1"}})

    def rows():
        return {row["manager"]: row["fieldsV1"] for row in c.api.get(path)["metadata"]["managedFields"]}

    assert rows() == {"first": {"f:metadata": {"f:labels": {"f:a": {}}}, "f:data": {"f:x": {}, "f:y": {}}}}
    before = c.api.get(path)["metadata"]
    c.wait(5)
    c.http("PATCH", path, {"data": {"x": "1"}}, content_type="application/merge-patch+json", **{"User-Agent": "kubectl/v1.33"})
    assert c.api.get(path)["metadata"] == before  # nothing was changed: nothing is noted
    c.http("PATCH", path, {"data": {"x": "2", "y": None}}, content_type="application/merge-patch+json", **{"User-Agent": "kubectl/v1.33"})
    assert rows() == {"first": {"f:metadata": {"f:labels": {"f:a": {}}}}, "kubectl": {"f:data": {"f:x": {}}}}
    whole = c.api.get(path)
    whole["data"] = {"x": "3"}
    c.http("PUT", path + "?fieldManager=argocd-controller", whole)
    assert rows()["argocd-controller"] == {"f:data": {"f:x": {}}} and "kubectl" not in rows()
    row = next(row for row in c.api.get(path)["metadata"]["managedFields"] if row["manager"] == "argocd-controller")
    assert (row["operation"], row["apiVersion"], row["fieldsType"]) == ("Update", "v1", "FieldsV1") and row["time"].endswith("Z")
