"""The command scheduler: one decision a clock and bus, idle clocks skipped.

What one channel does in a clock, in this order:

1. a data command whose CAS (data-clock start) went out in the clock before;
2. the second half of an activate (ACT2) whose deadline has come;
3. the first of: a data command whose row was opened for it; the head of the maintenance queue
   (refreshes and the precharges they need); a request of the write queue in write mode, else of the
   read queue (or of the only queue). Commands that may go now beat those that may not, then, if row hits
   go first, data commands beat others, then the older request wins. In order, only the oldest request
   counts, and none while a row is open for an older one;
4. an owed ACT2.

A clock in which nothing can go is hardly ever visited: `step` says when to look again, from bounds that hold
until something happens to a bank (`bounds.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pimsim.compiled import inlined, inner
from pimsim.devices.dram.engine.bounds import change_mode, data_command, kept_earliest, look_at_all
from pimsim.devices.dram.engine.commands import earliest, earliest_same_bank, issue
from pimsim.devices.dram.engine.queues import is_mode_due, leave, settle, take_out
from pimsim.devices.dram.engine.state import (
    ALL_BANK,
    ANY,
    C_BANKS,
    C_BL,
    C_BUSES,
    C_CAP,
    C_GROUPS,
    C_HIT_CAP,
    C_ORDER,
    C_POSTPONE,
    C_RANKS,
    C_REFI,
    C_REFRESH,
    C_RL,
    C_SYNC,
    C_TIMEOUT,
    COLUMN,
    FROM_MAINTENANCE,
    FROM_NOWHERE,
    FROM_OPENED,
    FROM_OWED,
    FROM_QUEUE,
    HALF_CLOCK,
    IN_ORDER,
    MAX_BANKS,
    N_COMMANDS,
    NEVER,
    ONE_BUS,
    PER_BANK,
    READY_FIRST,
    ROW,
    ROW_HIT_FIRST,
    X_ALONE,
    X_CAS_SLOT,
    X_COLUMN_AT,
    X_CONFLICTS,
    X_FREE,
    X_LAST,
    X_LAST_READ,
    X_LOOK,
    X_MAINT_AT,
    X_MAINT_HEAD,
    X_MAINT_LEN,
    X_NEXT_REF,
    X_OPENED,
    X_OWED_BANK,
    X_OWED_BY,
    X_POSTPONED,
    X_READ_HITS,
    X_READS,
    X_REF_BANK,
    X_ROW_AT,
    X_ROW_HITS,
    X_WRITE_MODE,
    X_WRITES,
    Channels,
    index,
)  # fmt: skip
from pimsim.devices.rules import ACT1, ACT2, CAS_RD, CAS_WR, PRE, PREA, RD, RDA, REFAB, REFPB, REFSB, WR, WRA


@inlined
def _half_clock(s: Channels, c: int, when: int, command: int, rank: int, bank: int) -> int:
    """The clock not before `when` at which the buses of a half-clock device take the command."""
    if when & 1:
        if command != PRE and command != PREA:
            return when + 1
        # In the half clock after a row command of the pseudo channel (three after an activate) only a
        # precharge of another bank may go, and none if that command was for all banks.
        last, was = s.last_row[c, rank, 0], s.last_row[c, rank, 1]
        if last == (when - 3 if was == ACT1 else when - 1) and (
            command == PREA or was in (PREA, REFAB) or s.last_row[c, rank, 2] == bank
        ):
            return when + 1
    return when


@inner
def _enter_maintenance(s: Channels, c: int, command: int, rank: int, bank: int) -> None:
    x = s.scalar
    at = (x[c, X_MAINT_HEAD] + x[c, X_MAINT_LEN]) % s.maint.shape[1]
    s.maint[c, at, 0] = command
    s.maint[c, at, 1] = rank
    s.maint[c, at, 2] = bank
    x[c, X_MAINT_LEN] += 1
    x[c, X_MAINT_AT] = 0


@inner
def _enter_refresh(s: Channels, c: int) -> None:
    """Move one refresh of every rank into the maintenance queue."""
    cfg, x = s.cfg, s.scalar
    per_rank = cfg[C_GROUPS] * cfg[C_BANKS]
    for rank in range(cfg[C_RANKS]):
        if cfg[C_REFRESH] == ALL_BANK:
            _enter_maintenance(s, c, REFAB, rank, -1)
        else:
            command = REFPB if cfg[C_REFRESH] == PER_BANK else REFSB
            _enter_maintenance(s, c, command, rank, rank * per_rank + x[c, X_REF_BANK])
    turn = per_rank if cfg[C_REFRESH] == PER_BANK else cfg[C_BANKS]
    x[c, X_REF_BANK] = (x[c, X_REF_BANK] + 1) % turn


@inlined
def _is_busy(s: Channels, c: int) -> bool:
    x = s.scalar
    return x[c, X_READS] > 0 or x[c, X_WRITES] > 0 or x[c, X_OPENED] != 0 or x[c, X_CAS_SLOT] >= 0


@inner
def _refresh_due(s: Channels, c: int, t: int) -> None:
    """Move refreshes whose time has come (clocks k x interval - 1) into the maintenance queue.

    While requests wait up to C_POSTPONE of them are only counted.
    """
    x = s.scalar
    while x[c, X_NEXT_REF] <= t:
        if x[c, X_POSTPONED] < s.cfg[C_POSTPONE] and _is_busy(s, c):
            x[c, X_POSTPONED] += 1
        else:
            _enter_refresh(s, c)
        x[c, X_NEXT_REF] += s.cfg[C_REFI]


@inner
def _choose_maintenance(s: Channels, c: int) -> tuple[int, int, int]:
    """(command, rank, bank) that the oldest refresh needs next; command -1 while it must not go."""
    head = s.scalar[c, X_MAINT_HEAD]
    want, rank, bank = s.maint[c, head, 0], s.maint[c, head, 1], s.maint[c, head, 2]
    owed = s.scalar[c, X_OWED_BANK]
    if want == REFAB:
        per_rank = s.cfg[C_GROUPS] * s.cfg[C_BANKS]
        do = REFAB
        for b in range(rank * per_rank, (rank + 1) * per_rank):
            if s.banks[c, b].owner >= 0 or owed == b:
                return -1, rank, -1
            if s.open_row[c, b] >= 0:
                do = PREA
        return do, rank, -1
    if want == REFSB:
        for b in range(bank, bank + s.cfg[C_GROUPS] * s.cfg[C_BANKS], s.cfg[C_BANKS]):
            if s.banks[c, b].owner >= 0 or owed == b:
                return -1, rank, b
        for b in range(bank, bank + s.cfg[C_GROUPS] * s.cfg[C_BANKS], s.cfg[C_BANKS]):
            if s.open_row[c, b] >= 0:
                return PRE, rank, b
        return REFSB, rank, bank
    if s.banks[c, bank].owner >= 0 or owed == bank:
        return -1, rank, bank
    if want == REFPB and s.open_row[c, bank] < 0:
        return REFPB, rank, bank
    return PRE, rank, bank


@inlined
def _hit_command(s: Channels, c: int, slot: int, bank: int) -> int:
    """What the oldest hit of a bank needs next; -1 if that must wait for another command to the bank."""
    if s.scalar[c, X_OWED_BANK] == bank:
        return -1
    do = data_command(s, c, slot, bank)
    if (do in (RDA, WRA)) and s.banks[c, bank].owner >= 0:
        return -1  # it would close the row before the request that opened it is served
    if s.cfg[C_HIT_CAP] and s.banks[c, bank].accesses >= s.cfg[C_HIT_CAP]:
        older = s.lists[c, 2 * bank + index(s.slots[c, slot].queue)].miss
        if older >= 0 and s.slots[c, older].age < s.slots[c, slot].age:
            return -1
    return do


@inlined
def _miss_command(s: Channels, c: int, slot: int, bank: int) -> int:
    """What the oldest miss of a bank needs next; -1 if that must wait for another command to the bank."""
    if s.open_row[c, bank] < 0:
        return ACT1
    if s.banks[c, bank].owner >= 0:
        return -1
    if s.cfg[C_ORDER] != READY_FIRST and s.cfg[C_ORDER] != IN_ORDER:
        hit = s.lists[c, 2 * bank + index(s.slots[c, slot].queue)].hit
        if hit >= 0:
            if s.slots[c, hit].age < s.slots[c, slot].age:
                return -1
            capped = s.cfg[C_HIT_CAP] and s.banks[c, bank].accesses >= s.cfg[C_HIT_CAP]
            if s.cfg[C_ORDER] == ROW_HIT_FIRST and not capped:
                return -1
    return PRE


@inlined
def _take(p: Any, age: int, source: int, slot: int, command: int, rank: int, bank: int) -> None:
    p.age = age
    p.source = source
    p.slot = slot
    p.command = command
    p.rank = rank
    p.bank = bank


@inlined
def _choose_opened(s: Channels, c: int, t: int, p: Any) -> int:
    """Choose the data command of the oldest request for which a row was opened, of those that may go now.

    Returns a clock before which no other of them can go.
    """
    oldest, soonest = NEVER, NEVER
    for k in range(index(s.scalar[c, X_OPENED])):
        bank = index(s.opened[c, k])
        b = s.banks[c, bank]
        if b.opened_bound > t:
            soonest = min(soonest, b.opened_bound)
            continue
        slot = index(b.owner)
        accepted = s.slots[c, slot].accept
        # Of those that several requesters put in at one clock, that of the lowest bank.
        if accepted > oldest or (accepted == oldest and bank > p.bank):
            soonest = t + 1
            continue
        do = data_command(s, c, slot, bank)
        when = kept_earliest(s, c, do, bank)
        if when > t:
            b.opened_bound = when
            soonest = min(soonest, when)
            continue
        if oldest < NEVER:
            soonest = t + 1
        oldest = accepted
        _take(p, -1, FROM_OPENED, slot, do, b.rank, bank)
    return soonest


@inlined
def _choose_hit(s: Channels, c: int, t: int, p: Any) -> int:
    """Choose the data command of the oldest hit, of the banks' oldest that may go now.

    Returns a clock before which no other of these can go.
    """
    soonest = NEVER
    write = index(s.scalar[c, X_WRITE_MODE])
    for k in range(index(s.scalar[c, X_READ_HITS + write])):
        bank = index(s.hit_bank[c, write, k])
        b = s.banks[c, bank]
        if b.hit_bound > t:
            soonest = min(soonest, b.hit_bound)
            continue
        slot = index(s.lists[c, 2 * bank + write].hit)
        if s.slots[c, slot].age > p.age:
            soonest = t + 1
            continue
        do = _hit_command(s, c, slot, bank)
        when = kept_earliest(s, c, do, bank) if do >= 0 else NEVER
        if when > t:
            b.hit_bound = when
            soonest = min(soonest, when)
            continue
        if p.age < NEVER:
            soonest = t + 1
        _take(p, s.slots[c, slot].age, FROM_QUEUE, slot, do, b.rank, bank)
    return soonest


@inlined
def _raise_column_bounds(s: Channels, c: int, nxt: int) -> None:
    """A data command went out: raise the bounds of those that have to wait for it now.

    This saves a step at `nxt`, the next clock of data commands, in which nothing could go.
    """
    x = s.scalar
    soonest = NEVER
    for k in range(index(x[c, X_OPENED])):
        bank = index(s.opened[c, k])
        b = s.banks[c, bank]
        if b.opened_bound <= nxt:
            b.opened_bound = kept_earliest(s, c, data_command(s, c, index(b.owner), bank), bank)
        soonest = min(soonest, b.opened_bound)
    write = index(x[c, X_WRITE_MODE])
    for k in range(index(x[c, X_READ_HITS + write])):
        bank = index(s.hit_bank[c, write, k])
        b = s.banks[c, bank]
        if b.hit_bound <= nxt:
            slot = index(s.lists[c, 2 * bank + write].hit)
            b.hit_bound = kept_earliest(s, c, data_command(s, c, slot, bank), bank)
        soonest = min(soonest, b.hit_bound)
    x[c, X_COLUMN_AT] = soonest


@inlined
def _floor(s: Channels, c: int, command: int, rank: int) -> int:
    """A clock before which no bank of the rank can take the command."""
    k = index(s.column[command])
    return max(s.ready[c, k], s.ready[c, (1 + rank) * N_COMMANDS + k])


@inlined
def _soonest_rows(s: Channels, c: int, t: int, write: int) -> tuple[int, int, int]:
    """(first, last, soonest): the turns of the oldest and youngest misses that may go by all bounds at `t`
    (NEVER and -1 for none), and a clock before which no other can go. No loop here branches."""
    first, last, soonest = NEVER, -1, NEVER
    alone = s.scalar[c, X_ALONE]
    banks, ranks, first_rank = index(s.cfg[C_GROUPS] * s.cfg[C_BANKS]), index(s.cfg[C_RANKS]), 0
    if alone >= 0:
        first_rank = index(s.banks[c, index(alone)].rank)
        ranks = first_rank + 1
    for rank in range(first_rank, ranks):
        closed, opened = _floor(s, c, ACT1, rank), _floor(s, c, PRE, rank)
        if s.scalar[c, X_OWED_BANK] >= 0:
            closed = NEVER
        elif s.cfg[C_BUSES] == HALF_CLOCK and t & 1:
            closed = max(closed, t + 1)
        if closed > t and opened > t:
            soonest = min(soonest, min(closed, opened))
            continue
        low, high = rank * banks, rank * banks + banks
        if alone >= 0:
            low, high = index(alone), index(alone) + 1
        for bank in range(low, high):
            when = max(s.row_bound[c, bank], opened if s.open_row[c, bank] >= 0 else closed)
            turn = s.row_turn[c, write, bank]
            first = min(first, turn if when <= t else NEVER)
            last = max(last, turn if when <= t else -1)
            soonest = min(soonest, when if when > t else NEVER)
    return first, last, soonest


@inlined
def _choose_row(s: Channels, c: int, t: int, p: Any) -> None:
    """Choose the activate or precharge of the oldest miss, of the banks' oldest that may go now, if it goes
    before the hit that is chosen already."""
    x = s.scalar
    write = index(x[c, X_WRITE_MODE])
    if p.age < NEVER and s.cfg[C_ORDER] == ROW_HIT_FIRST:
        return
    while True:
        first, last, soonest = _soonest_rows(s, c, t, write)
        if first == NEVER:
            x[c, X_ROW_AT] = soonest
            return
        age = first // MAX_BANKS
        if age > p.age:
            return
        bank = index(first & (MAX_BANKS - 1))
        slot = index(s.lists[c, 2 * bank + write].miss)
        do = _miss_command(s, c, slot, bank)
        when = kept_earliest(s, c, do, bank) if do >= 0 else NEVER
        rank = s.banks[c, bank].rank
        if when <= t and s.cfg[C_BUSES] == HALF_CLOCK:
            when = _half_clock(s, c, t, do, rank, bank)
        if when <= t:
            x[c, X_ROW_AT] = soonest if first == last else t + 1
            if p.age < NEVER:
                x[c, X_COLUMN_AT] = t + 1
            _take(p, age, FROM_QUEUE, slot, do, rank, bank)
            return
        s.row_bound[c, bank] = when


@inner
def _choose_oldest(s: Channels, c: int, t: int, kind: int, p: Any) -> int:
    """Choose what the oldest request needs; nothing while a row is open for one that has left its queue.

    Returns a clock before which that cannot go.
    """
    x = s.scalar
    write = index(x[c, X_WRITE_MODE])
    slot, hit, turn = -1, False, NEVER
    for bank in range(s.open_row.shape[1]):
        turn = min(turn, s.row_turn[c, write, bank])
    if turn < NEVER:
        slot = s.lists[c, 2 * (turn & (MAX_BANKS - 1)) + write].miss
    for k in range(x[c, X_READ_HITS + write]):
        other = s.lists[c, 2 * s.hit_bank[c, write, k] + write].hit
        if slot < 0 or s.slots[c, other].age < s.slots[c, slot].age:
            slot, hit = other, True
    when = NEVER
    if slot >= 0 and x[c, X_OPENED] == 0 and kind != (ROW if hit else COLUMN):
        bank = index(s.slots[c, slot].bank)
        do = _hit_command(s, c, slot, bank) if hit else _miss_command(s, c, slot, bank)
        if do >= 0:
            rank = s.banks[c, bank].rank
            when = max(t, kept_earliest(s, c, do, bank))
            if s.cfg[C_BUSES] == HALF_CLOCK:
                when = _half_clock(s, c, when, do, rank, bank)
            if when <= t:
                _take(p, s.slots[c, slot].age, FROM_QUEUE, slot, do, rank, bank)
    return when


@inner
def _choose_refresh(s: Channels, c: int, t: int, p: Any) -> None:
    """Choose the next command of the maintenance queue if it may go now."""
    do, rank, bank = _choose_maintenance(s, c)
    when = NEVER
    if do >= 0:
        same = do == REFSB
        when = earliest_same_bank(s, c, rank, bank) if same else earliest(s, c, do, rank, bank)
        when = max(t, when)
        if s.cfg[C_BUSES] == HALF_CLOCK:
            when = _half_clock(s, c, when, do, rank, bank)
        if when <= t:
            _take(p, -1, FROM_MAINTENANCE, -1, do, rank, bank)
    s.scalar[c, X_MAINT_AT] = when


@inlined
def _choose(s: Channels, c: int, t: int, kind: int, p: Any) -> None:
    """Find what goes at clock `t`, if anything."""
    x, cfg = s.scalar, s.cfg
    p.source = FROM_NOWHERE
    p.age = NEVER
    p.bank = -1
    on_time = kind != ROW and not (cfg[C_BUSES] == HALF_CLOCK and t & 1)
    column_at = x[c, X_COLUMN_AT]
    look = on_time and column_at <= t
    if look:
        column_at = _choose_opened(s, c, t, p)
        if p.source == FROM_OPENED:
            hits = x[c, X_READ_HITS + index(x[c, X_WRITE_MODE])] if x[c, X_MAINT_LEN] == 0 else 0
            x[c, X_COLUMN_AT] = t + 1 if hits else column_at
            return
    if x[c, X_MAINT_LEN]:
        if look:
            x[c, X_COLUMN_AT] = column_at
        if kind != COLUMN:
            _choose_refresh(s, c, t, p)
    else:
        if is_mode_due(s, c):
            change_mode(s, c)
            look = on_time and x[c, X_COLUMN_AT] <= t
        if cfg[C_ORDER] == IN_ORDER:
            soonest = _choose_oldest(s, c, t, kind, p)
            if kind != ROW:
                x[c, X_COLUMN_AT] = min(column_at, soonest)
            if kind != COLUMN:
                x[c, X_ROW_AT] = soonest
        else:
            if look:
                soonest = _choose_hit(s, c, t, p)
                x[c, X_COLUMN_AT] = min(column_at, soonest)
            if kind != COLUMN and x[c, X_ROW_AT] <= t:
                _choose_row(s, c, t, p)
    owed = x[c, X_OWED_BANK]
    if owed >= 0 and p.source == FROM_NOWHERE and kept_earliest(s, c, ACT2, owed) <= t:
        _take(p, NEVER, FROM_OWED, -1, ACT2, s.banks[c, owed].rank, owed)


@inlined
def _finish(s: Channels, c: int, t: int, slot: int, bank: int, out: NDArray[np.int64]) -> None:
    """The data command of a request goes out."""
    x, request = s.scalar, s.slots[c, slot]
    s.banks[c, bank].accesses += 1
    s.banks[c, bank].used = t
    if request.opened:
        s.banks[c, bank].owner = -1
        take_out(s.opened[c], x[c, X_OPENED], bank)
        x[c, X_OPENED] -= 1
    else:
        x[c, X_ROW_HITS] += 1
        leave(s, c, t, slot)
    out[0] = request.tag
    out[1] = t
    out[2] = -1
    if request.write == 0:
        out[1] = t + s.cfg[C_RL] + s.cfg[C_BL]
        out[2] = out[1] - request.accept
        x[c, X_LAST_READ] = out[1]
    s.free[c, index(x[c, X_FREE])] = slot
    x[c, X_FREE] += 1


@inlined
def _act(s: Channels, c: int, t: int, kind: int, out: NDArray[np.int64]) -> None:
    """Issue at most one command of `kind` at clock `t`."""
    cfg, x = s.cfg, s.scalar
    source, slot, command, rank, bank = FROM_NOWHERE, -1, -1, 0, -1
    if x[c, X_CAS_SLOT] >= 0:
        slot = x[c, X_CAS_SLOT]
        x[c, X_CAS_SLOT] = -1
        bank = s.slots[c, slot].bank
        command = data_command(s, c, slot, index(bank))
        rank = s.banks[c, bank].rank
    elif x[c, X_OWED_BANK] >= 0 and x[c, X_OWED_BY] <= t:
        command = ACT2
        bank = x[c, X_OWED_BANK]
        rank = s.banks[c, bank].rank
    else:
        p = s.choice[c]
        _choose(s, c, t, kind, p)
        if p.source == FROM_NOWHERE:
            return
        source, slot, command, rank, bank = p.source, p.slot, p.command, p.rank, p.bank
        if cfg[C_SYNC] and (command in (RD, WR, RDA, WRA)) and t >= s.wck_until[c, index(rank)]:
            if x[c, X_OWED_BANK] >= 0 and x[c, X_OWED_BY] <= t + 1:
                command, slot, bank = ACT2, -1, x[c, X_OWED_BANK]
                rank = s.banks[c, bank].rank
                x[c, X_COLUMN_AT] = t + 1
            else:
                command = CAS_WR if s.slots[c, slot].write else CAS_RD

    row, col = -1, -1
    if command == ACT2:
        row = s.open_row[c, bank]
    elif slot >= 0:
        if command == PRE:
            x[c, X_CONFLICTS] += 1 - s.slots[c, slot].seen
            s.slots[c, slot].seen = 1
        elif command == ACT1:
            row = s.slots[c, slot].row
            s.slots[c, slot].opened = 1
            s.banks[c, bank].owner = slot
            s.opened[c, index(x[c, X_OPENED])] = bank
            x[c, X_OPENED] += 1
            leave(s, c, t, slot)
        else:
            row, col = s.slots[c, slot].row, s.slots[c, slot].col
            if command in (CAS_RD, CAS_WR):
                x[c, X_CAS_SLOT] = slot
            else:
                _finish(s, c, t, slot, index(bank), out)
    issue(s, c, t, command, rank, bank, row, col)
    x[c, X_MAINT_AT] = 0
    if cfg[C_ORDER] == IN_ORDER:
        look_at_all(s, c)
    elif command in (RD, WR, RDA, WRA):
        nxt = t + 2 if cfg[C_BUSES] == HALF_CLOCK else t + 1
        if x[c, X_COLUMN_AT] <= nxt:
            _raise_column_bounds(s, c, nxt)
    if source == FROM_MAINTENANCE and command == s.maint[c, x[c, X_MAINT_HEAD], 0]:
        x[c, X_MAINT_HEAD] = (x[c, X_MAINT_HEAD] + 1) % s.maint.shape[1]
        x[c, X_MAINT_LEN] -= 1
        look_at_all(s, c)


@inlined
def _may_act(s: Channels, c: int, t: int, kind: int) -> bool:
    """Whether one of two buses is worth a look."""
    x = s.scalar
    if x[c, X_COLUMN_AT if kind == COLUMN else X_ROW_AT] <= t or s.cfg[C_ORDER] == IN_ORDER:
        return True
    return x[c, X_MAINT_LEN] > 0 or x[c, X_OWED_BANK] >= 0 or x[c, X_CAS_SLOT] >= 0 or is_mode_due(s, c)


@inlined
def _next_look(s: Channels, c: int, t: int) -> int:
    """The next clock worth a step after that of clock `t`, if no request is accepted until then."""
    cfg, x = s.cfg, s.scalar
    if x[c, X_LAST] == t:
        closing = cfg[C_CAP] > 0 or cfg[C_TIMEOUT] > 0
        if closing or x[c, X_POSTPONED] or x[c, X_CAS_SLOT] >= 0:
            return t + 1
    at = x[c, X_COLUMN_AT]
    if x[c, X_MAINT_LEN]:
        at = min(at, x[c, X_MAINT_AT])
    elif (x[c, X_READS] or x[c, X_WRITES]) and is_mode_due(s, c):
        return t + 1
    else:
        at = min(at, x[c, X_ROW_AT])
    if x[c, X_OWED_BANK] >= 0:
        at = min(at, kept_earliest(s, c, ACT2, x[c, X_OWED_BANK]))
    return max(t + 1, min(at, x[c, X_NEXT_REF]))


@inner
def _close_capped(s: Channels, c: int, t: int) -> int:
    """Queue a precharge of each bank that has served its cap of accesses and may close; the next such clock.

    A precharge that is queued goes out even if an auto precharge has closed the bank meanwhile.
    """
    nxt = NEVER
    for bank in range(s.open_row.shape[1]):
        if s.open_row[c, bank] >= 0 and s.banks[c, bank].accesses >= s.cfg[C_CAP]:
            when = kept_earliest(s, c, PRE, bank)
            if when > t:
                nxt = min(nxt, when)
            elif not _is_queued(s, c, PRE, bank):
                _enter_maintenance(s, c, PRE, s.place[bank, 0], bank)
    return nxt


@inner
def _close_unused(s: Channels, c: int, t: int) -> int:
    """Queue a precharge of each bank that no waiting request hits and none has used for C_TIMEOUT clocks."""
    nxt = NEVER
    for bank in range(s.open_row.shape[1]):
        b = s.banks[c, bank]
        hit = s.lists[c, 2 * bank].hit >= 0 or s.lists[c, 2 * bank + 1].hit >= 0
        if s.open_row[c, bank] < 0 or b.owner >= 0 or hit or s.scalar[c, X_OWED_BANK] == bank:
            continue
        when = max(b.used + s.cfg[C_TIMEOUT], kept_earliest(s, c, PRE, bank))
        if when > t:
            nxt = min(nxt, when)
        elif not _is_queued(s, c, PRE, bank):
            _enter_maintenance(s, c, PRE, b.rank, bank)
    return nxt


@inner
def _is_queued(s: Channels, c: int, command: int, bank: int) -> bool:
    for k in range(s.scalar[c, X_MAINT_LEN]):
        at = (s.scalar[c, X_MAINT_HEAD] + k) % s.maint.shape[1]
        if s.maint[c, at, 0] == command and s.maint[c, at, 2] == bank:
            return True
    return False


@inlined
def step(s: Channels, c: int, t: int, out: NDArray[np.int64]) -> int:
    """Act for clock `t`: one command a bus at most; returns the next clock worth a step.

    out: (3,). out[0] becomes the tag of a request whose data command went out (else -1), out[1] its
    completion and out[2] its latency, counted from acceptance (-1 for a write).
    """
    cfg, x = s.cfg, s.scalar
    out[0] = -1
    if x[c, X_LAST] >= t:  # a request may arrive in a clock whose command is out already
        return x[c, X_LAST] + 1
    x[c, X_LOOK] = 0
    settle(s, c, t)
    if x[c, X_NEXT_REF] <= t:
        _refresh_due(s, c, t)
    if x[c, X_POSTPONED] and x[c, X_MAINT_LEN] == 0 and not _is_busy(s, c):
        _enter_refresh(s, c)
        x[c, X_POSTPONED] -= 1
    nxt = _close_capped(s, c, t) if cfg[C_CAP] > 0 else NEVER
    if cfg[C_TIMEOUT]:
        nxt = min(nxt, _close_unused(s, c, t))
    kind = ANY if cfg[C_BUSES] == ONE_BUS else COLUMN
    while True:  # one pass, or two of one piece of code
        if kind == ANY or _may_act(s, c, t, kind):
            _act(s, c, t, kind, out)
        if kind != COLUMN:
            break
        kind = ROW
    return min(nxt, _next_look(s, c, t))
