"""Which pieces of a layer the scratchpads hold at a time: a small search with its reason.

A tile is th x tw output pixels of an image, tn output channels and tc input channels of a group. Input
channels are the innermost loop, so partial sums stay in the output scratchpad; of the two loops around it
either the pixels or the output channels are outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pimsim.devices.npu.array import array_clocks, depth_folds, depth_steps, tile_clocks
from pimsim.devices.npu.layer import Layer
from pimsim.devices.npu.spec import NpuSpec
from pimsim.errors import SpecError
from pimsim.units import ceil_div

SHARES = (
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    10,
    12,
    14,
    16,
    20,
    24,
    28,
    32,
    40,
    48,
    56,
    64,
    96,
    128,
    192,
    256,
    512,
    1024,
)
"""A size is tried whole and cut into so many parts."""
STEP_CK = 64
"""Clocks that the estimate adds a tile: latency of its transfers that nothing hides."""


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """A tile and its loops.

    rows, cols: output pixels; out_ch, in_ch: channels; groups: products a tile holds whole.
    channels_outside: output channels are the outer loop (weights stay), else pixels are (inputs stay).
    reason: why it was chosen.
    """

    rows: int
    cols: int
    out_ch: int
    in_ch: int
    groups: int = 1
    channels_outside: bool = False
    reason: str = ""


AUTO = -2


@dataclass(frozen=True, kw_only=True)
class Step:
    """One tile in time.

    input_key, weight_key, output_key: which piece of each tensor it works on; a transfer happens when the key
    changes. m, n, high, low: rows, output channels, input channels at the layer's and in 4 bits; groups:
    products in the tile. *_segments: (pieces, bytes of each, bytes from one to the next) in memory;
    *_at: byte of the tensor where the first piece lies. input_key None: works on what earlier tiles loaded.
    loads_after: the tile that must be computed before this one's loads begin; room_after: the output
    piece that must be stored before this one computes. AUTO: the last but one of its kind, halves in turn.
    """

    groups: int
    m: int
    n: int
    high: int
    low: int
    input_key: tuple[int, ...] | None
    weight_key: tuple[int, ...]
    output_key: tuple[int, ...]
    input_segments: tuple[int, int, int]
    weight_segments: tuple[int, int, int]
    output_segments: tuple[int, int, int]
    input_at: int
    weight_at: int
    output_at: int
    last_depth: bool
    loads_after: int = AUTO
    room_after: int = AUTO


def window(out: int, kernel: int, stride: int, dilation: int, size: int) -> int:
    """Input rows (or columns) under `out` output rows, at most the `size` that there are."""
    return min(size, (out - 1) * stride + dilation * (kernel - 1) + 1)


def tile_bytes(spec: NpuSpec, layer: Layer, tiling: Tiling) -> tuple[int, int, int]:
    """Bytes that a tile takes in the input, weight and output scratchpad."""
    h = window(tiling.rows, layer.kernel_h, layer.stride, layer.dilation, layer.in_h)
    w = window(tiling.cols, layer.kernel_w, layer.stride, layer.dilation, layer.in_w)
    images = layer.images if tiling.groups > 1 else 1
    inputs = ceil_div(tiling.groups * images * h * w * tiling.in_ch * layer.stored_bits, 8)
    taps = layer.kernel_h * layer.kernel_w
    weights = ceil_div(tiling.groups * tiling.out_ch * taps * tiling.in_ch * layer.stored_bits, 8)
    whole = tiling.in_ch == layer.in_ch
    each = ceil_div(layer.out_bits, 8) if whole else spec.accumulator_bytes
    return inputs, weights, tiling.groups * images * tiling.rows * tiling.cols * tiling.out_ch * each


def _sizes(size: int, multiple: int) -> list[int]:
    found = {min(size, ceil_div(ceil_div(size, share), multiple) * multiple) for share in SHARES}
    if size > multiple:
        found.add(multiple)
    return sorted(found)


def _parts(size: int, tile: int) -> list[tuple[int, int]]:
    """(count, size) of the whole tiles and of the rest."""
    rest = size % tile
    return [(size // tile, tile), *([(1, rest)] if rest else [])]


def _low(layer: Layer, start: int, channels: int) -> int:
    """4-bit channels among `channels` input channels from `start` on."""
    return max(0, min(start + channels, layer.low_ch) - start)


@lru_cache(maxsize=4096)
def search(spec: NpuSpec, layer: Layer, bytes_per_ck: float) -> Tiling:
    """The tiling that takes the fewest clocks by estimate: the longer of array and memory, the first load,
    the last store and `STEP_CK` a tile. Ties go to fewer bytes, then to fewer tiles.

    bytes_per_ck: what the memory gives in one clock of the array.
    """
    grids = _grids(spec, layer, bytes_per_ck)
    tried = sum(len(grid.total) for grid in grids)
    grids = [grid for grid in grids if len(grid.total)]
    if not grids:
        need = tile_bytes(spec, layer, Tiling(rows=1, cols=1, out_ch=1, in_ch=1))
        raise SpecError(
            f"{spec.name}: layer {layer.name} fits in no tile; one pixel and channel take {need} bytes of "
            f"the "
            f"input, weight and output scratchpads, halves of {spec.input_bytes}, {spec.weight_bytes}, "
            f"{spec.output_bytes}"
        )
    grid = min(grids, key=lambda g: float(g.total.min()))
    best = int(np.lexsort((grid.tiles, grid.moved, grid.total))[0])
    array, memory = float(grid.array[best]), float(grid.moved[best]) / bytes_per_ck
    tiling = grid.tiling(best)
    least = layer.input_bytes + layer.weight_bytes + layer.output_bytes
    return replace(
        tiling,
        reason=f"best of {tried} that fit: {'array' if array >= memory else 'memory'}-bound ({array:,.0f} "
        f"clocks of "
        f"array, {memory:,.0f} of memory), {'weights' if tiling.channels_outside else 'inputs'} stay, "
        f"{float(grid.moved[best]) / least:.2f} x the layer's bytes move",
    )


def considered(spec: NpuSpec, layer: Layer, bytes_per_ck: float) -> Iterator[tuple[Tiling, int, int]]:
    """Every tiling that fits, with its clocks of array and an upper bound of the bytes that it moves:
    tiles at
    an edge count as whole ones there."""
    for grid in _grids(spec, layer, bytes_per_ck):
        for i in range(len(grid.total)):
            yield grid.tiling(i), int(grid.array[i]), int(grid.moved[i])


def _grids(spec: NpuSpec, layer: Layer, bytes_per_ck: float) -> list[_Grid]:
    grids = [_cut(spec, layer, bytes_per_ck)]
    if layer.groups > 1:
        grids.append(_whole(spec, layer, bytes_per_ck))
    return grids


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """Tilings that fit, one an element: their columns and their estimates."""

    columns: NDArray[np.int64]
    total: NDArray[np.float64]
    array: NDArray[np.float64]
    moved: NDArray[np.float64]
    tiles: NDArray[np.float64]

    def tiling(self, i: int) -> Tiling:
        rows, cols, out_ch, in_ch, groups, outside = (int(v) for v in self.columns[i])
        return Tiling(
            rows=rows, cols=cols, out_ch=out_ch, in_ch=in_ch, groups=groups, channels_outside=bool(outside)
        )


def _grid(
    bytes_per_ck: float,
    columns: NDArray[np.int64],
    array: NDArray[np.float64],
    loaded: NDArray[np.float64],
    stored: float,
    first: NDArray[np.float64],
    last: NDArray[np.float64],
    tiles: NDArray[np.float64],
) -> _Grid:
    moved = loaded + stored
    total = np.maximum(array, moved / bytes_per_ck) + (first + last) / bytes_per_ck + STEP_CK * tiles
    return _Grid(columns=columns, total=total, array=array, moved=moved, tiles=tiles)


def _cut(spec: NpuSpec, layer: Layer, bytes_per_ck: float) -> _Grid:
    """Tilings of one product at a time."""
    pixels = [(rows, layer.out_w) for rows in _sizes(layer.out_h, 1)]
    pixels += [(1, cols) for cols in _sizes(layer.out_w, 1) if cols < layer.out_w]
    channels = _sizes(layer.out_ch, spec.cols if spec.dataflow != "is" else 1)
    depths = _sizes(layer.in_ch, spec.rows * spec.rate4)
    p, c, d, o = (
        axis.ravel()
        for axis in np.meshgrid(range(len(pixels)), range(len(channels)), range(len(depths)), (0, 1))
    )
    taps = layer.kernel_h * layer.kernel_w
    rows, cols = np.array(pixels, np.int64).T[:, p]
    out_ch, in_ch = np.array(channels, np.int64)[c], np.array(depths, np.int64)[d]
    high = np.minimum(layer.in_h, (rows - 1) * layer.stride + layer.dilation * (layer.kernel_h - 1) + 1)
    wide = np.minimum(layer.in_w, (cols - 1) * layer.stride + layer.dilation * (layer.kernel_w - 1) + 1)
    inputs = -(-high * wide * in_ch * layer.stored_bits // 8)
    weights = -(-out_ch * taps * in_ch * layer.stored_bits // 8)
    each = np.where(in_ch == layer.in_ch, ceil_div(layer.out_bits, 8), spec.accumulator_bytes)
    outputs = rows * cols * out_ch * each
    fit = (
        (inputs <= spec.input_bytes // 2)
        & (weights <= spec.weight_bytes // 2)
        & (outputs <= spec.output_bytes // 2)
    )
    by_pixel, by_channel, by_depth = _factors(spec, layer, pixels, channels, depths)
    array = (by_pixel[p] * by_channel[c] * by_depth[d] * layer.groups).astype(np.float64)
    spots = layer.images * -(-layer.out_h // rows) * -(-layer.out_w // cols)
    parts, deep = -(-layer.out_ch // out_ch), -(-layer.in_ch // in_ch)
    tiles = spots * parts * deep
    whole = deep == 1
    loads = np.where(whole & ((o == 0) | (parts == 1)), spots, tiles)
    loads = np.where(whole & (spots == 1), 1, loads)
    loads = np.where(parts == 1, np.minimum(loads, spots * deep), loads)
    fetches = np.where(whole & ((o == 1) | (spots == 1)), parts, tiles)
    fetches = np.where(whole & (parts == 1), 1, fetches)
    loaded = (layer.groups * (loads * inputs + fetches * weights)).astype(np.float64)
    columns = np.stack([rows, cols, out_ch, in_ch, np.ones_like(rows), o.astype(np.int64)], axis=1)
    last = rows * cols * out_ch * layer.out_bits / 8
    return _grid(
        bytes_per_ck,
        columns[fit],
        array[fit],
        loaded[fit],
        layer.output_bytes,
        (inputs + weights)[fit].astype(np.float64),
        last[fit],
        (tiles * layer.groups)[fit].astype(np.float64),
    )


def _whole(spec: NpuSpec, layer: Layer, bytes_per_ck: float) -> _Grid:
    """Tilings that hold several products with all their channels, and all or some rows of pixels."""
    sizes = [size for size in _sizes(layer.groups, 1) if size > 1]
    lines = _sizes(layer.out_h, 1)
    g, r = (axis.ravel() for axis in np.meshgrid(sizes, lines))
    span = np.minimum(layer.in_h, (r - 1) * layer.stride + layer.dilation * (layer.kernel_h - 1) + 1)
    inputs = -(-g * layer.images * span * layer.in_w * layer.in_ch * layer.stored_bits // 8)
    weights = -(-g * layer.out_ch * layer.k * layer.stored_bits // 8)
    outputs = -(-g * layer.images * r * layer.out_w * layer.out_ch * layer.out_bits // 8)
    fit = (
        (inputs <= spec.input_bytes // 2)
        & (weights <= spec.weight_bytes // 2)
        & (outputs <= spec.output_bytes // 2)
    )
    g, r, inputs, weights, outputs = g[fit], r[fit], inputs[fit], weights[fit], outputs[fit]
    array = [
        sum(
            many * count * _held(spec, layer, size, high)
            for many, size in _parts(layer.groups, int(held))
            for count, high in _parts(layer.out_h, int(rows))
        )
        for held, rows in zip(g, r, strict=True)
    ]
    parts, spots = -(-layer.groups // g), -(-layer.out_h // r)
    ones = np.ones_like(g)
    columns = np.stack([r, ones * layer.out_w, ones * layer.out_ch, ones * layer.in_ch, g, ones * 0], 1)
    return _grid(
        bytes_per_ck,
        columns,
        np.array(array, np.float64),
        (parts * (spots * inputs + weights)).astype(np.float64),
        layer.output_bytes,
        (inputs + weights).astype(np.float64),
        outputs.astype(np.float64),
        (parts * spots).astype(np.float64),
    )


def _held(spec: NpuSpec, layer: Layer, groups: int, rows: int) -> int:
    high, m = layer.in_ch - layer.low_ch, layer.images * rows * layer.out_w
    return tile_clocks(spec, layer, m, layer.out_ch, high, layer.low_ch, groups).issue_ck


def _factors(
    spec: NpuSpec, layer: Layer, pixels: list[tuple[int, int]], channels: list[int], depths: list[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Sums over the tiles of each axis whose product is the array's clocks (see `factors` in `array`)."""

    def streamed(t: int) -> int:
        return array_clocks(spec.rows, spec.cols, 1, t, spec.dataflow, spec.timing).issue_ck

    scale = spec.mac16_ck if layer.bits == 16 else 1
    taps = layer.kernel_h * layer.kernel_w
    columns = layer.kind == "depthwise" and spec.depthwise_columns
    flow = "ws" if columns and spec.dataflow == "is" else spec.dataflow

    def pixel(m: int) -> int:
        return {"os": ceil_div(m, spec.rows), "ws": streamed(m * scale), "is": ceil_div(m, spec.cols)}[flow]

    def channel(n: int) -> int:
        return streamed(n * scale) if flow == "is" else ceil_div(n, spec.cols)

    def depth(start: int, size: int) -> int:
        low = size if layer.bits == 4 else _low(layer, start, size)
        if flow == "os":
            count = taps if columns else depth_steps(spec, taps, size - low, low)
            return streamed(count * scale)
        return taps if columns else depth_folds(spec, taps, size - low, low)

    by_pixel = [
        layer.images
        * sum(
            ch * cw * pixel(h * w)
            for ch, h in _parts(layer.out_h, rows)
            for cw, w in _parts(layer.out_w, cols)
        )
        for rows, cols in pixels
    ]
    by_channel = [sum(cn * channel(n) for cn, n in _parts(layer.out_ch, size)) for size in channels]
    by_depth = [
        sum(depth(start, min(size, layer.in_ch - start)) for start in range(0, layer.in_ch, size))
        for size in depths
    ]
    return np.array(by_pixel, np.int64), np.array(by_channel, np.int64), np.array(by_depth, np.int64)


def steps(layer: Layer, tiling: Tiling) -> Iterator[Step]:
    """The tiles of a layer in their order."""
    if tiling.groups > 1:
        yield from _whole_groups(layer, tiling)
        return
    pixels = [
        (image, y, x)
        for image in range(layer.images)
        for y in range(0, layer.out_h, tiling.rows)
        for x in range(0, layer.out_w, tiling.cols)
    ]
    channels = range(0, layer.out_ch, tiling.out_ch)
    for group in range(layer.groups):
        pairs = (
            [(p, c) for c in channels for p in pixels]
            if tiling.channels_outside
            else [(p, c) for p in pixels for c in channels]
        )
        for (image, y, x), c in pairs:
            for start in range(0, layer.in_ch, tiling.in_ch):
                yield _step(layer, tiling, group, image, y, x, c, start)


def _step(layer: Layer, tiling: Tiling, group: int, image: int, y: int, x: int, c: int, start: int) -> Step:
    rows, cols = min(tiling.rows, layer.out_h - y), min(tiling.cols, layer.out_w - x)
    n, depth = min(tiling.out_ch, layer.out_ch - c), min(tiling.in_ch, layer.in_ch - start)
    h = window(rows, layer.kernel_h, layer.stride, layer.dilation, layer.in_h)
    w = window(cols, layer.kernel_w, layer.stride, layer.dilation, layer.in_w)
    low = _low(layer, start, depth)
    pixel, line = _bytes(layer.in_ch * layer.groups, layer.stored_bits), layer.in_w
    if depth < layer.in_ch or layer.groups > 1:
        inputs = (h * w, _bytes(depth, layer.stored_bits), pixel)
    elif w < line:
        inputs = (h, _bytes(w * depth, layer.stored_bits), line * pixel)
    else:
        inputs = (1, _bytes(h * w * depth, layer.stored_bits), 0)
    out_pixel = _bytes(layer.out_ch * layer.groups, layer.out_bits)
    if n < layer.out_ch or layer.groups > 1:
        outputs = (rows * cols, _bytes(n, layer.out_bits), out_pixel)
    elif cols < layer.out_w:
        outputs = (rows, _bytes(cols * n, layer.out_bits), layer.out_w * out_pixel)
    else:
        outputs = (1, _bytes(rows * cols * n, layer.out_bits), 0)
    weights = _bytes(n * layer.kernel_h * layer.kernel_w * depth, layer.stored_bits)
    return Step(
        groups=1,
        m=rows * cols,
        n=n,
        high=depth - low,
        low=low,
        input_key=(group, image, y, x, start),
        weight_key=(group, c, start),
        output_key=(group, image, y, x, c),
        input_segments=inputs,
        weight_segments=(1, weights, 0),
        output_segments=outputs,
        input_at=((image * layer.in_h + y * layer.stride) * layer.in_w + x * layer.stride) * pixel
        + _bytes(group * layer.in_ch + start, layer.stored_bits),
        weight_at=_bytes((group * layer.out_ch + c) * layer.k, layer.stored_bits)
        + _bytes(n * layer.kernel_h * layer.kernel_w * start, layer.stored_bits),
        output_at=((image * layer.out_h + y) * layer.out_w + x) * out_pixel
        + _bytes(group * layer.out_ch + c, layer.out_bits),
        last_depth=start + depth == layer.in_ch,
    )


def _whole_groups(layer: Layer, tiling: Tiling) -> Iterator[Step]:
    """Tiles that hold several products; channels of a pixel lie side by side, products one after the
    other."""
    batched = layer.kind == "attention" or layer.kernel_h * layer.kernel_w * layer.in_w == 1
    pixel, out_pixel = (_bytes(layer.groups * ch, layer.stored_bits) for ch in (layer.in_ch, layer.out_ch))
    for first in range(0, layer.groups, tiling.groups):
        held = min(tiling.groups, layer.groups - first)
        for y in range(0, layer.out_h, tiling.rows):
            rows = min(tiling.rows, layer.out_h - y)
            lines = window(rows, layer.kernel_h, layer.stride, layer.dilation, layer.in_h)
            spots, outs = layer.images * lines * layer.in_w, layer.images * rows * layer.out_w
            inputs = _side_by_side(spots, held, layer.groups, layer.in_ch, layer.stored_bits, batched)
            outputs = _side_by_side(outs, held, layer.groups, layer.out_ch, layer.out_bits, batched)
            yield Step(
                groups=held,
                m=outs,
                n=layer.out_ch,
                high=layer.in_ch - layer.low_ch,
                low=layer.low_ch,
                input_key=(first, y),
                weight_key=(first,),
                output_key=(first, y),
                input_segments=inputs,
                weight_segments=(1, _bytes(held * layer.out_ch * layer.k, layer.stored_bits), 0),
                output_segments=outputs,
                input_at=layer.input_bytes * first // layer.groups
                if batched
                else y * layer.stride * layer.in_w * pixel + _bytes(first * layer.in_ch, layer.stored_bits),
                weight_at=_bytes(first * layer.out_ch * layer.k, layer.stored_bits),
                output_at=layer.output_bytes * first // layer.groups
                if batched
                else y * layer.out_w * out_pixel + _bytes(first * layer.out_ch, layer.out_bits),
                last_depth=True,
            )


def _side_by_side(
    spots: int, held: int, groups: int, channels: int, bits: int, batched: bool
) -> tuple[int, int, int]:
    """Segments of `held` of the groups' channels of `spots` pixels (or rows of products)."""
    if batched or held == groups:
        return 1, _bytes(spots * held * channels, bits), 0
    return spots, _bytes(held * channels, bits), _bytes(groups * channels, bits)


def _bytes(elements: int, bits: int) -> int:
    return ceil_div(elements * bits, 8)
