# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles kvm_host_prep and kvm_shared_storage on the lab's hosts, as far as a Debian host without systemd goes.

For real: what is read and judged (certificates, addresses, QEMU's settings, NUMA nodes), mounts, the proof that all hosts see the same
files, and exports as the real exportfs reads them. Only pretended, by check mode: packages, units, firewall, SELinux. There is no NFS in
the kernel here: what is shared is a folder bound into each host.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import kvm_install as install
import pytest
from kvm_operator import Operator

PKI = "/var/lib/libvirt/pki"
SHARED, IMAGES, FSTAB = "/mnt/shared", "/var/lib/libvirt/shared-images", "/var/lib/libvirt/fstab"
MOUNTS = [{"src": SHARED, "path": IMAGES, "fstype": "none", "opts": "bind"}]
CERTIFICATES = [{"kind": kind, "certificate": "%s/%s.pem" % (PKI, kind), "key": "%s/%s.key" % (PKI, kind)}
                for kind in ("server", "client")]
MAKE = """set -e; mkdir -p {0}; cd {0}
ec="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
openssl req -x509 $ec -keyout ca.key -out ca.pem -subj /CN=ca -days 400
for kind in server client; do
  openssl req -new $ec -keyout $kind.key -out $kind.csr -subj /CN=$kind
  printf 'subjectAltName=DNS:%s\\nextendedKeyUsage=%sAuth\\n' "$(hostname)" $kind > ext
  openssl x509 -req -in $kind.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out $kind.pem -days 90 -extfile ext
done; chmod 600 *.key"""


@pytest.fixture
def operator(lab, tmp_path):
    """Somebody; nothing stays mounted."""
    somebody = Operator(lab, tmp_path)
    somebody.shows_ok = "true"
    yield somebody
    for host in lab.status["hosts"]:
        lab.run(host, "sh", "-c", "umount %s; rm -rf %s %s %s" % (IMAGES, IMAGES, FSTAB, PKI), check=False)


def play(operator, role, hosts="kvm_hosts", **variables):
    """A playbook of one role."""
    text = [{"hosts": hosts, "gather_facts": False, "tasks": [dict(
        {"ansible.builtin.include_role": dict({"name": "bigvm.live_migration." + role}, **variables.pop("include", {}))}, vars=variables)]}]
    (operator.folder / "play.yml").write_text(json.dumps(text))
    return "play.yml"


def preparing(**more):
    return dict({"kvm_host_prep_release": "9.4", "kvm_host_prep_ca": PKI + "/ca.pem", "kvm_host_prep_certificates": CERTIFICATES,
                 "kvm_host_prep_migration_address": "10.98.0.1"}, **more)


def test_a_host_is_read_and_judged(lab, operator):
    lab.run("a", "sh", "-c", MAKE.format(PKI))
    lab.run("a", "sh", "-c", "echo 'migration_address = \"10.98.0.1\"' >> /etc/libvirt/qemu.conf")
    before = lab.file("a", "/etc/libvirt/qemu.conf").read_text()
    rc, said = operator.run(play(operator, "kvm_host_prep", "kvm-a", **preparing(kvm_host_prep_mode="assert")))
    assert rc == 2 and "are not as they should be" in said and "Traceback" not in said, said
    for line in ("PASS: migration address is 10.98.0.1", "PASS: migration network is there", "PASS: migration ports is 49152-49215",
                 "PASS: server certificate: key is its own", "PASS: server certificate: names is all there",
                 "PASS: client certificate: CA is signed by it", "FAIL: virtqemud.socket is not there",
                 "FAIL: firewall 16514/tcp is not read"):
        assert line in said, line
    assert "changed=0" in said
    # reached by another name, with another host's key
    lab.run("a", "sh", "-c", "cp {0}/client.key {0}/server.key".format(PKI))
    rc, said = operator.run(play(operator, "kvm_host_prep", "kvm-a", **preparing(
        kvm_host_prep_mode="assert", kvm_host_prep_names=["kvm-a.example.com"], kvm_host_prep_ignore_failures=True)))
    assert rc == 0 and "FAIL: server certificate: key is another one" in said
    assert "FAIL: server certificate: names is missing: kvm-a.example.com" in said
    # check mode goes through all of it and changes nothing
    wanted = preparing(kvm_host_prep_install=False, kvm_host_prep_migration_ports=[50000, 50063])
    rc, said = operator.run(play(operator, "kvm_host_prep", "kvm-a", **wanted), "--check")
    assert rc == 0 and "changed: [kvm-a] => (item=migration_port_min)" in said, said
    assert lab.file("a", "/etc/libvirt/qemu.conf").read_text() == before


@pytest.mark.parametrize("given, says", [
    (dict(kvm_host_prep_hugepages={"nodes": {"9": 4}}), "there is no NUMA node 9"),
    (dict(kvm_host_prep_release="7.9"), "RHEL 7.9 needs is not known"),
    (dict(kvm_host_prep_migration_ports=[50000, 49000]), "migration ports 50000 to 49000 cannot be meant"),
])
def test_what_cannot_be_meant_ends_before_anything_is_written(lab, operator, given, says):
    rc, said = operator.run(play(operator, "kvm_host_prep", "kvm-a", **preparing(**given)))
    assert rc == 2 and says in said and "Nothing was changed" in said and "changed=0" in said, said


def test_all_hosts_see_the_same_files(lab, operator):
    lab.run("a", "mkdir", "-p", SHARED)
    storage = dict(kvm_shared_storage_mounts=MOUNTS, kvm_shared_storage_fstab=FSTAB, kvm_shared_storage_install=False,
                   kvm_shared_storage_hosts=["kvm-a", "kvm-c"])
    for host in "ac":
        lab.run(host, "touch", FSTAB)

    def applied():
        return operator.run(play(operator, "kvm_shared_storage", "kvm-a:kvm-c", **storage))

    rc, said = applied()
    assert rc == 0 and said.count("PASS: %s on kvm-c is the same files" % IMAGES) == 2, said
    assert IMAGES in lab.file("c", FSTAB).read_text() and not list(lab.file("c", IMAGES).iterdir())
    # one host has something else there
    lab.run("c", "umount", IMAGES)
    rc, said = operator.run(play(operator, "kvm_shared_storage", "kvm-a:kvm-c", kvm_shared_storage_mode="assert", **storage))
    assert rc == 2 and "FAIL: %s on kvm-c is another storage: it does not see what kvm-a wrote" % IMAGES in said, said
    assert "FAIL: mount %s is not mounted" % IMAGES in said and not list(lab.file("c", IMAGES).iterdir())
    # and files that a mount would hide
    lab.run("c", "touch", IMAGES + "/guest.qcow2")
    rc, said = applied()
    assert rc == 2 and "holds 1 files (guest.qcow2, ...), which a mount there would hide. Nothing was changed." in said, said
    storage["kvm_shared_storage_mounts"] = [{"src": "sdb", "path": "/images"}]
    rc, said = applied()
    assert rc == 2 and "The NFS source 'sdb' is not written like server:/path. Nothing was changed." in said


@pytest.fixture(scope="module")
def exportfs(tmp_path_factory):
    """A folder with the real exportfs, unpacked and not installed."""
    folder = tmp_path_factory.mktemp("nfs")
    subprocess.run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", "nfs-kernel-server"], cwd=folder, check=False,
                   capture_output=True)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder / "tree"], check=True)
    if not (folder / "tree/usr/sbin/exportfs").exists():
        pytest.skip("the package nfs-kernel-server could not be had")
    return folder / "tree/usr/sbin"


# What is written to /etc and /var/lib lands in a tmpfs that only this process sees.
APART = """set -e; mount -t tmpfs tmpfs /mnt; mkdir /mnt/eu /mnt/ew /mnt/vu /mnt/vw
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/eu,workdir=/mnt/ew overlay /etc
mount -t overlay -o lowerdir=/var/lib,upperdir=/mnt/vu,workdir=/mnt/vw overlay /var/lib
mkdir -p /var/lib/nfs /etc/exports.d; touch /etc/exports; set +e
"$@"; rc=$?; echo "in force:"; cat /var/lib/nfs/etab; ls /etc/exports.d; exit $rc"""


def export(lab, exportfs, folder, **export):
    """``(rc, what was said)`` of the role's task file that exports, with the real exportfs."""
    text = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": {
        "ansible_python_interpreter": install.SYSTEM_PYTHON}, "tasks": [
        {"ansible.builtin.include_role": {"name": "bigvm.live_migration.kvm_shared_storage", "tasks_from": "exports"},
         "vars": {"kvm_shared_storage_exports": [dict({"path": str(folder)}, **export)]}}]}]
    (folder / "export.yml").write_text(json.dumps(text))
    environment = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=lab.collections, LC_ALL="C.UTF-8", ANSIBLE_NOCOLOR="1",
                       PATH="%s:%s" % (exportfs, os.environ["PATH"]))
    done = subprocess.run(["unshare", "-m", "sh", "-c", APART, "sh", Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,",
                           folder / "export.yml"], capture_output=True, text=True, check=False, env=environment, cwd=folder, timeout=120)
    return done.returncode, " ".join(done.stdout.split())


def test_exports_are_read_by_the_real_exportfs(lab, exportfs, tmp_path):
    rc, said = export(lab, exportfs, tmp_path, clients=["192.0.2.1", "192.0.2.2"])
    in_force = said.partition("in force:")[2]
    assert rc == 0 and in_force.count("rw,sync") == 2 and in_force.count("no_root_squash") >= 2 and "192.0.2.2(" in in_force, said
    assert "kvm-shared-storage.exports" in in_force
    rc, said = export(lab, exportfs, tmp_path, clients=["192.0.2.1"], options="rw,no_such_option")
    assert rc == 2 and 'unknown keyword "no_such_option"' in said and "The file is as it was before." in said, said
    assert "kvm-shared-storage.exports" not in said.partition("in force:")[2]
