# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""KubeVirt on the lab's control plane: virt-operator's own objects, virt-api, virt-controller, and beside them our node
simulator (``handlers``) and what the operators do about settings (``operators``).

What virt-operator would create is printed by ``manifests`` (Go, beside this file). The programs run on the loopback
with the service accounts' tokens, so KubeVirt's own RBAC is in force; webhooks and API services reach virt-api by an
ExternalName Service. Nodes, guests and their disks are the tests' to make.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

import build
import parts
from places import BUILD, ROOT

HERE = os.path.dirname(os.path.abspath(__file__))
NAMESPACE = "kubevirt"  # virt-api and virt-controller take no other outside a pod
SERVICE = "virt-api"
KUBEVIRT = "/apis/kubevirt.io/v1/namespaces/%s/kubevirts/kubevirt" % NAMESPACE
READY_WITHIN = 90.0
ACCOUNTS = {"virt-api": "kubevirt-apiserver", "virt-controller": "kubevirt-controller"}
ROOTS = {
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "ServiceAccount": "/api/v1/namespaces/%s/serviceaccounts",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/%s/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/%s/rolebindings",
    "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
    "ValidatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
    "DaemonSet": "/apis/apps/v1/namespaces/%s/daemonsets",
    "APIService": "/apis/apiregistration.k8s.io/v1/apiservices",
    "MutatingWebhookConfiguration": "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
    "ValidatingWebhookConfiguration": "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
}
LATER = ("APIService", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")  # once virt-api answers
OPERATOR = "virt-operator"  # it has webhooks of its own, and does not run here
# Templates of VMs are another program's, and main.go leaves them out.
OFF = ["Template"]


class Refused(Exception):
    """The API server did not take an object."""


def bring_up(said, spawn):
    """Install KubeVirt and start its programs.

    :param said: what parts.write_files returned, with ``host``.
    :param spawn: ``spawn(name, words, **variables)`` starts a program that ends with the lab.
    """
    programs, version = build.programs("lab-kubevirt"), build.pinned("lab-kubevirt")
    folder = said["folder"]
    site = Site(said)
    port, apart = parts.free_port(), os.path.join(folder, "kubevirt")  # both read the folder anew when anything in it changes
    _certificates(apart)
    items = json.loads(subprocess.run([programs["manifests"], version], check=True, capture_output=True, text=True).stdout)["items"]
    items = [item for item in items if not _operators(item)]
    site.post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    for item in items:
        if item["kind"] not in LATER:
            site.create(item)
    for item in items:
        if item["kind"] == "CustomResourceDefinition":
            site.served(item["spec"])
    site.configure()
    _ours("operators", folder, spawn)
    with open(os.path.join(apart, "ca.crt"), encoding="utf-8") as stream:
        bundle = stream.read()
    site.post("/api/v1/namespaces/%s/configmaps" % NAMESPACE, {"metadata": {"name": "kubevirt-ca"}, "data": {"ca-bundle": bundle}})
    site.post("/api/v1/namespaces/%s/services" % NAMESPACE, {
        "metadata": {"name": SERVICE}, "spec": {"type": "ExternalName", "externalName": "localhost"}})
    configs = {program: site.kubeconfig(program, account) for program, account in ACCOUNTS.items()}
    pair = [os.path.join(apart, "tls" + suffix) for suffix in (".crt", ".key")]
    spawn("virt-api", [
        programs["virt-api"], "--listen=127.0.0.1", "--port=%d" % port, "--kubeconfig=" + configs["virt-api"],
        "--tls-cert-file=" + pair[0], "--tls-key-file=" + pair[1], "--handler-cert-file=" + pair[0],
        "--handler-key-file=" + pair[1]], TMPDIR=folder)
    _answers("https://localhost:%d/healthz" % port, os.path.join(apart, "ca.crt"))
    for item in items:
        if item["kind"] in LATER:
            site.create(_reachable(item, port, bundle))
    spawn("virt-controller", [
        programs["virt-controller"], "--listen=127.0.0.1", "--port=%d" % parts.free_port(),
        "--kubeconfig=" + configs["virt-controller"], "--prom-cert-file=" + pair[0], "--prom-key-file=" + pair[1],
        "--launcher-image=quay.io/kubevirt/virt-launcher:" + version], TMPDIR=folder)
    site.wait("/apis/subresources.kubevirt.io/v1")
    site.wait("/apis/coordination.k8s.io/v1/namespaces/%s/leases/virt-controller" % NAMESPACE)
    _ours("handlers", folder, spawn)
    site.wait(KUBEVIRT, lambda found: "phase" in found.get("status", {}))


def _ours(name, folder, spawn):
    """Start one of the programs beside this file."""
    spawn(name, [sys.executable, os.path.join(HERE, name + ".py"), "--dir", folder],
          PYTHONPATH=str(BUILD if BUILD.is_dir() else ROOT.parents[2]), PYTHONDONTWRITEBYTECODE="1")


def _operators(item):
    """Whether it is the operator's own: its webhooks would be called, and nobody is there."""
    hooks = item.get("webhooks") or []
    return bool(hooks) and any("operator" in hook["clientConfig"]["service"]["name"] for hook in hooks)


def _reachable(item, port, bundle):
    """A webhook configuration or API service that reaches virt-api here."""
    bundle = base64.b64encode(bundle.encode()).decode()
    for hook in item.get("webhooks") or []:
        hook["clientConfig"].update(caBundle=bundle)
        hook["clientConfig"]["service"]["port"] = port
    if item["kind"] == "APIService":
        item["spec"].update(caBundle=bundle)
        item["spec"]["service"]["port"] = port
    return item


def _certificates(folder):
    """KubeVirt's CA and one certificate for both programs."""
    import trustme

    os.mkdir(folder, 0o700)
    authority = trustme.CA(organization_name="kubevirt.io")
    leaf = authority.issue_cert("localhost", "%s.%s.svc" % (SERVICE, NAMESPACE), common_name="%s.%s.pod.cluster.local" % (
        SERVICE, NAMESPACE))
    parts.write(folder, "ca.crt", authority.cert_pem.bytes())
    parts.write_pair(folder, "tls", leaf)


def _answers(url, ca):
    context, end = ssl.create_default_context(cafile=ca), time.monotonic() + READY_WITHIN
    while True:
        try:
            with urllib.request.urlopen(url, context=context, timeout=5):
                return
        except urllib.error.HTTPError:
            return  # it answers, be it only that this needs a login
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


class Site:
    """The lab's API server, as its administrator."""

    def __init__(self, said):
        self.said = said
        self.context = ssl.create_default_context(cafile=os.path.join(said["folder"], "ca.crt"))

    def call(self, method, path, body=None, kind="application/json"):
        """One request; returns the answer (dict). Raises urllib's HTTPError."""
        request = urllib.request.Request(
            self.said["host"] + path, method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": "Bearer " + self.said["token"], "Content-Type": kind})
        with urllib.request.urlopen(request, context=self.context, timeout=30) as answer:
            return json.load(answer)

    def post(self, path, body):
        """Create one object.

        :raises Refused: with what the server said.
        """
        try:
            return self.call("POST", path, body)
        except urllib.error.HTTPError as exc:
            name = "%s %s" % (body.get("kind"), (body.get("metadata") or {}).get("name"))
            raise Refused("%s: %s %s" % (name, exc.code, exc.read().decode(errors="replace")[:600])) from exc

    def create(self, item):
        """Create one of KubeVirt's objects."""
        root = ROOTS[item["kind"]]
        item["apiVersion"] = root.split("/")[2] if root.startswith("/api/") else "/".join(root.split("/")[2:4])
        self.post(root % (item["metadata"].get("namespace") or NAMESPACE) if "%s" in root else root, item)

    def served(self, spec):
        """Wait until a definition's versions are served."""
        for version in spec["versions"]:
            if version["served"]:
                self.wait("/apis/%s/%s/%s" % (spec["group"], version["name"], spec["names"]["plural"]))

    def wait(self, path, good=lambda found: True):
        """Wait until a path answers, and what is wanted."""
        end = time.monotonic() + READY_WITHIN
        while True:
            try:
                found = self.call("GET", path)
                if good(found):
                    return found
                said = str(found)[:600]
            except urllib.error.HTTPError as exc:
                said = exc.code
            if time.monotonic() > end:
                raise Refused("%s still answers %s" % (path, said))
            time.sleep(0.05)

    def configure(self):
        """The KubeVirt object; its status is the operators'."""
        root = "/apis/kubevirt.io/v1/namespaces/%s/kubevirts" % NAMESPACE
        self.wait(root)
        self.post(root, {
            "apiVersion": "kubevirt.io/v1", "kind": "KubeVirt", "metadata": {"name": "kubevirt"},
            "spec": {"configuration": {"evictionStrategy": "LiveMigrate", "developerConfiguration": {"disabledFeatureGates": OFF}},
                     "workloadUpdateStrategy": {"workloadUpdateMethods": ["LiveMigrate"]}}})

    def kubeconfig(self, program, account):
        """Write a kubeconfig with a service account's token; returns its path."""
        path = "/api/v1/namespaces/%s/serviceaccounts/%s/token" % (NAMESPACE, account)
        token = self.post(path, {"kind": "TokenRequest", "spec": {"expirationSeconds": 86400}})["status"]["token"]
        parts.write(self.said["folder"], program + ".kubeconfig", json.dumps(parts.kubeconfig(self.said, {"token": token})))
        return os.path.join(self.said["folder"], program + ".kubeconfig")
