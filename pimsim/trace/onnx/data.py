"""Taking the data of weights out of an ONNX file before protobuf sees them.

The wire format (protobuf.dev/programming-guides/encoding): a field is a varint of number and type, then a
varint, eight bytes, a length and so many bytes, or four bytes. Numbers of fields are those of onnx.proto3:
ModelProto.graph 7, GraphProto.initializer 5, TensorProto's data 4, 5, 7, 9, 10 and 11.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pimsim.errors import TraceError

GRAPH, INITIALIZER = 7, 5
DATA = frozenset((4, 5, 7, 9, 10, 11))
KEPT_BYTES = 8192
"""Shorter data stay: shapes that inference wants to see are among them."""

LIMIT_FIELDS = 2_000_000


def without_data(path: Path, content: bytes) -> bytes:
    """The file without the data of initializers that are longer than `KEPT_BYTES`.

    A tensor without data is no valid one, but its type and shape are there. What is no protobuf is returned
    as it is, for protobuf to complain.
    """
    view = memoryview(content)
    budget = [LIMIT_FIELDS]
    try:
        parts: list[bytes | memoryview] = []
        for number, field, body in _fields(view, budget):
            if number == GRAPH and body is not None:
                inner = b"".join(_graph(body, budget))
                parts += [bytes([GRAPH << 3 | 2]), _varint(len(inner)), inner]
            else:
                parts.append(field)
        return b"".join(parts)
    except _Broken:
        return content
    except _TooMany:
        raise TraceError(f"{path}: more than {LIMIT_FIELDS:,} fields: not read") from None


def _graph(view: memoryview, budget: list[int]) -> Iterator[bytes | memoryview]:
    for number, field, body in _fields(view, budget):
        if number != INITIALIZER or body is None or len(body) <= KEPT_BYTES:
            yield field
            continue
        kept = b"".join(
            inner
            for each, inner, data in _fields(body, budget)
            if not (each in DATA and data is not None and len(data) > KEPT_BYTES)
        )
        yield bytes([INITIALIZER << 3 | 2])
        yield _varint(len(kept))
        yield kept


class _Broken(Exception):
    """No protobuf."""


class _TooMany(Exception):
    """More fields than any model has."""


def _fields(view: memoryview, budget: list[int]) -> Iterator[tuple[int, memoryview, memoryview | None]]:
    """(number, all its bytes, those behind its length) of the fields of a message."""
    at = 0
    while at < len(view):
        budget[0] -= 1
        if budget[0] < 0:
            raise _TooMany
        start = at
        tag, at = _read_varint(view, at)
        kind, body = tag & 7, None
        if kind == 0:
            _, at = _read_varint(view, at)
        elif kind == 1:
            at += 8
        elif kind == 2:
            size, at = _read_varint(view, at)
            body = view[at : at + size]
            at += size
        elif kind == 5:
            at += 4
        else:
            raise _Broken
        if at > len(view):
            raise _Broken
        yield tag >> 3, view[start:at], body


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise _Broken
        byte = view[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
    raise _Broken


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
