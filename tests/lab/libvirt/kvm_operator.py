# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Somebody at a control node whose inventory is the lab's hosts, for tests of playbooks."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
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

    def _command(self, playbook, words, variables):
        """``(command, environment)`` of a run. ``playbook``: one of ours, or a file."""
        environment = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=self.lab.collections, LC_ALL="C.UTF-8", ANSIBLE_NOCOLOR="1",
                           ANSIBLE_PIPELINING="true", TERM="xterm",
                           ANSIBLE_CONNECTION_PLUGINS=str(HERE / "connection_plugins"), ANSIBLE_LOCAL_TEMP=str(self.folder / "local"),
                           ANSIBLE_DISPLAY_OK_HOSTS=self.shows_ok, ANSIBLE_DISPLAY_SKIPPED_HOSTS="false", ANSIBLE_LOCALHOST_WARNING="false")
        given = {"maintenance_host": "kvm-a", "maintenance_become": False, "maintenance_progress_interval": 2, **variables}
        return [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.json", *words,
                playbook if "." in playbook else "bigvm.live_migration." + playbook, "-e", json.dumps(given)], environment

    def start(self, playbook, *words, **variables):
        """A run that has begun; in a process group of its own, without a terminal."""
        command, environment = self._command(playbook, words, variables)
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, start_new_session=True)

    def run(self, playbook="kvm_host_maintenance", *words, **variables):
        """``(rc, what was said with white space as one blank)``."""
        process = self.start(playbook, *words, **variables)
        said = process.communicate(timeout=400)[0]
        return self._ended(process.returncode, said)

    def approved(self, meanwhile=lambda: None, **variables):
        """The same at a terminal, where the host's name is typed when the plan is shown; ``meanwhile`` is called then."""
        command, environment = self._command("kvm_host_maintenance", (), variables)
        pid, terminal = pty.fork()
        if not pid:
            os.chdir(self.folder)
            os.execve(command[0], command, environment)
        said, answered, end = "", False, time.monotonic() + 400
        while True:
            ready = select.select([terminal], [], [], 5)[0]
            assert time.monotonic() < end, said
            try:
                said += os.read(terminal, 65536).decode() if ready else ""
            except OSError:  # its last process has closed it
                break
            if not answered and "name to approve it" in said:
                time.sleep(1)  # what was typed before the question is thrown away
                os.write(terminal, b"kvm-a\r")
                answered = True
                meanwhile()
        os.close(terminal)
        return self._ended(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said)

    def _ended(self, rc, said):
        print(said)
        self.lab.status = machinery.ask("status")  # a host that was rebooted is another process
        return rc, " ".join(said.split())

    @property
    def record(self):
        """The newest record."""
        return json.loads(max(self.folder.glob("records/*.json"), key=os.path.getmtime).read_text())
