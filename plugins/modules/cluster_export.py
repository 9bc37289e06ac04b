#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_export
short_description: Write what a rehearsal needs of a cluster into one file
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Reads nodes, VMs, their pods and claims, quotas, settings, policies, migrations and the definitions of KubeVirt's kinds, and
    writes of each object what a plan or a rehearsal needs into one JSON file.
  - What is kept is listed field by field. Secrets, environment, arguments, user data, addresses, serial numbers and what a guest
    says of itself are never in it.
  - The file carries the version of its form and a digest; one that was cut off or changed is refused when it is read.
  - Reads only from the cluster, with a constant number of requests.
options:
  path:
    description: The file to write, on the host that the module runs on; mode 0600, all or nothing.
    type: path
    required: true
  pseudonyms:
    description:
      - Replace the names of namespaces, VMs, nodes, claims, pods, policies, networks and storage classes, and labels that are not
        the system's, each by the same other name wherever it stands.
      - Namespaces of the platform keep their names. Which name became which is not kept anywhere.
    type: bool
    default: false
  links:
    description: What the migration network carries, as in M(bigvm.live_migration.evacuation_plan_info); the rehearsal plays it.
    type: raw
  dirty_rates:
    description: What guests write to their memory, as in M(bigvm.live_migration.evacuation_plan_info); the rehearsal plays it.
    type: dict
    default: {}
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
    description: Reads the cluster and writes no file.
  diff_mode:
    support: none
    description: Changes nothing in the cluster.
requirements:
  - python >= 3.9
  - kubernetes >= 24.2.0
seealso:
  - module: bigvm.live_migration.evacuation_plan_info
"""

EXAMPLES = r"""
- name: Take the cluster home for a rehearsal
  bigvm.live_migration.cluster_export:
    path: ./cluster.json
    pseudonyms: true
    links: 100Gbit
"""

RETURN = r"""
path:
  description: The file.
  returned: success
  type: str
counts:
  description: How many objects of each kind are in it.
  returned: success
  type: dict
left_out:
  description: Sentences about what could not be read.
  returned: success
  type: list
  elements: str
bytes:
  description: The size of the file.
  returned: success
  type: int
lines:
  description: The same in words, lines of at most 80 columns.
  returned: success
  type: list
  elements: str
"""

import json
import os
import tempfile

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import export as cluster
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import run_module
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import to_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import export, foresight
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_bytes
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import key_of

SPEC = dict(
    path=dict(type="path", required=True),
    pseudonyms=dict(type="bool", default=False),
    links=dict(type="raw"),
    dirty_rates=dict(type="dict", default={}),
)


def execute(task):
    params = task.params
    objects, crds, left_out = cluster.collect(task.api)
    _note_loads(objects, params)
    made = export.document(objects, crds, to_timestamp(task.clock.now()), left_out, params["pseudonyms"])
    text, counts = json.dumps(made), {}
    for obj in made["objects"]:
        counts[obj["kind"]] = counts.get(obj["kind"], 0) + 1
    if not task.check_mode:
        _write(params["path"], text)
    lines = ["%s: %d nodes, %d VMs, %d kinds, %s%s" % (
        params["path"], counts.get("Node", 0), counts.get("VirtualMachineInstance", 0), len(counts), format_bytes(len(text)),
        ", names replaced" if made["pseudonymous"] else "")]
    return {"changed": not task.check_mode, "path": params["path"], "counts": counts, "left_out": left_out, "bytes": len(text),
            "lines": lines + left_out}


def _note_loads(objects, params):
    """Links and dirty rates as the embedded cluster reads them."""
    nodes = {key_of(obj)[1]: obj for obj in objects if obj["kind"] == "Node"}
    vmis = {key_of(obj): obj for obj in objects if obj["kind"] == "VirtualMachineInstance"}
    try:
        links, _said = foresight.links_of(params["links"], nodes)
        rates = foresight.dirty_rates_of(params["dirty_rates"], list(vmis))
    except ValueError as exc:
        raise BadInput("The export cannot be made: %s." % exc, "Correct links or dirty_rates.") from exc
    for name, rate in links.items():
        _annotate(nodes[name], "link", int(rate * 8 / foresight.LINE_SHARE))
    for key, rate in rates.items():
        _annotate(vmis[key], "dirty-rate", rate)


def _annotate(obj, what, value):
    found = obj["metadata"].get("annotations")
    obj["metadata"]["annotations"] = dict(found or {}, **{"rehearsal.bigvm.io/" + what: str(value)})


def _write(path, text):
    """All or nothing."""
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o700, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(path)), prefix=".export-")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(temporary, path)
    except OSError as exc:
        raise BadInput("The export cannot be written to %s: %s." % (path, exc.strerror or exc), "Name a writable place.") from exc


def main():
    run_module(execute, SPEC)


if __name__ == "__main__":
    main()
