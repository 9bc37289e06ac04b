# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""playbooks/preflight.yml: PASS and FAIL lines, the exit code, the record."""

from __future__ import annotations


def preflight(operator, connection, **variables):
    return operator.run("preflight", live_migration_connection=connection, **variables)


def test_preflight_lines_exit_code_and_record(operator, cluster):
    connection = cluster(topology="blocked").connection
    run = preflight(operator, connection, preflight_node="node-a")
    assert run.rc == 2 and "Traceback" not in run.output
    assert "FAIL: VM sap-prod/app-local: cold_only (DisksNotLiveMigratable)" in run.said
    assert "FAIL: room to empty node node-a: no place for sap-prod/" in run.said
    record = run.records[-1]
    failed = [row for row in record["facts"]["checks"] if row["status"] == "FAIL"]
    assert record["result"] == "failed" and record["failure"].startswith("%d of " % len(failed)) and len(failed) >= 2
    page = next(run.folder.glob("records/*.md")).read_text()
    assert "FAIL: VM sap-prod/app-local" in page
    codes = sorted({code for row in failed for code in row["codes"]})
    accepted = preflight(operator, connection, preflight_node="node-a", preflight_accept=codes)
    assert accepted.rc == 0, accepted.output
    assert "ACCEPTED: VM sap-prod/app-local" in accepted.said and accepted.records[-1]["facts"]["accepted"] == codes


def test_preflight_reports_without_failing_and_gives_advice_and_rates(operator, cluster):
    c = cluster(topology="default")
    run = preflight(operator, c.connection, preflight_node="hana-a", preflight_mode="report", preflight_prometheus={
        "url": c.connection["host"] + "/bigvm/v1/prometheus", "ca_cert": c.connection["ca_cert"]})
    assert run.rc == 0, run.output
    assert "PASS: VM sap-prod/hana-prod: 3 TiB, 1 node can take it" in run.said
    assert "PASS: room to empty node hana-a: 5 VMs find a place together" in run.said
    assert "bandwidth_per_migration: 64Mi -> 0" in run.said and "dirty rates of the last 1 d" in run.said
    assert run.records[-1]["facts"]["rates"]["guests"]["sap-prod/hana-prod"]["p99"] > 0
    # A question about one's own rights is a POST that stores nothing.
    others = [row for row in c.requests() if not row["path"].startswith("/bigvm/")]
    assert {row["method"] for row in others if not row["path"].endswith("/selfsubjectaccessreviews")} == {"GET"}
    assert "PASS: rights: all are there" in run.said


def test_preflight_refuses_a_code_that_does_not_exist_and_says_what_could_not_be_judged(operator, cluster):
    c = cluster(topology="tiny")
    run = preflight(operator, c.connection, preflight_accept=["NumaPagesNotVisble"])
    assert run.rc == 2 and "there is no code NumaPagesNotVisble" in run.said
    assert run.records[-1]["result"] == "failed"
    run = preflight(operator, c.connection, preflight_node="node-z")
    assert run.rc == 2 and "There is no node node-z" in run.said and run.records[-1]["result"] == "failed"
