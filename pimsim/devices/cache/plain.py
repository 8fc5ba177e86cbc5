"""The compiled walk for plain hierarchies, several times as fast as `kernel.run` and with the same counts.

Plain: every level is write-back, write-allocate and non-inclusive and has no prefetcher; nothing is logged
or timed, and nothing is write-combining. Unsigned indices, because a signed one costs a comparison each.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pimsim.compiled import compiled, inlined
from pimsim.devices.cache.replace import Whole, find, replace, shift, touch
from pimsim.devices.cache.state import (
    CACHEABLE,
    DIRTY,
    LRU,
    N_EVICTIONS,
    N_FILLS,
    N_HITS,
    N_MISSES,
    N_WRITE_BACKS,
    P_BITS,
    P_CACHE,
    P_FIRST,
    P_POLICY,
    P_SET,
    P_WAYS,
    T_NC_READS,
    T_NC_WRITES,
    T_READS,
    T_WRITES,
    CacheArrays,
)

U = np.uint64
ONE, TWO = U(1), U(2)

# Columns of `lanes`: eight unsigned numbers for each level of each core, one after the other.
BITS, WAYS, MASK, FIRST, SET, CACHE, POLICY, WIDTH = U(0), U(1), U(2), U(3), U(4), U(5), U(6), U(8)


class Lanes(NamedTuple):
    """Parameters of every level of every core, core by core.

    lanes: (cores * depth * WIDTH,) log2 of the sets, ways, sets - 1, first entry, first word, cache, policy.
    depth: levels of a core, the same for all. par: (cores * depth, P_NUM), the rows of `CacheArrays.par`.
    """

    lanes: NDArray[np.uint64]
    depth: np.uint64
    par: NDArray[np.int64]


def lanes_of(par: NDArray[np.int64]) -> Lanes:
    """From (cores, depth, P_NUM)."""
    rows = par.reshape(-1, par.shape[2])
    made = np.zeros((len(rows), int(WIDTH)), np.uint64)
    made[:, 0], made[:, 1] = rows[:, P_BITS], rows[:, P_WAYS]
    made[:, 2] = (1 << rows[:, P_BITS]) - 1
    made[:, 3], made[:, 4], made[:, 5] = rows[:, P_FIRST], rows[:, P_SET], rows[:, P_CACHE]
    made[:, 6] = rows[:, P_POLICY]
    return Lanes(lanes=made.ravel(), depth=U(par.shape[1]), par=np.ascontiguousarray(rows))


@inlined
def _used(s: CacheArrays, g: Lanes, lane: Whole, first: Whole, row: Whole, way: int, dirty: int) -> None:
    """`way` of a set was used, and becomes dirty or stays as it is."""
    entry = s.entries[first + U(way)] | np.int32(dirty)
    if g.lanes[lane * WIDTH + POLICY] == U(LRU):
        if way:
            shift(s.entries, first, way, entry)
        else:
            s.entries[first] = entry
    else:
        touch(s, g.par[lane], np.int64(first), np.int64(g.lanes[lane * WIDTH + SET] + row), way, entry)


@compiled
def run_plain(
    s: CacheArrays, g: Lanes, core: NDArray[np.int16], address: NDArray[np.int64], write: NDArray[np.bool_],
    attribute: NDArray[np.int8], line_bits: int,
) -> None:  # fmt: skip
    """All accesses, in order."""
    for k in range(len(address)):
        if attribute[k] != CACHEABLE:
            s.totals[T_NC_WRITES if write[k] else T_NC_READS] += 1
            continue
        begin = U(core[k]) * g.depth
        end = begin + g.depth
        line, dirty = U(address[k]) >> U(line_bits), DIRTY if write[k] else 0
        lane = begin
        while lane < end:
            q = lane * WIDTH
            bits, ways, row = g.lanes[q + BITS], g.lanes[q + WAYS], line & g.lanes[q + MASK]
            first = g.lanes[q + FIRST] + row * ways
            way = find(s.entries, first, ways, np.int32((line >> bits) << TWO))
            if way >= 0:
                s.counts[g.lanes[q + CACHE], N_HITS] += 1
                _used(s, g, lane, first, row, way, dirty if lane == begin else 0)
                break
            s.counts[g.lanes[q + CACHE], N_MISSES] += 1
            lane += ONE
        if lane == end:
            s.totals[T_READS] += 1
        while lane > begin:
            lane -= ONE
            at, flag, level = line, np.int32(dirty if lane == begin else 0), lane
            while True:  # the line, then the victims that it drives out
                q = level * WIDTH
                bits, ways, row = g.lanes[q + BITS], g.lanes[q + WAYS], at & g.lanes[q + MASK]
                first = g.lanes[q + FIRST] + row * ways
                key = np.int32((at >> bits) << TWO)
                if level > lane:
                    way = find(s.entries, first, ways, key)
                    if way >= 0:
                        _used(s, g, level, first, row, way, DIRTY)
                        break
                c = g.lanes[q + CACHE]
                s.counts[c, N_FILLS] += 1
                if g.lanes[q + POLICY] == U(LRU):
                    old = s.entries[first + (ways - ONE)]
                    shift(s.entries, first, np.int64(ways) - 1, key | flag)
                else:
                    old = replace(
                        s, g.par[level], np.int64(first), np.int64(g.lanes[q + SET] + row), key | flag
                    )
                if old < 0:
                    break
                s.counts[c, N_EVICTIONS] += 1
                if old & DIRTY == 0:
                    break
                s.counts[c, N_WRITE_BACKS] += 1
                at, flag = (U(old >> 2) << bits) | row, np.int32(DIRTY)
                level += ONE
                if level == end:
                    s.totals[T_WRITES] += 1
                    break
