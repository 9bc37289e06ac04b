# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gate at handoff: is this the migration that was planned?

At handoff KubeVirt fixes for good which policy and which settings a migration runs with, and which node it goes to; a
moment later the target says at which address it listens (facts 1.10, 5.3, 4.2). Next to nothing has been copied then,
so that a cancel costs nothing.
"""

from __future__ import annotations

import ipaddress
import json
from collections import namedtuple

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import policy, settings
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.migration_network import INTERFACE, STATUS
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import parse_quantity
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    dig,
    labels,
    mapping,
    rows,
    text,
    texts,
)

UNTOLD = "(not told)"  # a policy that nothing is expected of
_BY_KEY = {field.key: field.name for field in settings.FIELDS.values()}

# policy: name, None for "none", or UNTOLD; configuration: {camelCase field: value}, as in migrationConfiguration;
# given: whether the operator said so (else it is what was in force when we began)
Expected = namedtuple("Expected", "policy configuration given")


# -- what is expected ---------------------------------------------------------------


def expected_of(row):
    """What an entry ``{policy, configuration}`` expects; what it leaves out is not compared.

    :raises ValueError: when it cannot be meant.
    """
    if not isinstance(row, dict) or not ("policy" in row or "configuration" in row):
        raise ValueError("it takes policy, configuration or both")
    name, configuration = row.get("policy", UNTOLD), row.get("configuration")
    if not (name is None or isinstance(name, str)):
        raise ValueError("policy is '%s'; it takes a name, or null for none" % (name,))
    if configuration is not None and not isinstance(configuration, dict):
        raise ValueError("configuration is no dictionary")
    said = {"true": True, "false": False}  # what extra vars make of them
    return Expected(name or None, {key: said.get(value.lower(), value) if isinstance(value, str) else value
                                   for key, value in (configuration or {}).items()}, True)


def in_force(vmi, policies, namespaces, values, release):
    """What a migration of this VMI would run with now: ``(its settings {snake_case: value}, :class:`Expected`)``.

    :param policies: MigrationPolicy objects.
    :param namespaces: ``{name: labels}``, None when they could not be read.
    :param values: the settings of the cluster.
    :raises LookupError: when a policy selects by labels of a namespace that could not be read.
    """
    here = None if namespaces is None else namespaces.get(text(vmi, "metadata", "namespace"), {})
    winner = policy.winner(policies, labels(vmi), here)
    found = policy.effective(values, winner) if winner else dict(values)
    name = text(winner, "metadata", "name") or None
    return found, Expected(name, policy.configuration(found, release), False)


def held(values, given):
    """The settings that a hold of ``given`` puts in force: nothing that stops or loses a guest unless it is given."""
    return dict(values, **dict({"allow_post_copy": False, "allow_workload_disruption": False}, **given))


def known(expected):
    """What is expected of the settings that are known here before handoff."""
    return expected._replace(configuration={
        key: value for key, value in expected.configuration.items() if key in _BY_KEY})


# -- what is found --------------------------------------------------------------------


def differences(state, expected):
    """What a migration state has other than expected, as clauses ``X is A instead of B``; empty when all is as planned.

    :param state: ``status.migrationState`` of exactly this migration.
    """
    found = []
    name = text(state, "migrationPolicyName") or None
    if expected.policy != UNTOLD and name != expected.policy:
        found.append("its policy is %s instead of %s" % (name or "none", expected.policy or "none"))
    configuration = mapping(state, "migrationConfiguration")
    for key, wanted in sorted(expected.configuration.items()):
        here = configuration.get(key)
        if not same(key, wanted, here):
            found.append("%s is %s instead of %s" % (key, _shown(here), _shown(wanted)))
    return found


def same(key, one, other):
    """Whether two values of a ``migrationConfiguration`` field do the same (quantities by value, no switch is off)."""
    if one == other:
        return True
    name = _BY_KEY.get(key)
    if name is not None and settings.FIELDS[name].kind != "switch":
        return settings.same(name, one, other) or _same_amount(one, other)
    if isinstance(one, bool) or isinstance(other, bool):
        return bool(one) == bool(other) and not isinstance(one, str) and not isinstance(other, str)
    return _same_amount(one, other)


def _same_amount(one, other):
    try:
        return parse_quantity(one) == parse_quantity(other)
    except ValueError:
        return False


def _shown(value):
    return "not set" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def settings_of(state):
    """The settings a migration runs with, ``{snake_case: value}``; None while they are not known."""
    configuration = mapping(state, "migrationConfiguration")
    return settings.read(configuration) if configuration else None


# -- the network ------------------------------------------------------------------------


def handler_addresses(pods):
    """``{node: [addresses on the migration network]}`` of virt-handler's pods (facts 4.2, 10.12)."""
    found = {}
    for pod in pods:
        node = text(pod, "spec", "nodeName")
        if node and not dig(pod, "metadata", "deletionTimestamp"):
            found.setdefault(node, []).extend(_addresses(pod))
    return found


def _addresses(pod):
    try:
        networks = json.loads(text(pod, "metadata", "annotations", STATUS) or "[]")
    except ValueError:
        return []
    return [address for row in rows({"found": networks}, "found") if text(row, "interface") == INTERFACE
            for address in texts(row, "ips")]


def address_problem(state, addresses, network):
    """Why a migration does not go over the migration network, as a clause; None when it does, or nothing is known yet.

    Without an address there, KubeVirt silently takes the pod network (facts 4.2).

    :param addresses: what :func:`handler_addresses` returned.
    """
    node, address = text(state, "targetNode"), text(state, "targetNodeAddress")
    if not address:
        return None
    own = addresses.get(node) or []
    if _plain(address) in [_plain(one) for one in own]:
        return None
    return "it would be copied to %s, which is not in the migration network %s (virt-handler on %s has %s there)" % (
        address, network, node, ", ".join(own) or "no address")


def _plain(address):
    try:
        return ipaddress.ip_address(address.partition("/")[0])
    except ValueError:
        return address
