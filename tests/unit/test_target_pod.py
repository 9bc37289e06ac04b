# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a target pod asks: requests with overhead by release, and the labels of a node that may take it (facts 3.4-3.11)."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import target_pod

MI, GI = 1024 ** 2, 1024 ** 3
HANA = {"spec": {"architecture": "amd64", "domain": {
    "cpu": {"sockets": 2, "cores": 48, "threads": 1, "dedicatedCpuPlacement": True, "isolateEmulatorThread": True},
    "memory": {"guest": "3Ti", "hugepages": {"pageSize": "1Gi"}}, "machine": {"type": "pc-q35-rhel9.6.0"},
    "devices": {"interfaces": [{"name": "default", "masquerade": {}}]}}}}


def vmi(memory=None, spec=None, **domain):
    domain.setdefault("devices", {})
    if memory:
        domain["memory"] = {"guest": memory}
    return {"spec": dict({"domain": domain}, **(spec or {}))}


def test_hana_guest_asks_huge_pages_and_whole_cpus():
    asked = target_pod.compute_requests(HANA, "1.9")
    assert asked["hugepages-1Gi"] == 3 * 1024 * GI and asked["cpu"] == 97000
    assert asked["memory"] == 3298534884000 // 512 + (220 + 8 * 96 + 8 + 32 + 100) * MI
    assert asked["devices.kubevirt.io/kvm"] == asked["devices.kubevirt.io/vhost-net"] == 1


@pytest.mark.parametrize("release, fixed", [("1.3", 210), ("1.4", 210), ("v1.5.2", 220), ("1.9", 220), ("1.10", 240)])
def test_fixed_overhead_grew_with_the_releases(release, fixed):
    assert target_pod.memory_overhead(vmi("1Gi"), release) == 2 * MI + (fixed + 8 + 8 + 32) * MI


@pytest.mark.parametrize("change, more", [
    ({"devices": {"autoattachGraphicsDevice": False}}, -32), ({"devices": {"tpm": {}}}, 53),
    ({"devices": {"hostDevices": [{"deviceName": "x.com/nic"}]}}, 1024), ({"devices": {"interfaces": [{"sriov": {}}]}}, 1024),
    ({"launchSecurity": {"sev": {}}}, 256), ({"cpu": {"cores": 3}}, 16),
    ({"resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}}, 100),
])
def test_what_adds_to_the_overhead(change, more):
    plain = target_pod.memory_overhead(vmi("1Gi"), "1.9")
    assert target_pod.memory_overhead(vmi("1Gi", **change), "1.9") - plain == more * MI


def test_overhead_of_the_architecture_probes_and_the_clusters_ratio():
    plain = target_pod.memory_overhead(vmi("1Gi"), "1.9")
    assert target_pod.memory_overhead(vmi("1Gi", {"architecture": "arm64"}), "1.9") == plain + 128 * MI
    probed = vmi("1Gi", {"livenessProbe": {"exec": {}}, "readinessProbe": {"httpGet": {}}})
    assert target_pod.memory_overhead(probed, "1.9") == plain + 110 * MI
    assert target_pod.memory_overhead(vmi("1Gi"), "1.9", {"additionalGuestMemoryOverheadRatio": "1.5"}) == plain * 3 // 2


def test_ordinary_guest_asks_a_tenth_of_its_cpus():
    asked = target_pod.compute_requests(vmi("8Gi", cpu={"cores": 4}), "1.9")
    assert asked["cpu"] == 400 and "hugepages-1Gi" not in asked
    config = {"developerConfiguration": {"cpuAllocationRatio": 5, "memoryOvercommit": 200}}
    asked = target_pod.compute_requests(vmi("8Gi", cpu={"cores": 4}), "1.9", config)
    assert asked["cpu"] == 800
    assert asked["memory"] == 4 * GI + target_pod.memory_overhead(vmi("8Gi", cpu={"cores": 4}), "1.9", config)


def test_request_above_the_guest_stays_plain_memory():
    guest = vmi(memory="4Gi", resources={"requests": {"memory": "5Gi"}})
    guest["spec"]["domain"]["memory"]["hugepages"] = {"pageSize": "2Mi"}
    asked = target_pod.compute_requests(guest, "1.9")
    assert asked["hugepages-2Mi"] == 4 * GI
    assert asked["memory"] == GI + target_pod.memory_overhead(guest, "1.9")


@pytest.mark.parametrize("change, config, cpu, memory", [
    ({}, {}, 5, 35 * 10 ** 6), ({"cpu": {"dedicatedCpuPlacement": True}}, None, 15, 60 * 10 ** 6),
    ({"resources": {"limits": {"cpu": "2", "memory": "1Gi"}}}, {}, 15, 60 * 10 ** 6),
    ({}, {"virtualMachineOptions": {"disableSerialConsoleLog": {}}}, 0, 0),
    ({"devices": {"logSerialConsole": True}}, {"virtualMachineOptions": {"disableSerialConsoleLog": {}}}, 5, 35 * 10 ** 6),
    ({"devices": {"logSerialConsole": False}}, {}, 0, 0), ({"devices": {"autoattachSerialConsole": False}}, {}, 0, 0),
    ({}, {"supportContainerResources": [{"type": "guest-console-log", "resources": {"requests": {"cpu": "20m"}}}]}, 20, 35 * 10 ** 6),
])
def test_the_container_that_logs_the_console_asks_too(change, config, cpu, memory):
    guest = vmi("1Gi", **change)
    alone, all_of = target_pod.compute_requests(guest, "1.9", config), target_pod.requests(guest, "1.9", config)
    assert (all_of["cpu"] - alone["cpu"], all_of["memory"] - alone["memory"]) == (cpu, memory)
    assert {key for key in all_of if all_of[key] != alone[key]} <= {"cpu", "memory"}


def test_devices_are_counted():
    guest = vmi("1Gi", devices={"gpus": [{"deviceName": "n/a10"}, {"deviceName": "n/a10"}], "hostDevices": [{"deviceName": "n/nic"}]})
    asked = target_pod.requests(guest, "1.9")
    assert asked["n/a10"] == 2 and asked["n/nic"] == 1 and "devices.kubevirt.io/vhost-net" not in asked


def test_vcpus_from_limits_when_there_is_no_topology():
    assert target_pod.vcpus(vmi("1Gi", resources={"limits": {"cpu": "2500m"}})) == 3
    assert target_pod.vcpus(vmi("1Gi")) == 1 and target_pod.vcpus(HANA) == 96


@pytest.mark.parametrize("release, label", [("1.6", "cpumanager"), ("1.7", "cpumanager"), ("1.8", "kubevirt.io/cpumanager")])
def test_dedicated_cpus_select_the_label_of_the_release(release, label):
    selector = target_pod.node_selector(HANA, {}, release)
    assert selector[label] == "true" and len([key for key in selector if key.endswith("cpumanager")]) == 1


def test_system_selectors():
    guest = vmi("1Gi", {"nodeSelector": {"zone": "a", "shared": "vmi"}}, machine={"type": "q35"},
                cpu={"model": "Icelake-Server", "features": [{"name": "avx512f"}, {"name": "vmx", "policy": "forbid"},
                                                             {"name": "pcid", "policy": "optional"}]},
                features={"hyperv": {"vpindex": {}, "synic": {"enabled": False}}})
    config = {"developerConfiguration": {"nodeSelectors": {"pool": "kvm", "shared": "cluster"}, "featureGates": ["HypervStrictCheck"]}}
    assert target_pod.node_selector(guest, config, "1.6") == {
        "kubevirt.io/schedulable": "true", "kubernetes.io/arch": "amd64", "pool": "kvm", "zone": "a", "shared": "vmi",
        "cpu-model.node.kubevirt.io/Icelake-Server": "true", "cpu-feature.node.kubevirt.io/avx512f": "true",
        "machine-type.node.kubevirt.io/q35": "true", "hyperv.node.kubevirt.io/vpindex": "true",
    }
    assert "machine-type.node.kubevirt.io/q35" not in target_pod.node_selector(guest, config, "1.5")
    assert target_pod.forbidden_labels(guest) == ["cpu-feature.node.kubevirt.io/vmx"]
    assert target_pod.forbidden_labels(vmi("1Gi")) == ["node-labeller.kubevirt.io/obsolete-host-model"]


@pytest.mark.parametrize("change, label", [
    ({"launchSecurity": {"sev": {}}}, "kubevirt.io/sev"),
    ({"launchSecurity": {"sev": {"policy": {"encryptedState": True}}}}, "kubevirt.io/sev-es"),
    ({"launchSecurity": {"tdx": {}}}, "kubevirt.io/tdx"), ({"cpu": {"realtime": {}}}, "kubevirt.io/realtime"),
])
def test_special_hardware(change, label):
    assert target_pod.node_selector(vmi("1Gi", **change), {}, "1.9")[label] == "true"


def test_tsc_frequency_only_with_hints():
    guest = vmi("1Gi")
    guest["status"] = {"topologyHints": {"tscFrequency": 2100000000}}
    assert target_pod.node_selector(guest)["scheduling.node.kubevirt.io/tsc-frequency-2100000000"] == "true"


def test_host_model_is_taken_from_the_node_and_then_frozen():
    labels = {"host-model-cpu.node.kubevirt.io/Rapids": "true", "host-model-required-features.node.kubevirt.io/vmx": "true", "x": "y"}
    first = target_pod.host_model_selector(labels, {"kubevirt.io/schedulable": "true"}, "1.9")
    assert first == {"cpu-model-migration.node.kubevirt.io/Rapids": "true", "cpu-feature.node.kubevirt.io/vmx": "true"}
    other = {"host-model-cpu.node.kubevirt.io/Granite": "true"}
    assert target_pod.host_model_selector(other, dict(first, zone="a"), "1.9") == first


@pytest.mark.parametrize("release, asked", [("1.3", None), ("v1.5.2", None), ("v1.6.0", {}), ("1.9", {})])
def test_a_node_without_host_model_stops_a_migration_up_to_1_5_only(release, asked):
    assert target_pod.host_model_selector({"x": "y"}, {}, release) == asked


def test_a_feature_of_the_guests_own_is_taken_for_an_earlier_baseline():
    labels, own = {"host-model-cpu.node.kubevirt.io/Rapids": "true"}, {"cpu-feature.node.kubevirt.io/vmx": "true"}
    for release in ("1.3", "1.6", "1.9"):
        assert target_pod.host_model_selector(labels, dict(own, zone="a"), release) == own


def test_vendor_since_1_8():
    labels = {"cpu-vendor.node.kubevirt.io/Intel": "true"}
    assert target_pod.vendor_selector(labels, {}, "1.8") == labels
    assert target_pod.vendor_selector(labels, {}, "1.7") == {}
    assert target_pod.vendor_selector(labels, {"cpu-vendor.node.kubevirt.io/AMD": "true"}, "1.9") == {}


def test_default_model_and_nonsense_quantities():
    assert target_pod.cpu_model(vmi("1Gi"), {"cpuModel": "Haswell"}) == "Haswell" and target_pod.cpu_model({}) == "host-model"
    assert target_pod.quantity("nonsense") == target_pod.quantity(None) == 0
    assert target_pod.quantity("100m", 1000) == 100 and target_pod.quantity("0.5Gi") == GI // 2
    assert target_pod.guest_memory(vmi(resources={"requests": {"memory": "2Gi"}})) == 2 * GI
