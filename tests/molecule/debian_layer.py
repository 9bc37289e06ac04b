# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Debian packages bring, as a folder in the cache: a layer for overlays. The machine itself stays as it is."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(os.environ.get("BIGVM_CACHE") or Path.home() / ".cache" / "bigvm")
PROGRAMS = ["apt-get", "unshare", "nsenter", "mount", "chroot", "setpriv"]
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
BUILD = """set -e
d="$1"; shift
mount -t tmpfs tmpfs "$d"; mkdir "$d/u" "$d/w" "$d/m"
mount -t overlay overlay -o "lowerdir=/,upperdir=$d/u,workdir=$d/w" "$d/m"
mount -t proc proc "$d/m/proc"; mount --rbind /dev "$d/m/dev"; mount -t tmpfs tmpfs "$d/m/run"
printf '#!/bin/sh\\nexit 101\\n' > "$d/m/usr/sbin/policy-rc.d"; chmod 755 "$d/m/usr/sbin/policy-rc.d"
run() { chroot "$d/m" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root "$@"; }
run update
run install -y --no-install-recommends "$@"
if [ -n "$NEWER" ]; then
  place=/tmp/newer; mkdir -p "$d/m$place/lists/partial" "$d/m$place/parts" "$d/m$place/debs"
  uri=$(. /etc/os-release; chroot "$d/m" apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Codename: $VERSION_CODENAME")
  printf 'Types: deb\\nURIs: %s\\nSuites: %s\\nComponents: main\\nSigned-By: %s\\n' "$(echo "$uri" | head -1)" "$SUITE" \
    /usr/share/keyrings/debian-archive-keyring.gpg > "$d/m$place/parts/newer.sources"
  from="-o Dir::Etc::SourceParts=$place/parts -o Dir::Etc::SourceList=/dev/null -o Dir::State::Lists=$place/lists"
  run $from update
  chroot "$d/m" sh -c "cd $place/debs && apt-get -q -o APT::Sandbox::User=root $from download $NEWER"
  for name in $NEWER; do  # no file of the older one stays
    chroot "$d/m" dpkg -L "$name" | while read -r path; do [ ! -f "$d/m$path" ] || rm "$d/m$path"; done
  done
  for deb in "$d/m$place"/debs/*.deb; do chroot "$d/m" dpkg-deb -x "${deb#"$d/m"}" /; done
fi
rm -rf "$d/u/var/lib/apt/lists" "$d/u/var/cache/apt" "$d/u/usr/sbin/policy-rc.d" "$d/u/tmp"
cp -a "$d/u/." "$LAYER"
"""


def why_not(what):
    """What is missing for ``what``, as a sentence, or an empty text."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "%s needs root on Linux (namespaces, an overlay)" % what
    missing = [name for name in PROGRAMS if not shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":" + PATH)]
    if missing:
        return "%s needs the programs %s (Debian)" % (what, ", ".join(missing))
    probe = subprocess.run(["unshare", "--mount", "--pid", "--ipc", "--fork", "sh", "-c", (
        "set -e; d=$(mktemp -d); trap 'rmdir $d' EXIT; mount -t tmpfs t $d; mkdir $d/u $d/w $d/m;"
        "mount -t overlay o -o lowerdir=/,upperdir=$d/u,workdir=$d/w $d/m; umount $d/m; umount $d")],
        capture_output=True, text=True, check=False)
    return "" if probe.returncode == 0 else "%s needs an overlay over /: %s" % (what, probe.stderr.strip()[-200:])


def layer(packages, files=(), newer=(), suite="trixie"):
    """The folder with what the packages bring and ``files`` (``{path: text}``, executable), made once.

    :param newer: packages of a later release that are unpacked over the same ones, of programs that do not mind.
    """
    files = dict(files)
    key = json.dumps([packages, BUILD, files, newer, suite])
    place = CACHE / ("guest-layer-" + hashlib.sha256(key.encode()).hexdigest()[:12])
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".guest-layer.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            _make(place, packages, files, newer, suite)
    return place / "files"


def _make(place, packages, files, newer, suite):
    print("installing %s into %s (once)" % (" ".join([*packages, *newer]), place), file=sys.stderr, flush=True)
    shutil.rmtree(place, ignore_errors=True)
    for name in ("files", "work"):
        (place / name).mkdir(parents=True)
    command = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", BUILD, "build", str(place / "work"), *packages]
    variables = dict(os.environ, LAYER=str(place / "files"), PATH=PATH, NEWER=" ".join(newer), SUITE=suite)
    done = subprocess.run(command, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    if done.returncode:
        raise SystemExit("The packages could not be installed:\n" + done.stdout[-2000:])
    for path, text in files.items():
        script = place / "files" / path.lstrip("/")
        script.parent.mkdir(parents=True, exist_ok=True)
        if script.is_symlink():
            script.unlink()
        script.write_text(text, encoding="utf-8")
        script.chmod(0o755)
    (place / "complete").touch()
