# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What speaks against writing live migration settings now, beyond what HyperConverged checks itself (facts 10.6)."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import hyperconverged, policies
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import (
    gitops,
    guidance,
    migration_network,
    settings,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import key_of

ATTACHMENTS = ("k8s.cni.cncf.io/v1", "network-attachment-definitions")
POLL = 15  # seconds between two looks for migrations that are under way
NOTHING = "Nothing was changed."


def check(task, version, current, plan, restoring=False, acknowledged=(), idle_timeout=None):
    """What HyperConverged does not look at before settings are written; returns warnings (sentences).

    :param current: HyperConverged as it is now.
    :param plan: a :class:`..domain.journal.Plan`.
    :param restoring: whether this puts back what was before: then an upgrade and a repository are no reason against it.
    :param acknowledged: of ``gitops``, ``post_copy`` and ``disruption``.
    :param idle_timeout: seconds to wait until no migration is under way when the network changes; None to refuse.
    :raises BadInput, Refused: nothing may be written.
    """
    gate = _Gate(task, version, restoring, acknowledged, idle_timeout)
    gate.look(current, plan)
    return gate.warnings


class _Gate:
    def __init__(self, task, version, restoring, acknowledged, idle_timeout):
        self._api, self._say, self._check_mode = task.api, task.say, task.check_mode
        self._version, self._restoring, self._acknowledged = version, restoring, acknowledged
        self._idle_timeout = idle_timeout
        self.warnings = []

    def look(self, current, plan):
        self._operators(current)
        if not self._restoring:
            self._repository(current)
            self._guests(current, plan)
        if "network" in plan.writes:
            if plan.writes["network"]:
                self._attachment(current, plan.writes["network"])
            self._quiet()

    def _operators(self, current):
        busy = settings.upgrading(current, hyperconverged.kubevirt_of(self._api, current))
        if not busy:
            return
        if not self._restoring:
            raise errors.Refused("The live migration settings cannot be changed now: %s." % busy,
                                 "%s Run again when that has ended." % NOTHING)
        self.warnings.append("Settings are put back although %s." % busy)

    def _repository(self, current):
        owners = gitops.owners(current)
        if owners and "gitops" not in self._acknowledged:
            raise errors.Refused(
                "HyperConverged %s is kept by %s, which would put its own settings back, in the middle of a migration "
                "perhaps." % (hyperconverged.name_of(current), " and ".join(owners)),
                "%s Change them in the repository, suspend its synchronization for the window, or acknowledge it: "
                "acknowledge: [gitops]." % NOTHING)

    def _guests(self, current, plan):
        """Post-copy and pausing reach guests that must not meet them (facts 4.8, 4.9)."""
        risky = [name for name in ("post_copy", "disruption") if plan.writes.get(
            {"post_copy": "allow_post_copy", "disruption": "allow_workload_disruption"}[name])]
        if not risky or set(risky) <= set(self._acknowledged):
            return
        try:
            found = policies.scene(self._api)
        except errors.Forbidden as exc:
            self.warnings.append("Which guests this endangers cannot be told. %s" % exc)
            return
        after = dict(hyperconverged.values_of(current, self._version), **plan.writes)
        concerned = guidance.endangered(found, settings.in_force(settings.written(after), found["release"]))
        if concerned:
            raise errors.Refused(
                "With %s the guests %s could be paused or lost: they have 256 GiB and more, or pages of 1 GiB, each of "
                "which would be missing as a whole." % (" and ".join("allow_post_copy" if name == "post_copy" else
                                                                     "allow_workload_disruption" for name in risky),
                                                        ", ".join(concerned[:5]) + (" ..." if concerned[5:] else "")),
                "%s Allow it by a MigrationPolicy for the guests meant, or acknowledge it: acknowledge: [%s]."
                % (NOTHING, ", ".join(risky)))

    def _attachment(self, current, network):
        home = current["metadata"]["namespace"]
        namespace, _slash, name = network.rpartition("/")
        if namespace not in ("", home):
            raise errors.BadInput(
                "network is '%s': virt-handler looks for it in its own namespace %s." % (network, home),
                "%s Create the NetworkAttachmentDefinition there and give its name alone." % NOTHING)
        found = self._attachments(home)
        if found is None:
            return
        here = next((obj for obj in found if key_of(obj) == (home, name)), None)
        if here is None:
            others = sorted(key_of(obj)[0] for obj in found if key_of(obj)[1] == name)
            raise errors.BadInput(
                "There is no NetworkAttachmentDefinition %s in namespace %s%s." % (
                    name, home, ", but there is one in %s" % ", ".join(others) if others else ""),
                "%s virt-handler would not start on the first node with it. Create it there." % NOTHING)
        refusals, warnings = migration_network.attachment_problems(here, self._handlers(current))
        if refusals:
            raise errors.Refused("NetworkAttachmentDefinition %s/%s cannot carry migrations: %s." % (
                home, name, "; ".join(refusals)), "%s Correct it first." % NOTHING)
        self.warnings += ["NetworkAttachmentDefinition %s/%s: %s" % (home, name, text) for text in warnings]

    def _attachments(self, home):
        """Those of the cluster, or where that is not allowed of the namespace; None when neither can be read."""
        for namespace in (None, home):
            try:
                return self._api.list(path_of(*ATTACHMENTS, namespace)).items
            except errors.NotFound as exc:
                raise errors.BadInput("This cluster knows no NetworkAttachmentDefinitions.",
                                      "%s Install Multus first." % NOTHING) from exc
            except errors.Forbidden as exc:
                refusal = exc
        self.warnings.append("The NetworkAttachmentDefinition could not be checked. %s" % refusal)
        return None

    def _handlers(self, current):
        try:
            daemon_set, pods = hyperconverged.handlers(self._api, current)
        except errors.Forbidden:
            return 0
        return ((daemon_set or {}).get("status") or {}).get("desiredNumberScheduled") or len(pods)

    def _quiet(self):
        """A change of the network restarts virt-handler everywhere: not while or just after a migration."""
        end, told = None, False
        while True:
            now = self._api.clock.now()
            vmims = self._api.list(path_of("kubevirt.io/v1", "virtualmachineinstancemigrations")).items
            found = migration_network.unrest(vmims, now)
            if found is None:
                return
            reason, seconds = found
            end = now + (self._idle_timeout or 0) if end is None else end
            if self._idle_timeout is not None and self._check_mode:
                self.warnings.append("It would wait: %s." % reason)
                return
            if self._idle_timeout is None or now >= end:
                raise errors.Refused(
                    "The migration network cannot be changed now: %s. The change restarts virt-handler on every node, "
                    "which ends migrations and has killed guests that had just arrived." % reason,
                    "%s Run again later, or set wait_for_idle." % NOTHING)
            if not told:
                self._say("network: waiting, " + reason)
                told = True
            self._api.clock.sleep(max(1, min(POLL if seconds is None else seconds, end - now)))
