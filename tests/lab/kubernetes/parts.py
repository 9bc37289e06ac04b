# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's files and command lines: certificates, tokens, kubeconfigs, the audit policy, each program's arguments."""

from __future__ import annotations

import glob
import json
import os
import secrets
import socket

HERE = os.path.dirname(os.path.abspath(__file__))
COMPONENTS = {  # user and group of each program's client certificate
    "admin": ("kubernetes-admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", None),
    "kube-scheduler": ("system:kube-scheduler", None),
    "kwok": ("kwok", "system:masters"),  # it is every node's kubelet at once
    "kube-apiserver": ("kube-apiserver", None),  # to etcd
}
AUDIT = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}


def free_port():
    """A port of the loopback that nobody listens on just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def write_files(folder):
    """Certificates, keys, kubeconfigs and policies of a new lab; returns what :func:`commands` needs (dict)."""
    import trustme
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    authority = trustme.CA(organization_name="bigvm lab")
    said = {"folder": folder, "token": secrets.token_urlsafe(24), "ports": {}}
    for name in ("etcd", "etcd-peer", "kube-apiserver", "kwok"):
        said["ports"][name] = free_port()
    write(folder, "ca.crt", authority.cert_pem.bytes())
    leaf = authority.issue_cert("127.0.0.1", "localhost", "kubernetes.default.svc")
    write_pair(folder, "server", leaf)
    for name, (user, group) in COMPONENTS.items():
        write_pair(folder, name, authority.issue_cert("%s.lab" % name.replace(":", "-"), common_name=user, organization_name=group))
        write(folder, name + ".kubeconfig", json.dumps(kubeconfig(said, _certificate(folder, name))))
    front = trustme.CA(organization_name="bigvm lab front proxy")
    write(folder, "front-ca.crt", front.cert_pem.bytes())
    write_pair(folder, "front", front.issue_cert("front.lab", common_name="front-proxy-client"))
    key = ec.generate_private_key(ec.SECP256R1())
    write(folder, "accounts.key", key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    write(folder, "accounts.pub", key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    write(folder, "tokens.csv", '%s,kubernetes-admin,1,"system:masters"\n' % said["token"])
    write(folder, "audit.json", json.dumps(AUDIT))
    write(folder, "kubeconfig", json.dumps(kubeconfig(said, {"token": said["token"]})))
    return said


def commands(said, programs):
    """``{name: argument list}`` in the order to start them; the first two must answer before the others."""
    folder, ports = said["folder"], said["ports"]

    def at(name):
        return os.path.join(folder, name)

    etcd = "https://127.0.0.1:%d" % ports["etcd"]
    peer = "https://127.0.0.1:%d" % ports["etcd-peer"]
    wanted = {
        "etcd": [
            "--data-dir", at("etcd"), "--listen-client-urls", etcd, "--advertise-client-urls", etcd, "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer, "--unsafe-no-fsync=true",
            "--cert-file", at("server.crt"), "--key-file", at("server.key"), "--trusted-ca-file", at("ca.crt"),
            "--client-cert-auth=true", "--peer-cert-file", at("server.crt"), "--peer-key-file", at("server.key"),
            "--peer-trusted-ca-file", at("ca.crt"), "--log-level", "warn",
        ],
        "kube-apiserver": [
            "--bind-address=127.0.0.1", "--secure-port=%d" % ports["kube-apiserver"], "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none", "--etcd-servers=" + etcd, "--etcd-cafile=" + at("ca.crt"),
            "--etcd-certfile=" + at("kube-apiserver.crt"), "--etcd-keyfile=" + at("kube-apiserver.key"),
            "--tls-cert-file=" + at("server.crt"), "--tls-private-key-file=" + at("server.key"), "--client-ca-file=" + at("ca.crt"),
            "--token-auth-file=" + at("tokens.csv"), "--authorization-mode=Node,RBAC",
            "--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + at("accounts.pub"),
            "--service-account-signing-key-file=" + at("accounts.key"), "--service-cluster-ip-range=10.96.0.0/16",
            "--requestheader-client-ca-file=" + at("front-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-", "--proxy-client-cert-file=" + at("front.crt"),
            "--proxy-client-key-file=" + at("front.key"), "--audit-policy-file=" + at("audit.json"),
            "--audit-log-path=" + at("audit.log"), "--allow-privileged=true", "--profiling=false",
            "--feature-gates=ListFromCacheSnapshot=false",  # pages come from etcd, so that they end with its compaction
        ],
        "kube-controller-manager": [
            "--kubeconfig=" + at("kube-controller-manager.kubeconfig"), "--authentication-kubeconfig=", "--secure-port=0",
            "--leader-elect=false", "--use-service-account-credentials=true",
            "--service-account-private-key-file=" + at("accounts.key"), "--root-ca-file=" + at("ca.crt"), "--profiling=false",
            "--flex-volume-plugin-dir=" + at("plugins"),
        ],
        "kube-scheduler": [
            "--kubeconfig=" + at("kube-scheduler.kubeconfig"), "--secure-port=0", "--leader-elect=false", "--profiling=false",
        ],
        "kwok": [
            "--kubeconfig=" + at("kwok.kubeconfig"), "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            "--node-ip=127.0.0.1", "--cidr=10.128.0.0/9", "--node-lease-duration-seconds=40",
            "--server-address=127.0.0.1:%d" % ports["kwok"],
        ] + ["--config=" + path for path in sorted(glob.glob(os.path.join(HERE, "stages", "*.yaml")))],
    }
    return {name: [programs[name]] + arguments for name, arguments in wanted.items()}


def _certificate(folder, component):
    return {"client-certificate": os.path.join(folder, component + ".crt"), "client-key": os.path.join(folder, component + ".key")}


def kubeconfig(said, user):
    """A kubeconfig for the lab; ``user`` (dict) has a token or a certificate."""
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {
            "server": "https://127.0.0.1:%d" % said["ports"]["kube-apiserver"],
            "certificate-authority": os.path.join(said["folder"], "ca.crt")}}],
        "users": [{"name": "lab", "user": user}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
    }


def write_pair(folder, name, leaf):
    """A certificate with its chain, and its key."""
    write(folder, name + ".crt", b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    write(folder, name + ".key", leaf.private_key_pem.bytes())


def write(folder, name, content):
    """A file that only its owner reads."""
    handle = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
