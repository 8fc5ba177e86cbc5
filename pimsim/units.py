"""Units: time is an `int` of picoseconds (a clock period of femtoseconds), sizes are `int` bytes.

Quantities are converted only where a person reads or writes them, with the functions below.
GB is 10**9 bytes and GiB is 2**30 (IEC 80000-13); a lower-case b means bits and is never accepted.
"""

from __future__ import annotations

import re
from fractions import Fraction

FS_PER_PS = 1_000
PS_PER_NS = 1_000
PS_PER_US = 1_000_000
PS_PER_MS = 1_000_000_000
PS_PER_S = 1_000_000_000_000

KB, MB, GB, TB = 10**3, 10**6, 10**9, 10**12
KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40

_DECIMAL = {"TB": TB, "GB": GB, "MB": MB, "KB": KB}
_BINARY = {"TiB": TIB, "GiB": GIB, "MiB": MIB, "KiB": KIB}
_BYTE_UNITS = {"B": 1, "kB": KB} | _DECIMAL | _BINARY
_TIME_UNITS = {"s": PS_PER_S, "ms": PS_PER_MS, "us": PS_PER_US, "ns": PS_PER_NS}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", re.ASCII)


def ceil_div(a: int, b: int) -> int:
    """The smallest integer not below a / b, exact for integers of any size; b > 0."""
    if b <= 0:
        raise ValueError(f"ceil_div({a}, {b}): the divisor must be positive")
    return -(-a // b)


def clocks(time_fs: int, tck_fs: int) -> int:
    """Whole clock periods of `tck_fs` that cover `time_fs`, both in femtoseconds."""
    if tck_fs <= 0:
        raise ValueError(f"clock period of {tck_fs} fs: must be positive")
    return -(-time_fs // tck_fs)


def ns_to_ps(ns: float) -> int:
    """Nanoseconds as picoseconds, to the nearest (a half goes up).

    Decimals are taken as they are written: 0.0285 ns is 28.5 ps and becomes 29. A clock period that is
    no whole number of picoseconds belongs in femtoseconds, see `ns_to_fs`.
    """
    return _nearest(_exact(ns) * PS_PER_NS)


def ns_to_fs(ns: float) -> int:
    """Nanoseconds as femtoseconds, to the nearest (a half goes up)."""
    return _nearest(_exact(ns) * PS_PER_NS * FS_PER_PS)


def parse_bytes(text: str) -> int:
    """Bytes of a quantity such as `48 MiB`, `1.5 GB`, `32B` or `4096`, to the nearest byte.

    Units are B, kB or KB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024).
    """
    wanted = f"wanted a number and one of {', '.join(_BYTE_UNITS)}, as in '48 MiB'"
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"size {text!r}: {wanted}")
    number, unit = match.groups()
    if unit and unit not in _BYTE_UNITS:
        note = " (b is bits, B is bytes)" if unit.endswith("b") else ""
        raise ValueError(f"size {text!r}: no unit {unit!r}{note}; {wanted}")
    return _nearest(Fraction(number) * _BYTE_UNITS[unit or "B"])


def format_bytes(size_bytes: int, *, decimal: bool = False) -> str:
    """A size for people, four digits: `48 MiB`, or with `decimal` powers of 1000: `50.33 MB`."""
    return _format(size_bytes, _DECIMAL if decimal else _BINARY, "B")


def format_time_ps(time_ps: int) -> str:
    """A duration for people, four digits: `937 ps`, `23.75 ns`, `11.5 s`."""
    return _format(time_ps, _TIME_UNITS, "ps")


def _format(value: int, units: dict[str, int], base: str) -> str:
    """`value` in the largest of `units` (given largest first) that it reaches, else in `base`."""
    for unit, size in units.items():
        if abs(value) >= size:
            number = value / size
            digits = max(0, 4 - len(str(int(abs(number)))))
            text = f"{number:.{digits}f}"
            return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {unit}"
    return f"{value} {base}"


def _exact(ns: float) -> Fraction:
    """The number as it is written in decimal, so that 0.1 is one tenth."""
    try:
        return Fraction(repr(float(ns)) if isinstance(ns, float) else str(ns))
    except ValueError as error:
        raise ValueError(f"time of {ns!r} ns: wanted a finite number") from error


def _nearest(value: Fraction) -> int:
    """The nearest integer, a half upwards."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)
