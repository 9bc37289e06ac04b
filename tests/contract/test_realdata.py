# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects of real clusters: each is posted against the definitions of its own generation, and a rehearsal starts from them all.

What cannot be valid is named below with the server's exact words; an object that starts to pass, or
fails otherwise, fails the test. So does an object that is in the folder but in neither table.
"""

from __future__ import annotations

import os

import pytest
from kubevirt_steps import KUBEVIRT, VMIS, Steps

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.crds import load_yaml

V13, V16, V19 = "kubevirt-1.3-hco-1.13", "kubevirt-1.6-hco-1.16", "kubevirt-1.9-hco-1.19"
PLATFORM = "platform"

# Which definitions an object belongs to, by what its source says of its age; None: a core kind.
GENERATION = {
    "hco-1": V19, "kubevirt-1": V19, "vm-6": V19, "vmi-10": V19,  # taken from the heads of 2026-08
    "vmim-7": V19, "vmim-8": V19,  # 2026-07 and -09, KubeVirt 1.8 and later
    "migrationpolicy-1": V16, "vm-3": V16, "vmi-3": V16, "vmi-4": V16,  # 2025-06 to 2026-02
    "vm-2": V16, "vmi-2": V16,  # 2024-09; evictionStrategy and volumes as in 1.3, hot-plugged memory status from 1.3 on
    "vmim-5": V13, "vmim-6": V13, "vmi-8": V13,  # 2019 to 2024
    "mcp-1": PLATFORM, "mcp-2": PLATFORM, "nad-1": PLATFORM, "nnce-1": PLATFORM, "nnce-2": PLATFORM,
    "nodemaintenance-1": PLATFORM, "nodemaintenance-2": PLATFORM,
    "node-1": None, "pvc-3": None, "pdb-1": None,
}
# What cannot be stored as it is: (HTTP code, words of the answer).
INVALID = {
    # Every value of the synthetic files is a placeholder such as nameValue.
    "kubevirt-1": (404, 'namespaces "namespaceValue" not found'),
    "vm-6": (404, 'namespaces "namespaceValue" not found'),
    "vmi-10": (404, 'namespaces "namespaceValue" not found'),
    # Only their status was posted.
    "vmi-8": (422, "spec: Required value"),
    "vmim-6": (422, "spec: Required value"),
    # Its namespaceSelector holds booleans and numbers, where only text is allowed.
    "migrationpolicy-1": (422, "must be of type string"),
    # Kinds that this API server has no more: the old group of NodeMaintenance, and policy/v1beta1.
    "nodemaintenance-2": (404, ""),
    "pdb-1": (404, ""),
}
# What is in a valid object but unknown to the definitions, and therefore dropped.
DROPPED = {
    "vm-2": 'VirtualMachine in version "v1" cannot be handled as a VirtualMachine: strict decoding error: '
            'unknown field "spec.template.spec.volumes[3].cloudInitNoDisk"',  # a slip of its author
}


def objects_of(folder):
    """``{name: object}`` of the files."""
    where = os.path.join(folder, "realdata", "objects")
    found = {}
    for name in sorted(entry[:-5] for entry in os.listdir(where) if entry.endswith(".yaml")):
        with open(os.path.join(where, name + ".yaml"), "rb") as stream:
            found[name], = load_yaml(stream)
    return found


def path_for(cluster, obj):
    """Where an object is posted to, None when its kind is not served."""
    version = obj["apiVersion"]
    base = "/apis/" + version if "/" in version else "/api/" + version
    code, found, headers = cluster.http("GET", base)
    entry = next((row for row in found["resources"] if row["kind"] == obj["kind"] and "/" not in row["name"]), None) \
        if code == 200 else None
    if entry is None:
        return None
    if not entry["namespaced"]:
        return "%s/%s" % (base, entry["name"])
    namespace = obj["metadata"].setdefault("namespace", "default")
    cluster.http("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    return "%s/namespaces/%s/%s" % (base, namespace, entry["name"])


def test_every_object_has_its_place(shared_folder):
    assert set(objects_of(shared_folder)) == set(GENERATION) and set(INVALID) <= set(GENERATION)


@pytest.mark.long
@pytest.mark.parametrize("generation", [V13, V16, V19, PLATFORM, None])
def test_objects_are_valid_by_the_definitions_of_their_generation(near_bare, shared_folder, generation):
    cluster = near_bare(crds=os.path.join(shared_folder, "crds", generation) if generation else None)
    for name, obj in objects_of(shared_folder).items():
        if GENERATION[name] != generation:
            continue
        obj.setdefault("apiVersion", "v1")  # an item cut out of a list
        for server_set in ("uid", "resourceVersion"):
            obj["metadata"].pop(server_set, None)
        path = path_for(cluster, obj)
        code, said, headers = cluster.http("POST", path, obj) if path else (404, {"message": ""}, {})
        wanted, words = INVALID.get(name, (201, ""))
        assert code == wanted and words in said.get("message", ""), (name, code, said.get("message"))
        if code == 201:
            obj["metadata"]["name"] += "-again"
            code, said, headers = cluster.http("POST", path + "?dryRun=All&fieldValidation=Strict", obj)
            assert said.get("message", "") == DROPPED.get(name, ""), name


@pytest.fixture
def rehearsal(near, shared_folder):
    return Steps(near(objects=[os.path.join(shared_folder, "realdata", "objects")]))


def test_a_rehearsal_starts_from_real_objects_and_names_what_it_left_out(capsys, rehearsal):
    api = rehearsal.api
    assert rehearsal.kubevirt()["status"]["observedKubeVirtVersion"] == "v1.9.0"  # HyperConverged was exported as v1
    vmis = {vmi["metadata"]["name"]: vmi for vmi in api.list(path_of(KUBEVIRT, VMIS)).items}
    assert {"todd-vessell.foreman-isc.lan", "centos-stream9-aqua-gull-95", "centos7-gray-owl-35"} <= set(vmis)
    nodes = {node["metadata"]["name"] for node in api.list(path_of("v1", "nodes")).items}
    assert {"crc", "sno-0-0", "cnvqe-24.lab.eng.tlv2.redhat.com"} <= nodes
    pods = api.list(path_of("v1", "pods"), labelSelector="kubevirt.io=virt-launcher").items
    owners = {pod["metadata"]["labels"]["kubevirt.io/created-by"] for pod in pods if pod["status"]["phase"] == "Running"}
    running = [vmi for vmi in vmis.values() if vmi["status"]["phase"] == "Running"]
    assert owners == {vmi["metadata"]["uid"] for vmi in running} and len(running) >= 3
    assert api.get(path_of("v1", "persistentvolumeclaims", "default", "centos-stream9-aqua-gull-95-volume"))
    assert len(api.list(path_of("hco.kubevirt.io/v1", "hyperconvergeds")).items) == 1
    assert len(api.list(path_of(KUBEVIRT, "kubevirts")).items) == 1
    said = capsys.readouterr().out
    if hasattr(rehearsal.cluster, "folder"):  # a server of its own writes it to its log
        with open(os.path.join(rehearsal.cluster.folder, "server.log"), encoding="utf-8") as stream:
            said = stream.read()
    for words in ("VirtualMachineInstance vmi-migratable was left out: a guest without spec.domain.devices cannot be played",
                  "VirtualMachineInstanceMigration fragment-kubevirt-12519 was left out: a migration without spec.vmiName",
                  "KubeVirt namespaceValue/nameValue was left out: HyperConverged makes its own KubeVirt"):
        assert words in said


def test_what_real_virt_handlers_said_is_what_ours_would_say(rehearsal, shared_folder):
    rehearsal.cluster.wait(300)
    for name in ("vmi-2", "vmi-3", "vmi-4"):
        real = objects_of(shared_folder)[name]
        now = rehearsal.api.get(path_of(KUBEVIRT, VMIS, real["metadata"].get("namespace", "default"), real["metadata"]["name"]))
        for kind in ("LiveMigratable", "StorageLiveMigratable"):
            rows = [[(row["status"], row.get("reason")) for row in obj["status"]["conditions"] if row["type"] == kind]
                    for obj in (real, now)]
            assert rows[0] == rows[1], (name, kind)


def test_a_real_guest_can_be_migrated(rehearsal):
    name = rehearsal.migrate("todd-vessell.foreman-isc.lan")
    rehearsal.until_phase(name, "Succeeded")
    state = rehearsal.state("todd-vessell.foreman-isc.lan")
    assert state["completed"] and state["targetNode"] != "cnvqe-24.lab.eng.tlv2.redhat.com"
    # Its cloud-init disk is copied along, on a port of its own.
    assert sorted(state["targetDirectMigrationNodePorts"].values()) == [0, 49152, 49153]


def test_blocked_real_guest_is_refused(rehearsal):
    path = path_of(KUBEVIRT, "virtualmachineinstancemigrations", "default")
    code, said, headers = rehearsal.cluster.http("POST", path, {
        "apiVersion": KUBEVIRT, "kind": "VirtualMachineInstanceMigration", "metadata": {"name": "try"},
        "spec": {"vmiName": "centos-stream9-aqua-gull-95"}})
    assert code == 400
    assert "Reason: DisksNotLiveMigratable, Message: cannot migrate VMI: PVC centos-stream9-aqua-gull-95-volume" in said["message"]
