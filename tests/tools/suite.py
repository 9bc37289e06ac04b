# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the parts of the test suite: ``suite.py NAME ...`` (parts, or the groups test, lab, lint, docs).

Two parts run side by side, and then one by one those that have workers of their
own. Each has a time budget in tests/BUDGET; passing it is a failure. Skips are
counted and printed by reason; BIGVM_REQUIRE=NAME,... turns those whose reason
contains a NAME into failures (``all``: every one). The last line is always
``N passed, N failed``.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree

from places import BUILD, ROOT, TREE, key, lock

LOGS = BUILD / "logs"
TOOLS = ROOT / "tests" / "tools"
SIDE_BY_SIDE = 2
SHOWN = 150  # lines of a failed part's output


@dataclasses.dataclass
class Result:
    """What a part came to."""

    name: str
    passed: int = 0
    failed: int = 0
    skipped: list = dataclasses.field(default_factory=list)  # reasons
    seconds: float = 0.0
    notes: list = dataclasses.field(default_factory=list)
    output: str = ""


# -- how the kinds of parts are run and counted -----------------------------


def by_pytest(result, rc):
    """Counts and skip reasons from pytest's own XML."""
    report = LOGS / f"{result.name}.xml"
    cases = ElementTree.parse(report).getroot().iter("testcase") if report.exists() else ()
    for case in cases:
        skip = case.find("skipped")
        if skip is not None:
            result.skipped.append(skip.get("message") or "no reason given")
        elif case.find("failure") is not None or case.find("error") is not None:
            result.failed += 1
        else:
            result.passed += 1
    if rc and not result.failed:
        result.failed = 1
        result.notes.append(f"pytest ended with {rc}")


def by_target(pattern):
    """A counter for ansible-test: one test per target that ``pattern`` finds in the output."""

    def count(result, rc):
        ran = len(set(re.findall(pattern, result.output)))
        broken = re.search(r"The (\d+) \w+ test\(s\) listed below", result.output)
        result.failed = int(broken.group(1)) if broken else int(bool(rc))
        result.passed = max(ran - result.failed, 0)
        result.skipped += re.findall(r"WARNING: (.*(?:[Ss]kipp|not (?:available|found|installed)).*)", result.output)
        if not ran:
            result.failed = max(result.failed, 1)
            result.notes.append("nothing was run")

    return count


def by_exit(proof=None):
    """A counter for a single check; ``proof`` must be in its output, or it looked at nothing."""

    def count(result, rc):
        if not rc and proof and not re.search(proof, result.output):
            result.notes.append("it looked at no file")
            rc = 1
        result.passed, result.failed = int(not rc), int(bool(rc))

    return count


@dataclasses.dataclass
class Part:
    """One thing to run, in the build tree."""

    name: str
    command: list
    count: object
    variables: dict = dataclasses.field(default_factory=dict)
    missing: str = ""  # why it cannot run here: a skip
    alone: bool = False  # it has workers of its own: nothing beside it


def pytest(name, folder, *more, **variables):
    """A part that is a folder of pytest tests (and ``more``)."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "--durations=5", f"--junitxml={LOGS / name}.xml", folder, *more]
    has_tests = any((ROOT / folder).rglob("test_*.py"))
    missing = "" if has_tests else f"{name}: {folder} holds no tests yet"
    return Part(name, command, by_pytest, {"PYTHONPATH": str(BUILD), **variables}, missing, "-n" in more)


def ansible_test(name, pattern, *words):
    """A part that is a run of ansible-test."""
    return Part(name, [sys.executable, str(TOOLS / "run_ansible_test.py"), name, *words], by_target(pattern))


SHARED_OUT = ("-n", "2", "--dist", "worksteal")  # each worker has a lab or clusters of its own

PARTS = [
    # the long ones first: two parts run side by side
    pytest("contract", "tests/contract", "-m", "not long"),
    pytest("playbooks", "tests/playbooks", "-m", "not long"),
    ansible_test("integration", r"Running (\S+) integration test role", "--continue-on-error"),
    ansible_test("sanity", r'Running sanity test "(\S+)"'),
    Part("ansible-lint", ["ansible-lint", "--offline", "--nocolor"], by_exit(r"in [1-9]\d* files")),
    pytest("unit", "tests/unit"),
    Part("docs", ["antsibull-docs", "lint-collection-docs", "--plugin-docs",
                  "--validate-collection-refs", "self", "."], by_exit()),
    Part("changelog", ["antsibull-changelog", "lint"], by_exit()),
    Part("yamllint", ["yamllint", "-s", "."], by_exit()),
    Part("ruff", ["ruff", "check", "--no-cache", "."], by_exit()),
    Part("build", [sys.executable, str(TOOLS / "tarball.py")], by_exit(r"galaxy\.yml|MANIFEST\.json")),
    Part("ratchet", [sys.executable, str(TOOLS / "ratchet.py")], by_exit()),
    pytest("lab-contract", "tests/contract", "-m", "long", *SHARED_OUT),
    pytest("lab-playbooks", "tests/playbooks", "-m", "long", *SHARED_OUT),
    pytest("lab-kubernetes", "tests/lab/kubernetes", "tests/contract", *SHARED_OUT, BIGVM_CLUSTER="lab"),
    pytest("lab-kubevirt", "tests/lab/kubevirt", "tests/contract", *SHARED_OUT, BIGVM_CLUSTER="kubevirt"),
    pytest("lab-libvirt", "tests/lab/libvirt", "-n", "3", *SHARED_OUT[2:]),
    pytest("lab-prometheus", "tests/lab/prometheus"),
    pytest("molecule", "tests/molecule", *SHARED_OUT),
]
BY_HAND = [part.name for part in PARTS if part.name.startswith("lab-") or part.name == "molecule"]
GROUPS = {
    "test": [part.name for part in PARTS if part.name not in BY_HAND],
    "lab": BY_HAND,
    "lint": ["ansible-lint", "yamllint", "ruff"],
    "docs": ["docs", "changelog"],
}
TOTALS = ["total", "lab-total"]


# -- running ---------------------------------------------------------------


def budgets():
    """Seconds by part, from tests/BUDGET."""
    lines = (line.split("#")[0].split() for line in (ROOT / "tests" / "BUDGET").read_text(encoding="utf-8").splitlines())
    return {words[0]: float(words[1]) for words in lines if words}


def variables_for(part):
    """A part's environment: nothing of the developer's clusters or Ansible settings gets in."""
    keep = {"ANSIBLE_COLLECTIONS_PATH"}
    variables = {
        name: value
        for name, value in os.environ.items()
        if name in keep or not name.startswith(("ANSIBLE_", "K8S_AUTH_", "KUBECONFIG", "KUBERNETES_"))
    }
    variables.update(part.variables, ANSIBLE_NOCOLOR="1", COLUMNS="160")
    return variables


def run(part, budget):
    """Run one part to its end, or to twice its budget."""
    result = Result(part.name)
    if part.missing:
        result.skipped.append(part.missing)
        return result
    (LOGS / f"{part.name}.xml").unlink(missing_ok=True)
    started = time.monotonic()
    process = subprocess.Popen(
        part.command, cwd=TREE, env=variables_for(part), start_new_session=True, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    try:
        result.output, _none = process.communicate(timeout=2 * budget)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            result.output, _none = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            result.output, _none = process.communicate()
    result.seconds = time.monotonic() - started
    (LOGS / f"{part.name}.log").write_text(result.output, encoding="utf-8")
    part.count(result, process.returncode)
    if result.seconds > budget:
        result.failed += 1
        result.notes.append(f"took {result.seconds:.0f} s, tests/BUDGET allows {budget:.0f} s")
    return result


def require(results, wanted):
    """Turn the skips that ``wanted`` (names) forbids into failures."""
    for result in results:
        forbidden = [why for why in result.skipped if any(name == "all" or name.lower() in why.lower() for name in wanted)]
        if forbidden:
            result.failed += len(forbidden)
            result.notes += [f"required by BIGVM_REQUIRE, but skipped: {why}" for why in dict.fromkeys(forbidden)]
            result.skipped = [why for why in result.skipped if why not in forbidden]


def show(results, total, allowed, most="total"):
    """The table, the skips by reason, the last line; true when all is well. ``most``: whose budget all together have."""
    for result in sorted(results, key=lambda result: result.seconds, reverse=True):
        print(f"{result.name:<15}{result.passed:>6} passed{result.failed:>5} failed{len(result.skipped):>5} skipped"
              f"{result.seconds:>8.1f} s of {allowed[result.name]:.0f}")
        for note in result.notes:
            print(f"    {note}")
    reasons = collections.Counter(why for result in results for why in result.skipped)
    for why, times in reasons.most_common():
        print(f"skipped {times} x: {why}")
    passed, failed = (sum(getattr(result, what) for result in results) for what in ("passed", "failed"))
    if len(results) > 1:
        print(f"{total:.0f} s in all, {allowed[most]:.0f} allowed")
        if total > allowed[most]:
            failed += 1
    print(f"{passed} passed, {failed} failed")
    return not failed


def main(names):
    """Run what is named; 0 when all passed."""
    chosen = [name for word in names for name in GROUPS.get(word, [word])]
    parts = [part for part in PARTS if part.name in chosen]
    allowed = budgets()
    absent = sorted({name for name in chosen + TOTALS if name not in allowed})
    unknown = sorted(set(chosen) - {part.name for part in parts})
    if absent or unknown:
        print(f"no such part: {', '.join(unknown) or '-'}; without a line in tests/BUDGET: {', '.join(absent) or '-'}")
        return 2
    LOGS.mkdir(parents=True, exist_ok=True)
    started, results = time.monotonic(), []
    for alone in (False, True):
        with concurrent.futures.ThreadPoolExecutor(1 if alone else SIDE_BY_SIDE) as pool:
            begun = [pool.submit(run, part, allowed[part.name]) for part in parts if part.alone is alone]
            for done in concurrent.futures.as_completed(begun):
                result = done.result()
                results.append(result)
                if len(parts) == 1:
                    print(result.output, flush=True)
                elif result.failed:
                    print(f"-- {result.name}: the end of {LOGS / result.name}.log")
                    print("\n".join(result.output.splitlines()[-SHOWN:]), flush=True)
    require(results, [name.strip() for name in os.environ.get("BIGVM_REQUIRE", "").split(",") if name.strip()])
    return int(not show(results, time.monotonic() - started, allowed, TOTALS[any(part.alone for part in parts)]))


if __name__ == "__main__":
    with lock(f"suite-{key(str(ROOT))}"):  # a second run in this clone would write over the first one's logs
        sys.exit(main(sys.argv[1:] or ["test"]))
