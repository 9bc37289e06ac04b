# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Moving one guest with libvirt: start it, follow it, act on it, and see where the guest really is afterwards."""

from __future__ import annotations

import queue
import threading

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import LiveMigrationError, Refused
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import kvm_move
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.progress import Progress, line
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_duration
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.connection import (
    HypervisorError,
    NoSuchDomain,
    has_binding,
    libvirt,
    said,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.guests import (
    agent_answers,
    completed,
    cpu_time,
    find,
    find_again,
    host_uuid,
    job,
    mark,
    marked,
    outgoing,
    uuid_of,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.hypervisor.request import left_behind, mib, request

POLL = 0.5  # seconds between looks at a job: one small call over a local socket
AGENT_PATIENCE = 30  # seconds for an agent to find its new host end
RETURN_PATIENCE = 60  # seconds for a daemon that restarts, and for its clean-up


class Move:
    """One guest on its way.

    :param plan: the module's options, durations in seconds, bandwidths in bytes/s.
    """

    def __init__(self, hosts, plan, clock, say):
        if not has_binding():
            raise HypervisorError("Moving a guest needs libvirt's Python binding.", "Install python3-libvirt where this runs.")
        self.hosts, self.plan, self.clock, self.say = hosts, plan, clock, say
        self.name = plan["name"]
        self.lines, self.taken, self.log = [], 0, []
        self.paused_at, self.post_copy = None, False
        self.agent_before, self.asked = None, None

    # -- before ----------------------------------------------------------------

    def look(self):
        """Where the guest is and what that calls for: ``there``, ``move`` or ``adopt``.

        :raises LiveMigrationError: a host that does not answer, a guest that is nowhere, twice, or not as the mode needs it.
        """
        plan = self.plan
        self.source = self.hosts.open(plan["uri"])
        self.target = self.hosts.open(plan["target_uri"] or plan["destination"])
        self.target_name = self.target.hostname()
        here = find(self.source, self.name)
        there = find(self.target, self.name)
        if here and there and uuid_of(here) != uuid_of(there):
            raise Refused("%s on %s is another guest of the same name." % (self.name, self.target_name), "Rename one of them.")
        if here and not there:
            there = find(self.target, uuid=uuid_of(here))
            if there:
                raise Refused("%s knows this guest by the name %s." % (self.target_name, there.name), "Remove that definition there.")
        self.there = there
        self.guest, self.uuid = here, uuid_of(here or there) if here or there else None
        same = self.source.hostname() == self.target_name and host_uuid(self.source) == host_uuid(self.target)
        what, why = kvm_move.decide(
            {"active": here.is_active()} if here else None, {"active": there.is_active()} if there else None,
            plan["mode"], bool(here and outgoing(here)), same)
        if what == "refuse":
            kind = NoSuchDomain if not here and not there else Refused
            raise kind("%s %s (%s, %s)." % (self.name, why, self.source.uri, self.target_name), REFUSED.get(plan["mode"]))
        return what

    # -- the move --------------------------------------------------------------

    def prepare(self):
        """What libvirt will be asked for; nothing is changed yet.

        :raises LiveMigrationError: a definition that the guest cannot have there, state that would stay behind.
        """
        with said("The guest %s could not be read" % self.name, self.source.uri):
            text, full = (self.guest.handle.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE | more)
                          for more in (libvirt.VIR_DOMAIN_XML_MIGRATABLE, 0))
        self.asked = request(self.plan, self.guest, text, full)
        left = [] if self.guest.is_active() or self.plan["state_copied"] else left_behind(self.guest, self.uuid, text, self.source.uri)
        if left:
            raise Refused(
                "%s keeps state in files of %s, which a move of its definition leaves there: %s. Nothing was changed."
                % (self.name, self.source.hostname(), "; ".join(left)),
                "Copy them to the same places on %s and say state_copied: true; a guest without its TPM's state cannot open what was "
                "sealed by it. Or start it and move it live, which takes them along." % self.target_name)

    def run(self, adopted):
        """Move it as prepared, or follow the move that is under way; figures of the job.

        :raises LiveMigrationError: with where the guest is now.
        """
        with said("The guest %s could not be read" % self.name, self.source.uri):
            self.autostart = bool(self.guest.handle.isPersistent() and self.guest.handle.autostart())
            text = self.guest.handle.XMLDesc(0)
            state, reason = self.guest.handle.state()[:2]
        stands = state == libvirt.VIR_DOMAIN_PAUSED and reason != libvirt.VIR_DOMAIN_PAUSED_MIGRATION
        self.was_paused = stands and not marked(self.uuid)
        if stands and not self.was_paused:
            self.tell("%s: an earlier run paused it, it goes on at the target" % self.name)
            self.paused_at = self.clock.now()
        self.offline = not self.guest.is_active()
        self.agent_before = not self.offline and kvm_move.has_agent(text) and agent_answers(self.guest)
        inbox, self.last_stats = queue.Queue(), {}
        if adopted:
            self.tell("%s: a migration is under way already, it is followed" % self.name)
        else:
            threading.Thread(target=self._work, args=(inbox, *self.asked), daemon=True).start()
        problem = self.follow(inbox, adopted)
        return self.judge(problem)

    def already(self, check_mode):
        """What of a guest that is there already is left to do: ``(line, whether something was)``.

        A run that was killed after it had paused the guest leaves it paused there.
        """
        with said("The state of %s could not be read" % self.name, self.target.uri):
            paused = self.there is not None and self.there.handle.state()[0] == libvirt.VIR_DOMAIN_PAUSED
            if paused and marked(self.uuid):
                if not check_mode:
                    self.there.handle.resume()
                    mark(self.uuid, False)
                return "%s: is on %s already, where an earlier run left it paused; it goes on" % (self.name, self.target_name), True
        return "%s: is on %s already%s" % (self.name, self.target_name, ", and paused there" if paused else ""), False

    def _work(self, inbox, parameters, flags):
        """In a thread of its own: the call returns when the migration has ended."""
        try:
            if self.plan["p2p"]:
                self.guest.handle.migrateToURI3(self.plan["destination"], parameters, flags)
            else:
                self.guest.handle.migrate3(self.target.connection, parameters, flags)
            inbox.put("")
        except libvirt.libvirtError as exc:
            inbox.put((exc.get_error_message() or str(exc)).rstrip(".") or "it failed")

    def follow(self, inbox, adopted):
        """Watch until it has ended; what libvirt said then, ``""`` when it was content."""
        began, shown, told, set_up, stop = self.clock.now(), 0.0, False, False, None
        progress = Progress()
        while True:
            ended = self.clock.wait(inbox, POLL)
            if ended is not None:
                return "%s (%s)" % (stop, ended) if ended and stop else ended
            stats = job(self.guest)
            if stats is None or stats.get("type") == libvirt.VIR_DOMAIN_JOB_NONE:
                if adopted:
                    return ""
                continue
            self.last_stats = stats
            elapsed = self.clock.now() - began
            found = kvm_move.sample(stats)
            if found:
                progress.feed(found)
            if not set_up and self.plan["max_downtime"]:
                set_up = self.try_to("downtime", lambda: self.guest.handle.migrateSetMaxDowntime(self.plan["max_downtime"]))
            if not told and kvm_move.diverges(stats):
                told = True
                self.tell(kvm_move.f3_line(self.name, stats))
            interval = self.plan["progress_interval"]
            if interval and elapsed - shown >= interval:
                shown = elapsed
                stage = "PostCopy" if self.post_copy else "Paused" if self.paused_at else "Running"
                self.tell(line(self.name, stage, elapsed, progress))
            if stop is None:
                stop = self.act(elapsed)

    def act(self, elapsed):
        """Take the steps of the ladder that are due; why it was aborted, else None."""
        plan = self.plan
        for step in kvm_move.due(plan["ladder"], self.taken, elapsed):
            self.taken += 1
            if step["do"] == "abort":
                return self.abort("the ladder's last step was reached", step, elapsed)
            self.note(step, elapsed, self.try_to(step["do"], lambda step=step: self.take(step)))
        if plan["timeout"] and elapsed >= plan["timeout"]:
            return self.abort("its time of %s was over" % format_duration(plan["timeout"]), None, elapsed)
        if self.paused_at is not None and plan["max_pause"] and self.clock.now() - self.paused_at >= plan["max_pause"]:
            return self.abort("it was paused for %s" % format_duration(plan["max_pause"]), None, elapsed)
        return None

    def take(self, step):
        """One step of the ladder."""
        if step["do"] == "downtime":
            self.guest.handle.migrateSetMaxDowntime(int(step["value"]))
        elif step["do"] == "bandwidth":
            self.guest.handle.migrateSetMaxSpeed(mib(step["value"]))
        elif step["do"] == "suspend":
            mark(self.uuid, True)
            self.guest.handle.suspend()
            self.paused_at = self.clock.now()
        else:
            self.guest.handle.migrateStartPostCopy()
            self.post_copy = True

    def abort(self, why, step, elapsed):
        """Cancel it; ``why``, or None when that is no longer possible: after the switch to post-copy there is no way back."""
        if self.post_copy or not self.try_to("abort", self.guest.handle.abortJob):
            return None
        self.note(step or {"do": "abort", "value": None}, elapsed, True)
        return why

    def try_to(self, what, call):
        """Whether a call was taken; a job that has just ended refuses every one, and that is no error."""
        try:
            call()
            return True
        except libvirt.libvirtError as exc:
            self.log.append({"what": what, "error": exc.get_error_message()})
            return False

    def note(self, step, elapsed, done):
        """Keep and tell a step."""
        self.log.append({"after": round(elapsed, 1), "do": step["do"], "value": step.get("value"), "done": done})
        if done:
            self.tell(kvm_move.step_line(self.name, step, elapsed))

    def tell(self, text):
        """A line, now and in the result."""
        self.lines.append(text)
        self.say(text)

    # -- afterwards ------------------------------------------------------------

    def judge(self, problem):
        """Where the guest is: what libvirt said is not trusted.

        :raises LiveMigrationError: it is not running on the target, or does not live there.
        """
        here, there = self.settled(problem)
        if there is None or not (self.offline or there.is_active()):
            self.bring_back(here)
            where = "It runs on %s as before." % self.source.hostname() if here and here.is_active() else (
                "It is shut off on %s." % self.source.hostname() if here else "It was found on neither host; look at once.")
            message = "%s was not moved to %s: %s. %s" % (self.name, self.target_name, problem or "it is not there", where)
            raise HypervisorError(message, kvm_move.remedy_for(problem or ""), steps=self.log, lines=self.lines,
                                  runs_on=self.source.uri if here and here.is_active() else None)
        if here and here.is_active():
            raise LiveMigrationError("%s runs on both hosts." % self.name,
                                     "Shut down the one on the target at once, and look at the storage.")
        proof = None
        if not self.offline:
            self.go_on(there)
            proof = self.prove(there)
        self.keep(here, there)
        stats = completed(there) or self.last_stats
        result = kvm_move.figures(stats)
        self.tell(kvm_move.told(result, self.name, self.target_name))
        return dict(result, proof=proof)

    def settled(self, problem):
        """``(guest on the source, guest on the target)`` once what libvirt cleans up is cleaned up; None where it is not.

        :param problem: what libvirt said. When it failed, the target need not answer: the link may be what failed.
        """
        end, here, there = self.clock.now() + RETURN_PATIENCE, None, None
        while True:
            late = self.clock.now() >= end
            try:
                here = find_again(self.hosts, self.source, self.uuid)
                here_active = bool(here and here.is_active())
                there = self.at_target(bool(problem) and here_active)
                if late or not (here_active and there and there.is_active()):
                    return here, there
            except HypervisorError:  # a daemon that restarts
                if late:
                    raise
            self.clock.sleep(POLL)

    def at_target(self, forgiving):
        """The guest on the target; None without, or when the target does not answer and need not."""
        try:
            return find_again(self.hosts, self.target, self.uuid)
        except HypervisorError:
            if not forgiving:
                raise
            return None

    def bring_back(self, here):
        """Let a guest go on that we paused ourselves."""
        if self.paused_at is not None and here and here.is_active():
            if self.try_to("resume", here.handle.resume):
                mark(self.uuid, False)

    def go_on(self, there):
        """A guest that ran before runs now."""
        with said("The state of %s could not be read" % self.name, self.target.uri):
            state = there.handle.state()[0]
            if state == libvirt.VIR_DOMAIN_PAUSED and not self.was_paused:
                there.handle.resume()
                state = there.handle.state()[0]
        wanted = libvirt.VIR_DOMAIN_PAUSED if self.was_paused else libvirt.VIR_DOMAIN_RUNNING
        if state == wanted:
            mark(self.uuid, False)
        else:
            raise HypervisorError("%s is on %s and does not run there." % (self.name, self.target_name), "Look at its console there.")

    def prove(self, there):
        """How it is known that the guest lives: ``agent`` or ``cpu_time``; None for one that is paused.

        :raises HypervisorError: its agent answered before, and does not now; its CPUs stand still.
        """
        if self.was_paused:
            return None
        if self.agent_before:
            end = self.clock.now() + AGENT_PATIENCE
            while not agent_answers(there):
                if self.clock.now() >= end:
                    raise HypervisorError(
                        "%s is on %s, but its agent, which answered before, does not answer there." % (self.name, self.target_name),
                        "libvirt calls this migration completed; look at the guest's console before trusting it.")
                self.clock.sleep(POLL)
            return "agent"
        first, end = cpu_time(there), self.clock.now() + AGENT_PATIENCE
        while cpu_time(there) <= first:
            if self.clock.now() >= end:
                raise HypervisorError("%s is on %s, but its CPUs stand still there." % (self.name, self.target_name),
                                      "Look at the guest's console.")
            self.clock.sleep(POLL)
        return "cpu_time"

    def keep(self, here, there):
        """Autostart goes along, so that after a reboot of either host the guest starts once."""
        with said("Autostart of %s could not be set" % self.name, self.target.uri):
            if there.handle.isPersistent() and bool(there.handle.autostart()) != self.autostart:
                there.handle.setAutostart(int(self.autostart))
        if here and here.handle.isPersistent() and here.handle.autostart():
            with said("Autostart of %s could not be switched off" % self.name, self.source.uri):
                here.handle.setAutostart(0)


REFUSED = {
    "live": "A guest that is shut off is moved with mode: offline.", "suspended": "A guest that is shut off is moved with mode: offline.",
    "offline": "Shut it down first, or move it with mode: live.",
}
