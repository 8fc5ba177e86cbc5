"""Which caches stand between which core and the memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pimsim.devices.cache import state as a
from pimsim.devices.cache.state import U
from pimsim.devices.spec import CACHE_INCLUSIONS, CACHE_POLICIES, CACHE_PREFETCHERS, CacheSpec, CpuSpec
from pimsim.errors import SpecError

MOST_LEVELS = 8
Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What the time model takes besides the levels' `hit_ns` and `mshrs`.

    issue_ns: a core's time between two accesses. memory_ns: from leaving the last level to the data.
    nc_outstanding, store_buffer: non-cacheable accesses and stores in flight a core; 0: no limit.
    """

    issue_ns: float = 0.25
    memory_ns: float = 100.0
    nc_outstanding: int = 0
    store_buffer: int = 0

    def __post_init__(self) -> None:
        for name in ("issue_ns", "memory_ns", "nc_outstanding", "store_buffer"):
            if getattr(self, name) < 0:
                raise SpecError(f"cache timing: {name}={getattr(self, name)}; wanted at least 0")


@dataclass(frozen=True, kw_only=True)
class Hierarchy:
    """Private levels of each core, first level first, then the levels that all of them share.

    combining_buffers: lines that each core combines at once in write-combining regions.
    """

    cores: tuple[tuple[CacheSpec, ...], ...]
    shared: tuple[CacheSpec, ...] = ()
    combining_buffers: int = 4

    def __post_init__(self) -> None:
        if not self.cores:
            raise SpecError("cache hierarchy: no core; wanted the private levels of at least one")
        if self.combining_buffers < 1:
            raise SpecError(f"cache hierarchy: combining_buffers={self.combining_buffers}; wanted at least 1")
        for core in range(len(self.cores)):
            self._check(core, self.levels(core))

    def levels(self, core: int = 0) -> tuple[CacheSpec, ...]:
        """The levels that a core sees, first level first."""
        return (*self.cores[core], *self.shared)

    def _check(self, core: int, levels: tuple[CacheSpec, ...]) -> None:
        of = f"cache hierarchy, core {core}"
        if not 1 <= len(levels) <= MOST_LEVELS:
            raise SpecError(f"{of}: {len(levels)} levels; wanted 1 to {MOST_LEVELS}")
        line = levels[0].line_bytes
        for number, level in enumerate(levels):
            if level.line_bytes != line:
                raise SpecError(
                    f"{of}: {level.name} has lines of {level.line_bytes} bytes, {levels[0].name} of {line}"
                )
            if number == 0 and level.inclusion != "non-inclusive":
                raise SpecError(f"{of}: {level.name} is {level.inclusion} but no level is before it")
            if level.inclusion == "inclusive":
                for inner in levels[:number]:
                    if inner.size_bytes > level.size_bytes:
                        raise SpecError(
                            f"{of}: {level.name} of {level.size_bytes} bytes cannot be inclusive of "
                            f"{inner.name} of {inner.size_bytes}"
                        )
            if level.inclusion == "exclusive":
                if levels[number - 1].write != "back":
                    raise SpecError(
                        f"{of}: {level.name} is exclusive, so {levels[number - 1].name} must take its dirty "
                        f"lines; write={levels[number - 1].write!r}, wanted 'back'"
                    )
                if level.prefetch != "none":
                    raise SpecError(
                        f"{of}: {level.name} is exclusive and holds only what {levels[number - 1].name} "
                        f"evicted; prefetch={level.prefetch!r}, wanted 'none'"
                    )

    @property
    def line_bytes(self) -> int:
        return self.levels()[0].line_bytes

    @property
    def last_address(self) -> int:
        """Addresses lie below: what 29 bits of tag reach in the level with the fewest sets."""
        fewest = min(level.sets for core in range(len(self.cores)) for level in self.levels(core))
        return fewest * self.line_bytes << 29


def cpu_hierarchy(cpu: CpuSpec, cores: Sequence[int] = (0,)) -> Hierarchy:
    """The caches of some cores (numbers in `cpu.cores`) of a CPU and what they share."""
    for number in cores:
        if not 0 <= number < len(cpu.cores):
            raise SpecError(f"{cpu.name}: no core {number}; it has {len(cpu.cores)}, numbered from 0")
    return Hierarchy(cores=tuple((cpu.cores[i].l1, cpu.cores[i].l2) for i in cores), shared=cpu.shared)


@dataclass(frozen=True, kw_only=True)
class Cache:
    """One cache of a hierarchy. core: its number, -1 if all share it. level: from 0, the first."""

    spec: CacheSpec
    core: int
    level: int


def caches_of(hierarchy: Hierarchy) -> tuple[Cache, ...]:
    """Private caches core by core, then the shared ones: the numbering of every table."""
    private = [
        Cache(spec=spec, core=core, level=level)
        for core, levels in enumerate(hierarchy.cores)
        for level, spec in enumerate(levels)
    ]
    first = max(map(len, hierarchy.cores))
    shared = [Cache(spec=spec, core=-1, level=first + i) for i, spec in enumerate(hierarchy.shared)]
    return (*private, *shared)


def arrays(hierarchy: Hierarchy, timing: Timing | None, seed: int) -> a.CacheArrays:
    """Empty caches."""
    caches = caches_of(hierarchy)
    cores = len(hierarchy.cores)
    deepest = max(map(len, hierarchy.cores)) + len(hierarchy.shared)
    paths = [[i for i, cache in enumerate(caches) if cache.core in (core, -1)] for core in range(cores)]
    lanes = np.zeros((cores, deepest + 1, int(a.P_NUM)), np.uint64)
    lane_of = np.arange(0, lanes.size, int(a.P_NUM)).reshape(cores, deepest + 1)
    inner: list[int] = []
    rows: list[list[int]] = []
    sets = 0
    for number, cache in enumerate(caches):
        spec = cache.spec
        policy = U(CACHE_POLICIES.index(spec.policy))
        of_policy = 4 * (spec.ways - 1) if policy == a.LRU else 0x55555555 & ((1 << 2 * spec.ways) - 1)
        exclusive = spec.inclusion == "exclusive"
        rows.append(
            [
                round(spec.hit_ns * 1000), spec.sets - 1, spec.sets.bit_length() - 1, sets,
                (1 << spec.ways) - 1, int(policy), of_policy, spec.ways, number,
                CACHE_INCLUSIONS.index(spec.inclusion), spec.write == "back",
                spec.write_allocate and not exclusive, spec.write_allocate or exclusive, False,
                CACHE_PREFETCHERS.index(spec.prefetch), spec.prefetch_degree, len(inner),
                number * int(a.R_NUM),
            ]
        )  # fmt: skip
        sets += spec.sets + a.SKEW
        inside = {
            path[level]: int(lane_of[core, level])
            for core, path in enumerate(paths)
            if number in path
            for level in range(path.index(number))
        }
        inner += [*(lane for _, lane in sorted(inside.items())), int(a.LAST)]
    timed = timing or Timing()
    for core, path in enumerate(paths):
        lanes[core, : len(path), : len(rows[0])] = [rows[i] for i in path]
        memory = lanes[core, len(path)]
        memory[int(a.P_HIT_PS)] = round(timed.memory_ns * 1000)
        memory[int(a.M_TIMED)] = timing is not None
        memory[int(a.M_ISSUE_PS)] = round(timed.issue_ns * 1000)
        memory[int(a.M_NC_ROW)] = (len(caches) + core) * int(a.R_NUM)
        stores = (len(caches) + cores + core) * int(a.R_NUM)
        memory[int(a.M_STORE_ROW)] = stores if timed.store_buffer else a.LAST
        limited = [lane_of[core, level] for level, i in enumerate(path) if caches[i].spec.mshrs]
        memory[int(a.M_LIMITED)] = min(limited, default=lanes.size)
        clean_on = lanes[core, 1 : len(path), int(a.P_INCLUSION)] == a.EXCLUSIVE
        lanes[core, : len(path) - 1, int(a.P_CLEAN_ON)] = clean_on
    slots = np.array(
        [cache.spec.mshrs for cache in caches]
        + [timed.nc_outstanding] * cores
        + [timed.store_buffer] * cores
    )  # fmt: skip
    rows_of_slots = _rows(slots)
    places = int(rows_of_slots[-1, int(a.R_END)] + a.SLOTS_AT_ONCE)
    rng = (np.arange(len(caches), dtype=np.int64) + 1) * 2654435761 + seed * 40503 + 1
    held = a.CacheArrays(
        lanes=lanes.ravel(),
        depth=np.array([len(path) * int(a.P_NUM) for path in paths], np.uint64),
        entries=_aligned(sets * a.MOST_WAYS, np.uint32),
        order=np.zeros(sets, np.uint64),
        rng=np.maximum(rng & 0xFFFFFFFF, 1).astype(np.uint64),
        totals=np.zeros(a.T_NUM, np.int64),
        log_access=np.zeros(0, np.int64),
        log_event=np.zeros(0, np.int8),
        log_cache=np.zeros(0, np.int64),
        log_address=np.zeros(0, np.uint64),
        inner=np.array(inner, np.uint64),
        strides=np.full(len(caches) * int(a.STRIDE_ENTRIES) * 4, a.LAST, np.uint64),
        rows=rows_of_slots.ravel(),
        slot_line=_aligned(places, np.uint64),
        slot_ready=np.zeros(places, np.uint64),
        slot_id=np.zeros(places, np.uint64),
        buckets=np.zeros(int(a.B_NUM) << int(a.BUCKET_BITS), np.uint64),
        wc_line=np.full(cores * hierarchy.combining_buffers, a.LAST, np.uint64),
        wc_mask=np.zeros(cores * hierarchy.combining_buffers, np.uint64),
        work=np.zeros((2 * deepest + 2) * 2, np.uint64),
        lookups=np.zeros((4 * deepest + 4) * 2, np.uint64),
    )
    empty(held, caches)
    start_clocks(held)
    return held


def _aligned(length: int, kind: type[Number]) -> NDArray[Number]:
    """Zeros from a line of the machine's own caches on."""
    size = np.dtype(kind).itemsize
    held = np.zeros(length + 64 // size, kind)
    first = -held.ctypes.data % 64 // size
    return held[first : first + length]


def sets_of(caches: Sequence[Cache], number: int) -> slice:
    """The sets of a cache."""
    first = sum(other.spec.sets + a.SKEW for other in caches[:number])
    return slice(first, first + caches[number].spec.sets)


def empty(s: a.CacheArrays, caches: Sequence[Cache]) -> None:
    """Take every line out of the caches."""
    s.entries[:], s.order[:] = a.EMPTY, 0
    for number, cache in enumerate(caches):
        if cache.spec.policy == "lru":
            s.order[sets_of(caches, number)] = a.IDENTITY


def start_clocks(s: a.CacheArrays) -> None:
    """No time has passed, nothing was counted, and no line is on its way."""
    s.totals[:], s.slot_line[:], s.slot_ready[:], s.buckets[:] = 0, a.LAST, 0, 0
    cores = len(s.depth)
    for core, depth in zip(s.lanes.reshape(cores, -1), s.depth.tolist(), strict=True):
        core[:depth].reshape(-1, int(a.P_NUM))[:, int(a.N_ENDED) :] = 0
        core[depth + int(a.M_NOW) : depth + int(a.P_NUM)] = 0
    for row in s.rows.reshape(-1, int(a.R_NUM)):
        first, end = int(row[int(a.R_FIRST)]), int(row[int(a.R_END)])
        limited = first < end
        row[int(a.R_HEAD)] = first if limited else a.NO_LIMIT
        row[int(a.R_FREE)], row[int(a.R_LATEST)] = 0, 0 if limited else a.LAST
        s.slot_id[first:end] = np.arange(end - first)


def _rows(slots: NDArray[np.int64]) -> NDArray[np.uint64]:
    """`CacheArrays.rows` of so many slots each, but for their heads."""
    rows = np.zeros((len(slots), int(a.R_NUM)), np.uint64)
    padded = -(-slots // int(a.SLOTS_AT_ONCE)) * int(a.SLOTS_AT_ONCE)
    first = np.cumsum(padded) - padded
    rows[:, int(a.R_FIRST)], rows[:, int(a.R_END)], rows[:, int(a.R_HALF)] = first, first + slots, slots // 2
    return rows
