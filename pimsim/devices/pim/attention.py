"""Attention over a KV cache kept in PIM, from matrix-vector products: scores q K^T, then context p V.

Of each KV head the memory holds K, a row of head_dim values a token, and V transposed, a row of `context`
values for each of head_dim. The query heads that share a KV head are a batch of vectors. KV heads lie side by
side, each in channels of its own, or one after the other in the rows of all channels, whichever takes the
fewest commands. Softmax between the two is the host's work, as is the writing of a new token's K and V.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pimsim.devices.pim import machine as m
from pimsim.devices.pim.compile import compile_gemv, gemv_layout
from pimsim.devices.pim.kernel import Kernel
from pimsim.devices.pim.stored import Stored, UnitLayout, check_stored
from pimsim.devices.spec import DramSpec, PimSpec
from pimsim.errors import SpecError
from pimsim.units import ceil_div


@dataclass(frozen=True, kw_only=True)
class AttentionShape:
    """One token's attention in one layer. heads: of queries; context: tokens in the cache."""

    heads: int
    kv_heads: int
    head_dim: int
    context: int

    def __post_init__(self) -> None:
        for name in ("heads", "kv_heads", "head_dim", "context"):
            if getattr(self, name) < 1:
                raise SpecError(f"attention with {name}={getattr(self, name)}; wanted at least 1")
        if self.heads % self.kv_heads:
            raise SpecError(
                f"attention with heads={self.heads} and kv_heads={self.kv_heads}; wanted as many heads for "
                "each KV head"
            )

    @property
    def group(self) -> int:
        """Query heads that share a KV head."""
        return self.heads // self.kv_heads


@dataclass(frozen=True, kw_only=True)
class HeadProducts:
    """The products of all KV heads with their queries' vectors, as one kernel.

    kernel: the program of all. product: of one KV head alone, on channels of its own, from row 0 on.
    rows, cols: of the matrix of a KV head. side: KV heads at once. turns: how often.
    base_row, head_rows: first DRAM row of the first turn, and rows that a turn takes.
    """

    kernel: Kernel
    product: Kernel
    rows: int
    cols: int
    side: int
    turns: int
    base_row: int
    head_rows: int

    @property
    def end_row(self) -> int:
        """The first DRAM row after the matrices."""
        return self.base_row + self.turns * self.head_rows


def compile_attention(
    pim: PimSpec, dram: DramSpec, shape: AttentionShape, dtype: str, *, channels: int | None = None,
    fences: bool = False, cache: tuple[Stored, Stored] | None = None,
) -> tuple[HeadProducts, HeadProducts]:  # fmt: skip
    """(scores, context) on `channels` (None: the usual) of a part whose units add their lanes.

    Both matrices of all KV heads must fit. cache: where K and V transposed of all heads lie, which must be
    where and how the programs expect them (None: they do).
    """
    if not pim.lane_reduction:
        raise SpecError(
            f"{pim.name}: its units keep a sum a lane; attention wants a part with an adder tree, such as "
            "lpddr5x-pim-9600 or gddr6-aim"
        )
    count = pim.channels if channels is None else channels
    if count < 1:
        raise SpecError(f"attention with channels={count}; wanted at least 1")
    scores = _products(pim, dram, shape, "scores", shape.context, shape.head_dim, dtype, count, 0, fences)
    context = _products(
        pim, dram, shape, "context", shape.head_dim, shape.context, dtype, count, scores.end_row, fences
    )
    if cache is not None:
        for half, stored in zip((scores, context), cache, strict=True):
            check_stored(pim.name, stored, *cache_layout(pim, dram, half))
    return scores, context


def cache_layout(pim: PimSpec, dram: DramSpec, half: HeadProducts) -> tuple[UnitLayout, int]:
    """The layout of the matrix of each KV head, and the bytes that all of them take with padding."""
    own, g = half.product, dram.geometry
    layout = gemv_layout(pim, dram, half.rows, half.cols, own.dtype, channels=own.channels)
    ranks = g.ranks if pim.protocol == "lockstep" else 1
    rows_bytes = half.product.channels * half.side * ranks * g.banks * g.row_bytes
    return layout, half.turns * half.head_rows * rows_bytes


def _products(
    pim: PimSpec, dram: DramSpec, shape: AttentionShape, operation: str, rows: int, cols: int, dtype: str,
    channels: int, base_row: int, fences: bool,
) -> HeadProducts:  # fmt: skip
    split = 0 if pim.protocol == "lockstep" else 1
    choices: list[tuple[int, Kernel]] = []
    problem: SpecError | None = None
    for side in range(1, min(channels, shape.kv_heads) + 1):
        if channels % side:
            continue
        try:
            product = compile_gemv(
                pim, dram, rows, cols, dtype, batch=shape.group, channels=channels // side, fences=fences,
                split=split,
            )  # fmt: skip
        except SpecError as error:  # does not fit on so few channels, or not at all
            problem = problem or error
        else:
            choices.append((side, product))
    if not choices:
        assert problem is not None
        raise problem
    side, product = min(choices, key=lambda c: ceil_div(shape.kv_heads, c[0]) * len(c[1].commands))
    turns = ceil_div(shape.kv_heads, side)
    head_rows = int(product.commands[:, m.G_ROW].max()) + 1
    needed = base_row + turns * head_rows
    if needed > dram.geometry.rows:
        what = "K and V" if base_row else "K"
        raise SpecError(
            f"{pim.name}: {what} of {shape.kv_heads} KV heads, {shape.context} tokens of {shape.head_dim} "
            f"{dtype} need {needed} rows of every bank but {dram.geometry.rows} are there; use more channels "
            "or a shorter context"
        )
    first, last = product.head, len(product.commands) - product.tail
    parts = [product.commands[:first]]
    for turn in range(turns):
        body = product.commands[first:last].copy()
        body[body[:, m.G_ROW] >= 0, m.G_ROW] += base_row + turn * head_rows
        parts.append(body)
    parts.append(product.commands[last:])
    data = [product.data[:first], *[product.data[first:last]] * turns, product.data[last:]]
    idle = turns * side - shape.kv_heads
    notes = (f"{shape.kv_heads} KV heads take the time of {turns * side}: {side} at once",) * (idle > 0)
    kernel = replace(
        product, operation=operation, channels=channels, commands=np.concatenate(parts),
        data=np.concatenate(data), operand_bytes=product.operand_bytes * shape.kv_heads,
        notes=(*notes, *product.notes),
        shape={
            "heads": shape.heads, "kv_heads": shape.kv_heads, "head_dim": shape.head_dim,
            "context": shape.context, "batch": shape.group,
        },
    )  # fmt: skip
    return HeadProducts(
        kernel=kernel, product=product, rows=rows, cols=cols, side=side, turns=turns, base_row=base_row,
        head_rows=head_rows,
    )  # fmt: skip


__all__ = ["AttentionShape", "HeadProducts", "cache_layout", "compile_attention"]
