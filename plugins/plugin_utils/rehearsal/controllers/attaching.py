# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What multus and the CNI plug-ins do for a pod with a further network: find the definition, attach, hand out an address."""

from __future__ import annotations

import json

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import network_render
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.migration_network import STATUS
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import node_networks
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import nmstate

DEFINITIONS = "network-attachment-definitions.k8s.cni.cncf.io"


def attachment(store, namespace, name):
    """The NetworkAttachmentDefinition, or None."""
    return store.get(DEFINITIONS, namespace, name) if DEFINITIONS in store.resources else None


def problem(store, namespace, name, node):
    """Why a pod on that node cannot be attached, in the words of its event; None when it can."""
    found = attachment(store, namespace, name)
    if found is None:
        return "cannot find a network-attachment-definition (%s) in namespace (%s)" % (name, namespace)
    config, current = network_render.configured(found), nmstate.current_state(store, node)
    why = node_networks.refusal(config, current) if current else None
    if why is None:
        try:
            address(store, found)
        except node_networks.Failed as exc:
            why = str(exc)
    return why and 'error adding container to network "%s": %s' % (name, why)


def address(store, found):
    """The lowest free address of an attachment; None without a range.

    :raises Failed: none is free.
    """
    taken = set()
    for pod in store.list("pods", found["metadata"]["namespace"]):
        try:
            rows = json.loads((pod["metadata"].get("annotations") or {}).get(STATUS) or "[]")
        except ValueError:
            continue
        taken.update(ip for row in rows if not row.get("default") for ip in row.get("ips") or [])
    return node_networks.lease(network_render.configured(found), taken)
