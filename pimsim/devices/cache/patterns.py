"""Named walks over memory at the grain of lines, to look at a hierarchy with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pimsim.errors import SpecError, suggest

PATTERNS = {
    "stream": "reads every line once, in order",
    "strided": "reads one line of each stride, pass after pass until every line was read",
    "random": "reads as many lines as there are, anywhere",
    "reuse": "reads every line in order, four times over",
    "copy": "reads one half in order and writes it to the other",
    "gemm": "the inner loops of a blocked product on packed panels: A of mc x kc with B of kc x nc",
}
"""Pattern -> what it does to `size_bytes` of memory from address 0."""
PASSES = 4  # of "reuse"
KERNEL, PACK_A, PACK_B = range(3)
"""Parts of a blocked product."""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Accesses in order. addresses: (n,) int64, bytes. writes: (n,) bool. part: (n,) int8, of a product."""

    addresses: NDArray[np.int64]
    writes: NDArray[np.bool_]
    part: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))

    def __len__(self) -> int:
        return len(self.addresses)


def walk(
    pattern: str, size_bytes: int, line_bytes: int = 64, *, stride_bytes: int = 4096, seed: int = 0
) -> Walk:
    """The accesses of a pattern, see `PATTERNS`.

    stride_bytes: of "strided". seed: of "random". For products of a given shape see `packed_product`; "gemm"
    here is a square one of 2-byte values whose three matrices take `size_bytes`.
    """
    lines = size_bytes // line_bytes
    if lines < 2:
        raise SpecError(f"pattern {pattern}: {size_bytes} bytes; wanted at least two lines of {line_bytes}")
    order = np.arange(lines, dtype=np.int64)
    none = np.zeros(lines, np.bool_)
    if pattern == "stream":
        return Walk(addresses=order * line_bytes, writes=none)
    if pattern == "reuse":
        return Walk(addresses=np.tile(order, PASSES) * line_bytes, writes=np.tile(none, PASSES))
    if pattern == "random":
        held = np.random.default_rng(seed).integers(0, lines, lines)
        return Walk(addresses=held * line_bytes, writes=none)
    if pattern == "strided":
        if stride_bytes < line_bytes or stride_bytes % line_bytes:
            raise SpecError(
                f"pattern strided: stride_bytes={stride_bytes}; wanted a multiple of {line_bytes} bytes"
            )
        step = stride_bytes // line_bytes
        rows = -(-lines // step)
        grid = np.arange(rows * step, dtype=np.int64).reshape(rows, step).T.ravel()
        return Walk(addresses=grid[grid < lines] * line_bytes, writes=none)
    if pattern == "copy":
        half = lines // 2
        pairs = np.stack([order[:half], order[:half] + half], axis=1).ravel()
        return Walk(addresses=pairs * line_bytes, writes=np.tile([False, True], half))
    if pattern == "gemm":
        side = max(32, round((size_bytes / 6) ** 0.5) // 32 * 32)
        return packed_product(side, side, side, mc=64, kc=256, nc=512, line_bytes=line_bytes)
    raise SpecError(f"no pattern named {pattern!r}{suggest(pattern, PATTERNS)}")


def packed_product(
    m: int, n: int, k: int, *, mc: int, kc: int, nc: int, mr: int = 8, nr: int = 8, value_bytes: int = 2,
    line_bytes: int = 64, first: int = 0,
) -> Walk:  # fmt: skip
    """A blocked product C[m, n] += A[m, k] B[k, n] as GotoBLAS orders it (Goto and van de Geijn, TOMS 2008).

    For each nc columns, for each kc of the depth: B's block is packed. For each mc rows: A's block is
    packed; then micro-panels of nr columns of B with micro-panels of mr rows of A, and the mr x nr block of
    C read and written. A lies row by row, B column by column (a weight matrix: one output's weights
    together), C row by row.
    first: address of A; B, C and the two packed blocks follow, each from a page of its own.
    """
    for name, value in (("m", m), ("n", n), ("k", k), ("mc", mc), ("kc", kc), ("nc", nc)):
        if value < 1:
            raise SpecError(f"blocked product: {name}={value}; wanted at least 1")
    at, bases = first, []
    for count in (m * k, n * k, m * n, mc * kc, nc * kc):
        bases.append(at)
        at += -(-count * value_bytes // 4096) * 4096
    a, b, c, a_packed, b_packed = bases
    parts: list[tuple[NDArray[np.int64], bool, int]] = []

    def rows(
        base: int, pitch: int, row: int, count: int, column: int, width: int, write: bool, part: int = KERNEL
    ) -> None:
        begin = base + (np.arange(row, row + count) * pitch + column) * value_bytes
        steps = -(-width * value_bytes // line_bytes)
        parts.append(((begin[:, None] + np.arange(steps) * line_bytes).ravel() // line_bytes, write, part))

    for j in range(0, n, nc):
        wide = min(nc, n - j)
        for p in range(0, k, kc):
            deep = min(kc, k - p)
            rows(b, k, j, wide, p, deep, False, PACK_B)
            rows(b_packed, deep, 0, wide, 0, deep, True, PACK_B)
            for i in range(0, m, mc):
                high = min(mc, m - i)
                rows(a, k, i, high, p, deep, False, PACK_A)
                rows(a_packed, deep, 0, high, 0, deep, True, PACK_A)
                for jr in range(0, wide, nr):
                    for ir in range(0, high, mr):
                        rows(a_packed, deep, ir, min(mr, high - ir), 0, deep, False)
                        rows(b_packed, deep, jr, min(nr, wide - jr), 0, deep, False)
                        some = min(mr, high - ir)
                        rows(c, n, i + ir, some, j + jr, min(nr, wide - jr), False)
                        rows(c, n, i + ir, some, j + jr, min(nr, wide - jr), True)
    sizes = [len(lines) for lines, _, _ in parts]
    lines = np.concatenate([lines for lines, _, _ in parts])
    writes = np.repeat([write for _, write, _ in parts], sizes)
    part = np.repeat(np.array([part for _, _, part in parts], np.int8), sizes)
    again = np.zeros(len(lines), np.bool_)  # neighbours in one line are one access
    again[1:] = (lines[1:] == lines[:-1]) & (writes[1:] == writes[:-1])
    return Walk(addresses=lines[~again] * line_bytes, writes=writes[~again], part=part[~again])
