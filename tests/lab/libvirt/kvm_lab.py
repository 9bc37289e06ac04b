# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several libvirt hosts on this machine, each in namespaces of its own::

    kvm_lab.py up [--hosts a,b] [--older b] [--until-eof]   installs what is missing, prints what is there as JSON
    kvm_lab.py status | down
    kvm_lab.py in a virsh list          a command on a host
    kvm_lab.py link a mig0 200mbit      the link's bandwidth; also: free, down, up
    kvm_lab.py reboot a | restart a     the host with all on it; its libvirt daemon only

One supervisor holds everything: the namespaces have no names, the files are in a tmpfs that only it and the hosts see
(/mnt in there), the loop device releases itself. Each process is told by the kernel to die with its parent, and each host
is a process namespace, which dies as a whole: kill the supervisor in whatever way, and nothing is left. With
``--until-eof`` it also ends when its standard input does, so that it cannot outlive a test run that was killed.

A host has the networks eth0 (10.99.0.x, name kvm-a) and mig0 (10.98.0.x, name kvm-a-mig). ``--older`` gives a host the
older QEMU, and with it really different CPUs. Nothing is emulated faster than it is: no host has /dev/kvm.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import kvm_install as install

MNT = Path("/mnt")  # covered by our tmpfs in the lab's mount namespace
PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
PR_SET_PDEATHSIG = 1
LOOP_SET_FD, LOOP_SET_STATUS64, LOOP_CTL_GET_FREE, LO_FLAGS_AUTOCLEAR = 0x4C00, 0x4C04, 0x4C82, 4
LUN_MIB = 16
NETWORKS = {"eth0": ("lab0", "10.99.0.%d", "kvm-%s"), "mig0": ("lab1", "10.98.0.%d", "kvm-%s-mig")}
KEPT = {"etc": "/etc/libvirt", "lib": "/var/lib/libvirt", "log": "/var/log/libvirt", "cache": "/var/cache/libvirt", "ssh": "/etc/ssh",
        "swtpm": "/var/lib/swtpm-localca", "swtpm-log": "/var/log/swtpm"}
OLDER = ["usr/bin/qemu-system-x86_64", "usr/lib/x86_64-linux-gnu/qemu", "usr/share/qemu", "usr/share/seabios"]
DAEMON = """listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
host_uuid = "00000000-0000-4000-8000-0000000000%02d"
"""
DRIVER = """user = "root"
group = "root"
dynamic_ownership = 0
remember_ownership = 0
swtpm_user = "root"
swtpm_group = "root"
security_driver = "none"
stdio_handler = "file"
namespaces = []
cgroup_controllers = []
"""


class LabError(Exception):
    """Something for a person: what is wrong with the lab."""


def run(*command, check=True, **options):
    """A finished process with its text; LabError when it fails."""
    options.setdefault("env", dict(os.environ, PATH=PATH))
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    if check and done.returncode:
        raise LabError("%s: %s" % (" ".join(map(str, command)), (done.stderr or done.stdout).strip()))
    return done


# -- the supervisor ------------------------------------------------------------


class Supervisor:
    """Makes the hosts, answers on a socket, and takes everything along when it ends."""

    def __init__(self, names, older):
        self.names, self.older = names, older
        self.running = {}  # name -> (Popen of unshare, pid of the host's init)
        self.lun = None

    def build(self):
        """Networks, storage and all hosts."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNS | CLONE_NEWNET):
            raise LabError("unshare: %s" % os.strerror(ctypes.get_errno()))
        run("mount", "--make-rprivate", "/")
        run("mount", "-t", "tmpfs", "-o", "size=512m,mode=0755", "tmpfs", MNT)
        for bridge, _address, _name in NETWORKS.values():
            run("ip", "link", "add", bridge, "type", "bridge", "forward_delay", "0")
            run("ip", "link", "set", bridge, "up")
        self.lun = loop_device(MNT / "lun.img")
        lines = ["127.0.0.1 localhost"]
        for place, name in enumerate(self.names, 1):
            lines += ["%s %s" % (address % place, host % name) for _bridge, address, host in NETWORKS.values()]
        (MNT / "hosts").write_text("\n".join(lines) + "\n")
        users = ("libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin", "sshd:x:64057:65534::/run/sshd:/usr/sbin/nologin")
        for file, line in (("passwd", "\n".join(users)),
                           ("group", "libvirt-qemu:x:64055:\nlibvirt:x:64056:")):
            (MNT / file).write_text(Path("/etc", file).read_text() + line + "\n")
        for name in self.names:
            self.start(name)
        for name in self.names:
            self.answering(name)

    def start(self, name):
        """A host from its power button on; its definitions are those of last time."""
        place = self.names.index(name) + 1
        ours, theirs = socket.socketpair()
        command = ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child=KILL",
                   sys.executable, __file__, "_host", name, str(place), str(int(name in self.older)), str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], preexec_fn=die_with_parent, env=dict(os.environ, PATH=PATH),
                                   stdin=subprocess.DEVNULL)
        theirs.close()
        ours.settimeout(20)
        said = ours.recv(64).decode()
        if not said:
            raise LabError("host %s did not start" % name)
        pid = int(said)
        for number, (device, (bridge, _address, _name)) in enumerate(NETWORKS.items()):
            ours_end = "%s-%s" % (device[:3], name)
            mac = "02:00:00:00:%02x:%02x" % (number, place)  # a host that reboots keeps it; the others remember it
            run("ip", "link", "del", ours_end, check=False)
            run("ip", "link", "add", ours_end, "type", "veth", "peer", "name", device, "address", mac, "netns", pid)
            run("ip", "link", "set", ours_end, "master", bridge, "up")
        ours.send(b"go")
        ours.close()
        self.running[name] = (process, pid)

    def answering(self, name):
        """Wait until the host's daemon answers."""
        sock = Path("/proc/%d/root/run/libvirt/libvirt-sock" % self.running[name][1])
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(sock))
                    return
            except OSError:
                time.sleep(0.05)
        raise LabError("libvirt on host %s does not answer: %s" % (name, (MNT / name / "libvirtd.out").read_text()[-500:]))

    def stop(self, name):
        """Power off."""
        process, _pid = self.running.pop(name)
        process.kill()  # unshare; the kernel then kills the host's init, and with it the whole namespace
        process.wait()

    def status(self):
        """What is there."""
        hosts = {}
        for name, (_process, pid) in self.running.items():
            place = self.names.index(name) + 1
            root = "/proc/%d/root" % pid
            hosts[name] = {
                "pid": pid, "root": root, "older": name in self.older, "name": "kvm-" + name,
                "uri": "qemu+unix:///system?socket=%s/run/libvirt/libvirt-sock" % root,
                "from_other_hosts": "qemu+tcp://kvm-%s/system" % name,
                "addresses": {device: address % place for device, (_bridge, address, _name) in NETWORKS.items()},
            }
        return {"pid": os.getpid(), "hosts": hosts, "lun": self.lun, "kernel": str(install.CACHE / "kernel" / "vmlinuz"),
                "initrd": str(install.initrd())}

    def obey(self, request):
        """One request from the socket."""
        what, name = request["do"], request.get("host")
        if name is not None and name not in self.names:
            raise LabError("there is no host %s" % name)
        if what == "off":
            self.stop(name)
        elif what in ("on", "reboot"):
            if what == "reboot" and name in self.running:
                self.stop(name)
            if name not in self.running:
                self.start(name)
                self.answering(name)
        elif what == "restart":
            before = Path("/proc/%d/root/run/libvirtd.pid" % self.running[name][1])
            old = before.read_text()
            os.kill(self.running[name][1], signal.SIGUSR1)
            while not before.exists() or before.read_text() == old:
                time.sleep(0.05)
            self.answering(name)
        elif what != "status":
            raise LabError("%s is not understood" % what)
        return self.status()

    def serve(self, listener, until_eof):
        """Answer until SIGTERM, ``down`` or the end of standard input."""
        watched = [listener] + ([sys.stdin.fileno()] if until_eof else [])
        while True:
            ready = select.select(watched, [], [], 2)[0]
            for name, (process, _pid) in list(self.running.items()):
                if process.poll() is not None:  # it died by itself
                    del self.running[name]
            if sys.stdin.fileno() in ready and not os.read(sys.stdin.fileno(), 100):
                return
            if listener in ready:
                client = listener.accept()[0]
                with client, client.makefile("rw") as stream:
                    request = json.loads(stream.readline() or "{}")
                    if request.get("do") == "down":
                        return
                    try:
                        answer = self.obey(request)
                    except (LabError, KeyError, OSError) as exc:
                        answer = {"error": str(exc) or type(exc).__name__}
                    try:
                        stream.write(json.dumps(answer) + "\n")
                        stream.flush()
                    except OSError:
                        pass


def die_with_parent():
    """Have the kernel kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def loop_device(path):
    """A block device on a file: to libvirt, a LUN that all hosts see. It is released with the last open handle, ours."""
    with open(path, "wb") as file:
        file.truncate(LUN_MIB << 20)
    with open("/dev/loop-control", "rb") as control, open(path, "r+b") as file:
        device = "/dev/loop%d" % fcntl.ioctl(control, LOOP_CTL_GET_FREE)
        handle = os.open(device, os.O_RDWR)  # kept until this process ends
        fcntl.ioctl(handle, LOOP_SET_FD, file.fileno())
        info = struct.pack("5Q4I", 0, 0, 0, 0, 0, 0, 0, 0, LO_FLAGS_AUTOCLEAR).ljust(232, b"\0")
        fcntl.ioctl(handle, LOOP_SET_STATUS64, info)
    return device


def supervise(options):
    """The supervisor's life; the first line on ``options.ready`` tells how it began."""
    ready = os.fdopen(options.ready, "w")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    handle = take_lock()
    if handle is None:
        ready.write(json.dumps({"error": "the lab is up already (pid %s); one at a time" % lock_file().read_text().strip()}) + "\n")
        return 1
    supervisor = Supervisor(options.hosts, options.older)
    try:
        supervisor.build()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(MNT / "control"))
            listener.listen(8)
            ready.write(json.dumps(supervisor.status()) + "\n")
            ready.close()
            supervisor.serve(listener, options.until_eof)
    except LabError as exc:
        if not ready.closed:
            ready.write(json.dumps({"error": str(exc)}) + "\n")
            ready.close()
        return 1
    finally:
        for name in list(supervisor.running):
            supervisor.stop(name)
        os.ftruncate(handle, 0)
    return 0


def lock_file():
    """Its lock is held while a lab is up; its text is the supervisor's pid. BIGVM_LAB_LOCK names another, for a second lab."""
    return Path(os.environ.get("BIGVM_LAB_LOCK") or install.CACHE / "lock")


def take_lock():
    """The locked handle; None when another lab holds it."""
    handle = os.open(lock_file(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    os.ftruncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())
    return handle


# -- a host: PID 1 of its namespace --------------------------------------------


def host(name, place, older, channel):
    """Cover what libvirt writes to, join the networks, keep the daemon running, reap."""
    own = MNT / name
    talk = socket.socket(fileno=channel)
    pid = os.readlink("/proc/self")  # as the machine's /proc, still mounted, numbers us
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "proc", "proc", "/proc")
    run("mount", "-t", "sysfs", "sysfs", "/sys")  # with this host's own network devices
    shutil.rmtree(own / "run", ignore_errors=True)
    (own / "run").mkdir(parents=True)
    run("mount", "--bind", own / "run", "/run")
    fresh = not (own / "etc").exists()
    for folder, target in KEPT.items():
        (own / folder).mkdir(exist_ok=True)
        os.makedirs(target, exist_ok=True)
        run("mount", "--bind", own / folder, target)
    if fresh:
        Path("/etc/libvirt/libvirtd.conf").write_text(DAEMON % place)
        Path("/etc/libvirt/qemu.conf").write_text(DRIVER)
        Path("/var/lib/libvirt/images").mkdir(parents=True)
    for file in ("hosts", "passwd", "group"):
        run("mount", "--bind", MNT / file, "/etc/" + file)
    run("mount", "-t", "tmpfs", "tmpfs", "/sys/fs/cgroup", check=False)
    if os.path.exists("/dev/kvm"):
        # What is there could not run a guest. Read-only: libvirt asks whether it may write to it, and if so, probes QEMU
        # anew before every call, since it found no KVM last time.
        (own / "nokvm").touch()
        run("mount", "--bind", own / "nokvm", "/dev/kvm")
        run("mount", "-o", "remount,bind,ro", "/dev/kvm")
    if older:
        for path in OLDER:
            source = install.CACHE / "qemu-old" / path
            if source.exists():
                run("mount", "--bind", source, "/" + path)
    run("hostname", "kvm-" + name)
    talk.send(pid.encode())
    if talk.recv(16) != b"go":
        return 1
    talk.close()
    run("ip", "link", "set", "lo", "up")
    for device, (_bridge, address, _name) in NETWORKS.items():
        run("ip", "addr", "add", (address % place) + "/24", "dev", device)
        run("ip", "link", "set", device, "up")
    daemon = start_daemon(own)
    wanted = []
    signal.signal(signal.SIGUSR1, lambda number, frame: wanted.append("restart"))
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    while True:
        if wanted:
            wanted.clear()
            os.kill(daemon, signal.SIGTERM)
            try:
                os.waitpid(daemon, 0)
            except ChildProcessError:
                pass
            daemon = start_daemon(own)
        try:
            reaped = os.waitpid(-1, os.WNOHANG)[0]
        except ChildProcessError:
            reaped = 0
        if not reaped:
            signal.sigtimedwait([], 0.2)


def start_daemon(own):
    """libvirtd as a child; never as PID 1, since it does not reap the QEMU processes that leave it."""
    with open(own / "libvirtd.out", "a") as out:
        return subprocess.Popen(["libvirtd", "--listen", "--pid-file", "/run/libvirtd.pid"], stdin=subprocess.DEVNULL, stdout=out,
                                stderr=out, env={"PATH": PATH, "HOME": "/", "LC_ALL": "C.UTF-8"}).pid


# -- the commands --------------------------------------------------------------


def up(hosts=("a", "b"), older=(), until_eof=None, say=lambda line: None):
    """Bring the lab up; what is there as a dict.

    :param until_eof: a file to be the supervisor's standard input; the lab ends with it.
    :raises LabError, install.NotPossible: with the reason.
    """
    install.ensure(say)
    read, write = os.pipe()
    command = [sys.executable, __file__, "_supervise", "--ready", str(write), "--hosts", ",".join(hosts), "--older", ",".join(older)]
    if until_eof is not None:
        command.append("--until-eof")
    told = Path(str(lock_file()) + ".log")
    log = open(told, "w", encoding="utf-8")
    with log, os.fdopen(read) as answer:
        subprocess.Popen(command, pass_fds=[write], start_new_session=True, cwd="/", stdout=log, stderr=log,
                         stdin=subprocess.DEVNULL if until_eof is None else until_eof)
        os.close(write)
        line = answer.readline()
    if not line:
        raise LabError("the lab did not come up: %s" % told.read_text()[-1000:])
    return result_of(json.loads(line))


def result_of(answer):
    """The answer, or the error in it raised."""
    if "error" in answer:
        raise LabError(answer["error"])
    return answer


def supervisor_pid():
    """The running supervisor; None without one."""
    try:
        with open(lock_file(), encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(handle.read() or 0) or None
    except OSError:
        pass
    return None


def ask(what, **more):
    """A request to the supervisor."""
    pid = supervisor_pid()
    if pid is None:
        raise LabError("the lab is not up")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect("/proc/%d/root/mnt/control" % pid)
        with client.makefile("rw") as stream:
            stream.write(json.dumps(dict(more, do=what)) + "\n")
            stream.flush()
            line = stream.readline()
    return result_of(json.loads(line)) if line else None


def down():
    """Take it down and wait until it is; nothing when it is not up."""
    pid = supervisor_pid()
    if pid is None:
        return False
    try:
        ask("down")
    except (LabError, OSError):
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 15
    while supervisor_pid() == pid:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return True


def inside(status, name, *command):
    """The command line that runs ``command`` on a host."""
    return ["nsenter", "-t", str(status["hosts"][name]["pid"]), "-m", "-u", "-i", "-n", "-p", *map(str, command)]


def link(status, name, device, how):
    """Give a link a bandwidth (``200mbit``), or ``free``, ``down``, ``up``."""
    enter = ["nsenter", "-t", status["hosts"][name]["pid"], "-n"]
    if how in ("down", "up"):
        run(*enter, "ip", "link", "set", device, how)
        return
    run(*enter, "tc", "qdisc", "del", "dev", device, "root", check=False)
    if how != "free":
        run(*enter, "tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", how, "burst", "256kb", "latency", "100ms")


def main(words):
    """The command line."""
    if words[:1] == ["_host"]:
        return host(words[1], int(words[2]), words[3] == "1", int(words[4]))
    if words[:1] == ["in"]:
        command = inside(ask("status"), *words[1:])
        os.execvpe(command[0], command, dict(os.environ, PATH=PATH))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    names = {"type": lambda text: [name for name in text.split(",") if name]}
    for command in ("up", "_supervise"):
        one = commands.add_parser(command)
        one.add_argument("--hosts", default=["a", "b"], **names)
        one.add_argument("--older", default=[], **names)
        one.add_argument("--until-eof", action="store_true")
        one.add_argument("--ready", type=int)
    for command in ("status", "down"):
        commands.add_parser(command)
    for command in ("reboot", "restart", "off", "on"):
        commands.add_parser(command).add_argument("host")
    one = commands.add_parser("link")
    for word in ("host", "device", "how"):
        one.add_argument(word)
    options = parser.parse_args(words)
    if options.command == "_supervise":
        return supervise(options)
    if options.command == "up":
        stdin = sys.stdin if options.until_eof else None
        print(json.dumps(up(options.hosts, options.older, stdin, lambda line: print(line, file=sys.stderr)), indent=2))
    elif options.command == "down":
        print("down" if down() else "it was not up")
    elif options.command == "status":
        print(json.dumps(ask("status"), indent=2))
    elif options.command == "link":
        link(ask("status"), options.host, options.device, options.how)
    else:
        ask(options.command, host=options.host)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (LabError, install.NotPossible) as exc:
        sys.exit(str(exc))
