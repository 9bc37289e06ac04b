# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pods that measure a migration network, played: nothing is sent here, and every line they print says that it is simulated.

A pair carries what the slower of its two links does; a single stream no more than STREAM. A packet comes through whole when it fits the
MTU of both ends and of the way between (annotation ``rehearsal.bigvm.io/path-mtu`` on a node).
"""

from __future__ import annotations

import json

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import network_probe, network_render
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.migration_network import NETWORKS, STATUS
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import parse_bytes
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import node_networks
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import attaching, nmstate
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    is_deleted,
    key_of,
    knob,
    phase_of,
)

STREAM = 2.4e9  # bytes/s
SHARE = 0.94  # of the line rate, by headers


class NetworkProbes:
    """Plays every pod with the probe's label."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self.logs = {}  # uid -> what a pod printed
        self._begun = set()
        self.store.on_event("pods", self._pod)

    def log_of(self, pod):
        """What a pod printed, None when it is none of ours."""
        if network_probe.LABEL not in (pod["metadata"].get("labels") or {}):
            return None
        return self.logs.get(pod["metadata"]["uid"], "")

    def _pod(self, kind, pod, old):
        role, uid = (pod["metadata"].get("labels") or {}).get(network_probe.LABEL), pod["metadata"]["uid"]
        if kind == "DELETED":
            self.logs.pop(uid, None)
        elif role and uid not in self._begun and phase_of(pod) == "Running" and not is_deleted(pod):
            self._begun.add(uid)
            self._attach(pod, role, uid)

    def _attach(self, pod, role, uid):
        asked = json.loads(pod["metadata"]["annotations"][NETWORKS])[0]
        attachment = attaching.attachment(self.store, asked["namespace"], asked["name"])
        ip = attaching.address(self.store, attachment)
        rows = [{"name": "ovn-kubernetes", "interface": "eth0", "default": True, "dns": {}},
                {"name": "%(namespace)s/%(name)s" % asked, "interface": asked["interface"], "ips": [ip], "dns": {}}]
        self.store.modify("pods", *key_of(pod), lambda new: new["metadata"]["annotations"].update({STATUS: json.dumps(rows)}))
        if role == "measure":
            arguments = pod["spec"]["containers"][0]["command"][4:]
            seconds, streams, mtu = float(arguments[1]), [int(one) for one in arguments[2].split(",")], int(arguments[3])
            targets = [target.split("=")[0] for target in arguments[4:]]
            config = network_render.configured(attachment)
            self.logs[uid] = "".join(json.dumps(row) + "\n" for row in self._rows(
                pod["spec"]["nodeName"], targets, config, seconds, streams, mtu))
            self.world.after(len(targets) * len(streams) * (seconds + 0.5), lambda: self.world.kubelets.end(key_of(pod), uid, "Succeeded"))

    def _rows(self, source, targets, config, seconds, streams, mtu):
        for target in targets:
            room = min(self._mtu(source, config), self._mtu(target, config))
            whole = {"whole": mtu <= room, "to": target, "mtu": mtu, "simulated": True}
            if mtu > room:
                whole["error"] = "no answer: the packet got lost on the way, there or back"
            yield whole
            link = min(self._link(source), self._link(target))
            for number in streams:
                rate = min(link, number * STREAM)
                yield {"bytes": int(rate * seconds), "seconds": seconds, "to": target, "streams": number, "simulated": True}
        yield {"end": True, "simulated": True}

    def _mtu(self, node, config):
        found = self.store.get("nodes", "", node)
        current = nmstate.current_state(self.store, node)
        return min(int(knob(found, "path-mtu", 65535)), node_networks.effective_mtu(config, current) if current else 65535)

    def _link(self, node):
        return SHARE * parse_bytes(knob(self.store.get("nodes", "", node), "link", "25G")) / 8
