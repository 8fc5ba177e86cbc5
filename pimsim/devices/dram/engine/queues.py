"""Queues of requests: one for reads and one for writes, or one for both, each threaded by bank.

Every bank knows of each queue the oldest request that hits its open row and the oldest that does not: no
other request of the bank can be next.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pimsim.compiled import inlined
from pimsim.devices.dram.engine.bounds import change_mode, renew
from pimsim.devices.dram.engine.state import (
    C_HIGH,
    C_LOW,
    C_READQ,
    C_UNIFIED,
    C_WRITEQ,
    MAX_BANKS,
    NEVER,
    X_AGE,
    X_ALONE,
    X_FREE,
    X_LAST,
    X_LAST_READ,
    X_LEFT,
    X_LOOK,
    X_MAINT_LEN,
    X_READ_HITS,
    X_READS,
    X_WRITE_MODE,
    X_WRITES,
    Channels,
    index,
)  # fmt: skip


@inlined
def _next_of_kind(s: Channels, c: int, slot: int, row: int, hit: bool) -> int:
    """First request from `slot` on that hits `row` (or does not), or -1."""
    while slot >= 0 and (s.slots[c, index(slot)].row == row) != hit:
        slot = s.slots[c, index(slot)].next
    return slot


@inlined
def take_out(banks: NDArray[np.int64], n: int, bank: int) -> None:
    """Take a bank out of the `n` of a set; the last one takes its place."""
    k = 0
    while banks[index(k)] != bank:
        k += 1
    banks[index(k)] = banks[index(n - 1)]


@inlined
def set_oldest_hit(s: Channels, c: int, bank: int, queue: int, slot: int) -> None:
    was, n = s.lists[c, 2 * bank + queue].hit, s.scalar[c, X_READ_HITS + queue]
    s.lists[c, 2 * bank + queue].hit = slot
    if slot >= 0 and was < 0:
        s.hit_bank[c, queue, index(n)] = bank
        s.scalar[c, X_READ_HITS + queue] = n + 1
    elif slot < 0 and was >= 0:
        take_out(s.hit_bank[c, queue], n, bank)
        s.scalar[c, X_READ_HITS + queue] = n - 1


@inlined
def _set_oldest_miss(s: Channels, c: int, bank: int, queue: int, slot: int) -> None:
    s.lists[c, 2 * bank + queue].miss = slot
    s.row_turn[c, queue, bank] = s.slots[c, index(slot)].age * MAX_BANKS + bank if slot >= 0 else NEVER


@inlined
def reclassify(s: Channels, c: int, bank: int) -> None:
    """Find the oldest hits and misses of a bank anew: another row is open now, or none. Bounds stay."""
    row = s.open_row[c, bank]
    for queue in range(2):
        head = s.lists[c, 2 * bank + queue].head
        if head >= 0:
            set_oldest_hit(s, c, bank, queue, _next_of_kind(s, c, head, row, True) if row >= 0 else -1)
            miss = _next_of_kind(s, c, head, row, False) if row >= 0 else head
            _set_oldest_miss(s, c, bank, queue, miss)


@inlined
def is_mode_due(s: Channels, c: int) -> bool:
    """Whether writes are to be served from now on instead of reads, or the other way round."""
    cfg, x = s.cfg, s.scalar
    if cfg[C_UNIFIED]:
        return False
    if x[c, X_WRITE_MODE]:
        return x[c, X_WRITES] < cfg[C_LOW] and x[c, X_READS] > 0
    return x[c, X_WRITES] > cfg[C_HIGH] or x[c, X_READS] == 0


@inlined
def settle(s: Channels, c: int, t: int) -> None:
    """Before clock `t` is looked at: with nothing waiting, writes are served from the clock after the last
    command on. No step is worth making for that alone."""
    x = s.scalar
    if x[c, X_READS] or x[c, X_WRITE_MODE] or x[c, X_WRITES]:
        return
    if t > x[c, X_LAST] + 1 and x[c, X_MAINT_LEN] == 0 and s.cfg[C_UNIFIED] == 0:
        change_mode(s, c)


@inlined
def enter(
    s: Channels, c: int, t: int, write: int, queue: int, bank: int, row: int, col: int, tag: int
) -> int:
    """Put a request that is accepted behind the others of its bank and queue; its slot."""
    x = s.scalar
    if write:
        x[c, X_WRITES] += 1
    else:
        x[c, X_READS] += 1
    x[c, X_ALONE] = bank if x[c, X_READS] + x[c, X_WRITES] == 1 else -1
    x[c, X_FREE] -= 1
    slot = index(s.free[c, index(x[c, X_FREE])])
    x[c, X_AGE] += 1
    request, waiting = s.slots[c, slot], s.lists[c, 2 * bank + queue]
    request.accept = t
    request.write = 1 if write else 0
    request.queue = queue
    request.bank = bank
    request.row = row
    request.col = col
    request.tag = tag
    request.opened = 0
    request.seen = 0
    request.age = x[c, X_AGE]
    request.next = -1
    request.before = waiting.tail
    if waiting.tail >= 0:
        s.slots[c, waiting.tail].next = slot
    else:
        waiting.head = slot
    waiting.tail = slot
    return slot


@inlined
def accept(s: Channels, c: int, t: int, write: int, bank: int, row: int, col: int, tag: int) -> int:
    """Offer a request at clock `t`: -2 refused (queue full), -1 accepted, else the clock it is done.

    A read of an address that waits in the write queue is served from there, but reads complete in
    order; a write to an address that already waits is merged with it.
    """
    x = s.scalar
    settle(s, c, t)
    bank = index(bank)
    queue = 1 if write and s.cfg[C_UNIFIED] == 0 else 0
    if x[c, X_WRITES]:
        slot = s.lists[c, 2 * bank + (0 if s.cfg[C_UNIFIED] else 1)].head
        while slot >= 0:
            if s.slots[c, slot].row == row and s.slots[c, slot].col == col and s.slots[c, slot].write:
                return t if write else max(t, x[c, X_LAST_READ])
            slot = s.slots[c, slot].next
    if s.cfg[C_UNIFIED] and x[c, X_READS] + x[c, X_WRITES] >= s.cfg[C_READQ]:
        return -2
    if write and queue and x[c, X_WRITES] >= s.cfg[C_WRITEQ]:
        return -2
    if not write and x[c, X_READS] >= s.cfg[C_READQ]:
        return -2
    slot = enter(s, c, t, write, queue, bank, row, col, tag)
    waiting = s.lists[c, 2 * bank + queue]
    candidate = False
    if s.open_row[c, bank] == row:
        if waiting.hit < 0:
            set_oldest_hit(s, c, bank, queue, slot)
            candidate = True
    elif waiting.miss < 0:
        _set_oldest_miss(s, c, bank, queue, slot)
        candidate = True
    if candidate and queue == x[c, X_WRITE_MODE]:
        renew(s, c, bank)
        x[c, X_LOOK] = 1
    if is_mode_due(s, c):
        x[c, X_LOOK] = 1
    return -1


@inlined
def leave(s: Channels, c: int, t: int, slot: int) -> None:
    """Take a request out of its queue at clock `t`; its slot stays in use."""
    x, request = s.scalar, s.slots[c, slot]
    queue, bank, after, before = index(request.queue), index(request.bank), request.next, request.before
    waiting = s.lists[c, 2 * bank + queue]
    row = s.open_row[c, bank]
    x[c, X_LEFT] = t
    if waiting.hit == slot:
        set_oldest_hit(s, c, bank, queue, _next_of_kind(s, c, after, row, True))
    elif waiting.miss == slot:
        _set_oldest_miss(s, c, bank, queue, _next_of_kind(s, c, after, row, False))
    if before >= 0:
        s.slots[c, before].next = after
    else:
        waiting.head = after
    if after >= 0:
        s.slots[c, after].before = before
    else:
        waiting.tail = before
    if request.write:
        x[c, X_WRITES] -= 1
    else:
        x[c, X_READS] -= 1
