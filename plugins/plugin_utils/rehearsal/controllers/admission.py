# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""KubeVirt's webhooks: what they add, and what they refuse with which HTTP code (facts 1.7, 1.18-1.21)."""

from __future__ import annotations

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.target_pod import quantity
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.virt_controller import (
    FINALIZER,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers.world import (
    CONTROLLER,
    FINAL,
    POLICY,
    VMI,
    VMI_NAME,
    VMIM,
    phase_of,
)
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.status import ApiStatus

CREATE_HOOK = "migration-create-validator.kubevirt.io"
UPDATE_HOOK = "migration-update-validator.kubevirt.io"
VMI_HOOK = "virtualmachineinstances-update-validator.kubevirt.io"
POLICY_HOOK = "migration-policy-validator.kubevirt.io"
RESERVED_LABELS = (
    "kubevirt.io/created-by", "kubevirt.io/migrationJobUID", "kubevirt.io/nodeName",
    "kubevirt.io/migrationTargetNodeName", "kubevirt.io/nodeHostname", "kubevirt.io",
)


def denied(hook, message, code=400, field=None):
    """The refusal of an admission webhook; 422 names a field."""
    text = 'admission webhook "%s" denied the request: %s' % (hook, message)
    if code == 422:
        causes = [{"reason": "FieldValueInvalid", "message": message, "field": field}]
        return ApiStatus(422, "Invalid", text, {"causes": causes})
    return ApiStatus(code, message=text)


class Admission:
    """Registers itself with the store."""

    def __init__(self, world):
        self.world = world
        self.store = world.store
        self.store.admit(VMIM, self._migration)
        self.store.admit(VMI, self._instance)
        if POLICY in self.store.resources:
            self.store.admit(POLICY, self._policy)

    # -- migrations ------------------------------------------------------------

    def _migration(self, operation, vmim, old, user, dry_run):
        if operation == "CREATE":
            self._mutate(vmim)
            self.check_create(vmim, user)
        elif operation == "UPDATE":
            self._check_update(vmim, old)

    @staticmethod
    def _mutate(vmim):
        name = (vmim.get("spec") or {}).get("vmiName")
        meta = vmim["metadata"]
        if name:
            meta["labels"] = dict(meta.get("labels") or {}, **{VMI_NAME: name})
        finalizers = meta.setdefault("finalizers", [])
        if FINALIZER not in finalizers:
            finalizers.append(FINALIZER)

    def check_create(self, vmim, user):
        """The validating webhook's checks, in its order.

        :raises ApiStatus: 400, or 422 for what is wrong with a field.
        """
        spec, namespace = vmim.get("spec") or {}, vmim["metadata"].get("namespace")
        name = spec.get("vmiName")
        if not name:
            raise denied(CREATE_HOOK, "vmiName is missing", 422, "spec.vmiName")
        if spec.get("priority") and user != CONTROLLER:
            raise denied(CREATE_HOOK, "only virt-controller is allowed to set priority", 422, "spec.priority")
        vmi = self.store.get(VMI, namespace, name)
        if vmi is None:
            raise denied(CREATE_HOOK, 'the VMI "%s/%s" does not exist' % (namespace, name))
        if phase_of(vmi) in FINAL:
            raise denied(CREATE_HOOK, "Cannot migrate VMI in finalized state.")
        for row in (vmi.get("status") or {}).get("conditions") or []:
            if row.get("type") == "LiveMigratable" and row.get("status") == "False":
                remote = spec.get("sendTo") or spec.get("receive")
                if not (remote and row.get("reason") == "DisksNotLiveMigratable"):
                    raise denied(CREATE_HOOK, "Cannot migrate VMI, Reason: %s, Message: %s" % (
                        row.get("reason", ""), row.get("message", "")))
        for other in self.store.by_index(VMIM, "vmi", (namespace, name)):
            if phase_of(other) not in FINAL:
                raise denied(
                    CREATE_HOOK, "in-flight migration detected. Active migration job (%s) is currently already in "
                    "progress for VMI %s." % (other["metadata"]["uid"], name))
        if spec.get("sendTo") or spec.get("receive"):
            raise denied(CREATE_HOOK, "the feature gate DecentralizedLiveMigration is off", 422,
                         "spec.sendTo" if spec.get("sendTo") else "spec.receive")

    @staticmethod
    def _check_update(vmim, old):
        if vmim.get("spec") != old.get("spec"):
            raise denied(UPDATE_HOOK, "update of Migration object's spec is restricted", 422, "spec")
        label = (vmim["metadata"].get("labels") or {}).get(VMI_NAME)
        if phase_of(old) not in FINAL and label != (old["metadata"].get("labels") or {}).get(VMI_NAME):
            raise denied(UPDATE_HOOK, "selector label can't be %s an in-flight migration" % (
                "modified on" if label else "removed from"), 422, "metadata.labels")

    # -- instances ---------------------------------------------------------------

    def _instance(self, operation, vmi, old, user, dry_run):
        if operation != "UPDATE" or user.startswith("system:"):
            return
        if vmi.get("spec") != old.get("spec"):
            raise denied(VMI_HOOK, "the spec of a running VMI is not changed this way", 422, "spec")
        labels, before = vmi["metadata"].get("labels") or {}, old["metadata"].get("labels") or {}
        if any(labels.get(key) != before.get(key) for key in RESERVED_LABELS):
            raise denied(VMI_HOOK, "a label that KubeVirt reserves for itself was changed", 422, "metadata.labels")

    # -- policies ------------------------------------------------------------------

    @staticmethod
    def _policy(operation, obj, old, user, dry_run):
        if operation == "DELETE":
            return
        spec = obj.get("spec") or {}
        if (spec.get("completionTimeoutPerGiB") or 0) < 0:
            raise denied(POLICY_HOOK, "must not be negative", 422, "spec.completionTimeoutPerGiB")
        if quantity(spec.get("bandwidthPerMigration")) < 0:
            raise denied(POLICY_HOOK, "must not be negative", 422, "spec.bandwidthPerMigration")
