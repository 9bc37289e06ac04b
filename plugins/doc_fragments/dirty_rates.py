# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the option prometheus, shared by the modules that ask it for dirty rates."""

from __future__ import annotations


class ModuleDocFragment:
    """See cluster/prometheus.py for the argument spec."""

    DOCUMENTATION = r"""
options:
  prometheus:
    description:
      - Ask a Prometheus how fast the guests change their memory (the 99th percentile over O(prometheus.window) counts), and
        for the network cards of the nodes.
      - What is not measured is said, never guessed. A Prometheus that cannot be asked is a warning.
    type: dict
    suboptions:
      url:
        description: Of the Prometheus API, without C(/api/v1). Without it the route of OpenShift's own is looked for.
        type: str
      token:
        description: Bearer token for it. The one for the API server is only sent to OpenShift's own, found without O(prometheus.url).
        type: str
      ca_cert:
        description: File with the CA certificates to verify it by.
        type: path
      validate_certs:
        description: Whether to verify its certificate.
        type: bool
        default: true
      window:
        description: How far to look back. A day holds the savepoints and delta merges of a database.
        type: str
        default: 24h
"""
