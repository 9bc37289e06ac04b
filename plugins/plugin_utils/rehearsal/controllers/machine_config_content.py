# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands in MachineConfigs: several made one, and what a node makes of it at its boot."""

from __future__ import annotations

import json
from urllib.parse import quote, unquote

KUBELET_FILE = "/etc/kubernetes/kubelet.conf"
DATA = "data:text/plain,"
GIB_SIZES = ("1G", "1GB", "1048576kB")  # the kernel reads 1G and lets the B be


def merged(parts):
    """The ``spec`` of the rendered one: kernel arguments in order, files by path, the last word else."""
    spec, files = {"kernelArguments": []}, {}
    for part in parts:
        for key, value in (part.get("spec") or {}).items():
            if key == "kernelArguments":
                spec[key] = spec[key] + list(value or [])
            elif key == "config":
                files.update({row["path"]: row for row in ((value or {}).get("storage") or {}).get("files") or []})
            else:
                spec[key] = value
    if files:
        spec["config"] = {"ignition": {"version": "3.4.0"}, "storage": {"files": [files[path] for path in sorted(files)]}}
    return spec


def kubelet_file(fields):
    """``spec.config`` of a MachineConfig with that KubeletConfiguration."""
    text = DATA + quote(json.dumps(fields, sort_keys=True))
    return {"ignition": {"version": "3.4.0"}, "storage": {"files": [
        {"path": KUBELET_FILE, "mode": 420, "overwrite": True, "contents": {"source": text}}]}}


def pages(spec):
    """Number of 1 GiB pages that the kernel arguments ask for; None when they say nothing of such pages."""
    size, default, found = None, None, None
    for argument in spec.get("kernelArguments") or []:
        key, _mark, value = argument.partition("=")
        if key == "default_hugepagesz":
            default = value
        elif key == "hugepagesz":
            size = value
        elif key == "hugepages" and (size or default) in GIB_SIZES:
            found = int(value)
    return found


def cpu_manager(spec):
    """Whether the kubelet pins CPUs; None when nothing is said of the kubelet."""
    for row in ((spec.get("config") or {}).get("storage") or {}).get("files") or []:
        if row["path"] == KUBELET_FILE and row["contents"]["source"].startswith(DATA):
            return json.loads(unquote(row["contents"]["source"][len(DATA):])).get("cpuManagerPolicy") == "static"
    return None
