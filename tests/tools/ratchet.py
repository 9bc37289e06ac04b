# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The counts in tests/ratchet may only fall: compared with every value that git ever held."""

from __future__ import annotations

import subprocess
import sys

from places import ROOT

NAME = "tests/ratchet"


def counts(text):
    """``name number`` lines as a dict."""
    return {line.split()[0]: int(line.split()[1]) for line in text.splitlines() if line.strip() and not line.startswith("#")}


def git(*words):
    """git's answer, empty where there is no repository or no such version."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout


def main():
    """1 when a count rose."""
    now = counts((ROOT / NAME).read_text(encoding="utf-8"))
    rose = []
    for commit in git("log", "--format=%H", "--", NAME).split():
        for name, before in counts(git("show", f"{commit}:{NAME}")).items():
            if now.get(name, 0) > before:
                rose.append(f"{name} was {before} in {commit[:10]} and is {now[name]} now; it may only fall")
    print("\n".join(rose) or "no count rose")
    return int(bool(rose))


if __name__ == "__main__":
    sys.exit(main())
