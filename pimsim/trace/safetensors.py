"""The header of a safetensors file: names, types and shapes of its tensors; no tensor is read.

Format (github.com/huggingface/safetensors): 8 bytes, little-endian, say how long the JSON header is that
follows; it maps names to `dtype`, `shape` and `data_offsets` within the rest of the file.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pimsim.errors import TraceError
from pimsim.trace.reading import not_too_many, short

LIMIT_BYTES = 100_000_000
"""The largest header that the format allows."""

LIMIT_VALUES = 4_000_000

BITS = {
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "I64": 64,
    "I32": 32,
    "I16": 16,
    "I8": 8,
    "U64": 64,
    "U32": 32,
    "U16": 16,
    "U8": 8,
    "BOOL": 8,
}


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor in a file: its type as the file names it, and its size."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def read_safetensors(path: str | os.PathLike[str]) -> tuple[StoredTensor, ...]:
    """The tensors that a safetensors file holds, in the order of its header."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
            size = int.from_bytes(start, "little")
            total = file.seek(0, os.SEEK_END)
            if len(start) < 8 or size > min(LIMIT_BYTES, total - 8):
                raise TraceError(
                    f"{path}: byte 0: a header of {size:,} bytes in a file of {total:,}: "
                    f"wanted at most {LIMIT_BYTES:,} bytes, all in the file"
                )
            file.seek(8)
            header = file.read(size)
        not_too_many(path, header, (b":", b"["), LIMIT_VALUES)
    except OSError as error:
        raise TraceError(f"{path}: cannot read the file: {error.strerror or error}") from error
    try:
        entries = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        tensors = {
            name: msgspec.json.decode(raw, type=_Entry)
            for name, raw in entries.items()
            if name != "__metadata__"
        }
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise TraceError(f"{path}: header: {error}") from None
    found = []
    for name, entry in tensors.items():
        where = f"{path}: tensor {short(name)}"
        if entry.dtype not in BITS:
            raise TraceError(f"{where}: no type {short(entry.dtype)}; known: {', '.join(BITS)}")
        if len(entry.shape) > 16 or not all(0 <= axis < 2**48 for axis in entry.shape):
            raise TraceError(f"{where}: shape {short(entry.shape)}: wanted up to 16 sizes of 0 or more")
        first, last = entry.data_offsets
        wanted = math.prod(entry.shape) * BITS[entry.dtype] // 8
        if not 0 <= first <= last <= total - 8 - size or last - first != wanted:
            raise TraceError(
                f"{where}: bytes {first} to {last} of {total - 8 - size}: "
                f"wanted {wanted} bytes within the file"
            )
        found.append(StoredTensor(name=name, dtype=entry.dtype, shape=tuple(entry.shape), bytes=last - first))
    return tuple(found)
