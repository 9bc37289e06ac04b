# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's node simulator: virt-handler and virt-launcher of every node, as far as the API sees them.

``handlers.py --dir FOLDER`` looks at all VMIs a few times a second and does the one step that is due (facts 1.10-1.12, 4,
8). It writes VMIs as the virt-handler pod of the node whose turn it is (a token bound to that pod), so KubeVirt's own RBAC
and webhooks judge its writes; what kubelet, the node labeller and Multus would write it writes as the administrator.
Nothing is kept but when each copy began.

Annotations of a VMI steer its copy: ``lab.bigvm.io/copy-seconds`` (1), and ``rehearsal.bigvm.io/fail`` with
``target-stuck``, ``target-pod-down``, ``libvirt-error`` or ``never-converges``, which mean what they mean on the embedded cluster.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import time

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import Api
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import settings, target_pod
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import generations, objects
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import (
    handler_network,
    launcher,
    migratability,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.virt_handler import (
    LIBVIRT_ERROR,
)

VMIS = "/apis/kubevirt.io/v1/virtualmachineinstances"
VMI = "/apis/kubevirt.io/v1/namespaces/%s/virtualmachineinstances/%s"
POD = "/api/v1/namespaces/%s/pods/%s"
PVC = "/api/v1/namespaces/%s/persistentvolumeclaims/%s"
PODS = "/api/v1/namespaces/kubevirt/pods"
NODE_LABEL, TARGET_LABEL = "kubevirt.io/nodeName", "kubevirt.io/migrationTargetNodeName"
PORTS = {"40001": 0, "40002": 49152}
TOKEN = "/api/v1/namespaces/kubevirt/serviceaccounts/kubevirt-handler/token"
SELINUX = "system_u:object_r:container_file_t:s0:c7,c42"  # virt-controller makes no target pod without it
TURN, HEARTBEAT = 0.2, 30.0
ABORT_TAKES = 0.5


class Handlers:
    """All of them.

    :param connect: ``connect(token)`` returns an Api; without a token the administrator's.
    """

    def __init__(self, connect):
        self.connect, self.admin = connect, connect()
        self.pods = {}  # {uid of a virt-handler: its Api}
        self.generation = generations.of("1.9")
        self.began, self.aborted = {}, {}
        self.ready, self._beat_at = {}, 0.0

    def turn(self):
        """One look at everything."""
        pods = self.admin.list(PODS, labelSelector="kubevirt.io=virt-handler").items
        self._attach(pods)
        self.ready = {pod["spec"]["nodeName"]: pod for pod in pods if _ready(pod)}
        if time.time() >= self._beat_at:
            self._beat_at = time.time() + HEARTBEAT
            self._heartbeat()
        for vmi in self.admin.list(VMIS).items:
            try:
                self._guest(vmi)
            except (errors.Conflict, errors.NotFound):
                pass  # it changed meanwhile: next turn

    # -- what belongs to a node ------------------------------------------------

    def _heartbeat(self):
        """Facts 3.9."""
        for node in self.admin.list("/api/v1/nodes").items:
            name = node["metadata"]["name"]
            if name in self.ready and node["metadata"].get("annotations", {}).get("lab.bigvm.io/silent") != "true":
                self.admin.patch("/api/v1/nodes/" + name, {"metadata": {
                    "annotations": {"kubevirt.io/heartbeat": _stamp()}, "labels": {"kubevirt.io/schedulable": "true"}}})

    def _attach(self, pods):
        """In Multus' place: an address on the migration network (facts 4.2, 10.12)."""
        for pod in pods:
            notes = pod["metadata"].get("annotations") or {}
            network = notes.get(objects.NETWORKS_ANNOTATION, "").rpartition("@migration0")[0]
            if network and objects.STATUS_ANNOTATION not in notes and _ready(pod):
                address = "10.200.5.%d" % (10 + sum(pod["spec"]["nodeName"].encode()) % 200)
                self.admin.patch(POD % (pod["metadata"]["namespace"], pod["metadata"]["name"]), {"metadata": {"annotations": {
                    objects.STATUS_ANNOTATION: objects.network_status(network, address)}}})

    def _own(self, node):
        """The Api of a node's virt-handler; KubeVirt lets it write the guests of its node only."""
        meta = self.ready[node]["metadata"]
        if meta["uid"] not in self.pods:
            bound = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
            made = self.admin.create(TOKEN, {"spec": {"expirationSeconds": 86400, "boundObjectRef": bound}})
            self.pods[meta["uid"]] = self.connect(made["status"]["token"])
        return self.pods[meta["uid"]]

    # -- what belongs to a guest -------------------------------------------------

    def _guest(self, vmi):
        status, meta = vmi.get("status") or {}, vmi["metadata"]
        if status.get("phase") not in ("Scheduled", "Running") or (meta.get("labels") or {}).get(NODE_LABEL) not in self.ready:
            return
        if meta.get("deletionTimestamp"):
            self._write(vmi, {"phase": "Succeeded"})
        elif status["phase"] == "Scheduled":
            self._boot(vmi)
        else:
            self._migrate(vmi, status.get("migrationState") or {})

    def _boot(self, vmi):
        """The domain runs; what could keep it from moving is said (facts 6.1-6.4)."""
        status, now = vmi["status"], _stamp()
        rows = [row for row in status.get("conditions") or [] if row["type"] not in ("LiveMigratable", "StorageLiveMigratable")]
        seen = dict(vmi, status=dict(status, volumeStatus=self._volumes(vmi)))
        for row in migratability.conditions(seen, None, {}, self.generation, now):
            rows.append(objects.condition(row["kind"], row["state"], row.get("reason"), row.get("message"), now, probe=True))
        local = migratability.local_disks(vmi)
        memory = vmi["spec"]["domain"].get("memory", {}).get("guest") or str(target_pod.guest_memory(vmi))
        machine = (vmi["spec"]["domain"].get("machine") or {}).get("type", "q35")
        self._write(vmi, {
            "phase": "Running", "conditions": rows, "migrationMethod": "BlockMigration" if local else "LiveMigration",
            "migrationTransport": "Unix", "selinuxContext": SELINUX, "machine": {"type": machine},
            "memory": {"guestAtBoot": memory, "guestCurrent": memory, "guestRequested": memory}})

    def _volumes(self, vmi):
        names = [objects.claimed(volume) for volume in vmi["spec"].get("volumes") or []]
        claims = {}
        for name in filter(None, names):
            claims[name] = self.admin.get(PVC % (vmi["metadata"]["namespace"], name))
        return objects.volume_status(vmi["spec"], claims)

    def _migrate(self, vmi, state):
        uid = state.get("migrationUid")
        if not uid:
            return
        fail = ((vmi["metadata"].get("annotations") or {}).get(objects.KNOB + "fail"))
        if state.get("failed") or state.get("completed"):
            self._tidy(vmi, state)
        elif state.get("endTimestamp"):
            self._write(vmi, {"migrationState": {"completed": True}}, by=state["targetNode"])
        elif not state.get("targetNodeAddress"):
            pod = self.ready.get(state.get("targetNode"))
            if pod and fail != "target-stuck":
                self._write(vmi, {"migrationState": {
                    "targetNodeAddress": handler_network.migration_address(pod), "targetDirectMigrationNodePorts": PORTS}},
                    by=state["targetNode"])
        elif not state.get("startTimestamp"):
            self._write(vmi, {"migrationState": {"startTimestamp": _stamp(), "mode": "PreCopy"}})
            self.began[uid] = time.time()
        else:
            self._copy(vmi, state, fail, time.time() - self.began.setdefault(uid, time.time()))

    def _copy(self, vmi, state, fail, seconds):
        """Abort, failure, time over, or the hand-over (facts 1.12, 4.6-4.8, 8.4)."""
        uid = state["migrationUid"]
        config = settings.read(state.get("migrationConfiguration") or {})
        budget = settings.budget_seconds(config["completion_timeout_per_gib"] or 0, target_pod.guest_memory(vmi))
        needed = float((vmi["metadata"].get("annotations") or {}).get("lab.bigvm.io/copy-seconds", 1))
        if state.get("abortRequested") or (budget and seconds > budget):
            if time.time() - self.aborted.setdefault(uid, time.time()) >= ABORT_TAKES:
                self._failed(vmi, launcher.user_abort_text(self.generation), abortStatus="Succeeded")
        elif fail == "libvirt-error":
            self._failed(vmi, LIBVIRT_ERROR)
        elif fail == "target-pod-down":
            self._end_pod(vmi["metadata"]["namespace"], state["targetPod"], "Failed")
        elif seconds >= needed and fail != "never-converges":
            self._flip(vmi, state)

    def _failed(self, vmi, reason, **more):
        self._write(vmi, {"migrationState": dict(
            more, failed=True, completed=True, endTimestamp=_stamp(), failureReason=reason)})

    def _flip(self, vmi, state):
        """The guest runs on the target; its handler takes over (facts 1.12)."""
        rows = [row for row in vmi["status"].get("conditions") or [] if row["type"] not in ("EvictionRequested", "Paused")]
        now = _stamp()
        self._write(vmi, {
            "nodeName": state["targetNode"], "evacuationNodeName": None, "launcherContainerImageVersion": None, "conditions": rows,
            "migrationState": {"targetNodeDomainDetected": True, "targetNodeDomainReadyTimestamp": now, "endTimestamp": now}},
            by=state["targetNode"], labels={NODE_LABEL: state["targetNode"]}, annotations={"kubevirt.io/eviction-source": None})

    def _tidy(self, vmi, state):
        """The launcher without the guest ends; the target's label goes."""
        left = state.get("targetPod") if state.get("failed") else state.get("sourcePod")
        if left:
            self._end_pod(vmi["metadata"]["namespace"], left, "Failed" if state.get("failed") else "Succeeded")
        if TARGET_LABEL in (vmi["metadata"].get("labels") or {}) and not state.get("failed"):
            self._write(vmi, {}, by=state["targetNode"], labels={TARGET_LABEL: None})

    def _end_pod(self, namespace, name, phase):
        """In the kubelet's place: the launcher's process has ended."""
        path = POD % (namespace, name)
        try:
            pod = self.admin.get(path)
        except errors.NotFound:
            return
        if pod["status"].get("phase") == "Running":
            rows = [dict(row, status="False") if row["type"] in ("Ready", "ContainersReady") else row
                    for row in pod["status"].get("conditions") or []]
            how = {"exitCode": 0, "reason": "Completed"} if phase == "Succeeded" else {"exitCode": 1, "reason": "Error"}
            ended = [dict(row, ready=False, state={"terminated": how}) for row in pod["status"].get("containerStatuses") or []]
            self.admin.patch(path + "/status", {"status": {"phase": phase, "conditions": rows, "containerStatuses": ended}})

    def _write(self, vmi, status, by=None, **metadata):
        """Change a VMI as it was read, as its node's virt-handler or another's; a change meanwhile is a Conflict."""
        meta = vmi["metadata"]
        changed = _merged(vmi, {"metadata": metadata, "status": status})
        self._own(by or vmi["status"]["nodeName"]).replace(VMI % (meta["namespace"], meta["name"]), changed)


def _merged(old, change):
    """A JSON merge patch, applied here: virt-handler may update guests, not patch them."""
    new = dict(old)
    for key, value in change.items():
        if value is None:
            new.pop(key, None)
        else:
            new[key] = _merged(old.get(key) or {}, value) if isinstance(value, dict) else value
    return new


def _ready(pod):
    return any(row["type"] == "Ready" and row["status"] == "True" for row in (pod.get("status") or {}).get("conditions") or [])


def _stamp():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def connect(folder, token=None):
    import kubernetes

    def source():
        configuration = kubernetes.client.Configuration()
        with open(os.path.join(folder, "kubeconfig"), encoding="utf-8") as stream:
            said = json.load(stream)
        configuration.host = said["clusters"][0]["cluster"]["server"]
        configuration.ssl_ca_cert = os.path.join(folder, "ca.crt")
        configuration.api_key = {"authorization": "Bearer " + (token or said["users"][0]["user"]["token"])}
        return configuration, {"User-Agent": "bigvm-lab-handlers"}

    return Api(source).handshake()


def main():
    """Until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", required=True)
    handlers = Handlers(functools.partial(connect, parser.parse_args().dir))
    while True:
        try:
            handlers.turn()
        except errors.LiveMigrationError as exc:
            print(exc, file=sys.stderr, flush=True)
        time.sleep(TURN)


if __name__ == "__main__":
    main()
