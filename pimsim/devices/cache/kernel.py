"""The compiled walk of accesses through a hierarchy; the rules are in `pimsim.devices.cache`."""

from __future__ import annotations

from pimsim.compiled import compiled, inlined
from pimsim.devices.cache.extras import combine, flush_line, next_lines, timed, timed_nc, timed_prefetch
from pimsim.devices.cache.replace import find, remove, replace, touch
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
    K_NOW,
    MARGIN,
    N_DROPPED,
    N_EVICTIONS,
    N_FILLS,
    N_HITS,
    N_INVALIDATED,
    N_MISSES,
    N_MOVES,
    N_PREFETCHES,
    N_UNUSED,
    N_USEFUL,
    N_WRITE_BACKS,
    P_BACK,
    P_BITS,
    P_CACHE,
    P_FILLS,
    P_FIRST,
    P_INCLUSION,
    P_PREFETCH,
    P_SET,
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
)


@inlined
def note(s: CacheArrays, access: int, event: int, cache: int, address: int) -> None:
    """One more row of the log, if there is one."""
    if len(s.events):
        used = s.totals[T_USED]
        row = s.events[used]
        row[0], row[1], row[2], row[3] = access, event, cache, address
        s.totals[T_USED] = used + 1


@inlined
def invalidate(s: CacheArrays, k: int, c: int, line: int, line_bits: int) -> int:
    """Take a line out of the caches inside `c`; DIRTY if one of them held it so."""
    dirty = 0
    for i in range(s.inner.shape[1]):
        if s.inner[c, i, 0] < 0:
            break
        p = s.par[s.inner[c, i, 0], s.inner[c, i, 1]]
        first = p[P_FIRST] + (line & ((1 << p[P_BITS]) - 1)) * p[P_WAYS]
        way = find(s.entries, first, p[P_WAYS], (line >> p[P_BITS]) << 2)
        if way >= 0:
            entry, inner = s.entries[first + way], p[P_CACHE]
            dirty |= entry & DIRTY
            s.counts[inner, N_INVALIDATED] += 1
            if entry & PREFETCHED:
                s.counts[inner, N_UNUSED] += 1
            remove(s, p, first, way)
            note(s, k, E_INVALIDATE, inner, line << line_bits)
    return dirty


@inlined
def fill(
    s: CacheArrays, k: int, core: int, depth: int, level: int, line: int, flags: int, line_bits: int
) -> None:
    """Put a line into a level that lacks it; victims move outwards until none is left."""
    waiting, forced = 0, True
    while True:
        onward = False
        if level == depth:  # only dirty lines come this far
            s.totals[T_WRITES] += 1
            note(s, k, E_WRITE, -1, line << line_bits)
        else:
            p = s.par[core, level]
            bits, ways = p[P_BITS], p[P_WAYS]
            row = line & ((1 << bits) - 1)
            first, at, key = p[P_FIRST] + row * ways, p[P_SET] + row, (line >> bits) << 2
            way = -1
            if not forced:
                way = find(s.entries, first, ways, key)
            if way >= 0:
                entry = s.entries[first + way]
                if flags & DIRTY:
                    if p[P_BACK]:
                        entry |= DIRTY
                    else:
                        onward = True
                touch(s, p, first, at, way, entry)
            elif forced or p[P_FILLS] or p[P_INCLUSION] == EXCLUSIVE:
                counts = s.counts[p[P_CACHE]]
                counts[N_FILLS] += 1
                if p[P_BACK]:
                    key |= flags
                else:
                    key |= flags & ~DIRTY
                    if flags & DIRTY:
                        s.work[waiting, 0], s.work[waiting, 1] = level + 1, line
                        waiting += 1
                old = replace(s, p, first, at, key)
                if old >= 0:
                    counts[N_EVICTIONS] += 1
                    if old & PREFETCHED:
                        counts[N_UNUSED] += 1
                    line = ((old >> 2) << bits) | row
                    flags = old & DIRTY
                    if p[P_INCLUSION] == INCLUSIVE:
                        flags |= invalidate(s, k, p[P_CACHE], line, line_bits)
                    if flags:
                        counts[N_WRITE_BACKS] += 1
                        onward = True
                    else:
                        onward = level + 1 < depth and s.par[core, level + 1, P_INCLUSION] == EXCLUSIVE
                    note(s, k, E_EVICT_DIRTY if flags else E_EVICT_CLEAN, p[P_CACHE], line << line_bits)
            else:
                onward = True
        if onward:
            level += 1
        elif waiting:
            waiting -= 1
            level, line, flags = s.work[waiting, 0], s.work[waiting, 1], DIRTY
        else:
            return
        forced = False


@inlined
def walk(
    s: CacheArrays,
    k: int,
    core: int,
    depth: int,
    line: int,
    write: bool,
    start: int,
    demand: bool,
    line_bits: int,
) -> tuple[int, int]:
    """One access from level `start` on: (first level that held the line, lookups noted for prefetchers)."""
    held, looked = -1, 0
    level = start  # that the access is to end in
    while True:
        h, entry = level, -1
        while h < depth:
            p = s.par[core, h]
            bits, ways = p[P_BITS], p[P_WAYS]
            row = line & ((1 << bits) - 1)
            first = p[P_FIRST] + row * ways
            way = find(s.entries, first, ways, (line >> bits) << 2)
            if way >= 0:
                entry = s.entries[first + way]
                if demand:
                    s.counts[p[P_CACHE], N_HITS] += 1
                    if p[P_PREFETCH]:
                        s.lookups[looked, 0], s.lookups[looked, 1] = h, 1 if entry & PREFETCHED else 0
                        looked += 1
                    if entry & PREFETCHED:
                        s.counts[p[P_CACHE], N_USEFUL] += 1
                        entry &= ~PREFETCHED
                if h > level and p[P_INCLUSION] == EXCLUSIVE:
                    remove(s, p, first, way)
                    s.counts[p[P_CACHE], N_MOVES] += 1
                    note(s, k, E_MOVE, p[P_CACHE], line << line_bits)
                    entry &= DIRTY
                else:
                    if h == level and write and p[P_BACK]:
                        entry |= DIRTY
                    touch(s, p, first, p[P_SET] + row, way, entry)
                    entry = 0
                break
            if demand:
                s.counts[p[P_CACHE], N_MISSES] += 1
                if p[P_PREFETCH]:
                    s.lookups[looked, 0], s.lookups[looked, 1] = h, 1
                    looked += 1
            h += 1
            if write and h == level + 1 and not p[P_FILLS]:
                level = h  # the store passes by
        if held < 0:
            held = h
        if h == depth:
            if level == depth:
                s.totals[T_WRITES] += 1
                note(s, k, E_WRITE, -1, line << line_bits)
                break
            s.totals[T_READS] += 1
            if not demand:
                s.totals[T_PREFETCH_READS] += 1
            note(s, k, E_READ, -1, line << line_bits)
            entry = 0
        for j in range(h - 1, level - 1, -1):
            if j > level:
                if s.par[core, j, P_INCLUSION] == EXCLUSIVE:
                    continue
            elif not demand:
                entry |= PREFETCHED
            elif write and s.par[core, j, P_BACK]:
                entry |= DIRTY
            fill(s, k, core, depth, j, line, entry, line_bits)
            entry = 0
        if not write or s.par[core, level, P_BACK]:
            break
        level += 1
    return held, looked


@compiled
def run(s: CacheArrays, r: Run, line_bits: int, page_bits: int, begin: int) -> int:
    """Accesses from `begin` on; where it stopped: at the end, or before the log is full."""
    logged, on = len(s.events), s.timing[Q_ON] != 0
    for k in range(begin, len(r.address)):
        if logged and s.totals[T_USED] + MARGIN > logged:
            return k
        core, address, write = r.core[k], r.address[k], r.write[k]
        line, depth = address >> line_bits, s.depth[core]
        if r.attribute[k] != CACHEABLE:
            r.served[k] = depth
            if r.attribute[k] == WRITE_COMBINING:
                if write:
                    combine(s, k, core, line, r.mask[k], line_bits)
                    continue
                flush_line(s, k, core, line, line_bits)
            s.totals[T_NC_WRITES if write else T_NC_READS] += 1
            note(s, k, E_NC_WRITE if write else E_NC_READ, -1, address)
            if on:
                timed_nc(s, core)
            continue
        ahead, target, start, demand = 0, line, 0, True
        while True:
            held, looked = walk(s, k, core, depth, target, write and demand, start, demand, line_bits)
            if demand:
                r.served[k] = held
                if on:
                    timed(s, core, held, line, write)
                if looked:
                    ahead = next_lines(s, core, line, looked, page_bits - line_bits)
                demand = False
            elif on:
                timed_prefetch(s, core, start, held, target)
            more = False
            while ahead and not more:
                ahead -= 1
                start, target = s.ahead[ahead, 0], s.ahead[ahead, 1]
                p = s.par[core, start]
                c, bits, ways = p[P_CACHE], p[P_BITS], p[P_WAYS]
                first = p[P_FIRST] + (target & ((1 << bits) - 1)) * ways
                if find(s.entries, first, ways, (target >> bits) << 2) < 0:
                    if on and not timed_free(s, core, c):
                        s.counts[c, N_DROPPED] += 1
                    else:
                        s.counts[c, N_PREFETCHES] += 1
                        note(s, k, E_PREFETCH, c, target << line_bits)
                        more = True
            if not more:
                break
    return len(r.address)


@inlined
def timed_free(s: CacheArrays, core: int, c: int) -> bool:
    """Whether a prefetch finds an MSHR of cache `c`."""
    free = s.slots[c] == 0
    for q in range(s.slots[c]):
        free |= s.slot_ready[c, q] <= s.clock[core, K_NOW]
    return free
