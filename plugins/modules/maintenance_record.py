#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: maintenance_record
short_description: Show the phases of a maintenance and keep its record
version_added: "0.1.0"
author:
  - bigvm contributors (@bigvm)
description:
  - Prints the headline of a phase and its lines at once, and adds them to the run's record, a JSON file
    (described by docs/record.schema.json in the collection) with a Markdown page beside it.
  - The file is written anew at every call, so that after a crash it holds all that happened until then.
  - Runs on the machine that runs the playbook. In check mode the lines are printed and no file is written.
options:
  state:
    description:
      - V(opened) begins a record, or goes on with the file if it exists already.
      - V(noted) adds a phase, lines, facts or migrations.
      - V(closed) ends it, and returns the summary.
    type: str
    choices: [opened, noted, closed]
    default: noted
  directory:
    description: Where the record is kept. Created with mode 0700 when missing.
    type: path
    default: ./records
  run:
    description:
      - The id of the run; also the file's name.
      - With O(state=opened) and no O(run), one is made from O(subject) and the time.
    type: str
  kind:
    description: Which playbook runs. Needed with O(state=opened).
    type: str
    choices: [node_maintenance, rolling_maintenance, preflight, migrate, restore, node_prep, kvm_host_maintenance, kvm_restore]
  subject:
    description: What it is about, usually the node's name. Needed with O(state=opened).
    type: str
  phase:
    description: Headline of the phase that begins now.
    type: str
  lines:
    description: What a person should read, a line each. Longer lines are wrapped at 80 columns when printed.
    type: list
    elements: str
    default: []
  facts:
    description: Data to keep in the record under C(facts), by name.
    type: dict
    default: {}
  migrations:
    description: Results of M(bigvm.live_migration.migrate_vmi) to keep.
    type: list
    elements: dict
    default: []
  result:
    description: How the run ended. Needed with O(state=closed).
    type: str
    choices: [ok, failed]
  failure:
    description: The message that ended a failed run.
    type: str
  assumed_duration:
    description:
      - In a rehearsal, lets so much simulated time pass for work that a rehearsal does not do, e.g. V(40min) or V(2h).
      - Refused on a real cluster.
    type: str
  clock:
    description: Whose time it is, that of the cluster or this machine's. With V(system) no API server is asked for anything.
    type: str
    choices: [cluster, system]
    default: cluster
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
    description: Prints, writes nothing.
  diff_mode:
    support: none
    description: The record itself is the difference.
requirements:
  - python >= 3.9
  - kubernetes >= 24.2.0
notes:
  - The API server is asked for nothing but its version, and in a rehearsal for the simulated time. Of KVM hosts, records
    are kept with O(clock=system).
"""

EXAMPLES = r"""
- name: Begin a record
  bigvm.live_migration.maintenance_record:
    state: opened
    kind: node_maintenance
    subject: hana-a
  register: record

- name: Say what comes now
  bigvm.live_migration.maintenance_record:
    run: "{{ record.run }}"
    phase: Maintenance
    lines:
      - firmware of hana-a, about 40 minutes

- name: End it
  bigvm.live_migration.maintenance_record:
    run: "{{ record.run }}"
    state: closed
    result: ok
"""

RETURN = r"""
run:
  description: The id of the run.
  returned: success
  type: str
  sample: hana-a-20261121011500
path:
  description: The JSON record.
  returned: success
  type: str
markdown:
  description: The page for people, beside it.
  returned: success
  type: str
now:
  description: The time of the cluster's clock, RFC 3339; simulated in a rehearsal.
  returned: success
  type: str
summary:
  description: The few figures of the run, small enough for set_stats.
  returned: success
  type: dict
"""

import itertools
import json
import os
import re
import tempfile
import textwrap

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.runner import run_module
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import to_timestamp
from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import report
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import parse_duration

SPEC = dict(
    state=dict(type="str", choices=["opened", "noted", "closed"], default="noted"),
    directory=dict(type="path", default="./records"),
    run=dict(type="str"),
    kind=dict(type="str", choices=[
        "node_maintenance", "rolling_maintenance", "preflight", "migrate", "restore", "node_prep", "kvm_host_maintenance", "kvm_restore"]),
    subject=dict(type="str"),
    phase=dict(type="str"),
    lines=dict(type="list", elements="str", default=[]),
    facts=dict(type="dict", default={}),
    migrations=dict(type="list", elements="dict", default=[]),
    result=dict(type="str", choices=["ok", "failed"]),
    failure=dict(type="str"),
    assumed_duration=dict(type="str"),
    clock=dict(type="str", choices=["cluster", "system"], default="cluster"),
)
CONSTRAINTS = dict(
    required_if=[("state", "opened", ("kind", "subject")), ("state", "noted", ("run",)), ("state", "closed", ("run", "result"))]
)


def execute(task):
    params, now = task.params, to_timestamp(task.clock.now())
    directory = os.path.abspath(params["directory"])
    run = params["run"] or _new_run(directory, "%s-%s" % (params["subject"], re.sub("[^0-9]", "", now)))
    if os.path.basename(run) != run or run in (".", ".."):
        raise BadInput("The run id '%s' cannot be a file name." % run, "Use letters, digits and dashes.")
    path = os.path.join(directory, run + ".json")
    record = _read(path)
    if record is None:
        record = report.new_record(params["kind"] or "node_maintenance", run, params["subject"] or run, now, task.clock.simulated)
    if params["phase"]:
        task.say("")
        task.say(params["phase"])
    for line in params["lines"]:
        for part in textwrap.wrap(line, 78, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False) or [""]:
            task.say("  " + part)
    report.note(record, now, params["phase"], params["lines"], params["facts"], params["migrations"])
    if params["state"] == "closed":
        report.close(record, now, params["result"], params["failure"])
    page = path[: -len(".json")] + ".md"
    if not task.check_mode:
        _write(path, json.dumps(record, indent=1, sort_keys=False) + "\n")
        _write(page, report.markdown(record))
    if params["assumed_duration"]:
        _let_pass(task, params["assumed_duration"])
    return {"changed": False, "run": run, "path": path, "markdown": page, "now": now, "summary": report.summary(record)}


def _let_pass(task, duration):
    if not task.clock.simulated:
        raise BadInput("assumed_duration lets simulated time pass, and this is a real cluster.", "Leave it out.")
    try:
        seconds = parse_duration(duration)
    except ValueError as exc:
        raise BadInput("assumed_duration: %s." % exc) from exc
    if not task.check_mode:
        task.clock.sleep(seconds)


def _new_run(directory, stem):
    """An id that no record there has: rehearsals all begin at the same simulated time."""
    names = (stem if number == 1 else "%s-%d" % (stem, number) for number in itertools.count(1))
    return next(name for name in names if not os.path.exists(os.path.join(directory, name + ".json")))


def _read(path):
    try:
        with open(path, encoding="utf-8") as handle:
            return json.load(handle)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise BadInput("The record %s cannot be read: %s." % (path, exc), "Move it away, or name another directory.") from exc


def _write(path, text):
    """All or nothing: a crash leaves the former file."""
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".record-")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(temporary, path)
    except OSError as exc:
        raise BadInput(
            "The record cannot be written to %s: %s." % (path, exc.strerror or exc), "Name a writable maintenance_record_dir.") from exc


def main():
    run_module(execute, SPEC, **CONSTRAINTS)


if __name__ == "__main__":
    main()
