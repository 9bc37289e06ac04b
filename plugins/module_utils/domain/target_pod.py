# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the target pod of a migration asks of a node: requests, overhead, labels.

The one home of these facts. The facts module judges candidate nodes with them,
the embedded cluster renders its target pods with them. Everything takes plain
Kubernetes objects (dict); ``release`` is KubeVirt's, e.g. ``"1.6"`` or
``"v1.9.0"``; ``kubevirt_config`` is ``spec.configuration`` of the KubeVirt CR
(or None).

Source: KubeVirt's rendering of virt-launcher pods, facts 3.1-3.11.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import parse_quantity
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.settings import release_of

MI = 1024 ** 2
GI = 1024 ** 3

SCHEDULABLE = "kubevirt.io/schedulable"
OBSOLETE_HOST_MODEL = "node-labeller.kubevirt.io/obsolete-host-model"
HOST_MODEL = "host-model-cpu.node.kubevirt.io/"
HOST_FEATURE = "host-model-required-features.node.kubevirt.io/"
MIGRATION_MODEL = "cpu-model-migration.node.kubevirt.io/"
MODEL = "cpu-model.node.kubevirt.io/"
FEATURE = "cpu-feature.node.kubevirt.io/"
VENDOR = "cpu-vendor.node.kubevirt.io/"
MACHINE_TYPE = "machine-type.node.kubevirt.io/"
HYPERV = "hyperv.node.kubevirt.io/"
TSC_FREQUENCY = "scheduling.node.kubevirt.io/tsc-frequency-"

CONSOLE_LOG = "guest-console-log"
EPHEMERAL_STORAGE = "50M"  # that every launcher asks; no node is short of it, but a quota may be
HOST_MODELS = ("host-model", "host-passthrough")
HYPERV_FEATURES = (
    "vpindex", "runtime", "reset", "synic", "synictimer", "frequencies", "reenlightenment", "tlbflush", "ipi",
)


def quantity(value, scale=1):
    """A Kubernetes quantity as an int of ``1/scale`` units, rounded up; 0 for None or what is no quantity.

    ``quantity("100m", 1000)`` is 100 millicores; ``quantity("1Gi")`` is bytes.
    """
    try:
        return int((parse_quantity(value) * scale).to_integral_value(ROUND_CEILING)) if value is not None else 0
    except ValueError:
        return 0


def _known(release):
    return release_of(release) or (1, 9)


# -- the guest ---------------------------------------------------------------


def _domain(vmi):
    return (vmi.get("spec") or {}).get("domain") or {}


def _resources(vmi, kind):
    return (_domain(vmi).get("resources") or {}).get(kind) or {}


def vcpus(vmi):
    """Number of vCPUs: sockets x cores x threads, else the CPU limit or request, at least 1."""
    cpu = _domain(vmi).get("cpu") or {}
    shape = [int(cpu.get(part) or 0) for part in ("sockets", "cores", "threads")]
    if any(shape):
        return max(shape[0], 1) * max(shape[1], 1) * max(shape[2], 1)
    asked = _resources(vmi, "limits").get("cpu") or _resources(vmi, "requests").get("cpu")
    return max(1, quantity(asked))


def page_size(vmi):
    """``"1Gi"``, ``"2Mi"`` or None: the page size that backs the guest."""
    return ((_domain(vmi).get("memory") or {}).get("hugepages") or {}).get("pageSize")


def dedicated_cpus(vmi):
    """Whether every vCPU is pinned to a CPU of its own."""
    return bool((_domain(vmi).get("cpu") or {}).get("dedicatedCpuPlacement"))


def cpu_model(vmi, kubevirt_config=None):
    """The CPU model that counts: the guest's, else the cluster's, else ``host-model`` (facts 3.5)."""
    return (_domain(vmi).get("cpu") or {}).get("model") or (kubevirt_config or {}).get("cpuModel") or "host-model"


def guest_memory(vmi):
    """Guest memory in bytes: what the guest runs with, else what the spec says (facts 4.6)."""
    memory = _domain(vmi).get("memory") or {}
    return (
        quantity(memory.get("guest"))
        or quantity(_resources(vmi, "requests").get("memory"))
        or quantity(_resources(vmi, "limits").get("memory"))
    )


def _requested_memory(vmi, kubevirt_config):
    asked = quantity(_resources(vmi, "requests").get("memory")) or quantity(_resources(vmi, "limits").get("memory"))
    if asked:
        return asked
    percent = int(((kubevirt_config or {}).get("developerConfiguration") or {}).get("memoryOvercommit") or 100)
    guest = quantity((_domain(vmi).get("memory") or {}).get("guest"))
    return guest if page_size(vmi) else guest * 100 // percent


def _guaranteed(vmi):
    limits, asked = _resources(vmi, "limits"), _resources(vmi, "requests")
    return all(
        limits.get(what) and quantity(limits[what], 1000) == quantity(asked.get(what) or limits[what], 1000)
        for what in ("cpu", "memory")
    )


# -- what it asks ------------------------------------------------------------


def _fixed_overhead(release):
    """The helper processes around a guest, which grew over time (facts 3.11)."""
    known = _known(release)
    return (240 if known >= (1, 10) else 220 if known >= (1, 5) else 210) * MI


def memory_overhead(vmi, release, kubevirt_config=None):
    """Bytes that a virt-launcher pod asks beyond the guest's memory.

    A 512th of the memory (in kB, rounded up) for page tables, the helper processes, 8 MiB per vCPU
    and one I/O thread, graphics, and what special devices need; times the
    cluster's ``additionalGuestMemoryOverheadRatio`` (facts 3.11).
    """
    devices = _domain(vmi).get("devices") or {}
    spec = vmi.get("spec") or {}
    sriov = any("sriov" in interface for interface in devices.get("interfaces") or [])
    probes = [p for p in (spec.get("livenessProbe"), spec.get("readinessProbe")) if "exec" in (p or {})]
    security = _domain(vmi).get("launchSecurity") or {}
    total = -(-_requested_memory(vmi, kubevirt_config) // 1000) * 1000 // 512 + _fixed_overhead(release)
    total += 8 * MI * vcpus(vmi) + 8 * MI
    total += 32 * MI if devices.get("autoattachGraphicsDevice") is not False else 0
    total += 128 * MI if spec.get("architecture") == "arm64" else 0
    total += GI if sriov or devices.get("hostDevices") or devices.get("gpus") else 0
    total += 53 * MI if "tpm" in devices else 0
    total += 100 * MI if dedicated_cpus(vmi) or _guaranteed(vmi) else 0
    total += 256 * MI if "sev" in security or "snp" in security else 0
    total += (100 + 10 * len(probes)) * MI if probes else 0
    ratio = (kubevirt_config or {}).get("additionalGuestMemoryOverheadRatio")
    return int(Decimal(total) * Decimal(str(ratio))) if ratio else total


def _cpu_millis(vmi, kubevirt_config):
    cpu = _domain(vmi).get("cpu") or {}
    if dedicated_cpus(vmi):
        threads = int((_domain(vmi).get("ioThreads") or {}).get("supplementalPoolThreadCount") or 0)
        return 1000 * (vcpus(vmi) + threads + (1 if cpu.get("isolateEmulatorThread") else 0))
    asked = _resources(vmi, "requests").get("cpu")
    if asked:
        return quantity(asked, 1000)
    ratio = int(((kubevirt_config or {}).get("developerConfiguration") or {}).get("cpuAllocationRatio") or 10)
    return 1000 * vcpus(vmi) // ratio


def console_log(vmi, kubevirt_config=None):
    """The resources of the container that logs the guest's serial console, or None where there is none.

    ``{"requests": {...}, "limits": {...}}`` as in a pod. It is there by KubeVirt's default and by HyperConverged's of 1.16
    and 1.19, not by that of 1.13; where the guest is to be Guaranteed it asks its limits.
    """
    devices, config = _domain(vmi).get("devices") or {}, kubevirt_config or {}
    wanted = devices.get("logSerialConsole")
    if wanted is None:
        wanted = (config.get("virtualMachineOptions") or {}).get("disableSerialConsoleLog") is None
    if not wanted or devices.get("autoattachSerialConsole") is False:
        return None
    given = next((row.get("resources") or {} for row in config.get("supportContainerResources") or []
                  if row.get("type") == CONSOLE_LOG), {})
    limits = dict({"cpu": "15m", "memory": "60M"}, **(given.get("limits") or {}))
    if dedicated_cpus(vmi) or _guaranteed(vmi):
        return {"requests": limits, "limits": limits}
    return {"requests": dict({"cpu": "5m", "memory": "35M"}, **(given.get("requests") or {})), "limits": limits}


def requests(vmi, release, kubevirt_config=None):
    """What the pod requests of a node, all its containers together: as :func:`compute_requests`."""
    wanted = compute_requests(vmi, release, kubevirt_config)
    for name, value in (console_log(vmi, kubevirt_config) or {"requests": {}})["requests"].items():
        wanted[name] = wanted.get(name, 0) + quantity(value, 1000 if name == "cpu" else 1)
    return wanted


def compute_requests(vmi, release, kubevirt_config=None):
    """What the guest's own container requests of a node: ``{resource: int}``.

    ``cpu`` is in millicores, memory and hugepages in bytes, devices are counts.
    With huge pages the guest's memory is asked as ``hugepages-1Gi``/``-2Mi`` and
    plain memory is only the overhead (facts 3.10). The same is asked on the
    target while the source still holds its own.
    """
    memory = _requested_memory(vmi, kubevirt_config)
    wanted = {"cpu": _cpu_millis(vmi, kubevirt_config)}
    size = page_size(vmi)
    if size:
        pages = min(memory, guest_memory(vmi) or memory)
        wanted["hugepages-" + size] = pages
        memory -= pages
    wanted["memory"] = memory + memory_overhead(vmi, release, kubevirt_config)
    devices = _domain(vmi).get("devices") or {}
    for device in ("kvm", "tun") + (("vhost-net",) if devices.get("interfaces") else ()):
        wanted["devices.kubevirt.io/" + device] = 1
    for device in (devices.get("gpus") or []) + (devices.get("hostDevices") or []):
        name = device.get("deviceName")
        if name:
            wanted[name] = wanted.get(name, 0) + 1
    return wanted


# -- where it may go ---------------------------------------------------------


def _gates(kubevirt_config):
    return ((kubevirt_config or {}).get("developerConfiguration") or {}).get("featureGates") or []


def _hyperv_labels(vmi):
    hyperv = (_domain(vmi).get("features") or {}).get("hyperv") or {}
    wanted = [name for name in HYPERV_FEATURES if name in hyperv and (hyperv[name] or {}).get("enabled") is not False]
    return {HYPERV + name: "true" for name in wanted}


def _security_labels(vmi):
    security = _domain(vmi).get("launchSecurity") or {}
    labels = {}
    if "sev" in security:
        policy = (security["sev"] or {}).get("policy") or {}
        labels["kubevirt.io/sev-es" if policy.get("encryptedState") else "kubevirt.io/sev"] = "true"
    for kind in ("snp", "tdx"):
        if kind in security:
            labels["kubevirt.io/" + {"snp": "sev-snp"}.get(kind, kind)] = "true"
    if security == {} and (vmi.get("spec") or {}).get("architecture") == "s390x" and \
            "launchSecurity" in _domain(vmi):
        labels["kubevirt.io/s390-pv"] = "true"
    return labels


def node_selector(vmi, kubevirt_config=None, release="1.9"):
    """The labels a node must carry: the guest's own, the cluster's and the system's (facts 3.4).

    Not in it, because they depend on the source: :func:`host_model_selector`,
    :func:`vendor_selector`. Not a selector at all: :func:`forbidden_labels`.
    """
    spec, known = vmi.get("spec") or {}, _known(release)
    cpu = _domain(vmi).get("cpu") or {}
    labels = {SCHEDULABLE: "true", "kubernetes.io/arch": spec.get("architecture") or "amd64"}
    if dedicated_cpus(vmi):
        labels["kubevirt.io/cpumanager" if known >= (1, 8) else "cpumanager"] = "true"
    if cpu_model(vmi, kubevirt_config) not in HOST_MODELS:
        labels[MODEL + cpu_model(vmi, kubevirt_config)] = "true"
    for feature in cpu.get("features") or []:
        if (feature.get("policy") or "require") == "require":
            labels[FEATURE + feature["name"]] = "true"
    machine = (_domain(vmi).get("machine") or {}).get("type")
    if machine and known >= (1, 6):
        labels[MACHINE_TYPE + machine] = "true"
    if "HypervStrictCheck" in _gates(kubevirt_config):
        labels.update(_hyperv_labels(vmi))
    hints = (vmi.get("status") or {}).get("topologyHints") or {}
    if hints.get("tscFrequency"):
        labels[TSC_FREQUENCY + str(hints["tscFrequency"])] = "true"
    if "realtime" in cpu:
        labels["kubevirt.io/realtime"] = "true"
    labels.update(_security_labels(vmi))
    cluster = ((kubevirt_config or {}).get("developerConfiguration") or {}).get("nodeSelectors") or {}
    return dict(labels, **dict(cluster, **(spec.get("nodeSelector") or {})))


def forbidden_labels(vmi):
    """Labels that a node must not carry: CPU features the guest forbids, and for host-model obsolete hosts."""
    cpu = _domain(vmi).get("cpu") or {}
    labels = [FEATURE + f["name"] for f in cpu.get("features") or [] if f.get("policy") == "forbid"]
    return labels + ([OBSOLETE_HOST_MODEL] if (cpu.get("model") or "host-model") == "host-model" else [])


def host_model_selector(source_node_labels, source_pod_selector, release):
    """The CPU labels that a host-model guest's target must carry, or None when KubeVirt leaves the migration Pending.

    Any CPU label in the present pod's selector is taken for the baseline of an earlier move, also a feature that the
    guest requires itself: then no host model is asked. Otherwise the present node's host model and its required features
    count. A node without a host model cannot be told from: KubeVirt up to 1.5 makes no target pod, later ones ask
    nothing of its CPU (the error is lost; read in createTargetPod of 1.5.0, 1.6.0 and 1.9.0, seen on 1.9.0).
    """
    frozen = {
        key: value for key, value in (source_pod_selector or {}).items() if key.startswith((FEATURE, MIGRATION_MODEL))
    }
    if frozen:
        return frozen
    labels = source_node_labels or {}
    model = host_model(labels)
    if not model:
        return None if _known(release) < (1, 6) else {}
    wanted = {FEATURE + key[len(HOST_FEATURE):]: "true" for key in labels if key.startswith(HOST_FEATURE)}
    wanted[MIGRATION_MODEL + model] = "true"
    return wanted


def host_model(node_labels):
    """The host CPU model that a node names, or None."""
    return next(iter(sorted(key[len(HOST_MODEL):] for key in node_labels or {} if key.startswith(HOST_MODEL))), None)


def vendor_selector(source_node_labels, selector, release):
    """KubeVirt >= 1.8 keeps a guest on its CPU vendor unless a vendor was chosen (facts 3.6)."""
    if _known(release) < (1, 8) or any(key.startswith(VENDOR) for key in selector or {}):
        return {}
    return {key: "true" for key in source_node_labels or {} if key.startswith(VENDOR)}
