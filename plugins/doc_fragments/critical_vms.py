# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the option critical, shared by the modules that judge or move VMs."""

from __future__ import annotations


class ModuleDocFragment:
    """See the modules' argument specs."""

    DOCUMENTATION = r"""
options:
  critical:
    description: VMs that are critical beside those that are by themselves, as C(namespace/name) or C(name).
    type: list
    elements: str
    default: []
"""
