"""Request files that drive one channel: `arrive,op,addr` tables and the text traces of two simulators."""

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


def read_requests(path: str | Path, burst_bytes: int, capacity_bytes: int | None = None) -> Requests:
    """Requests of a CSV file (gzip if it ends in .gz) with columns `arrive,op,addr` in any order.

    arrive: clocks; op: R or W; addr: hexadecimal bytes, a multiple of `burst_bytes` and below
    `capacity_bytes` if that is given. A TraceError names the file and the line, the header being line 1.
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
            _check_inside(path, line, where, byte, capacity_bytes)
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


_RAMULATOR = {"LD": 0, "ST": 1}
_DRAMSIM3 = {"READ": 0, "WRITE": 1}


def read_trace(path: str | Path, burst_bytes: int, capacity_bytes: int | None = None) -> Requests:
    """Requests of a file in one of three forms, told apart by the first line; plain or gzip (.gz).

    - `arrive,op,addr`: see `read_requests`.
    - Ramulator: `LD 0x12340` or `ST 0x12340`, all from clock 0 on.
    - DRAMsim3: `0x12340 READ 17` or `... WRITE ...`, the last the clock.

    Addresses of the last two (hexadecimal with 0x, else decimal) are rounded down to the burst, as there.
    capacity_bytes: addresses must lie below; None: any address. A TraceError names the file and the line.
    """
    path = Path(path)
    try:
        with _open(path) as file:
            start = next((line for line in file if line.strip()), "")
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, EOFError, zlib.error) as error:
        raise TraceError(f"{path}: not a request file: {error}") from None
    words = start.split()
    if not words:
        raise TraceError(f"{path}: holds no request")
    if words[0] in _RAMULATOR or (len(words) == 3 and words[1] in _DRAMSIM3):
        return _read_text(path, words[0] in _RAMULATOR, burst_bytes, capacity_bytes)
    if "," not in start:
        raise TraceError(
            f"{path}:1: {start.strip()!r}; wanted a header arrive,op,addr, or 'LD 0x40' (Ramulator), or "
            f"'0x40 READ 0' (DRAMsim3)"
        )
    return read_requests(path, burst_bytes, capacity_bytes)


def _read_text(path: Path, ramulator: bool, burst_bytes: int, capacity_bytes: int | None) -> Requests:
    form = "'LD 0x40' or 'ST 0x40'" if ramulator else "'0x40 READ 0' or '0x40 WRITE 0'"
    ops = _RAMULATOR if ramulator else _DRAMSIM3
    arrive: list[int] = []
    write: list[int] = []
    address: list[int] = []
    try:
        with _open(path) as file:
            for number, line in enumerate(file, 1):
                words = line.split()
                if not words:
                    continue
                if len(words) != (2 if ramulator else 3):
                    raise TraceError(f"{path}:{number}: {line.strip()!r}; wanted {form}")
                op, where = (words[0], words[1]) if ramulator else (words[1], words[0])
                if op not in ops:
                    raise TraceError(f"{path}:{number}: {op!r}; wanted {' or '.join(ops)}, as in {form}")
                digits, base = (where[2:], 16) if where[:2].lower() == "0x" else (where, 10)
                byte = _number(path, number, "address", digits, base)
                _check_inside(path, number, where, byte, capacity_bytes)
                clock = 0 if ramulator else _number(path, number, "clock", words[2], 10)
                if arrive and clock < arrive[-1]:
                    raise TraceError(
                        f"{path}:{number}: clock {clock} after {arrive[-1]}: time goes backwards"
                    )
                arrive.append(clock)
                write.append(ops[op])
                address.append(byte - byte % burst_bytes)
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, EOFError, zlib.error) as error:
        raise TraceError(f"{path}: not a request file: {error}") from None
    return Requests(
        arrive=np.array(arrive, np.int64),
        write=np.array(write, np.int64),
        address=np.array(address, np.int64),
    )


def _check_inside(path: Path, line: int, text: str, byte: int, capacity_bytes: int | None) -> None:
    if capacity_bytes is not None and byte >= capacity_bytes:
        raise TraceError(
            f"{path}:{line}: address {text} lies beyond the memory of {capacity_bytes} bytes "
            f"({capacity_bytes:#x})"
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
