"""Caches that persist: run accesses through them, look into them, empty them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pimsim.devices.cache import state as a
from pimsim.devices.cache.combining import drain
from pimsim.devices.cache.hierarchy import (
    Cache,
    Hierarchy,
    Timing,
    arrays,
    caches_of,
    empty,
    sets_of,
    start_clocks,
)
from pimsim.devices.cache.kernel import run
from pimsim.devices.cache.log import with_room
from pimsim.devices.spec import CacheSpec
from pimsim.errors import PlacementError, SpecError
from pimsim.placement.region import Attribute, Region

ATTRIBUTES = (Attribute.CACHEABLE, Attribute.NON_CACHEABLE, Attribute.WRITE_COMBINING)
"""In the order of their codes."""
LOG_ROWS = 4
"""Of an access, to begin with: about what a stream through three levels makes."""


@dataclass(frozen=True, kw_only=True)
class LevelCounts:
    """What one cache did. core: whose it is, -1 if shared.

    hits, misses: accesses of cores that looked here (stores that a write-through level passes on included).
    fills: lines that came in. evictions: lines that made room, write_backs: the dirty ones of them.
    back_invalidations: lines that left because an inclusive level dropped them. moves: hits of an exclusive
    level, whose line moved inwards.
    prefetches: lines brought in ahead; useful: of them, used before they left; unused: left before.
    dropped_prefetches: found no MSHR. merged: misses on lines that were on their way (time model only).
    stall_ns: time that accesses waited for an MSHR of this level (time model only).
    """

    name: str
    core: int
    hits: int
    misses: int
    fills: int
    evictions: int
    write_backs: int
    back_invalidations: int
    moves: int
    prefetches: int
    useful_prefetches: int
    unused_prefetches: int
    dropped_prefetches: int
    merged: int
    stall_ns: float

    @property
    def miss_rate(self) -> float:
        """Misses over accesses, 0 to 1; 0 without accesses."""
        return self.misses / max(1, self.hits + self.misses)

    @property
    def accuracy(self) -> float:
        """Prefetched lines that were used over all that were issued, 0 to 1."""
        return self.useful_prefetches / max(1, self.prefetches)

    @property
    def coverage(self) -> float:
        """Misses that prefetches made hits, over all misses there would have been, 0 to 1."""
        return self.useful_prefetches / max(1, self.useful_prefetches + self.misses)


@dataclass(frozen=True, kw_only=True)
class CacheLog:
    """What happened, in order.

    access: (m,) int64, index of the access that caused it. event: (m,) int8, index in `state.EVENTS`.
    cache: (m,) int64, number of the cache (order of `CacheCounts.levels`), -1: memory.
    address: (m,) uint64, bytes, of the line or, if non-cacheable, as accessed.
    served: (n,) int8, for every access the first level that held the line; the number of levels: memory.
    """

    access: npt.NDArray[np.int64]
    event: npt.NDArray[np.int8]
    cache: npt.NDArray[np.int64]
    address: npt.NDArray[np.uint64]
    served: npt.NDArray[np.int8]

    def where(self, *events: str) -> npt.NDArray[np.bool_]:
        """(m,) bool: which rows are one of these events."""
        return np.isin(self.event, [a.EVENTS.index(name) for name in events])


@dataclass(frozen=True, kw_only=True)
class CacheCounts:
    """Counts of one run. Memory reads and writes are lines, non-cacheable ones and combined bursts accesses.

    prefetch_reads: those of memory_reads that a prefetcher asked for.
    time_ns, nc_stall_ns, store_stall_ns: a core each; None without a time model.
    """

    accesses: int
    line_bytes: int
    levels: tuple[LevelCounts, ...]
    memory_reads: int
    memory_writes: int
    prefetch_reads: int
    non_cacheable_reads: int
    non_cacheable_writes: int
    combined_stores: int
    combined_bursts: int
    combined_parts: int
    time_ns: tuple[float, ...] | None = None
    nc_stall_ns: tuple[float, ...] | None = None
    store_stall_ns: tuple[float, ...] | None = None
    log: CacheLog | None = None

    @property
    def memory_bytes(self) -> int:
        """Bytes of lines that cacheable accesses moved between the last level and the memory."""
        return (self.memory_reads + self.memory_writes) * self.line_bytes

    def to_frame(self) -> pd.DataFrame:
        """A row a cache: its counts, rates, and bytes that came in and went out as write-backs."""
        rows = []
        for level in self.levels:
            row = {f.name: getattr(level, f.name) for f in fields(level)}
            row["miss_rate"] = level.miss_rate
            row["misses_per_1000"] = 1000 * level.misses / max(1, self.accesses)
            row["bytes_in"] = level.fills * self.line_bytes
            row["bytes_out"] = level.write_backs * self.line_bytes
            row["accuracy"], row["coverage"] = level.accuracy, level.coverage
            rows.append(row)
        return pd.DataFrame(rows)


def attributes_of(addresses: npt.ArrayLike, regions: Sequence[Region]) -> npt.NDArray[np.int8]:
    """The attribute code of each address, see `ATTRIBUTES`; an address in no region is a PlacementError.

    Regions must begin and end at pages of 4096 bytes, so that no prefetch crosses into another.
    """
    address = np.asarray(addresses).astype(np.int64)
    ordered = sorted(regions, key=lambda region: region.base)
    for region in ordered:
        if region.base % a.PAGE_BYTES or region.end % a.PAGE_BYTES:
            raise PlacementError(
                f"region {region.name!r}: bytes {region.base} to {region.end}; wanted whole pages of "
                f"{a.PAGE_BYTES} bytes, the grain of attributes"
            )
    bases = np.array([region.base for region in ordered], np.int64)
    ends = np.array([region.end for region in ordered], np.int64)
    codes = np.array([ATTRIBUTES.index(region.attribute) for region in ordered], np.int8)
    place = np.searchsorted(bases, address, side="right") - 1
    outside = place < 0
    if len(ordered):
        outside |= address >= ends[place]
    if outside.any():
        named = ", ".join(region.name for region in ordered) or "none"
        raise PlacementError(
            f"address {int(address[outside.argmax()]):#x} lies in no region; the regions are: {named}"
        )
    return np.asarray(codes[place], np.int8)


def _codes(attributes: object, shape: tuple[int, ...]) -> npt.NDArray[np.int8]:
    if isinstance(attributes, Attribute):
        return np.full(shape, ATTRIBUTES.index(attributes), np.int8)
    held = np.asarray(attributes)
    if held.dtype == np.bool_:  # cacheable or not
        held = np.where(held, a.CACHEABLE, a.NON_CACHEABLE)
    if held.size and (held.min() < 0 or held.max() >= len(ATTRIBUTES)):
        raise SpecError(f"attribute codes {held.min()}..{held.max()}; wanted 0 to {len(ATTRIBUTES) - 1}")
    return np.ascontiguousarray(np.broadcast_to(held.astype(np.int8), shape))


class Caches:
    """The caches of a hierarchy, empty at first; they keep their lines from one run to the next.

    timing: run the time model, too. seed: of random replacement.
    """

    def __init__(self, hierarchy: Hierarchy, *, timing: Timing | None = None, seed: int = 0) -> None:
        self.hierarchy, self.timing = hierarchy, timing
        self.caches = caches_of(hierarchy)
        self._arrays = arrays(hierarchy, timing, seed)

    def run(
        self,
        addresses: npt.ArrayLike,
        writes: npt.ArrayLike = False,
        attributes: object = Attribute.CACHEABLE,
        *,
        cores: npt.ArrayLike = 0,
        store_bytes: npt.ArrayLike = 16,
        drain_stores: bool = True,
        log: bool = False,
    ) -> CacheCounts:
        """Run accesses in this order; the time model lets the cores go on independently.

        addresses: (n,) bytes; an access lies within one line. writes: (n,) bool, or one for all.
        attributes: an `Attribute` for all, (n,) codes (`attributes_of`), or bool for cacheable or not.
        cores: (n,) whose access it is, or one for all.
        store_bytes: (n,) size of stores, or one for all; matters to write combining only.
        drain_stores: write-combining buffers are emptied at the end.
        """
        s, h = self._arrays, self.hierarchy
        given = np.atleast_1d(np.asarray(addresses))
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise SpecError(
                f"addresses of shape {given.shape} and type {given.dtype}; wanted (n,) whole numbers"
            )
        address = np.ascontiguousarray(given, np.int64)
        if given.size and int(address.view(np.uint64).max()) >= h.last_address:  # negative ones, too
            raise SpecError(
                f"addresses {int(given.min())}..{int(given.max())}; wanted 0 to {h.last_address - 1} "
                "(29 bits of tag)"
            )
        try:
            of_cores = np.asarray(cores, np.int16)
            core = np.ascontiguousarray(np.broadcast_to(of_cores, address.shape))
            write = np.ascontiguousarray(np.broadcast_to(np.asarray(writes, np.bool_), address.shape))
            code = _codes(attributes, address.shape)
            sizes = np.asarray(store_bytes, np.int64)
            np.broadcast_to(sizes, address.shape)
        except ValueError as error:
            raise SpecError(f"{len(address)} accesses: {error}") from None
        if core.size and (of_cores.min() < 0 or of_cores.max() >= len(h.cores)):
            raise SpecError(f"cores {of_cores.min()}..{of_cores.max()}; the hierarchy has {len(h.cores)}")
        line_bits = h.line_bytes.bit_length() - 1
        combined = bool(code.size) and int(code.max()) == a.WRITE_COMBINING
        stored = np.zeros(len(address), np.int32)
        if combined:
            _check_stores(address, sizes, code, h.line_bytes)
            stored[:] = sizes
        start_clocks(s)
        r = a.Run(
            core=core,
            address=address,
            write=write,
            attribute=code,
            store_bytes=stored,
            served=np.zeros(len(address), np.int8),
        )
        page_bits = max(a.PAGE_BYTES.bit_length() - 1, line_bits)
        switches = self._switches(log or combined)
        at = 0
        while at < len(address):
            if log:
                s = with_room(s, a.MARGIN + LOG_ROWS * (len(address) - at))
            at = int(run(s, *switches, r, a.U(line_bits), a.U(page_bits), a.U(at)))
        if drain_stores and (s.wc_line != a.LAST).any():
            if log:
                s = with_room(s, len(s.wc_line))
            drain(s, a.U(len(address)), a.U(line_bits))
        return self._counts(len(address), _log(s, r.served) if log else None)

    def _switches(self, rare: bool) -> tuple[bool | None, bool | None, bool | None]:
        """What of the kernel is needed, see `kernel.run`."""
        ahead = rare or any(cache.spec.prefetch != "none" for cache in self.caches)
        clock = rare or self.timing is not None
        return rare or None, ahead or None, clock or None

    def _counts(self, accesses: int, log: CacheLog | None) -> CacheCounts:
        s = self._arrays
        counts = np.zeros((len(self.caches), len(a.COUNTS)), np.int64)
        memories = []
        for core, depth in zip(s.lanes.reshape(len(s.depth), -1), s.depth.tolist(), strict=True):
            lanes = core[: depth + int(a.P_NUM)].reshape(-1, int(a.P_NUM)).astype(np.int64)
            counts[lanes[:-1, int(a.P_CACHE)]] += _counted(lanes)
            memories.append(lanes[-1])
        memory = np.array(memories)
        total, own = memory.sum(axis=0).tolist(), s.totals.tolist()

        def clocks(column: np.uint64) -> tuple[float, ...] | None:
            return tuple(ps / 1000 for ps in memory[:, int(column)].tolist()) if self.timing else None

        return CacheCounts(
            accesses=accesses,
            line_bytes=self.hierarchy.line_bytes,
            levels=tuple(map(_level, self.caches, counts.tolist())),
            memory_reads=total[int(a.M_READS)] + total[int(a.M_PREFETCH_READS)],
            memory_writes=total[int(a.M_WRITES)],
            prefetch_reads=total[int(a.M_PREFETCH_READS)],
            non_cacheable_reads=own[a.T_NC_READS],
            non_cacheable_writes=own[a.T_NC_WRITES],
            combined_stores=own[a.T_WC_STORES],
            combined_bursts=own[a.T_WC_BURSTS],
            combined_parts=own[a.T_WC_PARTIAL],
            time_ns=clocks(a.M_END),
            nc_stall_ns=clocks(a.M_NC_STALL),
            store_stall_ns=clocks(a.M_STORE_STALL),
            log=log,
        )

    def held(self, cache: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Lines that a cache holds, ascending, as address over line_bytes, and whether each is dirty."""
        spec = self.caches[cache].spec
        bits = spec.sets.bit_length() - 1
        sets = self._arrays.entries.reshape(-1, a.MOST_WAYS)[sets_of(self.caches, cache)]
        entries = sets[:, : spec.ways].astype(np.int64)
        lines = ((entries >> 2) << bits) | np.arange(spec.sets)[:, None]
        full = entries != int(a.EMPTY)
        order = np.argsort(lines[full])
        return lines[full][order], ((entries[full] & int(a.DIRTY)) != 0)[order]

    def flush(self) -> int:
        """Empty every cache as software does (clean and invalidate); lines that this writes to memory."""
        dirty = [lines[flags] for lines, flags in (self.held(i) for i in range(len(self.caches)))]
        empty(self._arrays, self.caches)
        return len(np.unique(np.concatenate(dirty)))


def _counted(lanes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(levels, COUNTS) of a core from its lanes, the last of them its memory's."""
    held = lanes[:-1, int(a.N_ENDED) : int(a.N_STALL) + 1].copy()
    ended = lanes[:, int(a.N_ENDED)] - lanes[:, int(a.N_BEGUN)]
    held[:, a.COUNTS.index("misses")] = ended[:0:-1].cumsum()[::-1]
    evictions = a.COUNTS.index("evictions")
    held[:, evictions] = held[:, a.COUNTS.index("fills")] - held[:, evictions]
    return held


def _level(cache: Cache, row: Sequence[int]) -> LevelCounts:
    named: dict[str, Any] = dict(zip(a.COUNTS, row, strict=True))
    stall_ns = named.pop("stall_ps") / 1000
    return LevelCounts(name=cache.spec.name, core=cache.core, stall_ns=stall_ns, **named)


def _log(s: a.CacheArrays, served: npt.NDArray[np.int8]) -> CacheLog:
    used = int(s.totals[a.T_USED])
    return CacheLog(
        access=s.log_access[:used],
        event=s.log_event[:used],
        cache=s.log_cache[:used],
        address=s.log_address[:used],
        served=served,
    )


def _check_stores(
    address: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], code: npt.NDArray[np.int8], line_bytes: int
) -> None:
    """Write-combined accesses lie in a line and in whole 64ths of it, or are a SpecError."""
    offset, grain = address & (line_bytes - 1), max(1, line_bytes // 64)
    bad = (sizes < 1) | (offset + sizes > line_bytes)
    if grain > 1:
        bad |= (offset | sizes) % grain != 0
    bad &= code == a.WRITE_COMBINING
    if bad.any():
        i = int(bad.argmax())
        size = int(np.broadcast_to(sizes, address.shape)[i])
        raise SpecError(
            f"write-combined access of {size} bytes at address {int(address[i]):#x}: wanted within a "
            f"line of {line_bytes} bytes and a multiple of {grain} bytes"
        )


def simulate(
    levels: Sequence[CacheSpec],
    addresses: npt.ArrayLike,
    writes: npt.ArrayLike = False,
    attributes: object = Attribute.CACHEABLE,
    *,
    log: bool = False,
) -> CacheCounts:
    """One core's accesses through levels that begin empty; see `Caches.run`."""
    hierarchy = Hierarchy(cores=(tuple(levels),))
    return Caches(hierarchy).run(addresses, writes, attributes, log=log)
