# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of other tests for this lab's. What tests get (``site``, ``kubevirt``) is in tests/conftest.py."""

from __future__ import annotations

import os
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
for place in ("contract", "playbooks"):
    sys.path.insert(0, os.path.join(TESTS, place))

import pytest  # noqa: E402
from shell import Operator  # noqa: E402


@pytest.fixture
def operator(tmp_path):
    """Somebody at a shell in an empty folder."""
    return Operator(tmp_path)
