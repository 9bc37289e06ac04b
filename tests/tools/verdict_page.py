# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write docs/verdict.md and docs/kvm_verdict.md from the tables of reasons: ``verdict_page.py`` writes, with ``check`` compares.

What a code looks at is the docstring of the rule that yields it, found where the rule's source names the code.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain import (
    kvm_guest,
    kvm_reasons,
    placement,
    reasons,
    rules,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "verdict.md"
KVM_PAGE = PAGE.with_name("kvm_verdict.md")
KVM_HEAD = """# What the verdict on libvirt guests looks at

Written by `make verdict` from `plugins/module_utils/domain/kvm_reasons.py` and the rules in `kvm_guest.py`;
`tests/unit/test_verdict_page.py` checks that it is current. `libvirt_migratable_info` returns these codes. Verdicts and effects are
those of [the verdict on VMs of OpenShift Virtualization](verdict.md).

| code | severity | effect | looked at | what it means | what helps | reference |
|---|---|---|---|---|---|---|
"""
HEAD = """# What the verdict looks at

Written by `make verdict` from `plugins/module_utils/domain/reasons.py` and the rules; `tests/unit/test_verdict_page.py`
checks that it is current. `vm_migratable_facts`, `evacuation_plan_info` and the role `cluster_preflight` return these codes.

The verdict on a VM is the first of these that one of its reasons has; without any it is **live**:

| effect | meaning |
|---|---|
| cold_only | it cannot be moved live; it can be stopped, and started on another node |
| blocked | it cannot be moved now |
| unknown | a check that could block could not be made |

Reasons of severity `warning` and `info` leave the verdict as it is. "all" means KubeVirt 1.3 to 1.9.
"""
PARTS = (
    ("KubeVirt's own verdict", reasons.LIVE_MIGRATABLE, "KubeVirt's LiveMigratable condition shows the first of its checks that "
     "fails. A reason that a newer KubeVirt may bring is reported under its own name and counts as cold_only."),
    ("The guest and other migrations", reasons.STATE, ""),
    ("Storage", reasons.STORAGE, ""),
    ("Where it can go", reasons.TARGETS, "Codes of severity `info` here rule out a single node (`ruled_out`); only when no node is "
     "left is the guest blocked."),
    ("Quotas, limits and settings", reasons.LIMITS, ""),
    ("The site", reasons.SITE, ""),
    ("What could not be judged", dict(reasons.CHECK_FAILED, **reasons.UNREADABLE), ""),
)
LOOKED_AT = {
    "Stopped": "A VM without a VirtualMachineInstance.", "CheckFailed": "Any check that stumbled over an object.",
    "NoRoomLeft": "Each other node, when all guests of a node are placed (plan, N-1).",
    "KeepRulesLeaveNoNode": "Where those are whom a guest is kept apart from or together with (plan).",
    "PostCopyAcknowledged": "Post-copy that was acknowledged for a critical guest.",
    "DisruptionAcknowledged": "A pause that was acknowledged for a critical guest.",
}


def looked_at():
    """``{code: first sentence of the rule that yields it}``."""
    found = dict(LOOKED_AT)
    for rule in rules.RULES:
        for code in _codes(inspect.getsource(rule)):
            found.setdefault(code, _sentence(rule.__doc__))
    for code in reasons.LIVE_MIGRATABLE:
        found[code] = _sentence(rules.live_migratable.__doc__)
    for danger in ("PostCopyCritical", "DisruptionCritical"):
        found[danger] = _sentence(rules.disruption.__doc__)
    for code in _codes(inspect.getsource(rules.streams)):
        found.setdefault(code, _sentence(rules.multifd.__doc__))
    for code, reason in reasons.TARGETS.items():
        if reason.severity == "info":
            found[code] = "Each other node."
    for name, (code, what, _resource, _unknown) in reasons.LISTS.items():
        found[code] = "The list of %s." % what
    return found


def _codes(source, known=None):
    strings = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return sorted(strings & set(reasons.REASONS if known is None else known))


def _sentence(documentation):
    said = " ".join(documentation.split("\n\n")[0].split())
    return re.sub(r" \((facts|S\d)[^)]*\)", "", said)


def page():
    """The text of the page."""
    seen, lines = looked_at(), [HEAD]
    for title, part, remark in PARTS:
        lines += ["## %s\n" % title] + ([remark + "\n"] if remark else [])
        lines += ["| code | severity | effect | looked at | what it means | what helps | releases | reference |",
                  "|---|---|---|---|---|---|---|---|"]
        lines += ["| %s |" % " | ".join(_cell(cell) for cell in (
            "`%s`" % code, reason.severity, reason.effect or "", seen[code], reason.message, reason.remedy,
            reasons.RELEASES.get(code, "all"), reason.reference)) for code, reason in part.items()]
        lines.append("")
    lines.append("A node is judged by its heartbeat: older than %d s, it counts as gone." % placement.HEARTBEAT_LIMIT)
    return "\n".join(lines) + "\n"


def kvm_looked_at():
    """``{code: first sentence of the rule that yields it}``."""
    found = {"HostsDiffer": "QEMU, libvirt, microcode, firmware and, where given, kernel of both hosts."}
    for rule in (*kvm_guest.RULES, kvm_guest._pages_of_nodes):
        for code in _codes(inspect.getsource(rule), kvm_reasons.REASONS):
            found.setdefault(code, _sentence(rule.__doc__))
    return found


def kvm_page():
    """The text of the page about KVM hosts."""
    seen = kvm_looked_at()
    return KVM_HEAD + "".join("| %s |\n" % " | ".join(_cell(cell) for cell in (
        "`%s`" % code, reason.severity, reason.effect or "", seen[code], reason.message, reason.remedy, reason.reference))
        for code, reason in kvm_reasons.REASONS.items())


def _cell(text):
    return text.replace("|", "\\|")


def is_current():
    """Whether both pages are as they would be written."""
    return all(path.is_file() and path.read_text(encoding="utf-8") == text() for path, text in ((PAGE, page), (KVM_PAGE, kvm_page)))


def main(words):
    """Write or check; returns the exit code."""
    if words == ["check"]:
        if not is_current():
            print("docs/verdict.md or docs/kvm_verdict.md is not what 'make verdict' writes")
        return int(not is_current())
    PAGE.write_text(page(), encoding="utf-8")
    KVM_PAGE.write_text(kvm_page(), encoding="utf-8")
    print("docs/kvm_verdict.md: %d codes" % len(kvm_reasons.REASONS))
    print("docs/verdict.md: %d codes" % len(reasons.REASONS))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
