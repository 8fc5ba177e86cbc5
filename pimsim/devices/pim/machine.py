"""The machine that runs command programs on a channel, whatever PIM part they are for.

A program is a list of row commands (activate, precharge) and column commands (everything else), each kind
in order. With `lookahead` 0 all commands go strictly in order. Otherwise a controller that sees that many
column commands ahead opens and closes rows of one bank while columns of another go on: a row command waits
only for the column commands before it that use its bank, a column command only for the row commands
before it that concern its bank.

All-bank refreshes fall due as ever. The rows that are open are closed for them and opened again. From the
column command `quiet` on, where a program leaves PIM mode, what falls due waits for the end.

Every clock is booked to one cause (`CAUSES`): a column command takes the clocks that its kind needs
between two of its own, and what passes until the next column command is booked to what that waits for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pimsim.compiled import compiled, inner
from pimsim.devices.dram.engine import (
    ALL_BANK,
    C_BANKS,
    C_BL,
    C_GROUPS,
    C_LOG,
    C_RANKS,
    C_REFI,
    C_REFRESH,
    C_RL,
    C_SYNC,
    NEVER,
    X_NEXT_REF,
    Channels,
    earliest,
    issue,
)
from pimsim.devices.pim.repeat import (
    MOST_BLOCKS,
    Repeats,
    comes_again,
    find_repeats,
    look,
    move,
    no_repeats,
    rows_come_again,
    same,
)
from pimsim.devices.rules import (
    ACT1,
    ACTAB,
    AFAB,
    CAS_RD,
    CAS_WR,
    COMMANDS,
    EWAB,
    MACAB,
    MODE,
    PRE,
    PREA,
    RD,
    RDRES,
    REFAB,
    WRAB,
    WRACC,
    WRREG,
    RuleTable,
)

# Columns of a PIM program.
G_COMMAND, G_RANK, G_BANK, G_ROW, G_COLUMN, G_FENCE, G_NUM = range(7)

CAUSES = (
    "work",
    "input writes",
    "result moves",
    "mode changes",
    "bus turnarounds",
    "row changes",
    "refresh",
    "host",
    "fences",
    "last result",
)
"""What clocks are booked to. work: column commands of the units. host: the host's own pace."""
(B_WORK, B_INPUT, B_RESULT, B_MODE, B_TURN, B_ROW, B_REFRESH, B_HOST, B_FENCE, B_LAST) = range(10)

ROW_COMMANDS = (ACT1, ACTAB, PRE, PREA)
KIND = np.full(len(COMMANDS), B_RESULT, np.int64)
"""What a column command's own clocks are booked to."""
KIND[[MACAB, EWAB, AFAB]] = B_WORK
KIND[WRREG] = B_INPUT
KIND[[MODE, RD]] = B_MODE

WRITE_LIKE = (WRREG, WRAB, WRACC, MODE)


def pair_waits(table: RuleTable) -> NDArray[np.int64]:
    """(commands, commands) clocks that a command waits after another in the same bank, windows left out."""
    n = len(COMMANDS)
    waits = np.zeros((n, n), np.int64)
    for after in range(n):
        rows = table.rows[table.first[after] : table.first[after + 1]]
        for _, before, wait, ring, sibling in rows.tolist():
            if ring < 0 and not sibling:
                waits[after, before] = max(waits[after, before], wait)
    return waits


@inner
def _is_row(command: int) -> bool:
    return command in (ACTAB, PREA, ACT1, PRE)


@compiled
def _arrange(
    program: NDArray[np.int64], in_order: bool, banks: int, need: NDArray[np.int64], rows: NDArray[np.int64],
    columns: NDArray[np.int64], row_of: NDArray[np.int64], column_of: NDArray[np.int64],
) -> tuple[int, int]:  # fmt: skip
    """Split a program into row and column commands; need[k]: how many of the other kind come before k.

    row_of, column_of: (1 + ranks * banks,) scratch, counts by bank; index 0 is for every bank.
    """
    nr, nc = 0, 0
    row_of[:] = 0
    column_of[:] = 0
    per_rank = banks
    for k in range(program.shape[0]):
        command, rank, bank = program[k, G_COMMAND], program[k, G_RANK], program[k, G_BANK]
        is_row = _is_row(command)
        mine = row_of if is_row else column_of
        other = column_of if is_row else row_of
        everywhere = in_order or (command == MODE and bank < 0)
        first, last = 1 + rank * per_rank, 1 + (rank + 1) * per_rank
        if everywhere:
            first, last = 1, mine.shape[0]
        elif bank >= 0:
            first, last = 1 + bank, 2 + bank
        most = 0
        for b in range(first, last):
            most = max(most, other[b])
        need[k] = most
        if is_row:
            rows[nr] = k
            nr += 1
        else:
            columns[nc] = k
            nc += 1
        for b in range(first, last):
            mine[b] = nr if is_row else nc
    return nr, nc


@inner
def _refresh(
    s: Channels, c: int, t: int, open_row: NDArray[np.int64], by: NDArray[np.int64],
    whole: NDArray[np.int64], staggered: bool, turn: int,
) -> int:  # fmt: skip
    """Close what is open, refresh the ranks that are due and open the same rows again; returns the clock."""
    cfg = s.cfg
    ranks = cfg[C_RANKS]
    per_rank = cfg[C_GROUPS] * cfg[C_BANKS]
    for rank in range(ranks):
        if staggered and rank != turn:
            continue
        some = whole[rank] >= 0
        for b in range(rank * per_rank, (rank + 1) * per_rank):
            some = some or open_row[b] >= 0
        if some:
            t = max(t + 1, earliest(s, c, PREA, rank, -1))
            issue(s, c, t, PREA, rank, -1, -1, -1)
        t = max(t + 1, earliest(s, c, REFAB, rank, -1))
        issue(s, c, t, REFAB, rank, -1, -1, -1)
        if whole[rank] >= 0:
            t = max(t + 1, earliest(s, c, ACTAB, rank, -1))
            issue(s, c, t, ACTAB, rank, -1, whole[rank], -1)
        for b in range(rank * per_rank, (rank + 1) * per_rank):
            if open_row[b] >= 0:
                t = max(t + 1, earliest(s, c, by[b], rank, b))
                issue(s, c, t, by[b], rank, b, open_row[b], -1)
    return t


def run_program(
    s: Channels,
    c: int,
    program: NDArray[np.int64],
    t: int,
    window: int,
    path: int,
    fence: int,
    lost: NDArray[np.int64],
    *,
    lookahead: int = 0,
    latency: NDArray[np.int64] | None = None,
    waits: NDArray[np.int64] | None = None,
    booked: NDArray[np.int64] | None = None,
    staggered: bool = False,
    quiet: int = NEVER,
    clocked: NDArray[np.int64] | None = None,
    kind: NDArray[np.int64] = KIND,
    skip: bool = False,
) -> int:
    """Run a program on channel `c` from clock `t`; returns the clock after its last result.

    Each column command is triggered by one non-cacheable access of the host: at most `window` of them are
    in flight, each for its latency plus `path` clocks (window 0: the host is never the limit). A row with
    G_FENCE set waits for all triggers in flight and `fence` clocks.

    lost: (3,) clocks are added by cause: 0 waiting for the host, 1 fences, 2 refresh commands and reopened
      rows. booked: (len(CAUSES),) every clock is added to one cause.
    lookahead: column commands that the controller sees ahead of the next; 0: strictly in order.
    latency: (commands,) clocks from a column command to its answer; None: read latency and burst.
    skip: count periods that come again instead of stepping through them (`repeat`), unless commands are
      logged; the result is the same.
    kind: (commands,) what a column command's own clocks are booked to.
    waits: `pair_waits` of the rules; only what clocks are booked to depends on it.
    staggered: the ranks are refreshed in turn, a share of tREFI apart, instead of one after the other.
    quiet: column commands of the program after which refreshes wait for its end.
    clocked: (commands,) 1 for commands that need the data clock; None: MACAB, WRREG, RDRES.
    """
    m, n = len(program), len(COMMANDS)
    banks = int(s.cfg[C_GROUPS] * s.cfg[C_BANKS])
    ranks = int(s.cfg[C_RANKS])
    need, rows, columns = np.zeros(m, np.int64), np.zeros(m, np.int64), np.zeros(m, np.int64)
    scratch = np.zeros((2, 1 + ranks * banks), np.int64)
    nr, nc = _arrange(program, lookahead == 0, banks, need, rows, columns, scratch[0], scratch[1])
    if clocked is None:
        clocked = np.zeros(n, np.int64)
        clocked[[MACAB, WRREG, RDRES]] = 1
    if latency is None:
        latency = np.full(n, int(s.cfg[C_RL] + s.cfg[C_BL]), np.int64)
    repeats = no_repeats()
    if skip and not s.cfg[C_LOG]:
        repeats = find_repeats(program, columns[:nc], rows[:nr], s, window, len(CAUSES))
    return int(
        _run(
            s, c, program, t, window, path, fence, lost, max(lookahead, 0), latency,
            np.zeros((n, n), np.int64) if waits is None else waits,
            np.zeros(len(CAUSES), np.int64) if booked is None else booked,
            staggered, quiet, clocked, need, rows[:nr], columns[:nc], np.zeros(max(1, window), np.int64),
            np.full(ranks * banks, -1, np.int64), np.zeros(ranks * banks, np.int64),
            np.full(ranks, -1, np.int64), kind, repeats,
        )
    )  # fmt: skip


@inner
def _book(
    booked: NDArray[np.int64], kind: NDArray[np.int64], waits: NDArray[np.int64], before: int, command: int,
    gap: int, host: int, fence: int, refresh: int, rows: int,
) -> None:  # fmt: skip
    """Book the clocks between two column commands, `before` (-1: none) and `command`."""
    left = gap
    if before >= 0:
        own = min(left, max(1, waits[before, before]))
        booked[kind[before]] += own
        left -= own
    take = min(left, host)
    booked[B_HOST] += take
    left -= take
    take = min(left, fence)
    booked[B_FENCE] += take
    left -= take
    take = min(left, refresh)
    booked[B_REFRESH] += take
    left -= take
    if command == MODE or before in (MODE, -1):
        take = left if command == MODE or before < 0 or rows == 0 else min(left, waits[before, command])
        booked[B_MODE] += take
        booked[B_ROW] += left - take
        return
    if before != command:
        take = min(left, max(0, waits[before, command] - max(1, waits[before, before])))
        booked[B_TURN] += take
        left -= take
    booked[B_ROW if rows > 0 else B_TURN] += left


@compiled
def _run(
    s: Channels, c: int, program: NDArray[np.int64], t: int, window: int, path: int, fence: int,
    lost: NDArray[np.int64], lookahead: int, latency: NDArray[np.int64], waits: NDArray[np.int64],
    booked: NDArray[np.int64], staggered: bool, quiet: int, clocked: NDArray[np.int64],
    need: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64], done: NDArray[np.int64],
    open_row: NDArray[np.int64], by: NDArray[np.int64], whole: NDArray[np.int64], kind: NDArray[np.int64],
    repeats: Repeats,
) -> int:  # fmt: skip
    cfg = s.cfg
    ir, ic, at, turn = 0, 0, 0, 0
    nr, nc = rows.shape[0], columns.shape[0]
    last_done = t
    begin_column, before = t, -1  # the last column command
    refresh_ck, row_commands = 0, 0  # since then
    t -= 1
    looked, last_block = -1, -1
    while ir < nr or ic < nc:
        block = repeats.head[ic] if ic < repeats.head.shape[0] else -1
        if block > last_block:
            last_block = block
            slot = look(
                s, c, t, repeats, block, ir, booked, lost, fence, done, at, last_done, t - begin_column,
                before, refresh_ck, row_commands, open_row, by, whole,
            )  # fmt: skip
            for period in range(1, min(MOST_BLOCKS, block - looked - 1) + 1):
                times = repeats.run[period, block] // period
                if times == 0:
                    continue
                then = (block - period) % (MOST_BLOCKS + 1)
                took = t - repeats.clock[then]
                if cfg[C_REFRESH] == ALL_BANK:
                    times = min(times, (s.scalar[c, X_NEXT_REF] - 2 - t) // took)
                until = block + times * period
                while times > 0 and (
                    until >= repeats.first_column.shape[0] or repeats.first_column[until] >= quiet
                ):
                    times -= 1
                    until -= period
                if times <= 0 or not same(repeats, slot, then):
                    continue
                here, back = columns[ic], columns[ic] - columns[repeats.first_column[block - period]]
                rows_each = ir - repeats.rows[then]
                columns_each = ic - repeats.first_column[block - period]
                while times > 0 and not rows_come_again(
                    program, rows, need, ir, times * rows_each, rows_each, back, columns_each
                ):
                    times -= 1
                    until -= period
                if times == 0:
                    continue
                if not comes_again(program, here, columns[repeats.first_column[until]], back):
                    continue
                move(s, c, times * took, done)
                t += times * took
                last_done += times * took
                begin_column += times * took
                ir += times * rows_each
                ic = repeats.first_column[until]
                for k in range(s.counts.shape[1]):
                    s.counts[c, k] += times * (s.counts[c, k] - repeats.issued[then, k])
                for k in range(booked.shape[0]):
                    booked[k] += times * (booked[k] - repeats.booked[then, k])
                for k in range(3):
                    lost[k] += times * (lost[k] - repeats.lost[then, k])
                repeats.skipped[0] += times * took
                looked = until - 1  # earlier looks are of another time
                last_block = until
                break
        due = s.scalar[c, X_NEXT_REF] <= t + 1 and cfg[C_REFRESH] == ALL_BANK
        while due and ic < quiet:
            begin = t
            t = _refresh(s, c, t, open_row, by, whole, staggered, turn)
            s.scalar[c, X_NEXT_REF] += cfg[C_REFI] // cfg[C_RANKS] if staggered else cfg[C_REFI]
            turn = (turn + 1) % cfg[C_RANKS]
            lost[2] += t - begin
            refresh_ck += t - begin + waits[ACTAB, MACAB]
            due = s.scalar[c, X_NEXT_REF] <= t + 1
        at_row, at_column = NEVER, NEVER
        if ir < nr:
            k = rows[ir]
            command, rank, bank = program[k, G_COMMAND], program[k, G_RANK], program[k, G_BANK]
            seen = ic >= nc or lookahead == 0 or k - columns[ic] <= lookahead
            if need[k] <= ic and seen:
                at_row = max(t + 1, earliest(s, c, command, rank, bank))
        if ic < nc:
            k = columns[ic]
            command, rank, bank = program[k, G_COMMAND], program[k, G_RANK], program[k, G_BANK]
            if need[k] <= ir:
                at_column = max(t + 1, earliest(s, c, command, rank, bank))
        if at_row < at_column:
            k = rows[ir]
            command, rank, bank = program[k, G_COMMAND], program[k, G_RANK], program[k, G_BANK]
            row = program[k, G_ROW]
            ir += 1
            row_commands += 1
            if command == PREA or (command == PRE and bank < 0):
                per_rank = cfg[C_GROUPS] * cfg[C_BANKS]
                whole[rank] = -1
                for b in range(rank * per_rank, (rank + 1) * per_rank):
                    open_row[b] = -1
            elif command == PRE:
                open_row[bank] = -1
            elif bank < 0:
                whole[rank] = row
            else:
                open_row[bank] = row
                by[bank] = command
            issue(s, c, at_row, command, rank, bank, row, -1)
            t = at_row
            continue
        k = columns[ic]
        command, rank, bank = program[k, G_COMMAND], program[k, G_RANK], program[k, G_BANK]
        ic += 1
        rules = at_column
        when = rules
        if program[k, G_FENCE]:
            when = max(when, last_done + fence)
            lost[1] += when - rules
        waited = when - rules
        host = when
        if window:
            host = max(when, done[at])
            lost[0] += host - when
        host, when = host - when, host
        if clocked[command] and cfg[C_SYNC] and when > s.wck_until[c, rank] - 1:
            issue(s, c, when, CAS_RD if command in (MACAB, RDRES) else CAS_WR, rank, 0, -1, -1)
            when += 1
        issue(s, c, when, command, rank, bank, program[k, G_ROW], program[k, G_COLUMN])
        _book(booked, kind, waits, before, command, when - begin_column, host, waited, refresh_ck,
              row_commands)  # fmt: skip
        begin_column, before, refresh_ck, row_commands = when, command, 0, 0
        last_done = max(last_done, when + latency[command] + path)
        if window:
            done[at] = when + latency[command] + path
            at = (at + 1) % window
        t = when
    end = max(t + 1, last_done)
    while s.scalar[c, X_NEXT_REF] < end and cfg[C_REFRESH] == ALL_BANK and quiet < nc:
        t = _refresh(s, c, t, open_row, by, whole, staggered, turn)
        s.scalar[c, X_NEXT_REF] += cfg[C_REFI] // cfg[C_RANKS] if staggered else cfg[C_REFI]
        turn = (turn + 1) % cfg[C_RANKS]
    own = 0
    if before >= 0:
        own = min(end - begin_column, max(1, waits[before, before]))
        booked[kind[before]] += own
    booked[B_LAST] += end - begin_column - own
    return end


__all__ = [
    "CAUSES", "G_BANK", "G_COLUMN", "G_COMMAND", "G_FENCE", "G_NUM", "G_RANK", "G_ROW", "KIND",
    "ROW_COMMANDS", "WRITE_LIKE", "pair_waits", "run_program",
]  # fmt: skip
