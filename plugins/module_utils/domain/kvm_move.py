# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Moving a guest between KVM hosts: what a situation calls for, libvirt's job figures, the ladder of escalation."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.progress import Sample
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import (
    format_bytes,
    format_duration,
    format_rate,
)

MODES = ("live", "suspended", "offline")
STEPS = ("downtime", "bandwidth", "suspend", "post_copy", "abort")
MIB = 1024 ** 2
FIRST_PASSES = 1  # until the first has ended nothing is known of what the guest changes


def decide(source, target, mode, job, same_host):
    """``(what, why)`` for a guest: ``there``, ``move``, ``adopt`` or ``refuse``, with a sentence for the last.

    :param source: the guest as the source knows it, ``{active}``; None when it does not.
    :param target: the same for the target, by UUID.
    :param job: whether an outgoing migration of it is under way on the source.
    """
    if source and source["active"] and job:
        return "adopt", None
    if same_host and source:
        return "there", None
    if source and source["active"]:
        if target and target["active"]:
            return "refuse", "runs on both hosts, and no migration is under way"
        if mode == "offline":
            return "refuse", "is running, and mode offline moves the definition of a guest that is shut off"
        return "move", None
    if target and (target["active"] or not source):
        return "there", None
    if not source:
        return "refuse", "is on neither of the hosts"
    if mode != "offline":
        return "refuse", "is shut off, so there is nothing to move %s" % mode
    return "move", None


# -- job figures (facts 12.3) --------------------------------------------------


def sample(stats):
    """A :class:`Sample` of libvirt's job figures; None while they say nothing."""
    if not stats or not stats.get("memory_total"):
        return None
    return Sample(
        None, stats.get("time_elapsed", 0) / 1000.0, stats.get("memory_processed", 0), stats.get("memory_remaining", 0),
        stats["memory_total"], stats.get("memory_bps", 0), dirty_rate(stats), stats.get("memory_iteration"))


def dirty_rate(stats):
    """Bytes/s that the guest changes; libvirt counts pages."""
    return stats.get("memory_dirty_rate", 0) * stats.get("memory_page_size", 4096)


def diverges(stats):
    """Whether the guest changes its memory faster than it is carried (formula F3), past the first pass."""
    carried = stats.get("memory_bps", 0)
    return bool(carried and stats.get("memory_iteration", 0) > FIRST_PASSES and dirty_rate(stats) > carried)


def f3_line(name, stats):
    """F3 in words."""
    return "%s: not converging, it changes %s and %s are carried" % (
        name, format_rate(dirty_rate(stats)), format_rate(stats.get("memory_bps", 0)))


def figures(stats):
    """What of a job's figures is worth keeping: ``{seconds, downtime_ms, sent, passes, throttle}``, None where not told."""
    stats = stats or {}
    elapsed = stats.get("time_elapsed")
    return {
        "seconds": elapsed / 1000.0 if elapsed is not None else None, "downtime_ms": stats.get("downtime"),
        "sent": stats.get("memory_processed"), "passes": stats.get("memory_iteration"),
        "throttle": stats.get("auto_converge_throttle"),
    }


# -- the ladder ----------------------------------------------------------------


def ladder_problem(steps, post_copy, critical, timeout):
    """Why a ladder cannot be meant, as a sentence; None when it can.

    :param steps: ``[{after (seconds), do, value}]``.
    """
    last = 0
    for step in steps:
        if step["after"] < last:
            return "the step '%s' after %s comes too late in the list" % (step["do"], format_duration(step["after"]))
        if timeout and step["after"] >= timeout:
            return "the step '%s' comes when the timeout of %s is over" % (step["do"], format_duration(timeout))
        if step["do"] in ("downtime", "bandwidth") and not step["value"]:
            return "the step '%s' lacks its value" % step["do"]
        if step["do"] == "post_copy" and (critical or not post_copy):
            return "the step 'post_copy' needs post_copy: true and a guest that is not critical"
        last = step["after"]
    return None


def due(steps, taken, elapsed):
    """The steps whose time has come and that were not taken yet.

    :param taken: how many were taken.
    """
    return [step for step in steps[taken:] if elapsed >= step["after"]]


def step_line(name, step, elapsed):
    """A step in words."""
    what = {
        "downtime": lambda: "longest pause set to %d ms" % step["value"],
        "bandwidth": lambda: "bandwidth set to %s" % format_rate(step["value"]),
        "suspend": lambda: "paused, so that its copy can end", "post_copy": lambda: "switched to post-copy", "abort": lambda: "given up",
    }[step["do"]]()
    return "%s: after %s %s" % (name, format_duration(int(elapsed)), what)


# -- definitions ---------------------------------------------------------------


def changed_definition(text, networks, disks):
    """The definition as it shall be at the target: networks and disk paths exchanged; None when nothing is.

    :param networks: ``{name here: name there}`` of networks and bridges. ``disks``: the same of paths.
    :raises ValueError: a name that the definition does not have.
    """
    if not networks and not disks:
        return None
    root, used = ElementTree.fromstring(text), set()
    for path, attributes, names in (("./devices/interface/source", ("network", "bridge"), networks),
                                    ("./devices/disk/source", ("file", "dev"), disks)):
        for element in root.findall(path):
            for attribute in attributes:
                if element.get(attribute) in names:
                    used.add(element.get(attribute))
                    element.set(attribute, names[element.get(attribute)])
    unknown = sorted((set(networks) | set(disks)) - used)
    if unknown:
        raise ValueError("it has no network or disk %s" % ", ".join(unknown))
    return ElementTree.tostring(root, encoding="unicode")


def has_agent(text):
    """Whether a definition has a channel for the guest agent."""
    targets = ElementTree.fromstring(text).findall("./devices/channel/target")
    return any(target.get("name") == "org.qemu.guest_agent.0" for target in targets)


def remedy_for(message):
    """What helps against an error of libvirt's, as a sentence; None when it speaks for itself."""
    for pattern, remedy in REMEDIES:
        if re.search(pattern, message, re.IGNORECASE):
            return remedy
    return None


REMEDIES = (
    (r"without shared storage is unsafe|data corruption", "Put its disks on storage that both hosts share, with cache='none'."),
    (r"does not match source|\bABI\b", "What the guest sees of its hardware cannot change while it runs; change its definition instead."),
    (r"CPU is incompatible|guest CPU doesn't match|features?: ",
     "Give it a CPU that both hosts have (libvirt_cpu_baseline), and restart it."),
    (r"machine type",
     "Both hosts need the guest's machine type: bring QEMU there to the same release."),
    (r"hostdev|assigned.*device|passthrough|vfio", "Take the device out of the guest, or shut the guest down and move it offline."),
    (r"certificate|TLS|x509|gnutls",
     "Both hosts need certificates of one authority, with the names by which they are reached: check them with virt-pki-validate, or "
     "with the role kvm_host_prep."),
    (r"host key verification", "Put the host's key into known_hosts of the account that connects (with ssh-keyscan), once it is checked."),
    (r"permission denied \(", "Put the public key of the account that connects into authorized_keys on that host."),
    (r"already exists|already (active|defined)", "Remove or rename what the target has under that name, if it is not this guest."),
    (r"cannot allocate memory|cannot set up guest memory", "The target has too little memory (or huge pages) free."),
    (r"unable to connect|connection refused|no route|timed out",
     "See that the target is up and lets the migration ports through."),
)


def told(result, name, target):
    """A line for a guest that was moved."""
    parts = ["moved to %s" % target]
    if result["seconds"]:
        parts.append("in %s" % format_duration(max(1, int(round(result["seconds"])))))
    if result["downtime_ms"] is not None:
        parts.append("%d ms of them paused" % result["downtime_ms"])
    if result["sent"]:
        parts.append("%s sent" % format_bytes(result["sent"]))
    return "%s: %s" % (name, ", ".join(parts))
