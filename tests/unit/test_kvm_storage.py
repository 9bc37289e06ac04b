# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Storage that KVM hosts share: what cannot be meant, and what is found on hosts that do not share it."""

from __future__ import annotations

import json

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import kvm_storage

HOSTS = ["kvm-1", "kvm-2"]
MOUNT = {"src": "nfs-1:/exports/images", "path": "/images"}
EXPORT = {"path": "/exports/images", "clients": ["kvm-1", "kvm-2"]}
WWID = "3600a098038303053453f463045727a31"


def test_what_can_be_meant_has_no_problem():
    assert kvm_storage.problems([MOUNT], [EXPORT], [WWID], HOSTS, "nfs-1") == []


@pytest.mark.parametrize("change, says", [
    (dict(hosts=["kvm-1"]), "two hosts or more"), (dict(mounts=[dict(MOUNT, src="/dev/sdb")]), "not written like server:/path"),
    (dict(mounts=[dict(MOUNT, path="images")]), "no path to mount at"), (dict(mounts=[dict(MOUNT, opts="soft")]), "leave soft out"),
    (dict(mounts=[dict(MOUNT, opts="vers=3")]), "needs nolock"), (dict(mounts=[MOUNT, MOUNT]), "mounted twice"),
    (dict(exports=[dict(EXPORT, clients=[])]), "for everybody"), (dict(exports=[dict(EXPORT, clients=["*"])]), "is everybody"),
    (dict(exports=[dict(EXPORT, clients=["a b"])]), "not understood"), (dict(exports=[dict(EXPORT, path="x")]), "not absolute"),
    (dict(server=""), "name kvm_shared_storage_server"), (dict(server="kvm-1"), "runs guests itself"), (dict(luns=["sdb"]), "WWID 'sdb'"),
])
def test_what_cannot_be_meant(change, says):
    given = dict({"mounts": [MOUNT], "exports": [EXPORT], "luns": [WWID], "hosts": HOSTS, "server": "nfs-1"}, **change)
    assert says in " ".join(kvm_storage.problems(**given))


def test_a_server_that_runs_guests_may_be_asked_for():
    assert kvm_storage.problems([MOUNT], [EXPORT], [], HOSTS, "kvm-1", True) == []
    assert kvm_storage.problems([dict(MOUNT, opts="vers=3,nolock")], [], [], HOSTS) == []


def test_exports_keep_root_root_and_name_each_host():
    text = kvm_storage.exports_text([EXPORT, {"path": "/a b", "clients": ["192.0.2.0/24"], "options": "ro"}])
    assert "/exports/images kvm-1(rw,sync,no_root_squash) kvm-2(rw,sync,no_root_squash)\n" in text and '"/a b" 192.0.2.0/24(ro)\n' in text


@pytest.mark.parametrize("line, failed", [
    ("nfs-1:/exports/images /images nfs4 rw,hard,vers=4.2 0 0", []), ("", ["mount /images"]),
    ("nfs-2:/exports/images /images nfs4 rw 0 0", ["mount /images"]), ("/dev/sda1 /images xfs rw 0 0", ["mount /images"]),
    ("nfs-1:/exports/images /images nfs4 ro 0 0", ["options of /images"]),
    ("nfs-1:/exports/images /images nfs rw,soft,nolock 0 0", ["options of /images"]),
    ("nfs-1:/exports/images /images nfs rw,vers=3 0 0", ["locks of /images"]),
    ("nfs-1:/exports/images /images nfs rw,vers=3,nolock 0 0", []),
])
def test_mounts_are_judged_by_what_the_kernel_says(line, failed):
    rows = kvm_storage.mount_rows([MOUNT], "proc /proc proc rw 0 0\n" + line)
    assert [row["name"] for row in rows if row["status"] == "FAIL"] == failed


def sees(*writers, inode=10, uid=0):
    return [{"path": "/images/.kvm-proof-w0rd-" + name, "inode": inode + place, "uid": uid} for place, name in enumerate(writers)]


@pytest.mark.parametrize("second, says", [
    (sees(*HOSTS), None), (sees("kvm-2"), "another storage: it does not see what kvm-1 wrote"),
    (sees(*HOSTS, inode=77), "other files of the same name"),
    (sees(*HOSTS, uid=65534), "belong to somebody else"), ([], "another storage: it does not see what kvm-1, kvm-2 wrote")])
def test_the_same_files_on_all_hosts(second, says):
    rows = kvm_storage.proof_rows("/images", "w0rd", {"kvm-1": sees(*HOSTS), "kvm-2": second})
    found = {row["name"]: row["found"] for row in rows if row["status"] == "FAIL"}
    assert says is None and not found or says in found["/images on kvm-2"]


def lsblk(*states, size=1 << 40, multipath=True, wwn="0x600a098038303053453f463045727a31"):
    child = [{"name": "mpatha", "type": "mpath", "size": size, "state": "running", "wwn": None}] if multipath else []
    paths = [{"name": "sd%s" % "abcd"[place], "type": "disk", "size": size, "state": state, "wwn": wwn, "children": child}
             for place, state in enumerate(states)]
    return json.dumps({"blockdevices": [{"name": "vda", "type": "disk", "size": 1, "state": None, "wwn": None}] + paths})


@pytest.mark.parametrize("second, says", [
    (lsblk("running", "running"), None), (lsblk("running", "offline"), "1 of 2 paths run"), (lsblk(), "not there"), ("no json", "not read"),
    (lsblk("running", "running", multipath=False), "not by multipath"),
    (lsblk("running", "running", size=1 << 41), "elsewhere another size"),
])
def test_luns_are_there_on_every_host(second, says):
    rows = kvm_storage.lun_rows([WWID], {"kvm-1": lsblk("running", "running"), "kvm-2": second})
    found = {row["name"]: row["found"] for row in rows if row["status"] == "FAIL"}
    assert says is None and not found or says in found["LUN %s on kvm-2" % WWID]


@pytest.mark.parametrize("wwid, digits", [
    (WWID, WWID[1:]), ("0x5000c500a1b2c3d4", "5000c500a1b2c3d4"), ("eui.0025385b71b0e9d8", "eui.0025385b71b0e9d8"),
    ("sdb", None), ("", None)])
def test_wwids_as_different_tools_write_them(wwid, digits):
    assert kvm_storage.naa(wwid) == digits
