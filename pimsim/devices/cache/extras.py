"""What the walk needs now and then, compiled: write combining, prefetchers, and time with its limits."""

from __future__ import annotations

from pimsim.compiled import compiled, inlined, inner
from pimsim.devices.cache.state import (
    E_BURST,
    E_PART,
    K_END,
    K_NC_STALL,
    K_NOW,
    K_STORE_STALL,
    N_MERGED,
    N_STALL,
    NEXT_LINE,
    P_CACHE,
    P_DEGREE,
    P_HIT_PS,
    P_PREFETCH,
    Q_ISSUE_PS,
    Q_MEMORY_PS,
    STRIDE_ENTRIES,
    T_USED,
    T_WC_BURSTS,
    T_WC_PARTIAL,
    T_WC_STORES,
    CacheArrays,
)

ALL_WRITTEN = -1


@inlined
def _send(s: CacheArrays, k: int, core: int, i: int, line_bits: int) -> None:
    """Write combining buffer `i` goes to memory, and those after it move up."""
    whole = s.wc_mask[core, i] == ALL_WRITTEN
    s.totals[T_WC_BURSTS if whole else T_WC_PARTIAL] += 1
    if len(s.events):
        used = s.totals[T_USED]
        s.events[used, 0], s.events[used, 1] = k, E_BURST if whole else E_PART
        s.events[used, 2], s.events[used, 3] = -1, s.wc_line[core, i] << line_bits
        s.totals[T_USED] = used + 1
    last = s.wc_line.shape[1] - 1
    for j in range(i, last):
        s.wc_line[core, j], s.wc_mask[core, j] = s.wc_line[core, j + 1], s.wc_mask[core, j + 1]
    s.wc_line[core, last] = -1


@inner
def combine(s: CacheArrays, k: int, core: int, line: int, mask: int, line_bits: int) -> None:
    """One store of a write-combining region; a line that is whole leaves at once."""
    s.totals[T_WC_STORES] += 1
    at = -1
    for i in range(s.wc_line.shape[1]):
        if s.wc_line[core, i] == line:
            s.wc_mask[core, i] |= mask
            at = i
            break
        if s.wc_line[core, i] < 0:
            s.wc_line[core, i], s.wc_mask[core, i] = line, mask
            at = i
            break
    if at < 0:  # all are taken: the oldest leaves
        _send(s, k, core, 0, line_bits)
        at = s.wc_line.shape[1] - 1
        s.wc_line[core, at], s.wc_mask[core, at] = line, mask
    if s.wc_mask[core, at] == ALL_WRITTEN:
        _send(s, k, core, at, line_bits)


@inner
def flush_line(s: CacheArrays, k: int, core: int, line: int, line_bits: int) -> None:
    """A load of a line that is being combined lets its stores go first."""
    for i in range(s.wc_line.shape[1]):
        if s.wc_line[core, i] == line:
            _send(s, k, core, i, line_bits)
            return


@compiled
def drain(s: CacheArrays, k: int, line_bits: int) -> None:
    """All combined stores go to memory, core by core, the oldest first."""
    for core in range(len(s.wc_line)):
        while s.wc_line[core, 0] >= 0:
            _send(s, k, core, 0, line_bits)


@inner
def next_lines(s: CacheArrays, core: int, line: int, looked: int, page_shift: int) -> int:
    """Fill `ahead` with (level, line) that the prefetchers ask for, the first to go last; how many."""
    found = 0
    for i in range(looked):
        level, missed = s.lookups[i, 0], s.lookups[i, 1]
        p = s.par[core, level]
        step = 0
        if p[P_PREFETCH] == NEXT_LINE:
            step = missed
        else:
            page = line >> page_shift
            entry = s.strides[p[P_CACHE], page % STRIDE_ENTRIES]
            if entry[0] != page:
                entry[0], entry[1], entry[2], entry[3] = page, line, 0, 0
            elif line != entry[1]:
                if line - entry[1] == entry[2]:
                    entry[3] = 1
                else:
                    entry[2], entry[3] = line - entry[1], 0
                entry[1] = line
                if entry[3]:
                    step = entry[2]
        if step:
            for d in range(1, p[P_DEGREE] + 1):
                target = line + d * step
                if target >> page_shift == line >> page_shift:
                    s.ahead[found, 0], s.ahead[found, 1] = level, target
                    found += 1
    for i in range(found // 2):
        j = found - 1 - i
        for column in range(2):
            s.ahead[i, column], s.ahead[j, column] = s.ahead[j, column], s.ahead[i, column]
    return found


@inlined
def _on_its_way(s: CacheArrays, row: int, line: int, now: int) -> int:
    """When a line that a slot waits for arrives, or -1."""
    for q in range(s.slots[row]):
        if s.slot_line[row, q] == line and s.slot_ready[row, q] > now:
            return s.slot_ready[row, q]
    return -1


@inlined
def _free_at(s: CacheArrays, row: int, now: int) -> int:
    """The earliest time, not before `now`, at which a slot of the row is free."""
    if s.slots[row] == 0:
        return now
    best = s.slot_ready[row, 0]
    for q in range(1, s.slots[row]):
        best = min(best, s.slot_ready[row, q])
    return max(best, now)


@inlined
def _take(s: CacheArrays, row: int, line: int, ready: int) -> None:
    """The slot of the row that is free first holds `line` until `ready`."""
    if s.slots[row]:
        q = 0
        for i in range(1, s.slots[row]):
            if s.slot_ready[row, i] < s.slot_ready[row, q]:
                q = i
        s.slot_line[row, q], s.slot_ready[row, q] = line, ready


@inner
def timed(s: CacheArrays, core: int, held: int, line: int, write: bool) -> None:
    """When a cacheable access can go and when it is done; held: the level that had the line."""
    now, depth = s.clock[core, K_NOW], s.depth[core]
    from_level, arrives = held, -1
    for i in range(min(held, depth - 1) + 1):
        arrives = _on_its_way(s, s.par[core, i, P_CACHE], line, now)
        if arrives >= 0:
            s.counts[s.par[core, i, P_CACHE], N_MERGED] += 1
            from_level = i
            break
    for i in range(from_level):
        c = s.par[core, i, P_CACHE]
        free = _free_at(s, c, now)
        s.counts[c, N_STALL] += free - now
        now = free
    stores = len(s.counts) + len(s.depth) + core
    if write:
        free = _free_at(s, stores, now)
        s.clock[core, K_STORE_STALL] += free - now
        now = free
    if from_level < depth:
        done = max(now, arrives) + s.par[core, from_level, P_HIT_PS]
    else:
        done = now + s.timing[Q_MEMORY_PS]
    for i in range(from_level):
        _take(s, s.par[core, i, P_CACHE], line, done)
    if write:
        _take(s, stores, line, done)
    s.clock[core, K_NOW] = now + s.timing[Q_ISSUE_PS]
    s.clock[core, K_END] = max(s.clock[core, K_END], done)


@inner
def timed_nc(s: CacheArrays, core: int) -> None:
    """The same of a non-cacheable access, which goes to memory whatever it is."""
    row = len(s.counts) + core
    now = _free_at(s, row, s.clock[core, K_NOW])
    s.clock[core, K_NC_STALL] += now - s.clock[core, K_NOW]
    done = now + s.timing[Q_MEMORY_PS]
    _take(s, row, -1, done)
    s.clock[core, K_NOW] = now + s.timing[Q_ISSUE_PS]
    s.clock[core, K_END] = max(s.clock[core, K_END], done)


@inner
def timed_prefetch(s: CacheArrays, core: int, level: int, held: int, line: int) -> None:
    """A prefetch takes an MSHR of its level until its line arrives from the level that held it."""
    wait = s.par[core, held, P_HIT_PS] if held < s.depth[core] else s.timing[Q_MEMORY_PS]
    _take(s, s.par[core, level, P_CACHE], line, s.clock[core, K_NOW] + wait)
