"""A PIM operation as a program of DRAM commands; the same rows are timed, audited and run on data.

First the units of every rank are programmed. A GEMV walks the tiles of `PimLayout`. For each DRAM row of a
rank: open it in all banks, write the piece of the input vector that it needs into the input registers, then
one MAC a column. After the last row of a tile every bank holds `accumulators` results, which the host reads
from the bank groups in turn.

All channels run the same program on their own part of the matrix, so one program serves them all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pimsim.devices.dram import drive
from pimsim.devices.dram.channel import Controller, build
from pimsim.devices.pim.kernel import UNHINDERED, HostDrive, host_clocks
from pimsim.devices.rules import ACTAB, COMMANDS, MACAB, MODE, PREA, RDRES, WRREG, command_counts
from pimsim.devices.spec import Clocks, DramSpec, PimSpec
from pimsim.errors import SpecError, suggest
from pimsim.placement.layout import PimLayout

INPUT_BITS = {
    "bf16": 16, "int8": 8, "int4": 8, "w8a16": 16, "w4a16": 16, "w4a4": 4, "fp8": 8, "w8a16fp": 16,
}  # fmt: skip
"""Bits of one element of the input vector that goes with a weight type. bf16, int8 (W8A8) and fp8: as the
weights; int4: INT4 weights with INT8 inputs (W4A8); w8a16: weights of 8 bits with inputs of 16, and so on;
w8a16fp: FP8 weights with BF16 inputs."""

LOSSES = ("host", "fence", "refresh")
"""Causes that `ProgramTime.lost_ck` names: clocks in which the channel waited for nothing else."""


@dataclass(frozen=True, kw_only=True)
class Gemv:
    """A compiled matrix-vector product y = W x.

    n, k, dtype: rows (outputs), columns (inputs) and weight type of W.
    commands: (m, 6) int64, columns `drive.G_*`, in order, for one channel.
    data: (m,) int64: for WRREG the burst of the padded input vector that is written (-1: one that programs
    the units), for RDRES the tile whose results are read, else -1.
    base_row: first DRAM row of the matrix in every bank.
    head, tail: commands before the first tile and after the last: mode changes, programming.
    """

    n: int
    k: int
    dtype: str
    layout: PimLayout
    base_row: int
    pad_rows_to: int
    commands: NDArray[np.int64]
    data: NDArray[np.int64]
    head: int
    tail: int

    def counts(self) -> dict[str, int]:
        """Commands by name, of one channel."""
        names, counts = np.unique(self.commands[:, drive.G_COMMAND], return_counts=True)
        return {COMMANDS[int(c)]: int(k) for c, k in zip(names, counts, strict=True)}


def _piece(command: int, columns: NDArray[np.int64]) -> NDArray[np.int64]:
    rows = np.full((len(columns), drive.G_NUM), -1, np.int64)
    rows[:, drive.G_COMMAND] = command
    rows[:, drive.G_COLUMN] = columns
    rows[:, drive.G_FENCE] = 0
    return rows


def input_bursts(pim: PimSpec, layout: PimLayout, dtype: str) -> int:
    """Input-vector bursts that one DRAM row of weights needs."""
    values = layout.chunk_bytes * 8 // pim.weight_dtypes[dtype]
    return -(-values * INPUT_BITS[dtype] // (8 * layout.burst_bytes))


def input_registers(pim: PimSpec, layout: PimLayout, dtype: str) -> tuple[int, int]:
    """(input bursts that one weight burst meets, weight bursts of an output whose inputs fit at once).

    Weight burst j of an output meets the registers from (j modulo the second) times the first on.
    """
    meets = -(-INPUT_BITS[dtype] // pim.weight_dtypes[dtype])
    at_once = pim.source_bytes // layout.burst_bytes // meets
    if at_once < 1:
        raise SpecError(
            f"{pim.name}: source_bytes={pim.source_bytes} but a burst of {dtype} weights meets "
            f"{meets * layout.burst_bytes} bytes of inputs"
        )
    return meets, min(at_once, layout.chunk_bursts)


def rows_a_fill(pim: PimSpec, layout: PimLayout, dtype: str) -> int:
    """DRAM rows of weights whose inputs the registers hold at once, at least 1."""
    return max(1, pim.source_bytes // layout.burst_bytes // input_bursts(pim, layout, dtype))


def result_banks(layout: PimLayout) -> NDArray[np.int64]:
    """Banks of a rank in the order in which results are read: neighbours lie in different groups."""
    return np.arange(layout.banks, dtype=np.int64).reshape(layout.bank_groups, -1).T.ravel()


def gemv(
    pim: PimSpec, layout: PimLayout, n: int, k: int, dtype: str, *, base_row: int = 0, pad_rows_to: int = 0,
    fences: bool = False,
) -> Gemv:  # fmt: skip
    """Compile y = W x for W of `n` x `k` in `layout`.

    fences: put a fence after the mode change, each group of input writes and each row of MACs, as a host
    needs whose controller may reorder them. Unknown types and empty shapes are `SpecError`s.
    """
    if dtype not in pim.weight_dtypes or dtype not in INPUT_BITS:
        known = [name for name in pim.weight_dtypes if name in INPUT_BITS]
        raise SpecError(f"{pim.name} runs no weights of type {dtype!r}{suggest(dtype, known)}")
    if n < 1 or k < 1:
        raise SpecError(f"GEMV of {n} x {k}; wanted at least one row and one column")
    if layout.accumulators > pim.accumulators:
        raise SpecError(
            f"layout with {layout.accumulators} accumulators a unit; {pim.name} has {pim.accumulators}"
        )
    bits = pim.weight_dtypes[dtype]
    tiles, chunks = layout.tiles(n, pad_rows_to), layout.chunks(k, bits)
    per_output = layout.chunk_bursts  # bursts of one output in a DRAM row
    inputs = input_bursts(pim, layout, dtype)
    meets, at_once = input_registers(pim, layout, dtype)

    fill = rows_a_fill(pim, layout, dtype)

    def dram_row(bursts: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Commands of one DRAM row, and what they write: `bursts` input bursts, in passes if they must."""
        parts = [_piece(ACTAB, np.array([-1]))]
        for first in range(0, per_output, at_once):
            last = min(per_output, first + at_once)
            written = bursts if fill > 1 else (last - first) * meets
            write = _piece(WRREG, np.arange(written, dtype=np.int64))
            columns = (np.arange(layout.accumulators)[:, None] * per_output + np.arange(first, last)).ravel()
            macs = _piece(MACAB, columns)
            if fences and written:
                write[0, drive.G_FENCE] = 1
                macs[0, drive.G_FENCE] = 1
            parts += [write, macs]
        parts.append(_piece(PREA, np.array([-1])))
        row = np.concatenate(parts)
        payload = np.full(len(row), -1, np.int64)
        which = row[:, drive.G_COMMAND] == WRREG
        payload[which] = np.arange(which.sum())
        return row, payload

    # Inputs of as many rows as the registers hold are written when the first of them is open.
    rows = [
        dram_row(inputs * min(fill, chunks - chunk) if chunk % fill == 0 else 0) for chunk in range(chunks)
    ]
    results = -(-pim.result_bytes * layout.accumulators * (1 if pim.lane_reduction else pim.lanes_bits // 16)
                // layout.burst_bytes)  # fmt: skip
    read = _piece(RDRES, np.repeat(np.arange(results, dtype=np.int64), layout.banks))
    read[:, drive.G_BANK] = np.tile(result_banks(layout), results)
    if fences:
        read[0, drive.G_FENCE] = 1

    tile = np.concatenate([*(row for row, _ in rows), read])
    tile_data = np.concatenate([*(payload for _, payload in rows), np.full(len(read), -1)])
    in_row = np.repeat(np.arange(chunks), [len(row) for row, _ in rows])
    tile[: len(in_row), drive.G_ROW] = in_row
    wrreg = tile[:, drive.G_COMMAND] == WRREG
    tile_data[wrreg] += (in_row[wrreg[: len(in_row)]] * inputs).astype(np.int64)

    body = np.tile(tile, (tiles * layout.ranks, 1))
    data = np.tile(tile_data, tiles * layout.ranks)
    step = np.repeat(np.arange(tiles * layout.ranks), len(tile))
    which_tile, rank = step // layout.ranks, step % layout.ranks
    body[:, drive.G_RANK] = rank
    opens = body[:, drive.G_COMMAND] == ACTAB
    macs_at = body[:, drive.G_COMMAND] == MACAB
    body[:, drive.G_ROW] = np.where(
        opens | macs_at, body[:, drive.G_ROW] + base_row + which_tile * chunks, -1
    )
    reads = body[:, drive.G_COMMAND] == RDRES
    data[reads] = which_tile[reads]
    body[reads, drive.G_BANK] += rank[reads] * layout.banks

    mode = _piece(MODE, np.full(pim.mode_accesses, -1))
    mode[:, drive.G_RANK] = 0
    code = _piece(WRREG, np.tile(np.arange(pim.setup_writes), layout.ranks))
    code[:, drive.G_RANK] = np.repeat(np.arange(layout.ranks), pim.setup_writes)
    if fences and len(code):
        code[0, drive.G_FENCE] = 1
    head, tail = len(mode) + len(code), len(mode)
    return Gemv(
        n=n, k=k, dtype=dtype, layout=layout, base_row=base_row, pad_rows_to=pad_rows_to,
        commands=np.concatenate([mode, code, body, mode]),
        data=np.concatenate([np.full(head, -1), data, np.full(tail, -1)]), head=head, tail=tail,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ProgramTime:
    """Time of a program on one channel (all channels run it in lockstep).

    clocks, seconds: from the first mode change to the last result at the host.
    counts: commands issued, refreshes included. lost_ck: clocks by cause (`LOSSES`).
    """

    clocks: int
    seconds: float
    counts: dict[str, int]
    lost_ck: dict[str, int]


def time_program(
    dram: DramSpec, pim: PimSpec, controller: Controller, program: NDArray[np.int64],
    host: HostDrive = UNHINDERED,
) -> ProgramTime:  # fmt: skip
    """Run a program alone on a fresh channel and report its time."""
    if controller.refresh == "per_bank":
        raise SpecError(
            "PIM programs need all-bank or no refresh: an open all-bank row leaves no bank to refresh"
        )
    channel = build(dram, controller, 1, pim)
    lost = np.zeros(6, np.int64)
    window, path, fence = host_clocks(dram, host)
    clocks = int(drive.run_program(channel, 0, program, 0, window, path, fence, lost))
    return ProgramTime(
        clocks=clocks,
        seconds=clocks * dram.tck_fs * 1e-15,
        counts=command_counts(channel.counts[0]),
        lost_ck={name: int(v) for name, v in zip(LOSSES, lost, strict=False)},
    )


def peak_clocks(dram: DramSpec, program: Gemv) -> int:
    """Clocks that the MACs alone need at one column access a tCCD_L."""
    return program.counts()["MACAB"] * Clocks(dram).CCD_L


__all__ = [
    "INPUT_BITS", "LOSSES", "Gemv", "HostDrive", "ProgramTime", "gemv", "host_clocks", "input_bursts",
    "input_registers", "peak_clocks", "result_banks", "time_program",
]  # fmt: skip
