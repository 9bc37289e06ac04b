# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every reason a verdict can have, by code: how grave it is, what it means, what helps.

``effect`` is what the reason makes of the verdict: ``cold_only`` (it can be
stopped and started elsewhere), ``blocked`` (not now), ``unknown`` (a check that
could block could not be made) or None. Codes of KubeVirt's own LiveMigratable
reasons are spelled as KubeVirt spells them (facts 6.2, F7).
"""

from __future__ import annotations

from collections import namedtuple

Reason = namedtuple("Reason", "severity effect message remedy reference")

CONDITION = "KubeVirt: LiveMigratable condition"
ADMISSION = "KubeVirt: migration admission"
SCHEDULING = "Kubernetes: scheduling; KubeVirt: node assignment"
SETTINGS = "KubeVirt: live migration configuration"
EVICTION = "KubeVirt: eviction strategy"


def _cold(message, remedy, reference=CONDITION):
    return Reason("blocker", "cold_only", message, remedy, reference)


def _blocks(message, remedy, reference):
    return Reason("blocker", "blocked", message, remedy, reference)


def _unknown(message, remedy, reference):
    return Reason("blocker", "unknown", message, remedy, reference)


def _warns(message, remedy, reference):
    return Reason("warning", None, message, remedy, reference)


def _informs(message, remedy, reference):
    return Reason("info", None, message, remedy, reference)


_DEVICE = "Detach it for the maintenance, or shut the guest down and start it on the other node."

LIVE_MIGRATABLE = {
    "DisksNotLiveMigratable": _cold(
        "A disk of the guest is not shared between the nodes.",
        "Move the volume to storage with access mode ReadWriteMany, or shut the guest down and start it on the other "
        "node."),
    "InterfaceNotLiveMigratable": _cold(
        "The guest is on the pod network by a binding that cannot move, such as bridge.",
        "Use masquerade on the pod network, or a secondary network; both need a restart of the guest."),
    "CPUModeLiveMigratable": _blocks(
        "The guest uses the host's CPU model, and its node does not say which one that is.",
        "Look after the node labeller of virt-handler on the guest's node (label host-model-cpu.node.kubevirt.io/...), "
        "or give the guest a named CPU model.", CONDITION),
    "HostDeviceNotLiveMigratable": _cold("The guest has a host device or GPU passed through.", _DEVICE),
    "SEVNotLiveMigratable": _cold(
        "The guest's memory is encrypted by AMD SEV.", "Shut it down and start it on the other node."),
    "TDXNotLiveMigratable": _cold("The guest runs in Intel TDX.", "Shut it down and start it on the other node."),
    "SecureExecutionNotLiveMigratable": _cold(
        "The guest runs in IBM Secure Execution.", "Shut it down and start it on the other node."),
    "NoTSCFrequencyNotLiveMigratable": _cold(
        "The guest uses Hyper-V reenlightenment and the cluster gives no TSC frequency for it.",
        "Use nodes that report a stable TSC frequency, or switch reenlightenment off and restart the guest."),
    "HypervPassthroughNotLiveMigratable": _cold(
        "The guest uses Hyper-V passthrough.", "Name the Hyper-V features one by one instead and restart the guest."),
    "VirtIOFSNotLiveMigratable": _cold(
        "The guest has a virtiofs file system, which moves from KubeVirt 1.5 on.", _DEVICE),
    "PersistentReservationNotLiveMigratable": _cold(
        "A LUN of the guest uses SCSI persistent reservations, which move from KubeVirt 1.9 on.", _DEVICE),
    "HotplugNotLiveMigratable": _cold("The guest has a hot-plugged disk that cannot move.", _DEVICE),
    "DecentralizedNotLiveMigratable": _cold(
        "The guest takes part in a migration between clusters.", "Wait for that migration to end."),
    "NotMigratable": _cold(
        "KubeVirt says that the guest cannot be moved live.",
        "Read the condition's message on the VirtualMachineInstance."),
}

STATE = {
    "Stopped": _cold(
        "The VM is stopped: there is nothing to move live.", "Start it wherever it fits, or leave it.",
        "KubeVirt: VirtualMachine status"),
    "Finished": _cold(
        "The guest has ended (phase Succeeded or Failed).", "Start the VM again; it may come up on another node.",
        ADMISSION),
    "NotRunningYet": _blocks("The guest is still starting.", "Wait until its phase is Running.", ADMISSION),
    "BeingDeleted": _blocks(
        "The guest is being deleted.", "Wait until it is gone, or find out who deletes it.", ADMISSION),
    "PhaseUnknown": _unknown(
        "The state of the guest is not known (phase or node missing, or not understood).",
        "Look at virt-handler on its node and at the VirtualMachineInstance's status.", "KubeVirt: VMI phase"),
    "Paused": _warns(
        "The guest is paused; it will be moved paused.", "Find out why it is paused before moving it.",
        "KubeVirt: Paused condition"),
    "LiveMigratableUnknown": _unknown(
        "KubeVirt has not said whether the guest can be moved live.",
        "Look at virt-handler on its node; it sets the LiveMigratable condition.", CONDITION),
    "OwnMigrationUnderWay": _warns(
        "A migration started by this collection is under way.", "Run migrate_vmi again: it follows that migration.",
        ADMISSION),
    "ForeignMigrationUnderWay": _blocks(
        "A migration that somebody else started is under way; KubeVirt refuses a second one.",
        "Wait for it to end, or delete that VirtualMachineInstanceMigration.", ADMISSION),
    "EvacuationRequested": _warns(
        "An eviction has marked the guest for evacuation. KubeVirt starts migrations for it until one succeeds.",
        "If nobody is draining the node, clear it with evacuate-cancel (KubeVirt 1.7 or later).",
        "KubeVirt: node evacuation"),
    "SeveralPods": _blocks(
        "The guest has more than one pod that has not ended; a migration would stay Pending.",
        "Look at the virt-launcher pods of the guest and delete none before you know which one runs it.", ADMISSION),
    "HotplugUnderWay": _blocks(
        "A disk of the guest is being attached or detached.", "Wait until its volumeStatus is Ready.",
        "KubeVirt: volume hotplug"),
    "ResizeUnderWay": _warns(
        "CPUs or memory of the guest are being changed: KubeVirt migrates it for that, and a migration only ends when the "
        "change has arrived.", "Wait until the change has arrived.", "KubeVirt: CPU and memory hotplug"),
    "BackupUnderWay": _blocks(
        "A backup of the guest runs; a migration waits for its end without limit.", "Wait for the backup, or end it.",
        "KubeVirt: migrations and backups"),
    "UtilityVolumes": _blocks(
        "The guest has a utility volume (memory dump, backup); a migration waits for its end and fails after 150 s.",
        "Wait until it is detached.", "KubeVirt: migrations and utility volumes"),
    "RestartRequired": _warns(
        "The VM was changed in a way that the running guest does not have; moving it does not bring the change.",
        "Restart the VM when it may be restarted, or take the change back.", "KubeVirt: RestartRequired condition"),
    "LauncherOutdated": _warns(
        "The guest was started by an earlier KubeVirt and goes to a newer QEMU; now and then that one refuses its CPU "
        "(\"guest CPU doesn't match specification\"), and the guest stays where it is.",
        "Move a small guest of the same kind first. If it is refused, only a restart of the VM helps.",
        "KubeVirt: updating workloads"),
    "SriovDetached": _warns(
        "SR-IOV cards of the guest are detached before the copy begins and attached again when it has ended: as long as it "
        "takes, nothing goes over them.",
        "Let the guest have a second way over a virtio card (bond in the guest), or put its cluster manager into maintenance "
        "mode for that long.", "KubeVirt: SR-IOV and live migration"),
    "GuestAgentAbsent": _informs(
        "No guest agent answers: nobody corrects the guest's clock after the move, and nothing inside can be checked.",
        "Install and start qemu-guest-agent in the guest.", "KubeVirt: guest agent"),
    "EvictionStopsGuest": _warns(
        "The eviction strategy None is in force: a drain of the node shuts the guest down instead of moving it.",
        "Set evictionStrategy: LiveMigrate on the VM. Our own runs do not evict guests.", EVICTION),
    "EvictionNotHandled": _informs(
        "The eviction strategy is External: KubeVirt does not move the guest when its node is drained.",
        "Nothing, if something else moves it; otherwise set evictionStrategy: LiveMigrate.", EVICTION),
}

STORAGE = {
    "VolumeNotShared": _cold(
        "A volume of the guest lacks the access mode ReadWriteMany.",
        "Move it to shared storage, or shut the guest down and start it on the other node.",
        "KubeVirt: storage for live migration"),
    "VolumeUnknown": _unknown(
        "The access modes of a volume cannot be told.",
        "Look at its PersistentVolumeClaim and at the VMI's volumeStatus.",
        "KubeVirt: storage for live migration"),
    "VolumesMoveToo": _warns(
        "The storage of the guest is being changed: its volumes are copied with the next migration.",
        "Wait until the change is done, or count the time for the volumes.", "KubeVirt: volume migration"),
    "StorageNotLiveMigratable": _informs(
        "KubeVirt says that the guest's storage cannot be changed while it runs; moving it to another node is not meant.",
        "Nothing for a move between nodes.", "KubeVirt: StorageLiveMigratable condition"),
    "BackendStorageNotShared": _cold(
        "The claim with the guest's persistent TPM or EFI state lacks ReadWriteMany, which this release needs.",
        "Set vmStateStorageClass to storage with ReadWriteMany, or shut the guest down and start it on the other node.",
        "KubeVirt: persistent TPM and UEFI state"),
    "BackendStorageNewClaim": _informs(
        "The guest's persistent TPM or EFI state is copied into a new claim, and the old claim is deleted.",
        "Nothing; a backup that names the old claim must follow.", "KubeVirt: persistent TPM and UEFI state"),
    "LocalDisksCopied": _informs(
        "Local disks of the guest (cloud-init, container disk, emptyDisk) are copied along.",
        "Nothing for small ones; the time granted grows with their size.", "KubeVirt: block migration"),
}

TARGETS = {
    "NoCandidate": _blocks(
        "No other node can take the guest now.", "See ruled_out: free or repair one of those nodes.", SCHEDULING),
    "NoRoomLeft": _blocks(
        "The guest fits on another node alone, but not beside what goes there first.", "Free or add room; move fewer guests.",
        SCHEDULING),
    "KeepRulesLeaveNoNode": _blocks(
        "There is room for the guest, but only where somebody is whom it is kept apart from, or without those it is kept "
        "together with.", "Move its partner first, free room elsewhere, or drop the rule (keep_apart, keep_together, labels).",
        SCHEDULING),
    "CandidatesUnknown": _unknown(
        "Whether another node can take the guest cannot be told.", "See undecided and the other reasons.", SCHEDULING),
    "HostModelUnknown": _blocks(
        "The guest uses the host's CPU model and its node carries no host-model label: a migration would stay Pending.",
        "Look after the node labeller of virt-handler on the guest's node.", "KubeVirt: node labeller"),
    "HostModelUnchecked": _warns(
        "The guest uses the host's CPU model, and KubeVirt does not compare it with the target's: the guest's node names no host "
        "model, or the guest requires a CPU feature of its own. On a lesser CPU the migration fails and the guest stays.",
        "Name a target node with the same CPU, or look after the node labeller of virt-handler on the guest's node.",
        "KubeVirt: node labeller"),
    "RequirementsUnknown": _unknown(
        "What the guest asks of a node cannot be computed from its definition.",
        "Check memory, CPU and devices of the VirtualMachineInstance.", SCHEDULING),
    "ReleaseUnknown": _unknown(
        "The release of KubeVirt is not known, and what the target pod asks depends on it.",
        "Look at status.observedKubeVirtVersion of the KubeVirt object.", SCHEDULING),
    "NumaPagesNotVisible": _warns(
        "The guest is bound to NUMA nodes; how many huge pages are free on each one is not in the API.",
        "Check /sys/devices/system/node/*/hugepages on the target.", "KubeVirt: NUMA"),
    "NumaPagesShort": _blocks(
        "The guest is bound to NUMA nodes, and on no candidate have NUMA nodes enough huge pages free in equal shares.",
        "Free huge pages on the NUMA nodes of a candidate: move guests away from it.", "KubeVirt: NUMA"),
    "NumaPagesShortOnSome": _warns(
        "The guest is bound to NUMA nodes, and some candidates have not enough huge pages free on them.",
        "Name another candidate as the target.", "KubeVirt: NUMA"),
    "SourceHandlerNotReady": _blocks(
        "virt-handler on the guest's own node is not ready: the copy would not start.",
        "Look at the virt-handler pod on that node.", "KubeVirt: virt-handler"),
    "SourceOffMigrationNetwork": _blocks(
        "virt-handler on the guest's own node has no address on the migration network, so it does not reach the others "
        "there.", "Repair the attachment on that node and let virt-handler restart there.", "KubeVirt: migration network"),
    "MigrationNetworkUnknown": _unknown(
        "A migration network is set, and whether virt-handler is on it cannot be told.",
        "Look at the pods of virt-handler.", "KubeVirt: migration network"),
    "VirtHandlerNotReady": _informs(
        "virt-handler on the node is not ready: no copy would arrive there.", "Look at its pod on that node.",
        "KubeVirt: virt-handler"),
    "NoMigrationNetwork": _informs(
        "virt-handler on the node has no address on the migration network: the copy would go over the pod network.",
        "Repair the attachment on that node and let virt-handler restart there.", "KubeVirt: migration network"),
    "TopologySpread": _informs(
        "The guest's topology spread constraint forbids one more pod there.",
        "Move others of its kind away, or soften the constraint.", SCHEDULING),
    "Cordoned": _informs("The node is cordoned.", "Uncordon it, or use another one.", SCHEDULING),
    "NotReady": _informs("The node is not Ready.", "Repair it, or use another one.", SCHEDULING),
    "NoVirtHandler": _informs(
        "The node does not run virtual machines (no virt-handler).", "Nothing, if meant so.", SCHEDULING),
    "KubeVirtNotSchedulable": _informs(
        "KubeVirt has taken the node out (kubevirt.io/schedulable is false).", "Look at virt-handler on it.",
        "KubeVirt: node heartbeat"),
    "StaleHeartbeat": _informs(
        "virt-handler on the node has not been heard of for more than 5 minutes.", "Look at virt-handler on it.",
        "KubeVirt: node heartbeat"),
    "TaintNotTolerated": _informs(
        "The node has a taint that the guest does not tolerate.", "Remove the taint, or add a toleration to the VM.",
        SCHEDULING),
    "NodeSelectorMismatch": _informs(
        "The node lacks a label that the guest's node selector asks for.",
        "Label the node, or change the VM's selector.",
        SCHEDULING),
    "NodeAffinityMismatch": _informs(
        "The node does not fit the guest's node affinity.", "Label the node, or change the VM's affinity.", SCHEDULING),
    "CpuMismatch": _informs(
        "The node's CPU lacks the model, a feature or the vendor that the running guest uses.",
        "Use a node with the same or a newer CPU, or give the guest a CPU model that all nodes have (restart).",
        "KubeVirt: node labeller"),
    "MachineTypeMissing": _informs(
        "The node's QEMU does not offer the guest's machine type.",
        "Update the node, or change the machine type (restart).",
        "KubeVirt: node labeller"),
    "NoCpuManager": _informs(
        "The node does not offer dedicated CPUs.", "Set the kubelet's CPU manager policy to static on it.",
        "KubeVirt: dedicated CPUs"),
    "HostFeatureMissing": _informs(
        "The node lacks a host feature that the guest needs (realtime, memory encryption).", "Use a node that has it.",
        SCHEDULING),
    "AntiAffinity": _informs(
        "A pod that must not be beside the guest runs there.", "Move that one first, or change the anti-affinity.",
        SCHEDULING),
    "PodAffinity": _informs(
        "The pods that the guest must be beside do not run there.", "Move them first, or change the affinity.",
        SCHEDULING),
    "MemoryShort": _informs(
        "Not enough memory is free on the node (the guest's memory and KubeVirt's overhead).", "Free memory there.",
        SCHEDULING),
    "HugepagesShort": _informs(
        "Not enough huge pages are free on the node.", "Move guests with huge pages away from it, or reserve more.",
        SCHEDULING),
    "CpuShort": _informs("Not enough CPU is free on the node.", "Free CPUs there.", SCHEDULING),
    "DevicesShort": _informs(
        "A device that the guest needs is not free on the node.", "Free it, or use another node.", SCHEDULING),
    "PodsShort": _informs("The node has as many pods as it takes.", "Move pods away from it.", SCHEDULING),
}

LIMITS = {
    "QuotaExceeded": _blocks(
        "The namespace's ResourceQuota has no room for the target pod: while a guest moves it counts twice.",
        "Raise the quota for the migration.", "KubeVirt: migrations and resource quotas"),
    "QuotaUnknown": _unknown(
        "Whether the namespace's ResourceQuota has room for the target pod cannot be told.",
        "Look at the quota's status and scopes.", "KubeVirt: migrations and resource quotas"),
    "ClusterQuotaExceeded": _blocks(
        "A ClusterResourceQuota over the namespace has no room for the target pod: while a guest moves it counts twice.",
        "Raise the quota for the migration.", "OpenShift: ClusterResourceQuota"),
    "AaqExceeded": _blocks(
        "An application-aware quota has no room for the target pod, and its calculator counts it like any other pod.",
        "Raise the quota, or choose a calculator for VMs (vmiCalculatorConfiguration).", "AAQ: calculators"),
    "AaqNotDoubled": _informs(
        "An application-aware quota has no room for a second pod of this size; its calculator for VMs does not count the "
        "target of a migration.", "Nothing.", "AAQ: calculators"),
    "NoSlotsAllowed": _blocks(
        "A limit of parallel migrations is 0: no migration would ever start.",
        "Set parallel_migrations_per_cluster and parallel_outbound_migrations_per_node to at least 1.", SETTINGS),
    "NoFreeSlot": _informs(
        "As many migrations as allowed are running; a new one waits.", "Wait, or raise the limits.", SETTINGS),
    "PostCopyCritical": _blocks(
        "Post-copy is in force for a critical guest: it is lost if a node or the link fails while its memory is fetched.",
        "Hold allow_post_copy at false for the window, or change the MigrationPolicy that sets it.", SETTINGS),
    "DisruptionCritical": _blocks(
        "KubeVirt may pause a critical guest when its time is over; a cluster manager would take it for dead.",
        "Hold allow_workload_disruption at false for the window, or change the MigrationPolicy that sets it.",
        SETTINGS),
    "PostCopyAcknowledged": _warns(
        "Post-copy is in force for a critical guest, and that was acknowledged: it is lost if a node or the link fails "
        "while its memory is fetched.",
        "Hold allow_post_copy at false for the window, unless this is meant.", SETTINGS),
    "DisruptionAcknowledged": _warns(
        "KubeVirt may pause a critical guest when its time is over, and that was acknowledged.",
        "Put what runs in it into its maintenance mode first; migrate_vmi ends a pause after max_pause.", SETTINGS),
    "SettingsUnknown": _unknown(
        "The live migration settings in force for the guest cannot be told, so neither can post-copy.",
        "Look at the KubeVirt object and the MigrationPolicies.", SETTINGS),
    "BudgetTooShort": _warns(
        "At the bandwidth cap not even one pass over the guest's memory fits into the time granted.",
        "Raise bandwidth_per_migration or completion_timeout_per_gib.", SETTINGS),
    "DirtyRateAboveCap": _warns(
        "The guest changes its memory faster than the bandwidth cap carries: the copy cannot catch up.",
        "Raise bandwidth_per_migration, or move it at a quiet time.", SETTINGS),
    "DirtyRateAbsent": _informs(
        "How fast the guest changes its memory is not measured, so whether a copy catches up cannot be said.",
        "KubeVirt measures it from 1.6 on; look whether Prometheus scrapes virt-handler.", "KubeVirt: dirty rate metric"),
    "MultifdOffRelease": _informs(
        "One stream only: this release uses several only on request.",
        "Annotate the VMI with kubevirt.io/multiThreadedQemuMigration.", "KubeVirt: parallel migration threads"),
    "MultifdOffCpuLimit": _informs(
        "One stream only, because the guest has a CPU limit.", "Remove the CPU limit (restart) if the link has room.",
        "KubeVirt: parallel migration threads"),
    "MultifdOffPostCopy": _informs(
        "One stream only, because post-copy is allowed.", "Set allow_post_copy to false.",
        "KubeVirt: parallel migration threads"),
    "MultifdOffDedicatedCpus": _informs(
        "One stream only, because the guest has dedicated CPUs.", "Nothing; plan with the speed of one stream.",
        "KubeVirt: parallel migration threads"),
}

# Of the site: what is known to go wrong, and what big guests need.
SITE = {
    "SingleNode": _warns(
        "Only one node runs VMs: nothing can move, and this eviction strategy makes every drain hang (alert "
        "VMCannotBeEvicted).", "Set evictionStrategy: None on VMs of a single-node cluster.", EVICTION),
    "MixedNodeSystems": _warns(
        "Some of the nodes run CoreOS and others do not; OpenShift Virtualization supports CoreOS workers only.",
        "Keep VMs off the other nodes (node placement of HyperConverged).", "OpenShift Virtualization: requirements"),
    "NoDedicatedNetwork": _informs(
        "A big guest is copied over the network that everything else uses.",
        "Give migrations a network of their own: 100 Gb/s for guests above 500 GB (hco_live_migration_config, network).",
        "KubeVirt: migration network"),
    "MigrationMtuNotSet": _informs(
        "The attachment of the migration network sets no MTU: a Linux bridge takes 1500, an OVS bridge less, and bigger "
        "frames are cut.", "Set mtu in its configuration to what the switches carry, 9000 where they do.",
        "OpenShift Virtualization: known issues"),
    "BridgeOnDefaultInterface": _warns(
        "A Linux bridge stands on the interface with the default route, which OVN-Kubernetes keeps for itself.",
        "Use a second network card, or an OVS bridge.", "OpenShift Virtualization: known issues"),
}

CHECK_FAILED = {
    "CheckFailed": _unknown(
        "A check could not cope with what the API returned.", "Please report it, with the object and the detail.",
        "This collection"),
}

# Lists that may be forbidden: {name in the inventory: (code, what, resource, what is not known without it)}
LISTS = {
    "nodes": ("CannotReadNodes", "nodes", "nodes", "where the guest could go"),
    "pods": ("CannotReadPods", "pods of all namespaces", "pods", "what the nodes have free"),
    "vmims": (
        "CannotReadMigrations", "migrations", "virtualmachineinstancemigrations.kubevirt.io",
        "whether a migration is under way"),
    "vms": (
        "CannotReadVirtualMachines", "VirtualMachines", "virtualmachines.kubevirt.io",
        "whether a VM is stopped or missing"),
    "claims": (
        "CannotReadClaims", "PersistentVolumeClaims", "persistentvolumeclaims", "whether the volumes are shared"),
    "quotas": (
        "CannotReadQuotas", "ResourceQuotas", "resourcequotas", "whether the target pod is within the quota"),
    "kubevirts": (
        "CannotReadKubeVirt", "KubeVirt object", "kubevirts.kubevirt.io", "the release and the settings in force"),
    "policies": (
        "CannotReadPolicies", "MigrationPolicies", "migrationpolicies.migrations.kubevirt.io",
        "the settings in force for the guest"),
    "cluster_quotas": (
        "CannotReadClusterQuotas", "ClusterResourceQuotas", "clusterresourcequotas.quota.openshift.io",
        "whether the target pod is within them"),
    "aaq_quotas": (
        "CannotReadAaq", "application-aware quotas", "applicationawareresourcequotas.aaq.kubevirt.io",
        "whether the target pod is within them"),
    "namespaces": (
        "CannotReadNamespaces", "namespaces", "namespaces", "what depends on the labels of namespaces"),
}
UNREADABLE = {
    code: _unknown(
        "The %s cannot be read (403), so %s cannot be told." % (what, unknown),
        "Grant the right to list %s." % resource, "Kubernetes: RBAC")
    for code, what, resource, unknown in LISTS.values()
}

# Codes that only some releases of KubeVirt can have; all others are the same in 1.3 to 1.9 (facts 6.2, 11).
RELEASES = {
    "HostModelUnknown": "up to 1.5",
    "VirtIOFSNotLiveMigratable": "up to 1.4", "PersistentReservationNotLiveMigratable": "up to 1.8",
    "StorageNotLiveMigratable": "1.4 and later", "BackendStorageNotShared": "up to 1.3",
    "BackendStorageNewClaim": "1.4 and later", "BackupUnderWay": "1.8 and later", "UtilityVolumes": "1.8 and later",
    "MachineTypeMissing": "1.6 and later", "DisruptionCritical": "1.5 and later", "DisruptionAcknowledged": "1.5 and later",
    "MultifdOffRelease": "up to 1.4", "MultifdOffCpuLimit": "1.5 and later", "MultifdOffPostCopy": "1.5 to 1.8",
    "MultifdOffDedicatedCpus": "1.9 and later", "DecentralizedNotLiveMigratable": "1.6 and later",
}

REASONS = {}
for _part in (LIVE_MIGRATABLE, STATE, STORAGE, TARGETS, LIMITS, SITE, CHECK_FAILED, UNREADABLE):
    REASONS.update(_part)


def reason_of(code):
    """The :class:`Reason` of a code; one that only a newer KubeVirt knows counts as a refusal to move live."""
    return REASONS.get(code) or _cold(
        "KubeVirt says that the guest cannot be moved live, for a reason this collection does not know (%s)." % code,
        "Read the LiveMigratable condition's message on the VirtualMachineInstance.")


def public(codes):
    """``{code: {message, remedy, severity, reference, effect}}`` for the codes given, sorted."""
    return {code: dict(reason_of(code)._asdict()) for code in sorted(codes)}
