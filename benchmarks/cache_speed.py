"""How many line accesses a second do the caches do? Writes results_cache.md.

Processor time of this process, warm (compiled), one core, the fastest run of several passes over all rows: a
machine that others use, too, is slower for seconds at a time. The plain hierarchy in dictionaries that the
tests compare with runs in the same call, on the beginning of the same accesses.
"""

from __future__ import annotations

import platform
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numba
import numpy as np
from write_up import write_up

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from devices.plain_cache import PlainCaches

from pimsim.devices import CpuSpec, part
from pimsim.devices.cache import Caches, Hierarchy, Timing
from pimsim.devices.cache.patterns import PATTERNS, Walk, walk
from pimsim.devices.spec import CACHE_POLICIES
from pimsim.placement.region import Attribute

RUNS, PASSES = 4, 4
PLAIN_ACCESSES = 40_000
SIZE_BYTES = 64 * 2**20
WANTED = 20  # million line accesses a second and core

CPU = part("exynos-2400", CpuSpec)
ORDINARY = (CPU.cores[0].l1, CPU.cores[0].l2, CPU.shared[1])
"""L1, L2 and system cache of a Cortex-X4: LRU, write-back, non-inclusive."""


class Case:
    """Accesses through caches that are warm, and the fastest run of them so far."""

    def __init__(self, hierarchy: Hierarchy, accesses: Walk, timing: Timing | None = None, **more: Any):
        self.hierarchy, self.timing, self.accesses, self.more = hierarchy, timing, accesses, more
        self.seconds, self.prefetched = float("inf"), 0

    def measure(self) -> None:
        """Some runs, after one that compiles and fills the caches."""
        caches = Caches(self.hierarchy, timing=self.timing)
        for number in range(RUNS + 1):
            start = time.process_time()
            counts = caches.run(self.accesses.addresses, self.accesses.writes, **self.more)
            if number:
                self.seconds = min(self.seconds, time.process_time() - start)
        self.prefetched = sum(level.prefetches for level in counts.levels)

    @property
    def rate(self) -> float:
        """Line accesses of the core a second, in millions."""
        return len(self.accesses) / self.seconds / 1e6

    @property
    def with_prefetches(self) -> float:
        """The same with the lines that prefetchers brought in."""
        return (len(self.accesses) + self.prefetched) / self.seconds / 1e6


def changed(**fields: Any) -> Hierarchy:
    """The ordinary levels with other fields: one value for all, or a dict of level names, "" for the rest."""
    levels = []
    for spec in ORDINARY:
        own = {
            name: value.get(spec.name, value[""]) if isinstance(value, dict) else value
            for name, value in fields.items()
        }
        levels.append(replace(spec, **own))
    return Hierarchy(cores=(tuple(levels),))


def plain_rate(hierarchy: Hierarchy, accesses: Walk) -> float:
    """The same of the dictionaries, once and on fewer accesses."""
    plain = PlainCaches(hierarchy)
    rows = list(zip(accesses.addresses[:PLAIN_ACCESSES].tolist(), accesses.writes.tolist(), strict=False))
    start = time.process_time()
    for address, write in rows:
        plain.access(0, address, write, "cacheable", 64)
    return len(rows) / (time.process_time() - start)


def report() -> str:
    """The whole of results_cache.md."""
    one = Hierarchy(cores=(ORDINARY,))
    walks = {name: walk(name, SIZE_BYTES) for name in PATTERNS if name != "gemm"}
    walks["gemm"] = walk("gemm", 6 * 512 * 512)
    walks["writes only"] = Walk(addresses=walks["stream"].addresses, writes=~walks["stream"].writes)
    fits = np.arange(1 << 20) % 8192 * 64
    walks["half a MiB, over and over"] = Walk(addresses=fits, writes=np.zeros(len(fits), bool))
    stride, mshrs = {"L2": "stride", "": "none"}, {"L2": 48, "": 16}
    inclusive = {"SLC": "inclusive", "": "non-inclusive"}
    exclusive = {"SLC": "exclusive", "": "non-inclusive"}
    buffers = Timing(store_buffer=64, nc_outstanding=6)
    others: list[tuple[str, Hierarchy, Timing | None]] = [
        *((f"all levels {policy}", changed(policy=policy), None) for policy in CACHE_POLICIES),
        ("L1, L2, L3 and system cache", Hierarchy(cores=((*ORDINARY[:2], *CPU.shared),)), None),
        ("system cache inclusive", changed(inclusion=inclusive), None),
        ("system cache exclusive", changed(inclusion=exclusive), None),
        ("L1 write-through", changed(write={"L1": "through", "": "back"}), None),
        ("stride prefetcher at L2", changed(prefetch=stride), None),
        ("next-line prefetcher at L1", changed(prefetch={"L1": "next-line", "": "none"}), None),
        ("time model, MSHRs", changed(mshrs=mshrs), Timing()),
        ("time model, MSHRs, store buffer", changed(mshrs=mshrs), buffers),
        ("time model, system cache inclusive", changed(mshrs=mshrs, inclusion=inclusive), Timing()),
        ("time model, stride prefetcher at L2", changed(mshrs=mshrs, prefetch=stride), Timing()),
    ]
    columns = ("stream", "random", "reuse", "gemm", "writes only")
    stream, stores = walks["stream"], walks["writes only"]
    uncached: dict[str, Any] = {"attributes": Attribute.NON_CACHEABLE}
    combining: dict[str, Any] = {"attributes": Attribute.WRITE_COMBINING, "store_bytes": 64}
    ordinary = {name: Case(one, accesses) for name, accesses in walks.items()}
    table = {name: [Case(h, walks[w], timing) for w in columns] for name, h, timing in others}
    besides = {
        "non-cacheable loads": Case(one, stream, **uncached),
        "non-cacheable loads, time model": Case(one, stream, buffers, **uncached),
        "write-combining stores": Case(one, stores, **combining),
        "cacheable loads with a log of all that happens": Case(one, stream, log=True),
    }
    for _ in range(PASSES):
        for case in (
            *ordinary.values(),
            *(case for row in table.values() for case in row),
            *besides.values(),
        ):
            case.measure()
    lines = [
        "# Speed of the caches",
        "",
        f"Line accesses a second of one core, warm, the fastest of {PASSES} times {RUNS} runs of processor",
        f"time. Written by `benchmarks/cache_speed.py` (Python {platform.python_version()},",
        f"Numba {numba.__version__}, NumPy {np.__version__}, {platform.machine()}).",
        f"Wanted of all hierarchies: {WANTED} million.",
        "",
        f"## L1, L2, system cache of a Cortex-X4; walks over {SIZE_BYTES >> 20} MiB (gemm: 512 x 512 x 512)",
        "",
        "| walk | accesses | million a second | in dictionaries | times as fast |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, case in ordinary.items():
        plain = plain_rate(one, case.accesses) / 1e6
        row = (
            f"| {name} | {len(case.accesses):,} | {case.rate:.1f} | {plain:.3f} | {case.rate / plain:,.0f} |"
        )
        lines.append(row)
    lines += [
        "",
        "## Other hierarchies, million accesses a second",
        "",
        "Accesses of cores. A line that a prefetcher brings in is an access of the caches, too, which looks",
        "at its level and those after it: the rows below hierarchies with a prefetcher count both.",
        "",
        f"| hierarchy | {' | '.join(columns)} |",
        f"| --- |{' ---: |' * len(columns)}",
    ]
    for name, row_of in table.items():
        lines.append(f"| {name} | {' | '.join(f'{case.rate:.1f}' for case in row_of)} |")
        if any(case.prefetched for case in row_of):
            both = " | ".join(f"{case.with_prefetches:.1f}" for case in row_of)
            lines.append(f"| - with the lines prefetched | {both} |")
    every = [*ordinary.values(), *(case for row_of in table.values() for case in row_of)]
    slowest = min(case.rate for case in every)
    lines += [
        "",
        f"The slowest of all these does {slowest:.1f} million accesses of cores a second.",
        "",
        "## Streams that pass the caches by, and the log, million accesses a second",
        "",
        "| what | rate |",
        "| --- | ---: |",
        *(f"| {name} | {case.rate:.{0 if case.rate >= 50 else 1}f} |" for name, case in besides.items()),
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    write_up(report, __doc__, "results_cache.md")
