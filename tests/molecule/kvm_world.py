# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""KVM hosts for the roles that change them: those of the libvirt lab, each under an overlay like a RHEL host.

    kvm_world.py why-not                        prints what is missing here, nothing when it can run
    kvm_world.py up DIR a,b [GUEST@HOST ...]    starts hosts, and guests that beat; they end with ``down``, at the latest after LONGEST
    kvm_world.py down DIR

Real on each host: libvirt with its guests, networks, firewalld with the kernel's own filter, exportfs, apt with packages of RHEL's
names, and all files (/etc, /usr and /var are overlays in memory). Stand-ins: the packages of RHEL's names are empty but for the
units they bring, and ``systemctl`` keeps the state of units in files; what it starts for real is in SYSTEMCTL. Certificates are made
as a site would have made them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from debian_layer import PATH, layer, why_not

LAB = Path(__file__).resolve().parents[1] / "lab" / "libvirt"
sys.path.insert(0, str(LAB))

import kvm_install as install  # noqa: E402
import kvm_lab as machinery  # noqa: E402

LONGEST = 900  # seconds after which the hosts end by themselves
PACKAGES = ["firewalld", "dbus", "python3-apt", "nfs-kernel-server", "openssl"]
MODULAR = ["virtqemud", "virtnetworkd", "virtnodedevd", "virtnwfilterd", "virtsecretd", "virtstoraged", "virtinterfaced", "virtproxyd"]
UNITS = {  # of our packages of RHEL's names; libvirtd is on, as after an upgrade from RHEL 8
    "libvirt": [name + kind for name in MODULAR for kind in (".service", ".socket")] + [
        "virtproxyd-tls.socket", "virtproxyd-tcp.socket", "libvirtd.service", "libvirtd.socket", "libvirtd-ro.socket",
        "libvirtd-admin.socket", "libvirtd-tcp.socket", "libvirtd-tls.socket"],
    "qemu-kvm": ["ksm.service", "ksmtuned.service"], "nfs-utils": ["nfs-server.service"],
    "libvirt-client": [], "python3-libselinux": [], "python3-libsemanage": []}
FOLDERS = {"nfs-utils": "etc/exports.d"}  # that they bring
ON = ["libvirtd.service", "libvirtd.socket"]
SYSTEMCTL = r"""#!/bin/sh
# A stand-in: what is enabled and masked is told by links as with systemd, what is active by files below /run.
lib=/usr/lib/systemd/system etc=/etc/systemd/system run=/run/active-units
wants=$etc/multi-user.target.wants
mkdir -p $run $wants
known() { [ -e $lib/$1 ] || [ -L $etc/$1 ]; }
masked() { [ "$(readlink $etc/$1)" = /dev/null ]; }
state() { if masked $1; then echo masked; elif [ -L $wants/$1 ]; then echo enabled; else echo disabled; fi; }
start() {
  if masked $1; then echo "Unit $1 is masked." >&2; return 1; fi
  case $1 in
    firewalld.service) [ -e $run/$1 ] || { [ -S /run/dbus/system_bus_socket ] || { mkdir -p /run/dbus; dbus-daemon --system --fork; }
                       firewalld --nopid >/run/firewalld.out 2>&1
                       tries=60  # as systemd does, until it has its name on the bus
                       until firewall-cmd --state >/dev/null 2>&1 || [ $((tries -= 1)) = 0 ]; do sleep 0.5; done
                       firewall-cmd --state >/dev/null; } ;;
    virtqemud.service|libvirtd.service) kill -USR1 1 ;;  # has the lab start its libvirt anew
  esac && touch $run/$1
}
verb= units=
for word in "$@"; do case $word in -*) ;; *) if [ -z "$verb" ]; then verb=$word; else units="$units $word"; fi ;; esac; done
rc=0
for unit in $units; do
  case $verb in
    show)
      if masked $unit; then load=masked; elif known $unit; then load=loaded; else load=not-found; fi
      if [ -e $run/$unit ]; then active=active; else active=inactive; fi
      if [ $load = not-found ]; then file=; else file=$(state $unit); fi
      printf 'Id=%s\nLoadState=%s\nActiveState=%s\nUnitFileState=%s\n\n' $unit $load $active $file ;;
    is-enabled) known $unit || { echo not-found; exit 4; }; state $unit; [ "$(state $unit)" = enabled ] || rc=1 ;;
    is-active) if [ -e $run/$unit ]; then echo active; else echo inactive; rc=3; fi ;;
    *) known $unit || { echo "Unit $unit could not be found." >&2; exit 5; }
       case $verb in
         enable) ln -sfn $lib/$unit $wants/$unit ;;
         disable) rm -f $wants/$unit ;;
         mask) ln -sfn /dev/null $etc/$unit ;;
         unmask) rm -f $etc/$unit ;;
         start|restart) start $unit || rc=$? ;;
         stop) rm -f $run/$unit ;;
         *) echo "$verb is not stood in for" >&2; rc=1 ;;
       esac ;;
  esac
done
exit $rc
"""
# Run on each host. $1: its name, $2: the layer, $3: a folder that all hosts see, $4: units that are on, $5: what the lab keeps for it.
DRESS = r"""set -e
own=/mnt/$1/dress layer=$2
grep -e ^libvirt -e ^libvirt-qemu /etc/passwd > /tmp/users.$1 || true
grep -e ^libvirt /etc/group > /tmp/groups.$1 || true
cat /etc/hosts > /tmp/hosts.$1
for name in etc usr var; do
  mkdir -p $own/$name/upper $own/$name/work
  mount -t overlay overlay -o lowerdir=$layer/$name:/$name,upperdir=$own/$name/upper,workdir=$own/$name/work $own/$name
done
for name in etc usr var; do mount --move $own/$name /$name; done
for pair in $5; do
  mkdir -p ${pair#*:}; mount --bind /mnt/$1/${pair%%:*} ${pair#*:}
done
cat /tmp/hosts.$1 > /etc/hosts
for kind in users:passwd groups:group; do
  while read -r line; do grep -q "^${line%%:*}:" /etc/${kind#*:} || echo "$line" >> /etc/${kind#*:}; done < /tmp/${kind%%:*}.$1
done
rm -f /tmp/users.$1 /tmp/groups.$1 /tmp/hosts.$1
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
echo "deb [trusted=yes] file:$3/packages ./" > /etc/apt/sources.list
apt-get -qq -o APT::Sandbox::User=root update
apt-get -qq -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 install libvirt >/dev/null
touch /etc/fstab
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir -p /run/active-units
for unit in $4; do touch /run/active-units/$unit; systemctl enable $unit; done
"""


def packages(folder):
    """A repository of packages that have RHEL's names and bring units."""
    place = folder / "packages"
    for name, units in UNITS.items():
        root = folder / "deb" / name
        (root / "DEBIAN").mkdir(parents=True)
        fields = {"Package": name, "Version": "1", "Architecture": "all", "Maintainer": "nobody <nobody@example.com>",
                  "Description": "a RHEL package's name"}
        text = "".join("%s: %s\n" % pair for pair in fields.items())
        (root / "DEBIAN" / "control").write_text(text, encoding="utf-8")
        for unit in units:
            path = root / "usr" / "lib" / "systemd" / "system" / unit
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("[Unit]\nDescription=a stand-in\n", encoding="utf-8")
        if name in FOLDERS:
            (root / FOLDERS[name]).mkdir(parents=True)
        place.mkdir(exist_ok=True)
        machinery.run("dpkg-deb", "--build", "--root-owner-group", root, place / (name + ".deb"))
        deb = (place / (name + ".deb")).read_bytes()
        with open(place / "Packages", "a", encoding="utf-8") as index:
            index.write(text + "Filename: ./%s.deb\nSize: %d\nSHA256: %s\n\n" % (name, len(deb), hashlib.sha256(deb).hexdigest()))
    shutil.rmtree(folder / "deb")


PKI = r"""set -e; mkdir -p /etc/pki/CA /etc/pki/libvirt/private; cd "$1"
ec="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
[ -e ca.pem ] || openssl req -x509 $ec -keyout ca.key -out ca.pem -subj /CN=ca -days 400
cp ca.pem /etc/pki/CA/cacert.pem
for kind in server client; do
  openssl req -new $ec -keyout /etc/pki/libvirt/private/${kind}key.pem -out $kind.csr -subj /CN=$kind
  printf 'subjectAltName=DNS:%s\nextendedKeyUsage=%sAuth\n' "$2" $kind > ext
  openssl x509 -req -in $kind.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out /etc/pki/libvirt/${kind}cert.pem -days 90 -extfile ext
done; chmod 600 /etc/pki/libvirt/private/*"""


def up(folder, hosts, guests):
    """Start the guardian and wait until all is there."""
    folder.mkdir(parents=True, exist_ok=True)
    layer(PACKAGES, {"/usr/bin/systemctl": SYSTEMCTL})
    with open(folder / "log", "wb") as log:
        guardian = subprocess.Popen([sys.executable, __file__, "guard", str(folder), hosts, *guests], stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=log, start_new_session=True)
    until = time.monotonic() + LONGEST
    while not (folder / "ready").exists():
        if guardian.poll() is not None or time.monotonic() > until:
            raise SystemExit("The hosts did not start:\n" + (folder / "log").read_text(errors="replace")[-3000:])
        time.sleep(0.1)


def guard(folder, hosts, guests):
    """Hold the hosts: they end with this process, however it ends."""
    ours, theirs = os.pipe()
    status = machinery.up(hosts, until_eof=ours)
    os.close(ours)
    (folder / "pid").write_text(str(os.getpid()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        _fill(folder, status, guests)
        (folder / "ready").touch()
        end = time.monotonic() + LONGEST
        while time.monotonic() < end and machinery.supervisor_pid():
            time.sleep(1)
    finally:
        os.close(theirs)
        machinery.down()


def _fill(folder, status, guests):
    packages(folder)
    files = layer(PACKAGES, {"/usr/bin/systemctl": SYSTEMCTL})
    for host in status["hosts"]:
        machinery.run(*machinery.inside(status, host, "sh", "-c", DRESS, "dress", host, files, folder, " ".join(ON),
                                        " ".join("%s:%s" % pair for pair in machinery.KEPT.items())))
        machinery.run(*machinery.inside(status, host, "sh", "-c", PKI, "pki", folder, status["hosts"][host]["name"]))
    if guests:
        from kvm_hosts import Lab

        lab = Lab(status)
        for word in guests:
            name, _at, host = word.partition("@")
            lab.define(host, name, memory=160, dirty_rate=20)
        for word in guests:
            lab.boot(word.partition("@")[2], word.partition("@")[0])


def down(folder):
    """End the hosts and wait until they are gone."""
    try:
        pid = int((folder / "pid").read_text())
        os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError):
        pid = 0
    until = time.monotonic() + 30
    while pid and os.path.exists("/proc/%d" % pid) and time.monotonic() < until:
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    verb, where = sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else ".").resolve()
    os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":" + PATH
    os.environ["BIGVM_LAB_LOCK"] = str(where / "lock")  # beside a lab of somebody else
    if verb == "why-not":
        print(install.why_not() or why_not("a KVM host for roles"))
    elif verb == "up":
        up(where, sys.argv[3], sys.argv[4:])
    elif verb == "guard":
        guard(where, sys.argv[3].split(","), sys.argv[4:])
    elif verb == "down":
        down(where)
    else:
        print(json.dumps(machinery.ask(verb)))
