# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles of docs/rbac before an authorizer: on the lab the very manifests, bound to a service account, before the real one.

What the modules make of a refusal is in test_rbac.py; here it is seen that the refusals come, and in the words that
``refusal_remedy`` reads.
"""

from __future__ import annotations

import json
import time
import uuid

import pytest
import rbac_steps as on
import yaml

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import access

pytestmark = pytest.mark.any_cluster

RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
METHODS = {"get": "GET", "list": "GET", "watch": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}


class Embedded:
    """A user of an embedded cluster: another token for other rights."""

    def __init__(self, c, role, guests, operator):
        self.c, self.role, self.places = c, role, {"guests": [guests], "operator": operator}
        self.set(None)

    def set(self, without):
        """All rights of the role but one (None: all)."""
        self.token = self.c.token(on.granted(self.role, without, **self.places), user=self.role)


class Bound:
    """A service account of the lab with the manifests of a role applied and bound as the README says."""

    def __init__(self, c, role, guests, operator):
        self.c, self.name = c, "rbac-%s" % uuid.uuid4().hex[:6]
        self.objects, self.less = {}, {}
        self.make("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": self.name}})
        for item in yaml.safe_load(on.rbac.manifest(role))["items"]:
            place = access.OPERATOR if item["kind"] == "Role" else (
                access.GUESTS if item["metadata"]["name"].endswith("-guests") else access.CLUSTER)
            namespace = {access.OPERATOR: operator, access.GUESTS: guests, access.CLUSTER: None}[place]
            name = "%s-%s" % (self.name, place)
            where = "%s/namespaces/%s/roles" % (RBAC, operator) if place == access.OPERATOR else RBAC + "/clusterroles"
            self.make(where, {"metadata": {"name": name}, "rules": item["rules"]})
            self.objects[place] = ("%s/%s" % (where, name), item["rules"])
            self.make("%s/namespaces/%s/rolebindings" % (RBAC, namespace) if namespace else RBAC + "/clusterrolebindings", {
                "metadata": {"name": name}, "subjects": [{"kind": "ServiceAccount", "name": self.name, "namespace": "default"}],
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": item["kind"], "name": name}})
        self.token = self.make("/api/v1/namespaces/default/serviceaccounts/%s/token" % self.name, {"spec": {}})["status"]["token"]

    def make(self, path, body):
        """Create something."""
        status, said, headers = self.c.http("POST", path, body)
        assert status == 201, said
        return said

    def set(self, without):
        """All rights of the role but one (None: all)."""
        for place, (path, rules) in self.objects.items():
            wanted = [dict(rule, resources=[resource], verbs=verbs) for rule in rules for resource in rule["resources"]
                      for verbs in [[verb for verb in rule["verbs"] if not without or (place, rule["apiGroups"][0], resource, verb)
                                     != without[:4]]] if verbs]
            if self.less.get(place) or without is None or place == without.place:
                self.less[place] = without is not None and place == without.place
                status, said, headers = self.c.http("PATCH", path, {"rules": wanted}, content_type="application/merge-patch+json")
                assert status == 200, said


@pytest.fixture(scope="module")
def c(shared):
    return shared(bare=True)


@pytest.fixture(scope="module", params=list(access.ROLES))
def bound(request, c):
    """``(role, somebody who has it, the namespace of the VMs, that of KubeVirt)``."""
    guests, operator = c.namespace(), c.namespace()
    return request.param, (Embedded if hasattr(c, "fault") else Bound)(c, request.param, guests, operator), guests, operator


def may(c, token, right, namespace):
    plural, _slash, subresource = right.resource.partition("/")
    asked = {"group": right.group, "resource": plural, "subresource": subresource, "verb": right.verb, "namespace": namespace}
    return c.http("POST", REVIEWS, {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                                    "spec": {"resourceAttributes": asked}}, token=token)[1]["status"]["allowed"]


def soon(wanted, c, token, right, namespace):
    """Whether the answer is soon as wanted: the real authorizer learns of a role a moment later."""
    end = time.monotonic() + 10
    while may(c, token, right, namespace) is not wanted:
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def inside(right, guests, operator):
    """The namespace in which a right counts; empty for the cluster as a whole."""
    return {access.CLUSTER: "", access.GUESTS: guests, access.OPERATOR: operator}[right.place]


def test_a_role_grants_its_rights_where_they_are_bound_and_nowhere_else(c, bound):
    role, somebody, guests, operator = bound
    mine = on.rights(role)
    wrong = [on.title(right) for right in mine if not soon(True, c, somebody.token, right, inside(right, guests, operator))]
    assert wrong == [], "not granted"
    everywhere = {right[1:4] for right in mine if right.place == access.CLUSTER}
    for right in mine:
        for namespace in {"", "kube-system", guests, operator} - {inside(right, guests, operator)}:
            if right[1:4] not in everywhere and namespace not in {
                    inside(other, guests, operator) for other in mine if other[1:4] == right[1:4]}:
                assert not may(c, somebody.token, right, namespace), (on.title(right), namespace)


def test_a_role_grants_nothing_of_a_later_one_and_no_secrets(c, bound):
    role, somebody, guests, operator = bound
    assert soon(True, c, somebody.token, on.rights(role)[0], "")
    mine = {right[1:4] for right in on.rights(role)}
    others = [right for right in on.rights("administrator") if right[1:4] not in mine]
    # What a role has in one namespace, such as the probe's own pods, the test above holds to that namespace.
    others += [on.Right("", *named, True) for named in (
        ("", "secrets", "get"), ("", "secrets", "list"), ("", "pods", "delete"), ("", "pods/exec", "create"), ("", "nodes", "delete"),
        ("rbac.authorization.k8s.io", "clusterroles", "patch"), ("kubevirt.io", "virtualmachines", "patch"),
        ("kubevirt.io", "virtualmachineinstances", "delete"), ("kubevirt.io", "kubevirts", "patch")) if named not in mine]
    granted = [on.title(right) for right in others for namespace in ("", guests, operator) if may(c, somebody.token, right, namespace)]
    assert granted == []


def test_without_one_right_the_refusal_says_which(c, bound):
    role, somebody, guests, operator = bound
    served = {row["name"]: row["preferredVersion"]["version"] for row in c.http("GET", "/apis")[1]["groups"]}
    asked, wrong = 0, []
    for right in on.rights(role):
        namespace = inside(right, guests, operator)
        somebody.set(right)
        if not soon(False, c, somebody.token, right, namespace):
            wrong.append("%s: still granted" % on.title(right))
        elif right.resource.count("/") > 1:
            continue  # KubeVirt's own authorizer reads so much of a path, Kubernetes' only its first part
        elif right.group in served or not right.group or isinstance(somebody, Bound):  # who asks for rights before it looks
            asked += 1
            status, said = request(c, somebody.token, right, served.get(right.group, "v1"), namespace)
            found = access.REFUSAL.search(str(said["message"] if isinstance(said, dict) else said))
            if status != 403 or not found or found.groups() != (right.verb, right.resource, right.group):
                wrong.append("%s: %s %s" % (on.title(right), status, said))
            elif "Needed for: " not in access.refusal_remedy(said["message"]):
                wrong.append("%s: no feature is named" % on.title(right))
    somebody.set(None)
    assert wrong == [] and asked >= 9


def request(c, token, right, version, namespace):
    """What is answered to that very request."""
    plural, _slash, subresource = right.resource.partition("/")
    path = "/apis/%s/%s" % (right.group, version) if right.group else "/api/v1"
    if namespace or subresource:
        path += "/namespaces/%s" % (namespace or "default")
    path += "/" + plural
    if subresource or right.verb not in ("list", "watch", "create"):
        path += "/absent"
    path += ("/" + subresource if subresource else "") + ("?watch=true&timeoutSeconds=1" if right.verb == "watch" else "")
    kind = "application/merge-patch+json" if right.verb == "patch" else "application/json"
    body = {} if right.verb in ("create", "update", "patch") else None
    status, said, headers = c.http(METHODS[right.verb], path, body, token=token, content_type=kind)
    return status, said


# -- the modules themselves before the real authorizer ------------------------------------------


class Transplanted(on.Site):
    """The objects of an embedded cluster on the lab, where no KubeVirt is: enough for whatever only reads and patches."""

    def __init__(self, c, near):
        self.c, self.api = c, c.api
        self.guests, self.groups = list(on.GUESTS), {}
        for group, plural in sorted({(right.group, right.resource) for right in on.rights("administrator") if "/" not in right.resource}):
            self.take(near, group, plural)

    def take(self, near, group, plural):
        """One kind, and all objects of it."""
        served = {row["name"]: [one["version"] for one in row["versions"]] for row in near.http("GET", "/apis")[1]["groups"]}
        for version in served.get(group, ()) if group else ("v1",):
            base = "/apis/%s/%s" % (group, version) if group else "/api/v1"
            kinds = {row["name"]: row for row in near.http("GET", base)[1]["resources"]}
            if plural not in kinds:
                continue
            if not any(row["name"] == plural for row in self.served(base)):
                self._serve(group, version, kinds[plural]["kind"], plural, kinds[plural]["namespaced"])
            for item in near.http("GET", "%s/%s" % (base, plural))[1]["items"]:
                if plural != "customresourcedefinitions":
                    self.plant(base, plural, kinds[plural]["kind"], item)
            return

    def served(self, base):
        """What the lab has of a group."""
        code, said = self.c.http("GET", base)[:2]
        return said["resources"] if code == 200 else []

    def plant(self, base, plural, kind, item):
        """One object, with its status."""
        meta = item["metadata"]
        kept = {key: meta[key] for key in ("name", "namespace", "labels", "annotations") if key in meta}
        where = "%s/namespaces/%s/%s" % (base, meta["namespace"], plural) if "namespace" in meta else "%s/%s" % (base, plural)
        body = dict(item, metadata=kept, kind=kind)
        if plural == "pods":
            body["spec"] = {"nodeName": item["spec"].get("nodeName"), "containers": [{"name": "compute", "image": "none"}]}
        code, said = self.c.http("POST", where, body)[:2]
        if plural == "namespaces" and code == 201:
            self.c.settle(meta["name"])
        if plural == "pods" and code == 201:
            self.c.http("PATCH", "%s/%s/status" % (where, meta["name"]), {"status": item.get("status")},
                        content_type="application/merge-patch+json")
        assert code in (201, 409), said


@pytest.mark.lab
def test_modules_notice_on_the_lab_what_they_notice_on_an_embedded_cluster(near, c, tmp_path):
    path = tmp_path / "rbac.yml"
    path.write_text(json.dumps(on.TOPOLOGY))
    here = near(topology=str(path))
    here.define = lambda crd: here.http("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    on.Site(here)
    site = Transplanted(c, here)
    untrue, counted = [], 0
    for role in access.ROLES:
        somebody, before = Bound(c, role, on.GUESTS[0], on.KUBEVIRT), on.rights(role)[-1]
        whole = {step: on.done(site, step, somebody.token, listening=True) for step in on.STILL if step in on.steps(role)}
        untrue += ["%s: %s" % (step.__name__, actor.failures) for step, actor in whole.items() if actor.failures]
        for right in on.rights(role):
            if on.rows_of(role, right) and any(right[1:4] in actor.asked for actor in whole.values()):
                somebody.set(right)
                assert soon(False, c, somebody.token, right, inside(right, on.GUESTS[0], on.KUBEVIRT))
                assert soon(True, c, somebody.token, before, inside(before, on.GUESTS[0], on.KUBEVIRT))
                before = right
                untrue += on.judged(whole, site, role, right, somebody.token)
                counted += 1
        somebody.set(None)
    assert untrue == [], "\n".join(untrue)
    assert counted >= 40
