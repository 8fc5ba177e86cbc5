"""Programs of units with one buffer a channel (GDDR6-AiM) run on real data, command by command.

Arithmetic: BF16 products in FP32, the lanes of one MAC summed by a tree of neighbours and added to an FP32
accumulator; a result is rounded to BF16 when it is read. The next piece of the input starts from the results
of the last, which the host writes back as the bias. An activation function takes the sum rounded to BF16; the
part looks it up in a table and interpolates, whose steps are not published, so here it is exact. Which of its
accumulators a command means is the program's operand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pimsim.devices.pim import aim
from pimsim.devices.pim.functional import bf16_bits, bf16_values, tree_sum
from pimsim.devices.pim.kernel import Kernel
from pimsim.devices.pim.machine import G_BANK, G_COLUMN, G_COMMAND, G_ROW
from pimsim.devices.pim.vectors import vector_layout
from pimsim.devices.rules import (
    ACT1,
    ACTAB,
    AFAB,
    COMMANDS,
    EWAB,
    MACAB,
    MODE,
    PREA,
    RD,
    RDRES,
    WR,
    WRACC,
    WRREG,
)
from pimsim.devices.spec import DramSpec, PimSpec
from pimsim.errors import SpecError

Bits = npt.NDArray[np.uint16]
Values = npt.NDArray[Any]
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "gelu": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "leaky-relu": lambda x: np.where(x > 0, x, x / 100),
}
"""Functions that a table may hold."""


class _Units:
    """banks: (channels, banks, rows, bursts, lanes) float32; inputs: (bursts, lanes) float32.

    bias: (tiles, channels, banks) float32 that the accumulators start from.
    partial: operand -> (channels, banks) float32 that the host has read; sums: accumulators in use.
    """

    def __init__(
        self, pim: PimSpec, banks: npt.NDArray[Any], inputs: npt.NDArray[Any], pieces: int,
        bias: npt.NDArray[Any], function: Callable[[Any], Any] | None,
    ) -> None:  # fmt: skip
        self.pim, self.banks, self.inputs, self.pieces = pim, banks, inputs, pieces
        self.bias, self.function = bias, function
        self.buffer = np.zeros((pim.source_bytes // 32, banks.shape[-1]), np.float32)
        self.open, self.registers = -1, False
        self.sums: dict[int, npt.NDArray[Any]] = {}
        self.partial: dict[int, npt.NDArray[Any]] = {}
        self.macs = np.zeros(banks.shape[2:4], np.int64)

    def step(self, command: int, row: int, column: int, data: int) -> None:
        if command == MODE:
            self.registers = not self.registers
        elif command == ACTAB:
            if self.open >= 0:
                raise SpecError(f"row {self.open} is still open")
            self.open = row
        elif command == PREA:
            self.open = -1
        elif command == WRREG:
            self.buffer[column] = self.inputs[data]
        elif command in (WRACC, RDRES, MACAB, AFAB) and self.registers != (command in (WRACC, RDRES)):
            raise SpecError("the units are in the other mode")
        elif command == WRACC:
            if len(self.sums) >= self.pim.accumulators:
                raise SpecError(f"more than {self.pim.accumulators} accumulators are in use")
            before = self.partial.get(data - 1) if data % self.pieces else None
            if data % self.pieces and before is None:
                raise SpecError(f"piece {data % self.pieces} begins before the last one is read")
            start = self.bias[data // self.pieces % len(self.bias)] if before is None else before
            self.sums[data] = start.copy()
        elif command == MACAB:
            if self.open != row:
                raise SpecError(f"row {row} is not open (open: {self.open})")
            self.macs[row, column] += 1
            products = self.banks[:, :, row, column] * self.buffer[column]
            self.sums[data] += tree_sum(products[..., None])[..., 0]
        elif command == AFAB:
            if self.open != row or self.function is None:
                raise SpecError(f"no table of a function in row {row} (open: {self.open})")
            self.sums[data] = self.function(bf16_values(bf16_bits(self.sums[data]))).astype(np.float32)
        elif command == RDRES:
            self.partial[data] = bf16_values(bf16_bits(self.sums.pop(data)))
        else:
            raise SpecError("no command of a matrix-vector product")


def gemv_on_data(
    pim: PimSpec, dram: DramSpec, kernel: Kernel, w: Bits, x: Bits, *, bias: Bits | None = None
) -> npt.NDArray[np.float32]:
    """y = f(W x + b) for every vector of a batch, by executing `kernel`, f its activation if it has one.

    w: (n, k) and x: (batch, k) uint16, bits of BF16 values; bias: (n,) alike, None: 0. returns: (batch, n)
    float32, BF16 values.
    """
    n, k = w.shape
    batch = kernel.shape["batch"]
    if w.dtype != np.uint16 or x.dtype != np.uint16 or x.shape != (batch, k):
        raise SpecError(
            f"weights {w.shape} of {w.dtype}, inputs {x.shape} of {x.dtype}; wanted ({n}, {k}) and "
            f"({batch}, {k}) of uint16 (BF16 bits)"
        )
    layout, g = aim.layout_of(dram, kernel.channels), dram.geometry
    lanes = g.burst_bytes // 2
    tiles, pieces = layout.tiles(n), layout.chunks(k, 16)
    held = bf16_values(layout.swizzle(w)[:, 0].view(np.uint16))
    banks = held.reshape(*held.shape[:3], g.bursts_per_row, lanes)
    bursts = -(-k * 2 // g.burst_bytes)
    padded = np.zeros((batch, bursts * lanes), np.uint16)
    padded[:, :k] = x
    start = np.zeros(tiles * layout.tile_rows, np.float32)
    if bias is not None:
        start[:n] = bf16_values(bias)
    units = _Units(
        pim, banks, bf16_values(padded).reshape(-1, lanes), pieces,
        start.reshape(tiles, layout.channels, layout.banks), ACTIVATIONS.get(kernel.activation),
    )  # fmt: skip
    fields = np.column_stack([kernel.commands[:, [G_COMMAND, G_ROW, G_COLUMN]], kernel.data])
    with np.errstate(over="ignore", invalid="ignore"):
        for number, (command, row, column, data) in enumerate(fields.tolist()):
            try:
                units.step(command, row, column, data)
            except (SpecError, KeyError) as error:
                raise SpecError(f"program command {number}, {COMMANDS[command]}: {error}") from None
    if units.sums:
        raise SpecError("the program ends with results that nobody read")
    if units.macs.sum() != batch * tiles * bursts or units.macs.max() > batch:
        raise SpecError("a burst of weights was not used exactly once a vector")
    last = [units.partial[tag * pieces + pieces - 1] for tag in range(batch * tiles)]
    out = np.stack(last).reshape(batch, -1)  # tile by tile, channels and banks in order
    return np.ascontiguousarray(out[:, :n])


def vectors_on_data(pim: PimSpec, dram: DramSpec, kernel: Kernel, a: Bits, b: Bits) -> Bits:
    """The element-wise product or sum of two vectors, (n,) uint16 (BF16 bits), by executing `kernel`."""
    n, g = kernel.shape["elements"], dram.geometry
    if a.shape != (n,) or b.shape != (n,) or a.dtype != np.uint16 or b.dtype != np.uint16:
        raise SpecError(f"operands {a.shape} of {a.dtype}, {b.shape} of {b.dtype}; wanted ({n},) of uint16")
    layout = vector_layout(pim, dram, kernel.channels, kernel.operation)
    first, second = (bf16_values(layout.swizzle(operand)[:, :, 0].view(np.uint16)) for operand in (a, b))
    result = np.zeros(first.shape, np.uint16)  # (channels, groups or banks, rows, bursts, lanes)
    run = _multiply if kernel.operation == "mul" else _add
    run(kernel, g.banks, first, second, result)
    return layout.unswizzle(np.ascontiguousarray(result[:, :, None]).view(np.uint8), n, "uint16")


def _multiply(kernel: Kernel, banks: int, a: Values, b: Values, result: Bits) -> None:
    opened = -1
    for number, (command, row, column) in enumerate(
        kernel.commands[:, [G_COMMAND, G_ROW, G_COLUMN]].tolist()
    ):
        if command in (ACTAB, PREA):
            opened = row
        elif command == EWAB and opened == row:
            result[:, :, row, column] = bf16_bits(a[:, :, row, column] * b[:, :, row, column])
        else:
            raise SpecError(f"program command {number}, {COMMANDS[command]}: row {row} is not open")


def _add(kernel: Kernel, banks: int, a: Values, b: Values, result: Bits) -> None:
    """The controller's adder: FP32 of two BF16 values, rounded to BF16."""
    rows, opened = a.shape[2], np.full(banks, -1)
    held: dict[tuple[int, int], Values] = {}
    fields = np.column_stack([kernel.commands[:, [G_COMMAND, G_BANK, G_ROW, G_COLUMN]], kernel.data])
    for number, (command, bank, row, column, step) in enumerate(fields.tolist()):
        if command == PREA:
            opened[:] = -1
        elif command == ACT1:
            opened[bank] = row
        elif command not in (RD, WR) or opened[bank] != row or row // rows != step:
            raise SpecError(f"program command {number}, {COMMANDS[command]}: row {row} of {bank} is not open")
        elif command == WR:
            result[:, bank, row % rows, column] = bf16_bits(held.pop((bank, column)))
        else:
            read = (a, b)[step][:, bank, row % rows, column]
            held[bank, column] = read + held[bank, column] if step else read
    if held:
        raise SpecError("the program ends with sums that nobody wrote")


__all__ = ["ACTIVATIONS", "gemv_on_data", "vectors_on_data"]
