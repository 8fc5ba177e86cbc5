"""A network in NumPy: layers, residual streams and the order of their channels, in floating point.

Enough to run FlexiQ's arithmetic from input to output: convolutions and linear layers, ReLU, pooling, sums
of branches. Layers name the tensor they read and the one they write; a layer that writes a tensor which is
there already adds to it. Tensors that pass on each other's channels (a shortcut) form one residual stream.
`pimsim.quant.integer` runs the same network in INT8 and in mixed 4 and 8 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pimsim.errors import SpecError

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Node:
    """One layer: weights (N, C, R, S), R = S = 1 for linear; `pool` averages the input's pixels first.

    reads, writes: tensor names; relu applies to the input when it is read, and cuts it off at `ceiling` (6
    for ReLU6). groups: parts into which the input channels are split, C being those of one part; `groups`
    equal to the input's channels is a depthwise layer. padding: pixels on each side, or (before, after).
    """

    name: str
    weights: Array
    bias: Array
    reads: str
    writes: str
    stride: int = 1
    padding: int | tuple[int, int] = 0
    relu: bool = True
    pool: bool = False
    groups: int = 1
    ceiling: float = float("inf")

    @property
    def in_channels(self) -> int:
        return int(self.weights.shape[1] * self.groups)

    @property
    def out_channels(self) -> int:
        return int(self.weights.shape[0])


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A layer without weights: the largest or the mean value of windows of kernel x kernel pixels.

    Kernel 1 passes values on: the shortcut of a residual block. channels: of what is written; those beyond
    the input's are zero.
    """

    name: str
    kind: str
    reads: str
    writes: str
    channels: int
    kernel: int = 1
    stride: int = 1
    relu: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("max", "mean"):
            raise SpecError(f"layer {self.name}: pooling {self.kind!r}; wanted max or mean")

    @property
    def out_channels(self) -> int:
        return self.channels


@dataclass(frozen=True, kw_only=True)
class Network:
    """Layers in order from tensor "input" to tensor "output"."""

    nodes: tuple[Node | Pool, ...]

    def __post_init__(self) -> None:
        channels: dict[str, int] = {}
        for node in self.nodes:
            sizes = [(node.writes, node.out_channels)]
            if isinstance(node, Node):
                sizes.insert(0, (node.reads, node.in_channels))
            for tensor, size in sizes:
                if channels.setdefault(tensor, size) != size:
                    raise SpecError(
                        f"layer {node.name}: tensor {tensor} has {channels[tensor]} channels, not {size}"
                    )

    @property
    def layers(self) -> tuple[Node, ...]:
        """The layers that have weights."""
        return tuple(node for node in self.nodes if isinstance(node, Node))

    @property
    def widths(self) -> dict[str, int]:
        """Tensor -> channels, of all tensors that a layer writes."""
        return {node.writes: node.out_channels for node in self.nodes}

    @property
    def streams(self) -> dict[str, str]:
        """Tensor -> the residual stream it belongs to, named after the stream's first tensor.

        A layer without weights that keeps the number of channels ties what it writes to what it reads, and
        a depthwise layer likewise: their channels come in one order.
        """
        widths = self.widths
        stream = {"input": "input"}
        for node in self.nodes:
            tied = isinstance(node, Pool) or node.groups == node.in_channels == node.out_channels
            if tied and widths.get(node.reads) == widths[node.writes]:
                old, new = stream.get(node.writes, node.writes), stream[node.reads]
                stream = {tensor: new if name == old else name for tensor, name in stream.items()}
                stream[node.writes] = new
            stream.setdefault(node.writes, node.writes)
        return stream

    def run(self, inputs: Array, batch: int = 8) -> Array:
        """Outputs (B, N) of inputs (B, C, H, W) in floating point, `batch` of them at a time."""
        return np.concatenate([forward(self, part, plain_product) for part in batches(inputs, batch)])

    def reordered(self, orders: Mapping[str, NDArray[np.int64]]) -> Network:
        """The same function with the channels of streams in another order: writers and readers follow.

        orders: stream -> (C,) old channel of each new one. Shortcuts that change the number of channels
        cannot follow; networks that have them are refused.
        """
        streams, widths = self.streams, self.widths
        nodes: list[Node | Pool] = []
        for node in self.nodes:
            into, out = orders.get(streams[node.reads]), orders.get(streams[node.writes])
            if isinstance(node, Pool):
                if widths.get(node.reads) != node.channels and (into is not None or out is not None):
                    raise SpecError(f"layer {node.name} changes the number of channels: no order can follow")
                nodes.append(node)
                continue
            weights, bias = node.weights, node.bias
            if out is not None:
                weights, bias = weights[out], bias[out]
            if into is not None and node.groups == 1:
                weights = weights[:, into]
            nodes.append(replace(node, weights=weights, bias=bias))
        return Network(nodes=tuple(nodes))


def batches(inputs: Array, size: int) -> Iterator[Array]:
    """Inputs in parts of at most `size`."""
    for start in range(0, len(inputs), size):
        yield inputs[start : start + size]


EXACT_TERMS = 2**24 // (255 * 127)
"""So many products of an unsigned and a signed byte sum up exactly in single precision."""


def convolve(
    values: NDArray[np.floating],
    weights: NDArray[np.floating],
    stride: int,
    padding: int | tuple[int, int],
    groups: int,
) -> Array:
    """(B, N, P, Q) of values (B, C, H, W) and weights (N, C / groups, R, S).

    Taps are multiplied in the precision of the operands, at most `EXACT_TERMS` products at a time, and added
    up in double precision: codes of 8 bits give exact sums in single precision.
    """
    n, depth, r, s = weights.shape
    views = list(taps(values, (r, s), stride, padding))
    kernels = [weights[:, :, i, j] for i in range(r) for j in range(s)]
    total = np.zeros((*views[0].shape[:3], n))
    share, at_once = n // groups, max(1, EXACT_TERMS // depth)
    if depth == share == 1:
        for view, kernel in zip(views, kernels, strict=True):
            total += view * kernel[:, 0]
        return np.moveaxis(total, -1, 1)
    for start in range(0, r * s, at_once):
        some = slice(start, start + at_once)
        for g in range(groups):
            here, inputs = slice(g * share, (g + 1) * share), slice(g * depth, (g + 1) * depth)
            rows = np.concatenate([view[..., inputs] for view in views[some]], axis=-1)
            columns = np.concatenate([kernel[here] for kernel in kernels[some]], axis=-1)
            for k in range(0, rows.shape[-1], EXACT_TERMS):
                total[..., here] += rows[..., k : k + EXACT_TERMS] @ columns[:, k : k + EXACT_TERMS].T
    return np.moveaxis(total, -1, 1)


def taps(
    values: NDArray[Any], kernel: tuple[int, ...], stride: int, padding: int | tuple[int, int]
) -> Iterator[NDArray[Any]]:
    """(B, P, Q, C) of values (B, C, H, W): what lies under each of the R x S kernel positions, row by row."""
    before, after = (padding, padding) if isinstance(padding, int) else padding
    padded = np.pad(np.moveaxis(values, 1, -1), ((0, 0), (before, after), (before, after), (0, 0)))
    r, s = kernel
    p, q = (padded.shape[1] - r) // stride + 1, (padded.shape[2] - s) // stride + 1
    for i in range(r):
        for j in range(s):
            yield padded[:, i : i + stride * (p - 1) + 1 : stride, j : j + stride * (q - 1) + 1 : stride]


def plain_product(node: Node, values: Array) -> Array:
    """The layer's sums in floating point, bias left out."""
    return convolve(values, node.weights, node.stride, node.padding, node.groups)


def forward(network: Network, inputs: Array, product: Callable[[Node, Array], Array]) -> Array:
    """Outputs (B, N) of a run in which `product` computes each layer's sums; tensors go when last read."""
    held: dict[str, Array] = {"input": inputs}
    last = {node.reads: at for at, node in enumerate(network.nodes)}
    for at, node in enumerate(network.nodes):
        values = held[node.reads] if last[node.reads] > at else held.pop(node.reads)
        values = np.maximum(values, 0) if node.relu else values
        if isinstance(node, Pool):
            out = _pooled(node, values)
        else:
            values = np.minimum(values, node.ceiling) if node.relu and np.isfinite(node.ceiling) else values
            values = values.mean(axis=(2, 3), keepdims=True) if node.pool else values
            out = product(node, values) + node.bias[None, :, None, None]
        held[node.writes] = _added(held[node.writes], out) if node.writes in held else out
    return held["output"][:, :, 0, 0]


def _pooled(node: Pool, values: Array) -> Array:
    if node.kernel > 1:
        windows = np.lib.stride_tricks.sliding_window_view(values, (node.kernel, node.kernel), axis=(2, 3))
        taken = windows[:, :, :: node.stride, :: node.stride]
        values = taken.max(axis=(4, 5)) if node.kind == "max" else taken.mean(axis=(4, 5))
    more = node.channels - values.shape[1]
    return np.pad(values, ((0, 0), (0, more), (0, 0), (0, 0))) if more else values


def _added(a: Array, b: Array) -> Array:
    """Sum of two branches; pixels that only the larger one has are added to zero."""
    if a.shape == b.shape:
        return a + b
    size = [max(pair) for pair in zip(a.shape, b.shape, strict=True)]
    total = np.zeros(size)
    for each in (a, b):
        total[tuple(slice(n) for n in each.shape)] += each
    return total


def made_up_network(seed: int = 0, *, width: int = 16, blocks: int = 2, classes: int = 10) -> Network:
    """A residual network with random weights whose channels differ in range, for tests and examples.

    Input channels of each output channel have ranges spread over powers of two, as trained networks have.
    """
    rng = np.random.default_rng(seed)

    def layer(name: str, n: int, c: int, k: int, reads: str, writes: str, **more: int | bool) -> Node:
        spread = 2.0 ** -rng.integers(0, 4, (1, c, 1, 1)) * 2.0 ** -rng.integers(0, 2, (n, c, 1, 1))
        weights = rng.normal(0, 1, (n, c, k, k)) * spread / np.sqrt(c * k * k * 0.2)
        return Node(
            name=name,
            weights=weights,
            bias=rng.normal(0, 0.1, n),
            reads=reads,
            writes=writes,
            padding=k // 2,
            **more,  # type: ignore[arg-type]
        )

    nodes = [layer("stem", width, 3, 3, "input", "stream", relu=False)]
    for i in range(blocks):
        nodes += [
            layer(f"block{i}.conv1", width, width, 3, "stream", f"hidden{i}"),
            layer(f"block{i}.conv2", width, width, 3, f"hidden{i}", "stream"),
        ]
    nodes.append(layer("head", classes, width, 1, "stream", "output", pool=True))
    return Network(nodes=tuple(nodes))
