// Copyright: (c) 2026, the bigvm contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Prints, as one JSON list, what virt-operator of the pinned release would create: definitions, rights, webhooks, API
// services, virt-handler's DaemonSet. The lab's installer applies it, so that nothing of it is written down twice.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	v1 "kubevirt.io/api/core/v1"
	"kubevirt.io/kubevirt/pkg/virt-operator/resource/generate/components"
	"kubevirt.io/kubevirt/pkg/virt-operator/resource/generate/install"
	"kubevirt.io/kubevirt/pkg/virt-operator/util"
)

const namespace = "kubevirt" // what virt-api and virt-controller take outside a pod

func main() {
	items, err := objects()
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(map[string]interface{}{"items": items})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func objects() ([]interface{}, error) {
	kv := &v1.KubeVirt{}
	kv.Name, kv.Namespace = "kubevirt", namespace
	kv.Spec.ImageRegistry, kv.Spec.ImageTag = "quay.io/kubevirt", os.Args[1]
	kv.Spec.Configuration.DeveloperConfiguration = &v1.DeveloperConfiguration{DisabledFeatureGates: []string{"Template"}}
	os.Setenv("VIRT_OPERATOR_IMAGE", "quay.io/kubevirt/virt-operator:"+os.Args[1])
	all, err := install.GenerateCurrentInstallStrategy(util.GetTargetConfigFromKV(kv), "", namespace)
	if err != nil {
		return nil, err
	}
	own, err := components.NewKubeVirtCrd()
	if err != nil {
		return nil, err
	}
	items := []interface{}{own}
	items = append(items, several(all.CRDs())...)
	items = append(items, several(all.ServiceAccounts())...)
	items = append(items, several(all.ClusterRoles())...)
	items = append(items, several(all.ClusterRoleBindings())...)
	items = append(items, several(all.Roles())...)
	items = append(items, several(all.RoleBindings())...)
	items = append(items, components.NewKubeVirtPriorityClassCR())
	items = append(items, several(all.ValidatingAdmissionPolicies())...)
	items = append(items, several(all.ValidatingAdmissionPolicyBindings())...)
	items = append(items, several(all.DaemonSets())...)
	items = append(items, several(all.APIServices())...)
	items = append(items, several(all.MutatingWebhookConfigurations())...)
	items = append(items, several(all.ValidatingWebhookConfigurations())...)
	return items, nil
}

func several[T runtime.Object](found []T) []interface{} {
	items := []interface{}{}
	for _, one := range found {
		items = append(items, one)
	}
	return items
}
