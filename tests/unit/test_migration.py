# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading VMIs and VMIMs: places, slots, how a migration stands, and the cause of a failure."""

from __future__ import annotations

import copy
import os

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import causes, migration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.migration import Place
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.progress import Progress, Sample

UID, VM_UID = "m-1", "v-1"


def vmi(node="a", uid=VM_UID, phase="Running", **state):
    found = {"metadata": {"namespace": "ns", "name": "vm", "uid": uid}, "status": {"phase": phase, "nodeName": node}}
    if state:
        found["status"]["migrationState"] = dict({"migrationUid": UID, "sourceNode": "a", "targetNode": "b"}, **state)
    return found


def vmim(phase="Running", uid=UID, labels=None, selector=None, name="m", conditions=(), vm="vm", **status):
    return {
        "metadata": {"namespace": "ns", "name": name, "uid": uid, "labels": labels or {}, "creationTimestamp": "2026-11-21T01:00:00Z"},
        "spec": dict({"vmiName": vm}, **({"addedNodeSelector": selector} if selector else {})),
        "status": dict({"phase": phase, "conditions": list(conditions)}, **status),
    }


def node(name, **labels):
    return {
        "metadata": {"name": name, "labels": dict({migration.HOSTNAME: name, "kubevirt.io/schedulable": "true"}, **labels)},
        "spec": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


NODES = {"a": node("a"), "b": node("b", zone="two"), "c": node("c", zone="two")}


# -- success, and only success ----------------------------------------------------------


def test_it_has_moved_when_everything_says_so():
    done = vmi("b", completed=True, endTimestamp="x")
    assert migration.standing(VM_UID, done, vmim("Succeeded"), UID).word == "moved"


@pytest.mark.parametrize(("what", "the_vmi", "the_vmim", "word"), [
    ("still copying", vmi("a", startTimestamp="x"), vmim("Running"), "going"),
    ("before handoff, after an earlier migration", vmi("a", migrationUid="m-0", completed=True, targetNode="a"), vmim("Pending"), "going"),
    ("succeeded, the VMI not seen yet", vmi("a", startTimestamp="x"), vmim("Succeeded"), "settling"),
    ("succeeded, but the VMI tells of another migration", vmi("b", migrationUid="m-0", completed=True), vmim("Succeeded"), "settling"),
    ("arrived, the VMIM is not final", vmi("b", completed=True), vmim("Running"), "settling"),
    ("completed and failed at once", vmi("a", completed=True, failed=True), vmim("Failed"), "failed"),
    ("failed without completed", vmi("a", failed=True), vmim("Failed"), "failed"),
    ("failed before handoff", vmi("a"), vmim("Failed"), "failed"),
    ("completed, but on another node", vmi("c", completed=True), vmim("Succeeded"), "settling"),
    ("cancelled before handoff, VMIM gone", vmi("a"), None, "failed"),
    ("cancelled while running, VMIM gone", vmi("a", failed=True, abortRequested=True), None, "failed"),
    ("cancelled, VMIM gone, the VMI not final yet", vmi("a", abortRequested=True), None, "settling"),
    ("cancel lost the race", vmi("b", completed=True, abortRequested=True), None, "moved"),
    ("VMIM failed after all had arrived", vmi("b", completed=True), vmim("Failed"), "moved"),
    ("another uid", vmi("b", uid="v-2", completed=True), vmim("Succeeded"), "restarted"),
    ("the VMI is gone", None, vmim("Failed"), "gone"),
    ("the VMI has ended", vmi("a", phase="Failed"), vmim("Failed"), "gone"),
])
def test_how_it_stands(what, the_vmi, the_vmim, word):
    assert migration.standing(VM_UID, the_vmi, the_vmim, UID).word == word, what


def test_a_full_copy_in_the_final_vmim_counts_too():
    state = {"migrationUid": UID, "completed": True, "targetNode": "b"}
    assert migration.standing(VM_UID, vmi("b"), vmim("Succeeded", migrationState=state), UID).word == "moved"


# -- times --------------------------------------------------------------------------------


def test_times_come_from_the_listed_transitions():
    rows = [("Pending", 1), ("Scheduling", 5), ("Scheduled", 9), ("PreparingTarget", 10), ("TargetReady", 11), ("Running", 12),
            ("Succeeded", 52)]
    one = vmim("Succeeded", phaseTransitionTimestamps=[
        {"phase": phase, "phaseTransitionTimestamp": "2026-11-21T01:00:%02dZ" % second} for phase, second in rows])
    found = migration.transitions(one)
    assert found["Running"] == "2026-11-21T01:00:12Z"
    moments = {phase: int(stamp[17:19]) for phase, stamp in found.items()}
    assert migration.durations(moments) == {"queue": 5, "prepare": 7, "copy": 40, "total": 52}


def test_times_of_one_that_never_left_the_queue():
    assert migration.durations({"": 0, "Pending": 1, "Failed": 8}) == {"queue": 8, "prepare": None, "copy": None, "total": 8}
    assert migration.durations({"": 0}) == {"queue": None, "prepare": None, "copy": None, "total": None}
    assert migration.durations({}) == {"queue": None, "prepare": None, "copy": None, "total": None}


# -- places ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "there"), [
    (Place("b", {}, ()), True), (Place("a", {}, ()), False), (Place(None, {"zone": "two"}, ()), True),
    (Place(None, {"zone": "one"}, ()), False), (Place(None, {}, ("a",)), True), (Place(None, {}, ("b",)), False),
    (Place(None, {"zone": "two"}, ("b",)), False),
])
def test_being_there(place, there):
    assert migration.is_there(place, "b", NODES["b"]["metadata"]["labels"]) is there
    assert migration.is_there(place, None, {}) is False


def test_the_selector_asks_by_the_hostname_label():
    nodes = {"b": node("b", **{migration.HOSTNAME: "b.example.org"})}
    assert migration.added_selector(Place("b", {}, ()), nodes) == {migration.HOSTNAME: "b.example.org"}
    assert migration.added_selector(Place(None, {"zone": "two"}, ()), nodes) == {"zone": "two"}
    assert migration.added_selector(Place(None, {}, ("a",)), nodes) is None


@pytest.mark.parametrize(("change", "words"), [
    (lambda n: n["spec"].update(unschedulable=True), "is cordoned"),
    (lambda n: n["status"].update(conditions=[{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]),
     "is not Ready (NodeStatusUnknown)"),
    (lambda n: n["status"].update(conditions=[]), "is not Ready"),
    (lambda n: n["metadata"]["labels"].update({"kubevirt.io/schedulable": "false"}), "kubevirt.io/schedulable"),
])
def test_nodes_that_take_nothing(change, words):
    one = copy.deepcopy(NODES["b"])
    assert migration.node_problem(one) is None
    change(one)
    assert words in migration.node_problem(one)


@pytest.mark.parametrize(("selector", "state", "place", "unfit"), [
    (None, {}, Place(None, {}, ("a",)), None),
    (None, {}, Place("b", {}, ()), "goes to any node"),
    ({migration.HOSTNAME: "b"}, {}, Place("b", {}, ()), None),
    ({migration.HOSTNAME: "c"}, {}, Place("b", {}, ()), "goes to kubernetes.io/hostname=c"),
    ({migration.HOSTNAME: "a"}, {}, Place(None, {}, ("a",)), "goes to a"),
    ({"zone": "two", "x": "y"}, {}, Place(None, {"zone": "two"}, ()), None),
    (None, {"targetNode": "b"}, Place("b", {}, ()), None),
    (None, {"targetNode": "c"}, Place("b", {}, ()), "goes to c"),
    (None, {"targetNode": "c"}, Place(None, {"zone": "two"}, ()), None),
])
def test_whether_one_under_way_leads_there(selector, state, place, unfit):
    assert migration.fits(vmim("Pending", selector=selector), state, place, NODES) == unfit


def test_the_gate_at_handoff():
    assert migration.handoff_problem({"targetNode": "b"}, Place("b", {}, ()), NODES) is None
    assert "the scheduler chose c" in migration.handoff_problem({"targetNode": "c"}, Place("b", {}, ()), NODES)
    assert "chose a" in migration.handoff_problem({"targetNode": "a"}, Place(None, {}, ("a",)), NODES)
    assert migration.handoff_problem({"targetNode": "a"}, Place(None, {}, ()), NODES) is None


# -- ours, theirs, slots --------------------------------------------------------------------------


def test_what_we_create_is_ours_and_named_after_the_vm():
    made = migration.body("ns", "x" * 39 + "-.yyyy", {"zone": "two"}, "run-7")
    assert made["metadata"]["generateName"] == "bigvm-%s-" % ("x" * 39)
    assert made["metadata"]["labels"][migration.RUN_LABEL] == "run-7"
    assert made["spec"] == {"vmiName": "x" * 39 + "-.yyyy", "addedNodeSelector": {"zone": "two"}}
    assert migration.is_ours(made)
    assert "addedNodeSelector" not in migration.body("ns", "vm")["spec"]
    assert not migration.is_ours(vmim(labels={migration.RUN_LABEL: "run-7"}))


def test_unfinished_ones_of_one_vm():
    rows = [vmim("Running", uid="1"), vmim("Failed", uid="2"), vmim("", uid="3", vm="other"), vmim("", uid="4")]
    assert [migration.uid(row) for row in migration.unfinished(rows, ("ns", "vm"))] == ["1", "4"]


def test_free_slots_by_both_limits():
    vmis = {("ns", "vm"): vmi("a"), ("ns", "far"): dict(vmi("b"), metadata={"namespace": "ns", "name": "far", "uid": "f"})}
    rows = [vmim("Running", uid="1"), vmim("Pending", uid="2"), vmim("Scheduling", uid="3", vm="far"), vmim("Failed", uid="4")]
    assert migration.free_slots([], vmis, (5, 2), "a") == 2
    assert migration.free_slots(rows, vmis, (5, 2), "a") == 1
    assert migration.free_slots(rows, vmis, (5, 2), "a", own_pending={"2"}) == 0
    assert migration.free_slots(rows, vmis, (2, 2), "c") == 0
    assert migration.free_slots(rows, vmis, (1, 2), "c") == 0
    assert migration.free_slots(rows, {}, (5, 2), "a") == 2  # a source that cannot be seen does not count


def test_a_slot_counts_where_the_vm_came_from():
    arrived = {("ns", "vm"): vmi("b", completed=True)}
    assert migration.free_slots([vmim("Running")], arrived, (5, 1), "a") == 0
    assert migration.free_slots([vmim("Running")], arrived, (5, 1), "b") == 1


# -- causes -------------------------------------------------------------------------------------------


def event(reason, message):
    return {"reason": reason, "message": message}


FAILURES = {
    "not_converging": ("Live migration is not completed after 66000 seconds and has been aborted", [], None),
    "stalled": ("Live migration stuck for 150 seconds and has been aborted", [], None),
    "cpu_mismatch": ("Live migration failed virError(Code=9, Domain=31, Message='operation failed: guest CPU doesn't match "
                     "specification: missing features: vmx-exit-load-perf-global-ctrl')", [], None),
    "huge_pages": ("internal error: qemu unexpectedly closed the monitor: unable to map backing store for guest RAM: "
                   "Cannot allocate memory", [], None),
    "cpu_pinning": ("cannot set CPU affinity on process 71: Invalid argument", [], None),
    "connection": ("internal error: client socket is closed", [event("migrationTargetPodUnschedulable", "was unschedulable")], None),
    "other": ("Live migration failed: something new", [], None),
    "unschedulable": ("", [event("migrationTargetPodUnschedulable", "Migration target pod for VMI [ns/vm] is currently unschedulable."),
                           event("FailedMigration", "Migration failed because target pod was removed")], None),
    "host_model": ("", [event("NoSuitableNodesForHostModelMigration", "Migration cannot proceed since no node is suitable to run the "
                              "required CPU model / required features: map[...]"),
                        event("FailedMigration", "target pod was removed"), event("x", "0/3 nodes are available")], None),
    "target_start": ("Target pod is down", [], {"status": {"containerStatuses": [
        {"state": {"terminated": {"reason": "OOMKilled"}}}]}}),
    "target_down": ("Target pod is down", [], None),
    "taken_over": ("", [event("FailedMigration", "VMI's migration state was taken over by another migration job during active "
                              "migration.")], None),
    "cancelled": ("", [event("FailedMigration", "Migration failed due to being canceled")], None),
    "quota": ("", [event("FailedCreate", 'pods "virt-launcher-vm-x" is forbidden: exceeded quota: small')], None),
    "unknown": ("", [], None),
}


@pytest.mark.parametrize("code", sorted(FAILURES))
def test_the_cause_is_named_with_a_remedy(code):
    reason, events, pod = FAILURES[code]
    found = causes.name_cause(vmi("a", failed=True, failureReason=reason), vmim("Failed"), UID, pod, events)
    assert found["code"] == code
    assert found["message"] and found["remedy"].endswith(".")
    assert not found["message"].endswith(".")


@pytest.mark.parametrize(("waited", "code"), [(901, "target_start"), (302, "unschedulable"), (20, "target_down")])
def test_a_pod_that_was_given_up_is_told_by_the_time_it_was_given(waited, code):
    rows = [("Scheduling", 0), ("Failed", waited)]
    given_up = vmim("Failed", phaseTransitionTimestamps=[
        {"phase": phase, "phaseTransitionTimestamp": "2026-11-21T01:%02d:%02dZ" % divmod(second, 60)} for phase, second in rows])
    removed = [event("FailedMigration", "Migration failed because target pod was removed")]
    assert causes.name_cause(vmi("a"), given_up, UID, events=removed)["code"] == code


def test_quota_is_seen_in_the_condition():
    held = vmim("Pending", conditions=[{"type": "migrationRejectedByResourceQuota", "status": "True"}])
    assert causes.name_cause(vmi("a"), held, UID)["code"] == "quota"
    assert "migrationRejectedByResourceQuota" in causes.queued_too_long(held, 1800)["message"]
    told = [event("FailedCreate", "Error creating pod: pods is forbidden: exceeded quota: tight, requested: pods=1, used: pods=2")]
    assert "exceeded quota: tight" in causes.queued_too_long(held, 1800, told)["message"]


@pytest.mark.parametrize(("seconds", "granted", "code"), [(300, 300, "not_converging"), (299, 3000, "stalled"), (300, None, "stalled")])
def test_one_text_for_every_abort_is_told_apart_by_time(seconds, granted, code):
    state = {"failed": True, "failureReason": "Live migration has been aborted", "startTimestamp": "2026-11-21T01:00:00Z",
             "endTimestamp": "2026-11-21T01:%02d:%02dZ" % divmod(seconds, 60)}
    assert causes.name_cause(vmi("a", **state), vmim("Failed"), UID, granted=granted)["code"] == code


def test_a_cancel_by_somebody_is_not_a_time_out():
    state = {"failed": True, "abortRequested": True, "failureReason": "Live migration has been aborted"}
    assert causes.name_cause(vmi("a", **state), vmim("Failed"), UID)["code"] == "cancelled"


def test_what_did_not_converge_is_told_in_numbers():
    sample = Sample("u", 100, 0, 10 ** 9, 10 ** 10, 9 * 10 ** 8, 21 * 10 ** 8, 4)
    state = {"failed": True, "failureReason": FAILURES["not_converging"][0]}
    found = causes.name_cause(vmi("a", **state), vmim("Failed"), UID, sample=sample)
    assert "by 2.1 GB/s or more, and 900 MB/s were carried" in found["message"]
    assert "are carried" not in causes.too_slow("timeout", "its time was over", Progress())["message"]


@pytest.mark.parametrize(("said", "code"), [
    ('admission webhook "migration-create-validator.kubevirt.io" denied the request: in-flight migration detected. Active '
     "migration job (x) is currently already in progress for VMI vm.", "in_flight"),
    ("Cannot migrate VMI, Reason: DisksNotLiveMigratable, Message: cannot migrate VMI: PVC x is not shared, live migration requires "
     "that all PVCs must be shared (using ReadWriteMany access mode)", "not_shared"),
    ("Cannot migrate VMI, Reason: HostDeviceNotLiveMigratable, Message: VMI uses a PCI host devices", "not_migratable"),
    ("Cannot migrate VMI in finalized state.", "not_migratable"),
    ("something else", "refused"),
])
def test_refusals_of_the_api(said, code):
    found = causes.refusal_cause(said)
    assert found["code"] == code
    assert found["remedy"]


def test_stale_and_failed_objects_that_users_posted():
    shared = os.environ.get("BIGVM_SHARED")
    folder = shared and os.path.join(shared, "realdata", "objects")
    if not folder or not os.path.isdir(folder):
        pytest.skip("BIGVM_SHARED is not set: no real objects")
    yaml = pytest.importorskip("yaml")

    def read(name):
        with open(os.path.join(folder, name), encoding="utf-8") as handle:
            return yaml.safe_load(handle)

    failed = read("vmim-5.yaml")
    assert migration.standing(VM_UID, vmi("a"), failed, migration.uid(failed)).word == "failed"
    assert causes.name_cause(vmi("a"), failed, migration.uid(failed))["code"] == "unknown"
    stale = read("vmi-8.yaml")
    assert migration.migration_state(stale, "another") == {}
    assert migration.migration_state(stale, stale["status"]["migrationState"]["migrationUid"])["targetNode"] == "node02"
