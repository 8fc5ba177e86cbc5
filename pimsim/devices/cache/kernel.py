"""The compiled walk of accesses through a hierarchy; the rules are in `pimsim.devices.cache`.

Levels are known by where their parameters begin in `par` (a lane), first level first; `base` and `end` are
the first lane of the core and the first one after its last. Numbers are unsigned and of 64 bits.
"""

from __future__ import annotations

import numpy as np

from pimsim.compiled import compiled, inlined
from pimsim.devices.cache.combining import combine, written
from pimsim.devices.cache.flight import timed, timed_free, timed_nc, timed_prefetch
from pimsim.devices.cache.log import Switch, note
from pimsim.devices.cache.prefetch import next_lines
from pimsim.devices.cache.replace import ONE, TWO, Whole, remove, room, touch
from pimsim.devices.cache.state import (
    CACHEABLE,
    DIRTY,
    E_EVICT_CLEAN,
    E_EVICT_DIRTY,
    E_INVALIDATE,
    E_MOVE,
    E_NC_READ,
    E_NC_WRITE,
    E_PREFETCH,
    E_READ,
    E_WRITE,
    EXCLUSIVE,
    INCLUSIVE,
    LAST,
    MARGIN,
    N_DROPPED,
    N_EVICTIONS,
    N_FILLS,
    N_HITS,
    N_INVALIDATED,
    N_MISSES,
    N_MOVES,
    N_NUM,
    N_PREFETCHES,
    N_UNUSED,
    N_USEFUL,
    N_WRITE_BACKS,
    P_BACK,
    P_BITS,
    P_CACHE,
    P_CLEAN_ON,
    P_FILLS,
    P_FIRST,
    P_INCLUSION,
    P_INNER,
    P_MASK,
    P_NUM,
    P_PREFETCH,
    P_SET,
    P_WAY_BITS,
    P_WAYS,
    PREFETCHED,
    Q_ON,
    T_NC_READS,
    T_NC_WRITES,
    T_PREFETCH_READS,
    T_READS,
    T_USED,
    T_WRITES,
    WRITE_COMBINING,
    CacheArrays,
    Run,
    U,
)
from pimsim.devices.cache.vector import find, lowest

MEMORY = LAST
"""Cache number of the memory in the log, which is signed: -1."""


@inlined
def invalidate(
    s: CacheArrays, rare: Switch, ahead: Switch, k: Whole, c: Whole, line: Whole, line_bits: Whole
) -> Whole:
    """Take a line out of the caches of the list at `c`; DIRTY if one of them held it so."""
    dirty = U(0)
    q = s.inner[c]
    while q != LAST:
        bits, row = s.par[q + P_BITS], line & s.par[q + P_MASK]
        first = s.par[q + P_FIRST] + row * s.par[q + P_WAYS]
        found = find(s.entries, first, s.par[q + P_WAY_BITS], (line >> bits) << TWO)
        if found:
            way, inner = lowest(found), s.par[q + P_CACHE]
            entry = U(s.entries[first + way])
            dirty |= entry & DIRTY
            s.counts[inner * N_NUM + N_INVALIDATED] += 1
            if ahead is not None and entry & PREFETCHED:
                s.counts[inner * N_NUM + N_UNUSED] += 1
            remove(s, q, first, s.par[q + P_SET] + row, way)
            note(s, rare, k, E_INVALIDATE, inner, line << line_bits)
        c += ONE
        q = s.inner[c]
    return dirty


@inlined
def fill(
    s: CacheArrays,
    rare: Switch,
    ahead: Switch,
    k: Whole,
    end: Whole,
    q: Whole,
    line: Whole,
    flags: Whole,
    line_bits: Whole,
) -> None:
    """Put a line into a level that lacks it; victims move outwards until none is left."""
    waiting, forced = U(0), True
    while True:
        onward = False
        if q == end:  # only dirty lines come this far
            s.totals[T_WRITES] += 1
            note(s, rare, k, E_WRITE, MEMORY, line << line_bits)
        else:
            bits, row = s.par[q + P_BITS], line & s.par[q + P_MASK]
            first, at = s.par[q + P_FIRST] + row * s.par[q + P_WAYS], s.par[q + P_SET] + row
            key, found = (line >> bits) << TWO, U(0)
            if not forced:
                found = find(s.entries, first, s.par[q + P_WAY_BITS], key)
            if found:
                way = lowest(found)
                if flags & DIRTY:
                    if s.par[q + P_BACK]:
                        s.entries[first + way] |= np.int32(DIRTY)
                    else:
                        onward = True
                touch(s, q, at, way)
            elif forced or s.par[q + P_FILLS] or s.par[q + P_INCLUSION] == EXCLUSIVE:
                cache = s.par[q + P_CACHE]
                c = cache * N_NUM
                s.counts[c + N_FILLS] += 1
                key |= flags
                if flags & DIRTY and not s.par[q + P_BACK]:
                    key ^= DIRTY
                    s.work[TWO * waiting], s.work[TWO * waiting + ONE] = q + P_NUM, line
                    waiting += ONE
                place = first + room(s, q, first, at)
                left = s.entries[place]
                s.entries[place] = key
                if left >= 0:
                    old = U(left)
                    s.counts[c + N_EVICTIONS] += 1
                    if ahead is not None and old & PREFETCHED:
                        s.counts[c + N_UNUSED] += 1
                    line, flags = ((old >> TWO) << bits) | row, old & DIRTY
                    if s.par[q + P_INCLUSION] == INCLUSIVE:
                        flags |= invalidate(s, rare, ahead, k, s.par[q + P_INNER], line, line_bits)
                    if flags:
                        s.counts[c + N_WRITE_BACKS] += 1
                        onward = True
                    else:
                        onward = s.par[q + P_CLEAN_ON] != U(0)
                    note(s, rare, k, E_EVICT_DIRTY if flags else E_EVICT_CLEAN, cache, line << line_bits)
            else:
                onward = True
        if onward:
            q += P_NUM
        elif waiting:
            waiting -= ONE
            q, line, flags = s.work[TWO * waiting], s.work[TWO * waiting + ONE], DIRTY
        else:
            return
        forced = False


@inlined
def walk(
    s: CacheArrays, rare: Switch, ahead: Switch, k: Whole, start: Whole, end: Whole, line: Whole, write: bool,
    demand: bool, line_bits: Whole,
) -> tuple[Whole, Whole]:  # fmt: skip
    """One access from level `start` on: (first level that held the line, lookups noted for prefetchers).

    A prefetch (no demand) is of a line that its level is known to lack.
    """
    held, looked = LAST, U(0)
    level = start  # that the access is to end in
    while True:
        h, flags = level, U(0)
        if not demand:
            h += P_NUM
        while h != end:
            bits, row, c = s.par[h + P_BITS], line & s.par[h + P_MASK], s.par[h + P_CACHE] * N_NUM
            first, at = s.par[h + P_FIRST] + row * s.par[h + P_WAYS], s.par[h + P_SET] + row
            found = find(s.entries, first, s.par[h + P_WAY_BITS], (line >> bits) << TWO)
            if found:
                way = lowest(found)
                entry = U(s.entries[first + way])
                if demand:
                    s.counts[c + N_HITS] += 1
                    if ahead is not None:
                        if s.par[h + P_PREFETCH]:
                            s.lookups[TWO * looked], s.lookups[TWO * looked + ONE] = h, (entry >> ONE) & ONE
                            looked += ONE
                        if entry & PREFETCHED:
                            s.counts[c + N_USEFUL] += 1
                            entry ^= PREFETCHED
                            s.entries[first + way] = entry
                if h != level and s.par[h + P_INCLUSION] == EXCLUSIVE:
                    remove(s, h, first, at, way)
                    s.counts[c + N_MOVES] += 1
                    note(s, rare, k, E_MOVE, s.par[h + P_CACHE], line << line_bits)
                    flags = entry & DIRTY
                else:
                    if write and h == level and s.par[h + P_BACK]:
                        s.entries[first + way] = entry | DIRTY
                    touch(s, h, at, way)
                break
            if demand:
                s.counts[c + N_MISSES] += 1
                if ahead is not None and s.par[h + P_PREFETCH]:
                    s.lookups[TWO * looked], s.lookups[TWO * looked + ONE] = h, ONE
                    looked += ONE
            h += P_NUM
            if write and h == level + P_NUM and not s.par[level + P_FILLS]:
                level = h  # the store passes by
        if held == LAST:
            held = h
        if h == end:
            if level == end:
                s.totals[T_WRITES] += 1
                note(s, rare, k, E_WRITE, MEMORY, line << line_bits)
                break
            s.totals[T_READS] += 1
            if not demand:
                s.totals[T_PREFETCH_READS] += 1
            note(s, rare, k, E_READ, MEMORY, line << line_bits)
        while h != level:
            h -= P_NUM
            if h != level:
                if s.par[h + P_INCLUSION] == EXCLUSIVE:
                    continue
            elif not demand:
                flags |= PREFETCHED
            elif write and s.par[h + P_BACK]:
                flags |= DIRTY
            fill(s, rare, ahead, k, end, h, line, flags, line_bits)
            flags = U(0)
        if not write or s.par[level + P_BACK]:
            break
        level += P_NUM
    return held, looked


@inlined
def prefetch(
    s: CacheArrays, rare: Switch, ahead: Switch, clock: Switch, k: Whole, core: Whole, end: Whole,
    line: Whole, looked: Whole, line_bits: Whole, page_bits: Whole,
) -> None:  # fmt: skip
    """Bring in what the prefetchers ask for after an access that looked at their levels."""
    for i in range(next_lines(s, line, looked, page_bits - line_bits)):
        q, target = s.ahead[TWO * i], s.ahead[TWO * i + ONE]
        row, cache = target & s.par[q + P_MASK], s.par[q + P_CACHE]
        first = s.par[q + P_FIRST] + row * s.par[q + P_WAYS]
        if find(s.entries, first, s.par[q + P_WAY_BITS], (target >> s.par[q + P_BITS]) << TWO):
            continue
        if clock is not None and s.timing[Q_ON] and not timed_free(s, core, cache):
            s.counts[cache * N_NUM + N_DROPPED] += 1
            continue
        s.counts[cache * N_NUM + N_PREFETCHES] += 1
        note(s, rare, k, E_PREFETCH, cache, target << line_bits)
        held, _ = walk(s, rare, ahead, k, q, end, target, False, False, line_bits)
        if clock is not None and s.timing[Q_ON]:
            timed_prefetch(s, core, q, end, held, target)


@compiled
def run(
    s: CacheArrays, rare: Switch, ahead: Switch, clock: Switch, r: Run, line_bits: Whole, page_bits: Whole,
    begin: Whole,
) -> Whole:  # fmt: skip
    """Accesses from `begin` on; where it stopped: at the end, or before the log is full.

    A switch is True, or None to make a shorter compiled function, which lacks something. rare: the log and
    write combining. ahead: prefetchers. clock: the time model, which `timing` can still have off.
    """
    n, lanes = U(len(r.address)), U(len(s.par)) // U(len(s.depth))
    for k in range(begin, n):
        if rare is not None and len(s.log_access) and s.totals[T_USED] + MARGIN > len(s.log_access):
            return k
        core, write, line = U(r.core[k]), r.write[k], U(r.address[k]) >> line_bits
        base = core * lanes
        end = base + s.depth[core] * P_NUM
        if r.attribute[k] != CACHEABLE:
            if rare is not None:
                r.served[k] = s.depth[core]
                if r.attribute[k] == WRITE_COMBINING:
                    mask = U(0)
                    if write:
                        offset = U(r.address[k]) & ((ONE << line_bits) - ONE)
                        mask = written(offset, U(r.store_bytes[k]), line_bits)
                    combine(s, k, core, line, mask, line_bits)
                    if write:
                        continue
            if clock is not None and s.timing[Q_ON]:
                timed_nc(s, core)
            s.totals[T_NC_WRITES if write else T_NC_READS] += 1
            note(s, rare, k, E_NC_WRITE if write else E_NC_READ, MEMORY, U(r.address[k]))
            continue
        held, looked = walk(s, rare, ahead, k, base, end, line, write, True, line_bits)
        if rare is not None:
            r.served[k] = (held - base) // P_NUM
        if clock is not None and s.timing[Q_ON]:
            timed(s, core, base, end, held, line, write)
        if ahead is not None and looked:
            prefetch(s, rare, ahead, clock, k, core, end, line, looked, line_bits, page_bits)
    return n
