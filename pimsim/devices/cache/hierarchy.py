"""Which caches stand between which core and the memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pimsim.devices.cache import state as a
from pimsim.devices.spec import CACHE_INCLUSIONS, CACHE_POLICIES, CACHE_PREFETCHERS, CacheSpec, CpuSpec
from pimsim.errors import SpecError

MOST_LEVELS = 8


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


def arrays(hierarchy: Hierarchy, timing: Timing | None, seed: int, log_rows: int) -> a.CacheArrays:
    """Empty caches."""
    caches = caches_of(hierarchy)
    cores = len(hierarchy.cores)
    deepest = max(map(len, hierarchy.cores)) + len(hierarchy.shared)
    rows: list[list[int]] = []
    entries = sets = 0
    for number, cache in enumerate(caches):
        spec = cache.spec
        rows.append(
            [
                number, spec.sets.bit_length() - 1, spec.ways, entries, sets,
                CACHE_POLICIES.index(spec.policy), CACHE_INCLUSIONS.index(spec.inclusion), spec.write ==
                "back",
                spec.write_allocate and spec.inclusion != "exclusive", CACHE_PREFETCHERS.index(spec.prefetch),
                spec.prefetch_degree, round(spec.hit_ns * 1000),
            ]
        )  # fmt: skip
        entries += spec.sets * spec.ways
        sets += spec.sets
    par, depth = np.zeros((cores, deepest, a.P_NUM), np.int64), np.zeros(cores, np.int64)
    inner = np.full((len(caches), len(caches), 2), -1, np.int64)
    for core in range(cores):
        path = [i for i, cache in enumerate(caches) if cache.core in (core, -1)]
        par[core, : len(path)], depth[core] = [rows[i] for i in path], len(path)
        for level, number in enumerate(path):
            for inside, other in enumerate(path[:level]):
                inner[number, other] = core, inside
    for row in inner:  # without gaps
        row[:] = row[np.argsort(row[:, 0] < 0, kind="stable")]
    timed = timing or Timing()
    slots = np.array(
        [cache.spec.mshrs for cache in caches]
        + [timed.nc_outstanding] * cores
        + [timed.store_buffer] * cores
    )  # fmt: skip
    most = max(1, int(slots.max()))
    rng = (np.arange(len(caches), dtype=np.int64) + 1) * 2654435761 + seed * 40503 + 1
    return a.CacheArrays(
        par=par,
        depth=depth,
        entries=np.full(entries, -1, np.int32),
        order=np.zeros(sets, np.int64),
        rng=np.maximum(rng & 0xFFFFFFFF, 1),
        counts=np.zeros((len(caches), a.N_NUM), np.int64),
        totals=np.zeros(a.T_NUM, np.int64),
        events=np.zeros((log_rows, 4), np.int64),
        inner=inner,
        strides=np.full((len(caches), a.STRIDE_ENTRIES, 4), -1, np.int64),
        slot_line=np.full((len(slots), most), -1, np.int64),
        slot_ready=np.zeros((len(slots), most), np.int64),
        slots=slots.astype(np.int64),
        clock=np.zeros((cores, a.K_NUM), np.int64),
        timing=np.array(
            [timing is not None, round(timed.issue_ns * 1000), round(timed.memory_ns * 1000)], np.int64
        ),
        wc_line=np.full((cores, hierarchy.combining_buffers), -1, np.int64),
        wc_mask=np.zeros((cores, hierarchy.combining_buffers), np.int64),
        work=np.zeros((2 * deepest + 2, 2), np.int64),
        lookups=np.zeros((4 * deepest + 4, 2), np.int64),
        ahead=np.zeros(((4 * deepest + 4) * 16, 2), np.int64),
    )
