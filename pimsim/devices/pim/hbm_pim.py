"""Programs of units that serve two banks each, with registers behind reserved rows (HBM-PIM).

Every command is an ordinary one that reaches the even or the odd banks of the whole channel; a unit works
on the burst that its own bank of the pair gives. Source: "Hardware architecture and software stack for PIM
based on commercial DRAM technology" (ISCA 2021) and Hot Chips 33 for modes, registers and microkernels.
From measured command counts and clocks (`tests/reference/pim`), since no paper has them: one read of every
bank before and after, that four bursts program the instructions, that the bank pair of the reserved rows is
the first and that of the mode rows the second, and that a weight tile begins in the odd bank, so that the
even bank can take the inputs meanwhile.

One tile of a GEMV is `accumulators` outputs a unit. For each piece of the input vector its bursts go to the
register row, then each weight burst meets one of them. The sums, one a lane, are written to the bank at the
end of the tile; the host reads them and adds the lanes later, which is not part of the program.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pimsim.devices.pim import machine as m
from pimsim.devices.pim.kernel import DATA, Ints, Kernel, column_list, split, with_rows
from pimsim.devices.pim.vectors import vector_layout
from pimsim.devices.rules import ACT1, MACAB, MODE, PREA, RD, WRAB, WRREG
from pimsim.devices.spec import DramSpec, PimSpec
from pimsim.errors import SpecError
from pimsim.placement.layout import PimLayout

LOOKAHEAD = 64
"""Column commands that the host's controller sees ahead: its queue. From 32 on nothing depends on it."""

# Instructions of the microkernels, as the data of MACAB and WRAB commands name them.
FILL, ADD, MUL, MAC, RELU, MAD, SUM = range(7)
ELEMENTWISE = {"add": (FILL, ADD), "mul": (FILL, MUL), "relu": (RELU,), "scale-shift": (MAD,)}
"""Operations on whole vectors: what happens at each operand's bursts before the result is written."""

EVEN, ODD, MODE_BANK, LEAVE_BANK = 0, 1, 2, 3
RESERVED = 16
"""Rows at the end of every bank that hold no data: registers, modes, the row that parked banks have open."""


@dataclass(frozen=True, kw_only=True)
class PairedLayout:
    """Where the tiles of `PimLayout` lie when a unit has two banks: tile chunks in turn in the odd and even.

    tiles: the layout over units, whose DRAM rows hold one chunk of `accumulators` outputs each.
    bursts: bursts of a DRAM row of the part; base_row: first row of the matrix.
    """

    tiles: PimLayout
    bursts: int
    base_row: int = 0

    @property
    def chunk_bursts(self) -> int:
        """Bursts that one chunk of a tile takes in a bank."""
        return self.tiles.row_bytes // self.tiles.burst_bytes

    def place(self, tile: Ints, chunk: Ints, burst: Ints, chunks: int) -> tuple[Ints, Ints, Ints]:
        """(odd bank?, row, column) of bursts of a chunk of a tile, of a matrix of `chunks` chunks a tile."""
        at = (tile * -(-chunks // 2) + chunk // 2) * self.chunk_bursts + burst
        return 1 - chunk % 2, self.base_row + at // self.bursts, at % self.bursts

    def rows(self, n: int, k: int, bits: int) -> int:
        """DRAM rows of every bank that the weights take."""
        chunks = self.tiles.chunks(k, bits)
        return -(-self.tiles.tiles(n) * -(-chunks // 2) * self.chunk_bursts // self.bursts)

    def padded_bytes(self, n: int, k: int, bits: int) -> int:
        """Bytes that the weights take with padding: whole tiles, and as many chunks in both banks."""
        chunks = -(-self.tiles.chunks(k, bits) // 2) * 2
        units = self.tiles.channels * self.tiles.ranks * self.tiles.banks
        return self.tiles.tiles(n) * chunks * units * self.tiles.row_bytes

    def swizzle(self, matrix: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Bytes of all banks that hold `matrix`, (n, k) of any type.

        returns: (channels, ranks, banks, rows, row bytes) uint8 from base_row on, two banks a unit.
        """
        t = self.tiles
        held = t.swizzle(matrix)  # (channels, ranks, units, tiles * chunks, chunk)
        tiles = t.tiles(matrix.shape[0])
        chunks = held.shape[3] // tiles
        pairs = -(-chunks // 2)
        full = np.zeros((*held.shape[:3], tiles, 2 * pairs, t.row_bytes), np.uint8)
        full[:, :, :, :, :chunks] = held.reshape(*held.shape[:3], tiles, chunks, t.row_bytes)
        banks = full.reshape(*held.shape[:3], tiles, pairs, 2, t.row_bytes)[:, :, :, :, :, ::-1]
        flat = banks.transpose(0, 1, 2, 5, 3, 4, 6).reshape(t.channels, t.ranks, 2 * t.banks, -1)
        row = self.bursts * t.burst_bytes
        rows = -(-flat.shape[3] // row)
        out = np.zeros((*flat.shape[:3], rows * row), np.uint8)
        out[:, :, :, : flat.shape[3]] = flat
        return out.reshape(*flat.shape[:3], rows, row)

    def unswizzle(self, banks: NDArray[np.uint8], n: int, k: int, dtype: str) -> NDArray[np.generic]:
        """The matrix in `banks`: the inverse of `swizzle`, padding dropped."""
        t = self.tiles
        bits = np.dtype(dtype).itemsize * 8
        tiles, chunks = t.tiles(n), t.chunks(k, bits)
        pairs = -(-chunks // 2)
        shape = (t.channels, t.ranks, t.banks, 2)
        flat = banks.reshape(*shape, -1)[..., : tiles * pairs * t.row_bytes]
        full = flat.reshape(*shape, tiles, pairs, t.row_bytes).transpose(0, 1, 2, 4, 5, 3, 6)[..., ::-1, :]
        held = full.reshape(*shape[:3], tiles, 2 * pairs, t.row_bytes)[:, :, :, :, :chunks]
        return t.unswizzle(held.reshape(*shape[:3], tiles * chunks, t.row_bytes), n, k, dtype)


def layout_of(pim: PimSpec, dram: DramSpec, channels: int, base_row: int = 0) -> PairedLayout:
    """The layout of weights of a part: one rank of every channel, two banks a unit."""
    g = dram.geometry
    tiles = PimLayout(
        channels=channels, ranks=1, banks=round(g.banks * pim.units_per_bank),
        row_bytes=pim.accumulators * pim.source_bytes,
        burst_bytes=g.burst_bytes, accumulators=pim.accumulators,
    )  # fmt: skip
    return PairedLayout(tiles=tiles, bursts=g.bursts_per_row, base_row=base_row)


def gemv(
    pim: PimSpec, dram: DramSpec, channels: int, n: int, k: int, dtype: str, *, batch: int = 1,
    fences: bool = False, base_row: int = 0,
) -> Kernel:  # fmt: skip
    """y = W x for W of `n` x `k`, and for each vector of a batch the weights once more.

    data: burst of the padded input vectors for WRREG (-1: programming), tile for WRAB, MAC for MACAB.
    """
    bits = pim.weight_dtypes[dtype]
    layout = layout_of(pim, dram, channels, base_row)
    g = dram.geometry
    tiles, chunks = layout.tiles.tiles(n), layout.tiles.chunks(k, bits)
    inputs = pim.source_bytes // g.burst_bytes
    results = pim.accumulators
    weight_rows = layout.rows(n, k, bits)
    result_row = base_row + weight_rows
    fits(pim, dram, f"weights and results of {n} x {k} {dtype}",
         result_row + -(-batch * tiles * results // g.bursts_per_row))  # fmt: skip
    register_row = g.rows - 1

    chunk_of = np.repeat(np.arange(chunks), inputs + layout.chunk_bursts)
    within = np.tile(np.arange(inputs + layout.chunk_bursts), chunks)
    is_input = within < inputs
    body = column_list(MACAB, len(chunk_of))
    body[is_input, m.G_COMMAND] = WRREG
    body[is_input, m.G_BANK], body[is_input, m.G_ROW] = EVEN, register_row
    body[is_input, m.G_COLUMN] = pim.source_bytes // g.burst_bytes + within[is_input]
    body[is_input, DATA] = (chunk_of * inputs + within)[is_input]
    body[~is_input, DATA] = MAC
    if fences:
        body[(within == 0) | (~is_input & ((within - inputs) % inputs == 0)), m.G_FENCE] = 1
    parts = [opening(pim, dram)]
    for tile in range(tiles * batch):
        which, vector = tile % tiles, tile // tiles
        mine = body.copy()
        odd, row, column = layout.place(
            np.asarray(which),
            chunk_of[~is_input],
            within[~is_input] - inputs,
            chunks,
        )
        mine[~is_input, m.G_BANK], mine[~is_input, m.G_ROW] = odd, row
        mine[~is_input, m.G_COLUMN] = column
        mine[is_input, DATA] += vector * chunks * inputs
        at = tile * results + np.arange(results)
        out = column_list(WRAB, results, bank=EVEN)
        out[:, m.G_ROW], out[:, m.G_COLUMN] = (
            result_row + at // g.bursts_per_row,
            at % g.bursts_per_row,
        )
        out[:, DATA] = tile
        if fences:
            out[0, m.G_FENCE] = 1
        parts += [mode_change(dram, on=True), mine, out, mode_change(dram, on=False)]
    parts.append(_leave(dram))
    held = n * k * bits // 8
    notes = _idle_notes(layout.tiles, dram, n)
    return _kernel(
        pim, dram, "gemv", dtype, channels, parts, held * batch, notes=notes,
        shape={"rows": n, "cols": k, "batch": batch},
    )  # fmt: skip


def elementwise(
    pim: PimSpec, dram: DramSpec, channels: int, operation: str, n: int, dtype: str, *,
    fences: bool = False, base_row: int = 0,
) -> Kernel:  # fmt: skip
    """An operation on vectors of `n` elements that lie over all units: operands, then the result, alike.

    Groups of as many bursts as a unit has registers lie in turn in the even and odd banks, in whole pairs.
    data: instruction of MACAB (`FILL` ...); operand or result number times 2**32 plus its burst for WRAB.
    """
    bits, layout = pim.weight_dtypes[dtype], vector_layout(pim, dram, channels)
    steps, group = ELEMENTWISE[operation], layout.group_bursts
    groups, rows = layout.groups(n, bits), layout.rows(n, bits)  # the loop takes a group of both banks
    fits(
        pim,
        dram,
        f"{len(steps) + 1} vectors of {n} {dtype} elements",
        base_row + rows * (len(steps) + 1),
    )
    count = len(steps) + 1
    g_of = np.repeat(np.arange(groups), count * group)
    step = np.tile(np.repeat(np.arange(count), group), groups)
    bank, row, column = layout.place(g_of, np.tile(np.arange(group), groups * count))
    body = column_list(MACAB, len(g_of))
    body[:, m.G_COMMAND] = np.where(step == len(steps), WRAB, MACAB)
    body[:, m.G_BANK], body[:, m.G_COLUMN] = bank, column
    body[:, m.G_ROW] = base_row + step * rows + row
    body[:, DATA] = np.array([*steps, 0])[step]
    if fences:
        body[::group, m.G_FENCE] = 1
    parts = [opening(pim, dram), mode_change(dram, on=True), body, mode_change(dram, on=False), _leave(dram)]
    moved = n * bits // 8
    kernel = _kernel(
        pim, dram, operation, dtype, channels, parts, moved * len(steps), shape={"elements": n}
    )  # fmt: skip
    return replace(kernel, result_bytes=moved)


def reduce(
    pim: PimSpec, dram: DramSpec, channels: int, n: int, dtype: str, *,
    fences: bool = False, base_row: int = 0,
) -> Kernel:  # fmt: skip
    """Sums of a vector of `n` elements that lies as those of `elementwise`: one a lane, register and unit.

    The host adds what the units leave: `units * registers * lanes` numbers a channel. data: SUM for MACAB.
    """
    bits, layout = pim.weight_dtypes[dtype], vector_layout(pim, dram, channels)
    group, groups, rows = layout.group_bursts, layout.groups(n, bits), layout.rows(n, bits)
    fits(pim, dram, f"a vector of {n} {dtype} elements", base_row + rows + 1)
    bank, row, column = layout.place(np.repeat(np.arange(groups), group), np.tile(np.arange(group), groups))
    body = column_list(MACAB, len(bank))
    body[:, m.G_BANK], body[:, m.G_COLUMN], body[:, DATA] = bank, column, SUM
    body[:, m.G_ROW] = base_row + row
    out = column_list(WRAB, group, bank=EVEN, row=base_row + rows)
    out[:, m.G_COLUMN] = np.arange(group)
    if fences:
        body[::group, m.G_FENCE] = 1
        out[0, m.G_FENCE] = 1
    on, off = mode_change(dram, on=True), mode_change(dram, on=False)
    parts = [opening(pim, dram), on, body, out, off, _leave(dram)]
    return _kernel(pim, dram, "sum", dtype, channels, parts, n * bits // 8, shape={"elements": n})


def fits(pim: PimSpec, dram: DramSpec, what: str, rows: int) -> None:
    """SpecError unless `rows` rows of every bank are free."""
    free = dram.geometry.rows - RESERVED
    if rows > free:
        raise SpecError(
            f"{pim.name}: {what} need {rows} rows of every bank but {free} are free; "
            "use more channels or a smaller operation"
        )


def opening(pim: PimSpec, dram: DramSpec) -> Ints:
    """Every bank read once, all-bank mode entered, the units programmed."""
    g = dram.geometry
    enter = column_list(MODE, 1, bank=EVEN, row=g.rows - 2)
    enter[:, m.G_COLUMN] = 0
    return np.concatenate([_park(dram), enter, program_write(dram, pim.setup_writes)])


def program_write(dram: DramSpec, bursts: int) -> Ints:
    """Writes that program the units."""
    rows = column_list(WRREG, bursts, bank=EVEN, row=dram.geometry.rows - 1)
    rows[:, m.G_COLUMN] = np.arange(bursts)
    return rows


def _park(dram: DramSpec) -> Ints:
    """A read of every bank, which leaves all of them with the same row open, and closes them."""
    g = dram.geometry
    opened = column_list(ACT1, g.banks, row=g.rows - 5)
    read = column_list(RD, g.banks, row=-1)
    opened[:, m.G_BANK] = read[:, m.G_BANK] = np.arange(g.banks)
    read[:, m.G_COLUMN] = 0
    return np.concatenate([opened, read, column_list(PREA, 1)])


def mode_change(dram: DramSpec, *, on: bool) -> Ints:
    rows = column_list(MODE, 1, bank=MODE_BANK, row=dram.geometry.rows - 3)
    rows[:, m.G_COLUMN] = 0 if on else 1
    return rows


def _leave(dram: DramSpec) -> Ints:
    rows = column_list(MODE, 1, bank=LEAVE_BANK, row=dram.geometry.rows - 4)
    rows[:, m.G_COLUMN] = 0
    return np.concatenate([rows, column_list(PREA, 1), _park(dram)])


def _kernel(
    pim: PimSpec, dram: DramSpec, operation: str, dtype: str, channels: int, parts: list[Ints],
    operand_bytes: int, *, shape: dict[str, int], notes: tuple[str, ...] = (),
) -> Kernel:  # fmt: skip
    first, last = parts[0], parts[-1]
    parked = dram.geometry.banks
    head = 2 * parked + 1
    inner = with_rows(np.concatenate([first[head:], *parts[1:-1], last[:1]]))
    commands, data = split(np.concatenate([first[:head], inner, last[1:]]))
    columns = int((~np.isin(commands[:, m.G_COMMAND], m.ROW_COMMANDS)).sum())
    return Kernel(
        operation=operation, dtype=dtype, channels=channels, commands=commands, data=data,
        operand_bytes=operand_bytes, units=round(dram.geometry.banks * pim.units_per_bank),
        unit_bytes=dram.geometry.burst_bytes, lookahead=LOOKAHEAD, quiet=columns - parked - 1,
        notes=notes, shape=shape,
    )  # fmt: skip


def _idle_notes(tiles: PimLayout, dram: DramSpec, n: int) -> tuple[str, ...]:
    notes = []
    whole = tiles.tiles(n) * tiles.tile_rows
    if n < whole:
        last = n - (tiles.tiles(n) - 1) * tiles.tile_rows
        idle = 1 - -(-last // tiles.accumulators) / (tiles.tile_rows // tiles.accumulators)
        notes.append(
            f"{n} rows are computed as {whole}: a tile is {tiles.tile_rows} rows, and {idle:.0%} of the "
            f"units have no row in the last one; {whole} rows would take as long"
        )
    if dram.geometry.ranks > 1:
        notes.append(f"the units of 1 of {dram.geometry.ranks} ranks work; the others keep idle")
    return tuple(notes)


__all__ = [
    "ELEMENTWISE",
    "LOOKAHEAD",
    "PairedLayout",
    "elementwise",
    "fits",
    "gemv",
    "layout_of",
    "mode_change",
    "program_write",
    "reduce",
]
