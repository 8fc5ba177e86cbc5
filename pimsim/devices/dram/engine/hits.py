"""Runs of row hits: reads of open rows, one after the other, with nothing else to do in between.

Streams consist of little else, and most of what `step` asks in every clock has one answer during such a run.
What goes, and when, is what `step` would have issued.
"""

from __future__ import annotations

from pimsim.compiled import inlined
from pimsim.devices.dram.engine.bounds import kept_earliest
from pimsim.devices.dram.engine.commands import issue_read
from pimsim.devices.dram.engine.queues import enter, set_oldest_hit
from pimsim.devices.dram.engine.state import (
    C_BL,
    C_BUSES,
    C_CAP,
    C_HIT_CAP,
    C_ORDER,
    C_READQ,
    C_RL,
    C_SYNC,
    C_TIMEOUT,
    HALF_CLOCK,
    IN_ORDER,
    NEVER,
    X_CAS_SLOT,
    X_FREE,
    X_LAST_READ,
    X_LEFT,
    X_MAINT_LEN,
    X_NEXT_REF,
    X_OPENED,
    X_OWED_BANK,
    X_POSTPONED,
    X_READ_HITS,
    X_READS,
    X_ROW_AT,
    X_ROW_HITS,
    X_WRITE_MODE,
    X_WRITES,
    Channels,
    index,
)  # fmt: skip
from pimsim.devices.rules import RD


@inlined
def may_run(s: Channels) -> bool:
    """Whether a controller serves runs of hits the plain way: open rows, no cap on them, not in order."""
    cfg = s.cfg
    if cfg[C_ORDER] == IN_ORDER or cfg[C_CAP] or cfg[C_HIT_CAP] or cfg[C_TIMEOUT]:
        return False
    return s.ring_first[RD] == s.ring_first[RD + 1]


@inlined
def begins_run(s: Channels, c: int) -> bool:
    """Whether nothing but reads waits, the last command made the only room for another, and some hit."""
    x = s.scalar
    if x[c, X_READS] != s.cfg[C_READQ] - 1 or x[c, X_READ_HITS] == 0 or x[c, X_WRITE_MODE] or x[c, X_WRITES]:
        return False
    if x[c, X_MAINT_LEN] or x[c, X_POSTPONED]:
        return False
    return x[c, X_OWED_BANK] < 0 and x[c, X_CAS_SLOT] < 0


@inlined
def others_from(s: Channels, c: int) -> int:
    """A clock before which nothing but hits can go, while all that is accepted follows others of its bank."""
    x = s.scalar
    soonest = min(x[c, X_NEXT_REF], x[c, X_ROW_AT])
    for k in range(index(x[c, X_OPENED])):
        soonest = min(soonest, s.banks[c, index(s.opened[c, k])].opened_bound)
    return soonest


@inlined
def next_hit(s: Channels, c: int) -> tuple[int, int]:
    """(clock, bank) of the next read that hits."""
    even = 1 if s.cfg[C_BUSES] == HALF_CLOCK else 0
    first, age, chosen = NEVER, NEVER, 0
    for k in range(index(s.scalar[c, X_READ_HITS])):
        bank = index(s.hit_bank[c, 0, k])
        b = s.banks[c, bank]
        if b.hit_bound <= first:
            when = kept_earliest(s, c, RD, bank)
            when += when & even
            b.hit_bound = when
            mine = s.slots[c, index(s.lists[c, 2 * bank].hit)].age
            if when < first or (when == first and mine < age):
                first, age, chosen = when, mine, bank
    return first, chosen


@inlined
def joins(s: Channels, c: int, t: int, bank: int, row: int, col: int, tag: int) -> bool:
    """`accept` a read at clock `t` if an older one of its kind and bank goes first; whether that is so."""
    bank = index(bank)
    waiting = s.lists[c, 2 * bank]
    if (waiting.hit if s.open_row[c, bank] == row else waiting.miss) < 0:
        return False
    enter(s, c, t, 0, 0, bank, row, col, tag)
    return True


@inlined
def serves_hit(s: Channels, c: int, t: int, bank: int) -> bool:
    """Whether the oldest hit of a bank can go at clock `t`: no miss waits for its row to close, and the data
    clock runs."""
    if s.lists[c, 2 * bank].miss >= 0:
        return False
    return s.cfg[C_SYNC] == 0 or t < s.wck_until[c, index(s.banks[c, bank].rank)]


@inlined
def serve_hit(s: Channels, c: int, t: int, bank: int) -> int:
    """Issue the oldest hit of a bank, for which `serves_hit` holds, at clock `t`; the slot that it had."""
    x, b, waiting = s.scalar, s.banks[c, bank], s.lists[c, 2 * bank]
    slot = index(waiting.hit)
    request = s.slots[c, slot]
    issue_read(s, c, t, b.rank, bank, request.row, request.col)
    b.accesses += 1
    b.used = t
    after = request.next  # only hits wait
    waiting.head = after
    if after >= 0:
        s.slots[c, after].before = -1
        waiting.hit = after
        b.hit_bound = t + 1
    else:
        waiting.tail = -1
        set_oldest_hit(s, c, bank, 0, -1)
        b.hit_bound = NEVER
    x[c, X_ROW_HITS] += 1
    x[c, X_READS] -= 1
    x[c, X_LEFT] = t
    x[c, X_LAST_READ] = t + s.cfg[C_RL] + s.cfg[C_BL]
    s.free[c, index(x[c, X_FREE])] = slot
    x[c, X_FREE] += 1
    return slot
