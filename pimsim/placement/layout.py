"""Where each value of a weight matrix lies: host-friendly rows, or PIM-aware tiles.

A matrix has n rows (outputs) of k values (inputs) of `bits` each; a value of less than a byte is
packed with its neighbours along k, lowest bits first. Both layouts count k in bursts where they talk
about DRAM: `k_burst_index` is the byte position inside a matrix row divided by `burst_bytes`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pimsim.errors import PlacementError, SpecError
from pimsim.placement.mapping import AddressMapping

Index = npt.NDArray[np.int64]


def row_bytes_of(k: int, bits: int) -> int:
    """Bytes of one matrix row of `k` values of `bits` bits, rounded up to whole bytes."""
    if k < 1 or bits < 1 or (8 % bits and bits % 8):
        raise PlacementError(
            f"a row of {k} values of {bits} bits; wanted k >= 1 and bits of 1, 2, 4, 8, 16, ..."
        )
    return -(-k * bits // 8)


@dataclass(frozen=True, kw_only=True)
class HostLayout:
    """Row-major without padding: what a host's GEMM library reads; the system mapping interleaves it."""

    burst_bytes: int = 32

    def padded_shape(self, n: int, k: int, bits: int) -> tuple[int, int]:
        """(n, k), unchanged except that a matrix row takes whole bytes."""
        return n, row_bytes_of(k, bits) * 8 // bits

    def padded_bytes(self, n: int, k: int, bits: int) -> int:
        """Bytes of the whole matrix."""
        return n * row_bytes_of(k, bits)

    def offset(self, n_index: npt.ArrayLike, k_index: npt.ArrayLike, *, k: int, bits: int) -> Index:
        """Bytes from the start of the matrix to the byte that holds value (n_index, k_index)."""
        rows, values = np.asarray(n_index, np.int64), np.asarray(k_index, np.int64)
        return np.asarray(rows * row_bytes_of(k, bits) + values * bits // 8, np.int64)

    def coordinates(
        self,
        n_index: npt.ArrayLike,
        k_index: npt.ArrayLike,
        *,
        k: int,
        bits: int,
        mapping: AddressMapping,
        base: int = 0,
    ) -> npt.NDArray[np.uint32]:
        """DRAM coordinates of values, one column per field of `mapping`; base: byte address of the matrix."""
        return mapping.decode(base + np.ravel(self.offset(n_index, k_index, k=k, bits=bits)))


@dataclass(frozen=True, kw_only=True)
class CopyPattern:
    """How a swizzled copy (PIM-aware source, row-major destination) walks, in source order.

    It reads the source DRAM row by DRAM row (row hits) in runs; the runs of one DRAM row go to
    neighbouring matrix rows, `dest_stride_bytes` apart. Padding is not read.
    """

    run_bytes: int
    """contiguous bytes of a full run, in source and destination"""
    tail_run_bytes: int
    """bytes of the last run of each matrix row; equal to run_bytes when the chunk divides the row"""
    runs: int
    """all runs, short ones included"""
    runs_per_source_row: int
    """runs read from one open DRAM row before another bank or row follows"""
    source_rows: int
    """DRAM rows that hold at least one value of the matrix, over all banks"""
    dest_stride_bytes: int
    """destination distance between the runs of one DRAM row: the pitch of a matrix row"""
    total_bytes: int
    """bytes read, and bytes written"""


@dataclass(frozen=True, kw_only=True)
class PimLayout:
    """PIM-aware tiles: every matrix row's pieces lie whole in one bank.

    One DRAM row of one bank holds a block of `accumulators` outputs x (bursts per row / accumulators)
    bursts of the input dimension, output by output. Successive groups of `accumulators` outputs go
    over banks, then ranks, then channels; that is one tile. Every (tile, chunk of inputs) takes one
    DRAM row index in all banks at once: row = base_row + tile * chunks + chunk, so an all-bank
    command works on all outputs of a tile. Outputs are padded to whole tiles, inputs to whole chunks.

    banks: per rank, counted as bankgroup * banks_per_group + bank.
    accumulators: result registers of a PIM unit; 1 for units with a single accumulator.
    bank_groups: groups that the banks of a rank fall into; no value lies elsewhere because of it.

    Source: fits the register files and microkernel of HBM-PIM (ISCA 2021, Hot Chips 33) with one unit
    per bank, and the padding that PIM-SHERPA (arXiv 2603.09216) reports; the exact published map is
    not known. Leaves out units shared by two banks that hold alternate inputs.
    """

    channels: int
    ranks: int
    banks: int
    row_bytes: int = 2048
    burst_bytes: int = 32
    accumulators: int = 8
    bank_groups: int = 1

    def __post_init__(self) -> None:
        for name in ("channels", "ranks", "banks", "row_bytes", "burst_bytes", "accumulators", "bank_groups"):
            if getattr(self, name) < 1:
                raise SpecError(f"PIM layout: {name}={getattr(self, name)}; wanted at least 1")
        if self.row_bytes % (self.accumulators * self.burst_bytes):
            raise SpecError(
                f"PIM layout: a DRAM row of {self.row_bytes} bytes does not divide into "
                f"{self.accumulators} outputs of whole {self.burst_bytes}-byte bursts"
            )

        if self.banks % self.bank_groups:
            raise SpecError(
                f"PIM layout: {self.banks} banks do not divide into {self.bank_groups} bank groups"
            )

    @property
    def tile_rows(self) -> int:
        """Outputs that one DRAM row index holds over all banks."""
        return self.accumulators * self.banks * self.ranks * self.channels

    @property
    def chunk_bytes(self) -> int:
        """Contiguous bytes of one matrix row in one DRAM row."""
        return self.row_bytes // self.accumulators

    @property
    def chunk_bursts(self) -> int:
        """Bursts of one matrix row in one DRAM row."""
        return self.chunk_bytes // self.burst_bytes

    def chunks(self, k: int, bits: int) -> int:
        """DRAM rows that a matrix row stretches over."""
        return -(-row_bytes_of(k, bits) // self.chunk_bytes)

    def tiles(self, n: int, pad_rows_to: int = 0) -> int:
        """Tiles of n outputs, or of `pad_rows_to` outputs if that is more."""
        if n < 1:
            raise PlacementError(f"a matrix of {n} rows")
        return -(-max(n, pad_rows_to) // self.tile_rows)

    def dram_rows(self, n: int, k: int, bits: int, pad_rows_to: int = 0) -> int:
        """DRAM row indices the matrix takes, in every bank."""
        return self.tiles(n, pad_rows_to) * self.chunks(k, bits)

    def padded_shape(self, n: int, k: int, bits: int, pad_rows_to: int = 0) -> tuple[int, int]:
        """(n, k) in values, padded to whole tiles and chunks; at least `pad_rows_to` rows."""
        return (
            self.tiles(n, pad_rows_to) * self.tile_rows,
            self.chunks(k, bits) * self.chunk_bytes * 8 // bits,
        )

    def padded_bytes(self, n: int, k: int, bits: int, pad_rows_to: int = 0) -> int:
        """Bytes the matrix takes with its padding."""
        return self.dram_rows(n, k, bits, pad_rows_to) * self._slab_bytes

    @property
    def _slab_bytes(self) -> int:
        """Bytes of one DRAM row index over all banks."""
        return self.channels * self.ranks * self.banks * self.row_bytes

    def coordinates(
        self, n_index: npt.ArrayLike, k_burst_index: npt.ArrayLike, *, k: int, bits: int, base_row: int = 0
    ) -> tuple[Index, Index, Index, Index, Index]:
        """(channel, rank, bank, row, column) of bursts of the matrix; a column is one burst.

        n_index, k_burst_index: integer arrays that broadcast; the results have the broadcast shape.
        """
        out, burst = np.broadcast_arrays(np.asarray(n_index, np.int64), np.asarray(k_burst_index, np.int64))
        chunks = self.chunks(k, bits)
        if out.size and (out.min() < 0 or burst.min() < 0 or burst.max() >= chunks * self.chunk_bursts):
            raise PlacementError(
                f"outputs {out.min()}..{out.max()}, bursts {burst.min()}..{burst.max()}: "
                f"a padded row has {chunks * self.chunk_bursts} bursts"
            )
        group, accumulator = out // self.accumulators, out % self.accumulators
        unit = group % (self.channels * self.ranks * self.banks)
        bank = unit % self.banks
        rank = unit // self.banks % self.ranks
        channel = unit // (self.banks * self.ranks)
        row = base_row + out // self.tile_rows * chunks + burst // self.chunk_bursts
        column = accumulator * self.chunk_bursts + burst % self.chunk_bursts
        return channel, rank, bank, row, column

    def indices(
        self,
        channel: npt.ArrayLike,
        rank: npt.ArrayLike,
        bank: npt.ArrayLike,
        row: npt.ArrayLike,
        column: npt.ArrayLike,
        *,
        k: int,
        bits: int,
        base_row: int = 0,
    ) -> tuple[Index, Index]:
        """(n_index, k_burst_index): the inverse of `coordinates`. May name a padding burst."""
        channels, ranks, banks, rows, columns = np.broadcast_arrays(
            *(np.asarray(a, np.int64) for a in (channel, rank, bank, row, column))
        )
        tile, chunk = np.divmod(rows - base_row, self.chunks(k, bits))
        accumulator, burst = np.divmod(columns, self.chunk_bursts)
        unit = (channels * self.ranks + ranks) * self.banks + banks
        return (
            tile * self.tile_rows + unit * self.accumulators + accumulator,
            chunk * self.chunk_bursts + burst,
        )

    def offset(
        self, n_index: npt.ArrayLike, k_burst_index: npt.ArrayLike, *, k: int, bits: int, base_row: int = 0
    ) -> Index:
        """Bytes from DRAM row 0 in the canonical PIM order: row | channel | rank | bank | byte in row.

        In this order the padded matrix is one contiguous range that starts at base_row.
        """
        channel, rank, bank, row, column = self.coordinates(
            n_index, k_burst_index, k=k, bits=bits, base_row=base_row
        )
        unit = ((row * self.channels + channel) * self.ranks + rank) * self.banks + bank
        return np.asarray(unit * self.row_bytes + column * self.burst_bytes, np.int64)

    def check(self, mapping: AddressMapping) -> None:
        """Raise SpecError unless `mapping` has the channels, ranks, banks and row of this layout.

        Fields: channel, rank, bankgroup, bank, row, column; a field of one unit may be missing.
        """
        wanted = {"channel", "rank", "bankgroup", "bank", "row", "column"}
        if other := set(mapping.fields) - wanted:
            raise SpecError(f"mapping {mapping}: fields {sorted(other)} mean nothing to a PIM layout")
        counts = mapping.counts
        has = {
            "channels": counts.get("channel", 1),
            "ranks": counts.get("rank", 1),
            "banks": counts.get("bankgroup", 1) * counts.get("bank", 1),
            "row_bytes": counts.get("column", 1) * mapping.transaction_bytes,
            "burst_bytes": mapping.transaction_bytes,
        }
        for name, held in has.items():
            if held != getattr(self, name):
                raise SpecError(
                    f"mapping {mapping}: {name} {held}, but the PIM layout has {getattr(self, name)}"
                )

    def addresses(
        self,
        n_index: npt.ArrayLike,
        k_burst_index: npt.ArrayLike,
        *,
        k: int,
        bits: int,
        mapping: AddressMapping,
        base_row: int = 0,
    ) -> npt.NDArray[np.uint64]:
        """System byte addresses of bursts: the coordinates, seen through the host's `mapping`. Flat."""
        self.check(mapping)
        channel, rank, bank, row, column = self.coordinates(
            n_index, k_burst_index, k=k, bits=bits, base_row=base_row
        )
        group, inner = np.divmod(bank, mapping.counts.get("bank", 1))
        held = {"channel": channel, "rank": rank, "bankgroup": group, "bank": inner, "row": row}
        columns = held | {"column": column}
        return mapping.encode(np.stack([columns[field].ravel() for field in mapping.fields], axis=1))

    def swizzle(self, matrix: npt.NDArray[np.generic], pad_rows_to: int = 0) -> npt.NDArray[np.uint8]:
        """The bytes of every bank that hold `matrix`; padding is zero.

        matrix: (n, k) of any dtype, taken bit for bit; 4-bit values as (n, k / 2) uint8.
        returns: (channels, ranks, banks, dram_rows, row_bytes) uint8, from the matrix's base_row on.
        """
        if matrix.ndim != 2:
            raise PlacementError(f"swizzle of an array of shape {matrix.shape}; wanted (n, k)")
        n = matrix.shape[0]
        held = np.ascontiguousarray(matrix).view(np.uint8).reshape(n, -1)
        tiles, chunks = self.tiles(n, pad_rows_to), self.chunks(held.shape[1], 8)
        shape = (tiles * self.tile_rows, chunks * self.chunk_bytes)
        if shape != held.shape:
            padded = np.zeros(shape, np.uint8)
            padded[:n, : held.shape[1]] = held
            held = padded
        blocks = held.reshape(
            tiles, self.channels, self.ranks, self.banks, self.accumulators, chunks, self.chunk_bytes
        )
        banks = blocks.transpose(1, 2, 3, 0, 5, 4, 6)
        return banks.reshape(self.channels, self.ranks, self.banks, tiles * chunks, self.row_bytes)

    def unswizzle(
        self,
        banks: npt.NDArray[np.uint8],
        n: int,
        k: int,
        dtype: npt.DTypeLike,
        bits: int | None = None,
    ) -> npt.NDArray[np.generic]:
        """The matrix in `banks`: the exact inverse of `swizzle`, padding dropped.

        banks: (channels, ranks, banks, dram_rows, row_bytes) uint8.
        k: values per row. bits: per value, if less than dtype has: 4 with uint8 for packed pairs.
        returns: (n, k) of dtype; packed values as (n, k * bits / 8) uint8.
        """
        kind = np.dtype(dtype)
        row_bytes = row_bytes_of(k, bits or kind.itemsize * 8)
        chunks = -(-row_bytes // self.chunk_bytes)
        wanted = (self.channels, self.ranks, self.banks, self.tiles(n) * chunks, self.row_bytes)
        fits = banks.ndim == 5 and banks.shape[3] >= wanted[3] and banks.shape[3] % chunks == 0
        if not fits or (*banks.shape[:3], banks.shape[4]) != (*wanted[:3], wanted[4]):
            raise PlacementError(f"unswizzle of banks of shape {banks.shape}; {n} x {k} needs {wanted}")
        blocks = banks.reshape(
            self.channels, self.ranks, self.banks, -1, chunks, self.accumulators, self.chunk_bytes
        )[:, :, :, : self.tiles(n)]
        rows = blocks.transpose(3, 0, 1, 2, 5, 4, 6).reshape(-1, chunks * self.chunk_bytes)
        return np.ascontiguousarray(rows[:n, :row_bytes]).view(kind)

    def copy_order(self, n: int, k: int, bits: int) -> CopyPattern:
        """The pattern in which a swizzled copy of the matrix back to row-major order reads and writes."""
        row_bytes, chunks = row_bytes_of(k, bits), self.chunks(k, bits)
        return CopyPattern(
            run_bytes=self.chunk_bytes,
            tail_run_bytes=row_bytes - (chunks - 1) * self.chunk_bytes,
            runs=n * chunks,
            runs_per_source_row=min(n, self.accumulators),
            source_rows=-(-n // self.accumulators) * chunks,
            dest_stride_bytes=row_bytes,
            total_bytes=n * row_bytes,
        )

    def copy_runs(self, n: int, k: int, bits: int, base_row: int = 0) -> tuple[Index, Index, Index]:
        """Every run of `copy_order`, in its order: (source, destination, bytes), each (runs,) int64.

        source: bytes in the canonical PIM order (see `offset`); destination: bytes from the start of
        the row-major matrix.
        """
        pattern, chunks = self.copy_order(n, k, bits), self.chunks(k, bits)
        out, chunk = (a.ravel() for a in np.mgrid[:n, :chunks])
        source = self.offset(out, chunk * self.chunk_bursts, k=k, bits=bits, base_row=base_row)
        order = np.argsort(source)
        size = np.where(chunk == chunks - 1, pattern.tail_run_bytes, pattern.run_bytes)
        return source[order], (out * pattern.dest_stride_bytes + chunk * self.chunk_bytes)[order], size[order]
