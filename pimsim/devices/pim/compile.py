"""Any operation of any PIM part as a `Kernel`: checks what was asked for and picks the generator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pimsim.devices.pim import aim, hbm_pim
from pimsim.devices.pim.buffer_data import ACTIVATIONS
from pimsim.devices.pim.kernel import Kernel
from pimsim.devices.pim.program import gemv as lockstep_gemv
from pimsim.devices.pim.stored import Stored, UnitLayout, check_each, check_stored
from pimsim.devices.pim.vectors import vector_layout
from pimsim.devices.spec import Clocks, DramSpec, PimSpec
from pimsim.errors import SpecError, suggest
from pimsim.placement.layout import PimLayout
from pimsim.units import ceil_div

OPERATIONS = {
    "lockstep": ("gemv", "sum"),
    "paired_banks": ("gemv", *hbm_pim.ELEMENTWISE, "sum"),
    "global_buffer": ("gemv", "mul", "sum"),
}
"""What the units of a protocol do; `operations` adds what a controller does beside them."""
INSTEAD = {
    "lockstep": "its units are published to multiply and add products only; a scale goes into the weights, "
    "the rest is the host's",
    "global_buffer": "its banks multiply and look functions up; scale by mul or in the weights, shift by the "
    "bias of a product, use activation=... for ReLU; in LPDDR5 the host adds",
}
"""What to do about an operation that the units of a protocol do not have."""


def operations(pim: PimSpec, dram: DramSpec) -> tuple[str, ...]:
    """What a part does: its units, and for AiM the controller, which adds (EWADD) what it reads.

    Not in LPDDR5, whose activates of single banks come in two halves, which a program does not have.
    """
    adds = pim.protocol == "global_buffer" and not Clocks(dram).has("AAD")
    return OPERATIONS[pim.protocol] + ("add",) * adds


def check(pim: PimSpec, dram: DramSpec, operation: str, dtype: str, **shape: int) -> None:
    """SpecError unless the part has the operation and type and the shape is not empty."""
    if pim.dram != dram.name:
        raise SpecError(f"{pim.name} sits in {pim.dram!r}, not in {dram.name!r}")
    known = operations(pim, dram)
    if operation not in known:
        other = INSTEAD.get(pim.protocol) if operation in hbm_pim.ELEMENTWISE else None
        raise SpecError(
            f"{pim.name} has no operation {operation!r}"
            + (f": {other}" if other else suggest(operation, known))
        )
    if dtype not in pim.weight_dtypes:
        raise SpecError(
            f"{pim.name} runs no {operation} of type {dtype!r}{suggest(dtype, pim.weight_dtypes)}"
        )
    for name, value in shape.items():
        if value < 1:
            raise SpecError(f"{operation} with {name}={value}; wanted at least 1")


SMALLEST_TILE = 8
"""Fewest accumulators a unit that a tile of lockstep units uses."""


def lockstep_layout(
    pim: PimSpec, dram: DramSpec, channels: int, rows: int = 0, cols: int = 1, bits: int = 8
) -> PimLayout:
    """The layout of weights of a part whose units all do the same: one a bank.

    A matrix of few rows fills more units when a tile uses fewer accumulators: of all, half of them and so on
    the number that takes the fewest DRAM rows, the largest of several. rows=0: all.
    """
    g = dram.geometry

    def layout(accumulators: int) -> PimLayout:
        return PimLayout(
            channels=channels, ranks=g.ranks, banks=g.banks, row_bytes=g.row_bytes,
            burst_bytes=g.burst_bytes, accumulators=accumulators, bank_groups=g.bank_groups,
        )  # fmt: skip

    choices = [layout(pim.accumulators)]
    while rows and choices[-1].accumulators >= 2 * SMALLEST_TILE:
        choices.append(layout(choices[-1].accumulators // 2))
    return min(choices, key=lambda each: each.dram_rows(rows, cols, bits)) if rows else choices[0]


def compile_gemv(
    pim: PimSpec, dram: DramSpec, rows: int, cols: int, dtype: str, *, batch: int = 1,
    channels: int | None = None, fences: bool = False, reuse: int | None = None, split: int = 1,
    weights: Stored | None = None, activation: str = "",
) -> Kernel:  # fmt: skip
    """y = W x for `batch` vectors: W has `rows` outputs and `cols` inputs, on `channels` (None: the usual).

    split: parts that the columns of a matrix with few rows are cut into (0: the best), each for ranks of
      its own, so that more units work; the host adds one sum a part. For lockstep parts only.
    reuse: outputs that share a mode change, for parts with several accumulators a bank (None: all).
    weights: where W lies, which must be where and how the program expects it (None: it does).
    activation: a function of `ACTIVATIONS` that the results pass, for parts with a table of one.
    """
    count = pim.channels if channels is None else channels
    check(pim, dram, "gemv", dtype, rows=rows, cols=cols, batch=batch, channels=count)
    if split != 1 and pim.protocol != "lockstep":
        raise SpecError(f"{pim.name}: split={split}; columns are split for parts in lockstep only; use 1")
    if activation and pim.protocol != "global_buffer":
        raise SpecError(
            f"{pim.name}: activation={activation!r}; its units have no table of a function, use ''"
        )
    if activation and activation not in ACTIVATIONS:
        raise SpecError(f"{pim.name}: activation={activation!r}{suggest(activation, ACTIVATIONS)}")
    if weights is not None:
        _check_weights(pim, dram, count, rows, cols, dtype, split, weights)
    if pim.protocol == "paired_banks":
        return hbm_pim.gemv(pim, dram, count, rows, cols, dtype, batch=batch, fences=fences)
    if pim.protocol == "global_buffer":
        held = pim.accumulators if reuse is None else reuse
        kernel = aim.gemv(
            pim, dram, count, rows, cols, dtype, batch=batch, reuse=held, fences=fences,
            activation=bool(activation),
        )  # fmt: skip
        return replace(kernel, activation=activation)
    return _lockstep(pim, dram, count, rows, cols, dtype, batch, fences, split)


def gemv_layout(
    pim: PimSpec, dram: DramSpec, rows: int, cols: int, dtype: str, *, channels: int | None = None
) -> PimLayout | hbm_pim.PairedLayout:
    """The layout that `compile_gemv` wants W in."""
    count = pim.channels if channels is None else channels
    check(pim, dram, "gemv", dtype, rows=rows, cols=cols, channels=count)
    if pim.protocol == "paired_banks":
        return hbm_pim.layout_of(pim, dram, count)
    if pim.protocol == "global_buffer":
        return aim.layout_of(dram, count)
    return lockstep_layout(pim, dram, count, rows, cols, pim.weight_dtypes[dtype])


def _check_weights(
    pim: PimSpec, dram: DramSpec, channels: int, rows: int, cols: int, dtype: str, split: int, weights: Stored
) -> None:
    bits, layout = pim.weight_dtypes[dtype], gemv_layout(pim, dram, rows, cols, dtype, channels=channels)
    held_rows, held_cols = rows, cols
    if split != 1 and isinstance(layout, PimLayout):
        parts = split or best_split(layout, rows, cols, bits)
        if parts > 1:
            held_rows, held_cols = part_rows(layout, rows) * parts, ceil_div(cols, parts)
    check_stored(pim.name, weights, layout, layout.padded_bytes(held_rows, held_cols, bits))


def part_rows(layout: PimLayout, rows: int) -> int:
    """Rows of one part of a matrix that is split by columns: whole ranks."""
    return ceil_div(rows, layout.accumulators * layout.banks) * layout.accumulators * layout.banks


def best_split(layout: PimLayout, rows: int, cols: int, bits: int) -> int:
    """The split of the columns that takes the fewest DRAM rows, the smallest of several."""

    def taken(split: int) -> int:
        held = part_rows(layout, rows) * split if split > 1 else rows
        return layout.dram_rows(held, ceil_div(cols, split), bits)

    ranks = layout.channels * layout.ranks
    return min((s for s in range(1, ranks + 1) if s <= cols), key=lambda s: (taken(s), s))


def _lockstep(
    pim: PimSpec, dram: DramSpec, channels: int, rows: int, cols: int, dtype: str, batch: int, fences: bool,
    split: int,
) -> Kernel:  # fmt: skip
    bits = pim.weight_dtypes[dtype]
    layout = lockstep_layout(pim, dram, channels, rows, cols, bits)
    parts = split or best_split(layout, rows, cols, bits)
    most = min(cols, channels * layout.ranks)
    if not 1 <= parts <= most:
        raise SpecError(f"{pim.name}: split={split}; wanted 0 (the best) to {most}")
    if parts == 1:
        return _in_layout(pim, dram, layout, rows, cols, dtype, batch, fences)
    whole_rows, part_cols = part_rows(layout, rows) * parts, ceil_div(cols, parts)
    kernel = _in_layout(pim, dram, layout, whole_rows, part_cols, dtype, batch, fences)
    note = f"the columns lie in {parts} parts of {part_cols}; the host adds {parts} sums a row"
    return replace(
        kernel, operand_bytes=rows * cols * bits // 8 * batch, notes=(note, *kernel.notes),
        shape={"rows": rows, "cols": cols, "batch": batch, "split": parts},
    )  # fmt: skip


def _in_layout(
    pim: PimSpec, dram: DramSpec, layout: PimLayout, rows: int, cols: int, dtype: str, batch: int,
    fences: bool,
) -> Kernel:  # fmt: skip
    bits, g = pim.weight_dtypes[dtype], dram.geometry
    needed = layout.dram_rows(rows, cols, bits)
    if needed > g.rows:
        raise SpecError(
            f"{pim.name}: weights of {rows} x {cols} {dtype} need {needed} rows of every bank but "
            f"{g.rows} are there; use more channels or a smaller matrix"
        )
    held = lockstep_gemv(pim, layout, rows, cols, dtype, fences=fences)
    commands, data, end = held.commands, held.data, len(held.commands) - held.tail
    if batch > 1:
        body = np.tile(commands[held.head : end], (batch, 1))
        commands = np.concatenate([commands[: held.head], body, commands[end:]])
        data = np.concatenate([data[: held.head], np.tile(data[held.head : end], batch), data[end:]])
    whole = layout.tiles(rows) * layout.tile_rows
    note = (
        f"{rows} rows are computed as {whole}: a tile is {layout.tile_rows} rows; {whole} would take as long"
    )
    return Kernel(
        operation="gemv", dtype=dtype, channels=layout.channels, commands=commands, data=data,
        operand_bytes=rows * cols * bits // 8 * batch, units=g.banks, unit_bytes=g.burst_bytes,
        head=held.head, tail=held.tail, notes=(note,) * (rows < whole),
        shape={"rows": rows, "cols": cols, "batch": batch},
    )  # fmt: skip


def compile_elementwise(
    pim: PimSpec, dram: DramSpec, operation: str, elements: int, dtype: str, *, channels: int | None = None,
    fences: bool = False, operands: tuple[Stored, ...] | None = None,
) -> Kernel:  # fmt: skip
    """An operation on vectors of `elements`, spread over all units, or the sum of one.

    Parts with an adder tree sum as a product with a vector of ones; the host adds one number a row of it.
    operands: where the vectors lie, the result last if it is one, each as `operand_layout` says (None: so).
    """
    count = pim.channels if channels is None else channels
    check(pim, dram, operation, dtype, elements=elements, channels=count)
    if operands is not None:
        layout, sizes = operand_layout(pim, dram, operation, elements, dtype, channels=count)
        check_each(pim.name, operands, layout, sizes)
    if operation == "sum" and pim.lane_reduction:
        return _sum(pim, dram, count, elements, dtype, fences)
    if pim.protocol == "global_buffer":
        generate = aim.add if operation == "add" else aim.multiply
        return generate(pim, dram, count, elements, dtype)
    if operation == "sum":
        return hbm_pim.reduce(pim, dram, count, elements, dtype, fences=fences)
    return hbm_pim.elementwise(pim, dram, count, operation, elements, dtype, fences=fences)


def operand_layout(
    pim: PimSpec, dram: DramSpec, operation: str, elements: int, dtype: str, *, channels: int | None = None
) -> tuple[UnitLayout, tuple[int, ...]]:
    """The layout that `compile_elementwise` wants its vectors in, and the bytes of each, the result last."""
    count = pim.channels if channels is None else channels
    check(pim, dram, operation, dtype, elements=elements, channels=count)
    bits = pim.weight_dtypes[dtype]
    if operation == "sum" and pim.lane_reduction:
        rows, cols = sum_shape(pim, dram, count, elements, dtype)
        matrix = gemv_layout(pim, dram, rows, cols, dtype, channels=count)
        return matrix, (matrix.padded_bytes(rows, cols, bits),)
    vectors = vector_layout(pim, dram, count, operation)
    number = {"sum": 1, "relu": 2, "scale-shift": 2}.get(operation, 3)
    return vectors, (vectors.padded_bytes(elements, bits),) * number


def sum_shape(pim: PimSpec, dram: DramSpec, channels: int, elements: int, dtype: str) -> tuple[int, int]:
    """(rows, columns) of the matrix that a vector is for its sum: as few rows as use every unit."""
    if pim.protocol == "global_buffer":
        rows = aim.layout_of(dram, channels).tile_rows
    else:
        rows = lockstep_layout(pim, dram, channels, 1).tile_rows
    pairs = 2 if pim.weight_dtypes[dtype] < 8 else 1  # values of less than a byte go in pairs
    return rows, ceil_div(elements, rows * pairs) * pairs


def _sum(pim: PimSpec, dram: DramSpec, channels: int, elements: int, dtype: str, fences: bool) -> Kernel:
    rows, cols = sum_shape(pim, dram, channels, elements, dtype)
    kernel = compile_gemv(pim, dram, rows, cols, dtype, channels=channels, fences=fences)
    return replace(
        kernel, operation="sum", operand_bytes=elements * pim.weight_dtypes[dtype] // 8,
        notes=(f"a product with ones; the host adds {rows} sums",), shape={"elements": elements},
    )  # fmt: skip


__all__ = [
    "OPERATIONS", "best_split", "check", "compile_elementwise", "compile_gemv", "gemv_layout",
    "lockstep_layout", "operand_layout", "operations", "part_rows", "sum_shape",
]  # fmt: skip
