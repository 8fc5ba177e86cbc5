"""A small network in NumPy: floating point, INT8 and mixed 4/8 bit, with residual streams and their order.

Enough to run FlexiQ's arithmetic from input to output: convolutions and linear layers, ReLU, sums of
branches, global pooling. Layers name the tensor they read and the one they write; a layer that writes a
tensor which is there already adds to it, and such a tensor is a residual stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pimsim.errors import SpecError
from pimsim.quant.bits import (
    Lowering,
    lowering,
    mixed_conv,
    quantise,
    quantise_weights,
)
from pimsim.quant.select import Choice, estimated_errors

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Node:
    """One layer: weights (N, C, R, S), R = S = 1 for linear; `pool` averages the input's pixels first.

    reads, writes: tensor names; relu applies to the input when it is read.
    """

    name: str
    weights: Array
    bias: Array
    reads: str
    writes: str
    stride: int = 1
    padding: int = 0
    relu: bool = True
    pool: bool = False


@dataclass(frozen=True, kw_only=True)
class Network:
    """Layers in order from tensor "input" to tensor "output"."""

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        channels: dict[str, int] = {}
        for node in self.nodes:
            n, c = node.weights.shape[:2]
            for tensor, size in ((node.reads, c), (node.writes, n)):
                if channels.setdefault(tensor, size) != size:
                    raise SpecError(
                        f"layer {node.name}: tensor {tensor} has {channels[tensor]} channels, not {size}"
                    )

    @property
    def tensors(self) -> tuple[str, ...]:
        """Tensors whose channels may be reordered: all but input and output."""
        names = dict.fromkeys(node.writes for node in self.nodes)
        return tuple(name for name in names if name not in ("input", "output"))

    def run(self, inputs: Array) -> Array:
        """Outputs (B, N) of inputs (B, C, H, W) in floating point."""
        return _output(_forward(self, inputs, _plain))

    def reordered(self, orders: Mapping[str, NDArray[np.int64]]) -> Network:
        """The same function with the channels of tensors in another order: writers and readers follow."""
        nodes = []
        for node in self.nodes:
            weights, bias = node.weights, node.bias
            if node.writes in orders:
                weights, bias = weights[orders[node.writes]], bias[orders[node.writes]]
            if node.reads in orders:
                weights = weights[:, orders[node.reads]]
            nodes.append(replace(node, weights=weights, bias=bias))
        return Network(nodes=tuple(nodes))


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Largest magnitude of every channel of every layer's input on sample inputs: node name -> (C,)."""

    peaks: Mapping[str, Array]


def calibrate(network: Network, inputs: Array) -> Calibration:
    """Run sample inputs and note the peaks."""
    peaks: dict[str, Array] = {}

    def watch(node: Node, values: Array) -> Array:
        peaks[node.name] = np.abs(values).max(axis=(0, 2, 3))
        return _plain(node, values)

    _forward(network, inputs, watch)
    return Calibration(peaks=peaks)


def run_int8(
    network: Network,
    calibration: Calibration,
    inputs: Array,
    *,
    low: Mapping[str, NDArray[np.bool_]] | None = None,
    group: int = 4,
    dynamic: bool = False,
    plain: bool = False,
) -> Array:
    """Outputs with INT8 layers, of which some input channels are computed in 4 bits.

    low: tensor name -> (C,) bool, shared by its readers. Weights have a scale an output channel, activations
    one a tensor, unsigned after a ReLU. dynamic, plain: see `lowering`.
    """

    def integer(node: Node, values: Array) -> Array:
        peak = float(calibration.peaks[node.name].max()) or 1.0
        scale = peak / (255 if node.relu else 127)
        codes = quantise(values, scale, signed=not node.relu)
        weights = quantise_weights(node.weights)
        chosen = (low or {}).get(node.reads)
        how = _lowering(node, weights.codes, calibration, scale, chosen, group, dynamic, plain)
        sums = mixed_conv(codes, weights.codes, how, stride=node.stride, padding=node.padding)
        return np.asarray(sums * (scale * weights.scale)[None, :, None, None])

    return _output(_forward(network, inputs, integer))


def run_int4(network: Network, calibration: Calibration, inputs: Array) -> Array:
    """Outputs with all layers but the first and last in 4 bits with scales of their own: uniform INT4."""
    ends = (network.nodes[0].name, network.nodes[-1].name)

    def integer(node: Node, values: Array) -> Array:
        bits = 8 if node.name in ends else 4
        top = (1 << bits) - 1 if node.relu else (1 << (bits - 1)) - 1
        scale = (float(calibration.peaks[node.name].max()) or 1.0) / top
        codes = quantise(values, scale, signed=not node.relu, bits=bits)
        weights = quantise_weights(node.weights, bits=bits)
        none = np.zeros(node.weights.shape[1], np.bool_)
        how = Lowering(
            low=none,
            activation_shift=none.astype(np.int64),
            weight_shift=np.zeros(node.weights.shape[:2], np.int64),
            signed=not node.relu,
        )
        sums = mixed_conv(codes, weights.codes, how, stride=node.stride, padding=node.padding)
        return np.asarray(sums * (scale * weights.scale)[None, :, None, None])

    return _output(_forward(network, inputs, integer))


def stream_errors(network: Network, calibration: Calibration, group: int) -> dict[str, Array]:
    """Tensor -> estimated error of its groups in 4 bits, summed over the layers that read it."""
    found: dict[str, Array] = {}
    for node in network.nodes:
        if node.reads == "input":
            continue
        peak = calibration.peaks[node.name]
        scale = (float(peak.max()) or 1.0) / (255 if node.relu else 127)
        weights = quantise_weights(node.weights)
        codes = np.rint(peak / scale).astype(np.int64)
        own = estimated_errors(weights.codes, codes, group, signed=not node.relu)
        found[node.reads] = found.get(node.reads, 0) + own * scale * float(weights.scale.mean())
    return found


def channels_of(
    choice: Choice, tensors: tuple[str, ...], network: Network, group: int
) -> dict[str, NDArray[np.bool_]]:
    """Tensor -> (C,) bool of the channels in 4 bits."""
    widths = {node.writes: node.weights.shape[0] for node in network.nodes}
    return {name: np.repeat(unit, group)[: widths[name]] for name, unit in zip(tensors, choice, strict=True)}


def _lowering(
    node: Node,
    codes: NDArray[np.int8],
    calibration: Calibration,
    scale: float,
    low: NDArray[np.bool_] | None,
    group: int,
    dynamic: bool,
    plain: bool,
) -> Lowering:
    channels = codes.shape[1]
    chosen = np.zeros(channels, np.bool_) if low is None else low
    peaks = np.rint(calibration.peaks[node.name] / scale).astype(np.int64)
    return lowering(codes, chosen, None if dynamic else peaks, group, signed=not node.relu, plain=plain)


def _plain(node: Node, values: Array) -> Array:
    padded = np.pad(values, ((0, 0), (0, 0), (node.padding, node.padding), (node.padding, node.padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, node.weights.shape[2:], axis=(2, 3))
    taken = windows[:, :, :: node.stride, :: node.stride]
    out: Array = np.einsum("bcpqrs,ncrs->bnpq", taken, node.weights, optimize=True)
    return out


def _forward(network: Network, inputs: Array, product) -> dict[str, Array]:  # type: ignore[no-untyped-def]
    held: dict[str, Array] = {"input": inputs}
    for node in network.nodes:
        values = held[node.reads]
        values = np.maximum(values, 0) if node.relu else values
        values = values.mean(axis=(2, 3), keepdims=True) if node.pool else values
        out = product(node, values) + node.bias[None, :, None, None]
        held[node.writes] = held[node.writes] + out if node.writes in held else out
    return held


def _output(held: Mapping[str, Array]) -> Array:
    return held["output"][:, :, 0, 0]


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


__all__ = [
    "Calibration",
    "Network",
    "Node",
    "calibrate",
    "channels_of",
    "made_up_network",
    "run_int4",
    "run_int8",
    "stream_errors",
]
