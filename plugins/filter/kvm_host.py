# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of the role kvm_host_prep; the judgement is in module_utils/domain/kvm_host.py and certificates.py."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import certificates, kvm_host
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import parse_bytes
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.in_process import plain


def kvm_host_wanted(options, numa_files=""):
    """What a host of this release and with these options needs."""
    options = plain(options)
    try:
        pages = dict(options.get("hugepages") or {})
        if pages.get("spare"):
            pages["spare"] = parse_bytes(pages["spare"])
        low, high = (int(port) for port in options["migration_ports"])
        if not 1024 <= low <= high <= 65535:
            raise ValueError("migration ports %d to %d cannot be meant" % (low, high))
        unknown = sorted(set(options["storage"]) - set(kvm_host.BOOLEANS))
        if unknown:
            raise ValueError("there is no storage %s; known are %s" % (", ".join(unknown), ", ".join(sorted(kvm_host.BOOLEANS))))
        needs = kvm_host.needs(options["release"], options["transport"])
        return {
            "transport": options["transport"], "needs": dict(needs._asdict()),
            "units": kvm_host.units(options["release"], options["transport"]),
            "ports": kvm_host.firewall_ports(options["transport"], low, high), "migration_ports": [low, high],
            "booleans": [kvm_host.BOOLEANS[kind] for kind in options["storage"]], "migration_address": options["migration_address"],
            "ksm": options["ksm_off"],
            "hugepages": kvm_host.hugepages(pages, kvm_host.numa_of(plain(numa_files))[0], options["release"]),
        }
    except (ValueError, TypeError) as exc:
        raise AnsibleFilterError("KVM host: %s. Nothing was changed." % exc) from exc


def kvm_host_report(found, wanted):
    """The host as wanted and as found."""
    return kvm_host.report(plain(found), plain(wanted))


def kvm_host_lines(rows):
    """The same as PASS and FAIL lines."""
    return kvm_host.lines(plain(rows))


def kvm_host_units(text):
    """The units of systemctl show that exist."""
    return [name for name, state in kvm_host.unit_states(plain(text)).items() if state.get("LoadState") != "not-found"]


def kvm_host_numa(files):
    """Pages of each NUMA node as they are now, by node and size in KiB."""
    return {str(node): {str(kib): count for kib, count in pages.items()} for node, pages in kvm_host.numa_of(plain(files))[1].items()}


def kvm_certificate_rows(x509, keys, verified, modes, names, now, days=30):
    """The certificates as wanted and as found, of what OpenSSL and stat said of each in a loop."""
    rows = []
    for said, key, verify, mode in zip(*map(plain, (x509, keys, verified, modes))):
        texts = {"x509": said.get("stdout") or "", "key": key.get("stdout") or "",
                 "verify": (verify.get("stdout") or "") + (verify.get("stderr") or ""), "mode": (mode.get("stat") or {}).get("mode") or ""}
        rows += certificates.judge(said["item"]["kind"], texts, plain(names), float(now), int(days))
    return rows


class FilterModule:
    """The filters by name."""

    def filters(self):
        """As Ansible asks for them."""
        return {"kvm_host_wanted": kvm_host_wanted, "kvm_host_report": kvm_host_report, "kvm_host_lines": kvm_host_lines,
                "kvm_host_units": kvm_host_units, "kvm_host_numa": kvm_host_numa, "kvm_certificate_rows": kvm_certificate_rows}
