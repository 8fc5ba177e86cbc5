"""Queues of requests: one for reads and one for writes, or one for both, each threaded by bank.

Every bank knows of each queue the oldest request that hits its open row and the oldest that does not: no
other request of the bank can be next.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pimsim.compiled import inlined
from pimsim.devices.dram.engine.state import (
    C_READQ,
    C_UNIFIED,
    C_WRITEQ,
    X_AGE,
    X_COUNTED,
    X_FREE,
    X_LAST_READ,
    X_NEW,
    X_READ_HITS,
    X_READ_MISSES,
    X_READS,
    X_WRITES,
    Channels,
    index,
)  # fmt: skip

NOTHING = -1
"""X_NEW when no request that can be the next of its bank was accepted since the last step."""


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
def _set_oldest_hit(s: Channels, c: int, bank: int, queue: int, slot: int) -> None:
    was, n = s.lists[c, 2 * bank + queue].hit, s.scalar[c, X_READ_HITS + queue]
    s.lists[c, 2 * bank + queue].hit = slot
    s.banks[c, bank].hit_bound = 0
    if slot >= 0 and was < 0:
        s.hit_bank[c, queue, index(n)] = bank
        s.scalar[c, X_READ_HITS + queue] = n + 1
    elif slot < 0 and was >= 0:
        take_out(s.hit_bank[c, queue], n, bank)
        s.scalar[c, X_READ_HITS + queue] = n - 1


@inlined
def _set_oldest_miss(s: Channels, c: int, bank: int, queue: int, slot: int) -> None:
    """Note it, and keep the banks in order of the age of their oldest miss."""
    s.miss_bound[c, bank] = 0
    was = s.lists[c, 2 * bank + queue].miss
    if was == slot:
        return
    s.lists[c, 2 * bank + queue].miss = slot
    banks, ages, n = s.miss_bank[c, queue], s.miss_age[c, queue], index(s.scalar[c, X_READ_MISSES + queue])
    if was >= 0:
        place = 0
        while banks[index(place)] != bank:
            place += 1
        n -= 1
        for k in range(index(place), n):
            banks[k] = banks[k + 1]
            ages[k] = ages[k + 1]
    if slot >= 0:
        k, age = n, s.slots[c, slot].age
        while k > 0 and ages[index(k - 1)] > age:
            banks[index(k)] = banks[index(k - 1)]
            ages[index(k)] = ages[index(k - 1)]
            k -= 1
        banks[index(k)] = bank
        ages[index(k)] = age
        n += 1
    s.scalar[c, X_READ_MISSES + queue] = n


@inlined
def forget_bounds(s: Channels, c: int, bank: int) -> None:
    """A command to the bank may let its requests go."""
    s.banks[c, bank].opened_bound = 0
    s.banks[c, bank].hit_bound = 0
    s.miss_bound[c, bank] = 0


@inlined
def reclassify(s: Channels, c: int, bank: int) -> None:
    """Find the oldest hits and misses of a bank anew: another row is open now, or none."""
    bank = index(bank)
    row = s.open_row[c, bank]
    forget_bounds(s, c, bank)
    for queue in range(2):
        head = s.lists[c, 2 * bank + queue].head
        if head >= 0:
            _set_oldest_hit(s, c, bank, queue, _next_of_kind(s, c, head, row, True) if row >= 0 else -1)
            miss = _next_of_kind(s, c, head, row, False) if row >= 0 else head
            _set_oldest_miss(s, c, bank, queue, miss)


@inlined
def accept(s: Channels, c: int, t: int, write: int, bank: int, row: int, col: int, tag: int) -> int:
    """Offer a request at clock `t`: -2 refused (queue full), -1 accepted, else the clock it is done.

    A read of an address that waits in the write queue is served from there, but reads complete in
    order; a write to an address that already waits is merged with it.
    """
    x = s.scalar
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
    if write:
        if queue and x[c, X_WRITES] >= s.cfg[C_WRITEQ]:
            return -2
        x[c, X_WRITES] += 1
    else:
        if x[c, X_READS] >= s.cfg[C_READQ]:
            return -2
        x[c, X_READS] += 1
    x[c, X_FREE] -= 1
    slot = index(s.free[c, index(x[c, X_FREE])])
    x[c, X_AGE] += 1
    x[c, X_COUNTED] = 1
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
    candidate = False
    if s.open_row[c, bank] == row:
        if waiting.hit < 0:
            _set_oldest_hit(s, c, bank, queue, slot)
            candidate = True
    elif waiting.miss < 0:
        _set_oldest_miss(s, c, bank, queue, slot)
        candidate = True
    if candidate:
        if x[c, X_NEW] != NOTHING:
            s.plan[c, 0].valid = 0
            s.plan[c, 1].valid = 0
        x[c, X_NEW] = slot
    return -1


@inlined
def leave(s: Channels, c: int, slot: int) -> None:
    """Take a request out of its queue; its slot stays in use."""
    x, request = s.scalar, s.slots[c, slot]
    queue, bank, after, before = index(request.queue), index(request.bank), request.next, request.before
    waiting = s.lists[c, 2 * bank + queue]
    row = s.open_row[c, bank]
    x[c, X_COUNTED] = 1
    if waiting.hit == slot:
        _set_oldest_hit(s, c, bank, queue, _next_of_kind(s, c, after, row, True))
        s.miss_bound[c, bank] = 0  # it may have been guarded
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
