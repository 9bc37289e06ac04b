# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that describe a migration network; the doc fragment migration_network documents them."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import BadInput
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import network_request

_BOND = dict(
    name=dict(type="str", default="bond-migration"), ports=dict(type="list", elements="str", required=True),
    mode=dict(type="str", default="active-backup"), miimon=dict(type="int", default=100))
_GROUP = dict(
    nic=dict(type="str"), bond=dict(type="dict", options=_BOND), node_selector=dict(type="dict", default={}),
    policy=dict(type="str"))
_BRIDGE = dict(
    type=dict(type="str", choices=list(network_request.BRIDGES)), name=dict(type="str", default="br-migration"),
    localnet=dict(type="str"))
REQUEST = dict(
    name=dict(type="str", default="migration-network"), namespace=dict(type="str"),
    nodes=dict(type="list", elements="dict", options=_GROUP, default=[]), mtu=dict(type="int", default=9000),
    vlan=dict(type="int"), vlan_name=dict(type="str"), bridge=dict(type="dict", options=_BRIDGE),
    attachment_type=dict(type="str", choices=list(network_request.ATTACHMENTS)),
    macvlan_mode=dict(type="str", choices=["bridge", "private", "vepa", "passthru"], default="bridge"),
    range=dict(type="str"), range_start=dict(type="str"), range_end=dict(type="str"),
    exclude=dict(type="list", elements="str", default=[], aliases=["excludeSubnets"]),
    max_unavailable=dict(type="str", default="1"),
)
ACKNOWLEDGE = dict(type="list", elements="str", choices=["adopt", "addresses"], default=[])


def wanted(task):
    """The request of a task's options, complete; what was put right is warned about.

    :raises BadInput: with everything that is wrong with it.
    """
    asked = {name: task.params[name] for name in REQUEST}
    if "excludeSubnets" in task.params:  # the alias keeps its own name beside the option's
        asked["exclude"], asked["excludeSubnets"] = [], task.params["excludeSubnets"]
    found, wrong, put_right = network_request.complete(asked)
    if wrong:
        raise BadInput("The migration network %s cannot be meant: %s." % (found["name"], "; ".join(wrong)), "Nothing was changed.")
    for said in put_right:
        task.warn(said)
    return found
