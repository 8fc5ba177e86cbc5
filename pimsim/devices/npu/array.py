"""Clocks of a systolic array in closed form; `stepped` moves every value and is what these are held to.

The two spatial sizes and the streamed one are (Sr, Sc, T) = os (M, N, K), ws (K, N, M), is (K, M, N). A fold
is one filling of the array. Alone it takes R + C + T - 2 clocks in os (skewed operands in, results out
as they are ready) and R more in ws and is (the stationary operand shifts in first). Folds that overlap
follow each
other by max(T, R): T because the operands' ports are busy, R because a column hands over R values, results
in os and the next stationary operand in ws and is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pimsim.devices.npu.layer import Layer
from pimsim.devices.npu.spec import SCALE_SIM, NpuSpec, Timing
from pimsim.errors import SpecError
from pimsim.units import ceil_div


@dataclass(frozen=True, kw_only=True)
class ArrayClocks:
    """What a product costs on the array.

    folds: fillings of the array. issue_ck: clocks that it keeps the array's inputs busy; head_ck: before the
    first of them when the array was idle; tail_ck: after the last until the last result is out.
    """

    folds: int
    issue_ck: int
    head_ck: int
    tail_ck: int

    @property
    def total_ck(self) -> int:
        return self.head_ck + self.issue_ck + self.tail_ck


def spatial(m: int, n: int, k: int, dataflow: str) -> tuple[int, int, int]:
    """(Sr, Sc, T) of a product."""
    if dataflow == "os":
        return m, n, k
    if dataflow == "ws":
        return k, n, m
    if dataflow == "is":
        return k, m, n
    raise SpecError(f"no dataflow {dataflow!r}; known: is, os, ws")


def single_fold_ck(rows: int, cols: int, t: int, dataflow: str) -> int:
    """Clocks of one fold alone in the array."""
    return rows + cols + t - 2 + (rows if dataflow != "os" else 0)


def period_ck(rows: int, t: int, dataflow: str, timing: Timing) -> int:
    """Clocks from one fold to the next when they overlap."""
    handed_over = 1 if timing.local and dataflow != "os" else rows
    return max(ceil_div(t, timing.row_chunk) * timing.row_chunk, handed_over)


def array_clocks(rows: int, cols: int, folds: int, t: int, dataflow: str, timing: Timing) -> ArrayClocks:
    """`folds` folds of `t` streamed steps."""
    one = single_fold_ck(rows, cols, t, "os" if timing.local else dataflow)
    if not timing.overlap:
        return ArrayClocks(folds=folds, issue_ck=folds * one, head_ck=0, tail_ck=0)
    period = period_ck(rows, t, dataflow, timing)
    head = rows if dataflow != "os" and not timing.local else 0
    return ArrayClocks(
        folds=folds,
        issue_ck=folds * period,
        head_ck=head + timing.head_ck,
        tail_ck=max(0, one - head - period),
    )


def gemm_clocks(m: int, n: int, k: int, rows: int, cols: int, dataflow: str, timing: Timing) -> ArrayClocks:
    """A product (M, N, K) in full precision of the array."""
    sr, sc, t = spatial(m, n, k, dataflow)
    return array_clocks(rows, cols, ceil_div(sr, rows) * ceil_div(sc, cols), t, dataflow, timing)


def depth_folds(spec: NpuSpec, positions: int, high: int, low: int) -> int:
    """Folds of a depth of kernel `positions` x (`high` 8-bit or 16-bit and `low` 4-bit channels) along
    the rows."""
    wide = spec.rows * spec.rate4
    if spec.packing == "channel":
        return positions * (ceil_div(high, spec.rows) + ceil_div(low, wide))
    return ceil_div(positions * high, spec.rows) + ceil_div(positions * low, wide)


def depth_steps(spec: NpuSpec, positions: int, high: int, low: int) -> int:
    """Clocks of the same depth when it is streamed (os)."""
    if spec.packing == "channel":
        return positions * (high + ceil_div(low, spec.rate4))
    return positions * high + ceil_div(positions * low, spec.rate4)


def factors(
    spec: NpuSpec, layer: Layer, m: int, n: int, high: int, low: int, groups: int = 1
) -> tuple[int, int]:
    """(folds, streamed steps) of `groups` products of m rows, n outputs and high + low input channels
    each."""
    positions = layer.kernel_h * layer.kernel_w
    scale = spec.mac16_ck if layer.bits == 16 else 1
    if layer.bits == 4:
        high, low = 0, high + low
    if layer.kind == "depthwise" and spec.depthwise_columns:  # a column takes a channel, position by position
        wide = ceil_div(groups * n, spec.cols)
        if spec.dataflow == "os":
            return ceil_div(m, spec.rows) * wide, positions * scale
        return positions * wide, m * scale
    if spec.dataflow == "os":
        folds, t = ceil_div(m, spec.rows) * ceil_div(n, spec.cols), depth_steps(spec, positions, high, low)
    else:
        sc, t = (n, m) if spec.dataflow == "ws" else (m, n)
        folds = depth_folds(spec, positions, high, low) * ceil_div(sc, spec.cols)
    return groups * folds, t * scale


def tile_clocks(
    spec: NpuSpec, layer: Layer, m: int, n: int, high: int, low: int, groups: int = 1
) -> ArrayClocks:
    """Clocks of one tile of `groups` products on the array of a part."""
    folds, t = factors(spec, layer, m, n, high, low, groups)
    return array_clocks(spec.rows, spec.cols, folds, t, spec.dataflow, spec.timing)


def layer_clocks(spec: NpuSpec, layer: Layer) -> ArrayClocks:
    """A whole layer as one tile: what it takes when memory never makes the array wait."""
    high = layer.in_ch - layer.low_ch
    return tile_clocks(spec, layer, layer.m, layer.out_ch, high, layer.low_ch, layer.groups)


def overlap_worth(spec: NpuSpec, layer: Layer) -> int:
    """Clocks that the array would take more if its folds did not overlap, as those of SCALE-Sim do not."""
    alone = replace(spec, timing=SCALE_SIM)
    return layer_clocks(alone, layer).total_ck - layer_clocks(spec, layer).total_ck


def ideal_clocks(spec: NpuSpec, layer: Layer) -> int:
    """Multiply-adds over units, each width at its rate, rounded up: no array can be faster."""
    per_channel = layer.macs // layer.in_ch
    if layer.bits == 4:
        return ceil_div(layer.macs, spec.units * spec.rate4)
    low = layer.low_ch * per_channel
    high = (layer.in_ch - layer.low_ch) * per_channel * (spec.mac16_ck if layer.bits == 16 else 1)
    return ceil_div(high * spec.rate4 + low, spec.units * spec.rate4)


@dataclass(frozen=True, kw_only=True)
class FoldReport:
    """The counts of SCALE-Sim's compute model: words moved between scratchpads and array.

    mapping_efficiency: used units over all, mean of the folds. input_reads, weight_reads: operand words read;
    output_writes: words written, every partial sum of ws and is included.
    """

    folds: int
    cycles: int
    mapping_efficiency: float
    input_reads: int
    weight_reads: int
    output_writes: int


def fold_report(m: int, n: int, k: int, rows: int, cols: int, dataflow: str, timing: Timing) -> FoldReport:
    """Folds, clocks and scratchpad words of a product."""
    sr, sc, _ = spatial(m, n, k, dataflow)
    deep, wide = ceil_div(sr, rows), ceil_div(sc, cols)
    clocks = gemm_clocks(m, n, k, rows, cols, dataflow, timing)
    reads = {"os": (m * k * wide, k * n * deep), "ws": (m * k * wide, k * n), "is": (m * k, k * n * wide)}
    return FoldReport(
        folds=clocks.folds,
        cycles=clocks.total_ck,
        mapping_efficiency=sr * sc / (deep * wide * rows * cols),
        input_reads=reads[dataflow][0],
        weight_reads=reads[dataflow][1],
        output_writes=m * n * (1 if dataflow == "os" else deep),
    )


def loop_nest_clocks(loops: tuple[int, ...], overhead_ck: int) -> int:
    """Clocks of nested counters, the longest innermost, that take `overhead_ck` more each time they end.

    DNNWeaver v2 counts its array so, over (images, output channels / columns, rows and columns of pixels
    and of the kernel, input channels / rows).
    """
    clocks = 1
    for count in sorted(loops, reverse=True):
        clocks = overhead_ck + count * clocks
    return clocks
