"""A blocked product on one core: block sizes that follow the caches, its traffic through them, its time.

The order of the loops is that of GotoBLAS and BLIS (Goto and van de Geijn, TOMS 2008), block sizes those of
Low et al., "Analytical modeling is enough for high-performance BLIS" (TOMS 2016): a micro-panel of A and
one of B share L1, a block of A fills L2, a block of B the last level, each leaving the ways that the other
streams pass through. In C[m, n] = A[m, k] W[n, k]^T the activations are A and the weights B.

What makes small products slow comes out of the walk: few rows of activations use each packed weight line a
few times only, and a thread's short share of the weights (keys and values of grouped-query attention) fills
caches for little work. `pimsim run` still uses the efficiency and fill rows of the core instead
(docs/calibration.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pimsim.devices.cache import Caches, Hierarchy
from pimsim.devices.cache.patterns import KERNEL, PACK_A, PACK_B, packed_product
from pimsim.devices.cpu import MR, NR
from pimsim.devices.spec import CacheSpec, CoreSpec
from pimsim.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Rows of activations, depth and rows of weights of a block, and why they are so large."""

    mc: int
    kc: int
    nc: int
    reasons: tuple[str, ...]


def gemm_blocks(
    levels: Sequence[CacheSpec], m: int, n: int, k: int, value_bytes: int = 2, mr: int = MR, nr: int = NR
) -> Blocks:
    """Block sizes of C[m, n] = A[m, k] W[n, k]^T for caches, the first level first.

    kc: a micro-panel of A (mr x kc) and one of W (kc x nr) in L1, one way left for C. mc: a block of A in
    L2, beside W's micro-panel and one way. nc: a block of W in the last level (None: all of n), beside A's
    block and one way. Multiples of mr, 8 and nr; never more than the product has.
    """
    for name, value in (("m", m), ("n", n), ("k", k), ("value_bytes", value_bytes)):
        if value < 1:
            raise SpecError(f"blocks of a product: {name}={value}; wanted at least 1")
    if not levels:
        raise SpecError("blocks of a product: no cache; wanted at least one level")
    first = levels[0]
    way = first.size_bytes // first.ways
    a_ways = max(1, int((first.ways - 1) / (1 + nr / mr)))
    deep = max(8, a_ways * way // (mr * value_bytes) // 8 * 8)
    kc = min(k, deep)
    reasons = [
        f"kc={kc}: {_all(kc, k, 'the depth')}{mr} x {kc} of A and {nr} x {kc} of W are "
        f"{(mr + nr) * kc * value_bytes} of the {first.size_bytes} bytes of {first.name}, one way left for C"
    ]
    mc, reason = _held(
        levels[1] if len(levels) > 1 else first, kc * value_bytes, nr * kc * value_bytes, m, mr
    )
    reasons.append(
        f"mc={mc}: {_all(mc, m, 'the rows of A')}a block of A is {mc * kc * value_bytes} of {reason}"
    )
    nc = n
    if len(levels) > 2:
        nc, reason = _held(levels[-1], kc * value_bytes, mc * kc * value_bytes, n, nr)
        reasons.append(
            f"nc={nc}: {_all(nc, n, 'the rows of W')}a block of W is {nc * kc * value_bytes} of {reason}"
        )
    else:
        reasons.append(f"nc={nc}: all rows of W, there is no third level to hold a block of them")
    return Blocks(mc=mc, kc=kc, nc=nc, reasons=tuple(reasons))


def _all(block: int, whole: int, what: str) -> str:
    return f"all of {what}; " if block == whole else ""


def _held(level: CacheSpec, row_bytes: int, beside_bytes: int, most: int, step: int) -> tuple[int, str]:
    """(rows that fit into a level beside `beside_bytes` and one way, what they are a part of)."""
    way = level.size_bytes // level.ways
    ways = max(1, level.ways - 1 - -(-beside_bytes // way))
    rows = max(step, ways * way // row_bytes // step * step)
    return min(most, rows), f"the {level.size_bytes} bytes of {level.name}, {ways} of {level.ways} ways"


@dataclass(frozen=True, kw_only=True)
class GemmRun:
    """A product of one thread on one core; all times in ns.

    compute_ns: micro-kernels at the core's peak; edges count as whole blocks of registers (m = 1 costs MR).
    load_ns: the micro-kernels' own accesses. pack_a_ns, pack_w_ns: packing of activations and of weights.
    peak_ns: the useful arithmetic at the core's peak.
    memory_lines: lines that came from memory or were written to it.
    """

    blocks: Blocks
    compute_ns: float
    load_ns: float
    pack_a_ns: float
    pack_w_ns: float
    peak_ns: float
    memory_lines: float

    @property
    def time_ns(self) -> float:
        """Packing, then micro-kernels, whose loads and arithmetic overlap."""
        return self.pack_a_ns + self.pack_w_ns + max(self.compute_ns, self.load_ns)

    @property
    def efficiency(self) -> float:
        """Share of the core's peak, 0 to 1."""
        return self.peak_ns / self.time_ns


LINE_CK = 2
"""Clocks that a line to or from L1 takes: two 16-byte accesses a clock (estimate)."""
SAMPLE_ROWS = 256
"""Rows of weights that are walked; what is proportional to them is scaled up."""


@lru_cache(maxsize=256)
def gemm_run(
    core: CoreSpec, shared: tuple[CacheSpec, ...], m: int, n: int, k: int, memory_ns: float = 100.0,
    value_bytes: int = 2, dtype: str = "bf16",
) -> GemmRun:  # fmt: skip
    """C[m, n] = A[m, k] W[n, k]^T by one thread at the peak of `dtype`, W cacheable and in no cache at first.

    An access that a level (or the memory) serves takes the latency of that level over the lines that the
    core keeps in flight (Little's law), and never less than a line takes into L1.
    """
    levels = (core.l1, core.l2, *shared)
    blocks = gemm_blocks(levels, m, n, k, value_bytes)
    rows = min(n, max(SAMPLE_ROWS, NR))
    walked = packed_product(
        m, rows, k, mc=blocks.mc, kc=blocks.kc, nc=min(blocks.nc, rows), mr=MR, nr=NR,
        value_bytes=value_bytes, line_bytes=core.l1.line_bytes,
    )  # fmt: skip
    counts = Caches(Hierarchy(cores=(levels,))).run(walked.addresses, walked.writes, log=True)
    assert counts.log is not None
    fastest = LINE_CK / core.clock_ghz
    waits = [max(fastest, level.hit_ns / core.lines_outstanding) for level in levels]
    waits.append(max(fastest, memory_ns / core.lines_outstanding))
    waits[0] = fastest
    each = np.array(waits)[counts.log.served]
    by_part = [float(each[walked.part == part].sum()) for part in (PACK_A, PACK_B, KERNEL)]
    moved = walked.part[counts.log.access[counts.log.where("read", "write")]]
    of_a = int((moved == PACK_A).sum())
    more = n / rows
    again = -(-n // blocks.nc) / -(-rows // min(blocks.nc, rows))
    peak = core.peak_gflops_of(dtype)
    padded = -(-m // MR) * MR * (-(-n // NR) * NR) * k * 2
    return GemmRun(
        blocks=blocks,
        compute_ns=padded / peak,
        load_ns=by_part[2] * more,
        pack_a_ns=by_part[0] * again,
        pack_w_ns=by_part[1] * more,
        peak_ns=2 * m * n * k / peak,
        memory_lines=of_a * again + (len(moved) - of_a) * more,
    )
