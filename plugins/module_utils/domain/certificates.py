# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What OpenSSL says of a host's certificates, judged: there, of this key, of this CA, for these names, and for how long."""

from __future__ import annotations

import calendar
import ipaddress
import re

MONTHS = {name: number for number, name in enumerate(
    "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
DAY = 86400


def judge(kind, texts, names, now, days=30):
    """Rows ``{name, status, wanted, found, note, remedy}`` for one certificate.

    :param kind: ``server`` or ``client``.
    :param texts: ``{x509: openssl x509 -noout -enddate -ext subjectAltName,extendedKeyUsage -pubkey, key: openssl pkey -pubout,
        verify: openssl verify, mode: the key's permissions such as 0600}``, empty where it failed.
    :param names: by which names and addresses the host is reached; a client's are nobody's business.
    :param now: seconds since the epoch.
    :param days: below this many it is reported.
    """
    what = "%s certificate" % kind
    if "BEGIN PUBLIC KEY" not in texts["x509"]:
        return [_row(what, False, "there", "not there, or unreadable", "Put the certificate where libvirt looks for it.")]
    rows = [_row(what, True, "there", "there", "")]
    key = public_key(texts["key"])
    same = key is not None and public_key(texts["x509"]) == key
    rows.append(_row(what + ": key", same, "its own", "its own" if same else "another one" if key else "not there, or unreadable",
                     "Certificate and key belong together; put both there."))
    if texts["mode"]:
        closed = not int(texts["mode"], 8) & 0o077
        rows.append(_row(what + ": key's mode", closed, "0600", texts["mode"], "Nobody but root needs to read it."))
    signed = ": OK" in texts["verify"]
    rows.append(_row(what + ": CA", signed, "signed by cacert.pem", "signed by it" if signed else reason(texts["verify"]),
                     "All hosts need certificates of one CA, and that CA's own at /etc/pki/CA/cacert.pem."))
    left = days_left(texts["x509"], now)
    rows.append(_row(what + ": validity", left is not None and left >= days, "%d days or more" % days,
                     "not read" if left is None else "%d days" % left, "Renew it; with its end all migrations end."))
    if kind == "server":
        missing = [name for name in names if not covers(alternative_names(texts["x509"]), name)]
        rows.append(_row(what + ": names", not missing, ", ".join(names), "all there" if not missing else "missing: " + ", ".join(missing),
                         "Each name and address that others use must be among its subject alternative names."))
    usage = re.search(r"Extended Key Usage:[^\n]*\n\s*([^\n]*)", texts["x509"])
    word = {"server": "TLS Web Server Authentication", "client": "TLS Web Client Authentication"}[kind]
    if usage:
        rows.append(_row(what + ": usage", word in usage.group(1), word, usage.group(1).strip(), "Have it made for that use."))
    return rows


def _row(name, good, wanted, have, remedy):
    return {"name": name, "status": "PASS" if good else "FAIL", "wanted": wanted, "found": have, "note": "libvirt: TLS certificates",
            "remedy": remedy}


def public_key(text):
    """The key in PEM, without white space; None without."""
    match = re.search(r"-----BEGIN PUBLIC KEY-----(.*?)-----END PUBLIC KEY-----", text, re.DOTALL)
    return "".join(match.group(1).split()) if match else None


def reason(text):
    """Why OpenSSL does not verify it."""
    match = re.search(r"(?:error \d+ at \d+ depth lookup:?\s*)([^\n]+)", text)
    return match.group(1).strip() if match else "not verified"


def days_left(text, now):
    """Whole days until ``notAfter``; negative when it is over, None when it is not told."""
    match = re.search(r"notAfter=(\w{3})\s+(\d+) (\d+):(\d+):(\d+) (\d+) GMT", text)
    if not match or match.group(1) not in MONTHS:
        return None
    day, hour, minute, second, year = (int(part) for part in match.groups()[1:])
    end = calendar.timegm((year, MONTHS[match.group(1)], day, hour, minute, second, 0, 0, 0))
    return int((end - float(now)) // DAY)


def alternative_names(text):
    """``[(DNS or IP Address, value)]`` of the subject alternative names."""
    match = re.search(r"Subject Alternative Name:[^\n]*\n\s*([^\n]*)", text)
    return re.findall(r"(DNS|IP Address):([^,\s]+)", match.group(1)) if match else []


def covers(entries, name):
    """Whether the names cover one: addresses by value, the first label of a DNS name by ``*``."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        wanted = name.lower().rstrip(".")
        return any(kind == "DNS" and (value.lower() == wanted or value[:2] == "*." and wanted.partition(".")[2] == value[2:].lower())
                   for kind, value in entries)
    return any(kind == "IP Address" and ipaddress.ip_address(value) == address for kind, value in entries)
