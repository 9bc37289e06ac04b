# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Between hosts by TLS and by SSH, with real certificates and a real sshd; and a certificate, or a host key, that is the wrong one."""

from __future__ import annotations

import subprocess

import kvm_install as install
import pytest

PKI, QEMU_PKI = "/etc/libvirt/pki", "/etc/libvirt/pki-qemu"
# One authority for a and b, another for c. Each host: a certificate as server and one as client.
MAKE = """set -e; ec="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
for ca in one two; do openssl req -x509 $ec -keyout $ca.key -out $ca.pem -subj /CN=$ca -days 30; done
for host in a b c; do
  ca=one; [ $host = c ] && ca=two; mkdir $host; cp $ca.pem $host/cacert.pem
  for kind in server client; do
    openssl req -new $ec -keyout $host/${kind}key.pem -out csr -subj /CN=kvm-$host
    printf "subjectAltName=DNS:kvm-$host,DNS:kvm-$host-mig\\nextendedKeyUsage=serverAuth,clientAuth\\n" > ext
    openssl x509 -req -in csr -CA $ca.pem -CAkey $ca.key -CAcreateserial -out $host/${kind}cert.pem -days 30 -extfile ext
  done
done"""
DAEMON = 'listen_tls = 1\nkey_file = "{0}/serverkey.pem"\ncert_file = "{0}/servercert.pem"\nca_file = "{0}/cacert.pem"\n'
DRIVER = 'migrate_tls_x509_cert_dir = "%s"\n' % QEMU_PKI
SSHD = """HostKey /etc/ssh/host
AuthorizedKeysFile /etc/ssh/id.pub
PidFile /run/sshd.pid
StrictModes no
PasswordAuthentication no
"""
CLIENT = """Host *
  IdentityFile /etc/ssh/id
  UserKnownHostsFile /dev/null
  GlobalKnownHostsFile /etc/ssh/known
  BatchMode yes
"""


@pytest.fixture(scope="module")
def tls(lab, tmp_path_factory):
    """``tls("b")``: the URI of a host by TLS."""
    folder = tmp_path_factory.mktemp("pki")
    subprocess.run(["sh", "-c", MAKE], cwd=folder, check=True, capture_output=True)
    kept = {}
    for host in "abc":
        for place, names in ((PKI, {}), (QEMU_PKI, {"cacert": "ca-cert", "servercert": "server-cert", "serverkey": "server-key",
                                                    "clientcert": "client-cert", "clientkey": "client-key"})):
            lab.file(host, place).mkdir()
            for path in (folder / host).iterdir():
                (lab.file(host, place) / (names.get(path.stem, path.stem) + ".pem")).write_bytes(path.read_bytes())
        for file, more in (("libvirtd.conf", DAEMON.format(PKI)), ("qemu.conf", DRIVER)):
            path = lab.file(host, "/etc/libvirt/" + file)
            kept[host, file] = path.read_text()
            path.write_text(kept[host, file].replace("listen_tls = 0\n", "") + more)
        lab.ask("restart", host)
    yield lambda host: "qemu+tls://kvm-%s/system?pkipath=%s" % (host, PKI)
    for (host, file), text in kept.items():
        lab.file(host, "/etc/libvirt/" + file).write_text(text)
    for host in "abc":
        lab.run(host, "rm", "-rf", PKI, QEMU_PKI)
        lab.ask("restart", host)


@pytest.fixture(scope="module")
def ssh(lab):
    """``ssh("b")``: the URI of a host by SSH."""
    server = install.CACHE / "sshd" / "usr" / "sbin" / "sshd"
    lab.run("a", "sh", "-c", "cd /etc/ssh && for name in host id; do ssh-keygen -q -t ed25519 -N '' -f $name; done")
    keys = {path.name: path.read_bytes() for path in lab.file("a", "/etc/ssh").iterdir()}
    known = "kvm-a,kvm-b %s" % keys["host.pub"].decode()
    for host in "ab":
        folder = lab.file(host, "/etc/ssh")
        for name, content in dict(keys, known=known.encode(), ssh_config=CLIENT.encode(), sshd_config=SSHD.encode()).items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o600)
        lab.run(host, "sh", "-c", "mkdir -p /run/sshd; %s -f /etc/ssh/sshd_config" % server)
    yield lambda host: "qemu+ssh://root@kvm-%s/system" % host
    for host in "ab":
        lab.run(host, "sh", "-c", "kill $(cat /run/sshd.pid); rm -rf /etc/ssh/*")


def test_live_and_encrypted_by_tls(lab, guest, move, tls):
    name = guest("t-tls", dirty_mb=64, dirty_rate=20)
    done = move(name, destination=tls("b"), tls=True, migrate_uri="tcp://kvm-b-mig")
    assert done.get("changed") and done["proof"] == "agent", done
    lab.lives_on(name, "b")
    assert lab.defined(name) == ["b"]


def test_a_certificate_of_another_authority_is_one_clear_message(lab, guest, move, tls):
    name = guest("t-other")
    failed = move(name, destination=tls("c"))
    assert failed["failed"] and not failed["changed"] and "certificate" in failed["msg"] and "kvm-c" in failed["msg"], failed
    assert "one authority" in failed["msg"] and "virt-pki-validate" in failed["msg"], failed
    # the module itself gets there, and the source's daemon does not
    failed = move(name, destination=tls("c"), target_uri=lab.uri("c"))
    assert failed["failed"] and "certificate" in failed["msg"] and "runs on kvm-a as before" in failed["msg"], failed
    assert "one authority" in failed["msg"], failed
    lab.lives_on(name, "a")
    judged = lab.module("a", "libvirt_migratable_info", destination=tls("c"), names=[name])
    assert judged["failed"] and "one authority" in judged["msg"], judged
    # memory encrypted, with a certificate of the target that the source does not trust
    lab.file("b", QEMU_PKI + "/ca-cert.pem").rename(lab.file("b", QEMU_PKI + "/kept"))
    for word in ("ca-cert", "server-cert", "server-key"):
        lab.file("b", "%s/%s.pem" % (QEMU_PKI, word)).write_bytes(lab.file("c", "%s/%s.pem" % (QEMU_PKI, word)).read_bytes())
    failed = move(name, destination=lab.uri("b"), tls=True)
    assert failed["failed"] and "runs on kvm-a as before" in failed["msg"] and "one authority" in failed["msg"], failed
    lab.lives_on(name, "a")


def test_live_and_persistent_by_ssh(lab, guest, move, ssh):
    name = guest("t-ssh", dirty_mb=64, dirty_rate=20)
    done = move(name, destination=ssh("b"))
    assert done.get("changed") and done["proof"] == "agent", done
    lab.lives_on(name, "b")
    assert lab.defined(name) == ["b"]
    judged = lab.module("b", "libvirt_migratable_info", destination=ssh("a"), names=[name])
    assert judged["guests"][0]["verdict"] == "live", judged
    back = move(name, source="b", destination=ssh("a"), p2p=False, mode="suspended")
    assert back.get("changed"), back
    lab.lives_on(name, "a")


def test_a_host_key_that_is_another_one_is_one_clear_message(lab, guest, move, ssh):
    name = guest("t-key")
    known = lab.file("a", "/etc/ssh/known")
    right = known.read_text()
    lab.run("a", "sh", "-c", "cd /etc/ssh && ssh-keygen -q -t ed25519 -N '' -f other && (printf 'kvm-b '; cat other.pub) > known")
    failed = move(name, destination=ssh("b"))
    assert failed["failed"] and "host key" in failed["msg"].lower() and "known_hosts" in failed["msg"], failed
    lab.lives_on(name, "a")
    known.write_text(right)
    lab.run("b", "sh", "-c", "mv /etc/ssh/id.pub /etc/ssh/away")
    failed = move(name, destination=ssh("b"))
    assert failed["failed"] and "Permission denied" in failed["msg"] and "authorized_keys" in failed["msg"], failed
    lab.run("b", "mv", "/etc/ssh/away", "/etc/ssh/id.pub")
    assert move(name, destination=ssh("b"))["changed"]
    lab.lives_on(name, "b")
