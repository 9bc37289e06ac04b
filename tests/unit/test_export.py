# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The export: what is never in it, names that tell nothing, files that must not be used."""

from __future__ import annotations

import json
import os

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import export
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import topology
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.crds import load_yaml

NOW = "2026-11-21T20:00:00Z"
SECRET = "c0nfidential"


def vmi(name="hana-prod", namespace="sap-prod", node="rack7-host3", **status):
    return {
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
        "metadata": {"name": name, "namespace": namespace, "uid": "u-1",
                     "labels": {"acme.example/tier": "gold", "kubevirt.io/nodeName": node},
                     "annotations": {"kubectl.kubernetes.io/last-applied-configuration": SECRET, "kubevirt.io/vm-generation": "1"},
                     "managedFields": [{"manager": SECRET}]},
        "spec": {
            "hostname": SECRET, "accessCredentials": [{"sshPublicKey": {"source": {"secret": {"secretName": SECRET}}}}],
            "nodeSelector": {"acme.example/tier": "gold"},
            "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
                "topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchExpressions": [
                    {"key": "acme.example/tier", "operator": "In", "values": ["gold"]}]}}]}},
            "tolerations": [{"key": "acme.example/only", "operator": "Equal", "value": "hana", "effect": "NoSchedule"}],
            "domain": {"memory": {"guest": "3Ti"}, "firmware": {"serial": SECRET, "uuid": SECRET}, "devices": {
                "disks": [{"name": "root", "serial": SECRET, "disk": {"bus": "virtio"}}],
                "interfaces": [{"name": "default", "macAddress": SECRET, "masquerade": {}}]}},
            "volumes": [{"name": "root", "persistentVolumeClaim": {"claimName": "hana-prod-disk"}},
                        {"name": "init", "cloudInitNoCloud": {"userData": SECRET, "userDataSecretRef": {"name": SECRET}}},
                        {"name": "key", "secret": {"secretName": SECRET}}]},
        "status": dict({"phase": "Running", "nodeName": node, "interfaces": [{"ipAddress": SECRET}], "guestOSInfo": {"name": SECRET},
                        "activePods": {"p-1": node}}, **status)}


def pod(name="virt-launcher-hana-prod-x7f2k", namespace="sap-prod"):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
            "spec": {"nodeName": "rack7-host3", "containers": [{
                "name": "compute", "image": SECRET, "args": [SECRET], "env": [{"name": "TOKEN", "value": SECRET}],
                "resources": {"requests": {"memory": "1Gi"}}}], "volumes": [{"name": "v", "secret": {"secretName": SECRET}}]},
            "status": {"phase": "Running", "podIP": SECRET}}


def node():
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "rack7-host3", "labels": {
        "kubernetes.io/hostname": "rack7-host3", "acme.example/tier": "gold", "kubernetes.io/arch": "amd64"}},
        "spec": {"providerID": SECRET, "taints": [{"key": "acme.example/only", "value": "hana", "effect": "NoSchedule"}]},
        "status": {"allocatable": {"memory": "6Ti"}, "addresses": [{"address": SECRET}], "images": [{"names": [SECRET]}]}}


def cluster():
    return [vmi(), pod(), node(), {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "data": {"x": SECRET}},
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "sap-prod", "labels": {"acme.example/owner": "finance"}}},
            {"apiVersion": "migrations.kubevirt.io/v1alpha1", "kind": "MigrationPolicy", "metadata": {"name": "acme-default"}, "spec": {
                "selectors": {"namespaceSelector": {"acme.example/owner": "finance"}}}},
            {"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
             "metadata": {"name": "mig", "namespace": "sap-prod"}, "spec": {"config": json.dumps(
                 {"type": "macvlan", "master": SECRET, "mtu": 9000, "ipam": {"type": "whereabouts", "range": SECRET}})}}]


def test_no_secret_and_nothing_of_the_guest_is_in_it():
    made = export.document(cluster(), [], NOW)
    assert SECRET not in json.dumps(made)
    by = {obj["kind"]: obj for obj in made["objects"]}
    assert set(by) == {"VirtualMachineInstance", "Pod", "Node", "Namespace", "MigrationPolicy", "NetworkAttachmentDefinition"}
    guest = by["VirtualMachineInstance"]
    assert guest["spec"]["domain"]["memory"] == {"guest": "3Ti"} and guest["spec"]["volumes"][1] == {"name": "init", "cloudInitNoCloud": {}}
    assert guest["metadata"]["annotations"] == {"kubevirt.io/vm-generation": "1"}
    assert by["Pod"]["spec"]["containers"] == [{"name": "compute", "resources": {"requests": {"memory": "1Gi"}}}]
    assert json.loads(by["NetworkAttachmentDefinition"]["spec"]["config"])["mtu"] == 9000


def test_pseudonyms_are_consistent_and_leave_no_name_behind():
    made = export.document(cluster(), [], NOW, pseudonymous=True)
    text = json.dumps(made)
    for name in ("hana", "sap", "rack7", "acme", "gold", "finance"):
        assert name not in text, name
    by = {obj["kind"]: obj for obj in made["objects"]}
    guest, host = by["VirtualMachineInstance"], by["Node"]
    assert guest["status"]["nodeName"] == host["metadata"]["name"] == host["metadata"]["labels"]["kubernetes.io/hostname"]
    assert guest["status"]["activePods"] == {"p-1": host["metadata"]["name"]} and by["Pod"]["spec"]["nodeName"] == host["metadata"]["name"]
    assert guest["metadata"]["namespace"] == by["Namespace"]["metadata"]["name"] == by["Pod"]["metadata"]["namespace"]
    selector, = guest["spec"]["nodeSelector"].items()
    assert selector in host["metadata"]["labels"].items()
    anti = guest["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]
    assert anti["topologyKey"] == "kubernetes.io/hostname"
    assert anti["labelSelector"]["matchExpressions"] == [{"key": selector[0], "operator": "In", "values": [selector[1]]}]
    taint, toleration = host["spec"]["taints"][0], guest["spec"]["tolerations"][0]
    assert (taint["key"], taint["value"]) == (toleration["key"], toleration["value"]) and "values" not in toleration
    assert by["MigrationPolicy"]["spec"]["selectors"]["namespaceSelector"] == by["Namespace"]["metadata"]["labels"]
    assert host["metadata"]["labels"]["kubernetes.io/arch"] == "amd64" and guest["status"]["phase"] == "Running"
    assert export.document(cluster(), [], NOW, pseudonymous=True) == made, "the same each time"


def test_a_short_name_changes_nothing_else():
    made = export.document([vmi(name="1", namespace="q", memory={"guestAtBoot": "1"})], [], NOW, pseudonymous=True)
    guest = made["objects"][0]
    assert guest["metadata"]["name"] == "vm-0001" and guest["status"]["memory"] == {"guestAtBoot": "1"}
    assert guest["metadata"]["annotations"] == {"kubevirt.io/vm-generation": "1"}


def test_system_namespaces_keep_their_names():
    system = [pod("virt-handler-abcde", "openshift-cnv"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "openshift-cnv"}}]
    text = json.dumps(export.document(system, [], NOW, pseudonymous=True))
    assert "virt-handler-abcde" in text and "openshift-cnv" in text


def test_definitions_come_without_prose_and_only_those_of_kubevirt():
    crd = {"metadata": {"name": "x.kubevirt.io"}, "status": {}, "spec": {
        "group": "kubevirt.io", "conversion": {"webhook": {"clientConfig": {"caBundle": SECRET}}}, "names": {"plural": "x"},
        "scope": "Namespaced",
        "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"description": "long", "properties": {
            "description": {"type": "string", "description": "long"}}}}}]}}
    made = export.document([], [crd, {"spec": {"group": "acme.example"}}], NOW)
    schema = made["crds"][0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema == {"properties": {"description": {"type": "string"}}} and len(made["crds"]) == 1 and SECRET not in json.dumps(made)


@pytest.mark.parametrize("odd", [{}, {"kind": "Pod"}, {"kind": "VirtualMachineInstance", "spec": None, "metadata": {"annotations": 5}},
                                 {"kind": "Node", "status": {"conditions": "x"}, "spec": {"taints": 3}}, None, []])
def test_odd_objects_are_no_exception(odd):
    assert export.document([odd], [], NOW, pseudonymous=True)["schema"] == export.SCHEMA


def test_objects_of_real_clusters_go_through_it(shared_folder):
    found = []
    for name in sorted(os.listdir(os.path.join(shared_folder, "realdata", "objects"))):
        if not name.endswith(".yaml"):
            continue
        with open(os.path.join(shared_folder, "realdata", "objects", name), "rb") as stream:
            found += load_yaml(stream)
    made = export.document(found, [], NOW, pseudonymous=True)
    text = json.dumps(made)
    assert len(made["objects"]) > 10 and export.problem(json.loads(text)) is None
    for word in ("userData", "macAddress", "ssh-rsa", "managedFields", "last-applied"):
        assert word not in text, word


# -- read again ----------------------------------------------------------------------


def written(tmp_path, change=lambda made: made, cut=None):
    made = change(export.document(cluster(), [], NOW))
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(made)[:cut], encoding="utf-8")
    return str(path)


def test_a_whole_export_is_read(tmp_path):
    definitions = []
    assert len(topology.read_objects(written(tmp_path), definitions)) == 6 and definitions == []


@pytest.mark.parametrize("change, cut, said", [
    (lambda made: made, -40, "cut off"), (lambda made: made, 400, "cut off"),
    (lambda made: dict(made, schema=export.FAMILY + "99"), None, "cluster-export/99.*reads.*cluster-export/1"),
    (lambda made: dict(made, objects=made["objects"][:-1]), None, "digest does not match"),
    (lambda made: {key: value for key, value in made.items() if key != "sha256"}, None, "not complete"),
])
def test_what_is_not_whole_or_of_another_form_is_refused(tmp_path, change, cut, said):
    with pytest.raises(BadInput, match=said):
        topology.read_objects(written(tmp_path, change, cut))


def test_a_foreign_file_is_no_export():
    assert export.problem({"kind": "List"})[0] == "it is no export of a cluster" and not export.is_export({"schema": "x"})
