# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the lock anew: resolve tests/requirements.in in an empty environment and pin all that came."""

from __future__ import annotations

import subprocess
import tempfile
import venv

from places import ROOT

HEAD = "# The lock: what make installs, exactly. Written by 'make lock' from tests/requirements.in."


def main():
    """Resolve, freeze, write."""
    python, _identity = venv.base_python()
    with tempfile.TemporaryDirectory() as work:
        subprocess.run([python, "-m", "venv", work], check=True)
        pip = [f"{work}/bin/python", "-m", "pip", "--disable-pip-version-check"]
        subprocess.run(pip + ["install", "-q", "-r", str(ROOT / "tests" / "requirements.in")], check=True)
        frozen = subprocess.run(pip + ["freeze"], check=True, capture_output=True, text=True).stdout
    lines = sorted((line for line in frozen.splitlines() if "==" in line), key=str.lower)
    venv.LOCK.write_text("\n".join([HEAD] + lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} packages pinned in {venv.LOCK.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
