"""Programs of paired banks (HBM-PIM) run on real data, command by command: the very rows that are timed.

The interpreter knows what the hardware knows: the bytes of the banks, which row each bank set has open, the
registers, and the microkernel's instruction. Registers follow from the address of a command (the
address-aligned mode of the units), so that a wrong layout, row or register gives wrong numbers, and a
command out of order is a `SpecError`.

Arithmetic: FP16, each product and each sum rounded to FP16 (to the nearest, ties to even), in the order of
the commands; the host adds the sums of the lanes in FP32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pimsim.devices.pim import hbm_pim as h
from pimsim.devices.pim.kernel import Kernel
from pimsim.devices.pim.machine import G_BANK, G_COLUMN, G_COMMAND, G_ROW
from pimsim.devices.pim.vectors import vector_layout
from pimsim.devices.rules import (
    ACT1,
    ACTAB,
    COMMANDS,
    MACAB,
    MODE,
    PRE,
    PREA,
    RD,
    WRAB,
    WRREG,
)
from pimsim.devices.spec import DramSpec, PimSpec
from pimsim.errors import SpecError

Values = npt.NDArray[Any]
Halves = npt.NDArray[np.float16]
GROUP = 8
"""Registers of one side of a unit."""


class _Units:
    """banks: (channels, banks, rows, bursts, lanes) float16, from row 0 on. inputs: (bursts, lanes)."""

    def __init__(self, kernel: Kernel, dram: DramSpec, banks: Halves, inputs: Halves, scale: Halves) -> None:
        self.g, self.banks, self.inputs, self.scale = dram.geometry, banks, inputs, scale
        self.units = kernel.units
        lanes = banks.shape[-1]
        self.a = np.zeros((banks.shape[0], self.units, GROUP, lanes), np.float16)
        self.b = np.zeros_like(self.a)
        self.open = dict.fromkeys(range(self.g.banks), -1)
        self.mode = "single"
        self.macs = np.zeros((2, banks.shape[2], banks.shape[3]), np.int64)

    def step(self, command: int, bank: int, row: int, column: int, data: int) -> None:
        if command in (ACT1, ACTAB):
            if (command == ACT1) != (self.mode == "single") and row != self.g.rows - 2:
                raise SpecError(f"an activate in {self.mode} mode")
            if self.open[bank] >= 0:
                raise SpecError(f"row {self.open[bank]} of bank {bank} is still open")
            self.open[bank] = row
        elif command == PRE:
            self.open[bank] = -1
        elif command == PREA:
            self.open = dict.fromkeys(self.open, -1)
        elif command == RD:
            if self.open[bank] < 0 or self.mode != "single":
                raise SpecError(f"a read of bank {bank}, closed or in {self.mode} mode")
        else:
            if self.open[bank] != row:
                raise SpecError(f"row {row} of bank set {bank} is not open (open: {self.open[bank]})")
            self.column(command, bank, row, column, data)

    def column(self, command: int, bank: int, row: int, column: int, data: int) -> None:
        if command == MODE:
            self.change(row, column)
        elif command == WRREG:
            if self.mode == "single" or row != self.g.rows - 1:
                raise SpecError(f"registers are written in {self.mode} mode, row {row}")
            if data >= 0:
                self.a[:, :, column % GROUP] = self.inputs[data]
        elif self.mode != "pim":
            raise SpecError(f"units are asked to work in {self.mode} mode")
        elif command == MACAB:
            self.work(bank, row, column, data)
        elif command == WRAB:
            self.banks[:, bank : 2 * self.units : 2, row, column] = self.b[:, :, column % GROUP]
        else:
            raise SpecError("no command of these units")

    def change(self, row: int, column: int) -> None:
        known = {
            (self.g.rows - 2, 0): ("single", "all"),
            (self.g.rows - 3, 0): ("all", "pim"),
            (self.g.rows - 3, 1): ("pim", "all"),
            (self.g.rows - 4, 0): ("all", "single"),
        }
        before, after = known[row, column]
        if self.mode != before:
            raise SpecError(f"a change from {before} to {after} mode in {self.mode} mode")
        self.mode = after
        if after == "pim":
            self.b[:] = 0

    def work(self, bank: int, row: int, column: int, instruction: int) -> None:
        held = self.banks[:, bank : 2 * self.units : 2, row, column]
        self.macs[bank, row, column] += 1
        at = (row * self.g.bursts_per_row + column) % (GROUP * GROUP)
        index = column % GROUP
        if instruction == h.MAC:
            out, source = divmod(at, GROUP)
            self.b[:, :, out] += held * self.a[:, :, source]
        elif instruction == h.FILL:
            self.a[:, :, index] = held
        elif instruction == h.ADD:
            self.b[:, :, index] = self.a[:, :, index] + held
        elif instruction == h.MUL:
            self.b[:, :, index] = self.a[:, :, index] * held
        elif instruction == h.RELU:
            self.b[:, :, index] = np.maximum(held, np.float16(0))
        elif instruction == h.SUM:
            self.b[:, :, index] += held
        elif instruction == h.MAD:
            self.b[:, :, index] = held * self.scale[0] + self.scale[1]
        else:
            raise SpecError(f"no instruction {instruction}")


def execute(kernel: Kernel, dram: DramSpec, banks: Halves, inputs: Halves, scale: Halves) -> _Units:
    """Run all commands of a kernel; `banks` is changed in place. A command out of order is a `SpecError`."""
    units = _Units(kernel, dram, banks, inputs, scale)
    fields = np.column_stack([kernel.commands[:, [G_COMMAND, G_BANK, G_ROW, G_COLUMN]], kernel.data])
    with np.errstate(over="ignore", invalid="ignore"):  # FP16 sums may reach infinity, as in hardware
        for number, (command, bank, row, column, data) in enumerate(fields.tolist()):
            try:
                units.step(command, bank, row, column, data)
            except SpecError as error:
                raise SpecError(f"program command {number}, {COMMANDS[command]}: {error}") from None
    if units.mode != "single":
        raise SpecError(f"the program ends in {units.mode} mode")
    return units


def _rows_used(kernel: Kernel, dram: DramSpec) -> int:
    work = np.isin(kernel.commands[:, G_COMMAND], (MACAB, WRAB))
    return int(kernel.commands[work, G_ROW].max()) + 1


def _lanes(dram: DramSpec) -> int:
    return dram.geometry.burst_bytes // 2


def gemv_on_data(
    pim: PimSpec, dram: DramSpec, kernel: Kernel, w: Halves, x: Halves
) -> npt.NDArray[np.float32]:
    """y = W x for every vector of a batch, by executing `kernel`.

    w: (n, k) float16. x: (batch, k) float16. returns: (batch, n) float32.
    """
    n, k = w.shape
    if w.dtype != np.float16 or x.dtype != np.float16 or x.shape != (kernel.shape["batch"], k):
        raise SpecError(
            f"weights {w.shape} of {w.dtype}, inputs {x.shape} of {x.dtype}; wanted ({n}, {k}) and "
            f"({kernel.shape['batch']}, {k}) of float16"
        )
    layout = h.layout_of(pim, dram, kernel.channels)
    t, lanes, g = layout.tiles, _lanes(dram), dram.geometry
    held = layout.swizzle(w)[:, 0].view(np.float16)  # (channels, banks, rows, values)
    rows = _rows_used(kernel, dram)
    banks = np.zeros((t.channels, 2 * t.banks, rows, g.bursts_per_row, lanes), np.float16)
    banks[:, :, : held.shape[2]] = held.reshape(*held.shape[:3], g.bursts_per_row, lanes)
    chunks = t.chunks(k, 16)
    padded = np.zeros((x.shape[0], chunks * t.chunk_bytes // 2), np.float16)
    padded[:, :k] = x
    units = execute(kernel, dram, banks, padded.reshape(-1, lanes), np.zeros((2, 1), np.float16))
    once = units.macs.sum()
    if once != x.shape[0] * t.tiles(n) * chunks * layout.chunk_bursts or units.macs.max() > x.shape[0]:
        raise SpecError("a burst of weights was not used exactly once a vector")
    # Results: after the weights in the even banks, burst after burst.
    tiles, first = t.tiles(n), layout.rows(n, k, 16) * g.bursts_per_row
    even = units.banks[:, 0::2].reshape(t.channels, t.banks, -1, lanes)
    count = x.shape[0] * tiles * t.accumulators
    sums = even[:, :, first : first + count].astype(np.float32).sum(axis=-1)
    out = sums.reshape(t.channels, t.banks, x.shape[0], tiles, t.accumulators).transpose(2, 3, 0, 1, 4)
    return np.ascontiguousarray(out.reshape(x.shape[0], -1)[:, :n])


def elementwise_on_data(
    pim: PimSpec, dram: DramSpec, kernel: Kernel, operands: tuple[Halves, ...],
    scale: tuple[float, float] = (1.0, 0.0),
) -> Halves:  # fmt: skip
    """The result of an element-wise operation on vectors, by executing `kernel`.

    operands: as many (n,) float16 as the operation takes. scale: factor and summand of scale-shift.
    """
    n, lanes, layout = kernel.shape["elements"], _lanes(dram), vector_layout(pim, dram, kernel.channels)
    if len(operands) != len(h.ELEMENTWISE[kernel.operation]) or any(o.shape != (n,) for o in operands):
        shapes = [o.shape for o in operands]
        raise SpecError(
            f"{kernel.operation} of {shapes}; wanted {len(h.ELEMENTWISE[kernel.operation])} of ({n},)"
        )
    held = [layout.swizzle(operand) for operand in (*operands, np.zeros(n, np.float16))]
    done = execute(
        kernel, dram, _banks(held), np.zeros((0, lanes), np.float16), np.array(scale, np.float16)[:, None]
    )
    result = done.banks[:, :, -layout.rows(n, 16) :].view(np.uint8)
    return layout.unswizzle(result.reshape(held[0].shape), n, "float16")


def _banks(held: list[npt.NDArray[np.uint8]]) -> Halves:
    """What `VectorLayout.swizzle` gives, one after the other in the rows of all banks."""
    rows = np.concatenate(held, axis=3).view(np.float16)
    return rows.reshape(rows.shape[0], -1, *rows.shape[3:])


def sum_on_data(pim: PimSpec, dram: DramSpec, kernel: Kernel, operand: Halves) -> float:
    """The sum of a vector by executing `kernel`: partial sums in FP16, those added by the host in FP64."""
    lanes, layout = _lanes(dram), vector_layout(pim, dram, kernel.channels)
    held = layout.swizzle(operand)
    result = np.zeros_like(held[:, :, :, :1])
    banks = _banks([held, result])
    execute(kernel, dram, banks, np.zeros((0, lanes), np.float16), np.zeros((2, 1), np.float16))
    return float(banks[:, 0::2, -1, : layout.group_bursts].astype(np.float64).sum())


__all__ = ["elementwise_on_data", "execute", "gemv_on_data", "sum_on_data"]
