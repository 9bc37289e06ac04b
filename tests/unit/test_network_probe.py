# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""domain/network_probe.py: the pods, what they print, what it means; and the script itself, run for real."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import foresight, network_probe
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.network_probe_script import SCRIPT

LOG = """{"whole": true, "to": "b", "mtu": 9000}
{"bytes": 12000000000, "seconds": 5.0, "to": "b", "streams": 1}
{"bytes": 55000000000, "seconds": 5.0, "to": "b", "streams": 8}
WARNING: something else
{"whole": false, "error": "[Errno 90] Message too long", "to": "c", "mtu": 9000}
{"error": "timed out", "to": "c", "streams": 1}
"""


def test_pods_ask_for_no_more_rights_than_any_pod():
    pod = network_probe.pod("serve", "a", "mig", "cnv", "image", network_probe.serving(60), 120)
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"] and spec["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not spec["automountServiceAccountToken"] and spec["activeDeadlineSeconds"] == 120 and spec["nodeName"] == "a"
    assert json.loads(pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"]) == [
        {"name": "mig", "namespace": "cnv", "interface": "probe0"}]
    assert spec["containers"][0]["command"][3:] == ["serve", "15201", "60"]


def test_what_a_log_says():
    rows = network_probe.results("a", LOG, ["b", "c", "d"])
    assert rows[0]["rates"] == {1: 2_400_000_000, 8: 11_000_000_000} and rows[0]["whole"] is True and not rows[0]["simulated"]
    assert rows[1]["whole"] is False and rows[1]["error"] == "[Errno 90] Message too long" and rows[1]["rates"] == {}
    assert "the pod's log ends before it" in rows[2]["error"]
    found = {(row["code"], row["name"]): row["status"] for row in network_probe.checks(rows)}
    assert found == {("path_mtu", "a to b"): "PASS", ("throughput", "a to b"): "PASS", ("path_mtu", "a to c"): "FAIL",
                     ("throughput", "a to c"): "FAIL", ("probe_failed", "a to d"): "FAIL"}


@pytest.mark.parametrize("log", ["", "null\n[]\n5\n", '{"to": 5}', '{"to": "b", "streams": "x", "bytes": 1, "seconds": 0}', '{"to": "b"'])
def test_odd_logs_are_no_exception(log):
    row = network_probe.results("a", log, ["b"])[0]
    assert row["rates"] == {} and row["whole"] is None and network_probe.checks([row])[0]["status"] == "FAIL"


def test_the_forecast_takes_what_was_measured():
    def row(source, target, one, eight):
        return {"source": source, "target": target, "mtu": 9000, "whole": True, "error": None, "simulated": False,
                "rates": {1: one, 8: eight} if one else {}}

    measured = [row("a", "b", 2e9, 11e9), row("b", "a", 3e9, 10e9), row("a", "c", 2e9, 3e9), row("c", "a", None, None)]
    found = network_probe.forecast(measured)
    assert found == {"links": {"a": 3e9, "b": 10e9, "c": 3e9}, "per_stream": 2e9}
    links, assumptions = foresight.links_of({node: int(rate) for node, rate in found["links"].items()}, ["a", "b", "c"])
    assert links == {"a": 3e9, "b": 10e9, "c": 3e9} and assumptions == []
    slow = [row_ for row_ in network_probe.checks(measured) if row_["status"] == "WARN"]
    assert [row_["name"] for row_ in slow] == ["a to c"]
    assert network_probe.forecast([]) == {"links": {}, "per_stream": None}


def test_the_image_of_the_payload():
    tags = [{"tag": "old", "items": [{"dockerImageReference": "x"}]},
            {"tag": "latest", "items": [{"dockerImageReference": "quay/tools@1"}]}]
    assert network_probe.image_of({"status": {"tags": tags}}) == "quay/tools@1"
    assert network_probe.image_of({}) is None


def test_why_a_pod_does_not_start():
    waiting = {"status": {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}}
    assert network_probe.why_not_started(waiting) == "ImagePullBackOff no such image"
    assert network_probe.why_not_started({"status": {"phase": "Pending"}}) == "it is Pending"
    assert network_probe.why_not_started({}) == "it is unknown"


# -- the script, for real -------------------------------------------------------------------------


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def serving(port, *prefix):
    server = subprocess.Popen([*prefix, sys.executable, "-c", SCRIPT, "serve", str(port), "60"], stdout=subprocess.PIPE, text=True,
                              start_new_session=True)
    assert json.loads(server.stdout.readline()) == {"serving": port}
    return server


def measured(port, mtu, targets, *prefix):
    done = subprocess.run([*prefix, sys.executable, "-c", SCRIPT, "measure", str(port), "0.3", "1,8", str(mtu),
                           *["%s=%s" % pair for pair in targets.items()]], capture_output=True, text=True, timeout=60, check=True)
    return network_probe.results("here", done.stdout, list(targets))


def end(server):
    os.killpg(server.pid, signal.SIGKILL)
    server.wait(10)
    server.stdout.close()


def test_the_script_measures_the_loopback():
    port = free_port()
    server = serving(port)
    try:
        row, none = measured(port, 9000, {"b": "127.0.0.1", "c": "127.0.0.2:"})[:2]
    finally:
        end(server)
    assert row["whole"] is True and row["error"] is None and set(row["rates"]) == {1, 8} and min(row["rates"].values()) > 1_000_000
    assert none["rates"] == {} and none["error"]


def test_the_script_finds_a_way_that_is_too_narrow():
    """Two ends with MTU 9000 and a way between that carries 1400: small packets pass, whole ones do not."""
    names = ["mig%d-%s" % (os.getpid() % 10000, end_) for end_ in "ab"]

    def run(*words):
        return subprocess.run(words, capture_output=True, text=True, check=False)

    if run("ip", "netns", "add", names[0]).returncode:
        pytest.skip("root is needed to make network namespaces")
    port, server = free_port(), None
    try:
        if run("ip", "netns", "add", names[1]).returncode or run(
                "ip", "link", "add", "p0", "netns", names[0], "mtu", "9000", "type", "veth", "peer", "name", "p0", "netns",
                names[1]).returncode:
            pytest.skip("veth devices cannot be made here")
        for number, name in enumerate(names, 1):
            run("ip", "-n", name, "link", "set", "p0", "mtu", "9000", "up")
            run("ip", "-n", name, "address", "add", "10.200.5.%d/24" % number, "dev", "p0")
        server = serving(port, "ip", "netns", "exec", names[1])
        time.sleep(0.2)
        client = ("ip", "netns", "exec", names[0])
        assert measured(port, 9000, {"b": "10.200.5.2"}, *client)[0]["whole"] is True
        run("ip", "-n", names[1], "link", "set", "p0", "mtu", "1400")
        row = measured(port, 9000, {"b": "10.200.5.2"}, *client)[0]
        assert row["whole"] is False and row["error"]
        assert measured(port, 1400, {"b": "10.200.5.2"}, *client)[0]["whole"] is True
    finally:
        if server:
            end(server)
        for name in names:
            run("ip", "netns", "delete", name)
