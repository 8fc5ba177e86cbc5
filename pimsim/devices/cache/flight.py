"""Time, compiled: lines on their way to a cache, what waits for them, and what has no slot to wait in.

The slots of a row lie in the order in which they become free, cyclic from its head: the first is the next to
be taken, and what is taken last mostly arrives last or soon, so that taking one moves few others.
"""

from __future__ import annotations

from pimsim.compiled import inlined
from pimsim.devices.cache.log import Switch
from pimsim.devices.cache.replace import ONE, Whole
from pimsim.devices.cache.state import (
    B_ALONE,
    B_NUM,
    B_READY,
    BUCKET_BITS,
    LANE_BITS,
    LAST,
    M_END,
    M_ISSUE_PS,
    M_LIMITED,
    M_NC_ROW,
    M_NC_STALL,
    M_NOW,
    M_STORE_ROW,
    M_STORE_STALL,
    N_MERGED,
    N_STALL,
    NO_LIMIT,
    P_HIT_PS,
    P_NUM,
    P_ROW,
    R_END,
    R_FIRST,
    R_FREE,
    R_HALF,
    R_HEAD,
    R_LATEST,
    SEVERAL,
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
    """Where the bucket of a line begins."""
    return ((line * SPREAD) >> (U(64) - BUCKET_BITS)) * B_NUM


@inlined
def _on_its_way(s: CacheArrays, row: Whole, line: Whole, now: Whole) -> Whole:
    """When a line that a slot waits for arrives, or 0; of several such slots the one of lowest number."""
    arrives = ZERO
    i, end, number = s.rows[row + R_FIRST], s.rows[row + R_END], LAST
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
def _put(s: CacheArrays, at: Whole, line: Whole, ready: Whole) -> None:
    s.slot_line[at], s.slot_ready[at] = line, ready


@inlined
def _take(s: CacheArrays, row: Whole, line: Whole, ready: Whole) -> None:
    """The slot that is free first (of several, the one of lowest number) holds `line` until `ready`."""
    at = s.rows[row + R_HEAD]
    if ready > s.rows[row + R_LATEST]:  # it becomes the last, as mostly
        after = at + ONE
        if after == s.rows[row + R_END]:
            after = s.rows[row + R_FIRST]
        _put(s, at, line, ready)
        s.rows[row + R_LATEST], s.rows[row + R_HEAD] = ready, after
        s.rows[row + R_FREE] = s.slot_ready[after]
    elif at != NO_LIMIT:
        first, end = s.rows[row + R_FIRST], s.rows[row + R_END]
        after = at + ONE
        if after == end:
            after = first
        number, middle = s.slot_id[at], at + s.rows[row + R_HALF]
        if middle >= end:
            middle -= end - first
        last = ready >= s.slot_ready[middle]
        other = after
        if last:
            s.rows[row + R_HEAD] = after
            other = (end if at == first else at) - ONE
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
        head = s.rows[row + R_HEAD]
        s.rows[row + R_FREE] = s.slot_ready[head]
        s.rows[row + R_LATEST] = s.slot_ready[(end if head == first else head) - ONE]


@inlined
def _expect(s: CacheArrays, ahead: Switch, level: Whole, line: Whole, now: Whole, ready: Whole) -> None:
    """A row waits for this line; level: the first one whose row does."""
    bucket = _bucket(line)
    before = s.buckets[bucket + B_READY]
    if ahead is not None:
        s.buckets[bucket + B_ALONE] = (line << LANE_BITS) | level if before <= now else SEVERAL
    s.buckets[bucket + B_READY] = max(before, ready)


@inlined
def timed(
    s: CacheArrays, ahead: Switch, base: Whole, end: Whole, held: Whole, line: Whole, write: bool
) -> None:
    """When a cacheable access can go and when it is done; held: the level that had the line.

    Lines on their way are asked for often only if prefetchers, the switch `ahead`, asked for them before.
    """
    now, source, arrives = s.lanes[end + M_NOW], held, ZERO
    bucket = _bucket(line)
    if s.buckets[bucket + B_READY] > now:  # perhaps on its way
        alone = s.buckets[bucket + B_ALONE]
        if ahead is None or alone == SEVERAL or len(s.depth) > 1:
            q = base
            while q != end:
                arrives = _on_its_way(s, s.lanes[q + P_ROW], line, now)
                if arrives:
                    source = q
                    break
                if q == held:
                    break
                q += P_NUM
        elif alone >> LANE_BITS == line:
            q = alone & ((ONE << LANE_BITS) - ONE)
            if q <= held:
                source, arrives = q, s.buckets[bucket + B_READY]
        if arrives:
            s.lanes[source + N_MERGED] += ONE
    q = base
    while q != source:
        free = s.rows[s.lanes[q + P_ROW] + R_FREE]
        if free > now:
            s.lanes[q + N_STALL] += free - now
            now = free
        q += P_NUM
    stores = s.lanes[end + M_STORE_ROW]
    buffered = write and stores != LAST
    if buffered:
        free = s.rows[stores + R_FREE]
        if free > now:
            s.lanes[end + M_STORE_STALL] += free - now
            now = free
    done = max(now, arrives) + s.lanes[source + P_HIT_PS]
    level = base if ahead is None else s.lanes[end + M_LIMITED]
    if level < source:
        _expect(s, ahead, level, line, now, done)
    q = base
    while q != source:
        _take(s, s.lanes[q + P_ROW], line, done)
        q += P_NUM
    if buffered:
        _take(s, stores, line, done)
    s.lanes[end + M_NOW] = now + s.lanes[end + M_ISSUE_PS]
    s.lanes[end + M_END] = max(s.lanes[end + M_END], done)


@inlined
def timed_nc(s: CacheArrays, end: Whole) -> None:
    """The same of a non-cacheable access, which goes to memory whatever it is."""
    row, now = s.lanes[end + M_NC_ROW], s.lanes[end + M_NOW]
    free = s.rows[row + R_FREE]
    if free > now:
        s.lanes[end + M_NC_STALL] += free - now
        now = free
    done = now + s.lanes[end + P_HIT_PS]
    _take(s, row, LAST, done)
    s.lanes[end + M_NOW] = now + s.lanes[end + M_ISSUE_PS]
    s.lanes[end + M_END] = max(s.lanes[end + M_END], done)


@inlined
def timed_free(s: CacheArrays, q: Whole, end: Whole) -> bool:
    """Whether a prefetch finds an MSHR of its level."""
    return s.rows[s.lanes[q + P_ROW] + R_FREE] <= s.lanes[end + M_NOW]


@inlined
def timed_prefetch(s: CacheArrays, q: Whole, end: Whole, held: Whole, line: Whole) -> None:
    """A prefetch takes an MSHR of its level until its line arrives from the level that held it."""
    row, now = s.lanes[q + P_ROW], s.lanes[end + M_NOW]
    ready = now + s.lanes[held + P_HIT_PS]
    if s.rows[row + R_HEAD] != NO_LIMIT:
        _expect(s, True, q, line, now, ready)
        _take(s, row, line, ready)
