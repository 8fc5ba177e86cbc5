"""CPU cores as requesters: what a thread's part of an operator asks of memory, and how long it computes.

A GEMM thread reads its rows of the weights as one stream whose pace is the core's arithmetic; how often
each weight line comes from memory is measured on the cache model. A swizzled copy alternates between
non-cacheable loads of one run and the fills of the destination lines. Vector operators work on data in
the caches. Left out: instruction fetch, TLB misses, frequency changes under heat, and the activations'
own memory traffic beyond the caches (they fit for the prompts of the reproduced figures).
"""

from __future__ import annotations

import numpy as np

from pimsim.devices.cache import simulate
from pimsim.devices.dram.stream import Phase, Stream
from pimsim.devices.spec import CacheSpec, CoreSpec, CpuSpec
from pimsim.placement.layout import PimLayout
from pimsim.reuse import kept

MR, NR = 8, 8
"""Rows of activations and of weights that one pass of the GEMM kernel holds in registers."""
LINE_BYTES = 64
PS = 1000  # picoseconds a nanosecond


def split(total: int, parts: int) -> list[int]:
    """`total` in `parts` nearly equal static shares, larger ones first."""
    return [total // parts + (i < total % parts) for i in range(parts)]


@kept(most=512, to_text=repr, from_text=float)
def weight_passes(
    core: CoreSpec, shared: tuple[CacheSpec, ...], m: int, k: int, bits: int, cacheable: bool
) -> float:
    """How often a blocked GEMM of `m` rows fetches each weight line from memory.

    The kernel walks panels of NR weight rows; inside, blocks of MR activation rows; inside, k. The cache
    model runs three panels and counts memory accesses of the later two (the first warms the caches).
    """
    w_lines = -(-k * bits // (8 * LINE_BYTES))  # of one weight row
    a_lines = -(-k * 2 // LINE_BYTES)
    blocks = -(-m // MR)
    panels = 3
    w_base, a_base = 1 << 32, 1 << 30
    depth = np.arange(w_lines)
    columns = np.concatenate([depth * LINE_BYTES + r * w_lines * LINE_BYTES for r in range(NR)])
    per_row = np.concatenate([np.arange(a_lines) * LINE_BYTES + r * a_lines * LINE_BYTES for r in range(MR)])
    address, is_weight = [], []
    for panel in range(panels):
        for block in range(blocks):
            address += [a_base + block * MR * a_lines * LINE_BYTES + per_row]
            address += [w_base + panel * NR * w_lines * LINE_BYTES + columns]
            is_weight += [np.zeros(len(per_row), bool), np.ones(len(columns), bool)]
    addresses, weights = np.concatenate(address).astype(np.uint64), np.concatenate(is_weight)
    log = simulate(
        (core.l1, core.l2, *shared), addresses, False, np.where(weights, cacheable, True), log=True
    ).log
    assert log is not None
    reads = log.where("read", "non-cacheable read")
    fetched = int((reads & (log.address >= w_base + NR * w_lines * LINE_BYTES)).sum())
    return fetched / ((panels - 1) * NR * w_lines)


def windows(cpu: CpuSpec, cores: list[CoreSpec], burst_bytes: int) -> list[int]:
    """Bursts in flight of each core when these cores stream together.

    The cluster's limit is shared fairly: each core gets what it can use, the rest in equal parts.
    """
    left, lines = cpu.cluster_lines, [0] * len(cores)
    modest_first = sorted(range(len(cores)), key=lambda i: cores[i].lines_outstanding)
    for waiting, i in zip(range(len(cores), 0, -1), modest_first, strict=True):
        lines[i] = min(cores[i].lines_outstanding, left // waiting)
        left -= lines[i]
    return [max(1, n * LINE_BYTES // burst_bytes) for n in lines]


def gemm_rate(core: CoreSpec, rows: int) -> float:
    """GFLOPS of a GEMM thread that has `rows` weight rows: short shares spend more on filling caches."""
    return core.peak_gflops * core.gemm_efficiency * rows / (rows + core.gemm_fill_rows)


def gemm_streams(
    cpu: CpuSpec,
    cores: list[CoreSpec],
    m: int,
    n: int,
    k: int,
    bits: int,
    burst_bytes: int,
    cacheable: bool = True,
) -> list[Stream]:
    """One stream a thread for C[m, n] = A[m, k] W[n, k]^T, rows of W split equally (static)."""
    streams = []
    for core, rows, window in zip(cores, split(n, len(cores)), windows(cpu, cores, burst_bytes), strict=True):
        passes = weight_passes(core, cpu.shared, m, k, bits, cacheable)
        bursts = max(1, round(rows * k * bits / 8 * passes / burst_bytes))
        flops = 2 * m * (8 * burst_bytes // bits) / passes  # that go with one burst of weights
        rate = gemm_rate(core, rows) if m > 1 else core.peak_gflops * core.gemm_efficiency
        if not cacheable:
            window = core.nc_outstanding * LINE_BYTES // burst_bytes
        kind = "gemm" if m > 1 else "gemv"
        streams.append(_reads(kind, bursts, window, flops / rate * PS, cpu.path_ns, burst_bytes))
    return streams


def read_streams(
    cpu: CpuSpec, cores: list[CoreSpec], size_bytes: int, flops: float, burst_bytes: int, kind: str
) -> list[Stream]:
    """One stream a thread over `size_bytes` that all threads read once, with `flops` of arithmetic."""
    streams = []
    for core, size, window in zip(
        cores, split(size_bytes, len(cores)), windows(cpu, cores, burst_bytes), strict=True
    ):
        bursts = max(1, -(-size // burst_bytes))
        gap_ps = flops / size_bytes * burst_bytes / (core.peak_gflops * core.gemm_efficiency) * PS
        streams.append(_reads(kind, bursts, window, gap_ps, cpu.path_ns, burst_bytes))
    return streams


def _reads(kind: str, bursts: int, window: int, gap_ps: float, path_ns: float, burst_bytes: int) -> Stream:
    phase = Phase(bursts=1 << 30, loops=((1 << 40, burst_bytes),))
    return Stream(kind=kind, phases=(phase,), bursts=bursts, window=window, gap_ps=gap_ps, path_ns=path_ns)


def copy_stream(
    cpu: CpuSpec, core: CoreSpec, size_bytes: int, burst_bytes: int, *, run_bytes: int,
    source_loops: tuple[tuple[int, int], ...], dest_loops: tuple[tuple[int, int], ...],
    lag_bytes: int, piece_runs: int = 0, cacheable_source: bool = False,
) -> Stream:  # fmt: skip
    """One copy thread: runs of `run_bytes` from the PIM-aware source into a row-major cacheable buffer.

    A run's loads must be back before its stores can retire, and the stores wait for the fills of their
    lines (write-allocate), so the two latencies add up; evicted lines are written back behind it. Loads
    of a cacheable source are prefetched and add traffic but no wait.
    source_loops: (count, stride) of the source walk in bursts. dest_loops: of the destination walk above
      the run, innermost first.
    lag_bytes: distance between a line and the one that it evicts: what the shared caches hold.
    piece_runs: runs between the places where neighbouring copy threads work.
    """
    run = run_bytes // burst_bytes
    into = ((run, burst_bytes), *dest_loops)
    return Stream(
        kind="copy",
        phases=(
            Phase(bursts=run, wait=not cacheable_source, mapping=1, loops=source_loops),
            Phase(bursts=run, loops=into),
            Phase(bursts=run, write=True, wait=False, loops=into, lag_bytes=lag_bytes),
        ),
        bursts=-(-size_bytes // burst_bytes),
        window=core.nc_outstanding * LINE_BYTES // burst_bytes,
        gap_ps=0.0,
        path_ns=cpu.path_ns,
        piece=piece_runs,
    )


def vector_ps(core: CoreSpec, size_bytes: int, flops: int, parts: int) -> int:
    """Time of one thread's share of a vector operator on cached data: its bytes or its arithmetic."""
    return round(max(size_bytes / core.cached_gbps, flops / core.peak_gflops) / parts * PS)


def attention_ps(cpu: CpuSpec, core: CoreSpec, flops: int, parts: int) -> int:
    """Time of one thread's share of attention over cached keys and values."""
    return round(flops / parts / (core.peak_gflops * cpu.attention_efficiency) * PS)


def slab_bytes(layout: PimLayout) -> int:
    """Bytes of one DRAM row of all banks: one column chunk of one tile of a matrix."""
    return layout.tile_rows * layout.chunk_bytes


def swizzled_copy(
    cpu: CpuSpec, core: CoreSpec, layout: PimLayout, n: int, k: int, bits: int, first: int, last: int, *,
    apart: int = 0, cacheable_source: bool = False,
) -> Stream:  # fmt: skip
    """One copy thread's stream over slabs first..last of an n x k matrix in `layout` into row-major order.

    A slab (see `slab_bytes`) is read in DRAM order: runs of one chunk, `accumulators` of them in a row of
    a bank, each to its own matrix row. Padding rows are not read: a slab moves its share of the matrix.
    apart: slabs between the places where neighbouring threads work.
    """
    burst, chunks, pitch = layout.burst_bytes, layout.chunks(k, bits), k * bits // 8
    slabs = layout.tiles(n) * chunks
    run, rows = min(layout.chunk_bytes, pitch), min(n, layout.tile_rows)
    return copy_stream(
        cpu, core, n * pitch * last // slabs - n * pitch * first // slabs, burst,
        run_bytes=run,
        source_loops=((rows * run // burst, burst), (1 << 30, slab_bytes(layout))),
        dest_loops=(
            (layout.accumulators, pitch),
            (max(1, rows // layout.accumulators), layout.accumulators * pitch),
            (chunks, layout.chunk_bytes),
            (1 << 20, layout.tile_rows * pitch),
        ),
        lag_bytes=sum(level.size_bytes for level in cpu.shared) - slab_bytes(layout),
        piece_runs=apart * rows,
        cacheable_source=cacheable_source,
    )  # fmt: skip
