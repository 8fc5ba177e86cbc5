"""Request files: `arrive,op,addr` lines, plain or gzip, that drive one channel."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from pimsim.errors import TraceError, suggest

COLUMNS = ("arrive", "op", "addr")
LATEST = 1 << 60
"""Clocks and addresses stay below this, far from where 64-bit sums would wrap."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Requests:
    """Requests in order.

    arrive: (n,) int64, earliest clock at which each may be offered, never decreasing.
    write: (n,) int64, 1 for a write. address: (n,) int64, bytes, multiples of the burst.
    """

    arrive: NDArray[np.int64]
    write: NDArray[np.int64]
    address: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.arrive)


def read_requests(path: str | Path, burst_bytes: int) -> Requests:
    """Requests of a CSV file (gzip if it ends in .gz) with columns `arrive,op,addr` in any order.

    arrive: clocks; op: R or W; addr: hexadecimal bytes, a multiple of `burst_bytes`. A TraceError names
    the file and the line, the header being line 1.
    """
    path = Path(path)
    arrive: list[int] = []
    write: list[int] = []
    address: list[int] = []
    try:
        for line, (when, op, where) in _rows(path):
            clock = _number(path, line, "arrive", when, 10)
            if arrive and clock < arrive[-1]:
                raise TraceError(f"{path}:{line}: arrive={clock} after {arrive[-1]}: time goes backwards")
            if op not in ("R", "W"):
                raise TraceError(f"{path}:{line}: op={op!r}; wanted R or W")
            byte = _number(path, line, "addr", where, 16)
            if byte % burst_bytes:
                raise TraceError(
                    f"{path}:{line}: addr={where} is no multiple of the burst, {burst_bytes} bytes"
                )
            arrive.append(clock)
            write.append(op == "W")
            address.append(byte)
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, EOFError, zlib.error, csv.Error) as error:
        raise TraceError(f"{path}: not a request file: {error}") from None
    return Requests(
        arrive=np.array(arrive, np.int64),
        write=np.array(write, np.int64),
        address=np.array(address, np.int64),
    )


def _rows(path: Path) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """(line number, (arrive, op, addr)) of every line below the header; blank lines are skipped."""
    with _open(path) as file:
        lines = csv.reader(file)
        header = [name.strip() for name in next(lines, [])]
        for name in COLUMNS:
            if header.count(name) != 1:
                raise TraceError(f"{path}:1: wanted one column {name!r}; the header is {','.join(header)!r}")
        for name in header:
            if name not in COLUMNS:
                raise TraceError(f"{path}:1: unknown column {name!r}{suggest(name, COLUMNS)}")
        a, o, w = (header.index(name) for name in COLUMNS)
        for row in lines:
            if not row:
                continue
            if len(row) != len(header):
                raise TraceError(f"{path}:{lines.line_num}: {len(row)} fields; wanted {len(header)}")
            yield lines.line_num, (row[a], row[o], row[w])


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _number(path: Path, line: int, column: str, text: str, base: int) -> int:
    try:
        value = int(text, base) if text.isascii() and text.isalnum() else -1
    except ValueError:
        value = -1
    if not 0 <= value < LATEST:
        kind = "hexadecimal" if base == 16 else "decimal"
        raise TraceError(f"{path}:{line}: {column}={text!r}; wanted a {kind} number from 0 to 2^60")
    return value
