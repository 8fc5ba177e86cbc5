"""State of a cache hierarchy as plain arrays, for the compiled kernel; the names of every column in it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Columns of `CacheArrays.par`, a row for each level of each core.
(P_CACHE, P_BITS, P_WAYS, P_FIRST, P_SET, P_POLICY, P_INCLUSION, P_BACK, P_FILLS, P_PREFETCH, P_DEGREE,
 P_HIT_PS, P_NUM) = range(13)  # fmt: skip
"""P_CACHE: number of the cache. P_BITS: log2 of the sets. P_FIRST, P_SET: where its entries and its sets
begin. P_BACK: write-back. P_FILLS: a store that misses brings the line in."""

LRU, TREE_PLRU, RANDOM, SRRIP = range(4)
NON_INCLUSIVE, INCLUSIVE, EXCLUSIVE = range(3)
NO_PREFETCH, NEXT_LINE, STRIDE = range(3)
CACHEABLE, NON_CACHEABLE, WRITE_COMBINING = range(3)

DIRTY, PREFETCHED = 1, 2
"""Flags of an entry."""

# Columns of `CacheArrays.counts`, one row a cache.
COUNTS = (
    "hits", "misses", "fills", "evictions", "write_backs", "back_invalidations", "moves", "prefetches",
    "useful_prefetches", "unused_prefetches", "dropped_prefetches", "merged", "stall_ps",
)  # fmt: skip
(N_HITS, N_MISSES, N_FILLS, N_EVICTIONS, N_WRITE_BACKS, N_INVALIDATED, N_MOVES, N_PREFETCHES, N_USEFUL,
 N_UNUSED, N_DROPPED, N_MERGED, N_STALL, N_NUM) = range(14)  # fmt: skip

# Columns of `CacheArrays.totals`.
(T_READS, T_WRITES, T_PREFETCH_READS, T_NC_READS, T_NC_WRITES, T_WC_STORES, T_WC_BURSTS, T_WC_PARTIAL, T_USED,
 T_NUM) = range(10)  # fmt: skip
"""T_USED: rows of `events` in use."""

EVENTS = (
    "read", "write", "non-cacheable read", "non-cacheable write", "combined burst", "combined part",
    "evict clean", "evict dirty", "back-invalidate", "move inwards", "prefetch",
)  # fmt: skip
(E_READ, E_WRITE, E_NC_READ, E_NC_WRITE, E_BURST, E_PART, E_EVICT_CLEAN, E_EVICT_DIRTY, E_INVALIDATE, E_MOVE,
 E_PREFETCH) = range(11)  # fmt: skip

# Columns of `CacheArrays.clock`, one row a core.
K_NOW, K_END, K_NC_STALL, K_STORE_STALL, K_NUM = range(5)
# Columns of `CacheArrays.timing`.
Q_ON, Q_ISSUE_PS, Q_MEMORY_PS, Q_NUM = range(4)

PAGE_BYTES = 4096
"""Prefetchers stay inside a page, whose neighbours may lie anywhere in memory; attributes hold for pages."""
STRIDE_ENTRIES = 16
"""Pages that a stride prefetcher follows at once."""
MARGIN = 1 << 14
"""Event rows that one access may fill: far more than the levels and prefetches of any hierarchy."""


class CacheArrays(NamedTuple):
    """The arrays of a hierarchy.

    par: (cores, deepest, P_NUM), first level first. depth: (cores,) levels of a core.
    entries: 4 * tag + flags of every way of every set of every cache, -1 if empty; LRU sets hold the most
      recent first.
    order: one word a set. Tree-PLRU: bit i is node i of the tree (root 1), set if the victim is on the right.
      SRRIP: two bits a way.
    rng: (caches,) of random replacement. counts: (caches, N_NUM). totals: (T_NUM,).
    events: (m, 4) access, event, cache or -1, address; no rows: no log.
    inner: (caches, most, 2) core and level of each cache inside, -1 after the last.
    strides: (caches, STRIDE_ENTRIES, 4) page, last line, stride, 1 if it came twice.
    slot_line, slot_ready: lines on their way and when they arrive (ps): one row a cache (MSHRs), then one a
      core (non-cacheable), then one a core (store buffer). slots: (rows,) how many there are, 0: no limit.
    clock: (cores, K_NUM) ps. timing: (Q_NUM,).
    wc_line, wc_mask: (cores, buffers) lines being combined, oldest first, and which 64ths are written.
    work: waiting victims of one access. lookups: of one access, for prefetchers. ahead: lines to prefetch.
    """

    par: NDArray[np.int64]
    depth: NDArray[np.int64]
    entries: NDArray[np.int32]
    order: NDArray[np.int64]
    rng: NDArray[np.int64]
    counts: NDArray[np.int64]
    totals: NDArray[np.int64]
    events: NDArray[np.int64]
    inner: NDArray[np.int64]
    strides: NDArray[np.int64]
    slot_line: NDArray[np.int64]
    slot_ready: NDArray[np.int64]
    slots: NDArray[np.int64]
    clock: NDArray[np.int64]
    timing: NDArray[np.int64]
    wc_line: NDArray[np.int64]
    wc_mask: NDArray[np.int64]
    work: NDArray[np.int64]
    lookups: NDArray[np.int64]
    ahead: NDArray[np.int64]


class Run(NamedTuple):
    """Accesses, all (n,). mask: 64ths of a line that a store writes. served: filled by the run."""

    core: NDArray[Any]
    address: NDArray[np.int64]
    write: NDArray[np.bool_]
    attribute: NDArray[np.int8]
    mask: NDArray[np.int64]
    served: NDArray[np.int8]
