# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""LIST over the embedded cluster's API: selectors, pages, and what happens when a page came too late."""

from __future__ import annotations

from urllib.parse import quote

import pytest

PODS = "/api/v1/namespaces/lists/pods"
SPEC = {"schedulerName": "nobody", "containers": [{"name": "c", "image": "i"}]}

pytestmark = pytest.mark.any_cluster


@pytest.fixture(scope="module")
def c(shared):
    made = shared(bare=True)
    if made.http("GET", "/api/v1/namespaces/lists")[0] == 404:
        made.http("POST", "/api/v1/namespaces", {"metadata": {"name": "lists"}})
        made.settle("lists")
        for number in range(7):
            labels = {"app": "hana" if number < 3 else "web", "tier": "t%d" % number}
            if number == 6:
                labels = {}
            made.http("POST", PODS, {"metadata": {"name": "p%d" % number, "labels": labels},
                                     "spec": dict(SPEC, nodeName="n%d" % (number % 2))})
        made.http("PATCH", PODS + "/p1/status", {"status": {"phase": "Running"}}, content_type="application/merge-patch+json")
    return made


def names(c, query):
    status, answer, headers = c.http("GET", PODS + "?" + query)
    assert status == 200, answer
    return "".join(item["metadata"]["name"][1:] for item in answer["items"])


@pytest.mark.parametrize("selector, expected", [
    ("app=hana", "012"), ("app==web", "345"), ("app!=hana", "3456"), ("app", "012345"), ("!app", "6"),
    ("app in (hana, web)", "012345"), ("app notin (hana)", "3456"), ("tier in (t1,t4),app=web", "4"),
    ("app=hana,tier!=t1", "02"), ("", "0123456"), ("app=nobody", ""),
])
def test_label_selectors(c, selector, expected):
    assert names(c, "labelSelector=" + quote(selector)) == expected


@pytest.mark.parametrize("selector, expected", [
    ("spec.nodeName=n1", "135"), ("metadata.name=p2", "2"), ("metadata.namespace=lists", "0123456"),
    ("status.phase=Running", "1"), ("status.phase!=Running,spec.nodeName=n1", "35"),
])
def test_field_selectors(c, selector, expected):
    assert names(c, "fieldSelector=" + quote(selector)) == expected


@pytest.mark.parametrize("query, words", [
    ("fieldSelector=spec.color%3Dred", "field label not supported: spec.color"),
    ("fieldSelector=nonsense", "invalid selector"),
    ("labelSelector=a%20b%20c", "unable to parse requirement"),
    ("labelSelector=app%20in%20hana", "unable to parse requirement"),
    ("limit=many", "invalid syntax"), ("continue=%21%21", "continue key is not valid"),
])
def test_what_does_not_parse_is_a_400(c, query, words):
    status, said, headers = c.http("GET", PODS + "?" + query)
    assert (status, said["reason"]) == (400, "BadRequest") and words in said["message"]


def test_all_namespaces_and_list_shape(c):
    status, answer, headers = c.http("GET", "/api/v1/pods?labelSelector=app")
    assert answer["kind"] == "PodList" and answer["metadata"]["resourceVersion"].isdigit()
    assert len(answer["items"]) == 6
    assert "kind" not in answer["items"][0]  # items of core kinds come without it on a real API server too


def test_pages_show_one_moment(c):
    first = c.http("GET", PODS + "?limit=3")[1]
    assert len(first["items"]) == 3 and first["metadata"]["remainingItemCount"] == 4
    c.http("POST", PODS, {"metadata": {"name": "p25"}, "spec": SPEC})
    c.http("DELETE", PODS + "/p25")
    c.http("POST", PODS, {"metadata": {"name": "p99"}, "spec": SPEC})
    second = c.http("GET", PODS + "?limit=3&continue=" + first["metadata"]["continue"])[1]
    third = c.http("GET", PODS + "?limit=3&continue=" + second["metadata"]["continue"])[1]
    c.http("DELETE", PODS + "/p99")
    pages = first["items"] + second["items"] + third["items"]
    assert [item["metadata"]["name"] for item in pages] == ["p%d" % number for number in range(7)]
    versions = {page["metadata"]["resourceVersion"] for page in (first, second, third)}
    assert len(versions) == 1 and "continue" not in third["metadata"]


def test_a_continue_token_expires_by_compaction(c):
    token = c.http("GET", PODS + "?limit=2")[1]["metadata"]["continue"]
    c.http("POST", PODS, {"metadata": {"name": "p98"}, "spec": SPEC})
    c.http("DELETE", PODS + "/p98")
    c.compact()
    status, said, headers = c.http("GET", PODS + "?limit=2&continue=" + token)
    assert (status, said["reason"]) == (410, "Expired") and "continue parameter is too old" in said["message"]
    rest = c.http("GET", PODS + "?continue=" + said["metadata"]["continue"])[1]  # goes on, at a later moment
    assert [item["metadata"]["name"] for item in rest["items"]] == ["p%d" % number for number in range(2, 7)]


@pytest.mark.embedded("simulated time")
def test_a_continue_token_expires_with_time(c):
    token = c.http("GET", PODS + "?limit=2")[1]["metadata"]["continue"]
    c.wait(301)
    assert c.http("GET", PODS + "?limit=2&continue=" + token)[0] == 410


@pytest.mark.embedded("failures on demand")
def test_our_client_starts_over_after_410(c):
    c.fault(status=410, match="continue=", message="expired by the test")
    from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import api as module

    page, module.PAGE = module.PAGE, 3
    try:
        assert len(c.api.list(PODS).items) == 7
    finally:
        module.PAGE = page


def test_a_version_of_the_future(c):
    status, said, headers = c.http("GET", PODS + "?resourceVersion=99999999")
    assert status == 504 and said["message"].startswith("Timeout: Too large resource version: 99999999, current: ")
    assert said["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge" and said["details"]["retryAfterSeconds"] == 1
