# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's hosts as tests and benches want them: commands on a host, our modules run there, guests and their beat."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import time
from pathlib import Path

import kvm_install as install
import kvm_lab as machinery

MODULES = "ansible_collections.bigvm.live_migration.plugins.modules."
GUEST = """<domain type='qemu'>
  <name>{name}</name><memory unit='MiB'>{memory}</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='{machine}'>hvm</type><kernel>{kernel}</kernel><initrd>{initrd}</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 mitigations=off nokaslr no_timer_check {words}</cmdline>{firmware}</os>
  <features><acpi/><apic/></features>
  {cpu}
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <serial type='file'><source path='/var/log/libvirt/{name}.beat'/><target port='0'/></serial>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <memballoon model='none'/>
    {devices}
  </devices>
</domain>
"""


class Lab:
    """The hosts, as tests want them."""

    def __init__(self, status):
        self.status = status
        self.linked = set()  # (host, device) whose link was changed
        collection = importlib.import_module(MODULES.rpartition("plugins")[0] + "plugins.module_utils.domain.cpu")
        ansible = importlib.import_module("ansible")
        self.collections = str(Path(collection.__file__).parents[6])
        self._python_path = os.pathsep.join([self.collections, str(Path(ansible.__file__).parents[1])])

    def uri(self, host):
        """How another host connects to it."""
        return self.status["hosts"][host]["from_other_hosts"]

    def run(self, host, *command, check=True, timeout=180, **options):
        """A finished command on a host."""
        done = subprocess.run(machinery.inside(self.status, host, *command), capture_output=True, text=True, check=False,
                              env=dict(os.environ, PATH=machinery.PATH, LC_ALL="C"), timeout=timeout, **options)
        assert not check or done.returncode == 0, done.stderr
        return done

    def start(self, host, *command, **options):
        """A command on a host that goes on by itself."""
        return subprocess.Popen(machinery.inside(self.status, host, *command), text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, env=dict(os.environ, PATH=machinery.PATH, LC_ALL="C"), **options)

    def virsh(self, host, *words, check=True):
        """What virsh prints."""
        return self.run(host, "virsh", "-q", *words, check=check).stdout.strip()

    def module(self, host, module, /, _before="", _within=180, **options):
        """The result of one of our modules, run on a host.

        :param _before: a folder to look for Python modules in first. ``_within``: seconds that it may take.
        """
        path = os.pathsep.join(filter(None, [_before, self._python_path]))
        done = self.run(host, "env", "PYTHONPATH=" + path, "PYTHONDONTWRITEBYTECODE=1", install.SYSTEM_PYTHON, "-m",
                        MODULES + module, input=json.dumps({"ANSIBLE_MODULE_ARGS": options}), check=False, timeout=_within)
        assert done.stdout.strip().startswith("{"), done.stdout + done.stderr
        result = json.loads(done.stdout)
        assert "exception" not in result, result["exception"]
        return result

    def begin(self, host, module, arguments):
        """One of our modules as a process that goes on by itself, with its arguments as JSON."""
        process = self.start(host, "env", "PYTHONPATH=" + self._python_path, "PYTHONDONTWRITEBYTECODE=1", install.SYSTEM_PYTHON, "-m",
                             MODULES + module, stdin=subprocess.PIPE)
        process.stdin.write(arguments)
        process.stdin.close()
        return process

    def file(self, host, path):
        """A file as that host sees it."""
        return Path(self.status["hosts"][host]["root"] + path)

    def beat(self, host, name):
        """The last beat that a guest wrote on that host; None when it wrote none there."""
        try:
            text = self.file(host, "/var/log/libvirt/%s.beat" % name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        beats = [line.split() for line in text.splitlines() if line.startswith("beat ")]
        return max((int(words[1]) for words in beats if len(words) == 5), default=None)

    def beats(self, name, seconds=2.2):
        """The hosts on which the guest's beat goes on."""
        before = {host: self.beat(host, name) for host in self.status["hosts"]}
        time.sleep(seconds)
        return [host for host, count in before.items() if (self.beat(host, name) or 0) > (count or 0)]

    def active(self, name):
        """The hosts on which libvirt has the guest running or paused."""
        return [host for host in self.status["hosts"] if name in self.virsh(host, "list", "--name").split()]

    def defined(self, name):
        """The hosts that keep a definition of it."""
        return [host for host in self.status["hosts"] if name in self.virsh(host, "list", "--all", "--persistent", "--name").split()]

    def link(self, host, device, how):
        """See kvm_lab.py link."""
        self.linked.add((host, device))
        machinery.link(self.status, host, device, how)

    def lives_on(self, name, host):
        """The proof: libvirt knows it running on that host only, and there only its beat goes on."""
        assert self.active(name) == [host]
        before, began = {one: self.beat(one, name) or 0 for one in self.status["hosts"]}, time.monotonic()
        while (self.beat(host, name) or 0) <= before[host] or time.monotonic() - began < 1.2:  # it beats once a second
            assert time.monotonic() - began < 20, "%s does not beat on %s" % (name, host)
            time.sleep(0.1)
        assert [one for one, count in before.items() if (self.beat(one, name) or 0) > count] == [host]

    def define(self, host, name, memory=256, dirty_mb=16, dirty_rate=-1, machine="q35", cpu="<cpu mode='host-model'/>", devices="",
               more="", firmware=""):
        """Define a guest of the lab's own kind.

        :param more: words for its kernel's command line. ``firmware``: more elements of its ``<os>``.
        """
        words = ("dirty_mb=%d dirty_rate=%d %s" % (dirty_mb, dirty_rate, more)).strip()
        xml = GUEST.format(name=name, memory=memory, machine=machine, cpu=cpu, devices=devices, words=words,
                           firmware=firmware, kernel=self.status["kernel"], initrd=self.status["initrd"])
        self.run(host, "virsh", "-q", "define", "/dev/stdin", input=xml)

    def boot(self, host, name, seconds=150):
        """Start a guest; it beats when this returns."""
        self.virsh(host, "start", name)
        end = time.monotonic() + seconds
        while not self.beat(host, name):
            assert time.monotonic() < end, "%s does not beat" % name
            time.sleep(0.1)

    def remove(self, name):
        """Take a guest from every host, with all that it wrote."""
        away = "virsh destroy {0}; virsh undefine --nvram {0}; rm -f /var/log/libvirt/{0}.beat".format(name)
        for host in self.status["hosts"]:
            self.run(host, "sh", "-c", away, check=False)

    def ask(self, what, host):
        """``reboot``, ``restart``, ``off``, ``on``."""
        self.status = machinery.ask(what, host=host)
