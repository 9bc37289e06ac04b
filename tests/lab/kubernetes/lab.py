# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real control plane on this machine: ``lab.py start|stop|status [--dir DIR] [--owner PID] [--hours N] [--kubevirt]``.

etcd, kube-apiserver, kube-controller-manager, kube-scheduler and KWOK, on the loopback, below one folder. A
supervisor starts them and ends with the owner (a process), after the hours, or when one of the five ends; they
die with it. A second process, the sweeper, removes the folder when the supervisor was killed. ``start`` prints
the connection as JSON: host, api_key, ca_cert, kubeconfig, dir, pid.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import build
import parts

START_WITHIN = 120.0
STOP_WITHIN = 20.0
STATE = "state.json"
KUBEVIRT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "kubevirt")


class Failed(Exception):
    """It did not come up; the text says why."""


def default_folder():
    """Where a lab lives when nobody says otherwise."""
    return os.path.join(tempfile.gettempdir(), "bigvm-lab-%d" % os.getuid())


# -- the commands ----------------------------------------------------------


def start(folder, owner=None, hours=4.0, kubevirt=False):
    """Start a lab in ``folder``, or find the one that runs there; returns its connection (dict).

    :param kubevirt: with KubeVirt's own controllers (tests/lab/kubevirt) on it.

    :raises Missing: when a program is not there. :raises Failed: with the end of the log that says why.
    """
    programs = build.programs()
    if kubevirt:
        build.programs("lab-kubevirt")
    said = status(folder)
    if said["state"] == "started":
        return said
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder, mode=0o700)
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        _supervisor(folder, programs, owner, hours, kubevirt, writing)
    os.close(writing)
    with os.fdopen(reading) as stream:
        failure = stream.read()
    os.wait()
    if failure:
        raise Failed(failure)
    return status(folder)


def stop(folder):
    """End the lab in ``folder`` and remove it; returns its status."""
    said = status(folder)
    if said["state"] == "started":
        os.kill(said["pid"], signal.SIGTERM)
        until = time.monotonic() + STOP_WITHIN
        while _alive(said["pid"], said["birth"]) and time.monotonic() < until:
            time.sleep(0.05)
        if _alive(said["pid"], said["birth"]):
            os.kill(said["pid"], signal.SIGKILL)
    until = time.monotonic() + STOP_WITHIN
    while os.path.exists(folder) and said["state"] == "started" and time.monotonic() < until:
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)
    return {"state": "stopped", "dir": folder}


def status(folder):
    """``{"state": "started", host, api_key, ...}`` or ``{"state": "stopped", "dir"}``."""
    try:
        with open(os.path.join(folder, STATE), encoding="utf-8") as stream:
            said = json.load(stream)
    except (OSError, ValueError):
        return {"state": "stopped", "dir": folder}
    return said if _alive(said["pid"], said["birth"]) else {"state": "stopped", "dir": folder}


# -- the supervisor --------------------------------------------------------


def _supervisor(folder, programs, owner, hours, kubevirt, told):
    """Never returns. A grandchild in a session of its own; ``told`` (a descriptor) gets why it failed, or is closed."""
    os.setsid()
    if os.fork():
        os._exit(0)
    null, log = os.open(os.devnull, os.O_RDONLY), os.open(os.path.join(folder, "supervisor.log"), os.O_WRONLY | os.O_CREAT, 0o600)
    for number, target in ((0, null), (1, log), (2, log)):
        os.dup2(target, number)
    owner_birth = _birth(owner) if owner else None
    line = _sweeper(folder, told)
    running, code = {}, 0
    signal.signal(signal.SIGTERM, lambda *_ignored: sys.exit(0))
    try:
        said = _bring_up(folder, programs, running, kubevirt)
        _publish(folder, said)
        os.close(told)
        told = None
        until = time.monotonic() + hours * 3600
        while time.monotonic() < until and not (owner and _birth(owner) != owner_birth):
            gone = [name for name, process in running.items() if process.poll() is not None]
            if gone:
                print("%s ended by itself" % ", ".join(gone), flush=True)
                break
            time.sleep(0.5)
    except Failed as exc:
        code = 1
        if told is not None:
            os.write(told, str(exc).encode())
    except SystemExit:
        pass
    except BaseException as exc:  # pylint: disable=broad-except
        code = 1
        if told is not None:
            os.write(told, ("%s: %s" % (type(exc).__name__, exc)).encode())
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for process in reversed(list(running.values())):
            process.kill()
        for process in running.values():
            process.wait()
        os.close(line)  # the sweeper removes the folder
        os._exit(code)


def _bring_up(folder, programs, running, kubevirt):
    def spawn(name, words, **variables):
        with open(os.path.join(folder, name + ".log"), "wb") as log:
            running[name] = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, preexec_fn=_die_with_parent,
                env={"PATH": os.environ.get("PATH", ""), "HOME": folder, **variables})

    said = parts.write_files(folder)
    said["host"] = "https://127.0.0.1:%d" % said["ports"]["kube-apiserver"]
    for name, words in parts.commands(said, programs).items():
        spawn(name, words)
        if name == "kube-apiserver":
            _ready(folder, running, said["host"], said["token"])
    if kubevirt:
        _with_kubevirt(folder, said, running, spawn)
    time.sleep(0.3)
    _check(folder, running)
    return said


def _with_kubevirt(folder, said, running, spawn):
    sys.path.insert(0, KUBEVIRT)
    import install

    try:
        install.bring_up(said, spawn)
    except Exception as exc:
        _check(folder, running)  # one that ended says more
        raise Failed("KubeVirt did not come up: %s: %s" % (type(exc).__name__, exc)) from exc


def _ready(folder, running, host, token):
    context = ssl.create_default_context(cafile=os.path.join(folder, "ca.crt"))
    request = urllib.request.Request(host + "/readyz", headers={"Authorization": "Bearer " + token})
    until = time.monotonic() + START_WITHIN
    while time.monotonic() < until:
        _check(folder, running)
        try:
            with urllib.request.urlopen(request, context=context, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise Failed("kube-apiserver was not ready after %d s:\n%s" % (START_WITHIN, _tail(folder, "kube-apiserver")))


def _check(folder, running):
    for name, process in running.items():
        if process.poll() is not None:
            raise Failed("%s ended with %s:\n%s" % (name, process.returncode, _tail(folder, name)))


def _tail(folder, name):
    with open(os.path.join(folder, name + ".log"), encoding="utf-8", errors="replace") as stream:
        return "".join(stream.readlines()[-12:])


def _publish(folder, said):
    state = {
        "state": "started", "host": said["host"], "api_key": said["token"], "ca_cert": os.path.join(folder, "ca.crt"),
        "kubeconfig": os.path.join(folder, "kubeconfig"), "dir": folder, "pid": os.getpid(), "birth": _birth(os.getpid()),
        "etcd": "https://127.0.0.1:%d" % said["ports"]["etcd"],
    }
    part = os.path.join(folder, STATE + ".part")
    with open(part, "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as stream:
        json.dump(state, stream)
    os.replace(part, os.path.join(folder, STATE))


def _sweeper(folder, told):
    """A process that removes the folder once we are gone, however that came; returns the line that it listens on."""
    reading, writing = os.pipe()
    if os.fork():
        os.close(reading)
        return writing
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.close(writing)
    os.close(told)
    os.read(reading, 1)
    for _turn in range(50):  # the five die with the supervisor, but may write until then
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.05)
        if not os.path.exists(folder):
            break
    os._exit(0)


def _die_with_parent():
    """In the child: SIGKILL when the supervisor is gone."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    os.nice(5)


def _birth(pid):
    """When a process started (clock ticks, str), or None: a number may be given again."""
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8") as stream:
            fields = stream.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _alive(pid, birth):
    return _birth(pid) == birth


def main(words=None):
    """The command line; 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("start", "stop", "status"))
    parser.add_argument("--dir", default=default_folder())
    parser.add_argument("--owner", type=int, help="end when this process is gone")
    parser.add_argument("--hours", type=float, default=4.0, help="end after this time")
    parser.add_argument("--kubevirt", action="store_true", help="with KubeVirt's own controllers")
    asked = parser.parse_args(words)
    folder = os.path.abspath(asked.dir)
    try:
        said = start(folder, asked.owner, asked.hours, asked.kubevirt) if asked.command == "start" else globals()[asked.command](folder)
    except (build.Missing, Failed) as exc:
        print(exc, file=sys.stderr)
        return 1
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
