# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that several cluster modules share; the doc fragment assumed_settings documents them."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import settings
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import parse_duration

_TYPES = {"limit": "int", "seconds": "int", "switch": "bool", "bandwidth": "str", "name": "str"}


def settings_options():
    """The nine live migration settings as an argument spec."""
    return {name: dict(type=_TYPES[field.kind]) for name, field in settings.FIELDS.items()}


def assumed_settings(given):
    """The option ``settings``: the fields that are given.

    :raises BadInput: a value that the field cannot take.
    """
    wrong = settings.problems(given or {})
    if wrong:
        raise BadInput("The option settings cannot be meant: %s." % "; ".join(wrong), "Correct it.")
    return {name: value for name, value in (given or {}).items() if value is not None}


def duration(params, name):
    """Seconds of an option such as ``4h``; None when it is not given.

    :raises BadInput: when it is no duration, or none at all.
    """
    text = params[name]
    if not text:
        return None
    try:
        seconds = parse_duration(text)
    except ValueError as exc:
        raise BadInput("%s: %s." % (name, exc), "Write it like 14400, 90min or 4h.") from exc
    if not seconds:
        raise BadInput("%s is %s." % (name, text), "It takes more than no time.")
    return seconds
