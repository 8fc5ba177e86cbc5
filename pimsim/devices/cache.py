"""A hierarchy of set-associative caches at line granularity: who hits, and what reaches the memory.

Every level is LRU, write-back and write-allocate; the levels are non-inclusive. One cacheable access:

1. It looks level by level, first to last, until one holds the line, which becomes most recent there.
2. If none does, the memory reads the line. The line is then filled into every level that missed, from
   the last to the first. Only the first level's copy becomes dirty on a write.
3. A full set evicts its least recent line: silently if clean; if dirty, as a write-back to the next
   level, where it is most recent and dirty (allocated without a read if it was absent, which may evict
   in turn), or to the memory after the last level.

A non-cacheable access never hits and never allocates: it goes to the memory as it is, even if some
level holds a cacheable copy of the line; keeping the two apart is the software's duty.

Private and shared levels: a state belongs to a level, so cores share one by passing the same
`CacheState` object, each core's accesses in a call of its own, in the order they are to be seen.

Left out: coherence between cores, prefetchers, timing (`hit_ns` is carried for those who add it up).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pimsim.compiled import counted
from pimsim.errors import SpecError

_Int64 = npt.NDArray[np.int64]
_HITS, _MISSES, _WRITE_BACKS = 0, 1, 2
_READS, _WRITES, _NC_READS, _NC_WRITES = 0, 1, 2, 3


@dataclass(frozen=True, kw_only=True)
class CacheLevel:
    """One level. size_bytes: data only; hit_ns: load-to-use latency of a hit."""

    name: str
    size_bytes: int
    ways: int
    line_bytes: int = 64
    hit_ns: float = 0.0

    def __post_init__(self) -> None:
        if self.line_bytes < 1 or self.line_bytes & (self.line_bytes - 1):
            raise SpecError(f"{self.name}: line_bytes={self.line_bytes} is not a power of two")
        if self.ways < 1 or self.size_bytes < 1:
            raise SpecError(f"{self.name}: size_bytes={self.size_bytes}, ways={self.ways}; wanted at least 1")
        if self.size_bytes % (self.ways * self.line_bytes):
            raise SpecError(
                f"{self.name}: {self.size_bytes} bytes do not divide into sets of "
                f"{self.ways} ways x {self.line_bytes} bytes"
            )
        if self.hit_ns < 0:
            raise SpecError(f"{self.name}: hit_ns={self.hit_ns} is negative")

    @property
    def sets(self) -> int:
        """Number of sets; any number, not only powers of two."""
        return self.size_bytes // (self.ways * self.line_bytes)


class CacheState:
    """What one level holds; `simulate` changes it in place.

    lines: (sets, ways) int64, the most recent first: 2 * line number + dirty, or -1 for an empty way.
    """

    def __init__(self, level: CacheLevel) -> None:
        self.lines: _Int64 = np.full((level.sets, level.ways), -1, np.int64)

    @property
    def held_lines(self) -> int:
        """Lines held, clean or dirty."""
        return int((self.lines >= 0).sum())

    @property
    def dirty_lines(self) -> int:
        """Dirty lines held: what cleaning the level would write."""
        return int(((self.lines >= 0) & (self.lines % 2 == 1)).sum())


@dataclass(frozen=True, kw_only=True)
class LevelCounts:
    """Cacheable accesses that hit or missed here, and dirty lines evicted from here."""

    name: str
    hits: int
    misses: int
    write_backs: int


@dataclass(frozen=True, kw_only=True)
class MemoryLog:
    """What reached the memory, in order: a line's read comes before the write-backs it causes.

    access: (m,) int64, index of the access that caused it; address: (m,) uint64, bytes, of the line or,
    if non-cacheable, as accessed; write, cacheable: (m,) bool.
    served: (n,) int8, for every access the index of the level that hit, or len(levels) for memory.
    """

    access: _Int64
    address: npt.NDArray[np.uint64]
    write: npt.NDArray[np.bool_]
    cacheable: npt.NDArray[np.bool_]
    served: npt.NDArray[np.int8]


@dataclass(frozen=True, kw_only=True)
class CacheCounts:
    """Counts of one `simulate` call. Reads and writes are lines, non-cacheable ones are accesses."""

    levels: tuple[LevelCounts, ...]
    memory_reads: int
    memory_writes: int
    non_cacheable_reads: int
    non_cacheable_writes: int
    log: MemoryLog | None = None


def simulate(
    levels: Sequence[CacheLevel],
    addresses: npt.ArrayLike,
    writes: npt.ArrayLike,
    cacheable: npt.ArrayLike = True,
    *,
    states: Sequence[CacheState] | None = None,
    log: bool = False,
) -> CacheCounts:
    """Run accesses through the levels, the first level first.

    addresses: (n,) uint64, bytes, below 2**62; an access lies within one line.
    writes, cacheable: (n,) bool, or one bool for all.
    states: one per level, changed in place; without them every level starts empty.
    """
    if not levels:
        raise SpecError("a cache hierarchy needs at least one level")
    line_bytes = levels[0].line_bytes
    for level in levels:
        if level.line_bytes != line_bytes:
            raise SpecError(
                f"{level.name}: lines of {level.line_bytes} bytes, but {levels[0].name} has {line_bytes}"
            )
    held = [CacheState(level) for level in levels] if states is None else list(states)
    if [s.lines.shape for s in held] != [(level.sets, level.ways) for level in levels]:
        raise SpecError(f"states of {[s.lines.shape for s in held]} do not fit {[v.name for v in levels]}")
    if len({id(s) for s in held}) < len(held):
        raise SpecError("two levels share one state")
    given = np.atleast_1d(np.asarray(addresses))
    if given.size and (int(given.max()) >= 1 << 62 or int(given.min()) < 0):
        raise SpecError(f"addresses {int(given.min())}..{int(given.max())}: wanted 0 to 2**62 - 1")
    address = np.ascontiguousarray(given, np.int64)
    write = np.ascontiguousarray(np.broadcast_to(np.asarray(writes, np.bool_), address.shape))
    cached = np.ascontiguousarray(np.broadcast_to(np.asarray(cacheable, np.bool_), address.shape))
    counts = np.zeros((len(levels), 3), np.int64)
    memory = np.zeros(4, np.int64)
    served = np.zeros(len(address) if log else 0, np.int8)
    entries = _run(
        tuple(s.lines for s in held),
        line_bytes.bit_length() - 1,
        address,
        write,
        cached,
        counts,
        memory,
        served,
        np.zeros((1024 if log else 0, 3), np.int64),
    )
    return CacheCounts(
        levels=tuple(
            LevelCounts(
                name=v.name, hits=int(c[_HITS]), misses=int(c[_MISSES]), write_backs=int(c[_WRITE_BACKS])
            )
            for v, c in zip(levels, counts, strict=True)
        ),
        memory_reads=int(memory[_READS]),
        memory_writes=int(memory[_WRITES]),
        non_cacheable_reads=int(memory[_NC_READS]),
        non_cacheable_writes=int(memory[_NC_WRITES]),
        log=_memory_log(entries, served) if log else None,
    )


def _memory_log(entries: _Int64, served: npt.NDArray[np.int8]) -> MemoryLog:
    """entries: (m, 3) access, address, kind as an index of the memory counts."""
    kind = entries[:, 2]
    return MemoryLog(
        access=entries[:, 0].copy(),
        address=entries[:, 1].astype(np.uint64),
        write=(kind == _WRITES) | (kind == _NC_WRITES),
        cacheable=kind <= _WRITES,
        served=served,
    )


@counted
def _find(ways: _Int64, line: int) -> int:
    """The way that holds `line`, or -1. ways: (ways,) of one set."""
    for way in range(len(ways)):
        if ways[way] >> 1 == line:
            return way
        if ways[way] < 0:  # empty ways come last
            return -1
    return -1


@counted
def _to_front(ways: _Int64, way: int, entry: int) -> None:
    """Put `entry` first and move the ways before `way` one back, over what `way` held."""
    for i in range(way, 0, -1):
        ways[i] = ways[i - 1]
    ways[0] = entry


@counted
def _fill(lines: tuple[_Int64, ...], counts: _Int64, level: int, entry: int) -> int:
    """Allocate `entry`, absent from `level`; the line number that this writes to memory, or -1."""
    while level < len(lines):
        held = lines[level]
        ways = held[(entry >> 1) % held.shape[0]]
        way = _find(ways, entry >> 1)
        if way >= 0:  # a write-back finds an older copy
            _to_front(ways, way, entry)
            return -1
        victim = ways[-1]
        _to_front(ways, len(ways) - 1, entry)
        if victim < 0 or victim & 1 == 0:
            return -1
        counts[level, _WRITE_BACKS] += 1
        entry = victim
        level += 1
    return entry >> 1


@counted
def _append(log: _Int64, used: int, access: int, address: int, kind: int) -> _Int64:
    """The log with one more entry at `used`, doubled if it was full."""
    if used == len(log):
        longer = np.empty((2 * used, 3), np.int64)
        longer[:used] = log
        log = longer
    log[used, 0], log[used, 1], log[used, 2] = access, address, kind
    return log


@counted
def _run(
    lines: tuple[_Int64, ...],
    line_bits: int,
    address: _Int64,
    write: npt.NDArray[np.bool_],
    cached: npt.NDArray[np.bool_],
    counts: _Int64,
    memory: _Int64,
    served: npt.NDArray[np.int8],
    log: _Int64,
) -> _Int64:
    """Step through the accesses; the log entries, none if `log` came in empty."""
    logging, used, last = len(log) > 0, 0, len(lines)
    for i in range(len(address)):
        if not cached[i]:
            kind = _NC_WRITES if write[i] else _NC_READS
            memory[kind] += 1
            if logging:
                served[i] = last
                log = _append(log, used, i, address[i], kind)
                used += 1
            continue
        line = address[i] >> line_bits
        dirty = np.int64(write[i])
        level = 0
        while level < last:
            ways = lines[level][line % lines[level].shape[0]]
            way = _find(ways, line)
            if way >= 0:
                counts[level, _HITS] += 1
                _to_front(ways, way, ways[way] | (dirty if level == 0 else 0))
                break
            counts[level, _MISSES] += 1
            level += 1
        if logging:
            served[i] = level
        if level == last:
            memory[_READS] += 1
            if logging:
                log = _append(log, used, i, line << line_bits, _READS)
                used += 1
        for below in range(level - 1, -1, -1):
            evicted = _fill(lines, counts, below, line << 1 | (dirty if below == 0 else 0))
            if evicted >= 0:
                memory[_WRITES] += 1
                if logging:
                    log = _append(log, used, i, evicted << line_bits, _WRITES)
                    used += 1
    return log[:used]
