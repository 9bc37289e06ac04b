# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an embedded cluster is built from: store, resources, controllers, objects."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import crds, topology
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.clock import RealClock, SimClock
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import install
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.server import App
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.store import Store

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


@dataclass
class Options:
    """How to build a cluster.

    :param topology: name or file; None is the default one.
    :param objects: files or folders of objects to load as well.
    :param generation: KubeVirt release to play; None is the topology's.
    :param crds: folder or file of CustomResourceDefinitions that take the place of the built-in ones.
    :param clock: ``simulated`` or ``real``.
    :param idle: real seconds without a request after which the server ends.
    :param seed: of names and uids.
    :param bare: only the API: no controllers, no custom resources but those of ``crds``, no objects.
    """

    topology: str = None
    objects: tuple = ()
    generation: str = None
    crds: str = None
    clock: str = "simulated"
    idle: float = 1800
    seed: int = 0
    bare: bool = False


def build(options):
    """The :class:`~.server.App` of a cluster, ready to serve.

    :raises LiveMigrationError: when something given cannot be read or understood.
    """
    definitions = crds.load_folder(options.crds) if options.crds else []
    return _bare(options, definitions) if options.bare else _whole(options, definitions)


def _whole(options, definitions):
    wanted = topology.load(options.topology, options.objects, options.generation)
    store = _store(options, wanted.start)
    app = App(store, wanted.generation.kubernetes)
    app.world = install.cluster(store, app, wanted, definitions, options.seed)
    for note in wanted.notes:
        print(note)
    app.notes = list(wanted.notes)
    return app


def _bare(options, definitions):
    store = _store(options, time.time())
    app = App(store)
    crds.add(store, definitions)
    for path in options.objects:
        with open(path, "rb") as stream:
            for obj in crds.load_yaml(stream):
                store.create(key_of(store, obj), obj)
    return app


def key_of(store, obj):
    """The ``plural.group`` of an object's kind; KeyError when it is not served."""
    group = obj["apiVersion"].rpartition("/")[0]
    return next(resource.key for resource in store.resources.values()
                if resource.group == group and resource.kind == obj["kind"])


def _store(options, epoch):
    store = Store(SimClock(epoch) if options.clock == "simulated" else RealClock(), options.seed)
    crds.install(store)
    for name in NAMESPACES:
        store.create("namespaces", {
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}})
    return store
