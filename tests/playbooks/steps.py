# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests of whole runs share: reading the cluster, and killing a run in mid-copy."""

from __future__ import annotations

import json
import time
from pathlib import Path

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of

KUBEVIRT = "kubevirt.io/v1"
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "record.schema.json").read_text())
WRITES = ("POST", "PUT", "PATCH", "DELETE")
HANA = {"maintenance_node": "hana-a", "maintenance_timeout": "6h", "maintenance_settings": {"bandwidth_per_migration": "0"}}
TINY = {"maintenance_node": "node-a"}


def writes(cluster):
    """Requests that could have changed something: dry runs, questions about rights and the clock are left out."""
    return [row for row in cluster.requests() if row["method"] in WRITES and "dryRun" not in str(row.get("query"))
            and not row["path"].startswith(("/bigvm/", "/apis/authorization.k8s.io/"))]


def vmis(cluster):
    """{name: (uid, node)} of all running VMIs."""
    items = cluster.api.list(path_of(KUBEVIRT, "virtualmachineinstances")).items
    return {vmi["metadata"]["name"]: (vmi["metadata"]["uid"], vmi["status"]["nodeName"]) for vmi in items}


def vmims(cluster):
    return cluster.api.list(path_of(KUBEVIRT, "virtualmachineinstancemigrations")).items


def node(cluster, name):
    return cluster.api.get(path_of("v1", "nodes", name=name))


def hyperconverged(cluster, version="v1"):
    return cluster.api.list("/apis/hco.kubevirt.io/%s/hyperconvergeds" % version).items[0]


def bandwidth(cluster):
    return hyperconverged(cluster)["spec"]["virtualization"]["liveMigrationConfig"].get("bandwidthPerMigration")


def paused(cluster):
    """The VMIs that are paused."""
    return [vmi["metadata"]["name"] for vmi in cluster.api.list(path_of(KUBEVIRT, "virtualmachineinstances")).items
            for cond in vmi["status"].get("conditions", []) if cond["type"] == "Paused"]


def nothing_left(cluster, name, cordoned=False):
    """No trace of a run: on the node, on HyperConverged, on VMIs; no policy and no lease of ours."""
    found = node(cluster, name)
    assert bool(found["spec"].get("unschedulable")) is cordoned
    assert "live-migration.bigvm.io/maintenance" not in (found["metadata"].get("annotations") or {})
    assert "live-migration.bigvm.io/held-settings" not in (hyperconverged(cluster)["metadata"].get("annotations") or {})
    policies = cluster.api.list("/apis/migrations.kubevirt.io/v1alpha1/migrationpolicies").items
    assert [policy["metadata"]["name"] for policy in policies if policy["metadata"]["name"].startswith("bigvm-")] == []
    for vmi in cluster.api.list(path_of(KUBEVIRT, "virtualmachineinstances")).items:
        assert "live-migration.bigvm.io/hold" not in (vmi["metadata"].get("labels") or {})
    leases = cluster.api.list("/apis/coordination.k8s.io/v1/leases").items
    assert [lease["metadata"]["name"] for lease in leases if lease["metadata"]["name"].startswith("live-migration-")] == []


def approved(cluster, **variables):
    """Extra vars of a run that approves itself."""
    return dict({"live_migration_connection": cluster.connection, "maintenance_rehearsal": True}, **variables)


def left_over(folder):
    """Command lines of processes that work in a folder, some seconds after their playbook was killed."""
    for dummy in range(50):
        found = [path.parent for path in Path("/proc").glob("[0-9]*/cwd") if _works_in(path, folder)]
        if not found:
            return []
        time.sleep(0.1)
    return [(path / "cmdline").read_text() for path in found]


def _works_in(path, folder):
    try:
        return path.readlink() == folder
    except OSError:  # gone meanwhile
        return False


def killed_in_mid_copy(operator, cluster, how, after="Evacuation", **more):
    """Start a maintenance and kill all of it when the HANA guest is being copied, after that headline."""
    variables = {**approved(cluster, maintenance_progress_interval=5, **HANA), **more}
    process = operator.start("node_maintenance", **variables)
    reached = False
    for line in process.stdout:
        reached = reached or line.startswith(after)
        if reached and "sap-prod/hana-prod  copy" in line:
            break
    process.send_signal(how)
    process.wait(30)
    process.stdout.close()
    assert left_over(operator.folder) == [], "a worker that lives on would act beside the next run"
    copying = [vmim for vmim in vmims(cluster) if vmim["status"]["phase"] == "Running"]
    assert len(copying) == 1
    return copying[0]
