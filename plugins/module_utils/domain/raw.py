# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading raw API objects that may lack a field, hold null or something odd: never an exception."""

from __future__ import annotations

from decimal import ROUND_CEILING
from functools import lru_cache

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import parse_quantity

CREATED_BY = "kubevirt.io/created-by"  # pod label: uid of the VMI it belongs to
MIGRATION_JOB = "kubevirt.io/migrationJobUID"  # pod label: uid of the VMIM that made it as a target
LAUNCHER = "virt-launcher"  # value of the pod label kubevirt.io


def dig(obj, *path):
    """What is found by walking down dictionaries; None as soon as a step is missing or no dictionary."""
    for part in path:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(part)
    return obj


def mapping(obj, *path):
    """A dictionary at that path, else ``{}``."""
    found = dig(obj, *path)
    return found if isinstance(found, dict) else {}


def rows(obj, *path):
    """The dictionaries of a list at that path, else ``[]``."""
    found = dig(obj, *path)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def texts(obj, *path):
    """The strings of a list at that path, else ``[]``."""
    found = dig(obj, *path)
    return [row for row in found if isinstance(row, str)] if isinstance(found, list) else []


def text(obj, *path):
    """A string at that path, else ``""``."""
    found = dig(obj, *path)
    return found if isinstance(found, str) else ""


def labels(obj):
    """``metadata.labels``, strings only."""
    return {key: value for key, value in mapping(obj, "metadata", "labels").items() if isinstance(value, str)}


def key_of(obj):
    """``(namespace, name)``."""
    return text(obj, "metadata", "namespace"), text(obj, "metadata", "name")


def condition(obj, kind):
    """The condition of that type, else ``{}``."""
    return next((row for row in rows(obj, "status", "conditions") if row.get("type") == kind), {})


def amount(value, scale=1):
    """A quantity as a whole number of ``1/scale`` units, rounded up; None when it is no quantity."""
    return _amount(value, scale) if isinstance(value, (str, int, float)) else None


@lru_cache(maxsize=4096, typed=True)  # typed: True is not 1
def _amount(value, scale):
    try:
        return int((parse_quantity(value) * scale).to_integral_value(ROUND_CEILING))
    except ValueError:
        return None
