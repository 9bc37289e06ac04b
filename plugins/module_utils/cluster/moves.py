# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One VM and what becomes of it, and how that is told."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import migration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.progress import Progress

FINE = ("moved", "already_there", "nothing_under_way", "would_move", "would_follow", "would_abort")
CHANGED = ("moved", "restarted", "would_move", "would_follow", "would_abort")


class Move:
    """Filled by the survey, carried on by the engine."""

    def __init__(self, namespace, name, place):
        self.namespace, self.name, self.place = namespace, name, place
        self.where = (namespace, name)
        # what was found
        self.before = None  # uid of the VMI when we began
        self.source = None  # the node it was on then
        self.memory = 0  # bytes
        self.critical = False
        self.settings = {}  # {snake_case: value} in force for it
        self.expected = None  # .domain.handoff.Expected; None: nothing is known to compare with
        self.selector = None  # the node selector its VMIM needs
        # the migration
        self.vmim_name = self.vmim_uid = self.vmim = None  # vmim: the object as last seen
        self.ours = True
        self.adopted = False
        self.late = False  # adopted after its handoff
        self.created = False  # by this task
        self.state = {}  # its migration state as last seen
        # following
        self.waiting_since = None  # for a slot, with no migration of ours under way
        self.source_pod = None
        self.copying_since = None  # epoch, while it copies
        self.progress = Progress()
        self.passed = set()  # parts of the gate at handoff
        self.alarmed = set()  # modes that were said
        self.paused_since = None  # epoch, while KubeVirt has paused the guest
        self.paused_seconds = 0
        self.unclear_since = None
        # the end
        self.cancelled_at = None
        self.ending = None  # its outcome once the cancel has succeeded
        self.evacuation = None  # cancelled | returns
        self.outcome = None
        self.cause = None

    def __str__(self):
        return "%s/%s" % self.where

    def follow(self, vmim):
        """Take this VMIM as the one that moves the VM."""
        self.vmim, self.vmim_name, self.vmim_uid = vmim, vmim["metadata"]["name"], migration.uid(vmim)
        self.ours = migration.is_ours(vmim)

    def again(self):
        """The same VM for another VMIM of it."""
        other = Move(self.namespace, self.name, self.place)
        other.before, other.source, other.memory, other.critical = self.before, self.source, self.memory, self.critical
        return other

    @property
    def mode(self):
        """``PreCopy``, ``PostCopy``, ``Paused``, or None before the copy."""
        return self.state.get("mode")

    def moments(self):
        """``{phase: epoch}`` of its VMIM, ``""`` for the creation."""
        stamps = migration.transitions(self.vmim) if self.vmim else {}
        return {phase: from_timestamp(stamp) for phase, stamp in stamps.items()}

    def seconds(self):
        """``{queue, prepare, copy, total}``."""
        return migration.durations(self.moments())


def row(move, vmi):
    """One VM in the module's result."""
    stamps = migration.transitions(move.vmim) if move.vmim else {}
    found = {
        "namespace": move.namespace, "name": move.name, "uid": move.before, "memory_bytes": move.memory,
        "critical": move.critical, "outcome": move.outcome or "unfinished",
        "source_node": move.source, "target_node": move.state.get("targetNode"), "node": migration.node_of(vmi or {}),
        "vmim": move.vmim_name, "adopted": move.adopted, "started": stamps.get(""),
        "ended": next((stamps[name] for name in migration.FINAL if name in stamps), move.state.get("endTimestamp")),
        "seconds": move.seconds(), "mode": move.mode, "paused_seconds": int(round(move.paused_seconds)),
        "policy": move.state.get("migrationPolicyName"), "target_address": move.state.get("targetNodeAddress"),
        "cause": move.cause,
    }
    if move.evacuation:
        found["evacuation"] = move.evacuation
    return found


def failure(bad, moves, vmi_of):
    """``(message, remedy)`` for the moves that did not end as asked.

    :param vmi_of: called with a move, returns its VMI as last seen.
    """
    waiting = [move for move in bad if move.outcome == "not_started"]
    said = [sentence(move, vmi_of(move)) for move in bad if move.outcome != "not_started"]
    if len(said) > 10:
        said = said[:10] + ["And %d more." % (len(said) - 10)]
    if said and len(moves) > 1:
        said.insert(0, "%d of %d VMs did not end as asked." % (len(bad), len(moves)))
    for cause in {move.cause["message"]: move.cause for move in waiting}.values():
        names = [str(move) for move in waiting if move.cause["message"] == cause["message"]]
        text = "%s: not started %s %s%s." % (
            cause["message"], "was" if len(names) == 1 else "were", ", ".join(names[:5]),
            " and %d more" % (len(names) - 5) if len(names) > 5 else "")
        said.append(text[0].upper() + text[1:])
    remedies = list(dict.fromkeys(move.cause["remedy"] for move in bad if move.cause))
    return " ".join(said), " ".join(remedies[:3])


def sentence(move, vmi):
    """One sentence or two about a move that did not end as asked."""
    said = move.cause["message"] if move.cause else "its outcome is %s" % move.outcome
    if move.outcome == "restarted":
        return "VM %s: %s." % (move, said)
    verb = "is still being migrated" if move.outcome == "left" else "was not moved"
    if move.cause and move.outcome == "failed" and vmi and migration.node_of(vmi) not in (None, move.source):
        verb = "did not move as planned"
    text = "VM %s %s: %s." % (move, verb, said)
    stays = (vmi and migration.uid(vmi) == move.before and migration.node_of(vmi) == move.source
             and move.outcome != "left")
    if stays and migration.condition(vmi, "Paused").get("status") == "True":
        return "%s It is on %s and PAUSED: look at it at once (virtctl unpause vm)." % (text, move.source)
    return "%s It runs on %s as before." % (text, move.source) if stays else text
