# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measuring between the nodes of a migration network: pods are made, waited for, read and always removed again."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import network_probe as probing
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_duration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import key_of

START = 300  # s until a pod runs: an image may have to be pulled
POLL = 2
READ = 120  # s of silence in a log; more than a minute, since shorter answers are read as one piece


def payload_image(api):
    """The image of the cluster's own release that has Python.

    :raises BadInput: none is found, or it may not be read.
    """
    namespace, name = probing.IMAGE_STREAM
    try:
        found = probing.image_of(api.get(path_of("image.openshift.io/v1", "imagestreams", namespace, name)))
    except (errors.NotFound, errors.Forbidden) as exc:
        found, why = None, " (%s)" % exc
    else:
        why = ""
    if not found:
        raise errors.BadInput(
            "The ImageStream %s/%s of the cluster's own release names no image%s." % (namespace, name, why),
            "Give image: any image with python3 that the nodes can pull.")
    return found


class Probe:
    """One measurement; :meth:`run` leaves no pod behind, and what an interrupted one left is removed first."""

    def __init__(self, task, namespace, network, image, mtu, seconds):
        self.task, self.api = task, task.api
        self.namespace, self.network, self.image, self.mtu, self.seconds = namespace, network, image, mtu, seconds

    def run(self, nodes):
        """Measure from every node to every other; ``[rows of network_probe.results]``."""
        self._sweep()
        each = probing.duration(nodes, self.seconds)
        whole = each * len(nodes) + START
        try:
            servers = {node: self._start("serve", node, probing.serving(whole), whole) for node in nodes}
            addresses = {node: self._address(name, node) for node, name in servers.items()}
            found = []
            for number, (source, targets) in enumerate(sorted(probing.pairs_of(nodes).items()), 1):
                self.task.say("probe: %s measures %s (%d of %d)" % (source, ", ".join(targets), number, len(nodes)))
                arguments = probing.measuring({node: addresses[node] for node in targets}, self.seconds, self.mtu)
                name = self._start("measure", source, arguments, each)
                found += probing.results(source, self._log(name, each), targets)
                self._delete(name)
            return found
        finally:
            self._sweep()

    def _pods(self):
        return self.api.list(path_of("v1", "pods", self.namespace), labelSelector=probing.LABEL).items

    def _sweep(self):
        for pod in self._pods():
            self._delete(key_of(pod)[1])

    def _delete(self, name):
        try:
            self.api.delete(path_of("v1", "pods", self.namespace, name), gracePeriodSeconds=0)
        except errors.NotFound:
            pass

    def _start(self, role, node, arguments, seconds):
        body = probing.pod(role, node, self.network, self.namespace, self.image, arguments, seconds + START)
        return key_of(self.api.create(path_of("v1", "pods", self.namespace), body, found=lambda: None))[1]

    def _until(self, name, enough, seconds):
        """A pod once ``enough(pod)`` is something; its value."""
        end = self.api.clock.now() + seconds
        while True:
            pod = self.api.get(path_of("v1", "pods", self.namespace, name))
            value = enough(pod)
            if value:
                return value, pod
            if self.api.clock.now() >= end:
                return None, pod
            self.api.clock.sleep(POLL)

    def _address(self, name, node):
        address, pod = self._until(name, lambda pod: probing.ended(pod) or (
            (pod.get("status") or {}).get("phase") == "Running" and probing.address_of(pod)), START)
        if not address or probing.ended(pod):
            raise errors.LiveMigrationError(
                "The probe's pod on node %s did not get as far as an address on %s within %s: %s." % (
                    node, self.network, format_duration(START), probing.why_not_started(pod).rstrip(".")),
                "All pods of the probe were removed. Look at the events of %s in %s, at the image (%s) and at the attachment." % (
                    name, self.namespace, self.image))
        return address

    def _log(self, name, seconds):
        self._until(name, probing.ended, seconds + START)
        path = path_of("v1", "pods", self.namespace, name, "log")
        try:
            return b"\n".join(self.api.stream(path, READ)).decode("utf-8", "replace")
        except errors.Forbidden:
            raise
        except errors.ApiError as exc:
            return '{"lost": "%s"}' % type(exc).__name__
