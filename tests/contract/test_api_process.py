# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The server's process: detached, found again, ended cleanly, never mistaken for another."""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time

import pytest

from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import folder as folders


def alive(pid):
    return folders.birth_of(pid) is not None


def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_start_again_stop_and_absent(rehearsal, tmp_path):
    folder = tmp_path / "here"

    def command(name, *words):
        done = rehearsal(name, "--dir", str(folder), *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    first = command("start", "--bare", "--idle", "300")
    assert first["changed"] is True and set(first) == {"host", "api_key", "ca_cert", "kubeconfig", "pid", "changed"}
    again = command("start", "--bare", "--idle", "300")
    assert again == dict(first, changed=False)
    assert command("status") == dict(again, state="started")
    other = command("start", "--idle", "300")  # not what it was started with: said, not changed
    assert other["pid"] == again["pid"] and "started with bare=True, not False" in other["notes"][0]
    assert command("stop") == {"changed": True, "state": "stopped"}
    assert not alive(first["pid"]) and command("status")["state"] == "stopped"
    assert command("stop") == {"changed": False, "state": "stopped"}
    assert command("absent") == {"changed": True, "state": "absent"} and not folder.exists()
    assert command("absent")["changed"] is False


def test_only_the_owner_can_read_its_files(cluster):
    c = cluster(bare=True)
    assert stat.S_IMODE(os.stat(c.folder).st_mode) == 0o700
    modes = {name: stat.S_IMODE(os.stat(os.path.join(c.folder, name)).st_mode) for name in os.listdir(c.folder)}
    assert set(modes) == set(folders.FILES) and set(modes.values()) == {0o600}
    assert c.connection["api_key"] not in open(os.path.join(c.folder, "server.log"), encoding="utf-8").read()


def test_the_server_is_on_its_own(cluster):
    pid = cluster(bare=True).said["pid"]
    with open("/proc/%d/stat" % pid, encoding="ascii") as stream:
        fields = stream.read().rpartition(")")[2].split()
    parent, session, terminal = int(fields[1]), int(fields[3]), int(fields[4])
    assert session != os.getsid(0) and parent != os.getpid() and terminal == 0
    opened = {os.readlink("/proc/%d/fd/%d" % (pid, handle)) for handle in (0, 1, 2)}
    assert opened == {"/dev/null", os.path.join(os.path.realpath(os.path.dirname(opened_log(pid))), "server.log")}


def opened_log(pid):
    return os.readlink("/proc/%d/fd/1" % pid)


def test_the_kubeconfig_works(cluster):
    import kubernetes

    c = cluster(bare=True)
    client = kubernetes.config.new_client_from_config(c.kubeconfig)
    names = [item.metadata.name for item in kubernetes.client.CoreV1Api(client).list_namespace().items]
    assert "default" in names


def test_a_killed_server_is_started_anew(cluster):
    c = cluster(bare=True)
    os.kill(c.said["pid"], signal.SIGKILL)
    assert until(lambda: not alive(c.said["pid"]))
    assert c.command("status")["state"] == "stopped"
    again = c.command("start")
    assert again["changed"] is True and again["pid"] != c.said["pid"] and again["api_key"] != c.said["api_key"]


def test_a_pid_that_belongs_to_somebody_else_now_is_left_alone(cluster):
    c = cluster(bare=True)
    os.kill(c.said["pid"], signal.SIGKILL)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        path = os.path.join(c.folder, "server.json")
        with open(path, encoding="utf-8") as stream:
            said = json.load(stream)
        with open(path, "w", encoding="utf-8") as stream:
            json.dump(dict(said, pid=stranger.pid), stream)
        assert c.command("status")["state"] == "stopped"
        assert c.stop()["changed"] is False
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_sigterm_ends_it_cleanly_even_with_an_open_watch(cluster):
    c = cluster(bare=True)
    watch = c.pool.request("GET", c.connection["host"] + "/api/v1/nodes?watch=1", preload_content=False,
                           headers={"Authorization": "Bearer " + c.connection["api_key"]})
    start = time.monotonic()
    os.kill(c.said["pid"], signal.SIGTERM)
    assert until(lambda: not alive(c.said["pid"])) and time.monotonic() - start < 3
    assert watch.read() == b"" and not os.path.exists(os.path.join(c.folder, "server.json"))


def test_it_ends_when_nobody_asks(cluster):
    c = cluster(bare=True, idle=2)
    assert until(lambda: not alive(c.said["pid"]))
    assert c.command("status")["state"] == "stopped"


def test_it_ends_when_its_folder_is_gone(rehearsal, tmp_path):
    said = json.loads(rehearsal("start", "--dir", str(tmp_path / "here"), "--bare", "--idle", "2").stdout)
    shutil.rmtree(tmp_path / "here")
    start = time.monotonic()
    assert until(lambda: not alive(said["pid"]), 5) and time.monotonic() - start < 1.9


@pytest.mark.parametrize("rubbish", ["", "{", "[]", '{"pid": "x", "born": 1}', '{"pid": 1}'])
def test_rubbish_left_behind_does_not_stop_a_start(tmp_path, rubbish):
    (tmp_path / "server.json").write_text(rubbish, encoding="utf-8")
    assert folders.Folder(tmp_path).running() is None


def test_a_failed_start_is_one_sentence(rehearsal, tmp_path):
    done = rehearsal("start", "--dir", str(tmp_path), "--bare", "--crds", str(tmp_path / "nowhere.yaml"))
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("The rehearsal cluster did not start: ") and "nowhere.yaml" in done.stderr
    assert "Traceback" not in done.stderr
    assert rehearsal("status", "--dir", str(tmp_path)).stdout.startswith('{"state": "stopped"')


def test_files_of_somebody_else_are_not_removed(rehearsal, cluster):
    c = cluster(bare=True)
    mine = os.path.join(c.folder, "notes.txt")
    with open(mine, "w", encoding="utf-8") as stream:
        stream.write("keep me")
    done = rehearsal("absent", "--dir", c.folder)
    assert done.returncode == 1 and "not the rehearsal's" in done.stderr and os.path.exists(mine)
    assert not alive(c.said["pid"])
    os.remove(mine)


def test_a_folder_of_somebody_else_is_not_taken_over(rehearsal, tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    mode = os.stat(tmp_path).st_mode
    done = rehearsal("start", "--dir", str(tmp_path), "--bare")
    assert done.returncode == 1 and "is not empty and not a rehearsal's" in done.stderr
    for command in ("stop", "absent"):
        assert json.loads(rehearsal(command, "--dir", str(tmp_path)).stdout)["changed"] is False
    assert os.listdir(tmp_path) == ["notes.txt"] and os.stat(tmp_path).st_mode == mode


def test_two_starts_at_once_make_one_server(rehearsal, tmp_path):
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        starts = [pool.submit(rehearsal, "start", "--dir", str(tmp_path / "one"), "--bare") for turn in range(3)]
    told = [json.loads(start.result().stdout) for start in starts]
    assert len({one["pid"] for one in told}) == 1 and sorted(one["changed"] for one in told) == [False, False, True]
    assert rehearsal("absent", "--dir", str(tmp_path / "one")).returncode == 0


def test_the_same_seed_gives_the_same_names(cluster):
    made = [cluster(bare=True, seed=seed) for seed in (7, 7, 8)]
    body = {"metadata": {"generateName": "x-"}}
    names = [c.api.create("/api/v1/namespaces/default/configmaps", body)["metadata"]["name"] for c in made]
    assert names[0] == names[1] != names[2]
