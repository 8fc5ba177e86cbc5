"""Time, compiled: lines on their way to a cache, what waits for them, and what has no slot to wait in.

The slots of a row lie in the order in which they become free, cyclic from its head: the first is the next to
be taken, and what is taken last mostly arrives last or soon, so that taking one moves few others.
"""

from __future__ import annotations

import numpy as np

from pimsim.compiled import inlined
from pimsim.devices.cache.replace import ONE, TWO, Whole
from pimsim.devices.cache.state import (
    BUCKET_BITS,
    K_END,
    K_NC_STALL,
    K_NOW,
    K_NUM,
    K_STORE_STALL,
    LAST,
    N_MERGED,
    N_NUM,
    N_STALL,
    NO_LIMIT,
    P_CACHE,
    P_HIT_PS,
    P_NUM,
    Q_ISSUE_PS,
    Q_MEMORY_PS,
    R_END,
    R_FIRST,
    R_HALF,
    R_HEAD,
    R_NUM,
    SLOTS_AT_ONCE,
    CacheArrays,
    U,
)
from pimsim.devices.cache.vector import lowest, match8

SPREAD = U(0x9E3779B97F4A7C15)
"""2**64 over the golden ratio: multiples of it spread lines of any stride over the buckets."""
ZERO = U(0)


@inlined
def _bucket(line: Whole) -> Whole:
    """Index in `latest`."""
    return (line * SPREAD) >> (U(64) - BUCKET_BITS)


@inlined
def _on_its_way(s: CacheArrays, row: Whole, line: Whole, now: Whole) -> Whole:
    """When a line that a slot waits for arrives, or 0; of several such slots the one of lowest number."""
    arrives = ZERO
    i, end, number = s.rows[row * R_NUM + R_FIRST], s.rows[row * R_NUM + R_END], LAST
    while i < end:
        found = match8(s.slot_line, i, line)
        while found:
            at = i + lowest(found)
            if s.slot_ready[at] > now and s.slot_id[at] < number:
                arrives, number = s.slot_ready[at], s.slot_id[at]
            found &= found - ONE
        i += SLOTS_AT_ONCE
    return arrives


@inlined
def _free_at(s: CacheArrays, row: Whole, now: Whole) -> Whole:
    """The earliest time, not before `now`, at which a slot of the row is free."""
    head = s.rows[row * R_NUM + R_HEAD]
    if head == NO_LIMIT:
        return now
    return max(now, s.slot_ready[head])


@inlined
def _put(s: CacheArrays, at: Whole, line: Whole, ready: Whole) -> None:
    s.slot_line[at], s.slot_ready[at] = line, ready


@inlined
def _take(s: CacheArrays, row: Whole, line: Whole, ready: Whole) -> None:
    """The slot that is free first (of several, the one of lowest number) holds `line` until `ready`."""
    r = row * R_NUM
    at = s.rows[r + R_HEAD]
    if at != NO_LIMIT:
        first, end = s.rows[r + R_FIRST], s.rows[r + R_END]
        after = at + ONE
        if after == end:
            after = first
        before = (end if at == first else at) - ONE
        if ready > s.slot_ready[before]:  # it becomes the last, as mostly
            s.rows[r + R_HEAD] = after
            _put(s, at, line, ready)
            return
        number, middle = s.slot_id[at], at + s.rows[r + R_HALF]
        if middle >= end:
            middle -= end - first
        last = ready >= s.slot_ready[middle]
        if last:
            s.rows[r + R_HEAD] = after
        other = before if last else after
        while True:  # from the last place forward, or from the first one back, but not as far as the middle
            when, whose = s.slot_ready[other], s.slot_id[other]
            later = when > ready or (when == ready and whose > number)
            if later != last or (last and at == after):
                break
            _put(s, at, s.slot_line[other], when)
            s.slot_id[at] = whose
            at = other
            if last:
                other = (end if other == first else other) - ONE
            else:
                other += ONE
                if other == end:
                    other = first
        _put(s, at, line, ready)
        s.slot_id[at] = number


@inlined
def timed(
    s: CacheArrays, core: Whole, base: Whole, end: Whole, held: Whole, line: Whole, write: bool
) -> None:
    """When a cacheable access can go and when it is done; held: the level that had the line."""
    clock, bucket = core * K_NUM, _bucket(line)
    began = s.clock[clock + K_NOW]
    now, source, arrives = began, base, ZERO
    perhaps = s.latest[bucket] > began
    while source != end:
        row = s.par[source + P_CACHE]
        if perhaps:
            arrives = _on_its_way(s, row, line, began)
            if arrives:
                s.counts[row * N_NUM + N_MERGED] += 1
                break
        if source == held:
            break
        free = _free_at(s, row, now)
        s.counts[row * N_NUM + N_STALL] += np.int64(free - now)
        now = free
        source += P_NUM
    stores = U(len(s.rows)) // R_NUM - U(len(s.depth)) + core
    if write:
        free = _free_at(s, stores, now)
        s.clock[clock + K_STORE_STALL] += free - now
        now = free
    done = now + s.timing[Q_MEMORY_PS]
    if source != end:
        done = max(now, arrives) + s.par[source + P_HIT_PS]
    if source != base:
        s.latest[bucket] = max(s.latest[bucket], done)
    q, last = base, source + P_NUM if write else source
    while q != last:
        _take(s, stores if q == source else s.par[q + P_CACHE], line, done)
        q += P_NUM
    s.clock[clock + K_NOW] = now + s.timing[Q_ISSUE_PS]
    s.clock[clock + K_END] = max(s.clock[clock + K_END], done)


@inlined
def timed_nc(s: CacheArrays, core: Whole) -> None:
    """The same of a non-cacheable access, which goes to memory whatever it is."""
    row, clock = U(len(s.rows)) // R_NUM - TWO * U(len(s.depth)) + core, core * K_NUM
    now = _free_at(s, row, s.clock[clock + K_NOW])
    s.clock[clock + K_NC_STALL] += now - s.clock[clock + K_NOW]
    done = now + s.timing[Q_MEMORY_PS]
    _take(s, row, LAST, done)
    s.clock[clock + K_NOW] = now + s.timing[Q_ISSUE_PS]
    s.clock[clock + K_END] = max(s.clock[clock + K_END], done)


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
        wait = s.par[held + P_HIT_PS]
    ready = s.clock[core * K_NUM + K_NOW] + wait
    s.latest[_bucket(line)] = max(s.latest[_bucket(line)], ready)
    _take(s, s.par[level + P_CACHE], line, ready)
