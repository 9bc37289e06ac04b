# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""migrate_vmi where the cluster holds, breaks or loses what it moves: what it says then, and what stays."""

from __future__ import annotations

import pytest
from kubevirt_steps import VMIS, Steps
from test_kubevirt_13_modules import run


@pytest.fixture
def busy(shared):
    """The cluster that these tests share; each has a VM of its own."""
    return Steps(shared(topology="queue", generation="1.9"))


def moved(steps, number, **given):
    return run(steps.cluster, vms=[{"name": "vm-%02d" % number, "namespace": "default"}], away_from=["node-a"],
               **dict({"timeout": "30min"}, **given))


def test_a_backup_that_does_not_end_is_named_when_the_queue_time_is_over(busy):
    busy.annotate(VMIS, "vm-01", backup="7200")
    busy.cluster.wait(5)
    cause = moved(busy, 1, queue_timeout="5min").rows["vm-01"]["cause"]
    assert cause["code"] == "queued_too_long" and "a backup of VMI vm-01 is in progress" in cause["message"]


def test_a_utility_volume_that_outlives_its_time_is_named(busy):
    busy.annotate(VMIS, "vm-02", backup="200")
    busy.cluster.wait(5)
    row = moved(busy, 2).rows["vm-02"]
    assert row["cause"]["code"] == "utility_volume" and "backup" in row["cause"]["message"]


def test_a_vmim_that_stays_running_for_a_hotplug_is_a_vm_that_has_moved(busy):
    busy.annotate(VMIS, "vm-03", fail="hotplug-stuck")
    found = busy.vmi("vm-03")["status"]["conditions"]
    waiting = {"type": "VolumesChange", "status": "False"}, {"type": "HotMemoryChange", "status": "True"}
    busy.api.patch(busy.hco_path(), {"spec": {"virtualization": {"workloadUpdateStrategy": {"workloadUpdateMethods": []}}}})
    busy.cluster.wait(20)
    busy.api.patch("/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances/vm-03",
                   {"status": {"conditions": found + list(waiting)}})
    began = busy.api.clock.now()
    done = moved(busy, 3)
    assert not done.failed and done.rows["vm-03"]["outcome"] == "moved" and busy.api.clock.now() - began < 400
    assert [row["status"]["phase"] for row in busy.vmims("vm-03")] == ["Running"]


def test_a_guest_lost_in_post_copy_is_called_restarted(busy):
    busy.configure(allowPostCopy=True, allowWorkloadDisruption=True, completionTimeoutPerGiB=2, bandwidthPerMigration="64Mi")
    busy.annotate(VMIS, "vm-04", fail="post-copy-lost", dirty_rate="40G", working_set="7Gi")
    done = moved(busy, 4, acknowledge=["post_copy"])
    if not done.rows:  # a pause needs its own leave
        done = moved(busy, 4, acknowledge=["post_copy", "disruption"], max_pause="5s")
    assert done.failed and "VM RESTARTED" in done.message
