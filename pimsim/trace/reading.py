"""What the importers share: files of bounded size, numbers of bounded size, complaints with a position."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pimsim.errors import TraceError
from pimsim.trace.op import Trace

LINE_ENDS = tuple(b"\n \r \x0b \x0c \x1c \x1d \x1e \x85 \xa8 \xa9".split(b" "))
"""The last bytes of everything that `str.splitlines` takes for an end."""

MOST_LINES = 16_000_000
MOST_VALUES = 16_000_000
"""The most lines of a text, and values of a JSON document, that are read."""

MOST = 2**31 - 1
"""The largest size of one axis that an importer takes."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A trace and the operators that were left out: name -> how often."""

    trace: Trace
    skipped: dict[str, int] = field(default_factory=dict)


def read_bytes(path: str | os.PathLike[str], limit: int) -> bytes:
    """The content of a file, decompressed by the suffix .gz; more than `limit` bytes are refused unread."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise TraceError(f"{path}: cannot read the file: {error.strerror or error}") from error
    if path.suffix == ".gz" and len(content) <= limit:
        try:
            unpacked = zlib.decompressobj(wbits=31)
            content = unpacked.decompress(content, limit + 1)
            if len(content) <= limit and not unpacked.eof:
                raise TraceError(
                    f"{path}: the compressed file is cut off after {len(content)} bytes of content"
                )
        except (zlib.error, gzip.BadGzipFile) as error:
            raise TraceError(f"{path}: the compressed file is damaged ({error})") from None
    if len(content) > limit:
        raise TraceError(f"{path}: more than {limit:,} bytes: not read")
    return content


def not_too_many(path: str | os.PathLike[str], content: bytes, marks: tuple[bytes, ...], most: int) -> None:
    """Refuse a text with more than `most` of the marks that begin or part values, before it becomes objects,
    which take some fifty times its bytes."""
    count = sum(content.count(mark) for mark in marks)
    if count > most:
        raise TraceError(f"{path}: more than {most:,} values: not read")


def read_lines(path: str | os.PathLike[str], limit: int) -> list[str]:
    """The lines of a text file of at most `limit` bytes."""
    content = read_bytes(path, limit)
    not_too_many(path, content, LINE_ENDS, MOST_LINES)
    try:
        return content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TraceError(f"{path}:{line}: not UTF-8 text: {error.reason}") from None


def whole(text: str, where: str, name: str, least: int = 1, most: int = MOST) -> int:
    """A whole number from text."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 20 and least <= int(digits) <= most):
        raise TraceError(f"{where}: {name} {short(text)}: wanted a whole number from {least} to {most}")
    return int(digits)


def unknown_operators(first_at: Mapping[str, str], skipped: Mapping[str, int]) -> TraceError:
    """The complaint about operators without a counterpart: where the first one is, names and counts."""
    told = ", ".join(f"{name} x {count}" for name, count in sorted(skipped.items())[:10])
    more = f" and {len(skipped) - 10} others" if len(skipped) > 10 else ""
    first = next(iter(first_at.values()))
    return TraceError(f"{first}: unknown operators: {told}{more}; --skip-unknown leaves them out")


def short(value: object) -> str:
    """`repr` of a value, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
