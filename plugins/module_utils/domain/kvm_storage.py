# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Storage that several KVM hosts share: what is asked for, and whether all of them really see the same.

Rows are ``{name, status: PASS|FAIL, wanted, found, note, remedy}``, as kvm_host.py has them.
"""

from __future__ import annotations

import json
import re

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import format_bytes

NOTE = "RHEL: sharing disk images"
NFS = ("nfs", "nfs4")
EXPORT_OPTIONS = "rw,sync,no_root_squash"
SPECIAL = re.compile(r"[\s\"'#\\()]")


def problems(mounts, exports, luns, hosts, server="", server_may_run_guests=False):
    """Why this cannot be meant, a sentence each; nothing was asked of any host yet.

    :param mounts: ``[{src, path, fstype, opts}]``. ``exports``: ``[{path, clients, options}]``. ``luns``: WWIDs.
    :param hosts: names of the KVM hosts. ``server``: the host that exports.
    """
    found = []
    if len(hosts) < 2:
        found.append("Storage is shared by two hosts or more; there are %d in the group." % len(hosts))
    for mount in mounts:
        if not str(mount.get("path", "")).startswith("/") or mount.get("path") == "/":
            found.append("The mount's path '%s' is no path to mount at." % mount.get("path"))
        kind, source = mount.get("fstype") or "nfs", str(mount.get("src", ""))
        if kind in NFS and not re.fullmatch(r"[^\s:]+:/.*|\[[0-9a-fA-F:]+\]:/.*", source):
            found.append("The NFS source '%s' is not written like server:/path." % source)
        options = (mount.get("opts") or "").split(",")
        if kind in NFS and "soft" in options:
            found.append("A soft mount of %s gives guests errors when the server is slow; leave soft out." % mount.get("path"))
        if any(option in ("vers=3", "nfsvers=3") for option in options) and "nolock" not in options:
            found.append("NFS locks are not supported with KVM: a mount of version 3 needs nolock (%s)." % mount.get("path"))
    paths = [mount.get("path") for mount in mounts]
    found += ["%s is mounted twice." % path for path in sorted(set(filter(None, paths))) if paths.count(path) > 1]
    for export in exports:
        if not str(export.get("path", "")).startswith("/"):
            found.append("The export's path '%s' is not absolute." % export.get("path"))
        if not export.get("clients"):
            found.append("The export of %s names no clients, and would be for everybody." % export.get("path"))
        found += ["The client '%s' of %s is everybody; name the hosts." % (client, export.get("path"))
                  for client in export.get("clients") or [] if client in ("*", "0.0.0.0/0", "::/0")]
        found += ["The client '%s' of %s is not understood." % (client, export.get("path"))
                  for client in export.get("clients") or [] if SPECIAL.search(str(client))]
    if exports and not server:
        found.append("There are exports, and no server that has them: name kvm_shared_storage_server.")
    if server in hosts and not server_may_run_guests:
        found.append("%s runs guests itself; their storage had best be a host of its own. Say kvm_shared_storage_server_is_host=true to do "
                     "it all the same: then it cannot be maintained without stopping all guests." % server)
    found += ["The WWID '%s' is not understood." % lun for lun in luns if not naa(lun)]
    return found


def exports_text(exports):
    """The text of a file below /etc/exports.d."""
    lines = ["# Made by Ansible (bigvm.live_migration.kvm_shared_storage); changes are lost."]
    for export in exports:
        path = '"%s"' % export["path"] if re.search(r"\s", export["path"]) else export["path"]
        options = export.get("options") or EXPORT_OPTIONS
        lines.append(" ".join([path] + ["%s(%s)" % (client, options) for client in export["clients"]]))
    return "\n".join(lines) + "\n"


def _row(name, good, wanted, have, remedy):
    return {"name": name, "status": "PASS" if good else "FAIL", "wanted": str(wanted), "found": str(have), "note": NOTE, "remedy": remedy}


def mounted(text):
    """``{path: (source, type, [options])}`` of /proc/self/mounts; of several at one path the last."""
    rows = [line.split() for line in str(text).splitlines()]
    return {words[1].replace("\\040", " "): (words[0].replace("\\040", " "), words[2], words[3].split(","))
            for words in rows if len(words) > 3}


def mount_rows(mounts, text):
    """Rows for the mounts of one host."""
    have, rows = mounted(text), []
    for mount in mounts:
        found, kind = have.get(mount["path"]), mount.get("fstype") or "nfs"
        source = "%s at %s" % (mount["src"], mount["path"])
        bound = "bind" in (mount.get("opts") or "").split(",")
        right = bool(found) and (bound or (found[0].rstrip("/") == mount["src"].rstrip("/") and found[1].rstrip("4") == kind.rstrip("4")))
        rows.append(_row("mount " + mount["path"], right, source, "%s (%s)" % found[:2] if found else "not mounted",
                         "Mount it, or let this role do it."))
        if found:
            bad = [option for option in found[2] if option == "ro" or found[1] in NFS and option == "soft"]
            rows.append(_row("options of " + mount["path"], not bad, "rw, hard", ",".join(bad) or "right",
                             "Mount it anew with right options."))
            version3 = found[1] == "nfs" and "vers=3" in found[2]
            if version3:
                have = "nolock" if "nolock" in found[2] else "locks by NFS"
                rows.append(_row("locks of " + mount["path"], have == "nolock", "nolock", have,
                                 "NFS locks are not supported with KVM: mount with nolock, or use version 4."))
    return rows


def proof_rows(path, token, seen):
    """Rows on whether all hosts see the same files at a path.

    :param token: part of the names of the files that each host wrote, ``.kvm-proof-<token>-<host>``.
    :param seen: ``{host: [{path, inode, uid}]}``, what each host sees of them.
    """
    names = {host: {row["path"].rpartition("/")[2].partition(token + "-")[2]: row for row in rows if token in row["path"]}
             for host, rows in seen.items()}
    rows = []
    for host, files in sorted(names.items()):
        missing = sorted(set(seen) - set(files))
        other = sorted(writer for writer, row in files.items() if any(
            writer in theirs and theirs[writer]["inode"] != row["inode"] for theirs in names.values()))
        squashed = sorted(writer for writer, row in files.items() if row["uid"] != 0)
        have = ("another storage: it does not see what %s wrote" % ", ".join(missing) if missing else
                "other files of the same name" if other else
                "files of root belong to somebody else" if squashed else "the same files")
        rows.append(_row("%s on %s" % (path, host), not (missing or other or squashed), "the same files on all hosts", have,
                         "Export with no_root_squash." if squashed and not (missing or other) else
                         "It is not the same storage: compare the mounts of the hosts."))
    return rows


def naa(wwid):
    """The hexadecimal digits of a WWID as multipath (``3600...``) or lsblk (``0x600...``) writes it; None when it is none."""
    match = re.fullmatch(r"(?:0x|naa\.|wwn-0x|3)?([0-9a-f]{16}|[0-9a-f]{32})|(eui\.[0-9a-f]{16,32}|nvme\..+)", str(wwid).strip().lower())
    return (match.group(1) or match.group(2)) if match else None


def luns_of(text):
    """``{digits: {size, paths: [device], running: [device], multipath: name or None}}`` of lsblk's JSON."""
    try:
        devices = json.loads(text)["blockdevices"]
    except (ValueError, KeyError, TypeError):
        return None
    found = {}
    for device in devices:
        digits = naa(device.get("wwn") or "")
        if device.get("type") != "disk" or not digits:
            continue
        lun = found.setdefault(digits, {"size": device.get("size"), "paths": [], "running": [], "multipath": None})
        lun["paths"].append(device["name"])
        if device.get("state") in ("running", "live"):
            lun["running"].append(device["name"])
        lun["multipath"] = next((one["name"] for one in device.get("children") or [] if one.get("type") == "mpath"), lun["multipath"])
    return found


def lun_rows(wwids, told, least=2):
    """Rows on whether every host has each LUN, as large, by multipath, with enough paths.

    :param told: ``{host: text of lsblk --json --bytes -o NAME,TYPE,SIZE,STATE,WWN}``.
    """
    hosts, rows = {host: luns_of(text) for host, text in told.items()}, []
    for wwid in wwids:
        sizes = {luns[naa(wwid)]["size"] for luns in hosts.values() if luns and naa(wwid) in luns}
        for host, luns in sorted(hosts.items()):
            lun = (luns or {}).get(naa(wwid))
            name = "LUN %s on %s" % (wwid, host)
            if not lun:
                rows.append(_row(name, False, "there", "not read" if luns is None else "not there",
                                 "Map it to this host, and scan for it."))
                continue
            few = len(lun["running"]) < least
            have = ("%d of %d paths run" % (len(lun["running"]), len(lun["paths"])) if few else
                    "not by multipath" if least > 1 and not lun["multipath"] else
                    "%s, elsewhere another size" % format_bytes(lun["size"]) if len(sizes) > 1 else
                    "%s by %d paths" % (format_bytes(lun["size"]), len(lun["running"])))
            rows.append(_row(name, not few and (least < 2 or lun["multipath"]) and len(sizes) == 1,
                             "by %d paths, as large on all hosts" % least, have, "See multipath -ll and the zoning."))
    return rows
