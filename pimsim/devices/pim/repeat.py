"""Exact skipping for programs that repeat: a period that has come once is counted as often as it comes.

A program is cut into blocks, each from a column command whose kind differs from the one before. When
the next block, and those after it, equal the blocks of a period before, and the channel is in the state it
was in then, except that clocks have moved on, it will do the same again. Whole periods are skipped up to
the next refresh or to where the program stops repeating. Clocks too long past to delay anything are taken
for equal. The result equals the plain run clock for clock; only the numbers of rows that stay open are not
kept up. A step takes less than 0.1 us, so that this pays for long programs with few refreshes only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pimsim.compiled import inner
from pimsim.devices.dram.engine import X_LAST, X_NEXT_REF, Channels

MOST_BLOCKS = 12
"""Longest period that is looked for, in blocks, and how many looks are kept."""
G_COMMAND, G_RANK, G_BANK, G_FENCE = 0, 1, 2, 5
"""Fields of a command that its time depends on, as in `machine`."""
Ints = NDArray[np.int64]


class Repeats(NamedTuple):
    """Where a program repeats, and what was seen at the last looks.

    head: (columns,) number of the block that begins with a column command, or -1.
    first_row: (blocks,) row commands of the program before each block.
    first_column: (blocks,) column command that each block begins with.
    run: (MOST_BLOCKS + 1, blocks) blocks from each on that equal those so many blocks before.
    state, clock, issued, booked, lost, rows: what a look kept, by block modulo their length.
    cap: clocks after which a command of the past delays nothing. skipped: clocks skipped so far.
    """

    head: Ints
    first_row: Ints
    first_column: Ints
    run: Ints
    state: Ints
    clock: Ints
    issued: Ints
    booked: Ints
    lost: Ints
    rows: Ints
    cap: int
    skipped: Ints


def no_repeats() -> Repeats:
    """For runs that step through everything."""
    none = np.zeros(0, np.int64)
    flat = np.zeros((0, 0), np.int64)
    return Repeats(none, none, none, flat, flat, none, flat, flat, flat, none, 0, np.zeros(1, np.int64))


def find_repeats(program: Ints, columns: Ints, rows: Ints, s: Channels, window: int, causes: int) -> Repeats:
    """Cut a program into blocks and see which follow each other again.

    program: (m, fields); columns, rows: numbers of its column and row commands, in order. causes: of clocks.
    """
    command = program[columns, 0]
    starts = np.flatnonzero(np.diff(command, prepend=-1))
    first_column = starts.astype(np.int64)
    at = columns[starts]
    head = np.full(len(columns), -1, np.int64)
    head[starts] = np.arange(len(starts))
    first_row = np.searchsorted(rows, at).astype(np.int64)
    block = _block_hashes(program[:, [G_COMMAND, G_RANK, G_BANK, G_FENCE]], at)
    n = len(block)
    run = np.zeros((MOST_BLOCKS + 1, n), np.int64)
    for period in range(1, min(MOST_BLOCKS, n - 1) + 1):
        differs = np.flatnonzero(np.append(block[period:] != block[:-period], True))
        upto = differs[np.searchsorted(differs, np.arange(n - period))]
        run[period, period:] = upto - np.arange(n - period)
    size = s.ready.shape[1] + s.last.shape[1] + s.ring[0].size + s.wck_until.shape[1]
    size += 2 * s.open_row.shape[1] + s.wck_until.shape[1] + max(1, window) + 8
    waits = [int(s.late["wait"].max())] if len(s.late) else []
    waits += [int(s.ring_rows["wait"].max())] if len(s.ring_rows) else []
    return Repeats(
        head=head, first_row=first_row, first_column=first_column, run=run,
        state=np.zeros((MOST_BLOCKS + 1, size), np.int64),
        clock=np.full(MOST_BLOCKS + 1, -1, np.int64),
        issued=np.zeros((MOST_BLOCKS + 1, s.counts.shape[1]), np.int64),
        booked=np.zeros((MOST_BLOCKS + 1, causes), np.int64),
        lost=np.zeros((MOST_BLOCKS + 1, 3), np.int64),
        rows=np.zeros(MOST_BLOCKS + 1, np.int64),
        cap=max(waits, default=0) + 1,
        skipped=np.zeros(1, np.int64),
    )  # fmt: skip


def _block_hashes(fields: Ints, starts: Ints) -> NDArray[np.uint64]:
    """(blocks,) a number of each block's commands, wherever it begins; equal blocks have equal numbers.

    A polynomial in an odd number modulo 2**64, divided by the power at the block's start.
    """
    rate, inverse = 0x9E3779B97F4A7C15, pow(0x9E3779B97F4A7C15, -1, 1 << 64)
    n = len(fields)
    with np.errstate(over="ignore"):
        code = np.zeros(n, np.uint64)
        for field in range(fields.shape[1]):
            code = code * np.uint64(1_000_003) + (fields[:, field] + 2).astype(np.uint64)
        powers = np.full(n, rate, np.uint64)
        powers[0] = 1
        powers = np.cumprod(powers, dtype=np.uint64)
        back = np.full(n, inverse, np.uint64)
        back[0] = 1
        back = np.cumprod(back, dtype=np.uint64)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(code * powers, dtype=np.uint64)])
        ends = np.append(starts[1:], n)
        return np.asarray((sums[ends] - sums[starts]) * back[starts], np.uint64)


@inner
def comes_again(program: Ints, first: int, last: int, back: int) -> bool:
    """Whether commands `first` .. `last` - 1 equal those `back` before in all that their time depends on."""
    for k in range(first, last):
        for field in (G_COMMAND, G_RANK, G_BANK, G_FENCE):
            if program[k, field] != program[k - back, field]:
                return False
    return True


@inner
def rows_come_again(
    program: Ints, rows: Ints, need: Ints, ir: int, ahead: int, each: int, back: int, columns: int
) -> bool:
    """Whether row commands `ir` .. `ir` + `ahead` equal those `each` before, come `back` commands after them
    and wait for a column command `columns` later.

    Rows are opened ahead of the columns that need them, so some of these belong to later blocks than those
    that come again; the last one is not issued, but might be if it were another.
    """
    for j in range(ir, min(ir + ahead + 1, rows.shape[0])):
        k, was = rows[j], rows[j - each]
        if k - was != back or (need[k] > 0 and need[k] - need[was] != columns):
            return False
        for field in (G_COMMAND, G_RANK, G_BANK, G_FENCE):
            if program[k, field] != program[was, field]:
                return False
    return True


@inner
def look(
    s: Channels, c: int, t: int, r: Repeats, block: int, ir: int, booked: Ints, lost: Ints, fence: int,
    done: Ints, at: int, last_done: int, since_column: int, before: int, refresh_ck: int, row_commands: int,
    open_row: Ints, by: Ints, whole: Ints,
) -> int:  # fmt: skip
    """Keep all that decides what happens next, relative to clock `t`, and the counters; returns where."""
    slot = block % (MOST_BLOCKS + 1)
    r.clock[slot] = t
    r.rows[slot] = ir
    for k in range(s.counts.shape[1]):
        r.issued[slot, k] = s.counts[c, k]
    for k in range(booked.shape[0]):
        r.booked[slot, k] = booked[k]
    for k in range(3):
        r.lost[slot, k] = lost[k]
    out, cap = r.state[slot], r.cap
    n = 0
    for k in range(s.ready.shape[1]):
        out[n] = max(0, s.ready[c, k] - t)
        n += 1
    for k in range(s.last.shape[1]):
        out[n] = min(cap, t - s.last[c, k])
        n += 1
    for ring in range(s.ring.shape[1]):
        size = s.ring_spec[ring, 1] if ring < s.ring_spec.shape[0] else s.ring.shape[3]
        for node in range(s.ring.shape[2]):
            first = s.ring_at[c, ring, node]
            for k in range(s.ring.shape[3]):
                out[n] = min(cap, t - s.ring[c, ring, node, (first + k) % size]) if k < size else 0
                n += 1
    for rank in range(s.wck_until.shape[1]):
        out[n] = max(-2, s.wck_until[c, rank] - t)
        out[n + 1] = whole[rank] >= 0
        n += 2
    for bank in range(open_row.shape[0]):
        out[n] = open_row[bank] >= 0
        out[n + 1] = by[bank]
        n += 2
    for k in range(done.shape[0]):
        out[n] = max(0, done[(at + k) % done.shape[0]] - t)
        n += 1
    out[n] = max(-fence - 1, last_done - t)
    out[n + 1] = since_column
    out[n + 2] = before
    out[n + 3] = refresh_ck
    out[n + 4] = row_commands
    out[n + 5] = ir - r.first_row[block]
    out[n + 6] = s.scalar[c, X_NEXT_REF]  # a period with a refresh in it is none
    return slot


@inner
def same(r: Repeats, a: int, b: int) -> bool:
    """Whether two looks saw the same."""
    for k in range(r.state.shape[1]):  # noqa: SIM110 (compiled)
        if r.state[a, k] != r.state[b, k]:
            return False
    return True


@inner
def move(s: Channels, c: int, clocks: int, done: Ints) -> None:
    """Let time pass in which the same happens again."""
    for k in range(s.ready.shape[1]):
        s.ready[c, k] += clocks
    for k in range(s.last.shape[1]):
        s.last[c, k] += clocks
    for ring in range(s.ring.shape[1]):
        for node in range(s.ring.shape[2]):
            for k in range(s.ring.shape[3]):
                s.ring[c, ring, node, k] += clocks
    for rank in range(s.wck_until.shape[1]):
        s.wck_until[c, rank] += clocks
    for k in range(done.shape[0]):
        done[k] += clocks
    s.scalar[c, X_LAST] += clocks


__all__ = [
    "MOST_BLOCKS",
    "Repeats",
    "comes_again",
    "find_repeats",
    "look",
    "move",
    "no_repeats",
    "rows_come_again",
    "same",
]
