"""A network run in integers: INT8, mixed 4 and 8 bits as FlexiQ does, and uniform INT4 as a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pimsim.quant.bits import group_peaks, quantise, quantise_weights, shift_of
from pimsim.quant.calibration import (
    UNCHANGED,
    Calibration,
    code_table,
    expected_errors,
    lower_layer,
    mean_errors,
)
from pimsim.quant.network import Array, Network, Node, batches, convolve, forward
from pimsim.quant.select import Choice

Low = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class _Layer:
    """What a layer's products need, made once. codes, low_codes: (N, C, R, S) weights as they are and in
    effective bits, floats that hold integers. shift: (C,) of activations, None if dynamic. excess: (N, C)
    mean error of the sums for each channel in 4 bits."""

    codes: NDArray[np.float32]
    low_codes: NDArray[np.float32]
    scale: Array
    input_scale: float
    shift: NDArray[np.int64] | None
    excess: Array


@dataclass(frozen=True)
class _Lowered:
    """A layer with some of its channels in 4 bits: its weights, which channels, and what is taken off each
    output's sum: the mean error, a whole number as accumulators are."""

    weights: NDArray[np.float32]
    low: NDArray[np.bool_]
    excess: Array


class MixedNetwork:
    """A network with INT8 layers, any input channels of which may be computed in 4 bits.

    Weights have a scale an output channel, activations one a tensor, unsigned after a ReLU. Positions of
    activations: `reaches` of the calibration; dynamic: of each input (picture) itself; plain: the top four
    bits, of weights too. The mean error to expect is taken off each layer's sums if the calibration has it.
    keep: layers that stay at 8 bits whatever is chosen.
    """

    def __init__(
        self,
        network: Network,
        calibration: Calibration,
        *,
        group: int = 4,
        dynamic: bool = False,
        plain: bool = False,
        keep: tuple[str, ...] = (),
    ) -> None:
        self.network, self.group, self.keep = network, group, frozenset(keep)
        self._streams = network.streams
        self._layers = {
            node.name: _layer(node, calibration, group, dynamic, plain) for node in network.layers
        }
        self._tables = {signed: code_table(signed).astype(np.float32).ravel() for signed in (False, True)}

    def run(self, inputs: Array, low: Low | None = None, batch: int = 8) -> Array:
        """Outputs (B, N). low: stream -> (C,) bool, the channels that its readers compute in 4 bits."""
        lowered = {node.name: self._lowered(node, low or {}) for node in self.network.layers}

        def product(node: Node, values: Array) -> Array:
            held, four = self._layers[node.name], lowered[node.name]
            codes = quantise(values, held.input_scale, signed=not node.relu)
            unit = (held.input_scale * held.scale)[None, :, None, None]
            if four is None:
                sums = convolve(codes.astype(np.float32), held.codes, node.stride, node.padding, node.groups)
                return np.asarray(sums * unit)
            shift = held.shift
            if shift is None:
                peaks = group_peaks(np.abs(codes).max(axis=(2, 3)), self.group)
                shift = shift_of(peaks, signed=not node.relu)
            rows = np.where(four.low, shift, UNCHANGED)
            codes += 256 * rows[..., None, None] + (0 if node.relu else 128)
            operands = self._tables[not node.relu].take(codes)
            sums = convolve(operands, four.weights, node.stride, node.padding, node.groups)
            return np.asarray((sums - four.excess[None, :, None, None]) * unit)

        return np.concatenate([forward(self.network, part, product) for part in batches(inputs, batch)])

    def _lowered(self, node: Node, chosen: Low) -> _Lowered | None:
        low = chosen.get(self._streams[node.reads]) if may_lower(node, self.keep) else None
        if low is None or not low.any():
            return None
        held = self._layers[node.name]
        weights = np.where(low[:, None, None], held.low_codes, held.codes)
        return _Lowered(weights, low, np.rint(held.excess[:, low].sum(axis=1)))


def may_lower(node: Node, keep: frozenset[str] = frozenset()) -> bool:
    """Whether a layer has a 4-bit part: not if it reads the input, is depthwise or grouped, or is kept."""
    return node.reads != "input" and node.groups == 1 and node.name not in keep


def run_int8(
    network: Network,
    calibration: Calibration,
    inputs: Array,
    *,
    low: Low | None = None,
    group: int = 4,
    dynamic: bool = False,
    plain: bool = False,
) -> Array:
    """Outputs with INT8 layers, of which some input channels are computed in 4 bits; see `MixedNetwork`."""
    return MixedNetwork(network, calibration, group=group, dynamic=dynamic, plain=plain).run(inputs, low)


def run_int4(network: Network, calibration: Calibration, inputs: Array, batch: int = 8) -> Array:
    """Outputs with all layers but the first and last in 4 bits with scales of their own: uniform INT4."""
    ends = (network.layers[0].name, network.layers[-1].name)
    held = {
        node.name: quantise_weights(node.weights, bits=8 if node.name in ends else 4)
        for node in network.layers
    }

    def integer(node: Node, values: Array) -> Array:
        bits = 8 if node.name in ends else 4
        top = (1 << bits) - 1 if node.relu else (1 << (bits - 1)) - 1
        scale = (float(calibration.peaks[node.name].max()) or 1.0) / top
        codes = quantise(values, scale, signed=not node.relu, bits=bits).astype(np.float32)
        weights = held[node.name]
        sums = convolve(codes, weights.codes.astype(np.float32), node.stride, node.padding, node.groups)
        return np.asarray(sums * (scale * weights.scale)[None, :, None, None])

    return np.concatenate([forward(network, part, integer) for part in batches(inputs, batch)])


def stream_errors(
    network: Network,
    calibration: Calibration,
    group: int,
    keep: tuple[str, ...] = (),
    *,
    plain: bool = False,
) -> dict[str, Array]:
    """Stream -> error to expect of its groups in 4 bits, summed over the layers that read it; plain: of the
    top four bits.

    Layers in `keep` and those that have no 4-bit part do not count; streams without readers are left out.
    """
    found: dict[str, Array] = {}
    streams = network.streams
    for node in network.layers:
        if may_lower(node, frozenset(keep)):
            stream = streams[node.reads]
            found[stream] = found.get(stream, 0) + expected_errors(node, calibration, group, plain=plain)
    return found


def channels_of(choice: Choice, streams: tuple[str, ...], network: Network, group: int) -> Low:
    """Stream -> (C,) bool of the channels in 4 bits."""
    widths = network.widths
    return {name: np.repeat(unit, group)[: widths[name]] for name, unit in zip(streams, choice, strict=True)}


def _layer(node: Node, calibration: Calibration, group: int, dynamic: bool, plain: bool) -> _Layer:
    low = lower_layer(node, calibration, group, dynamic=dynamic, plain=plain)
    return _Layer(
        low.weights.codes.astype(np.float32),
        low.low_codes.astype(np.float32),
        low.weights.scale,
        calibration.scale(node),
        low.activation_shift,
        mean_errors(node, calibration, low),
    )
