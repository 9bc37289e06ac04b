# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can go wrong, as one family of exceptions.

Every message is for a person: which object, what is wrong with it, what it
means and what to do next. They are raised wherever the trouble is seen and
caught once, in :func:`..common.module.run`.
"""

from __future__ import annotations


class LiveMigrationError(Exception):
    """A failure that a person can act on.

    :param message: object, cause and meaning, one or two sentences.
    :param remedy: what to do next; printed after the message.
    :param details: plain data returned beside the message (no secrets).
    """

    def __init__(self, message, remedy=None, **details):
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.details = details

    def __str__(self):
        return "%s %s" % (self.message, self.remedy) if self.remedy else self.message


class BadInput(LiveMigrationError):
    """An option, quantity or combination that cannot be meant; nothing was touched."""


class Refused(LiveMigrationError):
    """Understood, possible, and not done because it would be unsafe."""


class NotOurCluster(Refused):
    """A rehearsal was pointed at a server that is not a rehearsal."""


class LeaseLost(Refused):
    """Another run holds the node, or nobody does any more: nothing more may be started by this one."""


class ApiError(LiveMigrationError):
    """An answer of the API server that is not a success.

    :param status: HTTP status code; 0 when no answer came at all.
    :param reason: the ``reason`` of the Status object, e.g. ``Conflict``.
    """

    def __init__(self, message, remedy=None, status=0, reason="", **details):
        super().__init__(message, remedy, **details)
        self.status = status
        self.reason = reason


class NotFound(ApiError):
    """404: the object or the kind does not exist."""


class Conflict(ApiError):
    """409: somebody else wrote in between, or the object exists already."""


class Gone(ApiError):
    """410: the resourceVersion or the continue token is too old."""


class Forbidden(ApiError):
    """403: the token lacks a right."""


class Unauthorized(ApiError):
    """401: no or no longer a valid token."""


class Unreachable(ApiError):
    """No answer: refused, timed out, or the certificate does not verify."""


class Overloaded(ApiError):
    """429 or 5xx that did not pass within the patience given."""


class Rejected(ApiError):
    """400 or 422: the API server or an admission webhook said no."""
