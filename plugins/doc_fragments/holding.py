# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of what modules that hold something take alike."""

from __future__ import annotations


class ModuleDocFragment:
    """See the modules' argument specs."""

    DOCUMENTATION = r"""
options:
  owner:
    description: Who does this, for people who find what was noted in the cluster. By default the user and host that run this.
    type: str
"""
