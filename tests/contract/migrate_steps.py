# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running migrate_vmi's function against an embedded cluster, and what its tests do to that cluster."""

from __future__ import annotations

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import Task
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import migration
from ansible_collections.bigvm.live_migration.plugins.modules import migrate_vmi

GV = "kubevirt.io/v1"
FAIL = "rehearsal.bigvm.io/fail"
VM1 = {"name": "vm-1", "namespace": "default"}
VM2 = {"name": "vm-2", "namespace": "default"}


class Outcome:
    """What one run of the module came to."""

    def __init__(self, result, message, lines, warnings):
        self.result, self.message, self.lines, self.warnings = result, message, lines, warnings
        self.rows = {row["name"]: row for row in result.get("migrations") or []}

    @property
    def failed(self):
        return self.message is not None

    def outcomes(self):
        return {name: row["outcome"] for name, row in self.rows.items()}


def validated(**given):
    checked = ArgumentSpecValidator(migrate_vmi.SPEC, **migrate_vmi.CONSTRAINTS).validate(given)
    assert not checked.error_messages, checked.error_messages
    return checked.validated_parameters


def run(cluster, api=None, check_mode=False, say=None, **given):
    """Run the module's function; a failure is an outcome too."""
    api = api or cluster.client(dry_run=check_mode)
    lines, warnings = [], []

    def heard(text):
        lines.append(text)
        if say:
            say(text)

    task = Task(validated(**given), api, check_mode, heard, warnings.append)
    try:
        return Outcome(migrate_vmi.execute(task), None, lines, warnings)
    except errors.LiveMigrationError as exc:
        return Outcome(exc.details, str(exc), lines, warnings)


def vmi_path(name, namespace="default"):
    return path_of(GV, "virtualmachineinstances", namespace, name)


def vmims(cluster, namespace="default"):
    return cluster.api.list(path_of(GV, "virtualmachineinstancemigrations", namespace)).items


def create_vmim(cluster, name, ours=False, selector=None, run_id=None):
    body = migration.body("default", name, selector, run_id)
    if not ours:
        body["metadata"] = {"generateName": "somebody-", "namespace": "default"}
    return cluster.api.create(path_of(GV, "virtualmachineinstancemigrations", "default"), body)


def node_of(cluster, name, namespace="default"):
    return cluster.api.get(vmi_path(name, namespace))["status"]["nodeName"]


def sabotage(cluster, name, how, **knobs):
    marks = {FAIL: how} if how else {}
    marks.update({"rehearsal.bigvm.io/" + knob.replace("_", "-"): value for knob, value in knobs.items()})
    cluster.api.patch(vmi_path(name), {"metadata": {"annotations": marks}})


def created(cluster):
    """Paths of real (not dry run) creations of VMIMs."""
    return [row for row in cluster.requests("POST", "virtualmachineinstancemigrations") if "dryRun" not in row["query"]]


def slow(c, name, link):
    """That many bits a second out of a node."""
    c.api.patch("/api/v1/nodes/%s" % name, {"metadata": {"annotations": {"rehearsal.bigvm.io/link": link}}})


def settings(c, **fields):
    """Change the cluster's live migration settings, and wait until they are in force."""
    hco = c.api.list("/apis/hco.kubevirt.io/v1beta1/hyperconvergeds").items[0]["metadata"]
    c.api.patch(path_of("hco.kubevirt.io/v1beta1", "hyperconvergeds", hco["namespace"], hco["name"]),
                {"spec": {"liveMigrationConfig": fields}})
    c.wait(60)


def wait_for_phase(cluster, vmim, phase):
    path = path_of(GV, "virtualmachineinstancemigrations", "default", vmim["metadata"]["name"])
    for _turn in range(600):
        if migration.phase(cluster.api.get(path)) == phase:
            return
        cluster.wait(0.5)
    raise AssertionError("never %s" % phase)
