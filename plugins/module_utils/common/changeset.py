# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``changed`` and ``diff`` of a module's result, from one object, so that they cannot disagree.

Check mode needs nothing of its own here: a server-side dry run answers with the
object as it would be, and that is what is noted.
"""

from __future__ import annotations

from copy import deepcopy


class ChangeSet:
    """What a task changed, or in check mode would change."""

    def __init__(self):
        self._diffs = []

    @property
    def changed(self):
        """Whether anything noted so far differs."""
        return bool(self._diffs)

    def note(self, what, before, after):
        """Compare plain data; what is equal leaves no trace.

        :param what: heading of the diff, e.g. ``Node worker-1``.
        :returns: whether it differs.
        """
        if before == after:
            return False
        self._diffs.append(
            {"before_header": what, "after_header": what, "before": deepcopy(before), "after": deepcopy(after)}
        )
        return True

    def result(self, **values):
        """The module's result: ``changed``, ``diff`` only when something changed, and ``values``."""
        result = dict(values, changed=self.changed)
        if self._diffs:
            result["diff"] = self._diffs
        return result
