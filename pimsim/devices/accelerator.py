"""A GPU or NPU as a roofline: peak rates by type, efficiencies as data, and a path to the DRAM channels.

A product takes the longer of its arithmetic, in whole grains of the matrix units, and of its traffic at the
rate that the channels give. Traffic is that of a blocked product with the accelerator's cache: each operand
once while one of them fits, else in the cheapest order of blocks (`blocked_bytes`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pimsim.errors import SpecError, suggest
from pimsim.notebook import Shown
from pimsim.units import ceil_div

ACCELERATOR_KINDS = ("gpu", "npu")
STAND_IN = {"bf16": "fp16", "fp16": "bf16", "fp8": "int8", "int4": "int8", "int32": "fp32", "bool": "int8"}
"""Type whose rate counts where a type has none of its own: 4-bit weights are widened before they multiply."""


@dataclass(frozen=True, kw_only=True)
class AcceleratorSpec(Shown):
    """One GPU or NPU.

    peak_tflops: dense rate of products by type of the operands, two operations a multiply-add, in 10^12/s.
    vector_tflops: rate of everything that is not a product.
    matmul_efficiency: share of that peak that large products reach.
    grain_rows, grain_cols: rows and columns of a product come in multiples of these.
    cache_bytes: last cache or buffer of its own or shared with it; operands and results that fit into half of
      it are read and written once, and activations in it never reach the DRAM.
    outstanding_bytes: bytes in flight towards memory.
    path_ns: time of an access outside the channel, both ways.
    launch_us: the runtime's time before an operator.
    """

    name: str
    source: str
    kind: str
    peak_tflops: dict[str, float]
    vector_tflops: float
    matmul_efficiency: float
    cache_bytes: int
    outstanding_bytes: int
    path_ns: float
    launch_us: float
    grain_rows: int = 16
    grain_cols: int = 16

    def __post_init__(self) -> None:
        if self.kind not in ACCELERATOR_KINDS:
            raise SpecError(f"{self.name}: kind={self.kind!r}{suggest(self.kind, ACCELERATOR_KINDS)}")
        if not self.peak_tflops:
            raise SpecError(f"{self.name}: peak_tflops is empty; wanted a rate for a type such as fp16")
        for name, rate in (*self.peak_tflops.items(), ("vector", self.vector_tflops)):
            if not (math.isfinite(rate) and rate > 0):
                raise SpecError(f"{self.name}: rate of {name} is {rate} TFLOPS; wanted more than 0")
        if not 0 < self.matmul_efficiency <= 1:
            raise SpecError(f"{self.name}: matmul_efficiency={self.matmul_efficiency}; wanted 0 to 1")
        for name in ("cache_bytes", "outstanding_bytes", "grain_rows", "grain_cols"):
            if getattr(self, name) < 1:
                raise SpecError(f"{self.name}: {name}={getattr(self, name)}; wanted at least 1")
        for name in ("path_ns", "launch_us"):
            if getattr(self, name) < 0:
                raise SpecError(f"{self.name}: {name}={getattr(self, name)}; wanted no negative time")

    def computes(self, dtype: str) -> bool:
        """Whether it has a rate for products of a type or of the one that stands in for it."""
        return dtype in self.peak_tflops or STAND_IN.get(dtype) in self.peak_tflops

    def tflops(self, dtype: str) -> float:
        """Peak of products of a type, or of the type that stands in for it."""
        for name in (dtype, STAND_IN.get(dtype, dtype)):
            if name in self.peak_tflops:
                return self.peak_tflops[name]
        known = ", ".join(self.peak_tflops)
        raise SpecError(f"{self.name}: no rate for products of {dtype}; it has {known}")

    def product_s(self, m: int, n: int, k: int, groups: int, dtype: str) -> float:
        """Seconds of arithmetic of `groups` products (m, k) x (k, n): on matrix units or, where that is
        faster (one column a group), on vector units."""
        rows = ceil_div(m, self.grain_rows) * self.grain_rows
        cols = ceil_div(n, self.grain_cols) * self.grain_cols
        matrix = 2 * groups * rows * cols * k / (self.tflops(dtype) * 1e12 * self.matmul_efficiency)
        vector = 2 * groups * m * n * k / (self.vector_tflops * 1e12 * self.matmul_efficiency)
        return min(matrix, vector)


def blocked_bytes(a_bytes: int, b_bytes: int, m: int, n: int, cache_bytes: int) -> int:
    """Least bytes read for the operands of a blocked product (m, k) x (k, n) with a cache.

    Each once, if one of them fits into half of the cache. Else the best of three orders: panels of half the
    cache of the one operand, the other read again for each; the same the other way round; or square blocks
    of results of four bytes that fill half of the cache, both operands read again along them.
    """
    half = max(4, cache_bytes // 2)
    if min(a_bytes, b_bytes) <= half:
        return a_bytes + b_bytes
    side = math.isqrt(half // 4)
    return min(
        a_bytes + b_bytes * ceil_div(a_bytes, half),
        b_bytes + a_bytes * ceil_div(b_bytes, half),
        a_bytes * ceil_div(n, side) + b_bytes * ceil_div(m, side),
    )
