# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What kinds of objects a cluster knows: resources, their versions and the built-in ones."""

from __future__ import annotations


class Resource:
    """One kind as the API serves it.

    :param version: the version objects are stored in (and the controllers see).
    :param subresources: e.g. ``("status", "log")``; ``status`` separates the two halves of an object.
    :param schema: openAPIV3Schema of ``version``; None keeps every field (core kinds).
    :param served_versions: ``{version: schema}`` of all served versions when there are more than one.
    """

    def __init__(self, group, version, plural, kind, namespaced=True, subresources=(), schema=None,
                 served_versions=None, short_names=(), singular=None, categories=(), verbs=None,
                 selectable_fields=(), custom=None, generation=None):
        self.group = group
        self.version = version
        self.plural = plural
        self.kind = kind
        self.namespaced = namespaced
        self.subresources = tuple(subresources)
        self.schemas = dict(served_versions or {version: schema})
        self.served = list(self.schemas)
        self.short_names = tuple(short_names)
        self.singular = singular or kind.lower()
        self.categories = tuple(categories)
        self.verbs = verbs or ALL_VERBS
        self.selectable_fields = tuple(selectable_fields)
        self.custom = any(self.schemas.values()) if custom is None else custom
        self.counts_generations = self.custom if generation is None else generation
        self.checks_names = group != "rbac.authorization.k8s.io"  # those may be called anything
        self.fields = FIELDS.get(self.key, ())  # of a core kind, beside its identity; () when it has others
        self.columns = {}  # additionalPrinterColumns by version
        self.convert = None  # (obj, version) -> obj in that version; None: only apiVersion changes

    @property
    def key(self):
        """``plural.group``, or ``plural`` for a core kind: the name used all over the store."""
        return "%s.%s" % (self.plural, self.group) if self.group else self.plural

    @property
    def api_version(self):
        """``group/version`` of what is stored."""
        return self.api_version_of(self.version)

    def api_version_of(self, version):
        """``group/version`` of a served version."""
        return "%s/%s" % (self.group, version) if self.group else version

    @property
    def has_status(self):
        """Whether spec and status are written apart."""
        return "status" in self.subresources

    def converted(self, obj, version):
        """``obj`` in another served version; the same object when it is in that version already."""
        wanted = self.api_version_of(version)
        if obj.get("apiVersion") == wanted:
            return obj
        return dict(self.convert(obj, version) if self.convert else obj, apiVersion=wanted, kind=self.kind)


_HALVES = ("spec", "status")
_HALVED = (
    "nodes", "pods", "namespaces", "services", "persistentvolumes", "persistentvolumeclaims", "resourcequotas",
    "daemonsets.apps", "deployments.apps", "replicasets.apps", "statefulsets.apps", "jobs.batch",
    "poddisruptionbudgets.policy", "customresourcedefinitions.apiextensions.k8s.io")
FIELDS = dict(dict.fromkeys(_HALVED, _HALVES), **{
    "configmaps": ("data", "binaryData", "immutable"), "secrets": ("data", "stringData", "type", "immutable"),
    "leases.coordination.k8s.io": ("spec",)})
ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


def built_in():
    """The kinds that exist without any CustomResourceDefinition."""
    core = [
        ("namespaces", "Namespace", False, ("status",), ("ns",)),
        ("nodes", "Node", False, ("status",), ("no",)),
        ("pods", "Pod", True, ("status", "log", "eviction"), ("po",)),
        ("configmaps", "ConfigMap", True, (), ("cm",)),
        ("secrets", "Secret", True, (), ()),
        ("services", "Service", True, ("status",), ("svc",)),
        ("serviceaccounts", "ServiceAccount", True, (), ("sa",)),
        ("events", "Event", True, (), ("ev",)),
        ("persistentvolumes", "PersistentVolume", False, ("status",), ("pv",)),
        ("persistentvolumeclaims", "PersistentVolumeClaim", True, ("status",), ("pvc",)),
        ("resourcequotas", "ResourceQuota", True, ("status",), ("quota",)),
    ]
    others = [
        ("apps", "v1", "daemonsets", "DaemonSet", True, ("status",), ("ds",)),
        ("apps", "v1", "deployments", "Deployment", True, ("status",), ("deploy",)),
        ("apps", "v1", "replicasets", "ReplicaSet", True, ("status",), ("rs",)),
        ("apps", "v1", "statefulsets", "StatefulSet", True, ("status",), ("sts",)),
        ("batch", "v1", "jobs", "Job", True, ("status",), ()),
        ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True, ("status",), ("pdb",)),
        ("coordination.k8s.io", "v1", "leases", "Lease", True, (), ()),
        ("storage.k8s.io", "v1", "storageclasses", "StorageClass", False, (), ("sc",)),
        ("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False, (), ()),
        ("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False, (), ()),
        ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False,
         ("status",), ("crd", "crds")),
    ]
    for plural, kind, namespaced, subresources, short_names in core:
        verbs = tuple(verb for verb in ALL_VERBS if verb != "deletecollection") if plural in ("namespaces",) else None
        yield Resource("", "v1", plural, kind, namespaced, subresources, short_names=short_names, verbs=verbs,
                       categories=("all",) if plural in ("pods", "services") else ())
    for group, version, plural, kind, namespaced, subresources, short_names in others:
        counted = group in ("apps", "batch", "policy", "apiextensions.k8s.io")
        categories = {"apps": ("all",), "batch": ("all",), "apiextensions.k8s.io": ("api-extensions",)}.get(group, ())
        yield Resource(group, version, plural, kind, namespaced, subresources, short_names=short_names,
                       categories=categories, generation=counted)
    yield Resource("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", False, verbs=("create",))
    yield Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False,
                   verbs=("create",))
