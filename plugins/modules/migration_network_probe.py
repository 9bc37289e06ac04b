#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_network_probe
short_description: MTU and throughput of the migration network between each pair of nodes
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Starts a pod on each node with an address of the migration network, and measures from one node after the other to all others;
    packets of the full MTU that may not be fragmented, there and back, and the throughput of one stream and of eight.
  - The result is what M(bigvm.live_migration.evacuation_plan_info) takes as O(bigvm.live_migration.evacuation_plan_info#module:links)
    and O(bigvm.live_migration.evacuation_plan_info#module:per_stream).
  - The pods have the rights of any pod, end by themselves when nobody removes them, and are removed in any case; the next run removes
    what a killed one left.
  - Fills the network while it measures. Do not run it beside migrations; it refuses while some are under way.
  - On the embedded cluster nothing is sent. The pods are played, and RV(simulated) says so.
options:
  name:
    description: The NetworkAttachmentDefinition, beside virt-handler.
    type: str
    default: migration-network
  nodes:
    description: Nodes to measure between. All that run virt-handler by default; the time grows with the square of their number.
    type: list
    elements: str
    default: []
  mtu:
    description: The size of packets that must come through whole.
    type: int
    default: 9000
  seconds:
    description: How long each stream copies.
    type: int
    default: 5
  image:
    description:
      - An image with C(python3) that the nodes can pull. By default what the ImageStream C(network-tools) in C(openshift) names, which
        is part of the release and mirrored with it.
    type: str
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
    description: Looks whether it could measure, and measures nothing.
  diff_mode:
    support: none
    description: Leaves nothing behind.
requirements:
  - python >= 3.9
  - kubernetes >= 24.2.0
seealso:
  - module: bigvm.live_migration.migration_network
  - module: bigvm.live_migration.evacuation_plan_info
"""

EXAMPLES = r"""
- name: Measure
  bigvm.live_migration.migration_network_probe:
    seconds: 10
  register: probe

- name: Plan with what was measured
  bigvm.live_migration.evacuation_plan_info:
    node: hana-a
    links: "{{ probe.links }}"
    per_stream: "{{ probe.per_stream }}"
"""

RETURN = r"""
good:
  description: Whether every packet came through whole and every pair carried something; null in check mode.
  returned: success
  type: bool
pairs:
  description: What was measured, each pair both ways; rates in bytes per second by number of streams.
  returned: success
  type: list
  elements: dict
  sample:
    - {source: hana-a, target: hana-b, mtu: 9000, whole: true, error: null, rates: {"1": 3100000000, "8": 11700000000}, simulated: false}
checks:
  description: The same as checks, rows as M(bigvm.live_migration.migration_network_info) returns them.
  returned: success
  type: list
  elements: dict
lines:
  description: The same in words.
  returned: success
  type: list
  elements: str
links:
  description: Bytes per second that each node's link carries, the least of its pairs with most streams.
  returned: success
  type: dict
  sample: {hana-a: 11700000000}
per_stream:
  description: Bytes per second of one stream, the median of all pairs; null when nothing was measured.
  returned: success
  type: str
  sample: "3100000000"
simulated:
  description: Whether the cluster only plays the measurement.
  returned: success
  type: bool
image:
  description: The image that was used.
  returned: success
  type: str
"""

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import network_probe, node_network
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import run_module
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput, Refused
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import (
    migration_network,
    network_checks,
    network_state,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import network_probe as probing

SPEC = dict(
    name=dict(type="str", default="migration-network"), nodes=dict(type="list", elements="str", default=[]),
    mtu=dict(type="int", default=9000), seconds=dict(type="int", default=5), image=dict(type="str"),
)
CONSTRAINTS = {}


def execute(task):
    params = task.params
    scene = node_network.look(task.api)
    nodes = _nodes(params, scene)
    found = network_state.attachment_of(params, scene)
    if found is None:
        raise BadInput("There is no NetworkAttachmentDefinition %s in namespace %s." % (params["name"], scene["home"]),
                       "Make it first (migration_network). Nothing was started.")
    narrow = probing.room_problem(found, len(scene["handlers"]), nodes)
    if narrow:
        raise Refused("The range has no room for the probe beside virt-handler: %s." % narrow, "Measure between fewer nodes, or give a "
                      "larger range. Nothing was started.")
    busy = migration_network.unrest(task.api.list(path_of("kubevirt.io/v1", "virtualmachineinstancemigrations")).items,
                                    task.clock.now())
    if busy and busy[1] is None:
        raise Refused("Nothing is measured now: %s." % busy[0], "Measuring would take their bandwidth. Run again later.")
    image = params["image"] or network_probe.payload_image(task.api)
    measured = []
    if not task.check_mode:
        measured = network_probe.Probe(task, scene["home"], params["name"], image, params["mtu"], params["seconds"]).run(nodes)
    checks, forecast = probing.checks(measured), probing.forecast(measured)
    simulated = any(row["simulated"] for row in measured)
    lines = (["SIMULATED: this is a rehearsal, nothing was sent over a network"] if simulated else []) + network_checks.lines(checks)
    return {
        "changed": False, "good": None if task.check_mode else not network_checks.failed(checks), "pairs": [
            dict(row, rates={str(streams): rate for streams, rate in row["rates"].items()}) for row in measured],
        "checks": checks, "lines": lines, "links": forecast["links"], "simulated": simulated, "image": image,
        "per_stream": str(forecast["per_stream"]) if forecast["per_stream"] else None,
    }


def _nodes(params, scene):
    wrong = []
    if not migration_mtu(params["mtu"]):
        wrong.append("mtu is %d" % params["mtu"])
    if not 1 <= params["seconds"] <= 300:
        wrong.append("seconds is %d; it lies between 1 and 300" % params["seconds"])
    unknown = sorted(set(params["nodes"]) - set(scene["handlers"]))
    if unknown:
        wrong.append("%s runs no virt-handler; known are %s" % (", ".join(unknown), ", ".join(scene["handlers"])))
    nodes = sorted(set(params["nodes"])) or scene["handlers"]
    if len(nodes) < 2:
        wrong.append("there is nothing between fewer than two nodes")
    if wrong:
        raise BadInput("The migration network cannot be measured: %s." % "; ".join(wrong), "Nothing was started.")
    return nodes


def migration_mtu(mtu):
    """Whether that can be an MTU."""
    return 1280 <= mtu <= 65535


def main():
    run_module(execute, SPEC, **CONSTRAINTS)


if __name__ == "__main__":
    main()
