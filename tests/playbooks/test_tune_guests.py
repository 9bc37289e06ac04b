# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role hana_guest_tuning on the machine that runs the tests, in assert mode: nothing is changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of

HERE = {"tune_hosts": "localhost", "tune_become": False, "tune_mode": "assert", "ansible_python_interpreter": sys.executable}


def tune(operator, *words, **variables):
    return operator.run("tune_guests", "-i", "localhost,", "-c", "local", *words,
                        env={"ANSIBLE_DISPLAY_OK_HOSTS": "true"}, **{**HERE, **variables})


@pytest.mark.parametrize("release", [pytest.param("8.10", marks=pytest.mark.long), "9.4"])
def test_assert_mode_prints_a_line_a_value_and_fails_where_one_is_wrong(operator, release):
    run = tune(operator, hana_guest_tuning_release=release)
    assert run.rc == 2
    assert "FAIL: TuneD profile is none, or TuneD does not run, wanted is bigvm-sap-hana" in run.said
    assert "vm.swappiness is" in run.said and "SAP note" in run.said
    assert ("sched_min_granularity_ns" in run.said) is (release == "8.10")
    assert "changed=0" in run.said and "Reads only" in run.said


@pytest.mark.long
def test_failures_can_be_shown_and_ignored(operator):
    run = tune(operator, hana_guest_tuning_release="9.4", hana_guest_tuning_ignore_failures=True)
    assert run.rc == 0, run.output
    assert "FAIL: TuneD profile" in run.said
    assert "Reads only" in run.said and "no reboot needed" in run.said


@pytest.mark.long
def test_a_release_nobody_knows_is_refused(operator):
    run = tune(operator, hana_guest_tuning_release="7.9")
    assert run.rc == 2
    assert "the values for RHEL 7.9 are not known" in run.said
    assert "Traceback" not in run.output


@pytest.mark.long
def test_without_the_vendors_profile_nothing_is_changed(operator, tmp_path):
    run = tune(operator, tune_mode="apply", hana_guest_tuning_release="9.4", hana_guest_tuning_install=False,
               hana_guest_tuning_vendor_profile="sap-hana-kvm-guest", hana_guest_tuning_folder=str(tmp_path / "tuned"))
    assert run.rc == 2
    assert "has no TuneD profile sap-hana-kvm-guest. Nothing was changed." in run.said
    assert not (tmp_path / "tuned").exists()


@pytest.mark.long
def test_packages_that_cannot_be_had_are_named_with_their_repository(operator, tmp_path):
    run = tune(operator, "--check", tune_mode="apply", hana_guest_tuning_release="9.4", hana_guest_tuning_packages=["no-such-package"],
               hana_guest_tuning_folder=str(tmp_path / "tuned"))
    assert run.rc == 2 and "Check mode, nothing is changed. Without it: installs" in run.said, run.output
    assert "no-such-package could not be installed, and nothing else was changed" in run.said
    assert "rhel-9-for-x86_64-sap-solutions-rpms" in run.said and "hana_guest_tuning_install=false" in run.said
    assert not (tmp_path / "tuned").exists()


@pytest.mark.long
@pytest.mark.skipif(Path("/etc/redhat-release").exists(), reason="needs a machine that is not of the RHEL family")
def test_what_is_no_rhel_is_refused(operator):
    run = tune(operator)
    assert run.rc == 2 and "the values are known for RHEL 8, 9 and 10 only. Nothing was changed." in run.said


@pytest.mark.long
def test_an_inventory_without_guests_is_no_success(operator):
    run = tune(operator, tune_hosts="hana_guests")
    assert run.rc == 2 and "No guest matches hana_guests in this inventory, so nothing was done" in run.said


@pytest.mark.long
def test_the_inventory_of_the_example_asks_the_cluster(operator, cluster, tmp_path):
    c = cluster(topology="default")
    guest = path_of("kubevirt.io/v1", "virtualmachineinstances", namespace="sap-prod", name="hana-prod")
    c.api.patch(guest, {"metadata": {"labels": {"live-migration.bigvm.io/critical": "true"}}})
    example = Path(__file__).resolve().parents[2] / "docs" / "examples" / "hana_guests.kubevirt.yml"
    environment = operator.environment(
        K8S_AUTH_HOST=c.connection["host"], K8S_AUTH_API_KEY=c.connection["api_key"], K8S_AUTH_SSL_CA_CERT=c.connection["ca_cert"],
        K8S_AUTH_VERIFY_SSL="true")
    done = subprocess.run([str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(example), "--list"], text=True,
                          env=environment, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    inventory = json.loads(done.stdout)
    assert inventory["hana_guests"]["hosts"] == ["sap-prod-hana-prod"], done.stderr
    facts = inventory["_meta"]["hostvars"]["sap-prod-hana-prod"]
    assert "cloud-user" in str(facts["ansible_user"]) and facts["vmi_labels"]
