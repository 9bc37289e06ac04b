# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters of the role kvm_shared_storage; the judgement is in module_utils/domain/kvm_storage.py."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import kvm_storage
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.in_process import plain


def kvm_storage_problems(mounts, exports, luns, hosts, server="", server_is_host=False):
    """Why this storage cannot be meant."""
    return kvm_storage.problems(plain(mounts), plain(exports), plain(luns), plain(hosts), plain(server), server_is_host)


def kvm_storage_exports(exports):
    """The text of the exports."""
    return kvm_storage.exports_text(plain(exports))


def kvm_storage_mounts(text, mounts):
    """The mounts of a host as wanted and as found."""
    return kvm_storage.mount_rows(plain(mounts), plain(text))


def kvm_storage_proof(seen, path, token):
    """Whether all hosts see the same files."""
    return kvm_storage.proof_rows(plain(path), plain(token), plain(seen))


def kvm_storage_luns(told, wwids, least=2):
    """The LUNs of all hosts as wanted and as found."""
    return kvm_storage.lun_rows(plain(wwids), plain(told), int(least))


class FilterModule:
    """The filters by name."""

    def filters(self):
        """As Ansible asks for them."""
        return {"kvm_storage_problems": kvm_storage_problems, "kvm_storage_exports": kvm_storage_exports,
                "kvm_storage_mounts": kvm_storage_mounts, "kvm_storage_proof": kvm_storage_proof, "kvm_storage_luns": kvm_storage_luns}
