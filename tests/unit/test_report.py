# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run's record: grows phase by phase, fits its schema, reads well."""

from __future__ import annotations

import json
import pathlib

import jsonschema
import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import report

SCHEMA = json.loads((pathlib.Path(__file__).parents[2] / "docs" / "record.schema.json").read_text())
NOW, LATER = "2026-11-21T01:00:00Z", "2026-11-21T02:00:00Z"
MOVED = {"namespace": "sap", "name": "hana", "uid": "u", "outcome": "moved", "source_node": "a", "target_node": "b", "vmim": "m",
         "seconds": {"queue": 1, "prepare": 14, "copy": 3300, "total": 3315}, "cause": None}
FAILED = {"namespace": "sap", "name": "app|1", "outcome": "failed",
          "cause": {"code": "X", "message": "target pod is gone", "remedy": "look"}}


@pytest.fixture
def record():
    record = report.new_record("node_maintenance", "run-1", "hana-a", NOW)
    report.note(record, NOW, phase="Preflight of hana-a", lines=["5 VMs"])
    return record


def test_a_record_fits_its_published_schema_from_the_first_moment_to_the_last(record):
    jsonschema.validate(record, SCHEMA)
    report.note(record, NOW, phase="Evacuation", migrations=[MOVED, FAILED], facts={"plan": {"id": "x"}})
    report.close(record, LATER, "failed", "sap/app|1 did not move.")
    jsonschema.validate(record, SCHEMA)


def test_lines_without_a_headline_belong_to_the_phase_that_runs(record):
    report.note(record, LATER, lines=["all can move"])
    report.note(record, LATER, phase="Preflight of hana-a", lines=["once more"])
    assert [phase["name"] for phase in record["phases"]] == ["Preflight of hana-a"]
    assert record["phases"][0]["lines"] == ["5 VMs", "all can move", "once more"]
    assert record["phases"][0]["started"] == NOW


def test_the_summary_counts_what_moved_and_names_what_did_not(record):
    report.note(record, NOW, migrations=[MOVED, FAILED])
    report.close(record, LATER, "failed", "because")
    summary = report.summary(record)
    assert (summary["migrations"], summary["moved"], summary["not_moved"]) == (2, 1, ["sap/app|1"])
    assert summary["failure"] == "because"


def test_the_summary_stays_small_for_a_thousand_failures(record):
    report.note(record, NOW, migrations=[dict(FAILED, name="vm-%04d" % number) for number in range(1000)])
    report.close(record, LATER, "failed", "x" * 100000)
    assert len(json.dumps(report.summary(record))) < 64 * 1024


def test_the_page_names_every_vm_its_outcome_and_why(record):
    report.note(record, NOW, migrations=[MOVED, FAILED])
    page = report.markdown(report.close(record, LATER, "failed", "sap/app|1 did not move."))
    assert "| sap/hana |" in page and "55 min" in page
    assert "failed: target pod is gone" in page
    assert "app\\|1" in page, "a bar in a name must not break the table"
    assert "**failed**" in page and "rehearsal" not in page


def test_the_page_of_a_rehearsal_says_so():
    page = report.markdown(report.new_record("node_maintenance", "r", "n", NOW, rehearsal=True))
    assert "rehearsal" in page
