# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Before the first migration: what is there, and everything that speaks against it.

Whatever can be known beforehand is a failure here, before anything was created.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.asked import ANYWHERE, Asked
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.moves import Move
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.watch import Watch
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import (
    causes,
    critical,
    handoff,
    migration,
    policy,
    settings,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.bonds import KEEP_APART
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_bytes, format_duration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import key_of, labels, mapping, text
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.target_pod import guest_memory

GV = "kubevirt.io/v1"
VMIS, VMIMS = "virtualmachineinstances", "virtualmachineinstancemigrations"
NODE_LABEL = "kubevirt.io/nodeName"  # every running VMI carries it; its value ends at 63 characters
BIG = 256 * 1024 ** 3  # above this nobody should wait by a default


class Survey:
    """What was found: ``moves``, the two (not yet opened) watches ``vmims`` and ``vmis``, ``nodes`` by name,
    ``limits``, ``settings`` and ``release`` of the cluster, ``network`` for migrations and the ``addresses`` in it by node.
    """

    def __init__(self, task, inbox):
        self._task, self._params, self._api, self._inbox = task, task.params, task.api, inbox
        self.asked = Asked(task)
        self.state, self.times, self.end = self.asked.state, self.asked.times, self.asked.end
        self.moves = [Move(*row) for row in self.asked.vms]
        self.release, self.settings, self.nodes = "", {}, {}
        self.network, self.addresses, self._handlers = "", None, None
        self._policies, self._namespaces = None, None
        self._partners = {}  # {(namespace, name): [(namespace, name)]} of the VMs to be kept apart from it
        self._sources = {}  # {uid of a VMIM of others: its source node, as far as that was asked for}
        if not self.moves and not self._all_of_ours():
            return
        try:
            self._read()
        except errors.NotFound as exc:
            raise errors.BadInput(
                "The cluster at %s has no KubeVirt: it does not know virtual machine instances." % self._api.host,
                "Check that the connection points to the right cluster.") from exc
        self._judge()

    def _all_of_ours(self):
        return self.state == "followed" and self._params["vms"] is None and not self._params["name"]

    # -- reading ---------------------------------------------------------------

    def _read(self):
        namespaces = {move.namespace for move in self.moves} or {self._params["namespace"]}
        only = next(iter(namespaces)) if len(namespaces) == 1 else None
        self.vmims = self._list_vmims(only)
        if self._all_of_ours():
            self.moves = self._moves_of_ours(only)
            only = self.moves[0].namespace if len({move.namespace for move in self.moves}) == 1 else only
        query = {"fieldSelector": "metadata.name=%s" % self.moves[0].name} if len(self.moves) == 1 else {}
        self.vmis = Watch(self._api, self._inbox, path_of(GV, VMIS, only), **query)
        self.vmis.list()
        if self.state != "aborted":  # which needs no more, and must not fail for want of other rights
            self._read_cluster()
        if self.state == "migrated" and self.moves:
            self._read_policies()
            self.read_addresses()

    def _read_cluster(self):
        kubevirts = self._api.list(path_of(GV, "kubevirts")).items
        if not kubevirts:
            raise errors.BadInput("The cluster at %s has the KubeVirt API but no KubeVirt object." % self._api.host,
                                  "Install OpenShift Virtualization (KubeVirt) first, or check the connection.")
        self.release = text(kubevirts[0], "status", "observedKubeVirtVersion")
        self.settings = settings.in_force(mapping(kubevirts[0], "spec", "configuration", "migrations"), self.release)
        self.limits = (self.settings["parallel_migrations_per_cluster"],
                       self.settings["parallel_outbound_migrations_per_node"])
        self.network, self._handlers = self.settings["network"], key_of(kubevirts[0])[0]
        self.nodes = {node["metadata"]["name"]: node for node in self._api.list("/api/v1/nodes").items}

    def _read_policies(self):
        """What decides which policy applies; namespaces only where a policy selects by them."""
        try:
            self._policies = self._api.list(path_of(policy.API_VERSION, "migrationpolicies")).items
            self._namespaces = {}
            if any(mapping(one, "spec", "selectors", "namespaceSelector") for one in self._policies):
                self._namespaces = None
                self._namespaces = {key_of(one)[1]: labels(one) for one in self._api.list("/api/v1/namespaces").items}
        except errors.NotFound:
            self._policies, self._namespaces = [], {}
        except errors.Forbidden as exc:
            self._task.warn(
                "Which settings the migrations will run with cannot be told beforehand, so that only the target node, "
                "and what is given as expected, is compared at handoff. %s" % exc)

    def read_addresses(self):
        """The addresses of the virt-handlers in the migration network; they change when a pod is replaced."""
        if not self.network:
            return
        try:
            pods = self._api.list(path_of("v1", "pods", self._handlers), labelSelector="kubevirt.io=virt-handler").items
            self.addresses = handoff.handler_addresses(pods)
        except errors.Forbidden as exc:
            self._task.warn("Whether the migrations keep to the migration network %s cannot be checked. %s"
                            % (self.network, exc))

    def _list_vmims(self, only):
        """All of the cluster, for the slots; with rights in one namespace only, that one: KubeVirt queues the rest."""
        for namespace in (None, only):
            watch = Watch(self._api, self._inbox, path_of(GV, VMIMS, namespace))
            try:
                watch.list()
                return watch
            except errors.Forbidden:
                if namespace == only:
                    raise
        return None

    def _moves_of_ours(self, only):
        run, found = self._params["run"], {}
        for vmim in self.vmims.objects.values():
            where = migration.vmi_key(vmim)
            if (migration.is_ours(vmim) and migration.phase(vmim) not in migration.FINAL and only in (None, where[0])
                    and run in (None, labels(vmim).get(migration.RUN_LABEL))):
                found[where] = Move(where[0], where[1], ANYWHERE)
        return list(found.values())

    # -- asked again on the way --------------------------------------------------

    def free_slots(self, source, own):
        """How many more may start out of that node; see :func:`..domain.migration.free_slots`.

        :param own: uids of the VMIMs of ours that have not ended.
        """
        vmims = self.vmims.objects.values()
        unseen = migration.unseen(vmims, self.vmis.objects, self._sources)
        if unseen and source and len(source) <= 63:
            here = self._keys_on(source)
            for vmim in unseen:
                self._sources[migration.uid(vmim)] = source if migration.vmi_key(vmim) in here else ""
        return migration.free_slots(vmims, self.vmis.objects, self.limits, source, own, self._sources)

    def _keys_on(self, node):
        """The VMIs on a node; migrations of others may move VMIs that we do not watch."""
        try:
            found = self._api.list(path_of(GV, VMIS), labelSelector="%s=%s" % (NODE_LABEL, node)).items
        except errors.ApiError:
            return ()  # KubeVirt counts them in any case, and queues ours
        return {key_of(vmi) for vmi in found}

    def partners(self, vmi):
        """The VMIs that a VMI is to be kept apart from, read anew; none without the label."""
        group = labels(vmi).get(KEEP_APART)
        if not group:
            return []
        path = path_of(GV, VMIS, key_of(vmi)[0])
        found = self._api.list(path, labelSelector="%s=%s" % (KEEP_APART, group)).items
        found = [one for one in found if key_of(one) != key_of(vmi)]
        self._partners[key_of(vmi)] = [key_of(one) for one in found]
        return found

    def partner_moving(self, move):
        """The VMIM of a partner that has not ended, or None: both sides never move at once."""
        for where in self._partners.get(move.where, ()):
            for vmim in migration.unfinished(self.vmims.objects.values(), where):
                return vmim
        return None

    def beside_partner(self, move, node):
        """Why a VM must not go to that node, as a clause: a partner runs there; None when none does."""
        vmi = self.vmis.objects.get(move.where)
        for partner in self.partners(vmi) if vmi and self._partners.get(move.where) else ():
            if node and migration.node_of(partner) == node:
                return "its partner %s/%s runs on %s, and the two are kept apart" % (key_of(partner) + (node,))
        return None

    # -- judging ---------------------------------------------------------------

    def _judge(self):
        problems = []
        for move in self.moves:
            vmi = self.vmis.objects.get(move.where)
            problem = self._absent(move) if vmi is None and not self._all_of_ours() else None
            if vmi is not None:
                move.before, move.source, move.memory = migration.uid(vmi), migration.node_of(vmi), guest_memory(vmi)
                move.critical = critical.is_critical_vmi(vmi, self.asked.critical)
                problem = self._vmi_problem(vmi) or self._move_problem(move, vmi) if self.state == "migrated" else None
                self._compare_uid(move)
            if problem:
                problems.append((move, problem))
        if problems:
            raise _several(problems)
        if self.state != "migrated":
            self._find_unfinished()
        elif any(move.outcome is None for move in self.moves):
            self._judge_limits()

    def _compare_uid(self, move):
        planned = self.asked.uids.get(move.where)
        if planned and planned != move.before:
            self._task.warn("VM %s is another instance than when it was listed: it was restarted meanwhile." % move)

    def _absent(self, move):
        try:
            vm = self._api.get(path_of(GV, "virtualmachines", move.namespace, move.name))
        except errors.NotFound:
            return ("there is no such VM", "Check name and namespace.")
        except errors.Forbidden:
            return ("it does not run, if it exists at all: that cannot be told without the right to get virtualmachines.kubevirt.io",
                    "Check name and namespace.")
        if self.state != "migrated":
            return None
        said = (vm.get("status") or {}).get("printableStatus") or "not running"
        return ("it is not running (%s), so there is nothing to migrate live" % said,
                "Start it first; it will then be placed on a suitable node anyway.")

    @staticmethod
    def _vmi_problem(vmi):
        status = vmi.get("status") or {}
        if vmi["metadata"].get("deletionTimestamp"):
            return ("it is being stopped", "Wait until it has stopped or is running again.")
        if status.get("phase") != "Running" or not status.get("nodeName"):
            return ("it is not running (phase %s)" % (status.get("phase") or "unknown"),
                    "Wait until it runs, or look at its conditions.")
        return None

    def _move_problem(self, move, vmi):
        problem = self._place_problem(move.place)
        if problem:
            return problem
        here = labels(self.nodes.get(move.source))
        under_way = migration.unfinished(self.vmims.objects.values(), move.where)
        if migration.is_there(move.place, move.source, here) and not under_way:
            move.outcome = "already_there"
            return None
        computed = self._compute(move, vmi)
        move.selector = migration.added_selector(move.place, self.nodes)
        if under_way:  # the gate at handoff judges one that runs already by what it runs with
            return self._size_problem(move) or self.adopt(move, under_way[0])
        return (self._target_problem(move) or self._size_problem(move) or self._settings_problem(move, computed)
                or self._partner_problem(move, vmi))

    def _compute(self, move, vmi):
        """What the migration would run with now, and what is expected of it; None when that cannot be told."""
        move.expected = self.asked.expected.get(move.where)
        move.settings = dict(self.settings)
        if self._policies is None:
            return None
        try:
            move.settings, computed = handoff.in_force(
                vmi, self._policies, self._namespaces, self.settings, self.release)
        except LookupError as exc:
            self._task.warn("Which settings VM %s will run with cannot be told: policy %s selects by labels of "
                            "namespaces, which cannot be read." % (move, exc))
            return None
        move.expected = move.expected or computed
        return computed

    def _settings_problem(self, move, computed):
        """What is in force is not what is expected, or would endanger a critical guest."""
        if self.asked.assumed:
            move.settings = handoff.held(move.settings, self.asked.assumed)
        elif computed is not None:
            wrong = handoff.differences(
                {"migrationPolicyName": computed.policy, "migrationConfiguration": settings.written(move.settings)},
                handoff.known(move.expected))
            if wrong:
                return _clause(causes.not_as_planned(wrong, "now"))
        else:
            return None  # the gate at handoff sees it
        dangers = self.dangers(move, move.settings)
        return _clause(causes.dangerous(dangers)) if dangers else None

    def adopt(self, move, vmim):
        """Follow a migration that is under way, if it leads to the place; else why not, ``(message, remedy)``."""
        state = migration.migration_state(self.vmis.objects[move.where], migration.uid(vmim), vmim)
        unfit = migration.fits(vmim, state, move.place, self.nodes)
        if unfit:
            whose = "an earlier run" if migration.is_ours(vmim) else "somebody else"
            return ("%s is migrating it already (%s, phase %s), and that migration %s"
                    % (whose, vmim["metadata"]["name"], migration.phase(vmim) or "new", unfit),
                    "Wait until it has ended, or cancel it with state=aborted.")
        move.follow(vmim)
        move.adopted, move.late = True, bool(state)
        return None

    def _partner_problem(self, move, vmi):
        """Both sides of a pair are never on one node; that they never move at once is waited for."""
        self.partners(vmi)
        beside = move.place.node and self.beside_partner(move, move.place.node)
        return (beside, "Choose another target.") if beside else None

    def dangers(self, move, values):
        """What a critical guest would meet with these settings and nobody acknowledged."""
        if not move.critical:
            return []
        return [one for one in critical.dangers(values, self.release) if one not in self.asked.acknowledged]

    def _place_problem(self, place):
        named = ([place.node] if place.node else []) + list(place.away_from)
        unknown = [name for name in named if name not in self.nodes]
        if unknown:
            return ("node %s does not exist" % ", ".join(unknown), "The nodes are %s." % _listed(self.nodes))
        return None

    def _target_problem(self, move):
        if move.place.node:
            problem = migration.node_problem(self.nodes[move.place.node])
            if not problem and self.addresses is not None and not self.addresses.get(move.place.node):
                problem = "has no address in the migration network %s (look at virt-handler there)" % self.network
            return problem and ("its target node %s %s" % (move.place.node, problem),
                                "Choose another target, or repair this one.")
        if move.place.selector:
            fitting = [name for name, node in self.nodes.items() if name != move.source
                       and migration.is_there(move.place, name, node["metadata"].get("labels") or {})]
            if not any(migration.node_problem(self.nodes[name]) is None for name in fitting):
                return ("no other usable node has the labels of target_node_selector",
                        "Nodes with them: %s." % (_listed(fitting) or "none"))
        return None

    def _size_problem(self, move):
        if move.memory <= BIG or self.times["timeout"] or self.end:
            return None
        granted = settings.budget_seconds(move.settings["completion_timeout_per_gib"], move.memory)
        return ("it has %s and KubeVirt grants it %s: that must not be waited for by default"
                % (format_bytes(move.memory), format_duration(granted) if granted else "unlimited time"),
                "Give timeout (for example 4h) or deadline (for example 2026-11-22T04:30:00+01:00).")

    def _find_unfinished(self):
        moves = []
        for move in self.moves:
            found = migration.unfinished(self.vmims.objects.values(), move.where)
            for index, vmim in enumerate(found):
                if index:  # more than one: KubeVirt queues a second one in a race
                    move = move.again()
                move.follow(vmim)
                move.adopted = True
                moves.append(move)
            if not found:
                move.outcome = "nothing_under_way"
                moves.append(move)
        self.moves = moves

    def _judge_limits(self):
        for value, name in zip(self.limits, ("parallelMigrationsPerCluster", "parallelOutboundMigrationsPerNode")):
            if value < 1:
                raise errors.Refused("%s is %s: no migration would ever start." % (name, value),
                                     "Set it to 1 or more (hco_live_migration_config), then run again.")


def _clause(cause):
    return cause["message"], cause["remedy"]


def _several(problems):
    lines = ["VM %s cannot be migrated: %s." % (move, message) for move, (message, _remedy) in problems]
    shown = lines if len(lines) <= 10 else lines[:10] + ["And %d more." % (len(lines) - 10)]
    remedies = list(dict.fromkeys(remedy for _move, (_message, remedy) in problems))
    return errors.BadInput(" ".join(shown + ["Nothing was created."]), " ".join(remedies[:3]), problems=lines)


def _listed(names):
    names = sorted(names)
    return ", ".join(names[:10]) + (" and %d more" % (len(names) - 10) if len(names) > 10 else "")
