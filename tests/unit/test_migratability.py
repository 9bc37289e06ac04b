# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verdict: a table of objects that trigger each rule and of ones that do not."""

from __future__ import annotations

import copy

import pytest
from verdict_objects import (
    BIG,
    CALCULATOR,
    CLAIMS,
    FEATURE,
    FORBIDDEN,
    FULL,
    GIB,
    KEY,
    KUBEVIRT,
    LESSER,
    NAMELESS,
    POD,
    REQUIRES,
    VMI,
    attachment,
    change,
    claim,
    cluster_quota,
    codes,
    handler,
    inventory,
    judged,
    migrations,
    network_policy,
    node,
    quota,
    topology,
    vmim,
    with_condition,
)

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import (
    migratability,
    policy,
    reasons,
    rules,
)


def test_nothing_in_the_way():
    row = judged(inventory())
    assert (row["verdict"], row["reasons"], row["candidates"], row["ruled_out"]) == ("live", [], ["w2"], [])
    assert row["memory_bytes"] == 64 * GIB and row["budget_seconds"] == 150 * 69 and row["critical"] is False


@pytest.mark.parametrize("reason", sorted(reasons.LIVE_MIGRATABLE))
def test_every_reason_of_kubevirt_itself(reason):
    row = judged(inventory(with_condition("LiveMigratable", "False", reason, "because")))
    assert row["verdict"] == reasons.LIVE_MIGRATABLE[reason].effect
    assert {"code": reason, "severity": "blocker"} in row["reasons"]
    assert row["details"]["reasons"][reason] == ["because"]


@pytest.mark.parametrize("reason, code", [
    ("QuantumStateNotLiveMigratable", "QuantumStateNotLiveMigratable"), ("Paused", "NotMigratable"), ("", "NotMigratable"),
    (None, "NotMigratable"), (["x"], "NotMigratable"), ("x y\n", "NotMigratable"),
])
def test_a_reason_nobody_has_heard_of_is_no_yes(reason, code):
    answer = migratability.judge(inventory(with_condition("LiveMigratable", "False", reason)))
    assert answer["vms"][0]["verdict"] == "cold_only"
    assert set(answer["reasons"]) == {code} and answer["reasons"][code]["remedy"]


RWO = change(VMI, "status.volumeStatus", [{"name": "root", "persistentVolumeClaimInfo": {"accessModes": ["ReadWriteOnce"]}}])
NO_INFO = change(VMI, "status.volumeStatus", [{"name": "root"}])
UNSAID = {"type": "LiveMigratable", "status": "Unknown"}


def unsaid(vmi):
    return change(vmi, "status.conditions", [UNSAID])


def volume_status(**row):
    return change(VMI, "status.volumeStatus", VMI["status"]["volumeStatus"] + [row])


def tpm(mode, release):
    vmi = change(volume_status(name="persistent-state-for-hana-x", persistentVolumeClaimInfo={
        "claimName": "persistent-state-for-hana-x", "accessModes": [mode]}), "spec.domain.devices", {"tpm": {"persistent": True}})
    return inventory(vmi, change(KUBEVIRT, "status.observedKubeVirtVersion", release))


def on_network(*handlers, **lists):
    return inventory(kubevirt=migrations(network="migration-net"), pods=[POD] + list(handlers), **lists)


NUMA = change(change(VMI, "spec.domain.cpu", {"sockets": 4, "dedicatedCpuPlacement": True, "numa": {"guestMappingPassthrough": {}}}),
              "spec.domain.memory", {"guest": "64Gi", "hugepages": {"pageSize": "1Gi"}})


def numa_node(name):
    offer = change(node(name), "status.allocatable", dict(node(name)["status"]["allocatable"], **{"hugepages-1Gi": "80Gi"}))
    return change(offer, "metadata.labels", dict(offer["metadata"]["labels"], cpumanager="true"))


def bound(*topologies, nodes=("w1", "w2")):
    return inventory(NUMA, nodes=[numa_node(name) for name in nodes], topologies=list(topologies))


def system(name, said):
    return change(node(name), "status.nodeInfo", {"osImage": said})


def big_on_network(**lists):
    return inventory(BIG, migrations(network="migration-net"), pods=[POD, handler("w1"), handler("w2")], **lists)


SPREAD = change(VMI, "spec.topologySpreadConstraints", [
    {"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}])
BESIDE = change(change(change(POD, "metadata.name", "virt-launcher-hana-2"), "spec.nodeName", "w2"), "metadata.uid", "second")
RUNNING_VM = {"metadata": {"name": "hana", "namespace": "sap"}, "spec": {"template": {}}}

TABLE = [
    # code, verdict, what triggers it, what does not
    ("Finished", "cold_only", inventory(change(VMI, "status.phase", "Succeeded")), inventory()),
    ("NotRunningYet", "blocked", inventory(change(VMI, "status.phase", "Scheduling")), inventory()),
    ("PhaseUnknown", "unknown", inventory(change(VMI, "status.phase", "Unknown")), inventory()),
    ("PhaseUnknown", "unknown", inventory(change(VMI, "status.nodeName", ...)), inventory()),
    ("BeingDeleted", "blocked", inventory(change(VMI, "metadata.deletionTimestamp", "2026-11-20T23:00:00Z")), inventory()),
    ("Paused", "live", inventory(with_condition("Paused", "True", "PausedByUser")), inventory(with_condition("Paused", "False"))),
    ("LiveMigratableUnknown", "unknown", inventory(with_condition("LiveMigratable", "Unknown")), inventory()),
    ("LiveMigratableUnknown", "unknown", inventory(change(VMI, "status.conditions", [])), inventory()),
    ("VolumeNotShared", "cold_only", inventory(unsaid(RWO)), inventory(unsaid(VMI))),
    ("VolumeNotShared", "cold_only", inventory(unsaid(NO_INFO), claims=claim("ReadWriteOnce")),
     inventory(unsaid(NO_INFO), claims=claim("ReadOnlyMany", "ReadWriteMany"))),
    ("VolumeNotShared", "cold_only",
     inventory(change(unsaid(VMI), "spec.volumes", [{"name": "d", "hostDisk": {"path": "/x"}}])),
     inventory(change(unsaid(VMI), "spec.volumes", [{"name": "d", "hostDisk": {"path": "/x", "shared": True}}]))),
    ("VolumeNotShared", "cold_only",
     inventory(change(unsaid(NO_INFO), "spec.volumes", [{"name": "root", "dataVolume": {"name": "root"}}]), claims=claim("ReadWriteOnce")),
     inventory(change(unsaid(RWO), "status.migratedVolumes", [{"volumeName": "root"}]))),
    ("VolumeUnknown", "unknown", inventory(unsaid(NO_INFO)), inventory(unsaid(VMI))),
    ("LocalDisksCopied", "live", inventory(change(VMI, "status.migrationMethod", "BlockMigration")), inventory()),
    ("EvictionStopsGuest", "live", inventory(change(VMI, "spec.evictionStrategy", "None")), inventory()),
    ("EvictionStopsGuest", "live",
     inventory(change(VMI, "spec.evictionStrategy", ...), change(KUBEVIRT, "spec.configuration.evictionStrategy", ...)),
     inventory(change(VMI, "spec.evictionStrategy", ...))),
    ("EvictionNotHandled", "live", inventory(change(VMI, "spec.evictionStrategy", "External")), inventory()),
    ("OwnMigrationUnderWay", "live", inventory(vmims=[vmim("Running", {"app.kubernetes.io/managed-by": "bigvm.live_migration"})]),
     inventory(vmims=[vmim("Succeeded", {"app.kubernetes.io/managed-by": "bigvm.live_migration"})])),
    ("ForeignMigrationUnderWay", "blocked", inventory(vmims=[vmim("Pending")]), inventory(vmims=[vmim("Failed")])),
    ("ForeignMigrationUnderWay", "blocked", inventory(vmims=[vmim(None)]), inventory(vmims=[vmim("Running", vmi="other")])),
    ("EvacuationRequested", "live", inventory(change(VMI, "status.evacuationNodeName", "w1")),
     inventory(change(VMI, "status.evacuationNodeName", "w9"))),
    ("NoSlotsAllowed", "blocked", inventory(kubevirt=migrations(parallelMigrationsPerCluster=0)), inventory()),
    ("NoFreeSlot", "live",
     inventory(kubevirt=migrations(parallelMigrationsPerCluster=1), vmims=[vmim("Running", vmi="other")]),
     inventory(kubevirt=migrations(parallelMigrationsPerCluster=1), vmims=[vmim("Pending", vmi="other")])),
    ("NoCandidate", "blocked", inventory(nodes=[node("w1"), change(node("w2"), "spec.unschedulable", True)]), inventory()),
    ("NoCandidate", "blocked", inventory(nodes=[node("w1")]), inventory()),
    ("CandidatesUnknown", "unknown", inventory(nodes=[node("w1"), change(node("w2"), "status.conditions", [])]), inventory()),
    ("HostModelUnknown", "blocked",
     inventory(nodes=NAMELESS, kubevirt=change(KUBEVIRT, "status.observedKubeVirtVersion", "v1.5.0")), inventory(nodes=NAMELESS)),
    ("HostModelUnchecked", "live", inventory(nodes=NAMELESS), inventory()),
    ("HostModelUnchecked", "live",
     inventory(REQUIRES, pods=[CLAIMS], nodes=[node("w1"), change(node("w2"), "metadata.labels", LESSER)]),
     inventory(REQUIRES, pods=[CLAIMS], nodes=[change(one, "metadata.labels", dict(one["metadata"]["labels"], **FEATURE))
                                               for one in (node("w1"), node("w2"))])),
    ("RequirementsUnknown", "unknown", inventory(change(VMI, "spec.domain.memory.guest", "plenty")), inventory()),
    ("RequirementsUnknown", "unknown", inventory(change(VMI, "spec.domain.cpu.sockets", "four")), inventory()),
    ("ReleaseUnknown", "unknown", inventory(kubevirt=change(KUBEVIRT, "status", {})), inventory()),
    ("NumaPagesNotVisible", "live", bound(), bound(topology("w2", "40Gi", "40Gi"))),
    ("NumaPagesShort", "blocked", bound(topology("w2", "60Gi", "20Gi")), bound(topology("w2", "70Gi", "10Gi"))),
    ("NumaPagesShortOnSome", "live", bound(topology("w2", "60Gi", "20Gi"), topology("w3", "32Gi", "32Gi"), nodes=("w1", "w2", "w3")),
     bound(topology("w2", "64Gi", "16Gi"), topology("w3", "32Gi", "32Gi"), nodes=("w1", "w2", "w3"))),
    ("SeveralPods", "blocked", inventory(pods=[POD, BESIDE]), inventory(pods=[POD, BESIDE], vmims=[vmim("Running")])),
    ("SeveralPods", "blocked",  # what the last migration left behind ends by itself, a failed one its target, the other its source
     inventory(change(VMI, "status.migrationState", {"completed": True, "sourcePod": "another"}), pods=[POD, BESIDE]),
     inventory(change(VMI, "status.migrationState", {"completed": True, "sourcePod": "virt-launcher-hana-2"}), pods=[POD, BESIDE])),
    ("SeveralPods", "blocked",
     inventory(change(VMI, "status.migrationState", {"failed": True, "sourcePod": "virt-launcher-hana-2"}), pods=[POD, BESIDE]),
     inventory(change(VMI, "status.migrationState", {"failed": True, "targetPod": "virt-launcher-hana-2"}), pods=[POD, BESIDE])),
    ("HotplugUnderWay", "blocked", inventory(volume_status(name="log", phase="AttachedToNode", hotplugVolume={})),
     inventory(volume_status(name="log", phase="Ready", hotplugVolume={}))),
    ("ResizeUnderWay", "live", inventory(with_condition("HotMemoryChange", "True")), inventory(with_condition("HotMemoryChange", "False"))),
    ("BackupUnderWay", "blocked", inventory(change(VMI, "status.changedBlockTracking", {"backupStatus": {"backupName": "b"}})),
     inventory(change(VMI, "status.changedBlockTracking", {"backupStatus": {"backupName": "b", "completed": True}}))),
    ("UtilityVolumes", "blocked",
     inventory(change(VMI, "spec.utilityVolumes", [{"name": "dump"}]), change(KUBEVIRT, "status.observedKubeVirtVersion", "v1.8.0")),
     inventory(change(VMI, "spec.utilityVolumes", []), change(KUBEVIRT, "status.observedKubeVirtVersion", "v1.8.0"))),
    ("VolumesMoveToo", "live", inventory(change(VMI, "status.migratedVolumes", [{"volumeName": "root"}])), inventory()),
    ("StorageNotLiveMigratable", "live", inventory(with_condition("StorageLiveMigratable", "False", "NotMigratable")),
     inventory(with_condition("StorageLiveMigratable", "True"))),
    ("BackendStorageNotShared", "cold_only", tpm("ReadWriteOnce", "v1.3.1"), tpm("ReadWriteMany", "v1.3.1")),
    ("BackendStorageNewClaim", "live", tpm("ReadWriteOnce", "v1.6.0"), tpm("ReadWriteMany", "v1.6.0")),
    ("RestartRequired", "live",
     inventory(vms=[dict(RUNNING_VM, status={"conditions": [{"type": "RestartRequired", "status": "True"}]})]),
     inventory(vms=[dict(RUNNING_VM, status={"conditions": []})])),
    ("LauncherOutdated", "live", inventory(change(VMI, "metadata.labels", {"kubevirt.io/outdatedLauncherImage": ""})), inventory()),
    ("SriovDetached", "live", inventory(change(VMI, "spec.domain.devices", {"interfaces": [{"name": "fast", "sriov": {}}]})),
     inventory(change(VMI, "spec.domain.devices", {"interfaces": [{"name": "fast", "bridge": {}}]}))),
    ("GuestAgentAbsent", "live", inventory(with_condition("AgentConnected", "False")), inventory()),
    ("SourceHandlerNotReady", "blocked", inventory(pods=[POD, handler("w1", "False"), handler("w2")]),
     inventory(pods=[POD, handler("w1", "False"), handler("w1"), handler("w2")])),
    ("SourceOffMigrationNetwork", "blocked",
     on_network(handler("w1", address=""), handler("w2")), on_network(handler("w1"), handler("w2"))),
    ("NoCandidate", "blocked", on_network(handler("w1"), handler("w2", address="")),
     inventory(pods=[POD, handler("w1"), handler("w2", address="")])),
    ("NoCandidate", "blocked", inventory(pods=[POD, handler("w1"), handler("w2", "False")]),
     inventory(pods=[POD, handler("w1"), handler("w2")])),
    ("MigrationNetworkUnknown", "unknown", on_network(), on_network(handler("w1"), handler("w2"))),
    ("NoCandidate", "blocked", inventory(SPREAD, pods=[POD, BESIDE, change(BESIDE, "metadata.uid", "third")], vmims=[vmim("Failed")]),
     inventory(SPREAD)),
    ("NoDedicatedNetwork", "live", inventory(BIG), big_on_network()),
    ("SingleNode", "blocked", inventory(nodes=[node("w1")]), inventory()),
    ("MixedNodeSystems", "live", inventory(nodes=[system("w1", "Red Hat Enterprise Linux CoreOS 418.94"), system("w2", "Fedora Linux 44")]),
     inventory(nodes=[system("w1", "Fedora Linux 44"), system("w2", "Fedora Linux 44")])),
    ("MigrationMtuNotSet", "live", big_on_network(attachments=[attachment()]), big_on_network(attachments=[attachment(mtu=9000)])),
    ("BridgeOnDefaultInterface", "live", big_on_network(network_policies=[network_policy("eno1")]),
     big_on_network(network_policies=[network_policy("eno2")])),
    ("ClusterQuotaExceeded", "blocked",
     inventory(cluster_quotas=[cluster_quota({"requests.memory": "100Gi"}, {"requests.memory": "65Gi"})]),
     inventory(cluster_quotas=[cluster_quota({"requests.memory": "100Gi"}, {"requests.memory": "65Gi"}, "other")])),
    ("AaqExceeded", "blocked", inventory(aaq_quotas=[FULL], aaqs=CALCULATOR), inventory(aaq_quotas=[FULL])),
    ("AaqNotDoubled", "live", inventory(aaq_quotas=[FULL]), inventory()),
    ("QuotaExceeded", "blocked", inventory(quotas=[quota({"requests.memory": "100Gi"}, {"requests.memory": "65Gi"})]),
     inventory(quotas=[quota({"requests.memory": "200Gi"}, {"requests.memory": "65Gi"})])),
    ("QuotaExceeded", "blocked", inventory(quotas=[quota({"cpu": "500m"}, {"cpu": "400m"})]),
     inventory(quotas=[quota({"cpu": "1"}, {"cpu": "400m"})])),
    ("QuotaExceeded", "blocked", inventory(quotas=[quota({"count/pods": "1"}, {"count/pods": "1"}, scopes=["NotTerminating"])]),
     inventory(quotas=[quota({"count/pods": "1"}, {"count/pods": "1"}, scopes=["BestEffort"])])),
    ("QuotaUnknown", "unknown", inventory(quotas=[quota({"pods": "1"}, {"pods": "1"}, scopeSelector={"matchExpressions": []},
                                                        scopes=["PriorityClass"])]),
     inventory(quotas=[quota({"services": "1"}, {"services": "1"})])),
    ("QuotaUnknown", "unknown", inventory(quotas=[quota({"pods": "9"}, {})]), inventory(quotas=[quota({"pods": "9"}, {"pods": "1"})])),
    ("PostCopyCritical", "blocked", inventory(BIG, migrations(allowPostCopy=True)), inventory(VMI, migrations(allowPostCopy=True))),
    ("PostCopyCritical", "blocked",
     inventory(BIG, change(migrations(allowPostCopy=True), "status.observedKubeVirtVersion", "v1.3.1")),
     inventory(BIG, migrations(allowPostCopy=True, allowWorkloadDisruption=False))),
    ("DisruptionCritical", "blocked", inventory(BIG, migrations(allowWorkloadDisruption=True)), inventory(BIG)),
    ("SettingsUnknown", "unknown", inventory(BIG, kubevirts=[]), inventory(VMI, kubevirts=[])),
    ("SettingsUnknown", "unknown", inventory(BIG, migrations(completionTimeoutPerGiB="soon")), inventory(BIG)),
    ("BudgetTooShort", "live", inventory(kubevirt=migrations(bandwidthPerMigration="5Mi", completionTimeoutPerGiB=150)),
     inventory(kubevirt=migrations(bandwidthPerMigration="64Mi", completionTimeoutPerGiB=150))),
    ("BudgetTooShort", "live", inventory(kubevirt=migrations(bandwidthPerMigration="1", completionTimeoutPerGiB=150)),
     inventory(kubevirt=migrations(bandwidthPerMigration="1", completionTimeoutPerGiB=0))),
    ("DirtyRateAboveCap", "live", inventory(kubevirt=migrations(bandwidthPerMigration="64Mi"), dirty_rates={KEY: 70e6}),
     inventory(kubevirt=migrations(bandwidthPerMigration="64Mi"), dirty_rates={KEY: 60e6})),
    ("DirtyRateAbsent", "live", inventory(dirty_rates={}), inventory(dirty_rates={KEY: 1e6})),
    ("MultifdOffRelease", "live", inventory(kubevirt=change(KUBEVIRT, "status.observedKubeVirtVersion", "v1.4.0")), inventory()),
    ("MultifdOffCpuLimit", "live", inventory(change(VMI, "spec.domain.resources.limits.cpu", "4")), inventory()),
    ("MultifdOffPostCopy", "live", inventory(kubevirt=migrations(allowPostCopy=True)), inventory()),
    ("MultifdOffDedicatedCpus", "live",
     inventory(change(VMI, "spec.domain.cpu", {"cores": 4, "dedicatedCpuPlacement": True}),
               change(KUBEVIRT, "status.observedKubeVirtVersion", "v1.9.0"),
               nodes=[node("w1"), change(node("w2"), "metadata.labels", dict(node("w2")["metadata"]["labels"], **{
                   "kubevirt.io/cpumanager": "true"}))]),
     inventory()),
]


@pytest.mark.parametrize("code, verdict, triggers, does_not", TABLE, ids=["%d-%s" % (i, row[0]) for i, row in enumerate(TABLE)])
def test_rules(code, verdict, triggers, does_not):
    row = judged(triggers)
    assert code in codes(row) and row["verdict"] == verdict
    assert code not in codes(judged(does_not))


def test_the_table_covers_every_code_of_a_vm():
    covered = {row[0] for row in TABLE} | set(reasons.LIVE_MIGRATABLE) | set(reasons.UNREADABLE) | {
        "Stopped", "CheckFailed", "PostCopyAcknowledged", "DisruptionAcknowledged", "NoRoomLeft", "KeepRulesLeaveNoNode"}
    of_nodes = {code for code, reason in reasons.TARGETS.items() if reason.severity == "info"}
    assert set(reasons.REASONS) - covered - of_nodes == set()


def test_severity_says_what_the_effect_is():
    for code, reason in reasons.REASONS.items():
        assert (reason.severity == "blocker") == (reason.effect is not None), code
        assert reason.message.endswith(".") and reason.remedy.endswith(".") and reason.reference, code


@pytest.mark.parametrize("name, verdict", [
    ("nodes", "unknown"), ("pods", "unknown"), ("vmims", "unknown"), ("quotas", "unknown"), ("kubevirts", "unknown"),
    ("claims", "live"), ("namespaces", "live"), ("vms", "live"), ("policies", "live"),
])
def test_a_forbidden_list_makes_only_the_checks_that_need_it_unknown(name, verdict):
    row = judged(inventory(forbidden=[name], **{name: []}))
    assert row["verdict"] == verdict
    assert (FORBIDDEN[name] in codes(row)) == (verdict == "unknown")


@pytest.mark.parametrize("name, vmi", [("policies", BIG), ("kubevirts", BIG), ("claims", unsaid(NO_INFO))])
def test_a_forbidden_list_that_could_block_this_guest(name, vmi):
    row = judged(inventory(vmi, forbidden=[name], **{name: []}))
    assert row["verdict"] == "unknown" and FORBIDDEN[name] in codes(row)
    assert "list" in migratability.judge(inventory(vmi, forbidden=[name], **{name: []}))["reasons"][FORBIDDEN[name]]["remedy"]


def test_namespaces_are_needed_where_a_policy_names_their_labels():
    gold = {"metadata": {"name": "p"}, "spec": {"selectors": {"namespaceSelector": {"tier": "gold"}}, "allowPostCopy": True}}
    assert judged(inventory(BIG, policies=[gold]))["verdict"] == "live"
    row = judged(inventory(BIG, policies=[gold], forbidden=["namespaces"], namespaces=[]))
    assert row["verdict"] == "unknown" and "CannotReadNamespaces" in codes(row)


def test_what_is_sure_comes_before_what_is_not():
    row = judged(inventory(with_condition("LiveMigratable", "False", "DisksNotLiveMigratable"), forbidden=["pods"], pods=[]))
    assert row["verdict"] == "cold_only"
    row = judged(inventory(nodes=[node("w1"), change(node("w2"), "spec.unschedulable", True)], forbidden=["pods"], pods=[]))
    assert row["verdict"] == "blocked" and "NoCandidate" in codes(row)


def test_settings_that_will_be_held_count_instead():
    found = inventory(BIG, migrations(allowPostCopy=True))
    assert judged(found)["verdict"] == "blocked"
    assert judged(found, settings={"allow_post_copy": False, "allow_workload_disruption": False})["verdict"] == "live"
    assert judged(found, settings={"allow_post_copy": None})["verdict"] == "blocked"


def test_the_policy_that_wins_decides():
    loose = {"metadata": {"name": "a-loose"}, "spec": {
        "selectors": {"virtualMachineInstanceSelector": {"app": "hana"}}, "allowPostCopy": True, "completionTimeoutPerGiB": 1}}
    strict = {"metadata": {"name": "strict"}, "spec": {
        "selectors": {"virtualMachineInstanceSelector": {"app": "hana"}, "namespaceSelector": {"tier": "gold"}},
        "bandwidthPerMigration": "1Gi"}}
    gold = [{"metadata": {"name": "sap", "labels": {"tier": "gold"}}}]
    row = judged(inventory(BIG, policies=[loose, strict]))
    assert row["verdict"] == "blocked" and row["budget_seconds"] == 323
    assert row["details"]["reasons"]["PostCopyCritical"] == ["from MigrationPolicy a-loose"]
    row = judged(inventory(BIG, policies=[loose, strict], namespaces=gold))
    assert row["verdict"] == "live" and row["budget_seconds"] == 323 * 150
    # A policy still goes before settings that are only assumed.
    assert judged(inventory(BIG, policies=[loose]), settings={"allow_post_copy": False})["verdict"] == "blocked"


@pytest.mark.parametrize("names", [("b", "a"), ("a", "b")])
def test_which_policy_wins(names):
    def made(name, of_vmi, of_namespace):
        selectors = {"virtualMachineInstanceSelector": of_vmi, "namespaceSelector": of_namespace}
        return {"metadata": {"name": name}, "spec": {"selectors": selectors}}

    def winner(*policies):
        found = policy.winner(policies, {"app": "hana", "tier": "db"}, {"team": "sap", "site": "x"})
        return found and found["metadata"]["name"]

    one, other = names
    assert winner(made(one, {"app": "hana"}, None), made(other, {"app": "hana", "tier": "db"}, None)) == other  # more labels
    assert winner(made(one, {}, {"team": "sap", "site": "x"}), made(other, {"app": "hana"}, {"team": "sap"})) == other
    assert winner(made(one, {"app": "hana"}, {}), made(other, {"tier": "db"}, {})) == "a"  # a tie: the first by name
    assert winner(made(one, {}, {}), made(other, {"app": "other"}, {})) == one  # an empty selector matches everything
    assert winner({"metadata": {"name": one}, "spec": {}}) is None  # none matches nothing


def test_a_migration_of_ours_under_way_does_not_rule_its_own_target_out():
    ours = vmim("Running", {"app.kubernetes.io/managed-by": "bigvm.live_migration"})
    target = change(change(POD, "spec.nodeName", "w2"), "metadata.name", "virt-launcher-hana-2")
    target["metadata"]["labels"]["kubevirt.io/migrationJobUID"] = "vmim-1"
    target["spec"]["containers"][0]["resources"]["requests"]["memory"] = "560Gi"
    big = change(VMI, "spec.domain.memory.guest", "550Gi")
    answer = migratability.judge(inventory(big, vmims=[ours], pods=[POD, target]))
    row = answer["vms"][0]
    assert row["verdict"] == "live" and row["candidates"] == ["w2"]
    assert answer["cluster"]["running_migrations"] == 1 and answer["nodes"]["w1"]["outbound_migrations"] == 1


def test_a_migration_leaves_from_where_the_source_pod_is_when_its_vmi_was_not_asked_for():
    other = vmim("Running", vmi="other", uid="vmim-9")
    source, target = copy.deepcopy(POD), copy.deepcopy(POD)
    for pod, on in ((source, "w1"), (target, "w2")):
        pod["spec"]["nodeName"] = on
        pod["metadata"]["labels"]["kubevirt.io/created-by"] = "vmi-9"
    target["metadata"]["labels"]["kubevirt.io/migrationJobUID"] = "vmim-9"
    found = inventory(vmims=[other], pods=[POD, source, target], kubevirt=migrations(parallelOutboundMigrationsPerNode=1))
    answer = migratability.judge(found)
    assert answer["nodes"]["w1"]["outbound_migrations"] == 1 and "NoFreeSlot" in codes(answer["vms"][0])
    assert answer["cluster"]["free_slots"] == 4


def test_a_stopped_vm_is_a_verdict():
    vm = {"metadata": {"name": "hana", "namespace": "sap", "uid": "vm-1"}, "spec": {"template": {"spec": VMI["spec"]}},
          "status": {"printableStatus": "Stopped"}}
    answer = migratability.judge(inventory(vmis=[], vms=[vm]))
    row = answer["vms"][0]
    assert (row["verdict"], row["phase"], row["node"], row["memory_bytes"]) == ("cold_only", "Stopped", None, 64 * GIB)
    assert codes(row) == {"Stopped"} and answer["summary"] == {"live": 0, "cold_only": 1, "blocked": 0, "unknown": 0}


def test_a_vm_that_may_not_be_seen_is_unknown():
    row = judged(inventory(vmis=[], forbidden=["vms"], selected=[KEY]))
    assert row["verdict"] == "unknown" and codes(row) == {"CannotReadVirtualMachines"}


def test_a_finished_guest_has_one_reason():
    row = judged(inventory(unsaid(change(RWO, "status.phase", "Failed"))))
    assert codes(row) == {"Finished"}


@pytest.mark.parametrize("vmi, critical, page_size", [
    (change(VMI, "spec.domain.memory.guest", "255Gi"), False, None),
    (change(VMI, "spec.domain.memory.guest", "256Gi"), True, None),
    (change(VMI, "spec.domain.memory", {"guest": "4Gi", "hugepages": {"pageSize": "1Gi"}}), True, "1Gi"),
    (change(VMI, "spec.domain.memory", {"guest": "4Gi", "hugepages": {"pageSize": "2Mi"}}), False, "2Mi"),
])
def test_critical_guests(vmi, critical, page_size):
    row = judged(inventory(vmi))
    assert row["critical"] is critical and row["page_size"] == page_size


def test_a_guest_is_critical_because_somebody_says_so():
    labelled = change(VMI, "metadata.labels", {"live-migration.bigvm.io/critical": "true"})
    assert judged(inventory(labelled))["critical"] is True
    assert judged(inventory(), critical=["sap/hana"])["critical"] is judged(inventory(), critical=["hana"])["critical"] is True
    assert judged(inventory(), critical=["other/hana"])["critical"] is False
    risky = migrations(allowPostCopy=True)
    assert "PostCopyCritical" in codes(judged(inventory(labelled, risky))) and not codes(judged(inventory(kubevirt=risky))) & {
        "PostCopyCritical"}


@pytest.mark.parametrize("fields, danger, code", [
    ({"allowPostCopy": True}, "post_copy", "PostCopy"), ({"allowWorkloadDisruption": True}, "disruption", "Disruption")])
def test_what_was_acknowledged_warns_instead_of_blocking(fields, danger, code):
    found = inventory(BIG, migrations(**fields))
    row = judged(found, acknowledged=[danger])
    assert row["verdict"] == "live" and {"code": code + "Acknowledged", "severity": "warning"} in row["reasons"]
    other = {"post_copy": "disruption", "disruption": "post_copy"}[danger]
    assert code + "Critical" in codes(judged(found, acknowledged=[other]))


def test_settings_that_will_be_held_go_before_every_policy():
    policy = {"metadata": {"name": "site"}, "spec": {"allowPostCopy": True, "selectors": {}}}
    found = inventory(BIG, migrations(allowPostCopy=True), policies=[policy])
    assumed = {"bandwidth_per_migration": "0"}
    assert "PostCopyCritical" in codes(judged(found, settings=assumed))
    assert judged(found, settings=assumed, hold=True)["verdict"] == "live"
    asked = judged(found, settings={"allow_post_copy": True, "allow_workload_disruption": True}, hold=True)
    assert "PostCopyCritical" in codes(asked) and asked["details"]["reasons"]["PostCopyCritical"] == ["from the settings that will be held"]


def test_disks_that_are_copied_count_in_time_and_budget():
    copied = change(change(VMI, "status.migrationMethod", "BlockMigration"), "spec.volumes", VMI["spec"]["volumes"] + [
        {"name": "scratch", "emptyDisk": {"capacity": "20Gi"}}])
    row = judged(inventory(copied))
    assert row["disk_bytes"] == 20 * GIB and row["budget_seconds"] == 150 * 91  # 84 GiB are 90.2 GB
    assert row["details"]["reasons"]["LocalDisksCopied"] == ["20 GiB"]
    shared = change(copied, "status.migrationMethod", "LiveMigration")
    assert judged(inventory(shared))["disk_bytes"] == 0
    moving = change(VMI, "status.migratedVolumes", [{"volumeName": "root", "sourcePVCInfo": {"capacity": {"storage": "80Gi"}}}])
    row = judged(inventory(moving, migrations(completionTimeoutPerGiB=10, bandwidthPerMigration="100Mi")))
    assert row["disk_bytes"] == 80 * GIB and row["details"]["reasons"]["VolumesMoveToo"] == ["root, 80 GiB"]
    assert row["budget_seconds"] == 10 * 155 and "BudgetTooShort" not in codes(row)  # 154.6 GB take 1475 s


@pytest.mark.parametrize("release, vmi, settings, streams", [
    ("v1.9.0", VMI, {}, 8), ("v1.9.0", change(VMI, "spec.domain.cpu.dedicatedCpuPlacement", True), {}, 1),
    ("v1.6.0", change(VMI, "spec.domain.cpu.dedicatedCpuPlacement", True), {}, 8), ("v1.6.0", VMI, {"allowPostCopy": True}, 1),
    ("v1.9.0", VMI, {"allowPostCopy": True}, 8), ("v1.4.0", VMI, {}, 1),
    ("v1.4.0", change(VMI, "metadata.annotations", {"kubevirt.io/multiThreadedQemuMigration": "4"}), {}, 4), ("dev", VMI, {}, None),
])
def test_how_many_streams(release, vmi, settings, streams):
    kubevirt = change(migrations(**settings), "status.observedKubeVirtVersion", release)
    assert judged(inventory(vmi, kubevirt))["streams"] == streams


@pytest.mark.parametrize("vmi, wanted", [
    (VMI, False), (NO_INFO, False), (unsaid(VMI), False), (unsaid(NO_INFO), True),
    (change(NO_INFO, "status.conditions", [{"type": "LiveMigratable", "status": "False", "reason": "DisksNotLiveMigratable"}]), False),
    (change(NO_INFO, "status.conditions", [{"type": "LiveMigratable", "status": "False", "reason": "HostDeviceNotLiveMigratable"}]), True),
    (change(unsaid(NO_INFO), "spec.volumes", [{"name": "ci", "cloudInitNoCloud": {}}]), False), (None, False), ({"spec": 7}, False)])
def test_claims_are_only_fetched_where_they_can_matter(vmi, wanted):
    assert rules.wants_claims(vmi) is wanted


def test_a_network_that_is_only_assumed_has_not_arrived_anywhere():
    found = inventory(pods=[POD, handler("w1", address=""), handler("w2", address="")])
    assert judged(found, settings={"network": "migration-net"})["verdict"] == "live"


def test_many_vms_get_a_brief_answer():
    many = [change(VMI, "metadata.name", "vm-%02d" % number) for number in range(21)]
    nodes = [node("w%d" % number) for number in range(1, 20)] + [
        change(node("c%d" % number), "spec.unschedulable", True) for number in range(5)]
    brief = migratability.judge(inventory(vmis=many, nodes=nodes))["vms"][0]
    assert "details" not in brief and brief["candidate_count"] == 18 and len(brief["candidates"]) == 10
    assert brief["ruled_out"] == [{"code": "Cordoned", "count": 5, "nodes": ["c0", "c1", "c2"]}]
    full = migratability.judge(inventory(vmis=many, nodes=nodes), detail="full")["vms"][0]
    assert len(full["candidates"]) == 18 and len(full["ruled_out"][0]["nodes"]) == 5
    assert full["details"]["nodes"]["c0"] == ["Cordoned"] and full["details"]["asks"]["cpu"] == 0.405


def test_the_selection_keeps_its_order():
    two = [VMI, change(VMI, "metadata.name", "app")]
    names = [row["name"] for row in migratability.judge(inventory(vmis=two, selected=[KEY, ("sap", "app")]))["vms"]]
    assert names == ["hana", "app"]
    assert [row["name"] for row in migratability.judge(inventory(vmis=two))["vms"]] == ["app", "hana"]


def test_requests_are_in_the_units_of_the_node_facts():
    found = inventory()
    asks, free = migratability.requests(found)[KEY], migratability.judge(found)["nodes"]["w2"]
    assert asks["cpu"] == 0.405 and free["cpus_free"] == 64.0
    assert 64 * GIB < asks["memory"] < free["memory_free"] == 600 * GIB


def test_a_rule_that_stumbles_has_judged_nothing(monkeypatch):
    def stumbling(guest, view):
        yield "Paused", guest.vmi["nothing"]

    monkeypatch.setattr(migratability, "RULES", migratability.RULES + (stumbling,))
    row = judged(inventory())
    assert row["verdict"] == "unknown" and row["details"]["reasons"]["CheckFailed"] == ["stumbling: KeyError: 'nothing'"]
