# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the collection's playbooks as an operator does, on an embedded cluster of the test's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from shell import Operator


@pytest.fixture
def operator(tmp_path):
    """Somebody at a shell in an empty folder."""
    return Operator(tmp_path)


@pytest.fixture
def oldest(tmp_path):
    """The same person with the oldest ansible-core that we promise."""
    place = os.environ.get("BIGVM_OLDEST")
    if not place:
        pytest.skip("BIGVM_OLDEST does not name an environment with the oldest ansible-core (this Python is too new for it)")
    return Operator(tmp_path, Path(place) / "bin" / "python")
