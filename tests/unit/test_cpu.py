# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CPUs of KVM hosts and guests: reading libvirt's documents, comparing, writing a guest's definition, words."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import cpu

CAPABILITIES = """<capabilities><host><uuid>6f0c</uuid><cpu><arch>x86_64</arch><model>Westmere</model><vendor>Intel</vendor>
<microcode version='42'/><feature name='vmx'/><feature name='avx'/></cpu></host></capabilities>"""
DOMAIN = """<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>grüße</name>
  <metadata><x:cpu xmlns:x='urn:x'><cpu>not this</cpu></x:cpu></metadata>
  <cpu mode='host-model' check='partial'>
    <topology sockets='2' dies='1' cores='4' threads='1'/>
    <numa><cell id='0' cpus='0-7' memory='1' unit='GiB'/></numa>
  </cpu>
  <clock offset='utc'/>
  <qemu:commandline><qemu:arg value='-x'/></qemu:commandline>
</domain>
"""


def a_cpu(model="Westmere", vendor="Intel", **features):
    return {"model": model, "vendor": vendor, "fallback": None, "arch": None, "mode": None, "kept": [],
            "features": {name.replace("_", "-"): policy for name, policy in features.items()}}


def test_a_hosts_capabilities_are_read():
    found = cpu.read_host(CAPABILITIES, "it")
    assert (found["uuid"], found["microcode"], found["arch"], found["usable"]) == ("6f0c", "42", "x86_64", None)
    assert found["cpu"]["model"] == "Westmere" and found["cpu"]["features"] == {"vmx": "require", "avx": "require"}
    assert "<arch>x86_64</arch>" in cpu.as_input(found["cpu"])


@pytest.mark.parametrize("path", ["qemu_10.0.0-q35.x86_64.xml", "qemu_6.2.0.x86_64.xml", "qemu_10.0.0-q35.x86_64+amdsev.xml"])
def test_captured_domain_capabilities_are_read(shared_folder, path):
    text = Path(shared_folder, "realdata", "cpubaseline", "domaincaps", path).read_text(encoding="utf-8")
    found = cpu.read_host(text, path)
    element = ElementTree.fromstring(text).find("./cpu/mode[@name='host-model']")
    assert found["cpu"]["model"] == element.findtext("model") and found["arch"] == "x86_64"
    assert len(found["cpu"]["features"]) == len(element.findall("feature"))
    assert len(found["usable"]) > 50 and set(found["usable"].values()) == {True, False}
    assert "<arch>" not in cpu.as_input(found["cpu"])  # else libvirt takes what is off for what is on
    again = cpu.cpu_of(cpu.as_input(found["cpu"]))
    assert cpu.same(again, found["cpu"]) and again["kept"] == found["cpu"]["kept"]


def test_every_input_of_libvirts_own_vectors_is_read(shared_folder):
    folder = Path(shared_folder, "realdata", "cpubaseline")
    for row in json.loads((folder / "manifest.json").read_text(encoding="utf-8")):
        for element in ElementTree.fromstring((folder / row["input"]).read_text(encoding="utf-8")).findall("cpu"):
            one = cpu.read_host(ElementTree.tostring(element, encoding="unicode"), row["name"])
            assert cpu.same(cpu.cpu_of(cpu.as_input(one["cpu"])), one["cpu"]), row["name"]


@pytest.mark.parametrize("text", [
    "", "no xml", "<cpu/>", "<cpu><model/></cpu>",
    "<domainCapabilities><cpu><mode name='host-model' supported='no'/></cpu></domainCapabilities>",
    "<!DOCTYPE a [<!ENTITY b 'c'>]><cpu><model>&b;</model></cpu>", "<capabilities><host/></capabilities>", None,
])
def test_what_is_no_cpu_is_said_so(text):
    with pytest.raises(ValueError, match="kvm-7"):
        cpu.read_host(text, "What was captured of kvm-7")


def test_a_cpu_is_written_alike_whatever_order_it_came_in():
    features = {"a": "require", "b": "disable", "c": "require"}
    written = {cpu.as_input(dict(a_cpu(), features=dict(order))) for order in itertools.permutations(features.items())}
    assert len(written) == 1


def test_spelled_out_leaves_out_what_is_off():
    one = a_cpu(avx="require", vme="disable", x="forbid")
    plain = cpu.cpu_of(cpu.as_plain(one, "x86_64"))
    assert plain["features"] == {"avx": "require"} and plain["arch"] == "x86_64"
    named = "".join("<feature policy='require' name='%s'/>" % name for name in ("avx", "vme", "sse"))
    answer = "<cpu><model>Westmere</model>%s</cpu>" % named
    assert cpu.spelled(answer, one) == {"avx", "sse"}


def test_only_the_cpu_of_a_definition_is_replaced():
    has, shape = cpu.guest_cpu(DOMAIN)
    assert has["mode"] == "host-model" and has["model"] is None and len(shape) == 2
    new = cpu.with_cpu(DOMAIN, cpu.as_guest(a_cpu(avx="require"), shape))
    before, after = DOMAIN.split(cpu.cpu_text(DOMAIN))
    assert new.startswith(before) and new.endswith(after)
    got, kept = cpu.guest_cpu(new)
    assert cpu.same(got, a_cpu(avx="require")) and (got["mode"], got["fallback"]) == ("custom", "forbid")
    assert kept == shape and "cores='4'" not in kept[0] and 'cores="4"' in kept[0]


@pytest.mark.parametrize("old", ["", "<cpu mode='host-passthrough'/>", "<cpu mode='host-passthrough'></cpu>"])
@pytest.mark.parametrize("behind", ["<clock offset='utc'/>", ""])
def test_a_cpu_gets_in_wherever_there_was_none_or_an_empty_one(old, behind):
    text = "<domain><name>x</name>%s%s</domain>" % (old, behind)
    new = cpu.with_cpu(text, cpu.as_guest(a_cpu()))
    assert cpu.cpu_text(text) == old
    assert len(ElementTree.fromstring(new).findall("cpu")) == 1
    assert cpu.guest_cpu(new)[0]["model"] == "Westmere" and ElementTree.fromstring(new).findtext("name") == "x"
    assert bool(behind) == ("<clock" in new)


@pytest.mark.parametrize("running, more, due", [
    (a_cpu(avx="require"), [], False),
    (a_cpu(avx="require", arat="require"), ["arat"], False),  # every host has it, QEMU adds it
    (a_cpu(avx="require", rdpid="require"), ["rdpid"], True),
    (a_cpu(), [], True),
    (a_cpu("EPYC", avx="require"), [], True),
    (None, [], True),
])
def test_a_restart_is_due_when_the_running_cpu_cannot_go_everywhere(running, more, due):
    assert cpu.restart_is_due(running, a_cpu(avx="require"), more, {"rdpid"}) is due


def test_vendors_and_differences_name_hosts():
    hosts = [{"name": name, "cpu": a_cpu(vendor=vendor)} for name, vendor in (("b", "AMD"), ("a", "Intel"), ("c", None), ("d", "AMD"))]
    assert cpu.vendors(hosts) == {"AMD": ["b", "d"], "Intel": ["a"]}
    rows = [dict({"kernel": None, "qemu": "9.1.0", "libvirt": "10.5.0", "firmware": None}, name=name, microcode=microcode)
            for name, microcode in (("a", "1"), ("b", "2"), ("c", None))]
    found = cpu.differences(rows)
    assert found == [{"what": "microcode", "values": {"a": "1", "b": "2"}, "unknown": ["c"]}]
    assert cpu.differences_in_words(found) == ["Hosts differ in microcode: a 1, b 2"]


def test_a_captured_host_is_judged_by_its_features():
    assert cpu.why_it_cannot("Westmere", {"avx"}, {"avx", "vmx"}, {"Westmere": False}) == []
    reasons = cpu.why_it_cannot("Westmere", {"avx", "x2apic"}, {"avx"}, {"Nehalem": True})
    assert len(reasons) == 2 and "Westmere" in reasons[0] and "x2apic" in reasons[1]


def test_words_fit_the_terminal_and_name_each_feature():
    many = ["feature-%d" % number for number in range(40)]
    rows = [{"name": "kvm-a", "model": "Westmere", "loses": many}, {"name": "kvm-b", "model": "X", "loses": []}]
    lines = cpu.in_words(a_cpu(avx="require"), rows)
    assert max(map(len, lines)) <= 80 and "kvm-b: nothing is lost" in lines
    assert sum(text.count("feature-") for text in lines) == 40
    assert cpu.guest_in_words("g", True, ["a"], True, False)[-1].startswith("g: runs with its old CPU")
    assert cpu.guest_in_words("g", False, [], True, True)[-1].startswith("g: restarted")
