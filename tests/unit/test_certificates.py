# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates made and read by the real OpenSSL, judged."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import certificates

NAMES = ["kvm-1.example.com", "192.0.2.1"]


def openssl(*words, folder):
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"] if words[0] == "req" else []
    done = subprocess.run(["openssl", *words, *curve], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """A CA, a server's and a client's certificate, and those of somebody else."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("pki")
    for ca in ("ca", "other"):
        openssl("req", "-x509", "-keyout", ca + ".key", "-out", ca + ".pem",
                "-subj", "/CN=" + ca, "-days", "400", folder=folder)
    for name, ca, usage, days in (("server", "ca", "serverAuth", 90), ("client", "ca", "clientAuth", 90),
                                  ("foreign", "other", "serverAuth", 90), ("late", "ca", "serverAuth", 10)):
        openssl("req", "-new", "-keyout", name + ".key", "-out", name + ".csr",
                "-subj", "/CN=" + name, folder=folder)
        (folder / "ext").write_text("subjectAltName=DNS:kvm-1.example.com,DNS:*.hosts.example.com,IP:192.0.2.1,IP:2001:db8::1\n"
                                    "extendedKeyUsage=%s\n" % usage)
        openssl("x509", "-req", "-in", name + ".csr", "-CA", ca + ".pem", "-CAkey", ca + ".key", "-CAcreateserial", "-out", name + ".pem",
                "-days", str(days), "-extfile", "ext", folder=folder)
    return folder


def texts(pki, name, key=None, mode="0600"):
    x509 = openssl("x509", "-in", name + ".pem", "-noout", "-enddate", "-ext", "subjectAltName,extendedKeyUsage", "-pubkey", folder=pki)
    return {"x509": x509, "key": openssl("pkey", "-in", (key or name) + ".key", "-pubout", folder=pki),
            "verify": openssl("verify", "-CAfile", "ca.pem", name + ".pem", folder=pki), "mode": mode}


def failed(rows):
    return {row["name"].partition(": ")[2]: row["found"] for row in rows if row["status"] == "FAIL"}


@pytest.mark.parametrize("kind", ["server", "client"])
def test_right_ones_pass(pki, kind):
    rows = certificates.judge(kind, texts(pki, kind), NAMES, time.time())
    assert failed(rows) == {} and len(rows) == (7 if kind == "server" else 6)


@pytest.mark.parametrize("how, what", [
    (dict(name="server", key="client"), "key"), (dict(name="foreign"), "CA"), (dict(name="late"), "validity"),
    (dict(name="server", mode="0644"), "key's mode"), (dict(name="client"), "usage"), (dict(name="server", key="nothing"), "key"),
])
def test_each_fault_is_named(pki, how, what):
    assert list(failed(certificates.judge("server", texts(pki, **how), NAMES, time.time()))) == [what]


def test_names_that_lack_are_named(pki):
    rows = certificates.judge("server", texts(pki, "server"), NAMES + ["kvm-9.example.com"], time.time())
    assert failed(rows) == {"names": "missing: kvm-9.example.com"}


def test_one_that_is_not_there(pki):
    assert failed(certificates.judge("server", texts(pki, "nothing"), NAMES, time.time())) == {"": "not there, or unreadable"}


def test_days_are_counted_from_the_time_given(pki):
    text = texts(pki, "server")["x509"]
    assert certificates.days_left(text, time.time() + 1) == 89 and certificates.days_left(text, time.time() + 100 * 86400) < 0
    assert certificates.days_left("nothing", 0) is None


@pytest.mark.parametrize("name, covered", [
    ("kvm-1.example.com", True), ("KVM-1.example.com", True), ("a.hosts.example.com", True), ("a.b.hosts.example.com", False),
    ("hosts.example.com", False), ("192.0.2.1", True), ("192.0.2.2", False), ("2001:db8:0::1", True), ("kvm-2.example.com", False)])
def test_which_names_are_covered(pki, name, covered):
    assert certificates.covers(certificates.alternative_names(texts(pki, "server")["x509"]), name) is covered
