# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible's way onto a host of the lab: commands run in its namespaces, files are this machine's. For tests only."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection.local import Connection as Local

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import kvm_lab as machinery  # noqa: E402

DOCUMENTATION = """
name: kvm_lab
short_description: hosts of the libvirt lab
description: The host is the inventory's name without kvm-.
author: bigvm contributors
version_added: "0.1.0"
options: {}
"""


class Connection(Local):
    """As local, on the other side of nsenter. A host that was rebooted is found again by asking the lab."""

    transport = "kvm_lab"

    def exec_command(self, cmd, in_data=None, sudoable=True):
        """One command on the host."""
        name = self._play_context.remote_addr.rpartition("-")[2]
        try:
            status = machinery.ask("status")
        except (OSError, machinery.LabError) as exc:
            raise AnsibleConnectionFailure(str(exc)) from exc
        if name not in status["hosts"]:
            raise AnsibleConnectionFailure("host %s is off" % name)
        return super().exec_command(shlex.join(machinery.inside(status, name, "/bin/sh", "-c", cmd)), in_data=in_data, sudoable=False)
