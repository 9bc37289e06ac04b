# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The migration network of a cluster: looked at, written policy by policy, followed until NMState is through, taken back."""

from __future__ import annotations

import json

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import hyperconverged
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import network_render, network_state
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.network_checks import interfaces_of, nodes_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.network_request import cards
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_duration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import key_of, mapping, rows, text

POLL = 5  # s between two looks at a policy
REMIND = 300  # s between two lines that say the same
NMSTATE_BETA = "nmstate.io/v1beta1"
NO_NMSTATE = ("This cluster has no NMState (nmstate.io): neither can a card be looked at nor configured.",
              "Install the Kubernetes NMState Operator and create its object NMState, named nmstate. Nothing was changed.")
NOTHING = "Nothing was changed."


def policy_path(name=None):
    """The URL path of the policies, or of one."""
    return path_of(network_render.POLICY_API, network_render.POLICIES, name=name)


def attachment_path(namespace=None, name=None):
    """The URL path of the attachments of a namespace (or of all), or of one."""
    return path_of(network_render.ATTACHMENT_API, network_render.ATTACHMENTS, namespace, name)


def look(api):
    """The scene that :mod:`..domain.network_checks` describes, in ten requests.

    :raises BadInput: the cluster has no HyperConverged, no NMState or no Multus.
    """
    found, version = hyperconverged.find(api)
    home = found["metadata"]["namespace"]
    daemon_set, pods = hyperconverged.handlers(api, found)
    network = hyperconverged.values_of(found, version)["network"] or ""
    states = _listed(api, path_of(NMSTATE_BETA, "nodenetworkstates"), NO_NMSTATE)
    settings, unknown = _cluster_network(api)
    return {
        "home": home, "network": network[len(home) + 1:] if network.startswith(home + "/") else network,
        "daemon_set": daemon_set, "pods": pods, "handlers": sorted({text(pod, "spec", "nodeName") for pod in pods} - {""}),
        "nodes": {key_of(node)[1]: node for node in api.list(path_of("v1", "nodes")).items},
        "states": {key_of(state)[1]: state for state in states},
        "policies": _listed(api, policy_path(), NO_NMSTATE),
        "enactments": _listed(api, path_of(NMSTATE_BETA, "nodenetworkconfigurationenactments"), NO_NMSTATE),
        "attachments": _listed(api, attachment_path(), ("This cluster knows no NetworkAttachmentDefinitions.",
                                                        "Install Multus first. " + NOTHING)),
        "cluster_network": settings, "cluster_network_unknown": unknown, "reconciler": _reconciler(api),
    }


def _listed(api, path, absent):
    try:
        return api.list(path).items
    except errors.NotFound as exc:
        raise errors.BadInput(*absent) from exc


def _cluster_network(api):
    try:
        return api.get(path_of("config.openshift.io/v1", "networks", name="cluster")), ""
    except errors.NotFound:
        return None, "there is no network.config.openshift.io cluster, this is not OpenShift"
    except errors.Forbidden as exc:
        return None, str(exc)


def _reconciler(api):
    """Whether somebody collects the addresses of pods that ended hard; None when it cannot be told.

    OpenShift runs whereabouts-reconciler when a network of its own configuration names whereabouts, not for attachments made otherwise.
    """
    try:
        found = api.get(path_of("operator.openshift.io/v1", "networks", name="cluster"))
    except (errors.NotFound, errors.Forbidden):
        return None
    return any("whereabouts" in text(row, "rawCNIConfig") for row in rows(found, "spec", "additionalNetworks"))


# -- writing ------------------------------------------------------------------------------


class Writer:
    """Writes one network; each object is tried as a dry run before the first is written.

    :param task: the module's.
    :param changes: a :class:`..common.changeset.ChangeSet`.
    """

    def __init__(self, task, changes, timeout=0):
        self.task, self.api, self.changes, self.timeout = task, task.api, changes, timeout

    def put(self, wanted, scene):
        """Policies, one after the other and each followed to its end, then the attachment."""
        plans = [self._policy_plan(wanted, group, scene) for group in wanted["nodes"]]
        nad = self._attachment_plan(wanted, scene)
        for path, found, body in [plan[:3] for plan in plans] + [nad]:
            self._send(path, found, body, dryRun="All")
        for path, found, body, nodes in plans:
            self._write(path, found, body)
            if not self.task.check_mode:
                self.follow(key_of(body)[1], nodes, wanted["max_unavailable"])
        self._write(*nad)

    def _policy_plan(self, wanted, group, scene):
        nodes = nodes_of(group, scene)
        found = next((row for row in scene["policies"] if key_of(row)[1] == group["policy"]), None)
        before = None
        if found is None or network_render.BEFORE not in mapping(found, "metadata", "annotations"):
            before = network_render.before_of([interfaces_of(scene["states"].get(node)) for node in nodes], cards(group))
        return policy_path(), found, network_render.policy(wanted, group, before), nodes

    def _attachment_plan(self, wanted, scene):
        body = network_render.attachment(wanted, scene["home"])
        found = network_state.attachment_of(wanted, scene)
        if found is not None and not network_render.differences(found, network_render.configured(body)):
            body["spec"] = found["spec"]  # the same in another spelling is no change
        return attachment_path(scene["home"]), found, body

    def _send(self, path, found, body, **query):
        """Create, or replace what differs; the answer, or what is there when nothing does."""
        if found is None:
            return self.api.create(path, body, **query)
        meta = dict(found["metadata"])
        for part in ("labels", "annotations"):
            both = dict(mapping(meta, part), **mapping(body, "metadata", part))
            if both != mapping(meta, part):
                meta[part] = both
        if meta == found["metadata"] and body["spec"] == found.get("spec"):
            return found
        new = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": meta, "spec": body["spec"]}
        return self.api.replace("%s/%s" % (path, key_of(found)[1]), new, **query)

    def _write(self, path, found, body):
        after = self._send(path, found, body)
        self.changes.note("%s %s" % (body["kind"], "/".join(part for part in key_of(body) if part)), shown(found), shown(after))

    def follow(self, name, nodes, max_unavailable):
        """Wait until a policy is applied on each of these nodes.

        :raises LiveMigrationError: it failed, with NMState's own reason, or the time is over.
        """
        seconds = self.timeout or network_state.patience(len(nodes), max_unavailable)
        begun, told, told_at = self.api.clock.now(), None, 0
        while True:
            policy = self.api.get(policy_path(name))
            enactments = self.api.list(path_of(NMSTATE_BETA, "nodenetworkconfigurationenactments"),
                                       labelSelector="%s=%s" % (network_state.POLICY, name)).items
            state, said = network_state.progress(policy, enactments, nodes)
            now = self.api.clock.now()
            if state == network_state.DONE:
                return
            if state == network_state.FAILED:
                raise errors.LiveMigrationError(
                    said[0].upper() + said[1:] + ".", "NMState has put the nodes that failed back as they were; those before keep "
                    "it. Correct the cause and run again, or take all of it back with state absent.", **self.changes.result())
            if now - begun >= seconds:
                raise errors.LiveMigrationError(
                    "After %s %s." % (format_duration(seconds), said), "Look at the pods nmstate-handler of the nodes that are missing; "
                    "running again only waits on.", **self.changes.result())
            if said != told or now - told_at >= REMIND:
                self.task.say("network: " + said)
                told, told_at = said, now
            self.api.clock.sleep(POLL)

    def remove(self, name, scene, adopt=False):
        """Attachment, then what the policies made, then the policies; the caller has seen to it that nobody uses it."""
        nad = network_state.attachment_of({"name": name}, scene)
        own = [policy for policy in scene["policies"] if network_render.is_ours(policy, name)]
        if nad is not None and not network_render.is_ours(nad, name) and not adopt:
            raise errors.Refused(
                "NetworkAttachmentDefinition %s/%s was not made for this network by this collection." % key_of(nad),
                "%s Remove it by hand, or acknowledge: [adopt]." % NOTHING)
        bodies = []
        for policy in own:
            body = network_render.policy_undone(policy)
            self._send(policy_path(), policy, body, dryRun="All")
            bodies.append((policy, body))
        if nad is not None:
            self._delete(attachment_path(*key_of(nad)), nad)
        for policy, body in bodies:
            self._write(policy_path(), policy, body)
            if not self.task.check_mode:
                nodes = nodes_of({"selector": mapping(policy, "spec", "nodeSelector")}, scene)
                if nodes:
                    self.follow(key_of(policy)[1], nodes, mapping(policy, "spec").get("maxUnavailable") or 1)
            self._delete(policy_path(key_of(policy)[1]), policy)

    def _delete(self, path, found):
        try:
            self.api.delete(path)
        except errors.NotFound:
            return
        self.changes.note("%s %s" % (text(found, "kind") or "object", "/".join(part for part in key_of(found) if part)), shown(found), {})


def shown(obj):
    """An object as a diff shows it: what we write, the configuration as the structure it is."""
    if obj is None:
        return {}
    spec = dict(mapping(obj, "spec"))
    if isinstance(spec.get("config"), str):
        try:
            spec["config"] = json.loads(spec["config"])
        except ValueError:
            pass
    return {"labels": mapping(obj, "metadata", "labels"), "annotations": {
        key: value for key, value in mapping(obj, "metadata", "annotations").items() if key == network_render.BEFORE}, "spec": spec}
