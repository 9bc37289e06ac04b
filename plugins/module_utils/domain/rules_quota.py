# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules about quotas: the target pod counts in the namespace beside the source pod (facts 3.11).

Three kinds: Kubernetes' ResourceQuota, OpenShift's ClusterResourceQuota over several namespaces, and the
application-aware quota (AAQ), which exists so that a migration is not counted twice and only does when it is told to
count every pod alike.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.capacity import pod_requests, scale_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import (
    amount,
    dig,
    key_of,
    mapping,
    text,
    texts,
)
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.target_pod import EPHEMERAL_STORAGE

ALL_PODS_ALIKE = "IgnoreVmiCalculator"  # AAQ's setting that counts a target pod like any other


def quota(guest, view):
    """Room for the target pod in the namespace's ResourceQuotas."""
    if "quotas" in view.forbidden:
        yield "CannotReadQuotas", ""
    for entry in view.quotas.get(guest.key[0], ()) if _counts(guest) else ():
        for sure, detail in shortages(entry, mapping(entry, "spec"), mapping(entry, "status"), counted(guest)):
            yield ("QuotaExceeded" if sure else "QuotaUnknown"), detail


def cluster_quota(guest, view):
    """Room in the ClusterResourceQuotas that reach into the namespace."""
    if "cluster_quotas" in view.forbidden:
        yield "CannotReadClusterQuotas", ""
    for entry in view.cluster_quotas.get(guest.key[0], ()) if _counts(guest) else ():
        for sure, detail in shortages(entry, mapping(entry, "spec", "quota"), mapping(entry, "status", "total"), counted(guest)):
            yield ("ClusterQuotaExceeded" if sure else "QuotaUnknown"), detail


def aware_quota(guest, view):
    """Room in application-aware quotas, as far as their calculator counts the target of a migration."""
    if "aaq_quotas" in view.forbidden:
        yield "CannotReadAaq", ""
    for entry in view.aaq_quotas.get(guest.key[0], ()) if _counts(guest) else ():
        for sure, detail in shortages(entry, mapping(entry, "spec"), mapping(entry, "status"), counted(guest)):
            if view.aaq_calculator == ALL_PODS_ALIKE:
                yield ("AaqExceeded" if sure else "QuotaUnknown"), detail
            else:
                yield "AaqNotDoubled", detail


def _counts(guest):
    """Whether there is something to add: computable, and the target pod not there (and counted) already."""
    return guest.need is not None and len(guest.pods) <= 1


def shortages(entry, spec, status, wanted):
    """``(sure, what is short)`` for each resource of a quota that does not surely take ``wanted`` besides."""
    applies = scope_applies(spec)
    if applies is False:
        return
    for resource, hard in mapping(status, "hard").items():
        if not wanted.get(resource):
            continue
        limit = amount(hard, scale_of(resource))
        said = dig(status, "used", resource)
        used = amount(said, scale_of(resource))
        if limit is not None and used is not None and used + wanted[resource] <= limit:
            continue
        yield (applies and limit is not None and used is not None), "%s: %s of %s %s used" % (
            key_of(entry)[1], said, resource, hard)
    if not mapping(status, "hard") and mapping(spec, "hard"):
        yield False, "%s has no status yet" % key_of(entry)[1]


def counted(guest):
    """What the target pod counts in a quota; limits as the present pod has them."""
    ephemeral = amount(EPHEMERAL_STORAGE, 1)
    wanted = {"pods": 1, "count/pods": 1, "requests.ephemeral-storage": ephemeral, "ephemeral-storage": ephemeral}
    for resource, value in guest.need.asks.items():
        if resource != "pods":
            wanted["requests." + resource] = value
            if resource in ("cpu", "memory") or resource.startswith("hugepages-"):
                wanted[resource] = value
    for resource, value in (pod_requests(guest.pods[0], "limits") if guest.pods else {}).items():
        wanted["limits." + resource] = value
    return wanted


def scope_applies(spec):
    """Whether a quota's scopes cover a guest's pod; None when that depends on more than is known here."""
    scopes = texts(spec, "scopes")
    if "Terminating" in scopes or "BestEffort" in scopes:
        return False
    sure = all(scope in ("NotTerminating", "NotBestEffort") for scope in scopes)
    return True if sure and not mapping(spec, "scopeSelector") else None


def namespaces_of(entry):
    """The namespaces that a ClusterResourceQuota reaches into."""
    found = dig(entry, "status", "namespaces")
    return {text(row, "namespace") for row in found if isinstance(row, dict)} if isinstance(found, list) else set()


QUOTA_RULES = (quota, cluster_quota, aware_quota)
