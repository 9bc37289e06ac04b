// In the place of kubevirt.io/virt-template-client-go v0.2.0, which the module proxy does not have.
module kubevirt.io/virt-template-client-go

go 1.24.0

require k8s.io/client-go v0.34.2
