# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fills an empty store with a topology, and completes what exported objects leave out."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import target_pod
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.settings import PLACES, nested
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import (
    crds,
    objects,
    ordinary_pods,
    platform_kinds,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import target_pods
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.kubelet import address, running
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.migratability import (
    conditions,
    local_disks,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    CREATED_BY,
    DAEMON_SETS,
    HCO,
    KUBEVIRT,
    NODE_LABEL,
    VM,
    VMI,
    is_active,
    phase_of,
    set_condition,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.status import ApiStatus

# The order in which exported objects are stored, so that what refers to a uid comes after it.
ORDER = ("Namespace", "Node", "StorageClass", "PersistentVolume", "DataVolume", "PersistentVolumeClaim",
         "VirtualMachine", "VirtualMachineInstance", "DaemonSet", "Pod")
LAST = ("VirtualMachineInstanceMigration",)


def fill(store, topology):
    """Create everything; what could not be used is appended to ``topology.notes``."""
    Filler(store, topology).fill()


class Filler:
    """One run of :func:`fill`."""

    def __init__(self, store, topology):
        self.store = store
        self.topology = topology
        self.generation = topology.generation
        self.now = store.timestamp()
        self.uids = {}
        self.config = {}
        self.nics = {}

    def fill(self):
        """See :func:`fill`."""
        self._namespace(objects.HCO_NAMESPACE)
        for kind in self.topology.kinds:
            self._serve(kind)
        self._exported()
        for index, node in enumerate(self.topology.nodes):
            self._node(index, dict(node))
        self._hyperconverged()
        self._kubevirt()
        self._roles()
        self._missing_nodes()
        self._node_networks()
        self._complete_all()
        for vm in self.topology.vms:
            self._guest(vm)
        self._handlers()
        self._network()
        ordinary_pods.add(self.store, self.topology.pods)

    def _serve(self, kind):
        if kind not in platform_kinds.KINDS:
            raise BadInput("The topology wants the kind %s, which is not known." % kind,
                           "Known are: %s." % ", ".join(sorted(platform_kinds.KINDS)))
        platform_kinds.serve(self.store, kind)

    # -- exported objects ------------------------------------------------------

    def _exported(self):
        rank = {kind: index for index, kind in enumerate(ORDER)}
        rank.update({kind: len(ORDER) + 1 for kind in LAST})
        for obj in sorted(self.topology.objects, key=lambda obj: rank.get(obj["kind"], len(ORDER))):
            if _made_anew(obj):
                continue
            why = self._unusable(obj)
            if why:
                self._note(obj, why)
            else:
                self._store_exported(obj)

    def _unusable(self, obj):
        kind, spec = obj["kind"], obj.get("spec") or {}
        if kind in ("CustomResourceDefinition", "Event"):
            return "kinds are given with --crds, and events are history"
        if kind == "VirtualMachineInstance" and not isinstance((spec.get("domain") or {}).get("devices"), dict):
            return "a guest without spec.domain.devices cannot be played"
        if kind == "VirtualMachineInstanceMigration" and not spec.get("vmiName"):
            return "a migration without spec.vmiName cannot be played"
        if kind == "KubeVirt" and self.store.list(KUBEVIRT):
            return "there is one KubeVirt already"
        if kind == "KubeVirt" and obj["metadata"].get("namespace") != objects.HCO_NAMESPACE and any(
                other["kind"] == "HyperConverged" for other in self.topology.objects):
            return "HyperConverged makes its own KubeVirt"
        return None

    def _store_exported(self, obj):
        obj = _renamed(obj, self.uids)
        meta = obj["metadata"] = dict(obj.get("metadata") or {})
        old_uid = meta.pop("uid", None)
        try:
            key = crds_key(self.store, obj)
            resource = self.store.resource(key)
            if resource.namespaced:
                fallback = objects.HCO_NAMESPACE if key in (HCO, KUBEVIRT) else "default"
                meta.setdefault("namespace", fallback)
                self._namespace(meta["namespace"])
            if self.store.get(key, meta.get("namespace") if resource.namespaced else "", meta.get("name")) is not None:
                if key == "namespaces":
                    self.store.modify(key, "", meta["name"], lambda new: new["metadata"].setdefault("labels", {}).update(
                        meta.get("labels") or {}))
                else:
                    self._note(obj, "it exists already")
                return
            if key == VMI:
                meta.setdefault("annotations", {})
                state = obj.setdefault("status", {})
                state.setdefault("phase", "Running" if state.get("nodeName") else "Pending")
            if key == "pods" and _stripped(obj):
                obj["status"] = dict(obj["status"])
                running(obj, self.now, address(old_uid or "0" * 8))
            made = self.store.create(key, obj)
        except ApiStatus as exc:
            self._note(obj, exc.message)
            return
        if old_uid:
            self.uids[old_uid] = made["metadata"]["uid"]

    def _note(self, obj, why):
        meta = obj.get("metadata") or {}
        name = "/".join(part for part in (meta.get("namespace"), meta.get("name")) if part)
        self.topology.notes.append("%s %s was left out: %s." % (obj["kind"], name or "?", why.rstrip(".")))

    # -- KubeVirt itself -------------------------------------------------------

    def _namespace(self, name):
        if self.store.get("namespaces", "", name) is None:
            self.store.create("namespaces", objects.namespace(name))

    def _hyperconverged(self):
        if not self.store.list(HCO):
            version = self.generation.hco_storage
            block = nested(dict(self.topology.live_migration), version)
            strategy = self.topology.eviction_strategy
            holder = block["spec"]
            for part in PLACES[version][1:-1]:
                holder = holder[part]
            if strategy:
                holder["evictionStrategy"] = strategy
            self.store.create(HCO, dict({
                "apiVersion": "hco.kubevirt.io/" + version, "kind": "HyperConverged",
                "metadata": {"name": objects.HCO_NAME, "namespace": objects.HCO_NAMESPACE},
            }, **block))

    def _kubevirt(self):
        """KubeVirt as HyperConverged has left it, everything deployed."""
        from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import hyperconverged

        hyperconverged.settle(self.store, self.generation, self.now)
        found = self.store.list(KUBEVIRT)
        self.config = ((found[0].get("spec") or {}).get("configuration") or {}) if found else {}

    def _roles(self):
        for role in objects.cluster_roles(self.generation):
            if self.store.get("clusterroles.rbac.authorization.k8s.io", "", role["metadata"]["name"]) is None:
                self.store.create("clusterroles.rbac.authorization.k8s.io", role)

    def _handlers(self):
        """virt-handler's DaemonSet and one pod on every node that has none."""
        migrations = self.config.get("migrations") or {}
        nodes = self.store.list("nodes")
        daemons = [ds for ds in self.store.list(DAEMON_SETS) if ds["metadata"]["name"] == "virt-handler"]
        daemon = daemons[0] if daemons else self.store.create(
            DAEMON_SETS, objects.daemon_set(len(nodes), migrations.get("network")))
        present = {pod["spec"].get("nodeName") for pod in self.store.list("pods", selector="kubevirt.io=virt-handler")}
        for index, node in enumerate(nodes):
            if node["metadata"]["name"] not in present:
                self._handler(daemon, node["metadata"]["name"], index, migrations.get("network"))

    def _handler(self, daemon, node, index, network):
        pod = objects.handler_pod(daemon, node, index if network else None, network)
        running(pod, self.now, "10.128.%d.%d" % (200 + index // 250, 2 + index % 250))
        self.store.create("pods", pod)

    def _network(self):
        if self.topology.network:
            self.store.create("network-attachment-definitions.k8s.cni.cncf.io",
                              objects.attachment_definition(self.topology.network))

    def _node_networks(self):
        """NMState, and what it says of each node's cards."""
        from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import nmstate

        if self.nics or nmstate.POLICIES in self.store.resources:
            nmstate.populate(self.store, self.nics)

    # -- nodes and guests ------------------------------------------------------

    def _node(self, index, entry):
        entry = {key: value for key, value in entry.items() if value is not None}
        if "nics" in entry:
            self.nics[entry["name"]] = entry.pop("nics")
        if self.store.get("nodes", "", entry["name"]) is None:
            self.store.create("nodes", objects.node(
                generation=self.generation, number=index + 1, since=self.now, **entry))

    def _missing_nodes(self):
        """Nodes that exported guests run on but nobody exported: big enough for all guests twice."""
        guests, places = self.store.list(VMI), {}
        for vmi in guests:
            name = (vmi.get("status") or {}).get("nodeName")
            if name:
                places.setdefault(name, []).append(vmi)
        for pod in self.store.list("pods"):
            if pod["spec"].get("nodeName"):
                places.setdefault(pod["spec"]["nodeName"], [])
        for index, (name, here) in enumerate(sorted(places.items())):
            known = self.store.get("nodes", "", name)
            if known is None:
                self._node(len(self.topology.nodes) + index, dict(node_for(here or guests), name=name))
            elif not any("kubevirt.io" in key for key in known["metadata"].get("labels") or {}):
                self.store.modify("nodes", "", name, self._label)

    def _label(self, node):
        """What KubeVirt would have put on a node that was exported without it."""
        meta = node["metadata"]
        meta["labels"] = dict(objects.node_labels(meta["name"], self.generation, False), **(meta.get("labels") or {}))

    def _guest(self, entry):
        entry = {key: value for key, value in entry.items() if value is not None}
        name, ns, where = entry["name"], entry["namespace"], entry.get("node")
        self._namespace(ns)
        modes = [entry.get("access", "ReadWriteMany")]
        size = entry.get("disk", "100Gi")
        disk, with_dv = name + "-disk", entry.get("data_volume", True)
        dv = with_dv and self.store.create("datavolumes.cdi.kubevirt.io", objects.data_volume(disk, ns, size, modes))
        pvc = self.store.create("persistentvolumeclaims", objects.claim(disk, ns, size, modes, dv))
        entry.setdefault("machine_type", self.generation.machine_types[0])
        given = ("cpus", "hugepages", "dedicated_cpus", "machine_type", "model", "eviction_strategy", "node_selector",
                 "tolerations", "affinity", "cpu_limit", "cpu_features")
        spec = objects.guest_spec(name, entry["memory"], claim=disk, data_volume=with_dv,
                                  **{key: entry[key] for key in given if key in entry})
        knobs = objects.knobs(**{key: entry.get(key) for key in ("dirty_rate", "working_set", "zero_fraction", "fail")})
        annotations = dict(knobs, **(entry.get("annotations") or {}))
        vm = self.store.create(VM, objects.virtual_machine(
            name, ns, spec, entry.get("labels"), annotations, bool(where)))
        if where:
            vmi = objects.instance(vm, "Running")
            started(vmi, where, {disk: pvc}, self.now, self.generation, self.config)
            self._place(self.store.create(VMI, vmi))

    def _complete_all(self):
        pods = {}
        for pod in self.store.list("pods"):
            pods.setdefault((pod["metadata"].get("labels") or {}).get(CREATED_BY), []).append(pod)
        for vmi in self.store.list(VMI):
            self._complete(vmi, pods.get(vmi["metadata"]["uid"], ()))

    def _complete(self, vmi, own):
        """Pods, claims and conditions of an exported guest; ``own`` are the pods it has."""
        status = vmi.get("status") or {}
        if phase_of(vmi) != "Running" or not status.get("nodeName"):
            return
        for volume in vmi["spec"].get("volumes") or []:
            self._claim(vmi, volume)
        where = status["nodeName"]
        if not any(is_active(pod) and pod["spec"].get("nodeName") == where for pod in own):
            self._place(vmi)
        if not any(row.get("type") == "LiveMigratable" for row in status.get("conditions") or []):
            node = self.store.get("nodes", "", where)
            found = conditions(vmi, node, self.config, self.generation, self.now)
            self.store.modify(VMI, vmi["metadata"]["namespace"], vmi["metadata"]["name"], lambda new: [
                set_condition(new, now=self.now, **row) for row in found])

    def _claim(self, vmi, volume):
        name, ns = objects.claimed(volume), vmi["metadata"]["namespace"]
        if not name or self.store.get("persistentvolumeclaims", ns, name) is not None:
            return
        known = next((row.get("persistentVolumeClaimInfo") or {} for row in vmi["status"].get("volumeStatus") or []
                      if row.get("name") == volume.get("name")), {})
        size = (known.get("requests") or {}).get("storage") or "100Gi"
        modes = known.get("accessModes") or ["ReadWriteMany"]
        self.store.create("persistentvolumeclaims", objects.claim(name, ns, size, modes))

    def _place(self, vmi):
        """The running pod of a running guest."""
        where = vmi["status"]["nodeName"]
        pod = target_pods.launcher(vmi, self.generation, self.config)
        pod["spec"]["nodeName"] = where
        running(pod, self.now, address(vmi["metadata"]["uid"]))
        made = self.store.create("pods", pod)
        self.store.modify(VMI, vmi["metadata"]["namespace"], vmi["metadata"]["name"],
                          lambda new: new["status"].update(activePods={made["metadata"]["uid"]: where}))


def started(vmi, where, claims, now, generation, config):
    """Give a VMI (dict, in place) the status of one that runs on ``where``."""
    memory = vmi["spec"]["domain"].get("memory") or {}
    guest = memory.get("guest") or str(target_pod.guest_memory(vmi))
    vmi["metadata"]["labels"][NODE_LABEL] = where
    vmi["status"] = {
        "phase": "Running", "nodeName": where, "qosClass": "Burstable", "runtimeUser": 107,
        "launcherContainerImageVersion": "virt-launcher:" + generation.kubevirt, "migrationTransport": "Unix",
        "machine": {"type": (vmi["spec"]["domain"].get("machine") or {}).get("type", "q35")},
        "memory": {"guestAtBoot": guest, "guestCurrent": guest, "guestRequested": guest},
        "volumeStatus": objects.volume_status(vmi["spec"], claims),
        "phaseTransitionTimestamps": [
            {"phase": phase, "phaseTransitionTimestamp": now}
            for phase in ("Pending", "Scheduling", "Scheduled", "Running")
        ],
        "conditions": [objects.condition("Ready", True, since=now, probe=True)],
        "virtualMachineRevisionName": "revision-start-vm-%s-1" % vmi["metadata"]["ownerReferences"][0]["uid"]
        if vmi["metadata"].get("ownerReferences") else "",
    }
    for row in conditions(vmi, None, config, generation, now):
        set_condition(vmi, now=now, **row)
    vmi["status"]["migrationMethod"] = "BlockMigration" if local_disks(vmi) else "LiveMigration"


def node_for(guests):
    """What an invented node needs for these guests: ``{memory, cpus, hugepages_1gi, ...}``."""
    plain = pages = small = cpus = 0
    for vmi in guests:
        size = target_pod.guest_memory(vmi)
        kind = target_pod.page_size(vmi)
        pages, small = pages + (size if kind == "1Gi" else 0), small + (size if kind == "2Mi" else 0)
        plain += 0 if kind else size
        cpus += target_pod.vcpus(vmi)
    gib = 1024 ** 3
    room = {"hugepages_1gi": "%dGi" % (2 * pages // gib), "hugepages_2mi": "%dMi" % (2 * small // gib * 1024)}
    total = 2 * pages + 2 * small + max(2 * plain, 256 * gib)
    return dict(room, memory="%dGi" % (total // gib), cpus=max(64, 2 * cpus),
                cpu_manager=any(target_pod.dedicated_cpus(vmi) for vmi in guests))


def _stripped(pod):
    """Whether a pod runs but has no address: exports carry none."""
    status = pod.get("status") or {}
    return status.get("phase") == "Running" and not status.get("podIP") and bool((pod.get("spec") or {}).get("nodeName"))


def _made_anew(obj):
    """A virt-handler without address is of no use; :meth:`Filler._handlers` makes one, with a migration network where there is one."""
    return obj["kind"] == "Pod" and _stripped(obj) and (obj["metadata"].get("labels") or {}).get("kubevirt.io") == "virt-handler"


def crds_key(store, obj):
    """The store's key of an object's kind; a kind that nobody described is served as it comes."""
    group, slash, version = obj["apiVersion"].rpartition("/")
    for resource in store.resources.values():
        if resource.group == group and resource.kind == obj["kind"]:
            return resource.key
    namespaced = bool((obj.get("metadata") or {}).get("namespace"))
    definition = platform_kinds.definition(group, version, obj["kind"], namespaced)
    crds.add(store, [definition])
    return definition["metadata"]["name"]


def _renamed(value, names):
    """A copy in which every string and key that is an old uid is the new one."""
    if isinstance(value, dict):
        return {names.get(key, key): _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value
