// In the place of kubevirt.io/virt-template-api v0.2.0, which the module proxy does not have: names only, for templates of VMs.
module kubevirt.io/virt-template-api

go 1.24.0

require (
	k8s.io/api v0.34.2
	k8s.io/apimachinery v0.34.2
)
