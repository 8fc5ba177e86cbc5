"""How many line accesses a second do the caches do? Writes results_cache.md.

Processor time of this process, warm (compiled), one core, the fastest of five runs. The plain hierarchy in
dictionaries that the tests compare with runs in the same call, on the beginning of the same accesses.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
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

RUNS = 5
PLAIN_ACCESSES = 40_000
SIZE_BYTES = 64 * 2**20
WANTED = 20e6  # line accesses a second and core of an ordinary hierarchy

CPU = part("exynos-2400", CpuSpec)
ORDINARY = (CPU.cores[0].l1, CPU.cores[0].l2, CPU.shared[1])
"""L1, L2 and system cache of a Cortex-X4: LRU, write-back, non-inclusive."""


def seconds(work: Callable[[], object]) -> float:
    """The fastest of some runs, after one that compiles."""
    work()
    taken = []
    for _ in range(RUNS):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def rate(hierarchy: Hierarchy, accesses: Walk, timing: Timing | None = None, **more: Any) -> float:
    """Line accesses a second through caches that are warm."""
    caches = Caches(hierarchy, timing=timing)
    return len(accesses) / seconds(lambda: caches.run(accesses.addresses, accesses.writes, **more))


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
    lines = [
        "# Speed of the caches",
        "",
        f"Line accesses a second of one core, warm, the fastest of {RUNS} runs of processor time. Written by",
        f"`benchmarks/cache_speed.py` (Python {platform.python_version()}, Numba {numba.__version__}, NumPy",
        f"{np.__version__}, {platform.machine()}). Wanted of such hierarchies: {WANTED / 1e6:.0f} million.",
        "",
        f"## L1, L2, system cache of a Cortex-X4; walks over {SIZE_BYTES >> 20} MiB (gemm: 512 x 512 x 512)",
        "",
        "| walk | accesses | million a second | in dictionaries | times as fast |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, accesses in walks.items():
        ours, plain = rate(one, accesses), plain_rate(one, accesses)
        row = f"| {name} | {len(accesses):,} | {ours / 1e6:.1f} | {plain / 1e6:.3f} | {ours / plain:,.0f} |"
        lines.append(row)
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
    lines += [
        "",
        "## Other hierarchies, million accesses a second",
        "",
        "Accesses of cores. Lines that a prefetcher asks for come on top: on the stream about as many again.",
        "",
        f"| hierarchy | {' | '.join(columns)} |",
        f"| --- |{' ---: |' * len(columns)}",
    ]
    for name, hierarchy, timing in others:
        rates = [rate(hierarchy, walks[w], timing) / 1e6 for w in columns]
        lines.append(f"| {name} | {' | '.join(f'{r:.1f}' for r in rates)} |")
    stream, stores = walks["stream"], walks["writes only"]
    uncached: dict[str, Any] = {"attributes": Attribute.NON_CACHEABLE}
    combining: dict[str, Any] = {"attributes": Attribute.WRITE_COMBINING, "store_bytes": 64}
    lines += [
        "",
        "## Streams that pass the caches by, and the log, million accesses a second",
        "",
        "| what | rate |",
        "| --- | ---: |",
        f"| non-cacheable loads | {rate(one, stream, **uncached) / 1e6:.0f} |",
        f"| non-cacheable loads, time model | {rate(one, stream, buffers, **uncached) / 1e6:.0f} |",
        f"| write-combining stores | {rate(one, stores, **combining) / 1e6:.0f} |",
        f"| cacheable loads with a log of all that happens | {rate(one, stream, log=True) / 1e6:.1f} |",
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    write_up(report, __doc__, "results_cache.md")
