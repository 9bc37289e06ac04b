# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Emptying a node of what is no VM: which pods are evicted, which stay and why, and who stands in the way.

The choice is that of a drain that ignores DaemonSets, accepts the loss of emptyDir volumes and is not forced: a pod
that nothing would create again is left where it is.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter, namedtuple

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.placement import label_selector_matches
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_duration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    LAUNCHER,
    dig,
    key_of,
    labels,
    mapping,
    rows,
    text,
    texts,
)

MIRROR = "kubernetes.io/config.mirror"  # annotation: a static pod, which the kubelet itself keeps
ROLE = "kubevirt.io"  # label of KubeVirt's own pods
OF_A_VM = (LAUNCHER, "hotplug-disk")
WIDTH = 78

# code, what it means, whether somebody has to know the pod by name
STAYS = {
    "finished": ("it has ended", False),
    "daemon_set": ("its DaemonSet would start it again at once", False),
    "static": ("it is a static pod of the node itself", False),
    "vm": ("a VM's pod is migrated, and ends by itself after its VM has left", False),
    "own": ("this run works in it", True),
    "unmanaged": ("nothing would create it again: it has no controller", True),
}

# A pod that must go: ``state`` is what was last heard of it, ``reason`` why it has not gone.
Left = namedtuple("Left", "namespace name code reason")


def stays(pod, own=None):
    """The code of :data:`STAYS` for a pod that is left alone, or None for one that is to be evicted.

    :param own: ``(namespace, name)`` of the pod that this run works in.
    """
    if text(pod, "status", "phase") in ("Succeeded", "Failed"):
        return "finished"
    if labels(pod).get(ROLE) in OF_A_VM:
        return "vm"
    if MIRROR in mapping(pod, "metadata", "annotations"):
        return "static"
    if own and key_of(pod) == tuple(own):
        return "own"
    controller = next((row for row in rows(pod, "metadata", "ownerReferences") if row.get("controller") is True), None)
    if controller is None:
        return "unmanaged"
    return "daemon_set" if controller.get("kind") == "DaemonSet" else None


def split(pods, own=None):
    """``(pods to evict, [Left] that stay)``, by namespace and name."""
    going, left = [], []
    for pod in sorted(pods, key=key_of):
        code = stays(pod, own)
        if code is None:
            going.append(pod)
        else:
            left.append(Left(*key_of(pod), code, STAYS[code][0]))
    return going, left


def scratch(pod):
    """The emptyDir volumes (names) whose data goes with the pod."""
    return [text(row, "name") for row in rows(pod, "spec", "volumes") if isinstance(row.get("emptyDir"), dict)]


# -- refusals ----------------------------------------------------------------------

_BUDGET = re.compile(r"disruption budget (\S+?)['\"]? (?:needs|is )")


def is_budget(causes, said):
    """Whether a 429 comes from a PodDisruptionBudget, and not from a server that has too much to do."""
    return any(row.get("reason") == "DisruptionBudget" for row in causes) or "disruption budget" in said.lower()


def blocking(pod, causes, said, budgets):
    """``namespace/name`` of the PodDisruptionBudgets that refuse a pod, as far as they can be told.

    :param causes: ``details.causes`` of the answer.
    :param said: its message.
    :param budgets: the PodDisruptionBudgets that can be read.
    """
    namespace = key_of(pod)[0]
    told = [match.group(1) for line in [text(row, "message") for row in causes] + [said]
            for match in [_BUDGET.search(line)] if match]
    if told:
        return ["%s/%s" % (namespace, name) for name in dict.fromkeys(told)]
    found = [budget for budget in budgets if key_of(budget)[0] == namespace and covers(budget, pod)]
    tight = [budget for budget in found if not allowed(budget)]
    return ["%s/%s" % key_of(budget) for budget in tight or found]


def covers(budget, pod):
    """Whether a PodDisruptionBudget selects a pod: an empty selector selects all, none selects nothing (policy/v1)."""
    selector = dig(budget, "spec", "selector")
    return isinstance(selector, dict) and label_selector_matches(selector, labels(pod))


def allowed(budget):
    """How many pods it lets go just now; 0 when it does not say."""
    found = dig(budget, "status", "disruptionsAllowed")
    return found if isinstance(found, int) else 0


def budget_reason(names, said):
    """Why a pod is refused, in half a sentence."""
    if not names:
        return "a PodDisruptionBudget allows no disruption (%s)" % said.strip().rstrip(".")
    return "PodDisruptionBudget %s allows no disruption" % " and ".join(names)


def ending_reason(pod, since, now):
    """Why an evicted pod is still there.

    :param since: when it was evicted, epoch seconds.
    """
    finalizers = texts(pod, "metadata", "finalizers")
    grace = dig(pod, "metadata", "deletionGracePeriodSeconds")
    if finalizers:
        return "it was evicted %s ago, and its finalizers %s keep it" % (format_duration(now - since), ", ".join(finalizers))
    if isinstance(grace, int) and grace > now - since:
        return "it was evicted %s ago and has %s to end" % (format_duration(now - since), format_duration(grace))
    return "it was evicted %s ago and has not ended: the kubelet does not say why" % format_duration(now - since)


# -- words -------------------------------------------------------------------------


def start_line(node, going, left):
    """What is going to happen, in one line."""
    counts = Counter(row.code for row in left)
    words = {"daemon_set": "of DaemonSets", "static": "static", "finished": "ended", "vm": "of VMs", "unmanaged": "unmanaged",
             "own": "our own"}
    said = ", ".join("%d %s" % (counts[code], words[code]) for code in STAYS if counts[code])
    return ("%s: %d pods to evict%s" % (node, len(going), "; left alone: " + said if said else ""))[:WIDTH]


def progress_line(node, gone, total, waiting):
    """How far it is; ``waiting``: reasons of pods that are refused."""
    line = "%s: %d of %d pods gone" % (node, gone, total)
    if waiting:
        line += "; %d refused: %s" % (len(waiting), waiting[0])
    return line[:WIDTH]


def lines(node, evicted, left, scratched):
    """The result in words, lines of at most 78 columns.

    :param evicted: ``[(namespace, name)]`` that have gone.
    :param left: ``[Left]``.
    :param scratched: ``namespace/name`` of evicted pods that had emptyDir volumes.
    """
    found = ["%s: %d pods evicted" % (node, len(evicted))]
    quiet = Counter(row.code for row in left if row.code in STAYS and not STAYS[row.code][1])
    for code in STAYS:
        if quiet[code]:
            found.append("%d left alone: %s" % (quiet[code], STAYS[code][0]))
    for row in left:
        if row.code not in quiet:
            found += _wrapped("left: %s/%s: %s" % (row.namespace, row.name, row.reason))
    if scratched:
        some = ", ".join(scratched[:3]) + (" and %d more" % (len(scratched) - 3) if len(scratched) > 3 else "")
        found += _wrapped("emptyDir volumes went with: %s" % some)
    return found


def _wrapped(line):
    return textwrap.wrap(line, WIDTH, subsequent_indent="  ")


def failure(node, left, timed):
    """``(message, remedy)`` for pods that did not go.

    :param left: the :class:`Left` that should have gone.
    :param timed: which limit was reached, as half a sentence.
    """
    shown = ["%s/%s: %s" % (row.namespace, row.name, row.reason) for row in left[:5]]
    more = " And %d more." % (len(left) - 5) if len(left) > 5 else ""
    message = "%d pods are still on node %s, %s. %s.%s" % (len(left), node, timed, "; ".join(shown), more)
    if any(row.code == "budget" for row in left):
        remedy = ("See why the budget's other pods are not ready, or give it room (more replicas, or ask its owner to relax "
                  "it for the window), then run again. Nothing was forced.")
    else:
        remedy = "Look at these pods, then run again. Nothing was forced."
    return message, remedy
