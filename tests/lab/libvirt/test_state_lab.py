# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a guest has beside its memory: its firmware's variables, its TPM, its hardware as it sees it; and a target without room for it."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import kvm_install as install
from kvm_operator import Operator

OVMF = "/usr/share/OVMF/OVMF_%s_4M.fd"
NVRAM, TPM = "/var/lib/libvirt/qemu/nvram/%s.fd", "/var/lib/libvirt/swtpm/%s/tpm2/tpm2-00.permall"
UEFI = "<loader readonly='yes' type='pflash'>" + OVMF % "CODE" + "</loader><nvram template='" + OVMF % "VARS" + "'>" + NVRAM + "</nvram>"
CHIP = "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>"
SLOW = dict(dirty_mb=64, dirty_rate=20)


def seed(data):
    """The endorsement seed in a TPM's permanent state: what makes it this one and no other."""
    # libtpms writes it with its length before it; both are the same in every state of one TPM
    return {data[place:place + 32] for place in range(len(data) - 32) if len(set(data[place:place + 32])) > 24}


def test_firmware_variables_and_tpm_go_along(lab, guest, move):
    name = guest("s-uefi", firmware=UEFI % "s-uefi", devices=CHIP)
    uuid = lab.virsh("a", "domuuid", name)
    kept, tpm = lab.file("a", NVRAM % name).read_bytes(), lab.file("a", TPM % uuid).read_bytes()
    assert kept != Path(OVMF % "VARS").read_bytes()  # the firmware has written to it
    done = move(name)
    assert done.get("changed") and done["proof"] == "agent", done
    lab.lives_on(name, "b")
    assert lab.file("b", NVRAM % name).read_bytes() == kept
    there = lab.file("b", TPM % uuid).read_bytes()
    assert len(seed(tpm) & seed(there)) > 100
    # shut off, what it keeps is in files of its host, and a move of the definition leaves them there
    lab.virsh("b", "destroy", name)
    refused = move(name, source="b", target="a", mode="offline")
    assert refused["failed"] and "state_copied" in refused["msg"], refused
    assert NVRAM % name in refused["msg"] and "its TPM" in refused["msg"], refused
    assert "Nothing was changed" in refused["msg"] and lab.defined(name) == ["b"]
    told = lab.module("b", "libvirt_migratable_info", destination=lab.uri("a"), names=[name])
    assert {reason["code"] for reason in told["guests"][0]["reasons"]} >= {"FirmwareState", "ShutOff"}
    lab.file("a", NVRAM % name).write_bytes(lab.file("b", NVRAM % name).read_bytes())
    folder = lab.file("a", "/var/lib/libvirt/swtpm/%s/tpm2" % uuid)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tpm2-00.permall").write_bytes(lab.file("b", TPM % uuid).read_bytes())
    assert move(name, source="b", target="a", mode="offline", state_copied=True)["changed"]
    assert lab.defined(name) == ["a"]


def test_another_definition_at_the_target(lab, guest, move):
    name = guest("s-abi")
    running, inactive, full = (lab.virsh("a", "dumpxml", *which, name) for which in (["--migratable"], ["--inactive"], []))
    for text in (running, full):  # whichever somebody begins with, it is no change by itself
        assert move(name, definition=text, kept_definition=inactive, _ansible_check_mode=True)["changed"]
    wrong = running.replace("<vcpu placement='static'>1</vcpu>", "<vcpu placement='static'>2</vcpu>").replace(
        "<channel type='unix'>", "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng><channel type='unix'>")
    assert wrong != running
    for check in (True, False):
        failed = move(name, definition=wrong, kept_definition=inactive, _ansible_check_mode=check)
        assert failed["failed"] and "vcpu is 2, it was 1; rng 0 is new" in failed["msg"] and failed["abi"], failed
        assert "kept_definition" in failed["msg"] and lab.active(name) == ["a"]
    other = move(name, definition=running.replace("<name>s-abi", "<name>s-other"), kept_definition=inactive)
    assert other["failed"] and "has the name s-other" in other["msg"], other
    # the serial console goes elsewhere now; and with its next start the guest has two CPUs
    title = "<title>moved</title>"
    there = running.replace("<vcpu", title + "<vcpu", 1)
    done = move(name, definition=there, kept_definition=inactive.replace("static'>1</vcpu>", "static'>2</vcpu>"))
    assert done.get("changed"), done
    lab.lives_on(name, "b")
    assert title in lab.virsh("b", "dumpxml", name) and "static'>1</vcpu>" in lab.virsh("b", "dumpxml", name)
    assert "static'>2</vcpu>" in lab.virsh("b", "dumpxml", "--inactive", name)


def test_networks_are_exchanged_offline_too(lab, guest, move):
    card = "<interface type='bridge'><mac address='52:54:00:00:00:77'/><source bridge='one'/></interface>"
    name = guest("s-net", start=False, devices=card)
    two = lab.virsh("a", "dumpxml", name).replace("static'>1</vcpu>", "static'>2</vcpu>")
    failed = move(name, mode="offline", kept_definition=two)
    assert failed["failed"] and "vcpu is 2, it was 1" in failed["msg"] and lab.defined(name) == ["a"], failed
    done = move(name, mode="offline", networks={"one": "two"})
    assert done.get("changed"), done
    assert "bridge='two'" in lab.virsh("b", "dumpxml", name) and lab.defined(name) == ["b"]


def test_a_target_out_of_memory(lab, guest, move):
    name = guest("s-big", memory=3072)
    pid = lab.file("b", "/run/libvirtd.pid").read_text().strip()
    lab.run("b", "prlimit", "--pid", pid, "--as=%d" % (3 << 30))  # its QEMU inherits that
    try:
        failed = move(name)
    finally:
        lab.ask("restart", "b")
    assert failed["failed"] and "too little memory" in failed["msg"] and "runs on kvm-a as before" in failed["msg"], failed
    lab.lives_on(name, "a")
    assert lab.defined(name) == ["a"]
    assert move(name)["changed"]
    lab.lives_on(name, "b")


def test_memory_that_is_available_counts_the_page_cache(lab):
    told = lab.module("a", "libvirt_host_info", peers=[{"uri": lab.uri("b"), "migrate_uri": "tcp://kvm-b-mig"}])
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    cache = sum(int(lines[word].split()[0]) for word in ("Cached", "Buffers")) * 1024
    had = told["host"]["memory_available"] - told["host"]["memory_free"]
    assert abs(had - cache) < max(64 << 20, cache // 10) and told["host"]["versions"]["kernel"] == os.uname().release
    assert told["unreached"] == []


def test_ports_that_are_filtered_are_said_in_both_directions(lab, guest):
    name = guest("s-way")
    for host, other in ("ab", "ba"):
        lab.link(other, "mig0", "down")
        told = lab.module(host, "libvirt_host_info", peers=[{"uri": lab.uri(other), "migrate_uri": "tcp://kvm-%s-mig" % other}])
        assert len(told["unreached"]) == 1 and "kvm-%s-mig" % other in told["unreached"][0], told
        lab.link(other, "mig0", "up")
    dead = lab.module("b", "libvirt_host_info", peers=[{"uri": "qemu+tls://kvm-a/system"}])
    assert "does not answer on port 16514" in dead["unreached"][0], dead
    judged = lab.module("a", "libvirt_migratable_info", destination=lab.uri("b"), names=[name], destination_kernel="5.14.0-427.el9")
    assert {reason["code"] for reason in judged["guests"][0]["reasons"]} == {"HostsDiffer"} and judged["guests"][0]["verdict"] == "live"
    assert judged["differences"][0]["values"] == {"kvm-a": os.uname().release, "kvm-b": "5.14.0-427.el9"}, judged


def test_a_playbook_that_is_cancelled_leaves_its_move_and_the_next_run_follows(lab, guest, tmp_path):
    """As a controller cancels a job: the process of the playbook gets the signal. The job on the host goes on."""
    name = guest("s-term", **SLOW)
    play = {"hosts": "localhost", "gather_facts": False, "vars": {"ansible_python_interpreter": install.SYSTEM_PYTHON}, "tasks": [
        {"bigvm.live_migration.libvirt_migrate": {"name": name, "destination": lab.uri("b"), "bandwidth": "8Mi", "progress_interval": 1,
                                                  "ladder": [{"after": "15s", "do": "bandwidth", "value": "512Mi"}]}}]}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    variables = ["ANSIBLE_COLLECTIONS_PATH=" + lab.collections, "LC_ALL=C.UTF-8"] + [
        "ANSIBLE_%s=%s" % (place, tmp_path) for place in ("ASYNC_DIR", "LOCAL_TEMP", "REMOTE_TEMP")]
    program = Path(sys.executable).parent / "ansible-playbook"
    command = ["env", *variables, program, "-i", "localhost,", "-c", "local", tmp_path / "play.yml"]
    running = lab.start("a", *command)
    end = time.monotonic() + 60
    while "Unbounded" not in lab.virsh("a", "domjobinfo", name, check=False) and time.monotonic() < end:
        time.sleep(0.2)
    lab.run("a", "pkill", "-TERM", "-o", "-f", "[a]nsible-playbook")  # the oldest: the playbook's own process
    assert running.wait(60) != 0
    assert "Unbounded" in lab.virsh("a", "domjobinfo", name, check=False) and lab.active(name)[0] == "a"
    done = lab.run("a", *command, check=False)
    assert done.returncode == 0 and ("it is followed" in done.stdout or "is on kvm-b already" in done.stdout), done.stdout + done.stderr
    lab.lives_on(name, "b")
    assert lab.defined(name) == ["b"]


def begun(lab, name):
    """Wait until a guest is being migrated away from a."""
    end = time.monotonic() + 60
    while "Unbounded" not in lab.virsh("a", "domjobinfo", name, check=False):
        assert time.monotonic() < end, "%s is not migrated" % name
        time.sleep(0.2)


def test_the_source_host_crashes_in_mid_move(lab, guest, tmp_path):
    name, somebody = guest("s-crash", **SLOW), Operator(lab, tmp_path)
    task = {"name": name, "destination": lab.uri("b"), "bandwidth": "8Mi", "progress_interval": 1,
            "ladder": [{"after": "10s", "do": "bandwidth", "value": "512Mi"}]}
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "kvm-a", "gather_facts": False, "tasks": [
        {"bigvm.live_migration.libvirt_migrate": task}]}]))
    process = somebody.start("play.yml", ansible_async_dir=str(tmp_path / "jobs"))
    begun(lab, name)
    lab.ask("off", "a")
    time.sleep(6)
    lab.ask("on", "a")
    said = " ".join(process.communicate(timeout=120)[0].split())
    assert process.returncode == 2 and "its host cannot be reached just now; unless it went down, the move goes on there" in said, said
    assert "has ended without a result: it was killed, or the host went down" in said, said
    assert lab.active(name) == [] and lab.defined(name) == ["a"]  # as after any crash: nowhere twice, and nothing lost
    lab.file("a", "/var/log/libvirt/%s.beat" % name).unlink(missing_ok=True)
    lab.boot("a", name)
    rc, said = somebody.run("play.yml", ansible_async_dir=str(tmp_path / "jobs"))
    assert rc == 0 and "moved to kvm-b" in said, said
    lab.lives_on(name, "b")


def test_the_target_host_crashes_in_mid_move(lab, guest, move):
    name, answers = guest("s-dead", **SLOW), []
    runner = threading.Thread(target=lambda: answers.append(move(name, bandwidth="8Mi")))
    runner.start()
    begun(lab, name)
    lab.ask("off", "b")
    runner.join(150)
    assert answers and answers[0]["failed"] and "runs on kvm-a as before" in answers[0]["msg"], answers
    lab.ask("on", "b")
    lab.lives_on(name, "a")
    assert lab.defined(name) == ["a"] and move(name).get("changed")
    lab.lives_on(name, "b")
