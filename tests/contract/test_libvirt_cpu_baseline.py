# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt_cpu_baseline without libvirt: hosts that answer as libvirt does, and that make it hard where order matters."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from libvirt_steps import Clock

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import cpu
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.connection import (
    HypervisorError,
    check_uri,
    reach,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.runner import Task, outcome
from ansible_collections.bigvm.live_migration.plugins.modules import libvirt_cpu_baseline

MODELS = {"Nehalem": {"sse", "popcnt"}, "Westmere": {"sse", "popcnt", "aes"}, "EPYC": {"sse", "sha-ni"}}
HOSTS = {  # name: model, what else it names, QEMU
    "kvm-a": ("Westmere", {"avx": "require", "rdpid": "require", "vme": "require"}, "10.0.2"),
    "kvm-b": ("Westmere", {"avx": "require", "aes": "disable", "vme": "require"}, "9.0.0"),
    "kvm-c": ("Nehalem", {"avx": "require", "aes": "require"}, "9.1.0"),
}


class Domain:
    """A guest of a stand-in host."""

    def __init__(self, name, mode="host-model", live=None, persistent=True, obeys=True):
        self.name, self.live, self.persistent, self.obeys = name, live, persistent, obeys
        self.xml = "<domain><name>%s</name><cpu mode='%s'><topology sockets='2'/></cpu><graphics passwd='s3cret'/></domain>" % (name, mode)
        self.log = []

    def is_persistent(self):
        return self.persistent

    def is_active(self):
        return self.live is not None

    def definition(self):
        return self.xml

    def running_as(self):
        return self.live

    def define(self, xml):
        self.xml = xml
        self.log.append("define")

    def shutdown(self):
        self.log.append("shutdown")
        if self.obeys:
            self.live = None

    def start(self):
        self.log.append("start")
        self.live = self.xml


class Host:
    """Answers like libvirt; its baseline takes the first CPU's model, so that the order in which it is asked shows."""

    def __init__(self, name, model, features, qemu, uuid=None, vendor="Intel", domains=()):
        self.uri, self.name, self.model, self.features, self.qemu = "qemu+tls://%s/system" % name, name, model, features, qemu
        self.uuid, self.vendor, self.asked, self.domains = uuid or name, vendor, [], {one.name: one for one in domains}

    def hostname(self):
        return self.name

    def versions(self):
        return {"qemu": self.qemu, "libvirt": "10.5.0"}

    def firmware(self):
        return "<sysinfo><bios><entry name='vendor'>x</entry><entry name='version'>1.2</entry></bios></sysinfo>"

    def capabilities(self):
        return "<capabilities><host><uuid>%s</uuid><cpu><model>x</model><microcode version='7'/></cpu></host></capabilities>" % self.uuid

    def domain_capabilities(self, where):
        inside = cpu.as_input(cpu_of(self.model, self.features, self.vendor)).replace("<cpu>", "").replace("</cpu>", "")
        mode = "<mode name='host-model' supported='yes'>%s</mode>" % inside
        return "<domainCapabilities><arch>x86_64</arch><cpu>%s</cpu></domainCapabilities>" % mode

    def baseline(self, cpus, where, migratable, expand=False):
        self.asked.append(list(cpus))
        read = [cpu.cpu_of(text) for text in cpus]
        common = set.intersection(*[have(one) for one in read])
        model = read[0]["model"]
        features = dict(dict.fromkeys(common - MODELS[model], "require"), **dict.fromkeys(MODELS[model] - common, "disable"))
        return cpu.as_input(cpu_of(model, features, self.vendor))

    def expand(self, text):
        one = cpu.cpu_of(text)
        return cpu.as_input(dict(one, features=dict.fromkeys(have(one), "require")))

    def compare(self, text, where):
        missing = have(cpu.cpu_of(text)) - have(cpu_of(self.model, self.features))
        return ("incompatible", "lacks %s" % ", ".join(sorted(missing))) if missing else ("superset", None)

    def domain(self, name):
        return self.domains[name]


def cpu_of(model, features, vendor="Intel"):
    return {"model": model, "vendor": vendor, "fallback": None, "arch": None, "mode": None, "features": dict(features), "kept": []}


def have(one):
    off = {name for name, policy in one["features"].items() if policy == "disable"}
    return (MODELS[one["model"]] | cpu.on(one)) - off


class Library:
    """In the place of ``Hosts``."""

    def __init__(self, *hosts):
        self.hosts = {host.uri: host for host in hosts}
        self.closed = False

    def open(self, uri):
        return self.hosts[uri or next(iter(self.hosts))]

    def close(self):
        self.closed = True


def ask(library, entries, check_mode=False, clock=None, **options):
    """``(failed, result)`` of the module with its defaults filled in."""
    params = {name: option.get("default") for name, option in libvirt_cpu_baseline.SPEC.items()}
    params["hosts"] = [dict({"name": None, "uri": None, "xml": None, "kernel": None}, **entry) for entry in entries]
    params.update(options)
    said = []
    task = Task(params, library, check_mode, warn=said.append, clock=clock or Clock())
    failed, result = outcome(libvirt_cpu_baseline.execute, task)
    assert library.closed and "exception" not in result, result.get("exception")
    return failed, dict(result, warned=said)


def hosts_of(*names, **more):
    return Library(*[Host(name, *HOSTS[name], **more) for name in names])


def uris(*names):
    return [{"uri": "qemu+tls://%s/system" % name} for name in names]


def test_baseline_is_what_every_host_confirms():
    failed, result = ask(hosts_of("kvm-a", "kvm-b"), uris("kvm-a", "kvm-b"))
    assert not failed and not result["changed"] and "diff" not in result
    assert [row["name"] for row in result["hosts"]] == ["kvm-a", "kvm-b"]
    assert {row["verdict"] for row in result["hosts"]} == {"superset"} and all(row["asked"] for row in result["hosts"])
    assert result["hosts"][0]["loses"] == ["aes", "rdpid"] and result["hosts"][1]["loses"] == []
    assert (result["hosts"][0]["microcode"], result["hosts"][0]["firmware"]) == ("7", "1.2")
    assert [row["what"] for row in result["differences"]] == ["qemu"]
    assert "kvm-a (Westmere) loses 2: aes, rdpid" in result["lines"]


def test_the_order_of_hosts_does_not_matter():
    answers, asked = [], []
    for order in itertools.permutations(HOSTS):
        library = hosts_of(*order)
        answers.append(ask(library, uris(*order)))
        asked.append([host.asked for host in library.hosts.values() if host.asked])
    assert all(answer == answers[0] for answer in answers) and not answers[0][0]
    assert all(one == asked[0] for one in asked) and len(asked[0]) == 1


def test_the_oldest_qemu_computes():
    library = hosts_of("kvm-a", "kvm-c", "kvm-b")
    ask(library, uris("kvm-a", "kvm-b", "kvm-c"))
    assert [host.name for host in library.hosts.values() if host.asked] == ["kvm-b"]


def test_makers_do_not_mix():
    library = Library(Host("kvm-a", *HOSTS["kvm-a"]), Host("kvm-x", "EPYC", {}, "9.0.0", vendor="AMD"))
    failed, result = ask(library, uris("kvm-a", "kvm-x"))
    assert failed and result["vendors"] == {"AMD": ["kvm-x"], "Intel": ["kvm-a"]}
    assert "AMD: kvm-x; Intel: kvm-a" in result["msg"] and not any(host.asked for host in library.hosts.values())


@pytest.mark.parametrize("library, entries, says", [
    (hosts_of("kvm-a", "kvm-b", uuid="same"), uris("kvm-a", "kvm-b"), "are the same host"),
    (hosts_of("kvm-a"), uris("kvm-a", "kvm-a"), "given twice"),
    (hosts_of("kvm-a"), [{"name": "x", "xml": "<oops"}], "captured of x"),
    (hosts_of("kvm-a"), [{"xml": "<cpu/>"}], "captured of host 1 names no CPU model"),
    (hosts_of("kvm-a"), [], "hosts is empty"),
])
def test_bad_hosts_are_one_sentence(library, entries, says):
    failed, result = ask(library, entries)
    assert failed and says in result["msg"] and not result["changed"]


def test_a_captured_host_is_judged_without_its_libvirt():
    captured = Host("kvm-c", *HOSTS["kvm-c"]).domain_capabilities({})
    failed, result = ask(hosts_of("kvm-a"), uris("kvm-a") + [{"name": "kvm-c", "xml": captured, "kernel": "5.14"}])
    assert not failed
    row = result["hosts"][1]
    assert (row["name"], row["asked"], row["uri"], row["kernel"], row["verdict"]) == ("kvm-c", False, None, "5.14", "identical")


def test_captured_hosts_alone_are_computed_on_this_machine(shared_folder, monkeypatch):
    folder = Path(shared_folder, "realdata", "cpubaseline", "domaincaps")
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.xml")}
    model_of = {name: cpu.read_host(text, name)["cpu"]["model"] for name, text in texts.items()}
    entries = [{"name": name, "xml": text} for name, text in texts.items() if model_of[name] == "EPYC-Rome"]
    monkeypatch.setitem(MODELS, "EPYC-Rome", {"sse"})
    here = Host("here", "EPYC", {}, "9.0.0", vendor="AMD")
    here.uri = "qemu:///system"
    failed, result = ask(Library(here), entries)
    assert len(entries) >= 4 and not failed, result
    assert [row["name"] for row in result["hosts"]] == sorted(entry["name"] for entry in entries)
    assert len(here.asked) == 1 and not any(row["asked"] for row in result["hosts"])


def test_a_host_that_cannot_run_it_fails_the_task():
    library = hosts_of("kvm-a", "kvm-b")
    library.hosts["qemu+tls://kvm-b/system"].compare = lambda text, where: ("incompatible", "lacks vme")
    failed, result = ask(library, uris("kvm-a", "kvm-b"))
    assert failed and "kvm-b: lacks vme" in result["msg"] and "kvm-a" not in result["msg"].split(".")[0]
    assert [row["verdict"] for row in result["hosts"]] == ["superset", "incompatible"]


def test_invtsc_in_the_baseline_is_warned_of():
    library = Library(*[Host(name, "Westmere", {"invtsc": "require"}, "9.0.0") for name in ("kvm-a", "kvm-b")])
    assert "time stamp counter" in ask(library, uris("kvm-a", "kvm-b"))[1]["warned"][0]


# -- guests --------------------------------------------------------------------


def a_running(features, model="Westmere"):
    return "<domain>%s</domain>" % cpu.as_guest(cpu_of(model, features))


def given(domain, **options):
    library = Library(Host("kvm-a", *HOSTS["kvm-a"], domains=[domain]), Host("kvm-b", *HOSTS["kvm-b"]))
    return ask(library, uris("kvm-a", "kvm-b"), apply_to=[{"name": domain.name, "uri": "qemu+tls://kvm-a/system"}], **options)


def test_a_guests_definition_gets_the_baseline_once():
    domain = Domain("app")
    failed, looked = given(domain, check_mode=True)
    assert not failed and looked["changed"] and domain.log == []
    failed, done = given(domain)
    assert not failed and done["diff"] == looked["diff"] and domain.log == ["define"]
    assert "s3cret" in domain.xml and "s3cret" not in str(done) and "<topology sockets=\"2\" />" in domain.xml
    assert done["guests"] == [{"name": "app", "changed": True, "drops": [], "restart_needed": False, "restarted": False}]
    assert not given(domain)[1]["changed"] and domain.log == ["define"]


def test_a_running_guest_is_restarted_only_on_request():
    domain = Domain("app", live=a_running({"avx": "require", "rdpid": "require", "vme": "require"}))
    first = given(domain)[1]
    assert first["guests"][0]["restart_needed"] and first["guests"][0]["drops"] == ["aes", "rdpid"] and domain.log == ["define"]
    again = given(domain)[1]
    assert not again["changed"] and again["guests"][0]["restart_needed"]
    looked = given(domain, restart=True, check_mode=True)[1]
    assert looked["changed"] and domain.log == ["define"]
    done = given(domain, restart=True)[1]
    assert done["changed"] and done["guests"][0]["restarted"] and domain.log == ["define", "shutdown", "start"]
    assert not given(domain, restart=True)[1]["changed"] and domain.log == ["define", "shutdown", "start"]


def test_a_guest_that_does_not_go_down_is_not_forced():
    domain, clock = Domain("app", live=a_running({"rdpid": "require"}), obeys=False), Clock()
    failed, result = given(domain, restart=True, restart_timeout=30, clock=clock)
    assert failed and "did not shut down within 30 s" in result["msg"] and 30 <= clock.time <= 31
    assert domain.log == ["define", "shutdown"] and domain.is_active()


def test_a_guest_with_the_certified_cpu_is_refused_without_acknowledgement():
    domain = Domain("hana", mode="host-passthrough")
    failed, result = given(domain)
    assert failed and "certified_cpu" in result["msg"] and "HANA" in result["msg"] and domain.log == []
    failed, result = given(domain, acknowledge=["certified_cpu"])
    assert not failed and result["changed"] and domain.log == ["define"]


def test_a_transient_guest_has_nothing_to_write_to():
    failed, result = given(Domain("app", persistent=False))
    assert failed and "transient" in result["msg"]


def test_one_guest_refused_leaves_all_untouched():
    first, second = Domain("app"), Domain("hana", mode="host-passthrough")
    library = Library(Host("kvm-a", *HOSTS["kvm-a"], domains=[first, second]))
    failed, _result = ask(library, uris("kvm-a"), apply_to=[{"name": one.name, "uri": None} for one in (first, second)])
    assert failed and first.log == []


# -- connections ---------------------------------------------------------------


@pytest.mark.parametrize("uri, says", [
    ("qemu+tls://kvm-b", "lacks its path"), ("qemu:///session", "session connection"), ("xen:///system", "no URI of a QEMU host"),
    ("kvm-b", "no URI of a QEMU host"),
])
def test_a_uri_that_cannot_be_meant_is_refused(uri, says):
    with pytest.raises(BadInput, match=says):
        check_uri(uri)


def test_a_dead_host_is_said_at_once():
    with pytest.raises(HypervisorError, match=r"port 1: .*refused"):
        reach("qemu+tcp://127.0.0.1:1/system")


def test_a_host_by_ssh_is_looked_for_where_ssh_would(tmp_path, monkeypatch):
    program = tmp_path / "ssh"
    program.write_text("#!/bin/sh\necho 'hostname 127.0.0.1'\necho 'port 1'\ncat %s/more 2>/dev/null\nexit 0\n" % tmp_path)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "%s:%s" % (tmp_path, os.environ["PATH"]))
    with pytest.raises(HypervisorError, match="does not answer on port 1: .*") as caught:
        reach("qemu+ssh://root@kvm-2/system")
    assert "sshd listens" in str(caught.value)
    (tmp_path / "more").write_text("proxyjump gate\n")
    assert reach("qemu+ssh://root@kvm-2/system") is None  # by way of another host: only ssh can tell
    program.write_text("#!/bin/sh\nexit 255\n")
    assert reach("qemu+ssh://root@kvm-2/system") is None
