# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A certificate authority of its own for each embedded cluster."""

from __future__ import annotations

import os


def write(folder):
    """Write ``ca.crt``, ``server.crt`` and ``server.key`` for 127.0.0.1 and localhost into ``folder`` (0600).

    :returns: their three paths.
    """
    import trustme

    authority = trustme.CA(organization_name="bigvm rehearsal")
    leaf = authority.issue_cert("127.0.0.1", "localhost")
    paths = [os.path.join(folder, name) for name in ("ca.crt", "server.crt", "server.key")]
    contents = (
        authority.cert_pem.bytes(), b"".join(blob.bytes() for blob in leaf.cert_chain_pems),
        leaf.private_key_pem.bytes(),
    )
    for path, content in zip(paths, contents):
        write_private(path, content)
    return paths


def write_private(path, content):
    """Write a file (bytes or str) that only its owner can read, in one step."""
    content = content.encode() if isinstance(content, str) else content
    part = path + ".part"
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
    os.replace(part, path)
