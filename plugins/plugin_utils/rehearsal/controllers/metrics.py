# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Prometheus query endpoint with KubeVirt's migration metrics, under the names of the release (facts 9.1-9.3).

Understood is a plain selector (``name{label="value",other=~"re"}``), alone or in
``max_over_time(...[5m])``, ``avg_over_time``, ``count_over_time`` and ``quantile_over_time(0.99, ...[5m])``. Without a
name, ``{__name__=~"re"}`` selects among the metrics of running migrations.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.target_pod import quantity
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    VMI,
    VMIM,
    knob,
    phase_of,
)

PATH = "^/bigvm/v1/prometheus/api/v1/query$"
SAMPLE = 5.0  # seconds between virt-handler's samples of a running migration
SCRAPE = 30  # seconds between two scrapes
MIB = 1024 ** 2
QUERY = re.compile(r"^\s*(?:(?P<over>(?:max|avg|count|quantile)_over_time)\s*\(\s*(?:(?P<share>0?\.\d+|[01])\s*,)?)?"
                   r"\s*(?P<name>[a-zA-Z_:][\w:]*)?\s*(?:\{(?P<labels>[^}]*)\})?\s*(?:\[(?P<range>\d+)(?P<unit>[smhd])\])?\s*\)?\s*$")
LABEL = re.compile(r'\s*(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*')
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
IN_PHASE = {"pending": ("Pending",), "scheduling": ("Scheduling",), "unset": ("",),
            "running": ("Scheduled", "PreparingTarget", "TargetReady", "Running")}


class Metrics:
    """The query endpoint."""

    def __init__(self, world, handlers):
        self.world = world
        self.store = world.store
        self.handlers = handlers

    def routes(self, app):
        """Add the path."""
        app.route("GET", PATH, lambda request: self.answer(request.query.get("query", "")))
        app.route("POST", PATH, lambda request: self.answer(dict(parse_qsl(request.body.decode())).get("query", "")))

    def answer(self, query):
        """``(status, body)`` in Prometheus' form."""
        match = QUERY.match(query)
        if not match or bool(match["over"]) != bool(match["range"]) or \
                (match["over"] == "quantile_over_time") != bool(match["share"]):
            return 400, {"status": "error", "errorType": "bad_data", "error": "cannot parse the query: %s" % query}
        selects = _selector(match["labels"] or "")
        now, seconds = self.world.now(), int(match["range"] or 0) * UNITS[match["unit"] or "s"]
        result = []
        for name in [match["name"]] if match["name"] else self._names():
            for labels, value in self.samples(name, now, match["over"], seconds, float(match["share"] or 0)):
                if selects(dict(labels, __name__=name)):
                    labels = labels if match["over"] else dict(labels, __name__=name)
                    result.append({"metric": labels, "value": [now, "%.17g" % value]})
        return 200, {"status": "success", "data": {"resultType": "vector", "result": result}}

    def samples(self, name, now, over=None, seconds=0, share=0.0):
        """``(labels, value)`` of every series of a metric; ``share`` is the quantile's."""
        generation, running = self.world.generation, self._names()
        if name in running:
            yield from self._running(running[name], now, over, seconds, share)
        elif name == "kubevirt_vmi_dirty_rate_bytes_per_second" and generation.dirty_rate_metric:
            for labels, value in self._dirty_rates():  # the same at every scrape
                yield labels, seconds // SCRAPE if over == "count_over_time" else value
        elif name.startswith("kubevirt_vmi_migrations_in_") and name.endswith("_phase"):
            phases = IN_PHASE.get(name[len("kubevirt_vmi_migrations_in_"):-len("_phase")])
            if phases is not None and (generation.unset_phase_metric or phases != ("",)):
                yield {}, sum(1 for vmim in self.store.list(VMIM) if phase_of(vmim) in phases)
        elif name in ("kubevirt_vmi_migration_succeeded", "kubevirt_vmi_migration_failed"):
            for vmim in self.store.list(VMIM):
                if phase_of(vmim) == name.rsplit("_", 1)[1].capitalize():
                    yield {"vmi": vmim["spec"]["vmiName"], "vmim": vmim["metadata"]["name"],
                           "namespace": vmim["metadata"]["namespace"]}, 1

    def _names(self):
        """``{metric of a running migration: key in the state of a copy}`` in this release."""
        known = {
            "kubevirt_vmi_migration_data_processed_bytes": "processed",
            "kubevirt_vmi_migration_data_remaining_bytes": "remaining",
            "kubevirt_vmi_migration_dirty_memory_rate_bytes": "dirty_rate",
            self.world.generation.transfer_metric: "bandwidth", self.world.generation.total_metric: "total",
        }
        return {name: field for name, field in known.items() if name}

    def _running(self, field, now, over, seconds, share):
        """Only while a copy runs, from its first sample on."""
        for job in self.handlers.jobs.values():
            last = min(now, job.finished) if job.outcome is not None else now
            if (job.outcome is not None and not over) or last < now - seconds or now - job.start < SAMPLE:
                continue
            meta = job.vmi["metadata"]
            labels = {"namespace": meta["namespace"], "name": meta["name"], "node": job.source}
            times = [last - (last - job.start) % SAMPLE]
            while over and times[-1] - SAMPLE >= max(now - seconds, job.start + SAMPLE) and len(times) < 2000:
                times.append(times[-1] - SAMPLE)
            values = [job.run.state(when)[field] for when in times]
            yield labels, _over(over, sorted(values), share)

    def _dirty_rates(self):
        """One sampled second each, whole MiB; not for guests that are being moved."""
        busy = {(job.vmi["metadata"]["namespace"], job.vmi["metadata"]["name"])
                for job in self.handlers.jobs.values() if job.outcome is None}
        for vmi in self.store.list(VMI):
            meta = vmi["metadata"]
            if phase_of(vmi) != "Running" or (meta["namespace"], meta["name"]) in busy:
                continue
            labels = {"namespace": meta["namespace"], "name": meta["name"], "node": vmi["status"].get("nodeName", "")}
            labels.update({"kubernetes_vmi_label_" + re.sub(r"\W", "_", key): value
                           for key, value in (meta.get("labels") or {}).items()})
            yield labels, quantity(knob(vmi, "dirty-rate", "0")) // MIB * MIB


def _over(over, values, share):
    """A window's sorted values as one."""
    if over == "quantile_over_time":
        place = share * (len(values) - 1)
        low = int(place)
        return values[low] + (values[min(low + 1, len(values) - 1)] - values[low]) * (place - low)
    return {"avg_over_time": sum(values) / len(values), "count_over_time": len(values)}.get(over, values[-1])


def _selector(text):
    rules = [match.groups() for match in LABEL.finditer(text)]

    def selects(labels):
        for key, operator, wanted in rules:
            value = str(labels.get(key, ""))
            equal = bool(re.fullmatch(wanted, value)) if "~" in operator else value == wanted.replace('\\"', '"')
            if equal == operator.startswith("!"):
                return False
        return True

    return selects
