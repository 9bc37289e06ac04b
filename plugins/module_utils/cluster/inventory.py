# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything a verdict needs, fetched with a number of LISTs that does not depend on how many VMs there are."""

from __future__ import annotations

import contextlib
import difflib
import gc

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster import hyperconverged
from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.bonds import KEEP_APART, KEEP_TOGETHER
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.raw import dig, key_of, mapping, rows, text
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.rules import wants_claims

KUBEVIRT = "kubevirt.io/v1"
VMIM_CRD = "virtualmachineinstancemigrations.kubevirt.io"
VMIM_KIND = "VirtualMachineInstanceMigration"
NODE_LABEL = "kubevirt.io/nodeName"  # every running VMI carries it; its value ends at 63 characters
ACTIVE_PODS = "status.phase!=Succeeded,status.phase!=Failed"
# Kinds that not every cluster has: {name in the inventory: (group, version, plural)}
OPTIONAL = {
    "cluster_quotas": ("quota.openshift.io", "v1", "clusterresourcequotas"),
    "aaq_quotas": ("aaq.kubevirt.io", "v1alpha1", "applicationawareresourcequotas"),
    "aaqs": ("aaq.kubevirt.io", "v1alpha1", "aaqs"),
    "topologies": ("topology.node.k8s.io", "v1alpha2", "noderesourcetopologies"),
    "attachments": ("k8s.cni.cncf.io", "v1", "network-attachment-definitions"),
    "network_policies": ("nmstate.io", "v1", "nodenetworkconfigurationpolicies"),
    "pools": ("machineconfiguration.openshift.io", "v1", "machineconfigpools"),
}
HINTS = ("aaqs", "topologies", "attachments", "network_policies", "pools")  # nothing depends on these alone


def collect(api, names=None, namespace=None, label_selectors=None, node=None, everything=False):
    """The inventory that :func:`..domain.migratability.judge` reads, for the VMs asked about.

    :param names: ``[(namespace, name)]``; or one of the following, or nothing for all VMs.
    :param namespace: all VMs of that namespace; may be combined with ``label_selectors``.
    :param label_selectors: list of label selectors as Kubernetes writes them; all must match.
    :param node: the VMs running on that node.
    :param everything: ``guests``, too: the VMIs of the whole cluster, and claims and quotas of all namespaces.
    :raises BadInput: a name or node that does not exist, with similar ones.
    :raises NotFound: a cluster without KubeVirt.
    :raises Forbidden: only when the VMIs themselves cannot be listed; other lists are named in ``forbidden``.
    """
    with uncollected():
        return _collect(api, names, namespace, label_selectors, node, everything)


@contextlib.contextmanager
def uncollected():
    """Parsed JSON has no cycles, and looking for some among millions of objects takes twice as long as parsing it."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _collect(api, names, namespace, label_selectors, node, everything):
    scope = namespace
    if names:
        namespaces = {key[0] for key in names}
        scope = namespaces.pop() if len(namespaces) == 1 else None
    query = {}
    if label_selectors:
        query["labelSelector"] = ",".join(label_selectors)
    elif node and len(node) <= 63:
        query["labelSelector"] = "%s=%s" % (NODE_LABEL, node)
    elif names and len(names) == 1:
        query["fieldSelector"] = "metadata.name=%s" % names[0][1]
    fetch = _Fetch(api)
    found = {"now": api.clock.now(), "forbidden": fetch.forbidden, "vmis": _vmis(api, scope, query)}
    if everything:
        found["guests"] = _vmis(api, None, {}) if scope or query else found["vmis"]
    found["vms"] = _vms_of(fetch, found["vmis"]) if node else fetch.list("vms", KUBEVIRT, "virtualmachines", scope, **query)
    found["nodes"] = fetch.list("nodes", "v1", "nodes")
    found["pods"] = fetch.list("pods", "v1", "pods", fieldSelector=ACTIVE_PODS)
    found["vmims"] = fetch.list("vmims", KUBEVIRT, "virtualmachineinstancemigrations")
    around = None if everything else scope
    wanted = any(wants_claims(vmi) for vmi in found.get("guests", found["vmis"]))
    found["claims"] = fetch.list("claims", "v1", "persistentvolumeclaims", around) if wanted else []
    found["quotas"] = fetch.list("quotas", "v1", "resourcequotas", around)
    found["kubevirts"] = fetch.list("kubevirts", KUBEVIRT, "kubevirts")
    found["policies"] = fetch.list("policies", "migrations.kubevirt.io/v1alpha1", "migrationpolicies")
    found["namespaces"] = fetch.list("namespaces", "v1", "namespaces")
    network = str(dig(next(iter(found["kubevirts"]), {}), "spec", "configuration", "migrations", "network") or "")
    for name, kind in OPTIONAL.items():
        only = {"fieldSelector": "metadata.name=" + network.rpartition("/")[2]} if name == "attachments" else {}
        found[name] = fetch.optional(name, *kind, **only) if network or not only else []
    found["forbidden"] = [name for name in fetch.forbidden if name not in HINTS]
    found["hyperconverged_api"] = hyperconverged_api(api)
    found["target_by_name"] = target_by_name(api)
    found["selected"] = _selected(api, found, names, namespace, label_selectors, node)
    return found


class _Fetch:
    """LISTs that may be forbidden or not served; which were forbidden is kept."""

    def __init__(self, api):
        self._api = api
        self.forbidden = []
        self._served = None  # {group: its versions}, asked when it is needed

    def list(self, name, group_version, plural, namespace=None, **query):
        try:
            return self._api.list(path_of(group_version, plural, namespace), **query).items
        except errors.Forbidden:
            self.forbidden.append(name)
        except errors.NotFound:
            pass  # this cluster does not have the kind, so there are none
        return []

    def optional(self, name, group, version, plural, **query):
        """A kind that the cluster may not have: a server says 403 before it says 404, so what is served is asked first."""
        if self._served is None:
            try:
                groups = rows(self._api.get("/apis"), "groups")
            except (errors.Forbidden, errors.NotFound):
                groups = None
            self._served = None if groups is None else {
                text(row, "name"): [text(one, "version") for one in rows(row, "versions")] for row in groups}
        if self._served is None:
            return self.list(name, "%s/%s" % (group, version), plural, **query)
        if group not in self._served:
            return []
        versions = self._served[group]
        chosen = version if version in versions else (versions or [version])[0]
        return self.list(name, "%s/%s" % (group, chosen), plural, **query)


def _vms_of(fetch, vmis):
    """The VMs of these VMIs, for what only they say (RestartRequired); a stopped VM is on no node.

    One LIST, of one namespace where that will do. Without the right only that warning is lost, so nothing is unknown.
    """
    wanted = {key_of(vmi) for vmi in vmis}
    namespaces = sorted({key[0] for key in wanted})
    listed = fetch.list("vms", KUBEVIRT, "virtualmachines", namespaces[0] if len(namespaces) == 1 else None) if wanted else []
    if "vms" in fetch.forbidden:
        fetch.forbidden.remove("vms")
    return [vm for vm in listed if key_of(vm) in wanted]


def _vmis(api, namespace, query):
    try:
        return api.list(path_of(KUBEVIRT, "virtualmachineinstances", namespace), **query).items
    except errors.NotFound as exc:
        raise errors.NotFound(
            "The cluster at %s has no KubeVirt: it does not know VirtualMachineInstances." % api.host,
            "Check that this is the cluster you mean; OpenShift Virtualization or KubeVirt must be installed there.",
            status=404, reason=exc.reason,
        ) from exc


def bonded(api, found, named):
    """The VMIs of the whole cluster that are kept apart or together, each once.

    :param found: an inventory; with ``guests`` nothing is asked.
    :param named: whether VMs are named that carry no label: then all VMIs.
    """
    if "guests" in found or named:
        return found["guests"] if "guests" in found else _vmis(api, None, {})
    both = _vmis(api, None, {"labelSelector": KEEP_APART}) + _vmis(api, None, {"labelSelector": KEEP_TOGETHER})
    return list({key_of(vmi): vmi for vmi in both}.values())


# -- what was asked for ------------------------------------------------------------


def _selected(api, found, names, namespace, label_selectors, node):
    if names:
        _check_names(api, found, names)
        return list(dict.fromkeys(names))
    if node:
        _check_node(found, node)
        return sorted(key_of(vmi) for vmi in found["vmis"] if dig(vmi, "status", "nodeName") == node)
    running = {key_of(vmi) for vmi in found["vmis"]}
    # By label a VM may be found without its guest, whose labels can differ: then it is not stopped, only not meant.
    stopped = {key_of(vm) for vm in found["vms"] if not (label_selectors and dig(vm, "status", "created"))}
    return sorted(running | stopped)


def _check_names(api, found, names):
    known = {key_of(obj) for obj in found["vmis"] + found["vms"]}
    unknown = [key for key in dict.fromkeys(names) if key not in known]
    if not unknown or "vms" in found["forbidden"]:
        return  # without the right to see VMs nobody can say that there is none
    if len(names) == 1:  # only that one was asked for so far
        for plural in ("virtualmachines", "virtualmachineinstances"):
            known.update(key_of(obj) for obj in api.list(path_of(KUBEVIRT, plural, names[0][0])).items)
    raise errors.BadInput(
        "There is no VM %s." % ", ".join("%s/%s" % key for key in unknown),
        _similar(["%s/%s" % key for key in unknown], ["%s/%s" % key for key in known], "VMs"),
    )


def check_nodes(found, nodes):
    """:raises BadInput: a node that does not exist, with similar ones."""
    for node in nodes:
        _check_node(found, node)


def _check_node(found, node):
    known = [key_of(entry)[1] for entry in found["nodes"]]
    if node not in known and "nodes" not in found["forbidden"]:
        raise errors.BadInput("There is no node %s." % node, _similar([node], known, "nodes"))


def _similar(unknown, known, what):
    close = [match for name in unknown for match in difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.75)]
    if close:
        return "Did you mean %s?" % " or ".join(dict.fromkeys(close))
    some = sorted(known)[:5]
    return "Known %s are %s%s." % (what, ", ".join(some), " ..." if len(known) > 5 else "") if some else \
        "There are no %s there at all." % what


# -- what this cluster can do --------------------------------------------------------


def hyperconverged_api(api):
    """The HyperConverged API version to work with, ``v1`` or ``v1beta1``; None without HyperConverged (facts 10.1)."""
    try:
        return hyperconverged.served_version(api)
    except errors.Forbidden:
        return None


def target_by_name(api):
    """Whether a migration takes a target (``addedNodeSelector``); None when the schema cannot be read.

    An API server drops a field that is not in the schema without a word (facts 1.2), so the schema is asked: that
    of the CRD, or where CRDs may not be read, the OpenAPI document that every user may read.
    """
    try:
        crd = api.get(path_of("apiextensions.k8s.io/v1", "customresourcedefinitions", name=VMIM_CRD))
        schemas = [dig(version, "schema", "openAPIV3Schema") for version in rows(crd, "spec", "versions")
                   if version.get("name") == "v1"]
    except (errors.Forbidden, errors.NotFound):
        schemas = _published_schemas(api)
    found = [mapping(schema, "properties", "spec", "properties") for schema in schemas]
    return any("addedNodeSelector" in fields for fields in found) if any(found) else None


def _published_schemas(api):
    try:
        document = api.get("/openapi/v3/apis/" + KUBEVIRT)
    except (errors.Forbidden, errors.NotFound):
        return []
    return [
        schema for schema in mapping(document, "components", "schemas").values()
        if any(row.get("kind") == VMIM_KIND for row in rows(schema, "x-kubernetes-group-version-kind"))
    ]
