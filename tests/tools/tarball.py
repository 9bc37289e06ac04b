# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build the collection as Galaxy would get it, into .build/dist, and list what is in it."""

from __future__ import annotations

import subprocess
import tarfile

from places import BUILD, TREE

DIST = BUILD / "dist"


def main():
    """Build, list."""
    DIST.mkdir(parents=True, exist_ok=True)
    for old in DIST.glob("*.tar.gz"):
        old.unlink()
    subprocess.run(["ansible-galaxy", "collection", "build", "--output-path", str(DIST), str(TREE)], check=True)
    archive = next(DIST.glob("*.tar.gz"))
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getmembers(), key=lambda member: member.name):
            if member.isfile():
                print(f"{member.size:>9}  {member.name}")
    print(f"{archive.stat().st_size:>9}  bytes in {archive.name}")


if __name__ == "__main__":
    main()
