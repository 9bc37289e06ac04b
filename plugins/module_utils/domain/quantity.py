# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Numbers as Kubernetes writes them and as people read them: sizes, rates, times."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
# Two exponent digits are plenty for bytes, and keep 1e999999999 from filling the memory.
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d{1,2})|([numkMGTPE]|[KMGTPE]i)?)", re.ASCII)
_PIECE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.ASCII)
_SECONDS = {
    "": "1", "ms": "0.001", "s": "1", "sec": "1", "second": "1", "seconds": "1", "m": "60", "min": "60",
    "minute": "60", "minutes": "60", "h": "3600", "hour": "3600", "hours": "3600", "d": "86400", "day": "86400",
    "days": "86400",
}


def parse_quantity(text):
    """The number meant by a Kubernetes quantity: ``64Mi``, ``500m``, ``1e3``, ``2``.

    :returns: :class:`~decimal.Decimal`, exact.
    :raises ValueError: when it is none; the message names it.
    """
    match = None if isinstance(text, bool) else _QUANTITY.fullmatch(str(text))
    if not match:
        raise ValueError("'%s' is not a quantity such as 64Mi, 1.5Gi, 500m or 1e9" % (text,))
    number, exponent, suffix = match.groups()
    if suffix in _BINARY:
        return Decimal(number) * 2 ** _BINARY[suffix]
    return Decimal(number).scaleb(int(exponent) if exponent else _DECIMAL[suffix or ""])


def parse_bytes(text):
    """A quantity as whole bytes, rounded up as Kubernetes does it."""
    return int(parse_quantity(text).to_integral_value(ROUND_CEILING))


def parse_duration(text):
    """Seconds (int, or float when not whole) of ``90``, ``90s``, ``1h30m``, ``1 h 30 min``, ``2 d``.

    :raises ValueError: when it is none, or negative.
    """
    rest = "" if isinstance(text, bool) else str(text).strip().lower()
    total = Decimal(0)
    if not rest:
        raise _no_duration(text)
    while rest:
        match = _PIECE.match(rest)
        # A number without a unit is seconds, but only when it stands alone.
        if not match or match.group(2) not in _SECONDS or (not match.group(2) and match.group() != str(text).strip()):
            raise _no_duration(text)
        total += Decimal(match.group(1)) * Decimal(_SECONDS[match.group(2)])
        rest = rest[match.end():]
    return int(total) if total == int(total) else float(total)


def _no_duration(text):
    return ValueError("'%s' is not a duration such as 90, 45s, 30min, 1h30m or 2d" % (text,))


def format_bytes(count):
    """``3 TiB``, ``1.5 GiB``, ``512 B``: at most one decimal."""
    return _scaled(count, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))


def format_rate(count):
    """Bytes per second, decimal as network people count: ``150 MB/s``, ``12.5 GB/s``."""
    return _scaled(count, 1000, ("B/s", "kB/s", "MB/s", "GB/s", "TB/s", "PB/s"))


def _scaled(count, base, units):
    value, step = Decimal(str(count)), 0
    while abs(_rounded(value)) >= base and step < len(units) - 1:
        value, step = value / base, step + 1
    return "%s %s" % (_plain(_rounded(value)), units[step])


def _rounded(value):
    return round(value, 1 if abs(value) < 100 else 0)


def format_duration(seconds):
    """The two largest units: ``1 h 23 min``, ``30 d 13 h``, ``45 s``; below ten seconds one decimal."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if round(seconds, 1) < 10:
        return "%s s" % _plain(round(Decimal(str(seconds)), 1))
    left = int(round(seconds))
    if left >= 86400:  # hours are precise enough beside days
        left = int(round(left / 3600.0)) * 3600
    elif left >= 3600:
        left = int(round(left / 60.0)) * 60
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if left >= size:
            parts.append("%d %s" % (left // size, unit))
        left %= size
    return " ".join(parts[:2])


def _plain(number):
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
