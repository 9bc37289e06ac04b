# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a rehearsal cluster consists of: a topology file, its generator, and objects exported from a real cluster.

A topology is YAML. Everything is optional::

    description: one line
    extends: default                   # another topology; what is said here takes the place of what it says,
                                       # but objects, pods and script are added to what it has
    change: {hana-prod: {fail: restart}}                   # other values for nodes, VMs and pods of these names
    generation: "1.9"                  # KubeVirt release
    start: 2026-11-21T20:00:00+00:00   # the simulated clock's first instant
    live_migration:                    # HyperConverged's block, in the API's own words
      bandwidthPerMigration: 64Mi
    eviction_strategy: LiveMigrate     # cluster-wide
    network: {name: migration-net, range: 10.200.5.0/24}   # a migration network that could be used; used when
                                                           # live_migration.network names it
    nodes:
      - names: [hana-a, hana-b]        # or name: for one, or prefix: and count:
        memory: 6Ti                    # all of it; huge pages are taken from it
        hugepages_1gi: 5Ti             # also hugepages_2mi
        cpus: 224
        cpu_manager: true              # dedicated CPUs can be had
        link: 100G                     # bits/s in each direction
        nics: [{name: ens4f0, max_mtu: 9978, speed: 100000}]   # its free cards, also state, mtu, address, dhcp, controller;
                                       # a node with this key brings NMState along
        labels: {}                     # added to those that every node has
        taints: []
        annotations: {}
        cordoned: false
    vms:
      - name: hana-prod                # count: 20 makes name-01 ... name-20
        namespace: sap-prod
        node: hana-a                   # a list is used in turn; without it the VM is stopped
        memory: 3Ti
        cpus: 96
        hugepages: 1Gi
        dedicated_cpus: true
        disk: 500Gi
        access: ReadWriteMany
        dirty_rate: 150M               # bytes/s it rewrites
        working_set: 120Gi             # of this much of its memory
        zero_fraction: 0.1             # memory it never touched
        fail: restart                  # an injected failure, see controllers/virt_handler.py
        eviction_strategy: LiveMigrate
        labels: {}
        annotations: {}
        node_selector: {}
        tolerations: []
        model: host-model
        cpu_features: [vmx]            # that it requires
        cpu_limit: 4                   # an explicit limit, which switches multifd off
    pods:                              # other pods, see ordinary_pods.py
      - name: web
        namespace: portal
        kind: ReplicaSet               # or StatefulSet, DaemonSet, Mirror, Bare, Finished
        node: hana-a                   # a list is used in turn; without it all nodes
        count: 3
        memory: 1Gi
        cpus: 1
        grace: 30                      # seconds it takes to end
        empty_dir: true
        budget: {minAvailable: 2}      # a PodDisruptionBudget
        labels: {}
    kinds: [NodeMaintenance]           # kinds of platform_kinds.py to serve though there is no object of them
    script: []                         # what others do meanwhile, see script.py
    objects: []                        # any further objects, as Kubernetes has them

Objects of a real cluster (``--objects``) may be single documents, multi-document
YAML, JSON, or Lists, with everything a server sets. What is missing around them
(namespaces, nodes, pods and claims of guests, KubeVirt's own parts) is filled in
by :mod:`.populate`; what cannot be used is named in :attr:`Topology.notes`. The
file of a whole cluster that cluster_export made is read the same way; the
definitions in it take the place of the built-in ones.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import export
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import crds, generations

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "topologies")
CORE = ("Namespace", "Node", "Pod", "PersistentVolume", "PersistentVolumeClaim", "ResourceQuota", "Service")
START = "2026-11-21T20:00:00+00:00"
KEYS = ("description", "generation", "start", "live_migration", "eviction_strategy", "network", "nodes", "vms",
        "pods", "kinds", "script", "objects")
ADDED = ("objects", "pods", "script")
NODE_KEYS = ("memory", "cpus", "hugepages_1gi", "hugepages_2mi", "cpu_manager", "link", "labels", "taints",
             "annotations", "cordoned", "nics")
VM_KEYS = ("name", "namespace", "node", "memory", "cpus", "hugepages", "dedicated_cpus", "disk", "access", "dirty_rate",
           "working_set", "zero_fraction", "fail", "eviction_strategy", "labels", "annotations",
           "node_selector", "tolerations", "affinity", "model", "cpu_features", "machine_type", "cpu_limit", "count", "data_volume")
POD_KEYS = ("name", "namespace", "kind", "node", "count", "memory", "cpus", "grace", "empty_dir", "budget", "labels")
SCALE = re.compile(r"^scale:(\d+)x(\d+)$")


@dataclass
class Topology:
    """A cluster to build, not built yet.

    :ivar nodes: list of ``{name, ...}`` with :data:`NODE_KEYS`.
    :ivar vms: list of ``{name, namespace, node (None: stopped), ...}`` with :data:`VM_KEYS`.
    :ivar pods: list of dict with :data:`POD_KEYS`.
    :ivar kinds: names of kinds to serve.
    :ivar script: entries of :mod:`.script`.
    :ivar objects: raw objects.
    :ivar crds: CustomResourceDefinitions of the exported cluster.
    :ivar notes: sentences about what was left out, and why.
    """

    generation: generations.Generation
    start: float
    live_migration: dict = field(default_factory=dict)
    eviction_strategy: str = "LiveMigrate"
    network: dict = None
    nodes: list = field(default_factory=list)
    vms: list = field(default_factory=list)
    pods: list = field(default_factory=list)
    kinds: list = field(default_factory=list)
    script: list = field(default_factory=list)
    objects: list = field(default_factory=list)
    crds: list = field(default_factory=list)
    notes: list = field(default_factory=list)


def names():
    """The topologies that come with the collection."""
    return sorted(entry[:-4] for entry in os.listdir(HERE) if entry.endswith(".yml"))


def load(source=None, objects=(), generation=None):
    """The :class:`Topology` of a name, ``scale:<nodes>x<vms>`` or file, and of files of objects.

    :param source: None is ``default``, or nothing at all when there are ``objects``.
    :param objects: paths of files or directories with Kubernetes objects.
    :param generation: overrides the topology's.
    :raises BadInput: when something cannot be read or understood.
    """
    raw, definitions = [], []
    for path in objects:
        raw += read_objects(path, definitions)
    document = _document(source if source or objects else "default")
    unknown = sorted(set(document) - set(KEYS))
    if unknown:
        raise BadInput("The topology %s has unknown keys: %s." % (source, ", ".join(unknown)),
                       "Known are: %s." % ", ".join(KEYS))
    raw += [_object(obj, "the key objects of %s" % source) for obj in document.get("objects") or []]
    try:
        known = generations.of(generation or document.get("generation") or _generation_of(raw))
    except ValueError as exc:
        raise BadInput("%s." % exc, "Choose one of them.") from exc
    return Topology(
        generation=known, start=from_timestamp(document.get("start") or START),
        live_migration=document.get("live_migration") or {}, network=document.get("network"),
        eviction_strategy=document.get("eviction_strategy", "LiveMigrate"),
        nodes=list(_nodes(document.get("nodes") or [])), vms=list(_vms(document.get("vms") or [])), objects=raw,
        pods=list(_pods(document.get("pods") or [])), kinds=list(document.get("kinds") or []),
        script=list(document.get("script") or []), crds=definitions,
    )


def _document(source):
    if source is None:
        return {}
    scale = SCALE.match(source)
    if scale:
        return _scaled(int(scale.group(1)), int(scale.group(2)))
    path = source if os.path.sep in source or os.path.exists(source) else os.path.join(HERE, source + ".yml")
    documents = _parsed(path, "A topology is a file, one of %s, or scale:<nodes>x<vms>." % ", ".join(names()))
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise BadInput("The topology %s is not one YAML mapping." % source, "See the head of topology.py for its form.")
    said = documents[0]
    base, changes = said.pop("extends", None), said.pop("change", None) or {}
    if base:
        below = _document(base)
        more = {key: (below.get(key) or []) + (said[key] or []) for key in ADDED if key in said}
        said = dict(dict(below, **said), **more)
    for key in ("nodes", "vms", "pods") if changes else ():
        said[key] = [other for entry in said.get(key) or [] for other in _altered(entry, changes)]
    known = {name for key in ("nodes", "vms", "pods") for entry in said.get(key) or []
             for name in [entry.get("name")] + list(entry.get("names") or ())} if changes else set()
    if set(changes) - known:
        raise BadInput("The topology %s changes %s, which it does not have." % (source, ", ".join(sorted(set(changes) - known))),
                       "Known are: %s." % ", ".join(sorted(filter(None, known))))
    return said


def _altered(entry, changes):
    """An entry with the values that ``change`` has for it; names that share it go their own way."""
    own = [name for name in entry.get("names") or () if name in changes]
    if own:
        yield dict(entry, names=[name for name in entry["names"] if name not in own])
        for name in own:
            yield dict(entry, names=[name], **changes[name])
    else:
        yield dict(entry, **(changes.get(entry.get("name")) or {}))


def _parsed(path, remedy):
    """The documents of a YAML or JSON file; lists are unfolded, times stay text."""
    try:
        with open(path, "rb") as stream:
            return crds.load_yaml(stream)
    except OSError as exc:
        raise BadInput("Cannot read %s: %s." % (path, exc.strerror or exc), remedy) from exc
    except Exception as exc:  # the parser's own errors; importing it for their class alone is not worth it
        _refuse_cut_off(path)
        raise BadInput("%s does not parse: %s." % (path, str(exc).replace("\n", " ")), remedy) from exc


def _refuse_cut_off(path):
    with open(path, "rb") as stream:
        if export.FAMILY.encode() in stream.read(200):
            raise BadInput("The export %s ends in the middle: it was cut off." % path,
                           "Copy the file again, or export the cluster once more.")


def read_objects(path, definitions=None):
    """All Kubernetes objects of a file, or of the YAML and JSON files of a directory; Lists and exports are unfolded.

    :param definitions: a list that the CustomResourceDefinitions of an export are added to.
    :raises BadInput: naming the file.
    """
    files = [path]
    if os.path.isdir(path):
        names_there = sorted(name for name in os.listdir(path) if name.endswith((".yaml", ".yml", ".json")))
        files = [os.path.join(path, name) for name in names_there]
    found = []
    for name in files:
        documents = _parsed(name, "Export objects as YAML or JSON, for example with 'oc get -o yaml'.")
        for document in documents:
            if not export.is_export(document):
                found.append(_object(document, name))
                continue
            wrong = export.problem(document)
            if wrong:
                raise BadInput("The export %s cannot be used: %s." % (name, wrong[0]), wrong[1])
            found += [_object(obj, name) for obj in document["objects"]]
            if definitions is not None:
                definitions += document["crds"]
    return found


def _object(document, where):
    if isinstance(document, dict) and document.get("kind") in CORE and not document.get("apiVersion"):
        document = dict(document, apiVersion="v1")  # an item cut out of a list
    if not isinstance(document, dict) or not document.get("kind") or not document.get("apiVersion") or not isinstance(
            document.get("metadata"), dict):
        raise BadInput("%s holds something that is no Kubernetes object." % where,
                       "Every document needs apiVersion, kind and metadata.")
    return document


def _generation_of(objects):
    """The release that exported objects speak of, None when they do not."""
    for obj in objects:
        status = obj.get("status") or {}
        version = status.get("observedKubeVirtVersion") or status.get("operatorVersion")
        if obj["kind"] == "KubeVirt" and re.match(r"v?1\.\d+", str(version)):
            return version
    if any(obj["apiVersion"] == "hco.kubevirt.io/v1" for obj in objects):
        return "1.9"
    return None


def _nodes(entries):
    for entry in entries:
        entry = dict(entry)
        if "names" in entry and not entry["names"]:
            continue
        if entry.get("prefix"):
            found = ["%s-%d" % (entry["prefix"], index) for index in range(1, int(entry.get("count", 1)) + 1)]
        else:
            found = entry.get("names") or [entry.get("name")]
        kept = {key: value for key, value in entry.items() if key in NODE_KEYS}
        _refuse_unknown("node %s" % found[0], entry, NODE_KEYS + ("name", "names", "prefix", "count"))
        for name in found:
            yield dict(kept, name=name)


def _vms(entries):
    for entry in entries:
        _refuse_unknown("vm %s" % entry.get("name"), entry, VM_KEYS)
        count = entry.get("count")
        on = entry.get("node")
        on = on if isinstance(on, list) else [on]
        kept = dict({"namespace": "default"}, **{key: value for key, value in entry.items() if key != "count"})
        for index in range(int(count or 1)):
            name = "%s-%02d" % (entry["name"], index + 1) if count else entry["name"]
            yield dict(kept, name=name, node=on[index % len(on)])


def _pods(entries):
    for entry in entries:
        _refuse_unknown("pods %s" % entry.get("name"), entry, POD_KEYS)
        yield dict({"namespace": "default"}, **entry)


def _refuse_unknown(what, entry, known):
    unknown = sorted(set(entry) - set(known))
    if unknown or not (entry.get("name") or entry.get("names") or entry.get("prefix")):
        raise BadInput("The %s has %s." % (what, "unknown keys: " + ", ".join(unknown) if unknown else "no name"),
                       "See the head of topology.py.")


def _scaled(nodes, vms):
    """A big cluster: ordinary nodes, small VMs of four sizes spread evenly."""
    found = ["node-%03d" % (index + 1) for index in range(nodes)]
    return {
        "generation": generations.DEFAULT,
        "nodes": [{"names": found, "memory": "2Ti", "cpus": 128, "link": "25G"}],
        "vms": [
            {"name": "vm-%05d" % (index + 1), "namespace": "project-%03d" % (index % 100), "node": found[index % nodes],
             "memory": ("4Gi", "8Gi", "16Gi", "32Gi")[index // nodes % 4], "cpus": 4, "data_volume": False,
             "dirty_rate": "20M", "working_set": "1Gi"}
            for index in range(vms)
        ] if nodes else [],
    }
