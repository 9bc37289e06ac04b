# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes a store behave like a cluster with KubeVirt: kinds, objects, controllers, endpoints."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import crds, kinds, populate
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import script as scripts
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.actors import Actors
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.admission import Admission
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.budgets import Budgets
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.evacuation import Evacuation
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.guest_budgets import (
    GuestBudgets,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.guests import Guests
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.hyperconverged import (
    HyperConverged,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.kubelet import Kubelets
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.launcher_log import LauncherLog
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.metrics import Metrics
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.network_probes import (
    NetworkProbes,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.nodes import Nodes
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.quota import Quotas
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.scheduler import Scheduler
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.subresources import (
    Subresources,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.virt_controller import (
    Migrations,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.virt_handler import Handlers
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.workload_updates import (
    WorkloadUpdates,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.workloads import Workloads
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import HCO, World
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.status import ApiStatus


def prepare(store, generation, definitions=()):
    """Serve the kinds of that release.

    :param definitions: CustomResourceDefinitions (list of dict) that take the place of the built-in ones.
    """
    crds.add(store, kinds.definitions(generation))
    crds.add(store, definitions)
    store.resource(HCO).convert = kinds.converted


def install(store, api, generation, seed=0, script=()):
    """Start all controllers on what the store holds; returns the :class:`~.world.World`.

    :param script: entries of :mod:`~..script`.

    :param api: the :class:`~..server.App` that gets the endpoints; None for tests without HTTP.
    """
    world = World(store, generation, seed)
    Admission(world)
    world.scheduler = Scheduler(world)
    world.kubelets = Kubelets(world)
    world.guests = Guests(world)
    world.handlers = Handlers(world)
    world.migrations = Migrations(world)
    if generation.guest_budgets:
        world.guest_budgets = GuestBudgets(world)
    world.budgets = Budgets(world)
    Quotas(world)
    Workloads(world)
    world.evacuation = Evacuation(world, world.migrations)
    WorkloadUpdates(world, world.migrations)
    world.hyperconverged_operator = HyperConverged(world)
    world.nodes = Nodes(world)
    world.network_probes = NetworkProbes(world)
    Actors(world)
    if api is not None:
        for part in (world.evacuation, Subresources(world, world.evacuation), LauncherLog(world, world.handlers),
                     Metrics(world, world.handlers)):
            part.routes(api)
    _script(world, api, script)
    return world


def _exported_definitions(store, topology):
    """The exported cluster's own definitions of kinds that are played; what cannot be served stays built in, and is noted."""
    converted = store.resource(HCO).convert
    for crd in topology.crds:
        name = (crd.get("metadata") or {}).get("name")
        versions = (crd.get("spec") or {}).get("versions") or []
        stored = [version.get("name") for version in versions if version.get("storage")]
        if name not in store.resources or stored != [store.resources[name].version]:
            continue
        try:
            crds.add(store, [crd])
        except (ApiStatus, KeyError, TypeError, ValueError) as exc:
            topology.notes.append("The definition %s was left out: %s." % (name, str(getattr(exc, "message", exc)).rstrip(".")))
    store.resource(HCO).convert = converted


def _script(world, api, entries):
    """The script engine: its entries, and its endpoint."""
    engine = world.script = scripts.Script(world, api)
    engine.add(list(entries or ()))
    if api is not None:
        for method, answer in (("POST", engine.post), ("GET", engine.get), ("DELETE", engine.clear)):
            api.route(method, scripts.PATH, answer)


def cluster(store, api, topology, definitions=(), seed=0):
    """The whole: kinds, the objects of a :class:`~..topology.Topology`, controllers; returns the World."""
    prepare(store, topology.generation, definitions)
    if not definitions:
        _exported_definitions(store, topology)
    populate.fill(store, topology)
    return install(store, api, topology.generation, seed, topology.script)
