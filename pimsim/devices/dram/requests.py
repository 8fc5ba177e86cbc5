"""Request files that drive a channel: `arrive,op,addr` tables and the text traces of two simulators.

Files are read in blocks, so that their length does not matter. A compiled reader takes the lines that are
written in the plainest way; any other line goes through the checks in Python, which accept it or say what is
wrong with it.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pimsim.compiled import compiled
from pimsim.errors import TraceError, suggest

COLUMNS = ("arrive", "op", "addr")
LATEST = 1 << 60
"""Clocks and addresses stay below this, far from where 64-bit sums would wrap."""
BLOCK_BYTES = 1 << 24
"""A file is read in pieces of this size: some million requests."""
_LONGEST_LINE = 1 << 16
_CSV, _RAMULATOR, _DRAMSIM3 = range(3)
_FORMS = {
    _RAMULATOR: ({"LD": 0, "ST": 1}, "'LD 0x40' or 'ST 0x40'"),
    _DRAMSIM3: ({"READ": 0, "WRITE": 1}, "'0x40 READ 0' or '0x40 WRITE 0'"),
}


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
    """All requests of a file with columns `arrive,op,addr`; see `read_blocks`."""
    return _joined(list(_blocks(Path(path), burst_bytes, capacity_bytes, only_csv=True)))


def read_trace(path: str | Path, burst_bytes: int, capacity_bytes: int | None = None) -> Requests:
    """All requests of a file; see `read_blocks`."""
    return _joined(list(read_blocks(path, burst_bytes, capacity_bytes)))


def read_blocks(path: str | Path, burst_bytes: int, capacity_bytes: int | None = None) -> Iterator[Requests]:
    """Requests of a file in one of three forms, told apart by the first line; plain or gzip (.gz).

    - CSV with columns `arrive,op,addr` in any order: clocks, R or W, hexadecimal bytes, a multiple of
      `burst_bytes`.
    - Ramulator: `LD 0x12340` or `ST 0x12340`, all from clock 0 on.
    - DRAMsim3: `0x12340 READ 17` or `... WRITE ...`, the last the clock.

    Addresses of the last two (hexadecimal with 0x, else decimal) are rounded down to the burst, as there.
    capacity_bytes: addresses must lie below; None: any address. A TraceError names the file and the line, the
    first (the header of a CSV file) being line 1.
    """
    return _blocks(Path(path), burst_bytes, capacity_bytes, only_csv=False)


def _joined(blocks: list[Requests]) -> Requests:
    def all_of(part: Callable[[Requests], NDArray[np.int64]]) -> NDArray[np.int64]:
        return np.concatenate([part(block) for block in blocks]) if blocks else np.zeros(0, np.int64)

    return Requests(
        arrive=all_of(lambda block: block.arrive),
        write=all_of(lambda block: block.write),
        address=all_of(lambda block: block.address),
    )


def _blocks(path: Path, burst_bytes: int, capacity_bytes: int | None, only_csv: bool) -> Iterator[Requests]:
    try:
        with _open(path) as file:
            yield from _Reader(path, burst_bytes, capacity_bytes, only_csv).blocks(file)
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, EOFError, zlib.error, csv.Error) as error:
        raise TraceError(f"{path}: not a request file: {error}") from None


def _open(path: Path) -> BufferedIOBase:
    return cast(BufferedIOBase, gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb"))


class _Reader:
    """Where the reading of one file stands."""

    def __init__(self, path: Path, burst_bytes: int, capacity_bytes: int | None, only_csv: bool) -> None:
        self.path, self.burst_bytes, self.capacity_bytes = path, burst_bytes, capacity_bytes
        self.only_csv = only_csv
        self.form = -1  # not known yet
        self.order = (0, 1, 2)  # places of arrive, op and addr in a line
        self.line = 0  # lines read
        self.latest = 0  # clock of the last request

    def blocks(self, file: BufferedIOBase) -> Iterator[Requests]:
        rest = b""
        while piece := file.read(BLOCK_BYTES):
            rest += piece
            end = rest.rfind(b"\n") + 1
            if end:
                yield from self._block(rest[:end])
                rest = rest[end:]
            elif len(rest) > _LONGEST_LINE:
                raise TraceError(f"{self.path}:{self.line + 1}: a line of more than {_LONGEST_LINE} bytes")
        if rest:
            yield from self._block(rest + b"\n")
        if self.form < 0:
            wanted = "a header arrive,op,addr" if self.only_csv else "requests"
            raise TraceError(f"{self.path}: holds no request; wanted {wanted}")

    def _block(self, data: bytes) -> Iterator[Requests]:
        """The requests of whole lines."""
        text = np.frombuffer(data, np.uint8)
        lines = data.count(b"\n")
        arrive, write, address = (np.empty(lines, np.int64) for _ in range(3))
        # Clock of the last request, lines, requests, bytes read.
        state = np.array([self.latest, 0, 0, 0], np.int64)
        first = self.line
        while state[3] < len(data):
            if self.form >= 0:
                capacity = LATEST if self.capacity_bytes is None else min(self.capacity_bytes, LATEST)
                _parse(
                    text, self.form, *self.order, self.burst_bytes, capacity, state, arrive, write, address
                )
                if state[3] >= len(data):
                    break
            end = data.index(b"\n", int(state[3])) + 1
            self.line = first + int(state[1]) + 1
            self.latest = int(state[0])
            got = self._one(data[int(state[3]) : end].decode("utf-8"))
            if got is not None:
                at = int(state[2])
                arrive[at], write[at], address[at] = got
                state[0], state[2] = got[0], at + 1
            state[1], state[3] = state[1] + 1, end
        self.line, self.latest, n = first + int(state[1]), int(state[0]), int(state[2])
        if n:
            yield Requests(arrive=arrive[:n], write=write[:n], address=address[:n])

    def _one(self, line: str) -> tuple[int, int, int] | None:
        """(clock, write, address) of a line, None if it holds no request; it may be the first of the file."""
        if not line.strip():
            return None
        if self.form < 0:
            words = line.split()
            if not self.only_csv and words[0] in _FORMS[_RAMULATOR][0]:
                self.form = _RAMULATOR
            elif not self.only_csv and len(words) == 3 and words[1] in _FORMS[_DRAMSIM3][0]:
                self.form = _DRAMSIM3
            elif self.only_csv or "," in line:
                self._header([name.strip() for name in next(csv.reader([line]))])
                self.form = _CSV
                return None
            else:
                raise self._wrong(
                    f"{line.strip()!r}; wanted a header arrive,op,addr, or 'LD 0x40' (Ramulator), or "
                    "'0x40 READ 0' (DRAMsim3)"
                )
        return self._of_table(line) if self.form == _CSV else self._of_text(line)

    def _header(self, header: list[str]) -> None:
        for name in COLUMNS:
            if header.count(name) != 1:
                raise self._wrong(f"wanted one column {name!r}; the header is {','.join(header)!r}")
        for name in header:
            if name not in COLUMNS:
                raise self._wrong(f"unknown column {name!r}{suggest(name, COLUMNS)}")
        self.order = cast(tuple[int, int, int], tuple(header.index(name) for name in COLUMNS))

    def _of_table(self, line: str) -> tuple[int, int, int]:
        row = next(csv.reader([line]))
        if len(row) != len(COLUMNS):
            raise self._wrong(f"{len(row)} fields; wanted {len(COLUMNS)}")
        when, op, where = (row[place] for place in self.order)
        clock = self._number("arrive", when, 10)
        if clock < self.latest:
            raise self._wrong(f"arrive={clock} after {self.latest}: time goes backwards")
        if op not in ("R", "W"):
            raise self._wrong(f"op={op!r}; wanted R or W")
        byte = self._number("addr", where, 16)
        if byte % self.burst_bytes:
            raise self._wrong(
                f"addr={where} is no multiple of the burst, {self.burst_bytes} bytes: "
                f"addresses are hexadecimal, this one is byte {byte}"
            )
        self._check_inside(where, byte)
        return clock, int(op == "W"), byte

    def _of_text(self, line: str) -> tuple[int, int, int]:
        ops, wanted = _FORMS[self.form]
        words = line.split()
        ramulator = self.form == _RAMULATOR
        if len(words) != (2 if ramulator else 3):
            raise self._wrong(f"{line.strip()!r}; wanted {wanted}")
        op, where = (words[0], words[1]) if ramulator else (words[1], words[0])
        if op not in ops:
            raise self._wrong(f"{op!r}; wanted {' or '.join(ops)}, as in {wanted}")
        digits, base = (where[2:], 16) if where[:2].lower() == "0x" else (where, 10)
        byte = self._number("address", digits, base)
        self._check_inside(where, byte)
        clock = 0 if ramulator else self._number("clock", words[2], 10)
        if clock < self.latest:
            raise self._wrong(f"clock {clock} after {self.latest}: time goes backwards")
        return clock, ops[op], byte - byte % self.burst_bytes

    def _check_inside(self, text: str, byte: int) -> None:
        if self.capacity_bytes is not None and byte >= self.capacity_bytes:
            raise self._wrong(
                f"address {text} lies beyond the memory of {self.capacity_bytes} bytes "
                f"({self.capacity_bytes:#x})"
            )

    def _number(self, column: str, text: str, base: int) -> int:
        try:
            value = int(text, base) if text.isascii() and text.isalnum() else -1
        except ValueError:
            value = -1
        if not 0 <= value < LATEST:
            kind = "hexadecimal" if base == 16 else "decimal"
            raise self._wrong(f"{column}={text!r}; wanted a {kind} number from 0 to 2^60")
        return value

    def _wrong(self, text: str) -> TraceError:
        return TraceError(f"{self.path}:{self.line}: {text}")


@compiled
def _digits(text: NDArray[np.uint8], at: int, base: int) -> tuple[int, int]:
    """(number, place behind it) of at most 15 digits from `at` on; number -1 if there are none or more."""
    value, start = 0, at
    while True:
        c = text[at]
        digit = 99
        if 48 <= c <= 57:
            digit = c - 48
        elif 97 <= c <= 102:
            digit = c - 87
        elif 65 <= c <= 70:
            digit = c - 55
        if digit >= base:
            break
        value = value * base + digit
        at += 1
        if at - start > 15:
            return -1, at
    return (value if at > start else -1), at


@compiled
def _address(text: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """As `_digits`, hexadecimal behind 0x, else decimal."""
    if text[at] == 48 and (text[at + 1] == 120 or text[at + 1] == 88):
        return _digits(text, at + 2, 16)
    return _digits(text, at, 10)


@compiled
def _parse(
    text: NDArray[np.uint8], form: int, arrive_at: int, op_at: int, addr_at: int, burst: int, capacity: int,
    state: NDArray[np.int64], arrive: NDArray[np.int64], write: NDArray[np.int64], address: NDArray[np.int64],
) -> None:  # fmt: skip
    """Read plain lines from place state[3] on until the end or a line that is not plain; `text` ends in a
    newline. What is read is in the same form as `_of_table` and `_of_text` accept it."""
    at, size = state[3], text.shape[0]
    while at < size:
        start = at
        clock, op, byte = 0, -1, -1
        if form == 0:
            for place in range(3):
                if place == op_at:
                    op = 1 if text[at] == 87 else 0 if text[at] == 82 else -1
                    at += 1 if op >= 0 else 0
                elif place == arrive_at:
                    clock, at = _digits(text, at, 10)
                else:
                    byte, at = _digits(text, at, 16)
                if place < 2:
                    if text[at] != 44:
                        op = -1
                        break
                    at += 1
            if byte >= 0 and byte % burst:
                byte = -1
        elif form == 1:
            if text[at] == 76 and text[at + 1] == 68 and text[at + 2] == 32:
                op = 0
            elif text[at] == 83 and text[at + 1] == 84 and text[at + 2] == 32:
                op = 1
            if op >= 0:
                byte, at = _address(text, at + 3)
        else:
            byte, at = _address(text, at)
            if text[at] == 32 and text[at + 1] == 82:
                word, op = b"READ ", 0
            else:
                word, op = b"WRITE", 1
            at += 1
            for k in range(5):
                if at < size and text[at] == word[k]:
                    at += 1
                else:
                    op = -1
                    break
            if op == 1:
                if at < size and text[at] == 32:
                    at += 1
                else:
                    op = -1
            if op >= 0:
                clock, at = _digits(text, at, 10)
        if op >= 0 and at < size and text[at] == 13:
            at += 1
        good = op >= 0 and byte >= 0 and byte < capacity and clock >= state[0]
        if not good or at >= size or text[at] != 10:
            at = start
            break
        at += 1
        n = state[2]
        arrive[n], write[n], address[n] = clock, op, byte - byte % burst
        state[0] = clock
        state[1] += 1
        state[2] = n + 1
    state[3] = at
