# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the option uri, shared by the modules that read a KVM host."""

from __future__ import annotations


class ModuleDocFragment:
    """See the modules' argument specs."""

    DOCUMENTATION = r"""
options:
  uri:
    description: The connection of the host. By default the host that the module runs on.
    type: str
"""
