# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of the role hana_guest_tuning; the judgement is in module_utils/domain/guest_tuning.py."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import guest_tuning


def _told(function, *words):
    try:
        return function(*words)
    except ValueError as exc:
        raise AnsibleFilterError("SAP HANA guest: %s." % exc) from exc


def hana_tuning_profile(release, vendor="sap-hana", clocksource=None):
    """The text of the TuneD profile."""
    return _told(guest_tuning.profile_text, release, vendor, clocksource)


def hana_tuning_report(seen, release, clocksource=None, vendor="sap-hana"):
    """The values as wanted and as found."""
    return _told(guest_tuning.report, seen, release, clocksource, vendor)


def hana_tuning_conflicts(seen, release, vendor="sap-hana", clocksource=None):
    """What would keep our profile from taking effect."""
    return _told(guest_tuning.conflicts, seen, release, vendor, clocksource)


def hana_tuning_lines(rows):
    """The same as PASS and FAIL lines."""
    return guest_tuning.lines(rows)


def hana_tuning_reads(vendor):
    """The commands that read what a report needs: ``{values, settings, flags, time}``."""
    return {"values": ["grep", "-sH", "", *guest_tuning.paths()],
            "flags": ["grep", "-m2", "-E", "^(vendor_id|flags)", "/proc/cpuinfo"],
            "time": ["timeout", "5", "systemctl", "show", "--property=ActiveState,UnitFileState", guest_tuning.CHRONYD],
            "settings": ["grep", "-sHrE", guest_tuning.SETTING, *guest_tuning.setting_files(vendor)]}


class FilterModule:
    """The filters by name."""

    def filters(self):
        """As Ansible asks for them."""
        return {
            "hana_tuning_conflicts": hana_tuning_conflicts,
            "hana_tuning_lines": hana_tuning_lines,
            "hana_tuning_profile": hana_tuning_profile,
            "hana_tuning_reads": hana_tuning_reads,
            "hana_tuning_report": hana_tuning_report,
        }
