"""The trace file: JSON Lines, one value per line, plain or gzip-compressed (by the suffix `.gz`).

Line 1 is the header; then one line per tensor and per operator; the last line counts those before it,
so a file that was cut off is noticed:

    {"schema": "pimsim-trace", "version": 1, "name": "...", "meta": {...}}
    {"type": "tensor", "name": "...", "shape": [128, 2048], "dtype": "bf16", "role": "activation"}
    {"type": "operator", "kind": "matmul", "name": "...", "inputs": [...], "outputs": [...],
     "attrs": {...}, "phase": "prefill", "layer": 0}       (on one line)
    {"end": 3}

The same trace always gives the same bytes of JSON. Unknown fields are errors.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from pathlib import Path
from typing import Any

import msgspec

from pimsim.errors import TraceError
from pimsim.trace.op import Operator, Tensor, Trace, operator_cost, plain

SCHEMA = "pimsim-trace"
VERSION = 1
LIMIT_BYTES = 256 * 2**20
"""The largest file that is read, unpacked; a million operators take about as much."""


class _Schema(msgspec.Struct):
    """The part of a header that every version has."""

    schema: str
    version: int


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    schema: str
    version: int
    name: str
    meta: dict[str, Any]


class _TensorLine(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="tensor"):
    name: str
    shape: list[int]
    dtype: str
    role: str


class _OperatorLine(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="operator"):
    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any]
    phase: str
    layer: int | None


class _EndLine(msgspec.Struct, forbid_unknown_fields=True):
    end: int


_Line = _TensorLine | _OperatorLine


def write_trace(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write a trace file; a file of that name is replaced only once the new one is complete."""
    path = Path(path)
    lines: list[msgspec.Struct] = [
        _Header(schema=SCHEMA, version=VERSION, name=trace.name, meta=plain(trace.meta))
    ]
    lines += [
        _TensorLine(name=t.name, shape=list(t.shape), dtype=t.dtype, role=t.role) for t in trace.tensors
    ]
    lines += [
        _OperatorLine(
            kind=op.kind,
            name=op.name,
            inputs=list(op.inputs),
            outputs=list(op.outputs),
            attrs=plain(op.attrs),
            phase=op.phase,
            layer=op.layer,
        )
        for op in trace.operators
    ]
    lines.append(_EndLine(end=len(lines)))
    content = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(_gzip(content) if path.suffix == ".gz" else content)
        os.replace(temporary, path)
    except OSError as error:
        raise TraceError(f"{path}: cannot write the trace: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def read_trace(path: str | os.PathLike[str]) -> Trace:
    """Read and check a trace file; every complaint names the file and the line."""
    path = Path(path)
    content = _read(path)
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise TraceError(f"{path}:1: the file is empty: wanted a header with schema {SCHEMA!r}")
    header = _header(path, lines[0])
    _end(path, lines)

    tensors: dict[str, Tensor] = {}
    operators: dict[tuple[str, str], Operator] = {}
    found_at: dict[object, int] = {}
    for number, line in enumerate(lines[1:-1], start=2):
        value: _TensorLine | _OperatorLine = _decode(line, _Line, f"{path}:{number}")
        try:
            if isinstance(value, _TensorLine):
                tensor = Tensor(name=value.name, shape=tuple(value.shape), dtype=value.dtype, role=value.role)
                _new(tensors, tensor.name, f"tensor {tensor.name!r}", found_at)
                tensors[tensor.name] = tensor
                found_at[tensor.name] = number
            else:
                op = Operator(**msgspec.structs.asdict(value))
                key = (op.phase, op.name)
                _new(operators, key, f"operator {op.name!r} of {op.phase}", found_at)
                operators[key] = op
                found_at[key] = number
        except TraceError as error:
            raise TraceError(f"{path}:{number}: {error}") from None
    for key, op in operators.items():
        try:
            operator_cost(op, tensors)
        except TraceError as error:
            raise TraceError(f"{path}:{found_at[key]}: {error}") from None
    try:
        return Trace(
            name=header.name,
            tensors=tuple(tensors.values()),
            operators=tuple(operators.values()),
            meta=header.meta,
        )
    except TraceError as error:
        raise TraceError(f"{path}:1: {error}") from None


def _new(seen: dict[Any, Any], key: object, what: str, found_at: dict[object, int]) -> None:
    if key in seen:
        raise TraceError(f"{what} is already on line {found_at[key]}")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise TraceError(f"{path}: cannot read the trace: {error.strerror or error}") from error
    if path.suffix == ".gz" and len(content) <= LIMIT_BYTES:
        content, problem = _unpacked(content)
        if problem and len(content) <= LIMIT_BYTES:
            lines = content.count(b"\n")
            raise TraceError(
                f"{path}:{lines + 1}: the compressed file is damaged or cut off after {lines} lines "
                f"({problem})"
            )
    if len(content) > LIMIT_BYTES:
        raise TraceError(f"{path}:1: more than {LIMIT_BYTES:,} bytes: not read")
    return content


def _unpacked(content: bytes) -> tuple[bytes, str]:
    """What a gzip file holds, at most a little over the limit, and what is wrong with it."""
    packed = zlib.decompressobj(wbits=31)
    try:
        held = packed.decompress(content, LIMIT_BYTES + 1)
    except zlib.error as error:
        return b"", str(error)
    if not packed.eof:
        return held, "its end is missing"
    return held, "bytes behind its end" if packed.unused_data else ""


def _header(path: Path, line: bytes) -> _Header:
    where = f"{path}:1"
    schema: _Schema = _decode(line, _Schema, where)
    if schema.schema != SCHEMA:
        raise TraceError(f"{where}: schema {schema.schema!r}: wanted {SCHEMA!r}")
    if schema.version > VERSION:
        raise TraceError(
            f"{where}: trace file version {schema.version}, but this pimsim reads up to version {VERSION}: "
            "update pimsim, or write the trace again with this one"
        )
    if schema.version < 1:
        raise TraceError(f"{where}: trace file version {schema.version}: wanted 1 to {VERSION}")
    header: _Header = _decode(line, _Header, where)
    return header


def _end(path: Path, lines: list[bytes]) -> None:
    """Check that the last line is there and counts the lines before it."""
    where = f"{path}:{len(lines)}"
    try:
        last = msgspec.json.decode(lines[-1], type=_EndLine)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise TraceError(
            f"{where}: the file is cut off: its last line is {_excerpt(lines[-1])}, "
            f'wanted {{"end": {len(lines) - 1}}} or more lines before it'
        ) from None
    if last.end != len(lines) - 1:
        raise TraceError(
            f"{where}: the file has {len(lines) - 1} lines before this one, which counts {last.end}"
        )


def _decode(line: bytes, kind: Any, where: str) -> Any:
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise TraceError(f"{where}: {error}, in {_excerpt(line)}") from None


def _excerpt(line: bytes) -> str:
    text = line.decode("utf-8", errors="replace")
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _gzip(content: bytes) -> bytes:
    """Compressed without a time or a file name, so that equal traces give equal files."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(content)
    return buffer.getvalue()
