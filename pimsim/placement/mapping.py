"""Byte address <-> DRAM coordinates, bit by bit, as a memory controller wires it.

A mapping is a list of pieces `(field, bits)` from the bit just above the burst offset upward. A field
may come in several pieces; the lowest piece holds its lowest bits. A bit may be hashed: other
address bits are XORed into it, which spreads strides over banks and channels.

The compact text has the most significant piece first, so it reads like a drawing of the address:

    row:16=49152 rank:1 bank:2 bankgroup:2 column:5 channel:2 column:1 bank[0]^=row[0]^row[3]

`row:16=49152` is a 16-bit field of which only 49152 values exist (12 Gbit parts); only the top piece
may be cut short. A column counts transactions (bursts), not data-bus beats.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pimsim.compiled import counted
from pimsim.errors import PlacementError, SpecError, suggest

_NAME = r"[a-z][a-z0-9_]*"
_PIECE = re.compile(rf"({_NAME}):(\d+)(?:=(\d+))?")
_BIT = re.compile(rf"({_NAME})\[(\d+)\]")
_HASH = re.compile(rf"{_NAME}\[\d+\]\^={_NAME}\[\d+\](\^{_NAME}\[\d+\])*")


class FieldBit(NamedTuple):
    """One bit of a field; bit 0 is the lowest."""

    field: str
    bit: int

    def __str__(self) -> str:
        return f"{self.field}[{self.bit}]"


@dataclass(frozen=True, kw_only=True)
class XorHash:
    """`target` is its own address bit XORed with the address bits of `sources`."""

    target: FieldBit
    sources: tuple[FieldBit, ...]

    def __str__(self) -> str:
        return f"{self.target}^=" + "^".join(map(str, self.sources))


class DecodeTables(NamedTuple):
    """One entry per field bit: coordinate bit = parity of `address & mask`. Plain arrays for Numba.

    field_index, bit_in_field, mask: (entries,) int64; `field_index` counts in the order of `fields`.
    """

    field_index: npt.NDArray[np.int64]
    bit_in_field: npt.NDArray[np.int64]
    mask: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class AddressMapping:
    """An exact, invertible map between byte addresses and DRAM coordinates.

    pieces: (field, bits), least significant first; bits may be 0 to keep a field of one value.
    transaction_bytes: the burst, a power of two; the address bits below it are not a coordinate.
    top_count: number of values of the field that holds the top piece, if not a power of two.
    hashes: see `XorHash`; a source must not be a target itself, so hashing undoes itself.
    """

    pieces: tuple[tuple[str, int], ...]
    transaction_bytes: int = 32
    top_count: int | None = None
    hashes: tuple[XorHash, ...] = ()

    def __post_init__(self) -> None:
        if self.transaction_bytes < 1 or self.transaction_bytes & (self.transaction_bytes - 1):
            raise SpecError(f"transaction_bytes={self.transaction_bytes} is not a power of two")
        if not self.pieces:
            raise SpecError("an address mapping needs at least one (field, bits) piece")
        for field, bits in self.pieces:
            if not re.fullmatch(_NAME, field):
                raise SpecError(f"field name {field!r}; wanted lower-case letters, digits and underscores")
            if bits < 0:
                raise SpecError(f"piece {field}:{bits} has a negative number of bits")
        if self.address_bits > 63:
            raise SpecError(f"mapping {self}: {self.address_bits} address bits, at most 63 are supported")
        for field, bits in self.field_bits.items():
            if bits > 32:
                raise SpecError(f"mapping {self}: field {field!r} has {bits} bits, at most 32 are supported")
        if self.top_count is not None:
            top, bits = self.top_field, self.field_bits[self.top_field]
            low = bits - self.pieces[-1][1]
            if not (1 << bits) // 2 < self.top_count <= (1 << bits):
                raise SpecError(f"top field {top}:{bits} cannot hold exactly {self.top_count} values")
            if self.top_count % (1 << low):
                raise SpecError(
                    f"top field {top}: {self.top_count} values leave a hole in the addresses, "
                    f"{low} of its bits lie in lower pieces, so the count must be a multiple of {(1 << low)}"
                )
        self._check_hashes()

    def _check_hashes(self) -> None:
        targets = Counter(h.target for h in self.hashes)
        for hashed in self.hashes:
            for bit in (hashed.target, *hashed.sources):
                if bit.field not in self.field_bits:
                    near = suggest(bit.field, self.field_bits)
                    raise SpecError(f"hash {hashed}: no field named {bit.field!r}{near}")
                if not 0 <= bit.bit < self.field_bits[bit.field]:
                    raise SpecError(
                        f"hash {hashed}: {bit.field} has {self.field_bits[bit.field]} bits, no {bit}"
                    )
            if targets[hashed.target] > 1:
                raise SpecError(
                    f"{hashed.target} is hashed {targets[hashed.target]} times, put it in one hash"
                )
            if not hashed.sources or len(set(hashed.sources)) < len(hashed.sources):
                raise SpecError(f"hash {hashed}: sources must be present and different")
            for bit in hashed.sources:
                if bit.field == hashed.target.field:
                    raise SpecError(f"hash {hashed}: source {bit} lies in the field that is hashed")
                if bit in targets:
                    raise SpecError(f"hash {hashed}: source {bit} is hashed itself, so it cannot be undone")
            if hashed.target.field == self.top_field and self.top_count not in (None, 1 << self._top_bits):
                raise SpecError(f"hash {hashed}: could leave the {self.top_count} values of {self.top_field}")

    @classmethod
    def parse(cls, text: str, transaction_bytes: int = 32) -> AddressMapping:
        """The mapping that `text` draws, most significant piece first (see the module); `str` inverts."""
        pieces: list[tuple[str, int]] = []
        hashes: list[XorHash] = []
        top_count: int | None = None
        for word in text.split():
            if piece := _PIECE.fullmatch(word):
                if piece[3]:
                    if pieces:
                        raise SpecError(f"mapping {text!r}: {word!r}: only the first piece may have a count")
                    top_count = int(piece[3])
                pieces.append((piece[1], int(piece[2])))
            elif _HASH.fullmatch(word):
                target, *sources = (FieldBit(name, int(bit)) for name, bit in _BIT.findall(word))
                hashes.append(XorHash(target=target, sources=tuple(sources)))
            else:
                raise SpecError(
                    f"mapping {text!r}: cannot read {word!r}; "
                    "wanted 'field:bits', 'field:bits=count' or 'field[bit]^=field[bit]^...'"
                )
        return cls(
            pieces=tuple(reversed(pieces)),
            transaction_bytes=transaction_bytes,
            top_count=top_count,
            hashes=tuple(hashes),
        )

    def __str__(self) -> str:
        words = [f"{field}:{bits}" for field, bits in reversed(self.pieces)]
        if self.top_count is not None:
            words[0] += f"={self.top_count}"
        return " ".join(words + [str(h) for h in self.hashes])

    @cached_property
    def field_bits(self) -> dict[str, int]:
        """Bits of every field, in the order of the text: most significant piece first."""
        bits: dict[str, int] = {}
        for field, count in reversed(self.pieces):
            bits[field] = bits.get(field, 0) + count
        return bits

    @property
    def fields(self) -> tuple[str, ...]:
        """Field names: the order of the columns of `decode`."""
        return tuple(self.field_bits)

    @property
    def top_field(self) -> str:
        """The field of the most significant piece."""
        return self.pieces[-1][0]

    @property
    def _top_bits(self) -> int:
        return self.field_bits[self.top_field]

    @property
    def offset_bits(self) -> int:
        """Address bits inside one transaction."""
        return self.transaction_bytes.bit_length() - 1

    @property
    def address_bits(self) -> int:
        """Bits of a byte address, the transaction offset included."""
        return self.offset_bits + sum(bits for _, bits in self.pieces)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of values of every field, in the order of `fields`."""
        counts = {field: 1 << bits for field, bits in self.field_bits.items()}
        if self.top_count is not None:
            counts[self.top_field] = self.top_count
        return counts

    @cached_property
    def capacity_bytes(self) -> int:
        """Bytes that have an address; addresses run from 0 without holes."""
        return (1 << (self.address_bits - self._top_bits)) * self.counts[self.top_field]

    @cached_property
    def _placed(self) -> tuple[tuple[int, int, int, int], ...]:
        """(field index, lowest bit in field, lowest bit in address, bits) of every piece, lowest first."""
        placed, at = [], self.offset_bits
        held = dict.fromkeys(self.fields, 0)
        for field, bits in self.pieces:
            placed.append((self.fields.index(field), held[field], at, bits))
            held[field] += bits
            at += bits
        return tuple(placed)

    @cached_property
    def _hash_columns(self) -> tuple[tuple[int, int, tuple[tuple[int, int], ...]], ...]:
        """(field index, bit, ((field index, bit) of every source)) of every hash."""
        index = self.fields.index
        return tuple(
            (index(h.target.field), h.target.bit, tuple((index(s.field), s.bit) for s in h.sources))
            for h in self.hashes
        )

    def check(self, geometry: Mapping[str, int]) -> None:
        """Raise SpecError unless every unit of `geometry` has one address and no address is left over.

        geometry: field -> number of units, such as channel, rank, bankgroup, bank, row and column;
        a column is one transaction. A field of one unit may be missing from the mapping.
        """
        for field in self.fields:
            if field not in geometry:
                raise SpecError(f"mapping {self}: no {field!r} in the geometry{suggest(field, geometry)}")
        wrong = []
        for field, units in geometry.items():
            held = self.counts.get(field, 1)
            if held < units:
                wrong.append(f"{field} lost: {units} in the geometry but only {held} have an address")
            elif held > units:
                wrong.append(f"{field} repeated: {held} have an address but the geometry has {units}")
        if wrong:
            raise SpecError(f"mapping {self}: {'; '.join(wrong)}")

    def decode(self, addresses: npt.ArrayLike) -> npt.NDArray[np.uint32]:
        """DRAM coordinates of byte addresses.

        addresses: (n,) uint64, bytes from the start of the memory.
        returns: (n, len(fields)) uint32, one column per field, in the order of `fields`.

        `encode(decode(a))` is the start of the transaction that holds `a`, for every `a` below
        `capacity_bytes`; beyond it, PlacementError.
        """
        given = np.atleast_1d(np.asarray(addresses))
        if given.size and (given >= self.capacity_bytes).any() | (given < 0).any():
            bad = given[(given >= self.capacity_bytes) | (given < 0)]
            raise PlacementError(
                f"address {int(bad[0]):#x} lies outside the {self.capacity_bytes} bytes of memory "
                f"({bad.size} of {given.size} addresses do)"
            )
        address = given.astype(np.uint64)
        out = np.zeros((address.size, len(self.fields)), np.uint32)
        for column, low, at, bits in self._placed:
            part = (address >> np.uint64(at)) & np.uint64((1 << bits) - 1)
            out[:, column] |= part.astype(np.uint32) << np.uint32(low)
        self._hash(out)
        return out

    def encode(self, coordinates: npt.ArrayLike) -> npt.NDArray[np.uint64]:
        """Byte addresses of DRAM coordinates: the exact inverse of `decode`.

        coordinates: (n, len(fields)), one column per field, in the order of `fields`.
        returns: (n,) uint64, the first byte of each transaction.
        """
        given = np.atleast_2d(np.asarray(coordinates))
        if given.shape[-1] != len(self.fields):
            raise PlacementError(
                f"coordinates of shape {given.shape}; wanted (n, {len(self.fields)}): {self.fields}"
            )
        for column, (field, count) in enumerate(self.counts.items()):
            outside = (given[:, column] >= count) | (given[:, column] < 0)
            if outside.any():
                raise PlacementError(
                    f"{field} {int(given[outside, column][0])} does not exist: {count} of them"
                )
        raw = given.astype(np.uint32)
        self._hash(raw)
        out = np.zeros(len(raw), np.uint64)
        for column, low, at, bits in self._placed:
            part = (raw[:, column] >> np.uint32(low)).astype(np.uint64) & np.uint64((1 << bits) - 1)
            out |= part << np.uint64(at)
        return out

    def _hash(self, coordinates: npt.NDArray[np.uint32]) -> None:
        """Apply all hashes in place; sources are never targets, so applying them twice changes nothing."""
        for column, bit, sources in self._hash_columns:
            parity = np.zeros(len(coordinates), np.uint32)
            for source, source_bit in sources:
                parity ^= coordinates[:, source] >> np.uint32(source_bit)
            coordinates[:, column] ^= (parity & np.uint32(1)) << np.uint32(bit)

    def tables(self) -> DecodeTables:
        """The mapping as plain arrays, one entry per field bit, for `decode_one` in a Numba loop."""
        masks: dict[tuple[int, int], int] = {}
        for column, low, at, bits in self._placed:
            for i in range(bits):
                masks[column, low + i] = 1 << (at + i)
        plain = dict(masks)
        for column, bit, sources in self._hash_columns:
            masks[column, bit] |= sum(plain[source] for source in sources)
        entries = [(column, bit, mask) for (column, bit), mask in sorted(masks.items())]
        table = np.array(entries, np.int64).reshape(len(entries), 3)
        field_index, bit_in_field, mask = (np.ascontiguousarray(table[:, i]) for i in range(3))
        return DecodeTables(field_index, bit_in_field, mask)


@counted
def decode_one(
    address: int,
    field_index: npt.NDArray[np.int64],
    bit_in_field: npt.NDArray[np.int64],
    mask: npt.NDArray[np.int64],
    out: npt.NDArray[np.int64],
) -> None:
    """Coordinates of one byte address into `out`, (len(fields),) int64; the arrays are from `tables()`.

    The caller keeps `address` below the capacity.
    """
    out[:] = 0
    for i in range(len(mask)):
        parity = np.int64(address) & mask[i]
        for shift in (32, 16, 8, 4, 2, 1):
            parity ^= parity >> shift
        out[field_index[i]] |= (parity & 1) << bit_in_field[i]
