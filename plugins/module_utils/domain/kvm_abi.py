# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a running guest sees of its hardware, and what of it another definition would change: nothing may, while it moves.

libvirt refuses such a definition too, with the first difference that it meets. Here all are named, before anything begins.
"""

from __future__ import annotations

import re

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.cpu import parse
from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.kvm_guest import size

# Of a device: where the host gets it from, how it is driven there, what libvirt calls it.
HOST_SIDE = {
    "alias", "auth", "backend", "backenddomain", "backingStore", "bandwidth", "boot", "coalesce", "driver", "encryption", "filterref",
    "guest", "iotune", "link", "log", "mirror", "portForward", "privateData", "protocol", "reservations", "script", "seclabel", "source",
    "stats", "throttlefilters", "transient", "tune", "virtualport", "vlan",
}
UNSEEN = {"audio", "emulator", "graphics"}  # devices that only the host has
CHARACTER = {"channel", "console", "parallel", "serial"}  # their type and source are the host's
WHOLE = {"./features": "features", "./cpu": "cpu", "./clock": "clock", "./sysinfo": "sysinfo", "./os/smbios": "smbios"}


def changes(before, after):
    """What a guest would see change, a phrase each; none when it sees nothing.

    :param before: the text of the definition that it runs with. ``after``: of the one that it shall run with.
    :raises ValueError: ``after`` is no definition of a guest, or of another one.
    """
    one, other = parse(before, "the guest's definition"), read(after)
    same_guest(one, other)
    found = []
    for what, path, attribute in (("type", ".", "type"), ("architecture", "./os/type", "arch"), ("machine type", "./os/type", "machine")):
        found += _changed(what, _attribute(one, path, attribute), _attribute(other, path, attribute))
    for what, path in (("memory", "./memory"), ("maximum memory", "./maxMemory")):
        found += _changed(what, _bytes(one, path), _bytes(other, path))
    found += _changed("vcpu", (one.findtext("./vcpu") or "1").strip(), (other.findtext("./vcpu") or "1").strip())
    for path, what in WHOLE.items():
        found += _compared(what, _flat(one.find(path)), _flat(other.find(path)))
    ours, theirs = _devices(one), _devices(other)
    for key in sorted(set(ours) | set(theirs)):
        if key not in theirs:
            found.append("%s is missing" % key)
        elif key not in ours:
            found.append("%s is new" % key)
        else:
            found += _compared(key, ours[key], theirs[key])
    return found


def read(text):
    """The definition as an element.

    :raises ValueError: it is none.
    """
    root = parse(text, "the definition")
    if root.tag != "domain":
        raise ValueError("the definition is a <%s>, not a <domain>" % root.tag)
    return root


def same_guest(one, other):
    """Nothing when both are definitions of one guest.

    :raises ValueError: they are not.
    """
    for what in ("name", "uuid"):
        mine, given = one.findtext("./" + what), other.findtext("./" + what)
        if given and mine and given.strip().lower() != mine.strip().lower():
            raise ValueError("the definition has the %s %s, the guest has %s" % (what, given.strip(), mine.strip()))


def _attribute(root, path, name):
    element = root.find(path)
    return None if element is None else element.get(name)


def _bytes(root, path):
    return size(root.find(path)) or None


def _changed(what, was, wanted):
    return ["%s is %s, it was %s" % (what, wanted or "not given", was or "not given")] if was != wanted else []


def _compared(what, ours, theirs):
    """Differences of two flattened elements. An address that is not given is libvirt's to give."""
    found = []
    for key in sorted(set(ours) | set(theirs)):
        if ours.get(key) != theirs.get(key) and not (key.startswith("address") and key not in theirs):
            place = ("%s: %s" % (what, key)) if key else what
            found += _changed(place, ours.get(key), theirs.get(key))
    return found


def _devices(root):
    """``{name: flattened}`` of all devices, named by what does not change: a disk's place, a card's address, else their order."""
    found, counted = {}, {}
    for device in root.findall("./devices/*"):
        kind = device.tag
        if kind in UNSEEN:
            continue
        target, mac = device.find("target"), device.find("mac")
        if kind == "disk" and target is not None:
            name = "disk %s" % target.get("dev")
        elif kind == "interface" and mac is not None:
            name = "interface %s" % (mac.get("address") or "").lower()
        elif kind == "controller":
            name = "controller %s %s" % (device.get("type"), device.get("index") or "0")
        else:
            counted[kind] = counted.get(kind, -1) + 1
            name = "%s %d" % (kind, counted[kind])
        leave = {"type"} if kind in CHARACTER | {"disk", "interface"} else set()
        flat = _flat(device, "", HOST_SIDE, leave | {"snapshot", "tty"})
        if kind == "interface":
            flat.pop("target dev", None)
            flat.pop("mac address", None)
        found[name] = flat
    return found


def _flat(element, path="", without=(), leave=()):
    """``{"target bus": "virtio", ...}`` of an element and all below, but for what is left out; features by their name."""
    if element is None:
        return {}
    found = {}
    for name, value in element.attrib.items():
        if name not in leave:
            found[("%s %s" % (path, name)).strip()] = _plain(value)
    if (element.text or "").strip():
        found[path] = _plain(element.text.strip())
    elif path and not element.attrib and not len(element):
        found[path] = "there"
    counted = {}
    for child in element:
        if child.tag in without or not isinstance(child.tag, str):
            continue
        name = child.get("name") if child.tag in ("feature", "timer", "entry") else child.get("id") if child.tag == "cell" else None
        if name is None and child.tag in counted:
            name = str(counted[child.tag])
        counted[child.tag] = counted.get(child.tag, 0) + 1
        below = _flat(child, ("%s %s%s" % (path, child.tag, " " + name if name else "")).strip(), without)
        found.update({key: value for key, value in below.items() if not (name and key.endswith(" name") and value == name)})
    return found


def _plain(value):
    """One spelling of a number: 0x05 is 0x5."""
    return hex(int(value, 16)) if re.fullmatch(r"0x[0-9a-fA-F]+", value) else value
