# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection as a product: what its descriptions promise is so, and agrees with each other."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from ansible_collections.bigvm.live_migration.plugins.doc_fragments import attributes as shared_attributes

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "plugins" / "modules").glob("*.py"))


def load(name):
    """A YAML file of the project."""
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def strings(path):
    """The module-level strings of a Python file, by name."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return {
        node.targets[0].id: node.value.value
        for node in body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.targets[0], ast.Name)
    }


def talks_to_a_cluster(path):
    """Whether a module connects to an API server: it then goes through the one runner."""
    return "cluster.runner import run_module" in path.read_text(encoding="utf-8")


def group():
    """Our action group: ``(module names, groups it extends)``."""
    rows = load("meta/runtime.yml")["action_groups"]["kubernetes"]
    extended = [name for row in rows if isinstance(row, dict) for name in row["metadata"]["extend_group"]]
    return [row for row in rows if isinstance(row, str)], extended


def used_core_modules():
    """Every kubernetes.core action that a role or playbook of ours calls."""
    found = set()
    for folder in ("roles", "playbooks"):
        for path in (ROOT / folder).rglob("*.yml"):
            found |= set(re.findall(r"^\s*-?\s*(kubernetes\.core\.\w+):", path.read_text(encoding="utf-8"), re.MULTILINE))
    return found


def test_identity():
    galaxy = load("galaxy.yml")
    assert (galaxy["namespace"], galaxy["name"]) == ("bigvm", "live_migration")
    assert re.fullmatch(r"\d+\.\d+\.\d+", galaxy["version"])
    assert (ROOT / galaxy["license_file"]).is_file()
    assert (ROOT / galaxy["readme"]).is_file()
    assert load("meta/runtime.yml")["requires_ansible"] == ">=2.16.0"


def test_the_changelog_knows_the_version():
    assert load("galaxy.yml")["version"] in load("changelogs/changelog.yaml")["releases"]


def test_dependency_lists_agree():
    promised = load("galaxy.yml")["dependencies"]
    assert {row["name"]: row["version"] for row in load("requirements.yml")["collections"]} == promised
    pinned = json.loads((ROOT / "tests" / "dependencies.json").read_text(encoding="utf-8"))["collections"]
    beside = {"kubevirt.core"}  # not needed: its inventory plugin is documented, so tests run it
    assert set(pinned) - beside == set(promised) == {"kubernetes.core", "ansible.posix"}
    for name, wanted in promised.items():
        assert pinned[name] in SpecifierSet(wanted), name


def test_locked_packages_satisfy_what_is_promised():
    lock = dict(
        line.split("==") for line in (ROOT / "tests" / "requirements.txt").read_text(encoding="utf-8").splitlines() if "==" in line
    )
    lock = {name.lower(): version for name, version in lock.items()}
    for name in ("requirements.txt", "requirements-rehearsal.txt"):
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            match = re.match(r"([A-Za-z][\w.-]*)(.*)", line)
            if match:
                assert lock[match[1].lower()] in SpecifierSet(match[2].strip()), line


def test_execution_environment_leaves_the_rehearsal_out():
    python = load("meta/execution-environment.yml")["dependencies"]["python"]
    assert python == "requirements.txt"
    production = (ROOT / python).read_text(encoding="utf-8")
    assert "kubernetes" in production
    for name in ("uvicorn", "jsonschema", "trustme"):
        assert name not in production
        assert name in (ROOT / "requirements-rehearsal.txt").read_text(encoding="utf-8")


def test_sanity_needs_no_ignore_file():
    assert load("tests/config.yml") == {"modules": {"python_requires": ">=3.9"}}
    assert not list((ROOT / "tests").glob("sanity/ignore*"))


def test_action_group_names_each_cluster_module():
    ours = {path.stem for path in MODULES if talks_to_a_cluster(path)}
    assert ours
    named, extended = group()
    assert {name for name in named if "." not in name} == ours
    assert extended == ["kubernetes.core.k8s"]


def test_action_group_names_each_libvirt_module():
    named = load("meta/runtime.yml")["action_groups"]["libvirt"]
    assert named == sorted(path.stem for path in MODULES if "hypervisor.runner import run_module" in path.read_text(encoding="utf-8"))
    assert all(name.startswith("libvirt_") for name in named)


def test_action_group_reaches_every_kubernetes_core_module_we_use():
    folder = importlib.util.find_spec("ansible_collections.kubernetes.core").submodule_search_locations[0]
    theirs = yaml.safe_load((Path(folder) / "meta" / "runtime.yml").read_text(encoding="utf-8"))["action_groups"]["k8s"]
    reached = {f"kubernetes.core.{name}" for name in theirs} | set(group()[0])
    assert used_core_modules() <= reached
    # named beside the group only because the group lacks them
    assert not {f"kubernetes.core.{name}" for name in theirs} & set(group()[0])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_module_documents_itself(path):
    texts = strings(path)
    documentation = yaml.safe_load(texts["DOCUMENTATION"])
    assert documentation["module"] == path.stem
    assert documentation["version_added"] == "0.1.0"
    assert documentation["short_description"] and not documentation["short_description"].endswith(".")
    attributes = dict(documentation.get("attributes") or {})
    for name in documentation.get("extends_documentation_fragment") or []:
        if name.startswith("bigvm.live_migration.attributes."):
            attributes.update(yaml.safe_load(getattr(shared_attributes.ModuleDocFragment, name.rpartition(".")[2].upper()))["attributes"])
    for name in ("check_mode", "diff_mode"):
        assert attributes[name]["support"] in ("full", "partial", "none", "N/A"), name
        assert attributes[name]["description"], name
    if talks_to_a_cluster(path):
        assert "kubernetes.core.k8s_auth_options" in documentation["extends_documentation_fragment"]
    examples = yaml.safe_load(texts["EXAMPLES"])
    assert any(f"bigvm.live_migration.{path.stem}" in task for task in examples)
    assert yaml.safe_load(texts["RETURN"])


@pytest.mark.parametrize("name", ["node_maintenance", "preflight", "migrate", "restore", "rehearse"])
def test_playbook_is_there(name):
    assert yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text(encoding="utf-8"))


def test_roles_have_argument_specs_and_a_readme():
    roles = [path for path in (ROOT / "roles").iterdir() if path.is_dir()]
    assert {path.name for path in roles} >= {"vm_evacuation", "rehearsal"}
    for role in roles:
        specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
        assert specs["main"]["short_description"], role.name
        assert (role / "README.md").is_file(), role.name


def test_tarball_holds_the_collection_and_nothing_of_the_workshop(tmp_path):
    """Built from a folder that looks like a developer's: junk of every kind lies about."""
    work = tmp_path / "work"
    ignored = shutil.ignore_patterns(".git", ".build", ".venv", ".ansible", "__pycache__", "output")
    shutil.copytree(ROOT, work, ignore=ignored)
    junk = [
        ".build/ansible_collections/x.py", ".venv/bin/python", "venv/bin/python", ".ci/run", "tests/tools/x.py", "tests/bench/x.py",
        "tests/lab/x.py", "tests/output/x.json", "tests/integration/inventory",
        "records/run.json", "collections/x/y.py", ".ansible/x", ".hypothesis/x",
        "plugins/modules/__pycache__/x.cpython-311.pyc", "bigvm-live_migration-0.0.9.tar.gz", ".github/workflows/x.yml",
    ]
    for name in junk:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("junk", encoding="utf-8")
    subprocess.run(
        ["ansible-galaxy", "collection", "build", "--output-path", str(tmp_path), str(work)], check=True, capture_output=True
    )
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as tar:
        names = {member.name for member in tar.getmembers() if member.isfile()}
    assert not names & set(junk)
    for name in ("MANIFEST.json", "README.md", "COPYING", "meta/runtime.yml", "requirements.txt", "requirements-rehearsal.txt"):
        assert name in names
    assert {f"plugins/modules/{path.name}" for path in MODULES} <= names
    workshop = ("Makefile", "pyproject.toml", ".gitignore", ".ansible-lint", ".yamllint", "tests/BUDGET", "tests/ratchet")
    assert not names & set(workshop)
    tops = {name.split("/")[0] for name in names if "/" in name}
    assert tops <= {"changelogs", "docs", "extensions", "meta", "playbooks", "plugins", "roles", "tests"}, tops
