# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who keeps an object as a repository says: a change by hand would be reverted, in the middle of a migration perhaps.

Two kinds of evidence: the mark with which a tool finds its objects again, and, where a site has
switched the marks off, the name under which it writes (``metadata.managedFields``). Tools that write only
when somebody starts them (helm, kubectl apply) are not meant.
"""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import labels, mapping, rows, text

# label or annotation, tool
MARKS = (
    ("argocd.argoproj.io/tracking-id", "Argo CD"),
    ("argocd.argoproj.io/instance", "Argo CD"),
    ("kustomize.toolkit.fluxcd.io/name", "Flux kustomization"),
    ("helm.toolkit.fluxcd.io/name", "Flux Helm release"),
    ("apps.open-cluster-management.io/hosting-subscription", "Advanced Cluster Management subscription"),
    ("configsync.gke.io/declared-fields", "Config Sync"),
    ("fleet.cattle.io/bundle-id", "Fleet bundle"),
    ("kapp.k14s.io/app", "kapp"),
)
# Marks whose value is no name but bookkeeping.
_NAMELESS = ("configsync.gke.io/declared-fields",)
MANAGERS = (
    ("argocd", "Argo CD"), ("kustomize-controller", "Flux"), ("helm-controller", "Flux"),
    ("config-policy-controller", "an Advanced Cluster Management policy"),
    ("multicluster-operators-subscription", "Advanced Cluster Management"), ("work-agent", "Open Cluster Management"),
    ("configsync", "Config Sync"), ("fleetagent", "Fleet"), ("fleet-agent", "Fleet"), ("kapp", "kapp"),
)


def owners(obj):
    """Who manages an object from a repository, as words for people: ``["Argo CD (virt)"]``; ``[]`` when nobody does.

    :param obj: any object with its metadata; anything may be missing.
    """
    found = {}
    notes = dict(labels(obj), **mapping(obj, "metadata", "annotations"))
    for key, tool in MARKS:
        value = notes.get(key)
        if isinstance(value, str) and value:
            # Argo's id is application:group/kind:namespace/name; the application is what people know.
            name = "" if key in _NAMELESS else value.split(":")[0]
            found.setdefault(tool.split()[0], "%s (%s)" % (tool, name) if name else tool)
    for row in rows(obj, "metadata", "managedFields"):
        manager = text(row, "manager")
        tool = next((tool for start, tool in MANAGERS if _is(manager, start)), None)
        if tool and row.get("subresource") != "status":
            found.setdefault(tool.replace("an ", "").split()[0], "%s (writes as %s)" % (tool, manager))
    return sorted(found.values())


def _is(manager, start):
    return manager == start or manager.startswith(start + "-")
