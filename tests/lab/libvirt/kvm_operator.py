# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Somebody at a control node whose inventory is the lab's hosts, for tests of playbooks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import kvm_install as install
import kvm_lab as machinery

HERE = Path(__file__).resolve().parent
JOURNAL = "/var/lib/libvirt/maintenance.json"  # below what each host of the lab has of its own
REBOOT = """---
- name: Reboot the host
  ansible.builtin.command:
    argv: [%s, %s, reboot, "{{ inventory_hostname[-1] }}"]
  delegate_to: localhost
  changed_when: true
"""


class Operator:
    """Somebody at a control node with the lab's hosts as inventory."""

    shows_ok = "false"  # whether tasks that changed nothing are shown

    def __init__(self, lab, folder):
        self.lab, self.folder = lab, folder
        hosts = {"kvm-" + name: {"kvm_evacuation_uri": lab.uri(name), "kvm_evacuation_migrate_uri": "tcp://kvm-%s-mig" % name}
                 for name in lab.status["hosts"]}
        common = {"ansible_connection": "kvm_lab", "ansible_python_interpreter": install.SYSTEM_PYTHON, "kvm_evacuation_journal": JOURNAL,
                  "ansible_remote_tmp": str(folder / "tmp"), "kvm_evacuation_gate_delay": 1, "kvm_evacuation_gate_tries": 30,
                  "kvm_evacuation_cpu_ratio": 8}
        inventory = {"all": {"children": {"kvm_hosts": {"hosts": hosts, "vars": common}}}}
        (folder / "hosts.json").write_text(json.dumps(inventory))
        (folder / "reboot.yml").write_text(REBOOT % (sys.executable, HERE / "kvm_lab.py"))

    def start(self, playbook, *words, **variables):
        """A run that has begun; in a process group of its own. ``playbook``: one of ours, or a file."""
        environment = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=self.lab.collections, LC_ALL="C.UTF-8", ANSIBLE_NOCOLOR="1",
                           ANSIBLE_CONNECTION_PLUGINS=str(HERE / "connection_plugins"), ANSIBLE_LOCAL_TEMP=str(self.folder / "local"),
                           ANSIBLE_DISPLAY_OK_HOSTS=self.shows_ok, ANSIBLE_DISPLAY_SKIPPED_HOSTS="false", ANSIBLE_LOCALHOST_WARNING="false")
        given = {"maintenance_host": "kvm-a", "maintenance_become": False, "maintenance_progress_interval": 2, **variables}
        command = [Path(sys.executable).parent / "ansible-playbook", "-i", "hosts.json", *words,
                   playbook if "." in playbook else "bigvm.live_migration." + playbook, "-e", json.dumps(given)]
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, start_new_session=True)

    def run(self, playbook="kvm_host_maintenance", *words, **variables):
        """``(rc, what was said with white space as one blank)``."""
        process = self.start(playbook, *words, **variables)
        said = process.communicate(timeout=400)[0]
        print(said)
        self.lab.status = machinery.ask("status")  # a host that was rebooted is another process
        return process.returncode, " ".join(said.split())

    def approved(self, **variables):
        """The same with the id of the plan that was shown and refused first."""
        rc, said = self.run(**variables)
        assert rc == 2 and "is not approved (no answer)" in said and "Nothing was changed" in said, said
        plan = said.partition("maintenance_approve=")[2][:8]
        return self.run(maintenance_approve=plan, **variables)

    @property
    def record(self):
        """The newest record."""
        return json.loads(max(self.folder.glob("records/*.json"), key=os.path.getmtime).read_text())
