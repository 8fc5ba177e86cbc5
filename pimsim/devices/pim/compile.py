"""Any operation of any PIM part as a `Kernel`: checks what was asked for and picks the generator."""

from __future__ import annotations

import numpy as np

from pimsim.devices.pim import aim, hbm_pim
from pimsim.devices.pim.kernel import Kernel
from pimsim.devices.pim.program import gemv as lockstep_gemv
from pimsim.devices.spec import DramSpec, PimSpec
from pimsim.errors import SpecError, suggest
from pimsim.placement.layout import PimLayout

OPERATIONS = {
    "lockstep": ("gemv",),
    "paired_banks": ("gemv", *hbm_pim.ELEMENTWISE, "sum"),
    "global_buffer": ("gemv", "mul"),
}
"""What the units of a protocol do."""


def check(pim: PimSpec, dram: DramSpec, operation: str, dtype: str, **shape: int) -> None:
    """SpecError unless the part has the operation and type and the shape is not empty."""
    if pim.dram != dram.name:
        raise SpecError(f"{pim.name} sits in {pim.dram!r}, not in {dram.name!r}")
    known = OPERATIONS[pim.protocol]
    if operation not in known:
        raise SpecError(f"{pim.name} has no operation {operation!r}{suggest(operation, known)}")
    if dtype not in pim.weight_dtypes:
        raise SpecError(
            f"{pim.name} runs no {operation} of type {dtype!r}{suggest(dtype, pim.weight_dtypes)}"
        )
    for name, value in shape.items():
        if value < 1:
            raise SpecError(f"{operation} with {name}={value}; wanted at least 1")


def lockstep_layout(pim: PimSpec, dram: DramSpec, channels: int) -> PimLayout:
    """The layout of weights of a part whose units all do the same: one a bank."""
    g = dram.geometry
    return PimLayout(
        channels=channels, ranks=g.ranks, banks=g.banks, row_bytes=g.row_bytes, burst_bytes=g.burst_bytes,
        accumulators=pim.accumulators, bank_groups=g.bank_groups,
    )  # fmt: skip


def compile_gemv(
    pim: PimSpec, dram: DramSpec, rows: int, cols: int, dtype: str, *, batch: int = 1,
    channels: int | None = None, fences: bool = False, reuse: int | None = None,
) -> Kernel:  # fmt: skip
    """y = W x for `batch` vectors: W has `rows` outputs and `cols` inputs, on `channels` (None: the usual).

    reuse: outputs that share a mode change, for parts with several accumulators a bank (None: all).
    """
    count = pim.channels if channels is None else channels
    check(pim, dram, "gemv", dtype, rows=rows, cols=cols, batch=batch, channels=count)
    if pim.protocol == "paired_banks":
        return hbm_pim.gemv(pim, dram, count, rows, cols, dtype, batch=batch, fences=fences)
    if pim.protocol == "global_buffer":
        held = pim.accumulators if reuse is None else reuse
        return aim.gemv(pim, dram, count, rows, cols, dtype, batch=batch, reuse=held, fences=fences)
    return _lockstep(pim, dram, count, rows, cols, dtype, batch, fences)


def _lockstep(
    pim: PimSpec, dram: DramSpec, channels: int, rows: int, cols: int, dtype: str, batch: int, fences: bool
) -> Kernel:
    layout = lockstep_layout(pim, dram, channels)
    bits, g = pim.weight_dtypes[dtype], dram.geometry
    needed = layout.dram_rows(rows, cols, bits)
    if needed > g.rows:
        raise SpecError(
            f"{pim.name}: weights of {rows} x {cols} {dtype} need {needed} rows of every bank but "
            f"{g.rows} are there; use more channels or a smaller matrix"
        )
    held = lockstep_gemv(pim, layout, rows, cols, dtype, fences=fences)
    mode = pim.mode_accesses
    body = held.commands[mode : len(held.commands) - mode]
    commands, data = held.commands, held.data
    if batch > 1:
        commands = np.concatenate([commands[:mode], np.tile(body, (batch, 1)), commands[:mode]])
        data = np.concatenate([data[:mode], np.tile(data[mode : len(held.data) - mode], batch), data[:mode]])
    whole = layout.tiles(rows) * layout.tile_rows
    note = (
        f"{rows} rows are computed as {whole}: a tile is {layout.tile_rows} rows; {whole} would take as long"
    )
    return Kernel(
        operation="gemv", dtype=dtype, channels=channels, commands=commands, data=data,
        operand_bytes=rows * cols * bits // 8 * batch, units=g.banks, unit_bytes=g.burst_bytes,
        notes=(note,) * (rows < whole), shape={"rows": rows, "cols": cols, "batch": batch},
    )  # fmt: skip


def compile_elementwise(
    pim: PimSpec, dram: DramSpec, operation: str, elements: int, dtype: str, *, channels: int | None = None,
    fences: bool = False,
) -> Kernel:  # fmt: skip
    """An operation on vectors of `elements`, spread over all units, or the sum of one."""
    count = pim.channels if channels is None else channels
    check(pim, dram, operation, dtype, elements=elements, channels=count)
    if pim.protocol == "global_buffer":
        return aim.multiply(pim, dram, count, elements, dtype)
    if operation == "sum":
        return hbm_pim.reduce(pim, dram, count, elements, dtype, fences=fences)
    return hbm_pim.elementwise(pim, dram, count, operation, elements, dtype, fences=fences)


__all__ = ["OPERATIONS", "check", "compile_elementwise", "compile_gemv", "lockstep_layout"]
