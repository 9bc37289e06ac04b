# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role migration_network as an operator meets it: made, made again, asserted, measured, taken back."""

from __future__ import annotations

import re

import pytest
from steps import hyperconverged, writes

pytestmark = pytest.mark.long  # see make test-lab

PLAY = """
- hosts: localhost
  gather_facts: false
  module_defaults:
    group/bigvm.live_migration.kubernetes: "{{ live_migration_connection }}"
  roles:
    - role: bigvm.live_migration.migration_network
"""
CARD = {"migration_network_nodes": [{"nic": "ens4f0"}], "migration_network_range": "10.200.5.0/24",
        "migration_network_exclude": ["10.200.5.0/30"]}
NADS = "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions"
POLICIES = "/apis/nmstate.io/v1/nodenetworkconfigurationpolicies"


@pytest.fixture
def role(operator):
    """Run the role: ``role(cluster, **variables)``, flags by ``flags``."""
    book = operator.folder / "network.yml"
    book.write_text(PLAY)

    def run(c, *flags, **variables):
        return operator.run(str(book), *flags, live_migration_connection=c.connection, **{**CARD, **variables},
                            env={"ANSIBLE_DISPLAY_OK_HOSTS": "true"})

    return run


def network_of(c):
    return hyperconverged(c)["spec"]["virtualization"]["liveMigrationConfig"].get("network")


def changed(run):
    return int(re.search(r"changed=(\d+)", run.output).group(1))


def test_made_again_asserted_measured_and_taken_back(role, cluster):
    c = cluster(topology="network")
    looked = role(c, "--check", "--diff")
    assert looked.rc == 0 and writes(c) == [], looked.output
    assert "HyperConverged: its network becomes migration-network" in looked.said and "+  \"config\"" not in looked.said
    assert "Say what would be done: check mode changes nothing" in looked.said and "no node reboots, no guest stops" in looked.said
    assert "ens4f0" in looked.output and changed(looked) == 1
    wrong = role(c, migration_network_mode="assert")
    assert wrong.rc == 2 and "FAIL: policy migration-network: it does not exist" in wrong.said and writes(c) == []

    made = role(c, migration_network_measure=True, migration_network_measure_seconds=1)
    assert made.rc == 0, made.output
    assert "PASS: migration0 on node hana-a: 10.200.5." in made.said
    assert "SIMULATED: this is a rehearsal" in made.said
    assert network_of(c) == "migration-network" and changed(made) == 2

    before = len(writes(c))
    again = role(c)
    assert again.rc == 0 and changed(again) == 0 and len(writes(c)) == before, again.output
    right = role(c, migration_network_mode="assert")
    assert right.rc == 0 and "FAIL" not in right.said and len(writes(c)) == before

    gone = role(c, migration_network_state="absent")
    assert gone.rc == 0, gone.output
    assert network_of(c) in (None, "") and c.api.list(NADS).items == [] and c.api.list(POLICIES).items == []
    paths = [row["path"] for row in writes(c)[before:]]
    order = [next(index for index, path in enumerate(paths) if part in path)
             for part in ("hyperconvergeds", "network-attachment", "nodenetwork")]
    assert order == sorted(order)
    rest = role(c, migration_network_state="absent")
    assert rest.rc == 0 and changed(rest) == 0


def test_a_network_in_use_is_left_before_it_is_changed_and_used_again(role, cluster):
    c = cluster(topology="network")
    assert role(c).rc == 0
    before = len(writes(c))
    run = role(c, migration_network_mtu=8000)
    assert run.rc == 0, run.output
    assert "MTU on node worker-1: 8000 on ens4f0" in run.said and network_of(c) == "migration-network"
    patched = [row["path"] for row in writes(c)[before:] if "hyperconvergeds" in row["path"]]
    assert len(patched) == 2, "left, then used again"


def test_bad_input_is_refused_before_the_first_write(role, cluster):
    c = cluster(topology="network")
    for wrong, said in (
            ({"migration_network_nodes": [{"nic": "ens4f1"}]}, "ens4f1 on node worker-1: there is no such interface"),
            ({"migration_network_namespace": "sap"}, "sap was asked for, and virt-handler looks in its own, openshift-cnv"),
            ({"migration_network_nodes": []}, "migration_network_nodes (which card each node has) and migration_network_range")):
        run = role(c, **wrong)
        assert run.rc == 2 and said in run.said and "Traceback" not in run.output, run.output
    assert writes(c) == []
