#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: forecast_check_info
short_description: Hold forecasts against what happened, and learn from it
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Reads the records of earlier runs and compares for each VM what M(bigvm.live_migration.evacuation_plan_info) expected with what
    it took.
  - Finds what one migration stream carries at this site, and how long a migration takes to begin copying; both can be given to the
    next plan.
  - Connects to nothing.
options:
  records:
    description: Records, or folders of them (C(*.json)), on the host that the module runs on.
    type: list
    elements: path
    required: true
  run:
    description: Compare only that run; all records are learned from.
    type: str
  rehearsals:
    description: Whether records of rehearsals count, too. Their times are those of a simulation.
    type: bool
    default: false
extends_documentation_fragment:
  - bigvm.live_migration.attributes.reads
seealso:
  - module: bigvm.live_migration.evacuation_plan_info
  - module: bigvm.live_migration.maintenance_record
"""

EXAMPLES = r"""
- name: Learn from all earlier runs
  bigvm.live_migration.forecast_check_info:
    records: [./records]
  register: learned

- name: Plan with it
  bigvm.live_migration.evacuation_plan_info:
    node: hana-a
    links: 100Gbit
    per_stream: "{{ learned.per_stream or omit }}"
    setup_time: "{{ learned.setup_time or omit }}"
"""

RETURN = r"""
comparisons:
  description:
    - For each run with migrations C(run), C(vms) and C(without), the VMs that moved and had no forecast.
    - Each VM has C(expected), C(low), C(high) and C(actual) in seconds, C(error) as a share, and C(inside).
  returned: success
  type: list
  elements: dict
figures:
  description: How many VMs there were, how many were inside their range, and the median and 90th percentile of the error.
  returned: success
  type: dict
per_stream:
  description: Bytes per second of one stream; null when fewer than three migrations were limited by it.
  returned: success
  type: int
setup_time:
  description: The least and the most seconds until a copy begins; null below three migrations.
  returned: success
  type: list
  elements: float
skipped:
  description: Sentences about files that are no records.
  returned: success
  type: list
  elements: str
lines:
  description: The same in words, lines of at most 80 columns.
  returned: success
  type: list
  elements: str
"""

import json
import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput, LiveMigrationError
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import calibration, report

SPEC = dict(
    records=dict(type="list", elements="path", required=True),
    run=dict(type="str"),
    rehearsals=dict(type="bool", default=False),
)


def execute(params):
    """The result for validated options.

    :raises BadInput: a path that cannot be read, or a run that has no record there.
    """
    skipped = []
    records = [record for record in _records(params["records"], skipped) if params["rehearsals"] or not record.get("rehearsal")]
    asked = [record for record in records if params["run"] in (None, record.get("run"))]
    if params["run"] and not asked:
        raise BadInput("There is no record of the run %s there." % params["run"], "Records of rehearsals count only with rehearsals: true.")
    comparisons = [one for one in map(calibration.compared, asked) if one["vms"] or one["without"]]
    lessons = calibration.learned(records)
    return {
        "changed": False, "comparisons": comparisons, "figures": calibration.figures(comparisons), "skipped": skipped,
        "per_stream": int(lessons["per_stream"]) if lessons["per_stream"] else None, "setup_time": lessons["setup_time"],
        "lines": calibration.lines(comparisons, lessons)}


def _records(paths, skipped):
    """All records of these files and folders, the oldest first."""
    found = []
    for path in paths:
        try:
            names = [os.path.join(path, name) for name in sorted(os.listdir(path)) if name.endswith(".json")] \
                if os.path.isdir(path) else [path]
            for name in names:
                with open(name, encoding="utf-8") as stream:
                    record = _parsed(stream.read())
                if record is None:
                    skipped.append("%s is no record of this release." % name)
                else:
                    found.append(record)
        except OSError as exc:
            raise BadInput(
                "The records in %s cannot be read: %s." % (path, exc.strerror or exc), "Name files or folders that exist.") from exc
    return sorted(found, key=lambda record: str(record.get("started")))


def _parsed(text):
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) and record.get("schema") == report.SCHEMA else None


def main():
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        module.exit_json(**execute(module.params))
    except LiveMigrationError as exc:
        module.fail_json(msg=str(exc), **exc.details)


if __name__ == "__main__":
    main()
