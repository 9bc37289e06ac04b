# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is kept apart and who together: by label, by name, and what cannot be meant."""

from __future__ import annotations

import pytest

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.bonds import (
    KEEP_APART,
    KEEP_TOGETHER,
    bonds_of,
)


def vmi(name, node="n1", namespace="sap", **labels):
    return {"metadata": {"namespace": namespace, "name": name, "labels": labels}, "status": {"nodeName": node}}


A, B, C, D = (("sap", name) for name in "abcd")


def test_labels_and_names_add_up_and_who_is_alone_with_a_label_is_bound_to_nobody():
    found = bonds_of([vmi("a", **{KEEP_APART: "hsr"}), vmi("b", "n2", **{KEEP_APART: "hsr"}), vmi("c"), vmi("d", **{KEEP_APART: "x"})],
                     [["a", "sap/c"]])
    assert found.apart == {A: {B, C}, B: {A}, C: {A}} and found.places == {A: "n1", B: "n2", C: "n1"} and found.together == {}


def test_the_same_label_in_another_namespace_binds_nobody():
    assert bonds_of([vmi("a", **{KEEP_APART: "hsr"}), vmi("b", namespace="other", **{KEEP_APART: "hsr"})]).apart == {}


def test_who_is_with_the_same_is_with_each_other():
    found = bonds_of([vmi(name, **({KEEP_TOGETHER: "g"} if name in "ab" else {})) for name in "abcd"], (), [["b", "c"], ["c", "d"]])
    assert found.together[A] == {B, C, D} and found.together[D] == {A, B, C}


@pytest.mark.parametrize("apart, together, said", [
    ([["a", "b"]], [["b", "a"]], "sap/a and sap/b shall be kept apart and kept together"),
    ([["a", "c"]], [["a", "b"], ["b", "c"]], "kept apart and kept together"),
    ([["a", "nobody"]], [], "keep_apart names nobody, and no VM of that name runs"),
    ([["a"]], [], "two VMs or more"), ([["a", "a"]], [], "two VMs or more"), ([], ["ab"], "keep_together holds lists"),
    ([["a", "twice"]], [], "there are other/twice and sap/twice"),
])
def test_rules_that_contradict_each_other_or_name_nobody_are_refused(apart, together, said):
    vmis = [vmi("a"), vmi("b"), vmi("c"), vmi("twice"), vmi("twice", namespace="other")]
    with pytest.raises(ValueError, match=said):
        bonds_of(vmis, apart, together)
