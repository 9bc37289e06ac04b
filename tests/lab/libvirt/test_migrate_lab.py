# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt_migrate on real hosts with real guests. After each test the guest's beat goes on, on exactly one host."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import kvm_install as install
import pytest

SLOW = dict(dirty_mb=64, dirty_rate=20)  # with 8 MiB/s, it never converges
DISK = ("<disk type='block' device='disk'><driver name='qemu' type='raw' cache='none'/>"
        "<source dev='%s'/><target dev='vda' bus='virtio'/></disk>")
LOCAL = "/var/lib/libvirt/images/m-disk.img"  # each host's own


def received(lab, host, device):
    """Bytes that came in on a host's network device."""
    return json.loads(lab.run(host, "ip", "-s", "-j", "link", "show", device).stdout)[0]["stats64"]["rx"]["bytes"]


def test_live_over_the_migration_network(lab, guest, move):
    name = guest("m-live", **SLOW, devices=DISK % lab.status["lun"])
    lab.virsh("a", "autostart", name)
    looked = move(name, _ansible_check_mode=True)
    assert looked["changed"] and lab.active(name) == ["a"], looked
    before = received(lab, "b", "mig0")
    done = move(name, migrate_uri="tcp://kvm-b-mig", max_downtime=300, connections=2)
    assert done["changed"] and done["proof"] == "agent" and done["sent"] > 64 << 20 and done["downtime_ms"] is not None, done
    assert received(lab, "b", "mig0") - before > 64 << 20
    lab.lives_on(name, "b")
    assert lab.defined(name) == ["b"]
    again = move(name)
    assert not again["changed"] and again["lines"] == ["m-live: is on kvm-b already"]
    # the target's host restarts: the guest starts once; the source's restarts: it does not start again
    lab.ask("reboot", "a")
    lab.ask("reboot", "b")
    end = time.monotonic() + 20
    while lab.active(name) != ["b"] and time.monotonic() < end:
        time.sleep(0.5)
    assert lab.active(name) == ["b"]


def test_kept_on_the_source_it_still_starts_on_one_host(lab, guest, move):
    name, there = guest("m-kept", devices=DISK % lab.status["lun"]), "/mnt/lun"
    lab.run("b", "ln", "-sf", lab.status["lun"], there)
    lab.virsh("a", "autostart", name)
    done = move(name, keep_source=True, target_uri=lab.uri("b"), disks={lab.status["lun"]: there})
    assert done["changed"] and done["autostart"], done
    lab.lives_on(name, "b")
    assert lab.defined(name) == ["a", "b"]
    assert all("source dev='%s'" % there in lab.virsh("b", "dumpxml", *which, name) for which in ((), ("--inactive",)))
    started = {host: "enable" in lab.virsh(host, "dominfo", name).partition("Autostart:")[2].split("\n")[0] for host in "ab"}
    assert started == {"a": False, "b": True}


def test_suspended_from_a_third_host(lab, guest, move):
    name = guest("m-susp", **SLOW)
    # live, it would never end: less is carried than it changes
    done = move(name, source="c", uri=lab.uri("a"), p2p=False, mode="suspended", bandwidth="16Mi", timeout="60s")
    assert done.get("changed") and done["seconds"] > 4 and done["sent"] < 200 << 20, done
    lab.lives_on(name, "b")


def test_offline_moves_the_definition(lab, guest, move):
    name = guest("m-off", start=False)
    assert "mode: offline" in move(name)["msg"]
    done = move(name, mode="offline")
    assert done["changed"] and done["proof"] is None, done
    assert lab.defined(name) == ["b"] and lab.active(name) == []
    assert not move(name, mode="offline")["changed"]


def test_given_up_in_time_and_done_the_second_time(lab, guest, move):
    name = guest("m-time", dirty_mb=64, dirty_rate=60)
    failed = move(name, bandwidth="16Mi", timeout="26s", progress_interval=2)  # a busy machine's guest changes 25 MB/s at least
    assert failed["failed"] and "its time of 26 s was over" in failed["msg"] and "runs on kvm-a as before" in failed["msg"], failed
    assert any("copy" in line and "MiB left" in line for line in failed["lines"]), failed["lines"]
    assert any("not converging" in line for line in failed["lines"]), failed["lines"]
    lab.lives_on(name, "a")
    assert move(name, auto_converge=True)["changed"]
    lab.lives_on(name, "b")


@pytest.mark.parametrize("step, more", [
    ({"do": "bandwidth", "value": "512Mi"}, {}),
    ({"do": "suspend"}, {"max_pause": "60s"}),
    ({"do": "post_copy"}, {"post_copy": True}),
])
def test_a_step_of_the_ladder_ends_it(lab, guest, move, step, more):
    name = guest("m-" + step["do"].replace("_", "-"), **SLOW)
    done = move(name, bandwidth="8Mi", ladder=[dict(step, after="4s"), {"after": "60s", "do": "abort"}], **more)
    assert done.get("changed") and [(row["do"], row["done"]) for row in done["steps"]] == [(step["do"], True)], done
    lab.lives_on(name, "b")


def test_paused_for_too_long_it_goes_on_where_it_was(lab, guest, move):
    name = guest("m-pause", **SLOW)
    failed = move(name, bandwidth="1Mi", ladder=[{"after": "2s", "do": "suspend"}], max_pause="2s")
    assert failed["failed"] and "paused for 2 s" in failed["msg"], failed
    lab.lives_on(name, "a")


def test_the_link_is_cut_and_mended(lab, guest, move):
    name, answers = guest("m-cut", **SLOW), []
    runner = threading.Thread(target=lambda: answers.append(move(name, bandwidth="8Mi")))
    runner.start()
    time.sleep(5)
    lab.link("b", "eth0", "down")
    runner.join(150)
    assert answers and answers[0]["failed"] and "runs on kvm-a as before" in answers[0]["msg"], answers
    lab.link("b", "eth0", "up")
    assert lab.beats(name) == ["a"]
    assert move(name).get("changed")
    lab.lives_on(name, "b")


def test_the_sources_daemon_restarts_meanwhile(lab, guest, move):
    name, answers = guest("m-restart", **SLOW), []
    runner = threading.Thread(target=lambda: answers.append(move(name, bandwidth="8Mi")))
    runner.start()
    time.sleep(5)
    lab.ask("restart", "a")
    runner.join(150)
    assert answers and answers[0]["failed"] and "runs on kvm-a as before" in answers[0]["msg"], answers
    assert lab.beats(name) == ["a"]
    assert move(name).get("changed")
    lab.lives_on(name, "b")


def test_a_move_that_somebody_else_began_is_followed(lab, guest, move):
    name = guest("m-adopt", **SLOW)
    options = ["--live", "--persistent", "--undefinesource", "--p2p", "--bandwidth", "8"]
    other = lab.start("a", "virsh", "migrate", *options, name, lab.uri("b"))
    time.sleep(3)
    done = move(name, ladder=[{"after": "1s", "do": "bandwidth", "value": "512Mi"}])
    assert other.wait(60) == 0 and done["changed"] and "it is followed" in done["lines"][0], done
    lab.lives_on(name, "b")


def test_the_cpu_is_refused_then_accepted_with_the_baseline(lab, guest, move):
    name = guest("m-cpu", machine="pc-q35-7.2")
    failed = move(name, target="c")
    assert failed["failed"] and "libvirt_cpu_baseline" in failed["msg"] and "runs on kvm-a as before" in failed["msg"], failed
    assert lab.beats(name) == ["a"]
    given = lab.module("a", "libvirt_cpu_baseline", hosts=[{}, {"uri": lab.uri("c")}], apply_to=[{"name": name}], restart=True)
    assert given["changed"] and given["guests"][0]["restarted"] and given["guests"][0]["drops"], given
    end = time.monotonic() + 40
    while lab.virsh("a", "qemu-agent-command", name, '{"execute": "guest-ping"}', check=False) == "" and time.monotonic() < end:
        time.sleep(0.5)
    assert move(name, target="c")["changed"]
    lab.lives_on(name, "c")


def test_bad_input_is_one_sentence_and_nothing_happens(lab, guest, move):
    name = guest("m-bad")
    lab.run("a", "truncate", "-s", "1M", LOCAL)
    on_disk = guest("m-disk", devices=(DISK % LOCAL).replace("type='block'", "type='file'").replace("source dev", "source file"))
    for options, says in (
        (dict(name="nobody"), "is on neither of the hosts"),
        (dict(name=name, destination="qemu+tcp://10.99.0.77/system"), "does not answer on port 16509"),
        (dict(name=name, destination="qemu+tls://kvm-b/system"), "does not answer on port 16514"),
        (dict(name=name, destination="qemu:///session"), "session connection"),
        (dict(name=name, mode="offline"), "is running"),
        (dict(name=name, networks={"nothere": "x"}), "no network or disk nothere"),
        (dict(name=on_disk), "storage that both hosts share"),
    ):
        failed = move(**options)
        assert failed["failed"] and says in failed["msg"] and not failed["changed"], failed
    assert not move(name, target="a")["changed"]  # its own host
    assert lab.beats(name) == ["a"] and lab.active(on_disk) == ["a"]


def test_another_guest_of_that_name_is_in_the_way(lab, guest, move):
    guest("m-twin", host="b", start=False)
    name = guest("m-twin")
    failed = move(name)
    assert failed["failed"] and "another guest of the same name" in failed["msg"]
    lab.lives_on(name, "a")


def test_guests_are_judged_before_they_are_moved(lab, guest):
    lab.run("a", "truncate", "-s", "1M", LOCAL)
    well, off = guest("j-well", devices=DISK % lab.status["lun"]), guest("j-off", start=False)
    local = guest("j-local", devices=(DISK % LOCAL).replace("type='block'", "type='file'").replace("source dev", "source file"))
    net = guest("j-net", devices="<interface type='bridge'><source bridge='nowhere'/></interface>", start=False)
    done = lab.module("a", "libvirt_migratable_info", destination=lab.uri("b"))
    rows = {row["name"]: (row["verdict"], {reason["code"] for reason in row["reasons"]}) for row in done["guests"]}
    assert rows[well] == ("live", {"DiskUnproven"}), done
    assert rows[off] == ("cold_only", {"ShutOff"}) and rows[net][1] == {"ShutOff", "BridgeUnproven"}
    assert rows[local] == ("cold_only", {"LocalDisk"}) and not done["differences"]
    older = lab.module("a", "libvirt_migratable_info", destination=lab.uri("c"), names=[well])
    assert older["guests"][0]["verdict"] == "blocked", older
    assert {reason["code"] for reason in older["guests"][0]["reasons"]} >= {"MachineUnknown", "HostsDiffer"}, older
    assert "mode: offline" in " ".join(" ".join(done["lines"]).split()) and older["lines"][0].startswith("j-well: blocked")
    same = lab.module("a", "libvirt_migratable_info", destination=lab.uri("a"))
    assert same["failed"] and "given twice" in same["msg"], same


def test_as_tasks_of_a_playbook(lab, guest, tmp_path):
    name = guest("m-task")
    play = {"hosts": "localhost", "gather_facts": False, "vars": {"ansible_python_interpreter": install.SYSTEM_PYTHON}, "tasks": [
        {"bigvm.live_migration.libvirt_cpu_baseline": {"hosts": [{}, {"uri": lab.uri("b")}]}, "register": "cpu"},
        {"bigvm.live_migration.libvirt_migratable_info": {"destination": lab.uri("b"), "names": [name]}, "register": "judged"},
        {"bigvm.live_migration.libvirt_migrate": {"name": name, "destination": lab.uri("b"), "bandwidth": "64Mi",
                                                  "progress_interval": 1}, "register": "moved"},
        {"bigvm.live_migration.libvirt_migrate": {"name": name, "destination": lab.uri("a"), "uri": lab.uri("b")}, "register": "back",
         "async": 120, "poll": 1},
        {"bigvm.live_migration.libvirt_migrate": {"name": "nobody", "destination": lab.uri("b")}, "register": "gone",
         "failed_when": "gone.msg is not search('neither of the hosts')"},
        {"ansible.builtin.assert": {"that": ["cpu is not changed", "judged.guests[0].verdict == 'live'", "moved is changed",
                                             "moved.host == 'kvm-b'", "moved.msg is not defined", "back.host == 'kvm-a'",
                                             "moved.lines | select('search', '  copy') | length > 0"]}}]}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    variables = ["ANSIBLE_COLLECTIONS_PATH=" + lab.collections, "LC_ALL=C.UTF-8"] + [
        "ANSIBLE_%s=%s" % (place, tmp_path) for place in ("ASYNC_DIR", "LOCAL_TEMP", "REMOTE_TEMP")]
    program = Path(sys.executable).parent / "ansible-playbook"
    done = lab.run("a", "env", *variables, program, "-i", "localhost,", "-c", "local", tmp_path / "play.yml", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lab.lives_on(name, "a")
    shown = [line for line in done.stdout.splitlines() if line.startswith(name)]
    assert any("  copy" in line for line in shown) and "moved to kvm-b" in shown[-1], done.stdout
    assert not list(tmp_path.rglob("*.lines"))  # nothing is left of the job


@pytest.mark.parametrize("p2p", [True, False])
def test_the_module_is_killed_and_the_second_run_finishes(lab, guest, move, p2p):
    name = guest("m-kill-%s" % ("p2p" if p2p else "direct"), **SLOW)
    options = {"name": name, "destination": lab.uri("b"), "bandwidth": "16Mi", "p2p": p2p, "max_pause": "120s",
               "ladder": [{"after": "2s", "do": "suspend"}]}
    given = json.dumps({"ANSIBLE_MODULE_ARGS": options})
    running = lab.begin("a", "libvirt_migrate", given)
    end = time.monotonic() + 60
    while "paused" not in lab.virsh("a", "domstate", name) and time.monotonic() < end:
        time.sleep(0.2)
    lab.run("a", "pkill", "-KILL", "-f", "[l]ibvirt_migrate")  # only this host's processes are in its namespace
    running.wait(30)
    assert len(lab.active(name)) >= 1
    done = move(**dict(options, bandwidth="512Mi"))
    assert done.get("changed"), done
    lab.lives_on(name, "b")
    assert "running" in lab.virsh("b", "domstate", name) and lab.defined(name) == ["b"]
    assert not move(name)["changed"]


def test_the_dirty_rate_of_a_guest_is_measured(lab, guest):
    busy, idle = guest("r-busy", **SLOW), guest("r-idle")
    done = lab.module("a", "libvirt_dirty_rate_info", names=[busy, idle], samples=3, bandwidth="1Gbit")
    rows = {row["name"]: row for row in done["guests"]}
    assert [len(row["samples"]) for row in rows.values()] == [3, 3] and {row["mode"] for row in rows.values()} == {"page-sampling"}, done
    # emulated, the figure itself is worth nothing, and that is what it says; but who writes is told from who does not
    assert rows[busy]["max"] > rows[idle]["p50"] and not rows[busy]["trusted"] and "TCG" in rows[busy]["doubts"][0], done
    assert 96 << 20 < rows[busy]["resident_bytes"] and rows[busy]["memory_bytes"] == 256 << 20
    assert rows[idle]["forecast"]["ends"] == "converges" and rows[idle]["forecast"]["seconds"] > 0, done
    ring = lab.module("a", "libvirt_dirty_rate_info", names=[busy], mode="dirty-ring")
    assert ring["failed"] and "no dirty ring" in ring["msg"], ring
    gone = lab.module("a", "libvirt_dirty_rate_info", names=["nobody"])
    assert gone["failed"] and "nobody" in gone["msg"], gone
    lab.virsh("a", "suspend", idle)
    paused = lab.module("a", "libvirt_dirty_rate_info", names=[idle])
    assert paused["failed"] and "does not run" in paused["msg"], paused
