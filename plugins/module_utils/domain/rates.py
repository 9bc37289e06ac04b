# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast guests dirty their memory, from Prometheus: the queries, and what their answers mean.

The metric is there from KubeVirt 1.6 on. virt-handler measures one second at each scrape, in whole MiB (facts 9.2), so a
single value says little: a window of a day holds the savepoints and delta merges of a database. What is absent stays
absent; nothing is guessed.
"""

from __future__ import annotations

import math

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_duration, format_rate
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import dig, mapping, rows, text
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.settings import release_of

METRIC = "kubevirt_vmi_dirty_rate_bytes_per_second"
SINCE = (1, 6)
WINDOW = 86400
# {what is returned: how it is asked}
FIGURES = {
    "p50": "quantile_over_time(0.5, %s)", "p99": "quantile_over_time(0.99, %s)", "max": "max_over_time(%s)",
    "samples": "count_over_time(%s)",
}
# Of the hosts, from the node exporter: the speed of a card and its busiest five minutes now.
_CARDS = 'device!~"(lo|veth|ovn|tap|br|genev|ovs|cali|vxlan|docker|cni|virbr).*"'
CARDS = {
    "speed": "node_network_speed_bytes{%s}" % _CARDS,
    "sent": "rate(node_network_transmit_bytes_total{%s}[5m])" % _CARDS,
    "received": "rate(node_network_receive_bytes_total{%s}[5m])" % _CARDS,
}
FEW = 20  # namespaces that are named in a query; above it all are asked for


def queries(namespaces, window=WINDOW):
    """``{figure: query}`` for the guests of these namespaces."""
    names = sorted(namespaces)
    chosen = '{namespace=~"%s"}' % "|".join(names) if 0 < len(names) <= FEW else ""
    series = "%s%s[%ds]" % (METRIC, chosen, window)
    return {figure: query % series for figure, query in FIGURES.items()}


def by_guest(answers):
    """``{(namespace, name): {p50, p99, max (bytes/s), samples}}`` from ``{figure: data.result of the query}``.

    A guest that moved has a series for each node it was on: the highest of each figure counts, and the samples of all.
    """
    found = {}
    for figure in FIGURES:
        for row in rows(answers, figure):
            labels, value = mapping(row, "metric"), number(row)
            key = text(labels, "namespace"), text(labels, "name")
            if value is None or not all(key):
                continue
            mine = found.setdefault(key, {})
            mine[figure] = value if figure not in mine else mine[figure] + value if figure == "samples" else max(mine[figure], value)
    return {key: dict(figures, samples=int(figures.get("samples", 0)))
            for key, figures in found.items() if all(one in figures for one in ("p50", "p99", "max"))}


def cards(answers, nodes):
    """``{node: {device: {speed, sent, received}}}`` in bytes/s, for nodes that are known; what is not measured is left out."""
    found = {}
    for figure in CARDS:
        for row in rows(answers, figure):
            labels, value = mapping(row, "metric"), number(row)
            names = (text(labels, "node"), text(labels, "instance"), text(labels, "instance").rpartition(":")[0])
            node = next((name for name in names if name and name in nodes), None)
            if value is not None and value >= 0 and node and text(labels, "device"):
                found.setdefault(node, {}).setdefault(text(labels, "device"), {})[figure] = value
    return found


def number(row):
    """The value of one row of an instant query, None when it is none (NaN, +Inf, no pair)."""
    pair = dig(row, "value")
    if not isinstance(pair, list) or len(pair) != 2:
        return None
    try:
        value = float(pair[1])
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def rate_lines(found, release, vms):
    """What was found, for people.

    :param found: ``{source, window, guests: {namespace/name: as by_guest returns}, failure}``.
    :param vms: the rows of the verdict.
    """
    if found["failure"]:
        return ["dirty rates: not known, Prometheus cannot be asked (%s)" % found["failure"]]
    if not found["guests"]:
        early = (release_of(release) or SINCE) < SINCE
        return ["dirty rates: not known, %s" % ("KubeVirt measures them from 1.6 on" if early else
                                                "Prometheus has no %s" % METRIC)]
    lines = ["dirty rates of the last %s (half the time / 99 %% of it / at most)"
             % format_duration(found["window"])]
    for vm in sorted(vms, key=lambda row: -(row.get("memory_bytes") or 0))[:10]:
        name = "%s/%s" % (vm["namespace"], vm["name"])
        rate = found["guests"].get(name)
        lines.append(("  %s: %s" % (name, "not measured" if rate is None else " / ".join(
            format_rate(rate[figure]) for figure in ("p50", "p99", "max"))))[:78])
    return lines
