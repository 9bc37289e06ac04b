# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How we change objects that others change as well: on a fresh read, or not at all."""

from __future__ import annotations

import getpass
import socket

from ansible_collections.bigvm.live_migration.plugins.module_utils.common.errors import Conflict

ATTEMPTS = 12


def guarded_patch(api, path, decide, send=None, known=None):
    """Read, decide, patch; once more from the start when somebody wrote in between.

    :param decide: called with the object as it is now; returns the body of a merge patch, or None for
        "nothing to do". It is called again after every conflict, so it must not remember anything.
    :param send: called with the body instead of the plain patch; returns the object after it.
    :param known: the object, when it was read just now; spares the first read.
    :returns: ``(object before, object after)``; the same object twice when nothing was to do.
    :raises Conflict: after a dozen lost races.

    The body carries the resourceVersion that was read: a merge patch with a stale one is answered
    with 409 and changes nothing.
    """
    send = send or (lambda body: api.patch(path, body))
    attempt = 0
    while True:
        attempt += 1
        before, known = known or api.get(path), None
        body = decide(before)
        if body is None:
            return before, before
        guard = {"resourceVersion": before["metadata"]["resourceVersion"]}
        body = dict(body, metadata=dict(body.get("metadata") or {}, **guard))
        try:
            return before, send(body)
        except Conflict as exc:
            if attempt == ATTEMPTS:
                raise Conflict(
                    "%s was changed by somebody else %d times in a row while it was to be changed here."
                    % (path, ATTEMPTS), "Nothing was written. Find out who writes to it all the time, then run again.",
                    status=409, reason="Conflict") from exc
            api.clock.sleep(0.05 * attempt)


def owner():
    """Who runs this, for a journal: ``user@host``."""
    try:
        return "%s@%s" % (getpass.getuser(), socket.gethostname())
    except (KeyError, OSError, ImportError):  # a container whose user id has no name
        return socket.gethostname()
