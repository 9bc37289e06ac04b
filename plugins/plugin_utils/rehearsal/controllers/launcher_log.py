# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""pods/log of virt-launcher: what the source's monitor writes about every 4 seconds (facts 4.7, measurements A6).

Nothing is stored. The lines are worked out when somebody reads them, from the
copy itself, which can say how it stood at any time. A follower gets new lines
when somebody waits on the clock; they never end that wait.
"""

from __future__ import annotations

import json
import math

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.clock import from_timestamp, to_timestamp
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import status
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import is_active
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.wire import Stream

PATH = "^/api/v1/namespaces/(?P<ns>[^/]+)/pods/(?P<name>[^/]+)/log$"
EVERY = 4.0  # seconds: each tenth poll of the monitor
MIB = 1024 ** 2
NEVER = float("-inf")


class LauncherLog:
    """The pods/log endpoint."""

    def __init__(self, world, handlers):
        self.world = world
        self.store = world.store
        self.handlers = handlers
        self._followers = []

    def routes(self, app):
        """Add the path; followers are brought up to date before a wait on the clock is answered."""
        app.route("GET", PATH, self._log)
        app.before_answer(self.flush)

    def _log(self, request):
        pod = self.store.get("pods", request.groups["ns"], request.groups["name"])
        if pod is None:
            raise status.not_found(self.store.resource("pods"), request.groups["name"])
        container = request.query.get("container")
        known = [entry["name"] for entry in pod["spec"].get("containers") or []]
        if container and container not in known:
            raise status.bad_request("container %s is not valid for pod %s" % (container, pod["metadata"]["name"]))
        if not any("waiting" not in (row.get("state") or {}) for row in pod["status"].get("containerStatuses") or []):
            raise status.bad_request('container "%s" in pod "%s" is waiting to start: ContainerCreating' % (
                container or (known or [""])[0], pod["metadata"]["name"]))
        probe = self.world.network_probes.log_of(pod)
        if probe is not None:
            return 200, probe
        query = request.query
        reader = _Reader(self, pod, query.get("timestamps") in ("true", "1", "True"), self._since(query))
        lines = reader.news()
        if query.get("tailLines") is not None:
            count = _number(query["tailLines"], "tailLines")
            lines = lines[len(lines) - min(count, len(lines)):]
        text = "".join(lines)
        if query.get("limitBytes"):
            text = text.encode()[:_number(query["limitBytes"], "limitBytes")].decode(errors="ignore")
        if query.get("follow") not in ("true", "1", "True"):
            return 200, text
        stream = Stream("text/plain", wakes=False)
        stream.on_close = lambda: self._followers.remove(entry)
        entry = (stream, reader)
        self._followers.append(entry)
        stream.write(text)
        return 200, stream

    def _since(self, query):
        if query.get("sinceSeconds"):
            return self.world.now() - _number(query["sinceSeconds"], "sinceSeconds")
        if query.get("sinceTime"):
            try:
                return from_timestamp(query["sinceTime"]) - 0.5
            except Exception as exc:
                raise status.bad_request("sinceTime is no RFC 3339 time: %s" % query["sinceTime"]) from exc
        return NEVER

    def flush(self):
        """Give every follower what was written since it last got something."""
        for stream, reader in list(self._followers):
            for line in reader.news():
                stream.write(line)
            if reader.over():
                stream.close()

    def jobs_of(self, pod):
        """The copies whose source this pod is, oldest first."""
        name, ns = pod["metadata"]["name"], pod["metadata"]["namespace"]
        found = [job for job in self.handlers.jobs.values()
                 if job.source_pod == name and job.vmi["metadata"]["namespace"] == ns]
        return sorted(found, key=lambda job: job.start)


class _Reader:
    """One reader's place in the log of one pod."""

    def __init__(self, log, pod, timestamps, since):
        self.log, self.pod, self.timestamps = log, pod, timestamps
        self.position = since

    def news(self):
        """The lines after the position, up to now (list of str)."""
        now, lines = self.log.world.now(), []
        for job in self.log.jobs_of(self.pod):
            lines += _lines(job, self.position, min(now, job.finished if job.outcome else now))
        self.position = now
        return [(_stamp(when) if self.timestamps else "") + text + "\n" for when, text in sorted(lines)]

    def over(self):
        """Whether the pod has ended and nothing more can come."""
        pod = self.log.store.get("pods", self.pod["metadata"]["namespace"], self.pod["metadata"]["name"])
        return pod is None or pod["metadata"]["uid"] != self.pod["metadata"]["uid"] or not is_active(pod)


def _stamp(when):
    return to_timestamp(when)[:-1] + ".%09dZ " % (when % 1 * 1e9)


def _lines(job, after, until):
    """``(time, text)`` of a copy's lines with ``after < time <= until``."""
    if until <= after:
        return []
    first = 1 if after == NEVER else max(1, int(math.floor((after - job.start) / EVERY)) + 1)
    last = int(math.floor((until - job.start) / EVERY + 1e-9))
    times = [job.start + number * EVERY for number in range(first, last + 1)]
    found = [(when, _message(job, info_line(job, when))) for when in times]
    if after < job.start:
        found.insert(0, (job.start, _message(job, "Live migration started for uid %s" % job.uid)))
    if job.outcome == "completed" and after < job.finished <= until:
        found.append((job.finished, _message(job, "Migration has been completed")))
    return [entry for entry in found if entry[0] > after]


def _message(job, text):
    meta = job.vmi["metadata"]
    return json.dumps({"component": "virt-launcher", "kind": "", "level": "info", "msg": text, "name": meta["name"],
                       "namespace": meta["namespace"], "pos": "live-migration-source.go", "uid": meta["uid"]},
                      separators=(",", ":"))


def info_line(job, when):
    """The statistics line of one poll; rates are decimal megabits per second."""
    state = job.run.state(when)
    rate = state["bandwidth"] * 8 / 1e6
    fields = (
        ("TimeElapsed", 1000 * state["elapsed"], "ms"),
        ("DataProcessed", state["processed"] / MIB, "MiB"), ("DataRemaining", state["remaining"] / MIB, "MiB"),
        ("DataTotal", state["total"] / MIB, "MiB"), ("MemoryProcessed", state["memory_processed"] / MIB, "MiB"),
        ("MemoryRemaining", state["memory_remaining"] / MIB, "MiB"),
        ("MemoryTotal", state["memory_total"] / MIB, "MiB"),
        ("MemoryBandwidth", rate, "Mbps"), ("DirtyRate", state["dirty_rate"] * 8 / 1e6, "Mbps"),
        ("Iteration", state["iteration"], ""), ("PostcopyRequests", 0, ""),
        ("ConstantPages", state["constant_pages"], ""), ("NormalPages", state["normal_pages"], ""),
        ("NormalData", state["normal_pages"] * 4096 / MIB, "MiB"),
        ("ExpectedDowntime", 1000 * state["expected_downtime"], "ms"),
        ("DiskMbps", rate if state["disk_remaining"] > 0 else 0, ""),
    )
    return "Migration info for %s: %s" % (job.uid, " ".join("%s:%d%s" % (name, value + 1e-6, unit)
                                                            for name, value, unit in fields))


def _number(text, name):
    try:
        value = int(text)
        if value < 0:
            raise ValueError
        return value
    except ValueError as exc:
        raise status.bad_request('Invalid value: "%s": %s must be a number from 0 on' % (text, name)) from exc
