# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role hana_guest_tuning on the machine that runs the tests, in assert mode: nothing is changed."""

from __future__ import annotations

import sys

import pytest

HERE = {"tune_hosts": "localhost", "tune_become": False, "tune_mode": "assert", "ansible_python_interpreter": sys.executable}


def tune(operator, **variables):
    return operator.run("tune_guests", "-i", "localhost,", "-c", "local", env={"ANSIBLE_DISPLAY_OK_HOSTS": "true"}, **{**HERE, **variables})


@pytest.mark.parametrize("release", ["8.10", "9.4"])
def test_assert_mode_prints_a_line_a_value_and_fails_where_one_is_wrong(operator, release):
    run = tune(operator, hana_guest_tuning_release=release)
    assert run.rc == 2
    assert "FAIL: TuneD profile is none, or TuneD does not run, wanted is bigvm-sap-hana" in run.said
    assert "vm.swappiness is" in run.said and "SAP note" in run.said
    assert ("sched_min_granularity_ns" in run.said) is (release == "8.10")
    assert "changed=0" in run.said


def test_failures_can_be_shown_and_ignored(operator):
    run = tune(operator, hana_guest_tuning_release="9.4", hana_guest_tuning_ignore_failures=True)
    assert run.rc == 0, run.output
    assert "FAIL: TuneD profile" in run.said


def test_a_release_nobody_knows_is_refused(operator):
    run = tune(operator, hana_guest_tuning_release="7.9")
    assert run.rc == 2
    assert "the values for RHEL 7.9 are not known" in run.said
    assert "Traceback" not in run.output


def test_without_the_vendors_profile_nothing_is_changed(operator, tmp_path):
    run = tune(operator, tune_mode="apply", hana_guest_tuning_release="9.4", hana_guest_tuning_install=False,
               hana_guest_tuning_vendor_profile="sap-hana-kvm-guest", hana_guest_tuning_folder=str(tmp_path / "tuned"))
    assert run.rc == 2
    assert "has no TuneD profile sap-hana-kvm-guest. Nothing was changed." in run.said
    assert not (tmp_path / "tuned").exists()
