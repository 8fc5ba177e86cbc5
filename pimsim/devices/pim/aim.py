"""Programs of units with one accumulator a bank and one buffer of inputs a channel (GDDR6-AiM).

An operation is a stream of instructions, each of which repeats one command over columns. The stream adds
what the instructions leave out: mode changes between commands of registers and of arrays, activates and
precharges. All commands go strictly in order, as the vendor's controller keeps them.

Sources: S. Lee et al., ISSCC 2022, and Y. Kwon et al., Hot Chips 34, for buffer, accumulators and commands;
the order of mode changes and which command pays for which turnaround are read off measured totals
(`tests/reference/pim/aim`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pimsim.devices.pim import machine as m
from pimsim.devices.pim.kernel import DATA, Ints, Kernel, column_list, split, with_rows
from pimsim.devices.pim.vectors import vector_layout
from pimsim.devices.rules import ACT1, AFAB, EWAB, MACAB, MODE, PREA, RD, RDRES, WR, WRACC, WRREG
from pimsim.devices.spec import DramSpec, PimSpec
from pimsim.errors import SpecError
from pimsim.placement.layout import PimLayout, row_bytes_of

ARRAY, REGISTER = (MACAB, EWAB, AFAB), (WRACC, RDRES)


class Step(NamedTuple):
    """One instruction: `command` over columns 0 .. columns - 1 of `row` (array commands), with operands.

    data: operand of its first column; `moves`: the operand counts on with the column.
    """

    command: int
    row: int
    columns: int
    data: int = -1
    moves: bool = False


def stream(steps: list[Step], *, leave: bool = True) -> Ints:
    """Commands of a stream of instructions, (n, 7), with mode changes, activates and precharges.

    leave: at the end the open row is closed and register mode left.
    """
    counts = np.array([s.columns for s in steps])
    table = np.array([(s.command, s.row, s.data, s.moves) for s in steps], np.int64).repeat(counts, axis=0)
    column = np.arange(len(table)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = column_list(0, len(table))
    rows[:, m.G_COMMAND], rows[:, m.G_ROW] = table[:, 0], table[:, 1]
    rows[:, m.G_COLUMN] = column
    rows[:, DATA] = table[:, 2] + np.where(table[:, 3] > 0, column, 0)
    array = np.isin(rows[:, m.G_COMMAND], ARRAY)
    register = np.isin(rows[:, m.G_COMMAND], REGISTER)
    decided = np.flatnonzero(array | register)
    changes = decided[np.flatnonzero(np.diff(register[decided].astype(np.int64), prepend=0))]
    mode = column_list(MODE, len(changes))
    order = np.concatenate([changes * 2, np.arange(len(rows)) * 2 + 1])
    filled = with_rows(np.concatenate([mode, rows])[np.argsort(order, kind="stable")])
    if not leave:
        return filled
    last = [column_list(MODE, 1)] if len(decided) and register[decided[-1]] else []
    return np.concatenate([filled, *last, *([column_list(PREA, 1)] if array.any() else [])])


def layout_of(dram: DramSpec, channels: int) -> PimLayout:
    """One output a bank and DRAM row: a row of weights after the other in its bank."""
    g = dram.geometry
    return PimLayout(
        channels=channels, ranks=1, banks=g.banks, row_bytes=g.row_bytes, burst_bytes=g.burst_bytes,
        accumulators=1, bank_groups=g.bank_groups,
    )  # fmt: skip


def gemv(
    pim: PimSpec, dram: DramSpec, channels: int, n: int, k: int, dtype: str, *, batch: int = 1,
    reuse: int = 1, base_row: int = 0, fences: bool = False, leave: bool = True, activation: bool = False,
) -> Kernel:  # fmt: skip
    """y = W x: for each piece of the input that a DRAM row of weights meets, all outputs of the banks.

    The piece goes to the buffer, then for each output the accumulators are preset (with the bias or the sum
    so far), the columns multiplied and the sums read. reuse: outputs whose accumulators are preset and read
    together, where the part has room for them; it saves mode changes. leave: see `stream`.
    activation: the sums pass the activation function, a table in the DRAM row after the weights, before they
    are read the last time.
    data: burst of the padded input vectors for WRREG; output tile times pieces plus piece for the rest.
    """
    bits = pim.weight_dtypes[dtype]
    layout, g = layout_of(dram, channels), dram.geometry
    tiles, pieces = layout.tiles(n), layout.chunks(k, bits)
    table_row = base_row + tiles * pieces
    needed = tiles * pieces + activation
    if base_row + needed > g.rows:
        raise SpecError(
            f"{pim.name}: weights of {n} x {k} {dtype} need {needed} rows of every bank but "
            f"{g.rows - base_row} are free; use more channels or a smaller matrix"
        )
    if not 1 <= reuse <= pim.accumulators:
        raise SpecError(f"{pim.name}: reuse={reuse}; wanted 1 to {pim.accumulators}, its accumulators a bank")
    bursts = -(-row_bytes_of(k, bits) // g.burst_bytes)
    steps: list[Step] = []
    for vector in range(batch):
        for piece in range(pieces):
            columns = min(g.bursts_per_row, bursts - piece * g.bursts_per_row)
            first = vector * bursts + piece * g.bursts_per_row
            steps.append(Step(WRREG, -1, columns, first, True))
            for begin in range(0, tiles, reuse):
                some = range(begin, min(tiles, begin + reuse))
                tag = [(vector * tiles + t) * pieces + piece for t in some]
                steps += [Step(WRACC, -1, 1, d) for d in tag]
                steps += [
                    Step(MACAB, base_row + t * pieces + piece, columns, d)
                    for t, d in zip(some, tag, strict=True)
                ]
                if activation and piece == pieces - 1:
                    steps += [Step(AFAB, table_row, 1, d) for d in tag]
                steps += [Step(RDRES, -1, 1, d) for d in tag]
    rows = stream(steps, leave=leave)
    if fences:
        command = rows[:, m.G_COMMAND]
        rows[1:, m.G_FENCE] = (command[1:] == RDRES) | ((command[1:] == MACAB) & (command[:-1] != MACAB))
    whole = tiles * layout.tile_rows
    note = (
        f"{n} rows are computed as {whole}: one a bank, {layout.tile_rows} at once; {whole} rows would "
        "take as long"
    )
    return kernel_of(
        pim, dram, "gemv", dtype, channels, rows, n * k * bits // 8 * batch,
        shape={"rows": n, "cols": k, "batch": batch}, notes=(note,) * (n < whole),
    )  # fmt: skip


def multiply(pim: PimSpec, dram: DramSpec, channels: int, n: int, dtype: str, *, base_row: int = 0) -> Kernel:
    """Element-wise product of two vectors of `n` elements that lie in neighbouring banks of a group.

    The first two banks of each group hold the operands, the third takes the products, so that a column
    command makes one burst of products a bank group. data: none.
    """
    g, bits, layout = dram.geometry, pim.weight_dtypes[dtype], vector_layout(pim, dram, channels)
    bursts = layout.groups(n, bits)
    if base_row + -(-bursts // g.bursts_per_row) > g.rows:
        raise SpecError(f"{pim.name}: vectors of {n} {dtype} elements do not fit; use more channels")
    steps = [
        Step(EWAB, base_row + first // g.bursts_per_row, min(g.bursts_per_row, bursts - first))
        for first in range(0, bursts, g.bursts_per_row)
    ]
    moved = n * bits // 8
    return kernel_of(
        pim, dram, "mul", dtype, channels, stream(steps), 2 * moved, shape={"elements": n}, result_bytes=moved
    )


def add(pim: PimSpec, dram: DramSpec, channels: int, n: int, dtype: str, *, base_row: int = 0) -> Kernel:
    """Element-wise sum of two vectors of `n` elements by the controller (EWADD): over the pins and back.

    The vectors lie over all banks, burst by burst. For a DRAM row of every bank the controller reads the one
    operand, then the other, then writes the sums. data: 0, 1 for an operand's reads, 2 for the writes.
    """
    g, bits, layout = dram.geometry, pim.weight_dtypes[dtype], vector_layout(pim, dram, channels, "add")
    bursts, rows = layout.groups(n, bits), layout.rows(n, bits)
    if base_row + 3 * rows > g.rows:
        raise SpecError(f"{pim.name}: three vectors of {n} {dtype} elements do not fit; use more channels")
    order = np.arange(g.banks).reshape(g.bank_groups, -1).T.ravel()
    parts: list[Ints] = []
    for first in range(0, bursts, g.bursts_per_row):
        columns = min(g.bursts_per_row, bursts - first)
        for step, command in enumerate((RD, RD, WR)):
            row = base_row + step * rows + first // g.bursts_per_row
            opened, moves = (
                column_list(ACT1, g.banks, row=row),
                column_list(command, columns * g.banks, row=row),
            )
            opened[:, m.G_BANK], moves[:, m.G_BANK] = order, np.tile(order, columns)
            moves[:, m.G_COLUMN], moves[:, DATA] = np.repeat(np.arange(columns), g.banks), step
            parts += [opened, moves, column_list(PREA, 1)]
    moved = n * bits // 8
    return kernel_of(
        pim, dram, "add", dtype, channels, np.concatenate(parts), 2 * moved, shape={"elements": n},
        result_bytes=moved,
        notes=("the units do nothing: operands and sums cross the pins, the controller adds (EWADD)",),
    )  # fmt: skip


def kernel_of(
    pim: PimSpec, dram: DramSpec, operation: str, dtype: str, channels: int, rows: Ints, operand_bytes: int,
    *, shape: dict[str, int], notes: tuple[str, ...] = (), result_bytes: int = 0,
) -> Kernel:  # fmt: skip
    commands, data = split(rows)
    return Kernel(
        operation=operation, dtype=dtype, channels=channels, commands=commands, data=data,
        operand_bytes=operand_bytes, result_bytes=result_bytes,
        units=int(dram.geometry.banks * pim.units_per_bank), unit_bytes=dram.geometry.burst_bytes,
        notes=notes, shape=shape,
    )  # fmt: skip


__all__ = ["Step", "add", "gemv", "kernel_of", "layout_of", "multiply", "stream"]
