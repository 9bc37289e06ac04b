# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""libvirt_migrate as a background job of the KVM host, with its lines shown while it works.

Over any connection, as any user: the module writes its lines to a file beside the job's, which is read on. A task that is
``async`` itself, or asks for no lines, runs as it always does.
"""

from __future__ import annotations

import shlex
import time
import uuid

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.plugins.connection import ConnectionBase
from ansible.utils.display import Display

display = Display()
LONGEST = 30 * 86400  # seconds that a job may take; its own timeout is the one that counts
FIRST, LONGEST_PAUSE = 0.3, 5.0  # seconds between looks: soon for a small guest, seldom for one that takes an hour
PATIENCE = 300.0  # seconds that the host may be out of reach: the job goes on without us
GRACE = 5  # looks at a job without anybody before it is given up: its result is written a moment after its end
DEAD = ("The job that moved %s on its host has ended without a result: it was killed, or the host went down. Where the guest is was not "
        "seen. Run the same task again: it finds the guest, and follows a migration that is still under way.")
LOST = "%s: its host cannot be reached just now; unless it went down, the move goes on there. Looking again for %d s"
AWAY = ("The host that moves %s could not be reached for %d s (%s). Unless it went down, the job goes on there; where the guest is was not "
        "seen. Run the same task again once the host answers: it finds the guest, and follows a migration that is still under way.")


def alive(job, lines):
    """The shell command that ends well while a job is not finished and its module holds its file of lines.

    After a crash or a reboot of the host the job's file says "not finished" for ever. A host without flock is believed.
    """
    job, lines = _quoted(job), _quoted(lines)
    return "grep -Eq '\"finished\": *(0|false)' %s && { test ! -e %s || ! flock -n %s true; }" % (job, lines, lines)


class ActionModule(ActionBase):
    """Starts, looks, ends."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args = dict(self._task.args)
        if self._task.async_val or self._task.check_mode or not _shows(args):
            result.update(self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val))
            return result
        folder = self.get_shell_option("async_dir", default="~/.ansible_async")
        lines = "%s/libvirt_migrate-%s.lines" % (folder.rstrip("/"), uuid.uuid4().hex)
        started = self._start(dict(args, progress_file=lines), task_vars)
        if not started.get("ansible_job_id"):  # refused, or a connection that cannot run jobs and waited
            result.update(started)
            return result
        result.update(self._follow(started["ansible_job_id"], folder, lines, task_vars))
        return result

    def _start(self, args, task_vars):
        self._task.async_val = LONGEST
        try:
            return self._execute_module(module_args=args, task_vars=task_vars, wrap_async=True)
        finally:
            self._task.async_val = 0

    def _follow(self, job, folder, lines, task_vars):
        """Show what is new until the job has ended; its result."""
        name = self._task.args.get("name")
        shown, pause, without, lost = 0, FIRST, 0, None
        try:
            while True:
                time.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 1.3)
                try:
                    shown = self._show(lines, shown)
                    if not self._ended(folder, job, lines):
                        lost = None
                        continue
                    status = self._job(job, folder, task_vars)
                    shown = self._show(lines, shown)
                    if status.get("finished"):
                        self._job(job, folder, task_vars, mode="cleanup")
                        return _cleaned(status)
                except AnsibleConnectionFailure as exc:
                    if lost is None:
                        lost = time.monotonic()
                        display.display(LOST % (name, PATIENCE))
                    if time.monotonic() - lost >= PATIENCE:
                        return dict(failed=True, changed=False, msg=AWAY % (name, PATIENCE, str(exc).strip().rstrip(".")))
                    self._anew()
                    continue
                lost, without = None, without + 1
                if without == GRACE:
                    return dict(failed=True, changed=False, msg=DEAD % name)
        finally:
            self._remove(lines)

    def _job(self, job, folder, task_vars, **more):
        """What the job's file says."""
        return self._execute_module(module_name="ansible.legacy.async_status", task_vars=task_vars,
                                    module_args=dict({"jid": job, "_async_dir": folder}, **more))

    def _anew(self):
        """What is kept of a connection that broke would only hang."""
        if type(self._connection).reset is ConnectionBase.reset:
            return
        try:
            self._connection.reset()
        except AnsibleConnectionFailure:
            pass  # some connect at once; the next look tries again

    def _show(self, lines, shown):
        """Print the lines after the first ``shown``; how many there are now."""
        done = self._low_level_execute_command("tail -n +%d %s 2>/dev/null" % (shown + 1, _quoted(lines)), sudoable=True)
        new = done.get("stdout_lines") or []
        for line in new:
            display.display(line)
        return shown + len(new)

    def _ended(self, folder, job, lines):
        """Whether the job's file says so, or nobody works on it any more. One small command: asking properly starts a Python there."""
        done = self._low_level_execute_command(alive("%s/%s" % (folder.rstrip("/"), job), lines), sudoable=True)
        return done.get("rc") != 0

    def _remove(self, lines):
        try:
            self._low_level_execute_command("rm -f %s" % _quoted(lines), sudoable=True)
        except AnsibleConnectionFailure:
            pass  # a few lines stay there


def _shows(args):
    """Whether lines are wanted; what cannot be read is the module's to refuse."""
    return str(args.get("progress_interval", 60)).strip() != "0" and not args.get("progress_file")


def _quoted(path):
    """For a shell, with the home folder still meant by ``~``."""
    return path if path.startswith("~/") and shlex.quote(path[2:]) == path[2:] else shlex.quote(path)


def _cleaned(status):
    """A job's result without what async_status adds."""
    added = ("started", "finished", "results_file", "ansible_job_id", "stdout", "stdout_lines", "stderr", "stderr_lines")
    return {name: value for name, value in status.items() if name not in added}
