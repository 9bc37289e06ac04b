# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CPUs of KVM hosts and guests as libvirt writes them, and comparisons that a person can read.

What a baseline is, libvirt decides. Here its documents are read, brought into one order, compared and put into words.

A CPU is a dict ``{model, vendor, fallback, arch, mode, features: {name: policy}, kept: [xml]}``; vendor, arch and mode may
be None, ``kept`` holds the elements that say nothing about the model (maxphysaddr).
"""

from __future__ import annotations

import re
from xml.etree import ElementTree
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

ON = ("require", "force", "optional")
GUEST_SHAPE = ("topology", "numa", "cache")  # of a guest's <cpu>: its shape, which no baseline decides
TSC = "invtsc"  # constant time stamp counter: with it a guest only runs where that counter runs at the same frequency


def parse(text, what):
    """The root of an XML document.

    :raises ValueError: when it is none; a document type is not accepted either.
    """
    if not isinstance(text, str) or "<!DOCTYPE" in text:
        raise ValueError("%s is no XML of libvirt" % what)
    try:
        return ElementTree.fromstring(text.strip())
    except ElementTree.ParseError as exc:
        raise ValueError("%s is no XML: %s" % (what, exc)) from exc


def read_host(text, what):
    """What a document of a host says of its CPU.

    :param text: ``virsh domcapabilities``, ``virsh capabilities``, or a single ``<cpu>`` or ``<mode name="host-model">``.
    :returns: ``{cpu, kind, arch, usable, uuid, microcode}``; ``usable`` maps the models that
        the hypervisor knows to whether the host can run them, None when the document does not tell.
    :raises ValueError: it holds no CPU, or one without a model.
    """
    root = parse(text, what)
    found = {"kind": root.tag, "usable": None, "uuid": None, "microcode": None, "arch": root.findtext(".//arch")}
    if root.tag == "domainCapabilities":
        element = root.find("./cpu/mode[@name='host-model']")
        if element is None or element.get("supported", "yes") != "yes":
            raise ValueError("%s says that this hypervisor has no host-model CPU" % what)
        models = root.findall("./cpu/mode[@name='custom']/model")
        found["usable"] = {row.text: row.get("usable") == "yes" for row in models if row.text} or None
    elif root.tag == "capabilities":
        element = root.find("./host/cpu")
        found["uuid"] = root.findtext("./host/uuid")
        microcode = root.find("./host/cpu/microcode")
        found["microcode"] = microcode.get("version") if microcode is not None else None
    else:
        element = root if root.tag in ("cpu", "mode") else root.find(".//cpu")
    found["cpu"] = read_cpu(element) if element is not None else None
    if not found["cpu"] or not found["cpu"]["model"]:
        raise ValueError("%s names no CPU model" % what)
    return found


def read_cpu(element):
    """A CPU out of a ``<cpu>`` or ``<mode>`` element."""
    model = element.find("model")
    return {
        "model": (model.text or "").strip() if model is not None else None,
        "fallback": model.get("fallback") if model is not None else None,
        "arch": element.findtext("arch"),
        "vendor": (element.findtext("vendor") or "").strip() or None,
        "mode": element.get("mode") or (element.get("name") if element.tag == "mode" else None),
        "features": {row.get("name"): row.get("policy") or "require" for row in element.findall("feature") if row.get("name")},
        "kept": [ElementTree.tostring(row, encoding="unicode").strip() for row in element.findall("maxphysaddr")],
    }


def cpu_of(text, what="the CPU"):
    """A CPU out of the text of a ``<cpu>`` element."""
    return read_cpu(parse(text, what))


def as_input(cpu):
    """The ``<cpu>`` that libvirt takes to compute with: one text per CPU, whatever order its features came in.

    ``<arch>`` stays only where it was: to libvirt it marks the CPU of a host, whose features are all there, and it then
    takes a feature that is switched off for one that is on.
    """
    lines = ["<cpu>"]
    if cpu["arch"]:
        lines.append("  <arch>%s</arch>" % escape(cpu["arch"]))
    lines += _inside(dict(cpu, fallback=None))
    return "\n".join(lines + ["</cpu>"])


def as_plain(cpu, arch):
    """The same CPU without what is switched off, in the form that libvirt's older call spells out (:func:`spelled`)."""
    return as_input(dict(cpu, arch=cpu["arch"] or arch, features=dict.fromkeys(on(cpu), "require"), kept=[]))


def spelled(text, cpu):
    """All features of a CPU as a set, those of its model among them.

    :param text: what libvirt made of :func:`as_plain`, with features expanded.
    """
    off = {name for name, policy in cpu["features"].items() if policy not in ON}
    return on(cpu_of(text)) - off


def as_guest(cpu, shape=()):
    """The ``<cpu>`` of a guest: exactly this CPU, with the elements of ``shape`` (texts) in it."""
    lines = ["<cpu mode='custom' match='exact' check='partial'>"] + _inside(dict(cpu, fallback=cpu["fallback"] or "forbid"))
    lines += ["  " + text for text in shape]
    return "\n".join(lines + ["</cpu>"])


def _inside(cpu):
    fallback = " fallback='%s'" % cpu["fallback"] if cpu["fallback"] else ""
    lines = ["  <model%s>%s</model>" % (fallback, escape(cpu["model"]))]
    if cpu["vendor"]:
        lines.append("  <vendor>%s</vendor>" % escape(cpu["vendor"]))
    lines += ["  " + text for text in cpu["kept"]]
    for name, policy in sorted(cpu["features"].items()):
        lines.append("  <feature policy=%s name=%s/>" % (quoteattr(policy), quoteattr(name)))
    return lines


def same(one, other):
    """Whether two CPUs are the same to a guest: model, vendor and features; how they are written does not count."""
    return all(one[key] == other[key] for key in ("model", "vendor", "features"))


def on(cpu):
    """The features that a CPU names and has, as a set."""
    return {name for name, policy in cpu["features"].items() if policy in ON}


def vendors(hosts):
    """``{vendor: [host name]}``; hosts that do not name their vendor are left out.

    :param hosts: ``[{name, cpu}]``.
    """
    found = {}
    for host in hosts:
        if host["cpu"]["vendor"]:
            found.setdefault(host["cpu"]["vendor"], []).append(host["name"])
    return {vendor: sorted(names) for vendor, names in sorted(found.items())}


def loses(host, baseline):
    """Features that a host has and the baseline has not, sorted.

    Both as from :func:`spelled`: a model stands for many features.
    """
    return sorted(host - baseline)


def why_it_cannot(model, wanted, features, usable):
    """Why a captured host cannot run the baseline, as sentences; an empty list when it can.

    :param model: of the baseline.
    :param wanted: all features of the baseline, ``features`` those of the host, as from :func:`spelled`.
    :param usable: as from :func:`read_host`.
    """
    reasons = []
    if usable is not None and model not in usable:
        reasons.append("its QEMU does not know the CPU model %s" % model)
    missing = sorted(wanted - features)
    if missing:
        reasons.append("it lacks %s" % ", ".join(missing))
    return reasons


def differences(hosts):
    """What libvirt's CPU description does not show, where hosts differ in it (S4-15).

    :param hosts: ``[{name, microcode, kernel, qemu, libvirt, firmware}]``; None where it is not known.
    :returns: ``[{what, values: {host: value}, unknown: [host]}]`` for everything known of two hosts and not the same.
    """
    found = []
    for what in ("microcode", "kernel", "qemu", "libvirt", "firmware"):
        known = {host["name"]: str(host[what]) for host in hosts if host.get(what)}
        if len(set(known.values())) > 1:
            found.append({"what": what, "values": known, "unknown": sorted(host["name"] for host in hosts if not host.get(what))})
    return found


# -- a guest's definition ------------------------------------------------------


def guest_cpu(text):
    """``(cpu or None, [text of the elements that give its shape])`` of a domain's definition."""
    element = parse(text, "the definition").find("./cpu")
    if element is None:
        return None, []
    shape = [ElementTree.tostring(row, encoding="unicode").strip() for name in GUEST_SHAPE for row in element.findall(name)]
    return read_cpu(element), shape


def cpu_text(text):
    """The ``<cpu>`` of a definition as it stands there; ``""`` without one."""
    start, end = _span(text)
    return text[start:end] if end > start else ""


def with_cpu(text, cpu):
    """The definition with this ``<cpu>`` instead of its own; everything else stays as it is, to the byte.

    :param cpu: the text of the new element.
    """
    start, end = _span(text)
    if end > start:
        return text[:start] + _indented(cpu) + text[end:]
    return text[:end] + "  " + _indented(cpu) + "\n" + text[end:]


def _indented(text):
    return re.sub(r"\n", "\n  ", text)


def _span(text):
    """Where /domain/cpu is, as offsets; both where </domain> begins when there is none."""
    data, path, found, last = text.encode("utf-8"), [], [], [0]
    parser = expat.ParserCreate("utf-8")

    def start(name, _attributes):
        path.append(name)
        if path == ["domain", "cpu"]:
            found[:] = [parser.CurrentByteIndex, None]

    def end(_name):
        if path == ["domain", "cpu"]:
            place = parser.CurrentByteIndex  # of the end tag; behind an element that is empty
            found[1] = data.index(b">", place) + 1 if data[place:place + 5] == b"</cpu" else place
        elif path == ["domain"]:
            last[0] = parser.CurrentByteIndex
        path.pop()

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.Parse(data, True)
    first, behind = found or (last[0], last[0])
    return len(data[:first].decode("utf-8")), len(data[:behind].decode("utf-8"))


def restart_is_due(running, wanted, more, lost):
    """Whether a running guest has to be started anew to be the CPU of its definition.

    :param running: the CPU of the running guest, as libvirt shows it: with what QEMU made of it.
    :param more: features that it has beyond those wanted, those of its model among them.
    :param lost: features that some host loses by the baseline. What QEMU adds everywhere is not among them.
    """
    if running is None or running["model"] != wanted["model"] or on(wanted) - on(running):
        return True
    return bool(set(more) & set(lost))


# -- in words ------------------------------------------------------------------


def in_words(baseline, hosts):
    """Lines for people: the baseline, and what each host gives up for it.

    :param hosts: ``[{name, model, loses}]``.
    """
    told = ["Baseline for %d hosts: %s%s, %d features named" % (
        len(hosts), baseline["model"], " (%s)" % baseline["vendor"] if baseline["vendor"] else "", len(baseline["features"]))]
    for host in hosts:
        if not host["loses"]:
            told.append("%s: nothing is lost" % host["name"])
            continue
        told += wrapped("%s (%s) loses %d: " % (host["name"], host["model"], len(host["loses"])), host["loses"])
    return told


def wrapped(head, words, width=80):
    """Lines of at most ``width`` columns: the head, then the words with commas, indented below it where they do not fit."""
    lines, line = [], head
    for place, word in enumerate(words):
        piece = word + (", " if place + 1 < len(words) else "")
        if len(line) + len(piece.rstrip()) > width and line.strip():
            lines.append(line.rstrip())
            line = "  "
        line += piece
    return lines + [line.rstrip()]


def differences_in_words(found):
    """A line for each row of :func:`differences`."""
    lines = []
    for row in found:
        lines += wrapped("Hosts differ in %s: " % row["what"], ["%s %s" % pair for pair in sorted(row["values"].items())])
    return lines


def guest_in_words(name, changed, drops, due, restarts):
    """What happens to a guest: its definition, what it gives up, and when it gets its new CPU."""
    lines = ["%s: %s" % (name, "its definition gets the baseline" if changed else "its definition has the baseline")]
    if drops:
        lines += wrapped("%s gives up %d: " % (name, len(drops)), drops)
    if restarts:
        lines.append("%s: restarted, it now runs with the baseline" % name)
    elif due:
        lines.append("%s: runs with its old CPU until it is shut down and started again" % name)
    return lines
