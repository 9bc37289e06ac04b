# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Dirty rates from Prometheus: what is asked, what the answers mean, what is said when there are none."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import rates

HANA = {"namespace": "sap", "name": "hana", "node": "w1"}


def row(labels, value):
    return {"metric": labels, "value": [1795219200, value]}


def test_the_queries_name_the_namespaces_and_the_window():
    asked = rates.queries({"sap", "apps"}, 3600)
    series = 'kubevirt_vmi_dirty_rate_bytes_per_second{namespace=~"apps|sap"}[3600s]'
    assert asked == {"p50": "quantile_over_time(0.5, %s)" % series, "p99": "quantile_over_time(0.99, %s)" % series,
                     "max": "max_over_time(%s)" % series, "samples": "count_over_time(%s)" % series}
    assert "namespace" not in rates.queries({"n%d" % number for number in range(50)})["p50"]


def test_a_guest_that_moved_has_the_highest_of_its_series():
    answers = {figure: [row(HANA, "5"), row(dict(HANA, node="w2"), "7")] for figure in rates.FIGURES}
    assert rates.by_guest(answers) == {("sap", "hana"): {"p50": 7.0, "p99": 7.0, "max": 7.0, "samples": 12}}


@pytest.mark.parametrize("odd", [
    {"metric": HANA, "value": [1, "NaN"]}, {"metric": HANA, "value": [1, "+Inf"]}, {"metric": HANA, "value": [1]}, {"metric": HANA}, {},
    {"metric": {"namespace": "sap"}, "value": [1, "5"]}, {"metric": None, "value": None}, None, "text"])
def test_what_is_no_number_is_absent(odd):
    assert rates.by_guest({figure: [odd] for figure in rates.FIGURES}) == {}


def test_half_an_answer_is_none():
    assert rates.by_guest({"p50": [row(HANA, "5")], "max": [row(HANA, "5")], "p99": [], "samples": [row(HANA, "3")]}) == {}


def test_cards_belong_to_nodes_that_are_known():
    answers = {"speed": [row({"instance": "w1:9100", "device": "eno1"}, "12500000000"), row({"instance": "w9", "device": "eno1"}, "1")],
               "sent": [row({"node": "w2", "device": "eno1"}, "5"), row({"instance": "w1", "device": "eno1"}, "-1")]}
    assert rates.cards(answers, {"w1", "w2"}) == {"w1": {"eno1": {"speed": 1.25e10}}, "w2": {"eno1": {"sent": 5.0}}}


def found(**fields):
    return dict({"source": "https://p", "window": 86400, "guests": {}, "cards": {}, "failure": None}, **fields)


VMS = [{"namespace": "sap", "name": "hana", "memory_bytes": 1}, {"namespace": "sap", "name": "app", "memory_bytes": 2}]


def test_what_is_said_of_the_rates():
    lines = rates.rate_lines(found(guests={"sap/hana": {"p50": 5e7, "p99": 6e8, "max": 9e8, "samples": 9}}), "v1.9.0", VMS)
    assert lines == ["dirty rates of the last 1 d (half the time / 99 % of it / at most)", "  sap/app: not measured",
                     "  sap/hana: 50 MB/s / 600 MB/s / 900 MB/s"]


@pytest.mark.parametrize("fields, release, said", [
    ({}, "v1.5.0", "KubeVirt measures them from 1.6 on"), ({}, "v1.6.0", "Prometheus has no kubevirt_vmi_dirty_rate"),
    ({"failure": "it answered 403"}, "v1.9.0", "cannot be asked (it answered 403)")])
def test_absent_rates_are_said(fields, release, said):
    lines = rates.rate_lines(found(**fields), release, VMS)
    assert len(lines) == 1 and said in lines[0]
