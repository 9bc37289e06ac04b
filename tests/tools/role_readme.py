# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the table of variables into each role's README from its meta/argument_specs.yml; what else stands there is left alone.

``role_readme.py`` writes all of them. The table is kept between two comments; a README without them gets it at its end.
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"
BEGIN = "<!-- variables: written by 'make roles' from meta/argument_specs.yml -->"
VALUES = "<!-- values: written by 'make roles' from plugins/module_utils/domain/guest_tuning.py -->"
VALUES_END = "<!-- values: end -->"
END = "<!-- variables: end -->"
HOME = "{{ lookup('ansible.builtin.env', 'HOME') }}"  # the only template whose value a reader can be told


def roles():
    """The folders of all roles."""
    return sorted(path for path in ROLES.iterdir() if (path / "meta" / "argument_specs.yml").exists())


def specification(role):
    """The options of a role's entry point ``main``."""
    return yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]["main"].get("options", {})


def defaults(role):
    """What defaults/main.yml sets."""
    path = role / "defaults" / "main.yml"
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def disagreements(role):
    """Where a role's specification and its defaults do not say the same, as sentences."""
    said, options, given = [], specification(role), defaults(role)
    for name in sorted(set(given) - set(options)):
        said.append("%s has a default, but stands not in meta/argument_specs.yml" % name)
    for name, option in sorted(options.items()):
        if not name.startswith(role.name + "_"):
            said.append("%s does not begin with the role's name" % name)
        if not _text(option.get("description")):
            said.append("%s has no description" % name)
        if option.get("required"):
            if name in given or "default" in option:
                said.append("%s is required and has a default" % name)
            continue
        if name not in given:
            said.append("%s is optional, but defaults/main.yml does not set it" % name)
            continue
        value = given[name].replace(HOME, "~") if isinstance(given[name], str) else given[name]
        if isinstance(value, str) and "{{" in value:
            if "default" in option:
                said.append("%s: its default is a template, so meta/argument_specs.yml cannot name it; the description can" % name)
        elif "default" not in option or (option["default"], type(option["default"])) != (value, type(value)):
            said.append("%s: the default is %r, meta/argument_specs.yml says %r" % (name, value, option.get("default")))
    return said


def table(role):
    """The table of a role's variables, as Markdown with its two comments."""
    lines = [BEGIN, "", "| variable | type | default | meaning |", "|---|---|---|---|"]
    for name, option in specification(role).items():
        lines += _rows(name, option, defaults(role).get(name))
    return "\n".join(lines + ["", END])


def _rows(name, option, default):
    kind = option.get("type", "str") + (" of " + option["elements"] if option.get("elements") else "")
    if option.get("required"):
        shown = "required"
    elif "default" in option:
        shown = "`%s`" % json.dumps(option["default"], ensure_ascii=False)
    else:
        shown = "see there" if default is not None else ""
    meaning = _text(option.get("description"))
    if option.get("choices"):
        meaning += " One of %s." % ", ".join("`%s`" % (choice if choice != "" else '""') for choice in option["choices"])
    yield "| %s |" % " | ".join(cell.replace("|", "\\|") for cell in ("`%s`" % name, kind, shown, meaning))
    for inner, its in option.get("options", {}).items():
        yield from _rows("%s.%s" % (name, inner), its, None)


def _text(description):
    return " ".join(" ".join([description] if isinstance(description, str) else description or []).split())


def page(role, text):
    """A README with its table brought up to date."""
    if VALUES in text:
        from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import guest_tuning

        before, _begin, rest = text.partition(VALUES)
        text = before + "\n".join([VALUES, "", *guest_tuning.table(), "", VALUES_END]) + rest.partition(VALUES_END)[2]
    before, begin, rest = text.partition(BEGIN)
    if not begin:
        return "%s\n\n## Variables\n\n%s\n" % (text.rstrip("\n"), table(role))
    return before + table(role) + rest.partition(END)[2]


if __name__ == "__main__":
    for one in roles():
        readme = one / "README.md"
        readme.write_text(page(one, readme.read_text(encoding="utf-8")), encoding="utf-8")
