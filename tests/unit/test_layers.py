# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shape of the house: imports point down only, the domain stands alone, modules are thin."""

from __future__ import annotations

import ast
import io
import pathlib
import sys
import tokenize

import pytest

PLUGINS = pathlib.Path(__file__).resolve().parents[2] / "plugins"
OURS = "ansible_collections.bigvm.live_migration.plugins."
MODULE_LINES = 120

# What each floor may import of ours; "hypervisor" comes with libvirt.
BELOW = {
    "module_utils/common": ("module_utils.common",),
    "module_utils/domain": ("module_utils.domain",),
    "module_utils/cluster": ("module_utils.cluster", "module_utils.domain", "module_utils.common"),
    "module_utils/hypervisor": ("module_utils.hypervisor", "module_utils.domain", "module_utils.common"),
    "modules": ("module_utils",),
    "action": ("module_utils", "plugin_utils", "modules"),
    "plugin_utils": ("plugin_utils", "module_utils"),
}


def sources(folder):
    return sorted((PLUGINS / folder).rglob("*.py"))


def imports(path):
    """Full names of everything that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "%s: relative import" % path
            for alias in node.names:
                yield "%s.%s" % (node.module, alias.name)


def code_lines(text):
    """Lines that hold code: no comments, no blank lines, no docstrings, no DOCUMENTATION, EXAMPLES or RETURN."""
    lines = set()
    skip = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skip:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        string = None
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)):
            string = node.body[0] if ast.get_docstring(node) is not None else None
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
            string = node
        if string is not None:
            lines.difference_update(range(string.lineno, string.end_lineno + 1))
    return len(lines)


def test_there_is_something_to_look_at():
    assert len(sources("modules")) >= 3 and len(sources("module_utils/domain")) >= 5


@pytest.mark.parametrize("folder", sorted(BELOW))
def test_imports_point_down_only(folder):
    wrong = [
        "%s imports %s" % (path.relative_to(PLUGINS), name)
        for path in sources(folder) for name in imports(path)
        if name.startswith(OURS) and not name[len(OURS):].startswith(BELOW[folder])
    ]
    assert wrong == []


def test_the_domain_imports_only_the_standard_library_and_itself():
    wrong = [
        "%s imports %s" % (path.name, name)
        for path in sources("module_utils/domain") for name in imports(path)
        if not name.startswith(OURS) and name.split(".")[0] not in sys.stdlib_module_names
    ]
    assert wrong == []


def test_the_domain_has_no_clock_and_no_input_or_output():
    banned = ("time", "socket", "subprocess", "os", "pathlib", "urllib", "http", "random", "secrets", "threading")
    wrong = [
        "%s imports %s" % (path.name, name)
        for path in sources("module_utils/domain") for name in imports(path) if name.split(".")[0] in banned
    ]
    assert wrong == []
    for path in sources("module_utils/domain"):
        called = {node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                  for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
        assert not called & {"now", "utcnow", "today", "open", "print"}, path.name


@pytest.mark.parametrize("path", sources("modules"), ids=lambda path: path.stem)
def test_modules_are_thin(path):
    assert code_lines(path.read_text()) <= MODULE_LINES


def test_the_count_leaves_out_what_it_should():
    text = '"""Doc\nstring."""\nDOCUMENTATION = r"""\na: b\n"""\n\n# a comment\ndef f():\n    """Says."""\n    return """two\nlines"""\n'
    assert code_lines(text) == 3


@pytest.mark.parametrize("path", sources("."), ids=lambda path: str(path.relative_to(PLUGINS)))
def test_files_start_alike(path):
    lines = path.read_text().splitlines()
    head = lines[1:] if lines[0].startswith("#!") else lines
    assert head[0] == "# -*- coding: utf-8 -*-" and head[3] == "# SPDX-License-Identifier: GPL-3.0-or-later"
    assert "from __future__ import annotations" in lines
