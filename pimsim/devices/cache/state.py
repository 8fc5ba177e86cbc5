"""State of a cache hierarchy as plain arrays, for the compiled kernel; the names of every column in it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

U = np.uint64
"""Numbers of the kernel are unsigned: signed indices cost a comparison each, for those from the end."""

# Columns of `CacheArrays.lanes`: a row (a lane) for each level of each core, and one for its memory.
(P_HIT_PS, P_MASK, P_BITS, P_SET, P_WAY_BITS, P_POLICY, P_OF_POLICY, P_WAYS, P_CACHE, P_INCLUSION,
 P_BACK, P_FILLS, P_TAKES, P_CLEAN_ON, P_PREFETCH, P_DEGREE, P_INNER, P_ROW) = map(U, range(18))  # fmt: skip
"""P_HIT_PS: of the memory, too. P_MASK: sets - 1. P_BITS: log2 of the sets. P_SET: its first set. P_WAY_BITS:
a bit for each way. P_OF_POLICY: LRU: where the last nibble of a set's word begins; SRRIP: the lower bit of
every way. P_CACHE: number of the cache. P_BACK: write-back. P_FILLS: a store that misses brings the line in.
P_TAKES: a victim or a store passed on may come in. P_CLEAN_ON: the next level is exclusive and takes clean
lines, too. P_INNER: where the list of the caches inside begins. P_ROW: where its row of `rows` begins."""

# What was counted follows in the same lane: of a cache that several cores share, in the lane of the core
# that did it.
COUNTS = (
    "hits", "misses", "fills", "evictions", "write_backs", "back_invalidations", "moves", "prefetches",
    "useful_prefetches", "unused_prefetches", "dropped_prefetches", "merged", "stall_ps",
)  # fmt: skip
(N_ENDED, N_BEGUN, N_FILLS, N_IN_EMPTY, N_WRITE_BACKS, N_INVALIDATED, N_MOVES, N_PREFETCHES, N_USEFUL,
 N_UNUSED, N_DROPPED, N_MERGED, N_STALL) = map(U, range(18, 31))  # fmt: skip
"""The lanes count what is rare instead, where the rest follows from it: N_ENDED: searches of cores that ended
at this level or memory, so they are hits of it and misses of the levels before. N_BEGUN: those that began at
this level and not at the first. N_IN_EMPTY: fills of empty ways, so the other fills are evictions."""
P_NUM = U(32)

# Columns of a memory's lane: the core's clock and limits, and then what was counted.
M_TIMED, M_ISSUE_PS, M_NC_ROW, M_STORE_ROW, M_LIMITED = map(U, range(1, 6))
(M_NOW, M_END, M_NC_STALL, M_STORE_STALL, M_READS, M_WRITES, M_PREFETCH_READS) = map(U, range(6, 13))
"""M_LIMITED: the first level with MSHRs, or what is beyond all lanes. M_STORE_ROW: LAST if stores
have no limit. M_READS: those of cores."""

LRU, TREE_PLRU, RANDOM, SRRIP = map(U, range(4))
NON_INCLUSIVE, INCLUSIVE, EXCLUSIVE = map(U, range(3))
NO_PREFETCH, NEXT_LINE, STRIDE = map(U, range(3))
CACHEABLE, NON_CACHEABLE, WRITE_COMBINING = range(3)

DIRTY, PREFETCHED = U(1), U(2)
"""Flags of an entry."""
NO_TAG, EMPTY = U(2**32 - 4), U(2**32 - 1)
"""An empty entry without its flags, and with them."""
IDENTITY = U(0xFEDCBA9876543210)
"""The word of an empty LRU set: nibble i is way i."""
LAST = U(2**64 - 1)
"""Ends a list."""

# `CacheArrays.totals`.
T_NC_READS, T_NC_WRITES, T_WC_STORES, T_WC_BURSTS, T_WC_PARTIAL, T_USED, T_NUM = range(7)
"""T_USED: rows of the log in use."""

EVENTS = (
    "read", "write", "non-cacheable read", "non-cacheable write", "combined burst", "combined part",
    "evict clean", "evict dirty", "back-invalidate", "move inwards", "prefetch",
)  # fmt: skip
(E_READ, E_WRITE, E_NC_READ, E_NC_WRITE, E_BURST, E_PART, E_EVICT_CLEAN, E_EVICT_DIRTY, E_INVALIDATE, E_MOVE,
 E_PREFETCH) = range(11)  # fmt: skip

PAGE_BYTES = 4096
"""Prefetchers stay inside a page, whose neighbours may lie anywhere in memory; attributes hold for pages."""
STRIDE_ENTRIES = U(16)
"""Pages that a stride prefetcher follows at once."""
MARGIN = 1 << 14
"""Event rows that one access may fill: far more than the levels and prefetches of any hierarchy."""


MOST_WAYS = 16
"""Of a set, which has an entry for each: those that it does not use stay empty."""
SKEW = 9
"""Sets left unused after each cache. A line has the same set in all of them but for a power of two; were they
a power of two of bytes apart, what is read of one would wait for what was just written to another."""

# Columns of `CacheArrays.buckets`.
B_READY, B_ALONE = map(U, range(2))
B_NUM, BUCKET_BITS, LANE_BITS = U(2), U(9), U(12)
SEVERAL = LAST

# Columns of `CacheArrays.rows`.
R_HEAD, R_FREE, R_LATEST, R_FIRST, R_END, R_HALF = map(U, range(6))
R_NUM = U(8)
NO_LIMIT = LAST
"""Head of a row without slots, which is free at any time."""
SLOTS_AT_ONCE = U(8)
"""Rows begin at multiples of this, to be looked at so many slots at a time."""


class CacheArrays(NamedTuple):
    """The arrays of a hierarchy: few, since each that an access needs takes a register, and in one dimension.

    lanes: (cores * (deepest + 1) * P_NUM,), core by core, first level first, the memory after the last.
    depth: (cores,) words of a core's levels.
    entries: (sets * MOST_WAYS,) 4 * tag + flags of every way of every set of every cache, all ones if empty;
      it begins at a line of the machine's own caches.
    order: one word a set. LRU: nibble i is the way used i-th last; empty ways come last. Tree-PLRU: bit i is
      node i of the tree (root 1), set if the victim is on the right. SRRIP: two bits a way. All but LRU: the
      highest bit is set if no way is empty.
    rng: (caches,) of random replacement. totals: (T_NUM,).
    log_access, log_event, log_cache, log_address: (m,) which access, what, which cache (-1: memory), bytes;
      no rows: no log.
    inner: lanes of the caches inside each cache, LAST after those of each.
    strides: (caches * STRIDE_ENTRIES * 4,) page, last line, distance to it, unused.
    rows: (rows * R_NUM,) of lines that may be on their way; one row a cache (MSHRs), then one a core
      (non-cacheable), then one a core (store buffer). Its slots lie in the order in which they become free,
      cyclic from R_HEAD on; when the first and the last one do; where they begin and end; half their number.
    slot_line, slot_ready, slot_id: (slots,) the line in each slot (LAST: none), when it arrives (ps), and the
      slot's number in the row.
    buckets: ((1 << BUCKET_BITS) * B_NUM,) for each bucket of lines, when the last of those arrives that any
      cache waits for (ps): what is past says at once that none of them is on its way. With prefetchers also
      which line (<< LANE_BITS), if it is alone, and the first level that waits for it, else SEVERAL.
    wc_line, wc_mask: (cores * buffers,) lines being combined, oldest first, LAST if none, and which 64ths of
      them are written.
    work: waiting victims of one access. lookups: of one access, for prefetchers.
    """

    lanes: NDArray[np.uint64]
    depth: NDArray[np.uint64]
    entries: NDArray[np.uint32]
    order: NDArray[np.uint64]
    rng: NDArray[np.uint64]
    totals: NDArray[np.int64]
    log_access: NDArray[np.int64]
    log_event: NDArray[np.int8]
    log_cache: NDArray[np.int64]
    log_address: NDArray[np.uint64]
    inner: NDArray[np.uint64]
    strides: NDArray[np.uint64]
    rows: NDArray[np.uint64]
    slot_line: NDArray[np.uint64]
    slot_ready: NDArray[np.uint64]
    slot_id: NDArray[np.uint64]
    buckets: NDArray[np.uint64]
    wc_line: NDArray[np.uint64]
    wc_mask: NDArray[np.uint64]
    work: NDArray[np.uint64]
    lookups: NDArray[np.uint64]


class Run(NamedTuple):
    """Accesses, all (n,). store_bytes: matters to write combining. served: filled by the run."""

    core: NDArray[Any]
    address: NDArray[np.int64]
    write: NDArray[np.bool_]
    attribute: NDArray[np.int8]
    store_bytes: NDArray[np.int32]
    served: NDArray[np.int8]
