# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab behind the interface of the embedded clusters that tests get. One control plane serves a whole test run."""

from __future__ import annotations

import contextlib
import glob
import os
import tempfile
import time
import uuid

import build
import lab
import pytest
import yaml
from reached import Reached

KEPT = ("default", "kube-system", "kube-public", "kube-node-lease")
SWEPT = ["/api/v1/nodes", "/api/v1/persistentvolumes", "/apis/storage.k8s.io/v1/storageclasses"] + [
    path % "namespaces/default" for path in (
        "/api/v1/%s/configmaps?fieldSelector=metadata.name%%21%%3Dkube-root-ca.crt", "/api/v1/%s/persistentvolumeclaims",
        "/api/v1/%s/pods?gracePeriodSeconds=0", "/api/v1/%s/resourcequotas", "/apis/apps/v1/%s/deployments", "/apis/apps/v1/%s/daemonsets",
        "/apis/coordination.k8s.io/v1/%s/leases", "/apis/policy/v1/%s/poddisruptionbudgets", "/api/v1/%s/events")]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@contextlib.contextmanager
def running(kubevirt=False):
    """A lab that ends with this process, however that ends; yields its connection.

    ``BIGVM_LAB`` names the folder of one that runs already; it is used, and left running.
    """
    given = os.environ.get("BIGVM_LAB")
    if given:
        said = lab.status(given)
        assert said["state"] == "started", "no lab runs in %s" % given
        yield said
        return
    folder = os.path.join(tempfile.gettempdir(), "bigvm-lab-%d-%d" % (os.getuid(), os.getpid()))
    try:
        said = lab.start(folder, owner=os.getpid(), hours=2, kubevirt=kubevirt)
    except build.Missing as exc:
        name = "lab-kubevirt" if kubevirt else "lab-kubernetes"  # BIGVM_REQUIRE looks for it
        pytest.skip(str(exc) if name in str(exc) else "%s: %s" % (name, exc))
    try:
        yield said
    finally:
        lab.stop(folder)


class LabCluster(Reached):
    """What a test makes is gone when it is finished with."""

    def __init__(self, said, bare=True, crds=None, **options):
        assert bare and not options, "the lab is bare: an API server, no KubeVirt"
        self.said = said
        self.connection = {"host": said["host"], "api_key": said["api_key"], "ca_cert": said["ca_cert"], "validate_certs": True}
        self.kubeconfig = said["kubeconfig"]
        self.api = self.client()
        for path in sorted(glob.glob(os.path.join(crds, "*.yaml")) if crds else ()):
            with open(path, "rb") as stream:
                self.define(yaml.safe_load(stream))

    def namespace(self):
        """A new namespace's name; pods can be made in it."""
        name = self.http("POST", "/api/v1/namespaces", {"metadata": {"generateName": "test-"}})[1]["metadata"]["name"]
        self.settle(name)
        return name

    def settle(self, name):
        """Wait for what every namespace of a real cluster gets."""
        for path in ("serviceaccounts/default", "configmaps/kube-root-ca.crt"):
            self.until("GET", "/api/v1/namespaces/%s/%s" % (name, path), lambda code, data: code == 200)

    def token(self, rules, user="restricted"):
        """A service account's token with just these rights, as the embedded cluster describes them."""
        name = "%s-%s" % (user, uuid.uuid4().hex[:6])
        self._made("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": name}})
        for number, rule in enumerate(rules):
            role = "%s-%d" % (name, number)
            self._made(RBAC + "/clusterroles", {"metadata": {"name": role}, "rules": [
                {"verbs": rule["verbs"], "apiGroups": [group], "resources": [resource]}
                for group, resource in map(_split, rule["resources"])]})
            binding = {"metadata": {"name": role}, "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}]}
            for namespace in rule.get("namespaces") or [None]:
                where = "/namespaces/%s/rolebindings" % namespace if namespace else "/clusterrolebindings"
                self._made(RBAC + where, binding)
        token = self._made("/api/v1/namespaces/default/serviceaccounts/%s/token" % name, {"spec": {}})["status"]["token"]
        for rule in rules:
            self._granted(token, rule)
        return token

    def _granted(self, token, rule):
        """The authorizer learns of a binding a moment later."""
        group, resource = _split(rule["resources"][-1])
        resource, _slash, subresource = resource.partition("/")
        asked = {"verb": rule["verbs"][-1], "group": group, "resource": resource, "subresource": subresource,
                 "namespace": (rule.get("namespaces") or [""])[-1]}
        for _turn in range(100):
            answer = self.http("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {
                "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": asked}}, token=token)[1]
            if answer["status"]["allowed"]:
                return
            time.sleep(0.05)
        raise AssertionError("%s was not granted" % rule)

    def _made(self, path, body):
        status, said, headers = self.http("POST", path, body)
        assert status == 201, said
        return said

    def compact(self):
        """Forget the past, in etcd and, by a write, in what the API server keeps of it."""
        import urllib3

        version = int(self.version_now())
        folder = os.path.dirname(self.said["ca_cert"])
        pool = urllib3.PoolManager(ca_certs=self.said["ca_cert"], cert_file=os.path.join(folder, "kube-apiserver.crt"),
                                   key_file=os.path.join(folder, "kube-apiserver.key"))
        for call, body in (("compaction", {"revision": version, "physical": True}),):
            answer = pool.request("POST", "%s/v3/kv/%s" % (self.said["etcd"], call), json=body)
            assert answer.status == 200, answer.data

    def drop_watches(self):
        """Nobody minds them here."""

    def wait(self, seconds):
        """Real time passes by itself."""

    def requests(self, method=None, contains=""):
        """Lines of the audit log, oldest first, in the form of the embedded cluster's."""
        import json

        rows = []
        with open(os.path.join(os.path.dirname(self.said["ca_cert"]), "audit.log"), encoding="utf-8") as stream:
            for line in stream:
                said = json.loads(line)
                path, _mark, query = said["requestURI"].partition("?")
                verb = {"list": "GET", "get": "GET", "watch": "GET", "create": "POST", "update": "PUT", "patch": "PATCH"}.get(
                    said["verb"], "DELETE")
                if method in (None, verb) and contains in path:
                    rows.append({"method": verb, "path": path, "query": query, "userAgent": said.get("userAgent", ""),
                                 "status": (said.get("responseStatus") or {}).get("code")})
        return rows

    def errors(self):
        """The embedded cluster has these."""
        return []

    def finish(self):
        """Remove what tests made: namespaces, nodes, definitions, tokens."""
        for name in self._namespaces():
            self.http("DELETE", "/api/v1/namespaces/%s/pods?gracePeriodSeconds=0" % name)  # no kubelet ends them
            self.http("DELETE", "/api/v1/namespaces/" + name)
        for path in SWEPT:
            self.http("DELETE", path)
        names = [item["metadata"]["name"] for item in self.http("GET", CRDS)[1]["items"]]
        for name in names:  # one by one: a deletion of all at once leaves their objects in etcd
            self.http("DELETE", "%s/%s" % (CRDS, name))
        for name in names:
            self._loose(name)
            self.until("GET", "%s/%s" % (CRDS, name), lambda code, data: code == 404, seconds=60)

        end = time.monotonic() + 30
        while self._namespaces() and time.monotonic() < end:
            time.sleep(0.2)

    def _namespaces(self):
        """Those that tests made and that are not gone yet."""
        return [item["metadata"]["name"] for item in self.http("GET", "/api/v1/namespaces")[1]["items"]
                if item["metadata"]["name"] not in KEPT]

    def _loose(self, name):
        """Let go of a definition's objects that finalizers hold."""
        plural, _dot, group = name.partition(".")
        crd = self.http("GET", "%s/%s" % (CRDS, name))[1]
        if "spec" not in crd:
            return
        base = "/apis/%s/%s" % (group, next(entry["name"] for entry in crd["spec"]["versions"] if entry["storage"]))
        status, listed, headers = self.http("GET", "%s/%s" % (base, plural))
        for item in listed["items"] if status == 200 else ():
            namespace = item["metadata"].get("namespace")
            where = "%s/namespaces/%s/%s" % (base, namespace, plural) if namespace else "%s/%s" % (base, plural)
            if item["metadata"].get("finalizers"):
                self.http("PATCH", "%s/%s" % (where, item["metadata"]["name"]), {"metadata": {"finalizers": None}},
                          content_type="application/merge-patch+json")


def _split(resource):
    """``pods/log`` or ``deployments.apps`` as ``(group, resource)``."""
    plural, slash, subresource = resource.partition("/")
    name, _dot, group = plural.partition(".")
    return group if plural != "*" else "*", name + slash + subresource
