# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The embedded cluster against real definitions: real objects are taken, and what it writes itself would be too."""

from __future__ import annotations

import os

import pytest

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.crds import load_yaml

GENERATIONS = {"1.3": "kubevirt-1.3-hco-1.13", "1.6": "kubevirt-1.6-hco-1.16", "1.9": "kubevirt-1.9-hco-1.19"}

# Why some of the collected objects cannot be stored as they are: (words of the refusal, generations).
PLACEHOLDER = 'namespaces "namespaceValue" not found'  # synthetic files, every value is a placeholder
FRAGMENT = "spec: Required value"
OLD_API = "not served"
REFUSED = {
    "kubevirt-1": (PLACEHOLDER, GENERATIONS), "vm-6": (PLACEHOLDER, GENERATIONS), "vmi-10": (PLACEHOLDER, GENERATIONS),
    "vmi-8": (FRAGMENT, GENERATIONS), "vmim-6": (FRAGMENT, GENERATIONS),
    "migrationpolicy-1": ("must be of type string", GENERATIONS),  # selectors with numbers and booleans as values
    "nodemaintenance-2": (OLD_API, GENERATIONS), "pdb-1": (OLD_API, GENERATIONS),
    "hco-1": (OLD_API, ["1.3", "1.6"]),  # v1 came with 1.18
    "vm-2": ("deviceName: Required value", ["1.3"]),
}
WRITTEN = {
    "kubevirt.io/v1": ("virtualmachines", "virtualmachineinstances", "virtualmachineinstancemigrations", "kubevirts"),
    "hco.kubevirt.io/v1beta1": ("hyperconvergeds",), "migrations.kubevirt.io/v1alpha1": ("migrationpolicies",),
}


def collection_of(c, obj):
    """The path to post an object to, or None when its kind is not served."""
    version = obj["apiVersion"]
    base = "/apis/" + version if "/" in version else "/api/" + version
    status, found, headers = c.http("GET", base)
    for entry in found["resources"] if status == 200 else ():
        if entry["kind"] == obj["kind"] and "/" not in entry["name"]:
            if not entry["namespaced"]:
                return "%s/%s" % (base, entry["name"])
            namespace = obj["metadata"].setdefault("namespace", "default")
            c.http("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
            return "%s/namespaces/%s/%s" % (base, namespace, entry["name"])
    return None


@pytest.mark.long
@pytest.mark.any_cluster
@pytest.mark.parametrize("generation", sorted(GENERATIONS))
def test_every_real_object_is_taken_or_refused_for_a_known_reason(cluster, shared_folder, generation, tmp_path):
    for folder in (GENERATIONS[generation], "platform"):
        for name in os.listdir(os.path.join(shared_folder, "crds", folder)):
            (tmp_path / name).symlink_to(os.path.join(shared_folder, "crds", folder, name))
    c = cluster(bare=True, crds=tmp_path)
    folder = os.path.join(shared_folder, "realdata", "objects")
    seen = {}
    for name in sorted(entry[:-5] for entry in os.listdir(folder) if entry.endswith(".yaml")):
        with open(os.path.join(folder, name + ".yaml"), "rb") as stream:
            obj, = load_yaml(stream)
        obj.setdefault("apiVersion", "v1")  # an item of a list has none
        for field in ("uid", "resourceVersion"):
            obj["metadata"].pop(field, None)
        path = collection_of(c, obj)
        status, said, headers = c.http("POST", path, obj) if path else (404, {"message": OLD_API}, {})
        seen[name] = (status, said.get("message", ""))
    words = {name: text for name, (text, generations) in REFUSED.items() if generation in generations}
    assert {name for name, (status, text) in seen.items() if status != 201} == set(words), {
        name: answer for name, answer in seen.items() if answer[0] != 201 and name not in words}
    assert all(words[name] in seen[name][1] for name in words), {name: seen[name] for name in words}


@pytest.mark.long
@pytest.mark.parametrize("generation", ["1.6", "1.9"])
def test_what_the_cluster_writes_passes_the_real_definitions(cluster, shared_folder, generation):
    c = cluster(generation=generation, crds=os.path.join(shared_folder, "crds", GENERATIONS[generation]))
    vmis = c.api.list("/apis/kubevirt.io/v1/virtualmachineinstances").items
    path = "/apis/kubevirt.io/v1/namespaces/%s/virtualmachineinstancemigrations"
    for vmi in vmis:
        made = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration", "metadata": {"generateName": "m-"},
                "spec": {"vmiName": vmi["metadata"]["name"]}}
        assert c.http("POST", path % vmi["metadata"]["namespace"], made)[0] == 201
    checked = 0
    for seconds in (3, 10, 60, 600, 7200):
        c.wait(seconds)
        for version, plurals in WRITTEN.items():
            for plural in plurals:
                for obj in c.api.list("/apis/%s/%s" % (version, plural)).items:
                    namespace = obj["metadata"].get("namespace")
                    where = "namespaces/%s/" % namespace if namespace else ""
                    status, said, headers = c.http("PUT", "/apis/%s/%s%s/%s?dryRun=All&fieldValidation=Strict" % (
                        version, where, plural, obj["metadata"]["name"]), obj)
                    assert status == 200, (obj["kind"], said)
                    checked += 1
    assert checked > 5 * len(vmis)
