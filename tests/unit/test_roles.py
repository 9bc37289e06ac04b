# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each role says of itself what is so: its specification, its defaults and its README agree."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "tools"))

import role_readme  # noqa: E402

ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_every_variable_is_described_with_its_real_default(role):
    assert role in role_readme.roles(), "%s has no meta/argument_specs.yml" % role.name
    assert not role_readme.disagreements(role)


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_the_readme_has_the_table_of_variables(role):
    text = (role / "README.md").read_text(encoding="utf-8")
    assert role_readme.page(role, text) == text, "not current: make roles"


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_every_variable_of_the_specification_is_used(role):
    tasks = "".join(path.read_text(encoding="utf-8") for path in role.rglob("*.yml") if path.parent.name in ("tasks", "handlers", "vars"))
    tasks += "".join(path.read_text(encoding="utf-8") for path in (role / "templates").glob("*.j2"))
    given = role_readme.defaults(role)
    unused = [name for name in role_readme.specification(role)
              if name not in tasks and not any(name in str(value) for other, value in given.items() if other != name)]
    assert not unused


def a_role(tmp_path, options, given):
    role = tmp_path / "roles" / "r"
    for folder in ("meta", "defaults"):
        (role / folder).mkdir(parents=True)
    (role / "meta" / "argument_specs.yml").write_text(yaml.safe_dump({"argument_specs": {"main": {"options": options}}}))
    (role / "defaults" / "main.yml").write_text(yaml.safe_dump(given))
    return role


@pytest.mark.parametrize("options, given, told", [
    ({"r_a": {"description": "A.", "default": 1}}, {"r_a": 2}, "the default is 2"),
    ({"r_a": {"description": "A.", "default": 1}}, {"r_a": True}, "the default is True"),
    ({"r_a": {"description": "A.", "default": "1"}}, {"r_a": "{{ b }}"}, "its default is a template"),
    ({"r_a": {"description": "A."}}, {}, "does not set it"),
    ({"r_a": {"default": 1}}, {"r_a": 1}, "no description"),
    ({"r_a": {"description": "A.", "required": True}}, {"r_a": 1}, "is required and has a default"),
    ({}, {"r_a": 1}, "stands not in"),
    ({"a": {"description": "A.", "default": 1}}, {"a": 1}, "begin with the role's name"),
])
def test_a_role_that_says_two_things_is_found(tmp_path, options, given, told):
    assert told in " ".join(role_readme.disagreements(a_role(tmp_path, options, given)))


def test_the_table_replaces_the_old_one_and_leaves_the_rest_alone(tmp_path):
    role = a_role(tmp_path, {"r_a": {"description": "One | two.", "default": "", "choices": ["", "x"]},
                             "r_b": {"description": "B.", "type": "list", "elements": "dict", "default": [],
                                     "options": {"name": {"description": "Its name.", "required": True}}}}, {"r_a": "", "r_b": []})
    text = role_readme.page(role, "# r\n\nBy hand.\n")
    assert '| `r_a` | str | `""` | One \\| two. One of `""`, `x`. |' in text
    assert "| `r_b` | list of dict | `[]` | B. |" in text and "| `r_b.name` | str | required | Its name. |" in text
    longer = text.replace("B. |", "old |") + "\n## After\n"
    assert role_readme.page(role, longer) == text + "\n## After\n"
