"""Units: exact integers, and errors that say what was wanted."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimsim.units import (
    GB,
    GIB,
    PS_PER_S,
    ceil_div,
    clocks,
    format_bytes,
    format_time_ps,
    ns_to_fs,
    ns_to_ps,
    parse_bytes,
)


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**30))
def test_ceil_div_is_the_smallest_integer_not_below(a, b):
    assert ceil_div(a, b) - 1 < Fraction(a, b) <= ceil_div(a, b)


@pytest.mark.parametrize("divisor", [0, -3])
def test_ceil_div_names_the_divisor(divisor):
    with pytest.raises(ValueError, match=str(divisor)):
        ceil_div(1, divisor)


@pytest.mark.parametrize(
    ("time_fs", "tck_fs", "expected"),
    [
        (4_200_000, 700_000, 6),  # math.ceil(4.2 / 0.7) is 7
        (18_000_000, 1_250_000, 15),  # 14.4 clocks: tRCD of LPDDR5-6400
        (18_000_000, 937_500, 20),  # 19.2 clocks: tRCD of LPDDR5X-8533
        (1_250_001, 1_250_000, 2),
        (0, 1_250_000, 0),
    ],
)
def test_clocks(time_fs, tck_fs, expected):
    assert clocks(time_fs, tck_fs) == expected


def test_a_clock_period_of_zero_is_an_error():
    with pytest.raises(ValueError, match="0 fs"):
        clocks(1, 0)


@pytest.mark.parametrize(("ns", "ps"), [(18, 18_000), (1.1, 1_100), (3.904, 3_904), (0.0285, 29), (0, 0)])
def test_ns_to_ps(ns, ps):
    assert ns_to_ps(ns) == ps


def test_a_clock_period_is_exact_in_femtoseconds():
    assert ns_to_fs(0.9375) == 937_500


@pytest.mark.parametrize("ns", [float("nan"), float("inf")])
def test_a_time_is_finite(ns):
    with pytest.raises(ValueError, match="finite"):
        ns_to_ps(ns)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("48 MiB", 50_331_648),
        ("48MiB", 50_331_648),
        ("1.5 GB", 1_500_000_000),
        ("2 kB", 2_000),
        ("2 KB", 2_000),
        ("4096", 4096),
        (" 32 B ", 32),
        ("0", 0),
        ("0.5 KiB", 512),
    ],
)
def test_parse_bytes(text, expected):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1 MiB", "48 mib", "48 Mb", "1e3 B", "1,5 GB", "4 8 MiB", "٤ B"]
)
def test_parse_bytes_says_what_it_wanted(text):
    with pytest.raises(ValueError, match="48 MiB") as caught:
        parse_bytes(text)
    assert repr(text) in str(caught.value)


def test_lower_case_b_is_bits():
    with pytest.raises(ValueError, match="b is bits"):
        parse_bytes("6 Gb")


@pytest.mark.parametrize(
    ("size", "binary", "decimal"),
    [
        (0, "0 B", "0 B"),
        (999, "999 B", "999 B"),
        (32 * 2**20, "32 MiB", "33.55 MB"),
        (2_471_628_800, "2.302 GiB", "2.472 GB"),
        (2 * GIB, "2 GiB", "2.147 GB"),
        (100 * GB, "93.13 GiB", "100 GB"),
        (-(2**20), "-1 MiB", "-1.049 MB"),
    ],
)
def test_format_bytes(size, binary, decimal):
    assert format_bytes(size) == binary
    assert format_bytes(size, decimal=True) == decimal


@given(st.integers(0, 10**15), st.booleans())
def test_a_printed_size_reads_back_within_four_digits(size, decimal):
    # Half a unit of the fourth digit, and the nearest byte.
    assert abs(parse_bytes(format_bytes(size, decimal=decimal)) - size) <= size / 2000 + 1


@pytest.mark.parametrize(
    ("time_ps", "text"),
    [(0, "0 ps"), (937, "937 ps"), (23_750, "23.75 ns"), (7_800_000, "7.8 us"), (11_500 * 10**9, "11.5 s")],
)
def test_format_time(time_ps, text):
    assert format_time_ps(time_ps) == text
    assert PS_PER_S == 10**12
