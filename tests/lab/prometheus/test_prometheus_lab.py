# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Dirty rates from a real Prometheus (Debian's) that scrapes an exporter of ours as it would scrape virt-handler."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import prometheus
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import rates

MIB = 1 << 20
SCRAPES = 10
CONFIG = """
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
  - {job_name: exporter, static_configs: [{targets: ['127.0.0.1:%d']}]}
"""


def program(folder):
    """Debian's prometheus: the installed one, or the package's unpacked in the cache; skips where neither can be had."""
    found = shutil.which("prometheus")
    place = Path(os.environ.get("BIGVM_CACHE") or Path.home() / ".cache" / "bigvm") / "prometheus"
    if not found and not (place / "usr/bin/prometheus").is_file():
        try:
            subprocess.run(["apt-get", "download", "prometheus"], cwd=folder, check=True, capture_output=True, timeout=120)
            place.mkdir(parents=True, exist_ok=True)
            subprocess.run(["dpkg-deb", "-x", str(next(folder.glob("prometheus_*.deb"))), str(place)], check=True, timeout=120)
        except (OSError, subprocess.SubprocessError, StopIteration) as exc:
            pytest.skip("the Debian package prometheus cannot be had (%s)" % exc)
    return found or str(place / "usr/bin/prometheus")


class Exporter(http.server.BaseHTTPRequestHandler):
    """virt-handler's metric: ``sap/hana`` with a burst now and then, ``sap/app`` moved, ``sap/odd`` without a number."""

    seen = 0

    def do_GET(self):
        """One scrape."""
        Exporter.seen += 1
        rows = {
            '{namespace="sap",name="hana",node="w1",kubernetes_vmi_label_app="x"}': 900 * MIB if Exporter.seen == 5 else 50 * MIB,
            '{namespace="sap",name="app",node="%s"}' % ("w1" if Exporter.seen < 4 else "w2"): 7 * MIB,
            '{namespace="sap",name="odd",node="w1"}': "NaN",
            '{namespace="apps",name="elsewhere",node="w1"}': MIB,
        }
        text = "# TYPE %s gauge\n" % rates.METRIC + "".join("%s%s %s\n" % (rates.METRIC, key, rows[key]) for key in rows)
        text += 'node_network_speed_bytes{node="w1",device="eno1"} 1.25e+10\nnode_network_speed_bytes{node="w1",device="lo"} 1\n'
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        """Quiet."""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a Prometheus that has scraped ours some times."""
    folder = tmp_path_factory.mktemp("prometheus")
    binary = program(folder)
    exporter = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    threading.Thread(target=exporter.serve_forever, daemon=True).start()
    (folder / "prometheus.yml").write_text(CONFIG % exporter.server_address[1])
    address = "127.0.0.1:%d" % free_port()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [binary, "--config.file=%s" % (folder / "prometheus.yml"), "--storage.tsdb.path=%s" % (folder / "data"),
             "--web.listen-address=" + address], stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while Exporter.seen <= SCRAPES and time.monotonic() < end and process.poll() is None:
            time.sleep(0.2)
        assert Exporter.seen > SCRAPES, (folder / "log").read_text()[-2000:]
        yield "http://" + address
    finally:
        process.terminate()
        process.wait(30)
        exporter.shutdown()
        exporter.server_close()


class NoCluster:
    """An API server elsewhere, whose token is nobody else's business."""

    host = "https://api.example:6443"

    @staticmethod
    def token():
        """Not to be asked for."""
        raise AssertionError("the API server's token was sent to another server")


def guest(namespace, name):
    return {"metadata": {"namespace": namespace, "name": name}}


INVENTORY = {"vmis": [guest("sap", name) for name in ("hana", "app", "odd", "gone")], "nodes": [{"metadata": {"name": "w1"}}]}


def test_p50_p99_and_max_of_a_real_prometheus(server):
    found = prometheus.measured(NoCluster, {"url": server}, 60, INVENTORY)
    assert found["failure"] is None and found["source"] == server
    hana = found["guests"]["sap", "hana"]
    assert hana["p50"] == 50 * MIB and hana["max"] == 900 * MIB and hana["p50"] < hana["p99"] <= hana["max"]
    assert SCRAPES <= hana["samples"] <= Exporter.seen
    moved = found["guests"]["sap", "app"]
    assert moved["p50"] == moved["max"] == 7 * MIB and moved["samples"] >= SCRAPES  # of both nodes together
    assert set(found["guests"]) == {("sap", "hana"), ("sap", "app")}  # NaN and nothing are both absent
    assert found["cards"] == {"w1": {"eno1": {"speed": 1.25e10}}}


def test_a_window_without_scrapes_is_absent_and_a_bad_query_is_named(server):
    assert prometheus.measured(NoCluster, {"url": server}, 60, {"vmis": [guest("other", "vm")], "nodes": []})["guests"] == {}
    with pytest.raises(prometheus.Unanswered, match="answered 400"):
        prometheus.ask({"url": server}, "quantile_over_time(")
    wrong = prometheus.measured(NoCluster, {"url": server + "/not/here"}, 60, INVENTORY)
    assert "answered 404" in wrong["failure"] and wrong["guests"] == {}
