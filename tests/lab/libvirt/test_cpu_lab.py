# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt_cpu_baseline with a real libvirt: its own vectors, hosts that really differ, any order, and without the binding."""

from __future__ import annotations

import json
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import cpu

NOT_QEMUS = {"osxsave"}  # libvirt's vectors are not of a hypervisor; QEMU has no switch for this one


@pytest.fixture(scope="session")
def vectors(shared_folder):
    """``{name: [(inputs, flags, expected text or None)]}`` of libvirt's own tests."""
    folder, found = Path(shared_folder, "realdata", "cpubaseline"), {}
    for row in json.loads((folder / "manifest.json").read_text(encoding="utf-8")):
        elements = ElementTree.fromstring((folder / row["input"]).read_text(encoding="utf-8")).findall("cpu")
        expected = None if row["expect"] == "error" else (folder / row["expect"]).read_text(encoding="utf-8")
        inputs = [ElementTree.tostring(element, encoding="unicode") for element in elements]
        found.setdefault(row["name"], []).append((inputs, row["flags"] or "", expected))
    return found


def captured(texts):
    return [{"name": "host-%d" % place, "xml": text} for place, text in enumerate(texts)]


@pytest.mark.parametrize("name", ["simple", "features", "Westmere+Nehalem"])
def test_libvirts_own_vectors(lab, vectors, name):
    for inputs, flags, expected in vectors[name]:
        if "EXPAND" in flags:
            continue
        done = lab.module("a", "libvirt_cpu_baseline", hosts=captured(inputs), migratable="MIGRATABLE" in flags)
        wanted = cpu.cpu_of(expected)
        assert (done["baseline"]["model"], done["baseline"]["vendor"]) == (wanted["model"], wanted["vendor"]), done
        named = {feature for feature in wanted["features"] if feature not in NOT_QEMUS}
        assert set(done["baseline"]["features"]) | {cpu.TSC} == named | {cpu.TSC}, flags  # an emulating QEMU keeps it in any case


@pytest.mark.parametrize("name", ["no-vendor", "some-vendors"])
def test_vectors_of_other_models_give_what_every_input_can_run(lab, vectors, name):
    inputs, _flags, _expected = vectors[name][0]
    done = lab.module("a", "libvirt_cpu_baseline", hosts=captured(inputs), migratable=False)
    assert {row["verdict"] for row in done["hosts"]} <= {"superset", "identical"} and len(done["hosts"]) == len(inputs), done


def test_vectors_of_two_makers_are_refused(lab, vectors):
    inputs, _flags, expected = vectors["incompatible-vendors"][0]
    done = lab.module("a", "libvirt_cpu_baseline", hosts=captured(inputs))
    assert expected is None and done["failed"] and set(done["vendors"]) == {"Intel", "AMD"}


def test_hosts_that_differ_agree_in_any_order_and_without_the_binding(lab, tmp_path):
    orders = [["a", "b", "c"], ["c", "a", "b"], ["b", "c", "a"]]
    answers = [lab.module("a", "libvirt_cpu_baseline", hosts=[{"uri": lab.uri(host)} for host in order]) for order in orders]
    for answer in answers:
        answer.pop("invocation")
        assert not answer["changed"] and answer == answers[0]
    rows = {row["name"]: row for row in answers[0]["hosts"]}
    assert {row["verdict"] for row in rows.values()} == {"superset"} and all(row["asked"] for row in rows.values())
    assert rows["kvm-a"]["loses"] == rows["kvm-b"]["loses"] != rows["kvm-c"]["loses"]
    assert [row["what"] for row in answers[0]["differences"]] == ["qemu"]
    (tmp_path / "libvirt.py").write_text("raise ImportError('hidden')")
    by_virsh = lab.module("a", "libvirt_cpu_baseline", hosts=[{"uri": lab.uri(host)} for host in "abc"], _before=str(tmp_path))
    by_virsh.pop("invocation")
    assert by_virsh == answers[0]


def test_a_live_host_and_a_captured_one_agree(lab):
    text = lab.virsh("c", "domcapabilities")
    mixed = lab.module("a", "libvirt_cpu_baseline", hosts=[{}, {"name": "kvm-c", "xml": text}])
    live = lab.module("a", "libvirt_cpu_baseline", hosts=[{}, {"uri": lab.uri("c")}])
    assert not mixed["hosts"][1]["asked"] and mixed["hosts"][1]["verdict"] == "superset", mixed
    for answer in (mixed, live):
        del answer["baseline"]["features"], answer["baseline"]["xml"]  # computed on hosts of other ages: what must agree is below
    assert mixed["baseline"] == live["baseline"] and mixed["hosts"][0]["loses"] == live["hosts"][0]["loses"]


def test_thirty_two_captured_hosts_take_no_time(lab):
    texts = [lab.virsh(host, "domcapabilities") for host in "ac"]
    hosts = [{"name": "kvm-%02d" % number, "xml": texts[number % 2]} for number in range(32)]
    lab.module("a", "libvirt_cpu_baseline", hosts=hosts[:2])
    started = time.monotonic()
    done = lab.module("a", "libvirt_cpu_baseline", hosts=hosts)
    assert time.monotonic() - started < 4 and len(done["hosts"]) == 32  # 2 s are wanted of a machine that is not busy
