# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why a migration did not end as asked: ``{code, message, remedy}``; the message is a clause after the VM's name."""

from __future__ import annotations

import datetime

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.migration import (
    condition,
    migration_state,
    transitions,
    vmi_key,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import (
    format_bytes,
    format_duration,
    format_rate,
)


def cause_of(code, message, remedy):
    """``{code, message, remedy}``: why, for programs and for people."""
    return {"code": code, "message": message, "remedy": remedy}


# -- by KubeVirt's own words -------------------------------------------------------------

# code, text that betrays it (lower case), what it means, what helps. First match wins, so that the specific
# comes before the late symptom (the target pod's death is reported the same for every reason).
KNOWN = (
    ("host_model", ("no node is suitable to run the required cpu model", "nosuitablenodesforhostmodelmigration"),
     "no other node offers the CPU model and features that this VM was started with",
     "Give the VMs a common CPU model (defaultCPUModel) that every node lists in its cpu-model labels, then restart "
     "this VM once."),
    ("cpu_mismatch", ("guest cpu doesn't match specification", "allowed features:", "cpu not compatible",
                      "cpu is incompatible"),
     "the target's CPU or QEMU does not offer what the guest was started with",
     "Choose a target with the same CPU features; after an upgrade of KubeVirt the VM may need one restart to migrate "
     "again."),
    ("cpu_pinning", ("cannot set cpu affinity",),
     "the dedicated CPUs of the target could not be used",
     "Check that the target has the label kubevirt.io/cpumanager=true and enough free exclusive CPUs of the same NUMA "
     "layout."),
    ("huge_pages", ("unable to map backing store for guest ram",),
     "the target had too few free huge pages on the right NUMA node, although its total looked enough",
     "Free or reserve huge pages on the target per NUMA node, then run again."),
    ("quota", ("exceeded quota",),
     "the namespace's ResourceQuota does not allow the second pod that a migration needs",
     "Raise the quota by the size of this VM for the time of the migration; the source and the target count."),
    ("storage_size", ("destination volume is smaller than the source",),
     "a destination volume is smaller than its source", "Create the destination volume with at least the same size."),
    ("not_shared", ("is not shared, live migration requires",),
     "a volume cannot be used from two nodes at a time",
     "Use volumes with access mode ReadWriteMany, or move this VM cold."),
    ("in_flight", ("in-flight migration detected",),
     "another migration of this VM has not ended",
     "Wait for it, or cancel it with state=aborted, then run again."),
    ("taken_over", ("taken over by another migration job", "another migration job is in progress"),
     "another migration of this VM got in between",
     "Find out who else migrates VMs (descheduler, workload updates, a node drain), let it finish and run again."),
    ("multiple_pods", ("multiple pods running for vmi",),
     "the VM still has an old launcher pod", "Wait until the old virt-launcher pod is gone, then run again."),
    ("utility_volume", ("utility volume",),
     "a utility volume is attached, which blocks a migration",
     "Wait until backup or memory dump have ended, then run again."),
    ("backup", ("backupinprogress", "backup is in progress"),
     "a backup of this VM is running", "Wait until it has ended, then run again."),
    ("cancelled", ("due to being canceled",), "it was cancelled", "Run again to start it anew."),
    ("not_converging", ("not completed after",),
     "its memory could not be copied within the time that KubeVirt grants: it changed faster than the link carries",
     "Use a quieter hour, a faster migration network, or a larger completionTimeoutPerGiB."),
    ("stalled", ("migration stuck for",),
     "the copy made no progress until KubeVirt gave up: the link between the nodes stands still",
     "Check the migration network between the two nodes (link, MTU, network policies), then run again."),
    ("unschedulable", ("unschedulable", "nodes are available", "failedscheduling"),
     "no node takes the target pod",
     "Free memory, huge pages or CPUs on a target node, or uncordon one; vm_migratable_facts lists what each node "
     "lacks."),
    ("target_start", ("errimagepull", "imagepullbackoff", "failedmount", "failedattachvolume", "failedcreatepodsandbox",
                      "containercreating", "oomkilled", "unexpectedadmissionerror"),
     "the target pod did not start",
     "Look at the target pod's events: image, volumes, network attachments and CPU pinning."),
    ("post_copy", ("postcopy", "post-copy"),
     "post-copy failed, and with it the guest's memory is lost",
     "Check the link between the nodes; do not use post-copy for guests that must not restart."),
    ("target_down", ("target pod is down", "target pod shutdown", "target pod was removed", "attachment pod"),
     "the target pod ended before the VM could be handed over",
     "Look at the target node: memory pressure, kubelet and virt-handler; then run again, if need be with another "
     "target."),
    ("connection", ("client socket is closed", "unable to connect to server", "connection reset by peer",
                    "connection timed out", "no route to host", "i/o timeout"),
     "the connection between the two nodes broke",
     "Check the migration network between the two nodes and virt-handler on both, then run again."),
)


def name_cause(vmi, vmim, vmim_uid, pod=None, events=(), granted=None, sample=None):
    """Why a migration failed: ``{code, message, remedy}``.

    :param pod: the target pod, if still there.
    :param events: Event objects about VMIM, VMI and target pod.
    :param granted: seconds that KubeVirt grants (None: unlimited or unknown).
    :param sample: the last :class:`.progress.Sample`, if any.

    Source texts: facts 1.15-1.16, 2.7, 4.14, 8.2. From 1.9 on every abort reads the same, so that only the
    time it took tells a time-out from a stalled link.
    """
    state = migration_state(vmi, vmim_uid, vmim)
    if state.get("abortRequested") or condition(vmim or {}, "migrationAbortRequested"):
        return cause_of("cancelled", "it was cancelled", "Run again to start it anew.")
    reason = _failure_reason(state, granted)
    known = _known(reason)
    if reason and not known:
        return cause_of("other", "KubeVirt says: %s" % reason.rstrip("."),
                        "Look at the virt-launcher logs of source and target for the full text, then run again.")
    texts = _pod_texts(pod) + _condition_texts(vmim) + [_event_text(event) for event in events]
    if not known or known[0]["code"] == "target_down":  # the late symptom: somebody else may know why
        known = _known(*texts) or known
        if known is None or known[0]["code"] == "target_down":
            known = _by_time(vmim) or known
    if known:
        return _enriched(known[0], known[1], sample)
    said = next((text for text in texts if text.strip(": ")), None)
    return cause_of(
        "unknown", "KubeVirt says: %s" % said.strip(": .") if said else "KubeVirt gives no reason",
        "Look at the events of the VMIM and the virt-launcher logs of source and target.")


def _by_time(vmim):
    """A target pod that KubeVirt gave up: after 300 s without a node, else after 900 s (facts 2.7)."""
    found = {name: _epoch(stamp) for name, stamp in transitions(vmim).items()} if vmim else {}
    if "Scheduling" not in found or "Scheduled" in found or "Failed" not in found:
        return None
    waited = found["Failed"] - found["Scheduling"]
    code = "target_start" if waited >= 890 else "unschedulable" if waited >= 290 else None
    row = next((row for row in KNOWN if row[0] == code), None)
    return row and (cause_of(code, row[2], row[3]), "it was given up after %s" % format_duration(waited))


def _failure_reason(state, granted):
    """``failureReason``, where the one text for every abort (1.9 and later) is told apart again by the time it took."""
    reason = (state.get("failureReason") or "").strip()
    if "has been aborted" not in reason or "not completed after" in reason or "stuck for" in reason:
        return reason
    start, end = state.get("startTimestamp"), state.get("endTimestamp")
    late = granted and start and end and _epoch(end) - _epoch(start) >= 0.97 * granted
    return "Live migration not completed after its time" if late else "Live migration stuck for too long"


def _known(*texts):
    """``(cause, text)`` for the first row of :data:`KNOWN` that one of the texts betrays, or None."""
    for code, marks, message, remedy in KNOWN:
        for text in texts:
            if any(mark in text.lower() for mark in marks):
                return cause_of(code, message, remedy), text
    return None


def _enriched(cause, said, sample):
    """The cause with its figures, or with the words that betrayed it."""
    if cause["code"] == "not_converging" and sample and sample.dirty and sample.rate:
        cause["message"] += " (at the end by %s or more, and %s were carried)" % (
            format_rate(sample.dirty), format_rate(sample.rate))
    elif cause["code"] not in ("not_converging", "stalled", "cancelled"):
        shown = " ".join(said.split()).strip(":. ")
        cause["message"] += " (%s)" % (shown if len(shown) <= 300 else shown[:297] + "...")
    return cause


def refusal_cause(said):
    """The cause behind the text with which the API refused a VMIM (facts 1.18)."""
    known = _known(said)
    if known:
        return _enriched(known[0], said, None)
    if "cannot migrate vmi" in said.lower():
        return cause_of("not_migratable", said.rstrip("."), "Ask vm_migratable_facts what blocks this VM and helps.")
    return cause_of("refused", said.rstrip("."), "Remove what the message names, then run again.")


def _pod_texts(pod):
    """What a pod's status says about why it did not run."""
    status = (pod or {}).get("status") or {}
    found = []
    for row in status.get("containerStatuses") or []:
        for state in (row.get("state") or {}).values():
            found.append("%s %s" % (state.get("reason") or "", state.get("message") or ""))
    scheduled = condition(pod or {}, "PodScheduled")
    if scheduled.get("status") == "False":
        found.append("%s: %s" % (scheduled.get("reason") or "", scheduled.get("message") or ""))
    return found + ["%s %s" % (status.get("reason") or "", status.get("message") or "")]


def _condition_texts(vmim):
    rows = ((vmim or {}).get("status") or {}).get("conditions") or []
    quota = ["exceeded quota: %s" % (row.get("message") or "") for row in rows
             if row.get("type") == "migrationRejectedByResourceQuota" and row.get("status") == "True"]
    return quota + ["%s: %s" % (row.get("reason") or "", row.get("message") or "") for row in rows
                    if row.get("status") == "True"]


def _event_text(event):
    return "%s: %s" % (event.get("reason") or "", event.get("message") or "")


def _epoch(stamp):
    moment = datetime.datetime.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")
    return moment.replace(tzinfo=datetime.timezone.utc).timestamp()


# -- by our own watch ---------------------------------------------------------------------


def changed_before():
    """The VMI is gone or another one, and no migration of ours had begun."""
    return cause_of("vm_changed", "it was stopped or restarted before its migration began",
                    "Look why; the run that was planned for it is no longer right. Plan again.")


def not_here():
    """The VMI is another one than before."""
    return cause_of(
        "vm_restarted", "VM RESTARTED: it was not moved live but came up anew, its memory is lost",
        "Check it and what runs in it at once; look at the launcher logs of both nodes before moving another VM.")


def stopped(detail):
    """The VMI ended and did not come back."""
    return cause_of(
        "vm_stopped", "VM STOPPED during its migration (%s)" % detail,
        "Check it and what runs in it at once; look at the launcher logs of both nodes before moving another VM.")


def wrong_target(detail):
    """The target is known now, and is not where the VM should be."""
    return cause_of("wrong_target", detail, "Cordon the nodes that shall not receive VMs, or give target_node.")


def not_as_planned(differences, when="at handoff"):
    """What it runs with, or would run with, is not what was planned (clauses of :func:`.handoff.differences`)."""
    return cause_of(
        "not_as_planned", "%s not all is as planned: %s" % (when, "; ".join(differences)),
        "Find out who changed policies, labels or settings meanwhile (migration_policy state=read tells which policy "
        "applies and why), put it right, and run again.")


def wrong_network(detail):
    """The target listens where it should not."""
    return cause_of(
        "wrong_network", detail,
        "Look at the pod virt-handler on that node and its attachment to the migration network; a restart of the pod "
        "attaches it anew. Then run again.")


DANGER_WORDS = {
    "post_copy": "post-copy is in force for it, and it is a critical guest: it would be lost if a node or the link "
                 "failed while its memory is fetched",
    "disruption": "KubeVirt may pause it until the rest is copied, and it is a critical guest: a cluster manager would "
                  "take it for dead",
}


def dangerous(dangers):
    """A critical guest would meet post-copy or a pause that nobody acknowledged."""
    return cause_of(
        "dangerous", "; ".join(DANGER_WORDS[danger] for danger in dangers),
        "Hold allow_post_copy and allow_workload_disruption at false for it (migration_policy), or take the risk by "
        "name: acknowledge: [%s]%s." % (", ".join(dangers), " with max_pause" if "disruption" in dangers else ""))


def paused_unasked():
    """KubeVirt paused the guest, and nobody had allowed that."""
    return cause_of(
        "paused", "its time was over and KubeVirt paused it to finish the copy, which was not acknowledged",
        "Use a quieter hour, a faster migration network or a larger completionTimeoutPerGiB; or allow a pause by name: "
        "acknowledge: [disruption] with max_pause.")


def paused_too_long(seconds):
    """The pause that was allowed is over."""
    return cause_of(
        "paused_too_long", "KubeVirt had paused it, and its max_pause of %s was over" % format_duration(seconds),
        "Use a quieter hour or a faster migration network.")


def unverified(node):
    """The migration is over, and the VM does not say that it has moved."""
    return cause_of("unverified", "its migration is over, but it does not report that it arrived (it is on %s)" % node,
                    "Look at the VMI's status.migrationState and at virt-handler on both nodes.")


def post_copy():
    """Too late to cancel."""
    return cause_of("post_copy", "it is in post-copy and can no longer be cancelled",
                    "Let it finish; without the link between the nodes the VM would be lost.")


def cancel_stuck(seconds, phase):
    """A cancel that does not end."""
    return cause_of(
        "cancel_stuck",
        "it was cancelled %s ago and that has not ended (phase %s)" % (format_duration(seconds), phase or "new"),
        "Look at virt-handler on both nodes: a dead one on the target keeps a cancel from ending.")


def no_slot(limits, seconds, holders):
    """No room for a migration, and none of ours under way.

    :param holders: ``namespace/name`` of the VMs that are migrated, as far as they can be seen.
    """
    known = ", ".join(holders[:5]) + (" and %d more" % (len(holders) - 5) if len(holders) > 5 else "")
    return cause_of(
        "no_slot",
        "the migration slots (%d in the cluster, %d out of a node) stayed taken for %s%s"
        % (limits + (format_duration(seconds), " (%s)" % known if known else "")),
        "Wait for those migrations or find out who starts them, or raise the limits.")


def partner_moving(vmim, seconds):
    """The other side of a pair is being migrated, by whomever.

    :param vmim: its VMIM.
    """
    return cause_of(
        "partner_moving", "its partner %s/%s was being migrated (%s) for %s, and the two never move at once" % (
            vmi_key(vmim) + ((vmim.get("metadata") or {}).get("name"), format_duration(seconds))),
        "Wait for the end of that migration, then run again, or raise queue_timeout.")


def queued_too_long(vmim, seconds, events=()):
    """Created, and not begun by KubeVirt, whose conditions say which kind of thing holds it, and events what exactly."""
    held = "; ".join(row.get("message") or row.get("type") for row in (vmim.get("status") or {}).get("conditions") or []
                     if row.get("status") == "True")
    refused = [event["message"] for event in events if "exceeded quota" in (event.get("message") or "")]
    if refused:
        held = refused[-1].rstrip(".")
    return cause_of(
        "queued_too_long",
        "it waited %s and KubeVirt did not begin%s" % (format_duration(seconds), " (%s)" % held if held else ""),
        "Find out what takes the slots or holds it back (conditions and events of the VMIM), or raise queue_timeout.")


def too_slow(code, message, progress):
    """A time limit that is reached, with what the copy looked like then (a :class:`.progress.Progress`)."""
    sample = progress.last
    if sample and progress.hopeless:
        message += "; its memory changes by %s or more and %s are carried, so that it would not have ended" % (
            format_rate(sample.dirty), format_rate(sample.rate))
    elif sample:
        message += " and %s were left" % format_bytes(sample.remaining)
    return cause_of(code, message, "Use a quieter hour, a faster migration network, or give it more time.")


def after_failure(who):
    """Not started, because another one failed."""
    return cause_of("stopped", "VM %s did not end as asked, so no more were started" % who,
                    "Clear up what happened to that VM, then run again.")


# -- why no more are started ------------------------------------------------------------------


def too_late():
    """The deadline, less what is kept free before it, has come."""
    return cause_of("deadline", "the deadline came before it could start", "Give it a later window.")


def no_time(timeout, left):
    """A copy that lasts as long as it may would pass the deadline.

    :param timeout: seconds a copy may take.
    :param left: seconds until the deadline, less what is kept free before it.
    """
    return cause_of(
        "no_time", "its copy may take %s, and %s are left before the deadline and what is kept free before it"
        % (format_duration(timeout), format_duration(max(0, left))),
        "Give it a later window or a smaller timeout.")


def stopped_as_asked(who, undo):
    """Somebody asked for a soft stop.

    :param who: by what, such as ``file /tmp/stop``.
    """
    return cause_of("stopped_as_asked", "stopped as asked (%s)" % who, "%s and run again to go on." % undo)


def lease_lost(said, remedy):
    """Another run has the node now."""
    return cause_of("lease_lost", said.rstrip("."), remedy)


def disturbed(message, remedy):
    """Somebody else is at work now (:mod:`.interlocks`)."""
    return cause_of("disturbed", message.rstrip("."), remedy)
