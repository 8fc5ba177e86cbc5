"""A compiled PIM program run on real data, command by command: the very rows that are timed.

The interpreter knows only what the hardware knows: the bytes of the banks, the row that each rank has
open, the bursts in the input registers and the accumulators. Which weights a MAC meets with which
inputs follows from its column address alone. So a wrong layout, a wrong column or a burst written into
the wrong register gives wrong numbers, and a command out of order is a `SpecError`.

Arithmetic: BF16 products and sums in FP32, the lanes of one MAC summed by a tree of neighbours and
added to an FP32 accumulator; integers exactly, in INT32. Left out: rounding of results narrower than
32 bits, and the scales of quantised values (the host's work).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pimsim.devices.dram.drive import G_BANK, G_COLUMN, G_COMMAND, G_RANK, G_ROW
from pimsim.devices.pim.program import (
    INPUT_BITS,
    Gemv,
    gemv,
    input_bursts,
    input_registers,
    rows_a_fill,
)
from pimsim.devices.rules import ACTAB, COMMANDS, MACAB, MODE, PREA, RDRES, WRREG
from pimsim.devices.spec import PimSpec
from pimsim.errors import SpecError
from pimsim.placement.layout import PimLayout, row_bytes_of

Bytes = npt.NDArray[np.uint8]
Values = npt.NDArray[Any]

INPUT_TYPES = {
    "bf16": ("bfloat16", "uint16"),
    "int8": ("int8",),
    "int4": ("int8",),
    "w8a16": ("int16",),
    "w4a16": ("int16",),
    "w4a4": ("uint8",),
    "fp8": ("uint8",),
    "w8a16fp": ("bfloat16", "uint16"),
}
"""Types that an input vector may have for a weight type; uint16 holds the bits of BF16 values, uint8 those of
FP8 values (E4M3) or pairs of INT4 values."""

WEIGHT_BITS = {"bf16": 16, "int8": 8, "int4": 4, "w8a16": 8, "w4a16": 4, "w4a4": 4, "fp8": 8, "w8a16fp": 8}
_KINDS = {
    "bf16": ("bf16", "bf16"),
    "int8": ("int8", "int8"),
    "int4": ("int4", "int8"),
    "w8a16": ("int8", "int16"),
    "w4a16": ("int4", "int16"),
    "w4a4": ("int4", "int4"),
    "fp8": ("fp8", "fp8"),
    "w8a16fp": ("fp8", "bf16"),
}
"""What the bytes of weights and inputs are."""
FLOATS = ("bf16", "fp8", "w8a16fp")
RESULT_BYTES = 4  # FP32 and INT32


def bf16_bits(values: npt.ArrayLike) -> npt.NDArray[np.uint16]:
    """Bits of `values` rounded to BF16, to the nearest and ties to even; any shape, no NaN."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def bf16_values(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Values of BF16 bits; any shape."""
    return (np.asarray(bits, np.uint16).astype(np.uint32) << 16).view(np.float32)


def pack_int4(values: npt.ArrayLike) -> Bytes:
    """Two's-complement pairs in bytes, the lower index in the low nibble.

    values: (n, k) integers of -8..7. returns: (n, ceil(k / 2)) uint8; an odd k ends with a zero nibble.
    """
    held = np.asarray(values)
    if held.ndim != 2 or (held.size and (held.min() < -8 or held.max() > 7)):
        raise SpecError(f"int4 values of shape {held.shape}; wanted (n, k) integers of -8..7")
    nibbles = np.pad(held, ((0, 0), (0, held.shape[1] % 2))).astype(np.uint8) & np.uint8(15)
    return np.asarray(nibbles[:, 0::2] | nibbles[:, 1::2] << 4, np.uint8)


def _decode(held: Bytes, dtype: str) -> Values:
    """Numbers in bytes: (..., b) uint8 -> (..., 8 b / bits), float32 for bf16 and int64 for integers."""
    if dtype == "bf16":
        bits = np.ascontiguousarray(held).view("<u2").astype(np.uint32) << 16
        return bits.view(np.float32)
    if dtype == "int8":
        return held.view(np.int8).astype(np.int64)
    if dtype == "int16":
        return np.ascontiguousarray(held).view("<i2").astype(np.int64)
    if dtype == "fp8":
        return FP8_VALUES[held]
    nibbles = np.stack([held & 15, held >> 4], axis=-1).reshape(*held.shape[:-1], -1)
    return (nibbles ^ 8).astype(np.int64) - 8


def _fp8_values() -> npt.NDArray[np.float32]:
    """The 256 values of FP8 E4M3 (OCP): bias 7, no infinities, NaN where all bits but the sign are set."""
    bits = np.arange(256)
    exponent, mantissa = bits >> 3 & 15, bits & 7
    size = np.where(exponent > 0, (8 + mantissa) * 2.0 ** (exponent - 10), mantissa * 2.0**-9)
    size[(bits & 127) == 127] = np.nan
    return np.where(bits & 128, -size, size).astype(np.float32)


FP8_VALUES = _fp8_values()


def tree_sum(values: Values) -> Values:
    """Sum over the second last axis, neighbours first: (..., m, lanes) -> (..., lanes)."""
    while values.shape[-2] > 1:
        if values.shape[-2] % 2:
            values = np.concatenate([values, np.zeros_like(values[..., :1, :])], axis=-2)
        values = values[..., 0::2, :] + values[..., 1::2, :]
    return values[..., 0, :]


def _what(program: Gemv) -> str:
    return f"a GEMV of {program.n} x {program.k} with {program.dtype} weights"


def _input_bytes(program: Gemv, x: Values) -> Bytes:
    """The padded input vector as (bursts, burst_bytes) uint8, checked."""
    wanted = INPUT_TYPES[program.dtype]
    count = -(-program.k // 2) if program.dtype == "w4a4" else program.k
    if x.shape != (count,) or x.dtype.name not in wanted:
        raise SpecError(
            f"input vector of shape {x.shape} and type {x.dtype.name}; {_what(program)} "
            f"wants ({count},) of {' or '.join(wanted)}"
        )
    layout = program.layout
    held = np.ascontiguousarray(x).view(np.uint8)
    _, values = layout.padded_shape(program.n, program.k, WEIGHT_BITS[program.dtype])
    padded = np.zeros(values * INPUT_BITS[program.dtype] // 8, np.uint8)
    padded[: len(held)] = held
    return padded.reshape(-1, layout.burst_bytes)


def _fits_int32(sums: Values, what: str) -> None:
    """SpecError if INT32 does not hold integer sums (a wrap on the way that comes back is harmless)."""
    if sums.dtype == np.int64 and (sums.astype(np.int32) != sums).any():
        raise SpecError(f"{what} leaves INT32: {sums.min()}..{sums.max()}")


class _Units:
    """State of all PIM units, and what each command does to it.

    banks: (channels, ranks, banks, dram_rows, row_bytes) uint8, from the program's base row on.
    inputs: (bursts, burst_bytes) uint8, the padded input vector as the host holds it.
    registers: (ranks, registers, burst_bytes); the same in all channels and banks of a rank.
    sums: (ranks, channels, banks, accumulators, lanes) in float32 or int64.
    unread: (ranks, banks, result bursts), True from a MAC until the burst is read.
    results: (tiles, channels, ranks, banks, accumulators, lanes), what the host has read.
    programmed: writes of instructions that the units of each rank have taken.
    """

    def __init__(self, program: Gemv, pim: PimSpec, banks: Bytes, inputs: Bytes) -> None:
        layout, bits = program.layout, WEIGHT_BITS[program.dtype]
        self.program, self.pim, self.banks, self.inputs = program, pim, banks, inputs
        self.meets, self.at_once = input_registers(pim, layout, program.dtype)
        self.fill = rows_a_fill(pim, layout, program.dtype)
        self.chunks = layout.chunks(program.k, bits)
        self.row_inputs = input_bursts(pim, layout, program.dtype)
        lanes = 1 if pim.lane_reduction else pim.lanes_bits // 16
        if layout.burst_bytes * 8 // bits % lanes:
            raise SpecError(f"{pim.name}: {lanes} lanes do not divide a burst of {layout.burst_bytes} bytes")
        work = np.float32 if program.dtype in FLOATS else np.int64
        held = pim.source_bytes // layout.burst_bytes
        shape = (layout.banks, layout.accumulators, lanes)
        self.registers = np.zeros((layout.ranks, held, layout.burst_bytes), np.uint8)
        self.written = np.zeros((layout.ranks, held), np.bool_)
        self.open_row = [-1] * layout.ranks
        self.sums = np.zeros((layout.ranks, layout.channels, *shape), work)
        self.per_read = layout.burst_bytes // RESULT_BYTES
        reads = -(-layout.accumulators * lanes // self.per_read)
        self.unread = np.zeros((layout.ranks, layout.banks, reads), np.bool_)
        tiles = layout.tiles(program.n, program.pad_rows_to)
        self.results = np.zeros((tiles, layout.channels, layout.ranks, *shape), work)
        self.got = np.zeros((tiles, layout.ranks, layout.banks, reads), np.bool_)
        self.mode_seen = 0
        self.entered = pim.mode_accesses == 0
        self.programmed = [0] * layout.ranks
        self.strict = True

    def step(self, command: int, rank: int, bank: int, row: int, column: int, data: int) -> None:
        """One command of the program."""
        if command == MODE:
            self.mode_seen += 1
            if self.mode_seen == self.pim.mode_accesses:
                self.entered, self.mode_seen = not self.entered, 0
            return
        if not self.entered or self.mode_seen:
            raise SpecError(f"PIM mode is not entered: {self.pim.mode_accesses} MODE accesses switch it")
        if not 0 <= rank < self.program.layout.ranks:
            raise SpecError(f"no rank {rank}; the layout has {self.program.layout.ranks}")
        if command == WRREG and data < 0:
            self.programmed[rank] += 1
            return
        if self.strict and self.programmed[rank] != self.pim.setup_writes:
            raise SpecError(
                f"rank {rank} is programmed by {self.programmed[rank]} writes; wanted {self.pim.setup_writes}"
            )
        if command == ACTAB:
            if self.open_row[rank] >= 0:
                raise SpecError(f"row {self.open_row[rank]} of rank {rank} is still open")
            self.open_row[rank] = row
        elif command == PREA:
            self.open_row[rank] = -1
        elif command == WRREG:
            self.write(rank, column, data)
        elif command == MACAB:
            self.mac(rank, row, column)
        elif command == RDRES:
            self.read(rank, bank - rank * self.program.layout.banks, column, data)
        else:
            raise SpecError("no PIM command")

    def write(self, rank: int, column: int, burst: int) -> None:
        """Burst `burst` of the input vector into register `column` of every unit of the rank."""
        if not 0 <= column < self.registers.shape[1]:
            raise SpecError(
                f"no input register {column}: {self.pim.source_bytes} bytes hold {self.registers.shape[1]}"
            )
        if not 0 <= burst < len(self.inputs):
            raise SpecError(f"no input burst {burst}: the padded vector has {len(self.inputs)}")
        self.registers[rank, column] = self.inputs[burst]
        self.written[rank, column] = True

    def mac(self, rank: int, row: int, column: int) -> None:
        """Multiply one column of the open row in every bank of the rank with the inputs that it meets."""
        layout, dtype = self.program.layout, self.program.dtype
        index = row - self.program.base_row
        if row != self.open_row[rank]:
            raise SpecError(f"row {row} of rank {rank} is not open (open: {self.open_row[rank]}, -1: none)")
        if not 0 <= index < self.banks.shape[3] or not 0 <= column < layout.row_bytes // layout.burst_bytes:
            raise SpecError(f"row {row}, column {column} lie outside the matrix")
        accumulator, burst = divmod(column, layout.chunk_bursts)
        first = burst % self.at_once * self.meets
        if self.fill > 1:  # the inputs of several rows lie one after the other
            first += index % self.chunks % self.fill * self.row_inputs
        if not self.written[rank, first : first + self.meets].all():
            raise SpecError(f"input registers {first}..{first + self.meets - 1} were never written")
        waiting = self.unread[rank]
        if waiting.any() and not waiting.all():
            raise SpecError(f"some results of rank {rank} are read and others are not")
        where = slice(column * layout.burst_bytes, (column + 1) * layout.burst_bytes)
        of_weights, of_inputs = _KINDS[dtype]
        weights = _decode(self.banks[:, rank, :, index, where], of_weights)
        inputs = _decode(self.registers[rank, first : first + self.meets].ravel(), of_inputs)
        lanes = self.sums.shape[-1]
        self.sums[rank, :, :, accumulator] += tree_sum(
            (weights * inputs).reshape(*weights.shape[:2], -1, lanes)
        )
        waiting[:] = True

    def read(self, rank: int, bank: int, column: int, tile: int) -> None:
        """Result burst `column` of one bank to the host, in every channel; it starts again from zero."""
        if not 0 <= bank < self.unread.shape[1] or not 0 <= column < self.unread.shape[2]:
            raise SpecError(f"no result burst {column} in bank {bank} of rank {rank}")
        if self.strict and not self.unread[rank, bank, column]:
            raise SpecError(f"no result {column} in bank {bank} of rank {rank}: no MAC came before this read")
        if not 0 <= tile < len(self.results) or self.got[tile, rank, bank, column]:
            raise SpecError(
                f"tile {tile} does not exist or was read before; the matrix has {len(self.results)}"
            )
        part = slice(column * self.per_read, (column + 1) * self.per_read)
        channels = self.sums.shape[1]
        sums = self.sums[rank, :, bank].reshape(channels, -1)  # views: accumulators are one axis with lanes
        found = sums[:, part]
        _fits_int32(found, f"a result of tile {tile}, rank {rank}, bank {bank}")
        self.results[tile, :, rank, bank].reshape(channels, -1)[:, part] = found
        found[:] = 0
        self.unread[rank, bank, column] = False
        self.got[tile, rank, bank, column] = True


def run(program: Gemv, pim: PimSpec, banks: Bytes, x: Values, *, strict: bool = True) -> Values:
    """y = W x, by executing the commands of `program` in order on the bytes in the banks.

    banks: (channels, ranks, banks, dram_rows, row_bytes) uint8, from the program's base row on: what
      `PimLayout.swizzle(w, pad_rows_to)` returns.
    x: (k,), of a type in `INPUT_TYPES`; pairs of INT4 values as (k / 2,).
    strict: results that no MAC came before are an error; else they are zeros, as the registers hold them.
    returns: (n,) float32 for bf16, int32 for integers. A sum that INT32 does not hold is a SpecError.
    """
    layout = program.layout
    if pim.weight_dtypes.get(program.dtype) != WEIGHT_BITS[program.dtype] or pim.result_bytes != RESULT_BYTES:
        raise SpecError(
            f"{pim.name} has weights {pim.weight_dtypes} and results of {pim.result_bytes} bytes; "
            f"wanted {program.dtype} of {WEIGHT_BITS[program.dtype]} bits and results of {RESULT_BYTES} bytes"
        )
    rows = layout.dram_rows(program.n, program.k, WEIGHT_BITS[program.dtype], program.pad_rows_to)
    shape = (layout.channels, layout.ranks, layout.banks, rows, layout.row_bytes)
    if banks.shape != shape or banks.dtype != np.uint8:
        raise SpecError(
            f"banks of shape {banks.shape} and type {banks.dtype.name}; "
            f"{_what(program)} wants {shape} of uint8"
        )
    units = _Units(program, pim, banks, _input_bytes(program, x))
    units.strict = strict
    fields = np.column_stack(
        [program.commands[:, [G_COMMAND, G_RANK, G_BANK, G_ROW, G_COLUMN]], program.data]
    )
    with np.errstate(over="ignore", invalid="ignore"):  # BF16 sums may reach infinity, as in hardware
        for number, (command, rank, bank, row, column, data) in enumerate(fields.tolist()):
            try:
                units.step(command, rank, bank, row, column, data)
            except SpecError as error:
                raise SpecError(f"program command {number}, {COMMANDS[command]}: {error}") from None
    if units.mode_seen or units.entered != (pim.mode_accesses == 0):
        raise SpecError("the program ends in PIM mode")
    if not units.got.all():
        tile, rank, bank, _ = np.argwhere(~units.got)[0]
        raise SpecError(f"the program ends without reading tile {tile} of rank {rank} bank {bank}")
    y = tree_sum(units.results[..., None])[..., 0].ravel()  # the host adds the lanes that the unit did not
    _fits_int32(y, "a sum of lanes")
    return y[: program.n].astype(np.float32 if program.dtype in FLOATS else np.int32)


def gemv_on_data(pim: PimSpec, layout: PimLayout, w: Values, x: Values, dtype: str) -> Values:
    """y = W x on the PIM units: swizzle, compile, run.

    w: (n, k) in the bits of `dtype`, INT4 packed as (n, ceil(k / 2)) uint8; x, returns: see `run`.
    """
    k = 2 * len(x) if dtype == "w4a4" else len(x)
    program = gemv(pim, layout, w.shape[0], k, dtype)
    if w.ndim != 2 or w.shape[1] * w.itemsize != row_bytes_of(k, pim.weight_dtypes[dtype]):
        raise SpecError(
            f"weights of shape {w.shape} and type {w.dtype.name} do not fit {k} inputs of {dtype}"
        )
    return run(program, pim, layout.swizzle(w), x)


__all__ = [
    "FLOATS", "FP8_VALUES", "INPUT_TYPES", "bf16_bits", "bf16_values", "gemv_on_data", "pack_int4",
    "run", "tree_sum",
]  # fmt: skip
