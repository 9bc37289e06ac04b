# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What people write into options of the libvirt modules, as numbers, and refused where it cannot be meant."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import foresight, kvm_move
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import parse_bytes, parse_duration
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.connection import check_uri


def migration_plan(params):
    """The options of libvirt_migrate with durations in seconds and bandwidths in bytes/s.

    :raises BadInput: a value or combination that cannot be meant; nothing was asked yet.
    """
    plan = dict(params)
    if not (params["name"] or "").strip():
        raise BadInput("The option name is empty.", "Name the guest.")
    check_uri(params["destination"].strip())
    for option in ("timeout", "max_pause"):
        plan[option] = number(parse_duration, option, params[option])
    plan["bandwidth"] = number(parse_bytes, "bandwidth", params["bandwidth"])
    if params["connections"] < 1:
        raise BadInput("connections is %d." % params["connections"], "Use 1 or more.")
    if params["max_downtime"] is not None and params["max_downtime"] < 1:
        raise BadInput("max_downtime is %d." % params["max_downtime"], "Give milliseconds.")
    if not params["persistent"] and not params["keep_source"]:
        raise BadInput("With persistent: false and keep_source: false no host would keep the guest's definition.", "Set one of them.")
    for option in ("definition", "kept_definition"):
        if params[option] and (params["networks"] or params["disks"]):
            raise BadInput("%s comes with networks or disks, which change the definition too." % option, "Give one or the other.")
    if params["definition"] and params["persistent"] and not params["kept_definition"]:
        raise BadInput("With definition alone, the target would keep the old definition, and the guest get that one with its next start.",
                       "Give kept_definition as well (from 'virsh dumpxml --inactive'), or persistent: false.")
    if params["definition"] and params["mode"] == "offline":
        raise BadInput("A guest that is shut off does not run with a definition.", "Give kept_definition alone.")
    plan["ladder"] = [_step(step) for step in params["ladder"]]
    problem = kvm_move.ladder_problem(plan["ladder"], params["post_copy"], params["critical"], plan["timeout"])
    if problem:
        raise BadInput("The ladder cannot be meant: %s." % problem, "Correct it.")
    if params["post_copy"] and params["critical"]:
        raise BadInput("A critical guest is not moved by post-copy: when the link fails, it is lost.", "Leave out post_copy.")
    return plan


def _step(step):
    reader = {"downtime": int, "bandwidth": parse_bytes}.get(step["do"])
    value = number(reader, "value of the step %s" % step["do"], step["value"]) if reader else None
    return {"after": number(parse_duration, "after", step["after"]) or 0, "do": step["do"], "value": value}


def link_rate(text, bits=None):
    """``(bytes/s, [assumptions])`` of a bandwidth as written, or of a card's line rate in bits/s; None without either.

    :raises BadInput: it is no bandwidth.
    """
    if text in (None, "") and not bits:
        return None
    try:
        rate, line = foresight.rate_of(text if not bits else "%.6fGbit" % (bits / 1e9))
    except ValueError as exc:
        raise BadInput("bandwidth: '%s' is not understood." % text, "Write it like 2.5G (bytes) or 25Gbit.") from exc
    return rate, ["%d %% of the line rate" % round(100 * foresight.LINE_SHARE)] if line else []


def number(reader, name, text):
    """What a reader makes of an option; None when it is not given.

    :raises BadInput: when it makes nothing of it.
    """
    if text in (None, ""):
        return None
    try:
        found = reader(text)
    except ValueError as exc:
        raise BadInput("%s: '%s' is not understood." % (name, text),
                       "Write durations like 20min, sizes like 2Gi, milliseconds as a number.") from exc
    if found <= 0:
        raise BadInput("%s is %s." % (name, text), "Give more than nothing.")
    return int(found)
