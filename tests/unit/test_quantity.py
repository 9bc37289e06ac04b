# -*- coding: utf-8 -*-
# Copyright: (c) 2026, the bigvm contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Quantities, sizes and times: parsed like Kubernetes does it, printed as people read."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.bigvm.live_migration.plugins.module_utils.domain.quantity import (
    format_bytes,
    format_duration,
    format_rate,
    parse_bytes,
    parse_duration,
    parse_quantity,
)

NUMBERS = st.from_regex(r"[+-]?([0-9]{1,12}(\.[0-9]{0,6})?|\.[0-9]{1,6})", fullmatch=True)
SUFFIXES = st.sampled_from(["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
                            "e3", "E3", "e-3", "E+2", "e0"])


@settings(deadline=None)  # the first call imports the library
@given(NUMBERS, SUFFIXES)
def test_same_number_as_the_kubernetes_library(number, suffix):
    library = pytest.importorskip("kubernetes.utils")
    assert parse_quantity(number + suffix) == library.parse_quantity(number + suffix)


@given(st.one_of(st.text(max_size=12), st.none(), st.booleans(), st.floats(), st.integers(), st.lists(st.integers())))
def test_anything_is_a_finite_number_or_a_value_error(value):
    try:
        assert parse_quantity(value).is_finite()
    except ValueError as exc:
        assert "is not a quantity" in str(exc)


@pytest.mark.parametrize("text", ["", "64MB", "1 Gi", "Gi", "1K", "1ki", "0x10", "1_000", "nan", "inf", "1e999999999",
                                  "1e3Ki", "--1", "١", None, True, [], {}])
def test_not_a_quantity(text):
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


@pytest.mark.parametrize("text, count", [("3Ti", 3 << 40), ("1500m", 2), (1024, 1024), ("0.5Ki", 512), ("12e6", 12000000)])
def test_whole_bytes_rounded_up(text, count):
    assert parse_bytes(text) == count
    assert isinstance(parse_bytes(text), int)


@pytest.mark.parametrize("count, text", [
    (0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (3 << 40, "3 TiB"), (250 << 30, "250 GiB"),
    (1000 << 30, "1000 GiB"), ((1 << 40) - 1, "1 TiB"), (6.5 * 2 ** 40, "6.5 TiB"), (-(2 << 30), "-2 GiB"),
])
def test_sizes_as_people_read_them(count, text):
    assert format_bytes(count) == text


@pytest.mark.parametrize("count, text", [
    (150e6, "150 MB/s"), (12.5e9, "12.5 GB/s"), (999999, "1 MB/s"), (0, "0 B/s"), (Decimal("1.24e9"), "1.2 GB/s"),
])
def test_rates_as_people_read_them(count, text):
    assert format_rate(count) == text


@pytest.mark.parametrize("seconds, text", [
    (0, "0 s"), (0.31, "0.3 s"), (9.96, "10 s"), (45.4, "45 s"), (60, "1 min"), (125, "2 min 5 s"), (3599, "59 min 59 s"),
    (3600, "1 h"), (4980, "1 h 23 min"), (7199, "2 h"), (65980, "18 h 20 min"), (86399, "1 d"), (2639200, "30 d 13 h"),
    (-90, "-1 min 30 s"),
])
def test_times_as_people_read_them(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize("text, seconds", [
    ("90", 90), (90, 90), ("90s", 90), ("1h30m", 5400), ("1 h 23 min", 4980), ("48h0m0s", 172800), ("2 d", 172800),
    ("1.5h", 5400), ("500ms", 0.5), ("0", 0), (0.25, 0.25), (" 5 min ", 300),
])
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5", "5 weeks", "1h 30", "h", None, True, "1e3", "nan", "5m5"])
def test_not_a_duration(text):
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10 ** 8))
def test_a_printed_duration_parses_back_within_its_rounding(seconds):
    assert abs(parse_duration(format_duration(seconds)) - seconds) <= (1800 if seconds >= 86000 else 30)
