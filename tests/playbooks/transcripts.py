# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Transcripts without what differs between runs."""

from __future__ import annotations

import re


def readable(output):
    """A transcript without what differs between runs: places, ids, and progress lines beyond the first and last."""
    lines, progress = [], []
    for line in output.splitlines():
        line = re.sub(r"(/\S+)/records/", "DIR/records/", line)
        line = re.sub(r"^Origin: .*/(playbooks|roles)/", r"Origin: \1/", line)
        line = re.sub(r"(Plan|plan) [0-9a-f]{8}", r"\1 PLANID", line)
        line = re.sub(r"^(\S+/\S+  (?:moved to \S+ in|cancelled after)) .*", r"\1 TIME", line)
        line = re.sub(r"\b(ok|skipped)=\d+ *", r"\1=N  ", line)  # how many tasks that are, is nobody's business
        if re.search(r"  cop(y \d+%|ying for) ", line) or line.rstrip().endswith(" waiting"):
            progress.append(line)
            continue
        lines.append(line.rstrip())
    return "\n".join(lines) + "\n", progress
