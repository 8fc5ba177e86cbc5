"""Time, compiled: lines on their way to a cache, what waits for them, and what has no slot to wait in.

The slots of a row lie in the order in which they become free, cyclic from its head: the first is the next to
be taken, and what is taken last mostly arrives last, so that taking one moves few others.
"""

from __future__ import annotations

import numpy as np

from pimsim.compiled import inlined
from pimsim.devices.cache.replace import ONE, Whole
from pimsim.devices.cache.state import (
    BUCKETS,
    K_END,
    K_NC_STALL,
    K_NOW,
    K_NUM,
    K_STORE_STALL,
    LAST,
    N_MERGED,
    N_NUM,
    N_STALL,
    P_CACHE,
    P_HIT_PS,
    P_NUM,
    Q_ISSUE_PS,
    Q_MEMORY_PS,
    CacheArrays,
    U,
)


@inlined
def _on_its_way(s: CacheArrays, row: Whole, line: Whole, now: int) -> int:
    """When a line that a slot waits for arrives, or -1; of several such slots the one of lowest number."""
    arrives = -1
    if s.slot_count[row * BUCKETS + (line & (BUCKETS - ONE))]:
        base, number = s.slot_first[row], U(LAST)
        for i in range(base, base + s.slots[row]):
            if s.slot_line[i] == line and s.slot_ready[i] > now and U(s.slot_id[i]) < number:
                arrives, number = s.slot_ready[i], U(s.slot_id[i])
    return arrives


@inlined
def _free_at(s: CacheArrays, row: Whole, now: int) -> int:
    """The earliest time, not before `now`, at which a slot of the row is free."""
    if s.slots[row] == U(0):
        return now
    return max(now, s.slot_ready[s.slot_first[row] + s.slot_head[row]])


@inlined
def _take(s: CacheArrays, row: Whole, line: Whole, ready: int) -> None:
    """The slot that is free first (of several, the one of lowest number) holds `line` until `ready`."""
    n = s.slots[row]
    if n:
        base = s.slot_first[row]
        at = s.slot_head[row]
        number = s.slot_id[base + at]
        s.slot_count[row * BUCKETS + (s.slot_line[base + at] & (BUCKETS - ONE))] -= np.uint32(1)
        s.slot_count[row * BUCKETS + (line & (BUCKETS - ONE))] += np.uint32(1)
        s.slot_head[row] = at + ONE if at + ONE < n else U(0)
        for _ in range(n - ONE):  # back to its place among those that are free later
            before = base + (at - ONE if at else n - ONE)
            if s.slot_ready[before] < ready or (s.slot_ready[before] == ready and s.slot_id[before] < number):
                break
            s.slot_line[base + at], s.slot_ready[base + at] = s.slot_line[before], s.slot_ready[before]
            s.slot_id[base + at] = s.slot_id[before]
            at = before - base
        s.slot_line[base + at], s.slot_ready[base + at], s.slot_id[base + at] = line, ready, number


@inlined
def timed(
    s: CacheArrays, core: Whole, base: Whole, end: Whole, held: Whole, line: Whole, write: bool
) -> None:
    """When a cacheable access can go and when it is done; held: the level that had the line."""
    now, source, arrives = s.clock[core * K_NUM + K_NOW], base, -1
    while source != end:
        arrives = _on_its_way(s, s.par[source + P_CACHE], line, now)
        if arrives >= 0:
            s.counts[s.par[source + P_CACHE] * N_NUM + N_MERGED] += 1
            break
        if source == held:
            break
        source += P_NUM
    for q in range(base, source, P_NUM):
        free = _free_at(s, s.par[q + P_CACHE], now)
        s.counts[s.par[q + P_CACHE] * N_NUM + N_STALL] += free - now
        now = free
    stores = U(len(s.slots)) - U(len(s.depth)) + core
    if write:
        free = _free_at(s, stores, now)
        s.clock[core * K_NUM + K_STORE_STALL] += free - now
        now = free
    if source != end:
        done = max(now, arrives) + np.int64(s.par[source + P_HIT_PS])
    else:
        done = now + s.timing[Q_MEMORY_PS]
    for q in range(base, source, P_NUM):
        _take(s, s.par[q + P_CACHE], line, done)
    if write:
        _take(s, stores, line, done)
    s.clock[core * K_NUM + K_NOW] = now + s.timing[Q_ISSUE_PS]
    s.clock[core * K_NUM + K_END] = max(s.clock[core * K_NUM + K_END], done)


@inlined
def timed_nc(s: CacheArrays, core: Whole) -> None:
    """The same of a non-cacheable access, which goes to memory whatever it is."""
    row = U(len(s.slots)) - U(2) * U(len(s.depth)) + core
    now = _free_at(s, row, s.clock[core * K_NUM + K_NOW])
    s.clock[core * K_NUM + K_NC_STALL] += now - s.clock[core * K_NUM + K_NOW]
    done = now + s.timing[Q_MEMORY_PS]
    _take(s, row, LAST, done)
    s.clock[core * K_NUM + K_NOW] = now + s.timing[Q_ISSUE_PS]
    s.clock[core * K_NUM + K_END] = max(s.clock[core * K_NUM + K_END], done)


@inlined
def timed_free(s: CacheArrays, core: Whole, row: Whole) -> bool:
    """Whether a prefetch finds an MSHR of the cache `row`."""
    now = s.clock[core * K_NUM + K_NOW]
    return _free_at(s, row, now) == now


@inlined
def timed_prefetch(s: CacheArrays, core: Whole, level: Whole, end: Whole, held: Whole, line: Whole) -> None:
    """A prefetch takes an MSHR of its level until its line arrives from the level that held it."""
    wait = s.timing[Q_MEMORY_PS]
    if held != end:
        wait = np.int64(s.par[held + P_HIT_PS])
    _take(s, s.par[level + P_CACHE], line, s.clock[core * K_NUM + K_NOW] + wait)
