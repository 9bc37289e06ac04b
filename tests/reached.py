# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a test can do with a cluster that it reached, be it the embedded one or the lab's."""

from __future__ import annotations

import functools
import json
import time


class Reached:
    """``connection`` is set by who inherits: host, api_key, ca_cert, validate_certs."""

    connection = None

    def client(self, api_key=None, dry_run=False):
        """Another connection, with another token if given."""
        import kubernetes

        from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import Api

        def source():
            configuration = kubernetes.client.Configuration()
            configuration.host = self.connection["host"]
            configuration.ssl_ca_cert = self.connection["ca_cert"]
            configuration.api_key = {"authorization": "Bearer %s" % (api_key or self.connection["api_key"])}
            return configuration, {"User-Agent": "bigvm-tests"}

        return Api(source, dry_run=dry_run).handshake()

    def http(self, method, path, body=None, token=None, content_type="application/json", **headers):
        """One raw request; returns ``(status, data, headers)``. ``token=""`` sends none."""
        token = self.connection["api_key"] if token is None else token
        headers = {"Authorization": "Bearer %s" % token, **headers} if token else dict(headers)
        if body is not None:
            headers["Content-Type"] = content_type
            body = body if isinstance(body, (str, bytes)) else json.dumps(body)
        answer = self.pool.request(method, self.connection["host"] + path, body=body, headers=headers, retries=False)
        text = answer.data
        data = json.loads(text) if "json" in answer.headers.get("content-type", "") else text.decode()
        return answer.status, data, answer.headers

    @functools.cached_property
    def pool(self):
        """An HTTP pool that trusts the cluster's CA."""
        import urllib3

        return urllib3.PoolManager(ca_certs=self.connection["ca_cert"], timeout=urllib3.Timeout(20), maxsize=20)

    # -- what takes a moment on a real cluster ------------------------------

    def until(self, method, path, enough, seconds=20):
        """Ask until ``enough(status, data)``; returns that answer.

        :raises AssertionError: with the last answer after that many seconds.
        """
        end = time.monotonic() + seconds
        while True:
            status, data, headers = self.http(method, path)
            if enough(status, data):
                return status, data, headers
            assert time.monotonic() < end, "%s %s still answers %s %s" % (method, path, status, data)
            self.pass_by()

    def pass_by(self):
        """Let a moment pass."""
        time.sleep(0.05)

    def define(self, crd):
        """Create a CustomResourceDefinition and wait until it is served."""
        from urllib.parse import quote

        status, said, headers = self.http("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
        assert status in (201, 409), said
        for version in crd["spec"]["versions"]:
            if version.get("served", True):
                self.until("GET", "/apis/%s/%s/%s" % (
                    crd["spec"]["group"], version["name"], quote(crd["spec"]["names"]["plural"])), lambda code, data: code == 200)
        return said

    def version_now(self, path="/api/v1/namespaces/default/configmaps"):
        """The resourceVersion that a watch from now on starts with."""
        return self.http("GET", path + "?limit=1")[1]["metadata"]["resourceVersion"]

    def whoami(self, token):
        """The user name behind a token."""
        return self.http("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {
            "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}, token=token)[1]["status"]["userInfo"]["username"]
