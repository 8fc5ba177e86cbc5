"""The compiled walk of accesses through a hierarchy; the rules are in `pimsim.devices.cache`.

Levels are known by where their lanes begin in `lanes`, first level first; `base` and `end` are the first lane
of the core and that of its memory, after its last level. Numbers are unsigned and of 64 bits.
"""

from __future__ import annotations

from pimsim.compiled import compiled, inlined
from pimsim.devices.cache.combining import combine, written
from pimsim.devices.cache.flight import timed, timed_free, timed_nc, timed_prefetch
from pimsim.devices.cache.log import Switch, note
from pimsim.devices.cache.prefetch import step_of
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
    EMPTY,
    EXCLUSIVE,
    INCLUSIVE,
    LAST,
    M_PREFETCH_READS,
    M_READS,
    M_TIMED,
    M_WRITES,
    MARGIN,
    N_BEGUN,
    N_DROPPED,
    N_ENDED,
    N_FILLS,
    N_IN_EMPTY,
    N_INVALIDATED,
    N_MOVES,
    N_PREFETCHES,
    N_UNUSED,
    N_USEFUL,
    N_WRITE_BACKS,
    P_BACK,
    P_BITS,
    P_CACHE,
    P_CLEAN_ON,
    P_DEGREE,
    P_FILLS,
    P_INCLUSION,
    P_INNER,
    P_MASK,
    P_NUM,
    P_PREFETCH,
    P_SET,
    P_TAKES,
    PREFETCHED,
    T_NC_READS,
    T_NC_WRITES,
    T_USED,
    WRITE_COMBINING,
    CacheArrays,
    Run,
    U,
)
from pimsim.devices.cache.vector import entry_of, look, lowest, mark_entry, put_entry

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
        at, found = look(s, q, line)
        if found:
            way = lowest(found)
            entry = entry_of(s.entries, at, way)
            dirty |= entry & DIRTY
            s.lanes[q + N_INVALIDATED] += ONE
            if ahead is not None:
                s.lanes[q + N_UNUSED] += (entry & PREFETCHED) >> ONE
            remove(s, q, at, way)
            note(s, rare, k, E_INVALIDATE, s.lanes[q + P_CACHE], line << line_bits)
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
    waiting = U(0)
    while True:
        row, bits = line & s.lanes[q + P_MASK], s.lanes[q + P_BITS]
        at = s.lanes[q + P_SET] + row
        entry = ((line >> bits) << TWO) | flags
        s.lanes[q + N_FILLS] += ONE
        if flags & DIRTY and not s.lanes[q + P_BACK]:
            entry ^= DIRTY
            s.work[TWO * waiting], s.work[TWO * waiting + ONE] = q, line
            waiting += ONE
        way = room(s, q, at)
        old = entry_of(s.entries, at, way)
        put_entry(s.entries, at, way, entry)
        onward = False  # whether a victim, or a store that a level passes on, comes to the next level
        if old == EMPTY:
            s.lanes[q + N_IN_EMPTY] += ONE
        else:
            if ahead is not None:
                s.lanes[q + N_UNUSED] += (old & PREFETCHED) >> ONE  # without a branch: nobody can guess it
            line, flags = ((old >> TWO) << bits) | row, old & DIRTY
            if s.lanes[q + P_INCLUSION] == INCLUSIVE:
                flags |= invalidate(s, rare, ahead, k, s.lanes[q + P_INNER], line, line_bits)
            if flags:
                s.lanes[q + N_WRITE_BACKS] += ONE
                onward = True
            else:
                onward = s.lanes[q + P_CLEAN_ON] != U(0)
            note(
                s, rare, k, E_EVICT_DIRTY if flags else E_EVICT_CLEAN, s.lanes[q + P_CACHE], line << line_bits
            )
        while True:
            if not onward:
                if not waiting:
                    return
                waiting -= ONE
                q, line, flags = s.work[TWO * waiting], s.work[TWO * waiting + ONE], DIRTY
            q += P_NUM
            onward = False
            if q == end:  # only dirty lines come this far
                s.lanes[q + M_WRITES] += ONE
                note(s, rare, k, E_WRITE, MEMORY, line << line_bits)
                continue
            at, found = look(s, q, line)
            if found:
                way = lowest(found)
                if flags & DIRTY:
                    if s.lanes[q + P_BACK]:
                        mark_entry(s.entries, at, way, DIRTY)
                    else:
                        onward = True
                touch(s, q, at, way)
            elif s.lanes[q + P_TAKES]:
                break
            else:
                onward = True


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
            at, found = look(s, h, line)
            if found:
                way = lowest(found)
                entry = entry_of(s.entries, at, way)
                if ahead is not None and demand:
                    if s.lanes[h + P_PREFETCH]:
                        s.lookups[TWO * looked], s.lookups[TWO * looked + ONE] = h, (entry >> ONE) & ONE
                        looked += ONE
                    if entry & PREFETCHED:
                        s.lanes[h + N_USEFUL] += ONE
                        entry ^= PREFETCHED
                        put_entry(s.entries, at, way, entry)
                if h != level and s.lanes[h + P_INCLUSION] == EXCLUSIVE:
                    remove(s, h, at, way)
                    s.lanes[h + N_MOVES] += ONE
                    note(s, rare, k, E_MOVE, s.lanes[h + P_CACHE], line << line_bits)
                    flags = entry & DIRTY
                else:
                    if write and h == level and s.lanes[h + P_BACK]:
                        mark_entry(s.entries, at, way, DIRTY)
                    touch(s, h, at, way)
                break
            if demand:
                if ahead is not None and s.lanes[h + P_PREFETCH]:
                    s.lookups[TWO * looked], s.lookups[TWO * looked + ONE] = h, ONE
                    looked += ONE
                if write and not s.lanes[h + P_FILLS] and h == level:
                    level += P_NUM  # the store passes by
            h += P_NUM
        if demand:
            s.lanes[h + N_ENDED] += ONE
        if held == LAST:
            held = h
        if h == end:
            if level == end:
                s.lanes[end + M_WRITES] += ONE
                note(s, rare, k, E_WRITE, MEMORY, line << line_bits)
                break
            s.lanes[end + (M_READS if demand else M_PREFETCH_READS)] += ONE
            note(s, rare, k, E_READ, MEMORY, line << line_bits)
        own = PREFETCHED
        if demand:
            own = DIRTY if write and s.lanes[level + P_BACK] else U(0)
        while h != level:
            h -= P_NUM
            if h == level:
                flags |= own
            elif s.lanes[h + P_INCLUSION] == EXCLUSIVE:
                continue
            fill(s, rare, ahead, k, end, h, line, flags, line_bits)
            flags = U(0)
        if not write or s.lanes[level + P_BACK]:
            break
        level += P_NUM
        s.lanes[level + N_BEGUN] += ONE
    return held, looked


@inlined
def prefetch(
    s: CacheArrays, rare: Switch, ahead: Switch, clock: Switch, k: Whole, end: Whole, line: Whole,
    looked: Whole, line_bits: Whole, page_bits: Whole,
) -> None:  # fmt: skip
    """Bring in what the prefetchers ask for after an access that looked at their levels."""
    page_shift = page_bits - line_bits
    i = U(0)
    while i != looked:
        q, missed = s.lookups[TWO * i], s.lookups[TWO * i + ONE]
        i += ONE
        step = step_of(s, q, line, missed, page_shift)
        if not step:
            continue
        target, last = line, line + step * s.lanes[q + P_DEGREE]
        while target != last:
            target += step
            if target >> page_shift != line >> page_shift:
                break  # so are all after it
            if look(s, q, target)[1]:
                continue
            if clock is not None and (rare is None or s.lanes[end + M_TIMED]) and not timed_free(s, q, end):
                s.lanes[q + N_DROPPED] += ONE
                continue
            s.lanes[q + N_PREFETCHES] += ONE
            note(s, rare, k, E_PREFETCH, s.lanes[q + P_CACHE], target << line_bits)
            held, _ = walk(s, rare, ahead, k, q, end, target, False, False, line_bits)
            if clock is not None and (rare is None or s.lanes[end + M_TIMED]):
                timed_prefetch(s, q, end, held, target)


@compiled
def run(
    s: CacheArrays, rare: Switch, ahead: Switch, clock: Switch, r: Run, line_bits: Whole, page_bits: Whole,
    begin: Whole,
) -> Whole:  # fmt: skip
    """Accesses from `begin` on; where it stopped: at the end, or before the log is full.

    A switch is True, or None to make a shorter compiled function, which lacks something. rare: the log and
    write combining. ahead: prefetchers. clock: the time model, which lanes can still have off if `rare`.
    """
    n, lanes = U(len(r.address)), U(len(s.lanes)) // U(len(s.depth))
    for k in range(begin, n):
        if rare is not None and len(s.log_access) and s.totals[T_USED] + MARGIN > len(s.log_access):
            return k
        core, write, line = U(r.core[k]), r.write[k], U(r.address[k]) >> line_bits
        base = core * lanes
        end = base + s.depth[core]
        if r.attribute[k] != CACHEABLE:
            if rare is not None:
                r.served[k] = s.depth[core] // P_NUM
                if r.attribute[k] == WRITE_COMBINING:
                    mask = U(0)
                    if write:
                        offset = U(r.address[k]) & ((ONE << line_bits) - ONE)
                        mask = written(offset, U(r.store_bytes[k]), line_bits)
                    combine(s, k, core, line, mask, line_bits)
                    if write:
                        continue
            if clock is not None and (rare is None or s.lanes[end + M_TIMED]):
                timed_nc(s, end)
            s.totals[T_NC_WRITES if write else T_NC_READS] += 1
            note(s, rare, k, E_NC_WRITE if write else E_NC_READ, MEMORY, U(r.address[k]))
            continue
        held, looked = walk(s, rare, ahead, k, base, end, line, write, True, line_bits)
        if rare is not None:
            r.served[k] = (held - base) // P_NUM
        if clock is not None and (rare is None or s.lanes[end + M_TIMED]):
            timed(s, ahead, base, end, held, line, write)
        if ahead is not None and looked:
            prefetch(s, rare, ahead, clock, k, end, line, looked, line_bits, page_bits)
    return n
