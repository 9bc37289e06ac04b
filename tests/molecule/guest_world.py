# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest for roles that change a machine: this machine under an overlay, in namespaces of its own, with the real TuneD.

    guest_world.py why-not         prints what is missing here, nothing when it can run
    guest_world.py up DIR [newer]  starts it; DIR/python is then an interpreter inside it, DIR/tmp is seen on both sides;
                                   newer: with the TuneD of the next Debian, which is one after the change to madvise
    guest_world.py down DIR        ends it and puts the kernel's values back

Files: an overlay over ``/``; what is written is gone at the end. Packages come from Debian, once, into a layer in the cache.
Kernel: ``/sys`` and ``/proc/sys`` are read-only but for KERNEL, whose values are noted before and put back by a guardian that
outlives the tests being killed; where the guardian was killed too, by the next start. ``kernel.sem`` belongs to an IPC namespace
of the guest's own. STAND_INS are files in place of what nobody may change for a whole machine in a test.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from debian_layer import CACHE, PATH, layer, why_not

SAVED = CACHE / "guest-kernel.json"
PACKAGES = ["tuned", "dbus", "python3-apt"]
THP = "/sys/kernel/mm/transparent_hugepage"
KERNEL = ["/proc/sys/vm/swappiness", "/proc/sys/vm/dirty_ratio", "/proc/sys/vm/dirty_bytes", "/proc/sys/vm/dirty_background_ratio",
          "/proc/sys/vm/dirty_background_bytes", "/proc/sys/kernel/numa_balancing", THP + "/enabled"]
OWN = ["/proc/sys/kernel/sem"]
STAND_INS = ["/sys/devices/system/clocksource/clocksource0/current_clocksource"]
LONGEST = 900  # seconds after which the guest ends by itself
FILES = {"/etc/init.d/tuned": """#!/bin/sh
### BEGIN INIT INFO
# Provides: tuned
# Required-Start: $remote_fs
# Required-Stop: $remote_fs
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
# Short-Description: TuneD
### END INIT INFO
# Debian's package brings a unit of systemd only, and PID 1 here is none.
pid=/run/tuned/tuned.pid
case "$1" in
  start) mkdir -p /run/tuned; start-stop-daemon --start --pidfile $pid --startas /usr/sbin/tuned -- --daemon --pid $pid --log ;;
  stop) start-stop-daemon --stop --oknodo --retry 10 --pidfile $pid ;;
  restart) "$0" stop; "$0" start ;;
  status) start-stop-daemon --status --pidfile $pid ;;
esac
"""}


# -- the kernel's values ------------------------------------------------------


def note():
    """Write down what the guest may change; None for what this kernel does not have."""
    SAVED.write_text(json.dumps({path: Path(path).read_text(encoding="ascii").strip() for path in KERNEL if os.path.exists(path)}))


def put_back():
    """Write the noted values again, if any are noted."""
    if not SAVED.exists():
        return
    for path, text in json.loads(SAVED.read_text()).items():
        value = text.split("[")[1].split("]")[0] if "[" in text else text
        zero = value == "0" and "/dirty_" in path  # a ratio of 0 means that its pair in bytes counts
        if not zero and Path(path).read_text(encoding="ascii").strip() != text:
            Path(path).write_text(value, encoding="ascii")
    SAVED.unlink()


# -- the guest ----------------------------------------------------------------


def up(folder, newer):
    """Start the guardian and wait until the guest is there."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    files = layer(PACKAGES, FILES, newer)
    with open(folder / "log", "wb") as log:
        guardian = subprocess.Popen([sys.executable, __file__, "guard", str(folder), str(files)], stdin=subprocess.DEVNULL, stdout=log,
                                    stderr=log, start_new_session=True)
    until = time.monotonic() + LONGEST
    while not (folder / "ready").exists():
        if guardian.poll() is not None or time.monotonic() > until:
            raise SystemExit("The guest did not start:\n" + (folder / "log").read_text(errors="replace")[-2000:])
        time.sleep(0.1)


def guard(folder, files):
    """Own the kernel's values while the guest lives."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".guest-kernel.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        put_back()  # what a guardian that was killed left
        note()
        world = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--ipc", "--uts", "--pid", "--fork", "--kill-child=KILL",
             sys.executable, __file__, "inside", str(folder), files], stdin=subprocess.DEVNULL)
        signal.signal(signal.SIGTERM, lambda *_: world.kill())
        try:
            deadline = time.monotonic() + 60
            while not (folder / "tmp" / ".inside").exists() and world.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            first = (folder / "tmp" / ".inside").read_text()
            python = folder / "python"
            python.write_text("#!/bin/sh\nPATH=%s exec nsenter --target %s --mount --ipc --uts --pid --root --wd -- "
                              "/usr/bin/python3 \"$@\"\n" % (PATH, first))
            python.chmod(0o755)
            (folder / "pid").write_text(str(os.getpid()))
            (folder / "ready").touch()
            world.wait(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            pass
        finally:
            world.kill()
            world.wait()
            put_back()


def inside(folder, files):
    """PID 1 of the guest: mounts, a bus, then it only reaps."""
    base, root = folder / "overlay", folder / "overlay" / "root"
    number = os.readlink("/proc/self")  # this /proc is still that of the machine
    base.mkdir()

    def mount(*words):
        subprocess.run(["mount", *map(str, words)], check=True)

    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "tmpfs", base)
    for name in ("upper", "work", "root"):
        (base / name).mkdir()
    subprocess.run(["cp", "-a", files + "/.", str(base / "upper")], check=True)  # it lies below /, so it cannot be a layer beside it
    mount("-t", "overlay", "overlay", "-o", "lowerdir=/,upperdir=%s,workdir=%s" % (base / "upper", base / "work"), root)
    mount("-t", "proc", "proc", root / "proc")
    mount("--rbind", "/sys", root / "sys")
    mount("--rbind", "/dev", root / "dev")
    mount("-t", "tmpfs", "tmpfs", root / "run")
    shared = root / str(folder / "tmp").lstrip("/")
    shared.mkdir(parents=True, exist_ok=True)
    mount("--bind", folder / "tmp", shared)
    for path in STAND_INS:
        if os.path.exists(path):
            stand_in = base / path.strip("/").replace("/", "-")
            stand_in.write_bytes(Path(path).read_bytes())
            mount("--bind", stand_in, str(root) + path)
    mount("--bind", root / "proc/sys", root / "proc/sys")
    for place in (root / "sys", root / "proc/sys"):
        mount("-o", "remount,bind,ro", place)
    for path in KERNEL + OWN:
        if os.path.exists(path):
            mount("--bind", path, str(root) + path)  # the file alone, writable, over the read-only tree
    os.chroot(root)
    os.chdir("/")
    os.environ["PATH"] = PATH
    for place in ("/run/dbus", "/run/lock"):
        os.makedirs(place, exist_ok=True)
    subprocess.run(["dbus-daemon", "--system", "--fork"], check=True)
    Path(str(folder / "tmp") + "/.inside").write_text(number)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            time.sleep(0.2)


def down(folder):
    """End the guest and wait until the kernel's values are back."""
    try:
        os.kill(int((folder / "pid").read_text()), signal.SIGTERM)
    except (OSError, ValueError):
        pass
    until = time.monotonic() + 30
    while SAVED.exists() and time.monotonic() < until:
        time.sleep(0.1)
    if SAVED.exists():
        raise SystemExit("The kernel's values could not be put back; %s has them." % SAVED)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    verb, where = sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else ".").resolve()
    if verb == "why-not":
        print(why_not("the guest for hana_guest_tuning"))
    elif verb == "up":
        up(where, ["tuned"] if sys.argv[3:] == ["newer"] else [])
    elif verb == "down":
        down(where)
    else:
        {"inside": inside, "guard": guard}[verb](where, sys.argv[3])
