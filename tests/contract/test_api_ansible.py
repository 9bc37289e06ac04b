# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""kubernetes.core's own modules against the embedded cluster: what users write in playbooks works on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PLAY = """
- hosts: localhost
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  module_defaults:
    group/kubernetes.core.k8s: "{{ connection }}"
    kubernetes.core.k8s_json_patch: "{{ connection }}"
  tasks:
    - name: a definition
      kubernetes.core.k8s:
        definition: "{{ crd }}"
      register: definition
    - name: created
      kubernetes.core.k8s:
        definition: {apiVersion: v1, kind: ConfigMap, metadata: {name: one, namespace: default}, data: {a: "1"}}
      register: created
    - name: unchanged
      kubernetes.core.k8s:
        definition: {apiVersion: v1, kind: ConfigMap, metadata: {name: one, namespace: default}, data: {a: "1"}}
      register: unchanged
    - name: patched
      kubernetes.core.k8s:
        definition: {apiVersion: v1, kind: ConfigMap, metadata: {name: one, namespace: default}, data: {b: "2"}}
      register: patched
    - name: checked
      kubernetes.core.k8s:
        definition: {apiVersion: v1, kind: ConfigMap, metadata: {name: one, namespace: default}, data: {c: "3"}}
      check_mode: true
      register: checked
    - name: json patch
      kubernetes.core.k8s_json_patch:
        api_version: v1
        kind: ConfigMap
        namespace: default
        name: one
        patch: [{op: replace, path: /data/a, value: "9"}]
      register: json_patched
    - name: custom
      kubernetes.core.k8s:
        definition: {apiVersion: test.bigvm.io/v1, kind: Gizmo, metadata: {name: g, namespace: default}, spec: {size: 1}}
        wait: false
      register: custom
    - name: info
      kubernetes.core.k8s_info:
        api_version: v1
        kind: ConfigMap
        namespace: default
        label_selectors: ["!nothing"]
      register: info
    - name: custom info
      kubernetes.core.k8s_info:
        api_version: test.bigvm.io/v1
        kind: Gizmo
        name: g
        namespace: default
      register: custom_info
    - name: cordon
      kubernetes.core.k8s_drain:
        name: n1
        state: cordon
      register: cordoned
    - name: deleted
      kubernetes.core.k8s:
        state: absent
        api_version: v1
        kind: ConfigMap
        name: one
        namespace: default
        wait: true
        wait_sleep: 1
      register: deleted
    - name: deleted again
      kubernetes.core.k8s:
        state: absent
        api_version: v1
        kind: ConfigMap
        name: one
        namespace: default
      register: deleted_again
    - name: told
      ansible.builtin.copy:
        dest: "{{ result }}"
        mode: "0600"
        content: "{{ {'definition': definition, 'created': created, 'unchanged': unchanged, 'patched': patched,
          'checked': checked, 'json_patched': json_patched, 'custom': custom, 'info': info, 'custom_info': custom_info,
          'cordoned': cordoned, 'deleted': deleted, 'deleted_again': deleted_again} | to_json }}"
"""
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gizmos.test.bigvm.io"},
    "spec": {"group": "test.bigvm.io", "scope": "Namespaced", "names": {"plural": "gizmos", "kind": "Gizmo"},
             "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                 "type": "object", "properties": {"spec": {"type": "object", "properties": {
                     "size": {"type": "integer"}, "color": {"type": "string", "default": "red"}}}}}}}]},
}


@pytest.fixture(scope="module")
def told(shared, tmp_path_factory):
    """What each task of the play returned, by its registered name."""
    c = shared(bare=True)
    c.http("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}, "spec": {}})
    folder = tmp_path_factory.mktemp("play")
    (folder / "play.yml").write_text(PLAY, encoding="utf-8")
    (folder / "vars.json").write_text(json.dumps(
        {"connection": c.connection, "crd": CRD, "result": str(folder / "result.json")}), encoding="utf-8")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("K8S_AUTH_")}
    done = subprocess.run(
        [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), "-i", "localhost,", "-c", "local",
         "-e", "@vars.json", "play.yml"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        env=dict(clean, ANSIBLE_LOCALHOST_WARNING="false", HOME=str(folder), ANSIBLE_LOCAL_TEMP=str(folder / "tmp")))
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


@pytest.mark.long
def test_k8s_creates_and_is_idempotent(told):
    assert told["created"]["changed"] and told["created"]["method"] == "create"
    assert told["unchanged"]["changed"] is False
    assert told["patched"]["result"]["data"] == {"a": "1", "b": "2"}


def test_check_mode_changes_nothing(told):
    assert told["checked"]["changed"] and "c" not in told["json_patched"]["result"]["data"]


def test_k8s_json_patch(told):
    assert told["json_patched"]["result"]["data"] == {"a": "9", "b": "2"}


def test_custom_resources_by_discovery(told):
    assert told["definition"]["changed"] and told["custom"]["result"]["spec"] == {"size": 1, "color": "red"}
    assert [item["spec"]["color"] for item in told["custom_info"]["resources"]] == ["red"]


def test_k8s_info(told):
    assert [item["metadata"]["name"] for item in told["info"]["resources"]] == ["one"]
    assert told["info"]["resources"][0]["kind"] == "ConfigMap"


def test_k8s_drain_cordons(told):
    assert told["cordoned"]["changed"] is True


def test_k8s_deletes(told):
    assert told["deleted"]["changed"] is True and told["deleted_again"]["changed"] is False
