# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looking at one node as a returning guest would: three requests a look, however large the cluster."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import node_gate
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_duration
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import key_of

POLL = 30  # s between two looks
REMIND = 300  # s between two lines that say the same


def look(api, name, node=None):
    """The scene that :mod:`..domain.node_gate` judges.

    :param node: the node when it was read already.
    """
    if node is None:
        try:
            node = api.get(path_of("v1", "nodes", name=name))
        except errors.NotFound:
            pass
    kubevirt = _kubevirt(api)
    handlers = None
    try:
        handlers = api.list(
            path_of("v1", "pods", key_of(kubevirt)[0] or None), labelSelector="kubevirt.io=virt-handler",
            fieldSelector="spec.nodeName=%s" % name).items
    except errors.Forbidden:
        pass
    return {"node": node, "kubevirt": kubevirt, "handlers": handlers, "now": api.clock.now()}


def _kubevirt(api):
    try:
        return next(iter(api.list(path_of("kubevirt.io/v1", "kubevirts")).items), {})
    except errors.NotFound:
        return {}


def wait(task, name, before, seconds):
    """Look until the node is good or the time is over, saying what is still missing.

    :param before: called with the node, or None where there is none; returns the snapshot to compare with.
    :returns: ``(scene, problems)`` of the last look.
    """
    end, told, told_at = task.clock.now() + seconds, None, 0
    while True:
        scene = look(task.api, name)
        problems = node_gate.judge(scene, before(scene["node"]))
        now = scene["now"]
        if not problems or now >= end:
            return scene, problems
        said = "; ".join(problem["message"].rstrip(".") for problem in problems)
        if said != told or now - told_at >= REMIND:
            task.say("%s: %s; waiting %s more at most" % (name, said, format_duration(end - now)))
            told, told_at = said, now
        task.clock.sleep(min(POLL, end - now))
