"""Programs of units with one buffer a channel (GDDR6-AiM) run on real data, command by command.

Arithmetic: BF16 products in FP32, the lanes of one MAC summed by a tree of neighbours and added to an FP32
accumulator; a result is rounded to BF16 when it is read. The next piece of the input starts from the results
of the last, which the host writes back as the bias. Which of its accumulators a command means is the
program's operand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pimsim.devices.pim import aim
from pimsim.devices.pim.functional import bf16_bits, bf16_values, tree_sum
from pimsim.devices.pim.kernel import Kernel
from pimsim.devices.pim.machine import G_COLUMN, G_COMMAND, G_ROW
from pimsim.devices.rules import ACTAB, COMMANDS, MACAB, MODE, PREA, RDRES, WRACC, WRREG
from pimsim.devices.spec import DramSpec, PimSpec
from pimsim.errors import SpecError

Bits = npt.NDArray[np.uint16]


class _Units:
    """banks: (channels, banks, rows, bursts, lanes) float32; inputs: (bursts, lanes) float32.

    partial: operand -> (channels, banks) float32 that the host has read; sums: accumulators in use.
    """

    def __init__(self, pim: PimSpec, banks: npt.NDArray[Any], inputs: npt.NDArray[Any], pieces: int) -> None:
        self.pim, self.banks, self.inputs, self.pieces = pim, banks, inputs, pieces
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
        elif self.registers != (command in (WRACC, RDRES)):
            raise SpecError("the units are in the other mode")
        elif command == WRACC:
            if len(self.sums) >= self.pim.accumulators:
                raise SpecError(f"more than {self.pim.accumulators} accumulators are in use")
            before = self.partial.get(data - 1) if data % self.pieces else None
            if data % self.pieces and before is None:
                raise SpecError(f"piece {data % self.pieces} begins before the last one is read")
            shape = self.banks.shape[:2]
            self.sums[data] = np.zeros(shape, np.float32) if before is None else before.copy()
        elif command == MACAB:
            if self.open != row:
                raise SpecError(f"row {row} is not open (open: {self.open})")
            self.macs[row, column] += 1
            products = self.banks[:, :, row, column] * self.buffer[column]
            self.sums[data] += tree_sum(products[..., None])[..., 0]
        elif command == RDRES:
            self.partial[data] = bf16_values(bf16_bits(self.sums.pop(data)))
        else:
            raise SpecError("no command of a matrix-vector product")


def gemv_on_data(pim: PimSpec, dram: DramSpec, kernel: Kernel, w: Bits, x: Bits) -> npt.NDArray[np.float32]:
    """y = W x for every vector of a batch, by executing `kernel`.

    w: (n, k) and x: (batch, k) uint16, bits of BF16 values. returns: (batch, n) float32, BF16 values.
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
    units = _Units(pim, banks, bf16_values(padded).reshape(-1, lanes), pieces)
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


__all__ = ["gemv_on_data"]
