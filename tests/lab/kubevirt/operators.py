# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""In the operators' place: HyperConverged's settings reach the KubeVirt object, and KubeVirt says that they are rolled out.

``operators.py --dir FOLDER`` looks a few times a second. Without a HyperConverged (a test makes it) only virt-operator's
part is done. What is written is what the embedded cluster's operators write, here with real time and real conflicts; that
the settings are in force is virt-controller's own doing.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time

from handlers import connect

from ansible_collections.bigvm.live_migration.plugins.module_utils.cluster.api import path_of
from ansible_collections.bigvm.live_migration.plugins.module_utils.common import errors
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal import generations
from ansible_collections.bigvm.live_migration.plugins.plugin_utils.rehearsal.controllers import hyperconverged

HCO, KUBEVIRT = path_of("hco.kubevirt.io/v1", "hyperconvergeds"), path_of("kubevirt.io/v1", "kubevirts")
ROLLS_OUT = 1.0  # seconds in which KubeVirt's conditions say that something is under way (facts 10.11)
TURN = 0.3


class Operators:
    """Both of them."""

    def __init__(self, api):
        self.api, self.generation = api, generations.of("1.9")
        self._since = {}  # {generation of the KubeVirt object: when it was first seen}

    def turn(self):
        """One look."""
        kubevirt = next(iter(self.api.list(KUBEVIRT).items), None)
        if kubevirt is None:
            return
        hco = self._hyperconverged()
        wrote = False
        if hco is not None:
            wanted = dict(kubevirt, spec=hyperconverged.wanted_spec(hco, kubevirt["spec"]))
            wrote = wanted["spec"] != kubevirt["spec"]
            if wrote:
                kubevirt = self.api.replace(_path(KUBEVIRT, kubevirt), wanted)
        kubevirt = self._rolled_out(kubevirt)
        if hco is not None:
            self._status(HCO, hco, hyperconverged.hco_status, kubevirt, self.generation, _stamp(), healthy=wrote or None)

    def _hyperconverged(self):
        try:
            return next(iter(self.api.list(HCO).items), None)
        except errors.NotFound:
            return None  # not even its definition is here

    def _rolled_out(self, kubevirt):
        number, state = kubevirt["metadata"]["generation"], kubevirt.get("status") or {}
        if state.get("observedGeneration") == number:
            return kubevirt
        if not state:
            return self._status(KUBEVIRT, dict(kubevirt, status={}), hyperconverged.deployed, self.generation, _stamp())
        begun = self._since.setdefault(number, time.monotonic())
        if time.monotonic() - begun < ROLLS_OUT:
            return self._status(KUBEVIRT, kubevirt, hyperconverged.rolling, self.generation, _stamp())
        return self._status(KUBEVIRT, kubevirt, hyperconverged.deployed, self.generation, _stamp())

    def _status(self, root, found, change, *more, **named):
        new = copy.deepcopy(found)
        change(new, *more, **named)
        if new["status"] == found.get("status"):
            return found
        return self.api.replace(_path(root, found) + "/status", new)


def _path(root, found):
    head, plural = root.rsplit("/", 1)
    return "%s/namespaces/%s/%s/%s" % (head, found["metadata"]["namespace"], plural, found["metadata"]["name"])


def _stamp():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def main():
    """Until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", required=True)
    operators = Operators(connect(parser.parse_args().dir))
    while True:
        try:
            operators.turn()
        except errors.Conflict:
            pass  # it changed meanwhile: next turn
        except errors.LiveMigrationError as exc:
            print(exc, file=sys.stderr, flush=True)
        time.sleep(TURN)


if __name__ == "__main__":
    main()
