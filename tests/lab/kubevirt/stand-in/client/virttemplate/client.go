// Copyright: (c) 2026, the bigvm contributors
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package virttemplate has what virt-controller compiles against. The lab turns the feature off: nobody calls it.
package virttemplate

import (
	"errors"

	"k8s.io/client-go/rest"
)

type Clientset struct{}

type Templates struct{}

func NewForConfig(*rest.Config) (*Clientset, error) {
	return nil, errors.New("the lab has no VM templates")
}

func (*Clientset) TemplateV1beta1() Templates { return Templates{} }

func (Templates) RESTClient() rest.Interface { return nil }
