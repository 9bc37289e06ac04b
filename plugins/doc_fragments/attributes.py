# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What modules promise about check mode, differences and async, where several promise the same."""

from __future__ import annotations


class ModuleDocFragment:
    """See modules that extend C(bigvm.live_migration.attributes.NAME)."""

    # Of modules that read.
    READS = r"""
attributes:
  check_mode:
    support: full
    description: Reads only.
  diff_mode:
    support: none
    description: Changes nothing.
"""

    # Of modules with an action plugin that shows progress while they run.
    ASYNC = r"""
attributes:
  async:
    support: full
    description: Works, without live progress.
"""
